"""Fixtures of the Bybit side: a market that is driven by hand, and a client over real sockets that signs by itself."""

import base64
import hashlib
import hmac
import itertools
import json
import time
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest
import requests
import websocket
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from binmon.sandbox import flow, symbols
from binmon.sandbox.bybit import money
from binmon.sandbox.bybit.errors import RetError
from binmon.sandbox.bybit.feed import Feed
from binmon.sandbox.bybit.private_side import PrivateSide
from binmon.sandbox.bybit.queries import Call
from binmon.sandbox.bybit.topics import symbol_of
from binmon.sandbox.clock import VenueClock
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market
from binmon.sandbox.matching import Side, TimeInForce
from binmon.sandbox.trading.accounts import CommissionRates

START_US = 1_784_600_000_000_000
SYMBOL = "ABCXYZ"
PLAIN = symbols.Instrument(
    symbol=SYMBOL, base_asset="ABC", quote_asset="XYZ", tick_e8=1_000_000, step_e8=100_000, start_price=10_000,
    typical_lots=1000, levels=0, gap_ticks=1, half_spread_ticks=1, rate_hz=1.0, with_history=False,
    min_notional_e8=100_000_000,
)  # fmt: skip
"""Price tick 0.01, quantity step 0.001, orders of 1 XYZ and more, an empty book."""
FEES = CommissionRates(Decimal("0.0005"), Decimal("0.001"))


class HandClock(VenueClock):
    """A clock that moves when it is told to."""

    def __init__(self):
        super().__init__()
        self.time_us = START_US

    def now_us(self):
        return self.time_us


class Listener:
    """A subscriber of public topics that keeps what it is told, in order."""

    identifier, backlog_bytes = 1, 0

    def __init__(self):
        self.messages = []

    def deliver(self, message):
        self.messages.append(json.loads(message.payload(False)))

    def flush(self):
        """Nothing waits."""

    def take(self):
        taken, self.messages = self.messages, []
        return taken


class HandBybit:
    """A market that moves by hand, with two accounts; ``events`` holds what each was told."""

    def __init__(self, **changes):
        self.clock = HandClock()
        self.hub = StreamHub()
        self.market = Market([replace(PLAIN, **changes)], self.hub, self.clock, "1", symbol_of=symbol_of)
        self.feed = Feed(self.market, self.hub, self.clock)
        self.side = PrivateSide(self.market, self.feed, self.clock)
        self.book = self.market.symbol(SYMBOL)
        self.events = {}
        self.alice, self.bob = self.open("alice"), self.open("bob")
        self._handlers = {one.path: one.handler for one in self.side.operations}
        self._number = itertools.count(1)

    def open(self, name):
        grants = {"ABC": 1000 * money.UNIT, "XYZ": 100_000 * money.UNIT}
        account = self.side.accounts.add(name, grant=lambda coin: grants.get(coin, 0))
        account.commission = FEES
        told = self.events[name] = []
        account.listen(lambda event: told.append((event.kind, json.loads("{" + event.text(False)))))
        return account

    def ask(self, path, account=None, **body):
        key = SimpleNamespace(can_trade=True, key="KEY")
        return self._handlers[path](Call(body, account or self.alice, key))

    def create(self, account=None, **body):
        """Place an order; gives the order itself."""
        body = {"category": "spot", "symbol": SYMBOL, **body}
        answer = self.ask("/v5/order/create", account, **{name: value for name, value in body.items() if value})
        return self.side._store.find(account or self.alice, answer["orderId"], None)

    def limit(self, side, price, qty, account=None, **more):
        return self.create(account, side=side, orderType="Limit", price=price, qty=qty, **more)

    def take(self, side, qty, account=None, **more):
        return self.create(account, side=side, orderType="Market", qty=qty, **more)

    def refused(self, path="/v5/order/create", account=None, **body):
        """The code of a request that must fail."""
        if path == "/v5/order/create":
            body = {"category": "spot", "symbol": SYMBOL, **body}
        with pytest.raises(RetError) as caught:
            self.ask(path, account, **{name: value for name, value in body.items() if value is not None})
        return caught.value.code

    def flow(self, side, price, lots, time_in_force=TimeInForce.GTC):
        """An order of the market itself: price in ticks (``None``: any), quantity in lots."""
        with self.book.lock:
            self.book.engine.submit(flow.OWNER, Side(side), lots, price, self.clock.now_us(), time_in_force)
            self.book.settle(self.clock.now_us())

    def told(self, account=None, kind=None):
        """What an account was told since the last call, of a kind or of all."""
        events = self.events[(account or self.alice).name]
        taken = [(one, event) for one, event in events if kind in (None, one)]
        events.clear()
        return [event for _, event in taken] if kind is not None else taken

    def balance(self, coin, account=None):
        """Free and locked, as numbers."""
        balance = (account or self.alice).wallet.balance(coin)
        return Decimal(money.text(balance.free)), Decimal(money.text(balance.locked))


