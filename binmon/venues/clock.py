"""The worker that keeps a `VenueClock`: asks the venue for its time every now and then, and tells of steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from binmon.core.clock import ClockReading, ClockSample, VenueClock
from binmon.core.worker import Worker
from binmon.errors import BinmonError

log = structlog.get_logger("binmon.venues")

INTERVAL_S = 10.0
BURST, BURST_PAUSE_S = 5, 0.2  # at the start: the least of some round trips says more than one
_LOST_AFTER = 3  # failed questions in a row that are worth a line

TakeSample = Callable[[threading.Event], ClockSample]


class ClockFollower(Worker):
    """Samples with ``take`` into ``clock``; ``changed`` is told of every new reading, in this worker's thread.

    A question that fails is no failure of the worker: the reading only gets less sure until one succeeds.
    """

    def __init__(
        self,
        name: str,
        clock: VenueClock,
        take: TakeSample,
        changed: Callable[[ClockReading], None] = lambda reading: None,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        super().__init__(name)
        self._clock, self._take, self._changed, self._interval_s = clock, take, changed, interval_s
        self._failures = 0

    def run(self, stop: threading.Event) -> None:
        """Ask until ``stop``."""
        asked = 0
        while not stop.is_set():
            self.beat()
            self.ask(stop)
            asked += 1
            stop.wait(BURST_PAUSE_S if asked < BURST else self._interval_s)

    def ask(self, stop: threading.Event) -> None:
        """One question."""
        try:
            measure(self._clock, self._take, stop)
        except BinmonError as error:
            self._failures += 1
            if self._failures == _LOST_AFTER and not stop.is_set():
                log.warning("clock.unknown", venue=self._clock.venue, reason=str(error), failures=self._failures)
            return
        if self._failures >= _LOST_AFTER:
            log.info("clock.known", venue=self._clock.venue, failures=self._failures)
        self._failures = 0
        self.progress()
        reading = self._clock.reading()
        if reading is not None:
            self._changed(reading)


def measure(clock: VenueClock, take: TakeSample, stop: threading.Event) -> None:
    """One sample into ``clock``, and a line for each clock that it shows to have been set. Raises what ``take`` raises."""
    for step in clock.add([take(stop)]):
        log.warning(
            "clock.stepped",
            venue=clock.venue,
            clock="venue" if step.venue else "local",
            by_ms=round(step.by_ns / 1e6, 3),
        )
