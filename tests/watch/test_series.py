"""The candle series against a venue in memory: whatever is cut, doubled, late or skipped, it ends as the venue's history."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.watch.series import (
    FIRST_RETRY_S,
    GRACE_S,
    NEWS_WITHIN_S,
    SILENT_S,
    CandleCorrected,
    CandleMoved,
    CandleSeries,
    FetchCandles,
    SeriesLoaded,
    SeriesState,
    StreamDead,
)
from tests.watch.candle_market import MINUTE_MS, CandleMarket, candle


def of(series: CandleSeries, kind: type) -> list:
    return [effect for effect in series.effects if isinstance(effect, kind)]


def take(series: CandleSeries, kind: type) -> list:
    found = of(series, kind)
    series.effects.clear()
    return found


def figures(candles) -> list:
    return [one.figures for one in candles]


class Hand:
    """A series, its market, and the way between."""

    def __init__(self, *, flat: bool = True, past: int = 20, length: int = 10, page: int = 4, seed: int = 1) -> None:
        self.market = CandleMarket(seed, flat=flat, past=past)
        self.series = CandleSeries(length, page)
        self.now_s = 0.0
        self.asked: list[FetchCandles] = []
        self.closed: dict[int, tuple] = {}
        self.corrected: list[CandleCorrected] = []
        self.moved: list[CandleMoved] = []
        self.up = False

    def connect(self) -> None:
        self.up = True
        self.series.on_up(self.now_s)
        self.look()

    def cut(self) -> None:
        self.up = False
        self.series.on_down(self.now_s, "cut")
        self.look()

    def pass_time(self, ms: int, *, lose: bool = False) -> None:
        frames = self.market.pass_time(ms)
        self.now_s += ms / 1000
        for frame in frames:
            self.frame(frame, lose=lose)
        self.series.tick(self.now_s)
        self.look()

    def trade(self, *, lose: bool = False) -> None:
        self.frame(self.market.trade(), lose=lose)

    def frame(self, frame, *, lose: bool = False) -> None:
        if self.up and not lose:
            self.series.on_frame(frame, self.now_s)
            self.look()

    def look(self) -> None:
        """What holds at every moment."""
        for effect in self.series.effects:
            if isinstance(effect, FetchCandles):
                self.asked.append(effect)
            elif isinstance(effect, CandleCorrected):
                self.corrected.append(effect)
                self.closed.pop(effect.before.open_time_ms, None)
            elif isinstance(effect, CandleMoved):
                self.moved.append(effect)
        self.series.effects.clear()
        candles = self.series.candles
        assert len(candles) <= 10
        opened = [one.open_time_ms for one in candles]
        assert opened == sorted(set(opened)), "no double, in order"
        # a hole is allowed where the venue has none, too
        there = [row.open_time_ms for row in self.market.candles]
        if opened:
            assert opened == [one for one in there if opened[0] <= one <= opened[-1]], "no hole"
        for one in candles:
            if one.closed:
                assert self.closed.setdefault(one.open_time_ms, one.figures) == one.figures, "changed after it closed"

    def answer(self, *, behind: int = 0) -> None:
        while self.asked:
            request = self.asked.pop()
            rows = self.market.answer(request.start_ms, request.end_ms, request.limit, behind=behind)
            assert len(rows) <= 4
            self.series.on_answer(request.token, rows, self.now_s)
            self.look()

    def settle(self) -> None:
        """Answer all that is asked until nothing is."""
        for _ in range(20):
            self.answer()
            self.now_s += 61.0
            self.series.tick(self.now_s)
            self.look()
        self.answer()

    def check(self) -> None:
        """The series is the venue's history."""
        assert figures(self.series.candles) == figures(self.market.candles[-len(self.series.candles) :])
        assert len(self.series.candles) == min(10, len(self.market.candles))
        assert self.corrected == []


def ready(**options) -> Hand:
    hand = Hand(**options)
    hand.trade()
    hand.connect()
    hand.settle()
    hand.pass_time(5_000)
    hand.trade()
    assert hand.series.state is SeriesState.LIVE
    return hand


def test_history_comes_page_by_page_and_the_stream_continues_it() -> None:
    hand = Hand()
    hand.series.tick(0.0)
    hand.look()
    assert [(one.start_ms, one.end_ms, one.limit) for one in hand.asked] == [(None, None, 4)]
    hand.connect()
    hand.trade()
    assert hand.series.state is SeriesState.LOADING
    assert hand.series.waiting == 1, "what comes before the history is kept"
    hand.answer()
    assert hand.series.state is SeriesState.LIVE
    hand.check()
    hand.trade()
    hand.pass_time(MINUTE_MS)
    hand.trade()
    hand.check()
    assert hand.series.candles[-2].closed
    assert not hand.series.candles[-1].closed


def test_a_cut_is_repaired_from_the_last_candle_on() -> None:
    hand = ready()
    last_ms = hand.series.candles[-1].open_time_ms
    hand.cut()
    assert hand.series.state is SeriesState.DOWN
    for _ in range(6):
        hand.trade()
        hand.pass_time(MINUTE_MS)
    hand.trade()
    hand.connect()
    assert hand.series.state is SeriesState.REPAIRING
    assert [(one.start_ms, one.end_ms) for one in hand.asked] == [(last_ms, None)]
    hand.answer()
    assert hand.series.state is SeriesState.LIVE
    hand.check()


