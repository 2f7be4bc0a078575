"""Memory that the C library keeps for the next time, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _found() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


_trim = _found()  # None where the C library is another than glibc


def give_back() -> None:
    """After work that needed much for a moment. It takes some milliseconds, in which other threads may have to wait for
    memory. Does nothing where the C library cannot."""
    if _trim is not None:
        _trim(0)
