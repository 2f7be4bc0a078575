"""A venue in memory that answers as its script says; what it was asked is kept."""

from __future__ import annotations

import time
from decimal import Decimal

from binmon.messages import Balance, OrderAnswered, OrderState, TradingRules
from binmon.venues.trading import Account, TradingFees, TradingVenue

RICH = {name: Balance(name, Decimal(10**6), Decimal(0)) for name in ("BTC", "USDT")}


def answer(order):
    return OrderAnswered(
        order.venue, order.symbol, order.client_order_id, 7, "FILLED", order.quantity or Decimal(1), order.notional,
        1_790_000_000_000_000, time.time_ns(), time.monotonic_ns(),
    )  # fmt: skip


class ScriptedVenue(TradingVenue):
    """``answers`` are taken in turn for placements: an exception is raised, None is an ordinary answer; then all are
    ordinary. ``departs`` is how often a placement leaves."""

    name = "binance"
    environment = "sandbox"

    def __init__(self, answers=(), states=(), environment="sandbox"):
        self.answers, self.states, self.departs = list(answers), list(states), 1
        self.environment = environment
        self.placed, self.asked, self.rules_asked = [], [], 0
        self.held = Account(True, RICH)
        self.price, self.status = Decimal("65000"), "TRADING"
        self.trouble = {}  # method → exception

    def _maybe(self, method):
        if method in self.trouble:
            raise self.trouble[method]

    def rules(self, symbol, stop):
        self._maybe("rules")
        self.rules_asked += 1
        numbers = [Decimal(text) for text in ("0.00001", "9000", "0.00001", "5", "0")]
        return TradingRules("binance", symbol, "BTC", "USDT", self.status, *numbers, market_orders=True)

    def account(self, stop):
        self._maybe("account")
        return self.held

    def market_price(self, symbol, stop):
        self._maybe("market_price")
        return self.price

    def place(self, permit, departure, stop):
        self.placed.append(permit.order)
        for _ in range(self.departs):
            departure(time.time_ns(), time.monotonic_ns())
        said = self.answers.pop(0) if self.answers else None
        if said is not None:
            raise said
        return answer(permit.order)

    def test(self, order, stop):
        self._maybe("test")

    def order(self, symbol, client_order_id, stop):
        self.asked.append(client_order_id)
        said = self.states.pop(0) if self.states else True
        if isinstance(said, Exception):
            raise said
        if said:
            return OrderState("binance", symbol, client_order_id, True, 7, "FILLED")
        return OrderState("binance", symbol, client_order_id, False)

    def open_orders(self, symbol, stop):
        return []

    def cancel(self, symbol, client_order_id, stop):
        raise NotImplementedError

    def executions(self, symbol, order_id, stop):
        return []

    def fees(self, symbol, stop):
        self._maybe("fees")
        return TradingFees("binance", symbol, Decimal("0.001"), Decimal("0.001"))


class Journal:
    """An order journal in memory."""

    def __init__(self):
        self.noted = []

    def permitted(self, day):
        return sum(one == day for one, _ in self.noted)

    def note(self, day, order, environment, at_ns, most):
        self.noted.append((day, order.client_order_id))
        return True
