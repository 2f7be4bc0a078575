"""The whole client against the local exchange, over real sockets: books, orders, their reports, and faults."""

from __future__ import annotations

import itertools
import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from binmon.core.channel import Channel, Overflow
from binmon.core.clock import VenueClock
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.errors import BinmonError, RateLimited, RequestRefused, StatusUnknown
from binmon.latency.effects import AskOrder
from binmon.latency.measurement import OrderClass
from binmon.latency.tracker import LatencyTracker
from binmon.messages import (
    FINAL_STATUSES,
    BalancesChanged,
    ExecutionReport,
    FrameChunk,
    OrderAnswered,
    OrderRequest,
    OrderSent,
    OrderSide,
    OrderUncertain,
    Priority,
    StreamUp,
    UserStreamDown,
    UserStreamUp,
)
from binmon.net.posts import Post
from binmon.net.rest import RestSession
from binmon.net.rotation import RotationWindow
from binmon.orders.user_stream import STREAM, UserSockets, UserStream
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.venues.base import ControlReply, StreamSnapshot
from binmon.venues.bybit.limits import REFUSALS, EndpointLimits, ledger_of
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.signing import Signer
from binmon.venues.bybit.time import take_sample
from binmon.venues.bybit.trading import BybitTrading
from binmon.venues.bybit.user_data import BybitUserStream
from binmon.venues.clock import measure
from binmon.venues.sockets import Sockets, market_connections, user_connections
from binmon.venues.trading import Permit

STOP = threading.Event()
WITHIN_S = 60.0
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    options = SandboxOptions(rest_port=0, stream_port=0, ws_api_port=0, bybit_port=0, symbols=("BTCUSDT",), seed=3)
    with Sandbox(options) as running:
        yield running


@pytest.fixture
def fault(sandbox: Sandbox) -> Iterator[Callable[..., None]]:
    def inject(kind: str, **options: Any) -> None:
        body = json.dumps({"venue": "bybit", "kind": kind, **options}).encode()
        with urllib.request.urlopen(f"{sandbox.rest_url}/sandbox/faults", body, timeout=30) as answer:
            assert json.load(answer)["ok"]

    yield inject
    inject("clear")
    inject("forgive_weight")


class Client:
    """One account: its REST, and on demand its streams."""

    def __init__(self, sandbox: Sandbox, key: str = "", **options: float) -> None:
        said = sandbox.ready()
        self.said, self.ledger = said, ledger_of(max_wait_s=5.0)
        self.rest = RestSession("bybit", said["bybit_rest"], self.ledger, refusals=REFUSALS, **options)
        self.clock, self.take = VenueClock("bybit"), partial(take_sample, self.rest)
        self.synchronise()
        keys = {one["api_key"]: one["api_secret"] for one in said["bybit_keys"] if one["kind"] == "HMAC"}
        key = key or said["bybit_api_key"]
        self.signer = Signer(key, keys[key])
        self.market = BybitMarket(self.rest, self.ledger, said["bybit_public_stream"], 1000)
        self.venue = BybitTrading(
            self.rest,
            self.signer,
            EndpointLimits(),
            venue_ms=self.clock.venue_ms,
            resynchronise=self.synchronise,
            other_urls=[said["bybit_private_stream"]],
        )
        self.departures: list[OrderSent] = []

    def synchronise(self) -> None:
        measure(self.clock, self.take, STOP)

    def order(self, **size: Any) -> OrderRequest:
        side = size.pop("side", OrderSide.BUY)
        return OrderRequest("bybit", "BTCUSDT", side, f"test-{next(numbers)}", Decimal(100), **size)

    def place(self, order: OrderRequest) -> OrderAnswered:
        return self.venue.place(
            Permit(order), lambda ns, mono_ns: self.departures.append(OrderSent(order, ns, mono_ns)), STOP
        )


