"""From frame to alert beside many books: ``python benchmarks/latency.py [--books 100] [--orders 500]``.

The daemon keeps N books of the sandbox, each changed ten times a second, and sends an order every 100 ms whose report
the venue holds back beyond the threshold, so that every order is an alert. Its ``/metrics`` tell how long it takes from
the arrival of a report's frame to its verdict in the log, and to its alert. The limit is 5 ms for the p99 of the latter;
histograms tell the bound that a share does not pass.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import requests
import yaml

ROOT = Path(__file__).parents[1]
THRESHOLD_MS, HELD_BACK_MS = 100, 120
LIMIT_S = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--books", type=int, default=100)
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--interval-s", type=float, default=0.1)
    args = parser.parse_args()
    command = [sys.executable, "-m", "binmon.sandbox", "--until-stdin-closes", "--symbols", "BTCUSDT"]
    command += ["--generate", str(args.books), "--generated-rate", "40", "--weight-limit", "10000000"]
    venue = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert venue.stdin is not None and venue.stdout is not None
    ready = json.loads(venue.stdout.readline())
    with tempfile.TemporaryDirectory() as directory:
        try:
            return run(args, ready, Path(directory), psutil.Process(venue.pid))
        finally:
            venue.stdin.close()
            venue.wait(10)


def run(args: argparse.Namespace, ready: dict, directory: Path, venue: psutil.Process) -> int:
    special = {"BTCUSDT", "PAUSEUSDT", "QUIETUSDT"}
    symbols = [name for name in ready["symbols"] if name not in special and name.isascii()][: args.books]
    config = {
        "venues": {
            "binance": {
                "environment": "sandbox",
                "endpoints": {key: ready[key] for key in ("rest", "stream", "ws_api")},
                "api_key": ready["api_key"],
                "api_secret": ready["api_secret"],
            }
        },
        "books": {"symbols": symbols, "snapshot_every": 100},
        "publish": {"interval_ms": 1000},
        "latency": {"threshold_ms": THRESHOLD_MS, "interval_s": args.interval_s},
        "execution": {"max_orders_per_day": 10_000_000},
        "metrics": {"listen": "127.0.0.1:0"},
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    log = directory / "log.jsonl"
    with log.open("w") as out:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "binmon", "run", "-c", "config.yaml", "--log-format", "json"],
            cwd=directory, stdout=out, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    try:
        address = wait_for(log, daemon, "metrics.listening")["address"]
        wait_for(log, daemon, "book.state", to="synced", count=len(symbols))
        requests.post(
            f"{ready['rest']}/sandbox/faults",
            json={"kind": "report_delay", "ms": HELD_BACK_MS, "seconds": 86400},
            timeout=10,
        )
        time.sleep(1)
        first, began_s = scrape(address), time.monotonic()
        processes = [psutil.Process(daemon.pid), venue]
        cpu_before = [sum(one.cpu_times()[:2]) for one in processes]
        while scrape(address)["orders"] - first["orders"] < args.orders:
            time.sleep(0.5)
        last, took_s = scrape(address), time.monotonic() - began_s
        cpu = [sum(one.cpu_times()[:2]) - before for one, before in zip(processes, cpu_before, strict=True)]
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)
    orders = last["orders"] - first["orders"]
    print(
        f"{len(symbols)} books, {orders:.0f} orders in {took_s:.0f} s, {last['late'] - first['late']:.0f} of them late"
    )
    print(f"reads applied to books: {(last['applied'] - first['applied']) / took_s:.0f} a second; "
          f"cores: daemon {cpu[0] / took_s:.2f}, venue {cpu[1] / took_s:.2f}")  # fmt: skip
    p99_s = {}
    for name, title in (("overhead", "frame received -> verdict in the log"), ("reaction", "frame received -> alert")):
        counts = {bound: last[name][bound] - first[name].get(bound, 0.0) for bound in last[name]}
        total = counts[float("inf")]
        bounds = {share: next(b for b in sorted(counts) if counts[b] >= share * total) for share in (0.5, 0.9, 0.99)}
        p99_s[name] = bounds[0.99]
        print(
            f"{title}: "
            + ", ".join(f"p{share * 100:.0f} <= {b * 1000:g} ms" for share, b in bounds.items())
            + f" ({total:.0f})"
        )
    met = p99_s["reaction"] <= LIMIT_S
    print(f"limit, p99 from frame to alert {LIMIT_S * 1000:g} ms: {'met' if met else 'NOT MET'}")
    return 0 if met else 1


def wait_for(log: Path, daemon: subprocess.Popen, event: str, count: int = 1, within_s: float = 180, **fields) -> dict:
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s and daemon.poll() is None:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        found = [one for one in lines if one["event"] == event and all(one.get(k) == v for k, v in fields.items())]
        if len(found) >= count:
            return found[0]
        time.sleep(0.2)
    raise SystemExit(f"no {event}: {log.read_text()[-2000:]}")


def scrape(address: str) -> dict:
    """The counters that matter, from the metrics page."""
    text = requests.get(f"http://{address}/metrics", timeout=10).text

    def total(pattern: str) -> float:
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))

    def buckets(name: str) -> dict[float, float]:
        found = re.findall(rf'^{name}_bucket{{[^}}]*le="([^"]+)"[^}}]*}} (\S+)$', text, re.MULTILINE)
        return {float(bound): float(value) for bound, value in found}

    return {
        "orders": total(r"binmon_latency_orders_total\{[^}]*\}"),
        "late": total(r'binmon_latency_orders_total\{[^}]*class="late"[^}]*\}'),
        "applied": total(r"binmon_book_apply_lag_seconds_count\{[^}]*\}"),
        "overhead": buckets("binmon_latency_overhead_seconds"),
        "reaction": buckets("binmon_alerts_reaction_seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
