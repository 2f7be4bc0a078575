"""What would be sent where, what else could be, and why not what looks better.

A plan promises nothing: the gate judges each order again, the venue has the last word, and a plan is good only while its
quotes are (``expires_mono_ns``). When a venue refuses, `OrderPlan.without` makes the next plan, which says so and wants
to be agreed to anew: nothing is ever sent to another venue silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from binmon.execution.comparison import Comparison, by_venue, is_better
from binmon.execution.exact import decimal_of
from binmon.execution.limits import foreseen
from binmon.execution.market import VenueMarket
from binmon.execution.pricing import PricingSettings, Quote
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.splitting import Split
from binmon.messages import OrderRequest, OrderSide
from binmon.orders.gate import OrderLimits


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One market order as it would be sent: either ``quantity`` or ``quote_amount``, on the venue's step.

    ``notional`` is what it is worth in the quote that it comes from, the amount itself where it names one.
    """

    venue: str
    symbol: str
    side: OrderSide
    quantity: Decimal | None
    quote_amount: Decimal | None
    notional: Decimal
    quote: Quote
    environment: str

    def request(self, client_order_id: str) -> OrderRequest:
        """The order for the desk."""
        return OrderRequest(
            venue=self.venue,
            symbol=self.symbol,
            side=self.side,
            client_order_id=client_order_id,
            notional=self.notional,
            quantity=self.quantity,
            quote_amount=self.quote_amount,
        )

    def __str__(self) -> str:
        verb = "buy" if self.side is OrderSide.BUY else "sell"
        if self.quote_amount is not None:
            size = f"{self.quote_amount:f} {self.quote.quote} of {self.symbol}"
        else:
            size = f"{self.quantity:f} {self.quote.base} of {self.symbol}"
        return f"{self.venue} ({self.environment}): market {verb}, {size}"


def planned(quote: Quote, market: VenueMarket) -> PlannedOrder:
    """The order that has the effect of ``quote``."""
    named = quote.quote_amount
    return PlannedOrder(
        venue=quote.venue,
        symbol=quote.symbol,
        side=quote.side,
        quantity=None if named is not None else decimal_of(quote.quantity),
        quote_amount=None if named is None else decimal_of(named),
        notional=decimal_of(quote.notional if named is None else named),
        quote=quote,
        environment=market.environment,
    )


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """``orders``: what would be sent now, one order, or the parts of a split; none when nobody can take it.

    ``fallbacks``: the next-best venues, best first. ``passed_over``: venues whose price is better than that of what would
    be sent, and why they cannot be used. ``exclusions``: every venue that is left out, those included.
    """

    orders: tuple[PlannedOrder, ...]
    fallbacks: tuple[PlannedOrder, ...]
    passed_over: tuple[Exclusion, ...]
    exclusions: tuple[Exclusion, ...]
    expires_mono_ns: int | None

    @property
    def needs_consent(self) -> bool:
        """Whether it is not what was asked for in the first place: a venue with a better price has been passed over."""
        return bool(self.orders and self.passed_over)

    def is_current(self, now_mono_ns: int) -> bool:
        """Whether every quote that it rests on is still young enough to send it."""
        return self.expires_mono_ns is not None and now_mono_ns <= self.expires_mono_ns

    def without(self, refusal: Exclusion, max_age_ns: int) -> OrderPlan:
        """The plan after the venue of ``refusal`` would not take its order: the next-best venue, that one passed over.

        Raises ValueError for a split, of which some parts may have been traded: that needs a new comparison.
        """
        if len(self.orders) > 1:
            raise ValueError("a split is not continued elsewhere: compare again for what is left")
        left = [order for order in (*self.orders, *self.fallbacks) if order.venue != refusal.venue]
        return OrderPlan(
            orders=tuple(left[:1]),
            fallbacks=tuple(left[1:]),
            passed_over=(*self.passed_over, refusal),
            exclusions=(*self.exclusions, refusal),
            expires_mono_ns=_expiry(left[:1], max_age_ns),
        )

    def why_nothing(self) -> str:
        """One line for a plan without orders: what each venue has against it."""
        return "no venue can take this order: " + ("; ".join(map(str, self.exclusions)) or "none is configured")


