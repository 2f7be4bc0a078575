"""Frames of the user-data stream: the reference's own (7.4, 7.5), and whatever else may come."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from binmon.errors import Banned, RateLimited, RequestRefused, VenueFailed
from binmon.messages import Balance, BalancesChanged, ExecutionReport, OrderSide
from binmon.net.ledger import RateLedger, Usage
from binmon.venues.base import MalformedFrame, ShutdownNotice
from binmon.venues.binance.signing import Signer
from binmon.venues.binance.user_data import BinanceUserStream, UserDataDecoder
from binmon.venues.trading import StreamReply, Subscribed, SubscriptionEnded, SubscriptionRefused

NEW = rb"""{"e":"executionReport","E":1784600000458,"s":"ABCUSDT","c":"binmon-1784600000-1","S":"BUY","o":"LIMIT","f":"GTC","q":"0.00020000","p":"52000.00000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"NEW","X":"NEW","r":"NONE","i":28001,"l":"0.00000000","z":"0.00000000","L":"0.00000000","n":"0","N":null,"T":1784600000456,"t":-1,"I":61200,"w":true,"m":false,"M":false,"O":1784600000456,"Z":"0.00000000","Y":"0.00000000","Q":"0.00000000","W":1784600000456,"V":"EXPIRE_MAKER"}"""
CANCELED = rb"""{"e":"executionReport","E":1784600005003,"s":"ABCUSDT","c":"kX3pQ7cancel","S":"BUY","o":"LIMIT","f":"GTC","q":"0.00020000","p":"52000.00000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"binmon-1784600000-1","x":"CANCELED","X":"CANCELED","r":"NONE","i":28001,"l":"0.00000000","z":"0.00000000","L":"0.00000000","n":"0","N":null,"T":1784600005001,"t":-1,"I":61244,"w":false,"m":false,"M":false,"O":1784600000456,"Z":"0.00000000","Y":"0.00000000","Q":"0.00000000","W":1784600000456,"V":"EXPIRE_MAKER"}"""
TRADE = rb"""{"e":"executionReport","E":1784600001791,"s":"ABCUSDT","c":"binmon-1784600000-2","S":"SELL","o":"MARKET","f":"GTC","q":"0.00030000","p":"0.00000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"TRADE","X":"PARTIALLY_FILLED","r":"NONE","i":28002,"l":"0.00020000","z":"0.00020000","L":"65124.00000000","n":"0.00000020","N":"ABC","T":1784600001789,"t":902,"I":61211,"w":false,"m":false,"M":true,"O":1784600001789,"Z":"13.02480000","Y":"13.02480000","Q":"0.00000000","W":1784600001789,"V":"EXPIRE_MAKER"}"""
POSITION = rb"""{"e":"outboundAccountPosition","E":1784600001791,"u":1784600001789,"B":[{"a":"ABC","f":"1.00029970","l":"0.00000000"},{"a":"USDT","f":"980.46279000","l":"0.10000000"}]}"""
LIMITS = [
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50, "count": 3},
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000, "count": 4},
]


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage collection at the bottom of a deep recursion, where callbacks of others have no room left to run."""
    gc.disable()
    yield
    gc.enable()


def enveloped(event: bytes) -> bytes:
    return b'{"subscriptionId": 0, "event": ' + event + b"}"


def decoded(frame: bytes):
    return UserDataDecoder().decode(frame, "user-1", 11, 22)


def changed(event: bytes, **fields: object) -> bytes:
    """The enveloped event with fields changed, or left out where they are ``...``."""
    content = {**json.loads(event), **fields}
    return enveloped(json.dumps({key: value for key, value in content.items() if value is not ...}).encode())


def test_a_fill() -> None:
    assert decoded(enveloped(TRADE)) == ExecutionReport(
        venue="binance",
        symbol="ABCUSDT",
        client_order_id="binmon-1784600000-2",
        order_id=28002,
        execution_id=61211,
        execution_type="TRADE",
        order_status="PARTIALLY_FILLED",
        side=OrderSide.SELL,
        last_quantity=Decimal("0.0002"),
        last_price=Decimal(65124),
        executed_quantity=Decimal("0.0002"),
        executed_quote=Decimal("13.0248"),
        commission=Decimal("0.0000002"),
        commission_asset="ABC",
        trade_id=902,
        event_time_us=1784600001791000,
        transaction_time_us=1784600001789000,
        reason="",
        connection="user-1",
        received_ns=11,
        received_mono_ns=22,
    )


def test_an_order_without_fill_and_its_cancel_bear_the_same_id() -> None:
    new, cancel = decoded(enveloped(NEW)), decoded(enveloped(CANCELED))
    assert new.client_order_id == cancel.client_order_id == "binmon-1784600000-1"
    assert (new.execution_type, cancel.execution_type) == ("NEW", "CANCELED")
    assert new.trade_id is None and new.commission_asset == "" and new.commission == 0
    # a cancel by the venue bears no other id; nor is what is in C the order's where nothing was cancelled
    assert decoded(changed(CANCELED, C="", c="own")).client_order_id == "own"
    assert decoded(changed(NEW, C="other", c="own")).client_order_id == "own"


def test_times_in_microseconds() -> None:
    report = decoded(changed(NEW, E=1784600000458123, T=1784600000456789))
    assert (report.event_time_us, report.transaction_time_us) == (1784600000458123, 1784600000456789)
    assert decoded(enveloped(POSITION)).time_us == 1784600001789000
    assert decoded(changed(POSITION, u=1784600001789001)).time_us == 1784600001789001


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"r": "INSUFFICIENT_BALANCES"}, "INSUFFICIENT_BALANCES"),
        ({"eR": "INSUFFICIENT_LIQUIDITY"}, "INSUFFICIENT_LIQUIDITY"),
        ({"r": "OCO_BAD_PRICES", "eR": "REJECTED"}, "OCO_BAD_PRICES"),
        ({"r": ...}, ""),
        ({}, ""),
    ],
)
def test_why(fields: dict[str, object], reason: str) -> None:
    assert decoded(changed(NEW, **fields)).reason == reason


def test_balances() -> None:
    assert decoded(enveloped(POSITION)) == BalancesChanged(
        "binance",
        (
            Balance("ABC", Decimal("1.0002997"), Decimal(0)),
            Balance("USDT", Decimal("980.46279"), Decimal("0.1")),
        ),
        1784600001789000,
    )


def test_unknown_fields_and_other_envelopes_disturb_nothing() -> None:
    plain = decoded(enveloped(TRADE))
    more = {"cs": "x", "ii": None, "SS": {"deep": [1]}, "pl": "1", "pL": "2", "u": 1, "U": 2, "gp": "3", "gP": "4"}
    assert decoded(changed(TRADE, **more)) == plain
    assert decoded(b'{"event":' + TRADE + b',"more":{"event":1}}') == plain
    assert decoded(TRADE) == plain
    turned = json.dumps(dict(reversed(json.loads(TRADE).items()))).encode()
    assert decoded(enveloped(turned)) == plain


def test_other_events_are_counted_by_name() -> None:
    decoder = UserDataDecoder()
    for name in ["balanceUpdate", "listStatus", "balanceUpdate", "somethingNew"]:
        frame = enveloped(json.dumps({"e": name, "E": 1, "a": {}}).encode())
        assert decoder.decode(frame, "user-1", 1, 1) is None
    assert decoder.events == {"balanceUpdate": 2, "listStatus": 1, "somethingNew": 1}
    for number in range(200):
        decoder.decode(enveloped(b'{"e":"%d%s"}' % (number, b"x" * 500)), "user-1", 1, 1)
    assert len(decoder.events) == 51 and sum(decoder.events.values()) == 204
    assert all(len(name) <= 40 for name in decoder.events)


def test_the_end_of_a_subscription_and_of_a_connection() -> None:
    ended = decoded(b'{"subscriptionId": 3, "event": {"e": "eventStreamTerminated", "E": 1784600300000}}')
    assert isinstance(ended, SubscriptionEnded) and "3" in ended.reason
    shutdown = b'{"event": {"e": "serverShutdown", "E": %d}}'
    assert decoded(shutdown % 1784600000123) == ShutdownNotice(1784600000123)
    assert decoded(shutdown % 1784600000123456) == ShutdownNotice(1784600000123)
    assert decoded(b'{"e": "serverShutdown"}') == ShutdownNotice(0)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"null",
        b"[]",
        b"hello",
        b"\xff\xfe",
        b'{"a":"\xff"}',
        b'{"event":' * 3000,
        enveloped(TRADE)[:-20],
        changed(TRADE, i="many"),
        changed(TRADE, i=...),
        changed(TRADE, c=...),
        changed(TRADE, S="HOLD"),
        changed(TRADE, l="much"),
        changed(TRADE, L="NaN"),
        changed(TRADE, Z="Infinity"),
        changed(TRADE, T=None),
        changed(POSITION, B=[{"a": "ABC"}]),
        changed(POSITION, B=[{"a": "ABC", "f": "NaN", "l": "0"}]),
        changed(POSITION, B=...),
    ],
)
@pytest.mark.usefixtures("no_collection")
def test_malformed_frames(frame: bytes) -> None:
    with pytest.raises(MalformedFrame) as caught:
        decoded(frame)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "frame",
    [b"{}", b'{"event": {}}', b'{"event": 7}', b'{"event": {"e": 7}}', b'{"id": 1}', b'{"event": null, "id": 7}'],
)
def test_objects_that_mean_nothing_are_counted_and_passed_over(frame: bytes) -> None:
    decoder = UserDataDecoder()
    assert decoder.decode(frame, "c", 1, 2) is None
    assert decoder.events == {"neither event nor reply": 1}


@given(st.binary(max_size=80) | st.from_type(dict).map(lambda one: json.dumps(one, default=str).encode()))
def test_nothing_but_malformed_frame_is_raised(frame: bytes) -> None:
    try:
        decoded(frame)
        decoded(enveloped(frame))
    except MalformedFrame:
        pass  # what a caller is told to expect


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=5), lambda one: st.lists(one, max_size=3)
       | st.dictionaries(st.sampled_from("eEscCSxXilzLTIZrnNtBufa"), one, max_size=8), max_leaves=12),
       st.sampled_from([NEW, CANCELED, TRADE, POSITION]), st.sampled_from("eEscCSxXilzLTIZrnNtBuf"))  # fmt: skip
def test_a_field_may_be_anything(value: object, event: bytes, key: str) -> None:
    try:
        decoded(changed(event, **{key: value}))
    except MalformedFrame:
        pass  # what a caller is told to expect


# -- the stream as a venue ----------------------------------------------------------------------------------------


def stream(ledger: RateLedger | None = None) -> BinanceUserStream:
    return BinanceUserStream(
        "ws://127.0.0.1:9/ws-api/v3", Signer.hmac("key", "secret"), venue_ms=lambda: 1784600000000, ledger=ledger
    )


def reply(request_id: object, status: int = 200, **rest: object) -> bytes:
    return json.dumps({"id": request_id, "status": status, "rateLimits": LIMITS, **rest}).encode()


def test_opening_a_connection() -> None:
    venue = stream()
    assert venue.user_stream_url == "ws://127.0.0.1:9/ws-api/v3?timeUnit=MICROSECOND"
    (first,), (second,) = venue.opening_messages(), venue.opening_messages()
    request = json.loads(first)
    assert request["method"] == "userDataStream.subscribe.signature"
    assert request["params"] == Signer.hmac("key", "secret").websocket(
        {"apiKey": "key", "recvWindow": 5000, "timestamp": 1784600000000}
    )
    assert request["id"] != json.loads(second)["id"]
    confirmed = reply(request["id"], result={"subscriptionId": 0})
    assert venue.decode(confirmed, "user-1", 1, 1) == Subscribed()
    assert isinstance(venue.decode(enveloped(TRADE), "user-1", 1, 1), ExecutionReport)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, RequestRefused),
        (400, {"code": -1022, "msg": "Signature for this request is not valid."}, RequestRefused),
        (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}, VenueFailed),
        (500, {"code": -1000, "msg": "unknown"}, VenueFailed),
        (429, {"code": -1003, "msg": "Too much"}, RateLimited),
        (418, {"code": -1003, "msg": "Way too much", "data": {"retryAfter": 1784600060000}}, Banned),
    ],
)
def test_a_subscription_that_is_refused(status: int, error: dict[str, object], kind: type) -> None:
    venue = stream()
    request_id = json.loads(venue.opening_messages()[0])["id"]
    for one in (request_id, None):
        message = venue.decode(reply(one, status, error=error), "user-1", 1, 1)
        assert isinstance(message, SubscriptionRefused) and type(message.error) is kind
    already = venue.decode(reply(request_id, 400, error={"code": -2035, "msg": "already"}), "user-1", 1, 1)
    assert already == Subscribed()


def test_replies_to_others_are_handed_on_and_their_counts_kept() -> None:
    ledger = RateLedger("binance", clock=lambda: 1784600000.0)
    ledger.set_limits(orders={"10S": 50})
    venue = stream(ledger)
    frame = reply("order-7", result={"orderId": 1})
    assert venue.decode(frame, "user-1", 1, 1) == StreamReply("order-7", frame)
    assert ledger.status(1784600000.0).orders == {"10S": Usage(3, 50)}
    with structlog.testing.capture_logs() as logs:
        venue.decode(reply("order-8", 429, error={"code": -1015, "msg": "Too many new orders"}), "user-1", 1, 1)
        assert ledger.order_room(1784600000.0) == 60.0 and ledger.blocked_until == 0.0
        error = {"code": -1003, "msg": "banned", "data": {"serverTime": 1784600000000, "retryAfter": 1784600300000}}
        venue.decode(reply("order-9", 418, error=error), "user-1", 1, 1)
    assert ledger.ban_until_ms == 1784600300000
    assert [one["event"] for one in logs] == ["rate.limited", "rate.banned"]


def test_a_report_takes_some_microseconds() -> None:
    decoder, frame = UserDataDecoder(), enveloped(TRADE)
    best_s = 1.0
    for _ in range(20):
        began_s = time.perf_counter()
        for _ in range(100):
            decoder.decode(frame, "user-1", 1, 1)
        best_s = min(best_s, (time.perf_counter() - began_s) / 100)
    assert best_s < 100e-6  # 5 to 8 on a machine of 2026 that does nothing else


def test_the_key_is_in_no_error_and_no_reply_that_is_handed_on() -> None:
    key = "KEY" * 20 + "1234"
    stream = BinanceUserStream("ws://127.0.0.1:1/ws-api/v3", Signer.hmac(key, "s" * 64), venue_ms=lambda: 1)
    cut = json.dumps({"id": "logon-1", "status": 200, "result": {"apiKey": key, "connectedSince": 1}}).encode()[:-5]
    with pytest.raises(MalformedFrame) as caught:
        stream.decode(cut, "c", 1, 2)
    assert "KEY" not in str(caught.value)
    error = {"code": -2015, "msg": f"Invalid API-key {key}, IP, or permissions for action."}
    refused = stream.decode(json.dumps({"id": "user-data-1", "status": 401, "error": error}).encode(), "c", 1, 2)
    assert isinstance(refused, SubscriptionRefused) and "KEY" not in str(refused.error)
    reply = stream.decode(json.dumps({"id": "order-1", "status": 401, "error": error}).encode(), "c", 1, 2)
    assert isinstance(reply, StreamReply) and b"KEY" not in reply.body and b"***" in reply.body


def test_less_is_asked_for_once() -> None:
    stream = BinanceUserStream("wss://x/ws-api/v3", Signer.hmac("k" * 64, "s" * 64), venue_ms=lambda: 1)
    assert stream.user_stream_url == "wss://x/ws-api/v3?timeUnit=MICROSECOND"
    assert stream.simplify() and stream.user_stream_url == "wss://x/ws-api/v3"
    assert not stream.simplify()
