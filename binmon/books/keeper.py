"""The worker that keeps many books: frames in, rows, events and tops out. It alone writes the state of its books."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.books.book import Book
from binmon.books.stalls import Stall, StallWatch
from binmon.books.sync import (
    ApplyUpdate,
    BookSync,
    FetchSnapshot,
    GapFound,
    LoadSnapshot,
    StateChanged,
    SyncState,
)
from binmon.books.touch import Best, Touch
from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.levels import NO_CHANGES
from binmon.messages import (
    BookEvent,
    BookEventKind,
    BookSnapshot,
    FrameChunk,
    Priority,
    SnapshotArrived,
    SnapshotFailed,
    SnapshotWanted,
    StreamDown,
    StreamUp,
    TopOfBook,
)
from binmon.venues.base import ControlReply, DepthUpdate, MalformedFrame, ShutdownNotice, Venue

log = structlog.get_logger("binmon.books")

_TICK_S = 0.1
_STALL_CHECK_S = 1.0
_PROBE_LIMIT = 5  # levels of the snapshot that tells a quiet symbol from a dead stream: the cheapest there is


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """What the configuration says of books. ``record_depth`` 0 records all levels."""

    snapshot_every: int
    depth: int
    record_depth: int
    top_interval_ms: int


@dataclass(frozen=True, slots=True)
class KeeperOutlets:
    """Where the keeper's messages go."""

    initial_snapshots: Channel[SnapshotWanted]
    resync_snapshots: Channel[SnapshotWanted]
    probes: Channel[SnapshotWanted]
    recorder: Channel[BookSnapshot | BookEvent]
    tops: Channel[TopOfBook]
    reconnect: Callable[[str, str], None]  # connection, reason


class _Kept:
    """One symbol: its machine, its book, and what has been done with it."""

    __slots__ = (
        "asked", "book", "last_row_id", "next_request", "next_top_s", "probe", "refused", "stream", "symbol", "sync", "top", "touch", "updates",
    )  # fmt: skip

    def __init__(self, symbol: str, stream: str, sync: BookSync, book: Book) -> None:
        self.symbol, self.stream, self.sync, self.book = symbol, stream, sync, book
        self.updates = 0  # applied since the last row
        self.last_row_id: int | None = None
        self.refused = False
        self.next_top_s = 0.0
        self.top: tuple[float | None, ...] = ()
        self.touch: Touch | None = None  # only where every change of the top is published
        self.probe = 0  # token of the stall probe under way
        self.asked = 0  # token of the snapshot under way
        self.next_request: tuple[int, bool] | None = None  # token and initial of the one to ask for after it


