"""Drives a keeper from a file: the same machines and the same decoder as in the daemon, without sockets and threads.

What a keeper does follows from the frames, the snapshots and the time, but for what it has learned over longer than a file
lasts: the pace of streams, and whether an audit was due. What came of those, and how all books stood, is in an incident
file, so a replay follows the daemon in that, and checks itself against it in everything else. A book starts in a replay with
its first image or snapshot in the file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from binmon.books.book import Book
from binmon.books.feeds import FeedOutlets
from binmon.books.keeper import BookKeeper, KeeperOutlets, KeeperSettings
from binmon.books.kept import KeptBook
from binmon.books.observing import KeeperObserver
from binmon.books.stream_sync import StreamSync
from binmon.books.sync import Effect, GapFound, StateChanged, SyncState
from binmon.core.channel import Channel, Overflow
from binmon.errors import ConfigError
from binmon.incidents.lines import checksum
from binmon.incidents.notes import Answered, Missed, Moved, Restarted, Ticked, Trigger
from binmon.incidents.reading import Head, Item, RestBody, SavedBook, Settings
from binmon.messages import (
    DepthSnapshot,
    FrameChunk,
    Instrument,
    Priority,
    SnapshotArrived,
    SnapshotFailed,
    StreamDown,
    StreamUp,
    SymbolsChanged,
)
from binmon.venues.base import BookRules, BookStart, MalformedFrame, MarketDecoder, StreamPlan, Venue
from binmon.venues.binance.decoding import BinanceDecoder
from binmon.venues.bybit.decoding import BybitDecoder
from binmon.venues.bybit.market import REST_DEPTH

_NEVER_S, _NEVER_MS = 31_536_000.0, 10**9
_UP_BEFORE_S = 10.0  # connections that were up at the start count as old: no book waits for its first event
_WHOLE = 10**9  # the limit of an image: nothing beyond it is called unknown, as the daemon says what came of that
_CROSSED, _UNREADABLE = "crossed book", "unreadable levels"
# what the machine of a book finds out itself, from frames and time
_BY_ITSELF = ("gap", "venue reset")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a replay. ``what`` is ``trigger``, ``started``, ``state``, ``gap``, ``crossed``, ``snapshot_failed``,
    ``differs``, ``out_of_step`` or ``failed``; a ``problem`` is one that makes a check fail. ``facts`` are plain values."""

    time_ns: int
    what: str
    symbol: str
    facts: Mapping[str, Any]
    problem: bool = False


@dataclass(frozen=True, slots=True)
class FinalBook:
    """How a book ended. ``like_live`` says whether it went through the same states as in the daemon, None where the file
    does not tell; ``verified`` counts the times that it was compared with the daemon's and was the same."""

    symbol: str
    state: str
    update_id: int | None
    epoch: int
    gaps: int
    bid: float | None
    bid_quantity: float | None
    ask: float | None
    ask_quantity: float | None
    verified: int
    like_live: bool | None
    moves: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Course:
    """What happened to one book, here and in the daemon: states it went to, each with the reason."""

    begun: bool = False
    moves: list[tuple[str, str]] = field(default_factory=list)
    live_moves: list[tuple[str, str]] = field(default_factory=list)
    begins_like_live: bool = False  # with the snapshot that the daemon's book began with, which it will say
    edges: tuple[float, float] = (0.0, float("inf"))  # where the image that it started with was cut
    verified: int = 0
    follows_live: bool = True


