"""Orders of accounts on the Bybit market: what is known of each, and where to find it.

Prices are ticks, quantities lots, amounts of money u (see :mod:`.money`), times microseconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..matching import Side
from ..symbol_market import SymbolMarket
from ..trading.accounts import Account
from .instruments import Listing

OPEN = ("New", "PartiallyFilled")
"""States in which an order rests on the book (reference: 3.10)."""
_FIRST_ID = 2_075_550_000_000_000_000
_ID_STEP = 256


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of an order; ``leaves`` is what was open after it, in lots."""

    execution_id: str
    price: int
    lots: int
    value: int
    fee: int
    fee_coin: str
    fee_rate: str
    time_us: int
    is_maker: bool
    seq: int
    leaves: int


@dataclass(slots=True)
class BybitOrder:
    """One order. Only :class:`~.execution.Execution` changes it, under the account's lock."""

    account: Account
    market: SymbolMarket
    listing: Listing
    order_id: int
    engine_id: int
    """Its number in the matching engine; 0 when it never got there."""
    link_id: str
    side: Side
    kind: str
    """``Market`` or ``Limit``."""
    time_in_force: str
    price: int
    """Zero for a market order."""
    lots: int
    """Its quantity; for one by value what the engine was asked for."""
    amount: int
    """What it is worth when it is one by value (``quoteCoin``), else zero."""
    market_unit: str
    requested_us: int
    created_us: int
    slippage: tuple[str, str] = ("UNKNOWN", "")
    """``slippageToleranceType`` and ``slippageTolerance``."""
    self_trade: str = "None"
    base_price: int = 0
    """Price of the market when it was placed."""
    status: str = "New"
    cancel_type: str = "UNKNOWN"
    reject_reason: str = "EC_NoError"
    executed: int = 0
    value: int = 0
    fees: dict[str, int] = field(default_factory=dict)
    locked: int = 0
    """What is still set aside for it, in the coin it spends."""
    updated_us: int = 0
    fills: list[Fill] = field(default_factory=list)
    pushes: int = 0
    """Events published about it."""

    @property
    def symbol(self) -> str:
        """Name of its symbol."""
        return self.listing.symbol

    @property
    def is_open(self) -> bool:
        """Whether it rests on the book."""
        return self.status in OPEN

    @property
    def leaves(self) -> int:
        """Lots that are still to trade; none when it is over."""
        return self.lots - self.executed if self.is_open else 0

    @property
    def leaves_value(self) -> int:
        """What is still to trade in the quote coin; one by value keeps what it could not spend (3.10)."""
        if self.amount:
            return self.amount - self.value
        return self.listing.quote_units(self.price, self.leaves)

    @property
    def spends(self) -> str:
        """The coin it pays with."""
        instrument = self.listing.instrument
        return instrument.quote_asset if self.side is Side.BUY else instrument.base_asset

    @property
    def gets(self) -> str:
        """The coin it is paid with."""
        instrument = self.listing.instrument
        return instrument.base_asset if self.side is Side.BUY else instrument.quote_asset

    def reserve(self, lots: int) -> int:
        """What must be set aside while so many lots of a limit order are open."""
        if self.side is Side.BUY:
            return self.listing.quote_units(self.price, lots)
        return self.listing.base_units(lots)


class OrderStore:
    """All orders of all accounts. Not thread-safe: the lock of the accounts guards it."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._orders: dict[int, BybitOrder] = {}
        self._by_engine: dict[tuple[str, int], BybitOrder] = {}
        self._by_link: dict[tuple[int, str], BybitOrder] = {}
        self._open: dict[int, BybitOrder] = {}

    def next_id(self) -> int:
        """A new order id: 19 digits, one space for all symbols."""
        return _FIRST_ID + next(self._ids) * _ID_STEP

    def add(self, order: BybitOrder) -> None:
        """Take in a new order."""
        self._orders[order.order_id] = order
        self._by_link[order.account.identifier, order.link_id] = order
        if order.engine_id:
            self._by_engine[order.symbol, order.engine_id] = order
        self._open[order.order_id] = order

    def finish(self, order: BybitOrder) -> None:
        """Take an order out of the open ones."""
        self._open.pop(order.order_id, None)

    def by_engine_id(self, symbol: str, engine_id: int) -> BybitOrder | None:
        """The order behind a number of the matching engine; ``None`` when it is the flow's."""
        return self._by_engine.get((symbol, engine_id))

    def find(self, account: Account, order_id: str | None, link_id: str | None) -> BybitOrder | None:
        """An account's order by its id, or by the client's own; the first counts when both are given."""
        if order_id:
            order = self._orders.get(int(order_id)) if order_id.isdigit() else None
            return order if order is not None and order.account is account else None
        return self._by_link.get((account.identifier, link_id or ""))

    def is_used(self, account: Account, link_id: str) -> bool:
        """Whether an account has used a client id before, be the order open or over."""
        return (account.identifier, link_id) in self._by_link

    def of(self, account: Account, symbol: str | None = None) -> list[BybitOrder]:
        """Orders of an account, newest first."""
        return self._chosen(self._orders.values(), account, symbol)

    def open_of(self, account: Account, symbol: str | None = None) -> list[BybitOrder]:
        """Open orders of an account, newest first."""
        return self._chosen(self._open.values(), account, symbol)

    def open_on(self, symbol: str | None) -> list[BybitOrder]:
        """Open orders of all accounts on a symbol; ``None``: on all."""
        return [order for order in self._open.values() if symbol in (None, order.symbol)]

    def all(self) -> list[BybitOrder]:
        """All orders of all accounts, oldest first."""
        return list(self._orders.values())

    def clear(self, symbol: str | None = None) -> None:
        """Drop everything, or everything about a symbol."""
        kept = [order for order in self._orders.values() if symbol is not None and order.symbol != symbol]
        self._orders, self._by_engine, self._by_link, self._open = {}, {}, {}, {}
        for order in kept:
            self.add(order)
            if not order.is_open:
                self.finish(order)

    @staticmethod
    def _chosen(orders: Iterable[BybitOrder], account: Account, symbol: str | None) -> list[BybitOrder]:
        chosen = [one for one in orders if one.account is account and symbol in (None, one.symbol)]
        return sorted(chosen, key=lambda one: one.order_id, reverse=True)
