"""An hour of everything at once: ``BINMON_SOAK_MINUTES=60 python benchmarks/soak.py [--seed 1] [--keep DIRECTORY]``.

A real ``binmon run`` keeps and records 50 books of the sandbox, each changed ten times a second, sends an order a second,
has alerts with a target, and the web page is up. Every 20 s the sandbox is given a fault by chance (the seed decides which, and how); every
10 s the daemon's memory, threads and file descriptors are noted. At the end the faults are cleared, and what follows
must hold. What is judged, and how:

* *books*: all are in step; two audits in a row of every one, begun after the faults, find no level that differs; recorded
  rows of the calm are compared with a second client's books at the same update ids; the whole recording is verified.
* *orders*: every order of the venue's ledger has ended in one class of ours, but for those under way.
* *memory*: resident memory (``VmRSS``). The median of the last sixth of the time against the median of the second sixth
  (minutes 50 to 60 against 10 to 20 in an hour): at most 5 % more. Told, but not judged, below 30 minutes.
* *threads, files*: in the calm at the end no more than the median of the second sixth.
* *the daemon*: one process from the begin to the end; no worker FATAL, none that failed for another reason than the
  network's and the venue's; nothing dropped by a queue that records.

The status is 1 when anything of this was not met. ``BINMON_SOAK_MINUTES=3`` makes a run for a look.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import binmon  # noqa: E402
from binmon.recorder.verify import verify  # noqa: E402
from tests.alerts.servers import WebhookServer  # noqa: E402
from tests.system.witness import Witness, rows_against_truth  # noqa: E402

BOOKS = 50
EVERY = 10  # updates a row
ACTIONS_A_SECOND = 80  # of a symbol's order flow: enough for a change in nearly every 100 ms
FAULT_EVERY_S, SAMPLE_EVERY_S = 20.0, 10.0
AUDIT_EVERY_S = 60.0
ALLOWED_GROWTH = 0.05
JUDGED_FROM_MINUTES = 30.0
CALM_WITHIN_S = 600.0  # snapshots of fifty books and two audits of each fit into the venue's weight in half of that
WITNESSED_AT_A_TIME = 16  # whole books: more would take all the weight of a minute
DEPTH = "/api/v3/depth"


def faults(chance: random.Random, symbols: list[str]) -> dict[str, dict[str, Any]]:
    """Every kind of fault once, with options by chance. Those of connections are aimed at the daemon's."""
    some = chance.sample(symbols, chance.choice([1, 3, 10, len(symbols)]))
    pick = chance.choice
    stream: dict[str, Any] = {"service": "stream"}
    either: dict[str, Any] = {"service": pick(["stream", "ws_api"])}
    events: dict[str, Any] = {"symbols": some, "count": chance.randint(1, 5)}
    orders: dict[str, Any] = {"count": chance.randint(1, 4)}
    unknown = {"mode": pick(["status", "timeout", "reset", "closed", "silent"]), "silent_s": 4}
    return {
        "gap": events,
        "duplicate": {**events, "times": chance.randint(2, 5)},
        "reorder": events,
        "crossed_book": events,
        "corrupt_level": {
            **events,
            "side": pick(["bids", "asks"]),
            "rank": chance.randint(5, 40),
            "mode": pick(["quantity", "missing", "phantom"]),
        },
        "fragmented": {**events, "pieces": chance.randint(2, 6)},
        "malformed": {**either, "mode": pick(["json", "utf8", "header", "truncated"])},
        "oversized": {**either, "complete": pick([True, False])},
        "binary": either,
        "empty": either,
        "masked": either,
        "disconnect": {**either, "mode": pick(["close_frame", "abrupt", "rst"])},
        "stall": {**either, "pongs": pick([True, False]), "seconds": 60},
        "stall of some": {"kind": "stall", "symbols": some, "seconds": 30},
        "slow_link": {**stream, "delay_ms": pick([50, 500, 1500]), "seconds": 10},
        "server_shutdown": {**either, "close_after_s": pick([0.5, 2, 5])},
        "refuse_connections": {"mode": pick(["tcp", "http_503", "http_429"]), "seconds": pick([2, 8])},
        "disconnect all": {"kind": "disconnect", "mode": "rst"},
        "rest": {
            "mode": pick(["status", "truncated", "slow", "html", "reset", "empty", "wrong_json"]),
            "status": pick([403, 429, 500, 502, 503, 504]),
            "delay_s": 3,
            "seconds": 8,
        },
        "rest of depth": {"kind": "rest", "mode": pick(["status", "html", "reset"]), "path": DEPTH, "seconds": 10},
        "stale_snapshot": {"symbols": some, "seconds": 5, "ids_back": pick([1, 30, 1000])},
        "snapshot_lag": {"symbols": some, "ms": pick([-1200, -300, 300, 1200]), "seconds": 8},
        "ban": {"seconds": 10},
        "use_weight": {"weight": 3000},
        "clock_skew": {"ms": pick([-8000, -500, 500, 8000]), "seconds": 8},
        "freeze": {"seconds": pick([2, 10])},
        "reset": {"disconnect": pick([True, False])},
        "report_delay": {**orders, "ms": pick([300, 800, 3000])},
        "report_lost": orders,
        "report_duplicate": orders,
        "report_before_answer": {**orders, "ms": 400},
        "order_refuse": orders,
        "answer_lost": {**orders, **unknown},
        "order_lost": {**orders, **unknown},
        "query_lag": {"ms": 2000, "seconds": 10},
        "stream_terminated": {},
    }


