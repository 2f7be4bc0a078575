"""Fixtures for the sandbox: start one, talk to it over real sockets, keep a book in the plainest way."""

import json
import threading
import time
from decimal import Decimal

import pytest
import requests
import websocket

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox


class Stream:
    """A stream client on websocket-client."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=5)

    def text(self, timeout=5.0):
        self.socket.settimeout(timeout)
        return self.socket.recv()

    def event(self, timeout=5.0):
        return json.loads(self.text(timeout))

    def until(self, wanted, timeout=5.0):
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

    def frame(self, timeout=5.0):
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


class Exchange:
    """A running sandbox and short ways to use it."""

    def __init__(self, options):
        self.sandbox = Sandbox(options)
        self.sandbox.start()
        self.session = requests.Session()
        self.streams = []

    def get(self, path, **arguments):
        return self.session.get(self.sandbox.rest_url + path, timeout=5, **arguments)

    def json(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fault(self, kind, **options):
        answer = self.session.post(self.sandbox.rest_url + "/sandbox/faults", json={"kind": kind, **options}, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self):
        return self.json("/sandbox/state")

    def wait(self, condition, deadline_s=20.0):
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
    deadline = time.monotonic() + 3
    while any(thread.name.startswith("sandbox-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, f"threads left: {threading.enumerate()}"
        time.sleep(0.01)


@pytest.fixture
def exchange(start_exchange):
    """A sandbox with one liquid symbol."""
    return start_exchange()


@pytest.fixture
def plain_book():
    """The book class of the tests: ``plain_book(snapshot)``."""
    return PlainBook
