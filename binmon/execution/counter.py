"""One side of one market as an order sees it: what goes out and what comes in for a quantity, and what is allowed.

The bounds are those of the venue (`TradingRules`) and of the account, in whole lots. As the worth of a quantity only
grows with it, each bound is one quantity, and all that lies between the greatest lower and the least upper is valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from binmon.execution.exact import digits, down_to, exact, plain, step_of, up_to
from binmon.execution.ladder import Ladder
from binmon.execution.market import Charge, Fees, VenueMarket
from binmon.messages import OrderSide

_ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class Flows:
    """What an order of ``quantity`` moves. ``given`` and ``gained`` include the fee; a fee in a third asset counts by its
    worth. Buying gives quote currency and gains base currency, selling the other way round.
    """

    quantity: Fraction
    notional: Fraction
    fee: Charge
    given: Fraction
    gained: Fraction


class Counter:
    """A market seen by orders of one side. ``fees`` are those in force; they may differ from the market's own for an
    account that has not enough of the fee's asset (``for_notional``)."""

    def __init__(self, market: VenueMarket, side: OrderSide, fees: Fees | None = None) -> None:
        self.market, self.side, self.rules = market, side, market.rules
        self.fees = fees or market.fees
        self.step = step_of(market.rules.quantity_step)
        self.amount_step = step_of(market.quote_amount_step)
        self.ladder = Ladder(market.depth.facing(side))

    def for_notional(self, notional: Fraction) -> Counter:
        """This counter with the fees that an order worth ``notional`` pays: those of an account without the discount
        asset when what it has of it does not suffice. Where the account is not known, it is taken to suffice."""
        fees, account = self.fees, self.market.account
        if account is None or not fees.is_third(self.rules):
            return self
        otherwise = fees.without_asset()
        needed = fees.charge(self.side, _ZERO, notional, self.rules)
        if otherwise is None or needed.amount <= self.market.free(needed.asset):
            return self
        return Counter(self.market, self.side, otherwise)

    def flows(self, quantity: Fraction) -> Flows | None:
        """What an order of ``quantity`` moves; None when the known book ends before."""
        notional = self.ladder.value_of(quantity)
        if notional is None:
            return None
        fee = self.fees.charge(self.side, quantity, notional, self.rules)
        in_base = fee.amount if fee.asset == self.rules.base else _ZERO
        in_quote = _ZERO if fee.asset == self.rules.base else fee.value
        if self.side is OrderSide.BUY:
            return Flows(quantity, notional, fee, notional + in_quote, quantity - in_base)
        return Flows(quantity, notional, fee, quantity + in_base, notional - in_quote)

    # What the venue takes -----------------------------------------------------------------------------------------

    @cached_property
    def lowest(self) -> Fraction | None:
        """The least quantity that the venue takes; None when the known book is worth less than its minimum."""
        rules = self.rules
        bounds = [self.step, exact(rules.min_quantity)]
        if rules.min_notional > 0:
            worth = self.ladder.quantity_for(exact(rules.min_notional))
            if worth is None:
                return None
            bounds.append(worth)
            if self._reference is not None:
                bounds.append(exact(rules.min_notional) / self._reference)
        return up_to(max(bounds), self.step)

    @cached_property
    def highest(self) -> Fraction | None:
        """The greatest quantity that the venue takes, below one step when it takes none; None: it names no bound."""
        bounds = list(self._upper_bounds())
        return down_to(min(bounds), self.step) if bounds else None

    def _upper_bounds(self) -> Iterator[Fraction]:
        rules = self.rules
        if rules.max_quantity > 0:
            yield exact(rules.max_quantity)
        if rules.max_notional > 0:
            most = exact(rules.max_notional)
            worth = self.ladder.quantity_for(most)
            if worth is not None:
                yield worth
            if self._reference is not None:
                yield most / self._reference

    @property
    def _reference(self) -> Fraction | None:
        price = self.market.reference_price
        return exact(price) if price is not None and price > 0 else None

    def nearest(self, quantity: Fraction) -> tuple[Fraction, ...]:
        """The nearest valid quantities: the one below and the one above, where they exist. One for a valid quantity."""
        lowest, highest = self.lowest, self.highest
        if lowest is None or (highest is not None and highest < lowest):
            return ()
        near = []
        for candidate in (down_to(quantity, self.step), up_to(quantity, self.step)):
            inside = max(candidate, lowest)
            if highest is not None:
                inside = min(inside, highest)
            if inside not in near:
                near.append(inside)
        return tuple(near)

    # What the account allows --------------------------------------------------------------------------------------

    def affordable(self) -> Fraction | None:
        """The greatest quantity, not rounded, that the account and the known book allow; None: the account is not known."""
        market, rules = self.market, self.rules
        if market.account is None:
            return None
        rate = exact(self.fees.taker_rate)
        asset = self.fees.asset_for(self.side, rules)
        total = self.ladder.total_quantity
        if self.side is OrderSide.BUY:
            budget = market.free(rules.quote) / (1 + rate if asset == rules.quote else 1)
            most = self._bought_for(budget, total)
        else:
            most = min(total, market.free(rules.base) / (1 + rate if asset == rules.base else 1))
        if self.fees.is_third(rules) and rate > 0:
            unit = self.fees.charge(self.side, _ZERO, Fraction(1), rules).amount  # for a notional of one
            most = min(most, self._bought_for(market.free(asset) / unit, total))
        return most

    def _bought_for(self, value: Fraction, total: Fraction) -> Fraction:
        quantity = self.ladder.quantity_for(value)
        return total if quantity is None else quantity

    def shortage(self, flows: Flows, named_amount: Fraction | None) -> str | None:
        """What the account lacks for an order, as one line; None: it has enough, or is not known.

        ``named_amount`` is the quote amount that the order names, if it does: a venue wants all of it to be there, also
        what it will not spend.
        """
        if self.market.account is None:
            return None
        rules, fee = self.rules, flows.fee
        needs: dict[str, Fraction] = {}
        if self.side is OrderSide.BUY:
            spent = flows.notional if named_amount is None else named_amount
            needs[rules.quote] = spent
            if fee.asset == rules.quote:
                needs[rules.quote] += exact(self.fees.taker_rate) * spent
        else:
            needs[rules.base] = flows.quantity + (fee.amount if fee.asset == rules.base else 0)
        if fee.asset not in (rules.base, rules.quote):
            needs[fee.asset] = fee.amount
        for asset, needed in needs.items():
            free = self.market.free(asset)
            if free < needed:
                return f"it needs {plain(needed)} {asset}, and {plain(free)} are free there"
        return None

    def describe(self, quantities: tuple[Fraction, ...]) -> str:
        """Valid quantities for a text, digit for digit."""
        return " or ".join(map(digits, quantities))
