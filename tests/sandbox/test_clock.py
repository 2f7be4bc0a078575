import time

from binmon.sandbox.clock import VenueClock, stamp


def test_skew_shifts_the_clock_and_nothing_else():
    clock = VenueClock()
    assert abs(clock.now_us() - time.time_ns() // 1000) < 100_000
    clock.set_skew_us(-5_000_000)
    assert clock.skew_us == -5_000_000
    assert abs(clock.now_ms() - (time.time_ns() // 1_000_000 - 5_000)) < 100


def test_stamp_prints_the_unit_asked_for():
    assert stamp(1_784_600_000_123_456, False) == 1_784_600_000_123
    assert stamp(1_784_600_000_123_456, True) == 1_784_600_000_123_456
