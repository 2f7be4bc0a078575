"""A small made-up market: books that change a little from row to row, as BookSnapshots and as plain truth."""

from __future__ import annotations

import dataclasses
import random
from decimal import Decimal
from pathlib import Path

import numpy as np

from binmon.core.channel import Channel, Overflow
from binmon.messages import BookEvent, BookEventKind, BookSnapshot, Instrument, LevelChanges
from binmon.recorder import Recorder, RecordingFacts, finish_segment

SECOND = 10**9
DAY = 86_400 * SECOND
NOON = 1_767_355_200 * SECOND  # 2026-01-02T12:00:00Z
FACTS = RecordingFacts(
    {
        ("binance", "BTCUSDT"): Instrument(
            "binance", "BTCUSDT", "BTC", "USDT", "TRADING", Decimal("0.01000000"), Decimal("0.00001000")
        )
    },
    "0.1.0",
    "c0ffee",
    {"binance": -1.25, "bybit": 2.0},
)


def side(levels: dict[float, float], *, bids: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays, best first."""
    prices = sorted(levels, reverse=bids)
    return np.array(prices, np.float64), np.array([levels[price] for price in prices], np.float64)


class Market:
    """One symbol; ``next`` gives the following row. Every value has the digits a venue would print."""

    def __init__(self, symbol: str = "BTCUSDT", *, venue: str = "binance", levels: int = 20, seed: int = 7) -> None:
        self.venue, self.symbol = venue, symbol
        self.random = random.Random(f"{symbol}{seed}")
        self.bids = {round(100 - 0.01 * (i + 1), 2): self._quantity() for i in range(levels)}
        self.asks = {round(100 + 0.01 * (i + 1), 2): self._quantity() for i in range(levels)}
        self.update_id, self.epoch, self.time_ns = 1000, 1, NOON
        self.last_id: int | None = None
        self._know_depth()

    def _know_depth(self) -> None:
        """As with a snapshot: the worst prices of its sides are known to for the whole epoch."""
        self.known_to = (min(self.bids), None if self.epoch % 2 else max(self.asks))

    def _quantity(self) -> float:
        return round(self.random.uniform(0.00001, 9), 5)

    def _change(self, levels: dict[float, float], base: float) -> LevelChanges:
        changes = []
        for _ in range(self.random.randrange(5)):
            price = round(base + self.random.randrange(1, 60) / 100 * (1 if base == 100.0 else -1), 2)
            quantity = self.random.choice([0.0, self._quantity(), self._quantity()])
            if quantity == 0 and len(levels) < 4:
                continue
            changes.append((price, quantity))
            levels[price] = quantity
            if quantity == 0:
                del levels[price]
        prices, quantities = [c[0] for c in changes], [c[1] for c in changes]
        return LevelChanges(np.array(prices, np.float64), np.array(quantities, np.float64))

    def next(self, *, step_ns: int = 100_000_000, resync: bool = False) -> BookSnapshot:
        """The following row; with ``resync`` the first one of a new epoch."""
        bid_changes = self._change(self.bids, 100.001)
        ask_changes = self._change(self.asks, 100.0)
        if resync:
            self.epoch, self.last_id = self.epoch + 1, None
            self._know_depth()
        self.update_id += self.random.randrange(1, 100)
        self.time_ns += step_ns
        row = BookSnapshot(
            self.venue,
            self.symbol,
            self.time_ns // 10**6 - 3,
            self.time_ns,
            self.update_id,
            self.random.randrange(1, 100),
            self.epoch,
            *self.known_to,
            *side(self.bids, bids=True),
            *side(self.asks, bids=False),
            self.last_id,
            bid_changes,
            ask_changes,
        )
        self.last_id = self.update_id
        return row

    def event(self, kind: BookEventKind = BookEventKind.RESYNC, detail: str = "sequence gap") -> BookEvent:
        """An event just after the last row."""
        return BookEvent(self.time_ns + 1, self.venue, self.symbol, kind, self.update_id, None, detail)


def truth(row: object) -> tuple[object, ...]:
    """Everything a recording must give back, comparable and exact to the bit."""
    scalars = ("event_time_ms", "receive_time_ns", "update_id", "updates", "epoch", "bid_known_to", "ask_known_to")
    arrays = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
    return (
        *(getattr(row, name) for name in scalars),
        *(np.ascontiguousarray(getattr(row, name)).tobytes() for name in arrays),
    )


def table_truth(table: object) -> list[tuple[object, ...]]:
    """The same of every row of an Arrow table."""
    from binmon.recorder.sources import row_at

    return [truth(row_at(table, position)) for position in range(len(table))]  # type: ignore[arg-type]


def make_recorder(directory: Path, **options: object) -> Recorder:
    """A recorder whose methods a test calls itself."""
    channel = Channel("rows", 10_000, Overflow.DROP_NEWEST)
    closed = Channel("closed", 100, Overflow.DROP_NEWEST)
    recorder = Recorder(directory, channel, closed, facts=FACTS, **options)  # type: ignore[arg-type]
    recorder.channel, recorder.closed = channel, closed  # type: ignore[attr-defined]
    return recorder


def without(row: BookSnapshot, **changes: object) -> BookSnapshot:
    """The row with some fields changed."""
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def recorded(directory: Path) -> Path:
    """``directory``, with four finished rows of one symbol in it."""
    recorder, market = make_recorder(directory), Market()
    for _ in range(4):
        recorder.accept(market.next())
    recorder.flush(NOON)
    recorder.close_segment()
    finish_segment(recorder.closed.take(0), directory, "parquet")
    return directory
