import pytest

from binmon.sandbox.clock import VenueClock
from binmon.sandbox.hub import StreamHub
from binmon.sandbox.market import Market
from binmon.sandbox.matching import Side
from binmon.sandbox.symbols import choose_instruments
from binmon.sandbox.venue_books import VenueBooks

NOW = VenueClock().now_us()


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


def test_the_flow_keeps_off_a_price_while_told_to(market, books):
    symbol = market.symbol("BNBUSDT")
    price = books.book("BNBUSDT", 60)["bids"][59][0]
    ticks = round(float(price) * 10)
    books.keep_off("BNBUSDT", "bids", price, 1000.0)
    books.keep_off("NOPE", "bids", price, 1000.0)
    before = symbol.engine.quantity_at(Side.BUY, ticks)

    def touched(steps, start_us):
        for step in range(steps):
            symbol.flow.step(start_us + step)
        return [change for change in symbol.engine.drain().changes if (change.side, change.price) == (Side.BUY, ticks)]

    assert touched(5000, NOW) == []
    assert symbol.engine.quantity_at(Side.BUY, ticks) == before
    # where the market happens to have wandered off from that price, it comes back in the end
    assert any(touched(50_000, NOW + 2_000_000_000 + turn * 50_000) for turn in range(20))
