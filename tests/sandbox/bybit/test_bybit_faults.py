"""Faults of the Bybit side, over real sockets."""

import itertools
import time

import pytest
import requests
import websocket

BOOK = "orderbook.50.BTCUSDT"
MINE = {"side": "Buy", "orderType": "Market", "qty": "25", "marketUnit": "quoteCoin"}


def ids(socket, count, topic=BOOK):
    return [socket.topic(topic)["data"]["u"] for _ in range(count)]


def steps(numbers):
    return [later - earlier for earlier, later in itertools.pairwise(numbers)]


def read_to_step(socket, step, numbers=()):
    """Read ids until one follows on the other by a step, which was asked for and comes behind what was under way."""
    numbers, deadline = list(numbers), time.monotonic() + 60
    while step not in steps(numbers):
        assert time.monotonic() < deadline, f"no step of {step}"
        numbers += ids(socket, 1)
    return numbers


def wrong(exchange, base, **fault):
    answer = exchange.session.post(f"{base}/sandbox/faults", json=fault, timeout=30)
    assert answer.status_code == 400
    return answer.json()["error"]


def test_both_ports_know_both_venues(bybit):
    binance, own = bybit.exchange.sandbox.rest_url, bybit.base
    table = bybit.desk("faults")["kinds"]
    assert "book_restart" in table and "book_restart" not in bybit.exchange.json("/sandbox/faults")["kinds"]
    assert bybit.exchange.json("/sandbox/faults?venue=bybit")["kinds"].keys() == table.keys()
    bybit.exchange.fault("gap", venue="bybit", streams=[BOOK], count=7)
    assert [fault["kind"] for fault in bybit.desk("faults")["active"]] == ["gap"]
    assert bybit.exchange.json("/sandbox/faults")["active"] == []
    bybit.fault("freeze", venue="binance")
    assert not bybit.venue.market.frozen
    assert "expected one of binance, bybit" in wrong(bybit.exchange, own, kind="gap", venue="kraken")
    assert "ids_back" in wrong(bybit.exchange, binance, kind="gap", venue="bybit", ids_back=1)
    assert "not listed" in wrong(bybit.exchange, own, kind="gap", symbols=["NOSUCH"])
    assert bybit.desk("state?venue=binance")["seed"] == 1
    assert bybit.exchange.json("/sandbox/state?venue=bybit")["symbols"]["BTCUSDT"]["status"] == "Trading"
    assert bybit.exchange.json("/sandbox/orders?venue=bybit") == {"orders": []}
    assert requests.get(f"{own}/sandbox/nothing", timeout=30).status_code == 404


def test_gap_is_a_step_of_two(bybit):
    socket = bybit.public(BOOK)
    before = ids(socket, 2)
    bybit.fault("gap", symbols=["BTCUSDT"])
    read_to_step(socket, 2, before)


def test_duplicate_and_reorder(bybit):
    socket = bybit.public(BOOK)
    before = ids(socket, 2)
    bybit.fault("duplicate")
    before = read_to_step(socket, 0, before)
    bybit.fault("reorder")
    read_to_step(socket, -1, before[-1:])


