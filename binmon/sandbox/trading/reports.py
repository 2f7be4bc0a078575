"""JSON of the private side: events, order answers, query rows (reference: Binance Spot, 3.6 to 3.11 and 7.5).

Everything is printed at once from the state of the moment, for both units of time, as orders go on changing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ..clock import stamp
from ..decimals import format_e8
from ..matching import Side
from ..self_trades import Prevention
from .accounts import Account, UserEvent
from .orders import AccountOrder, Fill, quote_e8

_ZERO = "0.00000000"
_EVENT_DELAY_US = 250
"""Least time between the matching engine's change and its event."""


def to_json(value: object) -> str:
    """Compact JSON, not escaped beyond need."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event_time_us(transaction_us: int, now_us: int) -> int:
    """The moment an event is stamped with: now, but always a little after the change itself."""
    return max(now_us, transaction_us + _EVENT_DELAY_US)


def both_units(print_with: Callable[[Callable[[int], int]], Any]) -> Callable[[bool], str]:
    """Print now what may be asked for later, in either unit of time; the printer is given the way to stamp times."""
    values = tuple(print_with(_stamper(micro)) for micro in (False, True))

    def text(micro: bool) -> str:
        return to_json(values[micro])

    return text


def _stamper(micro: bool) -> Callable[[int], int]:
    return lambda time_us: stamp(time_us, micro)


def _quantity(order: AccountOrder, lots: int) -> str:
    return order.instrument.quantity_text(lots)


def _strategy(order: AccountOrder, id_key: str, type_key: str) -> dict[str, int]:
    pairs = ((id_key, order.strategy_id), (type_key, order.strategy_type))
    return {key: value for key, value in pairs if value is not None}


def execution_report(
    order: AccountOrder,
    execution_type: str,
    execution_id: int,
    transaction_us: int,
    now_us: int,
    *,
    fill: Fill | None = None,
    works: bool = False,
    original: str = "",
    prevention: Prevention | None = None,
    counterpart: AccountOrder | None = None,
) -> UserEvent:
    """An ``executionReport`` of an order as it stands now.

    ``works``: whether it is on the book; ``original``: the order's own id before a cancel; ``prevention`` and ``counterpart``: what kept it from trading with which order.
    """
    event_us = event_time_us(transaction_us, now_us)
    price = order.instrument.price_text

    def values(at: Callable[[int], int]) -> dict[str, Any]:
        report: dict[str, Any] = {
            "e": "executionReport",
            "E": at(event_us),
            "s": order.symbol,
            "c": order.shown_client_order_id,
            "S": order.side.value,
            "o": order.kind,
            "f": order.time_in_force,
            "q": _quantity(order, order.lots),
            "p": price(order.price),
            "P": _ZERO,
            "F": _ZERO,
            "g": -1,
            "C": original,
            "x": execution_type,
            "X": order.status.value,
            "r": "NONE",
            "i": order.order_id,
            "l": _quantity(order, fill.lots if fill is not None else 0),
            "z": _quantity(order, order.executed),
            "L": price(fill.price if fill is not None else 0),
            "n": format_e8(fill.commission_e8) if fill is not None else "0",
            "N": fill.commission_asset if fill is not None else None,
            "T": at(transaction_us),
            "t": fill.trade_id if fill is not None else -1,
            "I": execution_id,
            "w": works,
            "m": fill is not None and fill.is_maker,
            "M": fill is not None,
            "O": at(order.created_us),
            "Z": format_e8(order.quote_e8),
            "Y": format_e8(fill.quote_e8 if fill is not None else 0),
            "Q": format_e8(order.quote_order_e8),
            "W": at(order.created_us),
            "V": order.self_trade_mode,
        }
        report.update(_strategy(order, "j", "J"))
        if order.expiry_reason is not None:
            report["eR"] = order.expiry_reason
        if prevention is not None and counterpart is not None:
            quantity = _quantity(order, prevention.quantity)
            report.update(v=prevention.prevention_id, A=quantity, B=quantity)
            report.update(U=counterpart.order_id, Cs=order.symbol, pl=quantity, pL=price(prevention.price))
            report["pY"] = format_e8(quote_e8(order.instrument, prevention.price, prevention.quantity))
        return report

    return UserEvent(
        "executionReport",
        order.symbol,
        order.client_order_id,
        order.order_id,
        execution_id,
        execution_type,
        both_units(values),
    )


def account_position(account: Account, assets: Iterable[str], transaction_us: int, now_us: int) -> UserEvent:
    """An ``outboundAccountPosition`` with the balances of some assets as they stand now."""
    event_us = event_time_us(transaction_us, now_us)
    balances = []
    for asset in dict.fromkeys(assets):
        balance = account.wallet.balance(asset)
        balances.append({"a": asset, "f": format_e8(balance.free), "l": format_e8(balance.locked)})

    def values(at: Callable[[int], int]) -> dict[str, Any]:
        return {"e": "outboundAccountPosition", "E": at(event_us), "u": at(transaction_us), "B": balances}

    return UserEvent("outboundAccountPosition", "", "", 0, 0, "", both_units(values))


def placement(order: AccountOrder, response: str, micro: bool) -> dict[str, Any]:
    """The answer to a placement: ``ACK``, ``RESULT`` or ``FULL``; true only at the moment of the placement."""
    at = _stamper(micro)
    answer: dict[str, Any] = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": at(order.created_us),
    }
    if response == "ACK":
        return answer
    answer.update(_amounts(order))
    answer["workingTime"] = at(order.created_us)
    answer["selfTradePreventionMode"] = order.self_trade_mode
    answer.update(_conditional(order))
    if order.preventions:
        answer["preventedMatches"] = [_prevented_match(order, prevention) for prevention in order.preventions]
    if response == "FULL":
        answer["fills"] = [
            {
                "price": order.instrument.price_text(fill.price),
                "qty": _quantity(order, fill.lots),
                "commission": format_e8(fill.commission_e8),
                "commissionAsset": fill.commission_asset,
                "tradeId": fill.trade_id,
            }
            for fill in order.fills
        ]
    return answer


def _prevented_match(order: AccountOrder, prevention: Prevention) -> dict[str, Any]:
    match: dict[str, Any] = {
        "preventedMatchId": prevention.prevention_id,
        "makerOrderId": prevention.maker_order_id,
        "price": order.instrument.price_text(prevention.price),
    }
    if prevention.taker_expired:
        match["takerPreventedQuantity"] = _quantity(order, prevention.quantity)
    if prevention.maker_expired:
        match["makerPreventedQuantity"] = _quantity(order, prevention.quantity)
    return match


def _amounts(order: AccountOrder) -> dict[str, Any]:
    return {
        "price": order.instrument.price_text(order.price),
        "origQty": _quantity(order, order.lots),
        "executedQty": _quantity(order, order.executed),
        "origQuoteOrderQty": format_e8(order.quote_order_e8),
        "cummulativeQuoteQty": format_e8(order.quote_e8),
        "status": order.status.value,
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "side": order.side.value,
    }


def _conditional(order: AccountOrder) -> dict[str, Any]:
    fields: dict[str, Any] = dict(_strategy(order, "strategyId", "strategyType"))
    if order.expiry_reason is not None:
        fields["expiryReason"] = order.expiry_reason
    if order.prevention is not None:
        fields["preventedMatchId"] = order.prevention.prevention_id
        fields["preventedQuantity"] = _quantity(order, order.prevention.quantity)
    return fields


def cancellation(order: AccountOrder, micro: bool) -> dict[str, Any]:
    """The answer to a cancel: the cancel's id stands in the place of the order's."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.shown_client_order_id,
        "transactTime": stamp(order.updated_us, micro),
        **_amounts(order),
        "selfTradePreventionMode": order.self_trade_mode,
        **_conditional(order),
    }


