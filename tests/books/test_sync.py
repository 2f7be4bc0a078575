"""The resync machine against a plain model of a venue, over random histories."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from binmon.books.sync import (
    QUIET_AFTER_S,
    ApplyUpdate,
    BookSync,
    FetchSnapshot,
    GapFound,
    LoadSnapshot,
    StateChanged,
    SyncState,
)
from binmon.messages import DepthSnapshot
from binmon.venues.base import DepthUpdate

EMPTY = np.empty(0)


@dataclass(frozen=True)
class Event:
    """A depth update as the machine sees it; ``asks`` are price → quantity of the model's one side, as JSON."""

    first_update_id: int
    last_update_id: int
    event_time_ms: int = 0
    symbol: str = "ABCUSDT"
    bids: bytes = b"[]"
    asks: bytes = b"[]"


def snapshot(update_id: int) -> DepthSnapshot:
    return DepthSnapshot("binance", "ABCUSDT", update_id, EMPTY, EMPTY, EMPTY, EMPTY)


def effects(sync: BookSync, kind: type) -> list:
    """Take out all effects, and return those of one kind."""
    taken = [effect for effect in sync.effects if isinstance(effect, kind)]
    sync.effects.clear()
    return taken


def waiting(first: Event) -> tuple[BookSync, int]:
    sync = BookSync()
    sync.on_feed_up("a", 0.0)
    assert not sync.on_update(first, 1, 0.0)
    (fetch,) = effects(sync, FetchSnapshot)
    return sync, fetch.token


def synced(update_id: int = 100) -> BookSync:
    sync, token = waiting(Event(update_id - 5, update_id - 1))
    sync.on_snapshot(token, snapshot(update_id), 0.0)
    sync.effects.clear()
    assert sync.state is SyncState.SYNCED
    return sync


def test_the_first_event_asks_for_the_snapshot_and_not_before() -> None:
    sync = BookSync()
    sync.tick(100.0)
    sync.on_feed_up("a", 100.0)
    sync.tick(100.1)
    assert not sync.effects
    sync.on_update(Event(1, 2), 1, 100.2)
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT
    assert len(effects(sync, FetchSnapshot)) == 1


def test_a_quiet_symbol_asks_after_a_while_and_tests_its_first_event() -> None:
    sync = BookSync()
    sync.on_feed_up("a", 10.0)
    sync.tick(10.0 + QUIET_AFTER_S)
    (fetch,) = effects(sync, FetchSnapshot)
    sync.on_snapshot(fetch.token, snapshot(50), 14.0)
    assert sync.state is SyncState.SYNCED
    assert sync.on_update(Event(51, 53), 1, 15.0)
    assert sync.update_id == 53


@pytest.mark.parametrize("update_id", [1, 9])
def test_a_snapshot_before_the_first_event_is_too_old(update_id: int) -> None:
    sync, token = waiting(Event(10, 12))
    sync.on_snapshot(token, snapshot(update_id), 0.0)
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT
    (again,) = effects(sync, FetchSnapshot)
    assert again.token != token and again.not_before_s > 0
    assert sync.stale_snapshots == 1


@pytest.mark.parametrize("update_id", [10, 11, 12, 13, 20])
def test_a_snapshot_that_bridges_is_taken_wherever_it_falls(update_id: int) -> None:
    sync, token = waiting(Event(10, 12))
    sync.on_update(Event(13, 15), 2, 0.0)
    sync.on_snapshot(token, snapshot(update_id), 0.0)
    assert sync.state is SyncState.SYNCED
    applied = [e.update.last_update_id for e in effects(sync, ApplyUpdate)]
    assert applied == [u for u in (12, 15) if u > update_id]
    assert sync.update_id == max(update_id, 15)


