"""The fault board: everything that can be made to go wrong, kept in one place and applied where it belongs.

Kinds and options stand in :mod:`.fault_kinds`. The board disturbs only what was asked for: events through the hub's
interceptor, REST answers through :meth:`FaultBoard.disturb_rest`, connections and the private side through the parts
that know them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .clock import VenueClock
from .connection import Connection
from .connection_faults import ConnectionFaults, hit
from .dialects import BINANCE_DIALECT, Dialect, OrdersSide
from .event_faults import EventFault
from .fates import Fate
from .fault_kinds import EVENT_ORDER, BadFault, checked, table
from .http_server import Answer
from .hub import Message, StreamHub, Subscriber
from .lag_faults import SnapshotLag, StreamLag
from .level_faults import CorruptLevel, healed
from .limits import WeightLedger
from .market import Market
from .market_faults import MarketFaults
from .private_fault_kinds import PRIVATE_KINDS
from .private_faults import PrivateFaults
from .replay import Replay
from .rest_faults import RestFault, StaleSnapshot
from .symbol_market import MAX_DEPTH
from .user_streams import UserStreams
from .venue_books import VenueBooks
from .websocket_server import WebSocketServer
from .ws_api import SERVICE as WS_API_SERVICE

_log = logging.getLogger(__name__)

_EVENT_KINDS = ("gap", "duplicate", "reorder", "crossed_book", "fragmented")
_FRAME_KINDS = ("oversized", "binary", "empty", "masked")
_MARKET_KINDS = (
    "snapshot_lag", "freeze", "set_price", "new_symbol", "symbol_status", "remove_symbol", "reset", *PRIVATE_KINDS,
)  # fmt: skip
_REMEMBERED = 100
"""Falsified levels that are still shown after their fault is done."""


class FaultBoard:
    """Arms and applies faults. Safe to use from any thread."""

    def __init__(
        self,
        hub: StreamHub,
        services: Sequence[WebSocketServer],
        clock: VenueClock,
        ledger: WeightLedger,
        market: Market | None,
        replay: Replay | None,
        side: OrdersSide | None,
        private: PrivateFaults,
        users: UserStreams,
        dialect: Dialect = BINANCE_DIALECT,
    ) -> None:
        """``services`` may grow after this. There is no private side, and no market, in a replay."""
        self._hub = hub
        self.dialect = dialect
        self._connections = ConnectionFaults(services, self.later, self._mute, dialect.shape)
        self._private = private
        self._users = users
        self._side = side
        self._query_lag_ms = 0.0
        self._clock = clock
        self._ledger = ledger
        self._market = market
        self._replay = replay
        self._turns = MarketFaults(market, clock) if market is not None else None
        self._books = VenueBooks(market, replay, clock)
        self._lock = threading.Lock()  # guards the lists below and what the event faults remember
        self._events: list[EventFault | CorruptLevel | StreamLag] = []
        self._rest: list[RestFault | StaleSnapshot | SnapshotLag] = []
        self._hitting: list[EventFault | CorruptLevel | StreamLag] = []
        self._corrupters: deque[CorruptLevel] = deque(maxlen=_REMEMBERED)
        self._settings: Counter[str] = Counter()
        self._stop = threading.Event()
        self._generation = 0
        self.armed = False

    # Injection --------------------------------------------------------------------------------------------------

    def inject(self, request: object) -> dict[str, Any]:
        """Carry out one request of the fault desk. Raises :class:`BadFault`."""
        kind, options = checked(request, self.dialect.kinds)
        if self._market is None and kind in _MARKET_KINDS:
            raise BadFault(f"{kind} needs a generated market; this sandbox serves a recording")
        for name in options.get("symbols") or ():
            self._require_symbol(name)
        for number in options.get("connection") or ():
            self._connections.require(number)
        _log.info("fault %s %s", kind, {key: value for key, value in options.items() if value is not None})
        if kind in _EVENT_KINDS or (kind == "malformed" and options["in_place"]):
            return self._arm_event(kind, options)
        if kind in _FRAME_KINDS or kind == "malformed":
            return self._connections.send_frames(kind, options)
        for part in (self._turns, self._connections, self._private):
            if part is not None and kind in part.kinds:
                return part.kinds[kind](options)
        handler: Callable[[dict[str, Any]], dict[str, Any]] = getattr(self, f"_do_{kind}")
        return handler(options)

    def table(self) -> dict[str, Any]:
        """The kinds of faults as JSON."""
        return table(self.dialect.kinds)

    def active(self) -> list[dict[str, Any]]:
        """Faults that are still armed."""
        with self._lock:
            self._prune()
            described = [fault.describe() for fault in (*self._events, *self._rest)]
        described += [*self._private.active(), *self._connections.active()]
        if self._query_lag_ms:
            described.append({"kind": "query_lag", "ms": self._query_lag_ms})
        if self._clock.skew_us or self._clock.drift_ppm:
            skew = {"ms": self._clock.skew_us / 1000, "drift_ppm": self._clock.drift_ppm}
            described.append({"kind": "clock_skew", **skew})
        return described

    def falsified(self) -> list[dict[str, Any]]:
        """The levels that ``corrupt_level`` has falsified or is about to, newest last.

        ``healed`` tells that the venue has changed the level since, so that clients know the truth again.
        """
        with self._lock:
            levels = [level for fault in self._corrupters for level in fault.levels.values()]
        return [
            {**level.describe(), "healed": bool(level.sent) and healed(level, self._books.book, MAX_DEPTH)}
            for level in levels
        ]

    def stop(self) -> None:
        """Forget delayed actions."""
        self._stop.set()

    # Interception -----------------------------------------------------------------------------------------------

    def begin(self, message: Message, subscribers: Iterable[Subscriber]) -> bool:
        """Decide which faults hit an event (called by the hub, one event at a time).

        Where an event is dropped for some connections, later faults see the others only.
        """
        reached = list(subscribers)
        with self._lock:
            self._hitting = []
            for fault in self._events:
                if reached and fault.hit(message, reached):
                    self._hitting.append(fault)
                    if fault.drops:
                        reached = [one for one in reached if not fault.aim.concerns(one)]
            self._prune()
            return bool(self._hitting)

    def rewrite(self, message: Message, subscriber: Subscriber) -> list[Message]:
        """What a subscriber gets in place of the event :meth:`begin` was asked about."""
        results = [message]
        for fault in self._hitting:
            results = fault.apply(results, subscriber)
        return results

    def release(self) -> list[tuple[Subscriber, Message]]:
        """Events that were held back and are due now (called by the hub)."""
        now = time.monotonic()
        with self._lock:
            return [one for fault in self._events if isinstance(fault, StreamLag) for one in fault.release(now)]

    def disturb_rest(self, path: str, query: str, true_answer: Callable[[], Answer]) -> Answer:
        """The answer to a REST request, spoilt where faults say so: one of each step of ``REST_ORDER`` at most."""
        with self._lock:
            self._prune()
            hits = [fault for fault in self._rest if fault.hits(path, query)]
            slow = next((one for one in hits if isinstance(one, RestFault) and one.slow), None)
            spoiler = next((one for one in hits if isinstance(one, RestFault) and not one.slow), None)
            snapshot = next((one for one in hits if not isinstance(one, RestFault)), None)
            if spoiler is not None and spoiler.replaces:
                snapshot = None
            for fault in (slow, spoiler, snapshot):
                if fault is not None:
                    fault.use()

        def venue_answer() -> Answer:
            self._private.take_fate()  # nothing that an earlier request of this thread has left behind
            answer = true_answer()
            fate = self._private.take_fate()
            if fate is not None:
                return self.meet(fate, answer)
            return snapshot.answer(query, answer) if snapshot is not None else answer

        answer = spoiler.answer(venue_answer) if spoiler is not None else venue_answer()
        return slow.delayed(answer) if slow is not None else answer

    def meet(self, fate: Fate, answer: Answer) -> Answer:
        """What REST answers where a fault has decided about the answer to an order."""
        return fate.rest(answer)

    def rest_fault(self, options: dict[str, Any]) -> RestFault:
        """A fault of the kind ``rest``."""
        return RestFault("rest", options)

    def refuse_connection(self, service: str) -> str | None:
        """How new connections of a service are refused now; ``None``: they are not."""
        return self._connections.refusal(service)

    # Kinds ------------------------------------------------------------------------------------------------------

    def _arm_event(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        self._arm(EventFault(kind, options, self._hub.wanted_streams(), self._books.book, self.dialect.shape))
        return {"kind": kind}

    def _arm(self, fault: EventFault | CorruptLevel | StreamLag) -> None:
        with self._lock:
            self._events.append(fault)
            self._events.sort(key=lambda one: EVENT_ORDER.index(one.kind))  # stable: the oldest of a kind stays first
            self.armed = True

    def _do_corrupt_level(self, options: dict[str, Any]) -> dict[str, Any]:
        fault = CorruptLevel(options, self._hub.wanted_streams(), self._books)
        with self._lock:
            self._corrupters.append(fault)
        self._arm(fault)
        return {"kind": "corrupt_level", "falsified": [level.describe() for level in fault.levels.values()]}

    def _mute(self, options: dict[str, Any], connections: list[Connection]) -> None:
        """Lose the events of some connections for a while."""
        streams, others = (
            [one.identifier for one in connections if (one.service == self.dialect.stream_service) is wanted]
            for wanted in (True, False)
        )
        if streams:
            self._arm_event("stall", {**options, "connection": streams})
        if others:
            self._private.arm("stall", {"seconds": options["seconds"], "connection": others})

    def _do_rest(self, options: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._rest.append(self.rest_fault(options))
        return {"kind": "rest"}

    def _do_stale_snapshot(self, options: dict[str, Any]) -> dict[str, Any]:
        names = options["symbols"] or self._symbols()
        fault = StaleSnapshot("stale_snapshot", options, {name: self._books.book(name, MAX_DEPTH) for name in names})
        with self._lock:
            self._rest.append(fault)
        return {"kind": "stale_snapshot", "symbols": names}

    def _do_snapshot_lag(self, options: dict[str, Any]) -> dict[str, Any]:
        if not options["ms"]:
            raise BadFault("snapshot_lag: option 'ms' is 0, expected a number above or below zero")
        if options["ms"] < 0:
            self._arm(StreamLag(options, self.dialect.shape))
        else:
            fault = SnapshotLag(options, self._the_market)
            with self._lock:
                self._rest.append(fault)
            if options["seconds"] is not None:
                self.later(options["seconds"], self._tidy)  # drops the copies of the books also if nobody asks
        return {"kind": "snapshot_lag"}

    def _do_ban(self, options: dict[str, Any]) -> dict[str, Any]:
        verdict = self._ledger.ban("127.0.0.1", options["seconds"], self._clock.now_ms() / 1000)
        for connection in self._connections.all(WS_API_SERVICE):
            connection.close(1008, "banned")
        return {"kind": "ban", "banned_until_ms": verdict.banned_until_ms}

    def _do_use_weight(self, options: dict[str, Any]) -> dict[str, Any]:
        verdict = self._ledger.charge("127.0.0.1", options["weight"], self._clock.now_ms() / 1000)
        return {"kind": "use_weight", "used": verdict.used}

    def _do_forgive_weight(self, options: dict[str, Any]) -> dict[str, Any]:
        self._ledger.forgive()
        return {"kind": "forgive_weight"}

    def _do_clock_skew(self, options: dict[str, Any]) -> dict[str, Any]:
        self._clock.set_skew_us(round(options["ms"] * 1000), options["drift_ppm"])
        self._for_a_while("clock_skew", options["seconds"], lambda: self._clock.set_skew_us(0))
        return {"kind": "clock_skew"}

    def _do_query_lag(self, options: dict[str, Any]) -> dict[str, Any]:
        self._set_query_lag(options["ms"])
        self._for_a_while("query_lag", options["seconds"], lambda: self._set_query_lag(0.0))
        return {"kind": "query_lag"}

    def _set_query_lag(self, lag_ms: float) -> None:
        self._query_lag_ms = lag_ms
        if self._side is not None:
            self._side.set_read_lag(lag_ms / 1000)

    def _do_reset(self, options: dict[str, Any]) -> dict[str, Any]:
        self._the_side.reset()  # first, as its orders are in the books that go then
        self._the_market.reset()
        connections = self._connections.all() if options["disconnect"] else []
        for connection in connections:
            connection.close(1001, "reset")
        return hit("reset", connections)

    def _do_clear(self, options: dict[str, Any]) -> dict[str, Any]:
        self._hub.release_held(self._let_go)
        with self._lock:
            self._generation += 1
            ended = [*self._events, *self._rest]
            corrupters = list(self._corrupters)
            self._events, self._rest = [], []
            self._corrupters.clear()
            self.armed = False
        for fault in ended:
            fault.end()
        for level in (level for fault in corrupters for level in fault.levels.values()):
            self._books.keep_off(level.symbol, level.side, level.price, 0.0)
        self._private.clear()
        self._set_query_lag(0.0)
        self._users.hurry()
        self._clock.set_skew_us(0)
        if self._market is not None:
            self._market.freeze(0.0)
        self._connections.clear()
        self._hub.flush()
        return {"kind": "clear"}

    def _let_go(self) -> None:
        """End what holds events back, so that the next release brings them all."""
        with self._lock:
            for fault in self._events:
                if isinstance(fault, StreamLag):
                    fault.end()

    # Helpers ----------------------------------------------------------------------------------------------------

    @property
    def _the_market(self) -> Market:
        assert self._market is not None
        return self._market

    @property
    def _the_side(self) -> OrdersSide:
        assert self._side is not None
        return self._side

    def _symbols(self) -> list[str]:
        if self._replay is not None:
            return list(self._replay.recording.symbols)
        return [market.instrument.symbol for market in self._the_market.symbols()]

    def _require_symbol(self, name: str) -> None:
        if name not in self._symbols():
            raise BadFault(f"symbol {name!r} is not listed, expected one of {', '.join(self._symbols()[:20])}")

    def _for_a_while(self, kind: str, seconds: float | None, undo: Callable[[], None]) -> None:
        """Undo a setting after some seconds, unless it has been set anew by then."""
        with self._lock:
            self._settings[kind] += 1
            number = self._settings[kind]

        def undo_this() -> None:
            if self._settings[kind] == number:
                undo()

        if seconds is not None:
            self.later(seconds, undo_this)

    def _tidy(self) -> None:
        with self._lock:
            self._prune()

    def _prune(self) -> None:
        done = [fault for fault in (*self._events, *self._rest) if fault.finished]
        if done:
            self._events = [fault for fault in self._events if fault not in done]
            self._rest = [fault for fault in self._rest if fault not in done]
            for fault in done:
                fault.end()
        self.armed = bool(self._events)

    def later(self, seconds: float, action: Callable[[], None], even_if_cleared: bool = False) -> None:
        """Do something after a while, unless the board is stopped (or cleared) before."""
        generation = self._generation

        def wait() -> None:
            if not self._stop.wait(seconds) and (even_if_cleared or generation == self._generation):
                action()

        threading.Thread(target=wait, name="sandbox-fault", daemon=True).start()
