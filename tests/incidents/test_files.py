"""Incident files: the way there and back, broken ones, retention, and a writer that never ends anything."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.core.worker import Worker
from binmon.errors import ConfigError, StreamClosed
from binmon.incidents.lines import IncidentLines
from binmon.incidents.notes import Incident, Reason, Trigger
from binmon.incidents.reading import CutShort, Item, open_recording
from binmon.incidents.store import ENDING, IncidentStore, file_name
from binmon.incidents.writer import IncidentWriter
from binmon.messages import FrameChunk, SnapshotArrived, SnapshotFailed, StreamDown
from binmon.recorder.pacing import no_pace
from binmon.venues.binance.decoding import BinanceDecoder
from tests.books.market import Market
from tests.incidents.scene import EXCERPT, Scene, written
from tests.incidents.test_replay import ASKS, BIDS, run_on, started


def items(path: Path) -> list[Item]:
    with open_recording(path) as recording:
        return list(recording.items)


def incident(subject: str = "AUSDT", time_ns: int | None = None, *entries: Any) -> Incident:
    trigger = Trigger(Reason.GAP, subject, "expected update 5, got 7 to 8")
    at_ns = time.time_ns() if time_ns is None else time_ns
    return Incident("binance", trigger, (), at_ns, 100.0, entries, {}, {subject: 1})


def whole(tmp_path: Path) -> Path:
    scene, markets = started("AUSDT", "BUSDT", keep_s=3.0)
    run_on(scene, markets, 6)
    scene.handle(SnapshotArrived(-9, markets["AUSDT"].snapshot()))
    scene.handle(SnapshotFailed(1, "binance", "AUSDT", "refused", 1.0))
    scene.disconnect()
    scene.connect()
    markets["AUSDT"].move()
    scene.deliver(markets["AUSDT"].move())
    scene.answer(*(market.snapshot() for market in markets.values()))
    markets["AUSDT"].move()
    scene.deliver(markets["AUSDT"].move())
    run_on(scene, markets, 2.5)
    return written(scene.incident() or pytest.fail("no incident"), tmp_path)


def test_every_frame_comes_back_word_for_word(tmp_path: Path) -> None:
    frames = [b"plain", b"", b"a\ttab", b"two\nlines\r", "ü €".encode(), bytes(range(256)), b"\xff\xfe", b"x" * 100_000]
    chunks = [FrameChunk(f"c{number}", 10**18 + number, 5, (frame, frame)) for number, frame in enumerate(frames)]
    path = written(incident("AUSDT", None, *((100.0 + n, one) for n, one in enumerate(chunks))), tmp_path)
    back = [item.what for item in items(path)]
    assert [one.frames for one in back] == [one.frames for one in chunks]
    assert [(one.connection, one.received_ns) for one in back] == [(one.connection, one.received_ns) for one in chunks]


def test_a_snapshot_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    generator = random.Random(5)
    numbers = [round(generator.uniform(0, 10 ** generator.randint(-7, 9)), 8) + 1e-8 for _ in range(3000)]
    body = Market("AUSDT", BIDS, ASKS).snapshot()
    import numpy as np

    from binmon.messages import DepthSnapshot

    array = np.array(sorted(numbers))
    snapshot = DepthSnapshot("binance", "AUSDT", 5, array[::-1], array, array, array, "12345678901234567.1")
    path = written(
        incident("AUSDT", None, (100.0, SnapshotArrived(-1, snapshot)), (101.0, SnapshotArrived(-1, body))), tmp_path
    )
    first = items(path)[0].what.snapshot
    assert first.bid_price.tolist() == array[::-1].tolist() and first.inexact == snapshot.inexact
    assert first.ask_quantity.tolist() == array.tolist()


def test_the_name_says_when_why_and_what(tmp_path: Path) -> None:
    assert file_name(incident("BTCUSDT", 1_700_000_000_123_456_789)) == (
        f"20231114T221320.123456789Z-gap-BTCUSDT{ENDING}"
    )
    path = written(incident("../A/B", 1_700_000_000_123_456_789), tmp_path)
    assert path.parent == tmp_path and "%2F" in path.name


def test_cut_anywhere_it_never_looks_whole(tmp_path: Path) -> None:
    packed = whole(tmp_path).read_bytes()
    path = tmp_path / "cut.tsv.gz"
    lengths = {*range(0, len(packed) - 1, max(1, len(packed) // 60)), len(packed) - 1, len(packed) - 4, len(packed) - 9}
    for length in sorted(lengths):
        path.write_bytes(packed[:length])
        with pytest.raises((CutShort, ConfigError)) as caught:
            items(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    plain = gzip.decompress(packed)
    path = tmp_path / "cut.tsv"  # unpacked by somebody
    for length in [*range(1, len(plain), len(plain) // 60), len(plain) - 1]:
        path.write_bytes(plain[:length])
        with pytest.raises((CutShort, ConfigError)):
            items(path)
    path.write_bytes(plain)
    assert items(path)
    lines = plain.split(b"\n")
    path.write_bytes(b"\n".join([*lines[:-2], b""]))
    with pytest.raises(CutShort, match="its last line is missing"):
        items(path)
    path.write_bytes(b"\n".join([*lines[:-1], lines[5], b""]))
    with pytest.raises(CutShort, match="there are lines behind its last one"):
        items(path)


def means_the_same(packed: bytes, other: bytes) -> bool:
    """Whether what was changed are bits that only fill a byte up: nobody can see, or mind."""
    try:
        return gzip.decompress(other) == gzip.decompress(packed)
    except (EOFError, OSError, zlib.error):
        return False


def test_a_changed_byte_shows(tmp_path: Path) -> None:
    packed = whole(tmp_path).read_bytes()
    path = tmp_path / "changed.tsv.gz"
    for at in range(30, len(packed), len(packed) // 40):
        changed = bytearray(packed)
        changed[at] ^= 0x10
        path.write_bytes(changed)
        if means_the_same(packed, changed):
            assert items(path)
            continue
        with pytest.raises((CutShort, ConfigError)):
            items(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n", "line 1 has 1 fields, not time, source and payload"),
        (b"hello\n", "line 1 has 1 fields"),
        (b'{"a": 1}\n{"b": 2}\n', "line 1 has 1 fields"),
        (b"\x1f\x8b\x08\x00nonsense", "line"),
        (b"a\tb\tc\n", "line 1 has 3 fields, not time"),
        (b"12\tsomething\tc\n", "line 1 has the source 'something'"),
        (b"12\tws\t{}\n", "there is no depth update in it"),
        (b"12\tbinmon-incident\t{}\n", "its head cannot be read: "),
        (b"12\tbinmon-incident\tno JSON\n", "its head cannot be read: "),
        (b"\x00" * 5000, "line 1 has 1 fields"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected an incident file of binmon, or a recording") as caught:
        items(path)
    if content[:2] != b"\x1f\x8b":
        assert said in str(caught.value)


def test_a_later_format_is_refused_and_a_later_kind_passed_over(tmp_path: Path) -> None:
    lines = gzip.decompress(whole(tmp_path).read_bytes()).split(b"\n")
    path = tmp_path / "later.tsv"
    path.write_bytes(b"\n".join([lines[0].replace(b'"format":1', b'"format":2'), *lines[1:]]))
    with pytest.raises(ConfigError, match="it has format 2, and this version reads 1"):
        items(path)
    assert lines[-2].split(b"\t")[1] == b"end" and lines[-1] == b""
    count = len(lines) - 2
    more = [*lines[:-2], b'5\tweather\t{"now": 1.0}', b"5\tend\t%d" % (count + 1), b""]
    path.write_bytes(b"\n".join(more))
    kept = tmp_path / "same.tsv"
    kept.write_bytes(b"\n".join(lines))
    assert len(items(path)) == len(items(kept))
    path.write_bytes(b"\n".join([*lines[:-2], b"5\tend\t%d" % (count + 7), b""]))
    with pytest.raises(CutShort, match="counts"):
        items(path)


# Retention and the writer -----------------------------------------------------------------------------------------


def test_the_oldest_files_go(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, keep_files=3, keep_bytes=1e9)
    names = []
    for number in range(6):
        one = incident(f"S{number}", (1_700_000_000 + number) * 10**9)
        names.append(store.write(one, IncidentLines(one, BinanceDecoder()), no_pace)[0].name)
        store.tidy()
    (tmp_path / "notes.txt").write_text("of the operator")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names[-3:], "notes.txt"]
    size = (tmp_path / names[-1]).stat().st_size
    IncidentStore(tmp_path, keep_files=50, keep_bytes=2.5 * size).tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names[-2:], "notes.txt"]
    IncidentStore(tmp_path, keep_files=50, keep_bytes=1).tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[-1], "notes.txt"], "never the newest"


def writer_of(directory: Path, channel: Channel[Incident]) -> IncidentWriter:
    store = IncidentStore(directory, keep_files=50, keep_bytes=1e9)
    return IncidentWriter("incident-writer", channel, store, {"binance": BinanceDecoder})


def run_until_stopped(writer: IncidentWriter) -> list[dict[str, Any]]:
    stop = threading.Event()
    stop.set()
    with capture_logs() as logs:
        writer.run(stop)
    return [dict(line) for line in logs]


def test_the_writer_says_what_it_wrote(tmp_path: Path) -> None:
    channel: Channel[Incident] = Channel("incidents", 2, Overflow.DROP_NEWEST)
    channel.offer(incident("AUSDT", None, (100.0, FrameChunk("c", 1, 1, (b"{}", b"{}")))))
    writer = writer_of(tmp_path / "incidents", channel)
    (line,) = run_until_stopped(writer)
    assert (line["event"], line["symbol"], line["reason"], line["frames"]) == ("incident.written", "AUSDT", "gap", 2)
    assert Path(line["path"]).stat().st_size == line["bytes"] and writer.written[Reason.GAP] == 1


@pytest.mark.parametrize("make", ["a file in the way", "no space"])
def test_a_disk_that_refuses_is_told_and_ends_nothing(
    tmp_path: Path, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "incidents"
    if make == "a file in the way":
        directory.write_text("")
    else:
        directory.mkdir()

        def refuse(number: int) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "fsync", refuse)
    channel: Channel[Incident] = Channel("incidents", 2, Overflow.DROP_NEWEST)
    channel.offer(incident())
    channel.offer(incident("BUSDT"))
    writer = writer_of(directory, channel)
    failures = [line for line in run_until_stopped(writer) if "symbol" in line]
    assert [(line["event"], line["log_level"], line["symbol"]) for line in failures] == [
        ("incident.failed", "error", "AUSDT"), ("incident.failed", "error", "BUSDT"),
    ]  # fmt: skip
    assert writer.failed == 2 and all(line["error"] for line in failures)
    assert directory.is_file() or not list(directory.iterdir()), "nothing is left half done"


def test_a_bug_in_the_writing_ends_nothing(tmp_path: Path) -> None:
    channel: Channel[Incident] = Channel("incidents", 2, Overflow.DROP_NEWEST)
    channel.offer(incident("AUSDT", None, (100.0, FrameChunk("c", 1, 1, ("no bytes",)))))  # type: ignore[arg-type]
    channel.offer(incident("BUSDT"))
    events = [(line["event"], line.get("symbol")) for line in run_until_stopped(writer_of(tmp_path, channel))]
    assert events == [("incident.failed", "AUSDT"), ("incident.written", "BUSDT")]


def test_what_waits_at_a_stop_is_written(tmp_path: Path) -> None:
    scene, markets = started("AUSDT")
    run_on(scene, markets, 1)
    markets["AUSDT"].move()
    scene.deliver(markets["AUSDT"].move())  # and the keeper ends before what follows is there
    writer = writer_of(tmp_path, scene.incidents)
    writer.attend([scene.flight])
    (line,) = run_until_stopped(writer)
    assert line["event"] == "incident.written" and items(Path(line["path"]))


class Failing(Worker):
    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self._error = error

    def run(self, stop: threading.Event) -> None:
        raise self._error


def test_bugs_of_workers_are_told_of_and_lost_connections_are_not() -> None:
    supervisor = Supervisor()
    told: list[tuple[str, str]] = []
    supervisor.on_bug = lambda worker, error: told.append((worker, error))
    supervisor.add(Failing("one", StreamClosed("one", "by the venue")))
    supervisor.add(Failing("two", KeyError("x")))
    end_s = time.monotonic() + 30
    while not told or not all("failed" in one.last_error or one.last_error for one in supervisor.statuses()):
        supervisor.tick(time.monotonic() - 1000)  # nothing is restarted meanwhile
        assert time.monotonic() < end_s
        threading.Event().wait(0.01)
    assert told == [("two", "KeyError: 'x'")]
    supervisor.stop(Deadline(1.0))


def test_a_crash_is_written_after_the_keeper_came_back(tmp_path: Path) -> None:
    scene: Scene
    scene, markets = started("AUSDT", "BUSDT")
    run_on(scene, markets, 1)
    scene.flight.crashed("binance-books", "KeyError: 'x'")
    assert scene.incident() is None
    scene.wait(2.3)
    one = scene.incident()
    assert one is not None and one.trigger == Trigger(Reason.CRASH, "binance-books", "KeyError: 'x'")
    assert "crash-binance-books" in written(one, tmp_path).name


KILLED = """
import sys, time
from pathlib import Path
from binmon.incidents.lines import IncidentLines
from binmon.incidents.notes import Incident, Reason, Trigger
from binmon.incidents.store import IncidentStore
from binmon.messages import FrameChunk
from binmon.recorder.pacing import no_pace
from binmon.venues.binance.decoding import BinanceDecoder
import random
frames = [random.Random(n).randbytes(3000).hex().encode() for n in range(300)]
entries = tuple((100.0 + n, FrameChunk("c", n + 1, 1, (frame,))) for n, frame in enumerate(frames))
store = IncidentStore(Path(sys.argv[1]), keep_files=10_000, keep_bytes=1e12)
number = 0
print("writing", flush=True)
while True:
    number += 1
    one = Incident("binance", Trigger(Reason.GAP, f"S{number}", ""), (), time.time_ns(), 100.0, entries, {}, {})
    store.write(one, IncidentLines(one, BinanceDecoder()), no_pace)
