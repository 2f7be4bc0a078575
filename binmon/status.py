"""How the daemon is: read from its components when somebody asks, for the metrics page and for ``/healthz``.

Only public attributes are read, without a lock: a figure may be a moment old, and nobody who works is held up by
somebody who looks on.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from binmon.core.supervisor import WorkerState, WorkerStatus
from binmon.messages import Priority
from binmon.net.ledger import RateLedger, RateStatus
from binmon.telemetry.cardinality import SeriesChoice
from binmon.telemetry.histogram import DelayHistogram
from binmon.telemetry.metrics import DECLARED, Figure

NEVER_SYNCED_S = 600.0  # how long a book may take to be synced for the first time: a whole market takes two minutes
PATIENCE_S = 60.0  # how long a worker may fail, or a book that was synced be without, before it is a problem
_SYNCED = "synced"
_NAMED = 10  # symbols that a problem names; all of them stand under "books"

Health = tuple[bool, dict[str, Any]]
Section = tuple[list[str], dict[str, Any]]
"""What a part says of itself: its problems, and a JSON object."""


class HasStatuses(Protocol):
    """What is needed of the supervisor."""

    def statuses(self) -> Sequence[WorkerStatus]:
        """One entry a worker."""
        ...


class HasDepth(Protocol):
    """What is needed of a channel."""

    @property
    def name(self) -> str: ...
    @property
    def capacity(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    def __len__(self) -> int: ...


class HasValue(Protocol):
    """A state of a book: an enum whose ``value`` is its name in the log (``synced`` for a good one)."""

    @property
    def value(self) -> str: ...


class BookStatistics(Protocol):
    """What is needed of whoever keeps books. All of it may be asked in any thread, at any time."""

    @property
    def lag(self) -> DelayHistogram:
        """From the arrival of a frame to its updates being in the books."""
        ...

    @property
    def states(self) -> Mapping[str, HasValue]:
        """The state of each symbol's book; a copy."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Since the start: gaps, resyncs, audits_passed, audits_failed, audits_inconclusive, rotations, duplicates."""
        ...

    def connections(self) -> Mapping[str, str]:
        """The state of each connection by its name; a copy."""
        ...


class RecorderStatistics(Protocol):
    """What is needed of the recorder."""

    @property
    def rows_written(self) -> int: ...
    @property
    def rows_lost(self) -> int: ...
    @property
    def bytes_written(self) -> int: ...
    @property
    def failing(self) -> bool: ...


class FinisherStatistics(Protocol):
    """What is needed of the finisher: rows of crashed segments that could not be recovered."""

    @property
    def rows_lost(self) -> int: ...


@dataclass(frozen=True, slots=True)
class VenueParts:
    """What watches one venue. ``clock_offset_s`` gives the venue's clock minus ours, None while it is not known;
    ``resync_weight`` is the request weight of one book's snapshot at the configured depth."""

    ledger: RateLedger
    keeper: BookStatistics | None = None
    clock_offset_s: Callable[[], float | None] = lambda: None
    resync_weight: int = 0


@dataclass(frozen=True, slots=True)
class StatusParts:
    """Everything a `Status` looks at."""

    supervisor: HasStatuses
    version: str
    config_hash: str
    channels: Sequence[HasDepth] = ()
    venues: Mapping[str, VenueParts] = field(default_factory=dict)
    recorder: RecorderStatistics | None = None
    finisher: FinisherStatistics | None = None
    sections: Mapping[str, Callable[[], Section]] = field(default_factory=dict)
    per_symbol: int | tuple[str, ...] = 100


@dataclass(frozen=True, slots=True)
class WorkerTotal:
    """What the metrics page says of the workers of one label; ``cpu_s`` is None while none of them has a thread."""

    label: str
    up: bool
    beat_age_s: float
    progress: int
    cpu_s: float | None


