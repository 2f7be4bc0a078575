"""From the configuration to what the watchers take, and what is refused on the way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from binmon.config.checks import INTERVALS
from binmon.config.schema import CandleWatch, Config, ListingsConfig, TradeWatch, WatchConfig
from binmon.core.channel import Channel, Overflow
from binmon.errors import ConfigError
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.watching import BinanceWatching
from binmon.venues.bybit.limits import ledger_of
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.watching import BybitWatching
from binmon.venues.watching import INTERVALS_MS, WatchingVenue, watch_connections
from binmon.watch.listing_watcher import ListingSettings
from binmon.watch.settings import candle_rules, check, listing_settings, trade_rules
from binmon.watch.thresholds import Direction, Line

LEDGERS: dict[str, RateLedger] = {"binance": RateLedger("binance"), "bybit": ledger_of()}


def venue_of(name: str) -> WatchingVenue:
    ledger = LEDGERS[name]
    rest = RestSession(name, "http://127.0.0.1:1", ledger)
    if name == "bybit":
        return BybitWatching(BybitMarket(rest, ledger, "ws://127.0.0.1:1/v5/public/spot"), rest)
    return BinanceWatching(BinanceMarket(rest, ledger, "ws://127.0.0.1:1"), rest, "ws://127.0.0.1:1")


def test_rules_are_those_of_the_venue_with_exact_lines() -> None:
    watch = WatchConfig(
        candles=(
            CandleWatch(symbol="BTCUSDT", price="high", above=0.3, below=0.1, hysteresis_price=0.05, closed_only=True),
            CandleWatch(venue="bybit", symbol="ETHUSDT", below=100.0),
        ),
        trades=(TradeWatch(symbol="BTCUSDT", above=70_000.0),),
        listings=ListingsConfig(venues=("bybit",), interval_s=3.0),
    )
    (rule,) = candle_rules(watch, "binance")
    assert (rule.symbol, rule.interval, rule.price, rule.closed_only) == ("BTCUSDT", "1m", "high", True)
    above, below = rule.lines
    assert above == Line(Direction.ABOVE, Decimal("0.3"), Decimal("0.05")) and above.back == Decimal("0.25")
    assert below == Line(Direction.BELOW, Decimal("0.1"), Decimal("0.05")) and below.back == Decimal("0.15")
    assert [one.symbol for one in candle_rules(watch, "bybit")] == ["ETHUSDT"]
    assert trade_rules(watch, "binance")[0].lines == (Line(Direction.ABOVE, Decimal(70_000), Decimal(35)),)
    assert trade_rules(watch, "bybit") == ()
    assert listing_settings(watch, "bybit") == ListingSettings(3.0, True)
    assert listing_settings(watch, "binance") == ListingSettings(3.0, False)
    assert not listing_settings(WatchConfig(listings=ListingsConfig(enabled=False)), "binance").enabled


@pytest.mark.parametrize(
    ("watch", "key", "said"),
    [
        (WatchConfig(candles=(CandleWatch(venue="bybit", symbol="BTCUSDT", interval="1s", above=1.0),)),
         "watch.candles[0].interval", "'1s' is no interval of bybit, expected one of 1m 3m 5m"),
        (WatchConfig(candles=(CandleWatch(symbol="X", above=1.0), CandleWatch(venue="bybit", symbol="BTC", above=1.0))),
         "watch.candles[1].symbol", "'BTC' is not listed on bybit"),
        (WatchConfig(trades=(TradeWatch(venue="bybit", symbol="BTCUSD", above=1.0),)),
         "watch.trades[0].symbol", "did you mean BTCUSDT"),
    ],
)  # fmt: skip
def test_what_a_venue_does_not_have(watch: WatchConfig, key: str, said: str) -> None:
    listed: Any = {"BTCUSDT": None}
    with pytest.raises(ConfigError, match=said) as caught:
        check(watch, venue_of("bybit"), listed)
    assert caught.value.key == key
    check(WatchConfig(), venue_of("bybit"), listed)


def test_a_file_is_held_against_what_the_venues_have() -> None:
    assert set(venue_of("binance").intervals) == set(INTERVALS_MS), "all that the schema knows"
    assert {"bybit": venue_of("bybit").intervals} == INTERVALS


def test_which_symbols_are_named_first_where() -> None:
    watch = WatchConfig(
        candles=(CandleWatch(symbol="A", above=1.0), CandleWatch(symbol="A", interval="1h", above=1.0)),
        trades=(TradeWatch(symbol="A", above=1.0), TradeWatch(venue="bybit", symbol="A", above=1.0)),
    )
    assert watch.watched() == {("binance", "A"): "watch.candles[0]", ("bybit", "A"): "watch.trades[1]"}
    assert Config().watch.watched() == {}


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_connections_beat_as_the_venue_wants_it(name: str) -> None:
    venue = venue_of(name)
    inbox: Channel[Any] = Channel("inbox", 10, Overflow.DROP_NEWEST)
    stream = venue.trade_stream("BTCUSDT")
    connection = watch_connections(venue, inbox, LEDGERS[name])("feed-1", (stream,))
    plan = venue.stream_plan("feed-1", (stream,))
    assert connection.name == "feed-1" and connection.streams == (stream,)
    assert connection._silence_s == plan.silence_s
    assert (connection._heartbeat is None) == (plan.heartbeat is None) == (name == "binance")
