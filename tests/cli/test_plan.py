"""``binmon plan``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from binmon.cli.main import main
from binmon.config import load
from binmon.config.plan import Started
from binmon.config.running import note_running
from binmon.state import State

RUNNING = "venues: {binance: {api_secret: hunter2}}\nbooks: {symbols: [BTCUSDT, ETHUSDT]}\n"
NEW = """\
venues: {binance: {api_secret: hunter3}}
books: {symbols: [BTCUSDT, SOLUSDT], depth: 100}
latency: {threshold_ms: 700}
"""
SYMBOLS = "# symbols are not checked here, and unknown ones are refused: binmon check --connect asks the venues"


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET", "BYBIT_API_KEY", "BYBIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    Path("config.yaml").write_text(RUNNING)
    Path("new.yaml").write_text(NEW)
    return tmp_path


def note() -> str:
    """As a daemon that runs config.yaml does."""
    state, loaded = State(Path("data/state.db")), load(Path("config.yaml"), {})
    note_running(state, loaded)
    note_running(state, loaded)
    state.close()
    return loaded.config_hash


def test_against_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-c", "new.yaml", "--against", "config.yaml"]) == 0
    out, err = capsys.readouterr()
    hash_of = load(Path("config.yaml"), {}).config_hash
    assert err == "" and "hunter" not in out
    assert out.splitlines() == [
        f"# new.yaml against config.yaml (hash {hash_of})",
        "applied by a reload:",
        "  books.symbols: + SOLUSDT, - ETHUSDT",
        "  latency.threshold_ms: 5000 -> 700",
        "needs a restart:",
        "  venues.binance.api_secret: another value (not shown)",
        "  books.depth: 5000 -> 100",
        SYMBOLS,
    ]
    assert not Path("data").exists()  # a plan leaves nothing behind


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-c", "new.yaml", "--against", "config.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "hunter" not in str(document) and document["secrets_compared"] is True
    assert document["live"] == [
        {
            "key": "books.symbols",
            "old": ["BTCUSDT", "ETHUSDT"],
            "new": ["BTCUSDT", "SOLUSDT"],
            "added": ["SOLUSDT"],
            "removed": ["ETHUSDT"],
        },
        {"key": "latency.threshold_ms", "old": 5000, "new": 700, "added": [], "removed": []},
    ]
    assert [one["key"] for one in document["restart"]] == ["venues.binance.api_secret", "books.depth"]
    assert document["file"] == "new.yaml" and document["against"]["file"] == "config.yaml"


def test_a_daemon_has_the_venues_that_it_was_started_with(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("books: {venue: bybit, symbols: [BTCUSDT]}\n")
    state = State(Path("data/state.db"))
    note_running(state, load(Path("config.yaml"), {}), Started({"bybit", "okx"}, {"bybit"}))
    state.close()
    rule = "watch: {trades: [{venue: %s, symbol: BTCUSDT, above: 1}]}\n"
    for books, watched, expected in [
        ("bybit", "bybit", ["applied by a reload:"]),
        ("bybit", "binance", ["needs a restart:"]),  # though latency.venue is binance where nothing is said
        ("okx", "bybit", ["applied by a reload:"]),  # it was there at the start, and a reload has let it go
        ("kraken", "bybit", ["applied by a reload:", "needs a restart:"]),
    ]:
        symbol = {"okx": "BTC-USDT", "kraken": "BTC/USDT"}.get(books, "BTCUSDT")
        Path("config.yaml").write_text(f"books: {{venue: {books}, symbols: ['{symbol}']}}\n" + rule % watched)
        assert main(["plan"]) == 0
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if line.endswith(":")] == expected, out


def test_a_file_that_says_nothing_of_timing_is_no_reason_to_have_its_venue(capsys: pytest.CaptureFixture[str]) -> None:
    books = "books: {venue: bybit, symbols: [BTCUSDT]}\n"
    Path("running.yaml").write_text(books)
    Path("config.yaml").write_text(books + "watch: {trades: [{venue: binance, symbol: BTCUSDT, above: 1}]}\n")
    assert main(["plan", "--against", "running.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "needs a restart:" and lines[2].startswith("  watch.trades: + ")


def test_against_what_the_daemon_has_noted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hash_of = note()
    Path("config.yaml").write_text(NEW)  # edited in place, as most do
    assert main(["plan"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"# config.yaml against {tmp_path}/config.yaml (hash {hash_of}, noted at 20")
    assert lines == [
        "applied by a reload:",
        "  books.symbols: + SOLUSDT, - ETHUSDT",
        "  latency.threshold_ms: 5000 -> 700",
        "needs a restart:",
        "  books.depth: 5000 -> 100",
        SYMBOLS,
        "# secrets were not compared, as the daemon does not note them: --against FILE does",
    ]
    Path("config.yaml").write_text(RUNNING)
    assert main(["plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "nothing changes" in lines and SYMBOLS not in lines
    assert b"hunter" not in Path("data/state.db").read_bytes()


def test_what_runs_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 2
    assert "no daemon has noted its configuration" in capsys.readouterr().err
    assert not Path("data").exists()
    State(Path("data/state.db")).close()  # of an older binmon, which noted nothing
    assert main(["plan"]) == 2
    assert "--against FILE" in capsys.readouterr().err
    note()
    state = State(Path("data/state.db"))
    state.execute("UPDATE running_config SET effective = ?", ('{"no_such_section": {}}',))
    state.close()
    assert main(["plan"]) == 2
    assert "another version of binmon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency: {threshold_ms: 5}\n", "new.yaml:1: latency.threshold_ms: expected"),
        ("alerts:\n  notify: ['nonsense://t0ken']\n", "new.yaml:2: alerts.notify[0]"),
    ],
)
def test_a_wrong_file(capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    Path("new.yaml").write_text(text)
    assert main(["plan", "-c", "new.yaml", "--against", "config.yaml"]) == 2
    err = capsys.readouterr().err
    assert said in err and "t0ken" not in err
    if "threshold" in text:
        assert main(["plan", "--against", "new.yaml"]) == 2
        assert said in capsys.readouterr().err
    assert main(["plan", "--against", "missing.yaml"]) == 2
