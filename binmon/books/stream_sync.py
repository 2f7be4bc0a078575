"""The resync machine for venues whose subscriptions begin with a snapshot (Bybit, OKX, Kraken).

States, effects and the rules for gaps are those of `binmon.books.sync`; what differs is where a book starts. A snapshot
on the stream stands in order with the updates of its own connection, so what that connection sent before is old. A
book that is lost asks for its stream anew (``Resubscribe``), on one of its connections.

Where ids mean the same on all connections, a second one only fills what the first one misses. Where they do not, the
book follows one connection, the leader, and begins anew on another when the leader ends.
"""

from __future__ import annotations

from binmon.books.sync import ApplyUpdate, BookSync, LoadSnapshot, Renumbered, Resubscribe, SyncState
from binmon.core.backoff import BackoffPolicy
from binmon.messages import DepthSnapshot
from binmon.venues.base import DepthUpdate

SNAPSHOT_WITHIN_S = 10.0  # from a subscription to its snapshot; then it is asked for again
RECONNECT_AFTER = 3  # subscriptions in a row that brought none: the connection itself is no good
# subscriptions are limited (OKX: 480 an hour on a connection), so a book that keeps failing slows down for good
_BACKOFF = BackoffPolicy(first_s=0.25, cap_s=60.0)


