"""The streams over real sockets: what is asked, acknowledged, refused and told (4 and 5)."""

import time

import pytest
import websocket

from binmon.sandbox.bybit.dialogue import read_seconds


def test_acknowledgement_and_pong(bybit):
    socket = bybit.public()
    ack = socket.ask(op="subscribe", args=["orderbook.50.BTCUSDT"], req_id="s-1")
    assert (ack["success"], ack["ret_msg"], ack["op"], ack["req_id"]) == (True, "subscribe", "subscribe", "s-1")
    assert set(ack) == {"success", "ret_msg", "conn_id", "req_id", "op"}
    pong = socket.ask(op="ping", req_id="p-1")
    assert (pong["op"], pong["ret_msg"], pong["req_id"], pong["success"]) == ("ping", "pong", "p-1", True)
    assert "req_id" not in socket.ask(op="ping")
    gone = socket.ask(op="unsubscribe", args=["orderbook.50.BTCUSDT"], req_id="u-1")
    assert (gone["success"], gone["ret_msg"], gone["op"]) == (True, "", "unsubscribe")
    assert bybit.desk("state")["connections"][0]["streams"] == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"op": "subscribe", "args": ["orderbook.7.BTCUSDT"]}, "error:handler not found,topic:orderbook.7.BTCUSDT"),
        ({"op": "subscribe", "args": ["tickers.NOSUCH"]}, "error:handler not found,topic:tickers.NOSUCH"),
        ({"op": "subscribe", "args": [f"kline.{n}.BTCUSDT" for n in "1234567890a"]}, "args size >10"),
        (
            {"op": "subscribe", "args": ["tickers.BTCUSDT", "tickers.BTCUSDT"]},
            "error:already subscribed,topic:tickers.BTCUSDT",
        ),
        ({"op": "subscribe", "args": "tickers.BTCUSDT"}, "error:params error"),
        ({"op": "subscribe", "args": ["x" * 21_001]}, "error:args length exceeds the limit"),
        ({"op": "dance"}, "error:invalid op"),
        ({"args": []}, "error:invalid op"),
    ],
)
def test_what_fails_leaves_the_connection_open(bybit, message, text):
    socket = bybit.public()
    answer = socket.ask(**message, req_id="x")
    assert (answer["success"], answer["ret_msg"], answer["req_id"]) == (False, text, "x")
    assert socket.ask(op="ping")["ret_msg"] == "pong"
    socket.socket.send("{")
    assert socket.message()["ret_msg"] == "error:invalid op"


def test_one_bad_topic_fails_the_whole_request(bybit):
    socket = bybit.public("tickers.BTCUSDT")
    answer = socket.ask(op="subscribe", args=["publicTrade.BTCUSDT", "tickers.BTCUSDT"])
    assert answer["ret_msg"] == "error:already subscribed,topic:tickers.BTCUSDT"
    assert bybit.desk("state")["connections"][0]["streams"] == ["tickers.BTCUSDT"]


def test_a_book_over_the_wire_is_the_venues(bybit):
    socket = bybit.public("orderbook.1000.BTCUSDT")
    sides, last = {"b": {}, "a": {}}, None

    def apply(message):
        nonlocal last
        data = message["data"]
        assert message["type"] == ("snapshot" if last is None else "delta")
        assert last is None or data["u"] == last + 1
        last = data["u"]
        for side, levels in sides.items():
            for price, size in data[side]:
                if size == "0":
                    del levels[price]
                else:
                    levels[price] = size

    for _ in range(20):
        apply(socket.topic("orderbook.1000.BTCUSDT"))
    bybit.fault("freeze")
    book = bybit.exchange.wait(lambda: _still(bybit))
    while last < book["u"]:
        apply(socket.topic("orderbook.1000.BTCUSDT"))
    assert (sides["b"], sides["a"]) == (dict(book["b"]), dict(book["a"]))
    assert book["u"] == last


