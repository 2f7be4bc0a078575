"""A look beside a daemon with the embedded sandbox: it is the daemon's market that is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from binmon.config import load
from binmon.core.companion import SandboxFailed, SandboxUrls, lend_sandbox
from binmon.errors import ConfigError
from binmon.messages import Trade
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.state import State
from binmon.watch.candles import CandleRule
from binmon.watch.trades import TradeRule
from binmon.wiring.looking import Looking, Wanted
from tests.cli.looks import WITHIN_S, fault

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PRICE = "87654"  # that no sandbox has by itself


def urls_of(sandbox: Sandbox) -> SandboxUrls:
    said = {name: value or "" for name, value in sandbox.ready().items() if name in SandboxUrls.__dataclass_fields__}
    return SandboxUrls(**said)


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    options = SandboxOptions(symbols=("BTCUSDT",), rest_port=0, stream_port=0, ws_api_port=0, bybit_port=0)
    with Sandbox(options) as sandbox:
        for name in ("binance", "bybit"):
            fault(sandbox, "set_price", symbol="BTCUSDT", price=PRICE, venue=name)
        yield sandbox


@pytest.fixture
def daemon(venue: Sandbox, tmp_path: Path) -> Iterator[State]:
    """What a daemon does on its state database while it runs."""
    state = State(tmp_path / "state.db")
    state.claim()
    lend_sandbox(state, urls_of(venue))
    yield state
    state.close()


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Looking]:
    """Looks with a configuration that has the embedded sandbox."""
    path = tmp_path / "config.yaml"
    path.write_text(f"state: {{path: {tmp_path / 'state.db'}}}\n")

    def look(name: str, wanted: Wanted) -> Looking:
        return Looking(load(path, {}), name, wanted)

    return look


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_the_market_is_the_daemons(name: str, daemon: State, venue: Sandbox, look: Callable[..., Looking]) -> None:
    with look(name, TradeRule("BTCUSDT")) as looking:
        message = None
        while message is None:
            message = looking.messages.take(1.0)
            looking.check()
    assert isinstance(message, Trade) and abs(message.price / Decimal(PRICE) - 1) < Decimal("0.02")
    with look(name, None) as looking:  # the daemon's goes on when a look ends
        assert looking.wait(WITHIN_S) and "BTCUSDT" in looking.instruments
        assert "ETHUSDT" not in looking.instruments, "which one of its own would have"


def test_what_the_daemon_does_not_list(daemon: State, look: Callable[..., Looking]) -> None:
    with look("binance", CandleRule("SOLUSDT", "1m")) as looking, pytest.raises(ConfigError) as refused:
        looking.wait(WITHIN_S)
    assert "not listed on binance, the local exchange of the running daemon" in str(refused.value)


def test_the_end_of_the_daemon_is_said(daemon: State, look: Callable[..., Looking]) -> None:
    with look("binance", CandleRule("BTCUSDT", "1s")) as looking:
        until(lambda: looking.candles and looking.connection.is_live)
        daemon.close()
        until(lambda: looking.error)
    assert isinstance(looking.error, SandboxFailed) and "the daemon has ended" in str(looking.error)


def test_another_daemon_is_another_market(daemon: State, venue: Sandbox, look: Callable[..., Looking]) -> None:
    with look("binance", CandleRule("BTCUSDT", "1s")) as looking:
        until(lambda: looking.candles and looking.connection.is_live)
        with Sandbox(SandboxOptions(symbols=("BTCUSDT",))) as other:
            lend_sandbox(daemon, urls_of(other))
            venue.stop()
            until(lambda: looking.error)
    assert isinstance(looking.error, SandboxFailed) and "started anew" in str(looking.error)


def test_a_note_of_a_daemon_that_is_gone_is_none(daemon: State, venue: Sandbox, look: Callable[..., Looking]) -> None:
    daemon.close()
    with look("binance", None) as looking:
        assert looking.wait(WITHIN_S) and "ETHUSDT" in looking.instruments, "one of its own"
