"""``binmon check --connect`` for what needs a key: would the delay monitor run? Nothing is bought or sold."""

from __future__ import annotations

import secrets
import threading
from decimal import Decimal
from functools import partial

import websocket

from binmon.config.loading import LoadedConfig
from binmon.config.schema import Config
from binmon.core.clock import VenueClock
from binmon.errors import BinmonError, ConfigError
from binmon.latency.sizing import CannotProbe, choose
from binmon.messages import OrderRequest
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.orders.gate import PRODUCTION
from binmon.venues.binance.endpoints import URLS, environment_of_all
from binmon.venues.binance.signing import signer_of
from binmon.venues.binance.time import take_sample
from binmon.venues.binance.trading import BinanceTrading
from binmon.venues.binance.user_data import BinanceUserStream
from binmon.venues.bybit.endpoints import NAME as BYBIT
from binmon.venues.bybit.endpoints import URLS as BYBIT_URLS
from binmon.venues.bybit.limits import REFUSALS, EndpointLimits, ledger_of
from binmon.venues.bybit.signing import signer_of as bybit_signer_of
from binmon.venues.bybit.time import take_sample as take_bybit_sample
from binmon.venues.bybit.trading import BybitTrading
from binmon.venues.bybit.user_data import BybitUserStream
from binmon.venues.clock import measure
from binmon.venues.trading import SayNext, Subscribed, SubscriptionRefused, TradingVenue, UserStreamVenue
from binmon.wiring import bybit
from binmon.wiring.binance import usable_signer
from binmon.wiring.venues import uses_embedded_sandbox

_CONNECT_S = 10.0
_FRAMES = 20  # of which one should be the answer


def check_key(loaded: LoadedConfig) -> None:
    """Raise ConfigError for a key that cannot sign, and for one that is missing though orders are to be timed, as ``run``
    does."""
    section, other = loaded.config.venues.binance, loaded.config.venues.bybit
    timed_at = loaded.config.latency.venue
    has_key = {"binance": section.has_key, BYBIT: bool(other.api_key or other.api_secret)}
    if (
        loaded.config.latency.enabled
        and "latency.enabled" in loaded.present_keys
        and not has_key.get(timed_at, True)
        and not uses_embedded_sandbox(timed_at, loaded.config)
    ):
        name = timed_at.upper()
        raise loaded.placed(
            ConfigError(
                f"no API key: set it here, or {name}_API_KEY and {name}_API_SECRET, or latency.enabled: false",
                key=f"venues.{timed_at}.api_key",
            )
        )
    if section.has_key:
        usable_signer(loaded, section)
    if other.api_key or other.api_secret:
        bybit.usable_signer(loaded, other)


def check_latency(config: Config) -> list[str]:
    """One line for each problem, with its remedy; none when the monitor is off or has the embedded sandbox."""
    return _check_bybit(config) if config.latency.venue == BYBIT else _check_binance(config)


def _check_binance(config: Config) -> list[str]:
    section, latency = config.venues.binance, config.latency
    base = URLS.get(section.environment)
    rest_url = section.endpoints.rest or (base.rest if base else None)
    ws_url = section.endpoints.ws_api or (base.ws_api if base else None)
    if not latency.enabled or latency.venue != "binance" or rest_url is None or not section.has_whole_key:
        return []
    try:
        signer = signer_of(section)
    except ConfigError as error:
        return [str(error)]
    problems = []
    if ws_url is None:
        problems.append("venues.binance.endpoints.ws_api: missing: the user-data stream is on the WebSocket API")
    problems += _permission(config, environment_of_all([rest_url] + ([ws_url] if ws_url else []), section.environment))
    stop, ledger, clock = threading.Event(), RateLedger("binance"), VenueClock("binance")
    rest = RestSession("binance", rest_url, ledger)
    resynchronise = partial(measure, clock, partial(take_sample, rest), stop)
    trading = BinanceTrading(rest, ledger, signer, venue_ms=clock.venue_ms, resynchronise=resynchronise)
    try:
        resynchronise()
        problems += _account(config, trading, stop)
    except BinmonError as error:
        problems.append(f"venues.binance.endpoints.rest: {error}: expected a REST API that answers")
        return problems
    if ws_url is not None and not problems:
        stream = BinanceUserStream(ws_url, signer, venue_ms=clock.venue_ms, logs_on=section.session_logon)
        problems += _subscription("venues.binance.endpoints.ws_api", stream, trading)
    return problems


