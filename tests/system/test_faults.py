"""The daemon under each of the sandbox's faults: it recovers by itself, and what it recorded all the while is right.

One daemon goes through the faults one after the other, each aimed at its connections and past the witness; what it
logged and recorded since a fault began is held against what the fault should do. Faults of the whole venue, and those
of a start, have a daemon of their own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import binmon
from binmon.recorder.verify import verify
from binmon.telemetry.events import VOCABULARY
from tests.system.conftest import DaemonProcess, configuration
from tests.system.witness import VenueProcess, Witness, inject, rows_against_truth, state

pytestmark = [pytest.mark.system, pytest.mark.timeout(480)]

# A book that was resynced a moment ago waits before it is resynced again; so faults of one symbol take turns.
SYMBOLS = ["BTCUSDT", "ETHUSDT", *(f"F{number}USDT" for number in range(8))]
OPTIONS = ("--symbols", ",".join(SYMBOLS), "--rate", "40", "--ping-interval-s", "2", "--weight-limit", "1000000")
BOOKS = {"snapshot_every": 5, "depth": 500, "audit_interval_s": 3600}
DEPTH = "/api/v3/depth"


class Scene:
    """A venue, a witness and a daemon whose books are all in step."""

    def __init__(self, directory: Path) -> None:
        self.venue = VenueProcess(*OPTIONS)
        config = configuration(
            self.venue.rest_url, self.venue.stream_url, SYMBOLS, books=BOOKS, publish={"interval_ms": 250}
        )
        self.process = DaemonProcess(config, directory)
        self.process.wait_for("book.state", to="synced", count=len(SYMBOLS), within_s=60)
        self.witness = Witness(self.venue, SYMBOLS)
        self.data = self.process.directory / "data"
        self._targets = itertools.cycle(SYMBOLS)
        self.begin()
        # the pace of the streams is learned before anything is called a stall
        self.wait_for_tops(8)

    def begin(self) -> str:
        """From now on counts what happens; returns the symbol to aim at."""
        self.mark, self.mark_ns = len(self.process.lines), time.time_ns()
        self.symbol = next(self._targets)
        return self.symbol

    def aimed(self, fault: dict[str, Any]) -> dict[str, Any]:
        """Carry out a fault. ``connection: ours`` and ``symbols: [ours]`` stand for the daemon's and for the target."""
        options = dict(fault)
        if options.get("connection") == "ours":
            # one that the daemon has left may still be there for a moment
            self.process.until(lambda: len(self.witness.others()) == 1, 60, "one connection of the daemon")
            options["connection"] = [one["id"] for one in self.witness.others()]
        if options.get("symbols") == ["ours"]:
            options["symbols"] = [self.symbol]
        done = inject(self.venue, **options)
        assert done.get("connections", ["not of connections"]), "the fault hit nothing"
        return done

    def logged(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """Lines of the log since the beginning."""
        return [
            line
            for line in self.process.lines[self.mark :]
            if line["event"] == name and all(line.get(key) == value for key, value in fields.items())
        ]

    def recorded(self) -> list[dict[str, Any]]:
        """Rows of ``book_events`` since the beginning, as far as they are on disk; without audits that a book has passed,
        whose time comes when the faults take long."""
        rows = binmon.open_books(self.data).events().to_pylist()
        return [
            row
            for row in rows
            if row["time"].timestamp() * 1e9 >= self.mark_ns
            and not (row["kind"] == "audit" and row["detail"].endswith(" 0 wrong"))
        ]

    def wait_for_tops(self, count: int) -> None:
        """Until every book has published its top so often."""
        before = len(self.process.lines)

        def published() -> bool:
            seen = dict.fromkeys(SYMBOLS, 0)
            for line in self.process.lines[before:]:
                if line["event"] == "book.top":
                    seen[line["symbol"]] += 1
            return min(seen.values()) >= count

        self.process.until(published, 60, f"{count} tops of each book")

    def in_step(self) -> bool:
        """Whether the last that was heard of each book is that it is in step."""
        last = {line["symbol"]: line["to"] for line in self.process.events("book.state")}
        return set(last.values()) == {"synced"} and len(last) == len(SYMBOLS)

    def armed(self) -> bool:
        """Whether a fault has still something to do."""
        return bool(state(self.venue)["faults"])

    def rows_are_right(self) -> None:
        """Rows of all that follows from now are on disk, and every row since the beginning is true."""
        now_ns = time.time_ns()
        dataset = binmon.open_books(self.data)

        def written() -> bool:
            return all(len(dataset.arrow(symbol, now_ns)) > 0 for symbol in SYMBOLS)

        self.process.until(written, 60, "rows of all books")
        for symbol in SYMBOLS:
            assert rows_against_truth(self.data, self.witness, symbol, start=self.mark_ns) > 0

    def end(self) -> None:
        """Stop everything; the recording as a whole is sound."""
        try:
            assert self.process.stop() == 0 and self.process.stop_took_s < 5.0
            assert not self.process.unreadable and not self.process.events("worker.fatal")
            assert {line["event"] for line in self.process.lines} <= set(VOCABULARY)
            breaches = verify(binmon.open_books(self.data))
            assert not breaches, breaches[:5]
        finally:
            self.close()

    def close(self) -> None:
        """Let go of all processes."""
        self.witness.finish()
        if self.process.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.process.stdout, self.process.process.stderr):
            if pipe is not None:
                pipe.close()
        self.venue.__exit__()


