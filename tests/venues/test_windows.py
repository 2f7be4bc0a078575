"""One side of a book that is cut to its best levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.venues.base import MalformedFrame
from binmon.venues.level_texts import LevelTexts
from binmon.venues.windows import WindowSide, levels_text, removals, snapshot_of

CHANGES = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2)), max_size=60)


@given(CHANGES, st.integers(1, 8), st.booleans())
def test_the_best_levels_and_what_fell_out(changes: list[tuple[int, int]], limit: int, descending: bool) -> None:
    side, plain = WindowSide(limit, descending=descending), dict[int, int]()
    for ticks, lots in changes:
        price = f"{ticks / 4:.2f}"
        if lots:
            side.put(price, str(lots))
            plain[ticks] = lots
        else:
            side.remove(price)
            plain.pop(ticks, None)
        best = sorted(plain, reverse=descending)
        assert side.cut() == [(f"{ticks / 4:.2f}", str(plain[ticks])) for ticks in best[limit:]]
        plain = {ticks: plain[ticks] for ticks in best[:limit]}
        assert side.best(100) == [(f"{ticks / 4:.2f}", str(lots)) for ticks, lots in plain.items()]
        assert len(side) == len(plain) and side.best(1) == side.best(100)[:1]


def test_texts() -> None:
    side = WindowSide(2, descending=True)
    for price in ("9.5", "10.0", "100"):
        side.put(price, "0.1")
    assert side.cut() == [("9.5", "0.1")]
    assert side.text() == b'[["100","0.1"],["10.0","0.1"]]' and levels_text([]) == b"[]"
    assert removals([("9.5", "0.1")]) == [("9.5", "0")]


def test_snapshots_are_sorted_and_without_empty_levels() -> None:
    parser = LevelTexts()
    snapshot = snapshot_of(parser, "x", "S", 7, b'[["2","1"],["1","1"]]', b'[["3","1"],["4","1"]]')
    assert (snapshot.bid_price.tolist(), snapshot.ask_price.tolist()) == ([2.0, 1.0], [3.0, 4.0])
    assert snapshot_of(parser, "x", "S", 7, b"[]", b"[]").ask_price.size == 0
    for bids, asks in ((b'[["1","1"],["2","1"]]', b"[]"), (b"[]", b'[["3","1"],["3","1"]]'), (b'[["1","0"]]', b"[]")):
        with pytest.raises(MalformedFrame):
            snapshot_of(parser, "x", "S", 7, bids, asks)
