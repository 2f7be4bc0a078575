"""What there is to read at one moment, while the recorder finishes segments, merges files and deletes old ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from binmon.recorder.segment import segment_paths

Result = TypeVar("Result")
Listed = TypeVar("Listed")
OpenSegment = tuple[Path, BinaryIO]

TRIES = 10
"""How often files are listed when one of them has gone before it was read."""


@contextlib.contextmanager
def listed(directory: Path, files: Callable[[], list[Listed]]) -> Iterator[tuple[list[Listed], list[OpenSegment]]]:
    """What ``files`` lists, and the unfinished segments, opened, of one moment: together they have every row once."""
    for tries_left in reversed(range(TRIES)):
        with contextlib.ExitStack() as stack:
            unfinished: list[OpenSegment] = []
            # segments are opened before files are listed: what is finished in between is found in one of the two
            for path in segment_paths(directory):
                with contextlib.suppress(FileNotFoundError):
                    unfinished.append((path, stack.enter_context(path.open("rb", buffering=1 << 20))))
            found = files()
            # One that is gone by now was finished meanwhile. Its file may not be in the list, or not any more, because
            # it was merged already: only a new list can tell.
            if not tries_left or all(path.exists() for path, _ in unfinished):
                yield found, unfinished
                return


def retried(work: Callable[[], Result]) -> Result:
    """What ``work`` returns; done again, a few times, when a file that it had listed is gone. Raises what it does."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except FileNotFoundError:
            continue  # it lists the files anew
    return work()
