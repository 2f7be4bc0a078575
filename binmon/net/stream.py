"""One WebSocket connection in one thread: the library makes the handshake, then the receive loop is ours.

The library's own loop hands on one frame a call and swallows what a callback raises; ours reads what the socket
has, cuts it, and hands on one message a read.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import structlog
import websocket

from binmon.core.worker import Worker
from binmon.errors import Banned, BinmonError, ProtocolViolation, RateLimited, StreamClosed, VenueUnreachable
from binmon.messages import FrameChunk, StreamDown, StreamUp
from binmon.net.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameCutter, close_code_and_reason
from binmon.net.ledger import DEFAULT_BANNED_S, DEFAULT_LIMITED_S, RateLedger
from binmon.net.posts import Post, PostBox

log = structlog.get_logger("binmon.net")

READ_SIZE = 32 * 1024
POLL_S = 0.25  # the longest that a stop or a request goes unnoticed
SEND_TIMEOUT_S = 5.0
CLOSE_WAIT_S = 1.0  # for the answer to our close frame
OVERFLOW_REPORT_S = 5.0
NORMAL_CLOSURE = 1000
NO_CODE = 1005

Sent = FrameChunk | StreamUp | StreamDown


class Outlet(Protocol):
    """What a connection needs of a channel; a ``core.Channel`` of these messages, or of more, is one."""

    def offer(self, message: Sent, /) -> bool:
        """Hand over without waiting; False when the message was dropped."""

    def put(self, message: Sent, /, timeout_s: float) -> None:
        """Hand over, waiting for room; raises ChannelFull."""


class StreamConnection(Worker):
    """Connects, hands on every text frame, answers pings, and raises when the connection is over.

    Gives StreamUp once the streams are asked for, FrameChunk for every read, and StreamDown in every ending after
    a StreamUp. A dropped chunk is counted and logged; the update ids show the gap to whoever reads them. ``run``
    raises StreamClosed, ProtocolViolation, VenueUnreachable, RateLimited, Banned or ChannelFull; the supervisor
    starts it anew.
    """

    # A slow name service, several addresses with ten seconds each, TLS, the handshake, a minute for a full channel.
    silence_limit_s = 300.0

    def __init__(
        self,
        name: str,
        *,
        venue: str,
        url: str,
        streams: tuple[str, ...],
        out: Outlet,
        ledger: RateLedger,
        opening_messages: tuple[bytes, ...] | Callable[[], tuple[bytes, ...]] = (),
        takes_posts: bool = False,
        silence_s: float = 60.0,
        heartbeat: bytes | None = None,
        heartbeat_every_s: float = 20.0,
        connect_timeout_s: float = 10.0,
        put_timeout_s: float = 60.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """``url`` is complete (``ws://`` or ``wss://``); ``opening_messages`` are sent as text after the handshake, and
        made anew for every connection where they are a function (they bear a time and a signature).

        With ``takes_posts`` other threads may ``post`` messages: a little more work for every read, so not where nobody
        does. ``silence_s`` without a single byte, pings included, ends the connection. ``heartbeat`` is a text that is
        sent every ``heartbeat_every_s``, for a venue that wants to hear of us. ``ledger``, which all
        connections to the venue share, has the budgets of connection attempts and of messages to this socket, pongs
        included, and knows of bans. Raises ValueError
        for a URL that is not one of a WebSocket, and for a heartbeat without a pause.
        """
        super().__init__(name)
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"not a WebSocket URL: {url}")
        if heartbeat is not None and not heartbeat_every_s > 0:
            raise ValueError(f"not a pause between two heartbeats: {heartbeat_every_s} s")
        self.venue, self.url, self.streams = venue, url, streams
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
        self._encrypted = parts.scheme == "wss"
        self._out, self._opening_messages = out, opening_messages
        self._silence_s, self._connect_timeout_s = silence_s, connect_timeout_s
        self._heartbeat, self._heartbeat_every_s = heartbeat, heartbeat_every_s
        self._ledger, self._outgoing = ledger, ledger.outgoing(name)
        self._put_timeout_s, self._ssl_context = put_timeout_s, ssl_context
        self._posts = PostBox() if takes_posts else None
        self._reconnect_reason: str | None = None  # written by any thread, one reference at a time
        self._farewell = "stopped"
        self.binary_frames = 0  # dropped: nothing of ours is subscribed in binary
        self.empty_frames = 0  # dropped
        self.chunks_lost = 0  # the channel had no room

    def reconnect(self, reason: str) -> None:
        """Ask the connection to end with StreamClosed(``reason``) within 0.25 s. Callable from any thread."""
        self._reconnect_reason = reason

    def say_why(self, reason: str) -> None:
        """What a stop that comes now is called in the log and in the StreamDown, such as ``rotated``."""
        self._farewell = reason

    def post(self, post: Post) -> bool:
        """Have a text sent at once, from any thread; False when there is no connection that takes one, and then
        nobody is called."""
        return self._posts is not None and self._posts.post(post)

    def run(self, stop: threading.Event) -> None:
        """Connect and deliver until ``stop`` is set or the connection is over. See the class for what it raises."""
        if not self._wait_for_budget(stop):
            return
        self._reconnect_reason = None  # a request that came between connections has its wish
        _Connected(self, self._connect(), stop).run()

    def _wait_for_budget(self, stop: threading.Event) -> bool:
        """Spend one connection attempt; False when ``stop`` was set before there was one to spend."""
        ledger = self._ledger
        while (banned_s := ledger.ban_until_ms / 1000 - ledger.clock()) > 0:
            self.beat()
            if stop.wait(min(banned_s, 1.0)):
                return False
        while (delay_s := ledger.connects.take(time.monotonic())) > 0:
            self.beat()
            if stop.wait(min(delay_s, 1.0)):
                return False
        return not stop.is_set()

    def _connect(self) -> websocket.WebSocket:
        """Address, TLS, handshake."""
        self.beat()
        raw: socket.socket | None = None
        try:
            # the socket is ours, as the library would obey proxy variables of the environment
            raw = socket.create_connection((self._host, self._port), self._connect_timeout_s)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._encrypted:
                context = self._ssl_context or ssl.create_default_context()
                raw = context.wrap_socket(raw, server_hostname=self._host)
            connection = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=True)
            # no redirects; no extension is offered, so none is in force
            connection.connect(  # type: ignore[no-untyped-call]
                self.url, socket=raw, timeout=self._connect_timeout_s, suppress_origin=True, redirect_limit=0
            )
            return connection
        except websocket.WebSocketBadStatusException as refusal:
            _close(raw)
            raise self._refused(refusal) from refusal
        # IndexError: the library meets some malformed answers with it
        except (websocket.WebSocketException, OSError, ValueError, IndexError) as error:
            _close(raw)
            raise VenueUnreachable(self.url, f"{type(error).__name__}: {error}") from error
        except BaseException:
            _close(raw)
            raise

    def _refused(self, refusal: websocket.WebSocketBadStatusException) -> BinmonError:
        headers = refusal.resp_headers or {}
        asked = headers.get("retry-after", "")
        wait_s = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None
        if refusal.status_code == 429:
            return RateLimited("CONNECTIONS", DEFAULT_LIMITED_S if wait_s is None else wait_s)
        if refusal.status_code == 418:
            banned_s = DEFAULT_BANNED_S if wait_s is None else wait_s
            self._ledger.banned(banned_s, self._ledger.clock())
            return Banned(banned_s)
        return VenueUnreachable(self.url, f"the handshake was refused with HTTP {refusal.status_code}")


class _Connected:
    """The life of one connection after its handshake. Lives in the thread of its worker alone."""

    def __init__(self, worker: StreamConnection, connection: websocket.WebSocket, stop: threading.Event) -> None:
        self._worker, self._connection, self._stop = worker, connection, stop
        assert connection.sock is not None  # connect has returned
        self._socket: socket.socket = connection.sock
        self._cutter = FrameCutter()
        self._outgoing = worker._outgoing
        self._ping: bytes | None = None  # the newest ping that is not answered yet
        self._delivered = False
        self._lost = 0  # chunks of the burst that the channel drops now
        self._lost_since_mono_s = 0.0

    def run(self) -> None:
        worker = self._worker
        announced = False
        reason: str | None = None
        try:
            self._socket.settimeout(POLL_S)
            if worker._posts is not None:
                worker._posts.open()
            if self._send_opening():
                announced = True  # before the attempt: a StreamUp that found no room may be followed by a StreamDown
                worker._out.put(
                    StreamUp(worker.venue, worker.name, worker.streams, time.monotonic_ns()), worker._put_timeout_s
                )
                log.info("stream.connected", venue=worker.venue, connection=worker.name, streams=len(worker.streams))
                self._receive()
            self._say_goodbye()
        except ProtocolViolation as violation:
            reason = f"protocol violation: {violation}"
            self._send_close(violation.close_code)
            raise
        except StreamClosed as closed:
            reason = closed.reason
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            _close(self._socket)
            if worker._posts is not None:
                worker._posts.close(reason or worker._farewell)
            self._report_overflow()
            if announced:
                asked, reason = reason is None, reason or worker._farewell
                (log.info if asked else log.warning)(
                    "stream.disconnected",
                    venue=worker.venue,
                    connection=worker.name,
                    streams=len(worker.streams),
                    reason=reason,
                )
                worker._out.put(StreamDown(worker.venue, worker.name, worker.streams, reason), worker._put_timeout_s)

    # -- receiving --------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Read until a stop (returns) or the end (raises)."""
        worker, stop, silence_s = self._worker, self._stop, self._worker._silence_s
        receive, feed, name, posts = self._socket.recv, self._cutter.feed, worker.name, worker._posts
        heard_mono_s = time.monotonic()
        beat_at_mono_s = math.inf if worker._heartbeat is None else heard_mono_s + worker._heartbeat_every_s
        while not stop.is_set():
            if worker._reconnect_reason is not None:
                self._send_close(NORMAL_CLOSURE)
                raise StreamClosed(name, worker._reconnect_reason)
            worker.beat()
            if beat_at_mono_s < math.inf and time.monotonic() >= beat_at_mono_s and self._send_heartbeat():
                beat_at_mono_s = time.monotonic() + worker._heartbeat_every_s
            try:
                if posts is not None:
                    posts.wait(self._socket, POLL_S, self._send_text)
                data = receive(READ_SIZE)
            except (TimeoutError, ssl.SSLWantReadError):
                silent_s = time.monotonic() - heard_mono_s
                if silent_s > silence_s:
                    raise StreamClosed(name, f"silent for {silent_s:.1f} s") from None
                if self._ping is not None:
                    self._answer_ping()
                continue
            except OSError as error:
                raise StreamClosed(name, f"connection lost: {error}") from error
            received_ns, received_mono_ns = time.time_ns(), time.monotonic_ns()
            if not data:
                raise StreamClosed(name, "closed without a close frame")
            heard_mono_s = received_mono_ns / 1e9
            messages = feed(data)
            frames = tuple([payload for opcode, payload in messages if opcode == TEXT and payload])
            if frames:
                self._hand_on(FrameChunk(name, received_ns, received_mono_ns, frames))
            if len(frames) != len(messages):
                self._take_others(messages)
            if self._ping is not None:
                self._answer_ping()
            if self._cutter.violation is not None:
                raise self._cutter.violation

    def _hand_on(self, chunk: FrameChunk) -> None:
        worker = self._worker
        if worker._out.offer(chunk):
            if self._lost:
                self._report_overflow()
        else:
            worker.chunks_lost += 1
            now_mono_s = chunk.received_mono_ns / 1e9
            if not self._lost:
                self._lost_since_mono_s = now_mono_s
            self._lost += 1
            # a burst is told when it is over, but one that does not end must not stay untold
            if now_mono_s - self._lost_since_mono_s > OVERFLOW_REPORT_S:
                self._report_overflow()
        if not self._delivered:
            self._delivered = True
            worker.progress()

    def _take_others(self, messages: list[tuple[int, bytes]]) -> None:
        """Everything but text with content. Raises StreamClosed at a close frame, which it answers."""
        worker = self._worker
        for opcode, payload in messages:
            if opcode == PING:
                self._ping = payload  # only the newest needs an answer, RFC 6455 section 5.5.3
            elif opcode == CLOSE:
                code, reason = close_code_and_reason(payload)
                self._send_close(NORMAL_CLOSURE if code == NO_CODE else code)
                said = "without a code" if code == NO_CODE else f"with code {code}"
                raise StreamClosed(worker.name, f"closed by the venue {said}{': ' if reason else ''}{reason}")
            elif opcode == BINARY:
                worker.binary_frames += 1
            elif opcode == TEXT and not payload:
                worker.empty_frames += 1

    def _report_overflow(self) -> None:
        if self._lost:
            log.warning("stream.overflow", venue=self._worker.venue, connection=self._worker.name, count=self._lost)
            self._lost = 0

    # -- sending ----------------------------------------------------------------------------------------------

    def _send_opening(self) -> bool:
        """Send what asks for streams, within the venue's limit; False when stopped meanwhile."""
        messages = self._worker._opening_messages
        for message in messages() if callable(messages) else messages:
            while (delay_s := self._outgoing.take(time.monotonic())) > 0:
                self._worker.beat()
                if self._stop.wait(delay_s):
                    return False
            self._send(TEXT, message)
        return not self._stop.is_set()

    def _answer_ping(self) -> None:
        """Answer the newest ping, or leave it for a later turn of the loop when the budget is spent."""
        if self._ping is not None and self._outgoing.take(time.monotonic()) == 0.0:
            self._send(PONG, self._ping)
            self._ping = None

    def _send_heartbeat(self) -> bool:
        """False when the budget is spent: tried again with the next turn of the loop."""
        heartbeat = self._worker._heartbeat
        if heartbeat is None or self._outgoing.take(time.monotonic()) > 0:
            return False
        self._send(TEXT, heartbeat)
        return True

    def _send_text(self, payload: bytes) -> None:
        self._send(TEXT, payload)

    def _send(self, opcode: int, payload: bytes) -> None:
        """One masked frame; raises StreamClosed. Half a frame sent is the end of a connection, hence the patience."""
        self._socket.settimeout(SEND_TIMEOUT_S)
        try:
            self._connection.send(payload, opcode)
        except (websocket.WebSocketException, OSError) as error:
            raise StreamClosed(self._worker.name, f"cannot send: {type(error).__name__}: {error}") from error
        finally:
            self._socket.settimeout(POLL_S)

    def _send_close(self, code: int) -> None:
        """A close frame, if it can still be sent: why the connection ends is known already and stays the reason."""
        try:
            self._send(CLOSE, code.to_bytes(2, "big"))
        except StreamClosed as closed:
            log.debug("stream.close_unsent", connection=self._worker.name, reason=closed.reason)

    def _say_goodbye(self) -> None:
        """After a stop: close, and give the venue a moment to answer. What still arrives is not handed on."""
        self._send_close(NORMAL_CLOSURE)
        until_mono_s = time.monotonic() + CLOSE_WAIT_S
        while time.monotonic() < until_mono_s and self._cutter.violation is None:
            try:
                data = self._socket.recv(READ_SIZE)
                if not data or any(opcode == CLOSE for opcode, _ in self._cutter.feed(data)):
                    return
            except (TimeoutError, ssl.SSLWantReadError):
                continue
            except (OSError, ProtocolViolation):
                return  # it is over in another way, which is as good


def _close(connection: socket.socket | None) -> None:
    """Shut down and close; a connection that is gone already is no error."""
    if connection is None:
        return
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # not connected any more: closing is all that is left
    connection.close()
