import time
from pathlib import Path

import pytest

from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox


def test_ready_line_names_everything(exchange):
    ready = exchange.sandbox.ready()
    assert list(ready) == [
        "event", "rest", "stream", "ws_api", "api_key", "api_secret", "keys", "symbols",
        "bybit_rest", "bybit_public_stream", "bybit_private_stream", "bybit_trade_stream",
        "bybit_api_key", "bybit_api_secret", "bybit_keys", "bybit_symbols", "pid",
    ]  # fmt: skip
    assert ready["ws_api"] == exchange.sandbox.ws_api_url
    assert ready["ws_api"].endswith("/ws-api/v3")
    assert ready["symbols"][0] == "BTCUSDT"
    assert len(ready["api_key"]) == len(ready["api_secret"]) == 64


def test_keys_follow_the_seed():
    keys = []
    for seed in (1, 1, 2):
        with Sandbox(SandboxOptions(symbols=("BTCUSDT",), seed=seed)) as sandbox:
            keys.append((sandbox.api_key, sandbox.api_secret))
    assert keys[0] == keys[1] != keys[2]


def test_ready_line_hands_out_all_keys(start_exchange):
    exchange = start_exchange()
    keys = exchange.sandbox.ready()["keys"]
    assert [(key["account"], key["kind"], key["can_trade"]) for key in keys] == [
        ("main", "HMAC", True), ("main", "Ed25519", True), ("main", "RSA", True), ("main", "HMAC", False),
        ("poor", "HMAC", True),
    ]  # fmt: skip
    assert keys[0]["api_key"] == exchange.sandbox.api_key
    assert keys[0]["api_secret"] == exchange.sandbox.api_secret
    files = [Path(key["private_key_file"]) for key in keys if "private_key_file" in key]
    assert len(files) == 2
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert exchange.sandbox.ready()["keys"] == keys
    exchange.sandbox.stop()
    assert not any(file.parent.exists() for file in files)


def test_taken_port_is_an_error_and_frees_the_other(exchange):
    with pytest.raises(OSError, match="in use"):
        Sandbox(SandboxOptions(rest_port=exchange.sandbox.rest.port))
    with pytest.raises(OSError, match="in use"):
        Sandbox(SandboxOptions(stream_port=exchange.sandbox.streams.port))
    with pytest.raises(OSError, match="in use"):
        Sandbox(SandboxOptions(ws_api_port=exchange.sandbox.ws_api.port))


def test_stop_is_quick_with_open_connections(start_exchange):
    exchange = start_exchange()
    for _ in range(5):
        exchange.stream("/ws/btcusdt@depth@100ms")
        exchange.api()
    exchange.get("/api/v3/ping")
    exchange.fault("stall", seconds=100, pongs=False, connection=[1])
    started = time.monotonic()
    exchange.sandbox.stop(2.0)
    assert time.monotonic() - started < 25


def test_state_shows_connections_and_frames(exchange):
    stream = exchange.stream("/stream?streams=btcusdt@depth@100ms")
    stream.event()
    state = exchange.state()
    assert state["mode"] == "market"
    [connection] = state["connections"]
    assert connection["streams"] == ["btcusdt@depth@100ms"]
    assert connection["combined"] is True
    assert state["counters"]["frames_delivered"] >= 1
    assert state["symbols"]["BTCUSDT"]["update_id"] <= exchange.depth("BTCUSDT", 1)["lastUpdateId"]
