"""Several faults at once, at random moments: when they are over, every book is right again, and nobody had to help.

``BINMON_STORMS`` says how many storms; each has its number as seed and prints it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

import binmon
from binmon.recorder.verify import verify
from tests.system.conftest import DaemonProcess, configuration
from tests.system.witness import VenueProcess, Witness, book_events, inject, rows_against_truth

STORMS = int(os.environ.get("BINMON_STORMS", "4"))
FIRST = int(os.environ.get("BINMON_FIRST_STORM", "1"))  # to repeat a later one

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SYMBOLS = ["BTCUSDT", "ETHUSDT", "S0USDT", "S1USDT", "S2USDT"]
STORM_S = 10.0
DEPTH = "/api/v3/depth"
AT_ONCE = 3


def faults(chance: random.Random) -> dict[str, dict[str, Any]]:
    """Every kind of fault once, with options by chance. Those of connections are aimed at the daemon's."""
    some = chance.sample(SYMBOLS, chance.randint(1, len(SYMBOLS)))
    count = chance.randint(1, 5)
    pick = chance.choice
    ours: dict[str, Any] = {"connection": "ours"}
    events: dict[str, Any] = {**ours, "symbols": some, "count": count}
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
        "malformed": {
            **events,
            "mode": pick(["json", "utf8", "header", "truncated"]),
            "in_place": pick([True, False]),
        },
        "oversized": {**ours, "complete": pick([True, False])},
        "binary": ours,
        "empty": ours,
        "masked": ours,
        "disconnect": {**ours, "mode": pick(["close_frame", "abrupt", "rst"])},
        "stall": {**ours, "pongs": pick([True, False]), "seconds": 60},
        "slow_link": {**ours, "delay_ms": pick([50, 500, 1500]), "seconds": 4},
        "server_shutdown": {**ours, "close_after_s": pick([0.2, 1, 3])},
        "refuse_connections": {"mode": pick(["tcp", "http_503"]), "seconds": pick([1, 3])},
        "rest": {
            "mode": pick(["status", "truncated", "slow", "html", "reset", "empty", "wrong_json"]),
            "delay_s": 2,
            "path": DEPTH,
            "symbols": some,
            "seconds": 3,
        },
        "stale_snapshot": {"symbols": some, "seconds": 3, "ids_back": pick([1, 30, 1000])},
        "snapshot_lag": {"symbols": some, "ms": pick([-1200, -300, 300, 1200]), "seconds": 3},
        "ban": {"seconds": 3},
        "clock_skew": {"ms": pick([-8000, -500, 500, 8000]), "seconds": 3},
        "freeze": {"seconds": pick([1, 3])},
        "set_price": {"symbol": pick(some)},
        "reset": {"disconnect": pick([True, False])},
    }


def strike(venue: VenueProcess, witness: Witness, kind: str, options: dict[str, Any]) -> None:
    """Arm one fault; when it finds nothing to hit just now (no connection, say), that is the storm's luck."""
    options = dict(options)
    if options.get("connection") == "ours":
        options["connection"] = [one["id"] for one in witness.others()]
    if kind == "set_price":
        parameters = {"symbol": options["symbol"], "limit": "50"}
        # in a storm this very request may be what is spoilt, so the book is looked at where faults do not reach
        price = requests.get(f"{venue.rest_url}/api/v3/ticker/bookTicker", params=parameters, timeout=60)
        if price.status_code != 200:
            return
        options["price"] = f"{float(price.json()['askPrice']) * 1.002:.8f}"
    if options.get("connection") != []:
        requests.post(f"{venue.rest_url}/sandbox/faults", json={"kind": kind, **options}, timeout=60)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + STORMS))
