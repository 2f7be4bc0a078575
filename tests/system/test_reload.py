"""A changed configuration is applied to the running daemon, and disturbs nothing that it does not concern.

``BINMON_RELOADS`` says how many reloads the last test makes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
import yaml

import binmon
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.alerts.servers import WebhookServer
from tests.system.conftest import DaemonProcess
from tests.system.probing import arm, first_id, number, probing
from tests.system.witness import Witness, book_events, inject, nothing_missing

RELOADS = int(os.environ.get("BINMON_RELOADS", "100"))
WARMING = 28  # reloads after which every thread has opened the connections that it keeps
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")

pytestmark = [pytest.mark.system, pytest.mark.timeout(600 + 4 * RELOADS)]

Start = Callable[..., DaemonProcess]
Config = dict[str, Any]


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=SYMBOLS, rate=20.0, weight_limit=10_000_000)) as sandbox:
        yield sandbox


def save(process: DaemonProcess, config: Config) -> None:
    """Put another file in the place of the configuration, as editors do."""
    path = process.directory / "config.yaml"
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(config))
    fresh.rename(path)


def reload(process: DaemonProcess, config: Config | None = None) -> dict[str, Any]:
    """Save and ask for a reload; its line of the log."""
    if config is not None:
        save(process, config)
    before = len(process.events("config.reloaded"))
    process.process.send_signal(signal.SIGHUP)
    return process.wait_for("config.reloaded", count=before + 1)[-1]


def changed(line: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {one["key"]: (one["old"], one["new"]) for one in line["changes"]}


def after(process: DaemonProcess, line: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """What the log has of an event behind a line of it."""
    lines = list(process.lines)
    return [one for one in lines[lines.index(line) + 1 :] if one["event"] == name]


def disturbed(process: DaemonProcess) -> list[dict[str, Any]]:
    """What must not happen for a reload: connections that end, books out of step, workers that fail."""
    names = ("book.gap", "stream.stalled", "worker.failed", "worker.restarted", "worker.fatal", "stream.malformed")
    lines = [line for name in names for line in process.events(name)]
    ends = process.events("stream.disconnected") + process.events("book.state", **{"from": "synced"})
    # a successor that is not up yet when other symbols are wanted once more is given up for another
    fine = ("stopped", "rotated", "symbols changed")
    return lines + [one for one in ends if not one["reason"].startswith(fine)]


def threads_and_files(process: DaemonProcess) -> tuple[int, int]:
    proc = Path(f"/proc/{process.process.pid}")
    return len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir()))


def test_the_next_order_is_judged_by_the_new_threshold(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue, threshold_ms=5000, report_timeout_ms=10_000, interval_s=1.0)
    process = daemon(config)
    process.wait_for("latency.measured", count=2)
    prefix = first_id(process)
    config["latency"]["threshold_ms"] = 500
    line = reload(process, config)
    assert changed(line) == {"latency.threshold_ms": (5000, 500)} and line["restart_needed"] == []
    chosen = f"{prefix}{number(process.events('order.sent')[-1]['client_order_id']) + 6}"  # armed before it comes
    arm(venue, "report_delay", chosen, ms=900)
    (late,) = process.wait_for("latency.delayed", client_order_id=chosen)
    assert late["threshold_ms"] == 500
    config["latency"]["threshold_ms"] = 15_000
    reload(process, config)
    chosen = f"{prefix}{number(process.events('order.sent')[-1]['client_order_id']) + 6}"
    arm(venue, "report_delay", chosen, ms=900)
    (measured,) = process.wait_for("latency.measured", client_order_id=chosen)
    assert measured["class"] == "in_time" and measured["threshold_ms"] == 15_000
    assert not process.events("latency.delayed", client_order_id=chosen)
    assert not disturbed(process)
    assert process.stop() == 0


def test_symbols_come_and_go_and_the_others_do_not_notice(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    config["books"] = {"symbols": ["ETHUSDT"], "snapshot_every": 1, "audit_interval_s": 5}
    witness = Witness(venue, ["ETHUSDT"])
    try:
        process = daemon(config)
        process.wait_for("book.state", symbol="ETHUSDT", to="synced")
        process.wait_for("latency.measured", count=3)
        config["books"]["symbols"] = ["SOLUSDT", "ETHUSDT"]
        line = reload(process, config)
        assert changed(line) == {"books.symbols": (["ETHUSDT"], ["SOLUSDT", "ETHUSDT"])}
        process.wait_for("book.state", symbol="SOLUSDT", to="synced")
        process.wait_for("stream.rotated", reason="symbols changed")
        rows = len(binmon.open_books(process.directory / "data").arrow("SOLUSDT"))
        process.until(lambda: len(binmon.open_books(process.directory / "data").arrow("SOLUSDT")) > rows + 5)
        config["books"]["symbols"] = ["ETHUSDT"]
        reload(process, config)
        process.wait_for("stream.rotated", count=2, reason="symbols changed")
        config["books"]["symbols"] = ["ETHUSDT", "SOLUSDT"]
        reload(process, config)
        process.wait_for("book.state", symbol="SOLUSDT", to="synced", count=2)
        process.wait_for("latency.measured", count=len(process.events("latency.measured")) + 3)
        assert not disturbed(process)
        assert process.stop() == 0
    finally:
        witness.finish()
    assert not disturbed(process)
    followed = [(line["listed"], line["delisted"]) for line in process.events("books.followed")]
    assert followed == [(["SOLUSDT"], []), ([], ["SOLUSDT"]), (["SOLUSDT"], [])]
    data = process.directory / "data"
    assert nothing_missing(data, witness, "ETHUSDT") > 50
    assert "no longer selected" in [event["detail"] for event in book_events(data, "SOLUSDT")]
    epochs = binmon.open_books(data).arrow("SOLUSDT").column("epoch").to_pylist()
    assert sorted(set(epochs)) == [1, 2] and epochs == sorted(epochs)


def test_what_books_and_logs_are_told(venue: Sandbox, daemon: Start) -> None:
    """N, the recorded depth, the pace of tops, retention, the level of the log, and where all of that is told."""
    config = probing(venue, interval_s=0.5)
    config["books"]["snapshot_every"] = 2
    process = daemon(config)
    process.wait_for("book.state", symbol="ETHUSDT", to="synced")
    data = process.directory / "data"

    process.until((data / "segments").is_dir)

    def rows() -> list[tuple[int, int]]:
        frame = binmon.open_books(data).pandas("ETHUSDT")
        return [(int(row.updates), len(row.bid_price)) for row in frame.itertuples()]

    process.until(lambda: len(rows()) > 3)
    config["books"] |= {"snapshot_every": 5, "record_depth": 3}
    config["publish"]["interval_ms"] = 0
    first = reload(process, config)
    process.until(lambda: rows()[-3:] == [(5, 3)] * 3, what="rows of five updates and three levels")
    process.wait_for("book.top", symbol="ETHUSDT", count=len(process.events("book.top")) + 10)
    config["books"]["record_depth"] = 0
    config["publish"] = {"interval_ms": 0, "sinks": []}
    silenced = reload(process, config)
    process.until(lambda: rows()[-1][1] > 3, what="whole rows")
    process.wait_for("latency.measured", count=len(process.events("latency.measured")) + 3)
    assert len(after(process, silenced, "book.top")) <= 5  # what was under way
    config["logging"] = {"level": "error"}
    line = reload(process, config)
    assert changed(line) == {"logging.level": ("info", "error")}
    (page,) = process.events("metrics.listening")
    address = f"http://{page['address']}"
    text = requests.get(f"{address}/metrics", timeout=60).text
    assert f'config_hash="{line["config_hash"]}"' in text
    assert "binmon_config_last_reload_success 1.0" in text
    assert 'binmon_config_reloads_total{result="reloaded"} 3.0' in text
    health = requests.get(f"{address}/healthz", timeout=60).json()
    assert health["config_hash"] == line["config_hash"] != first["config_hash"]
    sent = health["latency"]["sent"]
    process.until(lambda: requests.get(f"{address}/healthz", timeout=60).json()["latency"]["sent"] > sent + 3)
    assert len(after(process, line, "latency.measured")) <= 2  # what was under way
    config["logging"] = {"level": "info"}
    measured = len(process.events("latency.measured"))
    line = reload(process, config)
    process.wait_for("latency.measured", count=measured + 3)
    assert not disturbed(process)
    assert process.stop() == 0
    hashes = {
        (pq.ParquetFile(path).schema_arrow.metadata or {}).get(b"config_hash", b"").decode()
        for path in (data / "books").rglob("*.parquet")
    }
    assert hashes == {line["config_hash"]}


def test_a_target_is_added_and_another_keeps_its_queue(venue: Sandbox, daemon: Start, tmp_path: Path) -> None:
    slow, added = WebhookServer("hang", 200), WebhookServer(200)
    try:
        config = probing(venue, threshold_ms=100, interval_s=0.5)
        config["alerts"] = {"notify": [f"http://{slow.address}/t0ken"]}
        process = daemon(config)
        process.wait_for("latency.measured", count=2)
        client_order_id = f"{first_id(process)}{number(process.events('order.sent')[-1]['client_order_id']) + 12}"
        arm(venue, "report_delay", client_order_id, ms=300)
        process.wait_for("alert.raised", alert="latency.delayed")
        process.until(lambda: bool(slow.requests), what="the message that hangs")
        config["alerts"]["notify"] = [f"http://{added.address}/t0ken", f"http://{slow.address}/t0ken"]
        line = reload(process, config)
        assert changed(line) == {"alerts.notify": (["***"], ["***", "***"])}
        client_order_id = f"{first_id(process)}{number(process.events('order.sent')[-1]['client_order_id']) + 12}"
        arm(venue, "report_lost", client_order_id)
        process.until(lambda: any(one["alert"] == "latency.lost" for one in added.documents), what="the new target")
        slow.released.set()
        process.until(lambda: any(one["alert"] == "latency.lost" for one in slow.documents), what="the old one")
        assert "latency.delayed" in [one["alert"] for one in slow.documents], "what had waited for it"
        threads, _ = threads_and_files(process)
        config["alerts"]["notify"] = [f"http://{added.address}/t0ken"]
        reload(process, config)
        process.until(lambda: threads_and_files(process)[0] < threads, what="the end of its worker")
        config["alerts"]["notify"].append("nonsense://t0ken")
        save(process, config)
        process.process.send_signal(signal.SIGHUP)
        (rejected,) = process.wait_for("config.rejected")
        assert rejected["key"] == "alerts.notify[1]" and rejected["line"]
        assert process.stop() == 0
        assert "t0ken" not in str(process.lines) and not disturbed(process)
    finally:
        slow.released.set()
        slow.close()
        added.close()


def test_a_wrong_file_changes_nothing_and_is_told_once(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    process = daemon(config)
    process.wait_for("latency.measured", count=2)
    path = process.directory / "config.yaml"
    good = path.read_text()
    line_of = 1 + next(n for n, text in enumerate(good.splitlines()) if "threshold_ms" in text)
    wrong = [
        (good.replace("threshold_ms: 500", "threshold_ms: 5"), "latency.threshold_ms", line_of),
        (good.replace("- ETHUSDT", "- NOSUCHUSDT"), "books.symbols[0]", None),
        (good + "\n  - [", "", None),
        (good + "nonsense: 1\n", "nonsense", len(good.splitlines()) + 1),
    ]
    for number_of, (text, key, line) in enumerate(wrong, 1):
        # beside the mistake a change that would be right: it must not be applied either
        path.write_text(text.replace("report_timeout_ms: 1500", "report_timeout_ms: 2500"))
        process.process.send_signal(signal.SIGHUP)
        rejected = process.wait_for("config.rejected", count=number_of)[-1]
        assert rejected["key"] == key and rejected["reason"] and rejected["file"].endswith("config.yaml"), rejected
        assert line is None or rejected["line"] == line
    (page,) = process.events("metrics.listening")
    text = requests.get(f"http://{page['address']}/metrics", timeout=60).text
    assert "binmon_config_last_reload_success 0.0" in text
    process.process.send_signal(signal.SIGHUP)
    process.until(
        lambda: (
            'binmon_config_reloads_total{result="rejected"} 5.0'
            in requests.get(f"http://{page['address']}/metrics", timeout=60).text
        ),
        what="the same wrong file once more",
    )
    assert len(process.events("config.rejected")) == len(wrong), "it was told before"
    path.write_text(good)
    line = reload(process)
    assert line["changes"] == [] and line["restart_needed"] == []
    # wrong again, which is news again
    path.write_text(good + "nonsense: 1\n")
    process.process.send_signal(signal.SIGHUP)
    process.wait_for("config.rejected", count=len(wrong) + 1)
    process.wait_for("latency.measured", count=len(process.events("latency.measured")) + 3)
    assert not disturbed(process)
    assert process.stop() == 0


def test_what_needs_a_restart_is_named_and_left(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    process = daemon(config)
    process.wait_for("latency.measured", count=2)
    (started,) = process.events("daemon.started")
    config["books"]["depth"] = 100
    config["venues"]["binance"]["api_secret"] = "an0ther"
    config["watch"] = {"listings": {"enabled": False, "interval_s": 90}}  # off already in these tests
    line = reload(process, config)
    assert line["restart_needed"] == ["venues.binance.api_secret", "books.depth"]
    assert changed(line) == {"watch.listings.interval_s": (60.0, 90)} and line["unused"] == []
    assert line["config_hash"] != started["config_hash"]
    again = reload(process)
    assert again["restart_needed"] == line["restart_needed"] and again["changes"] == []
    process.wait_for("latency.measured", count=len(process.events("latency.measured")) + 3)
    assert not process.events("order.rejected"), "the old secret still signs"
    assert process.stop() == 0
    assert "an0ther" not in str(process.lines)


def test_saving_the_file_is_enough_when_it_is_watched(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    process = daemon(config)
    process.wait_for("latency.measured", count=2)
    save(process, {**config, "latency": {**config["latency"], "threshold_ms": 600}})
    threading.Event().wait(3.0)  # nobody watches, so nothing may happen: the time that it would take, and more
    assert not process.events("config.reloaded")
    config["reload"] = {"watch": True}
    reload(process, config)
    config["latency"]["threshold_ms"] = 700
    save(process, config)
    line = process.wait_for("config.reloaded", count=2)[-1]
    assert changed(line) == {"latency.threshold_ms": (500, 700)}
    # in place, bit by bit; that it is not taken halfway is shown where nobody's pauses count
    config["latency"]["threshold_ms"] = 800
    text = yaml.safe_dump(config)
    with (process.directory / "config.yaml").open("w") as file:
        for at in range(0, len(text), 100):
            file.write(text[at : at + 100])
            file.flush()
            threading.Event().wait(0.02)
    process.until(lambda: changed(process.events("config.reloaded")[-1]).get("latency.threshold_ms", (0, 0))[1] == 800)
    path = process.directory / "config.yaml"
    path.write_text("latency: {threshold_ms: 1}\n")
    process.wait_for("config.rejected", key="latency.threshold_ms")
    path.write_text("latency: {threshold_ms: 1}\n")  # saved again
    measured = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=measured + 20)
    assert len(process.events("config.rejected", key="latency.threshold_ms")) == 1
    config["latency"]["threshold_ms"] = 900
    reloaded = len(process.events("config.reloaded"))
    save(process, config)
    process.wait_for("config.reloaded", count=reloaded + 1)
    assert not disturbed(process)
    assert process.stop() == 0


def test_a_signal_before_everything_runs_is_not_lost(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    process = daemon(config)
    process.wait_for("daemon.started")
    reload(process)
    process.wait_for("latency.measured", count=2)
    assert process.stop() == 0


def test_the_plan_of_a_running_daemon(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    process = daemon(config)
    process.wait_for("latency.measured", count=1)
    config["latency"]["threshold_ms"] = 700
    reload(process, config)
    config["books"] |= {"symbols": ["ETHUSDT", "SOLUSDT"], "depth": 100}
    save(process, config)
    command = [sys.executable, "-m", "binmon", "plan", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=process.directory, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    (live,) = plan["live"]
    (restart,) = plan["restart"]
    assert live["key"] == "books.symbols" and live["added"] == ["SOLUSDT"] and live["removed"] == []
    assert (restart["key"], restart["old"], restart["new"]) == ("books.depth", 5000, 100)
    line = reload(process)
    assert list(changed(line)) == ["books.symbols"] and line["restart_needed"] == ["books.depth"]
    assert process.stop() == 0


def test_many_reloads_good_and_bad_leave_no_trace(daemon: Start) -> None:
    """Under load; every tenth takes a symbol in or lets it go."""
    hook = WebhookServer(200)
    with Sandbox(SandboxOptions(symbols=SYMBOLS, rate=100.0, weight_limit=10_000_000)) as venue:
        config = probing(venue, interval_s=0.3)
        config["books"] = {"symbols": ["BTCUSDT", "ETHUSDT"], "snapshot_every": 1, "audit_interval_s": 10}
        witness = Witness(venue, ["BTCUSDT"])
        good, bad = 0, 0
        quiet = (0, 0)
        try:
            process = daemon(config)
            path = process.directory / "config.yaml"
            process.wait_for("book.state", symbol="ETHUSDT", to="synced")
            process.wait_for("latency.measured", count=3)
            for turn in range(RELOADS + WARMING):
                other = turn % 4 < 2
                config["latency"] |= {"threshold_ms": 700 if other else 500, "interval_s": 0.2 if other else 0.3}
                config["alerts"] = {
                    "notify": [f"http://{hook.address}/a"] if other else [],
                    "resend_every_s": 60 + turn,
                }
                config["recorder"]["keep_days"] = 7 if other else None
                config["books"]["audit_interval_s"] = 10 if other else 20
                config["books"]["symbols"] = [*SYMBOLS[:2], "SOLUSDT"] if turn // 10 % 2 else list(SYMBOLS[:2])
                if turn % 2:
                    path.write_text(yaml.safe_dump(config) + f"# {turn}\nlatency: {{}}\n")
                    process.process.send_signal(signal.SIGHUP)
                    bad += 1
                    process.wait_for("config.rejected", count=bad)
                else:
                    good += 1
                    reload(process, config)
                    assert len(process.events("config.reloaded")) == good
                if turn == WARMING - 1:
                    quiet = threads_and_files(process)
            config["alerts"]["notify"], config["books"]["symbols"] = [], list(SYMBOLS[:2])
            reload(process, config)
            process.wait_for("latency.measured", count=len(process.events("latency.measured")) + 3)
            process.until(
                lambda: all(now <= then + 2 for now, then in zip(threads_and_files(process), quiet, strict=True)),
                60,
                f"no more threads and files than {quiet}: {threads_and_files(process)}",
            )
            assert not disturbed(process)
            assert process.stop() == 0
        finally:
            witness.finish()
            hook.close()
    assert not disturbed(process)
    assert not process.events("recorder.failed") and not process.events("book.snapshot_dropped")
    assert nothing_missing(process.directory / "data", witness, "BTCUSDT") > 50
    assert all(line["mismatches"] == 0 for line in process.events("book.audit"))


def test_from_named_symbols_to_whatever_is_listed_and_back(venue: Sandbox, daemon: Start) -> None:
    config = probing(venue)
    process = daemon(config)
    process.wait_for("book.state", symbol="ETHUSDT", to="synced")
    config["books"]["symbols"] = "all:USDT"
    line = reload(process, config)
    assert changed(line) == {"books.symbols": (["ETHUSDT"], "all:USDT")}
    for symbol in SYMBOLS:
        process.wait_for("book.state", symbol=symbol, to="synced")
    config["watch"] = {"listings": {"enabled": False, "interval_s": 1}}  # it was a minute
    line = reload(process, config)
    assert changed(line) == {"watch.listings.interval_s": (60, 1)} and line["unused"] == []
    inject(venue, "new_symbol", symbol="FRESHUSDT")
    process.wait_for("book.state", symbol="FRESHUSDT", to="synced", within_s=90)
    config["books"]["symbols"] = ["ETHUSDT", "FRESHUSDT"]
    rotated = len(process.events("stream.rotated"))
    reload(process, config)
    process.wait_for("books.followed", count=3)
    process.wait_for("stream.rotated", count=rotated + 1)
    (page,) = process.events("metrics.listening")

    def metrics() -> str:
        return requests.get(f"http://{page['address']}/metrics", timeout=60).text

    process.until(lambda: 'binmon_books{state="synced",venue="binance"} 2.0' in metrics(), what="two books")
    text = metrics()
    assert "binmon_metrics_errors_total" in text and not process.events("metrics.failed")
    assert not disturbed(process)
    assert process.stop() == 0
