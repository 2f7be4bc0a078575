"""A whole daemon with the web page, on the embedded sandbox, for looking at it in a browser.

``python -m tests.dashboard.serve --port 8788``: user ``demo``, password ``demo-password-1``. Ctrl-C ends it. Templates and files
are read anew for each request. What it keeps is in a directory that is removed at the end, or in ``--directory``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import binmon.daemon
from binmon.config import load
from binmon.daemon import Daemon
from binmon.dashboard.accounts import Accounts
from binmon.dashboard.passwords import hashed
from binmon.state import State
from binmon.wiring.dashboard import wire_dashboard
from binmon.wiring.logs import set_up_log

USER, PASSWORD = "demo", "demo-password-1"

CONFIG = """
venues: {{binance: {{environment: sandbox}}}}
books: {{venue: binance, symbols: {symbols}, depth: 500}}
recorder: {{directory: {directory}/data}}
latency: {{interval_s: 2, threshold_ms: 100}}
execution: {{max_orders_per_day: 50000}}
watch:
  candles: [{{venue: binance, symbol: BTCUSDT, interval: 1m, above: 1000000}}]
  trades: [{{venue: binance, symbol: BTCUSDT, above: 1000000}}]
  listings: {{enabled: true, venues: [binance], interval_s: 5}}
publish: {{interval_ms: 500, sinks: []}}
dashboard: {{listen: "127.0.0.1:{port}", most_streams: 64}}
metrics: {{enabled: true, listen: "127.0.0.1:{metrics_port}"}}
state: {{path: {directory}/state.db}}
{more}
"""


def make_user(state_path: Path, name: str = USER, password: str = PASSWORD) -> None:
    """An account, unless it is there; also with a password that `binmon users add` would refuse."""
    state = State(state_path)
    accounts = Accounts(state)
    if not accounts.has_user(name):
        now_ms = time.time_ns() // 1_000_000
        state.execute("INSERT INTO dashboard_users VALUES (?, ?, ?, ?)", (name, hashed(password), now_ms, now_ms))
    state.close()


def main() -> int:
    """Run until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8788)
    parser.add_argument("--metrics-port", type=int, default=0)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT")
    parser.add_argument("--more", default="", help="more lines of config.yaml, instead of none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="binmon-dashboard-") as scratch:
        directory = args.directory or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "config.yaml"
        symbols = "[" + ", ".join(args.symbols.split(",")) + "]"
        file.write_text(
            CONFIG.format(
                directory=directory,
                symbols=symbols,
                port=args.port,
                metrics_port=args.metrics_port,
                more=args.more,
            )
        )
        loaded = load(file, os.environ)
        make_user(Path(loaded.config.state.path))
        set_up_log(loaded.config.logging, "console" if sys.stdout.isatty() else "json", sys.stdout)
        sys.setswitchinterval(0.0001)  # as `binmon run`
        binmon.daemon.wire_dashboard = partial(wire_dashboard, develops=True)
        return int(Daemon(loaded).run())


if __name__ == "__main__":
    sys.exit(main())
