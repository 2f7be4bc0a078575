"""Work that can wait, done in slices so that those who cannot wait hardly notice it.

Threads share one interpreter. Beside one that computes without a pause, every short call of another that lets go of the
interpreter for a moment has to wait to get it back; a keeper of a whole market makes tens of thousands of such calls a
second. In short slices with rests between them, the keeper catches up in every rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

WORK_S, REST_S = 0.002, 0.004


class Pacer:
    """Call it often: it rests when a slice is over. Never after ``stop``, nor while ``hurry`` says that work piles up."""

    def __init__(self, stop: threading.Event, hurry: Callable[[], bool] = lambda: False) -> None:
        self._stop, self._hurry = stop, hurry
        self._rest_at_s = 0.0

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s < self._rest_at_s:
            return
        if not self._hurry():
            self._stop.wait(REST_S)
        self._rest_at_s = time.monotonic() + WORK_S


def no_pace() -> None:
    """For those who work alone."""