@pytest.fixture(scope="module")
def the_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("faults"))
    try:
        yield scene
    except BaseException:
        scene.close()
        raise
    scene.end()


@pytest.fixture
def scene(the_scene: Scene) -> Iterator[Scene]:
    assert the_scene.process.process.poll() is None, "an earlier fault has ended the daemon"
    the_scene.process.until(the_scene.in_step, 60, "all books in step after the fault before")
    the_scene.begin()
    yield the_scene
    inject(the_scene.venue, "clear")
    inject(the_scene.venue, "forgive_weight")


def depth_fault(kind: str, **options: Any) -> dict[str, Any]:
    """A fault of the target's depth events on the daemon's connections."""
    return {"kind": kind, "symbols": ["ours"], "connection": "ours", **options}


def wire_fault(kind: str, **options: Any) -> dict[str, Any]:
    """A fault of the daemon's connections as a whole."""
    return {"kind": kind, "connection": "ours", **options}


def rest_fault(**options: Any) -> dict[str, Any]:
    """A fault of the target's snapshots."""
    return {"kind": "rest", "path": DEPTH, "symbols": ["ours"], **options}


@dataclass(frozen=True)
class Case:
    """Faults that are armed together; what the log must say, and the kinds of book events there must be: no others."""

    name: str
    faults: tuple[dict[str, Any], ...]
    kinds: frozenset[str]
    logs: tuple[str, ...] = ()


GAP = frozenset({"gap", "resync"})
DOWN = frozenset({"disconnect", "resync"})
STALLED = frozenset({"stall", "disconnect", "resync"})
NOTHING: frozenset[str] = frozenset()

GAP_FAULT = depth_fault("gap")  # what forces a resync while the snapshots of the symbol are spoilt
RST = wire_fault("disconnect", mode="rst")

