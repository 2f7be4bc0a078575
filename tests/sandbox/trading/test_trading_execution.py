"""What orders become: fills, expiry, cancels, events, balances (reference: 3.6, 3.8, 7.5, 13)."""

import re
from decimal import Decimal

import pytest

from binmon.sandbox.matching import Side
from binmon.sandbox.trading.accounts import CommissionRates

ALWAYS = {*"eEscSofqpPFgCxXrilzLnNTtIwmMOZYQV"}


def kinds(events):
    return [event.get("x", event["e"]) for event in events]


def test_a_resting_order_and_its_cancel(venue):
    answer = venue.limit("BUY", "52.00", "0.2", newClientOrderId="mine-1")
    assert answer == {
        "symbol": "ABCXYZ", "orderId": 1, "orderListId": -1, "clientOrderId": "mine-1",
        "transactTime": 1784600000000, "price": "52.00000000", "origQty": "0.20000000", "executedQty": "0.00000000",
        "origQuoteOrderQty": "0.00000000", "cummulativeQuoteQty": "0.00000000", "status": "NEW",
        "timeInForce": "GTC", "type": "LIMIT", "side": "BUY", "workingTime": 1784600000000,
        "selfTradePreventionMode": "EXPIRE_MAKER", "fills": [],
    }  # fmt: skip
    assert venue.balance("XYZ") == ("99989.60000000", "10.40000000")
    report, position = venue.told()
    assert report == {
        "e": "executionReport", "E": 1784600000000, "s": "ABCXYZ", "c": "mine-1", "S": "BUY", "o": "LIMIT",
        "f": "GTC", "q": "0.20000000", "p": "52.00000000", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "",
        "x": "NEW", "X": "NEW", "r": "NONE", "i": 1, "l": "0.00000000", "z": "0.00000000", "L": "0.00000000",
        "n": "0", "N": None, "T": 1784600000000, "t": -1, "I": 1, "w": True, "m": False, "M": False,
        "O": 1784600000000, "Z": "0.00000000", "Y": "0.00000000", "Q": "0.00000000", "W": 1784600000000,
        "V": "EXPIRE_MAKER",
    }  # fmt: skip
    assert position == {
        "e": "outboundAccountPosition", "E": 1784600000000, "u": 1784600000000,
        "B": [
            {"a": "ABC", "f": "1000.00000000", "l": "0.00000000"},
            {"a": "XYZ", "f": "99989.60000000", "l": "10.40000000"},
        ],
    }  # fmt: skip
    venue.pass_time(5)
    cancelled = venue.ask("order.cancel", orderId=1, newClientOrderId="stop-1")
    assert cancelled == {
        "symbol": "ABCXYZ", "origClientOrderId": "mine-1", "orderId": 1, "orderListId": -1, "clientOrderId": "stop-1",
        "transactTime": 1784600005000, "price": "52.00000000", "origQty": "0.20000000", "executedQty": "0.00000000",
        "origQuoteOrderQty": "0.00000000", "cummulativeQuoteQty": "0.00000000", "status": "CANCELED",
        "timeInForce": "GTC", "type": "LIMIT", "side": "BUY", "selfTradePreventionMode": "EXPIRE_MAKER",
    }  # fmt: skip
    report, position = venue.told()
    assert (report["c"], report["C"], report["x"], report["X"]) == ("stop-1", "mine-1", "CANCELED", "CANCELED")
    assert (report["T"], report["O"], report["W"], report["w"]) == (1784600005000, 1784600000000, 1784600000000, False)
    assert set(report) == ALWAYS | {"W"}
    assert position["B"][1] == {"a": "XYZ", "f": "100000.00000000", "l": "0.00000000"}
    assert venue.book.engine.best(Side.BUY) is None
    row = venue.ask("order.status", origClientOrderId="mine-1")
    assert (row["clientOrderId"], row["status"], row["updateTime"]) == ("stop-1", "CANCELED", 1784600005000)
    assert venue.ask("order.status", origClientOrderId="stop-1")["orderId"] == 1
    assert venue.refused("order.cancel", orderId=1) == (400, -2011, "Unknown order sent.")


