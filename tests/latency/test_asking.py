"""When the venue is asked for an order, and what counts as not known."""

from __future__ import annotations

from binmon.latency.asking import GIVE_UP_AFTER_S, NOT_FOUND_TIMES, PAUSES_S, Asking
from tests.latency.messages import S


def test_pauses_grow_and_begin_with_the_answer() -> None:
    asking, now = Asking(0, 0), 0
    for pause_s in (*PAUSES_S, PAUSES_S[-1]):
        assert asking.ask(now) and not asking.ask(now)
        now += 3 * S  # the answer takes its time
        assert not asking.ask(now)
        asking.found(now)
        assert not asking.ask(now + int(pause_s * S) - 1)
        now += int(pause_s * S)
    assert asking.attempt == len(PAUSES_S) + 1


def test_a_question_that_got_lost_is_asked_again() -> None:
    asking = Asking(0, 0)
    assert asking.ask(0) and not asking.ask(59 * S) and asking.ask(60 * S)


def test_not_known_takes_both_times_and_time() -> None:
    asking = Asking(0, 0)
    assert [asking.unknown(at * 3 * S) for at in range(6)] == [False] * 5 + [True]  # five are there after 12 s
    asking = Asking(0, 0)
    assert [asking.unknown(at * 60 * S) for at in range(5)] == [False] * (NOT_FOUND_TIMES - 1) + [True]


def test_known_in_between_begins_anew() -> None:
    asking = Asking(0, 0)
    for at in range(4):
        assert not asking.unknown(at * 60 * S)
    asking.found(240 * S)
    assert [asking.unknown((300 + at * 10) * S) for at in range(5)] == [False] * 4 + [True]


def test_hopeless_without_any_answer() -> None:
    asking = Asking(10 * S, 10 * S)
    end = 10 * S + int(GIVE_UP_AFTER_S * S)
    assert asking.ask(10 * S)
    asking.failed("no connection", 11 * S)
    assert asking.last_failure == "no connection"
    assert not asking.hopeless(end - 1) and asking.hopeless(end)
    asking.unknown(end - S)
    assert not asking.hopeless(end)
