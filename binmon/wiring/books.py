"""Order books of one venue: sockets, fetchers, keeper, recorder, publisher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import binmon
from binmon.books.feeds import FeedOutlets
from binmon.books.fetcher import SnapshotFetcher
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.listings import ListingFollower
from binmon.config.schema import BookSelection
from binmon.core.channel import Channel, Overflow
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
_INITIAL_FETCHERS = 3  # snapshots of a whole market: the way to the venue and back is most of the time


@dataclass(frozen=True, slots=True)
class BookParts:
    """What of the books others look at."""

    keeper: BookKeeper
    recorder: Recorder
    finisher: SegmentFinisher


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

    recorder = Recorder(
        directory,
        rows,
        closed,
        flush_interval_s=config.recorder.flush_interval_s,
        rotate_s=config.recorder.rotate_s,
        facts=_facts(ground, venue, kept, clock_offset_ms()),
    )
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
    add = ground.supervisor.add
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
            recorder.facts = _facts(ground, venue, listed, clock_offset_ms())

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
    return BookParts(keeper, recorder, finisher)


def _facts(
    ground: Ground, venue: Venue, instruments: Mapping[str, Instrument], clock_offset_ms: float
) -> RecordingFacts:
    return RecordingFacts(
        instruments={(venue.name, symbol): instrument for symbol, instrument in instruments.items()},
        version=binmon.__version__,
        config_hash=ground.loaded.config_hash,
        clock_offset_ms=clock_offset_ms,
    )
