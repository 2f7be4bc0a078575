"""Reads the recordings: finished files and, up to their last whole frame, the segments still being written.

>>> books = open_books("data")                                    # doctest: +SKIP
>>> books.book("BTCUSDT", at="2026-01-02T03:04:05Z").bid_price[:3]  # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import importlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from binmon.messages import BookEvent, BookEventKind, Floats
from binmon.recorder.finishing import events_of, plans_of
from binmon.recorder.frames import scan
from binmon.recorder.layout import BOOK_EVENTS, BOOKS, DAY_NS, BookFile, book_files, date_of, event_files
from binmon.recorder.listing import TRIES, listed, retried
from binmon.recorder.segment import SEGMENTS, segment_stem
from binmon.recorder.sources import (
    UNREADABLE,
    JsonLinesSource,
    ParquetSource,
    SegmentSource,
    Source,
    covered,
    empty_table,
    joined,
    read_events,
)
from binmon.recorder.tables import event_table, integers

RowKey = tuple[str, str, int, int]  # venue, symbol, epoch, update id

Time = datetime | str | int
"""A moment: a datetime (naive means UTC), ISO 8601 text (without offset: UTC), or nanoseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RecordedBook:
    """One recorded book, best level first on both sides; times are UTC since the epoch."""

    venue: str
    symbol: str
    event_time_ms: int
    receive_time_ns: int
    update_id: int
    updates: int
    epoch: int
    bid_known_to: float | None
    ask_known_to: float | None
    bid_price: Floats
    bid_quantity: Floats
    ask_price: Floats
    ask_quantity: Floats


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is recorded of one symbol on one UTC date. ``epochs`` counts different epochs; ``bytes`` on disk.

    ``covered`` is the share of the time from the first to the last row that lies inside an epoch, and not between the
    end of one and the begin of the next, except where the book was renewed beside the live one; ``gaps`` counts the day's
    gap events.
    """

    venue: str
    symbol: str
    date: str
    rows: int
    first_ns: int
    last_ns: int
    first_update_id: int
    last_update_id: int
    epochs: int
    files: int
    bytes: int
    covered: float
    gaps: int


class BookDataset:
    """The recordings below a directory, as of each call: a dataset that grows may be asked again and again.

    Rows come ordered by venue, symbol, epoch and update id. ``symbol`` selects one symbol, on every venue unless
    ``venue`` is given too; ``start`` and ``end`` are receive times, ``start`` included and ``end`` not.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def symbols(self) -> list[tuple[str, str]]:
        """(venue, symbol) of everything recorded, sorted."""
        with self.sources() as found:
            return sorted({(source.venue, source.symbol) for source in found})

    def arrow(
        self,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
    ) -> pa.Table:
        """The rows as an Arrow table: ``venue``, ``symbol``, then the columns of the files."""
        return pa.concat_tables([_named(empty_table(), "", ""), *self.tables(symbol, start, end, venue=venue)])

    def tables(
        self,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
    ) -> Iterator[pa.Table]:
        """The same as ``arrow``, some megabytes at a time: for what need not fit into memory."""
        start_ns = None if start is None else to_ns(start)
        end_ns = None if end is None else to_ns(end)
        first_date = "" if start_ns is None else date_of(start_ns)
        last_date = "9999" if end_ns is None else date_of(end_ns)
        last: RowKey | None = None
        resume: RowKey | None = None
        for tries_left in reversed(range(TRIES)):
            try:
                with self.sources(symbol, venue, first_date, last_date) as found:
                    for source in in_order(found):
                        for table in source.tables():
                            new = table if resume is None else _after(table, source, resume)
                            if len(new):
                                last = (source.venue, source.symbol, *_last_key(new))
                            yield _named(_between(new, start_ns, end_ns), source.venue, source.symbol)
                return
            except FileNotFoundError:  # merged into another file, or deleted, since it was listed
                if not tries_left:
                    raise
                resume = last

    def polars(
        self,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
    ) -> Any:
        """The same as a Polars data frame. Raises ImportError when Polars is not installed."""
        polars = _import("polars")
        return polars.from_arrow(self.arrow(symbol, start, end, venue=venue))

    def pandas(
        self,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
    ) -> Any:
        """The same as a pandas data frame. Raises ImportError when pandas is not installed."""
        _import("pandas")
        return self.arrow(symbol, start, end, venue=venue).to_pandas()

    def book(
        self, symbol: str, at: Time | None = None, update_id: int | None = None, *, venue: str | None = None
    ) -> RecordedBook:
        """The book as of a receive time or an update id (the newest row not after it), by default the newest.

        Raises LookupError when there is none, or when several venues have the symbol and none is named.
        """
        at_ns = None if at is None else to_ns(at)
        return retried(lambda: self._book(symbol, at_ns, update_id, venue))

    def _book(self, symbol: str, at_ns: int | None, update_id: int | None, venue: str | None) -> RecordedBook:
        last_date = "9999" if at_ns is None else date_of(at_ns)
        with self.sources(symbol, venue, last_date=last_date) as found:
            venues = sorted({source.venue for source in found})
            if len(venues) > 1:
                raise LookupError(f"{symbol} is recorded on {', '.join(venues)}: name one of them as venue")
            for date in sorted({source.date for source in found}, reverse=True):
                fitting = [
                    (row.epoch, row.update_id, source.venue, row)
                    for source in found
                    if source.date == date and (row := source.find(at_ns, update_id)) is not None
                ]
                if fitting:
                    _, _, row_venue, row = max(fitting, key=lambda candidate: candidate[:2])
                    return RecordedBook(
                        row_venue,
                        symbol,
                        row.event_time_ms,
                        row.receive_time_ns,
                        row.update_id,
                        row.updates,
                        row.epoch,
                        row.bid_known_to,
                        row.ask_known_to,
                        row.bid_price,
                        row.bid_quantity,
                        row.ask_price,
                        row.ask_quantity,
                    )
        if (names := {name for _, name in self.symbols()}) and symbol not in names:
            raise LookupError(f"no symbol {symbol} in {self.directory}; recorded are {_some(sorted(names))}")
        raise LookupError(f"no book of {symbol} as old as that in {self.directory}")

    def events(self) -> pa.Table:
        """The book events (gaps, resyncs, audits …) as an Arrow table, oldest first."""
        return event_table(self.event_rows())

    def event_rows(self, unreadable: Callable[[Path, Exception], None] | None = None) -> list[BookEvent]:
        """The book events, oldest first.

        A damaged file raises, or is told to ``unreadable`` and left out.
        """
        return retried(lambda: self._event_rows(unreadable))

    def _event_rows(self, unreadable: Callable[[Path, Exception], None] | None) -> list[BookEvent]:
        events: list[BookEvent] = []
        with listed(self.directory, lambda: event_files(self.directory)) as (finished, unfinished):
            stems = {stem for stem, _ in finished}
            for _, path in finished:
                try:
                    events += read_events(path)
                except FileNotFoundError:
                    raise
                except UNREADABLE as error:
                    if unreadable is None:
                        raise
                    unreadable(path, error)
            for path, file in unfinished:
                if segment_stem(path) not in stems:
                    events += events_of(file, scan(file, check_data=False))
        return sorted(events, key=lambda event: event.time_ns)

    def coverage(self, *, without: Collection[str] = ()) -> list[Coverage]:
        """What is recorded, by venue, symbol and UTC date, sorted. Files whose path is in ``without`` are left out."""
        return retried(lambda: self._coverage(without))

    def _coverage(self, without: Collection[str]) -> list[Coverage]:
        events = self.event_rows((lambda path, error: None) if without else None)
        gaps = Counter(
            (event.venue, event.symbol, date_of(event.time_ns)) for event in events if event.kind is BookEventKind.GAP
        )
        renewed: dict[tuple[str, str], list[int]] = {}
        for event in events:
            if event.kind is BookEventKind.RESYNC and event.from_update_id == event.to_update_id is not None:
                renewed.setdefault((event.venue, event.symbol), []).append(event.to_update_id)
        grouped: dict[tuple[str, str, str], list[Source]] = {}
        found_coverage: list[Coverage] = []
        with self.sources() as found:
            for source in found:
                if str(source.path) not in without:
                    grouped.setdefault((source.venue, source.symbol, source.date), []).append(source)
            for (venue, symbol, date), members in sorted(grouped.items()):
                keys = joined([source.keys() for source in members])
                if not len(keys.update_id):
                    continue
                found_coverage.append(
                    Coverage(
                        venue,
                        symbol,
                        date,
                        len(keys.update_id),
                        int(keys.receive_ns.min()),
                        int(keys.receive_ns.max()),
                        int(keys.update_id.min()),
                        int(keys.update_id.max()),
                        len(set(keys.epoch.tolist())),
                        len(members),
                        sum(source.size() for source in members),
                        covered(keys, renewed.get((venue, symbol), ())),
                        gaps[venue, symbol, date],
                    )
                )
        return found_coverage

    @contextlib.contextmanager
    def sources(
        self, symbol: str | None = None, venue: str | None = None, first_date: str = "", last_date: str = "9999"
    ) -> Iterator[list[Source]]:
        """The files and segments that hold the selected rows, by venue, symbol, date and age; dates inclusive.

        A file may be gone when it is read, merged into another or deleted: that is a FileNotFoundError, and ``retried``
        does the work again.
        """

        def files() -> list[BookFile]:
            return list(
                book_files(self.directory, venue=venue, symbol=symbol, first_date=first_date, last_date=last_date)
            )

        with listed(self.directory, files) as (finished, unfinished):
            found: list[Source] = [
                ParquetSource(file) if file.format == "parquet" else JsonLinesSource(file) for file in finished
            ]
            have = {(source.stem, source.venue, source.symbol, source.date) for source in found}
            for path, segment in unfinished:
                stem = segment_stem(path)
                for (name_venue, name), plan in plans_of(scan(segment, check_data=False)).items():
                    if (venue is None or venue == name_venue) and (symbol is None or symbol == name):
                        for date in plan.last_epochs:
                            if first_date <= date <= last_date and (stem, name_venue, name, date) not in have:
                                found.append(SegmentSource(segment, path, stem, name_venue, name, date, plan))
            yield sorted(found, key=lambda source: (source.venue, source.symbol, source.date, source.stem))