class Replay:
    """Takes the items of a file in order; ``report`` is told of every finding. Not thread-safe.

    ``only`` names the symbols to keep books of; None: all. Raises ConfigError when the file has none of them, or is of a
    venue whose books cannot be replayed.
    """

    def __init__(self, head: Head, report: Callable[[Finding], None], *, only: Sequence[str] | None = None) -> None:
        if head.venue not in _VENUES:
            raise ConfigError(f"expected a recording of {' or '.join(_VENUES)}, got one of {head.venue!r}")
        symbols = {s: epoch for s, epoch in head.epochs.items() if only is None or s in only}
        absent = [symbol for symbol in only or () if symbol not in head.epochs]
        if absent:
            there = ", ".join(sorted(head.epochs)[:10]) + (" …" if len(head.epochs) > 10 else "")
            raise ConfigError(f"expected a symbol of the file ({there}), got {absent[0]!r}")
        self._only, self._report = None if only is None else frozenset(only), report
        self._incident = head.incident
        self._venue = _VENUES[head.venue](head)
        self._courses = {symbol: _Course() for symbol in symbols}
        # snapshots that no machine has asked for yet, each with its limit and the updates since the last row
        self._waiting: dict[str, tuple[DepthSnapshot, int, int]] = {}
        self._failed = self._loading = False
        self._time_ns = 0
        self._shift_s = time.monotonic() - head.first_s
        self._up = dict(head.up)
        self._observer = _Observer(self._on_effect)
        settings = dict(head.incident.get("settings", {})) if head.incident is not None else {}
        self._keeper = self._new_keeper(symbols, settings)
        self._keeper.tick(self._at(head.first_s))
        before_s = self._at(head.first_s) - _UP_BEFORE_S
        for connection, streams in head.up.items():
            carried = streams if head.incident is not None else tuple(map(self._venue.depth_stream, symbols))
            self._up[connection] = carried
            at_s = before_s if head.incident is not None else self._at(head.first_s)
            self._keeper.handle(StreamUp(self._venue.name, connection, carried, 0), at_s)
        self.items = self.problems = 0

    def take(self, item: Item) -> None:
        """Handle one item. After the keeper has failed nothing more is done."""
        if self._failed:
            return
        self.items += 1
        now_s, self._time_ns = self._at(item.now_s), item.time_ns
        try:
            self._take(item.what, now_s)
            self._start_those_that_wait(now_s)
        except Exception as error:  # a bug that a file shows: what it is for
            self._failed = True
            what = type(item.what).__name__
            self._find("failed", "", {"error": f"{type(error).__name__}: {error}", "message": what}, problem=True)
        self._drain()

    def finish(self) -> list[FinalBook]:
        """The books as they stand, and the last findings: those that are not in step, or went another way."""
        ended: list[FinalBook] = []
        for symbol, course in self._courses.items():
            kept = self._books_now().get(symbol)
            if kept is None:
                continue  # it was let go
            final = self._final(kept, course)
            if final.like_live is False:
                facts = {"here": _told(course.moves), "daemon": _told(course.live_moves)}
                self._find("differs", symbol, facts, problem=True)
            ended.append(final)
        return ended

    @property
    def failed(self) -> bool:
        """Whether the keeper failed, as in the daemon a worker does."""
        return self._failed

    # Items ---------------------------------------------------------------------------------------------------------

    def _take(self, what: Any, now_s: float) -> None:
        match what:
            case FrameChunk():
                chunk = FrameChunk(what.connection, what.received_ns, time.monotonic_ns(), what.frames)
                self._keeper.handle(chunk, now_s)
            case Ticked():
                self._keeper.tick(now_s)
            case StreamUp():
                self._up[what.connection] = what.streams
                self._keeper.handle(what, now_s)
            case StreamDown():
                self._up.pop(what.connection, None)
                self._keeper.handle(what, now_s)
            case SymbolsChanged():
                self._on_symbols(what, now_s)
            case RestBody():
                self._on_body(what)
            case Answered():
                self._on_answered(what, now_s)
            case SavedBook():
                self._on_saved(what, now_s)
            case Moved():
                self._on_live_move(what, now_s)
            case Missed():
                pass  # the machine finds gaps itself; the move that follows is compared
            case SnapshotFailed():
                if what.symbol in self._courses:
                    self._find("snapshot_failed", what.symbol, {"error": what.error})
            case Trigger():
                self._find("trigger", what.subject, {"reason": what.reason.value, "detail": what.detail})
            case Settings():
                self._keeper.handle(_settings(what.snapshot_every, what.top_interval_ms), now_s)
            case Restarted():
                self._on_restarted(now_s)

    def _on_symbols(self, message: SymbolsChanged, now_s: float) -> None:
        wanted = self._only
        listed = tuple(one for one in message.listed if wanted is None or one[0] in wanted)
        for symbol, _ in listed:
            self._courses[symbol] = _Course()
        self._keeper.handle(SymbolsChanged(message.venue, listed, message.delisted, message.reason), now_s)

    def _on_body(self, rest: RestBody) -> None:
        """As a client would: the answer is taken as soon as the machine asks for one."""
        course = self._courses.get(rest.symbol)
        if course is None:
            return
        try:
            snapshot = self._venue.own.depth(self._venue.name, rest.symbol, rest.body)
        except MalformedFrame as error:
            self._find("snapshot_failed", rest.symbol, {"error": str(error)})
            return
        # where the market leaves the range of the only snapshot there is, nobody can be asked for another
        self._waiting[rest.symbol] = (snapshot, _WHOLE, 0)

    def _on_answered(self, answer: Answered, now_s: float) -> None:
        course = self._courses.get(answer.snapshot.symbol)
        kept = self._books_now().get(answer.snapshot.symbol)
        if course is None or kept is None or not answer.wanted:
            return
        if not course.begun:
            course.begins_like_live = True
            self._waiting[kept.symbol] = (answer.snapshot, answer.limit, 0)
        elif kept.sync.wants(kept.sync.token):
            self._load(kept, answer.snapshot, answer.limit, now_s)
        elif course.follows_live:
            course.follows_live = False
            self._differs(kept.symbol, f"the daemon waited for a snapshot, the replay is {kept.sync.state.value}")

    def _on_saved(self, saved: SavedBook, now_s: float) -> None:
        course, kept = self._courses.get(saved.symbol), self._books_now().get(saved.symbol)
        if course is None or kept is None:
            return
        in_step = course.begun and kept.sync.state is SyncState.SYNCED
        if in_step and saved.renewed and saved.snapshot is not None:
            self._renew(kept, saved, saved.snapshot)
        elif in_step:
            self._compare(kept, course, saved)
        elif saved.snapshot is not None:
            if course.begun and course.follows_live:
                course.follows_live = False
                self._differs(saved.symbol, f"the daemon's book was in step, the replay's is {kept.sync.state.value}")
            course.begins_like_live = False
            self._waiting[saved.symbol] = (saved.snapshot, _WHOLE, saved.updates)
            if not course.begun and saved.cut and saved.snapshot.bid_price.size and saved.snapshot.ask_price.size:
                course.edges = (float(saved.snapshot.bid_price[-1]), float(saved.snapshot.ask_price[-1]))

    def _on_live_move(self, move: Moved, now_s: float) -> None:
        """The daemon's book went to another state. Where that followed from more than the file has, so does this one."""
        course, kept = self._courses.get(move.symbol), self._books_now().get(move.symbol)
        if course is None or kept is None or not course.begun:
            return
        if course.begins_like_live:
            course.begins_like_live = move.after != SyncState.SYNCED.value
            return
        course.live_moves.append((move.after, move.reason))
        left = move.before == SyncState.SYNCED.value
        if not left or kept.sync.state is not SyncState.SYNCED or move.after != SyncState.WAITING_FOR_SNAPSHOT.value:
            return
        if move.reason.startswith(_BY_ITSELF):
            return  # then the two differ, which the end will tell
        if move.reason == _CROSSED:
            kept.book.settle()
            if not kept.book.crossed:
                self._differs(kept.symbol, "the daemon's book was crossed, the replay's is not")
        elif move.reason.startswith(_UNREADABLE):
            self._keeper.tick(now_s)
        kept.sync.invalidate(move.reason, now_s)
        self._keeper.tick(now_s)

    def _on_restarted(self, now_s: float) -> None:
        """As the keeper does it: every book from the connections that live."""
        for connection, streams in self._up.items():
            self._keeper.handle(StreamDown(self._venue.name, connection, streams, "keeper restarted"), now_s)
        for connection, streams in self._up.items():
            self._keeper.handle(StreamUp(self._venue.name, connection, streams, 0), now_s)

    # Books ---------------------------------------------------------------------------------------------------------

    def _start_those_that_wait(self, now_s: float) -> None:
        for symbol in list(self._waiting):
            kept = self._books_now().get(symbol)
            if kept is not None and isinstance(kept.sync, StreamSync):
                kept.sync.restart(now_s)  # the subscription that brought its snapshot was before the file
            if kept is None or not kept.sync.wants(kept.sync.token):
                continue
            snapshot, limit, updates = self._waiting.pop(symbol)
            self._load(kept, snapshot, limit, now_s)
            kept.updates += updates

    def _load(self, kept: KeptBook, snapshot: DepthSnapshot, limit: int, now_s: float) -> None:
        kept.limit, self._loading = limit, True
        self._keeper.handle(SnapshotArrived(kept.sync.token, snapshot), now_s)
        self._loading = False

    def _renew(self, kept: KeptBook, saved: SavedBook, snapshot: DepthSnapshot) -> None:
        book = Book(self._venue.own)
        book.load(snapshot, None)
        kept.sync.renew()
        kept.book, kept.updates = book, saved.updates
        if kept.touch is not None:
            kept.touch.load(snapshot)

    def _compare(self, kept: KeptBook, course: _Course, saved: SavedBook) -> None:
        if kept.sync.update_id != saved.update_id:
            self._differs(
                saved.symbol, f"the daemon's book was at update {saved.update_id}, here {kept.sync.update_id}"
            )
            return
        kept.book.settle()
        here = kept.book.as_snapshot(self._venue.name, kept.symbol)
        if saved.snapshot is None:
            if course.edges != (0.0, float("inf")):
                return  # the sum is of levels that this one never had
            same = checksum(here) == saved.sum
        else:
            low, high = course.edges
            if saved.cut and saved.snapshot.bid_price.size and saved.snapshot.ask_price.size:
                low = max(low, float(saved.snapshot.bid_price[-1]))
                high = min(high, float(saved.snapshot.ask_price[-1]))
            same = _inside(here, low, high) == _inside(saved.snapshot, low, high)
        if same:
            course.verified += 1
        else:
            self._differs(saved.symbol, f"other levels than in the daemon's book at update {saved.update_id}")

    def _books_now(self) -> Mapping[str, KeptBook]:
        return self._observer.books

    def _final(self, kept: KeptBook, course: _Course) -> FinalBook:
        sync = kept.sync
        best: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
        if sync.state is SyncState.SYNCED:
            try:
                kept.book.settle()
                best = kept.book.best()
            except MalformedFrame as error:
                self._find("crossed", kept.symbol, {"error": str(error)}, problem=True)
            if kept.book.crossed:
                self._find("crossed", kept.symbol, {"bid": best[0], "ask": best[2]}, problem=True)
        elif course.begun or self._incident is None:
            self._find("out_of_step", kept.symbol, {"state": sync.state.value}, problem=True)
        like_live = None
        if self._incident is not None and course.begun:
            like_live = course.moves == course.live_moves
        return FinalBook(
            kept.symbol, sync.state.value, sync.update_id, sync.epoch, sync.gaps, *best, course.verified, like_live,
            tuple(course.moves),
        )  # fmt: skip

    # Inside --------------------------------------------------------------------------------------------------------

    def _at(self, now_s: float) -> float:
        return now_s + self._shift_s

    def _on_effect(self, kept: KeptBook, effect: Effect) -> None:
        course = self._courses[kept.symbol]
        match effect:
            case StateChanged(before, after, reason, update_id):
                if not course.begun:
                    if after is SyncState.SYNCED:
                        course.begun = True
                        # with the frame that the daemon's began with, which it will say, or with an image
                        course.begins_like_live = course.begins_like_live or not self._loading
                        self._find("started", kept.symbol, {"update_id": update_id, "epoch": kept.sync.epoch})
                    return
                course.moves.append((after.value, reason))
                facts = {"from": before.value, "to": after.value, "reason": reason, "update_id": update_id}
                self._find("state", kept.symbol, facts)
                if reason == _CROSSED and before is SyncState.SYNCED:
                    bid, _, ask, _ = kept.book.best()
                    self._find("crossed", kept.symbol, {"bid": bid, "ask": ask, "update_id": update_id}, problem=True)
            case GapFound(expected, first, last):
                facts = {"expected": expected, "first_update_id": first, "last_update_id": last}
                self._find("gap", kept.symbol, facts, problem=True)

    def _differs(self, symbol: str, text: str) -> None:
        self._find("differs", symbol, {"detail": text}, problem=True)

    def _find(self, what: str, symbol: str, facts: Mapping[str, Any], *, problem: bool = False) -> None:
        self.problems += problem
        self._report(Finding(self._time_ns, what, symbol, facts, problem))

    def _drain(self) -> None:
        for channel in self._channels:
            while channel.take(0) is not None:
                pass

    def _new_keeper(self, symbols: Mapping[str, int], settings: Mapping[str, Any]) -> BookKeeper:
        def channel(name: str, overflow: Overflow = Overflow.DROP_OLDEST) -> Channel[Any]:
            return Channel(name, 1 << 20, overflow)

        asked = [channel(name) for name in ("initial", "resync", "upkeep", "probes")]
        rows, tops, inbox = channel("rows"), channel("tops"), channel("inbox")
        self._channels: list[Channel[Any]] = [*asked, rows, tops]
        inbox.offer(None)  # behind a backlog nobody is called silent: what came of that is in the file
        return BookKeeper(
            "replay",
            self._venue,
            dict(symbols),
            inbox,
            KeeperOutlets(
                asked[0], asked[1], asked[2], asked[3], rows, tops,
                FeedOutlets(lambda group, feed, streams: None, lambda feed, why: None, lambda feed, why: None),
                observer=self._observer,
            ),
            # every update is looked at where nobody says when the daemon looked
            _settings(int(settings.get("snapshot_every", 1)), int(settings.get("top_interval_ms", 1))),
        )  # fmt: skip


