"""What the fault board has to know about a venue and its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .fault_kinds import KINDS
from .fault_options import Kind
from .stream_shape import BINANCE, StreamShape
from .streams import SERVICE as STREAM_SERVICE


class OrdersSide(Protocol):
    """The private side of a venue, as the board needs it."""

    def set_read_lag(self, seconds: float) -> None:
        """Let queries see orders and their trades only some seconds after they were placed."""

    def reset(self) -> None:
        """Wipe orders, ids and balances; accounts and keys stay."""


@dataclass(frozen=True)
class Dialect:
    """What the board has to know about the protocol of its venue."""

    kinds: Mapping[str, Kind]
    """The table of its faults."""
    shape: StreamShape
    stream_service: str
    """The service of the market streams; the others tell user events."""


BINANCE_DIALECT = Dialect(KINDS, BINANCE, STREAM_SERVICE)
