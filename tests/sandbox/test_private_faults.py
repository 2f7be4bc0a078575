"""Which user events and orders a fault hits, and how often; without sockets."""

import threading

import pytest

from binmon.sandbox.fates import Fate
from binmon.sandbox.fault_kinds import checked
from binmon.sandbox.parameters import ApiError, Parameters
from binmon.sandbox.private_faults import PrivateFaults
from binmon.sandbox.trading.accounts import UserEvent
from binmon.sandbox.trading.operations import Call, Operation

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


def arm(faults, kind, **options):
    name, options = checked({"kind": kind, **options})
    return faults.kinds[name](options)


def event(execution_type="TRADE", symbol="BTCUSDT", own_id="mine", kind="executionReport"):
    return UserEvent(kind, symbol, own_id, 1, 1, execution_type, lambda micro: "{}")


def ways(faults, *connections, **fields):
    return {
        number: (way.copies, way.delay_s, way.stamped_late)
        for number, way in faults.ways(event(**fields), connections or (1,)).items()
    }


def test_a_fault_of_events_counts_events_and_not_deliveries():
    faults = PrivateFaults()
    arm(faults, "report_lost", count=2)
    assert faults.armed
    assert ways(faults, 1, 2) == {1: (0, 0, False), 2: (0, 0, False)}
    assert faults.active() == [{"kind": "report_lost", "count": 2, "event": ["executionReport"], "left": 1}]
    assert ways(faults, 1)[1][0] == 0
    assert ways(faults, 1)[1][0] == 1
    assert not faults.armed


@pytest.mark.parametrize(
    ("options", "hit", "missed"),
    [
        ({"execution_type": ["TRADE"]}, {}, {"execution_type": "NEW"}),
        ({"symbols": ["BTCUSDT"]}, {}, {"symbol": "ETHUSDT"}),
        ({"client_order_id": "mi"}, {}, {"own_id": "other"}),
        ({"event": ["outboundAccountPosition"]}, {"kind": "outboundAccountPosition"}, {}),
        ({}, {}, {"kind": "outboundAccountPosition"}),
    ],
)
def test_filters_of_events(options, hit, missed):
    faults = PrivateFaults()
    arm(faults, "report_lost", **options)
    assert ways(faults, **missed) == {1: (1, 0, False)}
    assert ways(faults, **hit) == {1: (0, 0, False)}


def test_every_event_may_be_meant():
    faults = PrivateFaults()
    arm(faults, "report_lost", event="*", count=2)
    assert ways(faults, kind="outboundAccountPosition", execution_type="", symbol="") == {1: (0, 0, False)}
    assert ways(faults) == {1: (0, 0, False)}


def test_a_fault_of_one_connection_leaves_the_others_and_waits_for_it():
    faults = PrivateFaults()
    arm(faults, "report_duplicate", times=3, connection=[2])
    assert ways(faults, 1) == {1: (1, 0, False)}
    assert ways(faults, 1, 2) == {1: (1, 0, False), 2: (3, 0, False)}


def test_faults_of_events_add_up_and_what_is_lost_is_not_counted_again():
    faults = PrivateFaults()
    arm(faults, "report_lost", connection=[1])
    arm(faults, "report_delay", ms=250, event_time="late")
    arm(faults, "report_duplicate", connection=[1])
    assert ways(faults, 1, 2) == {1: (0, 0, False), 2: (1, 0.25, True)}
    assert [fault["kind"] for fault in faults.active()] == ["report_duplicate"]
    faults.clear()
    assert faults.active() == []


class Orders:
    """An operation that remembers what it carried out."""

    def __init__(self, method="order.place", is_order=True):
        self.calls = []
        self.operation = Operation(
            None, method, "TRADE", lambda parameters: 1, True, is_order, (), (), self._carry_out
        )  # fmt: skip

    def _carry_out(self, call):
        self.calls.append(call)
        return "{}"


def run(faults, orders, **parameters):
    """The result and the fate of a request; the code of an error in place of its result."""
    call = Call(Parameters.of({**ORDER, **parameters}), None, None, False)
    try:
        result = faults.guarded(orders.operation).run(call, [*ORDER, "newClientOrderId", "origClientOrderId"])
    except ApiError as error:
        result = error.code
    return result, faults.take_fate()


def test_a_guard_without_faults_only_passes_on():
    faults, orders = PrivateFaults(), Orders()
    assert run(faults, orders) == ("{}", None)
    assert len(orders.calls) == 1


def test_refused_orders_are_not_carried_out():
    faults, orders = PrivateFaults(), Orders()
    arm(faults, "order_refuse", code=-1013, message="Filter failure: NOTIONAL", count=2)
    assert [run(faults, orders)[0] for _ in range(3)] == [-1013, -1013, "{}"]
    assert len(orders.calls) == 1


def test_a_lost_answer_belongs_to_an_order_that_was_carried_out():
    faults, orders = PrivateFaults(), Orders()
    arm(faults, "answer_lost", mode="timeout", status=504)
    assert run(faults, orders) == ("{}", Fate("timeout", 504, 60))
    assert run(faults, orders) == ("{}", None)
    assert len(orders.calls) == 2


def test_a_lost_order_is_not_carried_out_and_looks_the_same():
    faults, orders = PrivateFaults(), Orders()
    arm(faults, "order_lost", mode="reset")
    assert run(faults, orders) == (-1007, Fate("reset", 503, 60))
    assert orders.calls == []


def test_an_order_that_the_venue_refuses_does_not_use_up_a_lost_answer():
    faults, orders = PrivateFaults(), Orders()
    arm(faults, "answer_lost")

    def refuse(call):
        raise ApiError(400, -2010, "no")

    refusing = Operation(None, "order.place", "TRADE", lambda parameters: 1, True, True, (), (), refuse)
    orders.operation, good = refusing, orders.operation
    assert run(faults, orders) == (-2010, None)
    orders.operation = good
    assert run(faults, orders)[1] == Fate("status", 503, 60)


@pytest.mark.parametrize(
    ("options", "hit", "missed"),
    [
        ({"symbols": ["ETHUSDT"]}, {"symbol": "ETHUSDT"}, {}),
        ({"client_order_id": "lost-"}, {"newClientOrderId": "lost-1"}, {"newClientOrderId": "kept-1"}),
        ({"client_order_id": "lost-"}, {"origClientOrderId": "lost-1"}, {}),
    ],
)
def test_filters_of_orders(options, hit, missed):
    faults, orders = PrivateFaults(), Orders()
    arm(faults, "order_refuse", **options)
    assert run(faults, orders, **missed)[0] == "{}"
    assert run(faults, orders, **hit)[0] == -2010


def test_other_requests_are_hit_when_they_are_named():
    faults, cancels = PrivateFaults(), Orders("order.cancel", is_order=False)
    arm(faults, "order_lost")
    assert run(faults, cancels) == ("{}", None)
    arm(faults, "order_lost", method="order.cancel")
    assert run(faults, cancels)[0] == -1007


def test_a_fate_is_taken_once_and_by_its_own_thread():
    faults, orders = PrivateFaults(), Orders()
    arm(faults, "report_before_answer", ms=100)
    call = Call(Parameters.of(ORDER), None, None, False)
    faults.guarded(orders.operation).handler(call)
    seen = []
    other = threading.Thread(target=lambda: seen.append(faults.take_fate()))
    other.start()
    other.join()
    assert seen == [None]
    assert faults.take_fate() == Fate("late", seconds=0.1)
    assert faults.take_fate() is None