class _Observer(KeeperObserver):
    """Has the books of the keeper, and hands on what their machines want done."""

    def __init__(self, on_effect: Callable[[KeptBook, Effect], None]) -> None:
        super().__init__()
        self._on_effect = on_effect
        self.books: Mapping[str, KeptBook] = {}

    def ticked(self, now_s: float, books: Mapping[str, KeptBook]) -> None:
        self.books = books

    def effect(self, kept: KeptBook, effect: Effect, now_s: float) -> None:
        self._on_effect(kept, effect)


class _RecordedVenue(Venue):
    """What a keeper needs of a venue that nobody can ask any more. ``stream_of`` is what carries a symbol's book."""

    streams_per_connection = 1 << 30

    def __init__(
        self,
        name: str,
        decoder: Callable[[], MarketDecoder],
        stream_of: Callable[[str], str],
        rules: BookRules | None = None,
    ) -> None:
        self.name, self._decoder, self._stream_of = name, decoder, stream_of
        self.book_rules = rules or BookRules()
        self.own = BinanceDecoder()  # of REST bodies, which only recordings of that venue have

    @property
    def weight_per_minute(self) -> int:
        return 1 << 30

    def instruments(self, stop: threading.Event, priority: Priority = Priority.INITIAL_SYNC) -> dict[str, Instrument]:
        raise NotImplementedError("a recording lists no instruments")

    def depth(self, symbol: str, limit: int, priority: Priority, stop: threading.Event) -> DepthSnapshot:
        raise NotImplementedError("a recording cannot be asked")

    def snapshot_weight(self, limit: int) -> int:
        return 1

    def depth_stream(self, symbol: str) -> str:
        return self._stream_of(symbol)

    def resubscription(self, stream: str) -> tuple[bytes, ...]:
        return ()

    def stream_plan(self, name: str, streams: Sequence[str]) -> StreamPlan:
        return StreamPlan(name, "", tuple(streams), ())

    def decoder(self) -> MarketDecoder:
        return self._decoder()


