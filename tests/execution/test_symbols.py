"""Pairs: every venue's own spelling, by metadata alone."""

from __future__ import annotations

import pytest

from binmon.errors import ConfigError
from binmon.execution.reasons import Reason
from binmon.execution.symbols import pair_of
from binmon.messages import Instrument
from tests.execution.markets import D


def listing(venue, *instruments, status="TRADING"):
    return {
        symbol: Instrument(venue, symbol, base, quote, status, D("0.01"), D("0.01"))
        for symbol, base, quote in instruments
    }


LISTINGS = {
    "binance": listing("binance", ("BTCUSDT", "BTC", "USDT"), ("ETHBTC", "ETH", "BTC"), ("ABCUSDT", "ABC", "USDT")),
    "bybit": listing("bybit", ("BTCUSDT", "BTC", "USDT"), ("BTCUSDC", "BTC", "USDC")),
    "kraken": listing("kraken", ("BTC/USDT", "BTC", "USDT"), ("BTC/USD", "BTC", "USD")),
    "okx": listing("okx", ("BTC-USDT", "BTC", "USDT")),
}


@pytest.mark.parametrize("text", ["BTCUSDT", "BTC/USDT", "BTC-USDT", "btcusdt", " btc/usdt "])
def test_any_spelling_gives_every_venue_its_own(text):
    pair = pair_of(text, LISTINGS)
    assert str(pair) == "BTC/USDT"
    assert pair.symbols == {"binance": "BTCUSDT", "bybit": "BTCUSDT", "kraken": "BTC/USDT", "okx": "BTC-USDT"}
    assert pair.not_listed == ()


def test_venues_that_do_not_list_it_are_named():
    pair = pair_of("BTC/USD", LISTINGS)
    assert pair.symbols == {"kraken": "BTC/USD"}
    assert [(one.venue, one.reason) for one in pair.not_listed] == [
        ("binance", Reason.UNKNOWN_SYMBOL),
        ("bybit", Reason.UNKNOWN_SYMBOL),
        ("okx", Reason.UNKNOWN_SYMBOL),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("BTCUSDX", "'BTCUSDX' is listed on none of binance, bybit, kraken, okx: did you mean BTCUSDT or "),
        ("ETH/BTX", "did you mean ETH/BTC"),
        ("???", "expected a symbol of one of them, or BASE/QUOTE"),
        # both assets exist, and no venue lists the pair: nothing is put together from the text
        ("ETHUSDT", "is listed on none"),
        ("BTC-USD", "is listed on none"),
    ],
)
def test_an_unknown_symbol_has_near_matches(text, says):
    with pytest.raises(ConfigError) as error:
        pair_of(text, LISTINGS)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_spelling_of_two_pairs_is_refused():
    listings = {
        "one": listing("one", ("ABCDEF", "ABC", "DEF")),
        "two": listing("two", ("ABCDEF", "ABCD", "EF")),
    }
    with pytest.raises(ConfigError, match=r"not one pair \(ABC/DEF on one; ABCD/EF on two\): write it as BASE/QUOTE"):
        pair_of("ABCDEF", listings)
    assert pair_of("ABCD/EF", listings).symbols == {"two": "ABCDEF"}


def test_a_pair_that_one_venue_lists_twice_is_the_one_typed_or_the_one_that_trades():
    twice = listing("one", ("OLD", "BTC", "USDT"), status="BREAK") | listing("one", ("NEW", "BTC", "USDT"))
    assert pair_of("BTC/USDT", {"one": twice}).symbols == {"one": "NEW"}
    assert pair_of("OLD", {"one": twice}).symbols == {"one": "OLD"}
    both = listing("one", ("A", "BTC", "USDT"), ("B", "BTC", "USDT"))
    with pytest.raises(ConfigError, match="more than once: expected A or B"):
        pair_of("BTC/USDT", {"one": both})


def test_upper_and_lower_case_are_told_apart_where_a_venue_does():
    listings = {"one": listing("one", ("aBC", "aB", "C"), ("ABC", "AB", "C"))}
    assert pair_of("aBC", listings).base == "aB"
    with pytest.raises(ConfigError, match="not one pair"):
        pair_of("abc", listings)
