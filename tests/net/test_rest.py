"""The mapping of answers to errors, with canned answers and with a real server that misbehaves."""

import contextlib
import http.server
import json
import pathlib
import ssl
import threading
import time

import msgspec
import pytest
import requests
import responses

from binmon.errors import Banned, BinmonError, RateLimited, RequestRefused, VenueFailed, VenueUnreachable
from binmon.messages import Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import Refusals, RestSession

BASE = "http://venue.test"
MID = 1_800_000_030.0


def session(base=BASE, **options):
    return RestSession("binance", base, RateLedger("binance", clock=lambda: MID, max_wait_s=1.0), **options)


def ask(rest, path="/api/v3/depth", params=None, weight=5):
    return rest.get(path, params or {}, weight, Priority.RESYNC, threading.Event())


def refused_with(status, **answer):
    """(error, ledger) of one GET answered so."""
    rest = session()
    with responses.RequestsMock() as canned:
        canned.get(f"{BASE}/api/v3/depth", status=status, **answer)
        with pytest.raises(BinmonError) as caught:
            ask(rest)
    return caught.value, rest._ledger


def test_a_good_answer():
    rest = session(f"{BASE}/", headers={"X-MBX-APIKEY": "key"})
    with responses.RequestsMock() as canned:
        canned.get(f"{BASE}/api/v3/depth", body=b' {"lastUpdateId":1}', headers={"X-MBX-USED-WEIGHT-1M": "777"})
        assert ask(rest, params={"symbol": "币安人生USDT", "limit": "10"}) == b' {"lastUpdateId":1}'
        request = canned.calls[0].request
    assert request.params == {"symbol": "币安人生USDT", "limit": "10"}
    assert request.headers["X-MBX-APIKEY"] == "key"
    assert rest._ledger.used == 777
    rest.close()


def test_weight_is_counted_without_a_header_and_after_a_failure():
    rest = session()
    with responses.RequestsMock() as canned:
        canned.get(f"{BASE}/api/v3/depth", body=b"[]", headers={"X-MBX-USED-WEIGHT-1M": "many"})
        ask(rest, weight=5)
        canned.get(f"{BASE}/api/v3/time", body=requests.ConnectionError("no route\nat all"))
        with pytest.raises(VenueUnreachable, match=r"no route$"):
            ask(rest, "/api/v3/time", weight=7)
    assert rest._ledger.used == 12


@pytest.mark.parametrize(
    ("headers", "body", "scope", "wait_s"),
    [
        ({"Retry-After": "17"}, {"code": -1003, "msg": "Too much request weight used"}, "REQUEST_WEIGHT", 17.0),
        ({}, {"code": -1003, "msg": "Too much request weight used"}, "REQUEST_WEIGHT", 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, "REQUEST_WEIGHT", 60.0),
        ({"Retry-After": "-5"}, {}, "REQUEST_WEIGHT", 60.0),
        ({"Retry-After": "nan"}, {}, "REQUEST_WEIGHT", 60.0),
        ({"Retry-After": "3"}, {"code": -1015, "msg": "Too many new orders"}, "ORDERS", 3.0),
    ],
)
def test_429(headers, body, scope, wait_s):
    error, ledger = refused_with(429, json=body, headers=headers)
    assert isinstance(error, RateLimited)
    assert (error.scope, error.retry_after_s) == (scope, wait_s)
    # too many orders are no reason to stop asking for books
    assert ledger.blocked_until == (0.0 if scope == "ORDERS" else MID + wait_s)
    assert ledger.order_room(MID) == (wait_s if scope == "ORDERS" else 0.0)


def test_418_and_nothing_is_sent_afterwards():
    rest = session()
    with responses.RequestsMock() as canned:
        canned.get(
            f"{BASE}/api/v3/depth", status=418, json={"code": -1003, "msg": "banned"}, headers={"Retry-After": "300"}
        )
        for _ in range(3):
            with pytest.raises(Banned) as caught:
                ask(rest)
            assert caught.value.retry_after_s == pytest.approx(300.0)
        assert len(canned.calls) == 1
    assert rest._ledger.ban_until_ms == (MID + 300) * 1000
    assert refused_with(418, body=b"")[0].retry_after_s == 120.0


def test_403_is_the_firewall():
    error, ledger = refused_with(403, body="<html>Forbidden</html>")
    assert isinstance(error, RateLimited)
    assert (error.scope, error.retry_after_s) == ("WAF", 120.0)
    assert ledger.blocked_until == MID + 120


@pytest.mark.parametrize("status", [500, 502, 503, 504, 301, 204])
def test_server_errors_and_other_non_answers(status):
    error, _ = refused_with(status, body="<html>\n <b>busy</b></html>", headers={"Location": "http://elsewhere.test/"})
    assert isinstance(error, VenueFailed)
    assert error.status == status and error.url == f"{BASE}/api/v3/depth"
    if status >= 500:
        assert error.reason == "<html> <b>busy</b></html>"