def _binance(head: Head) -> _RecordedVenue:
    return _RecordedVenue(head.venue, BinanceDecoder, lambda symbol: f"{symbol.lower()}@depth@100ms")


def _bybit(head: Head) -> _RecordedVenue:
    """Its books are as deep as their streams say: ``orderbook.200.BTCUSDT``."""
    depths = {stream.split(".")[1] for streams in head.up.values() for stream in streams if stream.count(".") == 2}
    depth = max((int(one) for one in depths if one.isdigit()), default=REST_DEPTH)
    rules = BookRules(BookStart.STREAM_SNAPSHOT, window=depth)
    return _RecordedVenue(head.venue, BybitDecoder, lambda symbol: f"orderbook.{depth}.{symbol}", rules)


# Kraken and OKX are not among them: what their decoders follow of a book begins with its subscription, and no image of a
# book can stand for that.
_VENUES: Mapping[str, Callable[[Head], _RecordedVenue]] = {"binance": _binance, "bybit": _bybit}


def _settings(snapshot_every: int, top_interval_ms: int) -> KeeperSettings:
    """Those of the daemon, but for what a replay does not do: its tops, deeper snapshots and audits."""
    return KeeperSettings(
        snapshot_every=snapshot_every,
        depth=1,
        record_depth=0,
        top_interval_ms=_NEVER_MS if top_interval_ms else 0,
        audit_interval_s=_NEVER_S,
    )


def _inside(book: DepthSnapshot, low: float, high: float) -> tuple[list[float], ...]:
    """The levels between two prices."""
    bids, asks = book.bid_price >= low, book.ask_price <= high
    return (
        book.bid_price[bids].tolist(),
        book.bid_quantity[bids].tolist(),
        book.ask_price[asks].tolist(),
        book.ask_quantity[asks].tolist(),
    )


def _told(moves: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{state} ({reason})" for state, reason in moves) or "nothing"
