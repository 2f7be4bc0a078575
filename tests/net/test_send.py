"""Signed requests: the exact bytes on the wire, when they leave, and what a failure says of what has happened."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import pathlib
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
import responses

from binmon.errors import Banned, BinmonError, NotSent, RateLimited, RequestRefused, VenueFailed, VenueUnreachable
from binmon.messages import Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import Letter, RestSession
from tests.ports import held_port

MID = 1_800_000_030.0
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
QUERY = f"symbol=%E5%B8%81USDT&note=a%2Bb%2Fc-d~e&timestamp=1499827319559&signature={SIGNATURE}"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Wire:
    """A server that keeps every byte it gets, and answers what it is told; one connection after the other."""

    def __init__(self, encryption: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.handshake_after_s = 0.0
        self.closed = threading.Event()
        self.answer: bytes | Callable[[socket.socket], None] = GOOD
        self.departed_before: list[bool] = []
        self.departures: list[tuple[int, int]] = []
        self._encryption = encryption
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with contextlib.suppress(OSError), contextlib.ExitStack() as open_sockets:
                open_sockets.enter_context(connection)
                if self._encryption is not None:
                    self._stop.wait(self.handshake_after_s)
                    connection = self._encryption.wrap_socket(connection, server_side=True)
                    open_sockets.enter_context(connection)
                self.connections += 1
                connection.settimeout(0.05)
                self._converse(connection)
            self.closed.set()

    def _converse(self, connection: socket.socket) -> None:
        received = b""
        while not self._stop.is_set():
            try:
                more = connection.recv(65536)
            except TimeoutError:
                continue
            if not more:
                return
            self.departed_before.append(bool(self.departures))
            received += more
            head, end, body = received.partition(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                           if line.startswith(b"content-length:")), 0)  # fmt: skip
            if not end or len(body) < length:
                continue
            self.requests.append(received)
            received = b""
            if callable(self.answer):
                self.answer(connection)
                return
            connection.sendall(self.answer)


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    yield server
    server.close()


def session(base: str, **options: object) -> RestSession:
    ledger = RateLedger("binance", clock=lambda: MID, max_wait_s=1.0)
    return RestSession("binance", base, ledger, **options)


def send(rest: RestSession, method: str = "POST", query: str | Callable[[], str] = QUERY, **options) -> bytes:
    given = {"headers": {"X-MBX-APIKEY": KEY}, "hidden": (KEY,), "stop": threading.Event(), **options}
    stop = given.pop("stop")
    return rest.send(method, "/api/v3/order", query, 1, Priority.ORDER, stop, **given)


def base(wire: Wire) -> str:
    return f"http://127.0.0.1:{wire.port}"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_form_leaves_in_the_body_byte_for_byte(wire: Wire, method: str) -> None:
    assert send(session(base(wire)), method) == b"{}"
    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"{method} /api/v3/order HTTP/1.1\r\n".encode()) and body == QUERY.encode()
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/x-www-form-urlencoded" in lines
    assert b"content-length: %d" % len(body) in lines and b"x-mbx-apikey: " + KEY.lower().encode() in lines
    assert KEY.encode() in head  # as it is, not in lower case


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_else_the_query_is_in_the_address_byte_for_byte(wire: Wire, method: str) -> None:
    # %2D and %7E need no escape, and libraries like to take them back
    query = QUERY.replace("c-d~e", "c%2Dd%7Ee")
    rest = session(base(wire))
    send(rest, method, query)
    send(rest, method, "")
    lines = [request.split(b"\r\n")[0] for request in wire.requests]
    assert lines == [
        f"{method} /api/v3/order?{query} HTTP/1.1".encode(),
        f"{method} /api/v3/order HTTP/1.1".encode(),
    ]
    assert wire.connections == 1


def test_what_was_signed_is_what_arrives(wire: Wire) -> None:
    secret = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    rest = session(base(wire))
    for method in ("GET", "POST"):
        query = "symbol=%EF%BC%91%EF%BC%92&side=BUY&x=%20%2B%26&timestamp=1499827319559"
        send(rest, method, f"{query}&signature={hmac.digest(secret, query.encode(), 'sha256').hex()}")
        head, _, body = wire.requests[-1].partition(b"\r\n\r\n")
        raw = body or head.split(b" ")[1].partition(b"?")[2]
        payload, _, signature = raw.rpartition(b"&signature=")
        assert hmac.new(secret, payload, hashlib.sha256).hexdigest().encode() == signature


@pytest.mark.parametrize("query", ["symbol=币", "a=b c", "a=%e5", "a=%", "a=<b>", "a=b#c", 'a="b"', "a=b\r\n", "a={}"])
def test_a_query_that_would_be_rewritten_is_refused(wire: Wire, query: str) -> None:
    rest = session(base(wire))
    for method in ("GET", "POST"):
        with pytest.raises(ValueError, match="encode it first"):
            send(rest, method, query)
    assert not wire.connections and rest._ledger.status(MID).in_flight == 0


def test_the_query_is_made_when_the_wait_is_over(wire: Wire) -> None:
    rest = session(base(wire))
    ledger = rest._ledger
    made_with = []

    def query() -> str:
        made_with.append(ledger.status(MID).in_flight)
        return QUERY

    send(rest, query=query)
    assert made_with == [1]
    ledger.limited(0.5, MID)
    with pytest.raises(RateLimited) as caught:
        send(rest, query=query, max_wait_s=0.4)
    assert caught.value.retry_after_s == 0.5 and made_with == [1] and len(wire.requests) == 1


def test_a_query_that_cannot_be_made_costs_no_reservation(wire: Wire) -> None:
    rest = session(base(wire))
    with pytest.raises(ZeroDivisionError):
        send(rest, query=lambda: str(1 // 0))
    assert rest._ledger.status(MID).in_flight == 0 and not wire.connections


# -- departure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_departure_is_told_once_before_the_first_byte(wire: Wire, method: str) -> None:
    rest = session(base(wire))
    for number in (1, 2):
        wire.departed_before.clear()
        before_ns, before_mono_ns = time.time_ns(), time.monotonic_ns()
        send(rest, method, departure=lambda ns, mono_ns: wire.departures.append((ns, mono_ns)))
        after_ns, after_mono_ns = time.time_ns(), time.monotonic_ns()
        assert len(wire.departures) == number and all(wire.departed_before)
        sent_ns, sent_mono_ns = wire.departures[-1]
        assert before_ns <= sent_ns <= after_ns and before_mono_ns <= sent_mono_ns <= after_mono_ns
    assert wire.connections == 1


def test_departure_is_after_the_handshake() -> None:
    certificate = pathlib.Path(__file__).parent / "tls" / "localhost.pem"
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.load_cert_chain(certificate)
    wire = Wire(encryption)
    try:
        rest = session(f"https://127.0.0.1:{wire.port}")
        sent: list[int] = []
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            send(rest, departure=lambda ns, mono_ns: sent.append(mono_ns))
        assert not sent
        rest._of_this_thread()[0].verify = str(certificate)
        wire.handshake_after_s = 0.3
        began_mono_ns = time.monotonic_ns()
        send(rest, departure=lambda ns, mono_ns: sent.append(mono_ns))
        assert len(sent) == 1 and sent[0] - began_mono_ns >= 0.3e9 and len(wire.requests) == 1
        rest.close()
    finally:
        wire.close()


def test_what_departure_raises_keeps_the_request_back(wire: Wire) -> None:
    rest = session(base(wire))

    def departure(sent_ns: int, sent_mono_ns: int) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        send(rest, departure=departure)
    assert send(rest) == b"{}" and len(wire.requests) == 1


def test_a_stop_before_departure_keeps_the_request_back(wire: Wire) -> None:
    rest, stop = session(base(wire)), threading.Event()
    told = []

    def query() -> str:
        stop.set()  # while the request is made
        return QUERY

    with pytest.raises(NotSent, match="told to stop"):
        send(rest, query=query, stop=stop, departure=lambda *when: told.append(when))
    assert not told and not wire.requests


def test_a_connection_that_the_venue_has_closed_is_not_used(wire: Wire) -> None:
    rest = session(base(wire))
    wire.answer = ends(GOOD)
    for number in (1, 2):
        assert send(rest, departure=lambda *when: wire.departures.append(when)) == b"{}"
        assert wire.closed.wait(20)
        wire.closed.clear()
        assert len(wire.departures) == len(wire.requests) == wire.connections == number


# -- failures -------------------------------------------------------------------------------------------------------


def shown(error: BaseException) -> str:
    """All that anybody could print of an error and of what it was raised from."""
    parts, pending = [], [error]
    while pending:
        one = pending.pop()
        parts += [str(one), repr(one), repr(one.args), *traceback.format_exception(one)]
        pending += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "\n".join(parts)


def failure(
    wire: Wire, answer: bytes | Callable[[socket.socket], None], method: str = "POST", **options
) -> BinmonError:
    wire.answer = answer
    rest = session(base(wire), read_timeout_s=0.4 if answer is silent else 30.0, total_timeout_s=60.0)
    with pytest.raises(BinmonError) as caught:
        send(rest, method, **options)
    assert rest._ledger.status(MID).in_flight == 0 and rest._ledger.used == 1
    assert SIGNATURE not in shown(caught.value) and KEY not in shown(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    rest.close()
    assert len(wire.requests) == 1  # sent once
    return caught.value


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def silent(connection: socket.socket) -> None:
    with contextlib.suppress(TimeoutError):
        connection.settimeout(60.0)
        connection.recv(1)


def ends(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


ECHO = f'<p>{QUERY} {KEY} "signature":"{SIGNATURE}"</p>'.encode()


def test_the_library_logs_no_query(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failure(wire, ends(b"HTTP/1.1 200 OK\r\nConte"), "GET")
    assert len(caplog.records) >= 2 and "Failed to parse headers" in caplog.text and "/api/v3/order?***" in caplog.text
    assert SIGNATURE not in caplog.text and "symbol=" not in caplog.text


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reset, VenueUnreachable),
        (silent, VenueUnreachable),
        (ends(b""), VenueUnreachable),
        (ends(b"hello\r\n\r\n"), VenueUnreachable),
        (ends(b"HTTP/1.1 200 OK\r\nConte"), VenueFailed),
        (ends(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a"'), VenueFailed),
        (ends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\r\n"), VenueFailed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ECHO), ECHO), VenueFailed),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(ECHO), ECHO), VenueFailed),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", VenueFailed),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", VenueFailed),
    ],
)
def test_possibly_executed(wire: Wire, answer, kind: type, method: str) -> None:
    error = failure(wire, answer, method)
    assert type(error) is kind and not isinstance(error, NotSent)


def test_refused_with_an_echo(wire: Wire) -> None:
    error = failure(wire, b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(ECHO), ECHO))
    assert isinstance(error, RequestRefused) and error.url == f"{base(wire)}/api/v3/order" and "***" in error.message


def test_an_escaped_signature_is_not_shown_either(wire: Wire) -> None:
    for echoed in (b"ab%2Bcd%3D", b"ab+cd="):
        wire.requests.clear()
        answer = b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(echoed) + 4, b"of: " + echoed)
        error = failure(wire, answer, query="a=1&signature=ab%2Bcd%3D")
        assert isinstance(error, RequestRefused) and error.message == "of: ***"


def test_certainly_not_sent() -> None:
    told = []
    with held_port() as port, pytest.raises(NotSent) as caught:
        rest = session(f"http://127.0.0.1:{port}")
        send(rest, "DELETE", departure=lambda *when: told.append(when))
    assert not told and "Connection refused" in str(caught.value)
    assert SIGNATURE not in shown(caught.value) and KEY not in shown(caught.value)
    with pytest.raises(NotSent):
        send(session("http://no-such-host.invalid"), "DELETE")


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (418, Banned), (403, RateLimited), (400, RequestRefused)]
)
def test_certainly_not_executed(wire: Wire, status: int, kind: type) -> None:
    body = b'{"code":-1003,"msg":"no"}'
    assert type(failure(wire, b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))) is kind


# -- the ledger -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "free", "header", "used"),
    [
        (200, True, None, 0),
        (200, True, "700", 700),
        (200, False, None, 1),
        (400, True, None, 1),
        (503, True, None, 1),
    ],
)
def test_weight_of_what_is_free_on_success(status: int, free: bool, header: str | None, used: int) -> None:
    rest = session("http://venue.test")
    headers = {} if header is None else {"X-MBX-USED-WEIGHT-1M": header}
    with responses.RequestsMock() as canned:
        canned.post("http://venue.test/api/v3/order", status=status, json={"code": -1, "msg": "x"}, headers=headers)
        with contextlib.suppress(RequestRefused, VenueFailed):
            send(rest, free_on_success=free)
    assert rest._ledger.used == used and rest._ledger.status(MID).in_flight == 0


def test_too_many_orders_block_orders_alone() -> None:
    rest = session("http://venue.test")
    with responses.RequestsMock() as canned:
        canned.post(
            "http://venue.test/api/v3/order",
            status=429,
            json={"code": -1015, "msg": "Too many new orders; current limit is 50 orders per 10 SECOND."},
            headers={"Retry-After": "7"},
        )
        with pytest.raises(RateLimited) as caught:
            send(rest)
        assert (caught.value.scope, caught.value.retry_after_s) == ("ORDERS", 7.0)
        canned.get("http://venue.test/api/v3/depth", body=b"{}")
        assert rest.get("/api/v3/depth", {}, 5, Priority.RESYNC, threading.Event()) == b"{}"
    assert rest._ledger.order_room(MID) == 7.0 and rest._ledger.order_room(MID + 7) == 0.0


def test_a_letter_leaves_as_it_is(wire: Wire) -> None:
    body = b'{"qty":"25","symbol":"BTCUSDT"}'
    send(session(base(wire)), "POST", lambda: Letter(body=body, headers={"X-SIGN": "a"}))
    head, _, left = wire.requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /api/v3/order HTTP/1.1\r\n") and left == body
    assert b"content-type: application/json" in lines and b"x-sign: a" in lines


def test_a_letter_without_a_body_has_none(wire: Wire) -> None:
    send(session(base(wire)), "GET", lambda: Letter("symbol=%E5%B8%81&cursor=a%3A1", headers={"X-SIGN": "a"}))
    head, _, left = wire.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"GET /api/v3/order?symbol=%E5%B8%81&cursor=a%3A1 HTTP/1.1\r\n") and not left
    assert b"content-type" not in head.lower() and b"content-length" not in head.lower()


def test_headers_of_an_answer_are_told_whatever_its_status(wire: Wire) -> None:
    told: list[str] = []
    rest = session(base(wire))
    wire.answer = b"HTTP/1.1 200 OK\r\nX-Left: 7\r\nContent-Length: 2\r\n\r\n{}"
    send(rest, heard=lambda headers: told.append(headers["x-left"]))
    wire.answer = b"HTTP/1.1 400 Bad\r\nX-Left: 6\r\nContent-Length: 2\r\n\r\n{}"
    with pytest.raises(RequestRefused):
        send(rest, heard=lambda headers: told.append(headers["x-left"]))
    assert told == ["7", "6"]
