"""Budgets over sliding and aligned windows."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.net.budgets import AlignedCount, OrderCounts, SlidingBudget, interval_s

T0 = 1_800_000_000.0


def test_a_sliding_budget():
    budget = SlidingBudget(2, 10.0)
    assert budget.delay_s(0.0) == 0.0
    budget.spend(0.0)
    assert budget.take(4.0) == 0.0
    assert budget.delay_s(4.0) == 6.0 and budget.take(5.0) == 5.0
    assert budget.take(10.0) == 0.0
    assert budget.delay_s(11.0) == 3.0
    budget.spend(11.0)  # over the budget: counts all the same
    assert budget.delay_s(12.0) == 8.0
    with pytest.raises(ValueError):
        SlidingBudget(0, 1.0)


@given(st.lists(st.floats(0.0, 3.0), max_size=100), st.integers(1, 5))
def test_a_budget_holds_in_every_window(pauses, limit):
    budget = SlidingBudget(limit, 2.0)
    now_s, spent = 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        delay_s = budget.take(now_s)
        if delay_s == 0.0:
            spent.append(now_s)
            assert sum(now_s - at_s < 1.999999 for at_s in spent) <= limit
        else:
            assert 0 < delay_s < 2.000001 and budget.delay_s(now_s + delay_s + 1e-9) == 0.0


def test_a_budget_shared_by_threads_is_not_overspent():
    budget = SlidingBudget(50, 1000.0)
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.extend(budget.take(1.0) == 0.0 for _ in range(40))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 50


def test_what_a_sliding_budget_shows():
    budget = SlidingBudget(3, 10.0)
    assert budget.used(0.0) == 0
    for at_s in (0.0, 1.0, 2.0, 3.0):
        budget.spend(at_s)
    assert budget.used(3.0) == 3  # over the budget: no more than the limit are remembered
    assert budget.used(11.5) == 2 and budget.used(13.0) == 0


def test_an_aligned_count_begins_anew_with_its_window():
    count = AlignedCount("10S", 50)
    count.put(7, T0 + 9.9)
    count.add(2, T0 + 9.9)
    assert count.used(T0 + 9.9) == 9 and count.left_s(T0 + 9) == pytest.approx(1.0)
    assert count.used(T0 + 10) == 0
    count.put(5, T0 + 11)
    count.put(3, T0 + 12)  # fills lower it
    assert count.used(T0 + 12) == 3
    assert count.used(T0 + 5) == 3  # a clock set back: the venue's window has not turned
    with pytest.raises(ValueError):
        AlignedCount("10S", 0)


def test_intervals_as_the_headers_name_them():
    assert [interval_s(text) for text in ("10S", "1m", "5M", "2H", "1D")] == [10, 60, 300, 7200, 86_400]
    for text in ("", "S", "0S", "1W", "-1S", "1.5M", "²S"):
        with pytest.raises(ValueError, match="not an interval"):
            interval_s(text)


def test_orders_are_counted_in_all_windows_at_once():
    counts = OrderCounts()
    counts.set_limits({"10S": 2, "1D": 3})
    with pytest.raises(ValueError):
        counts.set_limits({"10S": 9, "fortnight": 1})
    assert counts.usage(0.0) == {"10S": (0, 2), "1D": (0, 3)}
    assert [counts.take(now_s) for now_s in (1.0, 2.0, 3.0, 12.0, 13.0)] == [0.0, 0.0, 7.0, 0.0, 86_400 - 13.0]
    counts.put("1D", 0, 13.0)
    counts.put("7M", 99, 13.0)  # a window without a known limit
    assert counts.room_s(13.0) == 0.0 and counts.usage(13.0) == {"10S": (1, 2), "1D": (0, 3)}
    counts.blocked_until_s = 17.0
    assert counts.room_s(13.0) == 4.0 and counts.take(16.0) == 1.0 and counts.take(17.0) == 0.0
