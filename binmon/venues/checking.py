"""``binmon check --connect``: does everything that the configuration names answer as it should?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import websocket

from binmon.config.schema import Config
from binmon.core.clock import VenueClock
from binmon.errors import BinmonError, ConfigError
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import Venue
from binmon.venues.binance.endpoints import URLS as BINANCE_URLS
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.time import take_sample as take_binance_sample
from binmon.venues.bybit.endpoints import URLS as BYBIT_URLS
from binmon.venues.bybit.limits import REFUSALS as BYBIT_REFUSALS
from binmon.venues.bybit.limits import ledger_of as bybit_ledger
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.time import take_sample as take_bybit_sample
from binmon.venues.clock import TakeSample, measure
from binmon.venues.kraken import market as kraken
from binmon.venues.kraken.rest import take_sample as take_kraken_sample
from binmon.venues.okx import market as okx
from binmon.venues.okx.rest import take_sample as take_okx_sample
from binmon.venues.symbols import resolve
from binmon.venues.watching import check_symbol

_CONNECT_S = 10.0
_CLOCK_TOLERANCE_MS = 1_000  # a request that is further ahead of Binance or Bybit is refused (references 2.5, 2.4)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A venue at the addresses to try. ``stream_key`` is that of ``venues.NAME.endpoints``; ``judges_clock``: it refuses
    requests by their time. ``symbol`` is one to name in a stream's address."""

    market: Venue
    clock: VenueClock
    take_sample: TakeSample
    rest_url: str
    stream_url: str
    stream_key: str
    named: Callable[[str], bool]  # whether endpoints.KEY is in the configuration
    symbol: str = "BTCUSDT"
    judges_clock: bool = True


Tell = Callable[[str], None]
"""Takes a line for people about what was tried and is well."""


def tell_nobody(line: str) -> None:
    """For whoever wants the problems alone."""


def check_connection(config: Config, tell: Tell = tell_nobody) -> list[str]:
    """Try the endpoints of every venue that something in the configuration needs; one line for each problem, naming key
    and cause. The embedded sandbox starts with the daemon: there is nothing to try before. ``tell`` gets a line a venue."""
    problems: list[str] = []
    for name, subject_of in _SUBJECTS.items():
        if not _is_wanted(config, name):
            continue
        subject = subject_of(config)
        if subject is None:
            tell(f"{name}: is the embedded sandbox, which starts with the daemon: nothing to try before")
        else:
            problems += _check(config, subject, tell)
    return problems


def _is_wanted(config: Config, name: str) -> bool:
    if config.latency.enabled and config.latency.venue == name:
        return True
    if any(selection.venue == name for selection in config.books.selections()):
        return True
    if any(venue == name for venue, _ in config.watch.watched()):
        return True
    section = getattr(config.venues, name)
    return bool(getattr(section, "api_key", "") and getattr(section, "api_secret", ""))


def _check(config: Config, subject: _Subject, tell: Tell) -> list[str]:
    problems: list[str] = []
    well: list[str] = []
    stop, market, name = threading.Event(), subject.market, subject.market.name

    def key(endpoint: str) -> str:
        return f"venues.{name}.endpoints.{endpoint}" if subject.named(endpoint) else f"venues.{name}.environment"

    try:
        measure(subject.clock, subject.take_sample, stop)
        reading = subject.clock.reading()
        assert reading is not None  # there was an answer
        # a long way there and back says little
        offset_ms, unsure_ms = reading.venue_minus_wall_ns / 1e6, reading.uncertainty_ns / 1e6
        if subject.judges_clock and abs(offset_ms) - unsure_ms > _CLOCK_TOLERANCE_MS:
            problems.append(f"clock: {offset_ms:+.0f} ms from that of {subject.rest_url}, expected less than 1000 ms")
        instruments = market.instruments(stop)
        well += [f"REST answers at {subject.rest_url}", f"clock {offset_ms:+.1f} ±{unsure_ms:.1f} ms from ours"]
        books: set[str] = set()
        for selection, key_of_symbols in config.books.selections_with_keys():
            if selection.venue == name:
                with _told(problems):
                    books.update(resolve(selection.symbols, instruments, name, key_of_symbols))
        well += _listed(len(books), "of books")
        watched: set[str] = set()
        for (venue, symbol), key_of_it in config.watch.watched().items():
            if venue == name:
                with _told(problems):
                    check_symbol(name, symbol, instruments, f"{key_of_it}.symbol")
                    watched.add(symbol)
        well += _listed(len(watched), "of watch")
    except BinmonError as error:
        problems.append(f"{key('rest')}: {error}: expected a REST API that answers")
    try:
        address = market.stream_plan("check", [market.depth_stream(subject.symbol)]).url
        websocket.create_connection(address, timeout=_CONNECT_S, http_no_proxy=["*"]).close()
        well.append(f"streams answer at {subject.stream_url}")
    except (OSError, ValueError, websocket.WebSocketException) as error:
        where = f"{key(subject.stream_key)}: {subject.stream_url}"
        problems.append(f"{where}: {error}: expected market streams that accept a connection")
    tell(f"{name}: {', '.join(well) or 'nothing answers as it should'}")
    return problems