def test_crossed_book(bybit):
    socket = bybit.public(BOOK, "orderbook.1.BTCUSDT")
    bybit.fault("crossed_book", streams=["orderbook.1.BTCUSDT"])
    socket.until(
        lambda message: (
            message.get("topic") == "orderbook.1.BTCUSDT"
            and message["data"]["b"] and message["data"]["a"]
            and float(message["data"]["b"][0][0]) >= float(message["data"]["a"][0][0])
        )
    )  # fmt: skip
    bybit.fault("crossed_book", symbols=["BTCUSDT"])
    message = socket.until(
        lambda message: message.get("topic") == BOOK and any(size == "1" for _, size in message["data"]["b"])
    )
    price = next(price for price, size in message["data"]["b"] if size == "1")
    ask = float(bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT")["a"][0][0])
    assert float(price) > ask * 0.999
    # It is taken back with the next message.
    following = socket.topic(BOOK)
    assert price in {one for one, _ in following["data"]["b"]}


@pytest.mark.parametrize("kind", ["book_restart", "book_snapshot", "sequence_back"])
def test_ids_of_books(bybit, kind):
    socket = bybit.public(BOOK)
    last = ids(socket, 2)[-1]
    bybit.fault(kind, symbols=["BTCUSDT"])
    for _ in range(500):
        message = socket.topic(BOOK)
        step, last = message["data"]["u"] - last, message["data"]["u"]
        if message["type"] == "snapshot" or step < 0:
            break
    if kind == "book_restart":
        assert (message["type"], last) == ("snapshot", 1)
    elif kind == "book_snapshot":
        assert (message["type"], step) == ("snapshot", 1)
    else:
        assert (message["type"], step) == ("delta", -5)
    assert "1, 50, 200, 1000" in wrong(bybit.exchange, bybit.base, kind=kind, depth=7)


def test_stall_and_disconnect(bybit):
    socket = bybit.public(BOOK)
    ids(socket, 2)
    bybit.fault("stall", service="bybit_public")
    assert socket.ask(op="ping")["ret_msg"] == "pong"
    bybit.exchange.wait(lambda: bybit.desk("state")["faults"])
    private = bybit.private("order")
    bybit.fault("stall", service="bybit_private")
    bybit.main.create(**MINE)
    assert private.ask(op="ping")["op"] == "pong"
    assert {one["events"] for one in bybit.desk("state")["connections"] if one["service"] == "bybit_private"} == {0}
    bybit.fault("clear")
    bybit.main.create(**MINE)
    private.topic("order")
    socket.topic(BOOK)
    for mode in ("abrupt", "close_frame"):
        victim = bybit.public()
        number = max(one["id"] for one in bybit.desk("state")["connections"])
        bybit.fault("disconnect", mode=mode, connection=number)
        with pytest.raises((websocket.WebSocketException, OSError, ValueError)):  # a close frame reads as an empty text
            victim.message()


def test_silent_socket(bybit):
    socket = bybit.public(BOOK)
    bybit.fault("stall", pongs=False, service="bybit_public")
    bybit.exchange.wait(lambda: all(one["dead"] for one in bybit.desk("state")["connections"]))
    socket.send(op="ping")
    bybit.fault("clear")
    assert socket.until(lambda message: message.get("op") == "ping")["ret_msg"] == "pong"


def test_reports_delayed_lost_and_repeated(bybit):
    socket = bybit.private("order", "execution")
    bybit.fault("report_lost", event="execution")
    bybit.main.create(**MINE)
    assert socket.message()["topic"] == "order"
    bybit.fault("report_duplicate", event="order", times=3)
    bybit.main.create(**MINE)
    assert [socket.message()["topic"] for _ in range(4)] == ["execution", "order", "order", "order"]
    bybit.fault("report_delay", event="order", ms=1500, event_time="late", execution_type="PartiallyFilledCanceled")
    started = time.monotonic()
    bybit.main.create(**MINE)
    assert socket.message()["topic"] == "execution"
    late = socket.message()
    assert time.monotonic() - started >= 1.5
    assert late["creationTime"] - int(late["data"][0]["updatedTime"]) >= 1400


@pytest.mark.parametrize(("mode", "code"), [("timeout", 10016), ("timeout", 170007), ("status", None), ("reset", None)])
@pytest.mark.parametrize("kind", ["answer_lost", "order_lost"])
def test_answers_that_tell_nothing(bybit, mode, code, kind):
    more = {"code": code} if code else {}
    bybit.fault(kind, mode=mode, client_order_id="lost", **more)
    body = {"category": "spot", "symbol": "BTCUSDT", **MINE, "orderLinkId": "lost-1"}
    if mode == "reset":
        with pytest.raises(requests.ConnectionError):
            bybit.main.post("/v5/order/create", body)
    else:
        answer = bybit.main.post("/v5/order/create", body)
        assert (answer.status_code, answer.json()["retCode"] if code else None) == (200 if code else 503, code)
    # The client's own id tells whether it happened.
    rows = bybit.main.result("/v5/order/realtime", "category=spot&orderLinkId=lost-1")["list"]
    assert len(rows) == (kind == "answer_lost")
    again = bybit.main.create(**MINE, orderLinkId="lost-1")["retCode"]
    assert again == (170141 if kind == "answer_lost" else 0)


def test_refusals_and_late_answers(bybit):
    bybit.fault("order_refuse", code=170210, message="New order rejected.")
    answer = bybit.main.create(**MINE)
    assert (answer["retCode"], answer["retMsg"]) == (170210, "New order rejected.")
    bybit.fault("order_refuse", method="order.cancel", code=170212)
    body = {"category": "spot", "symbol": "BTCUSDT", "orderId": "1"}
    assert bybit.main.create(**MINE)["retCode"] == 0
    assert bybit.main.post("/v5/order/cancel", body).json()["retCode"] == 170212
    socket = bybit.private("order")
    bybit.fault("report_before_answer", ms=700)
    started = time.monotonic()
    assert bybit.main.create(**MINE)["retCode"] == 0
    assert time.monotonic() - started >= 0.7
    socket.topic("order")


def test_faults_of_order_entry(bybit):
    socket = bybit.socket(bybit.venue.trade_url)
    assert socket.ask(op="auth", args=bybit.main.auth())["retCode"] == 0

    def ask(number):
        header = {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000)}
        body = {"category": "spot", "symbol": "BTCUSDT", **MINE, "orderLinkId": number}
        return socket.ask(reqId=number, header=header, op="order.create", args=[body])

    bybit.fault("answer_lost", code=10016)
    assert ask("a")["retCode"] == 10016
    bybit.fault("report_before_answer", ms=300)
    assert ask("b")["retCode"] == 0
    assert [row["orderLinkId"] for row in bybit.desk("orders")["orders"]] == ["a", "b"]


