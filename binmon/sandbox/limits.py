"""Request weight: one window for each IP address, aligned to the clock, and the ban for those who ignore it.

Source: reference, Binance Spot, limits and backoff.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

_IGNORED_BEFORE_BAN = 10
"""Requests a client may send into its 429s in one window before it is banned."""
_LONGEST_BAN_S = 3 * 86_400.0


@dataclass(frozen=True)
class Verdict:
    """What a request is answered before it is even looked at: HTTP status 200, 429 or 418."""

    status: int
    used: int
    retry_after_s: int = 0
    banned_until_ms: int = 0


@dataclass
class _Account:
    window: int = -1
    used: int = 0
    ignored: int = 0
    bans: int = 0
    banned_until_s: float = 0.0


class WeightLedger:
    """Counts request weight by IP address. Times are wall-clock seconds; safe to use from any thread."""

    def __init__(self, limit: int, window_s: int, first_ban_s: float) -> None:
        self.limit = limit
        self._window_s = window_s
        self._first_ban_s = first_ban_s
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}

    def charge(self, address: str, weight: int, now_s: float) -> Verdict:
        """Add the weight of a request and say whether it may pass."""
        with self._lock:
            account = self._account(address, now_s)
            if now_s < account.banned_until_s:
                return self._banned(account, now_s)
            account.used += weight
            if account.used <= self.limit:
                return Verdict(200, account.used)
            account.ignored += 1
            if account.ignored > _IGNORED_BEFORE_BAN:
                account.ignored = 0
                length = min(self._first_ban_s * 2**account.bans, _LONGEST_BAN_S)
                account.bans += 1
                account.banned_until_s = now_s + length
                return self._banned(account, now_s)
            left = int((account.window + 1) * self._window_s - now_s) + 1
            return Verdict(429, account.used, left)

    def add(self, address: str, weight: int, now_s: float) -> None:
        """Add weight that is only known to be due after the answer; it may go over the limit."""
        with self._lock:
            self._account(address, now_s).used += weight

    def ban(self, address: str, seconds: float, now_s: float) -> Verdict:
        """Ban an address for some seconds, whatever it has done."""
        with self._lock:
            account = self._account(address, now_s)
            account.banned_until_s = now_s + seconds
            return self._banned(account, now_s)

    def used(self, address: str, now_s: float) -> int:
        """Weight used in the current window."""
        with self._lock:
            return self._account(address, now_s).used

    def forgive(self) -> None:
        """Forget all weight and lift all bans."""
        with self._lock:
            self._accounts.clear()

    def _account(self, address: str, now_s: float) -> _Account:
        account = self._accounts.setdefault(address, _Account())
        window = int(now_s // self._window_s)
        if window != account.window:
            account.window, account.used, account.ignored = window, 0, 0
        return account

    @staticmethod
    def _banned(account: _Account, now_s: float) -> Verdict:
        left = int(account.banned_until_s - now_s) + 1
        return Verdict(418, account.used, left, int(account.banned_until_s * 1000))
