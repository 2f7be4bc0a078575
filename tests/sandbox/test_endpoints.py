"""REST endpoints of the generated market: shapes, errors, weights."""

import contextlib
import itertools
import time

import pytest
import requests

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox


@contextlib.contextmanager
def market():
    """Asks a market that has just begun."""
    options = SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=100.0, weight_limit=10**6)
    with Sandbox(options) as sandbox, requests.Session() as session:
        yield lambda path, **arguments: session.get(sandbox.rest_url + path, timeout=30, **arguments)


@pytest.fixture(scope="module")
def shared():
    with market() as ask:
        yield ask


@pytest.fixture
def fresh():
    """One in which no trade is too old for an answer yet."""
    with market() as ask:
        yield ask


def test_exchange_info(shared):
    body = shared("/api/v3/exchangeInfo").json()
    listed = {entry["symbol"]: entry for entry in body["symbols"]}
    assert set(listed) == {"BTCUSDT", "ETHUSDT", "这是测试币456", "PAUSEUSDT", "QUIETUSDT"}
    assert [limit["rateLimitType"] for limit in body["rateLimits"]] == [
        "REQUEST_WEIGHT", "ORDERS", "ORDERS", "RAW_REQUESTS",
    ]  # fmt: skip
    assert listed["PAUSEUSDT"]["status"] == "BREAK"
    for query, names in (
        ("symbol=BTCUSDT", {"BTCUSDT"}),
        ('symbols=["BTCUSDT","ETHUSDT"]', {"BTCUSDT", "ETHUSDT"}),
        ("symbol=%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456", {"这是测试币456"}),
        ("symbolStatus=BREAK", {"PAUSEUSDT"}),
        ("permissions=SPOT&showPermissionSets=false", set(listed)),
        ('permissions=["MARGIN","SPOT"]', set(listed)),
        ("permissions=LEVERAGED", set()),
    ):
        got = shared(f"/api/v3/exchangeInfo?{query}").json()["symbols"]
        assert {entry["symbol"] for entry in got} == names, query
    assert got == []


def test_book_and_tickers(shared):
    book = shared("/api/v3/depth?symbol=ETHUSDT").json()
    assert (len(book["bids"]), len(book["asks"])) == (100, 100)
    bids = [float(row[0]) for row in book["bids"]]
    assert bids == sorted(bids, reverse=True)
    assert shared("/api/v3/ticker/bookTicker?symbol=BTCUSDT").json().keys() == {
        "symbol", "bidPrice", "bidQty", "askPrice", "askQty",
    }  # fmt: skip
    assert len(shared("/api/v3/ticker/price").json()) == 5
    assert len(shared('/api/v3/ticker/price?symbols=["BTCUSDT"]').json()) == 1
    assert len(shared("/api/v3/ticker/price?symbolStatus=BREAK").json()) == 1
    day = shared("/api/v3/ticker/24hr?symbol=BTCUSDT").json()
    assert day["lastId"] - day["firstId"] + 1 == day["count"]
    assert float(day["lowPrice"]) <= float(day["lastPrice"]) <= float(day["highPrice"])
    assert len(shared("/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI").json()) == 12
    assert shared("/api/v3/ticker/24hr?symbol=QUIETUSDT").json()["count"] == 0


def test_trades_and_aggregates(fresh):
    fresh("/api/v3/depth?symbol=BTCUSDT")  # which wakes it
    deadline_s = time.monotonic() + 60
    while len(fresh("/api/v3/aggTrades?symbol=BTCUSDT").json()) < 2:
        assert time.monotonic() < deadline_s, "the market must trade now and then"
    trades = fresh("/api/v3/trades?symbol=BTCUSDT&limit=1000").json()
    ids = [trade["id"] for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    aggregates = fresh("/api/v3/aggTrades?symbol=BTCUSDT&limit=1000").json()
    assert aggregates[0]["f"] == ids[0]
    assert all(later["f"] == earlier["l"] + 1 for earlier, later in itertools.pairwise(aggregates))
    assert fresh(f"/api/v3/aggTrades?symbol=BTCUSDT&fromId={aggregates[1]['a']}&limit=1").json() == [aggregates[1]]
    assert fresh(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={ids[1]}&limit=1").json()[0]["id"] == ids[1]
    assert fresh("/api/v3/trades?symbol=QUIETUSDT").json() == []
    average = fresh("/api/v3/avgPrice?symbol=BTCUSDT").json()
    assert average["mins"] == 5 and 60_000 < float(average["price"]) < 70_000


def test_klines(shared):
    rows = shared("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000").json()
    assert len(rows) == 1000
    assert all(later[0] == earlier[6] + 1 for earlier, later in itertools.pairwise(rows))
    part = shared(f"/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={rows[10][0]}&limit=3").json()
    assert part == rows[10:13]
    assert (
        shared(
            "/api/v3/uiKlines?symbol=BTCUSDT&interval=1M&limit=2", headers={"X-MBX-TIME-UNIT": "MICROSECOND"}
        ).json()[0][0]
        > 10**15
    )
    assert shared("/api/v3/klines?symbol=QUIETUSDT&interval=1m").json() == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("depth", -1102),
        ("depth?limit=5", -1102),
        ("depth?symbol=", -1102),
        ("depth?symbol=btcusdt", -1121),
        ("depth?symbol=BTCUSDT&colour=red", -1104),
        ("depth?symbol=BTCUSDT&limit=many", -1100),
        ("depth?symbol=BTCUSDT&symbolStatus=BREAK", -1220),
        ("depth?symbol=BTCUSDT&symbolStatus=OPEN", -1122),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?symbol=BTCUSDT&interval=1H", -1120),
        ("exchangeInfo?symbol=NOPE", -1121),
        ('exchangeInfo?symbols=["BTCUSDT","NOPE"]', -1121),
        ('exchangeInfo?symbols=["BTCUSDT","BTCUSDT"]', -1151),
        ("exchangeInfo?symbol=BTCUSDT&permissions=SPOT", -1128),
        ("ticker/24hr?type=HUGE", -1139),
        ("aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", -1128),
        ("time?x=1", -1104),
    ],
)
def test_errors(shared, query, code):
    answer = shared(f"/api/v3/{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("query", "weight"),
    [
        ("ping", 1), ("time", 1), ("exchangeInfo", 20), ("trades?symbol=BTCUSDT", 25), ("aggTrades?symbol=BTCUSDT", 4),
        ("depth?symbol=BTCUSDT", 5), ("depth?symbol=BTCUSDT&limit=101", 25), ("depth?symbol=BTCUSDT&limit=1000", 50),
        ("depth?symbol=BTCUSDT&limit=5000", 250), ("klines?symbol=BTCUSDT&interval=1m", 2), ("avgPrice?symbol=BTCUSDT", 2),
        ("ticker/price?symbol=BTCUSDT", 2), ("ticker/price", 4), ("ticker/bookTicker", 4), ("ticker/24hr", 80),
        ("ticker/24hr?symbol=BTCUSDT", 2), ('ticker/24hr?symbols=["BTCUSDT"]', 2),
    ],
)  # fmt: skip
def test_weights(shared, query, weight):
    for _ in range(2):
        before = int(shared("/api/v3/ping").headers["X-MBX-USED-WEIGHT-1M"])
        after = int(shared(f"/api/v3/{query}").headers["x-mbx-used-weight-1m"])
        if after > before:
            break
    assert after - before == weight
