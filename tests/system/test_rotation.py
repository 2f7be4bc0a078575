"""Sockets replaced under load, and one of two killed again and again: not one update is missing from the recording.

``BINMON_LOAD=full`` keeps a hundred symbols, ``BINMON_ROTATIONS`` and ``BINMON_TWIN_KILLS`` say how often.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import requests
from structlog.testing import capture_logs

import binmon
from binmon.books.feeds import FeedDesk, FeedOutlets
from binmon.net.rotation import RotationWindow
from binmon.recorder.verify import verify
from tests.system.conftest import DaemonProcess, configuration
from tests.system.witness import VenueProcess, Witness, book_events, inject, nothing_missing, rows_against_truth

LOAD = os.environ.get("BINMON_LOAD", "")
ROTATIONS = int(os.environ.get("BINMON_ROTATIONS", "8"))
TWIN_KILLS = int(os.environ.get("BINMON_TWIN_KILLS", "8"))

pytestmark = [pytest.mark.system, pytest.mark.timeout(600 + 30 * max(ROTATIONS, TWIN_KILLS))]

SYMBOLS = ["BTCUSDT", "ETHUSDT"] + [f"L{number:03d}USDT" for number in range(98 if LOAD == "full" else 8)]
COMPARED = SYMBOLS[1:4]  # whose rows are compared level by level; the ids are compared of all
RATE = "20"  # actions a second and symbol: something changes in each of the venue's tenths of a second


@pytest.fixture
def venue() -> Iterator[VenueProcess]:
    with VenueProcess("--symbols", ",".join(SYMBOLS), "--rate", RATE, "--weight-limit", "100000") as sandbox:
        yield sandbox


@pytest.fixture
def witness(venue: VenueProcess) -> Iterator[Witness]:
    witness = Witness(venue, SYMBOLS)
    yield witness
    witness.finish()


def started(daemon: Callable[..., DaemonProcess], venue: VenueProcess, redundancy: int = 1) -> DaemonProcess:
    """The daemon with all books in step; every update is a row."""
    books = {"snapshot_every": 1, "depth": 500, "redundancy": redundancy, "audit_interval_s": 3600}
    process = daemon(
        configuration(venue.rest_url, venue.stream_url, SYMBOLS, books=books, publish={"interval_ms": 10_000})
    )
    process.wait_for("book.state", to="synced", count=len(SYMBOLS), within_s=120)
    return process


def more_events(process: DaemonProcess, witness: Witness, count: int = 10) -> None:
    """Wait until the venue has sent so many more events of every symbol: what is missing shows in what follows."""
    before = {symbol: len(witness.events[symbol]) for symbol in SYMBOLS}
    process.until(
        lambda: all(len(witness.events[symbol]) >= before[symbol] + count for symbol in SYMBOLS), 60, "more events"
    )


def ended_without_a_seam(process: DaemonProcess, witness: Witness) -> None:
    """Stop it, and look for what was lost."""
    more_events(process, witness)
    assert not process.events("book.gap")
    assert not process.events("book.state", **{"from": "synced"})
    assert process.stop() == 0
    witness.finish()
    assert not process.events("book.snapshot_dropped") and not process.events("stream.overflow")
    directory = process.directory / "data"
    counts = [nothing_missing(directory, witness, symbol) for symbol in SYMBOLS]
    assert min(counts) >= 5
    rows = sum(counts)
    heard = sum(len(witness.update_ids(symbol)) for symbol in SYMBOLS)
    compared = sum(rows_against_truth(directory, witness, symbol) for symbol in COMPARED)
    assert compared > 0
    breaches = verify(binmon.open_books(directory))
    assert not breaches, breaches[:5]
    rate = heard / witness.heard_s / len(SYMBOLS)
    print(f"{rows} rows of {len(SYMBOLS)} symbols at {rate:.1f} updates/s each, no update missing")
    print(f"{compared} rows equal the witness")


def check_rotations(process: DaemonProcess, count: int) -> None:
    """Every rotation overlapped and stands in the events of every symbol."""
    rotated = process.events("stream.rotated")
    assert len(rotated) == count
    overlaps = sorted(one["overlap_ms"] for one in rotated)
    assert overlaps[0] > 0 and all(one["streams"] == len(SYMBOLS) for one in rotated)
    seen = dict.fromkeys(SYMBOLS, 0)
    for event in book_events(process.directory / "data"):
        if event["kind"] == "rotation":
            seen[event["symbol"]] += 1
            assert event["from_update_id"] == event["to_update_id"]
    assert seen == dict.fromkeys(SYMBOLS, count)
    print(f"{count} rotations, overlap {overlaps[0]:.0f} to {overlaps[-1]:.0f} ms")


def test_rotations_under_load(venue: VenueProcess, witness: Witness, daemon: Callable[..., DaemonProcess]) -> None:
    process = started(daemon, venue)
    reasons = []
    for count in range(1, ROTATIONS + 1):
        if count % 2:
            process.process.send_signal(signal.SIGUSR1)
            reasons.append("asked by the operator")
        else:
            # announced early enough for the slowest machine; most sockets are gone by themselves by then
            numbers = [one["id"] for one in witness.others()]
            inject(venue, "server_shutdown", connection=numbers, close_after_s=60)
            reasons.append("serverShutdown")
        process.wait_for("stream.rotated", count=count, within_s=60)
        # the predecessor is gone before the next begins
        process.wait_for("stream.disconnected", count=count, within_s=60)
        process.until(lambda: len(witness.others()) == 1, 60, "one socket at the venue")
    assert [one["reason"] for one in process.events("stream.rotated")] == reasons
    assert [one["id"] for one in witness.others()] == [max(one["id"] for one in witness.others())]
    ended_without_a_seam(process, witness)
    check_rotations(process, ROTATIONS)


def test_a_socket_that_ends_while_it_is_being_replaced(
    venue: VenueProcess, witness: Witness, daemon: Callable[..., DaemonProcess]
) -> None:
    process = started(daemon, venue)
    count = 0

    def both_deliver() -> bool:
        others = witness.others()
        return len(others) == 2 and all(len(one["streams"]) == len(SYMBOLS) and one["events"] for one in others)

    def is_cut(mode: str) -> bool:
        """Replace the socket and cut it meanwhile. Both are there for a second or two, which may pass unseen."""
        (old,) = witness.others()
        process.process.send_signal(signal.SIGUSR1)
        process.until(lambda: both_deliver() or len(process.events("stream.rotated")) == count, 60, "two sockets")
        fault = {"kind": "disconnect", "mode": mode, "connection": [old["id"]]}
        answer = requests.post(f"{venue.rest_url}/sandbox/faults", json=fault, timeout=60).json()
        process.wait_for("stream.rotated", count=count)
        process.until(lambda: len(witness.others()) == 1, 60, "one socket")
        more_events(process, witness, 3)
        return bool(answer.get("ok"))

    for mode in ("rst", "abrupt", "close_frame"):
        for _ in range(10):
            count += 1
            if is_cut(mode):
                break
        else:
            pytest.fail("it is never there when it is to be cut")
    ended_without_a_seam(process, witness)
    check_rotations(process, count)


def both_live(process: DaemonProcess, witness: Witness, after: int = -1) -> list[int]:
    """Wait until two sockets deliver all streams, the newest being younger than number ``after``; their numbers."""

    def live() -> bool:
        others = witness.others()
        whole = [one for one in others if len(one["streams"]) == len(SYMBOLS) and one["events"] > 0]
        return len(others) == len(whole) == 2 and max(one["id"] for one in whole) > after

    process.until(live, 180, "two live sockets")
    return [one["id"] for one in witness.others()]


def test_one_of_two_sockets_killed_again_and_again(
    venue: VenueProcess, witness: Witness, daemon: Callable[..., DaemonProcess]
) -> None:
    process = started(daemon, venue, redundancy=2)
    numbers = both_live(process, witness)
    kills = {"rst": 0, "close_frame": 0, "stall": 0}
    for count in range(TWIN_KILLS):
        mode = list(kills)[count % 3]
        kills[mode] += 1
        victim = numbers[count // 3 % 2]  # the older and the younger one in turn
        if mode == "stall":
            inject(venue, "stall", connection=[victim], seconds=600, pongs=count % 2 == 0)
        else:
            inject(venue, "disconnect", mode=mode, connection=[victim])
        numbers = both_live(process, witness, after=max(numbers))
    process.wait_for("stream.disconnected", count=TWIN_KILLS)
    assert len(process.events("stream.stalled")) == kills["stall"]
    assert len(process.events("stream.disconnected")) == TWIN_KILLS
    ended_without_a_seam(process, witness)
    print(f"killed {kills}")


def test_both_of_two_sockets_are_replaced_at_once(
    venue: VenueProcess, witness: Witness, daemon: Callable[..., DaemonProcess]
) -> None:
    process = started(daemon, venue, redundancy=2)
    numbers = both_live(process, witness)
    for count in (2, 4):
        process.process.send_signal(signal.SIGUSR1)
        process.wait_for("stream.rotated", count=count, within_s=60)
        numbers = both_live(process, witness, after=max(numbers))
    ended_without_a_seam(process, witness)
    check_rotations(process, 4)


def test_a_slow_twin_and_the_loss_of_the_fast_one(
    venue: VenueProcess, witness: Witness, daemon: Callable[..., DaemonProcess]
) -> None:
    process = started(daemon, venue, redundancy=2)
    slow, fast = both_live(process, witness)
    inject(venue, "slow_link", connection=[slow], delay_ms=400)
    events = {one["id"]: one["events"] for one in witness.others()}
    # the slow one falls behind by what it is delayed, and both go on
    process.until(
        lambda: all(one["events"] > events[one["id"]] + 10 * len(SYMBOLS) for one in witness.others()), 60, "events"
    )
    inject(venue, "disconnect", mode="rst", connection=[fast])
    both_live(process, witness, after=fast)
    # what the slow one still brings of the time between is what the new one has not seen
    events = {one["id"]: one["events"] for one in witness.others()}
    process.until(
        lambda: all(one["events"] > events[one["id"]] + 10 * len(SYMBOLS) for one in witness.others()), 60, "events"
    )
    ended_without_a_seam(process, witness)


def test_the_log_says_which_twin_is_faster() -> None:
    opened: list[str] = []
    outlets = FeedOutlets(lambda group, feed, streams: opened.append(feed), lambda *_: None, lambda *_: None)
    desk = FeedDesk("binance", outlets, lambda _: None, window=RotationWindow(0.0, 3600.0), redundancy=2)
    desk.carry(["btcusdt@depth@100ms"])
    slow, fast = opened
    for feed in opened:
        desk.on_up(feed, 0.0)
    desk.tick(0.0, 7200.0)
    for number in range(1, 101):
        arrived_ns = number * 100_000_000
        desk.on_event(fast, "btcusdt@depth@100ms", number, arrived_ns)
        desk.on_event(slow, "btcusdt@depth@100ms", number, arrived_ns + 40_000_000)
    with capture_logs() as lines:
        desk.tick(11.0, 7211.0)
        assert not lines  # a report a minute
        desk.tick(61.0, 7261.0)
    told = {line["connection"]: line for line in lines if line["event"] == "stream.compared"}
    assert (told[fast]["first"], told[fast]["second"]) == (100, 0)
    assert (told[slow]["first"], told[slow]["second"]) == (0, 100)
    assert told[slow]["median_behind_ms"] == told[slow]["worst_behind_ms"] == 40.0
