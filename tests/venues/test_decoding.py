"""Frames of Binance market streams, in every shape the reference prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.venues.base import ControlReply, MalformedFrame, ShutdownNotice
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.level_texts import first_inexact

EVENT = (
    b'{"e":"depthUpdate","E":1784600000200,"s":"ABCUSDT","U":7001,"u":7004,'
    b'"b":[["65123.45000000","1.50000000"],["65123.00000000","0.00000000"]],"a":[["65124.00000000","0.25000000"]]}'
)


@pytest.mark.parametrize("frame", [EVENT, b'{"stream":"abcusdt@depth@100ms","data":' + EVENT + b"}"])
def test_depth_updates_raw_and_combined(frame: bytes) -> None:
    decoder = BinanceDecoder()
    update = decoder.update(frame)
    assert update is not None
    assert (update.symbol, update.event_time_ms) == ("ABCUSDT", 1784600000200)
    assert (update.first_update_id, update.last_update_id) == (7001, 7004)
    bids = decoder.levels([update.bids]).changes
    assert bids.price.tolist() == [65123.45, 65123.0] and bids.quantity.tolist() == [1.5, 0.0]


@pytest.mark.parametrize(
    "frame",
    [
        b'{"e": "serverShutdown", "E": 1784600000123}',
        b'{"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1784600000123}}',
        b'{"event": {"e": "serverShutdown", "E": 1784600000123}}',
    ],
)
def test_shutdown_notices_in_all_three_shapes(frame: bytes) -> None:
    decoder = BinanceDecoder()
    assert decoder.update(frame) is None
    assert decoder.other(frame) == ShutdownNotice(1784600000123)


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        (b'{"result": null, "id": 1}', ControlReply("1", None)),
        (
            b'{"code": 2, "msg": "Invalid request: too many parameters", "id": 3}',
            ControlReply("3", "2 Invalid request: too many parameters"),
        ),
        (b'{"code": 2, "msg": "x", "error": null, "id": 5}', ControlReply("5", "2 x")),
        (b'{"error": {"code": 0, "msg": "Unknown property"}, "id": 4}', ControlReply("4", "0 Unknown property")),
    ],
)
def test_control_replies(frame: bytes, reply: ControlReply) -> None:
    assert BinanceDecoder().update(frame) is None
    assert BinanceDecoder().other(frame) == reply


def test_other_events_are_left_alone() -> None:
    decoder = BinanceDecoder()
    for frame in (
        b'{"stream":"abcusdt@bookTicker","data":{"u":7004,"s":"ABCUSDT","b":"1","B":"1","a":"2","A":"1"}}',
        b'{"e":"trade","E":1,"s":"ABCUSDT","t":902,"p":"65124.0","q":"0.1","T":1,"m":false,"M":true}',
    ):
        assert decoder.update(frame) is None and decoder.other(frame) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[1,2]",
        b'"text"',
        b"\xff\xfe",
        EVENT[:-5],
        EVENT.replace(b'"U":7001,', b""),
        EVENT.replace(b"7004", b'"x"'),
        EVENT.replace(b"7004", b"9223372036854775808"),
        EVENT.replace(b"7001", b"-1"),
        b"{}",
        EVENT.replace(b"ABCUSDT", b"ABC\xff"),
        b'{"x":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_malformed_frames_say_so(frame: bytes) -> None:
    decoder = BinanceDecoder()
    assert decoder.update(frame) is None
    with pytest.raises(MalformedFrame):
        decoder.other(frame)


@given(st.integers(0, 10**20), st.integers(0, 8))
def test_only_numbers_that_a_double_rounds_are_inexact(unscaled: int, decimals: int) -> None:
    from decimal import Decimal

    value = Decimal(unscaled).scaleb(-decimals)
    text = f"{value:f}"
    digits = len(str(unscaled).rstrip("0").lstrip("0")) if unscaled else 0
    found = first_inexact(f'"{text}"'.encode())
    whole_digits = len(text.partition(".")[0])
    assert (found is not None) == (digits > 15 and whole_digits >= 8)
    if found is None and whole_digits >= 8:
        assert Decimal(repr(float(text))) == value


def test_snapshots_must_be_sorted_and_positive() -> None:
    decoder = BinanceDecoder()
    good = b'{"lastUpdateId": 7, "bids": [["2","1"],["1","1"]], "asks": [["3","1"],["4","1"]]}'
    assert decoder.depth("binance", "ABCUSDT", good).bid_price.tolist() == [2.0, 1.0]
    for bad in (
        good.replace(b'["2","1"],["1","1"]', b'["1","1"],["2","1"]'),
        good.replace(b'["4","1"]', b'["4","0"]'),
        b'{"bids": [], "asks": []}',
        b"<html>",
    ):
        with pytest.raises(MalformedFrame):
            decoder.depth("binance", "ABCUSDT", bad)


NUMBER = st.tuples(st.integers(1, 10**7), st.integers(0, 10**8 - 1)).map(lambda n: f'"{n[0]}.{n[1]:08d}"')
SIDE = st.lists(st.tuples(NUMBER, NUMBER).map(lambda pair: f"[{pair[0]},{pair[1]}]"), max_size=4).flatmap(
    # the usual form, and one that is as legal
    lambda levels: st.sampled_from([f"[{','.join(levels)}]".encode(), f"[ {' , '.join(levels)} ]".encode()])
)


@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=6))
def test_both_sides_at_once_are_the_sides_one_by_one(updates: list[tuple[bytes, bytes]]) -> None:
    decoder = BinanceDecoder()
    bids, asks = [one for one, _ in updates], [other for _, other in updates]
    for found, texts in zip(decoder.sides(bids, asks), (bids, asks), strict=True):
        alone = decoder.levels(texts)
        assert found.changes.price.tolist() == alone.changes.price.tolist()
        assert found.changes.quantity.tolist() == alone.changes.quantity.tolist()
