from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from binmon.core.channel import Channel, Overflow
from binmon.messages import BookEventKind, BookSnapshot
from binmon.recorder import SegmentFinisher, compaction, exchange, finish_segment
from binmon.recorder.compaction import Compactor, compact_partition
from binmon.recorder.layout import book_files, last_epochs, partitions
from binmon.recorder.merging import CompactionPolicy, Part, runs_to_merge
from binmon.recorder.reader import open_books
from binmon.recorder.segment import segment_paths
from binmon.recorder.verify import verify
from tests.recorder.market import NOON, Market, make_recorder, table_truth, truth

Events = list[dict[str, object]]
ROOT = Path(__file__).parents[2]
CRASH_STEP = int(os.environ.get("BINMON_CRASH_STEP", "23"))  # 1: killed at every single line
DATE, NEXT_DATE = "2026-01-02", "2026-01-03"
ALL = CompactionPolicy()


def record(directory: Path, files: int, *, file_format: str = "parquet", rows: int = 4) -> list[BookSnapshot]:
    """Each file from a segment of its own, every third one with a new epoch, and one row more in a second symbol."""
    market, other = Market(), Market("ETHUSDT")
    made: list[BookSnapshot] = []
    recorder = make_recorder(directory)
    for number in range(files):
        for row in range(rows):
            resync = number % 3 == 2 and row == 1
            if resync:
                recorder.accept(market.event(BookEventKind.RESYNC))
            made.append(market.next(resync=resync))
            recorder.accept(made[-1])
        if number == 0:
            recorder.accept(other.next())
        recorder.flush(NOON)
        recorder.close_segment()
        finish_segment(recorder.closed.take(0), directory, file_format)
    return made


def compact(directory: Path, today: str = NEXT_DATE, policy: CompactionPolicy = ALL) -> Compactor:
    compactor = Compactor(directory, first_after_s=0, every_s=1000, policy=policy)
    turn_to_the_end(compactor, today)
    return compactor


def turn_to_the_end(compactor: Compactor, today: str = NEXT_DATE) -> None:
    passes = compactor._passes
    while compactor._passes == passes:
        compactor.turn(compactor._next_pass_s, today, lambda: False)


def names(directory: Path, symbol: str = "BTCUSDT") -> list[str]:
    return sorted(file.path.name for file in book_files(directory, symbol=symbol))


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_a_day_that_is_over_becomes_one_file(tmp_path: Path, events: Events, file_format: str) -> None:
    rows = record(tmp_path, 7, file_format=file_format)
    before, epochs = open_books(tmp_path).event_rows(), last_epochs(tmp_path)
    assert len(names(tmp_path)) == 7
    compact(tmp_path)
    (name,) = names(tmp_path)
    assert name.endswith(f"m7-e3.{file_format}") and last_epochs(tmp_path) == epochs
    dataset = open_books(tmp_path)
    assert table_truth(dataset.arrow("BTCUSDT")) == [truth(row) for row in rows]
    assert len(list((tmp_path / "book_events").rglob(f"*.{file_format}"))) == 1
    assert dataset.event_rows() == before and len(before) == 2
    assert verify(dataset) == []
    assert not any((tmp_path / ".work").iterdir())
    told = [event for event in events if event["event"] == "recorder.compacted"]
    assert [(event["files"], event["rows"]) for event in told] == [(2, 2), (7, 28)]
    paths = [Path(str(event["path"])) for event in told]
    assert [path.stat().st_size for path in paths] == [event["bytes"] for event in told]


