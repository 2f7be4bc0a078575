"""The checksum of Kraken's books, the only thing that shows a lost message (reference: other venues, 2, checksum)."""

from __future__ import annotations

import decimal
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from binmon.venues.windows import LevelText

CHECKED_LEVELS = 10  # a side, whatever the depth
_EXACT = decimal.Context(prec=40, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow])


@dataclass(frozen=True, slots=True)
class Precision:
    """With how many decimals the venue prints prices and quantities of one symbol, trailing zeros included."""

    price: int
    quantity: int
    _units: tuple[Decimal, Decimal] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_units", (Decimal(1).scaleb(-self.price), Decimal(1).scaleb(-self.quantity)))

    def texts(self, price: Decimal, quantity: Decimal) -> LevelText:
        """A level as text. Raises decimal.DecimalException for one that has more decimals, which is never rounded."""
        price_unit, quantity_unit = self._units
        return f"{_EXACT.quantize(price, price_unit):f}", f"{_EXACT.quantize(quantity, quantity_unit):f}"


def checksum(asks: Iterable[LevelText], bids: Iterable[LevelText]) -> int:
    """CRC-32, unsigned, of the ten best levels a side, best first, printed with the precision of the symbol."""
    tokens = [text.replace(".", "").lstrip("0") for side in (asks, bids) for level in side for text in level]
    return zlib.crc32("".join(tokens).encode("ascii"))
