"""Which connections a fault reaches, and what it does to them; without any connection."""

import pytest

from binmon.sandbox.connection_faults import ConnectionFaults
from binmon.sandbox.fault_kinds import BadFault, checked


class Recorder:
    """Stands in for a connection, its dialogue and its outbox: remembers what is done to it."""

    def __init__(self, identifier, streams=()):
        self.identifier = identifier
        self.streams = streams
        self.done = []

    dialogue = property(lambda self: self)
    outbox = property(lambda self: self)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **named: self.done.append((name, *arguments, *named.values()))


class Service:
    def __init__(self, service, *connections):
        self.service = service
        self._connections = list(connections)

    def connections(self):
        return self._connections


@pytest.fixture
def venue():
    """Two connections of the streams, one of the WebSocket API, and the faults over them."""
    first, second, api = Recorder(1, ("btcusdt@trade",)), Recorder(2, ("ethusdt@depth",)), Recorder(3)
    services = [Service("stream", first, second), Service("ws_api", api)]
    venue = ConnectionFaults(services, lambda seconds, act: venue.delayed.append((seconds, act)), lambda *muted: venue.muted.append(muted))  # fmt: skip
    venue.delayed, venue.muted, venue.everyone = [], [], [first, second, api]
    return venue


def reached(venue, kind, **options):
    name, options = checked({"kind": kind, **options})
    return venue.kinds[name](options)["connections"]


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"service": "ws_api"}, [3]),
        ({"service": "stream"}, [1, 2]),
        ({"connection": [2, 3]}, [2, 3]),
        ({"connection": 3, "service": "stream"}, []),
        ({"symbols": ["BTCUSDT"]}, [1]),
        ({"streams": ["ethusdt@depth"]}, [2]),
    ],
)
def test_filters(venue, filters, numbers):
    assert reached(venue, "disconnect", **filters) == numbers
    assert [one.identifier for one in venue.everyone if one.done] == numbers


@pytest.mark.parametrize(
    ("options", "done"),
    [
        ({"code": 1012, "reason": "x"}, ("close", 1012, "x")),
        ({"mode": "rst"}, ("end_abruptly", True)),
        ({"mode": "abrupt"}, ("end_abruptly", False)),
    ],
)
def test_disconnect(venue, options, done):
    reached(venue, "disconnect", **options)
    assert venue.everyone[0].done == [done]


def test_a_code_that_no_close_frame_may_carry_is_refused(venue):
    with pytest.raises(BadFault, match="1006"):
        reached(venue, "disconnect", code=1006)


def test_stall_mutes_or_plays_dead(venue):
    reached(venue, "stall", service="ws_api", seconds=7)
    [(options, connections)] = venue.muted
    assert (options["seconds"], connections) == (7, venue.everyone[2:])
    reached(venue, "stall", pongs=False, seconds=8, connection=[1])
    assert venue.everyone[0].done == [("play_dead", 8)]
    assert reached(venue, "stall", connection=[9]) == [] and len(venue.muted) == 1


def test_shutdown_is_announced_and_comes_later(venue):
    reached(venue, "server_shutdown", close_after_s=4, service="stream")
    assert venue.everyone[1].done == [("announce_shutdown",)]
    [(seconds, act)] = venue.delayed
    act()
    assert seconds == 4
    assert venue.everyone[1].done[1:] == [("close", 1001, "server shutdown")]
    assert venue.everyone[2].done == []


def test_the_latest_refusal_counts_while_it_lasts(venue):
    arm = lambda **options: venue.kinds["refuse_connections"](checked({"kind": "refuse_connections", **options})[1])  # noqa: E731
    assert venue.refusal("stream") is None
    arm(mode="http_503", seconds=60)
    arm(mode="tcp", seconds=60, service="stream")
    assert (venue.refusal("stream"), venue.refusal("ws_api")) == ("tcp", "http_503")
    assert venue.active() == [
        {"kind": "refuse_connections", "mode": "http_503"},
        {"kind": "refuse_connections", "mode": "tcp", "service": "stream"},
    ]
    arm(mode="http_429", seconds=0)
    assert venue.refusal("stream") == "tcp"
    venue.clear()
    assert (venue.refusal("stream"), venue.active()) == (None, [])
    assert all(one.done == [("revive",)] for one in venue.everyone)


def test_a_number_that_is_not_open_is_refused(venue):
    venue.require(3)
    with pytest.raises(BadFault, match="connection 4 is not open, expected one of 1, 2, 3"):
        venue.require(4)
