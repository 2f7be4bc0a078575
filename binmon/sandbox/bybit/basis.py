"""How far the prices of the Bybit market stand from those of the Binance side, without I/O.

Two venues never agree to the last digit: the difference (the basis) wanders by some hundredths of a percent, so that
now one and now the other is the better place. The moves of the Binance side are followed; its jumps are not, so that a
price that somebody has set on one venue stays a difference between the two.
"""

from __future__ import annotations

import random

_LARGEST_STEP = 0.002
"""Share by which a price may change in one step and still be followed."""
_PULL = 0.0005
"""Share of the basis that is lost in one step: with ten steps a second it forgets itself within minutes."""


class Basis:
    """The basis of one symbol; ``amplitude_bps`` is how far it usually is from zero."""

    def __init__(self, seed: str, amplitude_bps: float) -> None:
        self._random = random.Random(seed)
        self._amplitude = amplitude_bps
        self._bps = self._random.gauss(0.0, amplitude_bps)
        self._theirs: float | None = None

    @property
    def bps(self) -> float:
        """The basis now, in hundredths of a percent of the price."""
        return self._bps

    def step(self, theirs: float | None) -> float:
        """The factor by which this market's price is to change, given the price on the other side (``None``: none)."""
        before = self._bps
        noise = self._random.gauss(0.0, self._amplitude * (2 * _PULL) ** 0.5)
        self._bps += noise - _PULL * before
        factor = (1 + self._bps / 10_000) / (1 + before / 10_000)
        if theirs is not None and self._theirs:
            moved = theirs / self._theirs
            if abs(moved - 1) <= _LARGEST_STEP:
                factor *= moved
        self._theirs = theirs
        return factor
