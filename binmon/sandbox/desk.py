"""The fault desk: the HTTP face of faults and state (``/sandbox/...`` on the REST port)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .fault_kinds import EVENT_ORDER, REST_ORDER, BadFault
from .faults import FaultBoard
from .http_server import Answer

Rows = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True)
class Side:
    """What the desk shows and does of one venue.

    ``orders`` gives the venue's own account of every order, ``balances`` that of all money; both are ``None`` where
    there is no private side.
    """

    board: FaultBoard
    state: Callable[[], dict[str, Any]]
    orders: Rows | None = None
    balances: Rows | None = None


class FaultDesk:
    """Answers ``GET /sandbox/state``, ``/sandbox/orders``, ``/sandbox/balances`` and ``/sandbox/faults``, and
    ``POST /sandbox/faults``.

    Several venues may share one desk: a request says which it means by ``venue`` (in the query, or in the JSON of a
    fault); without it, it means ``own``.
    """

    def __init__(self, sides: Mapping[str, Side], own: str) -> None:
        """``sides`` may grow after this."""
        self._sides = sides
        self._own = own

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request; 400 with a clear text for what cannot be done."""
        parts = urlsplit(target)
        path = parts.path
        try:
            if path == "/sandbox/faults" and method == "POST":
                side, request = self._addressed(_parsed(body))
                return _answer(200, {"ok": True, **side.board.inject(request)})
            side = self._side(dict(parse_qsl(parts.query)).get("venue"))
        except BadFault as error:
            return _answer(400, {"ok": False, "error": str(error)})
        if path == "/sandbox/state" and method == "GET":
            return _answer(200, side.state())
        if path == "/sandbox/orders" and method == "GET" and side.orders is not None:
            return _answer(200, {"orders": side.orders()})
        if path == "/sandbox/balances" and method == "GET" and side.balances is not None:
            return _answer(200, {"balances": side.balances()})
        if path == "/sandbox/faults" and method == "GET":
            order = {"events": EVENT_ORDER, "rest": REST_ORDER}
            return _answer(200, {"kinds": side.board.table(), "order": order, "active": side.board.active()})
        known = (
            "GET /sandbox/state, GET /sandbox/orders, GET /sandbox/balances, GET /sandbox/faults, POST /sandbox/faults"
        )
        return _answer(404, {"ok": False, "error": f"no {method} {path}, expected {known}"})

    def _addressed(self, request: object) -> tuple[Side, object]:
        """The venue that a fault is meant for, and the fault without its name."""
        if not isinstance(request, dict):
            return self._side(None), request
        venue = request.get("venue")
        return self._side(venue), {key: value for key, value in request.items() if key != "venue"}

    def _side(self, venue: object) -> Side:
        side = self._sides.get(self._own if venue is None else str(venue))
        if side is None:
            raise BadFault(f"unknown venue {venue!r}, expected one of {', '.join(self._sides)}")
        return side


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise BadFault(f"the body is not JSON: {error}") from error


def _answer(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(body, ensure_ascii=False))
