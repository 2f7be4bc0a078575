"""The fault board of the Bybit side: the same machinery, with the dialect's own table, answers and books."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..clock import VenueClock
from ..dialects import Dialect
from ..fates import Fate
from ..fault_kinds import BadFault
from ..faults import FaultBoard
from ..http_server import Answer
from ..hub import StreamHub
from ..limits import WeightLedger
from ..market import Market
from ..private_faults import Asked, OrderFault, PrivateFaults
from ..rest_faults import RestFault, infrastructure_page
from ..user_streams import UserStreams
from ..websocket_server import WebSocketServer
from . import errors
from .errors import RATE_TEXT, RetError
from .fault_kinds import BOOK_KINDS, KINDS
from .feed import Feed
from .limits import Allowance
from .private_side import Operation, PrivateSide
from .public_stream import SERVICE as PUBLIC
from .queries import Call
from .topics import SHAPE

DIALECT = Dialect(KINDS, SHAPE, PUBLIC)
_STATUSES = {"Trading": "TRADING", "Closed": "BREAK"}
_MARKET_KINDS = ("new_symbol", "symbol_status")


class _RestFault(RestFault):
    """Spoils answers of this venue."""

    def __init__(self, options: dict[str, Any], clock: VenueClock) -> None:
        super().__init__("rest", options)
        self._clock = clock

    def answer(self, true_answer: Callable[[], Answer]) -> Answer:
        """The answer in place of the true one."""
        if self.options["mode"] != "ret_code":
            return super().answer(true_answer)
        code, now_ms = self.options["code"], self._clock.now_ms()
        text = self.options["message"] or (RATE_TEXT if code == 10006 else "Server error.")
        answer = errors.failure(RetError(code, text), now_ms)
        if code != 10006:
            return answer
        headers = Allowance(False, 20, 0, now_ms + 500).headers()
        return Answer(answer.status, answer.body, answer.content_type, headers)

    def failure(self, status: int) -> Answer:
        """403 is the address that asks too often, 429 the venue that is overloaded, the rest are pages of proxies."""
        if status == 403:
            return errors.too_frequent()
        if status == 429:
            return errors.failure(
                RetError(429, "System level frequency protection, please retry.", 429), self._clock.now_ms()
            )
        return infrastructure_page(status, {})


class BybitFaults(FaultBoard):
    """Arms and applies the faults of the Bybit side. Safe to use from any thread."""

    def __init__(
        self,
        hub: StreamHub,
        services: Sequence[WebSocketServer],
        clock: VenueClock,
        ledger: WeightLedger,
        market: Market,
        side: PrivateSide,
        answers: PrivateFaults,
        users: UserStreams,
        feed: Feed,
    ) -> None:
        super().__init__(hub, services, clock, ledger, market, None, side, answers, users, DIALECT)
        self._venue_clock = clock
        self._answers = answers
        self._feed = feed
        self.on_forgive: Callable[[], None] = lambda: None
        """Forgets how often accounts have asked."""

    def inject(self, request: object) -> dict[str, Any]:
        """Carry out one request of the fault desk. Raises :class:`~binmon.sandbox.fault_kinds.BadFault`."""
        if isinstance(request, dict) and request.get("kind") in _MARKET_KINDS:
            status = request.get("status") or KINDS[request["kind"]].options["status"].default
            if status not in _STATUSES:
                raise BadFault(
                    f"{request['kind']}: option 'status' is {status!r}, expected one of {', '.join(_STATUSES)}"
                )
            return self._turn({**request, "status": _STATUSES[status]})
        return super().inject(request)

    def guarded(self, operation: Operation, call: Call) -> dict[str, Any]:
        """Carry out an operation with the faults of orders before and behind it. Raises :class:`.errors.RetError`."""
        if operation.name is None:
            return operation.handler(call)
        asked = Asked(
            operation.name,
            operation.is_order,
            str(call.body.get("symbol") or ""),
            str(call.body.get("orderLinkId") or ""),
        )
        refusing = self._answers.use(("order_refuse", "order_lost"), asked)
        if refusing is not None and refusing.kind == "order_refuse":
            raise RetError(refusing.options["code"], refusing.options["message"])
        if refusing is not None:
            raise self._lose(refusing)
        result = operation.handler(call)
        lost = self._answers.use(("answer_lost",), asked)
        if lost is not None:
            raise self._lose(lost)
        late = self._answers.use(("report_before_answer",), asked)
        if late is not None:
            self._answers.decide(late)
        return result

    def meet(self, fate: Fate, answer: Answer) -> Answer:
        """What REST answers where a fault has decided about the answer to an order."""
        # The mode timeout is answered by the error that was raised: HTTP 200 with a code that tells nothing.
        return answer if fate.mode == "timeout" else fate.rest(answer)

    def rest_fault(self, options: dict[str, Any]) -> RestFault:
        """A fault of the kind ``rest``."""
        return _RestFault(options, self._venue_clock)

    def _lose(self, fault: OrderFault) -> RetError:
        self._answers.decide(fault)
        return RetError(fault.options["code"], fault.options["message"])

    def _turn(self, request: dict[str, Any]) -> dict[str, Any]:
        """List a symbol, or change a status: the market's own words for it are the Binance side's."""
        unknown = sorted(set(request) - {"kind", "symbol", "status"})
        name = str(request.get("symbol") or "")
        if unknown or not name:
            raise BadFault(f"{request['kind']} takes the options symbol (must be given) and status")
        assert self._turns is not None
        done = self._turns.kinds[request["kind"]]({"symbol": name, "status": request["status"]})
        if request["kind"] == "new_symbol":
            self._feed.tape(name)
        return done

    def _do_book_restart(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._disturb("book_restart", options)

    def _do_book_snapshot(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._disturb("book_snapshot", options)

    def _do_sequence_back(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._disturb("sequence_back", options)

    def _disturb(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        names = options["symbols"] or self._symbols()
        depths = [depth for depth in options["depth"] if depth in (1, 50, 200, 1000)]
        if len(depths) != len(options["depth"]):
            raise BadFault(f"{kind}: option 'depth' is {options['depth']}, expected some of 1, 50, 200, 1000")
        self._feed.disturb(names, depths, BOOK_KINDS[kind], options.get("ids", 0))
        return {"kind": kind, "symbols": names}

    def _do_snapshot_lag(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["ms"] >= 0:
            raise BadFault(f"snapshot_lag: option 'ms' is {options['ms']}, expected a number below zero")
        return super()._do_snapshot_lag(options)

    def _do_forgive_weight(self, options: dict[str, Any]) -> dict[str, Any]:
        self.on_forgive()
        return super()._do_forgive_weight(options)
