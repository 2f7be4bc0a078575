"""A level that is wrong in the clients' books, and in nothing else."""

from decimal import Decimal

import pytest
import requests

from binmon.sandbox.fault_kinds import BadFault, checked
from binmon.sandbox.hub import Message
from binmon.sandbox.level_faults import CorruptLevel
from binmon.sandbox.stream_shape import symbol_of_stream

STREAM = "/stream?streams=ethusdt@depth@100ms"


class Client:
    """A stream and the plainest book kept from it."""

    def __init__(self, exchange, plain_book, path=STREAM):
        self.exchange = exchange
        self.stream = exchange.stream(path)
        first = self.next()
        self.book = plain_book(exchange.depth("ETHUSDT"))
        self.book.apply(first)

    def next(self):
        return self.stream.until(lambda message: "data" in message)["data"]

    def follow_to(self, update_id):
        while self.book.id < update_id:
            self.book.apply(self.next())

    def differences(self):
        """Levels in which book and venue differ, with the market standing still: (side, price, client's quantity)."""
        self.exchange.fault("freeze")
        truth = self.exchange.depth("ETHUSDT")
        self.follow_to(truth["lastUpdateId"])
        found = set()
        for name, key in (("bids", "b"), ("asks", "a")):
            true = {Decimal(price): Decimal(quantity) for price, quantity in truth[name]}
            mine = self.book.sides[key]
            for price in true.keys() | mine.keys():
                if true.get(price) != mine.get(price):
                    found.add((name, price, mine.get(price, Decimal(0))))
        return found


def as_difference(record):
    return (record["side"], Decimal(record["price"]), Decimal(record["sent_quantity"]))


def sent_to(exchange, *streams):
    """The record of the only falsified level, once it has gone out on these streams."""

    def gone_out():
        [record] = exchange.state()["falsified"]
        return record if set(streams) <= set(record["sent"]) else None

    return exchange.wait(gone_out)


@pytest.mark.parametrize("side", ["bids", "asks"])
@pytest.mark.parametrize("mode", ["quantity", "missing", "phantom"])
def test_books_differ_in_exactly_the_reported_level(start_exchange, plain_book, mode, side):
    exchange = start_exchange(symbols=("ETHUSDT",), rate=60.0)
    client, twin = Client(exchange, plain_book), Client(exchange, plain_book)
    answer = exchange.fault("corrupt_level", symbols=["ETHUSDT"], mode=mode, side=side, rank=30)
    [announced] = answer["falsified"]
    record = sent_to(exchange, "ethusdt@depth@100ms")
    assert {key: record[key] for key in ("symbol", "side")} == {"symbol": "ETHUSDT", "side": side}
    assert record["price"] == announced["price"]
    assert (Decimal(record["sent_quantity"]) == 0) == (mode == "missing")
    assert (Decimal(record["true_quantity"]) == 0) == (mode == "phantom")
    client.follow_to(record["sent"]["ethusdt@depth@100ms"] + 30)
    assert client.differences() == twin.differences() == {as_difference(record)}
    assert client.book.top("b", 1)[0][0] < client.book.top("a", 1)[0][0]
    state = exchange.state()
    assert state["faults"] == []
    assert not state["falsified"][0]["healed"]


def test_true_changes_at_that_price_wait_as_long_as_it_is_held(start_exchange, plain_book):
    exchange = start_exchange(symbols=("ETHUSDT",), rate=2000.0)
    client = Client(exchange, plain_book)
    exchange.fault("corrupt_level", symbols=["ETHUSDT"], rank=150)
    record = sent_to(exchange, "ethusdt@depth@100ms")
    client.follow_to(record["sent"]["ethusdt@depth@100ms"] + 5000)
    assert client.differences() == {as_difference(record)}


def test_a_move_of_the_market_heals_it(start_exchange, plain_book):
    exchange = start_exchange(symbols=("ETHUSDT",), rate=60.0)
    client = Client(exchange, plain_book)
    exchange.fault("corrupt_level", symbols=["ETHUSDT"], side="asks", rank=5)
    sent_to(exchange, "ethusdt@depth@100ms")
    exchange.fault("set_price", symbol="ETHUSDT", price="3500")
    assert not [one for one in client.differences() if one[0] == "asks"]
    assert exchange.state()["falsified"][0]["healed"]


