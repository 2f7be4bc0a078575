from __future__ import annotations

import threading
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from binmon.core.channel import Channel, Overflow
from binmon.recorder import SegmentFinisher
from binmon.recorder.exchange import adding
from binmon.recorder.layout import book_directory, event_directory
from binmon.recorder.retention import DateBytes, Retention, dates_to_delete, too_much, too_old
from tests.recorder.market import NOON, Market, make_recorder

Events = list[dict[str, object]]
TODAY = date(2026, 1, 20)
stored_dates = st.dictionaries(
    st.integers(-30, 5).map(lambda days: (TODAY + timedelta(days=days)).isoformat()), st.integers(0, 1000), max_size=25
).map(lambda found: [DateBytes(*entry) for entry in found.items()])
today = TODAY.isoformat()


@given(stored_dates, st.integers(1, 40))
def test_what_is_too_old_goes_and_nothing_else(stored: list[DateBytes], keep_days: int) -> None:
    gone = too_old(stored, today, keep_days)
    assert gone == sorted(gone)
    for one in stored:
        age = (TODAY - date.fromisoformat(one.date)).days
        assert (one.date in gone) == (age > keep_days)


@given(stored_dates, st.floats(0, 5000))
def test_as_little_as_possible_goes_to_fit(stored: list[DateBytes], keep_bytes: float) -> None:
    gone = too_much(stored, today, keep_bytes)
    left = [one for one in stored if one.date not in gone]
    past = [one for one in left if one.date < today]
    assert all(date_text < today for date_text in gone)
    assert sum(one.bytes for one in left) <= keep_bytes or not past, "it fits, or nothing more may go"
    assert not past or not gone or max(gone) < min(one.date for one in past), "the oldest go first"
    if gone:
        newest = next(one for one in stored if one.date == gone[-1])
        assert sum(one.bytes for one in left) + newest.bytes > keep_bytes, "the last one had to go"


@given(stored_dates, st.none() | st.integers(1, 40), st.none() | st.floats(0, 5000))
def test_both_limits_hold(stored: list[DateBytes], keep_days: int | None, keep_bytes: float | None) -> None:
    gone = dates_to_delete(stored, today, keep_days=keep_days, keep_bytes=keep_bytes)
    left = [one for one in stored if one.date not in gone]
    assert not too_old(left, today, keep_days) and not too_much(left, today, keep_bytes)
    assert keep_days is not None or keep_bytes is not None or not gone
    assert all(date_text < today for date_text in gone)


def test_more_days_than_the_calendar_has() -> None:
    assert too_old([DateBytes("0001-01-01", 1)], today, 10**8) == []


def fill(directory: Path, date_text: str, size: int, symbol: str = "BTCUSDT") -> None:
    place = book_directory(directory, "binance", symbol, date_text)
    place.mkdir(parents=True, exist_ok=True)
    (place / "20260101T000000.0Z-1-1-e1.parquet").write_bytes(bytes(size))


def dates(directory: Path) -> set[str]:
    return {path.name.removeprefix("date=") for path in directory.rglob("date=*")}


def test_whole_dates_go_over_all_datasets(tmp_path: Path, events: Events) -> None:
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        fill(tmp_path, day, 1000)
    fill(tmp_path, "2026-01-01", 500, "GONEUSDT")
    event_directory(tmp_path, "2026-01-01").mkdir(parents=True)
    (event_directory(tmp_path, "2026-01-01") / "one.parquet").write_bytes(bytes(70))
    evidence = tmp_path / "evidence/venue=binance/symbol=BTCUSDT"
    evidence.mkdir(parents=True)
    for stamp in ("20260101T000000.000000000Z", "20260103T000000.000000000Z"):
        (evidence / f"{stamp}-1.json.gz").write_bytes(bytes(30))
    retention = Retention(tmp_path)
    assert retention.apply("2026-01-03") and dates(tmp_path) == {"2026-01-01", "2026-01-02", "2026-01-03"}
    retention.keep_gb = 2050 / 1e9
    assert retention.apply("2026-01-03")
    assert dates(tmp_path) == {"2026-01-02", "2026-01-03"}
    assert [path.name[:8] for path in evidence.iterdir()] == ["20260103"]
    assert not (tmp_path / "books/venue=binance/symbol=GONEUSDT").exists(), "nothing is left of it"
    deleted = [event for event in events if event["event"] == "recorder.deleted"]
    assert sum(int(str(event["bytes"])) for event in deleted) == 1000 + 500 + 70 + 30
    assert {event["reason"] for event in deleted} == {"more than 2.05e-06 GB"} and len(deleted) == 4
    assert not any((tmp_path / ".work").iterdir())
    retention.keep_gb = 0.0
    retention.keep_days = 1
    assert retention.apply("2026-01-04")
    assert dates(tmp_path) == set()


def test_what_is_added_later_is_counted(tmp_path: Path) -> None:
    retention = Retention(tmp_path, keep_gb=1500 / 1e9)
    fill(tmp_path, "2026-01-01", 1000)
    assert retention.apply("2026-01-03") and dates(tmp_path) == {"2026-01-01"}
    other = book_directory(tmp_path, "binance", "BTCUSDT", "2026-01-01") / "20260101T000000.0Z-1-2-e1.parquet"
    other.write_bytes(bytes(600))
    assert retention.apply("2026-01-03") and dates(tmp_path) == set()


def test_it_waits_for_whoever_adds_files(tmp_path: Path) -> None:
    fill(tmp_path, "2026-01-01", 1000)
    retention = Retention(tmp_path, keep_days=1)
    with adding(tmp_path) as held:
        assert held and not retention.apply("2026-01-09") and dates(tmp_path) == {"2026-01-01"}
    assert retention.apply("2026-01-09") and dates(tmp_path) == set()


def test_directories_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("0000-00-00", "2026-1-1", "old"):
        fill(tmp_path, name, 10)
    assert Retention(tmp_path, keep_days=1).apply("2026-01-09")
    assert dates(tmp_path) == {"0000-00-00", "2026-1-1", "old"}


def test_the_finisher_deletes_at_its_start_and_when_a_limit_is_set(tmp_path: Path) -> None:
    fill(tmp_path, "2020-01-01", 10)
    fill(tmp_path, (date.today() - timedelta(days=3)).isoformat(), 10)
    recorder = make_recorder(tmp_path)
    recorder.accept(Market().next())
    recorder.flush(NOON)  # a live segment of a day long gone
    stop = threading.Event()
    finisher = SegmentFinisher(tmp_path, Channel("closed", 1, Overflow.DROP_NEWEST), keep_days=100)
    thread = threading.Thread(target=finisher.run, args=(stop,))
    thread.start()
    try:
        for wanted, keep_days in ((1, 2), (0, 2)):
            for _ in range(600):
                if len(dates(tmp_path)) == wanted:
                    break
                stop.wait(0.05)
            assert len(dates(tmp_path)) == wanted
            finisher.keep_days = keep_days
    finally:
        stop.set()
        thread.join(30)
    assert len(list((tmp_path / "segments").iterdir())) == 1, "segments are none of its business"
    recorder.close_segment()