def test_a_long_cut_leaves_the_newest_candles() -> None:
    hand = ready()
    hand.cut()
    for _ in range(57):
        hand.trade()
        hand.pass_time(MINUTE_MS)
    hand.trade()
    hand.connect()
    hand.answer()
    hand.check()


def test_a_skipped_closed_frame_is_noticed_and_asked_for() -> None:
    hand = ready()
    skipped_ms = hand.series.candles[-1].open_time_ms
    hand.trade(lose=True)
    hand.pass_time(55_000, lose=True)
    hand.trade()
    assert hand.series.state is SeriesState.REPAIRING
    assert hand.asked == [], "it may be on its way on another connection"
    hand.now_s += GRACE_S
    hand.series.tick(hand.now_s)
    hand.look()
    assert [one.start_ms for one in hand.asked] == [skipped_ms]
    hand.answer()
    hand.check()
    assert hand.series.candles[-2].closed


def test_a_late_closed_frame_of_another_connection_needs_no_question() -> None:
    hand = ready()
    hand.trade()
    (closing,) = hand.market.pass_time(MINUTE_MS)
    hand.trade()
    assert hand.series.state is SeriesState.REPAIRING
    hand.frame(closing)
    assert hand.series.state is SeriesState.LIVE
    hand.pass_time(5_000)
    assert hand.asked == []
    hand.check()


def test_history_that_is_behind_the_stream_is_asked_again_with_growing_pauses() -> None:
    hand = ready()
    hand.market.pass_time(2 * MINUTE_MS)
    hand.trade()
    assert hand.series.waiting == 1
    pauses = []
    for _ in range(4):
        start_s = hand.now_s
        while not hand.asked:
            hand.now_s += 0.25
            hand.series.tick(hand.now_s)
            hand.look()
        pauses.append(hand.now_s - start_s)
        hand.answer(behind=1)
        assert hand.series.state is SeriesState.REPAIRING
    assert pauses == [GRACE_S, FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    hand.settle()
    hand.check()


def test_minutes_without_a_trade_are_as_the_venue_has_them() -> None:
    hand = ready(flat=False)
    hand.pass_time(5 * MINUTE_MS)
    hand.trade()
    assert hand.series.waiting == 1
    hand.settle()
    hand.check()
    opened = [one.open_time_ms for one in hand.series.candles]
    assert opened[-1] - opened[-2] == 5 * MINUTE_MS


def test_a_symbol_that_has_not_traded_yet_begins_with_its_first_candle() -> None:
    hand = Hand(past=0)
    hand.connect()
    hand.settle()
    assert hand.series.state is SeriesState.LIVE
    assert hand.series.candles == ()
    hand.trade()
    hand.settle()
    hand.check()


def test_a_correction_by_the_venue_is_reported_and_the_rest_is_looked_at_again() -> None:
    hand = ready()
    hand.pass_time(MINUTE_MS)
    hand.trade()
    index, wrong = -2, hand.market.candles[-2]
    assert wrong.closed
    hand.market.candles[index] = replace(wrong, volume=wrong.volume + 5)
    older = hand.market.candles[-4]
    hand.market.candles[-4] = replace(older, volume=older.volume + 7)
    hand.series.on_frame(hand.market.candles[index], hand.now_s)  # a closed frame that says otherwise, too
    hand.settle()
    assert [(one.before.open_time_ms, one.after.volume) for one in hand.corrected if one.after] == [
        (older.open_time_ms, older.volume + 7),
        (wrong.open_time_ms, wrong.volume + 5),
    ]
    assert hand.series.corrections == 2
    assert figures(hand.series.candles) == figures(hand.market.candles[-10:])


def test_a_venue_that_was_reset_replaces_the_series() -> None:
    hand = ready()
    hand.cut()
    hand.pass_time(3 * MINUTE_MS)
    fresh = CandleMarket(9, flat=True, past=0)
    fresh.now_ms, fresh.price = hand.market.now_ms, Decimal(5)
    hand.market = fresh
    hand.trade()
    hand.closed.clear()
    series = hand.series
    series.on_up(hand.now_s)
    hand.up = True
    for _ in range(6):
        for request in take(series, FetchCandles):
            series.on_answer(request.token, fresh.answer(request.start_ms, request.end_ms, request.limit), hand.now_s)
        hand.now_s += 61
        series.tick(hand.now_s)
    assert figures(series.candles) == figures(fresh.candles)


def test_an_older_state_of_the_open_candle_changes_nothing() -> None:
    hand = ready()
    hand.market.now_ms += 100
    old = hand.market.trade()
    hand.market.now_ms += 100
    hand.trade()
    count = len(hand.moved)
    hand.frame(old)
    assert len(hand.moved) == count
    hand.check()


def test_failures_are_tried_again_when_the_venue_says() -> None:
    hand = Hand()
    hand.connect()
    (request,) = hand.asked
    hand.asked.clear()
    hand.series.on_failed(request.token, 30.0, 0.0)
    for at_s, expected in ((29.9, 0), (30.1, 1)):
        hand.now_s = at_s
        hand.series.tick(at_s)
        hand.look()
        assert len(hand.asked) == expected
    hand.series.on_failed(999, 1.0, hand.now_s)
    hand.series.on_answer(999, [], hand.now_s)
    hand.settle()
    hand.check()


def test_a_stream_that_is_dead_is_told_from_one_that_is_quiet() -> None:
    hand = ready(flat=False)
    # quiet: the venue has no more than the stream brought
    hand.now_s += SILENT_S
    hand.series.tick(hand.now_s)
    hand.look()
    assert len(hand.asked) == 1
    hand.answer()
    hand.now_s += NEWS_WITHIN_S
    hand.series.tick(hand.now_s)
    assert of(hand.series, StreamDead) == []
    # dead: it has
    hand.trade(lose=True)
    hand.now_s += 2 * SILENT_S
    hand.series.tick(hand.now_s)
    hand.look()
    hand.answer()
    hand.now_s += NEWS_WITHIN_S - 1
    hand.series.tick(hand.now_s)
    assert of(hand.series, StreamDead) == []
    hand.now_s += 1
    hand.series.tick(hand.now_s)
    assert len(of(hand.series, StreamDead)) == 1


def test_the_frames_that_wait_are_bounded() -> None:
    series = CandleSeries(5, 1000)
    series.on_up(0.0)
    for minute in range(100):
        series.on_frame(candle(minute * MINUTE_MS), 0.0)
    assert series.waiting == 5
    with pytest.raises(ValueError, match="at least 2"):
        CandleSeries(1)


def test_what_is_loaded_is_told_once() -> None:
    hand = Hand(length=10, page=100)
    hand.series.tick(0.0)
    (request,) = take(hand.series, FetchCandles)
    rows = hand.market.answer(None, None, request.limit)
    hand.series.on_answer(request.token, rows, 0.0)
    (loaded,) = take(hand.series, SeriesLoaded)
    assert loaded.first
    assert figures(loaded.candles) == figures(rows)
    hand.series.on_up(1.0)
    (request,) = take(hand.series, FetchCandles)
    hand.series.on_answer(request.token, hand.market.answer(request.start_ms, None, 100), 1.0)
    assert of(hand.series, SeriesLoaded) == [], "nothing was new"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["trade", "trade", "trade", "lost trade", "pass", "pass", "lost pass", "long", "cut", "connect", "answer",
             "answer", "behind", "fail", "double", "late", "second"]
        ),
        st.integers(1, 130),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(STEPS, st.booleans(), st.integers(0, 25), st.integers(0, 1000))
