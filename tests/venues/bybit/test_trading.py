"""The private side over REST: what is sent, what answers mean, and that an order is never sent twice by mistake."""

from __future__ import annotations

import http.server
import json
import threading
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses
import structlog

from binmon.errors import (
    Banned,
    BinmonError,
    NotSent,
    RateLimited,
    RequestRefused,
    StatusUnknown,
    VenueFailed,
    VenueUnreachable,
)
from binmon.messages import Balance, OrderAnswered, OrderRequest, OrderSide, OrderState, TradingRules
from binmon.net.rest import RestSession
from binmon.venues.bybit.limits import REFUSALS, EndpointLimits, ledger_of
from binmon.venues.bybit.orders import Order, order_parameters
from binmon.venues.bybit.signing import Signer
from binmon.venues.bybit.trading import BybitTrading
from binmon.venues.trading import Account, Execution, Permit, TradingFees

URL, KEY, SECRET, NOW_MS = "http://127.0.0.1:1", "SandboxKey01", "SandboxSecret01", 1764000000000
STOP = threading.Event()
CREATE, REALTIME, HISTORY = f"{URL}/v5/order/create", f"{URL}/v5/order/realtime", f"{URL}/v5/order/history"
ORDER = OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "bm-000001", Decimal(25), quantity=Decimal("0.00035700"))
PLACED = {"orderId": "2075550001112223744", "orderLinkId": "bm-000001"}
# the order of the reference, 3.10, as far as it matters
LISTED = {
    "orderId": "2075550001112223744", "orderLinkId": "bm-000001", "symbol": "BTCUSDT", "price": "0", "qty": "25",
    "side": "Buy", "orderStatus": "PartiallyFilledCanceled", "cancelType": "UNKNOWN",
    "rejectReason": "EC_CancelForNoFullFill", "avgPrice": "70001.2", "leavesQty": "0.000000", "leavesValue": "0.00957160",
    "cumExecQty": "0.000357", "cumExecValue": "24.9904284", "cumExecFee": "0.000000357", "timeInForce": "IOC",
    "orderType": "Market", "marketUnit": "quoteCoin", "createdTime": "1764000000119", "updatedTime": "1764000000123",
    "cumFeeDetail": {"BTC": "0.000000357"},
}  # fmt: skip
STATE = OrderState(
    "bybit", "BTCUSDT", "bm-000001", True, 2075550001112223744, "EXPIRED", Decimal("0.000357"), Decimal("24.9904284"),
    1764000000123000,
)  # fmt: skip
FILL = {
    "symbol": "BTCUSDT", "orderType": "Market", "orderLinkId": "bm-000001", "side": "Buy", "orderId": "2075550001112223744",
    "leavesQty": "0.000000", "execTime": "1764000000119", "feeCurrency": "BTC", "isMaker": False, "execFee": "0.000000357",
    "feeRate": "0.001", "execId": "2290000001234567891", "execPrice": "70001.2", "orderQty": "0.000000",
    "execValue": "24.9904284", "execType": "Trade", "execQty": "0.000357", "extraFees": "", "seq": 98765432102,
}  # fmt: skip
LOT = {
    "basePrecision": "0.000001", "quotePrecision": "0.0000001", "minOrderQty": "0.000011", "maxOrderQty": "80",
    "minOrderAmt": "5", "maxOrderAmt": "7000000", "maxLimitOrderQty": "80", "maxMarketOrderQty": "40",
}  # fmt: skip
INSTRUMENT = {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading", "lotSizeFilter": LOT}


class Desk:
    """The venue's client, its ledger, and what was asked of the clock."""

    def __init__(self, url: str = URL, **options: float) -> None:
        self.ledger = ledger_of(max_wait_s=1.0)
        self.limits = EndpointLimits()
        self.now_ms = NOW_MS
        self.synchronised = 0
        self.departures: list[tuple[int, int]] = []
        options = {"read_timeout_s": 0.5, "total_timeout_s": 5.0} | options
        self.venue = BybitTrading(
            RestSession("bybit", url, self.ledger, refusals=REFUSALS, **options),
            Signer(KEY, SECRET),
            self.limits,
            venue_ms=lambda: self.now_ms,
            resynchronise=self.resynchronise,
        )

    def resynchronise(self) -> None:
        self.synchronised += 1
        self.now_ms += 7000

    def place(self, order: OrderRequest = ORDER) -> OrderAnswered:
        return self.venue.place(Permit(order), lambda *when: self.departures.append(when), STOP)


@pytest.fixture
def canned() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def ok(result: object) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 1764000000123}


