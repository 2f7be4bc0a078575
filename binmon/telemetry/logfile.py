"""The log's own file: whole lines, rotated by size, and never a reason for the daemon to end."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

_LOOK_EVERY_S = 1.0  # whether the file still is the one at its path
_ROTATE_AGAIN_S = 60.0  # after a rotation that failed
_QUIET_S = 60.0  # a disk that is full on and off is told of once in this time
_MODE = 0o666  # less the umask


def to_stderr(text: str) -> None:
    """One line on standard error, if there is any."""
    if sys.stderr is None:
        return
    # whoever cannot even be told is left alone: a log must not end the daemon
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"binmon: {text}\n")
        sys.stderr.flush()


class LogFile:
    """Appends lines to ``path``. Not for several threads at a time, nor for several processes on one path.

    A line that would make the file longer than ``rotate_bytes`` (None: never) goes into a new one: ``binmon.log`` becomes
    ``binmon.log.1``, that one ``.2`` and so on; of these ``keep_files`` are kept. A file that somebody else has moved away,
    deleted or cut is noticed within a second, and opened anew.

    What the disk refuses is counted in ``lost`` and told (``tell``) once until it is over; the file then goes on with whole
    lines. While no new file can be opened, one that was only moved is written on. Raises OSError when the path cannot be
    opened at first. ``now_s`` is monotonic.
    """

    def __init__(
        self,
        path: Path,
        rotate_bytes: int | None = None,
        keep_files: int = 5,
        *,
        tell: Callable[[str], None] = to_stderr,
    ) -> None:
        self.lost = 0
        self.rotate_bytes, self.keep_files = rotate_bytes, keep_files
        self._path, self._tell = path, tell
        self._fd: int | None = None
        self._size, self._is_regular, self._is_torn = 0, True, False
        self._is_astray = False  # the open file is not the one at the path, and that one cannot be opened
        self._failing = self._failing_told = self._stuck = False
        self._lost_before = 0
        self._next_look_s = self._next_rotation_s = self._quiet_until_s = float("-inf")
        self._open(_MODE)

    def write(self, line: str, now_s: float) -> None:
        """Append ``line`` and a line feed, or lose the whole line."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        self.tick(now_s)
        if self._is_due(len(data), now_s):
            self._rotate(now_s)
        if self._fd is None:
            self.lost += 1
        elif self._append(data, now_s) and not self._is_astray:
            self._recovered()

    def tick(self, now_s: float) -> None:
        """Look whether the file is still there, if that is due."""
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _LOOK_EVERY_S
        if self._fd is not None:
            mine = os.fstat(self._fd)
            self._size = mine.st_size  # somebody may have cut it
            try:
                there = self._path.stat()
            except OSError:
                there = None
            if there is not None and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return
        self._reopen(_MODE, now_s)

    def close(self) -> None:
        """Close the file; what is written later is lost."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._next_look_s = float("inf")

    def _open(self, mode: int) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        found = os.fstat(fd)
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._size, self._is_regular, self._is_torn = fd, found.st_size, stat.S_ISREG(found.st_mode), False
        self._is_astray = False

    def _reopen(self, mode: int, now_s: float) -> None:
        try:
            self._open(mode)
        except OSError as error:
            self._is_astray = True
            if self._fd is not None and os.fstat(self._fd).st_nlink == 0:  # deleted: nobody would ever read it
                os.close(self._fd)
                self._fd = None
            self._failed(error, now_s)

    def _append(self, data: bytes, now_s: float) -> bool:
        assert self._fd is not None
        rest = memoryview(b"\n" + data if self._is_torn else data)
        length = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._failed(error, now_s)
            self.lost += 1
            self._take_back(length - len(rest))
            return False
        self._size += length
        self._is_torn = False
        return True

    def _take_back(self, count: int) -> None:
        """Cut the beginning of a line off that found no room for its end."""
        if not count or self._fd is None:
            return
        try:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - count)
        except OSError:
            self._is_torn = True  # the next line begins with a line feed

    def _is_due(self, length: int, now_s: float) -> bool:
        most = self.rotate_bytes
        if most is None or self._fd is None or not self._is_regular or self._is_astray or not self._size:
            return False
        return self._size + length > most and now_s >= self._next_rotation_s

    def _rotate(self, now_s: float) -> None:
        """By renaming, so that at no moment a line is gone. A gap that an end in the midst of it left is filled."""
        real = Path(os.path.realpath(self._path))  # a link keeps its place
        assert self._fd is not None
        mode = stat.S_IMODE(os.fstat(self._fd).st_mode)
        try:
            free = (n for n in range(1, self.keep_files) if not os.path.lexists(_numbered(real, n)))
            for later in range(next(free, self.keep_files), 1, -1):
                _numbered(real, later - 1).replace(_numbered(real, later))
            real.replace(_numbered(real, 1))
        except OSError as error:
            self._next_rotation_s = now_s + _ROTATE_AGAIN_S
            if not self._stuck:
                self._stuck = True
                self._tell(f"the log file {self._path} cannot be rotated and grows: {error.strerror}")
            return
        self._stuck = False
        self._reopen(mode, now_s)
        if not self._is_astray:
            with contextlib.suppress(OSError):  # whoever may read the old one may read the new one
                os.fchmod(self._fd, mode)
        self._delete_old(real)

    def _delete_old(self, real: Path) -> None:
        with contextlib.suppress(OSError):  # tried again with the next rotation
            for other in real.parent.iterdir():
                stem, _, number = other.name.rpartition(".")
                if stem == real.name and number.isascii() and number.isdigit() and int(number) > self.keep_files:
                    other.unlink()

    def _failed(self, error: OSError, now_s: float) -> None:
        if self._failing:
            return
        self._failing, self._lost_before = True, self.lost
        self._failing_told = now_s >= self._quiet_until_s
        if self._failing_told:
            self._quiet_until_s = now_s + _QUIET_S
            self._tell(f"the log file {self._path} cannot be written: {error.strerror}")

    def _recovered(self) -> None:
        if not self._failing:
            return
        self._failing = False
        if self._failing_told:
            self._tell(f"the log file {self._path} is written again; {self.lost - self._lost_before} lines were lost")


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