class Streams:
    """Supervised connections of one client, and what they have told."""

    def __init__(self, client: Client) -> None:
        self.supervisor = Supervisor()
        self.market_inbox: Channel[Any] = Channel("market", 10_000, Overflow.DROP_NEWEST)
        self.told: Channel[Any] = Channel("told", 10_000, Overflow.DROP_NEWEST)
        frames: Channel[Any] = Channel("frames", 1_000, Overflow.DROP_NEWEST)
        self.market = Sockets(
            market_connections(client.market, self.market_inbox, client.ledger), self.supervisor, client.ledger
        )
        venue = BybitUserStream(client.said["bybit_private_stream"], client.signer, venue_ms=client.clock.venue_ms)
        own = Sockets(user_connections(venue, frames, client.ledger), self.supervisor, client.ledger)
        self.user = UserStream(
            "user",
            venue,
            frames,
            [self.told],
            UserSockets(lambda feed: own.open("user", feed, (STREAM,)), own.close, own.reconnect, own.post),
            RotationWindow(3 * 3600.0, 5 * 3600.0),
        )

    def listen(self) -> None:
        self.supervisor.add(self.user, stage=1)
        self.until(lambda: self.user.subscribed_to is not None)

    def until(self, true: Callable[[], object]) -> None:
        end_s = time.monotonic() + WITHIN_S
        while not true():
            assert time.monotonic() < end_s, self.supervisor.statuses()
            self.supervisor.tick(time.monotonic())
            STOP.wait(0.01)


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return Client(sandbox)


@pytest.fixture
def streams(client: Client) -> Iterator[Streams]:
    one = Streams(client)
    yield one
    assert one.supervisor.stop(Deadline(30)) == []


# -- books ----------------------------------------------------------------------------------------------------------


def test_the_stream_and_rest_tell_the_same_book(client: Client, streams: Streams) -> None:
    """From the first snapshot on every delta is one id; at the ids of REST snapshots both are equal level for level."""
    stream = client.market.depth_stream("BTCUSDT")
    streams.market.open("m", "m.1", (stream,))
    decoder, books = client.market.decoder(), {}
    book: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}
    update_id, acknowledged = 0, False

    def pump() -> None:
        nonlocal update_id, acknowledged
        while (message := streams.market_inbox.take(0)) is not None:
            for frame in message.frames if isinstance(message, FrameChunk) else ():
                update = decoder.update(frame)
                if update is None:
                    other = decoder.other(frame)
                    if isinstance(other, StreamSnapshot):
                        snapshot = other.snapshot
                        book["bids"] = dict(zip(snapshot.bid_price, snapshot.bid_quantity, strict=True))
                        book["asks"] = dict(zip(snapshot.ask_price, snapshot.ask_quantity, strict=True))
                        update_id = snapshot.last_update_id
                    acknowledged |= isinstance(other, ControlReply) and other.error is None
                else:
                    assert update.first_update_id == update.last_update_id == update_id + 1
                    update_id = update.last_update_id
                    for side, text in (("bids", update.bids), ("asks", update.asks)):
                        for price, quantity in decoder.pairs(text):
                            book[side][price] = quantity
                            if not quantity:
                                del book[side][price]
                best = sorted(book["bids"].items(), reverse=True)[:50], sorted(book["asks"].items())[:50]
                books[update_id] = best

    compared = 0

    def compare() -> bool:
        nonlocal compared
        asked = client.market.depth("BTCUSDT", 50, Priority.AUDIT, STOP)
        streams.until(lambda: pump() or update_id >= asked.last_update_id)
        kept = books.get(asked.last_update_id)
        if kept is not None:
            compared += 1
            sides = [(asked.bid_price, asked.bid_quantity), (asked.ask_price, asked.ask_quantity)]
            assert kept == tuple(list(zip(prices, sizes, strict=True)) for prices, sizes in sides)
        return compared >= 5

    streams.until(lambda: pump() or update_id)
    streams.until(compare)
    assert acknowledged


