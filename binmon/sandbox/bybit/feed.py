"""The public topics of the Bybit market: who joins what, and what is sent when (reference: Bybit v5, 4.3 to 4.7).

Everything about a symbol is published while its lock is held, so that the snapshot a subscriber gets and the messages
that follow belong together. The market's scheduler calls :meth:`Feed.tick` every 10 ms.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..clock import VenueClock
from ..hub import Message, StreamHub, Subscriber
from ..market import Market, UnknownSymbol
from ..matching import LevelChange, Side, Trade
from ..symbol_market import SymbolMarket
from . import prints
from .books import DEPTHS, BookStream, Frame
from .instruments import FIRST_SYMBOL_ID, Listing, listing
from .topics import KLINES, Topic, book_topic, parse

_EVERY = {1: 1, 50: 2, 200: 10, 1000: 20}
"""Steps of 10 ms between the messages of a depth stream."""
_TICKER_EVERY = 5
_KLINE_EVERY = 100
REST_DEPTH = 1000
"""REST shows the state and the ids of this stream."""


class Tape:
    """One symbol as its topics see it."""

    def __init__(self, market: SymbolMarket, symbol: Listing, hub: StreamHub, clock: VenueClock) -> None:
        self.market = market
        self.listing = symbol
        self.changed_us = clock.now_us()
        """When the book changed last."""
        self.traded_us = self.changed_us
        self.ticker_changed = True
        self.kline_open: dict[str, int] = {}
        self._hub = hub
        self._clock = clock
        self._trade_topic = f"publicTrade.{symbol.symbol}"
        # Each depth counts for itself, from somewhere else.
        self.books = {depth: BookStream(depth, 500_000 + 97 * depth) for depth in DEPTHS}
        self.seq_of_trade: dict[int, int] = {}
        market.watch(self)
        market.on_trades = self.traded

    def take(self, changes: list[LevelChange]) -> None:
        """The book has changed."""
        self.changed_us = self._clock.now_us()

    def restart(self) -> None:
        """The book has been built anew."""
        self.changed_us = self._clock.now_us()
        for stream in self.books.values():
            stream.restart()

    def traded(self, trades: list[Trade]) -> None:
        """Tell trades at once."""
        self.traded_us = trades[-1].time_us
        self.ticker_changed = True
        seq, now_us = self.market.update_id, self._clock.now_us()
        for trade in trades:
            self.seq_of_trade[trade.trade_id] = seq
        while len(self.seq_of_trade) > 1000:
            del self.seq_of_trade[next(iter(self.seq_of_trade))]
        if self._hub.wanted(self._trade_topic):
            text = prints.trades(self.listing, self._trade_topic, trades, seq, now_us)
            self._hub.publish(self._trade_topic, self.listing.symbol, lambda micro: text)

    def refresh(self, stream: BookStream, now_us: int) -> Frame | None:
        """Let a depth stream look at the book. The lock is held."""
        engine = self.market.engine
        bids, asks = engine.depth(Side.BUY, stream.depth), engine.depth(Side.SELL, stream.depth)
        return stream.refresh(bids, asks, engine.update_id, min(self.changed_us, now_us), now_us)


class Feed:
    """The topics of all symbols. Safe to use from any thread."""

    def __init__(self, market: Market, hub: StreamHub, clock: VenueClock) -> None:
        self._market = market
        self._hub = hub
        self._clock = clock
        self._tapes: dict[str, Tape] = {}
        self._joined: dict[str, tuple[Topic, Tape]] = {}
        self._next_id = FIRST_SYMBOL_ID
        for one in market.symbols():
            self.tape(one.instrument.symbol)

    def tape(self, symbol: str) -> Tape:
        """A symbol's tape. Raises :class:`~binmon.sandbox.market.UnknownSymbol`."""
        market = self._market.symbol(symbol)
        with market.lock:
            tape = self._tapes.get(symbol)
            if tape is None or tape.market is not market:
                number = tape.listing.symbol_id if tape is not None else self._number()
                tape = Tape(market, listing(market.instrument, number), self._hub, self._clock)
                self._tapes[symbol] = tape
            return tape

    def listing(self, symbol: str) -> Listing:
        """What is listed under a name. Raises :class:`~binmon.sandbox.market.UnknownSymbol`."""
        return self.tape(symbol).listing

    def tapes(self) -> list[Tape]:
        """All tapes, those of delisted symbols too; takes no lock, so that it may be called under any."""
        return list(self._tapes.values())

    def find(self, name: str) -> Topic | None:
        """The topic of a name; ``None`` when there is none."""
        topic = parse(name)
        if topic is not None:
            try:
                self._market.symbol(topic.symbol)
            except UnknownSymbol:
                return None
        return topic

    def join(self, subscriber: Subscriber, topic: Topic) -> None:
        """Tell somebody a topic from now on; of a book the snapshot comes first."""
        tape = self.tape(topic.symbol)
        market = tape.market
        if topic.kind == "orderbook":
            market.wake()
        with market.lock:
            if topic.kind == "orderbook":
                stream, now_us = tape.books[int(topic.argument)], self._clock.now_us()
                if not self._hub.wanted(topic.name):
                    tape.refresh(stream, now_us)
                text = prints.book(tape.listing, topic.name, stream.snapshot(now_us), now_us)
                subscriber.deliver(Message(topic.name, topic.symbol, lambda micro: text))
            self._joined[topic.name] = (topic, tape)
            tape.ticker_changed = True
            self._hub.subscribe(subscriber, [topic.name])

    def leave(self, subscriber: Subscriber, name: str) -> None:
        """Stop telling."""
        self._hub.unsubscribe(subscriber, name)

    def book(self, symbol: str, limit: int) -> tuple[Listing, Frame, int]:
        """A symbol's book as REST shows it, and the moment it is shown (µs)."""
        tape = self.tape(symbol)
        tape.market.wake()
        with tape.market.lock:
            stream, now_us = tape.books[REST_DEPTH], self._clock.now_us()
            if not self._hub.wanted(book_topic(REST_DEPTH, symbol)):
                tape.refresh(stream, now_us)
            bids, asks = stream.levels(limit)
            return tape.listing, Frame(True, bids, asks, stream.u, stream.seq, stream.cts_us), now_us

    # Scheduler --------------------------------------------------------------------------------------------------

    def tick(self, number: int, now_us: int) -> None:
        """One step of 10 ms."""
        for name, (topic, tape) in list(self._joined.items()):
            if not self._hub.wanted(name):
                continue
            if topic.kind == "orderbook":
                if number % _EVERY[int(topic.argument)] == 0:
                    self._push_book(name, tape, tape.books[int(topic.argument)])
            elif topic.kind == "tickers":
                if number % _TICKER_EVERY == 0 and tape.ticker_changed:
                    self._push_ticker(name, tape)
            elif topic.kind == "kline" and number % _KLINE_EVERY == 0:
                self._push_kline(topic, tape)

    def disturb(self, symbols: Iterable[str], depths: Iterable[int], kind: str, ids: int) -> None:
        """Let depth streams start anew (``restart``), send a snapshot (``renew``) or set their ids back (``back``)."""
        for symbol in symbols:
            tape = self.tape(symbol)
            with tape.market.lock:
                for depth in depths:
                    stream = tape.books[depth]
                    if kind == "back":
                        stream.step_back(ids)
                        continue
                    stream.restart() if kind == "restart" else stream.renew()
                    self._push_book(book_topic(depth, symbol), tape, stream)
        self._hub.flush()

    def _push_book(self, name: str, tape: Tape, stream: BookStream) -> None:
        if stream.seen_seq == tape.market.update_id and not stream.repeats(self._clock.now_us()):
            return
        with tape.market.lock:
            now_us = self._clock.now_us()
            frame = tape.refresh(stream, now_us)
            if frame is None and stream.repeats(now_us):
                frame = stream.snapshot(now_us)
            if frame is not None and self._hub.wanted(name):
                text = prints.book(tape.listing, name, frame, now_us)
                self._hub.publish(name, tape.listing.symbol, lambda micro: text)

    def _push_ticker(self, name: str, tape: Tape) -> None:
        with tape.market.lock:
            tape.ticker_changed = False
            now_us = self._clock.now_us()
            text = prints.ticker(tape.listing, name, tape.market.day(now_us), tape.market.update_id, now_us)
            self._hub.publish(name, tape.listing.symbol, lambda micro: text)

    def _push_kline(self, topic: Topic, tape: Tape) -> None:
        with tape.market.lock:
            now_us = self._clock.now_us()
            series = tape.market.candles().series(KLINES[topic.argument], now_us // 1000)
            if series.current is None:
                return
            known = tape.kline_open.get(topic.name, series.current.open_ms)
            due = [(one, True) for one in series.candles if known <= one.open_ms < series.current.open_ms]
            tape.kline_open[topic.name] = series.current.open_ms
            for candle, closed in [*due, (series.current, False)]:
                text = prints.kline(tape.listing, topic, candle, closed, tape.traded_us // 1000, now_us)
                self._hub.publish(topic.name, topic.symbol, lambda micro, text=text: text)  # type: ignore[misc]

    def _number(self) -> int:
        number, self._next_id = self._next_id, self._next_id + 1
        return number
