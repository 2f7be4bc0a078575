"""The private side against the sandbox: orders over REST, their reports over the WebSocket API, with every kind of key."""

from __future__ import annotations

import itertools
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial

import pytest
import websocket

from binmon.config.schema import BinanceConfig
from binmon.core.clock import VenueClock
from binmon.errors import RateLimited, RequestRefused, StatusUnknown
from binmon.messages import BalancesChanged, ExecutionReport, OrderRequest, OrderSide, Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.venues.binance import ws_api
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.signing import Signer, signer_of
from binmon.venues.binance.time import take_sample
from binmon.venues.binance.trading import BinanceTrading
from binmon.venues.binance.user_data import BinanceUserStream
from binmon.venues.clock import measure
from binmon.venues.trading import Permit, StreamReply, Subscribed, SubscriptionEnded

STOP = threading.Event()
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    options = SandboxOptions(rest_port=0, stream_port=0, ws_api_port=0, symbols=("BTCUSDT", "ETHUSDT"), seed=3)
    with Sandbox(options) as running:
        yield running


class Client:
    """What one key can do."""

    def __init__(self, sandbox: Sandbox, signer: Signer, **options: float) -> None:
        self.signer = signer
        self.ledger = RateLedger("binance")
        rest = RestSession("binance", sandbox.rest_url, self.ledger, **options)
        self.rest, self.market = rest, BinanceMarket(rest, self.ledger, sandbox.stream_url)
        self.offset_ms = 0.0
        self.synchronise()
        self.venue = BinanceTrading(
            rest,
            self.ledger,
            signer,
            venue_ms=self.venue_ms,
            resynchronise=self.synchronise,
            other_urls=[sandbox.ws_api_url],
        )
        self.stream = BinanceUserStream(sandbox.ws_api_url, signer, venue_ms=self.venue_ms, ledger=self.ledger)
        self.departures: list[tuple[int, int]] = []

    def venue_ms(self) -> int:
        return int(time.time() * 1000 + self.offset_ms)

    def synchronise(self) -> None:
        clock = VenueClock("binance")
        measure(clock, partial(take_sample, self.rest), STOP)
        self.offset_ms = clock.reading().venue_minus_wall_ns / 1e6

    def place(self, order: OrderRequest):
        return self.venue.place(Permit(order), lambda *when: self.departures.append(when), STOP)


def signer(
    sandbox: Sandbox, directory: pathlib.Path, kind: str, account: str = "main", can_trade: bool = True
) -> Signer:
    issued_keys = sandbox.keys()
    issued = next(
        one
        for one in issued_keys
        if (one.account, one.kind.value, one.can_trade) == (account, kind, can_trade)
    )  # fmt: skip
    if issued.api_secret is not None:
        return signer_of(BinanceConfig(api_key=issued.api_key, api_secret=issued.api_secret))
    assert issued.private_key_pem is not None
    file = directory / f"{kind}.pem"
    file.write_bytes(issued.private_key_pem)
    file.chmod(0o600)
    return signer_of(BinanceConfig(api_key=issued.api_key, private_key_file=str(file)))


def order(side: OrderSide = OrderSide.BUY, **amount: Decimal) -> OrderRequest:
    client_order_id = f"binmon-test-{time.time_ns()}-{next(numbers)}"
    return OrderRequest("binance", "BTCUSDT", side, client_order_id, Decimal(50), **amount)


class Socket:
    """A connection to the WebSocket API, read until something comes."""

    def __init__(self, client: Client) -> None:
        self.client, self.events = client, []
        self.socket = websocket.create_connection(client.stream.user_stream_url, timeout=20)
        for message in client.stream.opening_messages():
            self.socket.send(message.decode())
        self.until(lambda message: message == Subscribed())

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.shutdown()

    def until(self, wanted: Callable[[object], bool]) -> object:
        while True:
            frame = self.socket.recv()
            text = frame.encode() if isinstance(frame, str) else frame
            message = self.client.stream.decode(text, "user-1", time.time_ns(), time.monotonic_ns())
            self.events.append(message)
            if wanted(message):
                return message


