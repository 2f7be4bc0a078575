"""Who gets which event: topics, their leases, and what is replayed to a browser that comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from binmon.dashboard.leases import Leases
from binmon.dashboard.outbox import Outbox
from binmon.dashboard.replay import Event, Replay
from binmon.dashboard.topics import Topic

MOST_TOPICS = 200


class Subscription:
    """One browser: its topics and what waits for it. Only the hub and `Hub.take` touch ``outbox``."""

    def __init__(self, topics: frozenset[Topic], outbox: Outbox) -> None:
        self.topics, self.outbox = topics, outbox


class Hub:
    """Any thread may call it; nobody waits in it for a browser. ``wake`` is called when there is something to send."""

    def __init__(
        self,
        *,
        replay: Replay | None = None,
        leases: Leases | None = None,
        outbox: Callable[[], Outbox] = Outbox,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._replay, self._leases, self._outbox, self._now_s = replay or Replay(), leases or Leases(), outbox, now_s
        self._lock = threading.Lock()  # guards all below and the three above
        self._topics: dict[Topic, set[Subscription]] = {}
        # by the clock, so that the ids of an earlier run are older than all of this one
        self._newest_id = time.time_ns() // 1000
        self.events_count = 0

    # Browsers -----------------------------------------------------------------------------------------------------

    def open(self, topics: frozenset[Topic], seen_id: int | None) -> Subscription:
        """A browser is here. What it gets first: ``hello``, whose id it comes back with if nothing else happens; then
        what came after ``seen_id``, or ``reset`` for what cannot be told. ``seen_id`` None: it has seen nothing yet."""
        with self._lock:
            subscription = Subscription(topics, self._outbox())
            for topic in topics:
                if self._leases.hold(topic):
                    self._begin(topic)
                self._topics.setdefault(topic, set()).add(subscription)
            missed: list[Event] = []
            unsure: list[Topic] = []
            if seen_id is not None:
                missed, unsure = self._replay.since(topics, seen_id, self._newest_id)
                if not subscription.outbox.fits(missed):
                    missed, unsure = [], list(topics)
            # before what was missed: the id must not say that this has arrived when it has not
            base_id = self._newest_id if seen_id is None or unsure else seen_id
            names = sorted(map(str, topics))
            first = next(iter(topics))
            subscription.outbox.put(Event(-2, first, encode(base_id, "hello", {"topics": names})))
            if unsure:
                document = {"topics": sorted(map(str, unsure))}
                subscription.outbox.put(Event(-1, first, encode(base_id, "reset", document)))
            for event in missed:
                subscription.outbox.put(event)
            return subscription

    def close(self, subscription: Subscription) -> None:
        """A browser is gone."""
        now_s = self._now_s()
        with self._lock:
            for topic in subscription.topics:
                self._leases.release(topic, now_s)
                holders = self._topics[topic]
                holders.discard(subscription)
                if not holders:
                    del self._topics[topic]

    def take(self, subscription: Subscription, about: int) -> bytes | None:
        """What is to be sent next, about so many bytes; None: too much waited, the browser is to be dropped."""
        with self._lock:
            return None if subscription.outbox.overflowed else subscription.outbox.take(about)

    # Events -------------------------------------------------------------------------------------------------------

    def publish(self, topic: Topic, kind: str, document: Mapping[str, Any], replaces: str | None = None) -> None:
        """An event for all who look at ``topic``; nothing when nobody does. ``document`` is given its topic."""
        with self._lock:
            if topic not in self._leases:
                return
            self._newest_id += 1
            self.events_count += 1
            text = encode(self._newest_id, kind, {"topic": str(topic), **document})
            event = Event(self._newest_id, topic, text, None if replaces is None else f"{topic}\n{replaces}")
            self._replay.add(event)
            subscriptions = self._topics.get(topic, ())
            for subscription in subscriptions:
                subscription.outbox.put(event)
        if subscriptions:
            self.wake()

    def lost(self) -> None:
        """Something was missed on the way here: everybody is told to load anew."""
        with self._lock:
            self._newest_id += 1
            self._replay.lose(self._newest_id)
            for subscription in {one for several in self._topics.values() for one in several}:
                first = next(iter(subscription.topics))
                document = {"topics": sorted(map(str, subscription.topics))}
                text = encode(self._newest_id, "reset", document)
                subscription.outbox.put(Event(self._newest_id, first, text, "reset"))
        self.wake()

    # Leases -------------------------------------------------------------------------------------------------------

    def admits(self, topics: Iterable[Topic]) -> bool:
        """Whether so much more may be followed: each series and each trade stream is a stream of its venue."""
        with self._lock:
            leased = self._leases.topics
            return len(leased.union(topics)) <= MOST_TOPICS

    def is_leased(self, topic: Topic) -> bool:
        """Whether somebody looks at it."""
        with self._lock:
            return topic in self._leases

    def look(self, topics: Iterable[Topic]) -> None:
        """Somebody has asked for these once."""
        now_s = self._now_s()
        with self._lock:
            for topic in topics:
                if self._leases.look(topic, now_s):
                    self._begin(topic)

    def leased(self) -> frozenset[Topic]:
        """What somebody looks at; what nobody has looked at for a while is forgotten here."""
        now_s = self._now_s()
        with self._lock:
            for topic in self._leases.expire(now_s):
                self._replay.end(topic)
            return self._leases.topics

    def _begin(self, topic: Topic) -> None:
        """A lease begins. What was before it was told to nobody and has no id, so ids from before must not pass for
        having seen all."""
        self._newest_id += 1
        self._replay.begin(topic, self._newest_id)


def encode(number: int, kind: str, document: Mapping[str, Any]) -> bytes:
    """An event as the standard wants it (HTML, 9.2.5); JSON has no line breaks in it."""
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode()
