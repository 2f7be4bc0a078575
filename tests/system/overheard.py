"""``binmon run`` with a listener beside it that writes what the watchers tell (candles, trades, crossings, listings), one JSON
line a message, to ``told.jsonl``. ``python -m tests.system.overheard -c config.yaml``.

The listener gets what a page would get, by the way that a page gets it; the product knows nothing of this.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
from pathlib import Path
from typing import Any

import binmon.daemon
from binmon.cli.main import main
from binmon.messages import Candle, CandlesChanged, Trade


def figures(one: Candle) -> list[Any]:
    """Open time, open, high, low, close, volume, and whether it is closed."""
    return [one.open_time_ms, *map(str, (one.open, one.high, one.low, one.close, one.volume)), one.closed]


class Overhears:
    """An outlet that writes lines; in whichever thread tells."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        atexit.register(self._file.close)
        self._lock = threading.Lock()

    def offer(self, message: Any, /) -> bool:
        line: dict[str, Any] = {"kind": type(message).__name__, "venue": message.venue, "symbol": message.symbol}
        if isinstance(message, CandlesChanged):
            line |= {
                "interval": message.interval,
                "whole": message.whole,
                "candles": list(map(figures, message.candles)),
            }
        elif isinstance(message, Trade):
            line |= {"id": message.trade_id, "price": str(message.price)}
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        return True


def listen() -> None:
    """Every daemon of this process is listened to."""
    plan = binmon.daemon.plan_watch

    def plan_and_listen(*arguments: Any) -> Any:
        parts = plan(*arguments)
        parts.desk.told.add(Overhears(Path("told.jsonl")))
        return parts

    binmon.daemon.plan_watch = plan_and_listen


if __name__ == "__main__":
    listen()
    sys.exit(main(["run", *sys.argv[1:], "--log-format", "json"]))
