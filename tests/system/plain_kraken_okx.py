"""Kraken and OKX as small foreign venues: books over real sockets, with loss on demand. Written from the reference alone;
shares nothing with binmon.

Each keeps the truth of every message it has sent, so that a recording can be compared with it.
"""

from __future__ import annotations

import bisect
import email.utils
import json
import random
import threading
import time
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

Levels = dict[int, int]  # ticks → lots
Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]
"""Bids and asks as numbers, best first."""


class Market:
    """The whole book of one symbol, in ticks and lots; bids below asks."""

    def __init__(self, symbol: str, middle: int, rng: random.Random, *, tick_decimals: int, lot_decimals: int) -> None:
        self.symbol, self.tick_decimals, self.lot_decimals = symbol, tick_decimals, lot_decimals
        self._middle, self._rng = middle, rng
        self.bids: Levels = {middle - n: rng.randrange(1, 10**9) for n in range(1, 60)}
        self.asks: Levels = {middle + n: rng.randrange(1, 10**9) for n in range(1, 60)}

    def move(self) -> None:
        """Some levels change; the middle of the market wanders, so that levels fall out of windows and come back."""
        rng = self._rng
        self._middle += rng.choice((-2, -1, 0, 1, 2))
        for _ in range(rng.randrange(1, 6)):
            distance = rng.randrange(1, 60)
            for levels, ticks in ((self.bids, self._middle - distance), (self.asks, self._middle + distance)):
                if rng.random() < 0.35:
                    levels.pop(ticks, None)
                elif rng.random() < 0.7:
                    levels[ticks] = rng.randrange(1, 10**9)
        for levels, crossed in ((self.bids, 1), (self.asks, -1)):
            for ticks in [ticks for ticks in levels if (ticks - self._middle) * crossed >= 0]:
                del levels[ticks]
        while len(self.bids) < 30:
            self.bids[self._middle - rng.randrange(1, 80)] = rng.randrange(1, 10**9)
        while len(self.asks) < 30:
            self.asks[self._middle + rng.randrange(1, 80)] = rng.randrange(1, 10**9)

    def best(self, window: int) -> tuple[Levels, Levels]:
        bids = dict(sorted(self.bids.items(), reverse=True)[:window])
        return bids, dict(sorted(self.asks.items())[:window])

    def price(self, ticks: int) -> str:
        return _decimal(ticks, self.tick_decimals)

    def quantity(self, lots: int) -> str:
        return _decimal(lots, self.lot_decimals)

    def numbers(self, sides: tuple[Levels, Levels]) -> Sides:
        bids, asks = ([(float(self.price(t)), float(self.quantity(n))) for t, n in side.items()] for side in sides)
        return bids, asks


def _decimal(number: int, decimals: int) -> str:
    text = str(number).rjust(decimals + 1, "0")
    return f"{text[:-decimals]}.{text[-decimals:]}" if decimals else text


class Subscription:
    """What one connection was told of one symbol."""

    def __init__(self, market: Market, window: int) -> None:
        self.market, self.window = market, window
        self.told = market.best(window)

    def changes(self) -> tuple[Levels, Levels]:
        best = self.market.best(self.window)
        whole = (self.market.bids, self.market.asks)
        message = tuple(
            {ticks: 0 for ticks in told if ticks not in levels}
            | {ticks: lots for ticks, lots in now.items() if told.get(ticks) != lots}
            for told, levels, now in zip(self.told, whole, best, strict=True)
        )
        self.told = best
        return message  # type: ignore[return-value]


