"""The newest top of every book; what is said when a book is out of step; and readers that are slow."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from binmon.core.channel import Channel, Overflow
from binmon.levels import NO_FLOATS
from binmon.messages import BookView, TopOfBook
from binmon.publish.publisher import TopPublisher
from binmon.publish.tops import ASK_AFTER_S, ConflatedTops, TopBoard, top_of

SECOND_NS = 1_000_000_000


def top(
    update_id: int = 1, symbol: str = "BTCUSDT", bid: float | None = 65_000.1, ask: float | None = 65_000.2
) -> TopOfBook:
    """A top that was received a second after the epoch."""
    return TopOfBook("binance", symbol, bid, 1.0, ask, 2.0, update_id, 5, SECOND_NS, 0.0)


class Books:
    """A board, and a clock that begins a second after the epoch."""

    def __init__(self, interval_s: float = 0.0) -> None:
        self.board, self.now_s, self.interval_s = TopBoard(), 0.0, interval_s

    def take(self, one: TopOfBook) -> None:
        self.board.take(one, self.now_s)

    def look(self, after_s: float = 0.25, **states: str) -> tuple[list[TopOfBook], list[str]]:
        self.now_s += after_s
        return self.board.look("binance", states, self.now_s, round((1 + self.now_s) * SECOND_NS), self.interval_s)

    def told(self, after_s: float = 0.25, **states: str) -> list[tuple[str, float]]:
        told, asked = self.look(after_s, **states)
        assert not asked
        return [(one.state, one.age_ms) for one in told]


def test_spread_and_mid_are_those_of_the_decimals() -> None:
    one = top(bid=0.1, ask=0.3)
    assert (one.spread, one.mid) == (0.2, 0.2) and 0.3 - 0.1 != 0.2
    assert top(bid=None).spread is top(ask=None).mid is None


def test_a_book_that_loses_step_is_told_at_once_with_what_was_known() -> None:
    books = Books()
    books.take(top(7))
    assert books.told(BTCUSDT="synced") == []
    ((lost,), asked) = books.look(BTCUSDT="waiting_for_events")
    assert asked == [] and (lost.state, lost.bid, lost.update_id, lost.age_ms) == (
        "waiting_for_events", 65_000.1, 7, 500.0,
    )  # fmt: skip
    assert books.told(10, BTCUSDT="waiting_for_events") == [], "every change is told, and nothing has changed"
    assert books.told(BTCUSDT="waiting_for_snapshot") == [("waiting_for_snapshot", 10_750.0)]
    books.take(replace(top(8), receive_time_ns=11 * SECOND_NS))
    assert books.told(BTCUSDT="synced") == []


def test_at_a_steady_pace_it_is_told_with_every_turn() -> None:
    books = Books(interval_s=2.0)
    books.take(top())
    ages = [age for turn in range(20) for _, age in books.told(0.5, BTCUSDT="waiting_for_events")]
    assert ages == [500.0, 2500.0, 4500.0, 6500.0, 8500.0]


def test_a_synced_book_without_a_top_is_asked_for_one() -> None:
    books = Books()
    assert books.told(BTCUSDT="waiting_for_events", ETHUSDT="synced") == [], "none was ever known"
    assert books.look(ASK_AFTER_S, BTCUSDT="synced", ETHUSDT="synced") == ([], ["ETHUSDT"])
    assert books.look(ASK_AFTER_S, BTCUSDT="synced", ETHUSDT="synced") == ([], ["BTCUSDT"])
    books.take(top())
    assert books.look(60, BTCUSDT="synced", ETHUSDT="synced") == ([], ["ETHUSDT"]), "again, if nothing comes"
    books.told(BTCUSDT="waiting_for_events", ETHUSDT="synced")
    assert books.look(0, BTCUSDT="synced", ETHUSDT="synced") == ([], [])
    assert books.look(ASK_AFTER_S, BTCUSDT="synced", ETHUSDT="synced") == ([], ["BTCUSDT"])


def test_the_newest_of_every_book_that_is_kept() -> None:
    books = Books()
    books.take(top(7))
    books.take(top(8, "ETHUSDT"))
    books.board.take(replace(top(9), venue="bybit"), 0.0)
    books.look(BTCUSDT="synced", SOLUSDT="waiting_for_events")
    found = {(one.venue, one.symbol): one for one in books.board.tops(3 * SECOND_NS)}
    assert set(found) == {("binance", "BTCUSDT"), ("binance", "SOLUSDT"), ("bybit", "BTCUSDT")}
    assert found["binance", "BTCUSDT"].age_ms == 2000 and found["binance", "BTCUSDT"].state == "synced"
    nothing = found["binance", "SOLUSDT"]
    assert (nothing.bid, nothing.spread, nothing.age_ms, nothing.state) == (None, None, 0.0, "waiting_for_events")


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 99)), max_size=60), st.sets(st.integers(0, 60)))
def test_a_slow_reader_gets_the_newest_of_each_book_and_no_more(tops: list[tuple[str, int]], takes: set[int]) -> None:
    reader = ConflatedTops()
    assert reader.offer("something else")
    seen: dict[str, int] = {}
    given_count = taken_count = 0
    newest: dict[str, int] = {}
    for turn, (symbol, update_id) in enumerate(tops):
        assert reader.offer(top(update_id, symbol))
        given_count += 1
        newest[symbol] = update_id
        if turn in takes:
            batch = reader.take()
            assert len({one.symbol for one in batch}) == len(batch)
            taken_count += len(batch)
            seen |= {one.symbol: one.update_id for one in batch}
            assert seen == newest
    taken_count += len(reader.take())
    assert given_count == taken_count + reader.conflated and reader.take() == ()


class Source:
    """Books that answer as told."""

    def __init__(self, **states: str) -> None:
        self.states, self.view = states, None
        self.asked: list[str] = []

    def ask(self, symbol: str, answer: Any) -> bool:
        self.asked.append(symbol)
        answer(self.view)
        return True


def view(*, synced: bool = True, bids: tuple[float, ...] = (9.0, 8.0)) -> BookView:
    side = np.array(bids)
    return BookView("binance", "BTCUSDT", synced, 7, 5, 250.0, side, side, NO_FLOATS, NO_FLOATS)


def test_the_top_of_a_book_that_was_asked_for() -> None:
    found = top_of(view(), 10 * SECOND_NS)
    assert found == TopOfBook("binance", "BTCUSDT", 9.0, 9.0, None, None, 7, 5, 9_750_000_000, 250.0)
    assert top_of(view(synced=False), 10 * SECOND_NS) is None


class Turns(threading.Event):
    """A stop that comes after so many looks."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.left = turns

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        return self.left < 0


