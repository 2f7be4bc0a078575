"""Everything a signed request can ask for, apart from HTTP and WebSocket: the table, and who may use it.

A server reads a request, lets :meth:`PrivateSide.authorize` decide whether it may pass, makes a :class:`Call` of it
and runs the :class:`Operation`. Weights and parameters: reference, Binance Spot, 3.2 and 3.6 to 3.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..clock import VenueClock
from ..decimals import format_e8
from ..market import Market, UnknownSymbol
from ..parameters import ApiError, Parameters, missing
from ..symbols import ORDERS_PER_10S, ORDERS_PER_DAY
from . import reports, signatures, timing
from .accounts import Account, Accounts, ApiKey
from .call import Call
from .counts import OrderCounts
from .execution import Execution
from .orders import OrderStore
from .placing import Placing
from .queries import Queries
from .requests import ORDER_PARAMETERS, check_mandatory

SIGNED = ("timestamp", "recvWindow", "signature")
"""Parameters that every signed request may carry; they are part of each operation's ``known``."""

_BAD_KEY_FORMAT = ApiError(401, -2014, "API-key format invalid.")
_BAD_KEY = ApiError(401, -2015, "Invalid API-key, IP, or permissions for action.")
_BAD_SIGNATURE = ApiError(400, -1022, "Signature for this request is not valid.")


Handler = Callable[[Call], str]
"""Answers a call with JSON text. Raises :class:`~binmon.sandbox.parameters.ApiError`."""
Weight = Callable[[Parameters], int]
Names = tuple[str, ...]


def _nothing(parameters: Parameters) -> None:
    """No parameter is mandatory because of others."""


@dataclass(frozen=True)
class Operation:
    """One thing to ask for."""

    rest: tuple[str, str] | None
    """HTTP method and path; ``None`` when REST does not have it."""
    method: str | None
    """Method of the WebSocket API; ``None`` when it does not have it."""
    security: str
    """``NONE``, ``TRADE``, ``USER_DATA`` or ``USER_STREAM``."""
    weight: Weight
    free_on_success: bool
    """Costs its weight only when it fails."""
    is_order: bool
    """Places an order: the answer shows the unfilled order counts."""
    known: Names
    """Parameters it reads, :data:`SIGNED` among them. The WebSocket API adds its own, such as ``apiKey``."""
    mandatory: Names
    handler: Handler
    also_mandatory: Callable[[Parameters], None] = _nothing
    """Refuses a request without the parameters that its other parameters make mandatory."""

    def run(self, call: Call, also_known: Iterable[str] = ()) -> str:
        """Check the parameters' names and answer. Raises :class:`~binmon.sandbox.parameters.ApiError`.

        The order is that of the reference (13, item 5): what is missing, what was not asked for, wrong values.
        """
        for name in self.mandatory:
            call.parameters.text(name)
        self.also_mandatory(call.parameters)
        call.parameters.check_known((*self.known, *also_known))
        return self.handler(call)


def _constant(weight: int) -> Weight:
    return lambda _: weight


def _test_weight(parameters: Parameters) -> int:
    try:
        return 20 if parameters.boolean("computeCommissionRates", False) else 1
    except ApiError:
        return 1


def _open_weight(parameters: Parameters) -> int:
    return 6 if parameters.has("symbol") else 80


def _trades_weight(parameters: Parameters) -> int:
    return 5 if parameters.has("orderId") else 20