def test_contiguous_old_and_gapped_events() -> None:
    sync = synced(100)
    duplicates = sync.duplicates
    assert not sync.on_update(Event(95, 100), 1, 0.0)  # old
    assert sync.on_update(Event(99, 101), 1, 0.0)  # overlaps
    assert sync.on_update(Event(102, 102), 1, 0.0)  # follows
    assert not sync.effects and sync.duplicates == duplicates + 1
    assert not sync.on_update(Event(104, 105), 1, 0.0)  # 103 is missing
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT
    gap, *_ = [e for e in sync.effects if isinstance(e, GapFound)]
    assert gap == GapFound(103, 104, 105)
    (fetch,) = effects(sync, FetchSnapshot)
    sync.on_snapshot(fetch.token, snapshot(104), 1.0)
    assert sync.epoch == 2 and sync.update_id == 105


def test_an_answer_to_an_earlier_request_is_passed_over() -> None:
    sync, token = waiting(Event(10, 12))
    sync.on_feed_down("a", "closed", 0.0)
    sync.on_snapshot(token, snapshot(11), 0.0)
    assert sync.state is SyncState.WAITING_FOR_EVENTS
    sync.on_feed_up("a", 1.0)
    sync.on_update(Event(20, 21), 1, 1.0)
    sync.on_snapshot(token, snapshot(21), 1.0)
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT


def test_a_second_feed_keeps_the_book_alive() -> None:
    sync = synced(100)
    sync.on_feed_up("b", 0.0)
    sync.on_feed_down("a", "closed", 0.0)
    assert sync.state is SyncState.SYNCED
    sync.on_feed_down("b", "closed", 0.0)
    assert sync.state is SyncState.WAITING_FOR_EVENTS


def test_a_reset_of_the_venue_is_told_from_a_late_duplicate() -> None:
    sync = synced(100_000)
    assert sync.on_update(Event(100_001, 100_002, 50_000), 1, 0.0)
    assert not sync.on_update(Event(99_000, 99_001, 50_900), 1, 0.0)
    assert sync.state is SyncState.SYNCED
    assert not sync.on_update(Event(1, 3, 60_000), 1, 0.0)
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT
    (fetch,) = effects(sync, FetchSnapshot)
    sync.on_snapshot(fetch.token, snapshot(2), 0.0)
    assert sync.state is SyncState.SYNCED and sync.update_id == 3


def test_a_reset_right_after_a_snapshot_is_noticed_too() -> None:
    sync = synced(100_000)
    for time_ms in range(1_000, 11_000, 500):
        assert not sync.on_update(Event(1, 3, time_ms), 1, 0.0)
    assert sync.state is SyncState.SYNCED
    sync.on_update(Event(4, 6, 11_500), 1, 0.0)
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT


def test_failed_snapshots_are_asked_for_again_later_and_later() -> None:
    sync, token = waiting(Event(10, 12))
    delays = []
    for _ in range(6):
        sync.on_snapshot_failed(token, 0.0, 0.0)
        (fetch,) = effects(sync, FetchSnapshot)
        token = fetch.token
        delays.append(fetch.not_before_s)
    assert delays[0] < 0.3 and delays[-1] > 2 and max(delays) <= 10.0
    sync.on_snapshot_failed(token, 33.0, 0.0)
    (fetch,) = effects(sync, FetchSnapshot)
    assert fetch.not_before_s >= 33.0


def test_events_that_waited_long_for_the_snapshot_are_no_reset() -> None:
    sync = BookSync()
    sync.on_feed_up("a", 0.0)
    for second in range(60):  # a market of symbols waits for weight for a minute
        sync.on_update(Event(100 + second, 100 + second, 1_000 * (1 + second)), 1, float(second), "a")
    (fetch,) = effects(sync, FetchSnapshot)
    sync.on_snapshot(fetch.token, snapshot(158), 60.0)
    assert sync.state is SyncState.SYNCED and sync.update_id == 159 and not effects(sync, FetchSnapshot)


