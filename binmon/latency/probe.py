"""The worker that sends a small order every so often, and nothing while it could not be timed."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import structlog

from binmon.core.channel import Channel
from binmon.core.clock import VenueClock
from binmon.core.worker import Worker
from binmon.errors import BinmonError, ChannelFull, OrderForbidden, RequestRefused, RetryError, VenueUnreachable
from binmon.latency.ledger import LedgerRefused
from binmon.latency.sizing import CannotProbe
from binmon.latency.standing import Standing
from binmon.messages import OrderRefused, OrderRequest, OrderSent, OrderSide, OrderUncertain
from binmon.orders.desk import OrderDesk
from binmon.venues.clock import TakeSample, measure
from binmon.venues.trading import TradingVenue

log = structlog.get_logger("binmon.latency")

_BLIND_S = 10.0  # how long the user-data stream may be away before somebody should know
_STREAM = "see user_stream.* and stream.* in the log, and venues.binance.endpoints.ws_api"
_REFUSALS_BORNE = 5  # in a row, before the next is tried later and later
_LONGEST_PAUSE_S = 300.0
_LEAST_PAUSE_S = 0.001
_LAST_ANSWER_S = 0.5  # at a stop: how long the answer to an order that is under way is waited for
_LAST_REPORT_S = 0.8  # at a stop: how long the report of the last order is waited for
_TOLD_AGAIN_S = 300.0  # a trouble that goes on gets a line so often


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What is probed and how often; replaced as a whole by a reload."""

    symbol: str
    interval_s: float
    notional: Decimal  # quote currency


class ProbeOutlets(Protocol):
    """What the probe tells. All are called in its thread."""

    def planned(self, order: OrderRequest) -> None:
        """About to be sent: note it down for good. What this raises keeps the order back."""

    def sent(self, message: OrderSent) -> None:
        """Leaves now."""

    def outcome(self, message: Any) -> None:
        """OrderAnswered, OrderRefused or OrderUncertain."""

    def trouble(self, text: str | None) -> None:
        """Why nothing can be sent, one line with the remedy; None when it goes again."""


