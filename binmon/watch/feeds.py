"""The sockets of one watcher: which carries what, and whether a stream is live. Lives in the watcher's thread."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from binmon.messages import StreamDown, StreamUp
from binmon.net.rotation import CloseFeed, FeedGroup, FeedRotated, OpenFeed, RotationWindow

log = structlog.get_logger("binmon.watch")


@dataclass(frozen=True, slots=True)
class WatchSockets:
    """How sockets are had: ``open(group, feed, streams)``, ``close(feed, reason)``, ``reconnect(feed, reason)``."""

    open: Callable[[str, str, tuple[str, ...]], None]
    close: Callable[[str, str], None]
    reconnect: Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class StreamLive:
    """A stream is delivered, and was not before."""

    stream: str


@dataclass(frozen=True, slots=True)
class StreamLost:
    """No socket delivers the stream any more."""

    stream: str
    reason: str


class WatchFeeds:
    """Spreads streams over groups of sockets and pumps their machines, so that sockets are replaced before they end."""

    def __init__(
        self,
        venue: str,
        name: str,
        sockets: WatchSockets,
        window: RotationWindow,
        *,
        most_streams: int = 1024,
        rng: random.Random | None = None,
    ) -> None:
        """``name`` begins the names of the sockets."""
        self._venue, self._name, self._sockets, self._window = venue, name, sockets, window
        self._most_streams, self._random = most_streams, rng
        self._groups: dict[str, FeedGroup] = {}
        self._group_of: dict[str, FeedGroup] = {}  # by feed
        self._up: dict[str, tuple[str, ...]] = {}  # feed -> its streams, of those that are up
        self._carriers: dict[str, set[str]] = {}  # stream -> the feeds that deliver it
        self._numbered = 0
        self.rotations = 0

    def carry(self, streams: Sequence[str]) -> None:
        """Carry exactly these streams from now on, with as little moving as can be."""
        wanted = dict.fromkeys(streams)
        placed = {
            name: [stream for stream in group.streams if stream in wanted] for name, group in self._groups.items()
        }
        for kept in placed.values():
            for stream in kept:
                del wanted[stream]
        missing = list(wanted)
        for members in placed.values():
            room = max(0, self._most_streams - len(members))
            members += missing[:room]
            del missing[:room]
        while missing:
            self._numbered += 1
            placed[f"{self._name}-{self._numbered}"] = missing[: self._most_streams]
            del missing[: self._most_streams]
        for name, members in placed.items():
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = FeedGroup(name, members, self._window, rng=self._random)
                group.start()
            elif not group.feeds and tuple(members) == group.streams:
                group.start()  # it could not be before
            elif tuple(members) != group.streams:
                group.change(members, "other streams are watched")
        self._carry_out()

    def on_up(self, message: StreamUp, now_s: float) -> list[StreamLive]:
        """A socket is connected and has asked for its streams; those that were not live before are now."""
        group = self._group_of.get(message.connection)
        if group is None:
            return []
        live: list[StreamLive] = []
        self._up[message.connection] = message.streams
        for stream in message.streams:
            carriers = self._carriers.setdefault(stream, set())
            if not carriers:
                live.append(StreamLive(stream))
            carriers.add(message.connection)
        group.on_up(message.connection, now_s)
        self._carry_out()
        return live

    def on_down(self, message: StreamDown, now_s: float) -> list[StreamLost]:
        """A socket has ended; the streams that no other delivers are lost."""
        lost: list[StreamLost] = []
        for stream in self._up.get(message.connection, ()):
            carriers = self._carriers.get(stream, set())
            carriers.discard(message.connection)
            if not carriers and self._carriers.pop(stream, None) is not None:
                lost.append(StreamLost(stream, message.reason))
        self._up.pop(message.connection, None)  # last, so that what failed in the midst of this is done again
        group = self._group_of.get(message.connection)
        if group is not None:
            group.on_down(message.connection, now_s)
            self._carry_out()
        return lost

    def on_event(self, feed: str, stream: str, event_id: int, at_mono_ns: int) -> None:
        """An event of a stream has arrived; ``event_id`` grows with each, the same on all sockets."""
        group = self._group_of.get(feed)
        if group is not None and group.overlapping:
            group.on_event(feed, stream, at_mono_ns / 1e9, event_id)

    def is_live(self, stream: str) -> bool:
        """Whether some socket delivers the stream."""
        return stream in self._carriers

    def states(self) -> dict[str, str]:
        """The sockets by name, each ``up`` or ``connecting``; a copy, for any thread."""
        up = self._up
        return {feed: "up" if feed in up else "connecting" for feed in tuple(self._group_of)}

    def reconnect(self, stream: str, reason: str) -> None:
        """The sockets that carry a stream are worthless: connect them anew."""
        for feed in sorted(self._carriers.get(stream, ())):
            log.warning(
                "stream.stalled", venue=self._venue, connection=feed, streams=len(self._up[feed]), reason=reason
            )
            self._sockets.reconnect(feed, reason)

    def rotate(self, reason: str, feed: str | None = None) -> None:
        """Replace one socket, or all of them, now."""
        for group in self._groups.values() if feed is None else filter(None, [self._group_of.get(feed)]):
            group.rotate(reason, feed)
        self._carry_out()

    def refused(self, feed: str) -> None:
        """The venue refused a request on a socket."""
        group = self._group_of.get(feed)
        if group is not None:
            group.refused(feed)
            self._carry_out()

    def set_window(self, window: RotationWindow) -> None:
        """Another window from now on, for the sockets that are open too."""
        self._window = window
        for group in self._groups.values():
            group.window = window

    def tick(self, now_s: float, now_utc_s: float) -> None:
        """What is due by time alone."""
        for group in self._groups.values():
            group.tick(now_s, now_utc_s)
        self._carry_out()

    def _carry_out(self) -> None:
        for name, group in list(self._groups.items()):
            while group.effects:
                # taken away when it is done: a socket that could not be opened must not be waited for ever
                match group.effects[0]:
                    case OpenFeed(_, feed, streams):
                        self._group_of[feed] = group
                        self._sockets.open(name, feed, streams)
                    case CloseFeed(feed, reason):
                        self._sockets.close(feed, reason)
                    case FeedRotated() as rotated:
                        self.rotations += 1
                        log.info(
                            "stream.rotated",
                            venue=self._venue,
                            connection=rotated.successor,
                            predecessor=rotated.predecessor,
                            streams=len(rotated.streams),
                            reason=rotated.reason,
                            overlap_ms=round(rotated.overlap_ms, 3),
                        )
                group.effects.popleft()
            if not group.streams and not group.feeds:
                del self._groups[name]
        for feed in [feed for feed, group in self._group_of.items() if feed not in group.feeds]:
            del self._group_of[feed]