class Histories(RuleBasedStateMachine):
    """A model venue of one side with contiguous events; the wire loses, repeats, swaps and cuts.

    Held at every step: in SYNCED the book equals the truth at its update id; ids never go back within an epoch;
    whatever is not SYNCED emits nothing; every epoch is one higher than the one before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.truth: dict[int, dict[int, int]] = {100: {}}
        self.venue_id = 100
        self.on_wire: list[Event] = []
        self.sync = BookSync()
        self.book: dict[int, int] = {}
        self.book_id: int | None = None
        self.epoch = 0
        self.pending: list[FetchSnapshot] = []
        self.connected = False

    @rule(changes=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 3)), min_size=1, max_size=4))
    def market_moves(self, changes: list[tuple[int, int]]) -> None:
        first = self.venue_id + 1
        for price, quantity in changes:
            levels = dict(self.truth[self.venue_id])
            levels[price] = quantity
            self.venue_id += 1
            self.truth[self.venue_id] = {p: q for p, q in levels.items() if q}
        self.now += 0.1
        final = json.dumps(list(dict(changes).items())).encode()
        if self.connected:
            self.on_wire.append(Event(first, self.venue_id, int(self.now * 1000), asks=final))

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.sync.on_feed_up("a", self.now)
            self.carry_out()

    @rule()
    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.on_wire.clear()
            self.sync.on_feed_down("a", "closed", self.now)
            self.carry_out()

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.on_wire))):
            self.receive(self.on_wire.pop(0))

    @rule()
    def lose_one(self) -> None:
        if self.on_wire:
            self.on_wire.pop(0)

    @rule()
    def repeat_one(self) -> None:
        if self.on_wire:
            self.on_wire.insert(0, self.on_wire[0])

    @rule()
    def swap_two(self) -> None:
        if len(self.on_wire) > 1:
            self.on_wire[0], self.on_wire[1] = self.on_wire[1], self.on_wire[0]

    @rule(back=st.integers(0, 6))
    def answer_snapshot(self, back: int) -> None:
        if self.pending:
            fetch = self.pending.pop(0)
            update_id = max(100, self.venue_id - back)
            levels = self.truth[update_id]
            prices = np.array(sorted(levels), dtype=float)
            quantities = np.array([levels[int(p)] for p in prices], dtype=float)
            answer = DepthSnapshot("binance", "ABCUSDT", update_id, EMPTY, EMPTY, prices, quantities)
            self.sync.on_snapshot(fetch.token, answer, self.now)
            self.carry_out()

    @rule()
    def fail_snapshot(self) -> None:
        if self.pending:
            self.sync.on_snapshot_failed(self.pending.pop(0).token, 0.0, self.now)
            self.carry_out()

    @rule()
    def time_passes(self) -> None:
        self.now += 1.0
        self.sync.tick(self.now)
        self.carry_out()

    @rule()
    def found_wrong(self) -> None:
        self.sync.invalidate("audit", self.now)
        self.carry_out()

    def receive(self, event: Event) -> None:
        if self.sync.on_update(event, 1, self.now):
            assert self.sync.state is SyncState.SYNCED
            self.apply(event)
        self.carry_out()

    def apply(self, event: DepthUpdate) -> None:
        assert self.book_id is not None and event.last_update_id > self.book_id, "ids never go back"
        assert event.first_update_id <= self.book_id + 1, "nothing is applied over a gap"
        for price, quantity in json.loads(event.asks):
            self.book.pop(price, None)
            if quantity:
                self.book[price] = quantity
        self.book_id = event.last_update_id

    def carry_out(self) -> None:
        while self.sync.effects:
            match self.sync.effects.popleft():
                case FetchSnapshot() as fetch:
                    self.pending.append(fetch)
                case LoadSnapshot(loaded, epoch, _, _):
                    assert epoch == self.epoch + 1
                    self.epoch = epoch
                    self.book = dict(zip(loaded.ask_price.astype(int), loaded.ask_quantity.astype(int), strict=True))
                    self.book_id = loaded.last_update_id
                case ApplyUpdate(update, _):
                    self.apply(update)
                case GapFound(expected, first, _):
                    assert first > expected
                case StateChanged(before, after, _, _):
                    assert before is not after

    @invariant()
    def a_synced_book_is_the_truth(self) -> None:
        if self.sync.state is SyncState.SYNCED:
            assert self.sync.update_id == self.book_id
            assert self.book_id in self.truth
            assert self.book == self.truth[self.book_id]


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
