"""The fault ``snapshot_lag``: REST depth and the streams tell the truth about different moments.

Either depth shows an earlier state of the book together with the update id of that state, or the streams come later
than REST. Both happen on the real venue, whose snapshots come from caches.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .event_faults import Aim
from .http_server import Answer
from .hub import Message, Subscriber
from .market import Market, UnknownSymbol
from .matching import LevelChange, Side
from .parameters import Parameters
from .rest_faults import symbol_of
from .stream_shape import BINANCE, StreamShape
from .symbol_market import MAX_DEPTH, SymbolMarket


class LaggedBook:
    """A second copy of a symbol's book that follows the first at a distance; it exists only while the fault is armed.

    Changes are taken action by action, so an update id never stands for half an action.
    """

    def __init__(self, market: SymbolMarket, lag_s: float) -> None:
        self._market = market
        self._lag_s = lag_s
        self._lock = threading.Lock()  # guards everything below
        self._waiting: deque[tuple[float, list[LevelChange]]] = deque()
        with market.lock:
            self.restart()
            market.watch(self)

    def restart(self) -> None:
        """Copy the market's book anew (the caller holds the symbol's lock)."""
        with self._lock:
            self._waiting.clear()
            self.update_id = self._market.engine.update_id
            self._levels = {side: dict(self._market.engine.depth(side, 1 << 30)) for side in Side}

    def take(self, changes: list[LevelChange]) -> None:
        """Remember one action of the market (called while the symbol's lock is held)."""
        now = time.monotonic()
        with self._lock:
            self._waiting.append((now, changes))
            self._catch_up(now)

    def text(self, limit: int) -> str:
        """The book of ``lag_s`` seconds ago as REST depth prints it."""
        with self._lock:
            self._catch_up(time.monotonic())
            bids = sorted(self._levels[Side.BUY].items(), reverse=True)[:limit]
            asks = sorted(self._levels[Side.SELL].items())[:limit]
            return self._market.print_book(self.update_id, bids, asks)

    def end(self) -> None:
        """Stop following."""
        self._market.unwatch(self)

    def _catch_up(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now - self._lag_s:
            for change in self._waiting.popleft()[1]:
                levels = self._levels[change.side]
                if change.quantity:
                    levels[change.price] = change.quantity
                else:
                    levels.pop(change.price, None)
                self.update_id = change.update_id


class SnapshotLag:
    """Depth answers from a :class:`LaggedBook` of each symbol (``ms`` above zero).

    Symbols whose book does not exist yet are followed from the first request for them.
    """

    kind = "snapshot_lag"

    def __init__(self, options: dict[str, Any], market: Market) -> None:
        self.options = options
        self._market = market
        self._lag_s = options["ms"] / 1000
        self._symbols = frozenset(options["symbols"]) if options["symbols"] else None
        self._lock = threading.Lock()  # guards the books below
        self._ended = False
        seconds = options["seconds"]
        self._until = time.monotonic() + seconds if seconds is not None else None
        self._books = {
            one.instrument.symbol: LaggedBook(one, self._lag_s)
            for one in market.symbols()
            if one.awake and self._concerns(one.instrument.symbol)
        }

    @property
    def finished(self) -> bool:
        """Whether its time is over."""
        return self._until is not None and time.monotonic() >= self._until

    def describe(self) -> dict[str, Any]:
        """What is armed, for ``GET /sandbox/state``."""
        return {"kind": self.kind, **{key: value for key, value in self.options.items() if value is not None}}

    def end(self) -> None:
        """Drop the copies of the books."""
        with self._lock:
            self._ended = True
            books, self._books = self._books, {}
        for book in books.values():
            book.end()

    def hits(self, path: str, query: str) -> bool:
        """Whether a request is concerned."""
        return path == "/api/v3/depth" and self._concerns(symbol_of(query))

    def use(self) -> None:
        """Requests are not counted."""

    def answer(self, query: str, true_answer: Answer) -> Answer:
        """The older book, cut to the limit asked for; errors stay as they are."""
        if true_answer.status != 200:
            return true_answer
        try:
            book = self._book(symbol_of(query) or "")
        except UnknownSymbol:
            # It was delisted after the true answer had been made.
            return true_answer
        return replace(true_answer, body=book.text(Parameters(query).limit(100, MAX_DEPTH)))

    def _concerns(self, symbol: str | None) -> bool:
        return self._symbols is None or symbol in self._symbols

    def _book(self, symbol: str) -> LaggedBook:
        with self._lock:
            book = self._books.get(symbol)
        if book is not None:
            return book
        # Made without the lock, as it takes the symbol's own; the loser of a race is dropped.
        made = LaggedBook(self._market.symbol(symbol), self._lag_s)
        with self._lock:
            book = made if self._ended else self._books.setdefault(symbol, made)
        if book is not made or self._ended:
            made.end()
        return book


class StreamLag:
    """Holds back all events of the symbols for a time (``ms`` below zero), each connection's in their order."""

    kind = "snapshot_lag"
    drops = True

    def __init__(self, options: dict[str, Any], shape: StreamShape = BINANCE) -> None:
        self.options = options
        self.aim = Aim(options, depth_only=False, shape=shape)
        self._lag_s = -options["ms"] / 1000
        seconds = options["seconds"]
        self._until = time.monotonic() + seconds if seconds is not None else None
        self._held: deque[tuple[float, Subscriber, Message]] = deque()

    @property
    def finished(self) -> bool:
        """Whether its time is over and everything it held has gone."""
        return self._over() and not self._held

    def describe(self) -> dict[str, Any]:
        """What is armed, for ``GET /sandbox/state``."""
        given = {key: value for key, value in self.options.items() if value is not None}
        return {"kind": self.kind, **given, "held": len(self._held)}

    def end(self) -> None:
        """Let everything go at the next :meth:`release`."""
        self._until = 0.0
        self._lag_s = 0.0
        self._held = deque((0.0, subscriber, message) for _, subscriber, message in self._held)

    def hit(self, message: Message, subscribers: Iterable[Subscriber]) -> bool:
        """Whether this event is concerned: also after the time is over, as long as earlier ones are held."""
        return self.aim.matches(message.stream, message.symbol) and not self.finished

    def apply(self, messages: list[Message], subscriber: Subscriber) -> list[Message]:
        """Nothing for now; :meth:`release` gives it back."""
        due = time.monotonic() + (0.0 if self._over() else self._lag_s)
        if self._held:
            due = max(due, self._held[-1][0])
        self._held.extend((due, subscriber, message) for message in messages)
        return []

    def release(self, now: float) -> list[tuple[Subscriber, Message]]:
        """What is due, in order."""
        due = []
        while self._held and self._held[0][0] <= now:
            _, subscriber, message = self._held.popleft()
            due.append((subscriber, message))
        return due

    def _over(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until
