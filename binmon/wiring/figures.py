"""What the parts count, for ``/metrics`` and ``/healthz``: read from their public attributes when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from binmon.alerts.delivery import TargetDelivery
from binmon.alerts.dispatcher import AlertDispatcher
from binmon.core.clock import VenueClock
from binmon.latency.measurement import OrderClass
from binmon.latency.monitor import LatencyMonitor
from binmon.latency.probe import OrderProbe
from binmon.orders.gate import OrderGate
from binmon.orders.user_stream import UserStream
from binmon.publish.publisher import TopPublisher
from binmon.status import PATIENCE_S, Section
from binmon.telemetry.events import LIMITED
from binmon.telemetry.histogram import HistogramSnapshot
from binmon.telemetry.logging import LogCounts
from binmon.telemetry.metrics import DECLARED, Figure
from binmon.wiring.incidents import IncidentParts
from binmon.wiring.reload import Reloader
from binmon.wiring.venues import VenueStarts


def clock_figures(clock: VenueClock) -> Iterator[Figure]:
    """The offset itself stands among the venue's figures."""
    reading = clock.reading()
    if reading is not None:
        yield _figure("binmon_clock_uncertainty_seconds", reading.uncertainty_ns / 1e9, clock.venue)
        yield _figure("binmon_clock_drift_ratio", reading.drift_ppm / 1e6, clock.venue)
    yield _figure("binmon_clock_steps_total", clock.steps, clock.venue)


def latency_figures(
    monitor: LatencyMonitor, probe: OrderProbe, gate: OrderGate, stream: UserStream, venue: str
) -> Iterator[Figure]:
    """The probe, its orders, and what they depend on."""
    symbol, tracker = probe.settings.symbol, monitor.tracker
    for phase, histogram in monitor.phases.items():
        yield DECLARED["binmon_latency_seconds"].figure(histogram.snapshot(), venue, symbol, phase)
    overhead: HistogramSnapshot = monitor.overhead.snapshot()
    yield DECLARED["binmon_latency_overhead_seconds"].figure(overhead, venue, symbol)
    for order_class in OrderClass:  # also those that no order has had: a counter that begins at one has no increase
        yield _figure("binmon_latency_orders_total", tracker.classes[order_class], venue, symbol, order_class.value)
    yield _figure("binmon_latency_open_orders", tracker.open, venue, symbol)
    yield _figure("binmon_latency_skipped_total", probe.skipped, venue, symbol)
    yield _figure("binmon_latency_threshold_seconds", tracker.threshold_ms / 1000, venue, symbol)
    yield _figure("binmon_orders_permitted_total", gate.permitted, venue)
    yield _figure("binmon_orders_forbidden_total", gate.forbidden, venue)
    yield _figure("binmon_user_stream_up", stream.subscribed_to is not None, venue)
    yield _figure("binmon_user_stream_breaks_total", stream.breaks, venue)
    yield _figure("binmon_user_stream_reports_total", stream.reports, venue)


def publisher_figures(publisher: TopPublisher) -> Iterator[Figure]:
    """Tops of books."""
    yield _figure("binmon_publish_tops_total", publisher.published)
    yield _figure("binmon_publish_conflated_total", publisher.conflated)


def alert_figures(dispatcher: AlertDispatcher, targets: Sequence[TargetDelivery]) -> Iterator[Figure]:
    """Who was told what."""
    yield DECLARED["binmon_alerts_lag_seconds"].figure(dispatcher.lag.snapshot())
    yield DECLARED["binmon_alerts_reaction_seconds"].figure(dispatcher.reaction.snapshot())
    yield _figure("binmon_alerts_firing", dispatcher.firing_count)
    for kind, count in dispatcher.told_counts.items():
        yield _figure("binmon_alerts_told_total", count, kind.value)
    yield _figure("binmon_alerts_dropped_total", dispatcher.dropped_count)
    for target in targets:
        yield _figure("binmon_alerts_sent_total", target.sent_count, target.name)
        yield _figure("binmon_alerts_failed_total", target.failed_count, target.name)
        yield _figure("binmon_alerts_given_up_total", target.given_up_count, target.name)


