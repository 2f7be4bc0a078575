"""Reading an order out of a request: what must be there, what must not, and what is wrong (reference: 3.6, 10).

The order of the checks is that of the reference (13, item 5): missing parameters, superfluous ones, malformed numbers,
unknown words, the symbol. Filters and the matching engine come later.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from ..market import Market, UnknownSymbol
from ..matching import Side, TimeInForce
from ..parameters import INVALID_SYMBOL, ApiError, Parameters, missing
from ..symbol_market import SymbolMarket
from ..symbols import SELF_TRADE_MODES

ORDER_PARAMETERS = (
    "symbol", "side", "type", "timeInForce", "quantity", "quoteOrderQty", "price", "newClientOrderId", "strategyId",
    "strategyType", "stopPrice", "trailingDelta", "icebergQty", "newOrderRespType", "selfTradePreventionMode",
    "pegPriceType", "pegOffsetType", "pegOffsetValue",
)  # fmt: skip
"""Parameters of a new order."""
DEFAULT_SELF_TRADE_MODE = "EXPIRE_MAKER"

_MANDATORY = {
    "LIMIT": ("timeInForce", "quantity", "price"),
    "LIMIT_MAKER": ("quantity", "price"),
    "MARKET": (),
}
_OPTIONAL = {
    "LIMIT": ("icebergQty", "pegPriceType", "pegOffsetType", "pegOffsetValue"),
    "LIMIT_MAKER": ("icebergQty", "pegPriceType", "pegOffsetType", "pegOffsetValue"),
    "MARKET": ("quantity", "quoteOrderQty"),
}
_BY_TYPE = (
    "timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice", "trailingDelta", "icebergQty", "pegPriceType",
    "pegOffsetType", "pegOffsetValue",
)  # fmt: skip
_UNSUPPORTED = {
    "STOP_LOSS": "Stop loss orders are not supported for this symbol.",
    "STOP_LOSS_LIMIT": "Stop loss limit orders are not supported for this symbol.",
    "TAKE_PROFIT": "Take profit orders are not supported for this symbol.",
    "TAKE_PROFIT_LIMIT": "Take profit limit orders are not supported for this symbol.",
}
_RESPONSES = ("ACK", "RESULT", "FULL")
_CLIENT_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}")
_ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_SMALLEST_STRATEGY_TYPE = 1_000_000


@dataclass(frozen=True)
class OrderRequest:
    """A well-formed order for a listed symbol; numbers in units of 0.00000001, zero where there is none."""

    market: SymbolMarket
    side: Side
    kind: str
    time_in_force: TimeInForce
    price: int
    quantity: int
    quote: int
    client_order_id: str
    response: str
    self_trade_mode: str
    strategy_id: int | None
    strategy_type: int | None

    @property
    def is_market(self) -> bool:
        """Whether it takes any price."""
        return self.kind == "MARKET"


def new_client_order_id() -> str:
    """An id for an order or a cancel whose sender gave none."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(22))


def find_market(market: Market, parameters: Parameters) -> SymbolMarket:
    """The market of the mandatory ``symbol``. Raises -1102 or -1121."""
    try:
        return market.symbol(parameters.text("symbol"))
    except UnknownSymbol as error:
        raise INVALID_SYMBOL.fresh() from error


def client_id(parameters: Parameters, name: str) -> str | None:
    """An optional client order id. Raises -1105 when it is empty, -1100 for characters that are not allowed."""
    value = parameters.optional_text(name)
    if value is not None and _CLIENT_ID.fullmatch(value) is None:
        text = f"Illegal characters found in parameter '{name}'; legal range is '^[a-zA-Z0-9-_]{{1,36}}$'."
        raise ApiError(400, -1100, text)
    return value


