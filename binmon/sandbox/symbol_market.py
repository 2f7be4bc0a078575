"""One symbol at work: matching engine, order flow, aggregated book changes, trades, candles and their streams.

Everything is guarded by one lock, :attr:`SymbolMarket.lock`; events are published while it is held, so the order on
the wire is the order of the book. An update id is only ever visible after the whole action that produced it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from . import payloads
from .candles import INTERVALS, Candle, CandleStore, make_history
from .flow import OrderFlow
from .hub import StreamHub
from .matching import LevelChange, MatchingEngine, Side, Trade
from .payloads import AggregateTrade, DayStatistics, Top
from .symbols import Instrument

MAX_DEPTH = 5000
"""Levels a side that the venue shows at most (reference: Binance Spot REST, depth)."""
_DAY_MS = 86_400_000
_PARTIAL_DEPTHS = (5, 10, 20)


class DiffAggregation:
    """Book changes since the last event of one depth stream: per level only the newest quantity."""

    def __init__(self) -> None:
        self.first_id = 0
        self.last_id = 0
        self._levels: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}

    def add(self, change: LevelChange) -> None:
        """Take one changed level."""
        if not self.first_id:
            self.first_id = change.update_id
        self.last_id = change.update_id
        self._levels[change.side][change.price] = change.quantity

    def clear(self) -> None:
        """Start the next event."""
        self.first_id = 0
        for levels in self._levels.values():
            levels.clear()

    def side(self, side: Side) -> list[tuple[int, int]]:
        """Changed levels of a side, best first."""
        return sorted(self._levels[side].items(), reverse=side is Side.BUY)


class SymbolMarket:
    """The running market of one symbol."""

    def __init__(self, instrument: Instrument, hub: StreamHub, seed: str, now_us: int, fresh: bool = False) -> None:
        self.instrument = instrument
        self.lock = threading.RLock()
        self._hub = hub
        self._status = instrument.status
        self._stream = instrument.symbol.lower()
        self._names = {
            kind: f"{self._stream}@{kind}"
            for kind in (
                "depth", "depth@100ms", "trade", "aggTrade", "bookTicker", "miniTicker", "ticker", "avgPrice",
                *(f"depth{count}" for count in _PARTIAL_DEPTHS), *(f"depth{count}@100ms" for count in _PARTIAL_DEPTHS),
            )
        }  # fmt: skip
        self._kline_names = {interval: f"{self._stream}@kline_{interval}" for interval in INTERVALS}
        self.start(seed, now_us, fresh)

    def start(self, seed: str, now_us: int, fresh: bool) -> None:
        """Build the market anew. ``fresh`` is a venue without a past: ids start at 1 and there is no history."""
        with self.lock:
            instrument = self.instrument
            first_id = 1 if fresh else 10_000_000 + int.from_bytes(instrument.symbol.encode()[:4], "big") * 20
            first_trade = 1 if fresh or not instrument.with_history else 1_000_000_001
            self.engine = MatchingEngine(first_id, first_trade, 1)
            self.flow = OrderFlow(self.engine, instrument, seed)
            self.flow.fill_ladder(now_us)
            self.engine.drain()
            self.engine.update_id = first_id  # The initial ladder is no history of changes.
            self._fast, self._slow = DiffAggregation(), DiffAggregation()
            self._trades: deque[Trade] = deque(maxlen=1000)
            self._aggregates: deque[AggregateTrade] = deque(maxlen=1000)
            self._next_aggregate_id = first_trade
            self._top = self.top()
            self._history_seed = None if fresh or not instrument.with_history else f"{seed}:history"
            self._history_end_ms = now_us // 1000
            self._first_trade_id = first_trade
            self._store: CandleStore | None = None
            self._live_before_store: list[Trade] = []
            self._day_cache: tuple[int, list[Candle], Candle] | None = None
            self._ticker_changed = False
            self._kline_open: dict[str, int] = {}

    # State ------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """Symbol status as in exchangeInfo."""
        return self._status

    def set_status(self, status: str) -> None:
        """Change the status; from then on the streams follow the rules of that status."""
        with self.lock:
            self._status = status

    @property
    def active(self) -> bool:
        """Whether the symbol produces market data at all."""
        return self._status in ("TRADING", "HALT", "CANCEL_ONLY")

    def top(self) -> Top:
        """Best bid and ask now."""
        bid, ask = self.engine.best(Side.BUY) or (0, 0), self.engine.best(Side.SELL) or (0, 0)
        return Top(bid[0], bid[1], ask[0], ask[1])

    def delay_s(self) -> float:
        """Seconds until the next action of the order flow."""
        if self._status == "CANCEL_ONLY":
            return max(1.0, self.flow.delay_s())
        return self.flow.delay_s()

    # Actions ----------------------------------------------------------------------------------------------------

    def act(self, now_us: int) -> None:
        """One action of the order flow, as far as the status allows it."""
        with self.lock:
            if self._status == "TRADING":
                self.flow.step(now_us)
            elif self._status == "HALT":
                self.flow.step(now_us, trading=False)
            elif self._status == "CANCEL_ONLY":
                self.flow.cancel_step(now_us)
            else:
                return
            self.settle(now_us)

    def move_to(self, price: int, now_us: int) -> None:
        """Move the market to a price in ticks."""
        with self.lock:
            self.flow.move_to(price, now_us, trading=self._status == "TRADING")
            self.settle(now_us)

    def settle(self, now_us: int) -> None:
        """Publish what the engine has done since the last call. The caller holds the lock."""
        activity = self.engine.drain()
        for change in activity.changes:
            self._fast.add(change)
            self._slow.add(change)
        if activity.trades:
            self._record_trades(activity.trades, now_us)
        if not activity.changes:
            return
        top = self.top()
        if top != self._top:
            self._top = top
            name = self._names["bookTicker"]
            if self._hub.wanted(name):
                text = payloads.book_ticker_json(self.instrument, self.engine.update_id, top)
                self._hub.publish(name, self.instrument.symbol, lambda micro: text)

    def _record_trades(self, trades: list[Trade], now_us: int) -> None:
        symbol, instrument = self.instrument.symbol, self.instrument
        self._ticker_changed = True
        self._trades.extend(trades)
        for trade in trades:
            if self._store is None:
                self._live_before_store.append(trade)
            else:
                self._store.add(trade)
            if self._hub.wanted(self._names["trade"]):

                def print_trade(micro: bool, trade: Trade = trade) -> str:
                    return payloads.trade_json(instrument, now_us, trade, micro)

                self._hub.publish(self._names["trade"], symbol, print_trade)
        if len(self._live_before_store) > 5000:
            self.candles()
        for aggregate in self._aggregate(trades):
            self._aggregates.append(aggregate)
            if self._hub.wanted(self._names["aggTrade"]):

                def print_aggregate(micro: bool, aggregate: AggregateTrade = aggregate) -> str:
                    return payloads.aggregate_trade_json(instrument, now_us, aggregate, micro)

                self._hub.publish(self._names["aggTrade"], symbol, print_aggregate)

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

    # Periodic streams -------------------------------------------------------------------------------------------

    def push_fast(self, now_us: int) -> None:
        """The 100 ms streams."""
        if self._fast.first_id:
            with self.lock:
                self._push_depth(self._fast, "@100ms", now_us)

    def push_slow(self, now_us: int, second: int) -> None:
        """The 1 s streams; ``second`` counts the calls, as some klines come every other time."""
        with self.lock:
            self._push_depth(self._slow, "", now_us)
            if not self.active:
                return
            if self._status != "CANCEL_ONLY":
                self._push_klines(now_us, second)
            self._push_tickers(now_us)

    def _push_depth(self, aggregation: DiffAggregation, suffix: str, now_us: int) -> None:
        if not aggregation.first_id:
            return
        instrument, symbol = self.instrument, self.instrument.symbol
        name = self._names[f"depth{suffix}"]
        if self._hub.wanted(name):
            first, last = aggregation.first_id, aggregation.last_id
            bids, asks = aggregation.side(Side.BUY), aggregation.side(Side.SELL)

            def print_update(micro: bool) -> str:
                event_time = now_us if micro else now_us // 1000
                return payloads.depth_update_json(instrument, event_time, first, last, bids, asks)

            self._hub.publish(name, symbol, print_update)
        aggregation.clear()
        for count in _PARTIAL_DEPTHS:
            name = self._names[f"depth{count}{suffix}"]
            if self._hub.wanted(name):
                text = self.book_json(count)
                self._hub.publish(name, symbol, lambda micro, text=text: text)  # type: ignore[misc]

    def _push_klines(self, now_us: int, second: int) -> None:
        for interval, name in self._kline_names.items():
            if not self._hub.wanted(name):
                self._kline_open.pop(interval, None)
                continue
            series = self.candles().series(interval, now_us // 1000)
            current = series.current
            if current is None:
                continue
            known = self._kline_open.get(interval)
            if known is not None and known != current.open_ms:
                for candle in [one for one in series.candles if known <= one.open_ms < current.open_ms]:
                    self._publish_kline(name, interval, candle, True, now_us)
            self._kline_open[interval] = current.open_ms
            if interval == "1s" or second % 2 == 0:
                self._publish_kline(name, interval, current, False, now_us)

    def _publish_kline(self, name: str, interval: str, candle: Candle, closed: bool, now_us: int) -> None:
        text, micro_text = (
            payloads.kline_json(self.instrument, now_us, interval, candle, closed, micro) for micro in (False, True)
        )
        self._hub.publish(name, self.instrument.symbol, lambda micro: micro_text if micro else text)

    def _push_tickers(self, now_us: int) -> None:
        instrument, symbol, names = self.instrument, self.instrument.symbol, self._names
        if not any(self._hub.wanted(names[kind]) for kind in ("miniTicker", "ticker", "avgPrice")):
            return
        day, top = self.day(now_us), self.top()
        self._hub.publish(
            names["miniTicker"],
            symbol,
            lambda micro: payloads.mini_ticker_json(instrument, now_us, day, micro),
        )
        self._hub.publish(
            names["ticker"], symbol, lambda micro: payloads.ticker_json(instrument, now_us, day, top, micro)
        )
        average = self.average_price(now_us)
        if average is not None:
            price, trade_us = average
            self._hub.publish(
                names["avgPrice"],
                symbol,
                lambda micro: payloads.average_price_json(instrument, now_us, price, trade_us, micro),
            )

    def take_ticker_change(self) -> bool:
        """Whether the ticker has changed since the last call (for !miniTicker@arr)."""
        with self.lock:
            changed, self._ticker_changed = self._ticker_changed, False
            return changed and self.active

    # Reading ----------------------------------------------------------------------------------------------------

    def book_json(self, limit: int) -> str:
        """The live book as REST depth prints it, at most :data:`MAX_DEPTH` levels a side."""
        limit = min(limit, MAX_DEPTH)
        with self.lock:
            update_id = self.engine.update_id
            bids, asks = self.engine.depth(Side.BUY, limit), self.engine.depth(Side.SELL, limit)
        return payloads.book_json(self.instrument, update_id, bids, asks)

    def trades(self) -> list[Trade]:
        """The last trades, oldest first."""
        with self.lock:
            return list(self._trades)

    def aggregates(self) -> list[AggregateTrade]:
        """The last aggregate trades, oldest first."""
        with self.lock:
            return list(self._aggregates)

    def candles(self) -> CandleStore:
        """The candles; history is made when first asked for. The caller holds the lock."""
        if self._store is None:
            history: list[Candle] = []
            if self._history_seed is not None:
                history = make_history(
                    self._history_seed,
                    self._history_end_ms,
                    self.instrument.start_price,
                    self.instrument.typical_lots,
                    self._first_trade_id - 1,
                )
            self._store = CandleStore(history)
            for trade in self._live_before_store:
                self._store.add(trade)
            self._live_before_store.clear()
        return self._store

    def last_price(self) -> int | None:
        """Price of the last trade in ticks; ``None`` when there never was one."""
        with self.lock:
            if self._trades:
                return self._trades[-1].price
            return self.instrument.start_price if self._history_seed is not None else None

    def average_price(self, now_us: int) -> tuple[int, int] | None:
        """Volume-weighted price of the last 5 minutes in ticks, and the time of the last trade in µs.

        Without a trade in the window it is the last price; ``None`` when there never was a trade.
        """
        with self.lock:
            last = self.last_price()
            if last is None:
                return None
            trade_us = self._trades[-1].time_us if self._trades else self._history_end_ms * 1000
            minutes = self.candles().rows("1m", now_us // 1000 - 300_000, None, 10, now_us // 1000)
            volume = sum(candle.volume for candle in minutes)
            return (sum(candle.quote for candle in minutes) // volume if volume else last), trade_us

    def day(self, now_us: int) -> DayStatistics:
        """The rolling 24 hours, exact to the minute at its far end; all zero when there never was a trade."""
        with self.lock:
            now_ms = now_us // 1000
            current = self.candles().series("1m", now_ms).current
            if current is None:
                return DayStatistics(now_us - _DAY_MS * 1000, now_us, 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0)
            total = self._full_minutes(current.open_ms, now_ms)
            window = Candle(total.open_ms, total.open, total.high, total.low, total.close)
            window.absorb(total)
            window.absorb(current)
            last = self._trades[-1] if self._trades else None
            return DayStatistics(
                open_us=now_us - _DAY_MS * 1000,
                close_us=now_us,
                open=window.open,
                high=window.high,
                low=window.low,
                last=self.last_price() or window.close,
                previous_close=self._day_cache[1][0].close if self._day_cache else window.open,
                last_quantity=last.quantity if last is not None else self.instrument.typical_lots,
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