def error(code: int, message: str = "no") -> dict[str, Any]:
    return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 1764000000123}


def sent(request: requests.PreparedRequest, now_ms: int = NOW_MS) -> dict[str, Any]:
    """The parameters of a request; looks that it is signed over the very bytes that leave."""
    query = urllib.parse.urlsplit(request.url).query
    payload = request.body.decode() if request.method == "POST" else query
    assert request.method == "POST" or (request.body is None and "Content-Type" not in request.headers)
    expected = Signer(KEY, SECRET).headers(now_ms, 5000, payload)
    assert {name: request.headers[name] for name in expected} == expected
    if request.method == "POST":
        assert request.headers["Content-Type"] == "application/json" and not query
        return json.loads(payload)
    return dict(urllib.parse.parse_qsl(payload))


# -- orders ---------------------------------------------------------------------------------------------------------


def test_placing(canned: responses.RequestsMock) -> None:
    desk = Desk()
    canned.post(CREATE, json=ok(PLACED))
    answer = desk.place()
    assert answer == OrderAnswered(
        "bybit", "BTCUSDT", "bm-000001", 2075550001112223744, "NEW", Decimal(0), Decimal(0), 1764000000123000,
        answer.answered_ns, answer.answered_mono_ns,
    )  # fmt: skip
    assert answer.answered_ns > 1.7e18 and answer.answered_mono_ns > 0
    assert sent(canned.calls[0].request) == {
        "category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.000357",
        "marketUnit": "baseCoin", "orderLinkId": "bm-000001",
    }  # fmt: skip


def test_the_unit_is_always_said() -> None:
    amount = OrderRequest("bybit", "BTCUSDT", OrderSide.SELL, "m", Decimal(25), quote_amount=Decimal("2.50E+1"))
    parameters = order_parameters(amount)
    assert (parameters["side"], parameters["qty"], parameters["marketUnit"]) == ("Sell", "25", "quoteCoin")


@pytest.mark.parametrize(
    "order",
    [
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "m", Decimal(1)),
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "m", Decimal(1), Decimal(1), Decimal(1)),
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "m", Decimal(1), Decimal(0)),
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "m", Decimal(1), Decimal("NaN")),
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "", Decimal(1), Decimal(1)),
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "x" * 37, Decimal(1), Decimal(1)),
        OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "a.b", Decimal(1), Decimal(1)),
    ],
)
def test_what_cannot_be_meant_is_never_sent(order: OrderRequest) -> None:
    desk = Desk()
    with pytest.raises(ValueError):
        desk.place(order)
    assert desk.departures == []


