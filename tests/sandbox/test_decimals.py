from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.sandbox.decimals import format_e8, parse_e8


@given(st.integers(-(10**20), 10**20))
def test_printing_and_reading_are_inverse(value):
    assert parse_e8(format_e8(value)) == value
    assert Decimal(format_e8(value)) == Decimal(value).scaleb(-8)


def test_prints_eight_decimals():
    assert format_e8(150_000_000) == "1.50000000"
    assert format_e8(-1) == "-0.00000001"


@pytest.mark.parametrize("text", ["", "abc", "0.000000001", "NaN", "Infinity"])
def test_refuses_what_is_no_price(text):
    with pytest.raises(ValueError):
        parse_e8(text)
