"""The public side of OKX spot: instruments, depth and the plan of market streams."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import msgspec

from binmon.errors import VenueFailed
from binmon.messages import DepthSnapshot, Instrument, Priority
from binmon.net.budgets import SlidingBudget
from binmon.net.ledger import RateLedger
from binmon.net.rest import RestSession
from binmon.venues.base import BookRules, BookStart, Heartbeat, MalformedFrame, StreamPlan, Venue
from binmon.venues.level_texts import LevelTexts
from binmon.venues.okx.decoding import BOOKS, NAME, WINDOW, OkxDecoder
from binmon.venues.okx.rest import WEIGHT, data
from binmon.venues.symbols import TRADING
from binmon.venues.windows import levels_text, snapshot_of

T = TypeVar("T")

REST_URL, STREAM_URL = "https://www.okx.com", "wss://ws.okx.com:8443/ws/v5/public"
_INSTRUMENTS_PATH, _DEPTH_PATH = "/api/v5/public/instruments", "/api/v5/market/books"
# What is asked for on a connection may be 64 KB of text, which would be more than a thousand; a connection with so few
# delivers a thousand messages a second at most.
_STREAMS_A_CONNECTION = 100
_STREAMS_A_SUBSCRIBE = 50
_CONNECTS, _CONNECTS_WINDOW_S = 2, 1.0  # of three a second that an address may make
# The venue cuts a connection on which it had nothing to say for 30 s; it answers a ``ping``, so that two of them without
# an answer tell a connection that is dead.
_HEARTBEAT = Heartbeat(b"ping", 20.0)
_SILENCE_S = 45.0


class _Listed(msgspec.Struct):
    symbol: str = msgspec.field(name="instId")
    base: str = msgspec.field(name="baseCcy")
    quote: str = msgspec.field(name="quoteCcy")
    tick_size: str = msgspec.field(name="tickSz", default="0")
    lot_size: str = msgspec.field(name="lotSz", default="0")
    state: str = "live"


class _Depth(msgspec.Struct):
    bids: list[list[str]]
    asks: list[list[str]]


def connects() -> SlidingBudget:
    """The budget of connection attempts that the venue allows an address."""
    return SlidingBudget(_CONNECTS, _CONNECTS_WINDOW_S)


class OkxMarket(Venue):
    """OKX spot without keys. ``ledger`` is that of ``rest``; ``stream_url`` is complete."""

    name = NAME
    streams_per_connection = _STREAMS_A_CONNECTION
    book_rules = BookRules(
        BookStart.STREAM_SNAPSHOT, shared_ids=True, comparable=False, window=WINDOW, tells_what_leaves=True
    )

    def __init__(self, rest: RestSession, ledger: RateLedger, stream_url: str) -> None:
        self._rest, self._ledger, self._stream_url = rest, ledger, stream_url
        self._requests = itertools.count(1)

    @property
    def weight_per_minute(self) -> int:
        return self._ledger.limit

    def instruments(self, stop: threading.Event, priority: Priority = Priority.INITIAL_SYNC) -> dict[str, Instrument]:
        listed = self._ask(_INSTRUMENTS_PATH, {"instType": "SPOT"}, _Listed, priority, stop)
        return {one.symbol: _instrument(one) for one in listed}

    def depth(self, symbol: str, limit: int, priority: Priority, stop: threading.Event) -> DepthSnapshot:
        """At most 400 levels, which is what the venue gives. They bear no id of the stream's: ``last_update_id`` is 0."""
        parameters = {"instId": symbol, "sz": str(min(limit, WINDOW))}
        answer = self._ask(_DEPTH_PATH, parameters, _Depth, priority, stop)
        try:
            (book,) = answer
            return snapshot_of(LevelTexts(), self.name, symbol, 0, _side(book.bids), _side(book.asks))
        except ValueError as error:  # MalformedFrame, or not one book
            raise VenueFailed(self._rest.base_url + _DEPTH_PATH, 200, f"unreadable: {error}") from error

    def snapshot_weight(self, limit: int) -> int:
        return WEIGHT

    def depth_stream(self, symbol: str) -> str:
        return f"{BOOKS}:{symbol}"

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        carried = tuple(streams)
        chunks = [
            carried[start : start + _STREAMS_A_SUBSCRIBE] for start in range(0, len(carried), _STREAMS_A_SUBSCRIBE)
        ]
        opening = tuple(self._request("subscribe", chunk) for chunk in chunks)
        return StreamPlan(name, self._stream_url, carried, opening, heartbeat=_HEARTBEAT, silence_s=_SILENCE_S)

    def resubscription(self, stream: str) -> tuple[bytes, ...]:
        # the same subscription once more would be acknowledged, but bring no snapshot
        return self._request("unsubscribe", [stream]), self._request("subscribe", [stream])

    def decoder(self) -> OkxDecoder:
        return OkxDecoder()

    def _request(self, operation: str, streams: Sequence[str]) -> bytes:
        arguments = [{"channel": BOOKS, "instId": stream.partition(":")[2]} for stream in streams]
        return msgspec.json.encode({"id": str(next(self._requests)), "op": operation, "args": arguments})

    def _ask(
        self, path: str, parameters: Mapping[str, str], kind: type[T], priority: Priority, stop: threading.Event
    ) -> list[T]:
        body = self._rest.get(path, parameters, WEIGHT, priority, stop)
        return data(self._rest.base_url + path, body, kind, self._ledger)


def _side(levels: Sequence[Sequence[str]]) -> bytes:
    """Price and quantity of each level. Raises MalformedFrame."""
    if any(len(level) < 2 for level in levels):
        raise MalformedFrame("expected levels of price and quantity")
    return levels_text((level[0], level[1]) for level in levels)


def _instrument(listed: _Listed) -> Instrument:
    status = TRADING if listed.state == "live" else listed.state.upper()
    tick, lot = _decimal(listed.tick_size), _decimal(listed.lot_size)
    return Instrument(NAME, listed.symbol, listed.base, listed.quote, status, tick, lot)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text).normalize()
    except InvalidOperation:
        return Decimal(0)
