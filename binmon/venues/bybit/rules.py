"""What Bybit asks of a market order: the filters of instruments-info (reference 3.2)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from binmon.messages import TradingRules
from binmon.venues.base import MalformedFrame
from binmon.venues.bybit.endpoints import NAME
from binmon.venues.bybit.market import status_of
from binmon.venues.bybit.orders import ZERO, amount_of


class _LotSize(msgspec.Struct):
    base_step: str = msgspec.field(name="basePrecision", default="")
    quote_step: str = msgspec.field(name="quotePrecision", default="")
    min_quantity: str = msgspec.field(name="minOrderQty", default="")
    max_quantity: str = msgspec.field(name="maxMarketOrderQty", default="")
    min_amount: str = msgspec.field(name="minOrderAmt", default="")
    max_amount: str = msgspec.field(name="maxOrderAmt", default="")


class Listed(msgspec.Struct):
    """One symbol, as far as orders are concerned."""

    symbol: str
    status: str
    base: str = msgspec.field(name="baseCoin")
    quote: str = msgspec.field(name="quoteCoin")
    lot_size: _LotSize = msgspec.field(name="lotSizeFilter")


class ListedPage(msgspec.Struct):
    """The answer for one symbol."""

    listed: list[Listed] = msgspec.field(name="list")


LISTED = msgspec.json.Decoder(ListedPage)


def trading_rules(listed: Listed) -> TradingRules:
    """The rules for market orders. Raises MalformedFrame for numbers that are none.

    ``minOrderQty`` and ``maxOrderAmt`` are deprecated and still sent: an order that keeps to them keeps to the others, too.
    """
    lot = listed.lot_size
    step, least = _size(lot.base_step), _size(lot.min_quantity)
    return TradingRules(
        venue=NAME,
        symbol=listed.symbol,
        base=listed.base,
        quote=listed.quote,
        status=status_of(listed.status),
        min_quantity=max(least, step),
        max_quantity=_size(lot.max_quantity),
        quantity_step=step,
        min_notional=_size(lot.min_amount),
        max_notional=_size(lot.max_amount),
        market_orders=True,
        quote_step=_size(lot.quote_step),
    )


def why_not(rules: TradingRules, quantity: Decimal | None, quote_amount: Decimal | None, price: Decimal) -> str | None:
    """Which rule an order breaks, in words; None for none. A quantity is judged by ``price``."""
    if rules.status != "TRADING":
        return f"{rules.symbol} is not trading (status {rules.status})"
    if quantity is not None:
        if rules.quantity_step > 0 and quantity % rules.quantity_step != 0:
            return f"{quantity:f} is no multiple of the step {rules.quantity_step:f}"
        if quantity < rules.min_quantity:
            return f"{quantity:f} is less than the least quantity {rules.min_quantity:f}"
        if ZERO < rules.max_quantity < quantity:
            return f"{quantity:f} is more than a market order may have ({rules.max_quantity:f})"
    if quote_amount is not None and rules.quote_step > 0 and quote_amount % rules.quote_step != 0:
        return f"{quote_amount:f} is no multiple of the step {rules.quote_step:f}"
    worth = quote_amount if quote_amount is not None else (quantity or ZERO) * price
    if worth < rules.min_notional:
        return f"it is worth {worth:f} {rules.quote}, and the least is {rules.min_notional:f}"
    if ZERO < rules.max_notional < worth:
        return f"it is worth {worth:f} {rules.quote}, and the most is {rules.max_notional:f}"
    return None


def _size(text: str) -> Decimal:
    number = amount_of(text)
    if number < 0:
        raise MalformedFrame(f"a size below zero: {number}")
    return number
