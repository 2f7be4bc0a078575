"""Kraken: addresses, ledger, REST and clock. Market data only."""

from __future__ import annotations

import threading

from binmon.core.clock import ClockSample, VenueClock
from binmon.messages import Priority
from binmon.venues.kraken.decoding import NAME
from binmon.venues.kraken.market import REST_URL, STREAM_URL, KrakenMarket, connects
from binmon.venues.kraken.rest import WEIGHT_PER_MINUTE, take_sample
from binmon.wiring.ground import Ground
from binmon.wiring.public import PublicParts, PublicUrls, ledger_of, session_of, urls_of


def wire_kraken(ground: Ground) -> PublicParts:
    """The venue at its own addresses, or at those that the configuration names."""
    urls = urls_of(ground.config.venues.kraken, PublicUrls(REST_URL, STREAM_URL))
    ledger = ledger_of(ground, NAME, WEIGHT_PER_MINUTE, connects())
    rest, clock = session_of(NAME, urls, ledger), VenueClock(NAME)

    def take(stop: threading.Event) -> ClockSample:
        return take_sample(rest, ledger, clock, stop)

    def take_idle(stop: threading.Event) -> ClockSample:
        return take_sample(rest, ledger, clock, stop, Priority.AUDIT)

    market = KrakenMarket(rest, ledger, urls.stream, ground.config.books.depth)
    return PublicParts(urls, ledger, rest, market, clock, take, take_idle)
