"""A venue for somebody who looks: candles, trades or symbols, without a daemon and beside one.

A `Looking` starts what it needs in a thread of its own (the embedded sandbox where the configuration wants that and no
daemon lends its own, the question for the symbols, the workers of `binmon.watch`), restarts what fails, and ends all of it
when it is closed. The thread that looks reads public attributes and the channel of messages; neither ever waits for the
other. A sandbox that was lent is the daemon's: it goes on when the look ends, and the look ends, and says why, when it goes.

It carries no key of the configuration: whatever that names, nothing private can be asked or sent. It keeps to the bans in
the state database (`state.path`), and writes nothing there but one that it meets itself.
"""

from __future__ import annotations

import dataclasses
import enum
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from binmon.config.loading import LoadedConfig
from binmon.config.places import is_there
from binmon.config.schema import BookSelection, Config, ListingsConfig, VenueName, WatchConfig
from binmon.core.backoff import Backoff, BackoffPolicy
from binmon.core.channel import Channel, Overflow
from binmon.core.companion import SandboxFailed, SandboxProcess
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor, WorkerState
from binmon.core.worker import Worker
from binmon.errors import BinmonError, ConfigError, RetryError
from binmon.messages import Candle, CandlesChanged, Instrument, PriceCrossed, PriceReturned, Trade
from binmon.net.rotation import RotationWindow
from binmon.state import State
from binmon.venues.binance.watching import BinanceWatching
from binmon.venues.bybit.watching import BybitWatching
from binmon.venues.sockets import Sockets
from binmon.venues.watching import WatchingVenue, check_symbol, watch_connections
from binmon.watch.candles import CandleRule, CandleWatcher
from binmon.watch.feeds import WatchFeeds, WatchSockets
from binmon.watch.fetcher import WatchFetcher
from binmon.watch.series import SeriesState
from binmon.watch.thresholds import Line, Side
from binmon.watch.trades import TradeRule, TradeWatcher
from binmon.wiring.ground import Ground
from binmon.wiring.lending import Lender
from binmon.wiring.venues import MarketParts, uses_embedded_sandbox, wire_clock, wire_venue, wire_venues
from binmon.wiring.watch import watching_of

PRICES = ("open", "high", "low", "close")
"""The prices of a candle that may be held against a line."""
INTERVALS: Mapping[str, tuple[str, ...]] = {"binance": BinanceWatching.intervals, "bybit": BybitWatching.intervals}
"""The venues that can be looked at, and the intervals of their candles."""

_TICK_S = 0.05
_END_WITHIN_S = 4.5
_INBOX, _QUESTIONS, _MESSAGES = 8_192, 64, 65_536
_ASK_AGAIN = BackoffPolicy(first_s=0.5, cap_s=30.0)
_NO_KEYS = {"api_key": "", "api_secret": ""}

Seen = CandlesChanged | Trade | PriceCrossed | PriceReturned
"""What a `Looking` tells."""
Wanted = CandleRule | TradeRule | None
"""What is looked at; None: the symbols alone."""


class Stage(enum.Enum):
    """How far a `Looking` is."""

    STARTING = "starting"  # parts are built, and the sandbox where there is one
    ASKING = "asking"  # the venue is asked for its symbols, again and again
    RUNNING = "running"
    ENDED = "ended"  # closed, or failed: see ``error``


