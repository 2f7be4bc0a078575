"""Snapshots for books that are out of step: when they are asked for, how deep, and one a symbol at a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from binmon.books.depths import DepthBudget
from binmon.books.kept import KeptBook
from binmon.books.sync import SyncState
from binmon.core.channel import Channel
from binmon.messages import Priority, SnapshotWanted


class SnapshotRequests:
    """Lives in the keeper's thread. ``books`` gives the books that are kept now."""

    def __init__(
        self,
        venue: str,
        books: Callable[[], Mapping[str, KeptBook]],
        budget: DepthBudget,
        initial: Channel[SnapshotWanted],
        resync: Channel[SnapshotWanted],
    ) -> None:
        self._venue, self._books, self._budget = venue, books, budget
        self._initial, self._resync = initial, resync
        self._due: list[tuple[float, int, str, bool]] = []  # those that wait for their time

    def fetch(self, kept: KeptBook, token: int, not_before_s: float, now_s: float, *, initial: bool) -> None:
        """Ask now, or when it is time."""
        if not_before_s <= now_s:
            self._ask(kept, token, initial=initial)
        else:
            heapq.heappush(self._due, (not_before_s, token, kept.symbol, initial))

    def tick(self, now_s: float) -> None:
        """Ask for what has come due and is still wanted."""
        while self._due and self._due[0][0] <= now_s:
            _, token, symbol, initial = heapq.heappop(self._due)
            kept = self._books().get(symbol)
            if kept is not None and kept.sync.wants(token):
                self._ask(kept, token, initial=initial)

    def answered(self, kept: KeptBook, token: int) -> None:
        """A request is done: ask for what was wanted meanwhile, if it still is."""
        if token == kept.asked:
            kept.asked = 0
        if kept.next_request is not None and not kept.asked:
            next_token, initial = kept.next_request
            kept.next_request = None
            if kept.sync.wants(next_token):
                self._ask(kept, next_token, initial=initial)

    def _ask(self, kept: KeptBook, token: int, *, initial: bool) -> None:
        if kept.asked:  # a feed that flaps must not queue up dead requests
            kept.next_request = (token, initial)
            return
        kept.asked = token
        # when many are out of step they come back shallow first; a lone one comes back whole
        out_of_step = sum(one.sync.state is not SyncState.SYNCED for one in self._books().values())
        kept.limit = self._budget.for_books(max(1, out_of_step))
        priority = Priority.INITIAL_SYNC if initial else Priority.RESYNC
        wanted = SnapshotWanted(self._venue, kept.symbol, kept.limit, priority, token)
        (self._initial if initial else self._resync).put(wanted, 1.0)
