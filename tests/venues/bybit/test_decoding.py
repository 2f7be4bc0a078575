"""Frames of the public stream: the reference's, a real session's, and what no frame should do."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.venues.base import BookBroken, ControlReply, MalformedFrame, MarketDecoder, StreamSnapshot
from binmon.venues.bybit.decoding import BybitDecoder
from tests.recordings import RECORDINGS

SNAPSHOT = (
    b'{"topic":"orderbook.50.BTCUSDT","ts":1764000000131,"type":"snapshot","data":{"s":"BTCUSDT",'
    b'"b":[["70001.1","0.31"],["70000","0.0005"]],"a":[["70001.2","0.884412"],["70001.9","0.02"]],'
    b'"u":812001,"seq":98765432110},"cts":1764000000128}'
)
DELTA = (
    b'{"topic":"orderbook.50.BTCUSDT","ts":1764000000151,"type":"delta","data":{"s":"BTCUSDT",'
    b'"b":[["70000","0"]],"a":[["70001.2","0.884"],["70001.5","0.1"]],"u":812002,"seq":98765432117},"cts":1764000000149}'
)
# recordings of real traffic, beside the checkout where they are at hand
RECORDING = RECORDINGS / "other-venues" / "bybit_v5_linear_20260809_44s.tsv.gz"


def test_it_is_a_decoder() -> None:
    assert isinstance(BybitDecoder(), MarketDecoder)


def test_a_delta() -> None:
    decoder = BybitDecoder()
    update = decoder.update(DELTA)
    assert update is not None
    assert (update.symbol, update.first_update_id, update.last_update_id) == ("BTCUSDT", 812002, 812002)
    assert update.event_time_ms == 1764000000149
    bids, asks = decoder.sides([update.bids], [update.asks])
    assert bids.changes.price.tolist() == [70000.0] and bids.changes.quantity.tolist() == [0.0]
    assert asks.changes.price.tolist() == [70001.2, 70001.5]
    assert decoder.pairs(update.asks) == [(70001.2, 0.884), (70001.5, 0.1)]


def test_the_time_of_the_message_where_the_engines_is_missing() -> None:
    without = DELTA.replace(b',"cts":1764000000149', b"")
    update = BybitDecoder().update(without)
    assert update is not None and update.event_time_ms == 1764000000151


def test_a_snapshot() -> None:
    decoder = BybitDecoder()
    assert decoder.update(SNAPSHOT) is None
    message = decoder.other(SNAPSHOT)
    assert isinstance(message, StreamSnapshot) and message.event_time_ms == 1764000000128
    book = message.snapshot
    assert (book.venue, book.symbol, book.last_update_id, book.inexact) == ("bybit", "BTCUSDT", 812001, None)
    assert book.bid_price.tolist() == [70001.1, 70000.0] and book.ask_quantity.tolist() == [0.884412, 0.02]


def test_a_restart_of_the_service_is_a_whole_book() -> None:
    message = BybitDecoder().other(SNAPSHOT.replace(b'"u":812001', b'"u":1'))
    assert isinstance(message, StreamSnapshot) and message.snapshot.last_update_id == 1


def test_a_restart_that_is_marked_as_a_change_is_not_trusted() -> None:
    frame = DELTA.replace(b'"u":812002', b'"u":1')
    decoder = BybitDecoder()
    assert decoder.update(frame) is None
    message = decoder.other(frame)
    assert isinstance(message, BookBroken) and message.symbol == "BTCUSDT"


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        (
            b'{"success":true,"ret_msg":"subscribe","conn_id":"d0","req_id":"s-1","op":"subscribe"}',
            ControlReply("s-1", None),
        ),
        (b'{"success":true,"ret_msg":"subscribe","conn_id":"d0","op":"subscribe"}', ControlReply("", None)),
        (
            b'{"success":false,"ret_msg":"args size \\u003e10","conn_id":"d0","req_id":"s-1","op":"subscribe"}',
            ControlReply("s-1", "args size >10"),
        ),
        (
            b'{"success":false,"ret_msg":"error:handler not found,topic:orderbook.7.X","req_id":"s-2","op":"subscribe"}',
            ControlReply("s-2", "error:handler not found,topic:orderbook.7.X"),
        ),
        (b'{"success":false,"op":"subscribe"}', ControlReply("", "subscribe failed")),
        # what follows it says whether all is well
        (b'{"success":false,"ret_msg":"no","req_id":"u-1","op":"unsubscribe"}', ControlReply("u-1", None)),
        (b'{"success":true,"ret_msg":"pong","conn_id":"d0","req_id":"p-1","op":"ping"}', None),
        (b'{"req_id":"p-1","op":"pong","args":["1764000020123"],"conn_id":"c0"}', None),
        (b'{"topic":"publicTrade.BTCUSDT","ts":1,"type":"snapshot","data":[]}', None),
        (b'{"topic":"kline.1.BTCUSDT","data":[],"ts":1,"type":"snapshot"}', None),
    ],
)
def test_replies_and_what_nobody_asked_for(frame: bytes, reply: ControlReply | None) -> None:
    assert BybitDecoder().update(frame) is None
    assert BybitDecoder().other(frame) == reply


def test_times_and_ids_may_be_texts() -> None:
    told = [BybitDecoder().update(frame) for frame in (DELTA, re.sub(rb'"(ts|cts|u)":(\d+)', rb'"\1":"\2"', DELTA))]
    assert told[0] == told[1] and told[0] is not None and told[0].last_update_id == 812002
    whole = [
        BybitDecoder().other(frame) for frame in (SNAPSHOT, re.sub(rb'"(ts|cts|u)":(\d+)', rb'"\1":"\2"', SNAPSHOT))
    ]
    assert all(isinstance(one, StreamSnapshot) for one in whole)
    assert {(one.event_time_ms, one.snapshot.last_update_id) for one in whole if isinstance(one, StreamSnapshot)} == {
        (1764000000128, 812001)
    }
    restarted = BybitDecoder().other(DELTA.replace(b'"u":812002', b'"u":"1"'))
    assert isinstance(restarted, BookBroken) and restarted.symbol == "BTCUSDT"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":1}',
        DELTA.replace(b'"u":812002,', b""),
        DELTA.replace(b'"u":812002', b'"u":"x"'),
        DELTA.replace(b'"u":812002', b'"u":0'),
        DELTA.replace(b'"u":812002', b'"u":-1'),
        DELTA.replace(b'"u":812002', b'"u":9223372036854775808'),
        re.sub(rb'"cts":\d+', b'"cts":9223372036854775808', DELTA),
        DELTA.replace(b"delta", b"other"),
        SNAPSHOT.replace(b'"b":[["70001.1","0.31"],["70000","0.0005"]],', b""),
        SNAPSHOT.replace(b'"70000"', b'"70002"'),
        SNAPSHOT.replace(b'"0.884412"', b'"0"'),
        SNAPSHOT.replace(b'"0.884412"', b'"-1"'),
        SNAPSHOT.replace(b'"70001.9"', b'"NaN"'),
    ],
)
def test_malformed_frames(frame: bytes) -> None:
    decoder = BybitDecoder()
    assert decoder.update(frame) is None
    with pytest.raises(MalformedFrame):
        decoder.other(frame)


def test_a_number_that_no_double_holds_is_named() -> None:
    frame = DELTA.replace(b'"0.884"', b'"0.1234567890123456789"')
    decoder = BybitDecoder()
    update = decoder.update(frame)
    assert update is not None
    assert decoder.levels([update.asks]).inexact == "0.1234567890123456789"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(frame: bytes) -> None:
    decoder = BybitDecoder()
    if decoder.update(frame) is None:
        try:
            decoder.other(frame)
        except MalformedFrame:
            pass


SIDES = st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**6)), max_size=8, unique_by=lambda one: one[0])


@given(st.sampled_from(["BTCUSDT", "PEPEUSDC"]), st.integers(2, 2**53), st.integers(0, 2**41), SIDES, SIDES)
def test_what_is_sent_is_what_is_told(
    symbol: str, update_id: int, cts: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]
) -> None:
    sides = [[[f"{price / 100}", f"{size / 1000}"] for price, size in side] for side in (bids, asks)]
    data = {"s": symbol, "b": sides[0], "a": sides[1], "u": update_id, "seq": 1}
    frame = json.dumps({"topic": f"orderbook.50.{symbol}", "ts": cts + 3, "type": "delta", "data": data, "cts": cts})
    decoder = BybitDecoder()
    update = decoder.update(frame.encode())
    assert update is not None
    assert (update.symbol, update.last_update_id, update.event_time_ms) == (symbol, update_id, cts or cts + 3)
    for told, sent in ((update.bids, bids), (update.asks, asks)):
        assert decoder.pairs(told) == [(price / 100, size / 1000) for price, size in sent]


class Book:
    """The plainest book there is."""

    def __init__(self, snapshot: StreamSnapshot) -> None:
        book = snapshot.snapshot
        self.sides = [
            dict(zip(book.bid_price.tolist(), book.bid_quantity.tolist(), strict=True)),
            dict(zip(book.ask_price.tolist(), book.ask_quantity.tolist(), strict=True)),
        ]
        self.update_id = book.last_update_id

    def apply(self, decoder: BybitDecoder, update: object) -> None:
        for side, text in zip(self.sides, (update.bids, update.asks), strict=True):  # type: ignore[attr-defined]
            for price, quantity in decoder.pairs(text):
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)


def recorded() -> Iterator[tuple[str, bytes]]:
    """Source and payload of each line of the recording."""
    with gzip.open(RECORDING, "rt") as lines:
        for line in lines:
            _, source, payload = line.rstrip("\n").split("\t", 2)
            yield source, payload.encode()


@pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not beside this checkout")
@pytest.mark.parametrize(("connection", "books", "deltas"), [("ws#3", 2, 548), ("ws#2", 4, 1594)])
def test_a_real_session(connection: str, books: int, deltas: int) -> None:
    """Spot (3) and linear (2), 44 s, 200 levels: never crossed, no id missing, never outside the window."""
    decoder = BybitDecoder()
    kept: dict[str, Book] = {}
    applied = replies = 0
    for source, frame in recorded():
        if source != connection:
            continue
        update = decoder.update(frame)
        if update is None:
            message = decoder.other(frame)
            if isinstance(message, StreamSnapshot):
                kept[message.snapshot.symbol] = Book(message)
            elif isinstance(message, ControlReply):
                assert message.error is None
                replies += 1
            continue
        book = kept[update.symbol]
        assert update.last_update_id == book.update_id + 1
        book.apply(decoder, update)
        book.update_id = update.last_update_id
        applied += 1
        assert max(book.sides[0]) < min(book.sides[1])
        assert [len(side) for side in book.sides] == [200, 200]
    assert (len(kept), applied, replies) == (books, deltas, {"ws#3": 7, "ws#2": 17}[connection])


@pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not beside this checkout")
def test_merging_a_real_session_in_one_go_comes_to_the_same() -> None:
    decoder = BybitDecoder()
    book: Book | None = None
    bids: list[bytes] = []
    asks: list[bytes] = []
    for source, frame in recorded():
        if source == "ws#3" and b"orderbook.200.BTCUSDT" in frame:
            update = decoder.update(frame)
            if update is None:
                message = decoder.other(frame)
                assert isinstance(message, StreamSnapshot)
                book, start = Book(message), Book(message)
            else:
                assert book is not None
                book.apply(decoder, update)
                bids.append(update.bids)
                asks.append(update.asks)
    assert book is not None
    for side, merged, parsed in zip(book.sides, start.sides, decoder.sides(bids, asks), strict=True):
        assert parsed.inexact is None
        for price, quantity in zip(parsed.changes.price.tolist(), parsed.changes.quantity.tolist(), strict=True):
            merged[price] = quantity
        merged = {price: quantity for price, quantity in merged.items() if quantity}
        assert np.array_equal(sorted(side.items()), sorted(merged.items()))
