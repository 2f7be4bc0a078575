"""The bounded queue between two workers, with a name, a stated policy for being full, and counters."""

from __future__ import annotations

import enum
import queue
import threading
from typing import Generic, TypeVar

from binmon.errors import ChannelFull

Message = TypeVar("Message")


class Overflow(enum.Enum):
    """What ``offer`` does when the channel is full. Every message it drops is counted."""

    DROP_NEWEST = "drop_newest"  # the offered message is refused
    DROP_OLDEST = "drop_oldest"  # the oldest message makes room


class Channel(Generic[Message]):
    """A ``queue.Queue`` that never grows past ``capacity`` and never drops silently.

    Any number of threads may offer, put and take. ``offer`` never waits and applies the policy; ``put`` waits
    for room and raises ChannelFull, for messages that must not be lost.
    """

    def __init__(self, name: str, capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError(f"channel {name}: capacity must be at least 1, not {capacity}")
        self.name, self.capacity, self.overflow = name, capacity, overflow
        self._queue: queue.Queue[Message] = queue.Queue(capacity)
        self._lock = threading.Lock()  # guards _dropped alone
        self._dropped = 0

    def offer(self, message: Message) -> bool:
        """Hand over without waiting; False when this message was dropped."""
        while True:
            try:
                self._queue.put_nowait(message)
                return True
            except queue.Full:
                if self.overflow is Overflow.DROP_NEWEST:
                    self._count_drop()
                    return False
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue  # a reader was quicker: there is room now
                self._count_drop()

    def put(self, message: Message, timeout_s: float) -> None:
        """Hand over, waiting up to ``timeout_s`` for room; raises ChannelFull."""
        try:
            self._queue.put(message, timeout=timeout_s)
        except queue.Full:
            raise ChannelFull(self.name) from None

    def take(self, timeout_s: float) -> Message | None:
        """The next message, or None when none came within ``timeout_s``."""
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def _count_drop(self) -> None:
        with self._lock:
            self._dropped += 1

    @property
    def dropped(self) -> int:
        """How many messages the policy has dropped since the start."""
        return self._dropped

    def __len__(self) -> int:
        return self._queue.qsize()
