"""The API as data: one entry an operation, from which the routes are made and ``/api/openapi.json`` is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import binmon
from binmon.dashboard import settings

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
DECIMAL: Schema = {"type": "string", "description": "A decimal number in plain digits"}
TIME_MS: Schema = {"type": "integer", "description": "Milliseconds UTC since the epoch"}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
TRUTH: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer"}
TRADE_ID: Schema = {
    "type": "string",
    "pattern": "^[0-9]+$",
    "description": "The venue's id of the trade in decimal digits. Text, because it may exceed 2^53",
}
UPDATE_ID: Schema = {
    "type": ["integer", "null"],
    "description": "The venue's id of the update. A number: those of all venues stay below 2^53",
}


def an_object(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """An object with these members, all of which are there but the ``optional`` ones."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def a_list(items: Schema) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": items}


def a_row(description: str, *members: Schema) -> Schema:
    """A list with exactly these members."""
    return {"type": "array", "description": description, "prefixItems": list(members), "items": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the query or, with ``place`` path, of the path."""

    name: str
    meaning: str
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. ``name`` is the function that answers it, in `binmon.dashboard.api`. ``answer`` is the schema of
    200 (or ``status``); ``body_required``: whether there must be a ``body``; ``session_only``: a token is not enough."""

    name: str
    method: str
    path: str
    summary: str
    answer: Schema
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    problems: tuple[int, ...] = ()
    status: int = 200
    kind: str = "application/json"
    session_only: bool = False


_VENUE = Parameter("venue", "The venue, such as `binance`", required=True)
_SYMBOL = Parameter("symbol", "The symbol as the venue writes it, such as `BTCUSDT`", required=True)


def _limit(default: int, most: int) -> Parameter:
    return Parameter(
        "limit", "The most to be given", {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    )


_CANDLE = a_row(
    "open_ms, open, high, low, close, volume, closed", TIME_MS, DECIMAL, DECIMAL, DECIMAL, DECIMAL, DECIMAL, TRUTH
)
_TRADE = a_row(
    "trade_id, time_ms, price, quantity, side of the taker",
    TRADE_ID,
    TIME_MS,
    DECIMAL,
    DECIMAL,
    {"type": "string", "enum": ["buy", "sell"]},
)
_LEVEL = a_row("price, quantity", DECIMAL, DECIMAL)
_TOP = an_object(
    {
        "venue": TEXT,
        "symbol": TEXT,
        **dict.fromkeys(("bid", "bid_quantity", "ask", "ask_quantity", "spread", "mid"), TEXT_OR_NULL),
        "update_id": UPDATE_ID,
        "age_ms": NUMBER_OR_NULL,
        "state": TEXT,
    }
)
_MEASUREMENT = an_object(
    {
        "sent_ms": TIME_MS,
        "class": TEXT,
        "sent_to_report_ms": NUMBER_OR_NULL,
        "sent_to_event_ms": NUMBER_OR_NULL,
        "event_to_receive_ms": NUMBER_OR_NULL,
        "uncertainty_ms": NUMBER_OR_NULL,
        "client_order_id": TEXT,
    }
)
_SYMBOL_ROW = an_object(
    {
        "venue": TEXT,
        "symbol": TEXT,
        "base": TEXT,
        "quote": TEXT,
        "status": TEXT,
        "first_seen_ms": {"type": ["integer", "null"]},
        "first_seen_by": TEXT_OR_NULL,
        "new": TRUTH,
    }
)
_ALERT = an_object(
    {
        "time_ms": TIME_MS,
        "name": TEXT,
        "subject": TEXT,
        "kind": {"type": "string", "enum": ["raised", "reminder", "recovered", "expired"]},
        "severity": {"type": "string", "enum": ["info", "warning", "error", "critical"]},
        "text": TEXT,
    }
)
_TOKEN = an_object({"id": COUNT, "name": TEXT, "created_ms": TIME_MS, "last_used_ms": {"type": ["integer", "null"]}})
_ANY_OBJECT: Schema = {"type": "object"}
_AS_OF_MS: Schema = {**TIME_MS, "description": "When the list was read, ms UTC: the `until_ms` of who has looked at it"}
_UNTIL_MS: Schema = {**TIME_MS, "minimum": 0, "description": "Milliseconds UTC; what is later than now counts as now"}
_ENTRIES: Schema = {"type": "object", "description": "Merged entry by entry; null takes an entry away"}
_CHANGES: Schema = {"type": "object", "properties": dict.fromkeys(sorted(settings.MAPS), _ENTRIES)}

OPERATIONS: tuple[Operation, ...] = (
    Operation("status", "GET", "/api/status", "How the daemon is: the document of /healthz", _ANY_OBJECT),
    Operation(
        "venues",
        "GET",
        "/api/venues",
        "The venues, and what can be seen of each",
        an_object(
            {
                "venues": a_list(
                    an_object(
                        {
                            "name": TEXT,
                            "environment": TEXT,
                            "symbols": COUNT,
                            "candles": TRUTH,
                            "trades": TRUTH,
                            "books": a_list(TEXT),
                            "orders": TRUTH,
                            "intervals": a_list(TEXT),
                        }
                    )
                )
            }
        ),
    ),
    Operation(
        "symbols",
        "GET",
        "/api/symbols",
        "The symbols that the venues list, and what is new since this user looked",
        an_object({"symbols": a_list(_SYMBOL_ROW), "new_count": COUNT, "total": COUNT, "as_of_ms": _AS_OF_MS}),
        (
            Parameter("venue", "Only of this venue"),
            Parameter("search", "Only those with this in their symbol, base or quote; what fits best comes first"),
            Parameter("beside", "`VENUE:SYMBOL` that is looked at: its venue and its quote come first"),
            Parameter("new", "1: only what is new", {"type": "string", "enum": ["0", "1"]}),
            _limit(500, 10_000),
        ),
        problems=(404,),
    ),
    Operation(
        "symbols_seen",
        "POST",
        "/api/symbols/seen",
        "Mark symbols as seen: all, or those that were first seen at `until_ms` or before. A mark never moves back",
        an_object({"new_count": COUNT}),
        body=an_object({"until_ms": _UNTIL_MS}, "until_ms"),
        body_required=False,
    ),
    Operation(
        "candles",
        "GET",
        "/api/candles",
        "Candles, oldest first; asking has them followed for a minute",
        an_object(
            {
                "venue": TEXT,
                "symbol": TEXT,
                "interval": TEXT,
                "state": {"type": "string", "enum": ["live", "loading", "stale"]},
                "candles": a_list(_CANDLE),
            }
        ),
        (_VENUE, _SYMBOL, Parameter("interval", "Their length, such as `1m`", required=True), _limit(500, 5_000)),
        problems=(404, 429),
    ),
    Operation(
        "trades",
        "GET",
        "/api/trades",
        "The newest trades, newest last; asking has them followed for a minute",
        an_object({"venue": TEXT, "symbol": TEXT, "trades": a_list(_TRADE)}),
        (_VENUE, _SYMBOL, _limit(100, 1_000)),
        problems=(404, 429),
    ),
    Operation(
        "book",
        "GET",
        "/api/book",
        "One book, best first",
        an_object(
            {
                "venue": TEXT,
                "symbol": TEXT,
                "synced": TRUTH,
                "update_id": UPDATE_ID,
                "event_time_ms": TIME_MS,
                "age_ms": NUMBER_OR_NULL,
                "bids": a_list(_LEVEL),
                "asks": a_list(_LEVEL),
            }
        ),
        (
            _VENUE,
            _SYMBOL,
            Parameter("levels", "Of each side", {"type": "integer", "minimum": 1, "maximum": 5000, "default": 100}),
        ),
        problems=(404, 503),
    ),
    Operation("tops", "GET", "/api/tops", "Best bid and ask of every book", an_object({"tops": a_list(_TOP)})),
    Operation(
        "latency",
        "GET",
        "/api/latency",
        "The timed orders, and what they amount to",
        an_object(
            {
                "threshold_ms": {"type": "number"},
                "venue": TEXT,
                "symbol": TEXT,
                "measurements": a_list(_MEASUREMENT),
                "classes": {"type": "object", "additionalProperties": COUNT},
                "percentiles": {"type": "object", "additionalProperties": NUMBER_OR_NULL},
                "histogram": a_list(a_row("upper bound in ms, count", {"type": "number"}, COUNT)),
            }
        ),
        (
            Parameter(
                "since_s",
                "How far back, in seconds",
                {"type": "integer", "minimum": 1, "maximum": 31_536_000, "default": 86_400},
            ),
        ),
    ),
    Operation(
        "alerts",
        "GET",
        "/api/alerts",
        "The newest messages to people since the daemon started, newest first",
        an_object({"alerts": a_list(_ALERT)}),
        (_limit(100, 500),),
    ),
    Operation("settings", "GET", "/api/settings", "What this user's pages have kept", _ANY_OBJECT),
    Operation(
        "keep_settings",
        "PUT",
        "/api/settings",
        "Keep this instead, at most 16 KiB",
        _ANY_OBJECT,
        body=_ANY_OBJECT,
        problems=(413,),
    ),
    Operation(
        "change_settings",
        "PATCH",
        "/api/settings",
        "Replace these members and keep all others, at most 16 KiB in all; the answer is the whole. The entries of "
        f"`candle_lines` and `minimum_prices` are merged, and the newest {settings.MOST_ENTRIES} of each kept",
        _ANY_OBJECT,
        body=_CHANGES,
        problems=(413,),
    ),
    Operation(
        "tokens",
        "GET",
        "/api/tokens",
        "This user's tokens",
        an_object({"tokens": a_list(_TOKEN)}),
        session_only=True,
    ),
    Operation(
        "add_token",
        "POST",
        "/api/tokens",
        "A new token; its text is shown this once",
        an_object({"id": COUNT, "name": TEXT, "created_ms": TIME_MS, "token": TEXT}),
        body=an_object({"name": {"type": "string", "minLength": 1, "maxLength": 100}}),
        problems=(409,),
        status=201,
        session_only=True,
    ),
    Operation(
        "revoke_token",
        "DELETE",
        "/api/tokens/<int:token_id>",
        "End a token at once",
        an_object({"revoked": COUNT}),
        (Parameter("token_id", "Its id", COUNT, required=True, place="path"),),
        problems=(404,),
        session_only=True,
    ),
    Operation(
        "password",
        "POST",
        "/api/password",
        "Another password; all other sessions of the user end",
        an_object({"changed": TRUTH}),
        body=an_object({"current": TEXT, "new": TEXT}),
        problems=(429,),
        session_only=True,
    ),
    Operation(
        "stream",
        "GET",
        "/api/stream",
        "Events as they happen (server-sent events); the kinds are in docs/dashboard.md",
        TEXT,
        (
            Parameter(
                "topics",
                "Separated by commas: `status`, `candles:VENUE:SYMBOL:INTERVAL`, `trades:VENUE:SYMBOL`, "
                "`book:VENUE:SYMBOL`, `tops`, `latency`, `alerts`, `symbols`",
                required=True,
            ),
            Parameter("last_event_id", "As the header `Last-Event-ID`: go on after this event", COUNT),
        ),
        problems=(404, 429),
        kind="text/event-stream",
    ),
    Operation("openapi", "GET", "/api/openapi.json", "This document", _ANY_OBJECT),
)

_ERROR = an_object({"error": an_object({"code": TEXT, "message": TEXT})})
_MEANINGS = {
    400: "The request is wrong; the message says where",
    401: "Not logged in, and no valid token",
    403: "Not allowed: a form or a token that does not do",
    404: "There is no such thing",
    409: "Not as things stand",
    413: "Too large",
    429: "Too much at once",
    503: "Not now",
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        path = one.path.replace("<int:", "{").replace(">", "}")
        paths.setdefault(path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "binmon",
            "version": binmon.__version__,
            "description": "Prices and quantities are text, digit for digit as the venue printed them. "
            "Times are milliseconds UTC. Ids of trades are text, because they may exceed 2^53.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of the settings page"},
                "session": {"type": "apiKey", "in": "cookie", "name": "binmon_session"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    problems = sorted({400, 401, *one.problems, *((403,) if one.method != "GET" or one.session_only else ())})
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "description": parameter.meaning,
                "required": parameter.required,
                "schema": dict(parameter.schema),
            }
            for parameter in one.parameters
        ],
        "responses": {
            str(one.status): {"description": one.summary, "content": {one.kind: {"schema": dict(one.answer)}}},
            **{str(status): {"description": _MEANINGS[status], "content": error} for status in problems},
        },
    }
    if one.body is not None:
        found["requestBody"] = {
            "required": one.body_required,
            "content": {"application/json": {"schema": dict(one.body)}},
        }
    if one.session_only:
        found["security"] = [{"session": []}]
    if one.method != "GET":
        found["description"] = "With a session, the header X-CSRF-Token is needed; with a token it is not."
    return found
