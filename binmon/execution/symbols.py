"""From what somebody types to each venue's own symbol, by what the venues say of their instruments.

A pair is its base and quote asset, as instrument metadata names them. A text is taken for a venue's spelling (Binance
and Bybit ``BTCUSDT``, OKX ``BTC-USDT``, Kraken ``BTC/USDT``) when a venue lists that very symbol, or for ``BASE/QUOTE``.
No text is ever cut into two assets by the looks of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from binmon.errors import ConfigError
from binmon.execution.market import TRADING
from binmon.execution.reasons import Exclusion, Reason
from binmon.messages import Instrument

Listings = Mapping[str, Mapping[str, Instrument]]
"""Instruments by symbol, by venue."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair over venues: ``symbols`` by venue that lists it, in the order of the venues."""

    base: str
    quote: str
    symbols: Mapping[str, str]
    not_listed: tuple[Exclusion, ...] = ()

    def __str__(self) -> str:
        return f"{self.base}/{self.quote}"


def pair_of(symbol: str, listings: Listings) -> Pair:
    """The pair that ``symbol`` means, and its symbol at each venue of ``listings``.

    Upper and lower case are the same unless a venue tells them apart. Raises ConfigError, with near matches, for a text
    that no venue lists, that means different pairs on different venues, or that one venue lists twice.
    """
    wanted = symbol.strip()
    found = _meanings(wanted, listings, exactly=True) or _meanings(wanted, listings, exactly=False)
    if not found:
        raise ConfigError(f"'{symbol}' is listed on none of {_names(listings)}: {_near(wanted, listings)}")
    if len(found) > 1:
        meanings = "; ".join(f"{base}/{quote} on {_names(venues)}" for (base, quote), venues in sorted(found.items()))
        raise ConfigError(f"'{symbol}' is not one pair ({meanings}): write it as BASE/QUOTE")
    [(base, quote)] = found
    symbols: dict[str, str] = {}
    missing: list[Exclusion] = []
    for venue, instruments in listings.items():
        own = _symbol_at(venue, base, quote, wanted, instruments)
        if own is None:
            missing.append(Exclusion(venue, Reason.UNKNOWN_SYMBOL, f"it does not list {base}/{quote}"))
        else:
            symbols[venue] = own
    return Pair(base, quote, symbols, tuple(missing))


def _meanings(wanted: str, listings: Listings, *, exactly: bool) -> dict[tuple[str, str], list[str]]:
    """The pairs that a text may mean, each with the venues that say so."""
    found: dict[tuple[str, str], list[str]] = {}
    text = wanted if exactly else wanted.casefold()
    for venue, instrument in _all(listings):
        names = (instrument.symbol, f"{instrument.base}/{instrument.quote}")
        if text in (names if exactly else tuple(name.casefold() for name in names)):
            venues = found.setdefault((instrument.base, instrument.quote), [])
            if venue not in venues:
                venues.append(venue)
    return found


def _symbol_at(venue: str, base: str, quote: str, wanted: str, instruments: Mapping[str, Instrument]) -> str | None:
    """The symbol of a pair at one venue; where it has several, the one that was typed, else the one that trades."""
    own = [one for one in instruments.values() if (one.base, one.quote) == (base, quote)]
    if len(own) > 1:
        own = [one for one in own if one.symbol == wanted] or [one for one in own if one.status == TRADING] or own
    if len(own) > 1:
        names = " or ".join(sorted(one.symbol for one in own))
        raise ConfigError(f"{venue} lists {base}/{quote} more than once: expected {names}, found '{wanted}'")
    return own[0].symbol if own else None


def _near(wanted: str, listings: Listings) -> str:
    """Symbols that look like what was typed, as their venues spell them."""
    spellings: dict[str, str] = {}
    for _, instrument in _all(listings):
        for name in (instrument.symbol, f"{instrument.base}/{instrument.quote}"):
            spellings.setdefault(name.upper(), name)
    near = difflib.get_close_matches(wanted.upper(), spellings, n=3)
    if not near:
        return "expected a symbol of one of them, or BASE/QUOTE"
    return f"did you mean {' or '.join(spellings[name] for name in near)}?"


def _all(listings: Listings) -> Iterator[tuple[str, Instrument]]:
    for venue, instruments in listings.items():
        for instrument in instruments.values():
            yield venue, instrument


def _names(venues: Mapping[str, object] | list[str]) -> str:
    return ", ".join(venues) or "no venue"
