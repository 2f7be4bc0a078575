"""Instruments: what the sandbox lists, and how exchangeInfo prints them.

Shapes follow the reference (Binance Spot REST, exchangeInfo): filters as decimal strings, ``permissions`` always
empty, ``permissionSets`` an array of arrays.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .decimals import E8, format_e8, parse_e8

STATUSES = ("TRADING", "HALT", "BREAK", "CANCEL_ONLY", "END_OF_DAY")
"""Symbol statuses of the venue."""

QUOTE_ASSETS = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "AUD", "BRL", "TRY", "GBP", "JPY", "USD",
)  # fmt: skip
"""Known quote assets, longest first, so that the suffix of a symbol is found unambiguously."""

ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")
"""Order types that the sandbox carries out."""
SELF_TRADE_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
ORDERS_PER_10S, ORDERS_PER_DAY = 50, 160_000
"""Limits of the unfilled order counts."""

UNICODE_SYMBOL = "这是测试币456"
"""Non-ASCII symbol, listed on the venue's testnet too (reference: Binance Spot, testnet)."""
BREAK_SYMBOL = "PAUSEUSDT"
"""A listed symbol that is not trading."""
UNTRADED_SYMBOL = "QUIETUSDT"
"""A trading symbol with a book but without a single trade."""
THIN_SYMBOL = "THINUSDT"
"""A symbol with a shallow book that is silent for seconds at a time."""


