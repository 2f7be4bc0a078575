"""Public topics of a market that is driven by hand, without sockets."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.sandbox.bybit.topics import parse
from binmon.sandbox.matching import Side, TimeInForce

from .conftest import SYMBOL, HandBybit, Listener


class Book:
    """A book kept as the reference says (4.3), and nothing more."""

    def __init__(self):
        self.sides, self.u = {"b": {}, "a": {}}, None

    def apply(self, message):
        data = message["data"]
        if message["type"] == "snapshot":
            self.sides = {"b": {}, "a": {}}
        else:
            assert data["u"] == self.u + 1
        self.u, self.seq = data["u"], data["seq"]
        for side, levels in self.sides.items():
            for price, size in data[side]:
                if Decimal(size):
                    levels[Decimal(price)] = Decimal(size)
                else:
                    del levels[Decimal(price)]
        assert message["cts"] <= message["ts"]


def truth(hand, side, depth):
    listing = hand.feed.listing(SYMBOL)
    return {
        Decimal(listing.price_text(price)): Decimal(listing.quantity_text(lots))
        for price, lots in hand.book.engine.depth(side, depth)
    }


prices = st.integers(90, 110)
actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["BUY", "SELL"]), prices, st.integers(1, 9)),
        st.tuples(st.sampled_from(["BUY", "SELL"]), st.none(), st.integers(1, 9)),
        st.just("tick"),
        st.just("join"),
    ),
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_every_depth_reproduces_the_book(actions):
    hand, books, listener = HandBybit(), {}, Listener()
    topics = {f"orderbook.{depth}.{SYMBOL}": depth for depth in (1, 50, 200, 1000)}
    number = 0

    def read():
        for message in listener.take():
            books[message["topic"]].apply(message)

    def tick():
        nonlocal number
        for _ in range(20):
            number += 1
            hand.clock.time_us += 10_000
            hand.feed.tick(number, hand.clock.now_us())
        read()

    for topic in topics:
        books[topic] = Book()
        hand.feed.join(listener, parse(topic))
    read()
    for action in actions:
        if action == "tick":
            tick()
        elif action == "join":
            late, joined = Listener(), Book()
            hand.feed.join(late, parse(f"orderbook.50.{SYMBOL}"))
            joined.apply(late.take()[0])
            read()
            assert (joined.sides, joined.u) == (
                books[f"orderbook.50.{SYMBOL}"].sides, books[f"orderbook.50.{SYMBOL}"].u,
            )  # fmt: skip
        else:
            side, price, lots = action
            hand.flow(side, price, lots, TimeInForce.GTC if price else TimeInForce.IOC)
    tick()
    for topic, depth in topics.items():
        book = books[topic]
        assert book.sides["b"] == truth(hand, Side.BUY, depth)
        assert book.sides["a"] == truth(hand, Side.SELL, depth)
        assert book.seq <= hand.book.update_id
    listing, frame, _ = hand.feed.book(SYMBOL, 1000)
    assert (frame.u, frame.seq) == (books[f"orderbook.1000.{SYMBOL}"].u, books[f"orderbook.1000.{SYMBOL}"].seq)
    assert {Decimal(listing.price_text(price)) for price, _ in frame.bids} == set(truth(hand, Side.BUY, 1000))


def join(hand, listener, *names):
    for name in names:
        hand.feed.join(listener, hand.feed.find(name))


def test_keys_and_texts(hand, listener):
    hand.flow("BUY", 9999, 1500)
    hand.flow("SELL", 10000, 7)
    join(hand, listener, f"orderbook.50.{SYMBOL}")
    (first,) = listener.take()
    assert list(first) == ["topic", "ts", "type", "data", "cts"]
    assert list(first["data"]) == ["s", "b", "a", "u", "seq"]
    assert (first["data"]["b"], first["data"]["a"]) == ([["99.99", "1.5"]], [["100", "0.007"]])
    hand.flow("SELL", 9999, 1500, TimeInForce.IOC)
    hand.feed.tick(2, hand.clock.now_us())
    (delta,) = listener.take()
    assert (delta["type"], delta["data"]["b"], delta["data"]["a"]) == ("delta", [["99.99", "0"]], [])


def test_intervals(hand, listener):
    names = [f"orderbook.{depth}.{SYMBOL}" for depth in (1, 50, 200, 1000)]
    join(hand, listener, *names)
    listener.take()
    seen = []
    for number in range(1, 21):
        hand.flow("BUY", 9000 + number, 1)
        hand.feed.tick(number, hand.clock.now_us())
        seen += [(message["topic"].split(".")[1], number) for message in listener.take()]
    assert [number for depth, number in seen if depth == "1"] == list(range(1, 21))
    assert [number for depth, number in seen if depth == "50"] == list(range(2, 21, 2))
    assert [number for depth, number in seen if depth == "200"] == [10, 20]
    assert [number for depth, number in seen if depth == "1000"] == [20]


def test_depth_one_repeats_itself_with_the_same_id(hand, listener):
    hand.flow("BUY", 9999, 1)
    join(hand, listener, f"orderbook.1.{SYMBOL}", f"orderbook.50.{SYMBOL}")
    first = listener.take()[0]
    hand.feed.tick(2, hand.clock.now_us())
    assert listener.take() == []
    hand.clock.time_us += 3_000_000
    hand.feed.tick(4, hand.clock.now_us())
    (again,) = listener.take()
    assert again["data"] == first["data"] and again["ts"] == first["ts"] + 3000
    assert (again["topic"], again["type"]) == (f"orderbook.1.{SYMBOL}", "snapshot")


@pytest.mark.parametrize(("kind", "expected"), [("restart", 1), ("renew", None)])
def test_snapshots_that_nobody_asked_for(hand, listener, kind, expected):
    hand.flow("BUY", 9999, 1)
    join(hand, listener, f"orderbook.50.{SYMBOL}")
    before = listener.take()[0]["data"]["u"]
    hand.feed.disturb([SYMBOL], [50], kind, 0)
    (whole,) = listener.take()
    assert (whole["type"], whole["data"]["u"]) == ("snapshot", expected or before + 1)
    assert whole["data"]["b"] == [["99.99", "0.001"]]
    hand.flow("BUY", 9998, 1)
    hand.feed.tick(2, hand.clock.now_us())
    (delta,) = listener.take()
    assert (delta["type"], delta["data"]["u"]) == ("delta", whole["data"]["u"] + 1)


def test_ids_go_back_once(hand, listener):
    join(hand, listener, f"orderbook.50.{SYMBOL}")
    before = listener.take()[0]["data"]["u"]
    hand.feed.disturb([SYMBOL], [50], "back", 3)
    for number in (2, 4):
        hand.flow("BUY", 9000 + number, 1)
        hand.feed.tick(number, hand.clock.now_us())
    assert [message["data"]["u"] for message in listener.take()] == [before - 3, before - 2]


def test_a_wiped_market_starts_anew(hand, listener):
    hand.flow("BUY", 9999, 1)
    join(hand, listener, f"orderbook.50.{SYMBOL}")
    listener.take()
    hand.market.reset()
    hand.feed.tick(2, hand.clock.now_us())
    (whole,) = listener.take()
    assert (whole["type"], whole["data"]["u"], whole["data"]["b"]) == ("snapshot", 1, [])


def test_trades(hand, listener):
    hand.flow("SELL", 10000, 5)
    hand.flow("SELL", 10001, 5)
    join(hand, listener, f"publicTrade.{SYMBOL}")
    assert listener.take() == []

    hand.flow("BUY", 10001, 8, TimeInForce.IOC)
    (message,) = listener.take()
    assert message["type"] == "snapshot"
    assert [(row["p"], row["v"], row["S"]) for row in message["data"]] == [
        ("100", "0.005", "Buy"), ("100.01", "0.003", "Buy"),
    ]  # fmt: skip
    row = message["data"][0]
    assert (row["T"], row["BT"], row["RPI"], row["s"]) == (hand.clock.now_us() // 1000, False, False, SYMBOL)
    assert len(row["i"]) == 19 and row["seq"] == hand.book.update_id
    assert hand.feed.tape(SYMBOL).seq_of_trade[hand.book.trades()[0].trade_id] == row["seq"]


def test_own_fills_are_public(hand, listener):
    hand.flow("SELL", 10000, 5000)
    join(hand, listener, f"publicTrade.{SYMBOL}")
    order = hand.take("Buy", "2", marketUnit="baseCoin")
    (message,) = listener.take()
    assert [row["i"] for row in message["data"]] == [fill.execution_id for fill in order.fills]


def test_tickers_come_when_something_traded(hand, listener):
    hand.flow("SELL", 10000, 5)
    join(hand, listener, f"tickers.{SYMBOL}")
    hand.feed.tick(5, hand.clock.now_us())
    listener.take()
    hand.feed.tick(10, hand.clock.now_us())
    assert listener.take() == []
    hand.flow("BUY", 10000, 2, TimeInForce.IOC)
    hand.feed.tick(12, hand.clock.now_us())
    assert listener.take() == []
    hand.feed.tick(15, hand.clock.now_us())
    (message,) = listener.take()
    assert (message["type"], message["cs"], message["data"]["lastPrice"]) == ("snapshot", hand.book.update_id, "100")
    assert message["data"]["volume24h"] == "0.002"
    assert not {"bid1Price", "ask1Price"} & set(message["data"])


def test_candles_close_once(hand, listener):
    join(hand, listener, f"kline.1.{SYMBOL}")
    hand.flow("SELL", 10000, 5)
    hand.flow("BUY", 10000, 2, TimeInForce.IOC)
    hand.feed.tick(100, hand.clock.now_us())
    (first,) = (message["data"][0] for message in listener.take())
    assert (first["confirm"], first["interval"], first["close"], first["volume"]) == (False, "1", "100", "0.002")
    assert first["end"] == first["start"] + 59_999
    hand.clock.time_us += 60_000_000
    hand.feed.tick(200, hand.clock.now_us())
    rows = [message["data"][0] for message in listener.take()]
    assert [(row["start"], row["confirm"]) for row in rows] == [
        (first["start"], True),
        (first["start"] + 60_000, False),
    ]
    assert rows[0]["turnover"] == "0.2"


@pytest.mark.parametrize(
    "name", ["orderbook.7.BTCUSDT", "orderbook.50", "kline.2.BTCUSDT", "trade.BTCUSDT", "", "a.b.c.d", "tickers.a.b"]
)
def test_names_of_no_topic(name):
    assert parse(name) is None


def test_unknown_symbols_have_no_topics(hand):
    assert hand.feed.find("tickers.NOSUCH") is None
    assert hand.feed.find(f"tickers.{SYMBOL}").symbol == SYMBOL