class Client:
    """One key over REST, signing as the reference says."""

    def __init__(self, base, issued):
        self.base = base
        self.key = issued.api_key
        self._secret = issued.api_secret
        self._private = (
            serialization.load_pem_private_key(issued.private_key_pem, None) if issued.private_key_pem else None
        )
        self.session = requests.Session()

    def sign(self, text):
        if self._private is None:
            return hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return base64.b64encode(self._private.sign(text.encode(), PKCS1v15(), hashes.SHA256())).decode()

    def headers(self, payload, timestamp=None, window="5000"):
        timestamp = str(timestamp if timestamp is not None else time.time_ns() // 1_000_000)
        return {
            "X-BAPI-API-KEY": self.key, "X-BAPI-TIMESTAMP": timestamp, "X-BAPI-RECV-WINDOW": window,
            "X-BAPI-SIGN": self.sign(f"{timestamp}{self.key}{window}{payload}"), "Content-Type": "application/json",
        }  # fmt: skip

    def get(self, path, query="", **more):
        url = f"{self.base}{path}" + (f"?{query}" if query else "")
        return self.session.get(url, headers=self.headers(query, **more), timeout=30)

    def post(self, path, body, **more):
        text = body if isinstance(body, str) else json.dumps(body)
        return self.session.post(f"{self.base}{path}", data=text, headers=self.headers(text, **more), timeout=30)

    def result(self, path, query=""):
        body = self.get(path, query).json()
        assert body["retCode"] == 0, body
        return body["result"]

    def create(self, **body):
        body = {"category": "spot", "symbol": "BTCUSDT", **body}
        return self.post("/v5/order/create", body).json()

    def auth(self, expires=None):
        """The arguments of a log-on."""
        expires = expires if expires is not None else time.time_ns() // 1_000_000 + 10_000
        return [self.key, expires, self.sign(f"GET/realtime{expires}")]


class Socket:
    """A websocket client that reads one message at a time."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=30)

    def send(self, **message):
        self.socket.send(json.dumps(message))

    def message(self, timeout=30.0):
        self.socket.settimeout(timeout)
        return json.loads(self.socket.recv())

    def ask(self, **message):
        """Send an operation and return its answer; pushes in between are passed over."""
        self.send(**message)
        return self.until(lambda answer: "topic" not in answer)

    def until(self, wanted):
        deadline = time.monotonic() + 60
        while True:
            message = self.message(max(0.01, deadline - time.monotonic()))
            if wanted(message):
                return message

    def topic(self, name):
        """The next push of a topic."""
        return self.until(lambda message: message.get("topic") == name)

    def close(self):
        self.socket.shutdown()


class BybitExchange:
    """The Bybit side of a running sandbox."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.venue = exchange.sandbox.bybit
        self.base = self.venue.rest_url
        issued = self.venue.keys()
        self.clients = [Client(self.base, one) for one in issued]
        self.main, self.rsa, self.reader, self.poor = self.clients
        self.sockets = []

    def get(self, path):
        return self.exchange.session.get(self.base + path, timeout=30)

    def result(self, path):
        body = self.get(path).json()
        assert body["retCode"] == 0, body
        return body["result"]

    def fault(self, kind, **options):
        answer = self.exchange.session.post(f"{self.base}/sandbox/faults", json={"kind": kind, **options}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def desk(self, path):
        return self.get(f"/sandbox/{path}").json()

    def socket(self, url):
        socket = Socket(url)
        self.sockets.append(socket)
        return socket

    def public(self, *topics):
        socket = self.socket(self.venue.public_url)
        if topics:
            assert socket.ask(op="subscribe", args=list(topics))["success"]
        return socket

    def private(self, *topics, client=None):
        socket = self.socket(self.venue.private_url)
        assert socket.ask(op="auth", args=(client or self.main).auth())["success"]
        if topics:
            assert socket.ask(op="subscribe", args=list(topics))["success"]
        return socket

    def close(self):
        for socket in self.sockets:
            socket.close()
        for client in self.clients:
            client.session.close()


@pytest.fixture
def hand():
    return HandBybit()


@pytest.fixture
def make_hand():
    return HandBybit


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def start_bybit(start_exchange):
    """Start sandboxes with the given options, and use their Bybit side."""
    running = []

    def start(**options):
        running.append(BybitExchange(start_exchange(**options)))
        return running[-1]

    yield start
    for bybit in running:
        bybit.close()


@pytest.fixture
def bybit(start_bybit):
    return start_bybit(rate=50.0)
