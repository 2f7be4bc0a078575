from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pytest

import binmon
from binmon.messages import BookSnapshot
from binmon.recorder import finish_segment, recover
from binmon.recorder.reader import BookDataset, open_books, to_ns
from binmon.recorder.sources import Keys, covered
from tests.recorder.market import DAY, NOON, SECOND, Market, make_recorder, table_truth, truth

Recorded = tuple[BookDataset, dict[str, list[BookSnapshot]]]


@pytest.fixture(params=["parquet", "jsonl", "live", "mixed"])
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Recorded:
    """Two symbols over two days: finished, or still in segments, or one half each."""
    recorder = make_recorder(tmp_path)
    rows: dict[str, list[BookSnapshot]] = {}
    markets = [Market("BTCUSDT"), Market("ETHUSDT", venue="bybit")]
    for half in range(2):
        for market in markets:
            for number in range(6):
                step = DAY // 2 if half and number == 3 else SECOND
                row = market.next(step_ns=step, resync=half == 1 and number == 0)
                rows.setdefault(market.symbol, []).append(row)
                recorder.accept(row)
            recorder.accept(market.event())
        recorder.flush(NOON)
        if request.param != "live" and not (half == 1 and request.param == "mixed"):
            recorder.close_segment()
            for segment in recover(tmp_path):
                finish_segment(segment, tmp_path, "jsonl" if request.param == "jsonl" else "parquet")
    request.addfinalizer(recorder.close_segment)
    return open_books(tmp_path), rows


def test_all_rows_come_back_in_order_from_wherever_they_are(recorded: Recorded) -> None:
    dataset, rows = recorded
    assert dataset.symbols() == [("binance", "BTCUSDT"), ("bybit", "ETHUSDT")]
    table = dataset.arrow()
    assert table.column("symbol").to_pylist() == ["BTCUSDT"] * 12 + ["ETHUSDT"] * 12
    assert table.column("venue").to_pylist() == ["binance"] * 12 + ["bybit"] * 12
    assert table_truth(table) == [truth(row) for row in rows["BTCUSDT"] + rows["ETHUSDT"]]
    assert table_truth(dataset.arrow("ETHUSDT")) == [truth(row) for row in rows["ETHUSDT"]]
    assert len(dataset.arrow(venue="bybit")) == 12 and len(dataset.arrow("NONE")) == 0
    assert len(dataset.polars("BTCUSDT")) == len(dataset.pandas("BTCUSDT")) == 12


def test_start_is_included_and_end_is_not(recorded: Recorded) -> None:
    dataset, rows = recorded
    times = [row.receive_time_ns for row in rows["BTCUSDT"]]
    for first, last in ((0, 12), (2, 5), (4, 11), (9, 10)):
        end = times[last] if last < 12 else None
        assert table_truth(dataset.arrow("BTCUSDT", times[first], end)) == [
            truth(row) for row in rows["BTCUSDT"][first:last]
        ]
    assert len(dataset.arrow("BTCUSDT", end=times[0])) == 0


def test_one_book_as_of_a_time_or_an_id(recorded: Recorded) -> None:
    dataset, rows = recorded
    mine = rows["BTCUSDT"]
    assert truth(dataset.book("BTCUSDT")) == truth(mine[-1])
    for row, following in pairwise(mine):
        assert truth(dataset.book("BTCUSDT", at=row.receive_time_ns)) == truth(row)
        assert truth(dataset.book("BTCUSDT", at=following.receive_time_ns - 1)) == truth(row)
        assert truth(dataset.book("BTCUSDT", update_id=following.update_id - 1)) == truth(row)
    with pytest.raises(LookupError, match="as old as that"):
        dataset.book("BTCUSDT", at=mine[0].receive_time_ns - 1)
    with pytest.raises(LookupError, match="BTCUSDT, ETHUSDT"):
        dataset.book("XRPUSDT")


def test_coverage_and_events(recorded: Recorded) -> None:
    dataset, rows = recorded
    coverage = dataset.coverage()
    assert [(day.symbol, day.date, day.rows, day.epochs) for day in coverage] == [
        ("BTCUSDT", "2026-01-02", 9, 2),
        ("BTCUSDT", "2026-01-03", 3, 1),
        ("ETHUSDT", "2026-01-02", 9, 2),
        ("ETHUSDT", "2026-01-03", 3, 1),
    ]
    last = coverage[1]
    assert (last.first_ns, last.last_ns) == (rows["BTCUSDT"][9].receive_time_ns, rows["BTCUSDT"][11].receive_time_ns)
    assert last.last_update_id == rows["BTCUSDT"][11].update_id and last.bytes > 0
    events = dataset.events()
    assert len(events) == 4 and events.column("kind").to_pylist() == ["resync"] * 4


