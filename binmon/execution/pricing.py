"""The price of a size at one venue: what the depth, the lot, the fee and the bounds make of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from binmon.execution.counter import Counter, Flows
from binmon.execution.exact import digits, down_to, exact, plain, up_to
from binmon.execution.market import Charge, DepthSource, VenueMarket
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.sizes import Rounding, Size
from binmon.messages import OrderSide

BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class PricingSettings:
    """How old a quote may be, and what becomes of a size between two steps."""

    max_age_ns: int
    rounding: Rounding = Rounding.DOWN


@dataclass(frozen=True, slots=True)
class Quote:
    """What an order of one size would do at one venue. All numbers are exact; ``exact.rounded`` makes them readable.

    ``quantity``: base currency that trades, a whole number of lots. ``quote_amount``: the amount of quote currency that
    the order names, where it is said so and the venue takes it so; ``quantity`` is then what it comes to in this book.
    ``notional``: Σ price × quantity of the levels taken, quote currency.
    ``given`` and ``gained`` include the fee (a fee in a third asset by its worth): quote for base when buying, base for
    quote when selling. ``leftover`` is the part of the size that no whole lot takes, in ``leftover_asset``.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    side: OrderSide
    quantity: Fraction
    quote_amount: Fraction | None
    notional: Fraction
    fee: Charge
    given: Fraction
    gained: Fraction
    leftover: Fraction
    leftover_asset: str
    taken: tuple[tuple[Fraction, Fraction], ...]
    best_bid: Fraction | None
    best_ask: Fraction | None
    source: DepthSource
    as_of_mono_ns: int
    age_ns: int
    fee_from_account: bool = True

    @property
    def average_price(self) -> Fraction:
        """What the levels come to, without the fee."""
        return self.notional / self.quantity

    @property
    def worst_price(self) -> Fraction:
        """The price of the last level that is taken."""
        return self.taken[-1][0]

    @property
    def effective_price(self) -> Fraction:
        """Quote currency for one unit of base currency, with the fee: what venues are compared by."""
        if self.side is OrderSide.BUY:
            return self.given / self.gained
        return self.gained / self.given

    @property
    def top(self) -> Fraction:
        """The venue's own best price on this side."""
        return self.taken[0][0]

    @property
    def slippage(self) -> Fraction:
        """How much the average is worse than the venue's own top, quote currency for one unit of base currency."""
        return abs(self.average_price - self.top)

    @property
    def slippage_bps(self) -> Fraction:
        """``slippage`` in basis points of the top."""
        return self.slippage / self.top * BASIS_POINTS


def quote_at(
    market: VenueMarket, side: OrderSide, size: Size, now_mono_ns: int, settings: PricingSettings
) -> Quote | Exclusion:
    """The price of ``size`` at one venue, or why there is none.

    Nothing is said here of the account having enough (`account_refusal`), except that a share of a balance needs one.
    """
    refusal = market.refusal(now_mono_ns, settings.max_age_ns)
    return refusal or price_of(market, side, size, now_mono_ns, settings.rounding)


def price_of(
    market: VenueMarket, side: OrderSide, size: Size, now_mono_ns: int, rounding: Rounding
) -> Quote | Exclusion:
    """As ``quote_at``, of a market whatever its state: what it would have been, had it been to be had."""
    counter = Counter(market, side)
    if counter.ladder.top is None:
        orders = "asks" if side is OrderSide.BUY else "bids"
        return Exclusion(market.venue, Reason.NOT_ENOUGH_DEPTH, f"its book has no {orders}")
    if size.percent is not None:
        return _quote_share(counter, exact(size.percent), now_mono_ns)
    if size.quantity is not None:
        return _quote_quantity(counter, exact(size.quantity), now_mono_ns, rounding)
    assert size.quote_amount is not None
    return _quote_amount(counter, exact(size.quote_amount), now_mono_ns, rounding)