def test_rest_that_fails(bybit):
    time_path = "/v5/market/time"
    bybit.fault("rest", mode="ret_code", code=10006, path="order")
    answer = bybit.main.post("/v5/order/create", {"category": "spot", "symbol": "BTCUSDT", **MINE})
    assert answer.json()["retCode"] == 10006 and answer.headers["X-Bapi-Limit-Status"] == "0"
    assert bybit.desk("orders")["orders"] == []
    bybit.fault("rest", status=403)
    assert (answer := bybit.get(time_path)).status_code == 403 and answer.text == "access too frequent"
    bybit.fault("rest", status=429)
    assert (answer := bybit.get(time_path)).status_code == 429 and answer.json()["retCode"] == 429
    bybit.fault("rest", status=502)
    assert bybit.get(time_path).headers["Content-Type"] == "text/html"
    bybit.fault("rest", mode="slow", delay_s=0.5)
    started = time.monotonic()
    assert bybit.get(time_path).status_code == 200
    assert time.monotonic() - started >= 0.5
    # A fault may be aimed at a symbol, which stands in the body of a POST.
    bybit.fault("rest", mode="ret_code", code=10000, symbols=["BTCUSDT"])
    assert bybit.get(time_path).json()["retCode"] == 0
    assert bybit.main.create(**MINE)["retCode"] == 10000


def test_ban(bybit):
    bybit.fault("ban", seconds=100)
    assert bybit.get("/v5/market/time").status_code == 403
    bybit.fault("forgive_weight")
    assert bybit.get("/v5/market/time").status_code == 200