@dataclass(frozen=True)
class Instrument:
    """Everything fixed about a symbol.

    ``tick_e8`` and ``step_e8`` are price tick and quantity step in units of 0.00000001; ``start_price`` is in ticks,
    ``typical_lots`` the usual order size in steps, ``levels`` the depth of a side that the order flow maintains,
    ``gap_ticks`` the usual distance between levels, ``rate_hz`` book actions a second.
    """

    symbol: str
    base_asset: str
    quote_asset: str
    tick_e8: int
    step_e8: int
    start_price: int
    typical_lots: int
    levels: int
    gap_ticks: int
    half_spread_ticks: int
    rate_hz: float
    status: str = "TRADING"
    with_trades: bool = True
    with_history: bool = True
    min_notional_e8: int = 5 * E8

    def price_text(self, ticks: int) -> str:
        """A price in ticks as the venue prints it."""
        return format_e8(ticks * self.tick_e8)

    def quantity_text(self, lots: int) -> str:
        """A quantity in lots as the venue prints it."""
        return format_e8(lots * self.step_e8)

    def quote_text(self, ticks_times_lots: int) -> str:
        """A quote amount, given as price in ticks times quantity in lots, as the venue prints it."""
        return format_e8(ticks_times_lots * self.tick_e8 * self.step_e8 // E8)


def _instrument(
    symbol: str,
    base: str,
    quote: str,
    tick: str,
    step: str,
    price: str,
    typical: str,
    levels: int,
    gap: int,
    spread: int,
    rate: float,
) -> Instrument:
    tick_e8, step_e8 = parse_e8(tick), parse_e8(step)
    return Instrument(
        symbol=symbol,
        base_asset=base,
        quote_asset=quote,
        tick_e8=tick_e8,
        step_e8=step_e8,
        start_price=parse_e8(price) // tick_e8,
        typical_lots=max(1, parse_e8(typical) // step_e8),
        levels=levels,
        gap_ticks=gap,
        half_spread_ticks=spread,
        rate_hz=rate,
    )


def default_instruments() -> list[Instrument]:
    """The symbols listed without ``--symbols``: four liquid ones, a thin one and three special cases."""
    thin = _instrument(THIN_SYMBOL, "THIN", "USDT", "0.0001", "0.1", "2.4180", "120", 60, 4, 6, 0.4)
    return [
        _instrument("BTCUSDT", "BTC", "USDT", "0.01", "0.00001", "65123.45", "0.08", 6500, 10, 1, 30.0),
        _instrument("ETHUSDT", "ETH", "USDT", "0.01", "0.0001", "3421.17", "1.2", 3000, 3, 1, 30.0),
        _instrument("BNBUSDT", "BNB", "USDT", "0.1", "0.001", "612.4", "4", 1500, 1, 1, 25.0),
        _instrument("SOLUSDT", "SOL", "USDT", "0.01", "0.001", "171.83", "20", 2000, 1, 1, 25.0),
        thin,
        *special_instruments(),
    ]


def special_instruments() -> list[Instrument]:
    """Symbols every sandbox lists, whatever ``--symbols`` says: non-ASCII, not trading, never traded."""
    plain = _instrument("X", "X", "USDT", "0.001", "0.01", "1.250", "50", 80, 2, 2, 1.0)
    return [
        replace(plain, symbol=UNICODE_SYMBOL, base_asset="这是测试币", quote_asset="456", with_history=False),
        replace(plain, symbol=BREAK_SYMBOL, base_asset="PAUSE", status="BREAK"),
        replace(plain, symbol=UNTRADED_SYMBOL, base_asset="QUIET", with_trades=False, with_history=False),
    ]


def split_symbol(symbol: str) -> tuple[str, str]:
    """Guess base and quote asset from the suffix; the last character is the quote when no suffix is known."""
    for quote in QUOTE_ASSETS:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol[:-1] or symbol, symbol[-1]


def valid_symbol(symbol: str) -> bool:
    """Whether a text can name a symbol: letters and digits of any script, no lowercase, 2 to 40 characters."""
    return 2 <= len(symbol) <= 40 and symbol.isalnum() and symbol == symbol.upper()


_QUOTE_VALUE = {"BTC": 65_000.0, "ETH": 3_400.0, "BNB": 600.0, "BRL": 0.2, "TRY": 0.03, "JPY": 0.0067}
"""Rough worth of one unit of a quote asset in US dollars; 1 for those not named."""


def generated_instrument(symbol: str, seed: int | str) -> Instrument:
    """An instrument with plausible metadata for a symbol nobody described; the same for the same name and seed.

    Raises ``ValueError`` when the text cannot name a symbol.
    """
    if not valid_symbol(symbol):
        raise ValueError(f"not a symbol: {symbol!r} (expected 2 to 40 uppercase letters and digits)")
    base, quote = split_symbol(symbol)
    digest = hashlib.sha256(f"{seed}:{symbol}".encode()).digest()
    dollars = 10 ** (-1.5 + 4.0 * digest[0] / 255)
    quote_value = _QUOTE_VALUE.get(quote, 1.0)
    price = dollars / quote_value
    tick_decimals = min(8, max(2, 4 - math.floor(math.log10(price))))
    step_decimals = min(8, max(0, math.floor(math.log10(dollars)) + 2))
    tick_e8, step_e8 = 10 ** (8 - tick_decimals), 10 ** (8 - step_decimals)
    start_price = max(200, round(price * E8) // tick_e8)
    return Instrument(
        symbol=symbol,
        base_asset=base,
        quote_asset=quote,
        tick_e8=tick_e8,
        step_e8=step_e8,
        start_price=start_price,
        typical_lots=max(2, round(200 / dollars * E8) // step_e8),
        levels=50,
        gap_ticks=1 + digest[1] % 3,
        half_spread_ticks=1 + digest[2] % 3,
        rate_hz=0.5 + digest[3] / 255,
        with_history=False,
        min_notional_e8=max(1, round(5 / quote_value * E8)) // 10_000 * 10_000 or 10_000,
    )


def choose_instruments(symbols: Iterable[str] | None, seed: int, rate_hz: float | None) -> list[Instrument]:
    """Instruments for a list of names (``None``: the default ones), known ones as described, others generated.

    ``rate_hz`` replaces the order-flow rate of all symbols but the thin and the special ones. Raises ``ValueError`` for a name that cannot be a
    symbol or appears twice.
    """
    known = {instrument.symbol: instrument for instrument in default_instruments()}
    if symbols is None:
        chosen = list(known.values())
    else:
        names = list(symbols)
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ValueError(f"symbols named twice: {', '.join(twice)}")
        chosen = [known[name] if name in known else generated_instrument(name, seed) for name in names]
        chosen += [special for special in special_instruments() if special.symbol not in names]
    if rate_hz is None:
        return chosen
    fixed = {THIN_SYMBOL, *(special.symbol for special in special_instruments())}
    return [one if one.symbol in fixed else replace(one, rate_hz=rate_hz) for one in chosen]


def symbol_info(instrument: Instrument, status: str, with_permission_sets: bool) -> dict[str, Any]:
    """One entry of ``symbols`` in exchangeInfo."""
    tick, step = format_e8(instrument.tick_e8), format_e8(instrument.step_e8)
    largest = format_e8(instrument.typical_lots * instrument.step_e8 * 10_000)
    market_largest = format_e8(instrument.typical_lots * instrument.step_e8 * 100)
    highest = format_e8(max(instrument.tick_e8 * instrument.start_price // E8 * 20, 1) * E8)
    return {
        "symbol": instrument.symbol,
        "status": status,
        "baseAsset": instrument.base_asset,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote_asset,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": highest, "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": largest, "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 100},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": market_largest,
                "stepSize": "0.00000000",
            },
            {
                "filterType": "TRAILING_DELTA",
                "minTrailingAboveDelta": 10,
                "maxTrailingAboveDelta": 2000,
                "minTrailingBelowDelta": 10,
                "maxTrailingBelowDelta": 2000,
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "5",
                "bidMultiplierDown": "0.2",
                "askMultiplierUp": "5",
                "askMultiplierDown": "0.2",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": format_e8(instrument.min_notional_e8),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]] if with_permission_sets else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": list(SELF_TRADE_MODES),
    }


def exchange_info(entries: list[dict[str, Any]], server_time: int, weight_limit: int) -> dict[str, Any]:
    """The exchangeInfo body around already printed symbols."""
    return {
        "timezone": "UTC",
        "serverTime": server_time,
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": weight_limit,
            },
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": ORDERS_PER_10S},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": ORDERS_PER_DAY},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
        ],
        "exchangeFilters": [],
        "symbols": entries,
    }
