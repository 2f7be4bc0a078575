"""kill -9 at random moments, and the daemon started again over what it left.

Twenty times, or as often as the environment says: ``BINMON_KILLS=200 python -m pytest tests/system/test_kill.py``.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

import binmon
from binmon.recorder.verify import verify
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess, configuration

KILLS = int(os.environ.get("BINMON_KILLS", "20"))
pytestmark = [pytest.mark.system, pytest.mark.timeout(300 + 20 * KILLS)]

FLUSH_S = 0.5


def test_kills_at_random_moments(daemon: Callable[..., DaemonProcess]) -> None:
    chance = random.Random(20)
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=100.0)) as venue:
        config = configuration(
            venue.rest_url,
            venue.stream_url,
            ["BTCUSDT", "ETHUSDT"],
            books={"snapshot_every": 2, "depth": 500},
            recorder={"flush_interval_s": FLUSH_S, "rotate_s": 2},
        )
        kills: list[tuple[int, float]] = []  # when, and how long its threads had waited for a processor until then
        runs_ns: list[tuple[int, int]] = []
        synced = Counter[str]()
        for _ in range(KILLS):
            began_ns = time.time_ns()
            process = daemon(config)
            process.wait_for("book.state", to="synced", count=2)
            lived_s, waits_ns = chance.uniform(0.0, 2.5), process.waits_ns()
            threading.Event().wait(lived_s)
            starved_s = process.starved_s(waits_ns)
            process.kill()
            runs_ns.append((began_ns, time.time_ns()))
            synced.update(line["symbol"] for line in process.events("book.state", to="synced"))
            if lived_s > 1.5:
                kills.append((time.time_ns(), starved_s))
        process = daemon(config)
        process.wait_for("book.state", to="synced", count=2)
        # the leftovers of all are finished while it runs
        process.until(lambda: len(list((process.directory / "data" / "segments").glob("*"))) <= 2, 60, "recovery")
        assert process.stop() == 0
    directory = process.directory / "data"
    for path in directory.rglob("*.parquet"):
        pq.ParquetFile(path).read()  # no unreadable file
    assert not list(directory.rglob("*.tmp"))
    books = binmon.open_books(directory)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        frame = books.pandas(symbol)
        assert frame["update_id"].is_unique and frame["update_id"].is_monotonic_increasing
        # an epoch of which nothing was flushed leaves no row, and its number is used again
        assert frame["epoch"].is_monotonic_increasing
        received_ns = frame["receive_time"].astype("int64").to_numpy()
        left = sum(bool(((received_ns > began) & (received_ns <= end)).any()) for began, end in runs_ns)
        assert KILLS // 5 <= left <= frame["epoch"].nunique() and frame["epoch"].max() <= max(KILLS, synced[symbol]) + 1
        for kill_ns, starved_s in kills:
            newest = received_ns[received_ns <= kill_ns].max()
            # one flush interval, the 0.2 s between two rows, and what a busy machine takes to write and fsync, or to
            # let them do it; where nothing was flushed, the newest row is of the run before, whose end is more than two
            # seconds away
            assert kill_ns - newest < (FLUSH_S + 0.2 + 1.3 + starved_s) * 1e9
    breaches = verify(books)
    assert not breaches, breaches


def test_ctrl_c_and_sigterm_leave_everything_flushed(daemon: Callable[..., DaemonProcess]) -> None:
    import signal

    with Sandbox(SandboxOptions(symbols=("BTCUSDT",), rate=100.0)) as venue:
        config = configuration(venue.rest_url, venue.stream_url, ["BTCUSDT"], books={"snapshot_every": 1})
        for count, number in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
            process = daemon(config)
            process.wait_for("book.top", count=3)
            assert process.stop(number) == 0
            assert process.stop_took_s < 5.0
            assert process.events("daemon.stopping")[0]["reason"] == signal.Signals(number).name
            data = process.directory / "data"
            last = process.events("book.state", to="waiting_for_events")[-1]["update_id"]
            frame = binmon.open_books(data).pandas("BTCUSDT")
            assert frame["update_id"].max() == last, "every applied update is on disk"
            assert not list((data / "segments").glob("*.segment"))
            assert frame["epoch"].max() == count
