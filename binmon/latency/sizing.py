"""Which order the probe sends next: the smallest that the symbol's rules and the account allow, buying and selling in
turn so that the balances hold. All in exact decimals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from binmon.messages import Balance, OrderSide, TradingRules

# The venue judges the least notional by a price of its own, and the price moves meanwhile.
_ABOVE_MINIMUM = Decimal("1.05")
# A market order to buy may cost more than the price says: the spread, the walk through the book, a fee.
_COST_MARGIN = Decimal("1.02")
_DIGITS = 80  # more than any amount has, however absurd


class CannotProbe(Exception):
    """No order can be sent now; ``str()`` is one line with the remedy."""


@dataclass(frozen=True, slots=True)
class ProbeSize:
    """What to send: a quantity in base currency, and about what it is worth in quote currency."""

    side: OrderSide
    quantity: Decimal
    notional: Decimal


def choose(
    rules: TradingRules,
    price: Decimal,
    balances: Mapping[str, Balance],
    notional: Decimal,
    last: OrderSide | None,
) -> ProbeSize:
    """The next order: about ``notional``, raised to the symbol's minimum, on the other side than ``last``.

    Where the balance does not allow that side, the other. Raises CannotProbe.
    """
    with localcontext(prec=_DIGITS):
        return _choose(rules, price, balances, notional, last)


def _choose(
    rules: TradingRules,
    price: Decimal,
    balances: Mapping[str, Balance],
    notional: Decimal,
    last: OrderSide | None,
) -> ProbeSize:
    if rules.status != "TRADING":
        raise CannotProbe(f"{rules.symbol} is not trading at {rules.venue} (status {rules.status}): choose another")
    if not rules.market_orders:
        raise CannotProbe(f"{rules.venue} takes no market orders for {rules.symbol}: choose another symbol")
    if price <= 0:
        raise CannotProbe(f"{rules.symbol} has no price at {rules.venue} yet")
    quantity = smallest_quantity(rules, price, notional)
    worth = quantity * price
    sides = (OrderSide.BUY, OrderSide.SELL) if last is not OrderSide.BUY else (OrderSide.SELL, OrderSide.BUY)
    for side in sides:
        if side is OrderSide.BUY and _free(balances, rules.quote) >= worth * _COST_MARGIN:
            return ProbeSize(side, quantity, worth)
        if side is OrderSide.SELL and _free(balances, rules.base) >= quantity:
            return ProbeSize(side, quantity, worth)
    raise CannotProbe(
        f"the account has {_plain(_free(balances, rules.quote))} {rules.quote} and "
        f"{_plain(_free(balances, rules.base))} {rules.base}, and an order needs {_plain(worth * _COST_MARGIN)} "
        f"{rules.quote} to buy or {_plain(quantity)} {rules.base} to sell: fund it, or lower latency.notional"
    )


def smallest_quantity(rules: TradingRules, price: Decimal, notional: Decimal) -> Decimal:
    """The least quantity on the symbol's step that is worth ``notional`` and passes the rules. Raises CannotProbe."""
    wanted = max(notional, rules.min_notional * _ABOVE_MINIMUM) / price
    quantity = _on_step(max(wanted, rules.min_quantity), rules.quantity_step)
    if rules.max_quantity > 0 and quantity > rules.max_quantity:
        raise CannotProbe(
            f"{_plain(quantity)} {rules.base} are more than a market order for {rules.symbol} may have "
            f"({_plain(rules.max_quantity)}): lower latency.notional"
        )
    if rules.max_notional > 0 and quantity * price > rules.max_notional:
        raise CannotProbe(
            f"{_plain(quantity * price)} {rules.quote} are more than a market order for {rules.symbol} may be worth "
            f"({_plain(rules.max_notional)}): lower latency.notional"
        )
    return quantity


def _on_step(quantity: Decimal, step: Decimal) -> Decimal:
    """Up to the next multiple of ``step``; eight decimals where there is none, as no asset has more."""
    if step <= 0:
        return quantity.quantize(Decimal("1e-8"), ROUND_CEILING)
    return (quantity / step).to_integral_value(ROUND_CEILING) * step


def _free(balances: Mapping[str, Balance], asset: str) -> Decimal:
    balance = balances.get(asset)
    return Decimal(0) if balance is None else balance.free


def _plain(value: Decimal) -> str:
    """For people: no exponent, no trailing zeros."""
    rounded = value.quantize(Decimal("1e-8"), ROUND_FLOOR) if value.is_finite() else value
    return f"{rounded.normalize():f}" if rounded else "0"
