"""The book of request weight, against a model of the venue that counts by its own minute."""

import threading
import time

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.errors import Banned, RateLimited
from binmon.messages import Priority
from binmon.net.ledger import RateLedger, RateStatus, Usage

MINUTE_S = 60.0
T0 = 1_800_000_000.0  # the turn of a minute
MID = T0 + 30


class Clock:
    def __init__(self, now_s=MID):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


def ledger(**options):
    return RateLedger("binance", clock=options.pop("clock", Clock()), **options)


@pytest.mark.parametrize(
    ("priority", "share"),
    [("ORDER", 1.0), ("RESYNC", 0.9), ("INITIAL_SYNC", 0.8), ("AUDIT", 0.5), ("LISTING", 0.5)],
)
def test_each_priority_fills_its_share_and_no_more(priority, share):
    book = ledger(weight_per_minute=1000)
    taken = 0
    while book.reserve(10, Priority[priority], MID) == 0.0:
        taken += 10
    assert taken == 1000 * share
    assert book.reserve(10, Priority[priority], MID) == 30.0
    assert book.used == taken


def test_what_is_kept_back_is_there_for_those_before():
    book = ledger(weight_per_minute=100)
    assert book.reserve(50, Priority.AUDIT, MID) == 0.0
    assert book.reserve(1, Priority.LISTING, MID) > 0
    assert book.reserve(30, Priority.INITIAL_SYNC, MID) == 0.0
    assert book.reserve(1, Priority.INITIAL_SYNC, MID) > 0
    assert book.reserve(20, Priority.ORDER, MID) == 0.0
    assert book.reserve(1, Priority.ORDER, MID) > 0


def test_the_minute_turns_and_what_is_under_way_counts_in_both():
    book = ledger(weight_per_minute=100)
    assert book.reserve(60, Priority.ORDER, MID) == 0.0
    book.settle(60, 60, MID + 1)
    assert book.reserve(40, Priority.ORDER, MID + 2) == 0.0  # answered only in the next minute
    begin_s = T0 + MINUTE_S + 1
    assert book.reserve(61, Priority.ORDER, begin_s) > 0
    assert book.reserve(60, Priority.ORDER, begin_s) == 0.0
    book.settle(40, 100, begin_s, reserved_s=MID + 2)  # the header is of the minute before: not believed
    book.settle(60, 60, begin_s + 1, reserved_s=begin_s)
    assert book.reserve(1, Priority.ORDER, begin_s + 2) > 0


def test_the_count_of_the_minute_before_is_not_taken_for_this_one():
    clock = Clock()
    book = ledger(weight_per_minute=6000, clock=clock)
    assert book.reserve(50, Priority.ORDER, T0 + 59.0) == 0.0
    book.settle(50, 5900, T0 + 60.6, reserved_s=T0 + 59.0)
    assert book.reserve(50, Priority.ORDER, T0 + 60.4) == 0.0  # so early it may be the venue's old minute
    book.settle(50, 5950, T0 + 61.0, reserved_s=T0 + 60.4)
    clock.now_s = T0 + 61.0
    assert book.used == 100


def test_around_the_turn_both_minutes_count_as_the_clocks_may_differ():
    book = ledger(weight_per_minute=100, edge_s=0.5)
    assert book.reserve(70, Priority.ORDER, MID) == 0.0
    book.settle(70, 70, MID)
    assert book.reserve(30, Priority.ORDER, T0 + 59.8) == 0.0
    book.settle(30, 100, T0 + 59.9)
    assert book.reserve(1, Priority.ORDER, T0 + 60.1) == pytest.approx(0.4)  # the venue's minute may be the old one
    assert book.reserve(71, Priority.ORDER, T0 + 60.6) > 50  # it may have been the new one at 59.8
    assert book.reserve(70, Priority.ORDER, T0 + 60.6) == 0.0


def test_the_venue_counts_others_on_the_address_too():
    book = ledger(weight_per_minute=1000)
    assert book.reserve(10, Priority.ORDER, MID) == 0.0
    book.settle(10, 960, MID + 1, reserved_s=MID)
    assert book.used == 960
    assert book.reserve(41, Priority.ORDER, MID + 1) > 0
    assert book.reserve(40, Priority.ORDER, MID + 1) == 0.0
    book.settle(40, 500, MID + 2, reserved_s=MID + 1)  # an answer that was overtaken
    assert book.used == 1000