def plan_order(
    markets: Sequence[VenueMarket],
    comparison: Comparison,
    limits: OrderLimits,
    orders_today: int,
    settings: PricingSettings,
    *,
    venue: str | None = None,
    splitting: Split | None = None,
) -> OrderPlan:
    """The order for the best venue of ``comparison`` that the limits let through, or for ``venue`` alone.

    ``splitting`` is planned instead when the limits let all of it through; when they do not, nothing is: it must be asked
    for as a single order. A venue with a better price is passed over when it is halted, or left out for the account or
    for the limits. One that quotes nothing now (stale, unsynced, unreachable …), that does not take the size, or that is
    there for its market data only, is among the exclusions and no more.
    """
    known = by_venue(markets)
    refused: list[Exclusion] = []
    orders: list[PlannedOrder] = []
    for quote in comparison.quotes:
        market = known[quote.venue]
        order = planned(quote, market)
        refusal = _refusal(order, market, venue, limits, orders_today)
        if refusal is None:
            orders.append(order)
        else:
            refused.append(refusal)
    exclusions = (*comparison.exclusions, *refused)
    if splitting is not None:
        return _plan_split(splitting, known, exclusions, limits, orders_today, settings)
    return OrderPlan(
        orders=tuple(orders[:1]),
        fallbacks=tuple(orders[1:]),
        passed_over=tuple(_passed_over(comparison, exclusions, orders, venue)),
        exclusions=exclusions,
        expires_mono_ns=_expiry(orders[:1], settings.max_age_ns),
    )


def _plan_split(
    splitting: Split,
    known: Mapping[str, VenueMarket],
    exclusions: tuple[Exclusion, ...],
    limits: OrderLimits,
    orders_today: int,
    settings: PricingSettings,
) -> OrderPlan:
    """All parts or none: a part alone is not what was compared."""
    orders = tuple(planned(part, known[part.venue]) for part in splitting.parts)
    # Added up as fractions: Decimal would round the sum to its context.
    notional = decimal_of(sum((Fraction(order.notional) for order in orders), Fraction(0)))
    refused = []
    for order in orders:
        if known[order.venue].account is None:
            refused.append(Exclusion(order.venue, Reason.NO_KEY, "there is no key for it"))
            continue
        refusal = foreseen(order.venue, order.environment, notional, limits, orders_today, len(orders))
        if refusal is not None:
            refused.append(refusal)
    # A venue may be left out for the whole (its balance) and still take a part.
    used = {order.venue for order in orders}
    left_out = tuple(one for one in exclusions if one.venue not in used)
    if refused:
        return OrderPlan((), (), (), (*left_out, *refused), None)
    return OrderPlan(
        orders=orders,
        fallbacks=(),
        passed_over=(),
        exclusions=left_out,
        expires_mono_ns=_expiry(orders, settings.max_age_ns),
    )


def _refusal(
    order: PlannedOrder, market: VenueMarket, named: str | None, limits: OrderLimits, orders_today: int
) -> Exclusion | None:
    if named is not None and order.venue != named:
        return Exclusion(order.venue, Reason.NOT_ASKED_FOR, f"{named} was named")
    if market.account is None:
        return Exclusion(order.venue, Reason.NO_KEY, "there is no key for it")
    return foreseen(order.venue, market.environment, order.notional, limits, orders_today)


def _passed_over(
    comparison: Comparison, exclusions: Sequence[Exclusion], orders: Sequence[PlannedOrder], named: str | None
) -> Iterator[Exclusion]:
    """Of the exclusions, those of venues whose price is better than that of the first order, or had it none."""
    priced = {quote.venue: quote for quote in (*comparison.quotes, *comparison.out_of_reach)}
    for exclusion in exclusions:
        quote = priced.get(exclusion.venue)
        if quote is None or (named is not None and quote.venue != named):
            continue
        if exclusion.reason is not Reason.NO_KEY and (not orders or is_better(quote, orders[0].quote)):
            yield exclusion


def _expiry(orders: Sequence[PlannedOrder], max_age_ns: int) -> int | None:
    """Until when all quotes of ``orders`` are young enough, monotonic clock."""
    return min((order.quote.as_of_mono_ns + max_age_ns for order in orders), default=None)
