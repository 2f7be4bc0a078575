"""Orders of accounts on the matching engine: placing, filling, cancelling, and the pushes of all that.

The lock of the symbol is taken first, then the lock of the accounts; everything one request causes happens under both.
What is checked before an order is acknowledged, and what only shows in its pushes: reference, Bybit v5, 3.8.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ..clock import VenueClock
from ..matching import Order, OrderStatus, Side, TimeInForce, Trade
from ..self_trades import SelfTrade
from ..symbol_market import SymbolMarket
from ..trading.accounts import Account, Accounts
from ..trading.wallets import InsufficientBalance
from . import money, prints, reports
from .errors import NO_BALANCE, NOT_OPEN, TOO_SMALL, UNKNOWN_ORDER, RetError
from .instruments import PRICE_RATIO_X, PRICE_RATIO_Y, Listing
from .orders import BybitOrder, Fill, OrderStore
from .requests import OrderRequest, taken

MOST_OPEN = 500
"""Open orders of an account (3.8)."""
_TOO_LARGE = RetError(170124, "Order amount too large.")


class Execution:
    """Carries out orders and keeps the accounts; told by the markets what their orders become."""

    def __init__(
        self,
        accounts: Accounts,
        clock: VenueClock,
        store: OrderStore,
        listing_of: Callable[[str], Listing],
        dollars: Callable[[], dict[str, int]],
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._store = store
        self._listing_of = listing_of
        self._dollars = dollars
        self._wallet_numbers = itertools.count(1)
        self._taker: BybitOrder | None = None  # the order being placed, which is told about at its end

    # Requests ---------------------------------------------------------------------------------------------------

    def place(self, account: Account, request: OrderRequest, requested_us: int) -> BybitOrder:
        """Place an order. Raises :class:`.errors.RetError` for what is refused at once."""
        market = request.market
        with market.lock, account.lock:
            if market.status != "TRADING":
                raise NOT_OPEN.fresh()
            if request.link_id and self._store.is_used(account, request.link_id):
                raise taken(request.link_id)
            if len(self._store.open_of(account)) >= MOST_OPEN:
                raise RetError(170810, "Cannot exceed maximum of 500 total orders.")
            market.owners = self
            limit = self._limit(request)
            self._check_size(request)
            return self._submit(account, request, limit, requested_us)

    def cancel(self, account: Account, order_id: str | None, link_id: str | None) -> BybitOrder:
        """Take an open order off the book. Raises 170213 when there is none."""
        with account.lock:
            order = self._store.find(account, order_id, link_id)
        if order is None:
            raise UNKNOWN_ORDER.fresh()
        with order.market.lock, account.lock:
            if not order.is_open:
                raise UNKNOWN_ORDER.fresh()
            now_us = self._clock.now_us()
            order.market.engine.cancel(order.engine_id)
            self._end(order, "CancelByUser", "EC_PerCancelRequest", now_us)
            order.market.settle(now_us)
            self._tell(order, [], now_us)
        return order

    def price_limits(self, market: SymbolMarket) -> tuple[int, int]:
        """Highest price to buy and lowest to sell in ticks, 0 for none; the index is the middle of the book (3.7)."""
        index = self._index(market)
        if index is None:
            return 0, 0
        highest = (index * (1 + PRICE_RATIO_X)).to_integral_value(ROUND_FLOOR)
        lowest = (index * (1 - PRICE_RATIO_X)).to_integral_value(ROUND_CEILING)
        return int(highest), max(1, int(lowest))

    # From the markets -------------------------------------------------------------------------------------------

    def traded(self, market: SymbolMarket, trades: list[Trade]) -> None:
        """Book trades that concern accounts, and tell those whose order was waiting on the book."""
        symbol, seq = market.instrument.symbol, market.update_id
        with self._accounts.lock:
            waited: dict[int, tuple[BybitOrder, list[Fill]]] = {}
            for trade in trades:
                for engine_id, is_maker in ((trade.taker_order_id, False), (trade.maker_order_id, True)):
                    order = self._store.by_engine_id(symbol, engine_id)
                    if order is None:
                        continue
                    fill = self._book(order, trade, is_maker, seq)
                    if order is not self._taker:
                        waited.setdefault(order.order_id, (order, []))[1].append(fill)
            for order, fills in waited.values():
                self._tell(order, fills, trades[-1].time_us)

    def restarted(self, market: SymbolMarket) -> None:
        """The venue has been wiped: nothing is left of a symbol's orders, and nobody is told."""
        with self._accounts.lock:
            for order in self._store.open_on(market.instrument.symbol):
                self._unlock(order, order.locked)
            self._store.clear(market.instrument.symbol)

    def retired(self, market: SymbolMarket) -> None:
        """The symbol is delisted: open orders are cancelled by the venue."""
        with self._accounts.lock:
            now_us = self._clock.now_us()
            for order in self._store.open_on(market.instrument.symbol):
                market.engine.cancel(order.engine_id)
                self._end(order, "CancelByAdmin", "EC_InvalidSymbolStatus", now_us)
                self._tell(order, [], now_us)

    # Checks before the acknowledgement --------------------------------------------------------------------------

    @staticmethod
    def _index(market: SymbolMarket) -> Decimal | None:
        top = market.top()
        if top.bid and top.ask:
            return Decimal(top.bid + top.ask) / 2
        last = top.bid or top.ask or market.last_price()
        return Decimal(last) if last else None

    def _limit(self, request: OrderRequest) -> int:
        """The worst price in ticks that an order may trade at; 0: none is known. Raises 170193 and 170194."""
        buys = request.side is Side.BUY
        if not request.is_market:
            highest, lowest = self.price_limits(request.market)
            price = request.price
            if buys and highest and price > highest:
                text = request.listing.price_text(highest)
                raise RetError(170193, f"Buy order price cannot be higher than {text}.")
            if not buys and price < lowest:
                raise RetError(170194, f"Sell order price cannot be lower than {request.listing.price_text(lowest)}.")
            return price
        best = request.market.engine.best(request.side.opposite)
        if best is None:
            return 0
        away = Decimal(1) if buys else Decimal(-1)
        if request.slippage_type == "TickSize":
            return max(1, best[0] + int(away * int(request.slippage)))
        if request.slippage_type == "Percent":
            worst = best[0] * (1 + away * Decimal(request.slippage) / 100)
        else:
            worst = (self._index(request.market) or Decimal(best[0])) * (1 + away * PRICE_RATIO_Y)
        return max(1, int(worst.to_integral_value(ROUND_FLOOR if buys else ROUND_CEILING)))

    def _check_size(self, request: OrderRequest) -> None:
        """Refuse what is too small or too large."""
        listing = request.listing
        if request.amount:
            worth = request.amount
        else:
            best = request.market.engine.best(request.side.opposite)
            price = request.price or (best[0] if best is not None else 0)
            worth = listing.quote_units(price, request.lots)
            if request.lots > (listing.max_market_lots if request.is_market else listing.max_limit_lots):
                raise _TOO_LARGE.fresh()
            if not price:
                return  # Nothing to trade with: that shows later.
        if worth < listing.min_order_amount:
            raise TOO_SMALL.fresh()
        if worth > listing.max_order_amount:
            raise _TOO_LARGE.fresh()

    # Placing ----------------------------------------------------------------------------------------------------

    def _submit(self, account: Account, request: OrderRequest, limit: int, requested_us: int) -> BybitOrder:
        market, listing, now_us = request.market, request.listing, self._clock.now_us()
        without = account.owner if request.prevention is not SelfTrade.NONE else None
        lots = self._lots_worth(request, limit, without) if request.amount else request.lots
        if lots > listing.max_market_lots and request.is_market:
            raise _TOO_LARGE.fresh()
        reserve = self._reserve(request, limit, lots, without)
        spends = listing.instrument.quote_asset if request.side is Side.BUY else listing.instrument.base_asset
        # The venue wants the whole amount of an order by value to be there, also what it cannot spend.
        needed = max(reserve, request.amount) if request.side is Side.BUY else reserve
        if account.wallet.balance(spends).free < needed:
            raise NO_BALANCE.fresh()
        try:
            account.wallet.lock(spends, reserve)
        except InsufficientBalance as error:
            raise NO_BALANCE.fresh() from error
        base = self._index(market)
        order_id = self._store.next_id()
        placed: Order | None = None
        if lots and limit:
            placed = market.engine.submit(
                account.owner,
                request.side,
                lots,
                limit,
                now_us,
                request.engine_time_in_force,
                post_only=request.time_in_force == "PostOnly",
                self_trade=request.prevention,
            )
        order = BybitOrder(
            account=account,
            market=market,
            listing=listing,
            order_id=order_id,
            engine_id=placed.order_id if placed is not None else 0,
            link_id=request.link_id or str(order_id + 1),
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force,
            price=request.price,
            lots=lots,
            amount=request.amount,
            market_unit=request.market_unit,
            requested_us=requested_us,
            created_us=now_us,
            slippage=(request.slippage_type, request.slippage),
            self_trade=request.self_trade,
            base_price=int(base) if base is not None else 0,
            locked=reserve,
            updated_us=now_us,
        )
        account.updated_us = now_us
        self._store.add(order)
        self._taker = order
        try:
            market.settle(now_us)
        finally:
            self._taker = None
        self._conclude(order, placed, now_us)
        return order

    def _conclude(self, order: BybitOrder, placed: Order | None, now_us: int) -> None:
        """What a new order has become after its trades: tell that, and nothing in between (5.2)."""
        for prevention in order.market.engine.take_preventions():
            maker = self._store.by_engine_id(order.symbol, prevention.maker_order_id)
            if prevention.maker_expired and maker is not None:
                self._end(maker, "CancelBySmp", "EC_BySelfMatch", now_us)
                self._tell(maker, [], now_us)
            if prevention.taker_expired:
                self._end(order, "CancelBySmp", "EC_BySelfMatch", now_us)
        if order.status in ("New", "PartiallyFilled"):
            if placed is not None and placed.status is OrderStatus.REJECTED:
                order.status = "Rejected"
                self._end(order, "UNKNOWN", "EC_PostOnlyWillTakeLiquidity", now_us, keep_status=True)
            elif order.kind == "Market" or placed is None or placed.time_in_force is not TimeInForce.GTC:
                self._end(order, "UNKNOWN", self._why_over(order), now_us)
        self._tell(order, order.fills, now_us)

    @staticmethod
    def _why_over(order: BybitOrder) -> str:
        if order.executed:
            return "EC_CancelForNoFullFill"
        if order.amount and not order.lots and order.engine_id == 0:
            best = order.market.engine.best(order.side.opposite)
            return "EC_CancelByOrderValueZero" if best is not None else "EC_NoImmediateQtyToFill"
        return "EC_NoEnoughQtyToFill" if order.time_in_force == "FOK" else "EC_NoImmediateQtyToFill"

    @staticmethod
    def _lots_worth(request: OrderRequest, limit: int, without: str | None) -> int:
        """Lots that come closest to an amount of the quote coin from below, within the worst price."""
        listing = request.listing
        left, lots = request.amount, 0
        if not limit:
            return 0
        book = request.market.engine.fillable(request.side, limit, listing.max_market_lots + 1, without)
        for price, available in book:
            affordable = left // listing.quote_units(price, 1)
            taken_lots = min(available, affordable)
            lots += taken_lots
            left -= listing.quote_units(price, taken_lots)
            if affordable < available:
                break
        return lots

    @staticmethod
    def _reserve(request: OrderRequest, limit: int, lots: int, without: str | None) -> int:
        """What a new order sets aside: all that it can cost."""
        listing = request.listing
        if request.side is Side.SELL:
            return listing.base_units(lots)
        if not request.is_market:
            return listing.quote_units(request.price, lots)
        if not limit or not lots:
            return 0
        book = request.market.engine.fillable(Side.BUY, limit, lots, without)
        return sum(listing.quote_units(price, quantity) for price, quantity in book)

    # Booking ----------------------------------------------------------------------------------------------------

    def _book(self, order: BybitOrder, trade: Trade, is_maker: bool, seq: int) -> Fill:
        account, listing = order.account, order.listing
        buys = order.side is Side.BUY
        quote, base = listing.quote_units(trade.price, trade.quantity), listing.base_units(trade.quantity)
        paid, received = (quote, base) if buys else (base, quote)
        rate = account.commission.rate(is_maker, buys)
        fee = money.part(received, rate)
        order.locked -= paid
        account.wallet.spend(order.spends, paid)
        account.wallet.receive(order.gets, received - fee)
        order.fees[order.gets] = order.fees.get(order.gets, 0) + fee
        order.executed += trade.quantity
        order.value += quote
        order.updated_us = account.updated_us = max(trade.time_us, self._clock.now_us())
        fill = Fill(
            prints.execution_id(listing, trade.trade_id),
            trade.price,
            trade.quantity,
            quote,
            fee,
            order.gets,
            str(rate),
            trade.time_us,
            is_maker,
            seq,
            order.lots - order.executed if not order.amount else 0,
        )
        order.fills.append(fill)
        if order.executed == order.lots and (not order.amount or order.value == order.amount):
            order.status = "Filled"
            self._finish(order)
        else:
            order.status = "PartiallyFilled"
            if order.kind == "Limit":
                # A better price than the limit has saved something.
                self._unlock(order, order.locked - order.reserve(order.lots - order.executed))
        return fill

    def _end(self, order: BybitOrder, cancel_type: str, reason: str, now_us: int, *, keep_status: bool = False) -> None:
        """An order is over without having been filled as a whole."""
        if not keep_status:
            order.status = "PartiallyFilledCanceled" if order.executed else "Cancelled"
        order.cancel_type, order.reject_reason = cancel_type, reason
        order.updated_us = max(now_us, self._clock.now_us())
        self._finish(order)

    def _finish(self, order: BybitOrder) -> None:
        self._unlock(order, order.locked)
        self._store.finish(order)

    def _unlock(self, order: BybitOrder, amount: int) -> None:
        if amount:
            order.account.wallet.unlock(order.spends, amount)
            order.locked -= amount

    # Telling ----------------------------------------------------------------------------------------------------

    def _tell(self, order: BybitOrder, fills: list[Fill], transaction_us: int) -> None:
        """All pushes of one event of an order: its fills, itself, the wallet."""
        account, seq = order.account, order.market.update_id
        now_us = max(transaction_us, order.updated_us, self._clock.now_us())
        account.updated_us = now_us
        if fills:
            account.publish(reports.fast_event(order, fills, now_us))
            account.publish(reports.execution_event(order, fills, now_us))
        account.publish(reports.order_event(order, seq, now_us))
        coins = (order.listing.instrument.base_asset, order.listing.instrument.quote_asset)
        row = reports.wallet_row(account, coins, self._dollars())
        account.publish(reports.wallet_event(account, row, next(self._wallet_numbers), now_us))
