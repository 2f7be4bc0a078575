"""What is not recorded is recorded as a gap."""

from __future__ import annotations

import errno
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from binmon.messages import BookEvent, BookEventKind, BookSnapshot
from binmon.recorder import Recorder, finish_segment, recover
from binmon.recorder.frames import FrameKind, scan
from binmon.recorder.reader import open_books
from binmon.recorder.segment import segment_paths
from binmon.recorder.verify import verify
from tests.recorder.market import NOON, Market, make_recorder, table_truth, truth, without

NO_ROOM = "they found no room in the queue"


def gaps(directory: Path) -> list[tuple[str, int | None, int | None, str]]:
    return [
        (event.symbol, event.from_update_id, event.to_update_id, event.detail)
        for event in open_books(directory).event_rows()
        if event.kind is BookEventKind.GAP
    ]


def recorded(recorder: Recorder, messages: list[BookSnapshot | BookEvent]) -> None:
    for message in messages:
        recorder.accept(message)
    recorder.flush(NOON)
    recorder.close_segment()


def test_rows_dropped_while_the_disk_refuses(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder, market, other = make_recorder(directory, pending_bytes=6000), Market(levels=100), Market("ETHUSDT")
    quiet = other.next()
    recorder.accept(quiet)
    recorder.flush(NOON)
    rows = [market.next() for _ in range(40)]
    for row in rows:
        recorder.accept(row)
    lost = recorder.rows_lost
    assert 0 < lost < 40
    directory.unlink()
    recorder.flush(NOON)
    later = [market.next(), market.next()]
    recorded(recorder, [*later, other.next()])
    back = table_truth(open_books(directory).arrow("BTCUSDT"))
    assert back == [truth(row) for row in [*rows[: 40 - lost], *later]], "the order of arrival, and the newest dropped"
    reason = "disk: Not a directory"
    assert gaps(directory) == [
        ("BTCUSDT", rows[39 - lost].update_id, later[0].update_id, f"rows not recorded: {lost} ({reason})")
    ]
    assert verify(open_books(directory)) == []


def test_all_rows_of_a_symbol_lost_from_its_first(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder, market = make_recorder(directory, pending_bytes=100), Market()
    recorder.flush(NOON)
    recorder.accept(market.next())
    recorder._pending_limit = 1 << 20  # type: ignore[attr-defined]
    directory.unlink()
    row = market.next()
    recorded(recorder, [row])
    assert gaps(directory) == [("BTCUSDT", None, row.update_id, "rows not recorded: 1 (no room for rows that wait)")]


def test_rows_that_never_reached_the_recorder(tmp_path: Path) -> None:
    recorder, market, other = make_recorder(tmp_path), Market(), Market("ETHUSDT")
    rows = [market.next() for _ in range(6)]
    recorded(recorder, [rows[0], other.next(), rows[1], rows[4], other.next(), rows[5]])
    detail = f"rows not recorded: {NO_ROOM}"
    assert gaps(tmp_path) == [("BTCUSDT", rows[1].update_id, rows[4].update_id, detail)]
    assert table_truth(open_books(tmp_path).arrow("BTCUSDT")) == [truth(rows[n]) for n in (0, 1, 4, 5)]
    assert verify(open_books(tmp_path)) == []


def test_the_first_rows_that_never_reached_the_recorder(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    market.next()
    row = market.next()
    recorded(recorder, [row])
    assert gaps(tmp_path) == [("BTCUSDT", None, row.update_id, f"rows not recorded: {NO_ROOM}")]


def test_lost_first_rows_of_an_epoch_explain_it(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    first = market.next()
    market.next(resync=True)
    second = market.next()
    recorded(recorder, [first, second])
    assert [gap[1:3] for gap in gaps(tmp_path)] == [(first.update_id, second.update_id)]
    assert verify(open_books(tmp_path)) == []


def test_an_event_that_never_reached_the_recorder_is_told(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    first, second = market.next(), market.next(resync=True)
    event = market.event(BookEventKind.RESYNC)
    recorded(recorder, [first, second, event, market.next(resync=True)])
    detail = f"events not recorded: {NO_ROOM}"
    assert gaps(tmp_path) == [("BTCUSDT", first.update_id, second.update_id, detail)]
    assert verify(open_books(tmp_path)) == []


def test_rows_that_name_none_before_them_are_no_loss(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market()
    recorded(recorder, [without(market.next(), changes_since=None) for _ in range(5)])
    assert gaps(tmp_path) == []


def test_events_that_are_dropped_are_counted_and_recorded(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path, pending_bytes=2500), Market()
    first = market.next()
    for message in (first, *(market.event(detail="x" * 200) for _ in range(9))):
        recorder.accept(message)
    assert recorder.events_lost > 0 and recorder.rows_lost == 0
    recorder.flush(NOON)
    second = market.next()
    recorded(recorder, [second])
    detail = f"events not recorded: {recorder.events_lost} (no room for rows that wait)"
    assert gaps(tmp_path) == [("BTCUSDT", first.update_id, second.update_id, detail)]
    events = [event for event in open_books(tmp_path).event_rows() if event.kind is not BookEventKind.GAP]
    assert len(events) + recorder.events_lost == 9


def test_deltas_to_a_segment_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that cannot be told any more are a gap; from the next whole book on nothing is lost."""
    recorder, market, other = make_recorder(tmp_path), Market(), Market("ETHUSDT")
    before, lonely = market.next(), other.next()
    for row in (before, lonely):
        recorder.accept(row)
    recorder.flush(NOON)
    real, refusals = os.fsync, iter([True])

    def refuse_once(descriptor: int) -> None:
        if next(refusals, False):
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_once)
    deltas = [market.next(), market.next()]
    event = market.event()
    whole = market.next(resync=True)
    tail = [market.next(), other.next()]
    for message in (*deltas, event, whole, *tail):
        recorder.accept(message)
    recorder.flush(NOON)
    assert recorder.rows_lost == 3
    last = other.next()
    recorded(recorder, [last])
    reason = "(disk: Input/output error)"
    assert sorted(gaps(tmp_path)) == [
        ("BTCUSDT", before.update_id, whole.update_id, f"rows not recorded: 2 {reason}"),
        ("ETHUSDT", lonely.update_id, last.update_id, f"rows not recorded: 1 {reason}"),
    ]
    dataset = open_books(tmp_path)
    assert table_truth(dataset.arrow("BTCUSDT")) == [truth(row) for row in (before, whole, tail[0])]
    assert table_truth(dataset.arrow("ETHUSDT")) == [truth(lonely), truth(last)]
    assert verify(dataset) == []


def test_what_explains_a_row_stands_in_front_of_it(tmp_path: Path) -> None:
    """So a tail that a crash tears off never takes an explanation away from a row that it leaves."""
    recorder, market = make_recorder(tmp_path), Market()
    recorder.accept(market.next())
    recorder.accept(market.event())
    recorder.flush(NOON)
    recorder.close_segment()
    with segment_paths(tmp_path)[0].open("rb") as file:
        kinds = [frame.head.kind for frame in scan(file).frames]
    assert kinds == [FrameKind.HEADER, FrameKind.EVENTS, FrameKind.BOOKS, FrameKind.CLOSED]


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_order_is_kept_and_every_hole_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A disk that is full or breaks, a queue that is full, and new epochs, in any order, for two symbols."""
    chance = random.Random(seed)
    real, fault = os.fsync, [0]

    def refuse(descriptor: int) -> None:
        if fault[0]:
            raise OSError(fault[0], os.strerror(fault[0]))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    recorder = make_recorder(tmp_path, pending_bytes=12_000, max_segment_bytes=40_000)
    markets = [Market(), Market("ETHUSDT")]
    made: dict[str, list[BookSnapshot]] = {market.symbol: [] for market in markets}
    for _ in range(300):
        market = chance.choice(markets)
        resync = chance.random() < 0.05
        row = market.next(resync=resync)
        made[market.symbol].append(row)
        if resync and chance.random() < 0.8:
            recorder.accept(market.event())
        if chance.random() < 0.9:
            recorder.accept(row)
        if chance.random() < 0.15:
            fault[0] = chance.choice([0, 0, 0, errno.ENOSPC, errno.EIO])
        if chance.random() < 0.2:
            recorder.flush(NOON)
    fault[0] = 0
    recorder.flush(NOON)
    for market in markets:
        made[market.symbol].append(market.next())
        recorder.accept(made[market.symbol][-1])
    recorder.flush(NOON)
    recorder.close_segment()
    for segment in recover(tmp_path):
        finish_segment(segment, tmp_path, "parquet")
    dataset = open_books(tmp_path)
    told = {(gap[0], gap[1], gap[2]) for gap in gaps(tmp_path)}
    for symbol, rows in made.items():
        back = table_truth(dataset.arrow(symbol))
        positions = {truth(row): number for number, row in enumerate(rows)}
        kept = [positions[row] for row in back]
        assert kept == sorted(set(kept)) and kept[-1] == len(rows) - 1
        holes = {(first, last) for first, last in pairwise(kept) if last - first > 1}
        if kept[0]:
            assert any(gap[0] == symbol and gap[2] == rows[kept[0]].update_id for gap in told)
        for first, last in holes:
            # the last rows of an epoch that never arrived leave no trace but in the counter of the queue
            unseen = rows[last].changes_since is None
            assert unseen or (symbol, rows[first].update_id, rows[last].update_id) in told
    assert verify(dataset) == []


def test_rows_without_changes_tell_of_a_loss_too(tmp_path: Path) -> None:
    """Rows that are cut at a depth lead on by no changes; the first row after a renewal neither."""
    recorder, market = make_recorder(tmp_path), Market()
    rows = [market.next() for _ in range(5)]
    ids = [None, *(row.update_id for row in rows)]
    cut = [without(row, changes_since=None, previous_id=before) for row, before in zip(rows, ids, strict=False)]
    recorded(recorder, [cut[0], cut[1], cut[3], cut[4]])
    assert gaps(tmp_path) == [("BTCUSDT", rows[1].update_id, rows[3].update_id, f"rows not recorded: {NO_ROOM}")]
