"""Candles, trades and listings of Bybit spot (reference: 3.5 klines, 4.5 trades, 4.7 candle stream)."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from binmon.errors import VenueFailed
from binmon.messages import Candle, Instrument, OrderSide, Priority, Trade
from binmon.net.rest import RestSession
from binmon.venues.base import ControlReply, MalformedFrame, StreamPlan
from binmon.venues.bybit.decoding import BybitDecoder
from binmon.venues.bybit.endpoints import NAME
from binmon.venues.bybit.errors import UNREADABLE
from binmon.venues.bybit.market import CATEGORY, MAX_STREAMS_A_CONNECTION, BybitMarket, get
from binmon.venues.bybit.orders import execution_number, side_of
from binmon.venues.watching import INTERVALS_MS, Watched, WatchingVenue, close_time_ms

KLINES_PATH = "/v5/market/kline"
INTERVALS = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240", "6h": "360",
    "12h": "720", "1d": "D", "1w": "W", "1M": "M",
}  # fmt: skip
"""Our names of the intervals, and the venue's."""
_OURS = {theirs: ours for ours, theirs in INTERVALS.items()}
_KLINE, _TRADE = "kline.", "publicTrade."
_MOST_CANDLES = 1000


class _Kline(msgspec.Struct, gc=False):
    start_ms: int = msgspec.field(name="start")
    end_ms: int = msgspec.field(name="end")
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal
    confirm: bool


class _KlineEvent(msgspec.Struct, gc=False):
    topic: str
    ts: int
    data: list[_Kline]


class _PublicTrade(msgspec.Struct, gc=False):
    id: str = msgspec.field(name="i")
    time_ms: int = msgspec.field(name="T")
    price: Decimal = msgspec.field(name="p")
    quantity: Decimal = msgspec.field(name="v")
    taker_side: str = msgspec.field(name="S")
    symbol: str = msgspec.field(name="s")


class _TradeEvent(msgspec.Struct, gc=False):
    ts: int
    data: list[_PublicTrade]


class _Topic(msgspec.Struct, gc=False):
    topic: str


class _History(msgspec.Struct):
    rows: list[tuple[str, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal]] = msgspec.field(name="list")


_HISTORY = msgspec.json.Decoder(_History)


class BybitWatchDecoder:
    """See ``venues.watching.WatchDecoder``. One message may hold many trades."""

    def __init__(self) -> None:
        self._topic = msgspec.json.Decoder(_Topic)
        self._klines = msgspec.json.Decoder(_KlineEvent)
        self._trades = msgspec.json.Decoder(_TradeEvent)
        self._others = BybitDecoder()

    def decode(self, frame: bytes, received_ns: int) -> Sequence[Watched]:
        try:
            topic = self._topic.decode(frame).topic
        except UNREADABLE:
            other = self._others.other(frame)
            return (other,) if isinstance(other, ControlReply) else ()
        try:
            if topic.startswith(_KLINE):
                return self._candles(self._klines.decode(frame), received_ns)
            if topic.startswith(_TRADE):
                event = self._trades.decode(frame)
                return [_trade(one, event.ts, received_ns) for one in event.data]
        except UNREADABLE as error:
            raise MalformedFrame(f"{topic[:60]}: {error}: {frame[:120]!r}") from None
        return ()

    def _candles(self, event: _KlineEvent, received_ns: int) -> list[Candle]:
        _, theirs, symbol = event.topic.split(".", 2)
        interval = _OURS.get(theirs)
        if interval is None:
            raise MalformedFrame(f"an interval that is none: {event.topic[:60]!r}")
        return [
            _candle(
                symbol,
                interval,
                (one.start_ms, one.end_ms),
                (one.open, one.high, one.low, one.close, one.volume, one.turnover),
                one.confirm,
                event.ts,
                received_ns,
            )
            for one in event.data
        ]


