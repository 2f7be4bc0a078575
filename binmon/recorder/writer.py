"""The recorder: takes rows and events from its channel and has them on disk within one flush interval."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.messages import BookEvent, BookSnapshot
from binmon.recorder.frames import FrameHead, FrameKind
from binmon.recorder.rows import delta_is_smaller, encode_row
from binmon.recorder.segment import RecordingFacts, SegmentWriter

log = structlog.get_logger("binmon.recorder")

KEYFRAME_EVERY = 100
_DAY_NS = 86_400 * 10**9
_LOOK_S = 0.2  # how long a stop may go unnoticed while nothing arrives
_NO_FACTS = RecordingFacts({}, "", "")


@dataclass(slots=True)
class _Pending:
    """Encoded rows of one symbol and one UTC date that are not on disk yet."""

    head: FrameHead
    rows: list[bytes] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)  # positions in ``rows``

    def add(self, snapshot: BookSnapshot, row: bytes, *, keyframe: bool) -> None:
        """Append a row and widen the head over it."""
        if keyframe:
            self.keyframes.append(len(self.rows))
        self.rows.append(row)
        head, received_ns = self.head, snapshot.receive_time_ns
        first = len(self.rows) == 1
        self.head = FrameHead(
            FrameKind.BOOKS,
            len(self.rows),
            0,
            received_ns if first else min(head.first_ns, received_ns),
            received_ns if first else max(head.last_ns, received_ns),
            snapshot.epoch if first else max(head.last_epoch, snapshot.epoch),
            snapshot.venue,
            snapshot.symbol,
        )


@dataclass(slots=True)
class _Stream:
    """What the recorder knows of one symbol: where its chain of deltas stands, and its rows that wait."""

    last: tuple[int, int] | None = None  # epoch and update id of the newest row of the chain; None: none to build on
    since_keyframe: int = 0
    pending: list[_Pending] = field(default_factory=list)
    dropped: int = 0  # since the last flush


class Recorder(Worker):
    """Writes rows to the live segment, flushed every ``flush_interval_s`` and rotated at multiples of ``rotate_s``.

    A row is encoded when it is taken, so that a waiting row holds its few changed levels and not a whole book. While
    the disk refuses, rows wait up to ``pending_bytes``; beyond that the newest are dropped and counted. A closed
    segment goes to the finisher's channel. ``rows_written``, ``rows_lost`` and ``bytes_written`` count since the
    start; ``flush_interval_s``, ``rotate_s`` and ``facts`` may be set while it runs (``facts`` tell in the next segment).
    """

    def __init__(
        self,
        directory: Path,
        channel: Channel[BookSnapshot | BookEvent],
        finisher_channel: Channel[Path],
        *,
        flush_interval_s: float = 1.0,
        rotate_s: float = 3600.0,
        facts: RecordingFacts = _NO_FACTS,
        max_segment_bytes: int = 256 << 20,
        pending_bytes: int = 64 << 20,
        name: str = "recorder",
    ) -> None:
        super().__init__(name)
        self.flush_interval_s, self.rotate_s, self.facts = flush_interval_s, rotate_s, facts
        self.rows_written = self.rows_lost = self.bytes_written = 0
        self._directory, self._channel, self._finisher_channel = directory, channel, finisher_channel
        self._max_segment_bytes, self._pending_limit = max_segment_bytes, pending_bytes
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._waiting: dict[tuple[str, str], _Stream] = {}  # those with something to flush or to report
        self._events: list[BookEvent] = []
        self._pending_bytes = 0
        self._segment: SegmentWriter | None = None
        self._failing = False
        self._lost_before_outage = 0

    @property
    def failing(self) -> bool:
        """Whether the last flush found the disk refusing."""
        return self._failing

    def run(self, stop: threading.Event) -> None:
        """Record until ``stop``; then drain the channel, flush and close the segment."""
        next_flush_s = time.monotonic() + self.flush_interval_s
        while not stop.is_set():
            self.beat()
            left_s = next_flush_s - time.monotonic()
            # a burst (every symbol's keyframe after a rotation) is written early rather than dropped
            if left_s <= 0 or (self._pending_bytes > self._pending_limit // 2 and not self._failing):
                self.flush(time.time_ns())
                next_flush_s = time.monotonic() + self.flush_interval_s
                continue
            message = self._channel.take(min(left_s, _LOOK_S))
            if message is not None:
                self.accept(message)
        while (message := self._channel.take(0)) is not None:
            self.accept(message)
        self.flush(time.time_ns())
        self.close_segment()
        if self._pending_bytes or self._events:
            self._give_up_pending()

    def accept(self, message: BookSnapshot | BookEvent) -> None:
        """Take one row or event in; nothing is written before the next flush."""
        if isinstance(message, BookEvent):
            size = _event_bytes(message)
            if self._pending_bytes + size > self._pending_limit:
                self._drop(message.venue, message.symbol, 1)
                return
            self._events.append(message)
            self._pending_bytes += size
            return
        key = (message.venue, message.symbol)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
        delta = (
            stream.last is not None
            and message.changes_since is not None
            and stream.last == (message.epoch, message.changes_since)
            and stream.since_keyframe < KEYFRAME_EVERY
            and delta_is_smaller(message)
        )
        row = encode_row(message, delta=delta)
        if self._pending_bytes + len(row) > self._pending_limit:
            stream.last = None  # what follows cannot be told as changes to a row that is not there
            self._drop(message.venue, message.symbol, 1)
            return
        stream.last = (message.epoch, message.update_id)
        stream.since_keyframe = stream.since_keyframe + 1 if delta else 1
        self._waiting[key] = stream
        date = message.receive_time_ns // _DAY_NS
        # a frame never spans two dates: the finisher can then tell its files from the heads alone
        if not stream.pending or stream.pending[-1].head.first_ns // _DAY_NS != date:
            stream.pending.append(_Pending(FrameHead(FrameKind.BOOKS)))
        stream.pending[-1].add(message, row, keyframe=not delta)
        self._pending_bytes += len(row)

    def flush(self, now_ns: int) -> None:
        """Put everything that waits on disk, or keep it for the next time; rotate when it is time."""
        try:
            self._rotate_when_due(now_ns)
            self._flush(now_ns)
        except OSError as error:
            self._on_failure(error)
        self._report_drops()

    def close_segment(self) -> None:
        """Close the live segment, if any, and hand it to the finisher."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._break_chains(pending_too=False)
        try:
            segment.close()
        except OSError as error:
            self._tell_failure(error)
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
            self._leave_segment()
        if not self._waiting and not self._events:
            if self._segment is not None and self._failing:
                self._tell_success(0)
            return
        segment = self._segment
        if segment is None:
            segment = self._segment = SegmentWriter(self._directory, self.facts, now_ns)
        frames: list[bytes] = []
        rows = 0
        for stream in self._waiting.values():
            for pending in stream.pending:
                rows += pending.head.rows
                frames.append(segment.frame(pending.head, b"".join(pending.rows)))
        if self._events:
            head = FrameHead(FrameKind.EVENTS, len(self._events))
            frames.append(segment.frame(head, msgspec.json.encode(self._events)))
        segment.append(frames, rows)
        for stream in self._waiting.values():
            stream.pending.clear()
        self._waiting = {key: stream for key, stream in self._waiting.items() if stream.dropped}
        self._events.clear()
        self._pending_bytes = 0
        self.rows_written += rows
        self.bytes_written += sum(map(len, frames))
        if self._failing:
            self._tell_success(rows)
        self.progress()

    def _on_failure(self, error: OSError) -> None:
        self._tell_failure(error)
        if self._segment is not None and self._segment.broken:
            self._leave_segment()

    def _leave_segment(self) -> None:
        """Give the live segment up; rows that wait as changes to rows in it go with it."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.abandon()
            self._finisher_channel.offer(segment.path)
        self._break_chains(pending_too=True)

    def _break_chains(self, *, pending_too: bool) -> None:
        for stream in self._streams.values():
            stream.last = None
        if not pending_too:
            return
        for (venue, symbol), stream in list(self._waiting.items()):
            # from the first keyframe on, the rows stand by themselves
            while stream.pending:
                first = stream.pending[0]
                cut = first.keyframes[0] if first.keyframes else len(first.rows)
                self._pending_bytes -= sum(map(len, first.rows[:cut]))
                if cut:
                    self._drop(venue, symbol, cut)
                del first.rows[:cut]
                if first.rows:
                    first.head = dataclasses.replace(first.head, rows=len(first.rows))
                    break
                del stream.pending[0]

    def _give_up_pending(self) -> None:
        """At the stop with a refusing disk: say what is lost."""
        for (venue, symbol), stream in list(self._waiting.items()):
            rows = sum(pending.head.rows for pending in stream.pending)
            stream.pending.clear()
            if rows:
                self._drop(venue, symbol, rows)
        for event in self._events:
            self._drop(event.venue, event.symbol, 1)
        self._events.clear()
        self._pending_bytes = 0
        self._report_drops()

    def _drop(self, venue: str, symbol: str, count: int) -> None:
        stream = self._streams.setdefault((venue, symbol), _Stream())
        stream.dropped += count
        self.rows_lost += count
        self._waiting[venue, symbol] = stream

    def _report_drops(self) -> None:
        for (venue, symbol), stream in list(self._waiting.items()):
            if stream.dropped:
                log.warning("book.snapshot_dropped", venue=venue, symbol=symbol, count=stream.dropped)
                stream.dropped = 0
            if not stream.pending:
                del self._waiting[venue, symbol]

    def _tell_failure(self, error: OSError) -> None:
        if not self._failing:
            self._failing, self._lost_before_outage = True, self.rows_lost
            path = error.filename or (self._segment.path if self._segment is not None else self._directory)
            log.error("recorder.failed", path=str(path), error=f"{type(error).__name__}: {error}")

    def _tell_success(self, rows: int) -> None:
        self._failing = False
        path = self._segment.path if self._segment is not None else self._directory
        lost = self.rows_lost - self._lost_before_outage
        log.info("recorder.resumed", path=str(path), rows=rows, rows_lost=lost)


def _event_bytes(event: BookEvent) -> int:
    return 160 + len(event.detail)
