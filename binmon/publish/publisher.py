"""The worker that hands tops of book to the log and to whoever listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from binmon.core.channel import Channel
from binmon.core.fanout import Fanout
from binmon.core.worker import Worker
from binmon.messages import BookView, TopOfBook
from binmon.publish.tops import Key, TopBoard, top_of

log = structlog.get_logger("binmon.publish")


_PAUSE_S = 0.02
_LOOK_S = 0.25
_BEHIND = 1_024  # tops that wait: from so many on, only the newest of each book is worth anything


class BookSource(Protocol):
    """What is needed of whoever keeps the books of a venue. Any thread may ask."""

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each symbol's book."""
        ...

    def ask(self, symbol: str, answer: Callable[[BookView | None], None]) -> bool:
        """Have the top of a book told to ``answer`` in another thread; False when that cannot be asked now."""
        ...


class TopPublisher(Worker):
    """Writes every top it is given as one ``book.top`` line, and tells ``told``; also the last known one of a book
    that has lost step, with its state.

    It looks every 20 ms and takes all that waits: waking up for each of a market of tops costs more than writing them.
    When more than a thousand wait, because the log or the machine is slow, only the newest of each book is handed on.
    """

    def __init__(self, name: str, tops: Channel[TopOfBook], *, to_log: bool = True, interval_s: float = 1.0) -> None:
        """``to_log`` and ``interval_s`` (the pace of tops; 0: every change) may be set while it runs. Without ``to_log``
        tops are handed on and not written."""
        super().__init__(name)
        self._tops, self.to_log, self.interval_s = tops, to_log, interval_s
        self.told = Fanout()
        """Gets every TopOfBook; for a reader that may be slow see `binmon.publish.tops.ConflatedTops`."""
        self.board = TopBoard()
        self.published = self.conflated = 0
        self._sources: dict[str, BookSource] = {}
        self._in_hand: TopOfBook | None = None  # taken, and not published yet
        self._newest: dict[Key, TopOfBook] = {}  # taken when too many waited, and not published yet
        self._look_s = 0.0

    def follow(self, venue: str, source: BookSource) -> None:
        """Look at the states of these books from now on; for the thread that wires."""
        self._sources = {**self._sources, venue: source}

    def run(self, stop: threading.Event) -> None:
        top, self._in_hand = self._in_hand, None
        if top is not None:
            self.publish(top)  # the one that this failed with, once more
        self._publish_newest()
        while not stop.wait(_PAUSE_S):
            self.beat()
            if len(self._tops) > _BEHIND:
                self._take_newest()
            while True:
                self._in_hand = top = self._tops.take(0)
                if top is None:
                    break
                self.publish(top)
                self.progress()
            now_s = time.monotonic()
            if now_s >= self._look_s:
                self._look_s = now_s + _LOOK_S
                self._look(now_s)

    def publish(self, top: TopOfBook) -> None:
        """Show it, hand it on, and write one line of the log (contract: ``book.top``)."""
        if top.state == "synced":
            self.board.take(top, time.monotonic())
        self.told.offer(top)
        self.published += 1
        if not self.to_log:
            return
        log.info(
            "book.top",
            venue=top.venue,
            symbol=top.symbol,
            bid=top.bid,
            bid_quantity=top.bid_quantity,
            ask=top.ask,
            ask_quantity=top.ask_quantity,
            update_id=top.update_id,
            age_ms=round(top.age_ms, 3),
            spread=top.spread,
            mid=top.mid,
            state=top.state,
        )

    def _take_newest(self) -> None:
        """Take all that waits now, and publish the newest of each book."""
        for _ in range(len(self._tops)):
            self._in_hand = top = self._tops.take(0)
            if top is None:
                break
            key = (top.venue, top.symbol)
            self.conflated += self._newest.pop(key, None) is not None
            self._newest[key] = top
        self._in_hand = None
        self._publish_newest()

    def _publish_newest(self) -> None:
        while self._newest:
            key = next(iter(self._newest))
            self.publish(self._newest[key])
            del self._newest[key]  # when it is done, so that what failed in the midst of it is done again
            self.progress()

    def _look(self, now_s: float) -> None:
        for venue, source in self._sources.items():
            told, asked = self.board.look(venue, source.states, now_s, time.time_ns(), self.interval_s)
            for top in told:
                self.publish(top)
            for symbol in asked:
                source.ask(symbol, self._answered)

    def _answered(self, view: BookView | None) -> None:
        """A book has its top told; in its owner's thread."""
        top = None if view is None else top_of(view, time.time_ns())
        if top is not None:
            self._tops.offer(top)
