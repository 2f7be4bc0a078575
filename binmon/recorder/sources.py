"""Where the reader finds rows: finished files, and the segments that are still being written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from binmon.messages import BookEvent, BookEventKind, Floats
from binmon.recorder.finishing import SymbolPlan, rows_of
from binmon.recorder.frames import read_data
from binmon.recorder.layout import BookFile, date_of
from binmon.recorder.merging import merged_from
from binmon.recorder.rows import BookChain, BookRow
from binmon.recorder.tables import BOOK_SCHEMA, LEVEL_COLUMNS, book_table, integers

UNREADABLE = (pa.ArrowException, msgspec.MsgspecError, OSError, ValueError, KeyError, TypeError)
"""What reading a damaged file raises, by where the damage lies."""
_BATCH_BYTES = 16_000_000
_KEY_COLUMNS = ["receive_time", "update_id", "epoch"]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of rows in their order: receive times in ns, update ids, epochs; three parallel arrays."""

    receive_ns: npt.NDArray[np.int64]
    update_id: npt.NDArray[np.int64]
    epoch: npt.NDArray[np.int64]


class Source(Protocol):
    """Rows of one symbol and one UTC date, from one file or segment, in their order."""

    venue: str
    symbol: str
    date: str
    stem: str
    path: Path

    def size(self) -> int:
        """Bytes on disk."""

    def keys(self) -> Keys:
        """The keys of all rows; books are not read."""

    def origins(self) -> list[tuple[str, int]]:
        """Stem and rows of the segments that the rows come from, in order; one of all rows unless files were merged."""

    def tables(self) -> Iterator[pa.Table]:
        """The rows as tables of ``BOOK_SCHEMA``, some megabytes at a time."""

    def find(self, at_ns: int | None, update_id: int | None) -> BookRow | None:
        """The newest row not after a receive time and not above an update id; None when all are newer."""


class _FinishedFile:
    """A file of the dataset, whatever its format."""

    def __init__(self, file: BookFile) -> None:
        self.venue, self.symbol, self.date, self.stem, self.path = (
            file.venue,
            file.symbol,
            file.date,
            file.stem,
            file.path,
        )

    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


class ParquetSource(_FinishedFile):
    """A finished Parquet file."""

    def keys(self) -> Keys:
        """The keys of all rows; books are not read."""
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            table = file.read(columns=_KEY_COLUMNS)
        return Keys(*(integers(table, name) for name in _KEY_COLUMNS))

    def origins(self) -> list[tuple[str, int]]:
        """Stem and rows of the segments that the rows come from, as the file's metadata says."""
        with pq.ParquetFile(self.path) as file:
            found = merged_from({key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()})
            return found or [(self.stem, file.metadata.num_rows)]

    def tables(self) -> Iterator[pa.Table]:
        """One table a row group."""
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group).replace_schema_metadata(None)

    def find(self, at_ns: int | None, update_id: int | None) -> BookRow | None:
        """The newest row not after a receive time and not above an update id; None when all are newer."""
        keys = self.keys()
        fitting = np.ones(len(keys.receive_ns), np.bool_)
        if at_ns is not None:
            fitting &= keys.receive_ns <= at_ns
        if update_id is not None:
            fitting &= keys.update_id <= update_id
        positions = np.flatnonzero(fitting)
        if not len(positions):
            return None
        position = int(positions[-1])
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if position < rows:
                    return row_at(file.read_row_group(group), position)
                position -= rows
        return None


class _RowSource(ABC):
    """What is read row by row: ``rows`` gives them in order."""

    stem: str

    @abstractmethod
    def keys(self) -> Keys:
        """The keys of all rows."""

    def origins(self) -> list[tuple[str, int]]:
        """All rows as of one segment: merged lines do not say where they come from."""
        return [(self.stem, len(self.keys().update_id))]

    @abstractmethod
    def rows(self) -> Iterator[BookRow]:
        """The rows in order."""

    def tables(self) -> Iterator[pa.Table]:
        """The rows as tables of ``BOOK_SCHEMA``, some megabytes at a time."""
        batch: list[BookRow] = []
        size = 0
        for row in self.rows():
            batch.append(row)
            size += 16 * (len(row.bid_price) + len(row.ask_price)) + 64
            if size >= _BATCH_BYTES:
                yield book_table(batch)
                batch, size = [], 0
        if batch:
            yield book_table(batch)

    def find(self, at_ns: int | None, update_id: int | None) -> BookRow | None:
        """The newest row not after a receive time and not above an update id; None when all are newer."""
        newest: BookRow | None = None
        for row in self.rows():
            if (at_ns is None or row.receive_time_ns <= at_ns) and (update_id is None or row.update_id <= update_id):
                newest = row
        return newest


