"""Messages for the benchmarks: seeded synthetic ones, and what Binance really sent."""

from __future__ import annotations

import gzip
import random
from dataclasses import dataclass
from pathlib import Path

import msgspec

from binmon.venues.base import MalformedFrame
from binmon.venues.binance.decoding import BinanceDecoder

ROOT = Path(__file__).resolve().parent.parent
LONG_RECORDING = ROOT.parent / "shared/data/binance-spot/spot_BTCUSDT_20240808T235413Z_651s.tsv.gz"
SHORT_RECORDING = ROOT / "tests/data/spot_BTCUSDT_20240808_25s.tsv.gz"


@dataclass(frozen=True, slots=True)
class Messages:
    """One symbol: a REST depth answer, and the frames that follow it without a gap."""

    name: str
    symbol: str
    snapshot: bytes
    frames: list[bytes]

    @property
    def levels(self) -> float:
        """Changed levels a message, on average."""
        return sum(frame.count(b'["') for frame in self.frames) / len(self.frames)


class _Side:
    """A synthetic side: ticks with a quantity, denser towards the touch."""

    def __init__(self, away: int, dice: random.Random, levels: int) -> None:
        self.away, self.dice, self.wanted = away, dice, levels
        self.ticks: set[int] = set()
        self.listed: list[int] = []  # the same ticks, to draw from; may hold gone ones

    def fill(self, touch: int) -> None:
        while len(self.ticks) < self.wanted:
            self._add(touch + self.away * int(self.dice.expovariate(1 / 4_000)))

    def _add(self, tick: int) -> None:
        if tick not in self.ticks:
            self.ticks.add(tick)
            self.listed.append(tick)

    def quantity(self) -> str:
        return f"{self.dice.randint(1, 400_000_000) / 1e8:.8f}"

    def change(self, touch: int, count: int) -> list[tuple[int, str]]:
        """``count`` changes, none twice: levels behind the new touch go, others change, come and go evenly."""
        changes: dict[int, str] = {}
        for tick in [tick for tick in self.ticks if (tick - touch) * self.away < 0][:count]:
            changes[tick] = "0.00000000"
            self.ticks.discard(tick)
        if touch not in self.ticks and len(changes) < count:
            self._add(touch)
            changes[touch] = self.quantity()
        while len(changes) < count:
            kind = self.dice.random()
            if kind < 0.5:
                tick = self.dice.choice(self.listed)
                if tick in self.ticks:
                    changes.setdefault(tick, self.quantity())
            elif len(self.ticks) < self.wanted:
                tick = touch + self.away * int(self.dice.expovariate(1 / 300))
                if tick not in changes:
                    self._add(tick)
                    changes[tick] = self.quantity()
            else:
                tick = self.dice.choice(self.listed)
                if tick in self.ticks and tick != touch and tick not in changes:
                    self.ticks.discard(tick)
                    changes[tick] = "0.00000000"
        if len(self.listed) > 2 * self.wanted:
            self.listed = sorted(self.ticks)
        return sorted(changes.items(), reverse=self.away < 0)


def major(count: int = 2_000, *, levels: int = 5_000, changed: int = 61, seed: int = 7) -> Messages:
    """A busy symbol: ``changed`` levels a message, ``levels`` a side, a touch that moves every third message."""
    dice = random.Random(seed)
    mid = 6_000_000
    bids, asks = _Side(-1, dice, levels), _Side(1, dice, levels)
    bids.fill(mid - 1)
    asks.fill(mid)

    def text(rows: list[tuple[int, str]]) -> bytes:
        return msgspec.json.encode([[f"{tick / 100:.8f}", quantity] for tick, quantity in rows])

    def side(one: _Side) -> bytes:
        return text([(tick, one.quantity()) for tick in sorted(one.ticks, reverse=one.away < 0)])

    snapshot = b'{"lastUpdateId":1000,"bids":%s,"asks":%s}' % (side(bids), side(asks))
    frames, update_id = [], 1000
    for number in range(count):
        if dice.random() < 0.33:
            mid += dice.choice((-3, -2, -1, 1, 2, 3))
        on_bids = changed // 2 + (number & 1 if changed % 2 else 0)
        # the side that retreats first, so that no message leaves the book crossed
        bid_text, ask_text = text(bids.change(mid - 1, on_bids)), text(asks.change(mid, changed - on_bids))
        first, update_id = update_id + 1, update_id + changed
        frames.append(
            b'{"stream":"majorusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":"MAJORUSDT","U":%d,"u":%d,'
            b'"b":%s,"a":%s}}' % (1_784_600_000_000 + 100 * number, first, update_id, bid_text, ask_text)
        )
    return Messages("major", "MAJORUSDT", snapshot, frames)


def real() -> Messages:
    """BTCUSDT of 2024-08-08 from the first REST answer on; the long recording where it is at hand."""
    path = LONG_RECORDING if LONG_RECORDING.exists() else SHORT_RECORDING
    snapshot, snapshot_id, frames = b"", 0, []
    decoder = BinanceDecoder()
    with gzip.open(path, "rb") as lines:
        for line in lines:
            _, source, payload = line.rstrip(b"\n").split(b"\t", 2)
            if source.startswith(b"rest:") and not snapshot and b"depth" in source:
                snapshot = payload
                snapshot_id = decoder.depth("binance", "BTCUSDT", payload).last_update_id
            elif source == b"ws" and b'"depthUpdate"' in payload:
                frames.append(payload)
    if not snapshot:
        raise MalformedFrame(f"{path} holds no REST depth")
    kept = []
    for frame in frames:
        update = decoder.update(frame)
        if update is not None and update.symbol == "BTCUSDT" and update.last_update_id > snapshot_id:
            kept.append(frame)
    return Messages("real BTCUSDT", "BTCUSDT", snapshot, kept)
