"""Every worker of a daemon with all its parts is killed in turn, by an exception raised from outside wherever it is: it
comes back and works again, and nobody else notices.

``BINMON_WORKER_KILLS`` says how many times each is killed.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

import binmon
from binmon.recorder.verify import verify
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.alerts.servers import WebhookServer
from tests.system.conftest import DaemonProcess
from tests.system.probing import arm, first_id, noted, number, probing, settled, venue_orders
from tests.system.witness import Witness, book_events, inject, rows_against_truth

ROUNDS = int(os.environ.get("BINMON_WORKER_KILLS", "1"))
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
# Whom `Stir` gives work. A worker that is not among them is killed like these, and must work again if it did before.
STIRRED = re.compile(
    r"alerts(-0)?|binance-(books|clock|listings|upkeep|resyncs|probes|snapshots-\d|market-1\.\d+|user-data(\.\d+)?)"
    r"|binance-(candles|trades|symbols)(-1\.\d+)?|binance-(candles|symbols)-fetcher"
    "|latency(-ledger)?|order-(asker|probe)|publisher|recorder|segment-finisher|status-page"
)
# A killing that strikes between the making of a socket and somebody's holding it leaves it to the interpreter to close.
# That none is left is seen by the count of descriptors.
HARMLESS = re.compile(r"Exception ignored in: <socket\.socket |ResourceWarning: unclosed <socket\.socket ")
WATCHERS = ("binance-candles-1", "binance-trades-1", "binance-symbols-1")
WITHIN_S = 90.0

pytestmark = [pytest.mark.system, pytest.mark.timeout(900 + 600 * ROUNDS)]

Lines = list[dict[str, Any]]


class KillableDaemon(DaemonProcess):
    """``binmon run`` with a thread beside it that kills others, see killable.py."""

    def __init__(self, config: dict[str, Any], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        self.lines: Lines = []
        self.unreadable: list[str] = []
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.system.killable", "-c", "config.yaml"],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def kill_worker(self, name: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()

    @property
    def address(self) -> str:
        (page, *_) = self.wait_for("metrics.listening")
        return str(page["address"])

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"http://{self.address}/healthz", timeout=60).json()
        return answer

    def workers(self) -> dict[str, dict[str, Any]]:
        """Every worker that the supervisor knows."""
        found: dict[str, dict[str, Any]] = self.health()["workers"]
        return found

    def resources(self) -> tuple[int, int]:
        """Threads and file descriptors."""
        proc = Path(f"/proc/{self.process.pid}")
        return len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir()))


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=SYMBOLS, rate=30.0, weight_limit=10_000_000)) as sandbox:
        yield sandbox


@pytest.fixture
def hook() -> Iterator[WebhookServer]:
    server = WebhookServer(200)
    yield server
    server.close()


@pytest.fixture
def process(venue: Sandbox, hook: WebhookServer, tmp_path: Path) -> Iterator[KillableDaemon]:
    """A daemon with all that there is."""
    config = probing(venue, report_timeout_ms=8000)  # no report is lost for the machine's sake
    config["books"] = {"symbols": "all:USDT", "snapshot_every": 1, "redundancy": 2, "audit_interval_s": 5}
    config["recorder"] |= {"rotate_s": 10}
    config["publish"] = {"interval_ms": 200}
    config["alerts"] = {"notify": [f"http://{hook.address}/a"], "resend_every_s": 1}
    config["watch"] = {
        "candles": [{"symbol": "ETHUSDT", "interval": "1s", "above": 10_000_000}],
        "trades": [{"symbol": "ETHUSDT", "above": 10_000_000}],
        "listings": {"interval_s": 1},
    }
    config["reload"] = {"watch": True}
    daemon = KillableDaemon(config, tmp_path / "daemon")
    yield daemon
    if daemon.process.poll() is None:
        daemon.kill()
    for pipe in (daemon.process.stdin, daemon.process.stdout, daemon.process.stderr):
        if pipe is not None:
            pipe.close()


class Stir:
    """Gives everybody something to do: also those who only work when something has gone wrong."""

    def __init__(self, venue: Sandbox, process: KillableDaemon) -> None:
        self._venue, self._process = venue, process
        self._turn = self._listed = 0

    def once(self) -> float:
        """Gives the seconds within which there is something to do. A report that is late (alerts), one that is lost (questions), symbols that are new (first snapshots), a book
        that is wrong (resyncs), a stream that is dead (stall probes), candles that are cut off (their history)."""
        process, venue = self._process, self._venue
        prefix, newest = first_id(process), number(process.events("order.sent")[-1]["client_order_id"])
        arm(venue, "report_delay", f"{prefix}{newest + 8}", ms=700)
        arm(venue, "report_lost", f"{prefix}{newest + 14}")
        inject(venue, "corrupt_level", symbols=["SOLUSDT"], count=1, rank=5)
        if any("ethusdt@kline_1s" in one["streams"] for one in venue.state()["connections"]):
            inject(venue, "disconnect", streams=["ethusdt@kline_1s"])
        self._turn += 1
        if self._turn % 2:
            # not together: for other symbols there are other sockets, which are not dead
            # longer than a busy machine's pauses, which the daemon has learned to take for the market's
            inject(venue, "stall", symbols=["SOLUSDT"], seconds=60)
            return 60.0
        for _ in range(3):
            self._listed += 1
            inject(venue, "new_symbol", symbol=f"NEW{self._listed}USDT")
        return 15.0

    def until_worked(self, wanted: dict[str, int]) -> None:
        """Until each worker of ``wanted`` has made more progress than that."""

        def idle() -> set[str]:
            now = self._process.workers()
            # a socket that is there no more has been replaced, as it carried other symbols
            return {name for name, before in wanted.items() if name in now and now[name]["progress"] <= before}

        for _ in range(12):
            if not idle():
                return
            end_s = time.monotonic() + self.once()
            while time.monotonic() < end_s:
                if not idle():
                    return
                threading.Event().wait(0.25)
        raise AssertionError(f"they do not work: {idle()}: {self._process.tail()}")

    def settle(self) -> None:
        """Wait until nothing is left of it: a level that is still wrong would be found in the midst of what follows."""
        inject(self._venue, "clear")
        process, mark = self._process, len(self._process.lines)

        def is_right() -> bool:
            audits = [
                line for line in process.lines[mark:] if line["event"] == "book.audit" and line["symbol"] == "SOLUSDT"
            ]
            # the first may have begun before
            return len(audits) >= 2 and not audits[-1]["mismatches"] and calm(process)

        process.until(is_right, 2 * WITHIN_S, "calm")


def calm(process: KillableDaemon) -> bool:
    """Every worker runs, every book is in step, no socket is being replaced."""
    states: dict[str, str] = {line["symbol"]: line["to"] for line in process.events("book.state")}
    workers = process.workers()
    sockets = Counter(name.rpartition(".")[0] for name in workers if name.rpartition(".")[2].isdigit())
    return (
        set(states.values()) == {"synced"}
        and all(one["state"] == "running" for one in workers.values())
        and sockets == {"binance-market-1": 2, "binance-user-data": 1, **dict.fromkeys(WATCHERS, 1)}
    )


def troubles(lines: Lines, name: str) -> Lines:
    """What the death of worker ``name`` does not explain. Books have two sockets each, so one of them matters to none."""
    found = [
        line for line in lines if line["event"] in ("worker.failed", "worker.restarted") and line["worker"] != name
    ]
    never = (
        "worker.fatal",
        "book.gap",
        "book.snapshot_dropped",
        "recorder.failed",
        "stream.malformed",
        "metrics.failed",
    )
    found += [line for line in lines if line["event"] in never]
    found += [line for line in lines if line["event"] in ("stream.overflow", "alert.dropped", "user_stream.dropped")]
    for line in lines:
        event = line["event"]
        mine = line.get("connection") == name or (name == "binance-user-data" and event == "user_stream.down")
        unexplained = (
            (event in ("stream.disconnected", "user_stream.down", "stream.stalled") and not mine)
            or (event == "book.state" and line["from"] == "synced" and name != "binance-books")
            or (event == "book.audit" and line["mismatches"])
        )
        if unexplained:
            found.append(line)
    return found


def kill_and_watch(process: KillableDaemon, name: str) -> int:
    """Kill one worker; its progress at that time."""
    before = process.workers()[name]["progress"]
    mark = len(process.lines)

    def since(event: str) -> Lines:
        return [line for line in process.lines[mark:] if line["event"] == event and line.get("worker") == name]

    process.kill_worker(name)
    process.until(lambda: bool(since("worker.failed")), WITHIN_S, f"the death of {name}")
    process.until(lambda: bool(since("worker.restarted")), WITHIN_S, f"the return of {name}")
    process.until(lambda: calm(process), WITHIN_S, f"calm after the death of {name}")
    measured = len(process.events("latency.measured"))
    process.wait_for("latency.measured", count=measured + 2, within_s=WITHIN_S)
    assert "Killed" in since("worker.failed")[0]["error"], since("worker.failed")
    assert len(since("worker.failed")) == 1, "killed once"
    found = troubles(process.lines[mark:], name)
    assert not found, f"{name}: {found}"
    return int(before)


def test_every_worker_is_killed_in_turn(venue: Sandbox, hook: WebhookServer, process: KillableDaemon) -> None:
    process.wait_for("latency.measured", count=3, within_s=WITHIN_S)
    process.until(lambda: calm(process), WITHIN_S, "all books")
    stir = Stir(venue, process)
    stirred = {name for name in process.workers() if STIRRED.fullmatch(name)}
    assert len(stirred) == 31
    stir.until_worked(dict.fromkeys(stirred, 0))
    stir.settle()
    witness = Witness(venue, ["BTCUSDT", "ETHUSDT"])
    try:
        resources = process.resources()
        for turn in range(ROUNDS):
            progress: dict[str, int] = {}
            for name in process.workers():
                print(f"{turn}: {name}")
                progress[name] = kill_and_watch(process, name)
            stir.until_worked({name: before for name, before in progress.items() if before or STIRRED.fullmatch(name)})
            stir.settle()
        process.until(
            lambda: all(now <= then + 2 for now, then in zip(process.resources(), resources, strict=True)),
            WITHIN_S,
            f"no more threads and files than {resources}: {process.resources()}",
        )
        dropped = {name: one["dropped"] for name, one in process.health()["channels"].items() if one["dropped"]}
        assert not dropped
        process.until(lambda: raised(process) <= told(hook), WITHIN_S, "every alert at its target")
    finally:
        witness.finish()
    assert process.stop() == 0
    assert not process.unreadable and not process.events("worker.fatal")
    assert process.process.stderr is not None
    assert not [line for line in process.process.stderr.read().splitlines() if not HARMLESS.match(line)]
    the_recording_is_whole(process.directory / "data", witness)
    every_order_has_ended(process, venue)
    assert raised(process) <= told(hook), "an alert that nobody was told"


def raised(process: KillableDaemon) -> set[tuple[str, str]]:
    return {(line["alert"], line["subject"]) for line in process.events("alert.raised")}


def told(hook: WebhookServer) -> set[tuple[str, str]]:
    return {(one["alert"], one["subject"]) for one in hook.documents}


def the_recording_is_whole(data: Path, witness: Witness) -> None:
    """Every update is a row, once and right, but for those while the keeper was away, which the recording says."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        keys: list[tuple[int, int]] = []
        for table in binmon.open_books(data).tables(symbol):
            keys += zip(table.column("update_id").to_pylist(), table.column("epoch").to_pylist(), strict=True)
        assert keys == sorted(set(keys)), f"{symbol}: rows are doubled or out of order"
        heard = witness.update_ids(symbol)
        epoch_of = dict(keys)
        ranges: dict[int, tuple[int, int]] = {}
        for update_id, epoch in keys:
            ranges[epoch] = (ranges.get(epoch, (update_id, 0))[0], update_id)
        missing = [
            one for one in heard if one not in epoch_of and any(first <= one <= last for first, last in ranges.values())
        ]
        assert not missing, f"{symbol}: {len(missing)} rows of {len(heard)} are missing: {missing[:5]}"
        resyncs = [one["detail"] for one in book_events(data, symbol) if one["kind"] == "resync"]
        assert len(resyncs) == len(ranges) <= 1 + ROUNDS, resyncs
        assert all("initial" in one or "keeper restarted" in one for one in resyncs), resyncs
        assert not [one for one in book_events(data, symbol) if one["kind"] == "gap"]
        assert rows_against_truth(data, witness, symbol) > 100
    assert verify(binmon.open_books(data)) == []


def every_order_has_ended(process: KillableDaemon, venue: Sandbox) -> None:
    """In one class, written down and told once."""
    classes, ids = settled(process), noted(process)
    assert set(venue_orders(venue)) <= ids
    assert ids == set(classes), f"without a class: {ids - set(classes)}"
    told = Counter(
        line["client_order_id"] for name in ("latency.measured", "latency.lost") for line in process.events(name)
    )
    assert set(told) == ids and set(told.values()) == {1}, [one for one in told.items() if one[1] != 1]
    # lost by the venue, with the stream, and with whoever sent it
    explained = ("the report of its placing", "the stream broke: Killed", "the probe failed: Killed")
    lost = {line["client_order_id"]: line["detail"] for line in process.events("latency.lost")}
    assert all(any(why in detail for why in explained) for detail in lost.values()), lost
    path = process.directory / "data" / "state.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        journal = Counter(row[0] for row in connection.execute("SELECT client_order_id FROM order_journal"))
    finally:
        connection.close()
    assert set(journal.values()) == {1}
