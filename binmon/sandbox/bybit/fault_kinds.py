"""The table of the Bybit side's faults: those of the Binance side that mean something here, and its own.

Topics stand where the Binance side has streams: ``orderbook.50.BTCUSDT``. Faults of depth events reach the topics of
depth 50 and more; that of depth 1 tells no differences, and is reached by its name only (``streams``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..fault_kinds import KINDS as THEIRS
from ..fault_options import SYMBOL, SYMBOLS, Kind, Option

SERVICES = ("bybit_public", "bybit_private", "bybit_trade")
_METHOD = Option(
    "list of text", None, "which requests: order.create, order.cancel, order.cancel-all (default: order.create)"
)
_EVENTS = Option(
    "list of text",
    ["order", "execution", "execution.fast"],
    'which topics, such as wallet; "*": all',
)
_TYPES = Option("list of text", None, "only pushes of these order statuses, such as Filled; fills have the type Trade")


def _changed(
    name: str,
    meaning: str | None = None,
    options: Mapping[str, Option] | None = None,
    without: tuple[str, ...] = (),
) -> Kind:
    """A kind of the Binance side with some options replaced, added or left out."""
    theirs = THEIRS[name]
    kept = {key: option for key, option in theirs.options.items() if key not in without}
    if "service" in kept:
        kept["service"] = replace(
            kept["service"], choices=SERVICES, meaning="only connections of this service (default: all)"
        )
    return Kind(meaning or theirs.meaning, {**kept, **(options or {})})


def _report(name: str) -> Kind:
    more: dict[str, Option] = {"event": _EVENTS, "execution_type": _TYPES}
    if name == "report_delay":
        more["event_time"] = replace(
            THEIRS[name].options["event_time"],
            meaning="creationTime is of before the delay (the network is slow), or of after it (the venue is slow)",
        )
    return _changed(name, None, more)


_LOST: dict[str, Option] = {
    "method": _METHOD,
    "mode": Option(
        "text",
        "timeout",
        "a retCode that tells nothing, an error status, the end of the connection by TCP reset or in the midst of the "
        "answer, or no answer (and after silent_s the end of the connection)",
        ("timeout", "status", "reset", "closed", "silent"),
    ),
    "code": Option("integer", 10016, "retCode of the mode timeout, such as 10000, 10016 or 170007", signed=True),
    "message": Option("text", "Server error.", "text of the mode timeout"),
}
_DEPTH = Option("list of integer", [1, 50, 200, 1000], "only topics of these depths")
_BOOKS = {"symbols": SYMBOLS, "depth": _DEPTH}

KINDS: dict[str, Kind] = {
    **{
        name: _changed(name)
        for name in (
            "gap", "duplicate", "reorder", "crossed_book", "fragmented", "malformed", "oversized", "binary", "empty",
            "masked", "disconnect", "stall", "slow_link", "refuse_connections",
        )
    },
    "book_restart": Kind("restart the book service: a snapshot with u = 1 on every depth topic", _BOOKS),
    "book_snapshot": Kind("send a snapshot that nobody has asked for", _BOOKS),
    "sequence_back": Kind(
        "set the ids u of depth topics back, once",
        {**_BOOKS, "ids": Option("integer", 5, "how far")},
    ),
    "rest": _changed(
        "rest",
        None,
        {"mode": Option(
            "text",
            "status",
            "an error status, a retCode (the venue is not asked), half a body, a slow answer, an HTML page, a reset, no "
            "body, or JSON of another shape",
            ("status", "ret_code", "truncated", "slow", "html", "reset", "empty", "wrong_json"),
        ),
        "code": Option("integer", 10016, "retCode of the mode ret_code; 10006 comes with its headers", signed=True),
        "message": Option("text", None, "text of the mode ret_code")},
    ),
    "snapshot_lag": _changed(
        "snapshot_lag",
        "let all public events come so much later than REST",
        {"ms": replace(THEIRS["snapshot_lag"].options["ms"], meaning="below zero: how long")},
    ),
    "ban": _changed("ban", "shut this address out: every request is answered 403, access too frequent"),
    "forgive_weight": Kind("forget how often was asked, and lift bans", {}),
    "report_delay": _report("report_delay"),
    "report_lost": _report("report_lost"),
    "report_duplicate": _report("report_duplicate"),
    "report_before_answer": _changed("report_before_answer", None, {"method": _METHOD}),
    "order_refuse": _changed(
        "order_refuse",
        None,
        {
            "code": Option("integer", 170131, "the venue's code", signed=True),
            "message": Option("text", "Insufficient balance.", "the venue's text"),
            "method": _METHOD,
        },
        without=("status",),
    ),
    "answer_lost": _changed("answer_lost", None, _LOST),
    "order_lost": _changed("order_lost", None, _LOST),
    "query_lag": _changed("query_lag", "let queries see orders and fills only some time after the order was placed"),
    "clock_skew": _changed("clock_skew"),
    "freeze": _changed("freeze"),
    "set_price": _changed("set_price"),
    "new_symbol": _changed(
        "new_symbol", None, {"status": Option("text", "Trading", "its status", ("Trading", "Closed"))}
    ),
    "symbol_status": Kind(
        "change the status of a symbol: closed, its book stands still and orders are refused (170151)",
        {"symbol": SYMBOL, "status": Option("text", "Closed", "the new one", ("Trading", "Closed"))},
    ),
    "remove_symbol": _changed("remove_symbol"),
    "reset": _changed("reset"),
    "clear": _changed("clear"),
}  # fmt: skip

BOOK_KINDS = {"book_restart": "restart", "book_snapshot": "renew", "sequence_back": "back"}
"""Faults of the ids of depth topics, and what they do to them."""
