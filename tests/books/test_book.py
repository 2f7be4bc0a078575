"""The book and its vectorised merge against a plain dict of decimals."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.books.book import MAX_WAITING_UPDATES, Book
from binmon.levels import NO_CHANGES, apply_changes
from binmon.messages import LevelChanges
from binmon.venues.base import MalformedFrame
from binmon.venues.binance.decoding import BinanceDecoder

PRICES = st.integers(1, 60).map(lambda ticks: Decimal(ticks) / 100)
QUANTITIES = st.one_of(st.just(Decimal(0)), st.integers(1, 10**9).map(lambda lots: Decimal(lots) / 10**8))
CHANGES = st.lists(st.tuples(PRICES, QUANTITIES), max_size=12)


def depth_update(first: int, last: int, bids: list, asks: list) -> bytes:
    def rows(levels: list) -> list:
        return [[f"{p:.8f}", f"{q:.8f}"] for p, q in levels]

    event = {"e": "depthUpdate", "E": 1784600000000 + last, "s": "ABCUSDT", "U": first, "u": last}
    return json.dumps({"stream": "abcusdt@depth@100ms", "data": {**event, "b": rows(bids), "a": rows(asks)}}).encode()


def loaded(bids: list, asks: list, update_id: int = 1) -> tuple[Book, BinanceDecoder]:
    decoder = BinanceDecoder()
    body = json.dumps(
        {
            "lastUpdateId": update_id,
            "bids": [[str(p), str(q)] for p, q in bids],
            "asks": [[str(p), str(q)] for p, q in asks],
        }
    )
    book = Book(decoder)
    book.load(decoder.depth("binance", "ABCUSDT", body.encode()))
    return book, decoder


def side(price: np.ndarray, quantity: np.ndarray) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(repr(float(p))), Decimal(repr(float(q)))) for p, q in zip(price, quantity, strict=True)]


@given(st.lists(st.tuples(CHANGES, CHANGES, st.booleans()), max_size=30))
def test_a_book_equals_a_plain_one_digit_by_digit(updates: list) -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.31", "2.25")])
    bids, asks = {Decimal("0.30"): Decimal("1.5")}, {Decimal("0.31"): Decimal("2.25")}
    for number, (bid_changes, ask_changes, read) in enumerate(updates, start=2):
        update = decoder.update(depth_update(number, number, bid_changes, ask_changes))
        assert update is not None
        book.apply(update, 7)
        for plain, changes in ((bids, bid_changes), (asks, ask_changes)):
            for price, quantity in changes:
                plain.pop(price, None)
                if quantity:
                    plain[price] = quantity
        if read:
            book.settle()
            assert side(*book.bids()) == sorted(bids.items(), reverse=True)
            assert side(*book.asks()) == sorted(asks.items())
    book.settle()
    assert side(*book.bids()) == sorted(bids.items(), reverse=True)
    assert book.update_id == len(updates) + 1
    best = book.best()
    assert best[0] == (float(max(bids)) if bids else None) and best[2] == (float(min(asks)) if asks else None)


@given(st.lists(st.lists(st.tuples(CHANGES, CHANGES), max_size=4), max_size=8))
def test_the_changes_lead_from_row_to_row(rows: list) -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.61", "2.25")])
    before = [book.bids(), book.asks()]
    number = 1
    for updates in rows:
        for bid_changes, ask_changes in updates:
            number += 1
            update = decoder.update(depth_update(number, number, bid_changes, ask_changes))
            assert update is not None
            book.apply(update, 7)
            if number % 3 == 0:
                book.settle()  # somebody reads the top between two rows
        book.settle()
        changes = book.take_changes()
        price, quantity = apply_changes(before[0][0][::-1], before[0][1][::-1], changes.bids)
        assert np.array_equal(price[::-1], book.bids()[0]) and np.array_equal(quantity[::-1], book.bids()[1])
        price, quantity = apply_changes(*before[1], changes.asks)
        assert np.array_equal(price, book.asks()[0]) and np.array_equal(quantity, book.asks()[1])
        before = [book.bids(), book.asks()]


def test_what_a_reader_got_never_changes() -> None:
    book, decoder = loaded([("0.30", "1.5"), ("0.29", "1")], [("0.31", "2.25")])
    price, quantity = book.bids()
    update = decoder.update(depth_update(2, 2, [(Decimal("0.30"), Decimal(9)), (Decimal("0.29"), Decimal(0))], []))
    assert update is not None
    book.apply(update, 7)
    book.settle()
    assert quantity.tolist() == [1.5, 1.0] and price.tolist() == [0.30, 0.29]
    assert book.bids()[1].tolist() == [9.0]
    with pytest.raises(ValueError, match="read-only"):
        book.bids()[1][0] = 1.0


def test_it_says_when_too_much_text_waits() -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.31", "2.25")])
    said = []
    for number in range(2, MAX_WAITING_UPDATES + 2):
        update = decoder.update(depth_update(number, number, [(Decimal("0.30"), Decimal(number))], []))
        assert update is not None
        said.append(book.apply(update, 7))
    assert said == [False] * (MAX_WAITING_UPDATES - 1) + [True]
    book.settle()
    assert book.best()[1] == float(MAX_WAITING_UPDATES + 1)


def test_a_market_that_leaves_the_snapshot_shows() -> None:
    decoder = BinanceDecoder()
    body = json.dumps({"lastUpdateId": 1, "bids": [["3", "1"], ["2", "1"]], "asks": [["4", "1"], ["5", "1"]]}).encode()
    for limit, half, none in ((2, 0.5, 0.0), (3, 1.0, 1.0), (None, 1.0, 1.0)):
        book = Book(decoder)
        book.load(decoder.depth("binance", "ABCUSDT", body), limit)
        assert book.verified_share == 1.0
        for number, gone, share in ((2, 4, half), (3, 5, none)):
            changes = [(Decimal(gone), Decimal(0)), (Decimal(6), Decimal(1))]
            update = decoder.update(depth_update(number, number, [], changes))
            assert update is not None
            book.apply(update, 7)
            book.settle()
            assert book.verified_share == share


def test_the_horizon_is_where_the_snapshot_was_cut() -> None:
    decoder = BinanceDecoder()
    body = json.dumps({"lastUpdateId": 1, "bids": [["3", "1"], ["2", "1"]], "asks": [["4", "1"]]}).encode()
    for limit, low, high, whole in ((2, 2.0, np.inf, False), (1, 2.0, 4.0, False), (3, -np.inf, np.inf, True)):
        book = Book(decoder)
        book.load(decoder.depth("binance", "ABCUSDT", body), limit)
        assert (book.bid_horizon, book.ask_horizon, book.whole) == (low, high, whole)


def test_what_is_applied_to_a_book_does_not_show_in_its_copy() -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.31", "2.25")])
    copy = book.copy()
    update = decoder.update(depth_update(2, 2, [(Decimal("0.30"), Decimal(9))], [(Decimal("0.31"), Decimal(0))]))
    assert update is not None
    book.apply(update, 7)
    book.settle()
    assert copy.best() == (0.30, 1.5, 0.31, 2.25) and copy.update_id == 1 and copy.bid_known_to == 0.30
    copy.apply(update, 7)
    copy.settle()
    assert copy.best() == book.best() == (0.30, 9.0, None, None)


def test_known_depth_is_the_worst_price_of_the_snapshot() -> None:
    book, _ = loaded([("0.30", "1.5"), ("0.20", "1")], [])
    assert book.bid_known_to == 0.20 and book.ask_known_to is None


def test_a_crossed_book_shows() -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.31", "2.25")])
    assert not book.crossed
    update = decoder.update(depth_update(2, 2, [(Decimal("0.31"), Decimal(1))], []))
    assert update is not None
    book.apply(update, 7)
    book.settle()
    assert book.crossed


def test_a_number_that_a_double_would_round_is_noticed() -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.31", "2.25")])
    update = decoder.update(depth_update(2, 2, [(Decimal("0.30"), Decimal("92233720368.54775807"))], []))
    assert update is not None
    book.apply(update, 7)
    book.settle()
    assert book.inexact == "92233720368.54775807"


@pytest.mark.parametrize(
    "levels", ['[["x","1"]]', '[["1"]]', '[["-1","1"]]', '[["0","1"]]', '[["1","-2"]]', '[["1","nan"]]', '{"a":1}']
)
def test_levels_that_cannot_be_are_refused(levels: str) -> None:
    book, decoder = loaded([("0.30", "1.5")], [("0.31", "2.25")])
    frame = f'{{"data":{{"e":"depthUpdate","E":1,"s":"ABCUSDT","U":2,"u":2,"b":{levels},"a":[]}}}}'
    update = decoder.update(frame.encode())
    assert update is not None
    book.apply(update, 7)
    with pytest.raises(MalformedFrame):
        book.settle()


def test_merging_nothing_gives_the_same_arrays() -> None:
    price, quantity = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    merged = apply_changes(price, quantity, NO_CHANGES)
    assert merged[0] is price and merged[1] is quantity
    merged = apply_changes(price, quantity, LevelChanges(np.array([5.0]), np.array([0.0])))
    assert merged[0].tolist() == [1.0, 2.0] and merged[1].tolist() == [3.0, 4.0]
