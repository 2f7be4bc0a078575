"""Venues of market data only, as the configuration has them: addresses, limits, depth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from binmon.config import load
from binmon.core.supervisor import Supervisor
from binmon.messages import Priority
from binmon.state import State
from binmon.wiring.ground import Ground
from binmon.wiring.kraken import wire_kraken
from binmon.wiring.okx import wire_okx
from binmon.wiring.public import PublicParts, PublicUrls
from binmon.wiring.venues import MarketParts
from tests.system.plain_kraken_okx import PlainBookVenue, PlainKraken, PlainOkx

WIRES: dict[str, Callable[[Ground], PublicParts]] = {"kraken": wire_kraken, "okx": wire_okx}


@contextmanager
def ground(path: Path, text: str) -> Iterator[Ground]:
    (path / "c.yaml").write_text(text)
    state = State(path / "state.db")
    try:
        yield Ground(load(path / "c.yaml", {}), Supervisor(), state, threading.Event())
    finally:
        state.close()


def test_without_a_word_it_is_the_venue_itself(tmp_path: Path) -> None:
    with ground(tmp_path, "books: {venue: kraken, symbols: [BTC/USD, AAPLx/USD], depth: 60}") as made:
        kraken, okx = wire_kraken(made), wire_okx(made)
        assert kraken.urls == PublicUrls("https://api.kraken.com", "wss://ws.kraken.com/v2")
        assert okx.urls == PublicUrls("https://www.okx.com", "wss://ws.okx.com:8443/ws/v5/public")
        assert kraken.market.depth_stream("BTC/USD") == "book-100:BTC/USD"
        assert made.ledgers == {"kraken": kraken.ledger, "okx": okx.ledger}
        assert (kraken.ledger.limit, okx.ledger.limit) == (60, 300)
        assert (kraken.ledger.connects.limit, kraken.ledger.connects.window_s) == (130, 600.0)
        assert (okx.ledger.connects.limit, okx.ledger.connects.window_s) == (2, 1.0)


@pytest.mark.parametrize(("name", "kind"), [("kraken", PlainKraken), ("okx", PlainOkx)])
def test_at_the_addresses_of_the_configuration(tmp_path: Path, name: str, kind: type[PlainBookVenue]) -> None:
    with kind() as plain:
        plain.ahead_s = 3.0
        named = f"{{rest: '{plain.rest_url}', stream: '{plain.stream_url}'}}"
        text = f"venues: {{{name}: {{environment: sandbox, endpoints: {named}}}}}"
        with ground(tmp_path, text) as made:
            parts: MarketParts = WIRES[name](made)
            stop = threading.Event()
            assert parts.offset_ms() == 0.0
            for take in (parts.take_sample, parts.take_idle_sample):
                parts.clock.add([take(stop)])
            assert abs(parts.offset_ms() - 3000) < 1500
            assert set(parts.market.instruments(stop)) == set(plain.markets)
            symbol = next(iter(plain.markets))
            assert parts.market.depth(symbol, 5, Priority.INITIAL_SYNC, stop).bid_price.size == 5
            plan = parts.market.stream_plan("x", [parts.market.depth_stream(symbol)])
            assert plan.url == plain.stream_url


def test_a_ban_outlives_a_restart(tmp_path: Path) -> None:
    with ground(tmp_path, "{}") as made:
        ledger = wire_okx(made).ledger
        ledger.banned(3600, ledger.clock())
        assert wire_okx(made).ledger.ban_until_ms == ledger.ban_until_ms > 0
        assert wire_kraken(made).ledger.ban_until_ms == 0
