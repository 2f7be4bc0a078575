"""The choice between venues: against brute force, and the rules of it one by one."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given

from binmon.execution.comparison import compare
from binmon.execution.exact import plain
from binmon.execution.market import DepthState, Fees
from binmon.execution.pricing import PricingSettings
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.sizes import Rounding, Size
from binmon.messages import OrderSide
from tests.execution import brute_force
from tests.execution.markets import (
    NOW_NS,
    RICH,
    SETTINGS,
    D,
    market,
    roundings,
    seeded,
    several,
    sides,
    sizes,
)

BUY, SELL = OrderSide.BUY, OrderSide.SELL
ONE = Size(quantity=D(1))


@pytest.mark.timeout(1800)
@seeded()
@given(several(2, 3), sides, sizes, roundings)
def test_choice_and_price_are_those_of_brute_force(markets, side, size, rounding):
    found = compare(markets, side, size, NOW_NS, PricingSettings(SETTINGS.max_age_ns, rounding))
    expected = {}
    for at, one in enumerate(markets):
        outcome = brute_force.outcome(one, side, size, rounding is Rounding.REFUSE)
        if outcome is not None:
            rank = outcome.price if side is BUY else -outcome.price
            expected[one.venue] = ((rank, outcome.leftover, at), outcome)
    order = sorted(expected, key=lambda venue: expected[venue][0])
    assert [quote.venue for quote in found.quotes] == order
    for quote in found.quotes:
        outcome = expected[quote.venue][1]
        assert quote.effective_price == outcome.price
        assert (quote.quantity, quote.notional) == (outcome.quantity, outcome.notional)
        assert (quote.leftover, quote.quote_amount) == (outcome.leftover, outcome.named)
        assert sum(price * quantity for price, quantity in quote.taken) == outcome.notional
    assert {exclusion.venue for exclusion in found.exclusions} == {one.venue for one in markets} - set(order)
    if len(order) > 1:
        first, second = (expected[venue][1] for venue in order[:2])
        assert found.saving.than == order[1]
        assert found.saving.basis_points == abs(second.price - first.price) / second.price * 10_000


@pytest.mark.parametrize(
    ("side", "prices"),
    [
        (BUY, {"first": F(101), "second": F("100.5")}),
        (SELL, {"first": F(100), "second": F("100.2")}),
    ],
)
def test_the_best_is_the_cheapest_to_buy_and_the_dearest_to_sell(side, prices):
    markets = [
        market("first", fee="0"),
        market("second", [("100.5", "1")], [("100.2", "1")], fee="0"),
    ]
    found = compare(markets, side, ONE, NOW_NS, SETTINGS)
    assert {quote.venue: quote.effective_price for quote in found.quotes} == prices
    assert found.best.venue == "second"


def test_a_fee_may_outweigh_a_better_top():
    markets = [market("first", [("100.1", "1")], fee="0.01"), market("second", [("100.5", "1")], fee="0")]
    found = compare(markets, BUY, ONE, NOW_NS, SETTINGS)
    assert found.best.venue == "second"
    assert found.quotes[1].effective_price == F("100.1") / F("0.99")
    # the base currency that the best gains, at the other's price less its own
    assert found.saving.amount == F("100.1") / F("0.99") - F("100.5")


def test_of_equal_prices_the_smaller_leftover_wins_and_then_the_first_named():
    coarse, fine = market("first", step="0.1"), market("second", step="0.01")
    assert compare([coarse, fine], BUY, Size(quantity=D("0.55")), NOW_NS, SETTINGS).best.venue == "second"
    assert compare([coarse, fine], BUY, Size(quantity=D("0.5")), NOW_NS, SETTINGS).best.venue == "first"
    assert compare([fine, coarse], BUY, Size(quantity=D("0.5")), NOW_NS, SETTINGS).best.venue == "second"


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"age_ms": 2001}, Reason.STALE, "2001 ms old, and 2000 ms are allowed"),
        ({"state": DepthState.UNSYNCED}, Reason.UNSYNCED, "rebuilt"),
        ({"state": DepthState.UNREACHABLE}, Reason.UNREACHABLE, "did not answer"),
        ({"state": DepthState.RATE_LIMITED}, Reason.RATE_LIMITED, "no more requests"),
        ({"bids": [("101", "1")]}, Reason.CROSSED, "best bid 101 is not below its best ask 101"),
        ({"status": "BREAK"}, Reason.HALTED, "BTCUSDT is not trading (status BREAK)"),
        ({"market_orders": False}, Reason.NO_MARKET_ORDERS, "no market orders for BTCUSDT"),
        ({"asks": []}, Reason.NOT_ENOUGH_DEPTH, "no asks"),
        (
            {"asks": [("101", "0.99")]},
            Reason.NOT_ENOUGH_DEPTH,
            "ends before 1 BTC: it holds 0.99 BTC, worth 99.99 USDT",
        ),
        ({"least": "1.5"}, Reason.UNDER_MINIMUM, "1 BTC are less than it takes for BTCUSDT now: the least is 1.5 BTC"),
        ({"least_worth": "150"}, Reason.UNDER_MINIMUM, "the least is 1.49 BTC"),
        ({"most": "0.505"}, Reason.OVER_MAXIMUM, "1 BTC are more than it takes for BTCUSDT now: the most is 0.5 BTC"),
        ({"most_worth": "50"}, Reason.OVER_MAXIMUM, "the most is 0.49 BTC"),
        ({"most_worth": "150", "reference_price": D(200)}, Reason.OVER_MAXIMUM, "the most is 0.75 BTC"),
        ({"balances": {"USDT": "100.99"}}, Reason.BALANCE, "it needs 101 USDT, and 100.99 are free there"),
        ({"balances": RICH, "can_trade": False}, Reason.NO_PERMISSION, "may not trade"),
    ],
)
def test_every_venue_that_is_left_out_has_its_reason(changes, reason, says):
    found = compare([market("bad", **changes), market("good")], BUY, ONE, NOW_NS, SETTINGS)
    assert [quote.venue for quote in found.quotes] == ["good"]
    [exclusion] = found.exclusions
    assert (exclusion.venue, exclusion.reason) == ("bad", reason)
    assert says in exclusion.detail
    assert "\n" not in str(exclusion)
    assert found.saving is None


def test_a_quote_of_exactly_the_allowed_age_counts():
    assert compare([market(age_ms=2000)], BUY, ONE, NOW_NS, SETTINGS).best.age_ns == 2_000_000_000
    assert compare([market(age_ms=-5)], BUY, ONE, NOW_NS, SETTINGS).best.age_ns == 0


def test_exclusions_from_before_are_kept():
    gone = Exclusion("elsewhere", Reason.UNKNOWN_SYMBOL, "it does not list BTC/USDT")
    assert compare([market()], BUY, ONE, NOW_NS, SETTINGS, [gone]).exclusions == (gone,)


def test_what_the_account_could_have_had_is_said():
    cheap = {"asks": [("90", "5")], "bids": [("89", "5")]}
    markets = [
        market("poor", **cheap, balances={}),
        market("halted", **cheap, status="BREAK"),
        market("stale", **cheap, age_ms=9999),
        market("good", balances=RICH),
    ]
    found = compare(markets, BUY, ONE, NOW_NS, SETTINGS)
    assert found.best.venue == "good"
    assert [quote.venue for quote in found.out_of_reach] == ["poor", "halted"]  # nobody knows what the stale one asks


def test_a_share_of_the_balance_is_a_size_of_its_own_at_each_venue():
    markets = [market("first", balances={"USDT": "50.5"}), market("second", balances={"USDT": "202"})]
    found = compare(markets, BUY, Size(percent=D(50)), NOW_NS, SETTINGS)
    assert {quote.venue: quote.quantity for quote in found.quotes} == {"first": F("0.25"), "second": F(1)}


def test_different_pairs_are_not_compared():
    with pytest.raises(ValueError, match=r"BTC/USD, BTC/USDT"):
        compare([market("first"), market("second", quote="USD")], BUY, ONE, NOW_NS, SETTINGS)
    with pytest.raises(ValueError, match="twice"):
        compare([market("first"), market("first")], BUY, ONE, NOW_NS, SETTINGS)


def test_the_decimal_context_changes_nothing():
    from decimal import localcontext

    deep = market(
        asks=[("123456.789012345678", "0.123456789012345678"), ("123456.9", "10")], step="0.000000000000000001"
    )
    size = Size(quantity=D("1.000000000000000001"))
    plenty = compare([deep], BUY, size, NOW_NS, SETTINGS).best
    with localcontext(prec=3):
        scarce = compare([deep], BUY, size, NOW_NS, SETTINGS).best
        shown = plain(scarce.effective_price)
    assert scarce == plenty
    assert shown == plain(plenty.effective_price)


def test_a_third_asset_is_used_while_it_lasts():
    fees = Fees(D("0.00075"), "BNB", D(600), D("0.001"))
    rich = market("first", fees=fees, balances=RICH)
    poor = market("second", fees=fees, balances={**RICH, "BNB": "0.0001"})
    first, second = compare([rich, poor], BUY, ONE, NOW_NS, SETTINGS).quotes
    assert (first.fee.asset, first.fee.amount, first.fee.value) == ("BNB", F("0.07575") / 600, F("0.07575"))
    assert first.effective_price == F("101.07575")
    assert (second.fee.asset, second.fee.amount) == ("BTC", F("0.001"))
    never = market("third", fees=Fees(D("0.00075"), "BNB", D(600)), balances={**RICH, "BNB": "0.0001"})
    [exclusion] = compare([never], BUY, ONE, NOW_NS, SETTINGS).exclusions
    assert exclusion.detail == "it needs 0.00012625 BNB, and 0.0001 are free there"


def test_the_balance_must_hold_the_fee_and_all_of_a_named_amount():
    fee_on_top = market(fees=Fees(D("0.01"), "USDT"), balances={"USDT": "102"})
    [exclusion] = compare([fee_on_top], BUY, ONE, NOW_NS, SETTINGS).exclusions
    assert exclusion.detail == "it needs 102.01 USDT, and 102 are free there"
    # half a lot less would be spent, but the venue is told of 100
    half = market(step="0.5", balances={"USDT": "99"})
    [exclusion] = compare([half], BUY, Size(quote_amount=D(100)), NOW_NS, SETTINGS).exclusions
    assert exclusion.detail == "it needs 100 USDT, and 99 are free there"
    sold = market(fees=Fees(D("0.01"), "BTC"), balances={"BTC": "1"})
    [exclusion] = compare([sold], SELL, ONE, NOW_NS, SETTINGS).exclusions
    assert exclusion.detail == "it needs 1.01 BTC, and 1 are free there"
