"""``binmon symbols`` against the local exchange over real sockets, alone and beside a daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from binmon.messages import FirstSeenBy
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.state import State
from binmon.watch.known import KnownSymbol, KnownSymbols
from tests.cli.looks import configure, fault, held_ports, run, terminal

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STATE = {"state": {"path": "state.db"}}


@pytest.fixture
def venue() -> Iterator[Sandbox]:
    options = SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), generated_symbols=20, weight_limit=10_000_000)
    with Sandbox(options) as sandbox:
        yield sandbox


def listing(symbol: str, first_seen_ms: int, by: FirstSeenBy = FirstSeenBy.MINI_TICKER) -> KnownSymbol:
    return KnownSymbol("binance", symbol, "NEW", "USDT", "TRADING", first_seen_ms, by, None, first_seen_ms)


def test_what_is_trading(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue, **STATE)
    status, lines, errors = run(tmp_path, "symbols")
    assert (status, errors) == (0, "")
    found = {line["symbol"]: line for line in lines}
    assert {"BTCUSDT", "ETHUSDT"} <= set(found) and list(found) == sorted(found)
    assert all(line["status"] == "TRADING" and line["first_seen"] is None for line in lines)
    assert found["BTCUSDT"]["base"] == "BTC" and found["BTCUSDT"]["quote"] == "USDT"
    assert not (tmp_path / "state.db").exists(), "a list makes no database"
    fault(venue, "symbol_status", symbol="ETHUSDT", status="BREAK")
    _, lines, _ = run(tmp_path, "symbols")
    assert "ETHUSDT" not in {line["symbol"] for line in lines}
    _, lines, _ = run(tmp_path, "symbols", "--all")
    assert {line["status"] for line in lines if line["symbol"] == "ETHUSDT"} == {"BREAK"}


def test_what_is_new_is_said_once(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue, **STATE)
    assert run(tmp_path, "symbols", "--new") == (0, [], ""), "a first look is no flood"
    fault(venue, "new_symbol", symbol="FRESHUSDT")
    status, lines, errors = run(tmp_path, "symbols", "--new", "--time", "ms")
    assert (status, errors) == (0, "")
    (line,) = lines
    assert line["symbol"] == "FRESHUSDT" and line["first_seen_by"] == "exchange_info"
    assert abs(line["first_seen"] - time.time() * 1000) < 300_000
    assert run(tmp_path, "symbols", "--new") == (0, [], ""), "once"
    _, lines, _ = run(tmp_path, "symbols")
    assert next(one["first_seen"] for one in lines if one["symbol"] == "FRESHUSDT") is not None


def test_a_reset_of_the_venue_is_no_flood(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue, **STATE)
    now_ms = time.time_ns() // 1_000_000
    with_others = [listing(f"OLD{number}USDT", now_ms - 1000, FirstSeenBy.BASELINE) for number in range(30)]
    state = State(tmp_path / "state.db")
    KnownSymbols(state).keep(with_others)
    state.close()
    with terminal(tmp_path, "symbols", "--new") as screen:
        assert screen.finish() == 0
        assert "binance was reset, or is another one" in screen.text
    assert run(tmp_path, "symbols", "--new") == (0, [], "")


def test_in_a_terminal(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue, **STATE)
    with terminal(tmp_path, "symbols", "--new") as screen:
        assert screen.finish() == 0
        assert "first look at binance:" in screen.text and "what comes later is new" in screen.text
    with terminal(tmp_path, "symbols", "--new") as screen:
        assert screen.finish() == 0
        assert "nothing new on binance since 20" in screen.text
    fault(venue, "new_symbol", symbol="FRESHUSDT")
    with terminal(tmp_path, "symbols", "--new", "--time", "local") as screen:
        assert screen.finish() == 0
        assert "FRESHUSDT" in screen.text and "1 new on binance since 20" in screen.text
    with terminal(tmp_path, "symbols", columns=60) as screen:
        assert screen.finish() == 0
        assert "before 20" in screen.text and "first seen (UTC)" in screen.text
        assert max(map(len, screen.text.splitlines())) <= 60
    with terminal(tmp_path, "symbols", "--new", "--venue", "bybit") as screen:
        assert screen.finish() == 0
        assert "first look at bybit:" in screen.text


def test_one_is_and_two_are_not_trading(tmp_path: Path) -> None:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"))) as venue:
        configure(tmp_path, venue, **STATE)
        # one symbol of the local exchange is halted by itself
        for said in ("1 is not trading (--all shows it)", "2 are not trading (--all shows them)"):
            with terminal(tmp_path, "symbols", columns=100) as screen:
                assert screen.finish() == 0
                assert said in screen.text
            fault(venue, "symbol_status", symbol="BTCUSDT", status="BREAK")


def test_beside_a_daemon_its_findings_are_the_news(venue: Sandbox, tmp_path: Path) -> None:
    """The daemon's watch writes what it has found; this command must neither be ahead of it nor say it twice."""
    configure(tmp_path, venue, **STATE)
    assert run(tmp_path, "symbols", "--new") == (0, [], "")
    daemon = State(tmp_path / "state.db")
    daemon.claim()
    try:
        known = KnownSymbols(daemon)
        fault(venue, "new_symbol", symbol="FRESHUSDT")
        assert run(tmp_path, "symbols", "--new") == (0, [], ""), "the daemon has not said so yet"
        known.keep([listing("FRESHUSDT", time.time_ns() // 1_000_000)])
        _, lines, _ = run(tmp_path, "symbols", "--new")
        assert [line["symbol"] for line in lines] == ["FRESHUSDT"] and lines[0]["first_seen_by"] == "mini_ticker"
        assert run(tmp_path, "symbols", "--new") == (0, [], "")
    finally:
        daemon.close()
    assert run(tmp_path, "symbols", "--new") == (0, [], "")


def test_a_venue_that_is_not_there(tmp_path: Path) -> None:
    with held_ports() as ports:
        with Sandbox(SandboxOptions(symbols=("BTCUSDT",), **ports)) as gone:
            configure(tmp_path, gone, **STATE)
        status, lines, errors = run(tmp_path, "symbols", "--new")
    assert (status, lines) == (1, [])
    assert errors.startswith("binmon: http://127.0.0.1:") and errors.count("\n") == 1
    assert not (tmp_path / "state.db").exists()


def test_a_state_database_that_is_none(venue: Sandbox, tmp_path: Path) -> None:
    configure(tmp_path, venue, **STATE)
    (tmp_path / "state.db").write_text("this is no database at all, and longer than the head of one would be" * 10)
    status, lines, errors = run(tmp_path, "symbols", "--new")
    assert (status, lines) == (2, [])
    assert "state.path" in errors and "expected a writable SQLite file" in errors and errors.count("\n") == 1
    status, lines, errors = run(tmp_path, "symbols")
    assert (status, errors) == (0, "") and lines, "a list needs none"
