"""Every refusal of an order by its code and exact text, and their order (reference: 10 and 13, item 5)."""

import pytest

LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "100"}
MARKET = {"side": "BUY", "type": "MARKET", "quantity": "1"}


def missing(name):
    return -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."


def unneeded(name):
    return -1106, f"Parameter '{name}' sent when not required."


@pytest.mark.parametrize(
    ("order", "changes", "expected"),
    [
        (LIMIT, {"symbol": None}, missing("symbol")),
        (LIMIT, {"side": None}, missing("side")),
        (LIMIT, {"type": ""}, missing("type")),
        (LIMIT, {"timeInForce": None}, missing("timeInForce")),
        (LIMIT, {"quantity": ""}, missing("quantity")),
        (LIMIT, {"price": None}, missing("price")),
        (LIMIT, {"type": "LIMIT_MAKER"}, unneeded("timeInForce")),
        (LIMIT, {"type": "LIMIT_MAKER", "timeInForce": None, "price": None}, missing("price")),
        (LIMIT, {"quoteOrderQty": "5"}, unneeded("quoteOrderQty")),
        (LIMIT, {"stopPrice": "5"}, unneeded("stopPrice")),
        (LIMIT, {"trailingDelta": "5"}, unneeded("trailingDelta")),
        (
            MARKET,
            {"quantity": None},
            (-1102, "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!"),
        ),
        (MARKET, {"quoteOrderQty": "5"}, unneeded("quoteOrderQty")),
        (MARKET, {"price": "5"}, unneeded("price")),
        (MARKET, {"timeInForce": "GTC"}, unneeded("timeInForce")),
        (MARKET, {"icebergQty": "5"}, unneeded("icebergQty")),
        (
            LIMIT,
            {"unknown": "5"},
            (-1104, "Not all sent parameters were read; read '6' parameter(s) but was sent '7'."),
        ),
        (LIMIT, {"newClientOrderId": ""}, (-1105, "Parameter 'newClientOrderId' was empty.")),
        (
            LIMIT,
            {"newClientOrderId": "a b"},
            (
                -1100,
                "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'.",
            ),
        ),
        (LIMIT, {"newClientOrderId": "x" * 37}, (-1100, None)),
        (
            LIMIT,
            {"quantity": "-1"},
            (
                -1100,
                "Illegal characters found in parameter 'quantity'; legal range is '^([0-9]{1,20})(\\.[0-9]{1,20})?$'.",
            ),
        ),
        (LIMIT, {"price": "1e3"}, (-1100, None)),
        (LIMIT, {"price": "NaN"}, (-1100, None)),
        (LIMIT, {"quantity": "1.123456789"}, (-1111, "Parameter 'quantity' has too much precision.")),
        (LIMIT, {"price": "1.000000001"}, (-1111, "Parameter 'price' has too much precision.")),
        (
            MARKET,
            {"quantity": None, "quoteOrderQty": "1.000000001"},
            (-1111, "Parameter 'quoteOrderQty' has too much precision."),
        ),
        (LIMIT, {"price": "99999999999999999999"}, (-1108, "Parameter 'price' overflowed.")),
        (LIMIT, {"timeInForce": "GTX"}, (-1115, "Invalid timeInForce.")),
        (LIMIT, {"type": "limit"}, (-1116, "Invalid orderType.")),
        (LIMIT, {"side": "buy"}, (-1117, "Invalid side.")),
        (LIMIT, {"newOrderRespType": "LONG"}, (-1130, "Data sent for parameter 'newOrderRespType' is not valid.")),
        (LIMIT, {"strategyType": "999999"}, (-1134, None)),
        (LIMIT, {"symbol": "NOPE"}, (-1121, "Invalid symbol.")),
        (
            LIMIT,
            {"selfTradePreventionMode": "DECREMENT"},
            (-1013, "This symbol does not allow the specified self-trade prevention mode."),
        ),
        (LIMIT, {"icebergQty": "0.5"}, (-2010, "Iceberg orders are not supported for this symbol.")),
        (LIMIT, {"type": "STOP_LOSS"}, (-2010, "Stop loss orders are not supported for this symbol.")),
        (LIMIT, {"type": "STOP_LOSS_LIMIT"}, (-2010, "Stop loss limit orders are not supported for this symbol.")),
        (LIMIT, {"type": "TAKE_PROFIT"}, (-2010, "Take profit orders are not supported for this symbol.")),
        (LIMIT, {"type": "TAKE_PROFIT_LIMIT"}, (-2010, "Take profit limit orders are not supported for this symbol.")),
        (LIMIT, {"price": "100.001"}, (-1013, "Filter failure: PRICE_FILTER")),
        (LIMIT, {"price": "0"}, (-1013, "Filter failure: PRICE_FILTER")),
        (LIMIT, {"quantity": "0.0005"}, (-1013, "Filter failure: LOT_SIZE")),
        (LIMIT, {"quantity": "0"}, (-1013, "Filter failure: LOT_SIZE")),
        (MARKET, {"quantity": "11"}, (-1013, "Filter failure: MARKET_LOT_SIZE")),
        (
            LIMIT,
            {"quantity": "1000", "price": "2000"},
            (-2010, "Account has insufficient balance for requested action."),
        ),
    ],
)
def test_refusals(make_venue, order, changes, expected):
    venue = make_venue(with_history=True, start_price=40_000)
    code, text = expected
    for method in ("order.place", "order.test"):
        if code == -2010 and "insufficient" in text and method == "order.test":
            assert venue.ask(method, **{**order, **changes}) == {}
            continue
        status, found, message = venue.refused(method, **{**order, **changes})
        assert (status, found) == (400, code)
        assert text in (None, message)
    assert venue.told() == []
    assert venue.ask("openOrders.status") == []