class WorkerTotals:
    """Workers under labels that do not grow in number. Any thread may `take`.

    Sockets are replaced for ever, and each has a name of its own (``binance-market-1.7``): as labels these would be new
    series for ever. So all sockets of a group share one (``binance-market-1.*``). It is up when all are that have not
    been told to end; its beat is the oldest of theirs. Counters go on from where those that are gone have left off, for
    a sum over the present ones alone would fall with each replacement, which a rate takes for a restart.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._seen: dict[str, tuple[int, float]] = {}  # by worker, what was counted in: progress, processor seconds
        self._sums: dict[str, tuple[int, float]] = {}  # by label

    def take(self, statuses: Sequence[WorkerStatus]) -> list[WorkerTotal]:
        """Count in what is new since the last time. To be called about every second, as what a worker does between
        the last time and its end is not counted."""
        # while a worker is on its way out, one of the same name may have been started: the later one counts
        workers = {worker.name: worker for worker in statuses}
        groups: dict[str, list[WorkerStatus]] = {}
        for worker in workers.values():
            groups.setdefault(_label(worker.name), []).append(worker)
        with self._lock:
            self._seen = {name: seen for name, seen in self._seen.items() if name in workers}
            self._sums = {label: sums for label, sums in self._sums.items() if label in groups}
            return [self._total(label, members) for label, members in groups.items()]

    def _total(self, label: str, members: list[WorkerStatus]) -> WorkerTotal:
        progress, cpu_s = self._sums.get(label, (0, 0.0))
        has_thread = False
        for worker in members:
            seen, seen_cpu_s = self._seen.get(worker.name, (0, 0.0))
            now_cpu_s = thread_cpu_s(worker.thread_id)
            has_thread = has_thread or now_cpu_s is not None
            now_cpu_s = seen_cpu_s if now_cpu_s is None else now_cpu_s
            # less than before: another worker, or another thread, has begun at zero
            progress += worker.progress_count - (seen if worker.progress_count >= seen else 0)
            cpu_s += now_cpu_s - (seen_cpu_s if now_cpu_s >= seen_cpu_s else 0.0)
            self._seen[worker.name] = (worker.progress_count, now_cpu_s)
        self._sums[label] = (progress, cpu_s)
        present = [worker for worker in members if worker.state is not WorkerState.STOPPED]
        up = bool(present) and all(worker.state is WorkerState.RUNNING for worker in present)
        beat_age_s = max(worker.beat_age_s for worker in present or members)
        return WorkerTotal(label, up, beat_age_s, progress, cpu_s if has_thread else None)


def _label(name: str) -> str:
    """What the metrics page calls the worker of this name."""
    group, _, number = name.rpartition(".")
    return f"{group}.*" if group and number.isdigit() else name


class Status:
    """Any thread may ask. ``observe`` is to be called every second or so, as it is what knows since when a book is
    not synced; asking for the health observes, too."""

    def __init__(
        self,
        parts: StatusParts,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts, self._monotonic = parts, monotonic
        self._totals = WorkerTotals()
        self._series = SeriesChoice(parts.per_symbol)
        self._lock = threading.Lock()  # guards the two below
        self._were_synced: set[tuple[str, str]] = set()
        self._unsynced_since: dict[tuple[str, str], float] = {}

    def configured(self, config_hash: str, per_symbol: int | tuple[str, ...] | None = None) -> None:
        """Another configuration is in force; one thread may say so. ``per_symbol``: None leaves it."""
        if per_symbol is not None and per_symbol != self._parts.per_symbol:
            self._series = SeriesChoice(per_symbol)
            self._parts = replace(self._parts, per_symbol=per_symbol)
        self._parts = replace(self._parts, config_hash=config_hash)

    def observe(self) -> None:
        """Note which books are synced, and what the workers have counted."""
        self._totals.take(self._parts.supervisor.statuses())
        now_mono_s = self._monotonic()
        with self._lock:
            there = set()
            for venue, keeper in self._keepers():
                for symbol, state in keeper.states.items():
                    key = (venue, symbol)
                    there.add(key)
                    if state.value == _SYNCED:
                        self._were_synced.add(key)
                        self._unsynced_since.pop(key, None)
                    else:
                        # as if it had been lost so much later: one rule is enough for both
                        grace_s = 0.0 if key in self._were_synced else NEVER_SYNCED_S - PATIENCE_S
                        self._unsynced_since.setdefault(key, now_mono_s + grace_s)
            # symbols that a reload has taken away are nobody's trouble
            self._were_synced &= there
            for gone in self._unsynced_since.keys() - there:
                del self._unsynced_since[gone]

    # Metrics ------------------------------------------------------------------------------------------------------

    def figures(self) -> Iterator[Figure]:
        """Everything for the metrics page."""
        parts = self._parts
        yield _figure("binmon_build_info", 1, parts.version, parts.config_hash)
        for total in self._totals.take(parts.supervisor.statuses()):
            yield _figure("binmon_worker_up", total.up, total.label)
            yield _figure("binmon_worker_beat_age_seconds", total.beat_age_s, total.label)
            yield _figure("binmon_worker_progress_total", total.progress, total.label)
            if total.cpu_s is not None:
                yield _figure("binmon_worker_cpu_seconds_total", total.cpu_s, total.label)
        for channel in tuple(parts.channels):
            yield _figure("binmon_channel_depth", len(channel), channel.name)
            yield _figure("binmon_channel_capacity", channel.capacity, channel.name)
            yield _figure("binmon_channel_dropped_total", channel.dropped, channel.name)
        if parts.recorder is not None:
            yield _figure("binmon_recorder_rows_total", parts.recorder.rows_written)
            yield _figure("binmon_recorder_rows_lost_total", self._rows_lost())
            yield _figure("binmon_recorder_bytes_total", parts.recorder.bytes_written)
            yield _figure("binmon_recorder_failing", parts.recorder.failing)
        for venue, one in parts.venues.items():
            if one.keeper is not None:
                yield from _book_figures(venue, one.keeper)
                yield from _symbol_figures(venue, one.keeper, self._series)
            yield from self._rate_figures(venue, one)
            offset_s = one.clock_offset_s()
            if offset_s is not None:
                yield _figure("binmon_clock_offset_seconds", offset_s, venue)

    def _rate_figures(self, venue: str, one: VenueParts) -> Iterator[Figure]:
        now_s = one.ledger.clock()
        rate = one.ledger.status(now_s, now_mono_s=self._monotonic())
        yield _figure("binmon_rate_weight_used", rate.weight.used, venue)
        yield _figure("binmon_rate_weight_limit", rate.weight.limit, venue)
        for priority in Priority:
            yield _figure("binmon_rate_waiting", rate.waiting.get(priority, 0), venue, priority.name.lower())
        yield _figure("binmon_rate_banned_until_seconds", rate.ban_until_s, venue)
        yield _figure("binmon_rate_connects_used", rate.connects.used, venue)
        yield _figure("binmon_rate_connects_limit", rate.connects.limit, venue)
        if one.keeper is not None:
            forecast = one.ledger.forecast([one.resync_weight] * len(one.keeper.states), Priority.RESYNC, now_s)
            yield _figure("binmon_rate_full_resync_weight", forecast.weight, venue)
            yield _figure("binmon_rate_full_resync_seconds", forecast.seconds, venue)

    # Health -------------------------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Whether all is well, and a JSON object with what it was judged by; ``problems`` says what is not."""
        self.observe()
        workers = self._parts.supervisor.statuses()
        problems = [*_worker_problems(workers), *self._recorder_problems(), *self._book_problems()]
        venues = {name: self._venue_document(one) for name, one in self._parts.venues.items()}
        sections: dict[str, Any] = {}
        for name, ask in self._parts.sections.items():
            found, sections[name] = ask()
            problems += found
        document: dict[str, Any] = {
            "ok": not problems,
            "problems": problems,
            "version": self._parts.version,
            "config_hash": self._parts.config_hash,
            "workers": {worker.name: _worker_document(worker) for worker in workers},
            "channels": {
                one.name: {"depth": len(one), "capacity": one.capacity, "dropped": one.dropped}
                for one in tuple(self._parts.channels)
            },
            "recorder": self._recorder_document(),
            "venues": venues,
            **sections,
        }
        return not problems, document

    def _recorder_problems(self) -> list[str]:
        recorder = self._parts.recorder
        return ["the recording cannot be written"] if recorder is not None and recorder.failing else []

    def _book_problems(self) -> list[str]:
        now_mono_s = self._monotonic()
        with self._lock:
            late: dict[str, list[str]] = {}
            for (venue, symbol), since_s in sorted(self._unsynced_since.items()):
                if now_mono_s - since_s >= PATIENCE_S:
                    late.setdefault(venue, []).append(symbol)
        problems = []
        for venue, symbols in late.items():
            more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
            problems.append(f"{venue}: not synced for over a minute: {', '.join(symbols[:_NAMED])}{more}")
        return problems

    def _recorder_document(self) -> dict[str, Any] | None:
        recorder = self._parts.recorder
        if recorder is None:
            return None
        return {"failing": recorder.failing, "rows": recorder.rows_written, "rows_lost": self._rows_lost()}

    def _venue_document(self, one: VenueParts) -> dict[str, Any]:
        now_s = one.ledger.clock()
        offset_s, keeper = one.clock_offset_s(), one.keeper
        document: dict[str, Any] = {
            "clock": {"offset_ms": None if offset_s is None else round(offset_s * 1000, 3)},
            "rate": _rate_document(one.ledger.status(now_s, now_mono_s=self._monotonic()), now_s),
        }
        if keeper is None:
            return document
        states = {symbol: state.value for symbol, state in keeper.states.items()}
        forecast = one.ledger.forecast([one.resync_weight] * len(states), Priority.RESYNC, now_s)
        document["rate"]["full_resync"] = {
            "weight": forecast.weight,
            "share_of_minute": round(forecast.share_of_minute, 3),
            "seconds": round(forecast.seconds, 1) if math.isfinite(forecast.seconds) else None,
        }
        document["books"] = states
        document["book_counts"] = dict(Counter(states.values()))
        document["counters"] = dict(keeper.counters())
        document["connections"] = dict(keeper.connections())
        return document

    def _rows_lost(self) -> int:
        both = (self._parts.recorder, self._parts.finisher)
        return sum(one.rows_lost for one in both if one is not None)

    def _keepers(self) -> Iterator[tuple[str, BookStatistics]]:
        for venue, one in self._parts.venues.items():
            if one.keeper is not None:
                yield venue, one.keeper


