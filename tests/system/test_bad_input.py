"""What the daemon says when what it is asked for cannot be: one clear line, and the exit status of the contract."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.ports import held_port
from tests.system.conftest import DaemonProcess, configuration

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"))) as sandbox:
        yield sandbox


def binmon(directory: Path, *arguments: str, config: Any = None) -> subprocess.CompletedProcess[str]:
    text = config if isinstance(config, str) else yaml.safe_dump(config)
    (directory / "config.yaml").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "binmon", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Status 2, and one line on standard error with all ``parts``."""
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("books: [", ("config.yaml:", "YAML")),
        ("bookz: {}", ("config.yaml:1", "bookz", "books")),
        ("books: {snapshot_every: ten}", ("books.snapshot_every", "integer", "ten")),
        ("books: {snapshot_every: 0}", ("books.snapshot_every", "at least 1", "0")),
        ("books: {symbols: []}", ("books.symbols", "at least one")),
        ("books: {symbols: [btcusdt]}", ("books.symbols[0]", "BTCUSDT", "upper case")),
        ("venues: {binance: {endpoints: {rest: 'http://example.com'}}}", ("venues.binance.endpoints.rest", "https")),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_configuration(tmp_path: Path, command: str, text: str, parts: tuple[str, ...]) -> None:
    refused(binmon(tmp_path, command, config=text), *parts)


def test_a_symbol_that_the_venue_does_not_list(tmp_path: Path, venue: Sandbox) -> None:
    config = configuration(venue.rest_url, venue.stream_url, ["BTCUSDT", "ETHUSDC"])
    refused(binmon(tmp_path, "run", config=config), "books.symbols[1]", "ETHUSDC", "did you mean ETHUSDT")


def test_a_quote_that_nothing_trades_in(tmp_path: Path, venue: Sandbox) -> None:
    config = configuration(venue.rest_url, venue.stream_url, "all:XYZ")
    refused(binmon(tmp_path, "run", config=config), "books.symbols", "all:XYZ", "USDT")


def test_an_unwritable_directory(tmp_path: Path, venue: Sandbox) -> None:
    (tmp_path / "file").write_text("")
    config = configuration(venue.rest_url, venue.stream_url, ["BTCUSDT"], recorder={"directory": "file/data"})
    refused(binmon(tmp_path, "run", config=config), "recorder.directory", "file/data", "writable")
    refused(binmon(tmp_path, "check", config=config), "recorder.directory", "file/data", "writ")


def test_a_missing_file(tmp_path: Path) -> None:
    done = binmon(tmp_path, "run", "-c", "absent.yaml", config={})
    refused(done, "absent.yaml")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(binmon(tmp_path, "sandbox", "--rest-port", str(port), config={}), "--rest-port", str(port))


def test_an_unreachable_venue_is_a_found_problem(tmp_path: Path) -> None:
    with held_port() as port:
        config = configuration(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", ["BTCUSDT"])
        done = binmon(tmp_path, "check", "--connect", config=config)
    assert done.returncode == 3
    assert f"venues.binance.endpoints.rest: http://127.0.0.1:{port}" in done.stderr
    assert f"venues.binance.endpoints.stream: ws://127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_of_a_good_configuration(tmp_path: Path, venue: Sandbox) -> None:
    config = configuration(venue.rest_url, venue.stream_url, ["BTCUSDT"])
    said = venue.ready()
    config["venues"]["binance"] |= {"api_key": said["api_key"], "api_secret": said["api_secret"]}
    config["latency"] = {"enabled": False}
    done = binmon(tmp_path, "check", "--connect", "--json", config=config)
    assert done.returncode == 0, done.stderr
    assert said["api_secret"] not in done.stdout + done.stderr
    assert json.loads(done.stdout)
    config["venues"]["binance"] |= {"api_key": "a-key", "api_secret": "very-secret"}
    done = binmon(tmp_path, "check", "--connect", "--json", config=config)
    assert done.returncode == 3 and "the venue does not accept the key" in done.stderr
    assert "very-secret" not in done.stdout + done.stderr


def test_a_venue_that_is_away_at_the_start_is_waited_for(daemon: Callable[..., DaemonProcess]) -> None:
    with held_port() as port:
        process = daemon(configuration(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", ["BTCUSDT"]))
        process.wait_for("venue.unreachable", count=2)
        assert process.stop() == 0 and process.stop_took_s < 5