def test_a_market_order_sweeps_levels(venue):
    for price, lots in ((10_000, 200), (10_010, 100), (10_020, 500)):
        venue.flow("SELL", price, lots)
    venue.pass_time(1)
    answer = venue.take("BUY", "0.4", newClientOrderId="big")
    assert (answer["status"], answer["price"], answer["timeInForce"]) == ("FILLED", "0.00000000", "GTC")
    assert answer["cummulativeQuoteQty"] == "40.03000000"
    assert [(fill["price"], fill["qty"]) for fill in answer["fills"]] == [
        ("100.00000000", "0.20000000"), ("100.10000000", "0.10000000"), ("100.20000000", "0.10000000"),
    ]  # fmt: skip
    events = venue.told()
    assert kinds(events) == ["NEW", "TRADE", "TRADE", "TRADE", "outboundAccountPosition"]
    assert {event["T"] for event in events[:4]} == {events[4]["u"]} == {answer["transactTime"]}
    assert [event["X"] for event in events[:4]] == ["NEW", "PARTIALLY_FILLED", "PARTIALLY_FILLED", "FILLED"]
    assert [event["w"] for event in events[:4]] == [True, False, False, False]
    assert [event["M"] for event in events[:4]] == [False, True, True, True]
    assert [event["z"] for event in events[:4]] == ["0.00000000", "0.20000000", "0.30000000", "0.40000000"]
    assert [event["Z"] for event in events[1:4]] == ["20.00000000", "30.01000000", "40.03000000"]
    assert [event["t"] for event in events[1:4]] == [fill["tradeId"] for fill in answer["fills"]] == [1, 2, 3]
    assert all(set(event) == ALWAYS | {"W"} for event in events[:4])
    executions = [event["I"] for event in events[:4]]
    assert executions == sorted(set(executions)) and executions[-1] > 4  # the counterparties took some, too
    assert venue.balance("ABC") == ("1000.40000000", "0.00000000")
    assert venue.balance("XYZ") == ("99959.97000000", "0.00000000")


def test_a_resting_order_is_filled_by_the_market_later(venue):
    placed = venue.limit("BUY", "100", "0.5", newOrderRespType="ACK")
    assert set(placed) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    venue.told()
    venue.pass_time(3)
    venue.flow("SELL", 9_900, 200)
    report, position = venue.told()
    assert (report["x"], report["X"], report["m"], report["w"]) == ("TRADE", "PARTIALLY_FILLED", True, True)
    assert (report["L"], report["l"], report["Y"]) == ("100.00000000", "0.20000000", "20.00000000")
    assert (report["T"], report["O"]) == (1784600003000, 1784600000000)
    assert position["B"] == [
        {"a": "ABC", "f": "1000.20000000", "l": "0.00000000"},
        {"a": "XYZ", "f": "99950.00000000", "l": "30.00000000"},
    ]
    venue.flow("SELL", None, 500)
    report, position = venue.told()
    assert (report["X"], report["w"], report["z"]) == ("FILLED", False, "0.50000000")
    assert venue.balance("XYZ") == ("99950.00000000", "0.00000000")
    trades = venue.ask("myTrades")
    assert [(trade["id"], trade["isMaker"], trade["isBuyer"], trade["qty"]) for trade in trades] == [
        (1, True, True, "0.20000000"), (2, True, True, "0.30000000"),
    ]  # fmt: skip


def test_a_limit_order_may_trade_and_rest_and_pays_no_more_than_the_market(venue):
    venue.flow("SELL", 9_900, 100)
    answer = venue.limit("BUY", "100", "0.3")
    assert (answer["status"], answer["executedQty"], len(answer["fills"])) == ("PARTIALLY_FILLED", "0.10000000", 1)
    assert venue.balance("XYZ") == ("99970.10000000", "20.00000000")
    venue.ask("openOrders.cancelAll")
    assert venue.balance("XYZ") == ("99990.10000000", "0.00000000")


def test_two_accounts_trade_with_each_other(venue):
    venue.limit("SELL", "100", "1", venue.bob)
    venue.told(venue.bob)
    venue.take("BUY", "0.4")
    assert kinds(venue.told()) == ["NEW", "TRADE", "outboundAccountPosition"]
    events = venue.told(venue.bob)
    assert kinds(events) == ["TRADE", "outboundAccountPosition"]
    assert (events[0]["S"], events[0]["m"], events[0]["X"]) == ("SELL", True, "PARTIALLY_FILLED")
    assert venue.balance("ABC", venue.bob) == ("999.00000000", "0.60000000")
    assert venue.balance("XYZ", venue.bob) == ("100040.00000000", "0.00000000")


