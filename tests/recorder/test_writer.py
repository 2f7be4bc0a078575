from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binmon.recorder import finish_segment, recover
from binmon.recorder.reader import open_books
from binmon.recorder.segment import segment_paths
from tests.recorder.market import NOON, SECOND, Market, make_recorder, table_truth, truth

Events = list[dict[str, object]]


def named(events: Events, name: str) -> Events:
    return [event for event in events if event["event"] == name]


def test_a_row_is_on_disk_after_the_flush_and_not_before(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    row = market.next()
    recorder.accept(row)
    assert not segment_paths(tmp_path)
    recorder.flush(NOON)
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row)]
    assert (recorder.rows_written, recorder.rows_lost) == (1, 0)
    assert recorder.bytes_written > 0
    recorder.close_segment()


def test_unchanged_parts_are_not_stored_again(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market(levels=3000)
    sizes = []
    for _ in range(205):
        recorder.accept(market.next())
        before = recorder.bytes_written
        recorder.flush(NOON)
        sizes.append(recorder.bytes_written - before)
    keyframes = [number for number, size in enumerate(sizes) if size > 5000]
    assert keyframes == [0, 100, 200]
    recorder.close_segment()


def test_rotation_at_multiples_of_the_clock(tmp_path: Path, events: Events) -> None:
    recorder, market = make_recorder(tmp_path, rotate_s=60), Market()
    rows = []
    for second in (1, 30, 59, 60, 61, 125):
        rows.append(market.next())
        recorder.accept(rows[-1])
        recorder.flush(NOON + second * SECOND)
    recorder.close_segment()
    closed = named(events, "recorder.segment_closed")
    # what waits at the turn belongs to the segment that ends
    assert [event["rows"] for event in closed] == [4, 2]
    assert {"path", "rows", "bytes", "rows_lost"} <= set(closed[0])
    assert len(recorder.closed) == 2
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in rows]


def test_rotation_by_size(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path, max_segment_bytes=5000), Market(levels=500)
    for _ in range(6):
        recorder.accept(market.next(resync=True))
        recorder.flush(NOON)
    recorder.close_segment()
    assert len(segment_paths(tmp_path)) > 1
    assert len(open_books(tmp_path).arrow()) == 6


def test_the_worker_drains_its_channel_on_stop(tmp_path: Path) -> None:
    recorder, market, stop = make_recorder(tmp_path, flush_interval_s=60), Market(), threading.Event()
    rows = [market.next() for _ in range(500)]
    for row in rows:
        recorder.channel.put(row, 1)
    recorder.channel.put(market.event(), 1)
    stop.set()
    recorder.run(stop)
    dataset = open_books(tmp_path)
    assert table_truth(dataset.arrow()) == [truth(row) for row in rows]
    assert dataset.event_rows() == [market.event()]
    assert len(recorder.closed) == 1


def test_a_removed_directory_comes_back_with_all_rows(tmp_path: Path, events: Events) -> None:
    directory = tmp_path / "data"
    recorder, market = make_recorder(directory), Market()
    rows = []
    for number in range(9):
        rows.append(market.next())
        recorder.accept(rows[-1])
        if number in (3, 6):
            shutil.rmtree(directory)
        recorder.flush(NOON)
    recorder.close_segment()
    (segment,) = segment_paths(directory)
    finish_segment(segment, directory, "parquet")
    assert table_truth(open_books(directory).arrow()) == [truth(row) for row in rows]
    assert recorder.rows_lost == 0


def test_a_segment_that_was_moved_away_is_not_written_twice(tmp_path: Path, events: Events) -> None:
    directory = tmp_path / "data"
    recorder, market = make_recorder(directory), Market()
    rows = [market.next() for _ in range(4)]
    recorder.accept(rows[0])
    recorder.flush(NOON)
    directory.rename(tmp_path / "elsewhere")
    recorder.accept(rows[1])  # told as changes to a row that is elsewhere now
    recorder.flush(NOON)
    assert [(event["count"], event["symbol"]) for event in named(events, "book.snapshot_dropped")] == [(1, "BTCUSDT")]
    for row in rows[2:]:
        recorder.accept(row)
        recorder.flush(NOON)
    recorder.close_segment()
    assert table_truth(open_books(directory).arrow()) == [truth(row) for row in rows[2:]]
    assert table_truth(open_books(tmp_path / "elsewhere").arrow()) == [truth(rows[0])]
    assert recorder.rows_lost == 1


def test_a_place_that_is_no_directory_is_tried_again_and_told_once(tmp_path: Path, events: Events) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder, market = make_recorder(directory), Market()
    rows = [market.next() for _ in range(6)]
    for row in rows[:5]:
        recorder.accept(row)
        recorder.flush(NOON)
    assert recorder.failing
    (failed,) = named(events, "recorder.failed")
    assert str(directory) in str(failed["path"]) and failed["log_level"] == "error"
    directory.unlink()
    recorder.accept(rows[5])
    recorder.flush(NOON)
    (resumed,) = named(events, "recorder.resumed")
    assert (resumed["rows"], resumed["rows_lost"]) == (6, 0)
    recorder.close_segment()
    assert table_truth(open_books(directory).arrow()) == [truth(row) for row in rows]


