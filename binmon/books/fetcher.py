"""The worker that asks a venue for REST snapshots, so that nobody who keeps books ever waits for the network."""

from __future__ import annotations

import threading
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.errors import BinmonError, ChannelFull, RetryError
from binmon.messages import SnapshotArrived, SnapshotFailed, SnapshotWanted
from binmon.venues.base import Venue

log = structlog.get_logger("binmon.books")

_HAND_OVER_S = 1.0
_REFUSED_RETRY_S = 30.0  # a request the venue refuses (symbol gone, say) is not worth asking for every second


class SnapshotFetcher(Worker):
    """Answers every SnapshotWanted with a SnapshotArrived or a SnapshotFailed. Waits for request weight by itself."""

    # Two minutes for request weight at most; a request is bounded as a whole, and tried again a few times.
    silence_limit_s = 600.0

    def __init__(self, name: str, venue: Venue, wanted: Channel[SnapshotWanted], answers: Channel[Any]) -> None:
        super().__init__(name)
        self._venue, self._wanted, self._answers = venue, wanted, answers

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.beat()
            request = self._wanted.take(0.25)
            if request is not None:
                self._fetch(request, stop)

    def _fetch(self, request: SnapshotWanted, stop: threading.Event) -> None:
        answer: SnapshotArrived | SnapshotFailed = SnapshotFailed(
            request.token, request.venue, request.symbol, "the fetcher failed", 1.0
        )
        try:
            snapshot = self._venue.depth(request.symbol, request.limit, request.priority, stop)
            answer = SnapshotArrived(request.token, snapshot)
            self.progress()
        except BinmonError as error:
            retry_after_s = error.retry_after_s if isinstance(error, RetryError) else _REFUSED_RETRY_S
            answer = SnapshotFailed(request.token, request.venue, request.symbol, str(error), retry_after_s)
            if not stop.is_set():
                log.warning(
                    "snapshot.failed",
                    venue=request.venue,
                    symbol=request.symbol,
                    error=str(error),
                    retry_after_s=round(retry_after_s, 3),
                )
        finally:
            # also when this is a bug that ends the worker: the book must not wait for ever
            self._hand_over(answer, stop)

    def _hand_over(self, answer: SnapshotArrived | SnapshotFailed, stop: threading.Event) -> None:
        while not stop.is_set():
            self.beat()
            try:
                self._answers.put(answer, _HAND_OVER_S)
                return
            except ChannelFull:
                continue  # the keeper is behind; an answer lost here would leave its book waiting for good
