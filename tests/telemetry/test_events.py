"""The vocabulary of the log and its page."""

from __future__ import annotations

from pathlib import Path

from binmon.telemetry.events import EVENTS, VOCABULARY, reference

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m binmon.telemetry.events > docs/logs.md"


def test_names_are_unique_and_entries_whole() -> None:
    assert len(VOCABULARY) == len(EVENTS)
    for event in EVENTS:
        assert event.name.count(".") == 1
        assert event.levels
        assert set(event.levels) <= {"debug", "info", "warning", "error", "critical"}
        assert event.meaning.endswith(".")
        assert not set(event.fields) & {"timestamp", "level", "event", "logger"}


def test_our_own_names_are_there() -> None:
    ours = {
        "stream.overflow",
        "recorder.failed",
        "recorder.resumed",
        "sandbox.started",
        "config.unused",
        "book.refused",
    }
    assert ours <= VOCABULARY.keys()
    assert VOCABULARY["book.state"].fields == ("venue", "symbol", "from", "to", "reason", "update_id")
