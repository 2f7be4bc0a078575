"""What goes in and out of the tracker beside the messages of `binmon.messages`."""

from __future__ import annotations

from dataclasses import dataclass

from binmon.latency.measurement import Measurement
from binmon.messages import OrderRequest


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """From now on a report later than ``threshold_ms`` is late, and one that has not come by ``report_timeout_ms`` lost."""

    threshold_ms: int
    report_timeout_ms: int


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order of the ledger without a class. ``order_id`` is None when the venue was not known to have it.

    ``sent_mono_ns`` is a moment of the monotonic clock of now, which may be below zero: before the machine's start.
    """

    order: OrderRequest
    sent_ns: int
    sent_mono_ns: int
    order_id: int | None


@dataclass(frozen=True, slots=True)
class AskOrder:
    """Ask the venue for this order by REST. ``attempt`` counts from 1."""

    client_order_id: str
    symbol: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue is known to have the order."""

    client_order_id: str
    order_id: int


@dataclass(frozen=True, slots=True)
class Settled:
    """An order has its class."""

    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Overdue:
    """The threshold has passed, and not all reports of an order are here; told once an order."""

    order: OrderRequest
    waited_ms: float
    threshold_ms: int


Effect = AskOrder | Accepted | Overdue | Settled
