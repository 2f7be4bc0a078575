"""Who wants what watched: rules, what somebody looks at, and inboxes without room."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from binmon.config.schema import CandleWatch, ListingsConfig, TradeWatch, WatchConfig
from binmon.core.channel import Channel, Overflow
from binmon.core.fanout import Fanout
from binmon.errors import ConfigError
from binmon.messages import Trade
from binmon.watch.candles import CandleRule, CandleRules
from binmon.watch.desk import RecentTrades, WatchDesk
from binmon.watch.listing_watcher import ListingSettings
from binmon.watch.thresholds import Direction, Line
from binmon.watch.trades import TradeRule, TradeRules

LISTED: Any = dict.fromkeys(("BTCUSDT", "ETHUSDT", "SOLUSDT"))
LINE = Line(Direction.ABOVE, Decimal(5), Decimal("0.0025"))
CONFIGURED = WatchConfig(
    candles=(CandleWatch(symbol="BTCUSDT", above=5.0), CandleWatch(venue="bybit", symbol="ETHUSDT", above=5.0)),
    trades=(TradeWatch(symbol="BTCUSDT", above=5.0),),
    listings=ListingsConfig(venues=("binance",), interval_s=9.0),
)


class Watched:
    """A venue with inboxes and nobody behind them."""

    def __init__(self, name: str, capacity: int = 10) -> None:
        def channel(what: str) -> Channel[Any]:
            return Channel(what, capacity, Overflow.DROP_NEWEST)

        self.venue = SimpleNamespace(name=name, intervals=("1m", "1h"))
        self.listings = SimpleNamespace(instruments=LISTED)
        self.candles = SimpleNamespace(views={("BTCUSDT", "1m"): "a series"})
        self.trades = SimpleNamespace(views={"BTCUSDT": "its trades"})
        self.candle_inbox, self.trade_inbox, self.listing_inbox = map(channel, ("candles", "trades", "symbols"))

    def told(self) -> list[Any]:
        """What is in the inboxes, taken out of them."""
        found = (one.take(0) for one in (self.candle_inbox, self.trade_inbox, self.listing_inbox))
        return [one for one in found if one is not None]


@pytest.fixture
def binance() -> Any:
    return Watched("binance")


@pytest.fixture
def desk(binance: Any) -> WatchDesk:
    made = WatchDesk(CONFIGURED)
    made.open(binance)
    return made


def test_the_configuration_is_told_to_a_venue_that_has_answered(desk: WatchDesk, binance: Any) -> None:
    assert binance.told() == [
        CandleRules((CandleRule("BTCUSDT", "1m", "close", (LINE,)),)),
        TradeRules((TradeRule("BTCUSDT", (LINE,)),)),
        ListingSettings(9.0, True),
    ]
    bybit: Any = Watched("bybit")
    desk.open(bybit)
    assert bybit.told() == [
        CandleRules((CandleRule("ETHUSDT", "1m", "close", (LINE,)),)), TradeRules(()), ListingSettings(9.0, False),
    ]  # fmt: skip
    assert binance.told() == [], "what it knows it is not told again"
    desk.configure(WatchConfig(candles=CONFIGURED.candles))
    assert desk.tick()
    assert binance.told() == [TradeRules(()), ListingSettings(60.0, True)] and bybit.told() == [
        ListingSettings(60.0, False)
    ]


def test_what_somebody_looks_at_is_watched_beside_it(desk: WatchDesk, binance: Any) -> None:
    binance.told()
    series = {
        ("binance", "BTCUSDT", "1m"), ("binance", "BTCUSDT", "1h"), ("binance", "SOLUSDT", "1m"),
        ("binance", "SOLUSDT", "7m"), ("binance", "NOSUCH", "1m"), ("bybit", "BTCUSDT", "1m"),
    }  # fmt: skip
    desk.follow(series, {("binance", "BTCUSDT"), ("binance", "ETHUSDT"), ("binance", "NOSUCH")})
    configured = CandleRule("BTCUSDT", "1m", "close", (LINE,))
    assert binance.told() == [
        CandleRules((configured, CandleRule("BTCUSDT", "1h"), CandleRule("SOLUSDT", "1m"))),
        TradeRules((TradeRule("BTCUSDT", (LINE,)), TradeRule("ETHUSDT"))),
    ]
    assert desk.followed == {"binance": 8}
    desk.configure(WatchConfig())
    assert desk.tick()
    assert binance.told()[0] == CandleRules(
        (CandleRule("BTCUSDT", "1h"), CandleRule("BTCUSDT", "1m"), CandleRule("SOLUSDT", "1m"))
    )
    desk.follow((), ())
    assert binance.told() == [CandleRules(()), TradeRules(())]
    bybit: Any = Watched("bybit")
    desk.open(bybit)
    assert CandleRules(()) in bybit.told()


def test_an_inbox_without_room_is_told_later_and_nothing_is_dropped() -> None:
    binance: Any = Watched("binance", capacity=1)
    binance.trade_inbox.offer("something")
    desk = WatchDesk(CONFIGURED)
    desk.open(binance)
    assert not desk.tick()
    first = binance.told()
    assert first[1] == "something" and isinstance(first[0], CandleRules) and isinstance(first[2], ListingSettings)
    desk.configure(WatchConfig())  # meanwhile something else is wanted
    assert desk.tick()
    assert binance.told() == [CandleRules(()), TradeRules(()), ListingSettings(60.0, True)]
    assert binance.trade_inbox.dropped == 0


def test_what_cannot_be_watched(desk: WatchDesk) -> None:
    desk.check("binance", "BTCUSDT", "1h")
    for asked, key, said in (
        (("kraken", "BTC/USD", None), "venue", "expected binance"),
        (("binance", "BTCUSDC", None), "symbol", "did you mean BTCUSDT"),
        (("binance", "BTCUSDT", "7m"), "interval", "expected one of 1m 1h"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            desk.check(*asked)
        assert caught.value.key == key


def test_what_there_is(desk: WatchDesk) -> None:
    assert desk.series("binance", "BTCUSDT", "1m") == "a series" and desk.trades("binance", "BTCUSDT") == "its trades"
    assert desk.series("binance", "BTCUSDT", "1h") is desk.series("okx", "BTCUSDT", "1m") is None
    assert desk.trades("binance", "ETHUSDT") is desk.trades("okx", "ETHUSDT") is None
    assert desk.instruments("binance") is LISTED and desk.instruments("okx") == {}


def trade(number: int, symbol: str = "BTCUSDT") -> Trade:
    return Trade("binance", symbol, number, Decimal(1), Decimal(1), False, number, number, number)


def test_recent_trades_are_kept_as_long_as_they_are_watched(desk: WatchDesk) -> None:
    told: list[Any] = []
    listener = SimpleNamespace(offer=lambda message: told.append(message) or len(told) < 3)
    desk.told.add(listener)
    desk.follow((), {("binance", "ETHUSDT")})
    assert desk.told.offer(trade(1)) and desk.told.offer(trade(2, "ETHUSDT"))
    assert not desk.told.offer(trade(3)), "one had no room"
    desk.told.remove(listener)
    desk.told.remove(listener)
    assert desk.told.offer("anything") and len(told) == 3
    assert [one.trade_id for one in desk.recent_trades("binance", "BTCUSDT")] == [1, 3]
    desk.follow((), ())
    assert desk.recent_trades("binance", "ETHUSDT") == () != desk.recent_trades("binance", "BTCUSDT")
    few = RecentTrades(2)
    for number in range(5):
        few.offer(trade(number))
    assert [one.trade_id for one in few.of("binance", "BTCUSDT")] == [3, 4]
    assert Fanout().offer("nobody")
