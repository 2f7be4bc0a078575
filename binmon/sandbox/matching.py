"""Price-time-priority matching for one symbol, without I/O and without a clock of its own.

Prices are integer ticks, quantities integer lots, times microseconds. Every changed price level takes the next
number of one contiguous update-id sequence (reference: Binance Spot, sandbox checklist, item 23). What happened is
collected in the engine and handed over by :meth:`MatchingEngine.drain`, so a caller sees whole actions only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedDict  # type: ignore[import-untyped, unused-ignore]

from .self_trades import Prevention, SelfTrade


class Side(enum.Enum):
    """Side of an order, named as on the wire."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        """The side this one trades against."""
        return Side.SELL if self is Side.BUY else Side.BUY


class TimeInForce(enum.Enum):
    """What happens to the part of an order that does not trade at once."""

    GTC = "GTC"
    """It rests on the book until cancelled."""
    IOC = "IOC"
    """It expires."""
    FOK = "FOK"
    """The order trades in full at once, or not at all."""


class OrderStatus(enum.Enum):
    """State of an order, named as on the wire."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
    """Kept from trading with another order of its owner."""


@dataclass(slots=True)
class Order:
    """One order of one owner. ``price`` is ``None`` for a market order. Only the engine changes an order."""

    order_id: int
    owner: str
    side: Side
    price: int | None
    quantity: int
    time_us: int
    time_in_force: TimeInForce = TimeInForce.GTC
    executed: int = 0
    status: OrderStatus = OrderStatus.NEW

    @property
    def remaining(self) -> int:
        """Lots that have not traded yet."""
        return self.quantity - self.executed


class Trade(NamedTuple):
    """One execution: one maker order against one taker order at the maker's price."""

    trade_id: int
    price: int
    quantity: int
    time_us: int
    maker_order_id: int
    taker_order_id: int
    maker_owner: str
    taker_owner: str
    buyer_is_maker: bool


class LevelChange(NamedTuple):
    """A price level has a new total quantity (zero: it is gone)."""

    update_id: int
    side: Side
    price: int
    quantity: int


class Activity(NamedTuple):
    """Everything that happened since the previous :meth:`MatchingEngine.drain`, in order."""

    changes: list[LevelChange]
    trades: list[Trade]


@dataclass(slots=True)
class _Level:
    """All resting orders at one price; a dict keeps them in order of arrival."""

    total: int = 0
    orders: dict[int, Order] = field(default_factory=dict)


