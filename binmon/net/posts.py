"""Texts that other threads want sent on a connection. The thread that reads the connection sends them, so that no two
threads ever use one TLS session at once."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Post:
    """A text to send on a connection that lives. Exactly one of the two is called, in the connection's thread:
    ``departed(sent_ns, sent_mono_ns)`` right before its first byte leaves, or ``failed(reason)`` when it never will."""

    payload: bytes
    departed: Callable[[int, int], None]
    failed: Callable[[str], None]


class PostBox:
    """The posts of one connection at a time. ``post`` may be called from any thread, all else by the connection's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _posts and _wake
        self._posts: deque[Post] = deque()
        self._wake: socket.socket | None = None  # while there is a connection; a byte in it ends the waiting
        self._woken: socket.socket | None = None
        # what a connection waits with is made once: market streams wait here before every read
        self._poller: select.poll | None = None

    def post(self, post: Post) -> bool:
        """Have a text sent at once; False when there is no connection, and then nobody is called."""
        with self._lock:
            if self._wake is None:
                return False
            self._posts.append(post)
            try:
                self._wake.send(b"\0")
            except BlockingIOError:
                pass  # full of earlier wakes, of which one is enough
        return True

    def open(self) -> None:
        """A connection takes posts from now on."""
        self._woken, wake = socket.socketpair()
        self._woken.setblocking(False)
        wake.setblocking(False)
        with self._lock:
            self._wake = wake

    def close(self, reason: str) -> None:
        """The connection is over: what has not been sent never will be."""
        with self._lock:
            wake, self._wake = self._wake, None
            unsent = list(self._posts)
            self._posts.clear()
        for end in (wake, self._woken):
            if end is not None:
                end.close()
        self._woken = self._poller = None
        for post in unsent:
            post.failed(reason)

    def wait(self, connection: socket.socket, poll_s: float, send: Callable[[bytes], None]) -> None:
        """Send what is posted until there is something to read; TimeoutError after ``poll_s`` of neither. ``connection``
        is the same one from ``open`` to ``close``."""
        woken = self._woken
        if woken is None:
            raise RuntimeError("not open")
        poller = self._poller
        if poller is None:
            poller = self._poller = select.poll()
            poller.register(woken, select.POLLIN)
            poller.register(connection, select.POLLIN)
        # what TLS has decrypted already does not show on the socket any more
        while not (isinstance(connection, ssl.SSLSocket) and connection.pending()):
            ready = {descriptor for descriptor, _ in poller.poll(poll_s * 1000)}
            if not ready:
                raise TimeoutError
            if woken.fileno() in ready:
                self._send_all(woken, send)
            if connection.fileno() in ready:
                return

    def _send_all(self, woken: socket.socket, send: Callable[[bytes], None]) -> None:
        woken.recv(4096)
        while True:
            with self._lock:
                if not self._posts:
                    return
                post = self._posts.popleft()
            post.departed(time.time_ns(), time.monotonic_ns())
            send(post.payload)