def test_what_is_missing_comes_first_and_the_engine_last(venue):
    """Each step removes the error that was found, and the next one of the reference's order appears."""
    bad = {"side": "buy", "type": "LIMIT", "timeInForce": "GTX", "quantity": "0.1234567891", "x": "1", "symbol": "NO"}
    found = []
    for fix in (
        {"price": "100"},
        {"x": None},
        {"quantity": "0.12345"},
        {"timeInForce": "GTC"},
        {"side": "BUY"},
        {"symbol": None},
        {"quantity": "999"},
    ):
        found.append(venue.refused("order.place", **{k: v for k, v in bad.items() if v is not None})[1])
        bad.update(fix)
        if bad.get("symbol") is None:
            bad.pop("symbol", None)
    venue.limit("SELL", "500", "1", venue.bob)
    bad["price"] = "500"
    found.append(venue.refused("order.place", **{k: v for k, v in bad.items() if v is not None})[1])
    assert found == [-1102, -1104, -1111, -1115, -1117, -1121, -1013, -2010]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("HALT", (400, -1013, "This order type is not possible in this trading phase.")),
        ("CANCEL_ONLY", (400, -1013, "This order type is not possible in this trading phase.")),
        ("BREAK", (400, -2010, "Market is closed.")),
        ("END_OF_DAY", (400, -2010, "Market is closed.")),
    ],
)
def test_a_symbol_that_does_not_trade(venue, status, expected):
    venue.limit("BUY", "100", "1", newClientOrderId="mine")
    venue.book.set_status(status)
    assert venue.refused("order.place", **LIMIT) == expected
    assert venue.ask("order.cancel", origClientOrderId="mine")["status"] == "CANCELED"


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        (
            "order.status",
            {},
            (400, -1102, "Param 'orderId' or 'origClientOrderId' must be sent, but both were empty/null!"),
        ),
        ("order.status", {"orderId": "77"}, (400, -2013, "Order does not exist.")),
        ("order.status", {"origClientOrderId": "none"}, (400, -2013, "Order does not exist.")),
        (
            "order.status",
            {"orderId": "1", "origClientOrderId": "none"},
            (400, -2039, "Client order ID is not correct for this order ID."),
        ),
        ("order.cancel", {"orderId": "77"}, (400, -2011, "Unknown order sent.")),
        (
            "order.cancel",
            {},
            (400, -1102, "Param 'orderId' or 'origClientOrderId' must be sent, but both were empty/null!"),
        ),
        (
            "order.cancel",
            {"orderId": "1", "origClientOrderId": "none"},
            (400, -2011, "Cancel order is invalid. Check origClOrdId and orderId."),
        ),
        ("order.cancel", {"orderId": "1", "cancelRestrictions": "MAYBE"}, (400, -1145, "Invalid cancelRestrictions")),
        (
            "order.cancel",
            {"orderId": "1", "cancelRestrictions": "ONLY_PARTIALLY_FILLED"},
            (400, -2011, "Order was not canceled due to cancel restrictions."),
        ),
        (
            "myTrades",
            {"fromId": "1", "startTime": "1"},
            (400, -1128, "Combination of optional parameters invalid."),
        ),
        (
            "myTrades",
            {"startTime": "1784600000000", "endTime": "1784686400001"},
            (400, -1127, "More than 24 hours between startTime and endTime."),
        ),
        (
            "allOrders",
            {"startTime": "1784600000000", "endTime": "1784686400001"},
            (400, -1127, "More than 24 hours between startTime and endTime."),
        ),
        ("account.commission", {"symbol": "NOPE"}, (400, -1121, "Invalid symbol.")),
    ],
)
def test_refused_queries_and_cancels(venue, method, params, expected):
    assert venue.limit("BUY", "100", "1", newClientOrderId="mine")["orderId"] == 1
    assert venue.refused(method, **params) == expected
    assert venue.ask("order.status", orderId=1)["status"] == "NEW"


