"""The private side of Bybit spot over REST: orders, account, what the venue asks of an order (reference, 3.8 to 3.14).

Every request is signed with the venue's own time. An order is sent once; only a refusal of its time (10002, -1), which
says that it was not executed, is followed by a second attempt. Its acknowledgement says no more than that it was taken
for processing: what became of it is on the private stream, or is asked for.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

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
from binmon.messages import (
    FINAL_STATUSES,
    OrderAnswered,
    OrderRequest,
    OrderState,
    Priority,
    TradingRules,
)
from binmon.net.ledger import ORDERS
from binmon.net.rest import Letter, RestSession
from binmon.venues.base import MalformedFrame
from binmon.venues.bybit import orders, remedies, rules
from binmon.venues.bybit.endpoints import NAME, environment_of_all
from binmon.venues.bybit.errors import (
    INVALID_SYMBOL,
    NO_PERMISSION,
    NO_SUCH_ORDER,
    Envelope,
    Kind,
    envelope_of,
    failure,
    kind_of,
    result_of,
)
from binmon.venues.bybit.limits import WEIGHT, EndpointLimits
from binmon.venues.bybit.market import CATEGORY, INSTRUMENTS_PATH, get
from binmon.venues.bybit.signing import Signer
from binmon.venues.bybit.wallet import Wallet, balance_of
from binmon.venues.trading import Account, Departure, Execution, Permit, TradingFees, TradingVenue

A = TypeVar("A")
T = TypeVar("T")

RECV_WINDOW_MS = 5000
CREATE, CANCEL = "/v5/order/create", "/v5/order/cancel"
REALTIME, HISTORY = "/v5/order/realtime", "/v5/order/history"
EXECUTIONS, WALLET = "/v5/execution/list", "/v5/account/wallet-balance"
FEE_RATE, KEY_INFO, TICKERS = "/v5/account/fee-rate", "/v5/user/query-api", "/v5/market/tickers"
# an order that leaves much later than it was decided on is another order
_ORDER_WAIT_S = 5.0
_LONGEST_WAIT_S = 10.0  # of a question, for the limit of its endpoint
_MOST_PAGES = 200
_NO_ROUTE = 10017
_REMEMBERED_IDS = 1000
_KEY_INFO_S = 3600.0  # what a key may do is believed for so long
_LOOK_AGAIN_S = (0.0, 0.1, 0.2, 0.4, 0.8)  # after a cancellation, which is carried out later


class _Wallets(msgspec.Struct):
    listed: list[Wallet] = msgspec.field(name="list")


class _Permissions(msgspec.Struct):
    spot: list[str] = msgspec.field(name="Spot", default_factory=list)


class _KeyInfo(msgspec.Struct):
    read_only: int = msgspec.field(name="readOnly", default=0)
    permissions: _Permissions | None = None


class _Rate(msgspec.Struct):
    symbol: str
    taker: str = msgspec.field(name="takerFeeRate")


class _Rates(msgspec.Struct):
    listed: list[_Rate] = msgspec.field(name="list")


class _Ticker(msgspec.Struct):
    symbol: str
    last: str = msgspec.field(name="lastPrice", default="")


class _Tickers(msgspec.Struct):
    listed: list[_Ticker] = msgspec.field(name="list")


_WALLETS = msgspec.json.Decoder(_Wallets)
_KEY = msgspec.json.Decoder(_KeyInfo)
_RATES = msgspec.json.Decoder(_Rates)
_TICKERS = msgspec.json.Decoder(_Tickers)


class BybitTrading(TradingVenue):
    """Bybit spot with a key, on a unified trading account."""

    name = NAME

    def __init__(
        self,
        rest: RestSession,
        signer: Signer,
        limits: EndpointLimits,
        *,
        venue_ms: Callable[[], int],
        resynchronise: Callable[[], object],
        other_urls: Iterable[str] = (),
        named_environment: str = "sandbox",
        recv_window_ms: int = RECV_WINDOW_MS,
    ) -> None:
        """``limits`` are those of the account, shared by all that use its key. ``venue_ms()`` is the venue's clock now,
        ``resynchronise()`` measures it anew and may raise a RetryError. ``other_urls`` are further addresses of the
        account, such as that of its stream: together with that of ``rest`` and the one that the configuration names they
        say which environment this is.
        """
        self._rest, self._signer, self._limits = rest, signer, limits
        self._venue_ms, self._resynchronise, self._recv_window_ms = venue_ms, resynchronise, recv_window_ms
        self._may_trade: tuple[bool, float] | None = None  # and when it was asked; replaced as a whole
        self._id_texts: dict[int, str] = {}  # of orders whose ids are no numbers of ours; replaced as a whole
        self.environment = environment_of_all([rest.base_url, *other_urls], named_environment)

    # -- what needs no key ------------------------------------------------------------------------------------

    def rules(self, symbol: str, stop: threading.Event) -> TradingRules:
        parameters = {"category": CATEGORY, "symbol": symbol}
        page = get(self._rest, INSTRUMENTS_PATH, parameters, Priority.ORDER, stop, rules.LISTED)
        for listed in page.listed:
            if listed.symbol == symbol:
                return self._read(INSTRUMENTS_PATH, rules.trading_rules, listed)
        raise RequestRefused(self._url(INSTRUMENTS_PATH), 200, INVALID_SYMBOL, f"{symbol} is not listed")

    def market_price(self, symbol: str, stop: threading.Event) -> Decimal:
        """The last price. By which the venue judges it does not say; a market order is a limit order at a worse one."""
        parameters = {"category": CATEGORY, "symbol": symbol}
        tickers = get(self._rest, TICKERS, parameters, Priority.ORDER, stop, _TICKERS)
        for ticker in tickers.listed:
            if ticker.symbol == symbol:
                price = self._read(TICKERS, orders.amount_of, ticker.last)
                if price > 0:
                    return price
                raise VenueFailed(self._url(TICKERS), 200, f"{symbol} has no price: it has never traded")
        raise RequestRefused(self._url(TICKERS), 200, INVALID_SYMBOL, f"{symbol} is not listed")

    # -- the account ------------------------------------------------------------------------------------------

    def account(self, stop: threading.Event) -> Account:
        """What is free is the wallet without what orders have locked: nothing is borrowed (reference 3.12)."""
        wallets = self._ask(WALLET, {"accountType": "UNIFIED"}, stop, _WALLETS)
        coins = [coin for wallet in wallets.listed for coin in wallet.coins]
        balances = [self._read(WALLET, balance_of, coin) for coin in coins]
        held = {one.asset: one for one in balances if one.free or one.locked}
        return Account(self._key_may_trade(stop), held)

    def place(self, permit: Permit, departure: Departure, stop: threading.Event) -> OrderAnswered:
        order = permit.order
        parameters = orders.order_parameters(order)
        wait_s = self._limits.take(CREATE)
        if wait_s > 0:
            raise RateLimited(ORDERS, wait_s)
        left = False

        def leaves(sent_ns: int, sent_mono_ns: int) -> None:
            nonlocal left
            departure(sent_ns, sent_mono_ns)
            left = True

        try:
            answer = self._signed("POST", CREATE, parameters, stop, departure=leaves, max_wait_s=_ORDER_WAIT_S)
            answered_ns, answered_mono_ns = time.time_ns(), time.monotonic_ns()
            placed = orders.decoded(orders.PLACED, answer.result, "answer to an order")
            self._remember(placed.order_id)
            return orders.answered(order, placed, answer.time, answered_ns, answered_mono_ns)
        except (NotSent, RateLimited):
            raise
        except RequestRefused as error:
            # 408 says no more than that somebody on the way gave up
            if error.status != 408 and (error.code is None or kind_of(error.code) is not Kind.UNKNOWN):
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
        """Bybit has no such request: the order is judged here, by the symbol's rules and the permissions of the key."""
        orders.order_parameters(order)
        if not self._key_may_trade(stop):
            message = "the key is read-only or lacks the permission to trade spot"
            raise RequestRefused(self._url(KEY_INFO), 200, NO_PERMISSION, message)
        asked, price = self.rules(order.symbol, stop), self.market_price(order.symbol, stop)
        problem = rules.why_not(asked, order.quantity, order.quote_amount, price)
        if problem is not None:
            raise RequestRefused(self._url(CREATE), 200, None, problem)

    def order(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        """Among the open and recent orders first, then in the history, which may lag behind (reference 3.10)."""
        for path in (REALTIME, HISTORY):
            try:
                parameters = {"category": CATEGORY, "orderLinkId": client_order_id}
                page = self._ask(path, parameters, stop, orders.PAGE)
            except RequestRefused as error:
                if error.code not in NO_SUCH_ORDER:
                    raise
                continue
            for one in page.listed:
                if (one.client_order_id, one.symbol) == (client_order_id, symbol):
                    self._remember(one.order_id)
                    return self._read(path, orders.order_state, one)
        return OrderState(NAME, symbol, client_order_id, found=False)

    def open_orders(self, symbol: str, stop: threading.Event) -> list[OrderState]:
        found: list[OrderState] = []
        parameters = {"category": CATEGORY, "symbol": symbol, "openOnly": "0", "limit": "50"}
        for page in self._pages(REALTIME, parameters, stop, orders.PAGE, lambda page: page.next_page):
            found += [self._read(REALTIME, orders.order_state, one) for one in page.listed]
        return found

    def cancel(self, symbol: str, client_order_id: str, stop: threading.Event) -> OrderState:
        """The venue cancels some time after it said that it would: the order as it is then, or a second later."""
        self._wait_turn(CANCEL, stop)
        parameters = {"category": CATEGORY, "symbol": symbol, "orderLinkId": client_order_id}
        self._signed("POST", CANCEL, parameters, stop)
        state = OrderState(NAME, symbol, client_order_id, found=False)
        for pause_s in _LOOK_AGAIN_S:
            if stop.wait(pause_s):
                break
            state = self.order(symbol, client_order_id, stop)
            if state.status in FINAL_STATUSES:
                break
        return state

    def executions(self, symbol: str, order_id: int, stop: threading.Event) -> list[Execution]:
        fills: list[orders.Fill] = []
        named = self._id_texts.get(order_id, str(order_id))
        parameters = {"category": CATEGORY, "orderId": named, "limit": "100"}
        for page in self._pages(EXECUTIONS, parameters, stop, orders.FILL_PAGE, lambda page: page.next_page):
            fills += page.listed
        trades = [one for one in fills if one.symbol == symbol and one.kind == "Trade"]
        # the venue's order is newest first, and none among those of one moment
        found = {one.execution_id: self._read(EXECUTIONS, orders.execution, one) for one in trades}
        return sorted(found.values(), key=lambda one: (one.time_us, one.trade_id))

    def fees(self, symbol: str, stop: threading.Event) -> TradingFees:
        """The taker rate, of whatever the order receives. (An account that pays with MNT shows that in its fills only.)"""
        rate = self.fee_rate(symbol, stop)
        return TradingFees(NAME, symbol, rate, rate)

    def fee_rate(self, symbol: str, stop: threading.Event) -> Decimal:
        """The taker rate of the account as a fraction. Five questions a second are allowed."""
        answer = self._ask(FEE_RATE, {"category": CATEGORY, "symbol": symbol}, stop, _RATES)
        for one in answer.listed:
            if one.symbol == symbol and one.taker:
                return self._read(FEE_RATE, orders.amount_of, one.taker)
        raise RequestRefused(self._url(FEE_RATE), 200, INVALID_SYMBOL, f"{symbol} has no fee rate")

    def explain(self, error: BinmonError) -> str | None:
        """One line about what to do about ``error``, or None; see `remedies`."""
        return remedies.explain(error)

    # -- within -----------------------------------------------------------------------------------------------

    def _remember(self, order_id: str) -> None:
        """Keep the venue's own text of an id that we know by another number."""
        number = orders.order_number(order_id) if order_id else 0
        if order_id and str(number) != order_id:
            kept = list(self._id_texts.items())[-_REMEMBERED_IDS:]
            self._id_texts = {**dict(kept), number: order_id}

    def _key_may_trade(self, stop: threading.Event) -> bool:
        """Whether the key is good for spot orders; asked once an hour."""
        known, now_s = self._may_trade, time.monotonic()
        if known is None or now_s - known[1] > _KEY_INFO_S:
            try:
                info = self._ask(KEY_INFO, {}, stop, _KEY)
            except RequestRefused as error:
                if error.status != 404 and error.code != _NO_ROUTE:
                    raise
                info = _KeyInfo()  # where it cannot be asked, orders will say (10005)
            spot = info.permissions is None or "SpotTrade" in info.permissions.spot
            known = self._may_trade = (info.read_only == 0 and spot, now_s)
        return known[0]

    def _ask(
        self, path: str, parameters: Mapping[str, str], stop: threading.Event, decoder: msgspec.json.Decoder[T]
    ) -> T:
        """The payload of the answer to a signed question."""
        self._wait_turn(path, stop)
        return result_of(self._url(path), self._signed("GET", path, parameters, stop), decoder)

    def _pages(
        self,
        path: str,
        parameters: Mapping[str, str],
        stop: threading.Event,
        decoder: msgspec.json.Decoder[T],
        next_page: Callable[[T], str],
    ) -> Iterable[T]:
        """All pages of a list."""
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = self._ask(path, {**parameters, "cursor": cursor} if cursor else parameters, stop, decoder)
            yield page
            # cursors come back percent-encoded (reference 2.2), and are encoded again on their way
            before, cursor = cursor, urllib.parse.unquote(next_page(page))
            if not cursor or cursor == before:
                return
        raise VenueFailed(self._url(path), 200, f"more than {_MOST_PAGES} pages")

    def _wait_turn(self, path: str, stop: threading.Event) -> None:
        """Wait until the endpoint may be asked. Raises RateLimited."""
        waited_s = 0.0
        while (wait_s := self._limits.take(path)) > 0:
            if waited_s + wait_s > _LONGEST_WAIT_S or stop.wait(wait_s):
                raise RateLimited(path, wait_s)
            waited_s += wait_s

    def _signed(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any],
        stop: threading.Event,
        *,
        departure: Departure | None = None,
        max_wait_s: float | None = None,
    ) -> Envelope:
        """The answer to a signed request with code 0; once more with a fresh clock when the venue did not like its time."""
        url = self._url(path)

        def letter() -> Letter:
            # at the moment of sending: the wait for its turn may have been longer than the window
            if method == "POST":
                body = msgspec.json.encode(parameters)
                return Letter(body=body, headers=self._headers(body.decode()))
            query = urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote, safe="")
            return Letter(query=query, headers=self._headers(query))

        def send() -> Envelope:
            told: list[float | None] = []
            body = self._rest.send(
                method,
                path,
                letter,
                WEIGHT,
                Priority.ORDER,
                stop,
                departure=departure,
                hidden=(self._signer.api_key,),
                max_wait_s=max_wait_s,
                heard=lambda headers: told.append(self._limits.heard(path, headers, self._venue_ms())),
            )
            answer = envelope_of(url, body)
            kind = kind_of(answer.code)
            if kind is Kind.DONE:
                return answer
            error = failure(url, answer, hidden=self._signer.api_key, retry_after_s=told[-1])
            if kind is Kind.LIMITED and isinstance(error, RateLimited):
                self._limits.limited(path, error.retry_after_s)
            raise error

        try:
            return send()
        except RequestRefused as error:
            if error.code is None or kind_of(error.code) is not Kind.TIME:
                raise
            refusal = error
        try:
            self._resynchronise()
        except RetryError:
            raise refusal from None  # there is no better time to try it with
        return send()

    def _headers(self, payload: str) -> dict[str, str]:
        return self._signer.headers(self._venue_ms(), self._recv_window_ms, payload)

    def _url(self, path: str) -> str:
        return self._rest.base_url + path

    def _read(self, path: str, read: Callable[[A], T], told: A) -> T:
        """Part of an answer that was asked for without changing anything: unreadable is as good as none."""
        try:
            return read(told)
        except MalformedFrame as error:
            raise VenueFailed(self._url(path), 200, str(error)) from error
