"""Frames as Kraken prints them, and its checksum, written from the reference alone."""

from __future__ import annotations

import zlib
from decimal import Decimal
from typing import Any

from tests.venues.window_server import Levels, WindowServer

PRICE, QUANTITY = 2, 8  # decimals


def price(ticks: int) -> str:
    return f"{Decimal(ticks).scaleb(-PRICE):.{PRICE}f}"


def quantity(lots: int) -> str:
    return f"{Decimal(lots).scaleb(-QUANTITY):.{QUANTITY}f}"


def token(text: str) -> str:
    return text.replace(".", "").lstrip("0")


def checksum(bids: Levels, asks: Levels) -> int:
    text = "".join(token(price(ticks)) + token(quantity(lots)) for ticks, lots in sorted(asks.items())[:10])
    text += "".join(token(price(ticks)) + token(quantity(lots)) for ticks, lots in sorted(bids.items())[:-11:-1])
    return zlib.crc32(text.encode())


def rows(levels: Levels) -> str:
    return ",".join(f'{{"price":{price(ticks)},"qty":{quantity(lots)}}}' for ticks, lots in levels.items())


def entry(
    bids: Levels, asks: Levels, crc: int, symbol: str = "ABC/USD", stamp: str | None = "2026-11-21T10:00:00.000000Z"
) -> str:
    timestamp = "" if stamp is None else f',"timestamp":"{stamp}"'
    return f'{{"symbol":"{symbol}","bids":[{rows(bids)}],"asks":[{rows(asks)}],"checksum":{crc}{timestamp}}}'


def frame(kind: str, *entries: str) -> bytes:
    return f'{{"channel":"book","type":"{kind}","data":[{",".join(entries)}]}}'.encode()


def snapshot(server: WindowServer, **more: Any) -> bytes:
    return frame("snapshot", entry(*server.snapshot(), checksum(*server.best()), **more))


def update(server: WindowServer, *steps: tuple[str, int, int], **more: Any) -> bytes:
    message = server.change(list(steps))
    return frame("update", entry(*message, checksum(*server.best()), **more))


def told(server: WindowServer) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The best levels as numbers, best first."""
    bids, asks = server.best()
    return (
        [(float(price(ticks)), float(quantity(lots))) for ticks, lots in bids.items()],
        [(float(price(ticks)), float(quantity(lots))) for ticks, lots in asks.items()],
    )
