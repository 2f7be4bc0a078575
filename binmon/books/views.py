"""Looking at a book from another thread: the question goes through the keeper's inbox, so that the answer is whole."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from binmon.books.kept import KeptBook
from binmon.core.channel import Channel
from binmon.levels import NO_FLOATS
from binmon.messages import BookView


@dataclass(frozen=True, slots=True)
class BookAsked:
    """A message to the keeper: ``answer`` is called in its thread, at once or never (it must not wait). None: no such
    book is kept. ``levels`` a side, 0: all."""

    symbol: str
    levels: int
    answer: Callable[[BookView | None], None]


def view_of(venue: str, kept: KeptBook, levels: int, now_ns: int, *, settled: bool) -> BookView:
    """What stands in a book now; ``settled``: it is synced, and nothing waits to be merged into it."""
    book = kept.book
    age_ms = (now_ns - book.receive_time_ns) / 1e6 if book.receive_time_ns else None
    if not settled:
        return BookView(
            venue, kept.symbol, False, kept.sync.update_id, book.event_time_ms, age_ms, *(NO_FLOATS,) * 4
        )  # fmt: skip
    cut = slice(levels or None)
    bids, asks = book.bids(), book.asks()
    sides = (side[cut] for side in (*bids, *asks))
    return BookView(venue, kept.symbol, True, book.update_id, book.event_time_ms, age_ms, *sides)


def ask(inbox: Channel[Any], symbol: str, levels: int, within_s: float) -> BookView | None:
    """Ask a keeper for a book, from any thread. None when it keeps no such book.

    Raises TimeoutError when it does not answer within ``within_s``.
    """
    answers: queue.SimpleQueue[BookView | None] = queue.SimpleQueue()
    if not inbox.offer(BookAsked(symbol, levels, answers.put)):
        raise TimeoutError(f"the keeper of the books is behind: {symbol} cannot be looked at now")
    try:
        return answers.get(timeout=within_s)
    except queue.Empty:
        raise TimeoutError(f"the keeper of the books has not answered within {within_s:g} s") from None
