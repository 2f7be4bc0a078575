"""Faults of connections: what is cut, stalled, slowed down, refused or sent between the events, on every service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .connection import Connection
from .fault_kinds import BadFault
from .frame_faults import frame_bytes
from .stream_shape import BINANCE, StreamShape
from .websocket_server import WebSocketServer
from .ws_api import ApiDialogue

Later = Callable[[float, Callable[[], None]], None]
"""Does something after some seconds, unless the faults are cleared before."""


class ConnectionFaults:
    """What can be done to connections. The methods take checked options and raise :class:`BadFault`.

    ``mute`` loses the events of some connections for a while, whichever service they belong to.
    """

    def __init__(
        self,
        services: Sequence[WebSocketServer],
        later: Later,
        mute: Callable[[dict[str, Any], list[Connection]], None],
        shape: StreamShape = BINANCE,
    ) -> None:
        self._services = services
        self._later = later
        self._mute = mute
        self._shape = shape
        self._refusals: list[tuple[str, str | None, float]] = []
        self.kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "disconnect": self.disconnect,
            "stall": self.stall,
            "slow_link": self.slow_link,
            "server_shutdown": self.server_shutdown,
            "refuse_connections": self.refuse_connections,
            "stream_terminated": self.stream_terminated,
        }

    def all(self, service: str | None = None) -> list[Connection]:
        """All connections alive, of one service or of all."""
        return [
            connection
            for one in self._services
            if service is None or one.service == service
            for connection in one.connections()
        ]

    def chosen(self, options: dict[str, Any]) -> list[Connection]:
        """Connections that pass the filters of a request."""
        wanted, streams, symbols = options.get("connection"), options.get("streams"), options.get("symbols")
        chosen = []
        for connection in self.all(options.get("service")):
            names = connection.dialogue.streams
            if wanted is not None and connection.identifier not in wanted:
                continue
            if streams is not None and not set(streams) & set(names):
                continue
            if symbols is not None and not set(map(self._shape.symbol_of, names)) & set(symbols):
                continue
            chosen.append(connection)
        return chosen

    def require(self, number: int) -> None:
        """Refuse the number of a connection that is not open."""
        alive = [connection.identifier for connection in self.all()]
        if number not in alive:
            raise BadFault(f"connection {number} is not open, expected one of {', '.join(map(str, alive)) or 'none'}")

    def refusal(self, service: str) -> str | None:
        """How new connections of a service are refused now (the latest request counts); ``None``: they are not."""
        modes = [mode for mode, one, _ in self._in_force() if one in (None, service)]
        return modes[-1] if modes else None

    def active(self) -> list[dict[str, Any]]:
        """Refusals that are still in force."""
        return [
            {"kind": "refuse_connections", "mode": mode} | ({"service": service} if service is not None else {})
            for mode, service, _ in self._in_force()
        ]

    def _in_force(self) -> list[tuple[str, str | None, float]]:
        now = time.monotonic()
        return [refusal for refusal in self._refusals if now < refusal[2]]

    def clear(self) -> None:
        """Refuse nobody, and revive every connection."""
        self._refusals = []
        for connection in self.all():
            connection.revive()

    def send_frames(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        """Send frames that no sane server sends."""
        connections = self.chosen(options)
        data = frame_bytes(kind, options)
        for connection in connections:
            for _ in range(options["count"]):
                connection.send_bytes(data)
        return hit(kind, connections)

    def disconnect(self, options: dict[str, Any]) -> dict[str, Any]:
        """End connections."""
        connections = self.chosen(options)
        code = options["code"]
        if options["mode"] == "close_frame" and not (
            1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code < 5000
        ):
            raise BadFault(
                f"disconnect: {code} cannot stand in a close frame, expected 1000-1003, 1007-1014, 3000-4999"
            )
        for connection in connections:
            if options["mode"] == "close_frame":
                connection.close(code, options["reason"])
            else:
                connection.end_abruptly(reset=options["mode"] == "rst")
        return hit("disconnect", connections)

    def stall(self, options: dict[str, Any]) -> dict[str, Any]:
        """Deliver no events on the connections of now: a client that reconnects is served again."""
        connections = self.chosen(options)
        if not options["pongs"]:
            for connection in connections:
                connection.play_dead(options["seconds"])
        elif connections:
            self._mute(options, connections)
        return hit("stall", connections)

    def slow_link(self, options: dict[str, Any]) -> dict[str, Any]:
        """Delay all frames."""
        connections = self.chosen(options)
        for connection in connections:
            connection.outbox.slow_down(options["delay_ms"] / 1000, options["bytes_per_s"], options["seconds"])
        return hit("slow_link", connections)

    def server_shutdown(self, options: dict[str, Any]) -> dict[str, Any]:
        """Announce the end, and bring it where that is asked for."""
        connections = self.chosen(options)
        for connection in connections:
            connection.announce_shutdown()
        if options["close_after_s"] is not None:

            def close() -> None:
                for connection in connections:
                    connection.close(1001, "server shutdown")

            self._later(options["close_after_s"], close)
        return hit("server_shutdown", connections)

    def refuse_connections(self, options: dict[str, Any]) -> dict[str, Any]:
        """Refuse new connections for a while."""
        until = time.monotonic() + options["seconds"]
        self._refusals = [*self._in_force(), (options["mode"], options["service"], until)]
        return {"kind": "refuse_connections"}

    def stream_terminated(self, options: dict[str, Any]) -> dict[str, Any]:
        """End user data subscriptions, and say so."""
        concerned = []
        for connection in self.chosen(options):
            dialogue = connection.dialogue
            if not isinstance(dialogue, ApiDialogue):
                continue
            numbers = [
                one.identifier
                for one in dialogue.session.subscriptions
                if options["subscription"] is None or one.identifier in options["subscription"]
                if options["account"] is None or one.account.name == options["account"]
            ]
            if numbers:
                concerned.append(connection)
                connection.command(lambda dialogue=dialogue, numbers=numbers: dialogue.terminate(numbers))  # type: ignore[misc]
        return hit("stream_terminated", concerned)


def hit(kind: str, connections: list[Connection]) -> dict[str, Any]:
    """What the fault desk answers: the connections that a fault has reached."""
    return {"kind": kind, "connections": [connection.identifier for connection in connections]}
