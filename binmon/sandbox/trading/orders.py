"""Orders of accounts: what is known of each, and where to find it.

Prices are ticks, quantities lots, amounts of money units of 0.00000001 (e8), times microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..decimals import E8
from ..matching import OrderStatus, Side
from ..self_trades import Prevention
from ..symbol_market import SymbolMarket
from ..symbols import Instrument
from .accounts import Account

OPEN = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)
"""States in which an order rests on the book."""


def quote_e8(instrument: Instrument, price: int, lots: int) -> int:
    """What lots are worth at a price in ticks; a part of the smallest unit is cut off, for buyer and seller alike."""
    return price * lots * instrument.tick_e8 * instrument.step_e8 // E8


def quote_reserve_e8(instrument: Instrument, price: int, lots: int) -> int:
    """What has to be set aside to buy lots at up to a price: never less than :func:`quote_e8` of all parts together."""
    return -(-price * lots * instrument.tick_e8 * instrument.step_e8 // E8)


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of an order."""

    trade_id: int
    price: int
    lots: int
    quote_e8: int
    commission_e8: int
    commission_asset: str
    time_us: int
    is_maker: bool


@dataclass(slots=True)
class AccountOrder:
    """One order of an account. Only :class:`~.execution.Execution` changes it, under the account's lock."""

    account: Account
    market: SymbolMarket
    order_id: int
    client_order_id: str
    """The id it was placed with, or was given by an amendment."""
    side: Side
    kind: str
    """Its type on the wire, such as ``LIMIT``."""
    time_in_force: str
    price: int
    """Zero for a market order."""
    lots: int
    quote_order_e8: int
    """The amount of ``quoteOrderQty``; zero when the order is about a quantity."""
    self_trade_mode: str
    created_us: int
    requested_us: int
    strategy_id: int | None = None
    strategy_type: int | None = None
    shown_client_order_id: str = ""
    """The id it shows now: a cancel puts its own in the place of the first one."""
    status: OrderStatus = OrderStatus.NEW
    executed: int = 0
    quote_e8: int = 0
    """Sum of what its trades were worth."""
    locked_e8: int = 0
    """What is still set aside for it, in the asset it spends."""
    is_short: bool = False
    """The book had less than its ``quoteOrderQty`` is worth."""
    expiry_reason: str | None = None
    prevention: Prevention | None = None
    """Why it expired, when that was to keep its account from trading with itself."""
    preventions: list[Prevention] = field(default_factory=list)
    """Own orders that it met when it was placed."""
    updated_us: int = 0
    fills: list[Fill] = field(default_factory=list)
    amends: int = 0
    """How often its quantity was lowered."""
    reports: int = 0
    """Events published about it."""

    def __post_init__(self) -> None:
        self.shown_client_order_id = self.shown_client_order_id or self.client_order_id
        self.updated_us = self.updated_us or self.created_us

    @property
    def instrument(self) -> Instrument:
        """Its symbol."""
        return self.market.instrument

    @property
    def symbol(self) -> str:
        """Name of its symbol."""
        return self.market.instrument.symbol

    @property
    def is_open(self) -> bool:
        """Whether it rests on the book."""
        return self.status in OPEN

    @property
    def spends(self) -> str:
        """The asset it pays with."""
        return self.instrument.quote_asset if self.side is Side.BUY else self.instrument.base_asset

    @property
    def gets(self) -> str:
        """The asset it is paid with."""
        return self.instrument.base_asset if self.side is Side.BUY else self.instrument.quote_asset

    def reserve_e8(self, lots: int) -> int:
        """What must be set aside while so many lots of a limit order are open."""
        if self.side is Side.BUY:
            return quote_reserve_e8(self.instrument, self.price, lots)
        return lots * self.instrument.step_e8


class OrderStore:
    """All orders of all accounts. Not thread-safe: the lock of the accounts guards it."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[str, int], AccountOrder] = {}
        self._of: dict[tuple[int, str], list[AccountOrder]] = {}
        self._open: dict[tuple[int, str], dict[int, AccountOrder]] = {}
        self._by_client_id: dict[tuple[int, str, str], AccountOrder] = {}

    def add(self, order: AccountOrder) -> None:
        """Take in a new order."""
        place = (order.account.identifier, order.symbol)
        self._by_id[order.symbol, order.order_id] = order
        self._of.setdefault(place, []).append(order)
        self._open.setdefault(place, {})[order.order_id] = order
        self.name(order, order.client_order_id)

    def name(self, order: AccountOrder, client_order_id: str) -> None:
        """Let an order be found by a client id; a younger order takes an id over."""
        self._by_client_id[order.account.identifier, order.symbol, client_order_id] = order

    def finish(self, order: AccountOrder) -> None:
        """Take an order out of the open ones."""
        self._open.get((order.account.identifier, order.symbol), {}).pop(order.order_id, None)

    def by_engine_id(self, symbol: str, order_id: int) -> AccountOrder | None:
        """The order with this id, whoever has it."""
        return self._by_id.get((symbol, order_id))

    def by_id(self, account: Account, symbol: str, order_id: int) -> AccountOrder | None:
        """An account's order with this id."""
        order = self._by_id.get((symbol, order_id))
        return order if order is not None and order.account is account else None

    def by_client_id(self, account: Account, symbol: str, client_order_id: str) -> AccountOrder | None:
        """An account's open order with this client id, else the youngest that has or had it."""
        found = self._open_named(account, symbol, client_order_id)
        return found or self._by_client_id.get((account.identifier, symbol, client_order_id))

    def of(self, account: Account, symbol: str) -> list[AccountOrder]:
        """Orders of an account on a symbol, oldest first."""
        return list(self._of.get((account.identifier, symbol), ()))

    def open_of(self, account: Account, symbol: str | None) -> list[AccountOrder]:
        """Open orders of an account, oldest first; ``None``: on all symbols."""
        if symbol is not None:
            return list(self._open.get((account.identifier, symbol), {}).values())
        orders = [
            order
            for (identifier, _), some in self._open.items()
            if identifier == account.identifier
            for order in some.values()
        ]
        return sorted(orders, key=lambda order: order.created_us)

    def all(self) -> list[AccountOrder]:
        """All orders of all accounts."""
        return list(self._by_id.values())

    def open_on(self, symbol: str) -> list[AccountOrder]:
        """Open orders of all accounts on a symbol."""
        return [order for (_, name), some in self._open.items() if name == symbol for order in some.values()]

    def open_symbols(self) -> set[str]:
        """Symbols with open orders."""
        return {symbol for (_, symbol), some in self._open.items() if some}

    def is_client_id_open(self, account: Account, symbol: str, client_order_id: str) -> bool:
        """Whether an open order has this client id."""
        return self._open_named(account, symbol, client_order_id) is not None

    def _open_named(self, account: Account, symbol: str, client_order_id: str) -> AccountOrder | None:
        some = self._open.get((account.identifier, symbol), {})
        return next((order for order in some.values() if order.client_order_id == client_order_id), None)

    def forget(self, symbol: str) -> None:
        """Drop everything about a symbol."""
        self._keep(lambda name: name != symbol)

    def clear(self) -> None:
        """Drop everything."""
        self._keep(lambda name: False)

    def _keep(self, wanted: Callable[[str], bool]) -> None:
        self._by_id = {key: order for key, order in self._by_id.items() if wanted(key[0])}
        self._of = {key: orders for key, orders in self._of.items() if wanted(key[1])}
        self._open = {key: orders for key, orders in self._open.items() if wanted(key[1])}
        self._by_client_id = {key: order for key, order in self._by_client_id.items() if wanted(key[1])}
