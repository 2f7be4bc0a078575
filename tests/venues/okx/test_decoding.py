"""Frames of OKX v5: windows, chains of ids and checksums, against a server that tells only the best levels."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.venues.base import BookBroken, ControlReply, MalformedFrame, ShutdownNotice, StreamSnapshot
from binmon.venues.okx.decoding import OkxDecoder, checksum
from binmon.venues.windows import WindowSide
from tests.recordings import RECORDINGS
from tests.venues.client_book import ClientBook
from tests.venues.okx.frames import OkxServer

RECORDED = RECORDINGS / "other-venues" / "okx_v5_books_20220513_12s.tsv.gz"

SNAPSHOT = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["70001.2","0.88","0","4"]],'
    b'"bids":[["70001.1","0.31","0","2"]],"ts":"1764000000100","checksum":0,"prevSeqId":-1,"seqId":5001}]}'
)
UPDATE = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["70001.2","0","0","0"]],"bids":[],'
    b'"ts":"1764000000200","checksum":0,"prevSeqId":5001,"seqId":5007}]}'
)


def client(window: int = 400) -> ClientBook:
    return ClientBook(OkxDecoder(window))


def server(window: int = 400) -> OkxServer:
    return OkxServer(window, {1000 - n: 30_000_000 + n for n in range(30)}, {1001 + n: 1 + n for n in range(30)})


def test_the_messages_of_the_reference() -> None:
    book = client()
    said = book.take(SNAPSHOT)
    assert (said.event_time_ms, said.snapshot.last_update_id) == (1764000000100, 5001)
    assert (said.snapshot.venue, said.snapshot.symbol) == ("okx", "BTC-USDT")
    update = book.take(UPDATE)
    assert (update.symbol, update.event_time_ms) == ("BTC-USDT", 1764000000200)
    assert (update.first_update_id, update.last_update_id) == (5002, 5007)
    assert (update.bids, update.asks) == (b"[]", b'[["70001.2","0"]]')
    assert book.sides() == ([(70001.1, 0.31)], [])


STEPS = st.lists(st.tuples(st.sampled_from("ba"), st.integers(1, 24), st.integers(0, 3)), max_size=6)


def steps_on(steps: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Bids below 1000 ticks, asks above: prices of two and of three digits before the point."""
    return [(side, 1000 - ticks if side == "b" else 1000 + ticks, lots) for side, ticks, lots in steps]


@settings(max_examples=200, deadline=None)
@given(STEPS, st.lists(STEPS, max_size=40), st.sampled_from([1, 3, 10, 400]), st.booleans())
def test_the_book_is_the_servers_after_every_message(first: Any, messages: Any, window: int, sums: bool) -> None:
    market, book = OkxServer(window), client(window)
    market.sums = sums
    market.change(steps_on(first))
    assert isinstance(book.take(market.snapshot_frame()), StreamSnapshot)
    for steps in messages:
        message = market.update_frame(*steps_on(steps))
        said = book.take(message)
        assert said is not None and said.last_update_id == market.id
        assert book.sides() == market.numbers()  # all that has come so far, merged in one go
    assert not book.broken


def test_what_has_fallen_out_is_removed_and_comes_back() -> None:
    market, book = OkxServer(3, {997: 4, 996: 3, 995: 2}, {1001: 1}), client(window=3)
    book.take(market.snapshot_frame())
    assert book.take(market.update_frame(("b", 998, 5))).bids == b'[["99.8","0.00000005"],["99.5","0"]]'
    assert book.take(market.update_frame(("b", 995, 7))).bids == b"[]"  # beyond the window nothing is told
    assert book.take(market.update_frame(("b", 997, 0))).bids == b'[["99.7","0"],["99.5","0.00000007"]]'
    assert book.sides() == market.numbers()


# Ids ----------------------------------------------------------------------------------------------------------------


def test_a_keep_alive_changes_nothing() -> None:
    market, book = server(), client()
    book.take(market.snapshot_frame())
    assert book.take(market.keep_alive()) is None
    book.take(market.update_frame(("b", 999, 1)))
    assert book.take(market.keep_alive()) is None
    assert book.take(market.update_frame(("b", 998, 1))) is not None
    assert book.sides() == market.numbers() and len(book.said) == 1


