"""Where things lie below ``recorder.directory``.

::

    segments/<stem>.segment                                              rows not yet in the dataset
    books/venue=V/symbol=S/date=YYYY-MM-DD/<stem>-e<epoch>.parquet       the dataset
    book_events/date=YYYY-MM-DD/<stem>.parquet                           its seams
    evidence/venue=V/symbol=S/<UTC stamp>-<update id>.json.gz            what showed a book to be wrong
    .work/                                                               directories on their way in or out

``<stem>`` names the segment a file was made from, or the newest of those that were merged into it; ``<epoch>`` is the
newest epoch in it. Files being written begin with a dot and end in ``.tmp``: neither globs nor directory readers see
them. ``.work`` lies outside the datasets, so that not even a recursive glob over one of them sees a row twice.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from binmon.recorder.frames import FrameKind, scan
from binmon.recorder.segment import segment_paths

BOOKS = "books"
BOOK_EVENTS = "book_events"
EVIDENCE = "evidence"
WORK = ".work"
FORMATS = ("parquet", "jsonl")
DAY_NS = 86_400 * 10**9
_SAFE = re.compile(r"[A-Za-z0-9_.\-]")
_FILE = re.compile(r"(?P<stem>.+)-e(?P<epoch>-?\d+)\.(?P<format>parquet|jsonl)")
_EVENT_FILE = re.compile(r"(?P<stem>.+)\.(?P<format>parquet|jsonl)")
_NEWEST_DATES = 2  # a clock that was set back may have written to the day before


@dataclass(frozen=True, slots=True)
class BookFile:
    """One finished file of the dataset; ``date`` is YYYY-MM-DD (UTC, of the receive time)."""

    venue: str
    symbol: str
    date: str
    stem: str
    last_epoch: int
    format: str
    path: Path


def component(text: str) -> str:
    """``text`` as (part of) one name in a path: unsafe ASCII becomes ``%XX``, which hive readers decode."""
    return "".join(
        character if ord(character) > 127 or _SAFE.match(character) else f"%{ord(character):02X}" for character in text
    )


def date_of(time_ns: int) -> str:
    """The UTC date, YYYY-MM-DD."""
    return _date(time_ns // DAY_NS)


@functools.lru_cache(maxsize=64)
def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def book_directory(directory: Path, venue: str, symbol: str, date: str) -> Path:
    """The partition of one symbol and day."""
    return directory / BOOKS / f"venue={component(venue)}" / f"symbol={component(symbol)}" / f"date={date}"


def event_directory(directory: Path, date: str) -> Path:
    """The partition of one day's events."""
    return directory / BOOK_EVENTS / f"date={date}"


def temporary_path(path: Path) -> Path:
    """What a file is called while it is written."""
    return path.with_name(f".{path.name}.tmp")


def partitions(parent: Path, key: str) -> list[tuple[str, Path]]:
    """The ``key=value`` directories in ``parent`` with their decoded values, sorted; none when there is no parent."""
    prefix = f"{key}="
    try:
        with os.scandir(parent) as entries:
            found = [(unquote(e.name[len(prefix) :]), Path(e.path)) for e in entries if e.name.startswith(prefix)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found)


def book_files(
    directory: Path,
    *,
    venue: str | None = None,
    symbol: str | None = None,
    first_date: str = "",
    last_date: str = "9999",
) -> Iterator[BookFile]:
    """The finished files, sorted by venue, symbol, date and stem; dates are inclusive."""
    for venue_name, venue_path in partitions(directory / BOOKS, "venue"):
        if venue is not None and venue != venue_name:
            continue
        for symbol_name, symbol_path in partitions(venue_path, "symbol"):
            if symbol is not None and symbol != symbol_name:
                continue
            for date, date_path in partitions(symbol_path, "date"):
                if first_date <= date <= last_date:
                    yield from _files_of(venue_name, symbol_name, date, date_path)


@dataclass(frozen=True, slots=True)
class EventFile:
    """One finished file of book events; ``date`` is YYYY-MM-DD (UTC)."""

    date: str
    stem: str
    format: str
    path: Path


def files_in(venue: str, symbol: str, date: str, path: Path) -> list[BookFile]:
    """The finished files of one partition, sorted by stem."""
    return list(_files_of(venue, symbol, date, path))


def event_files_in(date: str, path: Path) -> list[EventFile]:
    """The finished event files of one day's partition, sorted by stem."""
    found: list[EventFile] = []
    for name in _names(path):
        match = _EVENT_FILE.fullmatch(name)
        if match is not None and not name.startswith("."):
            found.append(EventFile(date, match["stem"], match["format"], path / name))
    return found


def event_files(directory: Path) -> list[tuple[str, Path]]:
    """(stem, path) of the finished event files."""
    return [
        (file.stem, file.path)
        for date, path in partitions(directory / BOOK_EVENTS, "date")
        for file in event_files_in(date, path)
    ]


def last_epochs(directory: Path) -> dict[tuple[str, str], int]:
    """The newest epoch on disk of each (venue, symbol), so that epochs go on growing over restarts.

    From file names and from the heads of leftover segments alone: no file of the dataset is opened.
    """
    epochs: dict[tuple[str, str], int] = {}
    for path in segment_paths(directory):
        try:
            with path.open("rb") as file:
                frames = scan(file, check_data=False).frames
        except FileNotFoundError:
            continue  # finished meanwhile
        for frame in frames:
            if frame.head.kind is FrameKind.BOOKS:
                key = (frame.head.venue, frame.head.symbol)
                epochs[key] = max(frame.head.last_epoch, epochs.get(key, frame.head.last_epoch))
    for venue, symbol, date, path in newest_dates(directory):
        for found in _files_of(venue, symbol, date, path):
            key = (venue, symbol)
            epochs[key] = max(found.last_epoch, epochs.get(key, found.last_epoch))
    return epochs


def newest_dates(directory: Path) -> Iterator[tuple[str, str, str, Path]]:
    """(venue, symbol, date, path) of the newest days of each symbol."""
    for venue, venue_path in partitions(directory / BOOKS, "venue"):
        for symbol, symbol_path in partitions(venue_path, "symbol"):
            for date, path in partitions(symbol_path, "date")[-_NEWEST_DATES:]:
                yield venue, symbol, date, path


def _files_of(venue: str, symbol: str, date: str, path: Path) -> Iterator[BookFile]:
    for name in _names(path):
        match = _FILE.fullmatch(name)
        if match is not None and not name.startswith("."):
            yield BookFile(venue, symbol, date, match["stem"], int(match["epoch"]), match["format"], path / name)


def _names(path: Path) -> list[str]:
    try:
        return sorted(found.name for found in path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
