"""What tests of the delay monitor need: a venue with keys, a configuration for it, and a look into both ledgers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import requests

from binmon.sandbox.server import Sandbox
from tests.system.conftest import PATIENCE_S, DaemonProcess, configuration
from tests.system.witness import inject


def probing(venue: Sandbox, **latency: Any) -> dict[str, Any]:
    """A configuration that probes ``venue`` with the sandbox's own key."""
    section = {"symbol": "BTCUSDT", "interval_s": 0.2, "threshold_ms": 500, "report_timeout_ms": 1500, **latency}
    config = configuration(
        venue.rest_url,
        venue.stream_url,
        ["ETHUSDT"],
        latency=section,
        execution={"max_orders_per_day": 100_000},
        publish={"interval_ms": 60_000},
    )
    config["venues"]["binance"] = {
        "environment": "sandbox",
        "endpoints": {"rest": venue.rest_url, "stream": venue.stream_url, "ws_api": venue.ws_api_url},
        "api_key": venue.api_key,
        "api_secret": venue.api_secret,
    }
    return config


def first_id(process: DaemonProcess) -> str:
    """What the ids of this run's orders begin with, up to their number."""
    (line, *_) = process.wait_for("order.sent")
    return str(line["client_order_id"]).rpartition("-")[0] + "-"


def number(client_order_id: str) -> int:
    return int(client_order_id.rpartition("-")[2])


def settled(process: DaemonProcess) -> dict[str, dict[str, Any]]:
    """The probe ledger, by client order id: what has its class."""
    path = process.directory / "data" / "state.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM latency_orders WHERE class IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {row["client_order_id"]: dict(row) for row in rows}


def noted(process: DaemonProcess) -> set[str]:
    """The client order ids of all orders in the probe ledger, settled or not."""
    path: Path = process.directory / "data" / "state.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {str(row[0]) for row in connection.execute("SELECT client_order_id FROM latency_orders")}
    finally:
        connection.close()


def venue_orders(venue: Sandbox) -> dict[str, dict[str, Any]]:
    """The venue's own ledger, by client order id. Fails when an id came twice."""
    answer = requests.get(f"{venue.rest_url}/sandbox/orders", timeout=PATIENCE_S).json()
    rows = answer["orders"] if isinstance(answer, dict) else answer
    found = {row["clientOrderId"]: row for row in rows}
    assert len(found) == len(rows), "an order was sent twice"
    return found


def arm(venue: Sandbox, kind: str, client_order_id: str, **options: Any) -> None:
    """A fault for one order."""
    inject(venue, kind, client_order_id=client_order_id, count=1, **options)
