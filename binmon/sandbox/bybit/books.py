"""One depth stream of one symbol, without I/O: what it has shown, and what it shows next (reference: Bybit v5, 4.3).

A stream shows the best levels of each side. What it sends is the difference between two such windows, so that a client
that applies everything has exactly the window: a level that leaves it is deleted, one that comes into it is inserted.
"""

from __future__ import annotations

from typing import NamedTuple

Levels = list[tuple[int, int]]
"""Levels as (price in ticks, lots), best first; zero lots delete."""

DEPTHS = (1, 50, 200, 1000)
"""Levels a side of the streams of a spot symbol."""
REPEAT_US = 3_000_000
"""A stream of depth 1 on which nothing happened for so long repeats itself."""


class Frame(NamedTuple):
    """One message of a stream. ``seq`` tells the state of the book it shows, ``cts_us`` when that came to be."""

    is_snapshot: bool
    bids: Levels
    asks: Levels
    u: int
    seq: int
    cts_us: int


class BookStream:
    """What all subscribers of one depth stream have been told. Not thread-safe: the symbol's lock guards it."""

    def __init__(self, depth: int, first_u: int) -> None:
        self.depth = depth
        self.u = first_u
        """Id of the last message; each stream counts for itself."""
        self.seq = 0
        """State of the book that the last message shows."""
        self.seen_seq = -1
        """State of the book that was last looked at: as long as it stands, there is nothing to tell."""
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self.cts_us = 0
        """When the book came to be what the last message shows."""
        self._sent_us = 0
        self._whole_next: int | None = None  # the id of the snapshot that is to come in place of a delta

    def refresh(self, bids: Levels, asks: Levels, seq: int, cts_us: int, now_us: int) -> Frame | None:
        """Take the window of now; returns the message that tells it, or ``None`` when it is as before."""
        self.seen_seq = seq
        whole = self._whole_next
        new_bids, new_asks = dict(bids), dict(asks)
        if whole is None and new_bids == self._bids and new_asks == self._asks and self.seq:
            return None
        changed_bids, changed_asks = _difference(self._bids, new_bids), _difference(self._asks, new_asks)
        self.u = whole if whole is not None else self.u + 1
        self._whole_next = None
        self._bids, self._asks, self.seq, self.cts_us = new_bids, new_asks, seq, cts_us
        if whole is not None or self.depth == 1:
            return self.snapshot(now_us)
        self._sent_us = now_us
        changed_bids.sort(reverse=True)
        changed_asks.sort()
        return Frame(False, changed_bids, changed_asks, self.u, seq, cts_us)

    def snapshot(self, now_us: int) -> Frame:
        """All that the stream shows, with the id of the last message."""
        self._sent_us = now_us
        return Frame(True, *self.levels(self.depth), self.u, self.seq, self.cts_us)

    def levels(self, limit: int) -> tuple[Levels, Levels]:
        """The best levels that it shows, bids and asks."""
        return list(self._bids.items())[:limit], list(self._asks.items())[:limit]

    def repeats(self, now_us: int) -> bool:
        """Whether it is time to repeat the last message."""
        return self.depth == 1 and now_us - self._sent_us >= REPEAT_US

    def restart(self) -> None:
        """The service starts anew: the next message is a snapshot with the id 1."""
        self._whole_next, self.seen_seq = 1, -1

    def renew(self) -> None:
        """The next message is a snapshot that nobody has asked for."""
        self._whole_next, self.seen_seq = self._whole_next or self.u + 1, -1

    def step_back(self, ids: int) -> None:
        """The following ids are smaller than the last one was, but never 1."""
        self.u = max(1, self.u - ids - 1)


def _difference(before: dict[int, int], after: dict[int, int]) -> Levels:
    gone = [(price, 0) for price in before if price not in after]
    return gone + [(price, lots) for price, lots in after.items() if before.get(price) != lots]
