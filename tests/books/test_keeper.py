"""The keeper, driven by hand: no threads, no sockets, a market of a few symbols."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from binmon.books.feeds import FeedOutlets
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.kept import KeptBook
from binmon.books.stalls import Findings, Stall
from binmon.books.sync import BookSync, SyncState
from binmon.books.views import BookAsked, ask
from binmon.core.channel import Channel, Overflow
from binmon.messages import (
    BookEvent,
    BookEventKind,
    BookSnapshot,
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
)
from binmon.net.rotation import RotationWindow
from binmon.venues.base import BookRules
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.binance.market import depth_weight
from tests.books.market import Market, levels

BIDS = [(100 - number, 5) for number in range(40)]
ASKS = [(101 + number, 5) for number in range(40)]


class Daemon:
    """A keeper with everything around it that it would have, in the hands of the test."""

    def __init__(self, *symbols: str, depth: int = 5000, redundancy: int = 1, every: int = 3) -> None:
        self.now_s = time.monotonic()
        self.markets = {symbol: Market(symbol, BIDS, ASKS) for symbol in symbols}
        self.opened: list[tuple[str, tuple]] = []
        self.closed: list[str] = []
        self.reconnected: list[str] = []
        self.up: dict[str, tuple] = {}

        def channel(name: str) -> Channel[Any]:
            return Channel(name, 1000, Overflow.DROP_NEWEST)

        self.channels = {name: channel(name) for name in ("initial", "resync", "upkeep", "probes")}
        self.recorder, self.tops = channel("recorder"), channel("tops")
        venue: Any = SimpleNamespace(
            name="binance",
            streams_per_connection=1024,
            decoder=BinanceDecoder,
            depth_stream=lambda symbol: f"{symbol.lower()}@depth@100ms",
            snapshot_weight=depth_weight,
            book_rules=BookRules(),
            resubscription=lambda stream: (),
        )
        feeds = FeedOutlets(
            lambda group, feed, streams: self.opened.append((feed, streams)),
            lambda feed, reason: self.closed.append(feed),
            lambda feed, reason: self.reconnected.append(feed),
        )
        self.keeper = BookKeeper(
            "books",
            venue,
            dict.fromkeys(symbols, 7),
            channel("inbox"),
            KeeperOutlets(*self.channels.values(), self.recorder, self.tops, feeds),
            KeeperSettings(every, depth, 0, 1000, redundancy=redundancy, audit_interval_s=60.0),
        )
        stopped = threading.Event()
        stopped.set()
        self.keeper.run(stopped)  # it opens its sockets, and finds nothing else to do

    def handle(self, message: Any) -> None:
        self.keeper.handle(message, self.now_s)

    def connect(self, feed: str | None = None) -> str:
        """The socket asked for last (or ``feed``) comes up."""
        name, streams = next(one for one in reversed(self.opened) if feed in (None, one[0]))
        self.up[name] = streams
        self.handle(StreamUp("binance", name, streams, 0))
        return name

    def disconnect(self, feed: str) -> None:
        self.handle(StreamDown("binance", feed, self.up.pop(feed), "closed by the venue"))

    def deliver(self, frame: bytes, *feeds: str) -> None:
        for feed in feeds or tuple(self.up):
            self.handle(FrameChunk(feed, time.time_ns(), int(self.now_s * 1e9), (frame,)))

    def move(self, symbol: str, *steps: tuple[str, int, int]) -> None:
        self.deliver(self.markets[symbol].move(*steps))

    def wait(self, seconds: float) -> None:
        """In steps, as the thread would, with a move of every market in each."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 0.25
            self.keeper.tick(self.now_s)

    def wanted(self) -> list[SnapshotWanted]:
        taken = []
        for channel in self.channels.values():
            while (one := channel.take(0)) is not None:
                taken.append(one)
        return taken

    def answer(self, only: Any = None) -> list[SnapshotWanted]:
        asked = [one for one in self.wanted() if only is None or one.priority is only]
        for one in asked:
            snapshot = self.markets[one.symbol].snapshot(limit=one.limit)
            self.handle(SnapshotArrived(one.token, snapshot))
        return asked

    def recorded(self, kind: type) -> list:
        taken = []
        while (one := self.recorder.take(0)) is not None:
            if isinstance(one, kind):
                taken.append(one)
        return taken

    def state(self, symbol: str) -> SyncState:
        return self.keeper.states[symbol]

    def under_way(self) -> int:
        """What upkeep still follows: nothing of it may be left behind."""
        upkeep = self.keeper._upkeep
        followers = sum(len(kept.followers) for kept in self.keeper._kept.values())
        assert followers == len(upkeep._tasks)
        return followers


