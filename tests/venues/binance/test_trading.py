"""The private side over REST: what is sent, what answers mean, and that an order is never sent twice by mistake."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import requests
import responses

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
from binmon.net.ledger import RateLedger, Usage
from binmon.net.rest import RestSession
from binmon.venues.binance.orders import order_parameters, plain
from binmon.venues.binance.signing import Signer
from binmon.venues.binance.trading import BinanceTrading
from binmon.venues.trading import Account, Execution, Permit, TradingFees

URL = "http://127.0.0.1:1"
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
NOW_MS = 1784600000000
STOP = threading.Event()
ORDER = OrderRequest("binance", "ABCUSDT", OrderSide.BUY, "mine-1", Decimal(15), quantity=Decimal("0.00030"))
RESULT = {
    "symbol": "ABCUSDT", "orderId": 28002, "orderListId": -1, "clientOrderId": "mine-1", "transactTime": 1784600001789,
    "price": "0.00000000", "origQty": "0.00030000", "executedQty": "0.00030000", "cummulativeQuoteQty": "19.53721000",
    "status": "FILLED", "timeInForce": "GTC", "type": "MARKET", "side": "BUY",
}  # fmt: skip


class Desk:
    """The venue's client, its ledger, and what was asked of the clock."""

    def __init__(self, url: str = URL, read_timeout_s: float = 30.0, **options: object) -> None:
        self.ledger = RateLedger("binance", max_wait_s=1.0, clock=lambda: NOW_MS / 1000 + 33)
        self.now_ms = NOW_MS
        self.synchronised = 0
        self.departures: list[tuple[int, int]] = []
        rest = RestSession("binance", url, self.ledger, read_timeout_s=read_timeout_s, total_timeout_s=60.0)
        self.venue = BinanceTrading(
            rest,
            self.ledger,
            Signer.hmac(KEY, SECRET),
            venue_ms=lambda: self.now_ms,
            resynchronise=self.resynchronise,
            **options,
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


def fields(request: requests.PreparedRequest) -> dict[str, str]:
    """The parameters of a request; looks that it is signed properly."""
    text = request.body.decode() if request.body else urllib.parse.urlsplit(request.url).query
    query, _, _ = text.rpartition("&signature=")
    assert Signer.hmac(KEY, SECRET).rest(query) == text
    assert request.headers["X-MBX-APIKEY"] == KEY and request.headers["X-MBX-TIME-UNIT"] == "MICROSECOND"
    return dict(urllib.parse.parse_qsl(query, strict_parsing=True))


def refused(code: int | None, message: str = "no", status: int = 400) -> dict[str, object]:
    return {"status": status, "json": {"code": code, "msg": message}}


# -- orders ---------------------------------------------------------------------------------------------------------


def test_placing(canned: responses.RequestsMock) -> None:
    desk = Desk(recv_window_ms=2500)
    desk.ledger.set_limits(orders={"10S": 50, "1D": 1000})
    counts = {"X-MBX-ORDER-COUNT-10S": "7", "X-MBX-ORDER-COUNT-1D": "70", "X-MBX-USED-WEIGHT-1M": "0"}
    canned.post(f"{URL}/api/v3/order", json=RESULT, headers=counts)
    answer = desk.place()
    assert answer == OrderAnswered(
        "binance", "ABCUSDT", "mine-1", 28002, "FILLED", Decimal("0.0003"), Decimal("19.53721"), 1784600001789000,
        answer.answered_ns, answer.answered_mono_ns,
    )  # fmt: skip
    assert answer.answered_ns > 1.7e18 and answer.answered_mono_ns > 0
    assert fields(canned.calls[0].request) == {
        "symbol": "ABCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.0003", "newClientOrderId": "mine-1",
        "newOrderRespType": "RESULT", "recvWindow": "2500", "timestamp": str(NOW_MS),
    }  # fmt: skip
    status = desk.ledger.status(desk.ledger.clock())
    assert status.weight.used == 0 and status.in_flight == 0
    assert status.orders == {"10S": Usage(7, 50), "1D": Usage(70, 1000)}


def test_orders_by_quote_amount_and_of_symbols_in_any_script(canned: responses.RequestsMock) -> None:
    order = OrderRequest("binance", "币安人生USDT", OrderSide.SELL, "m", Decimal(15), quote_amount=Decimal("1.50E+1"))
    canned.post(f"{URL}/api/v3/order", json={**RESULT, "clientOrderId": "m", "transactTime": 1784600001789123})
    assert Desk().place(order).transact_time_us == 1784600001789123
    sent = fields(canned.calls[0].request)
    assert sent["symbol"] == "币安人生USDT" and sent["quoteOrderQty"] == "15" and "quantity" not in sent
    assert b"symbol=%E5%B8%81%E5%AE%89" in canned.calls[0].request.body


@pytest.mark.parametrize(
    ("number", "text"),
    [("1E+3", "1000"), ("0.00001000", "0.00001"), ("1E-8", "0.00000001"), ("100", "100"), ("10.0", "10"), ("1.5", "1.5"),
     ("123456789012345678901234567890.5", "123456789012345678901234567890.5")],
)  # fmt: skip
def test_numbers_are_plain(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": None},
        {"quote_amount": Decimal(1)},
        {"quantity": Decimal(0)},
        {"quantity": Decimal(-1)},
        {"quantity": Decimal("NaN")},
        {"quantity": Decimal("Infinity")},
        {"client_order_id": ""},
        {"client_order_id": "a b"},
        {"client_order_id": "x" * 37},
    ],
)
def test_orders_that_cannot_be_meant(changes: dict[str, object]) -> None:
    given = {"venue": "binance", "symbol": "A", "side": OrderSide.BUY, "client_order_id": "mine", "notional": Decimal(1),
             "quantity": Decimal(1), **changes}  # fmt: skip
    with pytest.raises(ValueError):
        order_parameters(OrderRequest(**given))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Desk().place(OrderRequest(**given))  # type: ignore[arg-type]


