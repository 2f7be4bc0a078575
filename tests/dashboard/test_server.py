"""What the web server itself answers: sizes, broken requests, ports."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.dashboard.page_worker import PageFailed, PageWorker
from binmon.dashboard.server import DashboardServer
from binmon.errors import ConfigError, RetryError
from tests.dashboard.site import Browser, Site, until
from tests.ports import held_port

TCP_CLOSE = 7  # tcp_states.h


def said(site: Site, request: bytes) -> bytes:
    """What a plain socket gets to hear until the end of the connection."""
    with socket.create_connection(site.server.address, timeout=60) as connection:
        connection.sendall(request)
        parts = []
        while True:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("path", ["/login", "/logout", "/api/settings", "/api/tokens", "/nothing"])
def test_a_form_of_ten_megabytes(site: Site, path: str) -> None:
    for browser in (site.browser(None), site.browser()):
        answer = browser.post(
            path, data=b"csrf=" + b"x" * 10_000_000, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code == 413, "whoever sends it"
        assert "expected at most 65536 bytes" in answer.text
        assert "Content-Security-Policy" in answer.headers
    assert site.browser().get("/").status_code == 200


def test_a_form_in_chunks_without_end(site: Site) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    answer = said(site, head + chunk * 20 + b"0\r\n\r\n")
    assert b" 413 " in answer.split(b"\r\n")[0]


def test_what_is_announced_as_huge_is_cut_off(site: Site) -> None:
    answer = said(site, b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"Content-Security-Policy" in answer


@pytest.mark.parametrize(
    "request_text",
    [
        b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)  # fmt: skip
def test_broken_requests_are_answered_and_forgotten(site: Site, request_text: bytes) -> None:
    with socket.create_connection(site.server.address, timeout=60) as connection:
        connection.sendall(request_text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            answer += part
    if answer:
        head = answer.split(b"\r\n\r\n")[0]
        assert b"Content-Security-Policy" in head
        assert b"Traceback" not in answer
        assert int(head.split()[1]) in (303, 400, 401, 413, 431, 501)
    assert site.browser(None).get("/login").status_code == 200


def test_requests_one_after_the_other_on_one_connection_and_then_a_stream(site: Site) -> None:
    token = site.token()["Authorization"]
    lines = f"Host: localhost\r\nAuthorization: {token}\r\n\r\n"
    with socket.create_connection(site.server.address, timeout=60) as connection:
        file = connection.makefile("rb")
        for _ in range(2):
            connection.sendall(f"GET /api/tops HTTP/1.1\r\n{lines}".encode())
            assert b" 200 " in file.readline()
            length = 0
            while line := file.readline().strip():
                if line.lower().startswith(b"content-length"):
                    length = int(line.split()[1])
            file.read(length)
        connection.sendall(f"GET /api/stream?topics=alerts HTTP/1.1\r\n{lines}".encode())
        assert b" 200 " in file.readline()
        while file.readline().strip():
            pass
        assert file.readline().startswith(b"id: ")
        file.close()


def test_many_connections_that_say_nothing_keep_nobody_out(site: Site) -> None:
    silent = [socket.create_connection(site.server.address, timeout=60) for _ in range(100)]
    for one in silent[:50]:
        one.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
    assert site.browser().get("/").status_code == 200
    for one in silent:
        one.close()


def deaf(address: tuple[str, int], requests: bytes) -> socket.socket:
    """A client that asks and then reads nothing."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(address)
    with contextlib.suppress(ConnectionError):  # it may be cut off meanwhile
        made.sendall(requests)
    return made


def is_cut_off(connection: socket.socket) -> bool:
    """Whether the kernel has heard that this connection is over."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == bytes([TCP_CLOSE])


def test_clients_that_ask_without_end_and_read_nothing_keep_nobody_out(site: Site) -> None:
    wanted = b"GET /static/x/vendor/lightweight-charts.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    silent = [deaf(site.server.address, wanted * 400) for _ in range(10)]
    assert site.browser(None).get("/login", timeout=60).status_code == 200
    until(lambda: all(is_cut_off(one) for one in silent), within_s=60)
    for one in silent:
        one.close()


def test_three_requests_at_once_are_answered(site: Site) -> None:
    wanted = b"GET /login HTTP/1.1\r\nHost: localhost\r\n"
    answers = said(site, (wanted + b"\r\n") * 2 + wanted + b"Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 3


def test_clients_that_take_nothing_of_a_long_answer_keep_nobody_out(site: Site) -> None:
    """More than the web server buffers, so that a thread waits for each until it is dropped."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/long":
            return site.app(environ, start)
        start("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * (1 << 20) for _ in range(40))

    server = DashboardServer("server", "127.0.0.1:0", application, stuck_s=5.0)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        long = b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n"
        silent = [deaf(server.address, long) for _ in range(10)]
        assert Browser(server.url).get("/login", timeout=60).status_code == 200
        until(lambda: all(is_cut_off(one) for one in silent), within_s=60)
        with socket.create_connection(server.address, timeout=60) as reads:
            reads.sendall(long.replace(b"HTTP/1.1", b"HTTP/1.0"))
            taken = 0
            while part := reads.recv(1 << 20):
                taken += len(part)
                threading.Event().wait(0.15)  # in all longer than the limit: who reads slowly is not dropped
        assert taken > 40 << 20
        for one in silent:
            one.close()
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


# The worker -----------------------------------------------------------------------------------------------------------


def nothing(environ: object, start: Callable[..., object]) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]


@pytest.mark.parametrize("listen", ["127.0.0.1:99999", "nowhere.invalid:1", "256.1.1.1:80"])
def test_an_address_that_cannot_be_had(listen: str) -> None:
    with pytest.raises(ConfigError, match="expected an address to listen at") as caught:
        DashboardServer("server", listen, nothing)
    assert caught.value.key == "dashboard.listen"


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127.0.0.1:{port}: .*in use"):
            DashboardServer("server", f"127.0.0.1:{port}", nothing)


def can_connect(server: DashboardServer) -> bool:
    """Whether it listens."""
    with socket.socket() as attempt:
        return attempt.connect_ex(server.address) == 0


def test_it_serves_again_after_a_failure() -> None:
    server = DashboardServer("server", "127.0.0.1:0", nothing)
    for _ in range(2):
        stop = threading.Event()
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        until(lambda: can_connect(server))
        with socket.create_connection(server.address, timeout=60) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"here" in connection.makefile("rb").read()
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
    assert not can_connect(server)


def test_a_server_that_never_runs_gives_its_port_back() -> None:
    with held_port() as port:
        server = DashboardServer("server", f"127.0.0.1:{port}", nothing)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(server.address).close()
        server.close()
        with socket.create_server(server.address):
            assert server.url == f"http://127.0.0.1:{port}"


class Broken(PageWorker):
    """Fails with what it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__("broken")
        self.error = error

    def serve(self, stop: threading.Event) -> None:
        raise self.error


def test_no_failure_of_the_page_ends_the_daemon() -> None:
    with capture_logs() as lines, pytest.raises(RetryError):
        Broken(ZeroDivisionError("x")).run(threading.Event())
    assert [(line["event"], line["source"]) for line in lines] == [("dashboard.failed", "broken")]
    again = PageFailed("broken", "before")
    with pytest.raises(PageFailed) as caught:
        Broken(again).run(threading.Event())
    assert caught.value is again
