"""What the service manager is told, and what happens to workers that hang."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from binmon.core.backoff import BackoffPolicy
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor, WorkerState, WorkerStatus
from binmon.core.worker import Worker
from binmon.errors import StreamClosed
from binmon.wiring.service import (
    READY_WITHIN_S,
    Phase,
    ServiceNotifier,
    ServiceView,
    Watched,
    stack_of,
    stacks_of_all_threads,
    view_of,
)


class Manager:
    """Keeps what it is told."""

    listens = True

    def __init__(self, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self.told: list[dict[str, str | int]] = []

    def tell(self, **fields: str | int) -> bool:
        self.told.append(fields)
        return True

    def tell_reloading(self) -> bool:
        return self.tell(RELOADING=1)

    def take(self) -> list[dict[str, str | int]]:
        told, self.told = self.told, []
        return told

    def count(self, name: str) -> int:
        return sum(name in fields for fields in self.told)


class Workers:
    """A supervisor whose workers are as the test says."""

    def __init__(self) -> None:
        self.now: list[WorkerStatus] = []

    def statuses(self) -> list[WorkerStatus]:
        return self.now


def worker(
    beat_age_s: float,
    *,
    name: str = "keeper",
    state: WorkerState = WorkerState.RUNNING,
    limit_s: float | None = 20.0,
) -> WorkerStatus:
    return WorkerStatus(name, state, beat_age_s, 0, "", silence_limit_s=limit_s)


class Service:
    """A notifier with all around it, on a clock of its own that ticks five times a second."""

    def __init__(self, watchdog_s: float | None = None) -> None:
        self.manager, self.workers = Manager(watchdog_s), Workers()
        self.dumps = 0
        self.now_s = 1000.0
        self.view = ServiceView((), "2/2 books")
        self.notifier = ServiceNotifier(self.manager, self.workers, self.now_s, write_stacks=self.dump)
        self.notifier.watch(lambda: self.view)

    def dump(self) -> None:
        self.dumps += 1

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 5)):
            self.now_s += 0.2
            self.notifier.tick(self.now_s)


# Ready ----------------------------------------------------------------------------------------------------------------


def test_ready_when_nothing_is_missing_and_not_before() -> None:
    service = Service()
    service.view = ServiceView(("the books of ETHUSDT",), "1/2 books")
    service.run(10)
    assert service.manager.take() == [{"STATUS": "1/2 books; waiting for the books of ETHUSDT"}]
    service.view = ServiceView((), "2/2 books")
    with capture_logs() as lines:
        service.run(2)
    assert service.manager.take() == [{"READY": 1, "STATUS": "2/2 books"}]
    assert [(line["event"], line["log_level"], line["missing"]) for line in lines] == [("daemon.ready", "info", [])]
    assert 10 <= lines[0]["after_s"] <= 12.5


def test_ready_after_the_deadline_with_what_is_missing() -> None:
    service = Service()
    service.view = ServiceView(("the books of ETHUSDT", "the user-data stream"), "1/2 books")
    service.run(READY_WITHIN_S - 2)
    assert service.manager.count("READY") == 0
    with capture_logs() as lines:
        service.run(4)
    (last,) = [fields for fields in service.manager.take() if "READY" in fields]
    assert last["STATUS"] == "1/2 books; waiting for the books of ETHUSDT, the user-data stream"
    assert lines[0]["log_level"] == "warning" and lines[0]["missing"] == list(service.view.missing)


def test_a_venue_that_does_not_answer_is_said_and_ends_no_start() -> None:
    manager, workers = Manager(), Workers()
    notifier = ServiceNotifier(manager, workers, 0.0)
    with capture_logs():
        for now in range(int(READY_WITHIN_S) + 3):
            notifier.tick(float(now))
    assert manager.told[0] == {"STATUS": "starting; waiting for an answer of the venue"}
    assert manager.count("READY") == 1


def test_ready_is_told_once() -> None:
    service = Service()
    service.run(2)
    service.view = ServiceView(("the books of BTCUSDT",), "1/2 books")
    service.run(2)
    service.view = ServiceView((), "2/2 books")
    service.run(2)
    assert service.manager.count("READY") == 1


# Status ---------------------------------------------------------------------------------------------------------------


def test_status_at_most_once_a_second_and_only_when_it_changed() -> None:
    service = Service()
    looks = 0

    def look() -> ServiceView:
        nonlocal looks
        looks += 1
        return ServiceView((), f"look {looks // 3}")

    service.notifier.watch(look)
    service.run(30)
    assert 25 <= looks <= 31
    texts = [fields["STATUS"] for fields in service.manager.told if "STATUS" in fields]
    assert len(texts) == len(set(texts)) == looks // 3 + 1


def test_nobody_is_looked_at_for_nobody() -> None:
    service = Service()
    service.manager.listens = False
    service.run(2)
    assert service.notifier.phase is Phase.READY
    service.notifier.watch(lambda: pytest.fail("looked"))
    service.run(5)


# Watchdog -------------------------------------------------------------------------------------------------------------


def test_the_watchdog_hears_of_us_at_half_its_interval() -> None:
    service = Service(watchdog_s=30.0)
    service.run(60.2)
    assert 4 <= service.manager.count("WATCHDOG") <= 5


def test_no_watchdog_no_message() -> None:
    service = Service()
    service.run(60)
    assert service.manager.count("WATCHDOG") == 0


def test_a_worker_that_hangs_silences_the_watchdog_and_is_told_once_with_all_stacks() -> None:
    service = Service(watchdog_s=4.0)
    service.run(10)
    service.manager.take()
    service.workers.now = [worker(21.0), worker(1.0, name="recorder")]
    with capture_logs() as lines:
        service.run(60)
    assert service.manager.count("WATCHDOG") <= 1  # one may have been due before the next look
    (line,) = [line for line in lines if line["event"] == "worker.stalled"]
    assert (line["worker"], line["age_s"], line["limit_s"]) == ("keeper", 21.0, 20.0)
    assert line["log_level"] == "critical"
    assert service.dumps == 1
    assert service.notifier.stalled == {"keeper"}
    assert service.manager.told[-1]["STATUS"] == "2/2 books; hanging: keeper"


def test_a_worker_that_goes_on_brings_the_watchdog_back() -> None:
    service = Service(watchdog_s=4.0)
    service.workers.now = [worker(21.0)]
    with capture_logs():
        service.run(10)
    service.workers.now = [worker(0.1)]
    service.manager.take()
    service.run(10)
    assert service.manager.count("WATCHDOG") >= 4
    service.workers.now = [worker(30.0)]
    with capture_logs() as lines:
        service.run(2)
    assert [line["event"] for line in lines] == ["worker.stalled"]  # another stall
    assert service.dumps == 2


@pytest.mark.parametrize(
    "status",
    [
        worker(1e6, state=WorkerState.BACKOFF),  # the venue is down: no stall of ours
        worker(1e6, state=WorkerState.STOPPED),
        worker(1e6, limit_s=None),  # not critical
        worker(20.0),
    ],
)
def test_what_is_no_stall(status: WorkerStatus) -> None:
    service = Service(watchdog_s=4.0)
    service.workers.now = [status]
    service.run(20)
    assert service.manager.count("WATCHDOG") >= 9
    assert not service.notifier.stalled and service.dumps == 0


def test_a_process_that_was_stopped_as_a_whole_blames_no_worker() -> None:
    service = Service(watchdog_s=4.0)
    service.run(10)
    service.workers.now = [worker(3600.0)]  # SIGSTOP and SIGCONT an hour later: the main thread was the first to turn
    service.now_s += 3600
    service.manager.take()
    service.run(1)
    assert not service.notifier.stalled
    assert service.manager.count("WATCHDOG") >= 1
    service.workers.now = [worker(0.2)]
    service.run(20)
    assert not service.notifier.stalled and service.dumps == 0


def test_who_does_not_go_on_after_such_a_stop_is_found_out() -> None:
    service = Service(watchdog_s=4.0)
    service.workers.now = [worker(3600.0)]
    service.now_s += 3600
    with capture_logs():
        service.run(10)
    assert service.notifier.stalled == {"keeper"}


# Reload and stop ------------------------------------------------------------------------------------------------------


def test_a_reload_is_framed() -> None:
    service = Service()
    service.run(2)
    service.manager.take()
    service.notifier.reloading()
    assert service.notifier.phase is Phase.RELOADING
    service.view = ServiceView((), "3/3 books")
    service.notifier.reloaded()
    service.run(0.4)
    assert service.manager.take() == [{"RELOADING": 1}, {"READY": 1}, {"STATUS": "3/3 books"}]


def test_a_reload_of_a_service_that_starts_is_not_told() -> None:
    service = Service()
    service.view = ServiceView(("the books of ETHUSDT",), "1/2 books")
    service.run(2)
    service.manager.take()
    service.notifier.reloading()
    service.notifier.reloaded()
    assert service.manager.take() == []
    assert service.notifier.phase is Phase.STARTING


def test_a_stop_is_told_once_and_is_the_last_word() -> None:
    service = Service(watchdog_s=1.0)
    service.run(2)
    service.manager.take()
    service.notifier.stopping("SIGTERM")
    service.notifier.stopping()
    service.notifier.reloading()
    service.notifier.reloaded()
    service.run(10)
    assert service.manager.take() == [{"STOPPING": 1, "STATUS": "stopping: SIGTERM"}]


@given(
    st.lists(
        st.sampled_from(["tick", "late", "hang", "heal", "missing", "found", "reload", "reloaded", "stop"]), max_size=80
    )
)
def test_any_course_of_events(events: list[str]) -> None:
    service = Service(watchdog_s=2.0)
    with capture_logs():
        for event in events:
            ticked_mark = len(service.manager.told)
            match event:
                case "tick":
                    service.run(1)
                case "late":
                    service.now_s += 100
                    service.run(0.2)
                case "hang":
                    service.workers.now = [worker(50.0)]
                case "heal":
                    service.workers.now = [worker(0.0)]
                case "missing":
                    service.view = ServiceView(("x",), "1/2")
                case "found":
                    service.view = ServiceView((), "2/2")
                case "reload":
                    service.notifier.reloading()
                case "reloaded":
                    service.notifier.reloaded()
                case "stop":
                    service.notifier.stopping()
            if service.notifier.stalled and event == "late":
                assert not any("WATCHDOG" in fields for fields in service.manager.told[ticked_mark:])
    told = service.manager.told
    names = [name for fields in told for name in fields if name in ("READY", "RELOADING", "STOPPING")]
    assert names.count("STOPPING") <= 1
    if "STOPPING" in names:
        assert "STOPPING" in told[-1]
    # a reload is told only of a service that is ready, and ends by READY before the next
    states = [name for name in names if name != "STOPPING"]
    assert all(name == ("READY" if number % 2 == 0 else "RELOADING") for number, name in enumerate(states))


# Stacks ---------------------------------------------------------------------------------------------------------------


class Stuck(Worker):
    silence_limit_s = 0.0

    def __init__(self) -> None:
        super().__init__("stuck")
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self, stop: threading.Event) -> None:
        self.hang_here()
        stop.wait()

    def hang_here(self) -> None:
        self.entered.set()
        self.leave.wait()


def test_a_real_worker_that_hangs_is_found_with_the_place_where_it_is() -> None:
    supervisor, stuck, manager = Supervisor(), Stuck(), Manager(4.0)
    supervisor.add(stuck)
    assert stuck.entered.wait(10)
    dumps: list[str] = []
    notifier = ServiceNotifier(manager, supervisor, 0.0, write_stacks=lambda: dumps.append(stacks_of_all_threads()))
    with capture_logs() as lines:
        notifier.tick(1.0)
    stuck.leave.set()
    assert supervisor.stop(Deadline(30)) == []
    (line,) = [line for line in lines if line["event"] == "worker.stalled"]
    assert any("hang_here" in place for place in line["where"])
    (dump,) = dumps
    assert "thread stuck" in dump and "hang_here" in dump and "thread MainThread" in dump


def test_a_worker_that_is_given_up_is_no_stall() -> None:
    supervisor, stuck = Supervisor(), Stuck()
    supervisor.add(stuck)
    assert stuck.entered.wait(10)
    assert [one.silence_limit_s for one in supervisor.statuses()] == [0.0]
    supervisor.retire(stuck)
    assert [one.silence_limit_s for one in supervisor.statuses()] == [None]
    stuck.leave.set()
    assert supervisor.stop(Deadline(30)) == []


class FailsOnce(Worker):
    silence_limit_s = 5.0

    def run(self, stop: threading.Event) -> None:
        if not self.progress_count:
            self.progress_count = 1
            self.beat_mono_s -= 1000.0  # as after a long delay before the restart
            raise StreamClosed("x", "the venue is down")
        stop.wait()


def test_a_worker_that_was_restarted_is_not_judged_by_its_former_beat() -> None:
    supervisor = Supervisor(policy=BackoffPolicy(first_s=0.01, cap_s=0.01))
    supervisor.add(FailsOnce("fails-once"))
    until_s = time.monotonic() + 30
    with capture_logs():
        while (one := supervisor.statuses()[0]).state is not WorkerState.RUNNING or not one.last_error:
            assert time.monotonic() < until_s
            supervisor.tick(time.monotonic())
            threading.Event().wait(0.01)
    (status,) = supervisor.statuses()
    assert status.beat_age_s < 100
    assert supervisor.stop(Deadline(30)) == []


def test_no_thread_no_stack() -> None:
    assert stack_of(None) == []
    assert stack_of(2**30) == []


# The line -------------------------------------------------------------------------------------------------------------


def watched(**changes: Any) -> Watched:
    parts: dict[str, Any] = {
        "books": lambda: {f"S{number:02}USDT": True for number in range(12)},
        "oldest_ns": lambda: 1_000_000_000,
        "weight": lambda: (820, 6000),
        "clock": lambda: (1.2, 0.4),
        "subscribed": lambda: True,
    }
    return Watched(**{**parts, **changes})


def test_the_line_an_operator_reads() -> None:
    view = view_of(watched(), wall_ns=lambda: 1_300_000_000)
    assert view == ServiceView((), "12/12 books, oldest 0.3 s, weight 820/6000, clock +1.2±0.4 ms")


def test_what_is_missing_is_named() -> None:
    books = {f"S{number}": number > 4 for number in range(8)}
    view = view_of(
        watched(
            books=lambda: books, oldest_ns=lambda: None, clock=lambda: None, subscribed=lambda: False,
            troubles=lambda: ["the recording cannot be written"],
        )
    )  # fmt: skip
    assert view.missing == ("the books of S0, S1, S2 and 2 more", "the user-data stream")
    assert view.text == "3/8 books, weight 820/6000, clock unknown; the recording cannot be written"


def test_no_probe_no_wait_for_its_stream() -> None:
    assert view_of(watched(subscribed=lambda: None)).missing == ()


def test_a_wall_clock_that_was_set_back_makes_no_negative_age() -> None:
    assert "oldest 0.0 s" in view_of(watched(), wall_ns=lambda: 0).text


def test_several_venues_are_named() -> None:
    bybit = watched(name="bybit", books=lambda: {"BTCUSDT": False}, oldest_ns=lambda: None, subscribed=lambda: None)
    view = view_of(
        watched(), bybit, waiting=["okx"], troubles=["the recording cannot be written"], wall_ns=lambda: 1_300_000_000
    )
    assert view.missing == ("an answer of okx", "the books of BTCUSDT at bybit")
    assert view.text == (
        "binance 12/12 books, oldest 0.3 s, weight 820/6000, clock +1.2±0.4 ms; "
        "bybit 0/1 books, weight 820/6000, clock +1.2±0.4 ms; the recording cannot be written"
    )


def test_a_venue_that_has_not_answered_is_waited_for() -> None:
    assert view_of(waiting=["binance"]) == ServiceView(("an answer of binance",), "starting")
