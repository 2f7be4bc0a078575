"""The fault board: everything that can be made to go wrong, kept in one place and applied where it belongs.

Kinds and options stand in :mod:`.fault_kinds`. The board disturbs only what was asked for: events through the hub's
interceptor, REST answers through :meth:`FaultBoard.disturb_rest`, connections directly.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import frames
from .clock import VenueClock
from .connection import Connection
from .decimals import parse_e8
from .event_faults import EventFault, spoilt
from .fault_kinds import BadFault, checked
from .hub import Message, StreamHub, Subscriber
from .limits import WeightLedger
from .market import Market, UnknownSymbol
from .replay import Replay
from .rest import Answer
from .rest_faults import RestFault, StaleSnapshot
from .streams import StreamServer

_log = logging.getLogger(__name__)

_EVENT_KINDS = ("gap", "duplicate", "reorder", "crossed_book", "fragmented")
_FRAME_KINDS = ("oversized", "binary", "empty", "masked")
_MARKET_KINDS = ("freeze", "set_price", "new_symbol", "symbol_status", "remove_symbol", "reset")
_SAMPLE = '{"e":"depthUpdate","E":1784600000200,"s":"BTCUSDT","U":7001,"u":7004,"b":[["65123.45000000","1.50000000"]]}'
_FILLER = b'{"e":"filler","x":"'


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
        self._lock = threading.Lock()  # guards the lists below and what the event faults remember
        self._events: list[EventFault] = []
        self._rest: list[RestFault | StaleSnapshot] = []
        self._hitting: list[EventFault] = []
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
        if options.get("symbols"):
            for name in options["symbols"]:
                self._require_symbol(name)
        _log.info("fault %s %s", kind, {key: value for key, value in options.items() if value is not None})
        if kind in _EVENT_KINDS or (kind == "malformed" and options["in_place"]):
            return self._arm_event(kind, options)
        if kind in _FRAME_KINDS or kind == "malformed":
            return self._send_frames(kind, options)
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

    def stop(self) -> None:
        """Forget delayed actions."""
        self._stop.set()

    # Interception -----------------------------------------------------------------------------------------------

    def begin(self, message: Message, subscribers: Iterable[Subscriber]) -> bool:
        """Decide which faults hit an event (called by the hub, one event at a time)."""
        with self._lock:
            self._hitting = [fault for fault in self._events if fault.hit(message, subscribers)]
            self._prune()
            return bool(self._hitting)

    def rewrite(self, message: Message, subscriber: Subscriber) -> list[Message]:
        """What a subscriber gets in place of the event :meth:`begin` was asked about."""
        results = [message]
        for fault in self._hitting:
            results = [changed for one in results for changed in fault.apply(one, subscriber)]
        return results

    def disturb_rest(self, path: str, query: str, true_answer: Callable[[], Answer]) -> Answer:
        """The answer to a REST request, spoilt where a fault says so."""
        with self._lock:
            fault = next((one for one in self._rest if not one.finished and one.hits(path, query)), None)
            if fault is not None:
                fault.use()
        if fault is None:
            return true_answer()
        if isinstance(fault, StaleSnapshot):
            return fault.answer(query, true_answer())
        return fault.answer(true_answer)

    def refuse_connection(self) -> str | None:
        """How new stream connections are refused now; ``None``: they are not."""
        refuse = self._refuse
        return refuse[0] if refuse is not None and time.monotonic() < refuse[1] else None

    # Kinds ------------------------------------------------------------------------------------------------------

    def _arm_event(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        fault = EventFault(kind, options, self._hub.wanted_streams(), self._book)
        with self._lock:
            self._events.append(fault)
            self.armed = True
        return {"kind": kind}

    def _send_frames(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        connections = self._chosen(options)
        data = self._bytes(kind, options)
        for connection in connections:
            for _ in range(options["count"]):
                connection.send_bytes(data)
        return _hit(kind, connections)

    @staticmethod
    def _bytes(kind: str, options: dict[str, Any]) -> bytes:
        if kind == "malformed":
            return spoilt(_SAMPLE, options["mode"])
        if kind == "binary":
            return frames.frame(bytes(range(256)) * (options["bytes"] // 256) + bytes(options["bytes"] % 256), 0x2)
        if kind == "empty":
            return frames.frame(b"")
        if kind == "masked":
            return frames.masked(_SAMPLE.encode())
        length = max(options["bytes"], len(_FILLER) + 2)
        sent = length if options["complete"] else min(length, 1024)
        body: bytes = _FILLER + b"a" * (sent - len(_FILLER) - 2)
        return frames.header(length, frames.TEXT) + body + (b'"}' if options["complete"] else b"aa")

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
        now_us = self._clock.now_us()
        message = Message(
            "!serverShutdown",
            "",
            lambda micro: f'{{"e":"serverShutdown","E":{now_us if micro else now_us // 1000}}}',
        )
        for connection in connections:
            connection.deliver(message)
            connection.flush()
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
        fault = StaleSnapshot("stale_snapshot", options, {name: self._book(name, 5000) for name in names})
        with self._lock:
            self._rest.append(fault)
        return {"kind": "stale_snapshot", "symbols": names}

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

    def _do_freeze(self, options: dict[str, Any]) -> dict[str, Any]:
        self._the_market.freeze(options["seconds"])
        return {"kind": "freeze"}

    def _do_set_price(self, options: dict[str, Any]) -> dict[str, Any]:
        self._require_symbol(options["symbol"])
        symbol = self._the_market.symbol(options["symbol"])
        try:
            ticks = parse_e8(options["price"]) // symbol.instrument.tick_e8
        except ValueError as error:
            raise BadFault(f"set_price: option 'price' is {options['price']!r}, expected a decimal number") from error
        if ticks <= symbol.instrument.half_spread_ticks + 1 or not symbol.active:
            raise BadFault(f"set_price: {options['symbol']} cannot move to {options['price']} (too low, or no market)")
        symbol.move_to(ticks, self._clock.now_us())
        self._hub.flush()
        return {"kind": "set_price", "price": symbol.instrument.price_text(ticks)}

    def _do_new_symbol(self, options: dict[str, Any]) -> dict[str, Any]:
        try:
            self._the_market.add_symbol(options["symbol"], options["status"])
        except ValueError as error:
            raise BadFault(f"new_symbol: {error}") from error
        return {"kind": "new_symbol", "symbol": options["symbol"]}

    def _do_symbol_status(self, options: dict[str, Any]) -> dict[str, Any]:
        self._require_symbol(options["symbol"])
        self._the_market.symbol(options["symbol"]).set_status(options["status"])
        return {"kind": "symbol_status", "symbol": options["symbol"], "status": options["status"]}

    def _do_remove_symbol(self, options: dict[str, Any]) -> dict[str, Any]:
        self._require_symbol(options["symbol"])
        self._the_market.remove_symbol(options["symbol"])
        return {"kind": "remove_symbol", "symbol": options["symbol"]}

    def _do_reset(self, options: dict[str, Any]) -> dict[str, Any]:
        self._the_market.reset()
        connections = self._streams.connections() if options["disconnect"] else []
        for connection in connections:
            connection.close(1001, "reset")
        return _hit("reset", connections)

    def _do_clear(self, options: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._generation += 1
            self._events.clear()
            self._rest.clear()
            self.armed = False
        self._refuse = None
        self._clock.set_skew_us(0)
        if self._market is not None:
            self._market.freeze(0.0)
        for connection in self._streams.connections():
            connection.revive()
        return {"kind": "clear"}

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

    def _book(self, symbol: str, limit: int = 100) -> dict[str, Any]:
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

    def _prune(self) -> None:
        self._events = [fault for fault in self._events if not fault.finished]
        self._rest = [fault for fault in self._rest if not fault.finished]
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
