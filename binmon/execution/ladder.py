"""One side of a book as a staircase: what a quantity costs, and what quantity an amount pays for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from binmon.execution.exact import exact
from binmon.execution.market import Level


class Ladder:
    """The levels that an order takes, best first, with running totals. They are added up only as deep as is asked for."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels = levels
        self._prices: list[Fraction] = []
        self._quantities: list[Fraction] = []  # up to and with each level
        self._values: list[Fraction] = []

    @property
    def top(self) -> Fraction | None:
        """The best price."""
        return self._prices[0] if self._reach() else None

    @property
    def total_quantity(self) -> Fraction:
        """All that the known book holds, base currency."""
        while self._deeper():
            pass
        return self._quantities[-1] if self._quantities else Fraction(0)

    @property
    def total_value(self) -> Fraction:
        """What all of it is worth, quote currency."""
        return self._values[-1] if self.total_quantity else Fraction(0)

    def value_of(self, quantity: Fraction) -> Fraction | None:
        """What ``quantity`` trades for, quote currency; None when the known book ends before."""
        if quantity <= 0:
            return Fraction(0)
        index = self._level_at(self._quantities, quantity)
        if index is None:
            return None
        before = index - 1
        missing = quantity - (self._quantities[before] if index else 0)
        return (self._values[before] if index else Fraction(0)) + missing * self._prices[index]

    def quantity_for(self, value: Fraction) -> Fraction | None:
        """The quantity that trades for exactly ``value``; None when the known book ends before."""
        if value <= 0:
            return Fraction(0)
        index = self._level_at(self._values, value)
        if index is None:
            return None
        missing = value - (self._values[index - 1] if index else 0)
        return (self._quantities[index - 1] if index else Fraction(0)) + missing / self._prices[index]

    def taken(self, quantity: Fraction) -> tuple[tuple[Fraction, Fraction], ...]:
        """Price and quantity of each level that ``quantity`` takes. Raises ValueError beyond the known book."""
        index = self._level_at(self._quantities, quantity)
        if index is None:
            raise ValueError(f"{quantity} is more than the book holds")
        fills, before = [], Fraction(0)
        for at in range(index + 1):
            upto = min(self._quantities[at], quantity)
            fills.append((self._prices[at], upto - before))
            before = upto
        return tuple(fills)

    def _level_at(self, totals: list[Fraction], wanted: Fraction) -> int | None:
        """The level at which the running total comes to ``wanted``."""
        while not totals or totals[-1] < wanted:
            if not self._deeper():
                return None
        return bisect_left(totals, wanted)

    def _reach(self) -> bool:
        return bool(self._prices) or self._deeper()

    def _deeper(self) -> bool:
        """Add up one more level; False when there is none."""
        at = len(self._prices)
        if at == len(self._levels):
            return False
        price, quantity = exact(self._levels[at].price), exact(self._levels[at].quantity)
        self._prices.append(price)
        self._quantities.append(quantity + (self._quantities[-1] if at else 0))
        self._values.append(price * quantity + (self._values[-1] if at else 0))
        return True