def test_a_refused_time_is_tried_once_more_with_a_fresh_clock(canned: responses.RequestsMock) -> None:
    desk = Desk()
    canned.post(f"{URL}/api/v3/order", **refused(-1021, "Timestamp for this request is outside of the recvWindow."))
    canned.post(f"{URL}/api/v3/order", json=RESULT)
    assert desk.place().order_id == 28002
    times = [fields(call.request)["timestamp"] for call in canned.calls]
    assert times == [str(NOW_MS), str(NOW_MS + 7000)] and desk.synchronised == 1


def test_but_only_once(canned: responses.RequestsMock) -> None:
    desk = Desk()
    canned.post(f"{URL}/api/v3/order", **refused(-1021))
    with pytest.raises(RequestRefused, match="-1021"):
        desk.place()
    assert len(canned.calls) == 2 and desk.synchronised == 1


def test_and_not_when_the_clock_cannot_be_asked(canned: responses.RequestsMock) -> None:
    desk = Desk()

    def unreachable() -> None:
        raise VenueUnreachable(URL, "gone")

    desk.venue._resynchronise = unreachable
    canned.post(f"{URL}/api/v3/order", **refused(-1021))
    with pytest.raises(RequestRefused, match="-1021"):
        desk.place()
    assert len(canned.calls) == 1


