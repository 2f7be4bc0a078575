"""When to ask the venue for an order whose fate is open, and when to stop.

Reads of a venue may lag, and one that does not answer is not made to answer by asking more: pauses grow (reference:
Binance Spot, 4.3). Only an order that is not known again and again, over some time, counts as not known.
"""

from __future__ import annotations

from dataclasses import dataclass

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""From an answer that settles nothing to the next question; the last one repeats."""
NOT_FOUND_TIMES = 5
NOT_FOUND_OVER_S = 15.0
GIVE_UP_AFTER_S = 600.0
"""Without any answer at all."""
_ANSWER_WITHIN_S = 60.0  # whoever asks answers always; this is for a question that got lost on the way
_S = 1_000_000_000


@dataclass(slots=True)
class Asking:
    """The questions about one order. ``last_answer_mono_ns`` begins as the moment when the asking did."""

    last_answer_mono_ns: int
    next_mono_ns: int
    attempt: int = 0
    pauses: int = 0
    under_way: bool = False
    not_found: int = 0
    first_not_found_mono_ns: int = 0
    last_failure: str = ""

    def ask(self, now_mono_ns: int) -> bool:
        """Whether a question is due; it then counts as asked."""
        if now_mono_ns < self.next_mono_ns:
            return False
        self.attempt += 1
        self.under_way = True
        self.next_mono_ns = now_mono_ns + int(_ANSWER_WITHIN_S * _S)
        return True

    def hurry(self, now_mono_ns: int) -> None:
        """Something has happened that makes an answer likely: ask at once, unless a question is under way."""
        self.pauses = 0
        if not self.under_way:
            self.next_mono_ns = now_mono_ns

    def unknown_for_ns(self, now_mono_ns: int) -> int:
        """Since when the venue has said again and again that it does not know the order."""
        return now_mono_ns - self.first_not_found_mono_ns if self.not_found else 0

    def found(self, now_mono_ns: int) -> None:
        """The venue knows the order, and it is still open."""
        self.not_found = 0
        self._answered(now_mono_ns)

    def unknown(self, now_mono_ns: int) -> bool:
        """The venue does not know the order. True when it has said so often enough to be believed."""
        if self.not_found == 0:
            self.first_not_found_mono_ns = now_mono_ns
        self.not_found += 1
        self._answered(now_mono_ns)
        over_ns = now_mono_ns - self.first_not_found_mono_ns
        return self.not_found >= NOT_FOUND_TIMES and over_ns >= NOT_FOUND_OVER_S * _S

    def failed(self, reason: str, now_mono_ns: int) -> None:
        """The question that is under way got no answer."""
        if self.under_way:
            self.last_failure = reason
            self._pause(now_mono_ns)

    def hopeless(self, now_mono_ns: int) -> bool:
        """Nothing has been found out for so long that nothing will be."""
        return now_mono_ns - self.last_answer_mono_ns >= GIVE_UP_AFTER_S * _S

    def _answered(self, now_mono_ns: int) -> None:
        self.last_answer_mono_ns = now_mono_ns
        self._pause(now_mono_ns)

    def _pause(self, now_mono_ns: int) -> None:
        self.under_way = False
        self.next_mono_ns = now_mono_ns + int(PAUSES_S[min(self.pauses, len(PAUSES_S) - 1)] * _S)
        self.pauses += 1
