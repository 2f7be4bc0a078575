"""The Bybit side as a whole: where it listens, what it lists, how its prices wander, and its parts without sockets."""

import json
import socket
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binmon.sandbox import symbols
from binmon.sandbox.bybit import instruments, money
from binmon.sandbox.bybit.basis import Basis
from binmon.sandbox.bybit.limits import EndpointLimits
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox


def test_ready_line(bybit):
    ready = bybit.exchange.sandbox.ready()
    assert ready["bybit_rest"] == bybit.base
    assert ready["bybit_public_stream"].endswith("/v5/public/spot")
    assert ready["bybit_private_stream"].endswith("/v5/private")
    assert ready["bybit_trade_stream"].endswith("/v5/trade")
    assert ready["bybit_symbols"] == ["BTCUSDT"]
    assert ready["bybit_api_key"] != ready["api_key"]
    assert [(key["account"], key["kind"], key["can_trade"]) for key in ready["bybit_keys"]] == [
        ("main", "HMAC", True), ("main", "RSA", True), ("main", "HMAC", False), ("poor", "HMAC", True),
    ]  # fmt: skip
    assert json.dumps(ready)


def test_keys_follow_the_seed():
    keys = []
    for seed in (1, 1, 2):
        with Sandbox(SandboxOptions(symbols=("BTCUSDT",), seed=seed)) as sandbox:
            ready = sandbox.ready()
            keys.append((ready["bybit_api_key"], ready["bybit_api_secret"]))
    assert keys[0] == keys[1] != keys[2]


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        Sandbox(SandboxOptions(symbols=("BTCUSDT",), bybit_port=taken.getsockname()[1]))


def test_symbols_of_its_own(start_bybit):
    bybit = start_bybit(symbols=("BTCUSDT", "ETHUSDT"), bybit_symbols=("ETHUSDT", "OTHERUSDC"))
    assert bybit.venue.symbols == ["ETHUSDT", "OTHERUSDC"]
    with pytest.raises(ValueError, match="named twice"):
        Sandbox(SandboxOptions(bybit_symbols=("ETHUSDT", "ETHUSDT")))
    with pytest.raises(ValueError, match="not a symbol of Bybit"):
        Sandbox(SandboxOptions(bybit_symbols=(symbols.UNICODE_SYMBOL,)))


def test_a_replay_has_no_bybit_side():
    chosen = instruments.choose(None, symbols.default_instruments(), False, 1, None)
    names = [one.symbol for one in chosen]
    assert instruments.ONLY_HERE in names and instruments.ONLY_THERE not in names
    assert not {symbols.UNICODE_SYMBOL, symbols.BREAK_SYMBOL, symbols.UNTRADED_SYMBOL} & set(names)


names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=6).map(lambda base: f"{base}USDT")


@settings(max_examples=60, deadline=None)
@given(names, st.integers(1, 5), st.sampled_from([None, 10.0]))
def test_limits_of_any_symbol_fit_together(name, seed, rate):
    (instrument,) = instruments.choose([name], [], True, seed, rate)
    one = instruments.listing(instrument, 11)
    row = one.info("Trading")
    lot, price = row["lotSizeFilter"], row["priceFilter"]
    assert money.to_units(lot["basePrecision"]) == one.base_units(1)
    assert money.to_units(price["tickSize"]) == one.price_units(1)
    # Whatever a price times a quantity comes to, it can be asked for by value.
    assert one.quote_units(1, 1) % one.quote_precision == 0 or one.quote_precision % one.quote_units(1, 1) == 0
    assert one.min_lots <= one.max_market_lots <= one.max_limit_lots
    assert one.min_order_amount <= one.quote_units(instrument.start_price, one.max_market_lots) <= one.max_order_amount


def test_both_venues_are_not_the_same_market(start_bybit):
    bybit = start_bybit(symbols=("BTCUSDT",), rate=50.0)
    bybit.public("orderbook.1.BTCUSDT")
    theirs = bybit.exchange.depth("BTCUSDT", 5)["bids"]
    ours = bybit.result("/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=5")["b"]
    assert [row[0] for row in theirs] != [row[0] for row in ours]
    assert float(ours[0][0]) == pytest.approx(float(theirs[0][0]), rel=0.01)
    bybit.fault("freeze")
    bybit.exchange.fault("freeze")
    basis = bybit.desk("state")["symbols"]["BTCUSDT"]["basis_bps"]
    assert abs(basis) < 60


def test_the_basis_wanders_and_changes_its_sign():
    basis = Basis("1", 8.0)
    seen, price, factor = [], 100.0, 1.0
    for _ in range(60_000):
        factor *= basis.step(price)
        seen.append(basis.bps)
    assert 4 < statistics.pstdev(seen) < 13
    assert min(seen) < -5 and max(seen) > 5
    assert factor == pytest.approx((1 + seen[-1] / 1e4) / (1 + Basis("1", 8.0).bps / 1e4), rel=1e-9)


def test_moves_are_followed_and_jumps_are_not():
    basis = Basis("1", 0.0)
    assert basis.step(100.0) == 1.0
    assert basis.step(100.1) == pytest.approx(1.001)
    assert basis.step(None) == 1.0
    assert basis.step(200.0) == 1.0
    assert basis.step(100.0) == 1.0  # a jump
    assert basis.step(99.9) == pytest.approx(0.999)


def test_a_rolling_second_for_each_account_and_endpoint():
    limits = EndpointLimits()
    answers = [limits.charge(1, "/a", 3, 1000) for _ in range(4)]
    assert [one.allowed for one in answers] == [True, True, True, False]
    assert [one.left for one in answers] == [2, 1, 0, 0]
    assert answers[0].headers() == {
        "X-Bapi-Limit": "3", "X-Bapi-Limit-Status": "2", "X-Bapi-Limit-Reset-Timestamp": "1000",
    }  # fmt: skip
    assert 1000 < answers[3].reset_ms <= 2000
    assert limits.charge(2, "/a", 3, 1000).allowed and limits.charge(1, "/b", 3, 1000).allowed
    limits.forgive()
    assert limits.charge(1, "/a", 3, 1000).allowed
