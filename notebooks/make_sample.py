"""Makes ``notebooks/sample`` anew: three minutes of a daemon on the local exchange, with some faults on the way.

Usage: ``.venv/bin/python notebooks/make_sample.py``. What it leaves is what any recording looks like: a data set of
books, and a state database with the timed orders.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import requests
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox

SAMPLE = Path(__file__).with_name("sample")
LENGTH_S = 180
STOP = threading.Event()
# seconds after the start, and what happens then
EVENTS = (
    (35, {"kind": "report_delay", "ms": 220, "seconds": 12}),
    (70, {"kind": "report_delay", "ms": 900, "count": 6}),
    (95, {"kind": "gap", "count": 3}),
    (110, {"kind": "report_before_answer", "ms": 60, "seconds": 15}),
    (140, {"kind": "report_lost", "count": 3}),
)


def config_of(venue: Sandbox) -> dict[str, object]:
    """Rows twice a second, two hundred levels a side; an order every 0.6 s."""
    endpoints = {"rest": venue.rest_url, "stream": venue.stream_url, "ws_api": venue.ws_api_url}
    return {
        "venues": {
            "binance": {
                "environment": "sandbox",
                "endpoints": endpoints,
                "api_key": venue.api_key,
                "api_secret": venue.api_secret,
            }
        },
        "books": {"symbols": ["BTCUSDT"], "snapshot_every": 5, "record_depth": 200, "depth": 1000},
        "incidents": {"enabled": False},
        "latency": {"interval_s": 0.6, "threshold_ms": 500, "report_timeout_ms": 2000},
        "execution": {"max_orders_per_day": 100_000},
        "dashboard": {"enabled": False},
        "metrics": {"enabled": False},
    }


def main() -> None:
    """Run the daemon, and put what it has written in the place of the old sample."""
    options = SandboxOptions(symbols=("BTCUSDT",), seed=11, rate=60.0, weight_limit=1_000_000)
    with tempfile.TemporaryDirectory() as place, Sandbox(options) as venue:
        directory = Path(place)
        (directory / "config.yaml").write_text(yaml.safe_dump(config_of(venue)))
        daemon = subprocess.Popen([sys.executable, "-m", "binmon", "run"], cwd=directory, stdout=subprocess.DEVNULL)
        passed_s = 0
        for at_s, fault in (*EVENTS, (LENGTH_S, None)):
            STOP.wait(at_s - passed_s)
            passed_s = at_s
            if fault is not None:
                requests.post(f"{venue.rest_url}/sandbox/faults", json=fault, timeout=10).raise_for_status()
        daemon.send_signal(signal.SIGINT)
        daemon.wait(60)
        # what was left to finish at the stop is finished at the next start
        again = subprocess.Popen([sys.executable, "-m", "binmon", "run"], cwd=directory, stdout=subprocess.DEVNULL)
        books = directory / "data" / "books"
        while not list(books.rglob("*.parquet")):
            STOP.wait(0.5)
        again.send_signal(signal.SIGINT)
        again.wait(60)
        keep(directory / "data")


def keep(data: Path) -> None:
    """Books and events of the first run, and the ledger without what has room for no reader."""
    shutil.rmtree(SAMPLE, ignore_errors=True)
    SAMPLE.mkdir()
    for name in ("books", "book_events"):
        if (data / name).is_dir():
            shutil.copytree(data / name, SAMPLE / name)
    with sqlite3.connect(data / "state.db") as state:
        state.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        state.execute("PRAGMA journal_mode=DELETE")
        state.execute("VACUUM")
    state.close()
    shutil.copy(data / "state.db", SAMPLE / "state.db")


if __name__ == "__main__":
    main()