def test_a_halted_symbol(bybit):
    bybit.fault("symbol_status", symbol="BTCUSDT")
    row = bybit.result("/v5/market/instruments-info?category=spot&symbol=BTCUSDT")["list"][0]
    assert row["status"] == "Closed"
    assert bybit.result("/v5/market/instruments-info?category=spot&status=Trading&symbol=BTCUSDT")["list"] == []
    assert bybit.main.create(**MINE)["retCode"] == 170151
    assert bybit.exchange.json("/api/v3/exchangeInfo?symbol=BTCUSDT")["symbols"][0]["status"] == "TRADING"
    bybit.fault("symbol_status", symbol="BTCUSDT", status="Trading")
    assert bybit.main.create(**MINE)["retCode"] == 0
    assert "Trading, Closed" in wrong(bybit.exchange, bybit.base, kind="symbol_status", symbol="BTCUSDT", status="HALT")


def test_listing_and_delisting(bybit):
    bybit.fault("new_symbol", symbol="FRESHUSDT")
    assert bybit.main.create(**{**MINE, "symbol": "FRESHUSDT"})["retCode"] == 0
    bybit.fault("remove_symbol", symbol="FRESHUSDT")
    assert bybit.main.create(**{**MINE, "symbol": "FRESHUSDT"})["retCode"] == 170121
    assert "symbol" in wrong(bybit.exchange, bybit.base, kind="new_symbol")


def test_clock_skew_is_this_venues_alone(bybit):
    bybit.fault("clock_skew", ms=-20_000)
    ahead = bybit.main.get("/v5/account/info")
    assert ahead.json()["retCode"] == 10002
    now_ms = time.time_ns() // 1_000_000
    assert bybit.main.get("/v5/account/info", timestamp=now_ms - 20_000).json()["retCode"] == 0
    assert abs(bybit.exchange.json("/api/v3/time")["serverTime"] - now_ms) < 15_000


def test_queries_that_lag(bybit):
    bybit.fault("query_lag", ms=600_000)
    bybit.main.create(**MINE, orderLinkId="young")
    for path in ("/v5/order/realtime", "/v5/order/history", "/v5/execution/list"):
        assert bybit.main.result(path, "category=spot&orderLinkId=young")["list"] == []
    bybit.fault("clear")
    assert bybit.main.result("/v5/order/history", "category=spot&orderLinkId=young")["list"]


def test_events_later_than_rest(bybit):
    socket = bybit.public(BOOK)
    ids(socket, 1)
    bybit.fault("snapshot_lag", ms=-1500)
    for _ in range(2000):
        message = socket.topic(BOOK)
        if time.time_ns() // 1_000_000 - message["ts"] >= 1400:
            break
    else:
        pytest.fail("events are not late")
    assert "below zero" in wrong(bybit.exchange, bybit.base, kind="snapshot_lag", ms=100)


def test_prices_that_are_set_stay(bybit):
    bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT")
    bybit.exchange.depth("BTCUSDT", 5)
    bybit.fault("set_price", symbol="BTCUSDT", price="50000")
    bybit.exchange.wait(lambda: bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT")["b"])
    bid = float(bybit.result("/v5/market/tickers?category=spot&symbol=BTCUSDT")["list"][0]["bid1Price"])
    assert 49_000 < bid < 51_000
    theirs = float(bybit.exchange.depth("BTCUSDT", 5)["bids"][0][0])
    assert theirs > 60_000


def test_reset(bybit):
    socket = bybit.public(BOOK)
    ids(socket, 1)
    bybit.main.create(**MINE)
    bybit.main.create(side="Buy", orderType="Limit", price="60000", qty="0.001")
    bybit.fault("reset")
    assert bybit.desk("orders") == {"orders": []}
    wallet = bybit.main.result("/v5/account/wallet-balance", "accountType=UNIFIED&coin=USDT")["list"][0]["coin"][0]
    assert (wallet["walletBalance"], wallet["locked"]) == ("1000000", "0")
    assert socket.until(lambda message: message.get("type") == "snapshot")["data"]["u"] == 1