@pytest.mark.parametrize("kind", ["HMAC", "Ed25519", "RSA"])
def test_an_order_from_its_rules_to_its_executions(sandbox: Sandbox, tmp_path: pathlib.Path, kind: str) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, kind))
    venue = client.venue
    assert venue.environment == "sandbox" and client.signer.kind.value == kind
    rules = venue.rules("BTCUSDT", STOP)
    assert rules.market_orders and rules.status == "TRADING" and rules.quantity_step > 0
    price = venue.market_price("BTCUSDT", STOP)
    before = venue.account(STOP)
    assert before.can_trade
    steps = (max(rules.min_notional, Decimal(20)) * 2 / price) // rules.quantity_step + 1
    request = order(quantity=max(steps * rules.quantity_step, rules.min_quantity))
    venue.test(request, STOP)
    assert not venue.order("BTCUSDT", request.client_order_id, STOP).found
    with Socket(client) as socket:
        answer = client.place(request)
        assert len(client.departures) == 1 and answer.status == "FILLED"
        last = socket.until(lambda message: isinstance(message, ExecutionReport) and message.order_status == "FILLED")
        changed = socket.until(lambda message: isinstance(message, BalancesChanged))
    assert isinstance(last, ExecutionReport) and isinstance(changed, BalancesChanged)
    reports = [one for one in socket.events if isinstance(one, ExecutionReport)]
    assert {one.client_order_id for one in reports} == {request.client_order_id}
    assert [one.execution_type for one in reports[:2]] == ["NEW", "TRADE"]
    assert last.executed_quantity == answer.executed_quantity == request.quantity
    assert last.transaction_time_us == answer.transact_time_us and last.event_time_us >= last.transaction_time_us
    assert abs(last.transaction_time_us / 1000 - client.venue_ms()) < 60_000
    assert any(one.transaction_time_us % 1000 for one in reports) or last.event_time_us % 1000  # really microseconds
    state = venue.order("BTCUSDT", request.client_order_id, STOP)
    assert (state.found, state.status, state.order_id) == (True, "FILLED", answer.order_id)
    assert state.executed_quote == answer.executed_quote == last.executed_quote
    fills = venue.executions("BTCUSDT", answer.order_id, STOP)
    assert sum(one.quantity for one in fills) == request.quantity
    assert {one.trade_id for one in fills} == {one.trade_id for one in reports if one.trade_id is not None}
    assert request.client_order_id not in [one.client_order_id for one in venue.open_orders("BTCUSDT", STOP)]
    bought = sum(one.quantity for one in fills) - sum(one.commission for one in fills if one.commission_asset == "BTC")
    assert venue.account(STOP).balances["BTC"].free - before.balances["BTC"].free == bought
    assert client.ledger.status(client.ledger.clock()).orders.keys() >= {"10S", "1D"}
    sold = client.place(order(OrderSide.SELL, quote_amount=Decimal(40)))
    assert sold.executed_quote > 0


def test_refusals_and_what_they_mean(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    def refusal(client: Client, request: OrderRequest) -> tuple[int | None, str]:
        with pytest.raises(RequestRefused) as caught:
            client.place(request)
        return caught.value.code, client.venue.explain(caught.value) or ""

    enough = order(quantity=Decimal("0.01"))
    poor = Client(sandbox, signer(sandbox, tmp_path, "HMAC", account="poor"))
    code, text = refusal(poor, enough)
    assert code == -2010 and "balance" in text
    reader = Client(sandbox, signer(sandbox, tmp_path, "HMAC", can_trade=False))
    assert reader.venue.account(STOP).balances
    code, text = refusal(reader, enough)
    assert code == -2015 and "enable spot trading" in text
    main = signer(sandbox, tmp_path, "HMAC")
    code, text = refusal(Client(sandbox, Signer.hmac(main.api_key, "wrong")), enough)
    assert code == -1022 and "api_secret" in text
    code, text = refusal(Client(sandbox, Signer.hmac("x" * 64, "wrong")), enough)
    assert code == -2015 and "does not accept the key" in text
    client = Client(sandbox, main)
    code, text = refusal(client, order(quantity=Decimal("0.00001234567")))
    assert code in (-1111, -1013) and text
    code, text = refusal(client, order(quantity=Decimal("0.00001")))
    assert code == -1013 and "worth less" in text
    code, text = refusal(client, order(quantity=Decimal("100000")))
    assert code == -1013 and "LOT_SIZE" in text


def test_a_clock_that_is_off_is_set_right(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, "HMAC"))
    for wrong_ms in (-60_000, 60_000):
        client.offset_ms += wrong_ms
        client.departures.clear()
        assert client.place(order(quantity=Decimal("0.01"))).status == "FILLED"
        assert len(client.departures) == 2


