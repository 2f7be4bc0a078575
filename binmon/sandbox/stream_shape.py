"""What faults have to know about the shape of a venue's market streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DEPTH_SUFFIXES = ("@depth", "@depth@100ms")
"""How the names of Binance's differential depth streams end."""


def symbol_of_stream(stream: str) -> str:
    """The symbol in the name of one of Binance's streams."""
    return stream.split("@", 1)[0].upper()


@dataclass(frozen=True)
class StreamShape:
    """Names of streams, and where the levels of a depth event stand."""

    is_depth: Callable[[str], bool]
    """Whether a stream tells differences of a book."""
    symbol_of: Callable[[str], str]
    """The symbol in a stream's name."""
    put_bids: Callable[[dict[str, Any], list[list[str]]], None]
    """Puts bids, given with eight decimals, into an event in place of those at the same prices."""


def _put_bids(event: dict[str, Any], bids: list[list[str]]) -> None:
    prices = {row[0] for row in bids}
    event["b"] = [*bids, *(row for row in event["b"] if row[0] not in prices)]


BINANCE = StreamShape(lambda stream: stream.endswith(DEPTH_SUFFIXES), symbol_of_stream, _put_bids)
