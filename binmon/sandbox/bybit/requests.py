"""Reading what orders ask for (reference: Bybit v5, 3.8 and 3.9). Bodies are JSON objects; numbers in them are texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..market import Market, UnknownSymbol
from ..matching import Side, TimeInForce
from ..self_trades import SelfTrade
from ..symbol_market import SymbolMarket
from . import money
from .errors import DUPLICATE, INVALID_SYMBOL, RetError, wrong
from .instruments import Listing

_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_KNOWN = frozenset(
    (
        "category", "symbol", "side", "orderType", "qty", "marketUnit", "price", "timeInForce", "orderLinkId",
        "isLeverage", "orderFilter", "triggerPrice", "slippageToleranceType", "slippageTolerance", "rpiTakerAccess",
        "smpType", "takeProfit", "stopLoss", "tpLimitPrice", "slLimitPrice", "tpOrderType", "slOrderType",
    )
)  # fmt: skip
_SELF_TRADES = {
    "None": SelfTrade.NONE,
    "CancelMaker": SelfTrade.EXPIRE_MAKER,
    "CancelTaker": SelfTrade.EXPIRE_TAKER,
    "CancelBoth": SelfTrade.EXPIRE_BOTH,
}
_TIMES = ("GTC", "IOC", "FOK", "PostOnly")


@dataclass(frozen=True)
class OrderRequest:
    """A new order as it was asked for: price in ticks, quantity in lots, amount in u."""

    market: SymbolMarket
    listing: Listing
    side: Side
    kind: str
    lots: int
    """Zero for one by value."""
    amount: int
    """Zero for one by quantity."""
    price: int
    """Zero for a market order."""
    time_in_force: str
    link_id: str
    market_unit: str
    slippage_type: str
    slippage: str
    self_trade: str

    @property
    def is_market(self) -> bool:
        """Whether it takes what there is."""
        return self.kind == "Market"

    @property
    def engine_time_in_force(self) -> TimeInForce:
        """How the matching engine runs it; market orders always run as IOC."""
        if self.is_market:
            return TimeInForce.IOC
        return TimeInForce.GTC if self.time_in_force == "PostOnly" else TimeInForce(self.time_in_force)

    @property
    def prevention(self) -> SelfTrade:
        """What happens when it meets an order of its own account."""
        return _SELF_TRADES[self.self_trade]


def required(body: Mapping[str, Any], name: str) -> str:
    """A text that must be there. Raises 10001."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise wrong(name)
    return value


