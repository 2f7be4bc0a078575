"""One message for many: whoever wants to hear joins, and leaves again."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol


class Outlet(Protocol):
    """What is needed of a channel to hand something over."""

    def offer(self, message: Any, /) -> bool:
        """Hand over without waiting; False when it was dropped."""
        ...


class Fanout:
    """An outlet that hands on to others. Any thread may do anything with it."""

    def __init__(self, outlets: Iterable[Outlet] = ()) -> None:
        self._lock = threading.Lock()  # guards changes of the tuple; it is replaced, so nobody needs it to read
        self._outlets = tuple(outlets)

    def add(self, outlet: Outlet) -> None:
        """Hand on to ``outlet``, too: its ``offer`` is called in the thread of whoever offers, and must not wait."""
        with self._lock:
            self._outlets += (outlet,)

    def remove(self, outlet: Outlet) -> None:
        """No more; one that is not there is no error."""
        with self._lock:
            self._outlets = tuple(one for one in self._outlets if one is not outlet)

    def offer(self, message: Any, /) -> bool:
        """Hand on to all; False when some of them had no room."""
        taken = True
        for outlet in self._outlets:
            taken = outlet.offer(message) and taken
        return taken
