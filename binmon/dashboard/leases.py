"""Which topics somebody looks at. A machine: it takes what happens and ``now``, and does no I/O.

A topic is leased as long as somebody holds it, and a while longer, so that a page that is loaded anew, or a browser that
comes back after a break, finds it still followed.
"""

from __future__ import annotations

from binmon.dashboard.topics import Topic

LASTS_S = 60.0


class Leases:
    """Not locked against threads: its owner sees to that."""

    def __init__(self, lasts_s: float = LASTS_S) -> None:
        self._lasts_s = lasts_s
        self._holders: dict[Topic, int] = {}
        self._until_s: dict[Topic, float] = {}  # of those that nobody holds

    def __contains__(self, topic: object) -> bool:
        return topic in self._holders or topic in self._until_s

    @property
    def topics(self) -> frozenset[Topic]:
        """All that are leased."""
        return frozenset(self._holders.keys() | self._until_s.keys())

    def hold(self, topic: Topic) -> bool:
        """Somebody looks from now on; True when the lease begins with that. Each has its own ``release``."""
        begins = topic not in self
        self._holders[topic] = self._holders.get(topic, 0) + 1
        self._until_s.pop(topic, None)
        return begins

    def release(self, topic: Topic, now_s: float) -> None:
        """One who held it looks no more."""
        left = self._holders.pop(topic) - 1
        if left:
            self._holders[topic] = left
        else:
            self._until_s[topic] = now_s + self._lasts_s

    def look(self, topic: Topic, now_s: float) -> bool:
        """Somebody has looked once; True when the lease begins with that."""
        begins = topic not in self
        if topic not in self._holders:
            self._until_s[topic] = max(self._until_s.get(topic, 0.0), now_s + self._lasts_s)
        return begins

    def expire(self, now_s: float) -> list[Topic]:
        """The leases that end now."""
        over = [topic for topic, until_s in self._until_s.items() if now_s >= until_s]
        for topic in over:
            del self._until_s[topic]
        return over
