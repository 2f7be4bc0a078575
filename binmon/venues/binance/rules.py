"""What Binance Spot asks of a market order: the filters of exchangeInfo, joined (reference 3.4 and 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from binmon.messages import TradingRules
from binmon.venues.base import MalformedFrame
from binmon.venues.binance.limits import RateLimit
from binmon.venues.binance.orders import VENUE

ZERO = Decimal(0)


class _Filter(msgspec.Struct):
    kind: str = msgspec.field(name="filterType")
    min_quantity: Decimal = msgspec.field(name="minQty", default=ZERO)
    max_quantity: Decimal = msgspec.field(name="maxQty", default=ZERO)
    step: Decimal = msgspec.field(name="stepSize", default=ZERO)
    min_notional: Decimal = msgspec.field(name="minNotional", default=ZERO)
    max_notional: Decimal = msgspec.field(name="maxNotional", default=ZERO)
    apply_to_market: bool = msgspec.field(name="applyToMarket", default=False)
    apply_min_to_market: bool = msgspec.field(name="applyMinToMarket", default=False)
    apply_max_to_market: bool = msgspec.field(name="applyMaxToMarket", default=False)


class ListedSymbol(msgspec.Struct):
    """One symbol of exchangeInfo, as far as orders are concerned."""

    symbol: str
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")
    base_precision: int | None = msgspec.field(name="baseAssetPrecision", default=None)
    order_types: list[str] | None = msgspec.field(name="orderTypes", default=None)  # None: it does not say
    spot_allowed: bool = msgspec.field(name="isSpotTradingAllowed", default=True)
    filters: list[_Filter] = []


class SymbolInfo(msgspec.Struct):
    """exchangeInfo of one symbol."""

    symbols: list[ListedSymbol]
    rate_limits: list[RateLimit] = msgspec.field(name="rateLimits", default_factory=list)


def trading_rules(listed: ListedSymbol) -> TradingRules:
    """The rules for market orders in ``listed``. Raises MalformedFrame for numbers that are none.

    LOT_SIZE and MARKET_LOT_SIZE apply both, and no quantity may have more decimals than the base asset.
    """
    by_kind = {one.kind: one for one in listed.filters}
    lots = [by_kind[kind] for kind in ("LOT_SIZE", "MARKET_LOT_SIZE") if kind in by_kind]
    steps = [lot.step for lot in lots]
    if listed.base_precision is not None and 0 <= listed.base_precision <= 18:
        steps.append(Decimal(1).scaleb(-listed.base_precision))
    for lot in by_kind.values():
        for number in (lot.min_quantity, lot.max_quantity, lot.min_notional, lot.max_notional):
            if not number.is_finite() or number < 0:
                raise MalformedFrame(f"rules of {listed.symbol}: {number} is no size")
    least, most = _notional_bounds(by_kind)
    return TradingRules(
        venue=VENUE,
        symbol=listed.symbol,
        base=listed.base,
        quote=listed.quote,
        status=listed.status,
        min_quantity=max((lot.min_quantity for lot in lots), default=ZERO),
        max_quantity=_least_positive(lot.max_quantity for lot in lots),
        quantity_step=common_step(steps),
        min_notional=least,
        max_notional=most,
        market_orders=(listed.order_types is None or "MARKET" in listed.order_types) and listed.spot_allowed,
    )


def common_step(steps: Iterable[Decimal]) -> Decimal:
    """The least number that is a whole multiple of every step; a step of zero is none. Raises MalformedFrame."""
    real = [step for step in steps if step != 0]
    if not all(step.is_finite() and step > 0 for step in real):
        raise MalformedFrame(f"steps that are none: {', '.join(map(str, real))}")
    if not real:
        return ZERO
    exponent = min(int(step.normalize().as_tuple().exponent) for step in real)
    whole = math.lcm(*(int(step.scaleb(-exponent)) for step in real))
    return Decimal(whole).scaleb(exponent)


def _notional_bounds(by_kind: dict[str, _Filter]) -> tuple[Decimal, Decimal]:
    """Least and most that a market order may be worth."""
    least, most = [ZERO], []
    if (old := by_kind.get("MIN_NOTIONAL")) is not None and old.apply_to_market:
        least.append(old.min_notional)
    if (both := by_kind.get("NOTIONAL")) is not None:
        if both.apply_min_to_market:
            least.append(both.min_notional)
        if both.apply_max_to_market:
            most.append(both.max_notional)
    return max(least), _least_positive(most)


def _least_positive(numbers: Iterable[Decimal]) -> Decimal:
    """The least of those that are a bound at all: zero is none."""
    return min((number for number in numbers if number != 0), default=ZERO)
