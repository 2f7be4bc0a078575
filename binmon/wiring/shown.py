"""Which candles of a series somebody has not seen yet. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from binmon.messages import Candle, CandlesChanged

_KEPT = 1000  # one question to the venue; what was missed in an outage of so many candles is shown afterwards


def kept_for(history: int) -> int:
    """How many candles to keep for somebody who wants to see ``history`` of them."""
    return max(_KEPT, history + 200)


class Over:
    """Gives the candles of a series that are over, each once and in the order of time: one that is not closed yet, because
    its end was missed and is asked for, holds up those after it. One that the venue has corrected is given again."""

    def __init__(self, history: int) -> None:
        self._history = history
        self._given: dict[int, object] = {}  # figures by open time
        self._newest_ms = -1

    def news(self, series: Sequence[Candle]) -> list[Candle]:
        """What is over and was not given as it is now."""
        if self._newest_ms < 0:
            if not series:
                return []
            # the open candle is no history
            first = max(0, len(series) - self._history - (not series[-1].closed))
            self._newest_ms = series[first - 1].open_time_ms if first else 0
        found = []
        for candle in series:
            if candle.open_time_ms <= self._newest_ms:
                given = self._given.get(candle.open_time_ms)
                if given is None or given == candle.figures or not candle.closed:
                    continue
            elif not candle.closed:
                break
            self._given[candle.open_time_ms] = candle.figures
            self._newest_ms = max(self._newest_ms, candle.open_time_ms)
            found.append(candle)
        if len(self._given) > 2 * _KEPT and series:
            oldest_ms = series[0].open_time_ms
            self._given = {key: one for key, one in self._given.items() if key >= oldest_ms}
        return found

    def rest(self, series: Sequence[Candle]) -> list[Candle]:
        """What comes after all that was given."""
        return [one for one in series if one.open_time_ms > self._newest_ms] if self._newest_ms >= 0 else []


class Changes:
    """Gives every state of every candle once, in the order in which they came."""

    def __init__(self, history: int) -> None:
        self._history = history
        self._states: dict[int, tuple[object, bool]] = {}  # by open time
        self._from_ms: int | None = None

    def news(self, message: CandlesChanged) -> list[Candle]:
        """The candles of ``message`` that were not given as they are now."""
        candles = message.candles
        if self._from_ms is None:
            # the open candle is no history
            first = len(candles) - self._history - (bool(candles) and not candles[-1].closed)
            candles = candles[max(0, first) :]
            self._from_ms = candles[0].open_time_ms if candles else 0
        found = []
        for candle in candles:
            state = (candle.figures, candle.closed)
            if candle.open_time_ms >= self._from_ms and self._states.get(candle.open_time_ms) != state:
                self._states[candle.open_time_ms] = state
                found.append(candle)
        if len(self._states) > 2 * _KEPT and message.whole:
            oldest_ms = message.candles[0].open_time_ms  # what the series has forgotten will not come again
            self._states = {key: one for key, one in self._states.items() if key >= oldest_ms}
        return found