@contextmanager
def _told(problems: list[str]) -> Iterator[None]:
    """What is wrong with one of several values is a problem, and keeps nobody from looking at the others."""
    try:
        yield
    except ConfigError as error:
        problems.append(str(error))


def _listed(count: int, where: str) -> list[str]:
    if not count:
        return []
    return [f"1 symbol {where} is listed" if count == 1 else f"{count} symbols {where} are listed"]


# One function a venue: its parts at the addresses in force, None where there is nothing to try ----------------------------


def _binance(config: Config) -> _Subject | None:
    section = config.venues.binance
    base, own = BINANCE_URLS.get(section.environment), section.endpoints
    rest_url, stream_url = own.rest or (base.rest if base else None), own.stream or (base.stream if base else None)
    if rest_url is None or stream_url is None:
        return None
    ledger = RateLedger("binance")
    rest = RestSession("binance", rest_url, ledger)
    market, clock = BinanceMarket(rest, ledger, stream_url), VenueClock("binance")
    take = partial(take_binance_sample, rest)
    return _Subject(market, clock, take, rest_url, stream_url, "stream", lambda key: bool(getattr(own, key)))


def _bybit(config: Config) -> _Subject | None:
    section = config.venues.bybit
    base, own = BYBIT_URLS.get(section.environment), section.endpoints
    rest_url = own.rest or (base.rest if base else None)
    stream_url = own.public_stream or (base.public_stream if base else None)
    if rest_url is None or stream_url is None:
        return None
    ledger = bybit_ledger()
    rest = RestSession("bybit", rest_url, ledger, refusals=BYBIT_REFUSALS)
    market, clock = BybitMarket(rest, ledger, stream_url, config.books.depth), VenueClock("bybit")
    take = partial(take_bybit_sample, rest)
    return _Subject(market, clock, take, rest_url, stream_url, "public_stream", lambda key: bool(getattr(own, key)))


def _kraken(config: Config) -> _Subject:
    own, ledger, clock = config.venues.kraken.endpoints, RateLedger("kraken"), VenueClock("kraken")
    rest_url, stream_url = own.rest or kraken.REST_URL, own.stream or kraken.STREAM_URL
    rest = RestSession("kraken", rest_url, ledger)
    market = kraken.KrakenMarket(rest, ledger, stream_url, config.books.depth)
    take = partial(take_kraken_sample, rest, ledger, clock)
    return _Subject(
        market, clock, take, rest_url, stream_url, "stream", lambda key: bool(getattr(own, key)), "BTC/USD",
        judges_clock=False,
    )  # fmt: skip


def _okx(config: Config) -> _Subject:
    own, ledger = config.venues.okx.endpoints, RateLedger("okx")
    rest_url, stream_url = own.rest or okx.REST_URL, own.stream or okx.STREAM_URL
    rest = RestSession("okx", rest_url, ledger)
    market, clock = okx.OkxMarket(rest, ledger, stream_url), VenueClock("okx")
    take = partial(take_okx_sample, rest, ledger)
    return _Subject(
        market, clock, take, rest_url, stream_url, "stream", lambda key: bool(getattr(own, key)), "BTC-USDT",
        judges_clock=False,
    )  # fmt: skip


_SUBJECTS: Mapping[str, Callable[[Config], _Subject | None]] = {
    "binance": _binance,
    "bybit": _bybit,
    "kraken": _kraken,
    "okx": _okx,
}
