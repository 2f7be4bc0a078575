"""The recorder: takes rows and events from its channel and has them on disk within one flush interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import BookEvent, BookSnapshot, Evidence
from binmon.recorder.evidence import EvidenceStore
from binmon.recorder.frames import FrameHead, FrameKind
from binmon.recorder.pending import EXPLAINING, SymbolRows
from binmon.recorder.rows import delta_is_smaller, encode_row
from binmon.recorder.segment import RecordingFacts, SegmentWriter

log = structlog.get_logger("binmon.recorder")

KEYFRAME_EVERY = 100
_LOOK_S = 0.05  # how often the queue is looked at
_PORTION = 256
_NO_FACTS = RecordingFacts({}, "", "")
_NO_MEMORY = "no room for rows that wait"
_FAILED = "the recorder failed"


@dataclass(frozen=True, slots=True)
class _Batch:
    """All that waits, on its way to the disk; the figures are those of when it is there."""

    segment: SegmentWriter
    facts: RecordingFacts
    size: int  # of the segment
    rows: int  # of the segment
    rows_written: int
    bytes_written: int


class Recorder(Worker):
    """Writes rows to the live segment, flushed every ``flush_interval_s`` and rotated at multiples of ``rotate_s``.

    A row is encoded when it is taken, so that a waiting row holds its few changed levels and not a whole book. While
    the disk refuses, rows wait up to ``pending_bytes``; beyond that the newest are dropped and counted. What was lost of
    a symbol, here or in the channel in front, is recorded as a GAP event with its next row. A closed segment goes to
    the finisher's channel. ``refused`` is told what the disk says each time that it refuses, and None when it takes rows
    again. ``rows_written``, ``rows_lost``, ``events_lost`` and ``bytes_written`` count since the start;
    ``flush_interval_s``, ``rotate_s`` and ``facts`` may be set while it runs (``facts`` tell from the next flush on).
    """

    silence_limit_s = 60.0  # a flush waits for the disk

    def __init__(
        self,
        directory: Path,
        channel: Channel[BookSnapshot | BookEvent | Evidence],
        finisher_channel: Channel[Path],
        *,
        flush_interval_s: float = 1.0,
        rotate_s: float = 3600.0,
        facts: RecordingFacts = _NO_FACTS,
        max_segment_bytes: int = 512 << 20,
        pending_bytes: int = 64 << 20,
        refused: Callable[[OSError | None], None] = lambda error: None,
        name: str = "recorder",
    ) -> None:
        super().__init__(name)
        self.flush_interval_s, self.rotate_s, self.facts = flush_interval_s, rotate_s, facts
        self.rows_written = self.rows_lost = self.events_lost = self.bytes_written = 0
        self.evidence = EvidenceStore(directory)
        self._directory, self._channel, self._finisher_channel = directory, channel, finisher_channel
        self._max_segment_bytes, self._pending_limit = max_segment_bytes, pending_bytes
        self._refused = refused
        self._streams: dict[tuple[str, str], SymbolRows] = {}
        self._waiting: dict[tuple[str, str], SymbolRows] = {}  # those with something to flush or to report
        self._events: list[BookEvent] = []
        self._pending_bytes = 0
        self._segment: SegmentWriter | None = None
        self._failing = self._evidence_failing = False
        self._lost_before_outage = 0
        self._refusal = _NO_MEMORY  # why rows that find no room are lost
        self._in_hand: BookSnapshot | BookEvent | Evidence | None = None  # the message that is being accepted
        self._again = False  # it was accepted once before, and that failed
        self._batch: _Batch | None = None  # what is being put on disk
        self._ran = False

    @property
    def failing(self) -> bool:
        """Whether the last flush found the disk refusing."""
        return self._failing

    def run(self, stop: threading.Event) -> None:
        """Record until ``stop``; then drain the channel, flush and close the segment. After a failure it goes on where it
        was: what waited is still there, and the message in hand is accepted once more."""
        if self._ran:
            self._resume()
        self._ran = True
        next_flush_s = time.monotonic() + self.flush_interval_s
        while not stop.is_set():
            self.beat()
            left_s = next_flush_s - time.monotonic()
            # a burst (every symbol's keyframe after a rotation) is written early rather than dropped
            if left_s <= 0 or (self._pending_bytes > self._pending_limit // 2 and not self._failing):
                self.flush(time.time_ns())
                next_flush_s = time.monotonic() + self.flush_interval_s
                continue
            # All that waits every now and then: to be woken for each of a market of rows costs everybody more than the
            # rows do. In portions, so that a long queue does not hold up the flush.
            for _ in range(_PORTION):
                if not self._take():
                    stop.wait(min(left_s, _LOOK_S))
                    break
        while self._take():
            pass
        self.flush(time.time_ns())
        self.close_segment()
        if self._pending_bytes or self._events or len(self.evidence):
            self._give_up_pending()

    def _take(self) -> bool:
        """Accept the next message; False when there is none."""
        self._again = False
        self._in_hand = self._channel.take(0)
        if self._in_hand is None:
            return False
        self.accept(self._in_hand)
        self._in_hand = None
        return True

    def _resume(self) -> None:
        """After a failure at whatever place: nothing is recorded twice, and nothing is lost without being told."""
        for stream in self._streams.values():
            stream.mend()
        if self._segment is not None and self._segment.closed:
            self._segment = None
        batch = self._batch
        if batch is not None:
            try:
                if batch.segment is self._segment and batch.segment.holds(batch.size, batch.rows):
                    self._settle(batch)
            except OSError as error:
                self._on_failure(error)
            self._batch = None
        self._waiting = {key: one for key, one in self._streams.items() if one.pending or one.dropped}
        rows = sum(len(row) for one in self._waiting.values() for pending in one.pending for row in pending.rows)
        self._pending_bytes = rows + sum(_event_bytes(event.detail) for event in self._events)
        if self._segment is None:
            self._break_chains(_FAILED)
        elif self._segment.broken:
            self._leave_segment(self._refusal)
        message = self._in_hand
        if message is not None and not self._again:
            self._again = True
            if not self._has(message):
                self.accept(message)
        elif message is not None and not isinstance(message, Evidence):
            is_row, stream = isinstance(message, BookSnapshot), self._stream_of(message)
            self._drop(stream, rows=int(is_row), events=int(not is_row), reason=_FAILED)
            if isinstance(message, BookSnapshot):
                stream.saw(message)
        self._in_hand = None

    def _has(self, message: BookSnapshot | BookEvent | Evidence) -> bool:
        """Whether a message that was in hand at a failure had been accepted before it."""
        if isinstance(message, BookSnapshot):
            stream = self._stream_of(message)
            if not stream.has(message):
                return False
            stream.saw(message)
            return True
        return isinstance(message, BookEvent) and any(one is message for one in self._events)

    def accept(self, message: BookSnapshot | BookEvent | Evidence) -> None:
        """Take in one row, event or piece of evidence; nothing is written before the next flush."""
        if isinstance(message, BookSnapshot):
            self._accept_row(message)
        elif isinstance(message, BookEvent):
            self._accept_event(message)
        else:
            self.evidence.add(message)

    def _accept_row(self, message: BookSnapshot) -> None:
        stream = self._stream_of(message)
        stream.look_for_unseen(message)
        delta = (
            stream.last is not None
            and message.changes_since is not None
            and stream.last == (message.epoch, message.changes_since)
            and stream.since_keyframe < KEYFRAME_EVERY
            and delta_is_smaller(message)
        )
        row = encode_row(message, delta=delta)
        size = len(row)
        if stream.loss is not None:
            size += _event_bytes(stream.loss.detail)
        if self._pending_bytes + size > self._pending_limit:
            stream.last = None  # what follows cannot be told as changes to a row that is not there
            self._drop(stream, rows=1)
            stream.saw(message)
            return
        if stream.loss is not None:
            self._events.append(stream.gap(message))
            stream.loss = None
        stream.add(message, row, delta=delta)
        stream.saw(message)
        self._waiting[message.venue, message.symbol] = stream
        self._pending_bytes += size

    def _accept_event(self, event: BookEvent) -> None:
        size = _event_bytes(event.detail)
        stream = self._stream_of(event)
        if self._pending_bytes + size > self._pending_limit:
            self._drop(stream, events=1)
            return
        stream.explained = stream.explained or event.kind in EXPLAINING
        self._events.append(event)
        self._pending_bytes += size

    def flush(self, now_ns: int) -> None:
        """Put everything that waits on disk, or keep it for the next time; rotate when it is time."""
        try:
            self._rotate_when_due(now_ns)
            self._flush(now_ns)
        except OSError as error:
            self._on_failure(error)
        self._write_evidence()
        self._report_drops()

    def close_segment(self) -> None:
        """Close the live segment, if any, and hand it to the finisher."""
        segment = self._segment
        if segment is None:
            return
        self._break_chains()
        try:
            segment.close()
        except OSError as error:
            self._tell_failure(error)
        self._segment = None
        log.info("recorder.segment_closed", path=str(segment.path), rows=segment.rows, bytes=segment.bytes, rows_lost=0)
        # no room in the channel is no loss: the finisher looks for closed segments by itself too
        self._finisher_channel.offer(segment.path)

    def _rotate_when_due(self, now_ns: int) -> None:
        segment = self._segment
        if segment is None:
            return
        period_ns = max(1, int(self.rotate_s * 1e9))
        if now_ns // period_ns != segment.created_ns // period_ns or segment.bytes >= self._max_segment_bytes:
            # rows that wait may be deltas: they belong to this segment
            self._flush(now_ns)
            self.close_segment()

    def _flush(self, now_ns: int) -> None:
        if self._segment is not None and not self._segment.is_in_place() and not self._segment.put_back():
            self._leave_segment("the segment was moved away")
        if not self._waiting and not self._events:
            if self._segment is not None and self._failing:
                self._tell_success(0)
            return
        segment = self._segment
        if segment is None:
            segment = self._segment = SegmentWriter(self._directory, self.facts, now_ns)
        facts, frames, rows = self.facts, [], 0
        if facts is not segment.facts:
            # a symbol that was listed meanwhile needs its steps; the newest header that knows a symbol counts
            frames.append(segment.header(facts))
        if self._events:
            # in front of the rows: whatever of this a crash leaves, no row stands there without its explanation
            head = FrameHead(FrameKind.EVENTS, len(self._events))
            frames.append(segment.frame(head, msgspec.json.encode(self._events)))
        for stream in self._waiting.values():
            for pending in stream.pending:
                rows += pending.head.rows
                frames.append(segment.frame(pending.head, b"".join(pending.rows)))
        size = sum(map(len, frames))
        self._batch = _Batch(
            segment,
            facts,
            segment.bytes + size,
            segment.rows + rows,
            self.rows_written + rows,
            self.bytes_written + size,
        )
        try:
            segment.append(frames, rows)
        except OSError:
            self._batch = None  # the segment is as it was
            raise
        self._settle(self._batch)
        if self._failing:
            self._tell_success(rows)
        self.progress()

    def _settle(self, batch: _Batch) -> None:
        """All that waited is on disk. What fails in the midst of this is done again."""
        batch.segment.facts = batch.facts
        for stream in self._waiting.values():
            stream.flushed()
        self._waiting = {key: stream for key, stream in self._waiting.items() if stream.dropped}
        self._events.clear()
        self._pending_bytes = 0
        self.rows_written, self.bytes_written = batch.rows_written, batch.bytes_written
        self._batch = None

    def _on_failure(self, error: OSError) -> None:
        self._tell_failure(error)
        if self._segment is not None and self._segment.broken:
            self._leave_segment(self._refusal)

    def _leave_segment(self, reason: str) -> None:
        """Give the live segment up; rows that wait as changes to rows in it go with it."""
        segment = self._segment
        if segment is not None:
            segment.abandon()
            self._segment = None
            self._finisher_channel.offer(segment.path)
        self._break_chains(f"disk: {reason}")

    def _break_chains(self, lost_because: str | None = None) -> None:
        """What follows are whole books. With a reason, rows that wait as changes to rows before them are lost."""
        for stream in self._streams.values():
            stream.last = None
        if lost_because is None:
            return
        for stream in list(self._waiting.values()):
            rows, size, gap = stream.cut_to_keyframe(lost_because)
            self._pending_bytes -= size
            if gap is not None:
                # what was cut is larger than this event, and a symbol is cut once: no bound is left
                self._events.append(gap)
                self._pending_bytes += _event_bytes(gap.detail)
            if rows:
                self._count_drop(stream, rows)

    def _give_up_pending(self) -> None:
        """At the stop with a refusing disk: say what is lost."""
        for stream in list(self._waiting.values()):
            rows = stream.give_up()
            if rows:
                self._count_drop(stream, rows)
        for event in self._events:
            self._drop(self._stream_of(event), events=1)
        self._events.clear()
        self._pending_bytes = 0
        self.evidence.give_up()
        self.evidence.report()
        self._report_drops()

    def _stream_of(self, message: BookSnapshot | BookEvent) -> SymbolRows:
        key = (message.venue, message.symbol)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = SymbolRows(*key)
        return stream

    def _drop(self, stream: SymbolRows, *, rows: int = 0, events: int = 0, reason: str = "") -> None:
        """Count what found no room, and keep it in mind for the symbol's next row."""
        loss = stream.lose()
        loss.rows += rows
        loss.events += events
        loss.reason = reason or (f"disk: {self._refusal}" if self._failing else self._refusal)
        self.events_lost += events
        self._count_drop(stream, rows, events)

    def _count_drop(self, stream: SymbolRows, rows: int, events: int = 0) -> None:
        self.rows_lost += rows
        stream.dropped += rows + events
        self._waiting[stream.venue, stream.symbol] = stream

    def _write_evidence(self) -> None:
        if len(self.evidence):
            try:
                self.evidence.write()
                self._evidence_failing = False
            except OSError as error:
                if not self._evidence_failing and not self._failing:
                    place = error.filename or self._directory
                    log.error("recorder.failed", path=str(place), error=f"{type(error).__name__}: {error}")
                self._evidence_failing = True
        self.evidence.report()

    def _report_drops(self) -> None:
        for (venue, symbol), stream in list(self._waiting.items()):
            if stream.dropped:
                log.warning("book.snapshot_dropped", venue=venue, symbol=symbol, count=stream.dropped)
                stream.dropped = 0
            if not stream.pending:
                del self._waiting[venue, symbol]

    def _tell_failure(self, error: OSError) -> None:
        self._refusal = error.strerror or type(error).__name__
        self._refused(error)
        if not self._failing:
            self._failing, self._lost_before_outage = True, self.rows_lost
            path = error.filename or (self._segment.path if self._segment is not None else self._directory)
            log.error("recorder.failed", path=str(path), error=f"{type(error).__name__}: {error}")

    def _tell_success(self, rows: int) -> None:
        self._failing, self._refusal = False, _NO_MEMORY
        path = self._segment.path if self._segment is not None else self._directory
        lost = self.rows_lost - self._lost_before_outage
        log.info("recorder.resumed", path=str(path), rows=rows, rows_lost=lost)
        self._refused(None)


def _event_bytes(detail: str) -> int:
    return 160 + len(detail)
