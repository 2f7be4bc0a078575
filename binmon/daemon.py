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

Each part is built by a module of `binmon.wiring`.
"""

from __future__ import annotations

import enum
import gc
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import structlog

import binmon
from binmon.config.loading import LoadedConfig
from binmon.config.places import why_unwritable
from binmon.config.schema import Config
from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.companion import SandboxFailed, SandboxProcess
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.core.systemd import ServiceManager
from binmon.errors import ConfigError, RetryError
from binmon.latency.measurement import Measurement
from binmon.messages import Instrument, RotateFeeds
from binmon.state import State
from binmon.status import Section, Status, StatusParts, VenueParts
from binmon.status_server import StatusServer
from binmon.telemetry.metrics import MetricsRegistry, Source
from binmon.wiring import figures
from binmon.wiring.alerts import wire_alerts
from binmon.wiring.binance import BinanceParts, wire_binance, wire_clock
from binmon.wiring.books import check_venues, wire_books
from binmon.wiring.ground import Ground
from binmon.wiring.latency import LatencyParts, plan_latency, wire_latency
from binmon.wiring.reload import Reloader, ReloadHooks, wire_reload
from binmon.wiring.service import ServiceNotifier, view_of, watched_parts

log = structlog.get_logger("binmon.daemon")

STOP_WITHIN_S = 4.5  # the contract says five
_TICK_S = 0.2
_CLOCK_SAMPLES = 3  # before anything starts: the best of some round trips
# Garbage is counted by references; cycles are rare here. Looking for them through a market of books stops all threads
# for 100 ms, so that is done seldom, and what has come to stay is left out.
_COLLECT = (50_000, 20, 100)
_SETTLED_AFTER_S = (30.0, 300.0)

# Sections of the contract that this version reads but does not run yet.
_NOT_YET = ("watch", "dashboard")


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
        started: Callable[[LatencyParts, BinanceParts], None] = lambda latency, binance: None,
    ) -> None:
        self._loaded = loaded
        self._probe_only, self._settled, self._started = probe_only, settled, started
        self._config: Config = loaded.config
        self._stop = threading.Event()
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._supervisor = Supervisor()
        self._service = ServiceNotifier(ServiceManager.of(os.environ), self._supervisor, time.monotonic())
        self._sandbox: SandboxProcess | None = None
        self._state: State | None = None
        self._ground: Ground | None = None
        self._reload_asked = False
        self._reloader: Reloader | None = None

    def run(self) -> ExitStatus:
        """Run in the calling (main) thread until a signal or a fatal failure."""
        self._take_signals()
        try:
            if not self._probe_only:
                self._warn_of_unused_sections()
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
        config = self._config
        selections = config.books.selections()
        check_venues(selections)
        assert self._state is not None
        ground = self._ground = Ground(self._loaded, self._supervisor, self._state, self._stop)
        try:
            wanted: list[Sequence[str] | str] = [selection.symbols for selection in selections]
            if config.latency.enabled:
                wanted.append([config.latency.symbol])
            binance, self._sandbox = wire_binance(ground, self._start_sandbox, wanted)
        except SandboxFailed:
            if self._stop.is_set():
                return
            raise
        trading = plan_latency(ground, binance, wanted=self._probe_only)
        log.info("daemon.started", version=binmon.__version__, config_hash=self._loaded.config_hash, pid=os.getpid())
        instruments = self._ask_venue(binance)
        if instruments is None:
            return
        alerts = wire_alerts(ground)
        wire_clock(ground, binance)
        if self._probe_only:
            assert trading is not None  # it was wanted
            self._started(wire_latency(ground, binance, trading, instruments, self._settled), binance)
            return
        books = wire_books(ground, binance.market, selections, instruments, binance.offset_ms)
        latency = wire_latency(ground, binance, trading, instruments) if trading is not None else None
        watched = watched_parts(binance, books, latency)
        self._service.watch(lambda: view_of(watched))
        sections: dict[str, Callable[[], Section]] = {"clock": figures.clock_section(binance.clock)}
        sources: dict[str, Source] = {
            "clock": lambda: figures.clock_figures(binance.clock),
            "alerts": lambda: figures.alert_figures(alerts.dispatcher, alerts.targets),
        }
        if latency is not None:
            one = latency
            sections["latency"] = figures.latency_section(one.monitor, one.probe, one.stream)
            sources["latency"] = lambda: figures.latency_figures(
                one.monitor, one.probe, one.gate, one.stream, binance.market.name
            )
        parts = StatusParts(
            self._supervisor,
            binmon.__version__,
            self._loaded.config_hash,
            ground.channels,
            {
                binance.market.name: VenueParts(
                    binance.ledger,
                    books.keeper,
                    lambda: binance.offset_ms() / 1000,
                    binance.market.snapshot_weight(config.books.depth),
                )
            },
            books.recorder,
            books.finisher,
            sections,
        )
        status = Status(parts)
        reloader = self._reloader = wire_reload(
            ground,
            binance,
            alerts,
            books,
            latency,
            ReloadHooks(
                self._service.reloading, self._service.reloaded, lambda loaded: status.configured(loaded.config_hash)
            ),
        )
        sources["reload"] = lambda: figures.reload_figures(reloader)
        self._serve_status(status, sources)

    def _start_sandbox(self, symbols: Sequence[str]) -> SandboxProcess:
        return SandboxProcess(symbols, self._asked_to_stop)

    def _serve_status(self, status: Status, sources: Mapping[str, Source]) -> None:
        """``/metrics`` and ``/healthz``."""
        section = self._config.metrics
        if not section.enabled:
            return
        registry = MetricsRegistry()
        registry.add("status", status.figures)
        for name, source in sources.items():
            registry.add(name, source)
        try:
            server = StatusServer(
                "status-page",
                section.listen,
                render=registry.render,
                health=status.health,
                observe=status.observe,
            )
        except ConfigError as error:
            if "metrics.listen" in self._loaded.present_keys:
                raise
            # a second daemon on this machine, which nobody told of another port: books matter more than the page
            log.error("metrics.failed", source="metrics.listen", error=str(error))
            return
        self._supervisor.add(server, stage=3)

    def _ask_venue(self, binance: BinanceParts) -> Mapping[str, Instrument] | None:
        """Its instruments, with its clock measured; None when stopped before the venue answered.

        The asking is done in a thread, because a request may take longer than a stop should.
        """
        answers: queue.SimpleQueue[Mapping[str, Instrument] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._asked_until_answered(binance))
            except Exception as error:  # handed to the main thread, which raises it
                answers.put(error)

        threading.Thread(target=ask, name=f"{binance.market.name}-start", daemon=True).start()
        while not self._stop.is_set():
            self._wait(0.02)
            if not answers.empty():
                answer = answers.get()
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return None

    def _asked_until_answered(self, binance: BinanceParts) -> Mapping[str, Instrument]:
        backoff = Backoff(BackoffPolicy(first_s=0.5, cap_s=30.0))
        while True:
            try:
                instruments = binance.market.instruments(self._stop)
                for _ in range(_CLOCK_SAMPLES):
                    binance.clock.add([binance.take_sample(self._stop)])
                binance.ledger.set_clock_offset(binance.offset_ms() / 1000)
                return instruments
            except RetryError as error:
                delay_s = max(backoff.next_delay_s(), error.retry_after_s)
                if self._stop.is_set():
                    raise
                log.error("venue.unreachable", venue=binance.market.name, error=str(error), delay_s=round(delay_s, 3))
                self._stop.wait(delay_s)

    def _warn_of_unused_sections(self) -> None:
        for section in _NOT_YET:
            if section in self._loaded.present_keys:
                log.warning("config.unused", key=section, reason=f"{section} is not part of this version")

    # Run ----------------------------------------------------------------------------------------------------------

    def _watch(self) -> tuple[str, ExitStatus]:
        began_s = time.monotonic()
        gc.set_threshold(*_COLLECT)
        settle_at_s = [began_s + after_s for after_s in _SETTLED_AFTER_S]
        while not self._stop.is_set():
            self._wait(_TICK_S)
            now_s = time.monotonic()
            self._supervisor.tick(now_s)
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
        if self._state is not None:
            self._state.close()
        log.info("daemon.stopped")


def check_writable(directory: Path, key: str) -> None:
    """Raise ConfigError unless files can be made in ``directory``; the recorder creates it when it is missing."""
    reason = why_unwritable(directory)
    if reason is not None:
        raise ConfigError(f"{directory}: expected a writable directory: {reason}", key=key)
