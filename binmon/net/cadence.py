"""Notices streams that have gone quiet, each measured against its own usual pace.

A dead subscription on a live socket looks like nothing at all: no error, no close, only silence. A fixed limit
either cries wolf over a quiet pair or finds a busy one dead minutes late, so the limit is learned.
"""

from __future__ import annotations

import math


class _Pace:
    """What is known of one stream. A plain class with slots: ``seen`` runs once an event."""

    __slots__ = ("allowance", "high_s", "last_s", "observations")

    def __init__(self, now_s: float) -> None:
        self.last_s = now_s  # infinity: paused, the next event starts a new interval
        self.high_s = 0.0  # a long interval for this stream
        self.observations = 1
        self.allowance = 1.0  # doubled after each false suspicion


class CadenceWatch:
    """Learns the pace of streams and says which are silent for too long. Pure; times are monotonic seconds.

    The learned figure is the longest interval seen, forgotten with a time constant of ``memory_s`` (so a burst of
    a thousand events does not wash out what a quiet minute taught). A stream may be silent for ``factor`` times
    that, but at least ``floor_s`` and at most ``ceiling_s``. Before ``least_observations`` events nothing is learned,
    and a stream that has been seen at all may be silent for ``unlearned_s``.
    Belongs to one thread.
    """

    def __init__(
        self,
        *,
        floor_s: float = 5.0,
        ceiling_s: float = 300.0,
        factor: float = 10.0,
        memory_s: float = 600.0,
        least_observations: int = 5,
        unlearned_s: float = 60.0,
    ) -> None:
        if not (0 < floor_s <= ceiling_s and factor >= 1 and memory_s > 0 and least_observations >= 2):
            raise ValueError("a cadence watch needs 0 < floor_s <= ceiling_s, factor >= 1, memory_s > 0, and 2 events")
        self._floor_s, self._ceiling_s, self._factor = floor_s, ceiling_s, factor
        self._memory_s, self._least_observations = memory_s, least_observations
        self._decay = 1.0 / memory_s
        self._unlearned_s = unlearned_s
        self._paces: dict[str, _Pace] = {}

    def __len__(self) -> int:
        return len(self._paces)

    def seen(self, stream: str, now_s: float) -> None:
        """An event of ``stream`` arrived. The hot path."""
        pace = self._paces.get(stream)
        if pace is None:
            self._paces[stream] = _Pace(now_s)
            return
        interval_s = now_s - pace.last_s
        pace.last_s = now_s
        pace.observations += 1
        if interval_s > pace.high_s:
            pace.high_s = interval_s
        elif interval_s > 0.0:  # after a pause it is minus infinity, and teaches nothing
            # the first term of an exponential decay: exact enough, as an interval is short against the memory
            decayed_s = pace.high_s * (1.0 - interval_s * self._decay)
            pace.high_s = decayed_s if decayed_s > interval_s else interval_s

    def expect(self, stream: str, now_s: float) -> None:
        """The connection of ``stream`` is up: from ``now_s`` on its silence counts. Teaches nothing."""
        pace = self._paces.get(stream)
        if pace is None:
            self._paces[stream] = _Pace(now_s)
        else:
            pace.last_s = now_s

    def pause(self, stream: str) -> None:
        """The connection of ``stream`` is down: its silence means nothing, and the gap must not be learned.

        What was learned stays; the watch goes on with the next event.
        """
        pace = self._paces.get(stream)
        if pace is not None:
            pace.last_s = math.inf

    def heard_within(self, stream: str, seconds: float, now_s: float) -> bool:
        """Whether an event of ``stream`` came within the last ``seconds``."""
        pace = self._paces.get(stream)
        return pace is not None and now_s - pace.last_s <= seconds

    def forget(self, stream: str) -> None:
        """Drop all that is known of ``stream``; unknown streams are no error."""
        self._paces.pop(stream, None)

    def allow_more(self, stream: str) -> None:
        """The stream was silent for too long, yet nothing was missing: double what it is allowed."""
        pace = self._paces.get(stream)
        # bounded, or a quiet night would let the figure overflow; the ceiling holds long before
        if pace is not None and pace.allowance < 1024.0:
            pace.allowance *= 2.0

    def allowed_s(self, stream: str) -> float | None:
        """How long ``stream`` may be silent, in seconds; None while too little is known to judge it."""
        pace = self._paces.get(stream)
        if pace is None or pace.observations < self._least_observations:
            return None
        return self._allowed_s(pace)

    def silent(self, now_s: float) -> list[tuple[str, float, float]]:
        """The streams that are silent for too long, as (stream, silent_s, allowed_s), in the order first seen.

        A stream is named at each call until it is seen, paused or forgotten, or allowed more.
        """
        floor_s = self._floor_s
        found: list[tuple[str, float, float]] = []
        for stream, pace in self._paces.items():
            silent_s = now_s - pace.last_s
            if silent_s <= floor_s:
                continue  # the common case costs one comparison
            allowed_s = self._allowed_s(pace)
            if silent_s > allowed_s:
                found.append((stream, silent_s, allowed_s))
        return found

    def _allowed_s(self, pace: _Pace) -> float:
        if pace.observations < self._least_observations:
            usual_s = self._unlearned_s
        else:
            usual_s = max(self._floor_s, self._factor * pace.high_s)
        return min(self._ceiling_s, usual_s * pace.allowance)
