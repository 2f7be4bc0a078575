"""``binmon.candles`` and ``binmon.trades``: iterators over the local exchange."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

import binmon
from binmon.errors import ConfigError
from binmon.messages import Candle, PriceCrossed, PriceReturned, Trade
from binmon.sandbox.options import SandboxOptions
from binmon.sandbox.server import Sandbox
from tests.cli.looks import configure, fault

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(symbols=("BTCUSDT", "ETHUSDT"), weight_limit=10_000_000)) as sandbox:
        configure(tmp_path, sandbox)
        yield sandbox


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "-looking" in thread.name]


def until_no_threads() -> None:
    end_s = time.monotonic() + 30
    while ours():
        assert time.monotonic() < end_s, ours()
        threading.Event().wait(0.05)


def test_history_then_live_without_a_hole(venue: Sandbox, tmp_path: Path) -> None:
    with binmon.candles("btcusdt", "1s", history=5, config=tmp_path / "config.yaml") as stream:
        seen = list(itertools.islice(stream, 12))
        series = stream.series
        assert stream.connection.is_live and stream.dropped == 0
    assert all(isinstance(one, Candle) for one in seen)
    assert [one.closed for one in seen[:5]] == [True] * 5
    assert all(after.open_time_ms == before.close_time_ms + 1 for before, after in pairwise(series))
    assert isinstance(seen[0].close, Decimal)
    assert ours() == []
    with pytest.raises(StopIteration):
        next(iter(stream))


def test_crossings_come_in_the_stream(venue: Sandbox, tmp_path: Path) -> None:
    fault(venue, "set_price", symbol="BTCUSDT", price="65000")
    crossed: PriceCrossed | None = None
    with binmon.trades("BTCUSDT", above=66000, config=tmp_path / "config.yaml") as stream:
        assert isinstance(next(stream), binmon.Trade)
        fault(venue, "set_price", symbol="BTCUSDT", price="67000")
        before = None
        for seen in stream:
            if isinstance(seen, PriceCrossed):
                crossed = seen
                assert isinstance(before, Trade) and before.price == seen.price, "right after the trade that made it"
                fault(venue, "set_price", symbol="BTCUSDT", price="65000")
            elif isinstance(seen, PriceReturned):
                break
            before = seen
    assert crossed is not None and crossed.price > 66000 and crossed.direction == "above"


def test_it_ends_by_itself(venue: Sandbox, tmp_path: Path) -> None:
    with binmon.trades("BTCUSDT", config=tmp_path / "config.yaml", for_s=8.0) as stream:
        seen = list(stream)
    assert seen and ours() == []


def test_a_loop_that_is_left_ends_it(venue: Sandbox, tmp_path: Path) -> None:
    for _ in binmon.trades("BTCUSDT", config=tmp_path / "config.yaml"):
        break
    until_no_threads()


def test_the_log_is_silent_unless_asked_for(venue: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()  # a command that ran in this process before has set the log up
    with binmon.trades("BTCUSDT", above=1, config=tmp_path / "config.yaml") as stream:
        next(stream)
    output, errors = capsys.readouterr()
    assert "stream.connected" not in output + errors and "price.crossed" not in output + errors
    assert logging.getLogger("binmon").level == logging.NOTSET


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"interval": "7m"}, "'7m' is no interval of binance, expected one of 1s 1m"),
        ({"price": "last"}, "'last' is no price of a candle, expected one of open high low close"),
        ({"above": "70k"}, "above: expected a number above 0, got '70k'"),
        ({"below": float("nan")}, "below: expected a number above 0, got nan"),
        ({"venue": "kraken"}, "'kraken' has no streams to look at, expected one of binance bybit"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: dict, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    given = {"symbol": "BTCUSDT", "interval": "1m", **arguments}
    with pytest.raises(ConfigError, match="expected") as caught:
        binmon.candles(**given, config=tmp_path / "config.yaml")
    assert says in str(caught.value)


def test_a_symbol_that_is_not_listed(venue: Sandbox, tmp_path: Path) -> None:
    with (
        binmon.trades("BTCUSTD", config=tmp_path / "config.yaml") as stream,
        pytest.raises(ConfigError, match="'BTCUSTD' is not listed on binance: did you mean BTCUSDT"),
    ):
        next(stream)
    assert ours() == []


def test_a_failure_is_told_also_when_all_has_ended_by_then(venue: Sandbox, tmp_path: Path) -> None:
    stream = binmon.trades("BTCUSTD", config=tmp_path / "config.yaml")
    until_no_threads()
    with pytest.raises(ConfigError, match="'BTCUSTD' is not listed"):
        next(stream)
    stream.close()


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'binmon' has no attribute 'order'"):
        _ = binmon.order
    assert binmon.Candle is Candle
