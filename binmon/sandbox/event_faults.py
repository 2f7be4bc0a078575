"""Faults of single events: dropped, repeated, swapped, crossed, fragmented or spoilt on their way to the clients."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from . import frames
from .hub import Message, Subscriber
from .stream_shape import BINANCE, StreamShape

_ENDLESS = 1 << 62
_DEPTH_KINDS = ("gap", "duplicate", "reorder", "crossed_book")


Book = Callable[[str], dict[str, Any]]
"""The first levels of a symbol's book now, in the shape of REST depth."""


class _FragmentedMessage(Message):
    """An event that goes out in several frames."""

    __slots__ = ("_pieces", "_ping")

    def __init__(self, original: Message, pieces: int, ping: bool) -> None:
        super().__init__(original.stream, original.symbol, original.payload)
        self._pieces = pieces
        self._ping = b"between" if ping else None

    def frame_of(self, text: str) -> bytes:
        return frames.fragmented(text.encode(), self._pieces, self._ping)


class _SpoiltMessage(Message):
    """An event that cannot be read when it arrives."""

    __slots__ = ("_mode",)

    def __init__(self, original: Message, mode: str) -> None:
        super().__init__(original.stream, original.symbol, original.payload)
        self._mode = mode

    def frame_of(self, text: str) -> bytes:
        return spoilt(text, self._mode)


