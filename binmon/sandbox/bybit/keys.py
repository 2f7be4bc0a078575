"""Accounts and keys of the Bybit side. Everything but the RSA key follows from the seed."""

from __future__ import annotations

import hashlib
from decimal import Decimal

from cryptography.hazmat.primitives import serialization

from ..trading.accounts import Accounts, ApiKey, CommissionRates, KeyKind
from ..trading.keys import MAIN, POOR, IssuedKey, plenty, rsa_key
from . import money


def open_accounts(accounts: Accounts, seed: int, maker_fee: str, taker_fee: str) -> list[IssuedKey]:
    """Open the accounts ``main`` and ``poor`` with their keys; the first key is the HMAC one of ``main``.

    One key of ``main`` only reads. The fees are shares, such as ``0.001``.
    """
    main = accounts.add(MAIN, grant=lambda coin: plenty(coin) * money.E8_IN_UNITS)
    poor = accounts.add(POOR)
    for account in (main, poor):
        account.commission = CommissionRates(Decimal(maker_fee), Decimal(taker_fee))
    issued: list[IssuedKey] = []

    def hmac_key(account: str, purpose: str, can_trade: bool = True) -> ApiKey:
        key, secret = _text(seed, purpose, 18), _text(seed, f"{purpose} secret", 36)
        issued.append(IssuedKey(account, KeyKind.HMAC, key, secret, None, can_trade))
        return ApiKey(key, KeyKind.HMAC, secret.encode(), can_trade)

    first = hmac_key(MAIN, "main")
    private = rsa_key()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    issued.append(IssuedKey(MAIN, KeyKind.RSA, _text(seed, "rsa", 18), None, pem, True))
    pair = ApiKey(issued[-1].api_key, KeyKind.RSA, private.public_key())
    main.keys = [first, pair, hmac_key(MAIN, "reader", can_trade=False)]
    poor.keys = [hmac_key(POOR, "poor")]
    return issued


def _text(seed: int, purpose: str, length: int) -> str:
    return hashlib.sha256(f"binmon sandbox bybit {seed} {purpose}".encode()).hexdigest()[:length]
