"""The public REST API of OKX: its envelope, its errors, its time (reference: other venues, 1)."""

from __future__ import annotations

import threading
import time
from typing import TypeVar

import msgspec

from binmon.core.clock import ClockSample
from binmon.errors import RateLimited, RequestRefused, VenueFailed
from binmon.messages import Priority
from binmon.net.ledger import REQUEST_WEIGHT, RateLedger
from binmon.net.rest import RestSession

T = TypeVar("T")

# The venue counts requests to each endpoint in two seconds, no weights. So every request counts one, and all of them
# together stay below what the strictest one (the time) allows.
WEIGHT, WEIGHT_PER_MINUTE = 1, 300
TIME_PATH = "/api/v5/public/time"
_LIMITED = 50011
_LIMITED_S = 4.0  # two of its windows
_PASSING = frozenset([50001, 50004, 50013, 50026])  # out of service, time-out, busy, system error
_MILLISECOND_NS = 10**6


class _Envelope(msgspec.Struct):
    code: str
    message: str = msgspec.field(name="msg", default="")
    data: msgspec.Raw = msgspec.Raw(b"[]")


class _Time(msgspec.Struct):
    time_ms: str = msgspec.field(name="ts")


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def data(url: str, body: bytes, kind: type[T], ledger: RateLedger) -> list[T]:
    """``data`` of an answer; errors may come with HTTP 200, as a ``code`` that is not "0".

    Raises RateLimited (and has ``ledger`` wait), VenueFailed for what passes and for anything unreadable, RequestRefused.
    """
    try:
        envelope = _ENVELOPE.decode(body)
        if envelope.code == "0":
            return msgspec.json.decode(envelope.data, type=list[kind])  # type: ignore[valid-type]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise VenueFailed(url, 200, f"unreadable: {error}") from error
    code = (
        int(envelope.code) if envelope.code.isascii() and envelope.code.isdigit() and len(envelope.code) < 9 else None
    )
    if code == _LIMITED:
        ledger.limited(_LIMITED_S, ledger.clock())
        raise RateLimited(REQUEST_WEIGHT, _LIMITED_S)
    if code in _PASSING:
        raise VenueFailed(url, 200, f"{code}: {envelope.message}")
    raise RequestRefused(url, 200, code, envelope.message)


def take_sample(
    rest: RestSession, ledger: RateLedger, stop: threading.Event, priority: Priority = Priority.RESYNC
) -> ClockSample:
    """One question for the venue's time, timed from its first byte leaving to the whole answer. Raises a RetryError."""
    url = rest.base_url + TIME_PATH
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
        wall_minus_mono_ns = time.time_ns() - time.monotonic_ns()
        (told,) = data(url, body, _Time, ledger)
        time_ms = int(told.time_ms)
    except RequestRefused as error:
        # not ours to stop for: everybody who asks for the time asks again
        raise VenueFailed(url, error.status, error.message) from None
    except ValueError as error:
        raise VenueFailed(url, 200, f"unreadable: {error}") from error
    return ClockSample(departures[-1], received_mono_ns, time_ms * _MILLISECOND_NS, _MILLISECOND_NS, wall_minus_mono_ns)
