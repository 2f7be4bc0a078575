"""Which files of a partition become one, and the writing of it: pure planning above, streaming below.

Row groups are streamed: memory holds about two of them, whatever the length of the day.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from binmon.recorder.files import EVENT_OPTIONS, GROUP_BYTES, GROUP_ROWS, PARQUET_OPTIONS
from binmon.recorder.tables import BOOK_SCHEMA, EVENT_SCHEMA, integers

MERGED_FROM = "merged_from"
"""Key of a merged file's metadata: JSON, a list with stem, rows and metadata of each file that it was made from."""
_ALIKE = ("schema_version", "venue", "symbol", "tick_size", "lot_size")
_COPY_BYTES = 1 << 20


class GaveUp(Exception):
    """The daemon stops: what was being written is of no use."""


@dataclass(frozen=True, slots=True)
class CompactionPolicy:
    """When files are merged. A day that is over becomes one file, unless it has more than ``whole_day_bytes``: then,
    and today, only files below ``small_bytes`` are merged, today once there are more than ``small_files_today``.
    """

    small_bytes: int = 32 << 20
    small_files_today: int = 8
    whole_day_bytes: int = 1 << 30

    def worth_a_look(self, sizes: Sequence[int], *, is_today: bool) -> bool:
        """Whether files of these sizes may be too many, before any of them is opened."""
        if is_today:
            return sum(size < self.small_bytes for size in sizes) > self.small_files_today
        return len(sizes) > 1


@dataclass(frozen=True, slots=True)
class Part:
    """One file that may be merged. ``first`` and ``last`` order its rows: epoch and update id of both ends.

    Only files with equal ``alike`` (format, symbol, steps) become one; ``metadata`` is without what Arrow adds.
    """

    stem: str
    path: Path
    bytes: int
    rows: int
    first: tuple[int | str, int]
    last: tuple[int | str, int]
    last_epoch: int | None  # None: a file of events
    alike: tuple[str, ...]
    metadata: dict[str, str]

    def named(self, stem: str, epoch: int | None) -> str:
        """The name of a file of the same kind."""
        return f"{stem}{self.path.suffix}" if epoch is None else f"{stem}-e{epoch}{self.path.suffix}"


def runs_to_merge(parts: Sequence[Part], *, is_today: bool, policy: CompactionPolicy) -> list[list[Part]]:
    """Runs of neighbours that should become one file each. ``parts`` are in order.

    Files that overlap, which no sound recording has, are not merged with each other: their rows would lose the order.
    """
    small = [part.bytes < policy.small_bytes for part in parts]
    if is_today:
        if sum(small) <= policy.small_files_today:
            return []
        fitting = small
    else:
        fitting = small if sum(part.bytes for part in parts) > policy.whole_day_bytes else [True] * len(parts)
    runs: list[list[Part]] = []
    before: Part | None = None
    for part, fits in zip(parts, fitting, strict=True):
        if not fits:
            before = None
            continue
        if before is not None and before.alike == part.alike and before.last < part.first:
            runs[-1].append(part)
        else:
            runs.append([part])
        before = part
    return [run for run in runs if len(run) > 1]


def merged_stem(run: Sequence[Part]) -> str:
    """The stem of the merged file: that of its newest part, made different.

    It must not be a part's own: a reader that listed the parts and then opens one must not get all of them.
    """
    return f"{run[-1].stem}m{len(run)}"


def book_part(stem: str, path: Path) -> Part:
    """Describe a file of books; only its ends are read. Raises OSError, and others for damaged files."""
    size = path.stat().st_size
    epoch = int(path.stem.rpartition("-e")[2])
    if path.suffix == ".jsonl":
        rows, first, last = _line_ends(path)
        ends = [(line["epoch"], line["update_id"]) for line in (first, last)]
        return Part(stem, path, size, rows, ends[0], ends[1], epoch, ("jsonl",), {})
    with pq.ParquetFile(path) as file:
        if not file.schema_arrow.equals(BOOK_SCHEMA) or not file.metadata.num_rows:
            raise ValueError("these are not the columns of the dataset")
        metadata = _metadata(file)
        first_row = _key(file, 0, 0)
        last_row = _key(file, file.num_row_groups - 1, -1)
        alike = ("parquet", *(metadata.get(key, "") for key in _ALIKE))
        return Part(stem, path, size, file.metadata.num_rows, first_row, last_row, epoch, alike, metadata)


