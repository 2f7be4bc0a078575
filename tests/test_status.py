"""How the daemon is: figures and health, from real components where they exist by themselves."""

from __future__ import annotations

import enum
import json
import re
import threading
import time

from binmon.core.backoff import BackoffPolicy
from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor, WorkerState, WorkerStatus
from binmon.core.worker import Worker
from binmon.errors import StreamClosed
from binmon.messages import Priority
from binmon.net.ledger import RateLedger
from binmon.status import NEVER_SYNCED_S, PATIENCE_S, Status, StatusParts, VenueParts, thread_cpu_s
from binmon.telemetry.histogram import DelayHistogram
from binmon.telemetry.metrics import METRICS, MetricsRegistry

MID = 1_800_000_030.0


class State(enum.Enum):
    SYNCED = "synced"
    WAITING = "waiting_for_snapshot"


class Keeper:
    """What a keeper of books shows of itself."""

    def __init__(self, **states: State) -> None:
        self.lag = DelayHistogram()
        self.states = dict(states)
        self.sockets = {"binance-market-1": "live"}

    def counters(self) -> dict[str, int]:
        return {"gaps": 1, "resyncs": 2, "duplicates": 3, "rotations": 4, "audits_passed": 5, "audits_failed": 6}

    def connections(self) -> dict[str, str]:
        return dict(self.sockets)


class Recorder:
    rows_written, rows_lost, bytes_written, failing = 10, 2, 4096, False


class Finisher:
    rows_lost = 3


class Workers:
    """Statuses as the supervisor gives them."""

    def __init__(self, *statuses: WorkerStatus) -> None:
        self.given = list(statuses)

    def statuses(self) -> list[WorkerStatus]:
        return self.given


class Case:
    """A status with its parts and a clock of its own."""

    def __init__(self, keeper: Keeper | None = None, workers: Workers | None = None, weight: int = 250) -> None:
        self.now_mono_s = 1000.0
        self.keeper, self.recorder = keeper or Keeper(), Recorder()
        self.workers = workers or Workers(WorkerStatus("keeper", WorkerState.RUNNING, 0.1, 7, ""))
        self.ledger = RateLedger("binance", clock=lambda: MID)
        self.channel: Channel[int] = Channel("rows", 2, Overflow.DROP_NEWEST)
        self.status = Status(
            StatusParts(
                supervisor=self.workers,
                version="9.9",
                config_hash="abc",
                channels=[self.channel],
                venues={"binance": VenueParts(self.ledger, self.keeper, lambda: 0.0125, weight)},
                recorder=self.recorder,
                finisher=Finisher(),
            ),
            monotonic=lambda: self.now_mono_s,
        )

    def figures(self) -> dict[tuple[str, ...], object]:
        return {(f.name, *(value for _, value in f.labels)): f.value for f in self.status.figures()}

    def problems(self) -> list[str]:
        ok, document = self.status.health()
        assert ok is (not document["problems"]) is document["ok"]
        json.dumps(document, allow_nan=False)
        return document["problems"]


