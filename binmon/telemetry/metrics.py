"""The metrics page: what others count is gathered when somebody asks for it, and rendered as Prometheus text.

``python -m binmon.telemetry.metrics > docs/metrics.md`` writes the reference.
"""

from __future__ import annotations

import enum
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from binmon.telemetry.histogram import HistogramSnapshot

log = structlog.get_logger("binmon.metrics")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricKind(enum.StrEnum):
    """What may be done with a metric's values."""

    COUNTER = "counter"  # only grows until a restart: look at its rate
    GAUGE = "gauge"  # goes up and down: look at the value
    HISTOGRAM = "histogram"  # delays in buckets: look at its quantiles


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric: everything but its values."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    meaning: str

    def figure(self, value: float | HistogramSnapshot, *label_values: str) -> Figure:
        """A value of this metric. Raises ValueError when value or labels are not those declared."""
        if len(label_values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {len(label_values)} values")
        if isinstance(value, HistogramSnapshot) is not (self.kind is MetricKind.HISTOGRAM):
            raise ValueError(f"{self.name} is a {self.kind}: {type(value).__name__} is no value of it")
        return Figure(self.name, self.kind, self.meaning, value, tuple(zip(self.labels, label_values, strict=True)))


@dataclass(frozen=True, slots=True)
class Figure:
    """One value of the metrics page. ``labels`` are (name, value)."""

    name: str
    kind: MetricKind
    help: str
    value: float | HistogramSnapshot
    labels: tuple[tuple[str, str], ...] = ()


Source = Callable[[], Iterable[Figure]]


def _metric(name: str, kind: str, labels: str, meaning: str) -> Metric:
    return Metric(name, MetricKind(kind), tuple(labels.split()), meaning)


METRICS: tuple[Metric, ...] = (
    _metric("binmon_build_info", "gauge", "version config_hash", "Always 1; which version runs which configuration."),
    _metric("binmon_config_last_reload_success", "gauge", "", "1 unless the last changed configuration was refused."),
    _metric(
        "binmon_config_last_reload_timestamp_seconds", "gauge", "", "When the one in force came into force, since 1970."
    ),
    _metric("binmon_config_reloads_total", "counter", "result", "Reloads: reloaded or rejected."),
    _metric(
        "binmon_worker_up",
        "gauge",
        "worker",
        "1 while the worker's thread runs; the sockets of a group are one worker, such as binance-market-1.*.",
    ),
    _metric("binmon_worker_cpu_seconds_total", "counter", "worker", "Processor time of the worker's threads."),
    _metric("binmon_worker_beat_age_seconds", "gauge", "worker", "Since the worker's loop has last turned."),
    _metric("binmon_worker_progress_total", "counter", "worker", "How often the worker did what it exists for."),
    _metric("binmon_channel_depth", "gauge", "channel", "Messages that wait between two workers."),
    _metric("binmon_channel_capacity", "gauge", "channel", "How many messages may wait at most."),
    _metric("binmon_channel_dropped_total", "counter", "channel", "Messages dropped because the channel was full."),
    _metric("binmon_recorder_rows_total", "counter", "", "Rows that are on disk."),
    _metric("binmon_recorder_rows_lost_total", "counter", "", "Rows and events that were lost, at whatever stage."),
    _metric("binmon_recorder_bytes_total", "counter", "", "Bytes written to segments."),
    _metric("binmon_recorder_failing", "gauge", "", "1 while the disk refuses what the recorder writes."),
    _metric("binmon_incidents_triggered_total", "counter", "venue reason", "What would be worth an incident file."),
    _metric("binmon_incidents_written_total", "counter", "reason", "Incident files that were written."),
    _metric("binmon_incidents_held_back_total", "counter", "", "Incident files not written, as there were too many."),
    _metric("binmon_incidents_failed_total", "counter", "", "Incident files that the disk refused."),
    _metric("binmon_incidents_ring_bytes", "gauge", "venue", "Memory that frames are kept in for incidents."),
    _metric("binmon_incidents_ring_seconds", "gauge", "venue", "How far back that reaches."),
    _metric("binmon_books", "gauge", "venue state", "Books in this state; every book is in one."),
    _metric(
        "binmon_books_without_series", "gauge", "venue", "Books beyond metrics.per_symbol: only the sums have them."
    ),
    _metric("binmon_book_synced", "gauge", "venue symbol", "1 while this book is synced (see metrics.per_symbol)."),
    _metric("binmon_book_apply_lag_seconds", "histogram", "venue", "From a frame's arrival to its update in the book."),
    _metric("binmon_book_gaps_total", "counter", "venue", "Gaps found in the update ids of books."),
    _metric("binmon_book_resyncs_total", "counter", "venue", "Books loaded anew from a snapshot."),
    _metric(
        "binmon_book_duplicates_total", "counter", "venue", "Updates that another connection had delivered before."
    ),
    _metric("binmon_book_audits_total", "counter", "venue result", "Comparisons with a snapshot of the venue."),
    _metric("binmon_stream_rotations_total", "counter", "venue", "Connections that a successor took over from."),
    _metric("binmon_stream_connections", "gauge", "venue state", "Connections to the venue's streams."),
    _metric("binmon_rate_weight_used", "gauge", "venue", "Request weight of this minute, requests under way included."),
    _metric("binmon_rate_weight_limit", "gauge", "venue", "Request weight that the venue allows a minute."),
    _metric("binmon_rate_waiting", "gauge", "venue priority", "Requests that wait for request weight."),
    _metric("binmon_rate_banned_until_seconds", "gauge", "venue", "End of the last known ban, since 1970; 0 for none."),
    _metric("binmon_rate_connects_used", "gauge", "venue", "Connection attempts in the last five minutes."),
    _metric("binmon_rate_connects_limit", "gauge", "venue", "Connection attempts we allow ourselves in that time."),
    _metric("binmon_rate_full_resync_weight", "gauge", "venue", "Request weight that a resync of all books costs."),
    _metric("binmon_rate_full_resync_seconds", "gauge", "venue", "How long a resync of all books would take from now."),
    _metric("binmon_clock_offset_seconds", "gauge", "venue", "The venue's clock minus ours, as measured last."),
    _metric("binmon_clock_uncertainty_seconds", "gauge", "venue", "How far that may be wrong, to either side."),
    _metric("binmon_clock_drift_ratio", "gauge", "venue", "Seconds that the venue's clock gains on ours in a second."),
    _metric("binmon_clock_steps_total", "counter", "venue", "How often the venue's clock, or ours, was set."),
    _metric("binmon_latency_seconds", "histogram", "venue symbol phase", "Orders of the probe, by phase."),
    _metric("binmon_latency_orders_total", "counter", "venue symbol class", "Orders of the probe, by how they ended."),
    _metric("binmon_latency_open_orders", "gauge", "venue symbol", "Orders of the probe that have not ended yet."),
    _metric("binmon_latency_skipped_total", "counter", "venue symbol", "Turns in which no order could be sent."),
    _metric("binmon_latency_threshold_seconds", "gauge", "venue symbol", "A report later than this is late."),
    _metric("binmon_latency_overhead_seconds", "histogram", "venue symbol", "From a report's frame to its verdict."),
    _metric("binmon_orders_permitted_total", "counter", "venue", "Orders that the safety limits let through."),
    _metric("binmon_orders_forbidden_total", "counter", "venue", "Orders that the safety limits refused."),
    _metric("binmon_user_stream_up", "gauge", "venue", "1 while the venue tells us of our own orders."),
    _metric("binmon_user_stream_breaks_total", "counter", "venue", "How often that was interrupted."),
    _metric("binmon_user_stream_reports_total", "counter", "venue", "Execution reports that it brought."),
    _metric("binmon_publish_tops_total", "counter", "", "Tops of book that were handed on."),
    _metric("binmon_publish_conflated_total", "counter", "", "Tops left out for a newer one, as too many waited."),
    _metric("binmon_watch_candle_series", "gauge", "venue state", "Series of candles that are watched, by state."),
    _metric("binmon_watch_trade_streams", "gauge", "venue state", "Symbols whose trades are watched: live or down."),
    _metric("binmon_watch_followed", "gauge", "venue", "Series that are watched because somebody looks at them."),
    _metric("binmon_watch_events_total", "counter", "venue watcher", "What candles, trades and symbols brought."),
    _metric("binmon_watch_malformed_total", "counter", "venue watcher", "Frames that are not as documented."),
    _metric("binmon_watch_rotations_total", "counter", "venue watcher", "Connections that a successor took over from."),
    _metric("binmon_watch_dropped_total", "counter", "venue watcher", "Messages that whoever listens had no room for."),
    _metric(
        "binmon_watch_candles_corrected_total",
        "counter",
        "venue",
        "Closed candles that the venue's history contradicts.",
    ),
    _metric("binmon_watch_trades_missed_total", "counter", "venue", "Trades that no connection brought."),
    _metric("binmon_watch_crossings_total", "counter", "venue source", "Prices that crossed a line."),
    _metric("binmon_watch_symbols_known", "gauge", "venue", "Symbols that were ever seen."),
    _metric("binmon_watch_symbols_listed_total", "counter", "venue", "Symbols that were reported as new."),
    _metric("binmon_alerts_lag_seconds", "histogram", "", "From a signal being given to its line in the log."),
    _metric(
        "binmon_alerts_reaction_seconds", "histogram", "", "From the arrival of a late report's frame to its alert."
    ),
    _metric("binmon_alerts_firing", "gauge", "", "Conditions that hold now and people were told of."),
    _metric("binmon_alerts_told_total", "counter", "kind", "Messages to people: raised, reminder, recovered, expired."),
    _metric("binmon_alerts_dropped_total", "counter", "", "Messages that a full queue of a target lost."),
    _metric("binmon_alerts_sent_total", "counter", "target", "Messages that a target took."),
    _metric("binmon_alerts_failed_total", "counter", "target", "Attempts to deliver that failed."),
    _metric("binmon_alerts_given_up_total", "counter", "target", "Messages that were never delivered."),
    _metric(
        "binmon_log_lines_held_back_total",
        "counter",
        "event",
        "Lines of the log that repeated others (logging.repeat_limit).",
    ),
    _metric(
        "binmon_log_lines_lost_total", "counter", "output", "Lines of the log that stdout, or the file, did not take."
    ),
)

DECLARED: dict[str, Metric] = {metric.name: metric for metric in METRICS}

_ERRORS = _metric("binmon_metrics_errors_total", "counter", "source", "Sources of this page that failed when asked.")


class MetricsRegistry:
    """Gathers figures from its sources whenever the page is asked for. Any thread may render.

    A source that fails, or gives a figure that contradicts another, does not break the page: it is counted in
    ``binmon_metrics_errors_total`` and logged the first time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._sources: dict[str, Source] = {}
        self._errors: dict[str, int] = {}
        # one of our own: what other libraries register for themselves stays off the page
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(_Gathering(self))

    def add(self, name: str, source: Source) -> None:
        """Ask ``source`` from now on; a source of the same name is replaced. It is called in any thread."""
        with self._lock:
            self._sources[name] = source

    def render(self) -> bytes:
        """The page, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Family]:
        """Everything the sources give now, by metric."""
        families: dict[str, Family] = {}
        shapes: dict[str, tuple[MetricKind, tuple[str, ...]]] = {}
        taken: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        with self._lock:
            sources = dict(self._sources)
        for name, source in sources.items():
            try:
                for figure in source():
                    key, shape = (figure.name, figure.labels), (figure.kind, tuple(label for label, _ in figure.labels))
                    if key in taken or shapes.setdefault(figure.name, shape) != shape:
                        problem = f"{figure.name} {dict(figure.labels)} was given before, or in another shape"
                        self._failed(name, ValueError(problem))
                        continue
                    taken.add(key)
                    _put(families.setdefault(figure.name, _family(figure)), figure)
            except Exception as error:  # whatever is wrong with one source, the others are worth seeing
                self._failed(name, error)
        yield from families.values()
        with self._lock:
            errors = [_ERRORS.figure(self._errors.get(name, 0), name) for name in sources]
        if errors:
            family = _family(errors[0])
            for figure in errors:
                _put(family, figure)
            yield family

    def _failed(self, name: str, error: Exception) -> None:
        with self._lock:
            count = self._errors[name] = self._errors.get(name, 0) + 1
        if count == 1:
            log.error("metrics.failed", source=name, error=f"{type(error).__name__}: {error}", exc_info=error)


