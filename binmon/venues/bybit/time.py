"""Asking Bybit for its time (reference 3.1)."""

from __future__ import annotations

import threading
import time

import msgspec

from binmon.core.clock import ClockSample
from binmon.errors import RequestRefused, VenueFailed
from binmon.messages import Priority
from binmon.net.rest import RestSession
from binmon.venues.bybit.errors import Kind, envelope_of, kind_of, public_failure, result_of
from binmon.venues.bybit.limits import WEIGHT

PATH = "/v5/market/time"


class _Time(msgspec.Struct):
    nanoseconds: str | int = msgspec.field(name="timeNano", default="")


_TIME = msgspec.json.Decoder(_Time)


def take_sample(rest: RestSession, stop: threading.Event, priority: Priority = Priority.RESYNC) -> ClockSample:
    """One question, timed from its first byte leaving to the whole answer. Raises a RetryError."""
    url, departures = rest.base_url + PATH, list[int]()
    try:
        body = rest.send(
            "GET",
            PATH,
            "",
            WEIGHT,
            priority,
            stop,
            departure=lambda sent_ns, sent_mono_ns: departures.append(sent_mono_ns),
        )
    except RequestRefused as error:
        # not ours to stop for: everybody who asks for the time asks again
        raise VenueFailed(url, error.status, error.message) from None
    received_mono_ns = time.monotonic_ns()
    wall_minus_mono_ns = time.time_ns() - time.monotonic_ns()
    answer = envelope_of(url, body)
    if kind_of(answer.code) is not Kind.DONE:
        refusal = public_failure(rest, url, answer)
        raise VenueFailed(url, 200, refusal.message) if isinstance(refusal, RequestRefused) else refusal
    told = str(result_of(url, answer, _TIME).nanoseconds)
    if not told and answer.time:
        told = str(answer.time * 1_000_000)  # whole milliseconds are better than no time
    if not (told.isascii() and told.isdigit() and len(told) == 19):
        raise VenueFailed(url, 200, "unreadable: a time in nanoseconds has 19 digits")
    venue_ns = int(told)
    return ClockSample(departures[-1], received_mono_ns, venue_ns, _resolution_ns(venue_ns), wall_minus_mono_ns)


def _resolution_ns(venue_ns: int) -> int:
    """The unit that the venue's clock was read in: one that tells milliseconds fills up with zeros."""
    if venue_ns % 1_000_000 == 0:
        return 1_000_000
    return 1_000 if venue_ns % 1_000 == 0 else 1