def test_a_resubscription_brings_a_snapshot(client: Client, streams: Streams) -> None:
    stream = client.market.depth_stream("BTCUSDT")
    streams.market.open("m", "m.1", (stream,))
    decoder, seen = client.market.decoder(), []

    def snapshots() -> int:
        while (message := streams.market_inbox.take(0)) is not None:
            frames = message.frames if isinstance(message, FrameChunk) else ()
            seen.extend(decoder.other(frame) for frame in frames if decoder.update(frame) is None)
        return sum(isinstance(one, StreamSnapshot) for one in seen)

    streams.until(lambda: snapshots() == 1)
    for message in client.market.resubscription(stream):
        assert streams.market.post("m.1", Post(message, lambda ns, mono_ns: None, pytest.fail))
    streams.until(lambda: snapshots() == 2)
    assert [one.error for one in seen if isinstance(one, ControlReply)] == [None] * 3


def test_a_wrong_topic_is_refused_by_name(client: Client, streams: Streams) -> None:
    streams.market.open("m", "m.1", ("orderbook.7.BTCUSDT",))
    decoder, seen = client.market.decoder(), []

    def replies() -> list[ControlReply]:
        while (message := streams.market_inbox.take(0)) is not None:
            frames = message.frames if isinstance(message, FrameChunk) else ()
            seen.extend(decoder.other(frame) for frame in frames)
        return [one for one in seen if isinstance(one, ControlReply)]

    streams.until(replies)
    assert "orderbook.7.BTCUSDT" in (replies()[0].error or "")


def test_a_socket_that_has_died_is_found_by_its_heartbeat(
    client: Client, streams: Streams, fault: Callable[..., None]
) -> None:
    """No data and no pong: with the pauses of the plan it would take half a minute."""
    client.market.stream_plan = hurried(client.market.stream_plan)  # type: ignore[method-assign]
    streams.market.open("m", "m.1", (client.market.depth_stream("BTCUSDT"),))
    ups = []

    def taken() -> int:
        while (message := streams.market_inbox.take(0)) is not None:
            if isinstance(message, StreamUp):
                ups.append(message)
        return len(ups)

    streams.until(taken)
    fault("stall", pongs=False, seconds=60, service="bybit_public")
    before = taken()
    streams.until(lambda: taken() > before)


def hurried(plan_of: Callable[..., Any]) -> Callable[..., Any]:
    def plan(name: str, wanted: Any) -> Any:
        found = plan_of(name, wanted)
        return replace(found, heartbeat=replace(found.heartbeat, every_s=0.5), silence_s=3.0)

    return plan


# -- orders ---------------------------------------------------------------------------------------------------------


def test_what_orders_do_to_the_balances_is_told_to_the_last_digit(client: Client) -> None:
    before = client.venue.account(STOP).balances
    expected = {asset: balance.free for asset, balance in before.items()}
    for turn in range(12):
        side = OrderSide.BUY if turn % 2 else OrderSide.SELL
        size: dict[str, Any] = {"quantity": Decimal("0.000100") * (turn + 1)} if turn % 3 else {}
        order = client.order(side=side, **(size or {"quote_amount": Decimal("12.5") + turn}))
        client.venue.test(order, STOP)
        answer = client.place(order)
        state = client.venue.order("BTCUSDT", order.client_order_id, STOP)
        while state.status not in FINAL_STATUSES:  # accepted is not yet executed
            state = client.venue.order("BTCUSDT", order.client_order_id, STOP)
        assert (state.order_id, state.found) == (answer.order_id, True)
        fills = client.venue.executions("BTCUSDT", answer.order_id, STOP)
        assert sum(one.quantity for one in fills) == state.executed_quantity > 0
        assert sum(one.quote for one in fills) == state.executed_quote
        rate = client.venue.fees("BTCUSDT", STOP).buy
        for fill in fills:
            received = fill.quantity if side is OrderSide.BUY else fill.quote
            assert fill.commission == received * rate
            sign = 1 if side is OrderSide.BUY else -1
            expected["BTC"] += sign * fill.quantity
            expected["USDT"] -= sign * fill.quote
            expected[fill.commission_asset] -= fill.commission
    after = {asset: balance.free for asset, balance in client.venue.account(STOP).balances.items()}
    assert after == expected
    assert client.venue.open_orders("BTCUSDT", STOP) == []


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ({"quantity": Decimal("0.00002")}, 170140),
        ({"quantity": Decimal("0.0001234567")}, 170137),
        ({"quote_amount": Decimal("12.123456789")}, 170148),
    ],
)
def test_the_venue_refuses_what_breaks_its_rules(client: Client, size: dict[str, Any], code: int) -> None:
    order = client.order(**size)
    with pytest.raises(RequestRefused) as caught:
        client.place(order)
    assert caught.value.code == code and client.venue.explain(caught.value)
    with pytest.raises(RequestRefused):
        client.venue.test(order, STOP)


