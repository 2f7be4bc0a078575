"""A keeper that fails at whatever line, and is run again: its books come back, and it knows its sockets and symbols."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import binmon.books.feeds
import binmon.books.keeper
import binmon.books.upkeep
from binmon.books.sync import SyncState
from binmon.messages import FrameChunk, SnapshotArrived, StreamDown, StreamUp, SymbolsChanged
from tests.books.market import Market, levels
from tests.books.test_keeper import ASKS, BIDS, Daemon, begin_audit, in_step
from tests.core.interruptions import Interrupted, interrupt, places

MODULES = (binmon.books.keeper, binmon.books.feeds, binmon.books.upkeep)


class Work:
    """Two symbols come into step; one of them goes and another comes, and the socket is lost and comes back."""

    def __init__(self) -> None:
        self.daemon = Daemon("ABCUSDT", "XYZUSDT", every=2)
        self.inbox: Any = self.daemon.keeper._inbox
        self.up: dict[str, tuple[str, ...]] = {}
        self.daemon.markets["NEWUSDT"] = Market("NEWUSDT", BIDS, ASKS)
        self.stop = threading.Event()
        self.stop.set()
        change = SymbolsChanged("binance", (("NEWUSDT", 3),), ("XYZUSDT",))
        self.left: list[Callable[[], object]] = [
            self.answer,
            self.move,
            self.answer,
            self.move,
            lambda: self.inbox.offer(change),
            self.answer,
            self.move,
            self.answer,
            self.move,
            self.lose,
            self.answer,
            self.move,
            self.answer,
        ]

    def __call__(self) -> None:
        while True:
            self.daemon.keeper.run(self.stop)  # until its inbox is empty
            if not self.left:
                return
            self.left.pop(0)()

    def answer(self) -> None:
        """What the venue does: sockets come up and end, snapshots are given."""
        daemon = self.daemon
        for feed, streams in daemon.opened:
            if feed not in self.up and feed not in daemon.closed:
                self.up[feed] = streams
                self.inbox.offer(StreamUp("binance", feed, streams, 0))
        for feed in daemon.closed:
            if feed in self.up:
                self.inbox.offer(StreamDown("binance", feed, self.up.pop(feed), "rotated"))
        for wanted in daemon.wanted():
            snapshot = daemon.markets[wanted.symbol].snapshot(limit=wanted.limit)
            self.inbox.offer(SnapshotArrived(wanted.token, snapshot))

    def move(self) -> None:
        for symbol, market in self.daemon.markets.items():
            for lots in (1, 2):
                frame = market.move(("b", 90, lots + market.update_id))
                for feed, streams in self.up.items():
                    if f"{symbol.lower()}@depth@100ms" in streams:
                        self.inbox.offer(FrameChunk(feed, time.time_ns(), time.monotonic_ns(), (frame,)))

    def lose(self) -> None:
        for feed, streams in self.up.items():
            self.inbox.offer(StreamDown("binance", feed, streams, "reset"))
        self.up.clear()

    def settle(self) -> None:
        """Some time passes."""
        for _ in range(60):
            self.answer()
            self.move()
            while (message := self.inbox.take(0)) is not None:
                self.daemon.handle(message)
            self.daemon.wait(0.5)


def check(work: Work) -> None:
    daemon, keeper = work.daemon, work.daemon.keeper
    assert keeper.states == {"ABCUSDT": SyncState.SYNCED, "NEWUSDT": SyncState.SYNCED}
    for symbol in keeper.states:
        book = keeper._kept[symbol].book
        book.settle()
        assert (levels(book.bids()), levels(book.asks())) == daemon.markets[symbol].sides()
    (feed,) = work.up
    assert keeper.connections() == {feed: "live"}
    assert set(work.up[feed]) == set(keeper._by_stream) == {"abcusdt@depth@100ms", "newusdt@depth@100ms"}
    assert {turn[1] for turn in keeper._upkeep._due} >= set(keeper.states)
    assert keeper._former_epochs["XYZUSDT"] >= 7 and keeper._kept["NEWUSDT"].sync.epoch > 3


@pytest.mark.timeout(300)
def test_books_sockets_and_symbols_come_back() -> None:
    whole = Work()
    numbers = list(places(whole, *MODULES, each=1))
    whole.settle()
    check(whole)
    assert len(numbers) > 150
    for number in numbers:
        work = Work()
        assert interrupt(work, number, *MODULES)
        work()
        work.settle()
        try:
            check(work)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"interrupted at {number}: {error}") from error


def test_a_book_whose_audit_failed_in_the_midst_has_its_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = in_step()

    def failing(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as broken:
        broken.setattr(daemon.keeper._upkeep, "_plan", failing)
        with pytest.raises(Interrupted):
            daemon.wait(100.0)
    stop = threading.Event()
    stop.set()
    daemon.keeper.run(stop)
    daemon.move("ABCUSDT")
    daemon.answer()
    assert daemon.under_way() == 0 and daemon.state("ABCUSDT") is SyncState.SYNCED
    assert begin_audit(daemon).symbol == "ABCUSDT"
