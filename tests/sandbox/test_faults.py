"""Every kind of fault, injected over HTTP and observed over real sockets."""

import itertools
import json
import time
from decimal import Decimal

import pytest
import requests
import websocket

from binmon.sandbox import connection_faults

DEPTH = "/stream?streams=btcusdt@depth@100ms"


def depth_events(stream, count):
    return [stream.until(lambda message: "data" in message)["data"] for _ in range(count)]


def events_past_now(exchange, stream, count):
    """All that is under way, and so many events of things that are yet to happen, which a fault that was just armed meets."""
    now = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    events = depth_events(stream, 1)
    while events[-1]["u"] <= now:
        events += depth_events(stream, 1)
    return events + depth_events(stream, count - 1)


def breaks(events):
    return sum(later["U"] != earlier["u"] + 1 for earlier, later in itertools.pairwise(events))


def test_gap_drops_events_for_all_connections_alike(start_exchange):
    exchange = start_exchange(rate=100.0)
    first, second = exchange.stream(DEPTH), exchange.stream(DEPTH)
    before = [depth_events(one, 2) for one in (first, second)]
    exchange.fault("gap", count=2, symbols=["BTCUSDT"])
    seen = [events + events_past_now(exchange, one, 5) for events, one in zip(before, (first, second), strict=True)]
    assert breaks(seen[0]) == breaks(seen[1]) == 1
    missing = [{event["u"] for event in events} for events in seen]
    common = missing[0] & missing[1]
    assert len(common) >= 6
    assert exchange.state()["faults"] == []


def test_gap_on_one_connection_leaves_the_other_alone(start_exchange):
    exchange = start_exchange(rate=100.0)
    first, second = exchange.stream(DEPTH), exchange.stream(DEPTH)
    before = [depth_events(one, 1) for one in (first, second)]
    number = exchange.state()["connections"][0]["id"]
    exchange.fault("gap", connection=[number])
    assert breaks(before[0] + events_past_now(exchange, first, 4)) == 1
    assert breaks(before[1] + depth_events(second, 4)) == 0


def test_gap_touches_only_the_named_symbol(start_exchange):
    exchange = start_exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=100.0)
    stream = exchange.stream("/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms")
    events = depth_events(stream, 4)
    exchange.fault("gap", symbols=["ETHUSDT"])
    events += depth_events(stream, 12)
    while breaks([event for event in events if event["s"] == "ETHUSDT"]) == 0 and len(events) < 300:
        events += depth_events(stream, 2)
    assert breaks([event for event in events if event["s"] == "BTCUSDT"]) == 0
    assert breaks([event for event in events if event["s"] == "ETHUSDT"]) == 1