def account_refusal(market: VenueMarket, quoted: Quote) -> Exclusion | None:
    """Why the account could not place the order that ``quoted`` prices; None: it could, or is not known."""
    account = market.account
    if account is None:
        return None
    if not account.can_trade:
        return Exclusion(market.venue, Reason.NO_PERMISSION, "the key may not trade there")
    counter = Counter(market, quoted.side).for_notional(quoted.notional)
    flows = counter.flows(quoted.quantity)
    assert flows is not None
    shortage = counter.shortage(flows, quoted.quote_amount)
    return None if shortage is None else Exclusion(market.venue, Reason.BALANCE, shortage)


# The three kinds of size ----------------------------------------------------------------------------------------------


def _quote_quantity(counter: Counter, asked: Fraction, now_mono_ns: int, rounding: Rounding) -> Quote | Exclusion:
    quantity = down_to(asked, counter.step)
    refused = _out_of_bounds(counter, quantity, asked)
    if refused is not None:
        return refused
    if quantity != asked and rounding is Rounding.REFUSE:
        return Exclusion(
            counter.market.venue,
            Reason.OFF_STEP,
            f"{plain(asked)} {counter.rules.base} are no whole multiple of its step {plain(counter.step)}: "
            f"the nearest are {counter.describe(counter.nearest(asked))}",
        )
    flows = counter.flows(quantity)
    if flows is None:
        return _too_thin(counter, f"{plain(quantity)} {counter.rules.base}")
    return quote_of(counter, flows, asked - quantity, counter.rules.base, None, now_mono_ns)


def _quote_amount(counter: Counter, asked: Fraction, now_mono_ns: int, rounding: Rounding) -> Quote | Exclusion:
    """Buying spends at most the amount, selling brings at most the amount: the most lots that stay within it."""
    rules, market = counter.rules, counter.market
    amount = down_to(asked, counter.amount_step) if market.takes_quote_amounts else asked
    if amount != asked and rounding is Rounding.REFUSE:
        near = [digits(one) for one in (amount, up_to(asked, counter.amount_step)) if one > 0]
        return Exclusion(
            market.venue,
            Reason.OFF_STEP,
            f"{plain(asked)} {rules.quote} are no whole multiple of its step {plain(counter.amount_step)}: "
            f"the nearest are {' or '.join(near)}",
        )
    exactly = counter.ladder.quantity_for(amount)
    if exactly is None:
        return _too_thin(counter, f"{plain(amount)} {rules.quote}")
    quantity = down_to(exactly, counter.step)
    refused = _out_of_bounds(counter, quantity, quantity, amount)
    if refused is not None:
        return refused
    flows = counter.flows(quantity)
    assert flows is not None
    named = amount if market.takes_quote_amounts else None
    return quote_of(counter, flows, asked - flows.notional, rules.quote, named, now_mono_ns)


def _quote_share(counter: Counter, percent: Fraction, now_mono_ns: int) -> Quote | Exclusion:
    """A share of what is free of the asset that the order gives, the fee included where it is taken in that asset."""
    market, rules = counter.market, counter.rules
    if market.account is None:
        return Exclusion(market.venue, Reason.NO_KEY, "what the account has there is not known")
    spent = rules.quote if counter.side is OrderSide.BUY else rules.base
    share = market.free(spent) * percent / 100
    if counter.fees.asset_for(counter.side, rules) == spent:
        share /= 1 + exact(counter.fees.taker_rate)
    if share <= 0:
        return Exclusion(market.venue, Reason.BALANCE, f"no {spent} is free there")
    if counter.side is OrderSide.SELL:
        return _quote_quantity(counter, share, now_mono_ns, Rounding.DOWN)
    return _quote_amount(counter, share, now_mono_ns, Rounding.DOWN)


# What they have in common ---------------------------------------------------------------------------------------------


