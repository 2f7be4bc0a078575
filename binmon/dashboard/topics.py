"""What a stream of events can be about."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class TopicKind(enum.StrEnum):
    """The kinds of topics; those of the second group are followed by ``:VENUE:SYMBOL``, candles by the interval, too."""

    STATUS = "status"
    TOPS = "tops"
    LATENCY = "latency"
    ALERTS = "alerts"
    SYMBOLS = "symbols"

    CANDLES = "candles"
    TRADES = "trades"
    BOOK = "book"


_PARTS = {TopicKind.CANDLES: 4, TopicKind.TRADES: 3, TopicKind.BOOK: 3}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; ``venue``, ``symbol`` and ``interval`` are empty where its kind has none."""

    kind: TopicKind
    venue: str = ""
    symbol: str = ""
    interval: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.kind.value, self.venue, self.symbol, self.interval) if part)

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Raises ValueError, with what was expected."""
        name, *parts = text.split(":")
        try:
            kind = TopicKind(name)
        except ValueError:
            expected = ", ".join(TopicKind)
            raise ValueError(f"{text[:80]!r} is no topic: expected one of {expected}") from None
        if len(parts) + 1 != _PARTS.get(kind, 1) or not all(parts):
            form = ":".join([kind.value, *["VENUE", "SYMBOL", "INTERVAL"][: _PARTS.get(kind, 1) - 1]])
            raise ValueError(f"{text[:80]!r} is no topic: expected {form}")
        return cls(kind, *parts)
