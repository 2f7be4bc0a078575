"""Follows every order of ours from its sending to exactly one class (`OrderClass`).

A plain object without I/O: it takes messages and ``now`` (monotonic nanoseconds), and leaves what should be done in
``effects``, in order. Whoever pumps it asks the venue for each `AskOrder` (and gives the answer to ``on_order_state``,
or says ``on_ask_failed``), notes each `Accepted` and each `Settled` in the ledger, and calls ``tick`` several times a
second. The rules:

* all goes by our client order id. Messages of several threads meet in one queue, so a report may be here before the
  message that its order was sent: what names an unknown id is kept for a while, then counted as not ours;
* an order's reports are all here when one has a final status, the fills add up to what that one says was executed, and
  the report of the placing (``NEW``) is here too, if this venue sends such reports at all;
* an order is asked for by REST when its answer is uncertain, when not all reports came in time, when the stream comes
  back after a break, and after a restart of ours. What REST says settles it only once the stream can bring nothing more:
  the time for reports is over, or the order ended before the stream came back;
* order ids of a symbol usually grow. When the id of an order is not above one that was known before it was sent, the venue
  may have been wiped between the two: what is still open from before is asked for, and not known any more is enough then.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence

from binmon.latency.asking import GIVE_UP_AFTER_S, Asking
from binmon.latency.early import EarlyMessages, OrderMessage
from binmon.latency.effects import Accepted, AskOrder, Effect, OpenOrder, Overdue, Settled
from binmon.latency.measurement import Arrival, Clock, Departure, OrderClass
from binmon.latency.order import OrderStep, TrackedOrder
from binmon.messages import (
    FINAL_STATUSES,
    ExecutionReport,
    OrderAnswered,
    OrderRefused,
    OrderRequest,
    OrderSent,
    OrderState,
    OrderUncertain,
    UserStreamDown,
    UserStreamUp,
)

AFTER_BREAK_S = 2.0
"""So long after a break the stream may still bring what happened while it came back."""
_DISBELIEF_S = 120.0
_REMEMBERED_ORDERS = 1000  # settled ones, to tell late reports and copies from what is not ours
_UNHEARD = (OrderStep.SENT, OrderStep.ACCEPTED, OrderStep.ASKED, OrderStep.CONFIRMED)
_ON_ITS_WAY_NS = 100_000_000  # a report that is here may wait in a queue for a moment
_WAITING = (OrderStep.PLANNED, OrderStep.SENT, OrderStep.ACCEPTED)
_S = 1_000_000_000
_MS = 1_000_000

__all__ = ["AFTER_BREAK_S", "Accepted", "AskOrder", "Effect", "LatencyTracker", "OpenOrder", "Overdue", "Settled"]


class LatencyTracker:
    """See the module. One thread calls it; the counters may be read by any.

    ``foreign`` counts messages of orders that are not ours, ``duplicates`` copies, ``reports_after_settling`` reports of
    orders that had their class already (it stays), ``contradictions`` refusals of orders that the venue had accepted,
    ``resets`` how often order ids ran back.
    """

    def __init__(self, clock: Clock, *, threshold_ms: int, report_timeout_ms: int) -> None:
        self.effects: deque[Effect] = deque()
        self.classes: Counter[OrderClass] = Counter()
        self.foreign = self.duplicates = self.reports_after_settling = self.contradictions = self.resets = 0
        self._clock = clock
        self._orders: dict[str, TrackedOrder] = {}
        self._early = EarlyMessages()
        self._settled: OrderedDict[str, set[tuple[int, int]]] = OrderedDict()  # by client id: the reports taken
        self._announcing: set[str] = set()  # venues that report NEW
        self._newest: dict[tuple[str, str], tuple[int, int]] = {}  # by venue and symbol: (highest id, known since)
        self._breaks: dict[str, int] = {}  # by venue: when its stream last came back
        self.settings(threshold_ms, report_timeout_ms)

    def settings(self, threshold_ms: int, report_timeout_ms: int) -> None:
        """From now on, for open orders too. Reports are always waited for at least as long as the threshold."""
        self.threshold_ms = threshold_ms
        self._patience_ns = max(threshold_ms, report_timeout_ms) * _MS

    @property
    def open(self) -> int:
        """Orders without a class."""
        return len(self._orders)

    # Our side -----------------------------------------------------------------------------------------------------

    def restore(self, orders: Sequence[OpenOrder], now_mono_ns: int) -> None:
        """Take over what a crash left. Their reports were not listened for, so none of them is ever in time."""
        for one in orders:
            if self._known(one.order.client_order_id):
                continue
            departure = Departure(one.sent_ns, one.sent_mono_ns, None)
            order = TrackedOrder(one.order, departure, OrderStep.SENT, restored=True, replied=True)
            self._orders[one.order.client_order_id] = order
            if one.order_id is not None:
                order.order_id, order.accepted_mono_ns = one.order_id, now_mono_ns
                self._raise_newest(order, one.order_id, now_mono_ns)
            self._ask(order, "open when binmon ended", now_mono_ns)

    def on_planned(self, request: OrderRequest, at_ns: int, at_mono_ns: int) -> None:
        """An order is noted down and about to be sent: one that never leaves (our limits refuse it) is settled too."""
        if self._known(request.client_order_id):
            self.duplicates += 1
        else:
            self._begin(request, at_ns, at_mono_ns, OrderStep.PLANNED)

    def on_sent(self, message: OrderSent) -> None:
        """The request leaves. When it has to leave again (its first attempt was not taken), the last time counts."""
        request = message.order
        order = self._orders.get(request.client_order_id)
        if order is None and not self._known(request.client_order_id):
            self._begin(request, message.sent_ns, message.sent_mono_ns, OrderStep.SENT)
        elif order is not None and order.step is OrderStep.PLANNED:
            self._departed(order, message)
            order.move_to(OrderStep.SENT)
        elif order is not None and not order.restored and message.sent_mono_ns > order.departure.sent_mono_ns:
            self._departed(order, message)
        else:
            self.duplicates += 1

    def on_answered(self, message: OrderAnswered) -> None:
        """The venue has taken the order."""
        order = self._ours(message)
        if order is None:
            return
        if order.answered_mono_ns is None:
            order.answered_mono_ns = message.answered_mono_ns
        order.replied = True
        order.told_status = order.told_status or message.status
        self._accepted(order, message.order_id, message.answered_mono_ns)
        self._look(order, message.answered_mono_ns)

    def on_refused(self, message: OrderRefused) -> None:
        """The order was not executed and never will be, unless the venue has said otherwise before."""
        order = self._ours(message)
        if order is None:
            return
        order.replied = True
        if order.accepted:
            self.contradictions += 1
            self._look(order, message.answered_mono_ns)
            return
        if order.step is not OrderStep.PLANNED:
            order.answered_mono_ns = message.answered_mono_ns
        order.told_status = "REJECTED"
        code = "" if message.code is None else f"{message.code}: "
        self._settle(order, OrderClass.REJECTED, message.answered_mono_ns, f"{code}{message.message}")

    def on_uncertain(self, message: OrderUncertain) -> None:
        """No usable answer: only the reports or a question can tell."""
        order = self._ours(message)
        if order is None:
            return
        order.replied = True
        self._look(order, message.at_mono_ns)
        if order.step in _WAITING:
            self._ask(order, f"no usable answer: {message.reason}", message.at_mono_ns)

    # The venue's side ---------------------------------------------------------------------------------------------

    def on_report(self, report: ExecutionReport) -> None:
        """A report of the stream, of any order of the account."""
        order = self._ours(report)
        if order is None:
            return
        if order.order_id is not None and order.order_id != report.order_id:
            self.foreign += 1  # somebody else used our id, on another symbol or at another time
            return
        if report.execution_type == "NEW":
            self._announcing.add(report.venue)
        if not order.take(Arrival(report, self._clock.reading(report.received_mono_ns))):
            self.duplicates += 1  # and on: the first may have come to a monitor that failed in the midst of it
        self._accepted(order, report.order_id, report.received_mono_ns)
        self._look(order, report.received_mono_ns)

    def on_order_state(self, state: OrderState, now_mono_ns: int) -> None:
        """The answer to an `AskOrder`. One that comes when nobody asks any more changes nothing."""
        order = self._orders.get(state.client_order_id)
        if order is None or order.asking is None or order.step is not OrderStep.ASKED:
            return
        if not state.found:
            self._not_found(order, order.asking, now_mono_ns)
            return
        order.asking.found(now_mono_ns)
        order.told_status = state.status
        self._accepted(order, state.order_id, now_mono_ns)
        if state.status not in FINAL_STATUSES:
            return
        order.confirmed = state
        if state.status == "REJECTED":
            self._settle(order, OrderClass.REJECTED, now_mono_ns, order.trouble)
        else:
            order.move_to(OrderStep.CONFIRMED)
            self._turn(order, now_mono_ns)

    def _not_found(self, order: TrackedOrder, asking: Asking, now_mono_ns: int) -> None:
        """The venue says that it does not know an order. Its reads may lag, so it must say so often enough."""
        said_often = asking.unknown(now_mono_ns)
        if order.suspicion:
            why = order.suspicion
        elif not said_often or now_mono_ns < order.departure.sent_mono_ns + self._patience_ns:
            return
        elif order.told_status in FINAL_STATUSES and asking.unknown_for_ns(now_mono_ns) < _DISBELIEF_S * _S:
            return  # its answer said how it ended: that it never was is hard to believe
        else:
            why = order.trouble
        order.verdict = "NOT_FOUND"
        order_class = OrderClass.RESET if order.accepted else OrderClass.UNKNOWN
        times = f"the venue did not know it {asking.not_found} times"
        self._settle(order, order_class, now_mono_ns, f"{why}; {times}")

    def on_ask_failed(self, client_order_id: str, reason: str, now_mono_ns: int) -> None:
        """An `AskOrder` got no answer from the venue."""
        order = self._orders.get(client_order_id)
        if order is not None and order.asking is not None:
            order.asking.failed(reason, now_mono_ns)

    def on_stream_up(self, message: UserStreamUp) -> None:
        """The stream delivers; after a break, what was open meanwhile is asked for."""
        if not message.after_break:
            return
        self._breaks[message.venue] = message.at_mono_ns
        for order in list(self._orders.values()):
            if order.request.venue == message.venue:
                self._broken(order, message.at_mono_ns, message.at_mono_ns)

    def on_stream_down(self, message: UserStreamDown) -> None:
        """The stream delivers nothing; orders wait for it to come back, or for their time to be over."""
        for order in self._orders.values():
            if order.request.venue == message.venue and not order.trouble:
                order.trouble = f"the stream broke: {message.reason}"

    def tick(self, now_mono_ns: int) -> None:
        """Time passed."""
        for order in list(self._orders.values()):
            self._turn(order, now_mono_ns)
        self.foreign += self._early.expire(now_mono_ns)

    # Within -------------------------------------------------------------------------------------------------------

    def _known(self, client_order_id: str) -> bool:
        return client_order_id in self._orders or client_order_id in self._settled

    def _begin(self, request: OrderRequest, at_ns: int, at_mono_ns: int, step: OrderStep) -> None:
        departure = Departure(at_ns, at_mono_ns, self._clock.reading(at_mono_ns))
        order = self._orders[request.client_order_id] = TrackedOrder(request, departure, step)
        back_mono_ns = self._breaks.get(request.venue)
        if back_mono_ns is not None:
            self._broken(order, back_mono_ns, at_mono_ns)
        early = self._early.take(request.venue, request.client_order_id)
        # all reports that are here count as here when the order is looked at: those of its beginning first
        for message in sorted(
            early, key=lambda one: one.execution_id if isinstance(one, ExecutionReport) else math.inf
        ):
            self._again(message)

    def _again(self, message: OrderMessage) -> None:
        if isinstance(message, OrderAnswered):
            self.on_answered(message)
        elif isinstance(message, OrderRefused):
            self.on_refused(message)
        elif isinstance(message, OrderUncertain):
            self.on_uncertain(message)
        else:
            self.on_report(message)

    def _departed(self, order: TrackedOrder, message: OrderSent) -> None:
        reading = self._clock.reading(message.sent_mono_ns)
        order.departure = Departure(message.sent_ns, message.sent_mono_ns, reading)

    def _ours(self, message: OrderMessage) -> TrackedOrder | None:
        """The open order that a message is about; what is about no order yet is kept."""
        order = self._orders.get(message.client_order_id)
        if order is not None:
            if (message.venue, message.symbol) == (order.request.venue, order.request.symbol):
                return order
            self.foreign += 1
        elif message.client_order_id in self._settled:
            self._afterwards(message)
        else:
            self.foreign += self._early.keep(message)
        return None

    def _afterwards(self, message: OrderMessage) -> None:
        if not isinstance(message, ExecutionReport):
            return
        taken = self._settled[message.client_order_id]
        key = (message.order_id, message.execution_id)
        if key in taken:
            self.duplicates += 1
        else:
            taken.add(key)
            self.reports_after_settling += 1

    def _accepted(self, order: TrackedOrder, order_id: int, at_mono_ns: int) -> None:
        """The venue has shown that it has the order; what its id says about the orders before it."""
        if order.accepted:
            return
        order.order_id, order.accepted_mono_ns = order_id, at_mono_ns
        if order.step in (OrderStep.PLANNED, OrderStep.SENT):
            order.move_to(OrderStep.ACCEPTED)
        self.effects.append(Accepted(order.request.client_order_id, order_id))
        self._raise_newest(order, order_id, at_mono_ns)

    def _raise_newest(self, order: TrackedOrder, order_id: int, at_mono_ns: int) -> None:
        place = (order.request.venue, order.request.symbol)
        newest = self._newest.get(place)
        # an id that was learned while this order was under way may belong to one that the venue took after it
        if newest is not None and newest[0] >= order_id and newest[1] < order.departure.sent_mono_ns:
            self.resets += 1
            self._wiped(order, order_id, at_mono_ns)
        elif newest is not None and newest[0] >= order_id:
            return
        self._newest[place] = (order_id, at_mono_ns)

    def _wiped(self, order: TrackedOrder, order_id: int, at_mono_ns: int) -> None:
        """Ask for what the venue had accepted before its ids ran back: if it does not know it, it was wiped."""
        sent_mono_ns = order.departure.sent_mono_ns
        for other in list(self._orders.values()):
            if (
                other is not order
                and (other.request.venue, other.request.symbol) == (order.request.venue, order.request.symbol)
                and other.order_id is not None
                and other.accepted_mono_ns is not None
                and other.order_id >= order_id
                and other.accepted_mono_ns < sent_mono_ns
                and other.step in (*_WAITING, OrderStep.ASKED)
            ):
                other.suspicion = f"order ids ran back, from {other.order_id} to {order_id}"
                if other.asking is None:
                    self._ask(other, other.suspicion, at_mono_ns)
                else:
                    other.asking.hurry(at_mono_ns)
                    self._turn(other, at_mono_ns)

    def _look(self, order: TrackedOrder, now_mono_ns: int) -> None:
        """Something new is known of an order: is that all there is to know?"""
        if order.restored or order.step is OrderStep.SETTLED:
            return
        if order.status == "REJECTED" and order.arrivals:
            final = order.final_report()
            self._settle(order, OrderClass.REJECTED, now_mono_ns, "" if final is None else final.reason)
        elif order.arrivals and not order.missing(order.request.venue in self._announcing):
            if order.step is not OrderStep.REPORTED:
                order.move_to(OrderStep.REPORTED)
            # an alert does not wait for an answer that may never come
            if order.replied or order.over_ns(self.threshold_ms * _MS) > 0:
                self._settle_reported(order, now_mono_ns)

    def _turn(self, order: TrackedOrder, now_mono_ns: int) -> None:
        """What time alone brings about."""
        if order.step in _UNHEARD and not (order.is_overdue or order.restored):
            self._look_overdue(order, now_mono_ns)
        is_over = now_mono_ns >= order.departure.sent_mono_ns + self._patience_ns
        if order.step in _WAITING:
            if is_over:
                missing = order.missing(order.request.venue in self._announcing)
                waited_ms = (now_mono_ns - order.departure.sent_mono_ns) // _MS
                self._ask(order, f"after {waited_ms} ms the stream had not brought {missing}", now_mono_ns)
        elif order.step is OrderStep.REPORTED:
            if is_over:
                self._settle_reported(order, now_mono_ns)
        elif order.step is OrderStep.CONFIRMED:
            if is_over or order.restored or self._cannot_come(order, now_mono_ns):
                missing = order.missing(order.request.venue in self._announcing)
                why = order.trouble or "the time was over"
                self._settle(order, OrderClass.LOST, now_mono_ns, f"{why}; the stream did not bring {missing}")
        elif order.asking is not None:
            if order.asking.hopeless(now_mono_ns):
                order.verdict = order.status or "UNKNOWN"
                failure = order.asking.last_failure or "no answer"
                detail = f"{order.trouble}; nothing found out in {GIVE_UP_AFTER_S:.0f} s: {failure}"
                self._settle(order, OrderClass.UNKNOWN, now_mono_ns, detail)
            elif order.asking.ask(now_mono_ns):
                request = order.request
                self.effects.append(AskOrder(request.client_order_id, request.symbol, order.asking.attempt))

    def _look_overdue(self, order: TrackedOrder, now_mono_ns: int) -> None:
        waited_ns = now_mono_ns - order.departure.sent_mono_ns
        if waited_ns >= self.threshold_ms * _MS + _ON_ITS_WAY_NS:
            order.is_overdue = True
            self.effects.append(Overdue(order.request, waited_ns / _MS, self.threshold_ms))

    def _broken(self, order: TrackedOrder, back_mono_ns: int, now_mono_ns: int) -> None:
        """The stream was away until ``back_mono_ns``: an order that was sent before may have lost reports to that."""
        if order.departure.sent_mono_ns >= back_mono_ns or order.step is OrderStep.REPORTED:
            return
        order.break_mono_ns = back_mono_ns
        if order.step in _WAITING:
            self._ask(order, order.trouble or "the stream broke", now_mono_ns)
        elif order.step is OrderStep.ASKED and order.asking is not None:
            order.asking.hurry(now_mono_ns)
            self._turn(order, now_mono_ns)

    def _cannot_come(self, order: TrackedOrder, now_mono_ns: int) -> bool:
        """Whether the order ended before the stream came back, so that its last report is gone for good."""
        back_mono_ns, confirmed = order.break_mono_ns, order.confirmed
        if back_mono_ns is None or confirmed is None or now_mono_ns < back_mono_ns + AFTER_BREAK_S * _S:
            return False
        reading = self._clock.reading(back_mono_ns)
        if reading is None:
            return True
        ended_ns = confirmed.update_time_us * 1000
        return ended_ns <= reading.venue_ns(back_mono_ns) + reading.uncertainty_ns

    def _ask(self, order: TrackedOrder, trouble: str, now_mono_ns: int) -> None:
        order.trouble = trouble
        order.move_to(OrderStep.ASKED)
        order.asking = Asking(last_answer_mono_ns=now_mono_ns, next_mono_ns=now_mono_ns)
        self._turn(order, now_mono_ns)

    def _settle_reported(self, order: TrackedOrder, now_mono_ns: int) -> None:
        threshold_ns = self.threshold_ms * _MS
        if order.over_ns(threshold_ns) <= 0:
            self._settle(order, OrderClass.IN_TIME, now_mono_ns, order.trouble)
            return
        # an event before the sending cannot be: either the venue stamps old times, or a clock was set
        by_own_clock_ns = max(one.received_mono_ns for one in order.arrivals.values()) - order.departure.sent_mono_ns
        doubt = "" if by_own_clock_ns > threshold_ns else "only by the venue's clock: its event is before the sending"
        self._settle(order, OrderClass.LATE, now_mono_ns, "; ".join(filter(None, (order.trouble, doubt))))

    def _settle(self, order: TrackedOrder, order_class: OrderClass, now_mono_ns: int, detail: str) -> None:
        client_order_id = order.request.client_order_id
        reading = self._clock.reading(now_mono_ns)
        offset_ns = None if reading is None else reading.venue_minus_wall_ns
        # What fails in the midst of this is done again, as long as the order is open: then it may have its class already.
        if not any(
            isinstance(one, Settled) and one.measurement.client_order_id == client_order_id for one in self.effects
        ):
            measured = order.measurement(order_class, self.threshold_ms, now_mono_ns, offset_ns, detail)
            self.effects.append(Settled(measured))
        self._settled[client_order_id] = set(order.arrivals)
        if len(self._settled) > _REMEMBERED_ORDERS:
            self._settled.popitem(last=False)
        self.classes[order_class] += 1
        del self._orders[client_order_id]
        order.move_to(OrderStep.SETTLED)
