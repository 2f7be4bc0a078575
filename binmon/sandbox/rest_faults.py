"""Faults of REST answers: error statuses, spoilt bodies, slow answers, and stale depth snapshots."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from .http_server import Answer
from .parameters import ApiError

_HTML = "text/html"
_ERRORS = {
    429: ApiError(429, -1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."),
    418: ApiError(418, -1003, "Way too much request weight used; IP banned."),  # the end of the ban is put in
    500: ApiError(500, -1000, "An unknown error occurred while processing the request."),
    503: ApiError(503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
}
"""Statuses with a JSON body; the others come from infrastructure and are HTML."""


_ADVICE = "Please use WebSocket Streams for live updates to avoid bans."


def infrastructure_page(status: int, headers: dict[str, str]) -> Answer:
    """A page of a firewall or a proxy: HTML, and none of the headers of the venue, which has not seen the request."""
    title = f"{status} {HTTPStatus(status).phrase}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>cloudfront</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page, _HTML, headers, from_venue=False)


class Counted:
    """A fault that ends after a number of requests or some seconds."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        self.kind = kind
        self.options = options
        seconds, count = options.get("seconds"), options.get("count")
        self._until = time.monotonic() + seconds if seconds is not None else None
        self._left: int | None = count if count is not None else 1 if seconds is None else None
        self._symbols = frozenset(options["symbols"]) if options.get("symbols") else None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self._left == 0 or (self._until is not None and time.monotonic() >= self._until)

    def describe(self) -> dict[str, Any]:
        """What is left, for ``GET /sandbox/state``."""
        given = {key: value for key, value in self.options.items() if value is not None}
        return {"kind": self.kind, **given} | ({} if self._left is None else {"left": self._left})

    def use(self) -> None:
        """Count one hit."""
        if self._left is not None:
            self._left -= 1

    def end(self) -> None:
        """Nothing outside of this object remembers the fault."""

    def names(self, symbol: str | None) -> bool:
        """Whether a request for a symbol is concerned."""
        return self._symbols is None or symbol in self._symbols


class RestFault(Counted):
    """Spoils answers (kind ``rest``)."""

    @property
    def slow(self) -> bool:
        """Whether it only delays, so that it goes together with any other fault."""
        return bool(self.options["mode"] == "slow")

    @property
    def replaces(self) -> bool:
        """Whether the venue is not even asked."""
        return self.options["mode"] not in ("slow", "truncated")

    def delayed(self, answer: Answer) -> Answer:
        """The answer of the mode slow: the given one, later."""
        return replace(answer, delay_s=answer.delay_s + float(self.options["delay_s"]))

    def hits(self, path: str, query: str) -> bool:
        """Whether a request is concerned."""
        wanted = self.options["path"]
        return (wanted is None or wanted in path) and self.names(symbol_of(query))

    def answer(self, true_answer: Callable[[], Answer]) -> Answer:
        """The answer in place of the true one."""
        mode, status = self.options["mode"], self.options["status"]
        if mode == "status":
            return self.failure(status or 503)
        if mode == "html":
            return infrastructure_page(status or 200, {})
        if mode == "reset":
            return Answer(500, "", reset=True)
        if mode == "empty":
            return Answer(200, "")
        if mode == "wrong_json":
            return Answer(200, '{"unexpected":[1,null,"shape"]}')
        answer = true_answer()
        if mode == "slow":
            return self.delayed(answer)
        return replace(answer, break_after=len(answer.body.encode()) // 2)

    def failure(self, status: int) -> Answer:
        """The answer with an error status."""
        retry_after = self.options["retry_after"]
        if retry_after is None and status in (418, 429):
            retry_after = 1
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        error = _ERRORS.get(status)
        if error is None:
            return infrastructure_page(status, headers)
        if status == 418:
            until_ms = time.time_ns() // 1_000_000 + int(retry_after or 0) * 1000
            error = ApiError(418, -1003, f"Way too much request weight used; IP banned until {until_ms}. {_ADVICE}")
        return Answer(status, error.body(), headers=headers)


class StaleSnapshot(Counted):
    """Answers depth with an old book (kind ``stale_snapshot``); ``frozen`` holds a depth body a symbol."""

    def __init__(self, kind: str, options: dict[str, Any], frozen: dict[str, dict[str, Any]]) -> None:
        super().__init__(kind, options)
        self._frozen = frozen

    def hits(self, path: str, query: str) -> bool:
        """Whether a request is concerned."""
        return path == "/api/v3/depth" and symbol_of(query) in self._frozen

    def answer(self, query: str, true_answer: Answer) -> Answer:
        """The old book, cut to the limit asked for; errors stay as they are."""
        if true_answer.status != 200:
            return true_answer
        book = self._frozen[symbol_of(query) or ""]
        levels = len(json.loads(true_answer.body)["bids"]) or 1
        old = {
            "lastUpdateId": max(0, book["lastUpdateId"] - self.options["ids_back"]),
            "bids": book["bids"][:levels],
            "asks": book["asks"][:levels],
        }
        return replace(true_answer, body=json.dumps(old, separators=(",", ":")))


def symbol_of(query: str) -> str | None:
    """The ``symbol`` of a query, if there is one."""
    return parse_qs(query).get("symbol", [None])[0]
