"""What is logged and signalled of a settled order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from binmon.latency.announcements import announce, signals
from binmon.latency.measurement import OrderClass
from binmon.messages import Severity
from binmon.telemetry.events import VOCABULARY
from tests.latency.messages import measurement

# docs: the fields that users may rely on
MEASURED = {
    "venue", "symbol", "client_order_id", "class", "sent_to_report_ms", "sent_to_event_ms", "event_to_receive_ms", "uncertainty_ms",
    "clock_offset_ms", "threshold_ms",
}  # fmt: skip
LOST = {"venue", "symbol", "client_order_id", "waited_ms", "order_status"}


@pytest.fixture
def events() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured  # type: ignore[misc]


def fields(event: dict[str, object]) -> set[str]:
    return set(event) - {"event", "log_level"}


def test_in_time(events: list[dict[str, object]]) -> None:
    announce(measurement())
    (event,) = events
    assert (event["event"], event["log_level"], event["class"]) == ("latency.measured", "info", "in_time")
    assert fields(event) == set(VOCABULARY["latency.measured"].fields) and fields(event) >= MEASURED
    assert (event["sent_to_report_ms"], event["clock_offset_ms"], event["threshold_ms"]) == (5.25, -3.5, 5000.0)


def test_late_is_told_twice(events: list[dict[str, object]]) -> None:
    announce(measurement(0, OrderClass.LATE, over_ms=250.5))
    measured, delayed = events
    assert (measured["event"], measured["log_level"], measured["class"]) == ("latency.measured", "info", "late")
    assert (delayed["event"], delayed["log_level"], delayed["over_ms"]) == ("latency.delayed", "warning", 250.5)
    assert fields(delayed) == fields(measured) | {"over_ms"} == set(VOCABULARY["latency.delayed"].fields)


@pytest.mark.parametrize("order_class", [OrderClass.LOST, OrderClass.UNKNOWN, OrderClass.RESET])
def test_lost(events: list[dict[str, object]], order_class: OrderClass) -> None:
    announce(measurement(0, order_class, order_status="NOT_FOUND", waited_ms=30_001.5))
    (event,) = events
    assert (event["event"], event["log_level"], event["waited_ms"]) == ("latency.lost", "error", 30_001.5)
    assert event["order_status"] == "NOT_FOUND" and event["class"] == order_class.value
    assert fields(event) == set(VOCABULARY["latency.lost"].fields) and fields(event) >= LOST


def test_a_refusal_is_logged_elsewhere(events: list[dict[str, object]]) -> None:
    announce(measurement(0, OrderClass.REJECTED))
    assert events == [] and signals(measurement(0, OrderClass.REJECTED), 1) == []


@pytest.mark.parametrize(
    ("order_class", "expected"),
    [
        (OrderClass.IN_TIME, {"latency.delayed": False, "latency.lost": False}),
        (OrderClass.LATE, {"latency.delayed": True, "latency.lost": False}),
        (OrderClass.LOST, {"latency.lost": True}),
        (OrderClass.UNKNOWN, {"latency.lost": True}),
        (OrderClass.RESET, {"latency.lost": True}),
    ],
)
def test_signals(order_class: OrderClass, expected: dict[str, bool]) -> None:
    over_ms = 12.5 if order_class is OrderClass.LATE else None
    found = signals(measurement(0, order_class, over_ms=over_ms), 99)
    assert {signal.name: signal.firing for signal in found} == expected
    for signal in found:
        assert (signal.subject, signal.at_ns, signal.once) == ("binance BTCUSDT", 99, False)
        assert signal.severity is (Severity.WARNING if signal.name == "latency.delayed" else Severity.ERROR)
        assert "o0" in signal.text and "\n" not in signal.text
    if over_ms:
        assert "12.5 ms over the threshold of 5000 ms" in found[0].text
