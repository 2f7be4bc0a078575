"""Looking after books that are in step: comparing them with the venue's, and renewing them beside the live ones."""

from __future__ import annotations

import enum
import heapq
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import msgspec
import structlog

from binmon.books.audit import AuditReport, Follower, Mismatch, audit, describe
from binmon.books.depths import DepthBudget
from binmon.books.kept import KeptBook
from binmon.books.shadow import Renewal, renew
from binmon.books.sync import SyncState
from binmon.messages import DepthSnapshot, Evidence, Floats, Priority, SnapshotWanted
from binmon.venues.base import MalformedFrame, MarketDecoder

log = structlog.get_logger("binmon.books")

EDGE_SHARE = 0.25  # of the verified levels are left: time for a new snapshot, while the book is still good
_AUDITS_AT_A_TIME = 2
_DEEPENINGS_AT_A_TIME = 2
_ANSWER_WITHIN_S = 120.0  # from request to answer; a request waits for weight meanwhile
_CATCH_UP_WITHIN_S = 5.0  # from the answer until the stream has come to where it is
_RENEW_EVERY_S = 10.0  # a market that runs along the edge must not spend all the weight
_MOST_HEAD_START_S = 5.0
_GOLDEN = 0.6180339887498949  # steps of it fill a circle evenly, however many there will be


class Purpose(enum.Enum):
    """Why a snapshot of a book in step was asked for."""

    AUDIT = "audit"
    EDGE = "edge"
    DEEPEN = "deepen"


# deepening has a budget of its own, and must not wait behind the audits of a whole market, nor they behind it
_PRIORITY = {
    Purpose.AUDIT: Priority.AUDIT,
    Purpose.EDGE: Priority.INITIAL_SYNC,
    Purpose.DEEPEN: Priority.INITIAL_SYNC,
}


@dataclass(frozen=True, slots=True)
class UpkeepOutlets:
    """What upkeep may ask of the keeper.

    ``settled(kept, now_s)`` merges what waits and says whether the book is still in step; ``audited`` and ``renewed``
    are told of the outcomes; ``evidence`` keeps what showed a book to be wrong.
    """

    ask: Callable[[SnapshotWanted], None]
    settled: Callable[[KeptBook, float], bool]
    audited: Callable[[KeptBook, AuditReport, float], None]
    renewed: Callable[[KeptBook, Renewal, Purpose], None]
    evidence: Callable[[Evidence], None]


@dataclass(slots=True)
class _Task:
    """One snapshot of one book, from the wish to the outcome."""

    kept: KeptBook
    purpose: Purpose
    follower: Follower
    ask_at_s: float
    give_up_s: float
    asked: bool = False


class _Allowance:
    """Weight that gathers with time, up to ``most``."""

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s, self._most = per_s, most
        self._weight, self._since_s = 0.0, math.inf  # nothing gathers before somebody first looks

    def gather(self, now_s: float) -> None:
        """Time passed."""
        gathered = self._weight + max(0.0, now_s - self._since_s) * self._per_s
        self._weight, self._since_s = min(gathered, self._most), now_s

    def spend(self, weight: float) -> bool:
        """Take ``weight``; False when not so much has gathered."""
        if weight > self._weight:
            return False
        self._weight -= weight
        return True


