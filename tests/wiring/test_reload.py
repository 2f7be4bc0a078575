"""Reloading without a daemon: what is asked, refused, applied and told; and that no live key is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from binmon.alerts.dispatcher import AlertDispatcher
from binmon.alerts.rules import AlertRules
from binmon.books.keeper import KeeperSettings
from binmon.config import LoadedConfig, load
from binmon.config.running import last_noted
from binmon.config.schema import Config, WatchConfig
from binmon.config.watching import FileWatch
from binmon.core.channel import Channel, Overflow
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor, WorkerState
from binmon.errors import VenueUnreachable
from binmon.latency.effects import TrackerSettings
from binmon.messages import Instrument
from binmon.state import State, StateFailed
from binmon.telemetry.logging import LogDetails, set_level
from binmon.telemetry.metrics import METRICS
from binmon.watch.candles import CandleRule, CandleRules
from binmon.watch.desk import WatchDesk
from binmon.watch.listing_watcher import ListingSettings
from binmon.watch.thresholds import Direction, Line
from binmon.watch.trades import TradeRule, TradeRules
from binmon.wiring import applying, figures
from binmon.wiring import reload as reloading
from binmon.wiring.alerts import AlertParts, addressees
from binmon.wiring.applying import BY_ITSELF, NOTHING_YET, Applier, Prepared, prepare
from binmon.wiring.ground import Ground
from binmon.wiring.newcomers import Newcomers
from binmon.wiring.recording import Origin
from binmon.wiring.reload import Reloader, ReloadHooks
from tests.config.test_plan import MARKS


def loaded(path: Path, text: str) -> LoadedConfig:
    path.write_text(text)
    return load(path, {})


class Parts:
    """Stand-ins for the workers that an applier tells."""

    def __init__(self, capacity: int = 10) -> None:
        def channel(name: str) -> Channel[Any]:
            return Channel(name, capacity, Overflow.DROP_NEWEST)

        self.inbox, self.selections, self.latency_inbox, self.frames = map(
            channel, ("keeper", "selections", "latency", "user-stream")
        )
        self.told: list[str] = []
        self.finisher = SimpleNamespace(keep_days=None, keep_gb=None)
        self.publisher = SimpleNamespace(to_log=True, interval_s=1.0)
        self.probe, self.gate = SimpleNamespace(settings=None), SimpleNamespace(limits=None)
        self.alerts: Any = SimpleNamespace(
            tell=lambda wanted: self.told.append(f"{len(wanted)} targets"),
            dispatcher=SimpleNamespace(replace_rules=lambda config: self.told.append("rules")),
        )
        self.origin = Origin("start")
        recording: Any = SimpleNamespace(finisher=self.finisher, publisher=self.publisher, origin=self.origin)
        venue = SimpleNamespace(offset_ms=lambda: 1.5, market=SimpleNamespace(weight_per_minute=6000))
        books: Any = {"binance": SimpleNamespace(inbox=self.inbox, selections=self.selections, venue=venue)}
        latency: Any = SimpleNamespace(
            inbox=self.latency_inbox, frames=self.frames, probe=self.probe, gate=self.gate, environment="sandbox"
        )
        self.watched: Any = SimpleNamespace(
            venue=SimpleNamespace(name="binance", intervals=("1m",)),
            listings=SimpleNamespace(instruments={}),
            candle_inbox=channel("candles"),
            trade_inbox=channel("trades"),
            listing_inbox=channel("symbols"),
        )
        self.watched.inboxes = (self.watched.candle_inbox, self.watched.trade_inbox, self.watched.listing_inbox)
        self.watch: Any = SimpleNamespace(desk=WatchDesk(WatchConfig()), newcomers=Newcomers(Config))
        self.watch.newcomers.open("binance", self.selections)
        self.applier = Applier(self.alerts, recording, books, lambda: latency, self.watch)
        self.without_latency = Applier(self.alerts, recording, books, lambda: None, self.watch)

    def answered(self) -> None:
        """The venue has answered: what watches it is there, and knows what the configuration says."""
        self.watch.desk.open(self.watched)
        for inbox in self.watched.inboxes:
            assert inbox.take(0) is not None


class Hand:
    """A reloader of a real file, with a venue that answers as told."""

    def __init__(self, directory: Path, text: str = "", capacity: int = 10) -> None:
        self.path = directory / "config.yaml"
        self.parts, self.state = Parts(capacity), State(directory / "state.db")
        self.said: list[str] = []
        self.venue: Any = SimpleNamespace(name="binance", instruments=self.instruments)
        self.watching: Any = SimpleNamespace(
            name="binance", intervals=("1m",), symbols=lambda stop, priority: self.instruments(stop)
        )
        self.symbols: Any = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
        self.environment: str | None = "sandbox"
        self.now_s, self.fault = 0.0, None
        running = loaded(self.path, text)
        self.reloader = Reloader(
            running,
            self.state,
            self.prepare,
            self.parts.applier,
            ReloadHooks(
                lambda: self.said.append("began"),
                lambda: self.said.append("ended"),
                lambda in_force: self.said.append(in_force.config_hash),
            ),
        )

    def prepare(self, running: LoadedConfig) -> Prepared:
        if self.fault is not None:
            raise self.fault
        watching = {"binance": self.watching}
        return prepare(running, {}, {"binance": self.venue}, self.environment, threading.Event(), watching)

    def instruments(self, stop: threading.Event) -> dict[str, Instrument]:
        if isinstance(self.symbols, Exception):
            raise self.symbols
        zero = Decimal(0)
        return {one: Instrument("binance", one, one[:3], one[3:], "TRADING", zero, zero) for one in self.symbols}

    def until_idle(self) -> None:
        end_s = time.monotonic() + 20
        done = self.said.count("ended")
        while self.said.count("ended") == done:
            assert time.monotonic() < end_s
            self.now_s += 0.2
            self.reloader.tick(self.now_s)
            threading.Event().wait(0.005)

    def reload(self, text: str | None = None) -> list[dict[str, Any]]:
        if text is not None:
            self.path.write_text(text)
        self.reloader.ask()
        with capture_logs() as logs:
            self.until_idle()
        return [line for line in logs if line["event"].startswith("config.")]


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    made = Hand(tmp_path)
    yield made
    made.state.close()
    set_level("info")


def test_every_live_key_comes_to_somebody() -> None:
    live = {key for key, how in MARKS.items() if how == "live"}
    somebody = [*Parts().applier.keys, *BY_ITSELF, *NOTHING_YET]
    assert sorted(somebody) == sorted(live), "each of them once"


def test_what_changed_is_applied_noted_and_told(hand: Hand) -> None:
    (line,) = hand.reload(
        "latency: {threshold_ms: 700, interval_s: 30, symbol: ETHUSDT}\n"
        "books: {symbols: [BTCUSDT, SOLUSDT], snapshot_every: 7}\n"
        "execution: {max_order_notional: 50}\nrecorder: {keep_days: 3, keep_gb: 2}\nlogging: {level: debug}\n"
        "alerts: {notify: ['http://127.0.0.1/t0ken'], rules: [{alert: latency.lost, for_count: 2}]}\n"
        "publish: {sinks: []}\nwatch: {trades: [{symbol: BTCUSDT, above: 1}]}\n"
    )
    assert line["log_level"] == "info" and line["restart_needed"] == ["latency.symbol"]
    assert line["unused"] == []
    assert [one["key"] for one in line["changes"]] == [
        "books.symbols", "books.snapshot_every", "recorder.keep_days", "recorder.keep_gb", "latency.threshold_ms",
        "latency.interval_s", "watch.trades", "publish.sinks", "execution.max_order_notional", "alerts.notify",
        "alerts.rules", "logging.level",
    ]  # fmt: skip
    assert "t0ken" not in str(line)
    parts = hand.parts
    assert parts.latency_inbox.take(0) == TrackerSettings(700, 30_000)
    settings = parts.inbox.take(0)
    assert isinstance(settings, KeeperSettings) and settings.snapshot_every == 7
    selected = parts.selections.take(0)
    assert selected.settings.fixed == {"BTCUSDT", "SOLUSDT"} and set(selected.instruments) == set(hand.symbols)
    assert (parts.finisher.keep_days, parts.finisher.keep_gb) == (3, 2) and parts.publisher.to_log is False
    assert (parts.probe.settings.symbol, parts.probe.settings.interval_s) == ("BTCUSDT", 30)
    assert parts.gate.limits.max_order_notional == 50 and parts.told == ["1 targets", "rules"]
    in_force = hand.reloader.running
    assert in_force.config.latency.symbol == "BTCUSDT" and in_force.config.latency.threshold_ms == 700
    assert hand.said == ["began", in_force.config_hash, "ended"]
    assert line["config_hash"] == parts.origin.facts.config_hash == in_force.config_hash
    assert last_noted(hand.state.path).config_hash == in_force.config_hash
    (again,) = hand.reload()
    assert again["changes"] == [] and again["restart_needed"] == ["latency.symbol"]
    assert len(parts.inbox) == len(parts.latency_inbox) == 0


def test_what_is_watched_changes(hand: Hand) -> None:
    hand.parts.answered()
    watched = hand.parts.watched
    (line,) = hand.reload(
        "watch:\n  candles: [{symbol: BTCUSDT, above: 70000, hysteresis_bps: 10}]\n"
        "  trades: [{symbol: ETHUSDT, below: 3000}]\n  listings: {interval_s: 7, record: true}\n"
    )
    assert line["unused"] == line["restart_needed"] == [] and len(line["changes"]) == 4
    above = Line(Direction.ABOVE, Decimal(70000), Decimal(70))
    below = Line(Direction.BELOW, Decimal(3000), Decimal("1.5"))
    assert watched.candle_inbox.take(0) == CandleRules((CandleRule("BTCUSDT", "1m", "close", (above,)),))
    assert watched.trade_inbox.take(0) == TradeRules((TradeRule("ETHUSDT", (below,)),))
    assert watched.listing_inbox.take(0) == ListingSettings(7.0, True)
    hand.symbols = VenueUnreachable("http://x", "no route")
    (line,) = hand.reload(
        "watch: {candles: [{symbol: BTCUSDT, above: 80000}], trades: [{symbol: ETHUSDT, below: 3000}],"
        " listings: {enabled: false}}\n"
    )
    assert line["event"] == "config.reloaded", "a venue is not asked for a threshold"
    assert len(watched.candle_inbox) == 1 and len(watched.trade_inbox) == 0, "only who is concerned is told"
    assert watched.listing_inbox.take(0) == ListingSettings(60.0, False)
    (line,) = hand.reload("watch: {candles: [{symbol: SOLUSDT, above: 80000}]}\n")
    assert line["key"] == "watch.candles[0].symbol" and "no route" in line["reason"]


def test_a_watcher_without_room_is_waited_for(tmp_path: Path) -> None:
    hand = Hand(tmp_path, capacity=1)
    hand.parts.answered()
    inbox = hand.parts.watched.trade_inbox
    inbox.offer("something")
    hand.path.write_text("watch: {trades: [{symbol: BTCUSDT, above: 1}]}\n")
    hand.reloader.ask()
    with capture_logs() as logs:
        end_s = time.monotonic() + 20
        while not hand.reloader.running.config.watch.trades and time.monotonic() < end_s:
            hand.reloader.tick(0.0)
            threading.Event().wait(0.005)
        hand.reloader.tick(0.0)
        assert logs == [] and inbox.take(0) == "something"
        hand.reloader.tick(0.0)
    assert [line["event"] for line in logs] == ["config.reloaded"]
    assert isinstance(inbox.take(0), TradeRules) and inbox.dropped == 0
    hand.state.close()


def test_the_details_of_the_log_are_applied(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    details: list[LogDetails] = []
    monkeypatch.setattr(applying, "configure", details.append)
    (line,) = hand.reload(
        "logging:\n  levels: {binmon.books: debug}\n  rotate_mb: 1.5\n  keep_files: 2\n  repeat_limit: 0\n"
        "  repeat_window_s: 5\nmetrics: {per_symbol: [BTCUSDT]}\n"
    )
    assert details == [LogDetails({"binmon.books": "debug"}, 1_500_000, 2, 0, 5.0)]
    assert len(line["changes"]) == 6 and line["unused"] == [] == line["restart_needed"]
    hand.reload("logging: {rotate_mb: null, level: warning}\n")
    assert details[1:] == [LogDetails({}, None, 5, 60, 60.0)]
    (line,) = hand.reload("logging: {rotate_mb: null, level: error, file: elsewhere.log}\n")
    assert len(details) == 2 and line["restart_needed"] == ["logging.file"], "nothing of it has changed"


WRONG = [
    ("logging:\n  levels:\n    binmon.boks: debug\n", "logging.levels.binmon.boks", 3),
    ("latency: {threshold_ms: 5}\n", "latency.threshold_ms", 1),
    ("books:\n  symbols: [BTCUSDT, NOSUCH]\n", "books.symbols[1]", 2),
    ("books:\n  symbols: all:XYZ\n", "books.symbols", 2),
    ("books:\n  venue:\n    - {venue: binance, symbols: [BTCUSDT, NIX]}\n", "books.venue[0].symbols[1]", 3),
    ("watch:\n  candles: [{symbol: NOSUCH, above: 1}]\n", "watch.candles[0].symbol", 2),
    ("watch:\n  trades: [{symbol: BTCUSDT, above: 1}, {symbol: BTCUSD, above: 1}]\n", "watch.trades[1].symbol", 2),
    (
        "watch:\n  candles:\n    - {symbol: BTCUSDT, above: 5, hysteresis_price: 5}\n",
        "watch.candles[0].hysteresis_price",
        3,
    ),
    ("\nalerts:\n  notify: ['http://127.0.0.1/a', 'nonsense://t0ken']\n", "alerts.notify[1]", 3),
    ("nonsense: 1\n", "nonsense", 1),
    ("a: [", "", 1),
]


@pytest.mark.parametrize(("text", "key", "line"), WRONG)
def test_a_wrong_file_changes_nothing(hand: Hand, text: str, key: str, line: int) -> None:
    before, noted = hand.reloader.running, last_noted(hand.state.path)
    (rejected,) = hand.reload(text + "recorder: {keep_days: 3}\n" if key else text)
    assert rejected["event"] == "config.rejected" and rejected["log_level"] == "error"
    assert (rejected["key"], rejected["line"], rejected["file"]) == (key, line, str(hand.path))
    assert rejected["reason"] and "t0ken" not in str(rejected)
    parts = hand.parts
    assert hand.reloader.running is before and last_noted(hand.state.path) == noted
    assert parts.told == [] and parts.finisher.keep_days is None and parts.origin.facts.config_hash == "start"
    assert not len(parts.inbox) and not len(parts.selections) and not len(parts.latency_inbox)
    assert hand.said == ["began", "ended"]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("books: {venue: bybit}\n", ["books.venue"]),
        ("books: {venue: bybit, symbols: [BTCUSDT, NOSUCH]}\n", ["books.venue", "books.symbols"]),
        ("watch: {trades: [{venue: bybit, symbol: BTCUSDT, above: 1}]}\n", ["watch.trades"]),
        ("watch: {listings: {venues: [binance, bybit]}}\n", ["watch.listings.venues"]),
    ],
)
def test_a_venue_that_the_daemon_has_nothing_of_waits_and_the_rest_is_applied(
    hand: Hand, text: str, keys: list[str]
) -> None:
    (line,) = hand.reload(text + "recorder: {keep_days: 3}\n")
    assert line["event"] == "config.reloaded" and line["restart_needed"] == keys
    assert [change["key"] for change in line["changes"]] == ["recorder.keep_days"]
    assert hand.parts.finisher.keep_days == 3 and not len(hand.parts.selections)


def test_a_wrong_file_is_told_once(hand: Hand) -> None:
    assert len(hand.reload("nonsense: 1\n")) == 1
    assert hand.reload() == [] and hand.reload("nonsense: 1\n") == [], "the same again"
    assert len(hand.reload("nonsense: 2\n")) == 1, "another file with the same mistake"
    assert len(hand.reload("\nnonsense: 1\n")) == 1
    (line,) = hand.reload("")
    assert line["event"] == "config.reloaded"
    assert len(hand.reload("\nnonsense: 1\n")) == 1, "after a right one it is news again"
    hand.path.unlink()
    (gone,) = hand.reload()
    assert "cannot be read" in gone["reason"] and hand.reload() == []
    assert (hand.reloader.reloaded, hand.reloader.rejected, hand.reloader.last_succeeded) == (1, 8, False)


def test_a_venue_that_does_not_answer_keeps_symbols_as_they_are(hand: Hand) -> None:
    hand.symbols = VenueUnreachable("http://x", "no route")
    (line,) = hand.reload("books: {symbols: [SOLUSDT]}\nrecorder: {keep_days: 3}\n")
    assert line["key"] == "books.symbols" and "no route" in line["reason"]
    assert hand.parts.finisher.keep_days is None
    hand.symbols = ["SOLUSDT"]
    (line,) = hand.reload()
    assert line["event"] == "config.reloaded" and hand.parts.finisher.keep_days == 3
    hand.symbols = VenueUnreachable("http://x", "no route")
    (line,) = hand.reload("books: {symbols: [SOLUSDT]}\nrecorder: {keep_days: 4}\n")
    assert line["event"] == "config.reloaded", "nobody asks it for what it is not needed for"


def test_what_is_right_only_together_with_a_restart_waits_for_it(tmp_path: Path) -> None:
    hand = Hand(tmp_path, "venues: {binance: {environment: testnet}}\n")
    (line,) = hand.reload("venues: {binance: {environment: sandbox}}\nlatency:\n  interval_s: 1\n")
    assert (line["event"], line["key"], line["line"]) == ("config.rejected", "latency.interval_s", 3)
    assert "at least 15" in line["reason"] and "restart" in line["reason"]
    hand.state.close()


def test_orders_elsewhere_are_not_hurried(hand: Hand) -> None:
    hand.environment = "production"  # by its addresses, whatever the file calls it
    (line,) = hand.reload("latency: {interval_s: 1}\n")
    assert line["key"] == "latency.interval_s" and "outside the sandbox" in line["reason"]
    hand.environment = None  # nobody orders anything
    (line,) = hand.reload()
    assert line["event"] == "config.reloaded"


def test_a_fault_of_ours_is_told_as_one_and_survived(hand: Hand) -> None:
    hand.fault = KeyError("hunter2")
    (line,) = hand.reload()
    assert line["reason"] == "a fault of binmon: KeyError" and "in prepare" in line["exception"]
    assert "hunter2" not in str(line), "whatever it was that it could not read"
    hand.fault = None
    assert hand.reload()[0]["event"] == "config.reloaded"


def test_a_full_channel_is_waited_for_and_nothing_is_dropped(tmp_path: Path) -> None:
    hand = Hand(tmp_path, capacity=1)
    hand.parts.inbox.offer("something")
    hand.path.write_text("books: {snapshot_every: 7}\nlatency: {threshold_ms: 700}\n")
    hand.reloader.ask()
    with capture_logs() as logs:
        end_s = time.monotonic() + 20
        while hand.reloader.running.config.books.snapshot_every != 7 and time.monotonic() < end_s:
            hand.reloader.tick(0.0)
            threading.Event().wait(0.005)
        for _ in range(5):
            hand.reloader.tick(0.0)
        assert logs == [] and "ended" not in hand.said
        assert hand.parts.inbox.take(0) == "something"
        hand.reloader.tick(0.0)
    assert [line["event"] for line in logs] == ["config.reloaded"]
    assert hand.parts.inbox.take(0).snapshot_every == 7 and hand.parts.inbox.dropped == 0
    assert hand.parts.latency_inbox.take(0) == TrackerSettings(700, 30_000)
    hand.state.close()


def test_one_at_a_time_and_none_is_lost(hand: Hand) -> None:
    gate = threading.Event()
    inner = hand.prepare
    under_way: list[int] = []

    def slow(running: LoadedConfig) -> Prepared:
        under_way.append(1)
        assert gate.wait(20)
        return inner(running)

    hand.reloader._prepare = slow
    hand.reloader.ask()
    hand.reloader.tick(0.0)
    hand.path.write_text("recorder: {keep_days: 3}\n")
    hand.reloader.ask()
    end_s = time.monotonic() + 20
    while not under_way and time.monotonic() < end_s:
        threading.Event().wait(0.005)
    for _ in range(5):
        hand.reloader.tick(0.0)
    assert len(under_way) == 1
    gate.set()
    hand.until_idle()
    hand.until_idle()
    assert len(under_way) == 2 and hand.parts.finisher.keep_days == 3


def test_a_saved_file_is_taken_when_it_is_watched(tmp_path: Path) -> None:
    hand = Hand(tmp_path, "reload: {watch: true}\n")
    with capture_logs() as logs:
        hand.until_idle()  # what was saved while the daemon started
    assert [line for line in logs if line["event"].startswith("config.")] == []
    with capture_logs() as logs:
        hand.path.write_text("reload: {watch: true}\nrecorder: {keep_days: 3}\n")
        hand.until_idle()
        for _ in range(20):
            hand.now_s += 1.0
            hand.reloader.tick(hand.now_s)
        assert hand.said.count("began") == 2, "once taken it is no news"
        hand.path.write_text("reload: {watch: 1}\n")
        hand.until_idle()
        hand.path.write_text("reload: {watch: false}\n")
        hand.until_idle()
        hand.path.write_text("recorder: {keep_days: 4}\n")
        for _ in range(50):
            hand.now_s += 1.0
            hand.reloader.tick(hand.now_s)
    assert [line["event"] for line in logs] == ["config.reloaded", "config.rejected", "config.reloaded"]
    assert hand.parts.finisher.keep_days is None and hand.said.count("began") == 4
    hand.state.close()


def test_a_change_during_the_start_is_found_when_the_file_is_watched(tmp_path: Path) -> None:
    hand = Hand(tmp_path, "reload: {watch: true}\n")
    hand.path.write_text("reload: {watch: true}\nrecorder: {keep_days: 3}\n")
    hand.reloader._watch = FileWatch(lambda: None)  # which saw it only afterwards
    with capture_logs() as logs:
        hand.until_idle()
    assert [line["event"] for line in logs] == ["config.reloaded"] and hand.parts.finisher.keep_days == 3
    hand.state.close()


@pytest.mark.parametrize(("before", "after"), [("info", "error"), ("error", "info"), ("error", "critical")])
def test_the_line_is_there_for_the_old_level_and_for_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    levels: list[str] = []
    monkeypatch.setattr(reloading, "set_level", levels.append)
    hand = Hand(tmp_path, f"logging: {{level: {before}}}\n")
    hand.reload(f"logging: {{level: {after}}}\n")
    assert levels == [min(before, after, key=["info", "error", "critical"].index), after]
    hand.state.close()


def test_a_disk_that_refuses_the_note_refuses_no_reload(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StateFailed(hand.state.path, "disk full")

    monkeypatch.setattr(hand.state, "execute", full)
    lines = hand.reload("recorder: {keep_days: 3}\n")
    assert [line["event"] for line in lines] == ["config.reloaded", "config.not_noted"]
    assert hand.parts.finisher.keep_days == 3


def test_without_a_probe_its_keys_are_unused() -> None:
    keys = set(Parts().without_latency.keys)
    assert "latency.threshold_ms" not in keys and "books.snapshot_every" in keys


def test_figures(hand: Hand) -> None:
    hand.reload("nonsense: 1\n")
    found = {
        (one.name, *(value for _, value in one.labels)): one.value for one in figures.reload_figures(hand.reloader)
    }
    assert found["binmon_config_last_reload_success",] == 0
    assert found["binmon_config_reloads_total", "rejected"] == 1
    hand.reload("recorder: {keep_days: 3}\n")
    found = {
        (one.name, *(value for _, value in one.labels)): one.value for one in figures.reload_figures(hand.reloader)
    }
    assert found["binmon_config_last_reload_success",] == 1 and found["binmon_config_reloads_total", "reloaded"] == 1
    assert found["binmon_config_last_reload_timestamp_seconds",] == pytest.approx(time.time(), abs=60)
    declared = {metric.name for metric in METRICS if metric.name.startswith("binmon_config_")}
    assert {name for name, *_ in found} == declared


# Targets -------------------------------------------------------------------------------------------------------------


def test_targets_come_and_go_and_the_others_keep_their_workers(tmp_path: Path) -> None:
    supervisor, stop = Supervisor(), threading.Event()
    state = State(tmp_path / "state.db")
    ground = Ground(loaded(tmp_path / "config.yaml", ""), supervisor, state, stop)
    dispatcher = AlertDispatcher("alerts", ground.signals, AlertRules(), [])
    parts = AlertParts(ground, dispatcher)
    a, b, c = (f"http://127.0.0.1:1/{name}" for name in "abc")
    parts.tell(addressees([a, b, b]))
    first = parts.targets
    assert [worker.name for worker in first] == ["alerts-0", "alerts-1", "alerts-2"]
    parts.tell(addressees([b, c]))
    assert parts.targets[0] is first[1] and parts.targets[1].name == "alerts-3"
    assert [worker.target.describe()[:9] for worker in parts.targets] == ["notify[0]", "notify[1]"]
    assert [channel.name for channel in ground.channels] == ["alerts-1", "alerts-3"]
    assert dispatcher._outlets == tuple(worker.queue for worker in parts.targets)
    end_s = time.monotonic() + 20
    while len(supervisor.statuses()) > 2 and time.monotonic() < end_s:
        supervisor.tick(time.monotonic())
        threading.Event().wait(0.01)
    assert [(one.name, one.state) for one in supervisor.statuses()] == [
        ("alerts-1", WorkerState.RUNNING),
        ("alerts-3", WorkerState.RUNNING),
    ]
    parts.tell([])
    assert parts.targets == () and ground.channels == [] and "127.0.0.1:1/b" not in repr(addressees([b]))
    assert supervisor.stop(Deadline(30)) == []
    state.close()


def test_what_recordings_say_of_their_origin() -> None:
    origin, recorder = Origin("one"), SimpleNamespace(facts=None)
    origin.tell(recorder)  # type: ignore[arg-type]
    zero = Decimal(0)
    btc, eth = (Instrument("binance", name, name[:3], "USDT", "TRADING", zero, zero) for name in ("BTCUSDT", "ETHUSDT"))
    origin.listed("binance", {"BTCUSDT": btc}, 1.0)
    origin.configured("two", {"binance": 2.0, "bybit": 7.0})
    origin.listed("binance", {"ETHUSDT": eth}, 3.0)
    facts: Any = recorder.facts
    assert facts.config_hash == "two" and facts.clock_offsets_ms == {"binance": 3.0, "bybit": 7.0}
    assert facts is origin.facts
    # what is no longer listed has rows in the live segment
    assert facts.instruments == {("binance", "BTCUSDT"): btc, ("binance", "ETHUSDT"): eth}


def test_only_venues_of_which_other_books_are_wanted_are_asked(tmp_path: Path) -> None:
    asked: list[str] = []
    zero = Decimal(0)

    def venue(name: str) -> Any:
        def instruments(stop: threading.Event) -> dict[str, Instrument]:
            asked.append(name)
            return {one: Instrument(name, one, one, "USDT", "TRADING", zero, zero) for one in ("BTCUSDT", "ETHUSDT")}

        return SimpleNamespace(name=name, instruments=instruments)

    def text(of_binance: str) -> str:
        return (
            f"books: {{venue: [{{venue: binance, symbols: {of_binance}}}, {{venue: bybit, symbols: [BTCUSDT]}}]}}\n"
            "latency: {enabled: false}"
        )

    path = tmp_path / "config.yaml"
    running = loaded(path, text("[BTCUSDT]"))
    path.write_text(text("[BTCUSDT, ETHUSDT]"))
    venues = {name: venue(name) for name in ("binance", "bybit")}
    prepared = prepare(running, {}, venues, None, threading.Event())
    assert asked == ["binance"] and prepared.instruments is not None and set(prepared.instruments) == {"binance"}
