"""The private stream: its opening, the reference's frames, and that no fill is told twice, however its copies come."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.errors import RequestRefused
from binmon.messages import Balance, BalancesChanged, ExecutionReport, OrderSide
from binmon.venues.base import MalformedFrame
from binmon.venues.bybit.signing import Signer
from binmon.venues.bybit.user_data import BybitUserStream
from binmon.venues.trading import SayNext, Several, Subscribed, SubscriptionRefused

NOW_MS = 1764000000000
ORDER = {
    "category": "spot", "symbol": "BTCUSDT", "orderId": "2075550001112223744", "orderLinkId": "bm-000001", "side": "Buy",
    "orderStatus": "PartiallyFilledCanceled", "cancelType": "UNKNOWN", "rejectReason": "EC_CancelForNoFullFill",
    "timeInForce": "IOC", "price": "0", "qty": "25.000000", "avgPrice": "70001.2", "leavesQty": "0.000000",
    "cumExecQty": "0.000357", "cumExecValue": "24.99042840", "cumExecFee": "0.000000357", "orderType": "Market",
    "marketUnit": "quoteCoin", "createdTime": "1764000000119", "updatedTime": "1764000000123", "feeCurrency": "BTC",
}  # fmt: skip
FILL = {
    "category": "spot", "symbol": "BTCUSDT", "execFee": "0.000000357", "execId": "2290000001234567891",
    "execPrice": "70001.2", "execQty": "0.000357", "execType": "Trade", "execValue": "24.99042840", "feeRate": "0.001",
    "orderId": "2075550001112223744", "orderLinkId": "bm-000001", "side": "Buy", "execTime": "1764000000119",
    "isMaker": False, "seq": 98765432102, "feeCurrency": "BTC",
}  # fmt: skip
FAST = {
    name: FILL[name]
    for name in (
        "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side", "execTime",
        "seq",
    )
}  # fmt: skip


def push(topic: str, *data: dict[str, Any], created_ms: int = 1764000000125) -> bytes:
    return json.dumps({"topic": topic, "id": "1_x_2", "creationTime": created_ms, "data": data}).encode()


class Hand:
    def __init__(self, **options: bool) -> None:
        self.stream = BybitUserStream(
            "ws://127.0.0.1:1", Signer("SandboxKey01", "SandboxSecret01"), venue_ms=lambda: NOW_MS, **options
        )
        self.times = itertools.count(1)

    def take(self, frame: bytes | dict[str, Any], connection: str = "u.1") -> list[Any]:
        received = next(self.times)
        frame = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        told = self.stream.decode(frame, connection, 10**18 + received, received)
        return [] if told is None else list(told.messages) if isinstance(told, Several) else [told]

    def reports(self, *frames: bytes, connection: str = "u.1") -> list[ExecutionReport]:
        return [one for frame in frames for one in self.take(frame, connection)]


# -- opening --------------------------------------------------------------------------------------------------------


def ack(request: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"success": True, "ret_msg": "", "op": request["op"], "conn_id": "c0", "req_id": request["req_id"], **more}


def only(messages: list[Any]) -> dict[str, Any]:
    ((message,),) = (one.messages for one in messages if isinstance(one, SayNext))
    return json.loads(message)


def test_the_opening_is_a_dialogue() -> None:
    hand = Hand()
    assert hand.stream.user_stream_url == "ws://127.0.0.1:1/v5/private"
    (login,) = map(json.loads, hand.stream.opening_messages())
    expires = NOW_MS + 10_000
    assert (login["op"], login["args"]) == (
        "auth",
        ["SandboxKey01", expires, "4970f0582a117fb0533914ca6d45cbd707775b7b6d33d1e6a1710146c6ae844c"],
    )
    orders = only(hand.take(ack(login)))
    assert (orders["op"], orders["args"]) == ("subscribe", ["order.spot", "execution.spot"])
    wallet = only(hand.take(ack(orders)))
    assert wallet["args"] == ["wallet"]  # a plain topic: not in one request with those of a category
    fast = only(hand.take(ack(wallet)))
    assert fast["args"] == ["execution.fast.spot"]
    assert hand.take(ack(fast)) == [Subscribed()]


def test_without_the_fast_topic() -> None:
    hand = Hand(fast=False)
    assert hand.take({"success": True, "op": "subscribe", "req_id": "wallet"}) == [Subscribed()]


def test_what_is_not_needed_may_be_refused() -> None:
    hand = Hand()
    refused = {"success": False, "ret_msg": "no", "op": "subscribe"}
    assert only(hand.take({**refused, "req_id": "wallet"}))["req_id"] == "fast"
    assert hand.take({**refused, "req_id": "fast"}) == [Subscribed()]
    assert hand.stream.events == Counter({"wallet refused": 1, "fast refused": 1})


def test_where_the_topics_of_spot_are_refused_those_of_all_categories_do() -> None:
    hand = Hand()
    refused = {"success": False, "ret_msg": "error:handler not found", "op": "subscribe"}
    plain = only(hand.take({**refused, "req_id": "orders"}))
    assert plain["args"] == ["order", "execution"]
    assert only(hand.take(ack(plain)))["req_id"] == "wallet"
    assert isinstance(hand.take({**refused, "req_id": plain["req_id"]})[0], SubscriptionRefused)


@pytest.mark.parametrize(
    "reply",
    [
        {"success": False, "ret_msg": "Params Error SandboxKey01", "op": "auth", "conn_id": "c0"},
        {
            "success": False,
            "ret_msg": "Request not authorized",
            "op": "subscribe",
            "req_id": "orders of all categories",
        },
        {"success": False, "op": "subscribe"},
        {"op": "auth"},
    ],
)
def test_refusals(reply: dict[str, Any]) -> None:
    (told,) = Hand().take(reply)
    assert isinstance(told, SubscriptionRefused) and isinstance(told.error, RequestRefused)
    assert "SandboxKey01" not in str(told.error)


@pytest.mark.parametrize(
    "frame",
    [
        {"req_id": "ping", "op": "pong", "args": ["1764000020123"], "conn_id": "c0"},
        {"success": True, "ret_msg": "pong", "op": "ping"},
        {"topic": "position", "creationTime": 1, "data": []},
        {"unknown": 1},
        push("order.spot"),
        push("execution", {**FILL, "category": "linear"}),
        push("execution", {**FILL, "execType": "Funding"}),
        push("order", {**ORDER, "category": "linear", "orderId": "uuid-not-digits"}),
    ],
)
def test_what_nobody_asked_for(frame: bytes | dict[str, Any]) -> None:
    assert Hand().take(frame) == []


# -- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["execution", "execution.spot"])
def test_a_fill(topic: str) -> None:
    (report,) = Hand().take(push(topic, FILL))
    assert report == ExecutionReport(
        "bybit", "BTCUSDT", "bm-000001", 2075550001112223744, 2290000001234567891, "TRADE", "PARTIALLY_FILLED",
        OrderSide.BUY, Decimal("0.000357"), Decimal("70001.2"), Decimal("0.000357"), Decimal("24.9904284"),
        Decimal("0.000000357"), "BTC", 2290000001234567891, 1764000000125000, 1764000000119000, "", "u.1",
        10**18 + 1, 1,
    )  # fmt: skip


@pytest.mark.parametrize("topic", ["order", "order.spot"])
def test_a_status(topic: str) -> None:
    (report,) = Hand().take(push(topic, ORDER))
    assert (report.client_order_id, report.order_id) == ("bm-000001", 2075550001112223744)
    assert (report.execution_type, report.order_status, report.reason) == (
        "STATUS",
        "EXPIRED",
        "EC_CancelForNoFullFill",
    )
    assert (report.last_quantity, report.executed_quantity) == (0, Decimal("0.000357"))
    assert (report.executed_quote, report.trade_id) == (Decimal("24.9904284"), None)
    assert (report.event_time_us, report.transaction_time_us) == (1764000000125000, 1764000000123000)


def test_a_fast_fill_has_no_fee_and_its_slow_copy_is_not_told() -> None:
    hand = Hand()
    fast, slow = push("execution.fast.spot", FAST, created_ms=1764000000121), push("execution.spot", FILL)
    (report,) = hand.reports(fast, slow)
    assert (report.commission, report.commission_asset, report.event_time_us) == (0, "", 1764000000121000)
    assert report.executed_quote == Decimal("70001.2") * Decimal("0.000357")
    (other,) = Hand().reports(slow, fast)
    assert (other.commission, other.commission_asset) == (Decimal("0.000000357"), "BTC")


def test_several_fills_in_one_message_add_up() -> None:
    second = {**FILL, "execId": "2290000001234567892", "execQty": "0.000643", "execValue": "45"}
    first, last = Hand().take(push("execution.spot", FILL, second))
    assert (first.executed_quantity, last.executed_quantity) == (Decimal("0.000357"), Decimal("0.001"))
    assert last.executed_quote == Decimal("69.9904284")


def test_a_fast_fill_of_nobody_waits_for_its_slow_copy() -> None:
    hand = Hand()
    nameless = push("execution.fast.spot", {**FAST, "orderLinkId": ""})
    assert hand.take(nameless) == []
    (report,) = hand.reports(push("execution.spot", FILL))
    assert report.client_order_id == "bm-000001"


def test_a_fast_fill_without_our_id_is_known_by_its_order() -> None:
    hand = Hand()
    hand.take(push("order.spot", {**ORDER, "orderStatus": "New"}))
    (report,) = hand.reports(push("execution.fast.spot", {**FAST, "orderLinkId": ""}))
    assert report.client_order_id == "bm-000001"


def test_two_connections_tell_the_same_report_in_the_same_words() -> None:
    hand = Hand()
    (first,) = hand.reports(push("execution.fast.spot", FAST, created_ms=1764000000121))
    (second,) = hand.reports(push("execution.spot", FILL), connection="u.2")
    assert (second.connection, second.received_mono_ns) == ("u.2", 2)
    assert second.event_time_us == first.event_time_us and second.execution_id == first.execution_id
    (one,) = hand.reports(push("order.spot", ORDER))
    (other,) = hand.reports(push("order.spot", ORDER, created_ms=1764000000130), connection="u.2")
    assert (one.execution_id, one.event_time_us) == (other.execution_id, other.event_time_us)


def test_the_last_status_has_the_highest_number() -> None:
    hand = Hand()
    ids = [
        hand.reports(push("order.spot", {**ORDER, "orderStatus": status, "updatedTime": time}))[0].execution_id
        for status, time in (
            ("New", "1764000000119"),
            ("PartiallyFilled", "1764000000119"),
            ("Filled", "1764000000119"),
        )
    ]
    assert ids == sorted(ids) and len(set(ids)) == 3


def test_the_wallet() -> None:
    wallet = {"accountType": "UNIFIED", "totalEquity": "", "coin": [
        {"coin": "USDT", "walletBalance": "2975.51", "locked": "5", "availableToWithdraw": ""},
        {"coin": "BTC", "walletBalance": "0", "locked": "0"},
    ]}  # fmt: skip
    assert Hand().take(push("wallet", wallet, created_ms=1764000000126)) == [
        BalancesChanged(
            "bybit",
            (Balance("USDT", Decimal("2970.51"), Decimal(5)), Balance("BTC", Decimal(0), Decimal(0))),
            1764000000126000,
        )
    ]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        push("execution", {**FILL, "execQty": "NaN"}),
        push("execution", {**FILL, "execId": ""}),
        push("execution", {**FILL, "orderId": ""}),
        push("execution", {**FILL, "side": "Both"}),
        push("execution", {name: value for name, value in FILL.items() if name != "execId"}),
        push("order", {**ORDER, "updatedTime": "x"}),
        push("wallet", {"coin": [{"coin": "USDT", "walletBalance": "x"}]}),
        b'{"topic":"order","data":[]}',
    ],
)
def test_malformed_frames(frame: bytes) -> None:
    with pytest.raises(MalformedFrame) as caught:
        Hand().take(frame)
    assert "bm-000001" not in str(caught.value)


def test_times_may_be_numbers_or_texts() -> None:
    hand, other = Hand(), Hand()
    told = hand.reports(push("execution", FILL), push("order", ORDER))
    texts = hand.stream.decode(push("wallet", {"coin": []}).replace(b"1764000000125", b'"1764000000125"'), "u.1", 1, 1)
    assert isinstance(texts, BalancesChanged) and texts.time_us == 1764000000125000
    numbers = [
        push(topic, {**one, name: int(one[name])}).replace(b"1764000000125", b'"1764000000125"')
        for topic, one, name in (("execution", FILL, "execTime"), ("order", ORDER, "updatedTime"))
    ]
    assert other.reports(*numbers) == told


@pytest.mark.parametrize("order_id", ["7f3c2d1e-0000-4a5b-8c9d-0123456789ab", "9999999999999999999", "0" * 40])
def test_an_order_whose_id_is_no_number_of_ours_still_has_one(order_id: str) -> None:
    """What a database keeps as a number has 63 bits."""
    order, fill = Hand().reports(
        push("order", {**ORDER, "orderId": order_id}), push("execution", {**FILL, "orderId": order_id})
    )
    assert order.order_id == fill.order_id and 0 <= order.order_id < 2**63


def test_a_fill_whose_id_is_no_number_still_has_one() -> None:
    hand = Hand()
    named = {**FILL, "execId": "7f3c2d1e-0000-4a5b-8c9d-0123456789ab"}
    (report,) = hand.reports(push("execution.spot", named), push("execution.spot", named))
    assert 0 < report.execution_id < 2**63


@given(st.data(), st.integers(1, 6))
def test_each_fill_is_told_once_a_connection_in_whatever_order_its_copies_come(data: st.DataObject, fills: int) -> None:
    """Fast and slow copies of all fills, on one or two connections, mixed at will and some of them twice."""
    executions = [
        {**FILL, "execId": str(10**18 + number), "execQty": f"0.00{number + 1}", "execValue": ""}
        for number in range(fills)
    ]
    copies = []
    for fill in executions:
        slim = {name: fill[name] for name in FAST}
        for connection in ("u.1", "u.2"):
            copies += [(connection, "execution.fast.spot", slim), (connection, "execution.spot", fill)]
    frames = data.draw(st.permutations(copies))
    frames += data.draw(st.lists(st.sampled_from(copies), max_size=6))
    hand = Hand()
    told: list[ExecutionReport] = []
    for number, (connection, topic, fill) in enumerate(frames):
        frame = push(topic, fill, created_ms=NOW_MS + number)
        told += hand.reports(frame, connection=connection)
    numbers = [10**18 + number for number in range(fills)]
    for connection in ("u.1", "u.2"):
        assert sorted(one.execution_id for one in told if one.connection == connection) == numbers
    # what tells a report from its copy is the same on both (see UserStream)
    keys = {(one.order_id, one.execution_id, one.event_time_us, one.client_order_id) for one in told}
    assert len(keys) == fills
    total = sum(Decimal(fill["execQty"]) for fill in executions)
    assert max(one.executed_quantity for one in told) == total
    assert sum({one.execution_id: one.last_quantity for one in told}.values()) == total
