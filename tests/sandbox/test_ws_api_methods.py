"""The table of methods, without any connection."""

import json
import time

import pytest

from binmon.sandbox.clock import VenueClock
from binmon.sandbox.endpoints import Routes
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market
from binmon.sandbox.parameters import ApiError, Parameters
from binmon.sandbox.sessions import Session
from binmon.sandbox.symbols import choose_instruments
from binmon.sandbox.trading.accounts import ApiKey, KeyKind
from binmon.sandbox.trading.operations import PrivateSide
from binmon.sandbox.ws_api_methods import Methods, Request, SessionLost

PUBLIC = {
    "ping", "time", "exchangeInfo", "depth", "trades.recent", "trades.historical", "trades.aggregate", "klines", "uiKlines",
    "avgPrice", "ticker.24hr", "ticker.price", "ticker.book",
}  # fmt: skip
PRIVATE = {
    "order.place", "order.cancel", "order.status", "order.test", "openOrders.status", "openOrders.cancelAll", "allOrders",
    "account.status", "account.commission", "account.rateLimits.orders", "myTrades",
}  # fmt: skip
SESSION = {
    "session.logon", "session.status", "session.logout", "session.subscriptions", "userDataStream.subscribe",
    "userDataStream.subscribe.signature", "userDataStream.unsubscribe",
}  # fmt: skip


class Client:
    """A connection that only remembers what begins and ends."""

    def __init__(self):
        self.session = Session(0)
        self.authorized = None
        self.begun, self.finished = [], []

    def begin(self, subscription):
        self.begun.append(subscription.identifier)

    def finish(self, ended):
        self.finished += [one.identifier for one in ended]


class Venue:
    """A market, an account with one key, and the methods over them."""

    def __init__(self):
        clock = VenueClock()
        market = Market(choose_instruments(["BTCUSDT"], 1, None), StreamHub(), clock, 1)
        self.private = PrivateSide(market, clock)
        self.account = self.private.accounts.add("main")
        self.key = ApiKey("k" * 64, KeyKind.HMAC, b"secret")
        self.account.keys = [self.key]
        self.methods = Methods(Routes(market, clock, 6000).table, self.private, clock)
        self.client = Client()

    def request(self, **params):
        return Request(params, Parameters.of(params), self.client, False, True)

    def run(self, method, **params):
        return json.loads(self.methods.table[method].run(self.request(**params)))


@pytest.fixture(scope="module")
def shared():
    return Venue()


@pytest.fixture
def venue(shared):
    shared.client = Client()
    shared.account.keys = [shared.key]
    return shared


def now_ms():
    return time.time_ns() // 1_000_000


def test_everything_that_the_reference_maps_is_there(venue):
    assert set(venue.methods.table) >= PUBLIC | PRIVATE | SESSION


@pytest.mark.parametrize("method", sorted(SESSION))
def test_methods_of_the_session_weigh_two(venue, method):
    assert venue.methods.table[method].weight(Parameters("")) == 2


def test_placing_and_cancelling_is_free_on_success(venue):
    free = {name for name, method in venue.methods.table.items() if method.free_on_success}
    assert {"order.place", "order.cancel", "openOrders.cancelAll"} <= free
    assert not free & (PUBLIC | SESSION | {"order.test", "order.status", "myTrades"})
    assert venue.methods.table["order.place"].is_order and not venue.methods.table["order.test"].is_order


def test_arrays_are_read_as_rest_reads_its_texts(venue):
    assert [row["symbol"] for row in venue.run("ticker.price", symbols=["BTCUSDT"])] == ["BTCUSDT"]
    with pytest.raises(ApiError) as error:
        venue.run("ticker.price", symbols=["BTCUSDT", "BTCUSDT"])
    assert error.value.code == -1151


def test_exchange_info_has_connections_in_place_of_raw_requests(venue):
    limits = venue.run("exchangeInfo", symbol="BTCUSDT")["rateLimits"]
    kinds = [limit["rateLimitType"] for limit in limits]
    assert kinds.count("CONNECTIONS") == 1 and "RAW_REQUESTS" not in kinds


def test_a_session_stands_in_for_key_and_signature(venue):
    venue.client.session.log_on(venue.account, venue.key, 1)
    assert venue.methods.who(venue.request(timestamp=now_ms()), "TRADE") == (venue.account, venue.key)
    assert venue.client.authorized is venue.account
    venue.client.authorized = None
    with pytest.raises(ApiError) as error:
        venue.methods.who(venue.request(timestamp=now_ms(), apiKey="x" * 64), "TRADE")
    assert error.value.code == -2015
    assert venue.client.authorized is None


def test_a_key_that_only_reads_does_not_trade_in_a_session_either(venue):
    reader = ApiKey("r" * 64, KeyKind.ED25519, b"", can_trade=False)
    venue.account.keys.append(reader)
    venue.client.session.log_on(venue.account, reader, 1)
    assert venue.methods.who(venue.request(timestamp=now_ms()), "USER_DATA")[1] is reader
    with pytest.raises(ApiError) as error:
        venue.methods.who(venue.request(timestamp=now_ms()), "TRADE")
    assert (error.value.status, error.value.code) == (401, -2015)


def test_a_key_that_is_gone_ends_session_and_subscriptions(venue):
    venue.client.session.log_on(venue.account, venue.key, 1)
    assert venue.run("userDataStream.subscribe") == {"subscriptionId": 0}
    venue.account.keys = []
    for method in ("session.status", "userDataStream.subscribe"):
        if venue.client.session.logon is not None:
            with pytest.raises(SessionLost):
                venue.run(method)
    assert venue.client.session.logon is None
    assert (venue.client.begun, venue.client.finished) == ([0], [0])
    with pytest.raises(ApiError) as error:
        venue.methods.who(venue.request(timestamp=now_ms()), "USER_DATA")
    assert error.value.code == -2014


@pytest.mark.parametrize("params", [{"subscriptionId": "x"}, {"subscriptionId": ""}, {"colour": 1}])
def test_wrong_parameters_of_unsubscribe(venue, params):
    with pytest.raises(ApiError) as error:
        venue.run("userDataStream.unsubscribe", **params)
    assert error.value.code in (-1100, -1104, -1105)
