"""Orders of accounts on the matching engine: placing, filling, cancelling, and the events of all that.

The lock of the symbol is taken first, then the lock of the accounts; everything one request causes happens under both,
so that its events follow each other: ``NEW``, each ``TRADE``, the end of the order, one account position (reference:
Binance Spot, 7.5).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from ..clock import VenueClock
from ..matching import Order, OrderStatus, Side, TimeInForce, Trade
from ..parameters import ApiError
from ..self_trades import Prevention, SelfTrade
from ..symbol_market import SymbolMarket
from . import filters, reports
from .accounts import Account, Accounts
from .counts import OrderCounts
from .orders import AccountOrder, Fill, OrderStore, quote_e8, quote_reserve_e8
from .requests import OrderRequest
from .timing import Timing, check_still_valid
from .wallets import InsufficientBalance

_PHASE = ApiError(400, -1013, "This order type is not possible in this trading phase.")
_CLOSED = ApiError(400, -2010, "Market is closed.")
_NO_LIQUIDITY = "Order book liquidity is less than `LOT_SIZE` filter minimum quantity."
_EXPIRY_REASONS = {
    TimeInForce.IOC: "UNFILLED_IOC_QUANTITY_EXPIRED",
    TimeInForce.FOK: "UNFILLED_FOK_ORDER_EXPIRED",
}
UNKNOWN_ORDER = ApiError(400, -2011, "Unknown order sent.")


def rejected(text: str) -> ApiError:
    """The matching engine refuses a new order."""
    return ApiError(400, -2010, text)


class Execution:
    """Carries out orders and keeps the books of the accounts; told by the markets what their orders become."""

    def __init__(
        self, accounts: Accounts, clock: VenueClock, store: OrderStore, counts: Callable[[Account], OrderCounts]
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._store = store
        self._counts = counts
        self._execution_ids = itertools.count(1)
        self._taker: AccountOrder | None = None  # the order being placed, which has its position told at the end

    # Requests ---------------------------------------------------------------------------------------------------

    def place(
        self, account: Account, request: OrderRequest, timing: Timing | None, requested_us: int, micro: bool
    ) -> dict[str, Any]:
        """Place an order and return its answer. Raises :class:`~binmon.sandbox.parameters.ApiError`.

        ``timing`` is checked once more before the matching engine has it; ``requested_us`` is when the request came.
        """
        market = request.market
        with market.lock, account.lock:
            now_us = self._clock.now_us()
            if timing is not None:
                try:
                    check_still_valid(timing, now_us)
                except ApiError:
                    self._counts(account).accepted(now_us)
                    raise
            self.check(account, request, now_us)
            self._counts(account).check(now_us)
            market.owners = self
            order = self._submit(account, request, requested_us)
            return reports.placement(order, request.response, micro)

    def check(self, account: Account, request: OrderRequest, now_us: int) -> None:
        """What is refused before the matching engine sees an order: the phase of the symbol, and its filters."""
        market = request.market
        with market.lock, account.lock:
            if market.status in ("BREAK", "END_OF_DAY"):
                raise _CLOSED.fresh()
            if market.status != "TRADING":
                raise _PHASE.fresh()
            average = market.average_price(now_us)
            reference = average[0] * market.instrument.tick_e8 if average is not None else None
            proposal = filters.Proposal(request.side, request.is_market, request.price, request.quantity, request.quote)
            open_orders = len(self._store.open_of(account, market.instrument.symbol))
            filters.check(filters.rules_of(market.instrument), proposal, reference, open_orders)
            filters.check_assets(market.instrument, proposal, reference)

    def cancel(self, order: AccountOrder, new_client_order_id: str, now_us: int) -> None:
        """Take an open order off the book. The caller holds both locks. Raises -2011 when it is not open."""
        if not order.is_open:
            raise UNKNOWN_ORDER.fresh()
        order.market.engine.cancel(order.order_id)
        order.status = OrderStatus.CANCELED
        order.shown_client_order_id = new_client_order_id
        order.updated_us = now_us
        self._store.name(order, new_client_order_id)
        self._finish(order)
        self._report(order, "CANCELED", now_us, original=order.client_order_id)
        order.market.settle(now_us)
        self._tell_positions([order], now_us)

    def reduce(self, order: AccountOrder, lots: int, new_client_order_id: str, now_us: int) -> int:
        """Lower the quantity of an open order, which keeps its place in the queue; returns the execution id.

        The caller holds both locks and has checked that ``lots`` is less than before and more than has traded.
        """
        order.market.engine.reduce(order.order_id, order.lots - lots)
        order.lots = lots
        order.amends += 1
        order.updated_us = now_us
        surplus = order.locked_e8 - order.reserve_e8(order.lots - order.executed)
        self._unlock(order, surplus)
        previous = order.client_order_id
        order.client_order_id = order.shown_client_order_id = new_client_order_id
        self._store.name(order, new_client_order_id)
        execution_id = self._report(order, "REPLACED", now_us, works=True, original=previous)
        order.market.settle(now_us)
        self._tell_positions([order], now_us)
        return execution_id

    # From the markets -------------------------------------------------------------------------------------------

    def traded(self, market: SymbolMarket, trades: list[Trade]) -> None:
        """Book trades that concern accounts, and tell them."""
        symbol = market.instrument.symbol
        with self._accounts.lock:
            touched: dict[int, AccountOrder] = {}
            for trade in trades:
                sides = ((trade.taker_order_id, False), (trade.maker_order_id, True))
                for order_id, is_maker in sides:
                    order = self._store.by_engine_id(symbol, order_id)
                    if order is None:
                        next(self._execution_ids)  # the counterparty's report
                        continue
                    self._book(order, trade, is_maker)
                    if self._taker is None or order.account is not self._taker.account:
                        touched[order.account.identifier] = order
            if touched:
                self._tell_positions(touched.values(), trades[-1].time_us)

    def restarted(self, market: SymbolMarket) -> None:
        """The venue has been wiped: nothing is left of a symbol's orders, and nobody is told."""
        with self._accounts.lock:
            for order in self._store.open_on(market.instrument.symbol):
                self._unlock(order, order.locked_e8)
            self._store.forget(market.instrument.symbol)

    def retired(self, market: SymbolMarket) -> None:
        """The symbol is delisted: open orders expire."""
        with self._accounts.lock:
            now_us = self._clock.now_us()
            for order in self._store.open_on(market.instrument.symbol):
                market.engine.cancel(order.order_id)
                self._expire(order, OrderStatus.EXPIRED, "EXCHANGE_CANCELED", now_us)
                self._tell_positions([order], now_us)

    def reset(self) -> None:
        """Start the execution ids anew."""
        self._execution_ids = itertools.count(1)

    # Placing ----------------------------------------------------------------------------------------------------

    def _submit(self, account: Account, request: OrderRequest, requested_us: int) -> AccountOrder:
        market, instrument = request.market, request.market.instrument
        engine, now_us = market.engine, self._clock.now_us()
        if not account.can_trade:
            raise rejected("This account may not place or cancel orders.")
        if self._store.is_client_id_open(account, instrument.symbol, request.client_order_id):
            raise rejected("Duplicate order sent.")
        own = request.self_trade_mode != "NONE" and self._store.open_of(account, instrument.symbol)
        without = account.owner if own else None
        price = request.price // instrument.tick_e8
        if request.quote:
            lots, is_short = self._lots_worth(request, without)
        else:
            lots, is_short = request.quantity // instrument.step_e8, False
        reserve = self._reserve(request, price, lots, without)
        spends = instrument.quote_asset if request.side is Side.BUY else instrument.base_asset
        try:
            account.wallet.lock(spends, reserve)
        except InsufficientBalance as error:
            raise rejected("Account has insufficient balance for requested action.") from error
        placed = engine.submit(
            account.owner,
            request.side,
            lots,
            None if request.is_market else price,
            now_us,
            request.time_in_force,
            post_only=request.kind == "LIMIT_MAKER",
            self_trade=SelfTrade(request.self_trade_mode),
        )
        if placed.status is OrderStatus.REJECTED:
            account.wallet.unlock(spends, reserve)
            raise rejected("Order would immediately match and take.")
        order = AccountOrder(
            account=account,
            market=market,
            order_id=placed.order_id,
            client_order_id=request.client_order_id,
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force.value,
            price=price,
            lots=lots,
            quote_order_e8=request.quote,
            self_trade_mode=request.self_trade_mode,
            created_us=now_us,
            requested_us=requested_us,
            strategy_id=request.strategy_id,
            strategy_type=request.strategy_type,
            locked_e8=reserve,
            is_short=is_short,
        )
        account.updated_us = now_us
        self._store.add(order)
        self._counts(account).accepted(now_us)
        self._report(order, "NEW", now_us, works=True)
        self._taker = order
        try:
            market.settle(now_us)
        finally:
            self._taker = None
        self._conclude(order, placed, now_us)
        return order

    def _conclude(self, order: AccountOrder, placed: Order, now_us: int) -> None:
        """What comes after the trades of a new order: orders that were kept from trading, its end, the position."""
        for prevention in order.market.engine.take_preventions():
            self._prevent(order, prevention, now_us)
        if order.is_open and (placed.status is OrderStatus.EXPIRED or order.is_short):
            reason = "INSUFFICIENT_LIQUIDITY" if order.kind == "MARKET" else _EXPIRY_REASONS[placed.time_in_force]
            self._expire(order, OrderStatus.EXPIRED, reason, now_us)
        self._tell_positions([order], now_us)

    def _prevent(self, taker: AccountOrder, prevention: Prevention, now_us: int) -> None:
        """Tell an account about two of its orders that met."""
        maker = self._store.by_engine_id(taker.symbol, prevention.maker_order_id)
        taker.preventions.append(prevention)
        for order, counterpart, expired in (
            (maker, taker, prevention.maker_expired),
            (taker, maker, prevention.taker_expired),
        ):
            if expired and order is not None and counterpart is not None:
                order.status = OrderStatus.EXPIRED_IN_MATCH
                order.updated_us = now_us
                order.prevention = prevention
                self._finish(order)
                self._report(order, "TRADE_PREVENTION", now_us, prevention=prevention, counterpart=counterpart)

    def _lots_worth(self, request: OrderRequest, without: str | None) -> tuple[int, bool]:
        """Lots that come closest to an amount of the quote asset, and whether the book had less than that."""
        engine, instrument = request.market.engine, request.market.instrument
        rules = filters.rules_of(instrument)
        left, lots = request.quote, 0
        unit = instrument.step_e8 * instrument.tick_e8
        book = engine.fillable(request.side, None, rules.max_quantity // instrument.step_e8 + 1, without)
        is_short = True
        for price, available in book:
            affordable = left * 100_000_000 // (price * unit)
            taken = min(available, affordable)
            lots += taken
            left -= quote_reserve_e8(instrument, price, taken)
            if affordable < available:
                is_short = False
                break
        if lots * instrument.step_e8 < rules.min_quantity:
            raise rejected(_NO_LIQUIDITY)
        filters.check_market_lots(rules, lots * instrument.step_e8)
        return lots, is_short

    def _reserve(self, request: OrderRequest, price: int, lots: int, without: str | None) -> int:
        """What a new order sets aside: all that it can cost."""
        instrument = request.market.instrument
        if request.side is Side.SELL:
            return lots * instrument.step_e8
        if not request.is_market:
            return quote_reserve_e8(instrument, price, lots)
        book = request.market.engine.fillable(Side.BUY, None, lots, without)
        return sum(quote_reserve_e8(instrument, level, quantity) for level, quantity in book)

    # Booking ----------------------------------------------------------------------------------------------------

    def _book(self, order: AccountOrder, trade: Trade, is_maker: bool) -> None:
        account, instrument = order.account, order.instrument
        is_buyer = order.side is Side.BUY
        quote, base = quote_e8(instrument, trade.price, trade.quantity), trade.quantity * instrument.step_e8
        paid, received = (quote, base) if is_buyer else (base, quote)
        share, whole = account.commission.rate(is_maker, is_buyer).as_integer_ratio()
        commission = received * share // whole
        order.locked_e8 -= paid
        account.wallet.spend(order.spends, paid)
        account.wallet.receive(order.gets, received - commission)
        if not order.executed:
            self._counts(account).first_fill(is_maker, trade.time_us)
        order.executed += trade.quantity
        order.quote_e8 += quote
        order.updated_us = account.updated_us = trade.time_us
        fill = Fill(trade.trade_id, trade.price, trade.quantity, quote, commission, order.gets, trade.time_us, is_maker)
        order.fills.append(fill)
        if order.executed == order.lots and not order.is_short:
            order.status = OrderStatus.FILLED
            self._finish(order)
        else:
            order.status = OrderStatus.PARTIALLY_FILLED
            if order.kind != "MARKET":
                # A better price than the limit has saved something.
                self._unlock(order, order.locked_e8 - order.reserve_e8(order.lots - order.executed))
        self._report(order, "TRADE", trade.time_us, fill=fill, works=is_maker and order.is_open)

    def _expire(self, order: AccountOrder, status: OrderStatus, reason: str, now_us: int) -> None:
        order.status = status
        order.expiry_reason = reason
        order.updated_us = now_us
        self._finish(order)
        self._report(order, "EXPIRED", now_us)

    def _finish(self, order: AccountOrder) -> None:
        self._unlock(order, order.locked_e8)
        self._store.finish(order)

    def _unlock(self, order: AccountOrder, amount: int) -> None:
        if amount:
            order.account.wallet.unlock(order.spends, amount)
            order.locked_e8 -= amount

    # Telling ----------------------------------------------------------------------------------------------------

    def _report(
        self,
        order: AccountOrder,
        execution_type: str,
        transaction_us: int,
        *,
        fill: Fill | None = None,
        works: bool = False,
        original: str = "",
        prevention: Prevention | None = None,
        counterpart: AccountOrder | None = None,
    ) -> int:
        execution_id = next(self._execution_ids)
        order.reports += 1
        event = reports.execution_report(
            order,
            execution_type,
            execution_id,
            transaction_us,
            self._clock.now_us(),
            fill=fill,
            works=works,
            original=original,
            prevention=prevention,
            counterpart=counterpart,
        )
        order.account.publish(event)
        return execution_id

    def _tell_positions(self, orders: Iterable[AccountOrder], transaction_us: int) -> None:
        """One position event for each order's account, about the two assets of its symbol."""
        for order in orders:
            order.account.updated_us = transaction_us
            assets = (order.instrument.base_asset, order.instrument.quote_asset)
            order.account.publish(reports.account_position(order.account, assets, transaction_us, self._clock.now_us()))
