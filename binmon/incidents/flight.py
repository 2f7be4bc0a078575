"""Notes what a keeper does, and asks for the ring to be written when something goes wrong."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from binmon.books.kept import KeptBook
from binmon.books.observing import KeeperObserver, at_rest, image_of
from binmon.books.sync import Effect, GapFound, LoadSnapshot, StateChanged, SyncState
from binmon.core.channel import Channel
from binmon.incidents.limits import IncidentLimits
from binmon.incidents.lines import settings_of
from binmon.incidents.notes import (
    RESTARTED,
    TICKED,
    Answered,
    Entry,
    Incident,
    Loaded,
    Missed,
    Moved,
    Reason,
    Trigger,
)
from binmon.incidents.ring import Ring
from binmon.messages import SnapshotArrived

_IMAGE_SHARE = 3  # images of books may take one part in so many of the memory
_IMAGES_KEPT = 3  # of each book, at most so many are in the ring at a time
_LEAST_IMAGE_INTERVAL_S = 2.0
_LEAST_LEVELS = 20
_MOST_TRIGGERS = 100  # that a file lists
_REASONS = {"crossed book": Reason.CROSSED, "failed audit": Reason.AUDIT}
_UNREADABLE = "unreadable levels"


@dataclass(slots=True)
class _Pending:
    """An incident whose file waits for the frames after it."""

    trigger: Trigger
    time_ns: int
    mono_s: float
    due_s: float
    more: list[Trigger] = field(default_factory=list)


class FlightRecorder(KeeperObserver):
    """The observer of one keeper.

    Frames alone cannot be replayed when the snapshot that their book began with is older than the ring. So each book has
    its image taken every half of ``keep_s``, and the ring holds that much more: whenever it is written, at least
    ``keep_s`` seconds before the trigger can be replayed, as far as ``most_bytes`` of memory reach. Where the books of a market do not
    fit, their images are cut to the best levels.

    A ring is written ``after_s`` after the trigger, so that it shows what followed. Triggers that come meanwhile go into
    the same file.
    """

    def __init__(
        self,
        venue: str,
        written: Channel[Incident],
        limits: IncidentLimits,
        *,
        keep_s: float,
        most_bytes: int,
        after_s: float,
        settings: Mapping[str, Any],
    ) -> None:
        """``written`` takes the incidents; ``settings`` goes into their files."""
        super().__init__()
        self._venue, self._written, self._limits, self._settings = venue, written, limits, settings
        self._keep_s, self._most_bytes, self._after_s = keep_s, most_bytes, after_s
        self.ring = Ring(1.5 * keep_s + after_s, most_bytes)
        self.note = self.ring.note
        self._crashes: queue.SimpleQueue[tuple[Trigger, int, float]] = queue.SimpleQueue()
        self._pending: _Pending | None = None
        self._held_back_told = 0
        self._books: Mapping[str, KeptBook] = {}
        self._order: deque[str] = deque()  # whose image is the oldest comes first
        self._images_due, self._ticked_s = 0.0, time.monotonic()
        self.triggers = dict.fromkeys(Reason, 0)

    # What the keeper says; its thread ------------------------------------------------------------------------------

    def ticked(self, now_s: float, books: Mapping[str, KeptBook]) -> None:
        self.note((now_s, TICKED))
        if books is not self._books:
            self._books, self._order = books, deque(books)
        while not self._crashes.empty():
            self._trigger(*self._crashes.get())
        self._take_images(now_s)
        self.ring.settle(now_s)
        if self._pending is not None and now_s >= self._pending.due_s:
            self._hand_over(self._pending)

    def answered(self, kept: KeptBook, message: SnapshotArrived, now_s: float) -> None:
        self.note((now_s, Answered(kept.limit, kept.sync.wants(message.token), message.snapshot)))

    def effect(self, kept: KeptBook, effect: Effect, now_s: float) -> None:
        match effect:
            case StateChanged(before, after, reason, update_id):
                self.note((now_s, Moved(kept.symbol, before.value, after.value, reason, update_id)))
                why = Reason.UNREADABLE if reason.startswith(_UNREADABLE) else _REASONS.get(reason)
                # the way back has the same reason
                if why is not None and before is SyncState.SYNCED:
                    self._trigger(
                        Trigger(why, kept.symbol, f"{reason} after update {update_id}"), time.time_ns(), now_s
                    )
            case GapFound(expected, first, last):
                self.note((now_s, Missed(kept.symbol, expected, first, last)))
                detail = f"expected update {expected}, got {first} to {last}"
                self._trigger(Trigger(Reason.GAP, kept.symbol, detail), time.time_ns(), now_s)
            case LoadSnapshot(snapshot, epoch, _, _):
                self.note((now_s, Loaded(kept.symbol, epoch, snapshot.last_update_id)))

    def renewed(self, kept: KeptBook, mismatches: int) -> None:
        now_s = time.monotonic()
        self.note((now_s, image_of(kept, self._most_levels, renewed=True)))
        if mismatches:
            detail = f"the snapshot of a renewal differs in {mismatches} levels"
            self._trigger(Trigger(Reason.AUDIT, kept.symbol, detail), time.time_ns(), now_s)

    def stalled(self, kept: KeptBook, reason: str, now_s: float) -> None:
        self._trigger(Trigger(Reason.STALL, kept.symbol, reason), time.time_ns(), now_s)

    def restarted(self, now_s: float) -> None:
        self.note((now_s, RESTARTED))

    # Any thread ----------------------------------------------------------------------------------------------------

    def crashed(self, worker: str, error: str) -> None:
        """A worker ended by a bug. The keeper's thread asks for the file with its next tick, also after its own crash."""
        self._crashes.put((Trigger(Reason.CRASH, worker, error), time.time_ns(), time.monotonic()))

    def finish(self) -> Incident | None:
        """What waited for frames, or for a tick, when the keeper ended. Only after that, by whoever writes the files.

        Raises RuntimeError when the keeper still runs.
        """
        while not self._crashes.empty():
            self._trigger(*self._crashes.get())
        pending, self._pending = self._pending, None
        return None if pending is None else self._incident(pending)

    # Inside --------------------------------------------------------------------------------------------------------

    def _trigger(self, trigger: Trigger, time_ns: int, now_s: float) -> None:
        self.note((now_s, trigger))
        self.triggers[trigger.reason] += 1
        if self._pending is not None:
            self._limits.covered(trigger.reason, trigger.subject, now_s)
            if len(self._pending.more) < _MOST_TRIGGERS:
                self._pending.more.append(trigger)
        elif self._limits.allow(trigger.reason, trigger.subject, now_s):
            self._pending = _Pending(trigger, time_ns, now_s, now_s + self._after_s)

    def _hand_over(self, pending: _Pending) -> None:
        self._pending = None
        if not self._written.offer(self._incident(pending)):
            self._limits.hold_back()

    def _incident(self, pending: _Pending) -> Incident:
        held_back = self._limits.held_back
        since, self._held_back_told = held_back - self._held_back_told, held_back
        entries: tuple[Entry, ...] = self.ring.entries()
        return Incident(
            self._venue,
            pending.trigger,
            tuple(pending.more),
            pending.time_ns,
            pending.mono_s,
            entries,
            dict(self.ring.up),
            {symbol: kept.sync.epoch for symbol, kept in self._books.items()},
            self._settings if self.ring.settings is None else {**self._settings, **settings_of(self.ring.settings)},
            since,
        )

    @property
    def _most_levels(self) -> int:
        """Levels a side of an image: whole books, unless there are too many of them for the memory."""
        room = self._most_bytes / _IMAGE_SHARE / _IMAGES_KEPT / max(1, len(self._books))
        return max(_LEAST_LEVELS, int(room / 32))

    def _take_images(self, now_s: float) -> None:
        """In turns, so that no tick has much to do."""
        passed_s, self._ticked_s = now_s - self._ticked_s, now_s
        interval_s = self._keep_s / 2
        if self.ring.limited:  # it does not reach as far back as it should
            interval_s = min(interval_s, max(_LEAST_IMAGE_INTERVAL_S, self.ring.seconds / _IMAGES_KEPT))
        count = len(self._order)
        self._images_due = min(count, self._images_due + count * max(0.0, passed_s) / interval_s)
        most_levels = self._most_levels
        while self._images_due >= 1.0:
            self._images_due -= 1.0
            kept = self._books[self._order[0]]
            self._order.rotate(-1)
            if at_rest(kept):
                self.note((now_s, image_of(kept, most_levels)))
