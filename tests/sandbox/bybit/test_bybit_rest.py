"""REST over real sockets: who may ask, how often, and what the answers look like (2, 3 and 6)."""

import json
import time

import pytest
import requests

MINE = {"side": "Buy", "orderType": "Market", "qty": "25", "marketUnit": "quoteCoin"}


def code(answer):
    return answer.json()["retCode"]


def test_the_envelope(bybit):
    body = bybit.get("/v5/market/time").json()
    assert list(body) == ["retCode", "retMsg", "result", "retExtInfo", "time"]
    assert int(body["result"]["timeNano"]) // 1_000_000 <= body["time"]
    assert body["result"]["timeNano"].startswith(body["result"]["timeSecond"])
    assert "X-Bapi-Limit" not in bybit.get("/v5/market/time").headers


def test_instruments(start_bybit):
    bybit = start_bybit(symbols=None)
    rows = bybit.result("/v5/market/instruments-info?category=spot&limit=1&cursor=x")["list"]
    assert len(rows) == len(bybit.venue.symbols) > 3
    row = bybit.result("/v5/market/instruments-info?category=spot&symbol=BTCUSDT")["list"][0]
    assert (row["baseCoin"], row["quoteCoin"], row["status"]) == ("BTC", "USDT", "Trading")
    assert row["lotSizeFilter"]["basePrecision"] == "0.000001"
    assert row["lotSizeFilter"]["quotePrecision"] == "0.0000001"
    assert row["lotSizeFilter"]["minOrderAmt"] == "5"
    assert row["priceFilter"] == {"tickSize": "0.1"}
    assert set(row["lotSizeFilter"]) == {
        "basePrecision", "quotePrecision", "minOrderQty", "maxOrderQty", "minOrderAmt", "maxOrderAmt",
        "maxLimitOrderQty", "maxMarketOrderQty", "postOnlyMaxLimitOrderSize",
    }  # fmt: skip
    signed = bybit.main.result("/v5/account/instruments-info", "category=spot&symbol=BTCUSDT")
    assert signed["list"] == [row]
    # Each venue lists a symbol that the other does not.
    binance = {one["symbol"] for one in bybit.exchange.json("/api/v3/exchangeInfo")["symbols"]}
    assert "MNTUSDT" in bybit.venue.symbols and "MNTUSDT" not in binance
    assert "BNBUSDT" in binance and "BNBUSDT" not in bybit.venue.symbols


