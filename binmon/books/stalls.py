"""Tells a dead stream from a quiet market. A plain object without I/O; times are monotonic seconds.

A stream that is silent for longer than is usual for it is under suspicion. The venue is then asked for the cheapest
snapshot of that symbol: if its update id is ahead of the book, and the book has not caught up a moment later (the
event may have been under way), the stream is dead. If not, the market is quiet and the stream is allowed more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from binmon.net.cadence import CadenceWatch

MAX_PROBES = 3  # under way at a time: when everything falls silent, a few answers say why
CONFIRM_AFTER_S = 1.0  # ten times the aggregation of depth@100ms
_LEAST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A stream that is dead: the venue has moved on, the stream has not."""

    stream: str
    venue_update_id: int
    book_update_id: int

    @property
    def reason(self) -> str:
        return f"the venue is at update id {self.venue_update_id}, the stream at {self.book_update_id}"


@dataclass(slots=True)
class _Case:
    """A stream under suspicion."""

    probing: bool = False
    not_before_s: float = 0.0
    venue_update_id: int | None = None
    answered_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What to do now: streams whose symbols the venue is to be asked about, and streams that are dead."""

    probes: list[str]
    stalls: list[Stall]


class StallWatch:
    """See the module. ``cadence`` is told of every event by the caller (``cadence.seen`` is on the hot path)."""

    def __init__(self, cadence: CadenceWatch | None = None) -> None:
        self.cadence = cadence or CadenceWatch()
        self._cases: dict[str, _Case] = {}

    def check(self, now_s: float, book_id: Callable[[str], int | None]) -> Findings:
        """Look at all streams; ``book_id`` gives the update id of a stream's book, None when it is not synced."""
        silent = [name for name, _, _ in self.cadence.silent(now_s)]
        wanted = set(silent)
        self._cases = {name: case for name, case in self._cases.items() if case.probing or name in wanted}
        under_way = sum(case.probing for case in self._cases.values())
        findings = Findings([], [])
        for stream in silent:
            at = book_id(stream)
            if at is None:
                continue
            case = self._cases.setdefault(stream, _Case())
            if case.venue_update_id is not None:
                if now_s - case.answered_s < CONFIRM_AFTER_S:
                    continue
                del self._cases[stream]
                if case.venue_update_id > at:
                    findings.stalls.append(Stall(stream, case.venue_update_id, at))
                    self.cadence.pause(stream)
                else:
                    self.cadence.allow_more(stream)
            elif not case.probing and now_s >= case.not_before_s and under_way < MAX_PROBES:
                case.probing = True
                under_way += 1
                findings.probes.append(stream)
        return findings

    def on_answer(self, stream: str, venue_update_id: int, now_s: float) -> None:
        """The venue's update id of the symbol behind ``stream``."""
        case = self._cases.get(stream)
        if case is not None and case.probing:
            case.probing, case.venue_update_id, case.answered_s = False, venue_update_id, now_s

    def on_failure(self, stream: str, retry_after_s: float, now_s: float) -> None:
        """The venue did not answer: ask again, but not at once."""
        case = self._cases.get(stream)
        if case is not None:
            case.probing, case.not_before_s = False, now_s + max(_LEAST_RETRY_S, retry_after_s)

    def forget(self, stream: str) -> None:
        """The stream is of no interest any more; an answer to a probe of it will not come."""
        self.cadence.forget(stream)
        self._cases.pop(stream, None)

    def forget_cases(self) -> None:
        """Start afresh; what was learned of the pace stays."""
        self._cases.clear()
