"""The worker that asks a venue for candles and for its symbols, so that nobody who watches ever waits for the network."""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.errors import BinmonError, ChannelFull, RetryError
from binmon.messages import (
    CandlesArrived,
    CandlesFailed,
    CandlesWanted,
    Priority,
    SymbolsArrived,
    SymbolsFailed,
    SymbolsWanted,
)
from binmon.venues.watching import WatchingVenue

log = structlog.get_logger("binmon.watch")

_HAND_OVER_S = 1.0
_REFUSED_RETRY_S = 30.0  # what the venue refuses (symbol gone, say) is not worth asking for every second

Answer = CandlesArrived | CandlesFailed | SymbolsArrived | SymbolsFailed


class WatchFetcher(Worker):
    """Answers every CandlesWanted and SymbolsWanted, with what was wanted or why not. Waits for request weight by itself.

    Symbols are asked for at the lowest priority of the ledger, and candles at the one they name.
    """

    # Two minutes for request weight at most; a request is bounded as a whole.
    silence_limit_s = 600.0

    def __init__(
        self,
        name: str,
        venue: WatchingVenue,
        wanted: Channel[CandlesWanted | SymbolsWanted],
        answers: Channel[Any],
    ) -> None:
        super().__init__(name)
        self._venue, self._wanted, self._answers = venue, wanted, answers

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.beat()
            request = self._wanted.take(0.25)
            if isinstance(request, CandlesWanted):
                self._fetch_candles(request, stop)
            elif request is not None:
                self._fetch_symbols(request, stop)

    def _fetch_candles(self, request: CandlesWanted, stop: threading.Event) -> None:
        answer: Answer = CandlesFailed(request, "the fetcher failed", 1.0)
        try:
            rows = self._venue.candles(
                request.symbol,
                request.interval,
                request.start_ms,
                request.end_ms,
                request.limit,
                request.priority,
                stop,
            )
            answer = CandlesArrived(request, tuple(rows))
            self.progress()
        except BinmonError as error:
            retry_after_s = _retry_after_s(error)
            answer = CandlesFailed(request, str(error), retry_after_s)
            if not stop.is_set():
                log.warning(
                    "candles.failed",
                    venue=request.venue,
                    symbol=request.symbol,
                    interval=request.interval,
                    error=str(error),
                    retry_after_s=round(retry_after_s, 3),
                )
        finally:
            # also when this is a bug that ends the worker: the series must not wait for ever
            self._hand_over(answer, stop)

    def _fetch_symbols(self, request: SymbolsWanted, stop: threading.Event) -> None:
        answer: Answer = SymbolsFailed(request.token, "the fetcher failed", 1.0)
        asked_mono_ns = time.monotonic_ns()
        try:
            instruments = self._venue.symbols(stop, Priority.LISTING)
            answer = SymbolsArrived(request.token, instruments, asked_mono_ns, time.monotonic_ns())
            self.progress()
        except BinmonError as error:
            answer = SymbolsFailed(request.token, str(error), _retry_after_s(error))
            if not stop.is_set():
                log.warning("listings.failed", venue=request.venue, error=str(error))
        finally:
            self._hand_over(answer, stop)

    def _hand_over(self, answer: Answer, stop: threading.Event) -> None:
        while not stop.is_set():
            self.beat()
            try:
                self._answers.put(answer, _HAND_OVER_S)
                return
            except ChannelFull:
                continue  # the watcher is behind; an answer lost here would leave it waiting for good


def _retry_after_s(error: BinmonError) -> float:
    return error.retry_after_s if isinstance(error, RetryError) else _REFUSED_RETRY_S
