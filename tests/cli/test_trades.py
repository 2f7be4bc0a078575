"""``binmon trades`` as a person and a program use it, against the local exchange over real sockets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from binmon.cli.main import main
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.cli.looks import configure, fault, interrupt, piped, read_json, run, terminal

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), weight_limit=10_000_000)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_each_trade_is_a_line_once_over_a_cut(name: str, venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    with piped(tmp_path, "trades", "BTCUSDT", "--time", "ms", "--venue", name) as process:
        lines = [read_json(process) for _ in range(10)]
        fault(venue, "disconnect", mode="abrupt", venue=name)
        lines += [read_json(process) for _ in range(10)]
        status, _ = interrupt(process)
    assert status == 0
    assert all(line["event"] == "trade" and line["side"] in ("buy", "sell") and line["quantity"] > 0 for line in lines)
    assert all(after["trade_id"] > before["trade_id"] for before, after in pairwise(lines))
    assert all(after["time"] >= before["time"] for before, after in pairwise(lines))


def test_a_crossing_is_a_line_of_its_own(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    fault(venue, "set_price", symbol="BTCUSDT", price="65000")
    with piped(tmp_path, "trades", "BTCUSDT", "--below", "60000") as process:
        while read_json(process)["price"] < 60500:
            continue
        fault(venue, "set_price", symbol="BTCUSDT", price="50000")
        while (line := read_json(process))["event"] == "trade":
            continue
        status, errors = interrupt(process)
    assert (status, errors) == (0, "")
    expected = {
        "event": "price.crossed",
        "venue": "binance",
        "source": "trade",
        "threshold": 60000,
        "direction": "below",
    }
    assert line.items() >= expected.items() and line["price"] < 60000


def test_in_a_terminal(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    fault(venue, "set_price", symbol="BTCUSDT", price="65000")
    with terminal(tmp_path, "trades", "btcusdt", "--above", "66000", columns=60) as screen:
        shown = screen.until(
            lambda text: "not above 66000" in text and re.search(r"\d\d:\d\d:\d\d\.\d{3}  (buy|sell)", text)
        )
        assert "time (UTC)" in shown and "binance BTCUSDT trades, sandbox: connected" in shown
        assert b"\x07" not in screen.seen
        fault(venue, "set_price", symbol="BTCUSDT", price="67000")
        screen.until(lambda text: re.search(r"▲ \d\d:\d\d:\d\d  6[67]\d{3}\S* is above 66000", text))
        screen.until(lambda text: "▲ above 66000" in text)
        screen.until(lambda _: b"\x07" in screen.seen and b"\x1b[32m" in screen.seen)
        assert screen.interrupt() == 0
        assert max(map(len, screen.text.splitlines())) <= 60
        assert "Traceback" not in screen.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["BTCUSDT", "--above", "high"], "--above: expected a number, got 'high'"),
        (["BTCUSDT", "--below", "inf"], "--below: expected a number, got 'inf'"),
        (["BTCUSDT", "--time", "iso"], "--time: 'iso' is no form of time, expected one of utc local ms"),
        (["BTC-USDT", "--venue", "okx"], "--venue: 'okx' has no streams to look at, expected one of binance bybit"),
        (["BTCUSDT", "--venue", "nyse"], "--venue: 'nyse' has no streams to look at, expected one of binance bybit"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(["trades", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors == f"binmon: {says}\n"


def test_an_unknown_symbol(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue)
    status, lines, errors = run(tmp_path, "trades", "ETHUSTD", "--venue", "bybit")
    assert (status, lines) == (2, [])
    assert errors.startswith("binmon: SYMBOL: 'ETHUSTD' is not listed on bybit: did you mean ETHUSDT")
