"""An incident as lines of text, three fields separated by tabs: UTC nanoseconds, kind, payload (docs/incidents.md).

Frames stand there word for word, as ``ws``, which is how recordings of public feeds have them; the other kinds carry JSON.
The first line is the head, the last one says how many there are before it: a file without it is not whole.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

import binmon
from binmon.books.keeper import KeeperSettings
from binmon.books.observing import BookImage
from binmon.incidents.notes import (
    Answered,
    Entry,
    Incident,
    Loaded,
    Missed,
    Moved,
    PackedFrames,
    Restarted,
    Ticked,
    Trigger,
)
from binmon.messages import (
    DepthSnapshot,
    FrameChunk,
    SnapshotArrived,
    SnapshotFailed,
    StreamDown,
    StreamUp,
    SymbolsChanged,
)
from binmon.venues.base import MalformedFrame, MarketDecoder

HEAD, END = "binmon-incident", "end"
VERSION = 1

_json = msgspec.json.encode


def line_of(time_ns: int, kind: str, payload: bytes) -> bytes:
    """One line."""
    return b"%d\t%s\t%s\n" % (time_ns, kind.encode(), payload)


def checksum(snapshot: DepthSnapshot) -> int:
    """Of all levels: what tells whether two books are the same without having both."""
    value = 0
    for array in (snapshot.bid_price, snapshot.bid_quantity, snapshot.ask_price, snapshot.ask_quantity):
        value = zlib.crc32(array.tobytes(), value)
    return value


class IncidentLines:
    """The lines of one incident. ``frames`` counts those that were written, once all lines were made."""

    def __init__(self, incident: Incident, decoder: MarketDecoder) -> None:
        """``decoder`` is one of the venue's, for this thread."""
        self._incident, self._decoder = incident, decoder
        self.frames = 0
        self._shown: set[str] = set()  # whose book stands in the file, so that others need only be compared with it
        self._named = {incident.trigger.subject, *(one.subject for one in incident.more)}

    def __iter__(self) -> Iterator[bytes]:
        yield self._head()
        count = 1
        for now_s, message in self._incident.entries:
            for line in self._lines(now_s, message):
                count += 1
                yield line
        yield line_of(self._time_ns(self._last_s()), END, b"%d" % count)

    # Inside --------------------------------------------------------------------------------------------------------

    def _time_ns(self, now_s: float) -> int:
        return self._incident.time_ns + round((now_s - self._incident.mono_s) * 1e9)

    def _last_s(self) -> float:
        entries = self._incident.entries
        return entries[-1][0] if entries else self._incident.mono_s

    def _head(self) -> bytes:
        one, entries = self._incident, self._incident.entries
        first_s = entries[0][0] if entries else one.mono_s
        head = {
            "format": VERSION,
            "binmon": binmon.__version__,
            "venue": one.venue,
            "reason": one.trigger.reason,
            "subject": one.trigger.subject,
            "detail": one.trigger.detail,
            "more": [_trigger(other) for other in one.more],
            "time_ns": one.time_ns,
            "mono_s": one.mono_s,
            "first_s": first_s,
            "last_s": self._last_s(),
            "up": {name: list(streams) for name, streams in one.up.items()},
            "epochs": _first_epochs(one),
            "settings": dict(one.settings),
            "held_back": one.held_back,
        }
        return line_of(self._time_ns(first_s), HEAD, _json(head))

    def _lines(self, now_s: float, message: Any) -> Iterator[bytes]:
        if isinstance(message, FrameChunk | PackedFrames):
            yield from self._chunk(now_s, message)
            return
        if isinstance(message, BookImage):
            kind, fields = self._image(message)
        else:
            kind, fields = _plain(message)
        if kind:
            yield line_of(self._time_ns(now_s), kind, _json({"now": now_s, **fields}))

    def _chunk(self, now_s: float, chunk: FrameChunk | PackedFrames) -> Iterator[bytes]:
        time_ns, frames = chunk.received_ns, chunk.frames
        self.frames += len(frames)
        yield line_of(time_ns, "chunk", _json([now_s, len(frames), chunk.connection]))
        for frame in frames:
            if b"\n" in frame or b"\r" in frame:
                yield line_of(time_ns, "ws64", base64.b64encode(frame))
            else:
                yield line_of(time_ns, "ws", frame)

    def _image(self, image: BookImage) -> tuple[str, dict[str, Any]]:
        try:
            snapshot = image.settled(self._incident.venue, self._decoder)
        except MalformedFrame:
            return "", {}  # what the keeper is about to find out itself
        shown = image.symbol in self._shown
        about = {"symbol": image.symbol, "epoch": image.epoch, "updates": image.updates, "cut": image.cut}
        self._shown.add(image.symbol)
        if shown and not image.renewed and image.symbol not in self._named:
            if image.cut:
                return "", {}  # two cuts are not to be compared by a sum
            return "check", {**about, "update_id": image.update_id, "sum": checksum(snapshot)}
        return ("renewed" if image.renewed else "book"), {**about, **_levels(snapshot)}


