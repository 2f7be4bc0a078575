"""The resync machine of one symbol's book (reference: Binance Spot, local order book, as of 2025-11-12).

A plain object without I/O: it takes events and ``now`` (monotonic seconds), changes state, and leaves what should be
done in ``effects``, in order. For venues whose streams begin with a snapshot see `binmon.books.stream_sync`. The comparison rules, exactly:

* a snapshot with ``last_update_id < first_update_id`` of the first buffered event is too old: fetch another;
* an event with ``last_update_id <= book id`` is old and changes nothing;
* an event with ``first_update_id > book id + 1`` is a gap: the book is worthless, start again;
* anything else is applied, and the book id becomes its ``last_update_id``.

Several feeds may deliver the same symbol: what one has delivered is old news from the other. While several do, an
event beyond the book is held back, as a slower feed may still bring what is missing; it is a gap once every feed has
gone past it, or none has filled it for ``FILL_WITHIN_S``.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from binmon.books.waiting import Waiting
from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.messages import DepthSnapshot
from binmon.venues.base import DepthUpdate


class SyncState(enum.Enum):
    """Where the book of a symbol stands; the values are those of the ``book.state`` log event."""

    WAITING_FOR_EVENTS = "waiting_for_events"  # no feed, or none has delivered yet
    WAITING_FOR_SNAPSHOT = "waiting_for_snapshot"  # events are kept while a snapshot is under way
    SYNCED = "synced"  # the book is right as of its update id; only now may anybody read it


_ALLOWED = {
    # quiet symbols ask for a snapshot before the first event
    SyncState.WAITING_FOR_EVENTS: {SyncState.WAITING_FOR_SNAPSHOT},
    SyncState.WAITING_FOR_SNAPSHOT: {SyncState.SYNCED, SyncState.WAITING_FOR_EVENTS},
    # a gap keeps the feed and needs a snapshot; a lost feed needs events first
    SyncState.SYNCED: {SyncState.WAITING_FOR_SNAPSHOT, SyncState.WAITING_FOR_EVENTS},
}


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The machine moved."""

    before: SyncState
    after: SyncState
    reason: str
    update_id: int | None


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Ask for a snapshot, not before ``not_before_s``; only an answer with this ``token`` is taken."""

    token: int
    not_before_s: float
    initial: bool


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """Make the book this snapshot; ``before_update_id`` is where the book last stood, if it ever did."""

    snapshot: DepthSnapshot
    epoch: int
    before_update_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ApplyUpdate:
    """Apply a buffered update to the book just loaded."""

    update: DepthUpdate
    receive_time_ns: int


@dataclass(frozen=True, slots=True)
class GapFound:
    """Ids are missing between the book and this event."""

    expected: int
    first_update_id: int
    last_update_id: int


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Ask for the stream anew on ``feed``, not before ``not_before_s`` and only while the machine ``wants`` the token.

    ``reconnect``: connect the feed anew instead, as subscribing has not helped.
    """

    token: int
    feed: str
    not_before_s: float
    reconnect: bool


@dataclass(frozen=True, slots=True)
class Renumbered:
    """The venue counts anew while the book goes on (OKX, sequence reset): rows before and after belong to two epochs."""

    epoch: int
    before_update_id: int
    update_id: int


Effect = StateChanged | FetchSnapshot | LoadSnapshot | ApplyUpdate | GapFound | Resubscribe | Renumbered

# A snapshot shows the book of now, so the last minute of events always bridges it; many symbols wait at a start.
MAX_BUFFERED = 600
QUIET_AFTER_S = 3.0  # a symbol this long without an event gets its snapshot all the same
# Ids that run back while the venue's clock runs on by this much are a reset (the testnet's monthly wipe), not a
# late duplicate: a redundant feed lags by far less.
RESET_AFTER_MS = 2_000
# Right after a snapshot there is no event to compare with, and events older than it are normal for a moment.
RESET_AFTER_SNAPSHOT_MS = 10_000
FILL_WITHIN_S = 2.0
_SETTLED_AFTER_UPDATES = 100  # a book that took this many updates has earned a quick resync again


