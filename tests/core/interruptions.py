"""Failures at every line: for workers that are to lose nothing, wherever they fail."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any


class Interrupted(Exception):
    """Raised in the midst of the work."""


class _Tracer:
    """Counts the lines of some modules that are run, and raises before the one with number ``at``."""

    def __init__(self, modules: tuple[ModuleType, ...], at: int | None) -> None:
        self._files = {module.__file__ for module in modules}
        self._at = at
        self.lines: list[tuple[str, int]] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> _Tracer | None:
        if frame.f_code.co_filename not in self._files:
            return None
        if event == "line":
            self.lines.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.lines) - 1 == self._at:
                raise Interrupted
        return self


def _traced(work: Callable[[], object], tracer: _Tracer) -> None:
    """In a thread of its own: an exception that comes from a trace in the midst of an ``except`` leaves the thread with the
    one that was being handled."""
    raised: list[BaseException] = []

    def run() -> None:
        sys.settrace(tracer)
        try:
            work()
        except BaseException as error:  # handed to whoever waits
            raised.append(error)
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, name="traced")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def places(work: Callable[[], object], *modules: ModuleType, each: int = 2) -> Iterator[int]:
    """Where ``work`` may be interrupted: before every line of ``modules`` that it runs, the first ``each`` times."""
    tracer = _Tracer(modules, None)
    _traced(work, tracer)
    seen: Counter[tuple[str, int]] = Counter()
    for number, line in enumerate(tracer.lines):
        seen[line] += 1
        if seen[line] <= each:
            yield number


def interrupt(work: Callable[[], object], at: int, *modules: ModuleType) -> bool:
    """Do ``work`` and raise Interrupted in it; False when it did not come so far."""
    try:
        _traced(work, _Tracer(modules, at))
    except Interrupted:
        return True
    return False
