"""Those who follow the market of a symbol from within, as the market sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .matching import LevelChange, Trade

if TYPE_CHECKING:
    from .symbol_market import SymbolMarket


class Watcher(Protocol):
    """Something that follows every change of a book. Both methods are called while the symbol's lock is held."""

    def take(self, changes: list[LevelChange]) -> None:
        """One whole action of the market has changed these levels."""

    def restart(self) -> None:
        """The book has been built anew."""


class Owners(Protocol):
    """Those behind the orders that are not the flow's. All methods are called while the symbol's lock is held."""

    def traded(self, market: SymbolMarket, trades: list[Trade]) -> None:
        """These trades of one action concern at least one order that is not the flow's."""

    def restarted(self, market: SymbolMarket) -> None:
        """The market has been built anew: all orders are gone."""

    def retired(self, market: SymbolMarket) -> None:
        """The symbol has been delisted: no order can trade or be cancelled any more."""
