"""Sessions, subscriptions and user data on the WebSocket API, over real sockets (reference: Binance Spot, 7)."""

import dataclasses
import json
import time

import pytest

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


def resting(exchange, **more):
    """Parameters of an order that stays in the book."""
    price = float(exchange.depth("BTCUSDT", 5)["bids"][0][0]) * 0.95
    return {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001",
        "price": f"{price:.2f}", **more,
    }  # fmt: skip


def subscribe(exchange, user=None):
    """A connection with one subscription by signature."""
    api = exchange.api()
    assert api.result("userDataStream.subscribe.signature", **(user or exchange.user()).params()) == {
        "subscriptionId": 0
    }
    return api


# Session ------------------------------------------------------------------------------------------------------------


def test_logon_status_and_logout(exchange):
    before = time.time_ns() // 1_000_000
    api, user = exchange.api(), exchange.user("Ed25519")
    status = api.result("session.logon", **user.params())
    assert status["apiKey"] == user.key
    assert before - 1000 <= status["connectedSince"] <= status["authorizedSince"] <= status["serverTime"]
    assert (status["returnRateLimits"], status["userDataStream"]) == (True, False)
    assert api.result("session.status")["authorizedSince"] == status["authorizedSince"]
    ended = api.result("session.logout")
    assert (ended["apiKey"], ended["authorizedSince"]) == (None, None)
    assert api.result("session.status")["apiKey"] is None


@pytest.mark.parametrize("kind", ["HMAC", "RSA"])
def test_logon_is_for_ed25519_alone(exchange, kind):
    assert exchange.api().error("session.logon", **exchange.user(kind).params()) == (401, -2015)


def test_logon_is_checked(exchange):
    api, user = exchange.api(), exchange.user("Ed25519")
    assert api.error("session.logon") == (400, -1102)
    assert api.error("session.logon", **{**user.params(), "signature": "AAAA"}) == (400, -1022)
    assert api.error("session.logon", **user.params(timestamp=1_600_000_000_000)) == (400, -1021)
    params = user.params()
    del params["timestamp"]
    assert api.error("session.logon", **params) == (400, -1102)
    assert api.error("session.logon", **user.params(colour=1)) == (400, -1104)