def test_all_metadata_is_preserved(tmp_path: Path) -> None:
    record(tmp_path, 3)
    files = list(book_files(tmp_path, symbol="BTCUSDT"))
    before = [pq.read_metadata(file.path).metadata for file in files]
    compact(tmp_path)
    (file,) = book_files(tmp_path, symbol="BTCUSDT")
    after = pq.read_metadata(file.path).metadata
    assert {key: value for key, value in before[0].items() if key != b"ARROW:schema"}.items() <= after.items()
    origins = json.loads(after[b"merged_from"])
    assert [(one["stem"], one["rows"]) for one in origins] == [(file.stem, 4) for file in files]
    assert origins[0]["config_hash"] == "c0ffee" and origins[0]["tick_size"] == "0.01"


def test_merged_files_are_merged_again_with_all_their_origins(tmp_path: Path) -> None:
    rows = record(tmp_path, 2)
    compact(tmp_path)
    market_rows = record(tmp_path / "more", 5)[8:]  # the same market, further on
    for file in list(book_files(tmp_path / "more", symbol="BTCUSDT"))[2:]:
        file.path.rename(next(book_files(tmp_path, symbol="BTCUSDT")).path.parent / file.path.name)
    compact(tmp_path)
    (file,) = book_files(tmp_path, symbol="BTCUSDT")
    assert len(json.loads(pq.read_metadata(file.path).metadata[b"merged_from"])) == 5
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == [truth(row) for row in rows + market_rows]


def test_a_restart_inside_a_merged_file_still_explains_an_epoch(tmp_path: Path) -> None:
    market = Market()
    for run in ("onerun", "other"):
        recorder = make_recorder(tmp_path)
        recorder.accept(market.next(resync=run == "other"))
        recorder.flush(NOON)
        recorder.close_segment()
        finish_segment(recorder.closed.take(0), tmp_path, "parquet")
        path = list(book_files(tmp_path))[-1].path
        stamp, _, rest = path.name.split("-", 2)
        path.rename(path.with_name(f"{stamp}-{run}-{rest}"))
    compact(tmp_path)
    assert len(names(tmp_path)) == 1 and verify(open_books(tmp_path)) == []


def test_today_waits_for_more_than_eight_small_files(tmp_path: Path) -> None:
    rows = record(tmp_path, 8)
    compact(tmp_path, today=DATE)
    assert len(names(tmp_path)) == 8
    compact(tmp_path, today=DATE, policy=CompactionPolicy(small_files_today=7, small_bytes=100))
    assert len(names(tmp_path)) == 8, "they are not small by that measure"
    compact(tmp_path, today=DATE, policy=CompactionPolicy(small_files_today=7))
    assert len(names(tmp_path)) == 1
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == [truth(row) for row in rows]


def part(number: int, size: int = 1, alike: str = "same", length: int = 8) -> Part:
    ends = ((1, number * 10), (1, number * 10 + length))
    return Part(f"s{number}", Path(f"s{number}-e1.parquet"), size, 1, *ends, 1, (alike,), {})


@pytest.mark.parametrize(
    ("parts", "is_today", "expected"),
    [
        ([part(1), part(2), part(3)], False, [[1, 2, 3]]),
        ([part(1)], False, []),
        ([part(1), part(2, alike="jsonl"), part(3), part(4)], False, [[3, 4]]),
        ([part(1, length=15), part(2), part(3)], False, [[2, 3]]),  # the first overlaps the second
        ([part(1), part(2, 50), part(3), part(4)], False, [[3, 4]]),  # too much for one file
        ([part(1), part(2, 11), part(3), part(4)], True, [[3, 4]]),
        ([part(1), part(2), part(3, 11)], True, []),
    ],
)
def test_which_files_are_merged(parts: list[Part], is_today: bool, expected: list[list[int]]) -> None:
    policy = CompactionPolicy(small_bytes=10, small_files_today=2, whole_day_bytes=40)
    runs = runs_to_merge(parts, is_today=is_today, policy=policy)
    assert [[int(one.stem[1:]) for one in run] for run in runs] == expected


