"""Orders on the Bybit market: what they become, what they cost, and what is pushed about them (3.8, 3.10, 5.2 to 5.5)."""

from decimal import Decimal

import pytest

from binmon.sandbox.bybit.errors import RetError


@pytest.fixture
def book(hand):
    """Asks at 100.01 (1), 100.02 (2), 100.05 (10); bids at 99.99 (1), 99.98 (2), 99.95 (10)."""
    for price, lots in ((10001, 1000), (10002, 2000), (10005, 10_000)):
        hand.flow("SELL", price, lots)
    for price, lots in ((9999, 1000), (9998, 2000), (9995, 10_000)):
        hand.flow("BUY", price, lots)
    return hand


def state(order):
    return order.status, order.reject_reason, order.cancel_type


def test_market_buy_by_quantity(book):
    order = book.take("Buy", "1.5", marketUnit="baseCoin", orderLinkId="mine")
    assert state(order) == ("Filled", "EC_NoError", "UNKNOWN")
    told = book.told()
    assert [kind for kind, _ in told] == ["execution.fast", "execution", "order", "wallet"]
    fills = told[1][1]["data"]
    assert [(one["execPrice"], one["execQty"], one["execValue"]) for one in fills] == [
        ("100.01", "1", "100.01000000"), ("100.02", "0.5", "50.01000000"),
    ]  # fmt: skip
    # The buyer pays in base: a thousandth of what it gets.
    assert [(one["execFee"], one["feeCurrency"], one["feeRate"]) for one in fills] == [
        ("0.001", "ABC", "0.001"), ("0.0005", "ABC", "0.001"),
    ]  # fmt: skip
    assert [one["leavesQty"] for one in fills] == ["0.500", "0.000"]
    pushed = told[2][1]["data"][0]
    assert (pushed["orderStatus"], pushed["cumExecQty"], pushed["cumExecValue"]) == ("Filled", "1.500", "150.02000000")
    assert pushed["cumFeeDetail"] == {"ABC": "0.0015"}
    assert pushed["avgPrice"] == "100.01333333"
    assert (pushed["price"], pushed["orderLinkId"], pushed["category"]) == ("0", "mine", "spot")
    assert book.balance("ABC") == (Decimal("1001.4985"), 0)
    assert book.balance("XYZ") == (Decimal("99849.98"), 0)


def test_market_buy_by_value_ends_with_a_rest(book):
    order = book.take("Buy", "150.07")  # without a word a market buy is by value
    assert state(order) == ("PartiallyFilledCanceled", "EC_CancelForNoFullFill", "UNKNOWN")
    row = book.ask("/v5/order/realtime", category="spot", orderId=str(order.order_id))["list"][0]
    assert (row["qty"], row["marketUnit"], row["cumExecQty"], row["cumExecValue"]) == (
        "150.07", "quoteCoin", "1.5", "150.02",
    )  # fmt: skip
    assert (row["leavesQty"], row["leavesValue"]) == ("0.000", "0.05000000")
    assert book.balance("XYZ") == (Decimal("99849.98"), 0)


def test_market_buy_by_value_that_comes_out_even_is_filled(book):
    assert state(book.take("Buy", "150.02", marketUnit="quoteCoin"))[0] == "Filled"


def test_market_sell_by_value_and_by_quantity(book):
    order = book.take("Sell", "150", marketUnit="quoteCoin")
    # 99.99 for one, and as many of the next as do not go beyond: 0.500 at 99.98
    assert (order.executed, state(order)[0]) == (1500, "PartiallyFilledCanceled")
    order = book.take("Sell", "0.5")
    assert (order.executed, state(order)[0], order.market_unit) == (500, "Filled", "baseCoin")
    # The seller pays in quote.
    assert order.fees.keys() == {"XYZ"}
    got = Decimal("99.99") + Decimal("49.99") + Decimal("49.99")
    assert book.balance("XYZ") == (100_000 + got - got / 1000, 0)


