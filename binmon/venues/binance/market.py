"""The public side of Binance Spot: instruments, depth and the plan of market streams."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from binmon.messages import DepthSnapshot, Instrument, Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import StreamPlan, Venue
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.binance.limits import RateLimit, take_limits

# (highest limit, request weight), reference 3.2
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
MAX_STREAMS_A_CONNECTION = 1024
# Up to here the names go into the address (one round trip less); beyond, the address would get too long for
# proxies and they are asked for in SUBSCRIBE messages, of which five a second are allowed.
_STREAMS_IN_ADDRESS = 100
_STREAMS_A_SUBSCRIBE = 256


class _Filter(msgspec.Struct):
    kind: str = msgspec.field(name="filterType")
    tick_size: str = msgspec.field(name="tickSize", default="0")
    step_size: str = msgspec.field(name="stepSize", default="0")


class _Symbol(msgspec.Struct):
    symbol: str
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")
    filters: list[_Filter] = []


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]
    rate_limits: list[RateLimit] = msgspec.field(name="rateLimits", default_factory=list)


def depth_weight(limit: int) -> int:
    """Request weight of ``GET /api/v3/depth`` with this limit."""
    return next(weight for highest, weight in _DEPTH_WEIGHTS if limit <= highest)


class BinanceMarket(Venue):
    """Binance Spot without keys. ``ledger`` is that of ``rest``; ``stream_url`` is the base of the market streams, without a path."""

    name = "binance"
    streams_per_connection = MAX_STREAMS_A_CONNECTION

    def __init__(self, rest: RestSession, ledger: RateLedger, stream_url: str) -> None:
        self._rest, self._ledger = rest, ledger
        self._stream_url = stream_url.rstrip("/")
        self._info_decoder = msgspec.json.Decoder(_ExchangeInfo)

    @property
    def weight_per_minute(self) -> int:
        return self._ledger.limit

    def instruments(self, stop: threading.Event, priority: Priority = Priority.INITIAL_SYNC) -> dict[str, Instrument]:
        # permission sets make up most of the answer and nobody here reads them
        path, parameters = "/api/v3/exchangeInfo", {"showPermissionSets": "false"}
        info = self._rest.get_json(path, parameters, 20, priority, stop, self._info_decoder.decode)
        take_limits(self._ledger, info.rate_limits)
        return {listed.symbol: self._instrument(listed) for listed in info.symbols}

    def depth(self, symbol: str, limit: int, priority: Priority, stop: threading.Event) -> DepthSnapshot:
        def decode(body: bytes) -> DepthSnapshot:
            # a decoder of its own: snapshots arrive in the threads of the fetchers
            return BinanceDecoder().depth(self.name, symbol, body)

        parameters = {"symbol": symbol, "limit": str(limit)}
        return self._rest.get_json("/api/v3/depth", parameters, depth_weight(limit), priority, stop, decode)

    def snapshot_weight(self, limit: int) -> int:
        return depth_weight(limit)

    def depth_stream(self, symbol: str) -> str:
        return f"{symbol.lower()}@depth@100ms"

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        carried = tuple(streams)
        if len(carried) <= _STREAMS_IN_ADDRESS:
            names = "/".join(urllib.parse.quote(stream, safe="@") for stream in carried)
            return StreamPlan(name, f"{self._stream_url}/stream?streams={names}", carried, ())
        return StreamPlan(name, f"{self._stream_url}/stream", carried, _subscriptions(carried))

    def decoder(self) -> BinanceDecoder:
        return BinanceDecoder()

    def _instrument(self, listed: _Symbol) -> Instrument:
        tick = next((f.tick_size for f in listed.filters if f.kind == "PRICE_FILTER"), "0")
        lot = next((f.step_size for f in listed.filters if f.kind == "LOT_SIZE"), "0")
        return Instrument(
            self.name, listed.symbol, listed.base, listed.quote, listed.status, _decimal(tick), _decimal(lot)
        )


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text).normalize()
    except InvalidOperation:
        return Decimal(0)


def _subscriptions(streams: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(
        msgspec.json.encode(
            {"method": "SUBSCRIBE", "params": streams[start : start + _STREAMS_A_SUBSCRIBE], "id": number}
        )
        for number, start in enumerate(range(0, len(streams), _STREAMS_A_SUBSCRIBE), start=1)
    )