def test_a_failed_request_counts_as_used():
    book = ledger(weight_per_minute=100)
    book.reserve(100, Priority.ORDER, MID)
    book.settle(100, None, MID)
    assert book.used == 100 and book.reserve(1, Priority.ORDER, MID) > 0


def test_limits_from_exchange_info():
    book = ledger()
    assert book.limit == 6000
    book.set_limits(weight_per_minute=100)
    assert book.limit == 100 and book.reserve(101, Priority.ORDER, MID) == float("inf")
    with pytest.raises(ValueError):
        book.set_limits(weight_per_minute=0)
    # heavier than its share: alone, but not never
    assert book.reserve(80, Priority.AUDIT, MID) == 0.0


def test_a_429_stops_everyone_and_is_logged_once():
    book = ledger(weight_per_minute=100)
    with structlog.testing.capture_logs() as lines:
        book.limited(20.0, MID, "REQUEST_WEIGHT")
        book.limited(25.0, MID + 1, "REQUEST_WEIGHT")
    assert [(line["event"], line["log_level"]) for line in lines] == [("rate.limited", "warning")]
    assert lines[0]["scope"] == "REQUEST_WEIGHT" and lines[0]["retry_after_s"] == 20.0
    assert lines[0]["venue"] == "binance" and lines[0]["limit"] == 100 and lines[0]["used"] == 0
    assert book.blocked_until == MID + 26
    assert book.reserve(1, Priority.ORDER, MID + 2) == pytest.approx(24.0)
    assert book.reserve(1, Priority.ORDER, MID + 26) == 0.0


def test_a_ban_is_kept_told_and_outlives_a_restart():
    told = []
    book = ledger(on_ban=told.append)
    with structlog.testing.capture_logs() as lines:
        book.banned(120.0, MID)
        book.banned(60.0, MID + 1)  # another thread's answer: the longer one stands
    assert [(line["event"], line["log_level"]) for line in lines] == [("rate.banned", "error")]
    assert told == [int((MID + 120) * 1000)] == [book.ban_until_ms]
    again = ledger(ban_until_ms=book.ban_until_ms)
    assert again.reserve(1, Priority.ORDER, MID + 20) == pytest.approx(100.0)
    assert again.blocked_until == MID + 120
    with pytest.raises(Banned) as caught:
        again.acquire(1, Priority.ORDER, threading.Event())
    assert caught.value.retry_after_s == pytest.approx(120.0)
    assert again.reserve(1, Priority.ORDER, MID + 120) == 0.0


def test_acquire_raises_rather_than_wait_too_long():
    book = ledger(weight_per_minute=10, max_wait_s=20)
    book.acquire(10, Priority.ORDER, threading.Event())
    with pytest.raises(RateLimited) as caught:
        book.acquire(1, Priority.ORDER, threading.Event())
    assert (caught.value.scope, caught.value.retry_after_s) == ("REQUEST_WEIGHT", 30.0)
    with pytest.raises(RateLimited) as caught:
        book.acquire(11, Priority.ORDER, threading.Event())
    assert caught.value.retry_after_s == 60.0
    book.limited(120.0, MID, "WAF")
    with pytest.raises(RateLimited) as caught:
        book.acquire(1, Priority.ORDER, threading.Event())
    assert caught.value.scope == "WAF"


def test_acquire_ends_with_its_stop():
    book = ledger(weight_per_minute=10)
    book.acquire(10, Priority.ORDER, threading.Event())
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(RateLimited):
        book.acquire(1, Priority.ORDER, stop)
    assert time.monotonic() - began < 20
    timer.join()
    assert book.used == 10


def test_acquire_waits_until_there_is_room():
    clock = Clock(T0 + 59.95)
    book = ledger(weight_per_minute=10, clock=clock, edge_s=0.0)
    book.acquire(10, Priority.ORDER, threading.Event())
    book.settle(10, 10, clock.now_s)
    timer = threading.Timer(0.03, lambda: setattr(clock, "now_s", T0 + 60.0))
    timer.start()
    book.acquire(10, Priority.ORDER, threading.Event())
    assert clock.now_s == T0 + 60.0
    timer.join()


