"""Binance: addresses, ledger, REST, clock, and the private side where there is a key."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from binmon.config.loading import LoadedConfig
from binmon.config.schema import BinanceConfig, Config
from binmon.core.clock import VenueClock
from binmon.core.companion import SandboxUrls
from binmon.errors import ConfigError
from binmon.messages import Priority
from binmon.net.dialogue import Dialogue
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.binance.endpoints import URLS, BinanceUrls
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.signing import Signer, signer_of
from binmon.venues.binance.time import take_sample
from binmon.venues.binance.trading import BinanceTrading
from binmon.venues.binance.user_data import BinanceUserStream
from binmon.venues.binance.ws_trading import BinanceWsTrading
from binmon.venues.clock import TakeSample, measure
from binmon.venues.trading import TradingVenue
from binmon.wiring.ground import Ground
from binmon.wiring.parts import no_such_transport

NAME = "binance"


@dataclass(frozen=True, slots=True)
class BinanceParts:
    """What of Binance others stand on: see `binmon.wiring.parts.TradingParts`. ``signer`` is None without a key;
    ``logs_on``: connections are logged on instead of signing each subscription."""

    urls: BinanceUrls
    ledger: RateLedger
    rest: RestSession
    market: BinanceMarket
    clock: VenueClock
    take_sample: TakeSample
    take_idle_sample: TakeSample
    signer: Signer | None
    logs_on: bool = False
    key_is_configured: bool = False
    named_environment: str = "sandbox"  # by the configuration

    @property
    def name(self) -> str:
        return NAME

    def why_no_orders(self) -> ConfigError | None:
        """No key, or nowhere to hear of orders."""
        if self.signer is None:
            return ConfigError(
                "no API key: set it here, or BINANCE_API_KEY and BINANCE_API_SECRET, or latency.enabled: false",
                key="venues.binance.api_key",
            )
        if not self.urls.ws_api:
            return ConfigError(
                "missing: the user-data stream is on the WebSocket API; set it, or latency.enabled: false",
                key="venues.binance.endpoints.ws_api",
            )
        return None

    def user_stream(self) -> BinanceUserStream:
        """The stream of the account's events. Only with a key."""
        assert self.signer is not None
        return BinanceUserStream(
            self.urls.ws_api, self.signer, venue_ms=self.clock.venue_ms, ledger=self.ledger, logs_on=self.logs_on
        )

    def orders_over(self, transport: str, rest: TradingVenue, dialogue: Dialogue) -> TradingVenue:
        """REST, or the WebSocket API (``ws_api``)."""
        if transport == "rest":
            return rest
        if transport != "ws_api" or not isinstance(rest, BinanceTrading):
            raise no_such_transport(NAME, transport)
        assert self.signer is not None
        return BinanceWsTrading(
            rest,
            dialogue,
            self.ledger,
            self.signer,
            venue_ms=self.clock.venue_ms,
            resynchronise=self.resynchronise,
        )

    def trading(self) -> BinanceTrading:
        """The private side. Raises ConfigError without a key."""
        assert self.signer is not None
        return BinanceTrading(
            self.rest,
            self.ledger,
            self.signer,
            venue_ms=self.clock.venue_ms,
            resynchronise=self.resynchronise,
            other_urls=[self.urls.ws_api] if self.urls.ws_api else [],
            named_environment=self.named_environment,
        )

    def offset_ms(self) -> float:
        """The venue's clock minus our wall clock; 0.0 while it is not known."""
        reading = self.clock.reading()
        return 0.0 if reading is None else round(reading.venue_minus_wall_ns / 1e6, 3)

    def resynchronise(self) -> None:
        """Measure the clock anew, now."""
        measure(self.clock, self.take_sample, threading.Event())


def needs_sandbox(config: Config) -> bool:
    """Whether the addresses are those of the embedded sandbox."""
    section = config.venues.binance
    return section.environment == "sandbox" and None in (section.endpoints.rest, section.endpoints.stream)


def wire_binance(ground: Ground, lent: SandboxUrls | None) -> BinanceParts:
    """The venue at the addresses of its environment, or of the overrides; ``lent`` are those of the embedded sandbox,
    where the configuration needs it."""
    section = ground.config.venues.binance
    overrides = section.endpoints
    if section.environment != "sandbox":
        base = URLS[section.environment]
    elif needs_sandbox(ground.config):
        assert lent is not None
        base = BinanceUrls(lent.rest, lent.stream, lent.ws_api)
    else:
        lent, base = None, BinanceUrls("", "", "")
    urls = BinanceUrls(overrides.rest or base.rest, overrides.stream or base.stream, overrides.ws_api or base.ws_api)
    state = ground.state
    ledger = RateLedger(
        NAME, ban_until_ms=state.ban_until_ms(NAME), on_ban=lambda until_ms: state.keep_ban(NAME, until_ms)
    )
    ground.ledgers[NAME] = ledger
    rest = RestSession(NAME, urls.rest, ledger)
    return BinanceParts(
        urls,
        ledger,
        rest,
        BinanceMarket(rest, ledger, urls.stream),
        VenueClock(NAME),
        partial(take_sample, rest),
        partial(take_sample, rest, priority=Priority.AUDIT),
        _signer(ground.loaded, section, lent if section.environment == "sandbox" else None),
        section.session_logon,
        section.has_key,
        section.environment,
    )


def _signer(loaded: LoadedConfig, section: BinanceConfig, lent: SandboxUrls | None) -> Signer | None:
    """The key of the configuration, else that of the embedded sandbox. Raises ConfigError for one that cannot sign."""
    if section.has_key:
        return usable_signer(loaded, section)
    return None if lent is None else Signer.hmac(lent.api_key, lent.api_secret)


def usable_signer(loaded: LoadedConfig, section: BinanceConfig) -> Signer | None:
    """The signer that the configuration asks for. Raises ConfigError for a key that cannot sign; half of one that nothing
    in the file needs is passed over."""
    try:
        return signer_of(section)
    except ConfigError:
        if section.has_whole_key or "latency" in loaded.present_keys:
            raise
        return None
