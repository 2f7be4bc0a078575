"""Rate limits as Binance Spot says them: in exchangeInfo, and with counts in replies of the WebSocket API (section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from binmon.net.ledger import RateLedger

_LETTERS = {"SECOND": "S", "MINUTE": "M", "HOUR": "H", "DAY": "D"}


class RateLimit(msgspec.Struct, frozen=True):
    """One limit. ``count`` is what is used of it, None where the venue does not say."""

    kind: str = msgspec.field(name="rateLimitType")
    interval: str
    intervals: int = msgspec.field(name="intervalNum")
    limit: int
    count: int | None = None

    @property
    def short(self) -> str:
        """The interval as the headers name it, ``10S`` or ``1D``; empty when it is none that is documented."""
        letter = _LETTERS.get(self.interval)
        return f"{self.intervals}{letter}" if letter is not None and self.intervals > 0 else ""


def take_limits(ledger: RateLedger, limits: Sequence[RateLimit]) -> None:
    """Tell ``ledger`` the limits in force. One that makes no sense is passed over: that in force stays."""
    known = {(one.kind, interval): one.limit for one in limits if (interval := one.short) and one.limit > 0}
    raw = next(((interval, limit) for (kind, interval), limit in known.items() if kind == "RAW_REQUESTS"), None)
    ledger.set_limits(
        weight_per_minute=known.get(("REQUEST_WEIGHT", "1M")),
        orders={interval: limit for (kind, interval), limit in known.items() if kind == "ORDERS"},
        raw_requests=raw,
    )


def used_weight(limits: Sequence[RateLimit]) -> int | None:
    """The venue's count of request weight in this minute, None where it does not say."""
    return next((one.count for one in limits if one.kind == "REQUEST_WEIGHT" and one.short == "1M"), None)


def take_order_counts(ledger: RateLedger, limits: Sequence[RateLimit], now_s: float) -> None:
    """Tell ``ledger`` how many unfilled orders the venue counts."""
    for one in limits:
        if one.kind == "ORDERS" and one.count is not None:
            ledger.orders_used(one.short, one.count, now_s)
