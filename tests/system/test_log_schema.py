"""Every line of a daemon that meets many faults is as docs/logs.md says, on standard output and in the file."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.telemetry.events import LEVELS, unlike_the_vocabulary
from tests.alerts.servers import WebhookServer
from tests.system.conftest import PATIENCE_S, DaemonProcess
from tests.system.probing import probing
from tests.system.witness import inject

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

Start = Callable[..., DaemonProcess]
Config = dict[str, Any]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")

# What the faults below must have led to; nothing is proven of an event that never came.
MET = {
    "daemon.started", "daemon.ready", "daemon.stopping", "daemon.stopped",
    "worker.started", "worker.failed", "worker.restarted",
    "stream.connected", "stream.disconnected", "stream.rotated", "stream.stalled", "stream.malformed",
    "book.state", "book.gap", "book.audit", "book.top", "snapshot.failed",
    "order.sent", "order.answered", "order.rejected", "order.uncertain", "user_stream.subscribed", "user_stream.down",
    "latency.measured", "latency.delayed", "latency.lost",
    "config.reloaded", "config.rejected", "rate.limited", "rate.banned", "clock.stepped",
    "recorder.segment_closed", "recorder.segment_finished", "metrics.listening",
    "alert.raised", "alert.recovered", "alert.sent", "alert.failed",
}  # fmt: skip


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=SYMBOLS, rate=20.0, weight_limit=10_000_000)) as sandbox:
        yield sandbox


def configuration_of(venue: Sandbox, target: str, **logging: Any) -> Config:
    config = probing(venue, interval_s=0.5)
    config["books"] = {"symbols": ["ETHUSDT", "BTCUSDT"], "snapshot_every": 10, "audit_interval_s": 2, "depth": 100}
    config["recorder"]["rotate_s"] = 3
    config["publish"] = {"interval_ms": 200}
    config["alerts"] = {"notify": [target]}
    config["logging"] = {"level": "debug", "file": "log/binmon.log", **logging}
    return config


def save_and_reload(process: DaemonProcess, config: Config | str) -> None:
    text = config if isinstance(config, str) else yaml.safe_dump(config)
    path = process.directory / "config.yaml"
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)
    process.process.send_signal(signal.SIGHUP)


def reload(process: DaemonProcess, config: Config) -> dict[str, Any]:
    before = len(process.events("config.reloaded"))
    save_and_reload(process, config)
    return process.wait_for("config.reloaded", count=before + 1)[-1]


def provoke(
    process: DaemonProcess, venue: Sandbox, kind: str, event: str, /, level: str | None = None, **fault: Any
) -> None:
    """Arm a fault, again and again, until the line that it leads to has come once more."""
    only = {} if level is None else {"level": level}
    before, armed_s = len(process.events(event, **only)), float("-inf")

    def come() -> bool:
        nonlocal armed_s
        if time.monotonic() > armed_s + 5:
            # nobody may be connected for the moment: then soon again
            answer = requests.post(f"{venue.rest_url}/sandbox/faults", json={"kind": kind, **fault}, timeout=60).json()
            armed_s = time.monotonic() - (0 if answer.get("ok") else 4.5)
        return len(process.events(event, **only)) > before

    process.until(come, 180, f"{event} {only} after {kind}")


def synced(process: DaemonProcess) -> None:
    def all_synced() -> bool:
        states = {line["symbol"]: line["to"] for line in process.events("book.state")}
        return len(states) >= 2 and set(states.values()) == {"synced"}

    process.until(all_synced, PATIENCE_S, "all books in step")


def wrong_with(line: dict[str, Any]) -> list[str]:
    """What is wrong with a line; one of another package has the common fields and nothing else."""
    if str(line.get("logger", "")).startswith("binmon"):
        return unlike_the_vocabulary(line)
    if line.keys() - {"exception"} != {"timestamp", "level", "event", "logger"} or line["level"] not in LEVELS:
        return [f"a line of another package: {line}"]
    return []


def lines_of(*paths: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n")
        found += [json.loads(line) for line in text.splitlines()]
    return found


def files_of(directory: Path) -> list[Path]:
    """The log, the oldest part first."""
    numbered = sorted(directory.glob("binmon.log.*"), key=lambda one: -int(one.suffix[1:]))
    return [*numbered, directory / "binmon.log"]


def metric(process: DaemonProcess, name: str) -> dict[str, float]:
    """The values of a metric, by its labels as they stand on the page."""
    (line,) = process.wait_for("metrics.listening")
    page = requests.get(f"http://{line['address']}/metrics", timeout=60).text
    return {labels: float(value) for labels, value in re.findall(rf"^{name}(\S*) (\S+)$", page, re.MULTILINE)}


def test_every_line_is_as_documented(venue: Sandbox, daemon: Start, tmp_path: Path) -> None:
    (tmp_path / "daemon" / "log").mkdir(parents=True)
    with closing(WebhookServer(500, 200)) as webhook:
        config = configuration_of(venue, f"http://{webhook.address}/t0ken", rotate_mb=0.02, keep_files=1000)
        process = daemon(config)
        process.wait_for("daemon.ready", within_s=PATIENCE_S)
        process.wait_for("latency.measured", count=3, within_s=PATIENCE_S)
        # the market's side
        provoke(process, venue, "gap", "book.gap", count=2)
        synced(process)
        provoke(process, venue, "malformed", "stream.malformed", mode="json", in_place=True, service="stream")
        synced(process)
        provoke(process, venue, "disconnect", "worker.failed", mode="rst", service="stream")
        process.wait_for("worker.restarted")
        synced(process)
        provoke(process, venue, "stall", "stream.stalled", seconds=600, service="stream")
        inject(venue, "clear")
        synced(process)
        provoke(process, venue, "corrupt_level", "book.audit", level="error", symbols=["ETHUSDT"], count=1, rank=5)
        synced(process)
        process.process.send_signal(signal.SIGUSR1)
        process.wait_for("stream.rotated", within_s=PATIENCE_S)
        # the private side
        provoke(process, venue, "order_refuse", "order.rejected", count=1)
        provoke(process, venue, "answer_lost", "order.uncertain", count=1, mode="status")
        provoke(process, venue, "report_delay", "latency.delayed", count=1, ms=900)
        process.wait_for("alert.raised", alert="latency.delayed")
        process.wait_for("alert.failed", within_s=PATIENCE_S)
        process.wait_for("alert.sent", within_s=PATIENCE_S)
        process.wait_for("alert.recovered", alert="latency.delayed", within_s=PATIENCE_S)
        provoke(process, venue, "report_lost", "latency.lost", count=1)
        provoke(process, venue, "stream_terminated", "user_stream.down")
        process.wait_for("user_stream.subscribed", count=2, within_s=PATIENCE_S)
        # reloads, good and bad
        save_and_reload(process, "books: {symbols: [btcusdt]}\n")
        process.wait_for("config.rejected", key="books.symbols[0]")
        save_and_reload(process, "logging: {levels: {binmon.books: loud}}\n")
        (rejected,) = process.wait_for("config.rejected", key="logging.levels.binmon.books")
        assert "expected one of" in rejected["reason"] and "'loud'" in rejected["reason"] and rejected["line"] == 1
        config["books"]["symbols"] = ["ETHUSDT", "SOLUSDT"]
        reload(process, config)
        process.wait_for("book.state", symbol="SOLUSDT", to="synced", within_s=PATIENCE_S)
        # the venue refuses us altogether
        inject(venue, "clock_skew", ms=-4000)
        process.wait_for("clock.stepped", within_s=PATIENCE_S)
        inject(venue, "rest", mode="html", path="/api/v3/depth", seconds=600)
        provoke(process, venue, "gap", "snapshot.failed", count=2)
        inject(venue, "clear")
        provoke(process, venue, "rest", "rate.limited", mode="status", status=429, count=1)
        provoke(process, venue, "ban", "rate.banned", seconds=3)
        inject(venue, "forgive_weight")
        inject(venue, "clear")
        synced(process)
        process.wait_for("recorder.segment_finished", within_s=PATIENCE_S)
        assert metric(process, "binmon_log_lines_lost_total") == {'{output="stdout"}': 0, '{output="file"}': 0}
        assert process.stop() == 0
    assert not process.unreadable
    assert not any("t0ken" in json.dumps(line) for line in process.lines)
    found = Counter(wrong for line in process.lines for wrong in wrong_with(line))
    assert not found, found
    written = {line["event"] for line in process.lines}
    assert written >= MET, sorted(MET - written)
    assert process.lines[-1]["event"] == "daemon.stopped"
    files = files_of(process.directory / "log")
    assert len(files) > 3, "it was rotated on the way"
    assert all(path.stat().st_size <= 20_000 for path in files)
    assert lines_of(*files) == process.lines, "the same lines in the same order"


def test_levels_and_repetitions_as_configured_and_reloaded(venue: Sandbox, daemon: Start, tmp_path: Path) -> None:
    (tmp_path / "daemon" / "log").mkdir(parents=True)
    with closing(WebhookServer()) as webhook:
        config = configuration_of(
            venue,
            f"http://{webhook.address}/t0ken",
            level="warning",
            levels={"binmon.daemon": "info", "binmon.metrics": "info"},
        )
        config["logging"] |= {"repeat_limit": 2, "repeat_window_s": 3600}
        config["metrics"]["per_symbol"] = 1
        process = daemon(config)
        process.wait_for("daemon.started", within_s=PATIENCE_S)
        (listening,) = process.wait_for("metrics.listening", within_s=PATIENCE_S)
        assert listening["level"] == "info"
        process.until(lambda: len(metric(process, "binmon_book_synced")) == 1, PATIENCE_S, "one series of one book")
        held_back = '{event="stream.disconnected"}'

        def held() -> bool:
            """Cut the connections until lines are held back."""
            inject(venue, "disconnect", mode="rst", service="stream")
            return metric(process, "binmon_log_lines_held_back_total").get(held_back, 0) >= 3

        process.until(held, PATIENCE_S, "lines to be held back")
        process.wait_for("stream.disconnected", count=2)
        assert len(process.events("stream.disconnected")) == 2
        hidden = ("book.state", "book.top", "stream.connected")
        assert not any(process.events(name) for name in hidden), "below their level"
        assert not process.events("book.audit", level="info")
        config["logging"] |= {"levels": {"binmon.books": "info", "binmon.config": "info"}, "repeat_limit": 1000}
        config["metrics"]["per_symbol"] = ["BTCUSDT", "ETHUSDT"]
        line = reload(process, config)
        assert {one["key"] for one in line["changes"]} == {
            "logging.levels",
            "logging.repeat_limit",
            "metrics.per_symbol",
        }
        assert line["unused"] == [] and line["restart_needed"] == []
        # the new limit ends the time of the old one
        (told, *_) = process.wait_for("log.repeated", of="stream.disconnected", connection="binance-market-1.*")
        assert told["held_back"] >= 3 and told["level"] == "warning"
        process.wait_for("book.audit", level="info", within_s=PATIENCE_S)
        process.until(lambda: len(metric(process, "binmon_book_synced")) == 2, PATIENCE_S, "series of two books")
        # moved away by somebody else, as logrotate does
        path = process.directory / "log" / "binmon.log"
        path.rename(path.with_name("moved"))
        process.until(path.exists, PATIENCE_S, "the log to be opened anew")
        assert process.stop() == 0
    found = Counter(wrong for line in process.lines for wrong in wrong_with(line))
    assert not found, found
    assert lines_of(path.with_name("moved"), path) == process.lines
    counted = sum(line["held_back"] for line in process.events("log.repeated", of="stream.disconnected"))
    assert counted >= 3


def test_a_log_directory_that_goes_away_ends_nothing(venue: Sandbox, daemon: Start, tmp_path: Path) -> None:
    place = tmp_path / "daemon" / "log"
    place.mkdir(parents=True)
    process = daemon(configuration_of(venue, "http://127.0.0.1:9/t0ken"))
    process.wait_for("daemon.ready", within_s=PATIENCE_S)
    place.rename(place.with_name("gone"))  # in one step: while it is emptied, the daemon would begin a file in it
    shutil.rmtree(place.with_name("gone"))
    lost = '{output="file"}'
    process.until(lambda: metric(process, "binmon_log_lines_lost_total")[lost] >= 3, PATIENCE_S, "lines to be lost")
    before = len(process.events("book.top"))
    process.wait_for("book.top", count=before + 5)
    place.mkdir()
    process.until((place / "binmon.log").exists, PATIENCE_S, "the file to be there again")
    before = len(process.events("book.top"))
    process.wait_for("book.top", count=before + 5)
    assert process.stop() == 0
    kept = lines_of(place / "binmon.log")
    assert kept == process.lines[-len(kept) :] and kept[-1]["event"] == "daemon.stopped"
    assert process.process.stderr is not None
    said = [line for line in process.process.stderr.read().splitlines() if "log file" in line]
    assert len(said) == 2 and "cannot be written: No such file" in said[0]
    assert f"is written again; {len(process.lines)}" not in said[1] and " lines were lost" in said[1]


def test_a_wrong_level_ends_the_start_with_the_reason(venue: Sandbox, daemon: Start) -> None:
    config = configuration_of(venue, "http://127.0.0.1/x", levels={"binmon.bookz": "debug"})
    process = daemon(config)
    assert process.process.wait(60) == 2
    assert process.process.stderr is not None
    said = process.process.stderr.read()
    assert "logging.levels.binmon.bookz: unknown logger, did you mean binmon.books?" in said.replace(
        "books\n", "books?\n"
    )
