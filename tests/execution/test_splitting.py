"""Splits: against trying every one, and what they keep to."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction as F
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.execution.comparison import compare
from binmon.execution.market import Fees
from binmon.execution.pricing import PricingSettings
from binmon.execution.sizes import Rounding, Size
from binmon.execution.splitting import split
from binmon.messages import OrderSide
from tests.execution import brute_force
from tests.execution.markets import NOW_NS, RICH, SETTINGS, D, market, seeded, several, sides

BUY, SELL = OrderSide.BUY, OrderSide.SELL


def split_of(markets, side, size, settings=SETTINGS):
    return split(markets, compare(markets, side, size, NOW_NS, settings), NOW_NS, settings)


def countable(markets):
    """Brute force counts lots one by one, so no market without a step; and three steps must divide one another."""
    steps = sorted(F(one.rules.quantity_step) for one in markets)
    fits = len(steps) < 3 or all(a > 0 and (b / a).denominator == 1 for a, b in pairwise(steps))
    return steps[0] > 0 and fits


@pytest.mark.timeout(1800)
@seeded(4)
@given(several(2, 3).filter(countable), sides, st.integers(0, 2**64))
def test_a_split_is_the_best_of_all_there_are(markets, side, seed):
    size = Size(quantity=Decimal(Random(seed).randint(1, 60)) / 100)
    whole = PricingSettings(SETTINGS.max_age_ns, Rounding.REFUSE)
    comparison = compare(markets, side, size, NOW_NS, whole)
    found = split(markets, comparison, NOW_NS, whole)
    usable = [
        one for one in markets
        if one.rules.status == "TRADING" and (one.account is None or one.account.can_trade)
        and not (one.depth.bids and one.depth.asks and one.depth.bids[0].price >= one.depth.asks[0].price)
    ]  # fmt: skip
    expected = brute_force.best_split(usable, side, F(size.quantity))
    single = comparison.best
    if found is None:
        # what brute force found, if anything, is one venue alone, or no better than that
        if expected is not None:
            assert single is not None
            assert single.effective_price <= expected if side is BUY else single.effective_price >= expected
        return
    assert found.effective_price == expected
    assert sum(part.quantity for part in found.parts) == F(size.quantity)
    assert len({part.venue for part in found.parts}) == len(found.parts) >= 2
    if single is not None:
        assert (
            found.effective_price < single.effective_price
            if side is BUY
            else found.effective_price > single.effective_price
        )
        assert found.saving.amount > 0
    by_venue = {one.venue: one for one in markets}
    for part in found.parts:
        assert not brute_force.violations(by_venue[part.venue], part.quantity, part.notional)


def test_two_thin_tops_are_better_than_one_deep_walk():
    markets = [
        market("first", [("100.1", "1"), ("105", "9")], fee="0"),
        market("second", [("100.2", "1"), ("104", "9")], fee="0"),
    ]
    found = split_of(markets, BUY, Size(quantity=D(2)))
    assert [(part.venue, part.quantity) for part in found.parts] == [("first", 1), ("second", 1)]
    assert found.effective_price == F("100.15")
    assert found.single.venue == "second"  # 204.2 against 205.1
    assert found.saving.amount == F("204.2") - F("200.3")


def test_no_split_where_one_venue_is_as_good():
    markets = [market("first", fee="0"), market("second", fee="0")]
    assert split_of(markets, BUY, Size(quantity=D(1))) is None
    assert split_of(markets, BUY, Size(quantity=D(2))) is not None


def test_a_split_serves_what_no_venue_could_alone():
    markets = [
        market("first", balances={"USDT": "60"}),
        market("second", balances={"USDT": "60"}),
    ]
    found = split_of(markets, BUY, Size(quantity=D(1)))
    assert found.single is None and found.saving is None
    assert all(part.notional <= 60 for part in found.parts)
    assert sum(part.quantity for part in found.parts) == 1


def test_a_part_leaves_room_for_a_fee_that_comes_on_top():
    fees = Fees(D("0.1"), "USDT")
    enough = [market(venue, fees=fees, balances={"USDT": "55.55"}) for venue in ("first", "second")]
    assert [part.given for part in split_of(enough, BUY, Size(quantity=D(1))).parts] == [F("55.55")] * 2
    short = [market(venue, fees=fees, balances={"USDT": "55.54"}) for venue in ("first", "second")]
    assert split_of(short, BUY, Size(quantity=D(1))) is None
    fees = Fees(D("0.1"), "BTC")
    enough = [market(venue, fees=fees, balances={"BTC": "0.55"}) for venue in ("first", "second")]
    assert [part.given for part in split_of(enough, SELL, Size(quantity=D(1))).parts] == [F("0.55")] * 2
    short = [market(venue, fees=fees, balances={"BTC": "0.54"}) for venue in ("first", "second")]
    assert split_of(short, SELL, Size(quantity=D(1))) is None


def test_no_split_for_the_rest_of_a_lot_that_costs_more_than_it():
    """What the coarse venue leaves over would be had at the fine one, and at a worse price for the whole."""
    coarse = market("coarse", [("100.5", "5")], step="1", fee="0")
    fine = market("fine", [("110", "5")], step="0.01", fee="0")
    assert split_of([coarse, fine], BUY, Size(quantity=D("1.05"))) is None
    strict = PricingSettings(SETTINGS.max_age_ns, Rounding.REFUSE)
    assert len(split_of([coarse, fine], BUY, Size(quantity=D("1.05")), strict).parts) == 2


def test_a_part_is_never_under_a_minimum():
    """The second venue would best take 0.05, and takes nothing below 0.5."""
    cheap = [("100.5", "0.05"), ("150", "9")]
    markets = [market("first", fee="0"), market("second", cheap, fee="0", least="0.5")]
    assert split_of(markets, BUY, Size(quantity=D(1))) is None
    markets[1] = market("second", cheap, fee="0")
    assert split_of(markets, BUY, Size(quantity=D(1))).parts[1].quantity == F("0.05")


def test_an_amount_is_split_as_the_quantity_it_comes_to():
    markets = [
        market("first", [("100.1", "1"), ("105", "9")]),
        market("second", [("100.2", "1"), ("105", "9")]),
    ]
    comparison = compare(markets, BUY, Size(quote_amount=D(200)), NOW_NS, SETTINGS)
    found = split(markets, comparison, NOW_NS, SETTINGS)
    assert found.quantity == comparison.best.quantity
    assert found.notional < comparison.best.notional


def test_millions_of_lots_are_no_trouble():
    """Ten coins in lots of 1e-8 over four venues: halving, not counting."""
    markets = [
        market(
            venue,
            [(str(100 + 0.1 * level + offset), "0.37") for level in range(40)],
            step=step,
            fees=Fees(D("0.001"), "USDT" if offset > 0.02 else None),
            balances=RICH,
        )
        for venue, offset, step in [
            ("first", 0.01, "0.00000001"),
            ("second", 0.02, "0.00001"),
            ("third", 0.03, "0.000001"),
            ("fourth", 0.04, "0.001"),
        ]
    ]  # fmt: skip
    found = split_of(markets, BUY, Size(quantity=D("10.00000001")))
    assert len(found.parts) == 4
    assert found.quantity == F("10.00000001")
    worst = sorted(part.worst_price for part in found.parts)
    assert worst[-1] - worst[0] <= F("0.25")  # the walk ends about at one price everywhere, apart from the fees
