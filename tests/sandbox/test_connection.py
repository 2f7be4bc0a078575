"""Limits and timers of a single connection, over real sockets."""

import itertools
import json
import socket
import time

import pytest
import websocket


def close_code(stream, timeout=30):
    deadline = time.monotonic() + timeout
    while True:
        opcode, data = stream.frame(max(0.01, deadline - time.monotonic()))
        if opcode == 0x8:
            return int.from_bytes(data[:2], "big")


def test_answered_pings_keep_the_connection(start_exchange):
    exchange = start_exchange(ping_interval_s=0.25, pong_timeout_s=5)
    stream = exchange.stream("/ws")
    payloads = set()
    ended = time.monotonic() + 5.5  # longer than a pong may take
    while time.monotonic() < ended or len(payloads) < 6:
        opcode, data = stream.frame()
        assert opcode == 0x9
        payloads.add(data)
        stream.socket.pong(data)
    exchange.wait(lambda: exchange.state()["connections"][0]["pongs_received"] >= len(payloads))


@pytest.mark.parametrize("payload", [None, b"wrong"])
def test_missing_or_wrong_pong_cuts_the_connection(start_exchange, payload):
    exchange = start_exchange(ping_interval_s=0.4, pong_timeout_s=0.6)
    started = time.monotonic()
    stream = exchange.stream("/ws")
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        while True:
            stream.frame()
            if payload is not None:
                stream.socket.pong(payload)
    assert time.monotonic() - started > 0.9
    assert exchange.state()["counters"]["cut_without_pong"] == 1


def test_a_later_pong_answers_earlier_pings(start_exchange):
    exchange = start_exchange(ping_interval_s=0.2, pong_timeout_s=5)
    stream = exchange.stream("/ws")
    ended = time.monotonic() + 6  # the first pings would be overdue by then
    for number in itertools.count():
        data = stream.frame()[1]
        if number % 2:
            stream.socket.pong(data)
            if time.monotonic() > ended:
                break


def test_too_many_messages_are_punished(exchange):
    stream = exchange.stream("/ws")
    ping = websocket.ABNF.create_frame("x", websocket.ABNF.OPCODE_PING).format()
    ask = json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    text = websocket.ABNF.create_frame(ask, websocket.ABNF.OPCODE_TEXT).format()
    stream.socket.sock.sendall((ping + text) * 3)  # in one piece, so that they arrive within a second
    assert close_code(stream) == 1008


def test_five_messages_a_second_are_fine(exchange):
    stream = exchange.stream("/ws")
    for number in range(5):
        assert stream.ask(method="LIST_SUBSCRIPTIONS", id=number)["id"] == number
    time.sleep(1.05)
    assert stream.ask(method="LIST_SUBSCRIPTIONS", id=9)["id"] == 9


def test_life_ends_with_a_close_frame(start_exchange):
    exchange = start_exchange(life_s=0.5)
    started = time.monotonic()
    stream = exchange.stream("/ws")
    assert close_code(stream) == 1001
    assert time.monotonic() - started > 0.4


@pytest.mark.parametrize("path", ["/ws", "/stream"])
def test_life_may_be_announced_before_it_ends(start_exchange, path):
    exchange = start_exchange(life_s=0.8, life_notice_s=0.5)
    stream = exchange.stream(path)
    notice = stream.event()
    assert notice.get("stream") == (None if path == "/ws" else "!serverShutdown")
    assert notice.get("data", notice)["e"] == "serverShutdown"
    assert close_code(stream) == 1001


def test_without_notice_nothing_is_announced(start_exchange):
    exchange = start_exchange(life_s=0.5)
    stream = exchange.stream("/ws")
    assert stream.frame()[0] == 0x8


def test_a_client_that_does_not_answer_the_close_is_cut(start_exchange):
    exchange = start_exchange(life_s=0.3)
    stream = exchange.stream("/ws")
    assert stream.frame()[0] == 0x8
    assert stream.socket.sock.recv(100) == b""
    exchange.wait(lambda: not exchange.state()["connections"])


def test_client_close_is_answered(exchange):
    stream = exchange.stream("/ws")
    stream.socket.send_close(1000, b"bye")
    assert close_code(stream) == 1000
    assert stream.socket.sock.recv(10) == b""


def test_a_client_that_does_not_read_is_cut_and_nobody_else_suffers(start_exchange):
    exchange = start_exchange(rate=2000.0, backlog_bytes=300_000)  # on a loaded machine a reader lags, too
    names = "/".join(f"btcusdt@{kind}" for kind in ("depth20@100ms", "depth@100ms", "bookTicker", "trade"))
    lazy = websocket.create_connection(
        exchange.sandbox.stream_url + f"/stream?streams={names}",
        sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)],
    )
    good = exchange.stream(f"/stream?streams={names}")
    last, events = None, 0
    deadline = time.monotonic() + 90
    while "slow_clients_cut" not in exchange.state()["counters"]:
        assert time.monotonic() < deadline
        for _ in range(200):
            message = good.event()
            if message["stream"].endswith("depth@100ms"):
                assert last is None or message["data"]["U"] == last + 1
                last, events = message["data"]["u"], events + 1
    assert events > 5
    # Counted first, ended a moment later by its own thread.
    exchange.wait(lambda: len(exchange.state()["connections"]) == 1)
    lazy.shutdown()


def test_too_many_streams_in_the_url(start_exchange):
    exchange = start_exchange(max_streams=3)
    stream = exchange.stream("/stream?streams=a/b/c/d")
    assert close_code(stream) == 1008


def test_thousand_streams_in_one_url(exchange):
    names = "/".join(f"symbol{number}usdt@depth@100ms" for number in range(1023))
    stream = exchange.stream(f"/stream?streams={names}/btcusdt@depth@100ms")
    assert stream.event()["data"]["s"] == "BTCUSDT"
