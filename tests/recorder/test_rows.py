from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.messages import BookSnapshot, LevelChanges
from binmon.recorder.rows import BookChain, encode_row
from tests.recorder.market import Market, side, truth, without

price = st.integers(1, 10**6).map(lambda n: n / 100)
quantity = st.one_of(st.just(0.0), st.floats(1e-8, 1e12, allow_nan=False))
changes = st.lists(st.tuples(price, quantity), max_size=12)
known = st.one_of(st.none(), st.floats(1e-8, 1e12))


@given(st.lists(st.tuples(changes, changes, st.booleans(), known, known), min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_mixture_of_keyframes_and_deltas_comes_back_bit_by_bit(steps: list[tuple]) -> None:
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    rows, data = [], b""
    for number, (bid_steps, ask_steps, delta, bid_known, ask_known) in enumerate(steps):
        for levels, updates in ((bids, bid_steps), (asks, ask_steps)):
            for level, amount in updates:
                levels[level] = amount
                if amount == 0:
                    del levels[level]
        packed = [LevelChanges(*(np.array(c, np.float64) for c in ([x[0] for x in s], [x[1] for x in s])))
                  for s in (bid_steps, ask_steps)]  # fmt: skip
        row = BookSnapshot(
            "v", "S", number, -number, 2**62 + number, 1, -1, bid_known, ask_known,
            *side(bids, bids=True), *side(asks, bids=False), 2**62 + number - 1, *packed,
        )  # fmt: skip
        rows.append(row)
        data += encode_row(row, delta=delta and number > 0)
    chain = BookChain()
    assert [truth(row) for row in chain.read(data)] == [truth(row) for row in rows]
    assert chain.rows_lost == 0
    assert [key[:2] for key in BookChain.keys(data)] == [(row.receive_time_ns, row.update_id) for row in rows]


def test_a_delta_without_its_predecessor_is_lost_up_to_the_next_keyframe() -> None:
    market = Market()
    rows = [market.next() for _ in range(6)]
    parts = [encode_row(row, delta=number not in (0, 4)) for number, row in enumerate(rows)]
    chain = BookChain()
    back = [row.update_id for row in chain.read(b"".join(parts[:1] + parts[2:]))]
    assert back == [rows[0].update_id, rows[4].update_id, rows[5].update_id]
    assert chain.rows_lost == 2


@pytest.mark.parametrize("wrong", ["quantity", "missing", "epoch"])
def test_changes_that_do_not_lead_to_the_row_never_become_a_book(wrong: str) -> None:
    market = Market()
    first, second = market.next(), market.next()
    if wrong == "quantity":
        amounts = second.ask_quantity.copy()
        amounts[3] = np.nextafter(amounts[3], 10)
        second = without(second, ask_quantity=amounts)
    elif wrong == "missing":
        second = without(second, bid_price=second.bid_price[:-1], bid_quantity=second.bid_quantity[:-1])
    else:
        second = without(second, epoch=second.epoch + 1)
    chain = BookChain()
    back = list(chain.read(encode_row(first, delta=False) + encode_row(second, delta=True)))
    assert [truth(row) for row in back] == [truth(first)]
    assert chain.rows_lost == 1