def test_market_data(bybit):
    bybit.exchange.wait(lambda: bybit.result("/v5/market/recent-trade?category=spot&symbol=BTCUSDT")["list"] or (
        bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT") and None))  # fmt: skip
    ticker = bybit.result("/v5/market/tickers?category=spot&symbol=BTCUSDT")["list"][0]
    assert 0 < float(ticker["bid1Price"]) < float(ticker["ask1Price"])
    assert {"price24hPcnt", "usdIndexPrice", "turnover24h", "prevPrice24h"} <= set(ticker)
    book = bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT")
    assert (len(book["b"]), len(book["a"]), book["s"]) == (1, 1, "BTCUSDT")
    book = bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=1000")
    assert [len(book[side]) for side in "ab"] == [1000, 1000]
    assert book["cts"] <= book["ts"]
    prices = [float(price) for price, _ in book["b"]]
    assert prices == sorted(prices, reverse=True)
    rows = bybit.result("/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&limit=3")["list"]
    assert [len(row) for row in rows] == [7] * 3
    assert int(rows[0][0]) - int(rows[1][0]) == 60_000
    inside = bybit.result(
        f"/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&start={rows[2][0]}&end={rows[1][0]}"
    )
    assert [row[0] for row in inside["list"]] == [rows[1][0], rows[2][0]]
    assert len(bybit.result("/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1")["list"]) == 200
    trades = bybit.result("/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=1")["list"]
    assert len(trades) == 1 and trades[0]["side"] in ("Buy", "Sell")
    limits = bybit.result("/v5/market/price-limit?category=spot&symbol=BTCUSDT")
    assert float(limits["sellLmt"]) < prices[0] < float(limits["buyLmt"])


@pytest.mark.parametrize(
    "query",
    [
        "/v5/market/orderbook?category=spot",
        "/v5/market/orderbook?category=spot&symbol=NOSUCH",
        "/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=1001",
        "/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=0",
        "/v5/market/orderbook?symbol=BTCUSDT",
        "/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=61",
        "/v5/market/kline?symbol=BTCUSDT&interval=1",  # the category of klines is linear without a word
        "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=2",
        "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&start=x",
        "/v5/market/instruments-info?category=spot&symbol=NOSUCH",
        "/v5/market/tickers?category=nothing",
    ],
)
def test_wrong_queries(bybit, query):
    answer = bybit.get(query)
    assert (answer.status_code, code(answer), answer.json()["result"]) == (200, 10001, {})


def test_paths_and_verbs(bybit):
    assert bybit.get("/v5/nothing").status_code == 404
    assert requests.post(bybit.base + "/v5/market/time", timeout=30).status_code == 400
    assert bybit.main.get("/v5/order/create").status_code == 400
    refused = requests.get(bybit.base + "/v5/market/time", data="{}", timeout=30)
    assert refused.status_code == 403


def test_who_may_ask(bybit):
    ask = bybit.main
    path, query = "/v5/account/wallet-balance", "accountType=UNIFIED"
    assert code(ask.get(path, query)) == 0
    assert code(bybit.rsa.get(path, query)) == 0
    assert code(bybit.reader.get(path, query)) == 0
    assert code(bybit.reader.post("/v5/order/create", {"category": "spot", "symbol": "BTCUSDT", **MINE})) == 10005
    plain = bybit.get(f"{path}?{query}")
    assert plain.status_code == 401
    headers = ask.headers(query)
    url = f"{bybit.base}{path}?{query}"
    answer = requests.get(url, headers={**headers, "X-BAPI-API-KEY": "unknown"}, timeout=30)
    assert (answer.status_code, answer.json()["retCode"], answer.json()["retMsg"]) == (
        200, 10003, "API key is invalid.",
    )  # fmt: skip
    answer = requests.get(f"{url}&coin=BTC", headers=headers, timeout=30)
    assert answer.json()["retCode"] == 10004
    stamp = headers["X-BAPI-TIMESTAMP"]
    assert f"origin_string[{stamp}{ask.key}5000{query}&coin=BTC]" in answer.json()["retMsg"]
    assert ask._secret not in answer.text
    now_ms = time.time_ns() // 1_000_000
    assert code(ask.get(path, query, timestamp=now_ms - 100_000)) == 10002
    assert code(ask.get(path, query, timestamp=now_ms + 100_000, window="600000")) == 10002


def test_the_query_is_signed_as_it_is_sent(bybit):
    assert code(bybit.main.get("/v5/order/realtime", "symbol=BTCUSDT&category=spot&orderLinkId=a%3Ab")) == 0
    assert code(bybit.main.get("/v5/order/realtime", "category=spot&symbol=BTCUSDT&cursor=")) == 0


def test_an_order_from_the_beginning_to_the_end(bybit):
    answer = bybit.main.create(**MINE, orderLinkId="mine-1")
    assert answer["retCode"] == 0
    number = answer["result"]["orderId"]
    assert answer["result"] == {"orderId": number, "orderLinkId": "mine-1"}
    (row,) = bybit.main.result("/v5/order/realtime", "category=spot&orderLinkId=mine-1")["list"]
    assert (row["orderId"], row["orderStatus"]) == (number, "PartiallyFilledCanceled")
    (old,) = bybit.main.result("/v5/order/history", f"category=spot&orderId={number}")["list"]
    assert {**row, "extraFees": "", "rpiTakerAccess": False, "rpiMatchedQty": "0"} == old
    fills = bybit.main.result("/v5/execution/list", "category=spot&orderLinkId=mine-1")["list"]
    assert sum(float(fill["execQty"]) for fill in fills) == pytest.approx(float(row["cumExecQty"]))
    assert bybit.main.result("/v5/order/realtime", "category=spot")["list"] == []
    assert bybit.main.result("/v5/order/realtime", "category=spot&openOnly=1")["list"] == [row]
    assert bybit.main.create(**MINE, orderLinkId="mine-1")["retCode"] == 170141


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"symbol": "NOSUCH", **MINE}, 170121),
        ({**MINE, "side": "buy"}, 170117),
        ({**MINE, "orderType": "STOP"}, 170116),
        ({**MINE, "timeInForce": "IOC", "orderType": "Limit", "price": "1.23", "qty": "1"}, 170134),
        ({**MINE, "orderType": "Limit", "price": "60000", "qty": "0.0000001"}, 170137),
        ({**MINE, "orderType": "Limit", "price": "60000", "qty": "0"}, 170136),
        ({**MINE, "orderType": "Limit", "price": "0", "qty": "1"}, 170133),
        ({**MINE, "orderType": "Limit", "price": "60000", "qty": "1", "timeInForce": "GTX"}, 170115),
        ({**MINE, "orderType": "Limit", "qty": "1"}, 10001),
        ({**MINE, "qty": "25.00000001"}, 170148),
        ({**MINE, "qty": "0.01", "marketUnit": None}, 170140),
        ({**MINE, "qty": 25}, 10001),
        ({**MINE, "qty": "-1"}, 170130),
        ({**MINE, "qty": "1e3"}, 170130),
        ({**MINE, "marketUnit": "btc"}, 10001),
        ({**MINE, "category": "linear"}, 10001),
        ({**MINE, "reduceOnly": True}, 170003),
        ({**MINE, "orderFilter": "tpslOrder"}, 170201),
        ({**MINE, "orderLinkId": "a b"}, 170130),
        ({**MINE, "orderLinkId": "x" * 37}, 170130),
        ({**MINE, "smpType": "Some"}, 10001),
        ({**MINE, "slippageToleranceType": "TickSize", "slippageTolerance": "1.5"}, 10001),
        ({**MINE, "slippageToleranceType": "Percent", "slippageTolerance": "10.01"}, 10001),
        ({**MINE, "slippageToleranceType": "Percent", "slippageTolerance": "0.001"}, 10001),
        ({**MINE, "slippageToleranceType": "Percent"}, 10001),
        ({**MINE, "qty": "100000000000"}, 170124),
    ],
)
def test_orders_that_are_refused(bybit, body, expected):
    body = {name: value for name, value in body.items() if value is not None}
    answer = bybit.main.create(**body)
    assert answer["retCode"] == expected, answer
    assert answer["result"] == {}
    if expected not in (10001,):
        assert bybit.desk("orders")["orders"][-1]["retCode"] == expected


