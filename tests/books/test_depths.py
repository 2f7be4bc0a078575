"""How deep a snapshot may be, by what the venue allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binmon.books.depths import DepthBudget
from binmon.venues.binance.market import depth_weight


def budget(wanted: int = 5000, per_minute: int = 6000) -> DepthBudget:
    return DepthBudget(wanted, per_minute, depth_weight)


def test_few_books_come_deep_and_many_shallow() -> None:
    assert [budget().for_books(count) for count in (1, 19, 20, 96, 97, 192, 193, 960, 2000)] == [
        5000, 5000, 1000, 1000, 500, 500, 100, 100, 100,
    ]  # fmt: skip
    assert budget(wanted=50).for_books(5000) == 50 and budget(wanted=50).steps == (50,)


def test_audits_take_a_fifth_and_deep_ones_a_tenth() -> None:
    assert budget().deep_audit_weight_s() == 10.0
    assert [budget().for_audits(count, 300.0) for count in (1, 24, 25, 120, 121, 240, 241, 5000)] == [
        5000, 5000, 1000, 1000, 500, 500, 100, 100,
    ]  # fmt: skip


@given(st.integers(1, 5000), st.integers(100, 12_000), st.integers(1, 3000), st.floats(1.0, 3600.0))
def test_what_fits_is_within_its_share_and_the_next_step_would_not_be(
    wanted: int, per_minute: int, count: int, interval_s: float
) -> None:
    depths = budget(wanted, per_minute)
    for limit, room in (
        (depths.for_books(count), 0.8 * per_minute),
        (depths.for_audits(count, interval_s), 0.2 * per_minute * interval_s / 60),
    ):
        at = depths.steps.index(limit)
        assert limit <= wanted and (count * depth_weight(limit) <= room or at == len(depths.steps) - 1)
        assert at == 0 or count * depth_weight(depths.steps[at - 1]) > room
