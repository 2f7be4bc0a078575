"""Candles, trades and tickers of Binance: frames as documented and as recorded, and the local exchange over real sockets."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest
import responses

from binmon.errors import ConfigError, RequestRefused, VenueFailed
from binmon.messages import Candle, Instrument, Priority, Trade
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.venues.base import ControlReply, MalformedFrame, ShutdownNotice
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.watching import BinanceWatchDecoder, BinanceWatching
from binmon.venues.watching import (
    INTERVALS_MS,
    SymbolsTraded,
    check_interval,
    check_symbol,
    close_time_ms,
)
from tests.recordings import RECORDINGS

URL = "http://127.0.0.1:1"
STOP = threading.Event()
KLINE = (
    '{"e":"kline","E":1784600002010,"s":"ABCUSDT","k":{"t":1784599980000,"T":1784600039999,"s":"ABCUSDT","i":"1m",'
    '"f":880,"L":903,"o":"65120.00000000","c":"65124.00000000","h":"65130.00000000","l":"65118.00000000",'
    '"v":"3.20000000","n":24,"x":false,"q":"208396.80000000","V":"1.10000000","Q":"71636.40000000","B":"0"}}'
)
TRADE = (
    '{"e":"trade","E":1784600000125,"s":"ABCUSDT","t":902,"p":"65124.00000000","q":"0.00020000","T":1784600000123,'
    '"m":false,"M":true}'
)
TICKER = (
    '{"e":"24hrMiniTicker","E":1784600001000,"s":"这是测试币456","c":"65124.00000000","o":"65136.00000000",'
    '"h":"65500.00000000","l":"64800.00000000","v":"812.40000000","q":"52895380.30000000"}'
)


def venue(rest_url: str = URL, stream_url: str = "ws://127.0.0.1:2/") -> BinanceWatching:
    ledger = RateLedger("binance")
    rest = RestSession("binance", rest_url, ledger)
    return BinanceWatching(BinanceMarket(rest, ledger, stream_url), rest, stream_url)


def decode(text: str, received_ns: int = 7) -> list:
    return list(BinanceWatchDecoder("binance").decode(text.encode(), received_ns))


def combined(stream: str, data: str) -> str:
    return f'{{"stream":"{stream}","data":{data}}}'


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: combined("x", text)], ids=["raw", "combined"])
def test_frames_as_documented(wrap) -> None:
    assert decode(wrap(KLINE)) == [
        Candle(
            "binance", "ABCUSDT", "1m", 1784599980000, 1784600039999, Decimal("65120.00000000"), Decimal("65130"),
            Decimal("65118"), Decimal("65124"), Decimal("3.2"), Decimal("208396.8"), 24, False, 1784600002010, 7,
        )
    ]  # fmt: skip
    assert decode(wrap(TRADE)) == [
        Trade("binance", "ABCUSDT", 902, Decimal(65124), Decimal("0.0002"), False, 1784600000123, 1784600000125, 7)
    ]
    assert decode(wrap(f"[{TICKER},{TICKER.replace('这是测试币456', 'ABCUSDT')}]")) == [
        SymbolsTraded(("这是测试币456", "ABCUSDT"), 1784600001000)
    ]


def test_what_else_comes_on_a_stream() -> None:
    assert decode('{"e":"serverShutdown","E":5}') == [ShutdownNotice(5)]
    assert decode(combined("!serverShutdown", '{"e":"serverShutdown","E":5}')) == [ShutdownNotice(5)]
    assert decode('{"result":null,"id":1}') == [ControlReply("1", None)]
    assert decode('{"code":2,"msg":"Invalid request","id":1}') == [ControlReply("1", "2 Invalid request")]
    assert decode(combined("x@avgPrice", '{"e":"avgPrice","E":5}')) == []
    assert decode("[]") == [SymbolsTraded((), 0)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[1]",
        '{"e":"kline","E":5}',
        combined("x", '{"e":"trade","E":5,"s":"ABCUSDT"}'),
        KLINE.replace('"h":"65130.00000000"', '"h":"1"'),
        KLINE.replace('"l":"65118.00000000"', '"l":"0"'),
        KLINE.replace('"c":"65124.00000000"', '"c":"NaN"'),
        KLINE.replace('"v":"3.20000000"', '"v":"-1"'),
        TRADE.replace('"p":"65124.00000000"', '"p":"0"'),
        TRADE.replace('"p":"65124.00000000"', '"p":"Infinity"'),
        TRADE.replace('"t":902', '"t":"x"'),
    ],
)
def test_frames_that_are_not_as_documented(text: str) -> None:
    with pytest.raises(MalformedFrame):
        decode(text)


def test_broken_utf8_is_a_malformed_frame() -> None:
    with pytest.raises(MalformedFrame):
        BinanceWatchDecoder("binance").decode(b'{"stream":"\xff","data":{}}', 7)


ROW = '[{0},"10.0","12.0","9.0","11.0","5.0",{1},"55.0",7,"1","1","0"]'


@responses.activate
def test_history_is_asked_for_as_documented_and_the_newest_may_be_open() -> None:
    body = f"[{ROW.format(60_000, 119_999)},{ROW.format(120_000, 179_999)}]"
    responses.get(f"{URL}/api/v3/klines", body=body)
    first, second = venue().candles("ABCUSDT", "1m", 60_000, None, 5_000, Priority.AUDIT, STOP)
    assert (first.open_time_ms, first.close_time_ms, first.closed, first.event_time_ms) == (60_000, 119_999, True, 0)
    assert first.figures[2:] == (Decimal(10), 12, 9, 11, 5, 55, 7)
    assert not second.closed
    asked = responses.calls[0].request.params
    assert asked == {"symbol": "ABCUSDT", "interval": "1m", "limit": "1000", "startTime": "60000"}
    venue().candles("ABCUSDT", "1m", None, 99, 5, Priority.AUDIT, STOP)
    assert responses.calls[1].request.params == {
        "symbol": "ABCUSDT", "interval": "1m", "limit": "5", "endTime": "99",
    }  # fmt: skip


@responses.activate
@pytest.mark.parametrize(
    "body", ['{"x":1}', "[[1,2]]", f"[{ROW.format(120_000, 179_999)},{ROW.format(60_000, 119_999)}]"]
)
def test_history_that_cannot_be_read(body: str) -> None:
    responses.get(f"{URL}/api/v3/klines", body=body)
    with pytest.raises(VenueFailed):
        venue().candles("ABCUSDT", "1m", None, None, 5, Priority.AUDIT, STOP)


def test_streams_and_addresses() -> None:
    one = venue()
    assert one.candle_stream("ABCUSDT", "1M") == "abcusdt@kline_1M"
    assert one.trade_stream("这是测试币456") == "这是测试币456@trade"
    plan = one.stream_plan("g.1", ("!miniTicker@arr", "这@trade"))
    assert plan.url == "ws://127.0.0.1:2/stream?streams=!miniTicker@arr/%E8%BF%99@trade"
    many = one.stream_plan("g.1", [f"s{number}@trade" for number in range(300)])
    assert (many.url, len(many.opening_messages)) == ("ws://127.0.0.1:2/stream", 2)


def test_wrong_symbols_and_intervals_are_said_with_what_is_valid() -> None:
    with pytest.raises(ConfigError, match=r"watch.x: '2m' is no interval of binance, expected one of 1s 1m 3m .* 1M"):
        check_interval(venue(), "2m", "watch.x")
    check_interval(venue(), "1M", "watch.x")
    listed = {"BTCUSDT": Instrument("binance", "BTCUSDT", "BTC", "USDT", "TRADING", Decimal(1), Decimal(1))}
    check_symbol("binance", "BTCUSDT", listed, "k")
    with pytest.raises(ConfigError, match="'BTCUSD' is not listed on binance: did you mean BTCUSDT"):
        check_symbol("binance", "BTCUSD", listed, "k")
    with pytest.raises(ConfigError, match="expected a symbol such as BTCUSDT"):
        check_symbol("binance", "X", listed, "k")


def test_how_long_candles_are() -> None:
    assert close_time_ms("1m", 60_000) == 119_999
    assert close_time_ms("1w", 345_600_000) == 345_600_000 + 7 * 86_400_000 - 1
    january_1970, december_2023 = 0, 1_701_388_800_000
    assert close_time_ms("1M", january_1970) == 31 * 86_400_000 - 1
    assert close_time_ms("1M", december_2023) == 1_704_067_199_999


def recorded(name: str) -> Iterator[str]:
    path = RECORDINGS / "binance-spot" / name
    if not path.exists():
        pytest.skip(f"the recording {path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            _, source, payload = line.rstrip("\n").split("\t", 2)
            if source.startswith("ws"):
                yield payload


@pytest.mark.parametrize(
    ("name", "candles", "trades"),
    [
        ("spot_4symbols_20211012T002832Z_30s.tsv.gz", 2, 0),
        ("binanceus_4symbols_20211012T002434Z_31s.tsv.gz", 5, 0),
        ("spot_BTCUSDT_20260607T194756Z_59s_depth5.tsv.gz", 0, 2889),
    ],
)
def test_recorded_frames(name: str, candles: int, trades: int) -> None:
    decoder = BinanceWatchDecoder("binance")
    found: list = []
    for payload in recorded(name):
        if '"depth' in payload or '"lastUpdateId"' in payload or "bookTicker" in payload or "aggTrade" in payload:
            continue
        found += decoder.decode(payload.encode(), 7)
    assert sum(isinstance(one, Candle) for one in found) == candles
    ids = [one.trade_id for one in found if isinstance(one, Trade)]
    assert len(ids) == trades
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True


def test_recorded_history() -> None:
    path = RECORDINGS / "rest" / "spot_public_rest_samples.json.gz"
    if not path.exists():
        pytest.skip(f"the recording {path} is not here")
    with gzip.open(path) as file:
        samples = json.load(file)["/api/v3/klines"]
    for sample in samples:
        rows = BinanceWatchDecoder("binance").candles("X", "1m", json.dumps(sample["response"]).encode(), 7)
        assert len(rows) == len(sample["response"])


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"))) as running:
        yield running


@pytest.mark.parametrize("interval", INTERVALS_MS)
def test_the_local_exchange_has_every_interval(sandbox: Sandbox, interval: str) -> None:
    rows = venue(sandbox.rest_url).candles("BTCUSDT", interval, None, None, 20, Priority.AUDIT, STOP)
    assert len(rows) == 20
    for one, following in itertools.pairwise(rows):
        assert one.close_time_ms == close_time_ms(interval, one.open_time_ms)
        assert following.open_time_ms == one.close_time_ms + 1
        assert one.closed
    older = venue(sandbox.rest_url).candles("BTCUSDT", interval, None, rows[4].open_time_ms, 3, Priority.AUDIT, STOP)
    assert [one.open_time_ms for one in older] == [one.open_time_ms for one in rows[2:5]]
    forward = venue(sandbox.rest_url).candles("BTCUSDT", interval, rows[4].open_time_ms, None, 3, Priority.AUDIT, STOP)
    assert [one.figures for one in forward] == [one.figures for one in rows[4:7]]


def test_an_unknown_symbol_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(RequestRefused, match="-1121"):
        venue(sandbox.rest_url).candles("NONSENSE", "1m", None, None, 20, Priority.AUDIT, STOP)
