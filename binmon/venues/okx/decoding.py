"""Frames of OKX's public stream, decoded, and the books of one connection cut to the window that it tells of
(reference: other venues, section 1).
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from itertools import chain, zip_longest
from typing import Any

import msgspec

from binmon.venues.base import (
    BookBroken,
    ControlReply,
    DepthUpdate,
    MalformedFrame,
    Number,
    OtherMessage,
    PlainUpdate,
    ShutdownNotice,
    StreamSnapshot,
)
from binmon.venues.level_texts import UNREADABLE, LevelTexts
from binmon.venues.windows import LevelText, WindowSide, levels_text, removals, snapshot_of

NAME = "okx"
BOOKS = "books"
WINDOW = 400  # levels a side of this channel
_CHECKED_LEVELS = 25
_PONG = b"pong"  # the answer to our text ``ping``, not JSON
_UPGRADE = "64008"
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_NO_LEVELS: list[LevelText] = []


class _Argument(msgspec.Struct, gc=False):
    channel: str
    symbol: str = msgspec.field(name="instId")


class _Entry(msgspec.Struct, gc=False):
    time_ms: str = msgspec.field(name="ts")
    previous_id: int = msgspec.field(name="prevSeqId")
    id: Number = msgspec.field(name="seqId")
    bids: list[list[str]]  # price, quantity, a field that is obsolete, number of orders
    asks: list[list[str]]
    checksum: int = 0


class _BookMessage(msgspec.Struct, gc=False):
    argument: _Argument = msgspec.field(name="arg")
    action: str
    entries: list[_Entry] = msgspec.field(name="data")


class _AnyMessage(msgspec.Struct, gc=False):
    """What tells all messages apart."""

    event: str | None = None
    id: str | None = None
    code: str | None = None
    message: str | None = msgspec.field(name="msg", default=None)
    argument: Any = msgspec.field(name="arg", default=None)
    action: str | None = None


class _Unreadable(ValueError):
    """What no book can be made of."""


class _Book:
    """One symbol's book on this connection."""

    __slots__ = ("asks", "bids", "id", "lost")

    def __init__(self, window: int) -> None:
        self.bids, self.asks = WindowSide(window, descending=True), WindowSide(window, descending=False)
        self.id = 0  # of its last update
        self.lost = False  # updates are missing: what the window holds is unknown

    def take(self, entry: _Entry) -> tuple[list[LevelText], list[LevelText]]:
        """Apply an entry and cut; the changes of both sides, bids first, what fell out of the window included.

        Raises _Unreadable, also for a checksum that differs; the book is worthless then.
        """
        bids, asks = _taken(self.bids, entry.bids), _taken(self.asks, entry.asks)
        # constantly 0 since 2026-06-23; where another region still sends one, it says what it always said
        if entry.checksum and (own := checksum(self.bids, self.asks)) != entry.checksum:
            raise _Unreadable(f"checksum {own}, expected {entry.checksum}")
        self.id = entry.id
        return bids, asks