def thread_cpu_s(thread_id: int | None) -> float | None:
    """Processor seconds of the thread with this kernel id; None when there is no such thread (any more).

    The clock's number is the kernel's own: ``pthread_getcpuclockid`` makes the same one, but reads memory of the
    thread for it, which is gone when the thread ends meanwhile.
    """
    if thread_id is None:
        return None
    try:
        return time.clock_gettime((~thread_id << 3) | 6)
    except OSError:
        return None


def _figure(name: str, value: float, *labels: str) -> Figure:
    return DECLARED[name].figure(float(value), *labels)


def _book_figures(venue: str, keeper: BookStatistics) -> Iterator[Figure]:
    for state, count in sorted(Counter(state.value for state in keeper.states.values()).items()):
        yield _figure("binmon_books", count, venue, state)
    for state, count in sorted(Counter(keeper.connections().values()).items()):
        yield _figure("binmon_stream_connections", count, venue, state)
    yield DECLARED["binmon_book_apply_lag_seconds"].figure(keeper.lag.snapshot(), venue)
    counters = keeper.counters()
    yield _figure("binmon_book_gaps_total", counters.get("gaps", 0), venue)
    yield _figure("binmon_book_resyncs_total", counters.get("resyncs", 0), venue)
    yield _figure("binmon_book_duplicates_total", counters.get("duplicates", 0), venue)
    yield _figure("binmon_stream_rotations_total", counters.get("rotations", 0), venue)
    for result in ("passed", "failed", "inconclusive"):
        yield _figure("binmon_book_audits_total", counters.get(f"audits_{result}", 0), venue, result)


