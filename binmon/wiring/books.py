"""Order books of one venue: sockets, fetchers, keeper, recorder, publisher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import binmon
from binmon.books.feeds import FeedOutlets
from binmon.books.fetcher import SnapshotFetcher
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.listings import ListingFollower, ListingSettings, SelectionChanged
from binmon.config.schema import BookSelection, Config, LogSink
from binmon.core.channel import Channel, Overflow
from binmon.errors import ConfigError
from binmon.messages import BookEvent, BookSnapshot, Evidence, Instrument, SnapshotWanted, TopOfBook
from binmon.net.rotation import RotationWindow
from binmon.publish.publisher import TopPublisher
from binmon.recorder.finisher import SegmentFinisher
from binmon.recorder.layout import last_epochs
from binmon.recorder.segment import RecordingFacts
from binmon.recorder.writer import Recorder
from binmon.venues.base import Venue
from binmon.venues.sockets import Sockets, market_connections
from binmon.venues.symbols import resolve
from binmon.wiring.ground import Ground

_INBOX_CHUNKS = 8_192
# Rows that may wait: a full-depth one is 160 KiB, so a few books get 80 MiB; most of a market's books are small, and
# four rows of each are four seconds of a disk that does not answer.
_ROWS, _ROWS_A_BOOK, _MOST_ROWS = 512, 4, 8_192
_SELECTIONS = 8
_INITIAL_FETCHERS = 3  # snapshots of a whole market: the way to the venue and back is most of the time


class Origin:
    """What recordings say of their origin: kept up to date by whoever learns something new of it, in any thread."""

    def __init__(self, venue: str, instruments: Mapping[str, Instrument], config_hash: str, offset_ms: float) -> None:
        self._lock = threading.Lock()  # guards what follows, and that the recorder has the newest
        self._venue = venue
        self._told: Callable[[RecordingFacts], None] = lambda facts: None
        self.facts = RecordingFacts(self._of_venue(instruments), binmon.__version__, config_hash, offset_ms)

    def tell(self, recorder: Recorder) -> None:
        """Tell ``recorder`` from now on."""

        def told(facts: RecordingFacts) -> None:
            recorder.facts = facts

        self._told = told

    def listed(self, instruments: Mapping[str, Instrument], offset_ms: float) -> None:
        """The venue's instruments, or some of them, are known anew."""
        with self._lock:
            known = {**self.facts.instruments, **self._of_venue(instruments)}
            self.facts = RecordingFacts(known, self.facts.version, self.facts.config_hash, offset_ms)
            self._told(self.facts)

    def configured(self, config_hash: str, offset_ms: float) -> None:
        """Another configuration is in force."""
        with self._lock:
            self.facts = RecordingFacts(self.facts.instruments, self.facts.version, config_hash, offset_ms)
            self._told(self.facts)

    def _of_venue(self, instruments: Mapping[str, Instrument]) -> dict[tuple[str, str], Instrument]:
        return {(self._venue, symbol): instrument for symbol, instrument in instruments.items()}


@dataclass(frozen=True, slots=True)
class BookParts:
    """What of the books others look at, and where a reload hands in what has changed."""

    keeper: BookKeeper
    recorder: Recorder
    finisher: SegmentFinisher
    publisher: TopPublisher
    origin: Origin
    inbox: Channel[Any]  # of the keeper
    selections: Channel[SelectionChanged]


def check_venues(selections: Sequence[BookSelection]) -> None:
    """Raise ConfigError for a venue whose books this version does not keep."""
    for selection in selections:
        if selection.venue != "binance":
            raise ConfigError(f"'{selection.venue}': this version keeps the books of binance only", key="books.venue")


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


def listing_settings_of(config: Config) -> ListingSettings:
    """Which symbols are kept, and how often the venue is asked for its own."""
    wanted = [one.symbols for one in config.books.selections()]
    return ListingSettings(
        tuple(symbols for symbols in wanted if isinstance(symbols, str)),
        frozenset(symbol for symbols in wanted if not isinstance(symbols, str) for symbol in symbols),
        config.watch.listings.interval_s,
    )


def writes_tops(config: Config) -> bool:
    """Whether tops of book go to the log."""
    return any(isinstance(sink, LogSink) for sink in config.publish.sinks)


def wire_books(
    ground: Ground,
    venue: Venue,
    selections: Sequence[BookSelection],
    instruments: Mapping[str, Instrument],
    clock_offset_ms: Callable[[], float],
) -> BookParts:
    """Build and start everything that keeps and records the books of ``venue``."""
    config = ground.config
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
    # one request a symbol is all that can wait in each, plus what a venue lists later
    room = 4 * len(instruments) + 64
    initial: Channel[SnapshotWanted] = Channel("snapshots-initial", room, Overflow.DROP_NEWEST)
    resync: Channel[SnapshotWanted] = Channel("snapshots-resync", room, Overflow.DROP_NEWEST)
    upkeep: Channel[SnapshotWanted] = Channel("snapshots-upkeep", room, Overflow.DROP_NEWEST)
    probes: Channel[SnapshotWanted] = Channel("stall-probes", room, Overflow.DROP_NEWEST)
    ground.rotatable.append(inbox)
    ground.channels += [inbox, rows, closed, tops, initial, resync, upkeep, probes]

    origin = Origin(venue.name, kept, ground.loaded.config_hash, clock_offset_ms())
    recorder = Recorder(
        directory,
        rows,
        closed,
        flush_interval_s=config.recorder.flush_interval_s,
        rotate_s=config.recorder.rotate_s,
        facts=origin.facts,
    )
    origin.tell(recorder)
    finisher = SegmentFinisher(
        directory,
        closed,
        format=config.recorder.format,
        keep_days=config.recorder.keep_days,
        keep_gb=config.recorder.keep_gb,
    )
    ledger = ground.ledgers[venue.name]
    sockets = Sockets(market_connections(venue, inbox, ledger), ground.supervisor, ledger)
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
        keeper_settings_of(config, venue.weight_per_minute),
    )
    publisher = TopPublisher("publisher", tops, to_log=writes_tops(config))
    selected: Channel[SelectionChanged] = Channel("selections", _SELECTIONS, Overflow.DROP_NEWEST)
    ground.channels.append(selected)
    follower = ListingFollower(
        f"{venue.name}-listings",
        venue,
        listing_settings_of(config),
        present=symbols,
        epochs=epochs,
        inbox=inbox,
        selections=selected,
        changed=lambda listed: origin.listed(listed, clock_offset_ms()),
    )
    # Stages: producers end before the consumers they feed, so that what is under way still arrives.
    add = ground.supervisor.add
    add(finisher, stage=3)
    add(recorder, stage=2)
    add(publisher, stage=2)
    add(keeper, stage=1)  # it opens its sockets by itself
    for number in range(1, _INITIAL_FETCHERS + 1):
        add(SnapshotFetcher(f"{venue.name}-snapshots-{number}", venue, initial, inbox), stage=0)
    add(SnapshotFetcher(f"{venue.name}-resyncs", venue, resync, inbox), stage=0)
    add(SnapshotFetcher(f"{venue.name}-upkeep", venue, upkeep, inbox), stage=0)
    add(SnapshotFetcher(f"{venue.name}-probes", venue, probes, inbox), stage=0)
    add(follower, stage=0)
    return BookParts(keeper, recorder, finisher, publisher, origin, inbox, selected)
