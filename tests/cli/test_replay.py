"""``binmon replay``: what it prints, and its exit statuses."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.cli.main import main
from tests.incidents.scene import EXCERPT, written
from tests.incidents.test_replay import run_on, started


@pytest.fixture(autouse=True)
def logs_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("binmon.telemetry.logging.set_up", lambda *options: None)
    with capture_logs():
        yield


@pytest.fixture
def incident(tmp_path: Path) -> Path:
    """A gap of one of two books."""
    scene, markets = started("AUSDT", "BUSDT", keep_s=3.0)
    run_on(scene, markets, 6)
    markets["AUSDT"].move()
    scene.deliver(markets["AUSDT"].move())
    scene.answer(markets["AUSDT"].snapshot())
    run_on(scene, markets, 2.5)
    return written(scene.incident() or pytest.fail("no incident"), tmp_path)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_table(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(incident)]) == 3
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"# {incident}: gap of AUSDT on binance at 20")
    assert lines[1].startswith("# expected update ")
    (gap,) = [line for line in lines if " ! AUSDT" in line]
    assert gap.split()[3] == "gap" and ", got " in gap
    assert any("AUSDT" in line and "synced -> waiting_for_snapshot: gap, update " in line for line in lines)
    assert any(line.startswith("BUSDT") and line.endswith("yes") for line in lines)
    assert lines[-1].endswith("1 problem, marked with !")


def test_json_lines(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(incident), "--json"]) == 3
    lines = json_lines(capsys.readouterr().out)
    assert [lines[0]["event"], lines[-1]["event"]] == ["head", "end"]
    assert lines[0]["incident"]["subject"] == "AUSDT" and lines[0]["symbols"] == ["AUSDT", "BUSDT"]
    assert lines[-1]["problems"] == 1 and lines[-1]["complete"] is True
    assert {"trigger", "started", "state", "gap", "book"} <= {line["event"] for line in lines}
    books = {line["symbol"]: line for line in lines if line["event"] == "book"}
    assert books["AUSDT"]["gaps"] == 1 and [move["to"] for move in books["AUSDT"]["moves"]] == [
        "waiting_for_snapshot", "synced",
    ]  # fmt: skip


def test_symbols(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(incident), "--json", "--symbol", "busdt"]) == 0
    lines = json_lines(capsys.readouterr().out)
    assert [line["symbol"] for line in lines if line["event"] == "book"] == ["BUSDT"]
    assert main(["replay", str(incident), "--symbol", "AUSDT", "--symbol", "BUSDT"]) == 3
    capsys.readouterr()
    assert main(["replay", str(incident), "--symbol", "CUSDT"]) == 2
    assert capsys.readouterr().err == "binmon: expected a symbol of the file (AUSDT, BUSDT), got 'CUSDT'\n"


def test_a_recording(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(EXCERPT)]) == 0
    out = capsys.readouterr().out
    assert "BTCUSDT  synced" in out and "61849.49 x 4.80911" in out and out.endswith("no problems\n")


def test_a_file_that_is_cut_short_is_replayed_as_far_as_it_goes(
    incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.tsv.gz"
    path.write_bytes(incident.read_bytes()[:-100])
    assert main(["replay", str(path), "--json"]) == 1
    out, err = capsys.readouterr()
    lines = json_lines(out)
    assert lines[-1]["complete"] is False and [line for line in lines if line["event"] == "book"]
    assert err.startswith(f"binmon: {path}: expected a whole file, but it is cut short after line ")
    assert err.count("\n") == 1
    packed = EXCERPT.read_bytes()
    path.write_bytes(packed[: len(packed) // 2])
    assert main(["replay", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "the file is cut short" in out and err.count("\n") == 1


@pytest.mark.parametrize("make", ["missing", "directory", "text", "garbage", "futures", "other venue"])
def test_other_files_are_a_wrong_command_line(make: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    futures = b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"pu":0}}'
    contents = {
        "text": b"hello\nworld\n",
        "garbage": bytes(range(256)) * 40,
        "futures": b"1\tws\t" + futures + b"\n",
        "other venue": b'1\tws\t{"topic":"orderbook.200.BTCUSDT"}\n',
    }
    if make == "directory":
        path.mkdir()
    elif make in contents:
        path.write_bytes(contents[make])
    assert main(["replay", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"binmon: {path}: expected a") and err.count("\n") == 1


def test_a_venue_whose_books_cannot_be_replayed(
    incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.tsv"
    path.write_bytes(gzip.decompress(incident.read_bytes()).replace(b'"venue":"binance"', b'"venue":"elsewhere"', 1))
    assert main(["replay", str(path)]) == 2
    assert capsys.readouterr().err == "binmon: expected a recording of binance or bybit, got one of 'elsewhere'\n"


def test_the_pace(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began_s = time.monotonic()
    assert main(["replay", str(incident), "--speed", "10"]) == 3
    assert time.monotonic() - began_s >= 0.5, "some six seconds, ten times as fast"
    for speed in ("-1", "fast", "inf", "nan"):
        assert main(["replay", str(incident), "--speed", speed]) == 2
        assert "expected a number from 0" in capsys.readouterr().err


def test_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay"]) == 2
    assert main(["replay", "--help"]) == 0
    assert "Exit status 3" in capsys.readouterr().out
