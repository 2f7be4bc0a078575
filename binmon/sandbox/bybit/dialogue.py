"""What the connections of the Bybit dialect have in common: operations in JSON, acknowledgements, and being idle.

Rules: reference, Bybit v5, 4.1, 4.2 and 5.1.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from websockets.http11 import Request

from .. import handshake
from ..clock import VenueClock
from ..connection import Connection
from ..trading.reports import to_json

MOST_ARGS = 10
"""Topics in one subscribe request."""
MOST_LETTERS = 21_000
"""Letters of all topics of one connection."""
IDLE_S = 600.0
"""Seconds after which a connection is cut that has neither sent nor got anything."""


class BybitDialogue:
    """One connection. The connection's thread calls everything but :meth:`check_idle` and :meth:`look`."""

    def __init__(self, connection: Connection, clock: VenueClock, idle_s: float) -> None:
        self.connection = connection
        self.clock = clock
        self.conn_id = f"d0sandbox{secrets.token_hex(6)}-{connection.identifier}"
        self.idle_s = idle_s
        self._heard_s = time.monotonic()
        self._frames_seen = 0

    @property
    def identifier(self) -> int:
        """Number of the connection."""
        return self.connection.identifier

    @property
    def streams(self) -> tuple[str, ...]:
        """Public topics it listens to."""
        return ()

    def greet(self, request: Request) -> tuple[bytes, bool]:
        """Take the upgrade request; its path has been looked at already."""
        return handshake.accepted(request)

    def opened(self) -> None:
        """Nothing is said before the client has asked for something."""

    def hear(self, text: str) -> None:
        """Carry out one operation."""
        self._heard_s = time.monotonic()
        try:
            request = json.loads(text)
        except ValueError:
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            self.refuse({} if not isinstance(request, dict) else request, "error:invalid op")
            return
        self.carry_out(request["op"], request)

    def carry_out(self, op: str, request: dict[str, Any]) -> None:
        """Carry out one well-formed operation."""
        raise NotImplementedError

    def shutdown_notice(self) -> bytes:
        """This venue announces nothing."""
        return b""

    def ended(self) -> None:
        """The connection is gone."""

    def look(self) -> dict[str, Any]:
        """What ``GET /sandbox/state`` tells."""
        return {"streams": list(self.streams)}

    def check_idle(self, now_s: float) -> None:
        """Cut the connection when nothing has gone over it for too long (any thread; monotonic seconds)."""
        if self.connection.frames_sent != self._frames_seen:
            self._frames_seen = self.connection.frames_sent
            self._heard_s = now_s
        if now_s - self._heard_s > self.idle_s:
            self.connection.end_abruptly(reset=False)

    # Answers ----------------------------------------------------------------------------------------------------

    def acknowledge(self, request: dict[str, Any], ret_msg: str, success: bool = True, op: str | None = None) -> None:
        """Answer an operation; ``req_id`` is there only if one was sent."""
        answer: dict[str, Any] = {"success": success, "ret_msg": ret_msg, "conn_id": self.conn_id}
        if request.get("req_id") not in (None, ""):
            answer["req_id"] = request["req_id"]
        answer["op"] = op if op is not None else str(request.get("op", ""))
        self.connection.say(to_json(answer))

    def refuse(self, request: dict[str, Any], ret_msg: str) -> None:
        """Answer that an operation has failed; the connection stays open."""
        self.acknowledge(request, ret_msg, success=False)


def topics_of(request: dict[str, Any]) -> list[str] | None:
    """The topics in ``args``; ``None`` when they are no list of texts."""
    args = request.get("args")
    if not isinstance(args, list) or not args or not all(isinstance(one, str) for one in args):
        return None
    return args


def read_seconds(text: str) -> float | None:
    """A length of time such as ``30s`` or ``1m``; ``None`` when it is none."""
    number, unit = text[:-1], text[-1:]
    if not number.isdigit() or unit not in ("s", "m"):
        return None
    return float(int(number) * (60 if unit == "m" else 1))
