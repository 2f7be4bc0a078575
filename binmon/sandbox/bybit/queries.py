"""Signed queries of orders and fills: which are found, in pages (reference: Bybit v5, 3.0, 3.10 and 3.11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from ..clock import VenueClock
from ..trading.accounts import Account, Accounts, ApiKey
from . import reports
from .errors import RetError, wrong
from .orders import BybitOrder, Fill, OrderStore
from .requests import optional, spot_only

_DAY_MS = 86_400_000
_RANGE_MS = 7 * _DAY_MS
_CLOSED_SHOWN = 500


@dataclass(frozen=True)
class Call:
    """One authorized request: the query of a GET or the JSON object of a POST."""

    body: Mapping[str, Any]
    account: Account
    key: ApiKey


class Queries:
    """The queries of all accounts. Safe to use from any thread."""

    def __init__(self, clock: VenueClock, store: OrderStore, accounts: Accounts) -> None:
        self._clock = clock
        self._store = store
        self._accounts = accounts
        self.read_lag_us = 0
        """How long after it was placed an order can be seen."""

    def realtime(self, call: Call) -> dict[str, Any]:
        """GET order/realtime: open orders, or the last closed ones; any order by its id."""
        body, account = call.body, call.account
        spot_only(body)
        open_only = _integer(body, "openOnly", 0, 0, 2)
        with self._accounts.lock:
            if body.get("orderId") or body.get("orderLinkId"):
                orders = self._named(account, body)
            elif open_only == 0:
                orders = self._store.open_of(account, optional(body, "symbol") or None)
            else:
                every = self._store.of(account, optional(body, "symbol") or None)
                orders = [order for order in every if not order.is_open][:_CLOSED_SHOWN]
            return self._page(body, self._seen(orders), reports.order_row, 20, 50)

    def history(self, call: Call) -> dict[str, Any]:
        """GET order/history: closed orders."""
        body = call.body
        spot_only(body)
        start_ms, end_ms = self._range(body)
        with self._accounts.lock:
            if body.get("orderId") or body.get("orderLinkId"):
                orders = self._named(call.account, body)
            else:
                orders = self._store.of(call.account, optional(body, "symbol") or None)
                orders = [one for one in orders if start_ms <= one.created_us // 1000 <= end_ms]
                coin = optional(body, "baseCoin")
                orders = [one for one in orders if coin in ("", one.listing.instrument.base_asset)]
            status = optional(body, "orderStatus")
            closed = [one for one in self._seen(orders) if not one.is_open and status in ("", one.status)]
            return self._page(body, closed, lambda one: reports.order_row(one, history=True), 20, 50)

    def executions(self, call: Call) -> dict[str, Any]:
        """GET execution/list: fills, the newest first."""
        body = call.body
        spot_only(body)
        start_ms, end_ms = self._range(body)
        named = bool(body.get("orderId") or body.get("orderLinkId"))
        with self._accounts.lock:
            if named:
                orders = self._named(call.account, body)
            else:
                orders = self._store.of(call.account, optional(body, "symbol") or None)
            fills = [(order, fill) for order in self._seen(orders) for fill in order.fills]
            if not named:
                fills = [pair for pair in fills if start_ms <= pair[1].time_us // 1000 <= end_ms]
            fills.sort(key=lambda pair: (pair[1].time_us, pair[1].execution_id), reverse=True)
            return self._page(body, fills, lambda pair: reports.execution_row(*pair), 50, 100)

    def _named(self, account: Account, body: Mapping[str, Any]) -> list[BybitOrder]:
        order = self._store.find(account, optional(body, "orderId"), optional(body, "orderLinkId"))
        return [order] if order is not None else []

    def _seen(self, orders: list[BybitOrder]) -> list[BybitOrder]:
        """Orders that queries know of already."""
        if not self.read_lag_us:
            return orders
        latest_us = self._clock.now_us() - self.read_lag_us
        return [order for order in orders if order.created_us <= latest_us]

    def _range(self, body: Mapping[str, Any]) -> tuple[int, int]:
        """Start and end in ms: seven days at most, up to now without times, from or to a single bound (3.10)."""
        now_ms = self._clock.now_ms()
        start, end = _integer(body, "startTime", -1, 0, 2**62), _integer(body, "endTime", -1, 0, 2**62)
        if start < 0:
            end = end if end >= 0 else now_ms
            return end - _RANGE_MS, end
        if end < 0:
            return start, start + _RANGE_MS
        if end - start > _RANGE_MS:
            raise RetError(10001, "The time range between startTime and endTime cannot exceed 7 days.")
        return start, end

    @staticmethod
    def _page(
        body: Mapping[str, Any], rows: list[Any], printer: Callable[[Any], dict[str, Any]], default: int, most: int
    ) -> dict[str, Any]:
        """One page of rows; the cursor names the last row of the page before, and comes percent-encoded."""
        limit = _integer(body, "limit", default, 1, most)
        cursor = unquote(optional(body, "cursor"))
        if cursor:
            after = [index for index, row in enumerate(rows) if _mark(row) == cursor]
            if not after:
                raise RetError(10001, "cursor is invalid")
            rows = rows[after[0] + 1 :]
        page = rows[:limit]
        following = quote(_mark(page[-1]), safe="") if len(rows) > limit else ""
        return {"category": "spot", "list": [printer(row) for row in page], "nextPageCursor": following}


def _mark(row: BybitOrder | tuple[BybitOrder, Fill]) -> str:
    """What a cursor names a row by."""
    if isinstance(row, tuple):
        return f"{row[0].order_id}:{row[1].execution_id},{row[1].time_us // 1000}"
    return f"{row.order_id}:{row.created_us // 1000},{row.created_us // 1000}"


def _integer(body: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    """An integer of a query. Raises 10001 when it is none, or out of range."""
    value = body.get(name)
    if value in (None, ""):
        return default
    if not str(value).isdigit() or not least <= int(str(value)) <= most:
        raise wrong(name)
    return int(str(value))
