"""The worker that keeps many books: frames in, rows, events and tops out. It alone writes the state of its books."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.books.audit import AuditReport
from binmon.books.book import Book
from binmon.books.depths import DepthBudget
from binmon.books.feeds import FeedDesk, FeedOutlets
from binmon.books.kept import KeptBook
from binmon.books.observing import NO_OBSERVER, KeeperObserver
from binmon.books.output import BookOutput
from binmon.books.requests import SnapshotRequests
from binmon.books.shadow import Renewal
from binmon.books.stalls import Stall, StallWatch
from binmon.books.stream_sync import StreamSync
from binmon.books.subscriptions import Resubscriptions
from binmon.books.sync import (
    ApplyUpdate,
    BookSync,
    FetchSnapshot,
    GapFound,
    LoadSnapshot,
    Renumbered,
    Resubscribe,
    StateChanged,
    SyncState,
)
from binmon.books.touch import Touch
from binmon.books.upkeep import EDGE_SHARE, Purpose, Upkeep, UpkeepOutlets
from binmon.books.views import BookAsked, view_of
from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import (
    BookEvent,
    BookEventKind,
    BookSnapshot,
    BookView,
    Evidence,
    FrameChunk,
    Priority,
    RotateFeeds,
    SnapshotArrived,
    SnapshotFailed,
    SnapshotWanted,
    StreamDown,
    StreamUp,
    SymbolsChanged,
    TopOfBook,
)
from binmon.net.rotation import FeedRotated, RotationWindow
from binmon.telemetry.histogram import DelayHistogram
from binmon.venues.base import (
    BookBroken,
    BookStart,
    ControlReply,
    DepthUpdate,
    MalformedFrame,
    MarketDecoder,
    ShutdownNotice,
    StreamSnapshot,
    Venue,
)

log = structlog.get_logger("binmon.books")

_WINDOW = RotationWindow(3 * 3600.0, 5 * 3600.0)
_TICK_S = 0.1
_STALL_CHECK_S = 1.0
# From so many books on, a top may come a quarter of its interval early or half of it late, where a row has just merged
# the book: merging each of a market of books twice a second is half of the keeper's work.
_MANY_BOOKS = 64
_EARLY, _LATE = 0.25, 0.5
_PATIENCE_S = 90.0  # longer than a minute of weight lasts
_ALIVE_S = 5.0  # a stream that was heard within this lives
_LATE_S, _PATIENT_S = 1.0, 5.0  # after a tick so late nothing is called silent for so long
_NAMED = 10  # symbols that a line of the log names
_SUBSCRIBE_ANEW_AFTER_S = 60.0  # OKX tells of a market without changes once a minute
_PROBE_LIMIT = 5  # levels of the snapshot that tells a quiet symbol from a dead stream: the cheapest there is


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """What the configuration says of books; also a message that replaces what holds. ``record_depth`` 0 is all levels.

    ``depth``, ``weight_per_minute`` and ``redundancy`` hold from the start to the end.
    """

    snapshot_every: int
    depth: int
    record_depth: int
    top_interval_ms: int
    weight_per_minute: int = 6000
    redundancy: int = 1
    audit_interval_s: float = 300.0
    rotate_window: RotationWindow = _WINDOW


@dataclass(frozen=True, slots=True)
class KeeperOutlets:
    """Where the keeper's messages go, and how it has its sockets."""

    initial_snapshots: Channel[SnapshotWanted]
    resync_snapshots: Channel[SnapshotWanted]
    upkeep_snapshots: Channel[SnapshotWanted]
    probes: Channel[SnapshotWanted]
    recorder: Channel[BookSnapshot | BookEvent | Evidence]
    tops: Channel[TopOfBook]
    feeds: FeedOutlets
    observer: KeeperObserver = NO_OBSERVER


