"""Whole directories in and out of the dataset in one step, and who may do so.

Everything on its way in or out lies in ``<directory>/.work``: no reader looks there, and a start empties it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from binmon.recorder.layout import WORK

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EPERM}
_counter = itertools.count(1)
_RUN = secrets.token_hex(6)  # a process id is used again, and what a crash left may still lie there


def exchange(first: Path, second: Path) -> None:
    """Let two directories take each other's place, atomically: whoever opens a path gets the one or the other.

    This is ``renameat2(2)`` with RENAME_EXCHANGE, which Python does not offer: Linux 3.15, glibc 2.28, and ext4, XFS,
    Btrfs or tmpfs; network file systems mostly refuse. Both must lie on one file system. Raises OSError.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(first))
    names = (os.fsencode(first), os.fsencode(second))
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(first), None, str(second))


def why_no_exchange(directory: Path) -> str | None:
    """Why directories below ``directory`` cannot take each other's place there, or files have two names; None: they can.

    Tried out, since no table of file systems is complete. Raises OSError for any other failure.
    """
    first, second = work_path(directory), work_path(directory)
    try:
        for place in (first, second):
            place.mkdir(parents=True)
        (first / "one").touch()
        os.link(first / "one", first / "other")
        exchange(first, second)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return f"{type(error).__name__}: {error.strerror}"
        raise
    finally:
        for place in (first, second):
            shutil.rmtree(place, ignore_errors=True)
    return None


def work_path(directory: Path) -> Path:
    """A path below ``.work`` that nothing has yet; nothing is made."""
    return directory / WORK / f"{_RUN}-{next(_counter)}"


def take_out(directory: Path, partition: Path) -> Path:
    """Take a partition out of the dataset in one step; where it lies now, to be deleted. Raises OSError."""
    place = work_path(directory)
    place.parent.mkdir(parents=True, exist_ok=True)
    partition.rename(place)
    return place


def clear_work(directory: Path) -> None:
    """Delete what a crash left in ``.work``. For those who are ``alone``. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory / WORK)


@contextlib.contextmanager
def adding(directory: Path) -> Iterator[bool]:
    """Held while files are added to the dataset; False when somebody rearranges it just now."""
    with _locked(directory, fcntl.LOCK_SH) as held:
        yield held


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[bool]:
    """Held while partitions are exchanged or deleted; False when another process adds files or does the same."""
    with _locked(directory, fcntl.LOCK_EX) as held:
        yield held


@contextlib.contextmanager
def _locked(directory: Path, kind: int) -> Iterator[bool]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            held = False
        else:
            held = True
        yield held
    finally:
        os.close(descriptor)
