"""Orders of Bybit spot as parameters and as answers (reference, 3.8 to 3.11, 5.2 to 5.4).

Statuses are told in the words of `binmon.messages.FINAL_STATUSES`, which are those of Binance:

========================  ============================  =========================================================
Bybit                     ours                          when
========================  ============================  =========================================================
New, Triggered            NEW
Untriggered               PENDING_NEW                   waits for its trigger
PartiallyFilled           PARTIALLY_FILLED
Filled                    FILLED
Cancelled                 EXPIRED                       a market, IOC or FOK order that nobody asked to cancel: there was
                                                        nothing to trade with
Cancelled                 EXPIRED_IN_MATCH              to prevent a trade with ourselves (CancelBySmp)
Cancelled                 CANCELED                      any other
PartiallyFilledCanceled   as Cancelled                  the usual end of a market order by quote amount: what is left is
                                                        less than one step of the base currency
Rejected                  REJECTED
Deactivated               CANCELED                      a conditional order that was cancelled before its trigger
any other                 the word in capitals          not final: the venue adds words at any time
========================  ============================  =========================================================
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from binmon.messages import OrderAnswered, OrderRequest, OrderSide, OrderState
from binmon.venues.base import MalformedFrame
from binmon.venues.bybit.endpoints import NAME
from binmon.venues.bybit.errors import UNREADABLE
from binmon.venues.trading import Execution

T = TypeVar("T")

CATEGORY = "spot"
ZERO = Decimal(0)
_CLIENT_ORDER_ID = re.compile(r"[A-Za-z0-9\-_]{1,36}")
_SIDES = {OrderSide.BUY: "Buy", OrderSide.SELL: "Sell"}
_OUR_SIDES = {word: side for side, word in _SIDES.items()}
_STATUSES = {
    "New": "NEW",
    "Triggered": "NEW",
    "Untriggered": "PENDING_NEW",
    "PartiallyFilled": "PARTIALLY_FILLED",
    "Filled": "FILLED",
    "Rejected": "REJECTED",
    "Deactivated": "CANCELED",
}
_CANCELLED = ("Cancelled", "PartiallyFilledCanceled")
_AT_ONCE = ("IOC", "FOK")
_LARGEST_ID = 2**63 - 1
_NOT_ASKED = ("", "UNKNOWN")  # values of cancelType


class Placed(msgspec.Struct):
    """The acknowledgement of a placement or a cancellation: taken for processing, no more."""

    order_id: str = msgspec.field(name="orderId")
    client_order_id: str = msgspec.field(name="orderLinkId", default="")


class Order(msgspec.Struct, gc=False):
    """One order, as REST lists it and as the topic ``order`` tells of it. Amounts may be empty texts."""

    order_id: str = msgspec.field(name="orderId")
    symbol: str
    side: str
    status: str = msgspec.field(name="orderStatus")
    category: str = CATEGORY
    client_order_id: str = msgspec.field(name="orderLinkId", default="")
    order_type: str = msgspec.field(name="orderType", default="")
    time_in_force: str = msgspec.field(name="timeInForce", default="")
    cancel_type: str = msgspec.field(name="cancelType", default="")
    reject_reason: str = msgspec.field(name="rejectReason", default="")
    executed_quantity: str = msgspec.field(name="cumExecQty", default="")
    executed_quote: str = msgspec.field(name="cumExecValue", default="")
    updated_ms: str | int = msgspec.field(name="updatedTime", default="")

    @property
    def our_status(self) -> str:
        """See the table of the module."""
        if self.status not in _CANCELLED:
            return _STATUSES.get(self.status, self.status.upper())
        if self.cancel_type == "CancelBySmp":
            return "EXPIRED_IN_MATCH"
        at_once = self.order_type == "Market" or self.time_in_force in _AT_ONCE
        return "EXPIRED" if at_once and self.cancel_type in _NOT_ASKED else "CANCELED"

    @property
    def reason(self) -> str:
        """Why it ended otherwise than filled; empty where there is nothing to say."""
        return "" if self.reject_reason == "EC_NoError" else self.reject_reason


class Fill(msgspec.Struct, gc=False):
    """One fill, of the list and of the topics ``execution`` and ``execution.fast``; the latter has no fee."""

    execution_id: str = msgspec.field(name="execId")
    order_id: str = msgspec.field(name="orderId")
    symbol: str
    side: str
    price: str = msgspec.field(name="execPrice")
    quantity: str = msgspec.field(name="execQty")
    time_ms: str | int = msgspec.field(name="execTime")
    category: str = CATEGORY
    client_order_id: str = msgspec.field(name="orderLinkId", default="")
    value: str = msgspec.field(name="execValue", default="")
    fee: str = msgspec.field(name="execFee", default="")
    fee_asset: str = msgspec.field(name="feeCurrency", default="")
    kind: str = msgspec.field(name="execType", default="Trade")


class Page(msgspec.Struct):
    """One page of orders."""

    listed: list[Order] = msgspec.field(name="list")
    next_page: str = msgspec.field(name="nextPageCursor", default="")


class FillPage(msgspec.Struct):
    """One page of fills."""

    listed: list[Fill] = msgspec.field(name="list")
    next_page: str = msgspec.field(name="nextPageCursor", default="")


PLACED = msgspec.json.Decoder(Placed)
PAGE = msgspec.json.Decoder(Page)
FILL_PAGE = msgspec.json.Decoder(FillPage)


def order_parameters(order: OrderRequest) -> dict[str, Any]:
    """What places ``order``; raises ValueError for one that cannot be meant.

    ``marketUnit`` is always said: without it a quantity to buy would be read as an amount to spend (reference 3.8).
    """
    units = {"baseCoin": order.quantity, "quoteCoin": order.quote_amount}
    given = {unit: amount for unit, amount in units.items() if amount is not None}
    if len(given) != 1:
        raise ValueError("a market order has either a quantity or a quote amount")
    ((unit, amount),) = given.items()
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"the amount in {unit} must be positive, not {amount}")
    if not _CLIENT_ORDER_ID.fullmatch(order.client_order_id):
        raise ValueError(f"not a client order id: {order.client_order_id!r}")
    return {
        "category": CATEGORY,
        "symbol": order.symbol,
        "side": _SIDES[order.side],
        "orderType": "Market",
        "qty": plain(amount),
        "marketUnit": unit,
        "orderLinkId": order.client_order_id,
    }


def plain(number: Decimal) -> str:
    """``number`` without an exponent and without zeros at the end, for the venue counts decimals (170137)."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def answered(
    order: OrderRequest, placed: Placed, venue_ms: int, answered_ns: int, answered_mono_ns: int
) -> OrderAnswered:
    """The acknowledgement of ``order``: what it has executed is told later. Raises MalformedFrame, also for another's."""
    if placed.client_order_id not in (order.client_order_id, ""):
        raise MalformedFrame("an answer to another order")
    return OrderAnswered(
        venue=NAME,
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        order_id=order_number(placed.order_id),
        status="NEW",
        executed_quantity=ZERO,
        executed_quote=ZERO,
        transact_time_us=venue_ms * 1000,
        answered_ns=answered_ns,
        answered_mono_ns=answered_mono_ns,
    )


