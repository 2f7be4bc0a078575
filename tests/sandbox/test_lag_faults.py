"""Depth and streams that tell the truth about different moments."""

import itertools

import pytest
import requests

from binmon.sandbox import lag_faults
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.lag_faults import LaggedBook
from binmon.sandbox.symbol_market import SymbolMarket
from binmon.sandbox.symbols import default_instruments

NOW = 1_784_600_000_000_000
BNB = "/stream?streams=bnbusdt@depth@100ms"


@pytest.fixture
def clock(standing):
    return standing(lag_faults)


@pytest.fixture
def market():
    return SymbolMarket({one.symbol: one for one in default_instruments()}["BNBUSDT"], StreamHub(), "seed", NOW)


def test_lagged_book_is_the_book_of_then_with_its_id(clock, market):
    lagged = LaggedBook(market, 0.5)
    history = {clock.now: market.book_json(5000)}
    assert lagged.text(5000) == history[100.0]
    for step in range(1, 200):
        clock.now = 100.0 + step / 100
        market.act(NOW + step)
        history[clock.now] = market.book_json(5000)
        if step > 50:
            assert lagged.text(5000) == history[100.0 + (step - 50) / 100]
    assert history[100.0 + 149 / 100] != history[clock.now]
    assert lagged.text(7) in {LaggedBook(market, 0).text(7), lagged.text(7)}
    assert lagged.text(7).count('","') == 14


def test_a_reset_of_the_venue_starts_the_copy_anew(clock, market):
    lagged = LaggedBook(market, 0.5)
    market.act(NOW)
    market.start("other", NOW, fresh=True)
    assert lagged.text(5000) == market.book_json(5000)
    assert lagged.update_id == 1


def test_nobody_is_told_after_the_end(clock, market):
    lagged = LaggedBook(market, 0.0)
    lagged.end()
    before = lagged.text(5000)
    for step in range(20):
        market.act(NOW + step)
    assert lagged.text(5000) == before != market.book_json(5000)


def events(stream, count):
    return [stream.until(lambda message: "data" in message)["data"] for _ in range(count)]


def breaks(seen):
    return sum(later["U"] != earlier["u"] + 1 for earlier, later in itertools.pairwise(seen))


def test_an_older_snapshot_bridges_to_the_true_book(start_exchange, plain_book):
    exchange = start_exchange(symbols=("BNBUSDT",), rate=100.0)
    stream = exchange.stream(BNB)
    seen = events(stream, 1)
    exchange.fault("snapshot_lag", ms=700, symbols=["BNBUSDT"])
    old = exchange.depth("BNBUSDT")
    while old["lastUpdateId"] <= seen[0]["u"]:
        seen += events(stream, 1)
        old = exchange.depth("BNBUSDT")
        assert len(seen) < 300
    while old["lastUpdateId"] >= seen[-1]["U"] - 1:
        seen += events(stream, 1)
    assert len(exchange.depth("BNBUSDT", 10)["asks"]) == 10
    exchange.fault("clear")
    exchange.fault("freeze")
    truth = exchange.depth("BNBUSDT")
    book = plain_book(old)
    while seen[-1]["u"] < truth["lastUpdateId"]:
        seen += events(stream, 1)
    for event in seen:
        book.apply(event)
    book.assert_is(truth, least=1400)


def test_streams_behind_rest_lose_nothing_also_when_it_ends(start_exchange):
    exchange = start_exchange(symbols=("BNBUSDT",), rate=100.0)
    stream = exchange.stream(BNB)
    seen = events(stream, 2)
    exchange.fault("snapshot_lag", ms=-3000, symbols=["BNBUSDT"])
    last = seen[-1]["u"]

    def far_ahead():
        update_id = exchange.depth("BNBUSDT", 5)["lastUpdateId"]
        return update_id if update_id > last + 50 else None

    ahead = exchange.wait(far_ahead)
    # What was under way when the delay began comes at once, and everything after it late.
    while seen[-1]["u"] < ahead:
        seen += events(stream, 1)
    assert exchange.json("/api/v3/time")["serverTime"] - seen[-1]["E"] >= 2900
    exchange.wait(lambda: exchange.state()["faults"][0]["held"] > 0)
    exchange.fault("clear")
    seen += events(stream, 10)
    assert breaks(seen) == 0
    assert exchange.state()["faults"] == []


def test_streams_catch_up_by_themselves_after_the_time_is_over(start_exchange):
    exchange = start_exchange(symbols=("BNBUSDT",), rate=100.0)
    stream = exchange.stream(BNB)
    seen = events(stream, 1)
    exchange.fault("snapshot_lag", ms=-600, seconds=0.4)
    while exchange.state()["faults"]:
        seen += events(stream, 1)
    seen += events(stream, 3)
    assert breaks(seen) == 0


def test_copies_of_books_go_when_the_time_is_over(start_exchange):
    exchange = start_exchange(symbols=("BNBUSDT",), rate=100.0)
    exchange.depth("BNBUSDT", 5)
    market = exchange.sandbox.market.symbol("BNBUSDT")
    exchange.fault("snapshot_lag", ms=60_000, seconds=5)
    assert len(market._watchers) == 1
    held = exchange.depth("BNBUSDT", 5)["lastUpdateId"]
    exchange.wait(lambda: exchange.depth("BNBUSDT", 5)["lastUpdateId"] > held)
    assert market._watchers == ()


def test_zero_is_neither_order(exchange):
    answer = requests.post(
        exchange.sandbox.rest_url + "/sandbox/faults", json={"kind": "snapshot_lag", "ms": 0}, timeout=30
    )
    assert answer.status_code == 400 and "'ms'" in answer.json()["error"]
