from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.recorder import SegmentFinisher, finish_segment
from binmon.recorder.segment import segment_paths
from tests.recorder.market import DAY, NOON, SECOND, Market, make_recorder, table_truth, truth

Events = list[dict[str, object]]
CONTRACT = {
    "event_time": pa.timestamp("ms", "UTC"),
    "receive_time": pa.timestamp("ns", "UTC"),
    "update_id": pa.int64(),
    "updates": pa.int32(),
    "epoch": pa.int32(),
    "bid_known_to": pa.float64(),
    "ask_known_to": pa.float64(),
    "bid_price": pa.list_(pa.float64()),
    "bid_quantity": pa.list_(pa.float64()),
    "ask_price": pa.list_(pa.float64()),
    "ask_quantity": pa.list_(pa.float64()),
}


def close_with(directory: Path, messages: list[object]) -> Path:
    recorder = make_recorder(directory)
    for message in messages:
        recorder.accept(message)
    recorder.flush(NOON)
    recorder.close_segment()
    return recorder.closed.take(0)


def test_the_file_has_the_columns_values_and_facts_of_the_contract(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next() for _ in range(5)] + [market.next(resync=True)]
    segment = close_with(tmp_path, rows)
    stem = segment.name.removesuffix(".segment")
    assert finish_segment(segment, tmp_path, "parquet").complete
    path = tmp_path / "books/venue=binance/symbol=BTCUSDT/date=2026-01-02" / f"{stem}-e2.parquet"
    table = pq.ParquetFile(path).read()
    assert {field.name: field.type for field in table.schema} == CONTRACT
    assert table_truth(table) == [truth(row) for row in rows]
    facts = {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}
    expected = {"venue": "binance", "symbol": "BTCUSDT", "tick_size": "0.01", "lot_size": "0.00001"}
    expected |= {"binmon_version": "0.1.0", "config_hash": "c0ffee", "clock_offset_ms": "-1.25", "schema_version": "1"}
    assert expected.items() <= facts.items()
    assert not segment_paths(tmp_path)


def test_a_day_has_its_own_file_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next(step_ns=step) for step in (DAY // 2 - SECOND, 2 * SECOND, -3 * SECOND, 4 * SECOND)]
    assert finish_segment(close_with(tmp_path, rows), tmp_path, "parquet").files == 2
    by_date = {
        path.parent.name: table_truth(pq.ParquetFile(path).read()) for path in (tmp_path / "books").rglob("*.parquet")
    }
    assert by_date == {
        "date=2026-01-02": [truth(rows[0]), truth(rows[2])],
        "date=2026-01-03": [truth(rows[1]), truth(rows[3])],
    }


def test_events_have_a_dataset_of_their_own(tmp_path: Path) -> None:
    market = Market()
    messages = [market.next(), market.event(), market.next(step_ns=DAY), market.event(detail="币 \u2028")]
    segment = close_with(tmp_path, messages)
    finish_segment(segment, tmp_path, "parquet")
    name = segment.name.replace(".segment", ".parquet")
    table = pq.ParquetFile(tmp_path / "book_events/date=2026-01-03" / name).read()
    assert table.schema.names == ["time", "venue", "symbol", "kind", "from_update_id", "to_update_id", "detail"]
    assert table.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert table.column("detail").to_pylist() == ["币 \u2028"] and table.column("to_update_id").to_pylist() == [None]
    assert table.column("time").cast(pa.int64()).to_pylist() == [messages[3].time_ns]
    assert (tmp_path / "book_events/date=2026-01-02" / name).exists()


def test_json_lines_have_the_same_keys_and_exact_values(tmp_path: Path) -> None:
    market = Market()
    rows = [market.next() for _ in range(3)]
    finish_segment(close_with(tmp_path, [*rows, market.event()]), tmp_path, "jsonl")
    (path,) = (tmp_path / "books").rglob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(line) for line in lines] == [list(CONTRACT)] * 3
    assert lines[0]["receive_time"] == "2026-01-02T12:00:00.100000000Z"
    assert lines[0]["event_time"] == "2026-01-02T12:00:00.097Z"
    assert np.array(lines[2]["ask_quantity"]).tobytes() == rows[2].ask_quantity.tobytes()
    assert not list(tmp_path.rglob("*.parquet"))
    (event_path,) = (tmp_path / "book_events").rglob("*.jsonl")
    assert json.loads(event_path.read_text())["kind"] == "resync"


