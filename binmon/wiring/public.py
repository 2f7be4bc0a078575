"""Venues of which binmon has market data only: there is no private side, and no local exchange of their own."""

from __future__ import annotations

from dataclasses import dataclass

import binmon
from binmon.config.schema import PublicEndpoints, PublicVenueConfig
from binmon.core.clock import VenueClock
from binmon.net.budgets import SlidingBudget
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import Venue
from binmon.venues.clock import TakeSample
from binmon.wiring.ground import Ground


@dataclass(frozen=True, slots=True)
class PublicUrls:
    """Base address of REST, and the complete one of the public stream."""

    rest: str
    stream: str


@dataclass(frozen=True, slots=True)
class PublicParts:
    """What of such a venue others stand on; a `binmon.wiring.venues.MarketParts`."""

    urls: PublicUrls
    ledger: RateLedger
    rest: RestSession
    market: Venue
    clock: VenueClock
    take_sample: TakeSample
    take_idle_sample: TakeSample

    def offset_ms(self) -> float:
        """The venue's clock minus our wall clock; 0.0 while it is not known."""
        reading = self.clock.reading()
        return 0.0 if reading is None else round(reading.venue_minus_wall_ns / 1e6, 3)


def urls_of(section: PublicVenueConfig, production: PublicUrls) -> PublicUrls:
    """The addresses in force. Those of a ``sandbox`` are named by the configuration, which was checked."""
    named: PublicEndpoints = section.endpoints
    if section.environment == "sandbox":
        return PublicUrls(named.rest or "", named.stream or "")
    return PublicUrls(named.rest or production.rest, named.stream or production.stream)


def ledger_of(ground: Ground, name: str, weight_per_minute: int, connects: SlidingBudget) -> RateLedger:
    """The ledger of a venue, with the ban that an earlier run has met."""
    state = ground.state
    ledger = RateLedger(
        name,
        weight_per_minute=weight_per_minute,
        ban_until_ms=state.ban_until_ms(name),
        on_ban=lambda until_ms: state.keep_ban(name, until_ms),
        connects=connects,
    )
    ground.ledgers[name] = ledger
    return ledger


def session_of(name: str, urls: PublicUrls, ledger: RateLedger) -> RestSession:
    """REST without a key. It says who asks: OKX has refused clients that do not (reference: other venues, 1)."""
    return RestSession(name, urls.rest, ledger, headers={"User-Agent": f"binmon/{binmon.__version__}"})