class PrivateSide:
    """Accounts and orders of a running market. Safe to use from any thread.

    ``orders_per_10s`` and ``orders_per_day`` are the limits of the unfilled order counts.
    """

    def __init__(
        self,
        market: Market,
        clock: VenueClock,
        orders_per_10s: int = ORDERS_PER_10S,
        orders_per_day: int = ORDERS_PER_DAY,
    ) -> None:
        self._market = market
        self._clock = clock
        self._limits = (orders_per_10s, orders_per_day)
        self._counts: dict[int, OrderCounts] = {}
        self._store = OrderStore()
        self.accounts = Accounts()
        self._execution = Execution(self.accounts, clock, self._store, self._counts_of)
        self._placing = Placing(market, clock, self._store, self._execution, self._counts_of)
        self._queries = Queries(market, clock, self._store)
        self.operations: list[Operation] = self._table()

    def set_read_lag(self, seconds: float) -> None:
        """Let queries see orders and their trades only some seconds after they were placed."""
        self._queries.read_lag_us = round(seconds * 1_000_000)

    def set_orders_limit(self, orders_per_10s: int, orders_per_day: int) -> None:
        """Set the limits of the unfilled order counts; all counts start anew."""
        with self.accounts.lock:
            self._limits = (orders_per_10s, orders_per_day)
            self._counts.clear()

    def authorize(
        self, key: str | None, payload: bytes, signature: str | None, parameters: Parameters, security: str
    ) -> tuple[Account, ApiKey]:
        """Whose request this is.

        ``payload`` is what had to be signed. Raises :class:`~binmon.sandbox.parameters.ApiError`: -2014 without a key,
        -2015 for an unknown or disabled one or one that may not do this (401 both), -1102 when ``timestamp`` or
        ``signature`` is missing, -1021 for the time, -1022 for the signature (reference: Binance Spot, 13, item 4).
        """
        if not key:
            raise _BAD_KEY_FORMAT.fresh()
        found = self.accounts.by_key(key)
        if found is None or not found[1].enabled or (security == "TRADE" and not found[1].can_trade):
            raise _BAD_KEY.fresh()
        self.check_timing(parameters)
        if not signature:
            raise missing("signature")
        if not signatures.verify(found[1], payload, signature):
            raise _BAD_SIGNATURE.fresh()
        return found

    def check_timing(self, parameters: Parameters) -> None:
        """Refuse a request that comes too late or from the future (-1021) or does not say when it was made (-1102)."""
        timing.check_arrival(timing.read(parameters), self._clock.now_us())

    def order_counts(self, account: Account) -> list[dict[str, Any]]:
        """Unfilled orders of an account, as ``rateLimits`` entries of type ORDERS."""
        with account.lock:
            return self._counts_of(account).entries(self._clock.now_us())

    def reset(self) -> None:
        """Wipe orders, ids and balances like the monthly testnet reset; accounts and keys stay.

        Orders that still rest leave their books; nobody is told anything.
        """
        with self.accounts.lock:
            symbols = self._store.open_symbols()
        for symbol in symbols:
            try:
                market = self._market.symbol(symbol)
            except UnknownSymbol:
                continue  # Delisted meanwhile: its orders are gone.
            with market.lock, self.accounts.lock:
                for order in self._store.open_on(symbol):
                    market.engine.cancel(order.order_id)
                self._store.forget(symbol)
                market.settle(self._clock.now_us())
        with self.accounts.lock:
            self._store.clear()
            self._placing.refused.clear()
            self._execution.reset()
            self._counts.clear()
            for account in self.accounts.all():
                account.wallet.reset()
                account.updated_us = 0

    def ledger(self) -> list[dict[str, Any]]:
        """Every order that was ever accepted or refused, by time of arrival, for ``GET /sandbox/orders``.

        A request that was no well-formed order, or not signed well, is not among them.
        """
        with self.accounts.lock:
            rows = [reports.ledger_row(order) for order in self._store.all()] + list(self._placing.refused)
        return sorted(rows, key=lambda row: row["requested_us"])

    def balances(self) -> list[dict[str, Any]]:
        """All money of all accounts, for ``GET /sandbox/balances``; assets that nobody has touched are left out."""
        with self.accounts.lock:
            return [
                {
                    "account": account.name,
                    "asset": asset,
                    "free": format_e8(account.wallet.balance(asset).free),
                    "locked": format_e8(account.wallet.balance(asset).locked),
                }
                for account in self.accounts.all()
                for asset in account.wallet.assets()
            ]

    def _counts_of(self, account: Account) -> OrderCounts:
        counts = self._counts.get(account.identifier)
        if counts is None:
            counts = self._counts[account.identifier] = OrderCounts(*self._limits)
        return counts

    def _rate_limit(self, call: Call) -> str:
        assert call.account is not None
        return reports.to_json(self.order_counts(call.account))

    def _table(self) -> list[Operation]:
        placing, queries = self._placing, self._queries
        which = ("symbol", "orderId", "origClientOrderId")
        span = ("startTime", "endTime", "limit")
        replaced = (
            "cancelReplaceMode", "cancelOrderId", "cancelOrigClientOrderId", "cancelNewClientOrderId",
            "cancelRestrictions", "orderRateLimitExceededMode",
        )  # fmt: skip
        one, new = _constant(1), ("symbol", "side", "type")

        def change(
            rest: tuple[str, str], method: str, handler: Handler, known: Names, mandatory: Names, is_order: bool = False
        ) -> Operation:
            also = check_mandatory if is_order else _nothing
            return Operation(rest, method, "TRADE", one, True, is_order, (*known, *SIGNED), mandatory, handler, also)

        def query(
            path: str, method: str, handler: Handler, weight: Weight, known: Names, mandatory: Names = ("symbol",)
        ) -> Operation:
            rest = ("GET", f"/api/v3/{path}")
            return Operation(rest, method, "USER_DATA", weight, False, False, (*known, *SIGNED), mandatory, handler)

        order, open_orders = "/api/v3/order", "/api/v3/openOrders"
        return [
            change(("POST", order), "order.place", placing.place, ORDER_PARAMETERS, new, True),
            Operation(
                ("POST", f"{order}/test"),
                "order.test",
                "TRADE",
                _test_weight,
                False,
                False,
                (*ORDER_PARAMETERS, "computeCommissionRates", *SIGNED),
                new,
                placing.test,
                check_mandatory,
            ),
            change(
                ("DELETE", order),
                "order.cancel",
                placing.cancel,
                (*which, "newClientOrderId", "cancelRestrictions"),
                ("symbol",),
            ),
            change(("DELETE", open_orders), "openOrders.cancelAll", placing.cancel_all, ("symbol",), ("symbol",)),
            change(
                ("POST", f"{order}/cancelReplace"),
                "order.cancelReplace",
                placing.replace,
                (*ORDER_PARAMETERS, *replaced),
                (*new, "cancelReplaceMode"),
                True,
            ),
            Operation(
                ("PUT", f"{order}/amend/keepPriority"),
                "order.amend.keepPriority",
                "TRADE",
                _constant(4),
                False,
                False,
                (*which, "newClientOrderId", "newQty", *SIGNED),
                ("symbol", "newQty"),
                placing.amend,
            ),
            query("order", "order.status", queries.order, _constant(4), which),
            query("openOrders", "openOrders.status", queries.open_orders, _open_weight, ("symbol",), ()),
            query("allOrders", "allOrders", queries.all_orders, _constant(20), ("symbol", "orderId", *span)),
            query("account", "account.status", queries.account, _constant(20), ("omitZeroBalances",), ()),
            query("account/commission", "account.commission", queries.commission, _constant(20), ("symbol",)),
            query("myTrades", "myTrades", queries.my_trades, _trades_weight, ("symbol", "orderId", "fromId", *span)),
            query("rateLimit/order", "account.rateLimits.orders", self._rate_limit, _constant(40), (), ()),
            query("myFilters", "myFilters", queries.my_filters, _constant(40), ("symbol",)),
        ]
