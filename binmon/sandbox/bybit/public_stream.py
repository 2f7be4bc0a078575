"""The public stream: what is said on its connections (reference: Bybit v5, 4.1 and 4.2)."""

from __future__ import annotations

from typing import Any

from ..clock import VenueClock
from ..connection import Connection
from ..hub import Message
from .dialogue import MOST_ARGS, MOST_LETTERS, BybitDialogue, topics_of
from .feed import Feed
from .topics import Topic

SERVICE = "bybit_public"
PATH = "/v5/public/spot"


class PublicDialogue(BybitDialogue):
    """A connection of the public stream and its topics."""

    def __init__(self, connection: Connection, clock: VenueClock, idle_s: float, feed: Feed) -> None:
        super().__init__(connection, clock, idle_s)
        self._feed = feed
        self._topics: dict[str, Topic] = {}

    @property
    def backlog_bytes(self) -> int:
        """Bytes the client has not taken yet."""
        return self.connection.backlog_bytes

    @property
    def streams(self) -> tuple[str, ...]:
        """What it listens to, in order of subscription."""
        return tuple(self._topics)

    def deliver(self, message: Message) -> None:
        """Queue an event (called by the hub)."""
        if self.connection.delivering:
            self.connection.deliver(message.frame(False, False))

    def flush(self) -> None:
        """Write what is queued, as far as it goes without waiting."""
        self.connection.flush()

    def carry_out(self, op: str, request: dict[str, Any]) -> None:
        """Subscribe, unsubscribe, ping."""
        if op == "ping":
            self.acknowledge(request, "pong", op="ping")
        elif op == "subscribe":
            self._subscribe(request)
        elif op == "unsubscribe":
            for name in topics_of(request) or []:
                if self._topics.pop(name, None) is not None:
                    self._feed.leave(self, name)
            self.acknowledge(request, "")
        else:
            self.refuse(request, "error:invalid op")

    def ended(self) -> None:
        """Give up all topics."""
        for name in self.streams:
            self._feed.leave(self, name)

    def _subscribe(self, request: dict[str, Any]) -> None:
        """Subscribe to all topics of a request, or to none."""
        names = topics_of(request)
        if names is None:
            self.refuse(request, "error:params error")
            return
        if len(names) > MOST_ARGS:
            self.refuse(request, "args size >10")
            return
        if sum(map(len, (*self._topics, *names))) > MOST_LETTERS:
            self.refuse(request, "error:args length exceeds the limit")
            return
        found: dict[str, Topic] = {}
        for name in names:
            topic = self._feed.find(name)
            if topic is None:
                self.refuse(request, f"error:handler not found,topic:{name}")
                return
            if name in self._topics or name in found:
                self.refuse(request, f"error:already subscribed,topic:{name}")
                return
            found[name] = topic
        self.acknowledge(request, "subscribe")
        for name, topic in found.items():
            self._topics[name] = topic
            self._feed.join(self, topic)
