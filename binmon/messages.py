"""Every type that crosses a thread. All are frozen; arrays in them are marked read-only by whoever makes them.

Times: ``*_ns`` and ``*_ms`` of the wall clock are UTC since the epoch; ``*_mono_ns`` is the monotonic clock.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a venue says of one symbol. Sizes are exact decimals; zero means that the venue names none."""

    venue: str
    symbol: str
    base: str
    quote: str
    status: str
    tick_size: Decimal
    lot_size: Decimal


@dataclass(frozen=True, slots=True)
class FrameChunk:
    """The text frames that one read of a socket completed, in order. One message a read, not one a frame."""

    connection: str
    received_ns: int
    received_mono_ns: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StreamUp:
    """A connection delivers: handshake done, streams asked for."""

    venue: str
    connection: str
    streams: tuple[str, ...]
    at_mono_ns: int


@dataclass(frozen=True, slots=True)
class StreamDown:
    """A connection has ended; whatever it carried is no longer live."""

    venue: str
    connection: str
    streams: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RotateFeeds:
    """Replace sockets now, each by a successor that delivers before it closes; ``connection`` None means all."""

    reason: str
    connection: str | None = None


@dataclass(frozen=True, slots=True)
class SymbolsChanged:
    """Books to keep from now on, each with the number of its last recorded epoch (0: none), and books to let go.

    ``reason`` is why, as the recording of those that go will say.
    """

    venue: str
    listed: tuple[tuple[str, int], ...]
    delisted: tuple[str, ...]
    reason: str = "no longer trading"


class Priority(enum.IntEnum):
    """Who goes first when request weight is short; a lower number goes first."""

    ORDER = 0
    RESYNC = 1
    INITIAL_SYNC = 2
    AUDIT = 3
    LISTING = 4


@dataclass(frozen=True, slots=True)
class SnapshotWanted:
    """Ask the fetcher for a REST snapshot. ``token`` comes back with the answer, so that a late one is known."""

    venue: str
    symbol: str
    limit: int
    priority: Priority
    token: int


@dataclass(frozen=True, slots=True)
class DepthSnapshot:
    """A REST depth answer: two sides as parallel arrays, best first.

    ``inexact`` is the text of a number that a double would have rounded, if there was one.
    """

    venue: str
    symbol: str
    last_update_id: int
    bid_price: Floats
    bid_quantity: Floats
    ask_price: Floats
    ask_quantity: Floats
    inexact: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotArrived:
    """The answer to a SnapshotWanted."""

    token: int
    snapshot: DepthSnapshot


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """No answer to a SnapshotWanted; ``retry_after_s`` is at least how long to wait before asking again."""

    token: int
    venue: str
    symbol: str
    error: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class LevelChanges:
    """Levels that changed, one side: parallel arrays in the order of change; a later entry wins, zero removes."""

    price: Floats
    quantity: Floats


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """One row of the recording: a whole book as of ``update_id``, both sides best first.

    ``bid_changes`` and ``ask_changes`` lead from the row of the same symbol with id ``changes_since`` to this
    one; ``changes_since`` is None where there is no such row (the first of an epoch). A recorder may store either.
    ``previous_id`` is the id of the row that was handed over before this one, also where no changes lead from it to
    this one; None for the first after a synchronisation. A recorder that has not seen that row knows that it was lost.
    """

    venue: str
    symbol: str
    event_time_ms: int
    receive_time_ns: int
    update_id: int
    updates: int
    epoch: int
    bid_known_to: float | None
    ask_known_to: float | None
    bid_price: Floats
    bid_quantity: Floats
    ask_price: Floats
    ask_quantity: Floats
    changes_since: int | None
    bid_changes: LevelChanges
    ask_changes: LevelChanges
    previous_id: int | None = None


class BookEventKind(enum.StrEnum):
    """Why the recording of a book has a seam at some place."""

    GAP = "gap"
    RESYNC = "resync"
    AUDIT = "audit"
    DISCONNECT = "disconnect"
    ROTATION = "rotation"
    STALL = "stall"


