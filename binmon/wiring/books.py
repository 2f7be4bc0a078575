"""Order books of one venue: sockets, fetchers, keeper, listings. Where they go is `binmon.wiring.recording`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from binmon.books.feeds import FeedOutlets
from binmon.books.fetcher import SnapshotFetcher
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.listings import ListingFollower, ListingSettings, SelectionChanged
from binmon.books.observing import NO_OBSERVER, KeeperObserver
from binmon.books.views import BookAsked
from binmon.config.schema import Config
from binmon.core.channel import Channel, Overflow
from binmon.messages import BookView, Instrument, SnapshotWanted
from binmon.net.rotation import RotationWindow
from binmon.venues.base import BookStart
from binmon.venues.sockets import Sockets, market_connections
from binmon.venues.symbols import resolve
from binmon.wiring.ground import Ground
from binmon.wiring.recording import RecordingParts
from binmon.wiring.venues import MarketParts

_INBOX_CHUNKS = 8_192
_SELECTIONS = 8
_INITIAL_FETCHERS = 3  # snapshots of a whole market: the way to the venue and back is most of the time


@dataclass(frozen=True, slots=True)
class BookParts:
    """What of one venue's books others look at, and where a reload hands in what has changed."""

    venue: MarketParts
    keeper: BookKeeper
    inbox: Channel[Any]  # of the keeper
    selections: Channel[SelectionChanged]


@dataclass(frozen=True, slots=True)
class KeptTops:
    """The books of one venue, as the publisher of tops looks at them."""

    keeper: BookKeeper
    inbox: Channel[Any]

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each symbol's book."""
        return {symbol: state.value for symbol, state in self.keeper.states.items()}

    def ask(self, symbol: str, answer: Callable[[BookView | None], None]) -> bool:
        """Have a book's top told to ``answer``, in the keeper's thread; False when it is behind."""
        return self.inbox.offer(BookAsked(symbol, 1, answer))


def keeper_settings_of(config: Config, weight_per_minute: int) -> KeeperSettings:
    """What the keeper should know of the configuration."""
    return KeeperSettings(
        config.books.snapshot_every,
        config.books.depth,
        config.books.record_depth,
        config.publish.interval_ms,
        weight_per_minute,
        config.books.redundancy,
        config.books.audit_interval_s,
        RotationWindow.parse(config.books.rotate_window),
    )


def listing_settings_of(config: Config, venue: str) -> ListingSettings:
    """Which symbols of a venue are kept, and how often it is asked for its own."""
    wanted = [one.symbols for one in config.books.selections() if one.venue == venue]
    return ListingSettings(
        tuple(symbols for symbols in wanted if isinstance(symbols, str)),
        frozenset(symbol for symbols in wanted if not isinstance(symbols, str) for symbol in symbols),
        config.watch.listings.interval_s,
    )


def wire_books(
    ground: Ground,
    parts: MarketParts,
    instruments: Mapping[str, Instrument],
    recording: RecordingParts,
    observer: KeeperObserver = NO_OBSERVER,
) -> BookParts:
    """Build and start everything that keeps the books of a venue, as the configuration selects them.

    Raises ConfigError for symbols that it does not list.
    """
    config, venue, ledger = ground.config, parts.market, parts.ledger
    wanted = [(one.symbols, key) for one, key in config.books.selections_with_keys() if one.venue == venue.name]
    # a symbol that two selections name is kept once
    symbols = list(dict.fromkeys(name for one, key in wanted for name in resolve(one, instruments, venue.name, key)))
    recording.origin.listed(venue.name, {symbol: instruments[symbol] for symbol in symbols}, parts.offset_ms())

    def channel(name: str, capacity: int) -> Channel[Any]:
        made: Channel[Any] = Channel(f"{venue.name}-{name}", capacity, Overflow.DROP_NEWEST)
        ground.channels.append(made)
        return made

    inbox = channel("keeper", _INBOX_CHUNKS)
    ground.rotatable.append(inbox)
    # one request a symbol is all that can wait in each, plus what a venue lists later
    room = 4 * len(instruments) + 64
    initial: Channel[SnapshotWanted] = channel("snapshots-initial", room)
    resync: Channel[SnapshotWanted] = channel("snapshots-resync", room)
    upkeep: Channel[SnapshotWanted] = channel("snapshots-upkeep", room)
    probes: Channel[SnapshotWanted] = channel("stall-probes", room)
    sockets = Sockets(market_connections(venue, inbox, ledger), ground.supervisor, ledger)
    keeper = BookKeeper(
        f"{venue.name}-books",
        venue,
        {symbol: recording.epochs.get((venue.name, symbol), 0) for symbol in symbols},
        inbox,
        KeeperOutlets(
            initial,
            resync,
            upkeep,
            probes,
            recording.rows,
            recording.tops,
            FeedOutlets(sockets.open, sockets.close, sockets.reconnect, sockets.say),
            observer,
        ),
        keeper_settings_of(config, venue.weight_per_minute),
    )
    selected: Channel[SelectionChanged] = channel("selections", _SELECTIONS)
    follower = ListingFollower(
        f"{venue.name}-listings",
        venue,
        listing_settings_of(config, venue.name),
        present=symbols,
        epochs=recording.epochs,
        inbox=inbox,
        selections=selected,
        changed=lambda listed: recording.origin.listed(venue.name, listed, parts.offset_ms()),
    )
    # Stages: producers end before the consumers they feed, so that what is under way still arrives.
    add = ground.supervisor.add
    add(keeper, stage=1)  # it opens its sockets by itself
    by_rest = venue.book_rules.start is BookStart.REST_SNAPSHOT
    for number in range(1, _INITIAL_FETCHERS + 1) if by_rest else ():
        add(SnapshotFetcher(f"{venue.name}-snapshots-{number}", venue, initial, inbox), stage=0)
    if by_rest:
        add(SnapshotFetcher(f"{venue.name}-resyncs", venue, resync, inbox), stage=0)
    if venue.book_rules.comparable:
        add(SnapshotFetcher(f"{venue.name}-upkeep", venue, upkeep, inbox), stage=0)
        add(SnapshotFetcher(f"{venue.name}-probes", venue, probes, inbox), stage=0)
    add(follower, stage=0)
    recording.publisher.follow(venue.name, KeptTops(keeper, inbox))
    return BookParts(parts, keeper, inbox, selected)
