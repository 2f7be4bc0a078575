from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from binmon.cli.main import main
from binmon.messages import BookEventKind
from tests.recorder.market import NOON, Market, make_recorder, recorded


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return recorded(tmp_path / "data")


def rows() -> list:
    market = Market()
    return [market.next() for _ in range(4)]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["books", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_ls(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "ls", directory)
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split()[:4] == ["binance", "BTCUSDT", "2026-01-02", "4"]
    status, out, _ = run(capsys, "ls", directory, "--json")
    assert json.loads(out)[0]["rows"] == 4


def test_show(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "show", "BTCUSDT", directory, "--levels", 3)
    newest = rows()[-1]
    assert (status, err) == (0, "")
    assert f"update {newest.update_id}  epoch 1" in out and "spread" in out and "known to" in out
    levels = [line for line in out.splitlines() if "█" in line]
    assert len(levels) == 3
    assert str(newest.bid_price[0]) in levels[0] and str(newest.ask_price[0]) in levels[0]


def test_show_as_of(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_rows = rows()
    _, out, _ = run(capsys, "show", "BTCUSDT", directory, "--json", "--at", "2026-01-02T12:00:00.250Z")
    shown = json.loads(out)
    assert shown["update_id"] == all_rows[1].update_id and shown["bid_price"] == all_rows[1].bid_price[:15].tolist()
    _, out, _ = run(capsys, "show", "BTCUSDT", directory, "--json", "--update-id", all_rows[2].update_id)
    assert json.loads(out)["receive_time_ns"] == all_rows[2].receive_time_ns


def test_export(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_rows = rows()
    status, out, _ = run(capsys, "export", "BTCUSDT", directory, "--to", "csv", "--levels", 2)
    lines = list(csv.DictReader(io.StringIO(out)))
    assert status == 0 and len(lines) == 4 * 2 * 2
    assert (lines[1]["side"], lines[1]["level"]) == ("bid", "1")
    assert float(lines[1]["quantity"]) == all_rows[0].bid_quantity[1]
    status, out, _ = run(capsys, "export", "BTCUSDT", directory, "--to", "jsonl")
    documents = [json.loads(line) for line in out.splitlines()]
    assert [document["update_id"] for document in documents] == [row.update_id for row in all_rows]
    assert documents[3]["ask_price"] == all_rows[3].ask_price.tolist()


def test_verify(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "verify", directory)
    lines = out.splitlines()
    assert status == 0 and lines[-1] == "sound"
    assert lines[0].split() == [
        "venue",
        "symbol",
        "date",
        "rows",
        "first",
        "last",
        "covered",
        "epochs",
        "gaps",
        "files",
        "size",
    ]
    expected = [
        "binance",
        "BTCUSDT",
        "2026-01-02",
        "4",
        "12:00:00.100Z",
        "12:00:00.400Z",
        "100.000",
        "%",
        "1",
        "0",
        "1",
    ]
    assert lines[1].split()[:10] == expected[:10]
    (path,) = (directory / "books").rglob("*.parquet")
    path.with_name(f"20270101T000000.0Z-1-1-e1{path.suffix}").write_bytes(path.read_bytes())
    status, out, _ = run(capsys, "verify", directory)
    assert status == 3 and "update_id: binance BTCUSDT" in out
    status, out, _ = run(capsys, "verify", directory, "--json")
    assert status == 3 and json.loads(out)["breaches"][0]["rule"] == "update_id"
    path.write_bytes(b"nothing")
    status, out, _ = run(capsys, "verify", directory)
    assert status == 3 and "unreadable" in out
    status, out, _ = run(capsys, "verify", directory, "--json")
    document = json.loads(out)
    assert [breach["path"] for breach in document["breaches"]] == [str(path)]
    assert [(day["rows"], day["files"]) for day in document["coverage"]] == [(4, 1)], "the rest is told"


def test_verify_tells_what_is_covered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    for message in (
        *(market.next() for _ in range(3)),  # 0.2 s
        market.event(BookEventKind.DISCONNECT),
        market.next(step_ns=600_000_000, resync=True),  # not covered
        market.next(step_ns=200_000_000),
        market.event(BookEventKind.GAP),
    ):
        recorder.accept(message)
    recorder.flush(NOON)
    recorder.close_segment()
    capsys.readouterr()  # the recorder's log
    status, out, _ = run(capsys, "verify", tmp_path, "--json")
    (day,) = json.loads(out)["coverage"]
    assert status == 0 and (day["epochs"], day["gaps"], day["rows"]) == (2, 1, 5)
    assert day["covered"] == pytest.approx(0.4)
    assert day["last_ns"] - day["first_ns"] == 10**9


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ls", "/nowhere"], "no recordings in /nowhere"),
        (["show", "XRPUSDT"], "no symbol XRPUSDT in"),
        (["show", "XRPUSDT"], "recorded are binance BTCUSDT"),
        (["show", "BTCUSDT", "--venue", "bybit"], "no symbol BTCUSDT of bybit in"),
        (["show", "BTCUSDT", "--venue", "nope"], "recorded are binance BTCUSDT"),
        (["show", "BTCUSDT", "--at", "2020-01-01"], "as old as that"),
        (["export", "BTCUSDT", "--json", "--to", "csv"], "--json and --to csv exclude each other"),
        (["show", "BTCUSDT", "--at", "noon"], "expected a time such as"),
        (["show", "BTCUSDT", "--levels", "0"], "argument --levels: expected a whole number of at least 1, got '0'"),
        (["export", "BTCUSDT", "--levels", "x"], "argument --levels: expected a whole number of at least 1, got 'x'"),
        (["export", "XRPUSDT"], "recorded are binance BTCUSDT"),
        (["frobnicate"], "invalid choice"),
        (["show"], "SYMBOL"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    directory: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    place = [] if "/nowhere" in words or words == ["show"] or words == ["frobnicate"] else [directory]
    status, out, err = run(capsys, *words, *place)
    assert (status, out) == (2, "")
    assert expected in err.splitlines()[-1]


def test_the_directory_of_the_configuration(
    directory: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"recorder: {{directory: {directory}}}\n")
    for words in (["ls", "--json", "-c", file], ["-c", file, "ls", "--json"]):
        status, out, _ = run(capsys, *words)
        assert status == 0 and json.loads(out)[0]["symbol"] == "BTCUSDT", words
