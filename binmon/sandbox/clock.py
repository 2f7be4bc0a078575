"""The venue's clock: wall-clock UTC with a skew and a drift that faults can set."""

from __future__ import annotations

import threading
import time


class VenueClock:
    """Wall-clock time as the venue claims it, in microseconds or milliseconds since the epoch (UTC).

    The skew is added to every timestamp the sandbox prints and to the server time that timestamps of requests are
    checked against; it does not change how long anything takes, and no timeout depends on it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one writer at a time; readers take the tuple as a whole
        self._setting = (0, 0.0, time.monotonic_ns())

    @property
    def skew_us(self) -> int:
        """Microseconds by which this clock runs ahead of the machine's, now."""
        skew_us, drift_ppm, since_ns = self._setting
        if not drift_ppm:
            return skew_us
        return skew_us + round((time.monotonic_ns() - since_ns) * drift_ppm / 1e9)

    @property
    def drift_ppm(self) -> float:
        """Microseconds that this clock gains on the machine's in each second."""
        return self._setting[1]

    def set_skew_us(self, skew_us: int, drift_ppm: float = 0.0) -> None:
        """Set the skew, at once, and how it grows from now on; positive means the venue's clock is ahead."""
        with self._lock:
            self._setting = (skew_us, drift_ppm, time.monotonic_ns())

    def now_us(self) -> int:
        """Venue time in microseconds."""
        return time.time_ns() // 1000 + self.skew_us

    def now_ms(self) -> int:
        """Venue time in milliseconds."""
        return self.now_us() // 1000


def stamp(time_us: int, microseconds: bool) -> int:
    """A timestamp in the unit the client asked for (reference: Binance Spot, timing)."""
    return time_us if microseconds else time_us // 1000
