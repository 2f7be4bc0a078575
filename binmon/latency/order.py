"""One order between its sending and its end: what is known of it, and where it stands."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal

from binmon.latency.asking import Asking
from binmon.latency.measurement import Arrival, Departure, Measurement, OrderClass, ms, phases, slowest
from binmon.messages import FINAL_STATUSES, ExecutionReport, OrderRequest, OrderState


class OrderStep(enum.Enum):
    """Where an order stands."""

    PLANNED = "planned"  # noted down; its request has not left, as far as is known here
    SENT = "sent"  # its request has left; nothing has been heard
    ACCEPTED = "accepted"  # the venue has it; not all reports are here
    ASKED = "asked"  # the venue is asked for it: no usable answer, no report in time, a break, a restart
    CONFIRMED = "confirmed"  # the venue said how it ended, and the stream may still bring its reports
    REPORTED = "reported"  # all reports are here; only the answer to the request is not
    SETTLED = "settled"  # it has its class


ALLOWED: dict[OrderStep, frozenset[OrderStep]] = {
    # messages of several threads meet in one queue: any may overtake any other
    OrderStep.PLANNED: frozenset(
        [OrderStep.SENT, OrderStep.ACCEPTED, OrderStep.ASKED, OrderStep.REPORTED, OrderStep.SETTLED]
    ),
    OrderStep.SENT: frozenset([OrderStep.ACCEPTED, OrderStep.ASKED, OrderStep.REPORTED, OrderStep.SETTLED]),
    OrderStep.ACCEPTED: frozenset([OrderStep.ASKED, OrderStep.REPORTED, OrderStep.SETTLED]),
    OrderStep.ASKED: frozenset([OrderStep.CONFIRMED, OrderStep.REPORTED, OrderStep.SETTLED]),
    OrderStep.CONFIRMED: frozenset([OrderStep.REPORTED, OrderStep.SETTLED]),
    OrderStep.REPORTED: frozenset([OrderStep.SETTLED]),
    OrderStep.SETTLED: frozenset(),
}


class WrongStep(Exception):
    """A move that the table does not allow: a mistake of ours."""


@dataclass(slots=True)
class TrackedOrder:
    """What is known of one order of ours.

    ``accepted_mono_ns`` is when we first knew that the venue had it. ``replied`` says that the request needs no answer
    any more. ``break_mono_ns`` is when the stream came back after a break in which the order was open. ``restored``: it
    was sent before a restart of ours, so its reports were not listened for. ``told_status`` is from answers, not from
    reports. ``trouble`` is why the venue is asked for the order, in words.
    """

    request: OrderRequest
    departure: Departure
    step: OrderStep
    restored: bool = False
    order_id: int | None = None
    accepted_mono_ns: int | None = None
    replied: bool = False
    answered_mono_ns: int | None = None
    arrivals: dict[tuple[int, int], Arrival] = field(default_factory=dict)
    break_mono_ns: int | None = None
    asking: Asking | None = None
    confirmed: OrderState | None = None
    told_status: str = ""
    verdict: str = ""
    trouble: str = ""
    is_overdue: bool = False  # people know that it is later than the threshold
    suspicion: str = ""  # why the venue may have been wiped since

    @property
    def status(self) -> str:
        """The venue's last word on the order, from whatever source; empty when there was none. ``verdict`` is ours."""
        if self.verdict:
            return self.verdict
        final = self.final_report()
        if final is not None:
            return final.order_status
        if self.confirmed is not None or not self.arrivals:
            return self.told_status
        return self.arrivals[max(self.arrivals)].report.order_status

    @property
    def accepted(self) -> bool:
        """Whether the venue is known to have had the order."""
        return self.accepted_mono_ns is not None

    @property
    def executed_quantity(self) -> Decimal:
        """Base currency, as far as is known."""
        told = [one.report.executed_quantity for one in self.arrivals.values()]
        return max([*told, Decimal(0) if self.confirmed is None else self.confirmed.executed_quantity])

    def move_to(self, step: OrderStep) -> None:
        """The only writer of ``step``. Raises WrongStep for what the table does not allow."""
        if step not in ALLOWED[self.step]:
            raise WrongStep(f"order {self.request.client_order_id}: from {self.step.value} to {step.value}")
        self.step = step

    def take(self, arrival: Arrival) -> bool:
        """Keep a report; False when it was here already. Of two copies that came first which was received first."""
        key = (arrival.report.order_id, arrival.report.execution_id)
        before = self.arrivals.get(key)
        if before is None or arrival.received_mono_ns < before.received_mono_ns:
            self.arrivals[key] = arrival
        return before is None

    def final_report(self) -> ExecutionReport | None:
        """The report that ends the order, if it is here."""
        ends = [one.report for one in self.arrivals.values() if one.report.order_status in FINAL_STATUSES]
        return max(ends, key=lambda report: report.execution_id, default=None)

    def missing(self, announced: bool) -> str:
        """Which reports are not here yet, in words; empty when all are. ``announced``: the venue reports ``NEW`` first.

        A report names what was executed in total, so the fills that are here must add up to what the last one says.
        """
        final = self.final_report()
        if final is None:
            return "the report of its end" if self.arrivals else "all reports"
        here = sum((one.report.last_quantity for one in self.arrivals.values()), Decimal(0))
        if here < final.executed_quantity:
            return f"fills of {final.executed_quantity - here}"
        if announced and not any(one.report.execution_type == "NEW" for one in self.arrivals.values()):
            return "the report of its placing"
        return ""

    def over_ns(self, threshold_ns: int) -> int:
        """How far the worst of the reports that are here is over the threshold; zero or less: none is."""
        return max(phases(self.departure, one).over_ns(threshold_ns) for one in self.arrivals.values())

    def measurement(
        self, order_class: OrderClass, threshold_ms: float, now_mono_ns: int, offset_ns: int | None, detail: str
    ) -> Measurement:
        """What there is to say at the end. ``offset_ns``: the venue's clock minus our wall clock, where no report says.

        Only the phases of an order whose reports are all here mean anything; first report and first fill always do.
        """
        sent, request = self.departure, self.request
        arrivals = self.arrivals.values()
        fills = [one.received_mono_ns for one in arrivals if one.is_fill]
        whole = order_class in (OrderClass.IN_TIME, OrderClass.LATE)
        last = slowest(arrivals) if whole else None
        way = None if last is None else phases(sent, last)
        readings = [sent.reading] if last is None else [last.reading, sent.reading]
        offsets = [reading.venue_minus_wall_ns for reading in readings if reading is not None] if whole else []
        if way is not None:
            uncertainty_ns = way.uncertainty_ns
        else:
            uncertainty_ns = None if sent.reading is None else sent.reading.uncertainty_ns
        over_ns = self.over_ns(round(threshold_ms * 1e6)) if order_class is OrderClass.LATE else None
        executed = self.executed_quantity
        return Measurement(
            venue=request.venue,
            symbol=request.symbol,
            client_order_id=request.client_order_id,
            side=request.side,
            quantity=request.quantity if request.quantity is not None else (executed or None),
            sent_ns=sent.sent_ns,
            order_class=order_class,
            order_status=self.status,
            waited_ms=(now_mono_ns - sent.sent_mono_ns) / 1e6,
            threshold_ms=threshold_ms,
            sent_to_answer_ms=None if self.answered_mono_ns is None else ms(self.answered_mono_ns - sent.sent_mono_ns),
            sent_to_report_ms=None if way is None else ms(way.sent_to_report_ns),
            first_report_ms=self._since_sending(min((one.received_mono_ns for one in arrivals), default=None)),
            first_fill_ms=self._since_sending(min(fills, default=None)),
            last_fill_ms=self._since_sending(max(fills, default=None)) if whole else None,
            sent_to_event_ms=None if way is None else ms(way.sent_to_event_ns),
            sent_to_transaction_ms=None if way is None else ms(way.sent_to_transaction_ns),
            transaction_to_event_ms=None if way is None else ms(way.transaction_to_event_ns),
            event_to_receive_ms=None if way is None else ms(way.certain_event_to_receive_ns),
            uncertainty_ms=ms(uncertainty_ns),
            clock_offset_ms=ms(offsets[0] if offsets else offset_ns),
            over_ms=ms(over_ns),
            detail=detail,
            restored=self.restored,
        )

    def _since_sending(self, mono_ns: int | None) -> float | None:
        return None if mono_ns is None else ms(mono_ns - self.departure.sent_mono_ns)
