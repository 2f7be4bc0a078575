"""What is said of a settled order: lines of the log, and signals for whoever wants to hear of delays and losses."""

from __future__ import annotations

from typing import Any

import structlog

from binmon.latency.effects import Overdue
from binmon.latency.measurement import Measurement, OrderClass
from binmon.messages import AlertName, AlertSignal, Severity

log = structlog.get_logger("binmon.latency")

_FATE_OPEN = (OrderClass.LOST, OrderClass.UNKNOWN, OrderClass.RESET)
_MEASURED = (OrderClass.IN_TIME, OrderClass.LATE)


def announce(measurement: Measurement) -> None:
    """Log a settled order: ``latency.measured`` for one whose reports came, and ``latency.delayed`` beside it when they
    came too late; ``latency.lost`` for one whose reports did not come. A refusal is logged by whoever sent the order.
    """
    if measurement.order_class in _MEASURED:
        fields = _measured_fields(measurement)
        log.info("latency.measured", **fields)
        if measurement.order_class is OrderClass.LATE:
            log.warning("latency.delayed", **fields, over_ms=_rounded(measurement.over_ms))
    elif measurement.order_class in _FATE_OPEN:
        log.error(
            "latency.lost",
            venue=measurement.venue,
            symbol=measurement.symbol,
            client_order_id=measurement.client_order_id,
            waited_ms=_rounded(measurement.waited_ms),
            order_status=measurement.order_status,
            **{"class": measurement.order_class.value},
            detail=measurement.detail,
        )


def signals(measurement: Measurement, at_ns: int, arrived_mono_ns: int | None = None) -> list[AlertSignal]:
    """What a settled order says of the two conditions; ``at_ns`` is the wall clock, ``arrived_mono_ns`` when the frame was
    received that settled it.

    A delay ends with the next order in time, a loss with the next whose reports came. A refusal says nothing of either,
    a loss nothing of delays, and what our own end left open says nothing of the venue.
    """
    subject = f"{measurement.venue} {measurement.symbol}"
    order_class = measurement.order_class
    text = describe(measurement)
    found: list[AlertSignal] = []
    if order_class in _MEASURED:
        is_late = order_class is OrderClass.LATE
        found.append(
            AlertSignal(
                AlertName.LATENCY_DELAYED,
                subject,
                is_late,
                Severity.WARNING,
                text,
                at_ns,
                arrived_mono_ns=arrived_mono_ns,
                sighting=measurement.client_order_id,
            )
        )
        found.append(
            AlertSignal(AlertName.LATENCY_LOST, subject, False, Severity.ERROR, f"reports come again: {text}", at_ns)
        )
    elif order_class in _FATE_OPEN and not measurement.restored:
        found.append(AlertSignal(AlertName.LATENCY_LOST, subject, True, Severity.ERROR, text, at_ns))
    return found


def announce_overdue(overdue: Overdue, at_ns: int) -> AlertSignal:
    """Log an order whose reports are later than the threshold already, and give the signal: nobody should have to wait
    for a report that may never come."""
    order = overdue.order
    log.warning(
        "latency.overdue",
        venue=order.venue,
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        waited_ms=_rounded(overdue.waited_ms),
        threshold_ms=overdue.threshold_ms,
    )
    text = (
        f"order {order.client_order_id}: not all execution reports are here {overdue.waited_ms:.0f} ms after sending, "
        f"the threshold is {overdue.threshold_ms} ms"
    )
    subject = f"{order.venue} {order.symbol}"
    return AlertSignal(
        AlertName.LATENCY_DELAYED, subject, True, Severity.WARNING, text, at_ns, sighting=order.client_order_id
    )


def describe(measurement: Measurement) -> str:
    """One line for people, with figures."""
    name = f"order {measurement.client_order_id}"
    order_class, waited_s = measurement.order_class, measurement.waited_ms / 1000
    if order_class in _MEASURED:
        line = f"{name}: the last execution report came {measurement.sent_to_report_ms:.1f} ms after sending"
        if measurement.over_ms is not None:
            return f"{line}, {measurement.over_ms:.1f} ms over the threshold of {measurement.threshold_ms:g} ms"
        return f"{line}, the threshold is {measurement.threshold_ms:g} ms"
    if order_class is OrderClass.LOST:
        return f"{name}: not all execution reports came in {waited_s:.1f} s; the venue says {measurement.order_status}"
    if order_class is OrderClass.RESET:
        return f"{name}: accepted, and the venue does not know it any more: it was reset"
    if order_class is OrderClass.UNKNOWN:
        return f"{name}: nobody knows after {waited_s:.1f} s whether it was executed ({measurement.order_status})"
    return f"{name}: refused: {measurement.detail}"


def _measured_fields(measurement: Measurement) -> dict[str, Any]:
    return {
        "venue": measurement.venue,
        "symbol": measurement.symbol,
        "client_order_id": measurement.client_order_id,
        "class": measurement.order_class.value,
        "sent_to_report_ms": _rounded(measurement.sent_to_report_ms),
        "sent_to_event_ms": _rounded(measurement.sent_to_event_ms),
        "event_to_receive_ms": _rounded(measurement.event_to_receive_ms),
        "uncertainty_ms": _rounded(measurement.uncertainty_ms),
        "clock_offset_ms": _rounded(measurement.clock_offset_ms),
        "threshold_ms": measurement.threshold_ms,
        "sent_to_answer_ms": _rounded(measurement.sent_to_answer_ms),
        "transaction_to_event_ms": _rounded(measurement.transaction_to_event_ms),
        "order_status": measurement.order_status,
    }


def _rounded(value_ms: float | None) -> float | None:
    """To the microsecond: what is below it is noise."""
    return None if value_ms is None else round(value_ms, 3)