def test_other_4xx_are_refusals():
    error, _ = refused_with(400, json={"code": -1121, "msg": "Invalid symbol."})
    assert isinstance(error, RequestRefused)
    assert (error.status, error.code, error.message) == (400, -1121, "Invalid symbol.")
    error, _ = refused_with(410, body="<html>" + "gone " * 200)
    assert (error.status, error.code, len(error.message)) == (410, None, 200)
    assert refused_with(404, body="[]")[0].message == "[]"
    assert refused_with(404, body="")[0].message == "empty"


@pytest.mark.parametrize("body", ["<!DOCTYPE html><p>maintenance", "", "  ", "\ufeffhello"])
def test_a_200_that_is_not_json(body):
    error, _ = refused_with(200, body=body)
    assert isinstance(error, VenueFailed)
    assert error.status == 200


def test_a_body_shorter_than_promised():
    error, _ = refused_with(
        200, body=b'{"a":1}', headers={"Content-Length": "100"}, auto_calculate_content_length=False
    )
    assert isinstance(error, VenueFailed)


def test_a_body_shorter_than_promised_when_the_library_does_not_count():
    """As with urllib3 before 2.0, which requests may still bring."""
    answer = requests.Response()
    answer.status_code, answer._content = 200, b'{"a":1}'
    answer.headers["Content-Length"] = "8"
    with pytest.raises(VenueFailed, match="7 of 8"):
        session()._body(BASE, answer)
    answer.headers["Content-Encoding"] = "gzip"
    assert session()._body(BASE, answer) == b'{"a":1}'


@pytest.mark.parametrize(
    "raised",
    [
        requests.ReadTimeout("slow"),
        requests.ConnectTimeout("slow"),
        requests.exceptions.SSLError("bad"),
        ConnectionResetError("x"),
    ],
)
def test_network_errors(raised):
    error, _ = refused_with(200, body=raised)
    assert isinstance(error, VenueUnreachable)
    assert error.__cause__ is raised


def test_get_json():
    rest = session()
    decode = msgspec.json.Decoder(dict[str, int]).decode
    with responses.RequestsMock() as canned:
        canned.get(f"{BASE}/a", body=b'{"b":1}')
        assert rest.get_json("/a", {}, 1, Priority.AUDIT, threading.Event(), decode) == {"b": 1}
        for body in (b'{"b":', b'{"b":"c"}', b'{"b":1} x', b'{"\xff":1}'):
            canned.replace("GET", f"{BASE}/a", body=body)
            with pytest.raises(VenueFailed, match="unreadable"):
                rest.get_json("/a", {}, 1, Priority.AUDIT, threading.Event(), decode)
            with pytest.raises(VenueFailed, match="unreadable"):
                rest.get_json(
                    "/a",
                    {},
                    1,
                    Priority.AUDIT,
                    threading.Event(),
                    lambda text: json.loads(text)["b"] / 1 if text != b'{"b":"c"}' else int("c"),
                )


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def venue():
    """A real server whose behaviour is its path; ``venue.seen`` holds who asked."""
    with serve() as server:
        yield server