class StreamSync(BookSync):
    """See the module."""

    __slots__ = ("_asked", "_began", "_deadline_s", "_fruitless", "_leader", "_shared_ids")

    def __init__(self, *, shared_ids: bool, last_epoch: int = 0, last_token: int = 0) -> None:
        super().__init__(last_epoch=last_epoch, last_token=last_token, backoff=_BACKOFF)
        self._shared_ids = shared_ids
        self._leader: str | None = None  # whose snapshot the book stands on
        self._began: set[str] = set()  # feeds that have brought a snapshot
        self._asked: set[str] = set()  # feeds that owe one we asked for
        self._deadline_s = 0.0  # by when a snapshot should have come
        self._fruitless = 0  # subscriptions since the last snapshot

    # Feeds --------------------------------------------------------------------------------------------------------

    def on_feed_up(self, feed: str, now_s: float) -> None:
        """A connection carries this symbol from now on: its subscription brings a snapshot."""
        if not self._feeds:
            self._deadline_s = now_s + SNAPSHOT_WITHIN_S
        super().on_feed_up(feed, now_s)

    def on_feed_down(self, feed: str, reason: str, now_s: float) -> None:
        """A connection ended."""
        self._began.discard(feed)
        self._asked.discard(feed)
        led, self._leader = self._leader == feed, None if self._leader == feed else self._leader
        super().on_feed_down(feed, reason, now_s)
        if led and not self._shared_ids:
            self.invalidate(f"{feed} ended: {reason}", now_s)
        elif self.state is SyncState.WAITING_FOR_SNAPSHOT:
            self._fetch(now_s)  # it may have been the one that was asked

    def restart(self, now_s: float) -> None:
        """The caller has lost what came: ask for a snapshot at once, on a feed that is up already."""
        if self._feeds and self.state is SyncState.WAITING_FOR_EVENTS:
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, "begun anew")
            self._fetch(now_s)

    # Events -------------------------------------------------------------------------------------------------------

    def on_update(self, update: DepthUpdate, receive_time_ns: int, now_s: float, feed: str = "") -> bool:
        """As in `BookSync`; an update that comes before any snapshot of its connection is kept until there is one."""
        if self.state is not SyncState.SYNCED:
            if self._shared_ids:
                self._keep(update, receive_time_ns)
            return False
        if not self._shared_ids and feed != self._leader:
            return False
        assert self.update_id is not None
        if update.last_update_id < update.first_update_id:
            return self._on_renumbered(update, receive_time_ns, now_s)
        if update.last_update_id < self.update_id and self._feeds <= {feed}:
            # nobody else could have been ahead of it
            self.invalidate("update ids ran back", now_s)
            return False
        return super().on_update(update, receive_time_ns, now_s, feed)

    def on_stream_snapshot(self, snapshot: DepthSnapshot, now_s: float, feed: str) -> None:
        """A whole book came on the stream of ``feed``: the begin of a subscription, or the venue begins anew."""
        if feed not in self._feeds:
            return  # the last words of one that has ended
        known = feed in self._began and feed not in self._asked
        self._began.add(feed)
        self._asked.discard(feed)
        if self.state is SyncState.SYNCED:
            if not known and self._feeds > {feed}:
                return  # a second connection begins beside the one that the book follows
            self._abandon("new snapshot by the venue")
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, self._reason)
        elif self.state is SyncState.WAITING_FOR_EVENTS:
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, "first event")
        self._load(snapshot, now_s, feed)

    def on_broken(self, feed: str, reason: str, now_s: float) -> bool:
        """What ``feed`` brings of this symbol is worth nothing until it is asked for anew (a checksum that differs, updates
        that are missing); whether that cost the book, which another feed may keep alive."""
        if feed not in self._feeds or feed in self._asked:
            return False
        # one that has been asked anew is itself no good until it has answered
        others = self._feeds - {feed} - self._asked if self._shared_ids else self._feeds & {self._leader} - {feed}
        if self.state is SyncState.SYNCED and not others:
            self._leader = feed  # the one to ask
            self.invalidate(reason, now_s)
            return True
        self._asked.add(feed)
        self.effects.append(Resubscribe(self._token, feed, now_s, reconnect=False))
        return False

    def tick(self, now_s: float) -> None:
        """Time passed: holes stay unfilled, and a snapshot that does not come is asked for again."""
        if self._ahead:
            self._look_ahead(now_s)
        if self.state is SyncState.SYNCED or not self._feeds or now_s < self._deadline_s:
            return
        if self.state is SyncState.WAITING_FOR_EVENTS:
            self._move_to(SyncState.WAITING_FOR_SNAPSHOT, "no snapshot with the subscription")
        self._fetch(now_s)

    def on_snapshot(self, token: int, snapshot: DepthSnapshot, now_s: float) -> None:
        """A book from elsewhere, such as an image in a recording: nobody asks REST for the begin of such a book."""
        if self.wants(token) and self._feeds:
            self._load(snapshot, now_s, min(self._feeds))

    # Inside -------------------------------------------------------------------------------------------------------

    def _load(self, snapshot: DepthSnapshot, now_s: float, feed: str) -> None:
        before, self.update_id = self.update_id, snapshot.last_update_id
        self.epoch += 1
        self._token += 1  # what was asked for has come
        self._leader, self._fruitless, self._applied = feed, 0, 0
        self._event_time_ms = self._first_old_ms = 0
        self.effects.append(LoadSnapshot(snapshot, self.epoch, before, self._reason))
        self._move_to(SyncState.SYNCED, self._reason)
        for update, receive_time_ns in self._buffer.drain():
            if update.last_update_id <= snapshot.last_update_id:
                self.duplicates += 1
            elif update.first_update_id <= self.update_id + 1:
                # another connection is ahead of this one
                self.update_id = update.last_update_id
                self._event_time_ms = update.event_time_ms
                self._applied += 1
                self.effects.append(ApplyUpdate(update, receive_time_ns))
            else:
                break  # of a count that this snapshot ended

    def _on_renumbered(self, update: DepthUpdate, receive_time_ns: int, now_s: float) -> bool:
        before = self.update_id
        assert before is not None
        if update.first_update_id != before + 1:
            self.invalidate("venue reset: update ids ran back", now_s)
            return False
        self.epoch += 1
        self.update_id = update.last_update_id
        self._event_time_ms = update.event_time_ms
        self.effects.append(Renumbered(self.epoch, before, update.last_update_id))
        self.effects.append(ApplyUpdate(update, receive_time_ns))
        return False

    def _fetch(self, not_before_s: float) -> None:
        self._token += 1
        self._deadline_s = not_before_s + SNAPSHOT_WITHIN_S
        if not self._feeds:
            return
        self._fruitless += 1
        feed = self._leader if self._leader in self._feeds else min(self._feeds)
        assert feed is not None
        self._asked.add(feed)
        reconnect = self._fruitless > RECONNECT_AFTER
        if reconnect:
            self._fruitless = 0
        self.effects.append(Resubscribe(self._token, feed, not_before_s, reconnect))
