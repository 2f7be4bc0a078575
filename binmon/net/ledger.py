"""Who may send how much: the request weight of a whole process, and budgets over sliding windows.

Binance Spot, limits: weight counts per address in windows aligned to the venue's minute; exceeding it is a 429, and
going on after a 429 is a 418, a ban of two minutes to three days.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from binmon.errors import Banned, RateLimited
from binmon.messages import Priority

log = structlog.get_logger("binmon.net")

WINDOW_S = 60.0
REQUEST_WEIGHT = "REQUEST_WEIGHT"

# up to which share of a window each priority may fill it; the rest is kept for those before it
SHARES: dict[Priority, float] = {
    Priority.ORDER: 1.0,
    Priority.RESYNC: 0.9,
    Priority.INITIAL_SYNC: 0.8,
    Priority.AUDIT: 0.5,
    Priority.LISTING: 0.5,
}


class RateLedger:
    """One process-wide book of request weight for one venue. Thread-safe; nothing waits while holding its lock.

    Weight is ``reserve``d before a request is sent, and ``settle``d when it was answered or has failed. What is on
    its way when a minute ends counts in the new minute too, for nobody knows in which the venue counts it. Our
    clock may differ from the venue's by ``edge_s``: weight reserved so shortly before the turn of a minute counts
    in both, and so shortly after it the old minute still counts.

    All ``now_s`` are wall-clock seconds since the epoch; ``clock`` gives them where the ledger itself must look.
    """

    def __init__(
        self,
        venue: str,
        *,
        weight_per_minute: int = 6000,
        max_wait_s: float = 60.0,
        edge_s: float = 0.5,
        ban_until_ms: int = 0,
        on_ban: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``ban_until_ms`` is what an earlier run left behind; ``on_ban(until_ms)`` is told of a new ban, in the
        thread that met it and without the lock held, so that it can be kept over a restart."""
        self.venue = venue
        self.max_wait_s = max_wait_s
        self._edge_s = edge_s
        self._on_ban = on_ban
        self.clock = clock
        self._lock = threading.Lock()  # guards everything below
        self._limit = _checked_limit(weight_per_minute)
        self._window = -1  # minutes since the epoch
        self._used = 0  # settled in this window, or more if the venue says so
        self._late = 0  # settled or not, reserved in the last edge_s of this window
        self._in_flight = 0
        self._previous = 0  # what the window before held and this one does not
        self._blocked_until_s = 0.0
        self._ban_until_ms = ban_until_ms
        self._block_scope = REQUEST_WEIGHT

    # -- settings and reading ---------------------------------------------------------------------------------

    def set_limits(self, *, weight_per_minute: int) -> None:
        """Take over REQUEST_WEIGHT per minute from exchangeInfo. Raises ValueError when it is not positive."""
        with self._lock:
            self._limit = _checked_limit(weight_per_minute)

    @property
    def limit(self) -> int:
        """Request weight per minute."""
        return self._limit

    @property
    def used(self) -> int:
        """Weight counted in the current minute, requests under way included."""
        with self._lock:
            self._turn(self.clock())
            return self._used + self._in_flight

    @property
    def blocked_until(self) -> float:
        """Wall-clock seconds until which nothing may be sent after a 429 or a ban; in the past when free."""
        return max(self._blocked_until_s, self._ban_until_ms / 1000)

    @property
    def ban_until_ms(self) -> int:
        """The end of the last known ban, milliseconds since the epoch; zero when there was none."""
        return self._ban_until_ms

    # -- the book ---------------------------------------------------------------------------------------------

    def reserve(self, weight: int, priority: Priority, now_s: float) -> float:
        """Seconds to wait before asking again; 0.0 means reserved, and ``settle`` must follow.

        Infinity when the weight is more than the limit of a whole minute.
        """
        if weight < 0:
            raise ValueError(f"weight must not be negative: {weight}")
        with self._lock:
            self._turn(now_s)
            blocked_s = max(self._blocked_until_s, self._ban_until_ms / 1000) - now_s
            if blocked_s > 0:
                return blocked_s
            if weight > self._limit:
                return math.inf
            # a request heavier than its share may still go alone, or it could never go at all
            allowed = max(self._limit * SHARES[priority], weight)
            occupied = self._used + self._in_flight + weight
            into_window_s = now_s - self._window * WINDOW_S
            if occupied > allowed:
                return WINDOW_S - into_window_s
            if into_window_s < self._edge_s and occupied + self._previous > allowed:
                return self._edge_s - into_window_s
            self._in_flight += weight
            if WINDOW_S - into_window_s <= self._edge_s:
                self._late += weight
            return 0.0

    def settle(
        self, weight: int, used_weight_header: int | None, now_s: float, *, reserved_s: float | None = None
    ) -> None:
        """A reserved request was answered, or failed (``used_weight_header`` None): it counts as used either way.

        ``reserved_s`` is the ``now_s`` of the reservation (None: about now). The venue's own count is believed only
        when the request began and ended in one minute, for otherwise it may be the count of the minute before.
        """
        with self._lock:
            self._turn(now_s)
            self._in_flight = max(0, self._in_flight - weight)
            self._used += weight
            if reserved_s is None:
                reserved_s = now_s
            if used_weight_header is not None and reserved_s >= self._window * WINDOW_S + self._edge_s:
                # never lowered: answers overtake one another, and other processes share the address
                self._used = max(self._used, used_weight_header)

    def limited(self, retry_after_s: float, now_s: float, scope: str = REQUEST_WEIGHT) -> None:
        """The venue answered 429 (or 403 from its firewall): everyone waits."""
        with self._lock:
            self._turn(now_s)
            fresh = self._blocked_until_s <= now_s
            self._blocked_until_s = max(self._blocked_until_s, now_s + retry_after_s)
            self._block_scope = scope
            used, limit = self._used + self._in_flight, self._limit
        if fresh:  # requests that were under way meet the same 429; one line tells it all
            log.warning(
                "rate.limited", venue=self.venue, scope=scope, used=used, limit=limit, retry_after_s=retry_after_s
            )

    def banned(self, retry_after_s: float, now_s: float) -> None:
        """The venue answered 418: nothing at all is sent until the ban is over."""
        until_ms = math.ceil((now_s + retry_after_s) * 1000)
        with self._lock:
            self._turn(now_s)
            fresh = self._ban_until_ms <= now_s * 1000
            longer = until_ms > self._ban_until_ms
            self._ban_until_ms = max(self._ban_until_ms, until_ms)
            used, limit = self._used + self._in_flight, self._limit
        if fresh:
            log.error("rate.banned", venue=self.venue, scope="IP", used=used, limit=limit, retry_after_s=retry_after_s)
        if longer and self._on_ban is not None:
            self._on_ban(until_ms)

    def acquire(self, weight: int, priority: Priority, stop: threading.Event) -> None:
        """Wait until ``weight`` is reserved.

        Raises Banned, or RateLimited when the wait is longer than ``max_wait_s``, when requests of higher priority
        have kept this one out for twice that, or when ``stop`` was set meanwhile. Nothing is reserved then.
        """
        began_mono_s = time.monotonic()
        while True:
            now_s = self.clock()
            wait_s = self.reserve(weight, priority, now_s)
            if wait_s == 0.0:
                return
            starved = time.monotonic() - began_mono_s > 2 * self.max_wait_s
            # short steps: a limit raised, or a clock set right, is noticed within a second
            if wait_s > self.max_wait_s or starved or stop.wait(min(wait_s, 1.0)):
                raise self._refusal(min(wait_s, WINDOW_S) if math.isinf(wait_s) else wait_s, now_s)

    def _refusal(self, wait_s: float, now_s: float) -> Banned | RateLimited:
        with self._lock:
            if self._ban_until_ms > now_s * 1000:
                return Banned(wait_s)
            return RateLimited(self._block_scope if self._blocked_until_s > now_s else REQUEST_WEIGHT, wait_s)

    def _turn(self, now_s: float) -> None:
        """Begin a new window when ``now_s`` is in one. Called with the lock held."""
        window = int(now_s // WINDOW_S)
        if window > self._window:
            # late weight still in flight is counted twice for that moment: a little too careful, and simple
            next_one = window == self._window + 1
            carried = min(self._late, self._used) if next_one else 0
            self._previous = self._used - carried if next_one else 0
            self._used, self._late, self._window = carried, 0, window
        elif window < self._window:
            # the clock was set back: keep the count, as the venue's minute has not turned
            self._window = window


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

    def _delay_s(self, now_s: float) -> float:
        if len(self._spent_s) < self.limit:
            return 0.0
        return max(0.0, self._spent_s[0] + self.window_s - now_s)


def _checked_limit(weight_per_minute: int) -> int:
    if weight_per_minute < 1:
        raise ValueError(f"a weight limit must be positive, not {weight_per_minute}")
    return weight_per_minute