@dataclass(frozen=True)
class Sample:
    """One look at the daemon's process; memory in MB."""

    at_s: float
    resident: float
    anonymous: float  # of that, what belongs to no file
    threads: int
    files: int

    @staticmethod
    def take(pid: int, began_s: float) -> Sample:
        proc = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())

        def megabytes(name: str) -> float:
            return int(status[name].split()[0]) / 1024

        files = len(list((proc / "fd").iterdir()))
        return Sample(
            time.monotonic() - began_s, megabytes("VmRSS"), megabytes("RssAnon"), int(status["Threads"]), files
        )


class Log:
    """The daemon's lines, taken in as the file grows; each is kept only as far as it is needed at the end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open()
        self._half = ""
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.states: dict[str, str] = {}
        self.audits: dict[str, list[int]] = {}  # what differed, by symbol, since `forget_audits`
        self.troubles: list[dict[str, Any]] = []
        self.unreadable = 0
        self.address = ""

    def close(self) -> None:
        """No more of it."""
        self._file.close()

    def read(self) -> None:
        """Take in what is new."""
        text = self._half + self._file.read()
        *whole, self._half = text.split("\n")
        for line in whole:
            try:
                self._take(json.loads(line))
            except ValueError:
                self.unreadable += 1

    def _take(self, line: dict[str, Any]) -> None:
        name = line["event"]
        self.counts[name] += 1
        if name == "metrics.listening":
            self.address = line["address"]
        elif name == "book.state":
            self.states[line["symbol"]] = line["to"]
        elif name == "book.audit":
            self.audits.setdefault(line["symbol"], []).append(line["mismatches"])
        elif name in ("worker.failed", "worker.fatal"):
            self.failures.append(f"{line['worker']}: {line['error']}")
        if name in ("book.gap", "book.state", "worker.failed", "stream.stalled", "book.snapshot_dropped"):
            self.troubles.append(line)

    def forget(self) -> None:
        """What follows is judged by itself."""
        self.audits, self.troubles = {}, []


class Strikes:
    """Gives the venue a fault every 20 s, in a thread of its own."""

    def __init__(self, rest: str, symbols: list[str], seed: int) -> None:
        self._rest, self._symbols, self._chance = rest, symbols, random.Random(seed)
        self._stop = threading.Event()
        self.armed: Counter[str] = Counter()
        self.refused: list[str] = []
        self._thread = threading.Thread(target=self._run, name="strikes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        left: list[str] = []
        next_s = time.monotonic()
        while not self._stop.wait(max(0.0, next_s - time.monotonic())):
            next_s += FAULT_EVERY_S
            # by chance, but each comes before one comes again
            left = left or self._chance.sample(sorted(faults(self._chance, self._symbols)), k=len(self._kinds()))
            name = left.pop()
            options = {"kind": name, **faults(self._chance, self._symbols)[name]}
            answer = strike(self._rest, options)
            if answer.status_code == 200:
                self.armed[name] += 1
            else:  # no connection to hit just now, for one
                self.refused.append(f"{options}: {answer.text[:200]}")

    def _kinds(self) -> list[str]:
        return sorted(faults(random.Random(0), self._symbols))

    def end(self) -> None:
        """No more, and what there was is taken back."""
        self._stop.set()
        self._thread.join()
        for kind, options in (("clear", {}), ("forgive_weight", {}), ("freeze", {"seconds": 0})):
            strike(self._rest, {"kind": kind, **options})


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def strike(rest: str, fault: dict[str, Any]) -> requests.Response:
    """Give the sandbox a fault."""
    return requests.post(f"{rest}/sandbox/faults", json=fault, timeout=30)


class Verdict:
    """What was asked for, line by line."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def judge(self, what: str, met: bool, said: str) -> None:
        print(f"{'met    ' if met else 'NOT MET'}  {what}: {said}", flush=True)
        if not met:
            self.failed.append(what)