def in_step(*symbols: str, **options: Any) -> Daemon:
    daemon = Daemon(*(symbols or ("ABCUSDT",)), **options)
    for feed, _ in list(daemon.opened):
        daemon.connect(feed)
    for symbol in daemon.markets:
        daemon.move(symbol)
    daemon.answer()
    assert set(daemon.keeper.states.values()) == {SyncState.SYNCED}
    return daemon


def begin_audit(daemon: Daemon) -> SnapshotWanted:
    for _ in range(400):
        daemon.wait(0.25)
        asked = [one for one in daemon.wanted() if one.priority is Priority.AUDIT]
        if asked:
            return asked[0]
    raise AssertionError("no audit within its interval")


def test_books_come_into_step_and_rows_follow() -> None:
    daemon = Daemon("ABCUSDT", "XYZUSDT")
    (_, streams), *others = daemon.opened
    assert not others and set(streams) == {"abcusdt@depth@100ms", "xyzusdt@depth@100ms"}
    daemon.connect()
    assert daemon.wanted() == [], "no event yet"
    daemon.move("ABCUSDT", ("b", 99, 1))
    (asked,) = daemon.answer()
    assert (asked.symbol, asked.limit, asked.priority) == ("ABCUSDT", 5000, Priority.INITIAL_SYNC)
    assert daemon.state("ABCUSDT") is SyncState.SYNCED and daemon.state("XYZUSDT") is SyncState.WAITING_FOR_EVENTS
    for lots in range(1, 7):
        daemon.move("ABCUSDT", ("a", 101, lots))
    first, second = daemon.recorded(BookSnapshot)
    assert (first.epoch, first.updates, first.changes_since) == (8, 3, None)
    assert second.changes_since == first.update_id and second.ask_changes.quantity.tolist() == [0.004, 0.005, 0.006]
    assert levels((second.bid_price, second.bid_quantity)) == daemon.markets["ABCUSDT"].sides()[0]


def test_a_gap_concerns_one_symbol() -> None:
    daemon = in_step("ABCUSDT", "XYZUSDT")
    daemon.recorded(BookEvent)
    daemon.markets["ABCUSDT"].move()  # lost
    with capture_logs() as logs:
        daemon.move("ABCUSDT")
    assert [line["event"] for line in logs] == ["book.gap", "book.state"]
    (gap,) = daemon.recorded(BookEvent)
    assert gap.kind is BookEventKind.GAP and (gap.symbol, gap.from_update_id, gap.to_update_id) == ("ABCUSDT", 101, 103)
    assert daemon.state("XYZUSDT") is SyncState.SYNCED
    (asked,) = daemon.answer()
    assert asked.priority is Priority.RESYNC and daemon.state("ABCUSDT") is SyncState.SYNCED
    (resync,) = daemon.recorded(BookEvent)
    assert resync.kind is BookEventKind.RESYNC and resync.detail == "epoch 9: gap"


def test_a_right_book_passes_its_audit() -> None:
    daemon = in_step()
    daemon.recorded(BookEvent)
    asked = begin_audit(daemon)
    assert daemon.under_way() == 1
    daemon.move("ABCUSDT", ("b", 99, 3))
    snapshot = daemon.markets["ABCUSDT"].snapshot(limit=asked.limit)
    daemon.move("ABCUSDT", ("b", 98, 3))
    with capture_logs() as logs:
        daemon.handle(SnapshotArrived(asked.token, snapshot))
    (line,) = [line for line in logs if line["event"] == "book.audit"]
    assert line["log_level"] == "info" and (line["levels"], line["mismatches"]) == (80, 0)
    (event,) = daemon.recorded(BookEvent)
    assert event.kind is BookEventKind.AUDIT and event.to_update_id == snapshot.last_update_id
    assert daemon.under_way() == 0 and daemon.keeper.counters()["audits_passed"] == 1


