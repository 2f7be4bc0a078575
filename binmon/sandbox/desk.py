"""The fault desk: the HTTP face of faults and state (``/sandbox/...`` on the REST port)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .fault_kinds import EVENT_ORDER, REST_ORDER, BadFault, table
from .faults import FaultBoard
from .rest import Answer


class FaultDesk:
    """Answers ``GET /sandbox/state``, ``GET /sandbox/orders``, ``GET /sandbox/faults`` and ``POST /sandbox/faults``.

    ``orders`` gives the venue's own account of every order; ``None`` where there is no private side.
    """

    def __init__(
        self,
        board: FaultBoard,
        state: Callable[[], dict[str, Any]],
        orders: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> None:
        self._board = board
        self._state = state
        self._orders = orders

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request; 400 with a clear text for what cannot be done."""
        path = urlsplit(target).path
        if path == "/sandbox/state" and method == "GET":
            return _answer(200, self._state())
        if path == "/sandbox/orders" and method == "GET" and self._orders is not None:
            return _answer(200, {"orders": self._orders()})
        if path == "/sandbox/faults" and method == "GET":
            order = {"events": EVENT_ORDER, "rest": REST_ORDER}
            return _answer(200, {"kinds": table(), "order": order, "active": self._board.active()})
        if path == "/sandbox/faults" and method == "POST":
            try:
                return _answer(200, {"ok": True, **self._board.inject(_parsed(body))})
            except BadFault as error:
                return _answer(400, {"ok": False, "error": str(error)})
        known = "GET /sandbox/state, GET /sandbox/orders, GET /sandbox/faults, POST /sandbox/faults"
        return _answer(404, {"ok": False, "error": f"no {method} {path}, expected {known}"})


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise BadFault(f"the body is not JSON: {error}") from error


def _answer(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(body, ensure_ascii=False))
