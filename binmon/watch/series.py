"""The candles of one symbol and interval: history by REST, continued live, repaired after a break. No I/O.

The machine takes what happened and ``now_s`` (monotonic), and leaves in ``effects`` what should be asked and what has
changed. It asks for what it cannot know, and merges by these rules:

* A candle frame is the whole candle as it stands. So a lost frame does no harm, unless it was the last of its candle:
  then the next candle starts while the former is not closed, and the venue is asked for it.
* A frame beyond the end of the series waits: the venue is asked for what lies between. When its history reaches the
  frame, that is all there is (where nothing traded, a venue may have no candles).
* What is asked for joins the stream however the two are interleaved. Of two states of an open candle, the one with more
  volume is newer. A candle that another one follows in the venue's history is closed.
* A closed candle changes only when the venue's history says otherwise; that is reported, and as it means that we or the
  venue were wrong (or it was reset), the whole series is asked for anew.
* After every time without a stream the venue is asked from the last candle on, whatever the stream then brings.
* A stream may be silent because nothing trades or because it is dead. After ``SILENT_S`` the venue is asked; when it has
  trades that the stream does not bring within a few seconds either, the stream is called dead.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from binmon.messages import Candle

GRACE_S = 1.0  # a frame that is missing may be on its way on another connection
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0  # the venue's history may be a little behind its stream
SILENT_S = 60.0
LONGEST_SILENT_S = 600.0  # looks that find nothing new become rarer
NEWS_WITHIN_S = 6.0  # candle frames come every two seconds at most (reference: Binance Spot, 5.3)


class SeriesState(enum.Enum):
    """Where a series stands."""

    LOADING = "loading"  # no history yet
    LIVE = "live"  # whole, and the stream continues it
    REPAIRING = "repairing"  # the stream delivers, and some of what lies before is asked for
    DOWN = "down"  # no stream: the newest candle grows old


_ALLOWED = {
    SeriesState.LOADING: {SeriesState.LIVE, SeriesState.REPAIRING, SeriesState.DOWN},
    SeriesState.LIVE: {SeriesState.REPAIRING, SeriesState.DOWN},
    SeriesState.REPAIRING: {SeriesState.LIVE, SeriesState.DOWN},
    SeriesState.DOWN: {SeriesState.LIVE, SeriesState.REPAIRING},
}


@dataclass(frozen=True, slots=True)
class FetchCandles:
    """Ask the venue; see ``messages.CandlesWanted`` for what the fields mean. One is under way at most."""

    token: int
    start_ms: int | None
    end_ms: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class CandleMoved:
    """The newest candle has changed, was closed, or has begun."""

    candle: Candle


@dataclass(frozen=True, slots=True)
class SeriesLoaded:
    """The venue's history was merged in: these candles are new or different, oldest first. ``first``: it is the
    history that the series begins with."""

    candles: tuple[Candle, ...]
    first: bool


@dataclass(frozen=True, slots=True)
class CandleCorrected:
    """The venue's history says otherwise than a candle that was closed; ``after`` is None when it has none such."""

    before: Candle
    after: Candle | None


@dataclass(frozen=True, slots=True)
class SeriesStateChanged:
    """The series went from one state to another."""

    before: SeriesState
    after: SeriesState
    reason: str


@dataclass(frozen=True, slots=True)
class StreamDead:
    """The venue has trades that the stream did not bring."""

    reason: str


Effect = FetchCandles | CandleMoved | SeriesLoaded | CandleCorrected | SeriesStateChanged | StreamDead


@dataclass(slots=True)
class _Inquiry:
    """A question to the venue, of one or several pages: forward from ``from_ms``, or (None) backwards from the newest."""

    from_ms: int | None
    doubts: int  # how many doubts there were when it began: later ones are not settled by it
    limit: int
    start_ms: int | None
    end_ms: int | None
    rows: list[Candle]
    whole: bool  # the answer is all that the series will have


