"""The watcher of new symbols: switched on and off, and a venue without the stream that it would listen to."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.core.channel import Channel, Overflow
from binmon.messages import Instrument, StreamUp, SymbolsArrived, SymbolsFailed, SymbolsWanted
from binmon.net.rotation import RotationWindow
from binmon.state import State
from binmon.watch.feeds import WatchFeeds, WatchSockets
from binmon.watch.known import KnownSymbols
from binmon.watch.listing_watcher import ListingSettings, ListingWatcher

ZERO = Decimal(0)
LISTED = {"BTCUSDT": Instrument("binance", "BTCUSDT", "BTC", "USDT", "TRADING", ZERO, ZERO)}


class World:
    """A watcher in the hand of the test: time is what it says, and sockets are up when it says so."""

    def __init__(self, directory: Path) -> None:
        self.open: list[str] = []
        self.asked: list[int] = []
        self.state = State(directory / "state.db")
        self.now_s = time.monotonic()
        sockets = WatchSockets(
            lambda group, feed, streams: self.open.append(feed),
            lambda feed, reason: self.open.remove(feed),
            lambda feed, reason: None,
        )
        venue: Any = SimpleNamespace(name="binance", listing_stream=lambda: "all", decoder=lambda: None)
        inbox: Channel[Any] = Channel("inbox", 10, Overflow.DROP_NEWEST)
        self.watcher = ListingWatcher(
            "symbols",
            venue,
            KnownSymbols(self.state),
            ListingSettings(10.0),
            inbox=inbox,
            wanted=SimpleNamespace(offer=self._ask),  # type: ignore[arg-type]
            signals=SimpleNamespace(offer=lambda message: True),  # type: ignore[arg-type]
            feeds=WatchFeeds("binance", "symbols", sockets, RotationWindow.parse("03:00-05:00")),
        )
        self.watcher._listen(True)
        self.answers = True

    def _ask(self, wanted: SymbolsWanted) -> bool:
        self.asked.append(wanted.token)
        return True

    def up(self) -> None:
        (feed,) = self.open
        self.watcher.take(StreamUp("binance", feed, ("all",), time.monotonic_ns()))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now_s += 1.0
            self.watcher.tick(self.now_s, time.time())
            while self.asked:
                now_ns, token = time.monotonic_ns(), self.asked.pop(0)
                answer: Any = SymbolsArrived(token, LISTED, now_ns, now_ns)
                self.watcher.take(answer if self.answers else SymbolsFailed(token, "no route", 1.0))


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    yield made
    made.state.close()


def test_a_venue_without_the_stream_is_asked_for_its_list_alone(world: World) -> None:
    with capture_logs() as logs:
        world.pass_time(40)
        assert world.open
        world.pass_time(10)
        assert world.open == [], "no socket fails for ever"
        world.pass_time(300)
    said = [line["event"] for line in logs if line["event"] == "symbols.stream_missing"]
    assert said == ["symbols.stream_missing"], "once"
    assert world.watcher.known_count == 1
    while not world.open:
        world.pass_time(1)
    world.up()
    world.pass_time(200)
    assert len(world.open) == 1, "tried again, and there it is"


def test_while_the_venue_does_not_answer_either_the_stream_is_waited_for(world: World) -> None:
    world.answers = False
    with capture_logs() as logs:
        world.pass_time(200)
    assert len(world.open) == 1 and "symbols.stream_missing" not in [line["event"] for line in logs]


def test_switched_off_it_neither_listens_nor_asks(world: World) -> None:
    world.up()
    world.pass_time(20)
    world.watcher.take(ListingSettings(10.0, enabled=False))
    assert world.open == [] and not world.watcher.enabled
    before = world.watcher.progress_count
    world.pass_time(300)
    assert world.open == [] and world.watcher.progress_count == before
    world.watcher.take(ListingSettings(5.0))
    assert len(world.open) == 1
    world.pass_time(10)
    assert world.watcher.progress_count > before and world.watcher.instruments is LISTED
