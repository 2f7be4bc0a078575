"""Orders of Binance Spot as parameters and as answers, the same for REST and the WebSocket API (reference, 3.6 to 3.10)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TypeVar

import msgspec

from binmon.messages import OrderAnswered, OrderRequest, OrderState
from binmon.venues.base import MalformedFrame
from binmon.venues.binance.time import in_microseconds
from binmon.venues.trading import Execution, TradingFees

VENUE = "binance"
INVALID_TIMESTAMP = -1021
NO_SUCH_ORDER = -2013
# reference 4.3 and 10: what the venue cannot say of itself, whatever the HTTP status
UNCERTAIN_CODES = frozenset([-1000, -1001, -1006, -1007])
_TIMEOUT_STATUS = 408  # says no more than that somebody on the way gave up
_CLIENT_ORDER_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")  # reference 3.6

T = TypeVar("T")


class _Order(msgspec.Struct):
    """RESULT, FULL or ACK of a placement, an order query and a cancellation; what is missing is empty."""

    order_id: int = msgspec.field(name="orderId")
    symbol: str = ""
    client_order_id: str = msgspec.field(name="clientOrderId", default="")
    status: str = ""
    executed_quantity: Decimal = msgspec.field(name="executedQty", default=Decimal(0))
    executed_quote: Decimal = msgspec.field(name="cummulativeQuoteQty", default=Decimal(0))
    transact_time: int = msgspec.field(name="transactTime", default=0)
    update_time: int = msgspec.field(name="updateTime", default=0)


class _Trade(msgspec.Struct):
    id: int
    price: Decimal
    qty: Decimal
    time: int
    quote: Decimal | None = msgspec.field(name="quoteQty", default=None)
    commission: Decimal = Decimal(0)
    commission_asset: str = msgspec.field(name="commissionAsset", default="")


class _Rates(msgspec.Struct):
    """Parts of one commission; what is missing is zero."""

    taker: Decimal = Decimal(0)
    buyer: Decimal = Decimal(0)
    seller: Decimal = Decimal(0)


class _Discount(msgspec.Struct):
    for_account: bool = msgspec.field(name="enabledForAccount", default=False)
    for_symbol: bool = msgspec.field(name="enabledForSymbol", default=False)
    asset: str | None = msgspec.field(name="discountAsset", default=None)
    discount: Decimal = Decimal(0)


class _Commission(msgspec.Struct):
    standard: _Rates = msgspec.field(name="standardCommission")
    special: _Rates = msgspec.field(name="specialCommission", default_factory=_Rates)
    tax: _Rates = msgspec.field(name="taxCommission", default_factory=_Rates)
    discount: _Discount = msgspec.field(default_factory=_Discount)


# a decoder keeps nothing between two messages, so threads may share it
_ORDER = msgspec.json.Decoder(_Order)
_ORDERS = msgspec.json.Decoder(list[_Order])
_TRADES = msgspec.json.Decoder(list[_Trade])
_COMMISSION = msgspec.json.Decoder(_Commission)


def microseconds(time: int) -> int:
    """A time of the venue, which is in milliseconds or microseconds as the connection asked for, in microseconds."""
    return in_microseconds(time)[0]


def plain(number: Decimal) -> str:
    """``number`` without an exponent and without zeros at the end, for the venue counts decimals (-1111)."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def order_parameters(order: OrderRequest) -> dict[str, str]:
    """What places ``order``; raises ValueError for one that cannot be meant."""
    amounts = {"quantity": order.quantity, "quoteOrderQty": order.quote_amount}
    given = {name: amount for name, amount in amounts.items() if amount is not None}
    if len(given) != 1:
        raise ValueError("a market order has either a quantity or a quote amount")
    ((name, amount),) = given.items()
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"{name} must be positive, not {amount}")
    if not _CLIENT_ORDER_ID.fullmatch(order.client_order_id):
        raise ValueError(f"not a client order id: {order.client_order_id!r}")
    return {
        "symbol": order.symbol,
        "side": order.side.value,
        "type": "MARKET",
        name: plain(amount),
        "newClientOrderId": order.client_order_id,
        "newOrderRespType": "RESULT",
    }