@pytest.mark.parametrize("code", [170131, 170140, 170137, 170121, 10003, 10004, 10005, 170193, 170210])
def test_refusals(canned: responses.RequestsMock, code: int) -> None:
    canned.post(CREATE, json=error(code, "its words"))
    with pytest.raises(RequestRefused) as caught:
        Desk().place()
    assert (caught.value.code, caught.value.message) == (code, "its words")
    assert len(canned.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"json": error(code)}
        for code in (10000, 10014, 10016, 110072, 170001, 170007, 170032, 170035, 170141, 170146, 170147, 4711)
    ]
    + [
        {"status": 500, "json": error(10016)},
        {"status": 502, "body": "<html>bad gateway"},
        {"status": 503, "body": ""},
        {"status": 504, "body": "time"},
        {"status": 408, "body": "time"},
        {"status": 400, "json": error(10000)},
        {"status": 302, "headers": {"Location": "http://127.0.0.1:2"}},
        {"body": ""},
        {"body": "<html>"},
        {"body": '{"retCode":0,"resu'},
        {"json": {"result": PLACED}},
        {"json": ok({})},
        {"json": ok(None)},
        {"json": ok({**PLACED, "orderLinkId": "another"})},
        {"json": ok({**PLACED, "orderId": ""})},
    ],
    ids=str,
)
def test_answers_that_leave_open_what_happened(canned: responses.RequestsMock, answer: dict[str, Any]) -> None:
    desk = Desk()
    canned.post(CREATE, **answer)
    with pytest.raises(StatusUnknown) as caught:
        desk.place()
    assert caught.value.client_order_id == "bm-000001" and len(canned.calls) == 1 and desk.synchronised == 0


@pytest.mark.parametrize("code", [10002, -1])
def test_a_refusal_of_the_time_is_followed_by_one_more_attempt(canned: responses.RequestsMock, code: int) -> None:
    desk = Desk()
    canned.post(CREATE, json=error(code))
    canned.post(CREATE, json=ok(PLACED))
    assert desk.place().order_id == 2075550001112223744
    assert desk.synchronised == 1
    first, second = (call.request for call in canned.calls)
    assert sent(first) == sent(second, NOW_MS + 7000)


def test_there_is_no_third_attempt(canned: responses.RequestsMock) -> None:
    canned.post(CREATE, json=error(10002))
    with pytest.raises(RequestRefused) as caught:
        Desk().place()
    assert caught.value.code == 10002 and len(canned.calls) == 2


def test_without_a_better_time_there_is_no_second_attempt(canned: responses.RequestsMock) -> None:
    desk = Desk()

    def fail() -> None:
        raise VenueUnreachable(URL, "no")

    desk.venue._resynchronise = fail
    canned.post(CREATE, json=error(10002))
    with pytest.raises(RequestRefused):
        desk.place()
    assert len(canned.calls) == 1


def test_a_second_attempt_may_end_in_uncertainty(canned: responses.RequestsMock) -> None:
    canned.post(CREATE, json=error(10002))
    canned.post(CREATE, json=error(10016))
    with pytest.raises(StatusUnknown):
        Desk().place()


def test_a_limit_that_is_exceeded_keeps_the_next_order_back(canned: responses.RequestsMock) -> None:
    desk = Desk()
    reset = {"X-Bapi-Limit": "20", "X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": str(NOW_MS + 60_000)}
    canned.post(CREATE, json=error(10006), headers=reset)
    with structlog.testing.capture_logs() as lines:
        with pytest.raises(RateLimited) as caught:
            desk.place()
        assert caught.value.retry_after_s == 60.0
        with pytest.raises(RateLimited):
            desk.place()
    assert len(canned.calls) == 1
    (line,) = [line for line in lines if line["event"] == "rate.limited"]
    assert line["scope"] == "/v5/order/create" and (line["used"], line["limit"], line["retry_after_s"]) == (1, 20, 60.0)


def test_a_limit_without_headers_keeps_the_next_order_back_too(canned: responses.RequestsMock) -> None:
    desk = Desk()
    canned.post(CREATE, json=error(10006))
    for _ in range(2):
        with pytest.raises(RateLimited):
            desk.place()
    assert len(canned.calls) == 1 and 0 < desk.limits.take("/v5/order/create") <= 1.0


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        ({"status": 429, "json": error(429)}, RateLimited),
        ({"json": error(429)}, RateLimited),
        ({"status": 403, "body": "access too frequent"}, Banned),
        ({"status": 401, "body": ""}, RequestRefused),
        ({"status": 404, "body": "404 page not found"}, RequestRefused),
    ],
)
def test_statuses(canned: responses.RequestsMock, answer: dict[str, Any], raised: type[Exception]) -> None:
    canned.post(CREATE, **answer)
    with pytest.raises(raised):
        Desk().place()


