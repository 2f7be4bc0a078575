"""Candles and trades: the reference's frames, a real session's, and history in the order it is wanted."""

from __future__ import annotations

import gzip
import json
import threading
import time
from decimal import Decimal
from typing import Any

import pytest
import responses

from binmon.errors import RequestRefused, VenueFailed
from binmon.messages import Candle, Priority, Trade
from binmon.net.rest import RestSession
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.venues.base import ControlReply, MalformedFrame
from binmon.venues.bybit.limits import REFUSALS, ledger_of
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.watching import INTERVALS, BybitWatchDecoder, BybitWatching
from binmon.venues.watching import INTERVALS_MS
from tests.recordings import RECORDINGS

URL, STOP = "http://127.0.0.1:1", threading.Event()
RECORDING = RECORDINGS / "other-venues" / "bybit_v5_linear_20260809_44s.tsv.gz"
KLINE: dict[str, Any] = {
    "topic": "kline.1.BTCUSDT", "ts": 1764000031300, "type": "snapshot",
    "data": [{
        "start": 1764000000000, "end": 1764000059999, "interval": "1", "open": "69990", "close": "70001.2",
        "high": "70003.3", "low": "69988", "volume": "2.001", "turnover": "140044.118", "confirm": False,
        "timestamp": 1764000031234,
    }],
}  # fmt: skip
TRADES: dict[str, Any] = {
    "topic": "publicTrade.BTCUSDT", "ts": 1764000000140, "type": "snapshot",
    "data": [
        {"i": "2290000001234567890", "T": 1764000000138, "p": "70001.2", "v": "0.0012", "S": "Buy", "seq": 98765432112,
         "s": "BTCUSDT", "BT": False, "RPI": False},
        {"i": "2290000001234567891", "T": 1764000000139, "p": "70001.1", "v": "0.5", "S": "Sell", "seq": 98765432112,
         "s": "BTCUSDT", "BT": False, "RPI": True},
    ],
}  # fmt: skip
ROWS = [
    ["1764000060000", "70001.2", "70010", "69995.1", "70005", "3.120045", "218401.5512"],
    ["1764000000000", "69990", "70003.3", "69988", "70001.2", "2.001", "140044.118"],
]


def decoded(message: dict[str, Any] | bytes) -> list[Any]:
    frame = message if isinstance(message, bytes) else json.dumps(message).encode()
    return list(BybitWatchDecoder().decode(frame, 7))


def candle(opens: int, figures: str, closed: bool, event_ms: int = 0, received_ns: int = 7) -> Candle:
    numbers = [Decimal(one) for one in figures.split()]
    return Candle(
        "bybit", "BTCUSDT", "1m", opens, opens + 59_999, *numbers, trades=0, closed=closed, event_time_ms=event_ms,
        receive_time_ns=received_ns,
    )  # fmt: skip


def test_a_candle() -> None:
    told = candle(1764000000000, "69990 70003.3 69988 70001.2 2.001 140044.118", False, 1764000031300)
    assert decoded(KLINE) == [told]


def test_several_trades_in_one_message() -> None:
    assert decoded(TRADES) == [
        Trade("bybit", "BTCUSDT", 2290000001234567890, Decimal("70001.2"), Decimal("0.0012"), False, 1764000000138,
              1764000000140, 7),
        Trade("bybit", "BTCUSDT", 2290000001234567891, Decimal("70001.1"), Decimal("0.5"), True, 1764000000139,
              1764000000140, 7),
    ]  # fmt: skip


def test_replies_and_what_nobody_asked_for() -> None:
    ack = b'{"success":true,"ret_msg":"subscribe","conn_id":"d0","req_id":"s-1","op":"subscribe"}'
    assert decoded(ack) == [ControlReply("s-1", None)]
    assert decoded(b'{"success":true,"ret_msg":"pong","conn_id":"d0","op":"ping"}') == []
    assert decoded({"topic": "tickers.BTCUSDT", "data": {}}) == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        {**KLINE, "topic": "kline.7.BTCUSDT"},
        {**KLINE, "data": [{**KLINE["data"][0], "low": "0"}]},
        {**KLINE, "data": [{**KLINE["data"][0], "high": "1"}]},
        {**KLINE, "data": [{**KLINE["data"][0], "open": "NaN"}]},
        {**KLINE, "data": [{"start": 1}]},
        {**TRADES, "data": [{**TRADES["data"][0], "p": "0"}]},
        {**TRADES, "data": [{**TRADES["data"][0], "S": "Both"}]},
        {**TRADES, "data": [{**TRADES["data"][0], "i": ""}]},
        {**TRADES, "data": {}},
    ],
)
def test_malformed_frames(message: dict[str, Any] | bytes) -> None:
    with pytest.raises(MalformedFrame):
        decoded(message)


def watching() -> BybitWatching:
    ledger = ledger_of(max_wait_s=1.0)
    rest = RestSession("bybit", URL, ledger, refusals=REFUSALS)
    return BybitWatching(BybitMarket(rest, ledger, "ws://127.0.0.1:2"), rest)