def test_files_that_are_not_merged_stay_as_they_are(tmp_path: Path) -> None:
    record(tmp_path, 3)
    place = next(book_files(tmp_path, symbol="BTCUSDT")).path.parent
    (place / "notes.txt").write_text("mine")
    (place / ".hidden").write_text("mine too")
    (place / ".half.parquet.tmp").touch()
    place.chmod(0o750)
    compact(tmp_path)
    assert {path.name for path in place.iterdir()} == {*names(tmp_path), "notes.txt", ".hidden"}
    assert (place / "notes.txt").read_text() == "mine" and place.stat().st_mode & 0o777 == 0o750


def test_row_groups_are_gathered_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from binmon.recorder import merging

    record(tmp_path, 6)
    monkeypatch.setattr(merging, "GROUP_ROWS", 10)
    compact(tmp_path)
    (file,) = book_files(tmp_path, symbol="BTCUSDT")
    metadata = pq.read_metadata(file.path)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [8, 8, 8]


def test_a_damaged_file_is_left_alone_and_told_once(tmp_path: Path, events: Events) -> None:
    record(tmp_path, 3)
    next(book_files(tmp_path, symbol="BTCUSDT")).path.write_bytes(b"nothing")
    compactor = compact(tmp_path)
    turn_to_the_end(compactor)
    assert len(names(tmp_path)) == 3
    told = [event for event in events if event["event"] == "recorder.not_compacted"]
    assert len(told) == 1 and told[0]["log_level"] == "warning" and "symbol=BTCUSDT" in str(told[0]["path"])


