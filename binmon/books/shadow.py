"""A new snapshot merged beside a live book, to be swapped in whole: nobody sees a book that is not there.

That is how a book gets a deeper or a fresher known depth: the market comes near the edge of what the snapshot
verified, or the first snapshot was a cheap shallow one.
"""

from __future__ import annotations

from dataclasses import dataclass

from binmon.books.audit import Follower, Mismatch, compare
from binmon.books.book import Book
from binmon.venues.base import MarketDecoder


@dataclass(frozen=True, slots=True)
class Renewal:
    """``book`` is as of the live book's update. ``levels`` stood in both verified parts, ``mismatches`` of them differed."""

    book: Book
    added: int
    levels: int
    mismatches: tuple[Mismatch, ...]


def renew(live: Book, follower: Follower, decoder: MarketDecoder) -> Renewal:
    """The new book: the follower's snapshot, the updates since, and what the settled ``live`` one knows beyond.

    Raises MalformedFrame for updates that cannot be read.
    """
    snapshot = follower.snapshot
    assert snapshot is not None
    book = Book(decoder)
    book.load(snapshot, follower.limit)
    for update in follower.updates:
        if update.last_update_id > snapshot.last_update_id:
            book.apply(update, 0)
    book.settle()
    levels, _, mismatches = compare(live, book)
    before = len(live.bids()[0]) + len(live.asks()[0])
    book.extend(live)
    book.take_changes()  # the next row is a whole book
    book.update_id = live.update_id
    book.event_time_ms, book.receive_time_ns = live.event_time_ms, live.receive_time_ns
    book.inexact = book.inexact or live.inexact
    added = len(book.bids()[0]) + len(book.asks()[0]) - before
    return Renewal(book, added, levels, tuple(mismatches))
