"""Updates that wait come out as they went in, though they are packed."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.books.waiting import Waiting
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


class Whole:
    """The same, with the updates as they are."""

    def __init__(self) -> None:
        self._updates: deque[tuple[PlainUpdate, int]] = deque()

    def __len__(self) -> int:
        return len(self._updates)

    @property
    def first_update_id(self) -> int:
        return self._updates[0][0].first_update_id

    @property
    def newest(self) -> tuple[int, int]:
        update = self._updates[-1][0]
        return update.last_update_id, update.event_time_ms

    def append(self, update: PlainUpdate, receive_time_ns: int) -> None:
        self._updates.append((update, receive_time_ns))

    def drop_oldest(self) -> None:
        self._updates.popleft()

    def clear(self) -> None:
        self._updates.clear()

    def drain(self) -> list[tuple[PlainUpdate, int]]:
        updates, self._updates = list(self._updates), deque()
        return updates


def look(waiting: Waiting | Whole) -> object:
    return (len(waiting), waiting.first_update_id, waiting.newest) if len(waiting) else None


@given(steps)
def test_packed_is_as_whole(steps: list[tuple]) -> None:
    packed, whole = Waiting(), Whole()
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
    waiting = Waiting()
    for number in range(10_000):
        waiting.append(PlainUpdate("A", number, number, number, b"[1]" * 50, b""), number)
        if len(waiting) > 100:
            waiting.drop_oldest()
    assert len(waiting) == 100 and len(waiting._text) < 100_000
    assert [update.last_update_id for update, _ in waiting.drain()] == list(range(9_900, 10_000))


def test_what_is_kept_while_the_rest_is_taken_out_waits_for_the_next_time() -> None:
    waiting = Waiting()
    for number in range(3):
        waiting.append(PlainUpdate("A", 0, number, number, b"", b""), number)
    for update, receive_time_ns in waiting.drain():
        waiting.append(update, receive_time_ns)
    assert [receive_time_ns for _, receive_time_ns in waiting.drain()] == [0, 1, 2]


@pytest.mark.parametrize("name", ["event_time_ms", "first_update_id", "last_update_id"])
def test_a_number_that_is_too_large_leaves_nothing_behind(name: str) -> None:
    waiting, good = Waiting(), PlainUpdate("A", 1, 2, 3, b"[1]", b"[2]")
    with pytest.raises(OverflowError):
        waiting.append(replace(good, bids=b"[666]", **{name: 2**63}), 7)
    assert not len(waiting)
    waiting.append(good, 7)
    assert list(waiting.drain()) == [(good, 7)]
