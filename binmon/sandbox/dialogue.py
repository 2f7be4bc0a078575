"""What a websocket connection is about, as the connection sees it."""

from __future__ import annotations

from typing import Any, Protocol

from websockets.http11 import Request


class Dialogue(Protocol):
    """What a connection is about: which URLs it takes, what a text means, what it says by itself.

    The connection's thread calls all of these but :attr:`streams`, :meth:`shutdown_notice` and :meth:`look`, which
    any thread may use.
    """

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the market streams it listens to; none where there are no such things."""

    def greet(self, request: Request) -> tuple[bytes, bool]:
        """The answer to the upgrade request, and whether the connection is a websocket now."""

    def opened(self) -> None:
        """Events may follow: they go out after the answer."""

    def hear(self, text: str) -> None:
        """A text message has arrived."""

    def shutdown_notice(self) -> bytes:
        """The frame that announces ``serverShutdown`` on this connection."""

    def ended(self) -> None:
        """The connection is gone."""

    def look(self) -> dict[str, Any]:
        """What ``GET /sandbox/state`` tells beside the figures of the connection itself."""
