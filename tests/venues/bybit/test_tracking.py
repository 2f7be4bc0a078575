"""Bybit's pushes in any order, from one or two connections, are one order in time to the tracker."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from binmon.latency.effects import AskOrder, Settled
from binmon.latency.measurement import OrderClass
from binmon.latency.tracker import LatencyTracker
from binmon.messages import ExecutionReport, OrderAnswered, OrderRequest, OrderSent, OrderSide
from tests.latency.messages import MS, SteadyClock
from tests.venues.bybit.test_user_data import FAST, FILL, ORDER, Hand, push

LINK, NUMBER = "bm-000001", 2075550001112223744
REQUEST = OrderRequest("bybit", "BTCUSDT", OrderSide.BUY, LINK, Decimal(25), quote_amount=Decimal(25))
SENT_NS = 1000 * MS


@given(st.data(), st.integers(0, 4), st.booleans(), st.booleans())
def test_whatever_comes_first(data: st.DataObject, fills: int, has_partials: bool, has_twins: bool) -> None:
    total = Decimal("0.001") * fills
    pushes: list[tuple[str, dict[str, Any]]] = []
    for number in range(fills):
        fill = {**FILL, "execId": str(2 * 10**18 + number), "execQty": "0.001", "execValue": "70"}
        pushes += [("execution.spot", fill), ("execution.fast.spot", {name: fill[name] for name in FAST})]
        if has_partials:
            so_far = {"cumExecQty": str(Decimal("0.001") * (number + 1)), "cumExecValue": str(70 * (number + 1))}
            pushes.append(
                ("order.spot", {**ORDER, **so_far, "orderStatus": "PartiallyFilled", "updatedTime": "1764000000122"})
            )
    status = "PartiallyFilledCanceled" if fills else "Cancelled"
    pushes.append(
        ("order.spot", {**ORDER, "orderStatus": status, "cumExecQty": str(total), "cumExecValue": str(70 * fills)})
    )
    connections = ("u.1", "u.2") if has_twins else ("u.1",)
    frames = [(connection, push(topic, body)) for topic, body in pushes for connection in connections]

    hand = Hand()
    tracker = LatencyTracker(SteadyClock(offset_ns=None), threshold_ms=5000, report_timeout_ms=30_000)
    sent = OrderSent(REQUEST, 10**18, SENT_NS)
    answered = OrderAnswered("bybit", "BTCUSDT", LINK, NUMBER, "NEW", Decimal(0), Decimal(0), 0, 0, SENT_NS + MS)
    steps: list[Any] = [partial(tracker.on_answered, answered)]
    if data.draw(st.booleans(), "is the sending known first?"):
        tracker.on_sent(sent)
    else:
        steps.append(partial(tracker.on_sent, sent))
    steps += frames
    moment = SENT_NS
    for step in data.draw(st.permutations(steps)):
        if not isinstance(step, tuple):
            step()
            continue
        moment += MS
        connection, frame = step
        for report in hand.take(frame, connection):
            assert isinstance(report, ExecutionReport)
            tracker.on_report(at(report, moment))
    (settled,) = [one.measurement for one in tracker.effects if isinstance(one, Settled)]
    assert not any(isinstance(one, AskOrder) for one in tracker.effects) and tracker.open == 0
    assert settled.order_class is OrderClass.IN_TIME and settled.order_status == "EXPIRED"
    assert tracker.foreign == 0 and settled.quantity == (total or None)


def at(report: ExecutionReport, received_mono_ns: int) -> ExecutionReport:
    return replace(report, received_mono_ns=received_mono_ns)
