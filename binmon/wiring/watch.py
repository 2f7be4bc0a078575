"""Candles, trades and new symbols of a venue: sockets, fetchers and watchers, and what others see of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from binmon.core.channel import Channel, Overflow
from binmon.core.fanout import Fanout
from binmon.messages import CandlesWanted, Instrument, SymbolsWanted
from binmon.net.rotation import RotationWindow
from binmon.status import PATIENCE_S, Section
from binmon.telemetry.metrics import DECLARED, Figure
from binmon.venues.binance.watching import BinanceWatching
from binmon.venues.bybit.watching import BybitWatching
from binmon.venues.sockets import Sockets
from binmon.venues.watching import WatchingVenue, watch_connections
from binmon.watch import settings
from binmon.watch.candles import CandleWatcher
from binmon.watch.desk import WatchDesk, WatchedVenue
from binmon.watch.feeds import WatchFeeds, WatchSockets
from binmon.watch.fetcher import WatchFetcher
from binmon.watch.intake import Intake
from binmon.watch.known import KnownSymbols
from binmon.watch.listing_watcher import ListingWatcher
from binmon.watch.series import SeriesState
from binmon.watch.settings import listing_settings
from binmon.watch.trades import TradeWatcher
from binmon.wiring.binance import BinanceParts
from binmon.wiring.bybit import BybitParts
from binmon.wiring.ground import Ground
from binmon.wiring.newcomers import Newcomers
from binmon.wiring.venues import MarketParts

_INBOX, _QUESTIONS = 8_192, 1_024
HISTORY = 1_000
"""Candles that are kept of each series."""


@dataclass(frozen=True, slots=True)
class WatchParts:
    """All that watches, whichever venue it is of. ``venues`` are those that can be watched, whether they have answered or
    not; the desk knows those that have."""

    desk: WatchDesk
    venues: Mapping[str, WatchingVenue]
    known: KnownSymbols
    newcomers: Newcomers


def watching_of(parts: MarketParts) -> WatchingVenue | None:
    """A venue as far as it can be watched; None where binmon has order books of it only."""
    if isinstance(parts, BinanceParts):
        return BinanceWatching(parts.market, parts.rest, parts.urls.stream)
    if isinstance(parts, BybitParts):
        return BybitWatching(parts.market, parts.rest)
    return None


def plan_watch(ground: Ground, markets: Mapping[str, MarketParts]) -> WatchParts:
    """Before any venue has answered; nothing is started. Raises ConfigError for a newer state database."""
    found = {name: watching_of(parts) for name, parts in markets.items()}
    venues = {name: venue for name, venue in found.items() if venue is not None}
    newcomers = Newcomers(lambda: ground.config)
    return WatchParts(WatchDesk(ground.config.watch), venues, KnownSymbols(ground.state), newcomers)


def wire_watch(
    ground: Ground, parts: MarketParts, venue: WatchingVenue, instruments: Mapping[str, Instrument], watch: WatchParts
) -> WatchedVenue:
    """Build and start what watches a venue that has answered. Without any rule it is idle, and has no socket.

    Raises ConfigError for a symbol that the venue does not list and an interval that it does not have.
    """
    config, name = ground.config, venue.name
    settings.check(config.watch, venue, instruments)
    add, told = ground.supervisor.add, watch.desk.told

    def channel(what: str, capacity: int) -> Channel[Any]:
        made: Channel[Any] = Channel(f"{name}-{what}", capacity, Overflow.DROP_NEWEST)
        ground.channels.append(made)
        return made

    def floor(what: str) -> tuple[Channel[Any], dict[str, Any]]:
        """A fetcher, and what every watcher is built of."""
        inbox = channel(what, _INBOX)
        ground.rotatable.append(inbox)
        wanted: Channel[CandlesWanted | SymbolsWanted] = channel(f"{what}-wanted", _QUESTIONS)
        sockets = Sockets(watch_connections(venue, inbox, parts.ledger), ground.supervisor, parts.ledger)
        feeds = WatchFeeds(
            name,
            f"{name}-{what}",
            WatchSockets(sockets.open, sockets.close, sockets.reconnect),
            RotationWindow.parse(config.books.rotate_window),
            most_streams=venue.streams_per_connection,
        )
        # Stages: producers end before the consumers they feed, so that what is under way still arrives.
        add(WatchFetcher(f"{name}-{what}-fetcher", venue, wanted, inbox), stage=0)
        return inbox, {"inbox": inbox, "wanted": wanted, "signals": ground.signals, "feeds": feeds}

    candle_inbox, of_candles = floor("candles")
    candles = CandleWatcher(f"{name}-candles", venue, (), history=HISTORY, listeners=(told,), **of_candles)
    trade_inbox, of_trades = floor("trades")
    trades = TradeWatcher(f"{name}-trades", venue, (), listeners=(told,), **of_trades)
    listing_inbox, of_listings = floor("symbols")
    heard = Fanout([told])
    listings = ListingWatcher(
        f"{name}-symbols",
        venue,
        watch.known,
        listing_settings(config.watch, name),
        instruments=instruments,
        listeners=(heard,),
        **of_listings,
    )
    heard.add(watch.newcomers.outlet(lambda: listings.instruments))
    for worker in (candles, trades, listings):
        add(worker, stage=1)
    one = WatchedVenue(venue, candles, trades, listings, candle_inbox, trade_inbox, listing_inbox)
    watch.desk.open(one)
    return one


# What is said of it ---------------------------------------------------------------------------------------------------


def watch_section(desk: WatchDesk) -> Callable[[], Section]:
    """The watchers on ``/healthz``: every series and where it stands. One that is not live for over a minute is a problem,
    unless its socket is idle because nobody wants anything of it."""

    def ask() -> Section:
        now_s, problems = time.monotonic(), list[str]()
        document: dict[str, Any] = {}
        for name, one in desk.venues.items():
            candles, trades = dict[str, Any](), dict[str, Any]()
            for (symbol, interval), series in one.candles.views.items():
                newest = series.candles[-1].open_time_ms if series.candles else None
                candles[f"{symbol} {interval}"] = {
                    "state": series.state.value,
                    "for_s": round(now_s - series.since_s, 1),
                    "candles": len(series.candles),
                    "newest_open_ms": newest,
                    "corrected": series.corrections,
                }
                lasts = series.state in (SeriesState.DOWN, SeriesState.LOADING)
                if lasts and now_s - series.since_s > PATIENCE_S:
                    problems.append(f"{name}: no live candles of {symbol} {interval} for over a minute")
            for symbol, view in one.trades.views.items():
                newest_id = None if view.newest is None else view.newest.trade_id
                trades[symbol] = {
                    "live": view.live,
                    "for_s": round(now_s - view.since_s, 1),
                    "newest_trade_id": newest_id,
                    "missed": view.missed,
                }
                if not view.live and now_s - view.since_s > PATIENCE_S:
                    problems.append(f"{name}: no live trades of {symbol} for over a minute")
            listings = one.listings
            document[name] = {
                "candles": candles,
                "trades": trades,
                "listings": {"enabled": listings.enabled, "known": listings.known_count, "reported": listings.listed},
                "connections": {
                    feed: state for intake in _intakes(one).values() for feed, state in intake.feeds.states().items()
                },
            }
        return problems, document

    return ask


def watch_figures(desk: WatchDesk) -> Iterator[Figure]:
    """The watchers for ``/metrics``: sums over the symbols of a venue, however many are watched."""
    followed = desk.followed
    for name, one in desk.venues.items():
        candles, trades, listings = one.candles, one.trades, one.listings
        states = Counter(view.state for view in tuple(candles.views.values()))
        for state in SeriesState:
            yield _figure("binmon_watch_candle_series", states[state], name, state.value)
        live = Counter(view.live for view in tuple(trades.views.values()))
        yield _figure("binmon_watch_trade_streams", live[True], name, "live")
        yield _figure("binmon_watch_trade_streams", live[False], name, "down")
        yield _figure("binmon_watch_followed", followed.get(name, 0), name)
        dropped = {"candles": candles.dropped, "trades": trades.dropped, "symbols": listings.dropped}
        for what, intake in _intakes(one).items():
            yield _figure("binmon_watch_events_total", intake.events, name, what)
            yield _figure("binmon_watch_malformed_total", intake.malformed, name, what)
            yield _figure("binmon_watch_rotations_total", intake.feeds.rotations, name, what)
            yield _figure("binmon_watch_dropped_total", dropped[what], name, what)
        yield _figure("binmon_watch_candles_corrected_total", candles.corrected, name)
        yield _figure("binmon_watch_trades_missed_total", trades.missed, name)
        yield _figure("binmon_watch_crossings_total", candles.crossings, name, "candle")
        yield _figure("binmon_watch_crossings_total", trades.crossings, name, "trade")
        yield _figure("binmon_watch_symbols_known", listings.known_count, name)
        yield _figure("binmon_watch_symbols_listed_total", listings.listed, name)


def _intakes(one: WatchedVenue) -> dict[str, Intake]:
    return {"candles": one.candles.intake, "trades": one.trades.intake, "symbols": one.listings.intake}


def _figure(name: str, value: float, *labels: str) -> Figure:
    return DECLARED[name].figure(float(value), *labels)
