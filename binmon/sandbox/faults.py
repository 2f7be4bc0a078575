"""The fault board: everything that can be made to go wrong, kept in one place and applied where it belongs.

Kinds and options stand in :mod:`.fault_kinds`. The board disturbs only what was asked for: events through the hub's
interceptor, REST answers through :meth:`FaultBoard.disturb_rest`, connections directly.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .clock import VenueClock
from .connection import Connection
from .event_faults import EventFault
from .fault_kinds import EVENT_ORDER, BadFault, checked
from .frame_faults import frame_bytes
from .hub import Message, StreamHub, Subscriber
from .lag_faults import SnapshotLag, StreamLag
from .level_faults import CorruptLevel, healed
from .limits import WeightLedger
from .market import Market
from .market_faults import MarketFaults
from .replay import Replay
from .rest import Answer
from .rest_faults import RestFault, StaleSnapshot
from .streams import StreamServer
from .symbol_market import MAX_DEPTH
from .venue_books import VenueBooks

_log = logging.getLogger(__name__)

_EVENT_KINDS = ("gap", "duplicate", "reorder", "crossed_book", "fragmented")
_FRAME_KINDS = ("oversized", "binary", "empty", "masked")
_MARKET_KINDS = ("snapshot_lag", "freeze", "set_price", "new_symbol", "symbol_status", "remove_symbol", "reset")
_REMEMBERED = 100
"""Falsified levels that are still shown after their fault is done."""


class FaultBoard:
    """Arms and applies faults. Safe to use from any thread."""

    def __init__(
        self,
        hub: StreamHub,
        streams: StreamServer,
        clock: VenueClock,
        ledger: WeightLedger,
        market: Market | None,
        replay: Replay | None,
    ) -> None:
        self._hub = hub
        self._streams = streams
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
        self._refuse: tuple[str, float] | None = None
        self._stop = threading.Event()
        self._generation = 0
        self.armed = False

    # Injection --------------------------------------------------------------------------------------------------

    def inject(self, request: object) -> dict[str, Any]:
        """Carry out one request of the fault desk. Raises :class:`BadFault`."""
        kind, options = checked(request)
        if self._market is None and kind in _MARKET_KINDS:
            raise BadFault(f"{kind} needs a generated market; this sandbox serves a recording")
        for name in options.get("symbols") or ():
            self._require_symbol(name)
        for number in options.get("connection") or ():
            self._require_connection(number)
        _log.info("fault %s %s", kind, {key: value for key, value in options.items() if value is not None})
        if kind in _EVENT_KINDS or (kind == "malformed" and options["in_place"]):
            return self._arm_event(kind, options)
        if kind in _FRAME_KINDS or kind == "malformed":
            return self._send_frames(kind, options)
        if self._turns is not None and kind in self._turns.kinds:
            return self._turns.kinds[kind](options)
        handler: Callable[[dict[str, Any]], dict[str, Any]] = getattr(self, f"_do_{kind}")
        return handler(options)

    def active(self) -> list[dict[str, Any]]:
        """Faults that are still armed."""
        with self._lock:
            self._prune()
            described = [fault.describe() for fault in (*self._events, *self._rest)]
        mode = self.refuse_connection()
        if mode is not None:
            described.append({"kind": "refuse_connections", "mode": mode})
        if self._clock.skew_us:
            described.append({"kind": "clock_skew", "ms": self._clock.skew_us / 1000})
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
            answer = true_answer()
            return snapshot.answer(query, answer) if snapshot is not None else answer

        answer = spoiler.answer(venue_answer) if spoiler is not None else venue_answer()
        return slow.delayed(answer) if slow is not None else answer

    def refuse_connection(self) -> str | None:
        """How new stream connections are refused now; ``None``: they are not."""
        refuse = self._refuse
        return refuse[0] if refuse is not None and time.monotonic() < refuse[1] else None

    # Kinds ------------------------------------------------------------------------------------------------------

    def _arm_event(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        self._arm(EventFault(kind, options, self._hub.wanted_streams(), self._books.book))
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

    def _send_frames(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        connections = self._chosen(options)
        data = frame_bytes(kind, options)
        for connection in connections:
            for _ in range(options["count"]):
                connection.send_bytes(data)
        return _hit(kind, connections)

    def _do_disconnect(self, options: dict[str, Any]) -> dict[str, Any]:
        connections = self._chosen(options)
        code = options["code"]
        if options["mode"] == "close_frame" and not (
            1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code < 5000
        ):
            raise BadFault(
                f"disconnect: {code} cannot stand in a close frame, expected 1000-1003, 1007-1014, 3000-4999"
            )
        for connection in connections:
            if options["mode"] == "close_frame":
                connection.close(code, options["reason"])
            else:
                connection.end_abruptly(reset=options["mode"] == "rst")
        return _hit("disconnect", connections)

    def _do_stall(self, options: dict[str, Any]) -> dict[str, Any]:
        connections = self._chosen(options)
        if not options["pongs"]:
            for connection in connections:
                connection.play_dead(options["seconds"])
        elif connections:
            # Bound to the connections of now: a client that reconnects is served again.
            bound = {**options, "connection": [connection.identifier for connection in connections]}
            self._arm_event("stall", bound)
        return _hit("stall", connections)

    def _do_slow_link(self, options: dict[str, Any]) -> dict[str, Any]:
        connections = self._chosen(options)
        for connection in connections:
            connection.outbox.slow_down(options["delay_ms"] / 1000, options["bytes_per_s"], options["seconds"])
        return _hit("slow_link", connections)

    def _do_server_shutdown(self, options: dict[str, Any]) -> dict[str, Any]:
        connections = self._chosen(options)
        for connection in connections:
            connection.announce_shutdown()
        if options["close_after_s"] is not None:

            def close() -> None:
                for connection in connections:
                    connection.close(1001, "server shutdown")

            self._later(options["close_after_s"], close)
        return _hit("server_shutdown", connections)

    def _do_refuse_connections(self, options: dict[str, Any]) -> dict[str, Any]:
        self._refuse = (options["mode"], time.monotonic() + options["seconds"])
        return {"kind": "refuse_connections"}

    def _do_rest(self, options: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._rest.append(RestFault("rest", options))
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
            self._arm(StreamLag(options))
        else:
            fault = SnapshotLag(options, self._the_market)
            with self._lock:
                self._rest.append(fault)
            if options["seconds"] is not None:
                self._later(options["seconds"], self._tidy)  # drops the copies of the books also if nobody asks
        return {"kind": "snapshot_lag"}

    def _do_ban(self, options: dict[str, Any]) -> dict[str, Any]:
        verdict = self._ledger.ban("127.0.0.1", options["seconds"], self._clock.now_ms() / 1000)
        return {"kind": "ban", "banned_until_ms": verdict.banned_until_ms}

    def _do_use_weight(self, options: dict[str, Any]) -> dict[str, Any]:
        verdict = self._ledger.charge("127.0.0.1", options["weight"], self._clock.now_ms() / 1000)
        return {"kind": "use_weight", "used": verdict.used}

    def _do_forgive_weight(self, options: dict[str, Any]) -> dict[str, Any]:
        self._ledger.forgive()
        return {"kind": "forgive_weight"}

    def _do_clock_skew(self, options: dict[str, Any]) -> dict[str, Any]:
        self._clock.set_skew_us(round(options["ms"] * 1000))
        if options["seconds"] is not None:
            self._later(options["seconds"], lambda: self._clock.set_skew_us(0))
        return {"kind": "clock_skew"}

    def _do_reset(self, options: dict[str, Any]) -> dict[str, Any]:
        self._the_market.reset()
        connections = self._streams.connections() if options["disconnect"] else []
        for connection in connections:
            connection.close(1001, "reset")
        return _hit("reset", connections)

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
        self._refuse = None
        self._clock.set_skew_us(0)
        if self._market is not None:
            self._market.freeze(0.0)
        for connection in self._streams.connections():
            connection.revive()
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

    def _symbols(self) -> list[str]:
        if self._replay is not None:
            return list(self._replay.recording.symbols)
        return [market.instrument.symbol for market in self._the_market.symbols()]

    def _require_symbol(self, name: str) -> None:
        if name not in self._symbols():
            raise BadFault(f"symbol {name!r} is not listed, expected one of {', '.join(self._symbols()[:20])}")

    def _chosen(self, options: dict[str, Any]) -> list[Connection]:
        """Connections that pass the filters of a request."""
        wanted, streams, symbols = options.get("connection"), options.get("streams"), options.get("symbols")
        chosen = []
        for connection in self._streams.connections():
            names = list(connection.subscriptions.streams)
            if wanted is not None and connection.identifier not in wanted:
                continue
            if streams is not None and not set(streams) & set(names):
                continue
            if symbols is not None and not {name.split("@", 1)[0].upper() for name in names} & set(symbols):
                continue
            chosen.append(connection)
        return chosen

    def _require_connection(self, number: int) -> None:
        alive = [connection.identifier for connection in self._streams.connections()]
        if number not in alive:
            raise BadFault(f"connection {number} is not open, expected one of {', '.join(map(str, alive)) or 'none'}")

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

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while, unless the board is cleared or stopped before."""
        generation = self._generation

        def wait() -> None:
            if not self._stop.wait(seconds) and generation == self._generation:
                action()

        threading.Thread(target=wait, name="sandbox-fault", daemon=True).start()


def _hit(kind: str, connections: list[Connection]) -> dict[str, Any]:
    return {"kind": kind, "connections": [connection.identifier for connection in connections]}
