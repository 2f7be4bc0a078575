"""What the Bybit market of the sandbox lists, and how instruments-info prints it (reference: Bybit v5, 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from .. import symbols
from ..decimals import E8, parse_e8
from ..symbols import Instrument
from . import money

ONLY_HERE = "MNTUSDT"
"""A default symbol that the Binance side does not list."""
ONLY_THERE = "BNBUSDT"
"""A default symbol of the Binance side that is not listed here."""
FIRST_SYMBOL_ID = 11

PRICE_RATIO_X, PRICE_RATIO_Y = Decimal("0.01"), Decimal("0.02")
"""``priceLimitRatioX`` and ``priceLimitRatioY`` of all symbols (reference: 3.7)."""


@dataclass(frozen=True)
class Listing:
    """A symbol of this market. Amounts are in the units of :mod:`.money` (u), quantities and prices as in the market."""

    symbol_id: int
    instrument: Instrument
    """What the matching engine knows: price tick, quantity step (``basePrecision``), usual sizes."""
    quote_precision: int
    """Step of amounts of the quote coin."""
    min_order_amount: int
    max_order_amount: int
    min_lots: int
    """``minOrderQty``, which is shown but not enforced any more: the value of an order is what counts."""
    max_limit_lots: int
    max_market_lots: int

    @property
    def symbol(self) -> str:
        """Its name."""
        return self.instrument.symbol

    def price_units(self, ticks: int) -> int:
        """A price in u."""
        return ticks * self.instrument.tick_e8 * money.E8_IN_UNITS

    def base_units(self, lots: int) -> int:
        """A quantity in u of the base coin."""
        return lots * self.instrument.step_e8 * money.E8_IN_UNITS

    def quote_units(self, ticks: int, lots: int) -> int:
        """The exact worth of a quantity at a price, in u of the quote coin."""
        return ticks * lots * self.instrument.tick_e8 * self.instrument.step_e8 * money.E16_IN_UNITS

    def price_text(self, ticks: int) -> str:
        """A price as the venue prints it, without trailing zeros."""
        return money.text_e8(ticks * self.instrument.tick_e8)

    def quantity_text(self, lots: int) -> str:
        """A quantity as the venue prints it, without trailing zeros."""
        return money.text_e8(lots * self.instrument.step_e8)

    def info(self, status: str) -> dict[str, Any]:
        """One entry of instruments-info."""
        return {
            "symbolId": self.symbol_id,
            "symbol": self.symbol,
            "baseCoin": self.instrument.base_asset,
            "quoteCoin": self.instrument.quote_asset,
            "innovation": "0",
            "status": status,
            "marginTrading": "none",
            "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": self.quantity_text(1),
                "quotePrecision": money.text(self.quote_precision),
                "minOrderQty": self.quantity_text(self.min_lots),
                "maxOrderQty": self.quantity_text(self.max_limit_lots),
                "minOrderAmt": money.text(self.min_order_amount),
                "maxOrderAmt": money.text(self.max_order_amount),
                "maxLimitOrderQty": self.quantity_text(self.max_limit_lots),
                "maxMarketOrderQty": self.quantity_text(self.max_market_lots),
                "postOnlyMaxLimitOrderSize": self.quantity_text(self.max_limit_lots),
            },
            "priceFilter": {"tickSize": self.price_text(1)},
            "riskParameters": {"priceLimitRatioX": str(PRICE_RATIO_X), "priceLimitRatioY": str(PRICE_RATIO_Y)},
            "symbolType": "",
        }


_STEPS: Mapping[str, tuple[str, str]] = {
    "BTCUSDT": ("0.1", "0.000001"),
    "ETHUSDT": ("0.01", "0.00001"),
    "SOLUSDT": ("0.01", "0.001"),
    symbols.THIN_SYMBOL: ("0.0005", "1"),
}
"""Price tick and quantity step where they are not those of the Binance side."""
_LEVELS = 1_600
"""Levels a side that the order flow maintains at most: more than the deepest stream shows."""


def _only_here() -> Instrument:
    tick, step = parse_e8("0.0001"), parse_e8("0.01")
    return Instrument(
        symbol=ONLY_HERE,
        base_asset="MNT",
        quote_asset="USDT",
        tick_e8=tick,
        step_e8=step,
        start_price=parse_e8("0.8231") // tick,
        typical_lots=parse_e8("400") // step,
        levels=800,
        gap_ticks=2,
        half_spread_ticks=1,
        rate_hz=8.0,
    )


def _adapted(instrument: Instrument) -> Instrument:
    """An instrument of the Binance side with this market's own steps."""
    tick, step = _STEPS.get(instrument.symbol, (None, None))
    tick_e8 = parse_e8(tick) if tick is not None else instrument.tick_e8
    step_e8 = parse_e8(step) if step is not None else instrument.step_e8
    typical_e8 = instrument.typical_lots * instrument.step_e8
    gap_e8 = instrument.gap_ticks * instrument.tick_e8
    start_price = max(10, instrument.start_price * instrument.tick_e8 // tick_e8)
    return replace(
        instrument,
        tick_e8=tick_e8,
        step_e8=step_e8,
        start_price=start_price,
        typical_lots=max(1, typical_e8 // step_e8),
        levels=min(instrument.levels, _LEVELS),
        # Wide enough that the basis does not run through the book faster than the order flow can follow.
        gap_ticks=max(1, gap_e8 // tick_e8, round(start_price * 1.5e-5)),
        half_spread_ticks=max(1, instrument.half_spread_ticks * instrument.tick_e8 // tick_e8),
    )


def describe(name: str, seed: int | str) -> Instrument:
    """The instrument of any symbol. Raises ``ValueError`` for what cannot be one."""
    if not (name.isascii() and symbols.valid_symbol(name)):
        raise ValueError(f"not a symbol of Bybit: {name!r} (expected 2 to 40 uppercase letters and digits, ASCII)")
    if name == ONLY_HERE:
        return _only_here()
    known = {one.symbol: one for one in symbols.default_instruments()}
    return _adapted(known.get(name) or symbols.generated_instrument(name, seed))


def choose(
    names: Iterable[str] | None, binance: Iterable[Instrument], named: bool, seed: int, rate_hz: float | None
) -> list[Instrument]:
    """What is listed: the named symbols, or without names those of the Binance side.

    ``named`` says that the user has named the latter; if not, each side lists a symbol that the other does not. Raises
    ``ValueError`` for a name that cannot be a symbol or appears twice.
    """
    if names is not None:
        wanted = list(names)
        twice = sorted(name for name, count in Counter(wanted).items() if count > 1)
        if twice:
            raise ValueError(f"symbols of Bybit named twice: {', '.join(twice)}")
        chosen = [describe(name, seed) for name in wanted]
    else:
        # Binance's special cases (not trading, never traded, not ASCII) are its own.
        special = {one.symbol for one in symbols.special_instruments()}
        chosen = [_adapted(one) for one in binance if one.symbol.isascii() and one.symbol not in special]
        if not named:
            chosen = [*(one for one in chosen if one.symbol != ONLY_THERE), _only_here()]
    if rate_hz is None:
        return chosen
    return [one if one.symbol == symbols.THIN_SYMBOL else replace(one, rate_hz=rate_hz) for one in chosen]


def listing(instrument: Instrument, symbol_id: int) -> Listing:
    """The limits of an instrument on this market."""
    step = instrument.step_e8 * money.E8_IN_UNITS
    price_e8 = instrument.start_price * instrument.tick_e8
    typical = instrument.typical_lots
    # The product of the two steps, but never finer than the venue's own 0.0000001.
    quote_precision = max(10**13, instrument.tick_e8 * instrument.step_e8 * money.E16_IN_UNITS)
    minimum = instrument.min_notional_e8
    return Listing(
        symbol_id=symbol_id,
        instrument=instrument,
        quote_precision=quote_precision,
        min_order_amount=minimum * money.E8_IN_UNITS,
        max_order_amount=max(1, typical * 20_000 * step * price_e8 // E8 // money.UNIT) * money.UNIT,
        min_lots=max(1, minimum * E8 // max(1, price_e8 * instrument.step_e8) // 5),
        max_limit_lots=typical * 1_000,
        max_market_lots=typical * 500,
    )
