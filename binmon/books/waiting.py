"""Updates that wait for a snapshot."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from binmon.venues.base import DepthUpdate, PlainUpdate

_NUMBERS = 6  # of one update: first id, last id, event time, receive time, bytes of bids, bytes of asks
_DROPPED_AT_MOST = 256  # at the front of the arrays, before they are made anew


class Waiting:
    """A queue of the updates of one symbol with their receive times (ns), oldest first: ids, times and levels, in two blocks
    of memory.

    When a venue resets or bans, every book waits for up to a minute: of a market that would be millions of small objects,
    each holding on to the whole frame it came in, and the memory between them would not be given back for long after.
    """

    __slots__ = ("_dropped", "_dropped_text", "_numbers", "_symbol", "_text")

    def __init__(self) -> None:
        self._symbol = ""
        self._begin()

    def _begin(self) -> None:
        """With new blocks, as the old ones may be large."""
        self._numbers, self._text = array("q"), bytearray()
        self._dropped = self._dropped_text = 0  # updates and bytes at the front that are gone

    def __len__(self) -> int:
        return len(self._numbers) // _NUMBERS - self._dropped

    @property
    def first_update_id(self) -> int:
        """Of the oldest. Only when there is one."""
        return self._numbers[self._dropped * _NUMBERS]

    @property
    def newest(self) -> tuple[int, int]:
        """Last update id and event time (ms) of the newest. Only when there is one."""
        return self._numbers[1 - _NUMBERS], self._numbers[2 - _NUMBERS]

    def append(self, update: DepthUpdate, receive_time_ns: int) -> None:
        """Keep one more. Raises OverflowError, and keeps nothing of it, where a number is beyond 63 bits."""
        bids, asks = bytes(update.bids), bytes(update.asks)
        # first, as a number that is too large fails here
        numbers = array(
            "q",
            (
                update.first_update_id,
                update.last_update_id,
                update.event_time_ms,
                receive_time_ns,
                len(bids),
                len(asks),
            ),
        )
        self._symbol = update.symbol
        self._text += bids
        self._text += asks
        self._numbers += numbers

    def drop_oldest(self) -> None:
        """Let go of the oldest. Only when there is one."""
        at = self._dropped * _NUMBERS
        self._dropped += 1
        self._dropped_text += self._numbers[at + 4] + self._numbers[at + 5]
        if self._dropped >= _DROPPED_AT_MOST:
            del self._numbers[: self._dropped * _NUMBERS], self._text[: self._dropped_text]
            self._dropped = self._dropped_text = 0

    def clear(self) -> None:
        """Let go of all."""
        if self._numbers or self._text:
            self._begin()

    def drain(self) -> Iterator[tuple[DepthUpdate, int]]:
        """Take out all of them."""
        numbers, text = self._numbers, memoryview(self._text)
        first, at = self._dropped * _NUMBERS, self._dropped_text
        self._begin()
        return self._taken(numbers[first:], text[at:], self._symbol)

    @staticmethod
    def _taken(numbers: array[int], text: memoryview, symbol: str) -> Iterator[tuple[DepthUpdate, int]]:
        at = 0
        for place in range(0, len(numbers), _NUMBERS):
            first_id, last_id, event_time_ms, receive_time_ns, bids, asks = numbers[place : place + _NUMBERS]
            middle, end = at + bids, at + bids + asks
            update = PlainUpdate(
                symbol, event_time_ms, first_id, last_id, bytes(text[at:middle]), bytes(text[middle:end])
            )
            yield update, receive_time_ns
            at = end
