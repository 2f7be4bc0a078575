"""The touch against a plain dict, after every single update."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binmon.books import touch as touch_module
from binmon.books.feeds import FeedOutlets
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.sync import SyncState
from binmon.books.touch import Touch
from binmon.core.channel import Channel, Overflow
from binmon.messages import FrameChunk, SnapshotArrived, StreamUp, TopOfBook
from binmon.venues.base import BookRules, MalformedFrame, MarketDecoder
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.binance.market import depth_weight

PRICES = st.integers(1, 40).map(lambda ticks: Decimal(ticks) / 100)
QUANTITIES = st.one_of(st.just(Decimal(0)), st.integers(1, 10**9).map(lambda lots: Decimal(lots) / 10**8))
CHANGES = st.lists(st.tuples(PRICES, QUANTITIES), max_size=8)


def text(levels: list) -> bytes:
    return json.dumps([[f"{p:.8f}", f"{q:.8f}"] for p, q in levels]).encode()


def update(bids: bytes, asks: bytes) -> Any:
    return SimpleNamespace(bids=bids, asks=asks)


def loaded() -> tuple[Touch, dict, dict]:
    decoder = BinanceDecoder()
    touch = Touch(decoder)
    body = b'{"lastUpdateId":1,"bids":[["0.20","1.5"],["0.19","1"]],"asks":[["0.21","2.25"]]}'
    touch.load(decoder.depth("binance", "ABCUSDT", body))
    return touch, {0.20: 1.5, 0.19: 1.0}, {0.21: 2.25}


@pytest.mark.parametrize("room", [0, 1_000])
@given(updates=st.lists(st.tuples(CHANGES, CHANGES), max_size=40))
def test_the_best_is_that_of_a_plain_book_after_every_update(room: int, updates: list) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(touch_module, "_TIDY_ROOM", room)
        touch, bids, asks = loaded()
        for bid_changes, ask_changes in updates:
            touch.apply(update(text(bid_changes), text(ask_changes)))
            for plain, changes in ((bids, bid_changes), (asks, ask_changes)):
                for price, quantity in changes:
                    plain.pop(float(price), None)
                    if quantity:
                        plain[float(price)] = float(quantity)
            bid, ask = max(bids, default=None), min(asks, default=None)
            assert touch.best == (bid, bids.get(bid), ask, asks.get(ask))
            assert touch.crossed == (bid is not None and ask is not None and bid >= ask)


def test_removed_levels_do_not_pile_up() -> None:
    touch, _, _ = loaded()
    for number in range(10_000):
        touch.apply(update(b"[]", b'[["%d.5","0.00000000"]]' % (number + 1)))
    assert touch.best == (0.20, 1.5, 0.21, 2.25)
    assert len(touch._asks.levels) <= touch._asks.limit < 2_000


@pytest.mark.parametrize(
    "levels",
    [
        '[["x","1"]]',
        '[["1"]]',
        '[["-1","1"]]',
        '[["0","1"]]',
        '[["0.22","-2"]]',
        '[["1","nan"]]',
        '[["1","inf"]]',
        "{}",
    ],
)
def test_levels_that_cannot_be_are_refused(levels: str) -> None:
    touch, _, _ = loaded()
    with pytest.raises(MalformedFrame):
        touch.apply(update(b"[]", levels.encode()))


def test_the_decoder_offers_what_the_touch_needs() -> None:
    assert isinstance(BinanceDecoder(), MarketDecoder)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([b"[]", b'[["1.50000000","2"]]', b"[]", b'[["3","0.1"],["4","0"]]'], [1.5, 2.0, 3.0, 0.1, 4.0, 0.0]),
        ([b'[ ["1.5", "2"] ]'], [1.5, 2.0]),  # unusual, but right
        ([b'[["1.5e0","2"]]', b'[["7","1"]]'], [1.5, 2.0, 7.0, 1.0]),
    ],
)
def test_both_ways_of_parsing_agree(texts: list[bytes], expected: list[float]) -> None:
    changes = BinanceDecoder().levels(texts).changes
    assert [value for pair in zip(changes.price, changes.quantity, strict=True) for value in pair] == expected


@pytest.mark.parametrize(
    "levels", [b'[["1","2"],["3"]]', b'[["1","2","3","4"]]', b'[["1",""]]', b'[["1.2.3","4"]]', b"{}", b'""', b"5"]
)
def test_punctuation_is_not_stripped_unseen(levels: bytes) -> None:
    with pytest.raises(MalformedFrame):
        BinanceDecoder().levels([levels])


class KeptBook:
    """A keeper of one synced symbol, driven by hand."""

    def __init__(self) -> None:
        self.decoder = BinanceDecoder()
        self.tops: Channel[TopOfBook] = Channel("tops", 100, Overflow.DROP_NEWEST)
        self.wanted: Channel[Any] = Channel("wanted", 10, Overflow.DROP_NEWEST)
        recorder: Channel[Any] = Channel("recorder", 100, Overflow.DROP_NEWEST)
        venue: Any = SimpleNamespace(
            name="binance",
            streams_per_connection=1024,
            decoder=BinanceDecoder,
            depth_stream=lambda symbol: f"{symbol.lower()}@depth@100ms",
            snapshot_weight=depth_weight,
            book_rules=BookRules(),
            resubscription=lambda stream: (),
        )
        feeds = FeedOutlets(lambda *_: None, lambda *_: None, lambda *_: None)
        outlets = KeeperOutlets(self.wanted, self.wanted, self.wanted, self.wanted, recorder, self.tops, feeds)
        self.keeper = BookKeeper(
            "books",
            venue,
            {"ABCUSDT": 0},
            Channel("inbox", 10, Overflow.DROP_NEWEST),
            outlets,
            KeeperSettings(3, 5, 0, 0),
        )
        self.number = 1
        self.keeper.handle(StreamUp("binance", "c", ("abcusdt@depth@100ms",), 0), 0.0)
        self.send("[]", "[]")
        body = b'{"lastUpdateId":2,"bids":[["0.20","1.5"],["0.19","1"]],"asks":[["0.21","2.25"]]}'
        token = self.wanted.take(0).token
        self.keeper.handle(SnapshotArrived(token, self.decoder.depth("binance", "ABCUSDT", body)), 0.0)

    def send(self, bids: str, asks: str) -> None:
        self.number += 1
        frame = (
            f'{{"stream":"abcusdt@depth@100ms","data":{{"e":"depthUpdate","E":5,"s":"ABCUSDT",'
            f'"U":{self.number},"u":{self.number},"b":{bids},"a":{asks}}}}}'
        )
        self.keeper.handle(FrameChunk("c", 7, 7, (frame.encode(),)), 0.0)

    def published(self) -> list[tuple]:
        tops = []
        while (top := self.tops.take(0)) is not None:
            tops.append((top.bid, top.bid_quantity, top.ask, top.ask_quantity, top.update_id))
        return tops


def test_the_keeper_publishes_exactly_the_changes_of_the_top() -> None:
    kept = KeptBook()
    kept.send("[]", '[["0.30","1"]]')  # the first after the snapshot: the top was never published
    kept.send('[["0.19","4"]]', "[]")
    kept.send('[["0.20","0"]]', "[]")
    kept.send('[["0.10","3"]]', '[["0.29","3"]]')
    kept.send("[]", '[["0.21","2.5"]]')
    kept.send("[]", '[["0.21","2.5"]]')
    assert kept.published() == [(0.20, 1.5, 0.21, 2.25, 3), (0.19, 4.0, 0.21, 2.25, 5), (0.19, 4.0, 0.21, 2.5, 7)]


@pytest.mark.parametrize("bids", ['[["0.21","1"]]', '[["0.15","nan"]]'])
def test_the_keeper_rebuilds_a_book_whose_touch_is_wrong(bids: str) -> None:
    kept = KeptBook()
    kept.send(bids, "[]")
    assert kept.published() == []
    assert kept.keeper.states["ABCUSDT"] is SyncState.WAITING_FOR_SNAPSHOT
    assert kept.wanted.take(0) is not None
