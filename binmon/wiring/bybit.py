"""Bybit: addresses, ledger, REST, clock, and the private side where there is a key."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from binmon.config.loading import LoadedConfig
from binmon.config.schema import BybitConfig, Config
from binmon.core.clock import VenueClock
from binmon.core.companion import SandboxUrls
from binmon.errors import ConfigError
from binmon.messages import Priority
from binmon.net.dialogue import Dialogue
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.bybit.endpoints import NAME, URLS, BybitUrls
from binmon.venues.bybit.limits import REFUSALS, EndpointLimits, ledger_of
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.signing import API_KEY, Signer, signer_of
from binmon.venues.bybit.time import take_sample
from binmon.venues.bybit.trading import BybitTrading
from binmon.venues.bybit.user_data import BybitUserStream
from binmon.venues.clock import TakeSample, measure
from binmon.venues.trading import TradingVenue
from binmon.wiring.ground import Ground
from binmon.wiring.parts import no_such_transport


@dataclass(frozen=True, slots=True)
class BybitParts:
    """What of Bybit others stand on: see `binmon.wiring.parts.TradingParts`. ``signer`` is None without a key."""

    urls: BybitUrls
    ledger: RateLedger
    rest: RestSession
    market: BybitMarket
    clock: VenueClock
    take_sample: TakeSample
    take_idle_sample: TakeSample
    signer: Signer | None
    limits: EndpointLimits
    key_is_configured: bool = False
    named_environment: str = "sandbox"  # by the configuration

    @property
    def name(self) -> str:
        return NAME

    def why_no_orders(self) -> ConfigError | None:
        """No key, or nowhere to hear of orders."""
        if self.signer is None:
            return ConfigError(
                "no API key: set it here, or BYBIT_API_KEY and BYBIT_API_SECRET, or latency.enabled: false", key=API_KEY
            )
        if not self.urls.private_stream:
            return ConfigError(
                "missing: orders are told of on the private stream; set it, or latency.enabled: false",
                key="venues.bybit.endpoints.private_stream",
            )
        return None

    def trading(self) -> BybitTrading:
        """The private side. Only with a key."""
        assert self.signer is not None
        return BybitTrading(
            self.rest,
            self.signer,
            self.limits,
            venue_ms=self.clock.venue_ms,
            resynchronise=self.resynchronise,
            other_urls=[self.urls.private_stream] if self.urls.private_stream else [],
            named_environment=self.named_environment,
        )

    def user_stream(self, *, fast: bool = True) -> BybitUserStream:
        """The stream of the account's events; without ``fast`` fills always come with their fees."""
        assert self.signer is not None
        return BybitUserStream(self.urls.private_stream, self.signer, venue_ms=self.clock.venue_ms, fast=fast)

    def orders_over(self, transport: str, rest: TradingVenue, dialogue: Dialogue) -> TradingVenue:
        """REST is the only way. Raises ConfigError for another."""
        if transport != "rest":
            raise no_such_transport(NAME, transport)
        return rest

    def offset_ms(self) -> float:
        """The venue's clock minus our wall clock; 0.0 while it is not known."""
        reading = self.clock.reading()
        return 0.0 if reading is None else round(reading.venue_minus_wall_ns / 1e6, 3)

    def resynchronise(self) -> None:
        """Measure the clock anew, now."""
        measure(self.clock, self.take_sample, threading.Event())


def needs_sandbox(config: Config) -> bool:
    """Whether the addresses are those of the embedded sandbox."""
    section = config.venues.bybit
    return section.environment == "sandbox" and None in (section.endpoints.rest, section.endpoints.public_stream)


def wire_bybit(ground: Ground, lent: SandboxUrls | None) -> BybitParts:
    """The venue at the addresses of its environment, or of the overrides; ``lent`` are those of the embedded sandbox,
    where the configuration needs it."""
    section = ground.config.venues.bybit
    overrides = section.endpoints
    if section.environment != "sandbox":
        lent, base = None, URLS[section.environment]
    elif needs_sandbox(ground.config):
        assert lent is not None
        base = BybitUrls(lent.bybit_rest, lent.bybit_public_stream, lent.bybit_private_stream)
    else:
        lent, base = None, BybitUrls("", "", "")
    urls = BybitUrls(
        overrides.rest or base.rest,
        overrides.public_stream or base.public_stream,
        overrides.private_stream or base.private_stream,
    )
    state = ground.state
    ledger = ledger_of(ban_until_ms=state.ban_until_ms(NAME), on_ban=lambda until_ms: state.keep_ban(NAME, until_ms))
    ground.ledgers[NAME] = ledger
    rest = RestSession(NAME, urls.rest, ledger, refusals=REFUSALS)
    return BybitParts(
        urls,
        ledger,
        rest,
        BybitMarket(rest, ledger, urls.public_stream, ground.config.books.depth),
        VenueClock(NAME),
        partial(take_sample, rest),
        partial(take_sample, rest, priority=Priority.AUDIT),
        _signer(ground.loaded, section, lent),
        EndpointLimits(),
        _has_key(section),
        section.environment,
    )


def _has_key(section: BybitConfig) -> bool:
    """Whether any part of a key is here, usable or not."""
    return bool(section.api_key or section.api_secret)


def _signer(loaded: LoadedConfig, section: BybitConfig, lent: SandboxUrls | None) -> Signer | None:
    """The key of the configuration, else that of the embedded sandbox. Raises ConfigError for one that cannot sign."""
    if _has_key(section):
        return usable_signer(loaded, section)
    return None if lent is None or not lent.bybit_api_key else Signer(lent.bybit_api_key, lent.bybit_api_secret)


def usable_signer(loaded: LoadedConfig, section: BybitConfig) -> Signer | None:
    """The signer that the configuration asks for. Raises ConfigError for a key that cannot sign; half of one that nothing
    in the file needs is passed over."""
    try:
        return signer_of(section)
    except ConfigError:
        is_needed = loaded.config.latency.venue == NAME and "latency" in loaded.present_keys
        if is_needed or (section.api_key and section.api_secret):
            raise
        return None
