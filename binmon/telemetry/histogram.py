"""Delays counted in buckets, cheap enough for the hot paths."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

# 10 µs to 60 s: below lies the cost of looking at a clock, above everything is equally late
BOUNDS_S: tuple[float, ...] = (
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip

# Where milliseconds count one by one: what binmon itself adds to a delay.
OWN_BOUNDS_S: tuple[float, ...] = (
    0.000_1, 0.000_25, 0.000_5, 0.000_75, 0.001, 0.001_25, 0.001_5, 0.001_75, 0.002, 0.002_5, 0.003, 0.003_5, 0.004, 0.005,
    0.007_5, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment. ``counts`` has one entry a bound (delays up to it, and above the bound before), and
    one more for all delays above the last."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """How many delays."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The delay in seconds that ``share`` (0 to 1) of all delays do not pass; None when there are none.

        Estimated as evenly spread within its bucket; the last bound stands for everything above it.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is from 0 to 1, not {share}")
        rank = share * self.count
        below, lower_s = 0, 0.0
        for bound_s, count in zip(self.bounds_s, self.counts, strict=False):
            if count and below + count >= rank:
                return lower_s + (bound_s - lower_s) * max(0.0, rank - below) / count
            below, lower_s = below + count, bound_s
        return lower_s if self.count else None


class DelayHistogram:
    """One thread writes, any thread may take a ``snapshot``: no lock, as a count that is one behind does no harm."""

    def __init__(self, bounds_s: tuple[float, ...] = BOUNDS_S) -> None:
        """``bounds_s`` are upper ends of the buckets, growing. Raises ValueError when they are not."""
        if not bounds_s or any(lower >= upper for lower, upper in pairwise(bounds_s)):
            raise ValueError(f"bounds must grow: {bounds_s}")
        self._bounds_s = bounds_s
        self._bounds_ns = [round(bound_s * 1e9) for bound_s in bounds_s]
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_ns = 0

    def observe_ns(self, delay_ns: int) -> None:
        """Count one delay, in nanoseconds of the monotonic clock."""
        self._counts[bisect_left(self._bounds_ns, delay_ns)] += 1
        self._sum_ns += delay_ns

    def snapshot(self) -> HistogramSnapshot:
        """What has been counted so far."""
        return HistogramSnapshot(self._bounds_s, tuple(self._counts), self._sum_ns / 1e9)

    def quantile(self, share: float) -> float | None:
        """See `HistogramSnapshot.quantile`."""
        return self.snapshot().quantile(share)
