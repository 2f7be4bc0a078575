"""A book renewed beside the live one: the new snapshot where it reaches, the old levels beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.books.audit import Follower
from binmon.books.shadow import renew
from binmon.levels import apply_changes
from tests.books.market import Market, levels
from tests.books.test_audit import ASKS, BIDS, EVENTS

LIMITS = st.sampled_from([1, 2, 5, 5000])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_renewed_book_is_the_truth_where_either_snapshot_reaches(data: Any) -> None:
    market = Market(bids=data.draw(BIDS).items(), asks=data.draw(ASKS).items())
    live = market.book(limit=data.draw(LIMITS))
    for steps in data.draw(EVENTS):
        live.apply(market.update(*steps), 1)
    live.settle()
    limit = data.draw(LIMITS)
    follower = Follower(live, 1, limit)
    begun = market.update_id
    for steps in data.draw(EVENTS):
        update = market.update(*steps)
        live.apply(update, 2)
        follower.add(update)
    follower.snapshot = market.snapshot(data.draw(st.integers(begun, market.update_id)), limit)
    live.settle()
    old = levels(live.bids()), levels(live.asks())
    renewal = renew(live, follower, market.decoder)
    book = renewal.book
    assert renewal.mismatches == ()
    assert old == (levels(live.bids()), levels(live.asks())), "the live book was not touched"
    assert book.update_id == live.update_id and book.receive_time_ns == live.receive_time_ns
    snapshot = follower.snapshot
    cuts = (
        snapshot.bid_price[-1] if snapshot.bid_price.size >= limit else -np.inf,
        snapshot.ask_price[-1] if snapshot.ask_price.size >= limit else np.inf,
    )
    horizons = (book.bid_horizon, book.ask_horizon)
    assert horizons == (min(cuts[0], live.bid_horizon), max(cuts[1], live.ask_horizon))
    for side, truth, mine, before, sign, cut, horizon in zip(
        "ba", market.sides(), (book.bids(), book.asks()), old, (1, -1), cuts, horizons, strict=True
    ):
        prices = (mine[0] * sign).tolist()
        assert prices == sorted(set(prices), reverse=True), f"{side}: best first, each price once"
        found = levels(mine)
        inside = [level for level in truth if sign * level[0] / 100 >= sign * horizon]
        assert found[: len(inside)] == inside
        beyond = [level for level in before if sign * level[0] / 100 < sign * cut]
        assert [level for level in found if sign * level[0] / 100 < sign * cut] == beyond
    assert renewal.added == len(book.bids()[0]) + len(book.asks()[0]) - len(old[0]) - len(old[1])
    # what comes after goes on from there
    row = book.bids(), book.asks()
    assert book.take_changes().bids.price.size == 0
    for steps in data.draw(EVENTS):
        update = market.update(*steps)
        book.apply(update, 3)
        live.apply(update, 3)
    book.settle()
    live.settle()
    changes = book.take_changes()
    assert np.array_equal(apply_changes(row[0][0][::-1], row[0][1][::-1], changes.bids)[0][::-1], book.bids()[0])
    assert np.array_equal(apply_changes(*row[1], changes.asks)[1], book.asks()[1])


def test_updates_beyond_the_new_snapshot_are_not_in_twice() -> None:
    market = Market(bids=[(99, 1), (98, 1), (90, 1)], asks=[(101, 1), (102, 1), (110, 1)])
    live = market.book()
    follower = Follower(live, 1, 2)
    follower.snapshot = market.snapshot(limit=2)
    update = market.update(("b", 90, 7), ("b", 85, 2), ("a", 110, 7), ("a", 112, 2))
    live.apply(update, 1)
    follower.add(update)
    live.settle()
    book = renew(live, follower, market.decoder).book
    assert (levels(book.bids()), levels(book.asks())) == market.sides()


@pytest.mark.parametrize(
    ("old_limit", "new_limit", "known", "whole", "share"),
    [
        (2, 3, (0.97, 1.03), False, 1.0),
        (3, 2, (0.97, 1.03), False, 1.0),
        (2, 5000, (0.96, 1.04), True, 1.0),
        (5000, 2, (0.96, 1.04), True, 1.0),
    ],
)
def test_the_verified_parts_are_joined(old_limit: int, new_limit: int, known: tuple, whole: bool, share: float) -> None:
    market = Market(
        bids=[(99, 1), (98, 1), (97, 1), (96, 1)], asks=[(101, 1), (102, 1), (103, 1), (104, 1)]
    )  # fmt: skip
    live = market.book(limit=old_limit)
    follower = Follower(live, 1, new_limit)
    follower.snapshot = market.snapshot(limit=new_limit)
    book = renew(live, follower, market.decoder).book
    assert (book.bid_known_to, book.ask_known_to) == known
    assert book.whole is whole and book.verified_share == share
    if not whole:
        # one of three verified levels goes: two thirds are left
        book.apply(market.update(("b", 99, 0)), 1)
        book.settle()
        assert book.verified_share == pytest.approx(2 / 3)


def test_a_wrong_level_is_replaced_and_told() -> None:
    market = Market(bids=[(99, 1), (98, 1)], asks=[(101, 1)])
    live = Market(bids=[(99, 1), (98, 6)], asks=[(101, 1)]).book()
    follower = Follower(live, 1, 5000)
    follower.snapshot = market.snapshot()
    renewal = renew(live, follower, market.decoder)
    assert [(m.price, m.book_quantity, m.venue_quantity) for m in renewal.mismatches] == [(0.98, 0.006, 0.001)]
    assert renewal.levels == 3 and levels(renewal.book.bids()) == [(99, 1), (98, 1)]


def test_a_number_that_a_double_would_round_stays_known() -> None:
    market = Market(bids=[(99, 1)], asks=[(101, 1)])
    live = market.book()
    live.inexact = "92233720368.54775807"
    follower = Follower(live, 1, 5000)
    follower.snapshot = market.snapshot()
    assert renew(live, follower, market.decoder).book.inexact == live.inexact


def test_a_side_that_was_emptied_since_the_snapshot_can_be_renewed() -> None:
    market = Market(bids=[(99, 1)], asks=[(101, 1)])
    live = market.book()
    follower = Follower(live, 1, 1)
    follower.snapshot = market.snapshot(limit=1)
    update = market.update(("b", 99, 0), ("a", 101, 0))
    live.apply(update, 1)
    follower.add(update)
    live.settle()
    book = renew(live, follower, market.decoder).book
    assert book.best() == (None, None, None, None) and book.verified_share == 1.0 and book.whole