def test_a_key_that_may_only_read(sandbox: Sandbox) -> None:
    (key,) = [one["api_key"] for one in sandbox.ready()["bybit_keys"] if not one["can_trade"]]
    reader = Client(sandbox, key)
    assert not reader.venue.account(STOP).can_trade
    with pytest.raises(RequestRefused) as caught:
        reader.place(reader.order(quantity=Decimal("0.001")))
    assert caught.value.code == 10005 and "permission" in (reader.venue.explain(caught.value) or "")


def test_a_clock_that_is_off_costs_one_more_attempt(client: Client, fault: Callable[..., None]) -> None:
    fault("clock_skew", ms=60_000)
    order = client.order(quantity=Decimal("0.001"))
    client.place(order)
    assert len(client.departures) == 2
    assert client.venue.order("BTCUSDT", order.client_order_id, STOP).found


@pytest.mark.parametrize("mode", ["timeout", "status", "reset", "closed"])
@pytest.mark.parametrize("is_placed", [True, False])
def test_an_answer_that_is_lost_leaves_the_order_open_and_asking_tells(
    client: Client, fault: Callable[..., None], mode: str, is_placed: bool
) -> None:
    fault("answer_lost" if is_placed else "order_lost", mode=mode, count=1)
    order = client.order(quantity=Decimal("0.001"))
    with pytest.raises(StatusUnknown):
        client.place(order)
    assert len(client.departures) == 1
    assert client.venue.order("BTCUSDT", order.client_order_id, STOP).found is is_placed


def test_too_many_requests(client: Client, fault: Callable[..., None]) -> None:
    fault("rest", mode="ret_code", code=10006, path="/v5/order/create", count=1)
    with pytest.raises(RateLimited):
        client.place(client.order(quantity=Decimal("0.001")))


# -- reports --------------------------------------------------------------------------------------------------------


class Tracked:
    """A tracker on the reports of a stream, asking by REST as it wants."""

    def __init__(self, client: Client, streams: Streams) -> None:
        self.client, self.streams = client, streams
        self.tracker = LatencyTracker(client.clock, threshold_ms=20_000, report_timeout_ms=30_000)
        self.reports: list[ExecutionReport] = []
        self.balances: list[BalancesChanged] = []

    def send(self, **size: Any) -> None:
        order = self.client.order(**size)
        try:
            outcome = self.client.place(order)
            told: Callable[[], None] = partial(self.tracker.on_answered, outcome)
        except StatusUnknown as error:
            uncertain = OrderUncertain("bybit", "BTCUSDT", order.client_order_id, error.reason, time.monotonic_ns())
            told = partial(self.tracker.on_uncertain, uncertain)
        for sent in self.client.departures:
            self.tracker.on_sent(sent)
        self.client.departures.clear()
        told()

    def pump(self) -> None:
        while (message := self.streams.told.take(0)) is not None:
            if isinstance(message, ExecutionReport):
                self.reports.append(message)
                self.tracker.on_report(message)
            elif isinstance(message, BalancesChanged):
                self.balances.append(message)
            elif isinstance(message, UserStreamUp):
                self.tracker.on_stream_up(message)
            elif isinstance(message, UserStreamDown):
                self.tracker.on_stream_down(message)
        self.tracker.tick(time.monotonic_ns())
        while self.tracker.effects:
            effect = self.tracker.effects.popleft()
            if isinstance(effect, AskOrder):
                try:
                    state = self.client.venue.order(effect.symbol, effect.client_order_id, STOP)
                    self.tracker.on_order_state(state, time.monotonic_ns())
                except BinmonError as error:
                    self.tracker.on_ask_failed(effect.client_order_id, str(error), time.monotonic_ns())

    def settled(self, count: int) -> Counter[OrderClass]:
        self.streams.until(lambda: self.pump() or sum(self.tracker.classes.values()) >= count)
        return self.tracker.classes


