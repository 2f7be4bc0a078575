"""Makes the dataset's files from one closed segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from binmon.messages import BookEvent
from binmon.recorder.exchange import adding
from binmon.recorder.files import BookFilePart, write_events
from binmon.recorder.frames import FrameKind, FrameRef, SegmentScan, read_data, scan
from binmon.recorder.layout import FORMATS, book_directory, date_of, event_directory
from binmon.recorder.pacing import no_pace
from binmon.recorder.rows import BookChain, BookRow
from binmon.recorder.segment import FileMetadata, lock, read_headers, segment_stem, sync_directory
from binmon.recorder.tables import RowGroup

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


def finish_segment(
    path: Path,
    directory: Path,
    file_format: str,
    give_up: Callable[[], bool] = lambda: False,
    pace: Callable[[], None] = no_pace,
) -> Finished | None:
    """Make the dataset's files from one closed segment and delete it; None when it is live or gone.

    Names depend on the segment's content alone, so doing it again after a crash overwrites. Raises OSError; the
    segment is then still there. None, too, while another process rearranges the dataset: to be tried again. ``pace`` is called at
    every row.
    """
    try:
        file = path.open("rb", buffering=_READ_BUFFER)
    except FileNotFoundError:
        return None
    with file:
        if not lock(file):
            return None
        with adding(directory) as held:
            return _finish(file, path, directory, file_format, give_up, pace) if held else None


def _finish(
    file: BinaryIO,
    path: Path,
    directory: Path,
    file_format: str,
    give_up: Callable[[], bool],
    pace: Callable[[], None],
) -> Finished:
    found = scan(file, pace=pace)
    facts = FileMetadata(read_headers(file, found))
    done = Finished(rows_lost=found.rows_lost)
    touched: set[Path] = set()
    stem = segment_stem(path)
    decompressor = zstandard.ZstdDecompressor()
    spare: list[RowGroup] = []
    for (venue, symbol), plan in plans_of(found, pace).items():
        if give_up():
            return done
        metadata = facts.of_symbol(venue, symbol)
        names = {
            date: book_directory(directory, venue, symbol, date) / f"{stem}-e{epoch}.{file_format}"
            for date, epoch in plan.last_epochs.items()
        }
        chain = BookChain()
        _write_books(names, file_format, metadata, rows_of(file, plan.frames, chain, decompressor), done, spare, pace)
        done.rows_lost += chain.rows_lost
        touched.update(name.parent for name in names.values())
    _write_events(file, found, directory, stem, file_format, facts.of_events(), done, touched)
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


def plans_of(found: SegmentScan, pace: Callable[[], None] = no_pace) -> dict[tuple[str, str], SymbolPlan]:
    """What a segment holds, by venue and symbol. ``pace`` is called at every frame."""
    plans: dict[tuple[str, str], SymbolPlan] = {}
    for frame in found.frames:
        pace()
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
    pace: Callable[[], None],
) -> None:
    parts: dict[str, BookFilePart] = {}
    try:
        for row in rows:
            pace()
            date = date_of(row.receive_time_ns)
            part = parts.get(date)
            if part is None:
                part = parts[date] = BookFilePart(names[date], file_format, metadata, spare)
            part.add(row)
        while parts:
            date = next(iter(parts))
            pace()
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
    metadata: dict[str, str],
    done: Finished,
    touched: set[Path],
) -> None:
    by_date: dict[str, list[BookEvent]] = {}
    for event in events_of(file, found):
        by_date.setdefault(date_of(event.time_ns), []).append(event)
    for date, events in by_date.items():
        path = event_directory(directory, date) / f"{stem}.{file_format}"
        done.bytes += write_events(path, file_format, events, metadata)
        done.files += 1
        _remove_other_format(path, file_format)
        touched.add(path.parent)


def _remove_other_format(path: Path, file_format: str) -> None:
    """A crash and a changed format between two attempts must not leave the same rows twice."""
    for other in FORMATS:
        if other != file_format:
            path.with_suffix(f".{other}").unlink(missing_ok=True)
