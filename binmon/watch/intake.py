"""From the inbox of a watcher to what it watches: frames decoded, sockets looked after. Lives in the watcher's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import structlog

from binmon.messages import Candle, FrameChunk, RotateFeeds, StreamDown, StreamUp, Trade
from binmon.net.rotation import RotationWindow
from binmon.venues.base import ControlReply, MalformedFrame, ShutdownNotice
from binmon.venues.watching import SymbolsTraded, WatchingVenue
from binmon.watch.feeds import StreamLive, StreamLost, WatchFeeds

log = structlog.get_logger("binmon.watch")

Event = Candle | Trade | SymbolsTraded
Intaken = Event | StreamLive | StreamLost


class Outlet(Protocol):
    """What watchers need of a channel."""

    def offer(self, message: Any, /) -> bool:
        """Hand over without waiting; False when it was dropped."""


class Intake:
    """Takes FrameChunk, StreamUp, StreamDown, RotateFeeds and RotationWindow; anything else is not for it."""

    def __init__(self, venue: WatchingVenue, feeds: WatchFeeds, clock: Callable[[], float] = time.monotonic) -> None:
        self.feeds = feeds
        self._venue, self._clock = venue, clock
        self._decoder = venue.decoder()
        self.events = self.malformed = 0

    def takes(self, message: object) -> bool:
        """Whether the message is for the intake."""
        return isinstance(message, FrameChunk | StreamUp | StreamDown | RotateFeeds | RotationWindow)

    def take(self, message: object) -> Iterator[tuple[Intaken, int]]:
        """What the message holds, each with when it was received (monotonic nanoseconds)."""
        if isinstance(message, FrameChunk):
            yield from self._chunk(message)
        elif isinstance(message, StreamUp):
            for live in self.feeds.on_up(message, self._clock()):
                yield live, message.at_mono_ns
        elif isinstance(message, StreamDown):
            for lost in self.feeds.on_down(message, self._clock()):
                yield lost, time.monotonic_ns()
        elif isinstance(message, RotateFeeds):
            self.feeds.rotate(message.reason, message.connection)
        elif isinstance(message, RotationWindow):
            self.feeds.set_window(message)

    def _chunk(self, chunk: FrameChunk) -> Iterator[tuple[Intaken, int]]:
        for frame in chunk.frames:
            try:
                found = self._decoder.decode(frame, chunk.received_ns)
            except MalformedFrame as error:
                self.malformed += 1
                log.warning(
                    "stream.malformed",
                    venue=self._venue.name,
                    connection=chunk.connection,
                    error=str(error),
                    count=self.malformed,
                )
                continue
            for one in found:
                if isinstance(one, ShutdownNotice):
                    self.feeds.rotate("serverShutdown", chunk.connection)
                elif isinstance(one, ControlReply):
                    self._reply(one, chunk.connection)
                else:
                    self.events += 1
                    self._arrived(one, chunk)
                    yield one, chunk.received_mono_ns

    def _arrived(self, event: Event, chunk: FrameChunk) -> None:
        """Tell the feeds, which compare what a predecessor and its successor deliver."""
        if isinstance(event, Trade):
            stream: str | None = self._venue.trade_stream(event.symbol)
            event_id = event.trade_id
        elif isinstance(event, Candle):
            stream, event_id = self._venue.candle_stream(event.symbol, event.interval), event.event_time_ms
        else:
            stream, event_id = self._venue.listing_stream(), event.event_time_ms
        if stream is not None:
            self.feeds.on_event(chunk.connection, stream, event_id, chunk.received_mono_ns)

    def _reply(self, reply: ControlReply, connection: str) -> None:
        if reply.error is not None:
            log.error(
                "stream.refused",
                venue=self._venue.name,
                connection=connection,
                request=reply.request_id,
                error=reply.error,
            )
            self.feeds.refused(connection)
