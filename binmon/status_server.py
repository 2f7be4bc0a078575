"""The worker that answers ``GET /metrics``, ``GET /healthz`` and, where books are kept, ``GET /book``."""

from __future__ import annotations

import http.server
import io
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from binmon.core.worker import Worker
from binmon.errors import ConfigError
from binmon.status import Health
from binmon.telemetry.metrics import CONTENT_TYPE

log = structlog.get_logger("binmon.metrics")

BookPage = Callable[[str], tuple[int, Any]]
"""Status and JSON document for the query of ``GET /book``."""

KEY = "metrics.listen"
_TURN_S = 0.25  # the longest that a stop goes unnoticed
_OBSERVE_EVERY_S = 1.0
_REQUEST_WITHIN_S = 5.0  # for a whole request to arrive, and for a whole answer to leave
_REQUEST_BYTES = 8 * 1024
_AT_ONCE = 16  # connections; one more is closed unanswered


class StatusServer(Worker):
    """Serves the metrics page and the health at ``listen`` (``host:port``; port 0 takes any free one, see ``address``).

    Listens from its making on: raises ConfigError, which names the key, when the address cannot be had. ``observe``
    is called about once a second from the worker's thread, ``render``, ``health`` and ``book`` in a thread for each request.
    """

    def __init__(
        self,
        name: str,
        listen: str,
        *,
        render: Callable[[], bytes],
        health: Callable[[], Health],
        observe: Callable[[], None],
        book: BookPage | None = None,
    ) -> None:
        super().__init__(name)
        self._observe = observe
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), render, health, book)
        except (OSError, ValueError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigError(f"{listen}: expected an address to listen at: {reason}", key=KEY) from error

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens at."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def run(self, stop: threading.Event) -> None:
        host, port = self.address
        log.info("metrics.listening", address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        next_observation_s = time.monotonic()
        while not stop.is_set():
            self.beat()
            if time.monotonic() >= next_observation_s:
                next_observation_s = time.monotonic() + _OBSERVE_EVERY_S
                self._observe()
            self._server.handle_request()  # waits for one, up to the time-out of the server
            if self._server.answered > self.progress_count:
                self.progress()
        self.close()

    def close(self) -> None:
        """Listen no more. For a server whose ``run`` will not come, too."""
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    """A thread a connection, few at once."""

    daemon_threads = True
    block_on_close = False  # an answer under way must not hold up a stop
    timeout = _TURN_S
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        render: Callable[[], bytes],
        health: Callable[[], Health],
        book: BookPage | None = None,
    ) -> None:
        self.render, self.health, self.book = render, health, book
        self.answered = 0
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # not that of the parent, which asks the name service for our own name and may wait for it
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread for it: nobody else gives the place back
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The parent prints to stderr; `_Handler` leaves nothing but what happens to a connection."""
        log.debug("metrics.request_failed", client=str(client_address[0]), exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request, then the connection is closed."""

    server: _Server
    server_version, sys_version = "binmon", ""
    timeout = _REQUEST_WITHIN_S

    def setup(self) -> None:
        super().setup()
        # the head is read here, bounded in time and size, and only then given to the library
        self.rfile = io.BufferedReader(io.BytesIO(self._head()))

    def _head(self) -> bytes:
        head = b""
        until_mono_s = time.monotonic() + _REQUEST_WITHIN_S
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left_s = until_mono_s - time.monotonic()
            if left_s <= 0 or len(head) > _REQUEST_BYTES:
                return b""  # neither in time nor small: not worth an answer
            self.connection.settimeout(left_s)
            try:
                part = self.connection.recv(2048)
            except OSError:
                return b""
            if not part:
                return b""
            head += part
        self.connection.settimeout(_REQUEST_WITHIN_S)
        return head

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            status, kind, body = self._content(path)
        except Exception as error:  # whatever is wrong with the answer, who asks is told so, and the log
            log.error("metrics.failed", source=path, error=f"{type(error).__name__}: {error}", exc_info=error)
            status, kind, body = 500, "text/plain; charset=utf-8", b"failed; the log says why\n"
        self._answer(status, kind, body)

    def _content(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE, self.server.render()
        if path == "/healthz":
            ok, document = self.server.health()
            body = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1).encode() + b"\n"
            return 200 if ok else 503, "application/json", body
        if path == "/book" and self.server.book is not None:
            status, document = self.server.book(self.path.partition("?")[2])
            return (
                status,
                "application/json",
                json.dumps(document, allow_nan=False, ensure_ascii=False).encode() + b"\n",
            )
        return 404, "text/plain; charset=utf-8", b"/metrics and /healthz are here\n"

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._answer(405, "text/plain; charset=utf-8", b"only GET and HEAD\n", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

    def _answer(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.server.answered += 1

    def log_message(self, format: str, *arguments: Any) -> None:
        """The library would print every request to stderr."""
