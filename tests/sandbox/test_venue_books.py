import pytest

from binmon.sandbox.clock import VenueClock
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market
from binmon.sandbox.matching import Side
from binmon.sandbox.symbols import choose_instruments
from binmon.sandbox.venue_books import VenueBooks


@pytest.fixture
def market():
    return Market(choose_instruments(["BNBUSDT"], 1, None), StreamHub(), VenueClock(), 1)


@pytest.fixture
def books(market):
    return VenueBooks(market, None, VenueClock())


def test_book_of_a_symbol_and_of_none(books):
    assert len(books.book("BNBUSDT", 7)["asks"]) == 7
    assert books.book("NOPE", 7) == {"lastUpdateId": 0, "bids": [], "asks": []}
    assert books.tick_e8("BNBUSDT") == 10_000_000


def test_the_flow_keeps_off_prices_while_told_to(market, books):
    symbol, now_us = market.symbol("BNBUSDT"), VenueClock().now_us()
    prices = [price for price, _ in books.book("BNBUSDT", 60)["bids"][30:60]]
    ticks = [round(float(price) * 10) for price in prices]
    for price in prices:
        books.keep_off("BNBUSDT", "bids", price, 1000.0)
    books.keep_off("NOPE", "bids", prices[0], 1000.0)

    def quantities():
        return [symbol.engine.quantity_at(Side.BUY, price) for price in ticks]

    def touched(steps, start_us):
        for step in range(steps):
            symbol.flow.step(start_us + step)
        return [change for change in symbol.engine.drain().changes if change.side is Side.BUY and change.price in ticks]

    before = quantities()
    symbol.engine.drain()
    assert touched(5000, now_us) == []
    assert quantities() == before
    assert touched(20_000, now_us + 2_000_000_000)