def _plain(message: Any) -> tuple[str, dict[str, Any]]:
    """Kind and fields; no kind for what a replay has no use for."""
    match message:
        case Ticked():
            return "tick", {}
        case Answered(limit, wanted, snapshot):
            return "snapshot", {"symbol": snapshot.symbol, "limit": limit, "wanted": wanted, **_levels(snapshot)}
        case SnapshotArrived(_, snapshot):
            return "other_snapshot", {"symbol": snapshot.symbol, **_levels(snapshot)}
        case SnapshotFailed():
            return "snapshot_failed", {"symbol": message.symbol, "error": message.error}
        case StreamUp():
            return "up", {"connection": message.connection, "streams": list(message.streams)}
        case StreamDown():
            fields = {"connection": message.connection, "streams": list(message.streams), "reason": message.reason}
            return "down", fields
        case SymbolsChanged():
            return "symbols", {
                "listed": list(message.listed),
                "delisted": list(message.delisted),
                "reason": message.reason,
            }
        case Moved(symbol, before, after, reason, update_id):
            return "state", {"symbol": symbol, "from": before, "to": after, "reason": reason, "update_id": update_id}
        case Missed(symbol, expected, first, last):
            return "gap", {"symbol": symbol, "expected": expected, "first_update_id": first, "last_update_id": last}
        case Loaded(symbol, epoch, update_id):
            return "loaded", {"symbol": symbol, "epoch": epoch, "update_id": update_id}
        case KeeperSettings():
            return "settings", settings_of(message)
        case Trigger():
            return "trigger", _trigger(message)
        case Restarted():
            return "restarted", {}
    return "", {}


def settings_of(settings: KeeperSettings) -> dict[str, Any]:
    """What a replay needs of them."""
    return {"snapshot_every": settings.snapshot_every, "top_interval_ms": settings.top_interval_ms}


def _trigger(trigger: Trigger) -> dict[str, str]:
    return {"reason": trigger.reason.value, "subject": trigger.subject, "detail": trigger.detail}


def _levels(snapshot: DepthSnapshot) -> dict[str, Any]:
    """Doubles are printed with the shortest digits that give them back."""
    return {
        "update_id": snapshot.last_update_id,
        "inexact": snapshot.inexact,
        "bid_price": snapshot.bid_price.tolist(),
        "bid_quantity": snapshot.bid_quantity.tolist(),
        "ask_price": snapshot.ask_price.tolist(),
        "ask_quantity": snapshot.ask_quantity.tolist(),
    }


def _first_epochs(incident: Incident) -> dict[str, int]:
    """By symbol, for all that were kept when the ring began: the epoch before the first book that the file has of it."""
    epochs = dict(incident.books)
    entries: tuple[Entry, ...] = incident.entries
    for _, message in reversed(entries):
        match message:
            case BookImage() | Loaded():
                epochs[message.symbol] = message.epoch - 1
            case SymbolsChanged():
                for symbol, _ in message.listed:
                    epochs.pop(symbol, None)
                for symbol in message.delisted:
                    epochs.setdefault(symbol, 0)
    return epochs
