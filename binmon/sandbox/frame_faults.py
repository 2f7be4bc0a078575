"""Frames no sane server sends, for the faults ``malformed``, ``oversized``, ``binary``, ``empty`` and ``masked``."""

from __future__ import annotations

from typing import Any

from . import frames
from .event_faults import spoilt

_SAMPLE = '{"e":"depthUpdate","E":1784600000200,"s":"BTCUSDT","U":7001,"u":7004,"b":[["65123.45000000","1.50000000"]]}'
_FILLER = b'{"e":"filler","x":"'


def frame_bytes(kind: str, options: dict[str, Any]) -> bytes:
    """One such frame, or what is sent of it."""
    if kind == "malformed":
        return spoilt(_SAMPLE, options["mode"])
    if kind == "binary":
        return frames.frame(bytes(range(256)) * (options["bytes"] // 256) + bytes(options["bytes"] % 256), 0x2)
    if kind == "empty":
        return frames.frame(b"")
    if kind == "masked":
        return frames.masked(_SAMPLE.encode())
    length = max(options["bytes"], len(_FILLER) + 2)
    sent = length if options["complete"] else min(length, 1024)
    body: bytes = _FILLER + b"a" * (sent - len(_FILLER) - 2)
    return frames.header(length, frames.TEXT) + body + (b'"}' if options["complete"] else b"aa")