class CandleSeries:
    """See the module. ``length`` candles are kept at most; ``page`` is the most that the venue gives at once."""

    def __init__(self, length: int = 1000, page: int = 1000) -> None:
        if length < 2 or page < 2:
            raise ValueError(f"a series of {length} candles in pages of {page}: expected at least 2 of each")
        self.state = SeriesState.LOADING
        self.effects: deque[Effect] = deque()
        self._length, self._page = length, page
        self._candles: list[Candle] = []
        self._waiting: dict[int, Candle] = {}  # frames that cannot be attached yet, by open time
        self._loaded = self._up = False
        self._doubts = 1  # grows with each reason not to trust the end of the series
        self._reload = 1  # the doubt with which the whole series is wanted; 0: it is not
        self._settled = 0  # the doubts that an answer has settled
        self._unclosed = 0  # candles before the last that are not closed
        self._inquiry: _Inquiry | None = None
        self._under_way = False
        self._token = 0
        self._not_before_s = float("-inf")
        self._retry_s = FIRST_RETRY_S
        self._lag_s = FIRST_RETRY_S
        self._heard_s: float | None = None  # the last frame, or when the stream came up
        self._silent_s = SILENT_S
        self._looking = False  # the inquiry is because of silence
        self._news_s: float | None = None  # when the venue had more than the stream
        self.corrections = 0

    # Reading ------------------------------------------------------------------------------------------------------

    @property
    def candles(self) -> tuple[Candle, ...]:
        """All candles, oldest first, without a hole or a double; the last may be open."""
        return tuple(self._candles)

    @property
    def last(self) -> Candle | None:
        """The newest candle of the series."""
        return self._candles[-1] if self._candles else None

    @property
    def waiting(self) -> int:
        """How many frames wait for history."""
        return len(self._waiting)

    # What happens -------------------------------------------------------------------------------------------------

    def on_up(self, now_s: float) -> None:
        """The stream delivers (again)."""
        self._up = True
        self._heard_s, self._silent_s, self._news_s = now_s, SILENT_S, None
        self._doubt(now_s, now_s)
        self._proceed(now_s, "the stream is up")

    def on_down(self, now_s: float, reason: str) -> None:
        """The stream has ended."""
        self._up = False
        self._heard_s = self._news_s = None
        self._proceed(now_s, reason)

    def on_frame(self, candle: Candle, now_s: float) -> None:
        """A candle of the stream."""
        self._heard_s, self._silent_s, self._news_s = now_s, SILENT_S, None
        if not self._loaded:
            self._keep_waiting(candle)
        else:
            self._attach(candle, now_s)
        self._proceed(now_s, "a candle is missing")

    def on_answer(self, token: int, rows: Sequence[Candle], now_s: float) -> None:
        """What the venue answered to the ``FetchCandles`` with this token, oldest first."""
        inquiry = self._inquiry
        if token != self._token or inquiry is None or not self._under_way:
            return
        self._under_way = False
        self._not_before_s, self._retry_s = now_s, FIRST_RETRY_S
        if self._has_more(inquiry, rows):
            self._ask(inquiry)
            return
        self._inquiry = None
        self._merge(inquiry, now_s)
        self._proceed(now_s, "repaired")

    def on_failed(self, token: int, retry_after_s: float, now_s: float) -> None:
        """The venue did not answer."""
        if token == self._token and self._under_way:
            self._under_way = False
            self._not_before_s = now_s + max(retry_after_s, self._retry_s)
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def restart(self, now_s: float, *, up: bool) -> None:
        """Whoever pumps this has failed in the midst of it: nothing that was asked for will be answered, what was in
        ``effects`` may be lost, and the whole series is asked for anew. ``up``: whether the stream is."""
        self.effects.clear()
        self._under_way, self._inquiry = False, None
        self._token += 1
        self._unclosed = sum(not one.closed for one in self._candles[:-1])
        self._doubts += 1
        self._reload = self._doubts
        self._not_before_s, self._retry_s = now_s, FIRST_RETRY_S
        self._up, self._heard_s, self._news_s, self._looking = up, now_s if up else None, None, False
        self._proceed(now_s, "the watcher restarted")

    def tick(self, now_s: float) -> None:
        """Time passed."""
        if self._news_s is not None and now_s - self._news_s >= NEWS_WITHIN_S:
            self._news_s, self._heard_s = None, now_s
            self.effects.append(StreamDead("the venue has trades that the stream did not bring"))
        if self._up and self._loaded and self._heard_s is not None and now_s - self._heard_s >= self._silent_s:
            self._heard_s, self._silent_s = now_s, min(2 * self._silent_s, LONGEST_SILENT_S)
            self._looking = True
        self._proceed(now_s, "")

    # Frames -------------------------------------------------------------------------------------------------------

    def _attach(self, candle: Candle, now_s: float) -> None:
        last = self.last
        if last is None:
            self._keep_waiting(candle)
            self._reload = self._doubts
        elif candle.open_time_ms == last.open_time_ms:
            self._same(len(self._candles) - 1, candle, now_s)
        elif candle.open_time_ms == last.close_time_ms + 1 and not self._waiting:
            if not last.closed:
                self._unclosed += 1
                self._wait(now_s)
            self._candles.append(candle)
            self._trim()
            self.effects.append(CandleMoved(candle))
        elif candle.open_time_ms > last.open_time_ms:
            if not self._waiting:
                self._wait(now_s)
            self._keep_waiting(candle)
        else:
            self._earlier(candle, now_s)

    def _same(self, index: int, candle: Candle, now_s: float) -> None:
        """A frame of a candle that the series has."""
        known = self._candles[index]
        if known.closed:
            if candle.closed and candle.figures != known.figures:
                self._doubt(now_s, now_s + GRACE_S, candle.open_time_ms)
            return
        if not candle.closed and not _is_newer(candle, known):
            return
        self._candles[index] = candle
        if index < len(self._candles) - 1:
            self._unclosed -= candle.closed
        self.effects.append(CandleMoved(candle))

    def _earlier(self, candle: Candle, now_s: float) -> None:
        """A frame of a candle before the last: late, or by another connection."""
        index = self._index(candle.open_time_ms)
        if index < len(self._candles) and self._candles[index].open_time_ms == candle.open_time_ms:
            if candle.closed:
                self._same(index, candle, now_s)
        elif index > 0 and candle.closed:
            self._doubt(now_s, now_s + GRACE_S, candle.open_time_ms)

    def _keep_waiting(self, candle: Candle) -> None:
        known = self._waiting.get(candle.open_time_ms)
        if known is None or (not known.closed and (candle.closed or _is_newer(candle, known))):
            self._waiting[candle.open_time_ms] = candle
        if len(self._waiting) > self._length:
            del self._waiting[min(self._waiting)]

    # Asking -------------------------------------------------------------------------------------------------------

    def _doubt(self, now_s: float, not_before_s: float, from_ms: int | None = None) -> None:
        """The end of the series is not to be trusted; ``from_ms``: what lies before it either."""
        self._doubts += 1
        self._wait(now_s, not_before_s - now_s)
        if from_ms is not None and self.last is not None and from_ms < self.last.open_time_ms:
            self._reload = self._doubts

    def _wait(self, now_s: float, grace_s: float = GRACE_S) -> None:
        """Ask no sooner than after this, for what is missing may come by itself."""
        self._not_before_s = max(self._not_before_s, now_s + grace_s)

    def _wanted(self) -> bool:
        return bool(self._reload or self._doubts > self._settled or self._unclosed or self._waiting)

    def _proceed(self, now_s: float, reason: str) -> None:
        """Ask for what is wanted, if it is time, and be in the state that all this amounts to."""
        wanted = self._wanted()
        if (wanted or self._looking) and not self._under_way and now_s >= self._not_before_s:
            if self._inquiry is None:
                self._inquiry = self._new_inquiry()
            self._ask(self._inquiry)
        if self._loaded:
            if not self._up:
                self._move_to(SeriesState.DOWN, reason)
            else:
                self._move_to(SeriesState.REPAIRING if wanted else SeriesState.LIVE, reason)

    def _new_inquiry(self) -> _Inquiry:
        last = self.last
        if self._reload or last is None or self._is_far(last):
            return _Inquiry(None, self._doubts, self._length, None, None, [], whole=True)
        from_ms = next((one.open_time_ms for one in self._candles if not one.closed), last.open_time_ms)
        return _Inquiry(from_ms, self._doubts, self._page, from_ms, None, [], whole=False)

    def _is_far(self, last: Candle) -> bool:
        """Whether the newest frame is so far ahead that nothing of the series will be left."""
        newest_ms = max(self._waiting, default=last.open_time_ms)
        span_ms = last.close_time_ms + 1 - last.open_time_ms
        return newest_ms - last.open_time_ms > span_ms * self._length

    def _ask(self, inquiry: _Inquiry) -> None:
        self._token += 1
        self._under_way = True
        if not inquiry.rows:
            inquiry.doubts = self._doubts
        limit = min(inquiry.limit, self._page)
        self.effects.append(FetchCandles(self._token, inquiry.start_ms, inquiry.end_ms, limit))

    def _has_more(self, inquiry: _Inquiry, rows: Sequence[Candle]) -> bool:
        """Take a page in; whether another one is needed."""
        full = len(rows) >= min(inquiry.limit, self._page)
        if inquiry.from_ms is None:
            # backwards from the newest
            known = {one.open_time_ms for one in inquiry.rows}
            older = [one for one in rows if one.open_time_ms not in known]
            inquiry.rows[:0] = older
            inquiry.limit = self._length - len(inquiry.rows)
            inquiry.end_ms = inquiry.rows[0].open_time_ms - 1 if inquiry.rows else None
            return full and bool(older) and inquiry.limit > 0
        reached_ms = inquiry.rows[-1].open_time_ms if inquiry.rows else -1
        newer = [one for one in rows if one.open_time_ms > reached_ms]
        inquiry.rows += newer
        if len(inquiry.rows) > 2 * self._length:
            del inquiry.rows[: -self._length]
            inquiry.whole = True
        if newer:
            inquiry.start_ms = newer[-1].open_time_ms + 1
        return full and bool(newer)

    # Answers ------------------------------------------------------------------------------------------------------

    def _merge(self, inquiry: _Inquiry, now_s: float) -> None:
        """The whole answer is here: the series becomes what it says, continued by what the stream has said since."""
        rows = [replace(row, closed=True) for row in inquiry.rows[:-1]]
        rows += [replace(row, closed=False) for row in inquiry.rows[-1:]]
        first, looking = not self._loaded, self._looking
        self._loaded, self._looking = True, False
        self._settled = inquiry.doubts
        if inquiry.whole and inquiry.doubts >= self._reload:
            self._reload = 0
        if rows or inquiry.whole:
            corrected, has_news = self._put_in_place(inquiry, rows, first=first)
            if looking and has_news:
                self._news_s = now_s
            lacks_ours = not inquiry.whole and rows[0].open_time_ms != inquiry.from_ms
            if lacks_ours or (corrected and not inquiry.whole):
                self._reload = self._doubts  # who was wrong in one candle may be in others
        else:
            self._reload = self._doubts  # the venue does not have the candle that we had of it
        waiting, self._waiting = self._waiting, {}
        for open_ms in sorted(waiting):
            self._attach(waiting[open_ms], now_s)
        if self._waiting or self._unclosed or self._reload:
            # the venue's history is behind its stream
            self._wait(now_s, self._lag_s)
            self._lag_s = min(2 * self._lag_s, LONGEST_RETRY_S)
        else:
            self._lag_s = FIRST_RETRY_S

    def _put_in_place(self, inquiry: _Inquiry, rows: list[Candle], *, first: bool) -> tuple[bool, bool]:
        """Whether a closed candle was contradicted, and whether the answer has trades that the stream did not bring."""
        ours = {one.open_time_ms: one for one in self._candles}
        start_ms = rows[0].open_time_ms if inquiry.whole and rows else inquiry.from_ms or 0
        end_ms = rows[-1].open_time_ms if rows else -1
        before = [] if inquiry.whole else [one for one in self._candles if one.open_time_ms < start_ms]
        after = [one for one in self._candles if one.open_time_ms > end_ms] if rows else []
        if after and end_ms not in ours:
            # nobody has said that these follow: they wait until the venue's history reaches them
            for one in after:
                self._keep_waiting(one)
            after = []
        merged: list[Candle] = []
        changed: list[Candle] = []
        corrected: list[CandleCorrected] = []
        has_news = False
        for row in rows:
            known = ours.get(row.open_time_ms)
            kept = _joined(known, row)
            merged.append(kept)
            if known is None or kept.figures != known.figures:
                has_news = has_news or kept.volume > 0
                if known is not None and known.closed:
                    corrected.append(CandleCorrected(known, kept))
            if known is None or kept.figures != known.figures or kept.closed != known.closed:
                changed.append(kept)
        there = {row.open_time_ms for row in rows}
        corrected += [
            CandleCorrected(one, None)
            for open_ms, one in ours.items()
            if one.closed and open_ms not in there and (not rows or start_ms <= open_ms < end_ms)
        ]
        self._candles = before + merged + after
        self._unclosed = sum(not one.closed for one in self._candles[:-1])
        self._trim()
        self.corrections += len(corrected)
        self.effects.extend(corrected)
        if changed or first:
            self.effects.append(SeriesLoaded(tuple(changed), first))
        return bool(corrected), has_news

    # Inside -------------------------------------------------------------------------------------------------------

    def _index(self, open_ms: int) -> int:
        return bisect_left(self._candles, open_ms, key=lambda one: one.open_time_ms)

    def _trim(self) -> None:
        excess = len(self._candles) - self._length
        if excess > 0:
            self._unclosed -= sum(not one.closed for one in self._candles[:excess])
            del self._candles[:excess]

    def _move_to(self, state: SeriesState, reason: str) -> None:
        """The only writer of ``state``."""
        if state is self.state:
            return
        if state not in _ALLOWED[self.state]:
            raise RuntimeError(f"candle series: {self.state.name} -> {state.name} is not allowed")
        self.effects.append(SeriesStateChanged(self.state, state, reason))
        self.state = state


def _is_newer(one: Candle, other: Candle) -> bool:
    """Whether ``one`` is a later state of the same open candle, or the same."""
    if one.event_time_ms and other.event_time_ms and one.event_time_ms != other.event_time_ms:
        return one.event_time_ms > other.event_time_ms
    return (one.volume, one.trades) >= (other.volume, other.trades)  # trading only adds to it


def _joined(ours: Candle | None, row: Candle) -> Candle:
    """What the series should have where it has ``ours`` and the venue's history ``row``.

    A row that is followed in the history is closed, and right. The newest row was open when the venue answered, so the
    stream may know better.
    """
    if ours is None:
        return row
    if row.closed:
        return ours if ours.closed and ours.figures == row.figures else row
    return ours if ours.closed or _is_newer(ours, row) else row