@dataclass(frozen=True, slots=True)
class BookEvent:
    """One row of ``book_events``. Update ids are None where the event has none."""

    time_ns: int
    venue: str
    symbol: str
    kind: BookEventKind
    from_update_id: int | None
    to_update_id: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What showed a book to be wrong, to be kept on disk for whoever looks into it. ``document`` is JSON."""

    time_ns: int
    venue: str
    symbol: str
    update_id: int
    document: bytes


@dataclass(frozen=True, slots=True)
class TopOfBook:
    """Best bid and ask of a book as of ``update_id``; a side without levels is None. In any other ``state`` than synced it
    is what was known last, ``age_ms`` ago."""

    venue: str
    symbol: str
    bid: float | None
    bid_quantity: float | None
    ask: float | None
    ask_quantity: float | None
    update_id: int
    event_time_ms: int
    receive_time_ns: int
    age_ms: float
    state: str = "synced"

    @property
    def spread(self) -> float | None:
        """Best ask minus best bid, exactly as their decimals are; None without one of them."""
        if self.bid is None or self.ask is None:
            return None
        return float(Decimal(repr(self.ask)) - Decimal(repr(self.bid)))

    @property
    def mid(self) -> float | None:
        """Half way between the two; None without one of them."""
        if self.bid is None or self.ask is None:
            return None
        return float((Decimal(repr(self.ask)) + Decimal(repr(self.bid))) / 2)


@dataclass(frozen=True, slots=True)
class BookView:
    """A book as of ``update_id``, to be looked at: parallel read-only arrays, best first, cut to what was asked for.

    The sides are empty unless ``synced``. ``age_ms`` is since the last update was received, None where none ever was.
    """

    venue: str
    symbol: str
    synced: bool
    update_id: int | None
    event_time_ms: int
    age_ms: float | None
    bid_price: Floats
    bid_quantity: Floats
    ask_price: Floats
    ask_quantity: Floats


class Severity(enum.StrEnum):
    """How bad a condition is; the level of its line in the log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class AlertName(enum.StrEnum):
    """The conditions that people may be told of, and have rules: each is an event of the log too."""

    LATENCY_DELAYED = "latency.delayed"
    LATENCY_LOST = "latency.lost"
    LATENCY_SKIPPED = "latency.skipped"
    PRICE_CROSSED = "price.crossed"
    RECORDER_FAILED = "recorder.failed"
    SYMBOL_LISTED = "symbol.listed"
    SYMBOL_STATUS = "symbol.status"
    SYMBOLS_CHANGED = "symbols.changed"
    SYMBOLS_RESET = "symbols.reset"
    USER_STREAM_REFUSED = "user_stream.refused"


@dataclass(frozen=True, slots=True)
class AlertSignal:
    """One observation about a condition that people may want to hear of.

    ``name`` is the condition, ``subject`` what it is about (``binance BTCUSDT``). ``firing`` says whether it holds now;
    False: it was looked at and does not hold. ``text`` is one line for people, with figures. ``once``: an event that ends
    by itself (a new listing), with no recovery to tell. ``arrived_mono_ns`` is when the frame was received that it comes
    from, if it comes from one. ``sighting`` names the single thing that was seen, such as an order: what is said of it
    once more is not counted as seen again.
    """

    name: AlertName
    subject: str
    firing: bool
    severity: Severity
    text: str
    at_ns: int
    once: bool = False
    arrived_mono_ns: int | None = None
    sighting: str = ""


class OrderSide(enum.StrEnum):
    """Which side of the trade an order takes."""

    BUY = "BUY"
    SELL = "SELL"


# Statuses after which an order does not change any more, in the words of Binance Spot.
FINAL_STATUSES = frozenset(["FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"])


