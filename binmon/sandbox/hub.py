"""Who listens to what: the subscription registry and the fan-out of events.

An event is printed and framed at most once for each form in use (raw or combined, milliseconds or microseconds); all
subscribers get the same bytes. Faults on events are asked once an event, so that all subscribers of a stream lose or
repeat the same one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from . import frames


class Message:
    """One event of one stream in all the forms a connection may want; the forms are made on demand and kept."""

    __slots__ = ("_frames", "_payloads", "_printer", "stream", "symbol")

    def __init__(self, stream: str, symbol: str, printer: Callable[[bool], str]) -> None:
        self.stream = stream
        self.symbol = symbol
        self._printer = printer
        self._payloads: dict[bool, str] = {}
        self._frames: dict[tuple[bool, bool], bytes] = {}

    def payload(self, micro: bool) -> str:
        """The bare event as JSON text, timestamps in µs when ``micro``."""
        text = self._payloads.get(micro)
        if text is None:
            text = self._payloads[micro] = self._printer(micro)
        return text

    def text(self, combined: bool, micro: bool) -> str:
        """The text a connection gets: bare, or wrapped with its stream name."""
        payload = self.payload(micro)
        return f'{{"stream":"{self.stream}","data":{payload}}}' if combined else payload

    def frame(self, combined: bool, micro: bool) -> bytes:
        """The same as a ready websocket frame."""
        ready = self._frames.get((combined, micro))
        if ready is None:
            ready = self.frame_of(self.text(combined, micro))
            self._frames[combined, micro] = ready
        return ready

    def frame_of(self, text: str) -> bytes:
        """How a text becomes bytes; faults replace this."""
        return frames.frame(text.encode())


class Subscriber(Protocol):
    """A connection, as the hub sees it."""

    @property
    def identifier(self) -> int:
        """Number of the connection."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes queued for it that its socket has not taken yet."""

    def deliver(self, message: Message) -> None:
        """Queue an event; must not block."""

    def flush(self) -> None:
        """Write what is queued, as far as the socket takes it without blocking."""


class Interceptor(Protocol):
    """Something that may change what is delivered; ``armed`` is false nearly always."""

    armed: bool

    def rewrite(self, message: Message, subscriber: Subscriber) -> list[Message]:
        """What this subscriber gets instead of the message."""

    def begin(self, message: Message, subscribers: Iterable[Subscriber]) -> bool:
        """Decide once an event which faults hit it; false when none does."""

    def release(self) -> list[tuple[Subscriber, Message]]:
        """Events that were held back and are due now, in order."""


class StreamHub:
    """Registry of subscriptions and fan-out. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[str, tuple[Subscriber, ...]] = {}
        self._waiting_lock = threading.Lock()
        self._waiting: set[Subscriber] = set()
        self._intercept_lock = threading.Lock()
        self.interceptor: Interceptor | None = None
        self.on_subscribe: Callable[[list[str]], None] | None = None
        """Called with the stream names somebody has just subscribed to (the replay waits for its first ones)."""

    def subscribe(self, subscriber: Subscriber, streams: list[str]) -> None:
        """Add a subscriber to streams; adding it twice changes nothing."""
        with self._lock:
            for stream in streams:
                present = self._subscribers.get(stream, ())
                if subscriber not in present:
                    self._subscribers[stream] = (*present, subscriber)
        if self.on_subscribe is not None:
            self.on_subscribe(streams)

    def unsubscribe(self, subscriber: Subscriber, stream: str) -> None:
        """Remove a subscriber from a stream; unknown ones are ignored."""
        with self._lock:
            left = tuple(other for other in self._subscribers.get(stream, ()) if other is not subscriber)
            if left:
                self._subscribers[stream] = left
            else:
                self._subscribers.pop(stream, None)

    def subscribers(self, stream: str) -> tuple[Subscriber, ...]:
        """Everyone who listens to a stream."""
        return self._subscribers.get(stream, ())

    def wanted(self, stream: str) -> bool:
        """Whether anybody listens to a stream."""
        return stream in self._subscribers

    def wanted_streams(self) -> list[str]:
        """All streams somebody listens to."""
        with self._lock:
            return list(self._subscribers)

    def largest_backlog(self) -> int:
        """Bytes waiting for the slowest subscriber."""
        with self._lock:
            everyone = {subscriber for group in self._subscribers.values() for subscriber in group}
        return max((subscriber.backlog_bytes for subscriber in everyone), default=0)

    def publish(self, stream: str, symbol: str, printer: Callable[[bool], str]) -> None:
        """Queue one event for all subscribers of a stream; ``printer(microseconds)`` makes its JSON."""
        subscribers = self._subscribers.get(stream)
        if subscribers:
            self.publish_message(Message(stream, symbol, printer), subscribers)

    def publish_message(self, message: Message, subscribers: tuple[Subscriber, ...]) -> None:
        """Queue a ready message for the given subscribers, faults applied."""
        interceptor = self.interceptor
        if interceptor is not None and interceptor.armed:
            with self._intercept_lock:
                if interceptor.begin(message, subscribers):
                    for subscriber in subscribers:
                        for replacement in interceptor.rewrite(message, subscriber):
                            subscriber.deliver(replacement)
                else:
                    for subscriber in subscribers:
                        subscriber.deliver(message)
        else:
            for subscriber in subscribers:
                subscriber.deliver(message)
        with self._waiting_lock:
            self._waiting.update(subscribers)

    def release_held(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Queue what a fault has held back and lets go now.

        ``meanwhile`` is called first, before any further event can be published past those that were held.
        """
        interceptor = self.interceptor
        if interceptor is None or not interceptor.armed:
            if meanwhile is not None:
                meanwhile()
            return
        with self._intercept_lock:
            if meanwhile is not None:
                meanwhile()
            for subscriber, message in interceptor.release():
                subscriber.deliver(message)
                with self._waiting_lock:
                    self._waiting.add(subscriber)

    def flush(self) -> None:
        """Write what the subscribers have queued; called after each burst of events."""
        self.release_held()
        with self._waiting_lock:
            if not self._waiting:
                return
            waiting, self._waiting = self._waiting, set()
        for subscriber in waiting:
            subscriber.flush()
