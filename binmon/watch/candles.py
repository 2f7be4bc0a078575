"""The worker that watches candles: keeps their series, and holds their prices against the user's lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import (
    Candle,
    CandlesArrived,
    CandlesChanged,
    CandlesFailed,
    CandlesWanted,
    PriceCrossed,
    Priority,
)
from binmon.venues.watching import WatchingVenue
from binmon.watch.announcements import Lines, Told, Watching
from binmon.watch.feeds import StreamLive, StreamLost, WatchFeeds
from binmon.watch.intake import Intake, Outlet
from binmon.watch.observing import CandleObserver, Observation
from binmon.watch.series import (
    CandleCorrected,
    CandleMoved,
    CandleSeries,
    Effect,
    FetchCandles,
    SeriesLoaded,
    SeriesState,
    SeriesStateChanged,
    StreamDead,
)
from binmon.watch.thresholds import Line, Side

log = structlog.get_logger("binmon.watch")

_TICK_S = 0.25

Key = tuple[str, str]
"""Symbol and interval."""


@dataclass(frozen=True, slots=True)
class CandleRule:
    """Candles to watch and the lines to hold one of their prices against: ``price`` is open, high, low or close. Without
    lines the candles are only kept."""

    symbol: str
    interval: str
    price: str = "close"
    lines: tuple[Line, ...] = ()
    closed_only: bool = False


@dataclass(frozen=True, slots=True)
class CandleRules:
    """What is to be watched from now on; for the inbox of the watcher."""

    rules: tuple[CandleRule, ...]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """A series as others may read it. It is in its state since ``since_s`` (monotonic)."""

    candles: tuple[Candle, ...]
    state: SeriesState
    corrections: int
    sides: tuple[tuple[Line, Side], ...]
    since_s: float = 0.0


class _Watched:
    """One series with the rules that look at it."""

    def __init__(self, key: Key, stream: str, series: CandleSeries) -> None:
        self.key, self.stream, self.series = key, stream, series
        self.since_s = time.monotonic()  # in the state that it is in
        self.rules: dict[tuple[str, bool], tuple[CandleObserver, Lines]] = {}  # by price and closed_only


class CandleWatcher(Worker):
    """Takes what its sockets and its fetcher give from ``inbox``, and CandleRules. Tells ``listeners`` of candles
    (CandlesChanged) and crossings (PriceCrossed, PriceReturned), and ``signals`` what people may want to hear of.

    ``views`` may be read by any thread: each value is replaced as a whole, and so is the mapping
    when keys come or go.
    """

    silence_limit_s = 20.0  # it waits for nothing but its inbox

    def __init__(
        self,
        name: str,
        venue: WatchingVenue,
        rules: Sequence[CandleRule],
        *,
        inbox: Channel[Any],
        wanted: Outlet,
        signals: Outlet,
        feeds: WatchFeeds,
        listeners: Sequence[Outlet] = (),
        history: int = 1000,
    ) -> None:
        """``wanted`` takes the CandlesWanted of the fetcher, whose answers come to ``inbox``; ``history`` is how many
        candles of each series are kept."""
        super().__init__(name)
        self._venue, self._inbox, self._wanted = venue, inbox, wanted
        self._signals, self._listeners, self._history = signals, tuple(listeners), history
        self._intake = Intake(venue, feeds)
        self._watched: dict[Key, _Watched] = {}
        self._asked: dict[int, tuple[_Watched, int]] = {}  # by our token: whose it is, and the token of the series
        self._tokens = 0
        self._first: CandleRules | None = CandleRules(tuple(rules))
        self._started = False
        self._in_hand: Any = None  # the message that is being handled
        self.views: dict[Key, SeriesView] = {}
        self.dropped = 0  # messages and signals that found no room
        self.crossings = self.corrected = 0

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
                now_s = time.monotonic()
                if isinstance(found, Candle):
                    self._candle(found, now_s, received_mono_ns)
                elif isinstance(found, StreamLive):
                    for watched in self._of_stream(found.stream):
                        watched.series.on_up(now_s)
                        self._carry_out(watched, now_s)
                elif isinstance(found, StreamLost):
                    for watched in self._of_stream(found.stream):
                        watched.series.on_down(now_s, found.reason)
                        self._carry_out(watched, now_s)
        elif isinstance(message, CandlesArrived):
            self._answered(message)
        elif isinstance(message, CandlesFailed):
            self._failed(message)
        elif isinstance(message, CandleRules):
            self._apply(message.rules)

    def tick(self, now_s: float, now_utc_s: float) -> None:
        """Time passed."""
        self._intake.feeds.tick(now_s, now_utc_s)
        for watched in list(self._watched.values()):
            watched.series.tick(now_s)
            self._carry_out(watched, now_s)
            for observer, lines in watched.rules.values():
                self._observe(watched, lines, observer.tick(watched.series, now_s), now_s, None)

    # Inside -------------------------------------------------------------------------------------------------------

    def _start_afresh(self) -> None:
        """After a failure: what was in hand once more, and only once; then every series is asked for anew, and everybody
        told of it as it stands."""
        message, self._in_hand = self._in_hand, None
        if message is not None:
            self.take(message)
        now_s = time.monotonic()
        self._asked.clear()
        for watched in list(self._watched.values()):
            series = watched.series
            series.restart(now_s, up=self._intake.feeds.is_live(watched.stream))
            if series.candles:
                symbol, interval = watched.key
                self._offer(CandlesChanged(self._venue.name, symbol, interval, series.candles, True))
                for observer, lines in watched.rules.values():
                    seen = observer.follow([SeriesLoaded(series.candles, False)])
                    self._observe(watched, lines, seen, now_s, None)
            self._carry_out(watched, now_s)

    def _candle(self, candle: Candle, now_s: float, received_mono_ns: int) -> None:
        watched = self._watched.get((candle.symbol, candle.interval))
        if watched is None:
            return  # of a stream that is on its way out
        watched.series.on_frame(candle, now_s)
        self._carry_out(watched, now_s, received_mono_ns)
        for observer, _ in watched.rules.values():
            observer.hold(candle, watched.series, now_s)
        self.progress()

    def _answered(self, message: CandlesArrived) -> None:
        watched, token = self._asked.pop(message.request.token, (None, 0))
        if watched is not None:
            now_s = time.monotonic()
            watched.series.on_answer(token, message.candles, now_s)
            self._carry_out(watched, now_s)
            self.progress()

    def _failed(self, message: CandlesFailed) -> None:
        watched, token = self._asked.pop(message.request.token, (None, 0))
        if watched is not None:
            watched.series.on_failed(token, message.retry_after_s, time.monotonic())

    def _of_stream(self, stream: str) -> list[_Watched]:
        return [watched for watched in self._watched.values() if watched.stream == stream]

    def _apply(self, rules: tuple[CandleRule, ...]) -> None:
        """Watch this from now on; what was watched before goes on as it stands."""
        now_s, at_ns = time.monotonic(), time.time_ns()
        wanted: dict[Key, dict[tuple[str, bool], tuple[Line, ...]]] = {}
        for rule in rules:
            of_series = wanted.setdefault((rule.symbol, rule.interval), {})
            kind = (rule.price, rule.closed_only)
            of_series[kind] = of_series.get(kind, ()) + rule.lines
        for key in [key for key in self._watched if key not in wanted]:
            watched = self._watched.pop(key)
            self._set_rules(watched, {}, at_ns)
            self.views = {other: view for other, view in self.views.items() if other != key}
        for key, kinds in wanted.items():
            known = self._watched.get(key)
            if known is None:
                stream = self._venue.candle_stream(*key)
                page = max(2, min(self._venue.candles_per_request, self._history))
                known = self._watched[key] = _Watched(key, stream, CandleSeries(self._history, page))
                if self._intake.feeds.is_live(stream):
                    known.series.on_up(now_s)
            self._set_rules(known, kinds, at_ns)
        self._intake.feeds.carry([watched.stream for watched in self._watched.values()])
        for watched in self._watched.values():
            self._carry_out(watched, now_s)
            self._show(watched)

    def _set_rules(self, watched: _Watched, kinds: dict[tuple[str, bool], tuple[Line, ...]], at_ns: int) -> None:
        symbol, interval = watched.key
        for kind in [kind for kind in watched.rules if kind not in kinds]:
            _, lines = watched.rules.pop(kind)
            self._tell(lines.change((), at_ns))
        for (price, closed_only), drawn in kinds.items():
            known = watched.rules.get((price, closed_only))
            if known is not None:
                self._tell(known[1].change(drawn, at_ns))
                continue
            what = f"{interval} {price}{' of closed candles' if closed_only else ''}"
            lines = Lines(Watching(self._venue.name, symbol, "candle", what), drawn)
            watched.rules[price, closed_only] = (CandleObserver(price, closed_only=closed_only), lines)
            last = watched.series.candles
            if last:
                # a series that stands already: the newest candle says where the price is
                seen = watched.rules[price, closed_only][0].follow([SeriesLoaded(last, True)])
                self._observe(watched, lines, seen, time.monotonic(), None)

    def _carry_out(self, watched: _Watched, now_s: float, received_mono_ns: int | None = None) -> None:
        if not watched.series.effects:
            return
        effects = list(watched.series.effects)
        watched.series.effects.clear()
        for effect in effects:
            self._effect(watched, effect, now_s)
        for observer, lines in watched.rules.values():
            self._observe(watched, lines, observer.follow(effects), now_s, received_mono_ns)
        self._show(watched)

    def _effect(self, watched: _Watched, effect: Effect, now_s: float) -> None:
        symbol, interval = watched.key
        name = self._venue.name
        if isinstance(effect, CandleMoved):
            self._offer(CandlesChanged(name, symbol, interval, (effect.candle,), False))
        elif isinstance(effect, SeriesLoaded):
            self._offer(CandlesChanged(name, symbol, interval, watched.series.candles, True))
        elif isinstance(effect, FetchCandles):
            self._tokens += 1
            self._asked[self._tokens] = (watched, effect.token)
            request = CandlesWanted(
                name,
                symbol,
                interval,
                effect.start_ms,
                effect.end_ms,
                effect.limit,
                Priority.AUDIT,
                self._tokens,
            )
            if not self._wanted.offer(request):
                del self._asked[self._tokens]
                watched.series.on_failed(effect.token, 1.0, now_s)
        elif isinstance(effect, SeriesStateChanged):
            watched.since_s = now_s
            log.info(
                "candles.state",
                venue=name,
                symbol=symbol,
                interval=interval,
                **{"from": effect.before.value, "to": effect.after.value},
                reason=effect.reason,
                candles=len(watched.series.candles),
            )
        elif isinstance(effect, CandleCorrected):
            self.corrected += 1
            log.warning(
                "candles.corrected",
                venue=name,
                symbol=symbol,
                interval=interval,
                open_time_ms=effect.before.open_time_ms,
                before=_told(effect.before),
                after=None if effect.after is None else _told(effect.after),
            )
        elif isinstance(effect, StreamDead):
            self._intake.feeds.reconnect(watched.stream, effect.reason)

    def _observe(
        self,
        watched: _Watched,
        lines: Lines,
        observations: Sequence[Observation],
        now_s: float,
        received_mono_ns: int | None,
    ) -> None:
        for one in observations:
            self._tell(lines.observe(one.price, one.at_ms, now_s, time.time_ns(), received_mono_ns))
        if observations:
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
        series = watched.series
        sides = tuple(side for _, lines in watched.rules.values() for side in lines.sides)
        if self._watched.get(watched.key) is watched:
            view = SeriesView(series.candles, series.state, series.corrections, sides, watched.since_s)
            if watched.key in self.views:
                self.views[watched.key] = view
            else:
                # it must not grow while another thread goes through it
                self.views = {**self.views, watched.key: view}


def _told(candle: Candle) -> str:
    """A candle in a line of the log."""
    return (
        f"open {candle.open} high {candle.high} low {candle.low} close {candle.close} volume {candle.volume}"
        f" trades {candle.trades}"
    )