@dataclass(frozen=True, slots=True)
class TradingRules:
    """What a venue asks of a market order for one symbol. All sizes are exact; zero means that there is no such rule.

    ``quantity_step`` and the bounds of the quantity already join the rules for all orders and those for market orders.
    ``status`` is the venue's word; only ``TRADING`` takes orders. ``market_orders`` is False where the venue takes none.
    ``quote_step`` is the step of an amount of quote currency, for orders that name one.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    status: str
    min_quantity: Decimal
    max_quantity: Decimal
    quantity_step: Decimal
    min_notional: Decimal
    max_notional: Decimal
    market_orders: bool
    quote_step: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A market order: either ``quantity`` in base currency or ``quote_amount`` in quote currency.

    ``notional`` is what it is worth in quote currency, as far as is known before it trades: what the limits go by.
    """

    venue: str
    symbol: str
    side: OrderSide
    client_order_id: str
    notional: Decimal
    quantity: Decimal | None = None
    quote_amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderSent:
    """The request of an order leaves now."""

    order: OrderRequest
    sent_ns: int
    sent_mono_ns: int


@dataclass(frozen=True, slots=True)
class OrderAnswered:
    """The venue has taken an order. Times ``*_us`` are the venue's clock, microseconds UTC."""

    venue: str
    symbol: str
    client_order_id: str
    order_id: int
    status: str
    executed_quantity: Decimal
    executed_quote: Decimal
    transact_time_us: int
    answered_ns: int
    answered_mono_ns: int


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The venue, or our own limits, said no: the order has not been executed and never will be.

    ``code`` is the venue's error code, None where it gave none.
    """

    venue: str
    symbol: str
    client_order_id: str
    code: int | None
    message: str
    answered_ns: int
    answered_mono_ns: int


@dataclass(frozen=True, slots=True)
class OrderUncertain:
    """No usable answer: the order may have been executed or not. Never a reason to send it again."""

    venue: str
    symbol: str
    client_order_id: str
    reason: str
    at_mono_ns: int


@dataclass(frozen=True, slots=True)
class OrderState:
    """What the venue says when asked for an order by its client id; ``found`` False: it knows no such order.

    The other fields are empty then. ``update_time_us``: last change, the venue's clock.
    """

    venue: str
    symbol: str
    client_order_id: str
    found: bool
    order_id: int = 0
    status: str = ""
    executed_quantity: Decimal = Decimal(0)
    executed_quote: Decimal = Decimal(0)
    update_time_us: int = 0


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """One change of one order, from the user-data stream. Times ``*_us`` are the venue's clock, microseconds UTC.

    ``client_order_id`` is the order's own, also for a cancellation. ``event_time_us`` is when the venue produced the
    event, ``transaction_time_us`` when its matching engine made the change. ``trade_id`` is None without a fill.
    ``execution_id`` together with symbol and order tells a report from its duplicate.
    """

    venue: str
    symbol: str
    client_order_id: str
    order_id: int
    execution_id: int
    execution_type: str
    order_status: str
    side: OrderSide
    last_quantity: Decimal
    last_price: Decimal
    executed_quantity: Decimal
    executed_quote: Decimal
    commission: Decimal
    commission_asset: str
    trade_id: int | None
    event_time_us: int
    transaction_time_us: int
    reason: str
    connection: str
    received_ns: int
    received_mono_ns: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has of one asset."""

    asset: str
    free: Decimal
    locked: Decimal


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """Balances after a change: those that may have changed, absolute. ``time_us`` is the venue's clock."""

    venue: str
    balances: tuple[Balance, ...]
    time_us: int


@dataclass(frozen=True, slots=True)
class UserStreamUp:
    """The venue has confirmed the subscription to our account's events.

    ``after_break``: events may have been missed before it; whoever has open orders should ask for them.
    """

    venue: str
    connection: str
    after_break: bool
    at_mono_ns: int


@dataclass(frozen=True, slots=True)
class UserStreamDown:
    """No subscription is in force any more."""

    venue: str
    reason: str
    at_mono_ns: int