class BybitWatching(WatchingVenue):
    """Bybit spot, watched without keys. ``rest`` and the ledger behind it are those of ``market``."""

    name = NAME
    streams_per_connection = MAX_STREAMS_A_CONNECTION
    intervals = tuple(INTERVALS)
    candles_per_request = _MOST_CANDLES
    consecutive_trade_ids = False

    def __init__(self, market: BybitMarket, rest: RestSession) -> None:
        self._market, self._rest = market, rest

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
        """See ``WatchingVenue.candles``. Which candles the venue leaves out of more than it may give is not documented, so
        no more are asked for: from ``start_ms`` on, as long as ``limit`` candles take."""
        limit = min(limit, self.candles_per_request)
        parameters = {"category": CATEGORY, "symbol": symbol, "interval": INTERVALS[interval], "limit": str(limit)}
        if start_ms is not None:
            last_ms = start_ms + limit * INTERVALS_MS[interval] - 1
            end_ms = last_ms if end_ms is None else min(end_ms, last_ms)
            # months are shorter than their longest: all that may come, of which the first are wanted
            parameters |= {"start": str(start_ms), "limit": str(self.candles_per_request)}
        if end_ms is not None:
            parameters["end"] = str(end_ms)
        history = get(self._rest, KLINES_PATH, parameters, priority, stop, _HISTORY)
        try:
            found = _oldest_first(symbol, interval, history, time.time_ns())
        except MalformedFrame as error:
            raise VenueFailed(self._rest.base_url + KLINES_PATH, 200, f"unreadable: {error}") from error
        return found[:limit] if start_ms is not None else found[-limit:]

    def symbols(self, stop: threading.Event, priority: Priority) -> Mapping[str, Instrument]:
        return self._market.instruments(stop, priority)

    def candle_stream(self, symbol: str, interval: str) -> str:
        return f"{_KLINE}{INTERVALS[interval]}.{symbol}"

    def trade_stream(self, symbol: str) -> str:
        return f"{_TRADE}{symbol}"

    def listing_stream(self) -> str | None:
        """None: spot has no stream of all symbols."""
        return None

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        return self._market.stream_plan(name, streams)

    def decoder(self) -> BybitWatchDecoder:
        return BybitWatchDecoder()


def _oldest_first(symbol: str, interval: str, history: _History, received_ns: int) -> list[Candle]:
    """The answer comes newest first, and its newest candle may still be open. Raises MalformedFrame."""
    candles = []
    for number, (start, *figures) in enumerate(history.rows):
        if not (start.isascii() and start.isdigit() and len(start) < 16):
            raise MalformedFrame(f"klines of {symbol} {interval}: {start[:40]!r} is no time")
        times = int(start), close_time_ms(interval, int(start))
        candles.append(_candle(symbol, interval, times, figures, number > 0, 0, received_ns))
    candles.reverse()
    if any(after.open_time_ms <= before.open_time_ms for before, after in itertools.pairwise(candles)):
        raise MalformedFrame(f"klines of {symbol} {interval}: not in the order of time")
    return candles


def _candle(
    symbol: str,
    interval: str,
    times_ms: tuple[int, int],
    figures: Sequence[Decimal],
    closed: bool,
    event_time_ms: int,
    received_ns: int,
) -> Candle:
    """A candle, if it can be one. Raises MalformedFrame."""
    (opens, closes), (first, high, low, last, volume, quote_volume) = times_ms, figures
    # a NaN compares with nothing, so it is looked for first
    if (
        not all(number.is_finite() for number in figures)
        or not 0 < low <= min(first, last)
        or max(first, last) > high
        or volume < 0
        or closes < opens
    ):
        raise MalformedFrame(f"candle {opens} of {symbol} {interval}: {', '.join(map(str, figures))}")
    return Candle(
        NAME,
        symbol,
        interval,
        opens,
        closes,
        first,
        high,
        low,
        last,
        volume,
        quote_volume,
        0,  # the venue does not count trades
        closed,
        event_time_ms,
        received_ns,
    )


def _trade(one: _PublicTrade, ts: int, received_ns: int) -> Trade:
    if not (one.price.is_finite() and one.price > 0 and one.quantity.is_finite()):
        raise MalformedFrame(f"trade {one.id[:40]} of {one.symbol}: price {one.price}")
    buyer_is_maker = side_of(one.taker_side) is OrderSide.SELL
    number = execution_number(one.id)
    return Trade(NAME, one.symbol, number, one.price, one.quantity, buyer_is_maker, one.time_ms, ts, received_ns)


__all__ = ["INTERVALS", "BybitWatchDecoder", "BybitWatching"]
