"""Gathering book changes into the events of a differential depth stream."""

from __future__ import annotations

from .matching import LevelChange, Side


class DiffAggregation:
    """Book changes since the last event of one depth stream: per level only the newest quantity."""

    def __init__(self) -> None:
        self.first_id = 0
        self.last_id = 0
        self._levels: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}

    def add(self, change: LevelChange) -> None:
        """Take one changed level."""
        if not self.first_id:
            self.first_id = change.update_id
        self.last_id = change.update_id
        self._levels[change.side][change.price] = change.quantity

    def clear(self) -> None:
        """Start the next event."""
        self.first_id = 0
        for levels in self._levels.values():
            levels.clear()

    def side(self, side: Side) -> list[tuple[int, int]]:
        """Changed levels of a side, best first."""
        return sorted(self._levels[side].items(), reverse=side is Side.BUY)