def test_a_wrong_book_is_told_kept_as_evidence_and_rebuilt() -> None:
    daemon = in_step()
    market = daemon.markets["ABCUSDT"]
    # the venue has a level that its stream never told of
    bids, asks = market.states[market.update_id]
    market.states[market.update_id] = ({**bids, 97: 9}, asks)
    asked = begin_audit(daemon)
    daemon.recorder, kept = daemon.keeper._outlets.recorder, []
    daemon.recorded(object)
    with capture_logs() as logs:
        daemon.handle(SnapshotArrived(asked.token, market.snapshot(limit=asked.limit)))
    audit, *_ = [line for line in logs if line["event"] == "book.audit"]
    assert audit["log_level"] == "error" and audit["mismatches"] == 1 and "0.97" in audit["found"]
    kept = daemon.recorded(object)
    evidence, event = kept[0], kept[1]
    assert isinstance(evidence, Evidence) and isinstance(event, BookEvent) and event.kind is BookEventKind.AUDIT
    document = json.loads(evidence.document)
    assert document["mismatches"] == [
        {"side": "bid", "price": 0.97, "book_quantity": 0.005, "venue_quantity": 0.009}
    ] and {"book", "updates", "snapshot"} <= set(document)
    assert daemon.state("ABCUSDT") is SyncState.WAITING_FOR_SNAPSHOT and daemon.under_way() == 0
    daemon.answer()
    assert daemon.state("ABCUSDT") is SyncState.SYNCED
    assert levels(daemon.keeper._kept["ABCUSDT"].book.bids())[3] == (97, 9)
    (resync,) = daemon.recorded(BookEvent)
    assert resync.detail == "epoch 9: failed audit"


def test_a_book_near_its_edge_is_renewed_beside_the_live_one() -> None:
    daemon = in_step(depth=10)
    for ticks in range(100, 92, -1):  # the market falls through eight of the ten bids that were seen
        daemon.move("ABCUSDT", ("b", ticks, 0), ("a", ticks + 1, 5))
    daemon.wait(1.0)
    daemon.recorded(object)
    asked = [one for one in daemon.wanted() if one.limit == 10]
    assert len(asked) == 1 and asked[0].priority is Priority.INITIAL_SYNC
    snapshot = daemon.markets["ABCUSDT"].snapshot(limit=10)
    daemon.move("ABCUSDT", ("b", 92, 7))
    daemon.handle(SnapshotArrived(asked[0].token, snapshot))
    assert daemon.state("ABCUSDT") is SyncState.SYNCED
    events = daemon.recorded(BookEvent)
    assert [event.kind for event in events] == [BookEventKind.RESYNC] and "epoch 9: beside" in events[0].detail
    for lots in (1, 2, 3):
        daemon.move("ABCUSDT", ("b", 91, lots))
    row, *_ = daemon.recorded(BookSnapshot)
    assert row.epoch == 9 and row.changes_since is None and row.bid_known_to == 0.83
    assert daemon.under_way() == 0 and daemon.keeper._kept["ABCUSDT"].book.verified_share == 1.0
    for lots in (1, 2, 3):
        daemon.move("ABCUSDT", ("b", 91, lots))
    assert [row.changes_since is not None for row in daemon.recorded(BookSnapshot)] == [True]


def test_a_market_that_has_left_the_range_is_a_resync() -> None:
    daemon = in_step(depth=10)
    steps = [step for ticks in range(100, 90, -1) for step in (("b", ticks, 0), ("a", ticks + 1, 5))]
    daemon.move("ABCUSDT", *steps)
    daemon.wait(1.5)
    assert daemon.state("ABCUSDT") is SyncState.WAITING_FOR_SNAPSHOT
    assert daemon.under_way() == 0


def test_symbols_come_and_go() -> None:
    daemon = in_step("ABCUSDT")
    old = daemon.opened[-1][0]
    daemon.markets["NEWUSDT"] = Market("NEWUSDT", BIDS, ASKS)
    daemon.handle(SymbolsChanged("binance", (("NEWUSDT", 41),), ()))
    successor, streams = daemon.opened[-1]
    assert successor != old and set(streams) == {"abcusdt@depth@100ms", "newusdt@depth@100ms"}
    daemon.connect()
    daemon.deliver(daemon.markets["NEWUSDT"].move(), successor)
    daemon.move("ABCUSDT")
    daemon.answer()
    assert set(daemon.keeper.states.values()) == {SyncState.SYNCED}
    daemon.wait(6.0)
    assert daemon.closed == [old]
    daemon.disconnect(old)
    assert set(daemon.keeper.states.values()) == {SyncState.SYNCED} and daemon.keeper.counters()["gaps"] == 0
    assert daemon.keeper._kept["NEWUSDT"].sync.epoch == 42
    daemon.recorded(object)
    with structlog.testing.capture_logs() as lines:
        daemon.handle(SymbolsChanged("binance", (), ("NEWUSDT",)))
    (dropped,) = [line for line in lines if line["event"] == "book.dropped"]
    assert (dropped["venue"], dropped["symbol"], dropped["reason"]) == ("binance", "NEWUSDT", "no longer trading")
    (gone,) = daemon.recorded(BookEvent)
    assert (gone.symbol, gone.kind, gone.detail) == ("NEWUSDT", BookEventKind.DISCONNECT, "no longer trading")
    assert set(daemon.keeper.states) == {"ABCUSDT"} and daemon.opened[-1][1] == ("abcusdt@depth@100ms",)
    daemon.deliver(daemon.markets["NEWUSDT"].move(), successor)  # its stream runs on for a moment
    daemon.handle(SymbolsChanged("binance", (("NEWUSDT", 41),), ()))
    assert daemon.keeper._kept["NEWUSDT"].sync.epoch == 42, "its epochs go on"


