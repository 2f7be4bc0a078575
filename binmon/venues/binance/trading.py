"""The private side of Binance Spot over REST: orders, account, what the venue asks of an order (reference, 3.4 to 3.11).

Every request is signed with the venue's own time. An order is sent once; only a refusal of its time (-1021), which
says that it was not executed, is followed by a second attempt.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from binmon.errors import (
    BinmonError,
    NotSent,
    RateLimited,
    RequestRefused,
    RetryError,
    StatusUnknown,
    VenueFailed,
    VenueUnreachable,
)
from binmon.messages import Balance, OrderAnswered, OrderRequest, OrderState, Priority, TradingRules
from binmon.net.ledger import ORDERS, RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import MalformedFrame
from binmon.venues.binance import orders, remedies
from binmon.venues.binance.endpoints import environment_of_all
from binmon.venues.binance.limits import take_limits
from binmon.venues.binance.rules import SymbolInfo, trading_rules
from binmon.venues.binance.signing import Signer
from binmon.venues.trading import Account, Departure, Execution, Permit, TradingFees, TradingVenue

T = TypeVar("T")

RECV_WINDOW_MS = 5000  # the venue's advice: or less (reference 2.5)
MOST_RECV_WINDOW_MS = 60_000
# request weights, reference 3.2
_INFO_WEIGHT, _PRICE_WEIGHT, _ACCOUNT_WEIGHT, _ORDER_WEIGHT = 20, 2, 20, 1
_QUERY_WEIGHT, _OPEN_ORDERS_WEIGHT, _TRADES_WEIGHT, _COMMISSION_WEIGHT = 4, 6, 5, 20
_INVALID_SYMBOL = -1121
# an order that leaves much later than it was decided on is another order
_ORDER_WAIT_S = 5.0
_MOST_TRADES = 1000  # in one answer


class _ReferencePrice(msgspec.Struct):
    price: Decimal | None = msgspec.field(name="referencePrice")


class _AveragePrice(msgspec.Struct):
    price: Decimal


class _Balance(msgspec.Struct):
    asset: str
    free: Decimal
    locked: Decimal


class _Account(msgspec.Struct):
    balances: list[_Balance]
    can_trade: bool = msgspec.field(name="canTrade", default=True)


_INFO = msgspec.json.Decoder(SymbolInfo)
_REFERENCE_PRICE = msgspec.json.Decoder(_ReferencePrice)
_AVERAGE_PRICE = msgspec.json.Decoder(_AveragePrice)
_ACCOUNT = msgspec.json.Decoder(_Account)


class BinanceTrading(TradingVenue):
    """Binance Spot with a key."""

    name = orders.VENUE

    def __init__(
        self,
        rest: RestSession,
        ledger: RateLedger,
        signer: Signer,
        *,
        venue_ms: Callable[[], int],
        resynchronise: Callable[[], object],
        other_urls: Iterable[str] = (),
        named_environment: str = "sandbox",
        recv_window_ms: int = RECV_WINDOW_MS,
    ) -> None:
        """``ledger`` is that of ``rest``. ``venue_ms()`` is the venue's clock now, ``resynchronise()`` measures it anew and
        may raise a RetryError. ``other_urls`` are further addresses that orders may take, such as that of the WebSocket
        API: together with that of ``rest`` and the one that the configuration names they say which environment this is.
        ``recv_window_ms`` is how old a request may be when it arrives.
        """
        if not 1 <= recv_window_ms <= MOST_RECV_WINDOW_MS:
            raise ValueError(f"recvWindow must be 1 to {MOST_RECV_WINDOW_MS} ms, not {recv_window_ms}")
        self._rest, self._ledger, self._signer = rest, ledger, signer
        self._venue_ms, self._resynchronise = venue_ms, resynchronise
        self._recv_window_ms = recv_window_ms
        # times in microseconds where the venue can; where it cannot, milliseconds are told by their size
        self._headers = {"X-MBX-APIKEY": signer.api_key, "X-MBX-TIME-UNIT": "MICROSECOND"}
        self._account_works = False
        self.environment = environment_of_all([rest.base_url, *other_urls], named_environment)

    # -- what needs no key ------------------------------------------------------------------------------------

    def rules(self, symbol: str, stop: threading.Event) -> TradingRules:
        path = "/api/v3/exchangeInfo"
        info = self._rest.get_json(path, {"symbol": symbol}, _INFO_WEIGHT, Priority.ORDER, stop, _INFO.decode)
        take_limits(self._ledger, info.rate_limits)
        for listed in info.symbols:
            if listed.symbol == symbol:
                try:
                    return trading_rules(listed)
                except MalformedFrame as error:
                    raise VenueFailed(self._rest.base_url + path, 200, str(error)) from error
        raise RequestRefused(self._rest.base_url + path, 200, _INVALID_SYMBOL, f"{symbol} is not listed")

    def market_price(self, symbol: str, stop: threading.Event) -> Decimal:
        """The reference price where the symbol has one, else the average of five minutes (reference, section 9)."""
        try:
            reference = self._price(
                "/api/v3/referencePrice", symbol, stop, lambda body: _REFERENCE_PRICE.decode(body).price
            )
        except RequestRefused as error:
            if error.code == _INVALID_SYMBOL:
                raise
            reference = None  # -2043: it has none; or a venue that does not know the question
        if reference is not None:
            return reference
        path = "/api/v3/avgPrice"
        try:
            average = self._price(path, symbol, stop, lambda body: _AVERAGE_PRICE.decode(body).price)
        except RequestRefused as error:
            if error.code == _INVALID_SYMBOL:
                raise
            # a venue that speaks less than all of the protocol: the last price is near enough for a size
            path = "/api/v3/ticker/price"
            average = self._price(path, symbol, stop, lambda body: _AVERAGE_PRICE.decode(body).price)
        if average is None:
            raise VenueFailed(self._rest.base_url + path, 200, f"{symbol} has no price: it has never traded")
        return average

    # -- the account ------------------------------------------------------------------------------------------

    def account(self, stop: threading.Event) -> Account:
        path = "/api/v3/account"
        body = self._signed("GET", path, {"omitZeroBalances": "true"}, _ACCOUNT_WEIGHT, stop)
        answer = self._read(path, lambda: orders.decoded(_ACCOUNT, body, "account"))
        held = [one for one in answer.balances if one.free or one.locked]
        return Account(answer.can_trade, {one.asset: Balance(one.asset, one.free, one.locked) for one in held})

    def place(self, permit: Permit, departure: Departure, stop: threading.Event) -> OrderAnswered:
        order = permit.order
        parameters = orders.order_parameters(order)
        wait_s = self._ledger.take_order(self._ledger.clock())
        if wait_s > 0:
            raise RateLimited(ORDERS, wait_s)
        left = False

        def leaves(sent_ns: int, sent_mono_ns: int) -> None:
            nonlocal left
            departure(sent_ns, sent_mono_ns)
            left = True

        try:
            body = self._signed(
                "POST",
                "/api/v3/order",
                parameters,
                _ORDER_WEIGHT,
                stop,
                departure=leaves,
                free=True,
                max_wait_s=_ORDER_WAIT_S,
            )
            return orders.answered(order, body, time.time_ns(), time.monotonic_ns())
        except (NotSent, RateLimited):
            raise
        except RequestRefused as error:
            if not orders.is_uncertain(error.status, error.code):
                raise
            raise StatusUnknown(order.client_order_id, str(error)) from error
        except (VenueUnreachable, VenueFailed, MalformedFrame) as error:
            raise StatusUnknown(order.client_order_id, str(error)) from error
        except BinmonError:
            raise
        except Exception as error:
            if not left:
                raise
            # a fault of ours, but the order is out there
            raise StatusUnknown(order.client_order_id, f"{type(error).__name__} while it was under way") from error

    def test(self, order: OrderRequest, stop: threading.Event) -> None:
        self._signed("POST", "/api/v3/order/test", orders.order_parameters(order), _ORDER_WEIGHT, stop)

    def order(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        path, parameters = "/api/v3/order", {"symbol": symbol, "origClientOrderId": client_order_id}
        try:
            body = self._signed("GET", path, parameters, _QUERY_WEIGHT, stop)
        except RequestRefused as error:
            if error.code != orders.NO_SUCH_ORDER:
                raise
            return orders.no_such_order(symbol, client_order_id)
        return self._read(path, lambda: orders.order_state(symbol, client_order_id, body))

    def open_orders(self, symbol: str, stop: threading.Event) -> list[OrderState]:
        path = "/api/v3/openOrders"
        body = self._signed("GET", path, {"symbol": symbol}, _OPEN_ORDERS_WEIGHT, stop)
        return self._read(path, lambda: orders.order_states(symbol, body))

    def cancel(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        path, parameters = "/api/v3/order", {"symbol": symbol, "origClientOrderId": client_order_id}
        body = self._signed("DELETE", path, parameters, _ORDER_WEIGHT, stop, free=True)
        return self._read(path, lambda: orders.order_state(symbol, client_order_id, body))

    def executions(self, symbol: str, order_id: int, stop: threading.Event) -> list[Execution]:
        path = "/api/v3/myTrades"
        parameters = {"symbol": symbol, "orderId": str(order_id), "limit": str(_MOST_TRADES)}
        body = self._signed("GET", path, parameters, _TRADES_WEIGHT, stop)
        return self._read(path, lambda: orders.executions(body))

    def fees(self, symbol: str, stop: threading.Event) -> TradingFees:
        path = "/api/v3/account/commission"
        body = self._signed("GET", path, {"symbol": symbol}, _COMMISSION_WEIGHT, stop)
        return self._read(path, lambda: orders.fees(symbol, body))

    def explain(self, error: BinmonError) -> str | None:
        """One line about what to do about ``error``, or None; see `remedies`."""
        return remedies.explain(error, account_works=self._account_works)

    # -- within -----------------------------------------------------------------------------------------------

    def _price(
        self, path: str, symbol: str, stop: threading.Event, decode: Callable[[bytes], Decimal | None]
    ) -> Decimal | None:
        """A price, None for null and for what is none."""
        price = self._rest.get_json(path, {"symbol": symbol}, _PRICE_WEIGHT, Priority.ORDER, stop, decode)
        return price if price is not None and price.is_finite() and price > 0 else None

    def _signed(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        weight: int,
        stop: threading.Event,
        *,
        departure: Departure | None = None,
        free: bool = False,
        max_wait_s: float | None = None,
    ) -> bytes:
        """The answer to a signed request; once more with a fresh clock when the venue did not like its time."""

        def query() -> str:
            # at the moment of sending: the wait for weight may have been longer than the window
            timed = {**parameters, "recvWindow": str(self._recv_window_ms), "timestamp": str(self._venue_ms())}
            return self._signer.rest(urllib.parse.urlencode(timed, quote_via=urllib.parse.quote, safe=""))

        def send() -> bytes:
            body = self._rest.send(
                method,
                path,
                query,
                weight,
                Priority.ORDER,
                stop,
                headers=self._headers,
                departure=departure,
                free_on_success=free,
                hidden=(self._signer.api_key,),
                max_wait_s=max_wait_s,
            )
            self._account_works = True
            return body

        try:
            return send()
        except RequestRefused as error:
            if error.code != orders.INVALID_TIMESTAMP:
                raise
            refusal = error
        try:
            self._resynchronise()
        except RetryError:
            raise refusal from None  # there is no better time to try it with
        return send()

    def _read(self, path: str, read: Callable[[], T]) -> T:
        """An answer that was asked for without changing anything: unreadable is as good as none."""
        try:
            return read()
        except MalformedFrame as error:
            raise VenueFailed(self._rest.base_url + path, 200, str(error)) from error
