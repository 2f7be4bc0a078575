"""Which sockets carry a set of streams: replaced before they end, doubled where the operator asks for it.

Plain objects without I/O: they take what happened and ``now`` (monotonic seconds), change state, and leave what should
be done in ``effects``. Whoever reads the frames pumps them.

A socket is replaced by make-before-break: its successor connects, subscribes and delivers before it closes. Both feeds
overlap until the successor has shown every stream that the predecessor still shows; the reader merges by update id.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

DAY_S = 86_400.0
LIFE_S = DAY_S  # Binance Spot: a stream connection lives for 24 hours
MARGIN_S = 600.0  # a socket is replaced at least so long before its end
OVERLAP_S = 1.0  # both feeds deliver for at least so long: ten times the aggregation of depth@100ms
# What the venue publishes before it has taken a new subscription, about one round trip, comes on the predecessor alone.
SETTLE_S = 2.0
CATCH_UP_WITHIN_S = 5.0  # how long a predecessor may take to come to where its successor began
QUIET_S = 5.0  # the same where neither feed has anything to deliver
PROOF_WITHIN_S = 30.0  # a successor that has not shown all streams by then is given up for another
_RETRY_S = 10.0  # until the next successor is tried; twice as long after each that was given up
_LONGEST_RETRY_S = 300.0  # a socket that is to be replaced has MARGIN_S left


@dataclass(frozen=True, slots=True)
class RotationWindow:
    """When in a day (UTC, seconds after midnight) sockets are best replaced. ``end_s`` may lie in the next day."""

    start_s: float
    end_s: float

    @classmethod
    def parse(cls, text: str) -> RotationWindow:
        """``HH:MM-HH:MM``. Raises ValueError."""
        start, _, end = text.partition("-")
        begin_s, end_s = _seconds_of(start), _seconds_of(end)
        return cls(begin_s, end_s if end_s > begin_s else end_s + DAY_S)

    def due_s(self, opened_s: float, share: float, life_s: float = LIFE_S, margin_s: float = MARGIN_S) -> float:
        """When a socket opened at ``opened_s`` (UTC seconds) should be replaced.

        Within the last window that opens in its life, at ``share`` (0 to 1, random) of what is left of it, so that many
        sockets do not move at once; if there is none, ``margin_s`` before its end.
        """
        latest_s = opened_s + life_s - margin_s
        midnight_s = latest_s // DAY_S * DAY_S
        for day in (0.0, -1.0, -2.0):
            opens_s = midnight_s + day * DAY_S + self.start_s
            closes_s = opens_s + self.end_s - self.start_s
            if opens_s > latest_s:
                continue
            if opens_s <= opened_s:
                # Born in the last window that opens in its life. Where some of it is left, it moves once more, or it
                # would have to outside of every window.
                left_s = closes_s - opened_s - margin_s
                return opened_s + margin_s + share * left_s if left_s > 0 else latest_s
            return opens_s + share * (min(closes_s, latest_s) - opens_s)
        return latest_s


def _seconds_of(text: str) -> float:
    hours, _, minutes = text.strip().partition(":")
    if not (hours.isdigit() and minutes.isdigit() and int(hours) < 24 and int(minutes) < 60):
        raise ValueError(f"not a time of day: {text!r}, expected HH:MM")
    return 3600.0 * int(hours) + 60.0 * int(minutes)


@dataclass(frozen=True, slots=True)
class OpenFeed:
    """Open a socket for the streams of a group."""

    group: str
    feed: str
    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloseFeed:
    """End a socket for good."""

    feed: str
    reason: str


@dataclass(frozen=True, slots=True)
class FeedRotated:
    """``successor`` has taken over. For ``overlap_ms`` both delivered."""

    group: str
    predecessor: str
    successor: str
    streams: tuple[str, ...]
    reason: str
    overlap_ms: float


Effect = OpenFeed | CloseFeed | FeedRotated


class FeedState(enum.Enum):
    """Where one socket of a group stands."""

    OPENING = "opening"  # asked for, or lost and being opened again
    PROVING = "proving"  # a successor that is up, beside its predecessor
    LIVE = "live"  # carries the streams
    CLOSING = "closing"  # told to end


_ALLOWED = {
    FeedState.OPENING: {FeedState.PROVING, FeedState.LIVE, FeedState.CLOSING},
    # a successor may be lost before it has taken over, or be promoted by the loss of its predecessor
    FeedState.PROVING: {FeedState.OPENING, FeedState.LIVE, FeedState.CLOSING},
    FeedState.LIVE: {FeedState.OPENING, FeedState.CLOSING},
    FeedState.CLOSING: set(),
}


@dataclass(slots=True)
class _Proof:
    """What a successor has still to show, from when it came up (``since_s``)."""

    since_s: float
    first_seen_s: float | None = None
    shown: set[str] = field(default_factory=set)
    owed: set[str] = field(default_factory=set)  # streams that the successor has still to show
    reached: dict[str, int] = field(default_factory=dict)  # stream -> last id from the predecessor until it is shown
    # stream -> first id from the successor, where the predecessor has not come to it
    behind: dict[str, int] = field(default_factory=dict)

    @property
    def began_s(self) -> float:
        """From when on both feeds delivered."""
        return self.since_s if self.first_seen_s is None else self.first_seen_s

    def complete(self, now_s: float) -> bool:
        if now_s - self.since_s < SETTLE_S + OVERLAP_S:
            return False
        # where neither shows anything there is nothing to compare, and a little patience must do
        if now_s - self.began_s < (QUIET_S if self.first_seen_s is None else OVERLAP_S):
            return False
        if self.behind and now_s - self.began_s < CATCH_UP_WITHIN_S:
            return False  # what is on its way on the predecessor alone would be lost with it
        return not self.owed

    def hopeless(self, now_s: float) -> bool:
        """Long up, and streams are missing."""
        return now_s - self.since_s > PROOF_WITHIN_S and bool(self.owed)


@dataclass(slots=True)
class Feed:
    """One socket of a group. ``replaces`` names the predecessor of a successor, ``wanted`` is why it needs one."""

    name: str
    streams: tuple[str, ...]
    share: float
    state: FeedState = FeedState.OPENING
    replaces: str | None = None
    reason: str = ""
    opened_s: float = 0.0  # monotonic, since it last came up
    down_s: float = 0.0
    wanted: str | None = None
    proof: _Proof | None = None

    def move_to(self, state: FeedState) -> None:
        """The only writer of ``state``."""
        if state not in _ALLOWED[self.state]:
            raise RuntimeError(f"feed {self.name}: {self.state.name} -> {state.name} is not allowed")
        self.state = state


class FeedGroup:
    """The sockets that carry one set of streams: ``redundancy`` of them, and successors on their way."""

    def __init__(
        self,
        name: str,
        streams: Iterable[str],
        window: RotationWindow,
        *,
        redundancy: int = 1,
        life_s: float = LIFE_S,
        margin_s: float = MARGIN_S,
        rng: random.Random | None = None,
    ) -> None:
        self.name, self.streams, self.window = name, tuple(streams), window
        self.redundancy = redundancy
        self.effects: deque[Effect] = deque()
        self.feeds: dict[str, Feed] = {}
        self._life_s, self._margin_s = life_s, margin_s
        self._random = rng or random.Random()
        self._counter = 0
        self._not_before_s = 0.0  # after a successor that had to be given up
        self._given_up = 0  # in a row

    @property
    def overlapping(self) -> bool:
        """Whether a successor is being proved: only then ``on_event`` needs to be called."""
        return any(feed.state is FeedState.PROVING for feed in self.feeds.values())

    # What happens -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the sockets."""
        for _ in range(self.redundancy - len(self.feeds)):
            self._open(None, "start")

    def on_up(self, name: str, now_s: float, owed: Iterable[str] = ()) -> None:
        """A socket is connected and has asked for its streams. A successor has to show those that its predecessor shows,
        and ``owed``: of which is known that they would show themselves at once."""
        feed = self.feeds.get(name)
        if feed is None or feed.state is not FeedState.OPENING:
            return
        feed.opened_s = now_s
        if feed.replaces in self.feeds:
            feed.move_to(FeedState.PROVING)
            feed.proof = _Proof(now_s, owed=set(owed).intersection(feed.streams))
        else:
            feed.replaces = None
            self._be_eager()
            feed.move_to(FeedState.LIVE)

    def on_event(self, name: str, stream: str, now_s: float, last_update_id: int = 0) -> None:
        """A socket has delivered an event of a stream. Needed while ``overlapping``."""
        feed = self.feeds.get(name)
        if feed is None:
            return
        if feed.proof is not None:
            if feed.proof.first_seen_s is None:
                feed.proof.first_seen_s = now_s
            if stream not in feed.proof.shown and feed.proof.reached.get(stream, -1) < last_update_id:
                feed.proof.behind[stream] = last_update_id
            feed.proof.shown.add(stream)
            feed.proof.owed.discard(stream)
            return
        for other in self.feeds.values():
            proof = other.proof
            if proof is None or other.replaces != name or stream not in other.streams:
                continue
            if stream not in proof.shown:
                proof.reached[stream] = last_update_id
                if now_s - proof.since_s >= SETTLE_S:
                    proof.owed.add(stream)
            elif last_update_id >= proof.behind.get(stream, last_update_id):
                proof.behind.pop(stream, None)

    def on_down(self, name: str, now_s: float) -> None:
        """A socket has ended. Unless it was told to, it is being opened again under its name."""
        feed = self.feeds.get(name)
        if feed is None:
            return
        if feed.state is FeedState.CLOSING:
            del self.feeds[name]
            return
        successor = self._successor_of(name)
        if successor is not None and successor.state is FeedState.PROVING:
            self._take_over(successor, now_s)
            del self.feeds[name]
            return
        if feed.state is not FeedState.OPENING:
            feed.proof, feed.down_s = None, now_s
            feed.move_to(FeedState.OPENING)

    def refused(self, name: str) -> None:
        """The venue refused what a socket asked for: a successor like that must not take over."""
        feed = self.feeds.get(name)
        if feed is not None and feed.state is FeedState.PROVING:
            self._give_up(feed, feed.opened_s, "the venue refused its streams")

    def rotate(self, reason: str, name: str | None = None) -> None:
        """Replace one socket, or all; those that have a successor on its way already keep it."""
        for feed in list(self.feeds.values()):
            if feed.name == name and feed.state is FeedState.PROVING:
                feed.wanted = feed.wanted or reason  # as soon as it has taken over
            if name in (None, feed.name) and feed.state is FeedState.LIVE:
                feed.wanted = feed.wanted or reason
                if self._successor_of(feed.name) is None:
                    self._open(feed.name, feed.wanted)

    def change(self, streams: Iterable[str], reason: str) -> None:
        """Carry other streams from now on: by successors that ask for them."""
        self.streams = tuple(streams)
        self._be_eager()
        for feed in list(self.feeds.values()):
            # one that is up already may be all that carries a stream: it takes over, and is replaced then
            if feed.replaces is not None and feed.streams != self.streams and feed.state is FeedState.OPENING:
                self._close(feed, reason)  # it would bring what is not wanted any more
        if self.streams:
            self.rotate(reason)
            for feed in list(self.feeds.values()):
                if self._successor_of(feed.name) is not None:
                    continue  # which takes over
                if feed.state is FeedState.OPENING and feed.replaces is None and feed.streams != self.streams:
                    self._close(feed, reason)  # not up: nothing to overlap with
                    self._open(None, reason)
            # those that were told to end while there was nothing to carry do not come back
            carrying = sum(
                feed.replaces is None and feed.state is not FeedState.CLOSING for feed in self.feeds.values()
            )
            for _ in range(self.redundancy - carrying):
                self._open(None, reason)
        else:
            for feed in list(self.feeds.values()):
                self._close(feed, reason)

    def tick(self, now_s: float, now_utc_s: float) -> None:
        """Time passed: proofs become complete, sockets become old, sets of streams become stale."""
        for feed in list(self.feeds.values()):
            if feed.proof is not None and feed.state is FeedState.PROVING:
                if feed.proof.complete(now_s):
                    old = self.feeds[feed.replaces or ""]
                    self._take_over(feed, now_s if old.state is FeedState.LIVE else old.down_s)
                elif feed.proof.hopeless(now_s):
                    self._give_up(feed, now_s, f"it does not deliver {len(feed.proof.owed)} of its streams")
            elif feed.state is FeedState.LIVE and now_s >= self._not_before_s:
                opened_utc_s = now_utc_s - (now_s - feed.opened_s)
                due_s = self.window.due_s(opened_utc_s, feed.share, self._life_s, self._margin_s)
                if now_utc_s >= due_s:
                    self.rotate("age", feed.name)
                elif feed.streams != self.streams:
                    self.rotate("symbols changed", feed.name)
                elif feed.wanted is not None:
                    self.rotate(feed.wanted, feed.name)

    # Inside -------------------------------------------------------------------------------------------------------

    def _open(self, replaces: str | None, reason: str) -> None:
        self._counter += 1
        feed = Feed(
            f"{self.name}.{self._counter}", self.streams, self._random.random(), replaces=replaces, reason=reason
        )
        self.feeds[feed.name] = feed
        self.effects.append(OpenFeed(self.name, feed.name, feed.streams))

    def _give_up(self, successor: Feed, now_s: float, reason: str) -> None:
        # what is refused today is refused tomorrow: each try is a connection, and counts with the venue
        self._not_before_s = now_s + min(_RETRY_S * 2.0 ** min(self._given_up, 10), _LONGEST_RETRY_S)
        self._given_up += 1
        self._close(successor, reason)

    def _be_eager(self) -> None:
        """What made successors fail may be over."""
        self._given_up, self._not_before_s = 0, 0.0

    def _close(self, feed: Feed, reason: str) -> None:
        if feed.state is FeedState.CLOSING:
            return
        up = feed.state in (FeedState.LIVE, FeedState.PROVING)
        feed.proof = None
        feed.move_to(FeedState.CLOSING)
        self.effects.append(CloseFeed(feed.name, reason))
        if not up:
            del self.feeds[feed.name]  # nobody will say that it is down

    def _take_over(self, successor: Feed, until_s: float) -> None:
        """The successor carries the streams alone; ``until_s`` ends the overlap."""
        proof, old = successor.proof, self.feeds[successor.replaces or ""]
        assert proof is not None
        successor.proof = None
        successor.move_to(FeedState.LIVE)
        successor.replaces = None
        self._given_up = 0
        if until_s > proof.began_s:
            overlap_ms = (until_s - proof.began_s) * 1000
            self.effects.append(
                FeedRotated(self.name, old.name, successor.name, successor.streams, successor.reason, overlap_ms)
            )
        self._close(old, f"rotated: {successor.reason}")

    def _successor_of(self, name: str) -> Feed | None:
        for feed in self.feeds.values():
            if feed.replaces == name and feed.state is not FeedState.CLOSING:
                return feed
        return None
