"""From signals to the log and to real targets, with the rules between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from binmon.alerts.delivery import TargetDelivery, deliveries
from binmon.alerts.dispatcher import AlertDispatcher, rules_of
from binmon.alerts.notification import Notification
from binmon.alerts.rules import AlertRules, NotifyKind, Rule
from binmon.config.schema import AlertRule, AlertsConfig
from binmon.core.backoff import BackoffPolicy
from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.messages import AlertSignal, Severity
from binmon.telemetry.events import VOCABULARY
from tests.alerts.messages import signal
from tests.alerts.servers import WebhookServer, until

Events = list[dict[str, Any]]


@pytest.fixture
def signals() -> Channel[AlertSignal]:
    return Channel("alerts", 1000, Overflow.DROP_OLDEST)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(policy=BackoffPolicy(first_s=0.05))
    yield supervisor
    assert supervisor.stop(Deadline(20.0)) == []
    supervisor.tick(0.0)
    assert all(status.last_error == "" for status in supervisor.statuses())


def named(events: Events, name: str) -> Events:
    return [event for event in events if event["event"] == name]


def test_the_whole_way(signals: Channel[AlertSignal], supervisor: Supervisor, events: Events) -> None:
    """A good, a failing and a hanging target; each message reaches the good one in its order, the log says all."""
    good, failing, hanging = WebhookServer(200), WebhookServer(500, 500, 200), WebhookServer("hang")
    try:
        workers = deliveries([f"http://{one.address}/t0ken" for one in (hanging, failing, good)])
        dispatcher = AlertDispatcher("alerts", signals, AlertRules(), [worker.queue for worker in workers])
        for worker in workers:
            supervisor.add(worker, stage=1)
        supervisor.add(dispatcher)
        signals.offer(signal(1, severity=Severity.ERROR))
        signals.offer(signal(1, severity=Severity.ERROR))
        signals.offer(signal(1, severity=Severity.CRITICAL))
        signals.offer(signal(2, firing=False))
        signals.offer(signal(1, firing=False, severity=Severity.INFO))
        until(lambda: len(good.requests) == 3)
        until(lambda: workers[1].sent_count == 3)
    finally:
        for one in (good, failing, hanging):
            one.released.set()
        supervisor.stop(Deadline(20.0))
        for one in (good, failing, hanging):
            one.close()
    assert [(one["type"], one["severity"], one["count"]) for one in good.documents] == [
        ("raised", "error", 1),
        ("reminder", "critical", 2),
        ("recovered", "critical", 0),
    ]
    assert [one["type"] for one in failing.documents] == ["raised"] * 3 + ["reminder", "recovered"]
    told = [event for event in events if event["event"].startswith("alert.") and "target" not in event]
    assert [(one["event"], one["log_level"]) for one in told] == [
        ("alert.raised", "error"),
        ("alert.reminder", "critical"),
        ("alert.recovered", "info"),
    ]
    assert "t0ken" not in repr(events)
    for event in events:
        if event["event"].startswith("alert."):
            declared = VOCABULARY[event["event"]]
            assert set(event) - {"event", "log_level"} <= set(declared.fields)
            assert event["log_level"] in declared.levels
    assert dispatcher.told_counts == {
        NotifyKind.RAISED: 1,
        NotifyKind.REMINDER: 1,
        NotifyKind.RECOVERED: 1,
        NotifyKind.EXPIRED: 0,
    }
    assert dispatcher.signals_count == 5


def test_without_targets_the_log_still_says_it(
    signals: Channel[AlertSignal], supervisor: Supervisor, events: Events
) -> None:
    supervisor.add(AlertDispatcher("alerts", signals, AlertRules(), []))
    signals.offer(signal(1))
    until(lambda: named(events, "alert.raised"))
    (raised,) = named(events, "alert.raised")
    assert (raised["alert"], raised["subject"], raised["text"]) == ("latency.delayed", "binance S1", "took 1 s")


def test_time_alone_raises(signals: Channel[AlertSignal], supervisor: Supervisor, events: Events) -> None:
    supervisor.add(AlertDispatcher("alerts", signals, AlertRules(default=Rule(for_s=0.7)), []))
    signals.offer(signal(1))
    until(lambda: named(events, "alert.raised"))
    assert named(events, "alert.raised")[0]["duration_s"] >= 0.7


def test_a_queue_that_nobody_empties_loses_the_oldest_and_delays_nobody(
    signals: Channel[AlertSignal], supervisor: Supervisor, events: Events
) -> None:
    dead: Channel[Notification] = Channel("notify[0] dead", 2, Overflow.DROP_OLDEST)
    other: Channel[Notification] = Channel("notify[1] other", 100, Overflow.DROP_OLDEST)
    dispatcher = AlertDispatcher("alerts", signals, AlertRules(), [dead, other])
    supervisor.add(dispatcher)
    for number in range(5):
        signals.offer(signal(number))
    until(lambda: len(other) == 5)
    until(lambda: dispatcher.dropped_count == 3)
    assert {one["target"] for one in named(events, "alert.dropped")} == {"notify[0] dead"}
    assert sum(one["count"] for one in named(events, "alert.dropped")) == 3


def test_signals_that_find_no_room_are_said(
    signals: Channel[AlertSignal], supervisor: Supervisor, events: Events
) -> None:
    dispatcher = AlertDispatcher("alerts", signals, AlertRules(capacity=1), [])
    supervisor.add(dispatcher)
    for number in range(3):
        signals.offer(signal(number))
    until(lambda: named(events, "alert.dropped"))
    until(lambda: dispatcher.refused_count == 2)
    assert named(events, "alert.dropped")[0]["target"] == "rules"


def test_a_stop_takes_in_what_was_said_before(signals: Channel[AlertSignal], events: Events) -> None:
    for number in range(20):
        signals.offer(signal(number))
    stop = threading.Event()
    stop.set()
    AlertDispatcher("alerts", signals, AlertRules(), []).run(stop)
    assert len(named(events, "alert.raised")) == 20


def test_rules_and_targets_are_replaced_while_it_runs(
    signals: Channel[AlertSignal], supervisor: Supervisor, events: Events
) -> None:
    first, second = (Channel[Notification](name, 10, Overflow.DROP_OLDEST) for name in ("first", "second"))
    dispatcher = AlertDispatcher("alerts", signals, AlertRules(default=Rule(for_count=100)), [first])
    supervisor.add(dispatcher)
    signals.offer(signal(1))
    until(lambda: dispatcher.signals_count == 1)
    assert len(first) == 0
    dispatcher.replace_outlets([second])
    dispatcher.replace_rules(AlertsConfig())
    until(lambda: len(second) == 1)
    assert len(first) == 0


def test_the_rules_of_the_configuration() -> None:
    config = AlertsConfig(
        resend_every_s=100.0,
        rules=(
            AlertRule(alert="latency.delayed", for_count=3, for_s=1.0, clear_count=2, clear_s=9.0),
            AlertRule(alert="latency.lost", resend_every_s=7.0),
        ),
    )
    assert rules_of(config) == (
        {"latency.delayed": Rule(3, 1.0, 2, 9.0, 100.0), "latency.lost": Rule(resend_every_s=7.0)},
        Rule(resend_every_s=100.0),
    )


def test_there_is_a_worker_for_each_url() -> None:
    workers = deliveries(["json://127.0.0.1/a", "http://127.0.0.1/b"])
    assert all(isinstance(worker, TargetDelivery) for worker in workers)
    assert [worker.name for worker in workers] == ["alerts-0", "alerts-1"]
    assert [worker.target.describe() for worker in workers] == [
        "notify[0] json://127.0.0.1",
        "notify[1] http://127.0.0.1",
    ]
