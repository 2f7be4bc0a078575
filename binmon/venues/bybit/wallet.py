"""The unified account's wallet (reference 3.12 and 5.5): what REST lists and the private stream tells of has one form."""

from __future__ import annotations

import msgspec

from binmon.messages import Balance
from binmon.venues.bybit.orders import ZERO, amount_of


class Coin(msgspec.Struct):
    """One coin of the wallet, as REST lists it and as the topic ``wallet`` tells of it. Amounts may be empty texts."""

    coin: str
    balance: str = msgspec.field(name="walletBalance", default="")
    locked: str = ""


class Wallet(msgspec.Struct):
    """What of an account is of interest."""

    coins: list[Coin] = msgspec.field(name="coin", default_factory=list)


def balance_of(coin: Coin) -> Balance:
    """One coin of the wallet; a debt leaves nothing free. Raises MalformedFrame."""
    locked = amount_of(coin.locked)
    return Balance(coin.coin, max(ZERO, amount_of(coin.balance) - locked), locked)
