import json

import pytest

from binmon.sandbox.hub import StreamHub
from binmon.sandbox.matching import Side
from binmon.sandbox.symbol_market import SymbolMarket
from binmon.sandbox.symbols import default_instruments

NOW = 1_784_600_000_123_456
INSTRUMENTS = {instrument.symbol: instrument for instrument in default_instruments()}


class Listener:
    identifier = 1
    backlog_bytes = 0

    def __init__(self):
        self.events = []

    def deliver(self, message):
        self.events.append((message.stream, json.loads(message.payload(False))))


@pytest.fixture
def hub():
    return StreamHub()


@pytest.fixture
def market(hub):
    return SymbolMarket(INSTRUMENTS["BNBUSDT"], hub, "seed", NOW)


def listen(hub, *streams):
    listener = Listener()
    hub.subscribe(listener, list(streams))
    return listener


def test_aggregates_merge_the_trades_of_one_taker_at_one_price(market, hub):
    listener = listen(hub, "bnbusdt@trade", "bnbusdt@aggTrade")
    best, quantity = market.engine.best(Side.SELL)
    market.engine.submit("user", Side.SELL, 5, best, NOW)
    market.engine.submit("user", Side.BUY, quantity + 5, best, NOW)
    market.settle(NOW)
    trades = [event for name, event in listener.events if name.endswith("@trade")]
    [aggregate] = [event for name, event in listener.events if name.endswith("aggTrade")]
    assert len(trades) == 2
    assert (aggregate["f"], aggregate["l"]) == (trades[0]["t"], trades[1]["t"])
    assert aggregate["m"] is False
    assert market.last_price() == best


def test_book_ticker_comes_only_when_the_top_changes(market, hub):
    listener = listen(hub, "bnbusdt@bookTicker")
    market.engine.submit("user", Side.BUY, 5, market.engine.worst(Side.BUY), NOW)
    market.settle(NOW)
    assert listener.events == []
    market.engine.submit("user", Side.BUY, 5, market.engine.best(Side.BUY)[0], NOW)
    market.settle(NOW)
    [(_, ticker)] = listener.events
    assert ticker["u"] == market.engine.update_id


def test_a_break_loses_no_update_ids(market, hub):
    listener = listen(hub, "bnbusdt@depth")
    for step in range(50):
        market.act(NOW + step)
    market.set_status("BREAK")
    market.push_slow(NOW, 1)
    before = market.engine.update_id
    market.act(NOW)
    assert market.engine.update_id == before
    market.set_status("TRADING")
    for step in range(50):
        market.act(NOW + step)
    market.push_slow(NOW, 2)
    first, second = [event for _, event in listener.events]
    assert second["U"] == first["u"] + 1


def test_cancel_only_sends_no_klines_and_no_trades(market, hub):
    listener = listen(hub, "bnbusdt@kline_1s", "bnbusdt@trade", "bnbusdt@depth@100ms")
    market.set_status("CANCEL_ONLY")
    for step in range(300):
        market.act(NOW + step)
    market.push_fast(NOW)
    market.push_slow(NOW, 2)
    assert {name for name, _ in listener.events} == {"bnbusdt@depth@100ms"}


def test_day_statistics_match_the_minutes(market):
    for step in range(2000):
        market.act(NOW + step * 1000)
    day = market.day(NOW + 2_000_000)
    rows = market.candles().rows("1m", None, None, 1000, NOW // 1000 + 2000)
    assert day.high >= max(row.high for row in rows)
    assert day.last == market.last_price()
    assert day.trades == day.last_trade_id - day.first_trade_id + 1
    assert day.volume > sum(row.volume for row in rows)


def test_fresh_symbol_has_no_past(hub):
    market = SymbolMarket(INSTRUMENTS["BNBUSDT"], hub, "seed", NOW, fresh=True)
    assert (market.engine.update_id, market.engine.last_trade_id) == (1, 0)
    assert market.last_price() is None
    assert market.average_price(NOW) is None
    assert market.day(NOW).first_trade_id == -1


def test_a_market_sleeps_until_its_book_is_asked_for(hub):
    woken = []
    market = SymbolMarket(INSTRUMENTS["BNBUSDT"], hub, "seed", NOW, on_wake=woken.append)
    assert not market.awake
    assert market.update_id > 1 and market.last_trade_id > 0
    assert market.last_price() == INSTRUMENTS["BNBUSDT"].start_price
    assert market.candles().rows("1m", None, None, 5, NOW // 1000)
    assert not market.awake and woken == []
    before = market.update_id
    assert json.loads(market.book_json(5))["lastUpdateId"] == before
    market.act(NOW)
    assert market.awake and woken == [market]


def test_watchers_hear_every_change_in_whole_actions(market):
    class Watcher:
        changes, restarts = [], 0

        def take(self, changes):
            self.changes.extend(changes)

        def restart(self):
            self.restarts += 1

    watcher, first = Watcher(), market.update_id
    market.watch(watcher)
    for step in range(50):
        market.act(NOW + step)
    assert [change.update_id for change in watcher.changes] == list(range(first + 1, market.update_id + 1))
    market.start("seed", NOW, fresh=True)
    assert watcher.restarts == 1
    market.unwatch(watcher)
    heard = len(watcher.changes)
    for step in range(50):
        market.act(NOW + step)
    assert len(watcher.changes) == heard


def test_a_retired_market_sends_nothing_more(market, hub):
    listener = listen(hub, "bnbusdt@depth", "bnbusdt@depth@100ms", "bnbusdt@ticker")
    for step in range(50):
        market.act(NOW + step)
    market.retire()
    market.act(NOW + 60)
    market.push_fast(NOW)
    market.push_slow(NOW, 1)
    assert listener.events == []


class Owners:
    """Notes what it is told."""

    def __init__(self):
        self.calls = []

    def traded(self, market, trades):
        self.calls.append([(trade.maker_owner, trade.taker_owner) for trade in trades])

    def restarted(self, market):
        self.calls.append("restarted")

    def retired(self, market):
        self.calls.append("retired")


def test_owners_are_told_of_their_trades_only(market):
    market.owners = Owners()
    market.engine.submit("flow", Side.BUY, 1, None, NOW)
    market.settle(NOW)
    assert market.owners.calls == []
    market.engine.submit("me", Side.BUY, 1, None, NOW)
    market.settle(NOW)
    assert market.owners.calls == [[("flow", "me")]]
    price, quantity = market.engine.best(Side.SELL)
    market.engine.submit("me", Side.SELL, 1, price, NOW)
    market.engine.submit("flow", Side.BUY, quantity + 1, price, NOW)
    market.settle(NOW)
    assert market.owners.calls[-1][-1] == ("me", "flow")
    assert market.owners.calls[-1][0] == ("flow", "flow")
    assert len(market.owners.calls) == 2


def test_owners_are_told_when_all_is_gone(market):
    market.owners = Owners()
    market.start("seed", NOW, fresh=True)
    market.retire()
    assert market.owners.calls == ["restarted", "retired"]
