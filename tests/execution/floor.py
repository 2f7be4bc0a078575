"""A trading floor on a real sandbox with both sides, over real sockets, and what its ledger says."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import yaml

from binmon.config import load
from binmon.execution.router import Wish
from binmon.execution.sizes import Size
from binmon.messages import OrderSide
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.wiring.execution import trading_floor
from tests.execution.markets import D

BUY, SELL = OrderSide.BUY, OrderSide.SELL
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@contextmanager
def exchange(**options) -> Iterator[Exchange]:
    options = {"symbols": SYMBOLS, "seed": 5, "commission": 0.00075, **options}
    with Sandbox(SandboxOptions(rest_port=0, stream_port=0, ws_api_port=0, bybit_port=0, **options)) as sandbox:
        yield Exchange(sandbox)


class Exchange:
    """A sandbox, by what its control pages say and do."""

    def __init__(self, sandbox):
        self.said = sandbox.ready()

    def fault(self, kind, venue="binance", **options):
        body = json.dumps({"venue": venue, "kind": kind, **options}).encode()
        with urllib.request.urlopen(f"{self.said['rest']}/sandbox/faults", body, timeout=30) as answer:
            assert json.load(answer)["ok"]

    def clear(self):
        for venue in ("binance", "bybit"):
            self.fault("clear", venue)
            self.fault("forgive_weight", venue)
            for symbol in SYMBOLS:
                status = "TRADING" if venue == "binance" else "Trading"
                self.fault("symbol_status", venue, symbol=symbol, status=status)

    def _page(self, page, venue):
        url = f"{self.said['rest']}/sandbox/{page}?venue={venue}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)[page]

    def orders(self, venue):
        """Every order, by our id."""
        name = "clientOrderId" if venue == "binance" else "orderLinkId"
        return {order[name]: order for order in self._page("orders", venue)}

    def traded(self):
        """How many orders have traded, over both sides."""
        return sum(bool(order.get("fills")) for venue in ("binance", "bybit") for order in self.orders(venue).values())

    def balances(self, venue, account="main"):
        """What is free and locked of each asset."""
        return {
            row["asset"]: Fraction(row["free"]) + Fraction(row["locked"])
            for row in self._page("balances", venue)
            if row["account"] == account
        }

    def config(self, directory, keys=("binance", "bybit"), **sections):
        """A configuration file that names the sandbox as if it were somewhere."""
        said = self.said
        bybit = {name: said[f"bybit_{name}"] for name in ("rest", "public_stream", "private_stream")}
        venues = {
            "binance": {"endpoints": {name: said[name] for name in ("rest", "stream", "ws_api")}},
            "bybit": {"endpoints": bybit},
        }
        for venue in keys:
            prefix = "" if venue == "binance" else "bybit_"
            venues[venue] |= {name: said[prefix + name] for name in ("api_key", "api_secret")}
        execution = {"max_order_notional": 100000, "max_orders_per_day": 100000} | sections.pop("execution", {})
        made = {
            "venues": venues, "metrics": {"enabled": False}, "execution": execution, "logging": sections.pop("logging", {"level": "error"}),
            "state": {"path": str(directory / "state.db")}, **sections,
        }  # fmt: skip
        path = Path(directory) / "config.yaml"
        path.write_text(yaml.safe_dump(made))
        return path

    @contextmanager
    def floor(self, directory, **sections):
        with trading_floor(load(self.config(directory, **sections), {})) as floor:
            yield floor


def wish(side=BUY, symbol="BTCUSDT", venue=None, split=False, **size):
    size = {name: D(value) for name, value in (size or {"quantity": "0.001"}).items()}
    return Wish(symbol, side, Size(**size), venue, split)
