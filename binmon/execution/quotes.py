"""Asks venues for what a comparison needs: instruments and rules once, depths anew for every look, all venues at once.

A depth comes from a book that is kept already where there is one that is whole and young, else from REST. It is as old as
the last update in the kept book, or as the moment at which the question to REST left: an answer that was slow on its way
is older than it looks, and what cannot be known is taken to be so. Whoever gives no depth in time is left out, with the
reason; nothing here waits longer than `QuoteSettings.within_s` for a venue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from binmon.errors import BinmonError, RequestRefused, VenueFailed, VenueUnreachable
from binmon.execution.market import (
    DepthSource,
    Fees,
    MarketDepth,
    VenueMarket,
    levels_of,
    rules_without_key,
)
from binmon.execution.parallel import together
from binmon.execution.reasons import Exclusion
from binmon.execution.sources import Standing, VenueSource, assumed_fees, exclusion_of, fees_of
from binmon.execution.symbols import Pair, pair_of
from binmon.messages import DepthSnapshot, Instrument, OrderSide, Priority
from binmon.venues.trading import Account

LEVELS = 1000  # a side: what Binance gives for a fiftieth of a minute's weight, and the most that Bybit gives


@dataclass(frozen=True, slots=True)
class QuoteSettings:
    """How old a depth may be, how long a venue may take, and what a fee is taken to be where no account says so."""

    max_age_ns: int
    within_s: float
    assumed_fee_bps: float
    levels: int = LEVELS


@dataclass(frozen=True, slots=True)
class Board:
    """One look at one pair. ``exclusions`` are of venues without a market; ``notes`` are lines about those with one."""

    pair: Pair
    markets: tuple[VenueMarket, ...]
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    at_mono_ns: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one pair before any depth is asked for."""

    pair: Pair
    side: OrderSide
    standings: Mapping[str, Standing]
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]


