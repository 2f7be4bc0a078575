"""Where lines of the log go: a stream, and perhaps a file."""

from __future__ import annotations

import codecs
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

from binmon.telemetry.logfile import LogFile, to_stderr

ESCAPE = "binmon.escape"
"""How characters that an encoding lacks are written: as ``\\uXXXX``, which in JSON is the same text."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # JSON has no longer escapes: a character beyond the first 65536 is a pair of surrogates
    data = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(data[::2], data[1::2], strict=True)), error.end


codecs.register_error(ESCAPE, _escape)


class Output:
    """Where lines go. Each is written and flushed whole, under one lock.

    A stream that no longer takes lines (its reader is gone, its disk is full) never raises into the worker that
    logs: the first failure is said once on standard error, if that is another stream, and counted in ``lost``.
    """

    def __init__(
        self,
        stream: IO[str],
        file: LogFile | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        self._stream: IO[str] | None = stream
        self._file, self._monotonic = file, monotonic
        self._told = False
        self._lock = threading.Lock()  # guards everything here

    def write(self, line: str, file_line: str | None = None) -> None:
        """Write ``line`` to the stream, and ``file_line`` (default: the same) to the file."""
        with self._lock:
            if self._file is not None:
                self._file.write(line if file_line is None else file_line, self._monotonic())
            if self._stream is None:
                self.lost += 1
            elif isinstance(self._write_to(self._stream, line), (BrokenPipeError, ValueError)):
                self._silence(self._stream)
                self._stream = None  # its reader is gone for good; a full disk, by contrast, may get room again

    @property
    def file_lost(self) -> int:
        """Lines that the file did not take."""
        return 0 if self._file is None else self._file.lost

    def rotate(self, rotate_bytes: int | None, keep_files: int) -> None:
        """Rotate the file, if there is one, by these from now on."""
        with self._lock:
            if self._file is not None:
                self._file.rotate_bytes, self._file.keep_files = rotate_bytes, keep_files

    def tick(self) -> None:
        """Look whether the file is still there; to be called about every second, or it waits for the next line."""
        with self._lock:
            if self._file is not None:
                self._file.tick(self._monotonic())

    def close(self) -> None:
        """Close the file; the stream belongs to the caller."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _write_to(self, stream: IO[str], line: str) -> Exception | None:
        try:
            try:
                stream.write(line + "\n")
            except UnicodeEncodeError:
                stream.write(line.encode("ascii", ESCAPE).decode("ascii") + "\n")
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.lost += 1
            self._tell(stream, error)
            return error
        return None

    def _silence(self, stream: IO[str]) -> None:
        """Point a broken standard output to nowhere, or the interpreter fails at its end to flush what is left."""
        try:
            if stream.fileno() == 1:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.close(nowhere)
        except (OSError, ValueError):
            return  # a closed stream has nothing left to flush

    def _tell(self, stream: IO[str], error: Exception) -> None:
        if self._told or sys.stderr is None or stream is sys.stderr:
            return
        self._told = True
        to_stderr(f"the log cannot be written: {error}")