def quote_of(
    counter: Counter,
    flows: Flows,
    leftover: Fraction,
    leftover_asset: str,
    quote_amount: Fraction | None,
    now_mono_ns: int,
    *,
    fees_are_settled: bool = False,
) -> Quote:
    """The quote of an order that moves ``flows``, with the fees that the account pays on it: those of the counter when
    they ``are_settled``, else as what it has of their asset suffices."""
    paying = counter if fees_are_settled else counter.for_notional(flows.notional)
    paid = flows if paying is counter else paying.flows(flows.quantity)
    assert paid is not None
    market, depth = counter.market, counter.market.depth
    return Quote(
        venue=market.venue,
        symbol=market.rules.symbol,
        base=market.rules.base,
        quote=market.rules.quote,
        side=counter.side,
        quantity=flows.quantity,
        quote_amount=quote_amount,
        notional=flows.notional,
        fee=paid.fee,
        given=paid.given,
        gained=paid.gained,
        leftover=leftover,
        leftover_asset=leftover_asset,
        taken=counter.ladder.taken(flows.quantity),
        best_bid=exact(depth.bids[0].price) if depth.bids else None,
        best_ask=exact(depth.asks[0].price) if depth.asks else None,
        source=depth.source,
        as_of_mono_ns=depth.as_of_mono_ns,
        age_ns=depth.age_ns(now_mono_ns),
        fee_from_account=paying.fees.from_account,
    )


def _too_thin(counter: Counter, wanted: str) -> Exclusion:
    ladder = counter.ladder
    return Exclusion(
        counter.market.venue,
        Reason.NOT_ENOUGH_DEPTH,
        f"its known book ends before {wanted}: it holds {plain(ladder.total_quantity)} {counter.rules.base}, "
        f"worth {plain(ladder.total_value)} {counter.rules.quote}",
    )


def _out_of_bounds(
    counter: Counter, quantity: Fraction, asked: Fraction, amount: Fraction | None = None
) -> Exclusion | None:
    """Whether the venue takes no order of that size, with the nearest that it takes, in the words it was asked in."""
    rules, venue = counter.rules, counter.market.venue
    lowest, highest = counter.lowest, counter.highest
    if lowest is None:
        return _too_thin(counter, f"the venue's least order, {plain(rules.min_notional)} {rules.quote}")
    if highest is not None and highest < lowest:
        return Exclusion(
            venue,
            Reason.UNDER_MINIMUM,
            f"no size is valid for {rules.symbol} now: at least {digits(lowest)} and at most {digits(highest)} {rules.base}",
        )
    if quantity < lowest:
        reason, bound, word = Reason.UNDER_MINIMUM, lowest, "least"
    elif highest is not None and quantity > highest:
        reason, bound, word = Reason.OVER_MAXIMUM, highest, "most"
    elif amount is not None and counter.market.takes_quote_amounts and 0 < rules.max_notional < amount:
        # The amount is judged as it is named, also where a part of it buys no whole lot.
        most = down_to(exact(rules.max_notional), counter.amount_step)
        return _beyond(
            counter, Reason.OVER_MAXIMUM, f"{plain(amount)} {rules.quote}", "most", f"{digits(most)} {rules.quote}"
        )
    else:
        return None
    if amount is None:
        return _beyond(counter, reason, f"{plain(asked)} {rules.base}", word, f"{digits(bound)} {rules.base}")
    worth = counter.ladder.value_of(bound)
    if worth is None:
        return _too_thin(counter, f"{plain(bound)} {rules.base}")
    step = counter.amount_step
    if word == "least":
        valid = up_to(max(worth, exact(rules.min_notional)), step)
    else:
        valid = down_to(worth, step)
    return _beyond(counter, reason, f"{plain(amount)} {rules.quote}", word, f"{digits(valid)} {rules.quote}")


def _beyond(counter: Counter, reason: Reason, asked: str, word: str, valid: str) -> Exclusion:
    compared = "less than" if word == "least" else "more than"
    return Exclusion(
        counter.market.venue,
        reason,
        f"{asked} are {compared} it takes for {counter.rules.symbol} now: the {word} is {valid}",
    )
