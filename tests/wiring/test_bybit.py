"""Bybit as the configuration has it: addresses, key, the delay monitor on it, and ``check --connect``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from binmon.config import load
from binmon.core.companion import SandboxUrls
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.errors import ConfigError
from binmon.latency.measurement import Measurement, OrderClass
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.state import State
from binmon.venues.bybit.endpoints import BybitUrls
from binmon.venues.checking import check_connection
from binmon.wiring.bybit import BybitParts, needs_sandbox, wire_bybit
from binmon.wiring.checking import check_accounts, check_key
from binmon.wiring.ground import Ground
from binmon.wiring.latency import plan_latency, wire_latency
from binmon.wiring.parts import TradingParts
from binmon.wiring.venues import MarketParts

WITHIN_S = 60.0
LATENCY = {"venue": "bybit", "symbol": "BTCUSDT", "interval_s": 0.2, "notional": 20, "threshold_ms": 20_000}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT",), seed=4)) as running:
        yield running


def lent(sandbox: Sandbox) -> SandboxUrls:
    """What the daemon knows of its embedded sandbox."""
    said = sandbox.ready()
    names = ("bybit_rest", "bybit_public_stream", "bybit_private_stream", "bybit_api_key", "bybit_api_secret")
    own = {name: said[name] for name in ("rest", "stream", "ws_api", "api_key", "api_secret")}
    return SandboxUrls(**own, **{name: said[name] for name in names})


def at(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    """The section that names a sandbox."""
    said = sandbox.ready()
    places = {name: said[f"bybit_{name}"] for name in ("rest", "public_stream", "private_stream")}
    key = {name: said[f"bybit_{name}"] for name in ("api_key", "api_secret")}
    return {"environment": "sandbox", "endpoints": places, **key, **more}


@contextmanager
def ground(path: Path, config: dict[str, Any]) -> Iterator[Ground]:
    (path / "c.yaml").write_text(yaml.safe_dump(config))
    state = State(path / "state.db")
    try:
        yield Ground(load(path / "c.yaml", {}), Supervisor(), state, threading.Event())
    finally:
        state.close()


def test_each_environment_has_its_addresses(tmp_path: Path) -> None:
    with ground(tmp_path, {"venues": {"bybit": {"environment": "demo"}}, "books": {"depth": 100}}) as made:
        assert not needs_sandbox(made.config)
        parts = wire_bybit(made, None)
    assert parts.urls == BybitUrls(
        "https://api-demo.bybit.com", "wss://stream.bybit.com", "wss://stream-demo.bybit.com"
    )
    assert parts.market.depth_stream("BTCUSDT") == "orderbook.200.BTCUSDT"
    assert made.ledgers == {"bybit": parts.ledger}
    assert parts.signer is None and parts.name == "bybit"
    problem = parts.why_no_orders()
    assert problem is not None and problem.key == "venues.bybit.api_key"


def test_the_embedded_sandbox_lends_addresses_and_key(tmp_path: Path, sandbox: Sandbox) -> None:
    with ground(tmp_path, {}) as made:
        assert needs_sandbox(made.config)
        parts: MarketParts = wire_bybit(made, lent(sandbox))
        assert isinstance(parts, BybitParts) and parts.why_no_orders() is None and not parts.key_is_configured
        assert parts.trading().environment == "sandbox"
        for take in (parts.take_sample, parts.take_idle_sample):
            parts.clock.add([take(threading.Event())])
        assert abs(parts.offset_ms()) < 10_000


def test_a_sandbox_of_our_own_does_not_get_the_key_of_the_embedded_one(tmp_path: Path, sandbox: Sandbox) -> None:
    section = at(sandbox)
    del section["api_key"], section["api_secret"]
    with ground(tmp_path, {"venues": {"bybit": section}}) as made:
        assert not needs_sandbox(made.config)
        assert wire_bybit(made, lent(sandbox)).signer is None


def test_a_ban_outlives_a_restart(tmp_path: Path) -> None:
    for banned_ms in (0, None):
        with ground(tmp_path, {"venues": {"bybit": {"environment": "testnet"}}}) as made:
            ledger = wire_bybit(made, None).ledger
            if banned_ms is None:
                assert ledger.ban_until_ms > time.time() * 1000 + 500_000
            else:
                ledger.banned(600.0, time.time())


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"api_key": "a b", "api_secret": "c"}, "venues.bybit.api_key"),
        ({"api_key": "a", "api_secret": "a"}, "venues.bybit.api_secret"),
    ],
)
def test_a_key_that_cannot_sign(tmp_path: Path, section: dict[str, str], key: str) -> None:
    with ground(tmp_path, {"venues": {"bybit": {"environment": "testnet", **section}}}) as made:
        for refuse in (lambda: wire_bybit(made, None), lambda: check_key(made.loaded)):
            with pytest.raises(ConfigError) as caught:
                refuse()
            assert caught.value.key == key


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_key_that_is_missing_where_orders_are_to_be_timed(tmp_path: Path, venue: str) -> None:
    """What ``run`` refuses must not pass a check before."""
    config = {"venues": {venue: {"environment": "testnet"}}, "latency": {"enabled": True, "venue": venue}}
    with ground(tmp_path, config) as made:
        with pytest.raises(ConfigError, match="no API key") as caught:
            check_key(made.loaded)
        assert caught.value.key == f"venues.{venue}.api_key"
    for fine in ({"latency": {"venue": venue}}, {"latency": {"enabled": True, "venue": venue}}):
        with ground(tmp_path, fine) as made:
            check_key(made.loaded)  # nobody asked for it; and the embedded sandbox has keys


def test_half_a_key_that_nothing_needs_is_passed_over(tmp_path: Path) -> None:
    with ground(tmp_path, {"venues": {"bybit": {"environment": "testnet", "api_key": "a"}}}) as made:
        assert wire_bybit(made, None).signer is None
    with (
        ground(tmp_path, {"venues": {"bybit": {"api_key": "a"}}, "latency": {"venue": "bybit"}}) as made,
        pytest.raises(ConfigError, match="api_key is set"),
    ):
        check_key(made.loaded)


# -- the delay monitor ----------------------------------------------------------------------------------------------


def test_orders_are_probed_as_on_any_venue(tmp_path: Path, sandbox: Sandbox) -> None:
    settled: list[Measurement] = []
    with ground(tmp_path, {"latency": LATENCY, "venues": {"bybit": at(sandbox)}}) as made:
        parts = wire_bybit(made, None)
        probed: TradingParts = parts
        trading = plan_latency(made, probed)
        assert trading is not None and trading.environment == "sandbox"
        parts.resynchronise()
        latency = wire_latency(made, probed, trading, parts.market.instruments(made.stop), settled.append)
        end_s = time.monotonic() + WITHIN_S
        try:
            while len(settled) < 5:
                assert time.monotonic() < end_s, (latency.probe.trouble, made.supervisor.statuses())
                made.supervisor.tick(time.monotonic())
                made.stop.wait(0.02)
        finally:
            assert made.supervisor.stop(Deadline(30)) == []
    assert {one.order_class for one in settled} == {OrderClass.IN_TIME}
    assert {one.venue for one in settled} == {"bybit"} and {one.order_status for one in settled} == {"FILLED"}
    assert {one.side.value for one in settled} == {"BUY", "SELL"}
    for one in settled:
        assert one.sent_to_answer_ms is not None and one.first_fill_ms is not None
        assert one.sent_to_report_ms is not None and one.first_fill_ms <= one.sent_to_report_ms
        assert one.transaction_to_event_ms is not None and one.transaction_to_event_ms >= 0


def test_without_a_key_nothing_is_probed(tmp_path: Path) -> None:
    config = {"latency": {"venue": "bybit"}, "venues": {"bybit": {"environment": "testnet"}}}
    with ground(tmp_path, config) as made:
        parts = wire_bybit(made, None)
        assert plan_latency(made, parts) is None
        with pytest.raises(ConfigError, match="BYBIT_API_KEY"):
            plan_latency(made, parts, wanted=True)


def test_production_needs_permission(tmp_path: Path) -> None:
    section = {"environment": "production", "api_key": "a", "api_secret": "b"}
    config = {"latency": {"venue": "bybit", "interval_s": 20}, "venues": {"bybit": section}}
    with ground(tmp_path, config) as made, pytest.raises(ConfigError, match="allow_production"):
        plan_latency(made, wire_bybit(made, None))


def test_another_venue_is_probed_on_its_own_parts(tmp_path: Path, sandbox: Sandbox) -> None:
    with (
        ground(tmp_path, {"latency": {"venue": "binance"}, "venues": {"bybit": at(sandbox)}}) as made,
        pytest.raises(ConfigError, match="'binance': expected bybit"),
    ):
        plan_latency(made, wire_bybit(made, None), wanted=True)


def test_the_only_way_of_orders_is_rest(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("latency:\n  venue: bybit\n  transport: ws_api\n")
    with pytest.raises(ConfigError, match="expected rest, the only way of orders to bybit, got ws_api") as caught:
        load(tmp_path / "c.yaml", {})
    assert (caught.value.key, caught.value.line) == ("latency.transport", 3)


# -- check --connect ------------------------------------------------------------------------------------------------


def problems(path: Path, config: dict[str, Any]) -> list[str]:
    (path / "c.yaml").write_text(yaml.safe_dump(config))
    loaded = load(path / "c.yaml", {}).config
    return [*check_connection(loaded), *check_accounts(loaded)]


def test_a_sandbox_that_answers_has_no_problems(tmp_path: Path, sandbox: Sandbox) -> None:
    books = [{"venue": "bybit", "symbols": ["BTCUSDT"]}]
    assert problems(tmp_path, {"latency": LATENCY, "venues": {"bybit": at(sandbox)}, "books": {"venue": books}}) == []


def test_what_nobody_needs_is_not_asked(tmp_path: Path) -> None:
    nowhere = {"rest": "http://127.0.0.1:1", "public_stream": "ws://127.0.0.1:1"}
    assert problems(tmp_path, {"venues": {"bybit": {"endpoints": nowhere}}}) == []


def test_a_watched_symbol_that_nobody_lists(tmp_path: Path, sandbox: Sandbox) -> None:
    trades = [{"venue": "bybit", "symbol": one, "above": 1} for one in ("BTCUSDT", "BTCUSTD")]
    (found,) = problems(tmp_path, {"venues": {"bybit": at(sandbox)}, "watch": {"trades": trades}})
    assert found == "watch.trades[1].symbol: 'BTCUSTD' is not listed on bybit: did you mean BTCUSDT?"


def test_every_symbol_that_nobody_lists_is_told_of(tmp_path: Path, sandbox: Sandbox) -> None:
    config = {
        "venues": {"bybit": at(sandbox)},
        "books": {"venue": [{"venue": "bybit", "symbols": ["BTCUSDT", "NOPEUSDT"]}]},
        "watch": {"trades": [{"venue": "bybit", "symbol": one, "above": 1} for one in ("ZZZ", "BTCUSDT", "YYY")]},
    }
    assert [line.partition(":")[0] for line in problems(tmp_path, config)] == [
        "books.venue[0].symbols[1]",
        "watch.trades[0].symbol",
        "watch.trades[2].symbol",
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"api_secret": "wrong"}, "venues.bybit: the signature is wrong"),
        (
            {"private_stream": "ws://127.0.0.1:1"},
            "venues.bybit.endpoints.private_stream: ws://127.0.0.1:1/v5/private: ",
        ),
    ],
)
def test_a_key_is_tried_though_no_orders_are_timed_with_it(
    tmp_path: Path, sandbox: Sandbox, changed: dict[str, str], expected: str
) -> None:
    section = at(sandbox)
    endpoints = {**section["endpoints"], **{name: changed[name] for name in changed if name == "private_stream"}}
    section = {
        **section,
        **{name: changed[name] for name in changed if name != "private_stream"},
        "endpoints": endpoints,
    }
    (found,) = problems(tmp_path, {"latency": {"enabled": False}, "venues": {"bybit": section}})
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("section", "latency", "expected"),
    [
        ({"api_secret": "wrong"}, {}, ["venues.bybit: the signature is wrong"]),
        ({"api_key": "wrong"}, {}, ["venues.bybit: the venue does not know the key"]),
        ({}, {"notional": 150}, ["execution.max_order_notional"]),
        ({}, {"notional": 10**9}, ["latency: "]),
        ({}, {"symbol": "NOSUCHUSDT"}, ["latency.symbol: 'NOSUCHUSDT' on bybit: the venue does not take a parameter"]),
    ],
)
def test_what_is_wrong_with_the_account(
    tmp_path: Path, sandbox: Sandbox, section: dict[str, Any], latency: dict[str, Any], expected: list[str]
) -> None:
    found = problems(tmp_path, {"latency": {**LATENCY, **latency}, "venues": {"bybit": at(sandbox, **section)}})
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
    assert sandbox.ready()["bybit_api_secret"] not in "".join(found)


def test_a_key_that_may_only_read(tmp_path: Path, sandbox: Sandbox) -> None:
    (reader,) = [one for one in sandbox.ready()["bybit_keys"] if not one["can_trade"]]
    key = {name: reader[name] for name in ("api_key", "api_secret")}
    (found,) = problems(tmp_path, {"latency": LATENCY, "venues": {"bybit": at(sandbox, **key)}})
    assert found.startswith("venues.bybit.api_key: the key may not trade")


def test_nobody_there(tmp_path: Path) -> None:
    nowhere = {name: f"{scheme}://127.0.0.1:1" for name, scheme in
               (("rest", "http"), ("public_stream", "ws"), ("private_stream", "ws"))}  # fmt: skip
    section = {"environment": "sandbox", "endpoints": nowhere, "api_key": "a", "api_secret": "b"}
    found = problems(tmp_path, {"latency": LATENCY, "venues": {"bybit": section}})
    assert [line.split(": ")[0] for line in found] == [
        "venues.bybit.endpoints.rest",
        "venues.bybit.endpoints.public_stream",
        "venues.bybit.endpoints.rest",
    ]


def test_a_private_stream_that_is_none(tmp_path: Path, sandbox: Sandbox) -> None:
    section = at(sandbox)
    section["endpoints"] = {**section["endpoints"], "private_stream": "ws://127.0.0.1:1"}
    (found,) = problems(tmp_path, {"latency": LATENCY, "venues": {"bybit": section}})
    assert found.startswith("venues.bybit.endpoints.private_stream: ")
