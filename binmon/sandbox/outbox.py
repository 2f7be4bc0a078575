"""Bytes on their way to one client: a bounded queue that is written without ever blocking."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable

_BATCH = 256 * 1024


class Outbox:
    """Outgoing bytes of one socket. Any thread may put and flush; nothing here waits for the client.

    A flush writes what the socket takes. Whatever stays behind is announced through ``wake``, so that the
    connection's own thread carries on as soon as the socket is writable or a delay is over.
    """

    def __init__(self, connection: socket.socket, limit_bytes: int, wake: Callable[[], None]) -> None:
        self._socket = connection
        self._limit = limit_bytes
        self._wake = wake
        self._lock = threading.Lock()  # guards everything below
        self._queue: deque[tuple[float, bytes]] = deque()
        self._pending = 0
        self._sent = 0
        self._last_ready = 0.0
        self._delay_s = 0.0
        self._bytes_per_s = 0.0
        self._slow_until = 0.0
        self._closed = False
        self._held = False

    @property
    def pending_bytes(self) -> int:
        """Bytes queued and not yet written."""
        return self._pending

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the operating system so far."""
        return self._sent

    @property
    def delay_ms(self) -> float:
        """What every piece is delayed by now."""
        with self._lock:
            return self._delay_s * 1000 if time.monotonic() < self._slow_until else 0.0

    def put(self, data: bytes, unlimited: bool = False) -> bool:
        """Queue bytes; false when the client is too far behind (nothing is queued then)."""
        with self._lock:
            if self._closed:
                return True
            if not unlimited and self._pending + len(data) > self._limit:
                return False
            self._queue.append((self._ready_at(len(data)), data))
            self._pending += len(data)
            return True

    def slow_down(self, delay_s: float, bytes_per_s: float, duration_s: float) -> None:
        """Delay every following piece and limit the rate (0: no limit) for a while."""
        with self._lock:
            self._delay_s, self._bytes_per_s = delay_s, bytes_per_s
            self._slow_until = time.monotonic() + duration_s

    def hold(self, held: bool) -> None:
        """While held, nothing is written."""
        with self._lock:
            self._held = held

    def flush(self) -> None:
        """Write as much as the socket takes now."""
        with self._lock:
            left = self._write()
        if left:
            self._wake()

    def close(self) -> None:
        """Forget what is queued and accept nothing more."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._pending = 0

    def next_write(self) -> tuple[bool, float | None]:
        """Whether to wait for the socket to become writable, and when the next delayed piece is due."""
        with self._lock:
            if self._held or not self._queue:
                return False, None
            ready = self._queue[0][0]
            return (True, None) if ready <= time.monotonic() else (False, ready)

    def _ready_at(self, size: int) -> float:
        if self._slow_until == 0.0:
            return 0.0
        now = time.monotonic()
        if now >= self._slow_until:
            if self._last_ready <= now:
                self._slow_until = 0.0
                return 0.0
            return self._last_ready  # Order is kept behind pieces that are still delayed.
        ready = now + self._delay_s
        if self._bytes_per_s:
            ready = max(ready, self._last_ready) + size / self._bytes_per_s
        self._last_ready = max(ready, self._last_ready)
        return self._last_ready

    def _write(self) -> bool:
        """Write; true when something is left behind. The lock is held."""
        queue = self._queue
        now = 0.0
        while queue and not self._held:
            batch = []
            size = 0
            while queue and size < _BATCH:
                ready = queue[0][0]
                if ready:
                    now = now or time.monotonic()
                    if ready > now:
                        break
                data = queue.popleft()[1]
                batch.append(data)
                size += len(data)
            if not batch:
                return True
            joined = batch[0] if len(batch) == 1 else b"".join(batch)
            try:
                written = self._socket.send(joined)
            except BlockingIOError:
                written = 0
            except OSError:
                # The connection is gone; its own thread reads the same failure and ends it.
                queue.clear()
                self._pending = 0
                return True
            self._sent += written
            self._pending -= written
            if written < len(joined):
                queue.appendleft((0.0, joined[written:]))
                return True
        return bool(queue)
