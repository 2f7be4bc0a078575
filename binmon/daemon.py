"""The wiring page: builds what the configuration asks for, connects the queues, and runs it until told to stop.

::

    sockets ──────────frames─────▶ ┌────────┐ ──rows, events──▶ recorder ──closed segments──▶ finisher ─▶ dataset
            ◀──opened, closed──── │        │
    fetchers ─────────snapshots──▶ │ keeper │ ──tops──────────▶ publisher ─▶ log
              ◀──────wanted─────── │        │
    listings ─symbols that changed▶└────────┘

    order probe ──planned, sent, outcome────▶ ┌─────────┐ ──signals──▶ alert dispatcher ──▶ one delivery a target
         │ ▲                                  │ latency │
         │ └──── is it subscribed? ──┐        │ monitor │ ──▶ ledger (SQLite), log
         ▼                           │        │         │
    order desk ─▶ venue              │        │         │ ──questions──▶ order asker ─▶ venue
                                     │        │         │ ◀───────answers────────┘
    user sockets ──frames──▶ user stream ────▶└─────────┘
                             reports, subscribed, broken

The books are there once a venue, the recorder, the publisher and all below once. A venue's parts are built when it has
answered, so that one that is down holds up none of the others. Each part is built by a module of `binmon.wiring`.
"""

from __future__ import annotations

import enum
import gc
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import structlog

import binmon
from binmon.config.loading import LoadedConfig
from binmon.config.places import why_unwritable
from binmon.config.schema import Config
from binmon.core.companion import SandboxFailed, SandboxProcess, lend_sandbox
from binmon.core.deadline import Deadline
from binmon.core.registry import Registry
from binmon.core.supervisor import Supervisor
from binmon.core.systemd import ServiceManager
from binmon.errors import ConfigError
from binmon.latency.measurement import Measurement
from binmon.messages import RotateFeeds
from binmon.state import State
from binmon.status import Section, Status, StatusParts, VenueParts
from binmon.status_server import StatusServer
from binmon.telemetry import logging
from binmon.telemetry.metrics import MetricsRegistry
from binmon.venues.trading import TradingVenue
from binmon.wiring import figures
from binmon.wiring.alerts import AlertParts, wire_alerts
from binmon.wiring.applying import Applier
from binmon.wiring.books import BookParts, wire_books
from binmon.wiring.dashboard import DashboardParts, wire_dashboard
from binmon.wiring.execution import book_document
from binmon.wiring.ground import Ground
from binmon.wiring.incidents import IncidentParts, wire_incidents
from binmon.wiring.latency import LatencyParts, plan_latency, wire_latency
from binmon.wiring.parts import TradingParts
from binmon.wiring.recording import RecordingParts, wire_recording
from binmon.wiring.reload import Reloader, ReloadHooks, wire_reload
from binmon.wiring.service import ServiceNotifier, ServiceView, view_of, watched_venue
from binmon.wiring.venues import Arrival, MarketParts, VenuesParts, VenueStarts, wire_clock, wire_venues
from binmon.wiring.watch import WatchParts, plan_watch, watch_figures, watch_section, wire_watch

log = structlog.get_logger("binmon.daemon")

STOP_WITHIN_S = 4.5  # the contract says five
_TICK_S = 0.2
_STRICT_FOR_S = 30.0  # since the start: for so long somebody is there who has just written the configuration
_START_TICK_S = 0.02  # while a venue is waited for
# Garbage is counted by references; cycles are rare here. Looking for them through a market of books stops all threads
# for 100 ms, so that is done seldom, and what has come to stay is left out.
_COLLECT = (50_000, 20, 100)
_SETTLED_AFTER_S = (30.0, 300.0)


class ExitStatus(enum.IntEnum):
    """What ``binmon run`` tells its parent."""

    DONE = 0
    FAILED = 1