class Upkeep:
    """Plans audits and renewals and carries them out. Lives in the keeper's thread; nothing here waits.

    Audits are spread evenly over ``interval_s``. As deep as the budget allows, all of them; beyond it they are shallow,
    and one after the other is deep as weight for it has gathered.
    """

    def __init__(
        self,
        venue: str,
        decoder: MarketDecoder,
        budget: DepthBudget,
        outlets: UpkeepOutlets,
        *,
        interval_s: float,
        new_token: Callable[[], int],
    ) -> None:
        self._venue, self._decoder, self._budget, self._outlets = venue, decoder, budget, outlets
        self.interval_s, self._new_token = interval_s, new_token
        self._kept: dict[str, KeptBook] = {}
        self._due: list[tuple[float, str, bool]] = []  # time, symbol, whether it is its regular turn
        self._retry_s: dict[str, float] = {}  # how long the last inconclusive audit of a symbol was waited for
        self._turn_s: dict[str, float] = {}  # when the one regular turn of each symbol is due
        self._by_depth: OrderedDict[str, None] = OrderedDict()  # whose last deep audit is the longest ago comes first
        self._tasks: dict[int, _Task] = {}  # by token
        self._next_renewal_s: dict[str, float] = {}
        self._phase = 0.0
        self._stretched = 0  # the number of books at which it was told that their audits take longer
        most = 2 * budget.weight_of(budget.wanted)
        self._for_deep_audits = _Allowance(budget.deep_audit_weight_s(), most)
        self._for_deepening = _Allowance(budget.deepen_weight_s(), most)
        self._head_start_s = 0.0
        self.audits_passed = self.audits_failed = self.audits_inconclusive = self.renewals = 0

    def add(self, kept: KeptBook, now_s: float) -> None:
        """Look after this book, too."""
        self._kept[kept.symbol] = kept
        self._by_depth[kept.symbol] = None
        self._phase = (self._phase + _GOLDEN) % 1.0
        self._plan(kept.symbol, now_s + self.interval_s * self._phase)

    def set_interval(self, interval_s: float, now_s: float) -> None:
        """Another interval from now on. What was left until each turn grows or shrinks with it, so that turns stay
        spread evenly, and none is put off for ever by intervals that change often."""
        if interval_s == self.interval_s:
            return
        ratio, self.interval_s, self._stretched = interval_s / self.interval_s, interval_s, 0
        for symbol in self._kept:
            self._plan(symbol, now_s + max(0.0, self._turn_s[symbol] - now_s) * ratio)

    def remove(self, symbol: str) -> None:
        """No longer."""
        kept = self._kept.pop(symbol, None)
        self._by_depth.pop(symbol, None)
        self._next_renewal_s.pop(symbol, None)
        self._retry_s.pop(symbol, None)
        self._turn_s.pop(symbol, None)
        if kept is not None:
            self.abandon(kept)

    def abandon(self, kept: KeptBook) -> None:
        """The book was lost or replaced: what was under way for it means nothing now."""
        if kept.followers:
            for token in [token for token, task in self._tasks.items() if task.kept is kept]:
                del self._tasks[token]
            kept.followers.clear()

    def start_afresh(self, now_s: float) -> None:
        """After a failure in the midst of something: nothing is under way, and every book has its regular turn."""
        self._tasks.clear()
        for kept in self._kept.values():
            kept.followers.clear()
        planned = {symbol for due_s, symbol, regular in self._due if regular and due_s == self._turn_s.get(symbol)}
        for symbol in self._kept.keys() - planned:
            self._plan(symbol, now_s + self.interval_s)

    # Snapshots ----------------------------------------------------------------------------------------------------

    def on_answer(self, token: int, snapshot: DepthSnapshot, now_s: float) -> bool:
        """A snapshot arrived; True when it was asked for here."""
        task = self._tasks.get(token)
        if task is None:
            return False
        task.follower.snapshot = snapshot
        task.give_up_s = now_s + _CATCH_UP_WITHIN_S
        self._look_at(task, now_s)
        return True

    def on_failure(self, token: int, retry_after_s: float, now_s: float) -> bool:
        """No snapshot; True when it was asked for here."""
        task = self._tasks.get(token)
        if task is None:
            return False
        self._drop(task)
        if task.purpose is Purpose.AUDIT:
            self.audits_inconclusive += 1
        else:
            self._next_renewal_s[task.kept.symbol] = now_s + max(retry_after_s, _RENEW_EVERY_S)
        return True

    # Time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_s: float, *, audit: bool = True) -> None:
        """Begin what is due, finish what has come together, give up what will not. No new audits without ``audit``."""
        for task in list(self._tasks.values()):
            if task.follower.token not in self._tasks:
                continue  # given up together with another of the same book
            if not task.asked and now_s >= task.ask_at_s:
                self._ask(task)
            self._look_at(task, now_s)
        if audit:
            self._begin_audits(now_s)

    def near_the_edge(self, kept: KeptBook, now_s: float) -> None:
        """The market has come near where the snapshot ended: renew this settled book while it is still good."""
        for task in [task for task in self._tasks.values() if task.kept is kept and task.purpose is Purpose.DEEPEN]:
            self._drop(task)  # this one asks for what fits now
        if now_s >= self._next_renewal_s.get(kept.symbol, 0.0) and not self._renewing(kept):
            limit = self._budget.for_books(1 + sum(task.purpose is Purpose.EDGE for task in self._tasks.values()))
            self._next_renewal_s[kept.symbol] = now_s + _RENEW_EVERY_S
            self._begin(kept, Purpose.EDGE, limit, now_s)

    def deepen(self, now_s: float) -> None:
        """Make one of the shallow books deeper, as weight for it has gathered. Call it when all books are in step."""
        self._for_deepening.gather(now_s)
        if sum(task.purpose is Purpose.DEEPEN for task in self._tasks.values()) >= _DEEPENINGS_AT_A_TIME:
            return
        for kept in self._kept.values():
            if (
                kept.limit < self._budget.wanted
                and kept.sync.state is SyncState.SYNCED
                and not self._renewing(kept)
                and now_s >= self._next_renewal_s.get(kept.symbol, 0.0)
                and self._outlets.settled(kept, now_s)
            ):
                if kept.book.whole:
                    kept.limit = self._budget.wanted  # nothing was cut off: it is as deep as it gets
                    continue
                limit = self._budget.deeper(kept.limit)
                if self._for_deepening.spend(self._budget.weight_of(limit)):
                    self._begin(kept, Purpose.DEEPEN, limit, now_s)
                return

    # Inside -------------------------------------------------------------------------------------------------------

    def _renewing(self, kept: KeptBook) -> bool:
        return any(task.kept is kept and task.purpose is not Purpose.AUDIT for task in self._tasks.values())

    def _begin_audits(self, now_s: float) -> None:
        under_way = sum(task.purpose is Purpose.AUDIT for task in self._tasks.values())
        while self._due and self._due[0][0] <= now_s and under_way < _AUDITS_AT_A_TIME:
            due_s, symbol, regular = heapq.heappop(self._due)
            kept = self._kept.get(symbol)
            if kept is None or (regular and due_s != self._turn_s.get(symbol)):
                continue  # the turn of a symbol that was removed, and perhaps has come back
            if regular:
                # late audits do not bunch: the next is an interval after this one should have been, or after now
                self._plan(symbol, max(due_s, now_s - self.interval_s) + self.interval_s)
            if kept.sync.state is SyncState.SYNCED and self._outlets.settled(kept, now_s):
                self._begin(kept, Purpose.AUDIT, self._audit_limit(symbol, now_s), now_s)
                under_way += 1
            else:
                self._by_depth.move_to_end(symbol)  # it must not hold up the deep audits of the others

    def _plan(self, symbol: str, due_s: float) -> None:
        self._turn_s[symbol] = due_s
        heapq.heappush(self._due, (due_s, symbol, True))

    def _tell_when_stretched(self) -> None:
        """Once a number of books: the interval that the operator asked for cannot be kept."""
        possible_s = self._budget.audits_possible_s(len(self._kept))
        if possible_s > self.interval_s and len(self._kept) != self._stretched:
            self._stretched = len(self._kept)
            log.warning(
                "book.audits_stretched",
                venue=self._venue,
                symbols=len(self._kept),
                wanted_s=self.interval_s,
                possible_s=round(possible_s, 1),
            )

    def _audit_limit(self, symbol: str, now_s: float) -> int:
        self._tell_when_stretched()
        usual = self._budget.for_audits(len(self._kept), self.interval_s)
        deep = self._budget.weight_of(self._budget.wanted)
        self._for_deep_audits.gather(now_s)
        # so many full audits there is weight for in an interval: those come first whose last one is the longest ago
        turns = max(1, int(self.interval_s * self._budget.deep_audit_weight_s() / deep))
        its_turn = usual < self._budget.wanted and symbol in islice(self._by_depth, turns)
        if its_turn and self._for_deep_audits.spend(deep):
            self._by_depth.move_to_end(symbol)
            return self._budget.wanted
        return usual

    def _begin(self, kept: KeptBook, purpose: Purpose, limit: int, now_s: float) -> None:
        token = self._new_token()
        follower = Follower(kept.book, token, limit)
        kept.followers.append(follower)
        task = _Task(kept, purpose, follower, now_s + self._head_start_s, now_s + _ANSWER_WITHIN_S)
        self._tasks[token] = task
        if now_s >= task.ask_at_s:
            self._ask(task)

    def _ask(self, task: _Task) -> None:
        task.asked = True
        follower = task.follower
        self._outlets.ask(
            SnapshotWanted(self._venue, task.kept.symbol, follower.limit, _PRIORITY[task.purpose], follower.token)
        )

    def _look_at(self, task: _Task, now_s: float) -> None:
        kept, follower = task.kept, task.follower
        if follower.token not in self._tasks:
            return
        if follower.too_old:
            # the venue's REST side lags behind its streams: next time the book is put aside before the question
            self._head_start_s = min(_MOST_HEAD_START_S, 2 * self._head_start_s + 0.25)
            self._give_up(task, now_s)
        elif follower.ready(kept.book.update_id):
            # settled first, as that may find the book to be wrong, which ends the task as well
            if self._outlets.settled(kept, now_s) and follower.token in self._tasks:
                self._finish(task, now_s)
        elif now_s >= task.give_up_s or follower.overdue:
            self._give_up(task, now_s)

    def _give_up(self, task: _Task, now_s: float) -> None:
        self._drop(task)
        if task.purpose is Purpose.AUDIT:
            self.audits_inconclusive += 1
            # soon again, before its next turn; less and less so, as each try costs weight
            retry_s = min(self._retry_s.get(task.kept.symbol, 0.5) * 2, self.interval_s)
            self._retry_s[task.kept.symbol] = retry_s
            heapq.heappush(self._due, (now_s + retry_s, task.kept.symbol, False))
        else:
            self._next_renewal_s[task.kept.symbol] = now_s + 1.0

    def _drop(self, task: _Task) -> None:
        self._tasks.pop(task.follower.token, None)
        if task.follower in task.kept.followers:
            task.kept.followers.remove(task.follower)

    def _finish(self, task: _Task, now_s: float) -> None:
        kept, follower = task.kept, task.follower
        self._drop(task)
        snapshot = follower.snapshot
        assert snapshot is not None
        self._head_start_s /= 2  # a spell of lag passes
        try:
            if task.purpose is Purpose.AUDIT:
                report = audit(follower, self._decoder)
                self._retry_s.pop(kept.symbol, None)
                if report.mismatches:
                    self.audits_failed += 1
                    self._keep_evidence(task, report.mismatches)
                else:
                    self.audits_passed += 1
                self._outlets.audited(kept, report, now_s)
            else:
                renewal = renew(kept.book, follower, self._decoder)
                self.renewals += 1
                if renewal.mismatches:
                    self._keep_evidence(task, renewal.mismatches)
                    # what is under way compares with the book that was wrong: the new one is audited instead
                    self.abandon(kept)
                    heapq.heappush(self._due, (now_s, kept.symbol, False))
                kept.limit = max(kept.limit, follower.limit)
                self._outlets.renewed(kept, renewal, task.purpose)
        except MalformedFrame as error:
            # the live book, which took the same updates, has met it as well
            log.warning("book.upkeep_failed", venue=self._venue, symbol=kept.symbol, error=str(error))

    def _keep_evidence(self, task: _Task, mismatches: tuple[Mismatch, ...]) -> None:
        follower, kept = task.follower, task.kept
        snapshot = follower.snapshot
        assert snapshot is not None
        base = follower.base
        document = {
            "purpose": task.purpose.value,
            "found": describe(mismatches),
            "mismatches": [
                {
                    "side": m.side,
                    "price": m.price,
                    "book_quantity": m.book_quantity,
                    "venue_quantity": m.venue_quantity,
                }
                for m in mismatches
            ],
            "book": {
                "update_id": base.update_id,
                "bid_known_to": base.bid_known_to,
                "ask_known_to": base.ask_known_to,
                "bids": _pairs(*base.bids()),
                "asks": _pairs(*base.asks()),
            },
            "updates": [
                {
                    "first_update_id": update.first_update_id,
                    "last_update_id": update.last_update_id,
                    "event_time_ms": update.event_time_ms,
                    "bids": bytes(update.bids).decode("utf-8", "replace"),
                    "asks": bytes(update.asks).decode("utf-8", "replace"),
                }
                for update in follower.updates
            ],
            "snapshot": {
                "update_id": snapshot.last_update_id,
                "limit": follower.limit,
                "bids": _pairs(snapshot.bid_price, snapshot.bid_quantity),
                "asks": _pairs(snapshot.ask_price, snapshot.ask_quantity),
            },
        }
        self._outlets.evidence(
            Evidence(time.time_ns(), self._venue, kept.symbol, snapshot.last_update_id, msgspec.json.encode(document))
        )

    def counters(self) -> Mapping[str, int]:
        """Since the start, for metrics."""
        return {
            "audits_passed": self.audits_passed,
            "audits_failed": self.audits_failed,
            "audits_inconclusive": self.audits_inconclusive,
            "renewals": self.renewals,
        }


def _pairs(price: Floats, quantity: Floats) -> list[tuple[float, float]]:
    return list(zip(price.tolist(), quantity.tolist(), strict=True))
