"""The daemon as a service: what the service manager is told, and what is done about a worker that hangs.

`ServiceNotifier` is a machine: the daemon's main loop calls ``tick(now_s)``, everything it does goes through what it was
given. It runs without a service manager too, as a worker that hangs is worth a line of the log anyway.

Which workers may hang for how long, each class says of itself (``Worker.silence_limit_s``). Critical are those that the
books, their recording, the delay monitor and the alerts stand on:

=====================================  ======  =========================================================================
keeper, user-data stream                 20 s  they wait for nothing but their inbox
recorder, delay monitor, alerts          60 s  they also wait for the disk: a flush, an SQLite transaction
sockets, finisher                       300 s  a name that resolves slowly, then several addresses with ten seconds
                                               each, TLS, a keeper that is behind; a large file on a slow disk
snapshot fetchers                       600 s  up to two minutes of waiting for request weight, and the request, which is
                                               bounded as a whole
=====================================  ======  =========================================================================

All others (the clock, listings, the order probe, the status page, who tells people) may wait for others as long as that
takes; ``/healthz`` and alerts tell of them, and none of them is worth the books of a restart. A worker in BACKOFF is no
stall either: it failed, mostly because the venue is down, and starting all the rest afresh would not bring that back.
"""

from __future__ import annotations

import enum
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from binmon.books.sync import SyncState
from binmon.core.supervisor import WorkerState, WorkerStatus
from binmon.status import HasStatuses
from binmon.wiring.books import BookParts
from binmon.wiring.latency import LatencyParts
from binmon.wiring.venues import MarketParts

log = structlog.get_logger("binmon.service")

READY_WITHIN_S = 90.0
"""After so long the service counts as started, whatever is missing: with 60 s for a minute of weight, some hundred books
are there by then, and if not, the venue is down or a whole market is being loaded. Both are said in the status, go on by
themselves, and are no reason to start again from nothing, as systemd would do at the end of its TimeoutStartSec."""

_STATUS_EVERY_S = 1.0
_NAMED = 3  # books that a status names
# The main loop turns five times a second. When it did not for so long, this process was stopped or starved as a whole:
# beats are old then for no fault of their workers, who get as long again to turn.
_LATE_S = 2.0
_GRACE_S = 5.0


class Phase(enum.Enum):
    """How far the service is."""

    STARTING = "starting"  # some of what is configured is not there yet, and there is time
    READY = "ready"  # all was there once, or the time for it is over
    RELOADING = "reloading"  # a new configuration is being applied
    STOPPING = "stopping"  # nothing follows


_ALLOWED = {
    Phase.STARTING: {Phase.READY, Phase.STOPPING},
    Phase.READY: {Phase.RELOADING, Phase.STOPPING},
    Phase.RELOADING: {Phase.READY, Phase.STOPPING},
    Phase.STOPPING: set(),
}


@dataclass(frozen=True, slots=True)
class ServiceView:
    """How the daemon is, as an operator reads it: ``missing`` are the things a start waits for, ``text`` is one line."""

    missing: tuple[str, ...]
    text: str


class Tells(Protocol):
    """What is needed of the service manager."""

    @property
    def watchdog_s(self) -> float | None: ...
    @property
    def listens(self) -> bool: ...
    def tell(self, **fields: str | int) -> bool: ...
    def tell_reloading(self) -> bool: ...


