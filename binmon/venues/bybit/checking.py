"""``binmon check --connect`` for Bybit: does everything that the configuration names answer as it should?"""

from __future__ import annotations

import threading
from functools import partial

import websocket

from binmon.config.schema import Config
from binmon.core.clock import VenueClock
from binmon.errors import BinmonError, ConfigError
from binmon.net.rest import RestSession
from binmon.venues.bybit.endpoints import NAME, URLS
from binmon.venues.bybit.limits import REFUSALS, ledger_of
from binmon.venues.bybit.market import BybitMarket
from binmon.venues.bybit.time import take_sample
from binmon.venues.clock import measure
from binmon.venues.symbols import resolve

_CONNECT_S = 10.0
_CLOCK_TOLERANCE_MS = 1_000  # a request that is further ahead of the venue is refused (reference 2.4)


def is_wanted(config: Config) -> bool:
    """Whether anything in the configuration needs the venue."""
    section, latency = config.venues.bybit, config.latency
    wanted = (latency.enabled and latency.venue == NAME) or any(one.venue == NAME for one in config.books.selections())
    return wanted or bool(section.api_key and section.api_secret)


def check_connection(config: Config) -> list[str]:
    """Try the endpoints; one line for each problem, naming key and cause. None where nothing needs the venue, or it is the
    embedded sandbox, which starts with the daemon."""
    section = config.venues.bybit
    base, own = URLS.get(section.environment), section.endpoints
    rest_url = own.rest or (base.rest if base else None)
    stream_url = own.public_stream or (base.public_stream if base else None)
    if not is_wanted(config) or rest_url is None or stream_url is None:
        return []
    problems: list[str] = []
    stop, ledger, clock = threading.Event(), ledger_of(), VenueClock(NAME)
    rest = RestSession(NAME, rest_url, ledger, refusals=REFUSALS)
    venue = BybitMarket(rest, ledger, stream_url, config.books.depth)
    rest_key = "venues.bybit.endpoints.rest" if own.rest else "venues.bybit.environment"
    try:
        measure(clock, partial(take_sample, rest), stop)
        reading = clock.reading()
        offset_ms = 0.0 if reading is None else reading.venue_minus_wall_ns / 1e6
        if abs(offset_ms) > _CLOCK_TOLERANCE_MS:
            problems.append(f"clock: {offset_ms:+.0f} ms from that of {rest_url}, expected less than 1000 ms")
        instruments = venue.instruments(stop)
        for selection in config.books.selections():
            if selection.venue == NAME:
                resolve(selection.symbols, instruments, NAME)
    except ConfigError as error:
        problems.append(str(error))
    except BinmonError as error:
        problems.append(f"{rest_key}: {error}: expected a REST API that answers")
    stream_key = "venues.bybit.endpoints.public_stream" if own.public_stream else "venues.bybit.environment"
    try:
        address = venue.stream_plan("check", [venue.depth_stream("BTCUSDT")]).url
        websocket.create_connection(address, timeout=_CONNECT_S, http_no_proxy=["*"]).close()
    except (OSError, ValueError, websocket.WebSocketException) as error:
        problems.append(f"{stream_key}: {stream_url}: {error}: expected public streams that accept a connection")
    return problems
