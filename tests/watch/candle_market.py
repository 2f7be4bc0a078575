"""A venue's candles in memory: what its history says, and the frames that its stream sends."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from binmon.messages import Candle

MINUTE_MS = 60_000


def candle(open_ms: int, close: str | Decimal = "100", **changes: object) -> Candle:
    """A minute of BTCUSDT; ``changes`` replace fields."""
    price = Decimal(close)
    fields: dict = {
        "venue": "binance", "symbol": "BTCUSDT", "interval": "1m", "open_time_ms": open_ms,
        "close_time_ms": open_ms + MINUTE_MS - 1, "open": price, "high": price, "low": price, "close": price,
        "volume": Decimal(1), "quote_volume": price, "trades": 1, "closed": False, "event_time_ms": open_ms + 1_000,
        "receive_time_ns": (open_ms + 1_000) * 1_000_000,
    }  # fmt: skip
    return Candle(**{**fields, **changes})


class CandleMarket:
    """Minutes in which something trades or not. ``flat``: a minute without a trade has a candle all the same."""

    def __init__(self, seed: int, *, flat: bool, past: int) -> None:
        self.random, self.flat = random.Random(seed), flat
        self.now_ms = 1_000 * MINUTE_MS
        self.price = Decimal(100)
        self.candles: list[Candle] = []
        for _ in range(past):
            self.trade()
            self.pass_time(MINUTE_MS)

    def trade(self) -> Candle:
        """One trade; the frame of its candle."""
        self.price += self.random.choice((-1, 0, 1))
        self.price = max(self.price, Decimal(2))
        open_ms = self.now_ms // MINUTE_MS * MINUTE_MS
        if not self.candles or self.candles[-1].open_time_ms != open_ms:
            self.candles.append(candle(open_ms, self.price, event_time_ms=self.now_ms))
            return self.candles[-1]
        last = self.candles[-1]
        self.candles[-1] = candle(
            open_ms, self.price, open=last.open, high=max(last.high, self.price), low=min(last.low, self.price),
            volume=last.volume + 1, quote_volume=last.quote_volume + self.price, trades=last.trades + 1,
            event_time_ms=self.now_ms,
        )  # fmt: skip
        return self.candles[-1]

    def pass_time(self, ms: int) -> list[Candle]:
        """Let time pass; the frames that close candles."""
        frames: list[Candle] = []
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            next_ms = min(end_ms, self.now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
            self.now_ms = next_ms
            if next_ms % MINUTE_MS == 0:
                opened_ms = next_ms - MINUTE_MS
                if self.flat and self.candles and self.candles[-1].open_time_ms < opened_ms:
                    price = self.candles[-1].close
                    self.candles.append(candle(opened_ms, price, volume=Decimal(0), quote_volume=Decimal(0), trades=0))
                if self.candles and self.candles[-1].open_time_ms == opened_ms:
                    last = self.candles[-1]
                    self.candles[-1] = candle(
                        opened_ms, last.close, open=last.open, high=last.high, low=last.low, volume=last.volume,
                        quote_volume=last.quote_volume, trades=last.trades, closed=True, event_time_ms=next_ms,
                    )  # fmt: skip
                    frames.append(self.candles[-1])
        return frames

    def answer(self, start_ms: int | None, end_ms: int | None, limit: int, *, behind: int = 0) -> list[Candle]:
        """What REST says; ``behind`` newest candles it does not know yet."""
        rows = self.candles[: len(self.candles) - behind]
        if end_ms is not None:
            rows = [row for row in rows if row.open_time_ms <= end_ms]
        if start_ms is None:
            rows = rows[-limit:]
        else:
            rows = [row for row in rows if row.open_time_ms >= start_ms][:limit]
        last = len(rows) - 1
        return [replace(row, closed=number < last, event_time_ms=0) for number, row in enumerate(rows)]
