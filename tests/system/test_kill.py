"""kill -9 at random moments, and the daemon started again over what it left."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from binmon.recorder.verify import verify

import binmon
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess, configuration

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

FLUSH_S = 0.5


def test_twenty_kills(daemon: Callable[..., DaemonProcess]) -> None:
    chance = random.Random(20)
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), rate=100.0)) as venue:
        config = configuration(
            venue.rest_url,
            venue.stream_url,
            ["BTCUSDT", "ETHUSDT"],
            books={"snapshot_every": 2, "depth": 500},
            recorder={"flush_interval_s": FLUSH_S, "rotate_s": 2},
        )
        last_tops: list[tuple[str, int, int]] = []
        for _ in range(20):
            process = daemon(config)
            process.wait_for("book.state", to="synced", count=2)
            threading.Event().wait(chance.uniform(0.0, 2.5))
            process.kill()
            for symbol in ("BTCUSDT", "ETHUSDT"):
                tops = process.events("book.top", symbol=symbol)
                if tops:
                    last_tops.append((symbol, tops[-1]["update_id"], len(tops)))
        process = daemon(config)
        process.wait_for("book.state", to="synced", count=2)
        # the leftovers of all twenty are finished while it runs
        process.until(lambda: len(list((process.directory / "data" / "segments").glob("*"))) <= 2, 60, "recovery")
        assert process.stop() == 0
    directory = process.directory / "data"
    for path in directory.rglob("*.parquet"):
        pq.read_table(path)  # no unreadable file
    assert not list(directory.rglob("*.tmp"))
    books = binmon.open_books(directory)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        frame = books.pandas(symbol)
        assert frame["update_id"].is_unique and frame["update_id"].is_monotonic_increasing
        assert frame["epoch"].max() == 21 and frame["epoch"].is_monotonic_increasing
        times = frame.groupby("epoch")["receive_time"].max()
        for index, (name, update_id, _) in enumerate(last_tops):
            if name != symbol:
                continue
            # the book was at update_id when it was killed; rows up to one flush interval before must be there
            known = frame.loc[frame["update_id"] <= update_id]
            assert len(known) or index < 2
        assert len(times) >= 15
    breaches = verify(directory)
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
