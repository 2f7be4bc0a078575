"""The opening handshake of a websocket connection: reading the request, finding out what it asks for, answering it."""

from __future__ import annotations

import email.utils
import logging
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.setLevel(logging.CRITICAL)

_LONGEST_HEAD = 128 * 1024
_TIMEOUT_S = 10.0

TIME_UNITS = {"MICROSECOND": True, "microsecond": True, "MILLISECOND": False, "millisecond": False}
"""Accepted values of ``timeUnit``; true stands for microseconds."""


@dataclass(frozen=True)
class Target:
    """What a URL asks for: ``/ws/<stream>``, ``/ws``, ``/stream?streams=a/b`` or ``/stream``."""

    path: str
    combined: bool
    streams: tuple[str, ...]
    microseconds: bool


@dataclass(frozen=True)
class Refusal:
    """A handshake answered by a plain HTTP status."""

    status: int
    reason: str
    body: str
    headers: tuple[tuple[str, str], ...] = ()


WRONG_TIME_UNIT = Refusal(
    400,
    "Bad Request",
    '{"code":-1194,"msg":"Invalid value for time unit; expected either MICROSECOND or MILLISECOND."}',
)
"""The answer to a URL whose ``timeUnit`` is none."""


def parse_target(path: str) -> Target | Refusal:
    """Read the request path of a stream connection; percent-encoding is undone after splitting."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unit = query.get("timeUnit", "MILLISECOND")
    if unit not in TIME_UNITS:
        return WRONG_TIME_UNIT
    route = unquote(parts.path)
    if route == "/stream" or route == "/stream/":
        names, combined = query.get("streams", ""), True
    elif route == "/ws" or route.startswith("/ws/"):
        names, combined = route[4:], False
    else:
        return Refusal(404, "Not Found", "")
    streams = tuple(name for name in names.split("/") if name)
    return Target(path, combined, streams, TIME_UNITS[unit])


def read_head(connection: socket.socket, stopping: threading.Event) -> Request | None:
    """Read an HTTP request head; ``None`` when the client went away, was too slow or sent no HTTP."""
    connection.settimeout(0.2)
    deadline = time.monotonic() + _TIMEOUT_S
    data = b""
    while b"\r\n\r\n" not in data:
        if time.monotonic() > deadline or stopping.is_set() or len(data) > _LONGEST_HEAD:
            return None
        try:
            chunk = connection.recv(16384)
        except TimeoutError:
            continue
        if not chunk:
            return None
        data += chunk
    lines = data.split(b"\r\n\r\n", 1)[0].decode("utf-8", errors="replace").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3:
        return None
    headers = Headers()
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return Request(path=words[1], headers=headers, method=words[0], protocol=words[2])


def accepted(request: Request) -> tuple[bytes, bool]:
    """The answer to an upgrade request whose URL is right, and whether it was one."""
    response = ServerProtocol(logger=_quiet).accept(request)
    return response.serialize(), response.status_code == 101


def refused(refusal: Refusal) -> bytes:
    """The answer to a refused handshake."""
    body = refusal.body.encode()
    headers = Headers(
        [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Length", str(len(body))),
            ("Content-Type", "application/json;charset=UTF-8" if body[:1] == b"{" else "text/html"),
            *refusal.headers,
        ]
    )
    return Response(refusal.status, refusal.reason, headers, body).serialize()