def test_a_market_order_goes_no_farther_than_the_worst_price(book):
    for price in range(10006, 10300, 10):
        book.flow("SELL", price, 100)
    order = book.take("Buy", "100", marketUnit="baseCoin")
    assert state(order)[:2] == ("PartiallyFilledCanceled", "EC_CancelForNoFullFill")
    assert max(fill.price for fill in order.fills) == 10196  # 2 % above the middle, 100.00
    assert book.balance("XYZ")[1] == 0


@pytest.mark.parametrize(
    ("tolerance", "executed"),
    [(("TickSize", "1"), 3000), (("TickSize", "4"), 5000), (("Percent", "0.01"), 3000), (("Percent", "1"), 5000)],
)
def test_slippage_tolerance(book, tolerance, executed):
    unit, value = tolerance
    order = book.take("Buy", "5", marketUnit="baseCoin", slippageToleranceType=unit, slippageTolerance=value)
    assert order.executed == executed
    assert (order.status == "Filled") == (executed == 5000)


def test_nothing_to_trade_with(hand):
    hand.flow("BUY", 9999, 1000)
    order = hand.take("Buy", "5", marketUnit="baseCoin")
    assert state(order) == ("Cancelled", "EC_NoImmediateQtyToFill", "UNKNOWN")
    order = hand.take("Buy", "5", marketUnit="quoteCoin")
    assert state(order) == ("Cancelled", "EC_NoImmediateQtyToFill", "UNKNOWN")
    assert [kind for kind, _ in hand.told()] == ["order", "wallet"] * 2
    assert hand.balance("XYZ") == (100_000, 0)


def test_an_amount_below_one_lot(make_hand):
    hand = make_hand(step_e8=10_000_000_000)  # lots of 100 ABC
    hand.flow("SELL", 10001, 5)
    order = hand.take("Buy", "50", marketUnit="quoteCoin")
    assert state(order)[:2] == ("Cancelled", "EC_CancelByOrderValueZero")


def test_a_limit_order_rests_fills_and_is_told(book):
    order = book.limit("Buy", "99.97", "2")
    assert state(order) == ("New", "EC_NoError", "UNKNOWN")
    assert book.balance("XYZ") == (100_000 - Decimal("199.94"), Decimal("199.94"))
    assert [(kind, event["data"][0].get("orderStatus")) for kind, event in book.told()] == [
        ("order", "New"), ("wallet", None),
    ]  # fmt: skip
    book.flow("SELL", 9997, 3500)  # takes the two better levels, and half a lot of ours
    told = book.told()
    assert [kind for kind, _ in told] == ["execution.fast", "execution", "order", "wallet"]
    fast, execution, pushed = (event["data"][0] for _, event in told[:3])
    assert (fast["orderLinkId"], fast["isMaker"]) == ("", True)
    assert execution["orderLinkId"] == order.link_id == str(order.order_id + 1)
    assert (execution["feeRate"], execution["execFee"]) == ("0.0005", "0.00025")
    assert (pushed["orderStatus"], pushed["leavesQty"], pushed["leavesValue"]) == (
        "PartiallyFilled", "1.500", "149.95500000",
    )  # fmt: skip
    assert book.balance("XYZ")[1] == Decimal("149.955")
    book.flow("SELL", 9997, 1500)
    assert state(order) == ("Filled", "EC_NoError", "UNKNOWN")
    assert book.balance("XYZ")[1] == 0


def test_a_better_price_gives_money_back(book):
    book.limit("Buy", "100.5", "1.5")
    assert book.balance("XYZ") == (Decimal("99849.98"), 0)
    order = book.limit("Buy", "100.04", "2")  # 1.5 left at 100.02, the rest waits
    assert (order.status, order.executed) == ("PartiallyFilled", 1500)
    assert book.balance("XYZ")[1] == Decimal("50.02")
    # A taker is told about once, with its state in the end, and never as New before.
    assert [event["data"][0]["orderStatus"] for event in book.told(kind="order")] == ["Filled", "PartiallyFilled"]


