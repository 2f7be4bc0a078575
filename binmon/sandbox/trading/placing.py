"""Handlers of everything that changes orders: place, test, cancel, replace, amend (reference: Binance Spot, 3.6 to 3.12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..clock import VenueClock, stamp
from ..market import Market
from ..parameters import ApiError, Parameters
from . import reports, timing
from .accounts import Account
from .call import Call
from .counts import OrderCounts
from .execution import UNKNOWN_ORDER, Execution
from .filters import rules_of
from .orders import OrderStore
from .queries import commission_of_order, find
from .requests import OrderName, OrderRequest, client_id, find_market, new_client_order_id, order_name, read_order

_WRONG_PAIR = ApiError(400, -2011, "Cancel order is invalid. Check origClOrdId and orderId.")
_RESTRICTED = ApiError(400, -2011, "Order was not canceled due to cancel restrictions.")
_NOT_ALLOWED = ApiError(400, -2011, "This account may not place or cancel orders.")
_RESTRICTIONS = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}


class Placing:
    """The handlers, and the list of orders that were refused."""

    def __init__(
        self,
        market: Market,
        clock: VenueClock,
        store: OrderStore,
        execution: Execution,
        counts: Callable[[Account], OrderCounts],
    ) -> None:
        self._market = market
        self._clock = clock
        self._store = store
        self._execution = execution
        self._counts = counts
        self.refused: list[dict[str, Any]] = []
        """Orders that were refused, as ``GET /sandbox/orders`` shows them."""

    def place(self, call: Call) -> str:
        """POST order."""
        return reports.to_json(self._place(call, self._clock.now_us()))

    def test(self, call: Call) -> str:
        """POST order/test: all but the matching engine."""
        account = _account(call)
        with_commission = call.parameters.boolean("computeCommissionRates", False)
        request = read_order(call.parameters, self._market)
        self._execution.check(account, request, self._clock.now_us())
        return reports.to_json(commission_of_order(account) if with_commission else {})

    def cancel(self, call: Call) -> str:
        """DELETE order."""
        parameters = call.parameters
        name, new_id = order_name(parameters), client_id(parameters, "newClientOrderId")
        return reports.to_json(self._cancel(call, name, new_id, _restriction(parameters)))

    def cancel_all(self, call: Call) -> str:
        """DELETE openOrders: all of them carry the same new client id."""
        account = _account(call)
        market = find_market(self._market, call.parameters)
        new_id = new_client_order_id()
        with market.lock, account.lock:
            now_us = self._now_in_time(call)
            orders = self._store.open_of(account, market.instrument.symbol)
            if not orders:
                raise UNKNOWN_ORDER.fresh()
            if not account.can_trade:
                raise _NOT_ALLOWED.fresh()
            answers = []
            for order in orders:
                self._execution.cancel(order, new_id, now_us)
                answers.append(reports.cancellation(order, call.micro))
        return reports.to_json(answers)

    def replace(self, call: Call) -> str:
        """POST order/cancelReplace."""
        parameters, account = call.parameters, _account(call)
        requested_us = self._clock.now_us()
        name = order_name(parameters, "cancelOrderId", "cancelOrigClientOrderId")
        new_id, restriction = client_id(parameters, "cancelNewClientOrderId"), _restriction(parameters)
        mode = _word(parameters, "cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE"))
        limits = _word(parameters, "orderRateLimitExceededMode", ("DO_NOTHING", "CANCEL_ONLY"), "DO_NOTHING")
        request = read_order(parameters, self._market)
        outcome = _Replacement()
        with request.market.lock, account.lock:
            now_us = self._now_in_time(call)
            self._execution.check(account, request, now_us)
            full: ApiError | None = None
            try:
                self._counts(account).check(now_us)
            except ApiError as error:
                if limits == "DO_NOTHING":
                    raise
                full = error
            try:
                outcome.cancelled(self._cancel(call, name, new_id, restriction))
            except ApiError as error:
                outcome.cancel_failed(error)
                if mode == "STOP_ON_FAILURE":
                    # Counted all the same (reference: 4.1).
                    self._counts(account).accepted(now_us)
                    raise outcome.error() from error
            if full is not None:
                outcome.order_failed(full)
                raise outcome.error()
            try:
                outcome.placed(self._place(call, requested_us, request))
            except ApiError as error:
                outcome.order_failed(error)
        if outcome.is_good:
            return outcome.text()
        raise outcome.error()

    def amend(self, call: Call) -> str:
        """PUT order/amend/keepPriority: the quantity only ever gets less."""
        parameters, account = call.parameters, _account(call)
        name, new_id = order_name(parameters), client_id(parameters, "newClientOrderId")
        parameters.text("newQty")
        quantity = parameters.decimal_e8("newQty") or 0
        market = find_market(self._market, parameters)
        instrument, rules = market.instrument, rules_of(market.instrument)
        if quantity % rules.step or quantity < rules.min_quantity:
            raise ApiError(400, -1013, "Filter failure: LOT_SIZE")
        lots = quantity // instrument.step_e8
        with market.lock, account.lock:
            now_us = self._now_in_time(call)
            order = find(self._store, account, instrument.symbol, name.order_id, name.client_order_id)
            if order is None or not order.is_open:
                raise _amend_refused("Unknown order sent.")
            if lots > order.lots:
                raise _amend_refused("Order amend (quantity increase) is not supported.")
            if lots == order.lots:
                raise _amend_refused("The requested action would change no state; rejecting")
            if lots <= order.executed:
                raise ApiError(400, -1013, "Filter failure: LOT_SIZE")
            if order.amends >= rules.max_amends:
                raise _amend_refused("Filter failure: MAX_NUM_ORDER_AMENDS")
            if new_id not in (None, order.client_order_id) and self._store.is_client_id_open(
                account, instrument.symbol, new_id or ""
            ):
                raise _amend_refused("Duplicate order sent.")
            before = order.shown_client_order_id
            execution_id = self._execution.reduce(order, lots, new_id or new_client_order_id(), now_us)
            return reports.to_json(
                {
                    "transactTime": stamp(now_us, call.micro),
                    "executionId": execution_id,
                    "amendedOrder": reports.amended(order, before, call.micro),
                }
            )

    def _place(self, call: Call, requested_us: int, request: OrderRequest | None = None) -> dict[str, Any]:
        account = _account(call)
        try:
            request = request or read_order(call.parameters, self._market)
            return self._execution.place(account, request, _timing(call), requested_us, call.micro)
        except ApiError as error:
            self._note_refused(account, call.parameters, request, requested_us, error)
            raise

    def _note_refused(
        self, account: Account, parameters: Parameters, request: OrderRequest | None, requested_us: int, error: ApiError
    ) -> None:
        given = request.client_order_id if request is not None else parameters.text_or_empty("newClientOrderId")
        row = {
            "account": account.name,
            "clientOrderId": given,
            "orderId": 0,
            "symbol": parameters.text_or_empty("symbol"),
            "side": parameters.text_or_empty("side"),
            "status": "REJECTED",
            "executedQty": "0.00000000",
            "cummulativeQuoteQty": "0.00000000",
            "time_us": 0,
            "reports": 0,
            "requested_us": requested_us,
            "code": error.code,
        }
        with account.lock:
            self.refused.append(row)

    def _cancel(self, call: Call, name: OrderName, new_id: str | None, restriction: str | None) -> dict[str, Any]:
        account = _account(call)
        market = find_market(self._market, call.parameters)
        with market.lock, account.lock:
            now_us = self._now_in_time(call)
            order = find(self._store, account, market.instrument.symbol, name.order_id, name.client_order_id)
            if order is None:
                raise UNKNOWN_ORDER.fresh()
            if name.order_id is not None and name.client_order_id not in (None, order.shown_client_order_id):
                raise _WRONG_PAIR.fresh()
            if not account.can_trade:
                raise _NOT_ALLOWED.fresh()
            if order.is_open and restriction is not None and order.status.value != restriction:
                raise _RESTRICTED.fresh()
            self._execution.cancel(order, new_id or new_client_order_id(), now_us)
            return reports.cancellation(order, call.micro)

    def _now_in_time(self, call: Call) -> int:
        """The moment a request reaches the matching engine. Raises -1021 when that has become too late."""
        now_us, made = self._clock.now_us(), _timing(call)
        if made is not None:
            timing.check_still_valid(made, now_us)
        return now_us


class _Replacement:
    """The two halves of a cancelReplace."""

    def __init__(self) -> None:
        self._cancel, self._order = "NOT_ATTEMPTED", "NOT_ATTEMPTED"
        self._cancel_text = self._order_text = "null"

    def cancelled(self, answer: dict[str, Any]) -> None:
        self._cancel, self._cancel_text = "SUCCESS", reports.to_json(answer)

    def cancel_failed(self, error: ApiError) -> None:
        self._cancel, self._cancel_text = "FAILURE", error.body()

    def placed(self, answer: dict[str, Any]) -> None:
        self._order, self._order_text = "SUCCESS", reports.to_json(answer)

    def order_failed(self, error: ApiError) -> None:
        self._order, self._order_text = "FAILURE", error.body()

    @property
    def is_good(self) -> bool:
        return self._cancel == self._order == "SUCCESS"

    def text(self) -> str:
        return (
            f'{{"cancelResult":"{self._cancel}","newOrderResult":"{self._order}",'
            f'"cancelResponse":{self._cancel_text},"newOrderResponse":{self._order_text}}}'
        )

    def error(self) -> ApiError:
        if "SUCCESS" in (self._cancel, self._order):
            return ApiError(409, -2021, "Order cancel-replace partially failed.", self.text())
        return ApiError(400, -2022, "Order cancel-replace failed.", self.text())


def _amend_refused(text: str) -> ApiError:
    return ApiError(400, -2038, text)


def _account(call: Call) -> Account:
    if call.account is None:
        raise ValueError("a private operation was called without an account")
    return call.account


def _timing(call: Call) -> timing.Timing | None:
    return timing.read(call.parameters) if call.parameters.has("timestamp") else None


def _restriction(parameters: Parameters) -> str | None:
    value = parameters.optional_text("cancelRestrictions")
    if value is None:
        return None
    if value not in _RESTRICTIONS:
        raise ApiError(400, -1145, "Invalid cancelRestrictions")
    return _RESTRICTIONS[value]


def _word(parameters: Parameters, name: str, words: tuple[str, ...], default: str | None = None) -> str:
    value = parameters.text(name) if default is None else parameters.optional_text(name) or default
    if value not in words:
        raise ApiError(400, -1130, f"Data sent for parameter '{name}' is not valid.")
    return value
