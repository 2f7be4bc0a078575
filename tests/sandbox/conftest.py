"""Fixtures for the sandbox: start one, talk to it over real sockets, keep a book in the plainest way."""

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
from decimal import Decimal
from urllib.parse import urlencode

import pytest
import requests
import websocket
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox

PATIENCE_S = 30.0
"""For what comes at once, or on a busy machine later."""


class Stream:
    """A stream client on websocket-client."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=PATIENCE_S)

    def text(self, timeout=PATIENCE_S):
        self.socket.settimeout(timeout)
        return self.socket.recv()

    def event(self, timeout=PATIENCE_S):
        return json.loads(self.text(timeout))

    def until(self, wanted, timeout=PATIENCE_S):
        """The first message for which ``wanted`` is true."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.event(max(0.01, deadline - time.monotonic()))
            if wanted(message):
                return message

    def collect(self, seconds):
        """Everything that arrives within some seconds."""
        deadline = time.monotonic() + seconds
        messages = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                messages.append(self.event(left))
            except websocket.WebSocketTimeoutException:
                break
        return messages

    def frame(self, timeout=PATIENCE_S):
        """The next frame as (opcode, data), without the client's own handling of control frames."""
        self.socket.settimeout(timeout)
        received = self.socket.recv_frame()
        return received.opcode, received.data

    def ask(self, **request):
        """Send a control message and return its reply."""
        self.socket.send(json.dumps(request))
        return self.until(lambda message: "e" not in message and "stream" not in message and "u" not in message)

    def close(self):
        self.socket.shutdown()


class PlainBook:
    """A local book kept the way the reference describes, and nothing more."""

    def __init__(self, snapshot):
        self.id = snapshot["lastUpdateId"]
        self.sides = {
            "b": {Decimal(price): Decimal(quantity) for price, quantity in snapshot["bids"]},
            "a": {Decimal(price): Decimal(quantity) for price, quantity in snapshot["asks"]},
        }
        # A snapshot of 5,000 levels shows a part of a deeper side: what lies beyond is unknown until it changes.
        self._reach = {
            "b": min(self.sides["b"]) if len(self.sides["b"]) == 5000 else Decimal(0),
            "a": max(self.sides["a"]) if len(self.sides["a"]) == 5000 else Decimal("Infinity"),
        }

    def apply(self, event):
        if event["u"] <= self.id:
            return
        assert event["U"] <= self.id + 1, f"gap: have {self.id}, got {event['U']}"
        for side, levels in self.sides.items():
            for price, quantity in event[side]:
                if Decimal(quantity):
                    levels[Decimal(price)] = Decimal(quantity)
                else:
                    levels.pop(Decimal(price), None)
        self.id = event["u"]

    def top(self, side, count):
        return sorted(self.sides[side].items(), reverse=side == "b")[:count]

    def assert_is(self, snapshot, least):
        """Every level of a later snapshot of 5,000 that this book can know is here, at least so many a side, and no other."""
        assert self.id == snapshot["lastUpdateId"]
        for side, name, sign in (("b", "bids", -1), ("a", "asks", 1)):
            shown = [(Decimal(price), Decimal(quantity)) for price, quantity in snapshot[name]]
            last = shown[-1][0] if len(shown) == 5000 else None
            ends = [sign * end for end in (self._reach[side], last) if end is not None]
            known = [level for level in shown if sign * level[0] <= min(ends)]
            held = [level for level in self.top(side, 99_999) if sign * level[0] <= min(ends)]
            assert len(known) >= least
            assert held == known


