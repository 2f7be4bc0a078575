"""How often an account may ask (reference: Bybit v5, 6.1): a rolling second for each account and endpoint.

What an address may ask is counted by :class:`~binmon.sandbox.limits.WeightLedger`, one a request.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

WINDOW_MS = 1000
IP_LIMIT, IP_WINDOW_S, IP_BAN_S = 600, 5, 600.0
"""Requests of one address in five seconds, and for how long it is shut out for more (6.2)."""


@dataclass(frozen=True)
class Allowance:
    """What the headers of an answer tell; ``reset_ms`` is when a blocked request may come again, else now."""

    allowed: bool
    limit: int
    left: int
    reset_ms: int

    def headers(self) -> dict[str, str]:
        """The headers of a signed answer."""
        return {
            "X-Bapi-Limit": str(self.limit),
            "X-Bapi-Limit-Status": str(self.left),
            "X-Bapi-Limit-Reset-Timestamp": str(self.reset_ms),
        }


class EndpointLimits:
    """Counts requests by account and endpoint. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[tuple[int, str], deque[float]] = {}

    def charge(self, account: int, endpoint: str, limit: int, now_ms: int) -> Allowance:
        """Count a request, unless there were too many within the last second. ``now_ms`` is the venue's time."""
        now_s = time.monotonic()  # the venue's clock may be set
        with self._lock:
            asked = self._asked.setdefault((account, endpoint), deque())
            while asked and asked[0] <= now_s - WINDOW_MS / 1000:
                asked.popleft()
            if len(asked) >= limit:
                return Allowance(False, limit, 0, now_ms + WINDOW_MS - int((now_s - asked[0]) * 1000))
            asked.append(now_s)
            return Allowance(True, limit, limit - len(asked), now_ms)

    def forgive(self) -> None:
        """Forget what was asked."""
        with self._lock:
            self._asked.clear()