def test_orders_and_the_time_over_the_websocket_api(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, "Ed25519"))
    with Socket(client) as socket:
        converse(client, socket)


def converse(client: Client, socket: Socket) -> None:
    def ask(request_id: str, payload: bytes) -> ws_api.Reply:
        socket.socket.send(payload.decode())
        found = socket.until(lambda message: isinstance(message, StreamReply) and message.request_id == request_id)
        assert isinstance(found, StreamReply)
        return ws_api.read_reply(found.body)

    request = order(quantity=Decimal("0.01"))
    reply = ask("o", ws_api.order_place("o", request, client.signer, client.venue_ms()))
    answer = ws_api.order_answered(reply, request, 1, 2, client.venue_ms())
    assert answer.status == "FILLED" and answer.client_order_id == request.client_order_id
    payload = ws_api.order_status("s", "BTCUSDT", request.client_order_id, client.signer, client.venue_ms())
    state = ws_api.order_state(ask("s", payload), "BTCUSDT", request.client_order_id, client.venue_ms())
    assert state.found and state.order_id == answer.order_id
    payload = ws_api.order_status("n", "BTCUSDT", "nobody", client.signer, client.venue_ms())
    assert not ws_api.order_state(ask("n", payload), "BTCUSDT", "nobody", client.venue_ms()).found
    refused = ask("r", ws_api.order_place("r", order(quantity=Decimal("0.00001")), client.signer, client.venue_ms()))
    assert isinstance(ws_api.refusal(refused, "order.place", client.venue_ms()), RequestRefused)
    socket.socket.send('{"id": "u", "method": "userDataStream.unsubscribe"}')
    socket.until(lambda message: isinstance(message, SubscriptionEnded))


@pytest.mark.parametrize("mode", ["status", "timeout", "reset", "closed", "silent"])
@pytest.mark.parametrize("kind", ["answer_lost", "order_lost"])
def test_an_order_without_answer_is_unknown_until_it_is_asked_for(
    sandbox: Sandbox, tmp_path: pathlib.Path, kind: str, mode: str
) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, "HMAC"))
    usual_s = client.rest._timeouts_s
    request = order(quantity=Decimal("0.01"))
    fault = {"kind": kind, "mode": mode, "count": 1, "silent_s": 2, "client_order_id": request.client_order_id}
    sandbox.faults.inject(fault)
    client.rest._timeouts_s = (usual_s[0], 0.5) if mode == "silent" else usual_s
    with pytest.raises(StatusUnknown) as caught:
        client.place(request)
    client.rest._timeouts_s = usual_s
    assert len(client.departures) == 1 and caught.value.client_order_id == request.client_order_id
    patience = time.monotonic() + 20
    state = client.venue.order("BTCUSDT", request.client_order_id, STOP)
    while kind == "answer_lost" and state.status != "FILLED":
        assert time.monotonic() < patience
        state = client.venue.order("BTCUSDT", request.client_order_id, STOP)
    assert state.found == (kind == "answer_lost")
    assert client.place(order(quantity=Decimal("0.01"))).status == "FILLED"


@pytest.mark.parametrize(("code", "status"), [(-2010, 400), (-1013, 400), (-1002, 401)])
def test_an_order_that_is_refused(sandbox: Sandbox, tmp_path: pathlib.Path, code: int, status: int) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, "HMAC"))
    request = order(quantity=Decimal("0.01"))
    sandbox.faults.inject({"kind": "order_refuse", "code": code, "status": status, "count": 1})
    with pytest.raises(RequestRefused) as caught:
        client.place(request)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert not client.venue.order("BTCUSDT", request.client_order_id, STOP).found


def test_too_many_orders_are_told_in_advance(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, "HMAC"))
    client.venue.rules("BTCUSDT", STOP)
    sandbox.faults.inject({"kind": "order_refuse", "code": -1015, "status": 429, "count": 1})
    with pytest.raises(RateLimited, match="ORDERS"):
        client.place(order(quantity=Decimal("0.01")))
    with pytest.raises(RateLimited, match="ORDERS"):
        client.place(order(quantity=Decimal("0.01")))
    assert len(client.departures) == 1
    assert client.venue.account(STOP).can_trade


def test_market_data_needs_no_key(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    client = Client(sandbox, signer(sandbox, tmp_path, "HMAC"))
    assert client.market.depth("BTCUSDT", 5, Priority.RESYNC, STOP).bid_price.size