@contextlib.contextmanager
def serve(encryption=None):
    seen = []
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *ignored):
            pass

        def raw(self, *parts):
            for part in parts:
                self.wfile.write(part)
            self.wfile.flush()
            self.close_connection = True

        def do_GET(self):
            seen.append((self.client_address[1], self.path))
            match self.path:
                case "/good":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                case "/short":
                    self.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"bids":[')
                case "/chunks":
                    self.raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"bids":[\r\n5\r\n[1')
                case "/gzip":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd")
                case "/stalls":
                    self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"bi')
                    self.wfile.flush()
                    release.wait(60)
                    self.close_connection = True
                case "/drips":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[")
                    while not release.wait(0.02):
                        self.wfile.write(b" ")
                    self.close_connection = True
                case "/drips-head":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not release.wait(0.02):
                        self.wfile.write(b"X-A: b\r\n")
                    self.close_connection = True
                case "/slow":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
                    for part in (b"[1,2,3,4,5", b",6,7,8,9]\n"):
                        release.wait(0.25)  # longer than one turn of reading
                        self.wfile.write(part)
                case "/silent":
                    release.wait(60)
                    self.close_connection = True
                case "/nothing":
                    self.close_connection = True
                case "/nonsense":
                    self.raw(b"hello\r\n\r\n")

    server = Server(("127.0.0.1", 0), Handler)
    if encryption is not None:
        server.socket = encryption.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    server.seen, server.base = seen, f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield server
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/short", VenueFailed),
        ("/chunks", VenueFailed),
        ("/gzip", VenueFailed),
        ("/stalls", VenueUnreachable),
        ("/silent", VenueUnreachable),
        ("/nothing", VenueUnreachable),
        ("/nonsense", VenueUnreachable),
    ],
)
def test_a_real_server_that_breaks_off(venue, path, expected):
    rest = session(venue.base, read_timeout_s=0.3 if path in ("/stalls", "/silent") else 30.0)
    began = time.monotonic()
    with pytest.raises(expected):
        ask(rest, path)
    assert time.monotonic() - began < 25.0
    assert [seen for _, seen in venue.seen] == [path]  # no retry behind our back
    assert rest._ledger.used == 5
    rest._timeouts_s = (30.0, 30.0)
    assert ask(rest, "/good") == b"{}"
    rest.close()


@pytest.mark.parametrize("path", ["/drips", "/silent", "/stalls"])
def test_a_whole_answer_has_a_deadline(venue, path):
    rest = session(venue.base, total_timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(VenueUnreachable, match=r"no whole answer within 0\.5 s"):
        ask(rest, path)
    assert time.monotonic() - began >= 0.5
    assert rest._ledger.status(MID).in_flight == 0 and rest._ledger.used == 5
    rest._total_timeout_s = 30.0
    assert ask(rest, "/good") == b"{}"
    rest.close()


@pytest.mark.parametrize("path", ["/drips", "/silent", "/drips-head"])
def test_a_stop_ends_the_reading(venue, path):
    rest, stop = session(venue.base, read_timeout_s=100.0, total_timeout_s=100.0), threading.Event()
    failed = []

    def get():
        with pytest.raises(VenueUnreachable) as caught:
            rest.get(path, {}, 5, Priority.RESYNC, stop)
        failed.append(str(caught.value))

    thread = threading.Thread(target=get)
    thread.start()
    patience = time.monotonic() + 30
    while not venue.seen:
        assert time.monotonic() < patience
        stop.wait(0.01)
    stop.set()
    thread.join(50)
    assert not thread.is_alive()
    # a head of too many lines may end by itself while the machine is busy
    assert failed and ("told to stop" in failed[0] or path == "/drips-head")
    rest.close()


def test_an_answer_that_pauses_is_read_and_its_connection_kept(venue):
    rest = session(venue.base)
    for _ in range(2):
        assert ask(rest, "/slow") == b"[1,2,3,4,5,6,7,8,9]\n"
    assert len({port for port, _ in venue.seen}) == 1
    rest.close()


def test_tls_and_a_certificate_that_nobody_vouches_for():
    certificate = pathlib.Path(__file__).parent / "tls" / "localhost.pem"
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.load_cert_chain(certificate)
    with serve(encryption) as venue:
        url = venue.base.replace("http://", "https://")
        rest = session(url)
        rest._of_this_thread()[0].verify = str(certificate)
        assert ask(rest, "/good") == b"{}" == ask(rest, "/good")
        assert len({port for port, _ in venue.seen}) == 1
        rest._total_timeout_s = 0.6
        with pytest.raises(VenueUnreachable, match="no whole answer"):
            ask(rest, "/drips")
        rest._total_timeout_s = 30.0
        assert ask(rest, "/good") == b"{}"
        rest.close()
        with pytest.raises(VenueUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            ask(session(url), "/good")


def test_order_counts_go_to_the_ledger():
    rest = session()
    rest._ledger.set_limits(orders={"10S": 50, "1D": 160_000})
    headers = {"X-MBX-ORDER-COUNT-10S": "3", "x-mbx-order-count-1d": "77", "X-MBX-ORDER-COUNT-1H": "what"}
    with responses.RequestsMock() as canned:
        canned.get(f"{BASE}/a", body=b"[]", headers=headers)
        ask(rest, "/a")
    assert {name: one.used for name, one in rest._ledger.status(MID).orders.items()} == {"10S": 3, "1D": 77}


def test_nobody_listens(venue):
    rest = session("http://127.0.0.1:1")
    with pytest.raises(VenueUnreachable):
        ask(rest)


def test_one_connection_a_thread_and_it_is_kept(venue):
    rest = session(venue.base)
    for _ in range(3):
        ask(rest, "/good")
    thread = threading.Thread(target=ask, args=(rest, "/good"))
    thread.start()
    thread.join()
    ports = [port for port, _ in venue.seen]
    assert len(set(ports[:3])) == 1 and ports[3] != ports[0]
    rest.close()


def test_proxies_of_the_environment_are_not_obeyed(venue, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    rest = session(venue.base)
    assert ask(rest, "/good") == b"{}"
    rest.close()
    with pytest.raises(VenueUnreachable):
        ask(session(venue.base, trust_env=True), "/good")


@pytest.mark.parametrize(
    ("status", "refusals", "raised", "wait_s"),
    [
        (429, Refusals(limited_s=2.0), RateLimited, 2.0),
        (403, Refusals(forbidden_s=30.0), RateLimited, 30.0),
        (403, Refusals(forbidden_s=600.0, forbidden_bans=True), Banned, 600.0),
    ],
)
def test_a_venue_may_mean_its_statuses_otherwise(status, refusals, raised, wait_s):
    rest = session(refusals=refusals)
    with responses.RequestsMock() as canned:
        canned.get(f"{BASE}/api/v3/depth", status=status, body="no")
        with pytest.raises(raised) as caught:
            ask(rest)
    assert caught.value.retry_after_s == wait_s
    assert rest._ledger.blocked_until == MID + wait_s
    assert rest._ledger.ban_until_ms == ((MID + wait_s) * 1000 if raised is Banned else 0)


def test_the_other_way_to_print_an_error():
    error, _ = refused_with(400, json={"retCode": 10001, "retMsg": "bad"})
    assert (error.code, error.message) == (10001, "bad")