def answered(order: OrderRequest, body: bytes, answered_ns: int, answered_mono_ns: int) -> OrderAnswered:
    """The answer to the placement of ``order``. Raises MalformedFrame, also for one that is of another order."""
    answer = decoded(_ORDER, body, "answer to an order")
    if answer.client_order_id != order.client_order_id:
        raise MalformedFrame("an answer to another order")
    return OrderAnswered(
        venue=VENUE,
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        order_id=answer.order_id,
        status=answer.status,
        executed_quantity=_known(answer.executed_quantity),
        executed_quote=_known(answer.executed_quote),
        transact_time_us=microseconds(answer.transact_time),
        answered_ns=answered_ns,
        answered_mono_ns=answered_mono_ns,
    )


def order_state(symbol: str, client_order_id: str, body: bytes) -> OrderState:
    """An order as queried or cancelled by ``client_order_id``: the answer to a cancellation bears another id, its own."""
    return _state(symbol, client_order_id, decoded(_ORDER, body, "order"))


def order_states(symbol: str, body: bytes) -> list[OrderState]:
    """Open orders. Raises MalformedFrame."""
    return [_state(symbol, one.client_order_id, one) for one in decoded(_ORDERS, body, "open orders")]


def no_such_order(symbol: str, client_order_id: str) -> OrderState:
    """The venue does not know the order."""
    return OrderState(VENUE, symbol, client_order_id, found=False)


def executions(body: bytes) -> list[Execution]:
    """Trades of an order, oldest first. Raises MalformedFrame."""
    return [
        Execution(
            trade_id=one.id,
            price=one.price,
            quantity=one.qty,
            quote=one.price * one.qty if one.quote is None else one.quote,
            commission=one.commission,
            commission_asset=one.commission_asset,
            time_us=microseconds(one.time),
        )
        for one in decoded(_TRADES, body, "trades")
    ]


def fees(symbol: str, body: bytes) -> TradingFees:
    """What a taker pays in ``symbol`` (reference 3.11). Raises MalformedFrame.

    Standard, special and tax commission add up. The discount touches the standard part alone; whether its figure is what
    is taken off or what is left the reference leaves open, so of both the dearer one is believed.
    """
    answer = decoded(_COMMISSION, body, "commission")
    parts = (answer.standard, answer.special, answer.tax)
    discount = answer.discount
    for rate in (rate for part in parts for rate in (part.taker, part.buyer, part.seller)):
        if not rate.is_finite():
            raise MalformedFrame(f"commission of {symbol}: {rate} is no rate")
    if not (discount.discount.is_finite() and 0 <= discount.discount <= 1):
        raise MalformedFrame(f"commission of {symbol}: {discount.discount} is no discount")
    buy = sum((part.taker + part.buyer for part in parts), Decimal(0))
    sell = sum((part.taker + part.seller for part in parts), Decimal(0))
    if not (discount.for_account and discount.for_symbol and discount.asset):
        return TradingFees(VENUE, symbol, buy, sell)
    taken_off = 1 - max(discount.discount, 1 - discount.discount)
    standard = answer.standard
    return TradingFees(
        VENUE,
        symbol,
        buy,
        sell,
        discount.asset,
        buy - taken_off * (standard.taker + standard.buyer),
        sell - taken_off * (standard.taker + standard.seller),
    )


def is_uncertain(status: int, code: int | None) -> bool:
    """Whether an error answer to an order leaves open whether it was executed (reference 4.3)."""
    return status >= 500 or status == _TIMEOUT_STATUS or code in UNCERTAIN_CODES


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    """``body`` decoded. Raises MalformedFrame with ``what`` it should have been."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedFrame(f"{what}: {error}") from None


def _state(symbol: str, client_order_id: str, one: _Order) -> OrderState:
    return OrderState(
        venue=VENUE,
        symbol=symbol,
        client_order_id=client_order_id,
        found=True,
        order_id=one.order_id,
        status=one.status,
        executed_quantity=_known(one.executed_quantity),
        executed_quote=_known(one.executed_quote),
        update_time_us=microseconds(one.update_time or one.transact_time),
    )


def _known(number: Decimal) -> Decimal:
    """Very old orders have negative amounts, which mean that they are not known (reference 3.9)."""
    if not number.is_finite():
        raise MalformedFrame(f"an amount that is no number: {number}")
    return max(number, Decimal(0))
