"""The least sum over parts in lots: against trying everything."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.execution.lots import Part, can_be_searched, least_sum
from tests.execution.markets import seeded


def convex(slopes):
    """A convex cost: each further unit costs what the sorted slopes say, the last one for ever."""
    rising = sorted(slopes)

    def cost(quantity):
        total, at = 0, 0
        while quantity > 0:
            part = 1 if at < len(rising) - 1 else quantity
            total += part * rising[at]
            quantity -= part
            at += 1
        return total

    return cost


parts = st.builds(
    lambda step, lowest, more, slopes: Part(step, lowest, lowest + more, convex(slopes)),
    st.sampled_from([1, 1, 2, 3, 4, 6, 10]),
    st.integers(0, 3),
    st.integers(0, 9),
    st.lists(st.integers(-9, 9), min_size=1, max_size=6),
)


def everything(chosen, total):
    costs = []
    for lots in product(*(range(part.lowest, part.highest + 1) for part in chosen)):
        shares = [count * part.step for count, part in zip(lots, chosen, strict=True)]
        if sum(shares) == total:
            costs.append(sum((part.cost(share) for part, share in zip(chosen, shares, strict=True))))
    return min(costs, default=None)


@pytest.mark.timeout(1800)
@seeded(2)
@given(st.lists(parts, min_size=1, max_size=3), st.integers(0, 80))
def test_it_is_the_least_of_all(chosen, total):
    if not can_be_searched(chosen):
        with pytest.raises(ValueError, match="divide"):
            least_sum(chosen, total)
        return
    found, expected = least_sum(chosen, total), everything(chosen, total)
    assert (None if found is None else found.cost) == expected
    if found is not None:
        assert sum(found.quantities) == total
        for part, quantity in zip(chosen, found.quantities, strict=True):
            assert quantity % part.step == 0
            assert part.lowest * part.step <= quantity <= part.highest * part.step


def test_any_two_steps_and_any_that_divide_one_another_can_be_searched():
    def steps(*of):
        return [Part(step, 0, 1, convex([1])) for step in of]

    assert can_be_searched(steps(2, 5))
    assert can_be_searched(steps(100, 10_000, 1, 10_000))
    assert not can_be_searched(steps(2, 5, 10))
