"""What waits to be sent to one browser. A machine without I/O, bounded in events and bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from binmon.dashboard.replay import Event

MOST_EVENTS, MOST_BYTES = 1_024, 1 << 20


class Outbox:
    """Of events that replace each other only the newest waits. Not locked against threads: its owner sees to that."""

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._waiting: OrderedDict[str | int, bytes] = OrderedDict()  # in the order of their ids
        self._bytes = 0
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """What waits."""
        return self._bytes

    def fits(self, events: Iterable[Event]) -> bool:
        """Whether all of these find room with half of it to spare."""
        sizes = [len(one.text) for one in events]
        return len(sizes) <= self._most_events // 2 and sum(sizes) <= self._most_bytes // 2

    def put(self, event: Event) -> None:
        """One more event; one that finds no room overflows the outbox, which is the end of its browser."""
        if self.overflowed:
            return
        key = event.id if event.replaces is None else event.replaces
        older = self._waiting.pop(key, None)
        if older is not None:
            self._bytes -= len(older)
        self._waiting[key] = event.text
        self._bytes += len(event.text)
        if len(self._waiting) > self._most_events or self._bytes > self._most_bytes:
            self.overflowed = True
            self._waiting.clear()
            self._bytes = 0

    def take(self, about: int) -> bytes:
        """The oldest events, together at least ``about`` bytes if there is so much; empty when nothing waits."""
        parts: list[bytes] = []
        size = 0
        while self._waiting and size < about:
            _, text = self._waiting.popitem(last=False)
            parts.append(text)
            size += len(text)
        self._bytes -= size
        return b"".join(parts)