def test_without_the_exchange_nothing_is_merged_and_that_is_told_once(
    tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(first: Path, second: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    record(tmp_path, 3)
    monkeypatch.setattr(exchange, "exchange", refuse)
    compactor = Compactor(tmp_path, first_after_s=0, every_s=0)
    for _ in range(3):
        assert not compactor.turn(time.monotonic() + 10, NEXT_DATE, lambda: False)
    assert len(names(tmp_path)) == 3 and not any((tmp_path / ".work").iterdir())
    assert [event["event"] for event in events].count("recorder.not_compacted") == 1


def test_a_stop_changes_nothing(tmp_path: Path) -> None:
    record(tmp_path, 5)
    before = names(tmp_path)
    (venue,) = partitions(tmp_path / "books", "venue")
    place = next(book_files(tmp_path, symbol="BTCUSDT")).path.parent
    for turns in range(6):
        left = iter(range(turns))
        partition = (venue[0], "BTCUSDT", DATE, place)
        done = compact_partition(
            tmp_path, partition, is_today=False, policy=ALL, give_up=lambda left=left: next(left, None) is None
        )
        assert not done and names(tmp_path) == before and not any((tmp_path / ".work").iterdir())


def closed_segment(directory: Path, messages: list[object]) -> Path:
    recorder = make_recorder(directory)
    for message in messages:
        recorder.accept(message)
    recorder.flush(NOON)
    recorder.close_segment()
    return recorder.closed.take(0)


def test_a_crash_between_the_files_and_the_removal_of_their_segment(tmp_path: Path) -> None:
    """Such a segment is finished again, over its own file: that must still be there."""
    market = Market()
    rows = [market.next() for _ in range(8)]
    for number in range(3):
        finish_segment(closed_segment(tmp_path, rows[2 * number : 2 * number + 2]), tmp_path, "parquet")
    segment = closed_segment(tmp_path, rows[6:])
    content = segment.read_bytes()
    finish_segment(segment, tmp_path, "parquet")
    segment.write_bytes(content)  # as the crash left it
    before = names(tmp_path)
    compact(tmp_path)
    expected = [truth(row) for row in rows]
    assert names(tmp_path) == before and len(before) == 4
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == expected
    finish_segment(segment, tmp_path, "parquet")
    compact(tmp_path)
    assert len(names(tmp_path)) == 1 and not segment_paths(tmp_path)
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == expected


def test_a_segment_between_two_files_is_waited_for(tmp_path: Path) -> None:
    """The disk refused its file while later ones found room: its rows belong between theirs."""
    market = Market()
    rows = [market.next() for _ in range(8)]
    segments = [closed_segment(tmp_path, rows[2 * number : 2 * number + 2]) for number in range(4)]
    for number in (0, 1, 3):
        finish_segment(segments[number], tmp_path, "parquet")
    compact(tmp_path)
    assert len(names(tmp_path)) == 3
    finish_segment(segments[2], tmp_path, "parquet")
    compact(tmp_path)
    assert len(names(tmp_path)) == 1
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == [truth(row) for row in rows]


def test_the_live_segment_keeps_nothing_from_being_merged(tmp_path: Path) -> None:
    rows = record(tmp_path, 3)
    recorder = make_recorder(tmp_path)
    market = Market()
    market.update_id, market.epoch, market.time_ns = rows[-1].update_id, 3, rows[-1].receive_time_ns
    more = market.next()
    recorder.accept(more)
    recorder.flush(NOON)
    compact(tmp_path)
    assert len(names(tmp_path)) == 1
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == [truth(row) for row in [*rows, more]]
    recorder.close_segment()


def test_the_removal_of_segments_lasts_before_files_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could bring a segment back whose rows are in a merged file."""
    record(tmp_path, 3)
    steps: list[str] = []
    sync, swap = compaction.sync_directory, compaction.exchange

    def synced(path: Path) -> None:
        steps.append(path.name)
        sync(path)

    def exchanged(first: Path, second: Path) -> None:
        steps.append("exchange")
        swap(first, second)

    monkeypatch.setattr(compaction, "sync_directory", synced)
    monkeypatch.setattr(compaction, "exchange", exchanged)
    compact(tmp_path)
    assert [steps[0], *steps[2:]] == ["segments", "exchange", "symbol=BTCUSDT", ".work"]


CRASHES = """
import os, sys, shutil, time
from pathlib import Path
from binmon.recorder import compaction, exchange, merging
from binmon.recorder.compaction import compact_partition
from binmon.recorder.merging import CompactionPolicy

source, place = Path(sys.argv[1]), Path(sys.argv[2])
ours = {module.__file__ for module in (compaction, exchange, merging)}


def run(directory, line):
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename not in ours and not frame.f_code.co_filename.endswith("shutil.py"):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), 9)
        return trace

    partition = next((directory / "books").glob("*/symbol=BTCUSDT/date=*"))
    sys.settrace(trace)
    compact_partition(directory, ("binance", "BTCUSDT", "2026-01-02", partition), is_today=False, policy=CompactionPolicy())
    sys.settrace(None)


line, step = int(sys.argv[3]), int(sys.argv[4])
while True:
    directory = place / str(line)
    shutil.copytree(source, directory)
    child = os.fork()
    if not child:
        run(directory, line)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        break
    assert os.WTERMSIG(status) == 9, status
    line += step
