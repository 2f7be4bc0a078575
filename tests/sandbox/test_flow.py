from dataclasses import replace

import pytest

from binmon.sandbox.flow import OrderFlow
from binmon.sandbox.matching import MatchingEngine, Side
from binmon.sandbox.symbols import default_instruments

INSTRUMENTS = {instrument.symbol: instrument for instrument in default_instruments()}


@pytest.fixture
def start():
    def begin(symbol, seed="1", **changes):
        engine = MatchingEngine()
        flow = OrderFlow(engine, replace(INSTRUMENTS[symbol], **changes), seed)
        flow.fill_ladder(0)
        engine.drain()
        return engine, flow

    return begin


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BNBUSDT", "THINUSDT"])
def test_book_keeps_its_depth_and_is_never_crossed(start, symbol):
    engine, flow = start(symbol)
    wanted = INSTRUMENTS[symbol].levels
    trades = changes = 0
    for step in range(4000):
        flow.step(step)
        activity = engine.drain()
        trades += len(activity.trades)
        changes += len(activity.changes)
        bid, ask = engine.best(Side.BUY), engine.best(Side.SELL)
        assert bid[0] < ask[0]
    for side in Side:
        assert 0.9 * wanted <= engine.level_count(side) <= 1.2 * wanted + 10
    assert trades > 100
    assert changes > 3000
    assert flow.delay_s() > 0


def test_seed_decides_the_sequence(start):
    def run(seed):
        engine, flow = start("BTCUSDT", seed, levels=200)
        for step in range(500):
            flow.step(step)
        return engine.drain().changes

    assert run("1") == run("1")
    assert run("1") != run("2")


def test_without_trading_nothing_trades(start):
    engine, flow = start("SOLUSDT", levels=100)
    for step in range(3000):
        flow.step(step, trading=False)
    flow.move_to(20_000, 0, trading=False)
    assert engine.drain().trades == []
    engine, flow = start("SOLUSDT", levels=100, with_trades=False)
    for step in range(3000):
        flow.step(step)
    assert engine.drain().trades == []


@pytest.mark.parametrize("factor", [0.5, 0.999, 1.001, 2.0])
def test_move_reaches_the_price_and_restores_depth(start, factor):
    engine, flow = start("BTCUSDT", levels=300)
    target = int(INSTRUMENTS["BTCUSDT"].start_price * factor)
    flow.move_to(target, 0)
    bid, ask = engine.best(Side.BUY)[0], engine.best(Side.SELL)[0]
    assert bid < ask
    assert abs((bid + ask) / 2 - target) < 100
    assert min(engine.level_count(side) for side in Side) >= 300
    assert engine.drain().trades


def test_orders_of_users_are_left_alone(start):
    engine, flow = start("THINUSDT")
    price = engine.worst(Side.BUY) - 10
    order = engine.submit("user", Side.BUY, 7, price, 0)
    for step in range(5000):
        flow.step(step, trading=False)
        flow.cancel_step(step)
    assert engine.order(order.order_id) is order
