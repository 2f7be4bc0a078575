"""One symbol at work: matching engine, order flow, aggregated book changes, trades, candles and their streams.

Everything is guarded by one lock, :attr:`SymbolMarket.lock`; events are published while it is held, so the order on
the wire is the order of the book. An update id is only ever visible after the whole action that produced it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from . import payloads
from .aggregation import DiffAggregation
from .candles import INTERVALS, Candle, CandleStore
from .flow import OWNER as FLOW
from .flow import OrderFlow
from .hub import StreamHub
from .market_followers import Owners, Watcher
from .matching import MatchingEngine, Side, Trade
from .payloads import AggregateTrade, DayStatistics, Top
from .symbols import Instrument
from .trade_history import TradeHistory

MAX_DEPTH = 5000
"""Levels a side that the venue shows at most (reference: Binance Spot REST, depth)."""
_PARTIAL_DEPTHS = (5, 10, 20)


class SymbolMarket:
    """The market of one symbol.

    It sleeps until somebody asks for its book: most symbols of a whole market are never looked at. Asleep it has no
    book and nothing happens; ``on_wake`` is called once, when the book is built.
    """

    def __init__(
        self,
        instrument: Instrument,
        hub: StreamHub,
        seed: str,
        now_us: int,
        fresh: bool = False,
        on_wake: Callable[[SymbolMarket], None] | None = None,
    ) -> None:
        self.instrument = instrument
        self.lock = threading.RLock()
        self._hub = hub
        self._on_wake = on_wake
        self._engine: MatchingEngine | None = None
        self._flow: OrderFlow | None = None
        self._watch_lock = threading.Lock()  # guards changes of the watchers
        self._watchers: tuple[Watcher, ...] = ()
        self.owners: Owners | None = None
        """Told what happens to the orders of others than the flow; set under :attr:`lock` before the first of them."""
        self.on_trades: Callable[[list[Trade]], None] | None = None
        """Told the trades of each action, before :attr:`owners` are; :attr:`lock` is held."""
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
            self._seed, self._start_us = seed, now_us
            self._first_id = 1 if fresh else 10_000_000 + int.from_bytes(instrument.symbol.encode()[:4], "big") * 20
            first_trade = 1 if fresh or not instrument.with_history else 1_000_000_001
            self._fast, self._slow = DiffAggregation(), DiffAggregation()
            self._history = TradeHistory(instrument, seed, now_us, first_trade, instrument.with_history and not fresh)
            self._first_trade_id = first_trade
            self._top = Top(0, 0, 0, 0)
            self._ticker_changed = False
            self._kline_open: dict[str, int] = {}
            if self.awake:
                self._build()
                for watcher in self._watchers:
                    watcher.restart()
            if self.owners is not None:
                self.owners.restarted(self)

    def _build(self) -> tuple[MatchingEngine, OrderFlow]:
        """Make the book. The lock is held."""
        engine = MatchingEngine(self._first_id, self._first_trade_id, 1)
        flow = OrderFlow(engine, self.instrument, self._seed)
        flow.fill_ladder(self._start_us)
        engine.drain()
        engine.update_id = self._first_id  # The initial ladder is no history of changes.
        # Only now: others look at the book without the lock to see whether there is one.
        self._flow, self._engine = flow, engine
        self._top = self.top()
        return engine, flow

    @property
    def awake(self) -> bool:
        """Whether the book exists."""
        return self._engine is not None

    def wake(self) -> tuple[MatchingEngine, OrderFlow]:
        """Build the book if it does not exist yet; from then on the market moves."""
        with self.lock:
            if self._engine is not None and self._flow is not None:
                return self._engine, self._flow
            built = self._build()
        if self._on_wake is not None:
            self._on_wake(self)
        return built

    @property
    def engine(self) -> MatchingEngine:
        """The book; it is built by the first look at it."""
        engine = self._engine
        return engine if engine is not None else self.wake()[0]

    @property
    def flow(self) -> OrderFlow:
        """The order flow of an awake market."""
        flow = self._flow
        return flow if flow is not None else self.wake()[1]

    def watch(self, watcher: Watcher) -> None:
        """Tell someone about every change from now on."""
        with self._watch_lock:
            self._watchers = (*self._watchers, watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop telling; takes no lock of the symbol, so that it may be called from anywhere."""
        with self._watch_lock:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

    # State ------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """Symbol status as in exchangeInfo."""
        return self._status

    def set_status(self, status: str) -> None:
        """Change the status; from then on the streams follow the rules of that status."""
        with self.lock:
            self._status = status

    def retire(self) -> None:
        """Be delisted: nothing happens any more, and what had not been sent never is."""
        with self.lock:
            self._status = "BREAK"
            self._fast.clear()
            self._slow.clear()
            if self.owners is not None:
                self.owners.retired(self)

    @property
    def active(self) -> bool:
        """Whether the symbol produces market data at all."""
        return self._status in ("TRADING", "HALT", "CANCEL_ONLY")

    @property
    def update_id(self) -> int:
        """Id of the last change of the book, also of one that nobody has asked for yet."""
        engine = self._engine
        return engine.update_id if engine is not None else self._first_id

    @property
    def last_trade_id(self) -> int:
        """Id of the last trade."""
        engine = self._engine
        return engine.last_trade_id if engine is not None else self._first_trade_id - 1

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
        for watcher in self._watchers:
            watcher.take(activity.changes)
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
        aggregates = self._history.add(trades)
        for trade in trades:
            if self._hub.wanted(self._names["trade"]):

                def print_trade(micro: bool, trade: Trade = trade) -> str:
                    return payloads.trade_json(instrument, now_us, trade, micro)

                self._hub.publish(self._names["trade"], symbol, print_trade)
        for aggregate in aggregates:
            if self._hub.wanted(self._names["aggTrade"]):

                def print_aggregate(micro: bool, aggregate: AggregateTrade = aggregate) -> str:
                    return payloads.aggregate_trade_json(instrument, now_us, aggregate, micro)

                self._hub.publish(self._names["aggTrade"], symbol, print_aggregate)
        if self.on_trades is not None:
            self.on_trades(trades)
        if self.owners is not None and any(trade.maker_owner != FLOW or trade.taker_owner != FLOW for trade in trades):
            self.owners.traded(self, trades)

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

    def print_book(self, update_id: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> str:
        """Some state of this symbol's book as REST depth prints it."""
        return payloads.book_json(self.instrument, update_id, bids, asks)

    def trades(self) -> list[Trade]:
        """The last trades, oldest first."""
        with self.lock:
            return list(self._history.trades)

    def aggregates(self) -> list[AggregateTrade]:
        """The last aggregate trades, oldest first."""
        with self.lock:
            return list(self._history.aggregates)

    def candles(self) -> CandleStore:
        """The candles; history is made when first asked for. The caller holds the lock."""
        return self._history.candles()

    def last_price(self) -> int | None:
        """Price of the last trade in ticks; ``None`` when there never was one."""
        with self.lock:
            return self._history.last_price()

    def last_price_unlocked(self) -> int | None:
        """The same, perhaps a trade older: safe where another symbol's lock is held already."""
        return self._history.last_price()

    def average_price(self, now_us: int) -> tuple[int, int] | None:
        """Volume-weighted price of the last 5 minutes in ticks, and the time of the last trade in µs.

        Without a trade in the window it is the last price; ``None`` when there never was a trade.
        """
        with self.lock:
            return self._history.average_price(now_us)

    def day(self, now_us: int) -> DayStatistics:
        """The rolling 24 hours, exact to the minute at its far end; all zero when there never was a trade."""
        with self.lock:
            return self._history.day(now_us)
