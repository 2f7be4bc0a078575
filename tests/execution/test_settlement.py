"""Fills added up, against the quote they were ordered by."""

from __future__ import annotations

from fractions import Fraction as F

import pytest

from binmon.execution.pricing import quote_at
from binmon.execution.settlement import settle
from binmon.execution.sizes import Size
from binmon.messages import OrderSide
from binmon.venues.trading import Execution
from tests.execution.markets import NOW_NS, SETTINGS, D, market

BUY, SELL = OrderSide.BUY, OrderSide.SELL


def fill(trade_id, price, quantity, commission="0", asset="BTC", time_us=0):
    return Execution(trade_id, D(price), D(quantity), D(price) * D(quantity), D(commission), asset, time_us)


def quote(side=BUY):
    return quote_at(market(), side, Size(quantity=D(2)), NOW_NS, SETTINGS)


def test_filled_as_quoted():
    settled = settle(quote(), [fill(1, "101", "1", "0.001"), fill(2, "102", "1", "0.001")])
    assert settled.average_price == quote().average_price
    assert settled.effective_price() == quote().effective_price
    assert (settled.slippage, settled.slippage_amount, settled.unfilled, settled.fills) == (0, 0, 0, 2)
    assert settled.fees == {"BTC": F("0.002")}
    assert settled.changes() == {"BTC": F("1.998"), "USDT": F(-203)}


@pytest.mark.parametrize(("side", "worse"), [(BUY, F("0.5")), (SELL, F("-2.5"))])
def test_slippage_is_above_zero_when_it_is_worse(side, worse):
    settled = settle(quote(side), [fill(1, "102", "1.5")])
    assert settled.slippage == worse
    assert settled.slippage_bps == worse / quote(side).average_price * 10_000
    assert settled.slippage_amount == worse * F("1.5")
    assert settled.unfilled == F("0.5")


def test_a_sale_with_fees_in_two_assets():
    settled = settle(quote(SELL), [fill(1, "100", "1", "0.1", "USDT"), fill(2, "99", "1", "0.0001", "BNB")])
    assert settled.fees == {"USDT": F("0.1"), "BNB": F("0.0001")}
    assert settled.effective_price({"BNB": D(600)}) == (F(199) - F("0.1") - F("0.06")) / 2
    assert settled.changes() == {"BTC": F(-2), "USDT": F("198.9"), "BNB": F("-0.0001")}
    with pytest.raises(KeyError):
        settled.effective_price()


def test_a_fill_told_twice_counts_once():
    settled = settle(quote(), [fill(1, "101", "1"), fill(1, "101", "1", time_us=9), fill(2, "102", "1")])
    assert (settled.fills, settled.quantity) == (2, 2)
    with pytest.raises(ValueError, match="trade 1 is told in two ways"):
        settle(quote(), [fill(1, "101", "1"), fill(1, "101", "2")])


def test_nothing_filled():
    settled = settle(quote(), [])
    assert (settled.average_price, settled.effective_price(), settled.slippage, settled.slippage_bps) == (None,) * 4
    assert settled.slippage_amount is None
    assert (settled.unfilled, settled.fees) == (2, {})
