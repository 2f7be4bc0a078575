"""One venue's price: sizes, steps, fees, and what is said of sizes that it does not take."""

from __future__ import annotations

from fractions import Fraction as F

import pytest

from binmon.errors import ConfigError
from binmon.execution.arithmetic import line_of_saving, lines_of_quote, lines_of_split
from binmon.execution.comparison import compare
from binmon.execution.market import Fees, Level, MarketDepth, VenueMarket, rules_without_key
from binmon.execution.pricing import PricingSettings, Quote, quote_at
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.sizes import Rounding, Size
from binmon.execution.splitting import split
from binmon.messages import OrderSide
from tests.execution.markets import NOW_NS, RICH, SETTINGS, D, market

BUY, SELL = OrderSide.BUY, OrderSide.SELL
STRICT = PricingSettings(SETTINGS.max_age_ns, Rounding.REFUSE)


def quoted(one, side=BUY, settings=SETTINGS, **size):
    found = quote_at(one, side, Size(**{name: D(value) for name, value in size.items()}), NOW_NS, settings)
    assert isinstance(found, Quote), found
    return found


def refused(one, side=BUY, settings=STRICT, **size):
    found = quote_at(one, side, Size(**{name: D(value) for name, value in size.items()}), NOW_NS, settings)
    assert isinstance(found, Exclusion), found
    return found


def test_a_buy_walks_the_asks_and_pays_its_fee_in_base():
    quote = quoted(market(), quantity="2")
    assert quote.taken == ((F(101), F(1)), (F(102), F(1)))
    assert (quote.average_price, quote.worst_price, quote.top) == (F("101.5"), F(102), F(101))
    assert (quote.slippage, quote.slippage_bps) == (F("0.5"), F("0.5") / 101 * 10_000)
    assert (quote.fee.asset, quote.fee.amount, quote.fee.value) == ("BTC", F("0.002"), F("0.203"))
    assert (quote.given, quote.gained) == (F(203), F("1.998"))
    assert quote.effective_price == F(203) / F("1.998")
    assert (quote.best_bid, quote.best_ask, quote.source.value) == (F(100), F(101), "rest")


def test_a_sale_walks_the_bids_and_pays_its_fee_in_quote():
    quote = quoted(market(), SELL, quantity="2")
    assert (quote.notional, quote.fee.asset, quote.fee.amount) == (F(199), "USDT", F("0.199"))
    assert (quote.given, quote.gained) == (F(2), F("198.801"))
    assert quote.effective_price == F("99.4005")
    assert (quote.slippage, quote.worst_price) == (F("0.5"), F(99))


@pytest.mark.parametrize(
    ("asset", "side", "price"),
    [
        ("USDT", BUY, F("101.101")),
        ("USDT", SELL, F("99.9")),
        ("BTC", BUY, F(101) / F("0.999")),
        ("BTC", SELL, F(100) / F("1.001")),
        ("BNB", BUY, F("101.101")),
        ("BNB", SELL, F("99.9")),
    ],
)
def test_the_asset_of_the_fee_says_what_it_touches(asset, side, price):
    fees = Fees(D("0.001"), asset, D(500) if asset == "BNB" else None)
    quote = quoted(market(fees=fees), side, quantity="1")
    assert quote.effective_price == price
    assert quote.fee.asset == asset


def test_an_amount_buys_the_most_lots_within_it():
    quote = quoted(market(step="0.1"), quote_amount="120")
    assert (quote.quantity, quote.notional) == (F("1.1"), F("111.2"))
    assert (quote.leftover, quote.leftover_asset, quote.quote_amount) == (F("8.8"), "USDT", F(120))


def test_a_quantity_between_two_lots_is_rounded_down_or_refused():
    quote = quoted(market(step="0.1"), quantity="0.55")
    assert (quote.quantity, quote.leftover, quote.leftover_asset) == (F("0.5"), F("0.05"), "BTC")
    said = refused(market(step="0.1"), quantity="0.55")
    assert said.reason is Reason.OFF_STEP
    assert said.detail == "0.55 BTC are no whole multiple of its step 0.1: the nearest are 0.5 or 0.6"


@pytest.mark.parametrize(
    ("changes", "size", "reason", "says"),
    [
        ({"least": "0.05"}, {"quantity": "0.049"}, Reason.UNDER_MINIMUM, "0.049 BTC are less than it takes for BTCUSDT now: the least is 0.05 BTC"),
        ({}, {"quantity": "0.001"}, Reason.UNDER_MINIMUM, "the least is 0.01 BTC"),
        ({"least_worth": "10"}, {"quantity": "0.09"}, Reason.UNDER_MINIMUM, "the least is 0.1 BTC"),
        ({"least_worth": "10"}, {"quote_amount": "9.5"}, Reason.UNDER_MINIMUM, "9.5 USDT are less than it takes for BTCUSDT now: the least is 10.1 USDT"),
        ({"least_worth": "10", "reference_price": D(50)}, {"quantity": "0.1"}, Reason.UNDER_MINIMUM, "the least is 0.2 BTC"),
        ({"most": "0.1"}, {"quantity": "0.105"}, Reason.OFF_STEP, "the nearest are 0.1"),
        ({"most": "0.1"}, {"quantity": "0.2"}, Reason.OVER_MAXIMUM, "the most is 0.1 BTC"),
        ({"most_worth": "50"}, {"quote_amount": "50.01"}, Reason.OVER_MAXIMUM, "50.01 USDT are more than it takes for BTCUSDT now: the most is 50 USDT"),
        ({"most": "0.1"}, {"quote_amount": "50"}, Reason.OVER_MAXIMUM, "the most is 10.1 USDT"),
        ({"quote_amount_step": D("0.5")}, {"quote_amount": "10.3"}, Reason.OFF_STEP, "10.3 USDT are no whole multiple of its step 0.5: the nearest are 10 or 10.5"),
        ({"least": "1", "most": "0.5"}, {"quantity": "1"}, Reason.UNDER_MINIMUM, "no size is valid"),
        ({"least_worth": "9999"}, {"quantity": "1"}, Reason.NOT_ENOUGH_DEPTH, "ends before the venue's least order, 9999 USDT"),
        ({}, {"quote_amount": "305.01"}, Reason.NOT_ENOUGH_DEPTH, "ends before 305.01 USDT: it holds 3 BTC, worth 305 USDT"),
        ({}, {"quantity": "3.01"}, Reason.NOT_ENOUGH_DEPTH, "ends before 3.01 BTC"),
    ],
)  # fmt: skip
def test_a_size_that_is_not_taken_is_answered_with_the_nearest(changes, size, reason, says):
    said = refused(market(**changes), **size)
    assert said.reason is reason
    assert says in said.detail