def test_duplicate_repeats_an_event(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("duplicate", times=3)
    events = events_past_now(exchange, stream, 6)
    ids = [event["u"] for event in events]
    assert max(ids.count(one) for one in ids) == 3
    assert breaks(list({event["u"]: event for event in events}.values())) == 0


def test_reorder_swaps_two_events(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("reorder")
    events = events_past_now(exchange, stream, 6)
    ids = [event["u"] for event in events]
    assert ids != sorted(ids)
    assert breaks(sorted(events, key=lambda event: event["u"])) == 0
    assert sum(later < earlier for earlier, later in itertools.pairwise(ids)) == 1


def test_crossed_book_crosses_and_heals(start_exchange, plain_book):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    events = depth_events(stream, 1)
    book = plain_book(exchange.depth("BTCUSDT"))
    exchange.fault("crossed_book", count=2)
    crossed = []
    for event in events + events_past_now(exchange, stream, 6):
        book.apply(event)
        crossed.append(book.top("b", 1)[0][0] >= book.top("a", 1)[0][0])
    assert sum(crossed) == 2
    assert not crossed[-1]
    exchange.fault("freeze")
    final = exchange.depth("BTCUSDT")
    while book.id < final["lastUpdateId"]:
        book.apply(depth_events(stream, 1)[0])
    book.assert_is(final, least=4500)


def test_fragmented_event_arrives_in_pieces_with_a_ping_between(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("fragmented")
    opcodes = []
    while 0x9 not in opcodes[:-2]:
        opcodes.append(stream.frame()[0])
    assert opcodes[-4:] == [0x1, 0x9, 0x0, 0x0]


def test_fragmented_event_is_whole_for_a_client(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    exchange.fault("fragmented", count=3, pieces=5)
    assert breaks(events_past_now(exchange, stream, 5)) == 0


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("json", ValueError),
        ("truncated", ValueError),
        ("utf8", (websocket.WebSocketPayloadException, UnicodeDecodeError)),
        ("header", websocket.WebSocketProtocolException),
    ],
)
def test_malformed_frames_break_a_client_in_their_own_way(start_exchange, mode, error):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    answer = exchange.fault("malformed", mode=mode)
    assert len(answer["connections"]) == 1
    with pytest.raises(error):
        depth_events(stream, 20)


def test_malformed_in_place_costs_an_event(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    good, bad = depth_events(stream, 1), 0
    exchange.fault("malformed", mode="truncated", in_place=True)
    now = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    while bad == 0 or good[-1]["u"] <= now:
        try:
            good.append(stream.event()["data"])
        except ValueError:
            bad += 1
    assert bad == 1
    assert breaks(good) == 1


def test_binary_empty_masked_and_oversized_frames(exchange):
    stream = exchange.stream("/ws")
    exchange.fault("empty")
    assert stream.frame() == (0x1, b"")
    exchange.fault("binary", bytes=300)
    opcode, data = stream.frame()
    assert (opcode, len(data)) == (0x2, 300)
    exchange.fault("oversized", bytes=3_000_000)
    opcode, data = stream.frame()
    assert (opcode, len(data)) == (0x1, 3_000_000)
    assert data.endswith(b'a"}')
    exchange.fault("masked")
    stream.socket.settimeout(30)
    head = stream.socket.sock.recv(2)
    assert head[1] & 0x80


def test_disconnect_with_close_frame(exchange):
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("disconnect", code=1012, reason="restart")
    while True:
        opcode, data = stream.frame()
        if opcode == 0x8:
            break
    assert int.from_bytes(data[:2], "big") == 1012
    assert data[2:] == b"restart"


def test_disconnect_abruptly_and_by_reset(exchange):
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("disconnect", mode="abrupt")
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        depth_events(stream, 20)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("disconnect", mode="rst")
    with pytest.raises(ConnectionResetError):
        depth_events(stream, 20)


def test_stall_with_pings_loses_events_and_ends(start_exchange):
    exchange = start_exchange(rate=100.0, ping_interval_s=0.2)
    stream = exchange.stream(DEPTH)
    last = depth_events(stream, 2)[-1]["u"]
    started = time.monotonic()
    exchange.fault("stall", seconds=3)
    now = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    pings, event = 0, {"U": last + 1, "u": last}
    while event["u"] <= now:  # what was under way
        assert event["U"] == last + 1
        last = event["u"]
        while (frame := stream.frame())[0] != 0x1:
            pings += frame[0] == 0x9
        event = json.loads(frame[1])["data"]
    assert time.monotonic() - started >= 3
    assert event["U"] > last + 1
    assert pings >= 2


def test_stall_leaves_new_connections_alone(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("stall", seconds=30)
    other = exchange.stream(DEPTH)
    assert breaks(depth_events(other, 4)) == 0


def test_dead_stall_is_total_silence(start_exchange):
    exchange = start_exchange(rate=100.0, ping_interval_s=0.1)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("stall", seconds=600, pongs=False)
    exchange.wait(lambda: exchange.state()["connections"][0]["dead"])
    stream.socket.ping("x")
    with pytest.raises(websocket.WebSocketTimeoutException):
        for _ in range(200):  # some were under way, and then there is silence
            stream.frame(0.4)
    exchange.fault("stall", seconds=0.3, pongs=False)
    assert depth_events(stream, 3)


def test_slow_link_delays_frames(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("slow_link", delay_ms=600, seconds=60)
    event = events_past_now(exchange, stream, 1)[-1]
    assert exchange.json("/api/v3/time")["serverTime"] - event["E"] >= 550
    assert breaks([event, *depth_events(stream, 3)]) == 0


def test_server_shutdown_raw_and_combined(exchange):
    raw, combined = exchange.stream("/ws"), exchange.stream("/stream")
    for stream in (raw, combined):  # it delivers
        stream.socket.send('{"method": "LIST_SUBSCRIPTIONS", "id": 1}')
        assert stream.event()["id"] == 1
    exchange.fault("server_shutdown", close_after_s=0.1)
    assert raw.event()["e"] == "serverShutdown"
    assert combined.event()["stream"] == "!serverShutdown"
    assert raw.frame()[0] == 0x8


@pytest.mark.parametrize(("mode", "status"), [("http_503", 503), ("http_429", 429), ("tcp", None)])
def test_refused_connections(exchange, ahead, mode, status):
    clock = ahead(connection_faults)
    exchange.fault("refuse_connections", mode=mode, seconds=60)
    with pytest.raises((websocket.WebSocketBadStatusException, ConnectionError)) as caught:
        exchange.stream("/ws")
    assert getattr(caught.value, "status_code", None) == status
    clock.by_s += 60
    exchange.stream("/ws")


def test_rest_statuses_and_retry_after(exchange):
    for status, code in ((429, -1003), (418, -1003), (503, -1008), (500, -1000)):
        exchange.fault("rest", status=status, retry_after=7, path="/time")
        assert exchange.get("/api/v3/ping").status_code == 200
        answer = exchange.get("/api/v3/time")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Retry-After"] == "7"
        assert exchange.get("/api/v3/time").status_code == 200
    for status in (403, 502, 504):
        exchange.fault("rest", status=status, count=2)
        assert [exchange.get("/api/v3/ping").status_code for _ in range(3)] == [status, status, 200]


def test_rest_modes(exchange):
    exchange.fault("rest", mode="html")
    assert exchange.get("/api/v3/time").text.startswith("<html>")
    exchange.fault("rest", mode="empty")
    assert exchange.get("/api/v3/time").text == ""
    exchange.fault("rest", mode="wrong_json")
    assert "serverTime" not in exchange.get("/api/v3/time").json()
    exchange.fault("rest", mode="slow", delay_s=0.4)
    started = time.monotonic()
    assert exchange.get("/api/v3/time").json()["serverTime"]
    assert time.monotonic() - started >= 0.4
    exchange.fault("rest", mode="truncated")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        exchange.get("/api/v3/time")
    exchange.fault("rest", mode="reset")
    with pytest.raises(requests.exceptions.ConnectionError):
        exchange.get("/api/v3/time")
    assert exchange.get("/api/v3/time").status_code == 200


def test_stale_snapshot_is_older_than_the_stream(start_exchange):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream(DEPTH)
    exchange.fault("stale_snapshot", count=2)
    first = depth_events(stream, 1)[0]
    assert exchange.depth("BTCUSDT", 100)["lastUpdateId"] < first["U"] - 1
    assert len(exchange.depth("BTCUSDT", 100)["bids"]) == 100
    assert exchange.depth("BTCUSDT", 100)["lastUpdateId"] >= first["u"]


def test_clock_skew_shifts_server_time_and_events(exchange):
    stream = exchange.stream(DEPTH)
    exchange.fault("clock_skew", ms=-90_000)
    now = time.time() * 1000
    assert abs(exchange.json("/api/v3/time")["serverTime"] - now + 90_000) < 30_000
    event = stream.until(lambda message: message["data"]["E"] < now - 60_000)["data"]
    assert abs(event["E"] - now + 90_000) < 30_000
    exchange.fault("clear")
    assert abs(exchange.json("/api/v3/time")["serverTime"] - time.time() * 1000) < 30_000


def test_set_price_moves_trades_and_book(exchange, plain_book):
    stream = exchange.stream("/stream?streams=btcusdt@depth@100ms/btcusdt@trade")
    first = stream.until(lambda message: message["stream"].endswith("100ms"))["data"]
    book = plain_book(exchange.depth("BTCUSDT"))
    book.apply(first)
    exchange.fault("set_price", symbol="BTCUSDT", price="70000.5")
    crossed = stream.until(
        lambda message: book.apply(message["data"]) if "U" in message["data"] else float(message["data"]["p"]) > 70_000
    )
    assert crossed["data"]["e"] == "trade"
    exchange.fault("freeze")
    final = exchange.depth("BTCUSDT")
    while book.id < final["lastUpdateId"]:
        book.apply(stream.until(lambda message: message["stream"].endswith("100ms"))["data"])
    assert abs(float(final["bids"][0][0]) - 70_000.5) < 500
    assert len(final["bids"]) == len(final["asks"]) == 5000
    assert [(Decimal(p), Decimal(q)) for p, q in final["asks"]] == book.top("a", 5000)
    exchange.fault("set_price", symbol="BTCUSDT", price="60000")
    assert abs(float(exchange.depth("BTCUSDT", 5)["asks"][0][0]) - 60_000) < 500


def test_symbols_come_change_and_go(exchange):
    exchange.fault("new_symbol", symbol="NEWCOINUSDT", status="BREAK")
    info = exchange.json("/api/v3/exchangeInfo?symbol=NEWCOINUSDT")["symbols"][0]
    assert (info["status"], info["baseAsset"], info["quoteAsset"]) == ("BREAK", "NEWCOIN", "USDT")
    stream = exchange.stream("/ws/newcoinusdt@depth@100ms")
    with pytest.raises(websocket.WebSocketTimeoutException):
        stream.event(0.5)
    exchange.fault("symbol_status", symbol="NEWCOINUSDT", status="TRADING")
    assert stream.event()["s"] == "NEWCOINUSDT"
    exchange.fault("remove_symbol", symbol="NEWCOINUSDT")
    assert exchange.get("/api/v3/exchangeInfo?symbol=NEWCOINUSDT").json()["code"] == -1121


def test_reset_restarts_all_ids(exchange):
    before = exchange.depth("BTCUSDT", 5)["lastUpdateId"]
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("reset")
    event = stream.until(lambda message: message["data"]["u"] < before)["data"]
    assert event["u"] < 1000
    assert exchange.depth("BTCUSDT", 5)["lastUpdateId"] < 1000
    candles = "/api/v3/klines?symbol=BTCUSDT&interval=1d"
    # The candle of today may change between the two answers.
    exchange.wait(lambda: exchange.json(f"{candles}&limit=10") in ([], exchange.json(f"{candles}&limit=1")))


def test_bad_requests_are_refused_with_a_reason(exchange):
    url = exchange.sandbox.rest_url + "/sandbox/faults"
    for request, word in (
        ({"kind": "nonsense"}, "unknown kind"),
        ({"kind": "gap", "colour": 1}, "colour"),
        ({"kind": "gap", "count": "two"}, "integer"),
        ({"kind": "gap", "symbols": ["NOPE"]}, "NOPE"),
        ({"kind": "set_price", "symbol": "BTCUSDT"}, "price"),
        ({"kind": "set_price", "symbol": "BTCUSDT", "price": "high"}, "decimal"),
        ({"kind": "disconnect", "mode": "gently"}, "close_frame"),
        ({"kind": "disconnect", "code": 1005}, "1005"),
        ({"kind": "new_symbol", "symbol": "BTCUSDT"}, "listed already"),
        ([], "kind"),
    ):
        answer = requests.post(url, json=request, timeout=30)
        assert answer.status_code == 400, request
        assert word in answer.json()["error"], answer.text
    assert requests.post(url, data=b"{", timeout=30).status_code == 400


def test_clear_removes_everything(exchange):
    stream = exchange.stream(DEPTH)
    depth_events(stream, 1)
    exchange.fault("gap", count=1000)
    exchange.fault("rest", count=1000)
    exchange.fault("refuse_connections", seconds=100)
    exchange.fault("stall", seconds=100, pongs=False)
    assert len(exchange.state()["faults"]) == 3
    exchange.fault("clear")
    assert exchange.state()["faults"] == []
    exchange.stream("/ws")
    depth_events(stream, 3)
