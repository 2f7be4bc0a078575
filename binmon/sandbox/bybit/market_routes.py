"""The public requests of REST (reference: Bybit v5, 3.1 to 3.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..clock import VenueClock
from ..market import Market, UnknownSymbol
from ..symbol_market import SymbolMarket
from ..trading.reports import to_json
from . import prints
from .errors import RetError, wrong
from .execution import Execution
from .feed import Feed
from .private_side import status_text
from .topics import KLINES

Query = Mapping[str, str]
_OTHER_CATEGORIES = ("linear", "inverse", "option")


class MarketRoutes:
    """Answers by path; each gives the JSON of its ``result``. Raises :class:`.errors.RetError`."""

    def __init__(self, market: Market, feed: Feed, execution: Execution, clock: VenueClock) -> None:
        self._market = market
        self._feed = feed
        self._execution = execution
        self._clock = clock
        self.table: dict[str, Callable[[Query], str]] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/tickers": self._tickers,
            "/v5/market/orderbook": self._orderbook,
            "/v5/market/kline": self._kline,
            "/v5/market/recent-trade": self._trades,
            "/v5/market/price-limit": self._price_limit,
            "/v5/system/status": self._status,
        }

    def _time(self, query: Query) -> str:
        now_us = self._clock.now_us()
        return to_json({"timeSecond": str(now_us // 1_000_000), "timeNano": str(now_us * 1000)})

    def _instruments(self, query: Query) -> str:
        _category(query)
        chosen = [self._named(query)] if query.get("symbol") else self._market.symbols()
        rows = [self._feed.listing(one.instrument.symbol).info(status_text(one.status)) for one in chosen]
        if query.get("status"):
            rows = [row for row in rows if row["status"] == query["status"]]
        if query.get("symbolType"):
            rows = [row for row in rows if row["symbolType"] == query["symbolType"]]
        return to_json({"category": "spot", "list": rows})

    def _tickers(self, query: Query) -> str:
        _category(query)
        chosen = [self._named(query)] if query.get("symbol") else self._market.symbols()
        rows = []
        for market in chosen:
            with market.lock:
                day, top = market.day(self._clock.now_us()), market.top()
            rows.append(prints.ticker_row(self._feed.listing(market.instrument.symbol), day, top))
        return to_json({"category": "spot", "list": rows})

    def _orderbook(self, query: Query) -> str:
        _category(query)
        symbol = self._named(query).instrument.symbol
        return prints.rest_book(*self._feed.book(symbol, _limit(query, 1, 1000)))

    def _kline(self, query: Query) -> str:
        _category(query, default="linear")
        market, interval = self._named(query), query.get("interval", "")
        if interval not in KLINES:
            raise RetError(10001, "Invalid period!")
        start, end = _moment(query, "start"), _moment(query, "end")
        limit = _limit(query, 200, 1000)
        listing = self._feed.listing(market.instrument.symbol)
        with market.lock:
            candles = market.candles().rows(KLINES[interval], start, end, 1 << 30, self._clock.now_ms())
            rows = [prints.kline_row(listing, candle) for candle in candles[-limit:]]
        rows.reverse()
        return to_json({"category": "spot", "symbol": listing.symbol, "list": rows})

    def _trades(self, query: Query) -> str:
        _category(query)
        market = self._named(query)
        tape = self._feed.tape(market.instrument.symbol)
        limit = _limit(query, 60, 60)
        with market.lock:
            last = market.trades()[-limit:]
            rows = [prints.trade_row(tape.listing, trade, tape.seq_of_trade.get(trade.trade_id, 0)) for trade in last]
        rows.reverse()
        return to_json({"category": "spot", "list": rows})

    def _price_limit(self, query: Query) -> str:
        _category(query, default="linear")
        market = self._named(query)
        listing = self._feed.listing(market.instrument.symbol)
        with market.lock:
            highest, lowest = self._execution.price_limits(market)
        prices = {"buyLmt": listing.price_text(highest), "sellLmt": listing.price_text(lowest)}
        return to_json({"symbol": listing.symbol, **prices, "ts": str(self._clock.now_ms())})

    def _status(self, query: Query) -> str:
        return to_json({"list": []})

    def _named(self, query: Query) -> SymbolMarket:
        name = query.get("symbol", "")
        if not name:
            raise wrong("symbol")
        try:
            return self._market.symbol(name)
        except UnknownSymbol as error:
            raise RetError(10001, "Not supported symbols") from error


def _category(query: Query, default: str = "") -> None:
    """Refuse another category than spot, also the one that an endpoint takes without any."""
    category = query.get("category") or default
    if category in _OTHER_CATEGORIES:
        raise RetError(10001, f"category {category} is not served by the sandbox, expected spot")
    if category != "spot":
        raise wrong("category")


def _limit(query: Query, default: int, most: int) -> int:
    text = query.get("limit", "")
    if not text:
        return default
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise wrong("limit")
    return int(text)


def _moment(query: Query, name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdigit():
        raise wrong(name)
    return int(text)
