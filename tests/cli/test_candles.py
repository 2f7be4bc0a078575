"""``binmon candles`` as a person and a program use it, against the local exchange over real sockets."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from binmon.cli.main import main
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.cli.looks import configure, fault, held_ports, interrupt, piped, read_json, run, start, terminal

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STOP = threading.Event()
BOLD_ABOVE = "\x1b[1;32m"  # green


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """For what changes nothing of the venue."""
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), weight_limit=10_000_000)) as sandbox:
        yield sandbox


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), weight_limit=10_000_000)) as sandbox:
        yield sandbox


# A pipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_a_pipe_gets_lines_of_json(name: str, shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with piped(tmp_path, "candles", "BTCUSDT", "1m", "--history", "5", "--time", "ms", "--venue", name) as process:
        lines = [read_json(process) for _ in range(8)]
        status, errors = interrupt(process)
    assert (status, errors) == (0, "")
    history = [line for line in lines if line["closed"]][:5]
    assert lines[:5] == history, "history first"
    for before, after in pairwise(history):
        assert after["open_time"] == before["close_time"] + 1
    assert all(line["event"] == "candle" and line["symbol"] == "BTCUSDT" and line["venue"] == name for line in lines)
    for line in lines:
        assert all(isinstance(line[price], int | float) for price in ("open", "high", "low", "close", "volume"))
        assert line["low"] <= min(line["open"], line["close"]) <= line["high"]
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"], "a look leaves nothing behind"


def test_prices_keep_their_digits(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with piped(tmp_path, "candles", "BTCUSDT", "1m", "--history", "1", "--time", "ms") as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        interrupt(process)
    found = json.loads(line, parse_float=str, parse_int=str)
    theirs = requests.get(
        f"{shared.rest_url}/api/v3/klines",
        params={"symbol": "BTCUSDT", "interval": "1m", "startTime": found["open_time"], "limit": 1},
        timeout=30,
    ).json()[0]
    for index, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
        text = theirs[index]
        assert found[name] == (text.rstrip("0").rstrip(".") if "." in text else text)


def test_times_are_utc_unless_it_is_said(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    for form, pattern in (("utc", r"20\d\d-\d\d-\d\dT\d\d:\d\d:00\.000Z"), ("local", r".*T.*:00\.000-0[45]:00")):
        with piped(tmp_path, "candles", "BTCUSDT", "1m", "--history", "1", "--time", form) as process:
            assert re.fullmatch(pattern, read_json(process)["open_time"])
            interrupt(process)


def test_closed_candles_come_in_order_each_once_over_cuts(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    with piped(tmp_path, "candles", "BTCUSDT", "1s", "--history", "3", "--closed-only", "--time", "ms") as process:
        lines = [read_json(process) for _ in range(5)]
        fault(venue, "refuse_connections", seconds=3)
        fault(venue, "disconnect", mode="rst")
        lines += [read_json(process) for _ in range(8)]
        fault(venue, "stall", seconds=3)
        over_ms = time.time() * 1000 + 5000
        while lines[-1]["open_time"] < over_ms:
            lines.append(read_json(process))
        status, errors = interrupt(process)
    assert status == 0
    assert all(line["closed"] for line in lines)
    assert [after["open_time"] - before["open_time"] for before, after in pairwise(lines)] == [1000] * (len(lines) - 1)
    said = errors.splitlines()
    assert said[0].startswith("binmon candles: reconnecting"), errors
    assert said[-1] == "binmon candles: connected again"


def test_crossings_are_lines_of_their_own(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    fault(venue, "set_price", symbol="BTCUSDT", price="60000")
    with piped(tmp_path, "candles", "BTCUSDT", "1m", "--history", "0", "--above", "66000.5") as process:
        assert read_json(process)["event"] == "candle"
        fault(venue, "set_price", symbol="BTCUSDT", price="70000")
        crossed = _next(process, "price.crossed")
        fault(venue, "set_price", symbol="BTCUSDT", price="60000")
        returned = _next(process, "price.returned")
        status, errors = interrupt(process)
    assert (status, errors) == (0, "")
    expected = {"symbol": "BTCUSDT", "source": "candle", "threshold": 66000.5, "direction": "above"}
    assert crossed.items() >= {**expected, "already": False}.items() and crossed["price"] > 66000.5
    assert returned.items() >= expected.items() and returned["price"] < 66000 and returned["beyond_s"] >= 0


def test_the_high_below_a_line(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with piped(tmp_path, "candles", "BTCUSDT", "1m", "--history", "0", "--below", "1e9", "--price", "high") as process:
        candle, crossed = read_json(process), _next(process, "price.crossed")
        interrupt(process)
    assert crossed["price"] == candle["high"] and crossed["already"] is True and crossed["direction"] == "below"


def test_a_reader_that_goes_away_is_no_error(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with piped(tmp_path, "candles", "BTCUSDT", "1m") as process:
        read_json(process)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == b""
        process.stdout = None


def test_a_reader_that_does_not_read_is_not_waited_for(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with piped(tmp_path, "candles", "BTCUSDT", "1m", "--history", "2000") as process:
        assert process.stdout is not None
        full = 60_000  # of the 65,536 bytes that a pipe holds

        def waiting() -> int:
            return int(struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"1234"))[0])

        end_s = time.monotonic() + 60
        while waiting() < full:
            assert time.monotonic() < end_s
            STOP.wait(0.1)
        # two are enough; on a loaded machine they may come to it as one
        for patience_s in (3, 20, 20, 20):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
                break
        assert process.returncode == 130
        assert process.stderr is not None and process.stderr.read() == b""


def test_sigterm_ends_it_too(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with piped(tmp_path, "candles", "BTCUSDT", "1m") as process:
        read_json(process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")


def test_a_venue_that_is_not_there_is_asked_again(tmp_path: Path) -> None:
    with held_ports() as ports:
        options = SandboxOptions(symbols=("BTCUSDT",), **ports)
        with Sandbox(options) as gone:
            configure(tmp_path, gone)
        with piped(tmp_path, "candles", "BTCUSDT", "1m") as process:
            assert process.stderr is not None
            said = process.stderr.readline().decode()
            assert said.startswith("binmon candles: binance does not answer (http://127.0.0.1:"), said
            assert "asking again in" in said
            with Sandbox(options):
                assert read_json(process)["event"] == "candle"
                status, errors = interrupt(process)
    assert status == 0
    assert errors.endswith("connected again\n") or errors == ""  # said when the next look at it is


def test_an_interruption_while_the_venue_is_asked(tmp_path: Path) -> None:
    with held_ports() as ports:
        with Sandbox(SandboxOptions(symbols=("BTCUSDT",), **ports)) as gone:
            configure(tmp_path, gone)
        with piped(tmp_path, "candles", "BTCUSDT", "1m") as process:
            assert process.stderr is not None
            process.stderr.readline()
            status, errors = interrupt(process)
    assert (status, errors) == (0, "")


# A terminal -------------------------------------------------------------------------------------------------------


def test_in_a_terminal_the_live_candle_moves_in_place(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    fault(venue, "set_price", symbol="BTCUSDT", price="65000")
    arguments = ("candles", "BTCUSDT", "1s", "--history", "4", "--above", "66000", "--below", "64000")
    with terminal(tmp_path, *arguments) as screen:
        shown = screen.until(lambda text: "connected" in text and "not above 66000" in text)
        assert "open time (UTC)" in shown and "not below 64000" in shown
        assert "binance BTCUSDT 1s, sandbox: connected" in shown
        fault(venue, "set_price", symbol="BTCUSDT", price="67000")
        shown = screen.until(lambda text: re.search(r"▲ \d\d:\d\d:\d\d  6[67]\d{3}\S* is above 66000", text))
        screen.until(lambda _: b"\x07" in screen.seen)  # it rings
        assert BOLD_ABOVE.encode() in screen.seen
        rung = screen.seen.count(b"\x07")
        fault(venue, "set_price", symbol="BTCUSDT", price="65000")
        screen.until(lambda text: re.search(r"is back, .* s above 66000", text))
        assert screen.seen.count(b"\x07") == rung, "a return does not ring"
        fault(venue, "set_price", symbol="BTCUSDT", price="63000")
        screen.until(lambda text: "is below 64000" in text)
        assert screen.interrupt() == 0
        # a candle that is over stays: its row is printed once, and not moved over any more
        rows = re.findall(r"^(\d\d:\d\d:\d\d)  +\d", screen.text, re.M)
        assert len(set(rows)) >= 4
        assert max(map(len, screen.text.splitlines())) <= 80
        assert b"\x1b[1A" in screen.seen, "it is updated in place"
        assert "Traceback" not in screen.text


@pytest.mark.parametrize("columns", [30, 200])
def test_narrow_and_wide(columns: int, shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    arguments = ("candles", "BTCUSDT", "1h", "--history", "3", "--price", "low", "--time", "local")
    with terminal(tmp_path, *arguments, columns=columns) as screen:
        shown = screen.until(lambda text: "connected" in text)
        assert screen.interrupt() == 0
    assert max(map(len, screen.text.splitlines())) <= columns
    (heading,) = {line for line in shown.splitlines() if line.startswith("open time (")}
    # "local" of the test is a time zone of its own, five or four hours behind UTC
    assert heading.startswith(("open time (EST)", "open time (EDT)"))
    assert heading.split()[-1] == ("low" if columns == 30 else "trades")


def test_a_break_is_said_and_over_again(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    with terminal(tmp_path, "candles", "BTCUSDT", "1s", "--history", "2") as screen:
        screen.until(lambda text: "sandbox: connected" in text)
        fault(venue, "refuse_connections", seconds=3)
        fault(venue, "disconnect", mode="rst")
        screen.until(lambda text: "reconnecting" in text)
        screen.until(lambda text: "connected" in text.rpartition("reconnecting")[2])
        assert screen.interrupt() == 0
        assert "Traceback" not in screen.text


def test_the_embedded_sandbox_is_started_and_ended(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    with terminal(tmp_path, "candles", "btcusdt", "1d", "--time", "ms") as screen:
        screen.until(lambda text: "sandbox: connected" in text and re.search(r"^1\d{12} ", text, re.M) is not None)
        assert screen.interrupt() == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


def test_json_in_a_terminal(shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    with terminal(tmp_path, "candles", "BTCUSDT", "1m", "--json", columns=500) as screen:
        screen.until(lambda text: text.count('"event":"candle"') > 3)
        assert screen.interrupt() == 0
        assert b"\x1b" not in screen.seen


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["BTCUSDT", "7m"], "INTERVAL: '7m' is no interval of binance, expected one of 1s 1m 3m 5m 15m 30m 1h 2h 4h"),
        (["BTCUSDT", "1s", "--venue", "bybit"], "INTERVAL: '1s' is no interval of bybit, expected one of 1m 3m 5m"),
        (
            ["BTCUSDT", "1m", "--price", "last"],
            "--price: 'last' is no price of a candle, expected one of open high low",
        ),
        (["BTCUSDT", "1m", "--above", "70k"], "--above: expected a number, got '70k'"),
        (["BTCUSDT", "1m", "--below", "nan"], "--below: expected a number, got 'nan'"),
        (["BTCUSDT", "1m", "--below", "0"], "--below: expected a number above 0, got '0'"),
        (["BTCUSDT", "1m", "--above", "1", "--hysteresis-bps", "-1"], "--hysteresis-bps: expected a number from 0 to"),
        (["BTCUSDT", "1m", "--time", "cet"], "--time: 'cet' is no form of time, expected one of utc local ms"),
        (["BTCUSDT", "1m", "--history", "-3"], "--history: expected a whole number from 0 to 5000, got '-3'"),
        (
            ["BTCUSDT", "1m", "--venue", "kraken"],
            "--venue: 'kraken' has no streams to look at, expected one of binance",
        ),
    ],
)
def test_wrong_arguments(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of this is said before anything is started."""
    (tmp_path / "config.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(["candles", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith(f"binmon: {says}") and errors.count("\n") == 1, errors


@pytest.mark.parametrize(
    ("symbol", "says"),
    [
        ("BTCUSTD", "did you mean BTCUSDT"),
        ("NOTHING", "expected a symbol such as BTCUSDT"),
    ],
)
def test_a_symbol_that_the_venue_does_not_list(symbol: str, says: str, shared: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, shared)
    status, lines, errors = run(tmp_path, "candles", symbol, "1m")
    assert (status, lines) == (2, [])
    assert errors.startswith(f"binmon: SYMBOL: '{symbol}' is not listed on binance: {says}"), errors
    assert errors.count("\n") == 1


def test_no_configuration(tmp_path: Path) -> None:
    process = start(tmp_path, "candles", "BTCUSDT", "1m", "-c", "none.yaml", stderr=-1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and b"none.yaml: cannot be read" in errors


def _next(process: Any, event: str) -> dict[str, Any]:
    while (line := read_json(process))["event"] != event:
        continue
    return line
