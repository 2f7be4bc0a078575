"""Writes the files of the dataset: hidden while they are written, complete and on disk when they get their name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
import pyarrow.parquet as pq

from binmon.messages import BookEvent
from binmon.recorder.layout import temporary_path
from binmon.recorder.rows import BookRow
from binmon.recorder.tables import BOOK_SCHEMA, EVENT_SCHEMA, RowGroup, event_table

# Full-depth rows, 5,000 levels a side, 100 a group, decoding left out (rows/s, bytes a row):
#   PLAIN zstd 3 5,100 and 5,500; zstd 1 5,500 and 7,100; dictionary zstd 3 3,100 and 7,800; BYTE_STREAM_SPLIT zstd 1
#   4,500 and 10,700. PLAIN with pages of 1 MiB instead of one page a column: a third larger. Consecutive books are
#   nearly equal, so what helps is many whole rows in one compressor window.
PARQUET_OPTIONS = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "data_page_size": 64 << 20,
    "write_page_checksum": True,
}
EVENT_OPTIONS = {"compression": "zstd"}
# what 100 rows of 5,000 levels a side take: larger groups compress no better, and readers hold one in memory
GROUP_BYTES = 16_000_000
GROUP_ROWS = 10_000


class BookFilePart:
    """One dataset file of one symbol and day; rows are written a group at a time."""

    def __init__(self, path: Path, file_format: str, metadata: dict[str, str], spare: list[RowGroup]) -> None:
        """``path`` is the final one; memory for groups is taken from ``spare`` and given back. Raises OSError."""
        self.path, self.rows = path, 0
        self._format = file_format
        self._file = _open(path)
        self._spare = spare
        self._group = spare.pop() if spare else RowGroup()
        self._parquet: Any = None
        if file_format == "parquet":
            schema = BOOK_SCHEMA.with_metadata(metadata)
            self._parquet = pq.ParquetWriter(self._file, schema, **PARQUET_OPTIONS)

    def add(self, row: BookRow) -> None:
        """Append a row. Raises OSError."""
        self.rows += 1
        if self._parquet is None:
            self._file.write(book_line(row))
            return
        self._group.add(row)
        if self._group.bytes >= GROUP_BYTES or len(self._group) >= GROUP_ROWS:
            self._write_group()

    def finish(self) -> int:
        """Complete, fsync, rename; the size in bytes. Raises OSError."""
        if self._parquet is not None:
            self._write_group()
            self._parquet.close()
        self._spare.append(self._group)
        return _complete(self._file, self.path)

    def discard(self) -> None:
        """Remove what was written."""
        _discard(self._file, self.path)

    def _write_group(self) -> None:
        if len(self._group):
            self._parquet.write_table(self._group.table(), row_group_size=len(self._group))
            self._group.clear()


def write_events(path: Path, file_format: str, events: Sequence[BookEvent], metadata: dict[str, str]) -> int:
    """One file of book events; its size in bytes. Raises OSError."""

    def write(file: BinaryIO) -> None:
        if file_format == "parquet":
            with pq.ParquetWriter(file, EVENT_SCHEMA.with_metadata(metadata), **EVENT_OPTIONS) as writer:
                writer.write_table(event_table(events))
        else:
            file.writelines(_event_line(event) for event in events)

    return write_whole(path, write)


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> int:
    """A file that ``write`` fills: hidden until it is complete and on disk; its size in bytes. Raises OSError."""
    file = _open(path)
    try:
        write(file)
        return _complete(file, path)
    except BaseException:
        _discard(file, path)
        raise


def book_line(row: BookRow) -> bytes:
    """A row as one JSON object: the columns' names, times as RFC 3339 UTC, numbers with the shortest exact digits."""
    return (
        msgspec.json.encode(
            {
                "event_time": rfc3339(row.event_time_ms * 10**6, "ms"),
                "receive_time": rfc3339(row.receive_time_ns, "ns"),
                "update_id": row.update_id,
                "updates": row.updates,
                "epoch": row.epoch,
                "bid_known_to": row.bid_known_to,
                "ask_known_to": row.ask_known_to,
                "bid_price": row.bid_price.tolist(),
                "bid_quantity": row.bid_quantity.tolist(),
                "ask_price": row.ask_price.tolist(),
                "ask_quantity": row.ask_quantity.tolist(),
            }
        )
        + b"\n"
    )


def rfc3339(time_ns: int, unit: Literal["ms", "ns"]) -> str:
    """``2026-01-02T03:04:05.678Z`` with the digits of ``unit``."""
    value = np.datetime64(time_ns, "ns") if unit == "ns" else np.datetime64(time_ns // 10**6, "ms")
    return f"{np.datetime_as_string(value)}Z"


def _event_line(event: BookEvent) -> bytes:
    return (
        msgspec.json.encode(
            {
                "time": rfc3339(event.time_ns, "ns"),
                "venue": event.venue,
                "symbol": event.symbol,
                "kind": str(event.kind),
                "from_update_id": event.from_update_id,
                "to_update_id": event.to_update_id,
                "detail": event.detail,
            }
        )
        + b"\n"
    )


def _open(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return temporary_path(path).open("wb")


def _complete(file: BinaryIO, path: Path) -> int:
    file.flush()
    os.fsync(file.fileno())
    size = file.tell()
    file.close()
    temporary_path(path).replace(path)
    return size


def _discard(file: BinaryIO, path: Path) -> None:
    # closing flushes what a full disk has just refused, and refuses again; the file goes away in any case
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        temporary_path(path).unlink(missing_ok=True)
