"""The vocabulary of the log as data. ``python -m binmon.telemetry.events > docs/logs.md`` writes the reference.

A new event is one entry of `EVENTS`. Its fields are names of `binmon.telemetry.fields.FIELDS`; ``name?`` may be null or left
out, and ``name:type`` is of another type than elsewhere (``symbols:integer``, ``symbols:integer?``).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from binmon.telemetry.fields import FIELDS, FieldType

LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One name of the log: the levels it comes at, its own fields, and what it says.

    ``optional`` are the fields that may be null or left out; ``types`` has those whose type is known. Of a ``limited`` event
    repetitions may be held back (`binmon.telemetry.repeats`); of all others every line is written.
    """

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str
    optional: frozenset[str]
    types: Mapping[str, FieldType]
    limited: bool


LIMITED = frozenset(
    {
        "worker.failed",
        "stream.disconnected",
        "stream.overflow",
        "stream.malformed",
        "stream.refused",
        "stream.close_unsent",
        "snapshot.failed",
        "listings.failed",
        "candles.failed",
        "symbols.unwritten",
        "venue.unreachable",
        "book.audits_stretched",
        "book.upkeep_failed",
        "user_stream.down",
        "user_stream.refused",
        "user_stream.malformed",
        "user_stream.dropped",
        "clock.stepped",
        "clock.unknown",
        "latency.skipped",
        "latency.dropped",
        "latency.unwritten",
        "recorder.failed",
        "recorder.not_compacted",
        "recorder.evidence_dropped",
        "service.untold",
        "metrics.failed",
        "metrics.request_failed",
        "alert.dropped",
        "dashboard.login_failed",
        "dashboard.dropped",
        "dashboard.failed",
    }
)
"""Events that a lasting trouble may repeat without end. Never among them: what is data, what says that a trouble is over,
and what the contract lets people count, but for the two that a flapping connection or a failing thread repeats."""


def _event(name: str, levels: str, fields: str, meaning: str) -> LogEvent:
    names: list[str] = []
    optional: set[str] = set()
    types: dict[str, FieldType] = {}
    for word in fields.split():
        field, _, type_name = word.rstrip("?").partition(":")
        names.append(field)
        if word.endswith("?"):
            optional.add(field)
        if type_name:
            types[field] = FieldType(type_name)
        elif field in FIELDS:  # a test finds those that are not
            types[field] = FIELDS[field].type
    return LogEvent(name, tuple(levels.split()), tuple(names), meaning, frozenset(optional), types, name in LIMITED)


_PROBE = (
    "venue symbol client_order_id class sent_to_report_ms sent_to_event_ms? event_to_receive_ms? uncertainty_ms?"
    " clock_offset_ms? threshold_ms sent_to_answer_ms? transaction_to_event_ms? order_status?"
)
_ALERT = "alert subject severity text count returns duration_s"
_ORDER = "venue symbol client_order_id side quantity?"
_SUBJECTS = " ".join(f"{field.name}?" for field in FIELDS.values() if field.names_subject)

