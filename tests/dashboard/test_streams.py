"""Server-sent events over real sockets: what is told, what comes after a break, and browsers that do not read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from decimal import Decimal

from structlog.testing import capture_logs

from binmon.alerts.notification import Notification
from binmon.alerts.rules import NotifyKind
from binmon.dashboard.hub import Hub
from binmon.dashboard.leases import Leases
from binmon.dashboard.outbox import Outbox
from binmon.dashboard.sources import TimedOrder
from binmon.dashboard.topics import Topic
from binmon.messages import (
    CandlesChanged,
    FirstSeenBy,
    PriceCrossed,
    Severity,
    SymbolListed,
    SymbolStatus,
    TopOfBook,
)
from tests.dashboard.site import MARKET, USER, Listener, Site, candle, trade, until, view

TCP_CLOSE = 7
TRADES = "trades:binance:BTCUSDT"
CANDLES = "candles:binance:BTCUSDT:1m"


def test_the_head_of_a_stream(site: Site) -> None:
    listener = Listener(site, "status", site.token())
    assert listener.status == 200
    assert listener.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert listener.headers["cache-control"] == "no-store"
    assert listener.headers["x-accel-buffering"] == "no"
    assert "content-security-policy" in listener.headers
    assert "content-length" not in listener.headers
    assert "transfer-encoding" not in listener.headers
    hello = listener.next()
    assert (hello.kind, hello.data) == ("hello", {"topics": ["status"]})


def test_candles(site: Site) -> None:
    listener = Listener(site, CANDLES, site.token())
    listener.next("hello")
    until(lambda: bool(site.sources.followed))
    assert site.sources.followed[-1][0] == {(*MARKET, "1m")}
    site.inbox.offer(CandlesChanged(*MARKET, "1m", (candle(60_000, "101.25"),), False))
    site.inbox.offer(CandlesChanged(*MARKET, "5m", (candle(60_000, "999"),), False))
    heard = listener.next()
    assert (heard.kind, heard.data) == (
        "candle",
        {"topic": CANDLES, "candle": [60_000, "101.25", "101.25", "101.25", "101.25", "1.50000000", False]},
    )
    site.inbox.offer(CandlesChanged(*MARKET, "1m", (candle(0), candle(60_000)), True))
    assert listener.next().kind == "candles"
    site.inbox.offer(
        PriceCrossed(*MARKET, "candle", "1m close", Decimal("70000.10"), Decimal(70000), "above", False, 5)
    )
    crossed = listener.next()
    assert (crossed.kind, crossed.data["price"], crossed.data["threshold"], crossed.data["direction"]) == (
        "crossed", "70000.10", "70000", "above",
    )  # fmt: skip


def test_an_open_candle_is_put_together_and_its_last_word_is_told(site: Site) -> None:
    listener = Listener(site, CANDLES, site.token())
    listener.next("hello")
    for number in range(1000):
        site.inbox.offer(CandlesChanged(*MARKET, "1m", (candle(0, str(number)),), False))
    site.inbox.offer(CandlesChanged(*MARKET, "1m", (candle(0, "5000", closed=True),), False))
    site.inbox.offer(CandlesChanged(*MARKET, "1m", (candle(60_000, "5001"),), False))
    heard = []
    while not heard or heard[-1].data["candle"][4] != "5001":
        heard.append(listener.next("candle"))
    assert [0, "5000", "5000", "5000", "5000", "1.50000000", True] in [one.data["candle"] for one in heard]
    assert len(heard) < 500


def test_trades_come_each_once_and_in_order(site: Site) -> None:
    listener = Listener(site, f"{TRADES},alerts", site.token())
    listener.next("hello")
    for number in range(1, 2001):
        site.inbox.offer(trade(number))
    seen: list[int] = []
    events = 0
    while len(seen) < 2000:
        events += 1
        seen += [int(one[0]) for one in listener.next("trade").data["trades"]]
    assert seen == list(range(1, 2001))
    assert events < 200


def test_ids_of_trades_are_text(site: Site) -> None:
    """Bybit's exceed what a browser holds in a number: two of them would become one."""
    listener = Listener(site, TRADES, site.token())
    listener.next("hello")
    ids = [2_290_000_000_000_000_001, 2_290_000_000_000_000_002]
    for one in ids:
        site.inbox.offer(trade(one))
    heard: list[str] = []
    while len(heard) < 2:
        heard += [one[0] for one in listener.next("trade").data["trades"]]
    assert heard == list(map(str, ids))


