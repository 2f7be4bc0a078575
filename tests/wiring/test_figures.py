"""What the parts show on ``/metrics`` and ``/healthz``: everything that is declared, once."""

from __future__ import annotations

import time
from decimal import Decimal
from types import SimpleNamespace

from binmon.alerts.dispatcher import AlertDispatcher
from binmon.alerts.rules import AlertRules
from binmon.core.channel import Channel, Overflow
from binmon.core.clock import ClockSample, VenueClock
from binmon.latency.measurement import OrderClass
from binmon.latency.monitor import PHASES, LatencyMonitor
from binmon.latency.probe import OrderProbe, ProbeSettings
from binmon.latency.tracker import LatencyTracker
from binmon.orders.desk import OrderDesk
from binmon.orders.gate import OrderGate, OrderLimits
from binmon.telemetry.events import LIMITED
from binmon.telemetry.logging import LogCounts
from binmon.telemetry.metrics import METRICS
from binmon.wiring import figures
from tests.orders.venues import Journal, ScriptedVenue

OURS = ("binmon_alerts_", "binmon_latency_", "binmon_orders_", "binmon_user_stream_", "binmon_clock_")


def channel(name="x"):
    return Channel(name, 10, Overflow.DROP_NEWEST)


def made():
    clock = VenueClock("binance")
    now = time.monotonic_ns()
    clock.add([ClockSample(now - 2_000_000, now, time.time_ns(), 1000, time.time_ns() - now)])
    tracker = LatencyTracker(clock, threshold_ms=500, report_timeout_ms=1000)
    monitor = LatencyMonitor("latency", tracker, SimpleNamespace(), channel(), channel(), channel(), channel())
    gate = OrderGate(OrderLimits(False, Decimal(100), 10), Journal())
    venue = ScriptedVenue()
    probe = OrderProbe(
        "probe", venue, OrderDesk(venue, gate), clock, lambda stop: None, SimpleNamespace(),
        ProbeSettings("BTCUSDT", 20.0, Decimal(15)), ready=lambda: False,
    )  # fmt: skip
    states = {"binance-user-data.1": "subscribed"}
    stream = SimpleNamespace(subscribed_to="binance-user-data.1", breaks=2, reports=7, connections=lambda: states)
    return clock, monitor, probe, gate, stream


def test_everything_that_is_declared_is_given_once():
    clock, monitor, probe, gate, stream = made()
    dispatcher = AlertDispatcher("alerts", channel(), AlertRules(), [])
    target = SimpleNamespace(name="alerts-0", sent_count=1, failed_count=2, given_up_count=3)
    monitor.tracker.classes[OrderClass.LATE] = 3
    found = [
        *figures.clock_figures(clock),
        *figures.latency_figures(monitor, probe, gate, stream, "binance"),
        *figures.alert_figures(dispatcher, [target]),
    ]
    names = {figure.name for figure in found}
    declared = {metric.name for metric in METRICS if metric.name.startswith(OURS)}
    assert names == declared - {"binmon_clock_offset_seconds"}, "which stands among the venue's"
    assert len({(figure.name, figure.labels) for figure in found}) == len(found)
    by_name = {(figure.name, *(value for _, value in figure.labels)): figure.value for figure in found}
    assert by_name["binmon_latency_orders_total", "binance", "BTCUSDT", "late"] == 3
    assert by_name["binmon_latency_threshold_seconds", "binance", "BTCUSDT"] == 0.5
    assert by_name["binmon_user_stream_up", "binance"] == 1
    assert by_name["binmon_alerts_failed_total", "alerts-0"] == 2
    assert 0 < by_name["binmon_clock_uncertainty_seconds", "binance"] < 0.01
    assert {dict(figure.labels).get("phase") for figure in found} - {None} == set(PHASES)


def test_lines_of_the_log_that_were_not_written():
    found = list(figures.log_figures(LogCounts({"worker.failed": 3, "other": 2}, 4, 5)))
    by_label = {(figure.name, figure.labels[0][1]): figure.value for figure in found}
    held_back, lost = "binmon_log_lines_held_back_total", "binmon_log_lines_lost_total"
    assert by_label[held_back, "worker.failed"] == 3 and by_label[held_back, "other"] == 2
    assert by_label[held_back, "stream.malformed"] == 0, "from the beginning, so that the first has an increase"
    assert (by_label[lost, "stdout"], by_label[lost, "file"]) == (4, 5)
    assert len(by_label) == len(found) == len(LIMITED) + 3


def test_a_clock_that_is_not_known_shows_no_figure():
    clock = VenueClock("binance")
    assert [figure.name for figure in figures.clock_figures(clock)] == ["binmon_clock_steps_total"]
    assert figures.clocks_section([clock])() == ([], {"binance": {"offset_ms": None}})


def test_sections_of_healthz():
    clock, monitor, probe, _, stream = made()
    problems, document = figures.clocks_section([clock])()
    assert not problems and abs(document["binance"]["offset_ms"]) < 10_000 and document["binance"]["samples"] == 1
    probe.trouble = "no balance"
    problems, document = figures.latency_section(monitor, probe, stream)()
    assert not problems and document["trouble"] == "no balance" and document["subscribed_to"] == "binance-user-data.1"
    assert document["connections"] == {"binance-user-data.1": "subscribed"}