def test_no_error_shows_key_or_signature(canned: responses.RequestsMock) -> None:
    origin = f"error sign! origin_string[{NOW_MS}{KEY}5000...]"
    for answer in ({"json": error(10004, origin)}, {"status": 502, "body": origin}, {"status": 400, "body": origin}):
        canned.reset()
        canned.post(CREATE, **answer)
        with pytest.raises(BinmonError) as caught:
            Desk().place()
        shown = "".join(traceback.format_exception(caught.value))
        signature = canned.calls[0].request.headers["X-BAPI-SIGN"]
        assert KEY not in shown and SECRET not in shown and signature not in shown


class Deaf(http.server.BaseHTTPRequestHandler):
    """Takes a request and does as ``server.script`` says."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.script(self)  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None:
        pass


def serving(script: Callable[[Deaf], None]) -> tuple[http.server.ThreadingHTTPServer, str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Deaf)
    server.script = script  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def test_an_order_without_an_answer_has_left_once_and_its_fate_is_open() -> None:
    done = threading.Event()
    server, url = serving(lambda request: done.wait(30) and None)
    desk = Desk(url)
    try:
        with pytest.raises(StatusUnknown, match="no answer in time"):
            desk.place()
    finally:
        done.set()
        server.shutdown()
        server.server_close()
    assert len(desk.departures) == 1


def test_a_connection_that_breaks_after_the_order_has_left() -> None:
    server, url = serving(lambda request: request.connection.close())
    desk = Desk(url)
    try:
        with pytest.raises(StatusUnknown):
            desk.place()
    finally:
        server.shutdown()
        server.server_close()
    assert len(desk.departures) == 1


def test_nobody_there_means_that_nothing_was_sent() -> None:
    desk = Desk()
    with pytest.raises(NotSent):
        desk.place()
    assert desk.departures == []


# -- questions ------------------------------------------------------------------------------------------------------


def test_an_order_that_is_found_at_once(canned: responses.RequestsMock) -> None:
    canned.get(REALTIME, json=ok({"list": [LISTED], "nextPageCursor": ""}))
    assert Desk().venue.order("BTCUSDT", "bm-000001", STOP) == STATE
    assert sent(canned.calls[0].request) == {"category": "spot", "orderLinkId": "bm-000001"}


@pytest.mark.parametrize(
    "first", [ok({"list": []}), error(110001), error(170213), ok({"list": [{**LISTED, "symbol": "X"}]})]
)
def test_an_order_that_is_in_the_history(canned: responses.RequestsMock, first: dict[str, Any]) -> None:
    canned.get(REALTIME, json=first)
    canned.get(HISTORY, json=ok({"list": [LISTED]}))
    assert Desk().venue.order("BTCUSDT", "bm-000001", STOP) == STATE


def test_an_order_that_nobody_knows(canned: responses.RequestsMock) -> None:
    canned.get(REALTIME, json=ok({"list": []}))
    canned.get(HISTORY, json=ok({"list": []}))
    assert Desk().venue.order("BTCUSDT", "m", STOP) == OrderState("bybit", "BTCUSDT", "m", False)


def test_an_order_is_not_unknown_when_one_answer_is_missing(canned: responses.RequestsMock) -> None:
    canned.get(REALTIME, json=ok({"list": []}))
    canned.get(HISTORY, json=error(10016))
    with pytest.raises(VenueFailed):
        Desk().venue.order("BTCUSDT", "m", STOP)


@pytest.mark.parametrize("broken", [{"orderId": ""}, {"cumExecQty": "NaN"}, {"updatedTime": "x"}, {"orderId": 7}])
def test_an_order_that_cannot_be_read(canned: responses.RequestsMock, broken: dict[str, Any]) -> None:
    canned.get(REALTIME, json=ok({"list": [{**LISTED, **broken}]}))
    with pytest.raises(VenueFailed):
        Desk().venue.order("BTCUSDT", "bm-000001", STOP)


def test_open_orders_in_pages(canned: responses.RequestsMock) -> None:
    other = {**LISTED, "orderLinkId": "b", "orderStatus": "New", "orderType": "Limit", "avgPrice": "", "cumExecQty": ""}
    canned.get(REALTIME, json=ok({"list": [LISTED], "nextPageCursor": "a%3A1%2C2"}))
    canned.get(REALTIME, json=ok({"list": [other], "nextPageCursor": ""}))
    first, second = Desk().venue.open_orders("BTCUSDT", STOP)
    assert first == STATE and (second.status, second.executed_quantity) == ("NEW", 0)
    assert "cursor=a%3A1%2C2" in canned.calls[1].request.url
    assert sent(canned.calls[1].request)["cursor"] == "a:1,2"


def test_cancelling_waits_for_what_the_venue_does_later(canned: responses.RequestsMock) -> None:
    canned.post(f"{URL}/v5/order/cancel", json=ok(PLACED))
    canned.get(REALTIME, json=ok({"list": [{**LISTED, "orderStatus": "New"}]}))
    canned.get(REALTIME, json=ok({"list": [{**LISTED, "orderStatus": "Cancelled", "cancelType": "CancelByUser"}]}))
    assert Desk().venue.cancel("BTCUSDT", "bm-000001", STOP).status == "CANCELED"


def test_what_is_gone_cannot_be_cancelled(canned: responses.RequestsMock) -> None:
    canned.post(f"{URL}/v5/order/cancel", json=error(170213))
    with pytest.raises(RequestRefused):
        Desk().venue.cancel("BTCUSDT", "bm-000001", STOP)


def test_executions(canned: responses.RequestsMock) -> None:
    path = f"{URL}/v5/execution/list"
    older = {**FILL, "execId": "2290000001234567890", "execTime": "1764000000118", "execValue": ""}
    foreign = {**FILL, "symbol": "ETHUSDT"}
    canned.get(path, json=ok({"list": [FILL, foreign], "nextPageCursor": "2"}))
    canned.get(path, json=ok({"list": [FILL, older]}))
    first, second = Desk().venue.executions("BTCUSDT", 2075550001112223744, STOP)
    assert second == Execution(
        2290000001234567891, Decimal("70001.2"), Decimal("0.000357"), Decimal("24.9904284"), Decimal("0.000000357"),
        "BTC", 1764000000119000,
    )  # fmt: skip
    assert (first.time_us, first.quote) == (1764000000118000, Decimal("70001.2") * Decimal("0.000357"))


def test_executions_of_an_order_whose_id_is_no_number(canned: responses.RequestsMock) -> None:
    """They are asked for by the venue's own words."""
    desk, name = Desk(), "7f3c2d1e-0000-4a5b-8c9d-0123456789ab"
    canned.get(REALTIME, json=ok({"list": [{**LISTED, "orderId": name, "updatedTime": 1764000000123}]}))
    canned.get(f"{URL}/v5/execution/list", json=ok({"list": [{**FILL, "orderId": name}]}))
    state = desk.venue.order("BTCUSDT", "bm-000001", STOP)
    assert state.order_id is not None and state.update_time_us == 1764000000123000
    assert len(desk.venue.executions("BTCUSDT", state.order_id, STOP)) == 1
    assert sent(canned.calls[1].request)["orderId"] == name


