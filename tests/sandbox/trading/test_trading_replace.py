"""cancelReplace and amend (reference: 3.12)."""

import json

import pytest

from binmon.sandbox.matching import Side
from binmon.sandbox.parameters import ApiError

NEW = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "11"}


def failed(venue, **params):
    with pytest.raises(ApiError) as caught:
        venue.text("order.cancelReplace", **{**NEW, **params})
    return caught.value.status, caught.value.code, caught.value.message, json.loads(caught.value.data or "null")


def counts(venue):
    return venue.side.order_counts(venue.alice)[0]["count"]


def test_both_succeed(venue):
    venue.limit("BUY", "10", "1", newClientOrderId="old")
    venue.told()
    body = venue.ask(
        "order.cancelReplace",
        **NEW,
        cancelReplaceMode="STOP_ON_FAILURE",
        cancelOrigClientOrderId="old",
        cancelNewClientOrderId="bye",
        newClientOrderId="new",
    )
    assert (body["cancelResult"], body["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert (body["cancelResponse"]["origClientOrderId"], body["cancelResponse"]["clientOrderId"]) == ("old", "bye")
    assert (body["newOrderResponse"]["clientOrderId"], body["newOrderResponse"]["status"]) == ("new", "NEW")
    assert [event.get("x") for event in venue.told()] == ["CANCELED", None, "NEW", None]
    assert counts(venue) == 2


def test_stop_on_failure(venue):
    status, code, text, data = failed(venue, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId="9")
    assert (status, code, text) == (400, -2022, "Order cancel-replace failed.")
    assert data == {
        "cancelResult": "FAILURE",
        "newOrderResult": "NOT_ATTEMPTED",
        "cancelResponse": {"code": -2011, "msg": "Unknown order sent."},
        "newOrderResponse": None,
    }
    assert counts(venue) == 1
    assert venue.ask("openOrders.status") == []


def test_allow_failure(venue):
    status, code, text, data = failed(venue, cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="9")
    assert (status, code, text) == (409, -2021, "Order cancel-replace partially failed.")
    assert (data["cancelResult"], data["newOrderResult"]) == ("FAILURE", "SUCCESS")
    assert [row["orderId"] for row in venue.ask("openOrders.status")] == [data["newOrderResponse"]["orderId"]]


def test_the_new_order_fails(venue):
    venue.limit("BUY", "10", "1")
    status, code, _, data = failed(
        venue, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId="1", quantity="900", price="1000"
    )
    assert (status, code) == (409, -2021)
    assert (data["cancelResult"], data["newOrderResult"]) == ("SUCCESS", "FAILURE")
    assert data["newOrderResponse"]["code"] == -2010
    assert venue.ask("openOrders.status") == []
    status, code, _, data = failed(
        venue, cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="1", quantity="900", price="1000"
    )
    assert (status, code, data["cancelResult"], data["newOrderResult"]) == (400, -2022, "FAILURE", "FAILURE")


def test_filters_and_counts_come_before_the_cancel(make_venue):
    venue = make_venue(limits={"orders_per_10s": 1})
    venue.limit("BUY", "10", "1")
    assert failed(venue, cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="1", price="0")[1] == -1013
    assert failed(venue, cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="1")[:2] == (429, -1015)
    assert len(venue.ask("openOrders.status")) == 1
    status, code, _, data = failed(
        venue, cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="1", orderRateLimitExceededMode="CANCEL_ONLY"
    )
    assert (status, code, data["cancelResult"], data["newOrderResponse"]["code"]) == (409, -2021, "SUCCESS", -1015)
    assert venue.ask("openOrders.status") == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"cancelOrderId": "1"}, -1102),
        ({"cancelReplaceMode": "STOP_ON_FAILURE"}, -1102),
        ({"cancelReplaceMode": "MAYBE", "cancelOrderId": "1"}, -1130),
        ({"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": "1", "price": None}, -1102),
    ],
)
def test_malformed(venue, params, code):
    assert venue.refused("order.cancelReplace", **{**NEW, **params})[1] == code


