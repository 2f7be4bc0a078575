from __future__ import annotations

import gzip
import threading
from pathlib import Path

import pytest

from binmon.messages import Evidence
from binmon.recorder.evidence import EvidenceStore, evidence_date, evidence_path
from tests.recorder.market import NOON, SECOND, Market, make_recorder

Events = list[dict[str, object]]


def evidence(number: int = 0, *, symbol: str = "BTCUSDT", document: bytes = b'{"a":1}') -> Evidence:
    return Evidence(NOON + number * SECOND, "binance", symbol, 1000 + number, document)


def stored(directory: Path) -> list[Path]:
    return sorted((directory / "evidence").rglob("*.json.gz"))


def test_it_lies_where_it_is_looked_for(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recorder.accept(evidence(symbol="a/b"))
    assert stored(tmp_path) == []
    recorder.flush(NOON)
    place = tmp_path / "evidence/venue=binance/symbol=a%2Fb"
    (path,) = stored(tmp_path)
    assert path == place / "20260102T120000.000000000Z-1000.json.gz"
    assert gzip.decompress(path.read_bytes()) == b'{"a":1}'
    assert [entry.name for entry in place.iterdir()] == [path.name], "nothing half written is left"
    assert evidence_date(path.name) == "2026-01-02" and evidence_date("notes.json.gz") is None


def test_only_the_newest_hundred_of_a_symbol_are_kept(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    other = evidence(symbol="ETHUSDT")
    for number in range(103):
        store.add(evidence(number))
    store.add(other)
    half_written = evidence_path(tmp_path, evidence()).parent / ".20260101T000000.000000000Z-1.json.gz.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.touch()
    store.write()
    assert evidence_path(tmp_path, other) in stored(tmp_path)
    kept = sorted(evidence_path(tmp_path, evidence(number)) for number in range(3, 103))
    assert [path for path in stored(tmp_path) if "BTCUSDT" in str(path)] == kept
    assert not half_written.exists() and store.written == 104


def test_it_waits_while_the_disk_refuses_and_the_newest_is_dropped(tmp_path: Path, events: Events) -> None:
    directory = tmp_path / "data"
    directory.write_text("a file")
    recorder, market = make_recorder(directory), Market()
    recorder.evidence = EvidenceStore(directory, waiting_bytes=25)
    recorder.accept(market.next())
    for number in range(5):
        recorder.accept(evidence(number, document=b"x" * 10))
    recorder.flush(NOON)
    recorder.flush(NOON)
    assert (recorder.evidence.lost, len(recorder.evidence)) == (3, 2)
    names = [event["event"] for event in events]
    assert names.count("recorder.failed") == 1 and names.count("recorder.evidence_dropped") == 1
    (dropped,) = (event for event in events if event["event"] == "recorder.evidence_dropped")
    assert (dropped["venue"], dropped["symbol"], dropped["count"]) == ("binance", "BTCUSDT", 3)
    directory.unlink()
    recorder.flush(NOON)
    assert [path.name[-12:-8] for path in stored(directory)] == ["1000", "1001"]
    assert recorder.evidence.written == 2 and len(recorder.evidence) == 0
    recorder.close_segment()


def test_it_never_ends_the_worker(tmp_path: Path, events: Events) -> None:
    (tmp_path / "evidence").write_text("in the way")
    recorder, market, stop = make_recorder(tmp_path), Market(), threading.Event()
    recorder.channel.put(evidence(), 1)
    recorder.channel.put(market.next(), 1)
    stop.set()
    recorder.run(stop)
    assert recorder.rows_written == 1 and recorder.evidence.lost == 1
    names = [event["event"] for event in events]
    assert names.count("recorder.failed") == 1 and names.count("recorder.evidence_dropped") == 1


def test_evidence_of_one_moment_does_not_replace_another(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    one = evidence()
    store.add(one)
    store.add(Evidence(one.time_ns, one.venue, one.symbol, 7, b"{}"))
    store.write()
    assert len(stored(tmp_path)) == 2


@pytest.mark.parametrize("room", [0, 1])
def test_what_finds_no_room_is_told_to_the_caller(tmp_path: Path, room: int) -> None:
    assert EvidenceStore(tmp_path, waiting_bytes=room).add(evidence(document=b"x")) is bool(room)
