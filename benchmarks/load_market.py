"""The market of ``load_venue.py``: symbols whose books run through a cycle of updates that was made before.

Half of a cycle is random, the other half takes it all back. So it may repeat for ever, and the book as of any update
id can be told, by the generator and by whoever checks a recording.
"""

from __future__ import annotations

import bisect
import json
import random
import time
from dataclasses import dataclass

FIRST_ID = 10**11
IDS_A_SYMBOL = 10**8  # symbols have ranges of their own: an id of the wrong book cannot look right
IDS_AN_UPDATE = 8

Changes = list[tuple[int, str]]  # tick and quantity, "0.00000000" removes


@dataclass(frozen=True)
class Kind:
    """A sort of symbol. ``price`` of the touch in ticks, ``decimals`` of a tick; ``changed`` levels a message."""

    name: str
    percent: int
    levels: int
    changed: tuple[int, int]
    price: int
    decimals: int


KINDS = (
    Kind("MAJOR", 2, 5_000, (61, 61), 6_000_000, 2),
    Kind("MID", 15, 1_000, (15, 15), 250_000, 3),
    Kind("TAIL", 83, 150, (3, 4), 40_000, 5),
)


class _Side:
    """One side while a cycle is made: ticks in order (best last for bids, first for asks) and their quantities."""

    def __init__(self, kind: Kind, away: int, dice: random.Random) -> None:
        self.kind, self.away, self.dice = kind, away, dice
        ticks: set[int] = set()
        while len(ticks) < kind.levels:
            ticks.add(kind.price + away * (1 + int(dice.expovariate(1 / (2 * kind.levels)))))
        self.ticks = sorted(ticks)
        self.quantities = {tick: self.quantity() for tick in self.ticks}

    def quantity(self) -> str:
        return f"{self.dice.randint(1, 40_000_000) / 1e5:.5f}000"

    @property
    def best(self) -> int:
        return self.ticks[-1] if self.away < 0 else self.ticks[0]

    def _near(self) -> int:
        """A tick of the side, more often one near the touch."""
        place = min(int(self.dice.expovariate(8 / self.kind.levels)), len(self.ticks) - 1)
        return self.ticks[-1 - place] if self.away < 0 else self.ticks[place]

    def change(self, count: int, other_best: int) -> tuple[Changes, Changes]:
        """``count`` levels changed and the changes that undo it; the side never reaches ``other_best``."""
        done: dict[int, str] = {}
        undo: dict[int, str] = {}
        while len(done) < count:
            kind = self.dice.random()
            tick = self._near()
            if kind < 0.6 or tick in done:
                new = self.quantity()
            elif len(self.ticks) >= self.kind.levels - self.kind.levels // 20 and kind < 0.85:
                new = "0.00000000"
            else:
                # into a hole beside the level, towards the touch: this is also how the touch advances
                tick -= self.away * self.dice.randint(1, 3)
                if len(self.ticks) >= self.kind.levels or (tick - other_best) * self.away <= 0:
                    continue
                new = self.quantity()
            if tick in done:
                continue
            undo[tick] = self.quantities.get(tick, "0.00000000")
            done[tick] = new
            if new == "0.00000000":
                del self.ticks[bisect.bisect_left(self.ticks, tick)], self.quantities[tick]
            else:
                if tick not in self.quantities:
                    bisect.insort(self.ticks, tick)
                self.quantities[tick] = new
        return sorted(done.items(), reverse=self.away < 0), sorted(undo.items(), reverse=self.away < 0)