class PlainBookVenue:
    """What both have: markets that move ``per_second``, REST, one WebSocket address, and faults.

    ``lose(symbol, count)``: the next messages of a symbol are not sent, to nobody. ``pause``: no market moves.
    ``refuse_rest``: REST answers 503. ``heard`` has what clients have sent, ``sent`` counts messages of books.
    """

    path = "/"

    def __init__(self, symbols: dict[str, tuple[int, int]], *, per_second: float = 20.0, seed: int = 7) -> None:
        """``symbols``: where the middle of each market is, in ticks, and the decimals of a tick."""
        rng = random.Random(seed)
        self.markets = {
            symbol: Market(symbol, middle, rng, tick_decimals=decimals, lot_decimals=8)
            for symbol, (middle, decimals) in symbols.items()
        }
        self.per_second = per_second
        self.pause = self.refuse_rest = False
        self.heard: list[str] = []
        self.sent = 0
        self.ahead_s = 0.0  # of its clock
        self._truth: dict[str, list[tuple[int, Sides]]] = {symbol: [] for symbol in symbols}
        self._to_lose: dict[str, int] = {}
        self._subscribed: dict[ServerConnection, dict[str, Subscription]] = {}
        self._lock = threading.RLock()  # guards all of the above
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server: Server = serve(self._serve, "127.0.0.1", 0, ping_interval=None)
        self.rest_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.stream_url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}{self.path}"

    # Life -------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for work in (self._http.serve_forever, self._server.serve_forever, self._move):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(10)

    @property
    def endpoints(self) -> dict[str, str]:
        """For ``venues.<name>.endpoints`` of a configuration."""
        return {"rest": self.rest_url, "stream": self.stream_url}

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._subscribed)

    # Faults and truth -------------------------------------------------------------------------------------------------

    def lose(self, symbol: str, count: int = 1) -> None:
        with self._lock:
            self._to_lose[symbol] = count

    def losing(self, symbol: str) -> int:
        """Messages that are still to be lost."""
        with self._lock:
            return self._to_lose.get(symbol, 0)

    def disconnect(self) -> None:
        """Every connection ends, as when a server goes down."""
        with self._lock:
            connections = list(self._subscribed)
        for connection in connections:
            connection.close(1001, "going away")

    def truth(self, symbol: str, window: int) -> Sides:
        """The best levels now."""
        with self._lock:
            market = self.markets[symbol]
            return market.numbers(market.best(window))

    def truth_at(self, symbol: str, key: int, window: int) -> Sides:
        """The best levels after the newest message whose key (OKX: id, Kraken: microseconds) is not above ``key``."""
        with self._lock:
            known = self._truth[symbol]
            place = bisect.bisect_right([one for one, _ in known], key) - 1
            bids, asks = known[place][1]
            return bids[:window], asks[:window]

    # The stream -------------------------------------------------------------------------------------------------------

    def _move(self) -> None:
        while not self._stop.wait(1 / self.per_second):
            with self._lock:
                if not self.pause:
                    for market in self.markets.values():
                        self._publish(market)
                self._idle()

    def _publish(self, market: Market) -> None:
        market.move()
        mark = self.mark(market)
        self._truth[market.symbol].append((mark[1], market.numbers(market.best(1000))))
        is_lost = self._to_lose.get(market.symbol, 0) > 0
        if is_lost:
            self._to_lose[market.symbol] -= 1
        for connection, subscriptions in list(self._subscribed.items()):
            subscription = subscriptions.get(market.symbol)
            if subscription is None:
                continue
            changes = subscription.changes()
            if not is_lost:
                self.sent += 1
                self.send(connection, self.update(subscription, changes, mark))

    def send(self, connection: ServerConnection, text: str) -> None:
        try:
            connection.send(text)
        except ConnectionClosed:
            pass  # its own thread sees the end

    def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path != self.path:
            connection.close(1008, "unknown address")
            return
        with self._lock:
            self._subscribed[connection] = {}
            self.greet(connection)
        try:
            for text in connection:
                with self._lock:
                    self.heard.append(str(text))
                    self.take(connection, str(text))
        except ConnectionClosed:
            pass  # without a close frame
        finally:
            with self._lock:
                del self._subscribed[connection]

    def subscribe(self, connection: ServerConnection, symbol: str, window: int) -> Subscription:
        subscription = self._subscribed[connection][symbol] = Subscription(self.markets[symbol], window)
        return subscription

    # What each has of its own -----------------------------------------------------------------------------------------

    def mark(self, market: Market) -> tuple[int, int]:
        """The key of the last message, and that of the next, of the market that has just moved."""
        raise NotImplementedError

    def update(self, subscription: Subscription, changes: tuple[Levels, Levels], mark: tuple[int, int]) -> str:
        raise NotImplementedError

    def greet(self, connection: ServerConnection) -> None:
        """What a connection begins with."""

    def _idle(self) -> None:
        """What is due by time."""

    def take(self, connection: ServerConnection, text: str) -> None:
        raise NotImplementedError

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        raise NotImplementedError


