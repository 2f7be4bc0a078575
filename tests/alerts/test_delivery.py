"""Bringing messages to targets that fail, hang and come back, over real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from binmon.alerts.delivery import TargetDelivery, deliveries
from binmon.alerts.notification import Notification
from binmon.alerts.targets import Target, TargetFailed, TargetRefused, build
from binmon.core.backoff import BackoffPolicy
from tests.alerts.messages import message
from tests.alerts.servers import WebhookServer, until

Events = list[dict[str, Any]]
QUICK = BackoffPolicy(first_s=0.02, factor=2.0, cap_s=0.1, jitter=0.3)


class Scripted(Target):
    """Fails as told; ``outcomes`` are exceptions or None, the last for ever."""

    def __init__(self, *outcomes: Exception | None, most_at_once: int = 1) -> None:
        super().__init__("notify[0] scripted")
        self.outcomes = list(outcomes or [None])
        self.most_at_once = most_at_once
        self.batches: list[list[str]] = []

    def send(self, notifications: Sequence[Notification]) -> None:
        self.batches.append([one.subject.removeprefix("binance ") for one in notifications])
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome is not None:
            raise outcome


class Hanging(Target):
    """Does not return until it is released."""

    def __init__(self) -> None:
        super().__init__("notify[0] hanging")
        self.released = threading.Event()
        self.calls = 0

    def send(self, notifications: Sequence[Notification]) -> None:
        self.calls += 1
        self.released.wait(60)


class Running:
    """A worker in its thread."""

    def __init__(self, worker: TargetDelivery) -> None:
        self.worker, self.stop = worker, threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            self.worker.run(self.stop)
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        assert self.error is None


@pytest.fixture
def running() -> Iterator[Any]:
    started: list[Running] = []

    def start(target: Target, **options: Any) -> TargetDelivery:
        worker = TargetDelivery("alerts-0", target, **{"policy": QUICK, **options})
        started.append(Running(worker))
        worker.halt = started[-1].end  # type: ignore[attr-defined]
        return worker

    yield start
    for one in started:
        one.end()


def named(events: Events, name: str) -> Events:
    return [event for event in events if event["event"] == name]


def test_500_then_200(running: Any, events: Events) -> None:
    server = WebhookServer(500, 200)
    try:
        (target,) = build([f"http://{server.address}/hook"])
        worker = running(target)
        worker.queue.offer(message(1))
        until(lambda: named(events, "alert.sent"))
    finally:
        server.close()
    assert len(server.requests) == 2
    (failed,), (sent,) = named(events, "alert.failed"), named(events, "alert.sent")
    assert failed["log_level"] == "error"
    assert failed["target"] == f"notify[0] http://{server.address}"
    assert (failed["alert"], failed["attempt"], failed["error"], failed["final"]) == (
        "latency.delayed",
        1,
        "HTTP 500",
        False,
    )
    assert 0 < failed["retry_in_s"] <= 0.02
    assert (sent["log_level"], sent["alert"], sent["attempt"]) == ("info", "latency.delayed", 2)
    assert (worker.failed_count, worker.given_up_count, worker.failing_since_mono_s) == (1, 0, None)


def test_delays_grow_until_something_arrives_and_begin_anew_then(running: Any, events: Events) -> None:
    failed = TargetFailed("HTTP 503")
    worker = running(Scripted(failed, failed, failed, None, failed, None), policy=BackoffPolicy(0.05, 3.0, 9.0, 0.0))
    worker.queue.offer(message(1))
    worker.queue.offer(message(2))
    until(lambda: worker.sent_count == 2)
    assert [one["retry_in_s"] for one in named(events, "alert.failed")] == [0.05, 0.15, 0.45, 0.05]


def test_messages_arrive_in_order_whatever_fails(running: Any, events: Events) -> None:
    target = Scripted(None, TargetFailed("x"), TargetFailed("x"), None, TargetFailed("x"), None)
    worker = running(target)
    for number in range(5):
        worker.queue.offer(message(number))
    until(lambda: worker.sent_count == 5)
    assert [batch[0] for batch in target.batches] == ["S0", "S1", "S1", "S1", "S2", "S2", "S3", "S4"]


def test_what_waits_is_sent_as_one_where_the_target_allows(running: Any, events: Events) -> None:
    target = Scripted(most_at_once=10)
    worker = TargetDelivery("alerts-0", target)
    for number in range(12):
        worker.queue.offer(message(number))
    running_one = Running(worker)
    until(lambda: worker.sent_count == 12)
    running_one.end()
    assert [len(batch) for batch in target.batches] == [10, 2]
    assert len(named(events, "alert.sent")) == 12


def test_a_message_that_is_too_old_is_given_up_and_said(running: Any, events: Events) -> None:
    worker = running(Scripted(TargetFailed("HTTP 503")), max_age_s=4.0)
    worker.queue.offer(message(1))
    until(lambda: any(one["final"] for one in named(events, "alert.failed")))
    *tried, last = named(events, "alert.failed")
    assert tried
    assert all(not one["final"] and one["retry_in_s"] > 0 for one in tried)
    assert (last["final"], last["retry_in_s"], last["error"]) == (True, None, "HTTP 503")
    assert worker.failing_since_mono_s is not None
    assert worker.last_error == "HTTP 503"


def test_a_message_that_waited_too_long_behind_others_is_not_sent(running: Any, events: Events) -> None:
    target = Scripted()
    worker = running(target, max_age_s=100.0)
    worker.queue.offer(message(1, age_s=101.0))
    worker.queue.offer(message(2))
    until(lambda: worker.sent_count == 1)
    assert target.batches == [["S2"]]
    (failed,) = named(events, "alert.failed")
    assert (failed["subject"], failed["attempt"], failed["final"]) == ("binance S1", 0, True)


def test_a_refusal_is_not_repeated_for_long_and_others_go_on(running: Any, events: Events) -> None:
    refused = TargetRefused("HTTP 401")
    target = Scripted(refused, refused, refused, None)
    worker = running(target)
    worker.queue.offer(message(1))
    worker.queue.offer(message(2))
    until(lambda: worker.sent_count == 1)
    assert [batch[0] for batch in target.batches] == ["S1", "S1", "S1", "S2"]
    assert [one["final"] for one in named(events, "alert.failed")] == [False, False, True]


def test_the_target_says_when_to_try_again(running: Any, events: Events) -> None:
    worker = running(Scripted(TargetFailed("HTTP 429", 0.6), None))
    began_s = time.monotonic()
    worker.queue.offer(message(1))
    until(lambda: worker.sent_count == 1)
    assert time.monotonic() - began_s >= 0.6
    assert named(events, "alert.failed")[0]["retry_in_s"] == 0.6


def test_a_target_with_a_bug_does_not_end_the_worker(running: Any, events: Events) -> None:
    worker = running(Scripted(KeyError("S3CRET"), None))
    worker.queue.offer(message(1))
    until(lambda: worker.sent_count == 1)
    assert named(events, "alert.failed")[0]["error"] == "KeyError"
    assert "S3CRET" not in repr(events)


def test_an_attempt_without_end_is_given_up_and_few_hang_at_once(running: Any, events: Events) -> None:
    target = Hanging()
    worker = running(target, attempt_s=0.1)
    worker.queue.offer(message(1))
    until(lambda: any(one["error"] == "earlier attempts still hang" for one in named(events, "alert.failed")))
    until(lambda: target.calls == 3, "the last of them has begun")
    target.released.set()
    until(lambda: worker.sent_count == 1, "what arrived late has arrived")
    assert target.calls == 3


def test_a_full_queue_drops_the_oldest_and_counts(events: Events) -> None:
    target = Scripted()
    worker = TargetDelivery("alerts-0", target, capacity=3)
    for number in range(5):
        worker.queue.offer(message(number))
    assert worker.queue.dropped == 2
    running_one = Running(worker)
    until(lambda: worker.sent_count == 3)
    running_one.end()
    assert [batch[0] for batch in target.batches] == ["S2", "S3", "S4"]


def test_a_stop_sends_what_waits(events: Events) -> None:
    target = Scripted()
    target.pause_s = 3600.0  # the first is sent, then it pauses
    worker = TargetDelivery("alerts-0", target, drain_s=30.0)
    for number in range(4):
        worker.queue.offer(message(number))
    running_one = Running(worker)
    until(lambda: worker.sent_count == 1)
    running_one.end()
    assert worker.sent_count == 4


def test_a_stop_does_not_wait_for_a_target_that_hangs(running: Any, events: Events) -> None:
    target = Hanging()
    worker = running(target, drain_s=0.3)
    for number in range(3):
        worker.queue.offer(message(number))
    until(lambda: target.calls == 1)
    began_s = time.monotonic()
    worker.halt()
    assert time.monotonic() - began_s < 20
    target.released.set()
    assert worker.given_up_count == 3
    assert [one["final"] for one in named(events, "alert.failed")] == [True] * 3
    assert len(worker.queue) == 0


def test_a_stop_tries_once_more_what_is_waiting_for_its_next_attempt(events: Events) -> None:
    target = Scripted(TargetFailed("HTTP 503"), None)
    worker = TargetDelivery("alerts-0", target, policy=BackoffPolicy(first_s=3600.0, cap_s=3600.0), max_age_s=1e6)
    worker.queue.offer(message(1))
    running_one = Running(worker)
    until(lambda: worker.failed_count == 1)
    running_one.end()
    assert worker.sent_count == 1


def test_a_hanging_target_delays_nobody_else(events: Events) -> None:
    hanging, fine = WebhookServer("hang"), WebhookServer(200)
    workers = deliveries([f"http://{hanging.address}/token", f"http://{fine.address}/token"])
    threads = [Running(worker) for worker in workers]
    try:
        began_s = time.monotonic()
        for number in range(3):
            for worker in workers:
                worker.queue.offer(message(number))
        until(lambda: len(fine.requests) == 3)
        assert time.monotonic() - began_s < 20
        until(lambda: hanging.requests)
        assert workers[0].sent_count == 0
    finally:
        for one in threads:
            one.end()
        hanging.close()
        fine.close()
    assert "token" not in repr(events)
