"""Books of venues whose subscriptions begin with a snapshot: the machine, and the keeper around it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.books.feeds import FeedOutlets
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.stream_sync import RECONNECT_AFTER, SNAPSHOT_WITHIN_S, StreamSync
from binmon.books.subscriptions import Resubscriptions
from binmon.books.sync import ApplyUpdate, GapFound, LoadSnapshot, Renumbered, Resubscribe, SyncState
from binmon.core.channel import Channel, Overflow
from binmon.messages import BookEvent, BookEventKind, BookSnapshot, FrameChunk, StreamDown, StreamUp
from binmon.venues.base import BookBroken, BookRules, BookStart, StreamSnapshot
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.level_texts import LevelTexts


@dataclass(frozen=True)
class Update:
    first_update_id: int
    last_update_id: int
    event_time_ms: int = 0
    symbol: str = "ABCUSDT"
    bids: bytes = b"[]"
    asks: bytes = b"[]"


def one(number: int) -> Update:
    return Update(number, number, number)


def snapshot(number: int, bids: Any = (("1", "1"),), asks: Any = (("2", "1"),)) -> Any:
    body = {"lastUpdateId": number, "bids": [list(b) for b in bids], "asks": [list(a) for a in asks]}
    return BinanceDecoder().depth("bybit", "ABCUSDT", json.dumps(body).encode())


def effects(sync: StreamSync, kind: type) -> list[Any]:
    found = [effect for effect in sync.effects if isinstance(effect, kind)]
    sync.effects.clear()
    return found


def synced(*feeds: str, shared_ids: bool = True, at: int = 100) -> StreamSync:
    sync = StreamSync(shared_ids=shared_ids)
    for feed in feeds:
        sync.on_feed_up(feed, 0.0)
    sync.on_stream_snapshot(snapshot(at), 0.0, feeds[0])
    assert sync.state is SyncState.SYNCED and len(effects(sync, LoadSnapshot)) == 1
    return sync


def test_a_gap_asks_for_the_stream_anew_and_the_snapshot_ends_it() -> None:
    sync = synced("a")
    assert sync.on_update(one(101), 0, 1.0, "a")
    assert not sync.on_update(one(103), 0, 1.0, "a")
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT and sync.gaps == 1
    (wish,) = effects(sync, Resubscribe)
    assert wish.feed == "a" and wish.not_before_s == 1.0 and not wish.reconnect and sync.wants(wish.token)
    assert not sync.on_update(one(104), 0, 1.1, "a")  # on its way when the stream was asked for
    sync.on_stream_snapshot(snapshot(104), 1.2, "a")
    assert sync.state is SyncState.SYNCED and sync.epoch == 2 and not sync.wants(wish.token)
    assert not effects(sync, ApplyUpdate) and sync.on_update(one(105), 0, 1.3, "a")


def test_what_another_connection_brought_bridges_the_snapshot() -> None:
    sync = synced("a", "b")
    sync.invalidate("crossed book", 1.0)
    for number in range(101, 106):
        sync.on_update(one(number), 0, 1.0, "b")
    sync.effects.clear()
    sync.on_stream_snapshot(snapshot(103), 1.2, "a")
    assert [effect.update.last_update_id for effect in effects(sync, ApplyUpdate)] == [104, 105]
    assert sync.update_id == 105


def test_the_begin_of_a_second_connection_changes_nothing() -> None:
    sync = synced("a")
    sync.on_feed_up("b", 1.0)
    sync.on_stream_snapshot(snapshot(107), 1.0, "b")
    assert sync.epoch == 1 and sync.update_id == 100 and not sync.effects
    assert sync.on_update(one(101), 0, 1.0, "a")
    sync.on_feed_down("a", "rotated", 2.0)
    assert sync.state is SyncState.SYNCED and sync.on_update(one(102), 0, 2.0, "b")


def test_a_new_snapshot_of_the_venue_replaces_the_book() -> None:
    sync = synced("a")
    sync.on_stream_snapshot(snapshot(1), 1.0, "a")  # a service restart counts from one
    (load,) = effects(sync, LoadSnapshot)
    assert (load.epoch, load.before_update_id, sync.update_id) == (2, 100, 1)
    assert sync.on_update(one(2), 0, 1.1, "a")


def test_ids_that_run_back_on_the_only_connection_are_no_duplicates() -> None:
    sync = synced("a")
    assert not sync.on_update(one(100), 0, 1.0, "a") and sync.duplicates == 1
    assert sync.state is SyncState.SYNCED
    assert not sync.on_update(one(60), 0, 1.0, "a")
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT


def test_a_snapshot_that_does_not_come_is_asked_for_again_and_then_the_connection_is_given_up() -> None:
    sync = StreamSync(shared_ids=True)
    sync.on_feed_up("a", 0.0)
    sync.tick(SNAPSHOT_WITHIN_S - 0.1)
    assert not sync.effects
    wishes, now_s = [], SNAPSHOT_WITHIN_S
    for _ in range(RECONNECT_AFTER + 1):
        sync.tick(now_s)
        wishes += effects(sync, Resubscribe)
        now_s += SNAPSHOT_WITHIN_S
    assert [wish.reconnect for wish in wishes] == [False] * RECONNECT_AFTER + [True]


def test_a_book_without_shared_ids_follows_one_connection() -> None:
    sync = synced("a", "b", shared_ids=False)
    sync.on_stream_snapshot(snapshot(300), 0.5, "b")
    assert not sync.on_update(Update(301, 301), 0, 1.0, "b") and sync.update_id == 100
    assert sync.on_update(one(101), 0, 1.0, "a")
    sync.effects.clear()
    sync.on_feed_down("a", "closed", 2.0)
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT
    (wish,) = effects(sync, Resubscribe)
    assert wish.feed == "b"
    sync.on_stream_snapshot(snapshot(305), 2.1, "b")
    assert sync.state is SyncState.SYNCED and sync.on_update(Update(306, 306), 0, 2.2, "b")


def test_a_sequence_reset_goes_on_in_a_new_epoch() -> None:
    sync = synced("a")
    assert not sync.on_update(Update(101, 7), 0, 1.0, "a")
    applied = list(sync.effects)
    assert applied[0] == Renumbered(2, 100, 7) and isinstance(applied[1], ApplyUpdate)
    sync.effects.clear()
    assert sync.on_update(Update(8, 9), 0, 1.0, "a") and sync.state is SyncState.SYNCED
    assert not sync.on_update(Update(12, 5), 0, 1.0, "a") and sync.state is SyncState.WAITING_FOR_SNAPSHOT


def test_what_one_connection_breaks_another_keeps() -> None:
    sync = synced("a", "b")
    sync.on_stream_snapshot(snapshot(100), 0.5, "b")
    assert not sync.on_broken("b", "checksum differs", 1.0) and sync.state is SyncState.SYNCED
    (wish,) = effects(sync, Resubscribe)
    assert (wish.feed, wish.reconnect) == ("b", False)
    assert not sync.on_broken("b", "checksum differs", 1.1) and not sync.effects, "asked for already"
    sync.on_stream_snapshot(snapshot(104), 1.2, "b")
    assert sync.epoch == 1 and sync.on_update(one(101), 0, 1.3, "a")
    sync.on_feed_down("a", "closed", 2.0)
    assert sync.on_broken("b", "checksum differs", 2.1) and sync.state is SyncState.WAITING_FOR_SNAPSHOT
    (wish,) = effects(sync, Resubscribe)
    assert wish.feed == "b" and sync.wants(wish.token)


def test_a_restart_on_all_connections_breaks_the_book() -> None:
    """The second one to say so has nobody left that could keep it: the first has been asked anew, and owes an answer."""
    sync = synced("a", "b")
    sync.on_stream_snapshot(snapshot(100), 0.5, "b")
    assert not sync.on_broken("a", "began anew with a delta", 1.0) and sync.state is SyncState.SYNCED
    assert sync.on_broken("b", "began anew with a delta", 1.0) and sync.state is SyncState.WAITING_FOR_SNAPSHOT
    assert [wish.feed for wish in effects(sync, Resubscribe)] == ["a", "b"]
    sync.on_stream_snapshot(snapshot(3), 1.2, "b")
    assert sync.state is SyncState.SYNCED and sync.update_id == 3


def test_without_shared_ids_only_the_leader_breaks_a_book() -> None:
    sync = synced("a", "b", shared_ids=False)
    assert not sync.on_broken("b", "checksum differs", 1.0) and sync.state is SyncState.SYNCED
    assert sync.on_broken("a", "checksum differs", 1.0) and sync.state is SyncState.WAITING_FOR_SNAPSHOT
    assert [wish.feed for wish in effects(sync, Resubscribe)] == ["b", "a"]


def test_the_end_of_the_only_connection_waits_for_the_next() -> None:
    sync = synced("a")
    sync.on_feed_down("a", "closed", 1.0)
    assert sync.state is SyncState.WAITING_FOR_EVENTS and not effects(sync, Resubscribe)
    sync.on_feed_up("a", 2.0)
    sync.on_stream_snapshot(snapshot(500), 2.1, "a")
    assert sync.state is SyncState.SYNCED and sync.epoch == 2


@settings(deadline=None)
@given(
    events=st.lists(
        st.sampled_from(["next", "next", "next", "skip", "snapshot", "down", "up", "tick", "wrong"]), max_size=60
    ),
    shared_ids=st.booleans(),
)
def test_whatever_happens_a_synced_book_is_what_the_venue_had(events: list[str], shared_ids: bool) -> None:
    """Two connections to a venue whose book is the sum of its updates; the book's value must equal it as of its id."""
    sync = StreamSync(shared_ids=shared_ids)
    at, value, now_s, feeds, owed = 10, 0, 0.0, ["a", "b"], {"a": 0, "b": 0}
    for feed in feeds:
        sync.on_feed_up(feed, now_s)

    def settle() -> None:
        nonlocal value
        while sync.effects:
            match sync.effects.popleft():
                case LoadSnapshot(snapshot=loaded):
                    value = loaded.last_update_id
                case ApplyUpdate(update, _):
                    assert update.first_update_id == value + 1
                    value = update.last_update_id
                case Resubscribe() as wish if sync.wants(wish.token) and wish.feed in sync.feeds:
                    owed[wish.feed] += 1

    for index, event in enumerate(events):
        feed = feeds[index % 2]
        now_s += 0.3
        if event in ("next", "skip"):
            at += 1 if event == "next" else 2
            for name in sorted(sync.feeds):
                if sync.on_update(one(at), 0, now_s, name):
                    assert at == value + 1
                    value = at
                settle()
        elif event == "snapshot" or owed[feed]:
            owed[feed] = 0
            sync.on_stream_snapshot(snapshot(at), now_s, feed)
        elif event == "down":
            sync.on_feed_down(feed, "closed", now_s)
        elif event == "up" and feed not in sync.feeds:
            sync.on_feed_up(feed, now_s)
            sync.on_stream_snapshot(snapshot(at), now_s, feed)
        elif event == "wrong":
            sync.invalidate("crossed book", now_s)
        else:
            sync.tick(now_s)
        settle()
        if sync.state is SyncState.SYNCED:
            assert sync.update_id == value <= at
    # and whatever happened, a connection that keeps its promises brings the book back
    for name in feeds:
        if name not in sync.feeds:
            sync.on_feed_up(name, now_s)
    for _ in range(4):
        now_s += 2 * SNAPSHOT_WITHIN_S + 60
        sync.tick(now_s)
        settle()
        for name in feeds:
            sync.on_stream_snapshot(snapshot(at), now_s, name)
            settle()
        at += 1
        for name in feeds:
            if sync.on_update(one(at), 0, now_s, name):
                value = at
            settle()
    assert sync.state is SyncState.SYNCED and sync.update_id == at == value


