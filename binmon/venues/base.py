"""What binmon needs of a venue to keep its books. A venue is one folder that answers this interface."""

from __future__ import annotations

import enum
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import msgspec

from binmon.messages import DepthSnapshot, Instrument, LevelChanges, Priority

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An id or a time of an update. What is beyond is no number of a venue, and nothing that keeps updates has room for it."""


class DepthUpdate(Protocol):
    """One change of a book as the stream sends it, the levels still as text (see ``MarketDecoder.levels``). Ids and time are
    each a `Number`."""

    @property
    def symbol(self) -> str: ...
    @property
    def event_time_ms(self) -> int: ...
    @property
    def first_update_id(self) -> int: ...
    @property
    def last_update_id(self) -> int: ...
    @property
    def bids(self) -> bytes: ...
    @property
    def asks(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PlainUpdate:
    """A `DepthUpdate` of nothing but ids, time and levels: one whose levels were rewritten, or that was kept for a while."""

    symbol: str
    event_time_ms: int
    first_update_id: int
    last_update_id: int
    bids: bytes
    asks: bytes


@dataclass(frozen=True, slots=True)
class ShutdownNotice:
    """The venue is about to close this connection: a successor is due now."""

    event_time_ms: int


@dataclass(frozen=True, slots=True)
class ControlReply:
    """An answer to a request on the stream; ``error`` is None for success."""

    request_id: str
    error: str | None


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """A whole book that came on the stream: what a subscription begins with, or a venue that starts anew."""

    snapshot: DepthSnapshot
    event_time_ms: int


@dataclass(frozen=True, slots=True)
class BookBroken:
    """A frame has shown that the book of ``symbol`` is wrong (a checksum that differs): subscribe to it again."""

    symbol: str
    reason: str


OtherMessage = ShutdownNotice | ControlReply | StreamSnapshot | BookBroken


@dataclass(frozen=True, slots=True)
class ParsedLevels:
    """Levels of one side in the order they came. ``inexact`` is a text that a double would have rounded."""

    changes: LevelChanges
    inexact: str | None


class MalformedFrame(ValueError):
    """A frame that is not what the venue documents; ``str()`` says why, cut to a readable length."""


@runtime_checkable
class MarketDecoder(Protocol):
    """Turns frames into messages. ``update`` is the hot path: it returns None for whatever is no depth update.

    Each connection has one of its own, from its opening to its end, so that it may follow what the venue counts or sums
    up on that connection. What parses levels (``levels``, ``sides``, ``pairs``) depends on nothing that went before.
    """

    def update(self, frame: bytes) -> DepthUpdate | None:
        """The depth update in ``frame``, or None: then ask ``other``."""
        ...

    def other(self, frame: bytes) -> OtherMessage | None:
        """What else the frame is; None for a known kind nobody asked for. Raises MalformedFrame."""
        ...

    def levels(self, texts: Sequence[bytes]) -> ParsedLevels:
        """Parse one side of many updates at once, oldest first. Raises MalformedFrame."""
        ...

    def sides(self, bids: Sequence[bytes], asks: Sequence[bytes]) -> tuple[ParsedLevels, ParsedLevels]:
        """``levels`` of both sides of the same updates. Raises MalformedFrame."""
        ...

    def pairs(self, text: bytes) -> list[tuple[float, float]]:
        """One side of one update as (price, quantity), in order; quantity zero removes. Raises MalformedFrame."""
        ...


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A text that keeps a connection open, sent every ``every_s``."""

    message: bytes
    every_s: float


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One connection to open: its address, the streams it carries and the messages that ask for them.

    ``silence_s`` without a byte means that it is dead.
    """

    name: str
    url: str
    streams: tuple[str, ...]
    opening_messages: tuple[bytes, ...]
    heartbeat: Heartbeat | None = None
    silence_s: float = 60.0


class BookStart(enum.Enum):
    """Where the books of a venue begin."""

    REST_SNAPSHOT = "rest_snapshot"  # a snapshot by REST, into which the stream's updates are merged by id
    STREAM_SNAPSHOT = "stream_snapshot"  # every subscription begins with a snapshot of its own


@dataclass(frozen=True, slots=True)
class BookRules:
    """How the books of a venue are kept; the defaults are those of Binance.

    ``shared_ids``: update ids mean the same on every connection, so that several may carry one book. Without, a book
    follows one connection and begins anew on another.
    ``comparable``: REST snapshots bear ids of the same numbering, so that audits and stall probes can ask for them.
    ``window``: levels a side that the stream keeps the book to, None where it is the whole book. What has left the
    window is not told of any more, so both sides are cut to it, and nothing beyond is known.
    ``tells_what_leaves``: what leaves the window comes as a removal, from the venue or from the decoder. Where it does not,
    the book must be cut at every update, which costs a merge each.
    """

    start: BookStart = BookStart.REST_SNAPSHOT
    shared_ids: bool = True
    comparable: bool = True
    window: int | None = None
    tells_what_leaves: bool = False


class Venue(ABC):
    """The public side of a venue. Methods that ask it may raise any RetryError or RequestRefused."""

    name: str
    streams_per_connection: int
    book_rules: BookRules = BookRules()

    @property
    @abstractmethod
    def weight_per_minute(self) -> int:
        """Request weight that the venue allows in a minute."""

    @abstractmethod
    def instruments(self, stop: threading.Event, priority: Priority = Priority.INITIAL_SYNC) -> dict[str, Instrument]:
        """All instruments the venue lists, by symbol; also feeds the limits into the rate ledger."""

    @abstractmethod
    def depth(self, symbol: str, limit: int, priority: Priority, stop: threading.Event) -> DepthSnapshot:
        """A REST snapshot of at most ``limit`` levels a side."""

    @abstractmethod
    def snapshot_weight(self, limit: int) -> int:
        """Request weight of one ``depth`` with this limit."""

    @abstractmethod
    def depth_stream(self, symbol: str) -> str:
        """The name of the stream that carries this symbol's book updates."""

    @abstractmethod
    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        """One connection that carries these streams, at most ``streams_per_connection``."""

    @abstractmethod
    def decoder(self) -> MarketDecoder:
        """A decoder for one thread, and for one connection."""

    def resubscription(self, stream: str) -> tuple[bytes, ...]:
        """What to send on a live connection to have a stream begin anew with a snapshot. Only where books start so."""
        raise NotImplementedError(f"the books of {self.name} do not start on the stream")
