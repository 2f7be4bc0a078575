"""Who wants what watched: the rules of the configuration, and series that nobody configured while somebody looks at them.

::

    configuration ──rules──▶ ┌──────┐ ──CandleRules, TradeRules, ListingSettings──▶ watchers of each venue
    whoever looks ──series─▶ │ desk │ ◀──views, lists────────────────────────────── (read from any thread)
                             └──────┘ ◀──candles, trades, crossings, listings────── told, handed on to whoever listens
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from binmon.config.schema import WatchConfig
from binmon.core.channel import Channel
from binmon.core.fanout import Fanout
from binmon.errors import ConfigError
from binmon.messages import Instrument, Trade
from binmon.venues.watching import WatchingVenue, check_interval, check_symbol
from binmon.watch.candles import CandleRule, CandleRules, CandleWatcher, SeriesView
from binmon.watch.listing_watcher import ListingWatcher
from binmon.watch.settings import candle_rules, listing_settings, trade_rules
from binmon.watch.trades import TradeRule, TradeRules, TradesView, TradeWatcher

RECENT_TRADES = 500
"""Trades of each symbol that are remembered."""

SeriesKey = tuple[str, str, str]
"""Venue, symbol and interval."""
TradesKey = tuple[str, str]
"""Venue and symbol."""


@dataclass(frozen=True, slots=True)
class WatchedVenue:
    """A venue's watchers and their inboxes."""

    venue: WatchingVenue
    candles: CandleWatcher
    trades: TradeWatcher
    listings: ListingWatcher
    candle_inbox: Channel[Any]
    trade_inbox: Channel[Any]
    listing_inbox: Channel[Any]

    @property
    def inboxes(self) -> tuple[Channel[Any], ...]:
        """All of them."""
        return self.candle_inbox, self.trade_inbox, self.listing_inbox


class RecentTrades:
    """The newest trades of every symbol that is watched; an outlet."""

    def __init__(self, length: int = RECENT_TRADES) -> None:
        self._length = length
        self._lock = threading.Lock()  # guards what follows
        self._trades: dict[TradesKey, deque[Trade]] = {}

    def offer(self, message: Any, /) -> bool:
        """Take a trade; anything else is none of its business."""
        if isinstance(message, Trade):
            key = (message.venue, message.symbol)
            with self._lock:
                trades = self._trades.get(key)
                if trades is None:
                    trades = self._trades[key] = deque(maxlen=self._length)
                trades.append(message)
        return True

    def of(self, venue: str, symbol: str) -> tuple[Trade, ...]:
        """In the order in which they came, the newest last."""
        with self._lock:
            return tuple(self._trades.get((venue, symbol), ()))

    def keep(self, venue: str, symbols: Iterable[str]) -> None:
        """Forget those of other symbols of the venue, which are not watched any more."""
        kept = set(symbols)
        with self._lock:
            for key in [key for key in self._trades if key[0] == venue and key[1] not in kept]:
                del self._trades[key]