def test_a_storm(daemon: Callable[..., DaemonProcess], seed: int) -> None:
    chance = random.Random(seed)
    kinds = chance.sample(sorted(faults(chance)), AT_ONCE)
    print(f"storm {seed}: {', '.join(kinds)}")
    # the first blows fall together, later ones whenever
    moments = sorted(
        (moment, kind)
        for kind in kinds
        for moment in [chance.uniform(0.0, 1.0), *(chance.uniform(0.0, STORM_S) for _ in range(chance.randint(0, 3)))]
    )
    blows = [(moment, kind, faults(chance)[kind]) for moment, kind in moments]
    options = ("--symbols", ",".join(SYMBOLS), "--rate", "40", "--ping-interval-s", "2", "--weight-limit", "1000000")
    with VenueProcess(*options) as venue:
        process = daemon(
            configuration(
                venue.rest_url,
                venue.stream_url,
                SYMBOLS,
                books={
                    "snapshot_every": 3,
                    "depth": 1000,
                    "audit_interval_s": 2,
                    "redundancy": chance.choice([1, 1, 2]),
                },
            )
        )
        for symbol in SYMBOLS:
            process.wait_for("book.state", symbol=symbol, to="synced", within_s=90)
            process.wait_for("book.top", symbol=symbol, count=2)
        through = Witness(venue, SYMBOLS)
        started_s = time.monotonic()
        for moment, kind, chosen in blows:
            threading.Event().wait(max(0.0, started_s + moment - time.monotonic()))
            print(f"  {time.monotonic() - started_s:5.2f} s {kind} {chosen}")
            strike(venue, through, kind, chosen)
        threading.Event().wait(max(0.0, started_s + STORM_S - time.monotonic()))
        through.finish(may_be_cut_off="reset" in kinds)
        inject(venue, "clear")
        inject(venue, "forgive_weight")

        def in_step() -> bool:
            return {line["symbol"]: line["to"] for line in process.events("book.state")} == dict.fromkeys(
                SYMBOLS, "synced"
            )

        def audited_since(mark: int) -> set[str]:
            """Books that were right at their last two audits."""
            results: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
            for line in process.lines[mark:]:
                if line["event"] == "book.audit":
                    results[line["symbol"]].append(line["mismatches"])
            return {symbol for symbol, found in results.items() if len(found) >= 2 and not any(found[-2:])}

        process.until(in_step, 180, f"all books in step after storm {seed}")
        mark = len(process.lines)
        process.until(lambda: audited_since(mark) == set(SYMBOLS) and in_step(), 180, f"audits after storm {seed}")
        # from here on nothing may be wrong any more
        mark, mark_ns = len(process.lines), time.time_ns()
        witness = Witness(venue, SYMBOLS)
        process.until(lambda: audited_since(mark) == set(SYMBOLS), 180, f"audits in the calm after storm {seed}")
        calm = [line for line in process.lines[mark:] if line["event"] in ("book.gap", "book.state", "worker.failed")]
        assert not calm, calm
        assert {line["mismatches"] for line in process.lines[mark:] if line["event"] == "book.audit"} == {0}
        assert process.stop() == 0 and process.stop_took_s < 5.0
        witness.finish()
    assert not process.unreadable and not process.events("worker.fatal")
    data = process.directory / "data"
    for symbol in SYMBOLS:
        assert rows_against_truth(data, witness, symbol, start=mark_ns) > 0
        # a falsified level stands until an audit finds it; a snapshot that is declared older than it is shows levels
        # of the future until the stream has come to where it really was; after a reset ids mean something else
        if not {"reset", "corrupt_level", "stale_snapshot"} & set(kinds):
            rows_against_truth(data, through, symbol)
        explained = {
            int(event["detail"].removeprefix("epoch ").partition(":")[0])
            for event in book_events(data, symbol)
            if event["kind"] == "resync"
        }
        assert set(binmon.open_books(data).arrow(symbol).column("epoch").to_pylist()) <= explained
    breaches = verify(binmon.open_books(data))
    assert not breaches, breaches[:5]
    # the book of before a reset is wrong, and so may be one that was built on a snapshot with another book's id
    if not {"reset", "corrupt_level", "stale_snapshot"} & set(kinds):
        assert not process.events("book.audit", level="error"), "an audit found a book wrong that nobody falsified"
