"""The flight recorder: who notes what the keepers do, and who writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from binmon.books.observing import NO_OBSERVER, KeeperObserver
from binmon.config.schema import Config
from binmon.core.channel import Channel, Overflow
from binmon.incidents.flight import FlightRecorder
from binmon.incidents.limits import IncidentLimits
from binmon.incidents.notes import Incident
from binmon.incidents.store import IncidentStore
from binmon.incidents.writer import IncidentWriter
from binmon.venues.base import MarketDecoder, Venue
from binmon.wiring.ground import Ground

# each holds a ring, so that two of them waiting are already as much memory again as is kept all the time
_WAITING = 2
_MB = 10**6


@dataclass(frozen=True, slots=True)
class IncidentParts:
    """The recorders by venue. ``writer`` is None where incidents are not wanted."""

    config: Config
    channel: Channel[Incident]
    limits: IncidentLimits
    recorders: dict[str, FlightRecorder]
    decoders: dict[str, Callable[[], MarketDecoder]]
    writer: IncidentWriter | None

    def observer(self, venue: Venue) -> KeeperObserver:
        """Who looks on while the keeper of ``venue`` works. Before the keeper starts."""
        section, books = self.config.incidents, self.config.books
        if self.writer is None:
            return NO_OBSERVER
        self.decoders[venue.name] = venue.decoder
        recorder = self.recorders[venue.name] = FlightRecorder(
            venue.name,
            self.channel,
            self.limits,
            keep_s=section.keep_s,
            most_bytes=int(section.keep_memory_mb * _MB),
            after_s=section.after_s,
            settings={
                "snapshot_every": books.snapshot_every,
                "top_interval_ms": self.config.publish.interval_ms,
                "redundancy": books.redundancy,
                "depth": books.depth,
            },
        )
        self.writer.attend([recorder])
        return recorder

    def crashed(self, worker: str, error: str) -> None:
        """A worker ended by a bug: its venue's frames are written; of one of no venue, those of the first venue."""
        of_venue = [one for name, one in self.recorders.items() if worker.startswith(f"{name}-")]
        for recorder in (of_venue or list(self.recorders.values()))[:1]:
            recorder.crashed(worker, error)


def wire_incidents(ground: Ground) -> IncidentParts:
    """Build and start the writer, if it is wanted; recorders are made by ``observer``, venue by venue."""
    section = ground.config.incidents
    channel: Channel[Incident] = Channel("incidents", _WAITING, Overflow.DROP_NEWEST)
    limits = IncidentLimits(repeat_after_s=section.repeat_after_s, per_hour=section.most_per_hour)
    decoders: dict[str, Callable[[], MarketDecoder]] = {}
    if not section.enabled:
        return IncidentParts(ground.config, channel, limits, {}, decoders, None)
    store = IncidentStore(
        incident_directory(ground.config), keep_files=section.keep_files, keep_bytes=section.keep_mb * _MB
    )
    writer = IncidentWriter("incident-writer", channel, store, decoders)
    parts = IncidentParts(ground.config, channel, limits, {}, decoders, writer)
    ground.channels.append(channel)
    ground.supervisor.on_bug = parts.crashed
    ground.supervisor.add(writer, stage=2)  # after the keepers, whose last incidents it collects
    return parts


def incident_directory(config: Config) -> Path:
    """Where the files lie."""
    section = config.incidents
    return Path(section.directory) if section.directory is not None else Path(config.recorder.directory) / "incidents"
