"""Books of Kraken and OKX in the daemon, at small foreign venues over real sockets: what is recorded is what they had."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import binmon
from binmon.recorder.verify import verify
from tests.system.conftest import DaemonProcess, finish
from tests.system.plain_kraken_okx import PlainBookVenue, PlainKraken, PlainOkx

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

Start = Callable[..., DaemonProcess]


def keeping(venues: dict[str, PlainBookVenue], depth: int, **sections: Any) -> dict[str, Any]:
    return {
        "venues": {name: {"environment": "sandbox", "endpoints": venue.endpoints} for name, venue in venues.items()},
        "books": {
            "venue": [{"venue": name, "symbols": list(venue.markets)} for name, venue in venues.items()],
            "snapshot_every": 4,
            "depth": depth,
        },
        "recorder": {"directory": "data", "flush_interval_s": 0.5},
        "metrics": {"listen": "127.0.0.1:0"},
        **sections,
    }


def stands(process: DaemonProcess, symbol: str) -> bool:
    states = process.events("book.state", symbol=symbol)
    return bool(states) and states[-1]["to"] == "synced"


def grown(venue: PlainBookVenue, process: DaemonProcess, messages: int = 100) -> None:
    """So many messages more: some rows of each symbol."""
    target = venue.sent + messages
    process.until(lambda: venue.sent >= target, 60, "messages")


def rows_of(data: Path, venue: str, symbol: str) -> list[dict[str, Any]]:
    pattern = f"books/venue={venue}/symbol={symbol.replace('/', '%2F')}/*/*.parquet"
    files = sorted(data.glob(pattern)) or sorted(data.glob(f"books/venue={venue}/symbol={symbol}/*/*.parquet"))
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def compare(
    process: DaemonProcess,
    name: str,
    venue: PlainBookVenue,
    window: int,
    least: int = 10,
    unsure: tuple[str, int] = ("", 0),
) -> None:
    """Every row equals what the venue had as of its id; those of a symbol in an ``unsure`` epoch as far as checksums reach."""
    finish(process)
    data = process.directory / "data"
    assert verify(binmon.open_books(data)) == []
    for symbol in venue.markets:
        rows = rows_of(data, name, symbol)
        assert len(rows) >= least, (symbol, len(rows))
        for row in rows:
            bids, asks = venue.truth_at(symbol, row["update_id"], window)
            sure = 10 if (symbol, row["epoch"]) == unsure else None
            own_bids = list(zip(row["bid_price"], row["bid_quantity"], strict=True))
            own_asks = list(zip(row["ask_price"], row["ask_quantity"], strict=True))
            assert own_bids[:sure] == bids[:sure], (symbol, row["update_id"])
            assert own_asks[:sure] == asks[:sure], (symbol, row["update_id"])
            if sure is not None:
                continue
            assert row["bid_known_to"] == bids[-1][0] and row["ask_known_to"] == asks[-1][0]


def test_kraken_through_loss_damage_and_disconnect(daemon: Start) -> None:
    with PlainKraken() as venue:
        process = daemon(keeping({"kraken": venue}, 25))
        process.wait_for("book.state", venue="kraken", to="synced", count=len(venue.markets), within_s=60)
        grown(venue, process)
        # a lost message shows in the next checksum that it concerns
        venue.lose("BTC/USD", 3)
        process.wait_for("book.state", symbol="BTC/USD", **{"from": "synced"}, within_s=60)
        process.until(lambda: stands(process, "BTC/USD"), 60)
        assert not process.events("book.state", symbol="DOGE/USD", **{"from": "synced"}), "one symbol alone"
        before = len(process.events("book.state", symbol="DOGE/USD"))
        venue.damage("DOGE/USD")
        process.until(lambda: len(process.events("book.state", symbol="DOGE/USD")) >= before + 2, 60, "damage")
        process.until(lambda: all(stands(process, one) for one in venue.markets), 60)
        down = {one: len(process.events("book.state", symbol=one, **{"from": "synced"})) for one in venue.markets}
        venue.disconnect()
        process.wait_for("stream.disconnected", venue="kraken", within_s=60)
        process.wait_for("stream.connected", venue="kraken", count=2, within_s=60)
        for symbol in venue.markets:
            process.wait_for("book.state", symbol=symbol, count=down[symbol] + 1, **{"from": "synced"})
        process.until(lambda: all(stands(process, one) for one in venue.markets), 60)
        grown(venue, process)
        assert process.stop() == 0 and not process.unreadable
        # the venue's checksums are of ten levels a side: what was lost further out shows when it comes among them
        first = rows_of(process.directory / "data", "kraken", "BTC/USD")[0]["epoch"]
        compare(process, "kraken", venue, 25, unsure=("BTC/USD", first))


def test_okx_through_loss_renumbering_keep_alive_and_upgrade(daemon: Start) -> None:
    with PlainOkx() as venue:
        process = daemon(keeping({"okx": venue}, 400))
        process.wait_for("book.state", venue="okx", to="synced", count=len(venue.markets), within_s=60)
        grown(venue, process)
        venue.lose("BTC-USDT", 1)
        (gap,) = process.wait_for("book.gap", venue="okx", symbol="BTC-USDT", within_s=60)
        assert gap["expected"] < gap["first_update_id"] <= gap["last_update_id"]
        process.until(lambda: stands(process, "BTC-USDT"), 60)
        venue.pause = True
        venue.keep_alive("PEPE-USDT")
        venue.pause = False
        grown(venue, process)
        assert not process.events("book.state", symbol="PEPE-USDT", **{"from": "synced"}), "a keep-alive is no gap"
        connected = len(process.events("stream.connected", venue="okx"))
        venue.announce_upgrade()
        process.wait_for("stream.connected", venue="okx", count=connected + 1, within_s=60)
        process.wait_for("stream.rotated", venue="okx", within_s=60)
        grown(venue, process)
        assert process.stop() == 0 and not process.unreadable
        compare(process, "okx", venue, 400)


def test_okx_counts_anew_within_a_running_book(daemon: Start) -> None:
    with PlainOkx() as venue:
        process = daemon(keeping({"okx": venue}, 400))
        process.wait_for("book.state", venue="okx", to="synced", count=len(venue.markets), within_s=60)
        grown(venue, process, 40)
        at_ns = time.time_ns()
        venue.renumber("BTC-USDT")
        grown(venue, process)
        assert process.stop() == 0
        finish(process)
        rows = rows_of(process.directory / "data", "okx", "BTC-USDT")
        later = [row for row in rows if row["update_id"] < 5000]
        assert later and all(row["epoch"] == rows[0]["epoch"] + 1 for row in later) and at_ns
        assert not process.events("book.gap") and not process.events(
            "book.state", **{"from": "synced", "reason": "gap"}
        )
        assert verify(binmon.open_books(process.directory / "data")) == []


def test_both_beside_each_other(daemon: Start) -> None:
    with PlainKraken() as kraken, PlainOkx() as okx:
        process = daemon(keeping({"kraken": kraken, "okx": okx}, 10, publish={"interval_ms": 0}))
        process.wait_for("book.state", to="synced", count=4, within_s=60)
        process.wait_for("book.top", venue="kraken", count=20, within_s=60)
        process.wait_for("book.top", venue="okx", count=20, within_s=60)
        assert process.stop() == 0
        # a machine that is busy may let a worker miss the deadline of a stop
        found = [line for line in process.lines if line["level"] in ("error", "critical")]
        assert not [line for line in found if line["event"] != "worker.late"], found
