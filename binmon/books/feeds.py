"""The sockets behind the books: which carries what, their replacement and their comparison, for one venue."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from binmon.net.race import FeedRace
from binmon.net.rotation import CloseFeed, FeedGroup, FeedRotated, FeedState, OpenFeed, RotationWindow

log = structlog.get_logger("binmon.books")

_COMPARE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class FeedOutlets:
    """How sockets are had: ``open(group, feed, streams)``, ``close(feed, reason)``, ``reconnect(feed, reason)``.

    ``send(feed, texts)`` says something on one that is up; only for venues whose books start on the stream.
    """

    open: Callable[[str, str, tuple[str, ...]], None]
    close: Callable[[str, str], None]
    reconnect: Callable[[str, str], None]
    send: Callable[[str, tuple[bytes, ...]], None] = lambda feed, texts: None


class FeedDesk:
    """Spreads streams over groups of sockets and pumps their machines. Lives in the keeper's thread.

    ``on_event`` must be told of every event while ``watching``. ``rotated`` is called for each rotation.
    """

    def __init__(
        self,
        venue: str,
        outlets: FeedOutlets,
        rotated: Callable[[FeedRotated], None],
        *,
        window: RotationWindow,
        redundancy: int = 1,
        most_streams: int = 1024,
        rng: random.Random | None = None,
    ) -> None:
        self._venue, self._outlets, self._rotated = venue, outlets, rotated
        self._window, self._redundancy, self._most_streams = window, redundancy, most_streams
        self._random = rng
        self._groups: dict[str, FeedGroup] = {}
        self._group_of: dict[str, FeedGroup] = {}  # by feed
        self._races: dict[str, FeedRace] = {}  # by group; empty without redundancy
        self._race_of: dict[str, FeedRace] = {}  # by feed
        self._numbered = 0
        self._compare_at_s = 0.0
        self.watching = redundancy > 1
        self.rotations = 0

    def carry(self, streams: Sequence[str]) -> None:
        """Carry exactly these streams from now on, with as little moving as can be."""
        wanted = dict.fromkeys(streams)
        placed: dict[str, list[str]] = {
            name: [stream for stream in group.streams if stream in wanted] for name, group in self._groups.items()
        }
        for kept in placed.values():
            for stream in kept:
                del wanted[stream]
        missing = list(wanted)
        for members in sorted(placed.values(), key=len):
            room = self._most_streams - len(members)
            members += missing[:room]
            del missing[:room]
        if missing:
            # evenly: that leaves room in each for what is listed later
            count = -(-len(missing) // self._most_streams)
            for index in range(count):
                self._numbered += 1
                placed[f"{self._venue}-market-{self._numbered}"] = missing[index::count]
        for name, members in placed.items():
            group = self._groups.get(name)
            if group is None:
                group = FeedGroup(name, members, self._window, redundancy=self._redundancy, rng=self._random)
                self._groups[name] = group
                if self._redundancy > 1:
                    self._races[name] = FeedRace()
                group.start()
            elif not group.feeds and tuple(members) == group.streams:
                group.start()  # it could not be before
            elif tuple(members) != group.streams:
                group.change(members, "symbols changed")
        self._carry_out()

    def set_window(self, window: RotationWindow) -> None:
        """Another window from now on, for the sockets that are open too."""
        self._window = window
        for group in self._groups.values():
            group.window = window

    def on_up(self, feed: str, now_s: float, owed: Iterable[str] = ()) -> None:
        """A socket is connected and subscribed; ``owed`` as in `FeedGroup.on_up`."""
        group = self._group_of.get(feed)
        if group is not None:
            group.on_up(feed, now_s, owed)
            if group.name in self._races:
                self._race_of[feed] = self._races[group.name]
                self._race_of[feed].on_up(feed, now_s)
            self._carry_out()

    def on_down(self, feed: str, now_s: float) -> None:
        """A socket has ended."""
        group = self._group_of.get(feed)
        if group is not None:
            group.on_down(feed, now_s)
            race = self._race_of.pop(feed, None)
            if race is not None:
                race.on_down(feed)
            self._carry_out()

    def on_event(self, feed: str, stream: str, last_update_id: int, at_ns: int) -> None:
        """An event of a stream has arrived at ``at_ns`` (monotonic)."""
        group = self._group_of.get(feed)
        if group is not None and group.overlapping:
            group.on_event(feed, stream, at_ns / 1e9, last_update_id)
        race = self._race_of.get(feed)
        if race is not None:
            race.on_event(feed, stream, last_update_id, at_ns)

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

    def tick(self, now_s: float, now_utc_s: float, *, behind: bool = False) -> None:
        """What is due by time alone. ``behind``: not all that has arrived was read, so nobody can be called silent."""
        for group in self._groups.values():
            group.tick(now_s, now_utc_s)
        self._carry_out()
        for race in () if behind else self._races.values():
            for feed in race.silent():
                log.warning(
                    "stream.stalled",
                    venue=self._venue,
                    connection=feed,
                    streams=len(self._group_of[feed].streams),
                    reason="its twin delivers, and it does not",
                )
                race.on_down(feed)  # until it is up again
                self._outlets.reconnect(feed, "stalled: its twin delivers, and it does not")
        if now_s >= self._compare_at_s:
            if self._compare_at_s:
                self._report_races()
            self._compare_at_s = now_s + _COMPARE_EVERY_S

    def forget(self, stream: str) -> None:
        """A stream is no longer of interest."""
        for race in self._races.values():
            race.forget(stream)

    def carriers(self, stream: str) -> tuple[str, ...]:
        """The sockets that are up and carry a stream."""
        up = (FeedState.LIVE, FeedState.PROVING)
        return tuple(
            feed.name
            for group in self._groups.values()
            for feed in group.feeds.values()
            if feed.state in up and stream in feed.streams
        )

    def states(self) -> Mapping[str, str]:
        """The state of each socket; safe to call from any thread."""
        # list() of a dict's items is one step under the interpreter's lock
        return {
            name: feed.state.value
            for name, group in list(self._group_of.items())
            if (feed := group.feeds.get(name)) is not None  # one look: it may go between two
        }

    def _report_races(self) -> None:
        for name, race in self._races.items():
            for standing in race.standings():
                log.info(
                    "stream.compared",
                    venue=self._venue,
                    connection=standing.feed,
                    streams=len(self._groups[name].streams),
                    first=standing.first,
                    second=standing.second,
                    median_behind_ms=standing.median_behind_ms,
                    worst_behind_ms=standing.worst_behind_ms,
                )

    def _carry_out(self) -> None:
        for group in list(self._groups.values()):
            while group.effects:
                # taken away when it is done: a socket that could not be opened must not be waited for ever
                match group.effects[0]:
                    case OpenFeed(name, feed, streams):
                        self._group_of[feed] = group
                        self._outlets.open(name, feed, streams)
                    case CloseFeed(feed, reason):
                        self._outlets.close(feed, reason)
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
                        self._rotated(rotated)
                group.effects.popleft()
            if not group.streams and not group.feeds:
                del self._groups[group.name]
                self._races.pop(group.name, None)
        for feed in [feed for feed, group in self._group_of.items() if feed not in group.feeds]:
            del self._group_of[feed]
        self.watching = self._redundancy > 1 or any(group.overlapping for group in self._groups.values())