def test_probes_of_symbols_that_have_gone_do_not_stay_under_way() -> None:
    symbols = [f"S{number}USDT" for number in range(8)]
    daemon = in_step(*symbols)
    for _ in range(20):
        daemon.now_s += 0.1
        for symbol in symbols:
            daemon.move(symbol)
    daemon.wait(8.0)  # all fall silent
    probed = {one.symbol for one in daemon.wanted() if one.limit == 5}
    assert len(probed) == 3
    daemon.handle(SymbolsChanged("binance", (), tuple(probed)))
    daemon.wait(3.0)
    assert {one.symbol for one in daemon.wanted() if one.limit == 5} - probed, "others are asked about now"


def test_a_shutdown_notice_opens_a_successor_and_the_rotation_is_recorded_for_each_symbol() -> None:
    daemon = in_step("ABCUSDT", "XYZUSDT")
    old = daemon.opened[-1][0]
    daemon.recorded(object)
    daemon.deliver(b'{"stream":"abcusdt@depth@100ms","data":{"e":"serverShutdown","E":5}}', old)
    new = daemon.opened[-1][0]
    assert new != old
    daemon.connect(new)
    for _ in range(14):
        daemon.move("ABCUSDT", ("b", 99, 1))
        daemon.move("XYZUSDT", ("b", 99, 1))
        daemon.wait(0.25)
    assert daemon.closed == [old]
    daemon.disconnect(old)
    rotations = [event for event in daemon.recorded(BookEvent) if event.kind is BookEventKind.ROTATION]
    assert sorted(event.symbol for event in rotations) == ["ABCUSDT", "XYZUSDT"]
    assert all(f"{old} -> {new}: serverShutdown, overlap" in event.detail for event in rotations)
    assert daemon.keeper.counters()["rotations"] == 1 and daemon.keeper.counters()["gaps"] == 0
    assert set(daemon.keeper.states.values()) == {SyncState.SYNCED}
    assert daemon.keeper.connections() == {new: "live"}
    daemon.handle(RotateFeeds("asked"))
    assert daemon.opened[-1][0] not in (old, new)


def test_with_a_hot_standby_a_loss_is_no_resync() -> None:
    daemon = in_step("ABCUSDT", redundancy=2)
    first, _ = daemon.up
    daemon.disconnect(first)
    daemon.move("ABCUSDT", ("b", 99, 1))
    assert daemon.state("ABCUSDT") is SyncState.SYNCED
    daemon.connect(first)
    daemon.move("ABCUSDT", ("b", 99, 2))
    assert daemon.keeper.counters()["gaps"] == 0 and daemon.keeper._kept["ABCUSDT"].sync.epoch == 8
    assert daemon.closed == []


def test_losing_the_only_socket_is_recorded_and_ends_what_was_under_way() -> None:
    daemon = in_step()
    asked = begin_audit(daemon)
    daemon.recorded(object)
    (feed,) = daemon.up
    daemon.disconnect(feed)
    (event,) = daemon.recorded(BookEvent)
    assert event.kind is BookEventKind.DISCONNECT and daemon.under_way() == 0
    daemon.handle(SnapshotArrived(asked.token, daemon.markets["ABCUSDT"].snapshot()))  # too late: nobody minds
    assert daemon.state("ABCUSDT") is SyncState.WAITING_FOR_EVENTS
    daemon.connect(feed)
    daemon.move("ABCUSDT")
    daemon.answer()
    assert daemon.state("ABCUSDT") is SyncState.SYNCED


