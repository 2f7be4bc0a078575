"""Measuring and printing, shared by the benchmarks."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

RUNS = 5


def interleaved(engines: Mapping[str, Callable[[], int]], runs: int = RUNS) -> dict[str, float]:
    """CPU µs a unit for each engine, the median of ``runs``; an engine does all its work and returns its units.

    Engines take turns, so that whatever else the machine does meets all of them.
    """
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(runs):
        for name, engine in engines.items():
            gc.collect()
            begin = time.process_time()
            units = engine()
            taken[name].append((time.process_time() - begin) / units * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def show(title: str, costs: Mapping[str, float], ours: str, targets: Sequence[tuple[str, float]]) -> None:
    """A table of costs, each as a ratio to ours, and what became of the targets (peer, at least how many times)."""
    wanted = dict(targets)
    print(f"\n{title}\n{'':34s}{'µs':>10s}{'ratio':>9s}{'target':>9s}  reached")
    for name, cost in costs.items():
        ratio = cost / costs[ours]
        line = f"{name:34s}{cost:10.2f}{ratio:8.1f}×"
        if name in wanted:
            line += f"{wanted[name]:8.1f}×  " + (
                "yes" if ratio >= wanted[name] else f"no: {ratio / wanted[name]:.2f} of it"
            )
        print(line)
