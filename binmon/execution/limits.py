"""What the safety limits will say of an order, before it is made. The gate (`binmon.orders.gate`) remains who decides."""

from __future__ import annotations

from decimal import Decimal

from binmon.execution.exact import plain
from binmon.execution.reasons import Exclusion, Reason
from binmon.orders.gate import PRODUCTION, OrderLimits


def foreseen(
    venue: str, environment: str, notional: Decimal, limits: OrderLimits, orders_today: int, orders: int = 1
) -> Exclusion | None:
    """What the gate would refuse: an order worth ``notional`` (quote currency) at a venue in ``environment``, after
    ``orders_today`` orders of this UTC day. ``orders``: as how many it would be sent; ``notional`` is of all of them,
    because several small orders shall not pass where one would not.
    """
    if environment == PRODUCTION and not limits.allow_production:
        return Exclusion(
            venue, Reason.PRODUCTION, "it is in production, and orders there need execution.allow_production: true"
        )
    if notional > limits.max_order_notional:
        return Exclusion(
            venue,
            Reason.ORDER_LIMIT,
            f"{plain(notional)} is more than execution.max_order_notional ({plain(limits.max_order_notional)})",
        )
    if orders_today + orders > limits.max_orders_per_day:
        return Exclusion(
            venue,
            Reason.DAY_LIMIT,
            f"{orders_today} of {limits.max_orders_per_day} orders of execution.max_orders_per_day are used today (UTC)"
            + (f", and this takes {orders}" if orders > 1 else ""),
        )
    return None