"""


@pytest.mark.timeout(300)
def test_kill_9_leaves_no_half_file_that_looks_whole(tmp_path: Path) -> None:
    halves = found = 0
    end_s = time.monotonic() + 60
    for turn in itertools.count():
        if turn >= 8 and (halves or time.monotonic() > end_s):
            break
        directory = tmp_path / str(turn)
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(directory)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        until_s = time.monotonic() + 60
        while not (directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir())):
            assert time.monotonic() < until_s, "nothing is written"
            threading.Event().wait(0.01)
        threading.Event().wait(0.037 * (turn % 8))  # somewhere inside one of the next
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        names = list(directory.iterdir())
        halves += sum(path.name.startswith(".") for path in names)
        for path in names:
            if not path.name.startswith("."):
                found += 1
                assert len(items(path)) == 300
        IncidentStore(directory, keep_files=10_000, keep_bytes=1e12).tidy()  # as the next start does
        assert not [path for path in directory.iterdir() if path.name.startswith(".")]
    assert found and halves


def test_a_down_message_comes_back(tmp_path: Path) -> None:
    down = StreamDown("binance", "binance-market-1.1", ("ausdt@depth@100ms",), 'closed: "1006"\n')
    path = written(incident("AUSDT", None, (100.0, down)), tmp_path)
    assert items(path)[0].what == down
    assert EXCERPT.exists()
