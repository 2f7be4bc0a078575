"""The matching engine against examples and against a naive model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.sandbox.matching import MatchingEngine, OrderStatus, Side, TimeInForce
from binmon.sandbox.self_trades import SelfTrade


@pytest.fixture
def engine():
    return MatchingEngine(first_update_id=100, first_trade_id=1)


def test_price_then_time_priority(engine):
    first = engine.submit("a", Side.SELL, 5, 101, 1)
    second = engine.submit("b", Side.SELL, 5, 101, 2)
    better = engine.submit("c", Side.SELL, 5, 100, 3)
    taker = engine.submit("d", Side.BUY, 12, 101, 4)
    assert taker.status is OrderStatus.FILLED
    trades = engine.drain().trades
    assert [(trade.maker_owner, trade.price, trade.quantity) for trade in trades] == [
        ("c", 100, 5), ("a", 101, 5), ("b", 101, 2),
    ]  # fmt: skip
    assert [trade.trade_id for trade in trades] == [1, 2, 3]
    assert (first.status, better.status) == (OrderStatus.FILLED, OrderStatus.FILLED)
    assert (second.status, second.remaining) == (OrderStatus.PARTIALLY_FILLED, 3)
    assert engine.best(Side.SELL) == (101, 3)
    assert not trades[0].buyer_is_maker


def test_each_changed_level_takes_one_update_id(engine):
    engine.submit("a", Side.SELL, 5, 101, 1)
    engine.submit("a", Side.SELL, 5, 102, 1)
    engine.submit("a", Side.SELL, 5, 102, 1)
    engine.drain()
    engine.submit("b", Side.BUY, 12, 103, 2)
    changes = engine.drain().changes
    assert [(change.update_id, change.price, change.quantity) for change in changes] == [
        (104, 101, 0),
        (105, 102, 3),
    ]
    assert engine.update_id == 105


def test_rest_of_a_crossing_limit_order_rests(engine):
    engine.submit("a", Side.SELL, 5, 101, 1)
    order = engine.submit("b", Side.BUY, 8, 101, 2)
    assert (order.status, order.executed) == (OrderStatus.PARTIALLY_FILLED, 5)
    assert engine.best(Side.BUY) == (101, 3)
    assert engine.best(Side.SELL) is None


def test_times_in_force_and_post_only(engine):
    engine.submit("a", Side.SELL, 5, 101, 1)
    assert engine.submit("b", Side.BUY, 8, 101, 2, TimeInForce.FOK).status is OrderStatus.EXPIRED
    assert engine.submit("b", Side.BUY, 8, 101, 2, post_only=True).status is OrderStatus.REJECTED
    assert engine.best(Side.SELL) == (101, 5)
    rest = engine.submit("b", Side.BUY, 8, 101, 2, TimeInForce.IOC)
    assert (rest.status, rest.executed) == (OrderStatus.EXPIRED, 5)
    market = engine.submit("b", Side.BUY, 8, None, 3)
    assert (market.status, market.executed) == (OrderStatus.EXPIRED, 0)
    assert engine.submit("b", Side.BUY, 8, 101, 2, post_only=True).status is OrderStatus.NEW


def test_cancel(engine):
    order = engine.submit("a", Side.BUY, 5, 99, 1)
    assert engine.order(order.order_id) is order
    assert engine.cancel(order.order_id).status is OrderStatus.CANCELED
    assert engine.cancel(order.order_id) is None
    assert engine.best(Side.BUY) is None
    assert engine.drain().changes[-1].quantity == 0


@pytest.mark.parametrize(("quantity", "price"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_senseless_orders_are_refused(engine, quantity, price):
    with pytest.raises(ValueError, match="above zero"):
        engine.submit("a", Side.BUY, quantity, price, 1)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["limit", "market", "ioc", "cancel"]),
        st.sampled_from(list(Side)),
        st.integers(1, 20),
        st.integers(90, 110),
    ),
    max_size=60,
)


@given(ACTIONS)
@settings(max_examples=150, deadline=None)
def test_levels_follow_from_changes_and_quantities_are_conserved(actions):
    engine = MatchingEngine()
    levels = {Side.BUY: {}, Side.SELL: {}}
    orders, last_id, traded = [], engine.update_id, 0
    for kind, side, quantity, price in actions:
        if kind == "cancel":
            if orders:
                engine.cancel(orders[price % len(orders)].order_id)
        else:
            orders.append(
                engine.submit(
                    "x",
                    side,
                    quantity,
                    None if kind == "market" else price,
                    1,
                    TimeInForce.IOC if kind == "ioc" else TimeInForce.GTC,
                )
            )
        activity = engine.drain()
        for change in activity.changes:
            assert change.update_id == last_id + 1
            last_id = change.update_id
            if change.quantity:
                levels[change.side][change.price] = change.quantity
            else:
                levels[change.side].pop(change.price, None)
        traded += sum(trade.quantity for trade in activity.trades)
    assert engine.depth(Side.BUY, 99) == sorted(levels[Side.BUY].items(), reverse=True)
    assert engine.depth(Side.SELL, 99) == sorted(levels[Side.SELL].items())
    assert sum(order.executed for order in orders) == 2 * traded
    best = engine.best(Side.BUY), engine.best(Side.SELL)
    assert None in best or best[0][0] < best[1][0]
    for side in Side:
        for price, total in engine.depth(side, 99):
            assert total == sum(order.remaining for order in engine.orders_at(side, price))
            assert total == engine.quantity_at(side, price)


def test_loading_is_submitting_one_by_one():
    levels = [(100, 5), (98, 7), (95, 1)]
    loaded, submitted = MatchingEngine(), MatchingEngine()
    loaded.load("flow", Side.BUY, levels, 9)
    for price, quantity in levels:
        submitted.submit("flow", Side.BUY, quantity, price, 9)
    assert loaded.depth(Side.BUY, 10) == submitted.depth(Side.BUY, 10) == levels
    assert loaded.drain().changes == []
    for engine in (loaded, submitted):
        assert engine.submit("user", Side.SELL, 6, 98, 10).order_id == 4
        assert engine.depth(Side.BUY, 10) == [(98, 6), (95, 1)]
        assert engine.cancel(3).price == 95
    with pytest.raises(ValueError, match="not empty"):
        loaded.load("flow", Side.BUY, levels, 9)


def test_a_reduced_order_keeps_its_place(engine):
    first = engine.submit("a", Side.SELL, 5, 101, 1)
    engine.submit("b", Side.SELL, 5, 101, 2)
    engine.drain()
    assert engine.reduce(first.order_id, 3) is first
    assert [(change.price, change.quantity) for change in engine.drain().changes] == [(101, 7)]
    engine.submit("c", Side.BUY, 3, None, 3)
    assert [(trade.maker_owner, trade.quantity) for trade in engine.drain().trades] == [("a", 2), ("b", 1)]
    assert engine.reduce(first.order_id, 1) is None
    for lots in (0, 4, 9):
        with pytest.raises(ValueError):
            engine.reduce(engine.orders_at(Side.SELL, 101)[0].order_id, lots)


def test_what_an_order_would_trade_against(engine):
    for owner, price, quantity in (("a", 101, 5), ("b", 101, 2), ("a", 102, 4), ("b", 103, 9)):
        engine.submit(owner, Side.SELL, quantity, price, 1)
    assert list(engine.fillable(Side.BUY, None, 10)) == [(101, 7), (102, 3)]
    assert list(engine.fillable(Side.BUY, 102, 100)) == [(101, 7), (102, 4)]
    assert list(engine.fillable(Side.BUY, None, 100, "a")) == [(101, 2), (103, 9)]
    assert list(engine.fillable(Side.SELL, None, 1)) == []


@pytest.mark.parametrize(
    ("mode", "maker", "taker", "traded", "left"),
    [
        (SelfTrade.NONE, OrderStatus.FILLED, OrderStatus.FILLED, 8, 2),
        (SelfTrade.EXPIRE_MAKER, OrderStatus.EXPIRED_IN_MATCH, OrderStatus.PARTIALLY_FILLED, 5, 0),
        (SelfTrade.EXPIRE_TAKER, OrderStatus.NEW, OrderStatus.EXPIRED_IN_MATCH, 2, 8),
        (SelfTrade.EXPIRE_BOTH, OrderStatus.EXPIRED_IN_MATCH, OrderStatus.EXPIRED_IN_MATCH, 2, 3),
    ],
)
def test_orders_of_one_owner(engine, mode, maker, taker, traded, left):
    engine.submit("other", Side.SELL, 2, 100, 1)
    resting = engine.submit("me", Side.SELL, 5, 100, 1)
    engine.submit("other", Side.SELL, 3, 101, 1)
    order = engine.submit("me", Side.BUY, 8, 101, 2, self_trade=mode)
    assert (resting.status, order.status, order.executed) == (maker, taker, traded)
    preventions = engine.take_preventions()
    assert [(one.price, one.quantity) for one in preventions] == ([] if mode is SelfTrade.NONE else [(100, 5)])
    assert engine.take_preventions() == []
    assert sum(quantity for _, quantity in engine.depth(Side.SELL, 10)) == left
    assert (engine.order(resting.order_id) is not None) is (mode is SelfTrade.EXPIRE_TAKER)


def test_fill_or_kill_does_not_count_on_own_orders(engine):
    engine.submit("me", Side.SELL, 5, 100, 1)
    engine.submit("other", Side.SELL, 5, 100, 1)
    fill_or_kill = TimeInForce.FOK
    assert engine.submit("me", Side.BUY, 6, 100, 2, fill_or_kill, self_trade=SelfTrade.EXPIRE_MAKER).executed == 0
    assert engine.submit("me", Side.BUY, 6, 100, 2, fill_or_kill).executed == 6


def test_far_orders_of_others_are_not_the_end_of_a_loaded_book(engine):
    engine.submit("a", Side.SELL, 1, 500, 1)
    assert engine.worst(Side.SELL) == 500
    engine.load("flow", Side.BUY, [(100, 5), (99, 5)], 1)
    engine.submit("a", Side.BUY, 1, 20, 1)
    engine.submit("a", Side.BUY, 1, 99, 1)
    assert engine.worst(Side.BUY) == 99
    assert engine.worst(Side.SELL) is None