def test_whoever_listens_is_told_all_that_the_log_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tops: Channel[TopOfBook] = Channel("publisher", 100, Overflow.DROP_OLDEST)
    publisher = TopPublisher("publisher", tops, interval_s=0.0)
    source, reader = Source(BTCUSDT="synced"), ConflatedTops()
    publisher.follow("binance", source)
    publisher.told.add(reader)
    tops.offer(top(7))
    with capture_logs() as logs:
        publisher.run(Turns(1))
        source.states = {"BTCUSDT": "waiting_for_events"}
        publisher._look_s = 0.0
        publisher.run(Turns(1))
    assert [(line["update_id"], line["state"], line["spread"]) for line in logs] == [
        (7, "synced", 0.1), (7, "waiting_for_events", 0.1),
    ]  # fmt: skip
    assert [one.state for one in reader.take()] == ["waiting_for_events"]
    assert publisher.published == 2 and publisher.board.tops(0)[0].state == "waiting_for_events"
    # it is synced again, and its top is what it was: nobody says so by himself
    now_s = [1000.0]
    monkeypatch.setattr("binmon.publish.publisher.time.monotonic", lambda: now_s[0])
    source.states, source.view, publisher._look_s = {"BTCUSDT": "synced"}, view(), 0.0
    for _ in range(3):
        publisher.run(Turns(2))
        now_s[0] += ASK_AFTER_S
    assert source.asked == ["BTCUSDT"] and [one.update_id for one in reader.take()] == [7]
    assert publisher.board.tops(0)[0].bid == 9.0


def test_when_too_many_wait_only_the_newest_of_each_is_written() -> None:
    tops: Channel[TopOfBook] = Channel("publisher", 4096, Overflow.DROP_OLDEST)
    publisher = TopPublisher("publisher", tops)
    for update_id in range(1000):
        tops.offer(top(update_id, "BTCUSDT"))
        tops.offer(top(update_id, "ETHUSDT"))
    with capture_logs() as logs:
        publisher.run(Turns(1))
    assert [(line["symbol"], line["update_id"]) for line in logs] == [("BTCUSDT", 999), ("ETHUSDT", 999)]
    assert publisher.conflated == 1998 and tops.dropped == 0
