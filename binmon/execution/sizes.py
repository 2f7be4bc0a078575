"""How large an order shall be, as somebody says it: a quantity, an amount of quote currency, or a share of a balance."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from decimal import Decimal

from binmon.errors import ConfigError


class Rounding(enum.Enum):
    """What becomes of a size between two steps of a venue."""

    DOWN = "down"  # the step below is priced, and what is left over is said
    REFUSE = "refuse"  # the venue is left out, and the nearest sizes that it takes are said


@dataclass(frozen=True, slots=True)
class Size:
    """Exactly one of: ``quantity`` (base currency), ``quote_amount`` (quote currency without the fee), ``percent`` (of
    the free balance of what the order spends, the fee included).

    Raises ConfigError, as it comes from the command line.
    """

    quantity: Decimal | None = None
    quote_amount: Decimal | None = None
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        options = {
            "--quantity": self.quantity,
            "--quote-amount": self.quote_amount,
            "--percent-of-balance": self.percent,
        }
        given = {option: value for option, value in options.items() if value is not None}
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ConfigError(f"expected exactly one of {', '.join(options)}, found {found}")
        [(option, value)] = given.items()
        if not value.is_finite() or value <= 0:
            raise ConfigError(f"expected a number above zero, found {value}", key=option)
        if option == "--percent-of-balance" and value > 100:
            raise ConfigError(f"expected at most 100, found {value}", key=option)
