"""The market streams: what is said on their connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from websockets.http11 import Request

from . import control, handshake
from .clock import VenueClock, stamp
from .connection import Connection
from .hub import Message, StreamHub
from .options import SandboxOptions
from .websocket_server import WebSocketServer

SERVICE = "stream"
"""Name of the service in the state and for faults."""


def stream_server(
    options: SandboxOptions, hub: StreamHub, clock: VenueClock, identifiers: Iterator[int]
) -> WebSocketServer:
    """The service of the market streams. Raises ``OSError`` when its port is taken."""
    return WebSocketServer(
        SERVICE,
        options.stream_port,
        lambda connection: StreamDialogue(connection, hub, clock, options.max_streams),
        options,
        clock,
        identifiers,
        options.messages_per_second,
    )


class StreamDialogue:
    """A connection of the market streams: its subscriptions, and events in the shape it wants."""

    def __init__(self, connection: Connection, hub: StreamHub, clock: VenueClock, max_streams: int) -> None:
        self._connection = connection
        self._hub = hub
        self._clock = clock
        self._microseconds = False
        self._asked: tuple[str, ...] = ()
        self._subscriptions = control.Subscriptions(
            False,
            max_streams,
            lambda streams: hub.subscribe(self, streams),
            lambda stream: hub.unsubscribe(self, stream),
        )

    @property
    def identifier(self) -> int:
        """Number of the connection."""
        return self._connection.identifier

    @property
    def backlog_bytes(self) -> int:
        """Bytes the client has not taken yet; none for a connection that gets no events."""
        return self._connection.backlog_bytes

    @property
    def streams(self) -> tuple[str, ...]:
        """What it listens to, in order of subscription."""
        return tuple(self._subscriptions.streams)

    def deliver(self, message: Message) -> None:
        """Queue an event (called by the hub)."""
        if self._connection.delivering:
            self._connection.deliver(message.frame(self._subscriptions.combined, self._microseconds))

    def flush(self) -> None:
        """Write what is queued, as far as it goes without waiting."""
        self._connection.flush()

    def greet(self, request: Request) -> tuple[bytes, bool]:
        """Take the URLs of raw and combined streams."""
        target = handshake.parse_target(request.path)
        if isinstance(target, handshake.Refusal):
            return handshake.refused(target), False
        self._microseconds = target.microseconds
        self._subscriptions.combined = target.combined
        self._asked = target.streams
        return handshake.accepted(request)

    def opened(self) -> None:
        """Subscribe to the streams of the URL."""
        if not self._subscriptions.add(list(self._asked)):
            self._connection.close(1008, "too many streams")

    def hear(self, text: str) -> None:
        """Carry out a control message."""
        self._connection.say(control.answer(text, self._subscriptions))

    def shutdown_notice(self) -> bytes:
        """The event ``serverShutdown``, raw or combined."""
        now_us = self._clock.now_us()
        text = '{{"e":"serverShutdown","E":{}}}'
        notice = Message("!serverShutdown", "", lambda micro: text.format(stamp(now_us, micro)))
        return notice.frame(self._subscriptions.combined, self._microseconds)

    def ended(self) -> None:
        """Give up all subscriptions."""
        for stream in self.streams:
            self._hub.unsubscribe(self, stream)

    def look(self) -> dict[str, Any]:
        """Subscriptions and their shape."""
        return {
            "streams": list(self.streams),
            "combined": self._subscriptions.combined,
            "microseconds": self._microseconds,
        }
