"""What a keeper of books makes of a decoder's messages: snapshots replace, the levels of updates wait as text and are
merged in one go when somebody looks."""

from __future__ import annotations

from typing import Any

from binmon.levels import apply_changes
from binmon.venues.base import BookBroken, StreamSnapshot


class ClientBook:
    """``strict``: a gap is an error; else it is counted, and nothing is taken up to the next snapshot."""

    def __init__(self, decoder: Any, *, strict: bool = True) -> None:
        self.decoder, self.strict = decoder, strict
        self.gaps = 0
        self.said: list[Any] = []  # what ``other`` has said
        self.updates: list[Any] = []
        self.last_id = 0
        self._snapshot: Any = None
        self._bids: list[bytes] = []
        self._asks: list[bytes] = []

    def take(self, frame: bytes) -> Any:
        """Hand in a frame; what came of it."""
        update = self.decoder.update(frame)
        if update is not None:
            if update.first_update_id != self.last_id + 1:
                assert not self.strict, "a gap"
                self.gaps, self.last_id = self.gaps + 1, -2
                return update
            self.last_id = update.last_update_id
            self._bids.append(update.bids)
            self._asks.append(update.asks)
            self.updates.append(update)
            return update
        other = self.decoder.other(frame)
        if other is not None:
            self.said.append(other)
        if isinstance(other, StreamSnapshot):
            self._snapshot, self.last_id = other.snapshot, other.snapshot.last_update_id
            self._bids, self._asks = [], []
        return other

    @property
    def broken(self) -> list[BookBroken]:
        return [one for one in self.said if isinstance(one, BookBroken)]

    def sides(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Bids and asks, best first."""
        snapshot = self._snapshot
        bids, asks = self.decoder.sides(self._bids, self._asks)
        assert bids.inexact is None and asks.inexact is None
        price, quantity = apply_changes(snapshot.bid_price[::-1], snapshot.bid_quantity[::-1], bids.changes)
        ask_price, ask_quantity = apply_changes(snapshot.ask_price, snapshot.ask_quantity, asks.changes)
        return (
            list(zip(price[::-1].tolist(), quantity[::-1].tolist(), strict=True)),
            list(zip(ask_price.tolist(), ask_quantity.tolist(), strict=True)),
        )
