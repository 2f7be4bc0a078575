"""Plans: what would be sent never breaks a filter or a limit, and nothing falls through silently."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.errors import OrderForbidden
from binmon.execution.comparison import compare
from binmon.execution.limits import foreseen
from binmon.execution.planning import plan_order
from binmon.execution.reasons import Exclusion, Reason
from binmon.execution.sizes import Size
from binmon.execution.splitting import split
from binmon.messages import OrderRequest, OrderSide
from binmon.orders.gate import OrderGate, OrderLimits
from tests.execution import brute_force
from tests.execution.markets import NOW_NS, RICH, SETTINGS, D, market, seeded, several, sides, sizes

BUY, SELL = OrderSide.BUY, OrderSide.SELL
ONE = Size(quantity=D(1))
LIMITS = OrderLimits(True, D(1000), 200)
CHEAP = {"asks": [("90", "5")], "bids": [("89", "5")]}


def plan(markets, side=BUY, size=ONE, limits=LIMITS, orders_today=0, splits=False, **options):
    comparison = compare(markets, side, size, NOW_NS, SETTINGS)
    if splits:
        options["splitting"] = split(markets, comparison, NOW_NS, SETTINGS)
    return plan_order(markets, comparison, limits, orders_today, SETTINGS, **options)


shares = st.sampled_from(["0.5", "10", "33.3", "99.99", "100"]).map(lambda text: Size(percent=D(text)))


@pytest.mark.timeout(1800)
@seeded()
@given(several(2, 3), sides, st.one_of(sizes, shares), st.booleans())
def test_no_order_violates_a_filter_of_its_venue(markets, side, size, splits):
    made = plan(markets, side, size, OrderLimits(True, D(30), 200), splits=splits)
    by_venue = {one.venue: one for one in markets}
    for order in (*made.orders, *made.fallbacks):
        one, quantity = by_venue[order.venue], order.quote.quantity
        assert (order.quantity is None) != (order.quote_amount is None)
        assert order.quantity is None or F(order.quantity) == quantity
        assert order.quote_amount is None or one.takes_quote_amounts
        named = None if order.quote_amount is None else F(order.quote_amount)
        notional = brute_force.cost(brute_force.units_of(one, side), quantity)
        assert notional == order.quote.notional  # what was quoted, and nothing else
        assert not brute_force.violations(one, quantity, notional, named)
        _, _, needs = brute_force.with_fee(one, side, quantity, notional)
        assert brute_force.affords(one, needs)
        if size.percent is not None and len(made.orders) == 1:
            spent = one.rules.quote if side is BUY else one.rules.base
            assert needs[spent] <= F(one.account.balances[spent].free) * F(size.percent) / 100
    assert sum(order.notional for order in made.orders) <= 30
    venues = [order.venue for order in (*made.orders, *made.fallbacks)] + [one.venue for one in made.exclusions]
    if len(made.orders) == 1:
        assert sorted(venues) == sorted(by_venue)  # every venue is offered, or says why not, once


def test_the_best_is_sent_and_the_others_wait():
    made = plan([market("first", balances=RICH), market("second", **CHEAP, balances=RICH)])
    [order] = made.orders
    assert str(order) == "second (production): market buy, 1 BTC of BTCUSDT"
    assert order.request("mine") == OrderRequest("second", "BTCUSDT", BUY, "mine", D(90), D(1), None)
    assert [other.venue for other in made.fallbacks] == ["first"]
    assert not made.needs_consent and made.exclusions == ()


def test_a_quote_amount_is_sent_as_the_venue_takes_it():
    size = Size(quote_amount=D("50.559"))
    takes = market(balances=RICH, quote_amount_step=D("0.01"))
    [order] = plan([takes], size=size).orders
    assert (order.quantity, order.quote_amount, order.notional) == (None, D("50.55"), D("50.55"))
    assert "50.55 USDT" in str(order)
    takes_none = market(balances=RICH, takes_quote_amounts=False)
    [order] = plan([takes_none], size=size).orders
    assert (order.quantity, order.quote_amount, order.notional) == (D("0.5"), None, D("50.5"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"balances": {"USDT": "1"}}, Reason.BALANCE),
        ({"balances": RICH, "can_trade": False}, Reason.NO_PERMISSION),
        ({"balances": RICH, "status": "BREAK"}, Reason.HALTED),
    ],
)
def test_a_better_price_that_cannot_be_had_is_never_passed_over_silently(changes, reason):
    made = plan([market("best", **CHEAP, **changes), market("next", balances=RICH)])
    assert [order.venue for order in made.orders] == ["next"]
    assert [(one.venue, one.reason) for one in made.passed_over] == [("best", reason)]
    assert made.needs_consent


def test_a_worse_price_that_cannot_be_had_is_only_listed():
    made = plan([market("best", **CHEAP, balances=RICH), market("other", balances={})])
    assert [one.venue for one in made.exclusions] == ["other"]
    assert not made.needs_consent


def test_a_venue_without_a_key_is_compared_and_never_ordered_from():
    made = plan([market("prices_only", **CHEAP), market("next", balances=RICH)])
    assert [order.venue for order in made.orders] == ["next"]
    assert [(one.venue, one.reason) for one in made.exclusions] == [("prices_only", Reason.NO_KEY)]
    assert not made.needs_consent
    assert plan([market("prices_only")]).orders == ()


def test_a_named_venue_is_taken_whatever_the_others_ask():
    markets = [market("cheap", **CHEAP, balances=RICH), market("named", balances=RICH)]
    made = plan(markets, venue="named")
    assert [order.venue for order in made.orders] == ["named"] and made.fallbacks == ()
    assert not made.needs_consent
    made = plan([markets[0], market("named", balances={})], venue="named")
    assert made.orders == () and "named: it needs 101 USDT, and 0 are free there" in made.why_nothing()


def test_after_a_refusal_the_next_is_offered_and_wants_consent():
    made = plan([market("first", balances=RICH, age_ms=500), market("second", **CHEAP, balances=RICH)])
    refusal = Exclusion("second", Reason.REFUSED, "HTTP 400: -2010: Market is closed.")
    then = made.without(refusal, SETTINGS.max_age_ns)
    assert [order.venue for order in then.orders] == ["first"]
    assert then.passed_over == (refusal,) and then.needs_consent
    assert then.expires_mono_ns == NOW_NS + 1_500_000_000
    at_last = then.without(Exclusion("first", Reason.REFUSED, "no"), SETTINGS.max_age_ns)
    assert at_last.orders == () and not at_last.needs_consent and not at_last.is_current(NOW_NS)
    assert at_last.why_nothing() == (
        "no venue can take this order: second: HTTP 400: -2010: Market is closed.; first: no"
    )


def test_a_plan_is_good_only_while_its_quotes_are():
    made = plan([market(balances=RICH, age_ms=1500)])
    assert made.is_current(NOW_NS + 500_000_000)
    assert not made.is_current(NOW_NS + 500_000_001)


def test_the_limits_hold_for_a_split_as_a_whole():
    markets = [
        market("first", [("100.1", "1"), ("105", "9")], balances=RICH),
        market("second", [("100.2", "1"), ("104", "9")], balances=RICH),
    ]
    two = Size(quantity=D(2))
    made = plan(markets, size=two, splits=True)
    assert [order.venue for order in made.orders] == ["first", "second"] and made.fallbacks == ()
    with pytest.raises(ValueError, match="compare again"):
        made.without(Exclusion("first", Reason.REFUSED, ""), 0)
    # each part is below the limit, and both are not
    made = plan(markets, size=two, splits=True, limits=OrderLimits(True, D(150), 200))
    assert made.orders == () and {one.reason for one in made.exclusions} >= {Reason.ORDER_LIMIT}
    made = plan(markets, size=two, splits=True, orders_today=199)
    assert made.orders == () and {one.reason for one in made.exclusions} == {Reason.DAY_LIMIT}
    assert "and this takes 2" in made.why_nothing()


def test_a_split_needs_a_key_for_every_part():
    markets = [
        market("first", [("100.1", "1"), ("105", "9")], balances=RICH),
        market("second", [("100.2", "1"), ("104", "9")]),
    ]
    made = plan(markets, size=Size(quantity=D(2)), splits=True)
    assert made.orders == () and [one.reason for one in made.exclusions] == [Reason.NO_KEY]


class Journal:
    def __init__(self, used):
        self.used = used

    def permitted(self, day):
        return self.used

    def note(self, day, order, environment, at_ns, most):
        raise AssertionError("looking notes nothing")


KEYS = {
    Reason.PRODUCTION: "execution.allow_production",
    Reason.ORDER_LIMIT: "execution.max_order_notional",
    Reason.DAY_LIMIT: "execution.max_orders_per_day",
}


@seeded(4)
@given(
    st.sampled_from(["production", "testnet"]),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_what_is_foreseen_is_what_the_gate_says(environment, allowed, notional, most, used, a_day):
    limits = OrderLimits(allowed, Decimal(most), a_day)
    order = OrderRequest("first", "BTCUSDT", BUY, "mine", Decimal(notional), D(1))
    said = foreseen("first", environment, order.notional, limits, used)
    try:
        OrderGate(limits, Journal(used), lambda: 0).look(order, environment)
    except OrderForbidden as forbidden:
        assert said is not None and KEYS[said.reason] == forbidden.limit
    else:
        assert said is None