def test_rows_beyond_the_bound_are_dropped_newest_first_and_counted(tmp_path: Path, events: Events) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder, market = make_recorder(directory, pending_bytes=6000), Market(levels=100)
    rows = [market.next(resync=number % 4 == 0) for number in range(40)]
    for row in rows:
        recorder.accept(row)
    recorder.flush(NOON)
    (dropped,) = named(events, "book.snapshot_dropped")
    assert dropped["log_level"] == "warning" and dropped["venue"] == "binance" and dropped["symbol"] == "BTCUSDT"
    assert dropped["count"] == recorder.rows_lost > 0
    directory.unlink()
    recorder.flush(NOON)
    later = market.next()
    recorder.accept(later)
    recorder.flush(NOON)
    recorder.close_segment()
    back = table_truth(open_books(directory).arrow())
    kept = len(rows) - recorder.rows_lost
    assert kept > 0
    assert len(back) == kept + 1 and back[0] == truth(rows[0]) and back[-1] == truth(later)
    assert set(back) <= {truth(row) for row in [*rows, later]}


Mount = Callable[[str], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A file system of its own, 256 KiB, and a way to mount it anew with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")

    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mount("size=256k")
    try:
        yield place, mount
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_nothing_when_it_has_room_again_in_time(
    small_disk: tuple[Path, Mount], events: Events
) -> None:
    place, _ = small_disk
    told: list[OSError | None] = []
    recorder, market = make_recorder(place, refused=told.append), Market(levels=50)
    rows = [market.next() for _ in range(30)]
    for row in rows[:10]:
        recorder.accept(row)
        recorder.flush(NOON)
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    market_of_many = [Market(f"S{number}", levels=300).next() for number in range(10)]
    for row in [*rows[10:20], *market_of_many]:
        recorder.accept(row)
        recorder.flush(NOON)
    assert recorder.failing and len(named(events, "recorder.failed")) == 1
    # what is there is whole, although frames were torn
    assert table_truth(open_books(place).arrow("BTCUSDT"))[:10] == [truth(row) for row in rows[:10]]
    filler.unlink()
    for row in rows[20:]:
        recorder.accept(row)
        recorder.flush(NOON)
    recorder.close_segment()
    assert not recorder.failing and len(named(events, "recorder.resumed")) == 1
    assert len(told) > 2 and all(told[:-1]) and told[-1] is None
    dataset = open_books(place)
    assert table_truth(dataset.arrow("BTCUSDT")) == [truth(row) for row in rows]
    assert table_truth(dataset.arrow("S3")) == [truth(market_of_many[3])]
    assert len(segment_paths(place)) == 1 and recorder.rows_lost == 0


def test_a_read_only_disk_is_waited_for(small_disk: tuple[Path, Mount], events: Events) -> None:
    place, mount = small_disk
    mount("remount,ro")
    recorder, market = make_recorder(place), Market()
    rows = [market.next() for _ in range(4)]
    for row in rows[:3]:
        recorder.accept(row)
        recorder.flush(NOON)
    (failed,) = named(events, "recorder.failed")
    assert "Read-only" in str(failed["error"])
    mount("remount,rw")
    recorder.accept(rows[3])
    recorder.flush(NOON)
    recorder.close_segment()
    assert table_truth(open_books(place).arrow()) == [truth(row) for row in rows]


def test_a_stop_on_a_refusing_disk_says_what_is_lost(tmp_path: Path, events: Events) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder, market, stop = make_recorder(directory), Market(), threading.Event()
    for _ in range(3):
        recorder.channel.put(market.next(), 1)
    stop.set()
    recorder.run(stop)
    assert recorder.rows_lost == 3
    assert named(events, "book.snapshot_dropped")[-1]["count"] == 3


def test_a_lasting_write_error_goes_to_a_new_segment(
    tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    rows = [market.next() for _ in range(4)]
    recorder.accept(rows[0])
    recorder.flush(NOON)
    real, refusals = os.fsync, iter([True])

    def refuse_once(descriptor: int) -> None:
        if next(refusals, False):
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_once)
    recorder.accept(rows[1])  # a delta to the segment that is given up
    recorder.flush(NOON)
    for row in rows[2:]:
        recorder.accept(row)
        recorder.flush(NOON)
    recorder.close_segment()
    assert len(segment_paths(tmp_path)) == 2 and recorder.rows_lost == 1
    for segment in recover(tmp_path):
        finish_segment(segment, tmp_path, "parquet")
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in (rows[0], *rows[2:])]


def test_the_worker_flushes_by_its_interval_and_makes_progress(tmp_path: Path) -> None:
    recorder, market, stop = make_recorder(tmp_path, flush_interval_s=0.02), Market(), threading.Event()
    thread = threading.Thread(target=recorder.run, args=(stop,))
    thread.start()
    try:
        recorder.channel.put(market.next(), 1)
        until = time.monotonic() + 30
        while recorder.progress_count == 0 and time.monotonic() < until:
            stop.wait(0.005)
        assert recorder.rows_written == 1
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
