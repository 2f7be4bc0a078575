"""Candles (klines) built from trades, with a seeded history before the start.

The finest history is one base list of candles whose resolution coarsens with age (days, hours, minutes, seconds) and
joins without a hole or an overlap; live trades continue it second by second. Every interval is an aggregation of that
one base, so all intervals agree with each other and with the live stream. An interval is built when somebody first
asks for it.
"""

from __future__ import annotations

import calendar
import random
import time
from collections import deque
from dataclasses import dataclass, replace
from itertools import dropwhile

from .matching import Trade

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000

INTERVALS: dict[str, int] = {
    "1s": _SECOND,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
    "1M": 0,
}
"""Interval names and their length in milliseconds; a month has no fixed length (reference: klines)."""

_MONDAY = 4 * _DAY
"""The first Monday after the epoch; weeks start on Mondays."""
_KEPT = 1_600
"""Candles kept of each interval."""
_SECONDS_KEPT = 90_000


def open_time_ms(interval: str, time_ms: int) -> int:
    """Open time of the candle that a moment falls into."""
    if interval == "1M":
        moment = time.gmtime(time_ms // 1000)
        return calendar.timegm((moment.tm_year, moment.tm_mon, 1, 0, 0, 0)) * 1000
    length = INTERVALS[interval]
    origin = _MONDAY if interval == "1w" else 0
    return (time_ms - origin) // length * length + origin


def next_open_ms(interval: str, open_ms: int) -> int:
    """Open time of the following candle."""
    if interval == "1M":
        moment = time.gmtime(open_ms // 1000)
        year, month = (moment.tm_year + 1, 1) if moment.tm_mon == 12 else (moment.tm_year, moment.tm_mon + 1)
        return calendar.timegm((year, month, 1, 0, 0, 0)) * 1000
    return open_ms + INTERVALS[interval]


@dataclass(slots=True)
class Candle:
    """One candle; prices in ticks, volumes in lots, quote volumes in ticks times lots.

    ``first_trade_id`` and ``last_trade_id`` are -1 while there was no trade.
    """

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    quote: int = 0
    trades: int = 0
    taker_volume: int = 0
    taker_quote: int = 0
    first_trade_id: int = -1
    last_trade_id: int = -1

    def absorb(self, later: Candle) -> None:
        """Add a finer candle that follows everything this one holds."""
        if not later.trades:
            return
        if not self.trades:
            self.open, self.high, self.low = later.open, later.high, later.low
            self.first_trade_id = later.first_trade_id
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.quote += later.quote
        self.trades += later.trades
        self.taker_volume += later.taker_volume
        self.taker_quote += later.taker_quote
        self.last_trade_id = later.last_trade_id


def candle_of(trade: Trade) -> Candle:
    """A candle of a single trade, opening at the trade's second."""
    quote = trade.price * trade.quantity
    taker_bought = not trade.buyer_is_maker
    return Candle(
        open_ms=trade.time_us // 1_000_000 * 1000,
        open=trade.price,
        high=trade.price,
        low=trade.price,
        close=trade.price,
        volume=trade.quantity,
        quote=quote,
        trades=1,
        taker_volume=trade.quantity if taker_bought else 0,
        taker_quote=quote if taker_bought else 0,
        first_trade_id=trade.trade_id,
        last_trade_id=trade.trade_id,
    )


class CandleSeries:
    """The candles of one interval, oldest first, the last one open. Times without trades give flat candles."""

    def __init__(self, interval: str) -> None:
        self.interval = interval
        self.candles: deque[Candle] = deque(maxlen=_KEPT)

    @property
    def current(self) -> Candle | None:
        """The open candle; ``None`` before the first trade."""
        return self.candles[-1] if self.candles else None

    def add(self, piece: Candle) -> None:
        """Add a finer candle (or a single trade)."""
        opened = open_time_ms(self.interval, piece.open_ms)
        if not self.candles:
            self.candles.append(replace(piece, open_ms=opened))
            return
        self.roll(piece.open_ms)
        self.candles[-1].absorb(piece)

    def roll(self, now_ms: int) -> None:
        """Close candles whose time is over and open the one of now."""
        if not self.candles:
            return
        target = open_time_ms(self.interval, now_ms)
        last = self.candles[-1]
        opened = next_open_ms(self.interval, last.open_ms)
        length = INTERVALS[self.interval]
        if length and target - opened > length * _KEPT:
            # Everything kept would be pushed out anyway, so skip what nobody can see.
            opened = target - length * _KEPT
        while opened <= target:
            price = last.close
            self.candles.append(Candle(opened, price, price, price, price))
            opened = next_open_ms(self.interval, opened)


class CandleStore:
    """All candles of one symbol."""

    def __init__(self, history: list[Candle]) -> None:
        self._history = history
        self._live: deque[Candle] = deque(maxlen=_SECONDS_KEPT)
        self._series: dict[str, CandleSeries] = {}

    def add(self, trade: Trade) -> None:
        """Take a live trade."""
        piece = candle_of(trade)
        if self._live and self._live[-1].open_ms >= piece.open_ms:
            self._live[-1].absorb(piece)
        else:
            self._live.append(replace(piece))
        for series in self._series.values():
            series.add(piece)

    def series(self, interval: str, now_ms: int) -> CandleSeries:
        """The series of an interval, rolled to now. Raises ``KeyError`` for an unknown interval."""
        series = self._series.get(interval)
        if series is None:
            series = CandleSeries(interval)
            length = INTERVALS[interval] or _DAY
            for resolution, piece in _resolved(self._history):
                if resolution <= length:
                    series.add(piece)
            for piece in self._live:
                series.add(piece)
            self._series[interval] = series
        series.roll(now_ms)
        return series

    def rows(self, interval: str, start_ms: int | None, end_ms: int | None, limit: int, now_ms: int) -> list[Candle]:
        """Candles by open time, oldest first (reference: Binance Spot REST, time ranges)."""
        candles = list(self.series(interval, now_ms).candles)
        if end_ms is not None:
            candles = [candle for candle in candles if candle.open_ms <= end_ms]
        if start_ms is None:
            return candles[-limit:]
        return list(dropwhile(lambda candle: candle.open_ms < start_ms, candles))[:limit]

    def last_price(self) -> int | None:
        """Price of the last trade in ticks, history included; ``None`` without any trade."""
        if self._live:
            return self._live[-1].close
        return self._history[-1].close if self._history else None


def _resolved(history: list[Candle]) -> list[tuple[int, Candle]]:
    """History with the length of each candle, which is the distance to its successor."""
    pairs = []
    for index, candle in enumerate(history):
        following = history[index + 1].open_ms if index + 1 < len(history) else candle.open_ms + _SECOND
        pairs.append((following - candle.open_ms, candle))
    return pairs


def make_history(seed: str, end_ms: int, close: int, typical_lots: int, last_trade_id: int) -> list[Candle]:
    """A random history that ends at ``end_ms`` with price ``close`` (ticks), oldest candle first.

    It reaches back 20 minutes in seconds, then 26 hours in minutes, 60 days in hours and 3 years in days. Trade ids
    count back from ``last_trade_id`` without a hole.
    """
    chance = random.Random(seed)
    boundaries = []
    upper = end_ms // _SECOND * _SECOND
    for length, coarser, span in (
        (_SECOND, _MINUTE, 20 * _MINUTE),
        (_MINUTE, _HOUR, 26 * _HOUR),
        (_HOUR, _DAY, 60 * _DAY),
        (_DAY, _DAY, 1_095 * _DAY),
    ):
        lower = (upper - span) // coarser * coarser
        boundaries.append((length, lower, upper))
        upper = lower
    candles: list[Candle] = []
    price, trade_id = close, last_trade_id
    for length, lower, upper in boundaries:
        seconds = length / 1000
        swing = close * 4e-5 * seconds**0.5
        for open_ms in range(upper - length, lower - 1, -length):
            opened = max(2, round(price + chance.gauss(0.0, swing) - 0.01 * (price - close)))
            high = max(opened, price) + int(abs(chance.gauss(0.0, swing * 0.4)))
            low = max(1, min(opened, price) - int(abs(chance.gauss(0.0, swing * 0.4))))
            trades = max(1, round(seconds**0.8 * chance.uniform(0.5, 2.0)))
            volume = trades * max(1, round(typical_lots * chance.uniform(0.2, 0.8)))
            quote = volume * ((opened + price) // 2)
            bought = int(volume * chance.uniform(0.3, 0.7))
            candles.append(
                Candle(
                    open_ms,
                    opened,
                    high,
                    low,
                    price,
                    volume,
                    quote,
                    trades,
                    bought,
                    bought * ((opened + price) // 2),
                    trade_id - trades + 1,
                    trade_id,
                )
            )
            price, trade_id = opened, trade_id - trades
    candles.reverse()
    return candles
