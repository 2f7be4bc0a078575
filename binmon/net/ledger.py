"""One ledger a venue of all that the venue limits: request weight, orders, connections, messages, and bans.

Binance Spot, limits: weight counts per address in windows aligned to the venue's minute; exceeding it is a 429, and
going on after a 429 is a 418, a ban of two minutes to three days.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from binmon.errors import Banned, RateLimited
from binmon.messages import Priority
from binmon.net.budgets import AlignedCount, OrderCounts, SlidingBudget
from binmon.net.claims import SHARES, Claim, ClaimQueue
from binmon.net.weights import WINDOW_S, WeightWindow

log = structlog.get_logger("binmon.net")

REQUEST_WEIGHT = "REQUEST_WEIGHT"
RAW_REQUESTS = "RAW_REQUESTS"
ORDERS = "ORDERS"
DEFAULT_LIMITED_S = 60.0  # 429 without Retry-After: the longest a one-minute window can last
DEFAULT_BANNED_S = 120.0  # 418 without Retry-After: the shortest ban, Binance Spot, limits
CONNECTS, CONNECTS_WINDOW_S = 280, 300.0  # the venue allows 300 in five minutes
OUTGOING_MESSAGES, OUTGOING_WINDOW_S = 4, 1.0  # Binance Spot cuts a socket at more than 5 a second
# of RAW_REQUESTS: what is kept back pays for the few requests that the venue counts on the other side of a turn
_RAW_SHARE = 0.9
_LOOK_S = 0.5  # a limit raised, a clock set right, or a stop is noticed within this


@dataclass(frozen=True, slots=True)
class Usage:
    """A count and its limit."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class RateStatus:
    """What stands in a ledger at one moment. Times ``*_until_s`` are wall-clock seconds since the epoch, 0.0 for none."""

    venue: str
    weight: Usage  # of this minute, requests under way included
    window_ends_in_s: float
    in_flight: int  # weight of the requests under way
    blocked_until_s: float  # a 429 or 403, or a ban
    ban_until_s: float
    connects: Usage  # attempts in the last connects_window_s
    connects_window_s: float
    orders: Mapping[str, Usage]  # by interval: 10S, 1D
    raw_requests: Usage | None  # None where the venue lists no such limit
    outgoing: Mapping[str, Usage]  # by socket: messages in the last second
    waiting: Mapping[Priority, int]  # requests that wait for weight; priorities with none are left out
    orders_blocked_until_s: float = 0.0  # a 429 for orders; market data goes on


@dataclass(frozen=True, slots=True)
class Forecast:
    """What many requests would cost: their ``weight``, which share of a whole minute's limit that is, and how many
    ``seconds`` from now the last of them could leave. Infinite when one is heavier than the limit."""

    weight: int
    share_of_minute: float
    seconds: float


