"""A user-data stream that fails at whatever line, and is run again: no report is lost, and no break stays untold."""

from __future__ import annotations

import threading
import time

import pytest

import binmon.orders.user_stream
from binmon.core.channel import Channel
from binmon.messages import FrameChunk, StreamDown, StreamUp
from binmon.orders.user_stream import STREAM
from tests.core.interruptions import Interrupted, interrupt, places
from tests.orders.test_user_stream import A, Hand

MODULES = (binmon.orders.user_stream,)


class UntilEmpty(threading.Event):
    """A stop that comes when all is taken."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def is_set(self) -> bool:
        return not len(self._channel)


class Work:
    """A connection that is confirmed, brings reports, breaks, and comes back."""

    def __init__(self) -> None:
        self.hand = Hand()
        self.inbox = self.hand.stream._inbox
        for frames in (("ok", "report 1", "report 2"), ("ok", "report 2", "report 3 5000", "junk")):
            self.inbox.offer(StreamUp("binance", A, (STREAM,), time.monotonic_ns()))
            encoded = tuple(frame.encode() for frame in frames)
            self.inbox.offer(FrameChunk(A, time.time_ns(), time.monotonic_ns(), encoded))
            self.inbox.offer(StreamDown("binance", A, (STREAM,), "reset"))
        self.inbox.offer(StreamUp("binance", A, (STREAM,), time.monotonic_ns()))
        self.inbox.offer(FrameChunk(A, time.time_ns(), time.monotonic_ns(), (b"ok", b"report 4")))

    def __call__(self) -> None:
        self.hand.stream.run(UntilEmpty(self.inbox))


def test_no_report_is_lost_and_no_break_untold() -> None:
    whole = Work()
    numbers = list(places(whole, *MODULES))
    story = ["up", ("report", 1), ("report", 2), "down", "up", ("report", 3), "down", "up", ("report", 4)]
    assert whole.hand.told() == story and len(numbers) > 80
    for number in numbers:
        work = Work()
        assert interrupt(work, number, *MODULES)
        work()
        told = work.hand.told()
        # what was told in the midst of a failure may be told again, in its place
        shortened = [one for index, one in enumerate(told) if index == 0 or one != told[index - 1]]
        assert shortened == story, f"interrupted at {number}: {told}"
        assert work.hand.stream.subscribed_to == A and work.hand.stream._up
        assert ("reconnect", A, "an unreadable frame: reports may be missing") in work.hand.done
        assert work.hand.lost.count(A) in (2, 3)


def test_a_socket_that_could_not_be_opened_is_opened_when_it_runs_again() -> None:
    hand, opened = Hand(), []

    def open_socket(feed: str) -> None:
        opened.append(feed)
        if len(opened) == 1:
            raise Interrupted

    object.__setattr__(hand.stream._sockets, "open", open_socket)
    stop = threading.Event()
    stop.set()
    hand.stream._group.rotate("asked")
    hand.stream._group.on_up(A, time.monotonic())
    hand.stream._group.rotate("asked")
    with pytest.raises(Interrupted):
        hand.stream.run(stop)
    hand.stream.run(stop)
    assert opened == ["binance-user.2", "binance-user.2"]


def test_what_fails_twice_is_a_break() -> None:
    """Nobody knows what was in it."""
    work = Work()

    def failing(*_: object) -> None:
        raise Interrupted

    work.hand.stream._report = failing  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(Interrupted):
            work()
    assert ("reconnect", A, "what it brought could not be taken in: reports may be missing") in work.hand.done
    assert work.hand.told() == ["up", "down"]
