"""A keeper with a flight recorder, driven by hand with a clock of its own: no threads, no sockets."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from binmon.books.feeds import FeedOutlets
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.core.channel import Channel, Overflow
from binmon.incidents.flight import FlightRecorder
from binmon.incidents.limits import IncidentLimits
from binmon.incidents.lines import IncidentLines
from binmon.incidents.notes import Incident
from binmon.incidents.reading import open_recording
from binmon.incidents.replay import FinalBook, Finding, Replay, _RecordedVenue
from binmon.incidents.store import IncidentStore
from binmon.messages import DepthSnapshot, FrameChunk, SnapshotArrived, SnapshotWanted, StreamDown, StreamUp
from binmon.recorder.pacing import no_pace
from binmon.venues.binance.decoding import BinanceDecoder
from tests.recordings import RECORDINGS

EXCERPT = Path(__file__).parents[1] / "data" / "spot_BTCUSDT_20240808_25s.tsv.gz"
SHARED = RECORDINGS / "binance-spot"
SETTINGS = {"snapshot_every": 10, "top_interval_ms": 1000}


class Scene:
    """``now_s`` is what the test sets; snapshots are answered by whoever calls ``answer``."""

    def __init__(
        self, *symbols: str, keep_s: float = 10.0, after_s: float = 2.0, most_bytes: int = 64_000_000, every: int = 10,
        top_interval_ms: int = 1000, limits: IncidentLimits | None = None,
    ) -> None:  # fmt: skip
        self.now_s = time.monotonic()
        self.incidents: Channel[Incident] = Channel("incidents", 20, Overflow.DROP_NEWEST)
        self.limits = limits or IncidentLimits()
        self.flight = FlightRecorder(
            "binance", self.incidents, self.limits, keep_s=keep_s, most_bytes=most_bytes, after_s=after_s,
            settings={"snapshot_every": every, "top_interval_ms": top_interval_ms},
        )  # fmt: skip

        def channel(name: str) -> Channel[Any]:
            return Channel(name, 10_000, Overflow.DROP_OLDEST)

        self.asked = [channel(name) for name in ("initial", "resync", "upkeep", "probes")]
        venue = _RecordedVenue("binance", BinanceDecoder, lambda symbol: f"{symbol.lower()}@depth@100ms")
        self.streams = tuple(venue.depth_stream(symbol) for symbol in symbols)
        feeds = FeedOutlets(lambda group, feed, streams: None, lambda feed, why: None, lambda feed, why: None)
        outlets = KeeperOutlets(*self.asked, channel("rows"), channel("tops"), feeds, observer=self.flight)  # type: ignore[misc,call-arg]
        settings = KeeperSettings(every, 5000, 0, top_interval_ms, audit_interval_s=31_536_000.0)
        inbox = channel("inbox")
        inbox.offer(None)
        self.keeper = BookKeeper("books", venue, dict.fromkeys(symbols, 3), inbox, outlets, settings)
        self.keeper.tick(self.now_s)

    def handle(self, message: Any) -> None:
        self.keeper.handle(message, self.now_s)

    def connect(self, feed: str = "binance-market-1.1") -> None:
        self.handle(StreamUp("binance", feed, self.streams, 0))

    def disconnect(self, feed: str = "binance-market-1.1") -> None:
        self.handle(StreamDown("binance", feed, self.streams, "closed by the venue"))

    def deliver(self, *frames: bytes, feed: str = "binance-market-1.1", time_ns: int | None = None) -> None:
        self.handle(FrameChunk(feed, time.time_ns() if time_ns is None else time_ns, time.monotonic_ns(), frames))

    def wait(self, seconds: float) -> None:
        """Time passes, with ticks."""
        until_s = self.now_s + seconds
        while self.now_s < until_s - 1e-9:
            self.now_s += 0.1
            self.keeper.tick(self.now_s)

    def wanted(self) -> list[SnapshotWanted]:
        taken = []
        for channel in self.asked:
            while (one := channel.take(0)) is not None:
                taken.append(one)
        return taken

    def answer(self, *snapshots: DepthSnapshot) -> None:
        """Each request of the machines by the snapshot of its symbol."""
        for wanted in self.wanted():
            for snapshot in snapshots:
                if snapshot.symbol == wanted.symbol and wanted.token > 0:
                    self.handle(SnapshotArrived(wanted.token, snapshot))

    def incident(self) -> Incident | None:
        return self.incidents.take(0)

    def book(self, symbol: str) -> DepthSnapshot:
        kept = self.keeper._kept[symbol]
        kept.book.settle()
        return kept.book.as_snapshot("binance", symbol)


def written(incident: Incident, directory: Path) -> Path:
    """The incident as a file."""
    store = IncidentStore(directory, keep_files=50, keep_bytes=1e9)
    path, size = store.write(incident, IncidentLines(incident, BinanceDecoder()), no_pace)
    assert path.stat().st_size == size
    return path


class Replayed:
    """A file that was replayed to its end."""

    def __init__(self, path: Path, only: list[str] | None = None) -> None:
        self.findings: list[Finding] = []
        with open_recording(path) as recording:
            self.head = recording.head
            self.replay = Replay(recording.head, self.findings.append, only=only)
            for item in recording.items:
                self.replay.take(item)
        self.books: dict[str, FinalBook] = {book.symbol: book for book in self.replay.finish()}

    def found(self, what: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.what == what]

    def moves(self, symbol: str) -> list[tuple[str, str, str, int | None]]:
        """From, to, reason and update id of every move since the start."""
        return [
            (f.facts["from"], f.facts["to"], f.facts["reason"], f.facts["update_id"])
            for f in self.found("state")
            if f.symbol == symbol
        ]

    def book(self, symbol: str) -> DepthSnapshot:
        return self.replay._books_now()[symbol].book.as_snapshot("binance", symbol)


def same_levels(one: DepthSnapshot, other: DepthSnapshot) -> bool:
    sides = ("bid_price", "bid_quantity", "ask_price", "ask_quantity")
    same = all(getattr(one, side).tolist() == getattr(other, side).tolist() for side in sides)
    return same and one.last_update_id == other.last_update_id


def recorded(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Lines of a recording of one symbol: time, ``ws`` or ``rest``, payload; other than depth left out."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            time_ns, source, payload = line.rstrip(b"\n").split(b"\t", 2)
            if source.startswith(b"rest:"):
                yield int(time_ns), "rest", payload
            elif b"depthUpdate" in payload[:100]:
                yield int(time_ns), "ws", payload


def update_ids(payload: bytes) -> tuple[int, int]:
    data = json.loads(payload)
    data = data.get("data", data)
    return data["U"], data["u"]
