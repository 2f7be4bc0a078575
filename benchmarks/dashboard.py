"""Does the web page cost the books anything: ``python benchmarks/dashboard.py [--symbols N] [--clients N] [--deaf N]``.

One daemon keeps N books (ten updates a second each, from ``load_venue.py``), and phases with and without browsers alternate in the
same run. With: so many clients hold live event streams (status, all tops, and four books each of them another four times a
second), of which some never read; one of those that is dropped comes back and does not read again. Figures are the daemon's own
(``binmon_book_apply_lag_seconds``, from frame received to book applied); the noise is how far phases of the same kind differ.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from market import quantile
from market_processes import Samples, Venue, wait_until_synced

PASSWORD = "quiet-otters-climb-9"
A_USER = 8  # streams that one user may have
LAG = "binmon_book_apply_lag_seconds"


class Daemon:
    """``binmon run`` with the web page, against the generator."""

    def __init__(self, directory: Path, venue: Venue, users: int) -> None:
        self.directory = directory
        self.metrics, self.page = (f"127.0.0.1:{_free_port()}" for _ in range(2))
        config = {
            "venues": {
                "binance": {
                    "environment": "testnet",
                    "endpoints": {key: venue.addresses[key] for key in ("rest", "stream")},
                }
            },
            "books": {"symbols": "all", "snapshot_every": 10},
            "recorder": {"directory": str(directory / "data")},
            "publish": {"interval_ms": 1000, "sinks": []},
            "latency": {"enabled": False},
            "watch": {"listings": {"enabled": False}},
            "dashboard": {"listen": self.page, "most_streams": A_USER * users},
            "metrics": {"listen": self.metrics},
            "logging": {"level": "warning"},
            "state": {"path": str(directory / "state.db")},
        }
        path = directory / "config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        binmon = [sys.executable, "-m", "binmon"]
        self.users = [f"bench-{number}" for number in range(users)]
        for user in self.users:
            subprocess.run(
                [*binmon, "users", "-c", str(path), "add", user, "--password-stdin"],
                input=PASSWORD.encode() + b"\n",
                check=True,
                stdout=subprocess.DEVNULL,
            )
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*binmon, "run", "-c", str(path)], stdout=log, stderr=log)

    def scrape(self) -> Samples:
        """``/metrics``: by name and the last label that is not the venue."""
        host, port = self.metrics.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/metrics")
        samples: Samples = {}
        for line in connection.getresponse().read().decode().splitlines():
            if line.startswith(("binmon_", "process_")):
                labelled, _, value = line.rpartition(" ")
                name, _, labels = labelled.partition("{")
                keys = [text for text in re.findall(r'="([^"]*)"', labels) if text != "binance"]
                samples.setdefault(name, {})[keys[-1] if keys else ""] = float(value)
        connection.close()
        return samples

    def health(self) -> dict[str, Any]:
        """What ``/healthz`` says of the page."""
        host, port = self.metrics.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/healthz")
        document: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return document

    def end(self) -> None:
        """Stop it as systemd would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


def token(page: str, user: str) -> str:
    """Log in as a browser does, and make a token."""
    import requests

    session, url = requests.Session(), f"http://{page}"
    found = re.search(r'name="csrf" value="([^"]+)"', session.get(f"{url}/login").text)
    assert found is not None
    session.post(f"{url}/login", data={"csrf": found[1], "name": user, "password": PASSWORD})
    data = re.search(r'id="page-data">(.*?)</script>', session.get(url).text)
    assert data is not None, "the login failed"
    csrf = {"X-CSRF-Token": json.loads(data[1])["csrf"]}
    return str(session.post(f"{url}/api/tokens", json={"name": "benchmark"}, headers=csrf).json()["token"])


# The browsers, in a process of their own ------------------------------------------------------------------------------


def browsers(page: str, tokens: list[str], books: list[str], clients: int, deaf: int) -> None:
    """Hold the streams until standard input closes; a line of figures a second."""
    host, port = page.split(":")
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    received = events = opened = 0
    mute: list[socket.socket] = []

    def connect(number: int, reads: bool) -> None:
        nonlocal opened
        opened += 1
        made = socket.socket()
        if not reads:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect((host, int(port)))
        mine = [f"book:binance:{books[(4 * number + k) % len(books)]}" for k in range(4)]
        query = urlencode({"topics": ",".join(["status", "tops", *mine])})
        made.sendall(
            f"GET /api/stream?{query} HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {tokens[number // A_USER]}\r\n\r\n".encode()
        )
        if reads:
            made.setblocking(False)
            selector.register(made, selectors.EVENT_READ, number)
        else:
            mute.append(made)

    for number in range(clients):
        connect(number, number >= deaf)
    told_s = time.monotonic()
    while True:
        for key, _ in selector.select(0.5):
            if key.fileobj is sys.stdin:
                return
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(1 << 16)
            received += len(data)
            events += data.count(b"\n\n")
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                connect(key.data, True)
        if time.monotonic() - told_s >= 1:
            told_s = time.monotonic()
            for one in [one for one in mute if _is_closed(one)]:
                mute.remove(one)
                one.close()
                connect(0, False)
            print(json.dumps({"bytes": received, "events": events, "opened": opened}), flush=True)