# The keeper -----------------------------------------------------------------------------------------------------------


class _Plain(msgspec.Struct):
    """What the venue of these tests says."""

    kind: str
    symbol: str
    first_update_id: int = msgspec.field(name="first")
    last_update_id: int = msgspec.field(name="last")
    bids: msgspec.Raw = msgspec.Raw(b"[]")
    asks: msgspec.Raw = msgspec.Raw(b"[]")
    event_time_ms: int = 5


class PlainDecoder(LevelTexts):
    def update(self, frame: bytes) -> Any:
        message = msgspec.json.decode(frame, type=_Plain)
        return message if message.kind == "delta" else None

    def other(self, frame: bytes) -> Any:
        message = msgspec.json.decode(frame, type=_Plain)
        if message.kind == "broken":
            return BookBroken(message.symbol, "checksum differs")
        body = msgspec.json.encode({"lastUpdateId": message.last_update_id, "bids": message.bids, "asks": message.asks})
        return StreamSnapshot(BinanceDecoder().depth("plain", message.symbol, body), message.event_time_ms)


class World:
    def __init__(self, window: int = 3, shared_ids: bool = True, top_interval_ms: int = 1000) -> None:
        self.sent: list[tuple[str, tuple[bytes, ...]]] = []
        self.opened: list[str] = []
        self.recorder: Channel[Any] = Channel("recorder", 1000, Overflow.DROP_NEWEST)
        idle = [Channel[Any](f"idle-{n}", 100, Overflow.DROP_NEWEST) for n in range(5)]
        venue: Any = SimpleNamespace(
            name="plain",
            streams_per_connection=10,
            decoder=PlainDecoder,
            depth_stream=lambda symbol: f"book.{symbol}",
            snapshot_weight=lambda limit: 1,
            book_rules=BookRules(BookStart.STREAM_SNAPSHOT, shared_ids, False, window),
            resubscription=lambda stream: (f"unsubscribe {stream}".encode(), f"subscribe {stream}".encode()),
        )
        self.keeper = BookKeeper(
            "books",
            venue,
            {"ABCUSDT": 4},
            Channel("inbox", 10, Overflow.DROP_NEWEST),
            KeeperOutlets(
                *idle[:4],
                self.recorder,
                idle[4],
                FeedOutlets(
                    lambda group, feed, streams: self.opened.append(feed),
                    lambda feed, reason: None,
                    lambda feed, reason: None,
                    lambda feed, texts: self.sent.append((feed, texts)),
                ),
            ),
            KeeperSettings(2, 5000, 0, top_interval_ms),
        )
        self.now_s = time.monotonic()
        self.questions, self.tops = idle[:4], idle[4]
        stopped = threading.Event()
        stopped.set()
        self.keeper.run(stopped)
        self.up()

    def up(self) -> None:
        self.feed = self.opened[-1]
        self.keeper.handle(StreamUp("plain", self.feed, ("book.ABCUSDT",), 0), self.now_s)

    def say(self, kind: str, first: int, last: int, bids: str = "[]", asks: str = "[]") -> None:
        text = (
            f'{{"kind":"{kind}","symbol":"ABCUSDT","first":{first},"last":{last},"bids":{bids},"asks":{asks},'
            f'"event_time_ms":{last}}}'
        )
        self.keeper.handle(FrameChunk(self.feed, time.time_ns(), int(self.now_s * 1e9), (text.encode(),)), self.now_s)

    def begin(self, last: int = 10) -> None:
        self.say("snapshot", last, last, '[["9","1"],["8","1"],["7","1"]]', '[["11","1"],["12","1"],["13","1"]]')

    def recorded(self, kind: type) -> list[Any]:
        taken = []
        while (message := self.recorder.take(0)) is not None:
            if isinstance(message, kind):
                taken.append(message)
        return taken


