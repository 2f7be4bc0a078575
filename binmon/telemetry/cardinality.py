"""Which symbols get series of their own on the metrics page: never more than the configuration says."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence


class SeriesChoice:
    """Symbol by symbol, or the first so many that there are. Any thread may ask.

    A symbol that has been chosen keeps its series while it is there, so that no series comes and goes with the order of the
    others; one that leaves makes room for the next.
    """

    def __init__(self, asked: int | Sequence[str]) -> None:
        """``asked``: how many symbols of each venue, or their names."""
        self._most = asked if isinstance(asked, int) else 0
        self._names = frozenset() if isinstance(asked, int) else frozenset(asked)
        self._lock = threading.Lock()
        self._chosen: dict[str, list[str]] = {}  # by venue, as long as they are there

    def of(self, venue: str, symbols: Iterable[str]) -> list[str]:
        """Those of ``symbols``, which are all that the venue's books have now, that get series."""
        there = list(symbols)
        if self._names:
            return [symbol for symbol in there if symbol in self._names]
        with self._lock:
            present = set(there)
            chosen = [symbol for symbol in self._chosen.get(venue, ()) if symbol in present]
            taken = set(chosen)
            for symbol in there:
                if len(chosen) >= self._most:
                    break
                if symbol not in taken:
                    chosen.append(symbol)
            self._chosen[venue] = chosen
            return list(chosen)
