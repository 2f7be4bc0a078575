"""Rules on the values of a configuration that a type and a range cannot say."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from binmon.config.schema import CandleWatch, Config, TradeWatch, without_credentials
from binmon.messages import AlertName
from binmon.telemetry.events import LOGGERS

_ALERTS = tuple(AlertName)
_SYMBOL = re.compile(r"[\w.\-]{1,50}")
# how each venue writes them, and an example; where the venue is not named it is as Binance does
_SYMBOLS = {
    "kraken": (re.compile(r"[\w.]{1,25}/[\w.]{1,25}"), "BTC/USD"),
    "okx": (re.compile(r"[\w.]{1,25}(-[\w.]{1,25})+"), "BTC-USDT"),
}
_ORDERS = ("binance", "bybit")  # the venues of which there is more than market data
INTERVALS = {"bybit": ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w", "1M")}
"""The intervals of venues that do not have all that a file may name; a test holds them against the venues' own."""
_ALL = re.compile(r"all(:[^\s:a-z]+)?")
_WINDOW = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]")
_SERVICE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://\S.*", re.DOTALL)
_LOGGER = re.compile(r"[\w.\-]{1,100}")
SHORTEST_PROBE_INTERVAL_S = 15  # outside the sandbox

Problem = tuple[str, str]
"""A dotted key and what is wrong with it."""


def problems(config: Config, present: Collection[str] = ()) -> Iterator[Problem]:
    """What is wrong with ``config``, first the first. ``present`` are the dotted keys that the file has."""
    yield from _venues(config)
    yield from _books(config, present)
    yield from _latency(config)
    yield from _watch(config)
    yield from _alerts(config)
    yield from _addresses(config)
    yield from _logging(config)


def _venues(config: Config) -> Iterator[Problem]:
    binance, bybit = config.venues.binance, config.venues.bybit
    where = "venues.binance.endpoints"
    yield from _endpoint(f"{where}.rest", binance.endpoints.rest, "http")
    yield from _endpoint(f"{where}.stream", binance.endpoints.stream, "ws")
    yield from _endpoint(f"{where}.ws_api", binance.endpoints.ws_api, "ws")
    where = "venues.bybit.endpoints"
    yield from _endpoint(f"{where}.rest", bybit.endpoints.rest, "http")
    yield from _endpoint(f"{where}.public_stream", bybit.endpoints.public_stream, "ws")
    yield from _endpoint(f"{where}.private_stream", bybit.endpoints.private_stream, "ws")
    for name, public in (("kraken", config.venues.kraken), ("okx", config.venues.okx)):
        where, named = f"venues.{name}.endpoints", public.endpoints
        yield from _endpoint(f"{where}.rest", named.rest, "http")
        yield from _endpoint(f"{where}.stream", named.stream, "ws")
        if public.environment == "sandbox" and not (named.rest and named.stream):
            missing = "rest" if not named.rest else "stream"
            yield f"{where}.{missing}", "expected an address: there is no embedded sandbox of this venue"
    if binance.api_secret and binance.private_key_file:
        yield "venues.binance.private_key_file", "expected either this or api_secret, got both"


def _endpoint(key: str, url: str | None, scheme: str) -> Iterator[Problem]:
    if url is None:
        return
    expected, shown = f"expected {scheme}s://host", repr(without_credentials(url))
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        yield key, f"{expected}, got {shown} ({error})"
        return
    if not host or parts.scheme not in (scheme, scheme + "s"):
        yield key, f"{expected}, got {shown}"
    elif parts.scheme == scheme and not is_loopback(host):
        yield key, f"{expected} ({scheme}:// is allowed for loopback addresses only), got {shown}"
    elif "@" in parts.netloc or parts.query or parts.fragment:
        yield key, f"{expected} without user, query or fragment, got {shown}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _books(config: Config, present: Collection[str]) -> Iterator[Problem]:
    books = config.books
    if isinstance(books.venue, str):
        yield from _selection("books.symbols", books.symbols, books.venue)
    else:
        if not books.venue:
            yield "books.venue", "expected at least one venue, got an empty list"
        if "books.symbols" in present:
            yield "books.symbols", "expected no such key: the list in books.venue names the symbols of each venue"
        seen: set[str] = set()
        for index, selection in enumerate(books.venue):
            if selection.venue in seen:
                yield f"books.venue[{index}].venue", f"{selection.venue} is listed twice, expected each venue once"
            seen.add(selection.venue)
            yield from _selection(f"books.venue[{index}].symbols", selection.symbols, selection.venue)
    start, _, end = books.rotate_window.partition("-")
    if not _WINDOW.fullmatch(books.rotate_window) or start == end:
        yield "books.rotate_window", f'expected two times such as "03:00-05:00", got {books.rotate_window!r}'


def _selection(key: str, symbols: tuple[str, ...] | str, venue: str) -> Iterator[Problem]:
    if isinstance(symbols, str):
        if not _ALL.fullmatch(symbols):
            yield key, f'expected a list of symbols, "all" or "all:QUOTE" such as "all:USDT", got {symbols!r}'
        return
    if not symbols:
        yield key, "expected at least one symbol, got an empty list"
    first: dict[str, int] = {}
    for index, symbol in enumerate(symbols):
        yield from _symbol(f"{key}[{index}]", symbol, venue)
        if symbol in first:
            yield f"{key}[{index}]", f"{symbol} is listed twice, the first time as {key}[{first[symbol]}]"
        first.setdefault(symbol, index)


