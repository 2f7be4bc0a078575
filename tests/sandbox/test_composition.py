"""Faults that are aimed at one connection, and several faults at once."""

import itertools
import threading
import time
from decimal import Decimal

import pytest
import requests
import websocket

from binmon.sandbox import rest_faults

DEPTH = "/stream?streams=btcusdt@depth@100ms"


def events(stream, count, timeout=30.0):
    return [stream.until(lambda message: "data" in message, timeout)["data"] for _ in range(count)]


def ids(seen):
    return [event["u"] for event in seen]


@pytest.fixture
def twins(start_exchange):
    """An exchange and two connections to it with their numbers, each with its first event read."""
    exchange = start_exchange(rate=100.0)
    streams = [exchange.stream(DEPTH) for _ in range(2)]
    first = [events(stream, 1) for stream in streams]
    numbers = [connection["id"] for connection in exchange.state()["connections"]]
    return exchange, streams, numbers, first


def test_the_order_of_faults_is_told(exchange):
    told = exchange.json("/sandbox/faults")
    assert told["order"]["events"].index("gap") < told["order"]["events"].index("duplicate")
    assert set(told["order"]["events"]) <= set(told["kinds"])


def test_state_tells_connections_apart(twins):
    exchange, _, numbers, _ = twins
    exchange.stream("/ws/btcusdt@trade")
    exchange.wait(lambda: len(exchange.state()["connections"]) == 3)
    first, second, third = exchange.state()["connections"]
    assert [first["id"], second["id"]] == numbers
    assert first["streams"] == second["streams"] == ["btcusdt@depth@100ms"] != third["streams"]
    assert first["age_s"] >= second["age_s"] >= third["age_s"] >= 0
    assert first["events"] >= 1
    assert first["delay_ms"] == 0 and not first["dead"]


def test_slow_link_of_one_twin(twins):
    exchange, (slow, fast), numbers, _ = twins
    exchange.fault("slow_link", delay_ms=4000, connection=numbers[0])
    assert [one["delay_ms"] for one in exchange.state()["connections"]] == [4000, 0]
    marker = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    ahead = fast.until(lambda message: message["data"]["U"] > marker)["data"]
    before = exchange.json("/api/v3/time")["serverTime"]
    late = slow.until(lambda message: message["data"]["u"] == ahead["u"])["data"]
    assert late == ahead
    assert exchange.json("/api/v3/time")["serverTime"] - ahead["E"] >= 3900
    assert before <= exchange.json("/api/v3/time")["serverTime"]


def test_disconnect_and_stall_of_one_twin(twins):
    exchange, (first, second), numbers, _ = twins
    exchange.fault("stall", seconds=600, connection=numbers[0])
    answer = exchange.fault("disconnect", connection=numbers[1], mode="rst")
    assert answer["connections"] == [numbers[1]]
    with pytest.raises(ConnectionResetError):
        events(second, 50)
    exchange.wait(lambda: [one["id"] for one in exchange.state()["connections"]] == [numbers[0]])
    with pytest.raises(websocket.WebSocketTimeoutException):
        events(first, 50, 1.0)
    assert not exchange.state()["connections"][0]["dead"]


def test_dead_twin(twins):
    exchange, (_, alive), numbers, first = twins
    exchange.fault("stall", seconds=600, pongs=False, connection=numbers[0])
    exchange.wait(lambda: [one["dead"] for one in exchange.state()["connections"]] == [True, False])
    seen = first[1] + events(alive, 3)
    assert all(later["U"] == earlier["u"] + 1 for earlier, later in itertools.pairwise(seen))


@pytest.mark.parametrize(("path", "wrapped"), [("/ws", False), ("/stream", True)])
def test_shutdown_of_one_connection(exchange, path, wrapped):
    stream, other = exchange.stream(path + ("?timeUnit=MICROSECOND")), exchange.stream("/ws")
    exchange.wait(lambda: len(exchange.state()["connections"]) == 2)
    number = next(one["id"] for one in exchange.state()["connections"] if "MICRO" in one["path"])
    exchange.fault("server_shutdown", connection=number, close_after_s=0.1)
    notice = stream.event()
    assert ("stream" in notice) == wrapped
    assert notice.get("data", notice)["E"] > 10**15
    assert stream.frame()[0] == 0x8
    exchange.wait(lambda: len(exchange.state()["connections"]) == 1)
    assert other.ask(method="LIST_SUBSCRIPTIONS", id=1)["result"] == []


