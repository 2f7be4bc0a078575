"""Replaying a recording in place of the generated market.

Events go out on the stream names they were recorded under, payloads verbatim, at the recorded pace times a speed. The
replay begins when the first client subscribes to a recorded stream. Where a depth snapshot stands in the recording
the replay's clock pauses until a client has fetched that symbol's depth, so that what a client sees does not depend
on how fast it is. After the end the streams stay open and silent.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from decimal import Decimal
from typing import Any

from . import endpoints, symbols
from .clock import VenueClock, stamp
from .endpoints import Endpoint, constant, depth_weight
from .hub import Message, StreamHub
from .parameters import INVALID_SYMBOL, ApiError, Parameters
from .recording import RecordedEvent, RecordedSnapshot, Recording, is_depth, load_recording, symbol_of_stream
from .symbol_market import MAX_DEPTH

__all__ = ["Replay", "ReplayRoutes", "load_recording"]

_log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 10.0
_GRACE_S = 0.1
"""Wait after the first subscription, for clients that open several connections."""
_BATCH = 200
_BACKLOG_BYTES = 1024 * 1024
_LONGEST_BACKPRESSURE_S = 5.0


class _RecordedMessage(Message):
    """A recorded event, printed as it stands."""

    __slots__ = ("_event",)

    def __init__(self, event: RecordedEvent) -> None:
        super().__init__(event.stream, symbol_of_stream(event.stream), lambda micro: event.payload)
        self._event = event

    def text(self, combined: bool, micro: bool) -> str:
        if combined and self._event.wrapped is not None:
            return self._event.wrapped
        return super().text(combined, micro)


class ReplayBook:
    """The sandbox's own rebuild of one symbol's book: a snapshot and the events after it, texts as recorded."""

    def __init__(self, body: str) -> None:
        book = json.loads(body)
        self._body = body
        self.update_id: int = book["lastUpdateId"]
        self._sides = {side: {Decimal(row[0]): (row[0], row[1]) for row in book[side]} for side in ("bids", "asks")}
        self._untouched = True
        self._recorded_levels = max(len(book["bids"]), len(book["asks"]))

    def apply(self, event: dict[str, Any]) -> None:
        """Apply a depth event; older ones are ignored."""
        if event["u"] <= self.update_id:
            return
        self._untouched = False
        self.update_id = event["u"]
        for side, key in (("bids", "b"), ("asks", "a")):
            levels = self._sides[side]
            for price, quantity in event[key]:
                if Decimal(quantity):
                    levels[Decimal(price)] = (price, quantity)
                else:
                    levels.pop(Decimal(price), None)

    def text(self, limit: int) -> str:
        """The book as REST depth prints it: the recorded body itself as long as nothing has changed."""
        if self._untouched and limit >= self._recorded_levels:
            return self._body
        rows = {
            side: [list(levels[price]) for price in sorted(levels, reverse=side == "bids")[:limit]]
            for side, levels in self._sides.items()
        }
        return json.dumps({"lastUpdateId": self.update_id, **rows}, separators=(",", ":"))


class Replay:
    """Plays a recording to the subscribers of a hub."""

    def __init__(self, recording: Recording, speed: float, hub: StreamHub) -> None:
        self.recording = recording
        self._speed = speed
        self._hub = hub
        self._position = 0
        self._waiting_for: str | None = None
        self._finished = False
        self._behind_s = 0.0
        self._subscribed = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards the books and what has been fetched
        self._books = {symbol: ReplayBook(body) for symbol, body in recording.first_snapshots.items()}
        self._applied = dict.fromkeys(recording.symbols, 0)
        self._fetched: set[str] = set()
        self._pauses = _pauses(recording)
        self._thread = threading.Thread(target=self._run, name="sandbox-replay", daemon=True)
        hub.on_subscribe = self._on_subscribe

    def start(self) -> None:
        """Start the replay thread; it waits for the first subscription."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop replaying."""
        self._stop.set()
        self._subscribed.set()
        self._thread.join(timeout_s)

    def progress(self) -> dict[str, Any]:
        """Where the replay stands, for ``GET /sandbox/state``."""
        return {
            "started": self._subscribed.is_set(),
            "finished": self._finished,
            "position": self._position,
            "entries": len(self.recording.entries),
            "speed": self._speed,
            "waiting_for_depth_of": self._waiting_for,
            "behind_s": round(self._behind_s, 3),
        }

    def depth(self, symbol: str, limit: int, fetched: bool = False) -> str:
        """A symbol's book after everything replayed so far. ``fetched``: a client asked, so a pause for it may end.

        Raises ``KeyError`` when the recording holds no snapshot of the symbol.
        """
        with self._lock:
            book = self._books[symbol]
            positions = self.recording.depth_positions.get(symbol, [])
            done = self._applied[symbol]
            while done < len(positions) and positions[done] < self._position:
                event = self.recording.entries[positions[done]]
                assert isinstance(event, RecordedEvent)
                book.apply(json.loads(event.payload))
                done += 1
            self._applied[symbol] = done
            text = book.text(min(limit, MAX_DEPTH))
            if fetched:
                self._fetched.add(symbol)
            return text

    def update_ids(self) -> dict[str, int]:
        """Update id of every symbol's book after everything replayed so far."""
        return {symbol: json.loads(self.depth(symbol, 1))["lastUpdateId"] for symbol in self._books}

    def _on_subscribe(self, streams: list[str]) -> None:
        if not self.recording.streams.isdisjoint(streams):
            self._subscribed.set()

    def _run(self) -> None:
        self._subscribed.wait()
        self._stop.wait(_GRACE_S)
        entries = self.recording.entries
        first_ns = entries[0].receive_ns
        origin = time.monotonic()
        unsent = 0
        while self._position < len(entries) and not self._stop.is_set():
            entry = entries[self._position]
            due = origin + (entry.receive_ns - first_ns) / 1e9 / self._speed
            now = time.monotonic()
            self._behind_s = max(0.0, now - due)
            if due > now or unsent >= _BATCH:
                self._hub.flush()
                self._wait_for_slow_clients()
                unsent = 0
                self._stop.wait(max(0.0, due - time.monotonic()))
                continue
            for symbol in self._pauses.pop(self._position, ()):
                origin += self._pause_for(symbol)
            if isinstance(entry, RecordedEvent):
                subscribers = self._hub.subscribers(entry.stream)
                if subscribers:
                    self._hub.publish_message(_RecordedMessage(entry), subscribers)
                    unsent += 1
            self._position += 1
        self._hub.flush()
        self._finished = self._position >= len(entries)
        self._behind_s = 0.0
        _log.info("replay ended at %s of %s", self._position, len(entries))

    def _pause_for(self, symbol: str) -> float:
        """Wait until a client has fetched a symbol's depth; returns how long that took, in seconds.

        Nobody is waited for where nobody listens to the symbol's depth.
        """
        self._hub.flush()
        started = time.monotonic()
        listened = any(is_depth(stream) and symbol_of_stream(stream) == symbol for stream in self._hub.wanted_streams())
        while listened and symbol not in self._fetched and time.monotonic() - started < _LONGEST_PAUSE_S:
            self._waiting_for = symbol
            if self._stop.wait(0.005):
                break
        self._waiting_for = None
        return time.monotonic() - started

    def _wait_for_slow_clients(self) -> None:
        """Rather fall behind than lose a client that reads slower than the replay runs."""
        started = time.monotonic()
        while self._hub.largest_backlog() > _BACKLOG_BYTES and time.monotonic() - started < _LONGEST_BACKPRESSURE_S:
            if self._stop.wait(0.005):
                return


