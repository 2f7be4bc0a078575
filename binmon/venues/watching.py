"""What binmon needs of a venue to watch candles, trades and new symbols. A venue answers this interface in its folder.

How to add one: implement `WatchingVenue` and `WatchDecoder` (Binance: ``venues/binance/watching.py``); nothing above
changes but the wiring. Streams are names; only the venue reads meaning into them. What the machines above rely on:

* Every candle frame is the whole candle as it stands, so that a lost frame is made good by the next; a ``closed`` one is
  its last. Within one candle the volume never falls.
* Candles that were asked for and those of the stream agree once they are closed. Times in which nothing traded may
  have flat candles or none; the venue's history decides.
* A trade id belongs to one trade of its symbol and grows with time.
"""

from __future__ import annotations

import calendar
import difflib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from binmon.core.channel import Channel
from binmon.errors import ConfigError
from binmon.messages import Candle, Instrument, Priority, Trade
from binmon.net.ledger import RateLedger
from binmon.net.stream import StreamConnection
from binmon.venues.base import ControlReply, ShutdownNotice, StreamPlan

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000

INTERVALS_MS: Mapping[str, int] = {
    "1s": _SECOND, "1m": _MINUTE, "3m": 3 * _MINUTE, "5m": 5 * _MINUTE, "15m": 15 * _MINUTE, "30m": 30 * _MINUTE,
    "1h": _HOUR, "2h": 2 * _HOUR, "4h": 4 * _HOUR, "6h": 6 * _HOUR, "8h": 8 * _HOUR, "12h": 12 * _HOUR,
    "1d": _DAY, "3d": 3 * _DAY, "1w": 7 * _DAY, "1M": 31 * _DAY,
}  # fmt: skip
"""Our names of all intervals, and their length; a month's is the longest there is."""


@dataclass(frozen=True, slots=True)
class SymbolsTraded:
    """These symbols have a ticker that has just changed: the venue's all-market stream."""

    symbols: tuple[str, ...]
    event_time_ms: int


Watched = Candle | Trade | SymbolsTraded | ShutdownNotice | ControlReply
"""What one frame may hold."""


class WatchDecoder(Protocol):
    """Turns frames into messages. One a thread."""

    def decode(self, frame: bytes, received_ns: int) -> Sequence[Watched]:
        """All that the frame holds, in order; nothing for a known kind nobody asked for. Raises MalformedFrame."""
        ...


class WatchingVenue(ABC):
    """The public side of a venue, as far as prices and listings are watched.

    Methods that ask it may raise any RetryError or RequestRefused.
    """

    name: str
    streams_per_connection: int
    intervals: tuple[str, ...]
    """The intervals it has, by our names, shortest first."""
    candles_per_request: int
    """The most candles it gives at once."""
    consecutive_trade_ids: bool
    """Whether a symbol's trade ids count up by one, so that a missing one is seen."""

    @abstractmethod
    def candles(
        self,
        symbol: str,
        interval: str,
        start_ms: int | None,
        end_ms: int | None,
        limit: int,
        priority: Priority,
        stop: threading.Event,
    ) -> list[Candle]:
        """History, oldest first: the first ``limit`` candles that open at ``start_ms`` or later (and at ``end_ms`` or
        before, where it is given); without ``start_ms`` the newest ``limit`` that open at ``end_ms`` or before.

        The newest candle may still be open: ``closed`` is True for all but the last of the answer.
        """

    @abstractmethod
    def symbols(self, stop: threading.Event, priority: Priority) -> Mapping[str, Instrument]:
        """All symbols that the venue lists, with their status."""

    @abstractmethod
    def candle_stream(self, symbol: str, interval: str) -> str:
        """The name of the stream that carries these candles."""

    @abstractmethod
    def trade_stream(self, symbol: str) -> str:
        """The name of the stream that carries the symbol's trades."""

    @abstractmethod
    def listing_stream(self) -> str | None:
        """The name of a stream on which every symbol shows that trades; None where the venue has none."""

    @abstractmethod
    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        """One connection that carries these streams, at most ``streams_per_connection``."""

    @abstractmethod
    def decoder(self) -> WatchDecoder:
        """A decoder for one thread."""


def close_time_ms(interval: str, open_ms: int) -> int:
    """The last millisecond of the candle that opens at ``open_ms`` (UTC). Months have their calendar length."""
    if interval == "1M":
        moment = time.gmtime(open_ms // 1000)
        year, month = (moment.tm_year + 1, 1) if moment.tm_mon == 12 else (moment.tm_year, moment.tm_mon + 1)
        return calendar.timegm((year, month, 1, 0, 0, 0)) * 1000 - 1
    return open_ms + INTERVALS_MS[interval] - 1


def check_interval(venue: WatchingVenue, interval: str, key: str) -> None:
    """Raise ConfigError, with the valid values, for an interval that the venue does not have."""
    if interval not in venue.intervals:
        valid = " ".join(venue.intervals)
        raise ConfigError(f"'{interval}' is no interval of {venue.name}, expected one of {valid}", key=key)


def check_symbol(venue: str, symbol: str, listed: Mapping[str, Instrument], key: str) -> None:
    """Raise ConfigError, with symbols that look alike, for one that the venue of that name does not list."""
    if symbol not in listed:
        near = difflib.get_close_matches(symbol, listed, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "expected a symbol such as BTCUSDT"
        raise ConfigError(f"'{symbol}' is not listed on {venue}: {hint}", key=key)


def watch_connections(
    venue: WatchingVenue, inbox: Channel[Any], ledger: RateLedger
) -> Callable[[str, tuple[str, ...]], StreamConnection]:
    """Connections to the streams of ``venue``, for `venues.sockets.Sockets`."""

    def make(feed: str, streams: tuple[str, ...]) -> StreamConnection:
        plan = venue.stream_plan(feed, streams)
        heartbeat = plan.heartbeat
        return StreamConnection(
            feed,
            venue=venue.name,
            url=plan.url,
            streams=plan.streams,
            opening_messages=plan.opening_messages,
            silence_s=plan.silence_s,
            heartbeat=None if heartbeat is None else heartbeat.message,
            heartbeat_every_s=1.0 if heartbeat is None else heartbeat.every_s,
            out=inbox,
            ledger=ledger,
        )

    return make
