"""Makes few files of many: restarts and a short ``rotate_s`` leave a small file a symbol and segment.

A partition is replaced as a whole: beside the datasets a directory is built of the merged files and of hard links to the
others, made to last, and takes the partition's place in one step (``exchange``). So at every moment, also one at which
the process is killed, the partition holds every row once.

Nothing is merged while a segment waits to be finished. Its rows may belong between those of two files, and some of its
own files may be in place already: finishing it again, after a crash, must find them under their names to replace them.
A segment is deleted after its files are in place, and that deletion is made to last before anything is merged; so none
comes back whose rows are in a merged file. The live segment has rows that are newer than those of all files.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from binmon.recorder.exchange import alone, exchange, why_no_exchange, work_path
from binmon.recorder.layout import BOOK_EVENTS, BOOKS, WORK, event_files_in, files_in, partitions
from binmon.recorder.merging import (
    CompactionPolicy,
    GaveUp,
    Part,
    book_part,
    event_part,
    merge,
    merged_stem,
    runs_to_merge,
)
from binmon.recorder.recovery import is_live
from binmon.recorder.segment import SEGMENTS, segment_paths, sync_directory

log = structlog.get_logger("binmon.recorder")

_TURN_S = 0.05  # how long one turn may look for something to do
_LATER_DATES = 3  # after the first pass only the newest days can change
# what damaged files raise: such a partition is left as it is, for verification to tell
_DAMAGED = (pa.ArrowException, msgspec.MsgspecError, ValueError, KeyError, TypeError, IndexError)
Partition = tuple[str, str, str, Path]  # venue and symbol (both empty: events), date, where


class Compactor:
    """Looks through the dataset from time to time, a little a turn, and merges at most one partition a turn.

    Used by one thread. ``every_s`` and ``policy`` may be set while it runs.
    """

    def __init__(
        self,
        directory: Path,
        *,
        first_after_s: float = 60.0,
        every_s: float = 300.0,
        policy: CompactionPolicy | None = None,
    ) -> None:
        self.every_s = every_s
        self.policy = policy or CompactionPolicy()
        self._directory = directory
        self._next_pass_s = time.monotonic() + first_after_s
        self._pass: Iterator[Partition] | None = None
        self._passes = 0
        self._left_alone: set[Path] = set()
        self._supported: bool | None = None

    def turn(self, now_s: float, today: str, give_up: Callable[[], bool]) -> bool:
        """Do a little; True when a partition was merged. ``now_s`` is monotonic, ``today`` the UTC date.

        Gives up soon after ``give_up`` says so; nothing is then changed. Raises OSError, and goes on with the next pass.
        """
        if self._pass is None and now_s < self._next_pass_s:
            return False
        end_s = time.monotonic() + _TURN_S
        try:
            if self._pass is None:
                if not self._can():
                    self._next_pass_s = now_s + self.every_s
                    return False
                self._pass = self._partitions()
            while time.monotonic() < end_s and not give_up():
                partition = next(self._pass, None)
                if partition is None:
                    self._end_pass(now_s)
                    return False
                if self._compact(partition, today, give_up):
                    return True
        except OSError:
            self._end_pass(now_s)
            raise
        return False

    def _end_pass(self, now_s: float) -> None:
        self._pass, self._next_pass_s = None, now_s + self.every_s
        self._passes += 1

    def _can(self) -> bool:
        if self._supported is None and self._directory.is_dir():
            reason = why_no_exchange(self._directory)
            self._supported = reason is None
            if reason is not None:
                log.warning("recorder.not_compacted", path=str(self._directory), error=reason)
        return bool(self._supported)

    def _partitions(self) -> Iterator[Partition]:
        newest = slice(None) if self._passes == 0 else slice(-_LATER_DATES, None)
        for date, path in partitions(self._directory / BOOK_EVENTS, "date")[newest]:
            yield "", "", date, path
        for venue, venue_path in partitions(self._directory / BOOKS, "venue"):
            for symbol, symbol_path in partitions(venue_path, "symbol"):
                for date, path in partitions(symbol_path, "date")[newest]:
                    yield venue, symbol, date, path

    def _compact(self, partition: Partition, today: str, give_up: Callable[[], bool]) -> bool:
        *_, date, path = partition
        if path in self._left_alone or len(_candidates(partition)) < 2:
            return False
        try:
            with alone(self._directory) as held:
                if not held:
                    return False
                return compact_partition(
                    self._directory, partition, is_today=date >= today, policy=self.policy, give_up=give_up
                )
        except FileNotFoundError:
            return False  # somebody deleted it meanwhile
        except _DAMAGED as error:
            self._left_alone.add(path)
            log.warning("recorder.not_compacted", path=str(path), error=f"{type(error).__name__}: {error}")
            return False


def compact_partition(
    directory: Path,
    partition: Partition,
    *,
    is_today: bool,
    policy: CompactionPolicy,
    give_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Merge what should be merged in one partition; True when something was. For those who are ``alone``.

    Raises OSError, and pyarrow's or msgspec's errors for damaged files; the partition is then as it was.
    """
    path = partition[3]
    candidates = _candidates(partition)
    if not policy.worth_a_look([file.stat().st_size for _, file in candidates], is_today=is_today):
        return False
    if not all(is_live(segment) for segment in segment_paths(directory)):
        return False
    if any(entry.is_dir() for entry in path.iterdir()):
        return False  # not ours, and it cannot be linked
    describe = book_part if partition[1] else event_part
    parts = sorted((describe(stem, file) for stem, file in candidates), key=lambda part: (part.first, part.stem))
    runs = runs_to_merge(parts, is_today=is_today, policy=policy)
    if not runs:
        return False
    merging = sum(part.bytes for run in runs for part in run)
    space = os.statvfs(directory)
    if space.f_bavail * space.f_frsize < 2 * merging:
        return False  # the room that is left belongs to the recording
    if (directory / SEGMENTS).is_dir():
        sync_directory(directory / SEGMENTS)  # segments that are gone must stay gone, also after a power cut
    work = work_path(directory)
    work.mkdir(parents=True)
    try:
        written = [_merge_run(run, work, path, give_up) for run in runs]
        _link_others(path, work, {part.path.name for run in runs for part in run})
        work.chmod(stat.S_IMODE(path.stat().st_mode))
        sync_directory(work)
        if give_up():
            raise GaveUp
        exchange(path, work)
    except GaveUp:
        shutil.rmtree(work)
        return False
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    # the exchange must last before the old files go
    sync_directory(path.parent)
    sync_directory(directory / WORK)
    shutil.rmtree(work)
    for (target, rows, size), run in zip(written, runs, strict=True):
        log.info("recorder.compacted", path=str(target), files=len(run), rows=rows, bytes=size)
    return True


