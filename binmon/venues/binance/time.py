"""Asking Binance Spot for its time (reference, 3.3 and 2.5)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import msgspec

from binmon.core.clock import ClockSample
from binmon.errors import RequestRefused, VenueFailed
from binmon.messages import Priority
from binmon.net.rest import RestSession

PATH = "/api/v3/time"
_WEIGHT = 1
_MICROSECONDS_FROM = 10**14  # in milliseconds that is the year 5138, in microseconds 1973
_HEADERS = {"X-MBX-TIME-UNIT": "MICROSECOND"}


class _Time(msgspec.Struct):
    server_time: int = msgspec.field(name="serverTime")


_TIME = msgspec.json.Decoder(_Time)


def in_microseconds(venue_time: int) -> tuple[int, int]:
    """A time of the venue in microseconds, and the unit in nanoseconds that it was told in."""
    return (venue_time, 1_000) if venue_time >= _MICROSECONDS_FROM else (venue_time * 1000, 1_000_000)


def take_sample(rest: RestSession, stop: threading.Event, priority: Priority = Priority.RESYNC) -> ClockSample:
    """One question, timed from its first byte leaving to the whole answer. Raises a RetryError.

    A venue that refuses microseconds is asked once more without them.
    """
    try:
        return _sample(rest, stop, priority, _HEADERS)
    except RequestRefused:
        try:
            return _sample(rest, stop, priority, {})
        except RequestRefused as error:
            # not ours to stop for: everybody who asks for the time asks again
            raise VenueFailed(rest.base_url + PATH, error.status, error.message) from None


def _sample(rest: RestSession, stop: threading.Event, priority: Priority, headers: Mapping[str, str]) -> ClockSample:
    departures: list[int] = []
    body = rest.send(
        "GET",
        PATH,
        "",
        _WEIGHT,
        priority,
        stop,
        headers=headers,
        departure=lambda sent_ns, sent_mono_ns: departures.append(sent_mono_ns),
    )
    received_mono_ns = time.monotonic_ns()
    wall_minus_mono_ns = time.time_ns() - time.monotonic_ns()
    try:
        told = _TIME.decode(body).server_time
    except (msgspec.DecodeError, ValueError) as error:
        raise VenueFailed(rest.base_url + PATH, 200, f"unreadable: {error}") from error
    venue_us, resolution_ns = in_microseconds(told)
    return ClockSample(departures[-1], received_mono_ns, venue_us * 1000, resolution_ns, wall_minus_mono_ns)
