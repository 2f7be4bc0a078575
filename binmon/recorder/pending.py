"""What the recorder holds of one symbol between two flushes: rows that wait, and what was lost in front of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from binmon.messages import BookEvent, BookEventKind, BookSnapshot
from binmon.recorder.frames import FrameHead, FrameKind
from binmon.recorder.layout import DAY_NS
from binmon.recorder.rows import BookChain

NO_ROOM = "they found no room in the queue"
EXPLAINING = frozenset({BookEventKind.RESYNC, BookEventKind.GAP, BookEventKind.DISCONNECT, BookEventKind.STALL})
"""The kinds of events that say why an epoch ended; audits and rotations end none."""


@dataclass(slots=True)
class Loss:
    """What was lost of one symbol since its last row that is kept.

    ``rows`` and ``events`` were dropped by the recorder, ``reason`` says why; ``unseen_rows`` and ``unseen_events``
    say that some never reached it, which shows in the chain of the rows but not how many.
    """

    rows: int = 0
    events: int = 0
    reason: str = ""
    unseen_rows: bool = False
    unseen_events: bool = False

    @property
    def detail(self) -> str:
        """One line for the recording."""
        parts: list[str] = []
        for what, count, unseen in (("rows", self.rows, self.unseen_rows), ("events", self.events, self.unseen_events)):
            if count:
                parts.append(f"{what} not recorded: {count} ({self.reason})")
            if unseen:
                parts.append(f"{what} not recorded: {NO_ROOM}")
        return "; ".join(parts)


@dataclass(slots=True)
class PendingRows:
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
        # last: what the head does not count is not here, see `mend`
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

    def mend(self) -> None:
        """After a failure in the midst of `add`: only what the head counts is here."""
        del self.rows[self.head.rows :]
        self.keyframes = [position for position in self.keyframes if position < len(self.rows)]


@dataclass(slots=True)
class SymbolRows:
    """One symbol: where its chain of deltas stands, its rows that wait, and what it has lost.

    ``pending`` are in the order of arrival and only ever lose rows at the front, so rows are never reordered.
    """

    venue: str
    symbol: str
    last: tuple[int, int] | None = None  # epoch and update id of the newest row of the chain; None: none to build on
    since_keyframe: int = 0
    pending: list[PendingRows] = field(default_factory=list)
    dropped: int = 0  # since the last flush, for the log
    seen: tuple[int, int] | None = None  # epoch and update id of the newest row that arrived, kept or not
    kept_id: int | None = None  # update id of the newest row that waits or is on disk
    flushed_id: int | None = None  # the same of the newest on disk
    explained: bool = False  # since the newest row, an event came that says why an epoch ends
    loss: Loss | None = None  # not told yet

    def look_for_unseen(self, snapshot: BookSnapshot) -> None:
        """Find out whether rows or events were lost in front of a row that has arrived; `saw` must follow.

        A row names the row before it, unless the book was synchronised in between; where an epoch ends, an event must
        have said why.
        """
        seen, epoch = self.seen, snapshot.epoch
        before = snapshot.changes_since if snapshot.previous_id is None else snapshot.previous_id
        if before is not None and (seen is None or seen[1] != before):
            self.lose().unseen_rows = True
        if seen is not None and seen[0] != epoch and not self.explained:
            self.lose().unseen_events = True

    def saw(self, snapshot: BookSnapshot) -> None:
        """A row has arrived, and is kept or lost: the next one is compared with it."""
        self.seen = (snapshot.epoch, snapshot.update_id)
        self.explained = False

    def lose(self) -> Loss:
        """The loss in front of the next row, to be added to."""
        if self.loss is None:
            self.loss = Loss()
        return self.loss

    def add(self, snapshot: BookSnapshot, row: bytes, *, delta: bool) -> None:
        """Let the encoded row that was last looked at wait for the next flush."""
        date = snapshot.receive_time_ns // DAY_NS
        # a frame never spans two dates: the finisher can then tell its files from the heads alone
        if not self.pending or self.pending[-1].head.first_ns // DAY_NS != date:
            self.pending.append(PendingRows(FrameHead(FrameKind.BOOKS)))
        self.pending[-1].add(snapshot, row, keyframe=not delta)
        self.last = (snapshot.epoch, snapshot.update_id)
        self.kept_id = snapshot.update_id
        self.since_keyframe = self.since_keyframe + 1 if delta else 1

    def gap(self, snapshot: BookSnapshot) -> BookEvent:
        """The event that records the loss in front of this row: from the last row kept. Told, it is ``loss`` no more."""
        return _gap(self, snapshot.receive_time_ns, self.kept_id, snapshot.update_id, self.lose())

    def mend(self) -> None:
        """After a failure in the midst of anything: what waits is whole, and the next row is a whole book."""
        for one in self.pending:
            one.mend()
        self.pending = [one for one in self.pending if one.rows]
        if self.pending:
            ((_, self.kept_id, _),) = BookChain.keys(self.pending[-1].rows[-1])
        self.last = None

    def has(self, snapshot: BookSnapshot) -> bool:
        """Whether this very row waits already."""
        if not self.pending:
            return False
        ((_, update_id, epoch),) = BookChain.keys(self.pending[-1].rows[-1])
        return (epoch, update_id) == (snapshot.epoch, snapshot.update_id)

    def flushed(self) -> None:
        """All that waited is on disk."""
        self.pending.clear()
        self.flushed_id = self.kept_id

    def cut_to_keyframe(self, reason: str) -> tuple[int, int, BookEvent | None]:
        """Give up the waiting rows in front of the first keyframe: they are told as changes to rows elsewhere.

        Returns how many rows, how many bytes, and the event that records it; None when no row is left to end the gap:
        the loss is then told with the next row.
        """
        rows = size = 0
        while self.pending:
            first = self.pending[0]
            cut = first.keyframes[0] if first.keyframes else len(first.rows)
            size += sum(map(len, first.rows[:cut]))
            rows += cut
            del first.rows[:cut]
            if first.rows:
                first.keyframes = [position - cut for position in first.keyframes]
                first.head = dataclasses.replace(first.head, rows=len(first.rows))
                break
            del self.pending[0]
        if not rows:
            return 0, 0, None
        if not self.pending:
            self.kept_id = self.flushed_id
            loss = self.lose()
            loss.rows += rows
            loss.reason = reason
            return rows, size, None
        ((received_ns, next_id, _),) = BookChain.keys(self.pending[0].rows[0])
        return rows, size, _gap(self, received_ns, self.flushed_id, next_id, Loss(rows=rows, reason=reason))

    def give_up(self) -> int:
        """Forget all rows that wait; how many."""
        rows = sum(pending.head.rows for pending in self.pending)
        self.pending.clear()
        self.kept_id = self.flushed_id
        return rows


def _gap(symbol: SymbolRows, time_ns: int, from_id: int | None, to_id: int | None, loss: Loss) -> BookEvent:
    return BookEvent(time_ns, symbol.venue, symbol.symbol, BookEventKind.GAP, from_id, to_id, loss.detail)
