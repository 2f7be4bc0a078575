"""Faults of the private side: user events on their way, orders, and the answers to them.

Operations are guarded once, when the sandbox is put together; as long as nothing is armed, a guard only passes on. What
is to become of an answer is remembered for the thread that makes it, and taken by the server that sends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from .fates import TIMEOUT_TEXT, Fate
from .parameters import ApiError, Parameters
from .rest_faults import Counted
from .trading.accounts import UserEvent
from .trading.call import Call
from .trading.operations import Operation
from .user_streams import Way

_REPORT_KINDS = ("report_delay", "report_lost", "report_duplicate", "stall")


@dataclass(frozen=True)
class Asked:
    """A request as faults of orders look at it."""

    method: str | None
    """Its name, as the option ``method`` gives it."""
    is_order: bool
    """Whether it places an order."""
    symbol: str
    client_order_id: str


class _Armed(Counted):
    """A fault about some orders."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        super().__init__(kind, options)
        self._own_id: str = options.get("client_order_id") or ""

    def _concerns(self, symbol: str, client_order_id: str) -> bool:
        return self.names(symbol) and client_order_id.startswith(self._own_id)


class ReportFault(_Armed):
    """Delays, loses or repeats user events (``stall``: loses all of a connection)."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        super().__init__(kind, options)
        self._connections = frozenset(options["connection"]) if options.get("connection") else None
        self._events = frozenset(options.get("event") or ("*",))
        self._types = frozenset(options["execution_type"]) if options.get("execution_type") else None

    def concerns(self, connection: int) -> bool:
        """Whether a connection is concerned."""
        return self._connections is None or connection in self._connections

    def hits(self, event: UserEvent, connections: Iterable[int]) -> bool:
        """Whether this event is concerned, on any of these connections."""
        return (
            not self.finished
            and ("*" in self._events or event.kind in self._events)
            and (self._types is None or event.execution_type in self._types)
            and self._concerns(event.symbol, event.client_order_id)
            and any(map(self.concerns, connections))
        )

    def disturb(self, way: Way) -> None:
        """Change the way of an event to one subscription."""
        if self.kind == "report_delay":
            way.delay_s += self.options["ms"] / 1000
            way.stamped_late |= self.options["event_time"] == "late"
        elif self.kind == "report_duplicate":
            way.copies *= self.options["times"]
        else:
            way.copies = 0


class OrderFault(_Armed):
    """Refuses or loses orders, or the answers to them."""

    def hits(self, asked: Asked) -> bool:
        """Whether a request is concerned."""
        methods = self.options["method"]
        wanted = asked.is_order if methods is None else asked.method in methods
        return not self.finished and wanted and self._concerns(asked.symbol, asked.client_order_id)

    @property
    def fate(self) -> Fate:
        """What becomes of the answer."""
        if self.kind == "report_before_answer":
            return Fate("late", seconds=self.options["ms"] / 1000)
        return Fate(self.options["mode"], self.options["status"], self.options["silent_s"])


class PrivateFaults:
    """Arms and applies faults of the private side. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the list and what the faults remember
        self._faults: list[ReportFault | OrderFault] = []
        self._fates = threading.local()
        self.armed = False
        """Whether any fault waits for user events."""
        self.kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            kind: (lambda options, kind=kind: self.arm(kind, options))  # type: ignore[misc]
            for kind in (
                "report_delay", "report_lost", "report_duplicate", "report_before_answer", "order_refuse",
                "answer_lost", "order_lost",
            )
        }  # fmt: skip

    def arm(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        """Arm one fault with checked options."""
        fault = ReportFault(kind, options) if kind in _REPORT_KINDS else OrderFault(kind, options)
        with self._lock:
            self._faults.append(fault)
            self._prune()
        return {"kind": kind}

    def active(self) -> list[dict[str, Any]]:
        """Faults that are still armed."""
        with self._lock:
            self._prune()
            return [fault.describe() for fault in self._faults]

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults = []
            self._prune()

    def ways(self, event: UserEvent, connections: Iterable[int]) -> dict[int, Way]:
        """How an event goes to each of these connections (called once an event)."""
        ways = {connection: Way() for connection in connections}
        with self._lock:
            for fault in self._faults:
                reached = [connection for connection, way in ways.items() if way.copies]
                if isinstance(fault, ReportFault) and fault.hits(event, reached):
                    fault.use()
                    for connection in filter(fault.concerns, reached):
                        fault.disturb(ways[connection])
            self._prune()
        return ways

    def take_fate(self) -> Fate | None:
        """What is to become of the answer that this thread has just made; asked once."""
        fate: Fate | None = getattr(self._fates, "next", None)
        self._fates.next = None
        return fate

    def guarded(self, operation: Operation) -> Operation:
        """The operation with the faults before and behind it."""
        return replace(operation, handler=lambda call: self._run(operation, call))

    def _run(self, operation: Operation, call: Call) -> str:
        self._fates.next = None
        if not self._faults:
            return operation.handler(call)
        asked = _asked(operation, call.parameters)
        refusing = self.use(("order_refuse", "order_lost"), asked)
        if refusing is not None and refusing.kind == "order_refuse":
            options = refusing.options
            raise ApiError(options["status"], options["code"], options["message"])
        if refusing is not None:
            self.decide(refusing)
            raise ApiError(refusing.options["status"], -1007, TIMEOUT_TEXT)
        result = operation.handler(call)
        lost = self.use(("answer_lost",), asked) or self.use(("report_before_answer",), asked)
        if lost is not None:
            self.decide(lost)
        return result

    def decide(self, fault: OrderFault) -> None:
        """Let a fault decide what becomes of the answer that this thread makes."""
        self._fates.next = fault.fate

    def use(self, kinds: tuple[str, ...], asked: Asked) -> OrderFault | None:
        """The oldest fault of these kinds that hits a request; it is counted."""
        with self._lock:
            for fault in self._faults:
                if isinstance(fault, OrderFault) and fault.kind in kinds and fault.hits(asked):
                    fault.use()
                    self._prune()
                    return fault
        return None

    def _prune(self) -> None:
        self._faults = [fault for fault in self._faults if not fault.finished]
        self.armed = any(isinstance(fault, ReportFault) for fault in self._faults)


def _asked(operation: Operation, parameters: Parameters) -> Asked:
    own_id = parameters.text_or_empty("newClientOrderId") or parameters.text_or_empty("origClientOrderId")
    return Asked(operation.method, operation.is_order, parameters.text_or_empty("symbol"), own_id)
