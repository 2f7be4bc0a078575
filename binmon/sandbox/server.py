"""The sandbox put together: one object that tests use in their own process and the command line runs."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import asdict
from typing import Any, Self

from . import symbols
from .clock import VenueClock
from .desk import FaultDesk
from .endpoints import Endpoint, Routes
from .faults import FaultBoard
from .hub import StreamHub
from .limits import WeightLedger
from .market import Market
from .options import SandboxOptions
from .replay import Replay, ReplayRoutes, load_recording
from .rest import RestServer
from .streams import StreamServer
from .symbol_market import SymbolMarket
from .whole_market import whole_market

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
        self.streams = StreamServer(options, self.hub, self.clock)
        self.faults = FaultBoard(self.hub, self.streams, self.clock, self.ledger, self.market, self.replay)
        self.hub.interceptor = self.faults
        self.streams.refuse = self.faults.refuse_connection
        desk = FaultDesk(self.faults, self.state)
        try:
            self.rest = RestServer(
                options.rest_port, table, self.clock, self.ledger, desk.answer, self.faults.disturb_rest
            )
        except OSError:
            self.streams.stop(time.monotonic())
            raise
        digest = hashlib.sha256(f"binmon sandbox {options.seed}".encode())
        self.api_key = digest.hexdigest()
        """Key of the sandbox's user; the same for the same seed."""
        self.api_secret = hashlib.sha256(digest.digest()).hexdigest()

    @property
    def rest_url(self) -> str:
        """Base URL of REST, without ``/api/v3``."""
        return f"http://127.0.0.1:{self.rest.port}"

    @property
    def stream_url(self) -> str:
        """Base URL of the market streams, without ``/ws`` or ``/stream``."""
        return f"ws://127.0.0.1:{self.streams.port}"

    @property
    def symbols(self) -> list[str]:
        """Names of all listed symbols."""
        if self.replay is not None:
            return list(self.replay.recording.symbols)
        assert self.market is not None
        return [market.instrument.symbol for market in self.market.symbols()]

    def start(self) -> None:
        """Start all threads."""
        if self.market is not None:
            self.market.start()
        if self.replay is not None:
            self.replay.start()
        self.streams.start()
        self.rest.start()

    def stop(self, deadline_s: float = 2.0) -> None:
        """Close everything within ``deadline_s`` seconds."""
        deadline = time.monotonic() + deadline_s
        self.faults.stop()
        if self.market is not None:
            self.market.stop(deadline_s / 4)
        if self.replay is not None:
            self.replay.stop(deadline_s / 4)
        self.streams.stop(deadline)
        self.rest.stop(max(0.1, deadline - time.monotonic()))

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
            "ws_api": None,
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "symbols": self.symbols,
            "pid": os.getpid(),
        }

    def state(self) -> dict[str, Any]:
        """What ``GET /sandbox/state`` answers."""
        connections = self.streams.connections()
        counters: dict[str, Any] = {**self.rest.counters(), **self.streams.counters()}
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
            "connections": [asdict(connection.info()) for connection in connections],
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
