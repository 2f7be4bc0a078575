"""The public side of Kraken spot: instruments, depth and the plan of market streams."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from binmon.errors import VenueFailed
from binmon.messages import DepthSnapshot, Instrument, Priority
from binmon.net.budgets import SlidingBudget
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import BookRules, BookStart, MalformedFrame, StreamPlan, Venue
from binmon.venues.kraken.checksum import Precision
from binmon.venues.kraken.decoding import NAME, KrakenDecoder
from binmon.venues.kraken.rest import WEIGHT, result
from binmon.venues.level_texts import LevelTexts
from binmon.venues.symbols import TRADING
from binmon.venues.windows import levels_text, snapshot_of

T = TypeVar("T")

REST_URL, STREAM_URL = "https://api.kraken.com", "wss://ws.kraken.com/v2"
DEPTHS = (10, 25, 100, 500, 1000)  # that can be subscribed to
_MOST_REST_LEVELS = 500
_PAIRS_PATH, _DEPTH_PATH = "/0/public/AssetPairs", "/0/public/Depth"
_STREAMS_A_CONNECTION = 100
_SYMBOLS_A_SUBSCRIBE = 50
# REST still has the names of v1, which the streams refuse (reference: 2, symbols)
_RENAMED = {"XBT": "BTC", "XDG": "DOGE"}
# 150 in ten minutes and then a ban of ten; what is left over is for other programs on this address
_CONNECTS, _CONNECTS_WINDOW_S = 130, 600.0
_SILENCE_S = 10.0  # a heartbeat comes every second in which nothing else does


class _Pair(msgspec.Struct):
    alternative: str = msgspec.field(name="altname")
    price_decimals: int = msgspec.field(name="pair_decimals")
    quantity_decimals: int = msgspec.field(name="lot_decimals")
    name: str | None = msgspec.field(name="wsname", default=None)  # dark pools have none
    tick_size: str | None = None
    status: str = "online"


class _Depth(msgspec.Struct):
    bids: list[list[Any]]  # price and quantity as texts, and a time in seconds
    asks: list[list[Any]]


def connects() -> SlidingBudget:
    """The budget of connection attempts that the venue allows an address."""
    return SlidingBudget(_CONNECTS, _CONNECTS_WINDOW_S)


class KrakenMarket(Venue):
    """Kraken spot without keys. ``ledger`` is that of ``rest``; ``stream_url`` is complete; ``depth`` is how many levels a
    side the books should have: the next depth that the venue offers is subscribed to.

    Instruments come from REST ``AssetPairs``, which has what the ``instrument`` channel has, but needs no connection of
    its own: its v1 names are translated to those of the streams. A precision that has changed since does no harm, see
    `KrakenDecoder`.
    """

    name = NAME
    streams_per_connection = _STREAMS_A_CONNECTION

    def __init__(self, rest: RestSession, ledger: RateLedger, stream_url: str, depth: int = DEPTHS[-1]) -> None:
        self._rest, self._ledger, self._stream_url = rest, ledger, stream_url
        self._depth = next((offered for offered in DEPTHS if offered >= depth), DEPTHS[-1])
        self.book_rules = BookRules(
            BookStart.STREAM_SNAPSHOT, shared_ids=False, comparable=False, window=self._depth, tells_what_leaves=True
        )
        # replaced as a whole, because other threads look
        self._pairs: Mapping[str, _Pair] = {}
        self._precisions: Mapping[str, Precision] = {}
        self._ids: dict[str, int] = {}  # of all decoders, so that the ids of a symbol grow over its connections
        self._requests = itertools.count(1)

    @property
    def weight_per_minute(self) -> int:
        return self._ledger.limit

    def instruments(self, stop: threading.Event, priority: Priority = Priority.INITIAL_SYNC) -> dict[str, Instrument]:
        listed = self._ask(_PAIRS_PATH, {}, dict[str, _Pair], priority, stop)
        pairs: dict[str, _Pair] = {}
        for pair in listed.values():
            base, separator, quote = (pair.name or "").partition("/")
            if base and separator and quote:
                pairs.setdefault(f"{_renamed(base)}/{_renamed(quote)}", pair)
        self._pairs = pairs
        self._precisions = {
            symbol: Precision(max(0, pair.price_decimals), max(0, pair.quantity_decimals))
            for symbol, pair in pairs.items()
        }
        return {symbol: _instrument(symbol, pair) for symbol, pair in pairs.items()}

    def depth(self, symbol: str, limit: int, priority: Priority, stop: threading.Event) -> DepthSnapshot:
        """At most 500 levels, which is what the venue gives. They bear no id: ``last_update_id`` is 0."""
        if not self._pairs:
            self.instruments(stop, priority)
        pair = self._pairs.get(symbol)
        name = symbol if pair is None else pair.alternative  # the venue says best what it does not know
        parameters = {"pair": name, "count": str(min(limit, _MOST_REST_LEVELS))}
        answer = self._ask(_DEPTH_PATH, parameters, dict[str, _Depth], priority, stop)
        try:
            (book,) = answer.values()  # under the venue's own name of the pair, which may be another one
            return snapshot_of(LevelTexts(), self.name, symbol, 0, _side(book.bids), _side(book.asks))
        except ValueError as error:  # MalformedFrame, or not one book
            raise VenueFailed(self._rest.base_url + _DEPTH_PATH, 200, f"unreadable: {error}") from error

    def snapshot_weight(self, limit: int) -> int:
        return WEIGHT

    def depth_stream(self, symbol: str) -> str:
        return f"book-{self._depth}:{symbol}"

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        carried = tuple(streams)
        symbols = [_symbol_of(stream) for stream in carried]
        chunks = [
            symbols[start : start + _SYMBOLS_A_SUBSCRIBE] for start in range(0, len(symbols), _SYMBOLS_A_SUBSCRIBE)
        ]
        opening = tuple(self._request("subscribe", chunk) for chunk in chunks)
        return StreamPlan(name, self._stream_url, carried, opening, silence_s=_SILENCE_S)

    def resubscription(self, stream: str) -> tuple[bytes, ...]:
        symbols = [_symbol_of(stream)]
        return self._request("unsubscribe", symbols), self._request("subscribe", symbols)

    def decoder(self) -> KrakenDecoder:
        return KrakenDecoder(self._depth, lambda symbol: self._precisions.get(symbol), self._ids)

    def _request(self, method: str, symbols: Sequence[str]) -> bytes:
        parameters: dict[str, Any] = {"channel": "book", "symbol": symbols, "depth": self._depth}
        if method == "subscribe":
            parameters["snapshot"] = True
        return msgspec.json.encode({"method": method, "params": parameters, "req_id": next(self._requests)})

    def _ask(
        self, path: str, parameters: Mapping[str, str], kind: type[T], priority: Priority, stop: threading.Event
    ) -> T:
        body = self._rest.get(path, parameters, WEIGHT, priority, stop)
        return result(self._rest.base_url + path, body, kind, self._ledger)


def _renamed(asset: str) -> str:
    return _RENAMED.get(asset, asset)


def _symbol_of(stream: str) -> str:
    return stream.partition(":")[2]


def _side(levels: Sequence[Sequence[Any]]) -> bytes:
    """The first two texts of each level. Raises MalformedFrame."""
    texts = [(level[0], level[1]) for level in levels if len(level) >= 2]
    if len(texts) != len(levels) or not all(isinstance(text, str) for level in texts for text in level):
        raise MalformedFrame("expected levels of price and quantity, both texts")
    return levels_text(texts)


def _instrument(symbol: str, pair: _Pair) -> Instrument:
    base, _, quote = symbol.partition("/")
    status = TRADING if pair.status == "online" else pair.status.upper()
    tick = _unit(pair.price_decimals) if pair.tick_size is None else _decimal(pair.tick_size)
    return Instrument(NAME, symbol, base, quote, status, tick, _unit(pair.quantity_decimals))


def _unit(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text).normalize()
    except InvalidOperation:
        return Decimal(0)
