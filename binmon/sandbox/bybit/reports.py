"""JSON of the private side: rows of REST and pushes (reference: Bybit v5, 3.10 to 3.12 and 5.2 to 5.5).

A push is printed at once, from the state of the moment, and without its topic, which depends on the subscription.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..matching import Side
from ..trading.accounts import Account, UserEvent
from ..trading.reports import to_json
from . import money
from .orders import BybitOrder, Fill


def side_text(side: Side) -> str:
    """A side as the venue prints it."""
    return "Buy" if side is Side.BUY else "Sell"


def _fees(order: BybitOrder) -> dict[str, str]:
    return {coin: money.text(fee) for coin, fee in order.fees.items()}


def _average(order: BybitOrder) -> str:
    """Average price of the fills, to the eighth decimal; empty without any."""
    if not order.executed:
        return ""
    base = order.listing.base_units(order.executed)
    return money.text_e8(order.value * 10**8 // base)


def order_row(order: BybitOrder, *, padded: bool = False, history: bool = False) -> dict[str, Any]:
    """An order as REST shows it; ``padded`` prints amounts with trailing zeros, as pushes do."""
    listing = order.listing
    decimals = 8 if padded else 0
    step_decimals = len(listing.quantity_text(1).partition(".")[2])
    return {
        "orderId": str(order.order_id),
        "orderLinkId": order.link_id,
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": listing.price_text(order.price) if order.price else "0",
        "qty": money.text(order.amount, 6 if padded else 0) if order.amount else listing.quantity_text(order.lots),
        "side": side_text(order.side),
        "isLeverage": "0",
        "positionIdx": 0,
        "orderStatus": order.status,
        "cancelType": order.cancel_type,
        "rejectReason": order.reject_reason,
        "avgPrice": _average(order),
        "leavesQty": money.text(listing.base_units(0 if order.amount else order.leaves), step_decimals),
        "leavesValue": money.text(order.leaves_value, 8),
        "cumExecQty": money.text(listing.base_units(order.executed), step_decimals if padded else 0),
        "cumExecValue": money.text(order.value, decimals),
        "cumExecFee": money.text(sum(order.fees.values())),
        "timeInForce": order.time_in_force,
        "orderType": order.kind,
        "stopOrderType": "",
        "orderIv": "",
        "marketUnit": order.market_unit,
        "slippageToleranceType": order.slippage[0],
        "slippageTolerance": order.slippage[1],
        "triggerPrice": "0.0",
        "takeProfit": "0.0",
        "stopLoss": "0.0",
        "ocoTriggerBy": "",
        "tpLimitPrice": "",
        "slLimitPrice": "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "triggerDirection": 0,
        "triggerBy": "",
        "lastPriceOnCreated": "",
        "basePrice": listing.price_text(order.base_price) if order.base_price else "",
        "reduceOnly": False,
        "closeOnTrigger": False,
        "placeType": "",
        "smpType": order.self_trade,
        "smpGroup": 0,
        "smpOrderId": "",
        "createdTime": str(order.created_us // 1000),
        "updatedTime": str(order.updated_us // 1000),
        "cumFeeDetail": _fees(order),
        **({"extraFees": "", "rpiTakerAccess": False, "rpiMatchedQty": "0"} if history else {}),
    }


_NOT_PUSHED = ("ocoTriggerBy", "basePrice")


def _pushed_row(order: BybitOrder) -> dict[str, Any]:
    row = {name: value for name, value in order_row(order, padded=True).items() if name not in _NOT_PUSHED}
    base = order.listing.price_text(order.base_price) if order.base_price else ""
    row.update(category="spot", lastPriceOnCreated=base, feeCurrency=order.gets if order.fills else "")
    row.update(rpiTakerAccess=False, rpiMatchedQty="0", slLimitPrice="0.0", tpLimitPrice="0.0")
    return row


def execution_row(order: BybitOrder, fill: Fill) -> dict[str, Any]:
    """A fill as REST shows it."""
    listing = order.listing
    step_decimals = len(listing.quantity_text(1).partition(".")[2])
    by_quantity = order.kind == "Limit"
    return {
        "symbol": order.symbol,
        "orderType": order.kind,
        "underlyingPrice": "",
        "orderLinkId": order.link_id,
        "side": side_text(order.side),
        "indexPrice": "",
        "orderId": str(order.order_id),
        "stopOrderType": "",
        "leavesQty": money.text(listing.base_units(fill.leaves), step_decimals),
        "execTime": str(fill.time_us // 1000),
        "feeCurrency": fill.fee_coin,
        "isMaker": fill.is_maker,
        "execFee": money.text(fill.fee),
        "feeRate": fill.fee_rate,
        "execId": fill.execution_id,
        "tradeIv": "",
        "blockTradeId": "",
        "markPrice": "",
        "execPrice": listing.price_text(fill.price),
        "markIv": "",
        "orderQty": listing.quantity_text(order.lots) if by_quantity else "0.000000",
        "orderPrice": listing.price_text(order.price) if by_quantity else "0",
        "execValue": money.text(fill.value),
        "execType": "Trade",
        "execQty": listing.quantity_text(fill.lots),
        "closedSize": "",
        "extraFees": "",
        "seq": fill.seq,
    }


def _push(order: BybitOrder, kind: str, detail: str, data: list[dict[str, Any]], seq: int, now_us: int) -> UserEvent:
    order.pushes += 1
    identifier = f"{order.account.identifier}_{order.symbol}_{seq}"
    head = {"id": identifier} if kind != "execution.fast" else {}
    text = to_json({**head, "creationTime": now_us // 1000, "data": data})[1:]
    return UserEvent(kind, order.symbol, order.link_id, order.order_id, seq, detail, lambda micro: text)


def order_event(order: BybitOrder, seq: int, now_us: int) -> UserEvent:
    """A push of the topic order, as the order stands now."""
    return _push(order, "order", order.status, [_pushed_row(order)], seq, now_us)


def execution_event(order: BybitOrder, fills: Iterable[Fill], now_us: int) -> UserEvent:
    """A push of the topic execution with all fills of one event."""
    some = list(fills)
    more = {"category": "spot", "isLeverage": "0", "marketUnit": order.market_unit, "execPnl": ""}
    data = [{**execution_row(order, fill), **more, "execValue": money.text(fill.value, 8)} for fill in some]
    return _push(order, "execution", "Trade", data, some[-1].seq, now_us)


def fast_event(order: BybitOrder, fills: Iterable[Fill], now_us: int) -> UserEvent:
    """A push of the topic execution.fast; the client's own id is left out for fills as a maker (5.4)."""
    some = list(fills)
    data = [
        {
            "category": "spot",
            "symbol": order.symbol,
            "execId": fill.execution_id,
            "execPrice": order.listing.price_text(fill.price),
            "execQty": order.listing.quantity_text(fill.lots),
            "orderId": str(order.order_id),
            "isMaker": fill.is_maker,
            "orderLinkId": "" if fill.is_maker else order.link_id,
            "side": side_text(order.side),
            "execTime": str(fill.time_us // 1000),
            "seq": fill.seq,
        }
        for fill in some
    ]
    return _push(order, "execution.fast", "Trade", data, some[-1].seq, now_us)


def wallet_row(account: Account, coins: Iterable[str], dollars: dict[str, int]) -> dict[str, Any]:
    """An account with some of its coins; ``dollars`` gives the worth of one unit of a coin in u, 0 when unknown."""
    total = free = 0
    for coin in account.wallet.assets():
        balance = account.wallet.balance(coin)
        total += (balance.free + balance.locked) * dollars.get(coin, 0) // money.UNIT
        free += balance.free * dollars.get(coin, 0) // money.UNIT
    worth, available = money.text_e8(total // money.E8_IN_UNITS), money.text_e8(free // money.E8_IN_UNITS)
    return {
        "accountType": "UNIFIED",
        "accountIMRate": "0",
        "accountIMRateByMp": "0",
        "accountMMRate": "0",
        "accountMMRateByMp": "0",
        "totalEquity": worth,
        "totalWalletBalance": worth,
        "totalMarginBalance": worth,
        "totalAvailableBalance": available,
        "totalPerpUPL": "0",
        "totalInitialMargin": "0",
        "totalInitialMarginByMp": "0",
        "totalMaintenanceMargin": "0",
        "totalMaintenanceMarginByMp": "0",
        "accountLTV": "0",
        "coin": [_coin(account, coin, dollars.get(coin, 0)) for coin in coins],
    }


def _coin(account: Account, coin: str, dollars: int) -> dict[str, Any]:
    balance = account.wallet.balance(coin)
    whole = balance.free + balance.locked
    return {
        "coin": coin,
        "equity": money.text(whole),
        "usdValue": money.text_e8(whole * dollars // money.UNIT // money.E8_IN_UNITS),
        "walletBalance": money.text(whole),
        "locked": money.text(balance.locked),
        "borrowAmount": "0",
        "accruedInterest": "0",
        "totalOrderIM": "0",
        "totalPositionIM": "0",
        "totalPositionMM": "0",
        "unrealisedPnl": "0",
        "cumRealisedPnl": "0",
        "bonus": "0",
        "spotHedgingQty": "0",
        "spotBorrow": "0",
        "collateralSwitch": True,
        "marginCollateral": True,
        "colRes": "0",
        "availableToWithdraw": "",
        "availableToBorrow": "",
    }


def wallet_event(account: Account, row: dict[str, Any], number: int, now_us: int) -> UserEvent:
    """A push of the topic wallet."""
    identifier = f"{account.identifier}_wallet_{number}"
    text = to_json({"id": identifier, "creationTime": now_us // 1000, "data": [row]})[1:]
    return UserEvent("wallet", "", "", 0, number, "", lambda micro: text)


def ledger_row(order: BybitOrder) -> dict[str, Any]:
    """An order as ``GET /sandbox/orders`` shows it to tests, with every fill and every figure to the last digit."""
    listing = order.listing
    return {
        "account": order.account.name,
        "orderLinkId": order.link_id,
        "orderId": str(order.order_id),
        "symbol": order.symbol,
        "side": side_text(order.side),
        "orderStatus": order.status,
        "rejectReason": order.reject_reason,
        "cumExecQty": listing.quantity_text(order.executed),
        "cumExecValue": money.text(order.value),
        "cumFeeDetail": _fees(order),
        "time_us": order.created_us,
        "pushes": order.pushes,
        "requested_us": order.requested_us,
        "retCode": 0,
        "fills": [
            {
                "execId": fill.execution_id,
                "execPrice": listing.price_text(fill.price),
                "execQty": listing.quantity_text(fill.lots),
                "execValue": money.text(fill.value),
                "execFee": money.text(fill.fee),
                "feeCurrency": fill.fee_coin,
                "isMaker": fill.is_maker,
                "time_us": fill.time_us,
            }
            for fill in order.fills
        ],
    }
