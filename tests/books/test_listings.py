"""What is kept follows what the venue trades."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.books.listings import ListingFollower, ListingSettings, SelectionChanged
from binmon.core.channel import Channel, Overflow
from binmon.errors import StreamClosed
from binmon.messages import Instrument, SymbolsChanged


def listed(*symbols: str, status: str = "TRADING") -> dict[str, Instrument]:
    return {
        symbol: Instrument("binance", symbol, symbol[:3], symbol[3:], status, Decimal(0), Decimal(0))
        for symbol in symbols
    }


class Scripted:
    """A venue that answers one thing after the other, then sets ``stop``."""

    name = "binance"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def instruments(self, stop: threading.Event, priority: Any) -> dict[str, Instrument]:
        answer = self.answers.pop(0)
        if not self.answers:
            stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def follower(venue: Any, present: tuple = ("AAAUSDT",), told: Any = None, **options: Any) -> tuple:
    inbox: Channel[Any] = Channel("inbox", 10, Overflow.DROP_NEWEST)
    worker = ListingFollower(
        "listings",
        venue,
        ListingSettings(options.pop("choices", ("all:USDT",)), frozenset(options.pop("fixed", ())), 0.001),
        present=present,
        epochs={("binance", "BBBUSDT"): 12},
        inbox=inbox,
        selections=options.pop("selections", Channel("selections", 8, Overflow.DROP_NEWEST)),
        changed=told or (lambda instruments: None),
    )
    return worker, inbox


def test_what_is_new_and_what_is_gone() -> None:
    worker, _ = follower(Scripted())
    assert worker.compare(listed("AAAUSDT", "CCCBTC")) is None
    assert worker.compare(listed("AAAUSDT", "DDDUSDT", "BBBUSDT", "CCCBTC")) == SymbolsChanged(
        "binance", (("BBBUSDT", 12), ("DDDUSDT", 0)), ()
    )
    assert worker.compare(listed("BBBUSDT")) == SymbolsChanged("binance", (("BBBUSDT", 12),), ("AAAUSDT",))
    halted = {**listed("AAAUSDT", status="BREAK"), **listed("BBBUSDT")}
    assert worker.compare(halted) == SymbolsChanged("binance", (("BBBUSDT", 12),), ("AAAUSDT",))


def test_when_nothing_trades_everything_stays() -> None:
    worker, _ = follower(Scripted())
    assert worker.compare({}) is None and worker.compare(listed("AAAUSDT", status="BREAK")) is None


def test_symbols_that_were_named_stay() -> None:
    worker, _ = follower(Scripted(), ("AAAUSDT", "ZZZBTC"), fixed=("ZZZBTC",))
    assert worker.compare(listed("AAAUSDT")) is None


def test_the_keeper_is_told_once_and_after_the_recorder() -> None:
    order: list = []
    venue = Scripted(
        StreamClosed("rest", "no"), listed("AAAUSDT", "BBBUSDT"), listed("AAAUSDT", "BBBUSDT"), listed("BBBUSDT")
    )
    worker, inbox = follower(venue, told=lambda instruments: order.append((sorted(instruments), len(inbox))))
    with capture_logs() as logs:
        worker.run(threading.Event())
    assert [inbox.take(0), inbox.take(0), inbox.take(0)] == [
        SymbolsChanged("binance", (("BBBUSDT", 12),), ()),
        SymbolsChanged("binance", (), ("AAAUSDT",)),
        None,
    ]
    assert order == [(["AAAUSDT", "BBBUSDT"], 0), (["BBBUSDT"], 1)]
    assert [line["event"] for line in logs] == ["listings.failed", "books.followed", "books.followed"]


def test_another_selection_is_handed_over_and_followed_from_then_on() -> None:
    selections: Channel[SelectionChanged] = Channel("selections", 8, Overflow.DROP_NEWEST)
    told: list = []
    venue = Scripted(listed("AAAUSDT", "BBBUSDT", "CCCBTC"), listed("AAAUSDT"))
    worker, inbox = follower(
        venue, ("AAAUSDT",), lambda instruments: told.append(sorted(instruments)), choices=(), fixed=("AAAUSDT",),
        selections=selections,
    )  # fmt: skip
    selections.offer(
        SelectionChanged(ListingSettings((), frozenset(["BBBUSDT"]), 60.0), listed("AAAUSDT", "BBBUSDT", "CCCBTC"))
    )
    selections.offer(SelectionChanged(ListingSettings(("all:USDT",), frozenset(["CCCBTC"]), 0.001)))
    worker.run(threading.Event())
    assert [inbox.take(0), inbox.take(0), inbox.take(0), inbox.take(0)] == [
        SymbolsChanged("binance", (("BBBUSDT", 12),), ("AAAUSDT",), "no longer selected"),
        SymbolsChanged("binance", (("AAAUSDT", 0), ("CCCBTC", 0)), ()),
        SymbolsChanged("binance", (), ("BBBUSDT",)),
        None,
    ]
    assert told[0] == ["AAAUSDT", "BBBUSDT", "CCCBTC"]


def test_a_selection_that_found_no_room_is_handed_over_after_a_restart() -> None:
    selections: Channel[SelectionChanged] = Channel("selections", 8, Overflow.DROP_NEWEST)
    stop = threading.Event()

    def fail_once(instruments: Any) -> None:
        if not failed:
            failed.append(True)
            raise OSError("once")
        stop.set()

    failed: list[bool] = []
    worker, inbox = follower(Scripted(), ("AAAUSDT",), fail_once, choices=(), fixed=("AAAUSDT",), selections=selections)
    selections.offer(SelectionChanged(ListingSettings((), frozenset(["BBBUSDT"]), 60.0), listed("BBBUSDT")))
    with pytest.raises(OSError, match="once"):
        worker.run(stop)
    worker.run(stop)
    assert inbox.take(0) == SymbolsChanged("binance", (("BBBUSDT", 12),), ("AAAUSDT",), "no longer selected")
