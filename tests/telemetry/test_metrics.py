"""The metrics page."""

from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from binmon.telemetry.histogram import DelayHistogram
from binmon.telemetry.metrics import DECLARED, METRICS, Figure, MetricKind, MetricsRegistry, reference

ROOT = Path(__file__).parents[2]


def samples(registry):
    """{(sample name, labels): value} as a scraper reads the page."""
    page = registry.render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_the_page_of_the_reference_is_current():
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m binmon.telemetry.metrics > docs/metrics.md"


def test_declarations_are_whole():
    assert len(DECLARED) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("binmon_") and metric.meaning.endswith(".")
        assert metric.name.endswith("_total") is (metric.kind is MetricKind.COUNTER)
        assert metric.kind is not MetricKind.HISTOGRAM or metric.name.endswith("_seconds")


def test_figures_are_rendered():
    lag = DelayHistogram((0.1, 1.0))
    for delay_s in (0.05, 0.5, 5.0):
        lag.observe_ns(int(delay_s * 1e9))
    registry = MetricsRegistry()
    registry.add("books", lambda: [DECLARED["binmon_book_apply_lag_seconds"].figure(lag.snapshot(), "binance")])
    registry.add(
        "rates",
        lambda: [
            DECLARED["binmon_channel_dropped_total"].figure(3, 'a"b\nc'),
            DECLARED["binmon_channel_depth"].figure(7, "keeper"),
            DECLARED["binmon_channel_depth"].figure(0, "recorder"),
        ],
    )
    found = samples(registry)
    assert found["binmon_channel_dropped_total", (("channel", 'a"b\nc'),)] == 3
    assert found["binmon_channel_depth", (("channel", "keeper"),)] == 7
    assert found["binmon_channel_depth", (("channel", "recorder"),)] == 0
    buckets = [
        found["binmon_book_apply_lag_seconds_bucket", (("le", le), ("venue", "binance"))]
        for le in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [1, 2, 3]
    assert found["binmon_book_apply_lag_seconds_count", (("venue", "binance"),)] == 3
    assert found["binmon_book_apply_lag_seconds_sum", (("venue", "binance"),)] == pytest.approx(5.55)
    assert found["process_cpu_seconds_total", ()] > 0
    assert found["binmon_metrics_errors_total", (("source", "books"),)] == 0


def test_a_source_that_fails_is_counted_and_logged_once_and_the_others_stay():
    registry = MetricsRegistry()

    def half():
        yield DECLARED["binmon_recorder_rows_total"].figure(5)
        raise KeyError("gone")

    registry.add("half", half)
    registry.add("good", lambda: [DECLARED["binmon_recorder_bytes_total"].figure(6)])
    with structlog.testing.capture_logs() as lines:
        for count in (1, 2):
            found = samples(registry)
            assert found["binmon_recorder_rows_total", ()] == 5 and found["binmon_recorder_bytes_total", ()] == 6
            assert found["binmon_metrics_errors_total", (("source", "half"),)] == count
            assert found["binmon_metrics_errors_total", (("source", "good"),)] == 0
    assert [(line["event"], line["source"]) for line in lines] == [("metrics.failed", "half")]


@pytest.mark.parametrize(
    "second",
    [
        DECLARED["binmon_channel_depth"].figure(8, "keeper"),
        Figure("binmon_channel_depth", MetricKind.COUNTER, "x", 8, (("channel", "other"),)),
        Figure("binmon_channel_depth", MetricKind.GAUGE, "x", 8, (("venue", "other"),)),
    ],
)
def test_figures_that_contradict_each_other_are_an_error_of_the_later_one(second):
    registry = MetricsRegistry()
    registry.add("first", lambda: [DECLARED["binmon_channel_depth"].figure(7, "keeper")])
    registry.add("second", lambda: [second, DECLARED["binmon_recorder_rows_total"].figure(5)])
    found = samples(registry)
    assert [value for (name, _), value in found.items() if name.startswith("binmon_channel")] == [7]
    assert found["binmon_recorder_rows_total", ()] == 5  # what comes after it in its source is seen
    assert found["binmon_metrics_errors_total", (("source", "second"),)] == 1


def test_a_source_may_be_replaced_and_registries_share_nothing():
    registry, other = MetricsRegistry(), MetricsRegistry()
    registry.add("a", lambda: [DECLARED["binmon_recorder_rows_total"].figure(1)])
    registry.add("a", lambda: [DECLARED["binmon_recorder_rows_total"].figure(2)])
    assert samples(registry)["binmon_recorder_rows_total", ()] == 2
    assert ("binmon_recorder_rows_total", ()) not in samples(other)


def test_a_figure_must_be_as_declared():
    with pytest.raises(ValueError, match="labels"):
        DECLARED["binmon_channel_depth"].figure(1)
    with pytest.raises(ValueError, match="no value of it"):
        DECLARED["binmon_channel_depth"].figure(DelayHistogram().snapshot(), "keeper")
    with pytest.raises(ValueError, match="no value of it"):
        DECLARED["binmon_book_apply_lag_seconds"].figure(1, "binance")