def test_the_nearest_that_are_said_are_valid():
    one = market(step="0.03", least="0.05", least_worth="10", most="0.5", most_worth="40")
    for asked in ("0.001", "0.07", "0.1", "0.31", "0.5", "2"):
        found = quote_at(one, BUY, Size(quantity=D(asked)), NOW_NS, STRICT)
        if isinstance(found, Exclusion):
            words = found.detail.replace(" BTC", "").rsplit(" is " if " is " in found.detail else " are ", 1)[-1]
            for near in words.split(" or "):
                quoted(one, settings=STRICT, quantity=near)


@pytest.mark.parametrize(
    ("side", "fees", "size"),
    [
        (BUY, Fees(D("0.001")), F("50.5")),  # the fee is taken from what is bought
        (BUY, Fees(D("0.25"), "USDT"), F("40.4")),  # the fee fits into the share
        (SELL, Fees(D("0.001")), F("0.5")),
        (SELL, Fees(D("0.25"), "BTC"), F("0.4")),
    ],
)
def test_a_share_of_the_balance_leaves_room_for_the_fee(side, fees, size):
    one = market(fees=fees, balances={"USDT": "101", "BTC": "1"})
    quote = quoted(one, side, percent="50")
    assert (quote.quote_amount if side is BUY else quote.quantity) == size
    assert quoted(one, side, percent="100").quantity > quote.quantity


def test_a_share_of_nothing_or_of_the_unknown():
    assert refused(market(), percent="50").reason is Reason.NO_KEY
    said = refused(market(balances={"BTC": "1"}), percent="50")
    assert (said.reason, said.detail) == (Reason.BALANCE, "no USDT is free there")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "found none"),
        ({"quantity": "1", "quote_amount": "1"}, "found --quantity and --quote-amount"),
        ({"quantity": "0"}, "--quantity: expected a number above zero, found 0"),
        ({"quote_amount": "NaN"}, "--quote-amount: expected a number above zero, found NaN"),
        ({"percent": "100.1"}, "--percent-of-balance: expected at most 100, found 100.1"),
    ],
)
def test_a_size_that_is_none(given, says):
    with pytest.raises(ConfigError) as error:
        Size(**{name: D(value) for name, value in given.items()})
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"asks": [("101", "1"), ("101", "1")]}, "101 after 101 is not best first"),
        ({"bids": [("99", "1"), ("100", "1")]}, "100 after 99 is not best first"),
        ({"asks": [("101", "0")]}, "is no level"),
        ({"asks": [("NaN", "1")]}, "is no level"),
        ({"fees": Fees(D("0.001"), "BNB")}, "needs the price of BNB in USDT"),
    ],
)
def test_what_is_no_market_is_refused_at_once(changes, says):
    with pytest.raises(ValueError, match=says):
        market(**changes)


def test_parts_of_different_markets_do_not_fit():
    one, other = market("first"), market("second", quote="USD")
    with pytest.raises(ValueError, match="rules of second BTCUSD for first BTCUSDT"):
        VenueMarket(one.depth, other.rules, one.fees)
    with pytest.raises(ValueError, match="is no depth of second"):
        MarketDepth("second", one.depth.instrument, (), (Level(D(1), D(1)),), 0, one.depth.source)
    for rate in ("-0.1", "1"):
        with pytest.raises(ValueError, match="no share"):
            Fees(D(rate))


def test_a_venue_for_market_data_alone_is_priced_by_its_lot():
    one = market(step="0.5")
    bare = VenueMarket(one.depth, rules_without_key(one.depth.instrument), Fees(D("0.004"), from_account=False))
    quote = quoted(bare, quantity="1.2")
    assert quote.quantity == 1 and not quote.fee_from_account


def test_the_arithmetic_is_shown():
    quote = quoted(market(balances=RICH), quantity="2")
    assert list(lines_of_quote(quote)) == [
        "first: buy 2 BTC: 1 × 101 + 1 × 102 = 203 USDT",
        "first: fee 0.002 BTC, worth 0.203 USDT",
        "first: gives 203 USDT, gains 1.998 BTC; effective price 203 / 1.998 = 101.6016016",
    ]
    markets = [market("first", fee="0"), market("second", [("100.5", "1"), ("104", "9")], fee="0")]
    comparison = compare(markets, BUY, Size(quantity=D(2)), NOW_NS, SETTINGS)
    assert line_of_saving(comparison.saving, "USDT") == "saves 1.5 USDT (73.35 bps) against second"
    shown = list(lines_of_split(split(markets, comparison, NOW_NS, SETTINGS)))
    assert shown[-2:] == [
        "together: effective price 201.5 / 2 = 100.75",
        "together: saves 1.5 USDT (73.89 bps) against first alone",
    ]
    assert len(shown) == 8
