"""Which venues watching needs, and what is said of the watchers on /healthz and /metrics."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from binmon.config import load
from binmon.config.schema import WatchConfig
from binmon.config.wanted import venues_wanted
from binmon.status import PATIENCE_S
from binmon.telemetry.metrics import METRICS
from binmon.watch.candles import SeriesView
from binmon.watch.desk import WatchDesk
from binmon.watch.series import SeriesState
from binmon.watch.trades import TradesView
from binmon.wiring.watch import watch_figures, watch_section, watching_of

KRAKEN = "books: {venue: kraken, symbols: [BTC/USD]}\nlatency: {enabled: false}\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (KRAKEN, {"kraken"}),
        (
            KRAKEN + "watch: {candles: [{symbol: BTCUSDT, above: 1}], listings: {enabled: false}}\n",
            {"kraken", "binance"},
        ),
        (KRAKEN + "watch: {trades: [{venue: bybit, symbol: BTCUSDT, above: 1}]}\n", {"kraken", "bybit"}),
        (KRAKEN + "watch: {listings: {interval_s: 30}}\n", {"kraken", "binance"}),
        (KRAKEN + "watch: {listings: {venues: [bybit]}}\n", {"kraken", "bybit"}),
        (KRAKEN + "watch: {listings: {venues: [bybit], enabled: false}}\n", {"kraken"}),
        ("", {"binance"}),
    ],
)
def test_venues_are_contacted_only_when_somebody_wants_them(tmp_path: Path, text: str, wanted: set[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    loaded = load(path, {})
    assert set(venues_wanted(loaded.config, loaded.present_keys)) == wanted
    assert set(venues_wanted(loaded.config, loaded.present_keys, probe_only=True)) <= {"binance"}


def test_symbols_of_the_embedded_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("watch: {candles: [{symbol: SOLUSDT, above: 1}], trades: [{symbol: ADAUSDT, above: 1}]}\n")
    loaded = load(path, {})
    named = [symbol for one in venues_wanted(loaded.config, loaded.present_keys)["binance"] for symbol in one]
    assert {"SOLUSDT", "ADAUSDT"} <= set(named)


def test_a_venue_of_books_only() -> None:
    assert watching_of(SimpleNamespace(market=None)) is None  # type: ignore[arg-type]


def desk_of(series: SeriesView, trades: TradesView) -> WatchDesk:
    def intake() -> Any:
        feeds = SimpleNamespace(states=lambda: {"binance-candles-1.1": "up"}, rotations=2)
        return SimpleNamespace(events=5, malformed=1, feeds=feeds)

    desk = WatchDesk(WatchConfig())
    one: Any = SimpleNamespace(
        venue=SimpleNamespace(name="binance"),
        candles=SimpleNamespace(
            views={("BTCUSDT", "1m"): series}, intake=intake(), dropped=0, corrected=3, crossings=4
        ),
        trades=SimpleNamespace(views={"ETHUSDT": trades}, intake=intake(), dropped=0, missed=6, crossings=7),
        listings=SimpleNamespace(enabled=True, known_count=8, listed=1, intake=intake(), dropped=9),
    )
    desk.venues = {"binance": one}
    return desk


@pytest.mark.parametrize("ago_s", [1.0, PATIENCE_S + 5])
def test_what_is_not_live_for_long_is_a_problem(ago_s: float) -> None:
    since_s = time.monotonic() - ago_s
    broken = desk_of(
        SeriesView((), SeriesState.DOWN, 0, (), since_s),
        TradesView(None, False, 0, (), since_s),
    )
    problems, document = watch_section(broken)()
    expected = [
        "binance: no live candles of BTCUSDT 1m for over a minute",
        "binance: no live trades of ETHUSDT for over a minute",
    ]
    assert problems == (expected if ago_s > PATIENCE_S else [])
    assert document["binance"]["candles"]["BTCUSDT 1m"]["state"] == "down"
    assert document["binance"]["trades"]["ETHUSDT"]["live"] is False
    assert document["binance"]["listings"] == {"enabled": True, "known": 8, "reported": 1}
    assert document["binance"]["connections"] == {"binance-candles-1.1": "up"}
    well = desk_of(SeriesView((), SeriesState.REPAIRING, 0, (), since_s), TradesView(None, True, 0, (), since_s))
    assert watch_section(well)()[0] == []


def test_every_declared_metric_has_a_figure() -> None:
    desk = desk_of(SeriesView((), SeriesState.LIVE, 0, (), 0.0), TradesView(None, True, 0, (), 0.0))
    found = {(one.name, *(value for _, value in one.labels)): one.value for one in watch_figures(desk)}
    declared = {metric.name for metric in METRICS if metric.name.startswith("binmon_watch_")}
    assert {name for name, *_ in found} == declared
    assert found["binmon_watch_candle_series", "binance", "live"] == 1
    assert found["binmon_watch_candle_series", "binance", "down"] == 0
    assert found["binmon_watch_trade_streams", "binance", "live"] == 1
    assert found["binmon_watch_dropped_total", "binance", "symbols"] == 9
    assert found["binmon_watch_crossings_total", "binance", "trade"] == 7