class QuoteDesk:
    """Asks ``sources``. Belongs to one thread; the questions go out in threads of their own."""

    def __init__(self, sources: Sequence[VenueSource], settings: QuoteSettings, stop: threading.Event) -> None:
        self.sources = {source.name: source for source in sources}
        self.settings, self._stop = settings, stop
        self._listings: dict[str, Mapping[str, Instrument]] = {}

    def find(self, symbol: str) -> tuple[Pair, tuple[Exclusion, ...]]:
        """The pair that ``symbol`` means, and the venues that could not be asked.

        Raises ConfigError for one that nobody lists, with near matches, and VenueUnreachable when nobody answers.
        """
        asked = together(
            {name: source.market.instruments for name, source in self.sources.items()},
            self.settings.within_s,
            self._stop,
        )
        silent = []
        for name, answer in asked.items():
            if isinstance(answer, BinmonError):
                silent.append(exclusion_of(name, answer))
            else:
                self._listings[name] = answer
        if not self._listings:
            raise VenueUnreachable("no venue answers", "; ".join(map(str, silent)) or "none is configured")
        return pair_of(symbol, self._listings), tuple(silent)

    def know(self, pair: Pair, side: OrderSide, silent: Sequence[Exclusion] = (), *, ordering: bool = False) -> Known:
        """Ask rules, fees and balances of every venue that lists ``pair``.

        An account that does not answer leaves its venue out when ``ordering``; else the venue is priced with the assumed
        fee, and a note says so.
        """
        asked = together(
            {name: partial(self._standing, self.sources[name], symbol) for name, symbol in pair.symbols.items()},
            self.settings.within_s,
            self._stop,
        )
        standings: dict[str, Standing] = {}
        exclusions, notes = [*silent, *pair.not_listed], []
        for name, answer in asked.items():
            explain = self._explain(name)
            if isinstance(answer, BinmonError):
                exclusions.append(exclusion_of(name, answer, explain))
                continue
            standing, trouble = answer
            if trouble is not None and ordering:
                exclusions.append(exclusion_of(name, trouble, explain))
                continue
            if trouble is not None:
                said = exclusion_of(name, trouble, explain).detail
                notes.append(f"{name}: the account cannot be asked, its fee is assumed: {said}")
            standings[name] = standing
        return Known(pair, side, standings, tuple(exclusions), tuple(notes))

    def look(self, known: Known) -> Board:
        """The depths of all venues now."""
        asked = together(
            {name: partial(self._depth, self.sources[name], self._instrument(known, name)) for name in known.standings},
            self.settings.within_s,
            self._stop,
        )
        markets, exclusions = [], list(known.exclusions)
        for name, answer in asked.items():
            if isinstance(answer, BinmonError):
                exclusions.append(exclusion_of(name, answer, self._explain(name)))
            else:
                markets.append(self._market(known, name, answer))
        return Board(known.pair, tuple(markets), tuple(exclusions), known.notes, time.monotonic_ns())

    def accounts(self) -> dict[str, Account | BinmonError]:
        """What every venue with a key has for us."""

        def ask(source: VenueSource, stop: threading.Event) -> Account:
            assert source.trading is not None
            source.prepare(stop)
            return source.trading.account(stop)

        with_key = {name: source for name, source in self.sources.items() if source.trading is not None}
        return together(
            {name: partial(ask, source) for name, source in with_key.items()}, self.settings.within_s, self._stop
        )

    # Inside -------------------------------------------------------------------------------------------------------

    def _explain(self, name: str) -> Callable[[BinmonError], str | None] | None:
        trading = self.sources[name].trading
        return None if trading is None else trading.explain

    def _instrument(self, known: Known, name: str) -> Instrument:
        return self._listings[name][known.pair.symbols[name]]

    def _standing(self, source: VenueSource, symbol: str, stop: threading.Event) -> tuple[Standing, BinmonError | None]:
        """What the venue says, and what is wrong with the account, if it could not be asked."""
        instrument, trading = self._listings[source.name][symbol], source.trading
        assumed = assumed_fees(self.settings.assumed_fee_bps)
        if source.rules is None:
            return Standing(rules_without_key(instrument), assumed, assumed), None
        rules = source.rules(symbol, stop)
        if trading is None:
            return Standing(rules, assumed, assumed), None
        try:
            source.prepare(stop)
            reference = trading.market_price(symbol, stop) if source.judged_by_market_price else None
            account = trading.account(stop)
        except BinmonError as error:
            return Standing(rules, assumed, assumed), error
        try:
            told = trading.fees(symbol, stop)
            buying, selling = fees_of(told, lambda asset: self._price(source, asset, rules.quote, stop))
        except RequestRefused:  # the key is good, so the venue does not know the question
            return Standing(rules, assumed, assumed, account, reference), None
        except BinmonError as error:
            return Standing(rules, assumed, assumed), error
        except ValueError as error:  # a rate that is none
            return Standing(rules, assumed, assumed), VenueFailed(source.name, 200, str(error))
        return Standing(rules, buying, selling, account, reference), None

    def _price(self, source: VenueSource, asset: str, quote: str, stop: threading.Event) -> Decimal | None:
        """What one unit of ``asset`` is worth in ``quote`` at the venue; None where it does not trade there."""
        assert source.trading is not None
        for instrument in self._listings[source.name].values():
            if (instrument.base, instrument.quote) == (asset, quote):
                return source.trading.market_price(instrument.symbol, stop)
        return None

    def _depth(self, source: VenueSource, instrument: Instrument, stop: threading.Event) -> MarketDepth:
        kept = source.kept(instrument, self.settings.levels)
        if kept is not None and kept.refusal(time.monotonic_ns(), self.settings.max_age_ns) is None:
            return kept
        asked_mono_ns = time.monotonic_ns()
        snapshot = source.market.depth(instrument.symbol, self.settings.levels, Priority.ORDER, stop)
        try:
            return depth_of(instrument, snapshot, asked_mono_ns)
        except ValueError as error:
            raise VenueFailed(source.name, 200, f"its book is none: {error}") from error

    def _market(self, known: Known, name: str, depth: MarketDepth) -> VenueMarket:
        standing, source = known.standings[name], self.sources[name]
        fees: Fees = standing.buying if known.side is OrderSide.BUY else standing.selling
        return VenueMarket(
            depth,
            standing.rules,
            fees,
            standing.account,
            source.environment,
            takes_quote_amounts=source.rules is not None,
            quote_amount_step=standing.rules.quote_step,
            reference_price=standing.reference_price,
        )


def depth_of(instrument: Instrument, snapshot: DepthSnapshot, asked_mono_ns: int) -> MarketDepth:
    """A REST snapshot as a depth. Raises ValueError for what is no book, or has numbers that a double does not hold."""
    if snapshot.inexact is not None:
        raise ValueError(f"{snapshot.inexact} has more digits than are kept exactly")
    return MarketDepth(
        instrument.venue,
        instrument,
        levels_of(snapshot.bid_price, snapshot.bid_quantity),
        levels_of(snapshot.ask_price, snapshot.ask_quantity),
        asked_mono_ns,
        DepthSource.REST,
    )
