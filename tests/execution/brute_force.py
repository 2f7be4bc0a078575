"""The same questions answered the slow way, to compare with: one hundredth of a lot after the other, and every filter
asked of the finished order. It shares nothing with the product but the types that it reads.

Markets here have quantities of whole hundredths (`markets`), so that a hundredth never straddles two levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction as F
from itertools import product

from binmon.messages import OrderSide

UNIT = F(1, 100)
FINEST = F(1, 10**8)


@dataclass
class Outcome:
    """An order that passes everything: its size, what it costs or brings, and the price with fees."""

    quantity: F
    notional: F
    price: F
    leftover: F
    named: F | None


def units_of(market, side):
    """The price of each hundredth in the order in which they are taken."""
    levels = market.depth.asks if side is OrderSide.BUY else market.depth.bids
    return [F(price) for price, quantity in levels for _ in range(int(F(quantity) / UNIT))]


def cost(prices, quantity):
    """What ``quantity`` trades for; None when there is not so much."""
    left, total = quantity, F(0)
    for price in prices:
        if left <= 0:
            break
        part = min(left, UNIT)
        total += part * price
        left -= part
    return None if left > 0 else total


def step_of(market):
    return F(market.rules.quantity_step) or FINEST


def lots_within(market, side, amount):
    """The most lots that trade for no more than ``amount``, counted up; None when the whole book is worth less."""
    prices = units_of(market, side)
    if sum(prices, F(0)) * UNIT < amount:
        return None
    step = step_of(market)
    if step == FINEST:  # too many to count: whole hundredths, then the rest of the amount at the price that comes next
        whole = 0
        while whole < len(prices) and sum(prices[: whole + 1], F(0)) * UNIT <= amount:
            whole += 1
        rest = amount - sum(prices[:whole], F(0)) * UNIT
        return whole * UNIT + (int(rest / prices[whole] / FINEST) * FINEST if rest else 0)
    count = 0
    while (worth := cost(prices, (count + 1) * step)) is not None and worth <= amount:
        count += 1
    return count * step


def with_fee(market, side, quantity, notional, *, whole=None):
    """Price with fees, and what the account needs by asset. ``whole``: the notional by which a discount is judged."""
    fees, rules = market.fees, market.rules
    rate, asset = F(fees.taker_rate), fees.asset
    balances = {} if market.account is None else market.account.balances
    if (
        asset not in (None, rules.base, rules.quote)
        and market.account is not None
        and fees.rate_without_asset is not None
    ):
        free = F(balances[asset].free) if asset in balances else F(0)
        if free * F(fees.asset_price) < rate * (notional if whole is None else whole):
            rate, asset = F(fees.rate_without_asset), None
    if asset is None:
        asset = rules.base if side is OrderSide.BUY else rules.quote
    needs = {rules.quote: notional} if side is OrderSide.BUY else {rules.base: quantity}
    base, quote = quantity, notional
    if asset == rules.base:
        base += -rate * quantity if side is OrderSide.BUY else rate * quantity
        if side is OrderSide.SELL:
            needs[rules.base] += rate * quantity
    else:
        quote += rate * notional if side is OrderSide.BUY else -rate * notional
        if asset == rules.quote and side is OrderSide.BUY:
            needs[rules.quote] += rate * notional
        if asset not in (rules.base, rules.quote):
            needs[asset] = rate * notional / F(fees.asset_price)
    return quote, base, needs


def violations(market, quantity, notional, named=None):
    """Every filter of the venue that an order breaks, asked one by one."""
    rules, found = market.rules, []
    if rules.status != "TRADING" or not rules.market_orders:
        found.append("status")
    if quantity <= 0 or (quantity / step_of(market)).denominator != 1:
        found.append("step")
    if quantity < F(rules.min_quantity):
        found.append("min quantity")
    if rules.max_quantity and quantity > F(rules.max_quantity):
        found.append("max quantity")
    worths = [notional] + ([] if market.reference_price is None else [quantity * F(market.reference_price)])
    if any(worth < F(rules.min_notional) for worth in worths):
        found.append("min notional")
    if rules.max_notional and any(worth > F(rules.max_notional) for worth in [*worths, *([named] if named else [])]):
        found.append("max notional")
    if named is not None and (named / (F(market.quote_amount_step) or FINEST)).denominator != 1:
        found.append("amount step")
    return found


def affords(market, needs):
    if market.account is None:
        return True
    free = {asset: F(balance.free) for asset, balance in market.account.balances.items()}
    return market.account.can_trade and all(free.get(asset, F(0)) >= needed for asset, needed in needs.items())


def outcome(market, side, size, refuses_off_step):
    """What an order of ``size`` would come to; None when something is against it."""
    prices, named = units_of(market, side), None
    step = step_of(market)
    if size.quantity is not None:
        asked = F(size.quantity)
        quantity = int(asked / step) * step
        if refuses_off_step and quantity != asked:
            return None
    else:
        asked = amount = F(size.quote_amount)
        if market.takes_quote_amounts:
            amount_step = F(market.quote_amount_step) or FINEST
            amount = int(asked / amount_step) * amount_step
            named = amount
            if refuses_off_step and amount != asked:
                return None
        quantity = lots_within(market, side, amount)
        if quantity is None:
            return None
    notional = cost(prices, quantity)
    if notional is None or violations(market, quantity, notional, named):
        return None
    quote, base, needs = with_fee(market, side, quantity, notional)
    if named is not None and side is OrderSide.BUY:  # all of the amount must be there, and its fee
        _, _, needs_all = with_fee(market, side, quantity, notional)
        share = needs_all[market.rules.quote] / notional
        needs[market.rules.quote] = named * share
    if not affords(market, needs):
        return None
    leftover = asked - (quantity if size.quantity is not None else notional)
    return Outcome(quantity, notional, quote / base, leftover, named)


def best_split(markets, side, quantity):
    """Of all ways to share ``quantity``, the best price with fees; None when there is none."""
    choices = []
    for market in markets:
        own = [(F(0), F(0), F(0))]
        prices, step = units_of(market, side), step_of(market)
        whole = cost(prices, quantity)
        judged = sum(prices, F(0)) * UNIT if whole is None else whole
        count = 1
        while count * step <= quantity and (notional := cost(prices, count * step)) is not None:
            quote, base, needs = with_fee(market, side, count * step, notional, whole=judged)
            if not violations(market, count * step, notional) and affords(market, needs):
                own.append((count * step, quote, base))
            count += 1
        choices.append(own)
    found = [
        sum(quote for _, quote, _ in parts) / sum(base for _, _, base in parts)
        for parts in product(*choices)
        if sum(part for part, _, _ in parts) == quantity
    ]
    if not found:
        return None
    return min(found) if side is OrderSide.BUY else max(found)