def test_a_session_replaces_key_and_signature_but_not_the_timestamp(exchange):
    api = exchange.api()
    assert api.error("account.status", timestamp=1) == (401, -2014)
    api.result("session.logon", **exchange.user("Ed25519").params())
    now = time.time_ns() // 1_000_000
    assert api.result("account.status", timestamp=now)["balances"]
    assert api.error("account.status") == (400, -1102)
    assert api.error("account.status", timestamp=now - 60_000) == (400, -1021)
    placed = api.result("order.place", timestamp=time.time_ns() // 1_000_000, **ORDER)
    assert placed["status"] == "FILLED"
    other = exchange.user("HMAC", "poor")
    assert api.error("order.place", **other.params(**ORDER)) == (400, -2010)  # a key in the request wins


def test_a_key_that_becomes_invalid_ends_the_session(exchange):
    api, user = exchange.api(), exchange.user("Ed25519")
    api.result("session.logon", **user.params())
    api.result("userDataStream.subscribe")
    account, key = exchange.sandbox.private.accounts.by_key(user.key)
    with account.lock:
        account.keys[account.keys.index(key)] = dataclasses.replace(key, enabled=False)
    api.send("account.status", timestamp=time.time_ns() // 1_000_000)
    assert api.event()["event"]["e"] == "eventStreamTerminated"
    reply = api.event()
    assert (reply["id"], reply["status"], reply["error"]["code"]) == (None, 401, -2015)
    assert api.result("session.status")["apiKey"] is None


# Subscriptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["HMAC", "Ed25519", "RSA"])
def test_every_kind_of_key_subscribes_by_signature(exchange, kind):
    api = subscribe(exchange, exchange.user(kind))
    placed = api.result("order.place", **exchange.user(kind).params(**ORDER))
    assert api.report("TRADE")["i"] == placed["orderId"]


def test_wrong_signatures_and_keys_do_not_subscribe(exchange):
    api, user = exchange.api(), exchange.user()
    assert api.error("userDataStream.subscribe.signature", **{**user.params(), "signature": "0" * 64}) == (400, -1022)
    assert api.error("userDataStream.subscribe.signature", **{**user.params(), "apiKey": "x" * 64}) == (401, -2015)
    assert api.error("userDataStream.subscribe.signature") == (401, -2014)
    assert api.result("session.subscriptions") == []


def test_one_subscription_for_each_account_and_numbers_that_never_return(exchange):
    api, main, poor = exchange.api(), exchange.user(), exchange.user("HMAC", "poor")
    assert api.result("userDataStream.subscribe.signature", **main.params()) == {"subscriptionId": 0}
    assert api.error("userDataStream.subscribe.signature", **exchange.user("RSA").params()) == (400, -2035)
    assert api.result("userDataStream.subscribe.signature", **poor.params()) == {"subscriptionId": 1}
    assert api.result("session.subscriptions") == [{"subscriptionId": 0}, {"subscriptionId": 1}]
    assert api.result("session.status")["userDataStream"] is True
    assert api.result("userDataStream.unsubscribe", subscriptionId=0) == {}
    assert api.event() == {"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": pytest.approx(time.time_ns() // 1_000_000, abs=60_000)}}  # fmt: skip
    assert api.error("userDataStream.unsubscribe", subscriptionId=0) == (400, -2036)
    assert api.result("userDataStream.subscribe.signature", **main.params()) == {"subscriptionId": 2}
    assert api.result("userDataStream.unsubscribe") == {}
    assert {api.event()["subscriptionId"], api.event()["subscriptionId"]} == {1, 2}
    assert api.result("session.subscriptions") == []
    assert exchange.api().result("userDataStream.subscribe.signature", **main.params()) == {"subscriptionId": 0}


def test_logout_ends_what_the_logon_began(exchange):
    api = exchange.api()
    assert api.error("userDataStream.subscribe") == (401, -1002)
    api.result("session.logon", **exchange.user("Ed25519").params())
    assert api.result("userDataStream.subscribe") == {"subscriptionId": 0}
    assert api.error("userDataStream.subscribe") == (400, -2035)
    poor = exchange.user("HMAC", "poor")
    assert api.result("userDataStream.subscribe.signature", **poor.params()) == {"subscriptionId": 1}
    assert api.result("session.logout")["userDataStream"] is True
    assert api.event()["subscriptionId"] == 0
    assert api.result("session.subscriptions") == [{"subscriptionId": 1}]
    assert api.events == []


# Events -------------------------------------------------------------------------------------------------------------


def test_a_market_order_is_reported_to_its_end_in_order(exchange):
    api, user = subscribe(exchange), exchange.user()
    sent_ms = time.time_ns() // 1_000_000
    answer = exchange.order(user, newClientOrderId="binmon-1", **ORDER).json()
    events = [api.event()]
    while events[-1]["event"]["e"] != "outboundAccountPosition":
        events.append(api.event())
    assert {event["subscriptionId"] for event in events} == {0}
    reports = [event["event"] for event in events[:-1]]
    position = events[-1]["event"]
    assert [report["x"] for report in reports] == ["NEW"] + ["TRADE"] * (len(reports) - 1)
    assert reports[-1]["X"] == "FILLED"
    assert {report["c"] for report in reports} == {"binmon-1"}
    assert {report["i"] for report in reports} == {answer["orderId"]}
    assert {report["T"] for report in reports} | {position["u"]} == {answer["transactTime"]}
    executions = [report["I"] for report in reports]
    assert executions == sorted(set(executions))
    for event in (*reports, position):
        assert sent_ms - 1000 <= event.get("T", event.get("u")) <= event["E"]
    assert [report["t"] for report in reports[1:]] == [fill["tradeId"] for fill in answer["fills"]]
    assert {balance["a"] for balance in position["B"]} >= {"BTC", "USDT"}


def test_every_connection_of_an_account_hears_every_event_once(exchange):
    one, other = subscribe(exchange), subscribe(exchange, exchange.user("RSA"))
    stranger = subscribe(exchange, exchange.user("HMAC", "poor"))
    order = exchange.order(**ORDER).json()
    for api in (one, other):
        assert [api.report()["x"], api.report()["i"]] == ["NEW", order["orderId"]]
    number = stranger.send("ping")
    stranger.reply(number)
    assert stranger.events == []


def test_events_of_a_cancel_name_the_order_and_the_cancel(exchange):
    api, user = subscribe(exchange), exchange.user()
    placed = api.result("order.place", **user.params(**resting(exchange, newClientOrderId="mine")))
    assert api.report()["X"] == "NEW"
    answer = exchange.order(user, "DELETE", symbol="BTCUSDT", orderId=placed["orderId"], newClientOrderId="undo").json()
    report = api.report()
    assert (report["x"], report["c"], report["C"], report["i"]) == ("CANCELED", "undo", "mine", placed["orderId"])
    assert answer["origClientOrderId"] == "mine"


def test_microseconds_by_url(exchange):
    api = exchange.api("?timeUnit=MICROSECOND")
    api.result("userDataStream.subscribe.signature", **exchange.user().params())
    placed = api.result("order.place", **exchange.user().params(**ORDER))
    report = api.report()
    assert report["T"] == placed["transactTime"] > 10**15
    assert report["E"] >= report["T"]


def test_nothing_is_replayed_to_a_later_subscription(exchange):
    exchange.order(**ORDER)
    api = subscribe(exchange)
    assert exchange.order(newClientOrderId="later", **ORDER).status_code == 200
    assert api.report()["c"] == "later"


def test_a_connection_that_ends_gives_up_its_subscriptions(exchange):
    api = subscribe(exchange)
    api.close()
    exchange.wait(lambda: not exchange.state()["connections"])
    assert exchange.order(**ORDER).status_code == 200
    other = subscribe(exchange)
    shown = exchange.state()["connections"][0]
    assert shown["subscriptions"] == [{"subscriptionId": 0, "account": "main"}]
    assert other.result("session.subscriptions") == [{"subscriptionId": 0}]


# Orders -------------------------------------------------------------------------------------------------------------


def kinds(reply):
    return [(limit["rateLimitType"], limit["interval"]) for limit in reply["rateLimits"]]


def test_orders_are_placed_queried_and_cancelled(start_exchange):
    exchange = start_exchange(weight_window_s=86_400)
    api, user = exchange.api(), exchange.user()
    reply = api.ask("order.place", **user.params(**resting(exchange, newClientOrderId="mine", newOrderRespType="ACK")))
    assert reply["status"] == 200
    assert set(reply["result"]) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert kinds(reply) == [("ORDERS", "SECOND"), ("ORDERS", "DAY"), ("REQUEST_WEIGHT", "MINUTE")]
    weight = reply["rateLimits"][-1]["count"]
    found = api.ask("order.status", **user.params(symbol="BTCUSDT", origClientOrderId="mine"))
    assert found["result"]["status"] == "NEW"
    assert kinds(found) == [("REQUEST_WEIGHT", "MINUTE")]
    assert found["rateLimits"][0]["count"] == weight + 4
    assert [one["clientOrderId"] for one in api.result("openOrders.status", **user.params(symbol="BTCUSDT"))] == [
        "mine"
    ]
    cancelled = api.result("order.cancel", **user.params(symbol="BTCUSDT", origClientOrderId="mine"))
    assert cancelled["status"] == "CANCELED"
    assert api.result("openOrders.status", **user.params(symbol="BTCUSDT")) == []
    api.result("order.place", **user.params(**ORDER))
    assert api.result("myTrades", **user.params(symbol="BTCUSDT", limit=1))


def test_success_is_free_and_failure_costs_its_weight(start_exchange):
    exchange = start_exchange(weight_window_s=86_400)
    api, user, poor = exchange.api(), exchange.user(), exchange.user("HMAC", "poor")
    before = exchange.sandbox.ledger.used("127.0.0.1", time.time())
    api.result("order.place", **user.params(**ORDER))
    assert exchange.sandbox.ledger.used("127.0.0.1", time.time()) == before
    reply = api.ask("order.place", **poor.params(**ORDER))
    assert (reply["status"], reply["error"]["code"]) == (400, -2010)
    assert reply["rateLimits"][-1]["count"] == before + 1
    assert kinds(reply)[0] == ("ORDERS", "SECOND")
    reply = api.ask("order.place", **{**user.params(**ORDER), "signature": "0" * 64})
    assert kinds(reply) == [("REQUEST_WEIGHT", "MINUTE")]  # it is nobody's


def test_test_orders_show_no_order_counts_and_change_nothing(exchange):
    api, user = subscribe(exchange), exchange.user()
    reply = api.ask("order.test", **user.params(**ORDER))
    assert reply["result"] == {}
    assert kinds(reply) == [("REQUEST_WEIGHT", "MINUTE")]
    assert api.events == []
    assert api.result("openOrders.status", **user.params(symbol="BTCUSDT")) == []


def test_security_of_the_api(exchange):
    api, user = exchange.api(), exchange.user()
    reader = next(one for one in exchange.users if one.kind == "HMAC" and one is not user and one.account == "main")
    assert api.error("order.place", **reader.params(**ORDER)) == (401, -2015)
    assert api.result("account.status", **reader.params())["canTrade"] is True
    assert api.error("order.place", **ORDER) == (401, -2014)
    assert api.error("order.place", **{**user.params(**ORDER), "quantity": "0.002"}) == (400, -1022)
    assert api.error("order.place", **user.params(**ORDER, colour="red")) == (400, -1104)
    assert api.error("order.place", **user.params(**{**ORDER, "symbol": "NOSUCH"})) == (400, -1121)


def test_numbers_are_signed_as_they_are_sent(exchange):
    """Quantities as JSON numbers: the text on the wire is what counts, not what a parser makes of it."""
    api, user = exchange.api(), exchange.user()
    params = user.params(**{**ORDER, "quantity": "0.0010"})
    text = json.dumps({"id": 1, "method": "order.place", "params": params}).replace('"0.0010"', "0.0010")
    api.socket.send(text)
    assert api.reply(1)["status"] == 200


def test_order_limits_say_when_to_try_again(exchange):
    api, user = exchange.api(), exchange.user()
    exchange.sandbox.private.set_orders_limit(2, 1000)
    order = resting(exchange, newOrderRespType="ACK")
    for _ in range(150):  # a window of ten seconds may end in between
        reply = api.ask("order.place", **user.params(**order))
        if reply["status"] != 200:
            break
    assert (reply["status"], reply["error"]["code"]) == (429, -1015)
    data = reply["error"]["data"]
    assert 0 < data["retryAfter"] - data["serverTime"] <= 11_000
