"""What became of an order: asked for until it is whole, and never taken for granted."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest

from binmon.errors import RateLimited, VenueUnreachable
from binmon.execution.outcomes import End, Reconciler
from binmon.messages import OrderRequest, OrderSide, OrderState
from binmon.venues.trading import Execution
from tests.execution.markets import D

ZERO = Decimal(0)


class Clock:
    """Time that passes only by waiting; a stop event that never comes."""

    def __init__(self):
        self.now_s, self.waits = 0.0, []

    def __call__(self):
        return self.now_s

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now_s += seconds
        return False


class Venue:
    """Answers one after the other; the last one for ever."""

    name = "binance"

    def __init__(self, states, fills=((),)):
        self.states, self.fills, self.asked = list(states), list(fills), []

    def order(self, symbol, client_order_id, stop):
        self.asked.append("order")
        return self._next(self.states)

    def executions(self, symbol, order_id, stop):
        self.asked.append("executions")
        return list(self._next(self.fills))

    def _next(self, answers):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def order(quantity="2", amount=None):
    return OrderRequest(
        "binance",
        "BTCUSDT",
        OrderSide.BUY,
        "mine",
        D(200),
        None if amount else D(quantity),
        D(amount) if amount else None,
    )


def state(status, executed="0", quote="0"):
    return OrderState("binance", "BTCUSDT", "mine", True, 9, status, D(executed), D(quote))


MISSING = OrderState("binance", "BTCUSDT", "mine", False)


def fill(trade_id, quantity, price="100"):
    return Execution(trade_id, D(price), D(quantity), D(price) * D(quantity), D("0.001"), "BTC", 0)


def find(venue, wanted=None, lot="0.01", within_s=30.0, why=""):
    clock = Clock()
    found = Reconciler(within_s, clock, clock).find_out(venue, wanted or order(), D(lot), why)
    return found, clock


def test_filled():
    found, clock = find(Venue([state("FILLED", "2")], [[fill(1, "1"), fill(2, "1", "101")]]))
    assert (found.end, found.quantity, found.notional, found.order_id) == (End.FILLED, 2, 201, 9)
    assert found.fees == {"BTC": D("0.002")} and found.average_price == D("100.5") and clock.waits == []


def test_fills_that_lag_behind_are_waited_for_without_asking_for_the_order_again():
    venue = Venue([state("FILLED", "2")], [[], [fill(1, "1")], [fill(1, "1"), fill(1, "1"), fill(2, "1")]])
    found, clock = find(venue)
    assert found.end is End.FILLED and len(found.executions) == 2
    assert venue.asked == ["order", "executions", "executions", "executions"] and len(clock.waits) == 2


@pytest.mark.parametrize(
    "first", [MISSING, state("NEW"), state("PARTIALLY_FILLED", "1"), VenueUnreachable("u", "reset")]
)
def test_what_is_not_over_is_asked_for_again(first):
    found, _ = find(Venue([first, first, state("FILLED", "2")], [[fill(1, "2")]]))
    assert found.end is End.FILLED


@pytest.mark.parametrize(
    ("last", "fills", "wanted", "end"),
    [
        (state("EXPIRED", "1"), [fill(1, "1")], order(), End.PARTLY),
        (state("EXPIRED"), [], order(), End.NOTHING),
        (state("REJECTED"), [], order(), End.NOTHING),
        (state("FILLED", "1.99"), [fill(1, "1.99")], order(amount="200"), End.FILLED),
        (state("EXPIRED", "1.99"), [fill(1, "1.99")], order(amount="199.5"), End.FILLED),  # what buys no whole lot
        (state("EXPIRED", "1.99"), [fill(1, "1.99")], order(amount="200"), End.PARTLY),
    ],
)
def test_how_it_ended(last, fills, wanted, end):
    assert find(Venue([last], [fills]), wanted)[0].end is end


def test_an_order_that_nobody_knows_stays_unknown_and_the_time_is_up():
    found, clock = find(Venue([MISSING]), why="reset by peer")
    assert found.end is End.UNKNOWN and "does not know it (yet)" in found.detail
    assert found.order_id is None and found.executions == ()
    assert sum(clock.waits) == pytest.approx(30) and max(clock.waits) <= 2
    found, _ = find(Venue([VenueUnreachable("u", "gone")]), why="reset by peer")
    assert found.end is End.UNKNOWN and found.detail == "reset by peer; asked for it: u: gone"


def test_a_venue_that_says_wait_is_left_alone_for_so_long():
    found, clock = find(Venue([RateLimited("10006", 5.0), state("FILLED", "2")], [[fill(1, "2")]]))
    assert found.end is End.FILLED and clock.waits == [5.0]


def test_what_has_traded_is_said_also_when_the_rest_is_not_known():
    found, _ = find(Venue([state("FILLED", "2")], [[fill(1, "1")]]), within_s=1.0)
    assert found.end is End.UNKNOWN and found.quantity == 1 and found.status == "FILLED" and found.order_id == 9
    assert "has told of the fills of 1 of 2" in found.detail


def test_what_has_traded_is_said_when_no_fill_can_be_read():
    found, _ = find(Venue([state("FILLED", "2")], [VenueUnreachable("u", "gone")]), within_s=1.0)
    assert found.end is End.UNKNOWN and found.fees == {} and found.status == "FILLED"
    assert found.detail == "binance has traded 2 of it, its status is FILLED; u: gone"


def test_a_stop_ends_it():
    stop = threading.Event()
    stop.set()
    assert Reconciler(30.0, stop).find_out(Venue([MISSING]), order()).end is End.UNKNOWN
