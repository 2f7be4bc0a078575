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
from binmon.venues.base import Venue
from binmon.venues.trading import UserStreamVenue

_BACKOFF = BackoffPolicy(first_s=0.1, cap_s=30.0)

Make = Callable[[str, tuple[str, ...]], StreamConnection]
"""A connection called so, that carries these streams; it is not started yet."""


def market_connections(venue: Venue, inbox: Channel[Any], ledger: RateLedger) -> Make:
    """Connections to the market streams of ``venue``."""

    def make(feed: str, streams: tuple[str, ...]) -> StreamConnection:
        plan = venue.stream_plan(feed, streams)
        return StreamConnection(
            feed,
            venue=venue.name,
            url=plan.url,
            streams=plan.streams,
            opening_messages=plan.opening_messages,
            out=inbox,
            ledger=ledger,
        )

    return make


def user_connections(venue: UserStreamVenue, inbox: Channel[Any], ledger: RateLedger) -> Make:
    """Connections to the user-data stream of ``venue``; orders may be posted on them."""

    def make(feed: str, streams: tuple[str, ...]) -> StreamConnection:
        return StreamConnection(
            feed,
            venue=venue.name,
            url=venue.user_stream_url,
            streams=streams,
            opening_messages=venue.opening_messages,
            takes_posts=True,
            out=inbox,
            ledger=ledger,
        )

    return make


class Sockets:
    """Opens, ends and reconnects the connections of one consumer; call it from that consumer's thread only, but for
    ``post``."""

    def __init__(self, make: Make, supervisor: Supervisor, ledger: RateLedger, *, stage: int = 0) -> None:
        """``stage`` is when they end at a stop, see `Supervisor.add`."""
        self._make, self._supervisor, self._ledger, self._stage = make, supervisor, ledger, stage
        self._workers: dict[str, StreamConnection] = {}

    def open(self, group: str, feed: str, streams: tuple[str, ...]) -> None:
        """Start a connection called ``feed`` for these streams of ``group``."""
        worker = self._workers[feed] = self._make(feed, streams)
        self._supervisor.add(worker, stage=self._stage, policy=_BACKOFF)

    def close(self, feed: str, reason: str) -> None:
        """End a connection for good; it says ``reason`` when it is down."""
        worker = self._workers.pop(feed, None)
        if worker is not None:
            worker.say_why(reason)
            self._supervisor.retire(worker)
            self._ledger.forget_outgoing(feed)

    def reconnect(self, feed: str, reason: str) -> None:
        """End a connection, to be opened anew under the same name; unknown ones are no error."""
        worker = self._workers.get(feed)
        if worker is not None:
            worker.reconnect(reason)

    def post(self, feed: str, post: Post) -> bool:
        """Have a text sent on a connection, from any thread; False when it is not up."""
        worker = self._workers.get(feed)
        return worker is not None and worker.post(post)