@dataclass(frozen=True)
class Venue:
    """Where the sandbox listens."""

    rest_url: str
    stream_url: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="DIRECTORY", help="leave log, recording and samples there")
    args = parser.parse_args()
    minutes = float(os.environ.get("BINMON_SOAK_MINUTES", "60"))
    command = [sys.executable, "-m", "binmon.sandbox", "--until-stdin-closes", "--seed", str(args.seed)]
    command += ["--symbols", "BTCUSDT", "--generate", str(BOOKS), "--generated-rate", str(ACTIONS_A_SECOND)]
    command += ["--rate", str(ACTIONS_A_SECOND)]
    venue = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert venue.stdin is not None and venue.stdout is not None
    ready = json.loads(venue.stdout.readline())
    hook = WebhookServer(200)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        directory = Path(args.keep or scratch)
        directory.mkdir(parents=True, exist_ok=True)
        try:
            return Soak(ready, directory, hook, minutes, args.seed).run()
        finally:
            hook.close()
            venue.stdin.close()
            venue.wait(30)


class Soak:
    """One run."""

    def __init__(self, ready: dict[str, Any], directory: Path, hook: WebhookServer, minutes: float, seed: int) -> None:
        self._ready, self._directory, self._hook = ready, directory, hook
        self._minutes, self._seed = minutes, seed
        special = {"BTCUSDT", "PAUSEUSDT", "QUIETUSDT"}
        others = [name for name in ready["symbols"] if name not in special and name.isascii()]
        self._symbols = ["BTCUSDT", *others[: BOOKS - 1]]
        self._samples: list[Sample] = []
        self._verdict = Verdict()

    def run(self) -> int:
        """Everything; the exit status."""
        (self._directory / "config.yaml").write_text(yaml.safe_dump(self._config()))
        with (self._directory / "log.jsonl").open("w") as out, (self._directory / "stderr").open("w") as errors:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "binmon", "run", "-c", "config.yaml", "--log-format", "json"],
                cwd=self._directory, stdout=out, stderr=errors,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        log = Log(self._directory / "log.jsonl")
        try:
            self._soak(daemon, log)
        finally:
            log.close()
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        failed = self._verdict.failed
        print(f"\n{'all met' if not failed else 'NOT MET: ' + ', '.join(failed)}", flush=True)
        return 1 if failed else 0

    def _config(self) -> dict[str, Any]:
        ready = self._ready
        return {
            "venues": {
                "binance": {
                    "environment": "sandbox",
                    "endpoints": {key: ready[key] for key in ("rest", "stream", "ws_api")},
                    "api_key": ready["api_key"],
                    "api_secret": ready["api_secret"],
                }
            },
            "books": {"symbols": self._symbols, "snapshot_every": EVERY, "audit_interval_s": AUDIT_EVERY_S},
            "recorder": {"directory": "data", "rotate_s": 120},
            "publish": {"interval_ms": 5000},
            "latency": {"interval_s": 1, "threshold_ms": 500, "report_timeout_ms": 2000},
            "execution": {"max_orders_per_day": 1_000_000},
            "alerts": {"notify": [f"http://{self._hook.address}/soak"]},
            "dashboard": {"listen": f"127.0.0.1:{_free_port()}"},
            "metrics": {"listen": "127.0.0.1:0"},
            "reload": {"watch": True},
        }

    # The run ----------------------------------------------------------------------------------------------------------

    def _soak(self, daemon: subprocess.Popen[bytes], log: Log) -> None:
        self._wait(daemon, log, lambda: self._in_step(log), 300.0, "the first sync of all books")
        rows = self._rows(log)
        began_s = time.monotonic()
        print(f"{len(self._symbols)} books in step; {self._minutes:g} minutes, seed {self._seed}", flush=True)
        strikes = Strikes(self._ready["rest"], self._symbols, self._seed)
        strikes.start()
        next_s, said_s = began_s, began_s
        while time.monotonic() - began_s < self._minutes * 60:
            time.sleep(max(0.0, next_s - time.monotonic()))
            next_s += SAMPLE_EVERY_S
            if daemon.poll() is not None:
                break
            self._samples.append(Sample.take(daemon.pid, began_s))
            log.read()
            if time.monotonic() >= said_s:
                said_s += max(30.0, self._minutes)
                last = self._samples[-1]
                print(
                    f"  {last.at_s / 60:5.1f} min: {last.resident:6.1f} MB ({last.anonymous:.1f} anonymous), "
                    f"{last.threads} threads, {last.files} files, {sum(strikes.armed.values())} faults",
                    flush=True,
                )
        took_s = time.monotonic() - began_s
        strikes.end()
        rate = (self._rows(log) - rows) / took_s if daemon.poll() is None else 0.0
        print(f"\n{took_s / 60:.1f} minutes, {rate:.1f} rows of {EVERY} updates a second recorded", flush=True)
        print(f"faults: {dict(sorted(strikes.armed.items()))}")
        for one in strikes.refused:
            print(f"  not armed: {one}")
        (self._directory / "samples.json").write_text(json.dumps([vars(one) for one in self._samples]))
        self._verdict.judge("one process", daemon.poll() is None, f"status {daemon.poll()}")
        if daemon.poll() is not None:
            return
        witnesses = self._calm(daemon, log)
        self._resources(daemon)
        daemon.send_signal(signal.SIGTERM)
        status = daemon.wait(20)
        log.read()
        self._verdict.judge("stopped", status == 0, f"status {status}")
        self._log(log)
        self._orders()
        self._recording(witnesses)

    def _wait(
        self, daemon: subprocess.Popen[bytes], log: Log, true: Callable[[], bool], within_s: float, what: str
    ) -> bool:
        """False when it took too long, or the daemon ended."""
        end_s = time.monotonic() + within_s
        while True:
            log.read()
            if true():
                return True
            if daemon.poll() is not None or time.monotonic() >= end_s:
                print(f"waited in vain for {what}", flush=True)
                return False
            time.sleep(0.5)

    def _in_step(self, log: Log) -> bool:
        return log.states == dict.fromkeys(self._symbols, "synced")

    def _rows(self, log: Log) -> float:
        text = requests.get(f"http://{log.address}/metrics", timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("binmon_recorder_rows_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    # What must hold ---------------------------------------------------------------------------------------------------

    def _calm(self, daemon: subprocess.Popen[bytes], log: Log) -> list[Witness]:
        """From here on nothing may be wrong any more."""

        def right() -> bool:
            return self._in_step(log) and all(
                len(found := log.audits.get(symbol, [])) >= 2 and not any(found[-2:]) for symbol in self._symbols
            )

        log.forget()
        in_step = self._wait(daemon, log, right, CALM_WITHIN_S, "two right audits of each book after the faults")
        wrong = {symbol: found for symbol, found in log.audits.items() if any(found)}
        self._verdict.judge(
            "books in step, audited right after the faults",
            in_step,
            f"{sum(map(len, log.audits.values()))} audits; had to be mended by them: {wrong or 'none'}",
        )
        log.forget()
        self._calm_since_ns = time.time_ns()
        witnesses = self._witnesses()
        self._wait(daemon, log, right, CALM_WITHIN_S, "two more")
        found = {symbol: audits for symbol, audits in log.audits.items() if any(audits)}
        self._verdict.judge(
            "every book audited right in the calm",
            right() and not found,
            f"{sum(map(len, log.audits.values()))} audits of {len(log.audits)} books, {found or 'no level differs'}",
        )
        self._verdict.judge("a calm without trouble", not log.troubles, str(log.troubles[:3] or "none"))
        return witnesses

    def _witnesses(self) -> list[Witness]:
        """Second clients, with every book between them. What they ask for is not to be taken from the daemon's weight."""
        venue, found = Venue(self._ready["rest"], self._ready["stream"]), []
        for first in range(0, len(self._symbols), WITNESSED_AT_A_TIME):
            strike(venue.rest_url, {"kind": "forgive_weight"})
            found.append(Witness(venue, self._symbols[first : first + WITNESSED_AT_A_TIME]))
        strike(venue.rest_url, {"kind": "forgive_weight"})
        return found

    def _resources(self, daemon: subprocess.Popen[bytes]) -> None:
        sixth_s = self._minutes * 10
        then = [one for one in self._samples if sixth_s <= one.at_s < 2 * sixth_s]
        last = [one for one in self._samples if one.at_s >= 5 * sixth_s]
        for name in ("resident", "anonymous"):
            before, after = (statistics.median(getattr(one, name) for one in some) for some in (then, last))
            share = after / before - 1
            judged = name == "resident" and self._minutes >= JUDGED_FROM_MINUTES
            said = (
                f"median {before:.1f} MB in minutes {sixth_s / 60:g} to {sixth_s / 30:g}, {after:.1f} MB in the last "
            )
            said += (
                f"{sixth_s / 60:g}: {share:+.1%}; most ever {max(getattr(one, name) for one in self._samples):.1f} MB"
            )
            if judged:
                self._verdict.judge(f"{name} memory flat", share <= ALLOWED_GROWTH, said)
            else:
                print(f"         {name} memory: {said}", flush=True)
        level = [statistics.median(getattr(one, name) for one in then) for name in ("threads", "files")]
        end_s = time.monotonic() + 90.0
        while True:
            now = Sample.take(daemon.pid, 0.0)
            back = now.threads <= level[0] and now.files <= level[1]
            if back or time.monotonic() >= end_s:
                break
            time.sleep(0.5)
        self._verdict.judge("threads", now.threads <= level[0], f"{now.threads}, then {level[0]:g}")
        self._verdict.judge("file descriptors", now.files <= level[1], f"{now.files}, then {level[1]:g}")

    def _log(self, log: Log) -> None:
        """Retries are what workers are for; any other failure is a bug."""
        names = {error.__name__ for error in _retried()}
        bugs = [one for one in log.failures if one.partition(": ")[2].partition(":")[0] not in names]
        self._verdict.judge("no bug ended a worker", not bugs, str(bugs[:5] or f"{len(log.failures)} retries"))
        lost = {
            name: log.counts[name]
            for name in ("book.snapshot_dropped", "recorder.failed", "worker.fatal", "worker.late")
        }
        self._verdict.judge("nothing lost, nobody late", not any(lost.values()), str(lost))
        errors = (self._directory / "stderr").read_text()
        self._verdict.judge("a log of JSON", not log.unreadable and not errors, errors[-500:] or "and nothing else")
        told = ("book.gap", "book.resync", "book.audit", "stream.disconnected", "stream.stalled", "stream.rotated")
        told += ("latency.measured", "latency.delayed", "latency.lost", "alert.raised", "recorder.segment_finished")
        print(f"         log: { {name: log.counts[name] for name in told} }, {len(self._hook.requests)} messages")

    def _orders(self) -> None:
        path = self._directory / "data" / "state.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            classes = Counter(row[0] for row in connection.execute("SELECT class FROM latency_orders"))
            ids = {row[0] for row in connection.execute("SELECT client_order_id FROM latency_orders")}
        finally:
            connection.close()
        rows = requests.get(f"{self._ready['rest']}/sandbox/orders", timeout=60).json()
        rows = rows["orders"] if isinstance(rows, dict) else rows
        unknown = [row["clientOrderId"] for row in rows if row["clientOrderId"] not in ids]
        open_ones = classes.pop(None, 0)
        self._verdict.judge(
            "no order lost track of",
            not unknown and open_ones <= 2,
            f"{dict(classes)}, {open_ones} under way at the stop, {len(unknown)} that only the venue knows",
        )

    def _recording(self, witnesses: list[Witness]) -> None:
        data = self._directory / "data"
        compared, wrong = 0, []
        for witness in witnesses:
            witness.finish()
            for symbol in witness.events:
                try:
                    compared += rows_against_truth(data, witness, symbol, start=self._calm_since_ns)
                except AssertionError as error:
                    wrong.append(str(error)[:200])
        self._verdict.judge(
            "recorded rows are the venue's", compared > 0 and not wrong, str(wrong[:3] or f"{compared} rows")
        )
        breaches = verify(binmon.open_books(data))
        self._verdict.judge("the recording is whole", not breaches, str(breaches[:5] or "verified"))


def _retried() -> list[type[Exception]]:
    """The errors after which a worker is expected to try again."""
    from binmon import errors

    found, left = [], [errors.RetryError]
    while left:
        one = left.pop()
        found.append(one)
        left += one.__subclasses__()
    return found


if __name__ == "__main__":
    sys.exit(main())
