"""One deadline for a stop of many steps."""

from __future__ import annotations

import time


class Deadline:
    """A point on the monotonic clock that a multi-step operation must not pass."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.remaining_s() == 0.0
