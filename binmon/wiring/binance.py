"""Binance: addresses, ledger, REST, clock, and the private side where there is a key."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from binmon.config.loading import LoadedConfig
from binmon.config.schema import BinanceConfig
from binmon.core.clock import ClockReading, VenueClock
from binmon.core.companion import SandboxProcess, SandboxUrls
from binmon.errors import ConfigError
from binmon.messages import Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.binance.endpoints import URLS, BinanceUrls
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.signing import Signer, signer_of
from binmon.venues.binance.time import take_sample
from binmon.venues.binance.trading import BinanceTrading
from binmon.venues.clock import ClockFollower, TakeSample, measure
from binmon.wiring.ground import Ground

log = structlog.get_logger("binmon.daemon")

NAME = "binance"

# The embedded sandbox invents any symbol it is asked for; a typing error must still be found out.
_WELL_KNOWN = re.compile(
    "(BTC|ETH|BNB|SOL|XRP|ADA|DOGE|TRX|AVAX|DOT|LINK|LTC|BCH|XLM|ATOM|NEAR|UNI|APT|ARB|OP|SUI|FIL|ETC|ICP|AAVE)"
    "(USDT|USDC|BTC|ETH|BNB|EUR)"
)


@dataclass(frozen=True, slots=True)
class BinanceParts:
    """What of Binance others stand on. ``signer`` is None without a key."""

    urls: BinanceUrls
    ledger: RateLedger
    rest: RestSession
    market: BinanceMarket
    clock: VenueClock
    take_sample: TakeSample
    signer: Signer | None

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
        )

    def offset_ms(self) -> float:
        """The venue's clock minus our wall clock; 0.0 while it is not known."""
        reading = self.clock.reading()
        return 0.0 if reading is None else round(reading.venue_minus_wall_ns / 1e6, 3)

    def resynchronise(self) -> None:
        """Measure the clock anew, now."""
        measure(self.clock, self.take_sample, threading.Event())


def wire_binance(
    ground: Ground,
    embedded: Callable[[Sequence[str]], SandboxProcess],
    wanted: Sequence[Sequence[str] | str],
) -> tuple[BinanceParts, SandboxProcess | None]:
    """The venue at the addresses of its environment, or of the overrides.

    Where the configuration names no address of a sandbox, ``embedded(symbols)`` starts one.
    """
    section = ground.config.venues.binance
    overrides = section.endpoints
    sandbox: SandboxProcess | None = None
    lent: SandboxUrls | None = None
    if section.environment != "sandbox":
        base = URLS[section.environment]
    elif overrides.rest is None or overrides.stream is None:
        sandbox = embedded(_known_symbols(wanted))
        lent = sandbox.urls
        log.info("sandbox.started", rest=lent.rest, stream=lent.stream, ws_api=lent.ws_api or None, pid=sandbox.pid)
        base = BinanceUrls(lent.rest, lent.stream, lent.ws_api)
    else:
        base = BinanceUrls("", "", "")
    urls = BinanceUrls(overrides.rest or base.rest, overrides.stream or base.stream, overrides.ws_api or base.ws_api)
    state = ground.state
    ledger = RateLedger(
        NAME, ban_until_ms=state.ban_until_ms(NAME), on_ban=lambda until_ms: state.keep_ban(NAME, until_ms)
    )
    ground.ledgers[NAME] = ledger
    rest = RestSession(NAME, urls.rest, ledger)
    parts = BinanceParts(
        urls,
        ledger,
        rest,
        BinanceMarket(rest, ledger, urls.stream),
        VenueClock(NAME),
        partial(take_sample, rest),
        _signer(ground.loaded, section, lent),
    )
    return parts, sandbox


def wire_clock(ground: Ground, parts: BinanceParts) -> None:
    """Keep the venue's clock, and have the ledger count by it."""

    def changed(reading: ClockReading) -> None:
        parts.ledger.set_clock_offset(reading.venue_minus_wall_ns / 1e9)

    take = partial(take_sample, parts.rest, priority=Priority.AUDIT)
    ground.supervisor.add(ClockFollower(f"{NAME}-clock", parts.clock, take, changed), stage=0)


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


def _known_symbols(wanted: Sequence[Sequence[str] | str]) -> list[str]:
    """The well-known ones among the symbols asked for; none when the choice is left to the venue."""
    named = {symbol for choice in wanted if not isinstance(choice, str) for symbol in choice}
    known = {symbol for symbol in named if _WELL_KNOWN.fullmatch(symbol)}
    return sorted(known | {"BTCUSDT", "ETHUSDT"}) if named else []