def test_shutdown_follows_the_property_combined(exchange):
    stream = exchange.stream("/ws")
    stream.ask(method="SET_PROPERTY", params=["combined", True], id=1)
    exchange.fault("server_shutdown")
    assert stream.event()["stream"] == "!serverShutdown"


@pytest.mark.parametrize("kind", ["gap", "disconnect", "slow_link", "stall", "server_shutdown", "empty"])
def test_a_connection_that_is_not_open_is_refused(exchange, kind):
    exchange.stream("/ws")
    request = {"kind": kind, "connection": 4711}
    answer = requests.post(exchange.sandbox.rest_url + "/sandbox/faults", json=request, timeout=30)
    assert answer.status_code == 400
    assert "4711" in answer.json()["error"]


def frozen(exchange, stream):
    """Stop the market and read what was under way, so that faults are armed between two events."""
    seen = events(stream, 1)
    exchange.fault("freeze")
    last = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    while seen[-1]["u"] < last:
        seen += events(stream, 1)
    return seen[-1]["u"]


@pytest.mark.parametrize("order", [("gap", "duplicate", "reorder"), ("reorder", "duplicate", "gap")])
def test_lost_then_repeated_then_swapped_whatever_was_armed_first(start_exchange, order):
    exchange = start_exchange(rate=100.0)
    stream, witness = exchange.stream(DEPTH), exchange.stream(DEPTH)
    last = frozen(exchange, stream)
    number = exchange.state()["connections"][0]["id"]
    for kind in order:
        exchange.fault(kind, connection=number)
    assert [fault["kind"] for fault in exchange.state()["faults"]] == ["gap", "duplicate", "reorder"]
    exchange.fault("freeze", seconds=0)
    truth = ids(events(witness, 1))
    while len([one for one in truth if one > last]) < 4:
        truth += ids(events(witness, 1))
    _, second, third, fourth = [one for one in truth if one > last][:4]
    # The first event is lost. The second is doubled and waits for the third; the fourth is as it should be.
    assert ids(events(stream, 4)) == [third, second, second, fourth]
    assert exchange.state()["faults"] == []


def test_a_gap_for_one_leaves_the_others_to_the_next_fault(start_exchange):
    exchange = start_exchange(rate=100.0)
    first, second = exchange.stream(DEPTH), exchange.stream(DEPTH)
    last = frozen(exchange, first)
    number = exchange.state()["connections"][0]["id"]
    exchange.fault("duplicate")
    exchange.fault("gap", connection=number)
    exchange.fault("freeze", seconds=0)
    doubled = [one for one in ids(events(second, 12)) if one > last]
    assert doubled[0] == doubled[1] != doubled[2]
    alone = ids(events(first, 2))
    assert alone[0] == doubled[2] and alone[0] != alone[1]


