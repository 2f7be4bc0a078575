"""Requests and replies of the WebSocket API as the reference shows them (section 8)."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from binmon.errors import Banned, BinmonError, RateLimited, RequestRefused, StatusUnknown, VenueFailed
from binmon.messages import OrderAnswered, OrderRequest, OrderSide, OrderState
from binmon.venues.base import MalformedFrame
from binmon.venues.binance import ws_api
from binmon.venues.binance.signing import Signer

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SIGNER = Signer.hmac(KEY, SECRET)
NOW_MS = 1784600000000
ORDER = OrderRequest(
    "binance", "ABCUSDT", OrderSide.BUY, "binmon-1784600000-3", Decimal(15), quantity=Decimal("0.00020")
)
RESULT = {
    "symbol": "ABCUSDT", "orderId": 28003, "orderListId": -1, "clientOrderId": "binmon-1784600000-3",
    "transactTime": 1784600000045123, "price": "0.00000000", "origQty": "0.00020000", "executedQty": "0.00020000",
    "cummulativeQuoteQty": "13.02480000", "status": "FILLED", "timeInForce": "GTC", "type": "MARKET", "side": "BUY",
}  # fmt: skip


def read(status: int = 200, **rest: object) -> ws_api.Reply:
    return ws_api.read_reply(json.dumps({"id": "op-1", "status": status, **rest}).encode())


def answered(reply: ws_api.Reply) -> OrderAnswered:
    return ws_api.order_answered(reply, ORDER, 11, 22, NOW_MS)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://ws-api.binance.com:443/ws-api/v3", "wss://ws-api.binance.com:443/ws-api/v3?timeUnit=MICROSECOND"),
        ("ws://127.0.0.1:9/x?timeUnit=MILLISECOND&a=", "ws://127.0.0.1:9/x?a=&timeUnit=MICROSECOND"),
    ],
)
def test_the_address_asks_for_microseconds(url: str, expected: str) -> None:
    assert ws_api.address(url) == expected


def test_subscribing_with_the_vector_of_the_reference() -> None:
    assert json.loads(ws_api.subscribe_by_signature("uds-1", SIGNER, 1747385641636)) == {
        "id": "uds-1",
        "method": "userDataStream.subscribe.signature",
        "params": {
            "apiKey": KEY,
            "recvWindow": 5000,
            "timestamp": 1747385641636,
            "signature": "49601ffc5b0122c3c7ee3ea85ef7d6cd76256f5191a57c976418faa32e917653",
        },
    }
    assert json.loads(ws_api.session_logon("lo-1", SIGNER, 1747385641636)) == {
        **json.loads(ws_api.subscribe_by_signature("lo-1", SIGNER, 1747385641636)),
        "method": "session.logon",
    }


def test_requests_without_signature() -> None:
    assert json.loads(ws_api.user_data_subscribe("su-1")) == {"id": "su-1", "method": "userDataStream.subscribe"}


def test_orders() -> None:
    sent = json.loads(ws_api.order_place("op-1", ORDER, SIGNER, NOW_MS, 2500))
    assert sent["method"] == "order.place"
    signature = sent["params"].pop("signature")
    assert sent["params"] == {
        "symbol": "ABCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.0002", "apiKey": KEY, "recvWindow": 2500,
        "newClientOrderId": "binmon-1784600000-3", "newOrderRespType": "RESULT", "timestamp": NOW_MS,
    }  # fmt: skip
    assert SIGNER.websocket(sent["params"])["signature"] == signature


def test_asking_for_an_order() -> None:
    sent = json.loads(ws_api.order_status("os-1", "币安人生USDT", "mine", SIGNER, NOW_MS))
    assert sent["method"] == "order.status"
    assert sent["params"]["symbol"] == "币安人生USDT" and sent["params"]["origClientOrderId"] == "mine"
    signature = sent["params"].pop("signature")
    assert SIGNER.websocket(sent["params"])["signature"] == signature


def test_an_order_that_was_taken() -> None:
    assert answered(read(result=RESULT)) == OrderAnswered(
        venue="binance",
        symbol="ABCUSDT",
        client_order_id="binmon-1784600000-3",
        order_id=28003,
        status="FILLED",
        executed_quantity=Decimal("0.0002"),
        executed_quote=Decimal("13.0248"),
        transact_time_us=1784600000045123,
        answered_ns=11,
        answered_mono_ns=22,
    )


BAN = {"code": -1003, "msg": "banned", "data": {"serverTime": 1784600000123, "retryAfter": 1784603600000}}


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": -2010, "msg": "insufficient"}, RequestRefused("ws-api order.place", 400, -2010, "insufficient")),
        (401, {"code": -2015, "msg": "Invalid"}, RequestRefused("ws-api order.place", 401, -2015, "Invalid")),
        (400, {}, RequestRefused("ws-api order.place", 400, None, "no reason given")),
        (429, {"code": -1015, "msg": "Too many new orders"}, RateLimited("ORDERS", 60.0)),
        (429, {**BAN, "code": -1003}, RateLimited("REQUEST_WEIGHT", 3599.877)),
        (418, BAN, Banned(3599.877)),
        (418, {"code": -1003, "msg": "x", "data": {"retryAfter": NOW_MS + 7000}}, Banned(7.0)),
        (418, {"code": -1003, "msg": "x", "data": {"retryAfter": NOW_MS * 1000 + 7000000}}, Banned(7.0)),
        (418, {"code": -1003, "msg": "x", "data": {"retryAfter": 1}}, Banned(0.0)),
        (418, {"code": -1003, "msg": "x", "data": ["?"]}, Banned(120.0)),
        (418, {"code": -1003, "msg": "x", "data": None}, Banned(120.0)),
        (418, {"code": -1003, "msg": "x"}, Banned(120.0)),
        (403, {"code": -1, "msg": "x"}, RateLimited("WAF", 120.0)),
        (500, {"code": -1000, "msg": "unknown"}, StatusUnknown),
        (503, {"code": -1008, "msg": "overloaded"}, StatusUnknown),
        (400, {"code": -1006, "msg": "unexpected"}, StatusUnknown),
        (400, {"code": -1007, "msg": "timeout"}, StatusUnknown),
        (408, {"msg": "timeout"}, StatusUnknown),
        (302, {}, StatusUnknown),
        (200, {"code": -1, "msg": "both"}, StatusUnknown),
    ],
)
def test_an_order_that_was_not(status: int, error: dict[str, object], expected: BinmonError | type) -> None:
    with pytest.raises(BinmonError) as caught:
        answered(read(status, error=error))
    if isinstance(expected, type):
        assert type(caught.value) is expected and caught.value.client_order_id == "binmon-1784600000-3"
    else:
        assert type(caught.value) is type(expected)
        assert caught.value.args == pytest.approx(expected.args) if error is BAN else caught.value.args == expected.args
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "result", [None, {}, [], "x", {**RESULT, "orderId": None}, {**RESULT, "clientOrderId": "another"},
               {**RESULT, "executedQty": "NaN"}, {**RESULT, "executedQty": "many"}],
)  # fmt: skip
def test_an_answer_that_says_nothing(result: object) -> None:
    with pytest.raises(StatusUnknown):
        answered(read(result=result))


def test_the_state_of_an_order() -> None:
    queried = {**RESULT, "updateTime": 1784600000046}
    del queried["transactTime"]
    expected = OrderState(
        "binance", "ABCUSDT", "mine", True, 28003, "FILLED", Decimal("0.0002"), Decimal("13.0248"), 1784600000046000
    )
    assert ws_api.order_state(read(result=queried), "ABCUSDT", "mine", NOW_MS) == expected
    unknown = read(400, error={"code": -2013, "msg": "Order does not exist."})
    assert ws_api.order_state(unknown, "ABCUSDT", "mine", NOW_MS) == OrderState("binance", "ABCUSDT", "mine", False)
    with pytest.raises(RequestRefused, match="-2011"):
        ws_api.order_state(read(400, error={"code": -2011, "msg": "Unknown order sent."}), "ABCUSDT", "mine", NOW_MS)
    with pytest.raises(VenueFailed, match="-1007 late"):
        ws_api.order_state(read(400, error={"code": -1007, "msg": "late"}), "ABCUSDT", "mine", NOW_MS)
    with pytest.raises(MalformedFrame):
        ws_api.order_state(read(result=7), "ABCUSDT", "mine", NOW_MS)


def test_what_a_reply_counts() -> None:
    weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000, "count": 4}
    assert read(result={}, rateLimits=[weight]).used_weight == 4
    assert read(result={}).used_weight is None
    with pytest.raises(MalformedFrame):
        ws_api.read_reply(b'{"id": 1}')
