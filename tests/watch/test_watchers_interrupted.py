"""Watchers that fail at whatever line, and are run again: what they keep and tell ends up as if nothing had been."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

import binmon.watch.candles
import binmon.watch.listing_watcher
import binmon.watch.listings
import binmon.watch.observing
import binmon.watch.series
import binmon.watch.trades
from binmon.core.channel import Channel, Overflow
from binmon.messages import (
    AlertSignal,
    Candle,
    CandlesArrived,
    CandlesChanged,
    CandlesWanted,
    FirstSeenBy,
    FrameChunk,
    Instrument,
    StreamDown,
    StreamUp,
    SymbolListed,
    SymbolsArrived,
    SymbolsWanted,
    Trade,
)
from binmon.net.rotation import RotationWindow
from binmon.state import State
from binmon.watch.candles import CandleRule, CandleRules, CandleWatcher
from binmon.watch.feeds import WatchFeeds, WatchSockets
from binmon.watch.known import KnownSymbols
from binmon.watch.listing_watcher import ListingSettings, ListingWatcher
from binmon.watch.thresholds import Direction, Line
from binmon.watch.trades import TradeRule, TradeRules, TradeWatcher
from tests.core.interruptions import interrupt, places
from tests.watch.candle_market import MINUTE_MS, CandleMarket

WINDOW = RotationWindow.parse("03:00-05:00")


class Venue:
    """Its frames are pickled messages."""

    name, streams_per_connection, intervals, candles_per_request = "binance", 100, ("1m",), 1000
    consecutive_trade_ids = True

    def candle_stream(self, symbol: str, interval: str) -> str:
        return f"{symbol} {interval}"

    def trade_stream(self, symbol: str) -> str:
        return symbol

    def listing_stream(self) -> str | None:
        return None

    def decoder(self) -> Any:
        return SimpleNamespace(decode=lambda frame, received_ns: (pickle.loads(frame),))


class UntilEmpty(threading.Event):
    """A stop that comes when all is taken, and nothing new has come for some looks."""

    def __init__(self, channel: Channel[Any]) -> None:
        super().__init__()
        self._channel, self._looks = channel, 0

    def is_set(self) -> bool:
        self._looks = 0 if len(self._channel) else self._looks + 1
        return self._looks > 4


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there yet is not waited for."""
    for module in (binmon.watch.candles, binmon.watch.trades, binmon.watch.listing_watcher):
        monkeypatch.setattr(module, "_TICK_S", 0.0)


class Floor:
    """An inbox, sockets that are up as soon as they are opened, and listeners."""

    def __init__(self) -> None:
        self.inbox: Channel[Any] = Channel("inbox", 1000, Overflow.DROP_NEWEST)
        self.told: list[Any] = []
        self.signals: list[AlertSignal] = []
        sockets = WatchSockets(self._open, lambda feed, reason: None, lambda feed, reason: None)
        self.feeds = WatchFeeds("binance", "feed", sockets, WINDOW)

    def _open(self, group: str, feed: str, streams: tuple[str, ...]) -> None:
        self.inbox.offer(StreamUp("binance", feed, streams, time.monotonic_ns()))

    def parts(self, wanted: Any) -> dict[str, Any]:
        def outlet(take: Any) -> Any:
            return SimpleNamespace(offer=lambda message: take(message) is None)

        return {
            "inbox": self.inbox, "wanted": SimpleNamespace(offer=wanted), "signals": outlet(self.signals.append),
            "listeners": (outlet(self.told.append),), "feeds": self.feeds,
        }  # fmt: skip

    def frames(self, messages: Sequence[object], feed: str = "feed-1.1") -> None:
        now_ns = time.monotonic_ns()
        for message in messages:
            self.inbox.offer(FrameChunk(feed, time.time_ns(), now_ns, (pickle.dumps(message),)))


class Candles:
    """History, some minutes, a socket that is lost and comes back, more minutes."""

    def __init__(self) -> None:
        self.floor = Floor()
        self.market = CandleMarket(1, flat=True, past=20)
        line = Line(Direction.ABOVE, Decimal(1), Decimal(0))
        self.watcher = CandleWatcher("candles", Venue(), (), history=50, **self.floor.parts(self.ask))  # type: ignore
        self.inbox = self.floor.inbox
        self.inbox.offer(CandleRules((CandleRule("BTCUSDT", "1m", lines=(line,)),)))

    def ask(self, wanted: CandlesWanted) -> bool:
        rows = self.market.answer(wanted.start_ms, wanted.end_ms, wanted.limit)
        return self.inbox.offer(CandlesArrived(wanted, tuple(rows)))

    def minutes(self, count: int) -> list[Candle]:
        frames = []
        for _ in range(count):
            frames += [self.market.trade(), self.market.trade(), *self.market.pass_time(MINUTE_MS)]
        return frames

    def __call__(self) -> None:
        self.watcher.run(UntilEmpty(self.inbox))

    def script(self) -> None:
        self.floor.frames(self.minutes(2))
        self.inbox.offer(StreamDown("binance", "feed-1.1", ("BTCUSDT 1m",), "cut"))
        self.minutes(3)
        self.inbox.offer(StreamUp("binance", "feed-1.1", ("BTCUSDT 1m",), time.monotonic_ns()))
        self.floor.frames(self.minutes(2))

    def settle(self) -> None:
        """Until what is due by time alone is done, too."""
        for turn in range(1, 20):
            if self.watcher.views["BTCUSDT", "1m"].state.value == "live":
                return
            self.watcher.tick(time.monotonic() + 100 * turn, time.time())
            while (message := self.inbox.take(0)) is not None:
                self.watcher.take(message)
        raise AssertionError("it does not become live")

    def by_messages(self) -> list[Any]:
        found: dict[int, Candle] = {}
        for message in self.floor.told:
            if isinstance(message, CandlesChanged):
                if message.whole:
                    found = {}
                found |= {one.open_time_ms: one for one in message.candles}
        return [found[key].figures for key in sorted(found)]