def test_rows_of_a_windowed_book_are_cut_and_known_to_their_last_level() -> None:
    world = World()
    world.begin()
    assert world.keeper.states == {"ABCUSDT": SyncState.SYNCED}
    world.say("delta", 11, 11, '[["9.5","2"]]')
    world.say("delta", 12, 12, "[]", '[["10.5","3"],["12","0"]]')
    world.say("delta", 13, 13, '[["9.5","0"]]')  # the level that left the window does not come back by itself
    world.say("delta", 14, 14, "[]", "[]")
    first, second = world.recorded(BookSnapshot)
    assert first.epoch == 5 and first.update_id == 12 and first.event_time_ms == 12
    assert list(first.bid_price) == [9.5, 9.0, 8.0] and first.bid_known_to == 8.0
    assert list(first.ask_price) == [10.5, 11.0, 13.0] and first.ask_known_to == 13.0
    assert list(second.bid_price) == [9.0, 8.0] and second.bid_known_to == 8.0
    # the changes lead from one row to the next, the cut included
    assert second.changes_since == 12 and list(second.bid_changes.price) == [9.5]
    assert list(second.bid_changes.quantity) == [0]
    assert not any(len(channel) for channel in world.questions), "there is nothing to ask by REST"


def test_a_gap_is_answered_by_a_subscription_anew() -> None:
    world = World()
    world.begin()
    world.say("delta", 12, 12)
    assert world.keeper.states == {"ABCUSDT": SyncState.WAITING_FOR_SNAPSHOT}
    assert world.sent == [(world.feed, (b"unsubscribe book.ABCUSDT", b"subscribe book.ABCUSDT"))]
    world.begin(15)
    assert world.keeper.states == {"ABCUSDT": SyncState.SYNCED}
    kinds = [event.kind for event in world.recorded(BookEvent)]
    assert kinds == [BookEventKind.RESYNC, BookEventKind.GAP, BookEventKind.RESYNC]