@pytest.mark.parametrize(
    ("side", "params", "reason", "executed"),
    [
        ("BUY", {"type": "MARKET", "quantity": "1"}, "INSUFFICIENT_LIQUIDITY", "0.30000000"),
        ("SELL", {"type": "MARKET", "quantity": "1"}, "INSUFFICIENT_LIQUIDITY", "0.00000000"),
        (
            "BUY",
            {"type": "LIMIT", "timeInForce": "IOC", "quantity": "1", "price": "100"},
            "UNFILLED_IOC_QUANTITY_EXPIRED",
            "0.20000000",
        ),
        (
            "BUY",
            {"type": "LIMIT", "timeInForce": "IOC", "quantity": "1", "price": "90"},
            "UNFILLED_IOC_QUANTITY_EXPIRED",
            "0.00000000",
        ),
        (
            "BUY",
            {"type": "LIMIT", "timeInForce": "FOK", "quantity": "1", "price": "110"},
            "UNFILLED_FOK_ORDER_EXPIRED",
            "0.00000000",
        ),
        ("BUY", {"type": "MARKET", "quoteOrderQty": "500"}, "INSUFFICIENT_LIQUIDITY", "0.30000000"),
    ],
)
def test_orders_expire(venue, side, params, reason, executed):
    venue.flow("SELL", 10_000, 200)
    venue.flow("SELL", 10_500, 100)
    answer = venue.place(side=side, **params)
    assert (answer["status"], answer["expiryReason"], answer["executedQty"]) == ("EXPIRED", reason, executed)
    events = venue.told()
    last = events[-2]
    assert (last["x"], last["X"], last["eR"], last["z"]) == ("EXPIRED", "EXPIRED", reason, executed)
    assert (last["l"], last["n"], last["N"], last["t"], last["w"]) == ("0.00000000", "0", None, -1, False)
    assert set(last) == ALWAYS | {"W", "eR"}
    assert all("eR" not in event for event in events[:-2])
    assert kinds(events)[0] == "NEW" and kinds(events)[-1] == "outboundAccountPosition"
    row = venue.ask("order.status", orderId=answer["orderId"])
    assert (row["status"], row["expiryReason"]) == ("EXPIRED", reason)
    assert venue.ask("openOrders.status") == []
    for asset in ("ABC", "XYZ"):
        assert venue.balance(asset)[1] == "0.00000000"


def test_expiry_reason_is_never_in_an_ack(venue):
    answer = venue.take("BUY", "1", newOrderRespType="ACK")
    assert set(answer) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}


def test_a_fill_or_kill_order_that_can_be_filled(venue):
    venue.flow("SELL", 10_000, 200)
    venue.flow("SELL", 10_500, 100)
    assert venue.limit("BUY", "105", "0.3", timeInForce="FOK")["status"] == "FILLED"


@pytest.mark.parametrize(
    ("side", "quote", "executed", "worth"),
    [
        ("BUY", "25", "0.24900000", "24.99500000"),
        ("BUY", "20", "0.20000000", "20.00000000"),
        ("SELL", "25", "0.27200000", "24.96000000"),
    ],
)
def test_quote_order_quantity(venue, side, quote, executed, worth):
    for price, lots in ((10_000, 200), (10_200, 100)):
        venue.flow("SELL", price, lots)
    for price, lots in ((9_500, 150), (8_800, 500)):
        venue.flow("BUY", price, lots)
    answer = venue.place(side=side, type="MARKET", quoteOrderQty=quote)
    assert answer["status"] == "FILLED"
    spent = Decimal(answer["cummulativeQuoteQty"])
    step = Decimal("0.001") * Decimal(answer["fills"][-1]["price"])
    assert Decimal(quote) - step < spent <= Decimal(quote)
    assert answer["origQuoteOrderQty"] == f"{quote}.00000000"
    assert answer["origQty"] == answer["executedQty"]
    assert venue.told()[0]["Q"] == f"{quote}.00000000"


def test_quote_order_quantity_without_liquidity(venue):
    text = "Order book liquidity is less than `LOT_SIZE` filter minimum quantity."
    assert venue.refused("order.place", side="BUY", type="MARKET", quoteOrderQty="50") == (400, -2010, text)


