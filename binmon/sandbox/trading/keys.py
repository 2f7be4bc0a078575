"""The keys that the sandbox hands out, and the accounts they belong to.

Everything but the RSA key follows from the seed, so that the same sandbox has the same keys; the RSA key is made once
a process, when it is first needed.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..decimals import E8
from .accounts import Accounts, ApiKey, KeyKind

MAIN, POOR = "main", "poor"
"""Names of the default accounts: one with plenty of everything, one without anything."""

_PLENTY = {"BTC": 100, "ETH": 2_000, "BNB": 5_000}
_PLENTY_OF_OTHERS = 1_000_000


@dataclass(frozen=True)
class IssuedKey:
    """A key as its user gets it: with ``api_secret`` for HMAC, with ``private_key_pem`` (PKCS#8) for the others."""

    account: str
    kind: KeyKind
    api_key: str
    api_secret: str | None = field(repr=False)
    private_key_pem: bytes | None = field(repr=False)
    can_trade: bool


def plenty(asset: str) -> int:
    """What the account :data:`MAIN` is given of an asset, in units of 0.00000001."""
    return _PLENTY.get(asset, _PLENTY_OF_OTHERS) * E8


def open_accounts(accounts: Accounts, seed: int, api_key: str, api_secret: str) -> list[IssuedKey]:
    """Open the default accounts with their keys; the first key is the given HMAC one."""
    main, poor = accounts.add(MAIN, grant=plenty), accounts.add(POOR)
    curve = Ed25519PrivateKey.from_private_bytes(_digest(seed, "ed25519 private").digest())
    issued = []

    def hmac_key(account: str, key: str, secret: str, can_trade: bool = True) -> ApiKey:
        issued.append(IssuedKey(account, KeyKind.HMAC, key, secret, None, can_trade))
        return ApiKey(key, KeyKind.HMAC, secret.encode(), can_trade)

    def pair(kind: KeyKind, private: Ed25519PrivateKey | rsa.RSAPrivateKey) -> ApiKey:
        key = _text(seed, f"main {kind.value}")
        issued.append(IssuedKey(MAIN, kind, key, None, _pem(private), True))
        return ApiKey(key, kind, private.public_key())

    main.keys = [
        hmac_key(MAIN, api_key, api_secret),
        pair(KeyKind.ED25519, curve),
        pair(KeyKind.RSA, rsa_key()),
        hmac_key(MAIN, _text(seed, "reader"), _text(seed, "reader secret"), can_trade=False),
    ]
    poor.keys = [hmac_key(POOR, _text(seed, "poor"), _text(seed, "poor secret"))]
    return issued


def _digest(seed: int, purpose: str) -> hashlib._Hash:
    return hashlib.sha256(f"binmon sandbox {seed} {purpose}".encode())


def _text(seed: int, purpose: str) -> str:
    return _digest(seed, purpose).hexdigest()


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    """The RSA key of the default accounts."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(private: Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
