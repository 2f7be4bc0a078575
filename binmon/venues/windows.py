"""Books of which a stream tells only the best levels: what is in the window, and what has just fallen out of it.

Such a venue says nothing more of a level that others have pushed out. So the window is followed message by message, and
what it lost is added to the levels of that message as removals, in the form that ``venues.level_texts`` reads. Whoever
merges the levels of many messages in one go then comes to the same book as if each had been cut by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import numpy as np

from binmon.messages import DepthSnapshot
from binmon.venues.base import MalformedFrame
from binmon.venues.level_texts import LevelTexts

LevelText = tuple[str, str]
"""Price and quantity as plain decimals, without sign or exponent."""


class WindowSide:
    """One side of a book, cut to its best ``limit`` levels when ``cut`` is called.

    Levels are kept as text, exact to the digit. Only their order goes by doubles: those of two prices of up to 15
    digits differ, and a book with longer ones is refused by the recording.
    """

    __slots__ = ("_levels", "_limit", "_ranks", "_sign")

    def __init__(self, limit: int, *, descending: bool) -> None:
        """``descending``: the highest price is the best one, as among bids."""
        self._limit, self._sign = limit, -1.0 if descending else 1.0
        self._ranks: list[float] = []  # the price, negated where descending: the best is the least
        self._levels: dict[float, LevelText] = {}  # by rank

    def __len__(self) -> int:
        return len(self._ranks)

    def put(self, price: str, quantity: str) -> None:
        """A level as it is now, the quantity not zero."""
        rank = self._sign * float(price)
        if rank not in self._levels:
            self._ranks.insert(bisect_left(self._ranks, rank), rank)
        self._levels[rank] = (price, quantity)

    def remove(self, price: str) -> None:
        """A level is gone; one that is not there is no error, venues tell of such."""
        rank = self._sign * float(price)
        if self._levels.pop(rank, None) is not None:
            del self._ranks[bisect_left(self._ranks, rank)]

    def cut(self) -> list[LevelText]:
        """The levels that were beyond the window, which it has no more."""
        fallen = self._ranks[self._limit :]
        del self._ranks[self._limit :]
        return [self._levels.pop(rank) for rank in fallen]

    def best(self, count: int) -> list[LevelText]:
        """So many levels, best first; fewer where there are fewer."""
        return [self._levels[rank] for rank in self._ranks[:count]]

    def text(self) -> bytes:
        """The whole side, best first."""
        return levels_text(self.best(len(self._ranks)))


def levels_text(levels: Iterable[LevelText]) -> bytes:
    """``[["price","quantity"],…]``."""
    return ("[" + ",".join([f'["{price}","{quantity}"]' for price, quantity in levels]) + "]").encode("ascii")


def removals(levels: Iterable[LevelText]) -> list[LevelText]:
    """What takes these levels out of a book."""
    return [(price, "0") for price, _ in levels]


def snapshot_of(
    parser: LevelTexts, venue: str, symbol: str, last_update_id: int, bids: bytes, asks: bytes
) -> DepthSnapshot:
    """A snapshot from two sides as text. Raises MalformedFrame, also for sides that are not sorted best first."""
    bid, ask = parser.levels([bids]), parser.levels([asks])
    if (np.diff(bid.changes.price) >= 0).any() or (np.diff(ask.changes.price) <= 0).any():
        raise MalformedFrame(f"depth of {symbol}: sides are not sorted best first")
    if (bid.changes.quantity == 0).any() or (ask.changes.quantity == 0).any():
        raise MalformedFrame(f"depth of {symbol}: a level without quantity")
    return DepthSnapshot(
        venue,
        symbol,
        last_update_id,
        bid.changes.price,
        bid.changes.quantity,
        ask.changes.price,
        ask.changes.quantity,
        bid.inexact or ask.inexact,
    )
