"""Reads what can be replayed: incident files, and recordings of public feeds in the format of tab-separated lines.

Both are lines of three fields: UTC nanoseconds, source, payload. A recording has ``ws`` (a message of a combined stream),
``ws:<stream>`` (the bare event of one), ``rest:<URL>`` (the body of an answer), ``open`` and ``send``; ``#n`` behind a source
numbers the connection. An incident file says so in its first line (`binmon.incidents.lines`).
"""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np

from binmon.errors import BinmonError, ConfigError
from binmon.incidents.lines import END, HEAD, VERSION
from binmon.incidents.notes import RESTARTED, TICKED, Answered, Loaded, Missed, Moved, Reason, Trigger
from binmon.messages import (
    DepthSnapshot,
    FrameChunk,
    SnapshotArrived,
    SnapshotFailed,
    StreamDown,
    StreamUp,
    SymbolsChanged,
)

_TICK_S = 0.1
_LONGEST_LINE = 64 << 20
_GZIP = b"\x1f\x8b"
_STREAM = re.compile(rb'"stream"\s*:\s*"([^"@]{1,50})@depth(?:@100ms)?"')
_DEPTH_STREAM = re.compile(r"([^@]{1,50})@depth(?:@100ms)?")
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, OSError)
EXPECTED = "an incident file of binmon, or a recording of Binance Spot as tab-separated lines (.tsv, .tsv.gz)"


class CutShort(BinmonError):
    """A file ends, or cannot be read on, before its end."""

    def __init__(self, path: Path, lines: int, reason: str) -> None:
        self.path, self.lines, self.reason = path, lines, reason
        super().__init__(path, lines, reason)

    def __str__(self) -> str:
        return f"{self.path}: expected a whole file, but it is cut short after line {self.lines}: {self.reason}"


@dataclass(frozen=True, slots=True)
class SavedBook:
    """A book as it was while the file was made. ``snapshot`` is None where the file has only its ``sum``."""

    symbol: str
    update_id: int
    epoch: int
    updates: int
    cut: bool
    renewed: bool
    snapshot: DepthSnapshot | None
    sum: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What is known before the first item. ``incident`` is the head of an incident file, None for a recording.

    ``up`` are connections with their streams (of a recording: with the symbols), up from the beginning; ``epochs`` are by
    symbol those of before the first book.
    """

    venue: str
    first_s: float
    up: Mapping[str, tuple[str, ...]]
    epochs: Mapping[str, int]
    incident: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A message or a note, with its time: monotonic seconds of the file, and UTC nanoseconds."""

    now_s: float
    time_ns: int
    what: Any


@dataclass(frozen=True, slots=True)
class RestBody:
    """The body of a REST snapshot, as a recording has it."""

    symbol: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """How often the keeper looks at its books, from now on."""

    snapshot_every: int
    top_interval_ms: int


@dataclass(frozen=True, slots=True)
class Recording:
    """An open file: its head, and its items in order. ``items`` may raise CutShort after the last that could be read.

    ``with`` closes it; so does reading to the end.
    """

    head: Head
    items: Iterator[Item]
    close: Callable[[], None]

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_recording(path: Path) -> Recording:
    """Raises ConfigError for a file that cannot be read at all, or is none of those that can be replayed."""
    lines = _Lines(path)
    try:
        first = next(lines, None)
        if first is None:
            raise _foreign(path, "it is empty")
        head = _incident_head(path, first) if first.source == HEAD else None
    except CutShort as error:
        raise _foreign(path, error.reason) from None
    except ConfigError:
        lines.close()
        raise
    if head is not None:
        return Recording(head, _incident_items(path, head.venue, lines), lines.close)
    lines.close()
    return _plain_recording(path)


def _foreign(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"expected {EXPECTED}: {reason}", file=str(path))


# Lines ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    time_ns: int
    source: str
    payload: bytes


class _Lines:
    """The lines of a file, packed or not. Raises ConfigError when it cannot be opened, CutShort when it breaks off."""

    def __init__(self, path: Path) -> None:
        self._path, self.count = path, 0
        try:
            raw = path.open("rb")
            packed = raw.read(2) == _GZIP
            raw.seek(0)
        except OSError as error:
            raise ConfigError(f"expected a file that can be read: {error.strerror}", file=str(path)) from None
        self._raw = raw
        self._file: IO[bytes] = gzip.GzipFile(fileobj=raw, mode="rb") if packed else raw  # type: ignore[assignment]

    def __iter__(self) -> Iterator[_Line]:
        return self

    def close(self) -> None:
        """Whoever does not read to the end."""
        self._file.close()
        self._raw.close()

    def __next__(self) -> _Line:
        try:
            line = self._file.readline(_LONGEST_LINE)
        except _BROKEN as error:
            self.close()
            raise CutShort(self._path, self.count, str(error) or type(error).__name__) from None
        if not line:
            self.close()
            raise StopIteration
        fields = line.rstrip(b"\r\n").split(b"\t", 2)
        if len(fields) != 3 or not fields[0].isdigit() or len(fields[0]) > 19 or not line.endswith(b"\n"):
            self.close()
            whole = "" if line.endswith(b"\n") else " and no end of line"
            reason = f"line {self.count + 1} has {len(fields)} fields{whole}, not time, source and payload"
            raise CutShort(self._path, self.count, reason)
        self.count += 1
        return _Line(self.count, int(fields[0]), fields[1].decode("utf-8", "replace"), fields[2])


