"""Starts workers, restarts those that fail, stops them stage by stage within one deadline."""

from __future__ import annotations

import enum
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.deadline import Deadline
from binmon.core.worker import Worker
from binmon.errors import RetryError

log = structlog.get_logger("binmon.supervisor")

_RUNS_WELL_S = 60.0  # a worker that failed, and then ran for this long, is not failing any more


class WorkerState(enum.Enum):
    """Where a supervised worker stands."""

    RUNNING = "running"  # its thread runs
    BACKOFF = "backoff"  # it failed and waits for its restart
    FATAL = "fatal"  # it failed too often without progress: the daemon ends
    STOPPED = "stopped"  # it returned after a stop


_ALLOWED = {
    WorkerState.STOPPED: {WorkerState.RUNNING},
    WorkerState.RUNNING: {WorkerState.BACKOFF, WorkerState.FATAL, WorkerState.STOPPED},
    WorkerState.BACKOFF: {WorkerState.RUNNING, WorkerState.STOPPED},
    WorkerState.FATAL: set(),
}


@dataclass(slots=True)
class _Supervised:
    worker: Worker
    stage: int
    backoff: Backoff
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    state: WorkerState = WorkerState.STOPPED
    retired: bool = False
    restart_at_mono_s: float = 0.0
    failures_without_progress: int = 0
    progress_seen: int = 0
    last_error: str = ""
    since_mono_s: float = 0.0  # of the state
    failing_since_mono_s: float | None = None  # the first failure after its last progress

    def move_to(self, state: WorkerState) -> None:
        """The only writer of ``state``."""
        if state not in _ALLOWED[self.state]:
            raise RuntimeError(f"worker {self.worker.name}: {self.state.name} -> {state.name} is not allowed")
        self.state, self.since_mono_s = state, time.monotonic()

    def failing_s(self, now_mono_s: float) -> float:
        """How long it has failed without progress; 0.0 also when it has run for long since: it may have no work."""
        since_s = self.failing_since_mono_s
        if since_s is None or self.worker.progress_count > self.progress_seen:
            return 0.0
        runs_well = self.state is WorkerState.RUNNING and now_mono_s - self.since_mono_s >= _RUNS_WELL_S
        return 0.0 if runs_well or self.state is WorkerState.STOPPED else now_mono_s - since_s


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a worker's thread tells the supervisor when it ends; ``error`` is None after a normal return."""

    supervised: _Supervised
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What others may know of a worker."""

    name: str
    state: WorkerState
    beat_age_s: float
    progress_count: int
    last_error: str
    failing_s: float = 0.0  # how long it has failed again and again without progress
    thread_id: int | None = None  # the kernel's id of its thread; None when there is none
    silence_limit_s: float | None = None  # that of the worker; None also for one that is being given up


class Supervisor:
    """Runs in the main thread; ``tick`` restarts what is due. ``add`` and ``retire`` may be called from any thread.

    Failures of the RetryError branch (network, venue) are retried for ever with a capped delay. Any other
    exception is a bug or a broken machine: after ``fatal_after`` of them in a row without progress the worker
    is FATAL, and the daemon should end with a failure, so that systemd starts it afresh.
    """

    def __init__(self, *, policy: BackoffPolicy | None = None, fatal_after: int = 5) -> None:
        self._policy = policy or BackoffPolicy()
        self._fatal_after = fatal_after
        self._lock = threading.Lock()  # guards the replacement of _workers, and _stopping
        self._workers: list[_Supervised] = []  # never changed, only replaced: whoever reads it needs no lock
        self._stopping = False
        self.on_bug: Callable[[str, str], None] = _nobody_to_tell
        """Told, by the thread that ticks, of every worker that ended by a bug: its name, and the error in words."""
        self._ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()

    def add(self, worker: Worker, *, stage: int = 0, policy: BackoffPolicy | None = None) -> None:
        """Start ``worker``. On stop, lower stages end first (producers before the consumers they feed).

        After ``stop`` has begun nothing is started any more. A worker that is here already stays as it is: whoever
        failed in the midst of adding it may do so again.
        """
        supervised = _Supervised(worker, stage, Backoff(policy or self._policy))
        with self._lock:
            if self._stopping or any(one.worker is worker for one in self._workers):
                return
            self._workers = [*self._workers, supervised]
            self._start(supervised, "worker.started", attempt=0)

    def retire(self, worker: Worker) -> None:
        """End ``worker`` for good, without waiting for it; unknown workers are no error."""
        for supervised in self._workers:
            if supervised.worker is worker:
                supervised.retired = True
                supervised.stop.set()

    def tick(self, now_mono_s: float) -> None:
        """Take in what has ended and restart what is due."""
        # looked for before the queue is read: what such a thread had to say is in it by now
        gone = [s for s in self._workers if s.thread is not None and not s.thread.is_alive()]
        while True:
            try:
                self._on_ended(self._ended.get_nowait(), now_mono_s)
            except queue.Empty:
                break
        for supervised in gone:
            if supervised.state is WorkerState.RUNNING:
                error = RuntimeError("its thread ended without a word")
                self._on_ended(_Ended(supervised, error), now_mono_s)
        for supervised in self._workers:
            if supervised.state is WorkerState.BACKOFF:
                if supervised.retired:
                    supervised.move_to(WorkerState.STOPPED)
                elif now_mono_s >= supervised.restart_at_mono_s:
                    self._start(supervised, "worker.restarted", attempt=supervised.backoff.attempt)
        if any(s.retired and s.state is WorkerState.STOPPED for s in self._workers):
            with self._lock:
                self._workers = [s for s in self._workers if not (s.retired and s.state is WorkerState.STOPPED)]

    @property
    def fatal(self) -> WorkerStatus | None:
        """The first worker that is FATAL, if any."""
        return next((s for s in self.statuses() if s.state is WorkerState.FATAL), None)

    def statuses(self) -> list[WorkerStatus]:
        now = time.monotonic()
        return [
            WorkerStatus(
                s.worker.name,
                s.state,
                now - s.worker.beat_mono_s,
                s.worker.progress_count,
                s.last_error,
                s.failing_s(now),
                s.thread.native_id if s.thread is not None and s.thread.is_alive() else None,
                None if s.retired else s.worker.silence_limit_s,
            )
            for s in self._workers
        ]

    def stop(self, deadline: Deadline) -> list[str]:
        """End all workers, stage by stage; returns the names of those that did not end in time.

        A stage gets an even share of the time that is left, so that one that hangs (a connect into the void) leaves
        the later ones time to drain and flush; what a stage does not need, the later ones may use.
        """
        with self._lock:
            self._stopping = True
        late: list[str] = []
        stages = sorted({s.stage for s in self._workers})
        for index, stage in enumerate(stages):
            share = Deadline(deadline.remaining_s() / (len(stages) - index))
            members = [s for s in self._workers if s.stage == stage]
            for supervised in members:
                supervised.worker.end_by = share
                supervised.stop.set()
            for supervised in members:
                if supervised.thread is not None:
                    supervised.thread.join(share.remaining_s())
                    if supervised.thread.is_alive():
                        late.append(supervised.worker.name)
        return late

    def _start(self, supervised: _Supervised, event: str, *, attempt: int) -> None:
        supervised.move_to(WorkerState.RUNNING)
        supervised.progress_seen = supervised.worker.progress_count
        supervised.worker.beat()  # the last one may be as old as the delay before this restart
        # daemon threads: one that hangs past the deadline of a stop must not keep the process alive
        thread = threading.Thread(target=self._guard, args=(supervised,), name=supervised.worker.name, daemon=True)
        supervised.thread = None  # until it lives: one that does not has ended
        log.info(event, worker=supervised.worker.name, attempt=attempt)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread for us now, which may pass
            self._ended.put(_Ended(supervised, error))
        else:
            supervised.thread = thread

    def _guard(self, supervised: _Supervised) -> None:
        """The one place where a worker's exception ends up; it runs in the worker's thread."""
        error: BaseException | None = None
        try:
            supervised.worker.run(supervised.stop)
            if not supervised.stop.is_set():
                error = RuntimeError("returned although nobody asked it to stop")
        except BaseException as caught:  # a library that wants to exit ends its own thread alone
            error = caught
        self._ended.put(_Ended(supervised, error))

    def _on_ended(self, ended: _Ended, now_mono_s: float) -> None:
        supervised, error = ended.supervised, ended.error
        worker = supervised.worker
        if error is None or supervised.stop.is_set():
            supervised.move_to(WorkerState.STOPPED)
            # a connection that breaks while it is being given up is no news
            if error is not None and not (supervised.retired and isinstance(error, RetryError)):
                log.error("worker.failed", worker=worker.name, attempt=0, delay_s=None, error=_text(error))
            return
        if worker.progress_count > supervised.progress_seen:
            supervised.backoff.reset()
            supervised.failures_without_progress = 0
            supervised.failing_since_mono_s = None
        supervised.failures_without_progress += 1
        if supervised.failing_since_mono_s is None or supervised.failing_s(now_mono_s) == 0.0:
            supervised.failing_since_mono_s = now_mono_s
        supervised.last_error = _text(error)
        expected = isinstance(error, RetryError)
        if not expected:
            self.on_bug(worker.name, supervised.last_error)
        if not expected and supervised.failures_without_progress >= self._fatal_after:
            # RUNNING -> FATAL: a bug does not heal by looping
            supervised.move_to(WorkerState.FATAL)
            log.critical(
                "worker.fatal",
                worker=worker.name,
                attempt=supervised.failures_without_progress,
                error=supervised.last_error,
                exc_info=error,
            )
            return
        delay_s = supervised.backoff.next_delay_s()
        if isinstance(error, RetryError):
            delay_s = max(delay_s, error.retry_after_s)
        supervised.restart_at_mono_s = now_mono_s + delay_s
        supervised.move_to(WorkerState.BACKOFF)
        log.warning(
            "worker.failed",
            worker=worker.name,
            attempt=supervised.backoff.attempt,
            delay_s=round(delay_s, 3),
            error=supervised.last_error,
            exc_info=None if expected else error,
        )


def _nobody_to_tell(worker: str, error: str) -> None:
    """Until somebody wants to know."""


def _text(error: BaseException) -> str:
    name = type(error).__name__
    return f"{name}: {error}" if str(error) else name


__all__: list[str] = ["Supervisor", "WorkerState", "WorkerStatus"]