def open_books(directory: str | Path) -> BookDataset:
    """Open the recordings below ``directory`` (the ``recorder.directory`` of the configuration).

    Raises FileNotFoundError when no recordings are there.
    """
    path = Path(directory)
    if not any((path / part).is_dir() for part in (BOOKS, SEGMENTS, BOOK_EVENTS)):
        raise FileNotFoundError(f"no recordings in {path}: expected {BOOKS}/ or {SEGMENTS}/ in it")
    return BookDataset(path)


def in_order(sources: list[Source]) -> list[Source]:
    """By venue and symbol, then by epoch and update id of the first row: a clock may have been set back in between.

    Sources without rows are left out.
    """
    keyed = []
    for source in sources:
        keys = source.keys()
        if len(keys.update_id):
            keyed.append((source.venue, source.symbol, int(keys.epoch[0]), int(keys.update_id[0]), source))
    return [entry[-1] for entry in sorted(keyed, key=lambda entry: entry[:4])]


def to_ns(time: Time) -> int:
    """Nanoseconds since the epoch. Raises ValueError for text that is no time."""
    if isinstance(time, int):
        return time
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    # in integers: a float of seconds is exact to some hundred nanoseconds only
    return since.days * DAY_NS + since.seconds * 10**9 + since.microseconds * 1000 + getattr(time, "nanosecond", 0)


