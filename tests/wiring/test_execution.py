"""Which venues a command asks, the books of a daemon beside it, and its sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from binmon.books.views import BookAsked
from binmon.config import load
from binmon.config.schema import MetricsConfig
from binmon.core.channel import Channel, Overflow
from binmon.core.companion import SandboxUrls, lend_sandbox, lent_sandbox
from binmon.core.supervisor import Supervisor
from binmon.execution.market import DepthSource, Level
from binmon.messages import BookView, Instrument
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from binmon.state import State
from binmon.status_server import StatusServer
from binmon.wiring.execution import KeptBooks, book_document, configured_venues, environment_of, trading_floor
from binmon.wiring.ground import Ground
from binmon.wiring.venues import MarketParts, wire_venue

LOOPBACK = {"rest": "http://127.0.0.1:9", "stream": "ws://127.0.0.1:9"}
BTC = Instrument("binance", "BTCUSDT", "BTC", "USDT", "TRADING", Decimal("0.01"), Decimal("0.00001"))


@pytest.mark.parametrize(
    ("venues", "more", "wanted"),
    [
        (None, {}, ["binance", "bybit"]),
        ({"binance": {"environment": "sandbox"}}, {}, ["binance", "bybit"]),
        ({"binance": {"endpoints": LOOPBACK}}, {}, ["binance"]),
        ({"binance": {"environment": "testnet"}}, {}, ["binance"]),
        ({"binance": {"environment": "testnet"}, "bybit": {"environment": "testnet"}}, {}, ["binance", "bybit"]),
        ({"bybit": {"environment": "production"}}, {}, ["bybit"]),
        ({"binance": {"environment": "testnet"}, "okx": {}, "kraken": {}}, {}, ["binance", "kraken", "okx"]),
        (
            {"binance": {"environment": "testnet"}},
            {"books": {"venue": "okx", "symbols": ["BTC-USDT"]}},
            ["binance", "okx"],
        ),
    ],
)
def test_which_venues_are_asked(tmp_path: Path, venues: Any, more: Any, wanted: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(more | ({} if venues is None else {"venues": venues})))
    assert configured_venues(load(path, {})) == wanted


def test_the_shipped_file_asks_both_sides_of_the_sandbox() -> None:
    assert configured_venues(load(Path(__file__).parents[2] / "config.yaml", {})) == ["binance", "bybit"]


def parts_at(tmp_path: Path, **endpoints: str) -> MarketParts:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"venues": {"binance": {"endpoints": LOOPBACK | endpoints}}}))
    state = State(tmp_path / "s.db")
    try:
        return wire_venue("binance", Ground(load(path, {}), Supervisor(), state, threading.Event()), None)
    finally:
        state.close()


class Keeper:
    """Books that answer as told, behind a real status page."""

    def __init__(self, parts: MarketParts) -> None:
        self.view: BookView | None = self.book(True)
        self.answers = True
        self.venue = parts
        self.inbox: Channel[Any] = Channel("keeper", 100, Overflow.DROP_NEWEST)
        self.asked: list[BookAsked] = []
        self.server = StatusServer(
            "status", "127.0.0.1:0", render=lambda: b"", health=lambda: (True, {}), observe=lambda: None,
            book=lambda query: book_document({"binance": self}, query),
        )  # fmt: skip
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.server.run, args=(self.stop,)), threading.Thread(target=self.keep)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def book(synced: bool, age_ms: float = 5.0) -> BookView:
        def floats(*values: float) -> Any:
            return np.array(values if synced else (), dtype=float)

        return BookView(
            "binance", "BTCUSDT", synced, 42, 1000, age_ms, floats(65000.1, 0.1), floats(0.00001, 2), floats(65000.2),
            floats(1.5),
        )  # fmt: skip

    def keep(self) -> None:
        while not self.stop.is_set():
            message = self.inbox.take(0.05)
            if message is not None:
                self.asked.append(message)
                if self.answers:
                    message.answer(self.view)

    @property
    def metrics(self) -> MetricsConfig:
        return MetricsConfig(listen=f"127.0.0.1:{self.server.address[1]}")

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(20)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    one = Keeper(parts_at(tmp_path))
    yield one
    one.end()


def kept(keeper: Keeper, parts: MarketParts | None = None, metrics: MetricsConfig | None = None) -> Any:
    return KeptBooks(parts or keeper.venue, metrics or keeper.metrics).depth(BTC, 7)


def until(keeper: Keeper) -> Any:
    """A loaded machine may be too slow for a daemon that must answer at once."""
    for _ in range(50):
        found = kept(keeper)
        if found is not None:
            return found
    raise AssertionError("no book")


def test_a_book_comes_exactly_as_it_was_printed(keeper: Keeper) -> None:
    found = until(keeper)
    assert found.bids == (Level(Decimal("65000.1"), Decimal("0.00001")), Level(Decimal("0.1"), Decimal(2)))
    assert found.asks == (Level(Decimal("65000.2"), Decimal("1.5")),)
    assert found.source is DepthSource.BOOK and keeper.asked[-1].levels == 7


def test_its_age_is_that_of_its_last_update(keeper: Keeper) -> None:
    keeper.view = keeper.book(True, 10_000.0)
    assert until(keeper).age_ns(time.monotonic_ns()) >= 10_000 * 10**6


def test_a_book_of_another_place_is_never_used(keeper: Keeper, tmp_path: Path) -> None:
    until(keeper)
    (tmp_path / "other").mkdir()
    assert kept(keeper, parts_at(tmp_path / "other", stream="ws://127.0.0.1:10")) is None
    assert kept(keeper, parts_at(tmp_path / "other", rest="https://api.binance.com")) is None
    assert kept(keeper, metrics=MetricsConfig(enabled=False, listen=keeper.metrics.listen)) is None
    assert kept(keeper, metrics=MetricsConfig(listen="127.0.0.1:0")) is None
    assert kept(keeper, metrics=MetricsConfig(listen="127.0.0.1:1")) is None


def test_a_book_that_is_not_whole_is_never_used(keeper: Keeper) -> None:
    until(keeper)
    keeper.view = keeper.book(False)
    assert kept(keeper) is None
    keeper.view = None
    assert kept(keeper) is None
    keeper.answers = False
    assert kept(keeper) is None


def test_the_page(keeper: Keeper) -> None:
    until(keeper)
    books: Any = {"binance": keeper}
    assert book_document(books, "venue=binance&symbol=BTCUSDT&levels=x")[0] == 400
    assert book_document(books, "venue=binance&symbol=BTCUSDT&levels=0")[0] == 400
    assert book_document(books, "symbol=BTCUSDT")[0] == 400
    assert book_document(books, "venue=okx&symbol=BTCUSDT")[0] == 404
    keeper.view = None
    assert book_document(books, "venue=binance&symbol=BTCUSDT")[0] in (404, 503)
    keeper.answers = False
    assert book_document(books, "venue=binance&symbol=BTCUSDT")[0] == 503


def test_an_environment_is_that_of_the_addresses(tmp_path: Path) -> None:
    assert environment_of(parts_at(tmp_path)) == "sandbox"
    assert environment_of(parts_at(tmp_path, rest="https://api.binance.com")) == "production"
    assert environment_of(parts_at(tmp_path, rest="https://testnet.binance.vision")) == "testnet"


def urls_of(said: dict[str, Any]) -> SandboxUrls:
    return SandboxUrls(**{name: said[name] for name in SandboxUrls.__dataclass_fields__})


def test_the_sandbox_of_a_daemon_is_used_while_it_is_there(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    assert lent_sandbox(state) is None
    with Sandbox(SandboxOptions(symbols=("BTCUSDT",))) as sandbox:
        urls = urls_of(sandbox.ready())
        lend_sandbox(state, urls)
        assert lent_sandbox(state) == urls
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({"state": {"path": str(tmp_path / "state.db")}, "metrics": {"enabled": False}}))
        with trading_floor(load(path, {})) as floor:
            assert set(floor.quotes.sources) == {"binance", "bybit"}
            assert {source.environment for source in floor.quotes.sources.values()} == {"sandbox"}
            assert floor.quotes.find("BTCUSDT")[0].symbols == {"binance": "BTCUSDT", "bybit": "BTCUSDT"}
        ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
        state.execute("UPDATE lent_sandbox SET pid = ?", (int(ended.stdout),))
        assert lent_sandbox(state) is None, "whoever lent it has ended"
        state.execute("UPDATE lent_sandbox SET pid = ?", (os.getpid(),))
    assert lent_sandbox(state) is None, "it does not answer any more"
    state.execute("UPDATE lent_sandbox SET urls = ?", (json.dumps({"rest": 5}),))
    assert lent_sandbox(state) is None
    state.close()
