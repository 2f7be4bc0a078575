"""From the section ``watch`` of the configuration to what the watchers take."""

from __future__ import annotations

from collections.abc import Mapping

from binmon.config.schema import CandleWatch, TradeWatch, WatchConfig
from binmon.errors import ConfigError
from binmon.messages import Instrument
from binmon.venues.watching import WatchingVenue, check_interval, check_symbol
from binmon.watch.candles import CandleRule
from binmon.watch.listing_watcher import ListingSettings
from binmon.watch.thresholds import Direction, Line, lines
from binmon.watch.trades import TradeRule


def candle_rules(watch: WatchConfig, venue: str) -> tuple[CandleRule, ...]:
    """The candles of ``venue`` that are watched. Raises ConfigError for a line that nothing could come back from."""
    return tuple(
        CandleRule(one.symbol, one.interval, one.price, _lines(one, f"watch.candles[{index}]"), one.closed_only)
        for index, one in enumerate(watch.candles)
        if one.venue == venue
    )


def trade_rules(watch: WatchConfig, venue: str) -> tuple[TradeRule, ...]:
    """The trades of ``venue`` that are watched. Raises ConfigError for a line that nothing could come back from."""
    return tuple(
        TradeRule(one.symbol, _lines(one, f"watch.trades[{index}]"))
        for index, one in enumerate(watch.trades)
        if one.venue == venue
    )


def listing_settings(watch: WatchConfig, venue: str) -> ListingSettings:
    """Whether new symbols of ``venue`` are looked for, and how often."""
    section = watch.listings
    return ListingSettings(section.interval_s, section.enabled and venue in section.venues)


def check(watch: WatchConfig, venue: WatchingVenue, listed: Mapping[str, Instrument]) -> None:
    """Raise ConfigError for an interval that ``venue`` does not have and a symbol that it does not list."""
    for index, candle in enumerate(watch.candles):
        if candle.venue == venue.name:
            check_interval(venue, candle.interval, f"watch.candles[{index}].interval")
            check_symbol(venue.name, candle.symbol, listed, f"watch.candles[{index}].symbol")
    for index, trade in enumerate(watch.trades):
        if trade.venue == venue.name:
            check_symbol(venue.name, trade.symbol, listed, f"watch.trades[{index}].symbol")


def _lines(one: CandleWatch | TradeWatch, key: str) -> tuple[Line, ...]:
    drawn = lines(one.above, one.below, hysteresis_bps=one.hysteresis_bps, hysteresis_price=one.hysteresis_price)
    for line in drawn:
        if line.direction is Direction.ABOVE and line.back <= 0:
            raise ConfigError(
                f"expected less than above, {line.price}, got {line.hysteresis}", key=f"{key}.hysteresis_price"
            )
    return drawn