EVENTS: tuple[LogEvent, ...] = (
    _event("daemon.started", "info", "version config_hash pid", "The configuration is read; the venue is asked next."),
    _event(
        "daemon.ready",
        "info warning",
        "after_s missing",
        "All configured books are synced and the user-data stream is subscribed; or 90 s have passed, and what is missing.",
    ),
    _event("daemon.stopping", "info", "reason", "A signal or a fatal error ends the daemon; it closes what is open."),
    _event("daemon.stopped", "info", "", "Everything is closed and flushed; the last line."),
    _event("worker.started", "info", "worker attempt", "A thread runs."),
    _event("worker.failed", "warning error", "worker attempt delay_s? error", "A thread ended by an error."),
    _event("worker.restarted", "info warning", "worker attempt delay_s?", "A failed thread runs again."),
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
        "venue connection predecessor? streams reason overlap_ms",
        "A successor took over from a connection; for so long both delivered.",
    ),
    _event(
        "stream.compared",
        "info",
        "venue connection streams first second median_behind_ms? worst_behind_ms?",
        "How one of several connections with the same streams did: how often it was first, and how far behind if not.",
    ),
    _event(
        "stream.stalled",
        "warning",
        "venue connection streams symbols? reason",
        "A connection is open but says nothing.",
    ),
    _event("stream.overflow", "warning", "venue connection streams? count", "Frames found no room: dropped, a gap."),
    _event("stream.malformed", "warning", "venue connection error count", "A frame is not what the venue documents."),
    _event("stream.refused", "error", "venue connection request error", "The venue refused a request on a stream."),
    _event("stream.close_unsent", "debug", "connection reason", "A close frame found no connection any more."),
    _event("snapshot.failed", "warning", "venue symbol error retry_after_s", "A REST snapshot failed; tried again."),
    _event("venue.unreachable", "error", "venue error delay_s", "The venue does not answer at the start; tried again."),
    _event(
        "venue.left_out",
        "error",
        "venue key reason",
        "A venue that answered late cannot be used as configured: its parts are left out, the others go on.",
    ),
    _event("book.state", "info", "venue symbol from to reason update_id?", "A book went from one state to another."),
    _event("book.dropped", "info", "venue symbol reason", "A book is not kept any more."),
    _event("book.gap", "warning", "venue symbol expected first_update_id last_update_id", "Updates are missing."),
    _event(
        "book.audit",
        "info error",
        "venue symbol update_id levels mismatches excepted found?",
        "A book was compared with the venue's snapshot; it is rebuilt when they differ.",
    ),
    _event(
        "book.renewed",
        "info error",
        "venue symbol reason update_id levels mismatches added bid_known_to? ask_known_to? found?",
        "A book got a deeper or fresher snapshot beside the live one, which it replaced in one step.",
    ),
    _event(
        "book.audits_stretched", "warning", "venue symbols:integer wanted_s possible_s", "Audits cannot come so often."
    ),
    _event("book.upkeep_failed", "warning", "venue symbol error", "A comparison or renewal came to nothing."),
    _event("book.snapshot_dropped", "warning", "venue symbol count", "The recorder had no room for snapshots."),
    _event(
        "book.top",
        "info",
        "venue symbol bid? bid_quantity? ask? ask_quantity? update_id age_ms spread? mid? state",
        "The top of a book as of this update; in another `state` than `synced` it is what was known last.",
    ),
    _event(
        "books.followed", "info", "venue listed delisted", "Symbols that trade now, or no more, where `all` is kept."
    ),
    _event("listings.failed", "warning", "venue error", "The venue's symbols could not be had; tried again."),
    _event(
        "book.refused", "error", "venue symbol reason value?", "This symbol gets no book: unknown, or too many digits."
    ),
    _event("order.sent", "info", f"{_ORDER} sent_at", "An order leaves."),
    _event(
        "order.answered",
        "info",
        f"{_ORDER} sent_at? round_trip_ms? order_id? status?",
        "The venue accepted an order.",
    ),
    _event("order.rejected", "warning", f"{_ORDER} sent_at? round_trip_ms? code? message", "It refused an order."),
    _event("order.forbidden", "warning", f"{_ORDER} limit:text reason", "Our own safety limits refused an order."),
    _event("order.uncertain", "warning", f"{_ORDER} reason", "No usable answer: it may have been executed."),
    _event("order.not_sent", "warning", f"{_ORDER} reason", "It certainly was not executed: no connection, no room."),
    _event("order.not_found_out", "warning", "venue? client_order_id reason", "An order could not be asked for."),
    _event(
        "execution.decided",
        "info",
        "symbol side size chosen reason ordering venues",
        "Prices were compared: what every venue would do, with its top, age and fee, who is chosen for it, and why.",
    ),
    _event("execution.moved", "warning", "venue symbol reason", "The price is not there any more: nothing was sent."),
    _event(
        "execution.settled",
        "info",
        "venue symbol client_order_id end order_status? executed_quantity executed_quote fees slippage_bps? detail?",
        "What became of an order, by its fills; slippage against the quote that was shown.",
    ),
    _event("execution.unwritten", "error", "reason", "The disk does not take what was decided, or what became of it."),
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
        "venue symbol client_order_id waited_ms order_status? class detail?",
        "Not all reports came, or nobody knows of the order any more.",
    ),
    _event(
        "price.crossed",
        "warning",
        "venue symbol source price threshold direction watch? already",
        "A price crossed a line.",
    ),
    _event(
        "price.returned",
        "info",
        "venue symbol source price threshold direction watch? beyond_s",
        "A price that was beyond a line has come back by the hysteresis.",
    ),
    _event(
        "candles.state",
        "info",
        "venue symbol interval from to reason candles",
        "A series of candles went from one state to another.",
    ),
    _event(
        "candles.corrected",
        "warning",
        "venue symbol interval open_time_ms before after?",
        "The venue's history says otherwise than a candle that was closed.",
    ),
    _event(
        "candles.failed",
        "warning",
        "venue symbol interval error retry_after_s",
        "Candles could not be had; tried again.",
    ),
    _event(
        "trades.missed",
        "warning",
        "venue symbol first_trade_id last_trade_id count",
        "No connection brought these trades.",
    ),
    _event(
        "trades.restarted",
        "warning",
        "venue symbol trade_id previous_trade_id",
        "The venue counts its trades anew: it was reset.",
    ),
    _event("symbol.listed", "warning", "venue symbol status first_seen_by lead_ms?", "A new symbol."),
    _event(
        "symbol.status",
        "info",
        "venue symbol status first_seen_by? lead_ms? previous",
        "A symbol changed its status; `DELISTED`: the venue does not list it any more.",
    ),
    _event(
        "symbol.confirmed",
        "info",
        "venue symbol first_seen_by lead_ms",
        "The second signal has shown a new symbol after it was reported.",
    ),
    _event("symbol.unlisted", "info", "venue symbol", "A symbol trades, and the venue does not list it."),
    _event("symbols.known", "info", "venue symbols:integer", "The first look at a venue: these are no news."),
    _event("symbols.reset", "warning", "venue known gone fresh", "Most known symbols are gone: the venue was reset."),
    _event(
        "symbols.changed",
        "warning",
        "venue listed delisted symbols reason",
        "Many symbols changed at once: the first of each kind, and how many.",
    ),
    _event(
        "symbols.stream_missing", "warning", "venue reason", "New symbols are looked for in the venue's list alone."
    ),
    _event("symbols.unwritten", "error", "venue reason", "The disk does not take what is known of symbols; it waits."),
    _event(
        "config.reloaded",
        "info",
        "config_hash changes restart_needed unused",
        "A new configuration is in force, but for the keys that need a restart and those that nothing here uses yet.",
    ),
    _event("config.rejected", "error", "key reason file line?", "A new configuration is wrong; the old one stays."),
    _event("config.unused", "warning", "key reason", "The file has a key that this version does nothing with."),
    _event("config.not_noted", "warning", "reason", "What is in force could not be noted for `binmon plan`."),
    _event("rate.limited", "warning", "venue scope used limit retry_after_s", "A limit of the venue is used up."),
    _event(
        "rate.banned", "error", "venue scope used limit retry_after_s", "The venue banned this address for a while."
    ),
    _event(
        "recorder.recovered",
        "warning",
        "path rows bytes rows_lost bytes_cut? bytes_damaged?",
        "A crash left this file; it is whole again.",
    ),
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
    _event("dashboard.listening", "info", "address", "The web page is served."),
    _event("dashboard.off", "warning", "reason", "The web page is not served, and all the rest goes on without it."),
    _event(
        "dashboard.no_accounts", "info", "reason", "Nobody can log in to the web page yet; the line says what to do."
    ),
    _event("dashboard.login", "info", "user address", "Somebody has logged in to the web page."),
    _event(
        "dashboard.login_failed",
        "warning",
        "user address",
        "A wrong password, or an account that does not exist: then `user` is `unknown`.",
    ),
    _event(
        "dashboard.locked",
        "warning",
        "locked subject count lock_s",
        "After so many wrong passwords nobody may try again for a while, with this name or from this address.",
    ),
    _event("dashboard.logout", "info", "user", "Somebody has logged out of the web page."),
    _event("dashboard.dropped", "warning", "user reason", "A browser did not read its events and was disconnected."),
    _event("dashboard.failed", "error", "source error", "A part of the web page has failed; the rest of it goes on."),
    _event(
        "recorder.deleted", "info", "path bytes reason", "Old recordings were deleted, as keep_days or keep_gb say."
    ),
    _event("recorder.compacted", "info", "path files rows bytes", "Many small files of a day became one."),
    _event("recorder.not_compacted", "warning", "path error", "Files are not merged: unreadable, or no exchange here."),
    _event(
        "recorder.evidence_dropped", "warning", "venue symbol count", "Evidence found no room while the disk refused."
    ),
    _event(
        "log.repeated",
        "debug info warning error critical",
        f"of held_back over_s {_SUBJECTS}",
        "So many lines like this one's subject were not written, as there were too many of them.",
    ),
    _event(
        "incident.written",
        "info",
        "path reason symbol? worker? frames bytes held_back",
        "The last seconds of raw frames are on disk, as something went wrong; `binmon replay` reads them.",
    ),
    _event(
        "incident.failed",
        "warning error",
        "path reason? symbol? worker? error",
        "They could not be written, or old ones not be removed; nothing else is concerned.",
    ),
    _event("sandbox.started", "info", "rest stream ws_api? pid", "The embedded exchange runs on these addresses."),
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
        "alert subject target attempt error retry_in_s? final",
        "Somebody could not be told; it is tried again, unless this is final.",
    ),
)

