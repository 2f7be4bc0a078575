"""The estimate of a venue's clock against a clock whose offset, drift and steps are known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.core.clock import ClockEstimator, ClockSample, VenueClock

SECOND = 10**9
START = 5_000 * SECOND  # monotonic
WALL = 1_790_000_000 * SECOND - START  # our wall clock minus our monotonic clock


class Venue:
    """A clock that is ``offset_ns`` ahead of ours at START and runs ``drift`` faster."""

    def __init__(self, offset_ns: int, drift: float) -> None:
        self.offset_ns, self.drift = offset_ns, drift

    def ahead_ns(self, mono_ns: int) -> int:
        """Truth: the venue's clock minus our monotonic clock."""
        return WALL + self.offset_ns + int(self.drift * (mono_ns - START))

    def sample(self, mono_ns: int, there_ns: int, back_ns: int, unit_ns: int = 1000, wall: int = WALL) -> ClockSample:
        read_at_ns = mono_ns + there_ns
        told_ns = (read_at_ns + self.ahead_ns(read_at_ns)) // unit_ns * unit_ns
        return ClockSample(mono_ns, read_at_ns + back_ns, told_ns, unit_ns, wall)


WAYS = st.integers(10_000, 400_000_000)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-5 * SECOND, 5 * SECOND),
    st.floats(-9e-4, 9e-4),
    st.lists(st.tuples(st.integers(1_000_000, 40 * SECOND), WAYS, WAYS), min_size=1, max_size=30),
    st.sampled_from([1_000, 1_000_000]),
    st.integers(0, 60 * SECOND),
)
def test_the_truth_is_always_within_the_uncertainty(
    offset_ns: int, drift: float, questions: list[tuple[int, int, int]], unit_ns: int, later_ns: int
) -> None:
    venue, clock, now_ns = Venue(offset_ns, drift), ClockEstimator(), START
    for pause_ns, there_ns, back_ns in questions:
        now_ns += pause_ns
        assert clock.add(venue.sample(now_ns, there_ns, back_ns, unit_ns)) == []
        now_ns += there_ns + back_ns
    for at_ns in (now_ns, now_ns + later_ns, max(START, now_ns - later_ns)):
        reading = clock.reading(at_ns, WALL)
        assert reading is not None
        # a microsecond for the roundings of drifts in doubles
        assert abs(reading.venue_minus_mono_ns - venue.ahead_ns(at_ns)) <= reading.uncertainty_ns + 1000
    least, most = clock.drift_bounds_ppm
    assert least - 0.01 <= drift * 1e6 <= most + 0.01


