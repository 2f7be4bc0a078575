"""The number of series is bounded, however many symbols there are."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from binmon.books.sync import SyncState
from binmon.net.ledger import RateLedger
from binmon.status import Status, StatusParts, VenueParts
from binmon.telemetry.cardinality import SeriesChoice
from binmon.telemetry.histogram import DelayHistogram
from binmon.telemetry.metrics import MetricsRegistry

SYMBOLS = [f"S{n}USDT" for n in range(1500)]


def test_the_first_so_many_in_their_order() -> None:
    choice = SeriesChoice(2)
    assert choice.of("binance", ["C", "A", "B"]) == ["C", "A"]
    assert choice.of("bybit", ["B", "A"]) == ["B", "A"], "each venue by itself"
    assert choice.of("binance", ["B", "A", "C"]) == ["C", "A"], "another order changes nothing"
    assert choice.of("binance", ["B", "A"]) == ["A", "B"], "one that goes makes room"
    assert choice.of("binance", ["C", "B", "A"]) == ["A", "B"]
    assert SeriesChoice(0).of("binance", ["A"]) == []


def test_by_name() -> None:
    choice = SeriesChoice(("B", "X"))
    assert choice.of("binance", ["C", "A", "B"]) == ["B"]
    assert SeriesChoice(()).of("binance", ["A"]) == []


@given(st.integers(0, 5), st.lists(st.lists(st.sampled_from("ABCDEFGH"), unique=True), max_size=20))
def test_never_more_than_asked_and_nobody_loses_a_series_for_another(most: int, presences: list[list[str]]) -> None:
    choice, before = SeriesChoice(most), list[str]()
    for there in presences:
        chosen = choice.of("binance", there)
        assert len(chosen) == len(set(chosen)) == min(most, len(there))
        assert set(chosen) <= set(there)
        assert {one for one in before if one in there} <= set(chosen)
        before = chosen


class Keeper:
    """A whole market of books."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.lag = DelayHistogram()
        self.states = {
            symbol: SyncState.SYNCED if n % 3 else SyncState.WAITING_FOR_SNAPSHOT for n, symbol in enumerate(symbols)
        }

    def counters(self) -> dict[str, int]:
        return {}

    def connections(self) -> dict[str, str]:
        return {f"binance-market-{n}.1": "live" for n in range(1, 4)}


def status_of(keeper: Keeper, per_symbol: Any) -> Status:
    workers: Any = SimpleNamespace(statuses=list)
    parts: Any = {"binance": VenueParts(RateLedger("binance"), keeper, lambda: 0.0, 250)}
    return Status(StatusParts(workers, "1", "abc", venues=parts, per_symbol=per_symbol))


def series(status: Status) -> tuple[list[str], int]:
    """The symbols that have series, and how many series the page has in all."""
    figures = list(status.figures())
    named = [dict(figure.labels)["symbol"] for figure in figures if any(name == "symbol" for name, _ in figure.labels)]
    return named, len(figures)


def test_a_whole_market_has_as_many_series_as_configured() -> None:
    few, market = Keeper(SYMBOLS[:1]), Keeper(SYMBOLS)
    _, base = series(status_of(few, 0))
    for most in (0, 100, 1000):
        named, count = series(status_of(market, most))
        assert named == SYMBOLS[:most]
        assert count <= base + most + len(SyncState)
    named, _ = series(status_of(market, ("S7USDT", "S1499USDT", "NOTTHERE")))
    assert named == ["S7USDT", "S1499USDT"]
    status = status_of(market, 100)
    values = {(f.name, *(value for _, value in f.labels)): f.value for f in status.figures()}
    assert values["binmon_books_without_series", "binance"] == 1400
    assert values["binmon_books", "binance", "synced"] == 1000, "the sums have all of them"
    assert values["binmon_book_synced", "binance", "S0USDT"] == 0
    assert values["binmon_book_synced", "binance", "S1USDT"] == 1
    registry = MetricsRegistry()
    registry.add("status", status.figures)
    page = registry.render().decode()
    assert page.count("\nbinmon_book_synced{") == 100 and len(page.splitlines()) < 500
    assert 'binmon_metrics_errors_total{source="status"} 0.0' in page


def test_it_is_changed_while_it_runs() -> None:
    keeper = Keeper(SYMBOLS)
    status = status_of(keeper, 100)
    assert len(series(status)[0]) == 100
    status.configured("def", 3)
    assert series(status)[0] == SYMBOLS[:3]
    keeper.states.pop("S1USDT")
    assert series(status)[0] == ["S0USDT", "S2USDT", "S3USDT"]
    status.configured("ghi", 3)
    status.configured("jkl")
    assert series(status)[0] == ["S0USDT", "S2USDT", "S3USDT"], "the same number changes nothing"
    status.configured("mno", ("S9USDT",))
    assert series(status)[0] == ["S9USDT"]


def test_coming_and_going_symbols_do_not_add_up() -> None:
    keeper = Keeper(SYMBOLS[:50])
    status = status_of(keeper, 20)
    names = set()
    for n in range(50, 1500):
        keeper.states[SYMBOLS[n]] = SyncState.SYNCED
        named, _ = series(status)
        assert len(named) == 20
        names |= set(named)
    assert len(names) == 20, "new symbols take nobody's place"
