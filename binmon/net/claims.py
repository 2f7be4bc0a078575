"""Who goes first when request weight is short: the order of those who wait, and who may not go past them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from binmon.messages import Priority
from binmon.net.weights import WeightWindow

# up to which share of a minute each priority may fill it; the rest is kept for those before it
SHARES: dict[Priority, float] = {
    Priority.ORDER: 1.0,
    Priority.RESYNC: 0.9,
    Priority.INITIAL_SYNC: 0.8,
    Priority.AUDIT: 0.5,
    Priority.LISTING: 0.5,
}
# A priority that has waited this long without any request served gets one ahead of all but orders. Three quarters of a
# minute: who waited through most of one is served when the next opens, and nobody waits for two.
OVERDUE_S = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """One request that waits for its weight. ``number`` is the order of arrival."""

    weight: int
    priority: Priority
    number: int


class ClaimQueue:
    """The requests that wait for weight, dealt in order. A plain machine: no lock, no clock of its own.

    Orders first, then one request of each priority that is overdue, then by priority and arrival. Nobody takes weight
    that somebody before him waits for, so a light request never keeps a heavy one out. One overdue request a minute
    is all that a lower priority gets ahead of a higher one, so neither starves: a burst of resyncs loses a tenth of its
    share at worst, and a poll of listings is served within two minutes, whatever else but orders goes on.
    """

    def __init__(self, window: WeightWindow) -> None:
        self._window = window
        self._numbers = itertools.count(1)
        self._waiting: dict[Priority, dict[int, Claim]] = {priority: {} for priority in Priority}
        # since when a priority has somebody waiting and nobody served; kept when he gives up, as he will be back
        self._unserved_since_s: dict[Priority, float] = {}

    def enter(self, weight: int, priority: Priority, now_s: float) -> Claim:
        """Join the queue; ``deal`` says when it is served, ``leave`` ends the wait."""
        claim = Claim(weight, priority, next(self._numbers))
        self._waiting[priority][claim.number] = claim
        self._unserved_since_s[priority] = min(now_s, self._unserved_since_s.get(priority, now_s))
        return claim

    def leave(self, claim: Claim) -> bool:
        """Give up; False when it is not in the queue (any more), because it was served."""
        return self._waiting[claim.priority].pop(claim.number, None) is not None

    def deal(self, now_s: float) -> list[Claim]:
        """Take from the window for all whose turn it is now; returns them. What they took must be settled."""
        served: list[Claim] = []
        claimed = 0
        for claim, share in list(self._in_order(now_s)):
            if claim.weight > self._window.limit:
                continue  # it can never go, so it keeps nobody out
            if self._window.wait_s(0, 1.0, now_s, claimed) > 0:
                break  # there is room for nobody, and many may wait
            if self._window.wait_s(claim.weight, share, now_s, claimed) > 0:
                claimed += claim.weight
                continue
            self._window.take(claim.weight, now_s)
            del self._waiting[claim.priority][claim.number]
            self.served(claim.priority, now_s)
            served.append(claim)
        return served

    def served(self, priority: Priority, now_s: float) -> None:
        """A request of this priority went: the others of it begin to wait anew."""
        if self._waiting[priority]:
            self._unserved_since_s[priority] = now_s
        else:
            self._unserved_since_s.pop(priority, None)

    def claimed_before(self, claim: Claim, now_s: float) -> tuple[int, float]:
        """Weight that those before ``claim`` wait for, and the share of the minute that it may fill itself."""
        claimed = 0
        for other, share in self._in_order(now_s):
            if other is claim:
                return claimed, share
            claimed += other.weight if other.weight <= self._window.limit else 0
        return claimed, SHARES[claim.priority]

    def claimed_against(self, priority: Priority, now_s: float) -> int:
        """Weight that waits before somebody of ``priority`` who is not in the queue."""
        before = (c for c, share in self._in_order(now_s) if c.priority <= priority or share > SHARES[c.priority])
        return sum(c.weight for c in before if c.weight <= self._window.limit)

    def waiting(self) -> dict[Priority, int]:
        """How many wait, by priority; priorities with none are left out."""
        return {priority: len(claims) for priority, claims in self._waiting.items() if claims}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _in_order(self, now_s: float) -> Iterator[tuple[Claim, float]]:
        """All who wait, each with the share of the minute he may fill."""
        overdue: set[int] = set()
        for claim in self._waiting[Priority.ORDER].values():
            yield claim, SHARES[Priority.ORDER]
        for priority, claims in self._waiting.items():
            if priority is Priority.ORDER or not claims:
                continue
            if now_s - self._unserved_since_s.get(priority, now_s) >= OVERDUE_S:
                first = next(iter(claims.values()))
                overdue.add(first.number)
                yield first, max(SHARES[priority], SHARES[Priority.RESYNC])
        for priority, claims in self._waiting.items():
            if priority is Priority.ORDER:
                continue
            for claim in claims.values():
                if claim.number not in overdue:
                    yield claim, SHARES[priority]
