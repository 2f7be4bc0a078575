"""Recorded traffic through the sandbox and the daemon, against a plain independent replay of the same file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.recordings import RECORDINGS
from tests.system.conftest import DaemonProcess, configuration, finish

EXCERPT = Path(__file__).parents[1] / "data" / "spot_BTCUSDT_20240808_25s.tsv.gz"
SHARED = RECORDINGS / "binance-spot"

pytestmark = [pytest.mark.system, pytest.mark.timeout(480)]


def exact(text: str) -> float:
    """The double of a printed decimal, which must give back every digit."""
    value = float(text)
    assert Decimal(repr(value)) == Decimal(text), text
    return value


class PlainReplay:
    """The recording read by the simplest code there is: the book of each symbol at each update id."""

    def __init__(self, path: Path) -> None:
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.tops: dict[tuple[str, int], tuple[float, ...]] = {}
        self.partials: dict[tuple[str, int], tuple[list[list[float]], list[list[float]]]] = {}
        with gzip.open(path, "rt", newline="\n") as lines:
            for line in lines:
                _, source, payload = line.rstrip("\n").split("\t", 2)
                if source.startswith("rest:"):
                    symbol = source.split("symbol=")[1].split("&")[0]
                    self.snapshots[symbol] = json.loads(payload)
                elif source.startswith("ws"):
                    message = json.loads(payload)
                    stream, data = message.get("stream", source[3:]), message.get("data", message)
                    self._take(stream, data)

    def _take(self, stream: str, data: dict[str, Any]) -> None:
        symbol = stream.partition("@")[0].upper()
        if data.get("e") == "depthUpdate":
            self.events.setdefault(symbol, []).append(data)
        elif stream.endswith("@bookTicker"):
            self.tops[symbol, data["u"]] = tuple(exact(data[key]) for key in ("b", "B", "a", "A"))
        elif "@depth5" in stream:
            sides = [[[exact(p), exact(q)] for p, q in data[side]] for side in ("bids", "asks")]
            self.partials[symbol, data["lastUpdateId"]] = (sides[0], sides[1])

    def books(self, symbol: str) -> Iterator[tuple[int, int, dict[float, float], dict[float, float]]]:
        """(update id, event time, bids, asks) after each event; the dicts are the live ones."""
        snapshot = self.snapshots[symbol]
        bids = {exact(p): exact(q) for p, q in snapshot["bids"]}
        asks = {exact(p): exact(q) for p, q in snapshot["asks"]}
        last = snapshot["lastUpdateId"]
        for event in self.events[symbol]:
            if event["u"] <= last:
                continue
            assert event["U"] <= last + 1
            last = event["u"]
            for side, changes in ((bids, event["b"]), (asks, event["a"])):
                for price, quantity in changes:
                    side.pop(exact(price), None)
                    if exact(quantity):
                        side[exact(price)] = exact(quantity)
            yield last, event["E"], bids, asks


def levels(side: dict[float, float], *, reverse: bool) -> tuple[np.ndarray, np.ndarray]:
    ordered = sorted(side.items(), reverse=reverse)
    return np.array([p for p, _ in ordered]), np.array([q for _, q in ordered])


def check(path: Path, process: Callable[..., DaemonProcess], *, speed: float, every: int) -> dict[str, int]:
    plain = PlainReplay(path)
    symbols = sorted(plain.snapshots)
    with Sandbox(SandboxOptions(replay=path, speed=speed)) as venue:
        daemon = process(configuration(venue.rest_url, venue.stream_url, symbols, books={"snapshot_every": every}))
        daemon.until(lambda: venue.state()["replay"]["finished"], 240, "the end of the replay")
        last = {symbol: events[-1]["u"] for symbol, events in plain.events.items()}
        for symbol in symbols:
            daemon.wait_for("book.top", symbol=symbol, update_id=last[symbol])
        assert daemon.stop() == 0
    finish(daemon)
    assert not daemon.events("book.gap") and not daemon.events("book.snapshot_dropped")
    assert not daemon.unreadable
    begun: dict[str, list[int]] = {}
    events = f"from read_parquet('{daemon.directory}/data/book_events/*/*.parquet') where kind = 'resync'"
    for symbol, update_id in duckdb.sql(f"select symbol, to_update_id {events}").fetchall():
        begun.setdefault(symbol, []).append(update_id)
    counts = {"rows": 0, "tops": 0, "partials": 0}
    for symbol in symbols:
        rows = duckdb.sql(
            f"select update_id, epoch_ms(event_time) as event_time_ms, updates, epoch, bid_known_to, ask_known_to,"
            f" bid_price, bid_quantity, ask_price, ask_quantity"
            f" from read_parquet('{daemon.directory}/data/books/venue=binance/symbol={symbol}/*/*.parquet')"
            f" order by update_id"
        ).fetchall()
        recorded = {row[0]: row[1:] for row in rows}
        assert len(recorded) == len(rows), "no update id twice"
        expected_rows = number = 0
        # The recorded snapshot, or at high speed the venue's own of a moment later: the counting starts behind it.
        (begun_at,) = begun[symbol]
        for update_id, event_time_ms, bids, asks in plain.books(symbol):
            number += update_id > begun_at
            if update_id <= begun_at or number % every:
                assert update_id not in recorded
                continue
            expected_rows += 1
            row = recorded[update_id]
            assert row[0] == event_time_ms and row[1] == every and row[2] == 1
            if begun_at == plain.snapshots[symbol]["lastUpdateId"]:
                assert row[3] == exact(plain.snapshots[symbol]["bids"][-1][0])
                assert row[4] == exact(plain.snapshots[symbol]["asks"][-1][0])
            for side, reverse, price, quantity in ((bids, True, row[5], row[6]), (asks, False, row[7], row[8])):
                true_price, true_quantity = levels(side, reverse=reverse)
                assert np.array_equal(true_price, price) and np.array_equal(true_quantity, quantity), update_id
            top = plain.tops.get((symbol, update_id))
            if top is not None:
                assert top == (row[5][0], row[6][0], row[7][0], row[8][0])
                counts["tops"] += 1
            partial = plain.partials.get((symbol, update_id))
            if partial is not None:
                assert partial[0] == [list(level) for level in zip(row[5][:5], row[6][:5], strict=True)]
                assert partial[1] == [list(level) for level in zip(row[7][:5], row[8][:5], strict=True)]
                counts["partials"] += 1
        assert expected_rows == len(rows), "rows that no update explains"
        counts["rows"] += expected_rows
    return counts


def test_the_excerpt(daemon: Callable[..., DaemonProcess]) -> None:
    counts = check(EXCERPT, daemon, speed=10, every=1)
    assert counts["rows"] > 200 and counts["tops"] > 20


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full recordings are not part of the package")
@pytest.mark.parametrize(
    ("name", "speed", "every"),
    [
        ("spot_4symbols_20211012T002832Z_30s", 10, 1),
        ("binanceus_4symbols_20211012T002434Z_31s", 10, 1),
        ("spot_10symbols_20210405T183323Z_119s", 20, 1),
        ("spot_BTCUSDT_20260607T194756Z_59s_depth5", 10, 1),
        ("spot_BTCUSDT_20240808T235413Z_651s", 60, 9),
    ],
)
def test_every_spot_recording(daemon: Callable[..., DaemonProcess], name: str, speed: float, every: int) -> None:
    counts = check(SHARED / f"{name}.tsv.gz", daemon, speed=speed, every=every)
    assert counts["rows"] > 0
    if "depth5" in name:
        assert counts["partials"] > 500