def test_an_acknowledgement_without_our_id_is_ours(canned: responses.RequestsMock) -> None:
    canned.post(CREATE, json=ok({"orderId": PLACED["orderId"]}))
    assert Desk().place().client_order_id == "bm-000001"


WALLET, KEY_INFO = f"{URL}/v5/account/wallet-balance", f"{URL}/v5/user/query-api"
MAY_TRADE = {"readOnly": 0, "permissions": {"Spot": ["SpotTrade"]}}


def test_the_account(canned: responses.RequestsMock) -> None:
    coins = [
        {"coin": "USDT", "walletBalance": "3000.5", "locked": "25", "availableToWithdraw": ""},
        {"coin": "BTC", "walletBalance": "-0.1", "locked": "0"},
        {"coin": "ETH", "walletBalance": "", "locked": ""},
    ]
    canned.get(WALLET, json=ok({"list": [{"accountType": "UNIFIED", "totalEquity": "", "coin": coins}]}))
    canned.get(KEY_INFO, json=ok(MAY_TRADE))
    desk = Desk()
    account = desk.venue.account(STOP)
    assert account == Account(True, {"USDT": Balance("USDT", Decimal("2975.5"), Decimal(25))})
    assert sent(canned.calls[0].request) == {"accountType": "UNIFIED"}
    desk.venue.account(STOP)
    assert len(canned.calls) == 3  # what the key may do is asked once


