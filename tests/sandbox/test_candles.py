import calendar
from itertools import pairwise

import pytest

from binmon.sandbox.candles import INTERVALS, CandleStore, make_history, next_open_ms, open_time_ms
from binmon.sandbox.matching import Trade

NOW = 1_784_600_000_123


@pytest.fixture(scope="module")
def history():
    return make_history("seed", NOW, 6_500_000, 8000, 1_000_000_000)


def trade(number, time_ms, price=100, quantity=2, buyer_is_maker=False):
    return Trade(number, price, quantity, time_ms * 1000, 1, 2, "a", "b", buyer_is_maker)


def utc(*moment):
    return calendar.timegm((*moment, 0, 0, 0)[:6]) * 1000


def test_candles_open_on_the_venues_boundaries():
    monday = utc(2026, 7, 20)
    assert open_time_ms("1w", monday + 6 * 86_400_000 + 5) == monday
    assert open_time_ms("1M", utc(2026, 2, 28) + 5) == utc(2026, 2, 1)
    assert next_open_ms("1M", utc(2026, 12, 1)) == utc(2027, 1, 1)
    assert open_time_ms("1m", NOW) == NOW // 60_000 * 60_000


def test_history_is_one_chain(history):
    assert history[-1].close == 6_500_000
    assert history[-1].last_trade_id == 1_000_000_000
    for earlier, later in pairwise(history):
        assert earlier.close == later.open
        assert later.first_trade_id == earlier.last_trade_id + 1
    for candle in history:
        assert candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
        assert 0 <= candle.taker_volume <= candle.volume
        assert candle.low * candle.volume <= candle.quote <= candle.high * candle.volume


@pytest.mark.parametrize("interval", [name for name in INTERVALS if name not in ("1s", "1M")])
def test_intervals_are_sums_of_finer_ones(history, interval):
    store = CandleStore(list(history))
    finer = {"1m": "1s", "1h": "30m", "1d": "12h", "1w": "1d", "3d": "1d"}.get(interval, "1m")
    coarse = {candle.open_ms: candle for candle in store.rows(interval, None, None, 1000, NOW)}
    fine = store.rows(finer, None, None, 1000, NOW)
    groups = {}
    for candle in fine:
        groups.setdefault(open_time_ms(interval, candle.open_ms), []).append(candle)
    whole = list(groups.items())[1:]
    assert whole
    for opened, parts in whole:
        one = coarse[opened]
        assert one.volume == sum(part.volume for part in parts)
        assert one.trades == sum(part.trades for part in parts)
        assert one.high == max(part.high for part in parts)
        assert one.close == parts[-1].close


def test_month_series_has_calendar_months(history):
    opens = [candle.open_ms for candle in CandleStore(list(history)).rows("1M", None, None, 1000, NOW)]
    assert len(opens) >= 36
    assert all(next_open_ms("1M", earlier) == later for earlier, later in pairwise(opens))


def test_live_trades_continue_the_history_whenever_a_series_is_built(history):
    early, late = CandleStore(list(history)), CandleStore(list(history))
    early.series("1m", NOW)
    for number in range(200):
        for store in (early, late):
            store.add(trade(number + 2_000_000_000, NOW + number * 1500, 6_500_000 + number, 3, number % 2 == 0))
    end = NOW + 200 * 1500
    assert early.rows("1m", None, None, 500, end) == late.rows("1m", None, None, 500, end)
    last = late.rows("5m", None, None, 2, end)
    assert late.last_price() == 6_500_199 == last[-1].close


def test_quiet_times_give_flat_candles_and_bounds_apply():
    store = CandleStore([])
    assert store.rows("1m", None, None, 10, NOW) == []
    assert store.last_price() is None
    first = NOW // 60_000 * 60_000
    store.add(trade(1, first, 100))
    store.add(trade(2, first + 180_000, 110))
    rows = store.rows("1m", None, None, 10, first + 240_000)
    assert [row.close for row in rows] == [100, 100, 100, 110, 110]
    assert [row.trades for row in rows] == [1, 0, 0, 1, 0]
    assert rows[1].first_trade_id == -1
    assert [row.open_ms for row in store.rows("1m", first + 1, first + 120_000, 10, first + 240_000)] == [
        first + 60_000,
        first + 120_000,
    ]
    assert len(store.rows("1m", first, None, 2, first + 240_000)) == 2


def test_long_silence_does_not_build_endless_candles():
    store = CandleStore([])
    store.add(trade(1, NOW))
    assert len(store.series("1s", NOW + 10**9).candles) == 1600
