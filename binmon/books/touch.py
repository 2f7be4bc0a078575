"""The best bid and ask of one symbol, right after every single update.

``books.book.Book`` is cheap when many updates are read once; this is its counterpart for readers of every update.
It keeps all levels in two plain dicts, because a better level may only come to light when those above it are gone.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice

from binmon.messages import DepthSnapshot
from binmon.venues.base import DepthUpdate, MalformedFrame, MarketDecoder

_TIDY_ROOM = 1_000  # a side is tidied when it holds twice its levels and this many more

Best = tuple[float | None, float | None, float | None, float | None]


class _Side:
    """One side: ``levels`` has a quantity for each price, ``heap`` each of these prices once, times ``sign``.

    A removed level stays in both with quantity zero until it comes to the top of the heap. So every price better
    than the best level is known to neither, a returning price is either new or already in its place, and after
    each update only the top of the heap has to be looked at.
    """

    __slots__ = ("heap", "levels", "limit", "sign")

    def __init__(self, sign: float) -> None:
        self.sign = sign
        self.load({})

    def load(self, levels: dict[float, float]) -> None:
        sign = self.sign
        self.levels = levels
        self.heap = [sign * price for price in levels]
        heapify(self.heap)
        self.limit = 2 * len(levels) + _TIDY_ROOM

    def apply(self, changes: list[tuple[float, float]]) -> None:
        levels, heap, sign = self.levels, self.heap, self.sign
        before = len(levels)
        levels.update(changes)  # of equal prices the last stays
        added = len(levels) - before
        if added:
            # a dict keeps the order of insertion: the new prices are its last
            for price in islice(reversed(levels), added):
                heappush(heap, sign * price)
        while heap and not levels[sign * heap[0]]:
            del levels[sign * heappop(heap)]
        if len(levels) > self.limit:
            self.load({price: quantity for price, quantity in levels.items() if quantity})

    def best(self) -> tuple[float, float] | tuple[None, None]:
        if not self.heap:
            return None, None
        price = self.sign * self.heap[0]
        return price, self.levels[price]


class Touch:
    """Best bid and ask of one symbol; like ``Book`` it trusts its caller that updates are in sequence."""

    __slots__ = ("_asks", "_bids", "_pairs", "best")

    def __init__(self, decoder: MarketDecoder) -> None:
        self._pairs = decoder.pairs
        self._bids, self._asks = _Side(-1.0), _Side(1.0)
        self.best: Best = (None, None, None, None)  # bid, its quantity, ask, its quantity; as of the last update

    def load(self, snapshot: DepthSnapshot) -> None:
        """Replace everything by a REST snapshot."""
        self._bids.load(dict(zip(snapshot.bid_price.tolist(), snapshot.bid_quantity.tolist(), strict=True)))
        self._asks.load(dict(zip(snapshot.ask_price.tolist(), snapshot.ask_quantity.tolist(), strict=True)))
        self.best = (*self._bids.best(), *self._asks.best())

    def apply(self, update: DepthUpdate) -> None:
        """Take in one update; raises MalformedFrame for levels that cannot be, after which this is worthless."""
        bids, asks = self._pairs(update.bids), self._pairs(update.asks)
        if bids:
            self._bids.apply(bids)
        if asks:
            self._asks.apply(asks)
        self.best = best = (*self._bids.best(), *self._asks.best())
        if best[0] == 0.0 or best[2] == 0.0:
            raise MalformedFrame("levels: a price that is not positive")

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask, which no real book's is."""
        bid, _, ask, _ = self.best
        return bid is not None and ask is not None and bid >= ask