class MatchingEngine:
    """The order book and matching rules of one symbol. Not thread-safe: its owner serialises access."""

    def __init__(self, first_update_id: int = 1, first_trade_id: int = 1, first_order_id: int = 1) -> None:
        self.update_id = first_update_id
        """Id of the last changed level."""
        self._next_trade_id = first_trade_id
        self._next_order_id = first_order_id
        self._orders: dict[int, Order] = {}
        # Bids are keyed by the negative price, so that both sides list their best level first.
        self._levels: dict[Side, SortedDict[int, _Level]] = {Side.BUY: SortedDict(), Side.SELL: SortedDict()}
        self._changes: list[LevelChange] = []
        self._trades: list[Trade] = []
        self._next_prevention_id = 1
        self._loader: str | None = None
        self._preventions: list[Prevention] = []

    @property
    def last_trade_id(self) -> int:
        """Id of the last trade; one less than the first id when there was none."""
        return self._next_trade_id - 1

    def submit(
        self,
        owner: str,
        side: Side,
        quantity: int,
        price: int | None,
        time_us: int,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        self_trade: SelfTrade = SelfTrade.NONE,
    ) -> Order:
        """Take a new order: match it, rest or expire what is left, and return it in its new state.

        A market order is one with ``price=None``; what it cannot fill expires. ``post_only`` rejects an order that
        would trade at once (LIMIT_MAKER). Raises ``ValueError`` when quantity or price is not above zero.
        """
        if quantity <= 0 or (price is not None and price <= 0):
            raise ValueError(f"quantity and price must be above zero, not {quantity} and {price}")
        order = Order(self._next_order_id, owner, side, price, quantity, time_us, time_in_force)
        self._next_order_id += 1
        if post_only and self._would_trade(side, price):
            order.status = OrderStatus.REJECTED
            return order
        if time_in_force is TimeInForce.FOK:
            without = owner if self_trade is not SelfTrade.NONE else None
            if sum(lots for _, lots in self.fillable(side, price, quantity, without)) < quantity:
                order.status = OrderStatus.EXPIRED
                return order
        self._match(order, self_trade)
        if order.status is OrderStatus.EXPIRED_IN_MATCH:
            return order
        if not order.remaining:
            order.status = OrderStatus.FILLED
        elif price is None or time_in_force is not TimeInForce.GTC:
            order.status = OrderStatus.EXPIRED
        else:
            order.status = OrderStatus.PARTIALLY_FILLED if order.executed else OrderStatus.NEW
            self._rest(order, price)
        return order

    def load(self, owner: str, side: Side, levels: list[tuple[int, int]], time_us: int) -> None:
        """Fill an empty side with one resting order a level, given as (price, quantity), all prices different.

        The same as submitting them one by one to a book they do not cross, but several times as fast and without
        leaving changes behind. Raises ``ValueError`` when the side is not empty.
        """
        if self._levels[side]:
            raise ValueError(f"side {side.value} is not empty")
        self._loader = owner
        loaded = {}
        for price, quantity in levels:
            order = Order(self._next_order_id, owner, side, price, quantity, time_us)
            self._orders[order.order_id] = order
            self._next_order_id += 1
            loaded[self._key(side, price)] = _Level(quantity, {order.order_id: order})
        self._levels[side].update(loaded)

    def cancel(self, order_id: int) -> Order | None:
        """Take a resting order off the book; ``None`` when no such order rests (it is unknown or finished)."""
        order = self._orders.pop(order_id, None)
        if order is None or order.price is None:
            return None
        key = self._key(order.side, order.price)
        level = self._levels[order.side][key]
        del level.orders[order_id]
        level.total -= order.remaining
        order.status = OrderStatus.CANCELED
        self._level_changed(order.side, key, level)
        return order

    def reduce(self, order_id: int, lots: int) -> Order | None:
        """Take some lots from a resting order, which keeps its place; ``None`` when no such order rests.

        Raises ``ValueError`` when nothing or too much would be taken.
        """
        order = self._orders.get(order_id)
        if order is None or order.price is None:
            return None
        if not 0 < lots < order.remaining:
            raise ValueError(f"cannot take {lots} from an order of {order.remaining}")
        order.quantity -= lots
        key = self._key(order.side, order.price)
        level = self._levels[order.side][key]
        level.total -= lots
        self._level_changed(order.side, key, level)
        return order

    def order(self, order_id: int) -> Order | None:
        """The resting order with this id, if there is one."""
        return self._orders.get(order_id)

    def orders_at(self, side: Side, price: int) -> list[Order]:
        """Resting orders at a price, oldest first."""
        level = self._levels[side].get(self._key(side, price))
        return list(level.orders.values()) if level is not None else []

    def best(self, side: Side) -> tuple[int, int] | None:
        """Best price and its total quantity, or ``None`` when the side is empty."""
        levels = self._levels[side]
        if not levels:
            return None
        key, level = levels.peekitem(0)
        return abs(key), level.total

    def worst(self, side: Side) -> int | None:
        """The price farthest from the market, or ``None`` when the side is empty.

        Where one owner has loaded the book, the far orders of others do not count.
        """
        for key, level in reversed(self._levels[side].items()):
            if self._loader is None or any(order.owner == self._loader for order in level.orders.values()):
                price: int = abs(key)
                return price
        return None

    def level_count(self, side: Side) -> int:
        """Number of price levels of a side."""
        return len(self._levels[side])

    def price_at(self, side: Side, index: int) -> int:
        """Price of the level with this index, 0 being the best. Raises ``IndexError``."""
        key: int = self._levels[side].peekitem(index)[0]
        return abs(key)

    def quantity_at(self, side: Side, price: int) -> int:
        """Total quantity at a price; zero when there is no such level."""
        level = self._levels[side].get(self._key(side, price))
        total: int = level.total if level is not None else 0
        return total

    def depth(self, side: Side, limit: int) -> list[tuple[int, int]]:
        """Up to ``limit`` levels as (price, quantity), best first."""
        return list(islice(self._walk(side), limit))

    def fillable(
        self, side: Side, price: int | None, quantity: int, without_owner: str | None = None
    ) -> Iterator[tuple[int, int]]:
        """What a new order would trade against, as (price, quantity), best first, up to its quantity.

        ``without_owner`` leaves the orders of one owner out. The book must not change while it is walked.
        """
        missing = quantity
        for maker_price, total in self._walk(side.opposite):
            if missing <= 0 or not self._crosses(side, price, maker_price):
                return
            if without_owner is not None:
                own = self.orders_at(side.opposite, maker_price)
                total -= sum(order.remaining for order in own if order.owner == without_owner)
            if total:
                yield maker_price, min(total, missing)
                missing -= total

    def take_preventions(self) -> list[Prevention]:
        """Hand over which orders were kept from trading since the last call, and forget it."""
        preventions, self._preventions = self._preventions, []
        return preventions

    def drain(self) -> Activity:
        """Hand over what happened since the last call and forget it."""
        activity = Activity(self._changes, self._trades)
        self._changes, self._trades = [], []
        return activity

    def _walk(self, side: Side) -> Iterator[tuple[int, int]]:
        for key, level in self._levels[side].items():
            yield abs(key), level.total

    @staticmethod
    def _key(side: Side, price: int) -> int:
        return -price if side is Side.BUY else price

    def _would_trade(self, side: Side, price: int | None) -> bool:
        best = self.best(side.opposite)
        return best is not None and self._crosses(side, price, best[0])

    @staticmethod
    def _crosses(side: Side, price: int | None, maker_price: int) -> bool:
        if price is None:
            return True
        return maker_price <= price if side is Side.BUY else maker_price >= price

    def _match(self, taker: Order, self_trade: SelfTrade) -> None:
        maker_side = taker.side.opposite
        levels = self._levels[maker_side]
        while taker.remaining and levels and taker.status is OrderStatus.NEW:
            key, level = levels.peekitem(0)
            if not self._crosses(taker.side, taker.price, abs(key)):
                break
            before = level.total
            while taker.remaining and level.orders and taker.status is OrderStatus.NEW:
                maker = next(iter(level.orders.values()))
                if maker.owner == taker.owner and self_trade is not SelfTrade.NONE:
                    self._prevent(maker, taker, level, abs(key), self_trade)
                else:
                    self._execute(maker, taker, level, abs(key))
            if level.total != before:
                self._level_changed(maker_side, key, level)

    def _prevent(self, maker: Order, taker: Order, level: _Level, price: int, mode: SelfTrade) -> None:
        """Let one or both of two orders expire that must not trade with each other."""
        maker_expires, taker_expires = mode is not SelfTrade.EXPIRE_TAKER, mode is not SelfTrade.EXPIRE_MAKER
        quantity = min(maker.remaining, taker.remaining)
        if maker_expires:
            maker.status = OrderStatus.EXPIRED_IN_MATCH
            level.total -= maker.remaining
            del level.orders[maker.order_id]
            del self._orders[maker.order_id]
        if taker_expires:
            taker.status = OrderStatus.EXPIRED_IN_MATCH
        self._preventions.append(
            Prevention(
                self._next_prevention_id, price, quantity, maker.order_id, taker.order_id, maker_expires, taker_expires
            )
        )
        self._next_prevention_id += 1

    def _execute(self, maker: Order, taker: Order, level: _Level, price: int) -> None:
        quantity = min(maker.remaining, taker.remaining)
        maker.executed += quantity
        taker.executed += quantity
        level.total -= quantity
        if maker.remaining:
            maker.status = OrderStatus.PARTIALLY_FILLED
        else:
            maker.status = OrderStatus.FILLED
            del level.orders[maker.order_id]
            del self._orders[maker.order_id]
        self._trades.append(
            Trade(
                trade_id=self._next_trade_id,
                price=price,
                quantity=quantity,
                time_us=taker.time_us,
                maker_order_id=maker.order_id,
                taker_order_id=taker.order_id,
                maker_owner=maker.owner,
                taker_owner=taker.owner,
                buyer_is_maker=maker.side is Side.BUY,
            )
        )
        self._next_trade_id += 1

    def _rest(self, order: Order, price: int) -> None:
        key = self._key(order.side, price)
        levels = self._levels[order.side]
        level = levels.get(key)
        if level is None:
            level = levels[key] = _Level()
        level.orders[order.order_id] = order
        level.total += order.remaining
        self._orders[order.order_id] = order
        self._level_changed(order.side, key, level)

    def _level_changed(self, side: Side, key: int, level: _Level) -> None:
        if not level.orders:
            del self._levels[side][key]
        self.update_id += 1
        self._changes.append(LevelChange(self.update_id, side, abs(key), level.total))
