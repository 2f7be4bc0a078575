"""Tells when a file was saved: a machine that is told how the file looks, and when.

A file is taken when it has looked the same for one look after it changed, so that one that is still being written is
left alone. Editors either write into the file or put another one in its place; both show in its stamp.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 1.0

Stamp = tuple[int, int, int, int]
"""Device, inode, time of the last change (nanoseconds) and size of a file."""


def stamp_of(path: Path) -> Stamp | None:
    """How the file looks now; None when it is not there."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class FileWatch:
    """Call ``due`` as often as you like, and ``taken`` right before the file is read. Belongs to one thread."""

    def __init__(self, look: Callable[[], Stamp | None]) -> None:
        self._look = look
        self._taken = self._seen = look()
        self._next_s = 0.0

    def taken(self) -> None:
        """The file is read now, whoever asked for it."""
        self._taken = self._seen = self._look()

    def due(self, now_s: float) -> bool:
        """Whether the file has changed since it was taken, and seems to be whole. ``now_s`` is monotonic."""
        if now_s < self._next_s:
            return False
        self._next_s = now_s + LOOK_EVERY_S
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._taken:
            return False
        # an empty file is all defaults to whoever asks for it by name; here it is one that was just opened for writing
        return self._seen is None or self._seen[3] > 0
