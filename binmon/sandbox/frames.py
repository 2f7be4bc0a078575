"""Server-side websocket frames as ready bytes, good ones and deliberately bad ones (RFC 6455, section 5.2).

Frames from a server are not masked, so one event is framed once and the same bytes go to every subscriber. The broken
ones are for faults: no sane protocol library would write them.
"""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def header(length: int, opcode: int, final: bool = True, reserved: int = 0, masked: bool = False) -> bytes:
    """A frame header that announces ``length`` payload bytes; ``reserved`` sets the three RSV bits."""
    first = (0x80 if final else 0) | (reserved & 0x7) << 4 | opcode
    mask = 0x80 if masked else 0
    if length < 126:
        return bytes((first, mask | length))
    if length < 65536:
        return struct.pack("!BBH", first, mask | 126, length)
    return struct.pack("!BBQ", first, mask | 127, length)


def frame(payload: bytes, opcode: int = TEXT, final: bool = True, reserved: int = 0) -> bytes:
    """One frame, header and payload."""
    return header(len(payload), opcode, final, reserved) + payload


def fragmented(payload: bytes, pieces: int, ping_payload: bytes | None) -> bytes:
    """A text message cut into continuation frames, with a ping between the first two where a payload is given."""
    size = max(1, -(-len(payload) // pieces))
    parts = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    frames = []
    for index, part in enumerate(parts):
        frames.append(frame(part, TEXT if index == 0 else CONTINUATION, final=index == len(parts) - 1))
        if index == 0 and ping_payload is not None:
            frames.append(frame(ping_payload, PING))
    return b"".join(frames)


def masked(payload: bytes, key: bytes = b"\x11\x22\x33\x44") -> bytes:
    """A text frame masked with a key, which a server must never do."""
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return header(len(payload), TEXT, masked=True) + key + body
