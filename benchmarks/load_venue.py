"""A stand-in for Binance Spot that sends a whole market's depth updates for next to nothing.

``python benchmarks/load_venue.py --symbols 1500`` prints its addresses as one line of JSON, a line of figures every
second, and ends with SIGTERM or when its standard input is closed.

There is no matching engine (see ``load_market.py``). Frames are ready bytes; only event time and update ids are put in,
and all frames of one tick of one connection leave in one ``send``.

One thread, one selector. It says how late its ticks were: when it does not keep pace itself, a run means nothing.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import json
import resource
import selectors
import signal
import socket
import struct
import sys
import time
import urllib.parse
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from load_market import IDS_AN_UPDATE, Market, now_ms

EVERY_S = 0.1  # depth@100ms
ID_DIGITS, TIME_DIGITS = 12, 13
PING_EVERY_S = 20.0
LATE_S = 0.02
MAX_UNSENT = 32 << 20  # the venue, too, gives up a reader who does not read
_ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_POWERS = 10 ** np.arange(ID_DIGITS - 1, -1, -1, dtype=np.int64)
_TIME_POWERS = 10 ** np.arange(TIME_DIGITS - 1, -1, -1, dtype=np.int64)


class _Group:
    """The symbols of one connection that share a tick: their frames of one update become one block of bytes."""

    def __init__(self, market: Market, numbers: list[int]) -> None:
        self._market = market
        self.numbers = numbers
        self._bases = np.array([market.first_id(number) for number in numbers], np.int64)
        # the same texts in front at every update; lengths, and so places, change with the update
        self._heads: list[tuple[bytes, int, int]] = []
        for number in numbers:
            symbol = market.symbols[number]
            begin = b'{"stream":"%s@depth@100ms","data":{"e":"depthUpdate","E":' % symbol.lower().encode()
            middle = b',"s":"%s","U":' % symbol.encode()
            head = begin + b"0" * TIME_DIGITS + middle + b"0" * ID_DIGITS + b',"u":' + b"0" * ID_DIGITS + b","
            self._heads.append((head, len(begin), len(begin) + TIME_DIGITS + len(middle)))
        self._ready: dict[int, tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def block(self, update: int, sent_ms: int) -> bytearray:
        """The frames of update number ``update`` of all symbols of the group."""
        state = update % self._market.length
        ready = self._ready.get(state)
        if ready is None:
            ready = self._ready[state] = self._make(state)
        text, times, ids = ready
        block = bytearray(text)
        view = np.frombuffer(block, np.uint8)
        view[times] = (sent_ms // _TIME_POWERS % 10 + 48).astype(np.uint8)
        first = self._bases + update * IDS_AN_UPDATE
        for begin, value in ((ids, first), (ids + (ID_DIGITS + len(',"u":')), first + (IDS_AN_UPDATE - 1))):
            view[begin] = (value[:, None] // _POWERS % 10 + 48).astype(np.uint8)
        return block

    def _make(self, state: int) -> tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        parts: list[bytes] = []
        times, ids, at = [], [], 0
        for number, (head, time_at, id_at) in zip(self.numbers, self._heads, strict=True):
            text = head + self._market.cycles[number].payloads[state]
            frame = _frame(text)
            begin = at + len(frame) - len(text)
            times.append(begin + time_at)
            ids.append(begin + id_at)
            parts.append(frame)
            at += len(frame)
        return (
            b"".join(parts),
            np.array(times, np.int64)[:, None] + np.arange(TIME_DIGITS),
            np.array(ids, np.int64)[:, None] + np.arange(ID_DIGITS),
        )


@dataclass
class Figures:
    """What the generator says of itself; counters since the start, lateness since the last report."""

    frames: int = 0
    bytes: int = 0
    depths: int = 0
    symbols_fetched: int = 0
    connections: int = 0
    cut_off: int = 0
    unsent_bytes: int = 0  # the most that one connection left unread, beyond what the kernel holds
    late_ticks: int = 0
    ticks: int = 0
    latest_s: float = 0.0


@dataclass
class _Client:
    """A TCP connection of either sort."""

    socket: socket.socket
    streaming: bool = False
    incoming: bytearray = field(default_factory=bytearray)
    unsent: deque[memoryview] = field(default_factory=deque)
    unsent_size: int = 0
    numbers: set[int] = field(default_factory=set)
    groups: list[_Group | None] = field(default_factory=list)


class LoadVenue:
    """See the module. ``tick_s`` must divide 0.1: symbols are spread evenly over so many ticks."""

    def __init__(self, market: Market, *, tick_s: float = 0.01) -> None:
        self.market, self.figures = market, Figures()
        self.slots = max(1, round(EVERY_S / tick_s))
        self._tick_s = EVERY_S / self.slots
        self._tick = 0  # number of the next tick; slot and update number follow from it
        self._selector = selectors.DefaultSelector()
        self._clients: list[_Client] = []
        self._fetched: set[str] = set()
        self._info = market.instruments()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self.port: int = self._listener.getsockname()[1]
        self._next_ping_s = time.monotonic() + PING_EVERY_S

    def run(self, report_every_s: float) -> None:
        """Serve until SIGTERM or the end of standard input."""
        stopping = False

        def stop(*_: object) -> None:
            nonlocal stopping
            stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        begin_s = time.monotonic()
        next_report_s = begin_s + report_every_s
        while not stopping:
            due_s = begin_s + self._tick * self._tick_s
            now_s = time.monotonic()
            if now_s >= due_s:
                late_s = now_s - due_s
                self.figures.ticks += 1
                self.figures.late_ticks += late_s > LATE_S
                self.figures.latest_s = max(self.figures.latest_s, late_s)
                self._send_tick()
                if now_s >= next_report_s:
                    next_report_s += report_every_s
                    self._report()
                if now_s >= self._next_ping_s:
                    self._next_ping_s += PING_EVERY_S
                    for client in list(self._clients):
                        if client.streaming:
                            self._send(client, _frame(b"%d" % now_ms(), opcode=0x9))
                continue
            for key, events in self._selector.select(due_s - now_s):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is sys.stdin:
                    stopping = stopping or not sys.stdin.readline()
                else:
                    self._serve(key.data, events)
        self._report()

    def updates_of(self, number: int) -> int:
        """How many updates a symbol has had so far."""
        slot = number % self.slots
        return self._tick // self.slots + (slot < self._tick % self.slots)

    # Sending ------------------------------------------------------------------------------------------------------

    def _send_tick(self) -> None:
        update, slot = divmod(self._tick, self.slots)
        self._tick += 1  # before the sending: what REST answers from now on includes these
        sent_ms = now_ms()
        for client in list(self._clients):
            if client.streaming and client.groups:
                group = client.groups[slot]
                if group is not None:
                    block = group.block(update, sent_ms)
                    self.figures.frames += len(group.numbers)
                    self.figures.bytes += len(block)
                    self._send(client, block)

    def _send(self, client: _Client, data: bytes | bytearray) -> None:
        if not client.unsent:
            try:
                sent = client.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(client)
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._selector.modify(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
        client.unsent.append(memoryview(data))
        client.unsent_size += len(data)
        if client.streaming:
            self.figures.unsent_bytes = max(self.figures.unsent_bytes, client.unsent_size)
            if client.unsent_size > MAX_UNSENT:
                self.figures.cut_off += 1
                self._close(client)

    def _send_rest(self, client: _Client) -> None:
        while client.unsent:
            try:
                sent = client.socket.send(client.unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self._close(client)
                return
            client.unsent_size -= sent
            if sent == len(client.unsent[0]):
                client.unsent.popleft()
            else:
                client.unsent[0] = client.unsent[0][sent:]
        self._selector.modify(client.socket, selectors.EVENT_READ, client)

    # Receiving ----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        taken, _ = self._listener.accept()
        taken.setblocking(False)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(taken)
        self._clients.append(client)
        self._selector.register(taken, selectors.EVENT_READ, client)

    def _serve(self, client: _Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send_rest(client)
        if events & selectors.EVENT_READ and client in self._clients:
            try:
                data = client.socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(client)
                return
            client.incoming += data
            if client.streaming:
                self._read_frames(client)
            else:
                self._read_requests(client)

    def _close(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.socket)
            client.socket.close()

    def _read_requests(self, client: _Client) -> None:
        while (end := client.incoming.find(b"\r\n\r\n")) >= 0:
            lines = bytes(client.incoming[:end]).decode("latin-1").split("\r\n")
            del client.incoming[: end + 4]
            url = urllib.parse.urlsplit(lines[0].split(" ")[1])
            query = dict(urllib.parse.parse_qsl(url.query))
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            if "sec-websocket-key" in headers:
                self._upgrade(client, headers["sec-websocket-key"], query)
                return
            status, body = self._answer(url.path, query)
            self._send(
                client,
                b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-MBX-USED-WEIGHT-1M: 1\r\nContent-Length: %d\r\n\r\n"
                % (status, len(body))
                + body,
            )

    def _answer(self, path: str, query: dict[str, str]) -> tuple[bytes, bytes]:
        if path == "/api/v3/time":
            return b"200 OK", b'{"serverTime":%d}' % now_ms()
        if path == "/api/v3/exchangeInfo":
            return b"200 OK", self._info
        if path == "/api/v3/depth":
            number = self.market.number.get(query.get("symbol", ""))
            if number is None:
                return b"400 Bad Request", b'{"code":-1121,"msg":"Invalid symbol."}'
            updates = self.updates_of(number)
            last_id = self.market.first_id(number) + updates * IDS_AN_UPDATE - 1
            self.figures.depths += 1
            self._fetched.add(query["symbol"])
            sides = self.market.cycles[number].depth(updates, min(5_000, int(query.get("limit", "100"))))
            return b"200 OK", b'{"lastUpdateId":%d,%s}' % (last_id, sides)
        return b"404 Not Found", b"{}"

    def _upgrade(self, client: _Client, key: str, query: dict[str, str]) -> None:
        accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_KEY).digest())
        client.streaming = True
        self.figures.connections += 1
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._send(
            client,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
        )
        self._subscribe(client, query.get("streams", "").split("/"), wanted=True)

    def _read_frames(self, client: _Client) -> None:
        data = client.incoming
        while len(data) >= 6:
            length, begin = data[1] & 0x7F, 2
            if length == 126:
                length, begin = int.from_bytes(data[2:4], "big"), 4
            elif length == 127:
                length, begin = int.from_bytes(data[2:10], "big"), 10
            if len(data) < begin + 4 + length:
                return
            mask = (bytes(data[begin : begin + 4]) * (length // 4 + 1))[:length]
            masked = data[begin + 4 : begin + 4 + length]
            text = (int.from_bytes(masked, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")
            opcode = data[0] & 0x0F
            del data[: begin + 4 + length]
            if opcode == 0x8:
                self._send(client, _frame(text, opcode=0x8))
                self._close(client)
                return
            if opcode == 0x9:
                self._send(client, _frame(text, opcode=0xA))
            elif opcode == 0x1:
                request = json.loads(text)
                if request["method"] in ("SUBSCRIBE", "UNSUBSCRIBE"):
                    self._subscribe(client, request["params"], wanted=request["method"] == "SUBSCRIBE")
                self._send(client, _frame(json.dumps({"result": None, "id": request["id"]}).encode()))

    def _subscribe(self, client: _Client, streams: list[str], *, wanted: bool) -> None:
        numbers = {self.market.number[stream.partition("@")[0].upper()] for stream in streams if stream}
        client.numbers = client.numbers | numbers if wanted else client.numbers - numbers
        by_slot = [
            [number for number in sorted(client.numbers) if number % self.slots == slot] for slot in range(self.slots)
        ]
        client.groups = [_Group(self.market, numbers) if numbers else None for numbers in by_slot]

    def _report(self) -> None:
        figures = self.figures
        figures.symbols_fetched = len(self._fetched)
        used = resource.getrusage(resource.RUSAGE_SELF)
        line = vars(figures) | {"cpu_s": round(used.ru_utime + used.ru_stime, 3), "at_s": round(time.monotonic(), 3)}
        print(json.dumps(line), flush=True)
        figures.latest_s, figures.unsent_bytes = 0.0, 0


def _frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """An unmasked frame, as servers send them."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, size)
    elif size < 65_536:
        head = struct.pack(">BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
    return head + payload


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=1_500)
    parser.add_argument("--cycle", type=int, default=100, help="updates after which a book is as it was; even")
    parser.add_argument("--tick-ms", type=float, default=10.0, help="symbols are spread over 100 ms in ticks of this")
    options = parser.parse_args()
    venue = LoadVenue(Market(options.symbols, length=options.cycle), tick_s=options.tick_ms / 1000)
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would be a late tick
    address = f"127.0.0.1:{venue.port}"
    print(json.dumps({"rest": f"http://{address}", "stream": f"ws://{address}"}), flush=True)
    venue.run(1.0)


if __name__ == "__main__":
    main()
