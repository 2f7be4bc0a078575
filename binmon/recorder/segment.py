"""One append-only segment file: every symbol's rows of some time, safe on disk after each ``append``."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from binmon.messages import Instrument
from binmon.recorder.frames import FrameHead, FrameKind, SegmentScan, encode_frame, read_data

SCHEMA_VERSION = 1
SEGMENTS = "segments"
SEGMENT_ENDING = ".segment"
_COPY_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_counter = itertools.count(1)
_RUN = f"{os.getpid()}{secrets.token_hex(3)}"  # a process id alone is always 1 in a container


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """What every file says of its origin. ``instruments`` is keyed by (venue, symbol); a symbol may be missing.

    ``clock_offsets_ms``: each venue's clock minus ours.
    """

    instruments: Mapping[tuple[str, str], Instrument]
    version: str
    config_hash: str
    clock_offsets_ms: Mapping[str, float] = field(default_factory=dict)


class SegmentHeader(msgspec.Struct, frozen=True):
    """The first frame of a segment, and one more whenever the facts changed meanwhile.

    ``steps`` has venue, symbol, tick size and lot size per instrument.
    """

    schema: int
    version: str
    config_hash: str
    created_ns: int
    steps: list[tuple[str, str, str, str]]
    clock_offsets_ms: dict[str, float] = {}


class SegmentWriter:
    """The live segment. It is locked while it is open, so that nobody else takes it for a leftover.

    ``append`` either puts all its bytes on disk or, raising OSError, leaves the file as it was (when even that is
    impossible, ``broken`` is True and the segment must be given up; a later recovery cuts its tail).
    """

    def __init__(self, directory: Path, facts: RecordingFacts, created_ns: int, level: int = 1) -> None:
        """Create the file below ``directory`` (made when missing). Raises OSError."""
        self.created_ns = created_ns
        self.facts = facts  # as of the newest header that is on disk; the owner's to set
        self.rows = 0
        self.broken = False
        self._directory = directory
        self._compressor = zstandard.ZstdCompressor(level=level)
        # the run and a counter beside it: two segments of one moment, or of two processes, never share a name
        name = f"{stamp(created_ns)}-{_RUN}-{next(_counter)}{SEGMENT_ENDING}"
        self.path = directory / SEGMENTS / name
        header = self.header(facts)
        self._file: BinaryIO = _create_locked(self.path, [header])
        self.bytes = len(header)

    def header(self, facts: RecordingFacts) -> bytes:
        """The bytes of a header frame that says ``facts``."""
        content = msgspec.json.encode(_header(facts, self.created_ns))
        return encode_frame(FrameHead(FrameKind.HEADER), content, self._compressor)

    def frame(self, head: FrameHead, raw: bytes) -> bytes:
        """The bytes of a frame for ``append``."""
        return encode_frame(head, raw, self._compressor)

    def append(self, frames: Sequence[bytes], rows: int) -> None:
        """Write and fsync whole frames that hold ``rows`` rows of books. Raises OSError."""
        try:
            _write_all(self._file.fileno(), frames)
            os.fsync(self._file.fileno())
        except BaseException as error:
            # After a failed fsync nobody knows what is on disk, but for a full one, which says so before writing. What is
            # no error of the disk leaves it as good as it was.
            self.broken = isinstance(error, OSError) and error.errno not in _FULL
            try:
                os.ftruncate(self._file.fileno(), self.bytes)
                os.lseek(self._file.fileno(), self.bytes, os.SEEK_SET)
            except OSError:
                self.broken = True
            raise
        self.bytes += sum(map(len, frames))
        self.rows += rows

    def holds(self, size: int, rows: int) -> bool:
        """Whether an ``append`` that nobody heard the end of is on disk: the segment would have ``size`` bytes and ``rows``
        rows with it. Otherwise it is as it was before; raises OSError."""
        descriptor = self._file.fileno()
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, self.bytes)
            os.lseek(descriptor, self.bytes, os.SEEK_SET)
            return False
        os.fsync(descriptor)
        self.bytes, self.rows = size, rows
        return True

    def is_in_place(self) -> bool:
        """Whether the path still leads to this very file."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def put_back(self) -> bool:
        """After somebody removed the directory: write the file anew from the open descriptor.

        False when the file lives on under another name (it was moved): then it must not exist twice. Raises OSError.
        """
        descriptor = self._file.fileno()
        if os.fstat(descriptor).st_nlink > 0:
            return False
        blocks = (os.pread(descriptor, _COPY_BYTES, offset) for offset in range(0, self.bytes, _COPY_BYTES))
        file = _create_locked(self.path, blocks)
        self._file.close()
        self._file = file
        return True

    def close(self) -> None:
        """Mark the segment as complete and unlock it. Raises OSError (the file is then closed all the same)."""
        try:
            if not self.broken:
                self.append([self.frame(FrameHead(FrameKind.CLOSED), b"")], 0)
        finally:
            self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed or abandoned."""
        return self._file.closed

    def abandon(self) -> None:
        """Unlock the segment without a mark: recovery will look at it."""
        try:
            self._file.close()
        except OSError:
            self.broken = True  # nothing was buffered here: the descriptor is gone either way


def segment_paths(directory: Path) -> list[Path]:
    """The segments below ``directory``, live ones too, oldest first."""
    try:
        return sorted(path for path in (directory / SEGMENTS).iterdir() if path.name.endswith(SEGMENT_ENDING))
    except (FileNotFoundError, NotADirectoryError):
        return []


def stamp(time_ns: int) -> str:
    """A moment as the names of files begin with it: UTC, of fixed width, so that names sort by time."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y%m%dT%H%M%S}.{time_ns % 10**9:09d}Z"