@dataclass(frozen=True, slots=True)
class Candle:
    """One candle (kline) as the venue knows it at some moment. Prices and volumes are exact.

    ``open_time_ms`` tells it from the others of its interval; ``close_time_ms`` is its last millisecond, so that the next
    candle opens one later. ``trades`` is 0 where the venue does not count them. ``closed``: it will not change any more.
    ``event_time_ms`` is when the venue produced the event, 0 for a candle that was asked for.
    """

    venue: str
    symbol: str
    interval: str
    open_time_ms: int
    close_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    closed: bool
    event_time_ms: int
    receive_time_ns: int

    @property
    def figures(self) -> tuple[int, int, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal, int]:
        """What it says, without how and when we heard of it: equal for equal candles."""
        return (
            self.open_time_ms, self.close_time_ms, self.open, self.high, self.low, self.close, self.volume,
            self.quote_volume, self.trades,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trade:
    """One public trade. ``buyer_is_maker``: the taker sold. Times ``*_ms`` are the venue's clock."""

    venue: str
    symbol: str
    trade_id: int
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool
    trade_time_ms: int
    event_time_ms: int
    receive_time_ns: int


@dataclass(frozen=True, slots=True)
class CandlesWanted:
    """Ask the fetcher for candles, oldest first: the first ``limit`` that open at ``start_ms`` or later; where that is
    None, the newest ``limit`` that open at ``end_ms`` or before. ``token`` comes back with the answer."""

    venue: str
    symbol: str
    interval: str
    start_ms: int | None
    end_ms: int | None
    limit: int
    priority: Priority
    token: int


@dataclass(frozen=True, slots=True)
class CandlesArrived:
    """The answer to a CandlesWanted, oldest first."""

    request: CandlesWanted
    candles: tuple[Candle, ...]


@dataclass(frozen=True, slots=True)
class CandlesFailed:
    """No answer to a CandlesWanted; ``retry_after_s`` is at least how long to wait before asking again."""

    request: CandlesWanted
    error: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class PriceCrossed:
    """A price has gone beyond a line of the user. ``already``: it was beyond when it was first looked at.

    ``source`` is ``candle`` or ``trade``, ``watch`` what is compared (``1m close``; empty for trades), ``direction`` is
    ``above`` or ``below``. ``at_ms`` is the venue's time of the price.
    """

    venue: str
    symbol: str
    source: str
    watch: str
    price: Decimal
    threshold: Decimal
    direction: str
    already: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class PriceReturned:
    """A price that was beyond a line has come back by the hysteresis. ``beyond_ms``: how long, by the venue's times;
    ``crossed_at_ms`` is where that began."""

    venue: str
    symbol: str
    source: str
    watch: str
    price: Decimal
    threshold: Decimal
    direction: str
    crossed_at_ms: int
    at_ms: int

    @property
    def beyond_ms(self) -> int:
        return max(0, self.at_ms - self.crossed_at_ms)


@dataclass(frozen=True, slots=True)
class SymbolsWanted:
    """Ask the fetcher for all symbols of a venue. ``token`` comes back with the answer."""

    venue: str
    token: int


@dataclass(frozen=True, slots=True)
class SymbolsArrived:
    """The answer to a SymbolsWanted."""

    token: int
    instruments: Mapping[str, Instrument]
    asked_mono_ns: int
    answered_mono_ns: int


@dataclass(frozen=True, slots=True)
class SymbolsFailed:
    """No answer to a SymbolsWanted."""

    token: int
    error: str
    retry_after_s: float


class FirstSeenBy(enum.StrEnum):
    """What showed a symbol first."""

    BASELINE = "baseline"  # it was there when this venue was first looked at, or was reset
    EXCHANGE_INFO = "exchange_info"
    MINI_TICKER = "mini_ticker"


@dataclass(frozen=True, slots=True)
class SymbolListed:
    """A symbol that the venue did not list before. ``lead_ms`` is by how much ``first_seen_by`` was ahead of the other
    signal; None while the other has not shown it."""

    venue: str
    symbol: str
    base: str
    quote: str
    status: str
    first_seen_by: FirstSeenBy
    lead_ms: float | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class SymbolStatus:
    """A known symbol has another status; ``DELISTED`` for one that the venue does not list any more."""

    venue: str
    symbol: str
    status: str
    previous: str
    first_seen_by: FirstSeenBy
    lead_ms: float | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class CandlesChanged:
    """Candles that are new or different, oldest first. ``whole``: they are all of the series, which replaces what was
    known of it; else they are to be put in the places of those with the same open time, or at the end."""

    venue: str
    symbol: str
    interval: str
    candles: tuple[Candle, ...]
    whole: bool
