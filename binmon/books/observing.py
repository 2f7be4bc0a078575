"""Whoever looks on while a keeper works: what it is told, and how a book is looked at without touching it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from binmon.books.book import Book
from binmon.books.kept import KeptBook
from binmon.books.sync import Effect, SyncState
from binmon.levels import apply_changes
from binmon.messages import DepthSnapshot, Floats, SnapshotArrived
from binmon.venues.base import MarketDecoder


def _pass_over(entry: tuple[float, Any]) -> None:
    """Nobody is interested."""


class KeeperObserver:
    """Is told of what a keeper does, in the keeper's thread; this one takes no interest. Nothing here may wait or raise.

    ``note`` is called with each message of the inbox before it is handled: monotonic seconds, and the message. It is on the
    hot path, and an attribute so that an observer can have it be the append of a list.
    """

    def __init__(self) -> None:
        self.note: Callable[[tuple[float, Any]], None] = _pass_over

    def ticked(self, now_s: float, books: Mapping[str, KeptBook]) -> None:
        """A tick begins; ``books`` is another object when other books are kept."""

    def answered(self, kept: KeptBook, message: SnapshotArrived, now_s: float) -> None:
        """A snapshot is about to be handed to the machine of a book."""

    def effect(self, kept: KeptBook, effect: Effect, now_s: float) -> None:
        """The machine of a book wants this to be done."""

    def renewed(self, kept: KeptBook, mismatches: int) -> None:
        """A book was replaced by one made beside it, which showed so many of its levels to be wrong."""

    def stalled(self, kept: KeptBook, reason: str, now_s: float) -> None:
        """The stream of a book is dead."""

    def restarted(self, now_s: float) -> None:
        """The keeper failed, and rebuilds all of its books."""


NO_OBSERVER = KeeperObserver()


@dataclass(frozen=True, slots=True)
class BookImage:
    """A book as it stood, taken without touching it: the merged sides (ascending, never changed afterwards) and the text
    of updates that wait to be merged into them.

    ``updates`` are those since the last row. ``cut``: deeper levels were left out. ``renewed``: the book had just been
    replaced by a new one.
    """

    symbol: str
    update_id: int
    epoch: int
    updates: int
    bid_price: Floats
    bid_quantity: Floats
    ask_price: Floats
    ask_quantity: Floats
    waiting_bids: tuple[bytes, ...]
    waiting_asks: tuple[bytes, ...]
    cut: bool
    renewed: bool
    inexact: str | None

    @property
    def held_bytes(self) -> int:
        """Memory that the image may be the only one to hold. The text waiting is part of frames, mostly kept anyway."""
        levels = self.bid_price.size + self.ask_price.size
        return 16 * int(levels) + 64 * len(self.waiting_bids) + 600

    def settled(self, venue: str, decoder: MarketDecoder) -> DepthSnapshot:
        """The book with all its updates in the form of a REST answer, in any thread. Raises MalformedFrame."""
        bids, asks = (self.bid_price, self.bid_quantity), (self.ask_price, self.ask_quantity)
        inexact = self.inexact
        if self.waiting_bids:
            new_bids, new_asks = decoder.sides(self.waiting_bids, self.waiting_asks)
            bids, asks = apply_changes(*bids, new_bids.changes), apply_changes(*asks, new_asks.changes)
            inexact = inexact or new_bids.inexact or new_asks.inexact
        return DepthSnapshot(venue, self.symbol, self.update_id, bids[0][::-1], bids[1][::-1], *asks, inexact)


def at_rest(kept: KeptBook) -> bool:
    """Whether the book is in step and its machine holds nothing back, so that an image shows all there is."""
    return kept.sync.state is SyncState.SYNCED and not kept.sync._ahead


def image_of(kept: KeptBook, most_levels: int, *, renewed: bool = False) -> BookImage:
    """The book as it stands, at most the best ``most_levels`` a side. For the keeper's thread; microseconds."""
    book: Book = kept.book
    bids, asks = book._bids, book._asks  # of the same package; a copy() would need a merge first
    bid_price, bid_quantity, ask_price, ask_quantity = bids.price, bids.quantity, asks.price, asks.quantity
    cut = bid_price.size > most_levels or ask_price.size > most_levels
    if cut:  # copies: a view would keep the whole array alive
        bid_price, bid_quantity = bid_price[-most_levels:].copy(), bid_quantity[-most_levels:].copy()
        ask_price, ask_quantity = ask_price[:most_levels].copy(), ask_quantity[:most_levels].copy()
    return BookImage(
        kept.symbol,
        book.update_id,
        kept.sync.epoch,
        kept.updates,
        bid_price,
        bid_quantity,
        ask_price,
        ask_quantity,
        tuple(bids.waiting),
        tuple(asks.waiting),
        cut,
        renewed,
        book.inexact,
    )
