"""Filters of a symbol, in exact integer arithmetic (reference: Binance Spot, 9).

The rules are read from the same texts that exchangeInfo prints, so that both always agree. Prices and quantities are
integers in units of 0.00000001 (e8), their products in units of 10^-16.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..decimals import E8, parse_e8
from ..matching import Side
from ..parameters import ApiError
from ..symbols import Instrument, symbol_info

MAX_ASSETS: Mapping[str, str] = {"JPY": "1000000.00000000"}
"""Largest order by asset, for every account (reference: Binance Spot, 12)."""


def failure(name: str) -> ApiError:
    """What a request is answered that fails a filter."""
    return ApiError(400, -1013, f"Filter failure: {name}")


@dataclass(frozen=True)
class Rules:
    """The filters of one symbol as numbers; zero switches a bound or a step off."""

    min_price: int
    max_price: int
    tick: int
    min_quantity: int
    max_quantity: int
    step: int
    market_min_quantity: int
    market_max_quantity: int
    market_step: int
    bid_up: int
    bid_down: int
    ask_up: int
    ask_down: int
    min_notional: int
    min_to_market: bool
    max_notional: int
    max_to_market: bool
    max_orders: int
    max_amends: int

    @classmethod
    def of(cls, filters: list[dict[str, Any]]) -> Rules:
        """Read the ``filters`` of an exchangeInfo symbol."""
        by_name = {one["filterType"]: one for one in filters}
        price, lot, market_lot = by_name["PRICE_FILTER"], by_name["LOT_SIZE"], by_name["MARKET_LOT_SIZE"]
        percent, notional = by_name["PERCENT_PRICE_BY_SIDE"], by_name["NOTIONAL"]
        return cls(
            min_price=parse_e8(price["minPrice"]),
            max_price=parse_e8(price["maxPrice"]),
            tick=parse_e8(price["tickSize"]),
            min_quantity=parse_e8(lot["minQty"]),
            max_quantity=parse_e8(lot["maxQty"]),
            step=parse_e8(lot["stepSize"]),
            market_min_quantity=parse_e8(market_lot["minQty"]),
            market_max_quantity=parse_e8(market_lot["maxQty"]),
            market_step=parse_e8(market_lot["stepSize"]),
            bid_up=parse_e8(percent["bidMultiplierUp"]),
            bid_down=parse_e8(percent["bidMultiplierDown"]),
            ask_up=parse_e8(percent["askMultiplierUp"]),
            ask_down=parse_e8(percent["askMultiplierDown"]),
            min_notional=parse_e8(notional["minNotional"]),
            min_to_market=bool(notional["applyMinToMarket"]),
            max_notional=parse_e8(notional["maxNotional"]),
            max_to_market=bool(notional["applyMaxToMarket"]),
            max_orders=int(by_name["MAX_NUM_ORDERS"]["maxNumOrders"]),
            max_amends=int(by_name["MAX_NUM_ORDER_AMENDS"]["maxNumOrderAmends"]),
        )


@functools.lru_cache(maxsize=8192)
def rules_of(instrument: Instrument) -> Rules:
    """The rules of an instrument."""
    return Rules.of(symbol_info(instrument, "TRADING", False)["filters"])


@dataclass(frozen=True)
class Proposal:
    """What the filters look at, in e8 units: zero for a price or quantity that the order does not have."""

    side: Side
    is_market: bool
    price: int
    quantity: int
    quote: int = 0
    """Amount of ``quoteOrderQty``."""


def check(rules: Rules, proposal: Proposal, reference_price: int | None, open_orders: int) -> None:
    """Refuse (-1013) an order that fails a filter.

    ``reference_price`` is the average price of the last minutes in e8 units, ``None`` when nothing ever traded;
    ``open_orders`` counts those of the account on the symbol.
    """
    if not proposal.is_market:
        _check_price(rules, proposal, reference_price)
    if proposal.quantity or not proposal.quote:
        _check_range("LOT_SIZE", proposal.quantity, rules.min_quantity, rules.max_quantity, rules.step)
        if proposal.is_market:
            check_market_lots(rules, proposal.quantity)
    _check_notional(rules, proposal, reference_price)
    if open_orders >= rules.max_orders:
        raise failure("MAX_NUM_ORDERS")


def check_market_lots(rules: Rules, quantity: int) -> None:
    """Refuse (-1013) a market order's quantity."""
    _check_range("MARKET_LOT_SIZE", quantity, rules.market_min_quantity, rules.market_max_quantity, rules.market_step)


def check_assets(instrument: Instrument, proposal: Proposal, reference_price: int | None) -> None:
    """Refuse (-1013) an order over the account's largest for an asset: its quantity, or its worth in the quote asset."""
    limit = MAX_ASSETS.get(instrument.base_asset)
    if limit is not None and proposal.quantity > parse_e8(limit):
        raise failure("MAX_ASSET")
    limit = MAX_ASSETS.get(instrument.quote_asset)
    if limit is not None and _notional(proposal, reference_price or 0) > parse_e8(limit) * E8:
        raise failure("MAX_ASSET")


def _check_range(name: str, value: int, least: int, most: int, step: int) -> None:
    if value < least or (most and value > most) or (step and value % step):
        raise failure(name)


def _check_price(rules: Rules, proposal: Proposal, reference_price: int | None) -> None:
    _check_range("PRICE_FILTER", proposal.price, rules.min_price, rules.max_price, rules.tick)
    if reference_price is None:
        return
    if proposal.side is Side.BUY:
        up, down = rules.bid_up, rules.bid_down
    else:
        up, down = rules.ask_up, rules.ask_down
    if not reference_price * down <= proposal.price * E8 <= reference_price * up:
        raise failure("PERCENT_PRICE_BY_SIDE")


def _notional(proposal: Proposal, reference_price: int) -> int:
    """Worth of an order in units of 10^-16."""
    if proposal.quote:
        return proposal.quote * E8
    return (reference_price if proposal.is_market else proposal.price) * proposal.quantity


def _check_notional(rules: Rules, proposal: Proposal, reference_price: int | None) -> None:
    lower, upper = rules.min_notional * E8, rules.max_notional * E8
    if proposal.is_market:
        lower = lower if rules.min_to_market else 0
        upper = upper if rules.max_to_market else 0
        if not lower and not upper:
            return
        if reference_price is None:
            # A symbol that never traded has no price to value a market order with (reference: 3.4).
            raise failure("NOTIONAL")
    worth = _notional(proposal, reference_price or 0)
    if worth < lower or (upper and worth > upper):
        raise failure("NOTIONAL")
