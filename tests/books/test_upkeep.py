"""The plan of audits and renewals, with a clock of its own."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest

from binmon.books.audit import AuditReport
from binmon.books.depths import DepthBudget
from binmon.books.kept import KeptBook
from binmon.books.sync import BookSync, SyncState
from binmon.books.upkeep import Purpose, Upkeep, UpkeepOutlets
from binmon.messages import Priority, SnapshotWanted
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.binance.market import depth_weight
from tests.books.market import Market


class Desk:
    """Upkeep with what the keeper would give it. Answers are those of the test."""

    def __init__(self, count: int, *, interval_s: float = 60.0, wanted: int = 5000, per_minute: int = 6000) -> None:
        self.now_s = time.monotonic()
        self.begin_s = self.now_s
        self.asked: list[tuple[float, SnapshotWanted]] = []
        self.open: list[SnapshotWanted] = []
        self.audited: list[tuple[str, int]] = []
        self.renewed: list[tuple[str, Purpose]] = []
        self.evidence: list = []
        self.out_of_step: set[str] = set()
        tokens = itertools.count(-1, -1)
        self.upkeep = Upkeep(
            "binance",
            BinanceDecoder(),
            DepthBudget(wanted, per_minute, depth_weight),
            UpkeepOutlets(self.ask, self.settled, self.on_audited, self.on_renewed, self.evidence.append),
            interval_s=interval_s,
            new_token=lambda: next(tokens),
        )
        self.markets: dict[str, Market] = {}
        self.kept: dict[str, KeptBook] = {}
        for number in range(count):
            self.add(f"S{number}")

    def add(self, symbol: str) -> KeptBook:
        market = self.markets[symbol] = Market(
            symbol, [(500 - number, 1) for number in range(200)], [(501 + number, 1) for number in range(200)]
        )
        sync = BookSync()
        sync.on_feed_up("a", 0.0)
        sync.tick(10.0)
        sync.on_snapshot(1, market.snapshot(), 10.0)
        kept = self.kept[symbol] = KeptBook(symbol, symbol, sync, market.book())
        kept.limit = 5000
        assert sync.state is SyncState.SYNCED
        self.upkeep.add(kept, self.now_s)
        return kept

    def ask(self, wanted: SnapshotWanted) -> None:
        self.asked.append((self.now_s, wanted))
        self.open.append(wanted)

    def settled(self, kept: KeptBook, now_s: float) -> bool:
        kept.book.settle()
        return kept.symbol not in self.out_of_step

    def on_audited(self, kept: KeptBook, report: AuditReport, now_s: float) -> None:
        self.audited.append((kept.symbol, report.update_id))

    def on_renewed(self, kept: KeptBook, renewal: object, purpose: Purpose) -> None:
        kept.book = renewal.book
        self.renewed.append((kept.symbol, purpose))

    def move(self, symbol: str) -> None:
        kept, update = self.kept[symbol], self.markets[symbol].update(("b", 500, 3))
        kept.book.apply(update, 1)
        for follower in kept.followers:
            follower.add(update)

    def answer(self, update_id: int | None = None) -> None:
        taken, self.open = self.open, []
        for wanted in taken:
            snapshot = self.markets[wanted.symbol].snapshot(update_id, wanted.limit)
            self.upkeep.on_answer(wanted.token, snapshot, self.now_s)

    def wait(self, seconds: float, *, answering: bool = True, step_s: float = 0.25) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += step_s
            self.upkeep.tick(self.now_s)
            if answering:
                self.answer()

    def leftovers(self) -> int:
        assert sum(len(kept.followers) for kept in self.kept.values()) == len(self.upkeep._tasks)
        return len(self.upkeep._tasks)


def test_audits_are_spread_over_their_interval() -> None:
    desk = Desk(20)
    desk.wait(60.0)
    assert Counter(symbol for symbol, _ in desk.audited) == Counter(dict.fromkeys(desk.kept, 1))
    by_tenth = Counter(int((at_s - desk.begin_s - 0.25) / 6.0) for at_s, _ in desk.asked)
    assert set(by_tenth.values()) <= {1, 2, 3} and len(by_tenth) == 10
    assert {(wanted.priority, wanted.limit) for _, wanted in desk.asked[:5]} == {(Priority.AUDIT, 1000)}
    desk.wait(120.0)
    assert Counter(symbol for symbol, _ in desk.audited) == Counter(dict.fromkeys(desk.kept, 3))
    assert desk.leftovers() == 0 and desk.upkeep.counters()["audits_passed"] == 60


@pytest.mark.parametrize(("before_s", "after_s"), [(600.0, 60.0), (60.0, 300.0)])
def test_another_interval_holds_at_once_and_turns_stay_spread(before_s: float, after_s: float) -> None:
    desk = Desk(20, interval_s=before_s)
    desk.wait(before_s / 10)
    begun = Counter(symbol for symbol, _ in desk.audited)
    assert begun and set(begun.values()) == {1} and len(begun) < 20
    began_s = desk.now_s
    desk.asked.clear()
    desk.upkeep.set_interval(after_s, desk.now_s)
    desk.wait(after_s)
    assert set(Counter(symbol for symbol, _ in desk.audited)) == set(desk.kept)
    by_tenth = Counter(int((at_s - began_s - 0.25) / (after_s / 10)) for at_s, _ in desk.asked)
    assert set(by_tenth.values()) <= {1, 2, 3, 4}, by_tenth
    desk.audited.clear()
    desk.wait(2 * after_s)
    assert Counter(symbol for symbol, _ in desk.audited) == Counter(dict.fromkeys(desk.kept, 2))


def test_intervals_that_change_all_the_time_put_no_audit_off() -> None:
    desk = Desk(5, interval_s=60.0)
    for turn in range(120):
        desk.upkeep.set_interval(30.0 if turn % 2 else 60.0, desk.now_s)
        desk.wait(1.0)
    assert set(Counter(symbol for symbol, _ in desk.audited)) == set(desk.kept)


def test_only_so_many_audits_are_under_way() -> None:
    desk = Desk(20)
    desk.wait(59.0, answering=False)
    assert len(desk.open) == 2 == desk.leftovers()
    desk.answer()
    desk.wait(0.25, answering=False)
    assert len(desk.open) == 2


def test_an_answer_that_is_too_old_is_followed_by_one_with_a_head_start() -> None:
    desk = Desk(1)
    desk.wait(59.0, answering=False)
    desk.move("S0")
    base_id = desk.kept["S0"].followers[0].base.update_id
    desk.answer()
    assert desk.audited == [("S0", base_id + 1)]
    desk.wait(60.0, answering=False)
    assert len(desk.asked) == 2
    behind = desk.kept["S0"].followers[0].base.update_id - 1
    desk.markets["S0"].states[behind] = desk.markets["S0"].states[behind + 1]
    desk.answer(behind)
    assert desk.upkeep.counters()["audits_inconclusive"] == 1 and desk.leftovers() == 0
    given_up_s = desk.now_s
    while not desk.kept["S0"].followers:
        desk.wait(0.05, answering=False, step_s=0.05)
    put_aside_s = desk.now_s
    assert put_aside_s - given_up_s == pytest.approx(1.0, abs=0.06), "soon again"
    assert len(desk.asked) == 2, "the book is put aside before the question"
    while not desk.open:
        desk.wait(0.05, answering=False, step_s=0.05)
    assert desk.now_s - put_aside_s == pytest.approx(0.25, abs=0.06)
    desk.answer()
    assert len(desk.audited) == 2


def test_an_answer_ahead_of_the_stream_is_waited_for_and_given_up_in_time() -> None:
    desk = Desk(1)
    desk.wait(59.0, answering=False)
    kept, market = desk.kept["S0"], desk.markets["S0"]
    update = market.update(("b", 500, 3))
    desk.answer()
    assert desk.leftovers() == 1 and not desk.audited
    kept.book.apply(update, 1)
    kept.followers[0].add(update)
    desk.wait(0.25, answering=False)
    assert desk.audited == [("S0", 101)] and desk.leftovers() == 0
    desk.wait(60.0, answering=False)
    market.update(("b", 500, 4))  # it never comes
    desk.answer()
    desk.wait(4.5, answering=False)
    assert desk.leftovers() == 1
    desk.wait(1.0, answering=False)
    assert desk.leftovers() == 0 and desk.upkeep.counters()["audits_inconclusive"] == 1


def test_what_is_never_answered_is_given_up() -> None:
    desk = Desk(1, interval_s=1000.0)
    desk.wait(999.0, answering=False, step_s=1.0)
    assert desk.upkeep.counters()["audits_inconclusive"] >= 1
    (old, *_) = desk.asked
    assert not desk.upkeep.on_answer(old[1].token, desk.markets["S0"].snapshot(), desk.now_s)
    assert desk.leftovers() <= 1


def test_a_refusal_waits_for_the_next_turn() -> None:
    desk = Desk(1)
    desk.wait(59.0, answering=False)
    (wanted,) = desk.open
    assert desk.upkeep.on_failure(wanted.token, 3.0, desk.now_s) and not desk.upkeep.on_failure(99, 3.0, desk.now_s)
    assert desk.leftovers() == 0
    asked = len(desk.asked)
    desk.wait(61.0, answering=False)
    assert len(desk.asked) == asked + 1


def test_a_book_that_is_lost_takes_its_comparisons_with_it() -> None:
    desk = Desk(2)
    desk.wait(59.0, answering=False)
    lost = desk.kept["S0"]
    desk.upkeep.abandon(lost)
    assert lost.followers == [] and desk.leftovers() == 1
    desk.answer()
    assert [symbol for symbol, _ in desk.audited] == ["S1"]


def test_a_symbol_that_comes_back_has_one_turn_in_an_interval() -> None:
    desk = Desk(1)
    for _ in range(3):
        desk.upkeep.remove("S0")
        desk.add("S0")
    desk.wait(60.0)
    desk.audited.clear()
    desk.wait(60.0)
    assert len(desk.audited) == 1


def test_a_book_out_of_step_is_passed_over() -> None:
    desk = Desk(2)
    desk.out_of_step.add("S1")
    desk.wait(120.0)
    assert Counter(symbol for symbol, _ in desk.audited) == {"S0": 2}


def test_deep_audits_come_to_every_symbol_in_turn_within_the_budget() -> None:
    count, interval_s = 48, 60.0  # 48 × 25 = a fifth of 6,000: audits are of 500 levels, deep ones come beside them
    desk = Desk(count, interval_s=interval_s)
    desk.wait(count * interval_s * 1.2, step_s=0.5)
    deep = [(at_s, wanted.symbol) for at_s, wanted in desk.asked if wanted.limit == 5000]
    shallow = {wanted.limit for _, wanted in desk.asked} - {5000}
    assert shallow == {500}
    assert {symbol for _, symbol in deep} == set(desk.kept), "every symbol has its turn"
    turns = Counter(symbol for _, symbol in deep)
    assert max(turns.values()) - min(turns.values()) <= 2, "nobody again and again before all others"
    elapsed_s = desk.now_s - desk.begin_s
    assert 0.8 * 10.0 * elapsed_s <= len(deep) * 250 <= 10.0 * elapsed_s + 500, "all of a tenth, and not more"


def test_a_symbol_that_is_out_of_step_does_not_hold_up_the_deep_audits_of_others() -> None:
    desk = Desk(60)
    desk.out_of_step.add("S0")
    desk.wait(60.0 * 10, step_s=0.5)
    assert any(wanted.limit == 5000 for _, wanted in desk.asked)


def test_a_book_near_its_edge_is_renewed_once_at_a_time_and_not_too_often() -> None:
    desk = Desk(1)
    kept = desk.kept["S0"]
    for _ in range(3):
        desk.upkeep.near_the_edge(kept, desk.now_s)
    (wanted,) = desk.open
    assert (wanted.priority, wanted.limit) == (Priority.INITIAL_SYNC, 5000)
    desk.answer()
    assert desk.renewed == [("S0", Purpose.EDGE)] and desk.leftovers() == 0
    desk.upkeep.near_the_edge(kept, desk.now_s + 9.9)
    assert desk.open == []
    desk.upkeep.near_the_edge(kept, desk.now_s + 10.1)
    assert len(desk.open) == 1


def test_shallow_books_are_deepened_step_by_step_as_weight_gathers() -> None:
    desk = Desk(3, interval_s=1e9)
    for symbol, kept in desk.kept.items():
        kept.limit = 100
        kept.book = desk.markets[symbol].book(limit=100)
    asked: list[tuple[float, int]] = []
    for _ in range(400):
        desk.now_s += 0.1
        desk.upkeep.deepen(desk.now_s)
        asked += [(desk.now_s - desk.begin_s, wanted.limit) for wanted in desk.open]
        assert {wanted.priority for wanted in desk.open} <= {Priority.INITIAL_SYNC}
        desk.answer()
    # 1,000 levels show these books to their ends; a fifth of 6,000 a minute pays for one of 50 every 2.5 s
    assert [limit for _, limit in asked] == [1000, 1000, 1000]
    assert [round(at_s, 0) for at_s, _ in asked] == [pytest.approx(2.5 * (n + 1), abs=0.7) for n in range(3)]
    assert [symbol for symbol, _ in desk.renewed] == ["S0", "S1", "S2"]
    assert all(kept.limit == 5000 and kept.book.whole for kept in desk.kept.values())


def test_a_shallow_book_that_was_not_cut_needs_no_deepening() -> None:
    desk = Desk(1)
    desk.kept["S0"].limit = 1000
    desk.upkeep.deepen(desk.now_s)
    assert desk.open == [] and desk.kept["S0"].limit == 5000
