"""Raw message → applied book, read in the two ways that matter: ``python benchmarks/books.py``.

Peers get their JSON decoded by msgspec, which none of them does by itself. Every engine must end with the same book.
"""

from __future__ import annotations

import importlib.util
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import data
import msgspec
import numpy as np
from table import interleaved, show

from binmon.books.book import Book
from binmon.books.sync import QUIET_AFTER_S, BookSync
from binmon.books.touch import Touch
from binmon.venues.binance.decoding import BinanceDecoder

COPY_EVERY = 10
Ended = tuple[list[tuple[float, float]], list[tuple[float, float]]]


class _FloatUpdate(msgspec.Struct):
    bids: list[tuple[float, float]] = msgspec.field(name="b")
    asks: list[tuple[float, float]] = msgspec.field(name="a")


class _FloatFrame(msgspec.Struct):
    data: _FloatUpdate


class _TextUpdate(msgspec.Struct):
    bids: list[tuple[str, str]] = msgspec.field(name="b")
    asks: list[tuple[str, str]] = msgspec.field(name="a")


class _TextFrame(msgspec.Struct):
    data: _TextUpdate


class _Snapshot(msgspec.Struct):
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class Ours:
    """binmon's own path: decoder, sequence check, book and, where asked for, the touch."""

    def __init__(self, messages: data.Messages, *, copying: bool, touching: bool) -> None:
        self.messages, self.copying, self.touching = messages, copying, touching
        self.decoder = BinanceDecoder()
        self.snapshot = self.decoder.depth("binance", messages.symbol, messages.snapshot)

    def run(self) -> int:
        decoder, copying, frames = self.decoder, self.copying, self.messages.frames
        self.book, sync = Book(decoder), BookSync()
        touch = Touch(decoder) if self.touching else None
        sync.on_feed_up("one", 0.0)
        sync.tick(QUIET_AFTER_S)  # no event yet: the snapshot is asked for all the same
        sync.on_snapshot(1, self.snapshot, 0.0)
        sync.effects.clear()
        self.book.load(self.snapshot)
        if touch is not None:
            touch.load(self.snapshot)
        book = self.book
        for number, frame in enumerate(frames):
            update = decoder.update(frame)
            assert update is not None
            if sync.on_update(update, 1, 0.0):
                if touch is not None:
                    touch.apply(update)
                    self.read = touch.best
                if copying:
                    book.apply(update, 1)
                    if not number % COPY_EVERY:
                        book.settle()
                        self.copy = (book.bids(), book.asks())
                        book.take_changes()
        assert sync.update_id is not None and not sync.gaps
        book.settle()
        if touch is not None and copying:
            assert touch.best == book.best()
        return len(frames)

    def ended(self) -> Ended:
        bids, asks = self.book.bids(), self.book.asks()
        return (
            list(zip(bids[0].tolist(), bids[1].tolist(), strict=True)),
            list(zip(asks[0].tolist(), asks[1].tolist(), strict=True)),
        )


class OrderBookC:
    """order-book, the C extension, with float keys."""

    def __init__(self, messages: data.Messages, *, copying: bool, touching: bool) -> None:
        self.messages, self.copying, self.touching = messages, copying, touching
        self.decoder = msgspec.json.Decoder(_FloatFrame, strict=False)
        parsed = msgspec.json.decode(messages.snapshot, type=_Snapshot)
        self.bids = {float(price): float(quantity) for price, quantity in parsed.bids}
        self.asks = {float(price): float(quantity) for price, quantity in parsed.asks}

    def run(self) -> int:
        from order_book import OrderBook

        self.book = book = OrderBook()
        book.bids, book.asks = dict(self.bids), dict(self.asks)
        bids, asks, copying, touching, decode = book.bids, book.asks, self.copying, self.touching, self.decoder.decode
        for number, frame in enumerate(self.messages.frames):
            update = decode(frame).data
            for side, levels in ((bids, update.bids), (asks, update.asks)):
                for price, quantity in levels:
                    if quantity:
                        side[price] = quantity
                    else:
                        # not "in": that walks the keys
                        try:
                            del side[price]
                        except KeyError:
                            pass
            if touching:
                self.read = bids.index(0), asks.index(0)
            if copying and not number % COPY_EVERY:
                self.copy = bids.to_list(), asks.to_list()
        return len(self.messages.frames)

    def ended(self) -> Ended:
        return [tuple(level) for level in self.book.bids.to_list()], [
            tuple(level) for level in self.book.asks.to_list()
        ]


