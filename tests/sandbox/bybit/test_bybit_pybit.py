"""The venue's own SDK as a witness: it knows the venue, and nothing of us."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.timeout(240)
def test_the_venues_own_client(start_exchange):
    exchange = start_exchange(rate=50.0)
    ran = subprocess.run(
        [sys.executable, Path(__file__).parent / "foreign_pybit.py"],
        input=json.dumps(exchange.sandbox.ready()), capture_output=True, text=True, timeout=220,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    seen = json.loads(ran.stdout.splitlines()[-1])
    for kind in ("HMAC", "RSA"):
        rest = seen["rest"][kind]
        assert abs(rest["time"] - time.time_ns() // 1_000_000) < 400_000
        assert rest["instrument"] == ["BTCUSDT", "Trading", "0.1"]
        assert (rest["book"], rest["klines"], rest["ticker"]) == ([5, 5], 2, "BTCUSDT")
        assert (rest["wallet"], rest["fees"], rest["key"], rest["account"]) == (["BTC", "USDT"], "0.001", 0, 5)
        assert rest["market"] in (
            ["PartiallyFilledCanceled", f"sdk-{kind}-market", True], ["Filled", f"sdk-{kind}-market", True],
        )  # fmt: skip
        assert rest["fills"] is True
        assert (rest["open"], rest["cancelled"], rest["refused"]) == ([f"sdk-{kind}-limit"], "Cancelled", 170140)
        assert seen["private"][kind]["topics"] == ["execution", "execution.fast", "order", "wallet"]
        assert seen["private"][kind]["placed"] == [0, f"trade-{kind}"]
    assert seen["public"]["steps"] == [1]
    assert seen["public"]["levels"] == [50, 50]  # the client never trims: what leaves the window is deleted
    assert seen["public"]["topics"] == ["kline.1.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT"]
