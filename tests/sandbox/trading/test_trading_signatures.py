"""Signatures against the vectors of the reference (2.6 and appendix B)."""

import base64
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from binmon.sandbox.trading.accounts import ApiKey, KeyKind
from binmon.sandbox.trading.signatures import rest_payload, verify, ws_payload

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
HMAC = ApiKey(KEY, KeyKind.HMAC, b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
TAIL = "&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
WIDE = "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96"


@pytest.mark.parametrize(
    ("query", "body", "signature"),
    [
        (f"symbol=LTCBTC{TAIL}", "", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (f"symbol={WIDE}{TAIL}", "", "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
        ("", f"symbol=LTCBTC{TAIL}", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC",
            "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77",
        ),
    ],
)
def test_rest_vectors(query, body, signature):
    signed = (f"{query}&signature={signature}", body) if query else (query, f"{body}&signature={signature}")
    payload, found = rest_payload(*signed)
    assert found == signature
    assert verify(HMAC, payload, found)
    assert verify(HMAC, payload, found.upper())
    assert not verify(HMAC, payload + b"0", found)


def test_a_signature_over_unencoded_text_is_wrong():
    payload, signature = rest_payload(
        f"symbol={WIDE}{TAIL}&signature=ca2cdfbf21d2e2958de492c7f2dd1f059dd2ed4d4459d26a5ec7928db50c8d4f", ""
    )
    assert not verify(HMAC, payload, signature)
    assert verify(HMAC, f"symbol=１２３４５６{TAIL}".encode(), signature)


def test_the_signature_is_taken_out_wherever_it_stands():
    assert rest_payload("signature=ab&a=1&b=2", "") == (b"a=1&b=2", "ab")
    assert rest_payload("a=1&signature=a%2Bb%3D&b=2", "c=3") == (b"a=1&b=2c=3", "a+b=")
    assert rest_payload("a=1&signature=x", "c=3&signature=y") == (b"a=1c=3", "x")
    assert rest_payload("a=1", "") == (b"a=1", None)
    assert rest_payload("a=%C3%A9\xc3\xa9", "")[0] == b"a=%C3%A9\xc3\xa9"


@pytest.mark.parametrize(
    ("params", "signature"),
    [
        (
            {
                "symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01000000",
                "price": "52000.00", "recvWindow": 100, "timestamp": 1645423376532, "apiKey": KEY,
            },
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            {
                "symbol": "１２３４５６", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
                "quantity": "1.00000000", "price": "0.10000000", "recvWindow": 5000, "timestamp": 1645423376532,
                "apiKey": KEY,
            },
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
        (
            {"timestamp": 1747385641636, "apiKey": KEY},
            "681110a6057ad58657af22f5640fab9dd17418834cdfccdc81be8b0f7b2cde3e",
        ),
        (
            {"timestamp": 1747385641636, "recvWindow": 5000, "apiKey": KEY},
            "49601ffc5b0122c3c7ee3ea85ef7d6cd76256f5191a57c976418faa32e917653",
        ),
    ],
)  # fmt: skip
def test_websocket_vectors(params, signature):
    assert verify(HMAC, ws_payload({**params, "signature": signature}), signature)


def test_websocket_values_are_signed_as_sent():
    assert ws_payload({"b": True, "a": 1.5, "c": ["X", "Y"]}) == b'a=1.5&b=true&c=["X","Y"]'


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1&price=0.2&timestamp=1668481559918"
            "&recvWindow=5000",
            "XtZirsmmi0noRzUfkqktvkVfxpkq/WtbLg2UOL3QGYdUBZVlqOBEMuEVw8zioY93N54NcKj9UuAXQEa9zgTDBg==",
        ),
        (
            "apiKey=4yNzx3yWC5bS6YTwEkSRaC0nRmSQIIStAUOh1b6kqaBrTLIhjCpI5lJH8q8R8WNO&timestamp=1747385641636",
            "pJBg0B+FverOfqH6iQP4ZqVsmwmEs0iET0zc6TrrELGicygzqHHGrNXZYyYzXp1p1HrI8muZ8tHKeqZ2OVkPCA==",
        ),
    ],
)
def test_ed25519_vectors(payload, signature):
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = ApiKey("k", KeyKind.ED25519, Ed25519PrivateKey.from_private_bytes(seed).public_key())
    raw, found = rest_payload(f"{payload}&signature={quote(signature, safe='')}", "")
    assert verify(key, raw, found)
    assert not verify(key, raw + b"0", found)
    assert not verify(key, raw, found.swapcase())
    # Base64 that was not percent-encoded loses its plus signs on the way.
    raw, found = rest_payload(f"{payload}&signature={signature}", "")
    assert verify(key, raw, found) is ("+" not in signature)


def test_rsa_is_pkcs1_with_sha256():
    private = generate_private_key(65537, 2048)
    key = ApiKey("k", KeyKind.RSA, private.public_key())
    signature = base64.b64encode(private.sign(b"a=1", PKCS1v15(), hashes.SHA256())).decode()
    assert len(signature) == 344
    assert verify(key, b"a=1", signature)
    assert not verify(key, b"a=2", signature)
    assert not verify(key, b"a=1", "no base64")
    assert not verify(key, b"a=1", "é")


def test_a_key_does_not_show_its_secret():
    assert "NhqPtmdSJY" not in repr(HMAC)
