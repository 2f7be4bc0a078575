"""What the wiring needs of a venue that trades, whichever it is: each venue's own module builds one."""

from __future__ import annotations

from typing import Protocol

from binmon.core.clock import VenueClock
from binmon.errors import ConfigError
from binmon.net.dialogue import Dialogue
from binmon.net.ledger import RateLedger
from binmon.venues.clock import TakeSample
from binmon.venues.trading import TradingVenue, UserStreamVenue


class TradingParts(Protocol):
    """A venue at its addresses. ``key_is_configured``: the configuration has some part of a key, usable or not."""

    @property
    def name(self) -> str: ...
    @property
    def ledger(self) -> RateLedger: ...
    @property
    def clock(self) -> VenueClock: ...
    @property
    def take_sample(self) -> TakeSample: ...
    @property
    def key_is_configured(self) -> bool: ...

    def why_no_orders(self) -> ConfigError | None:
        """What keeps orders from being sent and followed, if anything: no key, no address."""
        ...

    def trading(self) -> TradingVenue:
        """The private side over REST. Only where `why_no_orders` has nothing to say about the key."""
        ...

    def user_stream(self) -> UserStreamVenue:
        """The stream of the account's own events. Only where `why_no_orders` has nothing to say."""
        ...

    def orders_over(self, transport: str, rest: TradingVenue, dialogue: Dialogue) -> TradingVenue:
        """``rest``, or the same with orders going over ``transport`` on connections of the user stream, which
        ``dialogue`` speaks on. Raises ConfigError for a transport that the venue does not have."""
        ...


def no_such_transport(venue: str, transport: str) -> ConfigError:
    """``latency.transport`` names a way that orders to ``venue`` cannot take."""
    return ConfigError(f"'{transport}': orders to {venue} go over REST only, expected rest", key="latency.transport")
