"""Which venues a run needs, what of each others stand on, and how each is asked at the start until it answers."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from binmon.config.schema import Config
from binmon.config.wanted import venues_wanted
from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.clock import ClockReading, VenueClock
from binmon.core.companion import SandboxProcess, SandboxUrls
from binmon.errors import RetryError
from binmon.messages import Instrument
from binmon.net.ledger import RateLedger
from binmon.venues.base import Venue
from binmon.venues.clock import ClockFollower, TakeSample
from binmon.wiring.binance import BinanceParts, wire_binance
from binmon.wiring.binance import needs_sandbox as binance_needs_sandbox
from binmon.wiring.bybit import BybitParts, wire_bybit
from binmon.wiring.bybit import needs_sandbox as bybit_needs_sandbox
from binmon.wiring.ground import Ground
from binmon.wiring.kraken import wire_kraken
from binmon.wiring.okx import wire_okx
from binmon.wiring.parts import TradingParts

log = structlog.get_logger("binmon.daemon")

_CLOCK_SAMPLES = 3  # before anything starts: the best of some round trips
_ASK_AGAIN = BackoffPolicy(first_s=0.5, cap_s=30.0)

# The embedded sandbox invents any symbol it is asked for; a typing error must still be found out.
_WELL_KNOWN = re.compile(
    "(BTC|ETH|BNB|SOL|XRP|ADA|DOGE|TRX|AVAX|DOT|LINK|LTC|BCH|XLM|ATOM|NEAR|UNI|APT|ARB|OP|SUI|FIL|ETC|ICP|AAVE)"
    "(USDT|USDC|BTC|ETH|BNB|EUR)"
)


Embedded = Callable[[Sequence[str]], SandboxProcess]
"""Starts the local exchange with these symbols."""


class MarketParts(Protocol):
    """What of a venue the books stand on."""

    @property
    def market(self) -> Venue: ...
    @property
    def ledger(self) -> RateLedger: ...
    @property
    def clock(self) -> VenueClock: ...
    @property
    def take_sample(self) -> TakeSample: ...
    @property
    def take_idle_sample(self) -> TakeSample:
        """As ``take_sample``, for the follower of the clock: at the lowest priority."""
        ...

    def offset_ms(self) -> float:
        """The venue's clock minus our wall clock; 0.0 while it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class VenuesParts:
    """Every venue that the configuration needs, by name, and the embedded sandbox if one of them is that."""

    markets: Mapping[str, MarketParts]
    sandbox: SandboxProcess | None

    def trading(self, name: str) -> TradingParts | None:
        """A venue with its private side, if it is among them and binmon can trade there."""
        found = self.markets.get(name)
        return found if isinstance(found, BinanceParts | BybitParts) else None


def wire_venues(ground: Ground, embedded: Embedded, *, probe_only: bool = False) -> VenuesParts:
    """Build what the configuration needs; nothing is asked of any venue yet.

    Where it names no address of a sandbox, ``embedded(symbols)`` starts one, which serves all of them.
    """
    wanted = venues_wanted(ground.config, ground.loaded.present_keys, probe_only=probe_only)
    sandbox: SandboxProcess | None = None
    if any(_NEEDS_SANDBOX[name](ground.config) for name in wanted if name in _NEEDS_SANDBOX):
        sandbox = embedded(_known_symbols([choice for choices in wanted.values() for choice in choices]))
        lent = sandbox.urls
        log.info("sandbox.started", rest=lent.rest, stream=lent.stream, ws_api=lent.ws_api or None, pid=sandbox.pid)
    markets = {name: _WIRE[name](ground, sandbox.urls if sandbox is not None else None) for name in wanted}
    return VenuesParts(markets, sandbox)


def _known_symbols(wanted: Sequence[Sequence[str] | str]) -> list[str]:
    """The well-known ones among the symbols asked for; none when the choice is left to the venue."""
    named = {symbol for choice in wanted if not isinstance(choice, str) for symbol in choice}
    known = {symbol for symbol in named if _WELL_KNOWN.fullmatch(symbol)}
    return sorted(known | {"BTCUSDT", "ETHUSDT"}) if named else []


