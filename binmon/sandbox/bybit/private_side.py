"""Accounts and orders of the Bybit market, and the signed requests about them (reference: Bybit v5, 3.8 to 3.14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..clock import VenueClock
from ..market import Market, UnknownSymbol
from ..trading.accounts import Accounts
from . import money, reports
from .errors import RetError, wrong
from .execution import Execution
from .feed import Feed
from .orders import BybitOrder, OrderStore
from .queries import Call, Queries
from .requests import optional, read_order, required, spot_only

_DOLLARS = ("USDT", "USDC", "USD", "FDUSD", "BUSD", "TUSD")


@dataclass(frozen=True)
class Operation:
    """One thing to ask for."""

    verb: str
    path: str
    name: str | None
    """What the order-entry websocket and the faults of orders call it."""
    per_second: int
    """Requests of an account in a second (6.1)."""
    needs_trade: bool
    handler: Callable[[Call], dict[str, Any]]
    """Gives the ``result``. Raises :class:`.errors.RetError`."""

    @property
    def is_order(self) -> bool:
        """Whether it places an order."""
        return self.name == "order.create"


class PrivateSide:
    """Everything behind a key. Safe to use from any thread."""

    def __init__(self, market: Market, feed: Feed, clock: VenueClock) -> None:
        self._market = market
        self._feed = feed
        self._clock = clock
        self._store = OrderStore()
        self._refused: list[dict[str, Any]] = []
        self.accounts = Accounts()
        self._queries = Queries(clock, self._store, self.accounts)
        self.execution = Execution(self.accounts, clock, self._store, feed.listing, self._dollars)
        self.operations: list[Operation] = [
            Operation("POST", "/v5/order/create", "order.create", 20, True, self._create),
            Operation("POST", "/v5/order/cancel", "order.cancel", 20, True, self._cancel),
            Operation("POST", "/v5/order/cancel-all", "order.cancel-all", 20, True, self._cancel_all),
            Operation("GET", "/v5/order/realtime", None, 50, False, self._queries.realtime),
            Operation("GET", "/v5/order/history", None, 50, False, self._queries.history),
            Operation("GET", "/v5/order/spot-borrow-check", None, 50, False, self._borrow_check),
            Operation("GET", "/v5/execution/list", None, 50, False, self._queries.executions),
            Operation("GET", "/v5/account/wallet-balance", None, 50, False, self._wallet),
            Operation("GET", "/v5/account/fee-rate", None, 5, False, self._fee_rate),
            Operation("GET", "/v5/account/info", None, 50, False, self._info),
            Operation("GET", "/v5/account/instruments-info", None, 10, False, self._instruments),
            Operation("GET", "/v5/user/query-api", None, 10, False, self._key_info),
        ]

    def set_read_lag(self, seconds: float) -> None:
        """Let queries of orders and fills see orders only some seconds after they were placed."""
        self._queries.read_lag_us = round(seconds * 1_000_000)

    def reset(self) -> None:
        """Wipe orders and balances; accounts and keys stay, and nobody is told anything."""
        with self.accounts.lock:
            resting = {order.symbol: order.market for order in self._store.open_on(None)}
        for symbol, market in resting.items():
            with market.lock, self.accounts.lock:
                for order in self._store.open_on(symbol):
                    market.engine.cancel(order.engine_id)
                self._store.clear(symbol)
                market.settle(self._clock.now_us())
        with self.accounts.lock:
            self._store.clear()
            self._refused.clear()
            for account in self.accounts.all():
                account.wallet.reset()
                account.updated_us = 0

    def ledger(self) -> list[dict[str, Any]]:
        """Every order that was ever accepted or refused, by time of arrival, for ``GET /sandbox/orders``."""
        with self.accounts.lock:
            rows = [reports.ledger_row(order) for order in self._store.all()] + list(self._refused)
        return sorted(rows, key=lambda row: row["requested_us"])

    def balances(self) -> list[dict[str, Any]]:
        """All money of all accounts, for ``GET /sandbox/balances``; coins that nobody has touched are left out."""
        with self.accounts.lock:
            return [
                {
                    "account": account.name,
                    "asset": coin,
                    "free": money.text(account.wallet.balance(coin).free),
                    "locked": money.text(account.wallet.balance(coin).locked),
                }
                for account in self.accounts.all()
                for coin in account.wallet.assets()
            ]

    # Orders -----------------------------------------------------------------------------------------------------

    def _create(self, call: Call) -> dict[str, Any]:
        requested_us = self._clock.now_us()
        try:
            request = read_order(call.body, self._market, self._feed.listing)
            order = self.execution.place(call.account, request, requested_us)
        except RetError as error:
            self._note_refused(call, requested_us, error)
            raise
        return _names(order)

    def _note_refused(self, call: Call, requested_us: int, error: RetError) -> None:
        row = {
            "account": call.account.name,
            **{name: str(call.body.get(name, "")) for name in ("orderLinkId", "symbol", "side")},
            "orderId": "",
            "orderStatus": "Rejected",
            "cumExecQty": "0",
            "cumExecValue": "0",
            "cumFeeDetail": {},
            "time_us": 0,
            "pushes": 0,
            "requested_us": requested_us,
            "retCode": error.code,
            "fills": [],
        }
        with self.accounts.lock:
            self._refused.append(row)

    def _cancel(self, call: Call) -> dict[str, Any]:
        spot_only(call.body)
        symbol = required(call.body, "symbol")
        order_id, link_id = optional(call.body, "orderId"), optional(call.body, "orderLinkId")
        if not order_id and not link_id:
            raise wrong("orderId and orderLinkId")
        with self.accounts.lock:
            order = self._store.find(call.account, order_id, link_id)
        if order is None or order.symbol != symbol:
            raise RetError(170213, "Order does not exist.")
        return _names(self.execution.cancel(call.account, order_id, link_id))

    def _cancel_all(self, call: Call) -> dict[str, Any]:
        spot_only(call.body)
        symbol = optional(call.body, "symbol") or None
        with self.accounts.lock:
            orders = self._store.open_of(call.account, symbol)
        gone = []
        for order in orders:
            try:
                gone.append(_names(self.execution.cancel(call.account, str(order.order_id), None)))
            except RetError:
                continue  # It was filled meanwhile.
        return {"list": gone, "success": "1"}

    # The account ------------------------------------------------------------------------------------------------

    def _wallet(self, call: Call) -> dict[str, Any]:
        if required(call.body, "accountType") != "UNIFIED":
            raise RetError(10001, "accountType only support UNIFIED.")
        account, named = call.account, optional(call.body, "coin")
        dollars = self._dollars()
        with account.lock:
            if named:
                coins = named.split(",")
            else:
                for tape in self._feed.tapes():  # what the account was granted counts from the beginning
                    account.wallet.balance(tape.listing.instrument.base_asset)
                    account.wallet.balance(tape.listing.instrument.quote_asset)
                balances = ((coin, account.wallet.balance(coin)) for coin in account.wallet.assets())
                coins = [coin for coin, balance in balances if balance.free or balance.locked]
            return {"list": [reports.wallet_row(account, coins, dollars)]}

    def _fee_rate(self, call: Call) -> dict[str, Any]:
        spot_only(call.body)
        wanted = optional(call.body, "symbol")
        names = [wanted] if wanted else [one.instrument.symbol for one in self._market.symbols()]
        rates = call.account.commission
        rows = []
        for name in names:
            self._listed(name)
            rows.append({"symbol": name, "takerFeeRate": str(rates.taker), "makerFeeRate": str(rates.maker)})
        return {"category": "spot", "list": rows}

    def _info(self, call: Call) -> dict[str, Any]:
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": str(call.account.updated_us // 1000),
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _instruments(self, call: Call) -> dict[str, Any]:
        spot_only(call.body)
        wanted = optional(call.body, "symbol")
        if wanted:
            self._listed(wanted)
        rows = [
            self._feed.listing(one.instrument.symbol).info(status_text(one.status))
            for one in self._market.symbols()
            if wanted in ("", one.instrument.symbol)
        ]
        return {"category": "spot", "list": rows, "nextPageCursor": ""}

    def _key_info(self, call: Call) -> dict[str, Any]:
        trades = ["SpotTrade"] if call.key.can_trade else []
        return {
            "id": str(call.account.identifier),
            "note": call.account.name,
            "apiKey": call.key.key,
            "readOnly": 0 if call.key.can_trade else 1,
            "secret": "",
            "permissions": {"ContractTrade": [], "Spot": trades, "Wallet": [], "Options": [], "Derivatives": []},
            "ips": ["*"],
            "type": 1,
            "deadlineDay": 90,
            "expiredAt": "2099-01-01T00:00:00Z",
            "createdAt": "2026-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": call.account.identifier,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "isMaster": True,
        }

    def _borrow_check(self, call: Call) -> dict[str, Any]:
        spot_only(call.body)
        symbol, side = required(call.body, "symbol"), required(call.body, "side")
        self._listed(symbol)
        if side not in ("Buy", "Sell"):
            raise wrong("side")
        listing, market = self._feed.listing(symbol), self._market.symbol(symbol)
        with market.lock, call.account.lock:
            top = market.top()
            wallet = call.account.wallet
            free_base = wallet.balance(listing.instrument.base_asset).free
            free_quote = wallet.balance(listing.instrument.quote_asset).free
            if side == "Buy":
                amount = free_quote // listing.quote_precision * listing.quote_precision
                lots = free_quote // listing.quote_units(top.ask, 1) if top.ask else 0
            else:
                lots = free_base // listing.base_units(1)
                amount = listing.quote_units(top.bid, lots)
        quantity, worth = listing.quantity_text(lots), money.text(amount)
        coin = listing.instrument.quote_asset if side == "Buy" else listing.instrument.base_asset
        return {
            "symbol": symbol, "side": side, "maxTradeQty": quantity, "maxTradeAmount": worth,
            "spotMaxTradeQty": quantity, "spotMaxTradeAmount": worth, "borrowCoin": coin,
        }  # fmt: skip

    def _listed(self, symbol: str) -> None:
        """Refuse (10001) a query about a symbol that is not listed."""
        try:
            self._market.symbol(symbol)
        except UnknownSymbol as error:
            raise RetError(10001, "Not supported symbols") from error

    def _dollars(self) -> dict[str, int]:
        """What one unit of each coin is worth in US dollars, in u; looks at the last trades, which wakes no book."""
        worth = dict.fromkeys(_DOLLARS, money.UNIT)
        for tape in self._feed.tapes():  # not from the market, whose lock must not be taken after that of a symbol
            instrument = tape.listing.instrument
            if instrument.quote_asset in _DOLLARS:
                last = tape.market.last_price_unlocked() or instrument.start_price
                worth[instrument.base_asset] = last * instrument.tick_e8 * money.E8_IN_UNITS
        return worth


def status_text(status: str) -> str:
    """A symbol's status as instruments-info shows it."""
    return "Trading" if status == "TRADING" else "Closed"


def _names(order: BybitOrder) -> dict[str, str]:
    return {"orderId": str(order.order_id), "orderLinkId": order.link_id}