def test_the_poor_cannot_buy(bybit):
    body = {"category": "spot", "symbol": "BTCUSDT", **MINE}
    answer = bybit.poor.post("/v5/order/create", body).json()
    assert (answer["retCode"], answer["retMsg"]) == (170131, "Insufficient balance.")


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"'])
def test_bodies_that_are_none(bybit, body):
    assert bybit.main.post("/v5/order/create", body).json()["retCode"] == 10001


def test_pages(bybit):
    for number in range(5):
        bybit.main.create(side="Buy", orderType="Limit", price="50000", qty="0.001", orderLinkId=f"n{number}")
    seen, query = [], "category=spot&limit=2"
    cursor = ""
    for _ in range(3):
        result = bybit.main.result("/v5/order/realtime", query + (f"&cursor={cursor}" if cursor else ""))
        seen.append([row["orderLinkId"] for row in result["list"]])
        cursor = result["nextPageCursor"]
        assert "%3A" in cursor or not cursor
    assert (seen, cursor) == ([["n4", "n3"], ["n2", "n1"], ["n0"]], "")
    assert code(bybit.main.get("/v5/order/realtime", "category=spot&cursor=wrong")) == 10001
    assert code(bybit.main.get("/v5/order/realtime", "category=spot&limit=51")) == 10001


def test_times_of_history(bybit):
    bybit.main.create(**MINE, orderLinkId="now")
    now_ms, week = time.time_ns() // 1_000_000, 7 * 86_400_000

    def found(**times):
        query = "&".join(["category=spot", *(f"{name}={value}" for name, value in times.items())])
        lists = [bybit.main.result(path, query)["list"] for path in ("/v5/order/history", "/v5/execution/list")]
        assert len({bool(rows) for rows in lists}) == 1
        return bool(lists[0])

    assert found()
    assert found(startTime=now_ms - 60_000)
    assert not found(startTime=now_ms - week - 60_000)
    assert not found(endTime=now_ms - 60_000)
    assert found(startTime=now_ms - week + 60_000, endTime=now_ms + 60_000)
    assert code(bybit.main.get("/v5/order/history", f"category=spot&startTime=1&endTime={week + 2}")) == 10001


def test_the_account(bybit):
    wallet = bybit.main.result("/v5/account/wallet-balance", "accountType=UNIFIED")["list"][0]
    assert {row["coin"] for row in wallet["coin"]} == {"BTC", "USDT"}
    bybit.main.create(side="Sell", orderType="Limit", price="90000", qty="2")
    wallet = bybit.main.result("/v5/account/wallet-balance", "accountType=UNIFIED&coin=BTC")["list"][0]
    assert [(row["coin"], row["walletBalance"], row["locked"]) for row in wallet["coin"]] == [("BTC", "100", "2")]
    assert code(bybit.main.get("/v5/account/wallet-balance", "accountType=SPOT")) == 10001
    rates = bybit.main.result("/v5/account/fee-rate", "category=spot&symbol=BTCUSDT")["list"]
    assert rates == [{"symbol": "BTCUSDT", "takerFeeRate": "0.001", "makerFeeRate": "0.001"}]
    assert bybit.main.result("/v5/account/info")["unifiedMarginStatus"] == 5
    assert bybit.main.result("/v5/user/query-api")["permissions"]["Spot"] == ["SpotTrade"]
    assert bybit.reader.result("/v5/user/query-api")["readOnly"] == 1
    check = bybit.main.result("/v5/order/spot-borrow-check", "category=spot&symbol=BTCUSDT&side=Sell")
    assert check["spotMaxTradeQty"] == "98"
    assert bybit.poor.result("/v5/account/wallet-balance", "accountType=UNIFIED")["list"][0]["coin"] == []