class WatchDesk:
    """See the module. Any thread may call anything; nothing here waits for the network or for a watcher."""

    def __init__(self, watch: WatchConfig) -> None:
        self._watch = watch
        self._lock = threading.Lock()  # guards all that follows but ``venues``, which is replaced
        self._series: frozenset[SeriesKey] = frozenset()
        self._symbols: frozenset[TradesKey] = frozenset()
        self._sent: dict[tuple[str, type], object] = {}
        self._unsent: set[str] = set()  # venues whose watchers may not know what is wanted
        self._recent = RecentTrades()
        self.venues: Mapping[str, WatchedVenue] = {}
        self.told = Fanout([self._recent])
        """Hands on CandlesChanged, Trade, PriceCrossed, PriceReturned, SymbolListed and SymbolStatus of all venues."""

    # What is wanted -----------------------------------------------------------------------------------------------

    def open(self, one: WatchedVenue) -> None:
        """A venue has answered, and its watchers are there."""
        with self._lock:
            self.venues = {**self.venues, one.venue.name: one}
            self._unsent.add(one.venue.name)
        self.tick()

    def configure(self, watch: WatchConfig) -> None:
        """Other rules from now on; ``tick`` says when everybody knows."""
        with self._lock:
            self._watch = watch
            self._unsent.update(self.venues)

    def follow(self, series: Iterable[SeriesKey], trades: Iterable[TradesKey]) -> None:
        """Somebody looks at exactly these, beside what the configuration has. What a venue does not have is passed over."""
        with self._lock:
            self._series, self._symbols = frozenset(series), frozenset(trades)
            self._unsent.update(self.venues)
        self.tick()

    def check(self, venue: str, symbol: str, interval: str | None = None) -> None:
        """Raise ConfigError, with ``venue``, ``symbol`` or ``interval`` as its key, for what cannot be followed."""
        one = self.venues.get(venue)
        if one is None:
            known = " or ".join(self.venues) or "none yet"
            raise ConfigError(f"'{venue}' has no candles and trades here, expected {known}", key="venue")
        check_symbol(one.venue.name, symbol, one.listings.instruments, "symbol")
        if interval is not None:
            check_interval(one.venue, interval, "interval")

    def tick(self) -> bool:
        """Send what could not be sent before, as an inbox was full. True when every watcher knows what is wanted; to be
        called several times a second."""
        if not self._unsent:
            return True
        with self._lock:
            for venue in sorted(self._unsent):
                if self._send(self.venues[venue]):
                    self._unsent.discard(venue)
            return not self._unsent

    # What there is ------------------------------------------------------------------------------------------------

    @property
    def followed(self) -> Mapping[str, int]:
        """How many series of each venue are watched because somebody looks at them."""
        with self._lock:
            keys: list[tuple[str, ...]] = [*self._series, *self._symbols]
            return {venue: sum(key[0] == venue for key in keys) for venue in self.venues}

    def instruments(self, venue: str) -> Mapping[str, Instrument]:
        """What a venue lists, as it was asked last; empty for one that is not watched."""
        one = self.venues.get(venue)
        return {} if one is None else one.listings.instruments

    def series(self, venue: str, symbol: str, interval: str) -> SeriesView | None:
        """Candles as they stand; None while they are not watched."""
        one = self.venues.get(venue)
        return None if one is None else one.candles.views.get((symbol, interval))

    def trades(self, venue: str, symbol: str) -> TradesView | None:
        """Where the trades of a symbol stand; None while they are not watched."""
        one = self.venues.get(venue)
        return None if one is None else one.trades.views.get(symbol)

    def recent_trades(self, venue: str, symbol: str) -> tuple[Trade, ...]:
        """The newest `RECENT_TRADES` of those that came since they are watched, the newest last."""
        return self._recent.of(venue, symbol)

    # Inside -------------------------------------------------------------------------------------------------------

    def _send(self, one: WatchedVenue) -> bool:
        """Tell a venue's watchers what they do not know; False when one has no room for it now."""
        name, listed = one.venue.name, one.listings.instruments
        candles, trades = candle_rules(self._watch, name), trade_rules(self._watch, name)
        configured = {(name, rule.symbol, rule.interval) for rule in candles}
        candles += tuple(
            CandleRule(symbol, interval)
            for venue, symbol, interval in sorted(self._series - configured)
            if venue == name and symbol in listed and interval in one.venue.intervals
        )
        traded = {(name, rule.symbol) for rule in trades}
        trades += tuple(
            TradeRule(symbol)
            for venue, symbol in sorted(self._symbols - traded)
            if venue == name and symbol in listed
        )  # fmt: skip
        done = [
            self._tell(one.candle_inbox, name, CandleRules(candles)),
            self._tell(one.trade_inbox, name, TradeRules(trades)),
            self._tell(one.listing_inbox, name, listing_settings(self._watch, name)),
        ]
        self._recent.keep(name, (rule.symbol for rule in trades))
        return all(done)

    def _tell(self, inbox: Channel[Any], venue: str, message: object) -> bool:
        key = (venue, type(message))
        if self._sent.get(key) == message:
            return True
        # no offer to a full channel: it would count as dropped
        if len(inbox) >= inbox.capacity or not inbox.offer(message):
            return False
        self._sent[key] = message
        return True
