"""A book against the venue's own snapshot: as of the snapshot's update id, level by level.

Plain objects without I/O. A comparison begins when the snapshot is asked for: the book as it stands is put aside (its
arrays are never changed, so that costs nothing) and the updates since are kept. When the answer is there, the book as
of its update id is rebuilt from the two. Nothing waits meanwhile, and the live book is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from binmon.books.book import Book
from binmon.messages import DepthSnapshot, Floats
from binmon.venues.base import DepthUpdate, MarketDecoder

_MOST_UPDATES = 6_000  # ten minutes at depth@100ms: an answer that takes longer is not waited for


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A level on which book and venue differ; zero is a level that is not there."""

    side: str
    price: float
    book_quantity: float
    venue_quantity: float


@dataclass(frozen=True, slots=True)
class AuditReport:
    """``levels`` were compared. ``excepted`` were not, as an event that straddles the snapshot touches them."""

    update_id: int
    levels: int
    excepted: int
    mismatches: tuple[Mismatch, ...]


class Follower:
    """A book as it stood when a snapshot was asked for, and every update since."""

    def __init__(self, book: Book, token: int, limit: int) -> None:
        """``book`` must be settled; ``token`` and ``limit`` are those of the request."""
        self.base = book.copy()
        self.token, self.limit = token, limit
        self.updates: list[DepthUpdate] = []
        self.snapshot: DepthSnapshot | None = None

    def add(self, update: DepthUpdate) -> None:
        """The live book took in an update."""
        self.updates.append(update)

    @property
    def overdue(self) -> bool:
        """Whether so much has happened since the request that its answer is of no use any more."""
        return len(self.updates) > _MOST_UPDATES

    @property
    def too_old(self) -> bool:
        """Whether the snapshot that arrived shows the book before it was put aside."""
        return self.snapshot is not None and self.snapshot.last_update_id < self.base.update_id

    def ready(self, update_id: int) -> bool:
        """Whether the live book, at ``update_id``, has come to where the snapshot is."""
        return self.snapshot is not None and update_id >= self.snapshot.last_update_id


def audit(follower: Follower, decoder: MarketDecoder) -> AuditReport:
    """Compare the book as of the follower's snapshot with it. Raises MalformedFrame for updates that cannot be read."""
    snapshot = follower.snapshot
    assert snapshot is not None
    book = follower.base.copy()
    straddling: DepthUpdate | None = None
    for update in follower.updates:
        if update.last_update_id <= snapshot.last_update_id:
            book.apply(update, 0)
            if book.window is not None:
                book.settle()  # what leaves the window must leave it at once
        else:
            if update.first_update_id <= snapshot.last_update_id:
                straddling = update
            break
    book.settle()
    excepted = (np.empty(0), np.empty(0))
    if straddling is not None:
        # which of its changes the snapshot has already, nobody can tell
        excepted = (
            decoder.levels([straddling.bids]).changes.price,
            decoder.levels([straddling.asks]).changes.price,
        )
    theirs = Book(decoder)
    theirs.load(snapshot, follower.limit)
    levels, skipped, mismatches = compare(book, theirs, excepted)
    return AuditReport(snapshot.last_update_id, levels, skipped, tuple(mismatches))


def compare(
    book: Book, theirs: Book, excepted: tuple[Floats, Floats] = (np.empty(0), np.empty(0))
) -> tuple[int, int, list[Mismatch]]:
    """Every level inside both horizons: how many were compared, how many excepted, and where the two differ.

    ``excepted`` has the prices of bids and asks that are not compared.
    """
    compared = skipped = 0
    found: list[Mismatch] = []
    low = max(book.bid_horizon, theirs.bid_horizon)
    high = min(book.ask_horizon, theirs.ask_horizon)
    for side, mine, its, prices in (
        ("bid", _above(book.bids(), low), _above(theirs.bids(), low), excepted[0]),
        ("ask", _below(book.asks(), high), _below(theirs.asks(), high), excepted[1]),
    ):
        union = np.union1d(mine[0], its[0])
        ours, venues = _quantities(mine, union), _quantities(its, union)
        leave_out = np.isin(union, prices)
        skipped += int(np.count_nonzero(leave_out))
        compared += int(union.size - np.count_nonzero(leave_out))
        for at in np.flatnonzero((ours != venues) & ~leave_out):
            found.append(Mismatch(side, float(union[at]), float(ours[at]), float(venues[at])))
    return compared, skipped, found


def describe(mismatches: Sequence[Mismatch], most: int = 5) -> str:
    """The first mismatches in words."""
    told = [f"{m.side} {m.price!r}: book {m.book_quantity!r}, venue {m.venue_quantity!r}" for m in mismatches[:most]]
    return "; ".join(told) + (f"; and {len(mismatches) - most} more" if len(mismatches) > most else "")


def _above(side: tuple[Floats, Floats], price: float) -> tuple[Floats, Floats]:
    inside = side[0] >= price
    return side[0][inside], side[1][inside]


def _below(side: tuple[Floats, Floats], price: float) -> tuple[Floats, Floats]:
    inside = side[0] <= price
    return side[0][inside], side[1][inside]


def _quantities(side: tuple[Floats, Floats], prices: Floats) -> Floats:
    """The quantity at each of ``prices`` (ascending), zero where there is no such level."""
    quantities = np.zeros(prices.size)
    quantities[prices.searchsorted(side[0])] = side[1]
    return quantities