def test_a_clock_set_back_does_not_free_the_window_and_does_not_freeze_it():
    book = ledger(weight_per_minute=10)
    book.reserve(10, Priority.ORDER, MID)
    book.settle(10, 10, MID)
    assert book.reserve(1, Priority.ORDER, MID - 3600) > 0
    assert book.reserve(10, Priority.ORDER, MID - 3600 + 60) == 0.0


def full(clock, **options):
    book = ledger(weight_per_minute=1000, clock=clock, edge_s=0.0, **options)
    book.acquire(1000, Priority.ORDER, threading.Event())
    book.settle(1000, 1000, clock.now_s)
    return book


def until(true):
    patience = time.monotonic() + 20
    while not true():
        assert time.monotonic() < patience
        threading.Event().wait(0.002)


def test_threads_that_wait_are_served_by_priority_whoever_wakes_first():
    clock = Clock()
    book = full(clock)
    order, refused, stop = [], [], threading.Event()

    def ask(priority):
        try:
            book.acquire(100, priority, stop)
            order.append(priority)
        except RateLimited:
            refused.append(priority)

    threads = []
    for priority in (Priority.LISTING, Priority.AUDIT, Priority.RESYNC, Priority.INITIAL_SYNC, Priority.RESYNC):
        threads.append(threading.Thread(target=ask, args=(priority,)))
        threads[-1].start()
        until(lambda: sum(book.status(clock.now_s).waiting.values()) == len(threads))
    book.set_limits(weight_per_minute=250)  # room for two resyncs: 225 is their share
    clock.now_s = T0 + 60
    until(lambda: len(order) == 2)
    assert order == [Priority.RESYNC, Priority.RESYNC]
    assert book.status(clock.now_s).waiting == {
        Priority.INITIAL_SYNC: 1, Priority.AUDIT: 1, Priority.LISTING: 1,
    }  # fmt: skip
    stop.set()
    for thread in threads:
        thread.join(20)
    assert len(refused) == 3 and book.status(clock.now_s).waiting == {} and book.used == 200


def test_a_direct_reservation_does_not_go_past_those_that_wait():
    clock = Clock()
    book = full(clock)
    claim = book.enter(800, Priority.RESYNC, clock.now_s)
    clock.now_s = T0 + 61
    assert book.reserve(150, Priority.AUDIT, clock.now_s) > 0
    assert book.reserve(150, Priority.ORDER, clock.now_s) == 0.0
    assert book.deal(claim, clock.now_s) > 0  # 950 is more than the share of a resync
    book.leave(claim)
    assert book.reserve(150, Priority.AUDIT, clock.now_s) == 0.0


def test_a_claim_that_was_served_too_late_gives_its_weight_back():
    clock = Clock()
    book = full(clock)
    first, second = (book.enter(600, Priority.RESYNC, clock.now_s) for _ in range(2))
    clock.now_s = T0 + 61
    assert book.deal(second, clock.now_s) > 0  # it served the first, which does not know yet
    book.leave(first)
    assert book.deal(second, clock.now_s) == 0.0
    book.leave(second)  # reported as served: its weight is its own
    assert book.used == 600


def test_everything_at_once():
    clock = Clock()
    book = ledger(clock=clock, weight_per_minute=1200)
    book.set_limits(orders={"10S": 50, "1D": 160_000}, raw_requests=("5M", 1000))
    book.orders_used("10S", 7, MID)
    book.orders_used("1D", 99, MID)
    book.orders_used("1H", 5, MID)  # not listed: there is no limit to hold it against
    book.acquire(20, Priority.LISTING, threading.Event())
    book.connects.spend(100.0)
    assert book.outgoing("market-1") is book.outgoing("market-1")
    book.outgoing("market-1").spend(100.0)
    book.outgoing("market-2").spend(98.0)
    book.forget_outgoing("market-3")
    claim = book.enter(1200, Priority.AUDIT, MID)
    book.limited(5.0, MID)
    status = book.status(MID, now_mono_s=100.5)
    assert status == RateStatus(
        venue="binance",
        weight=Usage(20, 1200),
        window_ends_in_s=30.0,
        in_flight=20,
        blocked_until_s=MID + 5,
        ban_until_s=0.0,
        connects=Usage(1, 280),
        connects_window_s=300.0,
        orders={"10S": Usage(7, 50), "1D": Usage(99, 160_000)},
        raw_requests=Usage(1, 1000),
        outgoing={"market-1": Usage(1, 4), "market-2": Usage(0, 4)},
        waiting={Priority.AUDIT: 1},
    )
    book.leave(claim)
    book.forget_outgoing("market-2")
    later = book.status(MID + 10, now_mono_s=500.0)
    assert later.orders["10S"].used == 0 and later.connects.used == 0 and later.outgoing.keys() == {"market-1"}


