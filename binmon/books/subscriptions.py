"""Streams that are asked for anew on a live connection, for venues whose subscriptions begin with a snapshot."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from binmon.books.feeds import FeedOutlets
from binmon.books.kept import KeptBook
from binmon.books.sync import Resubscribe, SyncState


class Resubscriptions:
    """Lives in the keeper's thread. ``books`` gives the books that are kept now, ``messages`` what asks for a stream."""

    def __init__(
        self,
        books: Callable[[], Mapping[str, KeptBook]],
        messages: Callable[[str], tuple[bytes, ...]],
        outlets: FeedOutlets,
    ) -> None:
        self._books, self._messages, self._outlets = books, messages, outlets
        self._due: list[tuple[float, str, int, Resubscribe]] = []  # those that wait for their time

    def ask(self, kept: KeptBook, wish: Resubscribe, now_s: float) -> None:
        """Ask now, or when it is time."""
        if wish.not_before_s <= now_s:
            self._send(kept, wish)
        else:
            heapq.heappush(self._due, (wish.not_before_s, kept.symbol, wish.token, wish))

    def tick(self, now_s: float) -> None:
        """Ask for what has come due and is still wanted."""
        while self._due and self._due[0][0] <= now_s:
            *_, wish = entry = heapq.heappop(self._due)
            kept = self._books().get(entry[1])
            if kept is not None and kept.sync.wants(wish.token):
                self._send(kept, wish)

    def _send(self, kept: KeptBook, wish: Resubscribe) -> None:
        # a connection that is gone by now answers with its end, which the machine of the book hears of
        if wish.reconnect and not self._serves_others(kept, wish.feed):
            self._outlets.reconnect(wish.feed, f"no snapshot of {kept.symbol}, however often it was asked for")
        else:
            self._outlets.send(wish.feed, self._messages(kept.stream))

    def _serves_others(self, kept: KeptBook, feed: str) -> bool:
        """Whether other books stand on this connection: then it is no dead one, and they must not go down for a symbol
        that the venue does not deliver."""
        return any(
            other is not kept and feed in other.sync.feeds and other.sync.state is SyncState.SYNCED
            for other in self._books().values()
        )
