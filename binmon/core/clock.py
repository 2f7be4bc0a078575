"""How far a venue's clock is from ours, how sure that is, and how fast it drifts.

Everything is counted from the monotonic clock, which nobody sets: whoever steps the machine's wall clock changes no
figure here, and is noticed.

A sample is one question for the venue's time. The venue read its clock at some moment between sending and receiving, so
the true offset at that moment lies in an interval as wide as the round trip; the least round trips say most. Two samples
some time apart also bound the drift. What is given out is the intersection of all that the samples of the last minutes
allow, carried to the moment asked for: its middle, and half its width as the uncertainty. It is a bound, not a guess, as
long as the drift stays within what was assumed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

# Before samples say better: quartz is within 100 ppm, a clock that is being slewed within 500.
MAX_DRIFT = 1e-3
_WILDEST_DRIFT = 1e-2  # what is faster than that is no drift: the clock was set
_WIDENED = 1.25  # of a drift that was seen beyond MAX_DRIFT
_WINDOW_NS = 600 * 10**9
_MOST_SAMPLES = 64
_TRUSTED = 5  # samples that agree on a usual drift end the allowance for an unusual one
_STEP_NS = 20 * 10**6  # less is not told: the servers of a venue may differ by some milliseconds
_LOCAL_DRIFT = 5e-4  # the wall clock may be slewed against the monotonic clock by as much


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One answer to "what time is it": the venue's clock, read at some moment between sending and receiving.

    ``resolution_ns`` is the unit in which the venue told it, which cuts off what is below. ``wall_minus_mono_ns`` is our
    wall clock minus our monotonic clock at the receiving.
    """

    sent_mono_ns: int
    received_mono_ns: int
    venue_ns: int
    resolution_ns: int
    wall_minus_mono_ns: int

    @property
    def round_trip_ns(self) -> int:
        return self.received_mono_ns - self.sent_mono_ns


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The venue's clock (UTC) against ours at one moment; ``uncertainty_ns`` is a bound to either side."""

    venue_minus_mono_ns: int
    uncertainty_ns: int
    drift_ppm: float
    venue_minus_wall_ns: int

    def venue_ns(self, mono_ns: int) -> int:
        """The venue's clock at a moment of our monotonic clock, near the one this reading was made for."""
        return mono_ns + self.venue_minus_mono_ns


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A clock was set: ``venue`` says whose; ``by_ns`` is how far, positive: ahead."""

    venue: bool
    by_ns: int


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What one sample allows: at ``at_ns`` (monotonic) the venue was ahead of our monotonic clock by low to high."""

    at_ns: int
    low_ns: int
    high_ns: int


