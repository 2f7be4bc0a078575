"""When a signed request was made, and whether that is acceptable (reference: Binance Spot, 2.5).

Times are microseconds since the epoch by the venue's clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..parameters import ApiError, Parameters, missing

_DEFAULT_WINDOW_US = 5_000_000
_LARGEST_WINDOW_US = 60_000_000
_AHEAD_US = 1_000_000
_MICROSECONDS_FROM = 10**14
"""Timestamps from here on are microseconds; smaller ones are milliseconds."""
_OLDEST_US = 1_483_228_800_000_000
_WINDOW = re.compile(r"[0-9]{1,15}(\.[0-9]{1,3})?")

TOO_OLD = ApiError(400, -1021, "Timestamp for this request is outside of the recvWindow.")
TOO_NEW = ApiError(400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")


@dataclass(frozen=True)
class Timing:
    """When a request claims to have been made, and for how long it may be carried out."""

    made_us: int
    window_us: int


def read(parameters: Parameters) -> Timing:
    """Timing of a signed request. Raises :class:`~binmon.sandbox.parameters.ApiError`."""
    parameters.text("timestamp")
    moment = parameters.integer("timestamp")
    if moment is None or moment < 0:
        raise missing("timestamp")
    made_us = moment if moment >= _MICROSECONDS_FROM else moment * 1000
    text = parameters.optional_text("recvWindow")
    if text is None:
        return Timing(made_us, _DEFAULT_WINDOW_US)
    if _WINDOW.fullmatch(text) is None:
        raise ApiError(
            400,
            -1100,
            "Illegal characters found in parameter 'recvWindow'; legal range is '^[0-9]{1,5}(\\.[0-9]{1,3})?$'.",
        )
    whole, _, fraction = text.partition(".")
    window_us = int(whole) * 1000 + int((fraction + "000")[:3] if fraction else 0)
    if window_us > _LARGEST_WINDOW_US:
        raise ApiError(400, -1102, "'recvWindow' contains unexpected value. Cannot be greater than 60000.")
    return Timing(made_us, window_us)


def check_arrival(timing: Timing, now_us: int) -> None:
    """Refuse (-1021) what is too old or too new when it arrives."""
    if timing.made_us >= now_us + _AHEAD_US:
        raise TOO_NEW.fresh()
    if timing.made_us < _OLDEST_US:
        raise TOO_OLD.fresh()
    check_still_valid(timing, now_us)


def check_still_valid(timing: Timing, now_us: int) -> None:
    """Refuse (-1021) what has become too old before it reaches the matching engine."""
    if now_us - timing.made_us > timing.window_us:
        raise TOO_OLD.fresh()
