"""Unfilled order counts of one account (reference: Binance Spot, 4.1).

Windows are aligned to the clock: ten seconds, and the day in UTC. Not thread-safe: the account's lock guards it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..parameters import ApiError

MAKER_CREDIT, TAKER_CREDIT = 5, 1
"""By how much the first fill of an order lowers the counts."""


@dataclass
class _Window:
    interval: str
    interval_count: int
    length_us: int
    limit: int
    number: int = -1
    count: int = 0

    def at(self, now_us: int) -> _Window:
        number = now_us // self.length_us
        if number != self.number:
            self.number, self.count = number, 0
        return self

    def refusal(self, now_us: int) -> ApiError:
        left_us = (self.number + 1) * self.length_us - now_us
        text = f"Too many new orders; current limit is {self.limit} orders per {self.interval_count} {self.interval}."
        return ApiError(429, -1015, text, retry_after_s=max(1, -(-left_us // 1_000_000)))


class OrderCounts:
    """How many orders of an account have not traded yet, by window."""

    def __init__(self, limit_10s: int, limit_day: int) -> None:
        self._short = _Window("SECOND", 10, 10_000_000, limit_10s)
        self._day = _Window("DAY", 1, 86_400_000_000, limit_day)

    def check(self, now_us: int) -> None:
        """Refuse (-1015) a further order when a window is full; the longer one is looked at first."""
        for window in (self._day, self._short):
            if window.at(now_us).count >= window.limit:
                raise window.refusal(now_us)

    def accepted(self, now_us: int) -> None:
        """Count an order. A full day does not fill the short window any further."""
        day, short = self._day.at(now_us), self._short.at(now_us)
        if day.count < day.limit:
            short.count += 1
        day.count += 1

    def first_fill(self, is_maker: bool, now_us: int) -> None:
        """An order has traded for the first time; the counts never go below zero."""
        credit = MAKER_CREDIT if is_maker else TAKER_CREDIT
        for window in (self._day.at(now_us), self._short.at(now_us)):
            window.count = max(0, window.count - credit)

    def entries(self, now_us: int) -> list[dict[str, Any]]:
        """The counts as ``rateLimits`` shows them."""
        return [
            {
                "rateLimitType": "ORDERS",
                "interval": window.interval,
                "intervalNum": window.interval_count,
                "limit": window.limit,
                "count": window.at(now_us).count,
            }
            for window in (self._short, self._day)
        ]

    def reset(self) -> None:
        """Forget everything."""
        self._short.count = self._day.count = 0