@pytest.mark.parametrize(
    "info",
    [{**MAY_TRADE, "readOnly": 1}, {"readOnly": 0, "permissions": {"Spot": []}}, {"readOnly": 0, "permissions": {}}],
)
def test_a_key_that_may_not_trade(canned: responses.RequestsMock, info: dict[str, Any]) -> None:
    canned.get(WALLET, json=ok({"list": []}))
    canned.get(KEY_INFO, json=ok(info))
    desk = Desk()
    assert desk.venue.account(STOP) == Account(False, {})
    with pytest.raises(RequestRefused, match="read-only"):
        desk.venue.test(ORDER, STOP)


@pytest.mark.parametrize(
    "answer",
    [{"status": 404, "body": "404 page not found"}, {"json": error(10017)}, {"json": ok({"readOnly": 0})}],
    ids=str,
)
def test_where_a_key_cannot_be_asked_for_the_orders_will_say(
    canned: responses.RequestsMock, answer: dict[str, Any]
) -> None:
    canned.get(WALLET, json=ok({"list": []}))
    canned.get(KEY_INFO, **answer)
    assert Desk().venue.account(STOP) == Account(True, {})


def test_fees(canned: responses.RequestsMock) -> None:
    rates = {"list": [{"symbol": "BTCUSDT", "takerFeeRate": "0.0018", "makerFeeRate": "0.001"}]}
    canned.get(f"{URL}/v5/account/fee-rate", json=ok(rates))
    desk = Desk()
    assert desk.venue.fees("BTCUSDT", STOP) == TradingFees("bybit", "BTCUSDT", Decimal("0.0018"), Decimal("0.0018"))
    with pytest.raises(RequestRefused):
        desk.venue.fees("ETHUSDT", STOP)


INFO, TICKERS = f"{URL}/v5/market/instruments-info", f"{URL}/v5/market/tickers"


def test_rules(canned: responses.RequestsMock) -> None:
    canned.get(INFO, json=ok({"category": "spot", "list": [INSTRUMENT]}))
    desk = Desk()
    assert desk.venue.rules("BTCUSDT", STOP) == TradingRules(
        "bybit", "BTCUSDT", "BTC", "USDT", "TRADING", Decimal("0.000011"), Decimal(40), Decimal("0.000001"), Decimal(5),
        Decimal(7000000), True, Decimal("0.0000001"),
    )  # fmt: skip
    with pytest.raises(RequestRefused, match="not listed"):
        desk.venue.rules("ETHUSDT", STOP)


@pytest.mark.parametrize("lot", [{"basePrecision": "x"}, {"minOrderAmt": "-5"}, {"maxMarketOrderQty": "Infinity"}])
def test_rules_that_cannot_be_read(canned: responses.RequestsMock, lot: dict[str, str]) -> None:
    canned.get(INFO, json=ok({"list": [{**INSTRUMENT, "lotSizeFilter": {**LOT, **lot}}]}))
    with pytest.raises(VenueFailed):
        Desk().venue.rules("BTCUSDT", STOP)


def test_the_market_price(canned: responses.RequestsMock) -> None:
    canned.get(TICKERS, json=ok({"list": [{"symbol": "BTCUSDT", "lastPrice": "70001.2", "usdIndexPrice": ""}]}))
    assert Desk().venue.market_price("BTCUSDT", STOP) == Decimal("70001.2")