def test_a_reset_of_the_ids_is_valid() -> None:
    market, book = server(), client()
    book.take(market.snapshot_frame())
    before = market.id
    reset = book.take(market.update_frame(("b", 999, 1), skip=-4000))
    assert (reset.first_update_id, reset.last_update_id) == (before + 1, before - 4000)
    after = book.take(market.update_frame(("b", 998, 1)))
    assert (after.first_update_id, after.last_update_id) == (before - 3999, before - 3993)
    assert book.sides() == market.numbers()


def test_a_gap_is_handed_on_and_the_book_begins_anew() -> None:
    market, book = server(), client()
    book.take(market.snapshot_frame())
    decoder, at = book.decoder, market.id
    market.update_frame(("b", 999, 1))  # lost
    gap = decoder.update(market.update_frame(("b", 998, 4)))
    assert (gap.first_update_id, gap.last_update_id) == (at + 8, at + 14)
    assert gap.bids == b'[["99.8","0.00000004"]]'
    assert book.take(market.update_frame(("b", 997, 4))) == BookBroken("ABC-USDT", "updates are missing")
    assert book.take(market.update_frame(("b", 997, 5))) is None
    assert isinstance(book.take(market.snapshot_frame()), StreamSnapshot)
    assert book.take(market.update_frame(("b", 997, 6))) is not None
    assert book.sides() == market.numbers() and len(book.broken) == 1


@pytest.mark.parametrize("what", ["keep_alive", "older", "reset"])
def test_other_breaks_of_the_chain(what: str) -> None:
    market, book = server(), client()
    book.take(market.snapshot_frame())
    old = market.update_frame(("b", 999, 1))
    if what == "older":
        assert book.take(old) is not None
        message = old
    else:  # the update was lost
        message = market.keep_alive() if what == "keep_alive" else market.update_frame(skip=-4000)
    said = book.take(message)
    assert isinstance(said, BookBroken) and "expected one that follows" in said.reason
    assert book.take(message) is None


def test_several_entries_are_one_update() -> None:
    market, book = server(), client()
    book.take(market.snapshot_frame())
    at = market.id
    one, two = (json.loads(market.update_frame(("b", ticks, 0))) for ticks in (1000, 999))
    one["data"] += two["data"]
    update = book.take(json.dumps(one).encode())
    assert (update.first_update_id, update.last_update_id) == (at + 1, market.id)
    assert book.sides() == market.numbers()
    three, *_, five = (json.loads(market.update_frame(("b", ticks, 0))) for ticks in (998, 997, 996))
    three["data"] += five["data"]
    assert isinstance(book.take(json.dumps(three).encode()), BookBroken)


# Checksums ----------------------------------------------------------------------------------------------------------


def test_the_vector_of_the_reference() -> None:
    bids, asks = WindowSide(400, descending=True), WindowSide(400, descending=False)
    for side, *level in (
        (asks, "70003", "1"), (asks, "70001.2", "0.015"), (asks, "70001.9", "0.2"),
        (bids, "70000", "0.0005"), (bids, "70001.1", "0.3"),
    ):  # fmt: skip
        side.put(*level)
    assert checksum(bids, asks) == 59404468


def test_a_wrong_checksum_is_told_once_and_zero_is_none() -> None:
    market, book = server(), client()
    market.sums = True
    book.take(market.snapshot_frame())
    message = json.loads(market.update_frame(("b", 999, 1)))
    message["data"][0]["checksum"] += 1
    said = book.take(json.dumps(message).encode())
    assert isinstance(said, BookBroken) and said.reason.startswith("checksum ")
    for lots in range(5):
        assert book.take(market.update_frame(("b", 999, 2 + lots))) is None
    assert isinstance(book.take(market.snapshot_frame()), StreamSnapshot)
    market.sums = False
    assert book.take(market.update_frame(("b", 999, 2))) is not None
    assert book.sides() == market.numbers() and len(book.broken) == 1


def test_a_wrong_checksum_of_a_snapshot() -> None:
    assert isinstance(client().take(SNAPSHOT.replace(b'"checksum":0', b'"checksum":1')), BookBroken)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not part of the project")