class OrderProbe(Worker):
    """Sends a market order every ``interval_s``, buying and selling in turn, when ``ready`` says that reports would be
    heard. Errors of the venue skip a turn; they never end the worker. ``settled`` says that no order is open: at a stop
    it is waited for a moment, so that the last order is not lost to it.

    ``explain`` turns an error of the venue into a line for people, where it can.
    """

    def __init__(
        self,
        name: str,
        venue: TradingVenue,
        desk: OrderDesk,
        clock: VenueClock,
        take_sample: TakeSample,
        outlets: ProbeOutlets,
        settings: ProbeSettings,
        *,
        ready: Callable[[], bool],
        settled: Callable[[], bool] = lambda: True,
        explain: Callable[[BaseException], str | None] = lambda error: None,
        probe_id: str | None = None,
    ) -> None:
        super().__init__(name)
        self._venue, self._desk, self._clock, self._take_sample = venue, desk, clock, take_sample
        self._outlets, self._ready, self._settled, self._explain = outlets, ready, settled, explain
        self.settings = settings
        # 36 characters at most, of a few kinds (Binance Spot, new order)
        self.probe_id = probe_id or secrets.token_hex(4)
        self._run_id = f"{time.time_ns() // 10**6:x}"
        self._number = 0
        self._last_side: OrderSide | None = None
        self._standing = Standing(venue)
        self._refused_in_a_row = 0
        self.trouble: str | None = None  # why nothing can be sent; read by any thread
        self._trouble_kind = ""
        self._told_at_s = 0.0
        self.sent = self.skipped = self._blind_turns = 0

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop``."""
        settings = self.settings
        last_s = time.monotonic() - settings.interval_s  # when the last turn was due
        while not stop.is_set():
            self.beat()
            now_s = time.monotonic()
            if settings is not self.settings:
                settings = self.settings
                last_s = max(last_s, now_s - settings.interval_s)  # a shorter interval makes one turn due, not many
            interval_s = max(settings.interval_s, _LEAST_PAUSE_S)
            if self._refused_in_a_row >= _REFUSALS_BORNE:
                # a key that is refused does not heal by asking, and each time costs one of the day's orders
                interval_s = max(interval_s, min(_LONGEST_PAUSE_S, interval_s * 2.0**self._refused_in_a_row))
            due_s = last_s + interval_s
            if now_s < due_s:
                stop.wait(min(due_s - now_s, 0.25))
                continue
            if not self._ready():
                # not a turn that is missed: the order goes as soon as its report would be heard
                self._wait_blind(due_s, now_s, stop)
                continue
            self._blind_turns = 0
            self.turn(stop)
            # what could not be sent in its turn is not made up for
            last_s = max(due_s, time.monotonic() - 2 * interval_s)
        end_s, pause = time.monotonic() + _LAST_REPORT_S, threading.Event()
        while not self._settled() and time.monotonic() < end_s:
            pause.wait(0.02)

    def _wait_blind(self, due_s: float, now_s: float, stop: threading.Event) -> None:
        """Wait for the user-data stream; after a while each turn that passes is a turn without an order."""
        missed = (
            int((now_s - due_s - _BLIND_S) / max(self.settings.interval_s, 1.0)) + 1 if now_s - due_s > _BLIND_S else 0
        )
        if missed > self._blind_turns:
            self._blind_turns = missed
            self._skip(
                CannotProbe(f"the user-data stream is not up: an order's reports would not be heard ({_STREAM})"), stop
            )
        stop.wait(0.05)

    def turn(self, stop: threading.Event) -> None:
        """One order, or the reason why there is none."""
        settings = self.settings
        try:
            size = self._standing.next_order(settings.symbol, settings.notional, self._last_side, stop)
            # The last thing before the order, on the same connection: it must not be timed while it is set up.
            measure(self._clock, self._take_sample, stop)
        except (CannotProbe, BinmonError) as error:
            self._skip(error, stop)
            return
        self._number += 1
        order = OrderRequest(
            self._venue.name,
            settings.symbol,
            size.side,
            f"binmon-{self.probe_id}-{self._run_id}-{self._number}",
            size.notional,
            quantity=size.quantity,
        )
        if not self._ready():
            self._skip(VenueUnreachable(self._venue.name, "the user-data stream broke"), stop)
            return
        try:
            self._desk.look(order)  # what the limits refuse anyway is no order that failed
            self._outlets.planned(order)
        except BinmonError as error:
            self._skip(error, stop)
            return
        try:
            outcome = self._desk.place(order, self._outlets.sent, _Lingering(stop, _LAST_ANSWER_S))
        except (OrderForbidden, RetryError) as error:
            # certainly not executed: the order that was planned ends here
            self._outlets.outcome(
                OrderRefused(
                    order.venue,
                    order.symbol,
                    order.client_order_id,
                    None,
                    str(error),
                    time.time_ns(),
                    time.monotonic_ns(),
                )
            )
            self._skip(error, stop)
            return
        except BaseException as error:
            # a bug that ends this worker must not take the order's fate with it
            reason = f"the probe failed: {type(error).__name__}"
            self._outlets.outcome(
                OrderUncertain(order.venue, order.symbol, order.client_order_id, reason, time.monotonic_ns())
            )
            raise
        self.sent += 1
        self._outlets.outcome(outcome)
        self.progress()
        if isinstance(outcome, OrderRefused):
            self._refused_in_a_row += 1
            self._standing.forget()
            refusal = RequestRefused(self._venue.name, 400, outcome.code, outcome.message)
            self._say(self._explain(refusal) or f"the order was refused: {outcome.message}", str(outcome.code))
        else:
            self._refused_in_a_row = 0
            self._last_side = size.side
            self._say(None, "")

    def _skip(self, error: Exception, stop: threading.Event) -> None:
        if stop.is_set():
            return
        self.skipped += 1
        text = self._explain(error) or str(error)
        # figures may change with every turn, and it is still the same trouble
        self._say(text, error.limit if isinstance(error, OrderForbidden) else re.sub(r"[\d.]+", "#", text))

    def _say(self, trouble: str | None, kind: str) -> None:
        """Told when its kind changes, and now and then while it lasts."""
        now_s = time.monotonic()
        is_new, self._trouble_kind = kind != self._trouble_kind, kind
        if not is_new and (trouble is None or now_s - self._told_at_s < _TOLD_AGAIN_S):
            return
        if trouble is not None:
            log.error("latency.skipped", venue=self._venue.name, symbol=self.settings.symbol, reason=trouble)
        elif self.trouble is not None:
            log.info("latency.resumed", venue=self._venue.name, symbol=self.settings.symbol)
        self.trouble, self._told_at_s = trouble, now_s
        self._outlets.trouble(trouble)


class _Lingering(threading.Event):
    """A stop that is noticed ``after_s`` later: the answer to an order that is under way is worth the moment."""

    def __init__(self, stop: threading.Event, after_s: float) -> None:
        super().__init__()
        self._stop, self._after_s = stop, after_s
        self._noticed_s: float | None = None

    def is_set(self) -> bool:
        if not self._stop.is_set():
            return False
        if self._noticed_s is None:
            self._noticed_s = time.monotonic()
        return time.monotonic() - self._noticed_s >= self._after_s


class Inbox:
    """The outlets of a probe as messages to the monitor's channel; ``plan`` notes an order in the ledger."""

    def __init__(
        self,
        channel: Channel[Any],
        plan: Callable[[OrderRequest, int, int], None],
        trouble: Callable[[str | None], None],
    ) -> None:
        self._channel, self._plan, self.trouble = channel, plan, trouble

    def planned(self, order: OrderRequest) -> None:
        """Into the ledger first, then to the monitor."""
        planned = OrderPlanned(order, time.time_ns(), time.monotonic_ns())
        try:
            self._plan(order, planned.at_ns, planned.at_mono_ns)
            self._channel.put(planned, 5.0)
        except LedgerRefused:
            raise
        except BaseException as error:
            # It may be noted by now, and what is noted must end in a class. It does not leave.
            reason = f"not sent: {type(error).__name__}"
            self._channel.offer(planned)
            self._channel.offer(
                OrderRefused(
                    order.venue,
                    order.symbol,
                    order.client_order_id,
                    None,
                    reason,
                    time.time_ns(),
                    time.monotonic_ns(),
                )
            )
            raise

    def sent(self, message: OrderSent) -> None:
        self._channel.offer(message)

    def outcome(self, message: Any) -> None:
        try:
            self._channel.put(message, 5.0)
        except ChannelFull:  # the order is out: the tracker will ask for it
            log.error("latency.dropped", message=type(message).__name__)


@dataclass(frozen=True, slots=True)
class OrderPlanned:
    """An order is noted down and about to be sent."""

    order: OrderRequest
    at_ns: int
    at_mono_ns: int
