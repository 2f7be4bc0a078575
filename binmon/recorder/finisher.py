"""Turns closed segments into the dataset, and recovers what a crash left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog
import zstandard

from binmon.core.channel import Channel
from binmon.core.deadline import Deadline
from binmon.core.worker import Worker
from binmon.messages import BookEvent
from binmon.recorder.files import BookFilePart, write_events
from binmon.recorder.frames import FrameKind, FrameRef, SegmentScan, read_data, scan
from binmon.recorder.layout import (
    BOOK_EVENTS,
    FORMATS,
    book_directory,
    date_of,
    event_directory,
    newest_dates,
    partitions,
)
from binmon.recorder.rows import BookChain, BookRow
from binmon.recorder.segment import (
    SCHEMA_VERSION,
    SEGMENT_ENDING,
    SEGMENTS,
    SegmentHeader,
    lock,
    read_header,
    segment_paths,
    segment_stem,
    sync_directory,
)
from binmon.recorder.tables import RowGroup

log = structlog.get_logger("binmon.recorder")

_LOOK_S = 0.2
_READ_BUFFER = 1 << 20


@dataclass(slots=True)
class Finished:
    """What became of one segment. ``complete`` is False when it was interrupted and has to be done again."""

    complete: bool = False
    files: int = 0
    rows: int = 0
    bytes: int = 0
    rows_lost: int = 0


@dataclass(slots=True)
class SymbolPlan:
    """One symbol's frames in order, and for each date the name its file gets."""

    frames: list[FrameRef] = field(default_factory=list)
    last_epochs: dict[str, int] = field(default_factory=dict)


class SegmentFinisher(Worker):
    """Makes the dataset's files from every segment that nobody writes to any more.

    Paths come over the channel; besides, the directory is looked through at the start (after a crash) and every
    ``look_every_s`` (a path that found no room, a disk that was full). On stop it finishes what is queued for at most
    ``finish_on_stop_s``; what is left is done at the next start. A failing disk is logged once and tried again.
    """

    def __init__(
        self,
        directory: Path,
        channel: Channel[Path],
        *,
        format: str = "parquet",
        finish_on_stop_s: float = 3.0,
        look_every_s: float = 30.0,
        name: str = "segment-finisher",
    ) -> None:
        super().__init__(name)
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
        self.rows_written = self.rows_lost = self.files_written = self.bytes_written = 0
        self._directory, self._channel, self._format = directory, channel, format
        self._finish_on_stop_s, self._look_every_s = finish_on_stop_s, look_every_s
        self._failing = False

    def run(self, stop: threading.Event) -> None:
        """Finish segments until ``stop``, then what is queued within the budget."""
        give_up = _GiveUp(stop, self._finish_on_stop_s, self.beat)
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
        while not give_up() and (path := self._channel.take(0)) is not None:
            self._finish(path, give_up)

    def _finish(self, path: Path, give_up: Callable[[], bool]) -> None:
        if give_up():
            return
        try:
            done = finish_segment(path, self._directory, self._format, give_up)
        except OSError as error:
            if not self._failing:
                log.error("recorder.failed", path=str(error.filename or path), error=f"{type(error).__name__}: {error}")
            self._failing = True
            return
        if done is None:
            return
        if self._failing:
            self._failing = False
            log.info("recorder.resumed", path=str(path), rows=done.rows, rows_lost=done.rows_lost)
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


class _GiveUp:
    """Says when to stop working: some time after the stop event was first seen set."""

    def __init__(self, stop: threading.Event, budget_s: float, beat: Callable[[], None]) -> None:
        self._stop, self._budget_s, self._beat = stop, budget_s, beat
        self._deadline: Deadline | None = None

    def __call__(self) -> bool:
        self._beat()
        if self._deadline is None:
            if not self._stop.is_set():
                return False
            self._deadline = Deadline(self._budget_s)
        return self._deadline.passed


def recover(directory: Path) -> list[Path]:
    """The segments that nobody writes to, oldest first, each cut back to its last whole frame.

    Logs ``recorder.recovered`` for each that was not closed properly or is damaged, and removes files that were left
    half written. Live segments, of this or another process, are not touched.
    """
    closed: list[Path] = []
    for path in segment_paths(directory):
        try:
            with path.open("r+b", buffering=_READ_BUFFER) as file:
                if not lock(file):
                    continue
                _cut_torn_tail(path, file)
        except FileNotFoundError:
            continue  # finished meanwhile
        except OSError as error:
            log.error("recorder.failed", path=str(path), error=f"{type(error).__name__}: {error}")
            continue
        closed.append(path)
    _remove_half_written(directory)
    return closed


def finish_segment(
    path: Path, directory: Path, file_format: str, give_up: Callable[[], bool] = lambda: False
) -> Finished | None:
    """Make the dataset's files from one closed segment and delete it; None when it is live or gone.

    Names depend on the segment's content alone, so doing it again after a crash overwrites. Raises OSError; the
    segment is then still there.
    """
    try:
        file = path.open("rb", buffering=_READ_BUFFER)
    except FileNotFoundError:
        return None
    with file:
        if not lock(file):
            return None
        found = scan(file)
        header = read_header(file, found)
        steps = _steps(header)
        done = Finished(rows_lost=found.rows_lost)
        touched: set[Path] = set()
        stem = segment_stem(path)
        decompressor = zstandard.ZstdDecompressor()
        spare: list[RowGroup] = []
        for (venue, symbol), plan in plans_of(found).items():
            if give_up():
                return done
            metadata = _metadata(header) | {"venue": venue, "symbol": symbol} | steps.get((venue, symbol), {})
            names = {
                date: book_directory(directory, venue, symbol, date) / f"{stem}-e{epoch}.{file_format}"
                for date, epoch in plan.last_epochs.items()
            }
            chain = BookChain()
            _write_books(names, file_format, metadata, rows_of(file, plan.frames, chain, decompressor), done, spare)
            done.rows_lost += chain.rows_lost
            touched.update(name.parent for name in names.values())
        _write_events(file, found, directory, stem, file_format, header, done, touched)
        for parent in touched:
            if parent.is_dir():
                sync_directory(parent)  # the new names must last before the segment goes
        path.unlink(missing_ok=True)
        done.complete = True
        return done