def test_what_happened_in_between_may_still_be_unknown(canned: responses.RequestsMock) -> None:
    canned.post(f"{URL}/api/v3/order", **refused(-1021))
    canned.post(f"{URL}/api/v3/order", status=502, body="<html>")
    with pytest.raises(StatusUnknown):
        Desk().place()
    assert len(canned.calls) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(-1013, "Filter failure: LOT_SIZE"), RequestRefused),
        (refused(-2010, "Account has insufficient balance for requested action."), RequestRefused),
        (refused(-2015, "Invalid API-key", 401), RequestRefused),
        (refused(-1022), RequestRefused),
        (refused(None, "?", 404), RequestRefused),
        (refused(-1015, "Too many new orders", 429), RateLimited),
        (refused(-1003, "Too much", 429), RateLimited),
        (refused(-1003, "banned", 418), Banned),
        ({"status": 403, "body": "<html>"}, RateLimited),
        (refused(-1000), StatusUnknown),
        (refused(-1001), StatusUnknown),
        (refused(-1006), StatusUnknown),
        (refused(-1007, "Timeout"), StatusUnknown),
        (refused(-1007, "Timeout", 504), StatusUnknown),
        (refused(-1008, "overloaded", 503), StatusUnknown),
        (refused(-1016, "shutting down", 500), StatusUnknown),
        ({"status": 408, "body": ""}, StatusUnknown),
        ({"status": 502, "body": "<html>"}, StatusUnknown),
        ({"status": 301, "headers": {"Location": "http://127.0.0.1:2/"}}, StatusUnknown),
        ({"status": 200, "body": "<html>"}, StatusUnknown),
        ({"status": 200, "body": ""}, StatusUnknown),
        ({"status": 200, "body": "{}"}, StatusUnknown),
        ({"status": 200, "body": "[]"}, StatusUnknown),
        ({"status": 200, "body": '{"orderId": 1, "clientOrderId": "another"}'}, StatusUnknown),
        ({"status": 200, "body": '{"orderId": 1, "clientOrderId": "mine-1", "executedQty": "x"}'}, StatusUnknown),
        ({"status": 200, "body": '{"orderId": 1, "clientOrderId": "mine-1", "executedQty": "NaN"}'}, StatusUnknown),
    ],
)
def test_no_order_is_sent_twice(canned: responses.RequestsMock, answer: dict[str, object], kind: type) -> None:
    canned.post(f"{URL}/api/v3/order", **answer)  # type: ignore[arg-type]
    with pytest.raises(BinmonError) as caught:
        Desk().place()
    assert type(caught.value) is kind and len(canned.calls) == 1
    if kind is StatusUnknown:
        assert caught.value.client_order_id == "mine-1"
    assert_silent(caught.value)


def test_an_answer_that_acknowledges_alone(canned: responses.RequestsMock) -> None:
    canned.post(f"{URL}/api/v3/order", json={key: RESULT[key] for key in ("symbol", "orderId", "clientOrderId")})
    assert Desk().place().order_id == 28002


def test_orders_wait_while_their_counts_are_used_up(canned: responses.RequestsMock) -> None:
    desk = Desk()
    desk.ledger.set_limits(orders={"1D": 2})
    canned.post(f"{URL}/api/v3/order", **refused(-2010))
    for _ in range(2):
        with pytest.raises(RequestRefused):
            desk.place()
    with pytest.raises(RateLimited) as caught:
        desk.place()
    assert caught.value.scope == "ORDERS" and 0 < caught.value.retry_after_s <= 86_400
    assert len(canned.calls) == 2
    canned.get(f"{URL}/api/v3/openOrders", json=[])
    assert desk.venue.open_orders("ABCUSDT", STOP) == []  # all else goes on


def test_a_fault_of_ours_after_departure_leaves_the_order_unknown() -> None:
    def broken(departs: bool) -> Callable[..., bytes]:
        def send(*arguments: object, departure: Callable[[int, int], None], **options: object) -> bytes:
            if departs:
                departure(1, 2)
            raise KeyError("a fault")

        return send

    desk = Desk()
    desk.venue._rest.send = broken(departs=True)  # type: ignore[method-assign]
    with pytest.raises(StatusUnknown, match="KeyError while it was under way"):
        desk.place()
    desk.venue._rest.send = broken(departs=False)  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        desk.place()


def test_an_order_does_not_wait_long_for_its_weight() -> None:
    desk = Desk()
    desk.ledger.max_wait_s = 60.0
    desk.ledger.limited(6.0, desk.ledger.clock())
    with pytest.raises(RateLimited) as caught:
        desk.place()
    assert caught.value.retry_after_s == pytest.approx(6.0) and not desk.departures


def test_testing_an_order(canned: responses.RequestsMock) -> None:
    canned.post(f"{URL}/api/v3/order/test", json={})
    Desk().venue.test(ORDER, STOP)
    assert fields(canned.calls[0].request)["quantity"] == "0.0003"
    canned.replace("POST", f"{URL}/api/v3/order/test", **refused(-1013, "Filter failure: NOTIONAL"))
    with pytest.raises(RequestRefused, match="NOTIONAL"):
        Desk().venue.test(ORDER, STOP)