def spoilt(text: str, mode: str) -> bytes:
    """A frame made of a good text that is broken in one of the ways of the kind ``malformed``."""
    if mode == "utf8":
        return frames.frame(text.encode()[:-2] + b"\xff\xfe\xc3\x28")
    if mode == "header":
        return frames.frame(text.encode(), opcode=0x3, reserved=0x7)
    if mode == "truncated":
        return frames.frame(text[: len(text) // 2].encode())
    return frames.frame(text.replace(":", ";").encode())


class Aim:
    """Which events and which connections a fault is aimed at: the filters that all event faults share."""

    def __init__(self, options: dict[str, Any], depth_only: bool, shape: StreamShape = BINANCE) -> None:
        self.connections = frozenset(options["connection"]) if options.get("connection") else None
        self.streams = frozenset(options["streams"]) if options.get("streams") else None
        self.symbols = frozenset(options["symbols"]) if options.get("symbols") else None
        self._depth_only = depth_only
        self._shape = shape

    def takes(self, stream: str) -> bool:
        """Whether streams of this kind are concerned at all."""
        return self._shape.is_depth(stream) if self._depth_only else True

    def matches(self, stream: str, symbol: str) -> bool:
        """Whether events of a stream are concerned."""
        if self.streams is not None:
            return stream in self.streams
        return (self.symbols is None or symbol in self.symbols) and self.takes(stream)

    def concerns(self, subscriber: Subscriber) -> bool:
        """Whether a connection is concerned."""
        return self.connections is None or subscriber.identifier in self.connections


class EventFault:
    """One armed fault of events. The fault board calls it under its lock, once for each event that is published."""

    def __init__(
        self,
        kind: str,
        options: dict[str, Any],
        wanted_streams: Iterable[str],
        book: Book,
        shape: StreamShape = BINANCE,
    ) -> None:
        self.kind = kind
        self.options = options
        self._shape = shape
        self.aim = Aim(options, kind in _DEPTH_KINDS, shape)
        self.drops = kind in ("gap", "stall")
        """Whether nothing is left of an event for the connections concerned."""
        self._book = book
        seconds, count = options.get("seconds"), options.get("count")
        self._until = time.monotonic() + seconds if seconds is not None else None
        times = count if count is not None else 1 if seconds is None else _ENDLESS
        # Without a count there is nothing to share out between symbols.
        self._left = dict.fromkeys(["*"] if times == _ENDLESS else self._keys(wanted_streams), times)
        self._holding: set[str] = set()
        self._held: dict[tuple[str, int], list[Message]] = {}
        self._crossed: dict[str, str] = {}
        self._stream = ""
        self._releasing = False
        self._injected: list[list[str]] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        if self._holding or self._crossed:
            return False
        over = self._until is not None and time.monotonic() >= self._until
        return over or not any(self._left.values())

    def describe(self) -> dict[str, Any]:
        """What is left, for ``GET /sandbox/state``."""
        left = {key: count for key, count in self._left.items() if 0 < count < _ENDLESS}
        return {
            "kind": self.kind,
            **{key: value for key, value in self.options.items() if value is not None},
        } | ({"left": left} if left else {})

    def hit(self, message: Message, subscribers: Iterable[Subscriber]) -> bool:
        """Whether this event is concerned; counts it and prepares what :meth:`apply` does to it."""
        if not self.aim.matches(message.stream, message.symbol) or not any(map(self.aim.concerns, subscribers)):
            return False
        key = message.stream if self.aim.streams is not None else message.symbol
        if key not in self._left:
            key = "*"
        count = self._left.get(key, 0)
        if self._until is not None and time.monotonic() >= self._until:
            count = 0
        if self.kind == "reorder":
            return self._swap(message, key, count)
        if self.kind == "crossed_book":
            return self._cross(message, key, count)
        if not count:
            return False
        self._left[key] = count - 1
        return True

    def apply(self, messages: list[Message], subscriber: Subscriber) -> list[Message]:
        """What a subscriber gets in place of an event that was hit, given what earlier faults have made of it."""
        if not self.aim.concerns(subscriber):
            return messages
        if self.kind == "duplicate":
            return [message for message in messages for _ in range(int(self.options["times"]))]
        if self.kind == "reorder":
            return self._held_back(messages, subscriber)
        if self.kind == "crossed_book":
            return [self._with_bid(message) for message in messages]
        if self.kind == "fragmented":
            pieces, ping = self.options["pieces"], self.options["ping"]
            return [_FragmentedMessage(message, pieces, ping) for message in messages]
        if self.kind == "malformed":
            return [_SpoiltMessage(message, self.options["mode"]) for message in messages]
        return []  # gap and stall

    def end(self) -> None:
        """Nothing outside of this object remembers the fault."""

    def _keys(self, wanted_streams: Iterable[str]) -> list[str]:
        """What is counted: each named stream, each named symbol, each symbol listened to now, or simply events."""
        if self.aim.streams is not None:
            return sorted(self.aim.streams)
        if self.aim.symbols is not None:
            return sorted(self.aim.symbols)
        listened = {self._shape.symbol_of(stream) for stream in wanted_streams if self.aim.takes(stream)}
        return sorted(listened) or ["*"]

    def _swap(self, message: Message, key: str, count: int) -> bool:
        self._stream = message.stream
        self._releasing = message.stream in self._holding
        if self._releasing:
            self._holding.discard(message.stream)
            return True
        if not count:
            return False
        self._left[key] = count - 1
        self._holding.add(message.stream)
        return True

    def _held_back(self, messages: list[Message], subscriber: Subscriber) -> list[Message]:
        """The first of two events waits, for each connection as earlier faults have left it, and follows the second."""
        key = (self._stream, subscriber.identifier)
        if self._releasing:
            return [*messages, *self._held.pop(key, [])]
        self._held[key] = messages
        return []

    def _cross(self, message: Message, key: str, count: int) -> bool:
        """Prepare the levels to inject: a bid inside the asks, and the true quantity of one that is taken back."""
        book = self._book(message.symbol)
        price = self._crossed.get(message.stream)
        if count and book["asks"]:
            self._left[key] = count - 1
            self._injected = []
            if price is None or Decimal(price) < Decimal(book["asks"][0][0]):
                # the market has risen past the former one, which no longer crosses anything
                self._injected += [self._true_bid(book, price)] if price is not None else []
                price = self._crossed[message.stream] = book["asks"][min(3, len(book["asks"]) - 1)][0]
            self._injected.append([price, "1.00000000"])
            return True
        if price is None:
            return False
        del self._crossed[message.stream]
        self._injected = [self._true_bid(book, price)]
        return True

    @staticmethod
    def _true_bid(book: dict[str, Any], price: str) -> list[str]:
        return [price, next((row[1] for row in book["bids"] if row[0] == price), "0.00000000")]

    def _with_bid(self, message: Message) -> Message:
        injected = self._injected
        assert injected is not None

        def print_event(micro: bool) -> str:
            event = json.loads(message.payload(micro))
            self._shape.put_bids(event, injected)
            return json.dumps(event, ensure_ascii=False, separators=(",", ":"))

        return Message(message.stream, message.symbol, print_event)
