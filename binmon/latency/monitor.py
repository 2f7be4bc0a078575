"""The worker that pumps the tracker: what is sent, answered and reported goes in, what is known comes out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from binmon.core.channel import Channel
from binmon.core.worker import Worker
from binmon.errors import BinmonError
from binmon.latency.announcements import announce, announce_overdue, signals
from binmon.latency.effects import AskOrder, Effect, Overdue, Settled, TrackerSettings
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement
from binmon.latency.probe import OrderPlanned
from binmon.latency.tracker import LatencyTracker
from binmon.latency.writing import Note
from binmon.messages import (
    AlertSignal,
    ExecutionReport,
    OrderAnswered,
    OrderRefused,
    OrderSent,
    OrderState,
    OrderUncertain,
    UserStreamDown,
    UserStreamUp,
)
from binmon.orders.desk import log_sent
from binmon.telemetry.histogram import OWN_BOUNDS_S, DelayHistogram
from binmon.venues.trading import TradingVenue

log = structlog.get_logger("binmon.latency")

_TICK_S = 0.05
PHASES = (
    "sent_to_answer", "sent_to_report", "sent_to_event", "sent_to_transaction", "transaction_to_event",
    "event_to_receive",
)  # fmt: skip
"""What ``/metrics`` has a histogram of."""


@dataclass(frozen=True, slots=True)
class AskFailed:
    """The venue could not be asked for an order."""

    client_order_id: str
    reason: str


class LatencyMonitor(Worker):
    """Writes to nothing but its own: the tracker, and the counters, which any thread may read. The disk is somebody
    else's, so that no alert waits for it.

    ``settled`` is called with every measurement, in this worker's thread.
    """

    silence_limit_s = 60.0  # at the start it reads the ledger, and SQLite waits for the disk

    def __init__(
        self,
        name: str,
        tracker: LatencyTracker,
        ledger: ProbeLedger,
        inbox: Channel[Any],
        notes: Channel[Note],
        questions: Channel[AskOrder],
        alerts: Channel[AlertSignal],
        settled: Callable[[Measurement], None] = lambda measurement: None,
    ) -> None:
        super().__init__(name)
        self.tracker = tracker
        self._ledger, self._notes = ledger, notes  # read at the start; what is to be written goes to its writer
        self._inbox, self._questions, self._alerts = inbox, questions, alerts
        self._settled = settled
        self._restored = False
        self._in_hand: Any = None  # taken, and the tracker may not know yet
        self._begun: Effect | None = None  # the effect that is carried out
        self._steps: deque[Callable[[], object]] = deque()  # what is left to do of it
        self._last_sent = ""
        self.phases = {phase: DelayHistogram() for phase in PHASES}
        # from the arrival of a report's frame to its measurement being told
        self.overhead = DelayHistogram(OWN_BOUNDS_S)

    def run(self, stop: threading.Event) -> None:
        """Pump until ``stop``, then once more for what is still in the inbox."""
        if not self._restored:
            self._restore()
        message, self._in_hand = self._in_hand, None
        self._take(message)  # what this failed with, once more: the tracker knows copies
        while not stop.is_set():
            self.beat()
            self._in_hand = self._inbox.take(_TICK_S)
            self._take(self._in_hand)
            self._tick()
        while True:
            self._in_hand = message = self._inbox.take(0)
            if message is None:
                break
            self._take(message)
        self._tick()

    def _restore(self) -> None:
        now_ns, now_mono_ns = time.time_ns(), time.monotonic_ns()
        orders = self._ledger.open_orders(now_ns, now_mono_ns)
        if orders:
            log.warning("latency.restored", orders=len(orders))
        self.tracker.restore(orders, now_mono_ns)
        self._restored = True

    def _take(self, message: Any) -> None:
        tracker, received_mono_ns = self.tracker, None
        if isinstance(message, ExecutionReport):
            received_mono_ns = message.received_mono_ns
            tracker.on_report(message)
        elif isinstance(message, OrderSent):
            tracker.on_sent(message)
            if message.order.client_order_id != self._last_sent:  # a request that is signed anew is one order
                self._last_sent = message.order.client_order_id
                log_sent(message)
        elif isinstance(message, OrderAnswered):
            tracker.on_answered(message)
        elif isinstance(message, OrderPlanned):
            tracker.on_planned(message.order, message.at_ns, message.at_mono_ns)
        elif isinstance(message, OrderRefused):
            tracker.on_refused(message)
        elif isinstance(message, OrderUncertain):
            tracker.on_uncertain(message)
        elif isinstance(message, OrderState):
            tracker.on_order_state(message, time.monotonic_ns())
        elif isinstance(message, AskFailed):
            tracker.on_ask_failed(message.client_order_id, message.reason, time.monotonic_ns())
        elif isinstance(message, UserStreamUp):
            tracker.on_stream_up(message)
        elif isinstance(message, UserStreamDown):
            tracker.on_stream_down(message)
        elif isinstance(message, TrackerSettings):
            tracker.settings(message.threshold_ms, message.report_timeout_ms)
        self._in_hand = None  # the tracker knows; what comes of it is kept in effects and steps
        if tracker.effects:
            self._carry_out(received_mono_ns)

    def _tick(self) -> None:
        self.tracker.tick(time.monotonic_ns())
        self._carry_out(None)

    def _carry_out(self, received_mono_ns: int | None) -> None:
        """Each step is done once at most, and a failure of one keeps none of the others from being done."""
        effects = self.tracker.effects
        while effects:
            if effects[0] is not self._begun:
                steps = deque(self._steps_of(effects[0], received_mono_ns))
                self._begun, self._steps = effects[0], steps
            while self._steps:
                self._steps.popleft()()
            effects.popleft()

    def _steps_of(self, effect: Effect, received_mono_ns: int | None) -> list[Callable[[], object]]:
        if isinstance(effect, Settled):
            return self._telling(effect.measurement, received_mono_ns)
        if isinstance(effect, Overdue):
            return [partial(self._tell_overdue, effect)]
        if isinstance(effect, AskOrder):
            return [partial(self._questions.offer, effect)]  # one that finds no room is asked again by the tracker
        return [partial(self._notes.offer, effect)]

    def _tell_overdue(self, overdue: Overdue) -> None:
        self._alerts.offer(announce_overdue(overdue, time.time_ns()))

    def _telling(self, measurement: Measurement, received_mono_ns: int | None) -> list[Callable[[], object]]:
        """What is to be done with a measurement; the alert first, as it is what somebody waits for."""
        told = signals(measurement, time.time_ns(), received_mono_ns)
        return [
            *(partial(self._alerts.offer, signal) for signal in told),
            partial(announce, measurement),
            partial(self._count, measurement, received_mono_ns),
            partial(self._settled, measurement),
            partial(self._notes.offer, measurement),
        ]

    def _count(self, measurement: Measurement, received_mono_ns: int | None) -> None:
        if received_mono_ns is not None:
            self.overhead.observe_ns(time.monotonic_ns() - received_mono_ns)
        for phase, histogram in self.phases.items():
            value_ms: float | None = getattr(measurement, f"{phase}_ms")
            if value_ms is not None and value_ms >= 0:
                histogram.observe_ns(int(value_ms * 1e6))
        self.progress()


class OrderAsker(Worker):
    """Asks the venue for orders, one after the other, and always gives an answer to the monitor."""

    def __init__(self, name: str, venue: TradingVenue, questions: Channel[AskOrder], inbox: Channel[Any]) -> None:
        super().__init__(name)
        self._venue, self._questions, self._inbox = venue, questions, inbox

    def run(self, stop: threading.Event) -> None:
        """Ask until ``stop``."""
        while not stop.is_set():
            self.beat()
            question = self._questions.take(0.2)
            if question is not None:
                self._ask(question, stop)
                self.progress()

    def _ask(self, question: AskOrder, stop: threading.Event) -> None:
        answer: OrderState | AskFailed = AskFailed(question.client_order_id, "whoever asks failed")
        try:
            answer = self._venue.order(question.symbol, question.client_order_id, stop)
        except BinmonError as error:
            log.warning("order.not_found_out", client_order_id=question.client_order_id, reason=str(error))
            answer = AskFailed(question.client_order_id, str(error))
        finally:
            self._inbox.offer(answer)  # also when this is a bug that ends the worker: nobody asks again for a minute
