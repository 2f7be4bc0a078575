"""A counter in whole numbers, for the search of a split, which asks for many thousands of costs.

All quantities are multiples of one unit, all prices of another and all rates of a third; then every cost is an integer
at one common scale, and comparing integers is comparing the exact costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import floor, lcm

from binmon.execution.counter import Counter
from binmon.execution.exact import exact
from binmon.execution.lots import Part
from binmon.messages import OrderSide


@dataclass(frozen=True, slots=True)
class Scale:
    """How many units make one: of base currency, of price (quote for base), and of a rate."""

    quantity: int
    price: int
    rate: int

    @classmethod
    def of(cls, counters: Sequence[Counter], total: Fraction) -> Scale:
        """The least scale at which everything about ``counters`` and ``total`` is a whole number."""
        levels = [level for counter in counters for level in counter.market.depth.facing(counter.side)]
        steps = [counter.step for counter in counters]
        return cls(
            quantity=_common([total, *steps, *(Fraction(level.quantity) for level in levels)]),
            price=_common(Fraction(level.price) for level in levels),
            rate=_common(exact(counter.fees.taker_rate) for counter in counters),
        )


def _common(numbers: Iterable[Fraction]) -> int:
    return lcm(*{number.denominator for number in numbers})


class ScaledCounter:
    """One counter at ``scale``."""

    def __init__(self, counter: Counter, scale: Scale) -> None:
        self.counter, self._scale = counter, scale
        levels = counter.market.depth.facing(counter.side)
        self._prices = [int(Fraction(level.price) * scale.price) for level in levels]
        sizes = [int(Fraction(level.quantity) * scale.quantity) for level in levels]
        self._quantities = list(accumulate(sizes))
        self._values = list(accumulate(price * size for price, size in zip(self._prices, sizes, strict=True)))
        rate = int(exact(counter.fees.taker_rate) * scale.rate)
        takes_base = counter.fees.asset_for(counter.side, counter.rules) == counter.rules.base
        self._base_rate, self._quote_rate = (rate, 0) if takes_base else (0, rate)

    def part(self, price: Fraction) -> Part | None:
        """What the venue, its book and the account allow, as lots; None when that is nothing.

        The cost of a quantity is given − ``price`` · gained, where ``price`` is given for one unit gained.
        """
        counter = self.counter
        lowest = counter.lowest
        if lowest is None:
            return None
        bounds = [counter.ladder.total_quantity]
        bounds += [bound for bound in (counter.highest, counter.affordable()) if bound is not None]
        least, most = int(lowest / counter.step), floor(min(bounds) / counter.step)
        if least > most:
            return None
        return Part(int(counter.step * self._scale.quantity), least, most, self._cost(price))

    def _cost(self, price: Fraction) -> Callable[[int], int]:
        """In units of 1 / (quantity · price · rate · denominator of ``price``)."""
        scale, quantities, values, prices = self._scale, self._quantities, self._values, self._prices
        if self.counter.side is OrderSide.BUY:
            by_value = (scale.rate + self._quote_rate) * price.denominator
            by_quantity = -(scale.rate - self._base_rate) * scale.price * price.numerator
        else:
            by_value = -(scale.rate - self._quote_rate) * price.numerator
            by_quantity = (scale.rate + self._base_rate) * scale.price * price.denominator

        def cost(quantity: int) -> int:
            at = bisect_left(quantities, quantity)
            value = values[at] - (quantities[at] - quantity) * prices[at]
            return value * by_value + quantity * by_quantity

        return cost
