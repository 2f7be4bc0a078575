"""The private side over real HTTP: signatures, weights, headers, errors, and every endpoint once."""

import hashlib
import hmac
import threading
import time
from decimal import Decimal
from urllib.parse import quote, urlencode

import pytest

ORDER, FORM = "/api/v3/order", {"Content-Type": "application/x-www-form-urlencoded"}


def now_ms():
    return time.time_ns() // 1_000_000


def error(answer):
    return answer.status_code, answer.json()["code"], answer.json()["msg"]


def used(answer):
    return int(answer.headers["X-MBX-USED-WEIGHT-1M"])


@pytest.fixture
def quiet(start_exchange):
    """A sandbox whose market all but stands still, and whose weight window does not end during a test."""
    return start_exchange(rate=0.01, weight_window_s=86_400)


def far_below(exchange):
    """A price that passes the filters and does not trade."""
    return f"{(Decimal(exchange.depth('BTCUSDT', 5)['bids'][0][0]) * Decimal('0.9')).quantize(Decimal('0.01'))}"


def limit(exchange, **params):
    fixed = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.001",
        "recvWindow": 60_000,
    }
    return {**fixed, "price": far_below(exchange), **params}


@pytest.mark.parametrize("kind", ["HMAC", "Ed25519", "RSA"])
def test_every_kind_of_key_may_trade(quiet, kind):
    user = quiet.user(kind)
    assert quiet.order(user, "GET", "/api/v3/account").json()["canTrade"] is True
    answer = quiet.order(user, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    assert (answer.status_code, answer.json()["status"]) == (200, "FILLED")


def test_every_endpoint_answers(quiet):
    def ask(method, path, **params):
        answer = quiet.order(None, method, f"/api/v3/{path}", **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    pair = {"symbol": "BTCUSDT"}
    order = ask("POST", "order", **limit(quiet, newClientOrderId="one"))
    assert ask("GET", "order", **pair, orderId=order["orderId"])["clientOrderId"] == "one"
    assert ask("GET", "openOrders", **pair) == ask("GET", "openOrders") == ask("GET", "allOrders", **pair)
    assert ask("PUT", "order/amend/keepPriority", **pair, orderId=order["orderId"], newQty="0.0009")["executionId"]
    replaced = ask("POST", "order/cancelReplace", **limit(quiet, newClientOrderId="two"), cancelReplaceMode="ALLOW_FAILURE",
                   cancelOrderId=order["orderId"])  # fmt: skip
    assert replaced["newOrderResult"] == "SUCCESS"
    assert ask("DELETE", "order", **pair, origClientOrderId="two")["status"] == "CANCELED"
    ask("POST", "order", **limit(quiet))
    assert len(ask("DELETE", "openOrders", **pair)) == 1
    assert ask("POST", "order/test", **limit(quiet)) == {}
    filled = ask("POST", "order", **pair, side="BUY", type="MARKET", quantity="0.001")
    trades = ask("GET", "myTrades", **pair)
    assert [trade["id"] for trade in trades] == [fill["tradeId"] for fill in filled["fills"]]
    balances = {row["asset"]: Decimal(row["free"]) for row in ask("GET", "account")["balances"]}
    assert balances["USDT"] == 1_000_000 - Decimal(filled["cummulativeQuoteQty"])
    assert ask("GET", "account/commission", **pair)["standardCommission"]["maker"] == "0.00000000"
    assert [entry["interval"] for entry in ask("GET", "rateLimit/order")] == ["SECOND", "DAY"]
    assert ask("GET", "myFilters", **pair)["assetFilters"][0]["asset"] == "JPY"
    rows = quiet.json("/sandbox/orders")["orders"]
    assert [row["status"] for row in rows] == ["CANCELED", "CANCELED", "CANCELED", "FILLED"]
    assert rows[-1]["reports"] == 1 + len(trades)


def test_parameters_in_query_body_and_both(quiet):
    user = quiet.user()
    params = limit(quiet, newClientOrderId="body")

    def send(query, body):
        signature = user.sign(query + body)
        url = f"{quiet.sandbox.rest_url}{ORDER}" + (f"?{query}" if query else "")
        headers = {"X-MBX-APIKEY": user.key, **FORM}
        return quiet.session.post(url, data=f"{body}&signature={signature}", headers=headers, timeout=30)

    answer = send("", urlencode({**params, "timestamp": now_ms()}))
    assert answer.json()["clientOrderId"] == "body"
    names = list(params)
    query = urlencode({name: params[name] for name in names[:3]} | {"newClientOrderId": "query"})
    body = urlencode({name: params[name] for name in names[3:]} | {"timestamp": now_ms()})
    assert send(query, body).json()["clientOrderId"] == "query"
    wrong = urlencode({**params, "timestamp": now_ms()})
    url = f"{quiet.sandbox.rest_url}{ORDER}?a=1"
    signature = user.sign("a=1&" + wrong)  # joined with a separator
    answer = quiet.session.post(url, data=f"{wrong}&signature={signature}", headers={"X-MBX-APIKEY": user.key, **FORM}, timeout=30)  # fmt: skip
    assert error(answer) == (400, -1022, "Signature for this request is not valid.")


def test_non_ascii_text_is_encoded_first_and_signed_then(quiet):
    user, symbol = quiet.user(), "这是测试币456"
    plain, encoded = f"symbol={symbol}&timestamp={now_ms()}", f"symbol={quote(symbol)}&timestamp={now_ms()}"
    url, headers = f"{quiet.sandbox.rest_url}/api/v3/openOrders?", {"X-MBX-APIKEY": user.key}
    good = quiet.session.get(f"{url}{encoded}&signature={user.sign(encoded)}", headers=headers, timeout=30)
    assert good.json() == []
    bad = quiet.session.get(f"{url}{encoded}&signature={user.sign(plain)}", headers=headers, timeout=30)
    assert error(bad) == (400, -1022, "Signature for this request is not valid.")
    # A body that was neither encoded before signing nor afterwards.
    secret = quiet.sandbox.api_secret.encode()
    raw = hmac.new(secret, plain.encode(), hashlib.sha256).hexdigest()
    sent = f"{plain}&signature={raw}".encode()
    bad = quiet.session.delete(
        f"{quiet.sandbox.rest_url}/api/v3/openOrders", data=sent, headers={**headers, **FORM}, timeout=30
    )
    assert error(bad) == (400, -1022, "Signature for this request is not valid.")


def test_who_may_not_pass(quiet):
    user = quiet.user()
    reader = next(one for one, key in zip(quiet.users, quiet.sandbox.keys(), strict=True) if not key.can_trade)
    account = f"{quiet.sandbox.rest_url}/api/v3/account"
    no_permission = (401, -2015, "Invalid API-key, IP, or permissions for action.")

    def get(query, key=user.key):
        headers = {"X-MBX-APIKEY": key} if key is not None else {}
        return error(quiet.session.get(f"{account}?{query}", headers=headers, timeout=30))

    assert get(user.query(), None) == (401, -2014, "API-key format invalid.")
    assert get(user.query(), "nobody") == no_permission
    missing = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."
    assert get("") == (400, -1102, missing.format("timestamp"))
    assert get(f"timestamp={now_ms()}") == (400, -1102, missing.format("signature"))
    assert get(f"timestamp={now_ms()}&signature=00") == (400, -1022, "Signature for this request is not valid.")
    early = f"timestamp={now_ms() + 60_000}"
    old = f"timestamp={now_ms() - 6000}"
    assert get(f"{early}&signature={user.sign(early)}") == (
        400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.",
    )  # fmt: skip
    assert get(f"{old}&signature={user.sign(old)}") == (
        400, -1021, "Timestamp for this request is outside of the recvWindow.",
    )  # fmt: skip
    assert quiet.order(reader, "GET", "/api/v3/account").status_code == 200
    assert error(quiet.order(reader, **limit(quiet))) == no_permission
    poor = quiet.order(quiet.user(account="poor"), **limit(quiet))
    assert error(poor) == (400, -2010, "Account has insufficient balance for requested action.")


def test_weight_is_charged_for_failures_and_queries_only(quiet):
    start = used(quiet.order(None, "GET", "/api/v3/order", symbol="BTCUSDT", orderId=1))
    params = limit(quiet)
    before = used(quiet.get("/api/v3/ping"))
    assert before > start
    placed = quiet.order(**params)
    assert used(placed) == before
    assert used(quiet.order(None, "DELETE", ORDER, symbol="BTCUSDT", orderId=placed.json()["orderId"])) == before
    assert used(quiet.order(None, "DELETE", ORDER, symbol="BTCUSDT", orderId=placed.json()["orderId"])) == before + 1
    assert used(quiet.order(**{**params, "quantity": "0"})) == before + 2
    assert used(quiet.order(None, "POST", "/api/v3/order/test", **params)) == before + 3
    assert used(quiet.order(None, "POST", "/api/v3/order/test", **params, computeCommissionRates="true")) == before + 23
    assert used(quiet.order(None, "GET", "/api/v3/openOrders")) == before + 103
    assert used(quiet.order(None, "GET", "/api/v3/openOrders", symbol="BTCUSDT")) == before + 109
    assert used(quiet.order(None, "GET", "/api/v3/myTrades", symbol="BTCUSDT", orderId=1)) == before + 114
    assert used(quiet.order(None, "GET", "/api/v3/rateLimit/order")) == before + 154


def test_orders_are_refused_once_the_weight_is_used_up(start_exchange):
    exchange = start_exchange(rate=0.01, weight_limit=1000, weight_window_s=86_400)
    params = limit(exchange)
    exchange.fault("use_weight", weight=5000)
    refused = exchange.order(**params)
    assert (refused.status_code, refused.json()["code"]) == (429, -1003)
    assert int(refused.headers["Retry-After"]) > 0


def test_order_counts_in_headers_and_the_limit(quiet):
    quiet.sandbox.private.set_orders_limit(10_000, 3)
    counts = []
    for _ in range(3):
        answer = quiet.order(**limit(quiet))
        counts.append(int(answer.headers["X-MBX-ORDER-COUNT-1D"]))
        assert int(answer.headers["X-MBX-ORDER-COUNT-10S"]) <= counts[-1]
    assert counts == [1, 2, 3]
    refused = quiet.order(**limit(quiet))
    assert error(refused) == (429, -1015, "Too many new orders; current limit is 3 orders per 1 DAY.")
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    cancelled = quiet.order(None, "DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    assert cancelled.status_code == 200
    assert "X-MBX-ORDER-COUNT-1D" not in cancelled.headers


@pytest.mark.parametrize(("unit", "digits"), [("MICROSECOND", 16), ("millisecond", 13)])
def test_time_units(quiet, unit, digits):
    user = quiet.user()
    url = f"{quiet.sandbox.rest_url}{ORDER}?{user.query(**limit(quiet))}"
    answer = quiet.session.post(url, headers={"X-MBX-APIKEY": user.key, "X-MBX-TIME-UNIT": unit}, timeout=30).json()
    assert len(str(answer["transactTime"])) == len(str(answer["workingTime"])) == digits


def test_methods_and_unknown_parameters(quiet):
    answer = quiet.order(None, "PUT", ORDER)
    assert error(answer) == (405, -1020, "Request method 'PUT' not supported")
    assert quiet.order(None, "POST", "/api/v3/orderList/oco").status_code == 404
    answer = quiet.order(None, "GET", "/api/v3/account", more="1")
    assert error(answer) == (400, -1104, "Not all sent parameters were read; read '2' parameter(s) but was sent '3'.")


def test_the_order_flow_fills_a_resting_order(start_exchange):
    exchange = start_exchange(rate=200.0, weight_limit=10**9)
    events = []
    exchange.sandbox.private.accounts.all()[0].listen(lambda event: events.append(event))
    # At the touch of a busy market an order is filled soon; it follows the market until it is.
    filled = False
    deadline = time.monotonic() + 60
    while not filled:
        assert time.monotonic() < deadline
        best = exchange.depth("BTCUSDT", 5)["bids"][0][0]
        order = exchange.order(symbol="BTCUSDT", side="BUY", type="LIMIT_MAKER", quantity="0.0002", price=best)
        if order.status_code != 200:
            continue
        which = {"symbol": "BTCUSDT", "orderId": order.json()["orderId"]}
        for _ in range(20):
            if exchange.order(None, "GET", ORDER, **which).json()["status"] == "FILLED":
                filled = True
                break
        else:
            exchange.order(None, "DELETE", ORDER, **which)
    fills = [event for event in events if event.execution_type == "TRADE" and event.order_id == which["orderId"]]
    assert fills and '"m":true' in fills[0].text(False)


def test_a_replay_has_no_private_side(start_exchange):
    exchange = start_exchange(replay="tests/data/spot_BTCUSDT_20240808_25s.tsv.gz", symbols=None)
    assert exchange.sandbox.private is None
    assert exchange.get("/api/v3/account").status_code == 404
    assert exchange.get("/sandbox/orders").status_code == 404


def test_two_accounts_at_once_end_in_peace(start_exchange):
    """Both trade on two symbols at the same time, each taking what the other has placed."""
    exchange = start_exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=50.0, weight_limit=10**9)
    exchange.sandbox.private.set_orders_limit(100_000, 1_000_000)
    poor = exchange.sandbox.private.accounts.all()[1]
    for asset in ("BTC", "ETH", "USDT"):
        poor.wallet.receive(asset, 10**6 * 10**8)
    failures = []

    def trade(user, symbol, side):
        for _ in range(40):
            for kind in ({"type": "MARKET"}, {"type": "LIMIT", "timeInForce": "IOC"}):
                touch = exchange.depth(symbol, 5)["bids" if side == "SELL" else "asks"][0][0]
                more = {"recvWindow": 60_000} | ({"price": touch} if kind["type"] == "LIMIT" else {})
                answer = exchange.order(user, symbol=symbol, side=side, quantity="0.01", **kind, **more)
                if answer.status_code != 200:
                    failures.append(answer.text)
        exchange.order(user, "DELETE", "/api/v3/openOrders", symbol=symbol)

    users = (exchange.user(), exchange.user(account="poor"))
    threads = [
        threading.Thread(target=trade, args=(user, symbol, side))
        for user, side in zip(users, ("BUY", "SELL"), strict=True)
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []
    assert exchange.order(None, "GET", "/api/v3/openOrders").json() == []