class BookKeeper(Worker):
    """Keeps the books of one venue's symbols.

    ``symbols`` maps each to the number of its last recorded epoch (0 for none). ``inbox`` takes FrameChunk, StreamUp,
    StreamDown, SnapshotArrived, SnapshotFailed, SymbolsChanged, KeeperSettings and RotateFeeds.
    """

    silence_limit_s = 20.0  # it waits for nothing but its inbox

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
        self._rules = rules = venue.book_rules
        self._cuts = rules.window is not None and not rules.tells_what_leaves
        self._decoder = venue.decoder()  # for levels, which depend on nothing that went before
        self._decoders: dict[str, MarketDecoder] = {}  # by connection
        self._observer, self._note = outlets.observer, outlets.observer.note
        self._stalls = StallWatch()
        depth = settings.depth if rules.window is None else min(settings.depth, rules.window)
        self._budget = DepthBudget(depth, settings.weight_per_minute, venue.snapshot_weight)
        self._output = BookOutput(
            venue.name,
            outlets.recorder,
            outlets.tops,
            record_depth=settings.record_depth,
            top_interval_ms=settings.top_interval_ms,
        )
        self._requests = SnapshotRequests(
            venue.name, lambda: self._kept, self._budget, outlets.initial_snapshots, outlets.resync_snapshots
        )
        self._resubscriptions = Resubscriptions(lambda: self._kept, venue.resubscription, outlets.feeds)
        self._desk = FeedDesk(
            venue.name,
            outlets.feeds,
            self._on_rotated,
            window=settings.rotate_window,
            redundancy=settings.redundancy,
            most_streams=venue.streams_per_connection,
        )
        # tokens of requests that no machine of a book made are negative
        self._tokens = itertools.count(-1, -1)
        self._upkeep = Upkeep(
            venue.name,
            self._decoder,
            self._budget,
            UpkeepOutlets(
                self._ask_for_upkeep, self._settled, self._on_audited, self._on_renewed, self._output.evidence
            ),
            interval_s=settings.audit_interval_s,
            new_token=lambda: next(self._tokens),
        )
        self._kept: dict[str, KeptBook] = {}
        self._by_stream: dict[str, KeptBook] = {}
        self._next_stall_check_s = 0.0
        self._out_of_step, self._out_of_step_since_s = 0, 0.0  # how many books, unchanged since when
        self._last_tick_s, self._behind_until_s = time.monotonic(), 0.0
        self._former_duplicates = 0  # of symbols that were let go
        self._early_top_s = -1e9  # how early a top may come with a row; the far past: not at all
        self._malformed: dict[str, int] = {}
        self._started = False
        self._in_hand: Any = None  # the message that is being handled
        self.lag = DelayHistogram()  # frame received -> its updates are in the books
        self._gaps = self._resyncs = 0
        self._former_epochs: dict[str, int] = {}  # of symbols that were let go: their epochs go on when they return
        self._former_tokens: dict[str, int] = {}
        for symbol, epoch in symbols.items():
            self._add(symbol, epoch, time.monotonic())

    # The thread ---------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        if self._started:
            self._start_afresh()
        self._desk.carry(list(self._by_stream))
        self._started = True
        self._handle_again()
        next_tick_s = 0.0
        # After a stop the streams are gone already: what they left behind is worked off before this ends.
        while not stop.is_set() or len(self._inbox):
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                next_tick_s = now_s + _TICK_S
                self.beat()
                self.tick(now_s)
            self._in_hand = message = self._inbox.take(max(0.0, next_tick_s - now_s))
            if message is not None:
                self.handle(message, now_s)
                self._in_hand = None

    def _handle_again(self) -> None:
        """What was in hand when this failed: once more, and only once. What concerns books alone is not needed, as all of
        them are rebuilt; but nobody says twice that a socket is down, or that the symbols are others."""
        message, self._in_hand = self._in_hand, None
        if message is not None and not isinstance(message, FrameChunk | SnapshotArrived | SnapshotFailed):
            self.handle(message, time.monotonic())

    def handle(self, message: Any, now_s: float) -> None:
        """Take in one message of the inbox."""
        self._note((now_s, message))
        match message:
            case FrameChunk():
                self._on_chunk(message, now_s)
            case SnapshotArrived():
                self._on_snapshot(message, now_s)
            case SnapshotFailed():
                self._on_snapshot_failed(message, now_s)
            case StreamUp():
                self._decoders[message.connection] = self._venue.decoder()
                for kept in self._of(message.streams):
                    kept.sync.on_feed_up(message.connection, now_s)
                    self._stalls.cadence.expect(kept.stream, now_s)
                self._desk.on_up(message.connection, now_s, self._begins_of(message.streams))
            case StreamDown():
                self._on_down(message, now_s)
            case SymbolsChanged():
                self._on_symbols_changed(message, now_s)
            case BookAsked():
                message.answer(self._view(message, now_s))
            case RotateFeeds():
                self._desk.rotate(message.reason, message.connection)
            case KeeperSettings():
                self._on_settings(message, now_s)
            case _:
                raise TypeError(f"{self.name} cannot handle {type(message).__name__}")

    def tick(self, now_s: float) -> None:
        """What is due by time alone: quiet symbols, delayed requests, tops, stalls, sockets, audits."""
        self._observer.ticked(now_s, self._kept)
        interval_s = self._output.top_interval_s
        many = len(self._kept) >= _MANY_BOOKS
        late_s = now_s - _LATE * interval_s if many else now_s
        self._early_top_s = _EARLY * interval_s if many and interval_s else -1e9
        out_of_step = 0
        for kept in self._kept.values():
            out_of_step += kept.sync.state is not SyncState.SYNCED
            if interval_s and late_s >= kept.next_top_s and self._settled(kept, now_s):
                self._output.periodic_top(kept, now_s)
            kept.sync.tick(now_s)
            if kept.sync.effects:
                self._carry_out(kept, now_s)
        self._requests.tick(now_s)
        self._resubscriptions.tick(now_s)
        if now_s - self._last_tick_s > _LATE_S:
            self._behind_until_s = now_s + _PATIENT_S  # this process was stopped, or the machine slept
        self._last_tick_s = now_s
        behind = bool(len(self._inbox)) or now_s < self._behind_until_s
        self._desk.tick(now_s, time.time(), behind=behind)
        if out_of_step != self._out_of_step:
            self._out_of_step, self._out_of_step_since_s = out_of_step, now_s
        # weight goes into books that are missing before any is audited or deepened; one that never comes stops nothing
        to_spare = not out_of_step or now_s - self._out_of_step_since_s > _PATIENCE_S
        self._upkeep.tick(now_s, audit=to_spare and self._rules.comparable)
        if to_spare and self._rules.start is BookStart.REST_SNAPSHOT:
            self._upkeep.deepen(now_s)
        if now_s >= self._next_stall_check_s:
            self._next_stall_check_s = now_s + _STALL_CHECK_S
            if not len(self._inbox):  # behind a backlog every stream looks silent
                self._check_stalls(now_s)
            self._output.report_dropped()

    # Frames -------------------------------------------------------------------------------------------------------

    def _on_chunk(self, chunk: FrameChunk, now_s: float) -> None:
        received_ns, feed = chunk.received_ns, chunk.connection
        decoder = self._decoders.get(feed)
        if decoder is None:
            decoder = self._decoders[feed] = self._venue.decoder()
        decode, books, seen = decoder.update, self._kept, self._stalls.cadence.seen
        desk = self._desk if self._desk.watching else None
        for frame in chunk.frames:
            update = decode(frame)
            if update is None:
                self._on_other(decoder, frame, chunk, now_s)
                continue
            kept = books.get(update.symbol)
            if kept is None:
                continue  # a symbol that was removed: its stream may run on for a moment
            seen(kept.stream, now_s)
            if desk is not None:
                desk.on_event(feed, kept.stream, update.last_update_id, chunk.received_mono_ns)
            sync = kept.sync
            if sync.on_update(update, received_ns, now_s, feed):
                self._apply(kept, update, received_ns, now_s)
                if kept.touch is not None:
                    self._publish_change(kept, kept.touch, update, now_s)
            if sync.effects:
                self._carry_out(kept, now_s)
        self.lag.observe_ns(time.monotonic_ns() - chunk.received_mono_ns)
        self.progress()

    def _apply(self, kept: KeptBook, update: DepthUpdate, receive_time_ns: int, now_s: float) -> None:
        crowded = kept.book.apply(update, receive_time_ns)
        kept.updates += 1
        for follower in kept.followers:
            follower.add(update)
        if kept.updates >= self._settings.snapshot_every:
            self._emit_row(kept, now_s)
        elif crowded or self._cuts:  # what leaves a window must leave it at once
            self._settled(kept, now_s)

    def _on_other(self, decoder: MarketDecoder, frame: bytes, chunk: FrameChunk, now_s: float) -> None:
        connection = chunk.connection
        try:
            other = decoder.other(frame)
        except MalformedFrame as error:
            # whatever book this was for, its next event will show the gap
            count = self._malformed[connection] = self._malformed.get(connection, 0) + 1
            if count & (count - 1) == 0:  # 1, 2, 4, 8 …: loud at first, never a flood
                log.warning(
                    "stream.malformed", venue=self._venue.name, connection=connection, error=str(error), count=count
                )
            return
        if isinstance(other, StreamSnapshot):
            self._on_stream_snapshot(other, chunk, now_s)
        elif isinstance(other, BookBroken):
            self._on_broken(other, connection, now_s)
        elif isinstance(other, ShutdownNotice):
            self._desk.rotate("serverShutdown", connection)
        elif isinstance(other, ControlReply) and other.error is not None:
            log.error(
                "stream.refused",
                venue=self._venue.name,
                connection=connection,
                request=other.request_id,
                error=other.error,
            )
            # where books begin on the stream, a successor owes the begin of each that stands, and what is refused may be
            # one that nobody has
            if self._rules.start is BookStart.REST_SNAPSHOT:
                self._desk.refused(connection)

    def _on_stream_snapshot(self, message: StreamSnapshot, chunk: FrameChunk, now_s: float) -> None:
        kept = self._kept.get(message.snapshot.symbol)
        if kept is None or not isinstance(kept.sync, StreamSync):
            return
        update_id = message.snapshot.last_update_id
        self._stalls.cadence.seen(kept.stream, now_s)
        self._desk.on_event(chunk.connection, kept.stream, update_id, chunk.received_mono_ns)
        epoch = kept.sync.epoch
        kept.sync.on_stream_snapshot(message.snapshot, now_s, chunk.connection)
        self._carry_out(kept, now_s)
        if kept.sync.epoch != epoch and kept.book.update_id == update_id:
            kept.book.begin(message.event_time_ms, chunk.received_ns)

    def _on_broken(self, message: BookBroken, connection: str, now_s: float) -> None:
        kept = self._kept.get(message.symbol)
        if kept is None or not isinstance(kept.sync, StreamSync):
            return
        update_id = kept.sync.update_id
        if kept.sync.on_broken(connection, message.reason, now_s):
            self._output.event(kept, BookEventKind.AUDIT, update_id, None, message.reason)
        self._carry_out(kept, now_s)

    def _on_down(self, message: StreamDown, now_s: float) -> None:
        for kept in self._of(message.streams):
            was_synced = kept.sync.state is SyncState.SYNCED
            kept.sync.on_feed_down(message.connection, message.reason, now_s)
            if not kept.sync.feeds:
                self._stalls.cadence.pause(kept.stream)
            if was_synced and kept.sync.state is not SyncState.SYNCED:
                self._output.event(kept, BookEventKind.DISCONNECT, kept.sync.update_id, None, message.reason)
            self._carry_out(kept, now_s)
        self._malformed.pop(message.connection, None)
        self._decoders.pop(message.connection, None)
        self._desk.on_down(message.connection, now_s)

    def _on_rotated(self, rotated: FeedRotated) -> None:
        for kept in self._of(rotated.streams):
            self._output.rotated(kept, rotated)

    # Symbols ------------------------------------------------------------------------------------------------------

    def _add(self, symbol: str, last_epoch: int, now_s: float) -> None:
        # an answer to what was asked for a symbol that was let go must not be taken for that of its return
        last_token, rules = self._former_tokens.get(symbol, 0), self._rules
        sync: BookSync
        if rules.start is BookStart.STREAM_SNAPSHOT:
            sync = StreamSync(shared_ids=rules.shared_ids, last_epoch=last_epoch, last_token=last_token)
        else:
            sync = BookSync(last_epoch=last_epoch, last_token=last_token)
        kept = KeptBook(symbol, self._venue.depth_stream(symbol), sync, Book(self._decoder, rules.window))
        if self._settings.top_interval_ms == 0:
            kept.touch = Touch(self._decoder)
        self._by_stream[kept.stream] = kept
        self._upkeep.add(kept, now_s)
        # Last, so that what failed in the midst of this is done again. Replaced, not changed: other threads look at it.
        self._kept = {**self._kept, symbol: kept}

    def _on_symbols_changed(self, message: SymbolsChanged, now_s: float) -> None:
        for symbol, epoch in message.listed:
            if symbol not in self._kept:
                self._add(symbol, max(epoch, self._former_epochs.get(symbol, 0)), now_s)
        for symbol in message.delisted:
            kept = self._kept.get(symbol)
            if kept is None:
                continue
            self._output.event(kept, BookEventKind.DISCONNECT, kept.sync.update_id, None, message.reason)
            log.info("book.dropped", venue=self._venue.name, symbol=symbol, reason=message.reason)
            self._former_epochs[symbol] = kept.sync.epoch
            self._former_tokens[symbol] = kept.sync.token
            self._upkeep.remove(symbol)
            self._stalls.forget(kept.stream)
            self._desk.forget(kept.stream)
            self._by_stream.pop(kept.stream, None)
            self._former_duplicates += kept.sync.duplicates
            # last, so that what failed in the midst of this is done again
            self._kept = {name: one for name, one in self._kept.items() if name != symbol}
        self._desk.carry(list(self._by_stream))

    def _on_settings(self, settings: KeeperSettings, now_s: float) -> None:
        before, self._settings = self._settings, settings
        self._output.configure(record_depth=settings.record_depth, top_interval_ms=settings.top_interval_ms)
        self._upkeep.set_interval(settings.audit_interval_s, now_s)
        self._desk.set_window(settings.rotate_window)
        for kept in self._kept.values():
            if settings.record_depth != before.record_depth:
                kept.last_row_id = None  # the next row cannot be told as changes to one that was cut elsewhere
            if settings.top_interval_ms != before.top_interval_ms:
                self._pace_tops(kept, now_s)

    def _view(self, asked: BookAsked, now_s: float) -> BookView | None:
        kept = self._kept.get(asked.symbol)
        if kept is None:
            return None
        settled = self._settled(kept, now_s)
        self._carry_out(kept, now_s)
        return view_of(self._venue.name, kept, asked.levels, time.time_ns(), settled=settled)

    def _pace_tops(self, kept: KeptBook, now_s: float) -> None:
        """Another time between two tops holds for this book."""
        if self._settings.top_interval_ms:
            kept.touch = None
            kept.next_top_s = min(kept.next_top_s, now_s + self._output.top_interval_s)
        elif kept.touch is None:
            kept.touch, kept.top = Touch(self._decoder), ()
            if self._settled(kept, now_s):
                kept.touch.load(kept.book.as_snapshot(self._venue.name, kept.symbol))

    # Effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, kept: KeptBook, now_s: float) -> None:
        effects = kept.sync.effects
        while effects:
            effect = effects.popleft()
            self._observer.effect(kept, effect, now_s)
            match effect:
                case StateChanged(before, after, reason, update_id):
                    if after is not SyncState.SYNCED:
                        self._upkeep.abandon(kept)
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
                    self._requests.fetch(kept, token, not_before_s, now_s, initial=initial)
                case Resubscribe() as wish:
                    self._resubscriptions.ask(kept, wish, now_s)
                case Renumbered(epoch, before_update_id, update_id):
                    kept.last_row_id = kept.previous_id = None
                    told = f"epoch {epoch}: the venue counts anew"
                    self._output.event(kept, BookEventKind.RESYNC, before_update_id, update_id, told)
                case LoadSnapshot(snapshot, epoch, before_update_id, reason):
                    # a snapshot on a stream shows all that the stream will ever tell of
                    kept.book.load(snapshot, kept.limit if self._rules.start is BookStart.REST_SNAPSHOT else None)
                    if kept.touch is not None:
                        kept.touch.load(snapshot)
                    kept.updates, kept.last_row_id, kept.previous_id = 0, None, None
                    kept.refused = False
                    self._resyncs += 1
                    self._output.event(
                        kept,
                        BookEventKind.RESYNC,
                        before_update_id,
                        snapshot.last_update_id,
                        f"epoch {epoch}: {reason}",
                    )
                case ApplyUpdate(update, receive_time_ns):
                    # it had to wait for a snapshot, or for what came before it: its top is no news
                    self._apply(kept, update, receive_time_ns, now_s)
                    if kept.touch is not None:
                        self._apply_to_touch(kept, kept.touch, update, now_s)
                case GapFound(expected, first_update_id, last_update_id):
                    self._gaps += 1
                    self._output.gap(kept, expected, first_update_id, last_update_id)

    def _on_snapshot(self, message: SnapshotArrived, now_s: float) -> None:
        kept = self._kept.get(message.snapshot.symbol)
        if kept is None or self._upkeep.on_answer(message.token, message.snapshot, now_s):
            return
        if message.token == kept.probe:
            kept.probe = 0
            self._stalls.on_answer(kept.stream, message.snapshot.last_update_id, now_s)
            return
        self._observer.answered(kept, message, now_s)
        kept.sync.on_snapshot(message.token, message.snapshot, now_s)
        self._carry_out(kept, now_s)
        self._requests.answered(kept, message.token)

    def _on_snapshot_failed(self, message: SnapshotFailed, now_s: float) -> None:
        kept = self._kept.get(message.symbol)
        if kept is None or self._upkeep.on_failure(message.token, message.retry_after_s, now_s):
            return
        if message.token == kept.probe:
            kept.probe = 0
            self._stalls.on_failure(kept.stream, message.retry_after_s, now_s)
            return
        kept.sync.on_snapshot_failed(message.token, message.retry_after_s, now_s)
        self._carry_out(kept, now_s)
        self._requests.answered(kept, message.token)

    # Upkeep -------------------------------------------------------------------------------------------------------

    def _ask_for_upkeep(self, wanted: SnapshotWanted) -> None:
        lowest = wanted.priority is Priority.AUDIT
        channel = self._outlets.upkeep_snapshots if lowest else self._outlets.initial_snapshots
        channel.put(wanted, 1.0)

    def _on_audited(self, kept: KeptBook, report: AuditReport, now_s: float) -> None:
        self._output.audited(kept, report)
        if report.mismatches:
            kept.sync.invalidate("failed audit", now_s)
            self._carry_out(kept, now_s)

    def _on_renewed(self, kept: KeptBook, renewal: Renewal, purpose: Purpose) -> None:
        kept.sync.renew()
        kept.book, kept.last_row_id = renewal.book, None
        if kept.touch is not None:
            kept.touch.load(kept.book.as_snapshot(self._venue.name, kept.symbol))
        self._observer.renewed(kept, len(renewal.mismatches))
        self._output.renewed(kept, renewal, purpose.value)

    # Output -------------------------------------------------------------------------------------------------------

    def _settled(self, kept: KeptBook, now_s: float) -> bool:
        """Merge what waits; False when that showed the book to be wrong, which then is on its way to a resync."""
        if kept.sync.state is not SyncState.SYNCED:
            return False
        book = kept.book
        try:
            book.settle()
        except MalformedFrame as error:
            kept.sync.invalidate(f"unreadable levels: {error}", now_s)
            return False
        if book.crossed:
            kept.sync.invalidate("crossed book", now_s)
            return False
        share = book.verified_share
        if share < EDGE_SHARE:
            if share <= 0.0:
                kept.sync.invalidate("the market left the range of the snapshot", now_s)
                return False
            self._upkeep.near_the_edge(kept, now_s)
        if book.inexact is not None and not kept.refused:
            kept.refused = True
            self._output.refused(kept)
        return True

    def _emit_row(self, kept: KeptBook, now_s: float) -> None:
        if self._settled(kept, now_s):
            if now_s + self._early_top_s >= kept.next_top_s:
                self._output.periodic_top(kept, now_s)
            self._output.row(kept)

    def _publish_change(self, kept: KeptBook, touch: Touch, update: DepthUpdate, now_s: float) -> None:
        """Publish the top when ``update`` changed it; the book itself is not merged for that, unless it is anyhow."""
        if self._cuts:
            # only the book knows what has left the window; it was settled with the update
            best = kept.book.best() if kept.sync.state is SyncState.SYNCED else kept.top
        elif not self._apply_to_touch(kept, touch, update, now_s):
            return
        elif touch.crossed:
            kept.sync.invalidate("crossed book", now_s)
            return
        else:
            best = touch.best
        if best != kept.top:
            kept.top = best
            self._output.top(kept, best)

    def _apply_to_touch(self, kept: KeptBook, touch: Touch, update: DepthUpdate, now_s: float) -> bool:
        """False when the book is on its way to a resync: the update was unreadable, or a row showed it wrong."""
        if kept.sync.state is not SyncState.SYNCED:
            return False
        try:
            touch.apply(update)
        except MalformedFrame as error:
            kept.sync.invalidate(f"unreadable levels: {error}", now_s)
            return False
        return True

    # Stalls -------------------------------------------------------------------------------------------------------

    def _check_stalls(self, now_s: float) -> None:
        if not self._rules.comparable:
            self._check_silence(now_s)
            return
        findings = self._stalls.check(now_s, self._synced_id)
        for stream in findings.probes:
            kept = self._by_stream[stream]
            kept.probe = next(self._tokens)
            wanted = SnapshotWanted(self._venue.name, kept.symbol, _PROBE_LIMIT, Priority.RESYNC, kept.probe)
            self._outlets.probes.put(wanted, 1.0)
        by_feed: dict[str, list[Stall]] = {}
        for stall in findings.stalls:
            kept = self._by_stream[stall.stream]
            self._output.event(kept, BookEventKind.STALL, stall.book_update_id, stall.venue_update_id, stall.reason)
            self._observer.stalled(kept, stall.reason, now_s)
            for feed in kept.sync.feeds:
                by_feed.setdefault(feed, []).append(stall)
        for feed, stalls in by_feed.items():
            log.warning(
                "stream.stalled",
                venue=self._venue.name,
                connection=feed,
                streams=len(stalls),
                symbols=[self._by_stream[stall.stream].symbol for stall in stalls[:_NAMED]],
                reason=stalls[0].reason,
            )
            if self._delivers(feed, {stall.stream for stall in stalls}, now_s):
                # only some streams are dead: the others' books need not go down with them
                self._desk.rotate(f"stalled: {stalls[0].reason}", feed)
                for stall in stalls:
                    kept = self._by_stream[stall.stream]
                    kept.sync.invalidate("stalled stream", now_s)
                    self._carry_out(kept, now_s)
            else:
                self._outlets.feeds.reconnect(feed, f"stalled: {stalls[0].reason}")

    def _check_silence(self, now_s: float) -> None:
        """Where the venue cannot be asked whether a quiet market or a dead stream is the reason: subscribe anew, and allow
        the stream more silence from then on."""
        for stream, silent_s, _ in self._stalls.cadence.silent(now_s):
            kept = self._by_stream[stream]
            if silent_s < _SUBSCRIBE_ANEW_AFTER_S or kept.sync.state is not SyncState.SYNCED:
                continue
            reason = f"silent for {silent_s:.0f} s"
            self._stalls.cadence.allow_more(stream)
            self._output.event(kept, BookEventKind.STALL, kept.sync.update_id, None, reason)
            kept.sync.invalidate(reason, now_s)
            self._carry_out(kept, now_s)

    def _delivers(self, feed: str, dead: set[str], now_s: float) -> bool:
        """Whether a socket carries other streams that live."""
        heard = self._stalls.cadence.heard_within
        return any(
            stream not in dead and feed in kept.sync.feeds and heard(stream, _ALIVE_S, now_s)
            for stream, kept in self._by_stream.items()
        )

    def _synced_id(self, stream: str) -> int | None:
        sync = self._by_stream[stream].sync
        return sync.update_id if sync.state is SyncState.SYNCED and sync.feeds else None

    # Odds and ends ------------------------------------------------------------------------------------------------

    def _of(self, streams: tuple[str, ...]) -> list[KeptBook]:
        return [self._by_stream[name] for name in streams if name in self._by_stream]

    def _begins_of(self, streams: tuple[str, ...]) -> list[str]:
        """The streams that begin with a snapshot on a new connection: where the venue does that, of books that stand."""
        if self._rules.start is BookStart.REST_SNAPSHOT:
            return []
        return [kept.stream for kept in self._of(streams) if kept.sync.state is SyncState.SYNCED]

    def _start_afresh(self) -> None:
        """After a failure nothing in the books can be trusted: rebuild all of them from the feeds that live."""
        now_s = time.monotonic()
        self._observer.restarted(now_s)
        self._stalls.forget_cases()
        self._decoders.clear()  # what one had taken in, the books may not have
        self._upkeep.start_afresh(now_s)
        for kept in self._kept.values():
            kept.probe = 0
            kept.asked, kept.next_request = 0, None  # the answer may have been lost with what failed
            kept.sync.effects.clear()
            # All of them first, and one that nobody knows: while one is left, the book would count as good. Which live is
            # the desk's to say: this may have failed before, in the midst of it.
            for feed in (*kept.sync.feeds, ""):
                kept.sync.on_feed_down(feed, "keeper restarted", now_s)
            for feed in self._desk.carriers(kept.stream):
                kept.sync.on_feed_up(feed, now_s)
            if isinstance(kept.sync, StreamSync):
                kept.sync.restart(now_s)
            self._carry_out(kept, now_s)

    # What others may know; single reads, safe from any thread -----------------------------------------------------

    @property
    def states(self) -> dict[str, SyncState]:
        """The state of each symbol's book."""
        return {symbol: kept.sync.state for symbol, kept in self._kept.items()}

    @property
    def oldest_ns(self) -> int | None:
        """When the newest update of that synced book arrived which was heard of longest ago (wall clock); None when no
        book is synced."""
        heard_ns = [kept.book.receive_time_ns for kept in self._kept.values() if kept.sync.state is SyncState.SYNCED]
        return min((one_ns for one_ns in heard_ns if one_ns), default=None)

    def connections(self) -> Mapping[str, str]:
        """The state of each socket."""
        return self._desk.states()

    def counters(self) -> Mapping[str, int]:
        """What has happened since the start."""
        return {
            "gaps": self._gaps,
            "resyncs": self._resyncs,
            "rotations": self._desk.rotations,
            "duplicates": self._former_duplicates + sum(kept.sync.duplicates for kept in self._kept.values()),
            **self._upkeep.counters(),
        }
