"""What an order came to, from its fills, against what was quoted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from binmon.execution.exact import exact
from binmon.execution.pricing import BASIS_POINTS, Quote
from binmon.messages import OrderSide
from binmon.venues.trading import Execution


@dataclass(frozen=True, slots=True)
class Settlement:
    """The fills of one order added up, exactly. ``fees`` by asset, as the venue took them.

    Prices are None for an order without fills. Slippage is signed: above zero is worse than quoted, below better; in
    quote currency for one unit of base currency, and in basis points of the quoted average.
    """

    quoted: Quote
    fills: int
    quantity: Fraction
    notional: Fraction
    fees: Mapping[str, Fraction]

    @property
    def average_price(self) -> Fraction | None:
        """Quote currency for one unit of base currency, without fees."""
        return self.notional / self.quantity if self.quantity else None

    @property
    def slippage(self) -> Fraction | None:
        """Average against the quoted average."""
        average = self.average_price
        if average is None:
            return None
        worse = average - self.quoted.average_price
        return worse if self.quoted.side is OrderSide.BUY else -worse

    @property
    def slippage_bps(self) -> Fraction | None:
        """``slippage`` in basis points of the quoted average."""
        slippage = self.slippage
        return None if slippage is None else slippage / self.quoted.average_price * BASIS_POINTS

    @property
    def slippage_amount(self) -> Fraction | None:
        """``slippage`` on all that was traded, quote currency."""
        slippage = self.slippage
        return None if slippage is None else slippage * self.quantity

    @property
    def unfilled(self) -> Fraction:
        """How much less base currency was traded than quoted; below zero when it was more."""
        return self.quoted.quantity - self.quantity

    def changes(self) -> dict[str, Fraction]:
        """What the order did to the balances, by asset: fills and fees."""
        sign = 1 if self.quoted.side is OrderSide.BUY else -1
        changes = {self.quoted.base: sign * self.quantity, self.quoted.quote: -sign * self.notional}
        for asset, fee in self.fees.items():
            changes[asset] = changes.get(asset, Fraction(0)) - fee
        return changes

    def effective_price(self, prices: Mapping[str, Decimal] | None = None) -> Fraction | None:
        """The price with fees, as `Quote.effective_price` has it; None without fills.

        ``prices``: worth of one unit of a third asset in quote currency. Raises KeyError when one is needed and not there.
        """
        if not self.quantity:
            return None
        base, quote = self.quoted.base, self.quoted.quote
        in_base = self.fees.get(base, Fraction(0))
        in_quote = self.fees.get(quote, Fraction(0))
        for asset, fee in self.fees.items():
            if fee and asset not in (base, quote):
                in_quote += fee * exact((prices or {})[asset])
        if self.quoted.side is OrderSide.BUY:
            return (self.notional + in_quote) / (self.quantity - in_base)
        return (self.notional - in_quote) / (self.quantity + in_base)


def settle(quoted: Quote, executions: Iterable[Execution]) -> Settlement:
    """Add up the fills of the order that ``quoted`` was for. A fill that is told twice (by the stream and by REST) counts
    once, by its trade id.

    Raises ValueError when one trade id stands for two different fills.
    """
    by_id: dict[int, Execution] = {}
    for execution in executions:
        known = by_id.setdefault(execution.trade_id, execution)
        if _facts(known) != _facts(execution):
            raise ValueError(f"{quoted.venue}: trade {execution.trade_id} is told in two ways: {known}, {execution}")
    fees: dict[str, Fraction] = {}
    quantity = notional = Fraction(0)
    for fill in by_id.values():
        quantity += exact(fill.quantity)
        notional += exact(fill.quote)
        if fill.commission:
            fees[fill.commission_asset] = fees.get(fill.commission_asset, Fraction(0)) + exact(fill.commission)
    return Settlement(quoted, len(by_id), quantity, notional, fees)


def _facts(execution: Execution) -> tuple[object, ...]:
    """What is money in a fill; its time may come from another clock."""
    return (execution.price, execution.quantity, execution.quote, execution.commission, execution.commission_asset)