class BookKeeper(Worker):
    """Keeps the books of one venue's symbols.

    ``symbols`` maps each to the number of its last recorded epoch (0 for none). ``inbox`` takes FrameChunk,
    StreamUp, StreamDown, SnapshotArrived and SnapshotFailed.
    """

    def __init__(
        self,
        name: str,
        venue: Venue,
        symbols: Mapping[str, int],
        inbox: Channel[Any],
        outlets: KeeperOutlets,
        settings: KeeperSettings,
    ) -> None:
        super().__init__(name)
        self._venue, self._inbox, self._outlets, self._settings = venue, inbox, outlets, settings
        self._decoder = venue.decoder()
        self._stalls = StallWatch()
        self._kept = {
            symbol: _Kept(symbol, venue.depth_stream(symbol), BookSync(last_epoch=epoch), Book(self._decoder))
            for symbol, epoch in symbols.items()
        }
        if settings.top_interval_ms == 0:
            for kept in self._kept.values():
                kept.touch = Touch(self._decoder)
        self._by_stream = {kept.stream: kept for kept in self._kept.values()}
        self._due: list[tuple[float, int, str, bool]] = []  # snapshot requests that wait for their time
        self._probe_token = 0
        self._dropped_rows: dict[str, int] = {}
        self._next_stall_check_s = 0.0
        self._malformed: dict[str, int] = {}
        self._started = False

    # The thread ---------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        if self._started:
            self._start_afresh()
        self._started = True
        next_tick_s = 0.0
        # After a stop the streams are gone already: what they left behind is worked off before this ends.
        while not stop.is_set() or len(self._inbox):
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                next_tick_s = now_s + _TICK_S
                self.beat()
                self.tick(now_s)
            message = self._inbox.take(max(0.0, next_tick_s - now_s))
            if message is not None:
                self.handle(message, now_s)

    def handle(self, message: Any, now_s: float) -> None:
        """Take in one message of the inbox."""
        match message:
            case FrameChunk():
                self._on_chunk(message, now_s)
            case SnapshotArrived():
                self._on_snapshot(message, now_s)
            case SnapshotFailed():
                kept = self._kept.get(message.symbol)
                if kept is not None and message.token == kept.probe:
                    kept.probe = 0
                    self._stalls.on_failure(kept.stream, message.retry_after_s, now_s)
                elif kept is not None:
                    kept.sync.on_snapshot_failed(message.token, message.retry_after_s, now_s)
                    self._carry_out(kept, now_s)
                    self._answered(kept, message.token)
            case StreamUp():
                for kept in self._of(message.streams):
                    kept.sync.on_feed_up(message.connection, now_s)
                    self._stalls.cadence.expect(kept.stream, now_s)
            case StreamDown():
                self._on_down(message, now_s)
            case _:
                raise TypeError(f"{self.name} cannot handle {type(message).__name__}")

    def tick(self, now_s: float) -> None:
        """What is due by time alone: quiet symbols, delayed requests, tops, stalls."""
        interval_s = self._settings.top_interval_ms / 1000
        for kept in self._kept.values():
            state = kept.sync.state
            if state is SyncState.SYNCED:
                if interval_s and now_s >= kept.next_top_s:
                    due_s = kept.next_top_s + interval_s
                    kept.next_top_s = due_s if due_s > now_s else now_s + interval_s
                    self._publish_top(kept, now_s)
            elif state is SyncState.WAITING_FOR_EVENTS:
                kept.sync.tick(now_s)
            if kept.sync.effects:
                self._carry_out(kept, now_s)
        while self._due and self._due[0][0] <= now_s:
            _, token, symbol, initial = heapq.heappop(self._due)
            if self._kept[symbol].sync.wants(token):
                self._request(token, symbol, initial=initial)
        if now_s >= self._next_stall_check_s:
            self._next_stall_check_s = now_s + _STALL_CHECK_S
            if not len(self._inbox):  # behind a backlog every stream looks silent
                self._check_stalls(now_s)
            self._report_dropped()

    # Frames -------------------------------------------------------------------------------------------------------

    def _on_chunk(self, chunk: FrameChunk, now_s: float) -> None:
        decode, books, seen = self._decoder.update, self._kept, self._stalls.cadence.seen
        received_ns = chunk.received_ns
        every = self._settings.snapshot_every
        for frame in chunk.frames:
            update = decode(frame)
            if update is None:
                self._on_other(frame, chunk.connection)
                continue
            kept = books.get(update.symbol)
            if kept is None:
                continue  # a symbol that was removed: its stream may run on for a moment
            seen(kept.stream, now_s)
            sync = kept.sync
            if sync.on_update(update, received_ns, now_s):
                crowded = kept.book.apply(update, received_ns)
                kept.updates += 1
                if kept.updates >= every:
                    self._emit_row(kept, now_s)
                elif crowded:
                    self._settled(kept, now_s)
                if kept.touch is not None:
                    self._publish_change(kept, kept.touch, update, now_s)
            if sync.effects:
                self._carry_out(kept, now_s)
        self.progress()

    def _on_other(self, frame: bytes, connection: str) -> None:
        try:
            other = self._decoder.other(frame)
        except MalformedFrame as error:
            # whatever book this was for, its next event will show the gap
            count = self._malformed[connection] = self._malformed.get(connection, 0) + 1
            if count & (count - 1) == 0:  # 1, 2, 4, 8 …: loud at first, never a flood
                log.warning(
                    "stream.malformed", venue=self._venue.name, connection=connection, error=str(error), count=count
                )
            return
        if isinstance(other, ShutdownNotice):
            self._outlets.reconnect(connection, "serverShutdown")
        elif isinstance(other, ControlReply) and other.error is not None:
            log.error(
                "stream.refused",
                venue=self._venue.name,
                connection=connection,
                request=other.request_id,
                error=other.error,
            )

    def _on_down(self, message: StreamDown, now_s: float) -> None:
        for kept in self._of(message.streams):
            was_synced = kept.sync.state is SyncState.SYNCED
            kept.sync.on_feed_down(message.connection, message.reason)
            self._stalls.cadence.pause(kept.stream)
            if was_synced and kept.sync.state is not SyncState.SYNCED:
                self._record_event(kept, BookEventKind.DISCONNECT, kept.sync.update_id, None, message.reason)
            self._carry_out(kept, now_s)

    # Effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, kept: _Kept, now_s: float) -> None:
        effects = kept.sync.effects
        while effects:
            match effects.popleft():
                case StateChanged(before, after, reason, update_id):
                    log.info(
                        "book.state",
                        venue=self._venue.name,
                        symbol=kept.symbol,
                        **{"from": before.value},
                        to=after.value,
                        reason=reason,
                        update_id=update_id,
                    )
                case FetchSnapshot(token, not_before_s, initial):
                    if not_before_s <= now_s:
                        self._request(token, kept.symbol, initial=initial)
                    else:
                        heapq.heappush(self._due, (not_before_s, token, kept.symbol, initial))
                case LoadSnapshot(snapshot, epoch, before_update_id, reason):
                    kept.book.load(snapshot, self._settings.depth)
                    if kept.touch is not None:
                        kept.touch.load(snapshot)
                    kept.updates, kept.last_row_id = 0, None
                    kept.refused = False
                    self._record_event(
                        kept,
                        BookEventKind.RESYNC,
                        before_update_id,
                        snapshot.last_update_id,
                        f"epoch {epoch}: {reason}",
                    )
                case ApplyUpdate(update, receive_time_ns):
                    crowded = kept.book.apply(update, receive_time_ns)
                    kept.updates += 1
                    if kept.updates >= self._settings.snapshot_every:
                        self._emit_row(kept, now_s)
                    elif crowded:
                        self._settled(kept, now_s)
                    if kept.touch is not None:
                        self._apply_to_touch(kept, kept.touch, update, now_s)
                case GapFound(expected, first_update_id, last_update_id):
                    log.warning(
                        "book.gap",
                        venue=self._venue.name,
                        symbol=kept.symbol,
                        expected=expected,
                        first_update_id=first_update_id,
                        last_update_id=last_update_id,
                    )
                    self._record_event(kept, BookEventKind.GAP, expected - 1, first_update_id, f"expected {expected}")

    def _request(self, token: int, symbol: str, *, initial: bool) -> None:
        """Ask the fetcher, for one snapshot a symbol at a time: a feed that flaps must not queue up dead requests."""
        kept = self._kept[symbol]
        if kept.asked:
            kept.next_request = (token, initial)
            return
        kept.asked = token
        wanted = SnapshotWanted(
            self._venue.name,
            symbol,
            self._settings.depth,
            Priority.INITIAL_SYNC if initial else Priority.RESYNC,
            token,
        )
        channel = self._outlets.initial_snapshots if initial else self._outlets.resync_snapshots
        channel.put(wanted, 1.0)

    def _on_snapshot(self, message: SnapshotArrived, now_s: float) -> None:
        kept = self._kept.get(message.snapshot.symbol)
        if kept is None:
            return
        if message.token == kept.probe:
            kept.probe = 0
            self._stalls.on_answer(kept.stream, message.snapshot.last_update_id, now_s)
            return
        kept.sync.on_snapshot(message.token, message.snapshot, now_s)
        self._carry_out(kept, now_s)
        self._answered(kept, message.token)

    def _answered(self, kept: _Kept, token: int) -> None:
        """A request is done: ask for what was wanted meanwhile, if it still is."""
        if token == kept.asked:
            kept.asked = 0
        if kept.next_request is not None and not kept.asked:
            next_token, initial = kept.next_request
            kept.next_request = None
            if kept.sync.wants(next_token):
                self._request(next_token, kept.symbol, initial=initial)

    # Output -------------------------------------------------------------------------------------------------------

    def _settled(self, kept: _Kept, now_s: float) -> bool:
        """Merge what waits; False when that showed the book to be wrong, which then is on its way to a resync."""
        try:
            kept.book.settle()
        except MalformedFrame as error:
            kept.sync.invalidate(f"unreadable levels: {error}", now_s)
            return False
        if kept.book.crossed:
            kept.sync.invalidate("crossed book", now_s)
            return False
        if kept.book.near_the_edge:
            kept.sync.invalidate("the market left the range of the snapshot", now_s)
            return False
        if kept.book.inexact is not None and not kept.refused:
            kept.refused = True
            log.error(
                "book.refused",
                venue=self._venue.name,
                symbol=kept.symbol,
                value=kept.book.inexact,
                reason="more than 15 significant digits: a double would round it, so this book is not recorded",
            )
        return True

    def _emit_row(self, kept: _Kept, now_s: float) -> None:
        if kept.sync.state is not SyncState.SYNCED or not self._settled(kept, now_s):
            return
        updates, kept.updates = kept.updates, 0
        book, depth = kept.book, self._settings.record_depth
        changes = book.take_changes()
        if kept.refused:
            return
        (bid_price, bid_quantity), (ask_price, ask_quantity) = book.bids(), book.asks()
        since, kept.last_row_id = kept.last_row_id, book.update_id
        bid_changes, ask_changes = changes.bids, changes.asks
        if depth:
            # levels enter the recorded part when others leave it, which no change of theirs shows
            since, bid_changes, ask_changes = None, NO_CHANGES, NO_CHANGES
            bid_price, bid_quantity = bid_price[:depth], bid_quantity[:depth]
            ask_price, ask_quantity = ask_price[:depth], ask_quantity[:depth]
        row = BookSnapshot(
            self._venue.name,
            kept.symbol,
            book.event_time_ms,
            book.receive_time_ns,
            book.update_id,
            updates,
            kept.sync.epoch,
            book.bid_known_to,
            book.ask_known_to,
            bid_price,
            bid_quantity,
            ask_price,
            ask_quantity,
            since,
            bid_changes,
            ask_changes,
        )
        if not self._outlets.recorder.offer(row):
            self._dropped_rows[kept.symbol] = self._dropped_rows.get(kept.symbol, 0) + 1

    def _publish_top(self, kept: _Kept, now_s: float) -> None:
        book = kept.book
        if kept.sync.state is not SyncState.SYNCED or not self._settled(kept, now_s):
            return
        self._offer_top(kept, book.best())

    def _publish_change(self, kept: _Kept, touch: Touch, update: DepthUpdate, now_s: float) -> None:
        """Publish the top when ``update`` changed it; the book itself is not merged for that."""
        if not self._apply_to_touch(kept, touch, update, now_s):
            return
        if touch.crossed:
            kept.sync.invalidate("crossed book", now_s)
        elif touch.best != kept.top:
            kept.top = touch.best
            self._offer_top(kept, touch.best)

    def _apply_to_touch(self, kept: _Kept, touch: Touch, update: DepthUpdate, now_s: float) -> bool:
        """False when the book is on its way to a resync: the update was unreadable, or a row showed it wrong."""
        if kept.sync.state is not SyncState.SYNCED:
            return False
        try:
            touch.apply(update)
        except MalformedFrame as error:
            kept.sync.invalidate(f"unreadable levels: {error}", now_s)
            return False
        return True

    def _offer_top(self, kept: _Kept, top: Best) -> None:
        book = kept.book
        age_ms = (time.time_ns() - book.receive_time_ns) / 1e6 if book.receive_time_ns else 0.0
        self._outlets.tops.offer(
            TopOfBook(
                self._venue.name,
                kept.symbol,
                *top,
                book.update_id,
                book.event_time_ms,
                book.receive_time_ns,
                age_ms,
            )
        )

    def _record_event(
        self, kept: _Kept, kind: BookEventKind, from_update_id: int | None, to_update_id: int | None, detail: str
    ) -> None:
        event = BookEvent(time.time_ns(), self._venue.name, kept.symbol, kind, from_update_id, to_update_id, detail)
        if not self._outlets.recorder.offer(event):
            self._dropped_rows[kept.symbol] = self._dropped_rows.get(kept.symbol, 0) + 1

    def _report_dropped(self) -> None:
        for symbol, count in self._dropped_rows.items():
            log.warning("book.snapshot_dropped", venue=self._venue.name, symbol=symbol, count=count)
        self._dropped_rows.clear()

    # Stalls -------------------------------------------------------------------------------------------------------

    def _check_stalls(self, now_s: float) -> None:
        findings = self._stalls.check(now_s, self._synced_id)
        for stream in findings.probes:
            kept = self._by_stream[stream]
            self._probe_token -= 1
            kept.probe = self._probe_token
            wanted = SnapshotWanted(self._venue.name, kept.symbol, _PROBE_LIMIT, Priority.RESYNC, kept.probe)
            self._outlets.probes.put(wanted, 1.0)
        by_feed: dict[str, list[Stall]] = {}
        for stall in findings.stalls:
            kept = self._by_stream[stall.stream]
            self._record_event(kept, BookEventKind.STALL, stall.book_update_id, stall.venue_update_id, stall.reason)
            for feed in kept.sync.feeds:
                by_feed.setdefault(feed, []).append(stall)
        for feed, stalls in by_feed.items():
            log.warning(
                "stream.stalled",
                venue=self._venue.name,
                connection=feed,
                streams=[stall.stream for stall in stalls],
                reason=stalls[0].reason,
            )
            self._outlets.reconnect(feed, f"stalled: {stalls[0].reason}")

    def _synced_id(self, stream: str) -> int | None:
        sync = self._by_stream[stream].sync
        return sync.update_id if sync.state is SyncState.SYNCED and sync.feeds else None

    # Odds and ends ------------------------------------------------------------------------------------------------

    def _of(self, streams: tuple[str, ...]) -> list[_Kept]:
        return [self._by_stream[name] for name in streams if name in self._by_stream]

    def _start_afresh(self) -> None:
        """After a failure nothing in the books can be trusted: rebuild all of them from the feeds that live."""
        now_s = time.monotonic()
        self._stalls.forget_cases()
        for kept in self._kept.values():
            kept.probe = 0
            kept.sync.effects.clear()
            for feed in kept.sync.feeds:
                kept.sync.on_feed_down(feed, "keeper restarted")
                kept.sync.on_feed_up(feed, now_s)
            self._carry_out(kept, now_s)

    @property
    def states(self) -> dict[str, SyncState]:
        """The state of each symbol's book, for status lines; a snapshot of single stores, safe from any thread."""
        return {symbol: kept.sync.state for symbol, kept in self._kept.items()}
