"""The public side of Bybit spot: instruments, depth and the plan of market streams (reference, sections 3 and 4)."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import msgspec

from binmon.errors import VenueFailed
from binmon.messages import DepthSnapshot, Instrument, Priority
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import BookRules, BookStart, Heartbeat, MalformedFrame, StreamPlan, Venue
from binmon.venues.bybit.decoding import BOOK, BybitDecoder
from binmon.venues.bybit.endpoints import NAME, public_stream
from binmon.venues.bybit.errors import Kind, envelope_of, kind_of, public_failure, result_of
from binmon.venues.bybit.limits import WEIGHT
from binmon.venues.symbols import TRADING

T = TypeVar("T")

CATEGORY = "spot"
INSTRUMENTS_PATH, DEPTH_PATH = "/v5/market/instruments-info", "/v5/market/orderbook"
DEPTHS = (50, 200, 1000)  # levels a side of the streams; that of one level has snapshots only
REST_DEPTH = 1000  # whose numbering REST snapshots share; also the most levels that REST gives
_MOST_PAGES = 50
# 21,000 characters of arguments a connection are allowed, which is 500 topics; but fifty first snapshots are some
# megabytes, and one socket that breaks should not take too many books with it
MAX_STREAMS_A_CONNECTION = 50
PING = Heartbeat(b'{"req_id":"ping","op":"ping"}', 20.0)
SILENCE_S = 30.0  # a ping every 20 s, and its pong within 10


class _LotSize(msgspec.Struct):
    base_step: str = msgspec.field(name="basePrecision", default="0")


class _Price(msgspec.Struct):
    tick: str = msgspec.field(name="tickSize", default="0")


class _Instrument(msgspec.Struct):
    symbol: str
    status: str
    base: str = msgspec.field(name="baseCoin")
    quote: str = msgspec.field(name="quoteCoin")
    lot_size: _LotSize = msgspec.field(name="lotSizeFilter", default_factory=_LotSize)
    price: _Price = msgspec.field(name="priceFilter", default_factory=_Price)


class _Instruments(msgspec.Struct):
    listed: list[_Instrument] = msgspec.field(name="list")
    next_page: str = msgspec.field(name="nextPageCursor", default="")


_INSTRUMENTS = msgspec.json.Decoder(_Instruments)


def get(
    rest: RestSession,
    path: str,
    parameters: Mapping[str, str],
    priority: Priority,
    stop: threading.Event,
    decoder: msgspec.json.Decoder[T],
) -> T:
    """The payload of an answer to a public question. Raises what ``rest.get`` raises, and `public_failure` for other
    codes."""
    url = rest.base_url + path
    answer = envelope_of(url, rest.get(path, parameters, WEIGHT, priority, stop))
    if kind_of(answer.code) is not Kind.DONE:
        raise public_failure(rest, url, answer)
    return result_of(url, answer, decoder)


def status_of(word: str) -> str:
    """A status of an instrument in our words: ``Trading`` is TRADING, anything else is capitalised and takes no orders."""
    return TRADING if word == "Trading" else word.upper()


class BybitMarket(Venue):
    """Bybit spot without keys. ``ledger`` is that of ``rest``; ``stream_url`` is that of the public stream; ``depth`` is how
    many levels a side the books should have: the least stream that has as many is taken, else the deepest."""

    name = NAME
    streams_per_connection = MAX_STREAMS_A_CONNECTION

    def __init__(self, rest: RestSession, ledger: RateLedger, stream_url: str, depth: int = REST_DEPTH) -> None:
        self._rest, self._ledger, self._stream_url = rest, ledger, public_stream(stream_url)
        self.window = next((levels for levels in DEPTHS if depth <= levels), DEPTHS[-1])
        self.book_rules = BookRules(
            start=BookStart.STREAM_SNAPSHOT,
            # ids are those of the service: it numbers each depth of a symbol, whoever subscribes, until it restarts
            shared_ids=True,
            comparable=self.window == REST_DEPTH,
            window=self.window,
        )

    @property
    def weight_per_minute(self) -> int:
        return self._ledger.limit

    def instruments(self, stop: threading.Event, priority: Priority = Priority.INITIAL_SYNC) -> dict[str, Instrument]:
        """All spot symbols; they come in one answer, and where a venue speaks of further pages these are asked for."""
        found: dict[str, Instrument] = {}
        parameters = {"category": CATEGORY}
        for _ in range(_MOST_PAGES):
            page = get(self._rest, INSTRUMENTS_PATH, parameters, priority, stop, _INSTRUMENTS)
            found.update((one.symbol, self._instrument(one)) for one in page.listed)
            # cursors come back percent-encoded (reference 2.2), and are encoded again on their way
            cursor = urllib.parse.unquote(page.next_page)
            if not cursor or cursor == parameters.get("cursor"):
                return found
            parameters = {"category": CATEGORY, "cursor": cursor}
        raise VenueFailed(self._rest.base_url + INSTRUMENTS_PATH, 200, f"more than {_MOST_PAGES} pages of instruments")

    def depth(self, symbol: str, limit: int, priority: Priority, stop: threading.Event) -> DepthSnapshot:
        """Its ids are those of the stream of 1000 levels, whichever stream the books are kept by."""
        parameters = {"category": CATEGORY, "symbol": symbol, "limit": str(min(limit, REST_DEPTH))}
        answer = get(self._rest, DEPTH_PATH, parameters, priority, stop, msgspec.json.Decoder(msgspec.Raw))
        try:
            return BybitDecoder().depth(symbol, bytes(answer))
        except MalformedFrame as error:
            raise VenueFailed(self._rest.base_url + DEPTH_PATH, 200, f"unreadable: {error}") from error

    def snapshot_weight(self, limit: int) -> int:
        return WEIGHT

    def depth_stream(self, symbol: str) -> str:
        return f"{BOOK}{self.window}.{symbol}"

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        carried = tuple(streams)
        # one topic a request, for a bad one fails all of its request (reference 4.1)
        opening = tuple(request("subscribe", (stream,), f"subscribe-{stream}") for stream in carried)
        return StreamPlan(name, self._stream_url, carried, opening, PING, SILENCE_S)

    def decoder(self) -> BybitDecoder:
        return BybitDecoder()

    def resubscription(self, stream: str) -> tuple[bytes, ...]:
        return (
            request("unsubscribe", (stream,), f"unsubscribe-{stream}"),
            request("subscribe", (stream,), f"subscribe-{stream}"),
        )

    def _instrument(self, listed: _Instrument) -> Instrument:
        return Instrument(
            self.name,
            listed.symbol,
            listed.base,
            listed.quote,
            status_of(listed.status),
            _decimal(listed.price.tick),
            _decimal(listed.lot_size.base_step),
        )


def request(operation: str, topics: Sequence[str], request_id: str) -> bytes:
    """One request on a stream (reference 4.1)."""
    return msgspec.json.encode({"req_id": request_id, "op": operation, "args": list(topics)})


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text).normalize()
    except InvalidOperation:
        return Decimal(0)
