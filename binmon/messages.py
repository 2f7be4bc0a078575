"""Every type that crosses a thread. All are frozen; arrays in them are marked read-only by whoever makes them.

Times: ``*_ns`` and ``*_ms`` of the wall clock are UTC since the epoch; ``*_mono_ns`` is the monotonic clock.
"""

from __future__ import annotations

import enum
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
    """Books to keep from now on, each with the number of its last recorded epoch (0: none), and books to let go."""

    venue: str
    listed: tuple[tuple[str, int], ...]
    delisted: tuple[str, ...]


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
    """Best bid and ask of a synced book; a side without levels is None."""

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
