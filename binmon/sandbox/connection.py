"""One websocket connection: handshake, frames, pings, limits and its end; what it is about is its dialogue.

Each connection has one thread, which reads, answers and keeps the timers; events are queued by the thread they happen
in and usually written by it, too (see :mod:`.outbox`). The protocol itself is a sans-I/O machine, so that faults can
put any bytes on the wire beside it.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from . import frames, handshake
from .outbox import Outbox

if TYPE_CHECKING:
    from .websocket_server import WebSocketServer

_log = logging.getLogger(__name__)
_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.setLevel(logging.CRITICAL)

_LONGEST_WAIT_S = 3600.0
_CLOSE_WAIT_S = 1.0
"""Seconds the client gets to answer a close frame."""


class Connection:
    """A client of one of the websocket services. :meth:`run` is the body of its thread."""

    def __init__(self, identifier: int, raw: socket.socket, peer: str, server: WebSocketServer) -> None:
        self.identifier = identifier
        self.peer = peer
        self.service = server.service
        self._server = server
        self._options = server.options
        self._socket = raw
        self._wake_receiver, self._wake_sender = socket.socketpair()
        for end in (self._wake_receiver, self._wake_sender):
            end.setblocking(False)
        self.outbox = Outbox(raw, self._options.backlog_bytes, self._wake)
        self.outbox.hold(True)  # until the handshake is over
        self._protocol = ServerProtocol(state=State.OPEN, max_size=1 << 20, logger=_quiet)
        self._commands: deque[Callable[[], None]] = deque()
        self.path = ""
        self.delivering = False
        """Whether it is open and takes events."""
        self.frames_sent = 0
        self.opened_ms: int = server.clock.now_ms()
        """When it was accepted, by the venue's clock."""
        self.dialogue = server.converse(self)
        self._opened_s = time.monotonic()
        self._ended = False
        self._closing_until: float | None = None
        self._dead_until = 0.0
        self._incoming: deque[float] = deque()
        self._fragments: list[bytes] = []
        self._pings: OrderedDict[bytes, float] = OrderedDict()
        self._pings_sent = self._pongs_received = 0

    @property
    def backlog_bytes(self) -> int:
        """Bytes the client has not taken yet; none for a connection that gets no events."""
        return self.outbox.pending_bytes if self.delivering else 0

    # Any thread -------------------------------------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Queue the frame of an event. A client that is too far behind is cut."""
        if self.delivering:
            self.frames_sent += 1
            if not self.outbox.put(data):
                self._server.count("slow_clients_cut")
                self.end_abruptly(reset=True)

    def flush(self) -> None:
        """Write what is queued, as far as it goes without waiting."""
        self.outbox.flush()

    def say(self, text: str) -> None:
        """Queue a text that the client has asked for, whatever waits already."""
        self.outbox.put(frames.frame(text.encode()), unlimited=True)

    def announce_shutdown(self) -> None:
        """Tell the client, in the shape of its connection, that the server is about to go."""
        self.deliver(self.dialogue.shutdown_notice())
        self.flush()

    def send_bytes(self, data: bytes) -> None:
        """Put arbitrary bytes on the wire, good frames or not."""
        self.outbox.put(data, unlimited=True)
        self.outbox.flush()

    def close(self, code: int, reason: str = "") -> None:
        """End the connection with a close frame."""
        self.command(lambda: self._send_close(code, reason))

    def end_abruptly(self, reset: bool) -> None:
        """End the connection without a close frame: by a TCP reset, or by closing the sending direction."""
        self.command(self._reset if reset else self._finish)

    def play_dead(self, seconds: float) -> None:
        """Neither read nor write nor ping for a while, with the socket left open."""

        def die() -> None:
            self._dead_until = time.monotonic() + seconds
            self.outbox.hold(True)

        self.delivering = False
        self.command(die)

    def revive(self) -> None:
        """End :meth:`play_dead` and any slow link early."""
        self.outbox.slow_down(0.0, 0.0, 0.0)
        self.command(self._wake_up)

    def info(self) -> dict[str, Any]:
        """A look at this connection, for ``GET /sandbox/state``.

        ``events`` and ``frames`` are events queued for it so far, lost ones not counted; ``delay_ms`` is that of a
        slow link; ``dead`` tells that it plays dead.
        """
        return {
            "id": self.identifier,
            "service": self.service,
            "peer": self.peer,
            "path": self.path,
            **self.dialogue.look(),
            "opened_ms": self.opened_ms,
            "age_s": round(time.monotonic() - self._opened_s, 3),
            "events": self.frames_sent,
            "delay_ms": self.outbox.delay_ms,
            "dead": self._dead_until > 0.0,
            "frames": self.frames_sent,
            "bytes": self.outbox.sent_bytes,
            "pending_bytes": self.outbox.pending_bytes,
            "pings_sent": self._pings_sent,
            "pongs_received": self._pongs_received,
        }

    def command(self, action: Callable[[], None]) -> None:
        """Have the connection's own thread do something, soon."""
        self._commands.append(action)
        self._wake()

    def _wake(self) -> None:
        try:
            self._wake_sender.send(b"\0")
        except OSError:
            # A full pipe wakes the thread as well, and a closed one has no thread to wake.
            return

    # The connection's thread ------------------------------------------------------------------------------------

    def run(self, request: Request | None = None) -> None:
        """Serve the connection until it ends; ``request`` is the upgrade request where it has been read already."""
        try:
            if self._shake_hands(request):
                self._serve()
        except OSError as error:
            _log.debug("connection %s: %s", self.identifier, error)
        finally:
            self.delivering = False
            self.dialogue.ended()
            self.outbox.close()
            self._socket.close()
            self._wake_receiver.close()
            self._wake_sender.close()
            self._server.forget(self)

    def _shake_hands(self, request: Request | None) -> bool:
        """Answer the upgrade request; true when the connection is now a websocket."""
        head = request or handshake.read_head(self._socket, self._server.stopping)
        if head is None:
            return False
        self.path = head.path
        refusal = self._server.admission(self.peer)
        data, accepted = (handshake.refused(refusal), False) if refusal is not None else self.dialogue.greet(head)
        if not accepted:
            self._socket.sendall(data)
            return False
        # a client that has its answer gets every event from then on: they are taken before it goes out
        self.delivering = True
        self.dialogue.opened()
        self._socket.sendall(data)
        self._socket.setblocking(False)
        self._server.count("connects")
        self.outbox.hold(False)
        self.flush()
        return True

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._wake_receiver, select.POLLIN)
        poller.register(self._socket, select.POLLIN)
        now = time.monotonic()
        ends = now + self._options.life_s
        notice = self._options.life_notice_s
        announces = ends - notice if notice is not None else None
        next_ping = now + self._options.ping_interval_s
        registered = select.POLLIN
        while not self._ended:
            now = time.monotonic()
            if self._dead_until:
                if now < self._dead_until:
                    wanted, deadline = 0, self._dead_until
                else:
                    self._wake_up()
                    continue
            else:
                if announces is not None and now >= announces:
                    self.announce_shutdown()
                    announces = None
                if now >= ends:
                    self._send_close(1001, "connection life ended")
                    ends = now + _CLOSE_WAIT_S * 10
                if now >= next_ping:
                    self._ping(now)
                    next_ping = now + self._options.ping_interval_s
                if self._overdue(now):
                    return
                writable, delayed = self.outbox.next_write()
                wanted = select.POLLIN | (select.POLLOUT if writable else 0)
                deadline = min(
                    ends,
                    next_ping,
                    announces or ends,
                    delayed or ends,
                    self._closing_until or ends,
                    self._pong_deadline(ends),
                )
            if wanted != registered:
                if wanted:
                    poller.register(self._socket, wanted)
                else:
                    poller.unregister(self._socket)
                registered = wanted
            ready = poller.poll(min(max(0.0, deadline - now), _LONGEST_WAIT_S) * 1000 + 1)
            for descriptor, event in ready:
                if descriptor == self._wake_receiver.fileno():
                    self._obey()
                elif event & ~select.POLLOUT:
                    self._read()
            if not self._dead_until:
                self.outbox.flush()

    def _obey(self) -> None:
        try:
            self._wake_receiver.recv(4096)
        except BlockingIOError:
            return
        while self._commands:
            self._commands.popleft()()

    def _overdue(self, now: float) -> bool:
        """Cut a client that answers neither close nor ping in time."""
        if self._closing_until is not None and now >= self._closing_until:
            return True
        if now >= self._pong_deadline(now + 1):
            self._server.count("cut_without_pong")
            _log.info("connection %s cut: no pong", self.identifier)
            return True
        return False

    def _pong_deadline(self, never: float) -> float:
        if not self._pings:
            return never
        return next(iter(self._pings.values())) + self._options.pong_timeout_s

    def _ping(self, now: float) -> None:
        if self._protocol.state is State.OPEN:
            self._pings_sent += 1
            payload = f"{self._server.clock.now_ms()}{self._pings_sent:04d}".encode()
            self._pings[payload] = now
            self.outbox.put(frames.frame(payload, frames.PING), unlimited=True)

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        if not data:
            self._ended = True
            return
        self._protocol.receive_data(data)
        self._pass_on()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._receive(event)

    def _pass_on(self) -> None:
        """Queue what the protocol wants to send; its end-of-stream mark ends the connection after that."""
        for data in self._protocol.data_to_send():
            if data:
                self.outbox.put(data, unlimited=True)
            else:
                self.delivering = False
                self._closing_until = self._closing_until or time.monotonic() + _CLOSE_WAIT_S
                self.outbox.flush()
                if not self.outbox.pending_bytes:
                    self._shut_sending()

    def _receive(self, received: Frame) -> None:
        now = time.monotonic()
        if received.opcode is Opcode.CLOSE:
            return
        if self._too_many(now):
            self._server.count("cut_for_too_many_messages")
            self._send_close(1008, "Too many requests")
            return
        if received.opcode is Opcode.PONG:
            self._take_pong(bytes(received.data))
        elif received.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(received.data))
            if received.fin:
                text = b"".join(self._fragments).decode(errors="replace")
                self._fragments.clear()
                self.dialogue.hear(text)

    def _too_many(self, now: float) -> bool:
        """Count a frame of the client; true when there were more in a second than the service allows."""
        most = self._server.messages_per_second
        if most is None:
            return False
        self._incoming.append(now)
        while self._incoming and self._incoming[0] <= now - 1.0:
            self._incoming.popleft()
        return len(self._incoming) > most

    def _take_pong(self, payload: bytes) -> None:
        """A pong with the payload of a ping answers it and all earlier ones; any other pong answers nothing."""
        if payload in self._pings:
            self._pongs_received += 1
            while self._pings and self._pings.popitem(last=False)[0] != payload:
                continue

    def _send_close(self, code: int, reason: str) -> None:
        self.delivering = False
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._closing_until = time.monotonic() + _CLOSE_WAIT_S
            self._pass_on()
            self.outbox.flush()

    def _shut_sending(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._ended = True

    def _finish(self) -> None:
        """TCP FIN without a close frame; the client's answer is awaited, as closing at once could reset."""
        self.delivering = False
        self.outbox.close()
        self._closing_until = self._closing_until or time.monotonic() + _CLOSE_WAIT_S
        self._shut_sending()

    def _reset(self) -> None:
        self.delivering = False
        self.outbox.close()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._ended = True

    def _wake_up(self) -> None:
        if self._dead_until:
            self._dead_until = 0.0
            self._pings.clear()
            self.outbox.hold(False)
            self.delivering = self._protocol.state is State.OPEN