def wire_clock(ground: Ground, parts: MarketParts) -> None:
    """Keep the venue's clock, and have the ledger count by it."""

    def changed(reading: ClockReading) -> None:
        parts.ledger.set_clock_offset(reading.venue_minus_wall_ns / 1e9)

    follower = ClockFollower(f"{parts.market.name}-clock", parts.clock, parts.take_idle_sample, changed)
    ground.supervisor.add(follower, stage=0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A venue has answered: its instruments, its clock measured. ``error`` is what nothing but a person can mend."""

    venue: str
    instruments: Mapping[str, Instrument]
    error: Exception | None = None


class VenueStarts:
    """Asks each venue in a thread of its own until it answers: one that is down keeps nobody else from starting.

    ``take`` gives the answers as they come; ``waiting`` are the venues that have not answered yet. Belongs to the main
    thread.
    """

    def __init__(self, venues: Mapping[str, MarketParts], stop: threading.Event) -> None:
        self._venues, self._stop = venues, stop
        self._answers: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self.waiting: tuple[str, ...] = ()
        self.left_out: dict[str, str] = {}  # venues that came late and cannot be used as configured, and why
        self._began_s = 0.0

    @property
    def for_s(self) -> float:
        """How long they have been asked for."""
        return time.monotonic() - self._began_s

    def begin(self) -> None:
        """Ask them all."""
        self.waiting, self._began_s = tuple(self._venues), time.monotonic()
        for name in self._venues:
            threading.Thread(target=partial(self._ask, name), name=f"{name}-start", daemon=True).start()

    def take(self) -> Arrival | None:
        """The next answer, if one is there. Raises what is wrong beyond repair."""
        if self._answers.empty():
            return None
        arrival = self._answers.get()
        if arrival.error is not None:
            raise arrival.error
        self.waiting = tuple(name for name in self.waiting if name != arrival.venue)
        return arrival

    def _ask(self, name: str) -> None:
        try:
            self._answers.put(Arrival(name, self._until_answered(self._venues[name])))
        except Exception as error:  # handed to the main thread, which raises it
            if not self._stop.is_set():
                self._answers.put(Arrival(name, {}, error))

    def _until_answered(self, parts: MarketParts) -> Mapping[str, Instrument]:
        backoff = Backoff(_ASK_AGAIN)
        while True:
            try:
                instruments = parts.market.instruments(self._stop)
                for _ in range(_CLOCK_SAMPLES):
                    parts.clock.add([parts.take_sample(self._stop)])
                parts.ledger.set_clock_offset(parts.offset_ms() / 1000)
                return instruments
            except RetryError as error:
                delay_s = max(backoff.next_delay_s(), error.retry_after_s)
                if self._stop.is_set():
                    raise
                log.error("venue.unreachable", venue=parts.market.name, error=str(error), delay_s=round(delay_s, 3))
                self._stop.wait(delay_s)


# A venue is one line here (and one of _NEEDS_SANDBOX, if the sandbox speaks its dialect).
_WIRE: Mapping[str, Callable[[Ground, SandboxUrls | None], MarketParts]] = {
    "binance": wire_binance,
    "bybit": wire_bybit,
    "kraken": lambda ground, lent: wire_kraken(ground),
    "okx": lambda ground, lent: wire_okx(ground),
}
_NEEDS_SANDBOX: Mapping[str, Callable[[Config], bool]] = {
    "binance": binance_needs_sandbox,
    "bybit": bybit_needs_sandbox,
}


def wire_venue(name: str, ground: Ground, lent: SandboxUrls | None) -> MarketParts:
    """One venue, whatever the configuration needs it for. ``lent`` are the addresses of the embedded sandbox, which a
    venue has that `uses_embedded_sandbox`."""
    return _WIRE[name](ground, lent)


def uses_embedded_sandbox(name: str, config: Config) -> bool:
    """Whether a venue is the embedded sandbox in this configuration."""
    return name in _NEEDS_SANDBOX and _NEEDS_SANDBOX[name](config)
