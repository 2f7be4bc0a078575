"""Deletes the oldest recordings: those older than some days, and those above some size. Whole UTC dates go at once.

Today's date never goes, nor one that lies ahead (a clock was set back); nor do segments, whose rows are not in the dataset.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import structlog

from binmon.recorder.evidence import evidence_date
from binmon.recorder.exchange import alone, take_out
from binmon.recorder.layout import BOOK_EVENTS, BOOKS, EVIDENCE, partitions

log = structlog.get_logger("binmon.recorder")

GB = 10**9


@dataclass(frozen=True, slots=True)
class DateBytes:
    """What is stored of one UTC date (YYYY-MM-DD), over all symbols."""

    date: str
    bytes: int


def too_old(stored: Iterable[DateBytes], today: str, keep_days: int | None) -> list[str]:
    """The dates more than ``keep_days`` days before ``today``, oldest first; None keeps all."""
    if keep_days is None:
        return []
    try:
        first_kept = (date.fromisoformat(today) - timedelta(days=keep_days)).isoformat()
    except OverflowError:
        return []  # more days than the calendar has
    return sorted(one.date for one in stored if one.date < min(first_kept, today))


def too_much(stored: Iterable[DateBytes], today: str, keep_bytes: float | None) -> list[str]:
    """The fewest oldest dates before ``today`` without which at most ``keep_bytes`` are left, oldest first.

    When all of them are not enough, all of them; None keeps all.
    """
    if keep_bytes is None:
        return []
    left = sorted(stored, key=lambda one: one.date)
    total = sum(one.bytes for one in left)
    gone: list[str] = []
    for one in left:
        if total <= keep_bytes or one.date >= today:
            break
        gone.append(one.date)
        total -= one.bytes
    return gone


def dates_to_delete(
    stored: Sequence[DateBytes], today: str, *, keep_days: int | None, keep_bytes: float | None
) -> dict[str, str]:
    """Which dates go, oldest first, each with the reason."""
    old = dict.fromkeys(too_old(stored, today, keep_days), f"older than {keep_days} days")
    left = [one for one in stored if one.date not in old]
    reason = "" if keep_bytes is None else f"more than {keep_bytes / GB:g} GB"
    return old | dict.fromkeys(too_much(left, today, keep_bytes), reason)


class Retention:
    """Looks at what is stored and deletes what should go. Used by one thread.

    ``keep_days`` and ``keep_gb`` (1 GB is 10⁹ bytes; None: never) are read at every ``apply``.
    """

    def __init__(self, directory: Path, *, keep_days: int | None = None, keep_gb: float | None = None) -> None:
        self.keep_days, self.keep_gb = keep_days, keep_gb
        self._directory = directory
        self._told = False
        self._sizes: dict[Path, tuple[int, int]] = {}  # of a partition: its time of change in ns, and its bytes

    def apply(self, today: str, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Delete what should go; False when another process keeps the dataset busy, or ``give_up`` said so.

        Raises OSError.
        """
        keep_days, keep_gb = self.keep_days, self.keep_gb
        if (keep_days is None and keep_gb is None) or not self._directory.is_dir():
            return True
        stored = self._stored(give_up)
        by_date: dict[str, int] = {}
        for date_text, _, size in stored:
            by_date[date_text] = by_date.get(date_text, 0) + size
        going = dates_to_delete(
            [DateBytes(*entry) for entry in by_date.items()],
            today,
            keep_days=keep_days,
            keep_bytes=None if keep_gb is None else keep_gb * GB,
        )
        if give_up():
            return False  # what was counted is not all there is
        kept = sum(size for date_text, size in by_date.items() if date_text not in going)
        self._tell_when_too_much(kept, keep_gb)
        if not going:
            return True
        with alone(self._directory) as held:
            if not held:
                return False
            for date_text, path, size in sorted(stored):
                if date_text in going:
                    if give_up():
                        return False
                    self._delete(path, size, going[date_text])
        return True

    def _tell_when_too_much(self, kept: int, keep_gb: float | None) -> None:
        """Once an excess: what may not be deleted is more than what may be kept."""
        too_much_now = keep_gb is not None and kept > keep_gb * GB
        if too_much_now and not self._told:
            log.warning(
                "recorder.over_size",
                path=str(self._directory),
                bytes=kept,
                limit=int((keep_gb or 0.0) * GB),
                reason="today's recordings alone are more, and they are never deleted",
            )
        self._told = too_much_now

    def _stored(self, give_up: Callable[[], bool]) -> list[tuple[str, Path, int]]:
        """Date, path and bytes of every partition and every piece of evidence."""
        found: list[tuple[str, Path, int]] = []
        parents = [self._directory / BOOK_EVENTS]
        for _, venue_path in partitions(self._directory / BOOKS, "venue"):
            parents += [path for _, path in partitions(venue_path, "symbol")]
        for parent in parents:
            if give_up():
                return found
            found += [(name, path, self._size(path)) for name, path in partitions(parent, "date") if _is_date(name)]
        for _, venue_path in partitions(self._directory / EVIDENCE, "venue"):
            for _, symbol_path in partitions(venue_path, "symbol"):
                for path in symbol_path.iterdir():
                    written = evidence_date(path.name)
                    if written is not None and _is_date(written):
                        with contextlib.suppress(FileNotFoundError):  # the recorder keeps a hundred only
                            found.append((written, path, path.stat().st_size))
        seen = {path for _, path, _ in found}
        self._sizes = {path: size for path, size in self._sizes.items() if path in seen}
        return found

    def _size(self, path: Path) -> int:
        """The bytes of a partition. Its files never change, so they are looked at only when one came or went."""
        try:
            changed_ns = path.stat().st_mtime_ns
            known = self._sizes.get(path)
            if known is None or known[0] != changed_ns:
                known = (changed_ns, sum(file.stat().st_size for file in path.iterdir()))
                self._sizes[path] = known
            return known[1]
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _delete(self, path: Path, size: int, reason: str) -> None:
        if path.is_dir():
            # out of the dataset in one step: no reader finds half a day
            shutil.rmtree(take_out(self._directory, path))
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # a symbol of which nothing is left; refused where something is
        else:
            path.unlink(missing_ok=True)
        log.info("recorder.deleted", path=str(path), bytes=size, reason=reason)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False  # somebody else's directory
