"""A monitor that fails at whatever line, and is run again: every order ends in the class that it has, told once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

import binmon.latency.monitor
import binmon.latency.order
import binmon.latency.tracker
from binmon.core.channel import Channel, Overflow
from binmon.core.clock import ClockSample, VenueClock
from binmon.errors import VenueUnreachable
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement
from binmon.latency.monitor import AskFailed, LatencyMonitor, OrderAsker
from binmon.latency.probe import OrderPlanned
from binmon.latency.tracker import LatencyTracker
from binmon.messages import ExecutionReport, OrderAnswered, OrderRequest, OrderSent, OrderSide
from binmon.state import State
from tests.core.interruptions import Interrupted, interrupt, places
from tests.orders.venues import ScriptedVenue

MODULES = (binmon.latency.monitor, binmon.latency.tracker, binmon.latency.order)
QUANTITY, WORTH, NOTHING = Decimal("0.00024"), Decimal("15.6"), Decimal(0)


class UntilEmpty(threading.Event):
    """A stop that comes when all is taken."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def is_set(self) -> bool:
        return not len(self._channel)


class Work:
    """Three orders, the second of them late."""

    def __init__(self, state: State) -> None:
        self.inbox, self.notes, questions, self.alerts = (
            Channel(name, 100, Overflow.DROP_NEWEST) for name in ("inbox", "notes", "questions", "alerts")
        )
        clock, now = VenueClock("binance"), time.monotonic_ns()
        clock.add([ClockSample(now - 1000, now, time.time_ns(), 1000, time.time_ns() - now)])
        tracker = LatencyTracker(clock, threshold_ms=5000, report_timeout_ms=60_000)
        self.told: list[Measurement] = []
        self.monitor = LatencyMonitor(
            "latency", tracker, ProbeLedger(state), self.inbox, self.notes, questions, self.alerts, self.told.append
        )
        for number, late_ms in ((1, 0), (2, 9000), (3, 0)):
            self._order(number, late_ms)

    def _order(self, number: int, late_ms: int) -> None:
        name, now_ns, now_mono_ns = f"mine-{number}", time.time_ns(), time.monotonic_ns()
        sent_ns, sent_mono_ns = now_ns - late_ms * 10**6, now_mono_ns - late_ms * 10**6
        request = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, name, WORTH, quantity=QUANTITY)
        self.inbox.offer(OrderPlanned(request, sent_ns, sent_mono_ns))
        self.inbox.offer(OrderSent(request, sent_ns, sent_mono_ns))
        for execution, kind, status, executed in ((1, "NEW", "NEW", NOTHING), (2, "TRADE", "FILLED", QUANTITY)):
            self.inbox.offer(
                ExecutionReport(
                    "binance", "BTCUSDT", name, number, execution, kind, status, OrderSide.BUY, executed,
                    Decimal(65000), executed, WORTH, NOTHING, "", execution, sent_ns // 1000, sent_ns // 1000, "", "c",
                    now_ns, now_mono_ns,
                )
            )  # fmt: skip
        self.inbox.offer(
            OrderAnswered(
                "binance", "BTCUSDT", name, number, "FILLED", QUANTITY, WORTH, sent_ns // 1000, now_ns, now_mono_ns
            )
        )

    def __call__(self) -> None:
        self.monitor.run(UntilEmpty(self.inbox))

    def outcome(self) -> tuple[dict[str, str], Counter[str], Counter[str]]:
        """The classes that are written down, how often each order is, and how often it is told."""
        noted = []
        while (note := self.notes.take(0)) is not None:
            if isinstance(note, Measurement):
                noted.append(note)
        classes = {one.client_order_id: one.order_class.value for one in noted}
        return classes, Counter(one.client_order_id for one in noted), Counter(one.client_order_id for one in self.told)


@pytest.mark.timeout(300)
def test_every_order_ends_in_its_class_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    try:
        whole = Work(state)
        numbers = list(places(whole, *MODULES, each=1))
        wanted = {"mine-1": "in_time", "mine-2": "late", "mine-3": "in_time"}
        once = Counter(wanted.keys())
        assert whole.outcome() == (wanted, once, once) and len(numbers) > 120
        for number in numbers:
            work = Work(state)
            assert interrupt(work, number, *MODULES)
            work()
            assert work.outcome() == (wanted, once, once), f"interrupted at {number}"
            assert work.monitor.tracker.open == 0
    finally:
        state.close()


@pytest.mark.parametrize("error", [Interrupted(), VenueUnreachable("rest", "down")])
def test_a_question_is_answered_also_by_one_who_fails(error: Exception) -> None:
    class Failing(ScriptedVenue):
        def order(self, symbol, client_order_id, stop):
            raise error

    inbox, questions = (Channel(name, 100, Overflow.DROP_NEWEST) for name in ("inbox", "questions"))
    questions.offer(binmon.latency.monitor.AskOrder("mine-1", "BTCUSDT", 1))
    asker, stop = OrderAsker("asker", Failing((), {}, "sandbox"), questions, inbox), UntilEmpty(questions)
    if isinstance(error, Interrupted):
        with pytest.raises(Interrupted):
            asker.run(stop)
    else:
        asker.run(stop)
    assert isinstance(inbox.take(0), AskFailed)
