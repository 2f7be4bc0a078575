"""Dead streams and quiet markets."""

from __future__ import annotations

from binmon.books.stalls import CONFIRM_AFTER_S, MAX_PROBES, Findings, Stall, StallWatch


def learned(*streams: str) -> tuple[StallWatch, float]:
    """Streams with an event every 100 ms; a second later they are silent for good."""
    watch = StallWatch()
    for number in range(20):
        for stream in streams:
            watch.cadence.seen(stream, number * 0.1)
    return watch, 1.9 + 6.0  # the floor of five seconds has passed


def test_a_stream_behind_the_venue_is_dead_once_that_is_confirmed() -> None:
    watch, now_s = learned("a")
    assert watch.check(now_s, lambda _: 100) == Findings(["a"], [])
    assert watch.check(now_s + 1, lambda _: 100) == Findings([], [])  # one probe is under way
    watch.on_answer("a", 105, now_s + 1.5)
    assert watch.check(now_s + 1.6, lambda _: 100) == Findings([], [])
    confirmed = watch.check(now_s + 1.5 + CONFIRM_AFTER_S, lambda _: 100)
    assert confirmed == Findings([], [Stall("a", 105, 100)])
    assert watch.check(now_s + 60, lambda _: 100) == Findings([], [])  # paused until its connection is up again


def test_an_event_that_was_under_way_clears_the_suspicion() -> None:
    watch, now_s = learned("a")
    watch.check(now_s, lambda _: 100)
    watch.on_answer("a", 105, now_s)
    watch.cadence.seen("a", now_s + 0.05)
    assert watch.check(now_s + 2, lambda _: 105) == Findings([], [])


def test_a_quiet_market_is_allowed_more() -> None:
    watch, now_s = learned("a")
    allowed_s = watch.cadence.allowed_s("a")
    watch.check(now_s, lambda _: 100)
    watch.on_answer("a", 100, now_s)
    assert watch.check(now_s + 2, lambda _: 100) == Findings([], [])
    assert allowed_s is not None and watch.cadence.allowed_s("a") == 2 * allowed_s


def test_when_all_fall_silent_a_few_are_asked() -> None:
    watch, now_s = learned(*"abcdefgh")
    assert len(watch.check(now_s, lambda _: 100).probes) == MAX_PROBES
    assert watch.check(now_s + 1, lambda _: 100).probes == []


def test_a_failed_probe_waits_as_long_as_the_venue_says() -> None:
    watch, now_s = learned("a")
    watch.check(now_s, lambda _: 100)
    watch.on_failure("a", 30.0, now_s)
    assert watch.check(now_s + 29, lambda _: 100).probes == []
    assert watch.check(now_s + 31, lambda _: 100).probes == ["a"]


def test_books_that_are_not_synced_are_left_alone() -> None:
    watch, now_s = learned("a")
    assert watch.check(now_s, lambda _: None) == Findings([], [])
