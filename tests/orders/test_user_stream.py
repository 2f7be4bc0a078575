"""The user-data stream's worker, pumped by hand: subscriptions, breaks, rotation, copies. No sockets, no waiting."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
import structlog

from binmon.core.channel import Channel, Overflow
from binmon.errors import RequestRefused, VenueFailed
from binmon.messages import (
    ExecutionReport,
    FrameChunk,
    OrderSide,
    RotateFeeds,
    StreamDown,
    StreamUp,
    UserStreamDown,
    UserStreamUp,
)
from binmon.net.rotation import RotationWindow
from binmon.orders.user_stream import STREAM, UserSockets, UserStream
from binmon.venues.base import MalformedFrame, ShutdownNotice
from binmon.venues.trading import (
    SayNext,
    Several,
    StreamReply,
    Subscribed,
    SubscriptionEnded,
    SubscriptionRefused,
    UserStreamVenue,
)

REFUSALS = {
    "key": RequestRefused("ws", 401, -2015, "Invalid API-key, IP, or permissions for action."),
    "busy": VenueFailed("ws", 503, "busy"),
}


class Venue(UserStreamVenue):
    """A venue whose frames say in one word what they are."""

    name = "binance"
    user_stream_url = "ws://127.0.0.1:1/"

    def opening_messages(self):
        return (b"subscribe",)

    def decode(self, frame, connection, received_ns, received_mono_ns):
        word, *rest = frame.decode().split()
        if word == "ok":
            return Subscribed()
        if word == "ended":
            return SubscriptionEnded("the venue ended it")
        if word == "refused":
            return SubscriptionRefused(REFUSALS[rest[0]])
        if word == "shutdown":
            return ShutdownNotice(1)
        if word == "login":
            return SayNext((b"orders", b"wallet"))
        if word == "several":
            reports = (self.decode(f"report {one}".encode(), connection, received_ns, received_mono_ns) for one in rest)
            return Several((*reports, Subscribed()))
        if word == "reply":
            return StreamReply(rest[0], frame)
        if word == "junk":
            raise MalformedFrame("junk")
        if word != "report":
            return None
        execution_id, event_us = int(rest[0]), int(rest[1]) if len(rest) > 1 else 1000
        zero = Decimal(0)
        return ExecutionReport(
            "binance", "BTCUSDT", "c1", 7, execution_id, "TRADE", "FILLED", OrderSide.BUY, zero, zero, zero, zero,
            zero, "", None, event_us, event_us, "NONE", connection, received_ns, received_mono_ns,
        )  # fmt: skip


class Hand:
    def __init__(self, capacity=100):
        self.done, self.replies, self.lost, self.refused = [], [], [], []
        self.out = Channel("latency", capacity, Overflow.DROP_NEWEST)
        self.stream = UserStream(
            "binance-user",
            Venue(),
            Channel("user", 100, Overflow.DROP_NEWEST),
            [self.out],
            UserSockets(
                lambda feed: self.done.append(("open", feed)),
                lambda feed, reason: self.done.append(("close", feed, reason)),
                lambda feed, reason: self.done.append(("reconnect", feed, reason)),
                lambda feed, post: self.done.append(("post", feed, post.payload)) or True,
            ),
            RotationWindow.parse("03:00-05:00"),
            reply=lambda reply, ns, mono_ns: self.replies.append(reply.request_id),
            lost=lambda connection, reason: self.lost.append(connection),
            refused=lambda error: self.refused.append(error),
        )
        self.stream._group.start()
        self.stream._carry_out()

    def up(self, feed, *frames):
        self.stream.take(StreamUp("binance", feed, (STREAM,), time.monotonic_ns()))
        self.frames(feed, *frames)

    def frames(self, feed, *frames):
        chunk = FrameChunk(feed, time.time_ns(), time.monotonic_ns(), tuple(frame.encode() for frame in frames))
        self.stream.take(chunk)

    def down(self, feed, reason="reset"):
        self.stream.take(StreamDown("binance", feed, (STREAM,), reason))

    def later(self, seconds):
        self.stream.tick(time.monotonic() + seconds, time.time() + seconds)

    def told(self):
        found = []
        while (message := self.out.take(0)) is not None:
            found.append(
                ("report", message.execution_id)
                if isinstance(message, ExecutionReport)
                else "up"
                if isinstance(message, UserStreamUp)
                else "down"
                if isinstance(message, UserStreamDown)
                else message
            )
        return found


A, B, C = "binance-user.1", "binance-user.2", "binance-user.3"


def test_nothing_is_up_before_the_venue_has_confirmed():
    hand = Hand()
    assert hand.done == [("open", A)] and hand.stream.connections() == {A: "connecting"}
    hand.up(A)
    assert hand.stream.subscribed_to is None and hand.told() == []
    assert hand.stream.connections() == {A: "connected"}
    hand.frames(A, "ok", "report 1", "what", "report 2")
    assert hand.stream.subscribed_to == A and hand.stream.connections() == {A: "subscribed"}
    assert hand.told() == ["up", ("report", 1), ("report", 2)]
    assert hand.stream.progress_count == 3


def test_what_is_not_confirmed_in_time_is_connected_anew():
    hand = Hand()
    hand.up(A)
    hand.later(9)
    assert len(hand.done) == 1
    hand.later(11)
    assert hand.done[1:] == [("reconnect", A, "the subscription was not confirmed")]
    hand.later(12)
    assert len(hand.done) == 2, "asked for once"
    hand.down(A)
    hand.up(A, "ok")
    assert hand.told() == ["up"]


@pytest.mark.parametrize("end", ["ended", "junk"])
def test_a_subscription_that_ends_is_a_break_until_the_next(end):
    hand = Hand()
    hand.up(A, "ok", end)
    assert hand.told() == ["up", "down"] and hand.stream.subscribed_to is None
    assert hand.done[1][:2] == ("reconnect", A)
    hand.down(A)
    assert hand.told() == [], "told once"
    hand.up(A, "ok")
    assert hand.told() == ["up"] and hand.stream.breaks == 1


def test_a_lost_connection_is_a_break_and_its_answers_are_given_up():
    hand = Hand()
    hand.up(A, "ok", "reply 7")
    hand.down(A)
    assert hand.told() == ["up", "down"] and hand.replies == ["7"] and hand.lost == [A]
    hand.up(A, "ok")
    assert hand.told() == ["up"]


@pytest.mark.parametrize("why", ["notice", "operator"])
def test_rotation_overlaps_and_nothing_comes_twice(why):
    hand = Hand()
    hand.up(A, "ok", "report 1 1000")
    if why == "notice":
        hand.frames(A, "shutdown")
    else:
        hand.stream.take(RotateFeeds("asked by the operator"))
    assert hand.done[-1] == ("open", B)
    hand.up(B)
    hand.frames(A, "report 2 2000")
    hand.frames(B, "ok")
    for feed in (A, B):
        hand.frames(feed, "report 3 3000", "report 4 4000")
    assert hand.stream.subscribed_to == B
    with structlog.testing.capture_logs() as logs:
        hand.later(6)
    assert hand.done[-1][:2] == ("close", A)
    assert [line["event"] for line in logs] == ["stream.rotated"]
    hand.down(A, "rotated")
    assert hand.told() == ["up", *(("report", number) for number in (1, 2, 3, 4))]
    assert hand.stream.duplicates == 2 and hand.stream.breaks == 0
    hand.frames(B, "report 5 5000")
    assert hand.told() == [("report", 5)]


def test_a_predecessor_that_dies_before_its_successor_is_subscribed_is_a_break():
    hand = Hand()
    hand.up(A, "ok", "shutdown")
    hand.up(B)
    hand.down(A, "closed by the venue")
    assert hand.told() == ["up", "down"]
    hand.frames(B, "ok")
    assert hand.told() == ["up"] and hand.stream.subscribed_to == B


def test_a_successor_that_dies_is_no_break():
    hand = Hand()
    hand.up(A, "ok", "shutdown")
    hand.up(B, "ok")
    hand.down(B)
    assert hand.told() == ["up"] and hand.stream.subscribed_to == A


def test_a_key_that_is_refused_is_told_and_asked_for_again_after_growing_pauses():
    hand = Hand()
    with structlog.testing.capture_logs() as logs:
        hand.up(A, "refused key")
    assert [line["event"] for line in logs] == ["user_stream.refused"]
    assert hand.refused == [REFUSALS["key"]] and hand.told() == []
    assert hand.done[-1] == ("close", A, "the venue refused the subscription")
    hand.down(A)
    hand.later(4)
    assert hand.done[-1][0] == "close"
    hand.later(6)
    assert hand.done[-1] == ("open", B)
    hand.up(B, "refused key")
    hand.down(B)
    hand.later(14)
    assert hand.done[-1][0] == "close"
    hand.later(16)
    assert hand.done[-1] == ("open", C)
    hand.up(C, "ok")
    assert hand.told() == ["up"]


def test_a_venue_that_is_busy_is_asked_by_reconnecting():
    hand = Hand()
    hand.up(A, "refused busy")
    assert hand.done[-1][:2] == ("reconnect", A)


def test_a_venue_that_never_confirms_is_asked_for_less_once():
    hand = Hand()
    asked = []
    hand.stream._venue.simplify = lambda: asked.append(1) or True
    hand.later(5)
    assert hand.done == [("open", A)]
    hand.later(7)
    assert hand.done[1:] == [("close", A, "asking for less"), ("open", B)] and asked == [1]
    hand.later(14)
    assert asked == [1], "once"
    hand.up(B, "ok")
    assert hand.told() == ["up"]


def test_a_venue_that_has_confirmed_is_never_asked_for_less():
    hand = Hand()
    hand.stream._venue.simplify = lambda: pytest.fail("it speaks all of the protocol")
    hand.up(A, "ok")
    hand.later(60)
    hand.down(A)
    hand.later(120)


def test_what_found_no_room_is_counted():
    hand = Hand(capacity=1)
    hand.up(A, "ok")
    with structlog.testing.capture_logs() as logs:
        hand.frames(A, "report 1")
    assert hand.stream.dropped == 1 and logs[0]["event"] == "user_stream.dropped"


def test_ids_that_begin_anew_after_a_reset_are_not_copies():
    hand = Hand()
    hand.up(A, "ok", "report 1 1000", "report 1 9000", "report 1 9000")
    assert hand.told() == ["up", ("report", 1), ("report", 1)] and hand.stream.duplicates == 1


def test_another_window_holds_for_the_connection_that_is_open():
    hand = Hand()
    window = RotationWindow.parse("11:00-12:00")
    hand.stream.take(window)
    assert hand.stream._group.window is window and hand.done == [("open", A)]


def test_an_opening_that_goes_on_is_said_on_its_own_connection():
    hand = Hand()
    hand.up(A, "login")
    assert hand.done == [("open", A), ("post", A, b"orders"), ("post", A, b"wallet")]
    assert hand.stream.subscribed_to is None
    hand.frames(A, "ok")
    assert hand.stream.subscribed_to == A


def test_an_opening_that_cannot_be_said_is_connected_anew():
    hand = Hand()
    hand.stream._sockets = UserSockets(*[getattr(hand.stream._sockets, one) for one in ("open", "close", "reconnect")])
    hand.up(A, "login")  # nobody posts: such as a connection that is down already
    hand.later(11)
    assert ("reconnect", A, "the subscription was not confirmed") in hand.done


def test_a_frame_may_hold_several_messages():
    hand = Hand()
    hand.up(A, "several 1 2")
    assert hand.told() == [("report", 1), ("report", 2), "up"]
