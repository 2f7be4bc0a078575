"""Repeated lines: of one event about one subject so many are written in a stretch of time; how many more came is told at
its end, so that a lasting trouble neither fills the disk nor hides what else is said.

`RepeatLimit` is the machine, `RepeatFilter` what the threads that log ask.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Subject = tuple[tuple[str, str], ...]
"""What a line is about: names and values of the fields that say so."""

_MOST_SUBJECTS = 4096
_LONGEST_VALUE = 200
_NUMBERED = re.compile(r"\.\d+$")


@dataclass(frozen=True, slots=True)
class Kind:
    """Lines that are repetitions of each other. ``is_ours`` is False for what other packages log, where ``event`` is free
    text."""

    logger: str
    level: str
    event: str
    subject: Subject = ()
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Repeated:
    """``held_back`` lines of this kind were not written, within ``over_s`` seconds."""

    kind: Kind
    held_back: int
    over_s: float


class _Window:
    __slots__ = ("began_s", "count")

    def __init__(self, began_s: float) -> None:
        self.began_s, self.count = began_s, 0


class RepeatLimit:
    """Of each kind ``limit`` lines pass within ``window_s`` of the first; the next after that opens another window. A
    ``limit`` of 0 holds nothing back.

    ``now_s`` must never go back. Of more than ``most`` kinds at a time those beyond are counted by event alone, and what
    other packages log together, so that memory is bounded whatever is logged.
    """

    def __init__(self, limit: int, window_s: float, *, most: int = _MOST_SUBJECTS) -> None:
        self.limit, self.window_s = limit, window_s
        self._most = most
        self._windows: dict[Kind, _Window] = {}  # all equally long, so the first in it is the first to end

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, kind: Kind, now_s: float) -> bool:
        """Whether a line of ``kind`` may be written; ask for what is `due` before."""
        if not self.limit:
            return True
        window = self._windows.get(kind)
        if window is None and len(self._windows) >= self._most:
            kind = Kind(kind.logger, kind.level, kind.event) if kind.is_ours else Kind("", "warning", "", (), False)
            window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now_s)
        window.count += 1
        return window.count <= self.limit

    def due(self, now_s: float) -> list[Repeated]:
        """What was held back in the windows that have ended by now, the oldest first."""
        ended: list[Repeated] = []
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if now_s < window.began_s + self.window_s:
                break
            ended += self._closed(kind, self.window_s)
        return ended

    def flush(self, now_s: float) -> list[Repeated]:
        """What was held back until now in all windows, which end with this."""
        ended = self.due(now_s)
        for kind, window in list(self._windows.items()):
            ended += self._closed(kind, now_s - window.began_s)
        return ended

    def _closed(self, kind: Kind, over_s: float) -> Iterable[Repeated]:
        held_back = self._windows.pop(kind).count - self.limit
        return [Repeated(kind, held_back, over_s)] if held_back > 0 else []


class RepeatFilter:
    """A `RepeatLimit` that all threads ask. ``tell`` writes the line of a count; it is called in the thread that asks."""

    def __init__(self, tell: Callable[[Repeated], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._monotonic = tell, monotonic
        self._lock = threading.Lock()  # guards the two below; nothing else is taken while it is held
        self._limit = RepeatLimit(0, 1.0)
        self._held_back: dict[str, int] = {}

    @property
    def held_back(self) -> dict[str, int]:
        """Lines that were not written since the start, by event; those of other packages under ``other``."""
        with self._lock:
            return dict(self._held_back)

    def configure(self, limit: int, window_s: float) -> None:
        """Another limit from now on; when it changes, what the old one held back is told."""
        with self._lock:
            if (self._limit.limit, self._limit.window_s) == (limit, window_s):
                return
            ended = self._limit.flush(self._monotonic())
            self._limit = RepeatLimit(limit, window_s)
        self._told(ended)

    def admits(self, kind: Kind) -> bool:
        """Whether a line of ``kind`` is to be written; counts of windows that have ended are told first."""
        with self._lock:
            now_s = self._monotonic()
            ended = self._limit.due(now_s)
            admitted = self._limit.take(kind, now_s)
            if not admitted:
                label = kind.event if kind.is_ours else "other"
                self._held_back[label] = self._held_back.get(label, 0) + 1
        self._told(ended)
        return admitted

    def tick(self) -> None:
        """Tell the counts of windows that have ended; to be called about every second, or they wait for another line."""
        with self._lock:
            ended = self._limit.due(self._monotonic())
        self._told(ended)

    def flush(self) -> None:
        """Tell every count; at the end, so that none is lost."""
        with self._lock:
            ended = self._limit.flush(self._monotonic())
        self._told(ended)

    def _told(self, ended: list[Repeated]) -> None:
        for one in ended:
            self._tell(one)


def subject_of(event: Mapping[str, Any], fields: Iterable[str]) -> Subject:
    """What a line with these fields is about. The number of a connection or worker does not count: a flapping connection
    has another with every attempt."""
    found: list[tuple[str, str]] = []
    for name in fields:
        value = event.get(name)
        if value is not None:
            text = str(value)[:_LONGEST_VALUE]
            found.append((name, _NUMBERED.sub(".*", text) if name in ("connection", "worker") else text))
    return tuple(found)
