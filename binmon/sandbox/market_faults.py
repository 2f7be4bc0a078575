"""Faults that are no faults of the sandbox but turns of the market: prices, listings, statuses, silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .clock import VenueClock
from .decimals import parse_e8
from .fault_kinds import BadFault
from .market import Market, UnknownSymbol
from .symbol_market import SymbolMarket


class MarketFaults:
    """What can be done to a generated market. The methods take checked options and raise :class:`BadFault`."""

    def __init__(self, market: Market, clock: VenueClock) -> None:
        self._market = market
        self._clock = clock
        self.kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "freeze": self.freeze,
            "set_price": self.set_price,
            "new_symbol": self.new_symbol,
            "symbol_status": self.symbol_status,
            "remove_symbol": self.remove_symbol,
        }

    def freeze(self, options: dict[str, Any]) -> dict[str, Any]:
        """Stop the order flow of all symbols."""
        self._market.freeze(options["seconds"])
        return {"kind": "freeze"}

    def set_price(self, options: dict[str, Any]) -> dict[str, Any]:
        """Move a symbol to a price."""
        symbol = self._named(options["symbol"])
        try:
            ticks = parse_e8(options["price"]) // symbol.instrument.tick_e8
        except ValueError as error:
            raise BadFault(f"set_price: option 'price' is {options['price']!r}, expected a decimal number") from error
        if ticks <= symbol.instrument.half_spread_ticks + 1 or not symbol.active:
            raise BadFault(f"set_price: {options['symbol']} cannot move to {options['price']} (too low, or no market)")
        symbol.move_to(ticks, self._clock.now_us())
        self._market.hub.flush()
        return {"kind": "set_price", "price": symbol.instrument.price_text(ticks)}

    def new_symbol(self, options: dict[str, Any]) -> dict[str, Any]:
        """List a symbol."""
        try:
            self._market.add_symbol(options["symbol"], options["status"])
        except ValueError as error:
            raise BadFault(f"new_symbol: {error}") from error
        return {"kind": "new_symbol", "symbol": options["symbol"]}

    def symbol_status(self, options: dict[str, Any]) -> dict[str, Any]:
        """Change a symbol's status."""
        self._named(options["symbol"]).set_status(options["status"])
        return {"kind": "symbol_status", "symbol": options["symbol"], "status": options["status"]}

    def remove_symbol(self, options: dict[str, Any]) -> dict[str, Any]:
        """Delist a symbol."""
        self._named(options["symbol"])
        self._market.remove_symbol(options["symbol"])
        return {"kind": "remove_symbol", "symbol": options["symbol"]}

    def _named(self, name: str) -> SymbolMarket:
        try:
            return self._market.symbol(name)
        except UnknownSymbol as error:
            raise BadFault(f"symbol {name!r} is not listed") from error
