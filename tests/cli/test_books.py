"""``binmon books`` in a terminal, and what its command line forgives."""

from __future__ import annotations

from pathlib import Path

import pytest

from binmon.cli.main import main
from tests.cli.looks import terminal
from tests.recorder.market import recorded


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return recorded(tmp_path / "data")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (50, ["venue", "symbol", "date", "rows", "covered"]),
        (80, ["venue", "symbol", "date", "rows", "first", "covered", "gaps"]),
        (120, ["venue", "symbol", "date", "rows", "first", "last", "covered", "epochs", "gaps", "files", "size"]),
    ],
)
def test_ls_leaves_columns_out_and_cuts_nothing(directory: Path, columns: int, words: list[str]) -> None:
    with terminal(directory.parent, "books", "ls", str(directory), columns=columns) as screen:
        assert screen.finish() == 0
        head, row = [line for line in screen.text.splitlines() if line]
    assert head.split() == words
    assert row.split()[:3] == ["binance", "BTCUSDT", "2026-01-02"] and "100.000 %" in row and "…" not in row
    assert ("12:00:00.100Z" in row) is ("first" in words)


@pytest.mark.parametrize(
    "words", [("show", "btcusdt"), ("show", "btcusdt", "--venue", "binance"), ("export", "btcUSDT")]
)
def test_a_symbol_may_be_in_lower_case(
    directory: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["books", *words, str(directory)]) == 0
    assert "BTCUSDT" in capsys.readouterr().out


def test_what_is_recorded_in_no_case(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("show", "export"):
        assert main(["books", action, "xrpusdt", str(directory)]) == 2
        assert "no symbol xrpusdt" in capsys.readouterr().err


def test_the_help_of_json_says_what_comes_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    for action, default in (("ls", "a table"), ("show", "a table"), ("verify", "a table"), ("export", "CSV")):
        assert main(["books", action, "--help"]) == 0
        text = capsys.readouterr().out.partition("--json ")[2].partition("  --")[0]
        assert f"(default: {default})" in " ".join(text.split())
