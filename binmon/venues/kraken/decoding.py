"""Frames of Kraken's WebSocket v2, decoded, and the books of one connection checked message by message
(reference: other venues, section 2).

There are no update ids: the checksum alone shows that a message was lost, and it needs the book as it is after every
message. So the decoder follows each book itself, and numbers the updates.
"""

from __future__ import annotations

import decimal
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from binmon.venues.base import (
    BookBroken,
    ControlReply,
    DepthUpdate,
    MalformedFrame,
    OtherMessage,
    PlainUpdate,
    StreamSnapshot,
)
from binmon.venues.kraken.checksum import CHECKED_LEVELS, Precision, checksum
from binmon.venues.level_texts import UNREADABLE, LevelTexts
from binmon.venues.windows import LevelText, WindowSide, levels_text, removals, snapshot_of

NAME = "kraken"
_BOOK = "book"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_DECIMALS = 30


class _Level(msgspec.Struct, gc=False):
    price: Decimal  # JSON numbers, decoded from their text
    quantity: Decimal = msgspec.field(name="qty")


class _Entry(msgspec.Struct, gc=False):
    symbol: str
    checksum: int
    bids: list[_Level] = []
    asks: list[_Level] = []
    timestamp: str | None = None


class _BookMessage(msgspec.Struct, gc=False):
    channel: str
    kind: str = msgspec.field(name="type")
    entries: list[_Entry] = msgspec.field(name="data")


class _Named(msgspec.Struct, gc=False):
    symbol: str


class _NamedMessage(msgspec.Struct, gc=False):
    """What is still to be had of a message of the book channel that is not as documented."""

    entries: list[_Named] = msgspec.field(name="data")


class _Envelope(msgspec.Struct, gc=False):
    """What tells all messages apart."""

    channel: str | None = None
    kind: str | None = msgspec.field(name="type", default=None)
    method: str | None = None
    success: bool | None = None
    error: str | None = None
    request_id: int | None = msgspec.field(name="req_id", default=None)


class _Book:
    """One symbol's book on this connection."""

    __slots__ = ("asks", "bids", "id", "precision")

    def __init__(self, depth: int, precision: Precision) -> None:
        self.bids, self.asks = WindowSide(depth, descending=True), WindowSide(depth, descending=False)
        self.precision = precision
        self.id = 0  # of its last update

    def take(self, entry: _Entry) -> tuple[list[LevelText], list[LevelText]]:
        """Apply an entry and cut; the changes of both sides, bids first, what fell out of the window included.

        Raises _Unreadable, after which the book is worthless.
        """
        return self._take(self.bids, entry.bids), self._take(self.asks, entry.asks)

    def _take(self, side: WindowSide, levels: list[_Level]) -> list[LevelText]:
        changes = []
        for level in levels:
            texts = _texts(level, self.precision)
            if level.quantity:
                side.put(*texts)
            else:
                side.remove(texts[0])
            changes.append(texts)
        return changes + removals(side.cut())

    def checksum(self) -> int:
        return checksum(self.asks.best(CHECKED_LEVELS), self.bids.best(CHECKED_LEVELS))


class _Unreadable(ValueError):
    """A level that is no level of this symbol."""