class Cycle:
    """The cycle of one book: ``payloads[k]`` is the text from ``"b":`` on of update ``k``, which leads from state k."""

    def __init__(self, kind: Kind, length: int, seed: int) -> None:
        dice = random.Random(f"{kind.name}{seed}")
        self.kind, self.length = kind, length
        bids, asks = _Side(kind, -1, dice), _Side(kind, 1, dice)
        self._start = (dict(bids.quantities), dict(asks.quantities))
        forth: list[tuple[Changes, Changes]] = []
        back: list[tuple[Changes, Changes]] = []
        for number in range(length // 2):
            count = dice.randint(*kind.changed)
            on_bids = (count + (number & 1)) // 2
            bid_changes, bid_undo = bids.change(on_bids, asks.best)
            ask_changes, ask_undo = asks.change(count - on_bids, bids.best)
            forth.append((bid_changes, ask_changes))
            back.append((bid_undo, ask_undo))
        self._updates = forth + back[::-1]
        self.payloads = [
            b'"b":%s,"a":%s}}' % (self._text(bid_side), self._text(ask_side)) for bid_side, ask_side in self._updates
        ]

    def _text(self, levels: Changes) -> bytes:
        scale, decimals = 10**self.kind.decimals, self.kind.decimals
        zeros = "0" * (8 - decimals)
        return (
            "["
            + ",".join(
                f'["{tick // scale}.{tick % scale:0{decimals}d}{zeros}","{quantity}"]' for tick, quantity in levels
            )
            + "]"
        ).encode()

    def book_at(self, state: int) -> tuple[Changes, Changes]:
        """Both sides best first after ``state`` updates of the cycle."""
        sides = tuple(dict(side) for side in self._start)
        for update in self._updates[: state % self.length]:
            for side, changes in zip(sides, update, strict=True):
                for tick, quantity in changes:
                    if quantity == "0.00000000":
                        del side[tick]
                    else:
                        side[tick] = quantity
        return sorted(sides[0].items(), reverse=True), sorted(sides[1].items())

    def depth(self, state: int, limit: int) -> bytes:
        """The two sides of a REST answer, as ``"bids":…,"asks":…``."""
        bids, asks = self.book_at(state)
        return b'"bids":%s,"asks":%s' % (self._text(bids[:limit]), self._text(asks[:limit]))


class Market:
    """All symbols of a run; the same arguments give the same market in every process.

    ``cycles`` are shared: so many of each kind are made, and symbols take them in turn.
    """

    def __init__(self, symbols: int, *, length: int = 100, cycles: int = 8, seed: int = 7) -> None:
        dice = random.Random(seed)
        self.length = length
        made = {kind: [Cycle(kind, length, number) for number in range(cycles)] for kind in KINDS}
        self.symbols: list[str] = []
        self.kinds: list[Kind] = []
        self.cycles: list[Cycle] = []
        while len(self.symbols) < symbols:
            hundred = [kind for kind in KINDS for _ in range(kind.percent)]
            dice.shuffle(hundred)
            for kind in hundred[: symbols - len(self.symbols)]:
                number = len(self.symbols)
                self.symbols.append(f"{kind.name}{number:04d}USDT")
                self.kinds.append(kind)
                self.cycles.append(made[kind][number % cycles])
        self.number = {symbol: number for number, symbol in enumerate(self.symbols)}

    def first_id(self, number: int) -> int:
        """The first update id of a symbol's first update."""
        return FIRST_ID + number * IDS_A_SYMBOL

    def book_at(self, symbol: str, update_id: int) -> tuple[Changes, Changes] | None:
        """The book after the update that ends with ``update_id``; None when no update does."""
        number = self.number[symbol]
        updates, rest = divmod(update_id + 1 - self.first_id(number), IDS_AN_UPDATE)
        return None if rest else self.cycles[number].book_at(updates)

    def price(self, symbol: str, tick: int) -> float:
        """The price of a tick as a double, by way of its text."""
        decimals = self.kinds[self.number[symbol]].decimals
        return float(f"{tick // 10**decimals}.{tick % 10**decimals:0{decimals}d}")

    def instruments(self) -> bytes:
        """The answer of exchangeInfo, with a weight limit that lets a whole market sync at once."""
        listed = [
            {
                "symbol": symbol,
                "status": "TRADING",
                "baseAsset": symbol.removesuffix("USDT"),
                "quoteAsset": "USDT",
                "permissions": [],
                "permissionSets": [],
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": f"{10**-kind.decimals:.8f}"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
                ],
            }
            for symbol, kind in zip(self.symbols, self.kinds, strict=True)
        ]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 100_000_000}
        return json.dumps(
            {
                "timezone": "UTC",
                "serverTime": now_ms(),
                "rateLimits": [limit],
                "exchangeFilters": [],
                "symbols": listed,
            }
        ).encode()


def now_ms() -> int:
    """The time as the venue prints it."""
    return time.time_ns() // 1_000_000