_ALLOWED = {
    Stage.STARTING: {Stage.ASKING, Stage.ENDED},
    Stage.ASKING: {Stage.RUNNING, Stage.ENDED},
    Stage.RUNNING: {Stage.ENDED},
    Stage.ENDED: set(),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """How things stand, for people. ``is_live``: the newest there is comes in; else ``text`` says what is in the way, which
    ``is_trouble`` when it was tried and has failed."""

    is_live: bool
    text: str
    is_trouble: bool = False


class Looking:
    """One venue, looked at. ``messages`` takes what is seen; whoever reads too slowly loses the oldest, which it counts.

    ``instruments`` are the venue's symbols from RUNNING on. ``error`` is why it ended, None when it was closed.
    """

    def __init__(
        self, loaded: LoadedConfig, venue: str, wanted: Wanted = None, *, history: int = 1000, patient: bool = True
    ) -> None:
        """``history``: how many candles of the series are kept. ``patient``: a venue that does not answer is asked
        until it does; else that is an error. Raises ConfigError for what is wrong whatever the venue says."""
        check_wanted(venue, wanted)
        self.venue_name, self.wanted = venue, wanted
        self._config = _config_for(loaded, venue, wanted)
        self._loaded = dataclasses.replace(loaded, config=self._config)
        self._history, self._patient = max(2, history), patient
        self.messages: Channel[Seen] = Channel("looking", _MESSAGES, Overflow.DROP_OLDEST)
        self.stage = Stage.STARTING
        self.error: BaseException | None = None
        self.instruments: Mapping[str, Instrument] = {}
        self._trouble = ""
        self._stop = threading.Event()
        self._supervisor = Supervisor()
        self._watcher: CandleWatcher | TradeWatcher | None = None
        self._sandbox: SandboxProcess | None = None
        self._lender: Lender | None = None  # where the sandbox of a daemon may be looked at
        self._state: State | None = None
        self._thread = threading.Thread(target=self._run, name=f"{venue}-looking", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Reading, by any thread ---------------------------------------------------------------------------------------

    @property
    def environment(self) -> str:
        """Which environment of the venue is looked at."""
        return self._config.venues.environment(_venue_name(self.venue_name))

    @property
    def candles(self) -> tuple[Candle, ...]:
        """The series as it stands, oldest first; empty while its history is not there."""
        watcher, wanted = self._watcher, self.wanted
        if not isinstance(watcher, CandleWatcher) or not isinstance(wanted, CandleRule):
            return ()
        view = watcher.views.get((wanted.symbol, wanted.interval))
        return () if view is None else view.candles

    @property
    def sides(self) -> tuple[tuple[Line, Side], ...]:
        """Where the price stands to each line."""
        watcher, wanted = self._watcher, self.wanted
        if isinstance(watcher, CandleWatcher) and isinstance(wanted, CandleRule):
            series = watcher.views.get((wanted.symbol, wanted.interval))
            return () if series is None else series.sides
        if isinstance(watcher, TradeWatcher) and isinstance(wanted, TradeRule):
            trades = watcher.views.get(wanted.symbol)
            return () if trades is None else trades.sides
        return ()

    @property
    def connection(self) -> Connection:
        """How things stand."""
        name = self.venue_name
        if self.stage is Stage.ENDED:
            return Connection(False, "ended")
        if self.stage is Stage.STARTING:
            return Connection(False, "starting")
        if self.stage is Stage.ASKING:
            trouble = self._trouble
            return Connection(False, trouble or f"connecting to {name}", bool(trouble))
        state = self._state_of_stream()
        if state is SeriesState.LIVE:
            return Connection(True, "connected")
        if state is SeriesState.REPAIRING:
            return Connection(True, "connected, asking for what is missing")
        reason = self._why_down()
        if state is SeriesState.LOADING and not reason:
            return Connection(False, f"connecting to {name}")
        return Connection(False, f"reconnecting: {reason}" if reason else "reconnecting", True)

    @property
    def symbol(self) -> str:
        """The symbol that is looked at."""
        return "" if self.wanted is None else self.wanted.symbol

    def wait(self, timeout_s: float) -> bool:
        """Wait until it runs or has ended; whether that is so. Raises its ``error``."""
        deadline = Deadline(timeout_s)
        while self.stage in (Stage.STARTING, Stage.ASKING) and not deadline.passed:
            self._thread.join(_TICK_S)
        self.check()
        return self.stage in (Stage.RUNNING, Stage.ENDED)

    def check(self) -> None:
        """Raise what it has ended by, if anything."""
        if self.error is not None:
            raise self.error

    @property
    def is_closed(self) -> bool:
        """Whether the end was asked for."""
        return self._stop.is_set()

    def ask_to_end(self) -> None:
        """Have all of it end, without waiting for that."""
        self._stop.set()

    def close(self) -> None:
        """End all of it and wait for that. Any number of times."""
        self._stop.set()
        self._thread.join(_END_WITHIN_S + 2.0)

    # The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._start()
            while not self._stop.wait(_TICK_S):
                self._supervisor.tick(time.monotonic())
                fatal = self._supervisor.fatal
                if fatal is not None:
                    raise BinmonError(f"{fatal.name} failed: {fatal.last_error}")
                if self._sandbox is not None and self._sandbox.exit_status is not None:
                    raise SandboxFailed(f"the sandbox ended with status {self._sandbox.exit_status}")
                self._check_lender()
        except BaseException as error:  # handed to whoever looks
            if not (self._stop.is_set() and isinstance(error, BinmonError)):
                self.error = error
        finally:
            self._end()

    def _start(self) -> None:
        name = self.venue_name
        self._state = _state_of(Path(self._config.state.path))
        ground = Ground(self._loaded, self._supervisor, self._state, self._stop)
        if uses_embedded_sandbox(name, self._config):
            self._lender = Lender(self._state)
        lent = self._lender.lent if self._lender is not None else None
        parts: MarketParts
        if lent is not None:
            parts = wire_venue(name, ground, lent)
        else:
            parts = wire_venues(ground, self._start_sandbox).markets[name]
        self._move_to(Stage.ASKING)
        instruments = self._ask(parts)
        if self._stop.is_set():
            return
        venue = watching_of(parts)
        assert venue is not None  # `INTERVALS` has it
        if self.wanted is not None:
            whose = venue.name if lent is None else f"{venue.name}, the local exchange of the running daemon"
            check_symbol(whose, self.wanted.symbol, instruments, "SYMBOL")
            wire_clock(ground, parts)
            self._watch(ground, venue, parts, self.wanted)
        self.instruments = instruments
        self._move_to(Stage.RUNNING)

    def _start_sandbox(self, symbols: Sequence[str]) -> SandboxProcess:
        # kept at once: it must be ended, whatever fails from here on
        self._sandbox = SandboxProcess(symbols, self._stop.is_set)
        return self._sandbox

    def _check_lender(self) -> None:
        if self._lender is not None:
            self._lender.check(is_trouble=self.connection.is_trouble)

    def _ask(self, parts: MarketParts) -> Mapping[str, Instrument]:
        """The venue's symbols, asked for until it answers. Raises what no patience mends."""
        backoff = Backoff(_ASK_AGAIN)
        while True:
            try:
                instruments = parts.market.instruments(self._stop)
                parts.clock.add([parts.take_sample(self._stop)])
                parts.ledger.set_clock_offset(parts.offset_ms() / 1000)
                return instruments
            except RetryError as error:
                if self._stop.is_set() or not self._patient:
                    raise
                self._check_lender()
                delay_s = max(backoff.next_delay_s(), error.retry_after_s)
                self._trouble = f"{self.venue_name} does not answer ({error}), asking again in {delay_s:.1f} s"
                self._stop.wait(delay_s)

    def _watch(self, ground: Ground, venue: WatchingVenue, parts: MarketParts, wanted: CandleRule | TradeRule) -> None:
        """Start the worker that watches, with what it stands on."""
        name = self._feed_name
        inbox: Channel[Any] = Channel(name, _INBOX, Overflow.DROP_NEWEST)
        questions: Channel[Any] = Channel(f"{name}-questions", _QUESTIONS, Overflow.DROP_NEWEST)
        sockets = Sockets(watch_connections(venue, inbox, parts.ledger), ground.supervisor, parts.ledger)
        feeds = WatchFeeds(
            venue.name,
            name,
            WatchSockets(sockets.open, sockets.close, sockets.reconnect),
            RotationWindow.parse(ground.config.books.rotate_window),
            most_streams=venue.streams_per_connection,
        )
        common: dict[str, Any] = {
            "inbox": inbox, "wanted": questions, "signals": _Nobody(), "feeds": feeds, "listeners": (self.messages,),
        }  # fmt: skip
        watcher: CandleWatcher | TradeWatcher
        if isinstance(wanted, CandleRule):
            watcher = CandleWatcher(f"{name}-watcher", venue, [wanted], history=self._history, **common)
        else:
            watcher = TradeWatcher(f"{name}-watcher", venue, [wanted], **common)
        self._watcher = watcher
        workers: list[tuple[Worker, int]] = [
            (WatchFetcher(f"{name}-fetcher", venue, questions, inbox), 0), (watcher, 1),
        ]  # fmt: skip
        for worker, stage in workers:
            ground.supervisor.add(worker, stage=stage)

    def _end(self) -> None:
        deadline = Deadline(_END_WITHIN_S)
        self._stop.set()
        self._supervisor.stop(deadline)
        if self._sandbox is not None:
            self._sandbox.stop(deadline)
        if self._state is not None:
            self._state.close()
        self._move_to(Stage.ENDED)

    # Inside -------------------------------------------------------------------------------------------------------

    def _state_of_stream(self) -> SeriesState:
        """The state of what is watched, in the words of a series."""
        watcher, wanted = self._watcher, self.wanted
        if isinstance(watcher, CandleWatcher) and isinstance(wanted, CandleRule):
            series = watcher.views.get((wanted.symbol, wanted.interval))
            return SeriesState.LOADING if series is None else series.state
        if isinstance(watcher, TradeWatcher) and isinstance(wanted, TradeRule):
            trades = watcher.views.get(wanted.symbol)
            if trades is not None and trades.live:
                return SeriesState.LIVE
            return SeriesState.LOADING if trades is None or trades.newest is None else SeriesState.DOWN
        return SeriesState.LIVE

    def _why_down(self) -> str:
        """What the connection has ended by, while it waits for its next attempt."""
        for status in self._supervisor.statuses():
            if status.name.startswith(self._feed_name) and status.state is WorkerState.BACKOFF:
                return status.last_error.partition(": ")[2] or status.last_error
        return ""

    @property
    def _feed_name(self) -> str:
        return f"{self.venue_name}-looking"

    def _move_to(self, stage: Stage) -> None:
        """The only writer of ``stage``."""
        if stage not in _ALLOWED[self.stage]:
            raise RuntimeError(f"looking: {self.stage.name} -> {stage.name} is not allowed")
        self.stage = stage


class _Nobody:
    """Alerts of a look are for nobody: whoever looks sees the crossing itself."""

    def offer(self, message: object) -> bool:
        return True


def check_wanted(venue: str, wanted: Wanted) -> None:
    """Raise ConfigError, with the valid values, for what no answer of a venue could mend."""
    if venue not in INTERVALS:
        raise ConfigError(f"'{venue}' has no streams to look at, expected one of {' '.join(INTERVALS)}", key="--venue")
    if isinstance(wanted, CandleRule):
        if wanted.interval not in INTERVALS[venue]:
            valid = " ".join(INTERVALS[venue])
            raise ConfigError(f"'{wanted.interval}' is no interval of {venue}, expected one of {valid}", key="INTERVAL")
        if wanted.price not in PRICES:
            raise ConfigError(
                f"'{wanted.price}' is no price of a candle, expected one of {' '.join(PRICES)}", key="--price"
            )


def _config_for(loaded: LoadedConfig, venue: str, wanted: Wanted) -> Config:
    """The configuration without keys, with this venue and symbol among what it wants. Where the sandbox is embedded the rest
    stays, so that it lists what the daemon's lists; else there is nothing but this venue."""
    config, name = loaded.config, _venue_name(venue)
    venues = msgspec.structs.replace(
        config.venues,
        binance=msgspec.structs.replace(config.venues.binance, private_key_file=None, session_logon=False, **_NO_KEYS),
        bybit=msgspec.structs.replace(config.venues.bybit, **_NO_KEYS),
    )
    config = msgspec.structs.replace(config, venues=venues)
    selections: tuple[BookSelection, ...] = ()
    if uses_embedded_sandbox(venue, config):
        selections = config.books.selections()
    else:
        config = msgspec.structs.replace(
            config,
            latency=msgspec.structs.replace(config.latency, enabled=False),
            watch=WatchConfig(listings=ListingsConfig(enabled=False)),
        )
    if wanted is not None:
        selections = (*selections, BookSelection(venue=name, symbols=(wanted.symbol,)))
    elif not any(one.venue == venue for one in selections):
        selections = (*selections, BookSelection(venue=name, symbols="all"))
    books = msgspec.structs.replace(config.books, venue=selections)
    return msgspec.structs.replace(config, books=books)


def _venue_name(venue: str) -> VenueName:
    name: VenueName = msgspec.convert(venue, VenueName)
    return name


def _state_of(path: Path) -> State:
    """The state database, for the bans in it. Where there is none, or it is not ours to open, one in memory: a look leaves
    no files behind."""
    if is_there(path):
        try:
            return State(path)
        except ConfigError:
            pass  # it belongs to somebody else, or is none; whatever uses it says so
    return State(Path(":memory:"))


__all__ = [
    "INTERVALS",
    "PRICES",
    "Connection",
    "Looking",
    "Seen",
    "Stage",
    "Wanted",
    "check_wanted",
]
