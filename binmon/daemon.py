"""The wiring page: builds what the configuration asks for, connects the queues, and runs it until told to stop.

::

    sockets ──────────frames─────▶ ┌────────┐ ──rows, events──▶ recorder ──closed segments──▶ finisher ─▶ dataset
            ◀──opened, closed──── │        │
    fetchers ─────────snapshots──▶ │ keeper │ ──tops──────────▶ publisher ─▶ log
              ◀──────wanted─────── │        │
    listings ─symbols that changed▶└────────┘
"""

from __future__ import annotations

import enum
import gc
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

import binmon
from binmon.books.feeds import FeedOutlets
from binmon.books.fetcher import SnapshotFetcher
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.listings import ListingFollower
from binmon.config.loading import LoadedConfig
from binmon.config.places import why_unwritable
from binmon.config.schema import BinanceConfig, Config
from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.channel import Channel, Overflow
from binmon.core.companion import SandboxFailed, SandboxProcess
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.errors import ConfigError, RetryError
from binmon.messages import (
    BookEvent,
    BookSnapshot,
    Evidence,
    Instrument,
    RotateFeeds,
    SnapshotWanted,
    TopOfBook,
)
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.net.rotation import RotationWindow
from binmon.publish.publisher import TopPublisher
from binmon.recorder.finisher import SegmentFinisher
from binmon.recorder.layout import last_epochs
from binmon.recorder.segment import RecordingFacts
from binmon.recorder.writer import Recorder
from binmon.state import State
from binmon.status import Status, StatusParts, VenueParts
from binmon.status_server import StatusServer
from binmon.telemetry.metrics import MetricsRegistry
from binmon.venues.base import Venue
from binmon.venues.binance.endpoints import URLS, BinanceUrls
from binmon.venues.binance.market import BinanceMarket
from binmon.venues.sockets import Sockets
from binmon.venues.symbols import resolve

log = structlog.get_logger("binmon.daemon")

STOP_WITHIN_S = 4.5  # the contract says five
_TICK_S = 0.2
_INBOX_CHUNKS = 8_192
# Rows that may wait: a full-depth one is 160 KiB, so a few books get 80 MiB; most of a market's books are small, and
# four rows of each are four seconds of a disk that does not answer.
_ROWS, _ROWS_A_BOOK, _MOST_ROWS = 512, 4, 8_192
# Garbage is counted by references; cycles are rare here. Looking for them through a market of books stops all threads
# for 100 ms, so that is done seldom, and what has come to stay is left out.
_COLLECT = (50_000, 20, 100)
_SETTLED_AFTER_S = (30.0, 300.0)
_INITIAL_FETCHERS = 3  # snapshots of a whole market: the way to the venue and back is most of the time

# Sections of the contract that this version reads but does not run yet.
_NOT_YET = (
    "latency",
    "watch",
    "execution",
    "alerts",
    "dashboard",
    "reload",
)

# The embedded sandbox invents any symbol it is asked for; a typing error must still be found out.
_WELL_KNOWN = frozenset(
    [
        "BTC",
        "ETH",
        "BNB",
        "SOL",
        "XRP",
        "ADA",
        "DOGE",
        "TRX",
        "AVAX",
        "DOT",
        "LINK",
        "LTC",
        "BCH",
        "XLM",
        "ATOM",
        "NEAR",
        "UNI",
        "APT",
        "ARB",
        "OP",
        "SUI",
        "FIL",
        "ETC",
        "ICP",
        "AAVE",
    ]
)
_WELL_KNOWN_QUOTES = ("USDT", "USDC", "BTC", "ETH", "BNB", "EUR")


class ExitStatus(enum.IntEnum):
    """What ``binmon run`` tells its parent."""

    DONE = 0
    FAILED = 1


