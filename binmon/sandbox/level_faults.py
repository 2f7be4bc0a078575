"""The fault ``corrupt_level``: one level of a client's book is wrong from some event on, and nothing else shows it.

Neither ids nor the order of prices give it away; only a comparison with the venue's own book does. The level is chosen
when the fault is armed, and the order flow keeps away from it, as the next true event at that price would heal it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol

from .decimals import format_e8, parse_e8
from .event_faults import Aim
from .fault_kinds import BadFault
from .hub import Message, Subscriber
from .stream_shape import symbol_of_stream

_LONGEST_SEARCH = 500
"""Levels behind the one at ``rank`` that are searched for a free price."""
_NOTHING = "0.00000000"


class Books(Protocol):
    """The venue's books, as this fault needs them."""

    def book(self, symbol: str, limit: int) -> dict[str, Any]:
        """The book now, in the shape of REST depth; empty when the symbol is gone."""

    def tick_e8(self, symbol: str) -> int:
        """The price step of a symbol in units of 0.00000001."""

    def keep_off(self, symbol: str, side: str, price: str, seconds: float) -> None:
        """Let the order flow leave a price alone for a while; zero seconds end it."""


@dataclass
class FalseLevel:
    """A level that clients see otherwise than the venue: prices and quantities as printed, zero for no level."""

    symbol: str
    side: str
    price: str
    true_quantity: str
    sent_quantity: str
    sent: dict[str, int] = field(default_factory=dict)
    """Update id of the first falsified event of each stream; empty while none has gone out."""

    def describe(self) -> dict[str, Any]:
        """The record as ``POST /sandbox/faults`` and ``GET /sandbox/state`` show it."""
        return {
            "symbol": self.symbol,
            "side": self.side,
            "price": self.price,
            "true_quantity": self.true_quantity,
            "sent_quantity": self.sent_quantity,
            "sent": dict(self.sent),
        }


class CorruptLevel:
    """One armed ``corrupt_level``. The fault board calls it under its lock, once for each event that is published.

    The constructor raises :class:`BadFault` when nobody listens to a named symbol's depth, or its book has no fitting
    level.
    """

    kind = "corrupt_level"
    drops = False

    def __init__(self, options: dict[str, Any], wanted_streams: Iterable[str], books: Books) -> None:
        self.options = options
        self.aim = Aim(options, depth_only=True)
        self._books = books
        seconds = options["seconds"]
        self._until = time.monotonic() + seconds if seconds is not None else None
        count = options["count"] if options["count"] is not None else 1 if seconds is None else 1 << 62
        heard = [
            name for name in wanted_streams if self.aim.takes(name) and self.aim.matches(name, symbol_of_stream(name))
        ]
        self._left = dict.fromkeys(sorted(heard), count)
        silent = sorted((self.aim.symbols or set()) - set(map(symbol_of_stream, heard)))
        if silent or not heard:
            raise BadFault(f"corrupt_level: nobody listens to the depth of {', '.join(silent) or 'any such symbol'}")
        self.levels = {symbol: self._choose(symbol) for symbol in dict.fromkeys(map(symbol_of_stream, self._left))}
        self._level: FalseLevel | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not any(self._left.values()) or (self._until is not None and time.monotonic() >= self._until)

    def describe(self) -> dict[str, Any]:
        """What is left, for ``GET /sandbox/state``."""
        given = {key: value for key, value in self.options.items() if value is not None}
        return {"kind": self.kind, **given, "left": {key: count for key, count in self._left.items() if count}}

    def end(self) -> None:
        """The false levels stand on, as the clients do."""

    def hit(self, message: Message, subscribers: Iterable[Subscriber]) -> bool:
        """Whether this event is to be falsified; counts it."""
        if self.finished or not self._left.get(message.stream) or not any(map(self.aim.concerns, subscribers)):
            return False
        level = self.levels[message.symbol]
        rows = _rows(self._books.book(message.symbol, self._depth()), level.side)
        if not level.sent and rows.get(Decimal(level.price), _NOTHING) != level.true_quantity:
            # The market has moved over the level before any client was told about it.
            try:
                level = self.levels[message.symbol] = self._choose(message.symbol, level)
            except BadFault:
                return False
        self._left[message.stream] -= 1
        level.sent.setdefault(message.stream, json.loads(message.payload(False))["u"])
        self._level = level
        return True

    def apply(self, messages: list[Message], subscriber: Subscriber) -> list[Message]:
        """What a subscriber gets in place of an event that was hit."""
        return list(map(self._falsified, messages)) if self.aim.concerns(subscriber) else messages

    def _falsified(self, message: Message) -> Message:
        level = self._level
        assert level is not None

        def print_event(micro: bool) -> str:
            event = json.loads(message.payload(micro))
            key = "b" if level.side == "bids" else "a"
            rows = [row for row in event[key] if Decimal(row[0]) != Decimal(level.price)]
            rows.append([level.price, level.sent_quantity])
            event[key] = sorted(rows, key=lambda row: Decimal(row[0]), reverse=key == "b")
            return json.dumps(event, ensure_ascii=False, separators=(",", ":"))

        return Message(message.stream, message.symbol, print_event)

    def _depth(self) -> int:
        return int(self.options["rank"]) + _LONGEST_SEARCH

    def _choose(self, symbol: str, instead_of: FalseLevel | None = None) -> FalseLevel:
        side, rank, mode = self.options["side"], self.options["rank"], self.options["mode"]
        rows = self._books.book(symbol, self._depth())[side]
        if not 1 <= rank <= len(rows):
            raise BadFault(f"corrupt_level: {symbol} has {len(rows)} {side}, expected a rank from 1 to that")
        price, quantity = rows[rank - 1]
        level = FalseLevel(symbol, side, price, quantity, _NOTHING)
        if mode == "quantity":
            level.sent_quantity = format_e8(2 * parse_e8(quantity))
        elif mode == "phantom":
            level.price = _free_price(rows[rank - 1 :], self._books.tick_e8(symbol), side, symbol)
            level.true_quantity, level.sent_quantity = _NOTHING, quantity
        if instead_of is not None:
            self._books.keep_off(symbol, side, instead_of.price, 0.0)
        self._books.keep_off(symbol, side, level.price, float(self.options["hold_s"]))
        return level


def healed(level: FalseLevel, book: Callable[[str, int], dict[str, Any]], limit: int) -> bool:
    """Whether the venue has changed the level since, so that clients have heard the truth about it."""
    rows = _rows(book(level.symbol, limit), level.side)
    return rows.get(Decimal(level.price), _NOTHING) != level.true_quantity


def _rows(book: dict[str, Any], side: str) -> dict[Decimal, str]:
    return {Decimal(price): quantity for price, quantity in book[side]}


def _free_price(rows: list[list[str]], tick_e8: int, side: str, symbol: str) -> str:
    """The first price behind the first row that is free and stands before another level."""
    step = -tick_e8 if side == "bids" else tick_e8
    prices = [parse_e8(row[0]) for row in rows]
    for price, following in pairwise(prices):
        if price + step != following:
            return format_e8(price + step)
    raise BadFault(f"corrupt_level: {symbol} has no free price between its {side} from that rank on")
