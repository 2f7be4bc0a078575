"""Clients that others have written, as witnesses: they know the venue, and nothing of us.

Each runs in a process of its own (``foreign_*.py``) against a sandbox of this one, with keys of every kind.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KINDS = ["HMAC", "Ed25519", "RSA"]


def witness(exchange, script):
    """What a client saw of a sandbox."""
    ran = subprocess.run(
        [sys.executable, HERE / script],
        input=json.dumps(exchange.sandbox.ready()), capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


def is_now(milliseconds):
    return abs(milliseconds - time.time_ns() // 1_000_000) < 400_000


@pytest.mark.timeout(300)
def test_the_venues_own_client(start_exchange):
    seen = witness(start_exchange(rate=50.0), "foreign_venue_sdk.py")
    for kind in KINDS:
        rest = seen["rest"][kind]
        assert is_now(rest["time"])
        assert rest["symbol"][:2] == ["BTCUSDT", "TRADING"]
        assert {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL"} <= set(rest["symbol"][2])
        assert (rest["depth"], rest["klines"]) == (5, 2)
        assert set(rest["balances"]) >= {"BTC", "USDT"}
        assert rest["market"] == ["FILLED", "0.00100000", True]
        assert rest["limits"] == ["ORDERS", "REQUEST_WEIGHT"]
        assert rest["limit"] == ["NEW", "NEW"]
        assert rest["open"] == [f"sdk-rest-{kind}"]
        assert rest["cancelled"] == "CANCELED"
        assert rest["trade"] is True
        assert rest["refused"] == -1013
        api = seen["websocket_api"][kind]
        assert is_now(api["time"])
        assert api["subscription"] == 0
        assert (api["market"], api["limit"]) == ("FILLED", ["NEW", "NEW"])
        assert api["limits"] == ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]
        assert (api["open"], api["cancelled"], api["refused"]) == (True, "CANCELED", -1013)
        assert api["reports"] == ["NEW", "CANCELED"]
    session = seen["websocket_api"]["Ed25519"]
    assert session["logon"] == [True, True]
    assert (session["account"], session["logout"]) == (True, None)
    assert seen["streams"] == ["BookTickerResponse", "DiffBookDepthResponse", "KlineResponse", "TradeResponse"]


@pytest.mark.timeout(300)
def test_python_binance(start_exchange):
    seen = witness(start_exchange(rate=50.0), "foreign_python_binance.py")
    for kind in KINDS:
        rest = seen["rest"][kind]
        assert is_now(rest["time"])
        assert rest["symbol"] == ["BTCUSDT", "TRADING"]
        assert rest["depth"] == 5
        assert set(rest["balances"]) >= {"BTC", "USDT"}
        assert rest["tested"] == {}
        assert rest["market"] == ["FILLED", "0.00100000"]
        assert rest["limit"] == ["NEW", "NEW"]
        assert (rest["open"], rest["cancelled"], rest["trade"]) == (True, "CANCELED", True)
        assert rest["refused"] == [400, -1013]
        sockets = seen["websockets"][kind]
        assert is_now(sockets["time"])
        assert sockets["reports"][:2] == ["NEW", "TRADE"]
        assert sockets["limit"] == ["FILLED", "NEW", "NEW"]
        assert sockets["cancelled"] == "CANCELED"
        assert sockets["refused"] == [400, -1013]
        assert sockets["streams"] == ["trade", "depthUpdate"]
        assert sockets["combined"] == "btcusdt@depth@100ms"
