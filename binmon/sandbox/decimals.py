"""Exact decimals as integers.

Inside the sandbox a price is an integer number of ticks and a quantity an integer number of lots. On the wire both
are decimal strings with eight decimals. The bridge between them is the unit called *e8*: an integer count of
0.00000001. Nothing here ever uses binary floating point.
"""

from __future__ import annotations

from decimal import Decimal

E8 = 100_000_000
"""One, counted in units of 0.00000001."""


def format_e8(value: int) -> str:
    """Print an e8 integer the way the venue does: ``format_e8(150000000) == "1.50000000"``."""
    if value < 0:
        return f"-{-value // E8}.{-value % E8:08d}"
    return f"{value // E8}.{value % E8:08d}"


def parse_e8(text: str) -> int:
    """Read a decimal string into e8 units.

    Raises ``ValueError`` when the text is no decimal number or needs more than eight decimals.
    """
    try:
        scaled = Decimal(text) * E8
    except ArithmeticError as error:
        raise ValueError(f"not a decimal number: {text!r}") from error
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise ValueError(f"not a decimal number with at most 8 decimals: {text!r}")
    return int(scaled)