def test_cancel(book):
    order = book.limit("Sell", "100.5", "2")
    assert book.balance("ABC") == (998, 2)
    book.told()
    ack = book.ask("/v5/order/cancel", category="spot", symbol="ABCXYZ", orderLinkId=order.link_id)
    assert ack == {"orderId": str(order.order_id), "orderLinkId": order.link_id}
    assert state(order) == ("Cancelled", "EC_PerCancelRequest", "CancelByUser")
    assert [kind for kind, _ in book.told()] == ["order", "wallet"]
    assert book.balance("ABC") == (1000, 0)
    again = {"path": "/v5/order/cancel", "category": "spot", "symbol": "ABCXYZ"}
    assert book.refused(**again, orderId=str(order.order_id)) == 170213
    assert book.refused(**again, orderLinkId="nobody") == 170213
    assert book.refused(**again) == 10001
    assert book.refused(**again, account=book.bob, orderId=str(order.order_id)) == 170213


def test_cancel_of_a_part(book):
    order = book.limit("Buy", "100.01", "3")
    assert order.executed == 1000
    book.ask("/v5/order/cancel", category="spot", symbol="ABCXYZ", orderId=str(order.order_id), orderLinkId="other")
    assert state(order) == ("PartiallyFilledCanceled", "EC_PerCancelRequest", "CancelByUser")
    assert order.leaves_value == 0


def test_cancel_all(book):
    ids = {str(book.limit("Buy", price, "1").order_id) for price in ("99.5", "99.6")}
    gone = book.ask("/v5/order/cancel-all", category="spot")
    assert ({one["orderId"] for one in gone["list"]}, gone["success"]) == (ids, "1")
    assert book.ask("/v5/order/realtime", category="spot")["list"] == []


@pytest.mark.parametrize(
    ("time_in_force", "qty", "expected"),
    [
        ("IOC", "1", ("Filled", "EC_NoError")),
        ("IOC", "1.5", ("PartiallyFilledCanceled", "EC_CancelForNoFullFill")),
        ("FOK", "1", ("Filled", "EC_NoError")),
        ("FOK", "1.5", ("Cancelled", "EC_NoEnoughQtyToFill")),
        ("PostOnly", "1", ("Rejected", "EC_PostOnlyWillTakeLiquidity")),
        ("GTC", "1.5", ("PartiallyFilled", "EC_NoError")),
    ],
)
def test_time_in_force(book, time_in_force, qty, expected):
    order = book.limit("Buy", "100.01", qty, timeInForce=time_in_force)
    assert state(order)[:2] == expected
    assert book.balance("XYZ")[1] == (Decimal("50.005") if expected[0] == "PartiallyFilled" else 0)
    assert book.told(kind="order")[-1]["data"][0]["orderStatus"] == expected[0]


def test_ioc_without_a_counterparty_and_post_only_that_rests(book):
    assert state(book.limit("Buy", "100", "1", timeInForce="IOC"))[:2] == ("Cancelled", "EC_NoImmediateQtyToFill")
    assert state(book.limit("Buy", "100", "1", timeInForce="PostOnly"))[0] == "New"


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("None", "Filled", "Filled"),
        ("CancelMaker", "Cancelled", "New"),
        ("CancelTaker", "New", "Cancelled"),
        ("CancelBoth", "Cancelled", "Cancelled"),
    ],
)
def test_orders_of_one_account(hand, mode, maker, taker):
    first = hand.limit("Sell", "100", "1")
    second = hand.limit("Buy", "100", "1", smpType=mode)
    assert (first.status, second.status) == (maker, taker)
    ended = {order.link_id for order in (first, second) if order.status == "Cancelled"}
    told = [event["data"][0] for event in hand.told(kind="order")]
    assert {row["orderLinkId"] for row in told if row["cancelType"] == "CancelBySmp"} == ended
    for order in (first, second):
        if order.status == "Cancelled":
            assert state(order)[1:] == ("EC_BySelfMatch", "CancelBySmp")
    if mode == "None":
        assert [one.execution_id for one in first.fills] == [one.execution_id for one in second.fills]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"side": "Buy", "orderType": "Limit", "price": "101.01", "qty": "1"}, 170193),
        ({"side": "Sell", "orderType": "Limit", "price": "98.99", "qty": "1"}, 170194),
        ({"side": "Sell", "orderType": "Limit", "price": "500", "qty": "1"}, 0),
        ({"side": "Buy", "orderType": "Limit", "price": "1", "qty": "1"}, 0),
        ({"side": "Buy", "orderType": "Limit", "price": "1", "qty": "0.999"}, 170140),
        ({"side": "Buy", "orderType": "Market", "qty": "0.99"}, 170140),
        ({"side": "Sell", "orderType": "Market", "qty": "0.01"}, 170140),
        ({"side": "Buy", "orderType": "Limit", "price": "100", "qty": "999.999"}, 0),
        ({"side": "Buy", "orderType": "Limit", "price": "100", "qty": "1000.001"}, 170124),
        ({"side": "Buy", "orderType": "Limit", "price": "100.5", "qty": "999"}, 170131),
        ({"side": "Sell", "orderType": "Market", "qty": "500.001"}, 170124),
        ({"side": "Buy", "orderType": "Market", "qty": "100000.01"}, 170131),
    ],
)
def test_what_is_refused_at_once(book, body, code):
    if code:
        assert book.refused(**body) == code
        assert book.told() == []
    else:
        assert book.create(**body).status == "New"


