"""Frames as OKX prints them, and its former checksum, written from the reference alone."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tests.venues.window_server import Levels, WindowServer


def price(ticks: int) -> str:
    return f"{ticks / 10:.1f}".removesuffix(".0")


def size(lots: int) -> str:
    return f"{lots / 10**8:.8f}".rstrip("0").rstrip(".")


def rows(levels: Levels) -> list[list[str]]:
    return [[price(ticks), size(lots), "0", str(min(lots, 3))] for ticks, lots in levels.items()]


def checksum(bids: Levels, asks: Levels) -> int:
    """Signed; the best 25 a side, interleaved."""
    tokens = []
    best_bids, best_asks = sorted(bids.items(), reverse=True)[:25], sorted(asks.items())[:25]
    for place in range(25):
        for side in (best_bids, best_asks):
            if place < len(side):
                tokens.append(f"{price(side[place][0])}:{size(side[place][1])}")
    crc = zlib.crc32(":".join(tokens).encode())
    return crc if crc < 2**31 else crc - 2**32


class OkxServer(WindowServer):
    """A market with ids: they grow, and not by one."""

    symbol, id, sums = "ABC-USDT", 5000, False

    def snapshot_frame(self) -> bytes:
        return self.frame("snapshot", self.snapshot(), -1)

    def update_frame(self, *steps: tuple[str, int, int], skip: int = 7) -> bytes:
        previous, self.id = self.id, self.id + skip
        return self.frame("update", self.change(list(steps)), previous)

    def keep_alive(self) -> bytes:
        return self.frame("update", ({}, {}), self.id)

    def frame(self, action: str, levels: tuple[Levels, Levels], previous: int) -> bytes:
        entry: dict[str, Any] = {
            "asks": rows(levels[1]),
            "bids": rows(levels[0]),
            "ts": str(1_764_000_000_000 + self.id),
        }
        entry |= {"checksum": checksum(*self.best()) if self.sums else 0, "prevSeqId": previous, "seqId": self.id}
        message = {"arg": {"channel": "books", "instId": self.symbol}, "action": action, "data": [entry]}
        return json.dumps(message, separators=(",", ":")).encode()

    def numbers(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """The best levels, best first."""
        bids, asks = self.best()
        return (
            [(float(price(ticks)), float(size(lots))) for ticks, lots in bids.items()],
            [(float(price(ticks)), float(size(lots))) for ticks, lots in asks.items()],
        )
