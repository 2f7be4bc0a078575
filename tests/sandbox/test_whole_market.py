from collections import Counter

import pytest
import requests
import websocket

from binmon.sandbox.symbols import split_symbol, valid_symbol
from binmon.sandbox.whole_market import whole_market


def test_names_are_the_same_every_time_and_valid():
    first, second = whole_market(5000, (), 1, None), whole_market(5000, (), 1, None)
    assert first == second
    names = [one.symbol for one in first]
    assert len(set(names)) == 5000
    assert all(map(valid_symbol, names))
    assert {quote for _, quote in map(split_symbol, names)} == {"USDT", "BTC", "EUR"}
    assert [one.symbol for one in whole_market(50, (), 2, None)] == names[:50]


def test_most_are_quiet_and_shallow():
    listed = whole_market(1500, (), 1, None)
    assert all(50 <= one.levels <= 300 or one.levels == 800 for one in listed)
    quiet = Counter(one.rate_hz < 1.0 for one in listed)
    assert quiet[True] > 1000
    assert 10 <= sum(one.rate_hz >= 5.0 for one in listed) <= 100
    assert {one.rate_hz for one in whole_market(100, (), 1, 12.5)} == {12.5}


def test_names_in_use_are_passed_over():
    names = [one.symbol for one in whole_market(10, (), 1, None)]
    assert [one.symbol for one in whole_market(9, {names[3]}, 1, None)] == names[:3] + names[4:]


def test_a_whole_market_over_sockets(start_exchange):
    exchange = start_exchange(generated_symbols=1500, generated_rate=2.0)
    names = [entry["symbol"] for entry in exchange.json("/api/v3/exchangeInfo")["symbols"]]
    made = names[-1500:]
    assert names[0] == "BTCUSDT" and len(set(names)) == len(names) > 1500
    assert not any(entry["awake"] for entry in exchange.state()["symbols"].values())
    half = made[:750]
    stream = exchange.stream("/stream?streams=" + "/".join(f"{name.lower()}@depth@100ms" for name in half))
    heard = set()
    while len(heard) < 700:
        heard.add(stream.event()["data"]["s"])

    def awake():
        return {name for name, entry in exchange.state()["symbols"].items() if entry["awake"]}

    exchange.wait(lambda: awake() >= set(half))  # those that were not heard yet wake up one after the other
    assert awake() == set(half)
    book = exchange.depth(made[1000])
    assert 45 <= len(book["bids"]) <= 5000 and book["lastUpdateId"] > 0
    assert exchange.state()["symbols"][made[1000]]["awake"]


def test_symbols_come_and_go_in_a_whole_market(start_exchange, plain_book):
    exchange = start_exchange(generated_symbols=200, generated_rate=30.0)
    gone, stays = exchange.sandbox.symbols[-1], exchange.sandbox.symbols[-2]
    stream = exchange.stream(f"/stream?streams={gone.lower()}@depth@100ms/newusdt@depth@100ms")
    assert stream.event()["data"]["s"] == gone
    exchange.fault("new_symbol", symbol="NEWUSDT")
    first = stream.until(lambda message: message["data"]["s"] == "NEWUSDT")["data"]
    book = plain_book(exchange.depth("NEWUSDT"))
    assert book.sides["b"] and book.sides["a"]
    book.apply(first)
    marker = exchange.depth("NEWUSDT", 5)["lastUpdateId"]
    while book.id < marker:
        book.apply(stream.until(lambda message: message["data"]["s"] == "NEWUSDT")["data"])
    exchange.fault("symbol_status", symbol=gone, status="BREAK")
    assert exchange.json(f"/api/v3/exchangeInfo?symbol={gone}")["symbols"][0]["status"] == "BREAK"
    exchange.fault("remove_symbol", symbol=gone)
    answer = exchange.get(f"/api/v3/depth?symbol={gone}")
    assert (answer.status_code, answer.json()["code"]) == (400, -1121)
    # NEWUSDT goes on. What was under way before the removal has arrived when an event from after it has.
    marker = exchange.depth("NEWUSDT", 5)["lastUpdateId"]
    stream.until(lambda message: message["data"]["s"] == "NEWUSDT" and message["data"]["u"] > marker)
    assert {stream.event()["data"]["s"] for _ in range(3)} == {"NEWUSDT"}
    # Listed again under the same name it begins anew, also for those who never unsubscribed.
    exchange.fault("new_symbol", symbol=gone)
    again = stream.until(lambda message: message["data"]["s"] == gone)["data"]
    assert again["U"] < 10_000
    other = exchange.stream(f"/ws/{stays.lower()}@depth@100ms")
    exchange.fault("symbol_status", symbol=stays, status="TRADING")
    assert other.event()["s"] == stays


def test_unknown_symbols_do_not_disturb(start_exchange):
    exchange = start_exchange(generated_symbols=10)
    stream = exchange.stream("/ws/nosuchusdt@depth")
    with pytest.raises(websocket.WebSocketTimeoutException):
        stream.event(0.3)
    answer = requests.get(exchange.sandbox.rest_url + "/api/v3/depth?symbol=NOSUCHUSDT", timeout=30)
    assert answer.json()["code"] == -1121
