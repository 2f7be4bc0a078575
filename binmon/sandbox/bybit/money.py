"""Exact amounts of the Bybit dialect as integers.

Prices and quantities have at most eight decimals, so their products have sixteen; fees are products with a rate of at
most four decimals. Counted in units of 10^-20 (*u*) all of these are whole numbers: nothing is ever rounded, and every
figure the venue prints can be computed again to the last digit.
"""

from __future__ import annotations

from decimal import Decimal

DECIMALS = 20
UNIT = 10**DECIMALS
"""One, counted in u."""
E8_IN_UNITS = 10**12
"""One unit of 0.00000001, counted in u."""
E16_IN_UNITS = 10**4


def to_units(text: str) -> int:
    """A decimal number in u. Raises ``ValueError`` when it is none, or needs more than twenty decimals."""
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"not a decimal number: {text!r}") from error
    if not number.is_finite():
        raise ValueError(f"not a decimal number: {text!r}")
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    shift = DECIMALS + exponent
    value = int("".join(map(str, digits)))
    scale: int = 10 ** abs(shift)
    if shift < 0 and value % scale:
        raise ValueError(f"not a decimal number with at most {DECIMALS} decimals: {text!r}")
    value = value // scale if shift < 0 else value * scale
    return -value if sign else value


def text(units: int, decimals: int = 0) -> str:
    """Print u without trailing zeros, but with at least so many decimals."""
    sign, units = ("-", -units) if units < 0 else ("", units)
    whole, fraction = divmod(units, UNIT)
    digits = f"{fraction:020d}".rstrip("0").ljust(decimals, "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def text_e8(value: int, decimals: int = 0) -> str:
    """Print units of 0.00000001 in the same way."""
    return text(value * E8_IN_UNITS, decimals)


def part(amount: int, share: Decimal) -> int:
    """A share of an amount; what is smaller than u is cut off."""
    numerator, denominator = share.as_integer_ratio()
    return amount * numerator // denominator