class Daemon:
    """One run. Raises ConfigError when the configuration asks for what cannot be."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded
        self._config: Config = loaded.config
        self._stop = threading.Event()
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._supervisor = Supervisor()
        self._sandbox: SandboxProcess | None = None
        self._state: State | None = None
        self._inboxes: list[Channel[Any]] = []
        self._ledgers: dict[str, RateLedger] = {}

    def run(self) -> ExitStatus:
        """Run in the calling (main) thread until a signal or a fatal failure."""
        self._take_signals()
        try:
            self._warn_of_unused_sections()
            check_writable(Path(self._config.recorder.directory), "recorder.directory")
            self._state = State(Path(self._config.state.path))
            self._start()
            reason, status = self._watch()
            log.info("daemon.stopping", reason=reason)
            return status
        finally:
            self._end()

    # Start --------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        config = self._config
        selections = config.books.selections()
        for selection in selections:
            if selection.venue != "binance":
                raise ConfigError(
                    f"'{selection.venue}': this version keeps the books of binance only", key="books.venue"
                )
        try:
            venue = self._binance(config.venues.binance, [selection.symbols for selection in selections])
        except SandboxFailed:
            if self._stop.is_set():
                return
            raise
        log.info("daemon.started", version=binmon.__version__, config_hash=self._loaded.config_hash, pid=os.getpid())
        asked = self._ask_venue(venue)
        if asked is None:
            return
        instruments, clock_offset_ms = asked
        self._ledgers[venue.name].set_clock_offset(clock_offset_ms / 1000)
        # a symbol that two selections name is kept once
        symbols = list(dict.fromkeys(s for one in selections for s in resolve(one.symbols, instruments, venue.name)))
        kept = {symbol: instruments[symbol] for symbol in symbols}
        directory = Path(config.recorder.directory)
        epochs = last_epochs(directory)

        rows: Channel[BookSnapshot | BookEvent | Evidence] = Channel(
            "recorder", min(_MOST_ROWS, max(_ROWS, _ROWS_A_BOOK * len(kept))), Overflow.DROP_NEWEST
        )
        closed: Channel[Path] = Channel("finisher", 1_024, Overflow.DROP_NEWEST)
        tops: Channel[TopOfBook] = Channel("publisher", 4_096, Overflow.DROP_OLDEST)
        inbox: Channel[Any] = Channel("keeper", _INBOX_CHUNKS, Overflow.DROP_NEWEST)
        self._inboxes.append(inbox)
        # one request a symbol is all that can wait in each, plus what a venue lists later
        room = 4 * len(instruments) + 64
        initial: Channel[SnapshotWanted] = Channel("snapshots-initial", room, Overflow.DROP_NEWEST)
        resync: Channel[SnapshotWanted] = Channel("snapshots-resync", room, Overflow.DROP_NEWEST)
        upkeep: Channel[SnapshotWanted] = Channel("snapshots-upkeep", room, Overflow.DROP_NEWEST)
        probes: Channel[SnapshotWanted] = Channel("stall-probes", room, Overflow.DROP_NEWEST)

        recorder = Recorder(
            directory,
            rows,
            closed,
            flush_interval_s=config.recorder.flush_interval_s,
            rotate_s=config.recorder.rotate_s,
            facts=self._facts(venue, kept, clock_offset_ms),
        )
        sockets = Sockets(venue, self._supervisor, inbox, self._ledgers[venue.name])
        keeper = BookKeeper(
            f"{venue.name}-books",
            venue,
            {symbol: epochs.get((venue.name, symbol), 0) for symbol in symbols},
            inbox,
            KeeperOutlets(
                initial,
                resync,
                upkeep,
                probes,
                rows,
                tops,
                FeedOutlets(sockets.open, sockets.close, sockets.reconnect),
            ),
            KeeperSettings(
                config.books.snapshot_every,
                config.books.depth,
                config.books.record_depth,
                config.publish.interval_ms,
                venue.weight_per_minute,
                config.books.redundancy,
                config.books.audit_interval_s,
                RotationWindow.parse(config.books.rotate_window),
            ),
        )
        # Stages: producers end before the consumers they feed, so that what is under way still arrives.
        add = self._supervisor.add
        finisher = SegmentFinisher(
            directory,
            closed,
            format=config.recorder.format,
            keep_days=config.recorder.keep_days,
            keep_gb=config.recorder.keep_gb,
        )
        add(finisher, stage=3)
        add(recorder, stage=2)
        add(TopPublisher("publisher", tops), stage=2)
        add(keeper, stage=1)  # it opens its sockets by itself
        for number in range(1, _INITIAL_FETCHERS + 1):
            add(SnapshotFetcher(f"{venue.name}-snapshots-{number}", venue, initial, inbox), stage=0)
        add(SnapshotFetcher(f"{venue.name}-resyncs", venue, resync, inbox), stage=0)
        add(SnapshotFetcher(f"{venue.name}-upkeep", venue, upkeep, inbox), stage=0)
        add(SnapshotFetcher(f"{venue.name}-probes", venue, probes, inbox), stage=0)
        choices = [one.symbols for one in selections if isinstance(one.symbols, str)]
        if choices:

            def follow(listed: Mapping[str, Instrument]) -> None:
                recorder.facts = self._facts(venue, listed, clock_offset_ms)

            follower = ListingFollower(
                f"{venue.name}-listings",
                venue,
                choices,
                fixed=[s for one in selections if not isinstance(one.symbols, str) for s in one.symbols],
                present=symbols,
                epochs=epochs,
                inbox=inbox,
                changed=follow,
                interval_s=config.watch.listings.interval_s,
            )
            add(follower, stage=0)

        resync_weight = venue.snapshot_weight(config.books.depth)
        self._serve_status(
            StatusParts(
                self._supervisor,
                binmon.__version__,
                self._loaded.config_hash,
                (inbox, rows, closed, tops, initial, resync, upkeep, probes),
                {
                    venue.name: VenueParts(
                        self._ledgers[venue.name], keeper, lambda: clock_offset_ms / 1000, resync_weight
                    )
                },
                recorder,
                finisher,
            )
        )

    def _serve_status(self, parts: StatusParts) -> None:
        """``/metrics`` and ``/healthz``."""
        section = self._config.metrics
        if not section.enabled:
            return
        status, registry = Status(parts), MetricsRegistry()
        registry.add("status", status.figures)
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

    def _facts(self, venue: Venue, instruments: Mapping[str, Instrument], clock_offset_ms: float) -> RecordingFacts:
        return RecordingFacts(
            instruments={(venue.name, symbol): instrument for symbol, instrument in instruments.items()},
            version=binmon.__version__,
            config_hash=self._loaded.config_hash,
            clock_offset_ms=clock_offset_ms,
        )

    def _binance(self, section: BinanceConfig, wanted: Sequence[Sequence[str] | str]) -> Venue:
        """The venue at the addresses of its environment, or of the overrides."""
        overrides = section.endpoints
        if section.environment == "sandbox":
            if overrides.rest is None or overrides.stream is None:
                self._sandbox = SandboxProcess(_known_symbols(wanted), self._asked_to_stop)
                urls = self._sandbox.urls
                log.info("sandbox.started", rest=urls.rest, stream=urls.stream, pid=self._sandbox.pid)
                base = BinanceUrls(urls.rest, urls.stream, "")
            else:
                base = BinanceUrls("", "", "")
        else:
            base = URLS[section.environment]
        assert self._state is not None
        state = self._state
        ledger = RateLedger(
            "binance",
            ban_until_ms=state.ban_until_ms("binance"),
            on_ban=lambda until_ms: state.keep_ban("binance", until_ms),
        )
        self._ledgers["binance"] = ledger
        rest = RestSession("binance", overrides.rest or base.rest, ledger)
        return BinanceMarket(rest, ledger, overrides.stream or base.stream)

    def _ask_venue(self, venue: Venue) -> tuple[Mapping[str, Instrument], float] | None:
        """Instruments and clock offset in ms; None when stopped before the venue answered.

        The asking is done in a thread, because a request may take longer than a stop should.
        """
        answers: queue.SimpleQueue[tuple[Mapping[str, Instrument], float] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._asked_until_answered(venue))
            except Exception as error:  # handed to the main thread, which raises it
                answers.put(error)

        threading.Thread(target=ask, name=f"{venue.name}-start", daemon=True).start()
        while not self._stop.is_set():
            self._wait(0.02)
            if not answers.empty():
                answer = answers.get()
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return None

    def _asked_until_answered(self, venue: Venue) -> tuple[Mapping[str, Instrument], float]:
        backoff = Backoff(BackoffPolicy(first_s=0.5, cap_s=30.0))
        while True:
            try:
                instruments = venue.instruments(self._stop)
                return instruments, round(venue.clock_offset_ms(self._stop), 3)
            except RetryError as error:
                delay_s = max(backoff.next_delay_s(), error.retry_after_s)
                if self._stop.is_set():
                    raise
                log.error("venue.unreachable", venue=venue.name, error=str(error), delay_s=round(delay_s, 3))
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
            if settle_at_s and now_s >= settle_at_s[0]:
                del settle_at_s[0]
                gc.freeze()
            fatal = self._supervisor.fatal
            if fatal is not None:
                return f"worker {fatal.name} is fatal: {fatal.last_error}", ExitStatus.FAILED
            if self._sandbox is not None and self._sandbox.exit_status is not None and not self._stop.is_set():
                return f"the sandbox ended with status {self._sandbox.exit_status}", ExitStatus.FAILED
        return self._stop_reason, ExitStatus.DONE

    def _wait(self, seconds: float) -> None:
        """Wait for a signal; the handlers only enqueue, and this acts."""
        try:
            number = self._signals.get(timeout=seconds) if seconds else self._signals.get_nowait()
        except queue.Empty:
            return
        if number == signal.SIGHUP:
            log.warning("config.unused", key="reload", reason="this version applies a changed file at a restart only")
        elif number == signal.SIGUSR1:
            for inbox in self._inboxes:
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


def _known_symbols(wanted: Sequence[Sequence[str] | str]) -> list[str]:
    """The well-known ones among the symbols asked for; none when the choice is left to the venue."""
    named = {symbol for choice in wanted if not isinstance(choice, str) for symbol in choice}
    known = {
        symbol
        for symbol in named
        for quote in _WELL_KNOWN_QUOTES
        if symbol.endswith(quote) and symbol.removesuffix(quote) in _WELL_KNOWN
    }
    return sorted(known | {"BTCUSDT", "ETHUSDT"}) if named else []
