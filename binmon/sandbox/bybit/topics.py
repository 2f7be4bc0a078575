"""Names of the topics of the Bybit dialect (reference: Bybit v5, 4.3 to 4.7 and 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import decimals
from ..stream_shape import StreamShape
from .books import DEPTHS

KLINES = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h",
    "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
"""Intervals, and what the candles of the market call them."""

PRIVATE = ("order", "execution", "execution.fast", "wallet")
SILENT_PRIVATE = ("position", "greeks", "dcp.spot")
"""Topics that may be subscribed to but never say anything on spot."""
CATEGORISED = tuple(f"{topic}.spot" for topic in PRIVATE if topic != "wallet")


@dataclass(frozen=True)
class Topic:
    """A public topic: ``orderbook.50.BTCUSDT`` has the argument 50, ``kline.D.BTCUSDT`` the argument D."""

    name: str
    kind: str
    symbol: str
    argument: str = ""


def parse(name: str) -> Topic | None:
    """Read a public topic; ``None`` when there is none of that name (the symbol is not looked up)."""
    words = name.split(".")
    if len(words) == 2 and words[0] in ("publicTrade", "tickers"):
        return Topic(name, words[0], words[1])
    if len(words) == 3:
        kind, argument, symbol = words
        if (kind == "orderbook" and argument in map(str, DEPTHS)) or (kind == "kline" and argument in KLINES):
            return Topic(name, kind, symbol, argument)
    return None


def book_topic(depth: int, symbol: str) -> str:
    """Name of a depth stream."""
    return f"orderbook.{depth}.{symbol}"


def symbol_of(name: str) -> str:
    """The symbol in a topic's name."""
    return name.rsplit(".", 1)[-1]


def _is_depth(name: str) -> bool:
    return name.startswith("orderbook.") and not name.startswith("orderbook.1.")


def _put_bids(event: dict[str, Any], bids: list[list[str]]) -> None:
    rows = [[_trimmed(price), _trimmed(quantity)] for price, quantity in bids]
    if event["topic"].startswith("orderbook.1."):
        event["data"]["b"] = rows[-1:]
        return
    prices = {row[0] for row in rows}
    event["data"]["b"] = [*rows, *(row for row in event["data"]["b"] if row[0] not in prices)]


def _trimmed(text: str) -> str:
    return trimmed_e8(decimals.parse_e8(text))


def trimmed_e8(value: int) -> str:
    """Print units of 0.00000001 without trailing zeros."""
    return decimals.format_e8(value).rstrip("0").rstrip(".")


SHAPE = StreamShape(_is_depth, symbol_of, _put_bids)
"""What faults have to know. Streams of depth 1 tell no differences, so that faults reach them only by name."""
