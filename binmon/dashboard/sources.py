"""What the dashboard needs of the daemon. The wiring has the implementation; tests have one of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from binmon.messages import BookView, Candle, Instrument, Trade

Key = tuple[str, str]
"""Venue and symbol."""
SeriesKey = tuple[str, str, str]
"""Venue, symbol and interval."""


@dataclass(frozen=True, slots=True)
class VenueDescription:
    """A venue and what can be seen of it. ``books`` are the symbols whose books are kept; ``orders``: its delays are timed;
    ``intervals`` are those of its candles, shortest first."""

    name: str
    environment: str
    symbols: int
    candles: bool
    trades: bool
    books: tuple[str, ...]
    orders: bool
    intervals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Candles as they stand, oldest first. ``state`` is live, loading or stale."""

    state: str
    candles: tuple[Candle, ...]


@dataclass(frozen=True, slots=True)
class TimedOrder:
    """One order of the delay monitor. Times in milliseconds, None where there is no such figure."""

    venue: str
    symbol: str
    client_order_id: str
    sent_ms: int
    order_class: str
    sent_to_report_ms: float | None
    sent_to_event_ms: float | None
    event_to_receive_ms: float | None
    uncertainty_ms: float | None


@dataclass(frozen=True, slots=True)
class DelayReport:
    """The orders of some time, oldest first, and what they amount to. ``histogram`` has the upper bound and the count of each
    bucket; ``percentiles`` are of ``sent_to_report_ms``."""

    threshold_ms: float
    venue: str
    symbol: str
    orders: tuple[TimedOrder, ...]
    classes: Mapping[str, int]
    percentiles: Mapping[str, float | None]
    histogram: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class SymbolEntry:
    """A symbol that a venue lists. ``first_seen_ms`` is None where nobody has watched for new ones."""

    venue: str
    symbol: str
    base: str
    quote: str
    status: str
    first_seen_ms: int | None
    first_seen_by: str | None


Answer = Callable[[BookView | None], None]


class Sources(Protocol):
    """All of it may be called by any thread, and answers at once. What is not there (yet) is empty."""

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """The document of ``/healthz``."""
        ...

    def venues(self) -> Sequence[VenueDescription]:
        """Every venue of the configuration."""
        ...

    def instruments(self, venue: str) -> Mapping[str, Instrument]:
        """What a venue lists, by symbol."""
        ...

    def favourite(self, kind: str) -> SeriesKey | None:
        """What to show first on the page ``candles``, ``trades`` or ``book``: the first of the configuration."""
        ...

    def series(self, key: SeriesKey) -> Series | None:
        """Candles; None while they are not followed."""
        ...

    def follow(self, series: frozenset[SeriesKey], trades: frozenset[Key]) -> None:
        """Somebody looks at exactly these, beside what the configuration has. To be called when that changes."""
        ...

    def recent_trades(self, venue: str, symbol: str) -> Sequence[Trade]:
        """Trades from before somebody looked, oldest first, where they are known."""
        ...

    def book_states(self) -> Mapping[Key, str]:
        """The state of every book that is kept."""
        ...

    def ask_book(self, venue: str, symbol: str, levels: int, answer: Answer) -> bool:
        """Ask for a book; ``answer`` is called in another thread, at once or never, and must not wait. False: not asked,
        because no such venue's books are kept, or because who keeps them is behind."""
        ...

    def delays(self, since_ns: int) -> DelayReport:
        """What the delay monitor has found since then (UTC)."""
        ...

    def symbols(self) -> Sequence[SymbolEntry]:
        """All that the venues list, by venue and symbol."""
        ...

    def new_symbols(self, user: str) -> Sequence[SymbolEntry]:
        """What was listed since this user looked, newest first."""
        ...

    def looked(self, user: str, at_ms: int) -> None:
        """The user has seen all that was listed until then (UTC); an earlier time than before changes nothing."""
        ...
