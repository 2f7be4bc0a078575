"""Which candle prices are looked at, and when."""

from __future__ import annotations

from decimal import Decimal

from binmon.watch.observing import PATIENCE_S, CandleObserver
from binmon.watch.series import CandleMoved, CandleSeries, SeriesLoaded
from tests.watch.candle_market import MINUTE_MS, candle


def prices(observations: list) -> list[str]:
    return [str(one.price) for one in observations]


def test_open_candles_are_looked_at_as_they_move() -> None:
    observer = CandleObserver("close", closed_only=False)
    first = candle(0, "5", closed=True), candle(MINUTE_MS, "6")
    assert prices(observer.follow([SeriesLoaded(first, True)])) == ["6"], "what has been has been"
    moved = [CandleMoved(candle(MINUTE_MS, "7")), CandleMoved(candle(MINUTE_MS, "8", closed=True))]
    assert prices(observer.follow(moved)) == ["7", "8"]
    assert observer.follow(moved) == [], "it is over"
    late = SeriesLoaded((candle(0, "9", closed=True), candle(3 * MINUTE_MS, "4")), False)
    assert prices(observer.follow([late])) == ["4"]


def test_closed_ones_are_looked_at_once_and_in_order_also_those_of_a_repair() -> None:
    observer = CandleObserver("high", closed_only=True)
    loaded = SeriesLoaded((candle(0, "5", closed=True), candle(MINUTE_MS, "6")), True)
    assert prices(observer.follow([loaded])) == ["5"]
    assert observer.follow([CandleMoved(candle(MINUTE_MS, "7"))]) == []
    repaired = SeriesLoaded(
        (candle(MINUTE_MS, "7", closed=True, high=Decimal(9)), candle(2 * MINUTE_MS, "3", closed=True)), False
    )
    assert prices(observer.follow([repaired])) == ["9", "3"]
    assert observer.follow([repaired]) == []


def test_the_time_is_that_of_the_venue() -> None:
    observer = CandleObserver("close", closed_only=False)
    effects = [
        CandleMoved(candle(0, event_time_ms=1234)),
        CandleMoved(candle(0, event_time_ms=0, closed=True)),
        CandleMoved(candle(MINUTE_MS, event_time_ms=0, receive_time_ns=61_000 * 1_000_000)),
    ]
    assert [one.at_ms for one in observer.follow(effects)] == [1234, MINUTE_MS - 1, 61_000]


def test_a_frame_that_waits_for_history_is_looked_at_after_a_while() -> None:
    series = CandleSeries()
    observer = CandleObserver("close", closed_only=False)
    series.on_up(0.0)
    for at_s, price in ((0.0, "5"), (2.0, "6")):
        frame = candle(0, price, event_time_ms=int(at_s) + 1)
        series.on_frame(frame, at_s)
        observer.hold(frame, series, at_s)
        assert observer.tick(series, at_s) == []
    assert observer.tick(series, PATIENCE_S - 0.1) == []
    assert prices(observer.tick(series, PATIENCE_S)) == ["6"]
    assert observer.tick(series, PATIENCE_S + 60) == []


def test_history_that_comes_in_time_keeps_the_order() -> None:
    series = CandleSeries()
    observer = CandleObserver("close", closed_only=False)
    series.on_up(0.0)
    token = series.effects[0].token
    frame = candle(MINUTE_MS, "6")
    series.on_frame(frame, 0.0)
    observer.hold(frame, series, 0.0)
    series.effects.clear()
    series.on_answer(token, [candle(0, "5", closed=True), candle(MINUTE_MS, "5.5", volume=Decimal("0.5"))], 1.0)
    assert prices(observer.follow(series.effects))[-1] == "6"
    assert observer.tick(series, PATIENCE_S) == []