def test_two_gaps_add_up(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream, witness = exchange.stream(DEPTH), exchange.stream(DEPTH)
    last = frozen(exchange, stream)
    number = exchange.state()["connections"][0]["id"]
    for _ in range(2):
        exchange.fault("gap", connection=number)
    exchange.fault("freeze", seconds=0)
    truth = ids(events(witness, 1))
    while len([one for one in truth if one > last]) < 3:
        truth += ids(events(witness, 1))
    assert ids(events(stream, 1)) == [[one for one in truth if one > last][2]]


def test_a_false_level_is_repeated_and_late_with_its_event(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream, witness = exchange.stream(DEPTH), exchange.stream(DEPTH)
    frozen(exchange, stream)
    numbers = [one["id"] for one in exchange.state()["connections"]]
    exchange.fault("slow_link", delay_ms=300, connection=numbers[0])
    exchange.fault("duplicate", connection=numbers[0])
    [level] = exchange.fault("corrupt_level", mode="missing", rank=200)["falsified"]
    exchange.fault("rest", path="/depth", status=503)
    exchange.fault("freeze", seconds=0)
    first, second, third = events(stream, 3)
    assert first == second and third["U"] == first["u"] + 1
    assert [row for row in first["b"] if Decimal(row[0]) == Decimal(level["price"])] == [[level["price"], "0.00000000"]]
    assert first in events(witness, 30)
    assert [exchange.get("/api/v3/depth?symbol=BTCUSDT").status_code for _ in range(2)] == [503, 200]


def test_rest_faults_compose_in_steps(exchange):
    true_id = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    exchange.fault("freeze")
    exchange.fault("stale_snapshot", ids_back=5000)
    exchange.fault("rest", mode="slow", delay_s=0.3, count=2)
    exchange.fault("rest", status=503, path="/depth")
    started = time.monotonic()
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT").status_code == 503
    assert time.monotonic() - started >= 0.3
    # The failure has not used up the old snapshot, which now comes, late as well; then all is over.
    started = time.monotonic()
    assert exchange.depth("BTCUSDT", 5)["lastUpdateId"] < true_id - 1000
    assert time.monotonic() - started >= 0.3
    assert exchange.depth("BTCUSDT", 5)["lastUpdateId"] >= true_id
    assert exchange.state()["faults"] == []


def test_rest_faults_of_one_step_take_turns_by_age(exchange):
    exchange.fault("rest", status=503)
    exchange.fault("rest", status=502, path="/time")
    exchange.fault("rest", mode="html", path="/ping")
    assert [exchange.get("/api/v3/time").status_code for _ in range(3)] == [503, 502, 200]
    assert exchange.get("/api/v3/ping").text.startswith("<html>")


def test_rest_faults_by_symbol_path_and_time(start_exchange, ahead):
    exchange = start_exchange(symbols=("BTCUSDT", "ETHUSDT"))
    exchange.fault("rest", status=500, symbols=["ETHUSDT"], path="/depth", count=1)
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT").status_code == 200
    assert exchange.get("/api/v3/klines?symbol=ETHUSDT&interval=1m").status_code == 200
    assert exchange.get("/api/v3/depth?symbol=ETHUSDT").status_code == 500
    assert exchange.get("/api/v3/depth?symbol=ETHUSDT").status_code == 200
    clock = ahead(rest_faults)
    exchange.fault("rest", status=403, seconds=60)
    assert [exchange.get("/api/v3/ping").status_code for _ in range(2)] == [403, 403]
    clock.by_s += 60
    assert exchange.get("/api/v3/ping").status_code == 200


def test_a_firewall_answers_html_without_the_venues_headers(exchange):
    exchange.fault("rest", status=403)
    answer = exchange.get("/api/v3/ping")
    assert answer.headers["Content-Type"] == "text/html"
    assert "403 Forbidden" in answer.text
    assert not [name for name in answer.headers if name.lower().startswith("x-mbx")]
    assert "X-MBX-USED-WEIGHT-1M" in exchange.get("/api/v3/ping").headers


def test_a_ban_holds_for_every_path_until_it_is_forgiven(exchange):
    answer = exchange.fault("ban", seconds=100)
    for path in ("/api/v3/time", "/api/v3/depth?symbol=BTCUSDT"):
        refused = exchange.get(path)
        assert (refused.status_code, refused.json()["code"]) == (418, -1003)
        assert 1 <= int(refused.headers["Retry-After"]) <= 101
        assert str(answer["banned_until_ms"]) in refused.json()["msg"]
    exchange.fault("forgive_weight")
    assert exchange.get("/api/v3/time").status_code == 200


def test_a_slow_answer_does_not_hold_up_the_end(start_exchange):
    exchange = start_exchange()
    exchange.fault("rest", mode="slow", delay_s=30)
    outcome = []

    def ask():
        try:
            requests.get(exchange.sandbox.rest_url + "/api/v3/time", timeout=60)
        except requests.ConnectionError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    exchange.wait(lambda: exchange.state()["counters"]["requests"].get("/api/v3/time"))
    exchange.sandbox.stop(2.0)
    asking.join(30)
    assert not asking.is_alive()
    assert len(outcome) == 1
