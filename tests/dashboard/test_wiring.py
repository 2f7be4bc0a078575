"""The page among the daemon's parts: what keeps it away, and what it sees of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from binmon.config import load
from binmon.core.deadline import Deadline
from binmon.core.supervisor import Supervisor
from binmon.latency.ledger import ProbeLedger
from binmon.latency.measurement import Measurement, OrderClass
from binmon.messages import FirstSeenBy, OrderRequest, OrderSide
from binmon.state import State
from binmon.watch.desk import WatchDesk
from binmon.watch.known import KnownSymbol, KnownSymbols
from binmon.wiring import dashboard
from binmon.wiring.dashboard import DaemonSources, DashboardParts, wire_dashboard
from binmon.wiring.ground import Ground
from tests.dashboard.site import Browser, instrument

Wire = Callable[..., DashboardParts | None]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """Builds the page of a daemon with nothing but a venue that has not answered."""
    grounds: list[Ground] = []
    made: list[DashboardParts] = []

    def make(section: str = "{listen: '127.0.0.1:0'}", desk: WatchDesk | None = None) -> DashboardParts | None:
        file = tmp_path / "config.yaml"
        file.write_text(f"dashboard: {section}\nstate: {{path: {tmp_path}/state.db}}\nlatency: {{threshold_ms: 321}}\n")
        ground = Ground(load(file, {}), Supervisor(), State(tmp_path / "state.db"), threading.Event())
        grounds.append(ground)
        parts = wire_dashboard(ground, lambda: (True, {"ok": True}), ["binance"], {}, desk)
        made.extend([] if parts is None else [parts])
        return parts

    yield make
    for ground in grounds:
        assert ground.supervisor.stop(Deadline(30.0)) == []
        ground.state.close()
    for parts in made:
        parts.close()


def lines(wire: Wire, section: str = "{listen: '127.0.0.1:0'}") -> tuple[DashboardParts | None, list[tuple[str, str]]]:
    with capture_logs() as said:
        parts = wire(section)
    return parts, [(line["event"], line.get("reason", "")) for line in said if line["event"].startswith("dashboard.")]


def test_switched_off(wire: Wire) -> None:
    assert lines(wire, "{enabled: false}") == (None, [])


def test_without_the_extra_the_daemon_goes_on(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "_MODULES", {"flask": "flask", "waitress": "no_such_module_here"})
    parts, said = lines(wire)
    assert parts is None
    assert said == [
        (
            "dashboard.off",
            "the package waitress is not installed: pip install 'binmon[dashboard]', or dashboard.enabled: false",
        )
    ]


def test_a_port_that_is_taken_keeps_nobody_from_starting(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        parts, said = lines(wire, f"{{listen: '127.0.0.1:{port}'}}")
    assert parts is None
    ((event, reason),) = said
    assert event == "dashboard.off"
    assert reason.startswith(f"dashboard.listen: 127.0.0.1:{port}: expected an address to listen at")


def test_without_an_account_the_log_says_how_to_make_one(wire: Wire) -> None:
    parts, said = lines(wire)
    assert parts is not None
    assert ("dashboard.no_accounts", "nobody can log in yet: binmon users add NAME") in said
    assert "binmon users add" in Browser(parts.server.url).get("/login").text
    problems, section = parts.section()
    assert (problems, section) == ([], {"url": parts.server.url, "streams": 0, "dropped": 0})


def test_names_of_the_configuration(wire: Wire) -> None:
    parts = wire("{listen: '127.0.0.1:0', hosts: [binmon.example.org], behind_proxy: true, most_streams: 3}")
    assert parts is not None
    browser = Browser(parts.server.url)
    assert browser.get("/login", headers={"Host": "binmon.example.org"}).status_code == 200
    assert browser.get("/login", headers={"Host": "other.example.org"}).status_code == 400
    assert "Secure" in browser.get("/login", headers={"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]


# What it sees ---------------------------------------------------------------------------------------------------------


def sources(wire: Wire) -> DaemonSources:
    parts = wire()
    assert parts is not None
    return parts.sources


def test_a_venue_that_has_not_answered_yet(wire: Wire) -> None:
    seen = sources(wire)
    (venue,) = seen.venues()
    assert (venue.name, venue.environment, venue.symbols, venue.candles, venue.books) == (
        "binance",
        "sandbox",
        0,
        False,
        (),
    )
    assert seen.book_states() == {}
    assert seen.favourite("candles") is None
    assert seen.series(("binance", "BTCUSDT", "1m")) is None
    assert not seen.ask_book("binance", "BTCUSDT", 5, lambda view: None)
    assert seen.delays(0).orders == ()
    seen.follow(frozenset([("binance", "BTCUSDT", "1m")]), frozenset())
    seen.listed.put("binance", {"BTCUSDT": instrument("BTCUSDT")})
    assert seen.venues()[0].symbols == 1
    assert [(one.symbol, one.first_seen_ms) for one in seen.symbols()] == [("BTCUSDT", None)]


def test_new_symbols_are_new_until_the_user_has_looked(wire: Wire, tmp_path: Path) -> None:
    seen = sources(wire)
    state = State(tmp_path / "state.db")
    known = KnownSymbols(state)
    known.keep(
        [
            KnownSymbol("binance", "BTCUSDT", "BTC", "USDT", "TRADING", 5, FirstSeenBy.BASELINE, None, 5),
            KnownSymbol("binance", "NEWUSDT", "NEW", "USDT", "TRADING", 50, FirstSeenBy.MINI_TICKER, 1.5, 50),
            KnownSymbol("other", "XUSDT", "X", "USDT", "TRADING", 50, FirstSeenBy.MINI_TICKER, 1.5, 50),
        ]
    )
    assert [one.symbol for one in seen.symbols()] == ["BTCUSDT", "NEWUSDT"]
    assert [one.symbol for one in seen.new_symbols("anna")] == ["NEWUSDT"]
    seen.looked("anna", 60)
    assert seen.new_symbols("anna") == []
    seen.looked("anna", 10)
    assert seen.new_symbols("anna") == [], "what was looked at stays looked at"
    assert len(seen.new_symbols("bert")) == 1
    state.close()


def test_delays_come_from_the_ledger(wire: Wire, tmp_path: Path) -> None:
    seen = sources(wire)
    state = State(tmp_path / "state.db")
    ledger = ProbeLedger(state)
    day_ns = 86_400 * 10**9
    import time

    now_ns = time.time_ns()
    for number, ago_ns in enumerate((200 * day_ns, 3 * day_ns, day_ns // 2, 10**9)):
        order = OrderRequest("binance", "BTCUSDT", OrderSide.BUY, f"x-{number}", Decimal(15), Decimal("0.001"))
        ledger.note(order, now_ns - ago_ns, 0)
        ledger.settle(
            Measurement(
                "binance",
                "BTCUSDT",
                f"x-{number}",
                OrderSide.BUY,
                Decimal("0.001"),
                now_ns - ago_ns,
                OrderClass.LATE if number else OrderClass.IN_TIME,
                "FILLED",
                5.0,
                321.0,
                sent_to_report_ms=1.5 + number,
            )
        )
    report = seen.delays(now_ns - day_ns)
    assert [one.client_order_id for one in report.orders] == ["x-2", "x-3"]
    assert (report.threshold_ms, report.venue, report.symbol) == (321.0, "binance", "BTCUSDT")
    assert report.classes["late"] == 2
    assert report.percentiles == {"p50": 4.0, "p90": pytest.approx(4.4), "p99": pytest.approx(4.49), "max": 4.5}
    assert sum(count for _, count in report.histogram) == 2
    assert [one.client_order_id for one in seen.delays(now_ns - 365 * day_ns).orders] == ["x-0", "x-1", "x-2", "x-3"]
    state.close()


def test_an_order_is_told_when_it_is_settled(wire: Wire) -> None:
    parts = wire()
    assert parts is not None
    measurement = Measurement(
        "binance", "BTCUSDT", "x-1", OrderSide.BUY, None, 5_000_000, OrderClass.LOST, "FILLED", 5.0, 321.0
    )
    told = dashboard.timed_order(measurement)
    assert (told.sent_ms, told.order_class, told.sent_to_report_ms) == (5, "lost", None)
    parts.measured(measurement)


def test_a_desk_tells_the_page(wire: Wire, tmp_path: Path) -> None:
    from binmon.config.schema import WatchConfig
    from tests.dashboard.site import trade

    desk = WatchDesk(WatchConfig())
    parts = wire(desk=desk)
    assert parts is not None
    assert desk.told.offer(trade(1))
    assert [one.trade_id for one in parts.sources.recent_trades("binance", "BTCUSDT")] == [1]