def test_one_row_group_holds_many_rows_of_large_books(tmp_path: Path) -> None:
    market = Market(levels=4000)
    for number in range(4000):  # a thousandth of a cent apart: no need for a realistic book
        market.bids[99 - number / 1000] = 1.0
        market.asks[101 + number / 1000] = 1.0
    rows = [market.next() for _ in range(130)]
    finish_segment(close_with(tmp_path, rows), tmp_path, "parquet")
    (path,) = (tmp_path / "books").rglob("*.parquet")
    groups = [
        pq.read_metadata(path).row_group(number).num_rows for number in range(pq.ParquetFile(path).num_row_groups)
    ]
    assert len(groups) == 2 and sum(groups) == 130
    assert path.stat().st_size / 130 < 8300


def test_a_stop_leaves_the_rest_for_the_next_start(tmp_path: Path) -> None:
    closed: Channel[Path] = Channel("closed", 10, Overflow.DROP_NEWEST)
    for number in range(3):
        closed.offer(close_with(tmp_path, [Market(f"S{number}").next()]))
    stop = threading.Event()
    stop.set()
    SegmentFinisher(tmp_path, closed, finish_on_stop_s=0).run(stop)
    assert len(segment_paths(tmp_path)) == 3
    SegmentFinisher(tmp_path, closed, finish_on_stop_s=60).run(stop)
    assert not segment_paths(tmp_path) and len(list(tmp_path.rglob("*.parquet"))) == 3


def test_it_ends_before_the_stop_no_longer_waits_for_it(tmp_path: Path) -> None:
    closed: Channel[Path] = Channel("closed", 10, Overflow.DROP_NEWEST)
    closed.offer(close_with(tmp_path, [Market().next()]))
    finisher, stop = SegmentFinisher(tmp_path, closed, finish_on_stop_s=60), threading.Event()
    finisher.end_by = Deadline(0.2)
    stop.set()
    finisher.run(stop)
    assert len(segment_paths(tmp_path)) == 1


def test_a_refusing_disk_is_told_once_and_the_segment_kept(tmp_path: Path, events: Events) -> None:
    closed: Channel[Path] = Channel("closed", 10, Overflow.DROP_NEWEST)
    close_with(tmp_path, [Market().next()])
    (tmp_path / "books").write_text("in the way")
    stop = threading.Event()
    told: list[OSError | None] = []
    finisher = SegmentFinisher(tmp_path, closed, look_every_s=0, refused=told.append)
    thread = threading.Thread(target=finisher.run, args=(stop,))
    thread.start()
    try:
        for _ in range(600):
            if len(told) >= 3:
                break
            stop.wait(0.05)
        assert thread.is_alive() and len(segment_paths(tmp_path)) == 1
        (tmp_path / "books").unlink()
        for _ in range(600):
            if not segment_paths(tmp_path):
                break
            stop.wait(0.05)
    finally:
        stop.set()
        thread.join(30)
    names = [event["event"] for event in events if str(event["event"]).startswith("recorder.")]
    assert names.count("recorder.failed") == 1 and names.count("recorder.resumed") == 1
    assert len(told) >= 4 and all(told[:-1]) and told[-1] is None
    assert len(list((tmp_path / "books").rglob("*.parquet"))) == 1


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="parquet, jsonl"):
        SegmentFinisher(Path(), Channel("closed", 1, Overflow.DROP_NEWEST), format="csv")