def test_a_broken_checksum_is_recorded_and_rebuilt() -> None:
    world = World()
    world.begin()
    world.say("broken", 0, 0)
    (broken,) = [event for event in world.recorded(BookEvent) if event.kind is BookEventKind.AUDIT]
    assert broken.detail == "checksum differs" and broken.from_update_id == 10
    assert len(world.sent) == 1
    world.say("broken", 0, 0)
    assert len(world.sent) == 1, "a book that is lost already cannot be lost again"
    world.begin(20)
    assert world.keeper.states == {"ABCUSDT": SyncState.SYNCED}


def test_resubscriptions_that_do_not_help_come_slower() -> None:
    world = World()
    world.begin()
    for number in range(8):
        world.say("delta", 100 * (number + 1), 100 * (number + 1))
        world.keeper.tick(world.now_s)
        world.begin(1000 * (number + 1))
    assert world.keeper.states == {"ABCUSDT": SyncState.SYNCED}
    world.say("delta", 50_000, 50_000)
    sent = len(world.sent)
    world.keeper.tick(world.now_s + 0.05)
    assert len(world.sent) == sent, "it waits for its time"
    world.keeper.tick(world.now_s + 61.0)
    assert len(world.sent) == sent + 1


@pytest.mark.parametrize("connected", [True, False])
def test_a_keeper_that_failed_asks_for_its_books_anew(connected: bool) -> None:
    world = World()
    world.begin()
    if not connected:
        world.keeper.handle(StreamDown("plain", world.feed, ("book.ABCUSDT",), "closed"), world.now_s)
    stopped = threading.Event()
    stopped.set()
    world.keeper.run(stopped)  # as the supervisor would after a failure
    assert world.keeper.states["ABCUSDT"] is not SyncState.SYNCED
    assert len(world.sent) == connected
    if not connected:
        world.up()
    world.say("delta", 11, 11)
    world.begin(11)
    assert world.keeper.states == {"ABCUSDT": SyncState.SYNCED}


