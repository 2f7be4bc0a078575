"""Candles and trades for Python users: iterators that do their work in threads of their own and end cleanly.

>>> with binmon.candles("BTCUSDT", "1m", above=70000) as stream:      # doctest: +SKIP
...     for seen in stream:
...         print(seen)
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import structlog

from binmon.config import Config, LoadedConfig, load
from binmon.config.loading import SEARCHED, config_hash
from binmon.config.places import is_there
from binmon.errors import ConfigError
from binmon.latency.ledger import LedgerReader
from binmon.messages import Candle, CandlesChanged, PriceCrossed, PriceReturned, Trade
from binmon.watch.candles import CandleRule
from binmon.watch.thresholds import BASIS_POINTS, Direction, Line
from binmon.watch.trades import TradeRule
from binmon.wiring.looking import Connection, Looking
from binmon.wiring.shown import Changes, kept_for

Number = int | float | str | Decimal
"""A price: text and decimals are exact; a float is what it prints as."""

Update = TypeVar("Update", Candle, Trade)

_LOOK_S = 0.1


class Stream(Generic[Update]):
    """An iterator over what is seen of one symbol: updates, and a `PriceCrossed` or `PriceReturned` at each crossing of a
    line, right after the update that crossed it.

    It goes on until it is closed, ``for_s`` seconds have passed since the first update, or the program ends: use it in a
    ``with``, leave a ``for`` loop over it, or call `close`. After a break of the connection it asks for what it missed. Whoever reads too
    slowly loses the oldest; `dropped` counts them. Raises ConfigError for what the venue does not have.
    """

    def __init__(
        self, loaded: LoadedConfig, venue: str, rule: CandleRule | TradeRule, history: int, for_s: float | None
    ):
        self._looking = Looking(loaded, venue, rule, history=history)
        self._waiting: deque[Update | PriceCrossed | PriceReturned] = deque()
        self._for_s, self._ends_s = for_s, float("inf")

    def __iter__(self) -> Iterator[Update | PriceCrossed | PriceReturned]:
        return self

    def __next__(self) -> Update | PriceCrossed | PriceReturned:
        while not self._waiting:
            if time.monotonic() >= self._ends_s:
                self.close()
            if self._looking.is_closed:
                self._looking.check()  # it ends by itself only for a reason
                raise StopIteration
            message = self._looking.messages.take(_LOOK_S)
            if message is None:
                self._looking.check()
                continue
            if self._for_s is not None:
                # from the first on: how long it takes to connect says nothing
                self._ends_s, self._for_s = time.monotonic() + self._for_s, None
            self._take(message)
        return self._waiting.popleft()

    def _take(self, message: Any) -> None:
        self._waiting.append(message)

    @property
    def connection(self) -> Connection:
        """How things stand: connected, reconnecting, and why."""
        return self._looking.connection

    @property
    def dropped(self) -> int:
        """How many messages found no room because they were read too slowly."""
        return self._looking.messages.dropped

    def close(self) -> None:
        """End it, with the embedded sandbox if it has one. Any number of times."""
        self._looking.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # a loop that was left, without `with`: nobody can ask for more
        looking = getattr(self, "_looking", None)
        if looking is not None:
            looking.ask_to_end()


class CandleStream(Stream[Candle]):
    """Candles of one symbol and interval: first the history, oldest first, then each state of the live one. A candle is
    given again when it has changed, and for the last time with ``closed``."""

    def __init__(self, loaded: LoadedConfig, venue: str, rule: CandleRule, history: int, for_s: float | None):
        self._changes = Changes(history)
        super().__init__(loaded, venue, rule, kept_for(history), for_s)

    @property
    def series(self) -> tuple[Candle, ...]:
        """All candles as they stand now, oldest first, without a hole; the last one may be open."""
        return self._looking.candles

    def _take(self, message: Any) -> None:
        if isinstance(message, CandlesChanged):
            self._waiting += self._changes.news(message)
        else:
            super()._take(message)


class TradeStream(Stream[Trade]):
    """Trades of one symbol as they happen, each once."""


def open_latency(path: str | Path) -> LedgerReader:
    """Open the ledger of timed orders in the state database at ``path`` (``state.path`` of the configuration).

    Raises ConfigError when there is none. Close it.
    """
    return LedgerReader(Path(path))


def candles(
    symbol: str,
    interval: str,
    *,
    price: str = "close",
    above: Number | None = None,
    below: Number | None = None,
    hysteresis_bps: float = 5.0,
    closed_only: bool = False,
    history: int = 100,
    venue: str = "binance",
    config: str | Path | None = None,
    for_s: float | None = None,
) -> CandleStream:
    """Candles of a symbol: ``history`` of them first, then the live one, until it is closed or ``for_s`` seconds have
    passed since the first.

    Iterating gives each state of each candle as a ``Candle``. Where a line is drawn (``above``, ``below``), ``price`` is held
    against it (of candles that are over only, with ``closed_only``) and crossings come as ``PriceCrossed`` and, back by
    the hysteresis, ``PriceReturned``. ``config`` is a file of the configuration (default: ./config.yaml, else
    /etc/binmon/config.yaml, else the embedded sandbox: no key, no network). Raises ConfigError for what is wrong: here,
    or at the first turn of the loop where the venue must be asked.
    """
    rule = CandleRule(symbol.upper(), interval, price, _lines(above, below, hysteresis_bps), closed_only)
    return CandleStream(_loaded(config), venue, rule, history, for_s)


def trades(
    symbol: str,
    *,
    above: Number | None = None,
    below: Number | None = None,
    hysteresis_bps: float = 5.0,
    venue: str = "binance",
    config: str | Path | None = None,
    for_s: float | None = None,
) -> TradeStream:
    """Trades of a symbol as they happen, each once as a ``Trade``; crossings and arguments as with ``candles``."""
    rule = TradeRule(symbol.upper(), _lines(above, below, hysteresis_bps))
    return TradeStream(_loaded(config), venue, rule, 2, for_s)


def _lines(above: Number | None, below: Number | None, hysteresis_bps: float) -> tuple[Line, ...]:
    drawn = []
    for direction, given in ((Direction.ABOVE, above), (Direction.BELOW, below)):
        if given is not None:
            try:
                price = Decimal(str(given))
            except ArithmeticError:
                price = Decimal("NaN")
            if not price.is_finite() or price <= 0:
                raise ConfigError(f"expected a number above 0, got {given!r}", key=direction.value)
            drawn.append(Line(direction, price, price * Decimal(str(hysteresis_bps)) / BASIS_POINTS))
    return tuple(drawn)


def _loaded(config: str | Path | None) -> LoadedConfig:
    """The configuration as the command line finds it; where there is no file, all defaults: the embedded sandbox."""
    _let_logging_decide()
    if config is None and not any(map(is_there, SEARCHED)):
        defaults = Config()
        return LoadedConfig(defaults, SEARCHED[0], config_hash(defaults), {})
    return load(None if config is None else Path(config), os.environ)


def _let_logging_decide() -> None:
    """Our log goes to ``logging.getLogger("binmon")``, which shows nothing until the user wants it to; unless a log was set
    up already."""
    if structlog.is_configured():
        return
    logging.getLogger("binmon").addHandler(logging.NullHandler())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


__all__ = [
    "Candle",
    "CandleStream",
    "PriceCrossed",
    "PriceReturned",
    "Trade",
    "TradeStream",
    "candles",
    "open_latency",
    "trades",
]
