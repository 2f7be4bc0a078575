"""One symbol's place in the keeper: its machine, its book, and what has been done with it."""

from __future__ import annotations

from binmon.books.audit import Follower
from binmon.books.book import Book
from binmon.books.sync import BookSync
from binmon.books.touch import Touch
from binmon.levels import NO_CHANGES
from binmon.messages import BookSnapshot, TopOfBook


class KeptBook:
    """Plain state, changed by the keeper's thread alone."""

    __slots__ = (
        "asked", "book", "followers", "last_row_id", "limit", "next_request", "next_top_s", "previous_id", "probe",
        "refused", "stream", "symbol", "sync", "top", "touch", "updates",
    )  # fmt: skip

    def __init__(self, symbol: str, stream: str, sync: BookSync, book: Book) -> None:
        self.symbol, self.stream, self.sync, self.book = symbol, stream, sync, book
        self.updates = 0  # applied since the last row
        self.last_row_id: int | None = None  # of the row from which changes lead on
        self.previous_id: int | None = None  # of the newest row since the book was last synchronised
        self.refused = False
        self.next_top_s = 0.0
        self.top: tuple[float | None, ...] = ()
        self.touch: Touch | None = None  # only where every change of the top is published
        self.probe = 0  # token of the stall probe under way
        self.asked = 0  # token of the snapshot under way
        self.limit = 0  # levels a side that were asked for, with the snapshot under way or the last one
        self.next_request: tuple[int, bool] | None = None  # token and initial of the one to ask for after it
        self.followers: list[Follower] = []  # comparisons and renewals under way: they are told of every update

    def row(self, venue: str, depth: int) -> BookSnapshot | None:
        """The settled book as a row of the recording, ``depth`` levels a side (0: all); None when it is refused."""
        updates, self.updates = self.updates, 0
        book = self.book
        changes = book.take_changes()
        if self.refused:
            return None
        (bid_price, bid_quantity), (ask_price, ask_quantity) = book.bids(), book.asks()
        since, self.last_row_id = self.last_row_id, book.update_id
        previous_id, self.previous_id = self.previous_id, book.update_id
        bid_changes, ask_changes = changes.bids, changes.asks
        bid_known_to, ask_known_to = book.bid_known_to, book.ask_known_to
        if depth:
            # levels enter the recorded part when others leave it, which no change of theirs shows
            since, bid_changes, ask_changes = None, NO_CHANGES, NO_CHANGES
            # and what is cut off must not look as if it were known not to be there
            if bid_price.size > depth and bid_known_to is not None:
                bid_known_to = max(bid_known_to, float(bid_price[depth - 1]))
            if ask_price.size > depth and ask_known_to is not None:
                ask_known_to = min(ask_known_to, float(ask_price[depth - 1]))
            bid_price, bid_quantity = bid_price[:depth], bid_quantity[:depth]
            ask_price, ask_quantity = ask_price[:depth], ask_quantity[:depth]
        return BookSnapshot(
            venue,
            self.symbol,
            book.event_time_ms,
            book.receive_time_ns,
            book.update_id,
            updates,
            self.sync.epoch,
            bid_known_to,
            ask_known_to,
            bid_price,
            bid_quantity,
            ask_price,
            ask_quantity,
            since,
            bid_changes,
            ask_changes,
            previous_id,
        )

    def top_of_book(self, venue: str, best: tuple[float | None, ...], now_ns: int) -> TopOfBook:
        """The top as a message; ``best`` is bid, its quantity, ask, its quantity."""
        book = self.book
        age_ms = (now_ns - book.receive_time_ns) / 1e6 if book.receive_time_ns else 0.0
        bid, bid_quantity, ask, ask_quantity = best
        return TopOfBook(
            venue,
            self.symbol,
            bid,
            bid_quantity,
            ask,
            ask_quantity,
            book.update_id,
            book.event_time_ms,
            book.receive_time_ns,
            age_ms,
        )