def test_all_checksums_of_the_recorded_books() -> None:
    """Of 2022, when there were checksums, and no ids yet: those are made."""
    book, ids, verified = OkxDecoder(), {}, 0
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t", 2) for line in lines]
    for _, source, payload in rows:
        message = json.loads(payload) if source.startswith("ws") else {}
        if message.get("arg", {}).get("channel") != "books" or "data" not in message:
            continue
        (entry,) = message["data"]
        symbol = message["arg"]["instId"]
        entry["prevSeqId"] = ids.get(symbol, -1)
        entry["seqId"] = ids[symbol] = ids.get(symbol, 0) + 10
        assert entry["checksum"]
        frame = json.dumps(message).encode()
        update = book.update(frame)
        if message["action"] == "snapshot":
            assert isinstance(book.other(frame), StreamSnapshot)
        else:
            assert update is not None, book.other(frame)
        verified += 1
    assert verified == 290


# Other frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pong", None),
        (
            '{"id":"b1","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a1b2c3d4"}',
            ControlReply("b1", None),
        ),
        ('{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"}}', ControlReply("", None)),
        (
            '{"id":"b1","event":"error","code":"60018","msg":"Wrong URL or channel","connId":"a1b2c3d4"}',
            ControlReply("b1", "60018 Wrong URL or channel"),
        ),
        ('{"event":"notice","code":"64008","msg":"upgrade","connId":"x"}', ShutdownNotice(0)),
        ('{"event":"notice","code":"1","msg":"hello","connId":"x"}', None),
        ('{"event":"channel-conn-count","channel":"books","connCount":"1","connId":"x"}', None),
        ('{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"px":"1"}]}', None),
        ('{"arg":{"channel":"books5","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[],"ts":"1","seqId":3}]}', None),
    ],
)  # fmt: skip
def test_other_frames(text: str, said: Any) -> None:
    decoder = client().decoder
    assert decoder.update(text.encode()) is None
    assert decoder.other(text.encode()) == said


@pytest.mark.parametrize(
    "text",
    [b"", b"ping", b"[]", b"{}", b'{"arg":{"channel":"books"},"action":"update","data":[]}', SNAPSHOT.replace(b"snapshot", b"x")],
)  # fmt: skip
def test_frames_that_are_none(text: bytes) -> None:
    decoder = client().decoder
    assert decoder.update(text) is None
    with pytest.raises(MalformedFrame):
        decoder.other(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"70001.2"', b'"-70001.2"'),
        (b'"70001.2"', b'"7e4"'),
        (b'"70001.2"', b'"0.0"'),
        (b'"70001.2"', b'"NaN"'),
        (b'"70001.2"', b"70001.2"),
        (b'["70001.2","0","0","0"]', b'["70001.2"]'),
        (b'"1764000000200"', b'"soon"'),
        (b'"seqId"', b'"seq"'),
    ],
)
def test_an_unreadable_update_breaks_its_book_once(before: bytes, after: bytes) -> None:
    book = client()
    book.take(SNAPSHOT)
    message = UPDATE.replace(before, after)
    assert message != UPDATE
    assert isinstance(book.take(message), BookBroken)
    assert book.take(message) is None and len(book.broken) == 1
    assert isinstance(book.take(SNAPSHOT.replace(b'"70001.2"', b'"x"')), BookBroken)
    assert isinstance(book.take(SNAPSHOT.replace(b'"seqId"', b'"seq"')), BookBroken)
    assert isinstance(book.take(SNAPSHOT), StreamSnapshot)


def test_small_and_long_numbers_stay_exact() -> None:
    book = client()
    said = book.take(SNAPSHOT.replace(b'"70001.1"', b'"0.000000012"').replace(b'"0.31"', b'"123456789012"'))
    assert said.snapshot.bid_price.tolist() == [1.2e-8] and said.snapshot.inexact is None
    said = book.take(SNAPSHOT.replace(b'"0.31"', b'"1234567890123.4567"'))
    assert said.snapshot.inexact == "1234567890123.4567"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 400))
def test_a_damaged_frame_is_never_more_than_malformed(noise: bytes, start: int, end: int) -> None:
    book = ClientBook(OkxDecoder())
    book.take(SNAPSHOT)
    for damaged in (UPDATE[:start] + noise + UPDATE[end:], SNAPSHOT[:start] + noise):
        update = book.decoder.update(damaged)
        if update is None:
            try:
                book.decoder.other(damaged)
            except MalformedFrame:
                pass  # said, and not more
    assert isinstance(book.take(SNAPSHOT), StreamSnapshot | BookBroken)
