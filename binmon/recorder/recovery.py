"""What a crash left: segments are cut back to what is whole, half-written files go."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import structlog

from binmon.recorder.frames import scan
from binmon.recorder.layout import BOOK_EVENTS, newest_dates, partitions
from binmon.recorder.segment import SEGMENT_ENDING, SEGMENTS, lock, segment_paths, segment_stem

log = structlog.get_logger("binmon.recorder")

_READ_BUFFER = 1 << 20


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
    live = {segment_stem(path) for path in segment_paths(directory) if is_live(path)}
    parents = [path for *_, path in newest_dates(directory)]
    parents += [path for _, path in partitions(directory / BOOK_EVENTS, "date")[-2:]]
    for parent in parents:
        for path in parent.glob(".*.tmp"):
            if not any(path.name.startswith(f".{stem}") for stem in live):
                path.unlink(missing_ok=True)
    for path in (directory / SEGMENTS).glob(f"*{SEGMENT_ENDING}.tmp"):
        if not is_live(path):
            path.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Whether somebody, of this or another process, writes to a segment or reads it to finish it."""
    try:
        with path.open("rb") as file:
            return not lock(file)
    except FileNotFoundError:
        return False
