"""HTTP connections whose reads end: at a deadline, at a stop, and after too long a silence.

A read time-out of a socket bounds the pause between two bytes, so a body that drips would take for ever; and while it
waits, nothing interrupts it. So the socket is read in short turns here, and between two turns is looked whether
anybody still wants the answer. Everything above (status line, headers, chunks, compression) stays the library's.

Only here is known whether anything of a request has left: what was never written was certainly not executed.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import requests.adapters
import urllib3
import urllib3.connection
import urllib3.connectionpool

_TURN_S = 0.2  # the longest that a stop goes unnoticed

Departure = Callable[[int, int], None]
"""Told when a request leaves: ``(sent_ns, sent_mono_ns)``, wall clock and monotonic, right before its first byte."""


class _WithoutQueries(logging.Filter):
    """What the library logs by itself, without the queries of addresses: in those are signatures."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a line that does not fit its own values is still a line
            text = f"{record.msg} {record.args}"
        record.msg, record.args = re.sub(r"\?[^\s)\"']*", "?***", text), None
        return True


for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_WithoutQueries())


class Patience:
    """How long one thread's requests may take. Used by that thread alone; ``begin`` before each request."""

    def __init__(self) -> None:
        self._deadline_mono_s = 0.0
        self._stop = threading.Event()
        self._departure: Departure | None = None
        self.ended_by = ""  # why the request was given up, if it was
        self.departed = False  # whether anything of the request may have been written

    def begin(self, total_s: float, stop: threading.Event, departure: Departure | None = None) -> None:
        """A request begins, which has ``total_s`` from now, or until ``stop``. ``departure`` is told when it leaves;
        what it raises keeps the request from leaving."""
        self._deadline_mono_s = time.monotonic() + total_s
        self._stop, self._total_s, self.ended_by = stop, total_s, ""
        self._departure, self.departed = departure, False

    def depart(self) -> None:
        """Something of the request is written next; only the first time is a departure."""
        if self.departed:
            return
        self.check()  # connecting took its time, and nothing is lost yet
        if self._departure is not None:
            self._departure(time.time_ns(), time.monotonic_ns())
        self.departed = True

    def check(self) -> None:
        """Raise TimeoutError when it is over; ``ended_by`` then says why."""
        if self._stop.is_set():
            self.ended_by = "given up, as it was told to stop"
        elif time.monotonic() >= self._deadline_mono_s:
            self.ended_by = f"no whole answer within {self._total_s:g} s"
        if self.ended_by:
            # of all errors of a socket the one that the library neither retries nor takes for a broken body
            raise TimeoutError(self.ended_by)


class _PatientReader(io.RawIOBase):
    """The raw side of a response: reads a socket in turns."""

    def __init__(self, connection: socket.socket, silence_s: float | None, patience: Patience) -> None:
        self._socket, self._silence_s, self._patience = connection, silence_s, patience
        # the socket counts its files: it stays open as long as this one, though its owner may close it before
        self._file = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        began_mono_s = time.monotonic()
        self._socket.settimeout(_TURN_S)
        while True:
            self._patience.check()
            try:
                return self._socket.recv_into(buffer)
            except TimeoutError:
                if self._silence_s is not None and time.monotonic() - began_mono_s >= self._silence_s:
                    raise

    def close(self) -> None:
        self._file.close()
        super().close()


class _PatientSocket:
    """A socket whose files are patient readers; all else is the socket's own."""

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        self._socket, self._patience = connection, patience

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, silence_s: float | None) -> None:
        self._silence_s = silence_s
        self._socket.settimeout(silence_s)

    def sendall(self, data: Any) -> None:
        # the reader of the answer before has left its short turns behind
        self._socket.settimeout(self._silence_s)
        self._patience.depart()
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What the library makes of a connection when it expects an answer; it reads, and nothing else."""
        if mode != "rb":
            raise ValueError(f"a patient socket is only read: {mode}")
        return io.BufferedReader(_PatientReader(self._socket, self._silence_s, self._patience))

    _silence_s: float | None = None


class PatientAdapter(requests.adapters.HTTPAdapter):
    """One kept connection of one thread, that reads as long as ``patience`` lasts."""

    def __init__(self, patience: Patience) -> None:
        self._pools = _pool_classes(patience)
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_classes(patience: Patience) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """The library's pools, with connections that know ``patience``: it makes them from classes, so these are classes."""

    class PlainConnection(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            _make_patient(self, patience)

    class EncryptedConnection(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            _make_patient(self, patience)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = EncryptedConnection

    return {"http": PlainPool, "https": EncryptedPool}


def _make_patient(connection: urllib3.connection.HTTPConnection, patience: Patience) -> None:
    assert connection.sock is not None  # connect has just made it
    connection.sock = cast(socket.socket, _PatientSocket(connection.sock, patience))
    connection.sock.settimeout(connection.timeout if isinstance(connection.timeout, int | float) else None)
