"""Counts against a limit: over a window that slides, and over windows aligned to the clock."""

from __future__ import annotations

import threading
from collections import deque

# Binance Spot names intervals so in its headers: X-MBX-ORDER-COUNT-10S, X-MBX-USED-WEIGHT-1M
_UNITS_S = {"S": 1, "M": 60, "H": 3_600, "D": 86_400}


class SlidingBudget:
    """At most ``limit`` events in any ``window_s`` seconds. Thread-safe; ``now_s`` is monotonic seconds.

    Binance Spot: 300 connection attempts in 5 minutes an address, 5 messages a second towards a stream socket.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        if limit < 1 or window_s <= 0:
            raise ValueError(f"not a budget: {limit} in {window_s} s")
        self.limit, self.window_s = limit, window_s
        self._lock = threading.Lock()  # guards _spent_s
        # of the last ``limit`` events: the oldest of them says when there is room again
        self._spent_s: deque[float] = deque(maxlen=limit)

    def delay_s(self, now_s: float) -> float:
        """How long to wait before one more event is within the budget; 0.0 when it is now."""
        with self._lock:
            return self._delay_s(now_s)

    def spend(self, now_s: float) -> None:
        """One event happens now, within the budget or not."""
        with self._lock:
            self._spent_s.append(now_s)

    def take(self, now_s: float) -> float:
        """``delay_s``, and when that is 0.0 ``spend`` in the same step: for budgets that threads share."""
        with self._lock:
            delay_s = self._delay_s(now_s)
            if delay_s == 0.0:
                self._spent_s.append(now_s)
            return delay_s

    def used(self, now_s: float) -> int:
        """Events in the window that ends now; never more than ``limit``, as no more are remembered."""
        with self._lock:
            return sum(spent_s + self.window_s > now_s for spent_s in self._spent_s)

    def _delay_s(self, now_s: float) -> float:
        if len(self._spent_s) < self.limit:
            return 0.0
        return max(0.0, self._spent_s[0] + self.window_s - now_s)


class AlignedCount:
    """A count in windows aligned to the clock: 10 s at :00, :10 …, days at 00:00 UTC. Not thread-safe: its owner is.

    ``now_s`` is wall-clock seconds since the epoch. The count never goes back within a window, unless ``put`` says so.
    """

    def __init__(self, interval: str, limit: int) -> None:
        """``interval`` as the venue writes it: ``10S``, ``5M``, ``1D``. Raises ValueError."""
        if limit < 1:
            raise ValueError(f"a limit must be positive, not {limit}")
        self.interval, self.limit, self.window_s = interval, limit, interval_s(interval)
        self._window = -1
        self._count = 0

    def used(self, now_s: float) -> int:
        """The count of the window that ``now_s`` is in."""
        self._turn(now_s)
        return self._count

    def add(self, count: int, now_s: float) -> None:
        """Count ``count`` more."""
        self._turn(now_s)
        self._count += count

    def put(self, count: int, now_s: float) -> None:
        """The venue said what the count is."""
        self._turn(now_s)
        self._count = count

    def left_s(self, now_s: float) -> float:
        """Seconds to the end of the window."""
        return self.window_s - now_s % self.window_s

    def _turn(self, now_s: float) -> None:
        window = int(now_s // self.window_s)
        if window > self._window:
            self._count = 0
        # a clock that was set back keeps the count: the venue's window has not turned
        self._window = window


def interval_s(interval: str) -> int:
    """Seconds of ``10S``, ``1M``, ``1H`` or ``1D``. Raises ValueError for anything else."""
    number, unit = interval[:-1], interval[-1:].upper()
    if not (number.isascii() and number.isdigit() and int(number) > 0 and unit in _UNITS_S):
        raise ValueError(f"not an interval: {interval!r}")
    return int(number) * _UNITS_S[unit]
