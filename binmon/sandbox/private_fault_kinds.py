"""The faults of the private side in the table of faults: user events, orders, and the answers to them.

Events are counted once, however many connections they go to. Faults of orders look at the parameters of the request:
``client_order_id`` is compared with ``newClientOrderId``, or with ``origClientOrderId`` where there is none.
"""

from __future__ import annotations

from .fault_options import CONNECTION, COUNT, REQUIRED, SECONDS, SYMBOLS, Kind, Option

_OWN_ID = Option("text", None, "only orders whose client order id begins with this (default: all)")
_EVENT = {
    "count": COUNT,
    "seconds": SECONDS,
    "execution_type": Option("list of text", None, "only reports of these execution types, such as NEW or TRADE"),
    "event": Option("list of text", ["executionReport"], 'which events, such as outboundAccountPosition; "*": all'),
    "symbols": SYMBOLS,
    "client_order_id": _OWN_ID,
    "connection": CONNECTION,
}
_ORDER = {
    "count": COUNT,
    "seconds": SECONDS,
    "symbols": SYMBOLS,
    "client_order_id": _OWN_ID,
    "method": Option(
        "list of text", None, "which requests, by their WebSocket API names, such as order.cancel (default: new orders)"
    ),
}
_ANSWER = {
    "mode": Option(
        "text",
        "status",
        "an error status that tells nothing, code -1007, the end of the connection by TCP reset or in the midst of the "
        "answer, or no answer (REST: and after silent_s the end of the connection)",
        ("status", "timeout", "reset", "closed", "silent"),
    ),
    "status": Option("integer", 503, "status of the modes status and timeout", (500, 502, 503, 504)),
    "silent_s": Option("number", 60, "seconds of the mode silent"),
    **_ORDER,
}

PRIVATE_KINDS: dict[str, Kind] = {
    "report_delay": Kind(
        "hold back user events; what follows them on the same subscription waits behind them",
        {
            "ms": Option("number", REQUIRED, "how long"),
            "event_time": Option(
                "text",
                "kept",
                "E is of before the delay (the network is slow), or of after it (the venue is slow, E is far from T)",
                ("kept", "late"),
            ),
            **_EVENT,
        },
    ),
    "report_lost": Kind("lose user events", _EVENT),
    "report_duplicate": Kind(
        "send user events several times", {"times": Option("integer", 2, "how often each event is sent"), **_EVENT}
    ),
    "report_before_answer": Kind(
        "delay the answers to orders, on REST and WebSocket API, so that their reports come first",
        {"ms": Option("number", REQUIRED, "how long"), **_ORDER},
    ),
    "order_refuse": Kind(
        "refuse orders before they reach the matching engine",
        {
            "code": Option("integer", -2010, "the venue's code", signed=True),
            "message": Option("text", "Account has insufficient balance for requested action.", "the venue's text"),
            "status": Option("integer", 400, "HTTP status"),
            **_ORDER,
        },
    ),
    "answer_lost": Kind("carry out orders, but answer as if nobody knew", _ANSWER),
    "order_lost": Kind("do not carry out orders, and answer as if nobody knew", _ANSWER),
    "query_lag": Kind(
        "let queries of orders and trades see what is placed only some time later (-2013, and left out of lists)",
        {
            "ms": Option("number", REQUIRED, "how long after it was placed"),
            "seconds": Option("number", None, "how long the fault lasts (default: until cleared)"),
        },
    ),
    "stream_terminated": Kind(
        "end user data subscriptions with eventStreamTerminated; their connections stay",
        {
            "subscription": Option("list of integer", None, "only these subscriptionIds (default: all)"),
            "account": Option("text", None, "only those of this account (default: all)"),
            "connection": CONNECTION,
        },
    ),
}
