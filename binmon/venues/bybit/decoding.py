"""Public stream frames of Bybit spot, decoded (reference, section 4).

A subscription to ``orderbook.{depth}.{symbol}`` begins with a snapshot; deltas follow, whose update id grows by one each,
per depth and symbol. A snapshot may come at any time. The hot path leaves the levels as text, as for other venues.
"""

from __future__ import annotations

from typing import Any

import msgspec

from binmon.messages import DepthSnapshot
from binmon.venues.base import BookBroken, ControlReply, DepthUpdate, MalformedFrame, Number, StreamSnapshot
from binmon.venues.bybit.endpoints import NAME
from binmon.venues.level_texts import UNREADABLE, LevelTexts
from binmon.venues.windows import snapshot_of

BOOK = "orderbook."
RESTARTED = 1  # the update id with which the service begins anew


class _Book(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    update_id: Number = msgspec.field(name="u")
    bids: msgspec.Raw = msgspec.field(name="b")
    asks: msgspec.Raw = msgspec.field(name="a")
    cts: Number = 0  # in answers of REST, where it stands here
    ts: Number = 0


class _Delta(msgspec.Struct, gc=False, tag_field="type", tag="delta"):
    data: _Book
    ts: Number
    cts: Number = 0


class _Snapshot(msgspec.Struct, gc=False, tag_field="type", tag="snapshot"):
    data: _Book
    ts: Number
    cts: Number = 0


class Update(msgspec.Struct, gc=False):
    """See ``venues.base.DepthUpdate``. Each delta is one id."""

    symbol: str
    event_time_ms: int
    first_update_id: int
    last_update_id: int
    bids: msgspec.Raw
    asks: msgspec.Raw


class BybitDecoder(LevelTexts):
    """See ``venues.base.MarketDecoder``. It keeps nothing between two frames.

    Bybit promises no number of decimals, so every long number is looked at (``LevelTexts`` with its default).
    """

    def __init__(self) -> None:
        super().__init__()
        # not strict: the venue is not of one mind whether a time is a number or a text (reference 4.3), and it costs nothing
        self._delta = msgspec.json.Decoder(_Delta, strict=False)
        self._snapshot = msgspec.json.Decoder(_Snapshot, strict=False)
        self._rest = msgspec.json.Decoder(_Book, strict=False)

    def update(self, frame: bytes) -> DepthUpdate | None:
        """The delta in ``frame``, or None when it is something else (or nothing readable, or a restart)."""
        try:
            delta = self._delta.decode(frame)
        except UNREADABLE:
            return None  # told apart by ``other``
        book = delta.data
        update_id = book.update_id
        if update_id <= RESTARTED:
            return None
        # cts is when the matching engine had this book; ts when the message was made
        return Update(book.symbol, delta.cts or delta.ts, update_id, update_id, book.bids, book.asks)

    def other(self, frame: bytes) -> StreamSnapshot | BookBroken | ControlReply | None:
        """Snapshots, restarts and replies; None for pongs and for topics of others."""
        try:
            message: Any = msgspec.json.decode(frame)
        except UNREADABLE as error:
            raise MalformedFrame(f"{error}: {frame[:80]!r}") from None
        if not isinstance(message, dict):
            raise MalformedFrame(f"expected an object, got {frame[:80]!r}")
        topic = message.get("topic")
        if isinstance(topic, str):
            return self._book(message, frame) if topic.startswith(BOOK) else None
        if isinstance(message.get("op"), str):
            return _reply(message)
        raise MalformedFrame(f"neither topic nor reply: {frame[:80]!r}")

    def depth(self, symbol: str, answer: bytes) -> DepthSnapshot:
        """The ``result`` of a REST order book (reference 3.4). Raises MalformedFrame."""
        try:
            book = self._rest.decode(answer)
        except UNREADABLE as error:
            raise MalformedFrame(f"depth of {symbol}: {error}") from None
        return self._loaded(book)

    def _book(self, message: dict[str, Any], frame: bytes) -> StreamSnapshot | BookBroken:
        """Whatever of an order book is no ordinary delta."""
        if message.get("type") == "snapshot":
            try:
                snapshot = self._snapshot.decode(frame)
            except UNREADABLE as error:
                raise MalformedFrame(f"a snapshot without its documented fields: {error}: {frame[:120]!r}") from None
            return StreamSnapshot(self._loaded(snapshot.data), snapshot.cts or snapshot.ts)
        data = message.get("data")
        if isinstance(data, dict) and data.get("u") in (RESTARTED, str(RESTARTED)) and isinstance(data.get("s"), str):
            # What begins anew should be a whole book and is marked as a change: nobody can say which (reference 4.3)
            return BookBroken(data["s"], "the venue's service began anew with a delta")
        raise MalformedFrame(f"an orderbook message without its documented fields: {frame[:120]!r}")

    def _loaded(self, book: _Book) -> DepthSnapshot:
        return snapshot_of(self, NAME, book.symbol, book.update_id, bytes(book.bids), bytes(book.asks))


def _reply(message: dict[str, Any]) -> ControlReply | None:
    """The answer to a request of ours. Its text names the topic that it is about, where one is to blame."""
    operation = message["op"]
    if operation in ("ping", "pong"):
        return None
    request_id, text = str(message.get("req_id") or ""), message.get("ret_msg")
    # an unsubscription is followed by a subscription, which says whether all is well
    if message.get("success") is True or operation == "unsubscribe":
        return ControlReply(request_id, None)
    return ControlReply(request_id, str(text) if text else f"{operation} failed")
