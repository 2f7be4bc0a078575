"""Answers of the Bybit dialect: the envelope, and its errors (reference: Bybit v5, 3.0 and 7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..http_server import Answer
from ..trading.reports import to_json

JSON_TYPE = "application/json; charset=utf-8"
RATE_TEXT = "Too many visits. Exceeded the API Rate Limit."


@dataclass(unsafe_hash=True)
class RetError(Exception):
    """A business error: HTTP 200 with a ``retCode``, or an HTTP status of its own."""

    code: int
    message: str
    status: int = 200

    def fresh(self) -> RetError:
        """A copy to raise: an exception keeps every traceback it is raised with, so that constants must not be."""
        return replace(self)


INVALID_SYMBOL = RetError(170121, "Invalid symbol.")
NO_BALANCE = RetError(170131, "Insufficient balance.")
DUPLICATE = RetError(170141, "Duplicate clientOrderId")
UNKNOWN_ORDER = RetError(170213, "Order does not exist.")
NOT_OPEN = RetError(170151, "Order type not allowed: the trading pair is not open yet.")
TOO_SMALL = RetError(170140, "Order value exceeded lower limit.")


def wrong(name: str) -> RetError:
    """A parameter that is missing, or has a value that it cannot have."""
    return RetError(10001, f"params error: {name} invalid")


def envelope(result: Any, time_ms: int, code: int = 0, message: str = "OK", extra: Any = None) -> str:
    """What every answer looks like."""
    body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": extra or {}, "time": time_ms}
    return to_json(body)


def answer(result: Any, time_ms: int, extra: Any = None) -> Answer:
    """A good answer."""
    return Answer(200, envelope(result, time_ms, extra=extra), JSON_TYPE)


def failure(error: RetError, time_ms: int) -> Answer:
    """The answer with an error: business errors come with HTTP 200."""
    return Answer(error.status, envelope({}, time_ms, error.code, error.message), JSON_TYPE)


def too_frequent() -> Answer:
    """What a banned address is answered: no envelope, and the text that tells it from a blocked country (6.2)."""
    return Answer(403, "access too frequent", "text/plain", from_venue=False)
