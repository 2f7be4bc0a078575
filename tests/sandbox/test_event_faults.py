import json

import pytest

from binmon.sandbox.event_faults import EventFault
from binmon.sandbox.fault_kinds import checked
from binmon.sandbox.hub import Message


class Connection:
    def __init__(self, identifier):
        self.identifier = identifier


ONE, TWO = Connection(1), Connection(2)
BOOK = {"bids": [["9.0", "1"]], "asks": [["10.0", "1"], ["11.0", "1"]]}


def depth(symbol, number):
    return Message(
        f"{symbol.lower()}@depth@100ms",
        symbol,
        lambda micro: json.dumps({"u": number, "b": [["9.0", "3"]], "a": []}),
    )


@pytest.fixture
def arm():
    def make(kind, wanted=(), **options):
        return EventFault(kind, checked({"kind": kind, **options})[1], wanted, lambda symbol: BOOK)

    return make


def hits(fault, symbols):
    return [fault.hit(depth(symbol, 1), [ONE, TWO]) for symbol in symbols]


def test_count_is_kept_for_each_symbol_listened_to(arm):
    fault = arm("gap", ["aausdt@depth@100ms", "bbusdt@depth", "ccusdt@trade"], count=2)
    assert hits(fault, ["AAUSDT", "BBUSDT", "AAUSDT", "AAUSDT", "CCUSDT"]) == [True, True, True, False, False]
    assert not fault.finished
    assert hits(fault, ["BBUSDT"]) == [True]
    assert fault.finished


def test_without_listeners_the_first_events_count(arm):
    fault = arm("gap", count=2)
    assert hits(fault, ["AAUSDT", "BBUSDT", "AAUSDT"]) == [True, True, False]


def test_seconds_without_count_have_no_end_but_time(arm):
    fault = arm("gap", ["aausdt@depth"], seconds=1000)
    assert all(hits(fault, ["AAUSDT", "BBUSDT"] * 50))
    assert arm("gap", seconds=0).finished
    assert hits(arm("gap", seconds=0), ["AAUSDT"]) == [False]


def test_other_streams_are_left_alone(arm):
    fault = arm("gap", count=5)
    assert not fault.hit(Message("aausdt@trade", "AAUSDT", lambda micro: "{}"), [ONE])
    named = arm("gap", count=5, streams=["aausdt@trade"])
    assert named.hit(Message("aausdt@trade", "AAUSDT", lambda micro: "{}"), [ONE])
    assert hits(named, ["AAUSDT"]) == [False]


def test_connection_filter(arm):
    fault = arm("gap", connection=[2])
    message = depth("AAUSDT", 1)
    assert not fault.hit(message, [ONE])
    assert fault.hit(message, [ONE, TWO])
    assert fault.apply([message], ONE) == [message]
    assert fault.apply([message], TWO) == []


def test_reorder_releases_what_it_held(arm):
    fault = arm("reorder")
    first, second = depth("AAUSDT", 1), depth("AAUSDT", 2)
    assert fault.hit(first, [ONE]) and fault.apply([first], ONE) == []
    assert not fault.finished
    assert fault.hit(second, [ONE]) and fault.apply([second], ONE) == [second, first]
    assert fault.finished


def test_crossing_bid_is_taken_back(arm):
    fault = arm("crossed_book")
    seen = []
    for number in (1, 2, 3):
        message = depth("AAUSDT", number)
        hit = fault.hit(message, [ONE])
        [got] = fault.apply([message], ONE) if hit else [message]
        seen.append(json.loads(got.payload(False))["b"][0])
    assert seen == [["11.0", "1.00000000"], ["11.0", "0.00000000"], ["9.0", "3"]]
    assert fault.finished