class ServiceNotifier:
    """Decides what to tell the service manager, and when. Belongs to the main thread.

    ``look`` says how the daemon is; until ``watch`` gives a better one, the venue has not answered. ``write_stacks`` is
    called once for every stall.
    """

    def __init__(
        self,
        manager: Tells,
        workers: HasStatuses,
        now_s: float,
        *,
        write_stacks: Callable[[], None] | None = None,
    ) -> None:
        self._manager, self._workers = manager, workers
        self._look: Callable[[], ServiceView] = lambda: ServiceView(("an answer of the venue",), "starting")
        self._write_stacks = write_stacks or (lambda: write_stacks_to_stderr())
        self._phase = Phase.STARTING
        self._began_s = self._ticked_s = now_s
        self._forgiven_until_s = now_s
        self._next_look_s = self._next_watchdog_s = now_s
        self._status = ""
        self._stalled: frozenset[str] = frozenset()

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def stalled(self) -> frozenset[str]:
        """The critical workers that hang, by name."""
        return self._stalled

    def watch(self, look: Callable[[], ServiceView]) -> None:
        """From now on ``look`` says how the daemon is."""
        self._look = look

    def tick(self, now_s: float) -> None:
        """Time passed (monotonic seconds); to be called several times a second."""
        if now_s - self._ticked_s > _LATE_S:
            self._forgiven_until_s = now_s + _GRACE_S
        self._ticked_s = now_s
        if self._phase is Phase.STOPPING:
            return
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _STATUS_EVERY_S
            self._judge_workers(now_s)
            self._judge_start(now_s)
        interval_s = self._manager.watchdog_s
        if interval_s is not None and now_s >= self._next_watchdog_s and not self._stalled:
            self._next_watchdog_s = now_s + interval_s / 2
            self._manager.tell(WATCHDOG=1)

    def reloading(self) -> None:
        """A new configuration is about to be applied; ``reloaded`` follows, whatever comes of it.

        Nothing is told of one that comes while the service starts: its READY=1 would end the start.
        """
        if self._phase is Phase.READY:
            self._move_to(Phase.RELOADING)
            self._manager.tell_reloading()

    def reloaded(self) -> None:
        """The configuration is applied, or refused."""
        if self._phase is Phase.RELOADING:
            self._move_to(Phase.READY)
            self._manager.tell(READY=1)
            self._next_look_s = self._ticked_s  # what has changed shows at once

    def stopping(self, reason: str = "") -> None:
        """The end begins. May be called again."""
        if self._phase is not Phase.STOPPING:
            self._move_to(Phase.STOPPING)
            self._manager.tell(STOPPING=1, STATUS=f"stopping: {reason}" if reason else "stopping")

    # Inside -------------------------------------------------------------------------------------------------------

    def _judge_start(self, now_s: float) -> None:
        if self._phase is not Phase.STARTING and not self._manager.listens:
            return  # nobody would read the line
        view = self._look()
        text = view.text
        if view.missing:
            text = f"{text}; waiting for {', '.join(view.missing)}"
        if self._stalled:
            text = f"{text}; hanging: {', '.join(sorted(self._stalled))}"
        if self._phase is Phase.STARTING and (not view.missing or now_s - self._began_s >= READY_WITHIN_S):
            self._move_to(Phase.READY)
            after_s = round(now_s - self._began_s, 3)
            (log.warning if view.missing else log.info)("daemon.ready", after_s=after_s, missing=list(view.missing))
            self._status = text
            self._manager.tell(READY=1, STATUS=text)
        elif text != self._status:
            self._status = text
            self._manager.tell(STATUS=text)

    def _judge_workers(self, now_s: float) -> None:
        if now_s < self._forgiven_until_s:
            return  # what was known before stands
        hanging = {one.name: one for one in self._workers.statuses() if _hangs(one)}
        told, self._stalled = self._stalled, frozenset(hanging)
        new = [one for name, one in hanging.items() if name not in told]
        for one in new:
            log.critical(
                "worker.stalled",
                worker=one.name,
                age_s=round(one.beat_age_s, 1),
                limit_s=one.silence_limit_s,
                where=stack_of(one.thread_id),
            )
        if new:
            self._write_stacks()

    def _move_to(self, phase: Phase) -> None:
        """The only writer of the phase."""
        if phase not in _ALLOWED[self._phase]:
            raise RuntimeError(f"service: {self._phase.name} -> {phase.name} is not allowed")
        self._phase = phase


def _hangs(one: WorkerStatus) -> bool:
    limit_s = one.silence_limit_s
    return limit_s is not None and one.state is WorkerState.RUNNING and one.beat_age_s > limit_s


# Stacks ---------------------------------------------------------------------------------------------------------------


def stack_of(thread_id: int | None) -> list[str]:
    """Where the thread with this kernel id is, innermost last; empty when there is none. Code only, no values."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread_id is not None and thread.native_id == thread_id and thread.ident in frames:
            return [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_stack(frames[thread.ident])]
    return []


def stacks_of_all_threads() -> str:
    """Where every thread is, by name. Code only, no values: those could be secrets."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        lines = "".join(traceback.format_stack(frame))
        parts.append(f"thread {names.get(ident, '?')} ({ident:#x}):\n{lines}")
    return "\n".join(parts)


