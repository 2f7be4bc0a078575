"""The watchers against the local exchange, over real sockets: cuts, rotations, crossings, listings."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.messages import (
    AlertSignal,
    Candle,
    CandlesChanged,
    FirstSeenBy,
    PriceCrossed,
    PriceReturned,
    Priority,
    RotateFeeds,
    SymbolListed,
    SymbolStatus,
    Trade,
)
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.net.rotation import RotationWindow
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.state import State
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.watching import BinanceWatching
from binmon.venues.sockets import Sockets
from binmon.venues.watching import watch_connections
from binmon.watch.candles import CandleRule, CandleRules, CandleWatcher
from binmon.watch.feeds import WatchFeeds, WatchSockets
from binmon.watch.fetcher import WatchFetcher
from binmon.watch.known import KnownSymbols
from binmon.watch.listing_watcher import ListingSettings, ListingWatcher
from binmon.watch.series import SeriesState
from binmon.watch.thresholds import Direction, Line, Side
from binmon.watch.trades import TradeRule, TradeRules, TradeWatcher

pytestmark = pytest.mark.timeout(300)

WITHIN_S = 60.0
STOP = threading.Event()


class Listener:
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def offer(self, message: Any) -> bool:
        self.told.append(message)
        return True

    def of(self, kind: type) -> list:
        return [one for one in list(self.told) if isinstance(one, kind)]


class Floor:
    """A supervisor with what a watcher stands on."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ledger = RateLedger("binance")
        rest = RestSession("binance", sandbox.rest_url, self.ledger)
        market = BinanceMarket(rest, self.ledger, sandbox.stream_url)
        self.venue = BinanceWatching(market, rest, sandbox.stream_url)
        self.supervisor = Supervisor()
        self.inbox: Channel[Any] = Channel("watch", 10_000, Overflow.DROP_NEWEST)
        self.wanted: Channel[Any] = Channel("watch-wanted", 100, Overflow.DROP_NEWEST)
        self.signals, self.heard = Listener(), Listener()
        self.sockets = Sockets(watch_connections(self.venue, self.inbox, self.ledger), self.supervisor, self.ledger)

    def parts(self) -> dict[str, Any]:
        sockets = WatchSockets(self.sockets.open, self.sockets.close, self.sockets.reconnect)
        feeds = WatchFeeds("binance", "binance-watch", sockets, RotationWindow.parse("03:00-05:00"))
        return {
            "inbox": self.inbox, "wanted": self.wanted, "signals": self.signals, "listeners": (self.heard,),
            "feeds": feeds,
        }  # fmt: skip

    def start(self, watcher: Any) -> None:
        self.supervisor.add(WatchFetcher("fetcher", self.venue, self.wanted, self.inbox), stage=0)
        self.supervisor.add(watcher, stage=1)

    def until(self, true: Callable[[], object]) -> None:
        end_s = time.monotonic() + WITHIN_S
        while not true():
            assert time.monotonic() < end_s, (self.supervisor.statuses(), self.heard.told[-3:])
            self.supervisor.tick(time.monotonic())
            STOP.wait(0.02)

    def pass_time(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end_s)

    def fault(self, kind: str, **options: Any) -> None:
        answer = requests.post(f"{self.sandbox.rest_url}/sandbox/faults", json={"kind": kind, **options}, timeout=30)
        assert answer.ok, answer.text


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=40.0)) as running:
        yield running


@pytest.fixture
def floor(sandbox: Sandbox) -> Iterator[Floor]:
    made = Floor(sandbox)
    yield made
    assert made.supervisor.stop(Deadline(30)) == []


def history(floor: Floor, interval: str) -> dict[int, Candle]:
    rows = floor.venue.candles("BTCUSDT", interval, None, None, 1000, Priority.AUDIT, STOP)
    return {row.open_time_ms: row for row in rows}


def check_series(floor: Floor, watcher: CandleWatcher, interval: str) -> None:
    """The series is the venue's history; and nobody ever saw a closed candle change."""
    view = watcher.views["BTCUSDT", interval]
    there = history(floor, interval)
    opened = [one.open_time_ms for one in view.candles]
    assert all(after.open_time_ms == before.close_time_ms + 1 for before, after in itertools.pairwise(view.candles)), (
        "no hole, no double"
    )
    for one in view.candles[:-1]:
        assert one.closed
        if one.open_time_ms in there:
            assert one.figures == there[one.open_time_ms].figures
    assert len(opened) > 100
    assert view.corrections == 0
    closed: dict[int, tuple] = {}
    for told in floor.heard.of(CandlesChanged):
        for one in told.candles:
            if told.interval == interval and one.closed:
                assert closed.setdefault(one.open_time_ms, one.figures) == one.figures


