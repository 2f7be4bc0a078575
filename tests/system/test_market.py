"""``symbols: all``: a whole market within the venue's limits, and symbols that come and go while the daemon runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

import binmon
from binmon.recorder.verify import verify
from tests.system.conftest import DaemonProcess, configuration
from tests.system.witness import VenueProcess, Witness, book_events, inject, rows_against_truth, state

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

BUSY = ["BTCUSDT", "ETHUSDT"]
MADE_UP = 60


@pytest.fixture
def venue() -> Iterator[VenueProcess]:
    options = ("--symbols", ",".join(BUSY), "--rate", "30", "--generate", str(MADE_UP), "--generated-rate", "10")
    with VenueProcess(*options) as sandbox:
        yield sandbox


def trading(venue: VenueProcess) -> set[str]:
    """The symbols that the venue trades now."""
    return {name for name, one in state(venue)["symbols"].items() if one["status"] == "TRADING"}


def synced(process: DaemonProcess) -> set[str]:
    """The symbols that have been in step at least once."""
    return {line["symbol"] for line in process.events("book.state", to="synced")}


def rows_of(process: DaemonProcess, symbol: str) -> int:
    """How many rows of a symbol can be read now, while the daemon runs."""
    return len(binmon.open_books(process.directory / "data").arrow(symbol))


def test_a_whole_market_and_what_is_listed_and_delisted(
    venue: VenueProcess, daemon: Callable[..., DaemonProcess]
) -> None:
    process = daemon(
        configuration(
            venue.rest_url,
            venue.stream_url,
            "all",
            watch={"listings": {"interval_s": 1}},
            publish={"interval_ms": 5000},
        )
    )
    market = trading(venue)
    assert len(market) >= MADE_UP + len(BUSY)
    # all of them at once would be 15,000 of the 6,000 that a minute has, were they asked for at full depth
    process.until(lambda: synced(process) == market, 200, "all books")
    requests = state(venue)["counters"]
    assert requests["weight_used"] <= 6000
    assert not process.events("rate.limited") and not process.events("rate.banned")
    assert not process.events("snapshot.failed")
    made_up = sorted(market - {*BUSY})
    gone, halted = made_up[3], made_up[4]
    witness = Witness(venue, [*BUSY, made_up[0]])
    try:
        inject(venue, "new_symbol", symbol="FRESHUSDT")
        process.wait_for("book.state", symbol="FRESHUSDT", to="synced", within_s=60)
        assert ["FRESHUSDT"] in [line["listed"] for line in process.events("books.followed")]
        process.until(lambda: rows_of(process, "FRESHUSDT") > 0, 120, "rows of the new symbol")
        inject(venue, "remove_symbol", symbol=gone)
        inject(venue, "symbol_status", symbol=halted, status="HALT")
        process.until(
            lambda: {gone, halted} <= {name for line in process.events("books.followed") for name in line["delisted"]},
            60,
            "both let go",
        )
        # let go means that nobody asks for them any more
        process.until(
            lambda: (
                not any(
                    name in stream.upper()
                    for one in witness.others()
                    for stream in one["streams"]
                    for name in (gone, halted)
                )
            ),
            60,
            "streams without them",
        )
        inject(venue, "symbol_status", symbol=halted, status="TRADING")
        process.wait_for("book.state", symbol=halted, to="synced", count=2, within_s=60)
        tops = len(process.events("book.top", symbol="BTCUSDT"))
        process.wait_for("book.top", symbol="BTCUSDT", count=tops + 2)
        assert process.stop(signal.SIGTERM) == 0
    finally:
        witness.finish()
    # the sockets were replaced for it, and nobody else noticed
    assert process.events("stream.rotated", reason="symbols changed")
    assert not process.events("book.gap")
    left = {
        line["symbol"] for line in process.events("book.state", **{"from": "synced"}) if line["reason"] != "stopped"
    }
    assert left <= {gone, halted}, left
    assert not process.events("rate.limited")
    # a snapshot of a symbol that goes may be under way
    assert {line["symbol"] for line in process.events("snapshot.failed")} <= {gone, halted}
    data = process.directory / "data"
    for symbol in (*BUSY, made_up[0]):
        assert rows_against_truth(data, witness, symbol) > 0
    for symbol in (gone, halted):
        details = [event["detail"] for event in book_events(data, symbol) if event["kind"] == "disconnect"]
        assert "no longer trading" in details
    epochs = binmon.open_books(data).arrow(halted).column("epoch").to_pylist()
    assert epochs == sorted(epochs), "its epochs went on when it came back"
    breaches = verify(binmon.open_books(data))
    assert not breaches, breaches[:5]