def _symbol_figures(venue: str, keeper: BookStatistics, series: SeriesChoice) -> Iterator[Figure]:
    states = keeper.states
    chosen = series.of(venue, states)
    for symbol in chosen:
        yield _figure("binmon_book_synced", states[symbol].value == _SYNCED, venue, symbol)
    if states:
        yield _figure("binmon_books_without_series", len(states) - len(chosen), venue)


def _worker_problems(workers: Sequence[WorkerStatus]) -> Iterator[str]:
    for worker in workers:
        if worker.state is WorkerState.FATAL:
            yield f"worker {worker.name} is fatal: {worker.last_error}"
        elif worker.failing_s > PATIENCE_S:
            yield f"worker {worker.name} has failed for {worker.failing_s:.0f} s: {worker.last_error}"


def _worker_document(worker: WorkerStatus) -> dict[str, Any]:
    cpu_s = thread_cpu_s(worker.thread_id)
    return {
        "state": worker.state.value,
        "beat_age_s": round(worker.beat_age_s, 3),
        "progress": worker.progress_count,
        "failing_s": round(worker.failing_s, 1),
        "last_error": worker.last_error,
        "cpu_s": None if cpu_s is None else round(cpu_s, 3),
    }


def _rate_document(rate: RateStatus, now_s: float) -> dict[str, Any]:
    def usages(of: Mapping[str, Any]) -> dict[str, Any]:
        return {name: {"used": usage.used, "limit": usage.limit} for name, usage in of.items()}

    return {
        **usages({"weight": rate.weight, "connects": rate.connects}),
        "window_ends_in_s": round(rate.window_ends_in_s, 1),
        "in_flight": rate.in_flight,
        "blocked_for_s": round(max(0.0, rate.blocked_until_s - now_s), 1),
        "banned_for_s": round(max(0.0, rate.ban_until_s - now_s), 1),
        "orders": usages(rate.orders),
        "outgoing_messages": usages(rate.outgoing),
        "waiting": {priority.name.lower(): count for priority, count in rate.waiting.items()},
    }