def _is_closed(deaf: socket.socket) -> bool:
    """Whether the daemon has dropped one that does not read: by the kernel's state of the connection, without reading."""
    state = deaf.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state not in (1,)  # TCP_ESTABLISHED


# Phases ---------------------------------------------------------------------------------------------------------------


@dataclass
class Phase:
    """What was measured while browsers looked, or none did."""

    watched: bool
    p50_ms: float
    p99_ms: float
    mean_ms: float
    page_cpu: float
    keeper_cpu: float
    events_s: float = 0.0
    bytes_s: float = 0.0
    opened: int = 0


def measure(daemon: Daemon, seconds: float, lines: list[dict[str, Any]] | None) -> Phase:
    """One phase."""
    before, first = daemon.scrape(), dict(lines[-1]) if lines else {}
    began_s = time.monotonic()
    time.sleep(seconds)
    after, last = daemon.scrape(), dict(lines[-1]) if lines else {}
    taken_s = time.monotonic() - began_s

    def grown(name: str) -> dict[str, float]:
        return {key: value - before.get(name, {}).get(key, 0.0) for key, value in after.get(name, {}).items()}

    buckets = (before[f"{LAG}_bucket"], after[f"{LAG}_bucket"])
    count, total = sum(grown(f"{LAG}_count").values()), sum(grown(f"{LAG}_sum").values())
    cpu = grown("binmon_worker_cpu_seconds_total")
    return Phase(
        lines is not None,
        quantile(*buckets, 0.5),
        quantile(*buckets, 0.99),
        1e3 * total / max(1.0, count),
        sum(used for name, used in cpu.items() if name.startswith("dashboard")) / taken_s,
        cpu.get("binance-books", 0.0) / taken_s,
        (last.get("events", 0) - first.get("events", 0)) / taken_s,
        (last.get("bytes", 0) - first.get("bytes", 0)) / taken_s,
        last.get("opened", 0),
    )


def compare(phases: list[Phase]) -> None:
    """Print each kind, the difference, and how far phases of the same kind differ."""
    print(f"\n{'':24} {'p50 ms':>8} {'p99 ms':>8} {'mean ms':>8}")
    for watched in (False, True):
        some = [one for one in phases if one.watched is watched]
        name = "with browsers" if watched else "without"
        for one in some:
            print(f"{name:24} {one.p50_ms:8.3f} {one.p99_ms:8.3f} {one.mean_ms:8.3f}")
    for title in ("p50_ms", "p99_ms", "mean_ms"):
        without = [getattr(one, title) for one in phases if not one.watched]
        looked = [getattr(one, title) for one in phases if one.watched]
        difference = statistics.mean(looked) - statistics.mean(without)
        noise = max(max(kind) - min(kind) for kind in (without, looked))
        verdict = "within the noise" if abs(difference) <= noise else "BEYOND the noise"
        print(
            f"{title[:-3]:>5}: {statistics.mean(without):.3f} ms without, {statistics.mean(looked):.3f} ms with: "
            f"{difference:+.3f} ms; phases of one kind differ by up to {noise:.3f} ms: {verdict}"
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--deaf", type=int, default=5, help="of the clients, so many never read")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3, help="phases of each kind")
    parser.add_argument("--browsers", nargs=2, metavar=("PAGE", "JSON"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.browsers:
        page, given = options.browsers[0], json.loads(options.browsers[1])
        browsers(page, given["tokens"], given["books"], options.clients, options.deaf)
        return
    options.cycle, options.tick_ms = 100, 10.0
    print(
        f"{options.symbols} books, {options.clients} streams of which {options.deaf} do not read, {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory(prefix="dashboard-", ignore_cleanup_errors=True) as name:
        venue = Venue(options.symbols, options)
        daemon = Daemon(Path(name), venue, users=-(-options.clients // A_USER))
        try:
            wait_until_synced(options.symbols, venue, daemon)  # type: ignore[arg-type]
            run(options, daemon)
        finally:
            daemon.end()
            venue.end()


def run(options: argparse.Namespace, daemon: Daemon) -> None:
    """Alternate phases, and compare them."""
    books = sorted(daemon.health()["venues"]["binance"]["books"])
    tokens = [token(daemon.page, user) for user in daemon.users]
    phases: list[Phase] = []
    for number in range(2 * options.rounds):
        if number % 2 == 0:
            phases.append(measure(daemon, options.seconds, None))
            continue
        given = json.dumps({"tokens": tokens, "books": books})
        child = subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--clients",
                str(options.clients),
                "--deaf",
                str(options.deaf),
                "--browsers",
                daemon.page,
                given,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[dict[str, Any]] = []
        _follow(child, lines)
        time.sleep(3)  # all are connected
        phases.append(measure(daemon, options.seconds, lines))
        document = daemon.health()["dashboard"]
        print(
            f"{phases[-1].events_s:,.0f} events/s, {phases[-1].bytes_s / 1e6:.2f} MB/s to those who read; "
            f"{document['streams']} streams, {document['dropped']} dropped so far, {phases[-1].opened} opened; the page "
            f"{phases[-1].page_cpu:.1%} of a core, the keeper {phases[-1].keeper_cpu:.1%}"
        )
        child.communicate()
    compare(phases)


def _follow(child: subprocess.Popen[str], lines: list[dict[str, Any]]) -> None:
    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(json.loads(line))

    lines.append({})
    threading.Thread(target=read, daemon=True).start()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
