"""Kraken and OKX over real sockets, against small foreign venues: connections, decoders, REST and clocks together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from binmon.core.channel import Channel, Overflow
from binmon.core.clock import VenueClock
from binmon.errors import RateLimited, RequestRefused
from binmon.messages import FrameChunk, Priority, StreamDown, StreamUp
from binmon.net.ledger import RateLedger
from binmon.net.posts import Post
from binmon.net.rest import RestSession
from binmon.venues.base import BookBroken, ControlReply, ShutdownNotice, Venue
from binmon.venues.clock import measure
from binmon.venues.kraken import rest as kraken_rest
from binmon.venues.kraken.market import KrakenMarket
from binmon.venues.okx import rest as okx_rest
from binmon.venues.okx.market import OkxMarket
from binmon.venues.sockets import market_connections
from tests.system.plain_kraken_okx import PlainBookVenue, PlainKraken, PlainOkx, Sides
from tests.venues.client_book import ClientBook

HEADERS = {"User-Agent": "binmon/test"}
PATIENCE_S = 60.0
# ten levels are what Kraken's checksum covers: there, whatever is wrong shows with the next message
WINDOWS = {"kraken": 10, "okx": 400}


def venue_of(plain: PlainBookVenue) -> tuple[Venue, RateLedger, RestSession]:
    name = "kraken" if isinstance(plain, PlainKraken) else "okx"
    ledger = RateLedger(name, weight_per_minute=600)
    rest = RestSession(name, plain.rest_url, ledger, headers=HEADERS)
    if name == "kraken":
        return KrakenMarket(rest, ledger, plain.stream_url, depth=8), ledger, rest
    return OkxMarket(rest, ledger, plain.stream_url), ledger, rest


class Hand:
    """One connection to all symbols of a venue, its decoder and its books; what is broken is subscribed to anew."""

    def __init__(self, plain: PlainBookVenue) -> None:
        self.plain = plain
        self.venue, self.ledger, _ = venue_of(plain)
        self.venue.instruments(threading.Event())
        self.inbox: Channel[Any] = Channel("inbox", 100_000, Overflow.DROP_NEWEST)
        streams = tuple(self.venue.depth_stream(symbol) for symbol in plain.markets)
        self.worker = market_connections(self.venue, self.inbox, self.ledger)("feed", streams)
        self.stop = threading.Event()
        self.failures: list[Exception] = []
        self._thread = threading.Thread(target=self._run)
        self.books: dict[str, ClientBook] = {}
        self.said: list[Any] = []

    def _run(self) -> None:
        try:
            self.worker.run(self.stop)
        except Exception as error:
            self.failures.append(error)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)

    def until(self, true: Callable[[], bool]) -> None:
        """Take in what comes until ``true()``."""
        end_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end_s, (self.said[-5:], self.failures)
            message = self.inbox.take(0.02)
            if isinstance(message, StreamUp):
                decoder = self.venue.decoder()
                self.books = {symbol: ClientBook(decoder, strict=False) for symbol in self.plain.markets}
            elif isinstance(message, FrameChunk):
                for frame in message.frames:
                    self._take(frame)
            elif isinstance(message, StreamDown):
                self.said.append(message)

    def _take(self, frame: bytes) -> None:
        for symbol, book in self.books.items():
            if f'"{symbol}"'.encode() in frame:
                gaps, said = book.gaps, book.take(frame)
                if isinstance(said, BookBroken) or book.gaps > gaps:
                    self.said.append(said)
                    for text in self.venue.resubscription(self.venue.depth_stream(symbol)):
                        assert self.worker.post(Post(text, lambda *at: None, self.said.append))
                elif isinstance(said, ControlReply):
                    self.said.append(said)
                return
        other = next(iter(self.books.values())).decoder.other(frame)
        if other is not None:
            self.said.append(other)

    def truth(self, symbol: str) -> Sides:
        return self.plain.truth(symbol, WINDOWS[self.venue.name])

    def compare(self, at_least: int) -> None:
        """Every book is the venue's, after so many more updates of each."""
        self.plain.pause = False
        begun = {symbol: len(book.updates) for symbol, book in self.books.items()}
        self.until(lambda: all(len(one.updates) >= begun[name] + at_least for name, one in self.books.items()))
        self.plain.pause = True
        for symbol, book in self.books.items():
            self.until(lambda symbol=symbol, book=book: book.sides() == self.truth(symbol))


@contextmanager
def hand_on(plain: PlainBookVenue) -> Iterator[Hand]:
    with plain:
        hand = Hand(plain)
        hand.begin()
        try:
            hand.until(lambda: len(hand.books) == 2 and all(book.updates for book in hand.books.values()))
            yield hand
        finally:
            hand.end()
    assert not hand.failures


@pytest.mark.parametrize("kind", [PlainKraken, PlainOkx])
def test_books_over_a_real_socket(kind: type[PlainBookVenue]) -> None:
    with hand_on(kind(per_second=100.0)) as hand:
        hand.compare(at_least=100)
        for book in hand.books.values():
            assert not book.broken and not book.gaps
        assert [one for one in hand.said if isinstance(one, ControlReply) and one.error] == []


