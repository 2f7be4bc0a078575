"""The vocabulary of the log as data. ``python -m binmon.telemetry.events > docs/logs.md`` writes the reference."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One name of the log: the levels it comes at, its own fields, and what it says."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str


def _event(name: str, levels: str, fields: str, meaning: str) -> LogEvent:
    return LogEvent(name, tuple(levels.split()), tuple(fields.split()), meaning)


_PROBE = (
    "venue symbol client_order_id class sent_to_report_ms sent_to_event_ms event_to_receive_ms uncertainty_ms"
    " clock_offset_ms threshold_ms sent_to_answer_ms transaction_to_event_ms order_status"
)
_ALERT = "alert subject severity text count returns duration_s"
_ORDER = "venue symbol client_order_id side quantity"

EVENTS: tuple[LogEvent, ...] = (
    _event("daemon.started", "info", "version config_hash", "The configuration is read; the venue is asked next."),
    _event(
        "daemon.ready",
        "info warning",
        "after_s missing",
        "All configured books are synced and the user-data stream is subscribed; or 90 s have passed, and what is missing.",
    ),
    _event("daemon.stopping", "info", "reason", "A signal or a fatal error ends the daemon; it closes what is open."),
    _event("daemon.stopped", "info", "", "Everything is closed and flushed; the last line."),
    _event("worker.started", "info", "worker", "A thread runs."),
    _event("worker.failed", "warning error", "worker attempt delay_s error", "A thread ended by an error."),
    _event("worker.restarted", "info warning", "worker attempt delay_s", "A failed thread runs again."),
    _event("worker.fatal", "critical", "worker attempt error", "A thread failed too often; it is given up."),
    _event(
        "worker.stalled",
        "critical",
        "worker age_s limit_s where",
        "A critical thread hangs, and where; all stacks go to standard error, and systemd's watchdog is told no more.",
    ),
    _event("worker.late", "error", "worker error", "A thread did not end within the deadline of a stop."),
    _event("stream.connected", "info", "venue connection streams", "A connection delivers."),
    _event("stream.disconnected", "warning info", "venue connection streams reason", "A connection ended."),
    _event(
        "stream.rotated",
        "info",
        "venue connection predecessor streams reason overlap_ms",
        "A successor took over from a connection; for so long both delivered.",
    ),
    _event(
        "stream.compared",
        "info",
        "venue connection streams first second median_behind_ms worst_behind_ms",
        "How one of several connections with the same streams did: how often it was first, and how far behind if not.",
    ),
    _event(
        "stream.stalled", "warning", "venue connection streams symbols reason", "A connection is open but says nothing."
    ),
    _event("stream.overflow", "warning", "venue connection streams count", "Frames found no room: dropped, a gap."),
    _event("stream.malformed", "warning", "venue connection error count", "A frame is not what the venue documents."),
    _event("stream.refused", "error", "venue connection request error", "The venue refused a request on a stream."),
    _event("stream.close_unsent", "debug", "connection reason", "A close frame found no connection any more."),
    _event("snapshot.failed", "warning", "venue symbol error retry_after_s", "A REST snapshot failed; tried again."),
    _event("venue.unreachable", "error", "venue error delay_s", "The venue does not answer at the start; tried again."),
    _event("book.state", "info", "venue symbol from to reason update_id", "A book went from one state to another."),
    _event("book.gap", "warning", "venue symbol expected first_update_id last_update_id", "Updates are missing."),
    _event(
        "book.audit",
        "info error",
        "venue symbol update_id levels mismatches excepted found",
        "A book was compared with the venue's snapshot; it is rebuilt when they differ.",
    ),
    _event(
        "book.renewed",
        "info error",
        "venue symbol reason update_id levels mismatches added bid_known_to ask_known_to found",
        "A book got a deeper or fresher snapshot beside the live one, which it replaced in one step.",
    ),
    _event("book.audits_stretched", "warning", "venue symbols wanted_s possible_s", "Audits cannot come so often."),
    _event("book.upkeep_failed", "warning", "venue symbol error", "A comparison or renewal came to nothing."),
    _event("book.snapshot_dropped", "warning", "venue symbol count", "The recorder had no room for snapshots."),
    _event("book.top", "info", "venue symbol bid bid_quantity ask ask_quantity update_id age_ms", "The top of a book."),
    _event(
        "books.followed", "info", "venue listed delisted", "Symbols that trade now, or no more, where `all` is kept."
    ),
    _event("listings.failed", "warning", "venue error", "The venue's symbols could not be had; tried again."),
    _event("book.refused", "error", "venue symbol reason", "This symbol gets no book: unknown, or too many digits."),
    _event("order.sent", "info", f"{_ORDER} sent_at", "An order leaves."),
    _event("order.answered", "info", f"{_ORDER} sent_at round_trip_ms", "The venue accepted an order."),
    _event("order.rejected", "warning", f"{_ORDER} sent_at round_trip_ms code message", "It refused an order."),
    _event("order.forbidden", "warning", f"{_ORDER} limit reason", "Our own safety limits refused an order."),
    _event("order.uncertain", "warning", f"{_ORDER} reason", "No usable answer: it may have been executed."),
    _event("order.not_sent", "warning", f"{_ORDER} reason", "It certainly was not executed: no connection, no room."),
    _event("order.not_found_out", "warning", "venue client_order_id reason", "An order could not be asked for."),
    _event("user_stream.subscribed", "info", "venue connection", "The venue tells us of our own orders."),
    _event("user_stream.down", "warning info", "venue connection reason", "It does not any more."),
    _event("user_stream.refused", "error", "venue connection error", "The venue does not let us subscribe."),
    _event("user_stream.malformed", "warning", "venue connection reason", "An unreadable frame: connected anew."),
    _event("user_stream.dropped", "error", "venue message", "A listener had no room for a report."),
    _event("clock.stepped", "warning", "venue clock by_ms", "The venue's clock, or ours (`local`), was set."),
    _event("clock.unknown", "warning", "venue reason failures", "The venue's time cannot be had: less sure with time."),
    _event("clock.known", "info", "venue failures", "It can be had again."),
    _event("latency.off", "warning", "key reason", "No probe, as nobody asked for it and it cannot run."),
    _event(
        "latency.capped", "warning", "orders_a_day limit key", "The interval asks for more orders than are allowed."
    ),
    _event(
        "latency.overdue",
        "warning",
        "venue symbol client_order_id waited_ms threshold_ms",
        "The threshold has passed, and not all reports of an order are here.",
    ),
    _event("latency.skipped", "error", "venue symbol reason", "No order could be sent; the reason with its remedy."),
    _event("latency.resumed", "info", "venue symbol", "Orders are sent again."),
    _event("latency.restored", "warning", "orders", "The last run left orders open: they are asked for."),
    _event(
        "latency.dropped", "error", "message", "The monitor had no room for what became of an order; it is asked for."
    ),
    _event("latency.unwritten", "error", "reason", "The disk does not take measurements; they wait."),
    _event("latency.measured", "info", _PROBE, "An order's way to its slowest execution report, measured."),
    _event("latency.delayed", "warning", f"{_PROBE} over_ms", "A report came later than the threshold."),
    _event(
        "latency.lost",
        "error",
        "venue symbol client_order_id waited_ms order_status class detail",
        "Not all reports came, or nobody knows of the order any more.",
    ),
    _event("price.crossed", "warning", "venue symbol source price threshold direction", "A price crossed a line."),
    _event("symbol.listed", "warning", "venue symbol status first_seen_by lead_ms", "A new symbol."),
    _event("symbol.status", "info", "venue symbol status first_seen_by lead_ms", "A symbol changed its status."),
    _event(
        "config.reloaded",
        "info",
        "config_hash changes restart_needed unused",
        "A new configuration is in force, but for the keys that need a restart and those that nothing here uses yet.",
    ),
    _event("config.rejected", "error", "key reason file line", "A new configuration is wrong; the old one stays."),
    _event("config.not_noted", "warning", "reason", "What is in force could not be noted for `binmon plan`."),
    _event("config.unused", "warning", "key reason", "The file has a key that this version does nothing with."),
    _event("rate.limited", "warning", "venue scope used limit retry_after_s", "A limit of the venue is used up."),
    _event(
        "rate.banned", "error", "venue scope used limit retry_after_s", "The venue banned this address for a while."
    ),
    _event("recorder.recovered", "warning", "path rows bytes rows_lost", "A crash left this file; it is whole again."),
    _event("recorder.segment_closed", "info", "path rows bytes rows_lost", "A file of the recording is finished."),
    _event("recorder.segment_finished", "info", "path rows bytes files rows_lost", "A segment became files."),
    _event("recorder.failed", "error", "path error", "The recording cannot be written."),
    _event("recorder.resumed", "info", "path rows rows_lost", "The recording can be written again."),
    _event(
        "recorder.over_size", "warning", "path bytes limit reason", "More than keep_gb, and nothing may be deleted."
    ),
    _event("service.untold", "warning", "reason", "The service manager could not be told how we are."),
    _event("metrics.listening", "info", "address", "The pages /metrics and /healthz are served."),
    _event("metrics.failed", "error", "source error", "A part of the metrics, or all of them, cannot be had."),
    _event("metrics.request_failed", "debug", "client", "A request for a page broke off."),
    _event(
        "recorder.deleted", "info", "path bytes reason", "Old recordings were deleted, as keep_days or keep_gb say."
    ),
    _event("recorder.compacted", "info", "path files rows bytes", "Many small files of a day became one."),
    _event("recorder.not_compacted", "warning", "path error", "Files are not merged: unreadable, or no exchange here."),
    _event(
        "recorder.evidence_dropped", "warning", "venue symbol count", "Evidence found no room while the disk refused."
    ),
    _event("sandbox.started", "info", "rest stream ws_api", "The embedded exchange runs on these addresses."),
    _event(
        "alert.raised", "info warning error critical", _ALERT, "A condition holds: whoever is configured will be told."
    ),
    _event("alert.reminder", "info warning error critical", _ALERT, "It still holds, or has become worse."),
    _event("alert.recovered", "info", _ALERT, "It is over."),
    _event("alert.expired", "info warning error critical", _ALERT, "Nothing was heard of it for long: given up."),
    _event("alert.dropped", "error", "target count", "Messages, or signals (`rules`), found no room."),
    _event("alert.sent", "info", "alert subject target attempt", "Somebody was told."),
    _event(
        "alert.failed",
        "error",
        "alert subject target attempt error retry_in_s final",
        "Somebody could not be told; it is tried again, unless this is final.",
    ),
)

VOCABULARY: dict[str, LogEvent] = {event.name: event for event in EVENTS}


def reference() -> str:
    """The page ``docs/logs.md``."""
    lines = [
        "# Log events",
        "",
        "<!-- Written by `python -m binmon.telemetry.events > docs/logs.md`; edit binmon/telemetry/events.py. -->",
        "",
        "One JSON object a line: `timestamp` (RFC 3339 UTC, microseconds), `level`, `event`, `logger`, then the",
        "event's own fields. A field that has no value in some case may be left out. An error's traceback is in",
        "`exception`. Lines whose event is none of these come from other packages.",
        "",
        "| event | level | fields | meaning |",
        "|---|---|---|---|",
    ]
    for event in EVENTS:
        fields = ", ".join(f"`{field}`" for field in event.fields)
        lines.append(f"| `{event.name}` | {', '.join(event.levels)} | {fields} | {event.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
