"""A full disk at random moments under the running daemon.

Six times, or as often as the environment says: ``BINMON_FILLS=50 python -m pytest tests/system/test_disk.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import binmon
from binmon.messages import BookEventKind
from binmon.recorder.verify import verify
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess, configuration

FILLS = int(os.environ.get("BINMON_FILLS", "6"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(300 + 30 * FILLS)]
SYMBOLS = ("BTCUSDT", "ETHUSDT")
_BLOCK = bytes(1 << 16)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 96 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def full(disk: Path, process: DaemonProcess) -> Iterator[None]:
    """The disk is full, also of what the daemon gives free meanwhile, once the daemon has noticed."""
    before = len(process.events("recorder.failed"))
    filler = disk / "filler"
    try:
        with filler.open("ab", buffering=0) as file:

            def noticed() -> bool:
                for size in (len(_BLOCK), 4096, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(_BLOCK[:size])
                return len(process.events("recorder.failed")) > before

            process.until(noticed, 60, "the daemon to notice that the disk is full")
            yield
    finally:
        filler.unlink()


def recorded_again(directory: Path, process: DaemonProcess) -> None:
    """Wait until rows of every symbol are on disk that were received later than now."""
    now_ns = time.time_ns()

    def newer(symbol: str) -> bool:
        try:
            return binmon.open_books(directory).book(symbol).receive_time_ns > now_ns
        except (FileNotFoundError, LookupError):
            return False  # nothing is recorded yet

    for symbol in SYMBOLS:
        process.until(partial(newer, symbol), 60, f"rows of {symbol}")


def test_a_full_disk_at_random_moments(daemon: Callable[..., DaemonProcess], small_disk: Path) -> None:
    chance = random.Random(6)
    directory = small_disk / "data"
    with Sandbox(SandboxOptions(symbols=SYMBOLS, rate=100.0)) as venue:
        config = configuration(
            venue.rest_url,
            venue.stream_url,
            list(SYMBOLS),
            books={"snapshot_every": 1, "depth": 500},
            recorder={"directory": str(directory), "flush_interval_s": 0.2, "rotate_s": 2},
        )
        process = daemon(config)
        process.wait_for("book.state", to="synced", count=2)
        recorded_again(directory, process)
        for _ in range(FILLS):
            threading.Event().wait(chance.uniform(0.0, 2.5))
            with full(small_disk, process):
                threading.Event().wait(chance.uniform(0.0, 2.0))
            recorded_again(directory, process)
        process.wait_for("recorder.resumed")
        assert len(process.events("recorder.failed")) >= FILLS
        alerts = process.events("alert.raised", alert="recorder.failed")
        assert {line["subject"] for line in alerts} >= {f"{directory}: rows"}
        # what comes and goes is over only when it has stayed good for a while; the first time that is at once
        process.wait_for("alert.recovered", alert="recorder.failed", subject=f"{directory}: rows")
        assert process.stop() == 0
    assert not process.unreadable
    # what waited found its place each time: nothing is lost, and nothing is there twice
    assert_sound(directory)
    dropped = [line for line in process.events("book.snapshot_dropped") if line["logger"] == "binmon.recorder"]
    assert not dropped


def test_more_than_can_wait(daemon: Callable[..., DaemonProcess], small_disk: Path) -> None:
    """The disk stays full until rows are dropped: they are counted, recorded as gaps, and the rest is sound."""
    directory = small_disk / "data"
    with Sandbox(SandboxOptions(symbols=SYMBOLS, rate=200.0)) as venue:
        config = configuration(
            venue.rest_url,
            venue.stream_url,
            list(SYMBOLS),
            # a limited depth makes every row a whole book, which fills the memory for waiting rows soon
            books={"snapshot_every": 1, "depth": 5000, "record_depth": 5000},
            recorder={"directory": str(directory), "flush_interval_s": 0.2, "rotate_s": 30},
        )
        process = daemon(config)
        process.wait_for("book.state", to="synced", count=2)
        recorded_again(directory, process)
        with full(small_disk, process):
            for symbol in SYMBOLS:
                process.wait_for("book.snapshot_dropped", symbol=symbol, logger="binmon.recorder", within_s=150)
        recorded_again(directory, process)
        process.wait_for("recorder.resumed")  # said once the rows are there
        assert process.stop() == 0
    assert_sound(directory)
    told: Counter[str] = Counter()
    for line in process.events("book.snapshot_dropped", logger="binmon.recorder"):
        told[line["symbol"]] += line["count"]
    recorded: Counter[str] = Counter()
    for event in binmon.open_books(directory).event_rows():
        if event.kind is BookEventKind.GAP and "No space left on device" in event.detail:
            recorded[event.symbol] += sum(int(count) for count in re.findall(r"not recorded: (\d+)", event.detail))
            assert event.from_update_id is not None and event.to_update_id is not None
    assert set(told) == set(SYMBOLS) and recorded == told


def assert_sound(directory: Path) -> None:
    """Every file can be read, no row is there twice, and the whole is continuous."""
    for path in directory.rglob("*.parquet"):
        pq.ParquetFile(path).read()
    assert not list((directory / "books").rglob("*.tmp"))
    books = binmon.open_books(directory)
    for symbol in SYMBOLS:
        keys = [table.select(["epoch", "update_id"]).to_pydict() for table in books.tables(symbol)]
        rows = [row for key in keys for row in zip(key["epoch"], key["update_id"], strict=True)]
        assert rows == sorted(set(rows)) and rows
    breaches = verify(books)
    assert not breaches, breaches