def _still(bybit):
    """The book over REST, once nothing is on its way any more."""
    seq = bybit.desk("state")["symbols"]["BTCUSDT"]["seq"]
    book = bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=1000")
    return book if book["seq"] == seq == bybit.desk("state")["symbols"]["BTCUSDT"]["seq"] else None


def test_every_public_topic_speaks(bybit):
    names = [
        "orderbook.1.BTCUSDT",
        "orderbook.200.BTCUSDT",
        "publicTrade.BTCUSDT",
        "tickers.BTCUSDT",
        "kline.5.BTCUSDT",
    ]
    socket = bybit.public(*names)
    missing = set(names)
    while missing:
        missing.discard(socket.message().get("topic"))


def test_unknown_paths_are_refused(bybit):
    base = bybit.venue.public_url
    for path in ("linear", "nothing"):
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            websocket.create_connection(base.replace("spot", path), timeout=30)
        assert caught.value.status_code == 404


def test_log_on(bybit):
    socket = bybit.socket(bybit.venue.private_url)
    refused = socket.ask(op="subscribe", args=["order"])
    assert (refused["success"], refused["ret_msg"]) == (False, "Request not authorized")
    now_ms = time.time_ns() // 1_000_000
    good = bybit.main.auth()
    for args in (bybit.main.auth(now_ms - 60_000), good[:2], [good[0], good[1], "x"], ["x", *good[1:]], "x"):
        answer = socket.ask(op="auth", args=args)
        assert (answer["success"], answer["ret_msg"], answer["op"]) == (False, "Params Error", "auth")
    answer = socket.ask(op="auth", args=[good[0], str(good[1]), good[2]], req_id="a-1")
    assert (answer["success"], answer["ret_msg"], answer["req_id"]) == (True, "", "a-1")
    assert not socket.ask(op="auth", args=good)["success"]
    ack = socket.ask(op="subscribe", args=["order", "wallet"], req_id="s-1")
    assert (ack["success"], ack["ret_msg"], ack["req_id"]) == (True, "", "s-1")
    pong = socket.ask(op="ping", req_id="p-1")
    assert (pong["op"], pong["req_id"]) == ("pong", "p-1")
    assert abs(int(pong["args"][0]) - time.time_ns() // 1_000_000) < 60_000


def test_log_on_with_rsa(bybit):
    socket = bybit.private("order", client=bybit.rsa)
    bybit.rsa.create(side="Buy", orderType="Market", qty="25", orderLinkId="by-rsa")
    assert socket.topic("order")["data"][0]["orderLinkId"] == "by-rsa"


def test_private_topics(bybit):
    socket = bybit.private("order", "execution", "execution.fast", "wallet")
    assert socket.ask(op="subscribe", args=["order"])["ret_msg"] == "error:already subscribed,topic:order"
    assert socket.ask(op="subscribe", args=["orders"])["ret_msg"] == "error:handler not found,topic:orders"
    other = bybit.private()
    assert not other.ask(op="subscribe", args=["order", "order.spot"])["success"]
    assert other.ask(op="subscribe", args=["order.spot", "execution.spot", "position"])["success"]
    bybit.main.create(side="Buy", orderType="Market", qty="25", orderLinkId="mine")
    messages = [socket.message() for _ in range(4)]
    assert [message["topic"] for message in messages] == ["execution.fast", "execution", "order", "wallet"]
    assert "id" not in messages[0] and all("id" in message for message in messages[1:])
    theirs = [other.message() for _ in range(2)]
    assert [message["topic"] for message in theirs] == ["execution.spot", "order.spot"]
    assert theirs[1]["data"] == messages[2]["data"]
    assert socket.ask(op="unsubscribe", args=["order", "execution", "execution.fast"])["success"]
    bybit.main.create(side="Buy", orderType="Market", qty="25")
    assert socket.message()["topic"] == "wallet"


def test_accounts_hear_only_their_own(bybit):
    poor = bybit.private("order", "wallet", client=bybit.poor)
    main = bybit.private("order")
    bybit.main.create(side="Buy", orderType="Market", qty="25")
    main.topic("order")
    assert poor.ask(op="ping")["op"] == "pong"
    (state,) = [one for one in bybit.desk("state")["connections"] if one["account"] == "poor"]
    assert state["events"] == 0 and state["topics"] == ["order", "wallet"]


def test_nothing_is_told_on_subscription(bybit):
    bybit.main.create(side="Buy", orderType="Limit", price="50000", qty="0.001")
    socket = bybit.private("order", "wallet", "execution")
    assert socket.ask(op="ping")["op"] == "pong"
    assert bybit.desk("state")["connections"][0]["events"] == 0


def test_an_idle_connection_is_cut_and_one_that_pings_is_not(start_bybit):
    bybit = start_bybit(bybit_idle_s=6.0)
    lively, idle = bybit.private(), bybit.private()
    deadline = time.monotonic() + 60
    while bybit.exchange.wait(lambda: bybit.desk("state"))["counters"].get("disconnects", 0) == 0:
        assert time.monotonic() < deadline
        assert lively.ask(op="ping")["op"] == "pong"
        time.sleep(0.2)
    with pytest.raises((websocket.WebSocketException, OSError)):
        idle.message()
    assert lively.ask(op="ping")["op"] == "pong"


def test_max_active_time(bybit):
    socket = bybit.socket(f"{bybit.venue.private_url}?max_active_time=1m")
    assert socket.ask(op="ping")["op"] == "pong"
    (service,) = [one for one in bybit.venue.services if one.service == "bybit_private"]
    assert [one.dialogue.idle_s for one in service.connections()] == [60.0]


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("1m", 60.0), ("x", None), ("", None), ("1h", None)])
def test_lengths_of_time(text, seconds):
    assert read_seconds(text) == seconds


