"""HTTP/1.1 with keep-alive over one function that answers; what is asked and what that means is not known here.

A request to upgrade to a websocket may be handed on, so that one port can serve both.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request

_log = logging.getLogger(__name__)

JSON_TYPE, HTML_TYPE = "application/json;charset=UTF-8", "text/html"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. ``break_after`` cuts the connection after that many body bytes; ``reset`` answers nothing.

    ``from_venue`` is false for what a firewall or proxy before the venue answers: it knows no request weight.
    """

    status: int
    body: str
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    break_after: int | None = None
    reset: bool = False
    delay_s: float = 0.0
    from_venue: bool = True


Respond = Callable[[str, str, Mapping[str, str], str, bytes], Answer]
"""Answers a request: method, path with query, headers (read with ``get``, in any case), address of the client, body."""
Upgrade = Callable[[socket.socket, str, Request], None]
"""Takes over a connection whose request asks for a websocket: socket, address of the client, request. Returns when the
connection is over and the socket is closed."""


class HttpServer:
    """Listens on loopback, one thread a connection. Raises ``OSError`` from the constructor when the port is taken."""

    def __init__(self, port: int, respond: Respond, name: str, upgrade: Upgrade | None = None) -> None:
        self.respond = respond
        self.upgrade = upgrade
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler, self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name=name, daemon=True
        )

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop serving and cut the connections that are kept alive."""
        self.stopping.set()
        if self._thread.ident is not None:
            self._server.shutdown()
        self._server.cut_connections()
        self._server.server_close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)


class _Server(ThreadingHTTPServer):
    """Keeps track of open connections, so that stopping does not wait for idle clients."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler], owner: HttpServer
    ) -> None:
        self.owner = owner
        self._open_lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("REST connection from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One HTTP connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def version_string(self) -> str:
        return "nginx"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)

    def _serve(self) -> None:
        owner = self.server.owner
        headers = Headers(list(self.headers.items()))
        if owner.upgrade is not None and self.headers.get("Upgrade", "").lower() == "websocket":
            self.close_connection = True
            owner.upgrade(
                self.connection, self.client_address[0], Request(path=self.path, headers=headers, method=self.command)
            )
            return
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(int(length)) if length.isdigit() and length != "0" else b""
        answer = owner.respond(self.command, self.path, _Single(headers), self.client_address[0], body)
        if answer.delay_s and owner.stopping.wait(answer.delay_s):
            self.close_connection = True  # The sandbox stops; the client's connection is cut already.
            return
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        data = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if answer.break_after is not None:
            data = data[: answer.break_after]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve


class _Single(dict[str, str]):
    """Headers by name in any case; of one that was sent several times the first counts."""

    def __init__(self, headers: Headers) -> None:
        super().__init__()
        for name, value in headers.raw_items():
            self.setdefault(name.lower(), value)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header."""
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())
