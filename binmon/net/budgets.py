"""Counts against a limit: over a window that slides, and over windows aligned to the clock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

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


class OrderCounts:
    """Unfilled orders in several aligned windows at once, and a pause that the venue imposed. Not thread-safe.

    Binance Spot counts an order when it is accepted and takes it off again when it begins to fill; it says its counts
    with every accepted order. A longer window that is used up blocks even when a shorter one has room.
    """

    def __init__(self) -> None:
        self._counts: dict[str, AlignedCount] = {}
        self.blocked_until_s = 0.0  # after a 429 for orders

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """Limits by interval; what is counted already stays. Raises ValueError, and changes nothing."""
        fresh = {interval: AlignedCount(interval, limit) for interval, limit in limits.items()}
        for interval, count in fresh.items():
            if interval in self._counts:
                self._counts[interval].limit = count.limit
            else:
                self._counts[interval] = count

    def put(self, interval: str, count: int, now_s: float) -> None:
        """The venue said its count; that of an interval without a known limit says nothing."""
        known = self._counts.get(interval)
        if known is not None:
            known.put(count, now_s)

    def room_s(self, now_s: float) -> float:
        """Seconds until another order may be sent; 0.0 is now."""
        waits_s = [count.left_s(now_s) for count in self._counts.values() if count.used(now_s) >= count.limit]
        return max(0.0, self.blocked_until_s - now_s, *waits_s)

    def take(self, now_s: float) -> float:
        """``room_s``, and when that is 0.0 one order is counted, until the venue says its own count."""
        wait_s = self.room_s(now_s)
        if wait_s == 0.0:
            for count in self._counts.values():
                count.add(1, now_s)
        return wait_s

    def usage(self, now_s: float) -> dict[str, tuple[int, int]]:
        """(used, limit) by interval."""
        return {interval: (count.used(now_s), count.limit) for interval, count in self._counts.items()}


def interval_s(interval: str) -> int:
    """Seconds of ``10S``, ``1M``, ``1H`` or ``1D``. Raises ValueError for anything else."""
    number, unit = interval[:-1], interval[-1:].upper()
    if not (number.isascii() and number.isdigit() and int(number) > 0 and unit in _UNITS_S):
        raise ValueError(f"not an interval: {interval!r}")
    return int(number) * _UNITS_S[unit]
