"""An L2 order book that is cheap to update and cheap to copy.

Updates are kept as the text they came in until somebody reads; then all of them are parsed in one go and merged
into sorted arrays (``binmon.levels``). Reading costs about as much for a hundred waiting updates as for ten, so a
book that is recorded every N updates pays for the merge once in N. What a reader gets is never changed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from binmon.levels import NO_CHANGES, NO_FLOATS, apply_changes, read_only
from binmon.messages import DepthSnapshot, Floats, LevelChanges
from binmon.venues.base import DepthUpdate, MarketDecoder

# Text waiting beyond this is to be merged at once: it bounds memory for symbols that nobody reads.
MAX_WAITING_UPDATES = 256


@dataclass(frozen=True, slots=True)
class BookChanges:
    """What changed since the last ``take_changes``, both sides."""

    bids: LevelChanges
    asks: LevelChanges


class _Side:
    """One side: merged arrays with prices ascending, the text that waits, and the changes since the last row."""

    __slots__ = ("changes", "price", "quantity", "waiting")

    def __init__(self) -> None:
        self.price: Floats = NO_FLOATS
        self.quantity: Floats = NO_FLOATS
        self.waiting: list[bytes] = []
        self.changes: list[LevelChanges] = []

    def load(self, price: Floats, quantity: Floats) -> None:
        self.price, self.quantity = read_only(price), read_only(quantity)
        self.waiting, self.changes = [], []

    def merge(self, changes: LevelChanges) -> None:
        if changes.price.size:
            self.price, self.quantity = apply_changes(self.price, self.quantity, changes)
            self.changes.append(changes)

    def cut(self, first: int, last: int) -> None:
        """Keep only the levels from ``first`` to before ``last``; those that go are changes like others."""
        gone = np.concatenate([self.price[:first], self.price[last:]])
        self.changes.append(LevelChanges(gone, np.zeros(gone.size)))
        self.price, self.quantity = read_only(self.price[first:last]), read_only(self.quantity[first:last])

    def take_changes(self) -> LevelChanges:
        changes, self.changes = self.changes, []
        if not changes:
            return NO_CHANGES
        if len(changes) == 1:
            return changes[0]
        return LevelChanges(np.concatenate([c.price for c in changes]), np.concatenate([c.quantity for c in changes]))


class Book:
    """One symbol's book. It trusts its caller that updates are in sequence (see ``books.sync``).

    ``inexact`` is the text of a number that a double would have rounded, once one was seen; such a book must not
    be recorded. ``bid_known_to`` and ``ask_known_to`` are the worst prices of the snapshot, None for an empty
    side: beyond them levels are unverified (reference: local order book, subtle points).

    ``window``: the venue tells of so many levels a side and no more (see ``venues.base.BookRules``). Both sides are cut
    to it at every ``settle``, which must then follow every update, and what is known ends with the last level.
    """

    __slots__ = (
        "_asks", "_bids", "_decoder", "_known_asks", "_known_bids", "ask_known_to", "bid_known_to",
        "event_time_ms", "inexact", "receive_time_ns", "update_id", "window",
    )  # fmt: skip

    def __init__(self, decoder: MarketDecoder, window: int | None = None) -> None:
        self._decoder, self.window = decoder, window
        self._bids, self._asks = _Side(), _Side()
        self.update_id = 0
        self.event_time_ms = 0
        self.receive_time_ns = 0
        self.bid_known_to: float | None = None
        self.ask_known_to: float | None = None
        self.inexact: str | None = None
        # how many levels the snapshot verified; None where it showed the side to its end
        self._known_bids: int | None = None
        self._known_asks: int | None = None

    def load(self, snapshot: DepthSnapshot, limit: int | None = None) -> None:
        """Replace everything by a REST snapshot that was asked for with ``limit`` levels a side.

        A side with fewer than ``limit`` levels is known to its end and has no edge.
        """
        bids, asks = int(snapshot.bid_price.size), int(snapshot.ask_price.size)
        self._known_bids = bids if limit is not None and bids >= limit else None
        self._known_asks = asks if limit is not None and asks >= limit else None
        self._bids.load(snapshot.bid_price[::-1].copy(), snapshot.bid_quantity[::-1].copy())
        self._asks.load(snapshot.ask_price.copy(), snapshot.ask_quantity.copy())
        self.update_id = snapshot.last_update_id
        self.event_time_ms = self.receive_time_ns = 0
        self.bid_known_to = float(snapshot.bid_price[-1]) if snapshot.bid_price.size else None
        self.ask_known_to = float(snapshot.ask_price[-1]) if snapshot.ask_price.size else None
        self.inexact = snapshot.inexact

    def begin(self, event_time_ms: int, receive_time_ns: int) -> None:
        """The snapshot just loaded came with times; those of REST have none."""
        self.event_time_ms, self.receive_time_ns = event_time_ms, receive_time_ns

    def apply(self, update: DepthUpdate, receive_time_ns: int) -> bool:
        """Take in one update; True when so much waits that the caller should ``settle``.

        The hot path: two list appends and three stores.
        """
        bids = self._bids.waiting
        bids.append(update.bids)
        self._asks.waiting.append(update.asks)
        self.update_id = update.last_update_id
        self.event_time_ms = update.event_time_ms
        self.receive_time_ns = receive_time_ns
        return len(bids) >= MAX_WAITING_UPDATES

    def settle(self) -> None:
        """Merge what waits; raises MalformedFrame for levels that cannot be, after which the book is worthless."""
        if self._bids.waiting:
            waiting = self._bids.waiting, self._asks.waiting
            self._bids.waiting, self._asks.waiting = [], []
            bids, asks = self._decoder.sides(*waiting)
            self._bids.merge(bids.changes)
            self._asks.merge(asks.changes)
            self.inexact = self.inexact or bids.inexact or asks.inexact
            if self.window is not None:
                self._keep_to_window(self.window)

    def _keep_to_window(self, window: int) -> None:
        bids, asks = self._bids, self._asks
        if bids.price.size > window:
            bids.cut(bids.price.size - window, bids.price.size)
        if asks.price.size > window:
            asks.cut(0, window)
        self.bid_known_to = float(bids.price[0]) if bids.price.size else None
        self.ask_known_to = float(asks.price[-1]) if asks.price.size else None

    def bids(self) -> tuple[Floats, Floats]:
        """Price and quantity, best (highest) first; read-only views of the settled book."""
        return self._bids.price[::-1], self._bids.quantity[::-1]

    def asks(self) -> tuple[Floats, Floats]:
        """Price and quantity, best (lowest) first; read-only views of the settled book."""
        return self._asks.price, self._asks.quantity

    def best(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Best bid, its quantity, best ask, its quantity of the settled book; None for an empty side."""
        bids, asks = self._bids, self._asks
        bid = (float(bids.price[-1]), float(bids.quantity[-1])) if bids.price.size else (None, None)
        ask = (float(asks.price[0]), float(asks.quantity[0])) if asks.price.size else (None, None)
        return *bid, *ask

    @property
    def crossed(self) -> bool:
        """Whether the settled book's best bid is at or above its best ask, which no real book's is."""
        bids, asks = self._bids.price, self._asks.price
        return bool(bids.size and asks.size and bids[-1] >= asks[0])

    @property
    def bid_horizon(self) -> float:
        """Bids at this price and above are verified; minus infinity when the snapshot showed the side to its end."""
        return -np.inf if self._known_bids is None or self.bid_known_to is None else self.bid_known_to

    @property
    def ask_horizon(self) -> float:
        """Asks at this price and below are verified; infinity when the snapshot showed the side to its end."""
        return np.inf if self._known_asks is None or self.ask_known_to is None else self.ask_known_to

    @property
    def verified_share(self) -> float:
        """How much of what the snapshot verified the market has left over, on the poorer side of the settled book.

        Zero: the best level is beyond the horizon, and a thin book may only look thin. One where nothing was cut off.
        """
        share = 1.0
        if self._known_bids and self.bid_known_to is not None:
            bids = self._bids.price
            share = (bids.size - int(bids.searchsorted(self.bid_known_to))) / self._known_bids
        if self._known_asks and self.ask_known_to is not None:
            left = int(self._asks.price.searchsorted(self.ask_known_to, side="right"))
            share = min(share, left / self._known_asks)
        return share

    @property
    def whole(self) -> bool:
        """Whether the snapshot showed both sides to their ends."""
        return self._known_bids is None and self._known_asks is None

    def copy(self) -> Book:
        """The settled book as it stands now: what is applied to one of the two does not show in the other."""
        other = Book(self._decoder, self.window)
        for mine, its in ((self._bids, other._bids), (self._asks, other._asks)):
            its.load(mine.price, mine.quantity)
        other.update_id = self.update_id
        other.event_time_ms, other.receive_time_ns = self.event_time_ms, self.receive_time_ns
        other.bid_known_to, other.ask_known_to = self.bid_known_to, self.ask_known_to
        other._known_bids, other._known_asks = self._known_bids, self._known_asks
        other.inexact = self.inexact
        return other

    def as_snapshot(self, venue: str, symbol: str) -> DepthSnapshot:
        """The settled book in the form of a REST answer."""
        return DepthSnapshot(venue, symbol, self.update_id, *self.bids(), *self.asks(), self.inexact)

    def extend(self, older: Book) -> int:
        """Take from ``older``, settled and as of the same update, what lies beyond this book's horizon.

        Both horizons reach from the best level down, so what one of them verified the two together verify. Returns
        the number of levels taken.
        """
        taken = 0
        if self.bid_horizon > -np.inf:
            cut = int(older._bids.price.searchsorted(self.bid_horizon))
            taken += cut
            mine, its = self._bids, older._bids
            # what updates have told this one beyond its horizon the older one took in as well
            own = int(mine.price.searchsorted(self.bid_horizon))
            mine.price, mine.quantity = mine.price[own:], mine.quantity[own:]
            mine.load(
                np.concatenate([its.price[:cut], mine.price]), np.concatenate([its.quantity[:cut], mine.quantity])
            )
            if older.bid_horizon < self.bid_horizon:
                self.bid_known_to = (
                    older.bid_known_to
                    if older._known_bids is not None
                    else float(mine.price[0])
                    if mine.price.size
                    else None
                )
                self._known_bids = older._known_bids and mine.price.size - int(
                    mine.price.searchsorted(older.bid_horizon)
                )
        if self.ask_horizon < np.inf:
            cut = int(older._asks.price.searchsorted(self.ask_horizon, side="right"))
            taken += older._asks.price.size - cut
            mine, its = self._asks, older._asks
            own = int(mine.price.searchsorted(self.ask_horizon, side="right"))
            mine.price, mine.quantity = mine.price[:own], mine.quantity[:own]
            mine.load(
                np.concatenate([mine.price, its.price[cut:]]), np.concatenate([mine.quantity, its.quantity[cut:]])
            )
            if older.ask_horizon > self.ask_horizon:
                self.ask_known_to = (
                    older.ask_known_to
                    if older._known_asks is not None
                    else float(mine.price[-1])
                    if mine.price.size
                    else None
                )
                self._known_asks = older._known_asks and int(mine.price.searchsorted(older.ask_horizon, side="right"))
        return taken

    def take_changes(self) -> BookChanges:
        """The changes since the last call (or load) of the settled book."""
        return BookChanges(self._bids.take_changes(), self._asks.take_changes())