def test_books_tops_and_the_rest(site: Site) -> None:
    listener = Listener(site, "book:binance:BTCUSDT,tops,latency,alerts,symbols,status", site.token())
    assert listener.next("book").data["bids"] == [["100.5", "1.5"], ["100.25", "0.00001"]]
    site.sources.book = view(8)
    assert listener.next("book").data["update_id"] == 8
    site.tops.offer(TopOfBook(*MARKET, 100.5, 1.0, 100.75, 2.0, 9, 5, 6, 1.5))
    (top,) = listener.next("top").data["tops"]
    assert (top["bid"], top["ask"], top["spread"], top["mid"], top["state"]) == (
        "100.5",
        "100.75",
        "0.25",
        "100.625",
        "synced",
    )
    site.inbox.offer(TimedOrder(*MARKET, "x-2", 5, "late", 6000.0, None, None, None))
    assert listener.next("measurement").data["measurement"]["class"] == "late"
    site.alerts.offer(
        Notification(
            NotifyKind.RAISED,
            "latency.delayed",
            "binance BTCUSDT",
            Severity.ERROR,
            "slow",
            5_000_000,
            1,
            0,
            0,
            0,
            0,
            "",
        )
    )
    alert = listener.next("alert").data
    assert (alert["name"], alert["kind"], alert["severity"], alert["time_ms"]) == (
        "latency.delayed",
        "raised",
        "error",
        5,
    )
    assert site.browser().get("/api/alerts").json()["alerts"][0]["text"] == "slow"
    site.inbox.offer(SymbolListed("binance", "NEWUSDT", "NEW", "USDT", "TRADING", FirstSeenBy.MINI_TICKER, 12.5, 77))
    listed = listener.next("symbol").data
    assert (listed["symbol"], listed["change"], listed["new"], listed["first_seen_ms"]) == (
        "NEWUSDT",
        "listed",
        True,
        77,
    )
    site.inbox.offer(SymbolStatus("binance", "NEWUSDT", "BREAK", "TRADING", FirstSeenBy.EXCHANGE_INFO, None, 78))
    assert listener.next("symbol").data["change"] == "status"
    status = listener.next("status").data
    assert (status["ok"], status["problems"], status["workers"]) == (False, ["one"], {"running": 1, "backoff": 1})
    assert status["venues"]["binance"]["synced"] == 2


def test_a_top_is_told_within_the_list_of_all(site: Site) -> None:
    site.tops.offer(TopOfBook(*MARKET, 100.5, 1.0, None, None, 9, 5, 6, 1.5))
    until(lambda: site.browser().get("/api/tops").json()["tops"][0]["bid"] == "100.5")
    first, second = site.browser().get("/api/tops").json()["tops"]
    assert (first["ask"], first["spread"], first["mid"]) == (None, None, None)
    assert (second["symbol"], second["bid"], second["state"]) == ("ETHUSDT", None, "waiting_for_snapshot")


# Breaks ---------------------------------------------------------------------------------------------------------------


def test_a_browser_that_comes_back_gets_what_it_has_missed(site: Site) -> None:
    token = site.token()
    listener = Listener(site, TRADES, token)
    listener.next("hello")
    site.inbox.offer(trade(1))
    seen = listener.next("trade").id
    listener.close()
    until(lambda: site.streams.streams_count == 0)
    for number in (2, 3, 4):
        site.inbox.offer(trade(number))
    until(lambda: len(site.memory.trades(MARKET, [], 10)) == 4)
    again = Listener(site, TRADES, token, seen=seen)
    assert again.next().kind == "hello"
    numbers: list[int] = []
    while len(numbers) < 3:
        heard = again.next()
        assert heard.kind == "trade"
        numbers += [int(one[0]) for one in heard.data["trades"]]
    assert numbers == [2, 3, 4]


