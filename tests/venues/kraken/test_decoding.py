"""Frames of Kraken v2: books that are checked message by message, against a server that tells only the best levels."""

from __future__ import annotations

import gzip
import json
import zlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.venues.base import BookBroken, ControlReply, MalformedFrame, StreamSnapshot
from binmon.venues.kraken.checksum import Precision
from binmon.venues.kraken.decoding import KrakenDecoder
from tests.recordings import RECORDINGS
from tests.venues.client_book import ClientBook
from tests.venues.kraken.frames import PRICE, QUANTITY, checksum, entry, frame, snapshot, told, update
from tests.venues.window_server import WindowServer

RECORDED = RECORDINGS / "other-venues" / "kraken_v1_book1000_20210417_31s.tsv.gz"
LISTED = Precision(PRICE, QUANTITY)
NOW_NS = 1_795_000_000_123_456_789


def client(depth: int = 10, listed: Precision | None = LISTED, ids: dict[str, int] | None = None) -> ClientBook:
    return ClientBook(KrakenDecoder(depth, lambda symbol: listed, ids, lambda: NOW_NS))


def server(depth: int = 10) -> WindowServer:
    return WindowServer(depth, {10_000 - n: 30_000_000 + n for n in range(15)}, {10_001 + n: 1 + n for n in range(15)})


# A server that tells only the best levels ---------------------------------------------------------------------------

TICKS = st.integers(1, 24)
STEPS = st.lists(st.tuples(st.sampled_from("ba"), TICKS, st.integers(0, 3)), max_size=6)
MESSAGES = st.lists(st.tuples(STEPS, st.booleans()), max_size=40)


