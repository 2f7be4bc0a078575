"""What the C library keeps of the memory that we have done with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# From glibc's malloc.h
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8

_ARENAS = 2
_OWN_MAPPING_FROM = 128 * 1024


def _found(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where that is another than glibc."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return function


_trim, _set = _found("malloc_trim"), _found("mallopt")


def keep_little() -> bool:
    """To be called before the first thread starts; what the environment says of malloc is overruled. False where the C
    library knows none of it.

    By itself, glibc gives each of the first threads a heap of its own (eight per core), keeps in each what a burst needed
    once, and with each large block that is freed it takes larger ones into the heaps. A daemon whose threads take turns
    anyway gains nothing from that, and in an hour of reconnects half of its heaps were holes.
    """
    if _set is None:
        return False
    return bool(_set(_M_ARENA_MAX, _ARENAS)) and bool(_set(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM))


def give_back() -> None:
    """After work that needed much for a moment. It takes some milliseconds, in which other threads may have to wait for
    memory. Does nothing where the C library cannot."""
    if _trim is not None:
        _trim(0)