def test_limits_that_make_no_sense_change_nothing():
    book = ledger(weight_per_minute=100)
    for wrong in ({"orders": {"10X": 5}}, {"raw_requests": ("5M", 0)}, {"weight_per_minute": -1}):
        with pytest.raises(ValueError):
            book.set_limits(**({"weight_per_minute": 50} | wrong))
    assert book.limit == 100 and book.status(MID).orders == {}


def test_a_limit_that_is_raised_keeps_its_count():
    book = ledger()
    book.set_limits(orders={"10S": 50}, raw_requests=("5M", 100))
    book.orders_used("10S", 7, MID)
    assert book.reserve(0, Priority.ORDER, MID) == 0.0
    book.set_limits(orders={"10S": 100}, raw_requests=("5M", 200))
    status = book.status(MID)
    assert status.orders == {"10S": Usage(7, 100)} and status.raw_requests == Usage(1, 200)


def test_requests_are_counted_whatever_they_weigh():
    book = ledger(max_wait_s=10)
    book.set_limits(raw_requests=("5M", 10))
    for _ in range(9):  # a tenth is kept back
        assert book.reserve(0, Priority.ORDER, MID) == 0.0
    assert book.reserve(0, Priority.ORDER, MID) == pytest.approx(270.0)
    with pytest.raises(RateLimited) as caught:
        book.acquire(0, Priority.ORDER, threading.Event())
    assert caught.value.scope == "RAW_REQUESTS"
    assert book.reserve(0, Priority.ORDER, MID + 270) == 0.0


def test_a_forecast_while_blocked_or_behind_others():
    book = ledger()
    assert book.forecast([], Priority.RESYNC, MID).seconds == 0.0
    assert book.forecast([250] * 21, Priority.RESYNC, MID).seconds == 0.0
    assert book.forecast([250] * 22, Priority.RESYNC, MID).seconds == 30.5
    assert book.forecast([250, 6001], Priority.RESYNC, MID).seconds == float("inf")
    claim = book.enter(5400, Priority.RESYNC, MID)
    assert book.forecast([250], Priority.AUDIT, MID).seconds == 30.5
    book.leave(claim)
    book.banned(100.0, MID)
    assert book.forecast([250], Priority.RESYNC, MID).seconds == pytest.approx(100.0)


@st.composite
def traffic(draw):
    """Requests: (pause before, weight, priority, way to the venue, way back)."""
    return draw(
        st.lists(
            st.tuples(
                st.floats(0.0, 6.0),
                st.integers(1, 40),
                st.sampled_from(Priority),
                st.floats(0.0, 3.0),
                st.floats(0.0, 3.0),
            ),
            min_size=1,
            max_size=150,
        )
    )


@settings(max_examples=200, deadline=None)
@given(traffic(), st.floats(-0.5, 0.5))
def test_the_venue_never_counts_more_than_its_limit_in_a_minute(requests, skew_s):
    limit = 100
    book = ledger(weight_per_minute=limit)
    now_s = T0
    events = []  # (time, order, what, …): arrivals at the venue and answers
    counts = {}

    def play_until(until_s):
        while events and events[0][0] <= until_s:
            at_s, _, what, weight, begun_s, seen, back_s = events.pop(0)
            if what == "arrive":
                minute = (at_s + skew_s) // MINUTE_S
                counts[minute] = counts.get(minute, 0) + weight
                assert counts[minute] <= limit
                events.append((at_s + back_s, len(counts), "answer", weight, begun_s, counts[minute], 0.0))
                events.sort()
            else:
                book.settle(weight, seen, at_s, reserved_s=begun_s)

    served = 0
    for pause_s, weight, priority, there_s, back_s in requests:
        now_s += pause_s
        play_until(now_s)
        if book.reserve(weight, priority, now_s) == 0.0:
            served += 1
            events.append((now_s + there_s, 0, "arrive", weight, now_s, 0, back_s))
            events.sort()
    play_until(now_s + 100)
    assert served  # a ledger that never says yes would pass as well


