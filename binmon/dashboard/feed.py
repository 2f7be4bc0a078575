"""The worker that turns what the daemon says into events for browsers, as far as somebody looks.

It waits for nobody: books are asked for by a message, and answers come to its inbox. What changes faster than eyes can
follow is put together: trades and the open candle ten times a second, books four times, tops twice.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.alerts.notification import Notification
from binmon.core.channel import Channel
from binmon.dashboard import documents
from binmon.dashboard.accounts import Accounts
from binmon.dashboard.hub import Hub
from binmon.dashboard.memory import Memory, SeenTop
from binmon.dashboard.page_worker import PageWorker
from binmon.dashboard.sources import Key, SeriesKey, Sources, TimedOrder
from binmon.dashboard.streams import StreamServer
from binmon.dashboard.topics import Topic, TopicKind
from binmon.messages import (
    BookView,
    Candle,
    CandlesChanged,
    PriceCrossed,
    SymbolListed,
    SymbolStatus,
    TopOfBook,
    Trade,
)
from binmon.state import StateFailed

log = structlog.get_logger("binmon.dashboard")

_TURN_S = 0.05
_AT_ONCE = 2_000  # messages between two looks at the time
_TRADES_AT_ONCE = 500  # in one event
BOOK_LEVELS = 25
_EVERY_S = {"prices": 0.1, "books": 0.25, "tops": 0.5, "status": 1.0, "leases": 0.25, "owners": 30.0}
_BOOK_WITHIN_S = 2.0  # an answer that does not come is asked for again

STATUS, TOPS, LATENCY = Topic(TopicKind.STATUS), Topic(TopicKind.TOPS), Topic(TopicKind.LATENCY)
ALERTS, SYMBOLS = Topic(TopicKind.ALERTS), Topic(TopicKind.SYMBOLS)


@dataclass(frozen=True, slots=True)
class BookAnswered:
    """What the keeper of the books says to a question of this worker."""

    topic: Topic
    view: BookView | None


class DashboardFeed(PageWorker):
    """Takes candles, trades, crossings, listings and timed orders from ``inbox``, tops from ``tops`` (its own, as they are
    many), Notifications from ``alerts``."""

    def __init__(
        self,
        name: str,
        hub: Hub,
        sources: Sources,
        memory: Memory,
        accounts: Accounts,
        streams: StreamServer,
        *,
        inbox: Channel[Any],
        tops: Channel[TopOfBook],
        alerts: Channel[Notification],
    ) -> None:
        super().__init__(name)
        self._hub, self._sources, self._memory, self._accounts, self._streams = hub, sources, memory, accounts, streams
        self._inbox, self._tops, self._alerts = inbox, tops, alerts
        self._due_s = dict.fromkeys(_EVERY_S, 0.0)
        self._lost = 0
        self._leased: frozenset[Topic] = frozenset()
        self._followed: tuple[frozenset[SeriesKey], frozenset[Key]] = (frozenset(), frozenset())
        self._candles: dict[tuple[Topic, int], Candle] = {}
        self._trades: dict[Topic, list[Trade]] = {}
        self._changed: set[Key] = set()  # books whose top is new
        self._asked_s: dict[Topic, float] = {}
        self._shown: dict[Topic, tuple[bool, int | None]] = {}

    def serve(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.beat()
            self.take(self._inbox.take(_TURN_S))
            for _ in range(_AT_ONCE):
                message = self._inbox.take(0)
                if message is None:
                    break
                self.take(message)
            now_s = time.monotonic()
            for _ in range(_AT_ONCE):
                top = self._tops.take(0)
                if top is None:
                    break
                self._memory.set_top(top, now_s)
                self._changed.add((top.venue, top.symbol))
            while (alert := self._alerts.take(0)) is not None:
                self._memory.add_alert(alert)
                self._hub.publish(ALERTS, "alert", documents.alert(alert))
            self.tick(now_s)

    # What happens -------------------------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        """One message of the inbox."""
        if message is None:
            return
        if isinstance(message, Trade):
            topic = Topic(TopicKind.TRADES, message.venue, message.symbol)
            if self._hub.is_leased(topic):
                self._memory.add_trade(message)
                self._trades.setdefault(topic, []).append(message)
        elif isinstance(message, CandlesChanged):
            self._candles_changed(message)
        elif isinstance(message, BookAnswered):
            self._book(message)
        elif isinstance(message, PriceCrossed):
            self._crossed(message)
        elif isinstance(message, TimedOrder):
            self._hub.publish(LATENCY, "measurement", {"measurement": documents.order(message)})
        elif isinstance(message, SymbolListed):
            self._hub.publish(SYMBOLS, "symbol", documents.listed(message))
        elif isinstance(message, SymbolStatus):
            self._hub.publish(SYMBOLS, "symbol", documents.status_changed(message))
        else:
            return  # of no interest here
        self.progress()

    def tick(self, now_s: float) -> None:
        """What is due by time."""
        if self._inbox.dropped != self._lost:
            self._lost = self._inbox.dropped
            self._hub.lost()
        if self._is_due("leases", now_s):
            self._look_at_leases()
        if self._is_due("prices", now_s):
            self._flush_candles()
            self._flush_trades()
        if self._is_due("books", now_s):
            self._ask_for_books(now_s)
        if self._is_due("tops", now_s):
            self._flush_tops(now_s)
        if STATUS in self._leased and self._is_due("status", now_s):
            self._hub.publish(STATUS, "status", documents.summary(*self._sources.health()), "status")
        if self._is_due("owners", now_s):
            self._look_at_owners()

    # Inside -------------------------------------------------------------------------------------------------------

    def _is_due(self, what: str, now_s: float) -> bool:
        if now_s < self._due_s[what]:
            return False
        self._due_s[what] = now_s + _EVERY_S[what]
        return True

    def _look_at_leases(self) -> None:
        leased = self._hub.leased()
        if leased == self._leased:
            return
        self._leased = leased
        series = frozenset((one.venue, one.symbol, one.interval) for one in leased if one.kind is TopicKind.CANDLES)
        trades = frozenset((one.venue, one.symbol) for one in leased if one.kind is TopicKind.TRADES)
        if (series, trades) != self._followed:
            self._followed = (series, trades)
            self._sources.follow(series, trades)
            self._memory.keep_trades_of(trades)
        for kept in (self._asked_s, self._shown, self._trades):
            for topic in [topic for topic in kept if topic not in leased]:
                del kept[topic]

    def _candles_changed(self, message: CandlesChanged) -> None:
        topic = Topic(TopicKind.CANDLES, message.venue, message.symbol, message.interval)
        if not self._hub.is_leased(topic):
            return
        if message.whole:
            self._candles = {key: one for key, one in self._candles.items() if key[0] != topic}
            self._hub.publish(topic, "candles", {}, "candles")
            return
        for one in message.candles:
            self._candles[topic, one.open_time_ms] = one

    def _flush_candles(self) -> None:
        candles, self._candles = self._candles, {}
        for (topic, open_ms), one in sorted(candles.items(), key=lambda item: item[0][1]):
            self._hub.publish(topic, "candle", {"candle": documents.candle(one)}, f"candle {open_ms}")

    def _flush_trades(self) -> None:
        trades, self._trades = self._trades, {}
        for topic, several in trades.items():
            for start in range(0, len(several), _TRADES_AT_ONCE):
                part = several[start : start + _TRADES_AT_ONCE]
                self._hub.publish(topic, "trade", {"trades": [documents.trade(one) for one in part]})

    def _crossed(self, message: PriceCrossed) -> None:
        if message.source == "candle":
            topic = Topic(TopicKind.CANDLES, message.venue, message.symbol, message.watch.partition(" ")[0])
            self._flush_candles()  # what crossed is to be seen before it is said
        else:
            topic = Topic(TopicKind.TRADES, message.venue, message.symbol)
            self._flush_trades()
        self._hub.publish(topic, "crossed", documents.crossed(message))

    def _ask_for_books(self, now_s: float) -> None:
        for topic in self._leased:
            if topic.kind is not TopicKind.BOOK or now_s - self._asked_s.get(topic, -1e9) < _BOOK_WITHIN_S:
                continue

            def answer(view: BookView | None, topic: Topic = topic) -> None:
                self._inbox.offer(BookAnswered(topic, view))

            self._asked_s[topic] = now_s
            if not self._sources.ask_book(topic.venue, topic.symbol, BOOK_LEVELS, answer):
                self._asked_s.pop(topic)

    def _book(self, message: BookAnswered) -> None:
        self._asked_s.pop(message.topic, None)
        view = message.view
        if view is None or message.topic not in self._leased:
            return
        seen = (view.synced, view.update_id)
        if self._shown.get(message.topic) != seen:
            self._shown[message.topic] = seen
            self._hub.publish(message.topic, "book", documents.book(view), "book")

    def _flush_tops(self, now_s: float) -> None:
        changed, self._changed = self._changed, set()
        if not changed or TOPS not in self._leased:
            return
        seen, states = self._memory.tops(), self._sources.book_states()
        rows = [_top(seen[key], states.get(key, "unknown"), now_s) for key in sorted(changed) if key in states]
        if rows:
            self._hub.publish(TOPS, "top", {"tops": rows})

    def _look_at_owners(self) -> None:
        """End the streams of sessions and tokens that are not in force any more; a stream keeps its session from idling."""
        now_ms, over = time.time_ns() // 1_000_000, set()
        try:
            for owner in self._streams.owners():
                kind, _, key = owner.key.partition(":")
                if not (self._accounts.has_token(int(key)) if kind == "token" else self._accounts.touch(key, now_ms)):
                    over.add(owner.key)
        except StateFailed as error:
            log.error("dashboard.failed", source="sessions", error=str(error))
        if over:
            self._streams.end(frozenset(over))


def _top(seen: SeenTop, state: str, now_s: float) -> dict[str, Any]:
    return documents.top(seen.top, state, seen.top.age_ms + (now_s - seen.at_s) * 1000)


def tops(memory: Memory, sources: Sources, now_s: float) -> list[dict[str, Any]]:
    """Every book that is kept with its top, as far as it has shown one."""
    seen, rows = memory.tops(), []
    for key, state in sorted(sources.book_states().items()):
        found = seen.get(key)
        rows.append(documents.no_top(*key, state) if found is None else _top(found, state, now_s))
    return rows
