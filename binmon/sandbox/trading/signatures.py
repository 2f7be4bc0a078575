"""What is signed, and whether a signature is right (reference: Binance Spot, 2.2 to 2.4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from .accounts import ApiKey


def verify(key: ApiKey, payload: bytes, signature: str) -> bool:
    """Whether a signature fits a payload: hexadecimal of any case for HMAC, base64 for Ed25519 and RSA."""
    secret = key.secret
    if isinstance(secret, bytes):
        expected = hmac.new(secret, payload, hashlib.sha256).hexdigest()
        return signature.isascii() and hmac.compare_digest(expected, signature.lower())
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    try:
        if isinstance(secret, Ed25519PublicKey):
            secret.verify(raw, payload)
        else:
            secret.verify(raw, payload, PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def rest_payload(query: str, body: str) -> tuple[bytes, str | None]:
    """The signed bytes of a REST request, and its signature (``None`` when it has none).

    Query and body are given as they came over the wire, one character a byte; they are joined without a separator
    after the ``signature`` pair has been taken out. A signature in the query wins over one in the body.
    """
    signature: str | None = None
    parts = []
    for text in (query, body):
        kept = []
        for pair in text.split("&"):
            if pair.startswith("signature="):
                if signature is None:
                    signature = unquote_plus(pair.removeprefix("signature="))
            else:
                kept.append(pair)
        parts.append("&".join(kept))
    return _wire_bytes("".join(parts)), signature


def ws_payload(params: Mapping[str, Any]) -> bytes:
    """The signed bytes of a WebSocket API request: its params sorted by name, raw UTF-8, without ``signature``."""
    pairs = (f"{name}={parameter_text(params[name])}" for name in sorted(params) if name != "signature")
    return "&".join(pairs).encode()


def parameter_text(value: object) -> str:
    """A JSON value as the text that is signed and read: strings and numbers as sent, the rest as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _wire_bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
