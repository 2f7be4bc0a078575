"""REST of the Bybit dialect: the envelope, who may ask, how often (reference: Bybit v5, 2, 3.0 and 6).

``/sandbox/*`` is not the venue: it injects faults and shows the state, is never counted and never disturbed.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..clock import VenueClock
from ..http_server import Answer
from ..limits import WeightLedger
from ..trading.accounts import Account, ApiKey
from . import errors, limits, signing
from .errors import RATE_TEXT, RetError
from .faults import BybitFaults
from .limits import EndpointLimits
from .market_routes import MarketRoutes
from .private_side import Operation, PrivateSide
from .queries import Call

_KEY, _TIME, _WINDOW, _SIGN = "X-BAPI-API-KEY", "X-BAPI-TIMESTAMP", "X-BAPI-RECV-WINDOW", "X-BAPI-SIGN"
BAD_KEY = RetError(10003, "API key is invalid.")
NO_PERMISSION = RetError(10005, "Permission denied, please check your API key permissions.")


class BybitRest:
    """Answers requests. Safe to use from any thread."""

    def __init__(
        self,
        routes: MarketRoutes,
        side: PrivateSide,
        clock: VenueClock,
        ledger: WeightLedger,
        ban_s: float,
        faults: BybitFaults,
        desk: Callable[[str, str, bytes], Answer],
    ) -> None:
        self._routes = routes
        self._side = side
        self._clock = clock
        self._ledger = ledger
        self._ban_s = ban_s
        self._faults = faults
        self._desk = desk
        self._limits = EndpointLimits()
        self._operations = {(one.verb, one.path): one for one in side.operations}
        self._verbs = {one.path: one.verb for one in side.operations} | dict.fromkeys(routes.table, "GET")
        self._lock = threading.Lock()
        self._paths: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()

    def counters(self) -> dict[str, dict[str, int]]:
        """Requests by path, and answers by HTTP status."""
        with self._lock:
            return {"requests": dict(self._paths), "statuses": dict(self._codes)}

    def answer(self, method: str, target: str, headers: Mapping[str, str], address: str, body: bytes) -> Answer:
        """The answer to one request."""
        parts = urlsplit(target)
        if parts.path == "/sandbox" or parts.path.startswith("/sandbox/"):
            return self._desk(method, target, body)
        with self._lock:
            self._paths[parts.path] += 1
        about = parts.query if method == "GET" else urlencode(_fields(body))
        answer = self._faults.disturb_rest(
            parts.path, about, lambda: self._venue(method, parts.path, parts.query, headers, address, body)
        )
        with self._lock:
            self._codes[str(answer.status)] += 1
        return answer

    def charge(self, account: Account, operation: Operation) -> limits.Allowance:
        """Count a request of an account."""
        now_ms = self._clock.now_ms()
        return self._limits.charge(account.identifier, operation.path, operation.per_second, now_ms)

    def forgive(self) -> None:
        """Forget how often everybody has asked."""
        self._limits.forgive()

    def _venue(
        self, method: str, path: str, query: str, headers: Mapping[str, str], address: str, body: bytes
    ) -> Answer:
        now_s = self._clock.now_ms() / 1000
        verdict = self._ledger.charge(address, 1, now_s)
        if verdict.status == 429:
            self._ledger.ban(address, self._ban_s, now_s)
        if verdict.status != 200:
            return errors.too_frequent()
        if method == "GET" and body:
            return Answer(403, "GET with a body", "text/plain", from_venue=False)
        if path not in self._verbs:
            return self._fail(RetError(10017, "Route not found.", 404))
        if self._verbs[path] != method:
            return self._fail(RetError(10001, f"Request method '{method}' not supported.", 400))
        operation = self._operations.get((method, path))
        if operation is not None:
            return self._operate(operation, query, headers, body)
        try:
            result = self._routes.table[path](dict(parse_qsl(query, keep_blank_values=True)))
        except RetError as error:
            return self._fail(error)
        text = f'{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":{self._clock.now_ms()}}}'
        return Answer(200, text, errors.JSON_TYPE)

    def _operate(self, operation: Operation, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a signed request."""
        payload = query if operation.verb == "GET" else body.decode("utf-8", errors="replace")
        try:
            account, key = self._authorize(headers, payload)
            if operation.needs_trade and not key.can_trade:
                raise NO_PERMISSION.fresh()
        except RetError as error:
            return self._fail(error)
        allowance = self.charge(account, operation)
        if not allowance.allowed:
            answer = self._fail(RetError(10006, RATE_TEXT))
        else:
            try:
                fields = dict(parse_qsl(query, keep_blank_values=True)) if operation.verb == "GET" else _object(body)
                result = self._faults.guarded(operation, Call(fields, account, key))
                answer = errors.answer(result, self._clock.now_ms())
            except RetError as error:
                answer = self._fail(error)
        return replace(answer, headers={**answer.headers, **allowance.headers()})

    def _authorize(self, headers: Mapping[str, str], payload: str) -> tuple[Account, ApiKey]:
        """Whose request it is. Raises HTTP 401 without the headers, 10003, 10002 and 10004."""
        key, timestamp, signature = (headers.get(name, "") for name in (_KEY, _TIME, _SIGN))
        window = headers.get(_WINDOW, "")
        if not key or not timestamp or not signature:
            raise RetError(10003, "Missing authentication headers.", 401)
        found = self._side.accounts.by_key(key)
        if found is None or not found[1].enabled:
            raise BAD_KEY.fresh()
        signing.check_time(timestamp, window, self._clock.now_ms())
        signing.check_signature(found[1], timestamp, window, payload, signature)
        return found

    def _fail(self, error: RetError) -> Answer:
        return errors.failure(error, self._clock.now_ms())


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body or b"{}")
    except ValueError as error:
        raise RetError(10001, "Request parameter error: the body is not JSON.") from error
    if not isinstance(fields, dict):
        raise RetError(10001, "Request parameter error: the body is no object.")
    return fields


def _fields(body: bytes) -> dict[str, str]:
    """The texts of a body, for faults that choose requests by symbol; nothing when it cannot be read."""
    try:
        return {name: value for name, value in _object(body).items() if isinstance(value, str)}
    except RetError:
        return {}
