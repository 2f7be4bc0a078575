"""A plain market of one symbol, in ticks and lots, that prints its updates and snapshots as the venue does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from binmon.books.book import Book
from binmon.messages import DepthSnapshot
from binmon.venues.binance.decoding import BinanceDecoder

Changes = Iterable[tuple[int, int]]  # ticks, lots; no lots remove a level


def rows(levels: Changes) -> list[list[str]]:
    return [[f"{ticks / 100:.8f}", f"{lots / 1000:.8f}"] for ticks, lots in levels]


def frame(symbol: str, first: int, last: int, bids: Changes = (), asks: Changes = (), time_ms: int = 5) -> bytes:
    event = {"e": "depthUpdate", "E": time_ms, "s": symbol, "U": first, "u": last, "b": rows(bids), "a": rows(asks)}
    return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": event}, separators=(",", ":")).encode()


class Market:
    """Every state it was in, by update id; sides are ticks → lots."""

    def __init__(self, symbol: str = "ABCUSDT", bids: Changes = (), asks: Changes = (), update_id: int = 100) -> None:
        self.symbol, self.update_id = symbol, update_id
        self.states: dict[int, tuple[dict[int, int], dict[int, int]]] = {update_id: (dict(bids), dict(asks))}
        self.decoder = BinanceDecoder()

    def move(self, *steps: tuple[str, int, int]) -> bytes:
        """One event of several ids: each step is side (``b`` or ``a``), ticks and lots."""
        first = self.update_id + 1
        final: dict[str, dict[int, int]] = {"b": {}, "a": {}}
        for side, ticks, lots in steps or (("b", 1, 0),):
            bids, asks = (dict(levels) for levels in self.states[self.update_id])
            levels = bids if side == "b" else asks
            levels.pop(ticks, None)
            if lots:
                levels[ticks] = lots
            final[side][ticks] = lots
            self.update_id += 1
            self.states[self.update_id] = (bids, asks)
        return frame(self.symbol, first, self.update_id, final["b"].items(), final["a"].items(), self.update_id)

    def update(self, *steps: tuple[str, int, int]) -> Any:
        return self.decoder.update(self.move(*steps))

    def sides(self, update_id: int | None = None) -> tuple[list, list]:
        """Both sides as of an id, best first."""
        bids, asks = self.states[self.update_id if update_id is None else update_id]
        return sorted(bids.items(), reverse=True), sorted(asks.items())

    def snapshot(self, update_id: int | None = None, limit: int = 5000) -> DepthSnapshot:
        at = self.update_id if update_id is None else update_id
        bids, asks = self.sides(at)
        body = {"lastUpdateId": at, "bids": rows(bids[:limit]), "asks": rows(asks[:limit])}
        return self.decoder.depth("binance", self.symbol, json.dumps(body).encode())

    def book(self, update_id: int | None = None, limit: int = 5000) -> Book:
        book = Book(self.decoder)
        book.load(self.snapshot(update_id, limit), limit)
        return book


def levels(side: tuple) -> list[tuple[int, int]]:
    """A side of a book in ticks and lots."""
    return [(round(price * 100), round(lots * 1000)) for price, lots in zip(*side, strict=True)]
