"""Sockets that are replaced before they end: the window, the group, and the group over random histories."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from binmon.net.rotation import (
    CATCH_UP_WITHIN_S,
    DAY_S,
    LIFE_S,
    MARGIN_S,
    OVERLAP_S,
    PROOF_WITHIN_S,
    QUIET_S,
    SETTLE_S,
    CloseFeed,
    FeedGroup,
    FeedRotated,
    FeedState,
    OpenFeed,
    RotationWindow,
)

NIGHT = RotationWindow.parse("03:00-05:00")
STARTS = st.integers(0, 1439)
OPENED = st.floats(1.7e9, 1.9e9)
SHARES = st.floats(0.0, 1.0)
TEXTS = st.tuples(STARTS, STARTS).map(lambda m: f"{m[0] // 60:02}:{m[0] % 60:02}-{m[1] // 60:02}:{m[1] % 60:02}")


# The window -------------------------------------------------------------------------------------------------------


@given(TEXTS, OPENED, SHARES)
@example("00:00-00:00", 21135 * DAY_S, 0.0)  # born at the very opening: no other window opens in its life
@example("03:00-05:00", 21135 * DAY_S + 3 * 3600 + 60, 1.0)
@example("03:00-03:05", 21135 * DAY_S + 3 * 3600, 0.5)
def test_a_socket_is_always_replaced_in_its_life_and_in_a_window_that_opens_in_it(
    text: str, opened_s: float, share: float
) -> None:
    window = RotationWindow.parse(text)
    due_s = window.due_s(opened_s, share)
    latest_s = opened_s + LIFE_S - MARGIN_S
    assert opened_s < due_s <= latest_s
    first_midnight_s = opened_s // DAY_S * DAY_S
    length_s = window.end_s - window.start_s
    openings = [first_midnight_s + day * DAY_S + window.start_s for day in (-2, -1, 0, 1)]
    inside = [at for at in openings if opened_s < at <= latest_s]
    born_in = [at for at in openings if at <= opened_s < at + length_s - MARGIN_S]
    if inside:
        assert inside[-1] <= due_s <= inside[-1] + length_s
    elif born_in:  # the next one opens only after its end
        assert opened_s + MARGIN_S <= due_s <= born_in[-1] + length_s
    else:
        assert due_s == latest_s


@pytest.mark.parametrize(
    ("text", "opened", "share", "due"),
    [
        ("03:00-05:00", 12.0, 0.0, 27.0),
        ("03:00-05:00", 12.0, 0.5, 28.0),
        ("03:00-05:00", 12.0, 1.0, 29.0),
        ("03:00-05:00", 4.0, 1.0, 4.0 + 24 - 1 / 6),  # its end comes before that of the window
        ("23:00-01:00", 12.0, 1.0, 25.0),
        ("23:00-01:00", 23.5, 0.5, 24 + 23 + 1 / 6),  # from 23:00 of the next day to 23:20
        ("00:00-00:00", 6.0, 0.5, 24.0 + (6.0 - 1 / 6) / 2),
    ],
)
def test_windows_by_hand(text: str, opened: float, share: float, due: float) -> None:
    assert RotationWindow.parse(text).due_s(opened * 3600, share) / 3600 == pytest.approx(due)


@pytest.mark.parametrize("text", ["", "03:00", "03:00-", "3-5", "24:00-01:00", "03:60-04:00", "a:b-c:d", "-1:00-2:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected HH:MM"):
        RotationWindow.parse(text)


# The group, by hand -----------------------------------------------------------------------------------------------


class Hand:
    """A group with its effects taken out, and a clock: noon of some day."""

    def __init__(self, streams: tuple = ("x", "y"), redundancy: int = 1, begin_s: float = 12 * 3600.0) -> None:
        self.group = FeedGroup("g", streams, NIGHT, redundancy=redundancy, rng=random.Random(1))
        self.utc_s = begin_s
        self.now_s = 1000.0
        self.group.start()

    def effects(self) -> list:
        taken = list(self.group.effects)
        self.group.effects.clear()
        return taken

    def opened(self) -> list[str]:
        return [effect.feed for effect in self.effects() if isinstance(effect, OpenFeed)]

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.utc_s += seconds
        self.group.tick(self.now_s, self.utc_s)

    def live(self) -> str:
        (name,) = self.opened()
        self.group.on_up(name, self.now_s)
        return name

    def event(self, name: str, *streams: str) -> None:
        for stream in streams:
            self.group.on_event(name, stream, self.now_s)


def rotating(streams: tuple = ("x", "y")) -> tuple[Hand, str, str]:
    hand = Hand(streams)
    old = hand.live()
    hand.group.rotate("asked")
    (new,) = hand.opened()
    hand.group.on_up(new, hand.now_s)
    return hand, old, new


def test_the_successor_takes_over_when_it_has_shown_what_the_predecessor_shows() -> None:
    hand, old, new = rotating()
    assert hand.group.overlapping
    hand.event(new, "x")
    hand.wait(SETTLE_S)
    hand.event(old, "x", "y")
    hand.wait(OVERLAP_S)
    assert hand.effects() == [], "y is owed"
    hand.event(new, "y")
    hand.wait(0.5)
    assert hand.effects() == [
        FeedRotated("g", old, new, ("x", "y"), "asked", pytest.approx((SETTLE_S + OVERLAP_S + 0.5) * 1000)),
        CloseFeed(old, "rotated: asked"),
    ]
    assert not hand.group.overlapping and hand.group.feeds[old].state is FeedState.CLOSING
    hand.group.on_down(old, hand.now_s)
    assert list(hand.group.feeds) == [new]


def test_where_nothing_is_delivered_patience_must_do() -> None:
    hand, _, new = rotating()
    hand.wait(QUIET_S - 0.1)
    assert hand.effects() == []
    hand.wait(0.2)
    assert [type(effect) for effect in hand.effects()] == [FeedRotated, CloseFeed]
    assert hand.group.feeds[new].state is FeedState.LIVE


def test_a_successor_that_does_not_deliver_is_given_up_and_another_is_tried() -> None:
    hand, old, new = rotating()
    hand.wait(SETTLE_S)
    hand.event(old, "x")
    hand.wait(PROOF_WITHIN_S - SETTLE_S + 0.1)
    (closed,) = hand.effects()
    assert closed.feed == new and hand.group.feeds[old].state is FeedState.LIVE
    hand.group.on_down(new, hand.now_s)
    hand.wait(1.0)
    assert hand.opened() == []
    hand.wait(10.0)
    (another,) = hand.opened()
    assert another not in (old, new)


def test_what_comes_before_the_subscription_is_in_force_is_not_owed() -> None:
    hand, old, new = rotating()
    hand.event(old, "x", "y")  # the venue has not taken the request of the new one yet
    hand.wait(SETTLE_S)
    hand.event(new, "x")
    hand.wait(OVERLAP_S)
    assert any(isinstance(effect, FeedRotated) for effect in hand.effects()), "y may be quiet for an hour"


def test_a_successor_whose_streams_are_refused_does_not_take_over() -> None:
    hand, old, new = rotating()
    hand.event(new, "x")
    hand.group.refused(new)
    assert hand.effects() == [CloseFeed(new, "the venue refused its streams")]
    hand.group.on_down(new, hand.now_s)
    hand.group.refused(old)
    hand.wait(SETTLE_S + OVERLAP_S)
    assert hand.effects() == [] and hand.group.feeds[old].state is FeedState.LIVE
    hand.wait(10.0)
    assert len(hand.opened()) == 1


def test_a_successor_owes_what_is_known_to_show_itself() -> None:
    hand = Hand(("x", "y", "z"))
    hand.live()
    hand.group.rotate("asked")
    (new,) = hand.opened()
    hand.group.on_up(new, hand.now_s, ["x", "y", "of another group"])
    hand.event(new, "x")
    hand.wait(QUIET_S)
    assert hand.effects() == [], "y is owed, though the predecessor has not shown it either"
    hand.event(new, "y")
    hand.wait(0.1)
    assert [type(effect) for effect in hand.effects()] == [FeedRotated, CloseFeed], "nobody waits for z"


def test_what_is_owed_and_never_shown_is_the_end_of_a_successor() -> None:
    hand = Hand(("x", "y"))
    hand.live()
    hand.group.rotate("asked")
    (new,) = hand.opened()
    hand.group.on_up(new, hand.now_s, ["x", "y"])
    hand.event(new, "x")
    hand.wait(PROOF_WITHIN_S + 0.1)
    assert hand.effects() == [CloseFeed(new, "it does not deliver 1 of its streams")]


def test_successors_that_are_given_up_become_rarer() -> None:
    hand, _, new = rotating()
    waits = []
    for _ in range(8):
        hand.group.refused(new)
        hand.effects()
        hand.group.on_down(new, hand.now_s)
        began_s = hand.now_s
        while not (opened := hand.opened()):
            hand.wait(1.0)
        waits.append(hand.now_s - began_s)
        (new,) = opened
        hand.group.on_up(new, hand.now_s)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    hand.group.change(("x", "y", "z"), "symbols changed")  # which may be why
    hand.group.refused(new)
    hand.effects()
    hand.group.on_down(new, hand.now_s)
    hand.wait(10.0)
    assert len(hand.opened()) == 1


def test_losing_the_predecessor_promotes_the_successor_and_losing_the_successor_does_not_matter() -> None:
    hand, old, new = rotating()
    hand.group.on_down(new, hand.now_s)
    assert hand.effects() == [] and hand.group.feeds[new].state is FeedState.OPENING
    hand.group.on_up(new, hand.now_s)
    hand.event(new, "x")
    hand.now_s += 0.2
    hand.group.on_down(old, hand.now_s)
    rotated, closed = hand.effects()
    assert rotated.overlap_ms == pytest.approx(200) and closed.feed == old
    assert {name: feed.state for name, feed in hand.group.feeds.items()} == {new: FeedState.LIVE}


def test_a_notice_to_a_successor_is_not_forgotten() -> None:
    hand, old, new = rotating()
    hand.group.rotate("serverShutdown", new)
    hand.event(old, "x", "y")
    hand.event(new, "x", "y")
    hand.wait(SETTLE_S + OVERLAP_S)
    hand.wait(0.1)
    assert [effect.feed for effect in hand.effects() if isinstance(effect, OpenFeed)], "it is about to be closed"


def test_age_leads_to_rotation_within_the_window() -> None:
    hand = Hand()
    hand.live()
    hand.wait(14.9 * 3600)  # 02:54
    assert hand.opened() == []
    hand.wait(2.2 * 3600)  # 05:06
    assert len(hand.opened()) == 1


def test_other_streams_come_by_a_successor_and_none_end_all() -> None:
    hand = Hand()
    old = hand.live()
    hand.group.change(("x", "y", "z"), "symbols changed")
    (opened,) = hand.effects()
    assert opened.streams == ("x", "y", "z") and opened.feed != old
    hand.group.change(("z",), "symbols changed")
    closed, again = hand.effects()
    assert closed.feed == opened.feed and again.streams == ("z",)
    hand.group.change((), "symbols changed")
    assert {effect.feed for effect in hand.effects()} == {again.feed, old}
    hand.group.on_down(old, hand.now_s)
    assert not hand.group.feeds


def test_other_streams_once_more_do_not_take_down_what_only_the_successor_carries() -> None:
    hand = Hand(("x",))
    old = hand.live()
    hand.group.change(("x", "y"), "symbols changed")
    (new,) = hand.opened()
    hand.group.on_up(new, hand.now_s)  # from now on y is carried, by this one alone
    hand.group.change(("x", "y", "z"), "symbols changed")
    assert hand.effects() == []
    hand.event(old, "x")
    hand.event(new, "x", "y")
    hand.wait(SETTLE_S + OVERLAP_S)
    hand.wait(CATCH_UP_WITHIN_S)  # the predecessor never comes to y
    taken, closed = hand.effects()
    assert isinstance(taken, FeedRotated) and closed == CloseFeed(old, "rotated: symbols changed")
    hand.group.on_down(old, hand.now_s)
    hand.wait(0.1)
    (third,) = hand.effects()
    assert third.streams == ("x", "y", "z") and hand.group.feeds[new].state is FeedState.LIVE


def test_a_stream_the_new_set_does_not_have_is_not_owed() -> None:
    hand = Hand()
    old = hand.live()
    hand.group.change(("y",), "symbols changed")
    (new,) = hand.opened()
    hand.group.on_up(new, hand.now_s)
    hand.event(old, "x", "y")
    hand.event(new, "y")
    hand.wait(SETTLE_S + OVERLAP_S)
    assert any(isinstance(effect, FeedRotated) for effect in hand.effects())


def test_streams_that_come_back_before_the_last_socket_has_ended_are_carried() -> None:
    hand = Hand()
    old = hand.live()
    hand.group.change((), "symbols changed")
    hand.group.change(("x",), "symbols changed")
    hand.group.on_down(old, hand.now_s)
    assert [effect.streams for effect in hand.effects() if isinstance(effect, OpenFeed)] == [("x",)]


# The group, over random histories ---------------------------------------------------------------------------------


class Groups(RuleBasedStateMachine):
    """Sockets come up, are lost, deliver and are told to end, in any order."""

    @initialize(redundancy=st.integers(1, 3), seed=st.integers(0, 9))
    def begin(self, redundancy: int, seed: int) -> None:
        self.redundancy = redundancy
        self.now_s, self.offset_s = 1000.0, 43_200.0
        self.group = FeedGroup("g", ("x", "y"), NIGHT, redundancy=redundancy, rng=random.Random(seed))
        self.ever: dict[str, tuple] = {}  # every socket that was opened, with its streams
        self.up: set[str] = set()
        self.told: set[str] = set()  # to end
        self.shown: dict[str, dict[str, list[float]]] = {}  # feed -> stream -> times, since it is up
        self.streams = ("x", "y")
        self.since: dict[str, float] = {}
        self.group.start()
        self.look()

    def look(self) -> None:
        """Take in the effects."""
        group = self.group
        while group.effects:
            match group.effects.popleft():
                case OpenFeed(name, feed, streams):
                    assert name == "g" and feed not in self.ever, "every socket has a fresh name"
                    assert streams == self.streams
                    self.ever[feed] = streams
                case CloseFeed(feed, _):
                    assert feed in self.ever and feed not in self.told, "told to end once"
                    self.told.add(feed)
                case FeedRotated(_, old, new, streams, _, overlap_ms):
                    assert overlap_ms > 0 and new in self.up and self.ever[new] == streams
                    self.rotation_was_right(old, new)

    def rotation_was_right(self, old: str, new: str) -> None:
        if old in self.up:  # and was closed for it: it must not have been needed any more
            since_s = self.since[new]
            for stream, times in self.shown[old].items():
                late = [at for at in times if at >= since_s + SETTLE_S]
                if late and stream in self.ever[new]:
                    assert self.shown[new].get(stream), f"{stream} is missing from {new}"

    @rule(pick=st.randoms())
    def comes_up(self, pick: random.Random) -> None:
        down = sorted(set(self.ever) - self.up - self.told)
        if down:
            name = pick.choice(down)
            self.up.add(name)
            self.shown[name] = {}
            self.since[name] = self.now_s
            self.group.on_up(name, self.now_s)
            self.look()

    @rule(pick=st.randoms())
    def is_lost(self, pick: random.Random) -> None:
        if self.up:
            name = pick.choice(sorted(self.up))
            self.up.discard(name)
            self.group.on_down(name, self.now_s)
            self.look()

    @rule()
    def those_told_to_end_do(self) -> None:
        for name in sorted(self.told & self.up):
            self.up.discard(name)
            self.group.on_down(name, self.now_s)
            self.look()

    @rule(pick=st.randoms(), stream=st.sampled_from("xyz"))
    def delivers(self, pick: random.Random, stream: str) -> None:
        ready = sorted(name for name in self.up if stream in self.ever[name])
        if ready:
            name = pick.choice(ready)
            self.shown[name].setdefault(stream, []).append(self.now_s)
            self.group.on_event(name, stream, self.now_s)
            self.look()

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.0, 5.0, 31.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.group.tick(self.now_s, self.now_s + self.offset_s)
        self.look()

    @rule(pick=st.randoms(), which=st.sampled_from(["all", "one"]))
    def rotate(self, pick: random.Random, which: str) -> None:
        self.group.rotate("asked", pick.choice(sorted(self.ever)) if which == "one" else None)
        self.look()

    @rule(shown=st.sets(st.sampled_from("xyz"), max_size=2), seconds=st.sampled_from([0.4, 1.1, 5.1]))
    def successors_show_less_than_their_predecessors(self, shown: set, seconds: float) -> None:
        for feed in list(self.group.feeds.values()):
            if feed.state is FeedState.PROVING or (feed.state is FeedState.LIVE and feed.name in self.up):
                for stream in feed.streams:
                    if feed.state is FeedState.LIVE or stream in shown:
                        self.shown[feed.name].setdefault(stream, []).append(self.now_s)
                        self.group.on_event(feed.name, stream, self.now_s)
        self.time_passes(seconds)

    @rule(streams=st.sampled_from([("x", "y"), ("x",), ("x", "y", "z"), ()]))
    def change(self, streams: tuple) -> None:
        if streams != self.streams:
            self.streams = streams
            self.group.change(streams, "symbols changed")
            self.look()

    @rule()
    def with_nothing_going_wrong_rotation_finishes(self) -> None:
        self.group.rotate("asked")
        self.look()
        for _ in range(60):
            for name in sorted(set(self.ever) - self.up - self.told):
                self.up.add(name)
                self.shown[name] = {}
                self.since[name] = self.now_s
                self.group.on_up(name, self.now_s)
                self.look()
            for name in sorted(self.up - self.told):
                for stream in self.ever[name]:
                    self.shown[name].setdefault(stream, []).append(self.now_s)
                    self.group.on_event(name, stream, self.now_s)
            self.those_told_to_end_do()
            self.time_passes(0.6)
        states = [feed.state for feed in self.group.feeds.values()]
        assert states == [FeedState.LIVE] * (self.redundancy if self.streams else 0)
        assert all(feed.streams == self.streams for feed in self.group.feeds.values())
        assert not self.group.overlapping

    @invariant()
    def there_are_as_many_as_were_asked_for(self) -> None:
        if not hasattr(self, "group"):
            return
        feeds = self.group.feeds.values()
        carrying = [feed for feed in feeds if feed.state is not FeedState.CLOSING and feed.replaces is None]
        successors = [feed for feed in feeds if feed.state is not FeedState.CLOSING and feed.replaces is not None]
        assert len(carrying) == (self.redundancy if self.streams else 0)
        replaced = [feed.replaces for feed in successors]
        assert len(replaced) == len(set(replaced)) and set(replaced) <= {feed.name for feed in carrying}

    @invariant()
    def what_was_told_to_end_is_nothing_else(self) -> None:
        if hasattr(self, "group"):
            for feed in self.group.feeds.values():
                assert (feed.name in self.told) == (feed.state is FeedState.CLOSING)
                assert (feed.proof is not None) == (feed.state is FeedState.PROVING)
            assert set(self.ever) - self.told <= set(self.group.feeds), "nothing is forgotten while it may be open"


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
