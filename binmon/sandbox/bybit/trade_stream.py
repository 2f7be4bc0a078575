"""Order entry by websocket: the same operations as over REST (reference: Bybit v5, 5.7)."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from ..clock import VenueClock
from ..connection import Connection
from ..fates import Fate
from ..trading.accounts import Account, Accounts, ApiKey
from ..trading.reports import to_json
from . import signing
from .dialogue import BybitDialogue
from .errors import RATE_TEXT, RetError
from .limits import Allowance
from .private_side import Operation
from .queries import Call

SERVICE = "bybit_trade"
PATH = "/v5/trade"
_LONGEST_ID = 36
_REMEMBERED = 1000
OPS = ("order.create", "order.cancel")

Later = Callable[[float, Callable[[], None]], None]
"""Does something after some seconds."""


class TradeParts:
    """What the connections of this service need of their venue."""

    def __init__(
        self,
        accounts: Accounts,
        operations: list[Operation],
        charge: Callable[[Account, Operation], Allowance],
        carry_out: Callable[[Operation, Call], dict[str, Any]],
        take_fate: Callable[[], Fate | None],
        later: Later,
    ) -> None:
        self.accounts = accounts
        self.operations = {one.name: one for one in operations if one.name in OPS}
        self.charge = charge
        self.carry_out = carry_out
        self.take_fate = take_fate
        self.later = later


class TradeDialogue(BybitDialogue):
    """A connection of the order entry."""

    def __init__(self, connection: Connection, clock: VenueClock, idle_s: float, parts: TradeParts) -> None:
        super().__init__(connection, clock, idle_s)
        self._parts = parts
        self._user: tuple[Account, ApiKey] | None = None
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)

    def refuse(self, request: dict[str, Any], ret_msg: str) -> None:
        """Answer that a message has failed, in the words of this service."""
        self._say(request, RetError(10404, ret_msg))

    def carry_out(self, op: str, request: dict[str, Any]) -> None:
        """Log on, ping, place or cancel."""
        if op == "ping":
            answer = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(self.clock.now_ms())]}
            self.connection.say(to_json({**answer, "connId": self.conn_id}))
        elif op == "auth":
            self._log_on(request)
        else:
            self._order(op, request)

    def look(self) -> dict[str, Any]:
        """Whose connection it is."""
        return {"streams": [], "account": self._user[0].name if self._user is not None else None}

    def _log_on(self, request: dict[str, Any]) -> None:
        args = request.get("args")
        error: RetError | None = None
        if self._user is not None:
            error = RetError(20001, "Repeat auth")
        elif not isinstance(args, list) or len(args) != 3:
            error = RetError(10001, "Params Error")
        else:
            key, expires, signature = (str(one) for one in args)
            found = self._parts.accounts.by_key(key)
            if found is None or not found[1].enabled:
                error = RetError(10003, "API key is invalid.")
            elif not signing.is_logon(found[1], expires, signature, self.clock.now_ms()):
                error = RetError(10004, "Invalid sign")
            else:
                self._user = found
        code, text = (error.code, error.message) if error is not None else (0, "OK")
        self.connection.say(to_json({"retCode": code, "retMsg": text, "op": "auth", "connId": self.conn_id}))

    def _order(self, op: str, request: dict[str, Any]) -> None:
        number = str(request.get("reqId") or "")
        allowance: Allowance | None = None
        fate: Fate | None = None
        try:
            operation = self._parts.operations.get(op)
            if operation is None:
                raise RetError(10404, f"op {op} is not served")
            if self._user is None:
                raise RetError(10003, "Not authorized: log on first.")
            if len(number) > _LONGEST_ID:
                raise RetError(10001, "reqId is too long")
            if number and number in self._seen:
                raise RetError(20006, "Duplicate reqId")
            self._seen.append(number)
            header = request.get("header")
            header = header if isinstance(header, dict) else {}
            window = str(header.get("X-BAPI-RECV-WINDOW") or "")
            signing.check_time(str(header.get("X-BAPI-TIMESTAMP") or ""), window, self.clock.now_ms())
            args = request.get("args")
            if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
                raise RetError(10001, "Params Error")
            account, key = self._user
            if operation.needs_trade and not key.can_trade:
                raise RetError(10005, "Permission denied, please check your API key permissions.")
            allowance = self._parts.charge(account, operation)
            if not allowance.allowed:
                raise RetError(10006, RATE_TEXT)
            self._parts.take_fate()
            try:
                result = self._parts.carry_out(operation, Call(args[0], account, key))
            finally:
                fate = self._parts.take_fate()
            self._meet(fate, request, None, result, allowance)
        except RetError as error:
            self._meet(fate, request, error, {}, allowance)

    def _meet(
        self,
        fate: Fate | None,
        request: dict[str, Any],
        error: RetError | None,
        data: dict[str, Any],
        allowance: Allowance | None,
    ) -> None:
        """Answer, unless a fault has decided otherwise."""
        if fate is None or fate.mode in ("timeout", "status"):
            self._say(request, error, data, allowance)
        elif fate.mode == "late":
            self._parts.later(fate.seconds, lambda: self._say(request, error, data, allowance, flush=True))
        elif fate.mode in ("reset", "closed"):
            self.connection.end_abruptly(reset=fate.mode == "reset")

    def _say(
        self,
        request: dict[str, Any],
        error: RetError | None,
        data: dict[str, Any] | None = None,
        allowance: Allowance | None = None,
        flush: bool = False,
    ) -> None:
        answer: dict[str, Any] = {}
        if request.get("reqId"):
            answer["reqId"] = request["reqId"]
        headers = allowance.headers() if allowance is not None else {}
        answer |= {
            "retCode": error.code if error is not None else 0,
            "retMsg": error.message if error is not None else "OK",
            "op": str(request.get("op", "")),
            "data": (data or {}) if error is None else {},
            "retExtInfo": {},
            "header": {**headers, "Traceid": secrets.token_hex(8), "Timenow": str(self.clock.now_ms())},
            "connId": self.conn_id,
        }
        self.connection.say(to_json(answer))
        if flush:
            self.connection.flush()
