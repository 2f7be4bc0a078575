"""The worker that decides which symbols are kept: what the configuration names, and what the venue trades (``all``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.errors import ConfigError, RequestRefused, RetryError
from binmon.messages import Instrument, Priority, SymbolsChanged
from binmon.venues.base import Venue
from binmon.venues.symbols import resolve

log = structlog.get_logger("binmon.books")

_HAND_OVER_S = 5.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class ListingSettings:
    """What to keep: ``choices`` are the selections that name no symbols, ``fixed`` symbols are named one by one and stay
    whatever happens. The venue is asked every ``interval_s``, if there are choices."""

    choices: tuple[str, ...]
    fixed: frozenset[str]
    interval_s: float


@dataclass(frozen=True, slots=True)
class SelectionChanged:
    """Other settings from now on. ``instruments`` are the venue's; None when what is kept stays as it is."""

    settings: ListingSettings
    instruments: Mapping[str, Instrument] | None = None


class ListingFollower(Worker):
    """Tells the keeper what to keep and what to let go: when the venue lists other symbols, and when the configuration
    names others (``selections`` takes a SelectionChanged). It alone decides, so that the two never contradict.

    ``changed`` is told of all instruments when some were added, before the keeper is, so that recordings know their
    steps.
    """

    def __init__(
        self,
        name: str,
        venue: Venue,
        settings: ListingSettings,
        *,
        present: Iterable[str],
        epochs: Mapping[tuple[str, str], int],
        inbox: Channel[Any],
        selections: Channel[SelectionChanged],
        changed: Callable[[Mapping[str, Instrument]], None],
    ) -> None:
        """``present`` are all symbols that are kept now."""
        super().__init__(name)
        self._venue, self._settings = venue, settings
        self._present = set(present)
        self._epochs, self._inbox, self._changed = dict(epochs), inbox, changed
        self._selections = selections
        self._unfinished: SelectionChanged | None = None  # taken, and the keeper does not know yet

    def run(self, stop: threading.Event) -> None:
        next_s = time.monotonic() + self._settings.interval_s
        while not stop.is_set():
            self.beat()
            wait_s = min(_LOOK_S, max(0.0, next_s - time.monotonic())) if self._settings.choices else _LOOK_S
            self._unfinished = self._unfinished or self._selections.take(wait_s)
            if self._unfinished is not None:
                self._select(self._unfinished)
                self._unfinished = None
                next_s = min(next_s, time.monotonic() + self._settings.interval_s)
            if self._settings.choices and time.monotonic() >= next_s and not stop.is_set():
                self._look(stop)
                next_s = time.monotonic() + self._settings.interval_s

    def _look(self, stop: threading.Event) -> None:
        try:
            instruments = self._venue.instruments(stop, Priority.LISTING)
        except (RetryError, RequestRefused) as error:
            if not stop.is_set():
                log.warning("listings.failed", venue=self._venue.name, error=str(error))
            return
        message = self.compare(instruments)
        if message is not None:
            self._hand_over(message, instruments)
        self.progress()

    def _select(self, changed: SelectionChanged) -> None:
        self._settings = changed.settings
        if changed.instruments is not None:
            message = self.compare(changed.instruments, "no longer selected")
            if message is not None:
                self._hand_over(message, changed.instruments)
        self.progress()

    def _hand_over(self, message: SymbolsChanged, instruments: Mapping[str, Instrument]) -> None:
        log.info(
            "books.followed",
            venue=self._venue.name,
            listed=[symbol for symbol, _ in message.listed],
            delisted=list(message.delisted),
        )
        self._changed(instruments)
        self._inbox.put(message, _HAND_OVER_S)
        self._present.update(symbol for symbol, _ in message.listed)
        self._present.difference_update(message.delisted)

    def compare(
        self, instruments: Mapping[str, Instrument], reason: str = "no longer trading"
    ) -> SymbolsChanged | None:
        """What has changed against what is kept; None when nothing has."""
        wanted = set(self._settings.fixed)
        for choice in self._settings.choices:
            try:
                wanted.update(resolve(choice, instruments, self._venue.name))
            except ConfigError:
                # nothing trades: a venue under maintenance; books that stand still do no harm
                return None
        listed, delisted = sorted(wanted - self._present), sorted(self._present - wanted)
        if not listed and not delisted:
            return None
        return SymbolsChanged(
            self._venue.name,
            tuple((symbol, self._epochs.get((self._venue.name, symbol), 0)) for symbol in listed),
            tuple(delisted),
            reason,
        )
