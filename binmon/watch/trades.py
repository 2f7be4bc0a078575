"""The worker that watches trades: each once, held against the user's lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import CandlesArrived, CandlesFailed, CandlesWanted, PriceCrossed, Priority, Trade
from binmon.venues.watching import WatchingVenue
from binmon.watch.announcements import Lines, Told, Watching
from binmon.watch.feeds import StreamLive, StreamLost, WatchFeeds
from binmon.watch.intake import Intake, Outlet
from binmon.watch.sequence import TradeSequence, TradesMissed
from binmon.watch.silence import TradeSilence
from binmon.watch.thresholds import Line, Side

log = structlog.get_logger("binmon.watch")

_TICK_S = 0.25
_LOOK_BACK = 3  # minutes


@dataclass(frozen=True, slots=True)
class TradeRule:
    """Trades to watch and the lines to hold their price against."""

    symbol: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class TradeRules:
    """What is to be watched from now on; for the inbox of the watcher."""

    rules: tuple[TradeRule, ...]


@dataclass(frozen=True, slots=True)
class TradesView:
    """The trades of a symbol as others may read them. It is live, or not, since ``since_s`` (monotonic)."""

    newest: Trade | None
    live: bool
    missed: int
    sides: tuple[tuple[Line, Side], ...]
    since_s: float = 0.0


class _Watched:
    """One symbol."""

    def __init__(self, symbol: str, stream: str, sequence: TradeSequence, lines: Lines) -> None:
        self.symbol, self.stream, self.sequence, self.lines = symbol, stream, sequence, lines
        self.silence = TradeSilence()
        self.live, self.since_s = False, time.monotonic()


class TradeWatcher(Worker):
    """Takes what its sockets and its fetcher give from ``inbox``, and TradeRules. Tells ``listeners`` of trades (Trade) and
    crossings (PriceCrossed, PriceReturned), and ``signals`` what people may want to hear of.

    ``views`` may be read by any thread: each value is replaced as a whole, and so is the mapping
    when keys come or go.
    """

    silence_limit_s = 20.0  # it waits for nothing but its inbox

    def __init__(
        self,
        name: str,
        venue: WatchingVenue,
        rules: Sequence[TradeRule],
        *,
        inbox: Channel[Any],
        wanted: Outlet,
        signals: Outlet,
        feeds: WatchFeeds,
        listeners: Sequence[Outlet] = (),
    ) -> None:
        """``wanted`` takes the CandlesWanted of the fetcher, whose answers come to ``inbox``: by a candle it is seen that
        something has traded and the stream did not say so."""
        super().__init__(name)
        self._venue, self._inbox, self._wanted = venue, inbox, wanted
        self._signals, self._listeners = signals, tuple(listeners)
        self._intake = Intake(venue, feeds)
        self._watched: dict[str, _Watched] = {}
        self._asked: dict[int, _Watched] = {}
        self._tokens = 0
        self._first: TradeRules | None = TradeRules(tuple(rules))
        self._started = False
        self._in_hand: Any = None  # the message that is being handled
        self.views: dict[str, TradesView] = {}
        self.dropped = 0  # messages and signals that found no room
        self.crossings = self.missed = self.trades = 0

    def run(self, stop: threading.Event) -> None:
        if self._started:
            self._start_afresh()
        self._started = True
        if self._first is not None:
            self.take(self._first)
            self._first = None
        while not stop.is_set():
            self.beat()
            self._in_hand = self._inbox.take(_TICK_S)
            while self._in_hand is not None and not stop.is_set():
                self.take(self._in_hand)
                self._in_hand = self._inbox.take(0)
                self.beat()
            self.tick(time.monotonic(), time.time())

    @property
    def intake(self) -> Intake:
        """What has come in, for the metrics."""
        return self._intake

    # What happens -------------------------------------------------------------------------------------------------

    def take(self, message: object) -> None:
        """One message of the inbox."""
        if self._intake.takes(message):
            for found, received_mono_ns in self._intake.take(message):
                if isinstance(found, Trade):
                    self._trade(found, received_mono_ns)
                elif isinstance(found, StreamLive | StreamLost):
                    for watched in self._watched.values():
                        if watched.stream == found.stream:
                            self._went(watched, found)
        elif isinstance(message, CandlesArrived):
            answered = self._asked.pop(message.request.token, None)
            if answered is not None:
                answered.silence.on_answer(message.candles, answered.sequence.newest, time.monotonic())
        elif isinstance(message, CandlesFailed):
            failed = self._asked.pop(message.request.token, None)
            if failed is not None:
                failed.silence.on_failed()
        elif isinstance(message, TradeRules):
            self._apply(message.rules)

    def tick(self, now_s: float, now_utc_s: float) -> None:
        """Time passed."""
        self._intake.feeds.tick(now_s, now_utc_s)
        for watched in self._watched.values():
            watched.sequence.tick(now_s)
            self._report(watched)
            if watched.silence.due(now_s):
                self._ask(watched)
            if watched.silence.is_dead(now_s):
                self._intake.feeds.reconnect(watched.stream, "the venue has trades that the stream did not bring")

    # Inside -------------------------------------------------------------------------------------------------------

    def _start_afresh(self) -> None:
        """After a failure: what was in hand once more, and only once; and what is live is looked up."""
        message, self._in_hand = self._in_hand, None
        if message is not None:
            self.take(message)
        self._asked.clear()
        for watched in list(self._watched.values()):
            live = self._intake.feeds.is_live(watched.stream)
            self._went(watched, StreamLive(watched.stream) if live else StreamLost(watched.stream, "restarted"))

    def _trade(self, trade: Trade, received_mono_ns: int) -> None:
        watched = self._watched.get(trade.symbol)
        if watched is None:
            return  # of a stream that is on its way out
        now_s = received_mono_ns / 1e9
        watched.silence.on_trade(now_s)
        if not watched.sequence.take(trade, now_s):
            return
        if watched.sequence.effects:
            self._report(watched)
        self.progress()
        self.trades += 1
        self._offer(trade)
        told = watched.lines.observe(trade.price, trade.trade_time_ms, now_s, trade.receive_time_ns, received_mono_ns)
        self._tell(told)
        self._show(watched)

    def _went(self, watched: _Watched, found: StreamLive | StreamLost) -> None:
        was_live, watched.live = watched.live, isinstance(found, StreamLive)
        if watched.live != was_live:
            watched.since_s = time.monotonic()
        if watched.live:
            watched.silence.on_up(time.monotonic())
        else:
            watched.silence.on_down()
        self._show(watched)

    def _ask(self, watched: _Watched) -> None:
        self._tokens += 1
        self._asked[self._tokens] = watched
        request = CandlesWanted(
            self._venue.name, watched.symbol, "1m", None, None, _LOOK_BACK, Priority.AUDIT, self._tokens
        )
        if not self._wanted.offer(request):
            del self._asked[self._tokens]
            watched.silence.on_failed()

    def _report(self, watched: _Watched) -> None:
        while watched.sequence.effects:
            effect = watched.sequence.effects.popleft()
            if isinstance(effect, TradesMissed):
                self.missed += effect.count
                log.warning(
                    "trades.missed",
                    venue=self._venue.name,
                    symbol=watched.symbol,
                    first_trade_id=effect.first_trade_id,
                    last_trade_id=effect.last_trade_id,
                    count=effect.count,
                )
            else:
                log.warning(
                    "trades.restarted",
                    venue=self._venue.name,
                    symbol=watched.symbol,
                    trade_id=effect.trade_id,
                    previous_trade_id=effect.previous,
                )
            self._show(watched)

    def _apply(self, rules: tuple[TradeRule, ...]) -> None:
        """Watch this from now on; what was watched before goes on as it stands."""
        at_ns = time.time_ns()
        wanted: dict[str, tuple[Line, ...]] = {}
        for rule in rules:
            wanted[rule.symbol] = wanted.get(rule.symbol, ()) + rule.lines
        for symbol in [symbol for symbol in self._watched if symbol not in wanted]:
            self._tell(self._watched.pop(symbol).lines.change((), at_ns))
            self.views = {other: view for other, view in self.views.items() if other != symbol}
        for symbol, drawn in wanted.items():
            known = self._watched.get(symbol)
            if known is not None:
                self._tell(known.lines.change(drawn, at_ns))
                continue
            stream = self._venue.trade_stream(symbol)
            self._watched[symbol] = known = _Watched(
                symbol,
                stream,
                TradeSequence(consecutive=self._venue.consecutive_trade_ids),
                Lines(Watching(self._venue.name, symbol, "trade"), drawn),
            )
            if self._intake.feeds.is_live(stream):
                self._went(known, StreamLive(stream))
        self._intake.feeds.carry([watched.stream for watched in self._watched.values()])
        for watched in self._watched.values():
            self._show(watched)

    def _tell(self, told: Told) -> None:
        for message in told.messages:
            self.crossings += isinstance(message, PriceCrossed)
            self._offer(message)
        for signal in told.signals:
            self.dropped += not self._signals.offer(signal)

    def _offer(self, message: object) -> None:
        for listener in self._listeners:
            self.dropped += not listener.offer(message)

    def _show(self, watched: _Watched) -> None:
        if self._watched.get(watched.symbol) is watched:
            sequence = watched.sequence
            newest, sides = sequence.newest, watched.lines.sides
            view = TradesView(newest, watched.live, sequence.missed, sides, watched.since_s)
            if watched.symbol in self.views:
                self.views[watched.symbol] = view
            else:
                # it must not grow while another thread goes through it
                self.views = {**self.views, watched.symbol: view}
