"""A mapping that one thread adds to while others read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Entries are added and never taken away, so whoever goes through it finds every key that it was shown. The dict
    behind it is replaced, not changed: nobody needs a lock to read."""

    def __init__(self) -> None:
        self._entries: dict[str, T] = {}

    def put(self, name: str, entry: T) -> None:
        """Add an entry, or put another in its place; for one thread."""
        self._entries = {**self._entries, name: entry}

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
