"""A line that the user has drawn, and a price that goes beyond it and comes back. No I/O, no clock.

``above`` 70000: the price is beyond when it is higher than 70000, and back when it is at or below 70000 less the
hysteresis; in between it stays what it was. So a price that wavers around the line crosses it once. ``below`` is the same
the other way round. A price that is beyond when it is first looked at has crossed, too, and the crossing says so.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

BASIS_POINTS = 10_000


class Direction(enum.StrEnum):
    """On which side of the line a price is beyond it."""

    ABOVE = "above"
    BELOW = "below"


class Side(enum.Enum):
    """Where the price stands."""

    UNKNOWN = "unknown"  # not looked at yet
    WITHIN = "within"  # on the quiet side, or not back from it by the hysteresis
    BEYOND = "beyond"


_ALLOWED = {
    Side.UNKNOWN: {Side.WITHIN, Side.BEYOND},
    Side.WITHIN: {Side.BEYOND},
    Side.BEYOND: {Side.WITHIN},
}


@dataclass(frozen=True, slots=True)
class Line:
    """A price, a direction, and how far back a price must come until it is over, all in the price's currency."""

    direction: Direction
    price: Decimal
    hysteresis: Decimal = Decimal(0)

    @property
    def back(self) -> Decimal:
        """Where a price that was beyond is back."""
        return self.price - self.hysteresis if self.direction is Direction.ABOVE else self.price + self.hysteresis

    def is_beyond(self, price: Decimal) -> bool:
        """Whether ``price`` is beyond the line."""
        return price > self.price if self.direction is Direction.ABOVE else price < self.price

    def is_back(self, price: Decimal) -> bool:
        """Whether a price that was beyond is back."""
        return price <= self.back if self.direction is Direction.ABOVE else price >= self.back


@dataclass(frozen=True, slots=True)
class Crossed:
    """The price has gone beyond the line. ``already``: it was when it was first looked at."""

    line: Line
    price: Decimal
    at_ms: int
    already: bool


@dataclass(frozen=True, slots=True)
class Returned:
    """The price is back; it went beyond at ``since_ms``."""

    line: Line
    price: Decimal
    at_ms: int
    since_ms: int


class Threshold:
    """One line and where the price stands to it."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.side = Side.UNKNOWN
        self.since_ms = 0  # when it went beyond, the venue's time
        self.price: Decimal | None = None  # the newest that was looked at

    def observe(self, price: Decimal, at_ms: int) -> Crossed | Returned | None:
        """Look at a price of the venue's time ``at_ms``; what has changed by it."""
        self.price = price
        if self.side is Side.BEYOND:
            if self.line.is_back(price):
                self._move_to(Side.WITHIN)
                return Returned(self.line, price, at_ms, self.since_ms)
        elif self.line.is_beyond(price):
            already = self.side is Side.UNKNOWN
            self._move_to(Side.BEYOND)
            self.since_ms = at_ms
            return Crossed(self.line, price, at_ms, already)
        elif self.side is Side.UNKNOWN:
            self._move_to(Side.WITHIN)
        return None

    def _move_to(self, side: Side) -> None:
        """The only writer of ``side``."""
        if side not in _ALLOWED[self.side]:
            raise RuntimeError(f"threshold {self.line}: {self.side.name} -> {side.name} is not allowed")
        self.side = side


def lines(
    above: float | None, below: float | None, *, hysteresis_bps: float = 0.0, hysteresis_price: float | None = None
) -> tuple[Line, ...]:
    """The lines of one entry of the configuration. The hysteresis is ``hysteresis_price``, or else so many hundredths of a
    percent of each line."""
    drawn: list[Line] = []
    for direction, price in ((Direction.ABOVE, above), (Direction.BELOW, below)):
        if price is not None:
            # through its text: what the file says, not the double next to it
            exact = Decimal(repr(price))
            if hysteresis_price is not None:
                hysteresis = Decimal(repr(hysteresis_price))
            else:
                hysteresis = exact * Decimal(repr(hysteresis_bps)) / BASIS_POINTS
            drawn.append(Line(direction, exact, hysteresis))
    return tuple(drawn)


def thresholds(wanted: Iterable[Line], known: Iterable[Threshold]) -> tuple[list[Threshold], list[Threshold]]:
    """Thresholds for the wanted lines: those that are known go on as they stand. The second list are those that are not
    wanted any more."""
    by_line = {threshold.line: threshold for threshold in known}
    kept = [by_line.pop(line) if line in by_line else Threshold(line) for line in dict.fromkeys(wanted)]
    return kept, list(by_line.values())
