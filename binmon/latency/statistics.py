"""Counts and percentiles over measurements: exact, from all of them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from binmon.latency.measurement import Measurement, OrderClass


@dataclass(frozen=True, slots=True)
class Phase:
    """One figure of a measurement: its name there, and what it is called on paper."""

    name: str
    title: str


PHASES: tuple[Phase, ...] = (
    Phase("sent_to_report_ms", "sent → report received"),
    Phase("sent_to_answer_ms", "sent → answer received"),
    Phase("first_report_ms", "sent → first report"),
    Phase("first_fill_ms", "sent → first fill"),
    Phase("last_fill_ms", "sent → last fill"),
    Phase("sent_to_transaction_ms", "sent → matched (T)"),
    Phase("transaction_to_event_ms", "matched (T) → event (E)"),
    Phase("sent_to_event_ms", "sent → event (E)"),
    Phase("event_to_receive_ms", "event (E) → received"),
)
"""All from sending to receipt; the first is what the alert goes by."""


@dataclass(frozen=True, slots=True)
class PhaseStatistics:
    """One phase over many orders, in milliseconds. ``count`` orders have the figure; the others are None without any."""

    name: str
    count: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Orders from ``from_ms`` on and below ``below_ms``."""

    from_ms: float
    below_ms: float
    count: int


def values(measurements: Iterable[Measurement], name: str) -> list[float]:
    """All figures of one name, without those that are missing."""
    found = (getattr(measurement, name) for measurement in measurements)
    return [value for value in found if value is not None]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of ``ordered`` (ascending, not empty) do not pass.

    Between two neighbours in proportion, as numpy, pandas and spreadsheets do by default.
    """
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def phase_statistics(measurements: Sequence[Measurement], name: str) -> PhaseStatistics:
    """Percentiles of one phase. Lost orders have no figures, so they count by their class alone."""
    ordered = sorted(values(measurements, name))
    if not ordered:
        return PhaseStatistics(name, 0, None, None, None, None, None, None)
    p50, p90, p99, p999 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999))
    return PhaseStatistics(name, len(ordered), math.fsum(ordered) / len(ordered), p50, p90, p99, p999, ordered[-1])


def class_counts(measurements: Iterable[Measurement]) -> dict[OrderClass, int]:
    """How many orders of each class; every class is there."""
    counted = Counter(measurement.order_class for measurement in measurements)
    return {order_class: counted[order_class] for order_class in OrderClass}


def histogram(figures: Sequence[float]) -> list[Bucket]:
    """Figures above zero in buckets whose bounds go 1, 2, 5, 10, … milliseconds; empty ones in between are there.

    What is below the least bound, a microsecond, counts as the least, what is above the highest (two months) as that.
    """
    if not figures:
        return []
    bounds = _bounds(min(figures), max(figures))
    counts = [0] * (len(bounds) - 1)
    for figure in figures:
        counts[min(max(0, bisect_right(bounds, figure) - 1), len(counts) - 1)] += 1
    return [Bucket(low, high, count) for (low, high), count in zip(pairwise(bounds), counts, strict=True)]


def _bounds(least: float, most: float) -> list[float]:
    """Steps 1, 2, 5 around both, at least one bucket; exact where a double can be."""
    steps = [float(f"{digit}e{exponent}") for exponent in range(-3, 10) for digit in (1, 2, 5)]
    first = min(max(0, bisect_right(steps, least) - 1), len(steps) - 2)
    last = max(first + 1, bisect_right(steps, most))
    return steps[first : last + 1]