class User:
    """One key of the sandbox, and what it signs."""

    def __init__(self, issued):
        self.key = issued.api_key
        self.account = issued.account
        self.kind = issued.kind.value
        self._secret = issued.api_secret
        self._private = (
            serialization.load_pem_private_key(issued.private_key_pem, None) if issued.private_key_pem else None
        )

    def sign(self, payload):
        """Signature of a text."""
        if self.kind == "HMAC":
            return hmac.new(self._secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        extra = (PKCS1v15(), hashes.SHA256()) if self.kind == "RSA" else ()
        return base64.b64encode(self._private.sign(payload.encode(), *extra)).decode()

    def params(self, **params):
        """Params of a WebSocket API request with key, time and signature (reference: 2.4)."""
        params = {"timestamp": time.time_ns() // 1_000_000, **params, "apiKey": self.key}
        return {**params, "signature": self.sign("&".join(f"{name}={params[name]}" for name in sorted(params)))}

    def query(self, **params):
        """Query of a REST request with time and signature (reference: 2.3)."""
        text = urlencode({**params, "timestamp": time.time_ns() // 1_000_000})
        return f"{text}&signature={urlencode({'': self.sign(text)})[1:]}"


class Api:
    """A client of the WebSocket API that keeps the events which come between the replies."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=PATIENCE_S)
        self.events = []
        self._numbers = itertools.count(1)

    def send(self, method, **params):
        """Send a request; returns its id."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        return number

    def reply(self, number, timeout=PATIENCE_S):
        """The reply to a request; what comes before is kept as an event."""
        self.socket.settimeout(timeout)
        while True:
            message = json.loads(self.socket.recv())
            if "status" in message and message["id"] == number:
                return message
            self.events.append(message)

    def ask(self, method, **params):
        """Send a request and return its reply."""
        return self.reply(self.send(method, **params))

    def result(self, method, **params):
        """The result of a request that must succeed."""
        reply = self.ask(method, **params)
        assert reply["status"] == 200, reply
        return reply["result"]

    def error(self, method, **params):
        """Status and code of a request that must fail."""
        reply = self.ask(method, **params)
        return reply["status"], reply["error"]["code"]

    def event(self, timeout=PATIENCE_S):
        """The next message that is no reply."""
        if self.events:
            return self.events.pop(0)
        self.socket.settimeout(timeout)
        return json.loads(self.socket.recv())

    def report(self, execution_type=None, timeout=PATIENCE_S):
        """The next executionReport (of a type)."""
        while True:
            event = self.event(timeout)["event"]
            if event["e"] == "executionReport" and execution_type in (None, event["x"]):
                return event

    def close_code(self):
        """Wait for the end; returns the code of its close frame."""
        while True:
            frame = self.socket.recv_frame()
            if frame.opcode == 0x8:
                return int.from_bytes(frame.data[:2], "big")

    def close(self):
        self.socket.shutdown()


class Exchange:
    """A running sandbox and short ways to use it."""

    def __init__(self, options):
        self.sandbox = Sandbox(options)
        self.sandbox.start()
        self.session = requests.Session()
        self.streams = []
        issued = self.sandbox.keys()
        self.users = [User(one) for one in issued]

    def get(self, path, **arguments):
        return self.session.get(self.sandbox.rest_url + path, timeout=30, **arguments)

    def json(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fault(self, kind, **options):
        answer = self.session.post(
            self.sandbox.rest_url + "/sandbox/faults", json={"kind": kind, **options}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self):
        return self.json("/sandbox/state")

    def wait(self, condition, deadline_s=PATIENCE_S):
        """Ask ``condition`` again and again until it answers with something true, which is returned."""
        deadline = time.monotonic() + deadline_s
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"still not true: {answer!r}"
            time.sleep(0.01)
        return answer

    def stream(self, path):
        stream = Stream(self.sandbox.stream_url + path)
        self.streams.append(stream)
        return stream

    def api(self, query=""):
        """A connection to the WebSocket API."""
        api = Api(self.sandbox.ws_api_url + query)
        self.streams.append(api)
        return api

    def user(self, kind="HMAC", account="main"):
        """The first key of a kind."""
        return next(user for user in self.users if (user.kind, user.account) == (kind, account))

    def order(self, user=None, method="POST", path="/api/v3/order", **params):
        """A signed REST request, by default one that places an order; the answer as it came."""
        user = user or self.user()
        return self.session.request(
            method,
            f"{self.sandbox.rest_url}{path}?{user.query(**params)}",
            headers={"X-MBX-APIKEY": user.key},
            timeout=30,
        )

    def depth(self, symbol, limit=5000):
        return self.json(f"/api/v3/depth?symbol={symbol}&limit={limit}")

    def stop(self):
        for stream in self.streams:
            stream.close()
        self.session.close()
        self.sandbox.stop()


@pytest.fixture
def start_exchange():
    """Start sandboxes with the given options; all of them end with the test."""
    running = []

    def start(**options):
        options.setdefault("symbols", ("BTCUSDT",))
        exchange = Exchange(SandboxOptions(**options))
        running.append(exchange)
        return exchange

    yield start
    for exchange in running:
        exchange.stop()
    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name.startswith("sandbox-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, f"threads left: {threading.enumerate()}"
        time.sleep(0.01)


@pytest.fixture
def exchange(start_exchange):
    """A sandbox with one liquid symbol."""
    return start_exchange()


class Ahead:
    """The monotonic clock of a module, which can be put forward."""

    def __init__(self):
        self.by_s = 0.0

    def monotonic(self):
        return time.monotonic() + self.by_s

    def __getattr__(self, name):
        return getattr(time, name)


class Standing:
    """The monotonic clock of a module, which stands still but for what a test does to ``now``."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def _giver(monkeypatch, kind):
    def give(module):
        clock = kind()
        monkeypatch.setattr(module, "time", clock)
        return clock

    return give


@pytest.fixture
def ahead(monkeypatch):
    """Give a module a clock that can be put forward: ``ahead(module)``."""
    return _giver(monkeypatch, Ahead)


@pytest.fixture
def standing(monkeypatch):
    """Give a module a clock that stands still: ``standing(module)``."""
    return _giver(monkeypatch, Standing)


@pytest.fixture
def plain_book():
    """The book class of the tests: ``plain_book(snapshot)``."""
    return PlainBook