def test_asking_for_an_order(canned: responses.RequestsMock) -> None:
    desk = Desk()
    queried = {**RESULT, "clientOrderId": "the cancel's", "updateTime": 1784600001790, "cummulativeQuoteQty": "-1.0"}
    del queried["transactTime"]
    canned.get(f"{URL}/api/v3/order", json=queried)
    assert desk.venue.order("ABCUSDT", "mine-1", STOP) == OrderState(
        "binance", "ABCUSDT", "mine-1", True, 28002, "FILLED", Decimal("0.0003"), Decimal(0), 1784600001790000
    )
    sent = fields(canned.calls[0].request)
    assert sent["origClientOrderId"] == "mine-1" and sent["symbol"] == "ABCUSDT"
    canned.replace("GET", f"{URL}/api/v3/order", **refused(-2013, "Order does not exist."))
    assert desk.venue.order("ABCUSDT", "mine-1", STOP) == OrderState("binance", "ABCUSDT", "mine-1", False)
    canned.replace("GET", f"{URL}/api/v3/order", **refused(-1121, "Invalid symbol."))
    with pytest.raises(RequestRefused, match="Invalid symbol"):
        desk.venue.order("ABCUSDT", "mine-1", STOP)
    canned.replace("GET", f"{URL}/api/v3/order", body="{}")
    with pytest.raises(VenueFailed, match="order"):
        desk.venue.order("ABCUSDT", "mine-1", STOP)


def test_open_orders_cancelling_and_executions(canned: responses.RequestsMock) -> None:
    desk = Desk()
    one = {**RESULT, "status": "NEW", "updateTime": 1784600001790}
    canned.get(f"{URL}/api/v3/openOrders", json=[one, {**one, "clientOrderId": "web_1", "orderId": 2}])
    assert [(state.client_order_id, state.order_id, state.status) for state in desk.venue.open_orders("ABCUSDT", STOP)] == [
        ("mine-1", 28002, "NEW"), ("web_1", 2, "NEW"),
    ]  # fmt: skip
    used = desk.ledger.used
    answer = {**RESULT, "clientOrderId": "kX3", "origClientOrderId": "mine-1", "status": "CANCELED"}
    canned.delete(f"{URL}/api/v3/order", json=answer)
    state = desk.venue.cancel("ABCUSDT", "mine-1", STOP)
    assert (state.client_order_id, state.status, state.update_time_us) == ("mine-1", "CANCELED", 1784600001789000)
    assert fields(canned.calls[1].request)["origClientOrderId"] == "mine-1" and desk.ledger.used == used
    canned.replace("DELETE", f"{URL}/api/v3/order", **refused(-2011, "Unknown order sent."))
    with pytest.raises(RequestRefused, match="-2011"):
        desk.venue.cancel("ABCUSDT", "mine-1", STOP)
    trade = {"symbol": "ABCUSDT", "id": 902, "orderId": 28002, "price": "65124.0", "qty": "0.0002", "quoteQty": "13.0248",
             "commission": "0.0000002", "commissionAsset": "ABC", "time": 1784600001789, "isBuyer": True}  # fmt: skip
    canned.get(f"{URL}/api/v3/myTrades", json=[trade])
    assert desk.venue.executions("ABCUSDT", 28002, STOP) == [
        Execution(
            902, Decimal(65124), Decimal("0.0002"), Decimal("13.0248"), Decimal("0.0000002"), "ABC", 1784600001789000
        )
    ]
    assert fields(canned.calls[3].request)["orderId"] == "28002"


# -- account, rules, price ------------------------------------------------------------------------------------------


