"""``binmon check`` for what ``run`` refuses at its start, and ``--connect`` for what needs a key.
Nothing is bought or sold, and no file is made."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import websocket

from binmon.config.loading import LoadedConfig
from binmon.config.places import why_unwritable
from binmon.config.schema import Config
from binmon.config.wanted import venues_wanted
from binmon.core.clock import VenueClock
from binmon.core.supervisor import Supervisor
from binmon.errors import BinmonError, ConfigError
from binmon.latency.sizing import CannotProbe, choose
from binmon.messages import OrderRequest
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.orders.gate import PRODUCTION
from binmon.state import State
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
from binmon.venues.checking import Tell, tell_nobody
from binmon.venues.clock import measure
from binmon.venues.trading import Account, SayNext, Subscribed, SubscriptionRefused, TradingVenue, UserStreamVenue
from binmon.wiring import bybit
from binmon.wiring.binance import usable_signer
from binmon.wiring.ground import Ground
from binmon.wiring.latency import trading_to_probe
from binmon.wiring.venues import VenuesParts, uses_embedded_sandbox, wire_venue

_CONNECT_S = 10.0
_FRAMES = 20  # of which one should be the answer
_SQLITE = b"SQLite format 3\0"


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


def check_start(loaded: LoadedConfig) -> None:
    """Raise ConfigError for what ``run`` refuses before it asks anything of a venue: a log file and a state database that
    cannot be written, a key that is missing or cannot sign, orders that are asked for and cannot be timed.

    Not for what holds at this moment only: ports that are taken, a database that a daemon is using.
    """
    _check_log_file(loaded.config.logging.file)
    _check_state(Path(loaded.config.state.path))
    check_key(loaded)
    _check_timing(loaded)


def _check_log_file(file: str | None) -> None:
    """As `binmon.telemetry.logging.set_up`, which would make the file."""
    if not file:
        return
    path = Path(os.path.realpath(file))  # of a link that points nowhere, run makes what it names
    try:
        if path.exists():
            # nor does it wait, as a pipe would have it
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
            return
        if not stat.S_ISDIR(path.parent.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        reason = why_unwritable(path.parent)
    except OSError as error:
        # a pipe that nobody reads now is one that can be written
        reason = None if error.errno == errno.ENXIO else error.strerror
    if reason is not None:
        raise ConfigError(f"expected a file that can be written, but {file!r} cannot: {reason}", key="logging.file")


def _check_state(path: Path) -> None:
    """As `binmon.state.State`, which would make the file, and others beside it."""
    try:
        if not path.exists():
            return
        with path.open("r+b") as file:
            head = file.read(len(_SQLITE))
        reason = None if head in (b"", _SQLITE) else "file is not a database"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise ConfigError(f"{path}: expected a writable SQLite file: {reason}", key="state.path")


def _check_timing(loaded: LoadedConfig) -> None:
    """Raises ConfigError where orders that somebody asked for could not be timed."""
    config, name = loaded.config, loaded.config.latency.venue
    wanted = venues_wanted(config, loaded.present_keys)
    if not config.latency.enabled or name not in wanted or uses_embedded_sandbox(name, config):
        return
    state = State(Path(":memory:"))
    try:
        ground = Ground(loaded, Supervisor(), state, threading.Event())
        parts = VenuesParts({name: wire_venue(name, ground, None)}, None).trading(name)
        if parts is not None:
            trading_to_probe(ground, parts)
    finally:
        state.close()


def check_accounts(config: Config, tell: Tell = tell_nobody) -> list[str]:
    """One line for each problem with a key, or with the orders that are to be timed with it, with its remedy; none of a venue
    that has no key, or is the embedded sandbox. ``tell`` gets what is well."""
    return [*_check_binance(config, tell), *_check_bybit(config, tell)]


def _check_binance(config: Config, tell: Tell) -> list[str]:
    section = config.venues.binance
    base = URLS.get(section.environment)
    rest_url = section.endpoints.rest or (base.rest if base else None)
    ws_url = section.endpoints.ws_api or (base.ws_api if base else None)
    if rest_url is None or not section.has_whole_key:
        return []
    try:
        signer = signer_of(section)
    except ConfigError as error:
        return [str(error)]
    stop, ledger, clock = threading.Event(), RateLedger("binance"), VenueClock("binance")
    rest = RestSession("binance", rest_url, ledger)
    resynchronise = partial(measure, clock, partial(take_sample, rest), stop)
    trading = BinanceTrading(rest, ledger, signer, venue_ms=clock.venue_ms, resynchronise=resynchronise)
    environment = environment_of_all([rest_url] + ([ws_url] if ws_url else []), section.environment)
    stream: UserStreamVenue | None = None
    if ws_url:
        stream = BinanceUserStream(ws_url, signer, venue_ms=clock.venue_ms, logs_on=section.session_logon)
    return _check_account(
        config, _Side(trading, environment, resynchronise, stream, "ws_api", bool(section.endpoints.ws_api)), stop, tell
    )


def _check_bybit(config: Config, tell: Tell) -> list[str]:
    section = config.venues.bybit
    base, own = BYBIT_URLS.get(section.environment), section.endpoints
    rest_url = own.rest or (base.rest if base else None)
    stream_url = own.private_stream or (base.private_stream if base else None)
    if rest_url is None or not (section.api_key and section.api_secret):
        return []
    try:
        signer = bybit_signer_of(section)
    except ConfigError as error:
        return [str(error)]
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
    stream = BybitUserStream(stream_url, signer, venue_ms=clock.venue_ms) if stream_url else None
    side = _Side(trading, trading.environment, resynchronise, stream, "private_stream", bool(own.private_stream))
    return _check_account(config, side, stop, tell)


@dataclass(frozen=True, slots=True)
class _Side:
    """What of a venue needs a key. ``stream_key`` is that of ``venues.NAME.endpoints``; ``names_stream``: it is there."""

    trading: TradingVenue
    environment: str
    resynchronise: Callable[[], object]
    stream: UserStreamVenue | None
    stream_key: str
    names_stream: bool


def _check_account(config: Config, side: _Side, stop: threading.Event, tell: Tell) -> list[str]:
    """The key, the orders that are to be timed with it, and the stream that tells of orders."""
    trading, stream, name = side.trading, side.stream, side.trading.name
    key = f"venues.{name}.endpoints.{side.stream_key}"
    is_timed = config.latency.enabled and config.latency.venue == name
    problems: list[str] = []
    if is_timed:
        if stream is None:
            problems.append(f"{key}: missing: the venue tells of orders there")
        problems += _permission(config, side.environment)
    try:
        side.resynchronise()
    except BinmonError as error:
        problems.append(f"venues.{name}.endpoints.rest: {error}: expected a REST API that answers")
        return problems
    try:
        account = trading.account(stop)
    except BinmonError as error:
        return [*problems, f"venues.{name}: {trading.explain(error) or error}"]
    if account.can_trade:
        tell(f"{name}: key accepted, and it may trade")
        problems += _order(config, trading, account, stop, tell) if is_timed else []
    elif is_timed:
        problems.append(f"venues.{name}.api_key: the key may not trade: allow trading in its settings at the venue")
    else:
        tell(f"{name}: key accepted; it may not trade, which binmon order needs")
    # where no orders are timed, nothing needs the stream: it is tried where somebody has named it
    if stream is not None and not problems and (is_timed or side.names_stream):
        problems += _subscription(key, stream, trading, tell)
    return problems


def _permission(config: Config, environment: str) -> list[str]:
    if environment != PRODUCTION or config.execution.allow_production:
        return []
    return ["latency.enabled: these are addresses of production: orders need execution.allow_production: true"]


def _order(config: Config, trading: TradingVenue, account: Account, stop: threading.Event, tell: Tell) -> list[str]:
    """Symbol, balance, and an order that the venue checks and does not place."""
    latency = config.latency
    try:
        rules = trading.rules(latency.symbol, stop)
        price = trading.market_price(latency.symbol, stop)
    except BinmonError as error:
        return [f"latency.symbol: {latency.symbol!r} on {trading.name}: {trading.explain(error) or error}"]
    try:
        size = choose(rules, price, account.balances, Decimal(str(latency.notional)), None)
        name = f"binmon-check-{secrets.token_hex(4)}"
        order = OrderRequest(trading.name, latency.symbol, size.side, name, size.notional, quantity=size.quantity)
        trading.test(order, stop)
    except CannotProbe as problem:
        return [f"latency: {problem}"]
    except BinmonError as error:
        return [f"venues.{trading.name}: {trading.explain(error) or error}"]
    about = f"{size.notional.normalize():f}"
    tell(f"{trading.name}: an order for {latency.symbol} worth about {about} would be taken (it was not placed)")
    most = Decimal(str(config.execution.max_order_notional))
    if size.notional > most:
        return [f"execution.max_order_notional: {most:f} is less than an order needs ({about})"]
    return []


def _subscription(key: str, stream: UserStreamVenue, trading: TradingVenue, tell: Tell) -> list[str]:
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
                    tell(f"{trading.name}: the user-data stream takes a subscription at {url.partition('?')[0]}")
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
