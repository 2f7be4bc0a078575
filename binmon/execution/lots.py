"""The least sum of convex costs over parts that each come in whole lots of their own and add up to a given quantity.

**What is guaranteed.** For two parts the result is exactly the least, whatever their steps are. For more it is, when of
the steps, ordered, each divides the next (always so for powers of ten); else `least_sum` says so by ``None``, and the
caller goes without that set of parts.

**Why.** With one part's lots ``k`` chosen, the others share ``x − k·step``. Take as that part the one with the coarsest
step: then ``x − k·step`` stays in one residue class of every finer step. On one class, the least cost of two parts is
convex in ``k`` (a convex function of ``k`` plus another of an affine one), so by induction the least cost of all finer
parts is convex on the class as well, and feasible on an interval of it without holes. A convex sequence has its least
where it first does not fall any more, which is found by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd


@dataclass(frozen=True, slots=True)
class Part:
    """Whole lots of ``step``, from ``lowest`` to ``highest`` of them; ``cost`` of a quantity is convex."""

    step: int
    lowest: int
    highest: int
    cost: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Least:
    """The least cost, and the quantity of each part, in the order of the parts that were given."""

    cost: int
    quantities: tuple[int, ...]


def can_be_searched(parts: Sequence[Part]) -> bool:
    """Whether the least sum over ``parts`` is found exactly."""
    steps = sorted(part.step for part in parts)
    return len(steps) <= 2 or all(coarse % fine == 0 for fine, coarse in pairwise(steps))


def least_sum(parts: Sequence[Part], total: int) -> Least | None:
    """The cheapest way to share ``total`` among all of ``parts``; None when there is none.

    Raises ValueError for parts that cannot be searched.
    """
    if not can_be_searched(parts):
        raise ValueError("the steps of the parts do not divide one another")
    order = sorted(range(len(parts)), key=lambda at: parts[at].step)
    found = _least([parts[at] for at in order], total)
    if found is None:
        return None
    quantities = [0] * len(parts)
    for at, quantity in zip(order, found.quantities, strict=True):
        quantities[at] = quantity
    return Least(found.cost, tuple(quantities))


def _least(parts: Sequence[Part], total: int) -> Least | None:
    """As ``least_sum``, for parts ordered from the finest step to the coarsest."""
    *finer, last = parts
    if not finer:
        lots, between = divmod(total, last.step)
        if between or not last.lowest <= lots <= last.highest:
            return None
        return Least(last.cost(total), (total,))
    least_rest = sum(part.lowest * part.step for part in finer)
    most_rest = sum(part.highest * part.step for part in finer)
    first = max(last.lowest, -((most_rest - total) // last.step))
    final = min(last.highest, (total - least_rest) // last.step)
    stride = 1
    if len(finer) == 1:
        fitting = _first_fitting(first, last.step, finer[0].step, total)
        if fitting is None:
            return None
        first, stride = fitting
    if final < first:
        return None
    known: dict[int, Least | None] = {}

    def at(index: int) -> Least | None:
        if index not in known:
            quantity = (first + index * stride) * last.step
            rest = _least(finer, total - quantity)
            known[index] = (
                None if rest is None else Least(rest.cost + last.cost(quantity), (*rest.quantities, quantity))
            )
        return known[index]

    if at(0) is None:
        return None  # no member of this residue class can be shared among the finer parts
    low, high = 0, (final - first) // stride
    while low < high:
        middle = (low + high) // 2
        here, there = at(middle), at(middle + 1)
        assert here is not None and there is not None
        if there.cost >= here.cost:
            high = middle
        else:
            low = middle + 1
    return at(low)


def _first_fitting(first: int, step: int, finer: int, total: int) -> tuple[int, int] | None:
    """The first count of lots from ``first`` on that leaves whole lots of ``finer``, and the distance to the next."""
    common = gcd(step, finer)
    if total % common:
        return None
    stride = finer // common
    count = total // common * pow(step // common, -1, stride) if stride > 1 else 0
    return first + (count - first) % stride, stride
