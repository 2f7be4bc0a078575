"""Control messages of a stream connection: SUBSCRIBE and its relatives (reference: Binance Spot streams, 5.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_TEXT_ID = re.compile(r"[0-9A-Za-z_-]{1,36}")
"""The reference says alphanumeric, but the venue's own client numbers its messages with UUIDs, hyphens included."""


@dataclass
class Subscriptions:
    """What one connection listens to, in order of subscription, and its only property."""

    combined: bool
    limit: int
    on_add: Callable[[list[str]], None]
    on_remove: Callable[[str], None]
    streams: dict[str, None] = field(default_factory=dict)

    def add(self, names: list[str]) -> bool:
        """Subscribe to all names, or to none and return false when that would be too many."""
        new = [name for name in dict.fromkeys(names) if name not in self.streams]
        if len(self.streams) + len(new) > self.limit:
            return False
        self.streams.update(dict.fromkeys(new))
        self.on_add(new)
        return True

    def remove(self, names: list[str]) -> None:
        """Unsubscribe; names that are not subscribed are ignored."""
        for name in names:
            if name in self.streams:
                del self.streams[name]
                self.on_remove(name)


def _error(code: int, text: str, request: dict[str, Any] | None = None) -> str:
    body: dict[str, Any] = {"code": code, "msg": text}
    if request is not None and "id" in request:
        body["id"] = request["id"]
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _result(value: object, identifier: object) -> str:
    return json.dumps({"result": value, "id": identifier}, ensure_ascii=False, separators=(",", ":"))


def _valid_id(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or (isinstance(value, str) and _TEXT_ID.fullmatch(value) is not None)


def answer(text: str, subscriptions: Subscriptions) -> str:
    """Carry out one control message and return the reply, which is never wrapped in stream and data."""
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        return _error(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}")
    if not isinstance(request, dict) or "method" not in request:
        return _error(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    method = request["method"]
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        column = len('{"method": "') + len(str(method)) + 1
        return _error(
            2,
            f"Invalid request: unknown variant `{method}`, expected one of {expected} at line 1 column {column}",
        )
    if "id" not in request or not _valid_id(request["id"]):
        return _error(2, "Invalid request: request ID must be an unsigned integer")
    if set(request) - {"method", "params", "id"}:
        return _error(2, "Invalid request: too many parameters", request)
    params = request.get("params", [])
    if not isinstance(params, list):
        return _error(2, "Invalid request: params must be an array", request)
    return _HANDLERS[method](request, params, subscriptions)


def _subscribe(request: dict[str, Any], params: list[Any], subscriptions: Subscriptions) -> str:
    if not params or not all(isinstance(name, str) for name in params):
        return _error(2, "Invalid request: params must be a non-empty array of stream names", request)
    if not subscriptions.add(params):
        return _error(2, f"Invalid request: more than {subscriptions.limit} streams", request)
    return _result(None, request["id"])


def _unsubscribe(request: dict[str, Any], params: list[Any], subscriptions: Subscriptions) -> str:
    if not params or not all(isinstance(name, str) for name in params):
        return _error(2, "Invalid request: params must be a non-empty array of stream names", request)
    subscriptions.remove(params)
    return _result(None, request["id"])


def _list(request: dict[str, Any], params: list[Any], subscriptions: Subscriptions) -> str:
    if params:
        return _error(2, "Invalid request: too many parameters", request)
    return _result(list(subscriptions.streams), request["id"])


def _set_property(request: dict[str, Any], params: list[Any], subscriptions: Subscriptions) -> str:
    if not params or not isinstance(params[0], str):
        return _error(2, "Invalid request: property name must be a string", request)
    if len(params) > 2:
        return _error(2, "Invalid request: too many parameters", request)
    if params[0] != "combined":
        return _error(0, "Unknown property", request)
    if len(params) < 2 or not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean")
    subscriptions.combined = params[1]
    return _result(None, request["id"])


def _get_property(request: dict[str, Any], params: list[Any], subscriptions: Subscriptions) -> str:
    if not params or not isinstance(params[0], str):
        return _error(2, "Invalid request: property name must be a string", request)
    if len(params) > 1:
        return _error(2, "Invalid request: too many parameters", request)
    if params[0] != "combined":
        return _error(0, "Unknown property", request)
    return _result(subscriptions.combined, request["id"])


_HANDLERS: dict[str, Callable[[dict[str, Any], list[Any], Subscriptions], str]] = {
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "LIST_SUBSCRIPTIONS": _list,
    "SET_PROPERTY": _set_property,
    "GET_PROPERTY": _get_property,
}