def test_post_only(venue):
    venue.flow("SELL", 10_000, 200)
    text = "Order would immediately match and take."
    refused = venue.refused("order.place", side="BUY", type="LIMIT_MAKER", quantity="1", price="100")
    assert refused == (400, -2010, text)
    assert venue.told() == []
    assert venue.balance("XYZ") == ("100000.00000000", "0.00000000")
    answer = venue.place(side="BUY", type="LIMIT_MAKER", quantity="1", price="99.99")
    assert set(answer) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert venue.ask("openOrders.status")[0]["type"] == "LIMIT_MAKER"


def test_client_ids_are_unique_among_open_orders(venue):
    venue.limit("BUY", "10", "1", newClientOrderId="same")
    order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "10"}
    assert venue.refused("order.place", newClientOrderId="same", **order) == (400, -2010, "Duplicate order sent.")
    venue.limit("BUY", "10", "1", venue.bob, newClientOrderId="same")
    venue.ask("order.cancel", origClientOrderId="same", newClientOrderId="other")
    second = venue.limit("BUY", "11", "1", newClientOrderId="same")
    assert venue.ask("order.status", origClientOrderId="same")["orderId"] == second["orderId"]
    assert re.fullmatch("[A-Za-z0-9]{22}", venue.limit("BUY", "10", "1")["clientOrderId"])