def event_part(stem: str, path: Path) -> Part:
    """Describe a file of events; they are ordered by their names. Raises as ``book_part``."""
    size = path.stat().st_size
    ends = (stem, 0)
    if path.suffix == ".jsonl":
        return Part(stem, path, size, _line_ends(path)[0], ends, ends, None, ("jsonl",), {})
    with pq.ParquetFile(path) as file:
        if not file.schema_arrow.equals(EVENT_SCHEMA):
            raise ValueError("these are not the columns of the events")
        metadata = _metadata(file)
        alike = ("parquet", metadata.get("schema_version", ""))
        return Part(stem, path, size, file.metadata.num_rows, ends, ends, None, alike, metadata)


def merge(run: Sequence[Part], target: Path, give_up: Callable[[], bool]) -> tuple[int, int]:
    """Write the rows of ``run``, in order, as one file that is on disk when this returns: rows and bytes.

    Raises GaveUp, OSError, and pyarrow's errors for damaged files.
    """
    with target.open("xb") as file:
        if target.suffix == ".jsonl":
            rows = _concatenate(run, file, give_up)
        else:
            rows = _stream_groups(run, file, give_up)
        file.flush()
        os.fsync(file.fileno())
        return rows, file.tell()


def merged_from(metadata: dict[str, str]) -> list[tuple[str, int]]:
    """Stem and rows of the files that a merged file was made from, in order; none when it was not merged."""
    if MERGED_FROM not in metadata:
        return []
    return [(origin["stem"], int(origin["rows"])) for origin in msgspec.json.decode(metadata[MERGED_FROM])]


def _stream_groups(run: Sequence[Part], file: Any, give_up: Callable[[], bool]) -> int:
    events = run[0].last_epoch is None
    schema = (EVENT_SCHEMA if events else BOOK_SCHEMA).with_metadata(_merged_metadata(run))
    rows = 0
    with pq.ParquetWriter(file, schema, **(EVENT_OPTIONS if events else PARQUET_OPTIONS)) as writer:
        waiting: list[pa.Table] = []

        def write() -> None:
            if waiting:
                table = pa.concat_tables(waiting)
                writer.write_table(table, row_group_size=len(table))
                waiting.clear()

        for part in run:
            with pq.ParquetFile(part.path, page_checksum_verification=True, pre_buffer=False) as source:
                for number in range(source.num_row_groups):
                    if give_up():
                        raise GaveUp
                    # threads of Arrow's would keep memory of their own for good
                    table = source.read_row_group(number, use_threads=False).replace_schema_metadata(None)
                    held = sum(one.nbytes for one in waiting) + table.nbytes
                    if held > GROUP_BYTES or sum(map(len, waiting)) + len(table) > GROUP_ROWS:
                        write()
                    waiting.append(table)
                    rows += len(table)
        write()
    return rows


def _concatenate(run: Sequence[Part], file: Any, give_up: Callable[[], bool]) -> int:
    rows = 0
    for part in run:
        with part.path.open("rb") as source:
            while block := source.read(_COPY_BYTES):
                if give_up():
                    raise GaveUp
                rows += block.count(b"\n")
                file.write(block)
    return rows


def _merged_metadata(run: Sequence[Part]) -> dict[str, str]:
    """What the newest file says, and beside it, under MERGED_FROM, what each of them does."""
    merged: dict[str, str] = {}
    origins: list[dict[str, Any]] = []
    for part in run:
        merged |= part.metadata
        if MERGED_FROM in part.metadata:
            origins += msgspec.json.decode(part.metadata[MERGED_FROM])
        else:
            origins.append({"stem": part.stem, "rows": part.rows, **part.metadata})
    return merged | {MERGED_FROM: msgspec.json.encode(origins).decode()}


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    found = file.metadata.metadata or {}
    return {key.decode(): value.decode() for key, value in found.items() if key != b"ARROW:schema"}


def _key(file: pq.ParquetFile, group: int, position: int) -> tuple[int, int]:
    table = file.read_row_group(group, columns=["epoch", "update_id"], use_threads=False)
    return int(integers(table, "epoch")[position]), int(integers(table, "update_id")[position])


def _line_ends(path: Path) -> tuple[int, Any, Any]:
    """How many lines, and the first and the last of them."""
    rows, first, last = 0, b"", b""
    with path.open("rb") as file:
        for line in file:
            rows += 1
            first, last = first or line, line
    if not last.endswith(b"\n"):
        raise ValueError("the last line is not whole")
    return rows, msgspec.json.decode(first), msgspec.json.decode(last)
