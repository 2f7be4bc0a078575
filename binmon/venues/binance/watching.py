"""Candles, trades and listings of Binance Spot (reference: 3.4 statuses, 3.5 klines, 5.3 streams)."""

from __future__ import annotations

import itertools
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from binmon.messages import Candle, Instrument, Priority, Trade
from binmon.net.rest import RestSession
from binmon.venues.base import MalformedFrame, StreamPlan
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.binance.market import MAX_STREAMS_A_CONNECTION, BinanceMarket
from binmon.venues.watching import INTERVALS_MS, SymbolsTraded, Watched, WatchingVenue

_KLINES_WEIGHT = 2  # reference 3.2
# !ticker@arr and !bookTicker are gone; this one stays (reference 5.3)
_ALL_TICKERS = "!miniTicker@arr"
_NAMES_IN_ADDRESS = 100
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Kline(msgspec.Struct, gc=False):
    open_time_ms: int = msgspec.field(name="t")
    close_time_ms: int = msgspec.field(name="T")
    symbol: str = msgspec.field(name="s")
    interval: str = msgspec.field(name="i")
    open: Decimal = msgspec.field(name="o")
    high: Decimal = msgspec.field(name="h")
    low: Decimal = msgspec.field(name="l")
    close: Decimal = msgspec.field(name="c")
    volume: Decimal = msgspec.field(name="v")
    quote_volume: Decimal = msgspec.field(name="q")
    trades: int = msgspec.field(name="n")
    closed: bool = msgspec.field(name="x")


class _KlineEvent(msgspec.Struct, gc=False, tag_field="e", tag="kline"):
    event_time_ms: int = msgspec.field(name="E")
    kline: _Kline = msgspec.field(name="k")


class _TradeEvent(msgspec.Struct, gc=False, tag_field="e", tag="trade"):
    event_time_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    trade_id: int = msgspec.field(name="t")
    price: Decimal = msgspec.field(name="p")
    quantity: Decimal = msgspec.field(name="q")
    trade_time_ms: int = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class _MiniTicker(msgspec.Struct, gc=False):
    event_time_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")


_Event = _KlineEvent | _TradeEvent


class _Combined(msgspec.Struct, gc=False):
    data: _Event


class _Tickers(msgspec.Struct, gc=False):
    data: list[_MiniTicker]


class BinanceWatchDecoder:
    """See ``venues.watching.WatchDecoder``; combined and raw streams alike."""

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self._combined = msgspec.json.Decoder(_Combined)
        self._raw = msgspec.json.Decoder(_Event)
        self._tickers = msgspec.json.Decoder(_Tickers)
        self._raw_tickers = msgspec.json.Decoder(list[_MiniTicker])
        self._rows = msgspec.json.Decoder(
            list[tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, int, Decimal, int, Any, Any, Any]]
        )
        self._others = BinanceDecoder()

    def decode(self, frame: bytes, received_ns: int) -> Sequence[Watched]:
        try:
            return (self._message(self._combined.decode(frame).data, received_ns),)
        except _UNREADABLE:
            pass  # rare on these streams: tickers, another kind of frame or a raw stream, told apart below
        for decoder in (self._tickers, self._raw_tickers):
            try:
                found = decoder.decode(frame)
            except _UNREADABLE:
                continue
            tickers = found.data if isinstance(found, _Tickers) else found
            return (
                SymbolsTraded(
                    tuple(ticker.symbol for ticker in tickers),
                    max((ticker.event_time_ms for ticker in tickers), default=0),
                ),
            )
        try:
            event = self._raw.decode(frame)
        except _UNREADABLE as error:
            return self._other(frame, error)
        return (self._message(event, received_ns),)

    def candles(self, symbol: str, interval: str, body: bytes, received_ns: int) -> list[Candle]:
        """An answer of ``GET /api/v3/klines``. Raises MalformedFrame."""
        try:
            rows = self._rows.decode(body)
        except _UNREADABLE as error:
            raise MalformedFrame(f"klines of {symbol} {interval}: {error}") from None
        candles = [
            _checked(Candle(self._venue, symbol, interval, row[0], row[6], *row[1:6], row[7], row[8],
                            number < len(rows), 0, received_ns))
            for number, row in enumerate(rows, start=1)
        ]  # fmt: skip
        if any(after.open_time_ms <= before.open_time_ms for before, after in itertools.pairwise(candles)):
            raise MalformedFrame(f"klines of {symbol} {interval}: not in the order of time")
        return candles

    def _message(self, event: _Event, received_ns: int) -> Candle | Trade:
        if isinstance(event, _TradeEvent):
            if not (event.price.is_finite() and event.price > 0 and event.quantity.is_finite()):
                raise MalformedFrame(f"trade {event.trade_id} of {event.symbol}: price {event.price}")
            return Trade(
                self._venue,
                event.symbol,
                event.trade_id,
                event.price,
                event.quantity,
                event.buyer_is_maker,
                event.trade_time_ms,
                event.event_time_ms,
                received_ns,
            )
        kline = event.kline
        return _checked(
            Candle(
                self._venue,
                kline.symbol,
                kline.interval,
                kline.open_time_ms,
                kline.close_time_ms,
                kline.open,
                kline.high,
                kline.low,
                kline.close,
                kline.volume,
                kline.quote_volume,
                kline.trades,
                kline.closed,
                event.event_time_ms,
                received_ns,
            )
        )

    def _other(self, frame: bytes, error: Exception) -> Sequence[Watched]:
        other = self._others.other(frame)
        if other is not None:
            return (other,)
        message = msgspec.json.decode(frame)
        event = message.get("data", message)
        if isinstance(event, dict) and event.get("e") in ("kline", "trade"):
            raise MalformedFrame(f"a {event['e']} without its documented fields: {error}: {frame[:120]!r}")
        return ()