def test_weight_counts_by_the_venues_clock():
    clock = Clock(T0 + 59.0)
    book = ledger(clock=clock, weight_per_minute=1000)
    book.set_clock_offset(-5.0)  # the venue is five seconds behind: its minute ends at our 65
    stop = threading.Event()
    book.acquire(1000, Priority.ORDER, stop)
    book.settle(1000, 1000, book.clock())
    clock.now_s = T0 + 61.0
    assert book.reserve(10, Priority.ORDER, book.clock()) > 3.0
    clock.now_s = T0 + 66.0
    assert book.reserve(10, Priority.ORDER, book.clock()) == 0.0


def test_an_order_is_counted_until_the_venue_says_its_own_count():
    book = ledger()
    assert book.take_order(MID) == 0.0  # no limits are known
    book.set_limits(orders={"10S": 2, "1D": 5})
    assert book.take_order(MID) == 0.0 == book.take_order(MID)
    assert book.order_room(MID) == book.take_order(MID) == 10.0
    assert book.status(MID).orders == {"10S": Usage(2, 2), "1D": Usage(2, 5)}
    book.orders_used("10S", 1, MID + 1)  # one has begun to fill
    assert book.take_order(MID + 1) == 0.0
    assert book.take_order(MID + 9) == 1.0
    # the longer window blocks though the shorter has room
    book.orders_used("1D", 5, MID + 10)
    day_s = 86_400
    assert book.order_room(MID + 10) == day_s - (MID + 10) % day_s
    book.set_limits(orders={"1D": 6})
    assert book.take_order(MID + 10) == 0.0


def test_too_many_orders_stop_orders_alone():
    book = ledger(weight_per_minute=100)
    book.set_limits(orders={"10S": 50, "1D": 10})
    book.orders_used("10S", 10, MID)
    book.orders_used("1D", 9, MID)
    with structlog.testing.capture_logs() as logs:
        book.limited(7.0, MID, "ORDERS")
        book.limited(4.0, MID + 1, "ORDERS")  # shorter: the longer stands
    assert [(one["event"], one["scope"], one["used"], one["limit"]) for one in logs] == [
        ("rate.limited", "ORDERS", 9, 10)
    ]
    assert book.reserve(1, Priority.LISTING, MID) == 0.0 and book.blocked_until == 0.0
    assert book.order_room(MID + 2) == book.take_order(MID + 2) == 5.0
    assert book.status(MID).orders_blocked_until_s == MID + 7
    assert book.order_room(MID + 7) == 0.0
    book.limited(5.0, MID, "REQUEST_WEIGHT")
    assert book.order_room(MID + 7) == 0.0 and book.blocked_until == MID + 5


def test_what_is_free_is_given_back_and_others_are_believed():
    book = ledger(weight_per_minute=100)
    assert book.reserve(10, Priority.ORDER, MID) == 0.0
    book.settle(10, None, MID + 1, reserved_s=MID, free=True)
    assert book.reserve(1, Priority.ORDER, MID + 2) == 0.0
    book.settle(1, 42, MID + 3, reserved_s=MID + 2, free=True)
    book.clock.now_s = MID + 3
    assert book.used == 42 and book.status(MID + 3).in_flight == 0


@given(
    st.lists(st.tuples(st.sampled_from(["take", "limited", "put"]), st.floats(0, 30), st.integers(0, 9)), max_size=60)
)
def test_orders_never_exceed_what_the_venue_allows(steps):
    """A venue that counts every order sent and says so with some answers is never sent one too many."""
    book, now_s = ledger(), MID
    book.set_limits(orders={"10S": 5})
    sent: list[float] = []
    blocked_until_s = 0.0
    for kind, after_s, number in steps:
        now_s += after_s
        count = sum(int(one // 10) == int(now_s // 10) for one in sent)
        if kind == "take":
            wait_s = book.take_order(now_s)
            assert (wait_s == 0.0) == (count < 5 and now_s >= blocked_until_s)
            if wait_s == 0.0:
                sent.append(now_s)
        elif kind == "put":
            book.orders_used("10S", count, now_s)
        else:
            book.limited(float(number), now_s, "ORDERS")
            blocked_until_s = max(blocked_until_s, now_s + number)