def test_candles_are_the_venues_wherever_it_fails() -> None:
    modules = (binmon.watch.candles, binmon.watch.series, binmon.watch.observing)

    def work() -> Candles:
        made = Candles()
        made()
        made.script()
        return made

    def check(made: Candles) -> None:
        made()
        made.settle()
        expected = [one.figures for one in made.market.candles]
        assert [one.figures for one in made.watcher.views["BTCUSDT", "1m"].candles] == expected[-50:]
        assert made.by_messages() == expected[-50:]

    with capture_logs():
        check(work())
        numbers = list(places(work(), *modules))
        assert len(numbers) > 100
        for number in numbers:
            made = work()
            interrupt(made, number, *modules)
            check(made)


class Trades:
    """Trades over a socket that is lost and comes back."""

    def __init__(self) -> None:
        self.floor = Floor()
        self.watcher = TradeWatcher("trades", Venue(), (), **self.floor.parts(lambda wanted: True))  # type: ignore
        self.inbox = self.floor.inbox
        self.inbox.offer(TradeRules((TradeRule("BTCUSDT"),)))

    def __call__(self) -> None:
        self.watcher.run(UntilEmpty(self.inbox))

    def script(self) -> None:
        def trade(number: int) -> Trade:
            return Trade("binance", "BTCUSDT", number, Decimal(1), Decimal(1), False, number, number, number)

        self.floor.frames([trade(number) for number in (1, 2, 3)])
        self.inbox.offer(StreamDown("binance", "feed-1.1", ("BTCUSDT",), "cut"))
        self.inbox.offer(StreamUp("binance", "feed-1.1", ("BTCUSDT",), time.monotonic_ns()))
        self.floor.frames([trade(number) for number in (3, 4)])


def test_trades_are_told_once_and_one_at_most_is_lost_wherever_it_fails() -> None:
    def work() -> Trades:
        made = Trades()
        made()
        made.script()
        return made

    def ids(made: Trades) -> list[int]:
        made()
        assert made.watcher.views["BTCUSDT"].live
        return [one.trade_id for one in made.floor.told if isinstance(one, Trade)]

    with capture_logs():
        assert ids(work()) == [1, 2, 3, 4]
        numbers = list(places(work(), binmon.watch.trades))
        assert len(numbers) > 30
        for number in numbers:
            made = work()
            interrupt(made, number, binmon.watch.trades)
            found = ids(made)
            assert sorted(set(found)) == found and len(found) >= 3, f"interrupted at {number}"


class Listings:
    """The first look, and one with a new symbol."""

    def __init__(self, state: State) -> None:
        self.floor = Floor()
        self.symbols = ["AUSDT", "BUSDT", "CUSDT", "DUSDT"]
        self.known = KnownSymbols(state)
        self.watcher = ListingWatcher(
            "symbols",
            Venue(),
            self.known,
            ListingSettings(0.5),
            **self.floor.parts(self.ask),  # type: ignore
        )
        self.inbox = self.floor.inbox

    def ask(self, wanted: SymbolsWanted) -> bool:
        zero, now_ns = Decimal(0), time.monotonic_ns()
        listed = {one: Instrument("binance", one, one[0], "USDT", "TRADING", zero, zero) for one in self.symbols}
        return self.inbox.offer(SymbolsArrived(wanted.token, listed, now_ns, now_ns))

    def __call__(self) -> None:
        for _ in range(3):
            # by time alone it is asked again
            self.watcher.tick(time.monotonic() + 100, time.time())
            self.watcher.run(UntilEmpty(self.inbox))


def test_a_new_symbol_is_told_and_known_wherever_it_fails(tmp_path: Path) -> None:
    modules = (binmon.watch.listing_watcher, binmon.watch.listings)
    states: list[State] = []

    def work() -> Listings:
        states.append(State(tmp_path / f"{len(states)}.db"))
        made = Listings(states[-1])
        made()
        made.symbols.append("NEWUSDT")
        made.inbox.offer(ListingSettings(0.5))
        return made

    with capture_logs():
        numbers = list(places(work(), *modules, each=1))
        assert len(numbers) > 50
        for number in numbers:
            made = work()
            interrupt(made, number, *modules)
            made()
            made()
            listed = [one.symbol for one in made.floor.told if isinstance(one, SymbolListed)]
            assert set(listed) == {"NEWUSDT"} and len(listed) <= 2, f"interrupted at {number}"
            kept = made.known.of_venue("binance")
            assert set(kept) == set(made.symbols), f"interrupted at {number}"
            assert kept["NEWUSDT"].first_seen_by is FirstSeenBy.EXCHANGE_INFO
            states[-1].close()
    for state in states:
        state.close()
