"""New symbols whose books are kept at once, beside what the configuration selects."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from binmon.books.listings import ListingSettings, SelectionChanged
from binmon.config.schema import BooksConfig, Config, ListingsConfig, WatchConfig
from binmon.core.channel import Channel, Overflow
from binmon.messages import FirstSeenBy, Instrument, SymbolListed, SymbolStatus
from binmon.wiring.newcomers import Newcomers

TICK = Decimal("0.1")
LISTED = {
    name: Instrument("binance", name, name[:3], "USDT", "TRADING", TICK, TICK)
    for name in ("BTCUSDT", "NEWUSDT", "TOOUSDT")
}


def listed(symbol: str, status: str = "TRADING") -> SymbolListed:
    return SymbolListed("binance", symbol, "A", "B", status, FirstSeenBy.EXCHANGE_INFO, None, 1)


def changed(symbol: str, status: str) -> SymbolStatus:
    return SymbolStatus("binance", symbol, status, "BREAK", FirstSeenBy.EXCHANGE_INFO, None, 1)


class Books:
    """A configuration with ``record`` or not, and the inbox of the follower of the books."""

    def __init__(self, *, record: bool = True, capacity: int = 8) -> None:
        self.config = self.of(record)
        self.selections: Channel[SelectionChanged] = Channel("selections", capacity, Overflow.DROP_NEWEST)
        self.newcomers = Newcomers(lambda: self.config)
        self.newcomers.open("binance", self.selections)
        self.outlet = self.newcomers.outlet(lambda: LISTED)

    @staticmethod
    def of(record: bool) -> Config:
        watch = WatchConfig(listings=ListingsConfig(record=record))
        return Config(books=BooksConfig(symbols=("BTCUSDT",)), watch=watch)

    def told(self) -> set[str] | None:
        """Which symbols the follower is told to keep."""
        message = self.selections.take(0)
        return None if message is None else set(message.settings.fixed)


def test_a_new_symbol_is_kept_and_stays_over_a_reload() -> None:
    books = Books()
    assert books.outlet.offer(listed("NEWUSDT"))
    message: Any = books.selections.take(0)
    assert message == SelectionChanged(ListingSettings((), frozenset({"BTCUSDT", "NEWUSDT"}), 60.0), LISTED)
    assert books.newcomers.of("binance") == {"NEWUSDT"} and books.newcomers.of("bybit") == set()
    assert books.newcomers.select("binance", ListingSettings((), frozenset({"TOOUSDT"}), 60.0), LISTED)
    assert books.told() == {"TOOUSDT", "NEWUSDT"}
    books.config = books.of(False)  # from now on none, and those that are kept stay
    assert books.outlet.offer(listed("TOOUSDT")) and books.told() is None
    assert books.outlet.offer(changed("NEWUSDT", "HALT")) and books.told() is None
    assert books.outlet.offer(changed("NEWUSDT", "DELISTED")) and books.told() == {"BTCUSDT"}


def test_one_that_does_not_trade_yet_is_waited_for() -> None:
    books = Books()
    assert books.outlet.offer(listed("NEWUSDT", "BREAK")) and books.told() is None
    assert books.outlet.offer(changed("TOOUSDT", "TRADING")) and books.told() is None, "that was there before"
    assert books.outlet.offer(changed("NEWUSDT", "TRADING")) and books.told() == {"BTCUSDT", "NEWUSDT"}
    assert books.outlet.offer(changed("NEWUSDT", "TRADING")) and books.told() is None
    assert books.outlet.offer(listed("TOOUSDT", "UNCONFIRMED")) and books.told() == {"BTCUSDT", "NEWUSDT", "TOOUSDT"}


@pytest.mark.parametrize("message", ["anything", listed("NEWUSDT")])
def test_nobody_asked_for_it(message: Any) -> None:
    books = Books(record=False)
    assert books.outlet.offer(message) and books.told() is None


def test_a_venue_without_books_and_one_without_room() -> None:
    books = Books(capacity=1)
    elsewhere = SymbolListed("bybit", "NEWUSDT", "A", "B", "TRADING", FirstSeenBy.EXCHANGE_INFO, None, 1)
    assert books.outlet.offer(elsewhere) and books.told() is None
    assert books.outlet.offer(listed("NEWUSDT")) and not books.outlet.offer(listed("TOOUSDT"))
    assert books.selections.dropped == 0
    books.told()
    assert books.newcomers.select("binance", ListingSettings((), frozenset(), 60.0), None)
    assert books.told() == {"NEWUSDT", "TOOUSDT"}, "it is told with what comes next"
