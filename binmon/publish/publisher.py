"""The worker that hands tops of book to their sinks. This version has one: the log."""

from __future__ import annotations

import threading

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import TopOfBook

log = structlog.get_logger("binmon.publish")


_PAUSE_S = 0.02


class TopPublisher(Worker):
    """Writes every top it is given as one ``book.top`` line.

    It looks every 20 ms and takes all that waits: waking up for each of a market of tops costs more than writing them.
    """

    def __init__(self, name: str, tops: Channel[TopOfBook], *, to_log: bool = True) -> None:
        """``to_log`` may be set while it runs; without it tops are taken and not written."""
        super().__init__(name)
        self._tops, self.to_log = tops, to_log
        self._in_hand: TopOfBook | None = None  # taken, and not written yet

    def run(self, stop: threading.Event) -> None:
        top, self._in_hand = self._in_hand, None
        if top is not None and self.to_log:
            self.publish(top)  # the one that this failed with, once more
        while not stop.wait(_PAUSE_S):
            self.beat()
            while True:
                self._in_hand = top = self._tops.take(0)
                if top is None:
                    break
                if self.to_log:
                    self.publish(top)
                self.progress()

    def publish(self, top: TopOfBook) -> None:
        """One line of the log (contract: ``book.top``)."""
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
        )
