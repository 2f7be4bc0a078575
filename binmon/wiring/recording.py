"""What takes the books of all venues: the recorder, the finisher, and the publisher of tops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

import binmon
from binmon.config.schema import Config, LogSink
from binmon.config.unused import unused
from binmon.core.channel import Channel, Overflow
from binmon.messages import AlertName, AlertSignal, BookEvent, BookSnapshot, Evidence, Instrument, Severity, TopOfBook
from binmon.publish.publisher import TopPublisher
from binmon.recorder.finisher import SegmentFinisher
from binmon.recorder.layout import last_epochs
from binmon.recorder.segment import RecordingFacts
from binmon.recorder.writer import Recorder
from binmon.wiring.ground import Ground

# Rows that may wait: a full-depth one is 160 KiB, so a few books get 80 MiB; most of a market's books are small, and
# four rows of each are four seconds of a disk that does not answer.
_ROWS, _ROWS_A_BOOK, _MOST_ROWS = 512, 4, 8_192

log = structlog.get_logger("binmon.daemon")


class Origin:
    """What recordings say of their origin: kept up to date by whoever learns something new of it, in any thread."""

    def __init__(self, config_hash: str) -> None:
        self._lock = threading.Lock()  # guards what follows, and that the recorder has the newest
        self._told: Callable[[RecordingFacts], None] = lambda facts: None
        self.facts = RecordingFacts({}, binmon.__version__, config_hash)

    def tell(self, recorder: Recorder) -> None:
        """Tell ``recorder`` from now on."""

        def told(facts: RecordingFacts) -> None:
            recorder.facts = facts

        self._told = told

    def listed(self, venue: str, instruments: Mapping[str, Instrument], offset_ms: float) -> None:
        """A venue's instruments, or some of them, are known anew; ``offset_ms`` is its clock minus ours."""
        with self._lock:
            listed = {(venue, symbol): instrument for symbol, instrument in instruments.items()}
            self._put(
                replace(
                    self.facts,
                    instruments={**self.facts.instruments, **listed},
                    clock_offsets_ms={**self.facts.clock_offsets_ms, venue: offset_ms},
                )
            )

    def configured(self, config_hash: str, offsets_ms: Mapping[str, float]) -> None:
        """Another configuration is in force; the offsets are by venue."""
        with self._lock:
            offsets = {**self.facts.clock_offsets_ms, **offsets_ms}
            self._put(replace(self.facts, config_hash=config_hash, clock_offsets_ms=offsets))

    def _put(self, facts: RecordingFacts) -> None:
        self.facts = facts
        self._told(facts)


@dataclass(frozen=True, slots=True)
class RecordingParts:
    """Where books go, whichever venue they are of. ``epochs`` are the last recorded ones by venue and symbol."""

    rows: Channel[BookSnapshot | BookEvent | Evidence]
    tops: Channel[TopOfBook]
    recorder: Recorder
    finisher: SegmentFinisher
    publisher: TopPublisher
    origin: Origin
    epochs: Mapping[tuple[str, str], int]


def writes_tops(config: Config) -> bool:
    """Whether tops of book go to the log."""
    return any(isinstance(sink, LogSink) for sink in config.publish.sinks)


def tell_unused_sinks(config: Config) -> None:
    """Say which sinks get nothing in this version."""
    for key, reason in unused(config):
        log.warning("config.unused", key=key, reason=reason)


def wire_recording(ground: Ground) -> RecordingParts:
    """Build and start everything that takes books."""
    config = ground.config
    tell_unused_sinks(config)
    directory = Path(config.recorder.directory)
    rows: Channel[BookSnapshot | BookEvent | Evidence] = Channel("recorder", _room(config), Overflow.DROP_NEWEST)
    closed: Channel[Path] = Channel("finisher", 1_024, Overflow.DROP_NEWEST)
    tops: Channel[TopOfBook] = Channel("publisher", 4_096, Overflow.DROP_OLDEST)
    ground.channels += [rows, closed, tops]
    origin = Origin(ground.loaded.config_hash)
    recorder = Recorder(
        directory,
        rows,
        closed,
        flush_interval_s=config.recorder.flush_interval_s,
        rotate_s=config.recorder.rotate_s,
        facts=origin.facts,
        refused=_signalled(ground, f"{directory}: rows"),
    )
    origin.tell(recorder)
    finisher = SegmentFinisher(
        directory,
        closed,
        format=config.recorder.format,
        keep_days=config.recorder.keep_days,
        keep_gb=config.recorder.keep_gb,
        refused=_signalled(ground, f"{directory}: finished files"),
    )
    interval_s = config.publish.interval_ms / 1000
    publisher = TopPublisher("publisher", tops, to_log=writes_tops(config), interval_s=interval_s)
    # Stages: producers end before the consumers they feed, so that what is under way still arrives.
    add = ground.supervisor.add
    add(finisher, stage=3)
    add(recorder, stage=2)
    add(publisher, stage=2)
    return RecordingParts(rows, tops, recorder, finisher, publisher, origin, last_epochs(directory))


def _signalled(ground: Ground, subject: str) -> Callable[[OSError | None], None]:
    """Signals of the condition that the disk refuses something."""

    def told(error: OSError | None) -> None:
        text = "written again" if error is None else f"cannot be written: {error}"
        ground.signals.offer(
            AlertSignal(AlertName.RECORDER_FAILED, subject, error is not None, Severity.ERROR, text, time.time_ns())
        )

    return told


def _room(config: Config) -> int:
    selections = config.books.selections()
    if any(isinstance(one.symbols, str) for one in selections):
        return _MOST_ROWS  # how many books that will be, only the venue knows
    return min(_MOST_ROWS, max(_ROWS, _ROWS_A_BOOK * sum(len(one.symbols) for one in selections)))