@pytest.mark.parametrize("price", ["", "0", "x"])
def test_a_symbol_without_a_price(canned: responses.RequestsMock, price: str) -> None:
    canned.get(TICKERS, json=ok({"list": [{"symbol": "BTCUSDT", "lastPrice": price}]}))
    with pytest.raises(VenueFailed):
        Desk().venue.market_price("BTCUSDT", STOP)


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ({"quantity": "0.000357"}, None),
        ({"quantity": "0.0003571"}, "step"),
        ({"quantity": "0.00001"}, "least quantity"),
        ({"quantity": "41"}, "more than"),
        ({"quantity": "0.00002"}, "the least is 5"),
        ({"quote_amount": "25"}, None),
        ({"quote_amount": "25.00000001"}, "step"),
        ({"quote_amount": "4.99"}, "the least is 5"),
        ({"quote_amount": "7000001"}, "the most is 7000000"),
    ],
)
def test_a_test_judges_by_the_rules(canned: responses.RequestsMock, size: dict[str, str], problem: str | None) -> None:
    canned.get(KEY_INFO, json=ok(MAY_TRADE))
    canned.get(INFO, json=ok({"list": [INSTRUMENT]}))
    canned.get(TICKERS, json=ok({"list": [{"symbol": "BTCUSDT", "lastPrice": "70001.2"}]}))
    amounts = {name: Decimal(text) for name, text in size.items()}
    order = OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, "m", Decimal(25), **amounts)
    if problem is None:
        Desk().venue.test(order, STOP)
    else:
        with pytest.raises(RequestRefused, match=problem):
            Desk().venue.test(order, STOP)


def test_a_question_waits_for_the_limit_of_its_endpoint_and_gives_up_after_a_while(
    canned: responses.RequestsMock,
) -> None:
    desk = Desk()
    desk.limits.limited("/v5/order/realtime", 0.3)
    canned.get(REALTIME, json=ok({"list": [LISTED]}))
    assert desk.venue.order("BTCUSDT", "bm-000001", STOP) == STATE
    desk.limits.limited("/v5/order/realtime", 50.0)
    with pytest.raises(RateLimited):
        desk.venue.order("BTCUSDT", "bm-000001", STOP)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"status": "New"}, "NEW"),
        ({"status": "Triggered"}, "NEW"),
        ({"status": "Untriggered"}, "PENDING_NEW"),
        ({"status": "PartiallyFilled"}, "PARTIALLY_FILLED"),
        ({"status": "Filled"}, "FILLED"),
        ({"status": "Rejected"}, "REJECTED"),
        ({"status": "Deactivated"}, "CANCELED"),
        ({"status": "Cancelled"}, "CANCELED"),
        ({"status": "Cancelled", "order_type": "Market"}, "EXPIRED"),
        ({"status": "Cancelled", "time_in_force": "IOC", "cancel_type": "UNKNOWN"}, "EXPIRED"),
        ({"status": "Cancelled", "time_in_force": "FOK"}, "EXPIRED"),
        ({"status": "Cancelled", "order_type": "Market", "cancel_type": "CancelByUser"}, "CANCELED"),
        ({"status": "Cancelled", "order_type": "Market", "cancel_type": "CancelBySmp"}, "EXPIRED_IN_MATCH"),
        ({"status": "PartiallyFilledCanceled", "order_type": "Market", "cancel_type": "UNKNOWN"}, "EXPIRED"),
        ({"status": "PartiallyFilledCanceled", "order_type": "Limit", "cancel_type": "CancelByUser"}, "CANCELED"),
        ({"status": "SomethingNew"}, "SOMETHINGNEW"),
    ],
)
def test_statuses_in_our_words(told: dict[str, str], status: str) -> None:
    assert Order(order_id="1", symbol="BTCUSDT", side="Buy", **told).our_status == status
