"""What a refusal of Bybit means for the person who has to do something about it (reference, sections 2.4 and 7)."""

from __future__ import annotations

from binmon.errors import Banned, BinmonError, RateLimited, RequestRefused
from binmon.venues.bybit.errors import EXPIRED_KEY, INVALID_KEY, INVALID_SIGNATURE, INVALID_SYMBOL, NO_IP, NO_PERMISSION

_KEY, _SECRET = "venues.bybit.api_key", "venues.bybit.api_secret"
_EXPIRED = (
    f"the key has expired (those without an IP address last 90 days): make a new one and set {_KEY} and {_SECRET}"
)
_LOGIN = (
    f"the venue did not take the login of the private stream: check that {_KEY} and {_SECRET} belong together and to this "
    "environment, and that the clock of this machine is right"
)
_TOO_LARGE = "the order is larger than the venue takes now: order less"
_BALANCE = "the balance of the unified account does not cover the order: pay in, move money there, or order less"
_PRICE = "the price has moved beyond what the venue lets an order pay: try again, or order less"
_NOT_OPEN = "the symbol takes no such orders now: wait, or choose another"
_OURS = "the venue does not understand the request: this is a fault of binmon, please report it"

_BY_CODE = {
    10002: "the clock of this machine and that of the venue disagree: synchronise it (chrony, systemd-timesyncd)",
    -1: "the request took longer to arrive than it was valid: check the connection to the venue",
    INVALID_KEY: f"the venue does not know the key: check that {_KEY} is whole and made for this environment and region "
    "(testnet, demo and production have keys of their own)",
    INVALID_SIGNATURE: f"the signature is wrong: {_SECRET} does not belong to {_KEY}",
    NO_PERMISSION: f"the key may not do this: {_KEY} needs the permission to trade spot, and must not be made read-only",
    10007: f"the venue does not accept the key: check {_KEY}",
    10008: "the account is banned or in a mode without API: ask the venue",
    10009: "the venue does not serve this region",
    NO_IP: f"the key is bound to other addresses: add the IP address of this machine to {_KEY} at the venue",
    10024: "the account may not trade for reasons of compliance: ask the venue",
    10027: "trading is banned for this account: ask the venue",
    10028: "only unified trading accounts are served: upgrade the account at the venue",
    10029: "the symbol is not on the account's list: choose another",
    EXPIRED_KEY: _EXPIRED,
    -2015: _EXPIRED,
    INVALID_SYMBOL: "the venue does not list this symbol: check its spelling, and that it exists in this environment",
    170033: _BALANCE,
    170131: _BALANCE,
    110004: _BALANCE,
    110007: _BALANCE,
    110012: _BALANCE,
    170134: "the price has more decimals than the symbol takes",
    170137: "the quantity has more decimals than the symbol takes: round it to the symbol's step",
    170148: "the amount has more decimals than the symbol takes: round it",
    170136: "the quantity is less than the least of the symbol: raise it",
    170140: "the order is worth less than the least amount of the symbol: raise it",
    170810: "the account has too many open orders: cancel some",
    170151: _NOT_OPEN,
    170157: _NOT_OPEN,
    170159: _NOT_OPEN,
    170217: _NOT_OPEN,
    170213: "the venue does not know this order: it was never placed, or is finished",
    **dict.fromkeys((170124, 170341, 170381, 170382, 170197, 170198, 170228, 170229), _TOO_LARGE),
    **dict.fromkeys((170132, 170133, 170192, 170193, 170194, 170371, 170372, 110003), _PRICE),
    10001: "the venue does not take a parameter: does it list the symbol in this environment? if so, please report it",
    **dict.fromkeys((10017, 170003, 170105, 170115, 170116, 170117, 170130, 170201), _OURS),
    **dict.fromkeys((170139, 170142, 170143, 170190), "the order is finished already"),
}


def explain(error: BinmonError) -> str | None:
    """One line about what to do, or None where the error says all there is."""
    if isinstance(error, Banned):
        return "the venue has banned this address for too many requests, or does not serve its region (HTTP 403)"
    if isinstance(error, RateLimited) and error.scope == "SYSTEM":
        return "the venue is overloaded: it takes requests again by itself"
    if not isinstance(error, RequestRefused):
        return None
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.code is None and error.status == 401:
        return _BY_CODE[INVALID_KEY]
    if error.code is None and error.status == 404:
        return "there is no such API at this address: check venues.bybit.environment and endpoints"
    return _LOGIN if error.code is None and error.url.startswith("ws") else None
