"""Orders of one owner that would trade with each other (reference: Binance Spot, self-trade prevention)."""

from __future__ import annotations

import enum
from typing import NamedTuple


class SelfTrade(enum.Enum):
    """What happens when a new order meets one of its own owner: the new one's mode decides."""

    NONE = "NONE"
    """They trade."""
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"


class Prevention(NamedTuple):
    """Two orders of one owner that were kept from trading; ``quantity`` is what they would have traded."""

    prevention_id: int
    price: int
    quantity: int
    maker_order_id: int
    taker_order_id: int
    maker_expired: bool
    taker_expired: bool
