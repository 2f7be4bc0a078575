"""The vocabulary of the log and its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from binmon.telemetry.events import (
    COMMON,
    EVENTS,
    LEVELS,
    LIMITED,
    VOCABULARY,
    unlike_the_vocabulary,
)
from binmon.telemetry.fields import FIELDS, FieldType
from binmon.telemetry.page import reference
from tests.recordings import RECORDINGS
from tests.telemetry.contract_events import ROWS, rows

ROOT = Path(__file__).parents[2]
CONTRACT = RECORDINGS.parent / "contract.md"

# The only events that people count and that still may be held back: a flapping connection and a failing thread repeat
# them without end.
HELD_BACK_THOUGH_PROMISED = {"worker.failed", "stream.disconnected"}


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m binmon.telemetry.events > docs/logs.md"


def test_names_are_unique_and_entries_whole() -> None:
    assert len(VOCABULARY) == len(EVENTS)
    for event in EVENTS:
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", event.name)
        assert event.levels
        assert set(event.levels) <= set(LEVELS)
        assert event.meaning.endswith(".")
        assert not set(event.fields) & set(COMMON)
        assert len(set(event.fields)) == len(event.fields)
        assert event.optional <= set(event.fields)


def test_every_field_is_declared_and_used() -> None:
    for event in EVENTS:
        assert event.types.keys() == set(event.fields), f"{event.name}: declare its fields in telemetry/fields.py"
    used = {field for event in EVENTS for field in event.fields}
    assert used == FIELDS.keys()
    for field in FIELDS.values():
        assert field.meaning.endswith(".")
        if field.name.endswith(("_s", "_ms")):
            assert field.type is FieldType.NUMBER


def test_the_contract_is_a_part_of_it() -> None:
    for names, levels, fields in rows():
        events = [VOCABULARY[name] for name in names]
        assert set(fields) <= {field for event in events for field in event.fields}, names
        assert set(levels) <= {level for event in events for level in event.levels}, names
        if len(events) == 1:
            # always there, though some may be null: what cannot be known, a side without levels
            assert set(fields) <= set(events[0].fields)


def test_the_rows_of_the_contract_can_be_read() -> None:
    found = {name: fields for names, _, fields in rows() for name in names}
    assert found["latency.delayed"] == [*found["latency.measured"], "over_ms"]
    assert found["book.state"] == ["venue", "symbol", "from", "to", "reason", "update_id"]
    assert found["daemon.started"] == ["version", "config_hash", "reason"]
    assert len(found) == 33


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract itself is not on this machine, only our copy of it")
def test_the_copy_is_the_contract() -> None:
    table = CONTRACT.read_text(encoding="utf-8").partition("## Log events")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    assert lines == ROWS.strip().splitlines()


def test_what_people_count_is_never_held_back() -> None:
    assert VOCABULARY.keys() >= LIMITED
    promised = {name for names, _, _ in rows() for name in names}
    assert promised & LIMITED == HELD_BACK_THOUGH_PROMISED
    data = ("order.", "price.", "symbol.", "config.", "daemon.", "latency.measured", "latency.delayed", "latency.lost")
    assert not [name for name in LIMITED if name.startswith((*data, "book.state", "book.top", "book.gap", "rate."))]
    assert all(event.limited is (event.name in LIMITED) for event in EVENTS)


def line(**fields: Any) -> dict[str, Any]:
    common = {
        "timestamp": "2026-05-01T03:04:05.000006Z", "level": "warning", "event": "book.gap", "logger": "binmon.books",
        "venue": "binance", "symbol": "BTCUSDT", "expected": 1, "first_update_id": 2, "last_update_id": 3,
    }  # fmt: skip
    return {name: value for name, value in {**common, **fields}.items() if value is not ...}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, None),
        ({"exception": "Traceback"}, None),
        ({"event": "book.gaps"}, "unknown event 'book.gaps'"),
        ({"level": "info"}, "book.gap: level 'info', expected one of warning"),
        (
            {"timestamp": "2026-05-01T03:04:05Z"},
            "book.gap: timestamp '2026-05-01T03:04:05Z', expected RFC 3339, UTC, microseconds",
        ),
        ({"logger": "binmon.book"}, "book.gap: unknown logger 'binmon.book'"),
        ({"symbol": ...}, "book.gap: symbol is missing"),
        ({"symbol": None}, "book.gap: symbol is missing"),
        ({"expected": "1"}, "book.gap: expected is '1', expected integer"),
        ({"expected": True}, "book.gap: expected is True, expected integer"),
        ({"expected": 1.0}, "book.gap: expected is 1.0, expected integer"),
        ({"size": 1}, "book.gap: size is not declared"),
    ],
)
def test_lines_are_compared_with_it(fields: dict[str, Any], problem: str | None) -> None:
    assert unlike_the_vocabulary(line(**fields)) == ([] if problem is None else [problem])


def test_types() -> None:
    fitting: dict[FieldType, list[Any]] = {
        FieldType.TEXT: ["", "a"],
        FieldType.INTEGER: [0, -1],
        FieldType.NUMBER: [0, 1.5],
        FieldType.BOOLEAN: [True],
        FieldType.TIME: ["2026-05-01T03:04:05.000006Z"],
        FieldType.TEXTS: [[], ["a"]],
        FieldType.OBJECTS: [[], [{}]],
    }
    wrong: dict[FieldType, list[Any]] = {
        FieldType.TEXT: [1, ["a"]],
        FieldType.INTEGER: [1.0, False, "1"],
        FieldType.NUMBER: ["1", True],
        FieldType.BOOLEAN: [0, "true"],
        FieldType.TIME: ["2026-05-01T03:04:05.000006+00:00", 1],
        FieldType.TEXTS: ["a", [1]],
        FieldType.OBJECTS: [{}, ["a"]],
    }
    assert fitting.keys() == wrong.keys() == set(FieldType)
    for kind in FieldType:
        assert all(kind.fits(value) for value in fitting[kind])
        assert not any(kind.fits(value) for value in wrong[kind])


def test_fields_of_another_type_and_fields_that_may_be_missing() -> None:
    assert VOCABULARY["book.state"].fields == ("venue", "symbol", "from", "to", "reason", "update_id")
    assert VOCABULARY["book.audits_stretched"].types["symbols"] is FieldType.INTEGER
    assert VOCABULARY["stream.stalled"].types["symbols"] is FieldType.TEXTS
    assert "symbols" in VOCABULARY["stream.stalled"].optional
