"""Stream connections as supervised workers that come and go while the daemon runs."""

from __future__ import annotations

from typing import Any

from binmon.core.backoff import BackoffPolicy
from binmon.core.channel import Channel
from binmon.core.supervisor import Supervisor
from binmon.net.ledger import RateLedger
from binmon.net.stream import StreamConnection
from binmon.venues.base import Venue

_BACKOFF = BackoffPolicy(first_s=0.1, cap_s=30.0)


class Sockets:
    """Opens, ends and reconnects the connections of one consumer; call it from that consumer's thread only."""

    def __init__(self, venue: Venue, supervisor: Supervisor, inbox: Channel[Any], ledger: RateLedger) -> None:
        self._venue, self._supervisor, self._inbox, self._ledger = venue, supervisor, inbox, ledger
        self._workers: dict[str, StreamConnection] = {}

    def open(self, group: str, feed: str, streams: tuple[str, ...]) -> None:
        """Start a connection called ``feed`` for these streams of ``group``."""
        plan = self._venue.stream_plan(feed, streams)
        worker = StreamConnection(
            feed,
            venue=self._venue.name,
            url=plan.url,
            streams=plan.streams,
            opening_messages=plan.opening_messages,
            out=self._inbox,
            ledger=self._ledger,
        )
        self._workers[feed] = worker
        self._supervisor.add(worker, stage=0, policy=_BACKOFF)

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
