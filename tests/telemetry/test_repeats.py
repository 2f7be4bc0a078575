"""Repeated lines: what passes, what is held back, and that every line is either written or counted."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.telemetry.repeats import Kind, Repeated, RepeatFilter, RepeatLimit, subject_of


def kind(event: str = "stream.malformed", **subject: str) -> Kind:
    return Kind("binmon.books", "warning", event, tuple(subject.items()))


def test_so_many_pass_and_the_rest_is_counted() -> None:
    limit = RepeatLimit(3, 60.0)
    assert [limit.take(kind(), now_s) for now_s in (0.0, 1.0, 2.0, 3.0, 59.9)] == [True, True, True, False, False]
    assert limit.due(59.9) == []
    assert limit.due(60.0) == [Repeated(kind(), 2, 60.0)]
    assert limit.due(60.0) == [] and len(limit) == 0
    assert limit.take(kind(), 60.0)


def test_what_was_not_too_much_is_not_told() -> None:
    limit = RepeatLimit(3, 60.0)
    assert all(limit.take(kind(), 0.0) for _ in range(3))
    assert limit.due(100.0) == [] and len(limit) == 0


def test_another_subject_is_no_repetition() -> None:
    limit = RepeatLimit(1, 60.0)
    kinds = [
        kind(),
        kind(venue="binance"),
        kind(venue="bybit"),
        kind("stream.refused"),
        Kind("binmon.net", "warning", "stream.malformed"),
        Kind("binmon.books", "error", "stream.malformed"),
    ]
    assert all(limit.take(one, 0.0) for one in kinds)
    assert not any(limit.take(one, 0.0) for one in kinds)
    assert limit.flush(30.0) == [Repeated(one, 1, 30.0) for one in kinds]


def test_a_limit_of_nothing_holds_nothing_back() -> None:
    limit = RepeatLimit(0, 60.0)
    assert all(limit.take(kind(), 0.0) for _ in range(1000))
    assert limit.flush(1.0) == [] and len(limit) == 0


def test_memory_is_bounded_whatever_is_logged() -> None:
    limit = RepeatLimit(2, 60.0, most=10)
    passed = sum(limit.take(kind(symbol=f"S{n}"), 0.0) for n in range(1000))
    # ten have their own count, and all others one together
    assert passed == 12 and len(limit) == 11
    foreign = sum(limit.take(Kind("urllib3", "warning", f"text {n}", is_ours=False), 0.0) for n in range(1000))
    assert foreign == 2 and len(limit) == 12
    assert sum(one.held_back for one in limit.flush(1.0)) == 988 + 998


@given(
    st.integers(1, 4),
    st.sampled_from([1.0, 5.0]),
    st.lists(st.tuples(st.sampled_from(["take", "due"]), st.floats(0, 3), st.integers(0, 12)), max_size=80),
)
def test_every_line_is_written_or_counted(
    most_lines: int, window_s: float, steps: list[tuple[str, float, int]]
) -> None:
    """For any sequence: no line is lost without being counted, and no window lets more pass than the limit."""
    limit = RepeatLimit(most_lines, window_s, most=8)
    now_s, told = 0.0, 0
    given_, passed = Counter[Kind](), Counter[Kind]()
    since: dict[Kind, list[float]] = {}
    for step, after_s, number in steps:
        now_s += after_s
        told += sum(one.held_back for one in limit.due(now_s))
        assert len(limit) <= 9
        if step == "take":
            one = kind(symbol=f"S{number}")
            given_[one] += 1
            if limit.take(one, now_s):
                passed[one] += 1
                since.setdefault(one, []).append(now_s)
    for moments in since.values():
        for moment in moments:
            assert sum(moment <= other < moment + window_s for other in moments) <= 2 * most_lines
    ended = limit.flush(now_s)
    assert all(one.held_back > 0 and 0 <= one.over_s <= window_s for one in ended)
    assert passed.total() + told + sum(one.held_back for one in ended) == given_.total()
    assert len(limit) == 0 and limit.flush(now_s) == []


def test_the_number_of_a_connection_is_no_subject() -> None:
    event = {"venue": "binance", "connection": "binance-market-1.7", "worker": "binance-user-data.12", "error": "17"}
    assert subject_of(event, ("venue", "symbol", "connection", "worker")) == (
        ("venue", "binance"),
        ("connection", "binance-market-1.*"),
        ("worker", "binance-user-data.*"),
    )
    assert subject_of({"path": "x" * 1000, "symbol": None}, ("path", "symbol")) == (("path", "x" * 200),)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_filter_tells_when_a_window_ends_or_the_limit_changes() -> None:
    told: list[Repeated] = []
    clock = Clock()
    repeats = RepeatFilter(told.append, monotonic=clock)
    assert all(repeats.admits(kind()) for _ in range(10)), "nothing is held back before it is configured"
    repeats.configure(1, 10.0)
    assert [repeats.admits(kind()) for _ in range(3)] == [True, False, False]
    repeats.configure(1, 10.0)
    assert not told and not repeats.admits(kind()), "the same again changes nothing"
    clock.now_s = 10.0
    repeats.tick()
    assert told == [Repeated(kind(), 3, 10.0)]
    assert [repeats.admits(kind()) for _ in range(2)] == [True, False]
    clock.now_s = 12.5
    repeats.configure(5, 10.0)
    assert told[1:] == [Repeated(kind(), 1, 2.5)]
    assert all(repeats.admits(kind()) for _ in range(5)) and not repeats.admits(kind())
    clock.now_s = 30.0
    assert repeats.admits(kind("stream.refused")), "another line tells what is due, too"
    assert told[2:] == [Repeated(kind(), 1, 10.0)]
    foreign = Kind("urllib3", "warning", "x %d", is_ours=False)
    assert [repeats.admits(foreign) for _ in range(6)][-1] is False
    repeats.flush()
    assert told[3:] == [Repeated(foreign, 1, 0.0)]
    assert repeats.held_back == {"stream.malformed": 5, "other": 1}


@pytest.mark.parametrize("threads", [8])
def test_threads_lose_no_count(threads: int) -> None:
    told: list[Repeated] = []
    repeats = RepeatFilter(told.append)
    repeats.configure(7, 3600.0)
    passed = [0] * threads

    def work(number: int) -> None:
        passed[number] = sum(repeats.admits(kind(symbol=f"S{n % 3}")) for n in range(3000))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    repeats.flush()
    assert sum(passed) == 21
    assert sum(one.held_back for one in told) == repeats.held_back["stream.malformed"] == threads * 3000 - 21
