"""A changed configuration is applied while the daemon runs: on SIGHUP, and when the file is saved (``reload.watch``).

::

    asked ─▶ prepared (a thread of its own: the file, its checks, what the venue knows) ─▶ applied ─▶ handed over ─▶ told
                       └─ anything wrong ─▶ rejected: told once, and nothing was changed
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_tb
from typing import Protocol

import structlog

from binmon.config.loading import LoadedConfig
from binmon.config.plan import Started
from binmon.config.running import note_running
from binmon.config.watching import FileWatch, stamp_of
from binmon.errors import BinmonError, ConfigError
from binmon.state import State
from binmon.telemetry.logging import set_level
from binmon.venues.base import Venue
from binmon.venues.watching import WatchingVenue
from binmon.wiring.applying import BY_ITSELF, Applier, Prepared, prepare
from binmon.wiring.ground import Ground
from binmon.wiring.venues import MarketParts

log = structlog.get_logger("binmon.config")

_LEVELS = ("debug", "info", "warning", "error", "critical")


class Applies(Protocol):
    """What is needed of `binmon.wiring.applying.Applier`."""

    @property
    def keys(self) -> Collection[str]: ...
    def apply(self, prepared: Prepared) -> None: ...
    def hand_over(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ReloadHooks:
    """Who else is told: ``began`` and ``ended`` around each reload, whatever comes of it; ``in_force`` of each new
    configuration."""

    began: Callable[[], None] = lambda: None
    ended: Callable[[], None] = lambda: None
    in_force: Callable[[LoadedConfig], None] = lambda loaded: None


@dataclass(frozen=True, slots=True)
class _Rejected:
    error: BaseException
    digest: str  # of the file


class Reloader:
    """Belongs to the main thread, which calls ``tick`` several times a second. One reload at a time; what is asked for
    meanwhile is one more after it.

    ``prepare`` is called in a thread of its own and may take its time; it raises ConfigError for what is wrong. For
    ``/metrics``: ``reloaded``, ``rejected`` (counts), ``last_succeeded`` and ``last_reload_s`` (when a configuration was
    last put into force, UTC seconds).
    """

    def __init__(
        self,
        running: LoadedConfig,
        state: State,
        prepare: Callable[[LoadedConfig], Prepared],
        applier: Applies,
        hooks: ReloadHooks,
        *,
        watch: FileWatch | None = None,
        started: Started | None = None,
    ) -> None:
        """``started`` are the venues of this daemon, by default those of the configuration."""
        self.running, self._started = running, started
        self.reloaded = self.rejected = 0
        self.last_succeeded, self.last_reload_s = True, time.time()
        self._state, self._prepare, self._applier, self._hooks = state, prepare, applier, hooks
        self._watch = watch or FileWatch(lambda: stamp_of(running.path))
        # what was saved between the reading of the file and now would go unnoticed; it is no news if that is nothing
        self._asked, self._quiet = running.config.reload.watch, True
        self._answers: queue.SimpleQueue[Prepared | _Rejected] = queue.SimpleQueue()
        self._under_way: Prepared | None = None  # applied, and not handed over yet
        self._preparing = False
        self._told: tuple[str, str, str] | None = None  # the rejection that was told last: file, key, reason
        self._note()

    def ask(self) -> None:
        """Reload as soon as may be."""
        self._asked, self._quiet = True, False

    def tick(self, now_s: float) -> None:
        """Do what is next. ``now_s`` is monotonic."""
        if self._preparing and not self._answers.empty():
            self._preparing = False
            answer = self._answers.get()
            if isinstance(answer, _Rejected):
                self._reject(answer)
            else:
                self._apply(answer)
        if self._under_way is not None and self._applier.hand_over():
            done, self._under_way = self._under_way, None
            self._tell(done)
        busy = self._preparing or self._under_way is not None
        if not busy and (self._asked or (self.running.config.reload.watch and self._watch.due(now_s))):
            self._begin()

    def _begin(self) -> None:
        self._asked, self._preparing = False, True
        self._watch.taken()
        self._hooks.began()
        running = self.running

        def work() -> None:
            digest = _digest(running.path)
            try:
                self._answers.put(self._prepare(running))
            except Exception as error:  # handed to the main thread, which tells it
                self._answers.put(_Rejected(error, digest))

        threading.Thread(target=work, name="config-reload", daemon=True).start()

    def _apply(self, prepared: Prepared) -> None:
        self._applier.apply(prepared)
        self.running = prepared.loaded
        self._hooks.in_force(prepared.loaded)
        self._under_way = prepared

    def _tell(self, done: Prepared) -> None:
        self.reloaded += 1
        self.last_succeeded, self.last_reload_s, self._told = True, time.time(), None
        changed = {change.key for change in done.applied}
        level = done.loaded.config.logging.level
        before = next((str(change.old) for change in done.applied if change.key == "logging.level"), level)
        set_level(min(before, level, key=_LEVELS.index))  # the line is for whoever reads the log before or after
        if changed or done.restart_needed or not self._quiet:
            log.info(
                "config.reloaded",
                config_hash=done.loaded.config_hash,
                changes=[{"key": one.key, "old": one.old, "new": one.new} for one in done.applied],
                restart_needed=list(done.restart_needed),
                unused=sorted(changed.difference(self._applier.keys, BY_ITSELF)),
            )
        set_level(level)
        self._quiet = False
        self._note()
        self._hooks.ended()

    def _reject(self, rejected: _Rejected) -> None:
        self.rejected += 1
        self.last_succeeded, self._quiet = False, False
        error = rejected.error
        key, reason, place, line = "", f"a fault of binmon: {type(error).__name__}", "", None
        if isinstance(error, ConfigError):
            key, reason, place, line = error.key, error.problem, error.file, error.line
        elif isinstance(error, BinmonError):
            reason = str(error)
        told = (rejected.digest, key, reason)
        if told != self._told:
            self._told = told
            # of a fault the places alone: its text may quote what it could not deal with
            places = {} if isinstance(error, BinmonError) else {"exception": "".join(format_tb(error.__traceback__))}
            log.error(
                "config.rejected",
                key=key,
                reason=reason,
                file=place or str(self.running.path),
                line=line,
                **places,
            )
        self._hooks.ended()

    def _note(self) -> None:
        """For `binmon plan`; that a full disk refuses it keeps nobody from reloading."""
        try:
            note_running(self._state, self.running, self._started)
        except BinmonError as error:
            log.warning("config.not_noted", reason=str(error))


def wire_reload(
    ground: Ground,
    venues: Mapping[str, MarketParts],
    applier: Applier,
    order_environment: str | None,
    hooks: ReloadHooks,
    watching: Mapping[str, WatchingVenue] | None = None,
) -> Reloader:
    """What reloads the daemon of these parts; ``ground`` always has what is in force."""
    selected: set[str] = {selection.venue for selection in ground.config.books.selections()}
    markets: dict[str, Venue] = {name: parts.market for name, parts in venues.items() if name in selected}

    def in_force(loaded: LoadedConfig) -> None:
        ground.loaded = loaded
        hooks.in_force(loaded)

    return Reloader(
        ground.loaded,
        ground.state,
        lambda running: prepare(running, os.environ, markets, order_environment, ground.stop, watching),
        applier,
        replace(hooks, in_force=in_force),
        started=Started(markets, watching or {}),
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""
