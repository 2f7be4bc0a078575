"""Market stream frames of Binance Spot, decoded (reference: market streams, section 5; local book, section 6).

The hot path decodes the envelope of a depth update and leaves the levels as text: most updates are only ever
needed merged with many others, and parsing them together is cheaper than one by one.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from binmon.messages import DepthSnapshot
from binmon.venues.base import ControlReply, DepthUpdate, MalformedFrame, Number, ShutdownNotice
from binmon.venues.level_texts import UNREADABLE, LevelTexts

# Eight decimals follow the point, so a number below ten million has at most 15 digits: only larger ones need a look.
_ALWAYS_EXACT_BELOW = 1e7


class _Update(msgspec.Struct, gc=False, tag_field="e", tag="depthUpdate"):
    """A ``depthUpdate`` event; the names are those of ``venues.base.DepthUpdate``."""

    event_time_ms: Number = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_update_id: Number = msgspec.field(name="U")
    last_update_id: Number = msgspec.field(name="u")
    bids: msgspec.Raw = msgspec.field(name="b")
    asks: msgspec.Raw = msgspec.field(name="a")


class _Combined(msgspec.Struct, gc=False):
    data: _Update


class _Depth(msgspec.Struct, gc=False):
    last_update_id: Number = msgspec.field(name="lastUpdateId")
    bids: msgspec.Raw
    asks: msgspec.Raw


class BinanceDecoder(LevelTexts):
    """See ``venues.base.MarketDecoder``; combined and raw streams alike."""

    def __init__(self) -> None:
        super().__init__(_ALWAYS_EXACT_BELOW)
        self._combined = msgspec.json.Decoder(_Combined)
        self._raw = msgspec.json.Decoder(_Update)
        self._depth = msgspec.json.Decoder(_Depth)

    def update(self, frame: bytes) -> DepthUpdate | None:
        """The depth update in ``frame``, or None when it is something else (or nothing readable)."""
        try:
            return self._combined.decode(frame).data
        except UNREADABLE:
            pass  # rare: another kind of frame, or a raw stream; told apart below
        try:
            return self._raw.decode(frame)
        except UNREADABLE:
            return None

    def other(self, frame: bytes) -> ShutdownNotice | ControlReply | None:
        """Shutdown notices in all three shapes, control replies in both; None for other events."""
        try:
            message: Any = msgspec.json.decode(frame)
        except UNREADABLE as error:
            raise MalformedFrame(f"{error}: {frame[:80]!r}") from None
        if not isinstance(message, dict):
            raise MalformedFrame(f"expected an object, got {frame[:80]!r}")
        event = message
        for wrapper in ("data", "event"):
            if isinstance(message.get(wrapper), dict):
                event = message[wrapper]
        kind = event.get("e")
        if kind == "serverShutdown":
            time_ms = event.get("E")
            return ShutdownNotice(time_ms if isinstance(time_ms, int) else 0)
        if kind == "depthUpdate":
            raise MalformedFrame(f"a depthUpdate without its documented fields: {frame[:120]!r}")
        if "code" in message or isinstance(message.get("error"), dict):
            inner = message.get("error")
            problem = inner if isinstance(inner, dict) else message
            return ControlReply(str(message.get("id")), f"{problem.get('code')} {problem.get('msg')}")
        if "result" in message:
            return ControlReply(str(message.get("id")), None)
        if "stream" in message or kind is not None:
            return None
        raise MalformedFrame(f"neither event nor reply: {frame[:80]!r}")

    def depth(self, venue: str, symbol: str, body: bytes) -> DepthSnapshot:
        """A REST depth answer. Raises MalformedFrame, also for sides that are not sorted best first."""
        try:
            answer = self._depth.decode(body)
        except UNREADABLE as error:
            raise MalformedFrame(f"depth of {symbol}: {error}") from None
        bids, asks = self.levels([bytes(answer.bids)]), self.levels([bytes(answer.asks)])
        bid_price, ask_price = bids.changes.price, asks.changes.price
        if (np.diff(bid_price) >= 0).any() or (np.diff(ask_price) <= 0).any():
            raise MalformedFrame(f"depth of {symbol}: sides are not sorted best first")
        if (bids.changes.quantity == 0).any() or (asks.changes.quantity == 0).any():
            raise MalformedFrame(f"depth of {symbol}: a level without quantity")
        return DepthSnapshot(
            venue,
            symbol,
            answer.last_update_id,
            bid_price,
            bids.changes.quantity,
            ask_price,
            asks.changes.quantity,
            bids.inexact or asks.inexact,
        )
