"""Streams spread over groups of sockets, with as little moving as can be."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from binmon.books.feeds import FeedDesk, FeedOutlets
from binmon.net.race import SILENT_AFTER_S
from binmon.net.rotation import FeedRotated, RotationWindow


class Hand:
    """A desk and the sockets that it asked for."""

    def __init__(self, most_streams: int = 4, redundancy: int = 1) -> None:
        self.now_s = 1000.0
        self.opened: list[tuple[str, str, tuple]] = []
        self.alive: dict[str, tuple] = {}  # told to open and not to end
        self.closed: list[str] = []
        self.reconnected: list[str] = []
        self.rotated: list[FeedRotated] = []
        self.desk = FeedDesk(
            "binance",
            FeedOutlets(self.open, self.close, lambda feed, reason: self.reconnected.append(feed)),
            self.rotated.append,
            window=RotationWindow.parse("03:00-05:00"),
            redundancy=redundancy,
            most_streams=most_streams,
            rng=random.Random(1),
        )
        self.up: set[str] = set()

    def open(self, group: str, feed: str, streams: tuple) -> None:
        assert feed not in self.alive
        self.opened.append((group, feed, streams))
        self.alive[feed] = streams

    def close(self, feed: str, reason: str) -> None:
        del self.alive[feed]
        self.closed.append(feed)

    def tick(self, seconds: float = 0.0) -> None:
        self.now_s += seconds
        self.desk.tick(self.now_s, self.now_s + 43_200.0)

    def settle(self) -> None:
        """Let everything come up, deliver, take over and end."""
        for _ in range(60):
            for feed in [feed for feed in self.alive if feed not in self.up]:
                self.up.add(feed)
                self.desk.on_up(feed, self.now_s)
            for feed in list(self.alive):
                for stream in self.alive.get(feed, ()):
                    self.event(feed, stream, int(self.now_s * 10))
            for feed in [feed for feed in self.closed if feed in self.up]:
                self.up.discard(feed)
                self.desk.on_down(feed, self.now_s)
            self.tick(0.5)

    def event(self, feed: str, stream: str, number: int) -> None:
        self.desk.on_event(feed, stream, number, int(self.now_s * 1e9))

    def carried(self) -> dict[str, tuple]:
        """What each group carries, by the sockets that are there for it."""
        group_of = {feed: group for group, feed, _ in self.opened}
        found: dict[str, tuple] = {}
        for feed, streams in self.alive.items():
            assert found.setdefault(group_of[feed], streams) == streams
        return found


def names(*numbers: int) -> list[str]:
    return [f"s{number}" for number in numbers]


@given(st.integers(0, 50), st.integers(1, 7))
def test_streams_are_split_evenly(count: int, most: int) -> None:
    hand = Hand(most)
    hand.desk.carry(names(*range(count)))
    sizes = [len(streams) for streams in hand.alive.values()]
    assert len(sizes) == -(-count // most) and (not sizes or (max(sizes) <= most and max(sizes) - min(sizes) <= 1))
    assert sorted(stream for streams in hand.alive.values() for stream in streams) == sorted(names(*range(count)))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sets(st.integers(0, 12), max_size=12), min_size=1, max_size=5), st.integers(1, 2))
def test_only_what_changes_moves(wishes: list, redundancy: int) -> None:
    hand = Hand(4, redundancy)
    for wish in wishes:
        hand.settle()
        before = hand.carried()
        alive = set(hand.alive)
        hand.desk.carry(names(*sorted(wish)))
        hand.settle()
        after = hand.carried()
        assert sorted(stream for streams in after.values() for stream in streams) == sorted(names(*wish))
        assert all(0 < len(streams) <= 4 for streams in after.values())
        assert len(hand.alive) == redundancy * len(after)
        wanted = set(names(*wish))
        added = wanted - {stream for streams in before.values() for stream in streams}
        touched = {group for group, streams in after.items() if added & set(streams)}
        for group, streams in before.items():
            assert set(streams) & wanted <= set(after.get(group, ())), "nothing moves to another socket"
            if group not in touched and set(streams) <= wanted:
                same = {feed for name, feed, _ in hand.opened if name == group and feed in alive}
                assert same and same <= set(hand.alive), f"{group} was not concerned"
    assert set(hand.desk.states()) == set(hand.alive) and set(hand.desk.states().values()) <= {"live"}


def test_carrying_the_same_again_does_nothing() -> None:
    hand = Hand()
    hand.desk.carry(names(1, 2, 3))
    opened = list(hand.opened)
    hand.desk.carry(names(3, 2, 1))
    hand.settle()
    assert hand.opened == opened and hand.closed == []


def test_a_stream_that_comes_back_at_once_is_carried() -> None:
    hand = Hand()
    hand.desk.carry(names(1))
    for feed in list(hand.alive):
        hand.up.add(feed)
        hand.desk.on_up(feed, hand.now_s)
    hand.desk.carry([])
    hand.desk.carry(names(2))
    hand.settle()
    assert list(hand.alive.values()) == [("s2",)]


def test_rotation_is_told_and_counted_and_nothing_is_left_of_the_old_socket() -> None:
    hand = Hand()
    hand.desk.carry(names(1, 2))
    hand.settle()
    (old,) = hand.alive
    assert not hand.desk.watching
    with capture_logs() as logs:
        hand.desk.rotate("asked", old)
        hand.settle()
    (rotated,) = hand.rotated
    (new,) = hand.alive
    assert (rotated.predecessor, rotated.successor) == (old, new) and hand.desk.rotations == 1
    (line,) = [line for line in logs if line["event"] == "stream.rotated"]
    assert line["connection"] == new and line["predecessor"] == old and line["overlap_ms"] > 0
    assert hand.desk.states() == {new: "live"} and not hand.desk.watching
    hand.desk.rotate("asked", "unknown")
    hand.desk.on_up("unknown", 0.0)
    hand.desk.on_down("unknown", 0.0)
    assert hand.desk.states() == {new: "live"}


def test_while_sockets_overlap_events_are_wanted() -> None:
    hand = Hand()
    hand.desk.carry(names(1))
    hand.settle()
    hand.desk.rotate("asked")
    (new,) = [feed for feed in hand.alive if feed not in hand.up]
    assert not hand.desk.watching
    hand.desk.on_up(new, hand.now_s)
    assert hand.desk.watching and sorted(hand.desk.states().values()) == ["live", "proving"]


def test_a_silent_twin_is_connected_anew_once() -> None:
    hand = Hand(redundancy=2)
    hand.desk.carry(names(1, 2))
    assert len(hand.alive) == 2 and hand.desk.watching
    hand.settle()
    loud, silent = hand.alive
    with capture_logs() as logs:
        for number in range(30):
            hand.event(loud, "s1", 10**6 + number)
            hand.tick(SILENT_AFTER_S / 20)
    assert hand.reconnected == [silent]
    assert [line["connection"] for line in logs if line["event"] == "stream.stalled"] == [silent]
    hand.desk.on_down(silent, hand.now_s)
    assert hand.desk.states() == {loud: "live", silent: "opening"}
    hand.desk.on_up(silent, hand.now_s)
    hand.event(silent, "s1", 10**6 + 30)
    hand.tick(1.0)
    assert hand.reconnected == [silent]


@pytest.mark.parametrize("redundancy", [1, 2])
def test_twins_are_compared_every_minute(redundancy: int) -> None:
    hand = Hand(redundancy=redundancy)
    hand.desk.carry(names(1))
    with capture_logs() as logs:
        hand.settle()
        hand.settle()
        hand.settle()
    compared = [line for line in logs if line["event"] == "stream.compared"]
    assert (len(compared) == 2) is (redundancy == 2) and (redundancy == 2 or not compared)
    assert all(line["streams"] == 1 for line in compared)


def test_a_socket_that_lags_is_not_ended_before_it_has_come_to_where_its_successor_began() -> None:
    hand = Hand()
    hand.desk.carry(names(1))
    hand.settle()
    (old,) = hand.alive
    hand.desk.rotate("asked")
    (new,) = [feed for feed in hand.alive if feed not in hand.up]
    hand.desk.on_up(new, hand.now_s)
    first, lag = 10**6, 15  # a second and a half behind
    for step in range(40):
        hand.event(new, "s1", first + step)
        hand.event(old, "s1", first + step - lag)
        hand.tick(0.1)
        if hand.closed:
            break
    assert hand.closed == [old] and step - lag >= 0, f"{lag - step} events were on neither socket"
