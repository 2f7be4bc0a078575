"""Updates that wait come out as they went in, however they are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.books.waiting import Waiting, WaitingPacked, WaitingWhole
from binmon.venues.base import PlainUpdate

updates = st.builds(
    PlainUpdate,
    symbol=st.just("ABCUSDT"),
    event_time_ms=st.integers(0, 2**45),
    first_update_id=st.integers(0, 2**62),
    last_update_id=st.integers(0, 2**62),
    bids=st.binary(max_size=40),
    asks=st.binary(max_size=40),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), updates, st.integers(0, 2**62)),
        st.tuples(st.sampled_from(["drop", "drop", "clear", "drain"])),
    ),
    max_size=60,
)


def look(waiting: Waiting) -> object:
    return (len(waiting), waiting.first_update_id, waiting.newest) if len(waiting) else None


@given(steps)
def test_packed_is_as_whole(steps: list[tuple]) -> None:
    packed, whole = WaitingPacked(), WaitingWhole()
    for kind, *more in steps:
        for one in (packed, whole):
            if kind == "append":
                one.append(*more)
            elif kind == "drop" and len(one):
                one.drop_oldest()
            elif kind == "clear":
                one.clear()
        if kind == "drain":
            assert list(packed.drain()) == list(whole.drain())
            assert not len(packed) and not len(whole)
        assert look(packed) == look(whole)


def test_it_stays_small_though_much_goes_through() -> None:
    waiting = WaitingPacked()
    for number in range(10_000):
        waiting.append(PlainUpdate("A", number, number, number, b"[1]" * 50, b""), number)
        if len(waiting) > 100:
            waiting.drop_oldest()
    assert len(waiting) == 100 and len(waiting._text) < 100_000
    assert [update.last_update_id for update, _ in waiting.drain()] == list(range(9_900, 10_000))


def test_what_is_kept_while_the_rest_is_taken_out_waits_for_the_next_time() -> None:
    waiting = WaitingPacked()
    for number in range(3):
        waiting.append(PlainUpdate("A", 0, number, number, b"", b""), number)
    for update, receive_time_ns in waiting.drain():
        waiting.append(update, receive_time_ns)
    assert [receive_time_ns for _, receive_time_ns in waiting.drain()] == [0, 1, 2]


@pytest.mark.parametrize("name", ["event_time_ms", "first_update_id", "last_update_id"])
def test_a_number_that_is_too_large_leaves_nothing_behind(name: str) -> None:
    waiting, good = WaitingPacked(), PlainUpdate("A", 1, 2, 3, b"[1]", b"[2]")
    with pytest.raises(OverflowError):
        waiting.append(replace(good, bids=b"[666]", **{name: 2**63}), 7)
    assert not len(waiting)
    waiting.append(good, 7)
    assert list(waiting.drain()) == [(good, 7)]
