"""What counts as too long a silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.net.cadence import CadenceWatch


def paced(watch, stream, interval_s, events=10, begin_s=0.0):
    """Feed evenly spaced events; returns the time of the last."""
    for number in range(events):
        now_s = begin_s + number * interval_s
        watch.seen(stream, now_s)
    return now_s


def test_a_quick_stream_is_suspected_after_the_floor():
    watch = CadenceWatch()
    last_s = paced(watch, "a", 0.1)
    assert watch.silent(last_s + 4.9) == []
    [(stream, silent_s, allowed_s)] = watch.silent(last_s + 5.1)
    assert (stream, allowed_s) == ("a", 5.0)
    assert silent_s == pytest.approx(5.1)


def test_a_slow_stream_gets_ten_of_its_intervals_and_never_more_than_the_ceiling():
    watch = CadenceWatch()
    last_s = paced(watch, "slow", 3.0)
    assert watch.allowed_s("slow") == pytest.approx(30.0, rel=0.1)
    assert watch.silent(last_s + 26.0) == []
    assert watch.silent(last_s + 31.0)
    paced(watch, "slower", 100.0)
    assert watch.allowed_s("slower") == 300.0


def test_nothing_is_learned_before_five_events_but_silence_is_bounded():
    watch = CadenceWatch()
    last_s = paced(watch, "a", 0.1, events=4)
    assert watch.silent(last_s + 59) == [] and watch.allowed_s("a") is None
    assert watch.silent(last_s + 61) == [("a", 61.0, 60.0)]
    watch.seen("a", last_s + 0.1)
    assert watch.silent(last_s + 1000)
    assert watch.allowed_s("unknown") is None


def test_a_burst_does_not_wash_out_a_quiet_minute():
    watch = CadenceWatch()
    last_s = paced(watch, "trades", 20.0)
    last_s = paced(watch, "trades", 0.0001, events=5000, begin_s=last_s)
    assert watch.allowed_s("trades") > 190


def test_an_old_pause_is_forgotten_in_time():
    watch = CadenceWatch(memory_s=60)
    last_s = paced(watch, "a", 10.0)
    last_s = paced(watch, "a", 0.1, events=3000, begin_s=last_s)
    assert watch.allowed_s("a") == 5.0


def test_a_pause_is_neither_suspected_nor_learned():
    watch = CadenceWatch()
    last_s = paced(watch, "a", 0.1)
    watch.pause("a")
    assert watch.silent(last_s + 500) == []
    watch.seen("a", last_s + 200)
    assert watch.allowed_s("a") == 5.0
    assert watch.silent(last_s + 204) == [] and watch.silent(last_s + 206)


def test_forget_and_allow_more():
    watch = CadenceWatch()
    last_s = paced(watch, "a", 0.1)
    watch.allow_more("a")
    assert watch.silent(last_s + 9.9) == [] and watch.silent(last_s + 10.1)
    for _ in range(2000):
        watch.allow_more("a")
    assert watch.allowed_s("a") == 300.0
    watch.forget("a")
    assert len(watch) == 0 and watch.silent(last_s + 1000) == []
    for change in (watch.forget, watch.pause, watch.allow_more):
        change("unknown")
    assert len(watch) == 0


@given(st.lists(st.floats(0.0, 100.0), min_size=5, max_size=60), st.floats(0.0, 1000.0))
def test_the_allowance_stays_within_its_bounds_and_covers_the_last_interval(intervals, later_s):
    watch = CadenceWatch()
    now_s = 0.0
    watch.seen("a", now_s)
    for interval_s in intervals:
        now_s += interval_s
        watch.seen("a", now_s)
    allowed_s = watch.allowed_s("a")
    assert 5.0 <= allowed_s <= 300.0
    assert allowed_s >= min(300.0, 10 * intervals[-1] * 0.999999)
    assert bool(watch.silent(now_s + later_s)) == (now_s + later_s - now_s > allowed_s)


@pytest.mark.parametrize(
    "wrong", [{"floor_s": 0}, {"ceiling_s": 1}, {"factor": 0.5}, {"memory_s": 0}, {"least_observations": 1}]
)
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        CadenceWatch(**wrong)


def test_expecting_a_stream_starts_its_clock_and_teaches_nothing():
    watch = CadenceWatch()
    for up_s in (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0):
        watch.expect("a", up_s)
        watch.pause("a")
    watch.expect("a", 100.0)
    assert watch.allowed_s("a") is None
    assert watch.silent(159.0) == [] and watch.silent(161.0) == [("a", 61.0, 60.0)]