class OkxDecoder(LevelTexts):
    """See ``venues.base.MarketDecoder``. One for each connection.

    Ids chain: an update follows the one whose id it names as the previous one. Where it names a later one, it is handed
    on, so that the gap is seen by whoever keeps the book; as the window is unknown from then on, the next message says so
    in a `BookBroken`. A book that is wrong is told of once; what comes for it after that is passed over, up to its next
    snapshot.
    """

    def __init__(self, window: int = WINDOW) -> None:
        """``window``: levels a side of the channel."""
        super().__init__()
        self._window = window
        self._books: dict[str, _Book] = {}  # those that are right
        self._untold: deque[OtherMessage] = deque()
        self._decoder = msgspec.json.Decoder(_BookMessage)
        self._any = msgspec.json.Decoder(_AnyMessage)

    def update(self, frame: bytes) -> DepthUpdate | None:
        """The depth update in ``frame``, applied to the window; None for anything else, a keep-alive, and a wrong book."""
        try:
            message = self._decoder.decode(frame)
        except UNREADABLE:
            return None  # another kind of message: ``other`` tells
        if message.action != "update" or message.argument.channel != BOOKS or not message.entries:
            return None
        symbol = message.argument.symbol
        book = self._books.get(symbol)
        if book is None:
            return None  # still of the subscription that was given up
        try:
            return self._taken(symbol, book, message.entries)
        except _Unreadable as error:
            self._break(symbol, str(error))
            return None

    def _taken(self, symbol: str, book: _Book, entries: list[_Entry]) -> PlainUpdate | None:
        """The update that these entries make together, None for keep-alives. Raises _Unreadable."""
        if book.lost:
            raise _Unreadable("updates are missing")
        first = entries[0]
        if first.previous_id > book.id and first.id > first.previous_id:
            book.lost = True
            bids, asks = _read(first.bids), _read(first.asks)
            return _update(symbol, _time_ms(first), first.previous_id + 1, first.id, bids, asks)
        before = book.id
        all_bids: list[LevelText] = []
        all_asks: list[LevelText] = []
        for entry in entries:
            if entry.previous_id != book.id:
                raise _Unreadable(f"an update that follows {entry.previous_id}, expected one that follows {book.id}")
            bids, asks = book.take(entry)
            all_bids += bids
            all_asks += asks
        if book.id == before and not all_bids and not all_asks:
            return None  # nothing has changed for a minute
        # after a reset of the ids the last one is less than the first: that is how a reset is told
        return _update(symbol, _time_ms(entries[-1]), before + 1, book.id, all_bids, all_asks)

    def other(self, frame: bytes) -> OtherMessage | None:
        """Snapshots, answers to requests, the notice of an upgrade, and books that have turned out wrong."""
        if frame != _PONG:
            try:
                message = self._any.decode(frame)
            except UNREADABLE as error:
                raise MalformedFrame(f"{error}: {frame[:80]!r}") from None
            if message.event is not None:
                self._on_event(message, message.event)
            elif isinstance(message.argument, dict):
                if message.argument.get("channel") == BOOKS:
                    self._on_book(message, frame)
            else:
                raise MalformedFrame(f"neither event nor data: {frame[:80]!r}")
        return self._untold.popleft() if self._untold else None

    def _on_event(self, message: _AnyMessage, event: str) -> None:
        if event in ("subscribe", "unsubscribe"):
            self._untold.append(ControlReply(message.id or "", None))
        elif event == "error":
            self._untold.append(ControlReply(message.id or "", f"{message.code} {message.message}"))
        elif event == "notice" and message.code == _UPGRADE:
            self._untold.append(ShutdownNotice(0))  # it names no time

    def _on_book(self, message: _AnyMessage, frame: bytes) -> None:
        """A message of the channel that is no good update: a snapshot, or an update that ``update`` has seen."""
        symbol = message.argument.get("instId")
        try:
            whole = self._decoder.decode(frame)
        except UNREADABLE as error:
            if not isinstance(symbol, str):
                raise MalformedFrame(f"books of no symbol: {frame[:80]!r}") from None
            if message.action == "snapshot" or symbol in self._books:
                self._break(symbol, f"unreadable: {error}")
            return
        if whole.action == "snapshot" and whole.entries:
            self._on_snapshot(whole.argument.symbol, whole.entries[-1])
        elif whole.action != "update":
            raise MalformedFrame(f"expected a snapshot or an update: {frame[:80]!r}")

    def _on_snapshot(self, symbol: str, entry: _Entry) -> None:
        book = _Book(self._window)
        try:
            book.take(entry)
            time_ms = _time_ms(entry)
            snapshot = snapshot_of(self, NAME, symbol, book.id, book.bids.text(), book.asks.text())
        except ValueError as error:  # _Unreadable, MalformedFrame
            self._break(symbol, f"snapshot: {error}")
            return
        self._books[symbol] = book
        self._untold.append(StreamSnapshot(snapshot, time_ms))

    def _break(self, symbol: str, reason: str) -> None:
        self._books.pop(symbol, None)
        self._untold.append(BookBroken(symbol, reason))


def checksum(bids: WindowSide, asks: WindowSide) -> int:
    """CRC-32, signed, of the 25 best levels a side in the venue's own texts: bid, ask, bid, ask …; when one side has
    ended, the other goes on (reference: 1, checksum)."""
    pairs = zip_longest(bids.best(_CHECKED_LEVELS), asks.best(_CHECKED_LEVELS), fillvalue=())
    crc = zlib.crc32(":".join(chain.from_iterable(chain.from_iterable(pairs))).encode("ascii"))
    return crc - (1 << 32) if crc >= 1 << 31 else crc


def _taken(side: WindowSide, levels: list[list[str]]) -> list[LevelText]:
    if not levels:
        return _NO_LEVELS
    changes = _read(levels)
    for price, quantity in changes:
        if quantity.strip("0."):
            side.put(price, quantity)
        else:
            side.remove(price)
    return changes + removals(side.cut())


def _read(levels: list[list[str]]) -> list[LevelText]:
    """Price and quantity of each level. Raises _Unreadable."""
    plain = _PLAIN.fullmatch
    texts = []
    for level in levels:
        if len(level) < 2 or not plain(level[0]) or not plain(level[1]) or not level[0].strip("0."):
            raise _Unreadable(f"a level {str(level)[:80]}: expected a price above zero and a quantity, plain decimals")
        texts.append((level[0], level[1]))
    return texts


def _update(
    symbol: str, time_ms: int, first_id: int, last_id: int, bids: list[LevelText], asks: list[LevelText]
) -> PlainUpdate:
    return PlainUpdate(symbol, time_ms, first_id, last_id, levels_text(bids), levels_text(asks))


def _time_ms(entry: _Entry) -> int:
    text = entry.time_ms
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _Unreadable(f"ts {text[:40]!r}: expected milliseconds")
    return int(text)
