"""A whole market: as many made-up symbols as a real venue lists, the same ones every time.

Few symbols make most of the noise, as on the real venue: out of a hundred two are lively and eighteen are middling;
the rest is a long, quiet and shallow tail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import count, islice

from .symbols import Instrument, generated_instrument

_CONSONANTS, _VOWELS = "BDFGKLMNPRSTVZ", "AEIOU"
_QUOTES = ("USDT", "USDT", "BTC", "USDT", "EUR")


def whole_market(wanted: int, taken: Collection[str], seed: int, rate_hz: float | None) -> list[Instrument]:
    """``wanted`` instruments whose names are not ``taken``; names do not depend on the seed, everything else does.

    Levels a side: 50 to 300, lively ones 800; ``rate_hz`` replaces the book actions a second of all of them.
    """
    free = (name for name in _names() if name not in taken)
    return [_listed(name, seed, rate_hz) for name in islice(free, wanted)]


def _names() -> Iterator[str]:
    """Bases of four letters, consonant and vowel in turn, each with a quote asset."""
    letters, vowels = len(_CONSONANTS), len(_VOWELS)
    for number in count():
        # A step that shares no factor with the number of bases keeps neighbours from looking alike.
        rest, first = divmod(number * 1_777 % (letters * vowels * letters * vowels), letters)
        rest, second = divmod(rest, vowels)
        rest, third = divmod(rest, letters)
        base = f"{_CONSONANTS[first]}{_VOWELS[second]}{_CONSONANTS[third]}{_VOWELS[rest]}"
        lap = number // (letters * vowels * letters * vowels)
        yield f"{base}{lap if lap else ''}{_QUOTES[number % len(_QUOTES)]}"


def _listed(name: str, seed: int, rate_hz: float | None) -> Instrument:
    digest = hashlib.sha256(f"{seed}:{name}:market".encode()).digest()
    share, fraction = digest[0] * 100 // 256, digest[1] / 255
    if share < 2:
        levels, own_rate = 800, 5.0 + 10.0 * fraction
    elif share < 20:
        levels, own_rate = 150 + round(150 * fraction**2), 1.0 + 2.0 * fraction
    else:
        levels, own_rate = 50 + round(150 * fraction**3), 0.1 + 0.6 * fraction
    return replace(
        generated_instrument(name, seed), levels=levels, rate_hz=rate_hz if rate_hz is not None else own_rate
    )
