"""The daemon under the sandbox's faults: it recovers by itself, what it recorded is right, and the gap is recorded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

import binmon
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.telemetry.events import VOCABULARY
from tests.system.conftest import DaemonProcess, configuration

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=tuple(SYMBOLS), rate=100.0, ping_interval_s=2.0)) as sandbox:
        yield sandbox


class Witness:
    """A second client of the venue with the plainest book there is, which no fault is aimed at.

    It keeps the truth at every update id of its stream, so that recorded rows can be compared with it.
    """

    def __init__(self, venue: Sandbox, symbols: list[str]) -> None:
        streams = "/".join(f"{symbol.lower()}@depth@100ms" for symbol in symbols)
        self.socket = websocket.create_connection(f"{venue.stream_url}/stream?streams={streams}", timeout=10)
        self.events: list[dict[str, Any]] = []
        self.snapshots: dict[str, dict[str, Any]] = {}
        first = dict.fromkeys(symbols, False)
        while not all(first.values()):
            first[self._take()] = True
        for symbol in symbols:
            url = f"{venue.rest_url}/api/v3/depth"
            self.snapshots[symbol] = requests.get(url, params={"symbol": symbol, "limit": 5000}, timeout=10).json()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _take(self) -> str:
        data = json.loads(self.socket.recv())["data"]
        self.events.append(data)
        return str(data["s"])

    def _run(self) -> None:
        self.socket.settimeout(0.2)
        while not self.stop.is_set():
            try:
                self._take()
            except websocket.WebSocketTimeoutException:
                continue

    def finish(self) -> None:
        self.stop.set()
        self.thread.join()
        self.socket.close()

    def books(self, symbol: str) -> Iterator[tuple[int, dict[float, float], dict[float, float]]]:
        snapshot = self.snapshots[symbol]
        bids, asks = ({float(p): float(q) for p, q in snapshot[side]} for side in ("bids", "asks"))
        last = snapshot["lastUpdateId"]
        for event in self.events:
            if event["s"] != symbol or event["u"] <= last:
                continue
            assert event["U"] <= last + 1, "the witness itself must see no gap"
            last = event["u"]
            for side, changes in ((bids, event["b"]), (asks, event["a"])):
                for price, quantity in changes:
                    side.pop(float(price), None)
                    if float(quantity):
                        side[float(price)] = float(quantity)
            yield last, bids, asks


def rows_against_truth(directory: Path, witness: Witness, symbol: str) -> int:
    """Compare every recorded row inside its known depth with the witness at the same update id; returns how many."""
    frame = binmon.open_books(directory).pandas(symbol)
    assert frame["update_id"].is_unique
    rows = {row.update_id: row for row in frame.itertuples()}
    compared = 0
    for update_id, bids, asks in witness.books(symbol):
        row = rows.get(update_id)
        if row is None:
            continue
        compared += 1
        recorded_bids = dict(zip(row.bid_price, row.bid_quantity, strict=True))
        recorded_asks = dict(zip(row.ask_price, row.ask_quantity, strict=True))
        floor = max(row.bid_known_to, float(witness.snapshots[symbol]["bids"][-1][0]))
        ceiling = min(row.ask_known_to, float(witness.snapshots[symbol]["asks"][-1][0]))
        assert {p: q for p, q in recorded_bids.items() if p >= floor} == {p: q for p, q in bids.items() if p >= floor}
        assert {p: q for p, q in recorded_asks.items() if p <= ceiling} == {
            p: q for p, q in asks.items() if p <= ceiling
        }
    return compared


# fault, what the log must show, what book_events must show (None: nothing)
FAULTS = [
    ({"kind": "gap", "symbols": ["BTCUSDT"], "count": 2}, "book.gap", "gap"),
    ({"kind": "duplicate", "symbols": ["BTCUSDT"], "count": 3}, None, None),
    ({"kind": "reorder", "symbols": ["BTCUSDT"]}, "book.gap", "gap"),
    ({"kind": "disconnect", "mode": "close_frame"}, "stream.disconnected", "disconnect"),
    ({"kind": "disconnect", "mode": "abrupt"}, "stream.disconnected", "disconnect"),
    ({"kind": "disconnect", "mode": "rst"}, "stream.disconnected", "disconnect"),
    ({"kind": "stall", "pongs": True, "seconds": 60}, "stream.stalled", "stall"),
    ({"kind": "stall", "pongs": False, "seconds": 60}, "stream.stalled", "stall"),
    ({"kind": "malformed", "symbols": ["BTCUSDT"], "count": 2, "in_place": True}, "stream.malformed", "gap"),
    ({"kind": "binary"}, None, None),
    ({"kind": "empty"}, None, None),
    ({"kind": "oversized"}, "stream.disconnected", "disconnect"),
    ({"kind": "fragmented", "count": 3}, None, None),
    ({"kind": "masked"}, "stream.disconnected", "disconnect"),
    ({"kind": "server_shutdown"}, "stream.disconnected", "disconnect"),
    ({"kind": "crossed_book", "symbols": ["BTCUSDT"], "count": 30}, None, "resync"),
    ({"kind": "reset"}, None, "resync"),
]


@pytest.mark.parametrize(
    ("fault", "event", "recorded"),
    FAULTS,
    ids=lambda value: "-".join(str(v) for v in value.values()) if isinstance(value, dict) else "",
)
def test_one_fault(
    venue: Sandbox,
    daemon: Callable[..., DaemonProcess],
    fault: dict[str, Any],
    event: str | None,
    recorded: str | None,
) -> None:
    process = daemon(configuration(venue.rest_url, venue.stream_url, SYMBOLS))
    for symbol in SYMBOLS:
        process.wait_for("book.state", to="synced", symbol=symbol)
    process.wait_for("book.top", count=9)  # tops of two seconds: the pace of the streams is learned
    resyncs = len(process.events("book.state", to="synced"))
    venue.faults.inject(fault)
    if event is not None:
        process.wait_for(event)
    if recorded is not None:
        process.until(lambda: len(process.events("book.state", to="synced")) > resyncs, 30, "a resync")
    threading.Event().wait(1.5)  # what the fault still does (its last events, closing connections) is done by then
    # only now the witness: the books that stand after the fault are compared with the truth
    witness = Witness(venue, SYMBOLS)
    tops = len(process.events("book.top"))
    process.wait_for("book.top", count=tops + 9)
    assert process.stop() == 0
    assert process.stop_took_s < 5.0
    witness.finish()
    assert not process.unreadable and not process.events("worker.fatal")
    assert {line["event"] for line in process.lines} <= set(VOCABULARY)
    for symbol in SYMBOLS:
        assert rows_against_truth(process.directory / "data", witness, symbol) > 0
    kinds = binmon.open_books(process.directory / "data").events().column("kind").to_pylist()
    if recorded is not None:
        assert recorded in kinds
    else:
        # resyncs at the start, disconnects at the stop, nothing in between
        assert sorted(kinds) == ["disconnect"] * 3 + ["resync"] * 3


def test_rest_faults_and_stale_snapshots_only_delay_the_books(
    venue: Sandbox, daemon: Callable[..., DaemonProcess]
) -> None:
    venue.faults.inject({"kind": "rest", "status": 503, "count": 1, "path": "/api/v3/exchangeInfo"})
    venue.faults.inject({"kind": "rest", "mode": "truncated", "count": 2, "path": "/api/v3/depth"})
    venue.faults.inject({"kind": "stale_snapshot", "symbols": ["ETHUSDT"], "count": 2})
    process = daemon(configuration(venue.rest_url, venue.stream_url, SYMBOLS))
    for symbol in SYMBOLS:
        process.wait_for("book.state", to="synced", symbol=symbol)
    assert process.events("venue.unreachable") and process.events("snapshot.failed")
    assert process.stop() == 0


def test_a_429_is_obeyed_by_every_thread(venue: Sandbox, daemon: Callable[..., DaemonProcess]) -> None:
    process = daemon(configuration(venue.rest_url, venue.stream_url, SYMBOLS))
    for symbol in SYMBOLS:
        process.wait_for("book.state", to="synced", symbol=symbol)
    venue.faults.inject({"kind": "rest", "status": 429, "retry_after": 3, "count": 1, "path": "/api/v3/depth"})
    venue.faults.inject({"kind": "disconnect", "mode": "rst"})
    process.wait_for("rate.limited")
    before = venue.state()["counters"]["requests"]["/api/v3/depth"]
    threading.Event().wait(2.0)
    assert venue.state()["counters"]["requests"]["/api/v3/depth"] == before
    for symbol in SYMBOLS:
        process.wait_for("book.state", to="synced", symbol=symbol, count=2)
    assert process.stop() == 0


def test_a_venue_that_is_away_for_a_while(venue: Sandbox, daemon: Callable[..., DaemonProcess]) -> None:
    process = daemon(configuration(venue.rest_url, venue.stream_url, SYMBOLS))
    process.wait_for("book.state", to="synced", count=3)
    venue.faults.inject({"kind": "refuse_connections", "seconds": 3})
    venue.faults.inject({"kind": "disconnect", "mode": "rst"})
    process.wait_for("worker.failed", count=2)
    process.wait_for("book.state", to="synced", count=6)
    assert process.stop() == 0
