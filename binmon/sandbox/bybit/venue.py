"""The Bybit side put together: one port for REST and for the streams, told apart by their paths.

It has its own market, clock, accounts, limits and faults; with the Binance side it shares only what that side's prices
do (see :mod:`.basis`).
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from websockets.http11 import Request

from .. import handshake
from ..clock import VenueClock
from ..desk import FaultDesk, Side
from ..handshake import Refusal
from ..http_server import HttpServer
from ..hub import StreamHub
from ..key_files import KeyFiles
from ..limits import WeightLedger
from ..market import Market, UnknownSymbol
from ..options import SandboxOptions
from ..private_faults import PrivateFaults
from ..symbol_market import SymbolMarket
from ..trading.keys import IssuedKey
from ..user_streams import UserStreams
from ..websocket_server import WebSocketServer
from . import instruments, limits, private_stream, public_stream, trade_stream
from .basis import Basis
from .dialogue import BybitDialogue
from .faults import BybitFaults
from .feed import Feed
from .keys import open_accounts
from .market_routes import MarketRoutes
from .private_side import PrivateSide, status_text
from .private_stream import PrivateDialogue
from .public_stream import PublicDialogue
from .rest import BybitRest
from .topics import symbol_of
from .trade_stream import TradeDialogue, TradeParts

NAME = "bybit"
"""What the fault desk calls this side."""
_CONNECTS = 500
"""Connection attempts in five minutes (reference: Bybit v5, 6.2)."""
_FOR_EVER_S = 10_000_000.0
_BASIS_EVERY, _IDLE_EVERY = 10, 100
"""Steps of 10 ms between two steps of the basis, and between two looks at idle connections."""


class BybitVenue:
    """The Bybit side of a sandbox. The constructor binds its port and raises ``OSError`` when that is taken,
    ``ValueError`` for symbols it cannot list."""

    def __init__(
        self, options: SandboxOptions, theirs: Market, identifiers: Iterator[int], sides: Mapping[str, Side]
    ) -> None:
        """``theirs`` is the market of the Binance side; ``sides`` are those of the fault desk, which may grow."""
        self._theirs = theirs
        self.clock = VenueClock()
        self.hub = StreamHub()
        seed = f"{options.seed}:bybit"
        chosen = instruments.choose(
            options.bybit_symbols,
            [market.instrument for market in theirs.symbols()],
            options.symbols is not None,
            options.seed,
            options.rate,
        )
        self._amplitude_bps = options.bybit_basis_bps
        self._seed = seed
        self._bases = {one.symbol: Basis(f"{seed}:{one.symbol}", options.bybit_basis_bps) for one in chosen}
        started = [
            replace(one, start_price=max(10, round(one.start_price * (1 + self._bases[one.symbol].bps / 10_000))))
            for one in chosen
        ]
        self.market = Market(
            started, self.hub, self.clock, seed, symbol_of=symbol_of,
            describe=lambda name: instruments.describe(name, seed), name="sandbox-bybit-market",
        )  # fmt: skip
        self.feed = Feed(self.market, self.hub, self.clock)
        self.side = PrivateSide(self.market, self.feed, self.clock)
        self._issued = open_accounts(self.side.accounts, options.seed, options.bybit_maker_fee, options.bybit_taker_fee)
        self._key_files = KeyFiles(self._issued)
        self.ledger = WeightLedger(limits.IP_LIMIT, limits.IP_WINDOW_S, options.bybit_ban_s)
        answers = PrivateFaults()
        self.users = UserStreams(self.clock, answers)
        self.services: list[WebSocketServer] = []
        self.faults = BybitFaults(
            self.hub, self.services, self.clock, self.ledger, self.market, self.side, answers, self.users, self.feed
        )
        self.hub.interceptor = self.faults
        self.desk = FaultDesk(sides, NAME)
        routes = MarketRoutes(self.market, self.feed, self.side.execution, self.clock)
        self.rest = BybitRest(
            routes, self.side, self.clock, self.ledger, options.bybit_ban_s, self.faults, self.desk.answer
        )
        self.faults.on_forgive = self.rest.forgive
        parts = TradeParts(
            self.side.accounts, self.side.operations, self.rest.charge, self.faults.guarded, answers.take_fate,
            lambda seconds, send: self.faults.later(seconds, send, even_if_cleared=True),
        )  # fmt: skip
        # This venue pings nobody and knows no longest life of a connection.
        own = replace(
            options, ping_interval_s=_FOR_EVER_S, life_s=_FOR_EVER_S, life_notice_s=None, connect_limit=_CONNECTS
        )
        idle_s, clock = options.bybit_idle_s, self.clock
        self._by_path = {
            public_stream.PATH: self._service(
                public_stream.SERVICE, own, identifiers, lambda one: PublicDialogue(one, clock, idle_s, self.feed)
            ),
            private_stream.PATH: self._service(
                private_stream.SERVICE, own, identifiers,
                lambda one: PrivateDialogue(one, clock, idle_s, self.side.accounts, self.users),
            ),
            trade_stream.PATH: self._service(
                trade_stream.SERVICE, own, identifiers, lambda one: TradeDialogue(one, clock, idle_s, parts)
            ),
        }  # fmt: skip
        self.market.after_tick = self._tick
        self._http = HttpServer(options.bybit_port, self.rest.answer, "sandbox-bybit-rest", self._upgrade)

    def _service(
        self, name: str, options: SandboxOptions, identifiers: Iterator[int], converse: Any
    ) -> WebSocketServer:
        service = WebSocketServer(name, None, converse, options, self.clock, identifiers, None)
        service.too_many = ""
        service.refuse = lambda: self.faults.refuse_connection(name)
        self.services.append(service)
        return service

    # Life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all threads."""
        self.market.start()
        self.users.start()
        self._http.start()

    def stop(self, deadline: float) -> None:
        """Close everything until a moment (monotonic seconds)."""
        self.faults.stop()
        self.market.stop(0.3)
        for service in self.services:
            service.stop(deadline)
        self.users.stop(max(0.1, deadline - time.monotonic()))
        self._http.stop(max(0.1, deadline - time.monotonic()))
        self._key_files.remove()

    # What it tells ----------------------------------------------------------------------------------------------

    @property
    def rest_url(self) -> str:
        """Base URL of REST, without ``/v5``."""
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def public_url(self) -> str:
        """URL of the public stream."""
        return f"ws://127.0.0.1:{self._http.port}{public_stream.PATH}"

    @property
    def private_url(self) -> str:
        """URL of the private stream."""
        return f"ws://127.0.0.1:{self._http.port}{private_stream.PATH}"

    @property
    def trade_url(self) -> str:
        """URL of the order entry by websocket."""
        return f"ws://127.0.0.1:{self._http.port}{trade_stream.PATH}"

    @property
    def symbols(self) -> list[str]:
        """Names of all listed symbols."""
        return [market.instrument.symbol for market in self.market.symbols()]

    def keys(self) -> list[IssuedKey]:
        """All keys with what signs for them; the first is the HMAC key of the account ``main``."""
        return list(self._issued)

    def ready(self) -> dict[str, Any]:
        """What the ready line tells about this side."""
        first = self._issued[0]
        return {
            "bybit_rest": self.rest_url,
            "bybit_public_stream": self.public_url,
            "bybit_private_stream": self.private_url,
            "bybit_trade_stream": self.trade_url,
            "bybit_api_key": first.api_key,
            "bybit_api_secret": first.api_secret,
            "bybit_keys": self._key_files.describe(),
            "bybit_symbols": self.symbols,
        }

    def desk_side(self) -> Side:
        """What the fault desk shows and does of this side."""
        return Side(self.faults, self.state, self.side.ledger, self.side.balances)

    def state(self) -> dict[str, Any]:
        """What ``GET /sandbox/state`` answers."""
        connections = [connection for service in self.services for connection in service.connections()]
        counters: dict[str, Any] = self.rest.counters() | sum(
            (Counter(service.counters()) for service in self.services), Counter()
        )
        return {
            "mode": "market",
            "time": self.clock.now_ms(),
            "symbols": {market.instrument.symbol: self._look(market) for market in self.market.symbols()},
            "connections": [connection.info() for connection in connections],
            "counters": counters,
            "faults": self.faults.active(),
        }

    def _look(self, market: SymbolMarket) -> dict[str, Any]:
        """A symbol in the state; looking at a sleeping one does not wake it."""
        listing = self.feed.listing(market.instrument.symbol)
        with market.lock:
            top = market.top() if market.awake else None
            basis = self._bases.get(listing.symbol)
            return {
                "status": status_text(market.status),
                "awake": top is not None,
                "seq": market.update_id,
                "bid": listing.price_text(top.bid) if top is not None else None,
                "ask": listing.price_text(top.ask) if top is not None else None,
                "basis_bps": round(basis.bps, 3) if basis is not None else None,
            }

    # Work -------------------------------------------------------------------------------------------------------

    def _tick(self, number: int, now_us: int) -> None:
        """One step of 10 ms, in the market's thread."""
        self.feed.tick(number, now_us)
        if number % _BASIS_EVERY == 0 and self._amplitude_bps and not self.market.frozen:
            self._follow()
        if number % _IDLE_EVERY == 0:
            now_s = time.monotonic()
            for service in self.services:
                for connection in service.connections():
                    if isinstance(connection.dialogue, BybitDialogue):
                        connection.dialogue.check_idle(now_s)

    def _follow(self) -> None:
        """Let prices wander as the basis and the other side do."""
        for symbol, basis in self._bases.items():
            try:
                market = self.market.symbol(symbol)
            except UnknownSymbol:
                continue
            if not market.awake:
                continue
            factor = basis.step(self._their_price(symbol))
            with market.lock:
                market.flow.scale(factor)

    def _their_price(self, symbol: str) -> float | None:
        """What a symbol costs on the Binance side, in the quote coin; ``None`` when nothing moves there."""
        try:
            market = self._theirs.symbol(symbol)
        except UnknownSymbol:
            return None
        return market.flow.middle * market.instrument.tick_e8 if market.awake else None

    def _upgrade(self, raw: socket.socket, peer: str, request: Request) -> None:
        service = self._by_path.get(urlsplit(request.path).path)
        if service is None:
            raw.sendall(handshake.refused(Refusal(404, "Not Found", "")))
            return
        service.adopt(raw, peer, request)
