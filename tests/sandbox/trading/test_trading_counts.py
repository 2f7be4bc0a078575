"""Unfilled order counts (reference: 4.1)."""

import pytest

from binmon.sandbox.parameters import ApiError
from binmon.sandbox.trading.counts import OrderCounts

S = 1_000_000
NOON = 1_784_548_800 * S


def counts(one, now):
    return [entry["count"] for entry in one.entries(now)]


def test_windows_are_aligned():
    one = OrderCounts(50, 160_000)
    one.accepted(NOON + 9_999_999)
    one.accepted(NOON + 9_999_999)
    assert counts(one, NOON + 9_999_999) == [2, 2]
    assert counts(one, NOON + 10 * S) == [0, 2]
    assert counts(one, NOON + 43_200 * S) == [0, 0]


def test_entries():
    assert OrderCounts(50, 160_000).entries(NOON) == [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50, "count": 0},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 160_000, "count": 0},
    ]


def test_a_full_window_refuses_and_says_how_long():
    one = OrderCounts(2, 3)
    for _ in range(2):
        one.check(NOON + S)
        one.accepted(NOON + S)
    with pytest.raises(ApiError) as caught:
        one.check(NOON + S)
    error = caught.value
    assert (error.status, error.code, error.retry_after_s) == (429, -1015, 9)
    assert error.message == "Too many new orders; current limit is 2 orders per 10 SECOND."
    one.check(NOON + 10 * S)
    one.accepted(NOON + 10 * S)
    with pytest.raises(ApiError) as caught:
        one.check(NOON + 20 * S)  # the short window is empty, the day is full
    assert caught.value.message == "Too many new orders; current limit is 3 orders per 1 DAY."
    assert caught.value.retry_after_s == 43_200 - 20
    one.accepted(NOON + 20 * S)
    assert counts(one, NOON + 20 * S) == [0, 4]


def test_first_fills_lower_the_counts_but_never_below_zero():
    one = OrderCounts(50, 100)
    for _ in range(8):
        one.accepted(NOON)
    one.first_fill(False, NOON)
    assert counts(one, NOON) == [7, 7]
    one.first_fill(True, NOON + 10 * S)
    assert counts(one, NOON + 10 * S) == [0, 2]
    one.first_fill(True, NOON + 10 * S)
    assert counts(one, NOON + 10 * S) == [0, 0]