def optional(body: Mapping[str, Any], name: str) -> str:
    """A text, or ``""``. Raises 10001 when it is something else."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(name)
    return value


def spot_only(body: Mapping[str, Any]) -> None:
    """Refuse (10001) another category than spot."""
    if required(body, "category") != "spot":
        raise RetError(10001, "category only support spot")


def read_order(body: Mapping[str, Any], market: Market, listing_of: Any) -> OrderRequest:
    """Read the body of order/create. Raises :class:`.errors.RetError`; filters are looked at later."""
    spot_only(body)
    unknown = sorted(set(body) - _KNOWN)
    if unknown:
        raise RetError(170003, f"An unknown parameter was sent: {unknown[0]}")
    symbol = required(body, "symbol")
    try:
        found: SymbolMarket = market.symbol(symbol)
        listing: Listing = listing_of(symbol)
    except UnknownSymbol as error:
        raise INVALID_SYMBOL.fresh() from error
    side, kind = required(body, "side"), required(body, "orderType")
    if side not in ("Buy", "Sell"):
        raise RetError(170117, "Invalid side.")
    if kind not in ("Market", "Limit"):
        raise RetError(170116, "Invalid orderType.")
    if optional(body, "orderFilter") not in ("", "Order"):
        raise RetError(170201, "Invalid orderFilter: the sandbox knows Order only.")
    time_in_force = "IOC" if kind == "Market" else optional(body, "timeInForce") or "GTC"
    if time_in_force not in _TIMES:
        raise RetError(170115, "Invalid timeInForce.")
    unit = _unit(body, kind, side)
    lots, amount = _quantity(body, listing, by_value=unit == "quoteCoin")
    slippage_type, slippage = _slippage(body, kind)
    self_trade = optional(body, "smpType") or "None"
    if self_trade not in _SELF_TRADES:
        raise wrong("smpType")
    link_id = optional(body, "orderLinkId")
    if link_id and _LINK_ID.fullmatch(link_id) is None:
        raise RetError(170130, "Data sent for parameter orderLinkId is not valid.")
    return OrderRequest(
        market=found,
        listing=listing,
        side=Side.BUY if side == "Buy" else Side.SELL,
        kind=kind,
        lots=lots,
        amount=amount,
        price=_price(body, listing) if kind == "Limit" else 0,
        time_in_force=time_in_force,
        link_id=link_id,
        market_unit=unit if kind == "Market" else "",
        slippage_type=slippage_type,
        slippage=slippage,
        self_trade=self_trade,
    )


def _unit(body: Mapping[str, Any], kind: str, side: str) -> str:
    """What ``qty`` counts (the table of 3.8): without a word a market buy is by value, all else by quantity."""
    unit = optional(body, "marketUnit")
    if unit not in ("", "baseCoin", "quoteCoin"):
        raise wrong("marketUnit")
    if kind == "Limit":
        return "baseCoin"
    return unit or ("quoteCoin" if side == "Buy" else "baseCoin")


def _number(body: Mapping[str, Any], name: str, code: int, text: str) -> int:
    """A number above zero, in u. Raises 10001 for no number, ``code`` for too many decimals or zero."""
    value = required(body, name)
    if _NUMBER.fullmatch(value) is None:
        raise RetError(170130, f"Data sent for parameter '{name}' is not valid.")
    try:
        return money.to_units(value)
    except ValueError as error:
        raise RetError(code, text) from error


def _quantity(body: Mapping[str, Any], listing: Listing, by_value: bool) -> tuple[int, int]:
    if by_value:
        amount = _number(body, "qty", 170148, "Market order amount decimal too long.")
        if amount % listing.quote_precision:
            raise RetError(170148, "Market order amount decimal too long.")
        if not amount:
            raise RetError(170140, "Order value exceeded lower limit.")
        return 0, amount
    units, step = _number(body, "qty", 170137, "Order quantity has too many decimals."), listing.base_units(1)
    if units % step:
        raise RetError(170137, "Order quantity has too many decimals.")
    if not units:
        raise RetError(170136, "Order quantity exceeded lower limit.")
    return units // step, 0


def _price(body: Mapping[str, Any], listing: Listing) -> int:
    units, tick = _number(body, "price", 170134, "Order price has too many decimals."), listing.price_units(1)
    if units % tick:
        raise RetError(170134, "Order price has too many decimals.")
    if not units:
        raise RetError(170133, "Order price lower than the minimum.")
    return units // tick


def _slippage(body: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """``slippageToleranceType`` and ``slippageTolerance`` of a market order: both, or neither."""
    unit, value = optional(body, "slippageToleranceType"), optional(body, "slippageTolerance")
    if unit in ("", "UNKNOWN") and not value:
        return "UNKNOWN", ""
    if kind != "Market" or unit not in ("TickSize", "Percent") or _NUMBER.fullmatch(value) is None:
        raise wrong("slippageTolerance")
    number = Decimal(value)
    if unit == "TickSize":
        fits = number == number.to_integral_value() and 1 <= number <= 10_000
    else:
        fits = number * 100 == (number * 100).to_integral_value() and Decimal("0.01") <= number <= 10
    if not fits:
        raise wrong("slippageTolerance")
    return unit, value


def taken(link_id: str) -> RetError:
    """The refusal of a client id that was used before."""
    return RetError(DUPLICATE.code, f"{DUPLICATE.message}: {link_id}")