def test_a_failed_snapshot_is_asked_for_again() -> None:
    daemon = Daemon("ABCUSDT")
    daemon.connect()
    daemon.move("ABCUSDT")
    (asked,) = daemon.wanted()
    daemon.handle(SnapshotFailed(asked.token, "binance", "ABCUSDT", "no", 3.0))
    daemon.wait(2.5)
    assert daemon.wanted() == []
    daemon.wait(1.0)
    assert len(daemon.answer()) == 1 and daemon.state("ABCUSDT") is SyncState.SYNCED


def test_after_a_failure_of_the_keeper_every_book_comes_back() -> None:
    daemon = Daemon("ABCUSDT")
    daemon.connect()
    daemon.move("ABCUSDT")
    assert len(daemon.wanted()) == 1  # and its answer is lost, with the keeper that failed over it
    stopped = threading.Event()
    stopped.set()
    daemon.keeper.run(stopped)
    daemon.move("ABCUSDT")
    daemon.wait(4.0)
    daemon.answer()
    assert daemon.state("ABCUSDT") is SyncState.SYNCED


def test_an_answer_for_a_symbol_that_was_let_go_is_not_taken_when_it_is_back() -> None:
    daemon = Daemon("ABCUSDT", "XYZUSDT")
    feed = daemon.connect()
    daemon.move("ABCUSDT")
    (asked,) = daemon.wanted()
    daemon.handle(SymbolsChanged("binance", (), ("ABCUSDT",)))
    daemon.handle(SymbolsChanged("binance", (("ABCUSDT", 0),), ()))
    daemon.deliver(daemon.markets["ABCUSDT"].move(), feed)
    daemon.handle(SnapshotArrived(asked.token, daemon.markets["ABCUSDT"].snapshot(limit=5)))
    assert daemon.state("ABCUSDT") is SyncState.WAITING_FOR_SNAPSHOT, "it may have been asked for with another limit"
    daemon.answer()
    assert daemon.state("ABCUSDT") is SyncState.SYNCED


def test_what_it_does_not_know_is_a_bug() -> None:
    with pytest.raises(TypeError, match="cannot handle str"):
        Daemon("ABCUSDT").handle("hello")


def test_a_cut_row_claims_to_know_no_more_than_it_holds() -> None:
    market = Market("ABCUSDT", BIDS, ASKS)
    kept = KeptBook("ABCUSDT", "abcusdt@depth@100ms", BookSync(), market.book(limit=40))
    whole, cut = kept.row("binance", 0), kept.row("binance", 3)
    assert whole is not None and (whole.bid_known_to, whole.ask_known_to) == (0.61, 1.4)
    assert cut is not None and cut.bid_price.tolist() == [1.0, 0.99, 0.98]
    assert (cut.bid_known_to, cut.ask_known_to) == (0.98, 1.03)
    assert cut.changes_since is None and cut.previous_id == whole.update_id, "a loss between the two can be noticed"
    thin = kept.row("binance", 100)
    assert thin is not None and (thin.bid_known_to, thin.ask_known_to) == (0.61, 1.4)


def test_a_dead_stream_takes_down_its_own_book_alone() -> None:
    daemon = in_step("ABCUSDT", "XYZUSDT")
    (feed,) = daemon.up
    daemon.keeper._stalls.check = lambda now_s, book_id: Findings([], [Stall("xyzusdt@depth@100ms", 200, 100)])
    daemon.move("ABCUSDT", ("b", 99, 1))
    daemon.wait(1.0)
    assert daemon.state("XYZUSDT") is SyncState.WAITING_FOR_SNAPSHOT and daemon.state("ABCUSDT") is SyncState.SYNCED
    assert daemon.reconnected == [] and daemon.opened[-1][0] != feed, "a successor, and nobody is thrown out"


def test_a_dead_socket_is_connected_anew() -> None:
    daemon = in_step("ABCUSDT")
    daemon.keeper._stalls.check = lambda now_s, book_id: Findings([], [Stall("abcusdt@depth@100ms", 200, 100)])
    daemon.wait(1.0)
    assert daemon.reconnected == [daemon.opened[-1][0]]


# Other settings ------------------------------------------------------------------------------------------------------