class BinanceWatching(WatchingVenue):
    """Binance Spot, watched without keys. ``rest`` and the ledger behind it are those of ``market``."""

    streams_per_connection = MAX_STREAMS_A_CONNECTION
    intervals = tuple(INTERVALS_MS)
    candles_per_request = 1000
    consecutive_trade_ids = True

    def __init__(self, market: BinanceMarket, rest: RestSession, stream_url: str) -> None:
        """``stream_url`` is the base of the market streams, without a path."""
        self.name = market.name
        self._market, self._rest, self._stream_url = market, rest, stream_url.rstrip("/")

    def candles(
        self,
        symbol: str,
        interval: str,
        start_ms: int | None,
        end_ms: int | None,
        limit: int,
        priority: Priority,
        stop: threading.Event,
    ) -> list[Candle]:
        # With startTime the venue counts from there, without it back from the end.
        parameters = {"symbol": symbol, "interval": interval, "limit": str(min(limit, self.candles_per_request))}
        if start_ms is not None:
            parameters["startTime"] = str(start_ms)
        if end_ms is not None:
            parameters["endTime"] = str(end_ms)

        def decode(body: bytes) -> list[Candle]:
            # a decoder of its own: candles are asked for in other threads than that of the stream
            return BinanceWatchDecoder(self.name).candles(symbol, interval, body, time.time_ns())

        return self._rest.get_json("/api/v3/klines", parameters, _KLINES_WEIGHT, priority, stop, decode)

    def symbols(self, stop: threading.Event, priority: Priority) -> Mapping[str, Instrument]:
        return self._market.instruments(stop, priority)

    def candle_stream(self, symbol: str, interval: str) -> str:
        return f"{symbol.lower()}@kline_{interval}"

    def trade_stream(self, symbol: str) -> str:
        return f"{symbol.lower()}@trade"

    def listing_stream(self) -> str | None:
        return _ALL_TICKERS

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        carried = tuple(streams)
        if len(carried) > _NAMES_IN_ADDRESS:
            return self._market.stream_plan(name, carried)
        # the exclamation mark of the all-market stream may stand in an address as it is
        names = "/".join(urllib.parse.quote(stream, safe="@!") for stream in carried)
        return StreamPlan(name, f"{self._stream_url}/stream?streams={names}", carried, ())

    def decoder(self) -> BinanceWatchDecoder:
        return BinanceWatchDecoder(self.name)


def _checked(candle: Candle) -> Candle:
    """The candle, if it can be one. Raises MalformedFrame."""
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume)
    # a NaN compares with nothing, so it is looked for first
    if (
        not all(number.is_finite() for number in numbers)
        or not 0 < candle.low <= min(candle.open, candle.close)
        or max(candle.open, candle.close) > candle.high
        or candle.volume < 0
        or candle.close_time_ms < candle.open_time_ms
    ):
        raise MalformedFrame(f"candle {candle.open_time_ms} of {candle.symbol} {candle.interval}: {numbers}")
    return candle
