"""What one symbol has traded: the last trades, their aggregates, candles, and the statistics of a day.

Not thread-safe: the market of the symbol serialises access.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .candles import Candle, CandleStore, make_history
from .matching import Trade
from .payloads import AggregateTrade, DayStatistics
from .symbols import Instrument

_DAY_MS = 86_400_000
_KEPT = 1000
_LONGEST_WITHOUT_CANDLES = 5000
"""Trades that are kept aside while nobody has asked for a candle."""


class TradeHistory:
    """Trades of one symbol since the start, over a made-up past where there is one.

    Times are microseconds since the epoch, prices ticks, quantities lots. ``first_trade_id`` is the id of the first
    trade to come; ``with_past`` makes a history before it out of ``seed``.
    """

    def __init__(self, instrument: Instrument, seed: str, now_us: int, first_trade_id: int, with_past: bool) -> None:
        self.trades: deque[Trade] = deque(maxlen=_KEPT)
        """The last trades, oldest first."""
        self.aggregates: deque[AggregateTrade] = deque(maxlen=_KEPT)
        """The last aggregate trades, oldest first."""
        self._instrument = instrument
        self._next_aggregate_id = self._first_trade_id = first_trade_id
        self._history_seed = f"{seed}:history" if with_past else None
        self._history_end_ms = now_us // 1000
        self._store: CandleStore | None = None
        self._live_before_store: list[Trade] = []
        self._day_cache: tuple[int, list[Candle], Candle] | None = None

    def add(self, trades: list[Trade]) -> list[AggregateTrade]:
        """Take the trades of one action; returns their aggregates."""
        self.trades.extend(trades)
        if self._store is None:
            self._live_before_store.extend(trades)
            if len(self._live_before_store) > _LONGEST_WITHOUT_CANDLES:
                self.candles()
        else:
            for trade in trades:
                self._store.add(trade)
        merged = self._aggregate(trades)
        self.aggregates.extend(merged)
        return merged

    def candles(self) -> CandleStore:
        """The candles; history is made when first asked for."""
        if self._store is None:
            history: list[Candle] = []
            if self._history_seed is not None:
                history = make_history(
                    self._history_seed,
                    self._history_end_ms,
                    self._instrument.start_price,
                    self._instrument.typical_lots,
                    self._first_trade_id - 1,
                )
            self._store = CandleStore(history)
            for trade in self._live_before_store:
                self._store.add(trade)
            self._live_before_store.clear()
        return self._store

    def last_price(self) -> int | None:
        """Price of the last trade in ticks; ``None`` when there never was one."""
        if self.trades:
            return self.trades[-1].price
        return self._instrument.start_price if self._history_seed is not None else None

    def average_price(self, now_us: int) -> tuple[int, int] | None:
        """Volume-weighted price of the last 5 minutes in ticks, and the time of the last trade in µs.

        Without a trade in the window it is the last price; ``None`` when there never was a trade.
        """
        last = self.last_price()
        if last is None:
            return None
        trade_us = self.trades[-1].time_us if self.trades else self._history_end_ms * 1000
        minutes = self.candles().rows("1m", now_us // 1000 - 300_000, None, 10, now_us // 1000)
        volume = sum(candle.volume for candle in minutes)
        return (sum(candle.quote for candle in minutes) // volume if volume else last), trade_us

    def day(self, now_us: int) -> DayStatistics:
        """The rolling 24 hours, exact to the minute at its far end; all zero when there never was a trade."""
        now_ms = now_us // 1000
        current = self.candles().series("1m", now_ms).current
        if current is None:
            return DayStatistics(now_us - _DAY_MS * 1000, now_us, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0)
        total = self._full_minutes(current.open_ms, now_ms)
        window = Candle(total.open_ms, total.open, total.high, total.low, total.close)
        window.absorb(total)
        window.absorb(current)
        last = self.trades[-1] if self.trades else None
        return DayStatistics(
            open_us=now_us - _DAY_MS * 1000,
            close_us=now_us,
            open=window.open,
            high=window.high,
            low=window.low,
            last=self.last_price() or window.close,
            previous_close=self._day_cache[1][0].close if self._day_cache else window.open,
            last_quantity=last.quantity if last is not None else self._instrument.typical_lots,
            volume=window.volume,
            quote=window.quote,
            first_trade_id=window.first_trade_id,
            last_trade_id=window.last_trade_id,
            trades=window.trades,
        )

    def _full_minutes(self, minute_ms: int, now_ms: int) -> Candle:
        """Sum of the whole minutes of the last 24 hours before the current one, kept until the minute changes."""
        if self._day_cache is None or self._day_cache[0] != minute_ms:
            candles = list(self.candles().series("1m", now_ms).candles)
            inside = [one for one in candles if now_ms - _DAY_MS <= one.open_ms < minute_ms] or [candles[-1]]
            before = [one for one in candles if one.open_ms < inside[0].open_ms][-1:] or inside[:1]
            first = inside[0]
            total = Candle(first.open_ms, first.open, first.high, first.low, first.close)
            for candle in inside:
                if candle.open_ms < minute_ms:
                    total.absorb(candle)
            self._day_cache = (minute_ms, before, total)
        return self._day_cache[2]

    def _aggregate(self, trades: Iterable[Trade]) -> list[AggregateTrade]:
        """Merge the trades of one taker order at one price (reference: aggTrades)."""
        groups: dict[tuple[int, int], list[Trade]] = {}
        for trade in trades:
            groups.setdefault((trade.taker_order_id, trade.price), []).append(trade)
        merged = []
        for group in groups.values():
            first, last = group[0], group[-1]
            quantity = sum(trade.quantity for trade in group)
            merged.append(
                AggregateTrade(
                    self._next_aggregate_id,
                    first.price,
                    quantity,
                    first.trade_id,
                    last.trade_id,
                    first.time_us,
                    first.buyer_is_maker,
                )
            )
            self._next_aggregate_id += 1
        return merged
