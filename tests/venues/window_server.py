"""A venue's whole book, and what its stream tells of the best levels: in ticks and lots, sharing nothing with binmon.

Of each change it tells the levels that are new or different among the best ones, and those that were among them and are
gone from the market. A level that others push out is not told of; when it comes back, it is told again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Levels = dict[int, int]  # ticks → lots


@dataclass
class WindowServer:
    """``bids`` and ``asks`` are the whole market; ``window`` is how many levels of each are told."""

    window: int
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    told: tuple[Levels, Levels] = field(default_factory=lambda: ({}, {}))

    def best(self) -> tuple[Levels, Levels]:
        """What a client must have now: both sides, best first."""
        bids = dict(sorted(self.bids.items(), reverse=True)[: self.window])
        return bids, dict(sorted(self.asks.items())[: self.window])

    def snapshot(self) -> tuple[Levels, Levels]:
        """The beginning of a subscription."""
        self.told = self.best()
        return self.told

    def change(self, steps: list[tuple[str, int, int]]) -> tuple[Levels, Levels]:
        """Each step is side (``b``, ``a``), ticks and lots (none: gone); the message that tells of them all."""
        for side, ticks, lots in steps:
            levels = self.bids if side == "b" else self.asks
            levels.pop(ticks, None)
            if lots:
                levels[ticks] = lots
        message = tuple(
            {ticks: 0 for ticks in told if ticks not in whole}
            | {ticks: lots for ticks, lots in best.items() if told.get(ticks) != lots}
            for told, whole, best in zip(self.told, (self.bids, self.asks), self.best(), strict=True)
        )
        self.told = self.best()
        return message  # type: ignore[return-value]
