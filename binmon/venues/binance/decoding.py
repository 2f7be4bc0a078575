"""Market stream frames of Binance Spot, decoded (reference: market streams, section 5; local book, section 6).

The hot path decodes the envelope of a depth update and leaves the levels as text: most updates are only ever
needed merged with many others, and parsing them together is cheaper than one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from binmon.levels import NO_CHANGES
from binmon.messages import DepthSnapshot, Floats, LevelChanges
from binmon.venues.base import ControlReply, DepthUpdate, MalformedFrame, ParsedLevels, ShutdownNotice

# Eight decimals follow the point, so a number below ten million has at most 15 digits: only larger ones need a look.
_ALWAYS_EXACT_BELOW = 1e7
_LONG_NUMBER = re.compile(rb'"(\d{8,}(?:\.\d+)?)"')
_EXACT_DIGITS = 15
# Broken UTF-8 and absurd nesting are not DecodeErrors; one bad frame must never be more than a malformed frame.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_DIGITS_AND_POINT = b"0123456789."
_PUNCTUATION = b'[]"'
_LEVEL_SHAPE = b'["",""],'  # a level without its digits


class _Update(msgspec.Struct, gc=False, tag_field="e", tag="depthUpdate"):
    """A ``depthUpdate`` event; the names are those of ``venues.base.DepthUpdate``."""

    event_time_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_update_id: int = msgspec.field(name="U")
    last_update_id: int = msgspec.field(name="u")
    bids: msgspec.Raw = msgspec.field(name="b")
    asks: msgspec.Raw = msgspec.field(name="a")


class _Combined(msgspec.Struct, gc=False):
    data: _Update


class _Depth(msgspec.Struct, gc=False):
    last_update_id: int = msgspec.field(name="lastUpdateId")
    bids: msgspec.Raw
    asks: msgspec.Raw


class BinanceDecoder:
    """See ``venues.base.MarketDecoder``; combined and raw streams alike."""

    def __init__(self) -> None:
        self._combined = msgspec.json.Decoder(_Combined)
        self._raw = msgspec.json.Decoder(_Update)
        self._levels = msgspec.json.Decoder(list[list[tuple[float, float]]], strict=False)
        self._pairs = msgspec.json.Decoder(list[tuple[float, float]], strict=False)
        self._numbers = msgspec.json.Decoder(list[float])
        self._depth = msgspec.json.Decoder(_Depth)

    def update(self, frame: bytes) -> DepthUpdate | None:
        """The depth update in ``frame``, or None when it is something else (or nothing readable)."""
        try:
            return self._combined.decode(frame).data
        except _UNREADABLE:
            pass  # rare: another kind of frame, or a raw stream; told apart below
        try:
            return self._raw.decode(frame)
        except _UNREADABLE:
            return None

    def other(self, frame: bytes) -> ShutdownNotice | ControlReply | None:
        """Shutdown notices in all three shapes, control replies in both; None for other events."""
        try:
            message: Any = msgspec.json.decode(frame)
        except _UNREADABLE as error:
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

    def levels(self, texts: Sequence[bytes]) -> ParsedLevels:
        """Parse one side of many updates in one go; prices and quantities must be what a book can hold."""
        joined = _joined(texts)
        if joined is None:
            return ParsedLevels(NO_CHANGES, None)
        flat = self._flat(joined)
        if flat is None:
            joined = b"[" + b",".join(texts) + b"]"
            try:
                parsed = self._levels.decode(joined)
            except _UNREADABLE as error:
                raise MalformedFrame(f"levels: {error}") from None
            flat = np.fromiter(chain.from_iterable(chain.from_iterable(parsed)), dtype=np.float64)
        if flat.size == 0:
            return ParsedLevels(NO_CHANGES, None)
        largest = _checked(flat)
        inexact = first_inexact(joined) if largest >= _ALWAYS_EXACT_BELOW else None
        return ParsedLevels(LevelChanges(flat[0::2], flat[1::2]), inexact)

    def sides(self, bids: Sequence[bytes], asks: Sequence[bytes]) -> tuple[ParsedLevels, ParsedLevels]:
        """Parse both sides of many updates at once: half the overhead of one after the other."""
        bids_joined, asks_joined = _joined(bids), _joined(asks)
        if bids_joined is None or asks_joined is None:
            return self.levels(bids), self.levels(asks)
        joined = bids_joined + b"," + asks_joined
        flat = self._flat(joined)
        if flat is None:
            return self.levels(bids), self.levels(asks)
        largest = _checked(flat)
        inexact = first_inexact(joined) if largest >= _ALWAYS_EXACT_BELOW else None
        # in the usual form, which this is, every level has one bracket of its own
        split = 2 * bids_joined.count(b"[")
        return (
            ParsedLevels(LevelChanges(flat[0:split:2], flat[1:split:2]), inexact),
            ParsedLevels(LevelChanges(flat[split::2], flat[split + 1 :: 2]), inexact),
        )

    def _flat(self, joined: bytes) -> Floats | None:
        """Price, quantity, price … of levels in the venue's usual form; None for any other form, however legal.

        One list of numbers costs two thirds of a list of pairs of texts: no tuples, no look into each text. What
        stripping the punctuation would hide is seen before, in the text without its digits.
        """
        shape = joined.translate(None, _DIGITS_AND_POINT)
        if shape + b"," != _LEVEL_SHAPE * ((len(shape) + 1) // len(_LEVEL_SHAPE)):
            return None
        try:
            numbers = self._numbers.decode(b"[" + joined.translate(None, _PUNCTUATION) + b"]")
        except _UNREADABLE:
            return None  # such as an empty text or two points: the other way says what is wrong
        return np.fromiter(numbers, dtype=np.float64, count=len(numbers))

    def pairs(self, text: bytes) -> list[tuple[float, float]]:
        """One side of one update as plain pairs, in order. Raises MalformedFrame."""
        try:
            pairs = self._pairs.decode(text)
        except _UNREADABLE as error:
            raise MalformedFrame(f"levels: {error}") from None
        plain = bytes(text)
        if b"-" in plain or b"n" in plain or b"N" in plain or b"e" in plain or b"E" in plain:
            self.levels([text])  # a sign, an exponent, a word: it says what is wrong, if anything is
        return pairs

    def depth(self, venue: str, symbol: str, body: bytes) -> DepthSnapshot:
        """A REST depth answer. Raises MalformedFrame, also for sides that are not sorted best first."""
        try:
            answer = self._depth.decode(body)
        except _UNREADABLE as error:
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


def _joined(texts: Sequence[bytes]) -> bytes | None:
    """The levels of many updates as one text, None for no levels. That each is JSON was checked with its frame."""
    # empty sides and outer brackets go
    insides = [plain[1:-1] for text in texts if (plain := bytes(text)) != b"[]"]
    return b",".join(insides) if insides else None


def _checked(flat: Floats) -> float:
    """The largest of price, quantity, price …; raises MalformedFrame for what no book can hold."""
    largest = flat.max()
    # NaN compares false with everything, so it ends here, too
    if not (flat.min() >= 0.0 and largest < np.inf and flat[0::2].min() > 0.0):
        raise MalformedFrame("levels: a price that is not positive, or a quantity that is negative or no number")
    return float(largest)


def first_inexact(text: bytes) -> str | None:
    """The first quoted number with more than 15 significant digits, which a double would round; None without."""
    for match in _LONG_NUMBER.finditer(text):
        whole, _, fraction = match[1].partition(b".")
        digits = (whole + fraction.rstrip(b"0")).lstrip(b"0")
        if not fraction.rstrip(b"0"):
            digits = digits.rstrip(b"0")
        if len(digits) > _EXACT_DIGITS:
            return match[1].decode()
    return None
