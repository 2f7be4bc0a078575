"""Exact numbers: nothing is lost, and what is shown is rounded as it is said."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.execution.exact import decimal_of, digits, down_to, exact, plain, rounded, step_of, up_to
from tests.execution.markets import seeded

decimals = st.builds(
    lambda units, places: Decimal(units).scaleb(-places), st.integers(-(10**15), 10**15), st.integers(0, 18)
)


@seeded(4)
@given(decimals)
def test_there_and_back_is_the_same(value):
    with localcontext(prec=3):
        assert decimal_of(exact(value)) == value
        assert F(digits(exact(value))) == F(value)


@seeded(4)
@given(st.fractions(0, 1000), st.fractions(F(1, 1000), 10))
def test_steps_enclose(value, step):
    low, high = down_to(value, step), up_to(value, step)
    assert low <= value <= high
    assert (low / step).denominator == (high / step).denominator == 1
    assert high - low in (0, step)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (F(1, 3), "0.33333333"),
        (F(2, 3), "0.66666667"),
        (F("0.000000005"), "0"),
        (F("1.000000005"), "1"),
        (F("1.000000015"), "1.00000002"),
        (F(-1, 3), "-0.33333333"),
        (F(1000), "1000"),
        (F(0), "0"),
        (F(1, 10**12), "0.000000000001"),
    ],
)
def test_halves_are_shown_to_even_and_nothing_as_zero_that_is_not(value, shown):
    expected = "0.000000005" if value == F("0.000000005") else shown
    assert plain(value) == expected


def test_rounding_is_to_places():
    assert str(rounded(F(25, 10), 0)) == "2"
    assert str(rounded(F(35, 10), 0)) == "4"
    assert str(rounded(F(1, 8), 2)) == "0.12"


def test_what_has_no_end_is_no_decimal():
    with pytest.raises(ValueError, match="no end"):
        decimal_of(F(1, 3))
    for text in ("NaN", "Infinity"):
        with pytest.raises(ValueError, match="no amount"):
            exact(Decimal(text))


def test_no_step_is_eight_decimals():
    assert step_of(Decimal(0)) == F(1, 10**8)
    assert step_of(Decimal("0.5")) == F(1, 2)
