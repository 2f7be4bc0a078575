"""The sandbox put together: one object that tests use in their own process and the command line runs."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import time
from collections import Counter
from decimal import Decimal
from typing import Any, Self

from . import symbols
from .bybit.venue import BybitVenue
from .clock import VenueClock
from .desk import FaultDesk, Side
from .endpoints import Endpoint, Routes
from .faults import FaultBoard
from .hub import StreamHub
from .key_files import KeyFiles
from .limits import WeightLedger
from .market import Market
from .options import SandboxOptions
from .private_faults import PrivateFaults
from .replay import Replay, ReplayRoutes, load_recording
from .rest import RestServer
from .streams import stream_server
from .symbol_market import SymbolMarket
from .trading.accounts import CommissionRates
from .trading.keys import IssuedKey, open_accounts
from .trading.operations import PrivateSide
from .user_streams import UserStreams
from .websocket_server import WebSocketServer
from .whole_market import whole_market
from .ws_api import PATH as WS_API_PATH
from .ws_api import Venue, ws_api_server
from .ws_api_methods import Methods

_log = logging.getLogger(__name__)


class Sandbox:
    """A local exchange on loopback.

    Usage::

        with Sandbox(SandboxOptions(symbols=("BTCUSDT",))) as sandbox:
            requests.get(f"{sandbox.rest_url}/api/v3/time")

    The constructor binds the ports and raises ``OSError`` when one is taken, ``ValueError`` for symbols or a recording
    it cannot use.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options = options or SandboxOptions()
        self.clock = VenueClock()
        self.hub = StreamHub()
        self.ledger = WeightLedger(options.weight_limit, options.weight_window_s, options.ban_s)
        self.market: Market | None = None
        self.replay: Replay | None = None
        table: dict[str, Endpoint]
        if options.replay is not None:
            recording = load_recording(options.replay)
            self.replay = Replay(recording, options.speed, self.hub)
            table = ReplayRoutes(self.replay, self.clock, options.weight_limit).table
        else:
            instruments = symbols.choose_instruments(options.symbols, options.seed, options.rate)
            named = {instrument.symbol for instrument in instruments}
            instruments += whole_market(options.generated_symbols, named, options.seed, options.generated_rate)
            self.market = Market(instruments, self.hub, self.clock, options.seed)
            table = Routes(self.market, self.clock, options.weight_limit).table
        digest = hashlib.sha256(f"binmon sandbox {options.seed}".encode())
        self.api_key = digest.hexdigest()
        """Key of the sandbox's user; the same for the same seed."""
        self.api_secret = hashlib.sha256(digest.digest()).hexdigest()
        self.private: PrivateSide | None = None
        """Accounts and orders; a replay has none."""
        self._keys: list[IssuedKey] = []
        if self.market is not None:
            self.private = PrivateSide(self.market, self.clock)
            self._keys = open_accounts(self.private.accounts, options.seed, self.api_key, self.api_secret)
            for account in self.private.accounts.all():
                account.commission = CommissionRates(Decimal(options.commission), Decimal(options.commission))
        self._key_files = KeyFiles(self._keys)
        answers = PrivateFaults()
        self.users = UserStreams(self.clock, answers)
        identifiers = itertools.count(1)
        self.services: list[WebSocketServer] = []
        self.faults = FaultBoard(
            self.hub,
            self.services,
            self.clock,
            self.ledger,
            self.market,
            self.replay,
            self.private,
            answers,
            self.users,
        )
        self.hub.interceptor = self.faults
        if self.private is not None:
            self.private.operations[:] = [answers.guarded(operation) for operation in self.private.operations]
        methods = Methods(table, self.private, self.clock)
        venue = Venue(
            methods, self.ledger, self.clock, self.users, answers,
            lambda seconds, send: self.faults.later(seconds, send, even_if_cleared=True),
        )  # fmt: skip
        orders = self.private.ledger if self.private is not None else None
        balances = self.private.balances if self.private is not None else None
        sides = {"binance": Side(self.faults, self.state, orders, balances)}
        self.bybit: BybitVenue | None = None
        """The Bybit side; a replay has none."""
        desk = FaultDesk(sides, "binance")
        try:
            self.streams = self._serve(stream_server(options, self.hub, self.clock, identifiers))
            self.ws_api = self._serve(ws_api_server(options, venue, identifiers))
            self.rest = RestServer(
                options.rest_port, table, self.clock, self.ledger, desk.answer, self.faults.disturb_rest, self.private
            )
            try:
                if self.market is not None:
                    self.bybit = BybitVenue(options, self.market, identifiers, sides)
                    sides["bybit"] = self.bybit.desk_side()
            except (OSError, ValueError):
                self.rest.stop(0.1)
                raise
        except (OSError, ValueError):
            for service in self.services:
                service.stop(time.monotonic())
            raise

    def _serve(self, service: WebSocketServer) -> WebSocketServer:
        """Put a service among those that start, stop and have faults."""
        service.refuse = lambda: self.faults.refuse_connection(service.service)
        self.services.append(service)
        return service

    @property
    def rest_url(self) -> str:
        """Base URL of REST, without ``/api/v3``."""
        return f"http://127.0.0.1:{self.rest.port}"

    @property
    def stream_url(self) -> str:
        """Base URL of the market streams, without ``/ws`` or ``/stream``."""
        return f"ws://127.0.0.1:{self.streams.port}"

    @property
    def ws_api_url(self) -> str:
        """URL of the WebSocket API, with its path."""
        return f"ws://127.0.0.1:{self.ws_api.port}{WS_API_PATH}"

    @property
    def symbols(self) -> list[str]:
        """Names of all listed symbols."""
        if self.replay is not None:
            return list(self.replay.recording.symbols)
        assert self.market is not None
        return [market.instrument.symbol for market in self.market.symbols()]

    def keys(self) -> list[IssuedKey]:
        """All keys of the private side with what signs for them; none in a replay."""
        return list(self._keys)

    def start(self) -> None:
        """Start all threads."""
        if self.market is not None:
            self.market.start()
        if self.replay is not None:
            self.replay.start()
        self.users.start()
        for service in self.services:
            service.start()
        self.rest.start()
        if self.bybit is not None:
            self.bybit.start()

    def stop(self, deadline_s: float = 2.0) -> None:
        """Close everything within ``deadline_s`` seconds."""
        deadline = time.monotonic() + deadline_s
        self.faults.stop()
        if self.bybit is not None:
            self.bybit.stop(time.monotonic() + deadline_s / 3)
        if self.market is not None:
            self.market.stop(deadline_s / 4)
        if self.replay is not None:
            self.replay.stop(deadline_s / 4)
        half = (deadline + time.monotonic()) / 2
        for service in self.services:
            service.stop(half if service is not self.services[-1] else deadline)
        self.users.stop(max(0.1, deadline - time.monotonic()))
        self.rest.stop(max(0.1, deadline - time.monotonic()))
        self._key_files.remove()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def ready(self) -> dict[str, Any]:
        """The line that is printed when the sandbox is ready."""
        return {
            "event": "sandbox.ready",
            "rest": self.rest_url,
            "stream": self.stream_url,
            "ws_api": self.ws_api_url,
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "keys": self._key_files.describe(),
            "symbols": self.symbols,
            **(self.bybit.ready() if self.bybit is not None else {}),
            "pid": os.getpid(),
        }

    def state(self) -> dict[str, Any]:
        """What ``GET /sandbox/state`` answers."""
        connections = [connection for service in self.services for connection in service.connections()]
        counters: dict[str, Any] = self.rest.counters() | sum(
            (Counter(service.counters()) for service in self.services), Counter()
        )
        alive = sum(connection.frames_sent for connection in connections)
        counters["frames_delivered"] = counters.get("frames_delivered", 0) + alive
        counters["weight_used"] = self.ledger.used("127.0.0.1", self.clock.now_ms() / 1000)
        listed: dict[str, Any] = {}
        if self.market is not None:
            for market in self.market.symbols():
                listed[market.instrument.symbol] = _look(market)
        if self.replay is not None:
            listed = {
                symbol: {"status": "TRADING", "update_id": update_id}
                for symbol, update_id in self.replay.update_ids().items()
            }
        return {
            "mode": "replay" if self.replay is not None else "market",
            "time": self.clock.now_ms(),
            "seed": self.options.seed,
            "symbols": listed,
            "connections": [connection.info() for connection in connections],
            "counters": counters,
            "faults": self.faults.active(),
            "falsified": self.faults.falsified(),
            "replay": self.replay.progress() if self.replay is not None else None,
        }


def _look(market: SymbolMarket) -> dict[str, Any]:
    """A symbol in ``GET /sandbox/state``; looking at a sleeping one does not wake it."""
    with market.lock:
        top = market.top() if market.awake else None
        return {
            "status": market.status,
            "awake": top is not None,
            "update_id": market.update_id,
            "bid": market.instrument.price_text(top.bid) if top is not None else None,
            "ask": market.instrument.price_text(top.ask) if top is not None else None,
            "last_trade_id": market.last_trade_id,
        }