def reload_figures(reloader: Reloader) -> Iterator[Figure]:
    """How the last reloads went."""
    yield _figure("binmon_config_last_reload_success", reloader.last_succeeded)
    yield _figure("binmon_config_last_reload_timestamp_seconds", reloader.last_reload_s)
    yield _figure("binmon_config_reloads_total", reloader.reloaded, "reloaded")
    yield _figure("binmon_config_reloads_total", reloader.rejected, "rejected")


def log_figures(counts: LogCounts) -> Iterator[Figure]:
    """What became of lines that were not written."""
    for event in (*sorted(LIMITED), "other"):
        yield _figure("binmon_log_lines_held_back_total", counts.held_back.get(event, 0), event)
    yield _figure("binmon_log_lines_lost_total", counts.lost_by_stream, "stdout")
    yield _figure("binmon_log_lines_lost_total", counts.lost_by_file, "file")


def incident_figures(incidents: IncidentParts) -> Iterator[Figure]:
    """The flight recorder."""
    for venue, recorder in tuple(incidents.recorders.items()):  # venues come while others look
        for reason, count in recorder.triggers.items():
            yield _figure("binmon_incidents_triggered_total", count, venue, reason.value)
        yield _figure("binmon_incidents_ring_bytes", recorder.ring.bytes, venue)
        yield _figure("binmon_incidents_ring_seconds", recorder.ring.seconds, venue)
    if incidents.writer is not None:
        for reason, count in incidents.writer.written.items():
            yield _figure("binmon_incidents_written_total", count, reason.value)
        yield _figure("binmon_incidents_held_back_total", incidents.limits.held_back)
        yield _figure("binmon_incidents_failed_total", incidents.writer.failed)


def clocks_section(clocks: Sequence[VenueClock]) -> Callable[[], Section]:
    """The venues' clocks on ``/healthz``."""
    return lambda: ([], {clock.venue: _clock_document(clock) for clock in clocks})


def _clock_document(clock: VenueClock) -> dict[str, float | None]:
    reading = clock.reading()
    if reading is None:
        return {"offset_ms": None}
    return {
        "offset_ms": round(reading.venue_minus_wall_ns / 1e6, 3),
        "uncertainty_ms": round(reading.uncertainty_ns / 1e6, 3),
        "drift_ppm": round(reading.drift_ppm, 1),
        "samples": clock.samples,
        "steps": clock.steps,
    }


def start_section(starts: VenueStarts | None) -> Section:
    """Which venues have not answered since the start, on ``/healthz``."""
    if starts is None:
        return [], {"waiting_for": [], "left_out": {}}
    problems = [f"{name} has not answered since the start" for name in starts.waiting if starts.for_s > PATIENCE_S]
    left_out = dict(starts.left_out)
    problems += [f"{name} is left out: {reason}" for name, reason in left_out.items()]
    return problems, {"waiting_for": list(starts.waiting), "left_out": left_out}


def latency_section(monitor: LatencyMonitor, probe: OrderProbe, stream: UserStream) -> Callable[[], Section]:
    """The probe on ``/healthz``. A probe that cannot send is told by the log and by an alert: books go on without it."""

    def ask() -> Section:
        return [], {
            "subscribed_to": stream.subscribed_to,
            "connections": stream.connections(),
            "trouble": probe.trouble,
            "open_orders": monitor.tracker.open,
            "sent": probe.sent,
            "skipped": probe.skipped,
            "classes": {order_class.value: count for order_class, count in monitor.tracker.classes.items()},
        }

    return ask


def _figure(name: str, value: float, *labels: str) -> Figure:
    return DECLARED[name].figure(float(value), *labels)
