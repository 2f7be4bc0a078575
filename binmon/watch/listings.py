"""Which symbols are new, and which have changed: the venue's list against what is known, and the all-market ticker. No I/O.

Two signals show a new symbol: the venue's list (exchangeInfo), asked for every interval, and the all-market mini ticker,
in which a symbol appears with its first trade. The first to show it is the one that is reported; when the ticker is first,
the list is asked at once, which confirms it and says its status. The other signal is waited for a moment
(``CONFIRM_WITHIN_S``, a tenth of the interval at most), so that the report says by how much the first was ahead; if it
comes later, that is said then.

What is no news:

* what the database knows, so that a restart reports nothing old;
* everything on the first look at a venue (the baseline);
* a reset: most of what was known is gone. One line says so, and what is there is the new baseline;
* more than ``MOST_AT_ONCE`` changes in one look (maintenance, a long time off): one line with counts;
* a symbol of the ticker that the list does not have (other groups of accounts trade it): it is remembered as ``UNLISTED``,
  and is a listing when it comes to the list.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from binmon.messages import FirstSeenBy, Instrument, SymbolListed, SymbolStatus
from binmon.watch.known import KnownSymbol

DELISTED = "DELISTED"  # our word for a symbol that the venue does not list any more
UNLISTED = "UNLISTED"  # ... for one that trades and is not in its list
UNCONFIRMED = "UNCONFIRMED"  # ... for one of the ticker while the list cannot be had
CONFIRM_WITHIN_S = 1.0
MOST_AT_ONCE = 20
RESET_SHARE = 0.5  # of the known symbols that are gone at once, or more
LEAST_FOR_RESET = 4  # known symbols; fewer say nothing
_AFTER_FAILURE_S = 5.0
_LOOKS_AGAIN_S = (1.0, 5.0, 15.0, 60.0)  # after a symbol of the ticker that the list does not have yet


class ListingState(enum.Enum):
    """Where the watch of one venue stands."""

    FIRST = "first"  # nothing is known of it: the next list is the baseline
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class LookNow:
    """Ask the venue for its symbols."""

    token: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Write to the database. ``whole``: this is all that is known of the venue."""

    symbols: tuple[KnownSymbol, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """The first look at a venue: so many symbols are known now."""

    symbols: int


@dataclass(frozen=True, slots=True)
class VenueReset:
    """Most known symbols are gone: the venue was reset, or is another one."""

    known: int
    gone: int
    listed: int  # how many of those that are there now were not known


@dataclass(frozen=True, slots=True)
class ManyChanged:
    """More has changed at once than anybody wants to read one by one."""

    listed: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    statuses: Mapping[str, int]  # of the changed ones: how many have which status now


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The second signal has shown a symbol after it was reported."""

    symbol: str
    first_seen_by: FirstSeenBy
    lead_ms: float


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A symbol trades, and the venue does not list it."""

    symbol: str


Effect = LookNow | Keep | Baseline | VenueReset | ManyChanged | Confirmed | Unlisted | SymbolListed | SymbolStatus


@dataclass(slots=True)
class _Candidate:
    """A symbol that is new, until it is reported and both signals have shown it. Times are monotonic."""

    by: FirstSeenBy
    seen_ns: int
    seen_ms: int  # UTC
    instrument: Instrument | None = None
    other_ns: int | None = None  # when the other signal showed it
    reported: bool = False
    looks: int = 0  # lists without it
    look_s: float = 0.0  # when to look for it again

    @property
    def lead_ms(self) -> float | None:
        return None if self.other_ns is None else round((self.other_ns - self.seen_ns) / 1e6, 3)


class ListingWatch:
    """One venue. ``known`` is what the database has of it; without anything, the first list is the baseline."""

    def __init__(self, venue: str, known: Mapping[str, KnownSymbol], interval_s: float, *, ticker: bool = True) -> None:
        """``ticker``: the venue has an all-market stream that is listened to."""
        self.venue, self.interval_s, self._ticker = venue, interval_s, ticker
        self.state = ListingState.KNOWN if known else ListingState.FIRST
        self.effects: deque[Effect] = deque()
        self._known = dict(known)
        self._candidates: dict[str, _Candidate] = {}
        self._token = 0
        self._under_way = False
        self._next_s = float("-inf")
        self._failing_since_s: float | None = None
        self._ticked_before: set[str] = set()  # symbols of the ticker, before anything was known

    @property
    def known(self) -> Mapping[str, KnownSymbol]:
        """All symbols that were ever seen, by name."""
        return self._known

    # What happens -------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Nothing that was asked for will be answered: ask again with the next tick."""
        self._under_way, self._next_s = False, float("-inf")

    def tick(self, now_s: float) -> None:
        """Time passed."""
        for symbol, candidate in list(self._candidates.items()):
            self._consider(symbol, candidate, now_s)
        due_s = min((one.look_s for one in self._candidates.values() if one.instrument is None), default=float("inf"))
        if not self._under_way and now_s >= min(self._next_s, due_s):
            self._token += 1
            self._under_way = True
            self._next_s = now_s + self.interval_s
            self.effects.append(LookNow(self._token))

    def on_ticker(self, symbols: Iterable[str], now_s: float, now_ns: int, now_ms: int) -> None:
        """These symbols have traded just now; ``now_ns`` is monotonic, ``now_ms`` UTC."""
        if self.state is ListingState.FIRST:
            self._ticked_before.update(symbols)
            return
        for symbol in symbols:
            candidate = self._candidates.get(symbol)
            if candidate is not None:
                if candidate.by is FirstSeenBy.EXCHANGE_INFO and candidate.other_ns is None:
                    candidate.other_ns = now_ns
                    self._consider(symbol, candidate, now_s)
            elif symbol not in self._known:
                self._candidates[symbol] = _Candidate(FirstSeenBy.MINI_TICKER, now_ns, now_ms, look_s=now_s)
        self.tick(now_s)

    def on_symbols(
        self, token: int, instruments: Mapping[str, Instrument], now_s: float, asked_ns: int, now_ns: int, now_ms: int
    ) -> None:
        """The venue's list; ``asked_ns`` and ``now_ns`` (monotonic) are when it was asked for and was here."""
        if token != self._token or not self._under_way:
            return
        self._under_way, self._failing_since_s = False, None
        if not instruments:
            return  # a venue that lists nothing is being built: there is nothing to learn
        if self.state is ListingState.FIRST:
            self._begin(instruments, now_ms)
            self.effects.append(Baseline(len(instruments)))
            return
        present = [one for one in self._known.values() if one.status not in (DELISTED, UNLISTED)]
        gone = [one.symbol for one in present if one.symbol not in instruments]
        if len(present) >= LEAST_FOR_RESET and len(gone) >= RESET_SHARE * len(present):
            fresh = sum(symbol not in self._known for symbol in instruments)
            self._begin(instruments, now_ms)
            self.effects.append(VenueReset(len(present), len(gone), fresh))
            return
        self._compare(instruments, gone, now_s, asked_ns, now_ns, now_ms)

    def on_failed(self, token: int, retry_after_s: float, now_s: float) -> None:
        """The list cannot be had."""
        if token == self._token and self._under_way:
            self._under_way = False
            if self._failing_since_s is None:
                self._failing_since_s = now_s
            pause_s = max(1.0, retry_after_s)
            self._next_s = now_s + max(pause_s, min(self.interval_s, _AFTER_FAILURE_S))
            for candidate in self._candidates.values():
                candidate.look_s = max(candidate.look_s, now_s + pause_s)

    # Lists --------------------------------------------------------------------------------------------------------

    def _begin(self, instruments: Mapping[str, Instrument], now_ms: int) -> None:
        """All that is there is the baseline, and all that was there before is forgotten."""
        known = {
            symbol: self._of(instrument, now_ms, FirstSeenBy.BASELINE) for symbol, instrument in instruments.items()
        }
        for symbol in self._ticked_before - instruments.keys():
            known[symbol] = self._unlisted(symbol, now_ms, FirstSeenBy.BASELINE)
        # first what is to be done, then the state: whoever fails between the two does it again
        self.effects.append(Keep(tuple(known.values()), whole=True))
        self._candidates.clear()
        self._ticked_before.clear()
        self._known, self.state = known, ListingState.KNOWN

    def _compare(
        self,
        instruments: Mapping[str, Instrument],
        gone: list[str],
        now_s: float,
        asked_ns: int,
        now_ns: int,
        now_ms: int,
    ) -> None:
        fresh = dict.fromkeys(symbol for symbol in instruments if self._is_fresh(symbol))
        changed = [
            symbol
            for symbol, instrument in instruments.items()
            if symbol not in fresh
            and (known := self._known.get(symbol)) is not None
            and known.status != instrument.status
        ]
        if len(fresh) + len(changed) + len(gone) > MOST_AT_ONCE:
            self._take_all(instruments, list(fresh), changed, gone, now_ms)
            return
        kept: list[KnownSymbol] = []
        for symbol in fresh:
            candidate = self._candidates.get(symbol)
            if candidate is None:
                by = FirstSeenBy.EXCHANGE_INFO
                known = self._known.get(symbol)
                candidate = self._candidates[symbol] = _Candidate(by, now_ns, now_ms)
                if known is not None and known.status in (UNLISTED, UNCONFIRMED):
                    candidate.by, candidate.seen_ms = FirstSeenBy.MINI_TICKER, known.first_seen_ms
                    candidate.seen_ns = now_ns - (now_ms - known.first_seen_ms) * 1_000_000
                    candidate.reported = known.status == UNCONFIRMED
            if candidate.by is FirstSeenBy.MINI_TICKER and candidate.other_ns is None:
                candidate.other_ns = now_ns
            candidate.instrument = instruments[symbol]
        for symbol in changed:
            kept.append(self._changes(symbol, instruments[symbol].status, now_ms))
        for symbol in gone:
            kept.append(self._changes(symbol, DELISTED, now_ms))
        if kept:
            self.effects.append(Keep(tuple(kept)))
        for symbol, candidate in list(self._candidates.items()):
            if candidate.instrument is None and asked_ns >= candidate.seen_ns:
                pause_s = _LOOKS_AGAIN_S[min(candidate.looks, len(_LOOKS_AGAIN_S) - 1)]
                candidate.looks += 1
                candidate.look_s = now_s + pause_s
            self._consider(symbol, candidate, now_s)

    def _is_fresh(self, symbol: str) -> bool:
        """Whether the list shows this symbol for the first time."""
        known = self._known.get(symbol)
        if known is not None and known.status not in (UNLISTED, UNCONFIRMED):
            return False
        candidate = self._candidates.get(symbol)
        return candidate is None or candidate.instrument is None

    def _changes(self, symbol: str, status: str, now_ms: int) -> KnownSymbol:
        known = self._known[symbol]
        self._known[symbol] = changed = replace(known, status=status, changed_ms=now_ms)
        self.effects.append(
            SymbolStatus(self.venue, symbol, status, known.status, FirstSeenBy.EXCHANGE_INFO, None, now_ms)
        )
        return changed

    def _take_all(
        self,
        instruments: Mapping[str, Instrument],
        fresh: list[str],
        changed: list[str],
        gone: list[str],
        now_ms: int,
    ) -> None:
        statuses: dict[str, int] = {}
        for symbol in fresh:
            candidate = self._candidates.pop(symbol, None)
            by = candidate.by if candidate is not None else FirstSeenBy.EXCHANGE_INFO
            self._known[symbol] = self._of(instruments[symbol], now_ms, by)
        for symbol in changed:
            status = instruments[symbol].status
            statuses[status] = statuses.get(status, 0) + 1
            self._known[symbol] = replace(self._known[symbol], status=status, changed_ms=now_ms)
        for symbol in gone:
            self._known[symbol] = replace(self._known[symbol], status=DELISTED, changed_ms=now_ms)
        self.effects.append(Keep(tuple(self._known[symbol] for symbol in (*fresh, *changed, *gone))))
        self.effects.append(ManyChanged(tuple(fresh), tuple(changed), tuple(gone), statuses))

    # Candidates ---------------------------------------------------------------------------------------------------

    def _consider(self, symbol: str, candidate: _Candidate, now_s: float) -> None:
        """Report a new symbol when it is time, say the rest when it is known, forget it when all is said."""
        age_s = self._age_s(candidate, now_s)
        if candidate.reported:
            if candidate.other_ns is not None and candidate.instrument is not None:
                assert candidate.lead_ms is not None
                self._remember(symbol, candidate)
                self.effects.append(Confirmed(symbol, candidate.by, candidate.lead_ms))
                del self._candidates[symbol]
            elif candidate.instrument is not None and age_s > 86_400.0:
                del self._candidates[symbol]  # it does not trade; nobody waits for it any more
            return
        if candidate.instrument is not None:
            patience_s = min(CONFIRM_WITHIN_S, self.interval_s / 10) if self._ticker else 0.0
            if candidate.other_ns is not None or age_s >= patience_s:
                self._report(symbol, candidate)
            return
        # of the ticker alone
        failing_s = 0.0 if self._failing_since_s is None else now_s - self._failing_since_s
        wait_s = min(self.interval_s, 10.0)
        if self._failing_since_s is not None and failing_s >= wait_s and age_s >= wait_s:
            self._report(symbol, candidate)
        elif candidate.looks > 1 and age_s >= max(self.interval_s, sum(_LOOKS_AGAIN_S)):
            del self._candidates[symbol]
            self._known[symbol] = unlisted = self._unlisted(symbol, candidate.seen_ms, FirstSeenBy.MINI_TICKER)
            self.effects.append(Keep((unlisted,)))
            self.effects.append(Unlisted(symbol))

    @staticmethod
    def _age_s(candidate: _Candidate, now_s: float) -> float:
        return now_s - candidate.seen_ns / 1e9

    def _report(self, symbol: str, candidate: _Candidate) -> None:
        known = self._described(symbol, candidate)
        # first what is to be done, then the state: whoever fails between the two does it again
        self.effects.append(Keep((known,)))
        self.effects.append(
            SymbolListed(
                self.venue,
                symbol,
                known.base,
                known.quote,
                known.status,
                candidate.by,
                candidate.lead_ms,
                candidate.seen_ms,
            )
        )
        self._known[symbol] = known
        candidate.reported = True
        if candidate.other_ns is not None or not self._ticker:
            del self._candidates[symbol]

    def _remember(self, symbol: str, candidate: _Candidate) -> None:
        known = self._described(symbol, candidate)
        self.effects.append(Keep((known,)))
        self._known[symbol] = known

    def _described(self, symbol: str, candidate: _Candidate) -> KnownSymbol:
        instrument = candidate.instrument
        if instrument is not None:
            known = self._of(instrument, candidate.seen_ms, candidate.by)
        else:
            known = replace(self._unlisted(symbol, candidate.seen_ms, candidate.by), status=UNCONFIRMED)
        return replace(known, lead_ms=candidate.lead_ms)

    def _of(self, instrument: Instrument, now_ms: int, by: FirstSeenBy) -> KnownSymbol:
        return KnownSymbol(
            self.venue,
            instrument.symbol,
            instrument.base,
            instrument.quote,
            instrument.status,
            now_ms,
            by,
            None,
            now_ms,
        )

    def _unlisted(self, symbol: str, now_ms: int, by: FirstSeenBy) -> KnownSymbol:
        return KnownSymbol(self.venue, symbol, "", "", UNLISTED, now_ms, by, None, now_ms)