def test_an_endpoint_asked_too_often(bybit):
    query = "category=spot&symbol=BTCUSDT"
    answers = [bybit.main.get("/v5/account/fee-rate", query) for _ in range(8)]
    blocked = [answer for answer in answers if code(answer) == 10006]
    # On a machine so slow that eight requests take more than a second nothing would be blocked.
    deadline = time.monotonic() + 60
    while not blocked:
        assert time.monotonic() < deadline
        answers = [bybit.main.get("/v5/account/fee-rate", query) for _ in range(20)]
        blocked = [answer for answer in answers if code(answer) == 10006]
    first = blocked[0]
    assert first.status_code == 200
    assert first.json()["retMsg"] == "Too many visits. Exceeded the API Rate Limit."
    assert (first.headers["X-Bapi-Limit"], first.headers["X-Bapi-Limit-Status"]) == ("5", "0")
    assert int(first.headers["X-Bapi-Limit-Reset-Timestamp"]) > first.json()["time"] - 1
    good = next(answer for answer in answers if code(answer) == 0)
    assert good.headers["X-Bapi-Limit"] == "5" and int(good.headers["X-Bapi-Limit-Status"]) < 5
    assert code(bybit.reader.get("/v5/account/info")) == 0  # another endpoint is another count


def test_an_address_that_asks_too_often_is_shut_out(start_bybit):
    bybit = start_bybit(bybit_ban_s=300.0)
    with bybit.venue.ledger._lock:
        bybit.venue.ledger.limit = 3
    deadline = time.monotonic() + 60
    while (answer := bybit.get("/v5/market/time")).status_code == 200:
        assert time.monotonic() < deadline
    assert (answer.status_code, answer.text) == (403, "access too frequent")
    assert bybit.main.get("/v5/account/info").status_code == 403
    assert bybit.exchange.get("/api/v3/ping").status_code == 200
    bybit.fault("forgive_weight")
    assert bybit.get("/v5/market/time").status_code == 200


def test_fees_of_the_venues_can_be_set(start_bybit):
    bybit = start_bybit(bybit_maker_fee="0.0002", bybit_taker_fee="0.0007", commission="0.001")
    rates = bybit.main.result("/v5/account/fee-rate", "category=spot&symbol=BTCUSDT")["list"][0]
    assert (rates["makerFeeRate"], rates["takerFeeRate"]) == ("0.0002", "0.0007")
    bybit.exchange.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    (row,) = bybit.exchange.json("/sandbox/orders")["orders"]
    assert {fill["commission"] for fill in row["fills"]} <= {"0.00000100"} or sum(
        float(fill["commission"]) for fill in row["fills"]
    ) == pytest.approx(1e-6, rel=0.1)


def test_ledger_and_balances_to_the_last_digit(bybit):
    from fractions import Fraction

    before = {"BTC": Fraction(100), "USDT": Fraction(1_000_000)}
    for number in range(6):
        bybit.main.create(side="Buy", orderType="Market", qty="123.4567891", marketUnit="quoteCoin")
        bybit.main.create(side="Sell", orderType="Market", qty=f"0.00{number + 1}", marketUnit="baseCoin")
    for row in bybit.desk("orders")["orders"]:
        for fill in row["fills"]:
            sign = 1 if row["side"] == "Buy" else -1
            before["BTC"] += sign * Fraction(fill["execQty"])
            before["USDT"] -= sign * Fraction(fill["execValue"])
            before[fill["feeCurrency"]] -= Fraction(fill["execFee"])
    rows = [row for row in bybit.desk("balances")["balances"] if row["account"] == "main"]
    assert {row["asset"]: Fraction(row["free"]) for row in rows} == before
    wallet = bybit.main.result("/v5/account/wallet-balance", "accountType=UNIFIED")["list"][0]["coin"]
    assert {row["coin"]: Fraction(row["walletBalance"]) for row in wallet} == before


def test_headers_in_any_case(bybit):
    query = "accountType=UNIFIED"
    headers = {name.lower(): value for name, value in bybit.main.headers(query).items()}
    answer = requests.get(f"{bybit.base}/v5/account/wallet-balance?{query}", headers=headers, timeout=30)
    assert json.loads(answer.text)["retCode"] == 0
