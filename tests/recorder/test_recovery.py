"""What is left after a crash, and that it is all there is to lose."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from binmon.core.channel import Channel, Overflow
from binmon.recorder import SegmentFinisher, finish_segment, recover
from binmon.recorder.frames import FrameKind, scan
from binmon.recorder.layout import book_directory
from binmon.recorder.reader import open_books
from binmon.recorder.segment import segment_paths
from tests.recorder.crash_rows import ROWS_A_FLUSH, same_rows
from tests.recorder.market import NOON, Market, make_recorder, table_truth, truth

ROOT = Path(__file__).parents[2]
Events = list[dict[str, object]]


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_any_moment_loses_at_most_what_was_not_flushed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.recorder.crash_writer", tmp_path],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    flushed = ""
    for _ in range(chance.randrange(5, 120)):
        flushed = process.stdout.readline()
    threading.Event().wait(chance.random() / 50)  # somewhere inside the following flushes
    process.kill()
    rest = process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    told = [line for line in rest if len(line.split()) == 2] or [flushed]
    for segment in recover(tmp_path):
        finish_segment(segment, tmp_path, "parquet")
    assert not segment_paths(tmp_path) and not list(tmp_path.rglob("*.tmp"))
    dataset = open_books(tmp_path)
    for symbol, last_told in zip(("BTCUSDT", "ETHUSDT"), map(int, told[-1].split()), strict=True):
        back = table_truth(dataset.arrow(symbol))
        expected = same_rows(symbol, len(back))
        assert back == [truth(row) for row in expected]  # a prefix of what was recorded: nothing twice, no hole
        at_disk = [row.update_id for row in expected]
        assert last_told in at_disk
        assert len(at_disk) - 1 - at_disk.index(last_told) <= ROWS_A_FLUSH


def recorded(directory: Path, rows: int = 12) -> tuple[Path, list[object]]:
    """A segment left by a crash: a frame a row, no mark at its end."""
    recorder, market = make_recorder(directory), Market()
    wanted = [market.next(resync=number == 8) for number in range(rows)]
    for row in wanted:
        recorder.accept(row)
        recorder.flush(NOON)
    recorder._segment.abandon()
    return segment_paths(directory)[0], wanted


def test_a_torn_tail_is_cut_and_told(tmp_path: Path, events: Events) -> None:
    segment, rows = recorded(tmp_path)
    content = segment.read_bytes()
    segment.write_bytes(content[:-3])
    assert recover(tmp_path) == [segment]
    (event,) = [event for event in events if event["event"] == "recorder.recovered"]
    assert (event["log_level"], event["rows"], event["rows_lost"]) == ("warning", 11, 1)
    assert event["bytes"] == segment.stat().st_size == len(content) - 3 - event["bytes_cut"]
    finish_segment(segment, tmp_path, "parquet")
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in rows[:-1]]


@pytest.mark.parametrize("left", [0.02, 0.5, 0.98])
def test_all_rows_of_a_torn_last_frame_are_told(tmp_path: Path, events: Events, left: float) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    rows = [market.next() for _ in range(9)]
    for row in rows[:2]:
        recorder.accept(row)
    recorder.flush(NOON)
    for row in rows[2:]:
        recorder.accept(row)
    recorder.flush(NOON)
    recorder._segment.abandon()
    (segment,) = segment_paths(tmp_path)
    with segment.open("rb") as file:
        last = scan(file).frames[-1]
    content = segment.read_bytes()
    segment.write_bytes(content[: last.data_offset + int(last.data_bytes * left)])
    recover(tmp_path)
    (event,) = [event for event in events if event["event"] == "recorder.recovered"]
    assert (event["rows"], event["rows_lost"]) == (2, 7)
    assert event["bytes"] == segment.stat().st_size < last.data_offset
    finish_segment(segment, tmp_path, "parquet")
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in rows[:2]]


def test_a_damaged_middle_loses_rows_up_to_the_next_keyframe(tmp_path: Path, events: Events) -> None:
    segment, rows = recorded(tmp_path)
    with segment.open("rb") as file:
        frames = [frame for frame in scan(file).frames if frame.head.kind is FrameKind.BOOKS]
    content = bytearray(segment.read_bytes())
    content[frames[5].data_offset + 2] ^= 0x55
    segment.write_bytes(content)
    recover(tmp_path)
    done = finish_segment(segment, tmp_path, "parquet")
    assert done is not None and done.rows_lost == 3  # rows 5, 6 and 7: row 8 begins an epoch
    expected = [truth(row) for row in rows[:5] + rows[8:]]
    assert table_truth(open_books(tmp_path).arrow()) == expected


def test_a_header_that_is_damaged_costs_no_rows(tmp_path: Path, events: Events) -> None:
    segment, rows = recorded(tmp_path)
    content = bytearray(segment.read_bytes())
    content[40] ^= 0x55
    segment.write_bytes(content)
    finish_segment(segment, tmp_path, "parquet")
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in rows]


def test_live_segments_are_left_alone(tmp_path: Path, events: Events) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    recorder.accept(market.next())
    recorder.flush(NOON)
    assert recover(tmp_path) == [] and events == []
    assert finish_segment(segment_paths(tmp_path)[0], tmp_path, "parquet") is None
    recorder.close_segment()
    assert recover(tmp_path) == segment_paths(tmp_path)


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    place = book_directory(tmp_path, "binance", "BTCUSDT", "2026-01-02")
    place.mkdir(parents=True)
    (place / ".20260102T120000.0Z-1-1-e1.parquet.tmp").write_bytes(b"PAR1half")
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "20260102T120000.0Z-1-1.segment.tmp").write_bytes(b"")
    recover(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_crash_while_finishing_duplicates_nothing(tmp_path: Path, events: Events) -> None:
    segment, rows = recorded(tmp_path)
    content = segment.read_bytes()
    finish_segment(segment, tmp_path, "jsonl")
    segment.write_bytes(content)  # as if the process had died before it removed the segment
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in rows]
    finish_segment(segment, tmp_path, "parquet")  # and the format was changed before the next start
    assert table_truth(open_books(tmp_path).arrow()) == [truth(row) for row in rows]
    assert len(list((tmp_path / "books").rglob("*-e*"))) == 1


def test_the_finisher_recovers_at_its_start(tmp_path: Path, events: Events) -> None:
    _, rows = recorded(tmp_path)
    stop = threading.Event()
    finisher = SegmentFinisher(tmp_path, Channel("closed", 10, Overflow.DROP_NEWEST))
    stop.set()
    finisher.run(stop)
    assert finisher.rows_written == len(rows) and not segment_paths(tmp_path)
