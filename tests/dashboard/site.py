"""The web page over a real socket, with sources of the test's own behind it."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import requests

from binmon.core.channel import Channel, Overflow
from binmon.dashboard.access import Access
from binmon.dashboard.accounts import Accounts, Lifetimes
from binmon.dashboard.application import make_application
from binmon.dashboard.feed import DashboardFeed
from binmon.dashboard.hub import Hub
from binmon.dashboard.memory import Memory
from binmon.dashboard.passwords import hashed
from binmon.dashboard.server import DashboardServer
from binmon.dashboard.sources import (
    Answer,
    DelayReport,
    Key,
    Series,
    SeriesKey,
    SymbolEntry,
    TimedOrder,
    VenueDescription,
)
from binmon.dashboard.streams import StreamServer
from binmon.messages import BookView, Candle, Instrument, Trade
from binmon.state import State

WITHIN_S = 60.0
USER, PASSWORD = "anna", "quiet-otters-climb-9"
MARKET = ("binance", "BTCUSDT")
_HASHED = hashed(PASSWORD)  # once: it is slow on purpose


def instrument(symbol: str, venue: str = "binance") -> Instrument:
    return Instrument(venue, symbol, symbol[:-4], symbol[-4:], "TRADING", Decimal("0.01"), Decimal("0.00001"))


def candle(open_ms: int, close: str = "100.50", *, closed: bool = False, interval: str = "1m") -> Candle:
    one = Decimal(close)
    return Candle(
        *MARKET, interval, open_ms, open_ms + 59_999, one, one, one, one, Decimal("1.50000000"), one, 3, closed, open_ms, 0
    )  # fmt: skip


def trade(number: int, price: str = "100.50") -> Trade:
    return Trade(*MARKET, number, Decimal(price), Decimal("0.5"), number % 2 == 0, 1_000 + number, 1_000 + number, 0)


def view(update_id: int, *, synced: bool = True) -> BookView:
    prices, quantities = np.array([100.5, 100.25]), np.array([1.5, 0.00001])
    return BookView(*MARKET, synced, update_id, 5_000, 12.5, prices, quantities, prices + 1, quantities)


class TestSources:
    """What a test puts into its attributes."""

    __test__ = False

    def __init__(self) -> None:
        self.instruments_of: dict[str, dict[str, Instrument]] = {
            "binance": {symbol: instrument(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")}
        }
        self.intervals_of: dict[str, tuple[str, ...]] = {}
        self.series_of: dict[SeriesKey, Series] = {}
        self.followed: list[tuple[frozenset[SeriesKey], frozenset[Key]]] = []
        self.before: list[Trade] = []
        self.states: dict[Key, str] = {MARKET: "synced", ("binance", "ETHUSDT"): "waiting_for_snapshot"}
        self.book: BookView | None = view(7)
        self.answers = True
        self.entries = [
            SymbolEntry("binance", one, one[:3], "USDT", "TRADING", 1_000, "baseline") for one in ("BTCUSDT", "ETHUSDT")
        ]
        self.new = [SymbolEntry("binance", "NEWUSDT", "NEW", "USDT", "TRADING", 2_000, "exchange_info")]
        self.seen: dict[str, int] = {}
        self.fails: Exception | None = None

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        if self.fails is not None:
            raise self.fails
        workers = {"binance-books": {"state": "running"}, "publisher": {"state": "backoff"}}
        venue = {
            "book_counts": {"synced": 2},
            "connections": {"a": "live"},
            "rate": {"weight": {"used": 1, "limit": 2}},
        }
        return False, {"ok": False, "problems": ["one"], "workers": workers, "venues": {"binance": venue}}

    def venues(self) -> Sequence[VenueDescription]:
        return [
            VenueDescription(
                name,
                "sandbox",
                len(of),
                True,
                True,
                ("BTCUSDT",),
                True,
                self.intervals_of.get(name, ("1m", "5m", "1h")),
            )
            for name, of in self.instruments_of.items()
        ]

    def instruments(self, venue: str) -> Mapping[str, Instrument]:
        return self.instruments_of.get(venue, {})

    def favourite(self, kind: str) -> SeriesKey | None:
        return (*MARKET, "5m" if kind == "candles" else "")

    def series(self, key: SeriesKey) -> Series | None:
        return self.series_of.get(key)

    def follow(self, series: frozenset[SeriesKey], trades: frozenset[Key]) -> None:
        self.followed.append((series, trades))

    def recent_trades(self, venue: str, symbol: str) -> Sequence[Trade]:
        return self.before

    def book_states(self) -> Mapping[Key, str]:
        return self.states

    def ask_book(self, venue: str, symbol: str, levels: int, answer: Answer) -> bool:
        if self.answers:
            answer(self.book)
        return self.answers

    def delays(self, since_ns: int) -> DelayReport:
        order = TimedOrder(*MARKET, "x-1", 5_000, "in_time", 3.25, 1.125, None, 0.5)
        return DelayReport(250.0, *MARKET, (order,), {"in_time": 1}, {"p50": 3.25, "max": None}, ((5.0, 1),))

    def symbols(self) -> Sequence[SymbolEntry]:
        return self.entries

    def new_symbols(self, user: str) -> Sequence[SymbolEntry]:
        return [one for one in self.new if (one.first_seen_ms or 0) > self.seen.get(user, 0)]

    def looked(self, user: str, at_ms: int) -> None:
        self.seen[user] = max(at_ms, self.seen.get(user, 0))


class Site:
    """All of the web page, running. ``url`` is where."""

    def __init__(self, directory: Path, *, lifetimes: Lifetimes | None = None, **options: Any) -> None:
        self.path = directory / "state.db"
        self.sources = TestSources()
        self.state = State(self.path)
        self.accounts = Accounts(self.state, lifetimes)
        self.hub = options.pop("hub", None) or Hub()
        self.memory = Memory()
        streams = {name: options.pop(name) for name in ("most_streams", "most_of_user", "stuck_s") if name in options}
        self.streams = StreamServer("streams", self.hub, **streams)
        self.access = Access(self.accounts, options.pop("hosts", ()))
        self.app = make_application(self.access, self.sources, self.hub, self.memory, self.streams, **options)
        self.server = DashboardServer("server", "127.0.0.1:0", self.app)
        self.inbox: Channel[Any] = Channel("inbox", 10_000, Overflow.DROP_NEWEST)
        self.tops: Channel[Any] = Channel("tops", 1_000, Overflow.DROP_OLDEST)
        self.alerts: Channel[Any] = Channel("alerts", 1_000, Overflow.DROP_OLDEST)
        self.feed = DashboardFeed(
            "feed", self.hub, self.sources, self.memory, self.accounts, self.streams,
            inbox=self.inbox, tops=self.tops, alerts=self.alerts,
        )  # fmt: skip
        self.stop = threading.Event()
        self.listeners: list[Listener] = []
        self._threads = [
            threading.Thread(target=one.run, args=(self.stop,), name=one.name)
            for one in (self.feed, self.streams, self.server)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        return self.server.url

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        self.stop.set()
        self.streams.ring()
        for thread in self._threads:
            thread.join(WITHIN_S)
            assert not thread.is_alive(), thread.name
        self.streams.close()
        self.state.close()

    def add_user(self, name: str = USER) -> None:
        """An account with the password of all of them."""
        self.state.execute("INSERT INTO dashboard_users VALUES (?, ?, 1, 1)", (name, _HASHED))

    def browser(self, name: str | None = USER) -> Browser:
        """One with nothing in it, or one that is logged in as ``name``."""
        made = Browser(self.url)
        if name is not None:
            assert made.log_in(name).status_code == 303
        return made

    def token(self, name: str = USER) -> dict[str, str]:
        """The header of a request with a token of this user."""
        _, text = self.accounts.add_token(name, "test", 1)
        return {"Authorization": f"Bearer {text}"}


class Browser(requests.Session):
    """Sends cookies back, and forms with what their page had in them."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.trust_env = False

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        options.setdefault("timeout", WITHIN_S)
        options["allow_redirects"] = False  # `get` of the library asks for them
        return super().request(method, self.url + url if url.startswith("/") else url, *args, **options)

    def form(self, path: str = "/login") -> str:
        """The hidden field of a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found is not None, path
        return found[1]

    def log_in(self, name: str = USER, password: str = PASSWORD, **more: str) -> requests.Response:
        """Send the login form."""
        return self.post("/login", data={"csrf": self.form(), "name": name, "password": password, **more})

    @property
    def csrf(self) -> dict[str, str]:
        """The header that a script of the page sends."""
        found = re.search(r'id="page-data">(.*?)</script>', self.get("/").text)
        assert found is not None
        return {"X-CSRF-Token": json.loads(found[1])["csrf"]}


@dataclasses.dataclass(frozen=True)
class Heard:
    """One event of a stream."""

    id: int
    kind: str
    data: dict[str, Any]


class Listener:
    """A browser's stream of events, over a plain socket."""

    def __init__(self, site: Site, topics: str, headers: Mapping[str, str], seen: int | None = None) -> None:
        site.listeners.append(self)
        self.socket = socket.create_connection(site.server.address, timeout=WITHIN_S)
        lines = [
            f"GET /api/stream?topics={topics} HTTP/1.1",
            "Host: localhost",
            *(f"{name}: {value}" for name, value in headers.items()),
            *([] if seen is None else [f"Last-Event-ID: {seen}"]),
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def events(self) -> Iterator[Heard]:
        """As they come, until the connection ends."""
        fields: dict[str, str] = {}
        while line := self._file.readline():
            text = line.decode().rstrip("\n")
            if text:
                name, _, value = text.partition(": ")
                fields[name] = value
            elif "event" in fields:
                yield Heard(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                fields = {}

    def next(self, kind: str | None = None) -> Heard:
        """The next event, or the next of this kind."""
        return next(one for one in self.events() if kind is None or one.kind == kind)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        threading.Event().wait(0.01)
