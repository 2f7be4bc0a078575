"""The last seconds of what a keeper handled, bounded in time and in memory. One thread notes; it alone calls the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from binmon.books.keeper import KeeperSettings
from binmon.books.observing import BookImage
from binmon.incidents.notes import Answered, Entry, PackedFrames
from binmon.messages import DepthSnapshot, FrameChunk, SnapshotArrived, StreamDown, StreamUp

_ENTRY_BYTES = 400  # what the objects around an entry take


class Ring:
    """See the module. ``note`` is one append to a list: sizes are added up, and what is too old or too much is let go, in
    ``settle``, which is to be called several times a second.

    ``up`` has the connections, with their streams, that were up when the oldest entry came, and ``settings`` what held then
    if others have come since the start.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._seconds, self._most_bytes = seconds, most_bytes
        self._fresh: list[Entry] = []
        self._settled: deque[tuple[int, Entry]] = deque()
        self.note: Callable[[Entry], None] = self._fresh.append
        self.bytes = 0
        self.seconds = 0.0  # from the oldest entry to the last settling
        self.limited = False  # whether memory, and not time, was what ended the oldest entry
        self.up: dict[str, tuple[str, ...]] = {}
        self.settings: KeeperSettings | None = None

    def settle(self, now_s: float) -> None:
        """Take in what was noted since the last call, and let go of what is too old or too much."""
        settled = self._settled
        for at_s, message in self._fresh:
            kept = PackedFrames.of(message) if isinstance(message, FrameChunk) else message
            size = _size(kept)
            if size:
                self.bytes += size
                settled.append((size, (at_s, kept)))
        self._fresh.clear()
        oldest_s = now_s - self._seconds
        while settled and settled[0][1][0] < oldest_s:
            self._let_go()
            self.limited = False
        while self.bytes > self._most_bytes and len(settled) > 1:
            self._let_go()
            self.limited = True
        self.seconds = now_s - settled[0][1][0] if settled else 0.0

    def entries(self) -> tuple[Entry, ...]:
        """Everything, oldest first. Raises RuntimeError when another thread notes at the same time."""
        return (*(entry for _, entry in self._settled), *self._fresh)

    def __len__(self) -> int:
        return len(self._settled) + len(self._fresh)

    def _let_go(self) -> None:
        size, (_, message) = self._settled.popleft()
        self.bytes -= size
        if isinstance(message, StreamUp):
            self.up[message.connection] = message.streams
        elif isinstance(message, StreamDown):
            self.up.pop(message.connection, None)
        elif isinstance(message, KeeperSettings):
            self.settings = message


def _size(message: object) -> int:
    """Bytes that an entry holds; 0 for one that is not kept."""
    if isinstance(message, PackedFrames):
        return _ENTRY_BYTES + len(message.lengths) + len(message.joined)
    if isinstance(message, BookImage):
        return _ENTRY_BYTES + message.held_bytes
    if isinstance(message, Answered):
        return _ENTRY_BYTES + _levels_bytes(message.snapshot)
    if isinstance(message, SnapshotArrived):
        # one with a positive token is for the machine of a book, and comes once more as Answered
        return 0 if message.token > 0 else _ENTRY_BYTES + _levels_bytes(message.snapshot)
    if isinstance(message, StreamUp | StreamDown):
        return _ENTRY_BYTES + 64 * len(message.streams)
    return _ENTRY_BYTES


def _levels_bytes(snapshot: DepthSnapshot) -> int:
    return 16 * int(snapshot.bid_price.size + snapshot.ask_price.size)
