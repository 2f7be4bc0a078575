"""What the answers of Bybit v5 mean: their envelope, and each error code by what the caller should do (reference 3.0, 7).

Business errors come with HTTP 200 and a ``retCode``. Texts are never matched: they change.
"""

from __future__ import annotations

import enum
from typing import TypeVar

import msgspec

from binmon.errors import BinmonError, RateLimited, RequestRefused, VenueFailed
from binmon.net.rest import RestSession

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
INVALID_KEY, INVALID_SIGNATURE, NO_PERMISSION, NO_IP, EXPIRED_KEY = 10003, 10004, 10005, 10010, 33004
INVALID_SYMBOL = 170121
NO_SUCH_ORDER = frozenset([110001, 170213])
_LEAST_WAIT_S = 0.3  # after 10006: at least a few hundred milliseconds (reference 6.1)
_BUSY_S = 1.0

# The request came too late, or from a clock that is off: it was not executed, and is signed anew.
_TIME = frozenset([10002, -1])
_LIMITED = frozenset([10006, 10403, 20003, 170005, 170222])
# The system as a whole protects itself: nothing was done.
_BUSY = frozenset([429, 10429])
# Nobody can say whether it was done. A duplicate of our own id means that there is such an order: it is asked for.
_UNKNOWN = frozenset([10000, 10014, 10016, 110072, 170001, 170007, 170032, 170035, 170141, 170146, 170147])
_REFUSED_RANGES = (range(10001, 10100), range(20000, 21000), range(33000, 34000), range(110000, 120000))
_SPOT_RANGE = range(170000, 180000)
_OTHERS_REFUSED = frozenset([10404, -2015])


class Kind(enum.Enum):
    """What a ``retCode`` asks of the caller."""

    DONE = "done"
    TIME = "time"  # measure the clock anew and sign again: it was not executed
    LIMITED = "limited"  # wait: it was not executed
    BUSY = "busy"  # as limited, but it is not us
    UNKNOWN = "unknown"  # it may have been executed: ask
    REFUSED = "refused"  # no, and no again


def kind_of(code: int) -> Kind:
    """The kind of a code. One from outside the documented ranges says nothing that could be relied on: UNKNOWN."""
    if code == 0:
        return Kind.DONE
    for codes, kind in ((_TIME, Kind.TIME), (_LIMITED, Kind.LIMITED), (_BUSY, Kind.BUSY), (_UNKNOWN, Kind.UNKNOWN)):
        if code in codes:
            return kind
    if code in _OTHERS_REFUSED or code in _SPOT_RANGE or any(code in codes for codes in _REFUSED_RANGES):
        return Kind.REFUSED
    return Kind.UNKNOWN


class Envelope(msgspec.Struct):
    """Every answer. ``time`` is the venue's clock, milliseconds; 0 where it is left out."""

    code: int = msgspec.field(name="retCode")
    message: str | None = msgspec.field(name="retMsg", default=None)
    result: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    time: int = 0


_ENVELOPE = msgspec.json.Decoder(Envelope, strict=False)  # ``time`` may be a text


def envelope_of(url: str, body: bytes) -> Envelope:
    """The envelope of an answer, whatever its code. Raises VenueFailed for what is none."""
    try:
        return _ENVELOPE.decode(body)
    except UNREADABLE as error:
        raise VenueFailed(url, 200, f"unreadable: {error}") from None


def failure(url: str, answer: Envelope, *, hidden: str = "", retry_after_s: float | None = None) -> BinmonError:
    """The error that a code other than 0 stands for, by `Kind`: TIME and REFUSED are RequestRefused, LIMITED and BUSY
    RateLimited, UNKNOWN VenueFailed. ``hidden`` is a text that no error may hold: refusals of signatures quote the key.
    """
    message = answer.message or "no message"
    if hidden:
        message = message.replace(hidden, "***")
    kind = kind_of(answer.code)
    if kind is Kind.LIMITED:
        return RateLimited("REQUESTS", max(_LEAST_WAIT_S, 1.0 if retry_after_s is None else retry_after_s))
    if kind is Kind.BUSY:
        return RateLimited("SYSTEM", _BUSY_S)
    if kind is Kind.UNKNOWN:
        return VenueFailed(url, 200, f"{answer.code}: {message}")
    return RequestRefused(url, 200, answer.code, message)


def public_failure(rest: RestSession, url: str, answer: Envelope) -> BinmonError:
    """`failure` for an answer to a public question: after one of a limit everybody at ``rest`` waits."""
    error = failure(url, answer)
    if isinstance(error, RateLimited):
        rest.limited(error)
    return error


def result_of(url: str, answer: Envelope, decoder: msgspec.json.Decoder[T]) -> T:
    """The payload of an answer with code 0. Raises VenueFailed for one that is not what it should be."""
    try:
        return decoder.decode(answer.result)
    except UNREADABLE as error:
        raise VenueFailed(url, 200, f"unreadable: {error}") from None
