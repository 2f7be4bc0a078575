"""The frames of a segment: self-describing, checked pieces that can be told apart after any crash.

::

    magic 4 | kind 1 | 0 | head length 2 | data length 4 | data crc32 4 | head crc32 4 | head | data (zstd)

All numbers are little-endian. The head has its own checksum: it says whose rows the data holds and how many, so
that a scan can build its index without unpacking anything, and a frame whose data is damaged still says what is lost.
"""

from __future__ import annotations

import enum
import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard

from binmon.recorder.pacing import no_pace

MAGIC = b"\x9dBmF"
_FIXED = struct.Struct("<4sBxHIII")
_CHECKED = _FIXED.size - 4  # the head's checksum covers what stands before it, and the head
_HEAD = struct.Struct("<IIqqiH")
_SEARCH_BYTES = 1 << 20


class FrameKind(enum.IntEnum):
    """What a frame holds."""

    HEADER = 1  # JSON: who wrote the segment, and the instruments' steps
    BOOKS = 2  # rows of one symbol and one UTC date
    EVENTS = 3  # JSON: a list of book events
    CLOSED = 4  # nothing: the segment was closed on purpose and is complete


_KINDS = frozenset(FrameKind)


@dataclass(frozen=True, slots=True)
class FrameHead:
    """What a frame says of its data. ``first_ns`` and ``last_ns`` are receive times; names are empty but for BOOKS."""

    kind: FrameKind
    rows: int = 0
    raw_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    last_epoch: int = 0
    venue: str = ""
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A whole frame found in a segment: its head, and where its data lies."""

    head: FrameHead
    data_offset: int
    data_bytes: int
    data_crc: int


@dataclass(slots=True)
class SegmentScan:
    """What a scan found: whole frames in order, and what is damaged.

    ``end`` is the offset after the last whole frame: bytes behind it are a torn tail. ``rows_lost`` counts rows of
    frames whose head is readable and whose data is not; a frame without a readable head cannot say.
    """

    frames: list[FrameRef] = field(default_factory=list)
    end: int = 0
    size: int = 0
    rows_lost: int = 0
    damaged_bytes: int = 0
    closed: bool = False

    @property
    def rows(self) -> int:
        """Rows of books in whole frames."""
        return sum(frame.head.rows for frame in self.frames if frame.head.kind is FrameKind.BOOKS)

    @property
    def torn_bytes(self) -> int:
        """Bytes behind the last whole frame."""
        return self.size - self.end


def encode_frame(head: FrameHead, raw: bytes, compressor: zstandard.ZstdCompressor) -> bytes:
    """One frame, ready to be appended. ``head.raw_bytes`` is filled in here."""
    data = compressor.compress(raw) if raw else b""
    venue = head.venue.encode()
    packed = _HEAD.pack(head.rows, len(raw), head.first_ns, head.last_ns, head.last_epoch, len(venue))
    packed += venue + head.symbol.encode()
    fixed = _FIXED.pack(MAGIC, head.kind, len(packed), len(data), zlib.crc32(data), 0)
    head_crc = zlib.crc32(packed, zlib.crc32(fixed[:_CHECKED]))
    return b"".join((fixed[:_CHECKED], struct.pack("<I", head_crc), packed, data))


def read_data(file: BinaryIO, frame: FrameRef, decompressor: zstandard.ZstdDecompressor) -> bytes | None:
    """The unpacked data of a frame, or None when it is not what was written."""
    data = os.pread(file.fileno(), frame.data_bytes, frame.data_offset)
    if len(data) != frame.data_bytes or zlib.crc32(data) != frame.data_crc:
        return None
    if not data:
        return b""
    try:
        return decompressor.decompress(data, max_output_size=frame.head.raw_bytes)
    except zstandard.ZstdError:
        return None


def scan(file: BinaryIO, *, check_data: bool = True, pace: Callable[[], None] = no_pace) -> SegmentScan:
    """Find the frames of an open segment.

    With ``check_data`` every byte is read and checked. Without, only heads are, which is quick and enough for an
    index whose data is checked when it is read. After a damaged place the scan goes on at the next readable head.
    ``pace`` is called at every frame.
    """
    result = SegmentScan(size=os.fstat(file.fileno()).st_size)
    offset = 0
    while offset < result.size:
        pace()
        frame = _frame_at(file, offset, result.size)
        if frame is None:
            found = _next_frame(file, offset + 1, result.size)
            result.damaged_bytes += found - offset
            offset = found
            continue
        following = frame.data_offset + frame.data_bytes
        if following > result.size or (check_data and not _data_is_whole(file, frame)):
            result.rows_lost += frame.head.rows if frame.head.kind is FrameKind.BOOKS else 0
            # the head is checked, so its length can be trusted: the next frame begins behind the damaged data
            following = min(following, result.size)
            result.damaged_bytes += following - offset
            offset = following
            continue
        result.closed = frame.head.kind is FrameKind.CLOSED
        result.frames.append(frame)
        result.end = offset = following
    return result


def _frame_at(file: BinaryIO, offset: int, size: int) -> FrameRef | None:
    """The frame that starts at ``offset``, when its head is readable."""
    if offset + _FIXED.size > size:
        return None
    file.seek(offset)
    fixed = file.read(_FIXED.size)
    if len(fixed) < _FIXED.size:
        return None  # the file became shorter while it was read
    magic, kind, head_bytes, data_bytes, data_crc, head_crc = _FIXED.unpack(fixed)
    if magic != MAGIC or kind not in _KINDS or head_bytes < _HEAD.size:
        return None
    packed = file.read(head_bytes)
    if len(packed) < head_bytes or zlib.crc32(packed, zlib.crc32(fixed[:_CHECKED])) != head_crc:
        return None
    rows, raw_bytes, first_ns, last_ns, last_epoch, venue_bytes = _HEAD.unpack_from(packed)
    names = packed[_HEAD.size :]
    # interned: an hour of a whole market has a hundred thousand frames of the same few names
    venue, symbol = sys.intern(names[:venue_bytes].decode()), sys.intern(names[venue_bytes:].decode())
    head = FrameHead(FrameKind(kind), rows, raw_bytes, first_ns, last_ns, last_epoch, venue, symbol)
    return FrameRef(head, offset + _FIXED.size + head_bytes, data_bytes, data_crc)


def _data_is_whole(file: BinaryIO, frame: FrameRef) -> bool:
    # the buffered file stands right behind the head: reading on costs no seek
    data = file.read(frame.data_bytes)
    return len(data) == frame.data_bytes and zlib.crc32(data) == frame.data_crc


def _next_frame(file: BinaryIO, offset: int, size: int) -> int:
    """The offset of the next readable head at or behind ``offset``, else ``size``."""
    while offset < size:
        block = os.pread(file.fileno(), _SEARCH_BYTES, offset)
        position = block.find(MAGIC)
        while position >= 0:
            if _frame_at(file, offset + position, size) is not None:
                return offset + position
            position = block.find(MAGIC, position + 1)
        if len(block) < _SEARCH_BYTES:
            break
        offset += len(block) - len(MAGIC) + 1  # a magic may lie across two blocks
    return size