class RateLedger:
    """One process-wide ledger for one venue. Thread-safe; nothing waits while holding its lock.

    Weight is ``acquire``d (or ``reserve``d) before a request is sent, and ``settle``d when it was answered or has
    failed; `WeightWindow` says how it is counted and `ClaimQueue` who goes first. Whoever waits wakes from time to
    time and deals for all that wait, in their order; so who happens to wake first does not matter.

    All ``now_s`` are wall-clock seconds since the epoch; ``clock`` gives them where the ledger itself must look.
    ``connects`` is the budget of connection attempts, shared by all sockets to the venue, in monotonic seconds.
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
        connects: SlidingBudget | None = None,
    ) -> None:
        """``ban_until_ms`` is what an earlier run left behind; ``on_ban(until_ms)`` is told of a new ban, in the
        thread that met it and without the lock held, so that it can be kept over a restart. ``edge_s`` is how far our
        clock may be from the venue's."""
        self.venue = venue
        self.max_wait_s = max_wait_s
        self._own_clock = clock
        self.clock = clock
        self.connects = connects or SlidingBudget(CONNECTS, CONNECTS_WINDOW_S)
        self._on_ban = on_ban
        self._lock = threading.Lock()  # guards everything below
        self._window = WeightWindow(weight_per_minute, edge_s)
        self._queue = ClaimQueue(self._window)
        self._wakes: dict[Claim, threading.Event] = {}
        self._orders = OrderCounts()
        self._raw: AlignedCount | None = None
        self._outgoing: dict[str, SlidingBudget] = {}
        self._blocked_until_s = 0.0
        self._block_scope = REQUEST_WEIGHT
        self._ban_until_ms = ban_until_ms

    # -- settings and reading ---------------------------------------------------------------------------------

    def set_clock_offset(self, offset_s: float) -> None:
        """Count by the venue's clock from now on: its minutes are what is limited. ``offset_s`` is it minus ours."""
        own = self._own_clock
        self.clock = lambda: own() + offset_s

    def set_limits(
        self,
        *,
        weight_per_minute: int | None = None,
        orders: Mapping[str, int] | None = None,
        raw_requests: tuple[str, int] | None = None,
    ) -> None:
        """Take over limits from exchangeInfo; what is None stays.

        ``orders`` maps intervals (``10S``, ``1D``) to limits, ``raw_requests`` is an interval and its limit. Raises
        ValueError, and changes nothing, when a limit is not positive or an interval is none.
        """
        if weight_per_minute is not None and weight_per_minute < 1:
            raise ValueError(f"a weight limit must be positive, not {weight_per_minute}")
        raw = AlignedCount(*raw_requests) if raw_requests is not None else None
        with self._lock:
            self._orders.set_limits(orders or {})
            if raw is not None:
                if self._raw is not None and self._raw.interval == raw.interval:
                    self._raw.limit = raw.limit
                else:
                    self._raw = raw
            if weight_per_minute is not None:
                self._window.limit = weight_per_minute
            self._deal(self.clock())

    @property
    def limit(self) -> int:
        """Request weight per minute."""
        return self._window.limit

    @property
    def used(self) -> int:
        """Weight counted in the current minute, requests under way included."""
        with self._lock:
            return self._window.used(self.clock())

    @property
    def blocked_until(self) -> float:
        """Wall-clock seconds until which nothing may be sent after a 429 or a ban; in the past when free."""
        return max(self._blocked_until_s, self._ban_until_ms / 1000)

    @property
    def ban_until_ms(self) -> int:
        """The end of the last known ban, milliseconds since the epoch; zero when there was none."""
        return self._ban_until_ms

    def status(self, now_s: float, *, now_mono_s: float | None = None) -> RateStatus:
        """Everything at once, for people and machines that look on. ``now_mono_s``: None asks the monotonic clock."""
        mono_s = time.monotonic() if now_mono_s is None else now_mono_s
        with self._lock:
            return RateStatus(
                venue=self.venue,
                weight=Usage(self._window.used(now_s), self._window.limit),
                window_ends_in_s=self._window.left_s(now_s),
                in_flight=self._window.in_flight,
                blocked_until_s=self.blocked_until,
                ban_until_s=self._ban_until_ms / 1000,
                connects=Usage(self.connects.used(mono_s), self.connects.limit),
                connects_window_s=self.connects.window_s,
                orders={name: Usage(*counted) for name, counted in self._orders.usage(now_s).items()},
                raw_requests=None if self._raw is None else Usage(self._raw.used(now_s), self._raw.limit),
                outgoing={name: Usage(one.used(mono_s), one.limit) for name, one in self._outgoing.items()},
                waiting=self._queue.waiting(),
                orders_blocked_until_s=self._orders.blocked_until_s,
            )

    def forecast(self, weights: Iterable[int], priority: Priority, now_s: float) -> Forecast:
        """What requests of these weights, in this order, would cost from now on, if nobody else sent anything.

        A resync of all books is ``[venue.snapshot_weight(depth)] * len(books)``. Whoever waits already goes before.
        """
        wanted = list(weights)
        with self._lock:
            limit, edge_s = self._window.limit, self._window.edge_s
            start_s = max(now_s, self.blocked_until)
            occupied = self._window.used(now_s) + self._queue.claimed_against(priority, now_s)
        total = sum(wanted)
        if any(weight > limit for weight in wanted):
            return Forecast(total, total / limit, math.inf)
        if start_s // WINDOW_S > now_s // WINDOW_S:
            occupied = 0
        window, opens_s, share = start_s // WINDOW_S, start_s, limit * SHARES[priority]
        for weight in wanted:
            if occupied + weight > max(share, weight):
                window, occupied = window + 1, 0
                # the first moment after the turn belongs to the old minute, see WeightWindow
                opens_s = window * WINDOW_S + edge_s
            occupied += weight
        return Forecast(total, total / limit, max(0.0, opens_s - now_s))

    # -- budgets that others spend ----------------------------------------------------------------------------

    def outgoing(self, name: str) -> SlidingBudget:
        """The budget of messages towards the socket ``name``: the same one for the same name. Monotonic seconds."""
        with self._lock:
            budget = self._outgoing.get(name)
            if budget is None:
                budget = self._outgoing[name] = SlidingBudget(OUTGOING_MESSAGES, OUTGOING_WINDOW_S)
            return budget

    def forget_outgoing(self, name: str) -> None:
        """The socket ``name`` is gone for good. A name that is not known is no error: a socket may end twice."""
        with self._lock:
            self._outgoing.pop(name, None)

    def orders_used(self, interval: str, count: int, now_s: float) -> None:
        """The venue said how many unfilled orders it counts in ``interval`` (``10S``, ``1D``).

        An interval that exchangeInfo did not list is passed over: without a limit the count says nothing.
        """
        with self._lock:
            self._orders.put(interval, count, now_s)

    def order_room(self, now_s: float) -> float:
        """Seconds to wait before another order may be sent; 0.0 is now.

        Only what limits orders alone is looked at: a 429 for orders, and the counts of unfilled orders. Weight and bans
        are those of every request.
        """
        with self._lock:
            return self._orders.room_s(now_s)

    def take_order(self, now_s: float) -> float:
        """``order_room``, and when that is 0.0 one order is counted in the same step, as several threads may send them.

        It stays counted until the venue says its own count (``orders_used``) or the window turns: so orders that the
        venue refused count too much for a while, and none too little.
        """
        with self._lock:
            return self._orders.take(now_s)

    # -- request weight ---------------------------------------------------------------------------------------

    def reserve(self, weight: int, priority: Priority, now_s: float) -> float:
        """Seconds to wait before asking again; 0.0 means reserved, and ``settle`` must follow.

        Goes after those that wait in ``acquire`` and are no less urgent. Infinity when the weight is more than the
        limit of a whole minute.
        """
        _check_weight(weight)
        with self._lock:
            wait_s = self._gate_s(now_s)
            if wait_s > 0:
                return wait_s
            claimed = self._queue.claimed_against(priority, now_s)
            wait_s = self._window.wait_s(weight, SHARES[priority], now_s, claimed)
            if wait_s == 0.0:
                self._window.take(weight, now_s)
                self._queue.served(priority, now_s)
                self._count_raw(1, now_s)
            return wait_s

    def settle(
        self,
        weight: int,
        used_weight_header: int | None,
        now_s: float,
        *,
        reserved_s: float | None = None,
        free: bool = False,
    ) -> None:
        """A reserved request was answered, or failed (``used_weight_header`` None): it counts as used either way.

        ``reserved_s`` is a ``now_s`` between the reservation and the sending (None: about now). ``free``: the venue
        takes no weight for it, as for an order that succeeded, or it never left.
        """
        with self._lock:
            if free:
                self._window.give_back(weight)
            counted = 0 if free else weight
            self._window.settle(counted, used_weight_header, now_s, now_s if reserved_s is None else reserved_s)
            # the answer may have shown that there is more room than was feared
            self._deal(now_s)

    def acquire(
        self, weight: int, priority: Priority, stop: threading.Event, *, max_wait_s: float | None = None
    ) -> None:
        """Wait until ``weight`` is reserved; those who wait are served by priority, then in the order they came.

        Raises Banned, or RateLimited when the wait is longer than ``max_wait_s`` (None: that of the ledger), when requests
        of higher priority have kept this one out for twice that, or when ``stop`` was set meanwhile. Nothing is reserved
        then.
        """
        longest_s = self.max_wait_s if max_wait_s is None else max_wait_s
        _check_weight(weight)
        began_mono_s = time.monotonic()
        wake = threading.Event()
        claim = self.enter(weight, priority, self.clock(), wake)
        try:
            while True:
                now_s = self.clock()
                wait_s = self.deal(claim, now_s)
                if wait_s == 0.0:
                    return
                starved = time.monotonic() - began_mono_s > 2 * longest_s
                if wait_s > longest_s or starved or stop.is_set():
                    raise self._refusal(min(wait_s, WINDOW_S) if math.isinf(wait_s) else wait_s, now_s)
                wake.wait(min(wait_s, _LOOK_S))
        finally:
            self.leave(claim)

    def enter(self, weight: int, priority: Priority, now_s: float, wake: threading.Event | None = None) -> Claim:
        """Queue up without waiting: what ``acquire`` is made of. ``wake`` is set when the claim has been served, by
        whoever dealt. ``leave`` must follow, served or not."""
        with self._lock:
            claim = self._queue.enter(weight, priority, now_s)
            self._wakes[claim] = wake or threading.Event()
            return claim

    def deal(self, claim: Claim, now_s: float) -> float:
        """Serve all whose turn it is; seconds that ``claim`` has still to wait, 0.0 when it has been served: then its
        weight is reserved, and ``settle`` must follow."""
        with self._lock:
            self._deal(now_s)
            wake = self._wakes.get(claim)
            if wake is None or wake.is_set():
                self._wakes.pop(claim, None)
                return 0.0
            claimed, share = self._queue.claimed_before(claim, now_s)
            return max(self._gate_s(now_s), self._window.wait_s(claim.weight, share, now_s, claimed))

    def leave(self, claim: Claim) -> None:
        """Out of the queue. A claim that ``deal`` did not report as served gives up its place, and its weight when
        somebody else served it just now."""
        with self._lock:
            wake = self._wakes.pop(claim, None)
            if wake is None:
                return
            if not self._queue.leave(claim):
                self._window.give_back(claim.weight)
            self._deal(self.clock())

    # -- what the venue forbids -------------------------------------------------------------------------------

    def limited(self, retry_after_s: float, now_s: float, scope: str = REQUEST_WEIGHT) -> None:
        """The venue answered 429 (or 403 from its firewall): everyone waits; for scope ORDERS, orders alone do."""
        with self._lock:
            if scope == ORDERS:
                fresh = self._orders.blocked_until_s <= now_s
                self._orders.blocked_until_s = max(self._orders.blocked_until_s, now_s + retry_after_s)
                # the venue does not say which of its counts it was: the fullest
                counts = self._orders.usage(now_s).values()
                used, limit = max(counts, key=lambda one: one[0] / one[1], default=(0, 0))
            else:
                fresh = self._blocked_until_s <= now_s
                self._blocked_until_s = max(self._blocked_until_s, now_s + retry_after_s)
                self._block_scope = scope
                used, limit = self._window.used(now_s), self._window.limit
        if fresh:  # requests that were under way meet the same 429; one line tells it all
            log.warning(
                "rate.limited", venue=self.venue, scope=scope, used=used, limit=limit, retry_after_s=retry_after_s
            )

    def banned(self, retry_after_s: float, now_s: float) -> None:
        """The venue answered 418: nothing at all is sent until the ban is over."""
        until_ms = math.ceil((now_s + retry_after_s) * 1000)
        with self._lock:
            fresh = self._ban_until_ms <= now_s * 1000
            longer = until_ms > self._ban_until_ms
            self._ban_until_ms = max(self._ban_until_ms, until_ms)
            used, limit = self._window.used(now_s), self._window.limit
        if fresh:
            log.error("rate.banned", venue=self.venue, scope="IP", used=used, limit=limit, retry_after_s=retry_after_s)
        if longer and self._on_ban is not None:
            self._on_ban(until_ms)

    # -- within: all called with the lock held, but _refusal ---------------------------------------------------

    def _deal(self, now_s: float) -> None:
        """Serve all whose turn it is, and wake them."""
        if not len(self._queue) or self._gate_s(now_s) > 0:
            return
        served = self._queue.deal(now_s)
        self._count_raw(len(served), now_s)
        for claim in served:
            self._wakes[claim].set()

    def _gate_s(self, now_s: float) -> float:
        """Seconds for which nothing may be sent, whatever its weight; 0.0 when something may."""
        blocked_s = max(self._blocked_until_s, self._ban_until_ms / 1000) - now_s
        if blocked_s > 0:
            return blocked_s
        if self._raw is not None and self._raw.used(now_s) >= self._raw.limit * _RAW_SHARE:
            return self._raw.left_s(now_s)
        return 0.0

    def _count_raw(self, requests: int, now_s: float) -> None:
        if self._raw is not None:
            self._raw.add(requests, now_s)

    def _refusal(self, wait_s: float, now_s: float) -> Banned | RateLimited:
        with self._lock:
            if self._ban_until_ms > now_s * 1000:
                return Banned(wait_s)
            if self._blocked_until_s > now_s:
                return RateLimited(self._block_scope, wait_s)
            return RateLimited(RAW_REQUESTS if self._gate_s(now_s) > 0 else REQUEST_WEIGHT, wait_s)


def _check_weight(weight: int) -> None:
    if weight < 0:
        raise ValueError(f"weight must not be negative: {weight}")


__all__ = [
    "ORDERS",
    "REQUEST_WEIGHT",
    "SHARES",
    "Claim",
    "Forecast",
    "RateLedger",
    "RateStatus",
    "SlidingBudget",
    "Usage",
]
