"""The one way of an order to a venue: through the gate, timed, told, and never sent twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from binmon.errors import BinmonError, OrderForbidden, RequestRefused, RetryError, StatusUnknown
from binmon.messages import OrderAnswered, OrderRefused, OrderRequest, OrderSent, OrderState, OrderUncertain
from binmon.orders.gate import OrderGate
from binmon.venues.trading import TradingVenue

log = structlog.get_logger("binmon.orders")

Outcome = OrderAnswered | OrderRefused | OrderUncertain
# Binance Spot, limits and backoff: reads can lag, so a missing order is asked for again with growing pauses
_ASK_AGAIN_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(slots=True)
class _Departure:
    """When the request left; the last time counts, as a request that is signed anew was not taken before."""

    order: OrderRequest
    told: Callable[[OrderSent], None]
    sent: OrderSent | None = None

    def __call__(self, sent_ns: int, sent_mono_ns: int) -> None:
        self.sent = OrderSent(self.order, sent_ns, sent_mono_ns)
        self.told(self.sent)


class OrderDesk:
    """Sends orders to one venue. Any thread may use it."""

    def __init__(self, venue: TradingVenue, gate: OrderGate, *, logs_sent: bool = True) -> None:
        """Without ``logs_sent`` whoever is ``told`` of the sending logs it (`log_sent`), while the answer is awaited."""
        self.venue, self._gate, self._logs_sent = venue, gate, logs_sent

    def look(self, order: OrderRequest) -> None:
        """Raise OrderForbidden if the limits refuse ``order`` now."""
        self._gate.look(order, self.venue.environment)

    def place(self, order: OrderRequest, told: Callable[[OrderSent], None], stop: threading.Event) -> Outcome:
        """Send ``order`` once and say what came of it.

        ``told`` is called right before the request leaves, in the thread that sends it. Raises OrderForbidden when the
        limits refuse the order, and any RetryError when it certainly did not leave.
        """
        departure = _Departure(order, told)
        facts = _facts(order)
        try:
            permit = self._gate.permit(order, self.venue.environment)
        except OrderForbidden as forbidden:
            log.warning("order.forbidden", **facts, limit=forbidden.limit, reason=forbidden.reason)
            raise
        try:
            answer = self.venue.place(permit, departure, stop)
        except RequestRefused as refused:
            self._tell_sent(departure)
            log.warning(
                "order.rejected",
                **facts,
                sent_at=_sent_at(departure.sent),
                round_trip_ms=_since_ms(departure.sent, time.monotonic_ns()),
                code=refused.code,
                message=refused.message,
            )
            return OrderRefused(
                order.venue,
                order.symbol,
                order.client_order_id,
                refused.code,
                refused.message,
                time.time_ns(),
                time.monotonic_ns(),
            )
        except StatusUnknown as unknown:
            self._tell_sent(departure)
            log.warning("order.uncertain", **facts, reason=unknown.reason)
            return OrderUncertain(order.venue, order.symbol, order.client_order_id, unknown.reason, time.monotonic_ns())
        except RetryError as error:
            self._tell_sent(departure)
            log.warning("order.not_sent", **facts, reason=str(error))
            raise
        self._tell_sent(departure)
        log.info(
            "order.answered",
            **facts,
            sent_at=_sent_at(departure.sent),
            round_trip_ms=_since_ms(departure.sent, answer.answered_mono_ns),
            order_id=answer.order_id,
            status=answer.status,
        )
        return answer

    def find(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState | None:
        """Ask what became of an order, a few times with growing pauses; None when the venue could not be asked.

        ``found`` is False only after the venue has said so again and again: its reads may lag.
        """
        state: OrderState | None = None
        for pause_s in (0.0, *_ASK_AGAIN_S):
            if stop.wait(pause_s):
                return state
            try:
                state = self.venue.order(symbol, client_order_id, stop)
            except BinmonError as error:
                log.warning(
                    "order.not_found_out", venue=self.venue.name, client_order_id=client_order_id, reason=str(error)
                )
                continue
            if state.found:
                return state
        return state

    def _tell_sent(self, departure: _Departure) -> None:
        """After the fact: writing a line before the request leaves would delay it."""
        if departure.sent is not None and self._logs_sent:
            log_sent(departure.sent)


def log_sent(sent: OrderSent) -> None:
    """One line of the log (contract: ``order.sent``)."""
    log.info("order.sent", **_facts(sent.order), sent_at=_sent_at(sent))


def _facts(order: OrderRequest) -> dict[str, object]:
    return {
        "venue": order.venue,
        "symbol": order.symbol,
        "client_order_id": order.client_order_id,
        "side": order.side.value,
        "quantity": None if order.quantity is None else float(order.quantity),
    }


def _sent_at(sent: OrderSent | None) -> str | None:
    """RFC 3339 UTC, microseconds."""
    if sent is None:
        return None
    return datetime.fromtimestamp(sent.sent_ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _since_ms(sent: OrderSent | None, until_mono_ns: int) -> float | None:
    return None if sent is None else round((until_mono_ns - sent.sent_mono_ns) / 1e6, 3)
