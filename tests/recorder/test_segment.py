from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

from binmon.messages import Instrument
from binmon.recorder import RecordingFacts, finish_segment
from binmon.recorder.frames import scan
from binmon.recorder.segment import read_headers, segment_paths
from tests.recorder.market import FACTS, NOON, Market, make_recorder

ETH = Instrument("bybit", "ETHUSDT", "ETH", "USDT", "TRADING", Decimal("0.1000"), Decimal("0.010"))


def metadata(directory: Path, symbol: str) -> dict[str, str]:
    (path,) = (directory / "books").rglob(f"symbol={symbol}/*/*.parquet")
    return {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}


def test_the_header_says_who_wrote_what(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recorder.accept(Market().next())
    recorder.flush(NOON)
    recorder.close_segment()
    with segment_paths(tmp_path)[0].open("rb") as file:
        (header,) = read_headers(file, scan(file))
    assert (header.schema, header.version, header.config_hash) == (1, "0.1.0", "c0ffee")
    assert header.clock_offsets_ms == {"binance": -1.25, "bybit": 2.0}
    assert header.created_ns == NOON and header.steps == [("binance", "BTCUSDT", "0.01", "0.00001")]


def test_a_symbol_that_is_listed_meanwhile_has_its_steps(tmp_path: Path) -> None:
    recorder, market, listed = make_recorder(tmp_path), Market(), Market("ETHUSDT", venue="bybit")
    recorder.accept(market.next())
    recorder.flush(NOON)
    both = {**FACTS.instruments, ("bybit", "ETHUSDT"): ETH}
    recorder.facts = RecordingFacts(both, "0.1.0", "beef", {"binance": 2.5, "bybit": 9.0})
    recorder.accept(listed.next())
    recorder.flush(NOON)
    # the other is delisted: its rows in this segment still have their steps, from the header that knew it
    recorder.facts = RecordingFacts({("bybit", "ETHUSDT"): ETH}, "0.1.0", "cafe", {"bybit": 3.5})
    recorder.accept(listed.next())
    recorder.flush(NOON)
    recorder.accept(listed.next())
    recorder.flush(NOON)
    recorder.close_segment()
    segment = segment_paths(tmp_path)[0]
    with segment.open("rb") as file:
        assert len(read_headers(file, scan(file))) == 3, "one a change, and no more"
    finish_segment(segment, tmp_path, "parquet")
    expected = {"venue": "bybit", "symbol": "ETHUSDT", "tick_size": "0.1", "lot_size": "0.01"}
    assert (expected | {"config_hash": "cafe", "clock_offset_ms": "3.5"}).items() <= metadata(
        tmp_path, "ETHUSDT"
    ).items()
    expected = {"tick_size": "0.01", "lot_size": "0.00001", "config_hash": "beef", "clock_offset_ms": "2.5"}
    assert expected.items() <= metadata(tmp_path, "BTCUSDT").items()


def test_new_facts_that_did_not_reach_the_disk_are_written_again(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder = make_recorder(directory)
    recorder.accept(Market().next())
    recorder.flush(NOON)
    recorder.facts = dataclasses.replace(FACTS, config_hash="beef")
    directory.unlink()
    recorder.flush(NOON)
    recorder.close_segment()
    finish_segment(segment_paths(directory)[0], directory, "parquet")
    assert metadata(directory, "BTCUSDT")["config_hash"] == "beef"