def test_the_account(canned: responses.RequestsMock) -> None:
    balances = [
        {"asset": "ABC", "free": "1.00029970", "locked": "0.00000000"},
        {"asset": "NIX", "free": "0.00000000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "0", "locked": "2.5"},
    ]
    canned.get(f"{URL}/api/v3/account", json={"canTrade": False, "balances": balances, "uid": 3})
    assert Desk().venue.account(STOP) == Account(
        False,
        {"ABC": Balance("ABC", Decimal("1.0002997"), Decimal(0)), "USDT": Balance("USDT", Decimal(0), Decimal("2.5"))},
    )
    assert fields(canned.calls[0].request)["omitZeroBalances"] == "true"
    canned.replace("GET", f"{URL}/api/v3/account", body="{}")
    with pytest.raises(VenueFailed, match="account"):
        Desk().venue.account(STOP)


LOT = {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"}
MARKET_LOT = {
    "filterType": "MARKET_LOT_SIZE",
    "minQty": "0.00000000",
    "maxQty": "80.00000000",
    "stepSize": "0.00000000",
}
NOTIONAL = {"filterType": "NOTIONAL", "minNotional": "5.0", "applyMinToMarket": True, "maxNotional": "9000000.0",
            "applyMaxToMarket": False, "avgPriceMins": 5}  # fmt: skip
MIN_NOTIONAL = {"filterType": "MIN_NOTIONAL", "minNotional": "10.0", "applyToMarket": True, "avgPriceMins": 5}


def rules(canned: responses.RequestsMock, filters: list[dict[str, object]], **more: object) -> TradingRules:
    listed = {"symbol": "ABCUSDT", "status": "TRADING", "baseAsset": "ABC", "quoteAsset": "USDT", "baseAssetPrecision": 8,
              "orderTypes": ["LIMIT", "MARKET"], "filters": filters, **more}  # fmt: skip
    limits = [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}]
    canned.get(f"{URL}/api/v3/exchangeInfo", json={"symbols": [listed], "rateLimits": limits})
    desk = Desk()
    found = desk.venue.rules("ABCUSDT", STOP)
    assert desk.ledger.status(0.0).orders["10S"].limit == 100
    return found


def test_rules(canned: responses.RequestsMock) -> None:
    assert rules(canned, [{"filterType": "NEW_ONE", "limit": 7}, LOT, MARKET_LOT, NOTIONAL]) == (
        TradingRules("binance", "ABCUSDT", "ABC", "USDT", "TRADING", Decimal("0.00001"), Decimal(80), Decimal("0.00001"),
                     Decimal(5), Decimal(0), True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ("0", "0", "1E-8", "0", "0")),
        ([LOT], ("0.00001", "9000", "0.00001", "0", "0")),
        ([{**LOT, "stepSize": "0.4"}, {**MARKET_LOT, "stepSize": "0.6", "minQty": "3"}], ("3", "80", "1.2", "0", "0")),
        ([{**LOT, "stepSize": "10"}, {**MARKET_LOT, "stepSize": "0.001"}], ("0.00001", "80", "10", "0", "0")),
        ([{**LOT, "maxQty": "0"}, {**MARKET_LOT, "maxQty": "0"}], ("0.00001", "0", "0.00001", "0", "0")),
        ([MIN_NOTIONAL], ("0", "0", "1E-8", "10", "0")),
        ([{**MIN_NOTIONAL, "applyToMarket": False}], ("0", "0", "1E-8", "0", "0")),
        ([MIN_NOTIONAL, NOTIONAL], ("0", "0", "1E-8", "10", "0")),
        ([{**NOTIONAL, "applyMinToMarket": False, "applyMaxToMarket": True}], ("0", "0", "1E-8", "0", "9000000")),
    ],
)
def test_rules_are_joined(
    canned: responses.RequestsMock, filters: list[dict[str, object]], expected: tuple[str, ...]
) -> None:
    found = rules(canned, filters)
    assert (
        found.min_quantity,
        found.max_quantity,
        found.quantity_step,
        found.min_notional,
        found.max_notional,
    ) == tuple(map(Decimal, expected))


@pytest.mark.parametrize(
    ("more", "market_orders", "status"),
    [
        ({"orderTypes": ["LIMIT"]}, False, "TRADING"),
        ({"isSpotTradingAllowed": False}, False, "TRADING"),
        ({"status": "CANCEL_ONLY"}, True, "CANCEL_ONLY"),
        ({"baseAssetPrecision": 3}, True, "TRADING"),
    ],
)
def test_what_else_a_symbol_says(
    canned: responses.RequestsMock, more: dict[str, object], market_orders: bool, status: str
) -> None:
    found = rules(canned, [LOT], **more)
    assert (found.market_orders, found.status) == (market_orders, status)
    assert found.quantity_step == (Decimal("0.001") if "baseAssetPrecision" in more else Decimal("0.00001"))


@pytest.mark.parametrize(
    "wrong", [{**LOT, "minQty": "NaN"}, {**LOT, "stepSize": "-1"}, {**LOT, "stepSize": "Infinity"},
              {**MARKET_LOT, "maxQty": "-3"}, {**LOT, "minQty": "many"}],
)  # fmt: skip
def test_rules_that_are_none(canned: responses.RequestsMock, wrong: dict[str, object]) -> None:
    with pytest.raises(VenueFailed):
        rules(canned, [wrong])