VOCABULARY: dict[str, LogEvent] = {event.name: event for event in EVENTS}

COMMON = ("timestamp", "level", "event", "logger", "exception")
"""The fields of every line; ``exception`` is a traceback and mostly left out."""

LOGGERS: dict[str, str] = {
    "binmon.alerts": "conditions, and who was told",
    "binmon.books": "books, listings, audits",
    "binmon.config": "reloads",
    "binmon.dashboard": "the web page: logins, and browsers that do not read",
    "binmon.daemon": "start, stop, the venue at the start",
    "binmon.execution": "best-price orders: what was decided, and what came of it",
    "binmon.incidents": "the flight recorder",
    "binmon.latency": "the order probe and its verdicts",
    "binmon.metrics": "the pages /metrics and /healthz",
    "binmon.net": "connections and the venue's limits",
    "binmon.orders": "orders, and the stream that tells of them",
    "binmon.publish": "tops of books",
    "binmon.recorder": "the recording",
    "binmon.service": "what the service manager is told",
    "binmon.supervisor": "threads",
    "binmon.venues": "the venue's clock",
    "binmon.watch": "candles, trades and listings",
}
"""Who logs, and of what; these are the names of ``logging.levels``."""


def unlike_the_vocabulary(line: Mapping[str, Any]) -> list[str]:
    """What is wrong with one parsed line of the log of our own loggers; nothing when it is as it should be."""
    event = VOCABULARY.get(str(line.get("event")))
    if event is None:
        return [f"unknown event {line.get('event')!r}"]
    name, wrong = event.name, []
    if line.get("level") not in event.levels:
        wrong.append(f"{name}: level {line.get('level')!r}, expected one of {', '.join(event.levels)}")
    if not FieldType.TIME.fits(line.get("timestamp")):
        wrong.append(f"{name}: timestamp {line.get('timestamp')!r}, expected RFC 3339, UTC, microseconds")
    logger = line.get("logger")
    if logger not in LOGGERS:
        wrong.append(f"{name}: unknown logger {logger!r}")
    for field in event.fields:
        value = line.get(field)
        if value is None:
            if field not in event.optional:
                wrong.append(f"{name}: {field} is missing")
        elif field not in event.types or not event.types[field].fits(value):
            wrong.append(f"{name}: {field} is {value!r}, expected {event.types.get(field, 'a declared field')}")
    undeclared = line.keys() - {*COMMON, *event.fields}
    return wrong + [f"{name}: {field} is not declared" for field in sorted(undeclared)]


if __name__ == "__main__":
    from binmon.telemetry.page import reference

    sys.stdout.write(reference())
