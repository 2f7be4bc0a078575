"""Reading request parameters, and the venue's errors for wrong ones (reference: Binance Spot, error codes)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import parse_qsl

from .decimals import parse_e8

_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_LARGEST_E8 = 2**63 - 1


@dataclass(unsafe_hash=True)
class ApiError(Exception):
    """An error answer: HTTP status, the venue's code and its text. Nobody changes one.

    ``data`` is the JSON text of the ``data`` member that some errors have; ``retry_after_s`` the seconds to wait, where
    the answer names them.
    """

    status: int
    code: int
    message: str
    data: str | None = None
    retry_after_s: int = 0

    def fresh(self) -> ApiError:
        """A copy to raise: an exception keeps every traceback it is raised with, so that constants must not be."""
        return replace(self)

    def body(self) -> str:
        """The JSON body."""
        text = json.dumps({"code": self.code, "msg": self.message}, ensure_ascii=False, separators=(",", ":"))
        return text if self.data is None else f'{text[:-1]},"data":{self.data}}}'


def missing(name: str) -> ApiError:
    """A mandatory parameter is absent, empty or malformed."""
    return ApiError(400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


INVALID_SYMBOL = ApiError(400, -1121, "Invalid symbol.")


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="replace")


class Parameters:
    """The parameters of one request. Readers raise :class:`ApiError` for values the venue would refuse.

    They come from the query and from a form in the body; of a parameter in both the query's value counts (reference:
    Binance Spot, 2.3).
    """

    def __init__(self, query: str, body: str = "") -> None:
        in_query, in_body = _pairs(query), _pairs(body)
        self.repeated = len(dict(in_query)) != len(in_query) or len(dict(in_body)) != len(in_body)
        self._values: dict[str, str] = {**dict(in_body), **dict(in_query)}

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Self:
        """Parameters of a JSON object: texts as they are, ``null`` as empty, everything else as compact JSON."""
        parameters = cls("")
        for name, value in mapping.items():
            if isinstance(value, str):
                text = value
            elif value is None:
                text = ""
            else:
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            parameters._values[name] = text
        return parameters

    def check_known(self, known: Iterable[str]) -> None:
        """Refuse parameters the endpoint does not read, and repeated ones."""
        if self.repeated:
            raise ApiError(400, -1101, "Duplicate values for a parameter detected.")
        read = sum(name in self._values for name in known)
        if read != len(self._values):
            text = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(self._values)}'."
            raise ApiError(400, -1104, text)

    def has(self, name: str) -> bool:
        """Whether a parameter was sent."""
        return name in self._values

    def text(self, name: str) -> str:
        """A mandatory text."""
        value = self._values.get(name, "")
        if not value:
            raise missing(name)
        return value

    def text_or_empty(self, name: str) -> str:
        """A parameter as text; empty when it is absent or empty."""
        return self._values.get(name, "")

    def optional_text(self, name: str) -> str | None:
        """An optional text; empty is an error, absent is ``None``."""
        value = self._values.get(name)
        if value == "":
            raise ApiError(400, -1105, f"Parameter '{name}' was empty.")
        return value

    def integer(self, name: str) -> int | None:
        """An optional integer."""
        value = self.optional_text(name)
        if value is None:
            return None
        try:
            number = int(value)
        except ValueError as error:
            text = f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
            raise ApiError(400, -1100, text) from error
        if abs(number) >= 2**63:
            raise ApiError(400, -1108, f"Parameter '{name}' overflowed.")
        return number

    def decimal_e8(self, name: str) -> int | None:
        """An optional decimal number in units of 0.00000001; more decimals than eight are refused (-1111)."""
        value = self.optional_text(name)
        if value is None:
            return None
        if _DECIMAL.fullmatch(value) is None:
            text = f"Illegal characters found in parameter '{name}'; legal range is '^([0-9]{{1,20}})(\\.[0-9]{{1,20}})?$'."
            raise ApiError(400, -1100, text)
        try:
            number = parse_e8(value)
        except ValueError as error:
            raise ApiError(400, -1111, f"Parameter '{name}' has too much precision.") from error
        if number > _LARGEST_E8:
            raise ApiError(400, -1108, f"Parameter '{name}' overflowed.")
        return number

    def limit(self, default: int, largest: int) -> int:
        """The usual ``limit``: 1 or more, cut to the largest allowed."""
        value = self.integer("limit")
        if value is None:
            return default
        if value < 1:
            raise ApiError(400, -1130, "Data sent for parameter 'limit' is not valid.")
        return min(value, largest)

    def moment_ms(self, name: str) -> int | None:
        """An optional time in milliseconds; values of 10^14 and more are taken as microseconds."""
        value = self.integer(name)
        return value // 1000 if value is not None and value >= 10**14 else value

    def boolean(self, name: str, default: bool) -> bool:
        """An optional boolean."""
        value = self.optional_text(name)
        if value is None:
            return default
        if value.lower() not in ("true", "false"):
            raise ApiError(400, -1130, f"Data sent for parameter '{name}' is not valid.")
        return value.lower() == "true"

    def symbol_status(self) -> str | None:
        """The optional ``symbolStatus``."""
        value = self.optional_text("symbolStatus")
        if value is not None and value not in ("TRADING", "HALT", "BREAK"):
            raise ApiError(400, -1122, "Invalid symbolStatus.")
        return value

    def symbols(self) -> list[str] | None:
        """The optional ``symbols``, a JSON array without repetitions."""
        value = self.optional_text("symbols")
        if value is None:
            return None
        if self.has("symbol"):
            raise ApiError(400, -1128, "Combination of optional parameters invalid.")
        try:
            names = json.loads(value)
        except json.JSONDecodeError as error:
            raise ApiError(400, -1135, "Invalid JSON Request") from error
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ApiError(400, -1130, "Data sent for parameter 'symbols' is not valid.")
        if len(set(names)) != len(names):
            raise ApiError(400, -1151, "Symbol is present multiple times in the list.")
        return names