def test_rules_of_a_symbol_that_is_not_listed(canned: responses.RequestsMock) -> None:
    canned.get(f"{URL}/api/v3/exchangeInfo", **refused(-1121, "Invalid symbol."))
    with pytest.raises(RequestRefused, match="-1121"):
        Desk().venue.rules("ABCUSD", STOP)
    canned.replace("GET", f"{URL}/api/v3/exchangeInfo", json={"symbols": []})
    with pytest.raises(RequestRefused, match="not listed"):
        Desk().venue.rules("ABCUSD", STOP)


@pytest.mark.parametrize(
    ("reference", "asked", "expected"),
    [
        ({"json": {"symbol": "ABCUSDT", "referencePrice": "65119.00", "timestamp": 1}}, 1, "65119"),
        ({"json": {"symbol": "ABCUSDT", "referencePrice": None, "timestamp": 1}}, 2, "65120.11"),
        (refused(-2043, "This symbol doesn't have a reference price."), 2, "65120.11"),
        (refused(None, "not found", 404), 2, "65120.11"),
    ],
)
def test_the_price(canned: responses.RequestsMock, reference: dict[str, object], asked: int, expected: str) -> None:
    canned.get(f"{URL}/api/v3/referencePrice", **reference)  # type: ignore[arg-type]
    if asked == 2:
        canned.get(f"{URL}/api/v3/avgPrice", json={"mins": 5, "price": "65120.11000000", "closeTime": 1784600000099})
    assert Desk().venue.market_price("ABCUSDT", STOP) == Decimal(expected)
    assert len(canned.calls) == asked
    assert "signature" not in canned.calls[0].request.url and "X-MBX-APIKEY" not in canned.calls[0].request.headers


def test_no_price(canned: responses.RequestsMock) -> None:
    canned.get(f"{URL}/api/v3/referencePrice", **refused(-2043))
    canned.get(f"{URL}/api/v3/avgPrice", json={"mins": 5, "price": "0.00000000"})
    with pytest.raises(VenueFailed, match="never traded"):
        Desk().venue.market_price("ABCUSDT", STOP)
    canned.replace("GET", f"{URL}/api/v3/referencePrice", **refused(-1121))
    with pytest.raises(RequestRefused):
        Desk().venue.market_price("ABCUSD", STOP)


def test_the_environment_is_that_of_the_addresses() -> None:
    assert Desk().venue.environment == "sandbox"
    assert Desk("https://testnet.binance.vision").venue.environment == "testnet"
    live = "wss://ws-api.binance.com:443/ws-api/v3"
    assert Desk("https://testnet.binance.vision", other_urls=[live]).venue.environment == "production"
    with pytest.raises(ValueError, match="recvWindow"):
        Desk(recv_window_ms=60_001)


# -- over a real connection -----------------------------------------------------------------------------------------


class Venue(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, behaviour: str) -> None:
        self.posts: list[bytes] = []
        self.behaviour, self.release = behaviour, threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *ignored: object) -> None:
        pass

    def do_POST(self) -> None:
        venue = self.server
        assert isinstance(venue, Venue)
        venue.posts.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        body = json.dumps(RESULT).encode()
        match venue.behaviour:
            case "good":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            case "short":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 9, body))
            case "silent":
                venue.release.wait(60)