def test_other_settings_hold_from_the_next_update_on() -> None:
    daemon = in_step(every=2)
    daemon.recorded(BookSnapshot)
    daemon.move("ABCUSDT", ("b", 99, 1))
    daemon.handle(KeeperSettings(4, 5000, 3, 1000, audit_interval_s=60.0))
    for lots in range(2, 5):
        daemon.move("ABCUSDT", ("b", 99, lots))
    (row,) = daemon.recorded(BookSnapshot)
    assert (row.updates, row.bid_price.size, row.changes_since) == (4, 3, None)
    daemon.handle(KeeperSettings(1, 5000, 0, 1000, audit_interval_s=60.0))
    daemon.move("ABCUSDT", ("b", 99, 1))
    daemon.move("ABCUSDT", ("b", 99, 2))
    first, second = daemon.recorded(BookSnapshot)
    # the row before was cut: changes to it would leave out what lies beyond
    assert first.bid_price.size == 40 and first.changes_since is None and second.changes_since == first.update_id
    daemon.handle(KeeperSettings(1, 5000, 0, 1000, audit_interval_s=60.0))
    daemon.move("ABCUSDT", ("b", 99, 3))
    (third,) = daemon.recorded(BookSnapshot)
    assert third.changes_since == second.update_id, "what stays the same breaks no chain"
    assert daemon.closed == daemon.reconnected == [] and daemon.state("ABCUSDT") is SyncState.SYNCED


def test_tops_at_another_pace() -> None:
    daemon = in_step("ABCUSDT", "XYZUSDT", every=1000)
    daemon.wait(1.0)

    def tops() -> list[tuple[str, Any]]:
        taken = []
        while (top := daemon.tops.take(0)) is not None:
            assert (top.bid, top.ask) == (1.0, 1.01)
            taken.append((top.symbol, top.bid_quantity))
        return taken

    assert len(tops()) == 2
    daemon.handle(KeeperSettings(1000, 5000, 0, 0, audit_interval_s=60.0))
    daemon.move("ABCUSDT", ("b", 100, 7))
    daemon.move("ABCUSDT", ("b", 90, 7))
    daemon.move("ABCUSDT", ("b", 100, 8))
    assert tops() == [("ABCUSDT", 0.007), ("ABCUSDT", 0.008)], "every change of the top, and nothing else"
    daemon.wait(5.0)
    assert tops() == []
    daemon.handle(KeeperSettings(1000, 5000, 0, 60_000, audit_interval_s=60.0))
    daemon.move("ABCUSDT", ("b", 100, 9))
    daemon.wait(1.0)
    tops()
    daemon.wait(30.0)
    assert tops() == []
    daemon.handle(KeeperSettings(1000, 5000, 0, 500, audit_interval_s=60.0))
    daemon.wait(2.0)
    assert len(tops()) >= 6, "nobody waits for the end of the longer pause"


def test_another_window_concerns_sockets_that_are_open_too() -> None:
    daemon = in_step()
    window = RotationWindow.parse("11:00-12:00")
    daemon.handle(KeeperSettings(3, 5000, 0, 1000, audit_interval_s=60.0, rotate_window=window))
    assert [group.window for group in daemon.keeper._desk._groups.values()] == [window]
    daemon.handle(SymbolsChanged("binance", (("XYZUSDT", 0),), ("ABCUSDT",), "no longer selected"))
    assert "no longer selected" in [event.detail for event in daemon.recorded(BookEvent)]


def test_a_book_can_be_looked_at_from_another_thread() -> None:
    world = Daemon("ABCUSDT")
    asked: list[Any] = []
    world.handle(BookAsked("ABCUSDT", 2, asked.append))
    world.handle(BookAsked("NONEUSDT", 2, asked.append))
    assert asked.pop() is None and not asked.pop().synced
    world.connect()
    world.move("ABCUSDT")
    world.answer()
    world.move("ABCUSDT", ("b", 1, 7))
    world.handle(BookAsked("ABCUSDT", 2, asked.append))
    world.handle(BookAsked("ABCUSDT", 0, asked.append))
    cut, whole = asked
    bids, asks = world.markets["ABCUSDT"].sides()
    assert cut.synced and cut.update_id == world.markets["ABCUSDT"].update_id and cut.age_ms is not None
    assert list(cut.bid_price) == [ticks / 100 for ticks, _ in bids[:2]]
    assert list(whole.bid_quantity) == [lots / 1000 for _, lots in bids]
    assert list(whole.ask_price) == [ticks / 100 for ticks, _ in asks]
    with pytest.raises(TimeoutError, match="has not answered"):
        ask(Channel("inbox", 1, Overflow.DROP_NEWEST), "ABCUSDT", 1, 0.01)
