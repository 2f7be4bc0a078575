"""The desk: every ending of an order is told as what it is, and nothing is sent twice."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
import structlog

from binmon.errors import OrderForbidden, RateLimited, RequestRefused, StatusUnknown, VenueUnreachable
from binmon.messages import OrderAnswered, OrderRefused, OrderRequest, OrderSide, OrderUncertain
from binmon.orders import desk as desk_module
from binmon.orders.desk import OrderDesk
from binmon.orders.gate import OrderGate, OrderLimits
from tests.orders.venues import Journal, ScriptedVenue

ORDER = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, "mine-1", Decimal("15.6"), quantity=Decimal("0.00024"))


def made(*answers, states=(), most="100", environment="sandbox"):
    venue = ScriptedVenue(answers, states, environment)
    gate = OrderGate(OrderLimits(False, Decimal(most), 10), Journal())
    return OrderDesk(venue, gate), venue


def placed(desk):
    sent = []
    with structlog.testing.capture_logs() as logs:
        try:
            outcome = desk.place(ORDER, sent.append, threading.Event())
        except Exception as error:
            outcome = error
    return outcome, sent, [(line["event"], line) for line in logs]


def test_an_answer():
    desk, venue = made()
    outcome, sent, logs = placed(desk)
    assert isinstance(outcome, OrderAnswered) and [one.order for one in sent] == [ORDER]
    assert [name for name, _ in logs] == ["order.sent", "order.answered"]
    line = logs[1][1]
    assert line["client_order_id"] == "mine-1" and line["side"] == "BUY" and line["quantity"] == 0.00024
    assert line["round_trip_ms"] >= 0 and line["sent_at"] == logs[0][1]["sent_at"] and line["sent_at"].endswith("Z")
    assert venue.placed == [ORDER]


@pytest.mark.parametrize(
    ("said", "kind", "event"),
    [
        (RequestRefused("u", 400, -2010, "Account has insufficient balance for requested action."), OrderRefused,
         "order.rejected"),
        (StatusUnknown("mine-1", "HTTP 503"), OrderUncertain, "order.uncertain"),
        (VenueUnreachable("u", "refused"), VenueUnreachable, "order.not_sent"),
        (RateLimited("ORDERS", 7.0), RateLimited, "order.not_sent"),
    ],
)  # fmt: skip
def test_every_other_ending(said, kind, event):
    desk, venue = made(said)
    outcome, sent, logs = placed(desk)
    assert isinstance(outcome, kind) and len(sent) == 1
    assert [name for name, _ in logs] == [("order.sent"), event] or [name for name, _ in logs][-1] == event
    assert len(venue.placed) == 1, "never twice"
    if isinstance(outcome, OrderRefused):
        assert (outcome.code, logs[-1][1]["code"]) == (-2010, -2010)


def test_what_the_limits_forbid_does_not_reach_the_venue():
    desk, venue = made(most="10")
    outcome, sent, logs = placed(desk)
    assert isinstance(outcome, OrderForbidden) and not sent and not venue.placed
    assert logs[0][0] == "order.forbidden" and logs[0][1]["limit"] == "execution.max_order_notional"
    with pytest.raises(OrderForbidden):
        desk.look(ORDER)


def test_production_is_judged_by_the_venue_in_force():
    desk, venue = made(environment="production")
    outcome, _, _ = placed(desk)
    assert isinstance(outcome, OrderForbidden) and not venue.placed


def test_a_request_that_leaves_twice_is_told_twice():
    desk, venue = made()
    venue.departs = 2
    _, sent, logs = placed(desk)
    assert len(sent) == 2 and sent[0].sent_mono_ns <= sent[1].sent_mono_ns
    assert [name for name, _ in logs] == ["order.sent", "order.answered"], "it is one order"


def test_finding_out_asks_again_and_again_before_it_believes(monkeypatch):
    monkeypatch.setattr(desk_module, "_ASK_AGAIN_S", (0.001,) * 4)
    desk, venue = made(states=[False, VenueUnreachable("u", "x"), False, True])
    state = desk.find("BTCUSDT", "mine-1", threading.Event())
    assert state is not None and state.found and len(venue.asked) == 4
    desk, venue = made(states=[False] * 9)
    state = desk.find("BTCUSDT", "mine-1", threading.Event())
    assert state is not None and not state.found and len(venue.asked) == 5
    desk, _ = made(states=[VenueUnreachable("u", "x")] * 9)
    assert desk.find("BTCUSDT", "mine-1", threading.Event()) is None
    stop = threading.Event()
    stop.set()
    desk, venue = made(states=[False] * 9)
    assert desk.find("BTCUSDT", "mine-1", stop) is None and not venue.asked