def test_balances_decide(venue):
    text = "Account has insufficient balance for requested action."
    poor = venue.open("poor", {"ABC": "1", "XYZ": "50"})
    venue.flow("SELL", 10_000, 600)
    for params in (
        {"side": "BUY", "type": "MARKET", "quantity": "0.501"},
        {"side": "SELL", "type": "MARKET", "quantity": "1.001"},
        {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.501", "price": "100"},
        {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1.001", "price": "100"},
    ):
        assert venue.refused("order.place", poor, **params) == (400, -2010, text)
    assert venue.told(poor) == []
    venue.limit("BUY", "50", "1", poor)
    assert venue.refused("order.place", poor, side="BUY", type="MARKET", quantity="0.001") == (400, -2010, text)
    venue.ask("openOrders.cancelAll", poor)
    assert venue.take("BUY", "0.5", poor)["status"] == "FILLED"
    assert venue.balance("XYZ", poor) == ("0.00000000", "0.00000000")


def test_commission_is_taken_from_what_is_received(make_venue):
    rates = CommissionRates(Decimal("0.001"), Decimal("0.002"), Decimal("0.0001"), Decimal("0.0003"))
    venue = make_venue(rates)
    venue.limit("SELL", "100", "1", venue.bob)
    venue.told(venue.bob)
    fill = venue.take("BUY", "0.3")["fills"][0]
    assert (fill["commission"], fill["commissionAsset"]) == ("0.00063000", "ABC")
    report = venue.told(venue.bob)[0]
    assert (report["n"], report["N"]) == ("0.03900000", "XYZ")
    assert venue.balance("ABC")[0] == "1000.29937000"
    assert venue.balance("XYZ", venue.bob)[0] == "100029.96100000"
    account = venue.ask("account.status")
    assert (account["makerCommission"], account["takerCommission"], account["buyerCommission"]) == (10, 20, 1)
    assert account["commissionRates"]["taker"] == "0.00200000"
    rates = venue.ask("account.commission")
    assert rates["standardCommission"] == account["commissionRates"]
    tested = venue.ask("order.test", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="90",
                       computeCommissionRates="true")  # fmt: skip
    assert tested["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00200000"}


def test_counts_follow_first_fills(venue):
    def counts(account=None):
        return [entry["count"] for entry in venue.ask("account.rateLimits.orders", account)]

    for _ in range(7):
        venue.limit("BUY", "100", "0.2")
    assert counts() == [7, 7]
    venue.flow("SELL", 10_000, 100)
    assert counts() == [2, 2]
    venue.flow("SELL", 10_000, 50)
    assert counts() == [2, 2]  # only the first fill of an order counts
    venue.take("SELL", "0.1", venue.bob)
    assert counts(venue.bob) == [0, 0]
    assert venue.side.order_counts(venue.alice) == venue.ask("account.rateLimits.orders")


def test_strategies_are_only_there_when_sent(venue):
    answer = venue.limit("BUY", "10", "1", strategyId="7", strategyType="1000000")
    assert (answer["strategyId"], answer["strategyType"]) == (7, 1_000_000)
    report = venue.told()[0]
    assert (report["j"], report["J"]) == (7, 1_000_000)
    assert venue.ask("order.status", orderId=1)["strategyId"] == 7
    answer = venue.limit("BUY", "10", "1", strategyId="8")
    assert answer["strategyId"] == 8 and "strategyType" not in answer


@pytest.mark.parametrize("mode", ["EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "NONE"])
def test_orders_of_one_account_do_not_trade_with_each_other(venue, mode):
    maker = venue.limit("SELL", "100", "0.2")
    venue.flow("SELL", 10_000, 100)
    venue.told()
    answer = venue.limit("BUY", "100", "0.1", selfTradePreventionMode=mode)
    events = venue.told()
    prevented = [event for event in events if event.get("x") == "TRADE_PREVENTION"]
    states = {event["i"]: event["X"] for event in events if "x" in event}
    expected = {
        "EXPIRE_MAKER": ("EXPIRED_IN_MATCH", "FILLED"),
        "EXPIRE_TAKER": (None, "EXPIRED_IN_MATCH"),
        "EXPIRE_BOTH": ("EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
        "NONE": ("PARTIALLY_FILLED", "FILLED"),
    }[mode]
    assert (states.get(maker["orderId"]), states[answer["orderId"]]) == expected
    assert answer["status"] == expected[1]
    assert kinds(events).count("outboundAccountPosition") == 1
    assert len(prevented) == {"NONE": 0, "EXPIRE_BOTH": 2}.get(mode, 1)
    assert ("preventedMatches" in answer) is (mode != "NONE")
    for event in prevented:
        assert set(event) == ALWAYS | {"W", "v", "A", "B", "U", "Cs", "pl", "pL", "pY"}
        assert (event["l"], event["pl"], event["pL"], event["pY"]) == (
            "0.00000000", "0.10000000", "100.00000000", "10.00000000",
        )  # fmt: skip
    left = venue.ask("openOrders.status")
    assert [row["orderId"] for row in left] == ([maker["orderId"]] if mode in ("NONE", "EXPIRE_TAKER") else [])
    locked = sum(Decimal(row["origQty"]) - Decimal(row["executedQty"]) for row in left)
    assert Decimal(venue.balance("ABC")[1]) == locked


def test_times_in_microseconds(venue):
    venue.clock.time_us += 123_456
    answer = venue.ask("order.place", micro=True, side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="9")
    assert answer["transactTime"] == answer["workingTime"] == 1784600000123456
    row = venue.ask("order.status", micro=True, orderId=1)
    assert row["time"] == row["updateTime"] == row["workingTime"] == 1784600000123456
    assert venue.ask("account.status", micro=True)["updateTime"] == 1784600000123456
    assert venue.ask("account.status")["updateTime"] == 1784600000123
    texts = []
    venue.alice.listen(lambda event: texts.append(event.text(True)))
    venue.flow("SELL", 900, 1)
    assert '"T":1784600000123456' in texts[0] and '"E":1784600000123706' in texts[0]
    assert '"u":1784600000123456' in texts[1]
    assert venue.ask("myTrades", micro=True)[0]["time"] == 1784600000123456


def test_queries(venue):
    for number in range(5):
        venue.limit("BUY", "10", "1", newClientOrderId=f"n{number}")
        venue.pass_time(1)
    assert len(venue.ask("openOrders.status")) == 5
    ids = [row["clientOrderId"] for row in venue.ask("allOrders")]
    assert ids == ["n0", "n1", "n2", "n3", "n4"]

    def chosen(**params):
        return [row["orderId"] for row in venue.ask("allOrders", **params)]

    assert chosen(orderId=3) == [3, 4, 5]
    assert chosen(limit=2) == [4, 5]
    assert chosen(orderId=1, limit=2) == [1, 2]
    assert chosen(startTime=1784600002000, limit=2) == [3, 4]
    assert chosen(endTime=1784600002000) == [1, 2, 3]
    venue.flow("SELL", 1_000, 2_500)
    trades = venue.ask("myTrades")
    assert [trade["orderId"] for trade in trades] == [1, 2, 3]
    assert [trade["id"] for trade in venue.ask("myTrades", fromId=2)] == [2, 3]
    assert [trade["id"] for trade in venue.ask("myTrades", orderId=2)] == [2]
    assert [trade["id"] for trade in venue.ask("myTrades", limit=1)] == [3]
    assert sum(Decimal(trade["quoteQty"]) for trade in trades) == 25


def test_account_and_filters(venue):
    venue.open("empty", {"ABC": "0", "XYZ": "1"})
    empty = venue.side.accounts.all()[-1]
    assert [row["asset"] for row in venue.ask("account.status", empty)["balances"]] == ["ABC", "XYZ"]
    assert [row["asset"] for row in venue.ask("account.status", empty, omitZeroBalances="true")["balances"]] == ["XYZ"]
    body = venue.ask("myFilters")
    assert body["assetFilters"] == [{"filterType": "MAX_ASSET", "asset": "JPY", "limit": "1000000.00000000"}]
    assert {one["filterType"] for one in body["symbolFilters"]} >= {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL"}


def test_reads_may_lag(venue):
    venue.side.set_read_lag(2)
    venue.limit("BUY", "10", "1", newClientOrderId="mine")
    assert venue.refused("order.status", origClientOrderId="mine")[1] == -2013
    assert venue.ask("openOrders.status") == []
    venue.pass_time(2)
    assert venue.ask("order.status", origClientOrderId="mine")["status"] == "NEW"


def test_a_delisted_symbol_takes_its_orders_with_it(venue):
    venue.limit("BUY", "10", "1")
    venue.told()
    venue.market.remove_symbol("ABCXYZ")
    report, _ = venue.told()
    assert (report["x"], report["X"], report["eR"]) == ("EXPIRED", "EXPIRED", "EXCHANGE_CANCELED")
    assert venue.alice.wallet.balance("XYZ").locked == 0
    assert venue.refused("order.status", orderId=1)[1] == -1121


def test_reset_wipes_all_but_accounts(venue):
    venue.flow("SELL", 10_000, 100)
    venue.take("BUY", "0.1")
    venue.limit("BUY", "50", "1", newClientOrderId="mine")
    venue.told()
    venue.market.reset()
    venue.side.reset()
    assert venue.told() == []
    assert venue.refused("order.status", origClientOrderId="mine")[1] == -2013
    assert venue.ask("openOrders.status") == venue.ask("allOrders") == venue.ask("myTrades") == []
    assert venue.balance("XYZ") == ("100000.00000000", "0.00000000")
    assert venue.balance("ABC") == ("1000.00000000", "0.00000000")
    assert venue.side.ledger() == []
    assert venue.limit("BUY", "50", "1", newClientOrderId="mine")["orderId"] == 1
    assert venue.told()[0]["I"] == 1


def test_reset_without_a_new_market_leaves_no_order_behind(venue):
    venue.limit("BUY", "10", "1")
    venue.side.reset()
    assert venue.book.engine.best(Side.BUY) is None


def test_the_ledger_knows_every_order(venue):
    venue.limit("BUY", "10", "1", newClientOrderId="good")
    venue.pass_time(1)
    venue.refused("order.place", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="10",
                  newClientOrderId="good")  # fmt: skip
    venue.refused("order.place", side="BUY", type="MARKET", quantity="0", newClientOrderId="bad")
    venue.ask("order.cancel", orderId=1)
    rows = venue.side.ledger()
    assert [(row["clientOrderId"], row["status"], row["code"], row["orderId"]) for row in rows] == [
        ("good", "CANCELED", 0, 1), ("good", "REJECTED", -2010, 0), ("bad", "REJECTED", -1013, 0),
    ]  # fmt: skip
    assert rows[0]["reports"] == 2
    assert rows[0]["time_us"] == 1_784_600_000_000_000 <= rows[0]["requested_us"]


def test_an_order_that_has_become_too_old_on_its_way(venue):
    made = 1_784_600_000_000
    order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "10", "timestamp": made}
    venue.pass_time(5.0)
    assert venue.place(**order)["status"] == "NEW"
    venue.pass_time(0.001)
    text = "Timestamp for this request is outside of the recvWindow."
    assert venue.refused("order.place", **order) == (400, -1021, text)
    assert venue.refused("order.cancel", orderId=1, timestamp=made) == (400, -1021, text)
    assert [entry["count"] for entry in venue.ask("account.rateLimits.orders")][1] == 2