def losing(book: ClientBook, plain: PlainBookVenue, symbol: str) -> Callable[[int], bool]:
    """Whether so many breaks were found; until then every fifth message is lost, as one that tells of no visible level is
    not missed."""
    lost_at = [-5]

    def found(breaks: int) -> bool:
        if len(book.broken) < breaks and len(book.updates) >= lost_at[0] + 5 and not plain.losing(symbol):
            lost_at[0] = len(book.updates)
            plain.lose(symbol)
        return len(book.broken) >= breaks

    return found


def test_what_kraken_loses_or_damages_is_found_by_the_checksum() -> None:
    with hand_on(PlainKraken(per_second=100.0)) as hand:
        plain = hand.plain
        assert isinstance(plain, PlainKraken)
        lost, whole = hand.books["BTC/USD"], hand.books["DOGE/USD"]
        for round_number in range(1, 6):
            plain.pause = False
            if round_number % 2:
                found = losing(lost, plain, "BTC/USD")
                hand.until(lambda number=round_number, found=found: found(number))
                plain.lose("BTC/USD", 0)
            else:
                plain.damage("BTC/USD")
                hand.until(lambda number=round_number: len(lost.broken) >= number)
            hand.compare(at_least=20)
        assert len(lost.broken) >= 5 and not whole.broken


def test_what_okx_loses_is_found_by_the_ids() -> None:
    with hand_on(PlainOkx(per_second=100.0)) as hand:
        lost, whole = hand.books["PEPE-USDT"], hand.books["BTC-USDT"]
        for round_number in range(1, 6):
            hand.plain.pause = False
            hand.plain.lose("PEPE-USDT", 2)
            hand.until(lambda number=round_number: lost.gaps == number)
            hand.compare(at_least=20)
        assert lost.gaps == 5 and not whole.gaps and not whole.broken


def test_okx_renumbers_keeps_alive_and_announces_its_upgrade() -> None:
    with hand_on(PlainOkx(per_second=50.0)) as hand:
        plain = hand.plain
        assert isinstance(plain, PlainOkx)
        plain.sums = True
        hand.compare(at_least=10)
        book = hand.books["BTC-USDT"]
        plain.renumber("BTC-USDT")  # with its next message
        hand.compare(at_least=10)
        assert book.last_id < 5000 and not book.gaps and not book.broken
        plain.keep_alive("BTC-USDT")
        plain.announce_upgrade()
        hand.until(lambda: ShutdownNotice(0) in hand.said)
        plain.sums = False  # both ways are valid
        hand.compare(at_least=10)
        assert not book.gaps and not book.broken
        # answered as text, which is no JSON
        assert hand.worker.post(Post(b"ping", lambda *at: None, hand.said.append))
        hand.until(lambda: "ping" in plain.heard)
        hand.compare(at_least=5)


@pytest.mark.parametrize(("kind", "symbol"), [(PlainKraken, "BTC/USD"), (PlainOkx, "BTC-USDT")])
def test_rest(kind: type[PlainBookVenue], symbol: str) -> None:
    with kind() as plain:
        plain.pause = True
        venue, ledger, _ = venue_of(plain)
        stop = threading.Event()
        instruments = venue.instruments(stop)
        assert set(instruments) == set(plain.markets) and instruments[symbol].base == "BTC"
        snapshot = venue.depth(symbol, 10, Priority.RESYNC, stop)
        bids, asks = plain.truth(symbol, 10)
        assert list(zip(snapshot.bid_price.tolist(), snapshot.bid_quantity.tolist(), strict=True)) == bids
        assert list(zip(snapshot.ask_price.tolist(), snapshot.ask_quantity.tolist(), strict=True)) == asks
        with pytest.raises(RequestRefused):
            venue.depth("NOPE", 10, Priority.RESYNC, stop)
        assert ledger.used >= 3
        nameless = RestSession("x", plain.rest_url, RateLedger("x"))
        with pytest.raises(RateLimited, match="WAF"):
            nameless.get("/", {}, 1, Priority.RESYNC, stop)


@pytest.mark.parametrize(("kind", "most_ms"), [(PlainKraken, 400.0), (PlainOkx, 400.0)])
def test_clocks(kind: type[PlainBookVenue], most_ms: float) -> None:
    with kind() as plain:
        plain.ahead_s = 7.345
        _, ledger, rest = venue_of(plain)
        clock, stop = VenueClock(rest.venue), threading.Event()

        def take(stop: threading.Event) -> Any:
            if isinstance(plain, PlainKraken):
                return kraken_rest.take_sample(rest, ledger, clock, stop)
            return okx_rest.take_sample(rest, ledger, stop)

        for _ in range(30):
            measure(clock, take, stop)
            reading = clock.reading()
            assert reading is not None
            off_ns = abs(reading.venue_minus_wall_ns - 7_345_000_000)
            # a venue that tells whole seconds or milliseconds cuts off the rest; a millisecond is for the reading
            assert off_ns <= reading.uncertainty_ns + 2_000_000
            if reading.uncertainty_ns < most_ms * 1e6:
                break
        else:
            pytest.fail(f"still {reading.uncertainty_ns / 1e6} ms")
        plain.refuse_rest = True
        with pytest.raises(Exception, match="503"):
            take(stop)
