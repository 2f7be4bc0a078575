"""The table of faults: every kind, its options, their defaults and meaning.

``GET /sandbox/faults`` prints this table; ``POST /sandbox/faults`` takes ``{"kind": ..., option: value, ...}`` and
checks it against the table. Filters that many kinds share: ``symbols`` and ``streams`` (lists of names),
``connection`` (number, or list of numbers, as in ``GET /sandbox/state``). A filter that is left out matches all.
Counts of event faults are counted per symbol (per stream where ``streams`` is given), once an event and not once a
delivery: two connections with the same stream lose the same event.

Several faults at once are applied in a fixed order, whatever the order they were armed in: :data:`EVENT_ORDER` for
events, :data:`REST_ORDER` for REST answers. Of several faults of one kind the oldest comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fault_options import CONNECTION, COUNT, REQUIRED, SECONDS, SERVICE, STREAMS, SYMBOL, SYMBOLS, Kind, Option
from .private_fault_kinds import PRIVATE_KINDS


class BadFault(ValueError):
    """A fault request that cannot be carried out; the text says what was wrong and what was expected."""


EVENT_ORDER = (
    "stall", "gap", "corrupt_level", "crossed_book", "fragmented", "malformed", "duplicate", "reorder", "snapshot_lag",
)  # fmt: skip
"""How faults of one event follow each other. What an earlier one has dropped for every connection that a later one
concerns does not count for the later one; a malformed event is not fragmented any more. Delays and cuts of connections
come after all of these."""

REST_ORDER = ("snapshot_lag or stale_snapshot", "rest, all modes but slow", "rest, mode slow")
"""How faults of one REST answer follow each other: one of each step at most, the oldest that matches. A step that
answers without asking the venue (an error status, a page, a reset) leaves the counts of the step before untouched."""

_FILTER = {"symbols": SYMBOLS, "streams": STREAMS, "connection": CONNECTION}
_EVENT = {"count": COUNT, "seconds": SECONDS, **_FILTER}
_CONNECTIONS = {**_FILTER, "service": SERVICE}
_FRAME = {"count": Option("integer", 1, "how many such frames"), **_CONNECTIONS}
_STATUSES = (403, 418, 429, 500, 502, 503, 504)

KINDS: dict[str, Kind] = {
    # Faults of events: one event of a stream is lost, repeated or altered on its way.
    "gap": Kind("drop the next count depth events", _EVENT),
    "duplicate": Kind(
        "send the next count depth events several times",
        {**_EVENT, "times": Option("integer", 2, "how often each event is sent")},
    ),
    "reorder": Kind("swap the next two depth events, count pairs", _EVENT),
    "crossed_book": Kind(
        "put a bid above the best ask into the next count depth events; the event after them takes it back",
        _EVENT,
    ),
    "corrupt_level": Kind(
        "falsify one level a symbol in the next count depth events of each stream: from then on the clients' books "
        "differ from the venue's in this level alone",
        {
            **_EVENT,
            "side": Option("text", "bids", "the side of the level", ("bids", "asks")),
            "rank": Option("integer", 10, "which level, counted from the best one, which is 1"),
            "mode": Option(
                "text",
                "quantity",
                "another quantity, a level taken away, or a level at a free price behind the one at rank",
                ("quantity", "missing", "phantom"),
            ),
            "hold_s": Option(
                "number", 300, "how long the order flow keeps away from that price; only a move of the market heals it"
            ),
        },
    ),
    "fragmented": Kind(
        "send the next count events in continuation frames",
        {
            **_EVENT,
            "pieces": Option("integer", 3, "number of frames"),
            "ping": Option("boolean", True, "with a ping between the first two"),
        },
    ),
    # Faults of frames: extra bytes on the wire, at once; the events around them are not disturbed.
    "malformed": Kind(
        "send a broken frame",
        {
            **_FRAME,
            "mode": Option(
                "text",
                "json",
                "no JSON, text that is not UTF-8, a reserved opcode with RSV bits, or JSON cut in half",
                ("json", "utf8", "header", "truncated"),
            ),
            "in_place": Option("boolean", False, "spoil the next event instead of sending an extra frame"),
        },
    ),
    "oversized": Kind(
        "send one text frame of huge length",
        {
            **_FRAME,
            "bytes": Option("integer", 64 * 1024 * 1024, "length of its payload"),
            "complete": Option("boolean", True, "send all of it; otherwise only its header and the first KiB"),
        },
    ),
    "binary": Kind("send a binary frame", {**_FRAME, "bytes": Option("integer", 64, "length of its payload")}),
    "empty": Kind("send an empty text frame", _FRAME),
    "masked": Kind("send a masked frame, which a server must not", _FRAME),
    # Faults of connections.
    "disconnect": Kind(
        "end connections",
        {
            "mode": Option(
                "text",
                "close_frame",
                "with a close frame, by TCP FIN without one, or by TCP reset",
                ("close_frame", "abrupt", "rst"),
            ),
            "code": Option("integer", 1001, "close code"),
            "reason": Option("text", "", "close reason"),
            **_CONNECTIONS,
        },
    ),
    "stall": Kind(
        "deliver no events on the connections open now; what happens meanwhile is lost to them (requests of the WebSocket "
        "API are still answered)",
        {
            "seconds": Option("number", 3600, "how long"),
            "pongs": Option("boolean", True, "keep pinging and answering; false: dead silent half-open socket"),
            **_CONNECTIONS,
        },
    ),
    "slow_link": Kind(
        "delay every frame of the connections open now",
        {
            "delay_ms": Option("number", 500, "added to each frame"),
            "bytes_per_s": Option("number", 0, "throughput; 0 is unlimited"),
            "seconds": Option("number", 3600, "how long"),
            **_CONNECTIONS,
        },
    ),
    "server_shutdown": Kind(
        "announce serverShutdown on all connections",
        {
            "close_after_s": Option("number", None, "then close them after so many seconds (default: never)"),
            "connection": CONNECTION,
            "service": SERVICE,
        },
    ),
    "refuse_connections": Kind(
        "refuse new connections",
        {
            "seconds": Option("number", 5, "how long"),
            "mode": Option("text", "tcp", "reset at once, or an HTTP status", ("tcp", "http_503", "http_429")),
            "service": SERVICE,
        },
    ),
    # Faults of REST.
    "rest": Kind(
        "spoil REST answers",
        {
            "mode": Option(
                "text",
                "status",
                "an error status, half a body, a slow answer, an HTML page, a reset, no body, or JSON of another shape",
                ("status", "truncated", "slow", "html", "reset", "empty", "wrong_json"),
            ),
            "status": Option("integer", None, "status of the modes status (default 503) and html (200)", _STATUSES),
            "retry_after": Option("integer", None, "Retry-After in seconds (default for 429 and 418: 1)"),
            "delay_s": Option("number", 5, "delay of the mode slow"),
            "path": Option("text", None, "only paths that contain this text"),
            "symbols": SYMBOLS,
            "count": COUNT,
            "seconds": SECONDS,
        },
    ),
    "stale_snapshot": Kind(
        "answer depth with the book as it is now, declared older still",
        {
            "symbols": SYMBOLS,
            "count": COUNT,
            "seconds": SECONDS,
            "ids_back": Option("integer", 1000, "how far lastUpdateId is set back"),
        },
    ),
    "snapshot_lag": Kind(
        "REST depth and streams disagree in time: both are true, but one is older",
        {
            "ms": Option(
                "number",
                REQUIRED,
                "positive: depth shows book and lastUpdateId of so long ago (at most since this request); "
                "negative: all events come so much later than REST",
                signed=True,
            ),
            "symbols": SYMBOLS,
            "seconds": Option("number", None, "how long (default: until cleared)"),
        },
    ),
    "ban": Kind(
        "ban this address as for ignored 429s: every request is answered 418 with the seconds left in Retry-After, and "
        "connections of the WebSocket API are closed",
        {"seconds": Option("number", 120, "how long (forgive_weight lifts it)")},
    ),
    "use_weight": Kind("use up request weight", {"weight": Option("integer", REQUIRED, "how much")}),
    "forgive_weight": Kind("forget used weight and lift bans", {}),
    **PRIVATE_KINDS,
    # The venue itself.
    "clock_skew": Kind(
        "shift the venue's clock (serverTime, E, T, and what timestamps of requests are checked against), at once; it "
        "may be set again while it runs, which is a step",
        {
            "ms": Option("number", REQUIRED, "positive: the venue is ahead", signed=True),
            "drift_ppm": Option(
                "number", 0, "microseconds the venue's clock gains on ours in each second from then on", signed=True
            ),
            "seconds": Option("number", None, "how long (default: until changed)"),
        },
    ),
    "freeze": Kind(
        "let nothing happen on the market, so that books stand still",
        {"seconds": Option("number", 3600, "how long; 0 ends it")},
    ),
    "set_price": Kind(
        "move a symbol's market to a price",
        {"symbol": SYMBOL, "price": Option("text", REQUIRED, "the new middle price")},
    ),
    "new_symbol": Kind(
        "list a symbol",
        {
            "symbol": SYMBOL,
            "status": Option("text", "TRADING", "its status", ("TRADING", "HALT", "BREAK", "CANCEL_ONLY")),
        },
    ),
    "symbol_status": Kind(
        "change the status of a symbol",
        {
            "symbol": SYMBOL,
            "status": Option("text", REQUIRED, "the new one", ("TRADING", "HALT", "BREAK", "CANCEL_ONLY")),
        },
    ),
    "remove_symbol": Kind("delist a symbol", {"symbol": SYMBOL}),
    "reset": Kind(
        "wipe the venue like the monthly testnet reset: all ids restart, orders are gone, balances are back at their "
        "start, keys stay",
        {"disconnect": Option("boolean", False, "close all connections as well")},
    ),
    "clear": Kind("remove every fault above and correct the clock", {}),
}


def checked(request: object, kinds: Mapping[str, Kind] = KINDS) -> tuple[str, dict[str, Any]]:
    """Check a request against the table; returns the kind and all its options, defaults filled in.

    Raises :class:`BadFault`.
    """
    if not isinstance(request, dict) or not isinstance(request.get("kind"), str):
        raise BadFault(f'expected {{"kind": one of {", ".join(kinds)}}}')
    name = request["kind"]
    kind = kinds.get(name)
    if kind is None:
        raise BadFault(f"unknown kind {name!r}, expected one of {', '.join(kinds)}")
    unknown = sorted(set(request) - {"kind"} - set(kind.options))
    if unknown:
        raise BadFault(f"{name} has no option {unknown[0]!r}, expected {', '.join(kind.options) or 'none'}")
    options: dict[str, Any] = {}
    for key, option in kind.options.items():
        if request.get(key) is None:
            if option.default is REQUIRED:
                raise BadFault(f"{name} needs the option {key!r} ({option.type}: {option.meaning})")
            options[key] = option.default
            continue
        options[key] = _converted(name, key, option, request[key])
    return name, options


def _converted(name: str, key: str, option: Option, value: Any) -> Any:
    fitting: Any = None
    if option.type.startswith("list of "):
        members = value if isinstance(value, list) else [value]
        member = int if option.type.endswith("integer") else str
        if members and all(isinstance(one, member) and not isinstance(one, bool) for one in members):
            fitting = members
    elif option.type == "boolean":
        fitting = value if isinstance(value, bool) else None
    elif option.type == "text":
        fitting = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    elif isinstance(value, int if option.type == "integer" else (int, float)) and not isinstance(value, bool):
        fitting = value if value >= 0 or option.signed else None
    if fitting is None or (option.choices and fitting not in option.choices):
        choices = f" (one of {', '.join(map(str, option.choices))})" if option.choices else ""
        raise BadFault(f"{name}: option {key!r} is {value!r}, expected {option.type}{choices}: {option.meaning}")
    return fitting


def table(kinds: Mapping[str, Kind] = KINDS) -> dict[str, Any]:
    """The table as JSON, for ``GET /sandbox/faults``."""
    return {
        name: {
            "meaning": kind.meaning,
            "options": {
                key: {
                    "type": option.type,
                    "meaning": option.meaning,
                    **({"required": True} if option.default is REQUIRED else {"default": option.default}),
                    **({"choices": list(option.choices)} if option.choices else {}),
                }
                for key, option in kind.options.items()
            },
        }
        for name, kind in kinds.items()
    }
