"""How much request weight the venue may have counted in its minute, seen from our side of the wire."""

from __future__ import annotations

import math
from collections import deque

WINDOW_S = 60.0


class WeightWindow:
    """The weight of one aligned minute. A plain machine: no lock, no clock of its own.

    ``used`` is never less than what the venue counts of ours, for any clock offset up to ``edge_s``:

    * What is on its way when a minute ends counts in the new minute too, for nobody knows in which the venue counts.
    * So does what was answered in the last ``edge_s``: the venue's minute may have turned before ours.
    * In the first ``edge_s`` the old minute still counts: the venue's may turn after ours.

    The venue's own count comes back with every answer, others on the same address included. It only grows within a
    minute, so the highest one seen holds everything of ours that was answered with a count; to it is added what was
    answered without one, unless that was answered before the request with the count was sent: then it is in it.
    """

    def __init__(self, limit: int, edge_s: float) -> None:
        if limit < 1:
            raise ValueError(f"a weight limit must be positive, not {limit}")
        self.limit, self.edge_s = limit, edge_s
        self.in_flight = 0  # reserved and not settled
        self._window = -1  # minutes since the epoch
        self._own = 0  # of ours, settled in this window or carried into it
        self._late = 0  # of that, settled in the last edge_s
        self._seen = 0  # the highest count of the venue
        self._seen_s = 0.0  # when that was heard
        self._unheard: deque[tuple[float, int]] = deque()  # (settled_s, weight) that no count is known to hold
        self._unheard_weight = 0
        self._previous = 0  # what the window before held and this one does not

    def used(self, now_s: float) -> int:
        """Weight counted in the minute of ``now_s``, requests under way included."""
        self._turn(now_s)
        return self._settled + self.in_flight

    def left_s(self, now_s: float) -> float:
        """Seconds to the end of the minute."""
        return (math.floor(now_s / WINDOW_S) + 1) * WINDOW_S - now_s

    def wait_s(self, weight: int, share: float, now_s: float, claimed: int = 0) -> float:
        """Seconds until ``weight`` may be taken by one who may fill ``share`` of the minute; 0.0 is now.

        ``claimed`` is promised to others before. The wait may turn out shorter, when answers show that less was used
        than feared. Infinity when the weight is more than the limit of a whole minute.
        """
        if weight > self.limit:
            return math.inf
        self._turn(now_s)
        # a request heavier than its share may still go alone, or it could never go at all
        allowed = max(self.limit * share, weight)
        occupied = self._settled + self.in_flight + claimed + weight
        into_window_s = now_s - self._window * WINDOW_S
        if occupied > allowed:
            return WINDOW_S - into_window_s
        if into_window_s < self.edge_s and occupied + self._previous > allowed:
            return self.edge_s - into_window_s
        return 0.0

    def take(self, weight: int, now_s: float) -> None:
        """Reserve ``weight``; ``settle`` must follow."""
        self._turn(now_s)
        self.in_flight += weight

    def give_back(self, weight: int) -> None:
        """A reservation was not used: nothing was sent."""
        self.in_flight = max(0, self.in_flight - weight)

    def settle(self, weight: int, venue_count: int | None, now_s: float, reserved_s: float) -> None:
        """A request reserved at ``reserved_s`` was answered, or failed (None): it counts as used either way."""
        self._turn(now_s)
        self.give_back(weight)
        self._own += weight
        if self.left_s(now_s) <= self.edge_s:
            self._late += weight
        if venue_count is not None and self._believed(venue_count, reserved_s):
            while self._unheard and self._unheard[0][0] < reserved_s:
                self._unheard_weight -= self._unheard.popleft()[1]
            if venue_count > self._seen:
                self._seen, self._seen_s = venue_count, now_s
        elif weight:
            self._unheard.append((now_s, weight))
            self._unheard_weight += weight

    def _believed(self, venue_count: int, reserved_s: float) -> bool:
        """Whether this is the count of the present minute, as one that only grows."""
        if reserved_s < self._window * WINDOW_S + self.edge_s:
            return False  # it may be the count of the venue's minute before
        # answers overtake one another; but a request sent after a count was heard must be in a higher one
        return venue_count > self._seen or reserved_s < self._seen_s

    @property
    def _settled(self) -> int:
        # a venue, or something on the way, that counts less than we did ourselves is not believed
        return max(self._own, self._seen + self._unheard_weight)

    def _turn(self, now_s: float) -> None:
        """Begin a new window when ``now_s`` is in one."""
        window = math.floor(now_s / WINDOW_S)
        if window > self._window:
            next_one = window == self._window + 1
            carried = min(self._late, self._own) if next_one else 0
            self._previous = self._settled - carried if next_one else 0
            self._own, self._late, self._seen = carried, 0, 0
            self._unheard.clear()
            if carried:
                self._unheard.append((window * WINDOW_S, carried))
            self._unheard_weight = carried
            self._window = window
        elif window < self._window:
            # the clock was set back: keep the count, as the venue's minute has not turned
            self._window = window
