"""Connections that come and go at run time, against the local exchange over real sockets."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from binmon.books.feeds import FeedDesk, FeedOutlets
from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor, WorkerState
from binmon.messages import FrameChunk, StreamDown, StreamUp
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.net.rotation import FeedRotated, RotationWindow
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.sockets import Sockets, market_connections

STREAMS = ("btcusdt@depth@100ms",)


class Hand:
    """Sockets with their supervisor, and what has arrived."""

    def __init__(self, rest_url: str, stream_url: str) -> None:
        ledger = RateLedger("binance")
        self.venue = BinanceMarket(RestSession("binance", rest_url, ledger), ledger, stream_url)
        self.supervisor = Supervisor()
        self.inbox: Channel[Any] = Channel("inbox", 10_000, Overflow.DROP_NEWEST)
        make = market_connections(self.venue, self.inbox, ledger)
        self.sockets = Sockets(make, self.supervisor, ledger)
        self.seen: list[Any] = []
        self.on_message: Callable[[Any], None] = lambda message: None

    def until(self, true: Callable[[], bool], within_s: float = 30.0) -> None:
        end_s = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end_s, (self.supervisor.statuses(), self.seen[-3:])
            self.supervisor.tick(time.monotonic())
            message = self.inbox.take(0.02)
            if message is not None:
                self.seen.append(message)
                self.on_message(message)

    def of(self, kind: type, feed: str) -> list:
        return [one for one in self.seen if isinstance(one, kind) and one.connection == feed]

    def names(self) -> list[str]:
        return [status.name for status in self.supervisor.statuses()]


@pytest.fixture
def hand() -> Iterator[Hand]:
    sandbox = Sandbox(SandboxOptions(symbols=("BTCUSDT",)))
    sandbox.start()
    hand = Hand(sandbox.rest_url, sandbox.stream_url)
    try:
        yield hand
    finally:
        late = hand.supervisor.stop(Deadline(30))
        sandbox.stop()
        assert late == []
        end_s = time.monotonic() + 30
        while any(thread.name.startswith(("sandbox-", "g.")) for thread in threading.enumerate()):
            assert time.monotonic() < end_s, threading.enumerate()
            threading.Event().wait(0.01)


def test_a_connection_delivers_and_says_why_it_was_ended(hand: Hand) -> None:
    hand.sockets.open("g", "g.1", STREAMS)
    hand.until(lambda: bool(hand.of(FrameChunk, "g.1")))
    assert hand.of(StreamUp, "g.1")[0].streams == STREAMS
    hand.sockets.close("g.1", "rotated: age")
    hand.until(lambda: bool(hand.of(StreamDown, "g.1")))
    assert hand.of(StreamDown, "g.1")[0].reason == "rotated: age"
    hand.until(lambda: hand.names() == [])


def test_a_reconnect_comes_back_under_its_name_and_unknown_ones_are_no_error(hand: Hand) -> None:
    hand.sockets.open("g", "g.1", STREAMS)
    hand.until(lambda: bool(hand.of(FrameChunk, "g.1")))
    hand.sockets.reconnect("g.1", "stalled")
    hand.until(lambda: len(hand.of(StreamUp, "g.1")) == 2)
    assert hand.of(StreamDown, "g.1")[0].reason == "stalled"
    hand.sockets.reconnect("g.9", "stalled")
    hand.sockets.close("g.9", "rotated")
    hand.sockets.close("g.1", "enough")
    hand.sockets.close("g.1", "enough")
    hand.until(lambda: hand.names() == [])
    hand.sockets.reconnect("g.1", "stalled")
    assert len(hand.of(StreamUp, "g.1")) == 2


def test_one_that_cannot_connect_is_ended_all_the_same() -> None:
    hand = Hand("http://127.0.0.1:1", "ws://127.0.0.1:1")
    hand.sockets.open("g", "g.1", STREAMS)
    hand.until(lambda: hand.supervisor.statuses()[0].state is WorkerState.BACKOFF)
    hand.sockets.close("g.1", "symbols changed")
    hand.until(lambda: hand.names() == [])
    assert hand.seen == []
    assert hand.supervisor.stop(Deadline(30)) == []


def test_a_rotation_over_real_sockets_misses_no_update(hand: Hand) -> None:
    rotated: list[FeedRotated] = []
    desk = FeedDesk(
        "binance",
        FeedOutlets(hand.sockets.open, hand.sockets.close, hand.sockets.reconnect),
        rotated.append,
        window=RotationWindow.parse("03:00-05:00"),
    )
    decode = hand.venue.decoder().update
    ids: list[tuple[int, int]] = []

    def on_message(message: Any) -> None:
        match message:
            case StreamUp():
                desk.on_up(message.connection, time.monotonic())
            case StreamDown():
                desk.on_down(message.connection, time.monotonic())
            case FrameChunk():
                for frame in message.frames:
                    update = decode(frame)
                    if update is not None:
                        if not ids or update.last_update_id > ids[-1][1]:
                            ids.append((update.first_update_id, update.last_update_id))
                        desk.on_event(message.connection, STREAMS[0], update.last_update_id, message.received_mono_ns)
        desk.tick(time.monotonic(), time.time())

    hand.on_message = on_message
    desk.carry(STREAMS)
    hand.until(lambda: len(ids) > 3)
    desk.rotate("asked")
    hand.until(lambda: bool(rotated) and len(desk.states()) == 1)
    known = len(ids)
    hand.until(lambda: len(ids) > known + 3)
    assert rotated[0].overlap_ms >= 1000
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(ids))
    hand.until(lambda: hand.names() == [rotated[0].successor])


def test_what_failed_in_the_midst_of_opening_or_closing_is_done_again(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(hand.supervisor, "add", failing)
        with pytest.raises(ZeroDivisionError):
            hand.sockets.open("g", "g.1", STREAMS)
    hand.sockets.open("g", "g.1", STREAMS)
    hand.sockets.open("g", "g.1", STREAMS)
    hand.until(lambda: bool(hand.of(FrameChunk, "g.1")))
    assert hand.names() == ["g.1"]
    with monkeypatch.context() as broken:
        broken.setattr(hand.supervisor, "retire", failing)
        with pytest.raises(ZeroDivisionError):
            hand.sockets.close("g.1", "rotated: age")
    hand.sockets.close("g.1", "rotated: age")
    hand.until(lambda: hand.names() == [])
    assert hand.of(StreamDown, "g.1")[0].reason == "rotated: age" and len(hand.of(StreamUp, "g.1")) == 1
