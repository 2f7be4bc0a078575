"""What a user sees first: the shipped configuration on its own sandbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess, configuration

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[2]


def books(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "binmon", "books", *arguments, "-c", "config.yaml"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )
    assert done.returncode == 0, done
    return done.stdout


def test_the_shipped_configuration(daemon: Callable[..., DaemonProcess]) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["venues"]["binance"].update(api_key="", api_secret="")
    config["books"]["snapshot_every"] = 10  # the first row after a second, not after ten
    process = daemon(config)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        process.wait_for("book.top", symbol=symbol, count=4)
    assert {top["symbol"] for top in process.events("book.top")} == {"BTCUSDT", "ETHUSDT"}
    table = ""
    for _ in range(50):
        if list((process.directory / "data" / "segments").glob("*.segment")) and "BTCUSDT" in books(
            process.directory, "ls"
        ):
            table = books(process.directory, "show", "BTCUSDT")
            break
        threading.Event().wait(0.2)
    assert "BTCUSDT" in table and "█" in table
    assert json.loads(books(process.directory, "show", "BTCUSDT", "--json"))
    (sandbox,) = process.events("sandbox.started")
    process.process.send_signal(signal.SIGHUP)
    process.wait_for("config.reloaded")
    # what only analysts need is not carried along, though it is installed here
    libraries = Path(f"/proc/{process.process.pid}/maps").read_text()
    assert "/pyarrow/" in libraries and "/pandas/" not in libraries
    # nor an allocator that reserves a gibibyte to begin with
    spans = [line.split(" ", 1)[0].split("-") for line in libraries.splitlines()]
    assert max(int(end, 16) - int(begin, 16) for begin, end in spans) < 2**30
    assert process.stop() == 0 and process.stop_took_s < 5.0
    assert not psutil.pid_exists(sandbox["pid"])
    assert list((process.directory / "data" / "books").rglob("*.parquet"))


def test_a_killed_daemon_takes_its_sandbox_along(daemon: Callable[..., DaemonProcess]) -> None:
    process = daemon({})
    (sandbox,) = process.wait_for("sandbox.started")
    process.kill()
    for _ in range(1200):
        if not psutil.pid_exists(sandbox["pid"]):
            break
        threading.Event().wait(0.05)
    assert not psutil.pid_exists(sandbox["pid"])


def test_all_symbols_of_a_quote_within_the_limits(daemon: Callable[..., DaemonProcess]) -> None:
    symbols = tuple(f"C{number:03d}USDT" for number in range(60))
    with Sandbox(SandboxOptions(symbols=symbols, rate=20.0)) as venue:
        process = daemon(configuration(venue.rest_url, venue.stream_url, "all:USDT", books={"depth": 100}))
        process.until(
            lambda: set(symbols) <= {line["symbol"] for line in process.events("book.state", to="synced")},
            120,
            "all books",
        )
        assert not process.events("rate.limited") and not process.events("book.gap")
        assert process.stop() == 0
