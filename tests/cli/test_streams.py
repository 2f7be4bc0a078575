"""Standard streams that are full, closed, without a reader, or of another encoding: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from binmon.cli import order
from binmon.state import State
from binmon.telemetry.output import ESCAPE
from tests.cli.looks import WITHIN_S, redirected, start, terminal
from tests.cli.selling import PATIENT, Commands
from tests.execution.floor import Exchange, exchange
from tests.recorder.market import recorded

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
BUY = ("order", "buy", "BTCUSDT", "--quantity", "0.001", "--yes")
FULL = "binmon: standard output: No space left on device\n"
CLOSED = "binmon: standard output is closed\n"
ALONE = {
    "latency": {"enabled": False},
    "dashboard": {"enabled": False},
    "books": {"symbols": ["BTCUSDT"]},
    "logging": {"file": "run.log"},
}
"""Of a daemon that disturbs nobody."""


@pytest.fixture(scope="module")
def venues() -> Iterator[Exchange]:
    with exchange(bybit_symbols=("BTCUSDT",)) as made:
        yield made


@pytest.fixture
def directory(venues: Exchange, tmp_path: Path) -> Path:
    """Where there is something to print for every command."""
    venues.config(tmp_path, execution=PATIENT)
    State(tmp_path / "state.db").close()
    recorded(tmp_path / "data")
    return tmp_path


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """To people; the log comes in lines of JSON."""
    return "".join(line for line in done.stderr.decode().splitlines(keepends=True) if not line.startswith("{"))


# Output that is not taken ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("check",),
        ("plan", "--against", "config.yaml"),
        ("latency",),
        ("latency", "--json"),
        ("price", "BTCUSDT"),
        ("price", "BTCUSDT", "--json"),
        ("order", "history"),
        ("balances",),
        ("candles", "BTCUSDT", "1s"),
        ("trades", "BTCUSDT"),
        ("symbols",),
        ("users", "list"),
        ("completion", "bash"),
        ("books", "ls"),
        ("books", "show", "BTCUSDT"),
        ("books", "export", "BTCUSDT"),
        ("books", "verify", "--json"),
    ],
)
def test_a_full_output_is_one_line(directory: Path, words: tuple[str, ...]) -> None:
    done = redirected(directory, ">/dev/full", *words)
    assert (done.returncode, said(done)) == (1, FULL)


@pytest.mark.parametrize("words", [("price", "BTCUSDT"), ("check",), ("books", "ls"), (*BUY, "--json")])
def test_a_closed_output_is_said_before_anything_is_done(
    directory: Path, venues: Exchange, words: tuple[str, ...]
) -> None:
    traded = venues.traded()
    done = redirected(directory, ">&-", *words)
    assert (done.returncode, done.stderr.decode()) == (1, CLOSED)
    assert venues.traded() == traded
    assert redirected(directory, ">&-", "nonsense").returncode == 2, "what is wrong comes first"


@pytest.mark.parametrize("words", [("price", "BTCUSDT"), ("books", "export", "BTCUSDT"), ("--help",)])
def test_a_reader_that_has_gone_is_no_fault(directory: Path, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with start(directory, *words, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        errors = process.communicate(timeout=WITHIN_S)[1].decode()
    assert process.returncode == 1 and [line for line in errors.splitlines() if not line.startswith("{")] == []


# Orders ---------------------------------------------------------------------------------------------------------------


def test_what_came_of_an_order_is_said_when_it_cannot_be_written(directory: Path, venues: Exchange) -> None:
    traded = venues.traded()
    done = redirected(directory, ">/dev/full", *BUY, "--json", "--id", "mine-1", "--venue", "bybit")
    [row] = [row for name, row in venues.orders("bybit").items() if name == "mine-1"]
    assert venues.traded() == traded + 1
    assert (done.returncode, said(done)) == (
        1,
        f"binmon: bybit mine-1: filled (status FILLED, order {row['orderId']}); this result cannot be written to standard "
        "output: No space left on device\n",
    )


def test_what_cannot_be_shown_is_not_sent(directory: Path, venues: Exchange) -> None:
    traded = venues.traded()
    done = redirected(directory, ">/dev/full", *BUY)
    assert (done.returncode, said(done)) == (1, FULL)
    reader, writer = os.pipe()
    os.close(reader)
    with start(directory, *BUY, "--json", stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        errors = process.communicate(timeout=WITHIN_S)[1].decode()
    assert process.returncode == 1 and "binmon order: nothing was sent: nobody reads standard output" in errors
    assert venues.traded() == traded


def test_a_reader_that_goes_after_an_order_was_sent(
    venues: Exchange, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*given: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(order, "show_sent", gone)
    binmon, traded = Commands(venues, tmp_path, capsys, monkeypatch), venues.traded()
    status, _, err = binmon(*BUY, "--id", "mine-2")
    assert status == 1 and "mine-2: filled (status" in err and "nobody reads it" in err and err.count("\n") == 1
    assert venues.traded() == traded + 1


# Standard error -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_without_standard_error_the_result_comes_all_the_same(
    directory: Path, venues: Exchange, redirection: str
) -> None:
    done = redirected(directory, redirection, "price", "BTCUSDT", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["best"]
    traded = venues.traded()
    done = redirected(directory, redirection, *BUY, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["orders"][0]["end"] == "filled"
    assert venues.traded() == traded + 1
    assert redirected(directory, redirection, "price", "nonsense").returncode == 2


def test_all_closed(directory: Path) -> None:
    assert redirected(directory, "<&- >&- 2>&-", "price", "BTCUSDT").returncode == 1


# The daemon -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirection", "errors"),
    [(">&-", ""), (">/dev/full", "binmon: the log cannot be written: standard output: No space left on device\n")],
)
def test_the_daemon_does_without_an_output(venues: Exchange, tmp_path: Path, redirection: str, errors: str) -> None:
    venues.config(tmp_path, **ALONE)
    log = tmp_path / "run.log"
    if redirection == ">&-":
        streams: dict[str, Any] = {"preexec_fn": lambda: os.close(1)}
    else:
        streams = {"stdout": os.open("/dev/full", os.O_WRONLY)}
    with start(tmp_path, "run", stderr=subprocess.PIPE, **streams) as process:
        try:
            end_s = time.monotonic() + WITHIN_S
            while not (log.exists() and "daemon.started" in log.read_text()):
                assert time.monotonic() < end_s and process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            found = process.communicate(timeout=WITHIN_S)[1].decode()
        finally:
            process.kill()
            if "stdout" in streams:
                os.close(streams["stdout"])
    assert (process.returncode, found) == (0, errors)
    assert "daemon.stopped" in log.read_text()


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_no_color_is_heeded(venues: Exchange, tmp_path: Path, environment: dict[str, str], coloured: bool) -> None:
    venues.config(tmp_path, **ALONE | {"logging": {"level": "info"}})
    with terminal(tmp_path, "run", environment=environment) as screen:
        screen.until(lambda text: "daemon.started" in text)
        assert screen.interrupt() == 0
        assert (b"\x1b[" in screen.seen) is coloured


# Encodings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({"PYTHONIOENCODING": "latin1"}, "latin1"),
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "ascii"),
        ({"PYTHONIOENCODING": "utf-8"}, "utf-8"),
    ],
)
def test_json_is_the_same_in_every_encoding(tmp_path: Path, environment: dict[str, str], encoding: str) -> None:
    name = "dät\U0001f600这"
    (tmp_path / "config.yaml").write_text(f"recorder: {{directory: {name}}}\n", encoding="utf-8")
    done = redirected(tmp_path, "", "check", "--json", environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["config"]["recorder"]["directory"] == name
    recorded(tmp_path / "data")
    done = redirected(tmp_path, "", "books", "show", "BTCUSDT", "data", environment=environment)
    assert done.returncode == 0 and done.stdout.decode(encoding).count("\n") > 4
    done = redirected(tmp_path, "", "books", "ls", environment=environment)
    assert done.returncode == 2 and done.stderr.decode(encoding).startswith("binmon books: no recordings in d")


def test_an_escape_is_the_same_text_in_json() -> None:
    text = "é \U0001f600 这 \udcff"
    for encoding in ("ascii", "latin1", "utf-8"):
        escaped = f'"{text}"'.encode(encoding, ESCAPE)
        assert json.loads(escaped.decode(encoding)) == text
    assert "é".encode("latin1", ESCAPE) == b"\xe9" and "é".encode("ascii", ESCAPE) == b"\\u00e9"