def _check_bybit(config: Config) -> list[str]:
    section, latency = config.venues.bybit, config.latency
    base, own = BYBIT_URLS.get(section.environment), section.endpoints
    rest_url = own.rest or (base.rest if base else None)
    stream_url = own.private_stream or (base.private_stream if base else None)
    if not latency.enabled or rest_url is None or not (section.api_key and section.api_secret):
        return []
    try:
        signer = bybit_signer_of(section)
    except ConfigError as error:
        return [str(error)]
    problems = []
    key = "venues.bybit.endpoints.private_stream"
    if stream_url is None:
        problems.append(f"{key}: missing: orders are told of on the private stream")
    stop, clock = threading.Event(), VenueClock(BYBIT)
    rest = RestSession(BYBIT, rest_url, ledger_of(), refusals=REFUSALS)
    resynchronise = partial(measure, clock, partial(take_bybit_sample, rest), stop)
    trading = BybitTrading(
        rest,
        signer,
        EndpointLimits(),
        venue_ms=clock.venue_ms,
        resynchronise=resynchronise,
        other_urls=[stream_url] if stream_url else [],
        named_environment=section.environment,
    )
    problems += _permission(config, trading.environment)
    try:
        resynchronise()
        problems += _account(config, trading, stop)
    except BinmonError as error:
        problems.append(f"venues.bybit.endpoints.rest: {error}: expected a REST API that answers")
        return problems
    if stream_url is not None and not problems:
        problems += _subscription(key, BybitUserStream(stream_url, signer, venue_ms=clock.venue_ms), trading)
    return problems


def _permission(config: Config, environment: str) -> list[str]:
    if environment != PRODUCTION or config.execution.allow_production:
        return []
    return ["latency.enabled: these are addresses of production: orders need execution.allow_production: true"]


def _account(config: Config, trading: TradingVenue, stop: threading.Event) -> list[str]:
    """Key, permission, symbol, balance, and an order that the venue checks and does not place."""
    latency = config.latency
    try:
        account = trading.account(stop)
        if not account.can_trade:
            key = f"venues.{trading.name}.api_key"
            return [f"{key}: the key may not trade: allow trading in its settings at the venue"]
        rules = trading.rules(latency.symbol, stop)
        price = trading.market_price(latency.symbol, stop)
        size = choose(rules, price, account.balances, Decimal(str(latency.notional)), None)
        name = f"binmon-check-{secrets.token_hex(4)}"
        order = OrderRequest(trading.name, latency.symbol, size.side, name, size.notional, quantity=size.quantity)
        trading.test(order, stop)
    except CannotProbe as problem:
        return [f"latency: {problem}"]
    except BinmonError as error:
        return [f"venues.{trading.name}: {trading.explain(error) or error}"]
    most = Decimal(str(config.execution.max_order_notional))
    if size.notional > most:
        return [f"execution.max_order_notional: {most:f} is less than an order needs ({size.notional.normalize():f})"]
    return []


def _subscription(key: str, stream: UserStreamVenue, trading: TradingVenue) -> list[str]:
    """Subscribe once to the stream of the account's events."""
    url = stream.user_stream_url
    try:
        connection = websocket.create_connection(url, timeout=_CONNECT_S, http_no_proxy=["*"])
        try:
            for message in stream.opening_messages():
                connection.send(message)
            for _ in range(_FRAMES):
                frame = connection.recv()
                said = stream.decode(frame.encode() if isinstance(frame, str) else frame, "check", 0, 0)
                if isinstance(said, Subscribed):
                    return []
                for message in said.messages if isinstance(said, SayNext) else ():
                    connection.send(message)
                if isinstance(said, SubscriptionRefused):
                    error = said.error
                    told = trading.explain(error) if isinstance(error, BinmonError) else None
                    return [f"{key}: the venue refuses the user-data stream: {told or error}"]
        finally:
            connection.close()
    except (OSError, ValueError, websocket.WebSocketException) as error:
        return [f"{key}: {url}: {error}: expected a WebSocket API that accepts a connection"]
    return [f"{key}: {url}: no answer to the subscription"]
