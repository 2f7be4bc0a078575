"""The public side of Binance: instruments, depth, limits, and the plan of its streams."""

from __future__ import annotations

import json
import threading
from decimal import Decimal

import pytest
import responses

from binmon.errors import ConfigError, RequestRefused, VenueFailed
from binmon.messages import Instrument, Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.binance.market import MAX_STREAMS_A_CONNECTION, BinanceMarket, depth_weight
from binmon.venues.symbols import resolve

URL = "http://127.0.0.1:1"
STOP = threading.Event()


def market() -> tuple[BinanceMarket, RateLedger]:
    ledger = RateLedger("binance")
    return BinanceMarket(RestSession("binance", URL, ledger), ledger, "ws://127.0.0.1:2/"), ledger


@responses.activate
def test_instruments_and_limits_come_from_exchange_info() -> None:
    symbol = {
        "symbol": "这是测试币456",
        "status": "TRADING",
        "baseAsset": "这是测试币",
        "quoteAsset": "456",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "9", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.1", "maxQty": "9", "stepSize": "0.10000000"},
            {"filterType": "SOMETHING_NEW", "x": 1},
        ],
    }
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1234}]
    responses.get(f"{URL}/api/v3/exchangeInfo", json={"rateLimits": limits, "symbols": [symbol]})
    venue, ledger = market()
    (found,) = venue.instruments(STOP).values()
    assert found == Instrument(
        "binance", "这是测试币456", "这是测试币", "456", "TRADING", Decimal("0.01"), Decimal("0.1")
    )
    assert ledger.limit == 1234


@responses.activate
def test_depth_errors_are_named_by_what_to_do() -> None:
    venue, _ = market()
    body = {"lastUpdateId": 7, "bids": [["2", "1"]], "asks": [["3", "1"]]}
    responses.get(f"{URL}/api/v3/depth", json=body)
    assert venue.depth("ABCUSDT", 5, Priority.RESYNC, STOP).last_update_id == 7
    responses.replace(responses.GET, f"{URL}/api/v3/depth", json={"bids": []})
    with pytest.raises(VenueFailed, match="depth of ABCUSDT"):
        venue.depth("ABCUSDT", 5, Priority.RESYNC, STOP)
    refused = {"code": -1121, "msg": "Invalid symbol."}
    responses.replace(responses.GET, f"{URL}/api/v3/depth", json=refused, status=400)
    with pytest.raises(RequestRefused, match="Invalid symbol"):
        venue.depth("ABCUSDT", 5, Priority.RESYNC, STOP)


def test_weights_of_depth() -> None:
    assert [depth_weight(limit) for limit in (1, 100, 101, 500, 501, 1000, 1001, 5000)] == [
        5, 5, 25, 25, 50, 50, 250, 250,
    ]  # fmt: skip


def test_a_few_streams_go_into_the_address_and_many_into_messages() -> None:
    venue, _ = market()
    plan = venue.stream_plan("few", [venue.depth_stream("BTCUSDT"), venue.depth_stream("币USDT")])
    assert plan.url == "ws://127.0.0.1:2/stream?streams=btcusdt@depth@100ms/%E5%B8%81usdt@depth@100ms"
    assert plan.opening_messages == () and plan.streams == ("btcusdt@depth@100ms", "币usdt@depth@100ms")
    streams = [venue.depth_stream(f"C{number}USDT") for number in range(venue.streams_per_connection)]
    plan = venue.stream_plan("many", streams)
    asked = [name for message in plan.opening_messages for name in json.loads(message)["params"]]
    assert asked == streams == list(plan.streams) and plan.url == "ws://127.0.0.1:2/stream"
    assert plan.name == "many" and venue.streams_per_connection == MAX_STREAMS_A_CONNECTION == 1024


def listed(symbol: str, quote: str, status: str = "TRADING") -> Instrument:
    return Instrument("binance", symbol, symbol.removesuffix(quote), quote, status, Decimal(0), Decimal(0))


INSTRUMENTS = {
    one.symbol: one for one in (listed("BTCUSDT", "USDT"), listed("ETHBTC", "BTC"), listed("OLDUSDT", "USDT", "BREAK"))
}


def test_all_means_what_trades_now() -> None:
    assert resolve("all", INSTRUMENTS, "binance") == ["BTCUSDT", "ETHBTC"]
    assert resolve("all:USDT", INSTRUMENTS, "binance") == ["BTCUSDT"]
    assert resolve(["OLDUSDT"], INSTRUMENTS, "binance") == ["OLDUSDT"]
    with pytest.raises(ConfigError, match=r"all:XYZ.*BTC, USDT"):
        resolve("all:XYZ", INSTRUMENTS, "binance")
    with pytest.raises(ConfigError, match=r"books\.symbols\[0\].*BTCUSD.*did you mean BTCUSDT"):
        resolve(["BTCUSD"], INSTRUMENTS, "binance")
