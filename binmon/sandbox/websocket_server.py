"""A websocket service: accept loop, admission of connections, and the list of those alive.

Market streams and WebSocket API are two of these, each with a port of its own; what is said on their connections is
given to them (see :class:`.dialogue.Dialogue`).
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from websockets.http11 import Request

from .clock import VenueClock
from .connection import Connection
from .dialogue import Dialogue
from .handshake import Refusal
from .options import SandboxOptions

_log = logging.getLogger(__name__)
_CONNECT_WINDOW_S = 300.0
_SEND_BUFFER = 256 * 1024


class WebSocketServer:
    """Listens on loopback and runs one thread a connection.

    ``service`` is its name in the state and for faults, ``identifiers`` numbers the connections (services that share
    it never use a number twice), ``messages_per_second`` is what a client may send (``None``: as much as it likes).
    Without a ``port`` it listens nowhere: connections are handed to it (:meth:`adopt`). Raises ``OSError`` from the constructor when the port is taken.
    """

    def __init__(
        self,
        service: str,
        port: int | None,
        converse: Callable[[Connection], Dialogue],
        options: SandboxOptions,
        clock: VenueClock,
        identifiers: Iterator[int],
        messages_per_second: int | None,
    ) -> None:
        self.service = service
        self.converse = converse
        self.options = options
        self.clock = clock
        self.messages_per_second = messages_per_second
        self.stopping = threading.Event()
        self.too_many = '{"code":-1034,"msg":"Too many connections."}'
        """Body of the refusal of one connection attempt too many."""
        self.refuse: Callable[[], str | None] = lambda: None
        """Asked for each new connection: ``None`` to admit it, or ``tcp``, ``http_503``, ``http_429``."""
        self._lock = threading.Lock()
        self._connections: dict[int, tuple[Connection, threading.Thread]] = {}
        self._identifiers = identifiers
        self._counters: Counter[str] = Counter()
        self._attempts: dict[str, deque[float]] = {}
        self._listener: socket.socket | None = None
        self.port = 0
        """Where it listens; 0 when it does not."""
        if port is not None:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
            self._listener.settimeout(0.2)
            self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"sandbox-{service}", daemon=True)

    def start(self) -> None:
        """Start accepting."""
        if self._listener is not None:
            self._thread.start()

    def stop(self, deadline: float) -> None:
        """Close all connections with a close frame and wait for them until ``deadline`` (monotonic seconds)."""
        self.stopping.set()
        if self._listener is not None:
            try:
                self._listener.shutdown(socket.SHUT_RDWR)  # Wakes the accept loop at once.
            except OSError as error:
                _log.debug("the accept loop ends with its timeout: %s", error)
        for connection in self.connections():
            connection.close(1001, "sandbox stops")
        with self._lock:
            threads = [thread for _, thread in self._connections.values()]
        half = (deadline + time.monotonic()) / 2
        for thread in threads:
            thread.join(max(0.0, half - time.monotonic()))
        for connection in self.connections():
            connection.end_abruptly(reset=True)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.ident is not None:
            self._thread.join(max(0.05, deadline - time.monotonic()))
        if self._listener is not None:
            self._listener.close()

    def adopt(self, raw: socket.socket, peer: str, request: Request) -> None:
        """Serve a connection whose upgrade request has been read already, in the caller's thread, until it ends."""
        if self.stopping.is_set() or self.refuse() == "tcp":
            self.count("connects_refused")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            return
        connection = self._prepare(raw, peer)
        thread = threading.current_thread()
        thread.name = f"sandbox-connection-{connection.identifier}"
        with self._lock:
            self._connections[connection.identifier] = (connection, thread)
        connection.run(request)

    def connections(self) -> list[Connection]:
        """All connections alive, oldest first."""
        with self._lock:
            return [connection for connection, _ in self._connections.values()]

    def count(self, name: str) -> None:
        """Add one to a counter shown in ``GET /sandbox/state``."""
        with self._lock:
            self._counters[name] += 1

    def counters(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(self._counters)

    def forget(self, connection: Connection) -> None:
        """Called by a connection as the last thing it does."""
        with self._lock:
            self._connections.pop(connection.identifier, None)
            self._counters["disconnects"] += 1
            self._counters["frames_delivered"] += connection.frames_sent

    def admission(self, peer: str) -> Refusal | None:
        """Whether a new connection may open (reference: 300 attempts per 5 minutes and IP)."""
        fault = self.refuse()
        if fault == "http_503":
            self.count("connects_refused")
            return Refusal(503, "Service Unavailable", "<html><body>Service Unavailable</body></html>")
        now = time.monotonic()
        with self._lock:
            attempts = self._attempts.setdefault(peer, deque())
            while attempts and attempts[0] <= now - _CONNECT_WINDOW_S:
                attempts.popleft()
            attempts.append(now)
            over = len(attempts) > self.options.connect_limit
            wait_s = int(attempts[0] + _CONNECT_WINDOW_S - now) + 1
        if over or fault == "http_429":
            self.count("connects_refused")
            return Refusal(429, "Too Many Requests", self.too_many, (("Retry-After", str(wait_s)),))
        return None

    def _prepare(self, raw: socket.socket, peer: str) -> Connection:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What waits for a slow client waits here, where it is counted, and not in the operating system.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        return Connection(next(self._identifiers), raw, peer, self)

    def _accept(self) -> None:
        listener = self._listener
        assert listener is not None
        while not self.stopping.is_set():
            try:
                raw, address = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if not self.stopping.wait(0.1):
                    _log.error("accepting %s connections failed: %s", self.service, error)
                continue
            if self.refuse() == "tcp":
                self.count("connects_refused")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.close()
                continue
            connection = self._prepare(raw, address[0])
            thread = threading.Thread(
                target=connection.run, name=f"sandbox-connection-{connection.identifier}", daemon=True
            )
            with self._lock:
                self._connections[connection.identifier] = (connection, thread)
            thread.start()