def test_figures_of_everything() -> None:
    case = Case(Keeper(BTCUSDT=State.SYNCED, ETHUSDT=State.SYNCED, ADAUSDT=State.WAITING))
    for _ in range(3):
        case.channel.offer(1)
    case.ledger.acquire(20, Priority.LISTING, threading.Event())
    case.ledger.banned(60.0, MID - 100)
    case.ledger.connects.spend(999.0)
    case.keeper.lag.observe_ns(1_000_000)
    found = case.figures()
    expected = {
        ("binmon_build_info", "9.9", "abc"): 1,
        ("binmon_worker_up", "keeper"): 1,
        ("binmon_worker_progress_total", "keeper"): 7,
        ("binmon_channel_depth", "rows"): 2,
        ("binmon_channel_dropped_total", "rows"): 1,
        ("binmon_recorder_rows_total",): 10,
        ("binmon_recorder_rows_lost_total",): 5,
        ("binmon_recorder_bytes_total",): 4096,
        ("binmon_books", "binance", "synced"): 2,
        ("binmon_books", "binance", "waiting_for_snapshot"): 1,
        ("binmon_stream_connections", "binance", "live"): 1,
        ("binmon_book_gaps_total", "binance"): 1,
        ("binmon_book_resyncs_total", "binance"): 2,
        ("binmon_book_duplicates_total", "binance"): 3,
        ("binmon_stream_rotations_total", "binance"): 4,
        ("binmon_book_audits_total", "binance", "passed"): 5,
        ("binmon_book_audits_total", "binance", "failed"): 6,
        ("binmon_book_audits_total", "binance", "inconclusive"): 0,
        ("binmon_rate_weight_used", "binance"): 20,
        ("binmon_rate_weight_limit", "binance"): 6000,
        ("binmon_rate_banned_until_seconds", "binance"): MID - 40,
        ("binmon_rate_connects_used", "binance"): 1,
        ("binmon_rate_full_resync_weight", "binance"): 750,
        ("binmon_rate_full_resync_seconds", "binance"): 0,
        ("binmon_clock_offset_seconds", "binance"): 0.0125,
    }
    assert expected.items() <= found.items()
    assert found["binmon_book_apply_lag_seconds", "binance"].count == 1
    # everything that is declared is given, but what needs a thread, which is below, and what the parts themselves give
    others = re.compile(
        "binmon_(alerts|config|dashboard|incidents|latency|log|orders|publish|watch|user_stream|clock_(uncertainty|drift|steps))_"
    )
    declared = {metric.name for metric in METRICS if not others.match(metric.name)}
    assert {name for name, *_ in found} == declared - {"binmon_worker_cpu_seconds_total"}


def test_the_page_is_made_of_it_without_an_error() -> None:
    registry = MetricsRegistry()
    # a worker of the same name that is on its way out
    workers = Workers(*(WorkerStatus("a", state, 0.0, 0, "") for state in (WorkerState.STOPPED, WorkerState.RUNNING)))
    registry.add("status", Case(workers=workers, weight=7000).status.figures)
    page = registry.render().decode()
    assert 'binmon_metrics_errors_total{source="status"} 0.0' in page and "binmon_books" not in page
    assert 'binmon_worker_up{worker="a"} 1.0' in page


def test_health_names_everything() -> None:
    case = Case(Keeper(BTCUSDT=State.SYNCED), weight=7000)
    claim = case.ledger.enter(10, Priority.AUDIT, MID)
    case.ledger.outgoing("binance-market-1")
    ok, document = case.status.health()
    case.ledger.leave(claim)
    assert ok and document["workers"]["keeper"]["state"] == "running"
    assert document["channels"] == {"rows": {"depth": 0, "capacity": 2, "dropped": 0}}
    assert document["recorder"] == {"failing": False, "rows": 10, "rows_lost": 5}
    venue = document["venues"]["binance"]
    assert venue["books"] == {"BTCUSDT": "synced"} and venue["connections"] == {"binance-market-1": "live"}
    assert venue["clock"] == {"offset_ms": 12.5}
    assert venue["rate"]["weight"] == {"used": 0, "limit": 6000} and venue["rate"]["waiting"] == {"audit": 1}
    assert venue["rate"]["outgoing_messages"] == {"binance-market-1": {"used": 0, "limit": 4}}
    assert venue["rate"]["full_resync"]["seconds"] is None  # a book that costs more than a minute's limit


def test_a_book_is_a_problem_when_it_was_synced_and_stays_out_of_sync() -> None:
    case = Case(Keeper(BTCUSDT=State.WAITING, ETHUSDT=State.SYNCED))
    assert case.problems() == []
    case.now_mono_s += NEVER_SYNCED_S - 1
    assert case.problems() == []  # the first sync may take long
    case.now_mono_s += 1
    assert case.problems() == ["binance: not synced for over a minute: BTCUSDT"]
    del case.keeper.states["BTCUSDT"]
    case.keeper.states["ETHUSDT"] = State.WAITING
    case.status.observe()
    case.now_mono_s += PATIENCE_S - 1
    assert case.problems() == []
    case.now_mono_s += 1
    assert case.problems() == ["binance: not synced for over a minute: ETHUSDT"]
    case.keeper.states["ETHUSDT"] = State.SYNCED
    assert case.problems() == []
    case.keeper.states["ETHUSDT"] = State.WAITING
    case.status.observe()
    case.now_mono_s += PATIENCE_S
    del case.keeper.states["ETHUSDT"]  # a reload took it away
    assert case.problems() == []