class Daemon:
    """One run. Raises ConfigError when the configuration asks for what cannot be.

    ``probe_only`` leaves out everything but the delay monitor and its alerts: for somebody who just wants to look. Then
    ``settled`` is told of every measurement, in the monitor's thread, and ``started`` of the monitor itself.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        *,
        probe_only: bool = False,
        settled: Callable[[Measurement], None] = lambda measurement: None,
        started: Callable[[LatencyParts, TradingParts], None] = lambda latency, parts: None,
    ) -> None:
        self._loaded = loaded
        self._probe_only, self._settled, self._started = probe_only, settled, started
        self._config: Config = loaded.config
        self._stop = threading.Event()
        self._has_started = False  # as the log says
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._supervisor = Supervisor()
        self._service = ServiceNotifier(ServiceManager.of(os.environ), self._supervisor, time.monotonic())
        self._sandbox: SandboxProcess | None = None
        self._state: State | None = None
        self._ground: Ground | None = None
        self._reload_asked = False
        self._reloader: Reloader | None = None
        self._venues: VenuesParts | None = None
        self._starts: VenueStarts | None = None
        self._private: TradingVenue | None = None  # where orders are probed, as planned
        self._recording: RecordingParts | None = None
        self._incidents: IncidentParts | None = None
        self._books: Registry[BookParts] = Registry()
        self._latency: LatencyParts | None = None
        self._watching: WatchParts | None = None
        self._dashboard: DashboardParts | None = None
        self._metrics = MetricsRegistry()
        # what /healthz shows: of each venue from the beginning, and sections that come with their parts
        self._shown: Registry[VenueParts] = Registry()
        self._sections: Registry[Callable[[], Section]] = Registry()

    def run(self) -> ExitStatus:
        """Run in the calling (main) thread until a signal or a fatal failure."""
        self._take_signals()
        try:
            if not self._probe_only:
                check_writable(Path(self._config.recorder.directory), "recorder.directory")
            self._state = State(Path(self._config.state.path))
            self._state.claim()
            self._start()
            reason, status = self._watch()
            self._service.stopping(reason)
            log.info("daemon.stopping", reason=reason)
            return status
        finally:
            self._end()

    # Start --------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        assert self._state is not None
        ground = self._ground = Ground(self._loaded, self._supervisor, self._state, self._stop)
        try:
            venues = self._venues = wire_venues(ground, self._start_sandbox, probe_only=self._probe_only)
        except SandboxFailed:
            if self._stop.is_set():
                return
            raise
        self._sandbox = venues.sandbox
        if venues.sandbox is not None:
            lend_sandbox(self._state, venues.sandbox.urls)
        probed = venues.trading(self._config.latency.venue)
        self._private = plan_latency(ground, probed, wanted=self._probe_only) if probed is not None else None
        self._has_started = True
        log.info("daemon.started", version=binmon.__version__, config_hash=self._loaded.config_hash, pid=os.getpid())
        alerts = wire_alerts(ground)
        for name, parts in venues.markets.items():
            wire_clock(ground, parts)
            self._shown.put(name, VenueParts(parts.ledger, None, _offset_s(parts)))
        if not self._probe_only:
            self._recording = wire_recording(ground)
            self._incidents = wire_incidents(ground)
            self._watching = plan_watch(ground, venues.markets)
            applier = Applier(alerts, self._recording, self._books, lambda: self._latency, self._watching)
            self._watch_over(ground, venues, alerts, applier, self._watching)
        self._starts = VenueStarts(venues.markets, self._stop)
        self._starts.begin()

    def _watch_over(
        self, ground: Ground, venues: VenuesParts, alerts: AlertParts, applier: Applier, watching: WatchParts
    ) -> None:
        """What looks at all parts: the service manager's view, the status page, and who reloads."""
        config, recording, incidents = self._config, self._recording, self._incidents
        assert recording is not None and incidents is not None
        self._service.watch(self._view)
        self._sections.put("clocks", figures.clocks_section([parts.clock for parts in venues.markets.values()]))
        self._sections.put("start", lambda: figures.start_section(self._starts))
        self._sections.put("watch", watch_section(watching.desk))
        status = Status(
            StatusParts(
                self._supervisor,
                binmon.__version__,
                self._loaded.config_hash,
                ground.channels,
                self._shown,
                recording.recorder,
                recording.finisher,
                self._sections,
                config.metrics.per_symbol,
            )
        )
        private = self._private
        reloader = self._reloader = wire_reload(
            ground,
            venues.markets,
            applier,
            None if private is None else private.environment,
            ReloadHooks(
                self._service.reloading,
                self._service.reloaded,
                lambda loaded: status.configured(loaded.config_hash, loaded.config.metrics.per_symbol),
            ),
            watching.venues,
        )
        add = self._metrics.add
        add("status", status.figures)
        for name, parts in venues.markets.items():
            add(f"{name}-clock", partial(figures.clock_figures, parts.clock))
        add("alerts", lambda: figures.alert_figures(alerts.dispatcher, alerts.targets))
        add("reload", lambda: figures.reload_figures(reloader))
        add("log", lambda: figures.log_figures(logging.counts()))
        add("incidents", lambda: figures.incident_figures(incidents))
        add("watch", lambda: watch_figures(watching.desk))
        add("publisher", lambda: figures.publisher_figures(recording.publisher))
        self._serve_status(status)
        dashboard = wire_dashboard(ground, status.health, list(venues.markets), self._books, watching.desk)
        if dashboard is not None:
            self._dashboard = dashboard
            self._sections.put("dashboard", dashboard.section)
            recording.publisher.told.add(dashboard.tops)
            alerts.listen(dashboard.alerts)

    def _take_in(self, arrival: Arrival, starts: VenueStarts) -> None:
        """At the start, what is wrong with the configuration ends the run. A venue that comes back after hours without a
        symbol that is wanted of it costs its own parts alone: others have run all the while."""
        try:
            self._on_arrival(arrival)
        except ConfigError as error:
            if starts.for_s < _STRICT_FOR_S or not (self._books or self._latency):
                raise
            starts.left_out[arrival.venue] = str(error)
            log.error("venue.left_out", venue=arrival.venue, key=error.key, reason=error.problem)

    def _on_arrival(self, arrival: Arrival) -> None:
        """A venue has answered: its parts are built, with the configuration that is in force now."""
        ground, venues = self._ground, self._venues
        assert ground is not None and venues is not None
        parts, config, dashboard = venues.markets[arrival.venue], ground.config, self._dashboard
        if dashboard is not None:
            dashboard.arrived(arrival.venue, arrival.instruments)
        if self._recording is not None and any(one.venue == arrival.venue for one in config.books.selections()):
            assert self._incidents is not None
            observer = self._incidents.observer(parts.market)
            books = wire_books(ground, parts, arrival.instruments, self._recording, observer)
            self._books.put(arrival.venue, books)
            weight = parts.market.snapshot_weight(config.books.depth)
            self._shown.put(arrival.venue, VenueParts(parts.ledger, books.keeper, _offset_s(parts), weight))
            if self._watching is not None:
                self._watching.newcomers.open(arrival.venue, books.selections)
        if self._watching is not None and (watched := self._watching.venues.get(arrival.venue)) is not None:
            wire_watch(ground, parts, watched, arrival.instruments, self._watching)
        if self._private is not None and self._private.name == arrival.venue:
            trading = venues.trading(arrival.venue)
            assert trading is not None  # it was planned

            def settled(measurement: Measurement) -> None:
                self._settled(measurement)
                if dashboard is not None:
                    dashboard.measured(measurement)

            one = self._latency = wire_latency(ground, trading, self._private, arrival.instruments, settled)
            self._sections.put("latency", figures.latency_section(one.monitor, one.probe, one.stream))
            self._metrics.add(
                "latency",
                lambda: figures.latency_figures(one.monitor, one.probe, one.gate, one.stream, arrival.venue),
            )
            self._started(one, trading)

    def _view(self) -> ServiceView:
        """What the service manager is told."""
        recording, starts, venues = self._recording, self._starts, self._venues
        assert recording is not None and starts is not None and venues is not None
        probed = None if self._private is None else self._private.name
        return view_of(
            *(
                watched_venue(parts, self._books.get(name), self._latency if name == probed else None)
                for name, parts in venues.markets.items()
                if name not in starts.waiting
            ),
            waiting=starts.waiting,
            troubles=["the recording cannot be written"] if recording.recorder.failing else [],
        )

    def _start_sandbox(self, symbols: Sequence[str]) -> SandboxProcess:
        return SandboxProcess(symbols, self._asked_to_stop)

    def _serve_status(self, status: Status) -> None:
        """``/metrics`` and ``/healthz``."""
        section = self._config.metrics
        if not section.enabled:
            return
        try:
            server = StatusServer(
                "status-page",
                section.listen,
                render=self._metrics.render,
                health=status.health,
                observe=status.observe,
                book=partial(book_document, self._books),
            )
        except ConfigError as error:
            if "metrics.listen" in self._loaded.present_keys:
                raise
            # a second daemon on this machine, which nobody told of another port: books matter more than the page
            log.error("metrics.failed", source="metrics.listen", error=str(error))
            return
        self._supervisor.add(server, stage=3)

    # Run ----------------------------------------------------------------------------------------------------------

    def _watch(self) -> tuple[str, ExitStatus]:
        began_s = time.monotonic()
        gc.set_threshold(*_COLLECT)
        settle_at_s = [began_s + after_s for after_s in _SETTLED_AFTER_S]
        while not self._stop.is_set():
            self._wait(_START_TICK_S if self._starts is not None and self._starts.waiting else _TICK_S)
            now_s = time.monotonic()
            self._supervisor.tick(now_s)
            logging.tick()
            while self._starts is not None and (arrival := self._starts.take()) is not None:
                self._take_in(arrival, self._starts)
            if self._watching is not None:
                self._watching.desk.tick()
            if self._reloader is not None:
                self._reload(self._reloader, now_s)
            if settle_at_s and now_s >= settle_at_s[0]:
                del settle_at_s[0]
                gc.freeze()
            fatal = self._supervisor.fatal
            if fatal is not None:
                return f"worker {fatal.name} is fatal: {fatal.last_error}", ExitStatus.FAILED
            if self._sandbox is not None and self._sandbox.exit_status is not None and not self._stop.is_set():
                return f"the sandbox ended with status {self._sandbox.exit_status}", ExitStatus.FAILED
        return self._stop_reason, ExitStatus.DONE

    def _reload(self, reloader: Reloader, now_s: float) -> None:
        if self._reload_asked:
            self._reload_asked = False
            reloader.ask()
        reloader.tick(now_s)

    def _wait(self, seconds: float) -> None:
        """Wait for a signal; the handlers only enqueue, and this acts."""
        self._service.tick(time.monotonic())
        try:
            number = self._signals.get(timeout=seconds) if seconds else self._signals.get_nowait()
        except queue.Empty:
            return
        if number == signal.SIGHUP:
            self._reload_asked = True
        elif number == signal.SIGUSR1:
            for inbox in self._ground.rotatable if self._ground is not None else ():
                if not inbox.offer(RotateFeeds("asked by the operator")):
                    self._signals.put(number)  # the keeper is behind: asked again with the next look
        elif number in (signal.SIGINT, signal.SIGTERM):
            self._stop_reason = signal.Signals(number).name
            self._stop.set()

    def _asked_to_stop(self) -> bool:
        self._wait(0)
        return self._stop.is_set()

    _stop_reason = ""

    def _take_signals(self) -> None:
        def enqueue(number: int, _: FrameType | None) -> None:
            self._signals.put(number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, enqueue)

    # End ----------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        deadline = Deadline(STOP_WITHIN_S)
        self._stop.set()
        self._service.stopping()
        for name in self._supervisor.stop(deadline):
            log.error("worker.late", worker=name, error="it did not end within the deadline")
        if self._sandbox is not None:
            self._sandbox.stop(deadline)
        if self._dashboard is not None:
            self._dashboard.close()
        if self._state is not None:
            self._state.close()
        logging.flush_repeats()
        if self._has_started:
            log.info("daemon.stopped")


def _offset_s(parts: MarketParts) -> Callable[[], float | None]:
    """The venue's clock minus ours, None while it is not known."""

    def ask() -> float | None:
        reading = parts.clock.reading()
        return None if reading is None else reading.venue_minus_wall_ns / 1e9

    return ask


def check_writable(directory: Path, key: str) -> None:
    """Raise ConfigError unless files can be made in ``directory``; the recorder creates it when it is missing."""
    reason = why_unwritable(directory)
    if reason is not None:
        raise ConfigError(f"{directory}: expected a writable directory: {reason}", key=key)