"""


@pytest.mark.timeout(60 + 5000 // CRASH_STEP)
def test_kill_9_at_any_line_leaves_every_row_once(tmp_path: Path) -> None:
    rows = record(tmp_path / "source", 4, rows=2)
    (tmp_path / "crashes").mkdir()
    script = tmp_path / "crashes.py"
    script.write_text(CRASHES)
    words = [sys.executable, script, tmp_path / "source", tmp_path / "crashes", "1", str(CRASH_STEP)]
    subprocess.run(list(map(str, words)), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    expected = [truth(row) for row in rows]
    found: set[int] = set()
    crashed = sorted((tmp_path / "crashes").iterdir(), key=lambda path: int(path.name))
    assert len(crashed) > 10
    for directory in crashed:
        assert table_truth(open_books(directory).arrow("BTCUSDT")) == expected, directory.name
        found.add(len(names(directory)))
    assert found == {4, 1}, "before the exchange, and behind it"
    for directory in random.Random(5).sample(crashed, 8):
        stop = threading.Event()
        stop.set()
        SegmentFinisher(directory, Channel("closed", 1, Overflow.DROP_NEWEST)).run(stop)
        assert not (directory / ".work").exists(), "a start empties it"
        compact(directory)
        assert len(names(directory)) == 1
        assert table_truth(open_books(directory).arrow("BTCUSDT")) == expected


def test_readers_while_files_are_merged(tmp_path: Path) -> None:
    """Listed before the exchange and opened after it: no traceback, no row twice, none missing."""
    rows = record(tmp_path, 30, rows=2)
    expected = [truth(row) for row in rows]
    policy = CompactionPolicy(small_files_today=1)
    done = threading.Event()

    def merge_again_and_again() -> None:
        # a growing set of files: each turn moves some more into the partition and merges them
        place = next(book_files(tmp_path, symbol="BTCUSDT")).path.parent
        for _ in range(40):
            compact_partition(tmp_path, ("binance", "BTCUSDT", DATE, place), is_today=True, policy=policy)
            (file,) = place.iterdir()
            copy = place / file.name.replace("-e", "x-e")
            # another name for the same rows, in one step: to a reader a merge without the merging
            file.rename(copy)
        done.set()

    thread = threading.Thread(target=merge_again_and_again)
    thread.start()
    reads = 0
    while not done.is_set() or not reads:
        dataset = open_books(tmp_path)
        assert table_truth(dataset.arrow("BTCUSDT")) == expected
        assert dataset.coverage()[0].rows == len(rows)
        assert dataset.book("BTCUSDT").update_id == rows[-1].update_id
        assert verify(dataset) == []
        reads += 1
    thread.join(30)
    assert not thread.is_alive()


def test_a_reader_goes_on_where_it_was_when_its_files_are_merged(tmp_path: Path) -> None:
    rows = record(tmp_path, 5)
    tables = open_books(tmp_path).tables("BTCUSDT")
    first = table_truth(next(tables).drop(["venue", "symbol"]))
    compact(tmp_path)
    rest = [row for table in tables for row in table_truth(table.drop(["venue", "symbol"]))]
    assert first + rest == [truth(row) for row in rows]


def test_a_segment_finished_and_merged_while_a_reader_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader holds the segment open, and its file is in a merged one by the time it lists: each row once."""
    from binmon.recorder import reader

    record(tmp_path, 2)
    rows = record(tmp_path / "more", 3)[8:]
    recorder = make_recorder(tmp_path)
    for row in rows:
        recorder.accept(row)
    recorder.flush(NOON)
    recorder.close_segment()
    segment = recorder.closed.take(0)
    real, times = reader.book_files, iter([True])

    def later(*given: object, **named: object) -> object:
        if next(times, False):
            finish_segment(segment, tmp_path, "parquet")
            compact(tmp_path)
        return real(*given, **named)  # type: ignore[arg-type]

    expected = len(open_books(tmp_path).arrow("BTCUSDT"))
    monkeypatch.setattr(reader, "book_files", later)
    assert len(open_books(tmp_path).arrow("BTCUSDT")) == expected == 12


def test_the_finisher_compacts_when_it_is_idle(tmp_path: Path) -> None:
    rows = record(tmp_path, 4)
    stop = threading.Event()
    finisher = SegmentFinisher(tmp_path, Channel("closed", 1, Overflow.DROP_NEWEST), compact_after_s=0)
    (tmp_path / ".work" / "left-by-a-crash").mkdir(parents=True)
    thread = threading.Thread(target=finisher.run, args=(stop,))
    thread.start()
    try:
        for _ in range(600):
            if len(names(tmp_path)) == 1:
                break
            stop.wait(0.05)
    finally:
        stop.set()
        thread.join(30)
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == [truth(row) for row in rows]
    assert len(names(tmp_path)) == 1 and not (tmp_path / ".work" / "left-by-a-crash").exists()
