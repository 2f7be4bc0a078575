"""Reading recordings of a venue's traffic: tab-separated lines ``<receive ns> <source> <payload>``, perhaps gzipped.

Sources: ``ws`` and ``ws#n`` (wrapped events), ``ws:<stream>`` (bare events), ``rest:<URL>`` (bodies), ``open`` and
``send``. Payloads are kept as they stand, character by character.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from .symbols import Instrument, default_instruments, split_symbol

_WRAPPED = re.compile(r'\{"stream":"([^"]+)","data":')
_FIRST_ID = re.compile(r'"U":(\d+)')
_LAST_ID = re.compile(r'"lastUpdateId":(\d+)')


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event: its stream, its bare payload, and the wrapped text where it was recorded wrapped."""

    receive_ns: int
    stream: str
    payload: str
    wrapped: str | None


@dataclass(frozen=True, slots=True)
class RecordedSnapshot:
    """One body of REST depth, at the place where it arrived."""

    receive_ns: int
    symbol: str
    body: str


@dataclass
class Recording:
    """A whole recording in memory."""

    entries: list[RecordedEvent | RecordedSnapshot]
    streams: frozenset[str]
    symbols: tuple[str, ...]
    first_snapshots: dict[str, str] = field(default_factory=dict)
    """Per symbol the first depth body that the recorded events can be applied to."""
    depth_positions: dict[str, list[int]] = field(default_factory=dict)
    """Per symbol the positions of its depth events."""
    instruments: dict[str, Instrument] = field(default_factory=dict)


def is_depth(stream: str) -> bool:
    """Whether a stream carries differential depth, at any speed."""
    return stream.split("@")[1:2] == ["depth"]


def symbol_of_stream(stream: str) -> str:
    """The symbol of a stream name, empty for all-market streams."""
    return "" if stream.startswith("!") else stream.split("@", 1)[0].upper()


def load_recording(path: str) -> Recording:
    """Read a recording. Raises ``OSError`` when it cannot be read, ``ValueError`` when it is no recording."""
    entries: list[RecordedEvent | RecordedSnapshot] = []
    for number, line in enumerate(_lines(path), start=1):
        parts = line.rstrip("\n").split("\t", 2)
        if len(parts) != 3 or not parts[0].isdigit():
            raise ValueError(f"{path}: line {number}: expected three fields separated by tabs (time, source, payload)")
        entry = _entry(int(parts[0]), parts[1], parts[2])
        if entry is not None:
            entries.append(entry)
    events = [entry for entry in entries if isinstance(entry, RecordedEvent)]
    if not events:
        raise ValueError(f"{path}: no stream event found, expected lines with source ws or ws:<stream>")
    streams = frozenset(event.stream for event in events)
    named = [entry.symbol for entry in entries if isinstance(entry, RecordedSnapshot)]
    named += sorted(symbol_of_stream(stream) for stream in streams)
    recording = Recording(entries, streams, tuple(dict.fromkeys(name for name in named if name)))
    for position, entry in enumerate(entries):
        if isinstance(entry, RecordedEvent) and is_depth(entry.stream):
            recording.depth_positions.setdefault(symbol_of_stream(entry.stream), []).append(position)
    for symbol in recording.symbols:
        body = _bridging(recording, symbol)
        if body is not None:
            recording.first_snapshots[symbol] = body
        recording.instruments[symbol] = _guess_instrument(symbol, body)
    return recording


def _lines(path: str) -> Iterator[str]:
    if Path(path).suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as unpacked:
            try:
                yield from unpacked
            except (EOFError, gzip.BadGzipFile) as error:
                raise ValueError(f"{path}: broken gzip file: {error}") from error
    else:
        with Path(path).open(encoding="utf-8", newline="\n") as plain:
            yield from plain


def _entry(receive_ns: int, source: str, payload: str) -> RecordedEvent | RecordedSnapshot | None:
    """One line; ``None`` for what is not replayed (connections opened, frames sent, control replies)."""
    if source.startswith("rest:"):
        url = urlsplit(source[len("rest:") :])
        symbol = parse_qs(url.query).get("symbol", [""])[0]
        if url.path.endswith("/depth") and symbol and payload.startswith("{"):
            return RecordedSnapshot(receive_ns, symbol, payload)
        return None
    head, separator, stream = source.partition(":")
    if head.partition("#")[0] != "ws":
        return None
    if separator:
        return RecordedEvent(receive_ns, stream, payload, None)
    found = _WRAPPED.match(payload)
    if found is None:
        return None
    return RecordedEvent(receive_ns, found[1], payload[found.end() : -1], payload)


def _bridging(recording: Recording, symbol: str) -> str | None:
    """The first depth body not older than the symbol's first event; the last one when none is."""
    bodies = [
        entry.body for entry in recording.entries if isinstance(entry, RecordedSnapshot) and entry.symbol == symbol
    ]
    positions = recording.depth_positions.get(symbol, [])
    if not positions or not bodies:
        return bodies[-1] if bodies else None
    first = recording.entries[positions[0]]
    assert isinstance(first, RecordedEvent)
    first_id = _FIRST_ID.search(first.payload)
    for body in bodies:
        last_id = _LAST_ID.search(body)
        if first_id is not None and last_id is not None and int(last_id[1]) >= int(first_id[1]):
            return body
    return bodies[-1]


def _decimals(texts: list[str]) -> int:
    return max((len(text.rstrip("0").partition(".")[2]) for text in texts if "." in text), default=0)


def _guess_instrument(symbol: str, snapshot: str | None) -> Instrument:
    """Metadata of a recorded symbol: as known, else with tick and step guessed from the decimals in use."""
    known = {instrument.symbol: instrument for instrument in default_instruments()}
    if symbol in known:
        return known[symbol]
    rows: list[list[str]] = []
    if snapshot is not None:
        book = json.loads(snapshot)
        rows = [*book["bids"], *book["asks"]]
    tick_decimals = min(8, _decimals([row[0] for row in rows])) if rows else 8
    step_decimals = min(8, _decimals([row[1] for row in rows])) if rows else 8
    base, quote = split_symbol(symbol)
    tick_e8, step_e8 = 10 ** (8 - tick_decimals), 10 ** (8 - step_decimals)
    price = max(1, round(float(rows[0][0]) * 10**tick_decimals)) if rows else 1
    return Instrument(symbol, base, quote, tick_e8, step_e8, price, 1000, 1, 1, 1, 0.0)