class BookSync:
    """See the module. ``epoch`` is the number of the last synchronisation; give the last known one at start."""

    __slots__ = (
        "_ahead", "_ahead_since_s", "_applied", "_backoff", "_buffer", "_event_time_ms", "_feeds", "_feeds_since_s", "_first_old_ms", "_reason",
        "_token", "dropped", "duplicates", "effects", "epoch", "gaps", "stale_snapshots", "state", "update_id",
    )  # fmt: skip

    def __init__(self, *, last_epoch: int = 0, last_token: int = 0, backoff: BackoffPolicy | None = None) -> None:
        self.state = SyncState.WAITING_FOR_EVENTS
        self.epoch = last_epoch
        self.update_id: int | None = None
        self.effects: deque[Effect] = deque()
        self.duplicates = self.gaps = self.stale_snapshots = self.dropped = 0
        self._feeds: set[str] = set()
        self._feeds_since_s = 0.0
        self._buffer = Waiting()
        # beyond a hole that another feed may fill: (first id, update, receive time, feed), by first id
        self._ahead: list[tuple[int, DepthUpdate, int, str]] = []
        self._ahead_since_s = 0.0
        self._event_time_ms = self._first_old_ms = 0
        self._token = last_token
        self._reason = "initial"
        self._applied = 0
        self._backoff = Backoff(backoff or BackoffPolicy(first_s=0.25, cap_s=10.0))

    @property
    def token(self) -> int:
        """That of the newest request."""
        return self._token

    @property
    def feeds(self) -> frozenset[str]:
        """The connections that carry this symbol now."""
        return frozenset(self._feeds)

    # Feeds --------------------------------------------------------------------------------------------------------

    def on_feed_up(self, feed: str, now_s: float) -> None:
        """A connection carries this symbol from now on."""
        if not self._feeds:
            self._feeds_since_s = now_s
        self._feeds.add(feed)

    def on_feed_down(self, feed: str, reason: str, now_s: float) -> None:
        """A connection ended. The venue replays nothing, so without another feed the book must be rebuilt."""
        self._feeds.discard(feed)
        if self._ahead and self._feeds:
            self._look_ahead(now_s)  # perhaps it was the one that might have filled the hole
        if not self._feeds and self.state is not SyncState.WAITING_FOR_EVENTS:
            self._abandon(reason)
            self._move_to(SyncState.WAITING_FOR_EVENTS, reason)

    # Events -------------------------------------------------------------------------------------------------------

    def on_update(self, update: DepthUpdate, receive_time_ns: int, now_s: float, feed: str = "") -> bool:
        """Take in an event; True when the caller must apply it to the book now, before it looks at ``effects``."""
        if self.state is SyncState.SYNCED:
            book_id = self.update_id
            assert book_id is not None
            if update.last_update_id <= book_id:
                if self._runs_back(update, book_id):
                    self.invalidate("venue reset: update ids ran back", now_s)
                    self._keep(update, receive_time_ns)
                else:
                    self.duplicates += 1
                return False
            if update.first_update_id <= book_id + 1:
                self.update_id = update.last_update_id
                self._event_time_ms = update.event_time_ms
                self._applied += 1
                if self._applied == _SETTLED_AFTER_UPDATES:
                    self._backoff.reset()
                if self._ahead:
                    self._ahead_since_s = now_s  # the slower feed comes on: patience begins anew
                    self._look_ahead(now_s)
                return True
            if not self._ahead:
                self._ahead_since_s = now_s
            self._ahead.append((update.first_update_id, update, receive_time_ns, feed))
            self._look_ahead(now_s)
            return False
        self._keep(update, receive_time_ns)
        if self.state is SyncState.WAITING_FOR_EVENTS:
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, "first event")
            self._fetch(now_s)
        return False

    def tick(self, now_s: float) -> None:
        """Time passed: holes stay unfilled; a symbol too quiet to send an event asks for its snapshot all the same."""
        if self._ahead:
            self._look_ahead(now_s)
        if self.state is SyncState.WAITING_FOR_EVENTS and self._feeds and now_s - self._feeds_since_s >= QUIET_AFTER_S:
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, "quiet symbol")
            self._fetch(now_s)

    # Snapshots ----------------------------------------------------------------------------------------------------

    def wants(self, token: int) -> bool:
        """Whether a snapshot with this token would still be taken."""
        return token == self._token and self.state is SyncState.WAITING_FOR_SNAPSHOT

    def on_snapshot(self, token: int, snapshot: DepthSnapshot, now_s: float) -> None:
        """A snapshot arrived; late answers to earlier requests are passed over."""
        if not self.wants(token):
            return
        if self._buffer and snapshot.last_update_id < self._buffer.first_update_id:
            self.stale_snapshots += 1
            self._fetch(now_s + self._backoff.next_delay_s())
            return
        before, self.update_id = self.update_id, snapshot.last_update_id
        self.epoch += 1
        self._applied = 0
        self._event_time_ms = self._first_old_ms = 0
        self.effects.append(LoadSnapshot(snapshot, self.epoch, before, self._reason))
        self._move_to(SyncState.SYNCED, self._reason)
        for update, receive_time_ns in self._buffer.drain():
            if update.last_update_id <= snapshot.last_update_id:
                # However long it waited: it came before the snapshot, so that it is old says nothing of a reset.
                self.duplicates += 1
                continue
            # the same rules for buffered events as for live ones; a gap among them starts all over again
            if self.on_update(update, receive_time_ns, now_s):
                self.effects.append(ApplyUpdate(update, receive_time_ns))

    def on_snapshot_failed(self, token: int, retry_after_s: float, now_s: float) -> None:
        """No snapshot: ask again later."""
        if self.wants(token):
            self._fetch(now_s + max(retry_after_s, self._backoff.next_delay_s()))

    def invalidate(self, reason: str, now_s: float) -> None:
        """The book is known to be wrong (crossed, failed audit, unreadable levels): rebuild it."""
        if self.state is SyncState.SYNCED:
            self._abandon(reason)
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, reason)
            self._fetch(now_s + self._resync_delay_s())

    def renew(self) -> int:
        """The caller replaces the book, as of the same update id, by one made beside it: the number of the new epoch."""
        if self.state is not SyncState.SYNCED:
            raise RuntimeError(f"a book in {self.state.name} cannot be renewed")
        self.epoch += 1
        return self.epoch

    # Inside -------------------------------------------------------------------------------------------------------

    def _look_ahead(self, now_s: float) -> None:
        """Apply what was held back and now fits; decide whether the hole in front of the rest is a gap."""
        held = self._ahead
        held.sort(key=lambda entry: entry[0])
        assert self.update_id is not None
        fits = 0
        for first_update_id, update, receive_time_ns, _ in held:
            if first_update_id > self.update_id + 1:
                break
            fits += 1
            if update.last_update_id > self.update_id:
                self.update_id = update.last_update_id
                self._event_time_ms = update.event_time_ms
                self._applied += 1
                self.effects.append(ApplyUpdate(update, receive_time_ns))
            else:
                self.duplicates += 1
        if fits:
            del held[:fits]
            self._ahead_since_s = now_s
        if not held:
            return
        past = {feed for *_, feed in held}
        if (
            self._feeds <= past
            or ("" in past and len(self._feeds) < 2)  # the caller names no feeds: there is only the one
            or now_s - self._ahead_since_s >= FILL_WITHIN_S
            or len(held) >= MAX_BUFFERED
        ):
            self._on_gap(now_s)

    def _on_gap(self, now_s: float) -> None:
        assert self.update_id is not None
        self.gaps += 1
        beyond, self._ahead = self._ahead, []
        first = beyond[0][1]
        self.effects.append(GapFound(self.update_id + 1, first.first_update_id, first.last_update_id))
        self.invalidate("gap", now_s)
        for _, update, receive_time_ns, _ in beyond:
            self._keep(update, receive_time_ns)

    def _keep(self, update: DepthUpdate, receive_time_ns: int) -> None:
        """Buffer an event, bounded. The buffer itself never has a gap or a step back."""
        if self._buffer:
            newest_id, newest_ms = self._buffer.newest
            if update.last_update_id <= newest_id:
                if update.event_time_ms <= newest_ms + RESET_AFTER_MS:
                    self.duplicates += 1
                    return
                self._buffer.clear()
            elif update.first_update_id > newest_id + 1:
                # what came before the gap cannot be bridged to what follows it
                self._buffer.clear()
            elif len(self._buffer) >= MAX_BUFFERED:
                self._buffer.drop_oldest()
                self.dropped += 1
        self._buffer.append(update, receive_time_ns)

    def _runs_back(self, update: DepthUpdate, book_id: int) -> bool:
        if update.last_update_id >= book_id:
            return False
        if self._event_time_ms > 0:
            return update.event_time_ms > self._event_time_ms + RESET_AFTER_MS
        if self._first_old_ms == 0:
            self._first_old_ms = update.event_time_ms
        return update.event_time_ms > self._first_old_ms + RESET_AFTER_SNAPSHOT_MS

    def _abandon(self, reason: str) -> None:
        self._buffer.clear()
        self._ahead.clear()
        self._token += 1  # whatever is under way belongs to a book that is gone
        self._reason = reason

    def _fetch(self, not_before_s: float) -> None:
        self._token += 1
        self.effects.append(FetchSnapshot(self._token, not_before_s, initial=self.update_id is None))

    def _resync_delay_s(self) -> float:
        """The first resync of a settled book is immediate; one that keeps failing slows down."""
        if self._applied >= _SETTLED_AFTER_UPDATES or self._backoff.attempt == 0:
            self._backoff.attempt = max(1, self._backoff.attempt)
            return 0.0
        return self._backoff.next_delay_s()

    def _move_to(self, state: SyncState, reason: str) -> None:
        """The only writer of ``state``."""
        if state not in _ALLOWED[self.state]:
            raise RuntimeError(f"{self.state.name} -> {state.name} is not allowed ({reason})")
        before, self.state = self.state, state
        self.effects.append(StateChanged(before, state, reason, self.update_id))