def test_order_entry(bybit):
    socket, pushes = bybit.socket(bybit.venue.trade_url), bybit.private("order")
    order = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "25"}

    def ask(op, body, number, **more):
        header = {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000), "X-BAPI-RECV-WINDOW": "5000"}
        return socket.ask(reqId=number, header={**header, **more}, op=op, args=[body])

    assert ask("order.create", order, "r0")["retCode"] == 10003
    assert socket.ask(op="auth", args=["a", 1, "b"])["retCode"] == 10003
    assert socket.ask(op="auth", args=bybit.main.auth())["retCode"] == 0
    assert socket.ask(op="auth", args=bybit.main.auth())["retCode"] == 20001
    answer = ask("order.create", {**order, "orderLinkId": "by-ws"}, "r1")
    assert (answer["retCode"], answer["reqId"], answer["op"]) == (0, "r1", "order.create")
    assert answer["data"]["orderLinkId"] == "by-ws"
    assert answer["header"]["X-Bapi-Limit"] == "20" and answer["header"]["Timenow"].isdigit()
    assert pushes.topic("order")["data"][0]["orderLinkId"] == "by-ws"
    assert ask("order.create", order, "r1")["retCode"] == 20006
    assert ask("order.create", order, "r2", **{"X-BAPI-TIMESTAMP": "1"})["retCode"] == 10002
    refused = ask("order.create", {**order, "orderLinkId": "by-ws"}, "r3")
    assert (refused["retCode"], refused["data"]) == (170141, {})
    assert ask("order.fly", order, "r4")["retCode"] == 10404
    limit = {**order, "orderType": "Limit", "price": "50000", "qty": "0.001", "orderLinkId": "rests"}
    assert ask("order.create", limit, "r5")["retCode"] == 0
    cancel = {"category": "spot", "symbol": "BTCUSDT", "orderLinkId": "rests"}
    assert ask("order.cancel", cancel, "r6")["retCode"] == 0
    assert ask("order.cancel", cancel, "r7")["retCode"] == 170213
    pong = socket.ask(op="ping")
    assert (pong["op"], pong["retCode"]) == ("pong", 0) and pong["data"][0].isdigit()