def segment_stem(path: Path) -> str:
    """The name that the files made from this segment begin with."""
    return path.name.removesuffix(SEGMENT_ENDING)


def lock(file: BinaryIO) -> bool:
    """Take the segment for oneself until ``file`` is closed; False when another holds it (it is live)."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_headers(file: BinaryIO, found: SegmentScan) -> list[SegmentHeader]:
    """The header frames, newest first; without those that are damaged or of an unknown schema."""
    decompressor = zstandard.ZstdDecompressor()
    headers: list[SegmentHeader] = []
    for frame in reversed(found.frames):
        if frame.head.kind is FrameKind.HEADER and (data := read_data(file, frame, decompressor)) is not None:
            header = msgspec.json.decode(data, type=SegmentHeader)
            if header.schema == SCHEMA_VERSION:
                headers.append(header)
    return headers


class FileMetadata:
    """The metadata of a segment's files: of each symbol what the newest header that knows it says."""

    def __init__(self, headers: Sequence[SegmentHeader]) -> None:
        """``headers`` are newest first."""
        self._newest = headers[0] if headers else None
        self._steps: dict[tuple[str, str], tuple[SegmentHeader, str, str]] = {}
        for header in headers:
            for venue, symbol, tick, lot in header.steps:
                self._steps.setdefault((venue, symbol), (header, tick, lot))

    def of_events(self) -> dict[str, str]:
        """What a file of book events carries."""
        offsets = set() if self._newest is None else set(self._newest.clock_offsets_ms.values())
        return _origin(self._newest, offsets.pop() if len(offsets) == 1 else None)

    def of_symbol(self, venue: str, symbol: str) -> dict[str, str]:
        """What a file of one symbol's books carries; without steps where no header knows the symbol."""
        header, *steps = self._steps.get((venue, symbol), (self._newest,))
        known = dict(zip(("tick_size", "lot_size"), map(str, steps), strict=False))
        offset_ms = None if header is None else header.clock_offsets_ms.get(venue)
        return _origin(header, offset_ms) | {"venue": venue, "symbol": symbol} | known


def plain(number: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    return format(number.normalize(), "f")


def _header(facts: RecordingFacts, created_ns: int) -> SegmentHeader:
    steps = [
        (venue, symbol, plain(instrument.tick_size), plain(instrument.lot_size))
        for (venue, symbol), instrument in sorted(facts.instruments.items())
    ]
    offsets_ms = dict(facts.clock_offsets_ms)
    return SegmentHeader(SCHEMA_VERSION, facts.version, facts.config_hash, created_ns, steps, offsets_ms)


def _origin(header: SegmentHeader | None, offset_ms: float | None) -> dict[str, str]:
    if header is None:
        return {"schema_version": str(SCHEMA_VERSION)}
    return {
        "schema_version": str(SCHEMA_VERSION),
        "binmon_version": header.version,
        "config_hash": header.config_hash,
        "clock_offset_ms": "" if offset_ms is None else repr(offset_ms),
    }


def _create_locked(path: Path, blocks: Iterable[bytes]) -> BinaryIO:
    """A new file with this content, locked before it gets its name: no moment at which it looks like a leftover."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    file = temporary.open("x+b", buffering=0)
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(file.fileno(), blocks)
        os.fsync(file.fileno())
        temporary.rename(path)
        sync_directory(path.parent)
    except BaseException:
        file.close()
        temporary.unlink(missing_ok=True)
        raise
    return file


def sync_directory(path: Path) -> None:
    """Make the names in a directory last. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, blocks: Iterable[bytes]) -> None:
    for block in blocks:
        view = memoryview(block)
        while view:
            view = view[os.write(descriptor, view) :]  # a signal or a full disk may leave a part