def test_a_seller_without_anything(book):
    book.bob.wallet.lock("ABC", book.bob.wallet.balance("ABC").free)
    assert book.refused(account=book.bob, side="Sell", orderType="Limit", price="101", qty="1") == 170131


def test_a_client_id_is_never_used_twice(book):
    order = book.limit("Buy", "99", "1", orderLinkId="once")
    book.ask("/v5/order/cancel", category="spot", symbol="ABCXYZ", orderLinkId="once")
    again = {"side": "Buy", "orderType": "Limit", "price": "99", "qty": "1", "orderLinkId": "once"}
    assert book.refused(**again) == 170141
    assert book.limit("Buy", "99", "1", account=book.bob, orderLinkId="once").order_id != order.order_id


def test_a_closed_symbol(book):
    order = book.limit("Buy", "99", "1")
    book.book.set_status("BREAK")
    assert book.refused(side="Buy", orderType="Market", qty="10") == 170151
    book.ask("/v5/order/cancel", category="spot", symbol="ABCXYZ", orderId=str(order.order_id))
    assert order.status == "Cancelled"


def test_a_symbol_that_is_delisted(book):
    order = book.limit("Buy", "99", "1")
    book.market.remove_symbol("ABCXYZ")
    assert state(order) == ("Cancelled", "EC_InvalidSymbolStatus", "CancelByAdmin")
    assert book.balance("XYZ") == (100_000, 0)
    assert book.refused(side="Buy", orderType="Market", qty="10") == 170121


def test_too_many_open_orders(book):
    for number in range(500):
        book.limit("Buy", "50", "0.1", orderLinkId=f"n{number}")
    assert book.refused(side="Buy", orderType="Limit", price="50", qty="0.1") == 170810


def test_times_follow_each_other(book):
    order = book.limit("Buy", "99.97", "1")
    book.told()
    book.clock.time_us += 5_000_000
    book.flow("SELL", 9997, 4000)
    for _, event in book.told()[:3]:
        row = event["data"][0]
        created = int(row.get("createdTime", order.created_us // 1000))
        executed = int(row.get("execTime", created))
        updated = int(row.get("updatedTime", executed))
        assert created <= executed <= updated <= event["creationTime"]
    assert order.fills[0].time_us == order.created_us + 5_000_000


def test_ids_are_numbers_of_nineteen_digits(book):
    order = book.take("Buy", "10")
    for text in (str(order.order_id), order.link_id, order.fills[0].execution_id):
        assert len(text) == 19 and text.isdigit()


def test_price_limits(book):
    assert book.side.execution.price_limits(book.book) == (10100, 9900)


def test_refusals_are_fresh():
    from binmon.sandbox.bybit import errors

    with pytest.raises(RetError) as caught:
        raise errors.NO_BALANCE.fresh()
    assert caught.value is not errors.NO_BALANCE and caught.value == errors.NO_BALANCE
