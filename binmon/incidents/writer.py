"""The worker that puts incidents on disk, so that a keeper never waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.incidents.flight import FlightRecorder
from binmon.incidents.lines import IncidentLines
from binmon.incidents.notes import Incident, Reason
from binmon.incidents.store import IncidentStore
from binmon.recorder.pacing import Pacer
from binmon.venues.base import MarketDecoder

log = structlog.get_logger("binmon.incidents")

_LOOK_S = 0.25


class IncidentWriter(Worker):
    """Writes what comes through ``incidents``; what the disk refuses is told, counted and let go.

    ``decoders`` makes a decoder of each venue. ``written`` counts files by reason, ``failed`` those that came to nothing.
    """

    def __init__(
        self,
        name: str,
        incidents: Channel[Incident],
        store: IncidentStore,
        decoders: dict[str, Callable[[], MarketDecoder]],
    ) -> None:
        super().__init__(name)
        self._incidents, self._store, self._decoders = incidents, store, decoders
        self._recorders: list[FlightRecorder] = []
        self.written = dict.fromkeys(Reason, 0)
        self.failed = 0

    def attend(self, recorders: Iterable[FlightRecorder]) -> None:
        """At a stop, write also what these had no time to hand over. Their keepers must end before this does."""
        self._recorders = [*self._recorders, *recorders]

    def run(self, stop: threading.Event) -> None:
        self._tidy()
        while not stop.is_set():
            self.beat()
            incident = self._incidents.take(_LOOK_S)
            if incident is not None:
                self._write(incident, stop)
                del incident  # it holds a ring of frames
        while (left := self._incidents.take(0)) is not None:
            self._write(left, stop)
        for recorder in self._recorders:
            try:
                last = recorder.finish()
            except RuntimeError:
                log.warning("incident.failed", path=str(self._store.directory), error="its keeper did not end in time")
                continue
            if last is not None:
                self._write(last, stop)

    def _tidy(self) -> None:
        try:
            self._store.tidy()
        except OSError as error:
            log.warning("incident.failed", path=str(self._store.directory), error=_text(error))

    def _write(self, incident: Incident, stop: threading.Event) -> None:
        trigger = incident.trigger
        of_worker = trigger.reason is Reason.CRASH
        symbol, worker = (None, trigger.subject) if of_worker else (trigger.subject, None)
        lines = IncidentLines(incident, self._decoders[incident.venue]())
        try:
            path, size = self._store.write(incident, lines, Pacer(stop))
        except Exception as error:  # whatever it is: what looks on must never end what it looks at
            self.failed += 1
            log.error(
                "incident.failed",
                path=str(self._store.directory),
                reason=trigger.reason.value,
                symbol=symbol,
                worker=worker,
                error=_text(error),
                exc_info=None if isinstance(error, OSError) else error,
            )
            return
        self.written[trigger.reason] += 1
        self.progress()
        self._tidy()
        log.info(
            "incident.written",
            path=str(path),
            reason=trigger.reason.value,
            symbol=symbol,
            worker=worker,
            frames=lines.frames,
            bytes=size,
            held_back=incident.held_back,
        )


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
