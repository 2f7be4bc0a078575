"""The market streams as a client sees them."""

import itertools
import time

import pytest
import websocket


def test_every_stream_delivers_its_event(start_exchange):
    exchange = start_exchange(rate=100.0)
    kinds = {
        "trade": "trade", "aggTrade": "aggTrade", "kline_1s": "kline", "kline_1M": "kline", "miniTicker": "24hrMiniTicker",
        "ticker": "24hrTicker", "avgPrice": "avgPrice", "depth": "depthUpdate", "depth@100ms": "depthUpdate",
        "bookTicker": None, "depth5": None, "depth10@100ms": None, "depth20": None,
    }  # fmt: skip
    names = [f"btcusdt@{kind}" for kind in kinds]
    stream = exchange.stream(
        f"/stream?streams={'/'.join([*names, '!miniTicker@arr', 'btcusdt@nonsense', 'BTCUSDT@trade'])}"
    )
    seen = {}
    deadline = time.monotonic() + 60
    while len(seen) < len(names) + 1 and time.monotonic() < deadline:
        message = stream.event()
        seen.setdefault(message["stream"], message["data"])
    assert set(seen) == {*names, "!miniTicker@arr"}
    for kind, event in kinds.items():
        assert seen[f"btcusdt@{kind}"].get("e") == event
    assert seen["!miniTicker@arr"][0]["s"] == "BTCUSDT"
    assert len(seen["btcusdt@depth5"]["bids"]) == 5
    assert "pu" not in seen["btcusdt@depth"] and "T" not in seen["btcusdt@depth"]


def test_klines_close_exactly_once(start_exchange):
    exchange = start_exchange(rate=50.0)
    stream = exchange.stream("/ws/btcusdt@kline_1s")
    candles = []
    while sum(candle["x"] for candle in candles) < 4:
        candles.append(stream.event()["k"])
    closed = [candle["t"] for candle in candles if candle["x"]]
    assert closed == sorted(set(closed))
    assert all(later - earlier == 1000 for earlier, later in itertools.pairwise(closed))
    rows = exchange.json(f"/api/v3/klines?symbol=BTCUSDT&interval=1s&startTime={closed[0]}&endTime={closed[-1]}")
    final = {candle["t"]: candle for candle in candles if candle["x"]}
    for row in rows:
        candle = final[row[0]]
        assert [candle[key] for key in "ohlcvTqnVQ"] == row[1:11]


def test_raw_connection_is_bare_and_properties_change_it(exchange):
    stream = exchange.stream("/ws")
    assert stream.ask(method="SUBSCRIBE", params=["btcusdt@depth@100ms"], id=1) == {"result": None, "id": 1}
    assert stream.event()["e"] == "depthUpdate"
    assert stream.ask(method="GET_PROPERTY", params=["combined"], id=2)["result"] is False
    assert stream.ask(method="SET_PROPERTY", params=["combined", True], id=3)["id"] == 3
    assert stream.until(lambda message: "stream" in message)["data"]["e"] == "depthUpdate"
    assert stream.ask(method="UNSUBSCRIBE", params=["btcusdt@depth@100ms"], id=4)["id"] == 4
    # What was under way may still come, but nothing of what happens from now on.
    marker = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    exchange.wait(lambda: exchange.depth("BTCUSDT", 5)["lastUpdateId"] > marker)
    assert [message for message in stream.collect(0.4) if message["data"]["u"] > marker] == []


def test_microseconds(exchange):
    stream = exchange.stream("/ws/btcusdt@depth@100ms?timeUnit=MICROSECOND")
    assert abs(stream.event()["E"] - time.time() * 1e6) < 60e6


def test_unicode_symbol_in_a_percent_encoded_url(exchange):
    stream = exchange.stream("/stream?streams=%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456%40depth%40100ms")
    message = stream.event()
    assert message["data"]["s"] == "这是测试币456"
    assert message["stream"] == "这是测试币456@depth@100ms"


def test_halted_symbols_follow_the_rules_of_their_status(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream("/stream?streams=btcusdt@depth@100ms/btcusdt@trade")
    exchange.fault("symbol_status", symbol="BTCUSDT", status="HALT")
    # Events of after the change are those past the book of after the change.
    marker = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    stream.until(lambda message: message["data"].get("u", 0) > marker)
    halted = [stream.event() for _ in range(8)]
    assert {message["stream"] for message in halted} == {"btcusdt@depth@100ms"}
    exchange.fault("symbol_status", symbol="BTCUSDT", status="BREAK")
    last = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    if halted[-1]["data"]["u"] < last:
        stream.until(lambda message: message["data"].get("u") == last)
    assert stream.collect(0.5) == []


def test_connect_limit(start_exchange):
    exchange = start_exchange(connect_limit=3)
    for _ in range(3):
        exchange.stream("/ws")
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        exchange.stream("/ws")
    assert caught.value.status_code == 429


def test_unknown_path_is_not_found(exchange):
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        exchange.stream("/ws-api/v3")
    assert caught.value.status_code == 404
