"""The worker that follows which symbols a venue trades, where the configuration leaves the choice to it (``all``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
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


class ListingFollower(Worker):
    """Asks for the venue's instruments every ``interval_s`` and tells the keeper what to keep and what to let go.

    ``choices`` are the selections of the configuration that name no symbols. ``changed`` is told of all instruments
    when some were added, before the keeper is, so that recordings know their steps.
    """

    def __init__(
        self,
        name: str,
        venue: Venue,
        choices: Iterable[str],
        *,
        fixed: Iterable[str],
        present: Iterable[str],
        epochs: Mapping[tuple[str, str], int],
        inbox: Channel[Any],
        changed: Callable[[Mapping[str, Instrument]], None],
        interval_s: float,
    ) -> None:
        """``fixed`` symbols are named one by one and stay whatever happens; ``present`` are all that are kept now."""
        super().__init__(name)
        self._venue, self._choices, self._fixed = venue, tuple(choices), frozenset(fixed)
        self._present = set(present)
        self._epochs, self._inbox, self._changed, self._interval_s = dict(epochs), inbox, changed, interval_s

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval_s):
            self.beat()
            try:
                instruments = self._venue.instruments(stop, Priority.LISTING)
            except (RetryError, RequestRefused) as error:
                if not stop.is_set():
                    log.warning("listings.failed", venue=self._venue.name, error=str(error))
                continue
            message = self.compare(instruments)
            if message is not None:
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
            self.progress()

    def compare(self, instruments: Mapping[str, Instrument]) -> SymbolsChanged | None:
        """What has changed against what is kept; None when nothing has."""
        wanted = set(self._fixed)
        for choice in self._choices:
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
        )