def test_the_id_may_come_in_the_address_too(site: Site) -> None:
    token = site.token()
    listener = Listener(site, TRADES, token)
    seen = listener.next("hello").id
    listener.close()
    site.inbox.offer(trade(1))
    until(lambda: len(site.memory.trades(MARKET, [], 10)) == 1)
    again = Listener(site, f"{TRADES}&last_event_id={seen}", token)
    assert [again.next().kind, again.next().kind] == ["hello", "trade"]


def test_a_browser_that_slept_for_longer_than_anybody_remembers_is_told_to_load_anew(
    sites: Callable[..., Site],
) -> None:
    site = sites(hub=Hub(leases=Leases(lasts_s=0.05)))
    site.add_user()
    token = site.token()
    listener = Listener(site, TRADES, token)
    listener.next("hello")
    site.inbox.offer(trade(1))
    seen = listener.next("trade").id
    listener.close()
    until(lambda: not site.hub.is_leased(Topic.parse(TRADES)))
    for number in (seen, 1, 10**18):
        again = Listener(site, TRADES, token, seen=number)
        assert again.next().kind == "hello"
        assert (again.next().kind) == "reset"


def test_nobody_follows_what_nobody_looks_at_any_more(sites: Callable[..., Site]) -> None:
    site = sites(hub=Hub(leases=Leases(lasts_s=0.05)))
    site.add_user()
    listener = Listener(site, f"{TRADES},{CANDLES}", site.token())
    until(lambda: bool(site.sources.followed))
    assert site.sources.followed[-1] == ({(*MARKET, "1m")}, {MARKET})
    listener.close()
    until(lambda: site.sources.followed[-1] == (frozenset(), frozenset()))
    assert site.memory.trades(MARKET, [], 10) == []


def test_what_the_inbox_lost_is_said(site: Site) -> None:
    listener = Listener(site, TRADES, site.token())
    listener.next("hello")
    site.inbox._count_drop()
    assert listener.next().kind == "reset"


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_streams_are_bounded_for_each_user_and_in_all(sites: Callable[..., Site]) -> None:
    site = sites(most_streams=5, most_of_user=3)
    for name in (USER, "bert"):
        site.add_user(name)
    anna, bert = site.token(), site.token("bert")
    open_ones = [Listener(site, "alerts", anna) for _ in range(3)]
    assert Listener(site, "alerts", anna).status == 429
    open_ones += [Listener(site, "alerts", bert) for _ in range(2)]
    assert Listener(site, "alerts", bert).status == 429
    open_ones[0].close()
    until(lambda: site.streams.streams_count == 4)
    assert Listener(site, "alerts", bert).status == 200


def test_too_many_markets_are_refused(site: Site) -> None:
    site.sources.instruments_of["binance"].update(
        {f"A{n}USDT": site.sources.instruments_of["binance"]["BTCUSDT"] for n in range(300)}
    )
    browser = site.browser()
    statuses = [browser.get(f"/api/trades?venue=binance&symbol=A{n}USDT").status_code for n in range(202)]
    assert statuses == [200] * 200 + [429] * 2


