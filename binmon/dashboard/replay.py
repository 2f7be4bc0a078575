"""Events, and those of the last while, for browsers that come back. Machines without I/O.

The rule of the replay: who has seen event ``id`` of a topic gets all later ones, or is told that this cannot be done. Of
events that replace each other (a book, the tops, a candle as long as it is open) only the newest is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from binmon.dashboard.topics import Topic

MOST_EVENTS, MOST_BYTES = 4_096, 8 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is sent: ``text`` is the whole of it, ``id`` grows over all topics.

    ``replaces`` names what it is the newest state of: an older event of the same name need not be sent any more.
    """

    id: int
    topic: Topic
    text: bytes
    replaces: str | None = None


class Replay:
    """Not locked against threads: its owner sees to that."""

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._newest: dict[str, int] = {}  # by what events replace
        self._bytes = 0
        self._told_from: dict[Topic, int] = {}  # by topic, what is older is not known here

    def __len__(self) -> int:
        return len(self._events)

    @property
    def kept_bytes(self) -> int:
        """What the events take."""
        return self._bytes

    def begin(self, topic: Topic, newest_id: int) -> None:
        """A topic is followed from now on, ``newest_id`` being the newest event of all."""
        self._told_from[topic] = newest_id

    def end(self, topic: Topic) -> None:
        """A topic is not followed any more."""
        self._told_from.pop(topic, None)
        for number in [one.id for one in self._events.values() if one.topic == topic]:
            self._drop(number)

    def lose(self, newest_id: int) -> None:
        """Something has been missed that no event tells of: nobody can be sure of what came before."""
        for topic in self._told_from:
            self._told_from[topic] = newest_id

    def add(self, event: Event) -> None:
        """Keep an event of a topic that is followed."""
        if event.replaces is not None:
            older = self._newest.get(event.replaces)
            if older is not None:
                self._drop(older)
            self._newest[event.replaces] = event.id
        self._events[event.id] = event
        self._bytes += len(event.text)
        while len(self._events) > self._most_events or self._bytes > self._most_bytes:
            oldest = next(iter(self._events.values()))
            self._drop(oldest.id)
            if oldest.topic in self._told_from:
                self._told_from[oldest.topic] = max(self._told_from[oldest.topic], oldest.id)

    def since(self, topics: frozenset[Topic], seen_id: int, newest_id: int) -> tuple[list[Event], list[Topic]]:
        """The later events of these topics, in order, and the topics of which that cannot be said.

        An id that is not ours, of an earlier run for instance, is later than the newest or older than all.
        """
        unsure = [
            topic
            for topic in topics
            if seen_id > newest_id or topic not in self._told_from or seen_id < self._told_from[topic]
        ]
        sure = topics.difference(unsure)
        events = [one for one in self._events.values() if one.id > seen_id and one.topic in sure]
        return events, unsure

    def _drop(self, number: int) -> None:
        event = self._events.pop(number)
        self._bytes -= len(event.text)
        if event.replaces is not None and self._newest.get(event.replaces) == number:
            del self._newest[event.replaces]
