"""What a refusal of Binance Spot means for the person who has to do something about it (reference, section 10)."""

from __future__ import annotations

import re

from binmon.errors import BinmonError, RateLimited, RequestRefused

_KEY, _SECRET = "venues.binance.api_key", "venues.binance.api_secret"

_BY_CODE = {
    -1002: f"the key is not permitted to do this: enable its permissions in the key management of {_KEY}'s account",
    -1013: "the order breaks a rule of the symbol: check its size against the symbol's filters",
    -1021: "the clock of this machine and that of the venue disagree: synchronise it (chrony, systemd-timesyncd)",
    -1022: f"the signature is wrong: {_SECRET} (or the private key file) does not belong to {_KEY}",
    -1111: "the order has more decimals than the symbol takes: round its quantity to the symbol's step",
    -1121: "the venue does not list this symbol: check its spelling, and that it exists in this environment",
    -2011: "the order could not be cancelled: it is unknown or finished already",
    -2013: "the venue does not know this order: it was never placed, or its records were reset",
    -2014: f"the key is not of the right form: copy {_KEY} again, whole and without blanks",
    -2026: "the order ended unfilled more than 90 days ago and is archived",
    -2043: "the symbol has no reference price",
}
_UNKNOWN_KEY = (
    f"the venue does not accept the key: check that {_KEY} is whole, not deleted, made for this environment (testnet, demo "
    "and production have keys of their own), and that it permits this action and the IP address of this machine"
)
_CANNOT_TRADE = (
    "the key may read the account but not do this: enable spot trading for it (keys cannot trade by default), and check "
    "that it permits the IP address of this machine"
)
_BY_MESSAGE = (
    (r"insufficient balance", "the balance does not cover the order: pay in, or order less"),
    (r"Market is closed|trading phase", "the symbol is not trading now: wait until its status is TRADING"),
    (r"may not place or cancel|disabled on this account", "the account is not allowed to trade: ask the venue why"),
    (r"(permitted|restricted) for this account", "the account is not allowed to trade this symbol"),
    (r"API trading is not enabled", "the account is not allowed to trade over this API: use the other transport"),
    (r"Quote order qty", "the symbol takes no orders by quote amount: order a quantity"),
    (r"Market orders are not supported", "the symbol takes no market orders"),
    (r"Duplicate order", "an open order has this client order id already: was it sent before?"),
    (r"liquidity is less", "the order book is too thin: there is less to trade than the least quantity"),
    (r"zero or less", "the order is worth nothing: raise its quantity"),
)
_BY_FILTER = {
    "LOT_SIZE": "the quantity is too small, too large, or no multiple of the symbol's step",
    "MARKET_LOT_SIZE": "the quantity is too small, too large, or no multiple of the step for market orders",
    "MIN_NOTIONAL": "the order is worth less than the least amount of the symbol: raise it",
    "NOTIONAL": "the order is worth less than the least, or more than the most, that the symbol takes",
    "MAX_POSITION": "the order would take the position above the most that the symbol allows",
    "MAX_ASSET": "the order is worth more than the account may trade of this asset in one order",
    "MAX_NUM_ORDERS": "the account has too many open orders for this symbol: cancel some",
    "EXCHANGE_MAX_NUM_ORDERS": "the account has too many open orders: cancel some",
    "PERCENT_PRICE": "the price has moved too far from its average",
    "PERCENT_PRICE_BY_SIDE": "the price has moved too far from its average",
}
_TELLING = (-1013, -2011)  # codes of many causes, of which the message names one
_OURS = range(-1199, -1099)  # parameters that the venue does not understand


def explain(error: BinmonError, *, account_works: bool = False) -> str | None:
    """One line about what to do, or None where the error says all there is.

    ``account_works``: the venue has answered signed requests of this key before. The same -2015 then means that the key
    lacks a permission, and not that it is unknown.
    """
    if isinstance(error, RateLimited) and error.scope == "WAF":
        return "the venue's firewall turned the request away: wait some minutes; when it persists, ask the venue"
    if not isinstance(error, RequestRefused):
        return None
    if error.code == -2015 or (error.code is None and error.status == 401):
        return _CANNOT_TRADE if account_works else _UNKNOWN_KEY
    if (found := re.search(r"Filter failure: (\w+)", error.message)) is not None:
        known = _BY_FILTER.get(found[1])
        return f"{known} ({found[1]})" if known else f"the order breaks the symbol's rule {found[1]}"
    if error.code not in _BY_CODE or error.code in _TELLING:
        for pattern, text in _BY_MESSAGE:
            if re.search(pattern, error.message, re.IGNORECASE):
                return text
    if error.code is not None:
        if error.code in _BY_CODE:
            return _BY_CODE[error.code]
        if error.code in _OURS:
            return "the venue does not understand the request: this is a fault of binmon, please report it"
        return None
    if error.status in (404, 410):
        return "there is no such API at this address: check venues.binance.environment and endpoints"
    return None
