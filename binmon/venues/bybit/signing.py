"""The API key of an account at Bybit, and how it signs (reference, section 2). Nothing in here shows a secret."""

from __future__ import annotations

import hmac

from binmon.config.schema import BybitConfig
from binmon.errors import ConfigError

API_KEY, API_SECRET = "venues.bybit.api_key", "venues.bybit.api_secret"


class Signer:
    """One HMAC key. Any number of threads may sign with it."""

    __slots__ = ("_secret", "api_key")

    def __init__(self, api_key: str, secret: str) -> None:
        self.api_key, self._secret = api_key, secret.encode("ascii")

    def headers(self, timestamp_ms: int, recv_window_ms: int, payload: str) -> dict[str, str]:
        """The headers of a REST request. ``payload`` is the query of a GET or the body of a POST, byte for byte as it
        leaves (reference 2.2)."""
        signed = f"{timestamp_ms}{self.api_key}{recv_window_ms}{payload}"
        return {
            "X-BAPI-API-KEY": self.api_key,
            "X-BAPI-TIMESTAMP": str(timestamp_ms),
            "X-BAPI-RECV-WINDOW": str(recv_window_ms),
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-SIGN": self._sign(signed),
        }

    def websocket(self, expires_ms: int) -> str:
        """The signature that logs a connection on (reference 5.1)."""
        return self._sign(f"GET/realtime{expires_ms}")

    def __repr__(self) -> str:
        return "Signer(HMAC)"

    def _sign(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode("utf-8"), "sha256").hex()


def signer_of(section: BybitConfig) -> Signer:
    """The signer that the configuration asks for. Raises ConfigError, with what to do about it, for what cannot sign."""
    if not section.api_key and not section.api_secret:
        raise ConfigError("no API key: set it here, or BYBIT_API_KEY and BYBIT_API_SECRET", key=API_KEY)
    for text, key, other in (
        (section.api_key, API_KEY, "api_secret"),
        (section.api_secret, API_SECRET, "api_key"),
    ):
        if not text:
            raise ConfigError(f"missing, though {other} is set: set both, they belong together", key=key)
        if any(character.isspace() for character in text):
            raise ConfigError("has blanks or line ends in it: copy it again, in one piece", key=key)
        if not (text.isascii() and text.isprintable()):
            raise ConfigError("has characters other than printable ASCII: copy it again", key=key)
    if section.api_key == section.api_secret:
        raise ConfigError("is the same as api_key: set the secret that was shown with the key", key=API_SECRET)
    return Signer(section.api_key, section.api_secret)
