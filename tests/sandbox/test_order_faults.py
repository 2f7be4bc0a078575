"""Faults of user events, orders and answers over real sockets, on REST and on the WebSocket API."""

import json
import threading
import time
from decimal import Decimal

import pytest
import requests
import websocket

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


@pytest.fixture
def subscribed(exchange):
    """An exchange and a connection that receives the events of the account."""
    api = exchange.api()
    api.result("userDataStream.subscribe.signature", **exchange.user().params())
    exchange.listener = api
    return exchange


def names(api, count):
    return [(event := api.event()["event"]).get("x") or event["e"] for _ in range(count)]


def place(exchange, own_id, **more):
    answer = exchange.order(newClientOrderId=own_id, **{**ORDER, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def resting_price(exchange):
    return f"{float(exchange.depth('BTCUSDT', 5)['bids'][0][0]) * 0.95:.2f}"


def known(exchange, own_id):
    """How the venue itself remembers an order; ``None`` for one it has never had."""
    orders = exchange.json("/sandbox/orders")["orders"]
    return next((order for order in orders if order["clientOrderId"] == own_id), None)


def test_report_delay_holds_up_what_follows_and_keeps_the_event_time(subscribed):
    subscribed.fault("report_delay", ms=700, execution_type="TRADE")
    started = time.monotonic()
    place(subscribed, "slow")
    answered_ms = time.time_ns() // 1_000_000
    assert subscribed.listener.report("NEW")["E"] <= answered_ms
    trade = subscribed.listener.report("TRADE")
    assert time.monotonic() - started >= 0.69
    assert trade["T"] <= trade["E"] <= answered_ms
    assert subscribed.listener.event()["event"]["e"] == "outboundAccountPosition"


def test_report_delay_within_the_venue_shows_in_the_event_time(subscribed):
    subscribed.fault("report_delay", ms=400, event_time="late")
    place(subscribed, "slow")
    new = subscribed.listener.report("NEW")
    assert new["E"] - new["T"] >= 399


def test_report_lost_and_duplicate(subscribed):
    subscribed.fault("report_lost", execution_type="NEW")
    subscribed.fault("report_duplicate", execution_type="TRADE", times=2)
    place(subscribed, "one")
    assert names(subscribed.listener, 2) == ["TRADE", "TRADE"]
    assert subscribed.state()["faults"] == []


def test_a_delay_of_one_connection_leaves_the_other_alone(subscribed):
    other = subscribed.api()
    other.result("userDataStream.subscribe.signature", **subscribed.user().params())
    subscribed.fault("report_delay", ms=3_600_000, seconds=60, connection=[1])
    place(subscribed, "split")
    assert other.report("TRADE")["c"] == "split"
    with pytest.raises(websocket.WebSocketTimeoutException):
        subscribed.listener.event(timeout=0.3)
    subscribed.fault("clear")
    assert subscribed.listener.report("TRADE")["c"] == "split"


def test_stall_loses_user_events_and_still_answers(subscribed):
    subscribed.fault("stall", service="ws_api", seconds=60)
    place(subscribed, "unheard")
    assert subscribed.listener.result("ping") == {}
    assert subscribed.listener.events == []
    subscribed.fault("clear")
    place(subscribed, "heard")
    assert subscribed.listener.report()["c"] == "heard"


@pytest.mark.parametrize("service", ["rest", "ws_api"])
def test_report_before_answer(subscribed, service):
    subscribed.fault("report_before_answer", ms=600)
    api = subscribed.api()
    started = time.monotonic()
    answered = threading.Event()

    def send():
        if service == "rest":
            place(subscribed, "late")
        else:
            api.result("order.place", **subscribed.user().params(**ORDER, newClientOrderId="late"))
        answered.set()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert subscribed.listener.report("TRADE")["c"] == "late"
    finally:
        thread.join(30)
    assert answered.is_set()
    assert time.monotonic() - started >= 0.59


def test_a_delayed_answer_lets_later_ones_pass(subscribed):
    subscribed.fault("report_before_answer", ms=6000)
    api = subscribed.api()
    order = api.send("order.place", **subscribed.user().params(**ORDER))
    ping = api.send("ping")
    first = json.loads(api.socket.recv())
    second = json.loads(api.socket.recv())
    assert [first["id"], second["id"]] == [ping, order]
    assert second["result"]["status"] == "FILLED"


def test_clear_does_not_swallow_an_answer_that_is_late(subscribed):
    subscribed.fault("report_before_answer", ms=600)
    number = subscribed.listener.send("order.place", **subscribed.user().params(**ORDER))
    assert subscribed.listener.report("TRADE")
    subscribed.fault("clear")
    assert subscribed.listener.reply(number)["result"]["status"] == "FILLED"


def test_order_refuse(subscribed):
    subscribed.fault("order_refuse", code=-1013, message="Filter failure: NOTIONAL", count=2)
    answer = subscribed.order(**ORDER, newClientOrderId="refused")
    assert (answer.status_code, answer.json()) == (400, {"code": -1013, "msg": "Filter failure: NOTIONAL"})
    user = subscribed.user()
    assert subscribed.listener.error("order.place", **user.params(**ORDER)) == (400, -1013)
    assert subscribed.listener.events == []
    assert known(subscribed, "refused") is None
    assert subscribed.listener.result("order.place", **user.params(**ORDER))["status"] == "FILLED"


@pytest.mark.parametrize("kind", ["answer_lost", "order_lost"])
@pytest.mark.parametrize("mode", ["status", "timeout", "reset", "closed", "silent"])
def test_lost_on_rest(subscribed, kind, mode):
    """Whatever the client sees, the venue knows whether the order exists."""
    subscribed.fault(kind, mode=mode, silent_s=0.3)
    if mode in ("status", "timeout"):
        answer = subscribed.order(**ORDER, newClientOrderId="lost")
        assert answer.status_code == 503
        if mode == "timeout":
            assert answer.json()["code"] == -1007
    else:
        with pytest.raises(requests.exceptions.RequestException):
            subscribed.order(**ORDER, newClientOrderId="lost")
    order = known(subscribed, "lost")
    if kind == "order_lost":
        assert order is None
    else:
        assert Decimal(order["executedQty"]) == Decimal("0.001")
        assert subscribed.listener.report("TRADE")["c"] == "lost"
    assert place(subscribed, "next")["status"] == "FILLED"


@pytest.mark.parametrize("kind", ["answer_lost", "order_lost"])
@pytest.mark.parametrize("mode", ["status", "timeout", "reset", "closed", "silent"])
def test_lost_on_the_websocket_api(subscribed, kind, mode):
    subscribed.fault(kind, mode=mode)
    api, user = subscribed.api(), subscribed.user()
    number = api.send("order.place", **user.params(**ORDER, newClientOrderId="lost"))
    if mode in ("status", "timeout"):
        reply = api.reply(number)
        assert reply["status"] == 503
        assert reply["error"]["code"] == (-1007 if mode == "timeout" else -1000)
    elif mode == "silent":
        ping = api.send("ping")
        assert json.loads(api.socket.recv())["id"] == ping
    else:
        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            api.reply(number)
    if kind == "answer_lost":
        assert subscribed.listener.report("TRADE")["c"] == "lost"
    subscribed.wait(lambda: bool(known(subscribed, "lost")) is (kind == "answer_lost"))


def test_a_lost_cancel_can_be_asked_for(subscribed):
    subscribed.fault("answer_lost", method="order.cancel", mode="timeout")
    place(subscribed, "resting", type="LIMIT", timeInForce="GTC", price=resting_price(subscribed))
    answer = subscribed.order(method="DELETE", symbol="BTCUSDT", origClientOrderId="resting")
    assert (answer.status_code, answer.json()["code"]) == (503, -1007)
    assert subscribed.listener.report("CANCELED")["C"] == "resting"


def test_a_rest_fault_comes_after_the_venue_or_instead_of_it(subscribed):
    subscribed.fault("rest", mode="reset", path="/api/v3/order")
    with pytest.raises(requests.exceptions.ConnectionError):
        subscribed.order(**ORDER, newClientOrderId="never")
    assert known(subscribed, "never") is None
    subscribed.fault("rest", mode="truncated", path="/api/v3/order")
    with pytest.raises(requests.exceptions.RequestException):
        subscribed.order(**ORDER, newClientOrderId="done")
    assert known(subscribed, "done")["status"] == "FILLED"


def test_query_lag_hides_young_orders_and_ends(subscribed):
    subscribed.fault("query_lag", ms=60_000)
    order = place(subscribed, "young")
    asked = {"symbol": "BTCUSDT", "origClientOrderId": "young"}
    answer = subscribed.order(method="GET", **asked)
    assert (answer.status_code, answer.json()["code"]) == (400, -2013)
    user = subscribed.user()
    assert subscribed.listener.error("order.status", **user.params(**asked)) == (400, -2013)
    assert subscribed.state()["faults"] == [{"kind": "query_lag", "ms": 60_000}]
    subscribed.fault("clear")
    assert subscribed.order(method="GET", **asked).json()["orderId"] == order["orderId"]


def test_query_lag_passes_by_itself(subscribed):
    subscribed.fault("query_lag", ms=300, seconds=60)
    place(subscribed, "young")

    def found():
        return subscribed.order(method="GET", symbol="BTCUSDT", origClientOrderId="young").status_code == 200

    subscribed.wait(found)


def test_stream_terminated_ends_the_subscription_and_not_the_connection(subscribed):
    api, user = subscribed.listener, subscribed.user()
    poor = subscribed.user("HMAC", "poor")
    assert api.result("userDataStream.subscribe.signature", **poor.params()) == {"subscriptionId": 1}
    assert subscribed.fault("stream_terminated", account="main")["connections"] == [1]
    ended = api.event()
    assert (ended["subscriptionId"], ended["event"]["e"]) == (0, "eventStreamTerminated")
    assert api.result("session.subscriptions") == [{"subscriptionId": 1}]
    place(subscribed, "unheard")
    assert api.result("userDataStream.subscribe.signature", **user.params()) == {"subscriptionId": 2}
    assert api.events == []
    place(subscribed, "heard")
    assert api.report()["c"] == "heard"
    assert subscribed.fault("stream_terminated", subscription=7)["connections"] == []


def test_clock_skew_steps_and_drifts_and_orders_feel_it(subscribed):
    subscribed.fault("clock_skew", ms=-3000)
    answer = subscribed.order(**ORDER)
    assert (answer.status_code, answer.json()["code"]) == (400, -1021)
    assert "ahead" in answer.json()["msg"]
    subscribed.fault("clock_skew", ms=30_000, drift_ppm=500)
    answer = subscribed.order(**ORDER)
    assert "outside of the recvWindow" in answer.json()["msg"]
    subscribed.fault("clock_skew", ms=400, drift_ppm=-100)
    order = place(subscribed, "shifted")
    assert subscribed.state()["faults"][0]["drift_ppm"] == -100
    report = subscribed.listener.report("TRADE")
    assert report["T"] == order["transactTime"] <= report["E"]


def test_a_later_skew_is_not_ended_by_the_seconds_of_an_earlier_one(subscribed):
    subscribed.fault("clock_skew", ms=100, seconds=0.2)
    subscribed.fault("clock_skew", ms=200)
    subscribed.fault("clock_skew", ms=300, seconds=0.5)
    subscribed.wait(lambda: not subscribed.state()["faults"])
    subscribed.fault("clock_skew", ms=100, seconds=0.1)
    subscribed.fault("clock_skew", ms=-200)
    ended = time.monotonic() + 0.4
    subscribed.wait(lambda: time.monotonic() > ended)
    assert subscribed.sandbox.clock.skew_us == -200_000


def test_reset_wipes_the_private_side(subscribed):
    user = subscribed.user()

    def balances():
        shown = subscribed.listener.result("account.status", **user.params())["balances"]
        return {one["asset"]: (Decimal(one["free"]), Decimal(one["locked"])) for one in shown}

    granted = {"BTC": (Decimal(100), Decimal(0)), "USDT": (Decimal(1_000_000), Decimal(0))}
    first = place(subscribed, "before")
    place(subscribed, "resting", type="LIMIT", timeInForce="GTC", price=resting_price(subscribed))
    assert balances()["USDT"][1] > 0
    subscribed.fault("reset")
    assert {asset: balances()[asset] for asset in granted} == granted
    assert known(subscribed, "before") is None
    gone = subscribed.order(method="GET", symbol="BTCUSDT", orderId=first["orderId"])
    assert (gone.status_code, gone.json()["code"]) == (400, -2013)
    assert subscribed.listener.result("openOrders.status", **user.params(symbol="BTCUSDT")) == []
    assert subscribed.listener.result("myTrades", **user.params(symbol="BTCUSDT")) == []


def test_private_faults_need_accounts(start_exchange):
    exchange = start_exchange(replay="tests/data/spot_BTCUSDT_20240808_25s.tsv.gz", symbols=None)
    answer = requests.post(f"{exchange.sandbox.rest_url}/sandbox/faults", json={"kind": "report_lost"}, timeout=30)
    assert answer.status_code == 400
    assert "recording" in answer.json()["error"]