def write_stacks_to_stderr() -> None:
    """For a person, beside the log: the journal keeps both."""
    if sys.stderr is not None:
        sys.stderr.write(stacks_of_all_threads() + "\n")
        sys.stderr.flush()


# What an operator reads -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watched:
    """One venue in the view; all of it may be asked at any time. ``oldest_ns`` is when the book that was heard of
    longest ago was last heard of (wall clock), ``clock`` the venue's clock minus ours and its uncertainty, in
    milliseconds, ``subscribed`` whether the user-data stream is, None where there is none."""

    books: Callable[[], Mapping[str, bool]]
    oldest_ns: Callable[[], int | None]
    weight: Callable[[], tuple[int, int]]
    clock: Callable[[], tuple[float, float] | None]
    subscribed: Callable[[], bool | None]
    troubles: Callable[[], Sequence[str]] = tuple
    name: str = "binance"


def watched_venue(parts: MarketParts, books: BookParts | None, latency: LatencyParts | None) -> Watched:
    """A venue that has answered, with its books, if any are kept, and its delay monitor, if it is the one probed."""

    def weight() -> tuple[int, int]:
        used = parts.ledger.status(parts.ledger.clock()).weight
        return used.used, used.limit

    def clock() -> tuple[float, float] | None:
        reading = parts.clock.reading()
        return None if reading is None else (reading.venue_minus_wall_ns / 1e6, reading.uncertainty_ns / 1e6)

    def states() -> dict[str, bool]:
        found = {} if books is None else books.keeper.states
        return {symbol: state is SyncState.SYNCED for symbol, state in found.items()}

    def troubles() -> list[str]:
        trouble = None if latency is None else latency.probe.trouble
        return [] if trouble is None else [f"no orders are timed: {trouble}"]

    return Watched(
        states,
        lambda: None if books is None else books.keeper.oldest_ns,
        weight,
        clock,
        lambda: None if latency is None else latency.stream.subscribed_to is not None,
        troubles,
        parts.market.name,
    )


def view_of(
    *watched: Watched,
    waiting: Sequence[str] = (),
    troubles: Sequence[str] = (),
    wall_ns: Callable[[], int] = time.time_ns,
) -> ServiceView:
    """One line such as ``12/12 books, oldest 0.3 s, weight 820/6000, clock +1.2±0.4 ms``, and what a start waits for.

    ``waiting`` are venues that have not answered yet, ``troubles`` those of all venues. Several venues are named.
    """
    several = len(watched) + len(waiting) > 1
    missing = [f"an answer of {name}" for name in waiting]
    texts: list[str] = []
    said = list(troubles)
    for one in watched:
        named = f"{one.name} " if several else ""
        texts.append(named + _text_of(one, wall_ns()))
        missing += [f"{what} at {one.name}" if several else what for what in _missing_of(one)]
        said += one.troubles()
    return ServiceView(tuple(missing), "; ".join([*texts, *said]) or "starting")


def _text_of(one: Watched, now_ns: int) -> str:
    books = one.books()
    parts = [f"{sum(books.values())}/{len(books)} books"]
    oldest_ns = one.oldest_ns()
    if oldest_ns is not None:
        parts.append(f"oldest {max(0, now_ns - oldest_ns) / 1e9:.1f} s")
    used, limit = one.weight()
    parts.append(f"weight {used}/{limit}")
    clock = one.clock()
    parts.append("clock unknown" if clock is None else f"clock {clock[0]:+.1f}±{clock[1]:.1f} ms")
    return ", ".join(parts)


def _missing_of(one: Watched) -> list[str]:
    missing = []
    unsynced = sorted(symbol for symbol, is_synced in one.books().items() if not is_synced)
    if unsynced:
        more = f" and {len(unsynced) - _NAMED} more" if len(unsynced) > _NAMED else ""
        missing.append(f"the books of {', '.join(unsynced[:_NAMED])}{more}")
    if one.subscribed() is False:
        missing.append("the user-data stream")
    return missing