def test_whatever_happens_the_series_ends_as_the_venues_history(steps, flat, past, seed) -> None:
    hand = Hand(flat=flat, past=past, seed=seed)
    sent: list = []
    late: list = []
    for what, number in steps:
        if what in ("trade", "lost trade"):
            frame = hand.market.trade()
            sent.append(frame)
            hand.frame(frame, lose=what != "trade")
        elif what in ("pass", "lost pass", "long", "second"):
            ms = {"long": 11 * MINUTE_MS, "second": 1_000}.get(what, number * 1_000)
            frames = hand.market.pass_time(ms)
            hand.now_s += ms / 1000
            sent += frames
            for frame in frames:
                if what == "lost pass":
                    late.append(frame)
                hand.frame(frame, lose=what == "lost pass")
            hand.series.tick(hand.now_s)
            hand.look()
        elif what == "cut" and hand.up:
            hand.cut()
        elif what == "connect" and not hand.up:
            hand.connect()
        elif what == "answer":
            hand.answer()
        elif what == "behind":
            hand.answer(behind=min(number % 3, len(hand.market.candles)))
        elif what == "fail" and hand.asked:
            hand.series.on_failed(hand.asked.pop().token, number / 10, hand.now_s)
            hand.look()
        elif what == "double" and sent:
            hand.frame(sent[-1 - number % min(5, len(sent))])
        elif what == "late" and late:
            hand.frame(late.pop(0))
    if not hand.up:
        hand.connect()
    hand.settle()
    hand.trade()
    hand.settle()
    hand.check()
    assert hand.series.state is SeriesState.LIVE
    assert all(one.closed for one in hand.series.candles[:-1])
    assert (
        all(after.open_time_ms == before.close_time_ms + 1 for before, after in itertools.pairwise(hand.series.candles))
        or not flat
    )


def test_an_answer_that_is_older_than_the_stream_does_not_turn_the_open_candle_back() -> None:
    hand = ready()
    hand.cut()
    hand.connect()
    (request,) = hand.asked
    hand.asked.clear()
    rows = hand.market.answer(request.start_ms, request.end_ms, request.limit)
    hand.trade()
    newest = hand.series.candles[-1]
    assert newest.volume == rows[-1].volume + 1
    hand.series.on_answer(request.token, rows, hand.now_s)
    hand.look()
    assert hand.series.candles[-1] == newest
    hand.check()
