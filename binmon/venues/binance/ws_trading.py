"""Orders over the WebSocket API; everything else of the private side goes over REST."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable
from decimal import Decimal

from binmon.errors import BinmonError, NotSent, RateLimited, RequestRefused, RetryError, StatusUnknown, VenueUnreachable
from binmon.messages import OrderAnswered, OrderRequest, OrderState, Priority, TradingRules
from binmon.net.dialogue import Dialogue
from binmon.net.ledger import ORDERS, RateLedger
from binmon.venues.base import MalformedFrame
from binmon.venues.binance import orders, ws_api
from binmon.venues.binance.signing import Signer
from binmon.venues.binance.trading import BinanceTrading
from binmon.venues.trading import Account, Departure, Execution, Permit, TradingFees, TradingVenue

_LONGEST_WAIT_S = 5.0  # for request weight: an order that waits longer is not the one that was meant


class BinanceWsTrading(TradingVenue):
    """``place`` posts on a connection of the WebSocket API; the rest is asked of ``rest``."""

    name = orders.VENUE

    def __init__(
        self,
        rest: BinanceTrading,
        dialogue: Dialogue,
        ledger: RateLedger,
        signer: Signer,
        *,
        venue_ms: Callable[[], int],
        resynchronise: Callable[[], object],
    ) -> None:
        self._rest, self._dialogue, self._ledger, self._signer = rest, dialogue, ledger, signer
        self._venue_ms, self._resynchronise = venue_ms, resynchronise
        # an id may be used again, but not while it is under way; another process has other ids
        self._prefix, self._numbers = f"order-{secrets.token_hex(3)}", itertools.count(1)
        self.environment = rest.environment

    def place(self, permit: Permit, departure: Departure, stop: threading.Event) -> OrderAnswered:
        order = permit.order
        orders.order_parameters(order)  # what cannot be meant is refused before it counts
        wait_s = self._ledger.take_order(self._ledger.clock())
        if wait_s > 0:
            raise RateLimited(ORDERS, wait_s)
        try:
            return self._attempt(order, departure, stop)
        except RequestRefused as error:
            if error.code != orders.INVALID_TIMESTAMP:
                raise
            # It was not executed. One more attempt, with the clock measured anew.
            try:
                self._resynchronise()
            except RetryError:
                raise error from None
        return self._attempt(order, departure, stop)

    def _attempt(self, order: OrderRequest, departure: Departure, stop: threading.Event) -> OrderAnswered:
        """One request. Its weight is reserved, and given back when the order succeeds, as the venue takes none then."""
        ledger = self._ledger
        ledger.acquire(ws_api.ORDER_WEIGHT, Priority.ORDER, stop, max_wait_s=_LONGEST_WAIT_S)
        reserved_s, used, is_free = ledger.clock(), None, False
        request_id = f"{self._prefix}-{next(self._numbers)}"
        try:
            payload = ws_api.order_place(request_id, order, self._signer, self._venue_ms())
            answer = self._dialogue.ask(request_id, payload, departure, stop)
            reply = ws_api.read_reply(answer.body)
            used, is_free = reply.used_weight, reply.ok
        except NotSent:
            is_free = True
            raise
        except (VenueUnreachable, MalformedFrame) as error:
            raise StatusUnknown(order.client_order_id, str(error)) from error
        finally:
            ledger.settle(ws_api.ORDER_WEIGHT, used, ledger.clock(), reserved_s=reserved_s, free=is_free)
        return ws_api.order_answered(reply, order, answer.received_ns, answer.received_mono_ns, self._venue_ms())

    # -- over REST ----------------------------------------------------------------------------------------------------

    def rules(self, symbol: str, stop: threading.Event) -> TradingRules:
        return self._rest.rules(symbol, stop)

    def account(self, stop: threading.Event) -> Account:
        return self._rest.account(stop)

    def market_price(self, symbol: str, stop: threading.Event) -> Decimal:
        return self._rest.market_price(symbol, stop)

    def test(self, order: OrderRequest, stop: threading.Event) -> None:
        self._rest.test(order, stop)

    def order(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        return self._rest.order(symbol, client_order_id, stop)

    def open_orders(self, symbol: str, stop: threading.Event) -> list[OrderState]:
        return self._rest.open_orders(symbol, stop)

    def cancel(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        return self._rest.cancel(symbol, client_order_id, stop)

    def executions(self, symbol: str, order_id: int, stop: threading.Event) -> list[Execution]:
        return self._rest.executions(symbol, order_id, stop)

    def fees(self, symbol: str, stop: threading.Event) -> TradingFees:
        return self._rest.fees(symbol, stop)

    def explain(self, error: BinmonError) -> str | None:
        return self._rest.explain(error)