def test_a_silent_stream_is_asked_for_anew_where_nobody_else_can_be_asked() -> None:
    world = World()
    world.begin()
    for number in range(11, 40):
        world.now_s += 0.1
        world.say("delta", number, number)
    for _ in range(200):
        world.now_s += 1.0
        world.keeper.tick(world.now_s)
        if world.sent:
            break
    assert [event.kind for event in world.recorded(BookEvent)].count(BookEventKind.STALL) == 1
    assert world.sent and world.keeper.states == {"ABCUSDT": SyncState.WAITING_FOR_SNAPSHOT}


def test_gaps_are_told_with_their_ids() -> None:
    sync = synced("a")
    sync.on_update(one(105), 0, 1.0, "a")
    (gap,) = effects(sync, GapFound)
    assert (gap.expected, gap.first_update_id, gap.last_update_id) == (101, 105, 105)


def kept_on(feed: str, symbol: str, *, stands: bool) -> Any:
    state = SyncState.SYNCED if stands else SyncState.WAITING_FOR_SNAPSHOT
    sync = SimpleNamespace(feeds=frozenset({feed}), state=state, wants=lambda token: True)
    return SimpleNamespace(symbol=symbol, stream=f"book.{symbol}", sync=sync)


@pytest.mark.parametrize(
    ("feed", "stands", "reconnects"),
    [("a", True, False), ("a", False, True), ("b", True, True)],
    ids=["another book stands on it", "none stands", "they stand elsewhere"],
)
def test_a_symbol_that_never_comes_costs_no_other_book_its_connection(
    feed: str, stands: bool, reconnects: bool
) -> None:
    did: list[tuple[str, str]] = []
    outlets = FeedOutlets(
        lambda group, feed, streams: None,
        lambda feed, reason: None,
        lambda feed, reason: did.append(("reconnect", feed)),
        lambda feed, texts: did.append(("send", feed)),
    )
    missing = kept_on("a", "NEVERUSDT", stands=False)
    books = {"NEVERUSDT": missing, "ABCUSDT": kept_on(feed, "ABCUSDT", stands=stands)}
    resubscriptions = Resubscriptions(lambda: books, lambda stream: (stream.encode(),), outlets)
    resubscriptions.ask(missing, Resubscribe(1, "a", 0.0, reconnect=True), 1.0)
    assert did == [("reconnect" if reconnects else "send", "a")]


def test_a_level_that_has_left_the_window_is_never_the_top_again() -> None:
    """The venue says nothing of what becomes of it out there, also where every change of the top is published."""
    world = World(top_interval_ms=0)
    world.begin()
    world.say("delta", 11, 11, asks='[["10.1","1"],["10.2","1"],["10.3","1"]]')
    # 11, 12 and 13 have fallen out of the window, and were cancelled there
    world.say("delta", 12, 12, asks='[["10.1","0"],["10.2","0"],["10.3","0"],["14","1"],["15","1"],["16","1"]]')
    tops = [world.tops.take(0) for _ in range(len(world.tops))]
    assert [(top.update_id, top.bid, top.ask) for top in tops] == [(11, 9.0, 10.1), (12, 9.0, 14.0)]
