"""The WebSocket API as a client sees it: connection, requests, replies, weight and public methods."""

import json
import time

import pytest
import websocket

from binmon.sandbox.handshake import Refusal
from binmon.sandbox.ws_api import Target, parse_target

PATH = "/ws-api/v3"


# The URL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (PATH, Target(False, True)),
        (f"{PATH}/", Target(False, True)),
        (f"{PATH}?timeUnit=MICROSECOND&returnRateLimits=false", Target(True, False)),
        (f"{PATH}?timeUnit=millisecond&returnRateLimits=true&responseFormat=json", Target(False, True)),
    ],
)
def test_targets(path, target):
    assert parse_target(path) == target


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/ws", 404, None),
        (f"{PATH}?timeUnit=NANO", 400, -1194),
        (f"{PATH}?returnRateLimits=maybe", 400, -1130),
        (f"{PATH}?responseFormat=sbe&sbeSchemaId=3&sbeSchemaVersion=5", 400, -1155),
    ],
)
def test_refused_targets(path, status, code):
    refusal = parse_target(path)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert code is None or json.loads(refusal.body)["code"] == code


def test_wrong_url_parameters_are_refused_at_the_handshake(exchange):
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        exchange.api("?timeUnit=NANO")
    assert caught.value.status_code == 400


def test_microseconds_and_no_rate_limits_by_url(exchange):
    api = exchange.api("?timeUnit=MICROSECOND&returnRateLimits=false")
    reply = api.ask("time")
    assert set(reply) == {"id", "status", "result"}
    assert abs(reply["result"]["serverTime"] - time.time_ns() // 1000) < 60_000_000
    assert "rateLimits" in api.ask("ping", returnRateLimits=True)


# Requests and replies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", [7, -1, "seven", "", None, 2**62])
def test_ids_come_back_unchanged(exchange, identifier):
    api = exchange.api()
    api.socket.send(json.dumps({"id": identifier, "method": "ping"}))
    reply = json.loads(api.socket.recv())
    assert reply["id"] == identifier
    assert type(reply["id"]) is type(identifier)
    assert (reply["status"], reply["result"]) == (200, {})


@pytest.mark.parametrize(
    "text",
    [
        "{", "", "[]", "7", "[" * 50_000, '{"id":1.5,"method":"ping"}', '{"id":true,"method":"ping"}',
        '{"id":{},"method":"ping"}', '{"id":1,"method":7}', '{"id":1,"method":"ping","params":[]}',
        '{"id":"\\ud800","method":"ping"}', '{"id":1,"method":"ping","params":{"x":"\\ud800"}}',
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_and_the_connection_stays(exchange, text):
    api = exchange.api()
    api.socket.send(text)
    reply = json.loads(api.socket.recv())
    assert (reply["status"], reply["error"]["code"]) == (400, -1135)
    assert api.result("ping") == {}


def test_an_id_is_mandatory(exchange):
    api = exchange.api()
    api.socket.send('{"method":"ping"}')
    reply = json.loads(api.socket.recv())
    assert (reply["id"], reply["status"], reply["error"]["code"]) == (None, 400, -1102)


def test_unknown_methods_and_those_of_the_listen_key(exchange):
    api = exchange.api()
    assert api.error("order.dance") == (400, -1020)
    for method in ("userDataStream.start", "userDataStream.ping", "userDataStream.stop"):
        assert api.error(method) == (410, -1020)


def test_methods_may_have_a_prefix(exchange):
    assert exchange.api().result("v3/ping") == {}


def test_rate_limits_can_be_switched_off_for_one_request(exchange):
    api = exchange.api()
    assert "rateLimits" not in api.ask("ping", returnRateLimits=False)
    assert api.ask("ping")["rateLimits"][0]["limit"] == 6000


def test_unknown_and_wrong_parameters_have_the_codes_of_rest(exchange):
    api = exchange.api()
    assert api.error("ping", colour=1) == (400, -1104)
    assert api.error("depth") == (400, -1102)
    assert api.error("depth", symbol="NOSUCH") == (400, -1121)
    assert api.error("klines", symbol="BTCUSDT", interval="7m") == (400, -1120)


# Public methods -----------------------------------------------------------------------------------------------------


def at_rest(answer):
    """An answer without the edges of the 24 hours, which move with the clock."""
    if not isinstance(answer, dict):
        return answer
    return {key: value for key, value in answer.items() if key not in ("openTime", "closeTime")}


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("depth", {"symbol": "BTCUSDT", "limit": 5}, "depth?symbol=BTCUSDT&limit=5"),
        ("trades.recent", {"symbol": "BTCUSDT", "limit": 3}, "trades?symbol=BTCUSDT&limit=3"),
        ("trades.historical", {"symbol": "BTCUSDT", "fromId": 1}, "historicalTrades?symbol=BTCUSDT&fromId=1"),
        ("trades.aggregate", {"symbol": "BTCUSDT"}, "aggTrades?symbol=BTCUSDT"),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 2}, "klines?symbol=BTCUSDT&interval=1m&limit=2"),
        ("uiKlines", {"symbol": "BTCUSDT", "interval": "1h"}, "uiKlines?symbol=BTCUSDT&interval=1h"),
        ("avgPrice", {"symbol": "BTCUSDT"}, "avgPrice?symbol=BTCUSDT"),
        ("ticker.price", {"symbols": ["BTCUSDT"]}, 'ticker/price?symbols=["BTCUSDT"]'),
        ("ticker.book", {"symbol": "BTCUSDT"}, "ticker/bookTicker?symbol=BTCUSDT"),
        ("ticker.24hr", {"symbol": "BTCUSDT", "type": "MINI"}, "ticker/24hr?symbol=BTCUSDT&type=MINI"),
    ],
)
def test_public_methods_answer_what_rest_answers(start_exchange, method, params, path):
    exchange = start_exchange(rate=0.01)
    exchange.depth("BTCUSDT", 5)
    exchange.fault("freeze")
    api = exchange.api()

    def both():
        """Twice by one way around the other: what does not move between them is the same everywhere."""
        before = at_rest(exchange.json(f"/api/v3/{path}"))
        by_socket = at_rest(api.result(method, **params))
        return before == at_rest(exchange.json(f"/api/v3/{path}")) and (before, by_socket)

    by_rest, by_socket = exchange.wait(both)
    assert by_socket == by_rest


