"""The standard streams, whatever the process was started with: closed, without room, of an encoding that lacks characters.

A result that cannot be written is a failure (`OutputFailed`). What cannot be said on standard error is lost, as it must not
undo what the command does.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import Literal, TextIO, TypeVar

from binmon.errors import BinmonError
from binmon.telemetry.output import ESCAPE

_Stream = TypeVar("_Stream", bound=io.TextIOWrapper)


class OutputFailed(OSError):
    """Standard output takes no more, and not because its reader went away: that is a BrokenPipeError."""

    def __str__(self) -> str:
        return f"standard output: {self.strerror}"


class OutputClosed(BinmonError):
    """There is no standard output."""

    def __str__(self) -> str:
        return "standard output is closed"


class _Output(io.TextIOWrapper):
    """Standard output, whose failures can be told from those of other files."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from error

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from error


class _Errors(io.TextIOWrapper):
    """Standard error."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """Make the streams of this process fit for the commands. Whoever has replaced one, as tests do, keeps it.

    Only standard output may be closed (None) then, as not every command can do without.
    """
    if sys.stdin is None:
        sys.stdin = _to_nowhere("r")
    if sys.stdout is None:
        _nowhere()
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _remade(sys.stdout, _Output)
    if sys.stderr is None:
        sys.stderr = _to_nowhere("w")
    elif sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _remade(sys.stderr, _Errors)


def require_output() -> None:
    """Raise OutputClosed where there is no standard output."""
    if sys.stdout is None:
        raise OutputClosed


def do_without_output() -> None:
    """What is written to a standard output that is closed goes nowhere from now on."""
    if sys.stdout is None:
        sys.stdout = _to_nowhere("w")


def flush_output() -> None:
    """Raises OutputFailed or BrokenPipeError for what cannot be written."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard_output() -> None:
    """From now on standard output goes nowhere: what is still buffered must not fail again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        return  # standard output is no file, so nothing is flushed at the end
    finally:
        os.close(nowhere)


def drop_unwritten() -> None:
    """Write what is buffered, as far as that can be."""
    try:
        flush_output()
    except OSError:
        discard_output()


def is_unread() -> bool:
    """Whether it is known that nobody will read standard output: it is a pipe, and its reader has gone."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))


def _remade(stream: io.TextIOWrapper, kind: type[_Stream]) -> _Stream:
    """Another one over the same file, as somebody may hold the first."""
    stream.flush()
    # with python -u there is no buffer
    binary = os.fdopen(stream.fileno(), "wb", buffering=0 if stream.write_through else -1, closefd=False)
    return kind(
        binary,
        encoding=stream.encoding,
        errors=ESCAPE,
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _to_nowhere(mode: Literal["r", "w"]) -> TextIO:
    return open(_nowhere(), mode, encoding="utf-8", errors=ESCAPE, closefd=False)


def _nowhere() -> int:
    """The null device, at the lowest number that is free: that of the closed stream. Else the next file or socket would get
    it, and whatever writes to standard error by its number, as a crash does, would write into that."""
    number = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(number, True)  # as the stream would be
    return number