def _pauses(recording: Recording) -> dict[int, list[str]]:
    """Where to wait for which symbols' depth: at the snapshot that is served, but after the symbol's first event.

    A client asks only once it has seen an event; waiting for it earlier would be waiting for nothing. Stale snapshots
    that were recorded before the one in use are passed over.
    """
    pauses: dict[int, list[str]] = {}
    for position, entry in enumerate(recording.entries):
        if isinstance(entry, RecordedSnapshot) and recording.first_snapshots.get(entry.symbol) is entry.body:
            events = recording.depth_positions.get(entry.symbol)
            if events:
                pauses.setdefault(max(position, events[0] + 1), []).append(entry.symbol)
    return pauses


class ReplayRoutes:
    """The endpoint table of a replay: what a recording can answer, and a clear error for the rest."""

    def __init__(self, replay: Replay, clock: VenueClock, weight_limit: int) -> None:
        self._replay = replay
        self._clock = clock
        self._weight_limit = weight_limit
        self.table: dict[str, Endpoint] = {
            path: Endpoint(None, constant(1), _not_recorded) for path in endpoints.PATHS
        } | {
            "/api/v3/ping": Endpoint((), constant(1), lambda parameters, micro: "{}"),
            "/api/v3/time": Endpoint((), constant(1), self.time),
            "/api/v3/exchangeInfo": Endpoint(
                ("symbol", "symbols", "symbolStatus", "permissions", "showPermissionSets"),
                constant(20),
                self.exchange_info,
            ),
            "/api/v3/depth": Endpoint(("symbol", "limit", "symbolStatus"), depth_weight, self.depth),
        }

    def time(self, parameters: Parameters, micro: bool) -> str:
        """GET time: the clock of now, not of the recording."""
        return f'{{"serverTime":{stamp(self._clock.now_us(), micro)}}}'

    def exchange_info(self, parameters: Parameters, micro: bool) -> str:
        """GET exchangeInfo: the recorded symbols, all trading."""
        names = [parameters.text("symbol")] if parameters.has("symbol") else parameters.symbols()
        status = parameters.symbol_status()
        instruments = self._replay.recording.instruments
        if names is not None and not set(names) <= set(instruments):
            raise INVALID_SYMBOL
        chosen = list(instruments) if names is None else names
        with_sets = parameters.boolean("showPermissionSets", True)
        entries = [
            symbols.symbol_info(instruments[name], "TRADING", with_sets)
            for name in chosen
            if status in (None, "TRADING")
        ]
        body = symbols.exchange_info(entries, stamp(self._clock.now_us(), micro), self._weight_limit)
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    def depth(self, parameters: Parameters, micro: bool) -> str:
        """GET depth: the recorded snapshot, later the sandbox's own rebuild."""
        symbol = parameters.text("symbol")
        if symbol not in self._replay.recording.instruments:
            raise INVALID_SYMBOL
        try:
            return self._replay.depth(symbol, parameters.limit(100, MAX_DEPTH), fetched=True)
        except KeyError as error:
            raise ApiError(400, -1000, f"The recording holds no depth snapshot of {symbol}.") from error


def _not_recorded(parameters: Parameters, micro: bool) -> str:
    raise ApiError(400, -1000, "Not available: this sandbox replays a recording.")
