"""Which candles of a series are given, and when."""

from __future__ import annotations

from decimal import Decimal

from binmon.messages import Candle, CandlesChanged
from binmon.wiring.shown import Changes, Over


def candle(number: int, close: int, *, closed: bool = True) -> Candle:
    price = Decimal(close)
    return Candle(
        "binance", "BTCUSDT", "1s", number * 1000, number * 1000 + 999, price, price, price, price, Decimal(1),
        price, 1, closed, 0, 0,
    )  # fmt: skip


def test_candles_that_are_over_come_in_order_and_once() -> None:
    over = Over(2)
    series = [candle(1, 5), candle(2, 6), candle(3, 7), candle(4, 8, closed=False)]
    assert over.news([]) == []
    assert [one.open_time_ms for one in over.news(series)] == [2000, 3000]
    assert over.news(series) == []
    assert over.rest(series) == [series[3]]
    series += [candle(5, 9), candle(6, 9, closed=False)]
    assert over.news(series) == [], "the end of the fourth was missed: it is waited for"
    series[3] = candle(4, 10)
    assert [one.open_time_ms for one in over.news(series)] == [4000, 5000]
    series[2] = candle(3, 11)
    assert over.news(series) == [series[2]], "corrected"
    assert over.rest(series) == [series[5]]


def test_no_history() -> None:
    over = Over(0)
    assert over.news([candle(1, 5), candle(2, 6)]) == []
    assert over.news([candle(1, 5), candle(2, 6), candle(3, 7)]) == [candle(3, 7)]
    fresh = Over(5)
    assert fresh.news([candle(1, 5, closed=False)]) == []
    assert fresh.rest([candle(1, 5, closed=False)]) == [candle(1, 5, closed=False)]
    assert fresh.news([candle(1, 6)]) == [candle(1, 6)]


def test_every_state_comes_once() -> None:
    changes = Changes(1)

    def changed(*candles: Candle, whole: bool = False) -> CandlesChanged:
        return CandlesChanged("binance", "BTCUSDT", "1s", candles, whole)

    series: list[Candle] = [candle(1, 5), candle(2, 6), candle(3, 7, closed=False)]
    assert changes.news(changed(*series, whole=True)) == series[1:]
    assert changes.news(changed(candle(3, 7, closed=False))) == []
    assert changes.news(changed(candle(3, 7))) == [candle(3, 7)]
    assert changes.news(changed(candle(1, 5), candle(2, 6), candle(3, 8), candle(4, 9), whole=True)) == [
        candle(3, 8), candle(4, 9),
    ]  # fmt: skip
