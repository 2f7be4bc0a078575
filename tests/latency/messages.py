"""Messages and measurements as the tests need them."""

from __future__ import annotations

from decimal import Decimal

from binmon.core.clock import ClockReading
from binmon.latency.measurement import Measurement, OrderClass
from binmon.messages import (
    ExecutionReport,
    OrderAnswered,
    OrderRefused,
    OrderRequest,
    OrderSent,
    OrderSide,
    OrderState,
    OrderUncertain,
    UserStreamUp,
)

MS, S = 1_000_000, 1_000_000_000
WALL = 1_780_000_000 * S  # the wall clock (UTC) when the monotonic clock is zero
LOT = Decimal("0.001")


class SteadyClock:
    """A venue ahead of our monotonic clock by ``offset_ns``; None: not known."""

    def __init__(self, offset_ns: int | None = WALL + 7 * MS, uncertainty_ns: int = 250_000) -> None:
        self.offset_ns, self.uncertainty_ns = offset_ns, uncertainty_ns

    def reading(self, mono_ns: int, /) -> ClockReading | None:
        if self.offset_ns is None:
            return None
        return ClockReading(self.offset_ns, self.uncertainty_ns, 0.0, self.offset_ns - WALL)


def request(name: str = "a", quantity: Decimal | None = LOT) -> OrderRequest:
    amount = Decimal(15) if quantity is None else None
    return OrderRequest("binance", "BTCUSDT", OrderSide.BUY, name, Decimal("15.5"), quantity, amount)


def sent(at_ns: int, name: str = "a", quantity: Decimal | None = LOT) -> OrderSent:
    return OrderSent(request(name, quantity), WALL + at_ns, at_ns)


def answered(at_ns: int, name: str = "a", order_id: int = 1) -> OrderAnswered:
    return OrderAnswered("binance", "BTCUSDT", name, order_id, "FILLED", LOT, Decimal(65), 0, WALL + at_ns, at_ns)


def refused(at_ns: int, name: str = "a", code: int | None = -2010) -> OrderRefused:
    return OrderRefused("binance", "BTCUSDT", name, code, "Account has insufficient balance.", WALL + at_ns, at_ns)


def uncertain(at_ns: int, name: str = "a") -> OrderUncertain:
    return OrderUncertain("binance", "BTCUSDT", name, "timed out", at_ns)


def state(status: str, name: str = "a", order_id: int = 1, update_time_us: int = 0) -> OrderState:
    """An empty status: the venue does not know the order."""
    if not status:
        return OrderState("binance", "BTCUSDT", name, found=False)
    return OrderState("binance", "BTCUSDT", name, True, order_id, status, LOT, Decimal(65), update_time_us)


def up(at_ns: int, after_break: bool = True) -> UserStreamUp:
    return UserStreamUp("binance", "user-2", after_break, at_ns)


def report(
    at_ns: int,
    name: str = "a",
    *,
    execution: str = "TRADE",
    status: str = "FILLED",
    last: Decimal = LOT,
    total: Decimal = LOT,
    execution_id: int = 2,
    order_id: int = 1,
    event_us: int | None = None,
    transaction_us: int | None = None,
) -> ExecutionReport:
    """A report of an event right before its receipt, by the venue's clock of `SteadyClock`, unless said otherwise."""
    just_now_us = (WALL + 7 * MS + at_ns) // 1000 - 1
    return ExecutionReport(
        venue="binance",
        symbol="BTCUSDT",
        client_order_id=name,
        order_id=order_id,
        execution_id=execution_id,
        execution_type=execution,
        order_status=status,
        side=OrderSide.BUY,
        last_quantity=last,
        last_price=Decimal(65000),
        executed_quantity=total,
        executed_quote=total * 65000,
        commission=Decimal(0),
        commission_asset="BTC",
        trade_id=execution_id if last else None,
        event_time_us=just_now_us if event_us is None else event_us,
        transaction_time_us=just_now_us if transaction_us is None else transaction_us,
        reason="NONE",
        connection="user-1",
        received_ns=WALL + at_ns,
        received_mono_ns=at_ns,
    )


def placed(at_ns: int, name: str = "a", **changes: int) -> ExecutionReport:
    return report(
        at_ns, name, execution="NEW", status="NEW", last=Decimal(0), total=Decimal(0), **{"execution_id": 1, **changes}
    )  # type: ignore[arg-type]


def measurement(number: int = 0, order_class: OrderClass = OrderClass.IN_TIME, **changes: object) -> Measurement:
    """A measurement of the order ``o<number>``, sent ``number`` seconds after WALL."""
    figures: dict[str, object] = {}
    if order_class in (OrderClass.IN_TIME, OrderClass.LATE):
        figures = {
            "sent_to_answer_ms": 4.5, "sent_to_report_ms": 5.25, "first_report_ms": 5.0, "first_fill_ms": 5.25,
            "last_fill_ms": 5.25, "sent_to_event_ms": 3.125, "sent_to_transaction_ms": 2.125,
            "transaction_to_event_ms": 1.0, "event_to_receive_ms": 2.125, "uncertainty_ms": 0.25, "clock_offset_ms": -3.5,
        }  # fmt: skip
    base: dict[str, object] = {
        "venue": "binance", "symbol": "BTCUSDT", "client_order_id": f"o{number}", "side": OrderSide.BUY, "quantity": LOT,
        "sent_ns": WALL + number * S, "order_class": order_class, "order_status": "FILLED", "waited_ms": 5.25,
        "threshold_ms": 5000.0, "detail": "",
    }  # fmt: skip
    return Measurement(**{**base, **figures, **changes})  # type: ignore[arg-type]
