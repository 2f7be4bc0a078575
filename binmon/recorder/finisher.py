"""The worker behind the recorder: turns closed segments into the dataset, and keeps the dataset in order."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from binmon.core import memory
from binmon.core.channel import Channel
from binmon.core.deadline import Deadline
from binmon.core.worker import Worker
from binmon.recorder.compaction import Compactor
from binmon.recorder.exchange import alone, clear_work
from binmon.recorder.finishing import Finished, finish_segment
from binmon.recorder.layout import FORMATS, date_of
from binmon.recorder.merging import CompactionPolicy
from binmon.recorder.pacing import Pacer, no_pace
from binmon.recorder.recovery import recover
from binmon.recorder.retention import Retention

__all__ = ["Finished", "SegmentFinisher", "finish_segment", "recover"]

log = structlog.get_logger("binmon.recorder")

_LOOK_S = 0.2
_TIDY_S = 0.3  # from the last step of a segment to the end of the thread


class SegmentFinisher(Worker):
    """Makes the dataset's files from every segment that nobody writes to any more.

    Paths come over the channel; besides, the directory is looked through at the start (after a crash) and every
    ``look_every_s`` (a path that found no room, a disk that was full). On stop it finishes what is queued for at most
    ``finish_on_stop_s``, or less where the stop waits less; what is left is done at the next start. A failing disk is
    logged once and tried again; ``refused`` is told each time that it refuses to take files, and None when it takes them
    again.

    While nothing is to be finished it merges small files (``compact_after_s`` after the start and then every
    ``compact_every_s``) and deletes what is older than ``keep_days`` days or above ``keep_gb`` GB of 10⁹ bytes (at the
    start, every ``retain_every_s``, and when one of the two, which may be set while it runs, changes; None: never).
    """

    silence_limit_s = 300.0  # a large file on a slow disk

    def __init__(
        self,
        directory: Path,
        channel: Channel[Path],
        *,
        format: str = "parquet",
        finish_on_stop_s: float = 3.0,
        look_every_s: float = 30.0,
        keep_days: int | None = None,
        keep_gb: float | None = None,
        retain_every_s: float = 300.0,
        compact_after_s: float = 60.0,
        compact_every_s: float = 300.0,
        compaction: CompactionPolicy | None = None,
        refused: Callable[[OSError | None], None] = lambda error: None,
        name: str = "segment-finisher",
    ) -> None:
        super().__init__(name)
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
        self.rows_written = self.rows_lost = self.files_written = self.bytes_written = 0
        self._directory, self._channel, self._format = directory, channel, format
        self._finish_on_stop_s, self._look_every_s = finish_on_stop_s, look_every_s
        self._failing, self._refused = False, refused
        self._house_failing: set[str] = set()
        self._pace: Callable[[], None] = no_pace
        self.keep_days, self.keep_gb = keep_days, keep_gb
        self._retain_every_s = retain_every_s
        self._retention = Retention(directory)
        self._retained: tuple[int | None, float | None] | None = None  # what the last retention was asked for
        self._next_retention_s = 0.0
        self._compactor = Compactor(
            directory, first_after_s=compact_after_s, every_s=compact_every_s, policy=compaction
        )

    def run(self, stop: threading.Event) -> None:
        """Finish segments until ``stop``, then what is queued within the budget."""
        give_up = _GiveUp(self, stop, self._finish_on_stop_s)
        self._pace = Pacer(stop, lambda: len(self._channel) > 1)
        _tame_arrow()
        self._guarded("clear", self._clear_work)
        for leftover in recover(self._directory):
            self._finish(leftover, give_up)
        next_look_s = time.monotonic() + self._look_every_s
        while not stop.is_set():
            self.beat()
            path = self._channel.take(_LOOK_S)
            if path is not None:
                self._finish(path, give_up)
            elif time.monotonic() >= next_look_s:
                for leftover in recover(self._directory):
                    self._finish(leftover, give_up)
                next_look_s = time.monotonic() + self._look_every_s
            else:
                self._keep_house(stop)
        while not give_up() and (path := self._channel.take(0)) is not None:
            self._finish(path, give_up)

    def _keep_house(self, stop: threading.Event) -> None:
        """What has time: delete what should go, and merge a little. A stop ends it at once."""

        def give_up() -> bool:
            self.beat()
            self._pace()
            return stop.is_set()

        now_s, today, asked = time.monotonic(), date_of(time.time_ns()), (self.keep_days, self.keep_gb)
        if now_s >= self._next_retention_s or asked != self._retained:
            self._next_retention_s, self._retained = now_s + self._retain_every_s, asked
            self._retention.keep_days, self._retention.keep_gb = asked
            self._guarded("retention", lambda: self._retention.apply(today, give_up))
        merged = self._guarded("compaction", lambda: self._compactor.turn(now_s, today, give_up))
        if merged:
            _give_back_memory()

    def _clear_work(self) -> None:
        if self._directory.is_dir():
            with alone(self._directory) as held:
                if held:  # else another process is at work there: what it has begun is not ours to delete
                    clear_work(self._directory)

    def _guarded(self, what: str, work: Callable[[], object]) -> object:
        """Do what can wait: a disk that refuses is told once and costs nothing but that."""
        try:
            done = work()
        except OSError as error:
            if what not in self._house_failing:
                path = error.filename or self._directory
                log.error("recorder.failed", path=str(path), error=f"{type(error).__name__}: {error}")
            self._house_failing.add(what)
            return None
        self._house_failing.discard(what)
        return done

    def _finish(self, path: Path, give_up: Callable[[], bool]) -> None:
        if give_up():
            return
        try:
            done = finish_segment(path, self._directory, self._format, give_up, self._pace)
        except OSError as error:
            if not self._failing:
                log.error("recorder.failed", path=str(error.filename or path), error=f"{type(error).__name__}: {error}")
            self._failing = True
            self._refused(error)
            return
        if done is None:
            return
        _give_back_memory()
        if self._failing:
            self._failing = False
            log.info("recorder.resumed", path=str(path), rows=done.rows, rows_lost=done.rows_lost)
            self._refused(None)
        self.files_written += done.files
        self.bytes_written += done.bytes
        self.rows_written += done.rows
        if done.complete:
            self.rows_lost += done.rows_lost
            log.info(
                "recorder.segment_finished",
                path=str(path),
                rows=done.rows,
                bytes=done.bytes,
                files=done.files,
                rows_lost=done.rows_lost,
            )
            self.progress()


def _tame_arrow() -> None:
    """Arrow reads files with threads of its own, also where it is told to use none: it starts up to eight as it goes, and
    each stays, with memory of its own. One must do, and it starts now: nobody shall take it for a leak later."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    content = io.BytesIO()
    pq.write_table(pa.table({"nothing": pa.array([0])}), content)
    with pq.ParquetFile(content) as file:
        file.read_row_group(0, use_threads=False)


def _give_back_memory() -> None:
    """What Arrow and the C library keep for the next time, tens of MB: that may be an hour from now."""
    pa.default_memory_pool().release_unused()
    memory.give_back()


class _GiveUp:
    """Says when to stop working: some time after the stop event was first seen set."""

    def __init__(self, worker: Worker, stop: threading.Event, budget_s: float) -> None:
        self._worker, self._stop, self._budget_s = worker, stop, budget_s
        self._deadline: Deadline | None = None

    def __call__(self) -> bool:
        self._worker.beat()
        if self._deadline is None:
            if not self._stop.is_set():
                return False
            waited_for = self._worker.end_by
            at_most_s = self._budget_s if waited_for is None else waited_for.remaining_s() - _TIDY_S
            self._deadline = Deadline(min(self._budget_s, at_most_s))
        return self._deadline.passed
