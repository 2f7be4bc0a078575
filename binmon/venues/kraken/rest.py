"""The public REST API of Kraken: its envelope, its errors, its time (reference: other venues, 2)."""

from __future__ import annotations

import threading
import time
from typing import TypeVar

import msgspec

from binmon.core.clock import ClockReading, ClockSample, VenueClock
from binmon.errors import RateLimited, RequestRefused, VenueFailed
from binmon.messages import Priority
from binmon.net.ledger import REQUEST_WEIGHT, RateLedger
from binmon.net.rest import RestSession

T = TypeVar("T")

# The venue publishes no weights: every public request counts one, and one a second is known to be well within.
WEIGHT, WEIGHT_PER_MINUTE = 1, 60
TIME_PATH = "/0/public/Time"
_LIMITED_S = 15.0  # the venue names no time
_LIMITS = ("EAPI:Rate limit", "EGeneral:Too many requests", "EGeneral:Temporary lockout")
_THROTTLED = "EService:Throttled"  # then the second from when on it answers again
_PASSING = ("EService:", "EGeneral:Internal error")
_SECOND_NS = 10**9


class _Envelope(msgspec.Struct):
    error: list[str] = []
    result: msgspec.Raw = msgspec.Raw(b"")


class _Time(msgspec.Struct):
    unixtime: int


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_TIME = msgspec.json.Decoder(_Time)


def result(url: str, body: bytes, kind: type[T], ledger: RateLedger) -> T:
    """``result`` of an answer; errors come with HTTP 200, in a list of ``E…:text`` (and warnings, ``W…``).

    Raises RateLimited (and has ``ledger`` wait), VenueFailed for what passes and for anything unreadable, RequestRefused.
    """
    try:
        envelope = _ENVELOPE.decode(body)
        errors = [error for error in envelope.error if not error.startswith("W")]
        if not errors:
            return msgspec.json.decode(envelope.result, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise VenueFailed(url, 200, f"unreadable: {error}") from error
    said = "; ".join(errors)
    first = errors[0].replace(": ", ":")
    if first.startswith((*_LIMITS, _THROTTLED)):
        wait_s = _throttled_s(first, ledger.clock())
        ledger.limited(wait_s, ledger.clock())
        raise RateLimited(REQUEST_WEIGHT, wait_s)
    if first.startswith(_PASSING):
        raise VenueFailed(url, 200, said)
    raise RequestRefused(url, 200, None, said)


def _throttled_s(error: str, now_s: float) -> float:
    until = error.removeprefix(_THROTTLED).strip(" :")
    if error.startswith(_THROTTLED) and until.isascii() and until.isdigit() and len(until) < 12:
        return min(600.0, max(1.0, int(until) - now_s))
    return _LIMITED_S


def take_sample(
    rest: RestSession,
    ledger: RateLedger,
    clock: VenueClock,
    stop: threading.Event,
    priority: Priority = Priority.RESYNC,
) -> ClockSample:
    """One question for the venue's time, which it tells in whole seconds only. Raises a RetryError.

    A second is a coarse bound, but each sample says on which side of the turn of a second it was. So the question is put
    where ``clock`` expects the turn: whatever the answer, it halves what is possible, and a few of them bound the offset
    as well as milliseconds would. That takes up to a second of waiting.
    """
    reading = clock.reading()
    if reading is not None:
        stop.wait(turn_in_s(reading, time.monotonic_ns()))
    departures: list[int] = []
    try:
        body = rest.send(
            "GET",
            TIME_PATH,
            "",
            WEIGHT,
            priority,
            stop,
            departure=lambda sent_ns, sent_mono_ns: departures.append(sent_mono_ns),
        )
        received_mono_ns = time.monotonic_ns()
        told = result(rest.base_url + TIME_PATH, body, _Time, ledger)
    except RequestRefused as error:
        # not ours to stop for: everybody who asks for the time asks again
        raise VenueFailed(rest.base_url + TIME_PATH, error.status, error.message) from None
    wall_minus_mono_ns = time.time_ns() - time.monotonic_ns()
    return ClockSample(departures[-1], received_mono_ns, told.unixtime * _SECOND_NS, _SECOND_NS, wall_minus_mono_ns)


def turn_in_s(reading: ClockReading, mono_ns: int) -> float:
    """How long after a moment of our monotonic clock the venue's clock is expected to turn to another second."""
    return (-reading.venue_ns(mono_ns) % _SECOND_NS) / _SECOND_NS
