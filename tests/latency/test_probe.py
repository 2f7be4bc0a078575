"""The probe's turns by hand: when it sends, what it sends, and why it does not."""

from __future__ import annotations

import threading
import time
from decimal import Decimal

import pytest
import structlog

from binmon.core.channel import Channel, Overflow
from binmon.core.clock import ClockSample, VenueClock
from binmon.errors import BinmonError, RateLimited, RequestRefused, StatusUnknown, VenueUnreachable
from binmon.latency.ledger import LedgerRefused
from binmon.latency.probe import Inbox, OrderProbe, ProbeSettings
from binmon.messages import OrderAnswered, OrderRefused, OrderRequest, OrderSide, OrderUncertain
from binmon.orders.desk import OrderDesk
from binmon.orders.gate import OrderGate, OrderLimits
from binmon.venues.trading import Account
from tests.orders.venues import RICH, Journal, ScriptedVenue


class Diary:
    """Outlets that write everything down in one list."""

    def __init__(self):
        self.seen, self.troubles, self.disk = [], [], None

    def planned(self, order):
        if self.disk is not None:
            raise self.disk
        self.seen.append(("planned", order))

    def sent(self, message):
        self.seen.append(("sent", message.order))

    def outcome(self, message):
        self.seen.append((type(message).__name__, message))

    def trouble(self, text):
        self.troubles.append(text)

    def names(self):
        return [name for name, _ in self.seen]


def sample(stop=None):
    now = time.monotonic_ns()
    return ClockSample(now - 1000, now, time.time_ns(), 1000, time.time_ns() - time.monotonic_ns())


class Hand:
    def __init__(self, *answers, limits=None, ready=True, **venue):
        self.venue, self.diary, self.is_ready = ScriptedVenue(answers), Diary(), ready
        for name, value in venue.items():
            setattr(self.venue, name, value)
        gate = OrderGate(limits or OrderLimits(False, Decimal(100), 100), Journal())
        self.clock, self.stop = VenueClock("binance"), threading.Event()
        self.take = sample
        self.probe = OrderProbe(
            "probe",
            self.venue,
            OrderDesk(self.venue, gate),
            self.clock,
            lambda stop: self.take(stop),
            self.diary,
            ProbeSettings("BTCUSDT", 0.01, Decimal(15)),
            ready=lambda: self.is_ready,
            explain=lambda error: "do this" if isinstance(error, RequestRefused) and error.code == -2015 else None,
            probe_id="0a0b0c0d",
        )

    def turns(self, count=1):
        with structlog.testing.capture_logs() as logs:
            for _ in range(count):
                self.probe.turn(self.stop)
        return logs


def test_an_order_is_noted_before_it_leaves_and_sides_take_turns():
    hand = Hand()
    hand.turns(3)
    assert hand.diary.names() == ["planned", "sent", "OrderAnswered"] * 3
    assert [order.side for order in hand.venue.placed] == [OrderSide.BUY, OrderSide.SELL, OrderSide.BUY]
    ids = [order.client_order_id for order in hand.venue.placed]
    assert len(set(ids)) == 3 and all(one.startswith("binmon-0a0b0c0d-") and len(one) <= 36 for one in ids)
    assert hand.clock.samples == 3, "the connection is warm and the clock fresh before each"
    assert hand.venue.rules_asked == 1 and hand.probe.sent == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"held": Account(False, RICH)}, "may not trade"),
        ({"held": Account(True, {})}, "fund it"),
        ({"status": "BREAK"}, "not trading"),
        ({"trouble": {"account": VenueUnreachable("https://x", "no route")}}, "no route"),
        ({"trouble": {"rules": RequestRefused("https://x", 400, -2015, "Invalid API-key")}}, "do this"),
        ({"trouble": {"market_price": RateLimited("REQUEST_WEIGHT", 30.0)}}, "REQUEST_WEIGHT"),
    ],
)
def test_what_keeps_it_from_sending_is_said_once_and_when_it_is_over(change, reason):
    hand = Hand(**change)
    logs = hand.turns(3)
    assert [line["event"] for line in logs] == ["latency.skipped"] and reason in logs[0]["reason"]
    assert hand.diary.names() == [] and len(hand.diary.troubles) == 1 and hand.probe.skipped == 3
    assert hand.probe.trouble == logs[0]["reason"]
    fresh = ScriptedVenue()
    hand.venue.held, hand.venue.status, hand.venue.trouble = fresh.held, fresh.status, {}
    hand.probe._rules = None
    logs = hand.turns(2)
    assert [line["event"] for line in logs if line["event"].startswith("latency")] == ["latency.resumed"]
    assert hand.diary.troubles[1:] == [None] and hand.probe.trouble is None


