"""Connections as supervised workers that come and go while the daemon runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from binmon.core.backoff import BackoffPolicy
from binmon.core.channel import Channel
from binmon.core.supervisor import Supervisor
from binmon.net.ledger import RateLedger
from binmon.net.posts import Post
from binmon.net.stream import StreamConnection
from binmon.venues.base import BookStart, Heartbeat, Venue
from binmon.venues.trading import UserStreamVenue

_BACKOFF = BackoffPolicy(first_s=0.1, cap_s=30.0)

Make = Callable[[str, tuple[str, ...]], StreamConnection]
"""A connection called so, that carries these streams; it is not started yet."""


def market_connections(venue: Venue, inbox: Channel[Any], ledger: RateLedger) -> Make:
    """Connections to the market streams of ``venue``. Where its books start on the stream, subscriptions are posted."""
    takes_posts = venue.book_rules.start is BookStart.STREAM_SNAPSHOT

    def make(feed: str, streams: tuple[str, ...]) -> StreamConnection:
        plan = venue.stream_plan(feed, streams)
        heartbeat, every_s = _parted(plan.heartbeat)
        return StreamConnection(
            feed,
            venue=venue.name,
            url=plan.url,
            streams=plan.streams,
            opening_messages=plan.opening_messages,
            takes_posts=takes_posts,
            silence_s=plan.silence_s,
            heartbeat=heartbeat,
            heartbeat_every_s=every_s,
            out=inbox,
            ledger=ledger,
        )

    return make


def user_connections(venue: UserStreamVenue, inbox: Channel[Any], ledger: RateLedger) -> Make:
    """Connections to the user-data stream of ``venue``; orders may be posted on them."""

    def make(feed: str, streams: tuple[str, ...]) -> StreamConnection:
        heartbeat, every_s = _parted(venue.heartbeat)
        return StreamConnection(
            feed,
            venue=venue.name,
            url=venue.user_stream_url,
            streams=streams,
            opening_messages=venue.opening_messages,
            takes_posts=True,
            silence_s=venue.silence_s,
            heartbeat=heartbeat,
            heartbeat_every_s=every_s,
            out=inbox,
            ledger=ledger,
        )

    return make


def _parted(heartbeat: Heartbeat | None) -> tuple[bytes | None, float]:
    """What a connection is told of a heartbeat; the pause of none says nothing."""
    return (None, 1.0) if heartbeat is None else (heartbeat.message, heartbeat.every_s)


class Sockets:
    """Opens, ends and reconnects the connections of one consumer; call it from that consumer's thread only, but for
    ``post``."""

    def __init__(self, make: Make, supervisor: Supervisor, ledger: RateLedger, *, stage: int = 0) -> None:
        """``stage`` is when they end at a stop, see `Supervisor.add`."""
        self._make, self._supervisor, self._ledger, self._stage = make, supervisor, ledger, stage
        self._workers: dict[str, StreamConnection] = {}

    def open(self, group: str, feed: str, streams: tuple[str, ...]) -> None:
        """Start a connection called ``feed`` for these streams of ``group``. One that is here already is no error: whoever
        failed in the midst of this does it again."""
        worker = self._workers.get(feed) or self._make(feed, streams)
        self._workers[feed] = worker
        self._supervisor.add(worker, stage=self._stage, policy=_BACKOFF)

    def close(self, feed: str, reason: str) -> None:
        """End a connection for good; it says ``reason`` when it is down."""
        worker = self._workers.get(feed)
        if worker is not None:
            worker.say_why(reason)
            self._supervisor.retire(worker)
            self._ledger.forget_outgoing(feed)
            self._workers.pop(feed, None)  # last, so that what failed in the midst of this can be done again

    def reconnect(self, feed: str, reason: str) -> None:
        """End a connection, to be opened anew under the same name; unknown ones are no error."""
        worker = self._workers.get(feed)
        if worker is not None:
            worker.reconnect(reason)

    def post(self, feed: str, post: Post) -> bool:
        """Have a text sent on a connection, from any thread; False when it is not up."""
        worker = self._workers.get(feed)
        return worker is not None and worker.post(post)

    def say(self, feed: str, texts: tuple[bytes, ...]) -> None:
        """Send texts on a connection that takes posts; one that is not up will begin afresh anyway."""
        for text in texts:
            self.post(feed, Post(text, _told_nobody, _told_nobody))


def _told_nobody(*_: object) -> None:
    """Nobody waits for it: what comes of a text shows in what the venue sends."""
