"""``binmon latency --live`` as a person uses it: in a pipe, and in a terminal that asks."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.probing import probing
from tests.system.witness import inject

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), weight_limit=10_000_000)) as sandbox:
        yield sandbox


def live(directory: Path, config: dict[str, Any], *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-W", "error", "-m", "binmon", "latency", "--live", "-c", "config.yaml", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "80", "TERM": "xterm"}
    return subprocess.Popen(command, cwd=directory, env=environment, **options)


class Terminal:
    """A pseudo terminal with somebody before it."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.seen = b""

    def until(self, true: Callable[[str], object], within_s: float = 60.0) -> str:
        end = time.monotonic() + within_s
        while not true(self.text):
            assert time.monotonic() < end, self.text[-2000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                self.seen += os.read(self.ours, 65536)
        return self.text

    @property
    def text(self) -> str:
        """What was shown, without colours and moves."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen.decode(errors="replace"))

    def type(self, line: str) -> None:
        os.write(self.ours, line.encode() + b"\n")

    def close(self) -> None:
        for end in (self.ours, self.theirs):
            os.close(end)


def test_in_a_pipe_each_order_is_a_line(venue: Sandbox, tmp_path: Path) -> None:
    config = probing(venue, threshold_ms=20_000)  # none is late for the machine's sake
    process = live(tmp_path, config, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline().decode() for _ in range(6)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and errors == b"", errors
    assert lines[0].startswith("binance BTCUSDT, sandbox: an order every 0.2 s, rings above 20000 ms")
    for line in lines[1:]:
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  (BUY |SELL)  in_time .*report \d+\.\d\d.*\n", line), line


def test_in_a_terminal_it_asks_and_rings(venue: Sandbox, tmp_path: Path) -> None:
    terminal = Terminal()
    config = probing(venue, report_timeout_ms=30_000)
    process = live(tmp_path, config, stdin=terminal.theirs, stdout=terminal.theirs, stderr=terminal.theirs)
    try:
        terminal.until(lambda text: "later than (ms) [500]:" in text)
        terminal.type("fifty")
        terminal.until(lambda text: "expected a number, got 'fifty'" in text)
        terminal.type("50")
        terminal.until(lambda text: "expected a number of at least 100, got 50" in text)
        terminal.type("5000")  # none is late for the machine's sake
        terminal.until(lambda text: "between two orders [0.2]:" in text)
        terminal.type("")
        terminal.until(lambda text: "rings above 5000 ms" in text)
        shown = terminal.until(lambda text: "in_time" in text and "p50" in text)
        assert "venue's clock" in shown and "class" in shown
        # below the heading: above it, what was typed may be echoed anywhere
        assert max(map(len, shown[shown.index("rings above") :].splitlines())) <= 80
        assert b"\x07" not in terminal.seen
        inject(venue, "report_delay", ms=7000)
        terminal.until(lambda text: re.search(r"\blate\b", text))
        assert b"\x07" in terminal.seen, "it rings"
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([terminal.ours], [], [], 0.1)[0]:
                os.read(terminal.ours, 65536)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        terminal.close()


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--threshold-ms", "99"], "sandbox", "--threshold-ms: expected a number of at least 100, got 99"),
        (["--interval-s", "5"], "testnet", "--interval-s: expected a number of at least 15 outside the sandbox, got 5"),
        (["--interval-s", "0"], "sandbox", "--interval-s: expected a number above 0, got 0"),
        (["--since", "1h", "--threshold-ms", "x"], "sandbox", "invalid int value"),
    ],
)
def test_wrong_answers_on_the_command_line(
    venue: Sandbox, tmp_path: Path, arguments: list[str], environment: str, says: str
) -> None:
    config = probing(venue, interval_s=20)
    config["venues"]["binance"]["environment"] = environment
    process = live(tmp_path, config, *arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and says in errors.decode()


def test_options_of_live_alone(venue: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(probing(venue)))
    done = subprocess.run(
        [sys.executable, "-m", "binmon", "latency", "-c", "config.yaml", "--interval-s", "20"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and "are for --live only" in done.stderr


def test_no_key_no_probe(venue: Sandbox, tmp_path: Path) -> None:
    config = probing(venue)
    for name in ("api_key", "api_secret"):
        del config["venues"]["binance"][name]
    process = live(tmp_path, config, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "venues.binance.api_key: no API key" in errors.decode()
