"""The safety limits. No order leaves without a `Permit`, and only the gate makes one.

The limits are those of the section ``execution``; they hold for every venue, every environment and every part of
binmon together. An order counts from the moment it is permitted, whatever becomes of it: a limit that forgets failed
attempts would let a loop of failures through.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from binmon.errors import OrderForbidden
from binmon.messages import OrderRequest
from binmon.venues.trading import Permit

PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class OrderLimits:
    """The section ``execution`` of the configuration."""

    allow_production: bool
    max_order_notional: Decimal  # quote currency
    max_orders_per_day: int  # of a UTC day


class OrderJournal(Protocol):
    """Where permitted orders are noted, so that a restart does not start the day anew."""

    def permitted(self, day: str) -> int:
        """How many orders were permitted on a UTC day (``YYYY-MM-DD``), by any process on this state."""

    def note(self, day: str, order: OrderRequest, environment: str, at_ns: int, most: int) -> bool:
        """Note an order before it is sent, if fewer than ``most`` are noted for ``day``: looking and noting are one step,
        also for other processes on this state. False: it must not be sent. Raises when it cannot be noted, and then it
        must not be sent either."""


class OrderGate:
    """Permits orders or raises OrderForbidden. Thread-safe: ``_lock`` makes looking and noting one step."""

    def __init__(self, limits: OrderLimits, journal: OrderJournal, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.limits = limits  # replaced as a whole by a reload
        self._journal, self._clock_ns = journal, clock_ns
        self._lock = threading.Lock()
        self.permitted = 0
        self.forbidden = 0

    def permit(self, order: OrderRequest, environment: str) -> Permit:
        """Let ``order`` through to a venue whose addresses are those of ``environment``, and note it.

        Raises OrderForbidden, naming the limit. Whatever the journal raises goes through: an order that could not be
        noted must not be sent.
        """
        try:
            with self._lock:
                now_ns, day = self._check(order, environment)
                most = self.limits.max_orders_per_day
                if not self._journal.note(day, order, environment, now_ns, most):
                    raise _used_up(most, most, day)  # by another process, since it was looked at
                self.permitted += 1
        except OrderForbidden:
            self.forbidden += 1
            raise
        return Permit(order)

    def look(self, order: OrderRequest, environment: str) -> None:
        """Raise OrderForbidden if ``order`` would be now; nothing is noted, and passing permits nothing."""
        with self._lock:
            self._check(order, environment)

    def _check(self, order: OrderRequest, environment: str) -> tuple[int, str]:
        """Now, and its UTC day, for an order that is within all limits."""
        limits = self.limits
        _check_order(order, environment, limits)
        now_ns = self._clock_ns()
        day = datetime.fromtimestamp(now_ns / 1e9, UTC).date().isoformat()
        used = self._journal.permitted(day)
        if used >= limits.max_orders_per_day:
            raise _used_up(used, limits.max_orders_per_day, day)
        return now_ns, day


def _used_up(used: int, most: int, day: str) -> OrderForbidden:
    return OrderForbidden(
        "execution.max_orders_per_day", f"{used} orders of {most} have been sent on {day} (UTC): raise it, or wait"
    )


def _check_order(order: OrderRequest, environment: str, limits: OrderLimits) -> None:
    if environment == PRODUCTION and not limits.allow_production:
        raise OrderForbidden(
            "execution.allow_production",
            f"{order.venue} is in production, and orders there need allow_production: true",
        )
    sizes = [size for size in (order.quantity, order.quote_amount) if size is not None]
    if len(sizes) != 1 or not sizes[0].is_finite() or sizes[0] <= 0:
        raise OrderForbidden("order", f"expected either a quantity or a quote amount above zero, found {sizes}")
    notional = order.notional if order.quote_amount is None else max(order.notional, order.quote_amount)
    if not notional.is_finite() or notional <= 0:
        raise OrderForbidden("order", f"its worth is not known: {notional}")
    if notional > limits.max_order_notional:
        raise OrderForbidden(
            "execution.max_order_notional",
            f"{notional.normalize():f} is more than {limits.max_order_notional.normalize():f} in quote currency",
        )