def test_one_connection_only(start_exchange, plain_book):
    exchange = start_exchange(symbols=("ETHUSDT",), rate=60.0)
    deceived, honest = Client(exchange, plain_book), Client(exchange, plain_book)
    number = exchange.state()["connections"][0]["id"]
    exchange.fault("corrupt_level", symbols=["ETHUSDT"], connection=number, rank=30)
    record = sent_to(exchange, "ethusdt@depth@100ms")
    assert deceived.differences() == {as_difference(record)}
    assert honest.differences() == set()


def test_both_speeds_of_a_symbol_carry_the_same_false_level(start_exchange, plain_book):
    exchange = start_exchange(symbols=("ETHUSDT",), rate=60.0)
    fast = Client(exchange, plain_book)
    slow = Client(exchange, plain_book, "/stream?streams=ethusdt@depth")
    exchange.fault("corrupt_level", rank=30)
    record = sent_to(exchange, "ethusdt@depth@100ms", "ethusdt@depth")
    assert fast.differences() == slow.differences() == {as_difference(record)}


def test_clear_forgets_what_was_falsified(start_exchange, plain_book):
    exchange = start_exchange(symbols=("ETHUSDT",), rate=60.0)
    Client(exchange, plain_book)
    exchange.fault("corrupt_level", count=1000)
    assert exchange.state()["falsified"]
    exchange.fault("clear")
    state = exchange.state()
    assert (state["falsified"], state["faults"]) == ([], [])


def test_what_cannot_be_falsified_is_refused(exchange):
    url = exchange.sandbox.rest_url + "/sandbox/faults"
    request = {"kind": "corrupt_level", "symbols": ["BTCUSDT"]}
    answer = requests.post(url, json=request, timeout=30)
    assert answer.status_code == 400 and "nobody listens" in answer.json()["error"]
    stream = exchange.stream("/ws/btcusdt@depth@100ms")
    stream.event()
    for rank in (0, 100_000):
        answer = requests.post(url, json={**request, "rank": rank}, timeout=30)
        assert answer.status_code == 400 and "rank" in answer.json()["error"]


class Shelf:
    """Books that stand still."""

    def __init__(self, bids):
        self.bids = bids
        self.kept_off = []

    def book(self, symbol, limit):
        return {"lastUpdateId": 1, "bids": self.bids[:limit], "asks": []}

    def tick_e8(self, symbol):
        return 100_000_000

    def keep_off(self, symbol, side, price, seconds):
        self.kept_off.append((price, seconds))


class Anyone:
    identifier = 1


def corrupter(shelf, **options):
    return CorruptLevel(checked({"kind": "corrupt_level", **options})[1], ["aausdt@depth"], shelf)


def test_phantom_takes_the_first_free_price_behind_the_rank():
    shelf = Shelf([["10", "1"], ["9", "2"], ["7", "3"], ["3", "4"]])
    level = corrupter(shelf, mode="phantom", rank=1).levels["AAUSDT"]
    assert (level.price, level.true_quantity, level.sent_quantity) == ("8.00000000", "0.00000000", "1")
    assert corrupter(shelf, mode="phantom", rank=3).levels["AAUSDT"].price == "6.00000000"
    with pytest.raises(BadFault, match="free price"):
        corrupter(Shelf([["10", "1"], ["9", "2"]]), mode="phantom", rank=1)


def test_a_level_that_moved_before_it_went_out_is_chosen_anew():
    shelf = Shelf([["10", "1"], ["9", "2"]])
    fault = corrupter(shelf, rank=2, hold_s=60)
    shelf.bids = [["10", "1"], ["8", "5"]]
    message = Message("aausdt@depth", "AAUSDT", lambda micro: '{"U":5,"u":7,"b":[["10","3"]],"a":[]}')
    assert symbol_of_stream(message.stream) == "AAUSDT"
    assert fault.hit(message, [Anyone()])
    [sent] = fault.apply([message], Anyone())
    assert '"b":[["10","3"],["8","10.00000000"]]' in sent.payload(False)
    assert fault.levels["AAUSDT"].sent == {"aausdt@depth": 7}
    assert shelf.kept_off == [("9", 60.0), ("9", 0.0), ("8", 60.0)]
    assert fault.finished
