"""``binmon latency``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from binmon.cli.latency import parse_since
from binmon.cli.main import main
from binmon.errors import ConfigError
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import OrderClass
from binmon.state import State
from tests.latency.messages import S, measurement, request

HOUR = 3600 * S


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"state: {{path: {tmp_path / 'state.db'}}}\n")
    return path


def fill(config: Path, *, ages_h: tuple[float, ...] = (0.5, 1, 2, 30)) -> None:
    """Orders so many hours old: the second is late, the third lost, the others in time; and one that is open."""
    state = State(config.parent / "state.db")
    ledger = ProbeLedger(state)
    now = time.time_ns()
    classes = [OrderClass.IN_TIME, OrderClass.LATE, OrderClass.LOST, OrderClass.IN_TIME]
    for number, (age_h, order_class) in enumerate(zip(ages_h, classes, strict=True)):
        changes: dict[str, object] = {"sent_ns": now - round(age_h * HOUR)}
        if order_class is OrderClass.LATE:
            changes |= {"over_ms": 300.0, "sent_to_report_ms": 5300.0}
        if order_class is OrderClass.LOST:
            changes |= {"detail": "[bold]not[/bold] all"}
        ledger.note(request(f"o{number}"), now, 0)
        ledger.settle(measurement(number, order_class, **changes))
    ledger.note(request("open"), now - HOUR, 0)
    state.close()


def run(capsys: pytest.CaptureFixture[str], config: Path, *words: object) -> tuple[int, str, str]:
    status = main(["latency", "-c", str(config), *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_plain(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(config)
    status, out, err = run(capsys, config)
    assert (status, err) == (0, "")
    assert out.startswith("3 orders of binance BTCUSDT since ") and "1 still open" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["in_time", "1", "33.33"] in [line[:3] for line in lines]
    assert ["late", "1", "33.33"] in [line[:3] for line in lines]
    assert ["sent", "→", "report", "received", "2", "2,652.6"] in [line[:6] for line in lines]
    assert "5000 - 10000 ms" in out and "█" in out
    assert "[bold]not[/bold] all" in out and "\x1b" not in out


def test_a_longer_time(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(config)
    for since, orders in [("7d", 4), ("45m", 1), ("2026-01-02T03:04:05Z", 4), ("10s", 0)]:
        _, out, _ = run(capsys, config, "--since", since, "--json")
        assert json.loads(out)["orders"] == orders


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(config)
    status, out, err = run(capsys, config, "--json")
    document = json.loads(out)
    assert (status, err) == (0, "")
    assert document["classes"] == {"in_time": 1, "late": 1, "lost": 1, "rejected": 0, "unknown": 0, "reset": 0}
    assert document["phases"]["sent_to_report_ms"]["max_ms"] == 5300.0 and document["open_orders"] == 1
    late = document["measurements"][1]
    assert (late["class"], late["over_ms"], late["side"], late["quantity"]) == ("late", 300.0, "BUY", "0.001")
    assert sum(bucket["count"] for bucket in document["histogram"]) == 2


def test_html(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fill(config)
    page = tmp_path / "page.html"
    status, out, err = run(capsys, config, "--html", page)
    assert status == 0 and out and err == f"wrote {page}\n"
    assert "<!doctype html>" in page.read_text(encoding="utf-8")
    status, _, err = run(capsys, config, "--html", tmp_path / "no" / "page.html")
    assert status == 1 and err.startswith("binmon latency: ") and err.count("\n") == 1


def test_no_orders(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    State(config.parent / "state.db").close()
    status, out, err = run(capsys, config)
    assert (status, err) == (0, "") and out.startswith("no orders were settled since 20")
    status, out, _ = run(capsys, config, "--json")
    assert status == 0 and json.loads(out)["orders"] == 0


def test_no_database(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, config)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and "state.path" in err and str(config.parent / "state.db") in err
    assert not (config.parent / "state.db").exists()


def test_a_wrong_time(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(config)
    status, _, err = run(capsys, config, "--since", "yesterday")
    assert status == 2 and err.startswith("binmon: --since: expected an age such as 90s") and "'yesterday'" in err


def test_times() -> None:
    now = 1_780_000_000_123_456_789
    assert parse_since("90s", now) == now - 90 * S
    assert parse_since("15m", now) == now - 900 * S
    assert parse_since("1.5h", now) == now - 5400 * S
    assert parse_since("7d", now) == now - 7 * 86400 * S
    assert parse_since("99999999d", now) == 0
    moment = int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * S
    for text in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T05:04:05+02:00"):
        assert parse_since(text, now) == moment
    assert parse_since("2026-01-02T03:04:05.25Z", now) == moment + S // 4
    for text in ("", "5", "5 h", "h", "-5m", "5w", "9" * 400 + "d", "2026-13-01"):
        with pytest.raises(ConfigError):
            parse_since(text, now)


def test_while_a_daemon_has_the_database_open(config: Path) -> None:
    state = State(config.parent / "state.db")
    ledger = ProbeLedger(state)
    ledger.note(request("o0"), time.time_ns(), 0)
    ledger.settle(measurement(0, sent_ns=time.time_ns()))
    command = [sys.executable, "-m", "binmon", "latency", "-c", str(config), "--since", "90s"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    state.close()
    assert (result.returncode, result.stderr) == (0, "") and result.stdout.startswith("1 order of binance")
