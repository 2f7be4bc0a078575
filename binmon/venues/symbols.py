"""From what the configuration asks for to the symbols a venue lists."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from binmon.errors import ConfigError
from binmon.messages import Instrument

TRADING = "TRADING"


def resolve(
    wanted: Sequence[str] | str, instruments: Mapping[str, Instrument], venue: str, key: str = "books.symbols"
) -> list[str]:
    """The symbols to keep: a list as it is, ``all`` and ``all:QUOTE`` by what trades now.

    Raises ConfigError, naming ``key``, for a symbol that the venue does not list, and for a choice that matches nothing.
    """
    if isinstance(wanted, str):
        _, _, quote = wanted.partition(":")
        found = sorted(s for s, i in instruments.items() if i.status == TRADING and quote in ("", i.quote))
        if not found:
            quotes = ", ".join(sorted({i.quote for i in instruments.values()})[:12])
            raise ConfigError(
                f"'{wanted}' matches no trading symbol of {venue}, expected one of the quotes {quotes}",
                key=key,
            )
        return found
    for index, symbol in enumerate(wanted):
        if symbol not in instruments:
            near = difflib.get_close_matches(symbol, instruments, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "expected a symbol as the venue writes it"
            raise ConfigError(f"'{symbol}' is not listed on {venue}: {hint}", key=f"{key}[{index}]")
    return list(wanted)