class _Gathering(Collector):
    """What the library asks for the families."""

    def __init__(self, registry: MetricsRegistry) -> None:
        self._of = registry

    def collect(self) -> Iterator[Family]:
        return self._of.families()


Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

_FAMILIES: dict[MetricKind, type[Family]] = {
    MetricKind.COUNTER: CounterMetricFamily,
    MetricKind.GAUGE: GaugeMetricFamily,
    MetricKind.HISTOGRAM: HistogramMetricFamily,
}


def _family(figure: Figure) -> Family:
    return _FAMILIES[figure.kind](figure.name, figure.help, labels=[name for name, _ in figure.labels])


def _put(family: Family, figure: Figure) -> None:
    labels = [value for _, value in figure.labels]
    if isinstance(family, HistogramMetricFamily):
        if not isinstance(figure.value, HistogramSnapshot):
            raise ValueError(f"{figure.name} is a histogram, and {figure.value!r} is none")
        family.add_metric(labels, buckets=_cumulative(figure.value), sum_value=figure.value.sum_s)
    elif isinstance(figure.value, HistogramSnapshot):
        raise ValueError(f"{figure.name} is a {figure.kind}, not a histogram")
    else:
        family.add_metric(labels, figure.value)


def _cumulative(histogram: HistogramSnapshot) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each holds all below it, the last is called infinity."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound_s, count in zip((*histogram.bounds_s, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound_s == float("inf") else str(bound_s), total))
    return buckets


def reference() -> str:
    """The page ``docs/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        "<!-- Written by `python -m binmon.telemetry.metrics > docs/metrics.md`; edit binmon/telemetry/metrics.py. -->",
        "",
        "`GET /metrics` at `metrics.listen` gives them as Prometheus text. A counter starts at zero when the daemon does.",
        "Beside these, `process_*` tells of the process: processor time, memory, open files, start. `GET /healthz` at the",
        "same address says whether all is well: status 200 or 503, and JSON that says why not. What fails is given a minute",
        "to come back before it counts, and a book ten to be synced for the first time.",
        "",
        "**How many series.** All but a few tens are sums over all symbols, however many there are. A series of its own have",
        "the symbol of the delay probe, and in the metrics of single books (`binmon_book_synced`) the first",
        "`metrics.per_symbol` symbols of each venue, 100 if nothing is said: in the order of the configuration, and where that",
        "says `all` of the venue's list. A symbol keeps its series while it has a book; one that goes makes room for the next.",
        "A list of symbols instead of a number names them, and 0 leaves the sums alone. It applies live.",
        "`binmon_books_without_series` tells how many books are in the sums only; `/healthz` has the state of every one.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in (*METRICS, _ERRORS):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
