"""Topics, leases, replay and outboxes, without sockets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.dashboard.hub import Hub, Subscription
from binmon.dashboard.leases import Leases
from binmon.dashboard.outbox import Outbox
from binmon.dashboard.replay import Event, Replay
from binmon.dashboard.topics import Topic, TopicKind

TRADES = Topic.parse("trades:binance:BTCUSDT")
BOOK = Topic.parse("book:binance:BTCUSDT")
ALERTS = Topic(TopicKind.ALERTS)


def told(hub: Hub, subscription: Subscription) -> list[tuple[int, str, dict[str, object]]]:
    """All that waits for it."""
    text = b""
    while part := hub.take(subscription, 1 << 20):
        text += part
    found = []
    for block in text.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


# Topics ---------------------------------------------------------------------------------------------------------------


def test_topics_are_read_and_written() -> None:
    assert Topic.parse("candles:binance:BTCUSDT:1m") == Topic(TopicKind.CANDLES, "binance", "BTCUSDT", "1m")
    for text in ("status", "tops", "candles:binance:BTCUSDT:1m", "trades:kraken:BTC/USD"):
        assert str(Topic.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "nope", "status:binance", "candles", "candles:binance:BTCUSDT", "trades:binance:", "book:a:b:c"]
)
def test_what_is_no_topic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Topic.parse(text)


# Leases ---------------------------------------------------------------------------------------------------------------


def test_a_lease_lasts_a_while_longer_than_anybody_looks() -> None:
    leases = Leases(60.0)
    assert leases.hold(TRADES)
    assert not leases.hold(TRADES)
    leases.release(TRADES, 100.0)
    assert leases.expire(1000.0) == []
    leases.release(TRADES, 1000.0)
    assert leases.expire(1059.0) == []
    assert TRADES in leases
    assert leases.expire(1060.0) == [TRADES]
    assert leases.topics == frozenset()


def test_a_browser_that_comes_back_in_time_finds_the_same_lease() -> None:
    leases = Leases(60.0)
    leases.hold(TRADES)
    leases.release(TRADES, 0.0)
    assert not leases.hold(TRADES)
    assert leases.expire(1000.0) == []


def test_a_look_leases_for_a_while() -> None:
    leases = Leases(60.0)
    assert leases.look(TRADES, 0.0)
    assert not leases.look(TRADES, 30.0)
    assert leases.expire(89.0) == []
    assert leases.expire(90.0) == [TRADES]


# Replay ---------------------------------------------------------------------------------------------------------------


def event(number: int, topic: Topic = TRADES, replaces: str | None = None, size: int = 10) -> Event:
    return Event(number, topic, b"x" * size, replaces)


def test_only_the_newest_of_what_replaces_itself_is_kept() -> None:
    replay = Replay()
    replay.begin(BOOK, 0)
    for number in range(1, 100):
        replay.add(event(number, BOOK, "book"))
    events, unsure = replay.since(frozenset([BOOK]), 5, 99)
    assert [one.id for one in events] == [99]
    assert unsure == []


def test_what_was_thrown_away_is_not_told_as_if_it_were_whole() -> None:
    replay = Replay(most_events=10)
    replay.begin(TRADES, 0)
    replay.begin(ALERTS, 0)
    replay.add(event(1, ALERTS))
    for number in range(2, 30):
        replay.add(event(number))
    assert replay.since(frozenset([TRADES]), 19, 29) == ([replay._events[n] for n in range(20, 30)], [])
    assert replay.since(frozenset([TRADES]), 18, 29) == ([], [TRADES])
    # of the other topic, too, as an event of it was thrown away after the one that was seen
    assert replay.since(frozenset([ALERTS]), 0, 29) == ([], [ALERTS])
    assert replay.since(frozenset([ALERTS]), 1, 29) == ([], [])


def test_bytes_are_bounded_too() -> None:
    replay = Replay(most_bytes=1000)
    replay.begin(TRADES, 0)
    for number in range(100):
        replay.add(event(number, size=100))
    assert replay.kept_bytes <= 1000
    assert len(replay) == 10


# Hub ------------------------------------------------------------------------------------------------------------------


def test_events_go_to_who_looks_at_their_topic() -> None:
    hub = Hub()
    first, second = hub.open(frozenset([TRADES]), None), hub.open(frozenset([ALERTS, BOOK]), None)
    hub.publish(TRADES, "trade", {"trades": []})
    hub.publish(ALERTS, "alert", {"text": "ä"})
    assert [kind for _, kind, _ in told(hub, first)] == ["hello", "trade"]
    assert [(kind, data.get("text")) for _, kind, data in told(hub, second)][1:] == [("alert", "ä")]


def test_who_comes_back_gets_what_it_has_missed() -> None:
    hub = Hub()
    first = hub.open(frozenset([TRADES]), None)
    hub.publish(TRADES, "trade", {"number": 1})
    seen = told(hub, first)[-1][0]
    hub.close(first)
    hub.publish(TRADES, "trade", {"number": 2})
    hub.publish(TRADES, "trade", {"number": 3})
    again = told(hub, hub.open(frozenset([TRADES]), seen))
    assert [(kind, data.get("number")) for _, kind, data in again] == [("hello", None), ("trade", 2), ("trade", 3)]
    assert again[0][0] == seen, "hello does not move it past what it has not got yet"


def test_who_comes_back_too_late_or_from_elsewhere_is_told_to_load_anew() -> None:
    now_s = [0.0]
    hub = Hub(now_s=lambda: now_s[0])
    first = hub.open(frozenset([TRADES]), None)
    hub.publish(TRADES, "trade", {})
    seen = told(hub, first)[-1][0]
    hub.close(first)
    now_s[0] = 100.0
    assert hub.leased() == frozenset()
    hub.publish(TRADES, "trade", {"nobody": "looks"})
    for number in (seen, 0, seen + 10**12):
        again = told(hub, hub.open(frozenset([TRADES]), number))
        assert [kind for _, kind, _ in again] == ["hello", "reset"], number
        assert again[1][2] == {"topics": ["trades:binance:BTCUSDT"]}


def test_a_break_before_the_first_event_is_no_gap_either() -> None:
    hub = Hub()
    first = hub.open(frozenset([TRADES]), None)
    ((seen, kind, _),) = told(hub, first)
    assert kind == "hello"
    hub.close(first)
    hub.publish(TRADES, "trade", {"number": 1})
    assert [kind for _, kind, _ in told(hub, hub.open(frozenset([TRADES]), seen))] == ["hello", "trade"]


def test_what_was_lost_on_the_way_is_said_to_all() -> None:
    hub = Hub()
    one = hub.open(frozenset([TRADES]), None)
    seen = told(hub, one)[0][0]
    hub.lost()
    assert [kind for _, kind, _ in told(hub, one)] == ["reset"]
    assert [kind for _, kind, _ in told(hub, hub.open(frozenset([TRADES]), seen))] == ["hello", "reset"]


def test_a_browser_that_does_not_read_is_given_up_and_takes_no_memory() -> None:
    hub = Hub(outbox=lambda: Outbox(most_events=50, most_bytes=10_000))
    slow, quick = hub.open(frozenset([TRADES, BOOK]), None), hub.open(frozenset([TRADES]), None)
    for number in range(200):
        hub.publish(BOOK, "book", {"number": number}, "book")
        if number < 40:
            hub.publish(TRADES, "trade", {"number": number})
            told(hub, quick)
    # the book alone would never fill it: each replaces the one before
    waiting = told(hub, slow)
    assert [data["number"] for _, kind, data in waiting if kind == "book"] == [199]
    assert [data["number"] for _, kind, data in waiting if kind == "trade"] == list(range(40))
    for number in range(60):
        hub.publish(TRADES, "trade", {"number": number})
    assert hub.take(slow, 1 << 20) is None
    assert slow.outbox.waiting_bytes == 0
    assert hub.take(quick, 1 << 20) is None


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.sampled_from([TRADES, ALERTS]), st.booleans()),
            st.tuples(st.just("break"), st.integers(0, 3), st.booleans()),
            st.tuples(st.just("read"), st.integers(0, 3), st.booleans()),
            st.tuples(st.just("wait"), st.integers(0, 100), st.booleans()),
        ),
        max_size=80,
    )
)
def test_a_browser_gets_every_event_once_and_in_order_or_is_told_to_load_anew(
    steps: list[tuple[str, object, bool]],
) -> None:
    """However often it breaks off and comes back: between two resets there is no hole and nothing comes twice."""
    now_s = [0.0]
    hub = Hub(now_s=lambda: now_s[0], replay=Replay(most_events=12), outbox=lambda: Outbox(most_events=30))
    published: list[int] = []
    got: list[int] = []
    subscription: Subscription | None = hub.open(frozenset([TRADES]), None)
    seen = 0

    def read() -> None:
        nonlocal seen, subscription
        assert subscription is not None
        if subscription.outbox.overflowed:  # it was dropped, and comes back
            hub.close(subscription)
            subscription = hub.open(frozenset([TRADES]), seen)
        for number, kind, data in told(hub, subscription):
            assert number >= seen
            seen = number
            if kind == "reset":
                got[:] = published  # it loads all that there is
            elif kind == "trade":
                assert isinstance(data["number"], int)
                got.append(data["number"])

    number = 0
    for what, value, flag in steps:
        if what == "publish":
            assert isinstance(value, Topic)
            number += 1
            if value == TRADES:
                published.append(number)
            hub.publish(value, "trade", {"number": number})
        elif what == "break" and subscription is not None:
            if flag:
                read()  # what had arrived before it broke
            hub.close(subscription)
            subscription = None
        elif what == "read":
            if subscription is None:
                subscription = hub.open(frozenset([TRADES]), seen)
            read()
            assert got == published
        elif what == "wait":
            assert isinstance(value, int)
            now_s[0] += value
            hub.leased()
    if subscription is None:
        subscription = hub.open(frozenset([TRADES]), seen)
    read()
    assert got == published
