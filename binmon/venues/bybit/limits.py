"""What Bybit limits: requests of an address, and those of an account to each endpoint (reference, section 6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from binmon.net.budgets import SlidingBudget
from binmon.net.ledger import RateLedger
from binmon.net.rest import Refusals
from binmon.venues.bybit.endpoints import NAME

log = structlog.get_logger("binmon.venues")

WEIGHT = 1  # every request counts once
# 600 requests in any 5 s are allowed. Counted in windows that are aligned to the clock, two halves of which meet in one
# of the venue's, that is half of it in each.
REQUESTS_INTERVAL, REQUESTS = "5S", 300
REQUESTS_A_MINUTE = 12 * REQUESTS
_CONNECTS, _CONNECTS_WINDOW_S = 450, 300.0  # 500 in five minutes are allowed
_WINDOW_S = 1.1  # the venue counts what arrives in a second: what was sent apart may arrive together
_OTHERS = 10  # of an endpoint that is not listed below
_ENDPOINTS = {
    "/v5/order/create": 20,
    "/v5/order/cancel": 20,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/account/wallet-balance": 50,
    "/v5/account/fee-rate": 5,
    "/v5/user/query-api": 10,
}
_LIMIT, _LEFT, _RESET = "X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp"
_LONGEST_BLOCK_S = 60.0  # whatever a header says: the windows are seconds

# 403 means that the address is banned, and the ban is lifted after ten minutes of silence; a 429 is the system's, not ours
REFUSALS = Refusals(limited_s=2.0, forbidden_s=600.0, forbidden_bans=True)


def ledger_of(**options: Any) -> RateLedger:
    """A ledger with the limits that hold for an address; ``options`` are those of `RateLedger`."""
    ledger = RateLedger(
        NAME,
        weight_per_minute=REQUESTS_A_MINUTE,
        connects=SlidingBudget(_CONNECTS, _CONNECTS_WINDOW_S),
        **options,
    )
    ledger.set_limits(raw_requests=(REQUESTS_INTERVAL, REQUESTS))
    return ledger


class EndpointLimits:
    """Requests of one account to each endpoint, in rolling seconds. ``_lock`` guards all; nothing waits in here.

    The defaults are known; what the headers of an answer say of a limit, and of its end, is believed from then on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` is monotonic seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._budgets: dict[str, SlidingBudget] = {}
        self._blocked_until_s: dict[str, float] = {}
        self._told_until_s: dict[str, float] = {}  # of the refusals that were told

    def take(self, path: str) -> float:
        """Seconds to wait before a request to ``path`` may leave; when that is 0.0 it is counted in the same step."""
        now_s = self._clock()
        with self._lock:
            blocked_s = self._blocked_until_s.get(path, now_s) - now_s
            return blocked_s if blocked_s > 0 else self._budget(path).take(now_s)

    def heard(self, path: str, headers: Mapping[str, str], venue_ms: int) -> float | None:
        """An answer came with ``headers``, when the venue's clock was ``venue_ms``: seconds until its limit is free
        again, None where it does not say. Only signed requests have such headers."""
        limit, left, reset_ms = (_whole(headers.get(name)) for name in (_LIMIT, _LEFT, _RESET))
        until_free_s = None if reset_ms is None else min(_LONGEST_BLOCK_S, max(0.0, (reset_ms - venue_ms) / 1000))
        with self._lock:
            if limit and limit != self._budget(path).limit:
                self._budgets[path] = SlidingBudget(limit, _WINDOW_S)
            if left == 0 and until_free_s:
                self._blocked_until_s[path] = self._clock() + until_free_s
        return until_free_s

    def limited(self, path: str, wait_s: float) -> None:
        """The venue refused a request to ``path`` for its number: nothing more for ``wait_s``."""
        now_s = self._clock()
        with self._lock:
            self._blocked_until_s[path] = max(self._blocked_until_s.get(path, 0.0), now_s + wait_s)
            fresh = self._told_until_s.get(path, 0.0) <= now_s
            self._told_until_s[path] = now_s + wait_s
            budget = self._budget(path)
            used, limit = budget.used(now_s), budget.limit
        if fresh:  # those that were under way meet the same; one line tells it all
            log.warning("rate.limited", venue=NAME, scope=path, used=used, limit=limit, retry_after_s=wait_s)

    def _budget(self, path: str) -> SlidingBudget:
        budget = self._budgets.get(path)
        if budget is None:
            budget = self._budgets[path] = SlidingBudget(_ENDPOINTS.get(path, _OTHERS), _WINDOW_S)
        return budget


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None
