"""A Bybit v5 spot venue of the plainest sort, over real sockets: REST, the public and the private stream on three ports.
Written from the reference alone; shares nothing with binmon.

It checks what the venue itself checks (signature over the bytes as sent, clock, arguments, order of the steps) and puts
down in ``complaints`` whatever a client did that it must not do. Where the reference leaves room, ``Habits`` chooses.
It keeps the truth of every book message, so that a recording can be compared with it, and one account to the last digit.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import itertools
import json
import random
import socket
import threading
import time
import urllib.parse
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

Levels = dict[int, int]  # ticks → lots
Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]
"""Bids and asks as numbers, best first."""

DEPTHS = (1, 50, 200, 1000)
_INTERVALS = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")
_CREATE_FIELDS = {
    "category", "symbol", "side", "orderType", "qty", "marketUnit", "price", "timeInForce", "orderLinkId", "isLeverage",
    "orderFilter", "triggerPrice", "slippageToleranceType", "slippageTolerance", "rpiTakerAccess", "smpType",
}  # fmt: skip
_SIGNED_LIMITS = {
    "/v5/order/create": 20, "/v5/order/cancel": 20, "/v5/order/realtime": 50, "/v5/order/history": 50,
    "/v5/execution/list": 50, "/v5/account/wallet-balance": 50, "/v5/account/info": 50, "/v5/account/fee-rate": 5,
    "/v5/user/query-api": 10, "/v5/order/spot-borrow-check": 50, "/v5/account/instruments-info": 10,
}  # fmt: skip


@dataclass(frozen=True)
class Habits:
    """What the reference leaves open, one choice each. The defaults are the plainest."""

    extra: bool = False  # fields that nobody knows, in everything
    bare: bool = False  # what is optional, deprecated or seen only now and then is left out; texts without value are ""
    backwards: bool = False  # keys in the opposite order
    spaced: bool = False  # JSON with spaces
    texts: bool = False  # times that are numbers as texts, and the other way round
    padded: bool = False  # trailing zeros in prices and sizes of streams, and sizes of "0.000" that delete
    data_first: bool = False  # data before the ack of its subscription
    leaving: str = "kept"  # levels that leave the window: "kept" (nothing is said) or "deleted"
    needless: bool = False  # deletes of prices that nobody has heard of
    fragments: bool = False  # messages of the streams in several frames
    ids: str = "digits"  # of orders: 19 "digits", in no order; or "uuid"
    headers: str = "usual"  # rate headers: "usual", "lower" case or "none"
    encoding: str = "plain"  # of bodies: "plain", "chunked", "gzip" (where the client takes it) or "close" (HTTP/1.0)
    fast: str = "pushed"  # execution.fast: "pushed", "silent" (acked, nothing comes) or "refused"
    sequence: tuple[str, ...] = ("execution.fast", "execution", "order", "wallet")
    together: bool = True  # several fills in one push
    steps: bool = False  # a push of the order for each fill, not only at its end
    neighbours: bool = False  # the account trades elsewhere, too; its pushes come in the same messages
    ends_filled: bool = False  # buys for a quote amount end "Filled"
    forgets_closed: bool = False  # /v5/order/realtime does not know closed orders
    history_lag_ms: int = 0  # until /v5/order/history knows an order
    unserved: tuple[str, ...] = ()  # symbols that are listed, and whose topics are refused
    strict_paths: bool = True  # streams only under their documented paths


@dataclass(frozen=True)
class Plan:
    """What happens to one order. ``push_ms`` and ``answer_ms`` from its placing; ``code``: refused by the answer."""

    push_ms: int = 5
    answer_ms: int = 0
    lost: bool = False  # nothing is pushed
    code: int = 0
    rejected_later: bool = False  # accepted, and then nothing to trade with
    answer: str = "usual"  # "usual", "cut" (connection ends), "502", "timeout_code" (170007), "10000"
    vanishes: bool = False  # never placed; makes sense with an answer that does not tell


class Market:
    """The whole book of one symbol, in ticks and lots; bids below asks."""

    def __init__(
        self, base: str, quote: str, middle: int, *, tick: str, step: str, rng: random.Random, least: int = 1300
    ) -> None:
        self.base, self.quote, self.symbol = base, quote, base + quote
        self.tick, self.step = Decimal(tick), Decimal(step)
        self._middle, self._rng, self._least = middle, rng, least
        self.bids: Levels = {middle - n: self._lots() for n in range(1, least + 1)}
        self.asks: Levels = {middle + n: self._lots() for n in range(1, least + 1)}

    def _lots(self) -> int:
        return self._rng.randrange(1, 10**7)

    def move(self) -> None:
        """Levels change near the top and far below; the middle wanders, so that levels leave windows and come back."""
        rng, reach = self._rng, max(3, min(70, self._least))
        self._middle += rng.choice((-3, -1, 0, 0, 1, 3))
        for _ in range(rng.randrange(1, 8)):
            distance = rng.randrange(1, reach if rng.random() < 0.8 else self._least + 1)
            for levels, ticks in ((self.bids, self._middle - distance), (self.asks, self._middle + distance)):
                if rng.random() < 0.4:
                    levels.pop(ticks, None)
                elif rng.random() < 0.8:
                    levels[ticks] = self._lots()
        for levels, crossed in ((self.bids, 1), (self.asks, -1)):
            for ticks in [ticks for ticks in levels if (ticks - self._middle) * crossed >= 0]:
                del levels[ticks]
            while len(levels) < max(2, self._least - 100):
                levels[self._middle - crossed * rng.randrange(1, self._least + 200)] = self._lots()

    def best(self, window: int) -> tuple[Levels, Levels]:
        bids = dict(sorted(self.bids.items(), reverse=True)[:window])
        return bids, dict(sorted(self.asks.items())[:window])

    def price(self, ticks: int, zeros: int = 0) -> str:
        return _trimmed(self.tick * ticks, zeros)

    def quantity(self, lots: int, zeros: int = 0) -> str:
        return _trimmed(self.step * lots, zeros)

    def numbers(self, sides: tuple[Levels, Levels]) -> Sides:
        bids, asks = ([(float(self.price(t)), float(self.quantity(n))) for t, n in side.items()] for side in sides)
        return bids, asks


def _trimmed(number: Decimal, zeros: int = 0) -> str:
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if zeros:
        text += ("" if "." in text else ".") + "0" * zeros
    return text


class Depth:
    """One stream of one book: its own ids, what was last told, and what was true at each id."""

    def __init__(self, market: Market, depth: int, first: int) -> None:
        self.market, self.depth, self.u = market, depth, first
        self.told = market.best(depth)
        self.is_told = False  # to anybody: only then its truth is kept
        self._truth: dict[int, list[tuple[Levels, Levels]]] = {}  # several where the ids began anew

    def note(self) -> None:
        if self.is_told:
            self._truth.setdefault(self.u, []).append(self.told)

    def truth(self, u: int) -> list[Sides]:
        return [self.market.numbers(sides) for sides in self._truth[u]]

    def changes(self, deletes_leaving: bool) -> tuple[Levels, Levels]:
        """What a delta says, and on to the next id when it says something."""
        now = self.market.best(self.depth)
        whole = (self.market.bids, self.market.asks)
        said = tuple(
            {t: 0 for t in told if t not in window and (deletes_leaving or t not in levels)}
            | {t: lots for t, lots in window.items() if told.get(t) != lots}
            for told, window, levels in zip(self.told, now, whole, strict=True)
        )
        changed = now != self.told
        self.told = now
        if changed:
            self.u += 1
            self.note()
        return said if changed else ({}, {})  # type: ignore[return-value]


@dataclass(frozen=True)
class Refusal(Exception):
    """A business error: HTTP 200 and this code."""

    code: int
    text: str


class Client:
    """One connection to a stream."""

    def __init__(self, socket: ServerConnection, kind: str) -> None:
        self.socket, self.kind = socket, kind
        self.topics: list[str] = []
        self.authorized = False
        self.id = f"d0plain{uuid.uuid4().hex[:12]}-ab1c" if random.random() < 0.5 else str(uuid.uuid4())
        self.pinged_s = time.monotonic()


class PlainBybit:
    """``habits``: how it speaks. ``plans``: what happens to orders, by their number from 1.

    ``complaints`` has what the client did wrong; ``posted`` the link ids of orders in the order they came; ``asked`` every
    request; ``refusing`` a status and body for every REST request from now on; ``codes`` a retCode for the next request
    to a path, once each.
    """

    PING_WITHIN_S = 38.0  # one is sent every 20 s, and a busy machine may be late; two may not be missing

    def __init__(
        self, habits: Habits | None = None, *, plans: dict[int, Plan] | None = None, per_second: float = 20.0,
        ahead_ms: int = 0, thin: bool = True,
    ) -> None:  # fmt: skip
        self.habits, self.plans, self.per_second, self.ahead_ms = habits or Habits(), plans or {}, per_second, ahead_ms
        rng = self._rng = random.Random(11)
        markets = [
            Market("BTC", "USDT", 700_012, tick="0.1", step="0.000001", rng=rng),
            Market("ETH", "USDT", 350_345, tick="0.01", step="0.00001", rng=rng),
            Market("PEPE", "USDC", 81_234, tick="0.0000000001", step="0.1", rng=rng, least=400),
        ]
        if thin:
            markets.append(Market("THIN", "USDT", 4_321, tick="0.001", step="0.01", rng=rng, least=4))
        self.markets = {market.symbol: market for market in markets}
        self.api_key, self.api_secret = "PlainKey" + "k" * 10, "PlainSecret" + "s" * 25
        self.balances = {"BTC": Decimal("10"), "ETH": Decimal("100"), "USDT": Decimal("1000000.25"), "MNT": Decimal(0)}
        self.complaints: list[str] = []
        self.posted: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.unheard: list[str] = []  # orders that came while nobody listened
        self.orders: dict[str, dict[str, Any]] = {}  # by link id
        self.fills: list[dict[str, Any]] = []
        self.refusing: tuple[int, str] | None = None
        self.codes: dict[str, list[int]] = {}
        self.slow_s = 0.0
        self.pause = False
        self.sent = self.requests = 0
        self.pings = {"public": 0, "private": 0}
        self.seq = 98_765_432_101
        self._depths: dict[tuple[str, int], Depth] = {
            (symbol, depth): Depth(market, depth, 812_001 + 10_000_000 * place + 1_000_000 * index)
            for index, (symbol, market) in enumerate(self.markets.items())
            for place, depth in enumerate(DEPTHS)
        }
        self._to_lose: dict[str, int] = {}
        self._used = {symbol: {1000} for symbol in self.markets}
        self._clients: list[Client] = []
        self._exec_ids = itertools.count(2_290_000_001_234_567_891)
        self._messages = itertools.count(1)
        self._calls: dict[str, deque[float]] = {}
        self._all_calls: deque[float] = deque()
        self._lock = threading.RLock()  # guards all of the above
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._servers: list[Server] = [
            serve(lambda one: self._serve(one, "public"), "127.0.0.1", 0, ping_interval=None),
            serve(lambda one: self._serve(one, "private"), "127.0.0.1", 0, ping_interval=None),
        ]
        public, private = (server.socket.getsockname()[1] for server in self._servers)
        self.rest_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.public_url = f"ws://127.0.0.1:{public}/v5/public/spot"
        self.private_url = f"ws://127.0.0.1:{private}/v5/private"

    # Life -------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for work in (self._http.serve_forever, *(server.serve_forever for server in self._servers), self._move):
            self._begin(work)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        for server in self._servers:
            server.shutdown()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    @property
    def endpoints(self) -> dict[str, str]:
        """For ``venues.bybit.endpoints`` of a configuration."""
        return {"rest": self.rest_url, "public_stream": self.public_url, "private_stream": self.private_url}

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    # Faults and truth -------------------------------------------------------------------------------------------------

    def truth_at(self, symbol: str, depth: int, u: int) -> list[Sides]:
        """What was true at this id; several where the ids have begun anew since."""
        with self._lock:
            return self._depths[symbol, depth].truth(u)

    def lose(self, symbol: str, count: int = 1) -> None:
        """The next messages of the book of a symbol reach nobody."""
        with self._lock:
            self._to_lose[symbol] = count

    def snapshot(self, symbol: str, *, restarted: bool = False, as_delta: bool = False, again: bool = False) -> None:
        """An unannounced snapshot; ``again``: of the same id as the message before; ``restarted``: its id is 1."""
        with self._lock:
            for (name, depth), stream in self._depths.items():
                if name == symbol:
                    if restarted:
                        stream.u = 0
                    if not again:
                        stream.told = stream.market.best(depth)
                        stream.u += 1
                        stream.note()
                    text = self._book(stream, stream.told, "delta" if as_delta else "snapshot")
                    self._to_all(f"orderbook.{depth}.{symbol}", text)

    def repeat(self, symbol: str) -> None:
        """The message that changes nothing, once more: an id that was already told."""
        with self._lock:
            for (name, depth), stream in self._depths.items():
                if name == symbol:
                    self._to_all(f"orderbook.{depth}.{symbol}", self._book(stream, ({}, {}), "delta"))

    def empty_side(self, symbol: str) -> None:
        """Nobody sells any more, until the market moves."""
        with self._lock:
            self.pause = True
            self.markets[symbol].asks.clear()
            self._publish(self.markets[symbol])

    def disconnect(self, kind: str, *, abruptly: bool = False) -> None:
        with self._lock:
            clients = [client for client in self._clients if client.kind == kind]
        for client in clients:
            if abruptly:
                # at once, also while its own thread reads from it
                with contextlib.suppress(OSError):
                    client.socket.socket.shutdown(socket.SHUT_RDWR)
                client.socket.socket.close()
            else:
                client.socket.close(1001, "going away")

    def listening(self, kind: str) -> int:
        with self._lock:
            return sum(bool(client.topics) for client in self._clients if client.kind == kind)

    # JSON -------------------------------------------------------------------------------------------------------------

    def written(self, content: Any) -> str:
        content = self._arranged(content)
        return json.dumps(content) if self.habits.spaced else json.dumps(content, separators=(",", ":"))

    def _arranged(self, content: Any) -> Any:
        if isinstance(content, list):
            return [self._arranged(one) for one in content]
        if not isinstance(content, dict):
            return content
        pairs = [(key, self._arranged(value)) for key, value in content.items()]
        if self.habits.extra:
            pairs.insert(0, ("aNewField", {"topic": "x", "data": [1.5, None], "u": 1, "b": []}))
        return dict(reversed(pairs)) if self.habits.backwards else dict(pairs)

    def _moment(self, at_ms: int) -> Any:
        """A time that is usually a number."""
        return str(at_ms) if self.habits.texts else at_ms

    def _time_text(self, at_ms: int) -> Any:
        """A time that is usually a text."""
        return at_ms if self.habits.texts else str(at_ms)

    # Streams ----------------------------------------------------------------------------------------------------------

    def _send(self, client: Client, content: Any) -> None:
        text = content if isinstance(content, str) else self.written(content)
        try:
            if self.habits.fragments and len(text) > 20:
                third = len(text) // 3
                client.socket.send([text[:third], text[third : 2 * third], text[2 * third :]])
            else:
                client.socket.send(text)
        except (ConnectionClosed, OSError):
            pass  # its own thread sees the end

    def _to_all(self, topic: str, text: str) -> None:
        for client in self._clients:
            if topic in client.topics:
                self.sent += 1
                self._send(client, text)

    def _serve(self, socket: ServerConnection, kind: str) -> None:
        assert socket.request is not None
        path = socket.request.path.partition("?")[0]
        if self.habits.strict_paths and path != ("/v5/public/spot" if kind == "public" else "/v5/private"):
            self._complain(f"{kind} stream at {socket.request.path}")
            socket.close(1008, "unknown path")
            return
        client = Client(socket, kind)
        with self._lock:
            self._clients.append(client)
        try:
            for text in socket:
                with self._lock:
                    self._take(client, text)
        except (ConnectionClosed, OSError):
            pass  # without a close frame
        finally:
            with self._lock:
                self._clients.remove(client)

    def _take(self, client: Client, text: str | bytes) -> None:
        if not isinstance(text, str):
            self._complain("a binary message")
            return
        request = json.loads(text)
        op = request.get("op")
        answer: dict[str, Any] = {"success": True, "ret_msg": "", "conn_id": client.id, "op": op}
        if "req_id" in request:
            answer["req_id"] = request["req_id"]
        later: list[str] = []
        if op == "ping":
            client.pinged_s = time.monotonic()
            self.pings[client.kind] += 1
            if client.kind == "private":
                answer = {"op": "pong", "args": [str(self.now_ms())], "conn_id": client.id} | {
                    key: value for key, value in answer.items() if key == "req_id"
                }
            else:
                answer["ret_msg"] = "pong"
        elif op == "auth" and client.kind == "private":
            answer |= self._authorize(client, request.get("args"))
        elif op in ("subscribe", "unsubscribe"):
            why = self._why_not(client, op, request.get("args"))
            if why is not None:
                if not why.startswith("error:handler not found"):  # what a client cannot know
                    self._complain(f"{text}: {why}")
                answer |= {"success": False, "ret_msg": why}
            elif op == "subscribe":
                answer["ret_msg"] = "subscribe" if client.kind == "public" else ""
                client.topics += request["args"]
                later = self._first(client, request["args"])
            else:
                client.topics = [one for one in client.topics if one not in request["args"]]
        else:
            self._complain(f"{client.kind}: {text}")
            answer |= {"success": False, "ret_msg": "error:invalid op"}
        if self.habits.bare:
            answer.pop("conn_id", None)
        messages = [self.written(answer), *later]
        if self.habits.data_first:
            messages = [*later, messages[0]]
        for message in messages:
            self._send(client, message)

    def _authorize(self, client: Client, args: Any) -> dict[str, Any]:
        bad = {"success": False, "ret_msg": "Params Error"}
        if not isinstance(args, list) or len(args) != 3 or args[0] != self.api_key:
            self._complain(f"auth {args!r}")
            return bad
        expires = str(args[1])
        if not expires.isdecimal() or int(expires) <= self.now_ms():
            self._complain(f"auth that has expired: {expires} at {self.now_ms()}")
            return bad
        if not hmac.compare_digest(self._signature(f"GET/realtime{expires}"), str(args[2])):
            self._complain("auth with a wrong signature")
            return bad
        client.authorized = True
        return {}

    def _signature(self, text: str) -> str:
        return hmac.new(self.api_secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def _why_not(self, client: Client, op: str, args: Any) -> str | None:
        if not isinstance(args, list) or not args or not all(isinstance(one, str) for one in args):
            return "error:invalid args"
        if client.kind == "private" and not client.authorized:
            return "Request not authorized"
        if op == "unsubscribe":
            return None
        if len(args) > 10:
            return "args size >10"
        if sum(map(len, client.topics)) + sum(map(len, args)) > 21_000:
            return "args too long"
        for topic in args:
            if not self._is_topic(client.kind, topic):
                return f"error:handler not found,topic:{topic}"
            if topic in client.topics:
                return f"error:already subscribed,topic:{topic}"
        forms = {one.endswith(".spot") for one in args if not one.startswith("wallet")}
        if client.kind == "private" and len(forms) > 1:
            return "error:topics of a category and plain ones"
        return None

    def _is_topic(self, kind: str, topic: str) -> bool:
        if kind == "private":
            plain = topic.removesuffix(".spot")
            if plain == "execution.fast" and self.habits.fast == "refused":
                return False
            return plain in ("order", "execution", "execution.fast") or topic == "wallet"
        match topic.split("."):
            case ["orderbook", depth, symbol]:
                return symbol in self.markets and symbol not in self.habits.unserved and depth in map(str, DEPTHS)
            case ["publicTrade" | "tickers", symbol]:
                return symbol in self.markets
            case ["kline", interval, symbol]:
                return symbol in self.markets and interval in _INTERVALS
        return False

    def _first(self, client: Client, topics: list[str]) -> list[str]:
        found = []
        for topic in topics:
            if client.kind == "public" and topic.startswith("orderbook."):
                _, depth, symbol = topic.split(".")
                self._used[symbol].add(int(depth))
                stream = self._depths[symbol, int(depth)]
                if not stream.is_told:
                    stream.is_told, stream.told = True, stream.market.best(int(depth))
                    stream.u += 1
                    stream.note()
                found.append(self._book(stream, stream.told, "snapshot"))
        return found

    def _book(self, stream: Depth, sides: tuple[Levels, Levels], kind: str) -> str:
        self.seq += self._rng.randrange(1, 9)
        at_ms, market = self.now_ms(), stream.market
        bids, asks = (
            [[market.price(t, self._zeros()), market.quantity(lots, self._zeros())] for t, lots in side.items()]
            for side in sides
        )
        data: dict[str, Any] = {"s": market.symbol, "b": bids, "a": asks, "u": stream.u, "seq": self.seq}
        content: dict[str, Any] = {"topic": f"orderbook.{stream.depth}.{market.symbol}", "ts": self._moment(at_ms)}
        content |= {"type": kind, "data": data, "cts": self._moment(at_ms - 3)}
        if self.habits.bare:
            del data["seq"], content["cts"]
        return self.written(content)

    def _zeros(self) -> int:
        return self._rng.randrange(1, 3) if self.habits.padded else 0

    def _move(self) -> None:
        while not self._stop.wait(1 / self.per_second):
            with self._lock:
                if not self.pause:
                    for market in self.markets.values():
                        market.move()
                        self._publish(market)
                for client in self._clients:
                    if time.monotonic() - client.pinged_s > self.PING_WITHIN_S:
                        self._complain(f"{client.kind}: no ping for {self.PING_WITHIN_S:.0f} s")
                        client.pinged_s = time.monotonic()

    def _publish(self, market: Market) -> None:
        is_lost = self._to_lose.get(market.symbol, 0) > 0
        counted = False
        for depth in sorted(self._used[market.symbol]):
            stream = self._depths[market.symbol, depth]
            said = stream.changes(self.habits.leaving == "deleted")
            if not any(said):
                continue
            topic = f"orderbook.{depth}.{market.symbol}"
            if is_lost:
                counted = counted or any(topic in client.topics for client in self._clients)
                continue
            if depth == 1:
                self._to_all(topic, self._book(stream, stream.told, "snapshot"))
                continue
            if self.habits.needless and self._rng.random() < 0.3:
                said[0].setdefault(min(market.bids) - 5, 0)
                said[1].setdefault(max(market.asks) + 5, 0)
            self._to_all(topic, self._book(stream, said, "delta"))
        if counted:
            self._to_lose[market.symbol] -= 1

    def trade(self, symbol: str, price: str, size: str, side: str = "Buy") -> None:
        with self._lock:
            one = {"i": str(next(self._exec_ids)), "T": self.now_ms(), "p": price, "v": size, "S": side}
            one |= {"seq": self.seq, "s": symbol, "BT": False, "RPI": False}
            topic = f"publicTrade.{symbol}"
            self._to_all(topic, self.written({"topic": topic, "ts": self.now_ms(), "type": "snapshot", "data": [one]}))

    # REST -------------------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str, dict[str, str]]:
        """Status, body and further headers."""
        if self.slow_s:
            self._stop.wait(self.slow_s)
        path, _, query = target.partition("?")
        self.requests += 1
        with self._lock:
            now_s = time.monotonic()
            self._all_calls.append(now_s)
            while self._all_calls[0] < now_s - 5:
                self._all_calls.popleft()
            if len(self._all_calls) > 600:
                self._complain("600 requests in 5 s")
                return 403, "access too frequent", {}
            if self.refusing is not None:
                return self.refusing[0], self.refusing[1], {}
            if method == "GET" and body:
                self._complain(f"GET {path} with a body")
                return 403, "request blocked", {}
            asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
            self.asked.append((method, path, asked))
        work = self._public.get(path) if method == "GET" else None
        signed = self._signed.get((method, path))
        if work is None and signed is None:
            self._complain(f"{method} {target}")
            return 404, "404 page not found", {}
        further: dict[str, str] = {}
        try:
            with self._lock:
                if self.codes.get(path):
                    raise Refusal(self.codes[path].pop(0), "Too many visits. Exceeded the API Rate Limit.")
                if work is not None:
                    return 200, self._envelope(work(self, asked)), {}
                assert signed is not None
                if not all(name in headers for name in ("x-bapi-api-key", "x-bapi-timestamp", "x-bapi-sign")):
                    self._complain(f"{path} without its headers")
                    return 401, "", {}
                payload = query if method == "GET" else body.decode()
                self._check(headers, payload)
                further = self._counted(path)
                if method == "POST":
                    kind = headers.get("content-type", "")
                    if kind.partition(";")[0].strip() != "application/json":
                        self._complain(f"content type {kind!r}")
                        raise Refusal(10001, "Request parameter error.")
                    asked = json.loads(body)
                    self.bodies.append(asked)
            return 200, self._envelope(signed(self, asked)), further
        except Refusal as refusal:
            return 200, self._envelope({}, refusal.code, refusal.text), further
        except BrokenPipeError:
            return 0, "", {}
        except _Status as status:
            return status.status, "<html>bad gateway</html>", {}

    def _envelope(self, result: Any, code: int = 0, text: str = "OK") -> str:
        if code == 0:
            text = self._rng.choice(("OK", "success", "SUCCESS", ""))
        content: dict[str, Any] = {"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}}
        if code and self.habits.bare:
            content["result"] = None
        content["time"] = self._moment(self.now_ms())
        if self.habits.bare:
            del content["retExtInfo"], content["time"]
        return self.written(content)

    def _check(self, headers: dict[str, str], payload: str) -> None:
        key, at, window = (headers.get(f"x-bapi-{name}", "") for name in ("api-key", "timestamp", "recv-window"))
        now_ms = self.now_ms()
        if not at.isdecimal() or (window and not window.isdecimal()):
            self._complain(f"timestamp {at!r}, window {window!r}")
            raise Refusal(10001, "params error")
        if not now_ms - int(window or 5000) <= int(at) < now_ms + 1000:
            self._complain(f"clock: {at} at {now_ms}")
            text = "invalid request, please check your server timestamp or recv_window param. "
            raise Refusal(10002, f"{text}req_timestamp[{at}],server_timestamp[{now_ms}],recv_window[{window or 5000}]")
        if key != self.api_key:
            self._complain("unknown key")
            raise Refusal(10003, "API key is invalid.")
        signed = f"{at}{key}{window or 5000}{payload}"
        if not hmac.compare_digest(self._signature(signed), headers["x-bapi-sign"]):
            self._complain("wrong signature")
            raise Refusal(10004, f"error sign! origin_string[{signed}]")

    def _counted(self, path: str) -> dict[str, str]:
        limit, calls, now_s = _SIGNED_LIMITS[path], self._calls.setdefault(path, deque()), time.monotonic()
        while calls and calls[0] <= now_s - 1:
            calls.popleft()
        is_over = len(calls) >= limit
        if not is_over:
            calls.append(now_s)
        reset_ms = self.now_ms() + (int((calls[0] + 1 - now_s) * 1000) if is_over else 0)
        values = {"X-Bapi-Limit": limit, "X-Bapi-Limit-Status": limit - len(calls)}
        values["X-Bapi-Limit-Reset-Timestamp"] = reset_ms
        if is_over:
            self._complain(f"over the limit of {path}")
            raise Refusal(10006, "Too many visits. Exceeded the API Rate Limit.")
        if self.habits.headers == "none":
            return {}
        return {name.lower() if self.habits.headers == "lower" else name: str(one) for name, one in values.items()}

    def _spot(self, asked: dict[str, Any], *required: str, allowed: tuple[str, ...] = ()) -> None:
        if asked.get("category") != "spot":
            self._complain(f"category {asked.get('category')!r}")
            raise Refusal(10001, "params error: category")
        for name in required:
            if not asked.get(name):
                self._complain(f"no {name}")
                raise Refusal(10001, f"params error: {name}")
        if asked.get("symbol") is not None and asked["symbol"] not in self.markets:
            raise Refusal(170121, "Invalid symbol.")

    def _time(self, asked: dict[str, str]) -> Any:
        now_ns = time.time_ns() + self.ahead_ms * 1_000_000
        return {"timeSecond": str(now_ns // 10**9), "timeNano": str(now_ns)}

    def _instruments(self, asked: dict[str, str]) -> Any:
        self._spot(asked)
        found = []
        for index, market in enumerate(self.markets.values()):
            lots: dict[str, Any] = {"basePrecision": _trimmed(market.step), "quotePrecision": "0.0000001"}
            lots |= {"minOrderQty": "0.000011", "maxOrderQty": "80", "minOrderAmt": "5", "maxOrderAmt": "7000000"}
            lots |= {"maxLimitOrderQty": "80000000", "maxMarketOrderQty": "40000000", "postOnlyMaxLimitOrderSize": "5"}
            one: dict[str, Any] = {"symbolId": index, "symbol": market.symbol, "baseCoin": market.base}
            one |= {"quoteCoin": market.quote, "innovation": "0", "status": "Trading", "marginTrading": "utaOnly"}
            one |= {"stTag": "0", "lotSizeFilter": lots, "priceFilter": {"tickSize": _trimmed(market.tick)}}
            one |= {"riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"}, "symbolType": ""}
            if self.habits.bare:
                for name in ("minOrderQty", "maxOrderQty", "maxOrderAmt", "postOnlyMaxLimitOrderSize"):
                    del lots[name]
                for name in ("symbolId", "innovation", "marginTrading", "stTag", "riskParameters", "symbolType"):
                    del one[name]
            if asked.get("symbol") in (None, market.symbol):
                found.append(one)
        return {"category": "spot", "list": found}

    def _tickers(self, asked: dict[str, str]) -> Any:
        self._spot(asked)
        found = []
        for market in self.markets.values():
            (bid, bid_lots), (ask, ask_lots) = (next(iter(side.items())) for side in market.best(1))
            price = market.price(ask)
            one = {"symbol": market.symbol, "bid1Price": market.price(bid), "bid1Size": market.quantity(bid_lots)}
            one |= {"ask1Price": price, "ask1Size": market.quantity(ask_lots), "lastPrice": price}
            if not self.habits.bare:
                one |= {"prevPrice24h": price, "price24hPcnt": "0.0129", "highPrice24h": price, "lowPrice24h": price}
                one |= {"turnover24h": "8012.12345678", "volume24h": "11502.33", "usdIndexPrice": ""}
            if asked.get("symbol") in (None, market.symbol):
                found.append(one)
        return {"category": "spot", "list": found}

    def _order_book(self, asked: dict[str, str]) -> Any:
        self._spot(asked, "symbol")
        limit = asked.get("limit", "1")
        if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            self._complain(f"limit {limit}")
            raise Refusal(10001, "params error: limit")
        stream = self._depths[asked["symbol"], 1000]
        bids, asks = (
            [[stream.market.price(t), stream.market.quantity(lots)] for t, lots in list(side.items())[: int(limit)]]
            for side in stream.told
        )
        now_ms = self.now_ms()
        found = {"s": asked["symbol"], "a": asks, "b": bids, "ts": self._moment(now_ms), "u": stream.u, "seq": self.seq}
        return found if self.habits.bare else found | {"cts": self._moment(now_ms - 3)}

    def _candles(self, asked: dict[str, str]) -> Any:
        self._spot(asked, "symbol", "interval")
        step, now_ms = 60_000, self.now_ms()
        count, price = (
            int(asked.get("limit", "200")),
            self.markets[asked["symbol"]].price(next(iter(self.markets[asked["symbol"]].best(1)[0]))),
        )
        first = now_ms // step * step
        rows = [[str(first - n * step), price, price, price, price, "1", price] for n in range(count)]
        return {"category": "spot", "symbol": asked["symbol"], "list": rows}

    def _recent(self, asked: dict[str, str]) -> Any:
        self._spot(asked, "symbol")
        return {"category": "spot", "list": []}

    def _wallet(self, asked: dict[str, str]) -> Any:
        if asked.get("accountType") != "UNIFIED":
            self._complain(f"account type {asked.get('accountType')!r}")
            raise Refusal(10001, "accountType only support UNIFIED.")
        wanted = asked.get("coin")
        with self._lock:
            coins = [self._coin(n, a) for n, a in self.balances.items() if (n in wanted.split(",") if wanted else a)]
        totals = ("accountIMRate", "totalEquity", "totalWalletBalance", "totalMarginBalance", "totalAvailableBalance")
        account: dict[str, Any] = {"accountType": "UNIFIED"}
        account |= dict.fromkeys(totals, "" if self.habits.bare else "10123.44")
        return {"list": [account | {"coin": coins}]}

    def _coin(self, name: str, amount: Decimal) -> dict[str, Any]:
        found: dict[str, Any] = {
            "coin": name,
            "equity": _trimmed(amount),
            "usdValue": "",
            "walletBalance": f"{amount:f}",
        }
        found |= {"locked": "0", "borrowAmount": "0", "availableToWithdraw": "", "availableToBorrow": ""}
        found |= {"bonus": "0", "unrealisedPnl": "0", "collateralSwitch": True, "marginCollateral": True}
        if self.habits.bare:
            found |= {"locked": "", "borrowAmount": "", "bonus": "", "unrealisedPnl": ""}
        return found

    def _fees(self, asked: dict[str, str]) -> Any:
        self._spot(asked)
        names = [asked["symbol"]] if asked.get("symbol") else list(self.markets)
        rows = [{"symbol": name, "takerFeeRate": "0.0010", "makerFeeRate": "0.001"} for name in names]
        return {"category": "spot", "list": rows} if not self.habits.bare else {"list": rows}

    def _key(self, asked: dict[str, str]) -> Any:
        return {"id": "13770661", "note": "", "apiKey": self.api_key, "readOnly": 0, "secret": "", "uta": 1,
                "permissions": {"Spot": ["SpotTrade"], "Wallet": []}, "ips": ["*"], "userID": 24617703,
                "expiredAt": "2027-05-15T03:21:05Z", "createdAt": "2026-02-16T03:21:05Z"}  # fmt: skip

    def _info(self, asked: dict[str, str]) -> Any:
        return {"unifiedMarginStatus": 5, "marginMode": "REGULAR_MARGIN", "spotHedgingStatus": "OFF"}

    # Orders -----------------------------------------------------------------------------------------------------------

    def _create(self, asked: dict[str, Any]) -> Any:
        unknown = set(asked) - _CREATE_FIELDS
        if unknown:
            self._complain(f"unknown {unknown}")
            raise Refusal(170003, "An unknown parameter was sent.")
        link = asked.get("orderLinkId", "")
        with self._lock:
            self.posted.append(link)
            plan = self.plans.get(len(self.posted), Plan())
            self._spot(asked, "symbol", "side", "orderType", "qty")
            if plan.code:
                raise Refusal(plan.code, "Insufficient balance.")
            listeners = [client for client in self._clients if client.kind == "private" and client.topics]
            if not listeners:
                self.unheard.append(link)
            order = None if plan.vanishes else self._placed(asked, link, plan)
        if order is not None and not plan.lost:

            def push() -> None:
                self._stop.wait(plan.push_ms / 1000)
                with self._lock:
                    self._push(order)

            if plan.push_ms == 0:
                push()
            else:
                self._begin(push)
        if plan.answer_ms:
            self._stop.wait(plan.answer_ms / 1000)
        if plan.answer == "cut":
            raise BrokenPipeError
        if plan.answer == "502":
            raise _Status(502)
        if plan.answer in ("timeout_code", "10000"):
            raise Refusal(170007 if plan.answer == "timeout_code" else 10000, "Timeout waiting for response.")
        return {"orderId": order["orderId"] if order else "1", "orderLinkId": link}

    def _placed(self, asked: dict[str, Any], link: str, plan: Plan) -> dict[str, Any]:
        for name in ("symbol", "side", "orderType", "qty"):
            if not isinstance(asked[name], str):
                self._complain(f"{name} is no text")
                raise Refusal(10001, f"params error: {name}")
        if not link or len(link) > 36 or not all(one.isalnum() or one in "-_" for one in link):
            self._complain(f"orderLinkId {link!r}")
            raise Refusal(10001, "params error: orderLinkId")
        if link in self.orders:
            self._complain(f"{link} twice")
            raise Refusal(170141, "Duplicate clientOrderId.")
        if asked["orderType"] != "Market" or asked["side"] not in ("Buy", "Sell"):
            raise Refusal(170116, "Invalid orderType.")
        if asked.get("marketUnit") not in ("baseCoin", "quoteCoin"):
            self._complain("no marketUnit")
        unit = asked.get("marketUnit") or ("quoteCoin" if asked["side"] == "Buy" else "baseCoin")
        market, is_buy, amount = self.markets[asked["symbol"]], asked["side"] == "Buy", Decimal(asked["qty"])
        grain = market.step if unit == "baseCoin" else Decimal("0.0000001")
        if amount % grain:
            self._complain(f"too many decimals: {amount}")
            raise Refusal(170137 if unit == "baseCoin" else 170148, "Order quantity has too many decimals.")
        fills, base, quote = [], Decimal(0), Decimal(0)
        for ticks, lots in market.best(1000)[is_buy].items():
            price = market.tick * ticks
            left = amount - base if unit == "baseCoin" else (amount - quote) / price
            here = min(
                left,
                market.step * lots,
                (amount / 2).quantize(market.step) if not fills and unit == "baseCoin" else left,
            )
            here = here.quantize(market.step, rounding=ROUND_DOWN)
            if here <= 0:
                break
            fills.append((price, here))
            base, quote = base + here, quote + here * price
        value = amount if unit == "quoteCoin" else amount * fills[0][0] if fills else Decimal(0)
        if value < 5:
            self._complain(f"a value of {value}")
            raise Refusal(170140, "Order value exceeded lower limit.")
        pays = market.quote if is_buy else market.base
        if self.balances.get(pays, Decimal(0)) < (quote if is_buy else base):
            raise Refusal(170131, "Insufficient balance.")
        if plan.rejected_later:
            fills, base, quote = [], Decimal(0), Decimal(0)
        return self._noted(asked, link, market, unit, fills)

    def _noted(
        self, asked: dict[str, Any], link: str, market: Market, unit: str, fills: list[tuple[Decimal, Decimal]]
    ) -> dict[str, Any]:
        at_ms, is_buy, amount = self.now_ms(), asked["side"] == "Buy", Decimal(asked["qty"])
        number = str(self._rng.randrange(10**18, 10**19))
        if self.habits.ids == "uuid":
            number = str(uuid.uuid4())
        elif len(self.orders) == 1:
            number = "9" * 19  # the largest of 19 digits, and more than 63 bits
        base, quote = sum((size for _, size in fills), Decimal(0)), sum((p * size for p, size in fills), Decimal(0))
        coin = market.base if is_buy else market.quote
        fee = sum(((size if is_buy else p * size) for p, size in fills), Decimal(0)) * Decimal("0.001")
        is_whole = (base == amount) if unit == "baseCoin" else self.habits.ends_filled
        status = ("Filled" if is_whole else "PartiallyFilledCanceled") if fills else "Cancelled"
        reason = (
            "EC_NoError" if is_whole and fills else "EC_CancelForNoFullFill" if fills else "EC_NoImmediateQtyToFill"
        )
        order: dict[str, Any] = {"orderId": number, "orderLinkId": link, "blockTradeId": "", "symbol": market.symbol}
        order |= {"price": "0", "qty": asked["qty"], "side": asked["side"], "isLeverage": "0", "positionIdx": 0}
        order |= {"orderStatus": status, "cancelType": "UNKNOWN", "rejectReason": reason}
        order |= {"avgPrice": f"{quote / base:.9f}" if fills else "", "leavesQty": "0.000000", "orderType": "Market"}
        order |= {"leavesValue": f"{amount - quote:f}" if unit == "quoteCoin" and not is_whole else "0"}
        order |= {
            "cumExecQty": f"{base:f}",
            "cumExecValue": f"{quote:f}",
            "cumExecFee": f"{fee:f}",
            "timeInForce": "IOC",
        }
        order |= {"stopOrderType": "", "marketUnit": unit, "slippageToleranceType": "UNKNOWN", "triggerPrice": "0.0"}
        order |= {"createdTime": self._time_text(at_ms), "updatedTime": self._time_text(at_ms + 2), "reduceOnly": False}
        order |= {"cumFeeDetail": {coin: f"{fee:f}"} if fills else {}}
        made = []
        left = amount if unit == "baseCoin" else Decimal(0)
        for price, size in fills:
            paid = (size if is_buy else price * size) * Decimal("0.001")
            left = max(Decimal(0), left - size)
            one = {"symbol": market.symbol, "orderType": "Market", "orderLinkId": link, "side": asked["side"]}
            one |= {
                "orderId": number,
                "leavesQty": f"{left:f}",
                "execTime": self._time_text(at_ms),
                "feeCurrency": coin,
            }
            one |= {"isMaker": False, "execFee": f"{paid:f}", "feeRate": "0.001", "execId": str(next(self._exec_ids))}
            one |= {"execPrice": _trimmed(price), "orderQty": "0.000000", "orderPrice": "0", "execType": "Trade"}
            one |= {"execValue": f"{price * size:f}", "execQty": f"{size:f}", "seq": self.seq, "extraFees": ""}
            one |= {"stopOrderType": "", "blockTradeId": "", "closedSize": "", "indexPrice": "", "markPrice": ""}
            made.append(one)
        self.fills += made
        self.orders[link] = {**order, "_at_ms": at_ms, "_fills": made}
        sign = 1 if is_buy else -1
        self.balances[market.base] = self.balances.get(market.base, Decimal(0)) + sign * base - (fee if is_buy else 0)
        self.balances[market.quote] = (
            self.balances.get(market.quote, Decimal(0)) - sign * quote - (0 if is_buy else fee)
        )
        return self.orders[link]

    def _shown(self, order: dict[str, Any]) -> dict[str, Any]:
        found = {key: value for key, value in order.items() if not key.startswith("_")}
        if self.habits.bare:
            optional = ("blockTradeId", "isLeverage", "positionIdx", "stopOrderType", "slippageToleranceType", "cumExecFee",
                        "triggerPrice", "leavesValue", "reduceOnly", "cancelType")  # fmt: skip
            found = {key: value for key, value in found.items() if key not in optional}
        return found

    def _realtime(self, asked: dict[str, str]) -> Any:
        self._spot(asked)
        found = [] if self.habits.forgets_closed else self._named(asked)
        if not asked.get("orderId") and not asked.get("orderLinkId"):
            found = []
        return {"category": "spot", "list": found, "nextPageCursor": ""}

    def _history(self, asked: dict[str, str]) -> Any:
        self._spot(asked)
        return {"category": "spot", "list": self._named(asked, self.habits.history_lag_ms), "nextPageCursor": ""}

    def _named(self, asked: dict[str, str], lag_ms: int = 0) -> list[dict[str, Any]]:
        found = []
        with self._lock:
            for order in reversed(self.orders.values()):
                if asked.get("orderId"):
                    fits = order["orderId"] == asked["orderId"]
                elif asked.get("orderLinkId"):
                    fits = order["orderLinkId"] == asked["orderLinkId"]
                else:
                    fits = asked.get("symbol") in (None, order["symbol"])
                if fits and order["_at_ms"] + lag_ms <= self.now_ms():
                    found.append(self._shown(order))
        return found[: int(asked.get("limit", "20"))]

    def _executions(self, asked: dict[str, str]) -> Any:
        self._spot(asked)
        with self._lock:
            found = [
                one
                for one in reversed(self.fills)
                if (not asked.get("orderId") or one["orderId"] == asked["orderId"])
                and (not asked.get("orderLinkId") or one["orderLinkId"] == asked["orderLinkId"])
            ]
        limit = int(asked.get("limit", "50"))
        start = int(urllib.parse.unquote(asked["cursor"]).partition(":")[2]) if asked.get("cursor") else 0
        rest = found[start + limit :]
        cursor = f"page%3A{start + limit}" if rest else ""
        return {"category": "spot", "list": found[start : start + limit], "nextPageCursor": cursor}

    def _push(self, order: dict[str, Any]) -> None:
        fills = order["_fills"]
        for topic in self.habits.sequence:
            if topic == "wallet":
                data = [{"accountType": "UNIFIED", "coin": [self._coin(*one) for one in self.balances.items()]}]
                self._pushed(topic, data)
            elif topic == "order":
                states = [self._shown(order)]
                if self.habits.steps and len(fills) > 1:
                    first = {**states[0], "orderStatus": "PartiallyFilled", "cumExecQty": fills[0]["execQty"]}
                    states.insert(0, first | {"cumExecValue": fills[0]["execValue"], "avgPrice": fills[0]["execPrice"]})
                for state in states:
                    self._pushed(topic, [state | {"category": "spot"}])
            elif fills and (topic == "execution" or self.habits.fast == "pushed"):
                made = [one | {"category": "spot", "isLeverage": "0", "execPnl": ""} for one in fills]
                if topic == "execution.fast":
                    short = ("category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId",
                             "side", "execTime", "seq")  # fmt: skip
                    made = [{name: one[name] for name in short} for one in made]
                for data in [made] if self.habits.together else [[one] for one in made]:
                    self._pushed(topic, data)

    def _pushed(self, plain: str, data: list[dict[str, Any]]) -> None:
        for client in list(self._clients):
            for topic in client.topics if client.kind == "private" else ():
                if topic.removesuffix(".spot") != plain:
                    continue
                rows = list(data)
                if self.habits.neighbours and plain != "wallet":
                    other = {
                        **data[0],
                        "orderId": "4711",
                        "orderLinkId": "",
                        "execId": "99",
                        "orderStatus": "NewStatus",
                    }
                    rows = [other, *rows, {**other, "side": "Sell", "orderLinkId": "someone-else"}]
                    if topic == plain:
                        rows.append({**other, "category": "linear", "orderId": str(uuid.uuid4())})
                content: dict[str, Any] = {"topic": topic, "creationTime": self._moment(self.now_ms()), "data": rows}
                if plain != "execution.fast" and not self.habits.bare:
                    content = {"id": f"1_{next(self._messages)}"} | content
                self._send(client, content)

    _public: ClassVar[dict[str, Callable[[PlainBybit, dict[str, str]], Any]]] = {
        "/v5/market/time": _time,
        "/v5/market/instruments-info": _instruments,
        "/v5/market/tickers": _tickers,
        "/v5/market/orderbook": _order_book,
        "/v5/market/kline": _candles,
        "/v5/market/recent-trade": _recent,
    }
    _signed: ClassVar[dict[tuple[str, str], Callable[[PlainBybit, dict[str, Any]], Any]]] = {
        ("POST", "/v5/order/create"): _create,
        ("GET", "/v5/order/realtime"): _realtime,
        ("GET", "/v5/order/history"): _history,
        ("GET", "/v5/execution/list"): _executions,
        ("GET", "/v5/account/wallet-balance"): _wallet,
        ("GET", "/v5/account/fee-rate"): _fees,
        ("GET", "/v5/account/info"): _info,
        ("GET", "/v5/user/query-api"): _key,
    }


@dataclass(frozen=True)
class _Status(Exception):
    status: int


def _handler(venue: PlainBybit) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0" if venue.habits.encoding == "close" else "HTTP/1.1"
        timeout = 60
        # headers and body leave at once, as from any real server
        wbufsize = -1
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text, further = venue.answer(self.command, self.path, headers, body)
            if status == 0:
                self.close_connection = True
                return
            data, coding = text.encode(), venue.habits.encoding
            self.send_response(status)
            is_json = text.startswith("{")
            self.send_header("Content-Type", "application/json; charset=utf-8" if is_json else "text/plain")
            for name, value in further.items():
                self.send_header(name, value)
            if coding == "gzip" and "gzip" in headers.get("accept-encoding", ""):
                data = gzip.compress(data)
                self.send_header("Content-Encoding", "gzip")
            if coding == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
                half = len(data) // 2
                parts = [part for part in (data[:half], data[half:]) if part]
                data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            else:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            return

        do_GET = do_POST = _serve

    return Handler