@contextlib.contextmanager
def serving(behaviour: str) -> Iterator[Venue]:
    venue = Venue(behaviour)
    thread = threading.Thread(target=venue.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield venue
    finally:
        venue.release.set()
        venue.shutdown()
        thread.join()
        venue.server_close()


@pytest.mark.parametrize("behaviour", ["good", "short", "silent", "closes"])
def test_on_the_wire(behaviour: str) -> None:
    with serving(behaviour) as venue:
        desk = Desk(f"http://127.0.0.1:{venue.server_address[1]}", 0.5 if behaviour == "silent" else 30.0)
        if behaviour == "good":
            answer = desk.place()
            assert desk.departures[0][0] <= answer.answered_ns and desk.departures[0][1] < answer.answered_mono_ns
        else:
            with pytest.raises(StatusUnknown) as caught:
                desk.place()
            assert_silent(caught.value)
        until_s = time.monotonic() + 30
        while not venue.posts:  # the desk may have given up before the venue read it
            assert time.monotonic() < until_s
            time.sleep(0.01)
        (posted,) = venue.posts
        assert len(desk.departures) == 1
        query, _, _ = posted.decode().rpartition("&signature=")
        assert Signer.hmac(KEY, SECRET).rest(query).encode() == posted


def test_nothing_was_sent() -> None:
    desk = Desk()  # nobody listens there
    with pytest.raises(NotSent) as caught:
        desk.place()
    assert not desk.departures
    assert_silent(caught.value)
    with pytest.raises(VenueUnreachable) as unreachable:
        desk.venue.order("ABCUSDT", "mine-1", STOP)
    assert_silent(unreachable.value)


def assert_silent(error: BaseException) -> None:
    """Neither the error nor what it was raised from shows key, secret or signature."""
    pending: list[BaseException] = [error]
    while pending:
        one = pending.pop()
        pending += [other for other in (one.__cause__, one.__context__) if other is not None]
        text = f"{one}\n{one!r}\n{one.args!r}\n" + "".join(traceback.format_exception(one))
        for secret in (KEY, SECRET, "timestamp=", "signature="):
            assert secret not in text


COMMISSION = {
    "symbol": "ABCUSDT",
    "standardCommission": {"maker": "0.00080000", "taker": "0.00100000", "buyer": "0.00010000", "seller": "0.00020000"},
    "specialCommission": {"maker": "0.00000000", "taker": "0.00300000", "buyer": "0.00000000", "seller": "0.00000000"},
    "taxCommission": {"maker": "0.00000000", "taker": "0.00000000", "buyer": "0.00000000", "seller": "0.01000000"},
    "discount": {"enabledForAccount": True, "enabledForSymbol": True, "discountAsset": "BNB", "discount": "0.75000000"},
}


def test_fees_add_up_and_the_discount_touches_the_standard_part(canned: responses.RequestsMock) -> None:
    canned.get(f"{URL}/api/v3/account/commission", json=COMMISSION)
    assert Desk().venue.fees("ABCUSDT", STOP) == TradingFees(
        "binance", "ABCUSDT", Decimal("0.0041"), Decimal("0.0142"),
        "BNB", Decimal("0.0041") - Decimal("0.0011") / 4, Decimal("0.0142") - Decimal("0.0012") / 4,
    )  # fmt: skip
    assert fields(canned.calls[0].request)["symbol"] == "ABCUSDT"


@pytest.mark.parametrize(
    "discount",
    [
        {**COMMISSION["discount"], "enabledForAccount": False},
        {**COMMISSION["discount"], "enabledForSymbol": False},
        {**COMMISSION["discount"], "discountAsset": None},
        {},
    ],
)
def test_fees_without_a_discount(canned: responses.RequestsMock, discount: dict[str, object]) -> None:
    canned.get(f"{URL}/api/v3/account/commission", json={**COMMISSION, "discount": discount})
    expected = TradingFees("binance", "ABCUSDT", Decimal("0.0041"), Decimal("0.0142"))
    assert Desk().venue.fees("ABCUSDT", STOP) == expected


@pytest.mark.parametrize("figure", ["0.25", "0.75"])
def test_whichever_way_a_discount_is_meant_the_dearer_is_believed(canned: responses.RequestsMock, figure: str) -> None:
    discount = {**COMMISSION["discount"], "discount": figure}
    canned.get(f"{URL}/api/v3/account/commission", json={**COMMISSION, "discount": discount})
    assert Desk().venue.fees("ABCUSDT", STOP).buy_instead == Decimal("0.003825")


@pytest.mark.parametrize(
    "broken",
    [
        {"standardCommission": {"taker": "NaN"}},
        {"standardCommission": {"taker": "x"}},
        {"standardCommission": None},
        {"discount": {"discount": "1.5"}},
    ],
)
def test_fees_that_cannot_be_read(canned: responses.RequestsMock, broken: dict[str, object]) -> None:
    canned.get(f"{URL}/api/v3/account/commission", json={**COMMISSION, **broken})
    with pytest.raises(VenueFailed):
        Desk().venue.fees("ABCUSDT", STOP)