CASES = [
    # events
    Case("gap", (depth_fault("gap", count=2),), GAP, ("book.gap",)),
    Case("duplicate", (depth_fault("duplicate", count=3, times=3),), NOTHING),
    Case("reorder", (depth_fault("reorder"),), GAP, ("book.gap",)),
    Case("crossed_book", (depth_fault("crossed_book", count=30),), frozenset({"resync"})),
    Case("fragmented", (depth_fault("fragmented", count=5, pieces=4),), NOTHING),
    *(
        Case(f"malformed-{mode}-in-place", (depth_fault("malformed", mode=mode, in_place=True, count=2),), kinds, logs)
        for mode, kinds, logs in (
            ("json", GAP, ("book.gap",)),
            ("truncated", GAP, ("book.gap",)),
            ("utf8", GAP, ("book.gap",)),
            ("header", DOWN, ("stream.disconnected",)),
        )
    ),
    # frames beside the events
    *(
        Case(f"malformed-{mode}", (wire_fault("malformed", mode=mode),), kinds, logs)
        for mode, kinds, logs in (
            ("json", NOTHING, ()),
            ("truncated", NOTHING, ()),
            ("utf8", NOTHING, ()),
            ("header", DOWN, ("stream.disconnected",)),
        )
    ),
    Case("binary", (wire_fault("binary", count=3),), NOTHING),
    Case("empty", (wire_fault("empty", count=3),), NOTHING),
    Case("masked", (wire_fault("masked"),), DOWN, ("stream.disconnected",)),
    Case("oversized", (wire_fault("oversized"),), DOWN, ("stream.disconnected",)),
    Case("oversized-header-only", (wire_fault("oversized", complete=False),), DOWN, ("stream.disconnected",)),
    # connections
    Case("disconnect-close-frame", (wire_fault("disconnect", mode="close_frame"),), DOWN, ("stream.disconnected",)),
    Case("disconnect-abrupt", (wire_fault("disconnect", mode="abrupt"),), DOWN, ("stream.disconnected",)),
    Case("disconnect-rst", (RST,), DOWN, ("stream.disconnected",)),
    # a stream that a busy machine has held up before may be silent for longer; it is cleared when it has been found
    Case("stall-pongs", (wire_fault("stall", pongs=True, seconds=600),), STALLED, ("stream.stalled",)),
    Case("stall-dead", (wire_fault("stall", pongs=False, seconds=600),), STALLED, ("stream.stalled",)),
    Case("slow_link", (wire_fault("slow_link", delay_ms=700, seconds=2),), NOTHING),
    Case("slow_link-narrow", (wire_fault("slow_link", delay_ms=0, bytes_per_s=20_000, seconds=2),), NOTHING),
    Case("server_shutdown", (wire_fault("server_shutdown", close_after_s=60),), frozenset({"rotation"}), ("stream.rotated",)),
    *(
        Case(f"refuse_connections-{mode}", ({"kind": "refuse_connections", "mode": mode, "seconds": 2}, RST), DOWN, ("worker.failed",))
        for mode in ("tcp", "http_503")
    ),
    # snapshots, while one is needed
    *(
        Case(f"rest-{status}", (rest_fault(status=status, count=2), GAP_FAULT), GAP, ("snapshot.failed",))
        for status in (500, 502, 503, 504)
    ),
    *(
        Case(f"rest-{mode}", (rest_fault(mode=mode, count=2), GAP_FAULT), GAP, ("snapshot.failed",))
        for mode in ("truncated", "html", "reset", "empty", "wrong_json")
    ),
    Case("rest-slow", (rest_fault(mode="slow", delay_s=2, count=1), GAP_FAULT), GAP),
    Case("rest-403", (rest_fault(status=403, retry_after=1, count=1), GAP_FAULT), GAP, ("snapshot.failed", "rate.limited")),
    Case("rest-418", (rest_fault(status=418, retry_after=2, count=1), GAP_FAULT), GAP, ("snapshot.failed", "rate.banned")),
    # long enough to be met: the gap has to be found first
    Case("ban", ({"kind": "ban", "seconds": 10}, GAP_FAULT), GAP, ("snapshot.failed", "rate.banned")),
    Case("stale_snapshot", ({"kind": "stale_snapshot", "symbols": ["ours"], "count": 2}, GAP_FAULT), GAP),
    Case("snapshot_lag-rest", ({"kind": "snapshot_lag", "symbols": ["ours"], "ms": 1500, "seconds": 3}, GAP_FAULT), GAP),
    Case("snapshot_lag-stream", ({"kind": "snapshot_lag", "symbols": ["ours"], "ms": -1500, "seconds": 3}, GAP_FAULT), GAP),
    # the venue
    Case("clock_skew-ahead", ({"kind": "clock_skew", "ms": 7000, "seconds": 2},), NOTHING),
    Case("clock_skew-behind", ({"kind": "clock_skew", "ms": -7000, "seconds": 2},), NOTHING),
    Case("freeze", ({"kind": "freeze", "seconds": 2},), NOTHING),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_fault(scene: Scene, case: Case) -> None:
    for fault in case.faults:
        scene.aimed(fault)
    for name in case.logs:
        scene.process.until(partial(scene.logged, name), 150, name)
    if "resync" in case.kinds:
        resynced = dict.fromkeys(SYMBOLS if "disconnect" in case.kinds else [scene.symbol], False)

        def back() -> bool:
            resynced.update((line["symbol"], True) for line in scene.logged("book.state", to="synced"))
            return all(resynced.values()) and scene.in_step()

        # a firewall that names no time is given two minutes
        scene.process.until(back, 150, "a resync")
    if "disconnect" not in case.kinds:  # what was aimed at a connection that is gone stays armed until it is cleared
        scene.process.until(lambda: not scene.armed(), 60, "the end of the fault")
    scene.wait_for_tops(3)
    assert scene.in_step()
    scene.process.until(lambda: case.kinds <= {row["kind"] for row in scene.recorded()}, 60, f"{set(case.kinds)}")
    scene.rows_are_right()
    recorded = scene.recorded()
    assert {row["kind"] for row in recorded} == case.kinds
    if "disconnect" not in case.kinds and "rotation" not in case.kinds:
        assert {row["symbol"] for row in recorded} <= {scene.symbol}, "nobody else was disturbed"
    if not case.kinds:
        assert not scene.logged("book.state")


def own_daemon(
    venue: VenueProcess, daemon: Callable[..., DaemonProcess], symbols: list[str], **books: Any
) -> DaemonProcess:
    """A daemon beside the shared one; its books are in step."""
    process = daemon(configuration(venue.rest_url, venue.stream_url, symbols, books={**BOOKS, **books}))
    for symbol in symbols:
        process.wait_for("book.state", symbol=symbol, to="synced", within_s=60)
    return process


def test_the_venue_is_wiped(daemon: Callable[..., DaemonProcess]) -> None:
    symbols = SYMBOLS[:3]
    with VenueProcess("--symbols", ",".join(symbols), "--rate", "40") as venue:
        process = own_daemon(venue, daemon, symbols)
        for disconnect in (False, True):
            counts = {symbol: len(process.events("book.state", symbol=symbol, to="synced")) for symbol in symbols}
            inject(venue, "reset", disconnect=disconnect)
            for symbol, count in counts.items():
                process.wait_for("book.state", symbol=symbol, to="synced", count=count + 1, within_s=90)
        wiped_ns = time.time_ns()
        witness = Witness(venue, symbols)
        tops = {symbol: len(process.events("book.top", symbol=symbol)) for symbol in symbols}
        for symbol, count in tops.items():
            process.wait_for("book.top", symbol=symbol, count=count + 3)
        assert process.stop() == 0
        witness.finish()
    data = process.directory / "data"
    for symbol in symbols:
        assert rows_against_truth(data, witness, symbol, start=wiped_ns) > 0
    breaches = verify(binmon.open_books(data))
    assert not breaches, breaches[:5]


def test_faults_at_the_start_only_delay_the_books(daemon: Callable[..., DaemonProcess]) -> None:
    symbols = SYMBOLS[:3]
    with VenueProcess("--symbols", ",".join(symbols), "--rate", "40") as venue:
        inject(venue, "rest", status=503, count=1, path="/api/v3/exchangeInfo")
        inject(venue, "rest", mode="html", count=1, path="/api/v3/time")
        inject(venue, "rest", mode="truncated", count=2, path=DEPTH)
        inject(venue, "refuse_connections", seconds=2)
        inject(venue, "stale_snapshot", symbols=["ETHUSDT"], count=2)
        process = own_daemon(venue, daemon, symbols)
        assert process.events("venue.unreachable") and process.events("snapshot.failed")
        assert process.stop() == 0


def test_a_limit_is_obeyed_by_every_thread(daemon: Callable[..., DaemonProcess]) -> None:
    symbols = SYMBOLS[:3]
    with VenueProcess("--symbols", ",".join(symbols), "--rate", "40") as venue:
        process = own_daemon(venue, daemon, symbols)
        before = state(venue)["counters"]["requests"][DEPTH]
        inject(venue, "rest", status=429, retry_after=4, count=1, path=DEPTH)
        inject(venue, "disconnect", mode="rst")
        (limited,) = process.wait_for("rate.limited")
        synced = process.wait_for("book.state", to="synced", count=2 * len(symbols), within_s=60)
        # by the daemon's own clock, so that a slow machine changes nothing
        waited = datetime.fromisoformat(synced[-1]["timestamp"]) - datetime.fromisoformat(limited["timestamp"])
        assert waited.total_seconds() > 3.9
        # one for each book, and the refused one again
        assert state(venue)["counters"]["requests"][DEPTH] - before == len(symbols) + 1
        assert len(process.events("rate.limited")) == 1
        assert process.stop() == 0


def test_malformed_frames_are_told_ever_less_often(daemon: Callable[..., DaemonProcess]) -> None:
    symbols = SYMBOLS[:3]
    with VenueProcess("--symbols", ",".join(symbols), "--rate", "40") as venue:
        process = own_daemon(venue, daemon, symbols)
        for mode in ("json", "truncated", "utf8", "json", "json"):
            inject(venue, "malformed", mode=mode)
        process.wait_for("stream.malformed", count=3)
        tops = len(process.events("book.top"))
        process.wait_for("book.top", count=tops + 3)
        assert [line["count"] for line in process.events("stream.malformed")] == [1, 2, 4]
        assert not process.events("book.gap")
        assert process.stop() == 0


def test_long_waits_are_obeyed_and_disturb_no_book(daemon: Callable[..., DaemonProcess]) -> None:
    symbols = SYMBOLS[:3]
    with VenueProcess("--symbols", ",".join(symbols), "--rate", "40") as venue:
        process = own_daemon(venue, daemon, symbols)
        # a page of the firewall without a time: minutes, by the venue's advice
        inject(venue, "rest", mode="html", status=403, count=1, path=DEPTH)
        inject(venue, "gap", symbols=[symbols[0]])
        (limited,) = process.wait_for("rate.limited")
        assert limited["retry_after_s"] >= 60
        before = state(venue)["counters"]["requests"][DEPTH]
        tops = {symbol: len(process.events("book.top", symbol=symbol)) for symbol in symbols[1:]}
        for symbol, count in tops.items():
            process.wait_for("book.top", symbol=symbol, count=count + 3)
        assert state(venue)["counters"]["requests"][DEPTH] == before
        # too many connections: the venue names what is left of its five minutes
        inject(venue, "refuse_connections", mode="http_429", seconds=600)
        inject(venue, "disconnect", mode="rst")
        process.until(
            lambda: any("CONNECTIONS" in line["error"] for line in process.events("worker.failed")), 60, "the refusal"
        )
        (refused,) = [line for line in process.events("worker.failed") if "CONNECTIONS" in line["error"]]
        assert refused["delay_s"] > 200
        assert process.stop() == 0 and process.stop_took_s < 5.0