def _last_key(table: pa.Table) -> tuple[int, int]:
    return int(integers(table, "epoch")[-1]), int(integers(table, "update_id")[-1])


def _after(table: pa.Table, source: Source, key: RowKey) -> pa.Table:
    """The rows that come behind a row, in the order of venue, symbol, epoch and update id."""
    name = (source.venue, source.symbol)
    if name != key[:2]:
        return table if name > key[:2] else table.slice(0, 0)
    epoch, update_id = integers(table, "epoch"), integers(table, "update_id")
    behind = (epoch > key[2]) | ((epoch == key[2]) & (update_id > key[3]))
    return table.filter(pa.array(behind))


def _between(table: pa.Table, start_ns: int | None, end_ns: int | None) -> pa.Table:
    if start_ns is None and end_ns is None:
        return table
    times = integers(table, "receive_time")
    fitting = (times >= (start_ns if start_ns is not None else times.min(initial=0))) & (
        times < (end_ns if end_ns is not None else times.max(initial=0) + 1)
    )
    return table if fitting.all() else table.filter(pc.equal(pa.array(fitting), True))


def _named(table: pa.Table, venue: str, symbol: str) -> pa.Table:
    names = pa.array([symbol] * len(table), pa.string())
    venues = pa.array([venue] * len(table), pa.string())
    return table.add_column(0, "venue", venues).add_column(1, "symbol", names)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed; pip install {name}, or use .arrow()") from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
