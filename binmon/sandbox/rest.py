"""The REST server: HTTP/1.1 with keep-alive over the endpoint table, the private side, request weight, and the fault
desk.

``/sandbox/*`` is not the venue: it injects faults and shows the state, costs no weight and is never disturbed.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from .clock import VenueClock
from .endpoints import Endpoint
from .handshake import TIME_UNITS
from .http_server import HTML_TYPE, Answer, HttpServer
from .limits import Verdict, WeightLedger
from .parameters import ApiError, Parameters
from .trading.call import Call
from .trading.operations import Operation, PrivateSide
from .trading.signatures import rest_payload

_GONE = (
    "<html>\r\n<head><title>410 Gone</title></head>\r\n<body><center><h1>410 Gone</h1></center></body>\r\n</html>\r\n"
)


Desk = Callable[[str, str, bytes], Answer]
"""Answers ``/sandbox/*``: method, path with query, body."""
Disturb = Callable[[str, str, Callable[[], Answer]], Answer]
"""May replace or spoil an answer: path, query, and the way to get the true one."""


class RestServer:
    """Listens on loopback and answers from an endpoint table and from the operations of a private side, if there is one.

    Raises ``OSError`` from the constructor when the port is taken.
    """

    def __init__(
        self,
        port: int,
        table: Mapping[str, Endpoint],
        clock: VenueClock,
        ledger: WeightLedger,
        desk: Desk,
        disturb: Disturb,
        private: PrivateSide | None = None,
    ) -> None:
        self.table = table
        self._private = private
        self._operations: dict[tuple[str, str], Operation] = {
            operation.rest: operation
            for operation in (private.operations if private is not None else ())
            if operation.rest is not None
        }
        self._private_paths = {path for _, path in self._operations}
        self.clock = clock
        self.ledger = ledger
        self.desk = desk
        self.disturb = disturb
        self._lock = threading.Lock()
        self._paths: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._server = HttpServer(port, self.answer, "sandbox-rest")
        self.port: int = self._server.port

    def start(self) -> None:
        """Start serving."""
        self._server.start()

    def stop(self, timeout_s: float) -> None:
        """Stop serving and cut the connections that are kept alive."""
        self._server.stop(timeout_s)

    def counters(self) -> dict[str, dict[str, int]]:
        """Requests by path and by status."""
        with self._lock:
            statuses = {str(status): count for status, count in self._statuses.items()}
            return {"requests": dict(self._paths), "statuses": statuses}

    def answer(self, method: str, target: str, headers: Mapping[str, str], address: str, body: bytes) -> Answer:
        """The answer to one request."""
        parts = urlsplit(target)
        path, query = parts.path, parts.query
        if path == "/sandbox" or path.startswith("/sandbox/"):
            return self.desk(method, target, body)
        with self._lock:
            self._paths[path] += 1
        answer = self.disturb(path, query, lambda: self._venue(method, path, query, headers, address, body))
        with self._lock:
            self._statuses[answer.status] += 1
        if not answer.from_venue:
            return answer
        used = str(self.ledger.used(address, self.clock.now_ms() / 1000))
        weights = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        return replace(answer, headers={**weights, **answer.headers})

    def _venue(
        self, method: str, path: str, query: str, headers: Mapping[str, str], address: str, body: bytes
    ) -> Answer:
        operation = self._operations.get((method, path))
        if operation is not None and self._private is not None:
            return self._operate(self._private, operation, query, headers, address, body)
        endpoint = self.table.get(path)
        parameters = Parameters(query)
        weight = endpoint.weight(parameters) if endpoint is not None else 1
        verdict = self.ledger.charge(address, weight, self.clock.now_ms() / 1000)
        if verdict.status != 200:
            return refused(verdict, self.ledger.limit)
        if path.startswith("/api/v3/userDataStream"):
            return Answer(410, _GONE, HTML_TYPE)
        if path in self._private_paths or (endpoint is not None and method != "GET"):
            return _error(ApiError(405, -1020, f"Request method '{method}' not supported"))
        if endpoint is None:
            return _not_found(headers)
        try:
            return Answer(200, endpoint.run(parameters, _wants_microseconds(headers)))
        except ApiError as error:
            return _error(error)

    def _operate(
        self,
        private: PrivateSide,
        operation: Operation,
        query: str,
        headers: Mapping[str, str],
        address: str,
        body: bytes,
    ) -> Answer:
        """Answer a signed request. What is free on success is charged once it has failed."""
        form = body.decode("latin-1") if operation.rest is not None and operation.rest[0] != "GET" else ""
        parameters = Parameters(query, form)
        weight = operation.weight(parameters)
        now_s = self.clock.now_ms() / 1000
        verdict = self.ledger.charge(address, 0 if operation.free_on_success else weight, now_s)
        if verdict.status != 200:
            return refused(verdict, self.ledger.limit)
        try:
            micro = _wants_microseconds(headers)
            payload, signature = rest_payload(query, form)
            if not payload.isascii():
                # Parameters are to be encoded first and signed then (reference: 2.3).
                raise ApiError(400, -1022, "Signature for this request is not valid.")
            key = headers.get("X-MBX-APIKEY")
            account, api_key = private.authorize(key, payload, signature, parameters, operation.security)
            text = operation.run(Call(parameters, account, api_key, micro))
        except ApiError as error:
            if operation.free_on_success:
                self.ledger.add(address, weight, now_s)
            return _error(error)
        if not operation.is_order:
            return Answer(200, text)
        short, day = (str(entry["count"]) for entry in private.order_counts(account))
        return Answer(200, text, headers={"X-MBX-ORDER-COUNT-10S": short, "X-MBX-ORDER-COUNT-1D": day})


def _wants_microseconds(headers: Mapping[str, str]) -> bool:
    unit = headers.get("X-MBX-TIME-UNIT", "MILLISECOND")
    if unit not in TIME_UNITS:
        raise ApiError(400, -1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return TIME_UNITS[unit]


def refused(verdict: Verdict, limit: int) -> Answer:
    """The answer to a request over the weight limit (429) or from a banned address (418)."""
    if verdict.status == 429:
        text = (
            f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
    else:
        text = (
            f"Way too much request weight used; IP banned until {verdict.banned_until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
    error = ApiError(verdict.status, -1003, text)
    return Answer(verdict.status, error.body(), headers={"Retry-After": str(verdict.retry_after_s)})


def _error(error: ApiError) -> Answer:
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    return Answer(error.status, error.body(), headers=headers)


def _not_found(headers: Mapping[str, str]) -> Answer:
    if "text/html" in headers.get("Accept", ""):
        return Answer(404, "<html><body><h2>404 Not found</h2></body></html>", HTML_TYPE)
    return Answer(404, json.dumps({"code": -1000, "msg": "Path not found."}))