class ClockEstimator:
    """The estimate without I/O and without a lock: takes samples, gives readings."""

    def __init__(self, max_drift: float = MAX_DRIFT) -> None:
        self._usual_drift = self._max_drift = max_drift
        self._samples: deque[_Bounds] = deque(maxlen=_MOST_SAMPLES)
        self._drift = (-max_drift, max_drift)
        self._last: ClockSample | None = None

    def add(self, sample: ClockSample) -> list[ClockStep]:
        """Take in a sample; what it shows to have been set, if anything."""
        steps = self._local_step(sample)
        self._last = sample
        slack_ns = int(self._max_drift * sample.round_trip_ns / 2) + 1  # it was read at either end, not in the middle
        new = _Bounds(
            (sample.sent_mono_ns + sample.received_mono_ns) // 2,
            sample.venue_ns - sample.received_mono_ns - slack_ns,
            sample.venue_ns + sample.resolution_ns - sample.sent_mono_ns + slack_ns,
        )
        expected = self._at(new.at_ns)
        if expected is not None:
            off_ns = max(new.low_ns - expected[1], expected[0] - new.high_ns)
            if off_ns > _STEP_NS + _WILDEST_DRIFT * (new.at_ns - self._samples[-1].at_ns):
                by_ns = (new.low_ns + new.high_ns - expected[0] - expected[1]) // 2
                steps.append(ClockStep(venue=True, by_ns=by_ns))
                self._samples.clear()
                self._max_drift = self._usual_drift
            elif off_ns > 0:
                self._widen(self._samples[-1], new)
        while self._samples and self._samples[0].at_ns < new.at_ns - _WINDOW_NS:
            self._samples.popleft()
        self._samples.append(new)
        # A drift that changes contradicts old samples before young ones.
        while not self._fit() and len(self._samples) > 1:
            self._samples.popleft()
        if len(self._samples) >= _TRUSTED and max(map(abs, self._drift)) <= self._usual_drift:
            self._max_drift = self._usual_drift
        return steps

    def reading(self, mono_ns: int, wall_minus_mono_ns: int) -> ClockReading | None:
        """The clock at a moment; None before the first sample."""
        bounds = self._at(mono_ns)
        if bounds is None:
            return None
        low_ns, high_ns = bounds
        offset_ns = (low_ns + high_ns) // 2
        return ClockReading(
            offset_ns,
            (high_ns - low_ns + 1) // 2,
            (self._drift[0] + self._drift[1]) * 0.5e6,
            offset_ns - wall_minus_mono_ns,
        )

    @property
    def drift_bounds_ppm(self) -> tuple[float, float]:
        """Between what rates the venue's clock runs away from ours."""
        return self._drift[0] * 1e6, self._drift[1] * 1e6

    def _at(self, mono_ns: int) -> tuple[int, int] | None:
        """The interval that all samples allow at a moment."""
        if not self._samples:
            return None
        least, most = self._drift
        low = max(_carried(one.low_ns, mono_ns - one.at_ns, least, most)[0] for one in self._samples)
        high = min(_carried(one.high_ns, mono_ns - one.at_ns, least, most)[1] for one in self._samples)
        if low > high:  # by a rounding, as the samples agree
            low = high = (low + high) // 2
        return low, high

    def _widen(self, last: _Bounds, new: _Bounds) -> None:
        """A sample lies where no drift that was thought possible leads: allow for what was seen, and a little more."""
        span_ns = max(1, new.at_ns - last.at_ns)
        seen = max(abs(new.low_ns - last.high_ns), abs(new.high_ns - last.low_ns)) / span_ns
        self._max_drift = min(_WILDEST_DRIFT, max(self._max_drift, _WIDENED * seen))

    def _fit(self) -> bool:
        """Bound the drift by all pairs of samples; False when no single rate agrees with all."""
        least, most = -self._max_drift, self._max_drift
        samples = list(self._samples)
        for later in range(1, len(samples)):
            new = samples[later]
            for old in samples[:later]:
                span_ns = new.at_ns - old.at_ns
                if span_ns <= 0:
                    continue
                least = max(least, (new.low_ns - old.high_ns) / span_ns)
                most = min(most, (new.high_ns - old.low_ns) / span_ns)
        if least > most:
            return False
        self._drift = (least, most)
        return True

    def _local_step(self, sample: ClockSample) -> list[ClockStep]:
        last = self._last
        if last is None:
            return []
        by_ns = sample.wall_minus_mono_ns - last.wall_minus_mono_ns
        slewed_ns = _LOCAL_DRIFT * (sample.received_mono_ns - last.received_mono_ns)
        return [ClockStep(venue=False, by_ns=by_ns)] if abs(by_ns) > _STEP_NS + slewed_ns else []


def _carried(offset_ns: int, by_ns: int, least: float, most: float) -> tuple[int, int]:
    """An offset at another moment, ``by_ns`` later, when the drift is between ``least`` and ``most``."""
    moved = (least * by_ns, most * by_ns)
    return offset_ns + int(min(moved)), offset_ns + int(max(moved))


class VenueClock:
    """The clock of one venue for all threads: ``_lock`` guards the estimator."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self._lock = threading.Lock()
        self._estimator = ClockEstimator()
        self.samples = 0
        self.steps = 0

    def add(self, samples: Iterable[ClockSample]) -> list[ClockStep]:
        """Take in samples, oldest first; what they show to have been set."""
        with self._lock:
            steps = [step for sample in samples for step in self._taken(sample)]
            self.steps += len(steps)
            return steps

    def reading(self, mono_ns: int | None = None) -> ClockReading | None:
        """The clock at a moment of the monotonic clock (None: now); None before the first sample."""
        now_ns = time.monotonic_ns()
        wall_minus_mono_ns = time.time_ns() - now_ns
        with self._lock:
            return self._estimator.reading(now_ns if mono_ns is None else mono_ns, wall_minus_mono_ns)

    def venue_ms(self) -> int:
        """The venue's time now, for requests; our wall clock as long as nothing better is known."""
        reading = self.reading()
        return time.time_ns() // 10**6 if reading is None else reading.venue_ns(time.monotonic_ns()) // 10**6

    def _taken(self, sample: ClockSample) -> list[ClockStep]:
        self.samples += 1
        return self._estimator.add(sample)


__all__ = ["MAX_DRIFT", "ClockEstimator", "ClockReading", "ClockSample", "ClockStep", "VenueClock"]