# Incident files ---------------------------------------------------------------------------------------------------


class _IncidentHead(msgspec.Struct):
    """The head as it must be; all of it is shown to whoever asks."""

    format: int
    venue: str
    reason: str
    subject: str
    time_ns: int
    mono_s: float
    first_s: float
    up: dict[str, list[str]]
    epochs: dict[str, int]
    settings: dict[str, Any]


class _Saved(msgspec.Struct):
    symbol: str
    update_id: int
    bid_price: list[float] = []
    bid_quantity: list[float] = []
    ask_price: list[float] = []
    ask_quantity: list[float] = []
    inexact: str | None = None
    epoch: int = 0
    updates: int = 0
    cut: bool = False
    sum: int | None = None
    limit: int = 0
    wanted: bool = False


_saved = msgspec.json.Decoder(_Saved)


def _incident_head(path: Path, line: _Line) -> Head:
    try:
        head = msgspec.json.decode(line.payload, type=_IncidentHead)
        said = msgspec.json.decode(line.payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _foreign(path, f"its head cannot be read: {error}") from None
    if head.format != VERSION:
        raise _foreign(path, f"it has format {head.format}, and this version reads {VERSION}")
    up = {name: tuple(streams) for name, streams in head.up.items()}
    return Head(head.venue, head.first_s, up, head.epochs, said)


def _incident_items(path: Path, venue: str, lines: _Lines) -> Iterator[Item]:
    for line in lines:
        if line.source == END:
            if line.payload.strip() != b"%d" % (line.number - 1):
                raise CutShort(path, line.number, f"its last line counts {line.payload[:20]!r} lines")
            if next(lines, None) is not None:  # reading on also checks the sum at the end of the packed file
                raise CutShort(path, line.number, "there are lines behind its last one")
            return
        try:
            if line.source == "chunk":
                yield _chunk(path, line, lines)
            else:
                fields = msgspec.json.decode(line.payload)
                what = _KINDS.get(line.source, _nothing)(venue, line.payload, fields)
                if what is not None:
                    yield Item(float(fields["now"]), line.time_ns, what)
        except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
            raise CutShort(path, line.number - 1, f"line {line.number} cannot be read: {error!r}") from None
    raise CutShort(path, lines.count, "its last line is missing")


def _chunk(path: Path, line: _Line, lines: _Lines) -> Item:
    now_s, count, connection = msgspec.json.decode(line.payload, type=tuple[float, int, str])
    frames: list[bytes] = []
    for _ in range(count):
        frame = next(lines, None)
        if frame is None or frame.source not in ("ws", "ws64"):
            raise CutShort(path, lines.count, f"a frame of connection {connection} is missing")
        frames.append(frame.payload if frame.source == "ws" else base64.b64decode(frame.payload, validate=True))
    return Item(now_s, line.time_ns, FrameChunk(connection, line.time_ns, 0, tuple(frames)))


def _nothing(venue: str, payload: bytes, fields: Any) -> Any:
    return None


def _book(venue: str, payload: bytes, fields: Any, *, renewed: bool = False) -> SavedBook:
    saved = _saved.decode(payload)
    snapshot = None if saved.sum is not None else _snapshot_of(venue, saved)
    return SavedBook(saved.symbol, saved.update_id, saved.epoch, saved.updates, saved.cut, renewed, snapshot, saved.sum)


def _snapshot(venue: str, payload: bytes, fields: Any) -> Answered:
    saved = _saved.decode(payload)
    return Answered(saved.limit, saved.wanted, _snapshot_of(venue, saved))


def _snapshot_of(venue: str, saved: _Saved) -> DepthSnapshot:
    sides = (saved.bid_price, saved.bid_quantity, saved.ask_price, saved.ask_quantity)
    if len(sides[0]) != len(sides[1]) or len(sides[2]) != len(sides[3]):
        raise ValueError("prices and quantities are not in pairs")
    bids, bid_sizes, asks, ask_sizes = (np.array(side, dtype=np.float64) for side in sides)
    return DepthSnapshot(venue, saved.symbol, saved.update_id, bids, bid_sizes, asks, ask_sizes, saved.inexact)


_KINDS: dict[str, Callable[[str, bytes, Any], Any]] = {
    "tick": lambda venue, payload, f: TICKED,
    "restarted": lambda venue, payload, f: RESTARTED,
    "book": _book,
    "check": _book,
    "renewed": lambda venue, payload, f: _book(venue, payload, f, renewed=True),
    "snapshot": _snapshot,
    "other_snapshot": lambda venue, payload, f: SnapshotArrived(-1, _snapshot_of(venue, _saved.decode(payload))),
    "snapshot_failed": lambda venue, payload, f: SnapshotFailed(0, venue, f["symbol"], str(f["error"]), 0.0),
    "up": lambda venue, payload, f: StreamUp(venue, f["connection"], tuple(f["streams"]), 0),
    "down": lambda venue, payload, f: StreamDown(venue, f["connection"], tuple(f["streams"]), f["reason"]),
    "symbols": lambda venue, payload, f: SymbolsChanged(
        venue, tuple((symbol, epoch) for symbol, epoch in f["listed"]), tuple(f["delisted"]), f["reason"]
    ),
    "state": lambda venue, payload, f: Moved(f["symbol"], f["from"], f["to"], f["reason"], f["update_id"]),
    "gap": lambda venue, payload, f: Missed(f["symbol"], f["expected"], f["first_update_id"], f["last_update_id"]),
    "loaded": lambda venue, payload, f: Loaded(f["symbol"], f["epoch"], f["update_id"]),
    "settings": lambda venue, payload, f: Settings(int(f["snapshot_every"]), int(f["top_interval_ms"])),
    "trigger": lambda venue, payload, f: Trigger(Reason(f["reason"]), f["subject"], f["detail"]),
}
"""By source; those of a later version that are not here are passed over."""


# Recordings -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What a first look at a recording has shown."""

    first_ns: int = 0
    symbols: dict[str, None] = field(default_factory=dict)
    connections: dict[str, None] = field(default_factory=dict)
    depth_updates: int = 0


def _plain_recording(path: Path) -> Recording:
    """A recording does not say what is in it, so it is read twice. What breaks off is told when the items end there."""
    found, lines = _Found(), _Lines(path)
    try:
        for line in lines:
            _look_at(path, line, found)
    except CutShort as error:
        if not found.depth_updates:
            raise _foreign(path, error.reason) from None
    except ConfigError:
        lines.close()
        raise
    if not found.depth_updates:
        raise _foreign(path, "there is no depth update in it")
    first_s = found.first_ns / 1e9
    up = dict.fromkeys(found.connections, tuple(found.symbols))
    lines = _Lines(path)
    return Recording(Head("binance", first_s, up, dict.fromkeys(found.symbols, 0)), _items(lines), lines.close)


def _look_at(path: Path, line: _Line, found: _Found) -> None:
    if line.number == 1:
        found.first_ns = line.time_ns
    source, _, number = line.source.partition("#")
    if source != "ws" and not source.startswith(("ws:", "rest:")) and source not in ("open", "send"):
        raise _foreign(path, f"line {line.number} has the source {line.source[:40]!r}")
    if not source.startswith("ws"):
        return
    stream = _stream_of(source, line.payload)
    if stream is None:
        return
    if b'"pu"' in line.payload:
        raise _foreign(path, f"line {line.number} is of the futures, whose books follow other rules")
    found.depth_updates += 1
    found.symbols[stream.upper()] = None
    found.connections[_connection(number)] = None


def _stream_of(source: str, payload: bytes) -> str | None:
    """The symbol, in lower case, of a depth update; None for anything else."""
    if b'"depthUpdate"' not in payload[:200]:
        return None
    if source.startswith("ws:"):
        bare = _DEPTH_STREAM.fullmatch(source[3:])
        return bare[1] if bare else None
    match = _STREAM.search(payload[:200])
    return match[1].decode("utf-8", "replace") if match else None


def _connection(number: str) -> str:
    return f"recorded-{number or 1}"


def _items(lines: _Lines) -> Iterator[Item]:
    """In the order of the file, whose times may step back: the clock of the replay never does."""
    now_s, next_tick_s = -1.0, 0.0
    for line in lines:
        time_s = line.time_ns / 1e9
        if now_s < 0:
            now_s = next_tick_s = time_s
        now_s = max(now_s, time_s)
        while next_tick_s <= now_s:
            yield Item(next_tick_s, int(next_tick_s * 1e9), TICKED)
            # a hole in the recording is not filled with ticks that nobody needs
            next_tick_s = max(next_tick_s + _TICK_S, now_s - 5.0)
        what = _plain_item(line)
        if what is not None:
            yield Item(now_s, line.time_ns, what)


def _plain_item(line: _Line) -> FrameChunk | RestBody | None:
    source, _, number = line.source.partition("#")
    if source.startswith("rest:"):
        url = urlsplit(line.source[5:])
        if not url.path.endswith("/depth"):
            return None
        query = parse_qs(url.query)
        return RestBody(query.get("symbol", [""])[0].upper(), line.payload)
    if source == "ws":
        frame = line.payload
    elif source.startswith("ws:"):
        # the combined form says which stream it is of, also where the event itself does not
        frame = b'{"stream":%s,"data":%s}' % (msgspec.json.encode(source[3:]), line.payload)
    else:
        return None
    return FrameChunk(_connection(number), line.time_ns, 0, (frame,))