def _candidates(partition: Partition) -> list[tuple[str, Path]]:
    venue, symbol, date, path = partition
    if symbol:
        return [(file.stem, file.path) for file in files_in(venue, symbol, date, path)]
    return [(file.stem, file.path) for file in event_files_in(date, path)]


def _merge_run(run: list[Part], work: Path, path: Path, give_up: Callable[[], bool]) -> tuple[Path, int, int]:
    """Merge one run into ``work``: the path it is going to have, its rows and its bytes."""
    taken = {entry.name for entry in path.iterdir()}
    stem = merged_stem(run)
    epochs = [part.last_epoch for part in run if part.last_epoch is not None]
    while (name := run[-1].named(stem, max(epochs, default=None))) in taken:
        stem += "m"
    rows, size = merge(run, work / name, give_up)
    if rows != sum(part.rows for part in run):
        raise ValueError(f"{rows} rows were merged of {sum(part.rows for part in run)}")
    return path / name, rows, size


def _link_others(path: Path, work: Path, merged: set[str]) -> None:
    for entry in path.iterdir():
        # a half-written file is nobody's: those who write are not there while we are alone
        if entry.name not in merged and not (entry.name.startswith(".") and entry.name.endswith(".tmp")):
            os.link(entry, work / entry.name, follow_symlinks=False)
