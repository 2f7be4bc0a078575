"""The safety limits: what passes, what does not, and that there is no way around them."""

from __future__ import annotations

import ast
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import binmon
from binmon.errors import OrderForbidden
from binmon.messages import OrderRequest, OrderSide
from binmon.orders.gate import OrderGate, OrderLimits

NOON_NS = 1_790_000_000 * 10**9


class Journal:
    def __init__(self):
        self.noted = []

    def permitted(self, day):
        return sum(one[0] == day for one in self.noted)

    def note(self, day, order, environment, at_ns, most):
        self.noted.append((day, order.client_order_id, environment))
        return True


def order(notional="15", quantity="0.0002", quote_amount=None, name="x"):
    return OrderRequest(
        "binance",
        "BTCUSDT",
        OrderSide.BUY,
        name,
        Decimal(notional),
        None if quantity is None else Decimal(quantity),
        None if quote_amount is None else Decimal(quote_amount),
    )


def gate(allow=False, most="100", a_day=200, journal=None, now=lambda: NOON_NS):
    return OrderGate(OrderLimits(allow, Decimal(most), a_day), journal or Journal(), now)


def test_an_order_within_the_limits_passes_and_is_noted():
    journal = Journal()
    permit = gate(journal=journal).permit(order(name="mine"), "testnet")
    assert permit.order.client_order_id == "mine"
    assert journal.noted == [("2026-09-21", "mine", "testnet")]


@pytest.mark.parametrize(
    ("made", "environment", "limit"),
    [
        (order(), "production", "execution.allow_production"),
        (order("100.01"), "testnet", "execution.max_order_notional"),
        (order("5", quantity=None, quote_amount="100.5"), "sandbox", "execution.max_order_notional"),
        (order("NaN"), "sandbox", "order"),
        (order("Infinity"), "sandbox", "order"),
        (order("0"), "sandbox", "order"),
        (order("-5"), "sandbox", "order"),
        (order(quantity="0"), "sandbox", "order"),
        (order(quantity="-1"), "sandbox", "order"),
        (order(quantity="NaN"), "sandbox", "order"),
        (order(quantity=None), "sandbox", "order"),
        (order(quote_amount="5"), "sandbox", "order"),
    ],
)
def test_what_is_forbidden_is_named_and_not_counted(made, environment, limit):
    journal = Journal()
    with pytest.raises(OrderForbidden) as refused:
        gate(journal=journal).permit(made, environment)
    assert refused.value.limit == limit and limit in str(refused.value)
    assert journal.noted == []


def test_production_needs_a_word():
    assert gate(allow=True).permit(order(), "production")


def test_the_day_is_counted_over_restarts_and_ends_at_midnight_utc():
    journal, moment = Journal(), [NOON_NS]
    for number in range(3):
        gate(a_day=3, journal=journal, now=lambda: moment[0]).permit(order(name=str(number)), "sandbox")
    with pytest.raises(OrderForbidden, match=r"execution\.max_orders_per_day: 3 orders of 3 .* 2026-09-21"):
        gate(a_day=3, journal=journal, now=lambda: moment[0]).permit(order(), "sandbox")
    moment[0] += 24 * 3600 * 10**9
    gate(a_day=3, journal=journal, now=lambda: moment[0]).permit(order(), "sandbox")


def test_an_order_that_cannot_be_noted_is_not_permitted():
    class Full(Journal):
        def note(self, day, order, environment, at_ns, most):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        gate(journal=Full()).permit(order(), "sandbox")


@given(st.decimals("0.01", "1000", places=2), st.decimals("0.01", "1000", places=2))
def test_the_notional_is_compared_exactly(notional, most):
    try:
        gate(most=str(most)).permit(order(str(notional)), "sandbox")
    except OrderForbidden:
        assert notional > most
    else:
        assert notional <= most


def test_many_threads_get_no_more_than_the_limit():
    journal, passed = Journal(), []
    one = gate(a_day=50, journal=journal)

    def hammer(name):
        for number in range(20):
            try:
                passed.append(one.permit(order(name=f"{name}-{number}"), "sandbox"))
            except OrderForbidden:
                continue

    threads = [threading.Thread(target=hammer, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == len(journal.noted) == one.permitted == 50
    assert one.forbidden == 110


def test_nobody_else_makes_a_permit_or_sends_an_order():
    """``place`` takes a Permit; only the gate constructs one, and only the desk and venues call ``place``."""
    made, placed = set(), set()
    root = Path(binmon.__file__).parent
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "sandbox"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name == "Permit":
                made.add(path.relative_to(root).as_posix())
            if name == "place" and ast.unparse(called).endswith("venue.place"):
                placed.add(path.relative_to(root).as_posix())
    assert made == {"orders/gate.py"}
    assert placed == {"orders/desk.py"}
