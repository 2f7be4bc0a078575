"""What is measured of one order, and how: pure arithmetic on nanoseconds.

Ages between two moments here are differences of our monotonic clock. A venue's time is compared with ours through a
reading of the venue's clock (`binmon.core.clock`) taken for that very moment: the sending for what follows it, the
receipt for a report. ``E`` and ``T`` are the report's event and transaction time (reference: Binance Spot, 7.6).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from binmon.core.clock import ClockReading
from binmon.messages import ExecutionReport, OrderSide

# A venue that prints a time in milliseconds cuts off what is below: the true moment is up to this much later.
_MILLISECOND_NS = 1_000_000


class OrderClass(enum.StrEnum):
    """How an order ended. Every order ends in exactly one."""

    IN_TIME = "in_time"  # all its reports came, none later than the threshold
    LATE = "late"  # all its reports came, one later than the threshold
    LOST = "lost"  # the stream did not bring all, and the venue confirms that the order has ended
    REJECTED = "rejected"  # the venue, or our own limits, refused it
    UNKNOWN = "unknown"  # nobody can say whether it was executed
    RESET = "reset"  # the venue had accepted it and does not know it any more


class Clock(Protocol):
    """What is needed of `binmon.core.clock.VenueClock`."""

    def reading(self, mono_ns: int, /) -> ClockReading | None:
        """The venue's clock at a moment of our monotonic clock; None before it was ever asked for."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One order from its sending to its end. Times ``*_ms`` are milliseconds, None where there is no such figure.

    "The slowest report" is the last of the order's reports to arrive. Figures that compare the two clocks
    (``sent_to_event_ms``, ``sent_to_transaction_ms``, ``event_to_receive_ms``) are right within ``uncertainty_ms``.
    ``quantity`` is in base currency: as ordered, or as executed where an amount of quote currency was ordered.
    ``waited_ms`` is from sending to settling. ``order_status`` is the venue's last word, ``NOT_FOUND`` when it does not
    know the order, ``UNKNOWN`` when it could not be asked. ``over_ms`` is how far over the threshold, for ``late`` only.
    ``restored``: it was open when binmon ended, so nobody listened for its reports (not kept in the ledger).
    """

    venue: str
    symbol: str
    client_order_id: str
    side: OrderSide
    quantity: Decimal | None
    sent_ns: int
    order_class: OrderClass
    order_status: str
    waited_ms: float
    threshold_ms: float
    sent_to_answer_ms: float | None = None
    sent_to_report_ms: float | None = None
    first_report_ms: float | None = None
    first_fill_ms: float | None = None
    last_fill_ms: float | None = None
    sent_to_event_ms: float | None = None
    sent_to_transaction_ms: float | None = None
    transaction_to_event_ms: float | None = None
    event_to_receive_ms: float | None = None
    uncertainty_ms: float | None = None
    clock_offset_ms: float | None = None
    over_ms: float | None = None
    detail: str = ""
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Departure:
    """The sending of an order; ``reading`` is the venue's clock at that moment, None while it is not known."""

    sent_ns: int
    sent_mono_ns: int
    reading: ClockReading | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A report that has arrived; ``reading`` is the venue's clock at that moment, None while it is not known."""

    report: ExecutionReport
    reading: ClockReading | None

    @property
    def received_mono_ns(self) -> int:
        return self.report.received_mono_ns

    @property
    def is_fill(self) -> bool:
        """Whether the report tells of an execution."""
        return self.report.last_quantity > 0


@dataclass(frozen=True, slots=True)
class Phases:
    """The way of one report, in nanoseconds; None where the clocks cannot be compared.

    ``uncertainty_ns`` holds for all that compares the two clocks: the larger of the readings at sending and receipt,
    and what the venue's rounding of its time adds. ``event_to_receive_ns`` may be below it, or below zero.
    """

    sent_to_report_ns: int
    sent_to_event_ns: int | None
    sent_to_transaction_ns: int | None
    transaction_to_event_ns: int
    event_to_receive_ns: int | None
    uncertainty_ns: int | None

    @property
    def certain_event_to_receive_ns(self) -> int | None:
        """``event_to_receive_ns``, unless its uncertainty is larger than it: such a figure says nothing."""
        if self.event_to_receive_ns is None or self.uncertainty_ns is None:
            return None
        return None if self.uncertainty_ns > self.event_to_receive_ns else self.event_to_receive_ns

    def over_ns(self, threshold_ns: int) -> int:
        """How far the report is over the threshold; zero or less: it is not.

        By our own clock from the sending, or from ``E`` beyond all doubt that the clocks leave.
        """
        over_ns = self.sent_to_report_ns - threshold_ns
        if self.event_to_receive_ns is not None and self.uncertainty_ns is not None:
            over_ns = max(over_ns, self.event_to_receive_ns - self.uncertainty_ns - threshold_ns)
        return over_ns


def phases(departure: Departure, arrival: Arrival) -> Phases:
    """Take the way of one report apart."""
    report, sent, here = arrival.report, departure.reading, arrival.reading
    event_ns, transaction_ns = report.event_time_us * 1000, report.transaction_time_us * 1000
    readings = [reading.uncertainty_ns for reading in (sent, here) if reading is not None]
    rounding_ns = 0 if event_ns % _MILLISECOND_NS else _MILLISECOND_NS
    sent_venue_ns = None if sent is None else sent.venue_ns(departure.sent_mono_ns)
    return Phases(
        sent_to_report_ns=report.received_mono_ns - departure.sent_mono_ns,
        sent_to_event_ns=None if sent_venue_ns is None else event_ns - sent_venue_ns,
        sent_to_transaction_ns=None if sent_venue_ns is None else transaction_ns - sent_venue_ns,
        transaction_to_event_ns=event_ns - transaction_ns,
        event_to_receive_ns=None if here is None else here.venue_ns(report.received_mono_ns) - event_ns,
        uncertainty_ns=max(readings) + rounding_ns if readings else None,
    )


def slowest(arrivals: Iterable[Arrival]) -> Arrival | None:
    """The last to arrive; of several at one moment that with the highest execution id. None when there are none."""
    return max(arrivals, key=lambda one: (one.received_mono_ns, one.report.execution_id), default=None)


def ms(time_ns: int | None) -> float | None:
    """Milliseconds of nanoseconds; None stays None."""
    return None if time_ns is None else time_ns / 1e6
