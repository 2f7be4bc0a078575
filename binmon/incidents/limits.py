"""How often incidents may be written: a storm must fill neither the disk nor the time of the machine."""

from __future__ import annotations

import threading
from collections import deque

from binmon.incidents.notes import Reason

_HOUR_S = 3600.0


class IncidentLimits:
    """One file a reason and subject in ``repeat_after_s``, and ``per_hour`` of all. Any thread; times are monotonic
    seconds. ``held_back`` counts what was not let through."""

    def __init__(self, *, repeat_after_s: float = 60.0, per_hour: int = 30) -> None:
        self._repeat_after_s, self._per_hour = repeat_after_s, per_hour
        self._lock = threading.Lock()  # guards what follows: several keepers may share the limits
        self._last_s: dict[tuple[Reason, str], float] = {}
        self._written_s: deque[float] = deque()
        self.held_back = 0

    def allow(self, reason: Reason, subject: str, now_s: float) -> bool:
        """Whether a file may be written now; True counts as one."""
        with self._lock:
            while self._written_s and now_s - self._written_s[0] >= _HOUR_S:
                self._written_s.popleft()
            last_s = self._last_s.get((reason, subject))
            if (last_s is not None and now_s - last_s < self._repeat_after_s) or len(self._written_s) >= self._per_hour:
                self.held_back += 1
                return False
            self._written_s.append(now_s)
            self._note(reason, subject, now_s)
            return True

    def covered(self, reason: Reason, subject: str, now_s: float) -> None:
        """A file that is written anyway shows this, too: it needs none of its own for a while."""
        with self._lock:
            self._note(reason, subject, now_s)

    def hold_back(self) -> None:
        """Count one that was not written for another reason: those before it are still being written."""
        with self._lock:
            self.held_back += 1

    def _note(self, reason: Reason, subject: str, now_s: float) -> None:
        self._last_s[reason, subject] = now_s
        if len(self._last_s) > 4096:
            self._last_s = {
                key: last_s for key, last_s in self._last_s.items() if now_s - last_s < self._repeat_after_s
            }
