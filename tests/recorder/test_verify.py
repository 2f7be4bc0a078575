from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from binmon.messages import BookEvent, BookEventKind, BookSnapshot
from binmon.recorder import finish_segment
from binmon.recorder.frames import FrameHead, FrameKind
from binmon.recorder.reader import open_books
from binmon.recorder.rows import encode_row
from binmon.recorder.segment import SegmentWriter
from binmon.recorder.verify import verify
from tests.recorder.market import FACTS, NOON, SECOND, Market, without


def record(directory: Path, messages: list[object], *, finish: bool = True) -> None:
    """Each message as it is, in a segment: nothing of the recorder puts it right."""
    segment = SegmentWriter(directory, FACTS, NOON)
    frames = []
    for message in messages:
        if isinstance(message, BookSnapshot):
            time_ns = message.receive_time_ns
            head = FrameHead(FrameKind.BOOKS, 1, 0, time_ns, time_ns, message.epoch, message.venue, message.symbol)
            frames.append(segment.frame(head, encode_row(message, delta=False)))
        else:
            frames.append(segment.frame(FrameHead(FrameKind.EVENTS, 1), msgspec.json.encode([message])))
    segment.append(frames, len(messages))
    segment.close()
    if finish:
        finish_segment(segment.path, directory, "parquet")


def rules(directory: Path) -> list[tuple[str, int]]:
    return [(breach.rule, breach.row) for breach in verify(open_books(directory))]


@pytest.mark.parametrize("finish", [True, False])
def test_a_sound_recording(tmp_path: Path, finish: bool) -> None:
    market = Market()
    messages: list[object] = []
    for number in range(20):
        if number == 10:
            messages.append(market.event())
        messages.append(market.next(resync=number == 10))
    record(tmp_path, messages[:9], finish=finish)
    record(tmp_path, messages[9:], finish=finish)
    assert rules(tmp_path) == []


def edited(row: BookSnapshot, name: str, position: int, value: float) -> BookSnapshot:
    values = getattr(row, name).copy()
    values[position] = value
    return without(row, **{name: values})


