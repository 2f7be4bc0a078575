"""The supervisor: restarts with growing delays, gives up on bugs, stops in order and in time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor, WorkerState
from binmon.core.worker import Worker
from binmon.errors import RateLimited, StreamClosed

QUICK = BackoffPolicy(first_s=0.01, cap_s=0.05)


class Scripted(Worker):
    """Calls ``act(attempt)`` once a run, then waits for the stop."""

    def __init__(self, act: Callable[[int, Worker], None], name: str = "scripted") -> None:
        super().__init__(name)
        self.act, self.runs = act, 0

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        self.act(self.runs, self)
        stop.wait()


def tick_until(supervisor: Supervisor, true: Callable[[], bool], within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until, supervisor.statuses()
        supervisor.tick(time.monotonic())
        threading.Event().wait(0.002)


def test_network_failures_are_retried_for_ever() -> None:
    def fail(attempt: int, _: Worker) -> None:
        if attempt < 12:
            raise StreamClosed("market-1", "cut")

    supervisor, worker = Supervisor(policy=QUICK), Scripted(fail)
    supervisor.add(worker)
    tick_until(supervisor, lambda: worker.runs == 12)
    assert supervisor.fatal is None
    assert supervisor.stop(Deadline(30)) == []


def test_a_bug_is_fatal_after_five_failures_without_progress() -> None:
    def fail(attempt: int, worker: Worker) -> None:
        if attempt == 3:
            worker.progress()
        raise ZeroDivisionError("bug")

    with capture_logs() as logs:
        supervisor, worker = Supervisor(policy=QUICK), Scripted(fail)
        supervisor.add(worker)
        tick_until(supervisor, lambda: supervisor.fatal is not None)
    assert worker.runs == 2 + 5  # the third made progress and began the count anew
    assert supervisor.fatal is not None and supervisor.fatal.last_error == "ZeroDivisionError: bug"
    assert [line["event"] for line in logs][-1] == "worker.fatal"
    supervisor.stop(Deadline(30))


def test_a_worker_that_just_returns_has_failed() -> None:
    class Returns(Worker):
        def run(self, stop: threading.Event) -> None:
            return

    supervisor = Supervisor(policy=QUICK, fatal_after=1)
    supervisor.add(Returns("returns"))
    tick_until(supervisor, lambda: supervisor.fatal is not None)


def test_the_venues_wait_is_obeyed() -> None:
    def limited(attempt: int, _: Worker) -> None:
        if attempt == 1:
            raise RateLimited("REQUEST_WEIGHT", 30.0)

    supervisor, worker = Supervisor(policy=QUICK), Scripted(limited)
    supervisor.add(worker)
    tick_until(supervisor, lambda: supervisor.statuses()[0].state is WorkerState.BACKOFF)
    supervisor.tick(time.monotonic() + 20)
    assert worker.runs == 1
    supervisor.tick(time.monotonic() + 31)
    tick_until(supervisor, lambda: worker.runs == 2)
    supervisor.stop(Deadline(30))


def test_stages_stop_in_order_and_a_late_worker_is_named() -> None:
    order: list[str] = []
    let_go = threading.Event()

    class Ordered(Worker):
        def run(self, stop: threading.Event) -> None:
            stop.wait()
            order.append(self.name)
            assert self.end_by is not None
            if self.name == "stuck":
                let_go.wait(30)

    class ShortAtTheEnd(Deadline):
        """Leaves those that end by themselves all the time they need."""

        def remaining_s(self) -> float:
            return super().remaining_s() if len(order) < 3 else 0.5

    supervisor = Supervisor()
    for name, stage in (("consumer", 2), ("producer", 0), ("middle", 1), ("stuck", 3)):
        supervisor.add(Ordered(name), stage=stage)
    started = time.monotonic()
    assert supervisor.stop(ShortAtTheEnd(120)) == ["stuck"]
    assert time.monotonic() - started < 20
    tick_until(supervisor, lambda: len(order) == 4)
    let_go.set()
    assert order == ["producer", "middle", "consumer", "stuck"]


def test_a_stage_that_hangs_leaves_the_later_ones_their_time() -> None:
    flushed, let_go = threading.Event(), threading.Event()

    class Hangs(Worker):
        def run(self, stop: threading.Event) -> None:
            stop.wait()
            let_go.wait(30)

    class Flushes(Worker):
        def run(self, stop: threading.Event) -> None:
            stop.wait()
            threading.Event().wait(0.2)
            flushed.set()

    supervisor = Supervisor()
    supervisor.add(Hangs("hangs"), stage=0)
    supervisor.add(Flushes("flushes"), stage=1)
    assert supervisor.stop(Deadline(10)) == ["hangs"]
    let_go.set()
    assert flushed.is_set()


def test_a_worker_that_runs_is_retired_and_forgotten() -> None:
    supervisor = Supervisor(policy=QUICK)
    stays, goes = Scripted(lambda *_: None, "stays"), Scripted(lambda *_: None, "goes")
    supervisor.add(stays)
    supervisor.add(goes)
    with capture_logs() as logs:
        supervisor.retire(goes)
        tick_until(supervisor, lambda: [status.name for status in supervisor.statuses()] == ["stays"])
    assert logs == [] and supervisor.statuses()[0].state is WorkerState.RUNNING and goes.runs == 1
    # it tells of its end a moment before
    tick_until(supervisor, lambda: not any(thread.name == "goes" for thread in threading.enumerate()))
    assert supervisor.stop(Deadline(30)) == []


def test_a_worker_that_waits_for_its_restart_is_retired_without_one() -> None:
    def fail(*_: object) -> None:
        raise StreamClosed("market-1", "cut")

    supervisor, worker = Supervisor(policy=BackoffPolicy(first_s=20, cap_s=30)), Scripted(fail)
    supervisor.add(worker)
    tick_until(supervisor, lambda: supervisor.statuses()[0].state is WorkerState.BACKOFF)
    supervisor.retire(worker)
    supervisor.tick(time.monotonic() + 1000)
    assert supervisor.statuses() == [] and worker.runs == 1


@pytest.mark.parametrize(("error", "told"), [(StreamClosed("market-1", "cut"), []), (KeyError(1), ["worker.failed"])])
def test_a_worker_that_fails_on_its_way_out_is_not_restarted(error: Exception, told: list) -> None:
    failing = threading.Event()

    def fail(*_: object) -> None:
        failing.wait(30)
        raise error

    with capture_logs() as logs:
        supervisor, worker = Supervisor(policy=QUICK), Scripted(fail)
        supervisor.add(worker)
        supervisor.retire(worker)
        failing.set()
        tick_until(supervisor, lambda: supervisor.statuses() == [])
        supervisor.tick(time.monotonic() + 1000)
    assert worker.runs == 1 and [line["event"] for line in logs] == ["worker.started", *told]


def test_retiring_is_possible_for_unknown_workers_and_twice() -> None:
    supervisor, worker = Supervisor(policy=QUICK), Scripted(lambda *_: None)
    supervisor.retire(worker)
    assert supervisor.statuses() == []
    supervisor.add(worker)
    assert supervisor.statuses()[0].state is WorkerState.RUNNING
    supervisor.retire(worker)
    supervisor.retire(worker)
    tick_until(supervisor, lambda: supervisor.statuses() == [])
    supervisor.retire(worker)


def test_workers_come_and_go_from_other_threads_while_it_ticks() -> None:
    supervisor = Supervisor(policy=QUICK)

    def come_and_go(name: str) -> None:
        for number in range(20):
            worker = Scripted(lambda *_: None, f"{name}-{number}")
            supervisor.add(worker)
            if number % 5:
                supervisor.retire(worker)

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    expected = {f"{name}-{number}" for name in "abc" for number in range(0, 20, 5)}
    tick_until(
        supervisor,
        lambda: (
            not any(thread.is_alive() for thread in threads)
            and {status.name for status in supervisor.statuses()} == expected
        ),
    )
    for thread in threads:
        thread.join()
    assert supervisor.stop(Deadline(30)) == []


def test_after_a_stop_nothing_is_started() -> None:
    supervisor, first, late = Supervisor(), Scripted(lambda *_: None, "first"), Scripted(lambda *_: None, "late")
    supervisor.add(first)
    assert supervisor.stop(Deadline(30)) == []
    with capture_logs() as logs:
        supervisor.add(late)
    assert logs == [] and late.runs == 0 and [status.name for status in supervisor.statuses()] == ["first"]


def test_backoff_grows_to_its_cap_and_jitter_survives_it() -> None:
    backoff = Backoff(BackoffPolicy(first_s=1, factor=2, cap_s=8, jitter=0.5), random.Random(1))
    delays = [backoff.next_delay_s() for _ in range(200)]
    assert all(0.5 <= delay <= 8 for delay in delays) and delays[0] <= 1
    assert len(set(delays[10:])) > 100 and min(delays[10:]) >= 4
    backoff.reset()
    assert backoff.next_delay_s() <= 1
    with pytest.raises(ValueError, match="backoff"):
        BackoffPolicy(first_s=5, cap_s=1)


def test_a_worker_that_wants_to_exit_has_failed() -> None:
    def leave(attempt: int, worker: Worker) -> None:
        if attempt == 1:
            raise SystemExit(3)
        worker.progress()

    supervisor, worker = Supervisor(policy=QUICK), Scripted(leave)
    supervisor.add(worker)
    tick_until(supervisor, lambda: worker.progress_count == 1)
    (status,) = supervisor.statuses()
    assert status.last_error == "SystemExit: 3"
    assert supervisor.stop(Deadline(30)) == []


def test_a_thread_that_ends_without_a_word_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, worker = Supervisor(policy=QUICK), Scripted(lambda attempt, worker: worker.progress())
    with monkeypatch.context() as silent:
        silent.setattr(supervisor, "_guard", lambda supervised: None)
        supervisor.add(worker)
    tick_until(supervisor, lambda: worker.progress_count == 1)
    (status,) = supervisor.statuses()
    assert status.last_error == "RuntimeError: its thread ended without a word"
    assert supervisor.stop(Deadline(30)) == []


def test_where_there_is_no_thread_for_a_worker_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start, tries = threading.Thread.start, 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    supervisor, worker = Supervisor(policy=QUICK), Scripted(lambda attempt, worker: worker.progress())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with capture_logs() as logs:
        supervisor.add(worker)
        tick_until(supervisor, lambda: worker.progress_count == 1)
    assert [line["event"] for line in logs if line["event"] == "worker.failed"] == ["worker.failed"] * 2
    assert supervisor.stop(Deadline(30)) == []


def test_a_worker_that_is_added_twice_runs_once() -> None:
    supervisor, worker = Supervisor(policy=QUICK), Scripted(lambda attempt, worker: worker.progress())
    supervisor.add(worker)
    supervisor.add(worker)
    tick_until(supervisor, lambda: worker.progress_count == 1)
    assert len(supervisor.statuses()) == 1
    assert supervisor.stop(Deadline(30)) == []
    assert worker.runs == 1
