"""Candles, trades and listings of a whole daemon against both sides of the sandbox, over real sockets.

``BINMON_CUT_S`` says how long the streams are cut.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.system.conftest import DaemonProcess, finish

CUT_S = int(os.environ.get("BINMON_CUT_S", "20"))
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
WITHIN_S = 90.0
VENUES = ("binance", "bybit")

pytestmark = [pytest.mark.system, pytest.mark.timeout(900 + 2 * CUT_S)]

Config = dict[str, Any]
Line = dict[str, Any]


class BothVenues:
    """The sandbox with both of its sides, as a process."""

    def __init__(self, *options: str, symbols: list[str] = SYMBOLS) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "binmon.sandbox", "--until-stdin-closes", "--symbols", ",".join(symbols),
                "--rate", "30", "--bybit-port", "0", *options,
            ],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.ready: dict[str, str] = json.loads(self.process.stdout.readline())

    def inject(self, venue: str, kind: str, **options: Any) -> None:
        body = {"venue": venue, "kind": kind, **options}
        answer = requests.post(f"{self.ready['rest']}/sandbox/faults", json=body, timeout=60).json()
        assert answer.get("ok"), answer

    def history(self, venue: str, symbol: str, interval: str) -> dict[int, tuple[Decimal, ...]]:
        """Closed candles by their opening: open, high, low, close, volume. Oldest first."""
        if venue == "binance":
            query = {"symbol": symbol, "interval": interval, "limit": "1000"}
            rows = requests.get(f"{self.ready['rest']}/api/v3/klines", params=query, timeout=60).json()
        else:
            query = {"category": "spot", "symbol": symbol, "interval": interval.rstrip("m"), "limit": "1000"}
            answer = requests.get(f"{self.ready['bybit_rest']}/v5/market/kline", params=query, timeout=60).json()
            rows = answer["result"]["list"][::-1]
        return {int(row[0]): tuple(map(Decimal, row[1:6])) for row in rows[:-1]}

    def price(self, venue: str, symbol: str) -> Decimal:
        return list(self.history(venue, symbol, "1m").values())[-1][3]

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


class Watcher(DaemonProcess):
    """A daemon that is listened to, see overheard.py."""

    def __init__(self, config: Config, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        self.lines: list[Line] = []
        self.unreadable: list[str] = []
        self._told: list[Line] = []
        self._read_to = 0
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.system.overheard", "-c", "config.yaml"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def told(self, kind: str, **fields: Any) -> list[Line]:
        """What the watchers have told, oldest first."""
        path = self.directory / "told.jsonl"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read_to += len(line)
                        self._told.append(json.loads(line))
        return [one for one in self._told if one["kind"] == kind and all(one.get(key) == fields[key] for key in fields)]

    def health(self) -> Line:
        (page, *_) = self.wait_for("metrics.listening")
        answer: Line = requests.get(f"http://{page['address']}/healthz", timeout=60).json()
        return answer

    def reload(self, config: Config) -> Line:
        """Save and ask for a reload; the line that comes of it."""
        (self.directory / "config.yaml").write_text(yaml.safe_dump(config))
        before = len(self.reloads())
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: len(self.reloads()) > before, WITHIN_S, "a reload")
        return self.reloads()[-1]

    def reloads(self) -> list[Line]:
        return [line for line in list(self.lines) if line["event"] in ("config.reloaded", "config.rejected")]


@pytest.fixture
def venues() -> Iterator[BothVenues]:
    both = BothVenues()
    yield both
    both.close()


Start = Callable[..., Watcher]


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Start]:
    started: list[Watcher] = []

    def start(config: Config, name: str = "daemon") -> Watcher:
        started.append(Watcher(config, tmp_path / name))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()
        for pipe in (process.process.stdout, process.process.stderr):
            if pipe is not None:
                pipe.close()


def watching(venues: BothVenues, **watch: Any) -> Config:
    """A configuration for both sides, with one book that nobody looks at here."""
    ready = venues.ready
    return {
        "venues": {
            "binance": {"environment": "testnet", "endpoints": {"rest": ready["rest"], "stream": ready["stream"]}},
            "bybit": {
                "environment": "testnet",
                "endpoints": {"rest": ready["bybit_rest"], "public_stream": ready["bybit_public_stream"]},
            },
        },
        "books": {"symbols": ["ETHUSDT"], "depth": 100},
        "latency": {"enabled": False},
        "metrics": {"listen": "127.0.0.1:0"},
        "dashboard": {"enabled": False},
        "watch": {"listings": {"enabled": False}, **watch},
    }


def live(process: Watcher, venue: str, symbol: str, interval: str) -> bool:
    states = process.events("candles.state", venue=venue, symbol=symbol, interval=interval)
    return bool(states) and states[-1]["to"] == "live"


def failures(process: Watcher) -> list[Line]:
    """Workers that have failed, but for sockets, which fail when the venue wants them to."""
    return [line for line in process.events("worker.failed") if "." not in line["worker"]]


# Candles --------------------------------------------------------------------------------------------------------------


class ByMessages:
    """A series as a page builds it from what it is told."""

    def __init__(self, told: list[Line]) -> None:
        self.candles: dict[int, tuple[Decimal, ...]] = {}
        self.open: set[int] = set()
        self.closed: dict[int, tuple[Decimal, ...]] = {}  # each as it was first told to be closed
        self.changed: list[int] = []  # closed candles that were told otherwise later
        self.reached = 0
        for message in told:
            if message["whole"]:
                self.candles, self.open = {}, set()
            for opened, *figures, closed in message["candles"]:
                self.candles[opened] = candle = tuple(map(Decimal, figures))
                self.open.discard(opened)
                if not closed:
                    self.open.add(opened)
                elif self.closed.setdefault(opened, candle) != candle:
                    self.changed.append(opened)
                self.reached = max(self.reached, opened)


def test_a_cut_leaves_the_series_equal_to_the_venues_history(venues: BothVenues, watcher: Start) -> None:
    series = [
        ("binance", "BTCUSDT", "1s", 1_000),
        ("binance", "ETHUSDT", "1m", 60_000),
        ("bybit", "BTCUSDT", "1m", 60_000),
    ]
    candles = [
        {"venue": venue, "symbol": symbol, "interval": interval, "above": 10_000_000}
        for venue, symbol, interval, _ in series
    ]
    process = watcher(watching(venues, candles=candles))

    def all_live() -> bool:
        return all(live(process, *key) for *key, _ in series)

    def told(key: Any) -> ByMessages:
        venue, symbol, interval, _ = key
        return ByMessages(process.told("CandlesChanged", venue=venue, symbol=symbol, interval=interval))

    process.until(all_live, WITHIN_S, "all series live")
    process.until(lambda: len(told(series[0]).candles) > 3, WITHIN_S, "candles")
    for venue in VENUES:
        venues.inject(venue, "refuse_connections", seconds=CUT_S)
        venues.inject(venue, "disconnect", mode="rst")
    for venue, symbol, interval, _ in series:
        process.wait_for("candles.state", venue=venue, symbol=symbol, interval=interval, to="down", within_s=WITHIN_S)
    down = {key[0]: told(key).reached for key in series}
    threading.Event().wait(CUT_S)
    process.until(all_live, WITHIN_S, "all series live again")
    # a second look after a candle of the slowest has closed since
    for key in series:
        reached = down[key[0]] + 2 * key[3]
        process.until(lambda key=key, reached=reached: told(key).reached > reached, WITHIN_S + 120, f"candles of {key}")
    process.until(all_live, WITHIN_S, "all series live still")
    for venue, symbol, interval, step_ms in series:
        seen = told((venue, symbol, interval, step_ms))
        history = venues.history(venue, symbol, interval)
        first, last = min(history), max(history)
        ours = {opened: candle for opened, candle in seen.candles.items() if first <= opened <= last}
        assert not seen.open.intersection(ours) - {max(seen.candles)}
        closed = {opened: candle for opened, candle in ours.items() if opened not in seen.open}
        expected = {opened: candle for opened, candle in history.items() if opened <= max(closed)}
        assert list(closed) == sorted(closed)
        assert closed == expected, f"{venue} {symbol} {interval}"
        assert all(b - a == step_ms for a, b in zip(list(closed), list(closed)[1:], strict=False)), "no hole, no double"
        assert seen.changed == [], "no candle changed after it closed"
        assert len(closed) > (CUT_S if interval == "1s" else 100)
    assert not process.events("candles.corrected") and not failures(process)
    health = process.health()["watch"]
    assert health["binance"]["candles"]["BTCUSDT 1s"]["state"] == "live"
    assert health["bybit"]["connections"] == {"bybit-candles-1.1": "up"}
    assert process.stop() == 0


# Lines ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", VENUES)
def test_a_line_crossed_twice_within_the_hysteresis_alerts_once(venues: BothVenues, watcher: Start, venue: str) -> None:
    price = venues.price(venue, "BTCUSDT")
    line, back = 2 * price, price / 2  # over at one and a half times the price
    rule = {"venue": venue, "symbol": "BTCUSDT", "above": float(line), "hysteresis_price": float(back)}
    config = watching(
        venues,
        candles=[{**rule, "interval": "1m", "price": "close"}],
        trades=[rule, {"venue": venue, "symbol": "ETHUSDT", "below": 0.01}],
    )
    config["alerts"] = {"resend_every_s": 3600}
    process = watcher(config)
    sources = ("trade", "candle")

    def seen(of: Callable[[Decimal], bool], since: tuple[int, int]) -> bool:
        """Whether trades and candles have told of such a price since then."""
        trades = process.told("Trade", venue=venue, symbol="BTCUSDT")[since[0] :]
        candles = process.told("CandlesChanged", venue=venue, symbol="BTCUSDT")[since[1] :]
        closes = [Decimal(one["candles"][-1][4]) for one in candles if one["candles"]]
        return any(of(Decimal(one["price"])) for one in trades) and any(map(of, closes))

    def move(to: Decimal, of: Callable[[Decimal], bool]) -> None:
        since = tuple(len(process.told(kind, venue=venue, symbol="BTCUSDT")) for kind in ("Trade", "CandlesChanged"))
        venues.inject(venue, "set_price", symbol="BTCUSDT", price=str(round(to)))
        process.until(lambda: seen(of, (since[0], since[1])), WITHIN_S, f"a price of {to}")

    process.until(lambda: live(process, venue, "BTCUSDT", "1m"), WITHIN_S, "candles")
    process.until(lambda: bool(process.told("Trade", venue=venue, symbol="BTCUSDT")), WITHIN_S, "trades")
    move(price * Decimal("2.5"), lambda found: found > line)
    for source in sources:
        process.wait_for("price.crossed", venue=venue, source=source, within_s=WITHIN_S)
    for _ in range(2):  # to and fro, and never back by the hysteresis
        move(price * Decimal("1.8"), lambda found: line - back < found < line)
        move(price * Decimal("2.5"), lambda found: found > line)
    assert len(process.events("price.crossed")) == 2 and not process.events("price.returned")
    move(price, lambda found: found < line - back)
    for source in sources:
        (returned,) = process.wait_for("price.returned", venue=venue, source=source, within_s=WITHIN_S)
        assert returned["beyond_s"] > 0 and returned["direction"] == "above"
    move(price * Decimal("2.5"), lambda found: found > line)
    for source in sources:
        process.wait_for("price.crossed", venue=venue, source=source, count=2, within_s=WITHIN_S)
    process.wait_for("alert.raised", alert="price.crossed", count=4, within_s=WITHIN_S)
    recovered = process.wait_for("alert.recovered", alert="price.crossed", count=2, within_s=WITHIN_S)
    assert process.stop() == 0
    for line_ in process.events("price.crossed"):
        assert line_["symbol"] == "BTCUSDT" and line_["threshold"] == float(line) < line_["price"]
        assert line_["direction"] == "above" and line_["already"] is False
    assert len(process.events("price.crossed")) == len(process.events("alert.raised", alert="price.crossed")) == 4
    assert len(recovered) == 2
    for line_ in recovered:
        assert " s above " in line_["text"] and "after" in line_["text"], "how long it was beyond"
    assert not process.events("trades.missed") and not failures(process)


# Listings -------------------------------------------------------------------------------------------------------------

INTERVAL_S = 5.0


def listings(both: BothVenues, **options: Any) -> Config:
    return watching(both, listings={"venues": list(VENUES), "interval_s": INTERVAL_S, **options})


def known(process: Watcher) -> None:
    for venue in VENUES:
        process.wait_for("symbols.known", venue=venue, within_s=WITHIN_S)


def looks(process: Watcher) -> None:
    """Wait until every venue was asked twice more."""
    before = {name: one["progress"] for name, one in process.health()["workers"].items()}

    def looked() -> bool:
        now = process.health()["workers"]
        return all(
            now[f"{venue}-symbols-fetcher"]["progress"] >= before[f"{venue}-symbols-fetcher"] + 2 for venue in VENUES
        )

    process.until(looked, WITHIN_S, "two looks")


def test_a_new_symbol_is_reported_once_and_a_restart_reports_nothing_old(venues: BothVenues, watcher: Start) -> None:
    process = watcher(listings(venues))
    known(process)
    for venue in VENUES:
        venues.inject(venue, "new_symbol", symbol="SOLUSDT")
    for venue in VENUES:
        process.wait_for("symbol.listed", venue=venue, within_s=WITHIN_S)
        process.wait_for("alert.raised", alert="symbol.listed", subject=f"{venue} SOLUSDT", within_s=WITHIN_S)
    looks(process)
    for venue in VENUES:
        (listed,) = process.events("symbol.listed", venue=venue)
        assert (listed["symbol"], listed["status"]) == ("SOLUSDT", "TRADING")
        # Bybit has no stream of all symbols, so there the list is the only one to see it
        signals = ("exchange_info",) if venue == "bybit" else ("exchange_info", "mini_ticker")
        assert listed["first_seen_by"] in signals
        assert [one["symbol"] for one in process.told("SymbolListed", venue=venue)] == ["SOLUSDT"]
    venues.inject("binance", "symbol_status", symbol="SOLUSDT", status="HALT")
    venues.inject("bybit", "symbol_status", symbol="SOLUSDT", status="Closed")
    for venue, status in (("binance", "HALT"), ("bybit", "CLOSED")):
        (changed,) = process.wait_for("symbol.status", venue=venue, within_s=WITHIN_S)
        assert (changed["symbol"], changed["status"], changed["previous"]) == ("SOLUSDT", status, "TRADING")
    venues.inject("binance", "reset")  # all that is listed stays
    looks(process)
    assert process.stop() == 0
    assert len(process.events("symbol.listed")) == len(process.events("symbol.status")) == 2

    again = watcher(listings(venues))
    again.wait_for("metrics.listening", within_s=WITHIN_S)
    again.until(lambda: "bybit-symbols-fetcher" in again.health()["workers"], WITHIN_S, "both venues")
    again.until(lambda: "binance-symbols-fetcher" in again.health()["workers"], WITHIN_S, "both venues")
    looks(again)
    assert not again.events("symbols.known") and not again.events("symbol.listed") and not again.events("symbol.status")
    assert again.stop() == 0


@pytest.fixture
def sandboxes() -> Iterator[Callable[..., BothVenues]]:
    started: list[BothVenues] = []

    def start(*options: str, symbols: list[str]) -> BothVenues:
        started.append(BothVenues(*options, symbols=symbols))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_reset_is_one_line_and_not_1500(sandboxes: Callable[..., BothVenues], watcher: Start) -> None:
    first = sandboxes(symbols=["BTCUSDT", "ETHUSDT", "ADAUSDT", "XRPUSDT", "DOTUSDT"])
    process = watcher(listings(first, venues=["binance"]))
    process.wait_for("symbols.known", venue="binance", within_s=WITHIN_S)
    assert process.stop() == 0
    other = sandboxes("--generate", "1500", "--bybit-symbols", "BTCUSDT", symbols=["ETHUSDT"])
    config = listings(other, venues=["binance"])
    again = watcher(config)
    (reset,) = again.wait_for("symbols.reset", within_s=WITHIN_S)
    assert reset["gone"] >= 3 and reset["fresh"] >= 1500
    again.wait_for("alert.raised", alert="symbols.reset", within_s=WITHIN_S)
    progress = again.health()["workers"]["binance-symbols-fetcher"]["progress"]
    again.until(
        lambda: again.health()["workers"]["binance-symbols-fetcher"]["progress"] >= progress + 2, WITHIN_S, "two looks"
    )
    assert len(again.events("symbols.reset")) == 1
    assert (
        not again.events("symbol.listed") and not again.events("symbol.status") and not again.events("symbols.changed")
    )
    assert len(again.events("alert.raised")) == 1
    assert again.stop() == 0


def test_the_book_of_a_new_symbol_is_kept_at_once(venues: BothVenues, watcher: Start) -> None:
    config = listings(venues, venues=["binance"], record=True)
    config["books"]["snapshot_every"] = 1
    process = watcher(config)
    process.wait_for("symbols.known", venue="binance", within_s=WITHIN_S)
    process.wait_for("book.state", symbol="ETHUSDT", to="synced", within_s=WITHIN_S)
    venues.inject("binance", "new_symbol", symbol="SOLUSDT")
    process.wait_for("book.state", symbol="SOLUSDT", to="synced", within_s=WITHIN_S)
    process.wait_for("book.top", symbol="SOLUSDT", count=4, within_s=WITHIN_S)  # one a second: rows between them
    config["books"]["symbols"] = ["ETHUSDT", "BTCUSDT"]
    assert process.reload(config)["event"] == "config.reloaded"
    process.wait_for("book.state", symbol="BTCUSDT", to="synced", within_s=WITHIN_S)
    assert set(process.health()["venues"]["binance"]["books"]) == {"ETHUSDT", "BTCUSDT", "SOLUSDT"}
    followed = process.events("books.followed")
    assert [(one["listed"], one["delisted"]) for one in followed] == [(["SOLUSDT"], []), (["BTCUSDT"], [])]
    venues.inject("binance", "remove_symbol", symbol="SOLUSDT")
    process.wait_for("symbol.status", symbol="SOLUSDT", status="DELISTED", within_s=WITHIN_S)
    process.wait_for("books.followed", count=3, within_s=WITHIN_S)
    assert process.events("books.followed")[-1]["delisted"] == ["SOLUSDT"]
    assert process.stop() == 0
    finish(process)
    recorded = {path.parts[-3] for path in process.directory.glob("data/books/*/*/*/*.parquet")}
    assert "symbol=SOLUSDT" in recorded


# Reloads and bad input ------------------------------------------------------------------------------------------------


def test_rules_change_while_it_runs_and_the_others_do_not_notice(venues: BothVenues, watcher: Start) -> None:
    config = watching(venues, candles=[{"symbol": "BTCUSDT", "interval": "1s", "above": 10_000_000}])
    process = watcher(config)
    process.until(lambda: live(process, "binance", "BTCUSDT", "1s"), WITHIN_S, "candles")
    watch = config["watch"]
    # a threshold alone: nothing is connected anew
    watch["candles"][0]["above"] = 1
    done = process.reload(config)
    assert [one["key"] for one in done["changes"]] == ["watch.candles"]
    assert done["unused"] == done["restart_needed"] == []
    (crossed,) = process.wait_for("price.crossed", within_s=WITHIN_S)
    assert crossed["already"] is True and crossed["watch"] == "1s close"
    sockets = {line["connection"] for line in process.events("stream.connected")}
    assert len([one for one in sockets if one.startswith("binance-candles")]) == 1
    # more candles on the same socket, and trades, which had none
    watch["candles"].append({"symbol": "ETHUSDT", "interval": "1m", "below": 1})
    watch["trades"] = [{"symbol": "ETHUSDT", "above": 1}]
    process.reload(config)
    process.until(lambda: live(process, "binance", "ETHUSDT", "1m"), WITHIN_S, "more candles")
    process.wait_for("price.crossed", source="trade", symbol="ETHUSDT", within_s=WITHIN_S)
    process.wait_for("stream.rotated", within_s=WITHIN_S)
    assert not process.events("candles.state", symbol="BTCUSDT", to="down")
    assert not process.events("book.state", **{"from": "synced"})
    # listings, which were off
    watch["listings"] = {"enabled": True, "interval_s": 1}
    process.reload(config)
    process.wait_for("symbols.known", venue="binance", within_s=WITHIN_S)
    venues.inject("binance", "new_symbol", symbol="SOLUSDT")
    process.wait_for("symbol.listed", symbol="SOLUSDT", within_s=WITHIN_S)
    watch["listings"] = {"enabled": False}
    watch["candles"], watch["trades"] = watch["candles"][:1], []
    process.reload(config)
    process.until(lambda: len(process.health()["watch"]["binance"]["candles"]) == 1, WITHIN_S, "fewer candles")
    process.until(lambda: process.health()["watch"]["binance"]["trades"] == {}, WITHIN_S, "no trades")

    def no_longer() -> list[Line]:
        return [one for one in process.events("alert.recovered") if "no longer watched" in one["text"]]

    process.until(lambda: bool(no_longer()), WITHIN_S, "the end of its alert")
    ended = no_longer()
    assert len(ended) == 1 and "ETHUSDT" in ended[0]["subject"]
    # what is wrong changes nothing, and is one line
    for index, (wrong, key, said) in enumerate(
        [
            ({"candles": [{"symbol": "BTCUSDC", "above": 1}]}, "watch.candles[0].symbol", "did you mean"),
            ({"candles": [{"symbol": "BTCUSDT", "interval": "7m", "above": 1}]}, "watch.candles[0].interval", "1m"),
            ({"candles": [{"symbol": "BTCUSDT", "price": "mean", "above": 1}]}, "watch.candles[0].price", "close"),
            ({"trades": [{"symbol": "BTCUSDT", "above": "much"}]}, "watch.trades[0].above", "number"),
            ({"trades": [{"symbol": "BTC/USD", "venue": "kraken", "above": 1}]}, "watch.trades[0].venue", "trades"),
        ],
        1,
    ):
        line = process.reload({**config, "watch": wrong})
        assert line["event"] == "config.rejected" and line["key"] == key and said in line["reason"], line
        assert len(process.events("config.rejected")) == index
    # a venue of which nothing was there at the start
    for more, keys in [
        ({"trades": [{"symbol": "BTCUSDT", "venue": "bybit", "above": 1}]}, ["watch.trades"]),
        ({"listings": {"venues": ["binance", "bybit"]}}, ["watch.listings.enabled", "watch.listings.venues"]),
    ]:
        line = process.reload({**config, "watch": {**config["watch"], **more}})
        assert line["event"] == "config.reloaded" and line["restart_needed"] == keys, line
    assert process.health()["watch"]["binance"]["candles"]["BTCUSDT 1s"]["state"] == "live"
    assert process.stop() == 0


def test_a_symbol_that_is_none_ends_the_start_with_one_line(venues: BothVenues, watcher: Start) -> None:
    process = watcher(watching(venues, trades=[{"symbol": "BTCUSD", "above": 1}]))
    assert process.process.wait(WITHIN_S) == 2
    assert process.process.stderr is not None
    said = process.process.stderr.read().splitlines()
    assert len(said) == 1, said
    line = said[0]
    assert "watch.trades[0].symbol" in line and "did you mean" in line


# Tops -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval_ms", [0, 500])
def test_a_book_that_loses_step_shows_in_its_top(venues: BothVenues, watcher: Start, interval_ms: int) -> None:
    config = watching(venues)
    config["publish"] = {"interval_ms": interval_ms}
    process = watcher(config)
    (first, *_) = process.wait_for("book.top", symbol="ETHUSDT", state="synced", within_s=WITHIN_S)
    assert first["spread"] == pytest.approx(first["ask"] - first["bid"])
    assert first["mid"] == pytest.approx((first["ask"] + first["bid"]) / 2)
    venues.inject("binance", "refuse_connections", seconds=600)
    venues.inject("binance", "disconnect", mode="rst")
    lost = process.wait_for(
        "book.top", state="waiting_for_events", count=1 if interval_ms == 0 else 3, within_s=WITHIN_S
    )
    venues.inject("binance", "clear")
    before = [one for one in process.events("book.top", state="synced") if one["timestamp"] < lost[0]["timestamp"]][-1]
    for line in lost[: 1 if interval_ms == 0 else 3]:
        assert [line[key] for key in ("bid", "ask", "update_id")] == [
            before[key] for key in ("bid", "ask", "update_id")
        ]
    ages = [line["age_ms"] for line in lost]
    assert ages == sorted(ages)
    count = len(process.events("book.top", state="synced"))
    process.wait_for("book.top", state="synced", count=count + 1, within_s=WITHIN_S)
    assert process.events("book.top")[-1]["update_id"] > before["update_id"]
    assert process.stop() == 0
