"""The venue's clock: wall-clock UTC with a skew that faults can set."""

from __future__ import annotations

import threading
import time


class VenueClock:
    """Wall-clock time as the venue claims it, in microseconds or milliseconds since the epoch (UTC).

    ``skew_us`` is added to every timestamp the sandbox prints; it does not change how fast time passes and no
    timeout depends on it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._skew_us = 0

    @property
    def skew_us(self) -> int:
        """Microseconds by which this clock runs ahead of the machine's."""
        with self._lock:
            return self._skew_us

    def set_skew_us(self, skew_us: int) -> None:
        """Set the skew; positive means the venue's clock is ahead."""
        with self._lock:
            self._skew_us = skew_us

    def now_us(self) -> int:
        """Venue time in microseconds."""
        return time.time_ns() // 1000 + self._skew_us

    def now_ms(self) -> int:
        """Venue time in milliseconds."""
        return self.now_us() // 1000


def stamp(time_us: int, microseconds: bool) -> int:
    """A timestamp in the unit the client asked for (reference: Binance Spot, timing)."""
    return time_us if microseconds else time_us // 1000
