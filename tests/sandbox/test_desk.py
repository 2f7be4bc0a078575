def test_kinds_are_listed_with_their_options(exchange):
    body = exchange.json("/sandbox/faults")
    assert body["kinds"]["gap"]["options"]["count"]["type"] == "integer"
    assert body["kinds"]["set_price"]["options"]["price"]["required"] is True
    assert body["active"] == []
    exchange.fault("gap", symbols=["BTCUSDT"], count=3)
    assert exchange.json("/sandbox/faults")["active"][0]["kind"] == "gap"


def test_desk_costs_no_weight_and_is_never_disturbed(exchange):
    exchange.fault("rest", mode="reset", count=100)
    assert exchange.json("/sandbox/state")["counters"]["weight_used"] == 0
    exchange.fault("clear")


def test_unknown_desk_paths(exchange):
    answer = exchange.get("/sandbox/other")
    assert answer.status_code == 404
    assert "GET /sandbox/state" in answer.json()["error"]


def test_orders_are_shown(exchange):
    assert exchange.json("/sandbox/orders") == {"orders": []}
    exchange.order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001", newClientOrderId="mine")
    (row,) = exchange.json("/sandbox/orders")["orders"]
    assert (row["clientOrderId"], row["status"], row["symbol"], row["side"]) == ("mine", "FILLED", "BTCUSDT", "BUY")
    assert row["requested_us"] <= row["time_us"]
    assert row["reports"] >= 2
