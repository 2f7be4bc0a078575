"""A venue that speaks no more of the protocol than it must: times in milliseconds, no microseconds on demand, no weights, no
reference or average price, one report an order. Written from the reference alone; shares nothing with the sandbox."""

from __future__ import annotations

import itertools
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

_SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "filters": [
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5", "applyMinToMarket": True},
    ],
}


def now_ms() -> int:
    return int(time.time() * 1000)


class PlainVenue:
    """``strict``: refuses a WebSocket API address with parameters. ``acknowledges``: answers orders by ACK, which tells
    no status. ``delays_ms`` by the number of the order, from 1. ``time_fails``: no time from now on."""

    def __init__(
        self, *, strict: bool = False, acknowledges: bool = False, delays_ms: dict[int, int] | None = None
    ) -> None:
        self.strict, self.acknowledges, self.delays_ms = strict, acknowledges, delays_ms or {}
        self.time_fails = self.is_closed = False
        self.posted: list[str] = []
        self.unheard: list[str] = []  # orders that came while nobody was subscribed
        self.orders: dict[str, dict[str, Any]] = {}
        self._subscribers: list[ServerConnection] = []
        self._ids = itertools.count(500)
        self._began_s = time.monotonic()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._servers: list[Server] = [serve(self._stream, "127.0.0.1", 0), serve(self._api, "127.0.0.1", 0)]
        self.rest_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        ports = [server.socket.getsockname()[1] for server in self._servers]
        self.stream_url, self.ws_api_url = f"ws://127.0.0.1:{ports[0]}", f"ws://127.0.0.1:{ports[1]}/ws-api/v3"
        self.api_key, self.api_secret = "k" * 64, "s" * 64

    def __enter__(self) -> Self:
        for server in (self._http, *self._servers):
            self._begin(server.serve_forever)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        for server in self._servers:
            server.shutdown()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    # Streams ----------------------------------------------------------------------------------------------------------

    @property
    def update_id(self) -> int:
        """Of the book, which changes a hundred times a second."""
        return 7000 + int((time.monotonic() - self._began_s) * 100)

    def _stream(self, connection: ServerConnection) -> None:
        last = self.update_id
        while not self._stop.wait(0.1):
            first, last = last + 1, self.update_id
            event = {"e": "depthUpdate", "E": now_ms(), "s": "BTCUSDT", "U": first, "u": last}
            event |= {"b": [["49998", str(last % 7 + 1)]], "a": []}
            try:
                connection.send(json.dumps({"stream": "btcusdt@depth@100ms", "data": event}))
            except ConnectionClosed:
                return

    def _api(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        if self.strict and "?" in connection.request.path:
            connection.close(1008, "unknown address")
            return
        for message in connection:
            request = json.loads(message)
            assert request["method"] == "userDataStream.subscribe.signature", request["method"]
            self._subscribers.append(connection)  # before it is told: an order may follow at once
            connection.send(json.dumps({"id": request["id"], "status": 200, "result": {"subscriptionId": 0}}))
        if connection in self._subscribers:
            self._subscribers.remove(connection)

    # REST -------------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        if path == "/api/v3/time":
            return (404, {"code": -1, "msg": "gone"}) if self.time_fails else (200, {"serverTime": now_ms()})
        if path == "/api/v3/exchangeInfo":
            return 200, {"timezone": "UTC", "serverTime": now_ms(), "symbols": [_SYMBOL]}
        if path == "/api/v3/account":
            held = [("BTC", "10"), ("USDT", "1000000")]
            return 200, {"balances": [{"asset": name, "free": free, "locked": "0"} for name, free in held]}
        if path == "/api/v3/ticker/price":
            return 200, {"symbol": "BTCUSDT", "price": "50000.00"}
        if path == "/api/v3/depth":
            return 200, {"lastUpdateId": self.update_id, "bids": [["49999", "1"]], "asks": [["50001", "1"]]}
        if path == "/api/v3/order" and method == "POST":
            return self._place(asked)
        if path == "/api/v3/order":
            known = self.orders.get(asked["origClientOrderId"])
            return (200, known) if known else (400, {"code": -2013, "msg": "Order does not exist."})
        return 404, {"code": -1, "msg": "not here"}

    def _place(self, asked: dict[str, str]) -> tuple[int, Any]:
        if self.is_closed:
            return 400, {"code": -2010, "msg": "Market is closed."}
        at_ms, order_id, name = now_ms(), next(self._ids), asked["newClientOrderId"]
        self.posted.append(name)
        if not self._subscribers:
            self.unheard.append(name)
        short = {
            "symbol": "BTCUSDT",
            "orderId": order_id,
            "orderListId": -1,
            "clientOrderId": name,
            "transactTime": at_ms,
        }
        quantity = asked["quantity"]
        whole = {**short, "origQty": quantity, "executedQty": quantity, "cummulativeQuoteQty": "15", "status": "FILLED"}
        self.orders[name] = {**whole, "updateTime": at_ms}
        report = {"e": "executionReport", "E": now_ms(), "s": "BTCUSDT", "c": name, "S": asked["side"], "o": "MARKET"}
        report |= {
            "f": "GTC",
            "q": quantity,
            "p": "0",
            "P": "0",
            "F": "0",
            "g": -1,
            "C": "",
            "x": "TRADE",
            "X": "FILLED",
        }
        report |= {
            "r": "NONE",
            "i": order_id,
            "l": quantity,
            "z": quantity,
            "L": "50000",
            "n": "0",
            "N": None,
            "T": at_ms,
        }
        report |= {"t": order_id, "I": order_id, "w": False, "m": False, "M": True, "O": at_ms, "Z": "15", "Y": "15"}
        report |= {"Q": "0", "V": "NONE"}
        delay_s = self.delays_ms.get(len(self.posted), 5) / 1000
        text, listeners = json.dumps({"subscriptionId": 0, "event": report}), list(self._subscribers)

        def send() -> None:
            self._stop.wait(delay_s)
            for listener in listeners:
                try:
                    listener.send(text)
                except ConnectionClosed:
                    continue  # nothing is replayed

        self._begin(send)
        return 200, short if self.acknowledges else whole

    def _handler(venue) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                address = urllib.parse.urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                asked = dict(urllib.parse.parse_qsl(address.query)) | dict(urllib.parse.parse_qsl(body))
                status, content = venue.answer(self.command, address.path, asked)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                return

            do_GET = do_POST = _serve

        return Handler