def test_a_trouble_whose_figures_change_is_one_trouble():
    hand = Hand(held=Account(True, {}))
    logs = hand.turns()
    hand.venue.price += 1
    logs += hand.turns()
    assert len(logs) == 1


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (RequestRefused("u", 400, -2010, "Account has insufficient balance for requested action."), OrderRefused),
        (StatusUnknown("x", "HTTP 503"), OrderUncertain),
        (VenueUnreachable("u", "refused"), OrderRefused),
        (RateLimited("ORDERS", 3.0), OrderRefused),
    ],
)
def test_every_planned_order_has_an_outcome(said, outcome):
    hand = Hand(said)
    hand.turns()
    assert hand.diary.names() == ["planned", "sent", outcome.__name__]
    if outcome is OrderRefused:
        assert hand.probe.trouble is not None
    hand.turns()
    assert isinstance(hand.diary.seen[-1][1], OrderAnswered) and hand.probe.trouble is None


def test_an_order_that_cannot_be_noted_is_not_sent():
    hand = Hand()
    hand.diary.disk = BinmonError("disk full")
    logs = hand.turns()
    assert hand.venue.placed == [] and "disk full" in logs[0]["reason"]


def test_what_the_limits_refuse_is_not_even_planned():
    hand = Hand(limits=OrderLimits(False, Decimal(100), 2))
    logs = hand.turns(4)
    assert len(hand.venue.placed) == 2 and hand.diary.names().count("planned") == 2
    assert [line["limit"] for line in logs if line["event"] == "order.forbidden"] == []
    assert hand.probe.trouble is not None and "max_orders_per_day" in hand.probe.trouble


def test_rules_are_asked_anew_after_a_filter_refusal():
    hand = Hand(RequestRefused("u", 400, -1013, "Filter failure: LOT_SIZE"))
    hand.turns(2)
    assert hand.venue.rules_asked == 2


def test_nothing_is_sent_before_reports_would_be_heard():
    hand = Hand(ready=False)
    thread = threading.Thread(target=hand.probe.run, args=(hand.stop,))
    thread.start()
    hand.stop.wait(0.3)
    assert hand.venue.placed == []
    hand.is_ready = True
    end = time.monotonic() + 60
    while len(hand.venue.placed) < 5 and time.monotonic() < end:
        hand.stop.wait(0.01)
    hand.stop.set()
    thread.join(30)
    assert not thread.is_alive() and len(hand.venue.placed) >= 5


def test_a_stream_that_breaks_while_the_order_is_made_keeps_it_back():
    hand = Hand()

    def breaks(stop):
        hand.is_ready = False
        return sample()

    hand.take = breaks
    hand.turns()
    assert hand.venue.placed == [] and hand.diary.names() == []


def test_a_stop_waits_a_moment_for_what_is_open():
    hand = Hand()
    looked = []

    def settled():
        looked.append(time.monotonic())
        return len(looked) > 3

    hand.probe._settled = settled
    hand.stop.set()
    hand.probe.run(hand.stop)
    assert len(looked) == 4


def test_another_interval_holds_at_once_and_makes_up_for_nothing():
    hand = Hand()
    hand.probe.settings = ProbeSettings("BTCUSDT", 3600.0, Decimal(15))
    thread = threading.Thread(target=hand.probe.run, args=(hand.stop,))
    thread.start()
    end = time.monotonic() + 60
    while not hand.venue.placed and time.monotonic() < end:
        hand.stop.wait(0.01)
    hand.stop.wait(1.0)  # five of the turns to come lie behind
    began = time.monotonic()
    hand.probe.settings = ProbeSettings("BTCUSDT", 0.2, Decimal(30))
    while len(hand.venue.placed) < 6 and time.monotonic() < end:
        hand.stop.wait(0.01)
    took = time.monotonic() - began
    hand.stop.set()
    thread.join(30)
    assert not thread.is_alive() and len(hand.venue.placed) >= 6
    assert took >= 0.75, "five orders, the first of them at once: four pauses"
    assert [order.notional > 20 for order in hand.venue.placed[:2]] == [False, True]


def test_a_bug_leaves_no_order_without_a_fate():
    hand = Hand(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        hand.turns()
    assert hand.diary.names()[0] == "planned" and hand.diary.names()[-1] == "OrderUncertain"
    _, message = hand.diary.seen[-1]
    assert message.client_order_id == hand.venue.placed[0].client_order_id
    assert message.reason == "the probe failed: ZeroDivisionError"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LedgerRefused("mine", "the disk is full"), []),  # it is not noted
        (ZeroDivisionError(), ["OrderPlanned", "OrderRefused"]),  # it may be
    ],
)
def test_what_may_be_noted_is_told_to_the_monitor_with_its_end(error, told):
    def plan(order, at_ns, at_mono_ns):
        raise error

    channel = Channel("latency", 10, Overflow.DROP_NEWEST)
    order = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, "mine", Decimal(15), quantity=Decimal("0.1"))
    with pytest.raises(type(error)):
        Inbox(channel, plan, lambda text: None).planned(order)
    messages = [channel.take(0) for _ in range(len(channel))]
    assert [type(one).__name__ for one in messages] == told
