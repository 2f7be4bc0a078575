"""The flight recorder in a running daemon: a fault of the venue leaves a file, and the replay of it shows the fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from binmon.telemetry.events import VOCABULARY
from tests.system.conftest import DaemonProcess, configuration
from tests.system.witness import VenueProcess, inject

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SYMBOLS = ["BTCUSDT", "ETHUSDT", "F0USDT"]
OPTIONS = ("--symbols", ",".join(SYMBOLS), "--rate", "40", "--ping-interval-s", "2", "--weight-limit", "1000000")
BOOKS = {"snapshot_every": 5, "depth": 500, "audit_interval_s": 3600}


@pytest.fixture
def venue() -> Iterator[VenueProcess]:
    with VenueProcess(*OPTIONS) as one:
        yield one


def start(
    venue: VenueProcess, daemon: Callable[..., DaemonProcess], incidents: dict[str, Any], **sections: Any
) -> DaemonProcess:
    sections = {"books": BOOKS, "latency": {"enabled": False}, "incidents": incidents, **sections}
    process = daemon(configuration(venue.rest_url, venue.stream_url, SYMBOLS, **sections))
    process.wait_for("book.state", to="synced", count=len(SYMBOLS), within_s=60)
    return process


def replay(path: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Status, lines and standard error of ``binmon replay --json``."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "binmon", "replay", str(path), "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def of(lines: list[dict[str, Any]], event: str, **fields: Any) -> list[dict[str, Any]]:
    return [one for one in lines if one["event"] == event and all(one.get(k) == v for k, v in fields.items())]


def file_of(process: DaemonProcess, reason: str) -> Path:
    """The file of an incident, once it is written."""
    line = process.wait_for("incident.written", reason=reason, within_s=150)[-1]
    path = process.directory / line["path"]
    assert path.parent == process.directory / "data" / "incidents"
    assert path.stat().st_size == line["bytes"] and line["frames"] > 0
    return path


def test_gap_crossed_book_and_stall(venue: VenueProcess, daemon: Callable[..., DaemonProcess]) -> None:
    process = start(venue, daemon, {"keep_s": 4, "after_s": 2})

    def seen(count: int) -> None:
        """Until every book has gone on for a while."""
        before = len(process.events("book.top"))
        process.until(lambda: len(process.events("book.top")) >= before + count * len(SYMBOLS), 60, "tops")

    seen(8)  # longer than the ring reaches: the books of the file are images
    inject(venue, "gap", symbols=["ETHUSDT"], count=2)
    path = file_of(process, "gap")
    status, lines, said = replay(path)
    assert status == 3 and said == ""
    gaps = of(lines, "gap", symbol="ETHUSDT")
    (logged,) = process.events("book.gap", symbol="ETHUSDT")[:1]
    assert {key: gaps[0][key] for key in ("expected", "first_update_id", "last_update_id")} == {
        key: logged[key] for key in ("expected", "first_update_id", "last_update_id")
    }
    assert not of(lines, "differs") and not of(lines, "failed")
    books = {one["symbol"]: one for one in of(lines, "book")}
    assert set(books) == set(SYMBOLS) and all(one["like_live"] for one in books.values())
    assert books["BTCUSDT"]["state"] == "synced" and books["BTCUSDT"]["gaps"] == 0
    assert books["BTCUSDT"]["verified"] > 0
    assert of(lines, "head")[0]["incident"]["reason"] == "gap" and of(lines, "end")[0]["complete"]
    alone = replay(path, "--symbol", "BTCUSDT")
    assert alone[0] == 0 and [one["symbol"] for one in of(alone[1], "book")] == ["BTCUSDT"]

    seen(4)
    inject(venue, "crossed_book", symbols=["F0USDT"], count=30)
    status, lines, _ = replay(file_of(process, "crossed"))
    assert status == 3 and of(lines, "crossed", symbol="F0USDT") and not of(lines, "differs")
    assert of(lines, "state", symbol="F0USDT", reason="crossed book", to="waiting_for_snapshot")

    seen(8)  # the pace of the streams is learned before anything is called a stall
    inject(venue, "stall", pongs=True, seconds=600)
    path = file_of(process, "stall")
    status, lines, _ = replay(path)
    assert of(lines, "trigger", reason="stall") and not of(lines, "failed")
    assert status in (0, 3)  # it depends on whether the books are back when the file ends
    inject(venue, "clear")

    assert process.stop() == 0
    assert not process.unreadable and not process.events("incident.failed") and not process.events("worker.fatal")
    assert {line["event"] for line in process.lines} <= set(VOCABULARY)
    names = sorted(path.name for path in (process.directory / "data" / "incidents").iterdir())
    assert len(names) == len(process.events("incident.written")) and not [n for n in names if n.startswith(".")]


def test_a_storm_is_held_back_and_old_files_go(venue: VenueProcess, daemon: Callable[..., DaemonProcess]) -> None:
    limits = {"keep_s": 2, "after_s": 0.5, "repeat_after_s": 0, "most_per_hour": 4, "keep_files": 2}
    process = start(venue, daemon, limits)
    for number in range(7):
        inject(venue, "gap", symbols=["BTCUSDT"], count=1)
        process.wait_for("book.gap", symbol="BTCUSDT", count=number + 1, within_s=60)
        # the next gap must not fall into the time in which the book waits for its snapshot: it would be no news
        process.wait_for("book.state", symbol="BTCUSDT", to="synced", count=number + 2, within_s=60)
        wanted = min(number + 1, 4)
        process.wait_for("incident.written", count=wanted, within_s=60)
    assert process.stop() == 0
    assert len(process.events("incident.written")) == 4
    assert len(list((process.directory / "data" / "incidents").iterdir())) == 2


def test_a_directory_that_cannot_be_written_ends_nothing(
    venue: VenueProcess, daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the directory should be")
    process = start(venue, daemon, {"directory": str(blocked / "incidents"), "after_s": 0.2})
    inject(venue, "gap", symbols=["ETHUSDT"], count=1)
    (failed,) = process.wait_for("incident.failed", reason="gap", within_s=60)
    assert failed["symbol"] == "ETHUSDT" and failed["error"] and failed["level"] == "error"
    process.wait_for("book.state", symbol="ETHUSDT", to="synced", count=2, within_s=60)
    assert process.stop() == 0
    assert not process.events("worker.failed", worker="incident-writer")


def test_switched_off(venue: VenueProcess, daemon: Callable[..., DaemonProcess]) -> None:
    process = start(venue, daemon, {"enabled": False})
    inject(venue, "gap", symbols=["ETHUSDT"], count=1)
    process.wait_for("book.state", symbol="ETHUSDT", to="synced", count=2, within_s=60)
    assert process.stop() == 0
    assert not process.events("incident.written") and not (process.directory / "data" / "incidents").exists()
    assert not process.events("worker.started", worker="incident-writer")