def test_candles_stay_the_venues_over_cuts_stalls_and_rotations(floor: Floor) -> None:
    rules = (CandleRule("BTCUSDT", "1s"), CandleRule("BTCUSDT", "1m"))
    watcher = CandleWatcher("candles", floor.venue, rules, history=300, **floor.parts())
    floor.start(watcher)

    def live() -> bool:
        return len(watcher.views) == 2 and all(
            one.state is SeriesState.LIVE and one.candles for one in watcher.views.values()
        )

    def moved_on() -> None:
        count = len([one for one in floor.heard.of(CandlesChanged) if one.interval == "1s" and not one.whole])
        floor.until(
            lambda: (
                len([one for one in floor.heard.of(CandlesChanged) if one.interval == "1s" and not one.whole])
                > count + 3
            )
        )
        floor.until(live)

    floor.until(live)
    moved_on()
    check_series(floor, watcher, "1s")
    floor.fault("disconnect", mode="rst")
    moved_on()
    floor.fault("refuse_connections", seconds=4)
    floor.fault("disconnect", mode="abrupt")
    moved_on()
    check_series(floor, watcher, "1s")
    floor.fault("stall", seconds=4)  # open, and silent
    floor.pass_time(4.5)
    moved_on()
    check_series(floor, watcher, "1s")
    floor.inbox.put(RotateFeeds("asked"), 5.0)
    floor.until(lambda: watcher.intake.feeds.rotations == 1)
    moved_on()
    floor.fault("server_shutdown")
    floor.until(lambda: watcher.intake.feeds.rotations >= 2)
    moved_on()
    check_series(floor, watcher, "1s")
    check_series(floor, watcher, "1m")
    assert watcher.dropped == 0
    # another selection, live
    floor.inbox.put(CandleRules((CandleRule("BTCUSDT", "1s"), CandleRule("BTCUSDT", "1w"))), 5.0)
    floor.until(lambda: set(watcher.views) == {("BTCUSDT", "1s"), ("BTCUSDT", "1w")})
    floor.until(live)
    check_series(floor, watcher, "1s")


def test_a_candle_that_crosses_a_line_and_comes_back(floor: Floor) -> None:
    price = next(iter(reversed(history(floor, "1s").values()))).close
    line = Line(Direction.ABOVE, price * 2, price / 10)
    rules = (CandleRule("BTCUSDT", "1m", lines=(line,)), CandleRule("BTCUSDT", "1m", "high", (line,)))
    watcher = CandleWatcher("candles", floor.venue, rules, history=50, **floor.parts())
    floor.start(watcher)
    floor.until(lambda: watcher.views and watcher.views["BTCUSDT", "1m"].sides == ((line, Side.WITHIN),) * 2)
    floor.fault("set_price", symbol="BTCUSDT", price=str(round(price * 3)))
    floor.until(lambda: len(floor.heard.of(PriceCrossed)) == 2)
    floor.fault("set_price", symbol="BTCUSDT", price=str(round(price)))
    floor.until(lambda: floor.heard.of(PriceReturned))
    crossed = floor.heard.of(PriceCrossed)
    assert {one.watch for one in crossed} == {"1m close", "1m high"}
    assert all(one.price > line.price and not one.already and one.source == "candle" for one in crossed)
    returned = floor.heard.of(PriceReturned)[0]
    assert returned.watch == "1m close"
    signals = [one for one in floor.signals.of(AlertSignal) if one.subject.startswith("binance BTCUSDT 1m close")]
    assert {True, False} == {one.firing for one in signals}
    floor.inbox.put(CandleRules(()), 5.0)
    floor.until(lambda: not watcher.views)
    ended = floor.signals.of(AlertSignal)[-1]
    assert (ended.subject.split()[3], ended.firing) == ("high", False)
    assert "no longer watched" in ended.text


def test_trades_come_once_each_over_rotations(floor: Floor) -> None:
    price = next(iter(reversed(history(floor, "1s").values()))).close
    line = Line(Direction.BELOW, price / 2)
    watcher = TradeWatcher("trades", floor.venue, (TradeRule("BTCUSDT", (line,)),), **floor.parts())
    floor.start(watcher)
    floor.until(lambda: len(floor.heard.of(Trade)) > 5)
    for number in (1, 2):
        floor.inbox.put(RotateFeeds("asked"), 5.0)
        floor.until(lambda number=number: watcher.intake.feeds.rotations == number)
        count = len(floor.heard.of(Trade))
        floor.until(lambda count=count: len(floor.heard.of(Trade)) > count + 5)
    ids = [one.trade_id for one in floor.heard.of(Trade)]
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))
    floor.fault("set_price", symbol="BTCUSDT", price=str(round(price / 3)))
    floor.until(lambda: floor.heard.of(PriceCrossed))
    (crossed,) = floor.heard.of(PriceCrossed)
    assert (crossed.source, crossed.direction, crossed.watch) == ("trade", "below", "")
    assert crossed.price < line.price
    floor.fault("reset")
    floor.until(lambda: floor.heard.of(Trade)[-1].trade_id < min(ids))
    count = len(floor.heard.of(Trade))
    floor.until(lambda: len(floor.heard.of(Trade)) > count + 3)
    floor.inbox.put(TradeRules((TradeRule("ETHUSDT"),)), 5.0)
    floor.until(lambda: floor.heard.of(Trade)[-1].symbol == "ETHUSDT")
    assert set(watcher.views) == {"ETHUSDT"}


