"""What is known of one pair at one venue at one moment: its depth, its rules, our fees and what we have there."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from binmon.execution.exact import exact
from binmon.execution.reasons import Exclusion, Reason
from binmon.messages import Floats, Instrument, OrderSide, TradingRules
from binmon.venues.trading import Account

TRADING = "TRADING"


class Level(NamedTuple):
    """One price of a book and the quantity there, base currency."""

    price: Decimal
    quantity: Decimal


class DepthSource(enum.StrEnum):
    """Where a depth is from."""

    BOOK = "book"  # a book that is kept from the stream
    REST = "rest"  # a snapshot that was asked for


class DepthState(enum.Enum):
    """Whether a depth may be traded on, and why not."""

    LIVE = "live"  # whole, as of its time
    UNSYNCED = "unsynced"  # the book is being rebuilt
    UNREACHABLE = "unreachable"  # no answer, or the stream is down
    RATE_LIMITED = "rate_limited"  # 429, 10006, or our own ledger says wait


_NOT_LIVE = {
    DepthState.UNSYNCED: Reason.UNSYNCED,
    DepthState.UNREACHABLE: Reason.UNREACHABLE,
    DepthState.RATE_LIMITED: Reason.RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class MarketDepth:
    """The book of one symbol at one venue as far as it is known, both sides best first, every number exact.

    ``as_of_mono_ns`` is when it was last known to be so: when the frame or the answer was received, monotonic clock.
    ``detail`` says more of a state that is not LIVE. Raises ValueError for levels that are no book: a price twice or out
    of order, a price or quantity that is not above zero.
    """

    venue: str
    instrument: Instrument
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    as_of_mono_ns: int
    source: DepthSource
    state: DepthState = DepthState.LIVE
    detail: str = ""

    def __post_init__(self) -> None:
        if self.instrument.venue != self.venue:
            raise ValueError(f"{self.instrument.symbol} of {self.instrument.venue} is no depth of {self.venue}")
        _check_side(self.venue, "bids", self.bids, -1)
        _check_side(self.venue, "asks", self.asks, 1)

    def age_ns(self, now_mono_ns: int) -> int:
        """How old it is; zero for one that came after ``now``."""
        return max(0, now_mono_ns - self.as_of_mono_ns)

    def facing(self, side: OrderSide) -> tuple[Level, ...]:
        """The levels that a market order of ``side`` takes."""
        return self.asks if side is OrderSide.BUY else self.bids

    def refusal(self, now_mono_ns: int, max_age_ns: int) -> Exclusion | None:
        """Why no order may rely on it now; None: it may."""
        if self.state is not DepthState.LIVE:
            reason = _NOT_LIVE[self.state]
            return Exclusion(self.venue, reason, self.detail or reason.meaning)
        age_ns = self.age_ns(now_mono_ns)
        if age_ns > max_age_ns:
            return Exclusion(
                self.venue,
                Reason.STALE,
                f"its quote is {age_ns // 1_000_000} ms old, and {max_age_ns // 1_000_000} ms are allowed",
            )
        if self.bids and self.asks and self.bids[0].price >= self.asks[0].price:
            return Exclusion(
                self.venue,
                Reason.CROSSED,
                f"its best bid {self.bids[0].price:f} is not below its best ask {self.asks[0].price:f}",
            )
        return None


def _check_side(venue: str, name: str, levels: Sequence[Level], direction: int) -> None:
    for level in levels:
        if not (level.price.is_finite() and level.quantity.is_finite() and level.price > 0 and level.quantity > 0):
            raise ValueError(f"{name} of {venue}: {level.price} × {level.quantity} is no level")
    for better, worse in pairwise(levels):
        if (worse.price > better.price) - (worse.price < better.price) != direction:
            raise ValueError(f"{name} of {venue}: {worse.price} after {better.price} is not best first")


def levels_of(prices: Floats, quantities: Floats) -> tuple[Level, ...]:
    """One side of a kept book, exactly as the venue printed it.

    Books hold doubles of numbers with at most 15 significant digits (a number with more is refused), whose shortest text is
    the printed one.
    """
    pairs = zip(prices.tolist(), quantities.tolist(), strict=True)
    return tuple(Level(Decimal(repr(price)), Decimal(repr(quantity))) for price, quantity in pairs)


def levels_from(pairs: Iterable[Sequence[str]]) -> tuple[Level, ...]:
    """One side of a REST answer: texts of price and quantity, best first; further fields of a level are ignored."""
    return tuple(Level(Decimal(pair[0]), Decimal(pair[1])) for pair in pairs)


@dataclass(frozen=True, slots=True)
class Charge:
    """A fee: ``amount`` of ``asset``, and what that is worth in the quote currency of the order."""

    asset: str
    amount: Fraction
    value: Fraction


@dataclass(frozen=True, slots=True)
class Fees:
    """What a venue takes of a market order (a taker's fee).

    ``taker_rate`` is a share (0.001 is 0.1 %). ``asset`` None: it is taken from what the order receives, base currency
    when buying and quote currency when selling (Binance reference 3.11; Bybit reference 3.11). Else it is always taken in
    that asset: the quote currency, or a third one such as BNB, of which one unit is worth ``asset_price`` in quote
    currency. ``rate_without_asset`` is the rate, from what is received, when the account has not enough of the third
    asset; None: then the venue refuses. ``from_account`` False: the venue's public rate, not that of the account.

    Venues round each fill's fee to their own digits; that is not foreseen here.
    """

    taker_rate: Decimal
    asset: str | None = None
    asset_price: Decimal | None = None
    rate_without_asset: Decimal | None = None
    from_account: bool = True

    def __post_init__(self) -> None:
        for rate in (self.taker_rate, self.rate_without_asset):
            if rate is not None and not 0 <= rate < 1:
                raise ValueError(f"a taker rate of {rate} is no share from 0 to 1")
        if self.asset_price is not None and not (self.asset_price.is_finite() and self.asset_price > 0):
            raise ValueError(f"{self.asset_price} is no price of {self.asset}")

    def asset_for(self, side: OrderSide, rules: TradingRules) -> str:
        """In what the fee of an order is taken."""
        return self.asset or (rules.base if side is OrderSide.BUY else rules.quote)

    def is_third(self, rules: TradingRules) -> bool:
        """Whether it is taken in neither currency of the pair."""
        return self.asset is not None and self.asset not in (rules.base, rules.quote)

    def without_asset(self) -> Fees | None:
        """The fees of an account that has not enough of the third asset."""
        if self.rate_without_asset is None:
            return None
        return Fees(self.rate_without_asset, from_account=self.from_account)

    def charge(self, side: OrderSide, quantity: Fraction, notional: Fraction, rules: TradingRules) -> Charge:
        """The fee of an order that trades ``quantity`` for ``notional``.

        Raises ValueError for a third asset without a price.
        """
        rate = exact(self.taker_rate)
        asset = self.asset_for(side, rules)
        if asset == rules.base:
            return Charge(asset, rate * quantity, rate * notional)
        if asset == rules.quote:
            return Charge(asset, rate * notional, rate * notional)
        if self.asset_price is None:
            raise ValueError(f"a fee in {asset} needs the price of {asset} in {rules.quote}")
        return Charge(asset, rate * notional / exact(self.asset_price), rate * notional)


@dataclass(frozen=True, slots=True)
class VenueMarket:
    """All that an order for one pair at one venue depends on.

    ``account`` None: what the account has is not known (prices can be compared, nothing can be ordered).
    ``takes_quote_amounts``: a market order may name an amount of quote currency, a multiple of ``quote_amount_step``
    (zero: the venue names none). ``reference_price`` is by what the venue judges the notional of a market order, where
    that is not the book (Binance reference 9: the reference price, else the average). ``environment``: as `TradingVenue`.
    """

    depth: MarketDepth
    rules: TradingRules
    fees: Fees
    account: Account | None = None
    environment: str = "production"
    takes_quote_amounts: bool = True
    quote_amount_step: Decimal = Decimal(0)
    reference_price: Decimal | None = None

    def __post_init__(self) -> None:
        instrument, rules = self.depth.instrument, self.rules
        if (rules.venue, rules.symbol) != (instrument.venue, instrument.symbol):
            raise ValueError(f"rules of {rules.venue} {rules.symbol} for {instrument.venue} {instrument.symbol}")
        if (rules.base, rules.quote) != (instrument.base, instrument.quote):
            raise ValueError(f"{rules.venue} {rules.symbol}: rules and instrument are of different currencies")
        if self.fees.is_third(rules) and self.fees.asset_price is None:
            raise ValueError(f"a fee in {self.fees.asset} needs the price of {self.fees.asset} in {rules.quote}")

    @property
    def venue(self) -> str:
        """The venue's name."""
        return self.depth.venue

    def free(self, asset: str) -> Fraction:
        """What the account has free of an asset; zero when that is not known."""
        balance = None if self.account is None else self.account.balances.get(asset)
        return Fraction(0) if balance is None else exact(balance.free)

    def refusal(self, now_mono_ns: int, max_age_ns: int) -> Exclusion | None:
        """Why the venue quotes no price that could be had now, whatever the size; None: it does."""
        refusal = self.depth.refusal(now_mono_ns, max_age_ns)
        if refusal is not None:
            return refusal
        for status in (self.rules.status, self.depth.instrument.status):
            if status != TRADING:
                return Exclusion(self.venue, Reason.HALTED, f"{self.rules.symbol} is not trading (status {status})")
        if not self.rules.market_orders:
            return Exclusion(self.venue, Reason.NO_MARKET_ORDERS, f"it takes no market orders for {self.rules.symbol}")
        return None


def rules_without_key(instrument: Instrument) -> TradingRules:
    """Rules for comparing prices at a venue that is there for its market data only: its lot, and no bounds."""
    zero = Decimal(0)
    return TradingRules(
        venue=instrument.venue,
        symbol=instrument.symbol,
        base=instrument.base,
        quote=instrument.quote,
        status=instrument.status,
        min_quantity=zero,
        max_quantity=zero,
        quantity_step=instrument.lot_size,
        min_notional=zero,
        max_notional=zero,
        market_orders=True,
    )
