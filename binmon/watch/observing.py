"""Which prices of a candle series are held against the user's lines, and when. No I/O.

Prices are looked at in the order of their candles, each state once. While history is asked for, a frame beyond the end of
the series waits for what lies before it, but only ``PATIENCE_S``: an alert is worth more than the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from binmon.messages import Candle
from binmon.watch.series import CandleMoved, CandleSeries, Effect, SeriesLoaded

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Observation:
    """A price to be looked at; ``at_ms`` is the venue's time of it."""

    price: Decimal
    at_ms: int


class CandleObserver:
    """One rule's view of a series: ``field`` is open, high, low or close; with ``closed_only`` open candles are none of
    its business."""

    def __init__(self, field: str, *, closed_only: bool) -> None:
        self._field, self._closed_only = field, closed_only
        self._reached: tuple[int, bool] = (-1, False)  # open time of the newest candle, whether its end was looked at
        self._held: Candle | None = None
        self._held_since_s = 0.0

    def follow(self, effects: Iterable[Effect]) -> list[Observation]:
        """What is to be looked at after these effects of the series."""
        found: list[Observation] = []
        for effect in effects:
            if isinstance(effect, CandleMoved):
                self._look(effect.candle, found)
            elif isinstance(effect, SeriesLoaded):
                candles: tuple[Candle, ...] = effect.candles
                if effect.first:
                    # what was before us has been: the newest says where the price is
                    usable = [one for one in candles if one.closed or not self._closed_only]
                    candles = tuple(usable[-1:])
                for candle in candles:
                    self._look(candle, found)
        return found

    def hold(self, candle: Candle, series: CandleSeries, now_s: float) -> None:
        """A frame was given to the series: remember it, if the series makes it wait."""
        last = series.last
        waits = series.waiting > 0 and (last is None or candle.open_time_ms > last.open_time_ms)
        if waits and (candle.closed or not self._closed_only):
            if self._held is None:
                self._held_since_s = now_s
            self._held = candle
        elif not series.waiting:
            self._held = None

    def tick(self, series: CandleSeries, now_s: float) -> list[Observation]:
        """What has waited long enough."""
        found: list[Observation] = []
        if not series.waiting:
            self._held = None
        elif self._held is not None and now_s - self._held_since_s >= PATIENCE_S:
            self._look(self._held, found)
            self._held = None
            self._held_since_s = now_s
        return found

    def _look(self, candle: Candle, found: list[Observation]) -> None:
        if self._closed_only and not candle.closed:
            return
        if (candle.open_time_ms, candle.closed) < self._reached or (
            candle.closed and (candle.open_time_ms, True) == self._reached
        ):
            return
        self._reached = (candle.open_time_ms, candle.closed)
        price: Decimal = getattr(candle, self._field)
        found.append(Observation(price, _time_ms(candle)))


def _time_ms(candle: Candle) -> int:
    """The venue's time of this state of the candle, as far as it is known."""
    if candle.event_time_ms:
        return candle.event_time_ms
    return candle.close_time_ms if candle.closed else min(candle.receive_time_ns // 1_000_000, candle.close_time_ms)