def deaf(site: Site, topics: str, token: dict[str, str]) -> socket.socket:
    """A browser that asks for a stream and then does not read it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(site.server.address)
    lines = [f"GET /api/stream?topics={topics} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in token.items())]
    made.sendall("\r\n".join([*lines, "", ""]).encode())
    return made


def test_five_browsers_that_never_read_are_dropped_and_nobody_waits_for_them(sites: Callable[..., Site]) -> None:
    site = sites(hub=Hub(outbox=lambda: Outbox(most_events=300, most_bytes=256 << 10)), most_of_user=20, stuck_s=1000.0)
    site.add_user()
    token = site.token()
    reads = Listener(site, TRADES, token)
    reads.next("hello")
    slow = [deaf(site, TRADES, token) for _ in range(5)]
    until(lambda: site.streams.streams_count == 6)
    seen: list[int] = []
    number = 0
    with capture_logs() as lines:
        while site.streams.dropped_count < 5:
            assert number < 2_000_000
            for _ in range(500):
                number += 1
                site.inbox.offer(trade(number))
            while not seen or seen[-1] < number:
                seen += [int(one[0]) for one in reads.next("trade").data["trades"]]
            # each request of a page is answered meanwhile: no thread is held
            if number % 50_000 == 0:
                assert site.browser(None).get("/login").status_code == 200
    assert seen == list(range(1, number + 1)), "who reads has missed nothing"
    until(lambda: site.streams.streams_count == 1)
    dropped = [line for line in lines if line["event"] == "dashboard.dropped"]
    assert [line["user"] for line in dropped] == [USER] * 5
    for one in slow:
        # reset, so that nothing waits for it in the kernel either
        until(lambda one=one: one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == bytes([TCP_CLOSE]))  # type: ignore[misc]
        one.close()


def test_a_browser_that_reads_nothing_is_dropped_by_time_too(sites: Callable[..., Site]) -> None:
    """A book replaces itself, so it never fills an outbox."""
    site = sites(stuck_s=0.5)
    site.add_user()
    site.sources.book = view(1)
    slow = deaf(site, "book:binance:BTCUSDT", site.token())
    number = 0
    topic = Topic.parse("book:binance:BTCUSDT")
    pause = threading.Event()
    while site.streams.dropped_count < 1:
        number += 1
        site.hub.publish(topic, "book", {"padding": "x" * 50_000, "number": number}, "book")
        pause.wait(0.005)
        assert number < 20_000
    until(lambda: site.streams.streams_count == 0)
    slow.close()


def test_a_browser_that_goes_away_in_the_middle_is_forgotten(site: Site) -> None:
    token = site.token()
    for _ in range(8):
        Listener(site, TRADES, token).close()
    until(lambda: site.streams.streams_count == 0)
    for number in range(100):
        site.inbox.offer(trade(number))
    assert Listener(site, TRADES, token).next().kind == "hello"


def test_many_streams_hold_no_thread_of_the_web_server(sites: Callable[..., Site]) -> None:
    site = sites(most_streams=60, most_of_user=60)
    site.add_user()
    token = site.token()
    listeners = [Listener(site, TRADES, token) for _ in range(50)]
    before = threading.active_count()
    for listener in listeners:
        assert listener.next().kind == "hello"
    assert threading.active_count() <= before
    site.inbox.offer(trade(1))
    assert all(one.next("trade").data["trades"][0][0] == "1" for one in listeners)
    assert site.browser().get("/").status_code == 200


def test_a_logout_ends_the_streams_of_the_session(site: Site) -> None:
    browser = site.browser()
    cookie = {"Cookie": f"binmon_session={browser.cookies['binmon_session']}"}
    listener = Listener(site, "alerts", cookie)
    listener.next("hello")
    assert browser.post("/logout", data={"csrf": browser.form("/")}).status_code == 303
    assert list(listener.events()) == []


def test_an_open_page_keeps_its_session_from_idling(site: Site) -> None:
    browser = site.browser()
    cookie = {"Cookie": f"binmon_session={browser.cookies['binmon_session']}"}
    listener = Listener(site, "alerts", cookie)
    listener.next("hello")
    site.state.execute("UPDATE dashboard_sessions SET seen_ms = seen_ms - 3600000")
    (before,) = site.state.execute("SELECT seen_ms FROM dashboard_sessions")[0]
    site.feed._due_s["owners"] = 0.0  # as if half a minute had passed
    until(lambda: site.state.execute("SELECT seen_ms FROM dashboard_sessions")[0][0] > before)


def test_head_of_a_stream_opens_none(site: Site) -> None:
    answer = site.browser(None).head("/api/stream?topics=alerts", headers=site.token())
    assert answer.status_code == 200
    assert site.streams.streams_count == 0
