"""One daemon, several venues: each with its own books, each alone with its troubles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from binmon.recorder.reader import BookDataset
from binmon.recorder.verify import verify
from tests.ports import held_port
from tests.system.conftest import DaemonProcess, finish

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

Start = Callable[..., DaemonProcess]
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


class BothVenues:
    """The sandbox with both of its sides, as a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "binmon.sandbox", "--until-stdin-closes", "--symbols", ",".join(SYMBOLS),
                "--rate", "40", "--bybit-port", "0",
            ],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.ready: dict[str, str] = json.loads(self.process.stdout.readline())

    def inject(self, kind: str, **options: Any) -> None:
        body = {"venue": "bybit", "kind": kind, **options}
        answer = requests.post(f"{self.ready['rest']}/sandbox/faults", json=body, timeout=60).json()
        assert answer.get("ok"), answer

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def venues() -> Iterator[BothVenues]:
    both = BothVenues()
    yield both
    both.close()


def of(ready: dict[str, str], **sections: Any) -> dict[str, Any]:
    """A configuration with the books of both sides."""
    config: dict[str, Any] = {
        "venues": {
            "binance": {"environment": "testnet", "endpoints": {"rest": ready["rest"], "stream": ready["stream"]}},
            "bybit": {
                "environment": "testnet",
                "endpoints": {"rest": ready["bybit_rest"], "public_stream": ready["bybit_public_stream"]},
            },
        },
        "books": {
            "venue": [{"venue": "binance", "symbols": SYMBOLS}, {"venue": "bybit", "symbols": SYMBOLS}],
            "snapshot_every": 5,
            "depth": 1000,
            "audit_interval_s": 3,
        },
        "recorder": {"directory": "data", "flush_interval_s": 0.5},
        "metrics": {"listen": "127.0.0.1:0"},
    }
    for section, keys in sections.items():
        config.setdefault(section, {}).update(keys)
    return config


def synced(process: DaemonProcess, venue: str, count: int = len(SYMBOLS)) -> None:
    process.wait_for("book.state", venue=venue, to="synced", count=count, within_s=60)


FAULTS: list[tuple[dict[str, Any], str | None]] = [
    # fault, and what of the reason of the resync tells that it was noticed (None: it changes nothing)
    ({"kind": "gap"}, "gap"),
    ({"kind": "duplicate"}, None),
    ({"kind": "crossed_book"}, "crossed"),
    ({"kind": "book_restart"}, "new snapshot"),
    ({"kind": "book_snapshot"}, "new snapshot"),
    ({"kind": "sequence_back"}, "ran back"),
    ({"kind": "disconnect"}, "closed"),
    ({"kind": "malformed"}, None),
    ({"kind": "empty"}, None),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[str(fault["kind"]) for fault, _ in FAULTS])
def test_books_that_begin_on_the_stream_come_back_from_faults(
    venues: BothVenues, daemon: Start, fault: dict[str, Any], reason: str | None
) -> None:
    process = daemon(of(venues.ready))
    synced(process, "binance")
    synced(process, "bybit")
    process.wait_for("book.audit", venue="bybit", count=2)
    mark = len(process.lines)
    venues.inject(**fault)

    def since(event: str, **fields: Any) -> list[dict[str, Any]]:
        return [line for line in process.events(event, **fields) if line in process.lines[mark:]]

    if reason is not None:
        process.until(
            lambda: any(reason in line["reason"] for line in since("book.state", venue="bybit")), 60, str(fault)
        )
    # every book stands again, and is right: as of then, by the venue's own snapshot
    process.until(lambda: all(_stands(process, symbol) for symbol in SYMBOLS), 60, "books that stand")
    mark = len(process.lines)
    process.until(
        lambda: {line["symbol"] for line in since("book.audit", venue="bybit", mismatches=0)} == set(SYMBOLS), 60
    )
    assert not process.events("book.state", venue="binance", **{"from": "synced"}), "a fault of one venue is its own"
    assert process.stop() == 0 and not process.unreadable
    finish(process)
    data = process.directory / "data"
    assert verify(BookDataset(data)) == []
    recorded = {path.relative_to(data / "books").parts[:2] for path in data.glob("books/*/*/*/*.parquet")}
    assert recorded == {(f"venue={venue}", f"symbol={one}") for venue in ("binance", "bybit") for one in SYMBOLS}


def _stands(process: DaemonProcess, symbol: str) -> bool:
    states = process.events("book.state", venue="bybit", symbol=symbol)
    return bool(states) and states[-1]["to"] == "synced"


def test_a_venue_that_is_down_holds_up_no_other(venues: BothVenues, daemon: Start) -> None:
    config = of(venues.ready)
    with held_port() as port:
        config["venues"]["bybit"]["endpoints"]["rest"] = f"http://127.0.0.1:{port}"
        process = daemon(config)
        synced(process, "binance")
        process.wait_for("venue.unreachable", venue="bybit", count=2)
        (listening,) = process.wait_for("metrics.listening")
        health = requests.get(f"http://{listening['address']}/healthz", timeout=60).json()
        assert health["start"]["waiting_for"] == ["bybit"] and health["venues"]["binance"]["books"]
        assert process.stop() == 0


def test_other_symbols_of_one_venue_leave_the_other_alone(venues: BothVenues, daemon: Start) -> None:
    config = of(venues.ready)
    config["books"]["venue"][1]["symbols"] = ["BTCUSDT"]
    process = daemon(config)
    synced(process, "binance")
    synced(process, "bybit", 1)
    config["books"]["venue"][1]["symbols"] = SYMBOLS
    (process.directory / "config.yaml").write_text(yaml.safe_dump(config))
    process.process.send_signal(signal.SIGHUP)
    process.wait_for("config.reloaded")
    process.wait_for("book.state", venue="bybit", symbol="ETHUSDT", to="synced", within_s=60)
    # a venue that was not there at the start
    config["books"]["venue"].append({"venue": "kraken", "symbols": ["BTC/USD"]})
    (process.directory / "config.yaml").write_text(yaml.safe_dump(config))
    process.process.send_signal(signal.SIGHUP)
    (_, reloaded) = process.wait_for("config.reloaded", count=2)
    assert reloaded["restart_needed"] == ["books.venue"] and reloaded["changes"] == []
    assert not process.events("book.state", **{"from": "synced"})
    assert process.stop() == 0


def test_an_incident_of_books_that_begin_on_the_stream_is_replayed(venues: BothVenues, daemon: Start) -> None:
    process = daemon(of(venues.ready, incidents={"keep_s": 5, "after_s": 10}))
    synced(process, "bybit")
    process.wait_for("book.top", venue="bybit", symbol="ETHUSDT", count=8)
    # the book is back long before the file ends
    venues.inject("gap", symbols=["ETHUSDT"])
    (written,) = process.wait_for("incident.written", reason="gap", within_s=90)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "binmon", "replay", written["path"], "--json"],
        capture_output=True, text=True, check=False, cwd=process.directory,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr  # a gap is a problem
    assert {line["event"] for line in lines if line.get("problem")} == {"gap"}, lines
    books = {line["symbol"]: line for line in lines if line["event"] == "book"}
    assert set(books) == set(SYMBOLS) and all(one["state"] == "synced" for one in books.values())
    assert process.stop() == 0
