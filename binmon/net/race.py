"""Which of several sockets with the same streams is the faster one, and which of them has fallen silent.

A plain object without I/O. Times are monotonic; an event is told from others by its stream and its last update id.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_REMEMBERED = 64  # of each stream's newest events: at ten a second, six seconds of lag can be measured
SILENT_AFTER_S = 5.0
_LEAST_EVENTS = 20  # what the others must have delivered meanwhile, before silence means anything
_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Standing:
    """One socket in comparison: how often it was first, and by how much it was behind when it was not."""

    feed: str
    first: int
    second: int
    median_behind_ms: float | None
    worst_behind_ms: float | None


class _Runner:
    __slots__ = ("behind_ns", "events", "first", "heard_s", "others", "second")

    def __init__(self, now_s: float) -> None:
        self.first = self.second = self.events = 0
        self.behind_ns: deque[int] = deque(maxlen=_SAMPLES)
        self.heard_s = now_s
        self.others = 0  # events that others delivered since this one was last heard


class FeedRace:
    """Compares the sockets of one group; reset by ``standings`` with each report."""

    def __init__(self) -> None:
        self._runners: dict[str, _Runner] = {}
        self._arrivals: dict[str, deque[tuple[int, int]]] = {}  # stream -> (last update id, first arrival in ns)

    def on_up(self, feed: str, now_s: float) -> None:
        """A socket is up: from now on it takes part."""
        if not self._runners:
            self._arrivals.clear()  # what came before the others were lost has nothing to be compared with
        self._runners[feed] = _Runner(now_s)

    def on_down(self, feed: str) -> None:
        """A socket is gone."""
        self._runners.pop(feed, None)

    def on_event(self, feed: str, stream: str, last_update_id: int, at_ns: int) -> None:
        """An event of a stream arrived on a socket."""
        runner = self._runners.get(feed)
        if runner is None:
            return
        runner.heard_s, runner.others = at_ns / 1e9, 0
        arrivals = self._arrivals.get(stream)
        if arrivals is None:
            arrivals = self._arrivals[stream] = deque(maxlen=_REMEMBERED)
        if not arrivals or last_update_id > arrivals[-1][0]:
            arrivals.append((last_update_id, at_ns))
            runner.first += 1
            for other in self._runners.values():
                if other is not runner:
                    other.others += 1
            return
        for known_id, first_ns in reversed(arrivals):
            if known_id == last_update_id:
                runner.second += 1
                runner.behind_ns.append(at_ns - first_ns)
                return
            if known_id < last_update_id:
                return  # the first of its kind, but late: a later event of another socket overtook it

    def silent(self) -> list[str]:
        """Sockets that deliver nothing while others do; never all of them.

        Measured against what has arrived, not against the clock of somebody who may be late in reading it.
        """
        newest_s = max((runner.heard_s for runner in self._runners.values()), default=0.0)
        return [
            feed
            for feed, runner in self._runners.items()
            if newest_s - runner.heard_s > SILENT_AFTER_S and runner.others >= _LEAST_EVENTS
        ]

    def standings(self) -> list[Standing]:
        """The comparison since the last call, the fastest first."""
        found: list[Standing] = []
        for feed, runner in self._runners.items():
            behind = sorted(runner.behind_ns)
            median = behind[len(behind) // 2] / 1e6 if behind else None
            found.append(Standing(feed, runner.first, runner.second, median, behind[-1] / 1e6 if behind else None))
            runner.first = runner.second = 0
            runner.behind_ns.clear()
        return sorted(found, key=lambda standing: (-standing.first, standing.feed))

    def forget(self, stream: str) -> None:
        """A stream is no longer carried."""
        self._arrivals.pop(stream, None)