def rows_of(
    file: BinaryIO, frames: list[FrameRef], chain: BookChain, decompressor: zstandard.ZstdDecompressor
) -> Iterator[BookRow]:
    """The rows of one symbol's frames; what cannot be read is counted in ``chain.rows_lost``."""
    for frame in frames:
        data = read_data(file, frame, decompressor)
        if data is None:
            chain.rows_lost += frame.head.rows
            continue
        yield from chain.read(data)


def events_of(file: BinaryIO, found: SegmentScan) -> list[BookEvent]:
    """The book events of a segment, in order."""
    decompressor = zstandard.ZstdDecompressor()
    events: list[BookEvent] = []
    for frame in found.frames:
        if frame.head.kind is FrameKind.EVENTS:
            data = read_data(file, frame, decompressor)
            if data is not None:
                events += msgspec.json.decode(data, type=list[BookEvent])
    return events


def plans_of(found: SegmentScan) -> dict[tuple[str, str], SymbolPlan]:
    """What a segment holds, by venue and symbol."""
    plans: dict[tuple[str, str], SymbolPlan] = {}
    for frame in found.frames:
        head = frame.head
        if head.kind is FrameKind.BOOKS:
            plan = plans.setdefault((head.venue, head.symbol), SymbolPlan())
            plan.frames.append(frame)
            date = date_of(head.first_ns)
            plan.last_epochs[date] = max(head.last_epoch, plan.last_epochs.get(date, head.last_epoch))
    return plans


def _write_books(
    names: dict[str, Path],
    file_format: str,
    metadata: dict[str, str],
    rows: Iterator[BookRow],
    done: Finished,
    spare: list[RowGroup],
) -> None:
    parts: dict[str, BookFilePart] = {}
    try:
        for row in rows:
            date = date_of(row.receive_time_ns)
            part = parts.get(date)
            if part is None:
                part = parts[date] = BookFilePart(names[date], file_format, metadata, spare)
            part.add(row)
        while parts:
            date = next(iter(parts))
            done.bytes += parts[date].finish()
            part = parts.pop(date)
            done.files += 1
            done.rows += part.rows
            _remove_other_format(part.path, file_format)
    except BaseException:
        for part in parts.values():
            part.discard()
        raise


def _write_events(
    file: BinaryIO,
    found: SegmentScan,
    directory: Path,
    stem: str,
    file_format: str,
    header: SegmentHeader | None,
    done: Finished,
    touched: set[Path],
) -> None:
    by_date: dict[str, list[BookEvent]] = {}
    for event in events_of(file, found):
        by_date.setdefault(date_of(event.time_ns), []).append(event)
    for date, events in by_date.items():
        path = event_directory(directory, date) / f"{stem}.{file_format}"
        done.bytes += write_events(path, file_format, events, _metadata(header))
        done.files += 1
        _remove_other_format(path, file_format)
        touched.add(path.parent)


def _remove_other_format(path: Path, file_format: str) -> None:
    """A crash and a changed format between two attempts must not leave the same rows twice."""
    for other in FORMATS:
        if other != file_format:
            path.with_suffix(f".{other}").unlink(missing_ok=True)


def _metadata(header: SegmentHeader | None) -> dict[str, str]:
    if header is None:
        return {"schema_version": str(SCHEMA_VERSION)}
    offset = header.clock_offset_ms
    return {
        "schema_version": str(SCHEMA_VERSION),
        "binmon_version": header.version,
        "config_hash": header.config_hash,
        "clock_offset_ms": "" if offset is None else repr(offset),
    }


def _steps(header: SegmentHeader | None) -> dict[tuple[str, str], dict[str, str]]:
    if header is None:
        return {}
    return {(venue, symbol): {"tick_size": tick, "lot_size": lot} for venue, symbol, tick, lot in header.steps}


def _cut_torn_tail(path: Path, file: BinaryIO) -> None:
    found = scan(file)
    if found.closed and not found.damaged_bytes:
        return
    torn = found.torn_bytes
    if torn:
        file.truncate(found.end)
    log.warning(
        "recorder.recovered",
        path=str(path),
        rows=found.rows,
        bytes=found.end,
        rows_lost=found.rows_lost,
        bytes_cut=torn,
        bytes_damaged=found.damaged_bytes - torn,
    )


def _remove_half_written(directory: Path) -> None:
    """Only the newest days are looked at: a half-written file is as young as the segment it was made from."""
    live = {segment_stem(path) for path in segment_paths(directory) if _is_live(path)}
    parents = [path for *_, path in newest_dates(directory)]
    parents += [path for _, path in partitions(directory / BOOK_EVENTS, "date")[-2:]]
    for parent in parents:
        for path in parent.glob(".*.tmp"):
            if not any(path.name.startswith(f".{stem}") for stem in live):
                path.unlink(missing_ok=True)
    for path in (directory / SEGMENTS).glob(f"*{SEGMENT_ENDING}.tmp"):
        if not _is_live(path):
            path.unlink(missing_ok=True)


def _is_live(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return not lock(file)
    except FileNotFoundError:
        return False
