"""The daemon against its own venue: books that are right pass every audit, a single wrong level is found and mended.

``BINMON_AUDITS`` says how many audits of right books.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

import binmon
from binmon.recorder.verify import verify
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.system.conftest import DaemonProcess, configuration
from tests.system.witness import Witness, book_events, depth, inject, rows_against_truth, state

AUDITS = int(os.environ.get("BINMON_AUDITS", "40"))

pytestmark = [pytest.mark.system, pytest.mark.timeout(420 + AUDITS)]

SYMBOLS = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "THINUSDT"]
WEIGHT = 1_000_000  # so that every audit is as deep as the book


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=tuple(SYMBOLS), rate=60.0, weight_limit=WEIGHT)) as sandbox:
        yield sandbox


def started(daemon: Callable[..., DaemonProcess], venue: Sandbox, symbols: list[str], **books: Any) -> DaemonProcess:
    """The daemon with all books in step."""
    process = daemon(configuration(venue.rest_url, venue.stream_url, symbols, books=books))
    for symbol in symbols:
        process.wait_for("book.state", to="synced", symbol=symbol, within_s=60)
    return process


def test_right_books_pass(venue: Sandbox, daemon: Callable[..., DaemonProcess]) -> None:
    process = started(daemon, venue, SYMBOLS, audit_interval_s=0.4)
    process.wait_for("book.audit", count=AUDITS, within_s=120 + AUDITS)
    for symbol in SYMBOLS:
        process.wait_for("book.audit", symbol=symbol)
    assert process.stop() == 0
    audits = process.events("book.audit")
    assert {line["level"] for line in audits} == {"info"} and {line["mismatches"] for line in audits} == {0}
    # a comparison of nothing would pass as well: these books have thousands of levels
    assert all(line["levels"] > 5000 for line in audits if line["symbol"] in ("BTCUSDT", "ETHUSDT"))
    assert not process.events("book.gap") and not process.events("book.upkeep_failed")
    assert len([e for e in book_events(process.directory / "data") if e["kind"] == "audit"]) == len(audits)
    print(f"{len(audits)} audits of {sum(line['levels'] for line in audits)} levels, none wrong")


@pytest.mark.parametrize(
    ("side", "mode"), [("bids", "quantity"), ("asks", "missing"), ("bids", "phantom"), ("asks", "quantity")]
)
def test_one_wrong_level_is_found_and_mended(
    venue: Sandbox, daemon: Callable[..., DaemonProcess], side: str, mode: str
) -> None:
    process = started(daemon, venue, ["BTCUSDT", "ETHUSDT"], audit_interval_s=1.0, snapshot_every=5)
    witness = Witness(venue, ["BTCUSDT", "ETHUSDT"])
    try:
        (connection,) = witness.others()
        passed = len(process.events("book.audit", symbol="BTCUSDT"))
        # deep in the book, where the flow leaves it alone and nobody would ever see it
        done = inject(
            venue,
            "corrupt_level",
            symbols=["BTCUSDT"],
            connection=[connection["id"]],
            side=side,
            mode=mode,
            rank=400,
        )
        (failed,) = process.wait_for("book.audit", symbol="BTCUSDT", level="error")
        (level,) = [one for one in state(venue)["falsified"] if one["symbol"] == "BTCUSDT"]
        assert done["falsified"][0]["price"] == level["price"]
        price, in_book, at_venue = (float(Decimal(level[key])) for key in ("price", "sent_quantity", "true_quantity"))
        found = f"{'bid' if side == 'bids' else 'ask'} {price!r}: book {in_book!r}, venue {at_venue!r}"
        assert (failed["mismatches"], failed["found"]) == (1, found)
        process.wait_for("book.state", symbol="BTCUSDT", to="synced", count=2)
        assert process.events("book.state", symbol="BTCUSDT", to="synced")[-1]["reason"] == "failed audit"
        passed = len(process.events("book.audit", symbol="BTCUSDT", mismatches=0))
        process.wait_for("book.audit", symbol="BTCUSDT", mismatches=0, count=passed + 3)
        process.wait_for("book.top", symbol="BTCUSDT", count=len(process.events("book.top", symbol="BTCUSDT")) + 2)
        assert process.stop() == 0
    finally:
        witness.finish()
    assert len(process.events("book.audit", level="error")) == 1
    assert len(process.events("book.state", symbol="ETHUSDT", to="synced")) == 1, "the other book was not disturbed"
    data = process.directory / "data"
    (event,) = [e for e in book_events(data, "BTCUSDT") if e["kind"] == "audit" and " 0 wrong" not in e["detail"]]
    assert found in event["detail"] and event["to_update_id"] == failed["update_id"]
    (path,) = (data / "evidence").rglob("*.json.gz")
    evidence = json.loads(gzip.decompress(path.read_bytes()))
    assert evidence["purpose"] == "audit" and evidence["found"] == found
    assert [one["price"] for one in evidence["mismatches"]] == [price]
    # what was recorded after the resync is right, and the other symbol's rows are all right
    mended = process.events("book.state", symbol="BTCUSDT", to="synced")[1]["update_id"]
    assert rows_against_truth(data, witness, "BTCUSDT", concerned=lambda row: row.update_id > mended) > 0
    assert rows_against_truth(data, witness, "ETHUSDT") > 0
    breaches = verify(binmon.open_books(data))
    assert not breaches, breaches[:5]


def known_range(process: DaemonProcess, venue: Sandbox) -> float:
    """Up to which price the daemon's book of ETHUSDT, of 100 levels, is verified."""
    renewals = process.events("book.renewed", symbol="ETHUSDT")
    return float(renewals[-1]["ask_known_to"] if renewals else depth(venue, "ETHUSDT", 100)["asks"][-1][0])


