"""``binmon check``."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import yaml

from binmon.cli.main import main
from binmon.config import Config, config_hash, effective


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET", "BYBIT_API_KEY", "BYBIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    Path("config.yaml").write_text("venues: {binance: {api_secret: hunter2}}\n")
    return tmp_path


def test_prints_what_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "hunter2" not in out
    values = yaml.safe_load(out)
    assert values["venues"]["binance"]["api_secret"] == "***"
    assert values["books"] == effective(Config())["books"]
    assert not Path("data").exists()  # a check leaves nothing behind


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("")
    assert main(["check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"file": "config.yaml", "config_hash": config_hash(Config()), "config": effective(Config())}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "recorder: {directory: file/x}",
            "config.yaml: recorder.directory: expected a directory that can be written, but 'file/x' cannot:"
            " Not a directory",
        ),
        (
            "state: {path: file/state.db}",
            "config.yaml: state.path: expected a directory that can be written, but 'file' cannot: Not a directory",
        ),
        ("state: {path: directory}", "config.yaml: state.path: expected a file, but directory is a directory"),
    ],
)
def test_places_that_cannot_be_written(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    Path("directory").mkdir()
    Path("config.yaml").write_text(text)
    assert main(["check"]) == 2
    assert capsys.readouterr().err == f"binmon: {said}\n"


@pytest.mark.parametrize(("problems", "status"), [([], 0), (["binance rest: refused", "clock: 3 s off"], 3)])
def test_connect(
    problems: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checking = types.ModuleType("binmon.venues.checking")
    checking.check_connection = lambda config: problems  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "binmon.venues.checking", checking)
    assert main(["check", "--connect", "--json"]) == status
    out, err = capsys.readouterr()
    assert json.loads(out)["problems"] == problems
    assert err.splitlines() == problems
