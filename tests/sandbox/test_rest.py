"""HTTP itself: statuses, headers, limits, time units."""

import http.client

import pytest


def test_retired_and_unknown_paths(exchange):
    gone = exchange.get("/api/v3/userDataStream")
    assert gone.status_code == 410
    assert gone.text.startswith("<html>")
    assert exchange.session.post(exchange.sandbox.rest_url + "/api/v3/userDataStream", timeout=30).status_code == 410
    assert exchange.get("/api/v1/depth").status_code == 404
    assert exchange.get("/nope", headers={"Accept": "text/html"}).text.startswith("<html>")


def test_time_unit(exchange):
    for unit, digits in (("MICROSECOND", 16), ("microsecond", 16), ("MILLISECOND", 13)):
        body = exchange.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": unit}).json()
        assert len(str(body["serverTime"])) == digits
    bad = exchange.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": "HOUR"})
    assert (bad.status_code, bad.json()["code"]) == (400, -1194)


def test_weight_limit_then_ban(start_exchange):
    exchange = start_exchange(weight_limit=300, weight_window_s=86_400)
    assert exchange.get("/api/v3/depth?symbol=BTCUSDT&limit=5000").headers["X-MBX-USED-WEIGHT"] == "250"
    refused = exchange.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")
    assert refused.status_code == 429
    assert refused.json()["code"] == -1003
    assert "current limit is 300 request weight" in refused.json()["msg"]
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["X-MBX-USED-WEIGHT-1M"] == "500"
    statuses = [exchange.get("/api/v3/ping").status_code for _ in range(12)]
    assert statuses == [429] * 9 + [418] * 3
    banned = exchange.get("/api/v3/ping")
    assert 60 < int(banned.headers["Retry-After"]) <= 121
    assert "IP banned until" in banned.json()["msg"]
    exchange.fault("forgive_weight")
    assert exchange.get("/api/v3/ping").status_code == 200
    exchange.fault("use_weight", weight=298)
    assert exchange.get("/api/v3/ping").headers["X-MBX-USED-WEIGHT-1M"] == "300"


def test_weight_window_ends(start_exchange):
    exchange = start_exchange(weight_limit=2, weight_window_s=86_400)
    statuses = [exchange.get("/api/v3/ping").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    exchange.fault("clock_skew", ms=86_400_000)
    assert exchange.get("/api/v3/ping").status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_other_methods_are_refused(exchange, method):
    answer = getattr(exchange.session, method)(exchange.sandbox.rest_url + "/api/v3/time", timeout=30)
    assert answer.status_code == 405


def test_connection_is_kept_alive(exchange):
    connection = http.client.HTTPConnection("127.0.0.1", exchange.sandbox.rest.port, timeout=30)
    ports = set()
    for _ in range(3):
        connection.request("GET", "/api/v3/ping")
        assert connection.getresponse().read() == b"{}"
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


def test_state_counts(exchange):
    exchange.get("/api/v3/time"), exchange.get("/api/v3/nope")
    counters = exchange.state()["counters"]
    assert counters["requests"] == {"/api/v3/time": 1, "/api/v3/nope": 1}
    assert counters["statuses"] == {"200": 1, "404": 1}
    assert exchange.get("/sandbox/nope").status_code == 404
