"""Filters against the plainest reading of the reference (9) in Decimal."""

from dataclasses import replace
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.sandbox import symbols
from binmon.sandbox.decimals import format_e8
from binmon.sandbox.matching import Side
from binmon.sandbox.parameters import ApiError
from binmon.sandbox.trading.filters import Proposal, Rules, check, check_assets, rules_of

INSTRUMENTS = [
    *symbols.default_instruments(),
    *(symbols.generated_instrument(name, 3) for name in ("ETHBTC", "ABCUSDT", "XYZJPY", "QQQBNB")),
]


def plain(instrument, side, is_market, price, quantity, quote, reference, open_orders):
    """The name of the first filter that fails, by Decimal alone."""
    with localcontext(Context(prec=80)):
        rules = {one["filterType"]: one for one in symbols.symbol_info(instrument, "TRADING", False)["filters"]}
        price, quantity, quote = (Decimal(format_e8(value)) for value in (price, quantity, quote))
        reference = None if reference is None else Decimal(format_e8(reference))

        def outside(value, low, high, step):
            low, high, step = Decimal(low), Decimal(high), Decimal(step)
            return value < low or (high > 0 and value > high) or (step > 0 and value % step != 0)

        if not is_market:
            one = rules["PRICE_FILTER"]
            if outside(price, one["minPrice"], one["maxPrice"], one["tickSize"]):
                return "PRICE_FILTER"
            if reference is not None:
                one, name = rules["PERCENT_PRICE_BY_SIDE"], "bid" if side is Side.BUY else "ask"
                up, down = Decimal(one[f"{name}MultiplierUp"]), Decimal(one[f"{name}MultiplierDown"])
                if not reference * down <= price <= reference * up:
                    return "PERCENT_PRICE_BY_SIDE"
        if quantity or not quote:
            for name in ("LOT_SIZE", "MARKET_LOT_SIZE") if is_market else ("LOT_SIZE",):
                one = rules[name]
                if outside(quantity, one["minQty"], one["maxQty"], one["stepSize"]):
                    return name
        one = rules["NOTIONAL"]
        if is_market and reference is None:
            return "NOTIONAL"
        worth = quote or (reference if is_market else price) * quantity
        if worth < Decimal(one["minNotional"]):
            return "NOTIONAL"
        if not is_market and worth > Decimal(one["maxNotional"]):
            return "NOTIONAL"
        if open_orders >= rules["MAX_NUM_ORDERS"]["maxNumOrders"]:
            return "MAX_NUM_ORDERS"
        return None


def verdict(action):
    try:
        action()
    except ApiError as error:
        assert (error.status, error.code) == (400, -1013)
        return error.message.removeprefix("Filter failure: ")
    return None


@st.composite
def proposals(draw):
    instrument = draw(st.sampled_from(INSTRUMENTS))
    rules = rules_of(instrument)

    def near(*anchors):
        """Values at the edges, a little beside them, and anywhere."""
        edge = draw(st.sampled_from(anchors))
        return max(0, edge + draw(st.sampled_from([0, 0, 1, -1, rules.tick, -rules.tick, rules.step, -rules.step])))

    start = instrument.start_price * instrument.tick_e8
    reference = draw(st.none() | st.just(start) | st.integers(1, 2 * start))
    middle = reference or start
    price = near(rules.min_price, rules.max_price, start, middle * 5, middle // 5, 0)
    price = price if draw(st.booleans()) else price // rules.tick * rules.tick
    least = -(-rules.min_notional * 10**8 // max(1, price))
    most = rules.max_notional * 10**8 // max(1, price)
    quantity = near(rules.min_quantity, rules.max_quantity, rules.market_max_quantity, 0, least, most)
    if draw(st.booleans()):
        quantity = -(-quantity // rules.step) * rules.step
    is_market = draw(st.booleans())
    quote = near(rules.min_notional, rules.max_notional) if is_market and draw(st.booleans()) else 0
    side = draw(st.sampled_from(Side))
    price = 0 if is_market else min(price, 2**62)
    return (
        instrument,
        side,
        is_market,
        price,
        0 if quote else quantity,
        quote,
        reference,
        draw(st.sampled_from([0, 199, 200])),
    )


@given(proposals())
def test_filters_agree_with_decimal_arithmetic(case):
    instrument, side, is_market, price, quantity, quote, reference, open_orders = case
    found = verdict(
        lambda: check(rules_of(instrument), Proposal(side, is_market, price, quantity, quote), reference, open_orders)
    )
    assert found == plain(*case)


def test_each_filter_is_reached():
    """The property above would be empty if its cases all passed or all failed in one place."""
    instrument = symbols.default_instruments()[0]
    rules, start = rules_of(instrument), 65_123_45_000_000
    good = Proposal(Side.BUY, False, start, 100_000)

    def result(reference=start, open_orders=0, **changes):
        return verdict(lambda: check(rules, replace(good, **changes), reference, open_orders))

    assert result() is None
    assert result(price=start + 1) == "PRICE_FILTER"
    assert result(price=0) == "PRICE_FILTER"
    assert result(price=start // 10 // rules.tick * rules.tick) == "PERCENT_PRICE_BY_SIDE"
    assert result(quantity=0) == "LOT_SIZE"
    assert result(quantity=100_001) == "LOT_SIZE"
    assert result(quantity=1000) == "NOTIONAL"
    assert result(quantity=500 * 10**8) == "NOTIONAL"
    assert result(is_market=True, price=0, quantity=9 * 10**8) == "MARKET_LOT_SIZE"
    assert result(is_market=True, price=0, quantity=0, quote=4 * 10**8) == "NOTIONAL"
    assert result(reference=None, is_market=True, price=0) == "NOTIONAL"
    assert result(open_orders=200) == "MAX_NUM_ORDERS"


def test_every_account_has_a_largest_order_in_yen():
    instrument = replace(symbols.default_instruments()[0], symbol="BTCJPY", quote_asset="JPY")
    limit = 1_000_000 * 10**8
    assert verdict(lambda: check_assets(instrument, Proposal(Side.BUY, False, limit, 10**8), None)) is None
    assert verdict(lambda: check_assets(instrument, Proposal(Side.BUY, False, limit + 1, 10**8), None)) == "MAX_ASSET"
    instrument = replace(instrument, symbol="JPYUSDT", base_asset="JPY", quote_asset="USDT")
    assert verdict(lambda: check_assets(instrument, Proposal(Side.BUY, False, 1, limit), None)) is None
    assert verdict(lambda: check_assets(instrument, Proposal(Side.BUY, False, 1, limit + 1), None)) == "MAX_ASSET"


def test_a_zero_switches_a_bound_off():
    filters = symbols.symbol_info(symbols.default_instruments()[0], "TRADING", False)["filters"]
    for one in filters:
        if one["filterType"] in ("PRICE_FILTER", "LOT_SIZE"):
            one.update({name: "0.00000000" for name in one if name != "filterType"})
    rules = Rules.of(filters)
    assert verdict(lambda: check(rules, Proposal(Side.BUY, False, 10**15 + 7, 100_001), None, 0)) is None


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.symbol)
def test_rules_can_be_read(instrument):
    rules = rules_of(instrument)
    assert (rules.tick, rules.step) == (instrument.tick_e8, instrument.step_e8)
