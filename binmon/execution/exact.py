"""Exact numbers: Decimals come in, Fractions are reckoned with, and only what is shown is rounded.

A price after fees is a quotient and need not have an end in decimals, and Decimal rounds every result to its context,
also sums. So all arithmetic is in fractions; ``decimal_of`` gives what goes to a venue, digit for digit, and ``rounded``
what people see: to eight decimals, halves to even. Nothing is ever decided by a rounded number.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

SHOWN_PLACES = 8
# Where a venue names no step: eight decimals, as no asset of the venues here has more.
SMALLEST_STEP = Fraction(1, 10**8)
_MOST_PLACES = 200  # decimals of a number that ends, beyond which it is a mistake


def exact(value: Decimal) -> Fraction:
    """``value`` as it is. Raises ValueError for one that is no number."""
    if not value.is_finite():
        raise ValueError(f"{value} is no amount")
    return Fraction(value)


def step_of(step: Decimal) -> Fraction:
    """A venue's step; zero means that it names none."""
    return exact(step) if step > 0 else SMALLEST_STEP


def down_to(value: Fraction, step: Fraction) -> Fraction:
    """The last multiple of ``step`` that is not above ``value``."""
    return value // step * step


def up_to(value: Fraction, step: Fraction) -> Fraction:
    """The first multiple of ``step`` that is not below ``value``."""
    return -(-value // step) * step


def decimal_of(value: Fraction) -> Decimal:
    """``value`` without any rounding, whatever the decimal context. Raises ValueError for one that has no end."""
    twos = fives = 0
    rest = value.denominator
    while rest % 2 == 0:
        rest //= 2
        twos += 1
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    places = max(twos, fives)
    if rest != 1 or places > _MOST_PLACES:
        raise ValueError(f"{value} has no end in decimals")
    return _decimal(value.numerator * 10**places // value.denominator, places)


def digits(value: Fraction) -> str:
    """``decimal_of`` as a text that a venue takes: no exponent, no zeros at the end."""
    return f"{decimal_of(value):f}"


def rounded(value: Fraction, places: int = SHOWN_PLACES) -> Decimal:
    """``value`` for people, to ``places`` decimals, halves to even."""
    return _decimal(round(value * 10**places), places)


def plain(value: Fraction | Decimal, places: int = SHOWN_PLACES) -> str:
    """``value`` for a text: ``rounded``, without an exponent and without zeros at the end.

    What is not zero never reads as zero: below half a unit of the last place it is shown with two significant digits.
    """
    number = Fraction(value)
    shown = rounded(number, places)
    while not shown and number and places < _MOST_PLACES:
        places += 2
        shown = rounded(number, places)
    text = f"{shown:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimal(units: int, places: int) -> Decimal:
    """``units`` of the last of ``places`` decimals; made of digits, because arithmetic would round to the context."""
    digits = tuple(map(int, str(abs(units))))
    return Decimal((1 if units < 0 else 0, digits, -places))
