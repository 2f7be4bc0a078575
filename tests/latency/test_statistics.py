"""Percentiles against numpy, buckets, counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.latency.measurement import OrderClass
from binmon.latency.statistics import PHASES, class_counts, histogram, percentile, phase_statistics, values
from tests.latency.messages import measurement

figures = st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=300)


@given(figures)
def test_percentiles_are_those_of_numpy(some: list[float]) -> None:
    found = phase_statistics([measurement(sent_to_report_ms=value) for value in some], "sent_to_report_ms")
    expected = np.percentile(some, [50, 90, 99, 99.9])
    assert [found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms] == pytest.approx(expected, rel=1e-12)
    assert found.max_ms == max(some) and found.count == len(some)
    assert found.mean_ms == pytest.approx(np.mean(some), rel=1e-12)


@given(figures, st.floats(0, 1))
def test_any_percentile(some: list[float], share: float) -> None:
    assert percentile(sorted(some), share) == pytest.approx(np.quantile(some, share), rel=1e-9)


def test_missing_figures_are_left_out() -> None:
    some = [measurement(0), measurement(1, OrderClass.LOST), measurement(2, event_to_receive_ms=None)]
    assert values(some, "event_to_receive_ms") == [2.125]
    assert phase_statistics(some, "sent_to_report_ms").count == 2
    none = phase_statistics(some[1:2], "sent_to_report_ms")
    assert none.count == 0 and none.p50_ms is none.mean_ms is none.max_ms is None
    assert phase_statistics([], "sent_to_report_ms").count == 0


def test_every_phase_is_a_figure() -> None:
    for phase in PHASES:
        assert phase_statistics([measurement()], phase.name).count == 1


def test_classes() -> None:
    some = [measurement(0), measurement(1), measurement(2, OrderClass.RESET)]
    assert class_counts(some) == {
        OrderClass.IN_TIME: 2, OrderClass.LATE: 0, OrderClass.LOST: 0, OrderClass.REJECTED: 0, OrderClass.UNKNOWN: 0,
        OrderClass.RESET: 1,
    }  # fmt: skip


@given(st.lists(st.floats(-10, 1e12), max_size=200))
def test_every_figure_is_in_its_bucket(some: list[float]) -> None:
    buckets = histogram(some)
    assert sum(bucket.count for bucket in buckets) == len(some)
    for number, bucket in enumerate(buckets):
        assert bucket.from_ms < bucket.below_ms
        inside = sum(bucket.from_ms <= value < bucket.below_ms for value in some)
        outside = sum(value < buckets[0].from_ms for value in some) if number == 0 else 0
        if number == len(buckets) - 1:
            outside += sum(value >= buckets[-1].below_ms for value in some)
        assert bucket.count == inside + outside
    assert bool(buckets) is bool(some)


def test_buckets() -> None:
    found = [(bucket.from_ms, bucket.below_ms, bucket.count) for bucket in histogram([1.0, 1.99, 5.0, 12.0])]
    assert found == [(1.0, 2.0, 2), (2.0, 5.0, 0), (5.0, 10.0, 1), (10.0, 20.0, 1)]
    assert [(b.from_ms, b.below_ms) for b in histogram([0.5])] == [(0.5, 1.0)]