class DepthCaches:
    """python-binance's DepthCache."""

    def __init__(self, messages: data.Messages, *, copying: bool, touching: bool) -> None:
        self.messages, self.copying, self.touching = messages, copying, touching
        self.decoder = msgspec.json.Decoder(_TextFrame)
        self.snapshot = msgspec.json.decode(messages.snapshot, type=_Snapshot)

    def run(self, limit: int | None = None) -> int:
        from binance.ws.depthcache import DepthCache

        self.book = book = DepthCache(self.messages.symbol)
        for level in self.snapshot.bids:
            book.add_bid(level)
        for level in self.snapshot.asks:
            book.add_ask(level)
        add_bid, add_ask, decode = book.add_bid, book.add_ask, self.decoder.decode
        frames = self.messages.frames[:limit]
        for number, frame in enumerate(frames):
            update = decode(frame).data
            for level in update.bids:
                add_bid(level)
            for level in update.asks:
                add_ask(level)
            if self.touching or (self.copying and not number % COPY_EVERY):
                self.copy = book.get_bids(), book.get_asks()
        return len(frames)

    def ended(self) -> Ended:
        return [(p, q) for p, q in self.book.get_bids()], [(p, q) for p, q in self.book.get_asks()]


def peers() -> Iterator[tuple[str, Any]]:
    """The peers that are here; a line for each that is not."""
    for name, module, engine in (("order-book", "order_book", OrderBookC), ("python-binance", "binance", DepthCaches)):
        if importlib.util.find_spec(module) is None:
            print(f"{name}: not installed, skipped (pip install {name})")
        else:
            yield name, engine


def compare(messages: data.Messages, *, copy_targets: tuple[float, float]) -> None:
    here = dict(peers())
    for title, copying, touching, targets in (
        ("full copy every 10th", True, False, [("order-book", copy_targets[0]), ("python-binance", copy_targets[1])]),
        ("best bid/ask after each", False, True, [("order-book", 1.5)]),
    ):
        engines: dict[str, Any] = {"binmon": Ours(messages, copying=copying, touching=touching)}
        for name, engine in here.items():
            if copying or name != "python-binance":  # that one sorts all levels to show the best: minutes
                engines[name] = engine(messages, copying=copying, touching=touching)
        if touching:
            engines["binmon, touch and rows"] = Ours(messages, copying=True, touching=True)
        runs: dict[str, Callable[[], int]] = {name: engine.run for name, engine in engines.items()}
        costs = interleaved(runs)
        show(f"{messages.name}: raw message → applied, {title}", costs, "binmon", targets)
        reference = Ours(messages, copying=True, touching=False)
        reference.run()
        for name, engine in engines.items():
            if name != "binmon" or copying:
                print(f"  {name}: ends {'equal' if engine.ended() == reference.ended() else 'DIFFERENT'}")


def memory(messages: data.Messages) -> None:
    """KiB that one loaded book holds, and what a reader's copy costs."""
    decoder = BinanceDecoder()
    snapshot = decoder.depth("binance", messages.symbol, messages.snapshot)

    def held(make: Callable[[], object]) -> float:
        tracemalloc.start()
        kept = make()
        size = tracemalloc.get_traced_memory()[0] / 1024
        tracemalloc.stop()
        del kept
        return size

    def ours() -> object:
        book = Book(decoder)
        book.load(snapshot)
        return book

    def touch() -> object:
        one = Touch(decoder)
        one.load(snapshot)
        return one

    print(f"\nMemory of a book, {messages.name}, KiB: binmon {held(ours):.0f}, its touch besides {held(touch):.0f}")
    if importlib.util.find_spec("binance") is not None:
        peer = DepthCaches(messages, copying=False, touching=False)

        def cache() -> object:
            # the texts are the cache's own, as when they come off the wire
            peer.snapshot = msgspec.json.decode(messages.snapshot, type=_Snapshot)
            peer.run(0)
            peer.snapshot = None
            return peer.book

        ratio = held(ours) / (size := held(cache))
        print(f"  python-binance {size:.0f}; ratio {ratio:.2f}, target 0.40: {'yes' if ratio <= 0.4 else 'no'}")
    book = Book(decoder)
    book.load(snapshot)
    begin = time.process_time()
    for _ in range(2_000):
        book.bids(), book.asks()
    views = (time.process_time() - begin) / 2_000 * 1e6
    begin = time.process_time()
    for _ in range(2_000):
        [np.array(array) for side in (book.bids(), book.asks()) for array in side]
    print(
        f"Copy of a settled book, µs: handed out as it is {views:.2f}, copied bytes {(time.process_time() - begin) / 2_000 * 1e6:.2f}"
    )


if __name__ == "__main__":
    major = data.major(1_000)
    compare(major, copy_targets=(6.0, 15.0))
    compare(data.real(), copy_targets=(2.0, 4.0))
    memory(major)
