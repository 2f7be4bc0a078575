"""Exact amounts."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.sandbox.bybit import money

amounts = st.integers(-(10**35), 10**35)


@given(amounts)
def test_printing_and_reading_lose_nothing(units):
    assert money.to_units(money.text(units)) == units
    assert Fraction(money.text(units)) * 10**20 == units


@given(amounts, st.integers(0, 12))
def test_least_decimals(units, decimals):
    text = money.text(units, decimals)
    fraction = text.partition(".")[2]
    assert len(fraction) >= decimals
    assert len(fraction) <= decimals or not fraction.endswith("0")
    assert money.to_units(text) == units


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1e-21", "0.000000000000000000001"])
def test_what_is_no_amount(text):
    with pytest.raises(ValueError):
        money.to_units(text)


def test_exponents_are_read():
    assert money.to_units("1e-20") == 1
    assert money.to_units("12e3") == 12_000 * money.UNIT


@given(st.integers(0, 10**30), st.integers(0, 9999))
def test_a_share_of_four_decimals_of_a_quantity_is_exact(e8, share):
    units = e8 * money.E8_IN_UNITS
    rate = Decimal(share).scaleb(-4)
    assert money.part(units, rate) * 10_000 == units * share
