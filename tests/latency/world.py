"""A venue, a stream that breaks, a REST that lags, and our threads, in simulated time: what really happened."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from binmon.core.clock import ClockReading
from binmon.latency.effects import Accepted, AskOrder, OpenOrder, Overdue, Settled
from binmon.latency.measurement import Measurement, OrderClass
from binmon.latency.order import OrderStep
from binmon.latency.tracker import AFTER_BREAK_S, LatencyTracker
from binmon.messages import (
    ExecutionReport,
    OrderAnswered,
    OrderRefused,
    OrderRequest,
    OrderSent,
    OrderSide,
    OrderState,
    OrderUncertain,
    UserStreamDown,
    UserStreamUp,
)
from tests.latency.messages import LOT, MS, WALL, S

TICK_NS = 200 * MS


@dataclass(slots=True)
class Order:
    """The truth about one order."""

    request: OrderRequest
    sent_mono_ns: int
    order_id: int = 0
    accepted_ns: int | None = None  # monotonic, when the venue took it
    refused: bool = False
    wiped: bool = False
    reports: dict[int, ExecutionReport] = field(default_factory=dict)  # all that the venue made, by execution id
    taken: dict[int, int] = field(default_factory=dict)  # by execution id: when received, of those the tracker has seen
    acceptance_told: bool = False
    uncertain: bool = False
    answered_ns: int | None = None
    restored: bool = False
    overdue: bool = False
    threshold_ms: int = 0
    not_found_ns: list[int] = field(default_factory=list)
    found_final_ns: int | None = None
    heard_ns: int | None = None  # the last answer to a question about it
    asked: int = 0
    measurement: Measurement | None = None
    announced: bool | None = None  # whether placings were known to be reported when the tracker held this one complete

    @property
    def ended(self) -> bool:
        """Whether the venue has ended it."""
        return bool(self.reports)

    @property
    def complete(self) -> bool:
        """Whether the tracker has seen every report there is."""
        return bool(self.reports) and self.taken.keys() == self.reports.keys()

    @property
    def slowest_ns(self) -> int:
        return max(self.taken.values())


class World:
    """Simulated time, and everybody in it. ``settle`` checks a class against the truth."""

    def __init__(self, threshold_ms: int = 5000, timeout_ms: int = 30_000) -> None:
        self.now = 1000 * S
        self.offset_ns = WALL + 3 * MS  # the venue's clock minus the monotonic one
        self.offsets = [(0, self.offset_ns)]
        self.uncertainty_ns: int | None = 400_000
        self.threshold_ms, self.timeout_ms = threshold_ms, timeout_ms
        self.settings_changed = False
        self.orders: dict[str, Order] = {}
        self.venue: dict[str, Order] = {}  # what the venue knows
        self.next_id, self.next_execution = 1000, 1
        self.up = True
        self.back_ns: list[int] = []
        self.rest_answers = True
        self.rest_lag_ns = 0
        self.life = 0  # counts our restarts: what was in a queue of another life is gone
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.tracker = self.new_tracker()
        self.at(self.now, self.tick)

    # Time ---------------------------------------------------------------------------------------------------------

    def at(self, at_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(at_ns, self.now), next(self._numbers), act))

    def run(self, for_ns: int) -> None:
        until = self.now + for_ns
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self.serve()
        self.now = until

    def tick(self) -> None:
        self.tracker.tick(self.now)
        self.at(self.now + TICK_NS, self.tick)

    def reading(self, mono_ns: int, /) -> ClockReading | None:
        if self.uncertainty_ns is None:
            return None
        return ClockReading(self.offset_at(mono_ns), self.uncertainty_ns, 0.0, self.offset_at(mono_ns) - WALL)

    def offset_at(self, mono_ns: int) -> int:
        return max(entry for entry in self.offsets if entry[0] <= mono_ns)[1]

    def venue_us(self, mono_ns: int) -> int:
        return (mono_ns + self.offset_at(mono_ns)) // 1000

    # Our side -----------------------------------------------------------------------------------------------------

    def new_tracker(self) -> LatencyTracker:
        return LatencyTracker(self, threshold_ms=self.threshold_ms, report_timeout_ms=self.timeout_ms)

    def queue(self, delay_ns: int, message: object, before: Callable[[], None] | None = None) -> None:
        """Hand a message to the tracker after a while, unless we restart meanwhile."""
        life = self.life

        def arrive() -> None:
            if life == self.life:
                if before is not None:
                    before()
                self.hand_over(message)

        self.at(self.now + delay_ns, arrive)

    def hand_over(self, message: object) -> None:
        tracker = self.tracker
        handlers: dict[type, Callable[..., None]] = {
            OrderSent: tracker.on_sent, OrderAnswered: tracker.on_answered, OrderRefused: tracker.on_refused,
            OrderUncertain: tracker.on_uncertain, ExecutionReport: tracker.on_report, UserStreamUp: tracker.on_stream_up,
            UserStreamDown: tracker.on_stream_down,
        }  # fmt: skip
        handlers[type(message)](message)

    def serve(self) -> None:
        while self.tracker.effects:
            effect = self.tracker.effects.popleft()
            if isinstance(effect, AskOrder):
                self.ask(effect)
            elif isinstance(effect, Accepted):
                order = self.orders[effect.client_order_id]
                assert order.order_id == effect.order_id
                order.acceptance_told = True
            elif isinstance(effect, Overdue):
                self.overdue(effect)
            else:
                assert isinstance(effect, Settled)
                self.settle(effect.measurement)
        for name, tracked in self.tracker._orders.items():
            if tracked.step is OrderStep.REPORTED and self.orders[name].announced is None:
                self.orders[name].announced = self.has_announced()

    def send(
        self, *, fate: str, fills: int, short: bool, there_ns: int, back_ns: int, ways: list[int | None],
        copies: list[int | None], queued: list[int], planned: bool,
    ) -> None:  # fmt: skip
        """Send an order. ``fate``: answered, refused, uncertain, lost on the way (uncertain, and the venue never had it).

        ``ways``: how long each report takes to come, None: it is lost; ``copies``: the same for a second copy of it.
        """
        name = f"o{len(self.orders)}"
        quantity = LOT * fills
        request = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, name, Decimal(15), quantity)
        order = self.orders[name] = Order(request, self.now)
        if planned:
            self.tracker.on_planned(request, WALL + self.now, self.now)
        self.queue(queued[0], OrderSent(request, WALL + self.now, self.now))
        life = self.life

        def reach_the_venue() -> None:
            if fate == "refused":
                order.refused = True
            elif fate != "lost on the way":
                self.execute(order, fills, short, ways, copies, queued[2])

        def answer() -> None:
            if life != self.life:
                return
            at = self.now
            if fate == "answered":

                def told() -> None:
                    order.answered_ns = at

                status = max(order.reports.items())[1].order_status
                message: object = OrderAnswered(
                    "binance", "BTCUSDT", name, order.order_id, status, LOT, Decimal(1), 0, WALL + at, at
                )
                self.queue(queued[1], message, told)
            elif fate == "refused":
                self.queue(queued[1], OrderRefused("binance", "BTCUSDT", name, -2010, "no", WALL + at, at))
            else:
                self.queue(queued[1], OrderUncertain("binance", "BTCUSDT", name, "timed out", at))

        self.at(self.now + there_ns, reach_the_venue)
        self.at(self.now + there_ns + back_ns, answer)

    def restart(self, down_ns: int) -> None:
        """``kill -9``: all queues and the tracker are gone, the ledger stays."""
        self.life += 1
        self.up = False
        self.now += down_ns
        open_orders = []
        for name, order in self.orders.items():
            if order.measurement is None:
                order.restored = True
                number = order.order_id if order.acceptance_told else None
                open_orders.append(OpenOrder(order.request, WALL + order.sent_mono_ns, order.sent_mono_ns, number))
                order.heard_ns, order.not_found_ns = None, []
            assert name == order.request.client_order_id
        self.tracker = self.new_tracker()
        self.up = True
        self.tracker.restore(open_orders, self.now)
        for order in self.orders.values():
            if order.measurement is None:
                order.heard_ns = self.now
        self.serve()

    # The venue ----------------------------------------------------------------------------------------------------

    def execute(
        self, order: Order, fills: int, short: bool, ways: list[int | None], copies: list[int | None], queued_ns: int
    ) -> None:
        order.order_id, order.accepted_ns = self.next_id, self.now
        self.next_id += 1
        self.venue[order.request.client_order_id] = order
        quantity = order.request.quantity
        assert quantity is not None
        steps: list[tuple[str, str, Decimal, Decimal]] = [("NEW", "NEW", Decimal(0), Decimal(0))]
        traded = fills - 1 if short else fills
        for number in range(1, traded + 1):
            steps.append(("TRADE", "FILLED" if number == fills else "PARTIALLY_FILLED", LOT, LOT * number))
        if short:
            steps.append(("EXPIRED", "EXPIRED", Decimal(0), LOT * traded))
        matched_us = self.venue_us(self.now)
        for number, (execution, status, last, total) in enumerate(steps):
            execution_id = self.next_execution
            self.next_execution += 3
            event_us = matched_us + 1 + number
            report = ExecutionReport(
                "binance", "BTCUSDT", order.request.client_order_id, order.order_id, execution_id, execution, status,
                OrderSide.BUY, last, Decimal(65000), total, total, Decimal(0), "BTC", None, event_us, matched_us, "NONE",
                "user", 0, 0,
            )  # fmt: skip
            order.reports[execution_id] = report
            for way in (ways[number % len(ways)], copies[number % len(copies)]):
                if way is not None:
                    self.at(self.now + way, lambda report=report: self.deliver(order, report, queued_ns))  # type: ignore[misc]

    def deliver(self, order: Order, made: ExecutionReport, queued_ns: int) -> None:
        if not self.up:
            return
        values = {name: getattr(made, name) for name in ExecutionReport.__dataclass_fields__}
        report = ExecutionReport(**{**values, "received_ns": WALL + self.now, "received_mono_ns": self.now})
        at = self.now

        def seen() -> None:
            if order.measurement is None:
                order.taken[made.execution_id] = min(at, order.taken.get(made.execution_id, at))

        self.queue(queued_ns, report, seen)

    def break_stream(self, for_ns: int) -> None:
        if not self.up:
            return
        self.up = False
        self.queue(0, UserStreamDown("binance", "reset", self.now))
        life = self.life

        def back() -> None:
            if life == self.life:
                self.up = True
                self.back_ns.append(self.now)
                self.queue(0, UserStreamUp("binance", "user", True, self.now))

        self.at(self.now + for_ns, back)

    def wipe(self) -> None:
        for order in self.venue.values():
            order.wiped = True
        self.venue.clear()
        self.next_id = 1

    def step_clock(self, by_ns: int) -> None:
        self.offset_ns += by_ns
        self.offsets.append((self.now, self.offset_ns))

    def ask(self, question: AskOrder) -> None:
        """The answer is of ``rest_lag_ns`` ago: reads lag."""
        name = question.client_order_id
        order = self.orders[name]
        order.asked += 1
        assert question.attempt == order.asked or order.restored
        if order.heard_ns is None:
            order.heard_ns = self.now
        life, lag_ns = self.life, self.rest_lag_ns

        def answer() -> None:
            if life != self.life:
                return
            if not self.rest_answers:
                self.tracker.on_ask_failed(name, "no connection", self.now)
                return
            order.heard_ns = self.now
            known = self.venue.get(name)
            if known is None or known.accepted_ns is None or known.accepted_ns + lag_ns > self.now:
                order.not_found_ns.append(self.now)
                self.tracker.on_order_state(OrderState("binance", "BTCUSDT", name, False), self.now)
                return
            order.not_found_ns.clear()
            last = known.reports[max(known.reports)]
            if order.measurement is None:
                order.found_final_ns = self.now
            state = OrderState(
                "binance", "BTCUSDT", name, True, known.order_id, last.order_status, last.executed_quantity, Decimal(1),
                last.transaction_time_us,
            )  # fmt: skip
            self.tracker.on_order_state(state, self.now)

        self.at(self.now + 20 * MS, answer)

    # The truth ----------------------------------------------------------------------------------------------------

    def overdue(self, told: Overdue) -> None:
        order = self.orders[told.order.client_order_id]
        assert order.measurement is None and not order.restored and not order.overdue, "told twice, or too late"
        order.overdue = True
        assert told.threshold_ms == self.threshold_ms
        # said at the time of the step that found it, and heard at the end of all steps
        assert self.threshold_ms + 100 <= told.waited_ms <= (self.now - order.sent_mono_ns) / 1e6

    def settle(self, found: Measurement) -> None:
        order = self.orders[found.client_order_id]
        assert order.measurement is None, "settled twice"
        order.measurement = found
        checks: dict[OrderClass, Callable[[Order, Measurement], None]] = {
            OrderClass.IN_TIME: self.check_reported, OrderClass.LATE: self.check_reported,
            OrderClass.LOST: self.check_lost, OrderClass.REJECTED: self.check_rejected,
            OrderClass.UNKNOWN: self.check_unknown, OrderClass.RESET: self.check_reset,
        }  # fmt: skip
        checks[found.order_class](order, found)
        if found.order_class not in (OrderClass.IN_TIME, OrderClass.LATE):
            assert found.sent_to_report_ms is None and found.over_ms is None

    def check_reported(self, order: Order, found: Measurement) -> None:
        assert not order.restored
        # the report of the placing is only waited for once the venue has shown that it sends such
        missing = {order.reports[number].execution_type for number in order.reports.keys() - order.taken.keys()}
        assert missing <= {"NEW"}
        assert not missing or not (self.has_announced() if order.announced is None else order.announced)
        way_ns = order.slowest_ns - order.sent_mono_ns
        over_ns = way_ns - found.threshold_ms * MS
        assert found.threshold_ms == self.threshold_ms
        assert found.order_class is (OrderClass.LATE if over_ns > 0 else OrderClass.IN_TIME)
        assert found.over_ms == (over_ns / 1e6 if over_ns > 0 else None)
        assert found.sent_to_report_ms == way_ns / 1e6
        assert found.first_report_ms == (min(order.taken.values()) - order.sent_mono_ns) / 1e6
        fills = [at for number, at in order.taken.items() if order.reports[number].last_quantity]
        assert found.first_fill_ms == ((min(fills) - order.sent_mono_ns) / 1e6 if fills else None)
        assert found.last_fill_ms == ((max(fills) - order.sent_mono_ns) / 1e6 if fills else None)
        answered = None if order.answered_ns is None else (order.answered_ns - order.sent_mono_ns) / 1e6
        # one that is late is told at once, and does not wait for its answer
        unanswered = found.order_class is OrderClass.LATE and found.sent_to_answer_ms is None
        assert unanswered or found.sent_to_answer_ms == answered
        assert found.order_status == order.reports[max(order.reports)].order_status
        last = max(order.taken, key=lambda number: (order.taken[number], number))
        report = order.reports[last]
        assert found.transaction_to_event_ms == (report.event_time_us - report.transaction_time_us) * 1000 / 1e6
        if self.uncertainty_ns is not None and len(self.offsets) == 1:
            event_ns, offset_ns = report.event_time_us * 1000, self.offset_ns
            rounding_ns = 0 if report.event_time_us % 1000 else MS
            assert found.uncertainty_ms == (self.uncertainty_ns + rounding_ns) / 1e6
            assert found.sent_to_event_ms == (event_ns - (order.sent_mono_ns + offset_ns)) / 1e6
            received_ns = order.slowest_ns + offset_ns - event_ns
            certain = received_ns >= self.uncertainty_ns + rounding_ns
            assert found.event_to_receive_ms == (received_ns / 1e6 if certain else None)
            assert found.clock_offset_ms == (offset_ns - WALL) / 1e6

    def check_lost(self, order: Order, found: Measurement) -> None:
        assert order.ended and order.found_final_ns is not None
        assert not order.complete or order.restored
        assert found.order_status == order.reports[max(order.reports)].order_status
        patience_ns = max(self.threshold_ms, self.timeout_ms) * MS
        is_over = self.now >= order.sent_mono_ns + patience_ns
        # without a clock an order that ended just after the break cannot be told from one before
        gone = [at for at in self.back_ns if order.sent_mono_ns < at <= self.now - AFTER_BREAK_S * S]
        assert is_over or order.restored or gone

    def check_rejected(self, order: Order, found: Measurement) -> None:
        assert order.refused and not order.restored and found.order_status == "REJECTED"

    def check_unknown(self, order: Order, found: Measurement) -> None:
        if found.order_status == "NOT_FOUND":
            self.check_not_found(order, found.detail)
            assert not order.acceptance_told
        else:
            assert order.heard_ns is not None and self.now - order.heard_ns >= 600 * S

    def check_reset(self, order: Order, found: Measurement) -> None:
        assert order.wiped and order.acceptance_told
        if found.order_status == "NOT_FOUND":
            self.check_not_found(order, found.detail)

    def check_not_found(self, order: Order, detail: str) -> None:
        asked = order.not_found_ns
        assert "ran back" in detail or (len(asked) >= 5 and asked[-1] - asked[0] >= 15 * S)
        assert order.request.client_order_id not in self.venue

    def has_announced(self) -> bool:
        """Whether the present tracker has seen the report of a placing."""
        return "binance" in self.tracker._announcing