def order_state(order: Order) -> OrderState:
    """An order as it was asked for. Raises MalformedFrame."""
    return OrderState(
        venue=NAME,
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        found=True,
        order_id=order_number(order.order_id),
        status=order.our_status,
        executed_quantity=amount_of(order.executed_quantity),
        executed_quote=amount_of(order.executed_quote),
        update_time_us=microseconds(order.updated_ms),
    )


def execution(fill: Fill) -> Execution:
    """A fill as it was asked for. Raises MalformedFrame."""
    return Execution(
        trade_id=execution_number(fill.execution_id),
        price=amount_of(fill.price),
        quantity=amount_of(fill.quantity),
        quote=quote_of(fill),
        commission=amount_of(fill.fee),
        commission_asset=fill.fee_asset,
        time_us=microseconds(fill.time_ms),
    )


def quote_of(fill: Fill) -> Decimal:
    """What a fill is worth in quote currency."""
    return amount_of(fill.value) if fill.value else amount_of(fill.price) * amount_of(fill.quantity)


def side_of(word: str) -> OrderSide:
    """Raises MalformedFrame."""
    side = _OUR_SIDES.get(word)
    if side is None:
        raise MalformedFrame(f"a side that is neither Buy nor Sell: {word[:20]!r}")
    return side


def amount_of(text: str) -> Decimal:
    """An amount; an empty text is none. Raises MalformedFrame."""
    try:
        number = Decimal(text) if text else ZERO
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise MalformedFrame(f"an amount that is no number: {text[:40]!r}")
    return number


def microseconds(milliseconds: str | int) -> int:
    """A time in milliseconds, as text or as a number, in microseconds. Raises MalformedFrame."""
    text = str(milliseconds)
    if not (text.isascii() and (text.isdigit() or not text) and len(text) < 30):
        raise MalformedFrame(f"a time that is no number: {text[:40]!r}")
    return int(text) * 1000 if text else 0


def order_number(text: str) -> int:
    """The id of an order as a number, as for fills. Raises MalformedFrame."""
    return _number(text, "an order")


def execution_number(text: str) -> int:
    """The id of a fill as a number. Those of spot are digits (reference 3.8); of any other, and of one that a database
    could not keep as a number, a digest, which tells it from the others. Raises MalformedFrame."""
    return _number(text, "a fill")


def _number(text: str, what: str) -> int:
    if not text:
        raise MalformedFrame(f"{what} without an id")
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST_ID:
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())


def decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, what: str) -> T:
    """``body`` decoded. Raises MalformedFrame with ``what`` it should have been."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise MalformedFrame(f"{what}: {error}") from None
