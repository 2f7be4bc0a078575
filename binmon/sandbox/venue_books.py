"""The venue's books as faults look at them, of a generated market and of a recording alike."""

from __future__ import annotations

import json
from typing import Any

from .clock import VenueClock
from .decimals import parse_e8
from .market import Market, UnknownSymbol
from .matching import Side
from .replay import Replay


class VenueBooks:
    """Books, price steps and the order flow of either a market or a replay; exactly one of them is given."""

    def __init__(self, market: Market | None, replay: Replay | None, clock: VenueClock) -> None:
        self._market = market
        self._replay = replay
        self._clock = clock

    def book(self, symbol: str, limit: int = 100) -> dict[str, Any]:
        """A symbol's book now, in the shape of REST depth; empty when the symbol is gone."""
        try:
            text = (
                self._replay.depth(symbol, limit)
                if self._replay is not None
                else self._the_market.symbol(symbol).book_json(limit)
            )
        except (UnknownSymbol, KeyError):
            return {"lastUpdateId": 0, "bids": [], "asks": []}
        book: dict[str, Any] = json.loads(text)
        return book

    def tick_e8(self, symbol: str) -> int:
        """The price step of a symbol in units of 0.00000001."""
        if self._replay is not None:
            return self._replay.recording.instruments[symbol].tick_e8
        return self._the_market.symbol(symbol).instrument.tick_e8

    def keep_off(self, symbol: str, side: str, price: str, seconds: float) -> None:
        """Let the order flow leave a price alone; a recording has none, and a symbol that is gone neither."""
        if self._market is None:
            return
        try:
            market = self._market.symbol(symbol)
        except UnknownSymbol:
            return
        ticks = parse_e8(price) // market.instrument.tick_e8
        until_us = self._clock.now_us() + round(seconds * 1_000_000)
        with market.lock:
            market.flow.keep_off(Side.BUY if side == "bids" else Side.SELL, ticks, until_us)

    @property
    def _the_market(self) -> Market:
        assert self._market is not None
        return self._market
