"""What the keeper gives to others: rows, events, evidence and tops, in their channels and in the log."""

from __future__ import annotations

import time

import structlog

from binmon.books.audit import AuditReport, describe
from binmon.books.kept import KeptBook
from binmon.books.shadow import Renewal
from binmon.core.channel import Channel
from binmon.messages import BookEvent, BookEventKind, BookSnapshot, Evidence, TopOfBook
from binmon.net.rotation import FeedRotated

log = structlog.get_logger("binmon.books")


class BookOutput:
    """Never waits: what finds no room is dropped, counted, and reported by ``report_dropped``."""

    def __init__(
        self,
        venue: str,
        recorder: Channel[BookSnapshot | BookEvent | Evidence],
        tops: Channel[TopOfBook],
        *,
        record_depth: int,
        top_interval_ms: int,
    ) -> None:
        self._venue, self._recorder, self._tops = venue, recorder, tops
        self._record_depth, self.top_interval_s = record_depth, top_interval_ms / 1000
        self._unreported: dict[str, int] = {}

    def configure(self, *, record_depth: int, top_interval_ms: int) -> None:
        """Other settings from now on."""
        self._record_depth, self.top_interval_s = record_depth, top_interval_ms / 1000

    def row(self, kept: KeptBook) -> None:
        """Record a settled book."""
        row = kept.row(self._venue, self._record_depth)
        if row is not None and not self._recorder.offer(row):
            self._count_drop(kept.symbol)

    def top(self, kept: KeptBook, best: tuple[float | None, ...]) -> None:
        """Publish the top: bid, its quantity, ask, its quantity."""
        self._tops.offer(kept.top_of_book(self._venue, best, time.time_ns()))

    def periodic_top(self, kept: KeptBook, now_s: float) -> None:
        """Publish the top of a settled book, and say when the next one is due."""
        due_s = kept.next_top_s + self.top_interval_s
        kept.next_top_s = due_s if due_s > now_s else now_s + self.top_interval_s
        self.top(kept, kept.book.best())

    def event(
        self, kept: KeptBook, kind: BookEventKind, from_update_id: int | None, to_update_id: int | None, detail: str
    ) -> None:
        """Record why the recording has a seam here."""
        event = BookEvent(time.time_ns(), self._venue, kept.symbol, kind, from_update_id, to_update_id, detail)
        if not self._recorder.offer(event):
            self._count_drop(kept.symbol)

    def gap(self, kept: KeptBook, expected: int, first_update_id: int, last_update_id: int) -> None:
        """Tell and record that ids are missing."""
        log.warning(
            "book.gap",
            venue=self._venue,
            symbol=kept.symbol,
            expected=expected,
            first_update_id=first_update_id,
            last_update_id=last_update_id,
        )
        self.event(kept, BookEventKind.GAP, expected - 1, first_update_id, f"expected {expected}")

    def rotated(self, kept: KeptBook, rotated: FeedRotated) -> None:
        """Record that another socket carries this symbol."""
        update_id = kept.sync.update_id
        detail = f"{rotated.predecessor} -> {rotated.successor}: {rotated.reason}, overlap {rotated.overlap_ms:.0f} ms"
        self.event(kept, BookEventKind.ROTATION, update_id, update_id, detail)

    def audited(self, kept: KeptBook, report: AuditReport) -> None:
        """Tell and record what a comparison with the venue's snapshot has shown."""
        wrong, found = len(report.mismatches), describe(report.mismatches)
        told = f"{report.levels} levels, {report.excepted} excepted, {wrong} wrong" + (f": {found}" if wrong else "")
        self.event(kept, BookEventKind.AUDIT, report.update_id, report.update_id, told)
        (log.error if wrong else log.info)(
            "book.audit",
            venue=self._venue,
            symbol=kept.symbol,
            update_id=report.update_id,
            levels=report.levels,
            mismatches=wrong,
            excepted=report.excepted,
            **({"found": found} if wrong else {}),
        )

    def renewed(self, kept: KeptBook, renewal: Renewal, reason: str) -> None:
        """Tell and record that a book was replaced by one made beside it. ``kept`` has the new one already."""
        book, wrong, found = renewal.book, len(renewal.mismatches), describe(renewal.mismatches)
        told = f"beside the live book ({reason}): {renewal.added} levels more, {wrong} of {renewal.levels} differed"
        self.event(kept, BookEventKind.RESYNC, book.update_id, book.update_id, f"epoch {kept.sync.epoch}: {told}")
        (log.error if wrong else log.info)(
            "book.renewed",
            venue=self._venue,
            symbol=kept.symbol,
            reason=reason,
            update_id=book.update_id,
            levels=renewal.levels,
            mismatches=wrong,
            added=renewal.added,
            bid_known_to=book.bid_known_to,
            ask_known_to=book.ask_known_to,
            **({"found": found} if wrong else {}),
        )

    def refused(self, kept: KeptBook) -> None:
        """Tell that a book cannot be recorded exactly."""
        log.error(
            "book.refused",
            venue=self._venue,
            symbol=kept.symbol,
            value=kept.book.inexact,
            reason="more than 15 significant digits: a double would round it, so this book is not recorded",
        )

    def evidence(self, evidence: Evidence) -> None:
        """Keep what showed a book to be wrong."""
        if not self._recorder.offer(evidence):
            log.error("recorder.failed", path="evidence", error="no room in the queue for the evidence of a wrong book")

    def report_dropped(self) -> None:
        """Tell how many rows and events found no room since the last call."""
        for symbol, count in self._unreported.items():
            log.warning("book.snapshot_dropped", venue=self._venue, symbol=symbol, count=count)
        self._unreported.clear()

    def _count_drop(self, symbol: str) -> None:
        self._unreported[symbol] = self._unreported.get(symbol, 0) + 1