def test_a_book_is_renewed_beside_the_live_one_near_its_edge(
    venue: Sandbox, daemon: Callable[..., DaemonProcess]
) -> None:
    process = started(daemon, venue, ["ETHUSDT", "SOLUSDT"], depth=100, audit_interval_s=3600, snapshot_every=1)
    witness = Witness(venue, ["ETHUSDT", "SOLUSDT"])
    pause = threading.Event()
    try:
        for moves in range(1, 4):
            known_to = Decimal(str(known_range(process, venue)))
            # A book is renewed every 10 s at most; what the market does by itself meanwhile must not matter.
            pause.wait(0 if moves == 1 else 10.5)
            deadline = time.monotonic() + 120
            while len(process.events("book.renewed", symbol="ETHUSDT")) < moves:
                assert time.monotonic() < deadline, process.tail()
                # so far that a tenth of what the snapshot verified is left, yet not beyond it
                verified = [ask for ask, _ in depth(venue, "ETHUSDT")["asks"] if Decimal(ask) <= known_to]
                if len(verified) > 12:
                    inject(venue, "set_price", symbol="ETHUSDT", price=verified[-10])
                pause.wait(1.0)
        rows = len(process.events("book.top", symbol="ETHUSDT"))
        process.wait_for("book.top", symbol="ETHUSDT", count=rows + 2)
        assert not process.events("book.state", **{"from": "synced"})
        assert process.stop() == 0
    finally:
        witness.finish()
    renewals = process.events("book.renewed", symbol="ETHUSDT")
    assert {line["reason"] for line in renewals} == {"edge"} and {line["mismatches"] for line in renewals} == {0}
    known = [line["ask_known_to"] for line in renewals]
    assert known == sorted(set(known)), "each renewal reaches further than the one before"
    data = process.directory / "data"
    frame = binmon.open_books(data).pandas("ETHUSDT")
    assert frame["epoch"].max() == len(renewals) + 1, "an epoch for each renewal"
    assert frame["updates"].tolist() == [1] * len(frame), "no update was lost with the swap"
    assert rows_against_truth(data, witness, "ETHUSDT") > 0
    assert rows_against_truth(data, witness, "SOLUSDT") > 0
    breaches = verify(binmon.open_books(data))
    assert not breaches, breaches[:5]
