"""New symbols whose books are kept at once (``watch.listings.record``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from binmon.books.listings import ListingSettings, SelectionChanged
from binmon.config.schema import Config
from binmon.core.channel import Channel
from binmon.messages import Instrument, SymbolListed, SymbolStatus
from binmon.venues.symbols import TRADING
from binmon.watch.listings import DELISTED, UNCONFIRMED
from binmon.wiring.books import listing_settings_of

_TRADES = (TRADING, UNCONFIRMED)  # the latter trades, and the venue's list cannot be had


class Newcomers:
    """Which symbols were listed while this process runs, and have their books kept for it; of all venues.

    It alone says what is selected once a venue's books are kept, so that a reload and a listing at the same time do not
    contradict each other. A symbol goes when the venue lists it no more. A restart forgets all of them: then the books are
    kept that the configuration selects.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        """``config`` gives the configuration in force."""
        self._config = config
        self._lock = threading.Lock()  # guards those below, and that selections are handed over in their order
        self._kept: dict[str, frozenset[str]] = {}
        self._expected: set[tuple[str, str]] = set()  # new, and not trading yet
        self._selections: dict[str, Channel[SelectionChanged]] = {}

    def open(self, venue: str, selections: Channel[SelectionChanged]) -> None:
        """Books of this venue are kept from now on; ``selections`` is where its follower is told."""
        with self._lock:
            self._selections[venue] = selections

    def of(self, venue: str) -> frozenset[str]:
        """The symbols of a venue whose books are kept because they were listed."""
        with self._lock:
            return self._kept.get(venue, frozenset())

    def select(self, venue: str, settings: ListingSettings, instruments: Mapping[str, Instrument] | None) -> bool:
        """Tell the follower of a venue's books of other settings of the configuration; False when it has no room now."""
        with self._lock:
            return self._tell(venue, settings, instruments)

    def outlet(self, instruments: Callable[[], Mapping[str, Instrument]]) -> Listed:
        """What the watcher of a venue's listings tells; ``instruments`` gives that venue's newest list."""
        return Listed(self, instruments)

    def take(self, message: SymbolListed | SymbolStatus, instruments: Mapping[str, Instrument]) -> bool:
        """A symbol is new or has another status. False when nobody could be told now."""
        venue, symbol = message.venue, message.symbol
        with self._lock:
            kept = self._kept.get(venue, frozenset())
            is_new = isinstance(message, SymbolListed) or (venue, symbol) in self._expected
            if message.status == DELISTED:
                self._expected.discard((venue, symbol))
                after = kept - {symbol}
            elif not is_new or not self._config().watch.listings.record:
                return True
            elif message.status in _TRADES:
                self._expected.discard((venue, symbol))
                after = kept | {symbol}
            else:
                self._expected.add((venue, symbol))  # a book that stands still would only look like trouble
                return True
            if after == kept or venue not in self._selections:
                return True
            self._kept[venue] = after
            return self._tell(venue, listing_settings_of(self._config(), venue), instruments)

    def _tell(self, venue: str, settings: ListingSettings, instruments: Mapping[str, Instrument] | None) -> bool:
        channel = self._selections[venue]
        # no offer to a full channel: it would count as dropped
        if len(channel) >= channel.capacity:
            return False
        settings = replace(settings, fixed=settings.fixed | self._kept.get(venue, frozenset()))
        return channel.offer(SelectionChanged(settings, instruments))


class Listed:
    """An outlet for the watcher of one venue's listings."""

    def __init__(self, newcomers: Newcomers, instruments: Callable[[], Mapping[str, Instrument]]) -> None:
        self._newcomers, self._instruments = newcomers, instruments

    def offer(self, message: Any, /) -> bool:
        """Take a SymbolListed or SymbolStatus; anything else is none of its business."""
        if not isinstance(message, SymbolListed | SymbolStatus):
            return True
        return self._newcomers.take(message, self._instruments())