def _handler(venue: PlainBookVenue) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            named = self.headers.get("User-Agent", "python-requests")
            if venue.refuse_rest:
                status, content = 503, {"error": "unavailable"}
            elif named.startswith("python-requests"):
                status, content = 403, {"error": "say who you are"}
            else:
                status, content = 200, venue.answer(parts.path, dict(urllib.parse.parse_qsl(parts.query)))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


class PlainKraken(PlainBookVenue):
    """Kraken v2. ``damage(symbol)``: the next message has a wrong checksum."""

    path = "/v2"

    def __init__(self, **more: Any) -> None:
        super().__init__({"BTC/USD": (700_000, 1), "DOGE/USD": (1_700_000, 7)}, **more)
        self._damaged: set[str] = set()
        self._micros = 0
        self._beat_s = 0.0

    def damage(self, symbol: str) -> None:
        with self._lock:
            self._damaged.add(symbol)

    def mark(self, market: Market) -> tuple[int, int]:
        # no two messages of a symbol within a millisecond, so that ids which count on from the time stay apart
        before, self._micros = self._micros, max(self._micros + 1000, int((time.time() + self.ahead_s) * 1e6))
        return before, self._micros

    def _checksum(self, subscription: Subscription) -> int:
        market = subscription.market
        bids, asks = market.best(min(10, subscription.window))
        text = "".join(
            market.price(ticks).replace(".", "").lstrip("0") + market.quantity(lots).replace(".", "").lstrip("0")
            for side in (asks, bids)
            for ticks, lots in side.items()
        )
        crc = zlib.crc32(text.encode())
        if market.symbol in self._damaged:
            self._damaged.discard(market.symbol)
            crc ^= 1
        return crc

    def _message(self, kind: str, subscription: Subscription, sides: tuple[Levels, Levels], micros: int) -> str:
        market = subscription.market
        bids, asks = (
            ",".join(f'{{"price":{market.price(t)},"qty":{market.quantity(n)}}}' for t, n in side.items())
            for side in sides
        )
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 10**6)) + f".{micros % 10**6:06d}Z"
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{market.symbol}","bids":[{bids}],"asks":[{asks}],'
            f'"checksum":{self._checksum(subscription)},"timestamp":"{stamp}"}}]}}'
        )

    def update(self, subscription: Subscription, changes: tuple[Levels, Levels], mark: tuple[int, int]) -> str:
        return self._message("update", subscription, changes, mark[1])

    def greet(self, connection: ServerConnection) -> None:
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 7734965360000000001}
        self.send(connection, json.dumps({"channel": "status", "type": "update", "data": [status]}))

    def _idle(self) -> None:
        if time.monotonic() - self._beat_s >= 1.0:
            self._beat_s = time.monotonic()
            for connection, subscriptions in list(self._subscribed.items()):
                if subscriptions:
                    self.send(connection, '{"channel":"heartbeat"}')

    def take(self, connection: ServerConnection, text: str) -> None:
        asked = json.loads(text)
        method, parameters = asked["method"], asked["params"]
        assert parameters["channel"] == "book" and parameters["depth"] in (10, 25, 100, 500, 1000), parameters
        mine = self._subscribed[connection]
        for symbol in parameters["symbol"]:
            times = {"time_in": "2026-11-21T10:00:00.000101Z", "time_out": "2026-11-21T10:00:00.000143Z"}
            problem = None
            if symbol not in self.markets:
                problem = f"Currency pair not supported {symbol}"
            elif (symbol in mine) == (method == "subscribe"):
                problem = "Already subscribed" if method == "subscribe" else "Subscription Not Found"
            reply: dict[str, Any] = {
                "method": method,
                "success": problem is None,
                **times,
                "req_id": asked.get("req_id"),
            }
            if problem is not None:
                self.send(connection, json.dumps(reply | {"error": problem, "symbol": symbol}))
                continue
            self.send(connection, json.dumps(reply | {"result": {"channel": "book", "symbol": symbol}}))
            if method == "unsubscribe":
                del mine[symbol]
                continue
            subscription = self.subscribe(connection, symbol, parameters["depth"])
            _, micros = self.mark(subscription.market)
            self._truth[symbol].append((micros, subscription.market.numbers(subscription.market.best(1000))))
            self.send(connection, self._message("snapshot", subscription, subscription.told, micros))

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        def old(symbol: str) -> str:
            return "/".join({"BTC": "XBT", "DOGE": "XDG"}.get(asset, asset) for asset in symbol.split("/"))

        if path == "/0/public/Time":
            now_s = int(time.time() + self.ahead_s)
            return {"error": [], "result": {"unixtime": now_s, "rfc1123": email.utils.formatdate(now_s)}}
        if path == "/0/public/AssetPairs":
            pairs = {}
            for symbol, market in self.markets.items():
                name = old(symbol).replace("/", "")
                pairs[f"X{name}"] = {"altname": name, "wsname": old(symbol), "aclass_base": "currency", "status": "online",
                                     "pair_decimals": market.tick_decimals, "lot_decimals": market.lot_decimals,
                                     "tick_size": market.price(1), "ordermin": "0.00005", "costmin": "0.5", "fees": []}  # fmt: skip
            return {"error": [], "result": pairs}
        if path == "/0/public/Depth":
            for symbol, market in self.markets.items():
                if asked.get("pair") == old(symbol).replace("/", ""):
                    with self._lock:
                        bids, asks = market.best(int(asked.get("count", "100")))
                    rows = [
                        [[market.price(t), market.quantity(n), int(time.time())] for t, n in side.items()]
                        for side in (bids, asks)
                    ]
                    return {"error": [], "result": {f"X{asked['pair']}": {"bids": rows[0], "asks": rows[1]}}}
            return {"error": ["EQuery:Unknown asset pair"]}
        return {"error": ["EGeneral:Unknown method"]}


