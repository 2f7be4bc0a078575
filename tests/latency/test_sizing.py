"""The size of the probe's orders: exact, within the symbol's rules and the account's balances."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from binmon.latency.sizing import CannotProbe, choose, smallest_quantity
from binmon.messages import Balance, OrderSide, TradingRules

RICH = {name: Balance(name, Decimal(10**9), Decimal(0)) for name in ("BTC", "USDT")}


def rules(
    step="0.00001", least="0.00001", most="9000", notional="5", most_notional="9000000", status="TRADING", market=True
):
    numbers = [Decimal(text) for text in (least, most, step, notional, most_notional)]
    return TradingRules("binance", "BTCUSDT", "BTC", "USDT", status, *numbers, market_orders=market)


PRICES = st.decimals("0.00000100", "200000", places=8)
STEPS = st.sampled_from(["0", "0.00000001", "0.00001", "0.001", "0.5", "1", "100"])


@settings(max_examples=300)
@given(
    PRICES,
    STEPS,
    st.decimals("0", "10", places=8),
    st.decimals("0.01", "100", places=2),
    st.decimals("1", "500", places=2),
)
def test_the_least_that_passes(price, step, least, minimum, wanted):
    made = rules(step=step, least=str(least), most="0", notional=str(minimum), most_notional="0")
    quantity = smallest_quantity(made, price, wanted)
    unit = Decimal(step) if Decimal(step) > 0 else Decimal("1e-8")
    assert quantity % unit == 0 and quantity >= least
    assert quantity * price >= max(wanted, minimum)
    smaller = quantity - unit
    assert smaller < least or smaller * price < max(wanted, minimum * Decimal("1.05"))


@pytest.mark.parametrize("last", [None, OrderSide.BUY, OrderSide.SELL])
def test_sides_take_turns(last):
    chosen = choose(rules(), Decimal("65000"), RICH, Decimal(15), last)
    assert chosen.side is (OrderSide.SELL if last is OrderSide.BUY else OrderSide.BUY)
    assert chosen.quantity == Decimal("0.00024") and chosen.notional == Decimal("15.6")


def test_a_side_that_the_account_cannot_pay_gives_way_to_the_other():
    only_base = {"BTC": Balance("BTC", Decimal(1), Decimal(0))}
    assert choose(rules(), Decimal("65000"), only_base, Decimal(15), OrderSide.SELL).side is OrderSide.SELL
    only_quote = {"USDT": Balance("USDT", Decimal(100), Decimal(0))}
    assert choose(rules(), Decimal("65000"), only_quote, Decimal(15), OrderSide.BUY).side is OrderSide.BUY


@given(st.decimals("0", "40", places=6), st.decimals("0", "0.001", places=8), st.sampled_from([None, *OrderSide]))
def test_never_more_than_the_account_has(usdt, btc, last):
    account = {"BTC": Balance("BTC", btc, Decimal(5)), "USDT": Balance("USDT", usdt, Decimal(5))}
    price = Decimal("65000")
    try:
        chosen = choose(rules(), price, account, Decimal(15), last)
    except CannotProbe as error:
        assume(usdt < Decimal("15.912") and btc < Decimal("0.00024"))
        assert "fund it" in str(error)
        return
    if chosen.side is OrderSide.BUY:
        assert chosen.quantity * price <= usdt
    else:
        assert chosen.quantity <= btc


@pytest.mark.parametrize(
    ("made", "account", "price", "says"),
    [
        (rules(status="BREAK"), RICH, "65000", "not trading at binance (status BREAK)"),
        (rules(market=False), RICH, "65000", "takes no market orders for BTCUSDT"),
        (rules(), RICH, "0", "has no price"),
        (rules(), {}, "65000", "has 0 USDT and 0 BTC"),
        (rules(most="0.0001"), RICH, "65000", "more than a market order"),
        (rules(most_notional="10"), RICH, "65000", "may be worth (10): lower latency.notional"),
    ],
)
def test_what_cannot_be_sent_says_why_and_what_to_do(made, account, price, says):
    with pytest.raises(CannotProbe) as error:
        choose(made, Decimal(price), account, Decimal(15), None)
    assert says in str(error.value) and "\n" not in str(error.value)
