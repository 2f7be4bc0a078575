"""The worker that sends events: one thread for all browsers, none of which it ever waits for.

A stream begins as a request to the web server, which hands its socket over once the answer's head is known
(`binmon.dashboard.server`). From then on the web server has nothing to do with it: no thread of it is held, whatever the
browser does. What a browser that does not read can hold is bounded: the kernel's buffer of its socket, one piece being
sent, and its outbox. It is dropped when the outbox overflows, or when nothing could be sent for `STUCK_S`.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import structlog

from binmon.dashboard.hub import Hub, Subscription
from binmon.dashboard.page_worker import PageWorker
from binmon.dashboard.topics import Topic

log = structlog.get_logger("binmon.dashboard")

BEAT_S = 15.0
STUCK_S = 30.0
_LOOK_S = 0.5
_PIECE = 64 << 10
_SEND_BUFFER = 128 << 10
_BEAT = b": beat\n\n"
_AT_ONCE = struct.pack("ii", 1, 0)  # on, for no time (socket(7), SO_LINGER)
_GONE_AFTER_MS = 60_000  # a peer that acknowledges nothing for so long is gone (tcp(7), TCP_USER_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has opened a stream: the user, and ``key``, the session or token it was opened with."""

    user: str
    key: str


@dataclass(slots=True)
class _Stream:
    connection: socket.socket
    owner: Owner
    subscription: Subscription
    piece: memoryview
    moved_s: float  # when something could be sent last, or there was nothing to send
    said_s: float
    waits_for_room: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one stream, until `StreamServer.give_back` or the end of the stream."""

    owner: Owner


class StreamServer(PageWorker):
    """``most_streams`` in all and ``most_of_user`` for one user; beyond, `reserve` says no.

    For ``/metrics``: ``streams_count``, ``dropped_count`` (browsers that did not read), ``sent_bytes``.
    """

    def __init__(
        self, name: str, hub: Hub, *, most_streams: int = 64, most_of_user: int = 8, stuck_s: float = STUCK_S
    ) -> None:
        super().__init__(name)
        self._hub, self._most_streams, self._most_of_user = hub, most_streams, most_of_user
        self._stuck_s = stuck_s
        self.dropped_count = 0
        self.sent_bytes = 0
        self._lock = threading.Lock()  # guards _places
        self._places: Counter[str] = Counter()  # by user
        self._new: queue.SimpleQueue[_Stream] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[frozenset[str]] = queue.SimpleQueue()  # keys of owners
        self._streams: dict[int, _Stream] = {}
        self._awake = threading.Event()
        self._bell_out, self._bell_in = socket.socketpair()
        for end in (self._bell_out, self._bell_in):
            end.setblocking(False)
        hub.wake = self.ring

    # What others call ---------------------------------------------------------------------------------------------

    @property
    def streams_count(self) -> int:
        """How many are open or about to be."""
        return sum(self._places.values())

    def reserve(self, owner: Owner) -> Place | None:
        """Room for one more stream of this owner, None when there is none."""
        with self._lock:
            if self._places.total() >= self._most_streams or self._places[owner.user] >= self._most_of_user:
                return None
            self._places[owner.user] += 1
            return Place(owner)

    def give_back(self, place: Place) -> None:
        """The stream did not come to be."""
        with self._lock:
            self._places[place.owner.user] -= 1
            if not self._places[place.owner.user]:
                del self._places[place.owner.user]

    def begin(
        self, place: Place, connection: socket.socket, head: bytes, topics: frozenset[Topic], seen_id: int | None
    ) -> None:
        """Send ``head``, then the events of ``topics``, on ``connection``, which belongs to this worker from now on."""
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # not every kind of socket knows these
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_AFTER_MS)
        now_s = time.monotonic()
        subscription = self._hub.open(topics, seen_id)
        self._new.put(_Stream(connection, place.owner, subscription, memoryview(head), now_s, now_s))
        self.ring()

    def end(self, keys: frozenset[str]) -> None:
        """End all streams of the sessions and tokens with these keys."""
        self._ended.put(keys)
        self.ring()

    def owners(self) -> frozenset[Owner]:
        """Who has streams open."""
        return frozenset(one.owner for one in tuple(self._streams.values()))

    def ring(self) -> None:
        """There is something to do."""
        if not self._awake.is_set():
            self._awake.set()
            with contextlib.suppress(OSError):  # it rings already, or there is nobody any more
                self._bell_in.send(b"!")

    def close(self) -> None:
        """Give back what it has of the system; once ``run`` has ended for good."""
        self._bell_in.close()
        self._bell_out.close()

    # The worker ---------------------------------------------------------------------------------------------------

    def serve(self, stop: threading.Event) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell_out, selectors.EVENT_READ)
            try:
                while not stop.is_set():
                    self.beat()
                    self._turn(selector)
            finally:
                for stream in list(self._streams.values()):
                    self._close(selector, stream)
                while not self._new.empty():
                    self._forget(self._new.get())

    def _turn(self, selector: selectors.BaseSelector) -> None:
        for key, events in selector.select(_LOOK_S):
            stream = key.data
            if stream is None:
                with contextlib.suppress(BlockingIOError):
                    self._bell_out.recv(4096)
                continue
            if events & selectors.EVENT_READ and not self._reads(stream):
                self._close(selector, stream)
            elif events & selectors.EVENT_WRITE:
                stream.waits_for_room = False
        self._awake.clear()  # before looking, so that nothing is overlooked
        while not self._new.empty():
            stream = self._new.get()
            self._streams[stream.connection.fileno()] = stream
            selector.register(stream.connection, selectors.EVENT_READ, stream)
        while not self._ended.empty():
            keys = self._ended.get()
            for stream in [one for one in self._streams.values() if one.owner.key in keys]:
                self._close(selector, stream)
        now_s = time.monotonic()
        for stream in list(self._streams.values()):
            self._serve(selector, stream, now_s)

    def _serve(self, selector: selectors.BaseSelector, stream: _Stream, now_s: float) -> None:
        reason = None
        try:
            if not stream.waits_for_room:
                reason = self._send(stream, now_s)
            if stream.waits_for_room and now_s - stream.moved_s > self._stuck_s:
                reason = f"it has read nothing for {self._stuck_s:g} s"
            elif stream.waits_for_room and stream.subscription.outbox.overflowed:
                reason = "too much waits for it"
        except OSError:
            self._close(selector, stream)  # it has gone away, as browsers do
            return
        if reason is not None:
            self.dropped_count += 1
            log.warning("dashboard.dropped", user=stream.owner.user, reason=reason)
            # reset: else the kernel would keep what waits for as long as the browser does not read it
            stream.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._close(selector, stream)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.waits_for_room else 0)
        if selector.get_key(stream.connection).events != wanted:
            selector.modify(stream.connection, wanted, stream)

    def _send(self, stream: _Stream, now_s: float) -> str | None:
        """Send what can be sent now; gives why the browser is to be dropped, if it is."""
        for _ in range(8):  # pieces at a time: the others want to be served, too
            if not stream.piece:
                text = self._hub.take(stream.subscription, _PIECE)
                if text is None:
                    return "too much waits for it"
                if not text:
                    if now_s - stream.said_s < BEAT_S:
                        stream.moved_s = now_s
                        return None
                    text = _BEAT
                stream.piece = memoryview(text)
            try:
                sent = stream.connection.send(stream.piece)
            except BlockingIOError:
                stream.waits_for_room = True
                return None
            self.sent_bytes += sent
            stream.piece = stream.piece[sent:]
            stream.moved_s = stream.said_s = now_s
            self.progress()
        self.ring()  # there is more
        return None

    @staticmethod
    def _reads(stream: _Stream) -> bool:
        """A browser has nothing to say on a stream: what it says is thrown away, and its end is the end."""
        try:
            return bool(stream.connection.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _close(self, selector: selectors.BaseSelector, stream: _Stream) -> None:
        del self._streams[stream.connection.fileno()]
        selector.unregister(stream.connection)
        self._forget(stream)

    def _forget(self, stream: _Stream) -> None:
        self._hub.close(stream.subscription)
        stream.connection.close()
        self.give_back(Place(stream.owner))
