"""Which venues a configuration needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from binmon.config.schema import Config

Choice = Sequence[str] | str
"""Symbols by name, or a choice that is left to the venue, such as ``all``."""


def venues_wanted(
    config: Config, present_keys: Collection[str], *, probe_only: bool = False
) -> dict[str, list[Choice]]:
    """The venues that ``config`` needs, and what it names of each. ``present_keys`` are those that stand in the file."""
    wanted: dict[str, list[Choice]] = {}
    for selection in () if probe_only else config.books.selections():
        wanted.setdefault(selection.venue, []).append(selection.symbols)
    # nobody who keeps the books of another venue asks for this by leaving it out
    if config.latency.enabled and (probe_only or config.latency.venue in wanted or "latency" in present_keys):
        wanted.setdefault(config.latency.venue, []).append([config.latency.symbol])
    if not probe_only:
        for venue, symbol in config.watch.watched():
            wanted.setdefault(venue, []).append([symbol])
        listings = config.watch.listings
        for venue in listings.venues if listings.enabled and "watch.listings" in present_keys else ():
            wanted.setdefault(venue, [])
    return wanted
