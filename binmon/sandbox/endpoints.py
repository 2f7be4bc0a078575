"""The REST endpoints of the generated market, apart from HTTP: a query goes in, a JSON text comes out.

Parameters, weights and shapes: reference, Binance Spot REST, sections 3.2 to 3.5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import payloads, symbols
from .candles import INTERVALS
from .clock import VenueClock, stamp
from .market import Market, UnknownSymbol
from .parameters import INVALID_SYMBOL, ApiError, Parameters
from .symbol_market import MAX_DEPTH, SymbolMarket

PATHS = tuple(
    f"/api/v3/{name}"
    for name in (
        "ping", "time", "exchangeInfo", "depth", "trades", "historicalTrades", "aggTrades", "klines", "uiKlines",
        "avgPrice", "ticker/price", "ticker/bookTicker", "ticker/24hr",
    )
)  # fmt: skip
"""Paths the sandbox answers."""

Handler = Callable[[Parameters, bool], str]
"""Answers a query; the flag asks for microseconds. Raises :class:`ApiError`."""


@dataclass(frozen=True)
class Endpoint:
    """One path: the parameters it reads (``None``: any), what a request weighs, and what answers it."""

    known: tuple[str, ...] | None
    weight: Callable[[Parameters], int]
    handler: Handler

    @property
    def mandatory(self) -> tuple[str, ...]:
        """Parameters that must be there: the symbol where it is the only way to choose, and the interval."""
        known = self.known or ()
        symbol = ("symbol",) if "symbol" in known and "symbols" not in known else ()
        return (*symbol, "interval") if "interval" in known else symbol

    def run(self, parameters: Parameters, micro: bool, also_known: Iterable[str] = ()) -> str:
        """Check the parameters' names and answer. Raises :class:`~.parameters.ApiError`.

        The order is that of the reference (13, item 5): what is missing, what was not asked for, wrong values.
        """
        for name in self.mandatory:
            parameters.text(name)
        if self.known is not None:
            parameters.check_known((*self.known, *also_known))
        return self.handler(parameters, micro)


def constant(weight: int) -> Callable[[Parameters], int]:
    """A weight that does not depend on the query."""
    return lambda _: weight


def depth_weight(parameters: Parameters) -> int:
    """Weight of depth by ``limit``; a malformed limit counts as the default."""
    try:
        limit = parameters.limit(100, MAX_DEPTH)
    except ApiError:
        limit = 100
    for most, weight in ((100, 5), (500, 25), (1000, 50)):
        if limit <= most:
            return weight
    return 250


def _one_or_all(parameters: Parameters) -> int:
    return 2 if parameters.has("symbol") else 4


def _day_weight(parameters: Parameters) -> int:
    if parameters.has("symbol"):
        return 2
    try:
        names = parameters.symbols()
    except ApiError:
        return 2
    if names is None:
        return 80
    return 2 if len(names) <= 20 else 40 if len(names) <= 100 else 80


class Routes:
    """The endpoint table of a running market."""

    def __init__(self, market: Market, clock: VenueClock, weight_limit: int) -> None:
        self._market = market
        self._clock = clock
        self._weight_limit = weight_limit
        several = ("symbol", "symbols", "symbolStatus")
        span = ("startTime", "endTime", "limit")
        klines = Endpoint(("symbol", "interval", "timeZone", *span), constant(2), self.klines)
        self.table: dict[str, Endpoint] = {
            "/api/v3/ping": Endpoint((), constant(1), lambda parameters, micro: "{}"),
            "/api/v3/time": Endpoint((), constant(1), self.time),
            "/api/v3/exchangeInfo": Endpoint(
                (*several, "permissions", "showPermissionSets"), constant(20), self.exchange_info
            ),
            "/api/v3/depth": Endpoint(("symbol", "limit", "symbolStatus"), depth_weight, self.depth),
            "/api/v3/trades": Endpoint(("symbol", "limit"), constant(25), self.trades),
            "/api/v3/historicalTrades": Endpoint(("symbol", "limit", "fromId"), constant(25), self.trades),
            "/api/v3/aggTrades": Endpoint(("symbol", "fromId", *span), constant(4), self.aggregate_trades),
            "/api/v3/klines": klines,
            "/api/v3/uiKlines": klines,
            "/api/v3/avgPrice": Endpoint(("symbol",), constant(2), self.average_price),
            "/api/v3/ticker/price": Endpoint(several, _one_or_all, self.ticker_price),
            "/api/v3/ticker/bookTicker": Endpoint(several, _one_or_all, self.ticker_book),
            "/api/v3/ticker/24hr": Endpoint((*several, "type"), _day_weight, self.ticker_day),
        }

    def time(self, parameters: Parameters, micro: bool) -> str:
        """GET time."""
        return f'{{"serverTime":{stamp(self._clock.now_us(), micro)}}}'

    def exchange_info(self, parameters: Parameters, micro: bool) -> str:
        """GET exchangeInfo."""
        status, permissions = parameters.symbol_status(), parameters.optional_text("permissions")
        narrowed = parameters.has("symbol") or parameters.has("symbols")
        if narrowed and (status is not None or permissions is not None):
            raise ApiError(400, -1128, "Combination of optional parameters invalid.")
        chosen = self._chosen(parameters)
        if permissions is not None and not _has_spot(permissions):
            chosen = []
        with_sets = parameters.boolean("showPermissionSets", True)
        entries = [symbols.symbol_info(market.instrument, market.status, with_sets) for market in chosen]
        body = symbols.exchange_info(entries, stamp(self._clock.now_us(), micro), self._weight_limit)
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    def depth(self, parameters: Parameters, micro: bool) -> str:
        """GET depth: the live book."""
        market = self._named(parameters)
        return market.book_json(parameters.limit(100, MAX_DEPTH))

    def trades(self, parameters: Parameters, micro: bool) -> str:
        """GET trades and historicalTrades; only trades since the start are kept."""
        market = self._named(parameters)
        limit, from_id = parameters.limit(500, 1000), parameters.integer("fromId")
        trades = market.trades()
        if from_id is not None:
            trades = [trade for trade in trades if trade.trade_id >= from_id][:limit]
        rows = (payloads.trade_row(market.instrument, trade, micro) for trade in trades[-limit:])
        return f"[{','.join(rows)}]"

    def aggregate_trades(self, parameters: Parameters, micro: bool) -> str:
        """GET aggTrades."""
        market = self._named(parameters)
        limit, from_id = parameters.limit(500, 1000), parameters.integer("fromId")
        start, end = parameters.moment_ms("startTime"), parameters.moment_ms("endTime")
        if from_id is not None and (start is not None or end is not None):
            raise ApiError(400, -1128, "Combination of optional parameters invalid.")
        trades = market.aggregates()
        if from_id is not None:
            trades = [trade for trade in trades if trade.aggregate_id >= from_id][:limit]
        if end is not None:
            trades = [trade for trade in trades if trade.time_us // 1000 <= end]
        if start is not None:
            trades = [trade for trade in trades if trade.time_us // 1000 >= start][:limit]
        fields = (payloads.aggregate_fields(market.instrument, trade, micro) for trade in trades[-limit:])
        return f"[{','.join(f'{{{text}}}' for text in fields)}]"

    def klines(self, parameters: Parameters, micro: bool) -> str:
        """GET klines and uiKlines; ``timeZone`` is only accepted as UTC."""
        market = self._named(parameters)
        interval = parameters.text("interval")
        if interval not in INTERVALS:
            raise ApiError(400, -1120, "Invalid interval.")
        if parameters.optional_text("timeZone") not in (None, "0", "0:00", "00:00", "+0:00", "+00:00"):
            raise ApiError(400, -1130, "Data sent for parameter 'timeZone' is not valid.")
        start, end = parameters.moment_ms("startTime"), parameters.moment_ms("endTime")
        limit = parameters.limit(500, 1000)
        with market.lock:
            candles = market.candles().rows(interval, start, end, limit, self._clock.now_ms())
            rows = [payloads.kline_row(market.instrument, interval, candle, micro) for candle in candles]
        return f"[{','.join(rows)}]"

    def average_price(self, parameters: Parameters, micro: bool) -> str:
        """GET avgPrice; a symbol without any trade has none."""
        market = self._named(parameters)
        market.wake()  # whoever asks what it is worth will trade it; the first order must not pay for making the book
        average = market.average_price(self._clock.now_us())
        price, trade_us = average if average is not None else (0, 0)
        text = market.instrument.price_text(price)
        return f'{{"mins":5,"price":"{text}","closeTime":{stamp(trade_us, micro)}}}'

    def ticker_price(self, parameters: Parameters, micro: bool) -> str:
        """GET ticker/price."""

        def row(market: SymbolMarket) -> str:
            price = market.instrument.price_text(market.last_price() or 0)
            return f'{{"symbol":"{market.instrument.symbol}","price":"{price}"}}'

        return self._rows(parameters, row)

    def ticker_book(self, parameters: Parameters, micro: bool) -> str:
        """GET ticker/bookTicker."""

        def row(market: SymbolMarket) -> str:
            with market.lock:
                return payloads.book_ticker_row(market.instrument, market.top())

        return self._rows(parameters, row)

    def ticker_day(self, parameters: Parameters, micro: bool) -> str:
        """GET ticker/24hr."""
        kind = parameters.optional_text("type") or "FULL"
        if kind not in ("FULL", "MINI"):
            raise ApiError(400, -1139, "Invalid ticker type.")

        def row(market: SymbolMarket) -> str:
            with market.lock:
                day, top = market.day(self._clock.now_us()), market.top()
            return payloads.ticker_row(market.instrument, day, top, kind == "FULL", micro)

        return self._rows(parameters, row)

    def _rows(self, parameters: Parameters, row: Callable[[SymbolMarket], str]) -> str:
        chosen = self._chosen(parameters)
        if parameters.has("symbol"):
            return row(chosen[0])
        return f"[{','.join(row(market) for market in chosen)}]"

    def _named(self, parameters: Parameters) -> SymbolMarket:
        """The market of the mandatory ``symbol``, in the status asked for."""
        try:
            market = self._market.symbol(parameters.text("symbol"))
        except UnknownSymbol as error:
            raise INVALID_SYMBOL.fresh() from error
        wanted = parameters.symbol_status()
        if wanted is not None and market.status != wanted:
            raise ApiError(400, -1220, "The symbol's status does not match the requested symbolStatus.")
        return market

    def _chosen(self, parameters: Parameters) -> list[SymbolMarket]:
        """The markets named by ``symbol`` or ``symbols``, or all, narrowed by ``symbolStatus``."""
        names = parameters.symbols()
        if parameters.has("symbol"):
            return [self._named(parameters)]
        wanted = parameters.symbol_status()
        try:
            chosen = self._market.symbols() if names is None else [self._market.symbol(name) for name in names]
        except UnknownSymbol as error:
            raise INVALID_SYMBOL.fresh() from error
        return [market for market in chosen if wanted is None or market.status == wanted]


def _has_spot(permissions: str) -> bool:
    """Whether a ``permissions`` value (one name or a JSON array) covers SPOT, which is all the sandbox has."""
    try:
        names = json.loads(permissions) if permissions.startswith("[") else [permissions]
    except json.JSONDecodeError as error:
        raise ApiError(400, -1135, "Invalid JSON Request") from error
    return "SPOT" in names