def test_orders_of_others_do_not_exist(venue):
    placed = venue.limit("BUY", "100", "1", venue.bob, newClientOrderId="his")
    for which in ({"orderId": placed["orderId"]}, {"origClientOrderId": "his"}):
        assert venue.refused("order.status", **which)[1] == -2013
        assert venue.refused("order.cancel", **which)[1] == -2011
    assert venue.refused("openOrders.cancelAll") == (400, -2011, "Unknown order sent.")


def test_an_account_that_may_not_trade(venue):
    venue.limit("BUY", "100", "1", newClientOrderId="mine")
    venue.alice.can_trade = False
    text = "This account may not place or cancel orders."
    assert venue.refused("order.place", **LIMIT) == (400, -2010, text)
    assert venue.refused("order.cancel", origClientOrderId="mine") == (400, -2011, text)
    assert venue.refused("openOrders.cancelAll") == (400, -2011, text)
    assert venue.ask("account.status")["canTrade"] is False


def test_too_many_orders(make_venue):
    venue = make_venue(limits={"orders_per_10s": 2})
    for price in ("10", "11"):
        venue.limit("BUY", price, "1")
    assert venue.refused("order.place", **LIMIT) == (
        429, -1015, "Too many new orders; current limit is 2 orders per 10 SECOND.",
    )  # fmt: skip
    assert venue.refused("order.place", **{**LIMIT, "price": "0"})[1] == -1013
    assert venue.ask("order.test", **LIMIT) == {}
    venue.ask("openOrders.cancelAll")
    assert venue.refused("order.place", **LIMIT)[1] == -1015  # cancels do not count
    venue.pass_time(10)
    venue.limit("BUY", "10", "1")


def test_too_many_open_orders(make_venue):
    venue = make_venue(limits={"orders_per_10s": 1000})
    for _ in range(200):
        venue.limit("BUY", "1", "0.001")
    assert venue.refused("order.place", **LIMIT) == (400, -1013, "Filter failure: MAX_NUM_ORDERS")
    venue.limit("BUY", "1", "0.001", venue.bob)