BROKEN = {
    "id_again": ("update_id", lambda row, before: without(row, update_id=before.update_id)),
    "id_back": ("update_id", lambda row, before: without(row, update_id=before.update_id - 1)),
    "zero": ("quantity", lambda row, before: edited(row, "bid_quantity", 3, 0.0)),
    "negative": ("quantity", lambda row, before: edited(row, "ask_quantity", -1, -1.0)),
    "infinite": ("quantity", lambda row, before: edited(row, "ask_quantity", 0, np.inf)),
    "unsorted_bids": ("sorted", lambda row, before: edited(row, "bid_price", 2, row.bid_price[1])),
    "unsorted_asks": ("sorted", lambda row, before: edited(row, "ask_price", -1, row.ask_price[-3])),
    "crossed": ("crossed", lambda row, before: edited(row, "bid_price", 0, row.ask_price[0])),
    "known": ("known_depth", lambda row, before: without(row, bid_known_to=-1.0)),
    "known_nan": ("known_depth", lambda row, before: without(row, ask_known_to=np.inf)),
    "known_crossed": ("known_depth", lambda row, before: without(row, bid_known_to=101.0, ask_known_to=100.0)),
    "known_other": ("known_depth", lambda row, before: without(row, bid_known_to=row.bid_known_to + 0.01)),
    "known_no_more": ("known_depth", lambda row, before: without(row, bid_known_to=None)),
    "epoch_silently": ("unexplained_epoch", lambda row, before: without(row, epoch=2)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_breach_is_found_at_its_row(tmp_path: Path, case: str) -> None:
    rule, break_it = BROKEN[case]
    market = Market()
    rows = [market.next() for _ in range(8)]
    rows[7] = break_it(rows[7], rows[6])
    record(tmp_path, rows)
    assert rules(tmp_path) == [(rule, 7)]


def test_an_epoch_that_goes_back(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next(), market.next()]
    record(tmp_path, [without(rows[0], epoch=3), rows[1]])
    assert rules(tmp_path) == [("epoch", 1)]


def test_different_numbers_of_prices_and_quantities(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    record(tmp_path, [Market().next()])
    (path,) = (tmp_path / "books").rglob("*.parquet")
    table = pq.ParquetFile(path).read()
    shorter = pa.array([table.column("ask_quantity")[0].as_py()[:-1]], pa.list_(pa.float64()))
    position = table.schema.get_field_index("ask_quantity")
    pq.write_table(table.set_column(position, table.schema.field(position), shorter), path)
    assert rules(tmp_path) == [("lengths", 0)]


@pytest.mark.parametrize("kind", BookEventKind)
def test_what_explains_an_epoch(tmp_path: Path, kind: BookEventKind) -> None:
    market, other = Market(), Market("ETHUSDT")
    first = market.next()
    other.next()
    messages = [first, market.event(kind), other.event(), market.next(resync=True)]
    record(tmp_path, messages)
    explains = kind not in (BookEventKind.ROTATION, BookEventKind.AUDIT)
    assert rules(tmp_path) == ([] if explains else [("unexplained_epoch", 1)])


def gap(market: Market, first: int | None, last: int | None, time_ns: int) -> BookEvent:
    return BookEvent(time_ns, market.venue, market.symbol, BookEventKind.GAP, first, last, "why")


def test_a_row_inside_a_gap(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next() for _ in range(6)]
    ids = [row.update_id for row in rows]
    record(tmp_path, [*rows, gap(market, ids[1], ids[4], rows[4].receive_time_ns)])
    assert rules(tmp_path) == [("gap", 2), ("gap", 3)]


def test_gaps_that_contradict_no_row(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next(resync=number == 3) for number in range(6)]
    ids, times = [row.update_id for row in rows], [row.receive_time_ns for row in rows]
    events = [
        gap(market, ids[0], ids[1], times[1]),  # nothing is inside
        gap(market, None, ids[2], times[2]),  # it has no begin
        gap(market, ids[2], ids[4], times[3]),  # the snapshot was older than the end of the gap
        gap(market, ids[3], ids[5], times[0] - 60 * SECOND),  # of another epoch, before the venue began again
        gap(market, ids[5] + 7, ids[5] + 9, times[5]),  # at the end
    ]
    record(tmp_path, [*rows, *events])
    assert rules(tmp_path) == []


def test_a_known_depth_is_the_same_in_the_next_file(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next() for _ in range(3)]
    record(tmp_path, rows[:2])
    record(tmp_path, [without(rows[2], bid_known_to=1.0)])
    assert rules(tmp_path) == [("known_depth", 0)]


def test_events_that_cannot_be_read(tmp_path: Path) -> None:
    market = Market()
    record(tmp_path, [market.next(), market.event()])
    (path,) = (tmp_path / "book_events").rglob("*.parquet")
    path.write_bytes(b"nothing")
    assert rules(tmp_path) == [("unreadable", -1)]


def test_a_seam_between_files_is_checked_too(tmp_path: Path) -> None:
    market = Market()
    first, second = market.next(), market.next()
    record(tmp_path, [first, second])
    record(tmp_path, [second])
    assert rules(tmp_path) == [("update_id", 0)]
    record(tmp_path, [market.next(resync=True)], finish=False)
    assert rules(tmp_path) == [("update_id", 0), ("unexplained_epoch", 0)]


def test_a_start_of_the_daemon_explains_an_epoch(tmp_path: Path) -> None:
    market = Market()
    record(tmp_path, [market.next()])
    (path,) = (tmp_path / "books").rglob("*.parquet")
    stamp, _, rest = path.name.split("-", 2)
    path.rename(path.with_name(f"{stamp}-anotherrun-{rest}"))
    record(tmp_path, [market.next(resync=True)])
    assert rules(tmp_path) == []


@pytest.mark.parametrize("where", [0.1, 0.4, 0.99, "cut"])
def test_a_file_that_cannot_be_read(tmp_path: Path, where: float | str) -> None:
    market = Market(levels=400)
    record(tmp_path, [market.next() for _ in range(3)])
    (path,) = (tmp_path / "books").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    if isinstance(where, float):
        content[int(len(content) * where)] ^= 0x20
    path.write_bytes(content[:-20] if where == "cut" else content)
    assert rules(tmp_path) == [("unreadable", -1)]


def test_empty_sides_are_no_breach(tmp_path: Path) -> None:
    market, nothing = Market(), np.empty(0)
    rows = [market.next() for _ in range(3)]
    rows[1] = without(rows[1], bid_price=nothing, bid_quantity=nothing)
    rows[2] = without(rows[2], ask_price=nothing, ask_quantity=nothing, bid_price=nothing, bid_quantity=nothing)
    record(tmp_path, rows)
    assert rules(tmp_path) == []
