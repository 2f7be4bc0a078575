"""The fields of the log as data: what each name means, of which type it is, and which of them say what a line is about.

A name means the same wherever it comes; where its type differs by event, the event says so (`binmon.telemetry.events`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class FieldType(enum.StrEnum):
    """What the JSON of a field is."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"  # text: RFC 3339, UTC, microseconds
    TEXTS = "texts"
    OBJECTS = "objects"

    def fits(self, value: Any) -> bool:
        """Whether ``value``, as JSON gives it, is of this type."""
        return _FITS[self](value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_FITS: dict[FieldType, Callable[[Any], bool]] = {
    FieldType.TEXT: lambda value: isinstance(value, str),
    FieldType.INTEGER: _is_integer,
    FieldType.NUMBER: lambda value: _is_integer(value) or isinstance(value, float),
    FieldType.BOOLEAN: lambda value: isinstance(value, bool),
    FieldType.TIME: lambda value: isinstance(value, str) and bool(_TIME.fullmatch(value)),
    FieldType.TEXTS: lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    FieldType.OBJECTS: lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One name of a field. With ``names_subject`` it says what a line is about, so that lines which differ in it are not
    repetitions of each other."""

    name: str
    type: FieldType
    meaning: str
    names_subject: bool = False


def _field(name: str, type: str, meaning: str, *, subject: bool = False) -> Field:
    return Field(name, FieldType(type), meaning, subject)


_DECLARED = (
    # what a line is about
    _field("venue", "text", "Which venue: `binance`.", subject=True),
    _field("symbol", "text", "Which symbol: `BTCUSDT`.", subject=True),
    _field("worker", "text", "Which thread: `binance-books`.", subject=True),
    _field("connection", "text", "Which connection: `binance-market-1.7` is the seventh of its group.", subject=True),
    _field("target", "text", "Who is told: the number and the service of an address.", subject=True),
    _field("alert", "text", "Which condition, by the name of an event.", subject=True),
    _field("subject", "text", "What an alert is about: `binance BTCUSDT`.", subject=True),
    _field("key", "text", "A key of the configuration; empty where it is none.", subject=True),
    _field("path", "text", "A file or directory.", subject=True),
    _field("scope", "text", "Which of the venue's limits.", subject=True),
    _field("source", "text", "Which part gave it.", subject=True),
    _field("request", "text", "Our id of a request.", subject=True),
    _field("clock", "text", "`venue`, or `local` for ours.", subject=True),
    _field("client", "text", "The address of who asked.", subject=True),
    _field("message", "text", "What the venue said; or which message found no room."),
    _field("client_order_id", "text", "Our own id of an order.", subject=True),
    # states and reasons
    _field("from", "text", "The state before."),
    _field("to", "text", "The state after."),
    _field("reason", "text", "Why, in words."),
    _field("error", "text", "What went wrong, in words."),
    _field("text", "text", "One line for people, with figures."),
    _field("found", "text", "The first levels that differ."),
    _field("detail", "text", "More of it, in words."),
    _field("where", "text", "The place in the code, innermost last."),
    _field("missing", "texts", "What a start still waits for."),
    _field("severity", "text", "`info`, `warning`, `error` or `critical`."),
    _field("class", "text", "What became of an order (docs/latency.md)."),
    _field("status", "text", "The venue's own word for a state."),
    _field("order_status", "text", "The venue's last word on an order."),
    _field("final", "boolean", "Whether nothing more is tried."),
    _field("of", "text", "The event that was repeated."),
    # the process and its configuration
    _field("version", "text", "binmon's version."),
    _field("config_hash", "text", "Twelve digits that stand for the configuration in force."),
    _field("pid", "integer", "The number of the process."),
    _field("address", "text", "Host and port; of a browser the host."),
    _field("user", "text", "An account of the web page."),
    _field("locked", "text", "What is locked: `user` or `address`."),
    _field("rest", "text", "The address of the REST API."),
    _field("stream", "text", "The address of the market streams."),
    _field("ws_api", "text", "The address of the WebSocket API."),
    _field("changes", "objects", "What was applied: `key`, `old`, `new`; secrets are masked."),
    _field("restart_needed", "texts", "Keys that changed and wait for a restart."),
    _field("unused", "texts", "Keys that changed and that nothing here uses yet."),
    _field("file", "text", "The configuration's file."),
    _field("line", "integer", "The line in it."),
    # counts
    _field("attempt", "integer", "The how many-th attempt in a row."),
    _field("count", "integer", "How many, since this was said last."),
    _field("returns", "integer", "How often it seemed over and came back."),
    _field("failures", "integer", "Failures in a row."),
    _field("streams", "integer", "How many streams the connection carries."),
    _field("symbols", "texts", "The first symbols that it concerns."),
    _field("levels", "integer", "Levels that were compared."),
    _field("mismatches", "integer", "Levels that differ."),
    _field("excepted", "integer", "Levels that could not be compared."),
    _field("added", "integer", "Levels that were not known before."),
    _field("first", "integer", "How often it was first."),
    _field("second", "integer", "How often it was not."),
    _field("orders", "integer", "How many orders."),
    _field("orders_a_day", "integer", "Orders that the interval asks for in a day."),
    _field("rows", "integer", "Rows of the recording."),
    _field("rows_lost", "integer", "Rows that could not be kept."),
    _field("bytes", "integer", "Size."),
    _field("bytes_cut", "integer", "Bytes cut off: the last write was not finished."),
    _field("bytes_damaged", "integer", "Bytes in the midst that could not be read."),
    _field("files", "integer", "How many files."),
    _field("frames", "integer", "How many messages of streams."),
    _field("used", "integer", "How much of the limit is used."),
    _field("limit", "integer", "The limit."),
    _field("held_back", "integer", "How many were left out."),
    _field("listed", "texts", "Symbols that are new."),
    _field("delisted", "texts", "Symbols that are gone."),
    _field("first_seen_by", "text", "Which source knew first."),
    # the book
    _field("update_id", "integer", "The venue's id of the last update in the book."),
    _field("expected", "integer", "The update id that should have come next."),
    _field("first_update_id", "integer", "The first update id that came instead."),
    _field("last_update_id", "integer", "The last update id that came instead."),
    _field("bid", "number", "Best bid."),
    _field("bid_quantity", "number", "Quantity there."),
    _field("ask", "number", "Best ask."),
    _field("ask_quantity", "number", "Quantity there."),
    _field("spread", "number", "Best ask minus best bid."),
    _field("mid", "number", "Half way between best bid and best ask."),
    _field("state", "text", "The state of the book, as in `book.state`."),
    _field("bid_known_to", "number", "The worst bid that is verified."),
    _field("ask_known_to", "number", "The worst ask that is verified."),
    _field("value", "text", "The number that cannot be kept exactly."),
    _field("predecessor", "text", "The connection that was replaced."),
    # orders and prices
    _field("side", "text", "`BUY` or `SELL`."),
    _field("quantity", "number", "In base currency."),
    _field("order_id", "integer", "The venue's id of an order."),
    _field("size", "text", "How much was asked for, and of what: `0.5 BTC`."),
    _field("chosen", "texts", "The venues that get an order, or would."),
    _field("ordering", "boolean", "Whether somebody wants to order; else prices are compared."),
    _field("venues", "objects", "Each venue: top, age, fee, what the size comes to there, or why it is left out."),
    _field("end", "text", "`filled`, `partly_filled`, `not_filled`, `refused`, `not_sent` or `unknown`."),
    _field("executed_quantity", "text", "What has traded, base currency, exactly."),
    _field("executed_quote", "text", "What it has traded for, quote currency, exactly."),
    _field("fees", "objects", "What the venue took: `asset` and `amount`, exactly."),
    _field("slippage_bps", "number", "How much worse the average price was than shown, 0.01 %; below zero: better."),
    _field("sent_at", "time", "When the first byte left, by our clock."),
    _field("code", "integer", "The venue's number for an error."),
    _field("price", "number", "The price."),
    _field("threshold", "number", "The line that it crossed."),
    _field("direction", "text", "`above` or `below`."),
    _field("watch", "text", "What of the candles is compared: `1m close`.", subject=True),
    _field("already", "boolean", "Whether it was beyond when it was first looked at."),
    _field("interval", "text", "The length of a candle: `1m`.", subject=True),
    _field("candles", "integer", "How many candles are known."),
    _field("open_time_ms", "number", "When a candle opened: milliseconds UTC, the venue's."),
    _field("before", "text", "What was known."),
    _field("after", "text", "What the venue says now."),
    _field("trade_id", "integer", "The venue's id of a trade."),
    _field("previous_trade_id", "integer", "The highest id before."),
    _field("first_trade_id", "integer", "The first of them."),
    _field("last_trade_id", "integer", "The last of them."),
    _field("beyond_s", "number", "How long it was beyond the line, by the venue's times."),
    _field("previous", "text", "The status before."),
    _field("known", "integer", "How many symbols were known."),
    _field("gone", "integer", "How many of them are gone."),
    _field("fresh", "integer", "How many are there that were not known."),
    # times
    _field("delay_s", "number", "Until the next attempt."),
    _field("after_s", "number", "Since the start."),
    _field("age_s", "number", "Since its loop has last turned."),
    _field("limit_s", "number", "How long that may take."),
    _field("retry_after_s", "number", "Until the venue may be asked again."),
    _field("retry_in_s", "number", "Until it is tried again."),
    _field("lock_s", "number", "How long it is locked."),
    _field("duration_s", "number", "How long it has held."),
    _field("wanted_s", "number", "What the configuration asks for."),
    _field("possible_s", "number", "What the venue's limits allow."),
    _field("over_s", "number", "The time in which that was."),
    _field("age_ms", "number", "From the venue's event to now."),
    _field("overlap_ms", "number", "How long both delivered."),
    _field("by_ms", "number", "How far it was set; positive: ahead."),
    _field("waited_ms", "number", "Since the sending."),
    _field("threshold_ms", "number", "`latency.threshold_ms`."),
    _field("over_ms", "number", "How far beyond the threshold."),
    _field("round_trip_ms", "number", "From the first byte sent to the answer."),
    _field("lead_ms", "number", "How much earlier it knew."),
    _field("median_behind_ms", "number", "How far behind when it was not first: the median."),
    _field("worst_behind_ms", "number", "How far behind when it was not first: the worst."),
    _field("sent_to_report_ms", "number", "From sending to the report's frame; docs/latency.md, as those below."),
    _field("sent_to_event_ms", "number", "From sending to the venue's event time."),
    _field("event_to_receive_ms", "number", "From the venue's event time to the report's frame."),
    _field("sent_to_answer_ms", "number", "From sending to the answer."),
    _field("transaction_to_event_ms", "number", "From the venue's matching to its event."),
    _field("uncertainty_ms", "number", "How far what needs both clocks may be wrong."),
    _field("clock_offset_ms", "number", "The venue's clock minus ours."),
)

FIELDS: dict[str, Field] = {field.name: field for field in _DECLARED}

SUBJECTS: tuple[str, ...] = tuple(field.name for field in _DECLARED if field.names_subject)
"""The fields that say what a line is about."""