def test_one_symbol_on_two_venues_must_be_told_apart(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    row = Market(venue="bybit").next()
    recorder.accept(row)
    recorder.accept(Market(venue="binance").next())
    recorder.flush(NOON)
    with pytest.raises(LookupError, match="binance, bybit"):
        open_books(tmp_path).book("BTCUSDT")
    assert truth(open_books(tmp_path).book("BTCUSDT", venue="bybit")) == truth(row)
    recorder.close_segment()


def test_other_tools_open_it_in_one_line(tmp_path: Path) -> None:
    recorder, market = make_recorder(tmp_path), Market("A/B 币%")
    row = market.next()
    recorder.accept(row)
    recorder.flush(NOON)
    recorder.close_segment()
    finish_segment(recorder.closed.take(0), tmp_path, "parquet")
    (path,) = (tmp_path / "books").rglob("*.parquet")
    path.with_name(f".{path.name}.tmp").write_bytes(b"PAR1 half")
    query = f"select venue, symbol, date, update_id, bid_price from '{tmp_path}/books/**/*.parquet'"
    (found,) = duckdb.sql(query).fetchall()
    assert (found[0], found[1], str(found[2]), found[3]) == ("binance", "A/B 币%", "2026-01-02", row.update_id)
    assert found[4] == row.bid_price.tolist()
    frame = polars.scan_parquet(f"{tmp_path}/books/**/*.parquet", hive_partitioning=True).collect()
    assert frame["symbol"].to_list() == ["A/B 币%"] and frame["ask_quantity"][0].to_list() == row.ask_quantity.tolist()
    table = pandas.read_parquet(tmp_path / "books")
    assert table["symbol"].tolist() == ["A/B 币%"] and table["bid_price"][0].tolist() == row.bid_price.tolist()
    assert table["receive_time"][0].value == row.receive_time_ns


def test_reading_while_it_is_written(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path, max_segment_bytes=20_000)
    market, rows, stop = Market(), [], threading.Event()
    for _ in range(3):
        rows.append(market.next())
        recorder.accept(rows[-1])
    recorder.flush(NOON)

    def write() -> None:
        while not stop.is_set():
            rows.append(market.next())
            recorder.accept(rows[-1])
            recorder.flush(NOON)
            if (closed := recorder.closed.take(0)) is not None:
                finish_segment(closed, tmp_path, "parquet")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reads = seen = 0
        while reads < 15 or seen <= 3:  # the writer may have to wait for its turn
            reads += 1
            assert reads < 1000
            back = table_truth(binmon.open_books(tmp_path).arrow())
            assert back == [truth(row) for row in rows[: len(back)]] and len(back) >= seen
            seen = len(back)
    finally:
        stop.set()
        thread.join(30)
        recorder.close_segment()
    assert seen > 3


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no recordings"):
        open_books(tmp_path)
    (tmp_path / "books").mkdir()
    assert open_books(tmp_path).coverage() == []
    assert len(open_books(tmp_path).arrow()) == 0
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pip install polars"):
        open_books(tmp_path).polars()


@pytest.mark.parametrize(
    "time",
    [NOON + 500, "2026-01-02T12:00:00.000000", "2026-01-02T13:00:00+01:00", datetime(2026, 1, 2, 12, tzinfo=UTC)],
)
def test_times(time: object) -> None:
    assert to_ns(time) // 1000 * 1000 == NOON
    assert to_ns(pandas.Timestamp(NOON + 123_456_789, tz="UTC")) == NOON + 123_456_789


def test_a_renewal_beside_the_live_book_leaves_no_hole() -> None:
    keys = Keys(np.array([0, 10, 20, 60, 100]), np.array([1, 2, 3, 9, 12]), np.array([1, 1, 2, 3, 3]))
    assert covered(keys) == pytest.approx(0.5)  # 10 and 40 of 100 lie between epochs
    assert covered(keys, [2]) == pytest.approx(0.6)
    assert covered(keys, [8, 2]) == pytest.approx(1.0)
    assert covered(keys, [1, 9, 700]) == pytest.approx(0.5)  # within epochs, and elsewhere