def ok(rows: object) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "symbol": "BTCUSDT", "list": rows}, "time": 1}


def ask(venue: BybitWatching, start_ms: int | None, end_ms: int | None, limit: int = 2) -> list[Candle]:
    return venue.candles("BTCUSDT", "1m", start_ms, end_ms, limit, Priority.LISTING, STOP)


@responses.activate
def test_history_is_told_oldest_first_and_its_newest_may_be_open() -> None:
    responses.get(f"{URL}/v5/market/kline", json=ok(ROWS))
    found = ask(watching(), None, None)
    assert found == [
        candle(1764000000000, "69990 70003.3 69988 70001.2 2.001 140044.118", True, 0, found[0].receive_time_ns),
        candle(1764000060000, "70001.2 70010 69995.1 70005 3.120045 218401.5512", False, 0, found[0].receive_time_ns),
    ]
    # without the category it would be that of another market
    assert responses.calls[0].request.params == {
        "category": "spot", "symbol": "BTCUSDT", "interval": "1", "limit": "2"
    }  # fmt: skip


@responses.activate
def test_from_a_time_on_no_more_is_asked_for_than_may_come() -> None:
    responses.get(f"{URL}/v5/market/kline", json=ok(ROWS))
    venue = watching()
    (only,) = ask(venue, 1764000000000, None, 1)
    assert only.open_time_ms == 1764000000000
    asked = responses.calls[0].request.params
    assert (asked["start"], asked["end"]) == ("1764000000000", "1764000059999")
    ask(venue, 1764000000000, 1764000010000, 1000)
    assert responses.calls[1].request.params["end"] == "1764000010000"
    assert [one.open_time_ms for one in ask(venue, None, 1764000100000, 1)] == [1764000060000]


@responses.activate
@pytest.mark.parametrize(
    "rows", [ROWS[::-1], [["x", *ROWS[0][1:]]], [ROWS[0][:5]], [[*ROWS[0][:2], "1", *ROWS[0][3:]]], None]
)
def test_history_that_cannot_be_read(rows: object) -> None:
    responses.get(f"{URL}/v5/market/kline", json=ok(rows))
    with pytest.raises(VenueFailed, match="unreadable"):
        ask(watching(), None, None)


@responses.activate
def test_history_that_is_refused() -> None:
    responses.get(f"{URL}/v5/market/kline", json={"retCode": 10001, "retMsg": "no", "result": {}})
    with pytest.raises(RequestRefused):
        ask(watching(), None, None)


def test_streams() -> None:
    venue = watching()
    streams = [venue.candle_stream("BTCUSDT", "1h"), venue.trade_stream("BTCUSDT")]
    assert streams == ["kline.60.BTCUSDT", "publicTrade.BTCUSDT"] and venue.listing_stream() is None
    plan = venue.stream_plan("w", streams)
    assert [json.loads(one)["args"] for one in plan.opening_messages] == [[stream] for stream in streams]
    assert plan.heartbeat is not None
    assert set(INTERVALS) < set(INTERVALS_MS) and "1s" not in venue.intervals


@pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not beside this checkout")
def test_a_real_session() -> None:
    decoder = BybitWatchDecoder()
    candles: list[Candle] = []
    trades: list[Trade] = []
    with gzip.open(RECORDING, "rt") as lines:
        for line in lines:
            _, source, payload = line.rstrip("\n").split("\t", 2)
            if source == "ws#3" and ('"topic":"kline' in payload or '"topic":"publicTrade' in payload):
                for one in decoder.decode(payload.encode(), 7):
                    (candles if isinstance(one, Candle) else trades).append(one)  # type: ignore[arg-type]
    assert len(candles) == 25 and {one.symbol for one in candles} == {"BTCUSDT", "ETHUSDT"}
    assert len(trades) >= 18 and len({(one.symbol, one.trade_id) for one in trades}) == len(trades)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        times = [one.trade_time_ms for one in trades if one.symbol == symbol]
        assert times == sorted(times)


def test_the_sandboxs_history_is_read() -> None:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT",), seed=5)) as sandbox:
        ledger = ledger_of(max_wait_s=5.0)
        said = sandbox.ready()
        rest = RestSession("bybit", said["bybit_rest"], ledger, refusals=REFUSALS)
        venue = BybitWatching(BybitMarket(rest, ledger, said["bybit_public_stream"]), rest)
        newest = venue.candles("BTCUSDT", "1m", None, None, 10, Priority.LISTING, STOP)
        assert len(newest) == 10 and not newest[-1].closed and all(one.closed for one in newest[:-1])
        assert newest[-1].open_time_ms <= time.time() * 1000 + 1000
        again = venue.candles("BTCUSDT", "1m", newest[2].open_time_ms, None, 3, Priority.LISTING, STOP)
        assert [one.open_time_ms for one in again] == [one.open_time_ms for one in newest[2:5]]
        for interval in venue.intervals:
            for one in venue.candles("BTCUSDT", interval, None, None, 3, Priority.LISTING, STOP):
                assert one.close_time_ms > one.open_time_ms