@pytest.fixture
def tracked(client: Client, streams: Streams) -> Tracked:
    streams.listen()
    return Tracked(client, streams)


def test_orders_pass_through_the_tracker_as_those_of_any_venue(tracked: Tracked) -> None:
    sizes: list[dict[str, Any]] = [
        {"quantity": Decimal("0.001")},
        {"quote_amount": Decimal(25)},
        {"quantity": Decimal("0.002"), "side": OrderSide.SELL},
        {"quantity": Decimal("3")},  # through many levels: several fills
    ]
    for size in sizes * 2:
        tracked.send(**size)
    assert tracked.settled(8) == {OrderClass.IN_TIME: 8}
    assert tracked.tracker.foreign == 0
    fills = [one for one in tracked.reports if one.execution_type == "TRADE"]
    assert len({one.execution_id for one in fills}) == len(fills) > 8
    ends = {one.order_status for one in tracked.reports if one.order_status in FINAL_STATUSES}
    assert ends == {"FILLED", "EXPIRED"}  # an amount can rarely be spent whole
    assert all(one.transaction_time_us <= one.event_time_us for one in tracked.reports)
    tracked.streams.until(lambda: tracked.pump() or len(tracked.balances) >= 8)


def test_copies_of_reports_are_told_once(tracked: Tracked, fault: Callable[..., None]) -> None:
    fault("report_duplicate", times=3, seconds=60)
    tracked.send(quantity=Decimal("0.001"))
    assert tracked.settled(1) == {OrderClass.IN_TIME: 1}
    keys = Counter((one.order_id, one.execution_id) for one in tracked.reports)
    assert set(keys.values()) == {1}


def test_a_report_that_never_comes_is_lost(tracked: Tracked, fault: Callable[..., None]) -> None:
    tracked.tracker = LatencyTracker(tracked.client.clock, threshold_ms=1_000, report_timeout_ms=3_000)
    fault("report_lost", event=["order"], count=1)
    tracked.send(quantity=Decimal("0.001"))
    assert tracked.settled(1) == {OrderClass.LOST: 1}


def test_an_order_whose_answer_is_lost_is_settled_by_its_reports(tracked: Tracked, fault: Callable[..., None]) -> None:
    fault("answer_lost", mode="timeout", count=1)
    tracked.send(quantity=Decimal("0.001"))
    assert tracked.settled(1) == {OrderClass.IN_TIME: 1}


def test_a_broken_stream_is_logged_on_and_subscribed_anew(tracked: Tracked, fault: Callable[..., None]) -> None:
    user = tracked.streams.user
    fault("disconnect", mode="abrupt", service="bybit_private")
    tracked.streams.until(lambda: user.breaks == 1 and user.subscribed_to is not None)
    tracked.pump()
    tracked.send(quantity=Decimal("0.001"))
    assert tracked.settled(1) == {OrderClass.IN_TIME: 1}
