import time

from binmon.sandbox.clock import VenueClock, stamp


def test_skew_shifts_the_clock_and_nothing_else():
    clock = VenueClock()
    before_us = time.time_ns() // 1000
    assert before_us <= clock.now_us() <= time.time_ns() // 1000
    clock.set_skew_us(-5_000_000)
    assert clock.skew_us == -5_000_000
    before_ms = time.time_ns() // 1_000_000
    assert before_ms <= clock.now_ms() + 5_000 <= time.time_ns() // 1_000_000


def test_drift_grows_from_the_moment_it_is_set(monkeypatch):
    monotonic = 10_000_000_000
    monkeypatch.setattr("binmon.sandbox.clock.time.monotonic_ns", lambda: monotonic)
    clock = VenueClock()
    clock.set_skew_us(1000, drift_ppm=200)
    assert (clock.skew_us, clock.drift_ppm) == (1000, 200)
    monotonic += 30_000_000_000
    assert clock.skew_us == 1000 + 30 * 200
    clock.set_skew_us(-50, drift_ppm=-100.5)  # a step, and the other way from there
    assert clock.skew_us == -50
    monotonic += 10_000_000_000
    assert clock.skew_us == -50 - 1005
    clock.set_skew_us(0)
    monotonic += 10_000_000_000
    assert clock.skew_us == 0


def test_stamp_prints_the_unit_asked_for():
    assert stamp(1_784_600_000_123_456, False) == 1_784_600_000_123
    assert stamp(1_784_600_000_123_456, True) == 1_784_600_000_123_456
