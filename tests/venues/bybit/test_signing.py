"""Signatures, by the vectors of the reference (bybit-v5, 2.3), and keys that cannot sign."""

from __future__ import annotations

import pytest

from binmon.config.schema import BybitConfig
from binmon.errors import ConfigError
from binmon.venues.bybit.signing import Signer, signer_of

KEY, SECRET, NOW_MS = "SandboxKey01", "SandboxSecret01", 1764000000000


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            "category=spot&symbol=BTCUSDT&orderLinkId=bm-000001",
            "a8d9dccc5f00828753a9417964e10aec1faced7517ec840c23b08fe9c187bb99",
        ),
        (
            '{"category":"spot","symbol":"BTCUSDT","side":"Buy","orderType":"Market","qty":"25","marketUnit":"quoteCoin",'
            '"orderLinkId":"bm-000001"}',
            "104931306a62ead2b750e4ef78cc3a6332f60d6523b149f74a9669119325b6aa",
        ),
        ("", "2fd1727cb28a796b6b821cd169c57986981962e4d2c9e70cec2d00a4cb667de6"),
    ],
)
def test_the_vectors_of_the_reference(payload: str, signature: str) -> None:
    assert Signer(KEY, SECRET).headers(NOW_MS, 5000, payload) == {
        "X-BAPI-API-KEY": KEY,
        "X-BAPI-TIMESTAMP": "1764000000000",
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN-TYPE": "2",
        "X-BAPI-SIGN": signature,
    }


def test_the_vector_of_the_websocket() -> None:
    told = Signer(KEY, SECRET).websocket(1764000010000)
    assert told == "4970f0582a117fb0533914ca6d45cbd707775b7b6d33d1e6a1710146c6ae844c"


def test_nothing_shows_the_secret() -> None:
    assert SECRET not in repr(Signer(KEY, SECRET)) and KEY not in repr(Signer(KEY, SECRET))


@pytest.mark.parametrize(
    ("key", "secret", "named", "says"),
    [
        ("", "", "api_key", "no API key"),
        (KEY, "", "api_secret", "missing"),
        ("", SECRET, "api_key", "missing"),
        (f"{KEY} ", SECRET, "api_key", "blanks"),
        (KEY, "Sandbox\nSecret01", "api_secret", "line ends"),
        (KEY, "SandboxSécret01", "api_secret", "ASCII"),
        (KEY, KEY, "api_secret", "same as api_key"),
    ],
)
def test_keys_that_cannot_sign(key: str, secret: str, named: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        signer_of(BybitConfig(api_key=key, api_secret=secret))
    assert caught.value.key == f"venues.bybit.{named}"
    assert SECRET not in str(caught.value) and "Sécret" not in str(caught.value)


def test_a_key_of_the_configuration() -> None:
    signer = signer_of(BybitConfig(api_key=KEY, api_secret=SECRET))
    assert signer.headers(NOW_MS, 5000, "") == Signer(KEY, SECRET).headers(NOW_MS, 5000, "")
