import pytest

from binmon.sandbox.matching import Trade
from binmon.sandbox.symbols import default_instruments
from binmon.sandbox.trade_history import TradeHistory

NOW = 1_784_600_000_000_000
BTC = default_instruments()[0]


def trade(number, price, quantity, taker, second=0):
    return Trade(number, price, quantity, NOW + second * 1_000_000, 1, taker, "a", "b", False)


@pytest.fixture
def fresh():
    return TradeHistory(BTC, "seed", NOW, 1, with_past=False)


def test_trades_of_one_taker_at_one_price_are_one_aggregate(fresh):
    merged = fresh.add([trade(1, 100, 5, 7), trade(2, 100, 6, 7), trade(3, 101, 7, 7), trade(4, 101, 8, 8)])
    found = [(one.aggregate_id, one.first_trade_id, one.last_trade_id, one.quantity) for one in merged]
    assert found == [(1, 1, 2, 11), (2, 3, 3, 7), (3, 4, 4, 8)]
    assert list(fresh.aggregates) == merged
    assert len(fresh.trades) == 4


def test_candles_hold_trades_from_before_and_after_they_were_asked_for(fresh):
    fresh.add([trade(1, 100, 5, 7)])
    assert fresh.candles().rows("1m", None, None, 10, NOW // 1000)[-1].volume == 5
    fresh.add([trade(2, 110, 6, 8, second=1)])
    [candle] = fresh.candles().rows("1m", None, None, 10, NOW // 1000 + 1000)
    assert (candle.open, candle.high, candle.close, candle.volume) == (100, 110, 110, 11)
    assert fresh.average_price(NOW + 1_000_000) == ((100 * 5 + 110 * 6) // 11, NOW + 1_000_000)


def test_without_a_trade_there_is_no_price_and_with_a_past_there_is(fresh):
    assert fresh.last_price() is None
    assert fresh.average_price(NOW) is None
    assert fresh.day(NOW).trades == 0
    old = TradeHistory(BTC, "seed", NOW, 1_000_001, with_past=True)
    assert old.last_price() == BTC.start_price
    day = old.day(NOW)
    assert day.last_trade_id <= 1_000_000 and day.trades == day.last_trade_id - day.first_trade_id + 1
