"""The processes of a market run: the generator, the daemon, and py-spy when it is asked for."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EVERY = 10  # updates a row
SYNC_WITHIN_S = 180.0
SETTLE_S = 5.0  # after the last book has synced: what piled up meanwhile is not the run's

Samples = dict[str, dict[str, float]]  # metric → label value (or le) → value


class Venue:
    """The generator's process, and the newest line of its figures."""

    def __init__(self, symbols: int, options: argparse.Namespace) -> None:
        command = [sys.executable, str(HERE / "load_venue.py"), "--symbols", str(symbols)]
        command += ["--cycle", str(options.cycle), "--tick-ms", str(options.tick_ms)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.addresses: dict[str, str] = json.loads(self.process.stdout.readline())
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def figures(self) -> dict[str, Any]:
        """The newest figures."""
        while not self.lines:
            time.sleep(0.1)
        return self.lines[-1]

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(10)


class Daemon:
    """``binmon run`` in a process, against the generator."""

    def __init__(self, directory: Path, venue: Venue, options: argparse.Namespace) -> None:
        self.directory = directory
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.metrics = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "venues": {
                "binance": {
                    "environment": "testnet",
                    "endpoints": {key: venue.addresses[key] for key in ("rest", "stream")},
                }
            },
            "books": {"symbols": "all", "snapshot_every": EVERY},
            "recorder": {"directory": str(directory / "data"), "rotate_s": options.rotate_s},
            "publish": {"interval_ms": 1000, "sinks": [{"kind": "log"}]},
            "latency": {"enabled": False},
            "dashboard": {"enabled": False},
            "metrics": {"listen": self.metrics},
            "logging": {"level": options.log_level},
            "state": {"path": str(directory / "state.db")},
        }
        path = directory / "config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        self.figures_path = directory / "figures.jsonl"
        command = [sys.executable, "-m", "binmon"]
        if options.probe:
            command = [sys.executable, str(HERE / "market_probe.py"), str(self.figures_path)]
            for tried in options.try_file:
                command += ["--try", tried]
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "run", "-c", str(path)], stdout=log, stderr=log)

    def scrape(self) -> Samples:
        """``/metrics``, parsed: what is before the braces, the value of the only label that differs, the number."""
        samples: Samples = defaultdict(dict)
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(("binmon_", "process_")):
                    name_and_labels, _, value = line.rpartition(" ")
                    name, _, labels = name_and_labels.partition("{")
                    # "venue" is the same everywhere here
                    texts = [
                        label.split("=", 1)[1].strip('"') for label in labels.rstrip("}").split(",") if "=" in label
                    ]
                    keys = [text for text in texts if text != "binance"]
                    samples[name][keys[-1] if keys else ""] = float(value)
        return samples

    def end(self) -> None:
        """Stop it as systemd would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


def wait_until_synced(symbols: int, venue: Venue, daemon: Daemon) -> None:
    """Until every book was asked for, and a little longer. Raises RuntimeError.

    That requests go on says nothing: the daemon audits its books.
    """
    until_s = time.monotonic() + SYNC_WITHIN_S
    while venue.figures()["symbols_fetched"] < symbols:
        if daemon.process.poll() is not None:
            raise RuntimeError(f"the daemon ended: {daemon.log.read_text()[-2000:]}")
        if time.monotonic() > until_s:
            raise RuntimeError(f"not in sync after {SYNC_WITHIN_S:.0f} s: {venue.figures()}")
        time.sleep(0.2)
    time.sleep(SETTLE_S)


def sample_stacks(daemon: Daemon, seconds: float, path: Path) -> subprocess.Popen[bytes] | None:
    """Have py-spy look at the daemon's stacks while it runs, when it is installed."""
    if shutil.which("py-spy") is None:
        print("py-spy: not installed, no functions are shown (pip install py-spy)")
        return None
    command = [
        "py-spy",
        "record",
        "--nonblocking",
        "--function",
        "--gil",
        "-r",
        "200",
        "-f",
        "raw",
        "-t",
        "-d",
        str(int(seconds)),
    ]
    command += ["-o", str(path), "-p", str(daemon.process.pid)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def show_stacks(path: Path, top: int = 25) -> None:
    """Where the interpreter lock was: by thread, and by the function on top of the stack."""
    by_function: dict[str, int] = defaultdict(int)
    by_thread: dict[str, int] = defaultdict(int)
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        by_thread[frames[0]] += int(count)
        by_function[frames[-1]] += int(count)
    total = sum(by_thread.values()) or 1
    print("  holds the interpreter lock, share of all samples:")
    for name, count in sorted(by_thread.items(), key=lambda pair: -pair[1]):
        print(f"    {count / total:6.1%}  {name}")
    print("  top of the stack:")
    for name, count in sorted(by_function.items(), key=lambda pair: -pair[1])[:top]:
        print(f"    {count / total:6.1%}  {name}")