class PlainOkx(PlainBookVenue):
    """OKX v5. ``renumber(symbol)``: the ids of a symbol begin anew with its next message. ``sums``: checksums as before
    2026-06-23. ``announce_upgrade``: connections are told to go."""

    path = "/ws/v5/public"
    window = 400

    def __init__(self, **more: Any) -> None:
        super().__init__({"BTC-USDT": (700_000, 1), "PEPE-USDT": (12_000, 9)}, **more)
        self.sums = False
        self._ids = dict.fromkeys(self.markets, 5000)
        self._renumbered: set[str] = set()

    def renumber(self, symbol: str) -> None:
        with self._lock:
            self._renumbered.add(symbol)
            self._truth[symbol].clear()  # its keys begin anew

    def announce_upgrade(self) -> None:
        notice = {"event": "notice", "code": "64008", "msg": "The connection will soon be closed.", "connId": "a1"}
        with self._lock:
            for connection in self._subscribed:
                self.send(connection, json.dumps(notice))

    def keep_alive(self, symbol: str) -> None:
        """As after a minute in which nothing has changed."""
        with self._lock:
            for connection, subscriptions in self._subscribed.items():
                if symbol in subscriptions:
                    mark = (self._ids[symbol], self._ids[symbol])
                    self.send(connection, self.update(subscriptions[symbol], ({}, {}), mark))

    def mark(self, market: Market) -> tuple[int, int]:
        before = self._ids[market.symbol]
        if market.symbol in self._renumbered:
            self._renumbered.discard(market.symbol)
            self._ids[market.symbol] = 7
        else:
            self._ids[market.symbol] += 1 + len(market.bids) % 5
        return before, self._ids[market.symbol]

    def _message(
        self, action: str, subscription: Subscription, sides: tuple[Levels, Levels], mark: tuple[int, int]
    ) -> str:
        market = subscription.market
        bids, asks = (
            [[market.price(t), market.quantity(n) if n else "0", "0", "1" if n else "0"] for t, n in side.items()]
            for side in sides
        )
        entry = {"asks": asks, "bids": bids, "ts": str(self._now_ms()), "checksum": self._checksum(subscription)}
        entry |= {"prevSeqId": mark[0], "seqId": mark[1]}
        return json.dumps({"arg": {"channel": "books", "instId": market.symbol}, "action": action, "data": [entry]})

    def _checksum(self, subscription: Subscription) -> int:
        if not self.sums:
            return 0
        market = subscription.market
        bids, asks = (list(side.items()) for side in market.best(25))
        texts = []
        for place in range(25):
            texts += [
                f"{market.price(s[place][0])}:{market.quantity(s[place][1])}" for s in (bids, asks) if place < len(s)
            ]
        crc = zlib.crc32(":".join(texts).encode())
        return crc - 2**32 if crc >= 2**31 else crc

    def _now_ms(self) -> int:
        return int((time.time() + self.ahead_s) * 1000)

    def update(self, subscription: Subscription, changes: tuple[Levels, Levels], mark: tuple[int, int]) -> str:
        return self._message("update", subscription, changes, mark)

    def take(self, connection: ServerConnection, text: str) -> None:
        if text == "ping":
            self.send(connection, "pong")
            return
        asked = json.loads(text)
        event, given = asked["op"], {"id": asked["id"]} if "id" in asked else {}
        if event not in ("subscribe", "unsubscribe"):
            self.send(connection, json.dumps({"event": "error", "code": "60012", "msg": "Illegal request", **given}))
            return
        mine = self._subscribed[connection]
        for argument in asked["args"]:
            symbol = argument["instId"]
            if argument["channel"] != "books" or symbol not in self.markets:
                message = f"Wrong URL or channel:{argument['channel']},instId:{symbol} doesn't exist."
                self.send(connection, json.dumps({**given, "event": "error", "code": "60018", "msg": message}))
                continue
            self.send(connection, json.dumps({**given, "event": event, "arg": argument, "connId": "a1b2c3d4"}))
            if event == "unsubscribe":
                mine.pop(symbol, None)
            elif symbol not in mine:  # asked for again it is only acknowledged
                subscription = self.subscribe(connection, symbol, self.window)
                mark = (-1, self._ids[symbol])
                self._truth[symbol].append((mark[1], subscription.market.numbers(subscription.market.best(1000))))
                self.send(connection, self._message("snapshot", subscription, subscription.told, mark))

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/api/v5/public/time":
            return {"code": "0", "msg": "", "data": [{"ts": str(self._now_ms())}]}
        if path == "/api/v5/public/instruments" and asked.get("instType") == "SPOT":
            listed = []
            for symbol, market in self.markets.items():
                base, quote = symbol.split("-")
                listed.append({"instType": "SPOT", "instId": symbol, "baseCcy": base, "quoteCcy": quote, "state": "live",
                               "tickSz": market.price(1), "lotSz": market.quantity(1), "minSz": "0.00001"})  # fmt: skip
            return {"code": "0", "msg": "", "data": listed}
        if path == "/api/v5/market/books":
            market_or_none = self.markets.get(asked.get("instId", ""))
            if market_or_none is None:
                return {"code": "51001", "msg": "Instrument ID doesn't exist.", "data": []}
            market = market_or_none
            with self._lock:
                sides = market.best(int(asked.get("sz", "1")))
            bids, asks = ([[market.price(t), market.quantity(n), "0", "1"] for t, n in side.items()] for side in sides)
            return {"code": "0", "msg": "", "data": [{"asks": asks, "bids": bids, "ts": str(self._now_ms())}]}
        return {"code": "50000", "msg": "not here", "data": []}
