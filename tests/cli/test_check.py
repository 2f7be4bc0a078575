"""``binmon check``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from binmon.cli.main import main
from binmon.config import Config, config_hash, effective
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.state import State
from binmon.venues import checking
from binmon.venues.checking import Tell


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
    assert document == {
        "file": "config.yaml", "config_hash": config_hash(Config()), "config": effective(Config()), "unused": []
    }  # fmt: skip


def test_what_nothing_is_done_with_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("publish: {sinks: [{kind: log}, {kind: redis}]}\n")
    said = ("publish.sinks[1]", "sinks of kind redis are not part of this version")
    assert main(["check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"# unused: {said[0]}: {said[1]}"
    assert main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unused"] == [{"key": said[0], "reason": said[1]}]
    Path("old.yaml").write_text("")
    assert main(["plan", "--against", "old.yaml"]) == 0
    assert f"# unused: {said[0]}: {said[1]}" in capsys.readouterr().out.splitlines()


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


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("/nonexist/a.log", "No such file or directory"),
        ("file/a.log", "Not a directory"),
        ("directory", "Is a directory"),
        ("dangling", "No such file or directory"),
        ("directory/new.log", None),
        ("file", None),
        ("pipe", None),
        ("/dev/null", None),
    ],
)
def test_a_log_file_as_run_would_have_it(file: str, why: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("before")
    Path("directory").mkdir()
    os.mkfifo("pipe")
    Path("dangling").symlink_to("/nonexist/b.log")
    Path("config.yaml").write_text(f"logging: {{file: {file}}}")
    status, said = main(["check"]), capsys.readouterr().err
    if why is None:
        assert (status, said) == (0, "")
    else:
        problem = f"expected a file that can be written, but '{file}' cannot: {why}"
        assert (status, said) == (2, f"binmon: config.yaml:1: logging.file: {problem}\n")
        assert main(["run"]) == 2 and capsys.readouterr().err == said, "the same words"
    assert Path("file").read_text() == "before" and list(Path("directory").iterdir()) == [], "no file is left behind"


def test_a_state_database_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("state: {path: notes.txt}")
    Path("notes.txt").write_text("this is no database at all, and longer than the head of one would be")
    assert main(["check"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("state.path: notes.txt: expected a writable SQLite file: file is not a database\n")
    assert main(["run", "--log-format", "json"]) == 2 and capsys.readouterr().err == said
    Path("notes.txt").unlink()
    State(Path("notes.txt")).close()
    assert main(["check"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency: {enabled: true}", "latency.enabled: the addresses are those of production"),
        ("latency: {symbol: ETHUSDT}", "latency.enabled: the addresses are those of production"),
        ("", None),  # nobody has asked for orders: run says that it times none, and goes on
    ],
)
def test_orders_that_may_not_be_timed(text: str, said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    key = "{environment: production, api_key: a, api_secret: b}"
    Path("config.yaml").write_text(f"venues: {{binance: {key}}}\n{text}\n")
    assert main(["check"]) == (0 if said is None else 2)
    assert (said or "") in capsys.readouterr().err
    assert [one.name for one in Path.cwd().iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(("problems", "status"), [([], 0), (["binance rest: refused", "clock: 3 s off"], 3)])
def test_connect(
    problems: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check_connection(config: Config, tell: Tell) -> list[str]:
        tell("binance: REST answers")
        return problems

    monkeypatch.setattr(checking, "check_connection", check_connection)
    assert main(["check", "--connect", "--json"]) == status
    out, err = capsys.readouterr()
    assert json.loads(out)["problems"] == problems
    assert json.loads(out)["tried"] == ["binance: REST answers"]
    assert err.splitlines() == problems
    assert main(["check", "--connect"]) == status
    out, err = capsys.readouterr()
    assert out.endswith("\n# tried:\n#   binance: REST answers\n") and yaml.safe_load(out)["venues"]
    assert err.splitlines() == problems
    assert main(["check", "--json"]) == 0
    assert "tried" not in json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), seed=4)) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "rest", "mode": "slow", "delay_s": 4, "path": "time", "count": 1}, 0),
        ({"kind": "clock_skew", "ms": 5000}, 3),
    ],
)
def test_a_clock_is_wrong_beyond_what_the_way_leaves_open(
    fault: dict[str, object], status: int, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    said = sandbox.ready()
    config = {
        "venues": {"binance": {"endpoints": {name: said[name] for name in ("rest", "stream", "ws_api")}}},
        "latency": {"enabled": False},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    requests.post(f"{sandbox.rest_url}/sandbox/faults", json=fault, timeout=20).raise_for_status()
    try:
        assert main(["check", "--connect", "--json"]) == status
    finally:
        requests.post(f"{sandbox.rest_url}/sandbox/faults", json={"kind": "clear"}, timeout=20).raise_for_status()
    found = json.loads(capsys.readouterr().out)
    assert [line.split(":")[0] for line in found["problems"]] == ["clock"] * (status == 3)
    assert " ±" in found["tried"][0]


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_what_was_tried_is_said(venue: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    said, prefix = sandbox.ready(), "bybit_" if venue == "bybit" else ""
    names = ("rest", "stream", "ws_api") if venue == "binance" else ("rest", "public_stream", "private_stream")
    section = {name: said[prefix + name] for name in ("api_key", "api_secret")}
    section["endpoints"] = {name: said[prefix + name] for name in names}
    config = {
        "venues": {venue: section},
        "books": {"venue": [{"venue": venue, "symbols": ["BTCUSDT", "ETHUSDT"]}]},
        "watch": {"trades": [{"venue": venue, "symbol": "BTCUSDT", "above": 1}]},
        "latency": {"venue": venue, "symbol": "BTCUSDT"},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", "--connect", "--json"]) == 0
    out, err = capsys.readouterr()
    connection, *key = json.loads(out)["tried"]
    assert err == "" and said[prefix + "api_secret"] not in out
    for part in (
        f"{venue}: REST answers at {said[prefix + 'rest']}, clock ",
        " ms from ours, 2 symbols of books are listed, 1 symbol of watch is listed, streams answer at ws://",
    ):
        assert part in connection
    assert key[0] == f"{venue}: key accepted, and it may trade"
    assert "an order for BTCUSDT" in key[1] and "was not placed" in key[1]
    assert key[2].startswith(f"{venue}: the user-data stream takes a subscription at ws://")
    config["latency"] = {"enabled": False}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", "--connect", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tried"][1:] == [key[0], key[2]]  # without an order


def test_a_venue_that_does_not_answer_is_said_to_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text(
        "venues: {binance: {endpoints: {rest: 'http://127.0.0.1:1', stream: 'ws://127.0.0.1:1'}}}\nlatency: {enabled: false}"
    )
    assert main(["check", "--connect", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["tried"] == ["binance: nothing answers as it should"] and len(document["problems"]) == 2


def test_the_embedded_sandbox_is_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("")
    assert main(["check", "--connect"]) == 0
    assert "#   binance: is the embedded sandbox, which starts with the daemon" in capsys.readouterr().out