def test_a_new_symbol_is_reported_once_and_a_restart_reports_nothing_old(sandbox: Sandbox, tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    known = KnownSymbols(state)
    named: list[str] = []

    class Named:
        def offer(self, message: Any) -> bool:
            if isinstance(message, SymbolListed):
                named.append(message.symbol)
            return True

    def begin(exchange: Sandbox, interval_s: float) -> tuple[Floor, ListingWatcher]:
        floor = Floor(exchange)
        watcher = ListingWatcher(
            "listings", floor.venue, known, ListingSettings(interval_s),
            **{**floor.parts(), "listeners": (floor.heard, Named())},
        )  # fmt: skip
        floor.start(watcher)
        return floor, watcher

    # the ticker alone: the list is asked for every hour
    floor, watcher = begin(sandbox, 3600.0)
    floor.until(lambda: watcher.known_count == len(sandbox.symbols) and watcher.intake.events > 1)
    floor.fault("new_symbol", symbol="SOLUSDT")
    floor.until(lambda: floor.heard.of(SymbolListed))
    (listed,) = floor.heard.of(SymbolListed)
    assert (listed.symbol, listed.status, listed.first_seen_by) == ("SOLUSDT", "TRADING", FirstSeenBy.MINI_TICKER)
    assert listed.lead_ms is not None
    assert floor.supervisor.stop(Deadline(30)) == []

    # the list alone shows one that does not trade
    floor, watcher = begin(sandbox, 1.0)
    floor.until(lambda: watcher.intake.events > 2)
    floor.fault("new_symbol", symbol="LATEUSDT", status="BREAK")
    floor.until(lambda: floor.heard.of(SymbolListed))
    floor.fault("symbol_status", symbol="ETHUSDT", status="HALT")
    floor.until(lambda: floor.heard.of(SymbolStatus))
    floor.fault("remove_symbol", symbol="LATEUSDT")
    floor.until(lambda: len(floor.heard.of(SymbolStatus)) == 2)
    floor.fault("reset")
    events = watcher.intake.events
    floor.until(lambda: watcher.intake.events > events + 2)
    (listed,) = floor.heard.of(SymbolListed)
    assert (listed.symbol, listed.status, listed.first_seen_by, listed.lead_ms) == (
        "LATEUSDT", "BREAK", FirstSeenBy.EXCHANGE_INFO, None,
    )  # fmt: skip
    assert [(one.symbol, one.status) for one in floor.heard.of(SymbolStatus)] == [
        ("ETHUSDT", "HALT"), ("LATEUSDT", "DELISTED"),
    ]  # fmt: skip
    assert floor.supervisor.stop(Deadline(30)) == []
    assert named == ["SOLUSDT", "LATEUSDT"]

    # another venue under the same name: one line
    with Sandbox(SandboxOptions(symbols=("ADAUSDT", "BNBUSDT"), generated_symbols=50)) as other:
        before = set(known.of_venue("binance"))
        floor, watcher = begin(other, 1.0)
        floor.until(lambda: floor.signals.told)
        floor.pass_time(2.5)
        assert floor.supervisor.stop(Deadline(30)) == []
        assert floor.heard.told == []
        (signal,) = floor.signals.of(AlertSignal)
        assert signal.name == "symbols.reset"
        assert set(known.of_venue("binance")) == set(other.symbols) != before
    assert known.new_for("eve") == []
    state.close()


def test_candles_that_cannot_be_had_are_asked_for_again(floor: Floor) -> None:
    floor.fault("rest", mode="status", status=503, path="klines", count=2)
    watcher = CandleWatcher("candles", floor.venue, (CandleRule("BTCUSDT", "1m"),), history=50, **floor.parts())
    floor.start(watcher)
    floor.until(lambda: watcher.views and watcher.views["BTCUSDT", "1m"].state is SeriesState.LIVE)
    assert watcher.views["BTCUSDT", "1m"].candles[-1].close > Decimal(0)
