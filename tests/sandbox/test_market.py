"""The scheduler and the symbols, stepped by hand: no thread, no socket."""

import itertools
import json

import pytest

from binmon.sandbox.clock import VenueClock
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market, UnknownSymbol
from binmon.sandbox.symbols import choose_instruments


class Listener:
    identifier = 1
    backlog_bytes = 0

    def __init__(self):
        self.events = []

    def deliver(self, message):
        self.events.append((message.stream, json.loads(message.payload(False))))

    def flush(self):
        self.events.append(("flush", None))

    def of(self, stream):
        return [event for name, event in self.events if name == stream]


@pytest.fixture
def market(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    return Market(choose_instruments(["BTCUSDT", "FOOUSDT"], 1, None), StreamHub(), VenueClock(), 1)


def run(market, seconds, first=1):
    for number in range(first, first + int(seconds * 100)):
        market.tick(number, number * 0.01)
    return first + int(seconds * 100)


def test_events_are_contiguous_and_come_every_100_ms(market):
    listener = Listener()
    market.hub.subscribe(listener, ["btcusdt@depth@100ms", "btcusdt@depth"])
    run(market, 10)
    fast, slow = listener.of("btcusdt@depth@100ms"), listener.of("btcusdt@depth")
    assert len(fast) >= 95
    assert 9 <= len(slow) <= 10
    for events in (fast, slow):
        assert all(later["U"] == earlier["u"] + 1 for earlier, later in itertools.pairwise(events))
    assert any(event["u"] > event["U"] for event in fast)
    assert any(row[1] == "0.00000000" for event in fast for row in event["b"])


def test_steps_are_repeatable(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    books = []
    for _ in range(2):
        market = Market(choose_instruments(["BTCUSDT"], 5, None), StreamHub(), VenueClock(), 5)
        market.symbol("BTCUSDT").wake()
        run(market, 5)
        books.append(market.symbol("BTCUSDT").book_json(5000))
    assert books[0] == books[1]


def test_freeze_stops_everything(market):
    market.symbol("BTCUSDT").wake()
    following = run(market, 1)
    market.freeze(1000)
    before = market.symbol("BTCUSDT").engine.update_id
    following = run(market, 1, following)
    assert market.symbol("BTCUSDT").engine.update_id == before
    market.freeze(0)
    run(market, 1, following)
    assert market.symbol("BTCUSDT").engine.update_id > before


def test_symbols_are_added_and_removed(market):
    with pytest.raises(ValueError, match="listed already"):
        market.add_symbol("BTCUSDT")
    market.add_symbol("NEWUSDT")
    assert market.symbol("NEWUSDT").engine.last_trade_id == 0
    run(market, 20)
    assert market.symbol("NEWUSDT").engine.update_id > 1
    market.remove_symbol("NEWUSDT")
    with pytest.raises(UnknownSymbol):
        market.symbol("NEWUSDT")
    run(market, 5, 2001)


def test_mini_ticker_array_holds_changed_symbols_only(market):
    listener = Listener()
    market.hub.subscribe(listener, ["!miniTicker@arr"])
    run(market, 6)
    arrays = listener.of("!miniTicker@arr")
    assert len(arrays) >= 4
    assert all("BTCUSDT" in {item["s"] for item in array} for array in arrays)
    assert not any(item["s"] == "QUIETUSDT" for array in arrays for item in array)
    assert any(len(array) == 1 for array in arrays)


def test_a_symbol_sleeps_until_somebody_listens_or_asks(market):
    sleeper = market.symbol("FOOUSDT")
    run(market, 1)
    before = sleeper.update_id
    assert not sleeper.awake and before > 0
    market.hub.subscribe(Listener(), ["foousdt@trade"])
    run(market, 20, 101)
    assert sleeper.awake and sleeper.update_id > before
    asked = market.symbol("BTCUSDT")
    assert not asked.awake
    first = json.loads(asked.book_json(5))["lastUpdateId"]
    run(market, 1, 2101)
    assert asked.update_id > first


def test_a_subscription_to_everything_wakes_everybody(market):
    market.hub.subscribe(Listener(), ["!miniTicker@arr"])
    run(market, 2)
    assert all(one.awake for one in market.symbols())


def test_sleeping_symbols_stay_asleep_through_a_reset_and_restart_their_ids(market):
    before = market.symbol("FOOUSDT").update_id
    market.symbol("BTCUSDT").wake()
    market.reset()
    assert market.symbol("BTCUSDT").awake and not market.symbol("FOOUSDT").awake
    assert market.symbol("FOOUSDT").update_id == market.symbol("BTCUSDT").update_id == 1 < before
    assert market.symbol("FOOUSDT").last_trade_id == 0


def test_many_sleeping_symbols_cost_next_to_nothing(monkeypatch):
    names = [f"S{number}USDT" for number in range(1500)]
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    market = Market(choose_instruments(names, 1, None), StreamHub(), VenueClock(), 1)
    actions = []
    for one in market.symbols():
        monkeypatch.setattr(one, "act", actions.append)
    run(market, 2)
    assert actions == []
    assert not any(one.awake for one in market.symbols())