def amended(order: AccountOrder, previous_client_id: str, micro: bool) -> dict[str, Any]:
    """The ``amendedOrder`` of an amendment, whose names differ a little from those of the other answers."""
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "origClientOrderId": previous_client_id,
        "clientOrderId": order.shown_client_order_id,
        "price": order.instrument.price_text(order.price),
        "qty": _quantity(order, order.lots),
        "executedQty": _quantity(order, order.executed),
        "preventedQty": _ZERO,
        "quoteOrderQty": format_e8(order.quote_order_e8),
        "cumulativeQuoteQty": format_e8(order.quote_e8),
        "status": order.status.value,
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "side": order.side.value,
        "workingTime": stamp(order.created_us, micro),
        "selfTradePreventionMode": order.self_trade_mode,
        **_conditional(order),
    }


def order_row(order: AccountOrder, micro: bool) -> dict[str, Any]:
    """An order as queries show it."""
    at = _stamper(micro)
    amounts = _amounts(order)
    quote = amounts.pop("origQuoteOrderQty")
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.shown_client_order_id,
        **amounts,
        "stopPrice": _ZERO,
        "icebergQty": _ZERO,
        "time": at(order.created_us),
        "updateTime": at(order.updated_us),
        "isWorking": True,
        "workingTime": at(order.created_us),
        "origQuoteOrderQty": quote,
        "selfTradePreventionMode": order.self_trade_mode,
        **_conditional(order),
    }


def trade_row(order: AccountOrder, fill: Fill, micro: bool) -> dict[str, Any]:
    """A row of myTrades."""
    return {
        "symbol": order.symbol,
        "id": fill.trade_id,
        "orderId": order.order_id,
        "orderListId": -1,
        "price": order.instrument.price_text(fill.price),
        "qty": _quantity(order, fill.lots),
        "quoteQty": format_e8(fill.quote_e8),
        "commission": format_e8(fill.commission_e8),
        "commissionAsset": fill.commission_asset,
        "time": stamp(fill.time_us, micro),
        "isBuyer": order.side is Side.BUY,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def ledger_row(order: AccountOrder) -> dict[str, Any]:
    """An order as ``GET /sandbox/orders`` shows it to tests."""
    return {
        "account": order.account.name,
        "clientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "status": order.status.value,
        "executedQty": _quantity(order, order.executed),
        "cummulativeQuoteQty": format_e8(order.quote_e8),
        "time_us": order.created_us,
        "reports": order.reports,
        "requested_us": order.requested_us,
        "code": 0,
        "fills": [
            {
                "tradeId": fill.trade_id,
                "price": order.instrument.price_text(fill.price),
                "qty": _quantity(order, fill.lots),
                "quoteQty": format_e8(fill.quote_e8),
                "commission": format_e8(fill.commission_e8),
                "commissionAsset": fill.commission_asset,
                "isMaker": fill.is_maker,
                "time_us": fill.time_us,
            }
            for fill in order.fills
        ],
    }
