"""The comparison of a book with the venue's snapshot: right books pass, wrong levels are found, one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from binmon.books.audit import Follower, Mismatch, audit, compare, describe
from binmon.books.book import Book
from tests.books.market import Market

BIDS = st.dictionaries(st.integers(50, 100), st.integers(1, 9), min_size=1)
ASKS = st.dictionaries(st.integers(101, 150), st.integers(1, 9), min_size=1)
STEPS = st.one_of(
    st.tuples(st.just("b"), st.integers(50, 100), st.integers(0, 9)),
    st.tuples(st.just("a"), st.integers(101, 150), st.integers(0, 9)),
)
EVENTS = st.lists(st.lists(STEPS, min_size=1, max_size=4), max_size=12)
LIMITS = st.sampled_from([2, 5, 5000])


def history(data: Any) -> tuple[Market, Follower, list, int, int]:
    """A book put aside, what followed, and the id of the answer, which may lie within an event."""
    market = Market(bids=data.draw(BIDS).items(), asks=data.draw(ASKS).items())
    base_limit = data.draw(LIMITS)
    base = market.book(limit=base_limit)
    for steps in data.draw(EVENTS):
        base.apply(market.update(*steps), 1)
    base.settle()
    limit = data.draw(LIMITS)
    follower = Follower(base, 1, limit)
    begun = market.update_id
    events = [market.update(*steps) for steps in data.draw(EVENTS)]
    for update in events:
        follower.add(update)
    at = data.draw(st.integers(begun, market.update_id))
    follower.snapshot = market.snapshot(at, limit)
    return market, follower, events, at, limit


@settings(deadline=None)
@given(st.data())
def test_a_right_book_passes_wherever_the_snapshot_falls(data: Any) -> None:
    market, follower, events, at, _ = history(data)
    before = follower.base.bids()[0].tolist(), follower.base.asks()[0].tolist()
    report = audit(follower, market.decoder)
    assert report.mismatches == () and report.update_id == at
    if not any(update.first_update_id <= at < update.last_update_id for update in events):
        assert report.excepted == 0
    assert before == (follower.base.bids()[0].tolist(), follower.base.asks()[0].tolist()), "nothing was applied to it"


@settings(deadline=None)
@given(st.data())
def test_one_wrong_level_is_found_and_nothing_else(data: Any) -> None:
    market, follower, events, at, limit = history(data)
    right = audit(follower, market.decoder)
    theirs = Book(market.decoder)
    assert follower.snapshot is not None
    theirs.load(follower.snapshot, limit)
    side = data.draw(st.sampled_from("ba"))
    ticks = data.draw(st.integers(50, 100) if side == "b" else st.integers(101, 150))
    price = round(ticks / 100, 2)
    # inside both horizons, and not said again by an event since the book was put aside
    if side == "b":
        assume(price >= max(follower.base.bid_horizon, theirs.bid_horizon))
    else:
        assume(price <= min(follower.base.ask_horizon, theirs.ask_horizon))
    relevant = [update for update in events if update.first_update_id <= at]
    for update in relevant:
        for text in (update.bids, update.asks):
            assume(price not in market.decoder.levels([text]).changes.price.tolist())
    bids, asks = market.states[at]
    there = (bids if side == "b" else asks).get(ticks, 0)
    wrong = data.draw(st.integers(0, 9).filter(lambda lots: lots != there))
    scratch = Market(update_id=follower.base.update_id)
    follower.base.apply(scratch.update((side, ticks, wrong)), 1)
    follower.base.settle()
    report = audit(follower, market.decoder)
    name = "bid" if side == "b" else "ask"
    assert report.mismatches == (Mismatch(name, price, wrong / 1000, there / 1000),)
    assert report.excepted == right.excepted
    assert report.levels == right.levels + (there == 0)  # a phantom is one more, a missing one is compared all the same


def test_an_event_across_the_snapshot_excepts_its_prices_only() -> None:
    market = Market(bids=[(99, 1), (98, 2)], asks=[(101, 1)])
    follower = Follower(market.book(), 1, 5000)
    follower.add(market.update(("b", 99, 5), ("b", 98, 7), ("a", 102, 3)))
    follower.snapshot = market.snapshot(101)  # after the first of its three ids
    report = audit(follower, market.decoder)
    assert (report.levels, report.excepted, report.mismatches) == (1, 2, ())


def test_too_old_ready_and_overdue() -> None:
    market = Market(bids=[(99, 1)], asks=[(101, 1)])
    old = market.snapshot()
    update = market.update(("b", 99, 5))
    book = market.book()
    follower = Follower(book, 1, 5000)
    assert not follower.too_old and not follower.ready(10**9)
    follower.snapshot = old
    assert follower.too_old
    market.update(("b", 99, 6))
    follower.snapshot = market.snapshot()
    assert not follower.too_old and not follower.ready(101) and follower.ready(102)
    for _ in range(6_000):
        follower.add(update)
    assert not follower.overdue
    follower.add(update)
    assert follower.overdue


def test_only_what_both_have_verified_is_compared() -> None:
    deep = Market(bids=[(99, 1), (98, 1), (97, 1)], asks=[(101, 1), (102, 1), (103, 1)])
    other = Market(bids=[(99, 1), (98, 1), (96, 4)], asks=[(101, 1), (102, 1), (104, 4)])
    assert compare(deep.book(limit=2), other.book(limit=3))[::2] == (4, [])
    assert compare(deep.book(limit=3), other.book(limit=2))[::2] == (4, [])
    levels, skipped, found = compare(deep.book(limit=5000), other.book(limit=5000))
    assert (levels, skipped) == (8, 0)
    assert [(m.side, m.price) for m in found] == [("bid", 0.96), ("bid", 0.97), ("ask", 1.03), ("ask", 1.04)]
    levels, skipped, found = compare(
        deep.book(limit=5000), other.book(limit=5000), (np.array([0.96, 0.99, 0.5]), np.array([1.03]))
    )
    assert (levels, skipped, len(found)) == (5, 3, 2)


def test_many_mismatches_are_told_in_few_words() -> None:
    wrong = [Mismatch("bid", float(number), 1.0, 0.0) for number in range(1, 8)]
    assert describe(wrong).startswith("bid 1.0: book 1.0, venue 0.0; ") and describe(wrong).endswith("and 2 more")
    assert describe(wrong[:1]) == "bid 1.0: book 1.0, venue 0.0"


def test_a_book_with_a_window_is_cut_at_every_update_here_too() -> None:
    """Levels that left it are not told of any more: cut at the end alone, they would come back."""
    market = Market(bids=[(100, 1)], asks=[(110, 1), (111, 1), (112, 1)])
    base = Book(market.decoder, window=3)
    base.load(market.snapshot(market.update_id, 3))
    follower = Follower(base, 1, 3)
    follower.add(market.update(("a", 101, 1), ("a", 102, 1), ("a", 103, 1)))
    # 110 to 112 are cancelled out there, of which the stream says nothing
    after = market.update(("a", 101, 0), ("a", 102, 0), ("a", 103, 0), ("a", 120, 1), ("a", 121, 1), ("a", 122, 1))
    follower.add(after)
    silently = Market(bids=[(100, 1)], asks=[(120, 1), (121, 1), (122, 1)])
    follower.snapshot = dataclasses.replace(
        silently.snapshot(silently.update_id, 3), last_update_id=after.last_update_id
    )
    assert audit(follower, market.decoder).mismatches == ()
