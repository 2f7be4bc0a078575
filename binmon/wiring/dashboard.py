"""The web page: its workers, and what it needs of the daemon's parts (`binmon.dashboard.sources.Sources`).

It has connections of its own to the state database, so that nobody who looks holds up who writes there.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from binmon.alerts.notification import Notification
from binmon.books.views import BookAsked
from binmon.config.schema import Config
from binmon.core.channel import Channel, Overflow
from binmon.core.registry import Registry
from binmon.dashboard.sources import (
    Answer,
    DelayReport,
    Key,
    Series,
    SeriesKey,
    SymbolEntry,
    TimedOrder,
    VenueDescription,
)
from binmon.errors import ConfigError
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement
from binmon.latency.statistics import class_counts, histogram, phase_statistics, values
from binmon.messages import Instrument, TopOfBook, Trade
from binmon.state import State
from binmon.status import Health, Section
from binmon.watch.desk import WatchDesk
from binmon.watch.known import KnownSymbol, KnownSymbols
from binmon.watch.series import SeriesState
from binmon.wiring.books import BookParts
from binmon.wiring.ground import Ground

if TYPE_CHECKING:
    from binmon.dashboard.server import DashboardServer
    from binmon.dashboard.streams import StreamServer

log = structlog.get_logger("binmon.dashboard")

_INBOX, _TOPS, _ALERTS = 8_192, 8_192, 512
_STAGE = 3  # it ends with who tells people: what it shows has ended before
_MODULES = {"flask": "flask", "waitress": "waitress", "litecharts": "litecharts"}
_MOST_ORDERS = 20_000  # in one report of delays
_WINDOW_NS = 6 * 3600 * 10**9
_STATES = {SeriesState.LIVE: "live", SeriesState.LOADING: "loading"}


class DaemonSources:
    """What the dashboard sees of the daemon. Parts are added as they come: ``instruments`` and ``books`` by venue, and
    ``desk``, who has candles and trades watched, None where nobody does."""

    def __init__(
        self,
        config: Callable[[], Config],
        health: Callable[[], Health],
        venues: Sequence[str],
        books: Mapping[str, BookParts],
        desk: WatchDesk | None,
        state: State,
    ) -> None:
        """``config`` gives the configuration in force; ``state`` is a connection that nobody else works with."""
        self._config, self._health, self._venues, self._books, self._desk = config, health, tuple(venues), books, desk
        self._ledger = ProbeLedger(state)
        self._known = KnownSymbols(state)
        self.listed: Registry[Mapping[str, Instrument]] = Registry()

    def health(self) -> Health:
        return self._health()

    # Venues -------------------------------------------------------------------------------------------------------

    def venues(self) -> Sequence[VenueDescription]:
        config = self._config()
        found = []
        for name in self._venues:
            watched = self._desk.venues.get(name) if self._desk is not None else None
            section = getattr(config.venues, name)
            books = self._books.get(name)
            found.append(
                VenueDescription(
                    name,
                    getattr(section, "environment", "production"),
                    len(self.instruments(name)),
                    watched is not None,
                    watched is not None,
                    () if books is None else tuple(sorted(books.keeper.states)),
                    config.latency.enabled and config.latency.venue == name,
                    () if watched is None else watched.venue.intervals,
                )
            )
        return found

    def instruments(self, venue: str) -> Mapping[str, Instrument]:
        watched = self._desk.instruments(venue) if self._desk is not None else {}
        return watched or self.listed.get(venue, {})

    def favourite(self, kind: str) -> SeriesKey | None:
        config = self._config()
        if kind == "candles" and config.watch.candles:
            candles = config.watch.candles[0]
            return candles.venue, candles.symbol, candles.interval
        if kind == "trades" and config.watch.trades:
            trades = config.watch.trades[0]
            return trades.venue, trades.symbol, ""
        kept = list(self.book_states())
        for selection in config.books.selections():
            named = () if isinstance(selection.symbols, str) else selection.symbols
            for symbol in named:
                if (selection.venue, symbol) in kept:
                    return selection.venue, symbol, ""
        return (*kept[0], "") if kept else None

    # Candles and trades -------------------------------------------------------------------------------------------

    def series(self, key: SeriesKey) -> Series | None:
        view = None if self._desk is None else self._desk.series(*key)
        return None if view is None else Series(_STATES.get(view.state, "stale"), view.candles)

    def follow(self, series: frozenset[SeriesKey], trades: frozenset[Key]) -> None:
        if self._desk is not None:
            self._desk.follow(series, trades)

    def recent_trades(self, venue: str, symbol: str) -> Sequence[Trade]:
        return () if self._desk is None else self._desk.recent_trades(venue, symbol)

    # Books --------------------------------------------------------------------------------------------------------

    def book_states(self) -> Mapping[Key, str]:
        return {
            (venue, symbol): state.value
            for venue, parts in self._books.items()
            for symbol, state in parts.keeper.states.items()
        }

    def ask_book(self, venue: str, symbol: str, levels: int, answer: Answer) -> bool:
        parts = self._books.get(venue)
        # no offer to a full channel: it would count as dropped, and a frame would be next
        if parts is None or len(parts.inbox) * 2 > parts.inbox.capacity:
            return False
        return parts.inbox.offer(BookAsked(symbol, levels, answer))

    # Delays -------------------------------------------------------------------------------------------------------

    def delays(self, since_ns: int) -> DelayReport:
        section = self._config().latency
        measurements = self._newest(since_ns)
        statistics = phase_statistics(measurements, "sent_to_report_ms")
        buckets = histogram(values(measurements, "sent_to_report_ms"))
        return DelayReport(
            section.threshold_ms,
            section.venue,
            section.symbol,
            tuple(map(timed_order, measurements)),
            {name.value: count for name, count in class_counts(measurements).items()},
            {
                "p50": statistics.p50_ms,
                "p90": statistics.p90_ms,
                "p99": statistics.p99_ms,
                "max": statistics.max_ms,
            },
            tuple((bucket.below_ms, bucket.count) for bucket in buckets),
        )

    def _newest(self, since_ns: int) -> list[Measurement]:
        """The newest orders since then, oldest first, as many as a browser can draw; never more in memory at once."""
        parts: list[list[Measurement]] = []
        end_ns = time.time_ns() + 60 * 10**9  # the clock may have been set back
        count, window_ns = 0, _WINDOW_NS
        while end_ns > since_ns and count < _MOST_ORDERS:
            start_ns = max(since_ns, end_ns - window_ns)
            parts.append(self._ledger.between(start_ns, end_ns))
            count += len(parts[-1])
            end_ns = start_ns
            if not parts[-1]:
                window_ns *= 2  # nothing was timed then: a year of that is a few looks
        found = [one for part in reversed(parts) for one in part]
        return found[-_MOST_ORDERS:]

    # Symbols ------------------------------------------------------------------------------------------------------

    def symbols(self) -> Sequence[SymbolEntry]:
        found: list[SymbolEntry] = []
        for venue in self._venues:
            known = self._known.of_venue(venue)
            if known:
                found += [_entry(known[symbol]) for symbol in sorted(known)]
            else:
                found += [
                    SymbolEntry(venue, one.symbol, one.base, one.quote, one.status, None, None)
                    for _, one in sorted(self.instruments(venue).items())
                ]
        return found

    def new_symbols(self, user: str) -> Sequence[SymbolEntry]:
        return [_entry(one) for one in self._known.new_for(user) if one.venue in self._venues]

    def looked(self, user: str, at_ms: int) -> None:
        self._known.looked(user, at_ms)


@dataclass(frozen=True, slots=True)
class DashboardParts:
    """Where the daemon's parts tell the dashboard what happens. ``inbox`` takes CandlesChanged, Trade, PriceCrossed,
    SymbolListed and SymbolStatus (and passes over all else), ``tops`` TopOfBook, ``alerts`` Notification."""

    sources: DaemonSources
    inbox: Channel[Any]
    tops: Channel[TopOfBook]
    alerts: Channel[Notification]
    server: DashboardServer
    streams: StreamServer
    states: tuple[State, ...]  # its own connections

    def arrived(self, venue: str, instruments: Mapping[str, Instrument]) -> None:
        """A venue has answered. Belongs to the main thread."""
        self.sources.listed.put(venue, instruments)

    def measured(self, measurement: Measurement) -> None:
        """An order is settled. Any thread."""
        self.inbox.offer(timed_order(measurement))

    def close(self) -> None:
        """Give back what it has of the system, once its workers have ended."""
        for state in self.states:
            state.close()
        self.streams.close()

    def section(self) -> Section:
        """The dashboard on ``/healthz``."""
        return [], {
            "url": self.server.url,
            "streams": self.streams.streams_count,
            "dropped": self.streams.dropped_count,
        }


def missing_extra() -> str | None:
    """The package of ``binmon[dashboard]`` that is not installed, if any."""
    return next((name for name, module in _MODULES.items() if importlib.util.find_spec(module) is None), None)


def wire_dashboard(
    ground: Ground,
    health: Callable[[], Health],
    venues: Sequence[str],
    books: Mapping[str, BookParts],
    desk: WatchDesk | None,
    *,
    develops: bool = False,
) -> DashboardParts | None:
    """Build and start the dashboard; None, and a line of the log, where it is switched off or cannot be.

    ``venues`` are all of the run, ``books`` those that have arrived (it may grow). Raises ConfigError only when a newer
    binmon has written the state database: nothing else here is worth the books of a start.
    """
    section = ground.config.dashboard
    if not section.enabled:
        return None
    missing = missing_extra()
    if missing is not None:
        reason = f"the package {missing} is not installed: pip install 'binmon[dashboard]', or dashboard.enabled: false"
        log.warning("dashboard.off", reason=reason)
        return None
    # what needs the extra is imported where it is there
    from binmon.dashboard.access import Access
    from binmon.dashboard.accounts import Accounts, Lifetimes
    from binmon.dashboard.application import make_application
    from binmon.dashboard.feed import DashboardFeed
    from binmon.dashboard.hub import Hub
    from binmon.dashboard.memory import Memory
    from binmon.dashboard.server import DashboardServer
    from binmon.dashboard.streams import StreamServer

    path = Path(ground.config.state.path)
    states = State(path), State(path)
    sources = DaemonSources(lambda: ground.config, health, venues, books, desk, states[0])
    accounts = Accounts(states[1], Lifetimes(int(section.session_hours * 3_600_000)))
    hub, memory = Hub(), Memory()
    streams = StreamServer("dashboard-streams", hub, most_streams=section.most_streams)
    access = Access(accounts, section.hosts)
    application = make_application(
        access, sources, hub, memory, streams, behind_proxy=section.behind_proxy, develops=develops
    )
    try:
        server = DashboardServer("dashboard", section.listen, application)
    except ConfigError as error:
        log.warning("dashboard.off", reason=str(error))
        streams.close()
        for state in states:
            state.close()
        return None
    inbox: Channel[Any] = Channel("dashboard", _INBOX, Overflow.DROP_NEWEST)
    tops: Channel[TopOfBook] = Channel("dashboard-tops", _TOPS, Overflow.DROP_OLDEST)
    alerts: Channel[Notification] = Channel("dashboard-alerts", _ALERTS, Overflow.DROP_OLDEST)
    ground.channels += [inbox, tops, alerts]
    feed = DashboardFeed(
        "dashboard-feed", hub, sources, memory, accounts, streams, inbox=inbox, tops=tops, alerts=alerts
    )
    if desk is not None:
        desk.told.add(inbox)
    add = ground.supervisor.add
    add(feed, stage=_STAGE)
    add(streams, stage=_STAGE)
    add(server, stage=_STAGE)
    if not accounts.exist():
        log.info("dashboard.no_accounts", reason="nobody can log in yet: binmon users add NAME")
    return DashboardParts(sources, inbox, tops, alerts, server, streams, states)


def timed_order(one: Measurement) -> TimedOrder:
    """A measurement as the dashboard knows it."""
    return TimedOrder(
        one.venue,
        one.symbol,
        one.client_order_id,
        one.sent_ns // 1_000_000,
        one.order_class.value,
        one.sent_to_report_ms,
        one.sent_to_event_ms,
        one.event_to_receive_ms,
        one.uncertainty_ms,
    )


def _entry(one: KnownSymbol) -> SymbolEntry:
    return SymbolEntry(
        one.venue, one.symbol, one.base, one.quote, one.status, one.first_seen_ms, one.first_seen_by.value
    )
