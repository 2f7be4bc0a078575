"""How deep a snapshot to ask for, so that a start, a resync and the audits fit what the venue allows.

Plain functions of numbers. Deep snapshots are dear (Binance Spot: 250 of 6,000 a minute for 5,000 levels), shallow ones
cheap, and a shallow book can be deepened later beside the live one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STEPS = (5000, 1000, 500, 100)  # from dear to cheap
_NEXT_BUT_SHALLOWEST = 1000  # a first deepening to less is not worth its renewal
_SYNC_SHARE = 0.8  # of a minute's weight may go into getting all books once
_AUDIT_SHARE, _DEEP_AUDIT_SHARE, _DEEPEN_SHARE = 0.2, 0.1, 0.2


@dataclass(frozen=True, slots=True)
class DepthBudget:
    """``wanted`` levels a side; ``weight_of`` a snapshot with a limit; ``per_minute`` is the venue's weight."""

    wanted: int
    per_minute: int
    weight_of: Callable[[int], int]

    @property
    def steps(self) -> tuple[int, ...]:
        """The limits to choose from, deepest first."""
        return (self.wanted, *(step for step in STEPS if step < self.wanted))

    def for_books(self, count: int) -> int:
        """The limit at which ``count`` books can be had within a minute; the shallowest one when none fits."""
        room = _SYNC_SHARE * self.per_minute
        return next((step for step in self.steps if count * self.weight_of(step) <= room), self.steps[-1])

    def for_audits(self, count: int, interval_s: float) -> int:
        """The limit at which ``count`` books can be audited every ``interval_s``."""
        room = _AUDIT_SHARE * self.per_minute * interval_s / 60
        return next((step for step in self.steps if count * self.weight_of(step) <= room), self.steps[-1])

    def audits_possible_s(self, count: int) -> float:
        """The shortest interval in which ``count`` books can be audited at all."""
        return count * self.weight_of(self.steps[-1]) / (_AUDIT_SHARE * self.per_minute) * 60

    def deep_audit_weight_s(self) -> float:
        """Weight a second that full-depth audits may take, where the usual ones are shallower."""
        return _DEEP_AUDIT_SHARE * self.per_minute / 60

    def deepen_weight_s(self) -> float:
        """Weight a second that may go into deepening shallow books."""
        return _DEEPEN_SHARE * self.per_minute / 60

    def deeper(self, limit: int) -> int:
        """The next step down from ``limit``: most books end before the deepest one, which is five times as dear."""
        return min((step for step in self.steps if step > limit and step >= _NEXT_BUT_SHALLOWEST), default=self.wanted)
