"""``binmon check --connect``: does everything that the configuration names answer as it should?"""

from __future__ import annotations

import threading
from functools import partial

import websocket

from binmon.config.schema import Config
from binmon.core.clock import VenueClock
from binmon.errors import BinmonError, ConfigError
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.binance.endpoints import URLS
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.binance.time import take_sample
from binmon.venues.bybit import checking as bybit
from binmon.venues.clock import measure
from binmon.venues.symbols import resolve

_CONNECT_S = 10.0
_CLOCK_TOLERANCE_MS = 1_000  # a request that is further ahead of the venue is refused (reference 2.5)


def check_connection(config: Config) -> list[str]:
    """Try the endpoints of the venues; returns one line for each problem, naming key and cause."""
    return [*_check_binance(config), *bybit.check_connection(config)]


def _check_binance(config: Config) -> list[str]:
    section = config.venues.binance
    base = URLS.get(section.environment)
    rest_url = section.endpoints.rest or (base.rest if base else None)
    stream_url = section.endpoints.stream or (base.stream if base else None)
    if rest_url is None or stream_url is None:
        return []  # the embedded sandbox: it starts with the daemon, there is nothing to try before
    problems: list[str] = []
    stop = threading.Event()
    ledger = RateLedger("binance")
    rest, clock = RestSession("binance", rest_url, ledger), VenueClock("binance")
    venue = BinanceMarket(rest, ledger, stream_url)
    rest_key = "venues.binance.endpoints.rest" if section.endpoints.rest else "venues.binance.environment"
    try:
        measure(clock, partial(take_sample, rest), stop)
        reading = clock.reading()
        offset_ms = 0.0 if reading is None else reading.venue_minus_wall_ns / 1e6
        if abs(offset_ms) > _CLOCK_TOLERANCE_MS:
            problems.append(f"clock: {offset_ms:+.0f} ms from that of {rest_url}, expected less than 1000 ms")
        instruments = venue.instruments(stop)
        for selection in config.books.selections():
            if selection.venue == venue.name:
                resolve(selection.symbols, instruments, venue.name)
    except ConfigError as error:
        problems.append(str(error))
    except BinmonError as error:
        problems.append(f"{rest_key}: {error}: expected a REST API that answers")
    stream_key = "venues.binance.endpoints.stream" if section.endpoints.stream else "venues.binance.environment"
    try:
        address = venue.stream_plan("check", [venue.depth_stream("BTCUSDT")]).url
        websocket.create_connection(address, timeout=_CONNECT_S, http_no_proxy=["*"]).close()
    except (OSError, websocket.WebSocketException) as error:
        problems.append(f"{stream_key}: {stream_url}: {error}: expected market streams that accept a connection")
    return problems
