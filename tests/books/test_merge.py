"""Several feeds of one book, merged by update id: a hole that another feed may fill is no gap."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from binmon.books.sync import (
    FILL_WITHIN_S,
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
from tests.books.test_sync import EMPTY, Event, effects, synced

FEEDS = ("a", "b", "c")


def two_feeds(update_id: int = 100) -> BookSync:
    sync = synced(update_id)
    sync.on_feed_up("b", 0.0)
    return sync


def test_what_the_slower_feed_still_brings_is_no_gap() -> None:
    sync = two_feeds(100)
    assert not sync.on_update(Event(103, 104), 1, 0.0, "b")
    assert sync.state is SyncState.SYNCED and not sync.effects
    assert sync.on_update(Event(101, 101), 1, 0.1, "a")
    assert sync.on_update(Event(102, 102), 1, 0.1, "a")
    (late,) = sync.effects
    assert late == ApplyUpdate(Event(103, 104), 1) and sync.update_id == 104 and sync.gaps == 0
    sync.effects.clear()
    duplicates = sync.duplicates
    assert not sync.on_update(Event(103, 104), 1, 0.2, "a")
    assert sync.duplicates == duplicates + 1 and not sync.effects


def test_a_hole_that_every_feed_has_passed_is_a_gap_at_once() -> None:
    sync = two_feeds(100)
    sync.on_update(Event(103, 104), 1, 0.0, "b")
    sync.on_update(Event(102, 102), 1, 0.0, "a")
    assert effects(sync, GapFound) == [GapFound(101, 102, 102)]
    assert sync.state is SyncState.WAITING_FOR_SNAPSHOT


def test_what_was_beyond_a_gap_is_kept_for_the_next_snapshot() -> None:
    sync = two_feeds(100)
    sync.on_update(Event(103, 104), 1, 0.0, "b")
    sync.on_update(Event(102, 102), 1, 0.0, "a")
    (fetch,) = effects(sync, FetchSnapshot)
    sync.on_snapshot(fetch.token, DepthSnapshot("v", "ABCUSDT", 102, EMPTY, EMPTY, EMPTY, EMPTY), 0.1)
    assert [effect.update.last_update_id for effect in effects(sync, ApplyUpdate)] == [104]
    assert sync.update_id == 104


def test_nobody_is_waited_for_longer_than_stated() -> None:
    sync = two_feeds(100)
    sync.on_update(Event(103, 104), 1, 5.0, "b")
    sync.tick(5.0 + FILL_WITHIN_S - 0.01)
    assert sync.state is SyncState.SYNCED
    sync.tick(5.0 + FILL_WITHIN_S)
    assert effects(sync, GapFound) == [GapFound(101, 103, 104)]


def test_when_the_only_feed_that_could_fill_a_hole_ends_it_is_a_gap() -> None:
    sync = two_feeds(100)
    sync.on_update(Event(103, 104), 1, 0.0, "b")
    sync.on_feed_down("a", "closed", 0.1)
    assert effects(sync, GapFound) == [GapFound(101, 103, 104)]


def test_when_the_feed_that_was_ahead_ends_the_other_may_still_fill_the_hole() -> None:
    sync = two_feeds(100)
    sync.on_update(Event(103, 104), 1, 0.0, "b")
    sync.on_feed_down("b", "closed", 0.1)
    assert sync.state is SyncState.SYNCED, "a has all of it under way"
    for event in (Event(101, 101), Event(102, 102)):
        assert sync.on_update(event, 1, 0.2, "a")
    assert sync.update_id == 104 and sync.gaps == 0


def test_renewing_counts_an_epoch_and_needs_a_book() -> None:
    sync = two_feeds(100)
    epoch = sync.epoch
    assert sync.renew() == epoch + 1 == sync.epoch
    sync.invalidate("crossed book", 0.0)
    with pytest.raises(RuntimeError, match="cannot be renewed"):
        sync.renew()


class MergedFeeds(RuleBasedStateMachine):
    """A model venue emits contiguous events to all connected feeds; each feed has a queue of its own.

    Held at every step: in SYNCED the book equals the truth at its update id; ids never go back within an epoch; a gap
    is only reported where no live feed has the missing ids under way, or after the stated patience.
    """

    lossy = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.venue_id = 100
        self.truth: dict[int, dict[int, int]] = {100: {}}
        self.wires: dict[str, deque[Event]] = {}
        self.sync = BookSync()
        self.book: dict[int, int] = {}
        self.book_id: int | None = None
        self.epoch = 0
        self.pending: list[FetchSnapshot] = []
        self.hole_since_s: float | None = None  # since when the model knows that something is held back
        self.oldest_truth = 100  # no snapshot shows the venue before the first feed was there

    # The venue ----------------------------------------------------------------------------------------------------

    @rule(changes=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 3)), min_size=1, max_size=4))
    def market_moves(self, changes: list[tuple[int, int]]) -> None:
        first = self.venue_id + 1
        for price, quantity in changes:
            levels = dict(self.truth[self.venue_id])
            levels[price] = quantity
            self.venue_id += 1
            self.truth[self.venue_id] = {p: q for p, q in levels.items() if q}
        self.now += 0.05
        asks = json.dumps(list(dict(changes).items())).encode()
        event = Event(first, self.venue_id, int(self.now * 1000), asks=asks)
        for wire in self.wires.values():
            wire.append(event)

    @rule(feed=st.sampled_from(FEEDS))
    def connect(self, feed: str) -> None:
        if feed not in self.wires:
            if not self.wires:
                self.oldest_truth = self.venue_id
            self.wires[feed] = deque()
            self.sync.on_feed_up(feed, self.now)
            self.carry_out()

    @rule(feed=st.sampled_from(FEEDS))
    def disconnect(self, feed: str) -> None:
        if feed in self.wires and self.may_end(feed):
            del self.wires[feed]
            self.sync.on_feed_down(feed, "closed", self.now)
            self.carry_out()

    def may_end(self, feed: str) -> bool:
        return True

    # The wire -----------------------------------------------------------------------------------------------------

    @rule(feed=st.sampled_from(FEEDS), count=st.integers(1, 6))
    def deliver(self, feed: str, count: int) -> None:
        for _ in range(min(count, len(self.wires.get(feed, ())))):
            event = self.wires[feed].popleft()
            if self.sync.on_update(event, 1, self.now, feed):
                self.apply(event)
            self.carry_out()

    @precondition(lambda self: self.lossy)
    @rule(feed=st.sampled_from(FEEDS), at=st.integers(0, 5))
    def lose_one(self, feed: str, at: int) -> None:
        wire = self.wires.get(feed, ())
        if at < len(wire):
            del self.wires[feed][at]

    @rule(back=st.integers(0, 8), fails=st.integers(0, 9))
    def answer_snapshot(self, back: int, fails: int) -> None:
        if not self.pending:
            return
        fetch = self.pending.pop(0)
        if fails == 0:
            self.sync.on_snapshot_failed(fetch.token, 0.0, self.now)
        else:
            update_id = max(self.oldest_truth, self.venue_id - back)
            levels = self.truth[update_id]
            prices = np.array(sorted(levels), dtype=float)
            quantities = np.array([levels[int(p)] for p in prices], dtype=float)
            answer = DepthSnapshot("binance", "ABCUSDT", update_id, EMPTY, EMPTY, prices, quantities)
            self.sync.on_snapshot(fetch.token, answer, self.now)
        self.carry_out()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.before_time_passes(seconds)
        self.now += seconds
        self.sync.tick(self.now)
        self.carry_out()

    def before_time_passes(self, seconds: float) -> None:
        """Lossless feeds deliver within the patience."""

    # What the keeper does -----------------------------------------------------------------------------------------

    def apply(self, event: DepthUpdate) -> None:
        assert self.book_id is not None and event.last_update_id > self.book_id, "ids never go back"
        assert event.first_update_id <= self.book_id + 1, "nothing is applied over a gap"
        for price, quantity in json.loads(event.asks):
            self.book.pop(price, None)
            if quantity:
                self.book[price] = quantity
        self.book_id = event.last_update_id
        self.hole_since_s = None  # patience counts from the last step forward

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
                    self.hole_since_s = None
                case ApplyUpdate(update, _):
                    self.apply(update)
                case GapFound() as gap:
                    self.gap_found(gap)
                case StateChanged(before, after, reason, _):
                    self.moved(before, after, reason)
        if self.sync.state is SyncState.SYNCED and self.sync._ahead:
            self.hole_since_s = self.now if self.hole_since_s is None else self.hole_since_s
        else:
            self.hole_since_s = None

    def gap_found(self, gap: GapFound) -> None:
        assert gap.expected == (self.book_id or 0) + 1 and gap.first_update_id > gap.expected
        if self.hole_since_s is not None and self.now - self.hole_since_s >= FILL_WITHIN_S:
            return
        for feed, wire in self.wires.items():
            missing = gap.expected
            for event in wire:
                if event.first_update_id <= missing <= event.last_update_id:
                    missing = event.last_update_id + 1
            assert missing < gap.first_update_id, f"{feed} has everything up to {missing - 1} under way"

    def moved(self, before: SyncState, after: SyncState, reason: str) -> None:
        assert before is not after

    @invariant()
    def a_synced_book_is_the_truth(self) -> None:
        if self.sync.state is SyncState.SYNCED:
            assert self.sync.update_id == self.book_id
            assert self.book == self.truth[self.book_id or 0]

    @invariant()
    def only_a_synced_book_holds_events_back(self) -> None:
        assert self.sync.state is SyncState.SYNCED or not self.sync._ahead


class LosslessFeeds(MergedFeeds):
    """Feeds come and go and lag behind each other, but one of those that have it all is always there.

    Then there is never a gap, and a book that has come into step stays in step.
    """

    lossy = False

    @initialize()
    def begin(self) -> None:
        self.connect("a")

    def may_end(self, feed: str) -> bool:
        """A predecessor ends after a successor has delivered, and after it has delivered what the successor lacks."""
        others = [other for other in self.wires if other != feed]
        if self.sync.update_id is None or self.sync.state is not SyncState.SYNCED:
            return False
        # another one that has under way, without a hole, whatever follows the book
        return any(
            not self.wires[other] or self.wires[other][0].first_update_id <= self.sync.update_id + 1
            for other in others
            if self.wires[other] or self.sync.update_id >= self.venue_id
        )

    def before_time_passes(self, seconds: float) -> None:
        # no feed lags by as long as the book is patient; which one is the first to catch up is left to chance
        if self.hole_since_s is not None and self.now + seconds - self.hole_since_s >= FILL_WITHIN_S - 0.5:
            for feed in list(self.wires):
                self.deliver(feed, len(self.wires[feed]))

    def gap_found(self, gap: GapFound) -> None:
        raise AssertionError(f"{gap}, though one feed had everything throughout")

    def moved(self, before: SyncState, after: SyncState, reason: str) -> None:
        assert before is not SyncState.SYNCED, f"left for {after.value}: {reason}"


TestMergedFeeds = MergedFeeds.TestCase
TestMergedFeeds.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestLosslessFeeds = LosslessFeeds.TestCase
TestLosslessFeeds.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