def test_many_books_are_named_in_part() -> None:
    case = Case(Keeper(**{f"S{number:02}USDT": State.SYNCED for number in range(13)}))
    case.status.observe()
    case.keeper.states = dict.fromkeys(case.keeper.states, State.WAITING)
    case.status.observe()
    case.now_mono_s += PATIENCE_S
    (problem,) = case.problems()
    assert "S09USDT and 3 more" in problem and "S10USDT" not in problem


def test_workers_and_the_recorder_can_be_problems() -> None:
    case = Case()
    case.workers.given = [
        WorkerStatus("a", WorkerState.FATAL, 0.0, 0, "ValueError: x"),
        WorkerStatus("b", WorkerState.BACKOFF, 0.0, 0, "StreamClosed: y", PATIENCE_S + 1),
        WorkerStatus("c", WorkerState.BACKOFF, 0.0, 0, "StreamClosed: z", PATIENCE_S - 1),
    ]
    case.recorder.failing = True
    assert case.problems() == [
        "worker a is fatal: ValueError: x",
        "worker b has failed for 61 s: StreamClosed: y",
        "the recording cannot be written",
    ]


class Busy(Worker):
    """Fails as often as it is told, then uses the processor until the stop."""

    def __init__(self, failures: int) -> None:
        super().__init__("busy")
        self.failures, self.runs = failures, 0

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise StreamClosed("market-1", "cut")
        while not stop.wait(0.001):
            sum(range(1000))


def wait_for(true, supervisor: Supervisor) -> None:
    patience = time.monotonic() + 20
    while not true():
        assert time.monotonic() < patience, supervisor.statuses()
        supervisor.tick(time.monotonic())
        threading.Event().wait(0.002)


def test_processor_time_of_a_real_worker() -> None:
    supervisor = Supervisor()
    case = Case(workers=supervisor)
    supervisor.add(Busy(0))
    wait_for(lambda: case.figures().get(("binmon_worker_cpu_seconds_total", "busy"), 0) > 0.01, supervisor)
    (running,) = supervisor.statuses()
    assert supervisor.stop(Deadline(30)) == []
    wait_for(lambda: supervisor.statuses()[0].state is WorkerState.STOPPED, supervisor)
    assert case.figures()["binmon_worker_up", "busy"] == 0
    assert ("binmon_worker_cpu_seconds_total", "busy") not in case.figures()
    assert thread_cpu_s(running.thread_id) is None and thread_cpu_s(None) is None


def test_how_long_a_worker_has_failed() -> None:
    supervisor = Supervisor(policy=BackoffPolicy(first_s=0.01, cap_s=0.01))
    worker = Busy(3)
    supervisor.add(worker)
    wait_for(lambda: supervisor.statuses()[0].failing_s > 0, supervisor)
    wait_for(lambda: worker.runs == 4, supervisor)
    before = supervisor.statuses()[0]
    assert before.state is WorkerState.RUNNING and before.failing_s > 0  # it may fail again at once
    worker.progress()
    assert supervisor.statuses()[0].failing_s == 0.0
    supervisor.stop(Deadline(30))


def test_a_venue_without_books() -> None:
    status = Status(StatusParts(Workers(), "1", "x", venues={"bybit": VenueParts(RateLedger("bybit"))}))
    ok, document = status.health()
    assert ok and document["venues"]["bybit"]["clock"] == {"offset_ms": None} and document["recorder"] is None
    names = {figure.name for figure in status.figures()}
    assert "binmon_rate_weight_used" in names and "binmon_books" not in names
