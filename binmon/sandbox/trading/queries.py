"""Reading the private side: account, orders, trades, limits (reference: Binance Spot, 3.9 to 3.11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..clock import VenueClock, stamp
from ..decimals import format_e8
from ..market import Market
from ..parameters import ApiError
from ..symbols import symbol_info
from . import reports
from .accounts import Account, CommissionRates
from .call import Call
from .filters import MAX_ASSETS
from .orders import AccountOrder, Fill, OrderStore
from .requests import find_market, order_name

_DAY_MS = 86_400_000
_BAD_COMBINATION = ApiError(400, -1128, "Combination of optional parameters invalid.")
_NOT_THERE = ApiError(400, -2013, "Order does not exist.")
_OTHER_ORDER = ApiError(400, -2039, "Client order ID is not correct for this order ID.")
_COMBINATIONS = {
    frozenset(names)
    for names in (
        (), ("orderId",), ("startTime",), ("endTime",), ("fromId",), ("startTime", "endTime"), ("orderId", "fromId"),
    )
}  # fmt: skip
"""What myTrades may be asked for beside the symbol."""
_NO_RATES = {"maker": "0.00000000", "taker": "0.00000000", "buyer": "0.00000000", "seller": "0.00000000"}


class Queries:
    """Handlers of everything that changes nothing. ``read_lag_us`` hides orders and trades that are younger."""

    def __init__(self, market: Market, clock: VenueClock, store: OrderStore) -> None:
        self._market = market
        self._clock = clock
        self._store = store
        self.read_lag_us = 0

    # Orders -----------------------------------------------------------------------------------------------------

    def order(self, call: Call) -> str:
        """GET order."""
        account, parameters = _account(call), call.parameters
        symbol = find_market(self._market, parameters).instrument.symbol
        name = order_name(parameters)
        with account.lock:
            order = find(self._store, account, symbol, name.order_id, name.client_order_id)
            if order is None or not self._is_visible(order):
                raise _NOT_THERE.fresh()
            if name.order_id is not None and name.client_order_id not in (None, *_client_ids(order)):
                raise _OTHER_ORDER.fresh()
            return reports.to_json(reports.order_row(order, call.micro))

    def open_orders(self, call: Call) -> str:
        """GET openOrders."""
        account, parameters = _account(call), call.parameters
        symbol = None
        if parameters.optional_text("symbol") is not None:
            symbol = find_market(self._market, parameters).instrument.symbol
        with account.lock:
            return self._rows(self._store.open_of(account, symbol), call.micro)

    def all_orders(self, call: Call) -> str:
        """GET allOrders."""
        account, parameters = _account(call), call.parameters
        symbol = find_market(self._market, parameters).instrument.symbol
        order_id, limit = parameters.integer("orderId"), parameters.limit(500, 1000)
        start, end = _span(call)
        with account.lock:
            orders = [
                order
                for order in self._store.of(account, symbol)
                if (order_id is None or order.order_id >= order_id)
                and (start is None or order.created_us // 1000 >= start)
                and (end is None or order.created_us // 1000 <= end)
            ]
            first = order_id is not None or start is not None
            return self._rows(orders[:limit] if first else orders[-limit:], call.micro)

    def my_trades(self, call: Call) -> str:
        """GET myTrades."""
        account, parameters = _account(call), call.parameters
        symbol = find_market(self._market, parameters).instrument.symbol
        names = ("orderId", "startTime", "endTime", "fromId")
        if frozenset(name for name in names if parameters.has(name)) not in _COMBINATIONS:
            raise _BAD_COMBINATION.fresh()
        order_id, from_id = parameters.integer("orderId"), parameters.integer("fromId")
        limit = parameters.limit(500, 1000)
        start, end = _span(call)
        with account.lock:
            found: list[tuple[AccountOrder, Fill]] = [
                (order, fill)
                for order in self._store.of(account, symbol)
                if (order_id is None or order.order_id == order_id) and self._is_visible(order)
                for fill in order.fills
                if (from_id is None or fill.trade_id >= from_id)
                and (start is None or fill.time_us // 1000 >= start)
                and (end is None or fill.time_us // 1000 <= end)
            ]
            found.sort(key=lambda pair: pair[1].trade_id)
            first = from_id is not None or start is not None
            chosen = found[:limit] if first else found[-limit:]
            return reports.to_json([reports.trade_row(order, fill, call.micro) for order, fill in chosen])

    def _rows(self, orders: Iterable[AccountOrder], micro: bool) -> str:
        return reports.to_json([reports.order_row(order, micro) for order in orders if self._is_visible(order)])

    def _is_visible(self, order: AccountOrder) -> bool:
        return not self.read_lag_us or order.created_us + self.read_lag_us <= self._clock.now_us()

    # Account ----------------------------------------------------------------------------------------------------

    def account(self, call: Call) -> str:
        """GET account."""
        account = _account(call)
        without_zeros = call.parameters.boolean("omitZeroBalances", False)
        listed: dict[str, None] = {}
        for market in self._market.symbols():
            listed.update({market.instrument.base_asset: None, market.instrument.quote_asset: None})
        with account.lock:
            listed.update(dict.fromkeys(account.wallet.assets()))
            rates = account.commission
            balances = []
            for asset in listed:
                balance = account.wallet.balance(asset)
                if balance.free or balance.locked or not without_zeros:
                    text = {"asset": asset, "free": format_e8(balance.free), "locked": format_e8(balance.locked)}
                    balances.append(text)
            body = {
                "makerCommission": int(rates.maker * 10_000),
                "takerCommission": int(rates.taker * 10_000),
                "buyerCommission": int(rates.buyer * 10_000),
                "sellerCommission": int(rates.seller * 10_000),
                "commissionRates": _rates(rates),
                "canTrade": account.can_trade,
                "canWithdraw": True,
                "canDeposit": True,
                "brokered": False,
                "requireSelfTradePrevention": False,
                "preventSor": False,
                "updateTime": stamp(account.updated_us, call.micro),
                "accountType": "SPOT",
                "balances": balances,
                "permissions": ["SPOT"],
                "uid": account.identifier,
            }
        return reports.to_json(body)

    def commission(self, call: Call) -> str:
        """GET account/commission."""
        account = _account(call)
        symbol = find_market(self._market, call.parameters).instrument.symbol
        body = {
            "symbol": symbol,
            "standardCommission": _rates(account.commission),
            "specialCommission": _NO_RATES,
            "taxCommission": _NO_RATES,
            "discount": _discount(),
        }
        return reports.to_json(body)

    def my_filters(self, call: Call) -> str:
        """GET myFilters."""
        instrument = find_market(self._market, call.parameters).instrument
        assets = [{"filterType": "MAX_ASSET", "asset": asset, "limit": limit} for asset, limit in MAX_ASSETS.items()]
        listed = symbol_info(instrument, "TRADING", False)["filters"]
        return reports.to_json({"exchangeFilters": [], "symbolFilters": listed, "assetFilters": assets})


def commission_of_order(account: Account) -> dict[str, Any]:
    """What order/test answers when asked for the commission."""
    none = {"maker": "0.00000000", "taker": "0.00000000"}
    rates = _rates(account.commission)
    return {
        "standardCommissionForOrder": {"maker": rates["maker"], "taker": rates["taker"]},
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": _discount(),
    }


def find(
    store: OrderStore, account: Account, symbol: str, order_id: int | None, client_order_id: str | None
) -> AccountOrder | None:
    """An account's order, by its id where there is one, else by a client id it has or had."""
    if order_id is not None:
        return store.by_id(account, symbol, order_id)
    return store.by_client_id(account, symbol, client_order_id or "")


def _client_ids(order: AccountOrder) -> tuple[str, str]:
    return order.client_order_id, order.shown_client_order_id


def _account(call: Call) -> Account:
    if call.account is None:
        raise ValueError("a private operation was called without an account")
    return call.account


def _rates(rates: CommissionRates) -> dict[str, str]:
    return {name: f"{getattr(rates, name):.8f}" for name in ("maker", "taker", "buyer", "seller")}


def _discount() -> dict[str, Any]:
    return {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": "BNB",
        "discount": "0.00000000",
    }


def _span(call: Call) -> tuple[int | None, int | None]:
    """``startTime`` and ``endTime`` in milliseconds. Raises -1127 when they are more than a day apart."""
    start, end = call.parameters.moment_ms("startTime"), call.parameters.moment_ms("endTime")
    if start is not None and end is not None and end - start > _DAY_MS:
        raise ApiError(400, -1127, "More than 24 hours between startTime and endTime.")
    return start, end
