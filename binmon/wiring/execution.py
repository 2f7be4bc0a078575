"""Best-price orders from the command line: which venues, what each is asked through, and the books of a daemon beside it.

A command has sockets, ledgers and clocks of its own. What it shares with a daemon is the state database: bans, and the
orders of a day, which both count together. Where a daemon keeps a book of the very venue (environment and addresses), its
status page is asked for it (`GET /book`), and REST only when that does not answer at once with a book that is whole.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from binmon.books.views import ask
from binmon.config.loading import LoadedConfig
from binmon.config.schema import MetricsConfig
from binmon.core.companion import SandboxProcess, SandboxUrls, lent_sandbox
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.errors import VenueFailed
from binmon.execution.history import ExecutionHistory
from binmon.execution.market import DepthSource, MarketDepth, levels_from
from binmon.execution.quotes import QuoteDesk, QuoteSettings
from binmon.execution.router import OrderRouter, RouterSettings
from binmon.execution.sources import VenueSource
from binmon.messages import BookView, Floats, Instrument, OrderRequest, Priority, TradingRules
from binmon.net.rest import RestSession
from binmon.orders.gate import OrderGate
from binmon.orders.journal import StateJournal
from binmon.state import State, StateDenied
from binmon.venues.base import MalformedFrame
from binmon.venues.binance import orders as binance_orders
from binmon.venues.binance import rules as binance_rules
from binmon.venues.binance.endpoints import environment_of_all
from binmon.venues.bybit import orders as bybit_orders
from binmon.venues.bybit import rules as bybit_rules
from binmon.venues.bybit import trading as bybit_trading
from binmon.venues.bybit.endpoints import environment_of_all as bybit_environment_of_all
from binmon.venues.bybit.market import INSTRUMENTS_PATH, get
from binmon.venues.clock import measure
from binmon.wiring.binance import BinanceParts
from binmon.wiring.books import BookParts
from binmon.wiring.bybit import BybitParts
from binmon.wiring.ground import Ground
from binmon.wiring.latency import limits_of
from binmon.wiring.public import PublicParts
from binmon.wiring.venues import MarketParts, uses_embedded_sandbox, wire_venue

log = structlog.get_logger("binmon.execution")

EMBEDDED = ("binance", "bybit")
"""The venues that the embedded sandbox is."""
_KEPT_WITHIN_S = 0.4  # a daemon on this machine that takes longer is too busy to be of use
_BOOK_WITHIN_S = 0.3
_MOST_BOOK_BYTES = 4_000_000
_MOST_LEVELS = 5_000
_INFO_WEIGHT = 20  # Binance reference, 3.2
_END_WITHIN_S = 2.0
_BINANCE_INFO = msgspec.json.Decoder(binance_rules.SymbolInfo)

# Which venues ----------------------------------------------------------------------------------------------------------


def configured_venues(loaded: LoadedConfig) -> list[str]:
    """Every venue that has a section or a key, or that something in the file names; with one that is the embedded sandbox
    come the others that it is."""
    config, present = loaded.config, loaded.present_keys
    named = {one.venue for one in config.books.selections()} if "books" in present else set[str]()
    has_key = {"binance": config.venues.binance.has_key, "bybit": bool(config.venues.bybit.api_key)}
    chosen = [
        name
        for name in config.venues.__struct_fields__
        if f"venues.{name}" in present or has_key.get(name, False) or name in named
    ]
    if not chosen or any(uses_embedded_sandbox(name, config) for name in chosen):
        chosen += [name for name in EMBEDDED if name not in chosen and uses_embedded_sandbox(name, config)]
    return sorted(chosen, key=config.venues.__struct_fields__.index)


@dataclass(frozen=True, slots=True)
class Floor:
    """What the commands stand on."""

    quotes: QuoteDesk
    router: OrderRouter
    history: ExecutionHistory
    parts: Mapping[str, MarketParts]
    stop: threading.Event
    nothing_kept: str = ""
    """Why the state database is one in memory, if it is."""


@contextmanager
def trading_floor(loaded: LoadedConfig, *, only_looks: bool = False) -> Iterator[Floor]:
    """Build what the configuration asks for, and end it afterwards. Raises ConfigError.

    ``only_looks``: no order will leave, so a state database that this user may not write is no reason to end, but for the
    embedded sandbox, whose address is in it.
    """
    config, stop = loaded.config, threading.Event()
    nothing_kept, names = "", configured_venues(loaded)
    is_embedded = any(uses_embedded_sandbox(name, config) for name in names)
    try:
        state = State(Path(config.state.path))
    except StateDenied as error:
        if not only_looks or is_embedded:
            raise
        state, nothing_kept = State(Path(":memory:")), str(error)
    sandbox: SandboxProcess | None = None
    try:
        lent: SandboxUrls | None = None
        if is_embedded:
            lent = lent_sandbox(state)
            if lent is None:
                sandbox = SandboxProcess((), stop.is_set)
                lent = sandbox.urls
                log.info(
                    "sandbox.started", rest=lent.rest, stream=lent.stream, ws_api=lent.ws_api or None, pid=sandbox.pid
                )
        ground = Ground(loaded, Supervisor(), state, stop)
        parts = {name: wire_venue(name, ground, lent) for name in names}
        journal, history, section = StateJournal(state), ExecutionHistory(state), config.execution
        quotes = QuoteDesk(
            [source_of(one, config.metrics) for one in parts.values()],
            QuoteSettings(
                section.stale_after_ms * 10**6, section.quote_timeout_ms / 1000, section.assumed_taker_fee_bps
            ),
            stop,
        )
        router = OrderRouter(
            quotes,
            OrderGate(limits_of(section), journal),
            journal,
            history,
            RouterSettings(
                section.stale_after_ms * 10**6, Decimal(str(section.max_slippage_bps)), section.settle_timeout_ms / 1000
            ),
            stop,
        )
        yield Floor(quotes, router, history, parts, stop, nothing_kept)
    finally:
        stop.set()
        if sandbox is not None:
            sandbox.stop(Deadline(_END_WITHIN_S))
        state.close()


# What each venue is asked through ---------------------------------------------------------------------------------------


def source_of(parts: MarketParts, metrics: MetricsConfig) -> VenueSource:
    """A venue as quotes ask it."""
    kept = KeptBooks(parts, metrics).depth
    if isinstance(parts, PublicParts):
        return VenueSource(parts.market.name, environment_of(parts), parts.market, kept=kept)
    assert isinstance(parts, BinanceParts | BybitParts)
    trading = parts.trading() if parts.signer is not None else None

    def prepare(stop: threading.Event) -> None:
        if parts.clock.reading() is None:
            measure(parts.clock, parts.take_sample, stop)

    rules = partial(_binance_rules if isinstance(parts, BinanceParts) else _bybit_rules, parts.rest)
    return VenueSource(
        parts.name,
        environment_of(parts) if trading is None else trading.environment,
        parts.market,
        trading,
        rules,
        prepare,
        kept,
        judged_by_market_price=isinstance(parts, BinanceParts),
    )


def _binance_rules(rest: RestSession, symbol: str, stop: threading.Event) -> TradingRules:
    """What the venue asks of a market order; needs no key."""
    path = "/api/v3/exchangeInfo"
    info = rest.get_json(path, {"symbol": symbol}, _INFO_WEIGHT, Priority.ORDER, stop, _BINANCE_INFO.decode)
    for listed in info.symbols:
        if listed.symbol == symbol:
            return _read(rest, path, binance_rules.trading_rules, listed)
    raise VenueFailed(rest.base_url + path, 200, f"{symbol} is not listed any more")


def _bybit_rules(rest: RestSession, symbol: str, stop: threading.Event) -> TradingRules:
    parameters = {"category": bybit_orders.CATEGORY, "symbol": symbol}
    for listed in get(rest, INSTRUMENTS_PATH, parameters, Priority.ORDER, stop, bybit_rules.LISTED).listed:
        if listed.symbol == symbol:
            return _read(rest, INSTRUMENTS_PATH, bybit_rules.trading_rules, listed)
    raise VenueFailed(rest.base_url + INSTRUMENTS_PATH, 200, f"{symbol} is not listed any more")


def _read(rest: RestSession, path: str, read: Callable[[Any], TradingRules], listed: Any) -> TradingRules:
    try:
        return read(listed)
    except MalformedFrame as error:
        raise VenueFailed(rest.base_url + path, 200, str(error)) from error


# Addresses ---------------------------------------------------------------------------------------------------------------


def market_addresses(parts: MarketParts) -> tuple[str, str]:
    """Where the market data of a venue come from: REST and stream."""
    if isinstance(parts, BybitParts):
        return parts.urls.rest, parts.urls.public_stream
    assert isinstance(parts, BinanceParts | PublicParts)
    return parts.urls.rest, parts.urls.stream


def environment_of(parts: MarketParts) -> str:
    """The environment of its market data, by the addresses where the venue has several."""
    if isinstance(parts, BinanceParts):
        return environment_of_all(market_addresses(parts), parts.named_environment)
    if isinstance(parts, BybitParts):
        return bybit_environment_of_all(market_addresses(parts), parts.named_environment)
    # Venues with market data alone have one environment, unless this machine plays them.
    return "sandbox" if environment_of_all(market_addresses(parts)) == "sandbox" else "production"


# The books of a daemon ---------------------------------------------------------------------------------------------------


def book_document(books: Mapping[str, BookParts], query: str) -> tuple[int, dict[str, Any]]:
    """The answer of the status page to ``GET /book?venue=V&symbol=S&levels=N``: status and JSON.

    Prices and quantities are texts, exactly as the venue printed them. ``addresses`` and ``environment`` tell whose book
    it is. 404 for a book that is not kept, 503 when the keeper does not answer at once, 400 for a question that is none.
    """
    asked = dict(urllib.parse.parse_qsl(query))
    venue, symbol = asked.get("venue", ""), asked.get("symbol", "")
    try:
        levels = int(asked.get("levels", "20"))
    except ValueError:
        levels = 0
    if not venue or not symbol or not 1 <= levels <= _MOST_LEVELS:
        return 400, {"error": f"expected ?venue=V&symbol=S&levels=N with N from 1 to {_MOST_LEVELS}"}
    kept = books.get(venue)
    if kept is None:
        return 404, {"error": f"no books of {venue} are kept"}
    try:
        view = ask(kept.inbox, symbol, levels, _BOOK_WITHIN_S)
    except TimeoutError as error:
        return 503, {"error": str(error)}
    if view is None:
        return 404, {"error": f"no book of {venue} {symbol} is kept"}
    return 200, _view_document(view, kept.venue)


def _view_document(view: BookView, parts: MarketParts) -> dict[str, Any]:
    return {
        "venue": view.venue,
        "symbol": view.symbol,
        "environment": environment_of(parts),
        "addresses": list(market_addresses(parts)),
        "synced": view.synced,
        "age_ms": view.age_ms,
        "update_id": view.update_id,
        "event_time_ms": view.event_time_ms,
        "bids": _texts(view.bid_price, view.bid_quantity),
        "asks": _texts(view.ask_price, view.ask_quantity),
    }


def _texts(prices: Floats, quantities: Floats) -> list[tuple[str, str]]:
    """Doubles of at most 15 digits: their shortest text is what was printed."""
    pairs = zip(prices.tolist(), quantities.tolist(), strict=True)
    return [(f"{Decimal(repr(price)):f}", f"{Decimal(repr(quantity)):f}") for price, quantity in pairs]


class KeptBooks:
    """The books that a daemon on this machine keeps of one venue, as its status page shows them."""

    def __init__(self, parts: MarketParts, metrics: MetricsConfig) -> None:
        self._venue, self._environment = parts.market.name, environment_of(parts)
        self._addresses = list(market_addresses(parts))
        self._listen = metrics.listen if metrics.enabled else ""

    def depth(self, instrument: Instrument, levels: int) -> MarketDepth | None:
        """The book of ``instrument``; None where there is no daemon, it keeps none of these addresses, or it is not synced."""
        host, _, port = self._listen.rpartition(":")
        if not port or port == "0":
            return None
        # a daemon in this container may listen on all addresses; it is asked on the one that is only ours
        host = "127.0.0.1" if host in ("0.0.0.0", "", "[::]") else host.strip("[]")
        asked_mono_ns = time.monotonic_ns()
        document = self._document(host, int(port), instrument.symbol, levels)
        if document is None or document.get("environment") != self._environment:
            return None
        if document.get("addresses") != self._addresses or document.get("synced") is not True:
            return None
        try:
            age_ns = max(0, int(float(document["age_ms"]) * 1e6))
            bids, asks = levels_from(document["bids"]), levels_from(document["asks"])
            as_of_mono_ns = asked_mono_ns - age_ns
            return MarketDepth(self._venue, instrument, bids, asks, as_of_mono_ns, DepthSource.BOOK)
        except (KeyError, IndexError, TypeError, ValueError, InvalidOperation):
            return None  # whoever answered there is no daemon of this version

    def _document(self, host: str, port: int, symbol: str, levels: int) -> dict[str, Any] | None:
        query = urllib.parse.urlencode({"venue": self._venue, "symbol": symbol, "levels": levels})
        connection = http.client.HTTPConnection(host, port, timeout=_KEPT_WITHIN_S)
        try:
            connection.request("GET", f"/book?{query}")
            answer = connection.getresponse()
            body = answer.read(_MOST_BOOK_BYTES)
            found = json.loads(body) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return found if isinstance(found, dict) else None


# Before anything is sent ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be sent, without what signs it: key, time and signature."""

    venue: str
    environment: str
    method: str
    url: str
    parameters: Mapping[str, str]


def preview(parts: MarketParts, environment: str, order: OrderRequest) -> Preview:
    """The request of an order."""
    if isinstance(parts, BinanceParts):
        url, parameters = "/api/v3/order", binance_orders.order_parameters(order)
    else:
        assert isinstance(parts, BybitParts)
        url, parameters = bybit_trading.CREATE, bybit_orders.order_parameters(order)
    return Preview(order.venue, environment, "POST", parts.rest.base_url + url, parameters)