class JsonLinesSource(_FinishedFile, _RowSource):
    """A finished JSON lines file."""

    def keys(self) -> Keys:
        """The keys of all rows."""
        rows = [(row.receive_time_ns, row.update_id, row.epoch) for row in self.rows()]
        return _keys(rows)

    def rows(self) -> Iterator[BookRow]:
        """The rows in order."""
        with self.path.open("rb") as file:
            for line in file:
                found = msgspec.json.decode(line)
                yield BookRow(
                    time_ns(found["event_time"]) // 10**6,
                    time_ns(found["receive_time"]),
                    found["update_id"],
                    found["updates"],
                    found["epoch"],
                    found["bid_known_to"],
                    found["ask_known_to"],
                    *(np.array(found[name], np.float64) for name in LEVEL_COLUMNS),
                )


class SegmentSource(_RowSource):
    """The rows of one symbol and date in a segment that is not finished; ``file`` stays open meanwhile."""

    def __init__(
        self, file: BinaryIO, path: Path, stem: str, venue: str, symbol: str, date: str, plan: SymbolPlan
    ) -> None:
        self.venue, self.symbol, self.date, self.stem, self.path = venue, symbol, date, stem, path
        self._file, self._plan = file, plan

    def size(self) -> int:
        """Bytes of its frames."""
        return sum(frame.data_bytes for frame in self._plan.frames if date_of(frame.head.first_ns) == self.date)

    def keys(self) -> Keys:
        """The keys of all rows; books are not rebuilt."""
        decompressor = zstandard.ZstdDecompressor()
        rows: list[tuple[int, int, int]] = []
        for frame in self._plan.frames:
            if date_of(frame.head.first_ns) == self.date:
                rows += BookChain.keys(read_data(self._file, frame, decompressor) or b"")
        return _keys(rows)

    def rows(self) -> Iterator[BookRow]:
        """The rows in order; those that cannot be rebuilt are left out."""
        for row in rows_of(self._file, self._plan.frames, BookChain(), zstandard.ZstdDecompressor()):
            if date_of(row.receive_time_ns) == self.date:
                yield row


def joined(keys: list[Keys]) -> Keys:
    """The keys of several sources of one symbol in the order of epoch and update id; a source stays together."""
    filled = sorted((key for key in keys if len(key.update_id)), key=lambda key: (key.epoch[0], key.update_id[0]))
    if not filled:
        return _keys([])
    return Keys(
        *(np.concatenate([getattr(key, name) for key in filled]) for name in ("receive_ns", "update_id", "epoch"))
    )


def covered(keys: Keys, renewed: Sequence[int] = ()) -> float:
    """The share of the time from the first to the last row that does not lie between two epochs.

    ``renewed`` are the update ids at which a book was renewed beside the live one: there an epoch ends and nothing is
    missing.
    """
    steps_ns = np.diff(keys.receive_ns)
    between = np.diff(keys.epoch) != 0
    at = np.array(sorted(renewed), np.int64)
    if len(at):
        next_renewal = at.searchsorted(keys.update_id[:-1])
        between &= ~((next_renewal < len(at)) & (at[np.minimum(next_renewal, len(at) - 1)] < keys.update_id[1:]))
    between_ns = int(np.maximum(steps_ns[between], 0).sum())
    whole_ns = int(keys.receive_ns.max() - keys.receive_ns.min())
    return max(0.0, 1.0 - between_ns / whole_ns) if whole_ns else 1.0


def row_at(table: pa.Table, position: int) -> BookRow:
    """One row of a table of ``BOOK_SCHEMA``."""
    cut = table.slice(position, 1)
    event_time_ms, receive_time_ns, update_id, updates, epoch = (
        int(integers(cut, name)[0]) for name in ("event_time", "receive_time", "update_id", "updates", "epoch")
    )
    bid_known_to, ask_known_to = (cut.column(name)[0].as_py() for name in ("bid_known_to", "ask_known_to"))
    sides: list[Floats] = [cut.column(name)[0].values.to_numpy(zero_copy_only=False) for name in LEVEL_COLUMNS]
    return BookRow(event_time_ms, receive_time_ns, update_id, updates, epoch, bid_known_to, ask_known_to, *sides)


def time_ns(text: str) -> int:
    """Nanoseconds since the epoch of a time that this package has written."""
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))


def read_events(path: Path) -> list[BookEvent]:
    """The events of one finished file."""
    found: list[dict[str, Any]]
    if path.suffix == ".parquet":
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        times = integers(table, "time").tolist()
        found = [row | {"time": time} for row, time in zip(table.drop(["time"]).to_pylist(), times, strict=True)]
    else:
        with path.open("rb") as lines:
            found = [msgspec.json.decode(line) for line in lines]
        found = [row | {"time": time_ns(row["time"])} for row in found]
    return [
        BookEvent(
            row["time"],
            row["venue"],
            row["symbol"],
            BookEventKind(row["kind"]),
            row["from_update_id"],
            row["to_update_id"],
            row["detail"],
        )
        for row in found
    ]


def empty_table() -> pa.Table:
    """No rows, all columns."""
    return BOOK_SCHEMA.empty_table()


def _keys(rows: list[tuple[int, int, int]]) -> Keys:
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Keys(columns[:, 0], columns[:, 1], columns[:, 2])
