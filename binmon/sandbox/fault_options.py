"""The words of which the table of faults is made, and the options that many kinds share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option of a fault: its type, its default (``REQUIRED``: it must be given) and what it means.

    A number is 0 or more unless it is ``signed``.
    """

    type: str
    default: Any
    meaning: str
    choices: tuple[Any, ...] = ()
    signed: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    meaning: str
    options: Mapping[str, Option]


REQUIRED = object()

SYMBOLS = Option("list of text", None, "only these symbols (default: all)")
STREAMS = Option("list of text", None, "only these stream names (default: all that the kind concerns)")
CONNECTION = Option("list of integer", None, "only these connections (default: all)")
SERVICE = Option("text", None, "only connections of this service (default: both)", ("stream", "ws_api"))
COUNT = Option("integer", None, "how many times (default: once, or without end when seconds is given)")
SECONDS = Option("number", None, "how long (default: until the count is used up)")
SYMBOL = Option("text", REQUIRED, "the symbol")