class KrakenDecoder(LevelTexts):
    """See ``venues.base.MarketDecoder``. One for each connection.

    A book that is shown to be wrong is told of once, as a `BookBroken`; what comes for it after that is passed over, up
    to its next snapshot.
    """

    def __init__(
        self,
        depth: int,
        precision_of: Callable[[str], Precision | None],
        ids: dict[str, int] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``depth`` is the one subscribed to. ``precision_of`` says what the venue's list of instruments says, if it is
        known. ``ids`` has the last id given to each symbol; decoders that share it give ids that grow over connections.
        ``clock_ns`` is the wall clock, for messages that bear no time."""
        super().__init__()
        self._depth, self._precision_of, self._clock_ns = depth, precision_of, clock_ns
        self._ids = {} if ids is None else ids
        self._books: dict[str, _Book] = {}  # those that are right
        self._untold: deque[OtherMessage] = deque()
        self._decoder = msgspec.json.Decoder(_BookMessage)
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._named = msgspec.json.Decoder(_NamedMessage)

    def update(self, frame: bytes) -> DepthUpdate | None:
        """The depth update in ``frame``, applied and verified; None for anything else, and for a book that is wrong."""
        try:
            message = self._decoder.decode(frame)
        except UNREADABLE:
            return None  # another kind of message: ``other`` tells
        if message.kind != "update" or message.channel != _BOOK or not message.entries:
            return None
        entries = self._of_one_symbol(message.entries)
        symbol = entries[0].symbol
        book = self._books.get(symbol)
        if book is None:
            return None  # still of the subscription that was given up
        first = book.id + 1
        bids: list[LevelText] = []
        asks: list[LevelText] = []
        time_us = 0
        for entry in entries:
            try:
                changed_bids, changed_asks = book.take(entry)
                time_us = self._time_us(entry)
            except _Unreadable as error:
                self._break(symbol, str(error))
                return None
            if (own := book.checksum()) != entry.checksum:
                self._break(symbol, f"checksum {own}, expected {entry.checksum}")
                return None
            bids += changed_bids
            asks += changed_asks
        book.id = self._next_id(symbol, time_us)
        return PlainUpdate(symbol, time_us // 1000, first, book.id, levels_text(bids), levels_text(asks))

    def other(self, frame: bytes) -> OtherMessage | None:
        """Snapshots, answers to requests, and books that have turned out wrong; None for what nobody asked for."""
        try:
            envelope = self._envelope.decode(frame)
        except UNREADABLE as error:
            raise MalformedFrame(f"{error}: {frame[:80]!r}") from None
        if envelope.method is not None:
            if envelope.success is not None or envelope.error is not None:
                self._untold.append(_reply(envelope))
        elif envelope.channel is None:
            raise MalformedFrame(f"neither channel nor method: {frame[:80]!r}")
        elif envelope.channel == _BOOK:
            self._on_book(envelope.kind, frame)
        return self._untold.popleft() if self._untold else None

    def _on_book(self, kind: str | None, frame: bytes) -> None:
        """A message of the book channel that is no good update: a snapshot, or an update that ``update`` has seen."""
        try:
            message = self._decoder.decode(frame)
        except UNREADABLE as error:
            self._on_unreadable(kind, frame, str(error))
            return
        if kind == "snapshot":
            for entry in self._of_one_symbol(message.entries):
                self._on_snapshot(entry)
        elif kind != "update":
            raise MalformedFrame(f"expected a snapshot or an update: {frame[:80]!r}")

    def _on_unreadable(self, kind: str | None, frame: bytes, problem: str) -> None:
        """A message of the book channel that is not as documented. Raises MalformedFrame where it names no symbol."""
        try:
            named = self._named.decode(frame).entries
        except UNREADABLE:
            # the checksum of the next message shows which book has missed this one
            raise MalformedFrame(f"a {kind} of the book channel: {problem}: {frame[:120]!r}") from None
        for symbol in dict.fromkeys(entry.symbol for entry in named):
            if kind == "snapshot" or symbol in self._books:
                self._break(symbol, f"unreadable {kind}: {problem}")

    def _on_snapshot(self, entry: _Entry) -> None:
        symbol = entry.symbol
        self._books.pop(symbol, None)
        try:
            book = self._verified(entry)
            time_us = self._time_us(entry)
            book.id = self._next_id(symbol, time_us)
            snapshot = snapshot_of(self, NAME, symbol, book.id, book.bids.text(), book.asks.text())
        except ValueError as error:  # _Unreadable, MalformedFrame
            self._break(symbol, f"snapshot: {error}")
            return
        self._books[symbol] = book
        self._untold.append(StreamSnapshot(snapshot, time_us // 1000))

    def _verified(self, entry: _Entry) -> _Book:
        """The book of a snapshot. Raises _Unreadable where no precision leads to its checksum.

        The venue's list of instruments says the precision, but it is as old as the last look at it. So what this very
        snapshot was printed with counts where that of the list fails: trailing zeros are printed, too.
        """
        problem = "no levels"
        for precision in dict.fromkeys(filter(None, (self._precision_of(entry.symbol), _printed(entry)))):
            book = _Book(self._depth, precision)
            try:
                book.take(entry)
            except _Unreadable as error:
                problem = str(error)
                continue
            own = book.checksum()
            if own == entry.checksum:
                return book
            problem = f"checksum {own}, expected {entry.checksum}"
        raise _Unreadable(problem)

    def _of_one_symbol(self, entries: list[_Entry]) -> list[_Entry]:
        """The entries of the first one's symbol. The venue sends one symbol a message; should it ever send more, the
        books of the others are not followed on half of what was said, but begun anew."""
        if len(entries) == 1:
            return entries
        first = entries[0].symbol if entries else ""
        for symbol in dict.fromkeys(entry.symbol for entry in entries):
            if symbol != first:
                self._break(symbol, f"a message of two books, expected one of {first} alone")
        return [entry for entry in entries if entry.symbol == first]

    def _break(self, symbol: str, reason: str) -> None:
        self._books.pop(symbol, None)
        self._untold.append(BookBroken(symbol, reason))

    def _next_id(self, symbol: str, time_us: int) -> int:
        """Ids are the venue's time in microseconds, as far as they grow with it."""
        given = self._ids[symbol] = max(self._ids.get(symbol, 0) + 1, time_us)
        return given

    def _time_us(self, entry: _Entry) -> int:
        if entry.timestamp is None:
            return self._clock_ns() // 1000
        try:
            at = datetime.fromisoformat(entry.timestamp)  # cuts nanoseconds to microseconds
            return (at - _EPOCH) // _MICROSECOND
        except (ValueError, TypeError) as error:  # TypeError: it names no time zone
            raise _Unreadable(f"timestamp {entry.timestamp[:40]!r}: {error}") from None


def _texts(level: _Level, precision: Precision) -> LevelText:
    try:
        texts = precision.texts(level.price, level.quantity)
    except decimal.DecimalException:
        raise _Unreadable(
            f"{_shown(level)}: expected at most {precision.price} and {precision.quantity} decimals"
        ) from None
    # NaN and infinity do not pass as numbers of JSON, but they do as texts
    if not (level.price.is_finite() and level.quantity.is_finite() and level.price > 0 and level.quantity >= 0):
        raise _Unreadable(f"{_shown(level)}: expected a price above zero and a quantity of zero or more")
    return texts


def _shown(level: _Level) -> str:
    return f"price {level.price!s:.40}, quantity {level.quantity!s:.40}"


def _printed(entry: _Entry) -> Precision | None:
    """The decimals that the levels of a message were printed with; None without levels, and for an absurd number."""
    levels = entry.bids + entry.asks
    price = max((_decimals(level.price) for level in levels), default=_MOST_DECIMALS)
    quantity = max((_decimals(level.quantity) for level in levels), default=_MOST_DECIMALS)
    return Precision(price, quantity) if max(price, quantity) < _MOST_DECIMALS else None


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _reply(envelope: _Envelope) -> ControlReply:
    error = envelope.error if envelope.error is not None or envelope.success else "refused without a reason"
    if error is not None and envelope.method is not None:
        error = f"{envelope.method}: {error}"
    return ControlReply("" if envelope.request_id is None else str(envelope.request_id), error)
