"""Which socket is the faster one, and which has fallen silent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binmon.net.race import SILENT_AFTER_S, FeedRace, Standing

MS = 1_000_000


def race(*feeds: str) -> FeedRace:
    found = FeedRace()
    for feed in feeds:
        found.on_up(feed, 0.0)
    return found


def test_first_second_and_by_how_much() -> None:
    found = race("a", "b")
    for number, behind_ms in enumerate((1, 9, 3)):
        at_ns = number * 100 * MS
        found.on_event("a", "x", number, at_ns)
        found.on_event("b", "x", number, at_ns + behind_ms * MS)
    found.on_event("b", "x", 3, 300 * MS)
    found.on_event("a", "x", 3, 302 * MS)
    assert found.standings() == [Standing("a", 3, 1, 2.0, 2.0), Standing("b", 1, 3, 3.0, 9.0)]
    assert found.standings() == [Standing("a", 0, 0, None, None), Standing("b", 0, 0, None, None)]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 5), st.booleans()), max_size=60))
def test_every_event_has_one_first_and_no_more_seconds_than_twins(events: list) -> None:
    found = race("a", "b")
    ids = dict.fromkeys("xyz", 0)
    behind = []
    for number, (stream, lag_ms, quicker) in enumerate(events):
        ids[stream] += 1
        first, second = ("a", "b") if quicker else ("b", "a")
        found.on_event(first, stream, ids[stream], number * 100 * MS)
        found.on_event(second, stream, ids[stream], number * 100 * MS + lag_ms * MS)
        behind.append(float(lag_ms))
    standings = found.standings()
    assert sum(one.first for one in standings) == sum(one.second for one in standings) == len(events)
    assert max((one.worst_behind_ms or 0.0 for one in standings), default=0.0) == max(behind, default=0.0)


def test_an_event_that_was_overtaken_is_neither_first_nor_second() -> None:
    found = race("a", "b")
    found.on_event("a", "x", 1, 0)
    found.on_event("a", "x", 3, 10)
    found.on_event("b", "x", 2, 20)  # the other one cuts the market differently
    assert [(one.feed, one.first, one.second) for one in found.standings()] == [("a", 2, 0), ("b", 0, 0)]


def test_a_socket_is_silent_when_the_other_one_delivers() -> None:
    found = race("a", "b")
    for number in range(19):
        found.on_event("a", "x", number, number * MS)
    late_ns = int((SILENT_AFTER_S + 0.1) * 1e9)
    assert found.silent() == [], "nothing has arrived for long"
    found.on_event("a", "x", 19, int((SILENT_AFTER_S - 0.1) * 1e9))
    assert found.silent() == []
    found.on_event("a", "x", 20, late_ns)
    assert found.silent() == ["b"]
    found.on_event("b", "x", 3, late_ns)
    assert found.silent() == []


def test_little_says_nothing_of_a_silent_socket() -> None:
    found = race("a", "b")
    for second in range(15):
        found.on_event("a", "x", second, second * 1000 * MS)
    assert found.silent() == []


def test_a_quiet_market_makes_nobody_silent() -> None:
    found = race("a", "b")
    for number in range(30):
        found.on_event("a", "x", number, number * MS)
        found.on_event("b", "x", number, number * MS)
    assert found.silent() == []


def test_who_is_not_up_takes_no_part() -> None:
    found = race("a")
    found.on_event("b", "x", 1, 0)
    found.on_event("a", "x", 1, 50 * MS)
    found.on_down("a")
    found.on_down("unknown")
    assert found.standings() == [] and found.silent() == []
    found.on_up("a", 0.0)
    found.on_event("a", "x", 2, 60 * MS)
    found.forget("x")
    found.on_event("a", "x", 1, 70 * MS)  # a stream that comes back may begin anywhere
    assert found.standings() == [Standing("a", 2, 0, None, None)]
