"""The daemon as a process of its own, as users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ports import held_port

PATIENCE_S = 60.0
"""How long a test waits for what it looks at: machines are slow when several tests run at once."""


def waits_ns(pid: int) -> dict[int, int]:
    """How long each thread of a process has been ready to run and had no processor, by the kernel's account."""
    found: dict[int, int] = {}
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            found[int(path.parent.name)] = int(path.read_text().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
    return found


class DaemonProcess:
    """``binmon run`` with its log lines, parsed as they come."""

    def __init__(self, config: dict[str, Any], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        path = directory / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        self.lines: list[dict[str, Any]] = []
        self.unreadable: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "binmon", "run", "-c", str(path), "--log-format", "json"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.unreadable.append(line)

    def events(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        return [
            line
            for line in list(self.lines)
            if line["event"] == name and all(line.get(key) == value for key, value in fields.items())
        ]

    def wait_for(
        self, name: str, *, count: int = 1, within_s: float = PATIENCE_S, **fields: Any
    ) -> list[dict[str, Any]]:
        self.until(lambda: len(self.events(name, **fields)) >= count, within_s, f"{count} × {name} {fields}")
        return self.events(name, **fields)

    def until(self, true: Callable[[], bool], within_s: float = PATIENCE_S, what: str = "condition") -> None:
        end = time.monotonic() + within_s
        while not true():
            assert self.process.poll() is None, f"the daemon ended: {self.tail()}"
            assert time.monotonic() < end, f"waited in vain for {what}: {self.tail()}"
            threading.Event().wait(0.02)

    def tail(self) -> str:
        said = [line for line in self.lines if line["event"] != "book.top"][-25:]
        if self.process.poll() is not None and self.process.stderr is not None:
            return "\n".join(map(str, said)) + self.process.stderr.read()
        return "\n".join(map(str, said))

    def waits_ns(self) -> dict[int, int]:
        """Of the threads of the daemon, and of this process, where the venue may live: see `waits_ns`."""
        return waits_ns(self.process.pid) | waits_ns(os.getpid())

    def starved_s(self, since: dict[int, int]) -> float:
        """How long all of these threads together have waited for a processor since `waits_ns` was asked."""
        return sum(max(0, waited - since.get(thread, 0)) for thread, waited in self.waits_ns().items()) / 1e9

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status. ``stop_took_s`` is how long it took, but for the time in which it waited for a processor."""
        started, starved_ns, before = time.monotonic(), 0, waits_ns(self.process.pid)
        self.process.send_signal(number)
        while True:
            try:
                status = self.process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                assert time.monotonic() < started + PATIENCE_S, f"it does not end: {self.tail()}"
            now = waits_ns(self.process.pid)
            # threads that wait at a time do so for each other's processor: that time counts once
            starved_ns += max((waited - before.get(thread, 0) for thread, waited in now.items()), default=0)
            before |= now
        self.stop_took_s = time.monotonic() - started - starved_ns / 1e9
        self._reader.join(PATIENCE_S)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)


def configuration(rest: str, stream: str, symbols: list[str] | str, **sections: Any) -> dict[str, Any]:
    """A configuration that points at a venue on loopback; ``sections`` are merged into it."""
    config: dict[str, Any] = {
        "venues": {"binance": {"environment": "testnet", "endpoints": {"rest": rest, "stream": stream}}},
        "books": {"symbols": symbols, "snapshot_every": 10},
        "recorder": {"directory": "data", "flush_interval_s": 0.5},
        "metrics": {"listen": "127.0.0.1:0"},  # several daemons may run at a time
        # a socket of its own, which tests of books would have to tell from theirs; test_watch.py is about it
        "watch": {"listings": {"enabled": False}},
    }
    for section, keys in sections.items():
        config.setdefault(section, {}).update(keys)
    return config


def finish(process: DaemonProcess) -> None:
    """See to what a daemon has left in segments because its stop was over before: the next start turns that into files."""
    left = list((process.directory / "data" / "segments").glob("*.segment"))
    if not left or not process.events("worker.late"):
        return
    with held_port() as port:
        config = configuration(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", ["BTCUSDT"])
        again = DaemonProcess(config, process.directory)
        try:
            again.until(lambda: not any(path.exists() for path in left), what="the rest of the recording")
        finally:
            again.stop()
            for pipe in (again.process.stdout, again.process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Start daemons; whatever still runs at the end is killed."""
    started: list[DaemonProcess] = []

    def start(config: dict[str, Any], name: str = "daemon") -> DaemonProcess:
        started.append(DaemonProcess(config, tmp_path / name))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()
        for pipe in (process.process.stdout, process.process.stderr):
            if pipe is not None:
                pipe.close()
