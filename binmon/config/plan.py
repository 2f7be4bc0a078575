"""What changes from one configuration to another, what of it a running daemon takes over, and what needs a restart.

Plain functions of two configurations. How a key comes into force stands in the schema (``reload``); a key is the smallest
thing that changes, so a list is one key, and what was added to it and taken from it is told. A live key that names a venue
of which the daemon has nothing yet needs a restart all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from binmon.config.loading import shown
from binmon.config.schema import Config, Reload, Section, fields_with_secrecy, masked, reloads
from binmon.config.wanted import venues_wanted

_LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Change:
    """One key with another value. All values are plain and as they may be shown: secrets are masked.

    ``added`` and ``removed`` are the items of a list that are new and gone; both are empty when only their order differs,
    and where the key is no list.
    """

    key: str
    old: Any
    new: Any
    how: Reload
    added: tuple[Any, ...] = ()
    removed: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """The venues that a daemon has: with books, and with anything that can be watched. Another one needs a restart."""

    books: Collection[str]
    watching: Collection[str]

    @classmethod
    def by(cls, config: Config, present_keys: Collection[str]) -> Started:
        """Those of a daemon that was started with ``config``, of which these keys stood in the file."""
        return cls({one.venue for one in config.books.selections()}, venues_wanted(config, present_keys))

    def held_back(self, new: Config) -> frozenset[str]:
        """The live keys of ``new`` that name a venue which is not there."""
        found: set[str] = set()
        if not {one.venue for one in new.books.selections()}.issubset(self.books):
            found |= {"books.venue", "books.symbols"}
        named = {
            "watch.candles": {one.venue for one in new.watch.candles},
            "watch.trades": {one.venue for one in new.watch.trades},
        }
        found |= {key for key, venues in named.items() if not venues.issubset(self.watching)}
        listings = new.watch.listings
        if listings.enabled and not set(listings.venues).issubset(self.watching):
            found |= {"watch.listings.enabled", "watch.listings.venues"}
        return frozenset(found)


def diff(old: Config, new: Config, started: Started) -> list[Change]:
    """Every key whose value differs, in the order of the schema, for a daemon that has what ``started`` says."""
    held = started.held_back(new)
    return [replace(one, how="restart") if one.key in held else one for one in _changes(old, new, "")]


def live_part(old: Config, new: Config, started: Started) -> Config:
    """``old`` with the live keys of ``new``: what is in force once a daemon that runs ``old`` has taken over ``new``."""
    merged: Config = _merged(old, new, "", started.held_back(new))
    return merged


def summary(changes: Sequence[Change]) -> list[str]:
    """A line for people for each change: ``latency.threshold_ms: 5000 -> 1000``."""
    return [f"{change.key}: {_told(change)}" for change in changes]


def _changes(old: Section, new: Section, path: str) -> Iterator[Change]:
    marks = reloads(type(new))
    for name, value, secret in fields_with_secrecy(new):
        before, key = getattr(old, name), f"{path}.{name}" if path else name
        if name not in marks:
            yield from _changes(before, value, key)
        elif before != value:
            added: list[Any] = []
            removed: list[Any] = []
            if isinstance(before, tuple) and isinstance(value, tuple):
                added, removed = _missing(before, value), _missing(value, before)
            yield Change(
                key,
                shown(masked(before, secret)),
                shown(masked(value, secret)),
                marks[name],
                tuple(shown(masked(one, secret)) for one in added),
                tuple(shown(masked(one, secret)) for one in removed),
            )


def _missing(here: Sequence[Any], there: Sequence[Any]) -> list[Any]:
    """The items of ``there`` that are not ``here``; one that is there twice and here once is missing once."""
    left, missing = list(here), []
    for item in there:
        if item in left:
            left.remove(item)
        else:
            missing.append(item)
    return missing


def _merged(old: Any, new: Any, path: str, held: frozenset[str]) -> Any:
    marks = reloads(type(new))
    values: dict[str, Any] = {}
    for name, value, _ in fields_with_secrecy(new):
        before, key = getattr(old, name), f"{path}.{name}" if path else name
        if name not in marks:
            values[name] = _merged(before, value, key, held)
        else:
            values[name] = value if marks[name] == "live" and key not in held else before
    return msgspec.structs.replace(old, **values)


def _told(change: Change) -> str:
    if change.added or change.removed:
        signs = [f"+ {_text(one)}" for one in change.added] + [f"- {_text(one)}" for one in change.removed]
        return ", ".join(signs)
    if isinstance(change.old, list) and isinstance(change.new, list):
        return "the same in another order"
    if change.old == change.new:
        return "another value (not shown)"
    return f"{_text(change.old)} -> {_text(change.new)}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_text(one)}" for name, one in value.items() if one is not None) + "}"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