def _symbol(key: str, symbol: str, venue: str) -> Iterator[Problem]:
    form, example = _SYMBOLS.get(venue, (_SYMBOL, "BTCUSDT"))
    # Kraken has stocks such as AAPLx/USD: there, only what has no capital is a slip
    if symbol == symbol.lower() != symbol.upper() or (venue != "kraken" and symbol != symbol.upper()):
        yield key, f"symbols are written in upper case: {symbol.upper()}, got {symbol!r}"
    elif not form.fullmatch(symbol):
        yield key, f"expected a symbol such as {example}, got {symbol!r}"


def _more_than_market_data(key: str, venue: str, what: str) -> Iterator[Problem]:
    if venue not in _ORDERS:
        yield key, f"expected a venue with {what}: {' or '.join(_ORDERS)}, got {venue} (order books only)"


def _latency(config: Config) -> Iterator[Problem]:
    latency = config.latency
    yield from _more_than_market_data("latency.venue", latency.venue, "orders")
    yield from _symbol("latency.symbol", latency.symbol, latency.venue)
    venue = config.venues.binance if latency.venue == "binance" else config.venues.bybit
    if venue.environment != "sandbox" and latency.interval_s < SHORTEST_PROBE_INTERVAL_S:
        least = f"a number of at least {SHORTEST_PROBE_INTERVAL_S} outside the sandbox"
        yield "latency.interval_s", f"expected {least}, got {latency.interval_s:g}"
    if latency.venue != "binance" and latency.transport != "rest":
        only = f"rest, the only way of orders to {latency.venue}"
        yield "latency.transport", f"expected {only}, got {latency.transport}"


def _watch(config: Config) -> Iterator[Problem]:
    watches: dict[str, tuple[CandleWatch | TradeWatch, ...]]
    watches = {"candles": config.watch.candles, "trades": config.watch.trades}
    for kind, entries in watches.items():
        for index, watch in enumerate(entries):
            key = f"watch.{kind}[{index}]"
            yield from _more_than_market_data(f"{key}.venue", watch.venue, kind)
            yield from _symbol(f"{key}.symbol", watch.symbol, watch.venue)
            if watch.above is None and watch.below is None:
                yield key, "expected above, below or both, got neither"
            back = watch.hysteresis_price
            if watch.above is not None and back is not None and back >= watch.above:
                yield f"{key}.hysteresis_price", f"expected less than above, {watch.above:g}, got {back:g}"
            intervals = INTERVALS.get(watch.venue)
            if isinstance(watch, CandleWatch) and intervals is not None and watch.interval not in intervals:
                valid = " ".join(intervals)
                yield f"{key}.interval", f"expected an interval of {watch.venue}: {valid}, got {watch.interval}"
    listings = config.watch.listings
    kept = {selection.venue for selection in config.books.selections()}
    for index, venue in enumerate(listings.venues):
        yield from _more_than_market_data(f"watch.listings.venues[{index}]", venue, "listings")
        if listings.enabled and listings.record and venue not in kept:
            yield "watch.listings.record", f"expected books of {venue} to keep new symbols beside, there are none"


def _alerts(config: Config) -> Iterator[Problem]:
    for index, url in enumerate(config.alerts.notify):
        # whether a service takes the rest of it is checked where the services are known
        if not _SERVICE_URL.fullmatch(url):
            yield f"alerts.notify[{index}]", "expected a URL such as slack://… or https://…, got another (not shown)"
    first: dict[str, int] = {}
    for index, rule in enumerate(config.alerts.rules):
        key = f"alerts.rules[{index}].alert"
        if rule.alert not in _ALERTS:
            near = difflib.get_close_matches(rule.alert, _ALERTS, n=1)
            example = f"did you mean {near[0]}" if near else f"expected one of {', '.join(_ALERTS)}"
            yield key, f"{example}, got {rule.alert!r}"
        if rule.alert in first:
            yield key, f"{rule.alert} is listed twice, the first time as alerts.rules[{first[rule.alert]}]"
        first.setdefault(rule.alert, index)


def _logging(config: Config) -> Iterator[Problem]:
    ours = ["binmon", *LOGGERS]
    for name, level in config.logging.levels.items():
        key = f"logging.levels.{name}"
        if name.partition(".")[0] != "binmon":
            if not _LOGGER.fullmatch(name):
                yield key, f"expected the name of a logger such as binmon.books, got {name!r}"
            elif level in ("debug", "info"):
                # what other packages say there may hold addresses with signatures in them
                yield key, f"expected one of warning, error, critical for what is not binmon's own, got {level}"
        elif name not in ours:
            near = difflib.get_close_matches(name, ours, n=1)
            expected = f"did you mean {near[0]}" if near else f"expected one of {', '.join(ours)}"
            yield key, f"unknown logger, {expected}"


def _addresses(config: Config) -> Iterator[Problem]:
    dashboard, metrics = config.dashboard, config.metrics
    for key, listen in (("dashboard.listen", dashboard.listen), ("metrics.listen", metrics.listen)):
        host, _, port = listen.rpartition(":")
        valid = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
        if not host or not valid or (":" in host and not re.fullmatch(r"\[.+\]", host)):
            yield key, f"expected host:port with a port from 0 to 65535, got {listen!r}"
    for index, name in enumerate(dashboard.hosts):
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            yield f"dashboard.hosts[{index}]", f"expected a name such as binmon.example.org, no port, got {name!r}"
    if (
        dashboard.enabled
        and metrics.enabled
        and dashboard.listen == metrics.listen
        and not metrics.listen.endswith(":0")
    ):
        yield "metrics.listen", f"expected another address than dashboard.listen, got {metrics.listen!r} for both"
