"""Shapes against the examples of the reference."""

import json

import pytest

from binmon.sandbox import payloads
from binmon.sandbox.candles import Candle
from binmon.sandbox.matching import Trade
from binmon.sandbox.payloads import AggregateTrade, DayStatistics, Top
from binmon.sandbox.symbols import default_instruments

BTC = default_instruments()[0]
NOW = 1_784_600_000_125_678
TRADE = Trade(902, 6_512_400, 20, 1_784_600_000_123_456, 1, 2, "a", "b", False)
TOP = Top(6_512_345, 150_000, 6_512_400, 25_000)
DAY = DayStatistics(1, NOW, 6_513_600, 6_550_000, 6_480_000, 6_512_400, 6_513_700, 5, 1000, 6_512_000_000, 1, 9, 9)
CANDLE = Candle(1_784_599_980_000, 1, 4, 1, 3, 10, 25, 2, 5, 12, 880, 903)


def test_trade_has_no_order_ids():
    event = json.loads(payloads.trade_json(BTC, NOW, TRADE, False))
    assert event == {
        "e": "trade", "E": 1784600000125, "s": "BTCUSDT", "t": 902, "p": "65124.00000000", "q": "0.00020000",
        "T": 1784600000123, "m": False, "M": True,
    }  # fmt: skip


def test_aggregate_trade_in_microseconds():
    trade = AggregateTrade(551, 6_512_400, 75_000, 901, 903, 1_784_600_000_123_456, True)
    event = json.loads(payloads.aggregate_trade_json(BTC, NOW, trade, True))
    assert (event["E"], event["T"], event["m"], event["f"], event["l"]) == (
        NOW,
        1_784_600_000_123_456,
        True,
        901,
        903,
    )


def test_book_shapes():
    book = json.loads(payloads.book_json(BTC, 7000, [(6_512_345, 150_000)], []))
    assert book == {"lastUpdateId": 7000, "bids": [["65123.45000000", "1.50000000"]], "asks": []}
    ticker = json.loads(payloads.book_ticker_json(BTC, 7004, TOP))
    assert list(ticker) == ["u", "s", "b", "B", "a", "A"]
    update = json.loads(payloads.depth_update_json(BTC, 1, 7001, 7004, [(6_512_300, 0)], []))
    assert list(update) == ["e", "E", "s", "U", "u", "b", "a"]
    assert update["b"] == [["65123.00000000", "0.00000000"]]
    assert "updateId" not in payloads.book_ticker_row(BTC, TOP)


def test_klines():
    event = json.loads(payloads.kline_json(BTC, NOW, "1m", CANDLE, True, False))
    assert list(event["k"]) == list("tTsifLocHhlvnxqVQB".replace("H", ""))
    assert (event["k"]["T"], event["k"]["x"], event["k"]["B"]) == (1784600039999, True, "0")
    row = json.loads(payloads.kline_row(BTC, "1m", CANDLE, True))
    assert len(row) == 12
    assert (row[0], row[6]) == (1_784_599_980_000_000, 1_784_600_039_999_999)
    assert [type(value) for value in row] == [int, str, str, str, str, str, int, str, int, str, str, str]


@pytest.mark.parametrize("full", [True, False])
def test_day_tickers(full):
    row = json.loads(payloads.ticker_row(BTC, DAY, TOP, full, False))
    mini = "symbol openPrice highPrice lowPrice lastPrice volume quoteVolume openTime closeTime firstId lastId count"
    more = "priceChange priceChangePercent weightedAvgPrice prevClosePrice lastQty bidPrice bidQty askPrice askQty"
    assert set(row) == set(mini.split()) | (set(more.split()) if full else set())
    event = json.loads(payloads.ticker_json(BTC, NOW, DAY, TOP, False))
    assert list(event) == list("eEspPwxcQbBaAohlvqOCFLn")
    assert (event["p"], event["P"]) == ("-12.00000000", "-0.018")
    assert event["w"] == "65120.00000000"
    small = json.loads(payloads.mini_ticker_json(BTC, NOW, DAY, False))
    assert list(small) == list("eEscohlvq")


def test_average_price_and_rows():
    event = json.loads(payloads.average_price_json(BTC, NOW, 6_512_011, 1_784_600_000_123_456, False))
    assert list(event) == list("eEsiwT")
    row = json.loads(payloads.trade_row(BTC, TRADE, False))
    assert row["quoteQty"] == "13.02480000"
