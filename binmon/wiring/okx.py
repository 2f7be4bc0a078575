"""OKX: addresses, ledger, REST and clock. Market data only."""

from __future__ import annotations

import threading

from binmon.core.clock import ClockSample, VenueClock
from binmon.messages import Priority
from binmon.venues.okx.decoding import NAME
from binmon.venues.okx.market import REST_URL, STREAM_URL, OkxMarket, connects
from binmon.venues.okx.rest import WEIGHT_PER_MINUTE, take_sample
from binmon.wiring.ground import Ground
from binmon.wiring.public import PublicParts, PublicUrls, ledger_of, session_of, urls_of


def wire_okx(ground: Ground) -> PublicParts:
    """The venue at its own addresses, or at those that the configuration names."""
    urls = urls_of(ground.config.venues.okx, PublicUrls(REST_URL, STREAM_URL))
    ledger = ledger_of(ground, NAME, WEIGHT_PER_MINUTE, connects())
    rest = session_of(NAME, urls, ledger)

    def take(stop: threading.Event) -> ClockSample:
        return take_sample(rest, ledger, stop)

    def take_idle(stop: threading.Event) -> ClockSample:
        return take_sample(rest, ledger, stop, Priority.AUDIT)

    return PublicParts(urls, ledger, rest, OkxMarket(rest, ledger, urls.stream), VenueClock(NAME), take, take_idle)
