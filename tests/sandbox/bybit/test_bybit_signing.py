"""Signatures and the time rule, with the vectors of the reference (2.3 and 2.4)."""

import pytest

from binmon.sandbox.bybit import signing
from binmon.sandbox.bybit.errors import RetError
from binmon.sandbox.trading.accounts import ApiKey, KeyKind

KEY = ApiKey("SandboxKey01", KeyKind.HMAC, b"SandboxSecret01")
TIME = "1764000000000"
VECTORS = [
    (
        "category=spot&symbol=BTCUSDT&orderLinkId=bm-000001",
        "a8d9dccc5f00828753a9417964e10aec1faced7517ec840c23b08fe9c187bb99",
    ),
    (
        '{"category":"spot","symbol":"BTCUSDT","side":"Buy","orderType":"Market","qty":"25",'
        '"marketUnit":"quoteCoin","orderLinkId":"bm-000001"}',
        "104931306a62ead2b750e4ef78cc3a6332f60d6523b149f74a9669119325b6aa",
    ),
    ("", "2fd1727cb28a796b6b821cd169c57986981962e4d2c9e70cec2d00a4cb667de6"),
]


@pytest.mark.parametrize(("payload", "signature"), VECTORS)
def test_vectors_of_the_reference(payload, signature):
    signing.check_signature(KEY, TIME, "5000", payload, signature)
    for wrong in (signature[:-1] + "0" * (signature[-1] != "0") + "1" * (signature[-1] == "0"), "", "ü"):
        with pytest.raises(RetError) as caught:
            signing.check_signature(KEY, TIME, "5000", payload, wrong)
        assert caught.value.code == 10004
        assert f"origin_string[{TIME}SandboxKey015000{payload}]" in caught.value.message
    with pytest.raises(RetError):
        signing.check_signature(KEY, TIME, "6000", payload, signature)


def test_vector_of_the_websocket():
    sign = "4970f0582a117fb0533914ca6d45cbd707775b7b6d33d1e6a1710146c6ae844c"
    assert signing.is_logon(KEY, "1764000010000", sign, 1764000009999)
    assert not signing.is_logon(KEY, "1764000010000", sign, 1764000010000)  # expired
    assert not signing.is_logon(KEY, "1764000010001", sign, 1764000000000)
    assert not signing.is_logon(KEY, "x", sign, 1764000000000)


@pytest.mark.parametrize(
    ("made", "window", "passes"),
    [
        (1_000_000, "5000", True),
        (1_000_000 - 5000, "5000", True),
        (1_000_000 - 5001, "5000", False),
        (1_000_000 - 5001, "6000", True),
        (1_000_000 + 999, "5000", True),
        (1_000_000 + 1000, "5000", False),
        (1_000_000 + 1000, "60000", False),
        (1_000_000 - 5000, "", True),
        (1_000_000 - 5001, "", False),
    ],
)
def test_the_time_rule(made, window, passes):
    if passes:
        signing.check_time(str(made), window, 1_000_000)
        return
    with pytest.raises(RetError) as caught:
        signing.check_time(str(made), window, 1_000_000)
    assert caught.value.code == 10002
    for part in (f"req_timestamp[{made}]", "server_timestamp[1000000]", f"recv_window[{window or 5000}]"):
        assert part in caught.value.message


@pytest.mark.parametrize(("made", "window"), [("x", "5000"), ("-1", "5000"), ("1000", "x"), ("", "")])
def test_no_numbers(made, window):
    with pytest.raises(RetError) as caught:
        signing.check_time(made, window, 1_000_000)
    assert caught.value.code == 10001
