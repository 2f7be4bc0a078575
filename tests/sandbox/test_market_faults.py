import pytest

from binmon.sandbox.clock import VenueClock
from binmon.sandbox.fault_kinds import KINDS, BadFault
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market
from binmon.sandbox.market_faults import MarketFaults
from binmon.sandbox.symbols import choose_instruments


@pytest.fixture
def market():
    return Market(choose_instruments(["BTCUSDT"], 1, None), StreamHub(), VenueClock(), 1)


@pytest.fixture
def turns(market):
    return MarketFaults(market, VenueClock())


def test_every_turn_is_a_kind_of_the_table(turns):
    assert set(turns.kinds) <= set(KINDS)


def test_price_moves_also_on_a_symbol_nobody_has_asked_for(market, turns):
    assert not market.symbol("BTCUSDT").awake
    turns.set_price({"symbol": "BTCUSDT", "price": "50000"})
    symbol = market.symbol("BTCUSDT")
    assert abs(symbol.top().bid * symbol.instrument.tick_e8 / 1e8 - 50_000) < 20


@pytest.mark.parametrize("kind", ["set_price", "symbol_status", "remove_symbol"])
def test_unknown_symbols_are_refused(turns, kind):
    with pytest.raises(BadFault, match="NOPE"):
        turns.kinds[kind]({"symbol": "NOPE", "price": "1", "status": "HALT"})


def test_listing_and_delisting(market, turns):
    turns.new_symbol({"symbol": "NEWUSDT", "status": "BREAK"})
    assert market.symbol("NEWUSDT").awake
    turns.symbol_status({"symbol": "NEWUSDT", "status": "TRADING"})
    assert market.symbol("NEWUSDT").status == "TRADING"
    with pytest.raises(BadFault, match="listed already"):
        turns.new_symbol({"symbol": "NEWUSDT", "status": "BREAK"})
    turns.remove_symbol({"symbol": "NEWUSDT"})
    assert "NEWUSDT" not in [one.instrument.symbol for one in market.symbols()]
