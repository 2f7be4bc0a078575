"""The server of the metrics page and the health, over real sockets."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import threading
import time

import pytest
import structlog

from binmon.errors import ConfigError
from binmon.status_server import StatusServer


class Running:
    """A server in a thread; what it serves can be exchanged."""

    def __init__(self) -> None:
        self.page, self.healthy, self.observed = b"# page\n", True, threading.Event()
        self.server = StatusServer(
            "status",
            "127.0.0.1:0",
            render=lambda: self.page,
            health=lambda: (self.healthy, {"ok": self.healthy}),
            observe=self.observed.set,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.server.run, args=(self.stop,))
        self.thread.start()

    def ask(self, method: str, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.server.address, timeout=20)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.server.address, timeout=20)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def running():
    one = Running()
    yield one
    one.end()


def test_the_page_and_the_health(running):
    answer, body = running.ask("GET", "/metrics?name=x")
    assert (answer.status, body) == (200, b"# page\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    answer, body = running.ask("GET", "/healthz")
    assert (answer.status, json.loads(body)) == (200, {"ok": True})
    assert answer.headers["Content-Type"] == "application/json"
    running.healthy = False
    answer, body = running.ask("GET", "/healthz")
    assert (answer.status, json.loads(body)) == (503, {"ok": False})
    answer, body = running.ask("HEAD", "/metrics")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, "7", b"")
    assert running.ask("GET", "/")[0].status == 404
    assert running.observed.wait(20)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_reading(running, method):
    answer, _ = running.ask(method, "/metrics")
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"


def test_an_answer_that_cannot_be_made_is_a_500_and_logged(running):
    running.healthy = float("nan")  # not JSON
    with structlog.testing.capture_logs() as lines:
        assert running.ask("GET", "/healthz")[0].status == 500
    assert [(line["event"], line["source"]) for line in lines] == [("metrics.failed", "/healthz")]
    assert running.ask("GET", "/metrics")[0].status == 200


def test_nonsense_and_too_much_of_it_harm_nobody(running):
    with running.connect() as garbage:
        garbage.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert b"400" in garbage.recv(4096)
    with running.connect() as endless, pytest.raises(OSError):
        for _ in range(10_000):
            endless.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
        raise ConnectionError("everything was taken")  # pragma: no cover
    assert running.ask("GET", "/metrics")[0].status == 200


def test_few_connections_at_once(running, monkeypatch):
    monkeypatch.setattr("binmon.status_server._REQUEST_WITHIN_S", 600.0)
    held = [running.connect() for _ in range(16)]
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        with running.connect() as one_more:
            one_more.settimeout(0.2)
            try:
                if one_more.recv(1) == b"":
                    break
            except TimeoutError:
                continue  # not all of the sixteen had been seen yet
    else:
        pytest.fail("a seventeenth connection was kept")
    for one in held:
        one.close()


def test_a_stop_does_not_wait_for_a_client(running, monkeypatch):
    monkeypatch.setattr("binmon.status_server._REQUEST_WITHIN_S", 600.0)
    with running.connect() as silent:
        assert running.ask("GET", "/metrics")[0].status == 200
        silent.sendall(b"GET /metr")
        running.end()
    with pytest.raises(OSError):
        running.connect()


def test_an_address_in_use_is_named_with_its_key(running):
    host, port = running.server.address
    for listen in (f"{host}:{port}", "127.0.0.1:99999", "no such host.invalid:1"):
        with pytest.raises(ConfigError, match=r"^metrics\.listen: .*expected an address") as caught:
            StatusServer("second", listen, render=bytes, health=lambda: (True, {}), observe=lambda: None)
        assert listen in str(caught.value)


def test_an_address_of_the_new_internet():
    try:
        server = StatusServer("six", "[::1]:0", render=bytes, health=lambda: (True, {}), observe=lambda: None)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    assert server.address[0] == "::1"
    server.close()


# the socket of a connection whose thread never began is the collector's
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_connections_for_which_there_was_no_thread_take_no_place(running, monkeypatch):
    start, refused = threading.Thread.start, []

    def refuse(thread):
        if len(refused) < 40 and "process_request" in thread.name:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    patience = time.monotonic() + 60
    while len(refused) < 40:
        assert time.monotonic() < patience
        with running.connect() as one:
            one.settimeout(10)
            try:
                assert one.recv(1) == b""
            except ConnectionResetError:
                pass  # as good
    assert running.ask("GET", "/metrics")[0].status == 200
    refused.clear()
    gc.collect()  # now, and not in whichever test comes then
