"""Delays in buckets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.telemetry.histogram import BOUNDS_S, DelayHistogram


def test_delays_fall_into_their_buckets():
    histogram = DelayHistogram((0.001, 0.01))
    for delay_ns in (-5, 0, 1_000_000, 1_000_001, 10_000_000, 10_000_001, 10**12):
        histogram.observe_ns(delay_ns)
    snapshot = histogram.snapshot()
    assert snapshot.counts == (3, 2, 2) and snapshot.count == 7
    assert snapshot.sum_s == pytest.approx(1000.022, abs=1e-3)
    histogram.observe_ns(1)
    assert snapshot.count == 7  # a snapshot stays what it was


def test_quantiles():
    histogram = DelayHistogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    for delay_s in (0.5, 1.5, 1.5, 3.0):
        histogram.observe_ns(int(delay_s * 1e9))
    assert [histogram.quantile(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 1.0, 1.5, 2.0, 4.0]
    histogram.observe_ns(10**11)
    assert histogram.quantile(1.0) == 4.0
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError):
            histogram.quantile(share)


@given(st.lists(st.integers(0, 10**11), min_size=1), st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(delays_ns, share):
    histogram = DelayHistogram()
    for delay_ns in delays_ns:
        histogram.observe_ns(delay_ns)
    rank = max(1, math.ceil(share * len(delays_ns)))
    true_s = min(sorted(delays_ns)[rank - 1] / 1e9, BOUNDS_S[-1])
    upper = next(bound for bound in BOUNDS_S if true_s <= bound)
    lower = max((bound for bound in (0.0, *BOUNDS_S) if bound < upper), default=0.0)
    assert lower <= histogram.quantile(share) <= upper


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_must_grow(bounds):
    with pytest.raises(ValueError, match="must grow"):
        DelayHistogram(bounds)