def steps_on(side_steps: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Bids below 1000 ticks, asks above."""
    return [(side, 1000 - ticks if side == "b" else 1000 + ticks, lots) for side, ticks, lots in side_steps]


@settings(max_examples=150, deadline=None)
@given(STEPS, st.lists(STEPS, max_size=40), st.sampled_from([2, 5, 10, 25]))
def test_the_book_is_the_servers_after_every_message(first: Any, messages: list[Any], depth: int) -> None:
    market = WindowServer(depth)
    market.change(steps_on(first))
    book = client(depth)
    assert isinstance(book.take(snapshot(market)), StreamSnapshot)
    assert book.sides() == told(market)
    for steps in messages:
        assert book.take(update(market, *steps_on(steps))) is book.updates[-1]
        assert book.sides() == told(market)  # all that has come so far, merged in one go
    assert book.said == book.said[:1]
    assert [one.last_update_id for one in book.updates] == sorted({one.last_update_id for one in book.updates})


@settings(max_examples=150, deadline=None)
@given(STEPS, MESSAGES, st.sampled_from([2, 5, 10]))
def test_a_lost_message_is_found_out_and_told_once(first: Any, messages: list[Any], depth: int) -> None:
    market = WindowServer(depth)
    market.change(steps_on(first))
    book = client(depth)
    book.take(snapshot(market))
    for steps, is_lost in messages:
        message = update(market, *steps_on(steps))
        if is_lost:
            continue
        book.take(message)
        if book.broken:
            break
        assert book.sides() == told(market)
    if book.broken:
        updates = len(book.updates)
        for steps, _ in messages:
            book.take(update(market, *steps_on(steps)))
        assert len(book.broken) == 1 and len(book.updates) == updates
        book.take(snapshot(market))
        book.take(update(market, ("b", 999, 7)))
        assert book.sides() == told(market) and len(book.broken) == 1


def test_a_broken_book_is_told_once_and_passed_over_until_its_snapshot() -> None:
    market, book = server(), client()
    book.take(snapshot(market))
    update(market, ("b", 10_000, 0))  # lost
    last = update(market, ("a", 10_002, 5))
    own = book.take(last)
    assert own == BookBroken("ABC/USD", own.reason) and own.reason.startswith("checksum ")
    assert own.reason.endswith(f", expected {checksum(*market.best())}")
    assert [book.take(update(market, ("a", 10_002, 6 + n))) for n in range(5)] == [None] * 5
    assert book.take(b'{"channel":"heartbeat"}') is None
    assert isinstance(book.take(snapshot(market)), StreamSnapshot)
    assert book.take(update(market, ("a", 10_003, 0))) is not None and book.sides() == told(market)


def test_one_book_that_is_broken_leaves_the_others_alone() -> None:
    one, other = server(), server()
    decoder = client().decoder
    books = {name: ClientBook(decoder) for name in ("ABC/USD", "XYZ/EUR")}
    books["ABC/USD"].take(snapshot(one))
    books["XYZ/EUR"].take(snapshot(other, symbol="XYZ/EUR"))
    update(one, ("b", 10_000, 0))
    assert isinstance(books["ABC/USD"].take(update(one, ("b", 9_999, 0))), BookBroken)
    assert books["XYZ/EUR"].take(update(other, ("b", 9_999, 0), symbol="XYZ/EUR")) is not None
    assert books["XYZ/EUR"].sides() == told(other)


# Precision ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [None, Precision(1, 8), Precision(3, 2), Precision(5, 10)])
def test_an_outdated_or_missing_precision_is_that_of_the_snapshot(listed: Precision | None) -> None:
    market, book = server(), client(listed=listed)
    assert isinstance(book.take(snapshot(market)), StreamSnapshot)
    assert book.take(update(market, ("b", 9_999, 12))) is not None and book.sides() == told(market)


def test_numbers_without_trailing_zeros_have_the_listed_precision() -> None:
    """As a venue prints that knows no decimals: 1e-08 and 100.0."""
    market, book = server(), client()
    bids, asks = market.snapshot()
    whole = {"symbol": "ABC/USD", "checksum": checksum(bids, asks)}
    for name, levels in (("bids", bids), ("asks", asks)):
        whole[name] = [{"price": ticks / 100, "qty": lots / 10**8} for ticks, lots in levels.items()]
    message = json.dumps({"channel": "book", "type": "snapshot", "data": [whole]}).encode()
    assert b'"qty": 1e-08' in message
    said = book.take(message)
    assert isinstance(said, StreamSnapshot) and book.sides() == told(market)
    assert said.event_time_ms == NOW_NS // 10**6 and said.snapshot.last_update_id == NOW_NS // 1000


def test_a_number_that_does_not_fit_is_never_rounded() -> None:
    market, book = server(), client()
    book.take(snapshot(market))
    message = update(market, ("b", 9_999, 12)).replace(b"99.99,", b"99.991,")
    assert book.take(message) == BookBroken(
        "ABC/USD", "price 99.991, quantity 1.2E-7: expected at most 2 and 8 decimals"
    )


def test_long_numbers_are_said_to_be_inexact() -> None:
    market = WindowServer(10, {1: 1_234_567_890_12345678}, {2: 1})
    said = client().take(snapshot(market))
    assert isinstance(said, StreamSnapshot) and said.snapshot.inexact == "1234567890.12345678"


def test_the_last_of_equal_prices_counts_and_unknown_levels_may_go() -> None:
    market, book = server(), client()
    book.take(snapshot(market))
    update(market, ("b", 10_000, 77))
    crc = checksum(*market.best())
    twice = entry({10_000: 5}, {}, crc)
    twice = twice.replace('"bids":[', '"bids":[{"price":100.005,"qty":1},'.replace("100.005", "12.00"))
    twice = twice.replace('{"price":12.00,"qty":1}', '{"price":12.00,"qty":0.00000000}')
    twice = twice.replace('"qty":0.00000005}', '"qty":0.00000005},{"price":100.00,"qty":0.00000077}')
    assert book.take(frame("update", twice)) is not None
    assert book.sides() == told(market)


# Ids and times ------------------------------------------------------------------------------------------------------


def test_ids_are_the_time_and_grow_over_connections() -> None:
    ids: dict[str, int] = {}
    market, book = server(), client(ids=ids)
    stamp = "2026-11-21T10:00:00.123456Z"
    micros = 1_795_255_200_123_456
    first = book.take(snapshot(market, stamp=stamp))
    assert (first.snapshot.last_update_id, first.event_time_ms) == (micros, micros // 1000)
    same = book.take(update(market, ("b", 9_999, 1), stamp=stamp))
    assert (same.first_update_id, same.last_update_id) == (micros + 1, micros + 1)
    nanos = book.take(update(market, ("b", 9_999, 2), stamp="2026-11-21T10:00:00.223456789Z"))
    assert (nanos.first_update_id, nanos.last_update_id) == (micros + 2, micros + 100_000)
    back = book.take(update(market, ("b", 9_999, 3), stamp="2026-11-21T09:00:00Z"))
    assert (back.first_update_id, back.last_update_id) == (micros + 100_001, micros + 100_001)
    again = client(ids=ids).take(snapshot(market, stamp=stamp))
    assert again.snapshot.last_update_id == micros + 100_002


@pytest.mark.parametrize("stamp", ["yesterday", "2026-11-21T10:00:00"])
def test_times_that_are_none(stamp: str) -> None:
    said = client().take(snapshot(server(), stamp=stamp))
    assert isinstance(said, BookBroken) and "timestamp" in said.reason


# Other frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"channel":"heartbeat"}', None),
        (
            '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2",'
            '"connection_id":17734965360000000001}]}',
            None,
        ),
        (
            '{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD",'
            '"warnings":["x"]},"success":true,"time_in":"a","time_out":"b","req_id":2}',
            ControlReply("2", None),
        ),
        (
            '{"error":"Currency pair not supported XBT/USD","method":"subscribe","success":false,"symbol":"XBT/USD"}',
            ControlReply("", "subscribe: Currency pair not supported XBT/USD"),
        ),
        ('{"method":"unsubscribe","success":false,"req_id":3}', ControlReply("3", "unsubscribe: refused without a reason")),
        ('{"method":"pong","req_id":9,"time_in":"a","time_out":"b"}', None),
        ('{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}', None),
        ('{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","price":1.0}]}', None),
    ],
)  # fmt: skip
def test_other_frames(text: str, said: Any) -> None:
    decoder = client().decoder
    assert decoder.update(text.encode()) is None
    assert decoder.other(text.encode()) == said


@pytest.mark.parametrize(
    "text",
    [b"", b"pong", b"[]", b"{}", b'{"channel":"book","type":"update"}', b'{"channel":"book","type":"?","data":[]}'],
)
def test_frames_that_are_none(text: bytes) -> None:
    decoder = client().decoder
    assert decoder.update(text) is None
    with pytest.raises(MalformedFrame):
        decoder.other(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"price":99.99', b'"price":null'),
        (b'"price":99.99', b'"price":"NaN"'),
        (b'"price":99.99', b'"price":-99.99'),
        (b'"price":99.99', b'"price":0.00'),
        (b'"qty":0.00000012', b'"qty":-0.00000012'),
        (b'"qty":0.00000012', b'"qty":1e999999999'),
        (b'"checksum":', b'"checksumme":'),
    ],
)
def test_an_unreadable_update_breaks_its_book_once(before: bytes, after: bytes) -> None:
    market, book = server(), client()
    book.take(snapshot(market))
    message = update(market, ("b", 9_999, 12))
    assert before in message
    message = message.replace(before, after)
    assert isinstance(book.take(message), BookBroken)
    assert book.take(message) is None and len(book.broken) == 1
    assert isinstance(book.take(snapshot(market).replace(b'"checksum":', b'"sum":')), BookBroken)


def test_several_entries_of_one_symbol_are_one_update_and_other_symbols_begin_anew() -> None:
    market, book = server(), client()
    book.take(snapshot(market))
    entries = []
    for ticks in (9_998, 9_999):
        entries.append(entry(*market.change([("b", ticks, 0)]), checksum(*market.best())))
    assert book.take(frame("update", *entries)) is not None
    assert book.sides() == told(market)
    entries = [
        entry(*market.change([("b", 9_997, 0)]), checksum(*market.best())),
        entry({1: 1}, {}, 0, symbol="XYZ/EUR"),
    ]
    assert book.take(frame("update", *entries)) is not None and book.sides() == told(market)
    assert book.take(b'{"channel":"heartbeat"}') == BookBroken(
        "XYZ/EUR", "a message of two books, expected one of ABC/USD alone"
    )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 500), st.integers(0, 500))
def test_a_damaged_frame_is_never_more_than_malformed(noise: bytes, start: int, end: int) -> None:
    market, book = server(), client()
    book.take(snapshot(market))
    message = update(market, ("b", 9_999, 12), ("a", 10_004, 0))
    for damaged in (message[:start] + noise + message[end:], snapshot(market)[:start] + noise):
        try:
            book.take(damaged)
        except MalformedFrame:
            pass  # said, and not more
    if book.broken:
        book.take(snapshot(market))
    assert book.said


# Real traffic -------------------------------------------------------------------------------------------------------


def as_v2(line: str) -> tuple[str, str, list[dict[str, Any]], int | None] | None:
    """A book message of v1: kind, symbol, parts, checksum."""
    message = json.loads(line)
    if not isinstance(message, list) or not str(message[-2]).startswith("book"):
        return None
    symbol, parts = message[-1], message[1:-2]
    if "as" in parts[0] or "bs" in parts[0]:
        return "snapshot", symbol, parts, None
    return "update", symbol, parts, int(parts[-1]["c"])


def v2_side(parts: list[dict[str, Any]], *names: str) -> str:
    levels = [level for part in parts for name in names for level in part.get(name, [])]
    return ",".join(f'{{"price":{level[0]},"qty":{level[1]}}}' for level in levels)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not part of the project")
def test_all_checksums_of_the_recorded_books() -> None:
    """v1 as v2: the same numbers, the same checksum; v1 sends none with its snapshots, so one is made."""
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t", 2) for line in lines]
    pairs = json.loads(next(row[2] for row in rows if row[1].startswith("rest:")))["result"]
    listed = {
        pair["wsname"]: Precision(pair["pair_decimals"], pair["lot_decimals"])
        for pair in pairs.values()
        if "wsname" in pair
    }
    decoder = KrakenDecoder(1000, listed.get)
    verified = 0
    for _, source, payload in rows:
        found = as_v2(payload) if source.startswith("ws") else None
        if found is None:
            continue
        kind, symbol, parts, crc = found
        if crc is None:
            tokens = [
                level[part].replace(".", "").lstrip("0")
                for name in ("as", "bs")
                for level in parts[0][name][:10]
                for part in (0, 1)
            ]
            crc = zlib.crc32("".join(tokens).encode())
        text = (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{v2_side(parts, "bs", "b")}],'
            f'"asks":[{v2_side(parts, "as", "a")}],"checksum":{crc}}}]}}'
        ).encode()
        said = decoder.update(text)
        if kind == "snapshot":
            assert isinstance(decoder.other(text), StreamSnapshot)
        else:
            assert said is not None, decoder.other(text)
            verified += 1
    assert verified == 4269


def test_a_price_is_the_same_double_as_the_venues_text() -> None:
    market, book = WindowServer(10, {8_190_001: 1}, {8_190_002: 3}), client()
    book.take(snapshot(market))
    assert book.sides() == ([(81900.01, 1e-8)], [(81900.02, 3e-8)])
    assert Decimal("81900.01") == Decimal(repr(book.sides()[0][0][0]))