def read_order(parameters: Parameters, market: Market) -> OrderRequest:
    """The order that a request asks for. Raises :class:`~binmon.sandbox.parameters.ApiError`."""
    for name in ("symbol", "side", "type"):
        parameters.text(name)
    check_mandatory(parameters)
    kind = parameters.text("type")
    if kind in _MANDATORY:
        _check_superfluous(parameters, kind)
    price, quantity = parameters.decimal_e8("price"), parameters.decimal_e8("quantity")
    quote = parameters.decimal_e8("quoteOrderQty")
    strategy_id, strategy_type = parameters.integer("strategyId"), parameters.integer("strategyType")
    client_order_id = client_id(parameters, "newClientOrderId")
    time_in_force = _time_in_force(parameters.optional_text("timeInForce"))
    if kind not in _MANDATORY and kind not in _UNSUPPORTED:
        raise ApiError(400, -1116, "Invalid orderType.")
    side = parameters.text("side")
    if side not in ("BUY", "SELL"):
        raise ApiError(400, -1117, "Invalid side.")
    response = parameters.optional_text("newOrderRespType") or ("ACK" if kind == "LIMIT_MAKER" else "FULL")
    if response not in _RESPONSES:
        raise ApiError(400, -1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    if strategy_type is not None and strategy_type < _SMALLEST_STRATEGY_TYPE:
        raise ApiError(400, -1134, f"strategyType was less than {_SMALLEST_STRATEGY_TYPE}.")
    place = find_market(market, parameters)
    mode = parameters.optional_text("selfTradePreventionMode") or DEFAULT_SELF_TRADE_MODE
    if mode not in SELF_TRADE_MODES:
        raise ApiError(400, -1013, "This symbol does not allow the specified self-trade prevention mode.")
    _check_supported(parameters, kind)
    return OrderRequest(
        market=place,
        side=Side(side),
        kind=kind,
        time_in_force=time_in_force,
        price=price or 0,
        quantity=quantity or 0,
        quote=quote or 0,
        client_order_id=client_order_id or new_client_order_id(),
        response=response,
        self_trade_mode=mode,
        strategy_id=strategy_id,
        strategy_type=strategy_type,
    )


def check_mandatory(parameters: Parameters) -> None:
    """Refuse (-1102) an order without the parameters that its type needs."""
    kind = parameters.text("type")
    for name in _MANDATORY.get(kind, ()):
        if name != "price" or not parameters.has("pegPriceType"):
            parameters.text(name)
    if kind == "MARKET" and not parameters.has("quantity") and not parameters.has("quoteOrderQty"):
        text = "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!"
        raise ApiError(400, -1102, text)


def _check_superfluous(parameters: Parameters, kind: str) -> None:
    """Refuse (-1106) parameters that the type has no use for."""
    if parameters.has("quantity") and parameters.has("quoteOrderQty"):
        raise _superfluous("quoteOrderQty")
    allowed = (*_MANDATORY[kind], *_OPTIONAL[kind])
    for name in _BY_TYPE:
        if parameters.has(name) and name not in allowed:
            raise _superfluous(name)


def _superfluous(name: str) -> ApiError:
    return ApiError(400, -1106, f"Parameter '{name}' sent when not required.")


def _time_in_force(text: str | None) -> TimeInForce:
    if text is None:
        return TimeInForce.GTC
    try:
        return TimeInForce(text)
    except ValueError as error:
        raise ApiError(400, -1115, "Invalid timeInForce.") from error


def _check_supported(parameters: Parameters, kind: str) -> None:
    """Refuse (-2010) what exchangeInfo says no symbol of the sandbox has."""
    if kind in _UNSUPPORTED:
        raise ApiError(400, -2010, _UNSUPPORTED[kind])
    if parameters.has("icebergQty"):
        raise ApiError(400, -2010, "Iceberg orders are not supported for this symbol.")
    if parameters.has("pegPriceType") or parameters.has("pegOffsetType") or parameters.has("pegOffsetValue"):
        raise ApiError(400, -2010, "Pegged orders are not supported for this symbol.")


@dataclass(frozen=True)
class OrderName:
    """Which order a request is about: by order id, by client id, or by both."""

    order_id: int | None
    client_order_id: str | None


def order_name(parameters: Parameters, id_name: str = "orderId", client_name: str = "origClientOrderId") -> OrderName:
    """Read which order is meant. Raises -1102 when neither id was sent."""
    order_id, client_order_id = parameters.integer(id_name), parameters.optional_text(client_name)
    if order_id is None and client_order_id is None:
        text = f"Param '{id_name}' or '{client_name}' must be sent, but both were empty/null!"
        raise ApiError(400, -1102, text)
    if order_id is not None and order_id < 0:
        raise missing(id_name)
    return OrderName(order_id, client_order_id)