def test_exchange_info_counts_connections(exchange):
    info = exchange.api().result("exchangeInfo", permissions=["SPOT"])
    assert {"BTCUSDT"} <= {symbol["symbol"] for symbol in info["symbols"]}
    kinds = [limit["rateLimitType"] for limit in info["rateLimits"]]
    assert "CONNECTIONS" in kinds and "RAW_REQUESTS" not in kinds


def test_a_replay_has_public_methods_and_no_accounts(start_exchange):
    exchange = start_exchange(replay="tests/data/spot_BTCUSDT_20240808_25s.tsv.gz", symbols=None)
    api = exchange.api()
    assert api.result("depth", symbol="BTCUSDT", limit=1)["lastUpdateId"] > 0
    assert api.result("session.status")["userDataStream"] is None
    params = {"apiKey": "x", "timestamp": 1, "signature": "y"}
    assert api.error("userDataStream.subscribe.signature", **params) == (401, -2015)


# Weight -------------------------------------------------------------------------------------------------------------


def weight_of(reply):
    return next(one["count"] for one in reply["rateLimits"] if one["rateLimitType"] == "REQUEST_WEIGHT")


def test_weight_is_shared_with_rest_and_a_connection_costs_two(start_exchange):
    exchange = start_exchange(weight_window_s=86_400)
    api = exchange.api()
    assert weight_of(api.ask("ping")) == 3
    assert weight_of(api.ask("depth", symbol="BTCUSDT", limit=500)) == 28
    assert exchange.get("/api/v3/ping").headers["X-MBX-USED-WEIGHT-1M"] == "29"
    assert weight_of(api.ask("session.status")) == 31
    assert weight_of(api.ask("no.such")) == 32


def test_too_much_weight_is_refused_and_then_banned_and_closed(start_exchange):
    exchange = start_exchange(weight_limit=10, weight_window_s=86_400)
    api = exchange.api()
    exchange.fault("use_weight", weight=8)
    reply = api.ask("ping")
    assert reply["status"] == 429
    assert reply["error"]["code"] == -1003
    data = reply["error"]["data"]
    assert data["retryAfter"] > data["serverTime"] > 1_700_000_000_000
    assert data["retryAfter"] - data["serverTime"] <= 86_401_000
    for _ in range(30):
        reply = api.ask("ping")
        if reply["status"] == 418:
            break
    assert reply["status"] == 418
    assert str(reply["error"]["data"]["retryAfter"]) in reply["error"]["msg"]
    assert api.close_code() == 1008
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        exchange.api()
    assert caught.value.status_code == 418


