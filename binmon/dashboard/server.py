"""The web server: waitress, in this worker's thread and a few of its own, with three changes.

* A stream of events leaves it: its socket goes to the `StreamServer`, so that no thread is held by a browser.
* What it answers by itself, without the application (a request that cannot be read, one that is much too large), carries
  the same security headers as everything else.
* A client that does not read what it has asked for is dropped, so that it holds neither a thread nor a connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from binmon.dashboard.headers import SECURITY_HEADERS
from binmon.dashboard.page_worker import PageWorker
from binmon.dashboard.streams import STUCK_S, Place, StreamServer
from binmon.dashboard.topics import Topic
from binmon.errors import ConfigError

log = structlog.get_logger("binmon.dashboard")

KEY = "dashboard.listen"
OPENING = "binmon.opening"
"""Where the application leaves an `Opening` in the environment of a request whose answer is a stream."""

LARGEST_BODY = 16 << 20
"""What is read before it is refused: the application says 413 far below it, and who sends more is cut off."""
_THREADS = 8
_CONNECTIONS = 400
_TURN_S = 0.25
_UNSENT_BYTES = 1 << 20
_PIPELINED = 3
"""Requests that a client may send before it has read the answer to the first: so few that their answers together stay
below the size from which on a thread waits for the client. Browsers and proxies send one."""
_AT_ONCE = struct.pack("ii", 1, 0)  # on, for no time (socket(7), SO_LINGER)


class Opening:
    """A stream that is about to begin: a place for it, and what it is to send."""

    def __init__(self, streams: StreamServer, place: Place, topics: frozenset[Topic], seen_id: int | None) -> None:
        self._streams, self._place, self._topics, self._seen_id = streams, place, topics, seen_id
        self._settled = False

    def begin(self, connection: socket.socket, head: bytes) -> None:
        """The stream begins on this socket, with this head of the answer."""
        self._settled = True
        try:
            self._streams.begin(self._place, connection, head, self._topics, self._seen_id)
        except BaseException:
            connection.close()
            self._streams.give_back(self._place)
            raise

    def give_up(self) -> None:
        """It does not come to be, unless it has begun."""
        if not self._settled:
            self._settled = True
            self._streams.give_back(self._place)


class _Task(WSGITask):
    """One request. At its end a stream leaves the web server."""

    def service(self) -> None:
        try:
            super().service()
        finally:
            opening = (self.environ or {}).get(OPENING)
            if opening is not None:
                opening.give_up()

    def finish(self) -> None:
        opening = (self.environ or {}).get(OPENING)
        if opening is None or not self.status.startswith("200"):
            super().finish()
            return
        self.close_on_finish = True  # of the web server's own descriptor, which leaves the connection as it is
        self.wrote_header = True
        channel: Any = self.channel
        with channel.outbuf_lock:
            if channel.total_outbufs_len or not channel.connected:
                return  # an answer to an earlier request on this connection has not left yet: the client must ask anew
            connection = socket.socket(fileno=os.dup(channel.socket.fileno()))
        # no length and no chunks: what follows goes on until the connection ends (RFC 9112, 6.3)
        headers = (f"{name}: {value}" for name, value in self.response_headers if name.lower() != "content-length")
        lines = [f"HTTP/1.1 {self.status}", *headers]
        opening.begin(connection, "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))


class _ErrorTask(ErrorTask):
    """An answer of the web server itself."""

    def execute(self) -> None:
        headers: Any = self.response_headers
        headers.extend([*SECURITY_HEADERS.items(), ("Cache-Control", "no-store")])
        super().execute()


class _Channel(HTTPChannel):
    """A connection. Its calls but ``send`` belong to the thread of the loop."""

    task_class = _Task
    error_task_class = _ErrorTask

    def __init__(self, *args: Any, **options: Any) -> None:
        self._moved_s = time.monotonic()  # when a byte could be sent last, or there was nothing to do
        super().__init__(*args, **options)

    def received(self, data: bytes) -> bool:
        taken = bool(super().received(data))
        if len(self.requests) > _PIPELINED:
            self.drop()
        return taken

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = int(super().send(data, do_close))
        if sent:
            self._moved_s = time.monotonic()
        return sent

    def is_stuck(self, now_s: float, for_s: float) -> bool:
        """Whether the client has taken no byte for so long of what waits for it, or of what is to leave before the end."""
        if not self.writable():
            self._moved_s = now_s
        return now_s - self._moved_s > for_s

    def drop(self) -> None:
        """The end at once: waitress waits for room in the socket before it closes one, and that may never come."""
        connection: socket.socket | None = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                # reset: else the kernel would keep what waits for as long as the client does not read it
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.handle_close()  # a thread that waits for room to write is let go


class _Server(TcpWSGIServer):
    channel_class = _Channel


class DashboardServer(PageWorker):
    """Serves ``application`` (WSGI) at ``listen`` (``host:port``; port 0 takes any free one, see ``address``). Who takes no
    byte of an answer for ``stuck_s`` is dropped.

    Listens from its making on: raises ConfigError, which names the key, when the address cannot be had.
    """

    def __init__(self, name: str, listen: str, application: Callable[..., Any], *, stuck_s: float = STUCK_S) -> None:
        super().__init__(name)
        self._application, self._stuck_s = application, stuck_s
        # what it would say of each request that waits for a thread, and of clients that go away, helps nobody
        logging.getLogger("waitress").setLevel(logging.CRITICAL)
        self._socket: socket.socket | None = _listening(listen)
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = str(host), int(port)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve(self, stop: threading.Event) -> None:
        host, port = self.address
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        listening, self._socket = self._socket or _listening(place), None
        connections: dict[int, Any] = {}
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(_THREADS)
        adjustments = Adjustments(
            sockets=[listening],
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            max_request_body_size=LARGEST_BODY,
            max_request_header_size=32 << 10,
            outbuf_high_watermark=_UNSENT_BYTES * 16,
            channel_timeout=60,
            cleanup_interval=10,
            ident="binmon",
            expose_tracebacks=False,
            clear_untrusted_proxy_headers=False,  # the application decides, by dashboard.behind_proxy
        )
        family, kind, protocol = listening.family, listening.type, listening.proto
        server = _Server(
            self._application,
            connections,
            True,
            listening,
            dispatcher=dispatcher,
            adj=adjustments,
            bind_socket=False,
            sockinfo=(family, kind, protocol, listening.getsockname()),
        )
        log.info("dashboard.listening", address=place)
        open_channels: Any = server.active_channels
        due_s = 0.0
        try:
            while not stop.is_set():
                self.beat()
                wasyncore.loop(timeout=_TURN_S, use_poll=True, map=connections, count=1)
                self.progress()
                now_s = time.monotonic()
                if now_s >= due_s:
                    due_s = now_s + _TURN_S
                    for channel in [one for one in open_channels.values() if one.is_stuck(now_s, self._stuck_s)]:
                        channel.drop()
        finally:
            for channel in list(open_channels.values()):
                channel.handle_close()  # who waits for room to write an answer is let go
            dispatcher.shutdown(timeout=1)
            server.close()
            wasyncore.close_all(connections, ignore_all=True)

    def close(self) -> None:
        """Listen no more. For a server whose ``run`` will not come."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        if int(port) > 65_535:
            raise ValueError("a port is at most 65535")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, int(port)), family=family, backlog=128)
        made.setblocking(False)
        return made
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{listen}: expected an address to listen at: {reason}", key=KEY) from error