def test_amend_keeps_the_place_in_the_queue(venue):
    venue.limit("BUY", "100", "0.5", newClientOrderId="mine")
    venue.flow("BUY", 10_000, 100)
    venue.told()
    venue.pass_time(2)
    body = venue.ask("order.amend.keepPriority", origClientOrderId="mine", newQty="0.2", newClientOrderId="less")
    assert body == {
        "transactTime": 1784600002000, "executionId": 2,
        "amendedOrder": {
            "symbol": "ABCXYZ", "orderId": 1, "orderListId": -1, "origClientOrderId": "mine", "clientOrderId": "less",
            "price": "100.00000000", "qty": "0.20000000", "executedQty": "0.00000000", "preventedQty": "0.00000000",
            "quoteOrderQty": "0.00000000", "cumulativeQuoteQty": "0.00000000", "status": "NEW", "timeInForce": "GTC",
            "type": "LIMIT", "side": "BUY", "workingTime": 1784600000000, "selfTradePreventionMode": "EXPIRE_MAKER",
        },
    }  # fmt: skip
    report, position = venue.told()
    assert (report["x"], report["X"], report["c"], report["C"], report["q"], report["w"]) == (
        "REPLACED", "NEW", "less", "mine", "0.20000000", True,
    )  # fmt: skip
    assert position["B"][1] == {"a": "XYZ", "f": "99980.00000000", "l": "20.00000000"}
    assert venue.book.engine.best(Side.BUY) == (10_000, 300)
    assert counts(venue) == 1
    venue.flow("SELL", None, 150)
    assert venue.told()[0]["l"] == "0.15000000"
    venue.flow("SELL", None, 100)
    assert [event.get("X") for event in venue.told()] == ["FILLED", None]
    assert venue.balance("XYZ") == ("99980.00000000", "0.00000000")
    assert venue.book.engine.best(Side.BUY) == (10_000, 50)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"newQty": "0.6"}, (400, -2038, "Order amend (quantity increase) is not supported.")),
        ({"newQty": "0.5"}, (400, -2038, "The requested action would change no state; rejecting")),
        ({"newQty": "0.1"}, (400, -1013, "Filter failure: LOT_SIZE")),
        ({"newQty": "0.3005"}, (400, -1013, "Filter failure: LOT_SIZE")),
        ({"newQty": "0.3", "orderId": "9"}, (400, -2038, "Unknown order sent.")),
        (
            {"newQty": ""},
            (400, -1102, "Mandatory parameter 'newQty' was not sent, was empty/null, or malformed."),
        ),
    ],
)
def test_refused_amendments(venue, params, expected):
    venue.limit("BUY", "100", "0.5")
    venue.flow("SELL", None, 100)
    assert venue.refused("order.amend.keepPriority", **{"orderId": "1", **params}) == expected


def test_an_amendment_may_keep_its_id_but_not_take_that_of_another(venue):
    venue.limit("BUY", "100", "0.5", newClientOrderId="one")
    venue.limit("BUY", "100", "0.5", newClientOrderId="two")
    refused = venue.refused("order.amend.keepPriority", orderId="1", newQty="0.4", newClientOrderId="two")
    assert refused == (400, -2038, "Duplicate order sent.")
    body = venue.ask("order.amend.keepPriority", orderId="1", newQty="0.4", newClientOrderId="one")
    assert body["amendedOrder"]["clientOrderId"] == body["amendedOrder"]["origClientOrderId"] == "one"


def test_an_order_is_amended_ten_times_at_most(venue):
    venue.limit("BUY", "100", "0.5")
    for lots in range(499, 489, -1):
        venue.ask("order.amend.keepPriority", orderId="1", newQty=f"0.{lots}")
    refused = venue.refused("order.amend.keepPriority", orderId="1", newQty="0.1")
    assert refused == (400, -2038, "Filter failure: MAX_NUM_ORDER_AMENDS")