def test_a_ban_closes_the_connections_of_the_api_alone(exchange):
    api, stream = exchange.api(), exchange.stream("/ws/btcusdt@depth@100ms")
    exchange.fault("ban", seconds=60)
    assert api.close_code() == 1008
    assert stream.event(20)["e"] == "depthUpdate"


# The connection -----------------------------------------------------------------------------------------------------


def test_messages_are_not_limited_by_their_number(exchange):
    api = exchange.api()
    for _ in range(30):
        assert api.result("ping") == {}


def test_pings_that_are_not_answered_end_the_connection(start_exchange):
    exchange = start_exchange(ping_interval_s=0.2, pong_timeout_s=0.5)
    api = exchange.api()
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        while True:
            assert api.socket.recv_frame().opcode == 0x9
    exchange.wait(lambda: exchange.state()["counters"].get("cut_without_pong") == 1)


def test_answered_pings_keep_it(start_exchange):
    exchange = start_exchange(ping_interval_s=0.2, pong_timeout_s=5)
    api = exchange.api()
    for _ in range(4):
        frame = api.socket.recv_frame()
        assert frame.opcode == 0x9
        api.socket.pong(frame.data)
    assert api.result("ping") == {}


def test_life_is_announced_and_ends(start_exchange):
    exchange = start_exchange(life_s=1.0, life_notice_s=0.6)
    api = exchange.api()
    notice = api.event()
    assert set(notice) == {"event"}
    assert notice["event"]["e"] == "serverShutdown"
    assert api.close_code() == 1001


def test_connect_limit(start_exchange):
    exchange = start_exchange(connect_limit=2)
    exchange.stream("/ws")
    for _ in range(2):
        exchange.api()
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        exchange.api()
    assert caught.value.status_code == 429


# Faults of connections ----------------------------------------------------------------------------------------------


def test_both_services_are_numbered_and_shown_together(exchange):
    exchange.stream("/ws/btcusdt@trade")
    exchange.api()
    exchange.stream("/ws")
    connections = exchange.wait(lambda: len(found := exchange.state()["connections"]) == 3 and found)
    shown = {connection["id"]: connection["service"] for connection in connections}
    assert shown == {1: "stream", 2: "ws_api", 3: "stream"}


def test_disconnect_of_one_service_leaves_the_other(exchange):
    api, stream = exchange.api(), exchange.stream("/ws/btcusdt@depth@100ms")
    assert exchange.fault("disconnect", service="ws_api", code=1012)["connections"] == [1]
    assert api.close_code() == 1012
    assert stream.event(20)["e"] == "depthUpdate"
    api = exchange.api()
    assert exchange.fault("disconnect", service="stream")["connections"] == [2]
    assert api.result("ping") == {}


def test_disconnect_by_number_and_reset(exchange):
    api = exchange.api()
    exchange.fault("disconnect", connection=1, mode="rst")
    with pytest.raises(ConnectionResetError):
        api.event()


def test_shutdown_is_announced_to_all(exchange):
    api, stream = exchange.api(), exchange.stream("/ws")
    exchange.fault("server_shutdown")
    assert api.event()["event"]["e"] == "serverShutdown"
    assert stream.event(20)["e"] == "serverShutdown"


def test_slow_link_and_dead_silence(exchange):
    api = exchange.api()
    exchange.fault("slow_link", delay_ms=300, connection=[1])
    started = time.monotonic()
    api.result("ping")
    assert time.monotonic() - started > 0.25
    exchange.fault("clear")
    exchange.fault("stall", pongs=False, connection=[1])
    exchange.wait(lambda: exchange.state()["connections"][0]["dead"])
    number = api.send("ping")
    with pytest.raises(websocket.WebSocketTimeoutException):
        api.reply(number, timeout=0.4)
    exchange.fault("clear")
    assert api.reply(number)["result"] == {}


def test_connections_can_be_refused_at_one_service(exchange):
    exchange.fault("refuse_connections", service="ws_api", mode="http_503", seconds=60)
    exchange.stream("/ws")
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        exchange.api()
    assert caught.value.status_code == 503
    assert exchange.state()["faults"] == [{"kind": "refuse_connections", "mode": "http_503", "service": "ws_api"}]


def test_bad_frames_can_be_sent(exchange):
    api = exchange.api()
    exchange.fault("malformed", mode="truncated", service="ws_api")
    with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated"):
        api.event()
