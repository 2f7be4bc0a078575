from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.recorder.finisher import finish_segment
from binmon.recorder.layout import book_directory, book_files, component, last_epochs
from binmon.recorder.segment import segment_paths
from tests.recorder.market import Market, make_recorder

names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)


@given(names, names)
def test_no_name_leaves_its_directory(venue: str, symbol: str) -> None:
    path = book_directory(Path("/data"), venue, symbol, "2026-01-02")
    assert path.parts[:3] == ("/", "data", "books") and len(path.parts) == 6
    assert not {".", ".."} & set(path.parts)
    assert "\0" not in str(path)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [("BTCUSDT", "BTCUSDT"), ("../x", "..%2Fx"), ("a=b%", "a%3Db%25"), ("币安", "币安"), ("\n\0", "%0A%00")],
)
def test_only_unsafe_ascii_is_encoded(name: str, encoded: str) -> None:
    assert component(name) == encoded


def test_names_come_back_from_the_paths(tmp_path: Path) -> None:
    directory = tmp_path / "below" / "data"
    recorder = make_recorder(directory)
    symbols = ["../../../etc/passwd", "币安人生USDT", "A B&C", "100%"]
    for symbol in symbols:
        recorder.accept(Market(symbol).next())
    recorder.flush(0)
    recorder.close_segment()
    (segment,) = segment_paths(directory)
    finish_segment(segment, directory, "parquet")
    assert sorted(file.symbol for file in book_files(directory)) == sorted(symbols)
    outside = [path for path in tmp_path.rglob("*.parquet") if not path.is_relative_to(directory / "books")]
    assert not outside


def test_last_epochs_from_names_and_leftover_segments(tmp_path: Path) -> None:
    assert last_epochs(tmp_path) == {}
    recorder, market, other = make_recorder(tmp_path), Market(), Market("ETHUSDT")
    for epochs in range(3):
        for _ in range(2):
            recorder.accept(market.next(resync=epochs > 0))
    recorder.accept(other.next())
    recorder.flush(0)
    recorder.close_segment()
    expected = {("binance", "BTCUSDT"): 5, ("binance", "ETHUSDT"): 1}
    assert last_epochs(tmp_path) == expected  # from the segment
    finish_segment(segment_paths(tmp_path)[0], tmp_path, "parquet")
    assert not segment_paths(tmp_path)
    assert last_epochs(tmp_path) == expected  # from the names
    recorder.accept(other.next(resync=True))
    recorder.flush(0)
    assert last_epochs(tmp_path) == expected | {("binance", "ETHUSDT"): 2}  # from a live segment too
    recorder.close_segment()


def test_last_epochs_of_a_whole_market_is_quick(tmp_path: Path) -> None:
    for number in range(1500):
        directory = book_directory(tmp_path, "binance", f"S{number}", "2026-01-02")
        directory.mkdir(parents=True)
        (directory / f"20260102T000000.0Z-1-1-e{number}.parquet").touch()
    began = time.perf_counter()
    assert last_epochs(tmp_path)["binance", "S1499"] == 1499
    assert time.perf_counter() - began < 20