def test_least_round_trips_say_most() -> None:
    venue, clock = Venue(3 * SECOND, 0.0), ClockEstimator()
    clock.add(venue.sample(START, 1_000_000, 200_000_000))  # lopsided
    wide = clock.reading(START + SECOND // 5, WALL)
    clock.add(venue.sample(START + SECOND // 2, 150_000, 150_000))
    narrow = clock.reading(START + SECOND, WALL)
    assert wide is not None and narrow is not None
    assert wide.uncertainty_ns > 100_000_000 and narrow.uncertainty_ns < 1_000_000
    assert abs(narrow.venue_minus_wall_ns - 3 * SECOND) <= narrow.uncertainty_ns


@pytest.mark.parametrize("drift", [-400e-6, 0.0, 30e-6, 400e-6])
@pytest.mark.parametrize("offset_s", [-3, 3])
def test_drift_becomes_known(drift: float, offset_s: int) -> None:
    venue, clock, rng = Venue(offset_s * SECOND, drift), ClockEstimator(), random.Random(1)
    for turn in range(30):
        clock.add(
            venue.sample(
                START + turn * 10 * SECOND, rng.randrange(400_000, 3_000_000), rng.randrange(400_000, 3_000_000)
            )
        )
    reading = clock.reading(START + 300 * SECOND, WALL)
    assert reading is not None
    assert reading.drift_ppm == pytest.approx(drift * 1e6, abs=15)
    assert reading.uncertainty_ns < 2_500_000
    assert abs(reading.venue_minus_mono_ns - venue.ahead_ns(START + 300 * SECOND)) <= reading.uncertainty_ns


def test_a_drift_that_changes_gets_known_anew() -> None:
    venue, clock = Venue(0, 300e-6), ClockEstimator()
    for turn in range(20):
        clock.add(venue.sample(START + turn * 10 * SECOND, 500_000, 500_000))
    turned_ns = START + 190 * SECOND
    venue = Venue(venue.ahead_ns(turned_ns) - WALL + int(300e-6 * (turned_ns - START)), -300e-6)
    for turn in range(1, 20):
        at_ns = turned_ns + turn * 10 * SECOND
        assert clock.add(venue.sample(at_ns, 500_000, 500_000)) == []
        reading = clock.reading(at_ns, WALL)
        assert reading is not None
        # while it turns the bound may be broken by what it turned within one pause, and not by more
        assert abs(reading.venue_minus_mono_ns - venue.ahead_ns(at_ns)) <= reading.uncertainty_ns + 6_000_000
    assert reading.drift_ppm == pytest.approx(-300, abs=20)


@pytest.mark.parametrize("ppm", [1500, -1500, 5000, -5000, 9000])
def test_a_drift_beyond_all_that_is_usual_is_allowed_for_once_it_is_seen(ppm: int) -> None:
    venue, clock, rng = Venue(0, ppm * 1e-6), ClockEstimator(), random.Random(ppm)
    outside = []
    for turn in range(60):
        at_ns = START + turn * 10 * SECOND
        assert clock.add(venue.sample(at_ns, rng.randrange(100_000, 900_000), rng.randrange(100_000, 900_000))) == []
        for later_ns in (700_000_000, 5 * SECOND, 9_900_000_000):
            reading = clock.reading(at_ns + later_ns, WALL)
            assert reading is not None
            error_ns = abs(reading.venue_minus_mono_ns - venue.ahead_ns(at_ns + later_ns))
            outside.append((turn, error_ns > reading.uncertainty_ns + 1000))
    # before the second sample nobody can know; from the third on it holds
    assert not [turn for turn, is_outside in outside if is_outside and turn >= 2]
    assert clock.drift_bounds_ppm[0] - 100 <= ppm <= clock.drift_bounds_ppm[1] + 100


@pytest.mark.parametrize("by_s", [-3.0, -0.05, 0.05, 3.0])
def test_a_step_of_the_venue_is_told_and_forgets_what_was_before(by_s: float) -> None:
    venue, clock = Venue(0, 0.0), ClockEstimator()
    for turn in range(10):
        assert clock.add(venue.sample(START + turn * SECOND, 300_000, 300_000)) == []
    stepped = Venue(int(by_s * SECOND), 0.0)
    (step,) = clock.add(stepped.sample(START + 11 * SECOND, 300_000, 300_000))
    assert step.venue and step.by_ns / SECOND == pytest.approx(by_s, abs=0.005)
    reading = clock.reading(START + 11 * SECOND, WALL)
    assert reading is not None
    assert abs(reading.venue_minus_wall_ns - by_s * SECOND) <= reading.uncertainty_ns < 1_500_000


def test_a_step_of_our_wall_clock_is_told_and_changes_no_figure() -> None:
    venue, clock = Venue(0, 0.0), ClockEstimator()
    clock.add(venue.sample(START, 300_000, 300_000))
    before = clock.reading(START + SECOND, WALL)
    (step,) = clock.add(venue.sample(START + SECOND, 300_000, 300_000, wall=WALL - 3 * SECOND))
    after = clock.reading(START + SECOND, WALL - 3 * SECOND)
    assert not step.venue and step.by_ns == -3 * SECOND
    assert before is not None and after is not None
    assert abs(before.venue_minus_mono_ns - after.venue_minus_mono_ns) < 2_000_000
    assert after.venue_minus_wall_ns == pytest.approx(3 * SECOND, abs=2_000_000)


def test_the_shared_clock_tells_the_time() -> None:
    clock = VenueClock("binance")
    assert clock.reading() is None
    import time

    assert abs(clock.venue_ms() - time.time() * 1000) < 5000
    sent = time.monotonic_ns()
    wall_minus_mono = time.time_ns() - time.monotonic_ns()
    venue_ns = time.time_ns() + 7 * SECOND
    clock.add([ClockSample(sent, time.monotonic_ns(), venue_ns, 1000, wall_minus_mono)])
    assert abs(clock.venue_ms() - time.time() * 1000 - 7000) < 5000
    assert clock.samples == 1 and clock.steps == 0
