"""The lines of docs/logs.md that people copy: each is run, by a real jq, on a real log."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from binmon.telemetry.events import VOCABULARY
from binmon.telemetry.fields import FIELDS
from binmon.telemetry.logging import LogDetails, flush_repeats, set_up

PAGE = (Path(__file__).parents[2] / "docs/logs.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^([A-Z][^\n]*):\n\n```sh\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
JOURNAL = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
ORDER = "binmon-1-2"

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed (Debian: apt install jq)")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short day of a daemon, written by the real thing."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    path = tmp_path_factory.mktemp("recipes") / "binmon.log"
    output = set_up(stream=io.StringIO(), file=path, details=LogDetails(repeat_limit=2, repeat_window_s=3600.0))
    books, net = structlog.get_logger("binmon.books"), structlog.get_logger("binmon.net")
    latency, config = structlog.get_logger("binmon.latency"), structlog.get_logger("binmon.config")
    venue: dict[str, Any] = {"venue": "binance"}

    def state(venue: str, symbol: str, before: str, after: str) -> None:
        books.info("book.state", venue=venue, symbol=symbol, **{"from": before}, to=after, reason="why", update_id=7)

    state("binance", "OLDUSDT", "synced", "waiting_for_snapshot")
    started = {"version": "1", "config_hash": "abc", "pid": 1}
    structlog.get_logger("binmon.daemon").info("daemon.started", **started)
    state("binance", "SOLUSDT", "synced", "waiting_for_snapshot")
    books.info("book.dropped", **venue, symbol="SOLUSDT", reason="unsubscribed")
    state("bybit", "BTCUSDT", "waiting_for_events", "waiting_for_snapshot")
    for symbol, states in {
        "BTCUSDT": ["synced", "waiting_for_snapshot", "synced"],
        "ETHUSDT": ["waiting_for_events"],
    }.items():
        for before, after in zip(["waiting_for_events", *states], states, strict=False):
            state("binance", symbol, before, after)
    books.warning("book.gap", **venue, symbol="BTCUSDT", expected=10, first_update_id=15, last_update_id=20)
    for name, bid in (("binance", 1.5), ("bybit", 1.6)):
        prices = {"bid": bid, "bid_quantity": 1.0, "ask": bid + 1, "ask_quantity": 1.0}
        books.info("book.top", venue=name, symbol="BTCUSDT", **prices, update_id=1, age_ms=3.25)
    books.info("stream.rotated", **venue, connection="binance-market-1.2", streams=2, reason="24 h", overlap_ms=3000.0)
    for number in range(4):
        net.warning("stream.disconnected", **venue, connection=f"binance-market-1.{number}", streams=2, reason="closed")
    for delay in (10.0, 20.0, 30.0, 700.0):
        fields = {**venue, "symbol": "BTCUSDT", "client_order_id": ORDER, "class": "late", "sent_to_report_ms": delay}
        latency.info("latency.measured", **fields)
        if delay > 500:
            latency.warning("latency.delayed", **fields, over_ms=delay - 500)
    config.info(
        "config.reloaded", config_hash="abc", changes=[{"key": "a", "old": 1, "new": 2}], restart_needed=[], unused=[]
    )
    config.error("config.rejected", key="books.symbols", reason="expected a list", file="c.yaml", line=3)
    try:
        raise ValueError("no such thing")
    except ValueError:
        structlog.get_logger("binmon.supervisor").exception(
            "worker.failed", worker="w", attempt=1, delay_s=1.0, error="x"
        )
    flush_repeats()
    output.close()
    yield path
    set_up(stream=io.StringIO())
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def run(command: str, log: Path, stdin: str | None = None) -> list[str]:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        input=stdin,
        check=False,
        env={**os.environ, "LOG": str(log), "ORDER": ORDER, "LC_ALL": "C.UTF-8"},
        timeout=60,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


def without_time(line: str) -> str:
    return line.partition("\t")[2]


EXPECTED: dict[str, Any] = {
    "What is wrong, newest last": lambda lines: (
        [json.loads(one)["event"] for one in lines] == ["config.rejected", "worker.failed"]
    ),
    "Only the story, without the tops of books and the measurements": lambda lines: (
        not {json.loads(one)["event"] for one in lines} & {"book.top", "latency.measured"} and len(lines) == 18
    ),
    "How often each event came": lambda lines: lines[0].split() == ["7", "book.state"],
    "When one book was lost and how it came back": lambda lines: (
        list(map(without_time, lines))
        == ["waiting_for_events\tsynced\twhy", "synced\twaiting_for_snapshot\twhy", "waiting_for_snapshot\tsynced\twhy"]
    ),
    "Gaps by book, with how many updates were missing": lambda lines: (
        list(map(without_time, lines)) == ["binance\tBTCUSDT\t5"]
    ),
    "Which books are not synced now (the last state of each since the last start, without those that a reload has let"
    " go)": lambda lines: (
        list(map(json.loads, lines))
        == [{"bybit BTCUSDT": "waiting_for_snapshot", "binance ETHUSDT": "waiting_for_events"}]
    ),
    "Median, 95th percentile and worst delay of the execution reports, in milliseconds": lambda lines: (
        json.loads("".join(lines)) == {"count": 4, "median": 30, "p95": 700, "worst": 700}
    ),
    "Orders that came too late, and by how much": lambda lines: (
        [[float(value) for value in without_time(one).split("\t")[1:]] for one in lines] == [[700, 200]]
    ),
    "Everything about one order": lambda lines: len(lines) == 5,
    "Why connections ended, most frequent first": lambda lines: [one.split() for one in lines] == [["2", "closed"]],
    "What a reload changed, and why one was refused": lambda lines: (
        [json.loads(one)["event"] for one in lines] == ["config.reloaded", "config.rejected"]
    ),
    "How many lines were held back, by event": lambda lines: (
        list(map(json.loads, lines)) == [{"stream.disconnected": 2}]
    ),
    "A traceback as people read it": lambda lines: (
        lines[1].startswith("Traceback") and lines[-1] == "ValueError: no such thing"
    ),
    "The tops of one book as a table for a spreadsheet": lambda lines: (
        [one.split(",")[1:] for one in lines] == [["1.5", "2.5", "3.25"]]
    ),
}


def test_every_recipe_is_tried() -> None:
    assert [title for title, _ in RECIPES] == list(EXPECTED)
    assert len(JOURNAL) == 4 and PAGE.count("```sh") == len(RECIPES)


@needs_jq
@pytest.mark.parametrize(("title", "command"), RECIPES, ids=[title for title, _ in RECIPES])
def test_a_recipe_answers_its_question(title: str, command: str, log: Path) -> None:
    lines = run(command, log)
    assert EXPECTED[title](lines), lines


@needs_jq
@pytest.mark.parametrize("command", JOURNAL)
def test_a_line_for_the_journal(command: str, log: Path, tmp_path: Path) -> None:
    """The journal is played by the log between systemd's own lines; its options are those that journalctl knows."""
    journal, _, rest = command.partition("|")
    words = journal.split('"')[0].split()
    assert words[0] == "journalctl" and words[1:3] == ["-u", "binmon"]
    text = f"Started binmon.service - binmon.\n{log.read_text()}binmon.service: Deactivated successfully.\n"
    assert run(rest.strip(), log, stdin=text)
    if shutil.which("journalctl") is not None:
        finite = journal.strip().removesuffix("-f").strip()
        done = subprocess.run(
            ["bash", "-c", f"{finite} --directory {tmp_path}"], capture_output=True, text=True, check=False, timeout=60
        )
        assert "unrecognized" not in done.stderr and "invalid" not in done.stderr.lower(), done.stderr
        assert "Failed to parse" not in done.stderr, done.stderr


def test_recipes_speak_of_what_exists() -> None:
    commands = "\n".join([*(command for _, command in RECIPES), *JOURNAL])
    named = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', commands))
    assert named and named <= VOCABULARY.keys()
    fields = set(re.findall(r"\.([a-z_]+)\b", re.sub(r'"[^"]*"', "", commands)))
    known = {*FIELDS, "timestamp", "level", "event", "logger", "exception"}
    assert fields - known == set()
